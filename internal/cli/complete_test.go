package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// oddTable is a table with every kind of option a completion can have, and with text that shells read in their own way.
var oddTable = []option{
	{long: "json", help: "one: [document]; that's all"},
	{long: "numeric", short: 'n', help: "it's `plain`; $HOME"},
	{long: "format", short: 'f', value: "NAME[,NAME]", words: []string{"text", "table", "json"}, help: "how"},
	{long: "file", value: "FILE", words: []string{someFile}, help: "hosts, one a line"},
	{long: "interface", short: 'i', value: "NAME", words: []string{someInterface}},
	{long: "via", value: "HOST", words: []string{someHost}, help: "first"},
	{long: "count", short: 'c', value: "N", help: "how many"},
}

// An offer is what a shell has to offer at the end of a line; all of it, if only is set.
type offer struct {
	line string
	want []string
	only bool
	none []string
}

// offers are the same for every shell. What options are called there each shell has its own way of writing.
var offers = []offer{
	{line: "gping --format ", want: []string{"text", "table", "json"}, only: true},
	{line: "gping --format t", want: []string{"text", "table"}, only: true},
	{line: "gping host -f j", want: []string{"json"}, only: true},
	{line: "gping --format=ta", want: []string{"table"}, only: true},
	{line: "gping --file one", want: []string{"one.txt"}, only: true},
	{line: "gping -i l", want: []string{"lo"}},
	{line: "gping --count ", only: true},
	{line: "gping --nu", want: []string{"--numeric"}, only: true},
	{line: "gping host --nu", want: []string{"--numeric"}, only: true},
	{line: "gping doc", want: []string{"doctor"}, only: true},
	{line: "gping -n doc", none: []string{"--json"}},
	{line: "gping --", want: []string{"--json", "--numeric", "--file", "--interface", "--via", "--count", "--format"}},
}

func (o *offer) check(t *testing.T, got []string) {
	t.Helper()
	for _, w := range o.want {
		if !slices.Contains(got, w) {
			t.Errorf("%q: offered %q, want %q among it", o.line, got, w)
		}
	}
	for _, g := range got {
		if o.only && !slices.Contains(o.want, g) {
			t.Errorf("%q: offered %q, want %q and nothing else", o.line, got, o.want)
		}
		if slices.Contains(o.none, g) {
			t.Errorf("%q: offered %q", o.line, g)
		}
	}
}

// shell runs a shell in a directory with a file of completions for it, and a file to complete.
func shell(t *testing.T, name string, table []option, args func(file string) []string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%v: install it (apt-get install %s) to test its completions", err, name)
	}
	dir := t.TempDir()
	text, err := completion(name, &pingPage, table)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "_gping")
	for f, s := range map[string]string{file: text, filepath.Join(dir, "one.txt"): "", filepath.Join(dir, "two.txt"): ""} {
		if err := os.WriteFile(f, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a shell that waits for a terminal
	defer cancel()
	c := exec.CommandContext(ctx, path, args(file)...)
	c.Dir = dir
	// The user's own files must play no part.
	c.Env = append(os.Environ(), "HOME="+dir, "ZDOTDIR="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "TERM=dumb")
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %v\n%s%s", c.Args, err, out, &stderr)
	}
	return string(out)
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompletionBash(t *testing.T) {
	script := testdata(t, "complete.bash")
	for _, o := range offers {
		// bash splits at "=" too, and has a last word even where nothing of it is typed.
		line := strings.Split(strings.ReplaceAll(o.line, "=", " = "), " ")
		got := strings.Fields(shell(t, "bash", oddTable, func(file string) []string {
			return append([]string{"--norc", script, file}, line...)
		}))
		for i := range got { // an option that takes a value is offered with its =
			if strings.HasPrefix(got[i], "--") {
				got[i] = strings.TrimSuffix(got[i], "=")
			}
		}
		o.check(t, got)
	}
	// Where "=" splits no words, what is offered stands for the whole word.
	got := strings.Fields(shell(t, "bash", oddTable, func(file string) []string {
		return []string{"--norc", script, file, "gping", "--format=ta"}
	}))
	if want := []string{"--format=table"}; !slices.Equal(got, want) {
		t.Errorf("offered %q, want %q", got, want)
	}
	// After "--" there are hosts alone.
	for _, g := range strings.Fields(shell(t, "bash", oddTable, func(file string) []string {
		return []string{"--norc", script, file, "gping", "--", "--"}
	})) {
		if strings.HasPrefix(g, "--") {
			t.Errorf("after --: offered %q", g)
		}
	}
}

var zshHit = regexp.MustCompile(`<hit>(.*?)</hit>`)

func TestCompletionZsh(t *testing.T) {
	for _, how := range []string{"source", "fpath"} {
		t.Run(how, func(t *testing.T) {
			script := testdata(t, "complete.zsh")
			out := shell(t, "zsh", oddTable, func(file string) []string {
				args := []string{"-f", script, how, file}
				for _, o := range offers {
					args = append(args, o.line)
				}
				return args
			})
			each := strings.Split(out, "<line>")[1:]
			if len(each) != len(offers) {
				t.Fatalf("%d answers, want %d\n%s", len(each), len(offers), out)
			}
			for i, o := range offers {
				var got []string
				for _, m := range zshHit.FindAllStringSubmatch(each[i], -1) {
					got = append(got, m[1])
				}
				o.check(t, got)
			}
		})
	}
}

func TestCompletionFish(t *testing.T) {
	for _, o := range offers {
		out := shell(t, "fish", oddTable, func(file string) []string {
			return []string{"--no-config", "-c", "source $argv[1]; complete -C $argv[2]", file, o.line}
		})
		var got []string
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t") // the rest describes it
			// fish offers the whole word.
			_, value, ok := strings.Cut(word, "=")
			if ok && value != "" {
				word = value
			}
			got = append(got, strings.TrimSuffix(word, "="))
		}
		o.check(t, got)
	}
}

// TestCompletionReads has each shell read what the programs really print.
func TestCompletionReads(t *testing.T) {
	for _, tl := range []tool{newTraceTool(), newPingTool()} {
		table := wholeTable(tl)
		for _, name := range shells {
			if _, err := exec.LookPath(name); err != nil {
				t.Logf("%v: left out", err)
				continue
			}
			text, err := completion(name, tl.page(), table)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(name, "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s -n: %v\n%s", name, err, out)
			}
			for _, o := range table {
				if !strings.Contains(text, o.long) {
					t.Errorf("%s: %s has no --%s", name, tl.name(), o.long)
				}
			}
		}
	}
	if _, err := completion("tcsh", &pingPage, oddTable); !errors.Is(err, errShell) {
		t.Errorf("tcsh: %v, want %v", err, errShell)
	}
}

// wholeTable are all options of a program.
func wholeTable(tl tool) []option {
	s := &session{tool: tl}
	return slices.Concat(s.options(), tl.options(), aboutOptions)
}
