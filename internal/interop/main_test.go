//go:build linux

package interop

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gtrace/internal/lab"
)

// golden makes the files in testdata anew instead of testing anything.
var golden = flag.Bool("golden", false, "make the files in testdata anew, with the programs installed")

// patience bounds every run of a program. Nothing that works comes near it.
const patience = 25 * time.Second

// install is what the tests need of a Debian machine.
const install = "apt-get install -y --no-install-recommends traceroute iputils-ping iputils-tracepath fping mtr-tiny jc monitoring-plugins-basic monitoring-plugins-standard"

// names are what our programs are called by in the place of others.
var names = map[string]string{
	"ping": "gping", "ping6": "gping", "fping": "gping", "fping6": "gping",
	"traceroute": "gtrace", "traceroute6": "gtrace", "tracepath": "gtrace",
}

var (
	dir  string // a directory of the tests' own
	once struct {
		build, network sync.Once
		buildErr, err  error
		odd            *lab.Odd
	}
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) (status int) {
	var err error
	if dir, err = os.MkdirTemp("", "gtrace-interop-"); err != nil {
		fmt.Fprintf(os.Stderr, "interop: make a directory for the programs: %v\n", err)
		return 1
	}
	defer os.RemoveAll(dir)
	defer func() {
		if once.odd == nil {
			return
		}
		if err := once.odd.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "interop: close the network: %v\n", err)
			status = 1
		}
	}()
	return m.Run()
}

// ours is a directory with our programs and links to them by others' names.
func ours(t *testing.T) string {
	t.Helper()
	lab.Need(t)
	d := filepath.Join(dir, "ours")
	once.build.Do(func() {
		c := exec.Command("go", "build", "-trimpath",
			"-o", d+"/", "gtrace/cmd/gtrace", "gtrace/cmd/gping")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			once.buildErr = fmt.Errorf("build the programs: %w\n%s", err, out)
			return
		}
		for name, program := range names {
			once.buildErr = errors.Join(once.buildErr, os.Symlink(program, filepath.Join(d, name)))
		}
	})
	if once.buildErr != nil {
		t.Fatal(once.buildErr)
	}
	return d
}

// need says whether the programs are installed. Without one of them it skips
// the test with the command that mends it; where CI is set, it fails it.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := find(p); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("CI is set, so this test may not be left out: %v; %s", err, install)
			}
			t.Skipf("left out: %v; %s", err, install)
		}
	}
}

// find is where a program is, on the PATH or where Debian keeps programs that are not for everybody's.
func find(program string) (string, error) {
	p, err := exec.LookPath(program)
	for _, d := range []string{"/usr/sbin", "/usr/lib/nagios/plugins"} {
		if err != nil {
			p, err = exec.LookPath(filepath.Join(d, program))
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s is not installed", program)
	}
	return filepath.EvalSymlinks(p)
}

// theirs is a directory with links to the programs ours stand in for.
func theirs(t *testing.T) string {
	t.Helper()
	need(t, "ping", "fping", "traceroute", "tracepath")
	d := t.TempDir()
	for name := range names {
		p, err := find(strings.TrimSuffix(name, "6"))
		if err == nil {
			err = os.Symlink(p, filepath.Join(d, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// odd is the odd network, which all tests share that leave nothing behind in it.
func odd(t *testing.T) *lab.Odd {
	t.Helper()
	lab.Need(t)
	once.network.Do(func() { once.odd, once.err = lab.BuildOdd() })
	if once.err != nil {
		t.Fatal(once.err)
	}
	return once.odd
}

// fresh is an odd network of the test's own.
func fresh(t *testing.T) *lab.Odd {
	t.Helper()
	lab.Need(t)
	o, err := lab.BuildOdd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// A result is what a program left.
type result struct {
	stdout, stderr string
	status         int
}

func (r result) String() string {
	return fmt.Sprintf("status %d\nstdout: %s\nstderr: %s", r.status, r.stdout, r.stderr)
}

// A place is where programs run: at the client of an odd network, with a file
// system in which some files stand over others. Nothing of that is seen
// outside: it is in a mount namespace of the program's own.
type place struct {
	odd  *lab.Odd
	path string            // searched before the PATH
	over map[string]string // by file: what stands over it
}

// enter puts files over others, then becomes the program. No name server can
// be asked in the network, so the names are those of the file of hosts.
const enter = `while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"`

// run runs a program to its end.
func (p place) run(t *testing.T, args ...string) result {
	t.Helper()
	hosts, resolv := filepath.Join(t.TempDir(), "hosts"), filepath.Join(t.TempDir(), "resolv.conf")
	var known strings.Builder
	known.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, f := range []int{4, 6} {
		for _, h := range p.odd.Hosts(f) {
			fmt.Fprintf(&known, "%s %s.example\n", p.odd.Addr(h, f), h)
		}
	}
	// Nobody listens there, and who asks is told so at once.
	err := errors.Join(os.WriteFile(hosts, []byte(known.String()), 0o644),
		os.WriteFile(resolv, []byte("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	line := []string{"-m", "sh", "-c", enter, "sh", hosts, "/etc/hosts", resolv, "/etc/resolv.conf"}
	for under, over := range p.over {
		line = append(line, over, under)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "unshare", append(append(line, "--"), args...)...)
	c.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "PATH="+p.path+":"+os.Getenv("PATH")+":/usr/sbin")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := p.odd.Client.Start(c); err != nil {
		t.Fatalf("start %v: %v", args, err)
	}
	if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("%v: %v", args, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%v: had not ended within %v\nstdout: %s\nstderr: %s", args, patience, &stdout, &stderr)
	}
	return result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}
