package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "gtrace"
	root   = "../.." // of the module, from this folder
)

// systems are those whose files are looked at; a package's imports differ between them.
var systems = []string{"linux", "darwin", "freebsd", "openbsd", "netbsd", "windows"}

// A rule is one row of the table of who may know what.
type rule struct {
	pkg     string   // path in the module; a trailing /* means every package below
	why     string   // what the package is for, hence what it need not know
	may     []string // packages of this module it may import
	outside []string // packages of other modules it may import; a trailing /... means all below
	never   []string // packages of the standard library it must not import; /... as above
	noClock bool     // it is told the time, or has none
}

var rules = []rule{
	{
		pkg: "internal/wire", why: "turns fields into bytes and bytes into fields",
		never:   []string{"time", "os/...", "net", "net/http/...", "syscall", "context", "sync/...", "io/...", "log/...", "encoding/json"},
		noClock: true,
	},
	{
		pkg: "rawsock", why: "moves whole packets, says when, gives up privilege; knows no search, matching, format or flag",
		may:     []string{"internal/wire"},
		outside: []string{"golang.org/x/net/icmp", "golang.org/x/net/ipv4", "golang.org/x/net/ipv6", "golang.org/x/net/bpf", "golang.org/x/sys/unix"},
		never:   []string{"flag", "encoding/json", "text/template/...", "net/http/...", "os/exec", "os/user", "log/..."},
	},
	{
		pkg: "probe", why: "runs an algorithm over a connection; knows no system, no printing, no names, and needs no locks",
		may:     []string{"internal/wire", "rawsock", "internal/queue"},
		never:   []string{"net", "net/http/...", "syscall", "sync/...", "io", "encoding/json", "text/...", "log/...", "os/exec", "os/signal"},
		noClock: true,
	},
	{
		pkg: "probe/*", why: "decides what to ask next, by what it is told alone",
		may:     []string{"probe", "internal/stats", "internal/queue"},
		never:   []string{"context", "sync/...", "os/...", "net", "net/http/...", "syscall", "io/...", "log/...", "encoding/json", "math/rand/...", "crypto/rand"},
		noClock: true,
	},
	{
		pkg: "report", why: "turns events into output; knows no sockets, bytes or algorithms",
		may:     []string{"probe", "internal/stats"},
		never:   []string{"net", "net/http/...", "os/...", "syscall", "sync/...", "context", "log/..."},
		noClock: true,
	},
	{
		pkg: "internal/queue", why: "keeps things in order, or in none",
		never:   []string{"time", "os/...", "net", "net/http/...", "syscall", "context", "sync/...", "io/...", "log/..."},
		noClock: true,
	},
	{
		pkg: "internal/stats", why: "reckons with numbers",
		never:   []string{"os/...", "net", "net/http/...", "syscall", "context", "sync/...", "io/...", "log/..."},
		noClock: true,
	},
	{
		pkg: "internal/simnet", why: "answers as routers would, to bytes, in its own time; does not know who asks",
		may:     []string{"internal/wire", "rawsock", "internal/queue"},
		never:   []string{"net/http/...", "syscall", "crypto/rand", "os/exec", "log/..."}, // net for ErrClosed
		noClock: true,
	},
	{
		pkg: "internal/names", why: "asks others what addresses are called, beside the measurement; knows no probes and no output",
		never: []string{"net/http/...", "syscall", "os/...", "log/...", "unsafe"},
	},
	{
		pkg: "internal/cli", why: "turns arguments into a run and a run into an exit status; knows no bytes and no socket options",
		may:   []string{"probe", "probe/*", "report", "rawsock", "internal/names", "internal/queue"},
		never: []string{"net/http/...", "os/exec", "os/user", "log/...", "unsafe"},
	},
	{
		pkg: "cmd/*", why: "is main: what stands before the drop of privilege is to be read at a glance",
		may:   []string{"internal/cli", "rawsock"},
		never: []string{"net/...", "os/exec", "os/signal", "os/user", "syscall", "io/...", "flag", "log/...", "encoding/...", "unsafe"},
	},

	// What tests and the workshop are made of. No program links these.
	{pkg: "internal/arch", why: "holds tests alone"},
	{
		pkg: "internal/lab", why: "builds networks of kernel routers, and of odd hosts, for tests",
		may:     []string{"internal/wire"}, // what an odd host answers
		outside: []string{"github.com/vishvananda/netlink/...", "github.com/vishvananda/netns", "github.com/google/nftables/...", "golang.org/x/sys/unix"},
	},
	{
		pkg: "internal/hostile", why: "makes messages that must change nothing; knows no sockets, and not who measures",
		may: []string{"internal/wire"}, never: []string{"net", "os/...", "syscall", "io/..."}, noClock: true,
	},
	{pkg: "internal/interop", why: "runs the programs beside those they stand in for", may: []string{"internal/lab"}},
	{pkg: "internal/e2e", why: "runs the programs as they are", may: []string{"internal/lab", "internal/hostile"}},
	{
		pkg: "scripts/bench", why: "runs the programs beside others, in a simulated network that answers in real time",
		may:     []string{"internal/lab", "internal/simnet", "internal/wire", "rawsock"}, // rawsock: what simnet takes and gives
		outside: []string{"golang.org/x/sys/unix"},
	},
	{pkg: "scripts/bench/*", why: "start programs and have next to nothing in memory", never: []string{"fmt", "net/...", "reflect"}},
	{
		pkg: "scripts/*", why: "are tools of the workshop",
		may:     []string{"internal/lab"},
		outside: []string{"golang.org/x/sys/unix"},
	},
}

