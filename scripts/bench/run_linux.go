package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
)

// Bounds of what a scenario takes: a run is ended after patience, and a tool that has taken its budget runs no more.
const (
	patience = 2 * time.Minute
	queue    = 1 << 16 // packets that wait at the device
)

// A runner measures scenarios.
type runner struct {
	bin    string // where ours are
	runs   int
	budget time.Duration
	scale  int // worlds are so many times smaller
}

// run measures a scenario: its tools take turns, so that whatever else the machine does hits all of them.
func (r *runner) run(ctx context.Context, s scenario) (rows []row, err error) {
	n, err := lab.Build(lab.Plan{Links: []lab.Link{{A: "client", B: "peer", V4: "192.0.2.0/30"}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if s.user {
		var undo func() error
		if r, undo, err = r.installed(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	b := &bench{runner: r, scenario: s, node: n.Node("client")}
	if b.dir, err = os.MkdirTemp("", "gtrace-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	// Collecting garbage stops the network too, until threads of lower priority have taken notice. It is done between runs.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if s.world != nil {
		tun, err := b.node.Tun("internet", home, queue)
		if err != nil {
			return nil, err
		}
		b.tun, b.world = tun, s.world(r.scale)
		if b.net, err = serve(b.world, tun); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.net.stop()) }()
	}
	rows = make([]row, len(s.tools))
	for i, t := range s.tools {
		rows[i].Tool = t
		if i > 0 {
			_, err := exec.LookPath(t.program())
			rows[i].Absent = err != nil
		}
	}
	for range r.runs {
		for i := range rows {
			row := &rows[i]
			if row.Absent || row.spent() > r.budget {
				continue
			}
			one, hosts, err := b.once(ctx, row.Tool)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", row.Tool, err)
			}
			row.Hosts, row.Results = hosts, append(row.Results, one)
		}
	}
	return rows, nil
}

func (r *row) spent() (d time.Duration) {
	for _, x := range r.Results {
		d += x.Wall
	}
	return d
}

// A bench is a scenario in its network.
type bench struct {
	*runner
	scenario scenario
	node     *lab.Node
	world    *world
	tun      *lab.Tun
	net      *internet
	dir      string
}

// once runs a tool once.
func (b *bench) once(ctx context.Context, t tool) (r result, hosts int, err error) {
	var targets []netip.Addr
	if b.world != nil {
		targets = b.world.targets
		if t.sample > 0 {
			targets = targets[:min(t.sample, len(targets))]
		}
	}
	list := filepath.Join(b.dir, "targets")
	args := slices.Clone(t.args)
	for i, a := range args {
		switch {
		case strings.Contains(a, "FILE"):
			args[i] = strings.ReplaceAll(a, "FILE", list)
		case a == "TARGET":
			args[i] = targets[0].String()
		}
	}
	var lines bytes.Buffer
	for _, a := range targets {
		fmt.Fprintln(&lines, a)
	}
	if err := os.WriteFile(list, lines.Bytes(), 0o600); err != nil {
		return r, 0, err
	}
	out, err := os.Create(filepath.Join(b.dir, "output"))
	if err != nil {
		return r, 0, err
	}
	defer out.Close()

	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if isOurs(args[0]) {
		args[0] = filepath.Join(b.bin, args[0])
	}
	var user *syscall.Credential
	if b.scenario.user {
		user = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	report, w, err := os.Pipe()
	if err != nil {
		return r, 0, err
	}
	defer report.Close()
	c := exec.CommandContext(ctx, filepath.Join(b.bin, "launch"), args...)
	c.Stdout, c.Stderr, c.ExtraFiles = out, out, []*os.File{w}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: user}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) } // the program too, and what it started
	runtime.GC()
	before, err := b.counts()
	if err != nil {
		return r, 0, err
	}
	if b.net != nil {
		b.net.first.Store(0)
	}
	err = b.node.Start(c)
	w.Close()
	if err != nil {
		return r, 0, err
	}
	err = c.Wait()
	switch code := c.ProcessState.ExitCode(); {
	case ctx.Err() != nil:
		r.Status = fmt.Sprintf("stopped after %v", patience)
	case code == 0 || code == 1 || t.perHost() && code == 123: // yes and no
	default:
		last, err := lastLine(out)
		if err != nil {
			return r, 0, err
		}
		r.Status = c.ProcessState.String() + ": " + last
	}
	if ctx.Err() == nil {
		if _, err := fmt.Fscan(report, &r.Wall, &r.CPU, &r.Memory); err != nil {
			return r, 0, fmt.Errorf("read what it took: %w (%v)", err, c.ProcessState)
		}
		r.Memory <<= 10
	} else {
		r.Wall = patience
	}
	if b.net != nil {
		after, err := b.counts()
		if err != nil {
			return r, 0, err
		}
		r.Probes, r.Dropped, r.Late = after.probes-before.probes, after.dropped-before.dropped, after.lateness(before)
		r.Span = time.Duration(b.net.last.Load() - b.net.first.Load())
	}
	if b.scenario.read != nil && !t.perHost() {
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			return r, 0, err
		}
		if r.finding, err = b.scenario.read(out, b.world, targets); err != nil {
			return r, 0, err
		}
	}
	return r, len(targets), nil
}

