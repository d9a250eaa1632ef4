// Command lab builds gtrace and gping, lays out a network of kernel routers
// in namespaces, and runs both programs across it. It is what `make lab`
// calls. With -shell it opens a shell in the client's namespace instead. It
// needs root; nothing of the network is left when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gtrace/internal/lab"
)

// patience bounds one run of a program.
const patience = time.Minute

func main() {
	shell := flag.Bool("shell", false, "open a shell at the client instead")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Usage: go run ./scripts/lab [-shell]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	// Ends the programs, not this one: it has things to clear away. A shell's
	// own Ctrl-C reaches it too and is the shell's matter.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	if !*shell {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() { <-interrupts; cancel() }()
	}
	err := run(ctx, *shell)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %s\n", strings.TrimPrefix(err.Error(), "lab: "))
		os.Exit(1)
	}
}

func run(ctx context.Context, shell bool) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("making network namespaces takes root: sudo make lab")
	}
	bin, err := os.MkdirTemp("", "gtrace-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	if err := build(ctx, bin); err != nil {
		return err
	}
	s, err := lab.BuildStandard()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	describe(s)
	if shell {
		return interactive(ctx, s, bin)
	}
	return demonstrate(ctx, s, bin)
}

func build(ctx context.Context, bin string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath",
		"-o", bin+"/", "gtrace/cmd/gtrace", "gtrace/cmd/gping")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("build the programs: %w", err)
	}
	return nil
}

func describe(s *lab.Standard) {
	fmt.Printf("client - r1 - … - r%d - target, kernel routers in network namespaces\n", lab.Routers)
	for _, family := range []int{4, 6} {
		fmt.Printf("  IPv%d: client %s, target %s (TCP port %d open, %d closed; UDP ports %d and %d answer)\n",
			family, s.Client.Only(family), s.Target.Only(family), lab.OpenPort, lab.ClosedPort, lab.EchoPort, lab.TextPort)
	}
	for _, side := range []struct {
		what string
		addr func(family int) netip.Addr
	}{
		{"unreachable", func(f int) netip.Addr { return s.Special(lab.UnreachableAt, f) }},
		{"without a route", func(f int) netip.Addr { return s.Special(lab.NoRouteAt, f) }},
		{"behind a firewall", func(f int) netip.Addr { return s.Special(lab.FirewallAt, f) }},
		{"prohibited", func(f int) netip.Addr { return s.Special(lab.ProhibitAt, f) }},
		{"rejected", func(f int) netip.Addr { return s.Rejected(1, f) }},
		{"silent", func(f int) netip.Addr { return s.Special(lab.SilentAt, f) }},
		{"nobody's", s.Dead},
		{"translated to the target", func(f int) netip.Addr { return s.Special(lab.DNATAt, f) }},
	} {
		fmt.Printf("  %s: %s, %s\n", side.what, side.addr(4), side.addr(6))
	}
	fmt.Println()
}

// demonstrate runs both programs in every way and says how many results were
// not those of the network.
func demonstrate(ctx context.Context, s *lab.Standard, bin string) error {
	wrong, all := 0, 0
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1].String()
		for _, args := range [][]string{
			{"gtrace", "-n", target},
			{"gtrace", "-n", "-I", target},
			{"gtrace", "-n", "-T", "-p", strconv.Itoa(lab.OpenPort), target},
			{"gtrace", "-n", "-T", "-p", strconv.Itoa(lab.ClosedPort), target},
			{"gping", "-n", "-c", "5", "-i", "0.2", target},
		} {
			out, err := show(ctx, s.Client, bin, args)
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			if err == nil && args[0] == "gtrace" {
				err = follows(out, path)
			}
			all++
			if err != nil {
				wrong++
				fmt.Printf("WRONG: %v\n", err)
			}
			fmt.Println()
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d runs were not right", wrong, all)
	}
	fmt.Printf("All %d runs were right: every hop's address, and the target reached.\n", all)
	return nil
}

// show runs a program at the client, prints what it says, and returns that.
func show(ctx context.Context, client *lab.Node, bin string, args []string) (string, error) {
	fmt.Println("$", strings.Join(args, " "))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out strings.Builder
	c := exec.CommandContext(ctx, filepath.Join(bin, args[0]), args[1:]...)
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := client.Start(c); err != nil {
		return "", fmt.Errorf("start %s: %w", args[0], err)
	}
	err := c.Wait()
	fmt.Print(out.String())
	if err != nil {
		return "", fmt.Errorf("%s: %w", args[0], err)
	}
	return out.String(), nil
}

// follows compares the lines of a trace, after the first, with a path.
func follows(out string, path []netip.Addr) error {
	lines := strings.Split(strings.TrimSpace(out), "\n")[1:]
	if len(lines) != len(path) {
		return fmt.Errorf("%d hops, want %d", len(lines), len(path))
	}
	for i, l := range lines {
		f := strings.Fields(l)
		if len(f) < 2 || f[0] != strconv.Itoa(i+1) || f[1] != path[i].String() {
			return fmt.Errorf("line %q, want hop %d, %s", l, i+1, path[i])
		}
	}
	return nil
}

func interactive(ctx context.Context, s *lab.Standard, bin string) error {
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	fmt.Printf("A shell at the client; gtrace and gping are on its PATH. Leave it with exit.\n")
	c := exec.CommandContext(ctx, shell)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := s.Client.Start(c); err != nil {
		return fmt.Errorf("start %s: %w", shell, err)
	}
	// The last command's status is the shell's, and says nothing of the lab.
	if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return err
	}
	return nil
}
