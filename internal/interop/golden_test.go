//go:build linux

package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gtrace/internal/lab"
)

// number is a time as ping and fping print it: three digits that count.
const number = `(?:\d\.\d{3}|\d\.\d\d|\d\d\.\d|\d{3,})`

// masks put the same number in the place of every time that is written as it
// should be. A time in another form stays, and is then a difference.
var masks = map[string][]struct {
	re   *regexp.Regexp
	with string
}{
	"ping": {
		{regexp.MustCompile(`\btime=` + number + ` ms`), "time=1.00 ms"},
		{regexp.MustCompile(`, time \d+ms`), ", time 1000ms"},
		{regexp.MustCompile(`= \d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3} ms`), "= 1.000/1.000/1.000/1.000 ms"},
		{regexp.MustCompile(`(?m)^pipe \d+$`), ""},       // of errors: how long the kernel looks for a neighbour
		{regexp.MustCompile(`, pipe \d+, ipg`), ", ipg"}, // in a flood it is a matter of time
		{regexp.MustCompile(`ipg/ewma \d+\.\d{3}/\d+\.\d{3} ms`), "ipg/ewma 1.000/1.000 ms"},
		{regexp.MustCompile(`(?m)^\[\d{10}\.\d{6}\] `), "[1700000000.000000] "},
		{regexp.MustCompile(`(?m)^(TS: \t|\t)\d+ absolute`), "${1}1 absolute"},
		{regexp.MustCompile(`(?m)^\t-?\d+$`), "\t1"}, // of a timestamp option
	},
	"fping": {
		{regexp.MustCompile(`\b` + number + ` ms \((?:` + number + `) avg`), "1.00 ms (1.00 avg"},
		{regexp.MustCompile(`\bmin/avg/max = ` + number + `/` + number + `/` + number), "min/avg/max = 1.00/1.00/1.00"},
		{regexp.MustCompile(`\(` + number + ` ms\)`), "(1.00 ms)"},
		{regexp.MustCompile(`\((` + number + `) avg`), "(1.00 avg"},
		{regexp.MustCompile(`(?m)\bbytes, ` + number + ` ms$`), "bytes, 1.00 ms"}, // of a duplicate
		{regexp.MustCompile(`(?m)^ +` + number + ` (ms|sec) \(`), "  1.00 $1 ("},
		{regexp.MustCompile(`(?m)^\[\d{10}\.\d{5}\] `), "[1700000000.00000] "},
		{regexp.MustCompile(`(?m)^\[\d\d:\d\d:\d\d\]$`), "[12:00:00]"},
	},
	"traceroute": {
		{regexp.MustCompile(`  \d+\.\d{3} ms`), "  1.000 ms"},
	},
	"tracepath": {
		{regexp.MustCompile(`(?:  \d| \d\d|\d{3,})\.\d{3}ms`), "  1.000ms"},
	},
}

// each are the lines of fping -C, where every number is a time.
var each = regexp.MustCompile(`(?m)^\S+ +:(?: (?:-|` + number + `))+$`)

var one = regexp.MustCompile(` ` + number)

func mask(tool, s string) string {
	for _, m := range masks[tool] {
		s = m.re.ReplaceAllString(s, m.with)
	}
	// In a flood it is a matter of time how many requests are unanswered at a
	// time, but not how many stay so: those are the dots that are not erased.
	const answered = ".\b \b"
	if strings.Contains(s, answered) {
		s = "(flood)\n" + s
		for strings.Contains(s, answered) {
			s = strings.ReplaceAll(s, answered, "")
		}
	}
	if tool == "fping" {
		s = each.ReplaceAllStringFunc(s, func(l string) string {
			name, times, _ := strings.Cut(l, " : ")
			return name + " :" + one.ReplaceAllString(" "+times, " 1.00")
		})
	}
	return s
}

// masked is what is compared of a result: the lines of standard output, each
// after "1|", those of standard error after "2|", and the status. A carriage
// return and other characters that are not for a file are written as in Go.
func masked(tool string, r result) string {
	var b strings.Builder
	for i, s := range []string{r.stdout, r.stderr} {
		s = mask(tool, s)
		for len(s) > 0 {
			line, rest, whole := strings.Cut(s, "\n")
			s = rest
			quoted := strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\t`, "\t").Replace(strings.Trim(strconv.QuoteToASCII(line), `"`))
			fmt.Fprintf(&b, "%d|%s", i+1, quoted)
			if !whole {
				b.WriteString("\\") // no line feed
			}
			b.WriteString("\n")
		}
	}
	fmt.Fprintf(&b, "status %d\n", r.status)
	return b.String()
}