// nobody is an ordinary user, and a group.
const nobody = 65534

// installed is r with our programs as scripts/install-privilege leaves them: where everybody may run them, with the capability.
func (r runner) installed() (_ *runner, undo func() error, err error) {
	from := r.bin
	if r.bin, err = os.MkdirTemp("", "gtrace-bench-"); err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(r.bin) }
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	if err := os.Chmod(r.bin, 0o755); err != nil {
		return nil, nil, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(r.bin, &fs); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r.bin, err)
	}
	if fs.Flags&unix.ST_NOSUID != 0 {
		return nil, nil, fmt.Errorf("%s is on a file system without privilege for programs (nosuid): set TMPDIR to another", r.bin)
	}
	// Revision 2: magic, then permitted and inheritable, low words first (capabilities(7)).
	capability := make([]byte, 20)
	binary.LittleEndian.PutUint32(capability, 2<<24)
	binary.LittleEndian.PutUint32(capability[4:], 1<<unix.CAP_NET_RAW)
	for _, name := range programs {
		to := filepath.Join(r.bin, name)
		if err := copyProgram(filepath.Join(from, name), to); err != nil {
			return nil, nil, err
		}
		if !isOurs(name) {
			continue
		}
		if err := unix.Setxattr(to, "security.capability", capability, 0); err != nil {
			return nil, nil, fmt.Errorf("give %s CAP_NET_RAW: %w", to, err)
		}
	}
	return &r, remove, nil
}

func isOurs(program string) bool { return program == "gtrace" || program == "gping" }

// lastLine is what a program said last.
func lastLine(f *os.File) (last string, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	err = lines(f, func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			last = s
		}
	})
	return last, err
}

// counts are what the network has seen so far.
type counts struct {
	probes, dropped int64
	late            [64]int64
}

func (b *bench) counts() (c counts, err error) {
	if b.net == nil {
		return c, nil
	}
	dropped, err := b.tun.Dropped()
	c.probes, c.dropped = b.net.probes.Load(), b.net.lost.Load()+int64(dropped)
	for i := range c.late {
		c.late[i] = b.net.late[i].Load()
	}
	return c, err
}

// lateness is how late 99 of 100 answers were at most since before, up to a power of two.
func (c counts) lateness(before counts) time.Duration {
	all := int64(0)
	for i := range c.late {
		c.late[i] -= before.late[i]
		all += c.late[i]
	}
	sum := int64(0)
	for i, n := range c.late {
		if sum += n; n > 0 && sum*100 >= all*99 {
			return 1 << i
		}
	}
	return 0
}