// A listing is what go list tells of one package.
type listing struct {
	ImportPath                         string
	Dir                                string
	Standard                           bool
	GoFiles                            []string
	Imports, TestImports, XTestImports []string
	Module                             *struct{ Path string }
	Error                              *struct{ Err string }
}

func list(t *testing.T, goos string, args ...string) []listing {
	t.Helper()
	c := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	c.Dir = root
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS="+goos)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", c, err, &stderr)
	}
	var ls []listing
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listing
		switch err := d.Decode(&l); {
		case errors.Is(err, io.EOF):
			return ls
		case err != nil:
			t.Fatalf("%s: %v", c, err)
		case l.Error != nil:
			t.Fatalf("%s: %s: %s", c, l.ImportPath, l.Error.Err)
		}
		ls = append(ls, l)
	}
}

// within reports whether name is one of patterns: p alone, p/* for what is one
// step below, p/... for p and all below.
func within(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if above, ok := strings.CutSuffix(p, "/..."); ok {
			return name == above || strings.HasPrefix(name, above+"/")
		}
		if above, ok := strings.CutSuffix(p, "/*"); ok {
			return path.Dir(name) == above
		}
		return name == p
	})
}

func ruleFor(pkg string) *rule {
	for i := range rules {
		if within(pkg, []string{rules[i].pkg}) {
			return &rules[i]
		}
	}
	return nil
}

// local is a package's path within this module.
func local(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// standard reports whether a package is of the standard library: those have no dot in their first element.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func TestImports(t *testing.T) {
	for _, goos := range systems {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			for _, l := range list(t, goos, "-e", "./...") {
				pkg, _ := local(l.ImportPath)
				r := ruleFor(pkg)
				if r == nil {
					t.Errorf("%s has no row in the table of who may know what", pkg)
					continue
				}
				for _, imported := range l.Imports {
					ours, isOurs := local(imported)
					switch {
					case isOurs && !within(ours, r.may):
						t.Errorf("%s imports %s, but it %s", pkg, imported, r.why)
					case !isOurs && standard(imported) && within(imported, r.never):
						t.Errorf("%s imports %s, but it %s", pkg, imported, r.why)
					case !isOurs && !standard(imported) && !within(imported, r.outside):
						t.Errorf("%s imports %s, but it %s", pkg, imported, r.why)
					}
				}
			}
		})
	}
}