// brief is what a result says but for the words.
func brief(s string) string {
	out, status := "", s[strings.LastIndex(s, "status"):]
	for _, stream := range []string{"1|", "2|"} {
		if strings.Contains("\n"+s, "\n"+stream) {
			out += stream + "…\n"
		}
	}
	return out + status
}

func goldenFile(tool string) string { return filepath.Join("testdata", tool+".golden") }

// readGolden reads what one of the programs left, by command line.
func readGolden(t *testing.T, tool string) map[kase]string {
	t.Helper()
	b, err := os.ReadFile(goldenFile(tool))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[kase]string)
	var at kase
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line := s.Text()
		if k, ok := strings.CutPrefix(line, "$ "); ok {
			at = kase(k)
		} else if at != "" && line != "" {
			found[at] += line + "\n"
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s: no case", goldenFile(tool))
	}
	return found
}

// parallel is how many cases run at a time. They do little but wait.
const parallel = 24

// TestGolden runs our programs under others' names where those were run.
func TestGolden(t *testing.T) {
	if *golden {
		makeGolden(t)
		return
	}
	want := make(map[kase]string)
	for tool := range masks {
		for k, v := range readGolden(t, tool) {
			want[k] = v
		}
	}
	all := cases(odd(t))
	for k := range want {
		if !slices.Contains(all, k) {
			t.Errorf("testdata has %q, which is no case any more: make golden", k)
		}
	}
	for k := range differences {
		if _, ok := want[k]; !ok {
			t.Errorf("a difference is noted for %q, which is no case", k)
		}
	}
	inParallel(t, all, func(t *testing.T, k kase) {
		w, ok := want[k]
		if !ok {
			t.Fatal("testdata does not have it: make golden")
		}
		w = comparable(k, w)
		got := masked(k.tool(), k.ours(t))
		if slices.Contains(wrong, k) {
			got, w = brief(got), brief(w)
		}
		d, differs := differences[k]
		switch {
		case !differs && got != w:
			t.Errorf("got\n%s\nwant\n%s", got, w)
		case differs && got != d.ours:
			t.Errorf("got\n%s\nwant, because %s,\n%s", got, d.why, d.ours)
		case differs && got == w:
			t.Errorf("there is no difference any more")
		}
	})
}

func inParallel(t *testing.T, ks []kase, f func(*testing.T, kase)) {
	room := make(chan struct{}, parallel)
	t.Run("cases", func(t *testing.T) {
		for _, k := range ks {
			t.Run(string(k), func(t *testing.T) {
				t.Parallel()
				room <- struct{}{}
				defer func() { <-room }()
				f(t, k)
			})
		}
	})
}

// makeGolden writes what the programs installed print.
func makeGolden(t *testing.T) {
	p := place{path: theirs(t), odd: odd(t)}
	version := map[string]string{
		"ping":       strings.TrimSpace(p.run(t, "ping", "-V").stdout),
		"tracepath":  strings.TrimSpace(p.run(t, "tracepath", "-V").stdout),
		"fping":      strings.TrimSpace(p.run(t, "fping", "-v").stdout),
		"traceroute": strings.TrimSpace(p.run(t, "traceroute", "-V").stderr + p.run(t, "traceroute", "-V").stdout),
	}
	var mu sync.Mutex
	got := make(map[kase]string)
	all := cases(p.odd)
	inParallel(t, all, func(t *testing.T, k kase) {
		k.at(t, func(o *lab.Odd) {
			q := p
			q.odd = o
			s := masked(k.tool(), q.run(t, k.args(o)...))
			mu.Lock()
			defer mu.Unlock()
			got[k] = s
		})
	})
	if t.Failed() {
		return
	}
	for tool, v := range version {
		var b strings.Builder
		v, _, _ = strings.Cut(v, "\n")
		fmt.Fprintf(&b, "# What %q prints in the odd network of internal/lab:\n# standard output after \"1|\", standard error after \"2|\", and the exit status.\n", v)
		b.WriteString("# Times are masked: see masks in golden_test.go. `make golden` makes this file anew.\n")
		for _, k := range all {
			if k.tool() == tool {
				fmt.Fprintf(&b, "\n$ %s\n%s", k, got[k])
			}
		}
		if err := os.WriteFile(goldenFile(tool), []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}
