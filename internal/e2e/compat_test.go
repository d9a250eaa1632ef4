//go:build linux

package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gtrace/internal/lab"
)

// A tool is one that a page of docs/compatibility.md is about.
var tools = map[string]struct {
	checks map[string]func(*testing.T) // by option
	help   []string                    // prints its options
}{
	"traceroute": {traceOptionChecks, []string{"traceroute", "--help"}},
	"ping":       {pingOptionChecks, []string{"ping", "-h"}},
	"fping":      {fpingOptionChecks, []string{"fping", "-h"}},
	"tracepath":  {tracepathOptionChecks, []string{"tracepath", "-h"}},
}

// A row is one of the tables in docs/compatibility.md.
type row struct {
	options                []string // the first has a check, the others may
	there, here, howTested string
}

var code = regexp.MustCompile("`([^`]+)`")

// compatibility reads the tables, by tool.
func compatibility(t *testing.T) map[string][]row {
	t.Helper()
	b, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := make(map[string][]row)
	tool := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			tool = name
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| option ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Errorf("%s: %d cells, want 4: %s", tool, len(cells), line)
			continue
		}
		for i, c := range cells {
			if cells[i] = strings.TrimSpace(c); cells[i] == "" {
				t.Errorf("%s: an empty cell: %s", tool, line)
			}
		}
		r := row{there: cells[1], here: cells[2], howTested: cells[3]}
		for _, m := range code.FindAllStringSubmatch(cells[0], -1) {
			r.options = append(r.options, m[1])
		}
		if len(r.options) == 0 {
			t.Errorf("%s: no option in %s", tool, line)
			continue
		}
		tables[tool] = append(tables[tool], r)
	}
	return tables
}

// TestCompatibility runs the check of every row.
func TestCompatibility(t *testing.T) {
	programs(t)
	tables := compatibility(t)
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		tool, ok := tools[name]
		if !ok {
			t.Errorf("a table of %q, of which nothing is known", name)
			continue
		}
		rows := make(map[string]bool)
		for _, r := range tables[name] {
			for _, o := range r.options {
				if rows[o] {
					t.Errorf("%s: two rows for %s", name, o)
				}
				rows[o] = true
			}
			if tool.checks[r.options[0]] == nil {
				t.Errorf("%s %s: a row, but no check", name, r.options[0])
			}
			for _, o := range r.options {
				if check := tool.checks[o]; check != nil {
					t.Run(name+" "+o, check)
				}
			}
		}
		for key := range tool.checks {
			if !rows[key] {
				t.Errorf("%s %s: a check, but no row", name, key)
			}
		}
	}
	for name := range tools {
		if tables[name] == nil {
			t.Errorf("%s: no table", name)
		}
	}
}

// optionAt finds options where help lists them: at the start of a line's text.
var optionAt = regexp.MustCompile(`(?m)^ +(-[0-9A-Za-z]+)(?:[ ,].*)?$|^ +(--[a-z][a-z0-9-]*)`)

// longAt finds the long names in the same line.
var longAt = regexp.MustCompile(`(?m)^ +-[0-9A-Za-z]+.*? (--[a-z][a-z0-9-]*)`)

// TestOptionsAreListed compares the tables with the options that the tools, as installed, list.
func TestOptionsAreListed(t *testing.T) {
	tables := compatibility(t)
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		tool := tools[name]
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(tool.help[0])
			if err != nil {
				path, err = exec.LookPath("/usr/sbin/" + tool.help[0])
			}
			if err != nil {
				// internal/interop insists on the tools.
				t.Skipf("left out: %s is not installed: apt-get install -y --no-install-recommends traceroute iputils-ping iputils-tracepath fping", name)
			}
			out, _ := exec.Command(path, tool.help[1:]...).CombinedOutput() // some are not content
			var listed []string
			for _, re := range []*regexp.Regexp{optionAt, longAt} {
				for _, m := range re.FindAllStringSubmatch(string(out), -1) {
					for _, o := range m[1:] {
						if o != "" {
							listed = append(listed, o)
						}
					}
				}
			}
			if len(listed) < 8 {
				t.Fatalf("only %q found in its help:\n%s", listed, out)
			}
			known := make(map[string]bool)
			for _, r := range tables[name] {
				for _, o := range r.options {
					known[o] = true
				}
			}
			for _, o := range listed {
				if !known[o] {
					t.Errorf("%s has %s, of which there is no row", name, o)
				}
			}
		})
	}
}

var links sync.Once

// linked is one of our programs by the name of the tool it stands in for.
func linked(t *testing.T, name string) string {
	t.Helper()
	programs(t)
	dir := filepath.Join(bin, "links")
	var err error
	links.Do(func() {
		if err = os.Mkdir(dir, 0o755); err != nil {
			return
		}
		for name, program := range map[string]string{"ping": "gping", "ping6": "gping", "fping": "gping", "fping6": "gping",
			"traceroute": "gtrace", "traceroute6": "gtrace", "tracepath": "gtrace"} {
			if err = os.Symlink(filepath.Join("..", program), filepath.Join(dir, name)); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

var crowd struct {
	sync.Once
	odd *lab.Odd
	err error
}

// oddNetwork is the odd network, which tests share that leave nothing behind in it.
func oddNetwork(t *testing.T) *lab.Odd {
	t.Helper()
	programs(t)
	crowd.Do(func() { crowd.odd, crowd.err = lab.BuildOdd() })
	if crowd.err != nil {
		t.Fatal(crowd.err)
	}
	return crowd.odd
}
