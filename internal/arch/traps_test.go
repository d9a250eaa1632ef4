package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// traps is how many docs/traps.md tells of, T01 the first.
const traps = 90

// TestTraps holds docs/traps.md to every trap once, in order, and each of them to tests that there are. Who renames a test has
// to say there what holds the trap from now on.
func TestTraps(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "docs", "traps.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range trapFaults(string(b), traps, testsOf(t)) {
		t.Errorf("docs/traps.md: %s", fault)
	}
}

// A tested is a package's tests by name, and of each the strings that its file has: a subtest's name is among them.
type tested map[string]map[string]bool

// testsOf returns what reads a folder's tests, once for each; nil where there is none.
func testsOf(t *testing.T) func(pkg string) tested {
	known := make(map[string]tested)
	return func(pkg string) tested {
		if k, ok := known[pkg]; ok {
			return k
		}
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pkg), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var found tested
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if found == nil {
				found = make(tested)
			}
			found.add(f)
		}
		known[pkg] = found
		return found
	}
}

func (k tested) add(f *ast.File) {
	said := make(map[string]bool)
	ast.Inspect(f, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				said[s] = true
			}
		}
		return true
	})
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if ok && fn.Recv == nil && testName.MatchString(fn.Name.Name) && fn.Name.Name != "TestMain" {
			k[fn.Name.Name] = said
		}
	}
}

var (
	testName = regexp.MustCompile(`^(Test|Fuzz)\P{Ll}`)
	trapRow  = regexp.MustCompile(`^\| (T\d\d) \| (.+) \| (.+) \|$`)
	holder   = regexp.MustCompile("`([a-z0-9/]+) ([A-Za-z0-9_]+)(?:/([^`]+))?`")
)

// doesNot begins the reason why there is no test.
const doesNot = "does not apply: "

// trapFaults is what is wrong with a page that is to tell of n traps.
func trapFaults(page string, n int, testsOf func(pkg string) tested) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	var got, want []string
	for i := range n {
		want = append(want, fmt.Sprintf("T%02d", i+1))
	}
	for line := range strings.Lines(page) {
		row := trapRow.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if row == nil {
			if strings.HasPrefix(line, "| T") {
				fault("a row that is none: %q", line)
			}
			continue
		}
		id, by := row[1], row[3]
		got = append(got, id)
		if why, ok := strings.CutPrefix(by, doesNot); ok {
			if len(strings.Fields(why)) < 3 {
				fault("%s: does not apply, but not why: %q", id, why)
			}
			continue
		}
		held := holder.FindAllStringSubmatch(by, -1)
		if rest := strings.Trim(holder.ReplaceAllString(by, ""), ", "); len(held) == 0 || rest != "" {
			fault("%s: want tests as `package TestName` or `package TestName/subtest`, or %q and why: %q", id, doesNot, by)
		}
		for _, h := range held {
			pkg, name, sub := h[1], h[2], h[3]
			tests := testsOf(pkg)
			said, ok := tests[name]
			switch {
			case tests == nil:
				fault("%s: no tests in %s", id, pkg)
			case !ok:
				fault("%s: no test %s in %s", id, name, pkg)
			case sub != "" && !said[sub]:
				fault("%s: %s of %s has no subtest %q", id, name, pkg, sub)
			}
		}
	}
	if !slices.Equal(got, want) {
		fault("tells of %v, want %s to %s, each once, in order", got, want[0], want[n-1])
	}
	return faults
}

// TestTrapFaults holds the search above to finding what it is for.
func TestTrapFaults(t *testing.T) {
	const src = `package a
func TestOne(t *testing.T) { t.Run("in two parts", nil) }
func FuzzTwo(f *testing.F) {}
func Testing() {}
func (x) TestMethod() {}
`
	f, err := parser.ParseFile(token.NewFileSet(), "a_test.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	tests := make(tested)
	tests.add(f)
	of := func(pkg string) tested {
		if pkg == "a/b" {
			return tests
		}
		return nil
	}
	const good = "| T01 | wrong | `a/b TestOne`, `a/b FuzzTwo` |\n| T02 | wrong | does not apply: there is none |\n"
	for _, tt := range []struct{ name, old, new, want string }{
		{"nothing", "", "", ""},
		{"a subtest", "TestOne", "TestOne/in two parts", ""},
		{"no such subtest", "TestOne", "TestOne/in three parts", "no subtest"},
		{"renamed", "TestOne", "TestOnce", "no test TestOnce"},
		{"a fuzz test renamed", "FuzzTwo", "FuzzThree", "no test FuzzThree"},
		{"no test's name", "TestOne", "Testing", "no test Testing"},
		{"a method", "TestOne", "TestMethod", "no test TestMethod"},
		{"another package", "a/b FuzzTwo", "b FuzzTwo", "no tests in b"},
		{"no reason", "there is none", "no", "not why"},
		{"no test", "`a/b TestOne`, `a/b FuzzTwo`", "by care", "want tests"},
		{"a test and words", "`a/b FuzzTwo`", "and by care", "want tests"},
		{"one left out", "| T01 | wrong | `a/b TestOne`, `a/b FuzzTwo` |\n", "", "each once"},
		{"one twice", "T02", "T01", "each once"},
		{"one too many", "| T02", "| T03 | wrong | `a/b TestOne` |\n| T02", "each once"},
		{"a row of two columns", "| wrong | does", "| does", "a row that is none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			faults := trapFaults(strings.Replace(good, tt.old, tt.new, 1), 2, of)
			if tt.want == "" && len(faults) == 0 {
				return
			}
			if got := strings.Join(faults, "; "); tt.want == "" || !strings.Contains(got, tt.want) {
				t.Errorf("faults %q, want %q", got, tt.want)
			}
		})
	}
}
