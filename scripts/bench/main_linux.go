// Command bench runs gtrace and gping beside other programs that do the same, in simulated networks and on this host alone, and
// prints what whole runs take: time, CPU, memory, probes, and what was found of what there is. Runs of all take turns, so that
// whatever else the machine does hits all of them. It measures; nothing here passes or fails by a time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const preface = `# Performance

<!-- Made by "make bench WRITE=docs/performance.md". -->

gtrace and gping beside programs that do the same. What a run takes depends on the machine; what counts is the ratio to a program that ran
in turns with ours: below 1, ours takes less. Times are medians of whole runs, start to end.

- **wall**, **CPU** (its own and the kernel's on its behalf), **memory** (the most that was resident): of the program's processes alone.
- **CPU**, **probes** and all ratios but that of memory are per host: a program that runs once a host, or takes no more, was given a part of them.
- **probes**: packets that left by the device; **probes/s**: between the first and the last. **found**: of the hops, or hosts, that answer; **wrong**: that are not there.
- **runs**: no program has more than 10 s for all its runs, but each has one.

The networks are simulated, by bench itself, behind a TUN device: packets are answered with bytes as routers and hosts would answer, after the
network's delay, by one thread that goes before all others; 200 000 and more a second. Nothing in them is lost and nobody limits what it answers. Where answers came
late all the same, because that thread had no processor, or were lost, a row says so, and is worth less.

What "make bench" measures of the inner loops ("go test -bench") is below, by hand.
`

// byHand is where in the page that ends which bench writes.
const byHand = "\n<!-- What follows is written by hand; bench leaves it as it is. -->\n"

// kept is what of an old page stays.
func kept(old string) string {
	if i := strings.Index(old, byHand); i >= 0 {
		return old[i:]
	}
	return byHand
}

func main() {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	runs := flag.Int("runs", 21, "how often each program runs at most")
	budget := flag.Duration("budget", 10*time.Second, "how long each program may run in a scenario, all runs together; it runs once at least")
	scale := flag.Int("scale", 1, "make the worlds so many times smaller")
	only := flag.String("scenarios", "", "those alone, with commas between: "+strings.Join(append(names, clockName), ", "))
	page := flag.String("write", "", "write a page about it there too")
	flag.Parse()
	chosen, clock := scenarios, true
	if *only != "" {
		chosen, clock = nil, false
		for _, n := range strings.FieldsFunc(*only, func(r rune) bool { return r == ',' || r == ' ' }) {
			if n == clockName {
				clock = true
				continue
			}
			i := slices.Index(names, n)
			if i < 0 {
				fmt.Fprintf(os.Stderr, "bench: no scenario %q: there are %s\n", n, strings.Join(append(names, clockName), ", "))
				os.Exit(2)
			}
			chosen = append(chosen, scenarios[i])
		}
	}
	if *runs < 1 || *scale < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, chosen, clock, *page, runner{runs: *runs, budget: *budget, scale: *scale}); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, chosen []scenario, clock bool, page string, r runner) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("making network namespaces takes root: sudo make bench")
	}
	if r.bin, err = os.MkdirTemp("", "gtrace-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.bin)) }()
	if err := build(ctx, r.bin); err != nil {
		return err
	}
	var b strings.Builder
	if err := describe(&b, chosen); err != nil {
		return err
	}
	for _, s := range chosen {
		rows, err := r.run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := printTable(os.Stdout, &b, s.name, s.what, heads, cells(rows)); err != nil {
			return err
		}
	}
	if clock {
		rows, err := r.clock(ctx, clockTools)
		if err != nil {
			return fmt.Errorf("%s: %w", clockName, err)
		}
		if err := printTable(os.Stdout, &b, clockName, clockWhat, clockHeads, clockCells(rows)); err != nil {
			return err
		}
	}
	if page == "" {
		return nil
	}
	old, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	b.WriteString(kept(string(old)))
	return os.WriteFile(page, []byte(b.String()), 0o644)
}

// describe begins the page: what was measured how, on what, beside what.
func describe(w io.Writer, chosen []scenario) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	release := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	fmt.Fprintf(w, "%s\nMeasured on Linux %s, %d processors (%s), %s, beside:\n\n", preface, strings.Join(release[:min(2, len(release))], "."),
		runtime.NumCPU(), runtime.GOARCH, runtime.Version())
	said := make(map[string]bool)
	for _, s := range chosen {
		for _, t := range s.tools[1:] {
			if p := t.program(); !said[p] {
				said[p] = true
				fmt.Fprintf(w, "- %s: %s\n", p, version(p))
			}
		}
	}
	return nil
}

// version is what a program says of itself first.
func version(program string) string {
	flag := "-v"
	switch program {
	case "traceroute":
		flag = "--version"
	case "ping":
		flag = "-V"
	}
	if _, err := exec.LookPath(program); err != nil {
		return "not installed, hence not measured"
	}
	out, err := exec.Command(program, flag).CombinedOutput()
	first, _, _ := strings.Cut(string(out), "\n")
	if err != nil || first == "" {
		return "of a version that it does not tell"
	}
	return strings.TrimSpace(first)
}

// programs are what bench builds.
var programs = []string{"gtrace", "gping", "launch"}

// build builds our programs as they are released, and the launcher. They are then written once more, as whoever installs them does:
// Linux has a file that the linker made in small pieces in memory, and takes an eighth longer to start it.
func build(ctx context.Context, bin string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-o", bin+string(filepath.Separator), "gtrace/cmd/gtrace", "gtrace/cmd/gping", "gtrace/scripts/bench/launch")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("build the programs: %w", err)
	}
	for _, name := range programs {
		built := filepath.Join(bin, name)
		if err := errors.Join(copyProgram(built, built+".new"), os.Rename(built+".new", built)); err != nil {
			return err
		}
	}
	return nil
}

// copyProgram writes a program anew, to be run by everybody.
func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, b, 0o755), os.Chmod(to, 0o755)) // whatever the umask
}