// clocks are what package time has to ask for the time, or to wait for it.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// TestNoClock holds the packages that are told the time to not asking for it:
// what they do then is the same in every run, and an hour passes in a
// millisecond of test.
func TestNoClock(t *testing.T) {
	found := 0
	for _, goos := range systems {
		for _, l := range list(t, goos, "-e", "./...") {
			pkg, _ := local(l.ImportPath)
			if r := ruleFor(pkg); r == nil || !r.noClock {
				continue
			}
			for _, name := range l.GoFiles {
				found++
				for _, use := range clockUses(t, filepath.Join(l.Dir, name)) {
					t.Errorf("%s (%s): %s: it is told the time", use, goos, pkg)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no file was looked at")
	}
}

// clockUses are the places in a file that use one of clocks, whatever name package time goes by there.
func clockUses(t *testing.T, file string) []string {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for _, i := range f.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil && p == "time" {
			name = "time"
			if i.Name != nil {
				name = i.Name.Name
			}
		}
	}
	if name == "." {
		return []string{fset.Position(f.Pos()).String() + ": imports all names of time"}
	}
	var uses []string
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Name == name && slices.Contains(clocks, s.Sel.Name) {
			uses = append(uses, fset.Position(s.Pos()).String()+": time."+s.Sel.Name)
		}
		return true
	})
	return uses
}

// TestClockUses holds the search above to finding what it is for.
func TestClockUses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.go")
	src := "package a\n\nimport tm \"time\"\n\nvar t = tm.Now()\n\nfunc f(time c) { tm.Sleep(tm.Second); time.Now() }\n"
	src = strings.Replace(src, "time c", "time interface{ Now() }", 1)
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := clockUses(t, file); len(got) != 2 {
		t.Errorf("found %q, want the Now in line 5 and the Sleep in line 7", got)
	}
}

// mayLink are the modules that gtrace and gping may consist of, beside the
// standard library: the init functions of all of it run with privilege.
var mayLink = []string{module, "golang.org/x/net", "golang.org/x/sys"}

// neverLink are packages of the standard library that have no place in a privileged program.
var neverLink = []string{"net/http/...", "os/exec", "os/user", "plugin", "expvar", "runtime/pprof", "runtime/cgo", "testing/..."}

func TestPrograms(t *testing.T) {
	named := dependencies(t)
	for _, goos := range systems {
		for _, program := range []string{"./cmd/gtrace", "./cmd/gping"} {
			t.Run(goos+" "+program, func(t *testing.T) {
				t.Parallel()
				for _, l := range list(t, goos, "-deps", program) {
					switch {
					case l.Standard:
						if within(l.ImportPath, neverLink) {
							t.Errorf("links %s", l.ImportPath)
						}
					case l.Module == nil || !slices.Contains(mayLink, l.Module.Path):
						t.Errorf("links %s, whose module is not on the list", l.ImportPath)
					case l.Module.Path != module && !named[l.Module.Path]:
						t.Errorf("links %s, but docs/dependencies.md does not say why", l.Module.Path)
					case strings.HasPrefix(l.ImportPath, module+"/internal/simnet"),
						strings.HasPrefix(l.ImportPath, module+"/internal/lab"):
						t.Errorf("links %s, which is for tests", l.ImportPath)
					}
				}
			})
		}
	}
}

// TestDependencies holds docs/dependencies.md to naming every module that any
// file here imports, tests included, and no other.
func TestDependencies(t *testing.T) {
	named := dependencies(t)
	used := make(map[string]bool)
	for _, l := range list(t, "linux", "-e", "-deps", "-test", "./...") {
		if l.Module == nil || l.Module.Path != module {
			continue
		}
		for _, i := range slices.Concat(l.Imports, l.TestImports, l.XTestImports) {
			if _, ours := local(i); ours || standard(i) || strings.Contains(i, " [") {
				continue
			}
			found := ""
			for m := range named {
				if within(i, []string{m + "/..."}) && len(m) > len(found) {
					found = m
				}
			}
			if found == "" {
				t.Errorf("%s imports %s, but docs/dependencies.md does not say why", l.ImportPath, i)
			}
			used[found] = true
		}
	}
	for m := range named {
		if !used[m] {
			t.Errorf("docs/dependencies.md names %s, which nothing imports", m)
		}
	}
}

// dependencies are the modules that docs/dependencies.md names, each first in a row of a table.
func dependencies(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			m, _, _ := strings.Cut(rest, "`")
			named[m] = true
		}
	}
	if len(named) == 0 {
		t.Fatal("docs/dependencies.md names nothing")
	}
	return named
}
