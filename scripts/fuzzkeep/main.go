// Command fuzzkeep makes seeds of what fuzzing found: of the inputs that Go keeps in its build cache it copies those that reach code
// which the seeds do not reach, and a few that take other turns there, the smallest first, into testdata/fuzz of their packages. There plain "go test" runs them.
//
//	fuzzkeep [PACKAGE...]
//
// All that is there stays below so many files and bytes; what is too large for a seed is left out.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	mostFiles = 400
	mostBytes = 1 << 20
	mostOne   = 16 << 10
	few       = 8 // of one target
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "fuzzkeep: %v\n", err)
		os.Exit(1)
	}
}

func run(patterns []string) error {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	cache, err := output("go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	list, err := output("go", append([]string{"list", "-f={{.ImportPath}}\t{{.Dir}}"}, patterns...)...)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "fuzzkeep-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	os.Setenv("GOCOVERDIR", tmp) // or the test programs complain
	var all []string
	for l := range strings.SplitSeq(list, "\n") {
		path, dir, _ := strings.Cut(l, "\t")
		all = append(all, dir)
		from := filepath.Join(cache, "fuzz", filepath.FromSlash(path))
		if targets, err := os.ReadDir(from); err != nil || len(targets) == 0 {
			continue
		}
		if err := keep(path, dir, from, tmp); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return count(all)
}

func output(name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	b, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", c, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// A packageTest is a test program that tells what it covers.
type packageTest struct{ program, dir, profile string }

// keep does one package's targets.
func keep(path, dir, from, tmp string) error {
	p := packageTest{filepath.Join(tmp, "test"), dir, filepath.Join(tmp, "profile")}
	if _, err := output("go", "test", "-c", "-cover", "-covermode=count", "-coverpkg=./...", "-o", p.program, path); err != nil {
		return err
	}
	names, err := output(p.program, "-test.list=^Fuzz")
	if err != nil {
		return err
	}
	for _, target := range strings.Fields(names) {
		files, err := os.ReadDir(filepath.Join(from, target))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		kept, err := p.target(target, filepath.Join(from, target), files)
		if err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
		fmt.Printf("%s %s: %d of %d inputs kept\n", path, target, kept, len(files))
	}
	return nil
}

// An input is one that the fuzzer thought worth keeping.
type input struct {
	name     string
	b        []byte
	coverage []string
	kept     bool
}

// target does one target, of which these inputs are in the cache. First come the inputs that reach what no seed reaches, and then, as
// long as there are few, those that pass somewhere another number of times than those before.
func (p packageTest) target(name, from string, files []os.DirEntry) (kept int, err error) {
	reached := make(map[string]bool)
	seeds, err := p.coverage("^" + name + "$")
	if err != nil {
		return 0, err
	}
	adds(reached, seeds, blocks)
	var all []*input
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return 0, err
		}
		if len(b) <= mostOne {
			all = append(all, &input{name: f.Name(), b: b})
		}
	}
	slices.SortFunc(all, func(a, b *input) int { return cmp.Or(len(a.b)-len(b.b), strings.Compare(a.name, b.name)) })
	to := filepath.Join(p.dir, "testdata", "fuzz", name)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return 0, err
	}
	defer os.Remove(to) // where it has stayed empty
	there := 0
	for _, in := range all {
		file := filepath.Join(to, in.name)
		if _, err := os.Stat(file); err == nil {
			there++
			continue
		}
		if err := os.WriteFile(file, in.b, 0o644); err != nil {
			return kept, err
		}
		in.coverage, err = p.coverage("^" + name + "$/^" + in.name + "$")
		if err != nil && !strings.Contains(err.Error(), "in corpus entry") { // such are from before the target had these arguments
			return kept, fmt.Errorf("%s: %w", file, err) // it stays, to be looked at
		}
		if adds(reached, in.coverage, blocks) {
			in.kept = true
			kept++
		} else if err := os.Remove(file); err != nil {
			return kept, err
		}
	}
	for _, in := range all {
		if there+kept >= few {
			break
		}
		if adds(reached, in.coverage, times) && !in.kept {
			kept++
			if err := os.WriteFile(filepath.Join(to, in.name), in.b, 0o644); err != nil {
				return kept, err
			}
		}
	}
	return kept, nil
}

// coverage runs tests and returns the lines of the profile of what they reach: block, statements and count.
func (p packageTest) coverage(tests string) (ls []string, err error) {
	c := exec.Command(p.program, "-test.run="+tests, "-test.coverprofile="+p.profile)
	c.Dir = p.dir
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	b, err := os.ReadFile(p.profile)
	if err != nil {
		return nil, err
	}
	for l := range strings.SplitSeq(string(b), "\n") {
		if strings.Contains(l, ".go:") && !strings.HasSuffix(l, " 0") {
			ls = append(ls, l)
		}
	}
	return ls, nil
}

// blocks is a line of a profile but for the count, and times with its order of magnitude.
func blocks(line string) string { return line[:strings.LastIndexByte(line, ' ')] }

func times(line string) string {
	n, _ := strconv.ParseUint(line[len(blocks(line))+1:], 10, 64)
	return fmt.Sprint(blocks(line), " ", bits.Len64(n))
}

// adds puts what lines say into reached, and reports whether some was not there.
func adds(reached map[string]bool, lines []string, key func(string) string) (more bool) {
	for _, l := range lines {
		if k := key(l); !reached[k] {
			reached[k], more = true, true
		}
	}
	return more
}

// count holds the seeds of all packages to what a repository can carry.
func count(dirs []string) error {
	files, bytes := 0, int64(0)
	for _, dir := range dirs {
		seeds, err := filepath.Glob(filepath.Join(dir, "testdata", "fuzz", "*", "*"))
		if err != nil {
			return err
		}
		for _, s := range seeds {
			i, err := os.Stat(s)
			if err != nil {
				return err
			}
			files++
			bytes += i.Size()
		}
	}
	fmt.Printf("%d seeds, %d bytes\n", files, bytes)
	if files > mostFiles || bytes > mostBytes {
		return fmt.Errorf("%d seeds of %d bytes are too many: %d files and %d bytes are the most; remove the oldest", files, bytes, mostFiles, mostBytes)
	}
	return nil
}
