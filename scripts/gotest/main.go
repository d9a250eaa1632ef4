// Command gotest runs go test and tells, beside what go test tells, which
// tests were left out and why, and how many there were in all.
//
//	gotest [GO TEST ARGUMENT]... PACKAGE...
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	c := exec.Command(cmp.Or(os.Getenv("GO"), "go"), append([]string{"test", "-json"}, os.Args[1:]...)...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "gotest: %v\n", err)
		os.Exit(2)
	}
	failed := summarise(os.Stdout, out)
	if err := c.Wait(); err != nil {
		fmt.Fprintf(os.Stderr, "gotest: go test: %v\n", err)
		os.Exit(1)
	}
	if failed {
		os.Exit(1)
	}
}

// An event is a line of go test -json (see go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// A result is what one test, or the package outside any test, printed.
type result struct {
	name   string
	action string // pass, fail or skip; "" while it runs
	output strings.Builder
}

// summarise turns the events in r into what go test prints without -v, and a
// closing count. It reports whether anything failed.
func summarise(w io.Writer, r io.Reader) (failed bool) {
	packages := make(map[string][]*result) // in the order of appearance
	find := func(e event) *result {
		for _, t := range packages[e.Package] {
			if t.name == e.Test {
				return t
			}
		}
		t := &result{name: e.Test}
		packages[e.Package] = append(packages[e.Package], t)
		return t
	}
	count := make(map[string]int)
	left := make(map[string][]string) // tests, by package and reason

	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintf(w, "%s\n", lines.Bytes()) // not an event: go test itself speaks
			continue
		}
		switch e.Action {
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "output":
			find(e).output.WriteString(e.Output)
		case "pass", "fail", "skip":
			t := find(e)
			t.action = e.Action
			failed = failed || e.Action == "fail"
			if e.Test != "" {
				count[e.Action]++
				if e.Action == "skip" {
					why := fmt.Sprintf("left out of %s, %s", e.Package, reason(t.output.String()))
					left[why] = append(left[why], e.Test)
				}
				continue
			}
			printPackage(w, packages[e.Package], e.Action == "fail")
			delete(packages, e.Package)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintf(w, "gotest: read go test: %v\n", err)
		failed = true
	}
	for _, why := range slices.Sorted(maps.Keys(left)) {
		fmt.Fprintf(w, "%s: %s\n", why, strings.Join(left[why], ", "))
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	return failed
}

// printPackage prints the one line of a package that passed, or of one that
// failed all that may tell why: what it printed outside any test, and what
// each test printed that failed or did not end.
func printPackage(w io.Writer, results []*result, failed bool) {
	for _, t := range results {
		text := t.output.String()
		switch {
		case failed && (t.name == "" || t.action == "fail" || t.action == ""):
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "=== ") { // that a test began says nothing
					fmt.Fprint(w, line)
				}
			}
		case t.name == "":
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "ok\t") {
					fmt.Fprint(w, line)
				}
			}
		}
	}
}

// reason is what a skipped test said: the lines go test puts a place in front of.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				line = text
			}
		}
		said = append(said, line)
	}
	return cmp.Or(strings.Join(said, " "), "no reason given")
}
