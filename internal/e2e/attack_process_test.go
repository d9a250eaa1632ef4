//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mkfifo(path string) error {
	if err := unix.Mkfifo(path, 0o666); err != nil {
		return err
	}
	return os.Chmod(path, 0o666)
}

// everybodys is a directory that all users may read, as those of testing are not.
func everybodys(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(bin, "files")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// maxRSS is the most memory that a finished process or one of its children had, in KiB.
func maxRSS(c *exec.Cmd) int64 { return c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss }

// waitOpening waits until a program has prepared for signals, which it does when it ignores SIGPIPE, and hangs in opening a file.
func waitOpening(t *testing.T, r *run) {
	t.Helper()
	waitOpen(t, r)
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", r.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, _ := os.ReadFile(f) // a thread that has ended has none
			var ignored uint64
			_, err := fmt.Sscanf(threads(t, r.cmd.Process.Pid)[strings.TrimSuffix(f, "syscall")+"status"]["SigIgn"], "%x", &ignored)
			if err == nil && ignored>>(unix.SIGPIPE-1)&1 == 1 && bytes.HasPrefix(b, fmt.Appendf(nil, "%d ", unix.SYS_OPENAT)) {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("it opens no file")
		}
	}
}

// waitOpen waits until a program is past the drop, in its last thread too: it reads its arguments then.
func waitOpen(t *testing.T, r *run) {
	t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		left := ""
		for file, fields := range threads(t, r.cmd.Process.Pid) {
			if fields["NoNewPrivs"] != "1" || fields["CapPrm"] != none {
				left = fmt.Sprintf("%s: %v", file, fields)
			}
		}
		switch {
		case left == "":
			return
		case time.Now().After(end):
			t.Fatalf("privilege is not given up:\n%s", left)
		}
	}
}

// asThread runs f in a thread that has become an ordinary user, which ends with it.
func asThread(t *testing.T, uid int, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread's ids are its own
		for _, set := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, e := unix.RawSyscall(set, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
				done <- e
				return
			}
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestTakeOver has the same user reach for a running program's memory and sockets.
func TestTakeOver(t *testing.T) {
	s := standard(t)
	silent := s.Special(6, 4).String()
	attacks := []struct {
		name string
		try  func(pid int) error
	}{
		{"PTRACE_ATTACH", func(pid int) error { return detach(pid, unix.PtraceAttach(pid)) }},
		{"PTRACE_SEIZE", func(pid int) error { return detach(pid, unix.PtraceSeize(pid)) }},
		{"/proc/PID/mem", func(pid int) error { return opens(pid, "mem") }},
		{"/proc/PID/maps", func(pid int) error { return opens(pid, "maps") }},
		{"/proc/PID/environ", func(pid int) error { return opens(pid, "environ") }},
		{"/proc/PID/fd", func(pid int) error { return opens(pid, "fd") }},
		{"/proc/PID/fd/0", func(pid int) error { return opens(pid, "fd/0") }},
		{"/proc/PID/map_files", func(pid int) error { return opens(pid, "map_files") }},
		{"process_vm_readv", func(pid int) error {
			b := make([]byte, 16)
			local := []unix.Iovec{{Base: &b[0], Len: 16}}
			// An address that is mapped: the program's text begins there (CGO_ENABLED=0, no PIE).
			_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 16}}, 0)
			return err
		}},
		{"pidfd_getfd", func(pid int) error {
			pidfd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return err
			}
			defer unix.Close(pidfd)
			for fd := range 32 {
				var got int
				if got, err = unix.PidfdGetfd(pidfd, fd, 0); err == nil {
					unix.Close(got)
					return nil
				} else if errors.Is(err, unix.EBADF) {
					continue
				}
				return err
			}
			return err
		}},
		{"kcmp", func(pid int) error {
			_, _, e := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(pid), 0, 0, 0, 0)
			if e != 0 {
				return e
			}
			return nil
		}},
	}
	try := func(t *testing.T, path string) map[string]error {
		r := start(t, s.Client, as(nobody), path, "-n", "-q1", "-w3600,0,0", silent)
		r.line()
		r.line()
		got := make(map[string]error)
		asThread(t, nobody, func() {
			for _, a := range attacks {
				got[a.name] = a.try(r.cmd.Process.Pid)
			}
		})
		r.signal(os.Interrupt)
		r.end()
		return got
	}
	for _, in := range installs[1:] {
		t.Run(in.name, func(t *testing.T) {
			for name, err := range try(t, installed(t, in, "gtrace")) {
				if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
					t.Errorf("%s: %v, want it refused", name, err)
				}
			}
		})
	}
	t.Run("as built", func(t *testing.T) { // nothing to protect, and so the attempts are real ones
		for name, err := range try(t, program("gtrace")) {
			if err != nil && !(strings.HasPrefix(name, "PTRACE") || name == "pidfd_getfd" || name == "process_vm_readv" || name == "kcmp" || name == "/proc/PID/mem" || name == "/proc/PID/map_files") {
				t.Errorf("%s: %v, want it to work on a program without privilege", name, err)
			} else if err != nil {
				t.Logf("%s: %v on a program without privilege too: a security module, or a capability it takes", name, err)
			}
		}
	})
}

func opens(pid int, what string) error {
	path := fmt.Sprintf("/proc/%d/%s", pid, what)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err = unix.Read(fd, make([]byte, 16)); errors.Is(err, unix.EISDIR) {
		_, err = unix.Getdents(fd, make([]byte, 4096))
	}
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EAGAIN) { // it is open, and nothing is there
		err = nil
	}
	return err
}

// detach lets a tracee go.
func detach(pid int, err error) error {
	if err == nil {
		var ws unix.WaitStatus
		_ = unix.PtraceInterrupt(pid)
		_, _ = unix.Wait4(pid, &ws, unix.WALL, nil)
		_ = unix.PtraceDetach(pid)
	}
	return err
}

// TestNoCore kills programs as their user may: neither a core nor a trace of their goroutines is left.
func TestNoCore(t *testing.T) {
	s := standard(t)
	silent := s.Special(6, 4).String()
	for _, in := range installs[1:] {
		for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGSYS} {
			t.Run(in.name+" "+sig.String(), func(t *testing.T) {
				dir := everybodys(t)
				if err := os.Chmod(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				r := start(t, s.Client, func(c *exec.Cmd) {
					as(nobody)(c)
					c.Args = []string{"sh", "-c", `ulimit -c unlimited; exec "$0" "$@"`, c.Path, "-n", "-q1", "-w3600,0,0", silent}
					c.Path = "/bin/sh"
					c.Dir = dir
					c.Env = []string{"GOTRACEBACK=crash", "GODEBUG=tracebackancestors=9"}
				}, installed(t, in, "gtrace"))
				r.line()
				r.line()
				r.signal(sig)
				res := r.end()
				if ws := r.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.CoreDump() {
					t.Error("a core was dumped")
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
				if strings.Contains(res.stderr, "goroutine ") || strings.Contains(res.stderr, ".go:") {
					t.Errorf("a trace of goroutines\n%v", res)
				}
			})
		}
	}
}

// TestSteer gives the programs an environment that means something to many programs: to these it does not.
func TestSteer(t *testing.T) {
	s := standard(t)
	target := s.Target.Only(4).String()
	wild := strings.Repeat("\x1b[2J\r\n\xff", 15_000) // a string of the environment has up to 128 KiB
	environments := []string{
		"GODEBUG=gctrace=1,gcpacertrace=1,scavtrace=1", "GODEBUG=netdns=cgo+9", "GODEBUG=http2debug=2,fips140=only,panicnil=1", "GODEBUG=sbrk=1,gcstoptheworld=2",
		"GODEBUG=efence=1,clobberfree=1,invalidptr=0,checkfinalizers=1", "GODEBUG=" + wild,
		"GOTRACEBACK=crash", "GOMAXPROCS=1", "GOMAXPROCS=x", "GOGC=off", "GOGC=0", "GOMEMLIMIT=1B", "GOMEMLIMIT=off",
		"TZ=:/attack", "TZ=../../../attack", "LOCALDOMAIN=attack.example", "RES_OPTIONS=debug", "HOSTALIASES=/attack", "RESOLV_HOST_CONF=/attack", "RESOLV_MULTI=on",
		"LD_PRELOAD=/attack.so", "LD_LIBRARY_PATH=/attack", "LD_AUDIT=/attack.so", "LD_DEBUG=all", "PATH=/attack", "HOME=/attack", "TMPDIR=/attack",
		"http_proxy=http://attack.example", "ALL_PROXY=socks5://attack.example", "SSL_CERT_FILE=/attack", "SSLKEYLOGFILE=/attack",
		"GTRACE_FORMAT=text", "GPING_COUNT=9", "GPING_OPTIONS=-c9", "FPING_OPTIONS=-c9", "IFS=x", "BASH_ENV=/attack",
		"LANG=" + wild, "LC_ALL=../../attack", "LC_ALL=de_DE.UTF-8", "COLUMNS=-1", "COLUMNS=99999999999999999999", "COLUMNS=" + wild, "TERM=" + wild, "NO_COLOR=" + wild,
		"=x", "x", strings.Repeat("A", 100_000) + "=1",
	}
	for i, env := range environments {
		in := installs[1+i%2]
		name := env
		if len(name) > 40 {
			name = fmt.Sprintf("%q…", name[:20])
		}
		t.Run(in.name+" "+name, func(t *testing.T) {
			r := start(t, s.Client, func(c *exec.Cmd) {
				as(nobody)(c)
				c.Env = []string{env}
			}, installed(t, in, "gping"), "-n", "--json", "-c1", target).end()
			d, err := readPing(r)
			if err != nil {
				t.Fatal(err)
			}
			faults := checkEnd(r, d.Outcome, "answered", 0)
			if d.Method.Socket != "raw" || d.Summary.Sent != 1 || r.stderr != "" {
				faults = append(faults, "want one request by a raw socket, and nothing said")
			}
			tell(t, r, faults)
		})
	}
	// What the runtime shows of its own start, before any of the program's code, is all there is of these.
	own := regexp.MustCompile(`^(init \S+ @|SCHED \d+ms:|  [PMG]\d+: |GOMEMLIMIT=|fatal error: malformed GOMEMLIMIT)`)
	for _, env := range []string{"GODEBUG=inittrace=1", "GODEBUG=schedtrace=1,scheddetail=1", "GOMEMLIMIT=x"} {
		t.Run(env, func(t *testing.T) {
			r := start(t, s.Client, func(c *exec.Cmd) {
				as(nobody)(c)
				c.Env = []string{env}
			}, installed(t, installs[2], "gping"), "-n", "-c1", target).end()
			for l := range strings.Lines(r.stderr) {
				if strings.HasSuffix(l, "\n") && !own.MatchString(l) { // the start anew may cut the last
					t.Errorf("%q on standard error", l)
				}
			}
			if n := strings.Count(r.stderr, "init main "); n > 1 {
				t.Errorf("%d starts told of, want one: the program is started anew without it", n)
			}
		})
	}
}

// TestWildStart starts the programs as no shell does.
func TestWildStart(t *testing.T) {
	s := standard(t)
	target := s.Target.Only(4).String()
	for _, in := range installs[1:] {
		path := installed(t, in, "gping")
		for _, name := range []string{"", "/", ".", "..", "-h", "--", "\x1b[2J", "ping\n", "a/b/../gping", strings.Repeat("x", 100_000), "doctor", "\xff"} {
			t.Run(fmt.Sprintf("%s called %.12q", in.name, name), func(t *testing.T) {
				r := start(t, s.Client, both(as(nobody), byName(name)), path, "-n", "-c1", "--json", target).end()
				if d, err := readPing(r); err != nil || r.status != 0 || d.Method.Socket != "raw" {
					t.Errorf("%v\n%v", err, r)
				}
				r = start(t, s.Client, both(as(nobody), byName(name)), path, "--nonsense").end()
				if r.status != 2 || !strings.HasPrefix(r.stderr, "gping: ") || strings.Count(r.stderr, "\n") != 1 || strings.Contains(r.stderr, "\x1b") || strings.Contains(r.stderr, "\xff") {
					t.Errorf("want one line from gping\n%v", r)
				}
			})
		}
		for _, tt := range []struct{ name, sh string }{
			{"few descriptors", "ulimit -n 4"}, {"some descriptors", "ulimit -n 12"}, {"little memory", "ulimit -v 200000"}, {"no files", "ulimit -f 0"},
			{"no stack", "ulimit -s 64"}, {"no processes", "ulimit -u 1"}, {"signals ignored", "trap '' PIPE INT TERM QUIT HUP ALRM"}, {"a directory for input", "exec </"},
			{"no input", "exec <&-"}, {"no output", "exec >&-"}, {"no errors", "exec 2>&-"}, {"nothing open", "exec <&- >&- 2>&-"}, {"a full disk", "exec >/dev/full"},
		} {
			t.Run(in.name+" "+tt.name, func(t *testing.T) {
				c, err := s.Client.Capture("r1", 1000)
				if err != nil {
					t.Fatal(err)
				}
				r := start(t, s.Client, as(nobody), "/bin/sh", "-c", tt.sh+`; exec "$0" "$@"`, path, "-n", "-c1", "-W5", target).end()
				if strings.Contains(r.stderr, "goroutine ") {
					t.Errorf("a trace of goroutines\n%v", r)
				}
				// One request, or none where it could not be: in particular nothing of the output.
				for i, p := range left(t, c) {
					if i > 0 || p.proto != 1 || p.icmpType != 8 || len(p.Data) != 84 {
						t.Errorf("packet %d: protocol %d, ICMP %d, %d bytes\n%v", i, p.proto, p.icmpType, len(p.Data), r)
					}
				}
			})
		}
		t.Run(in.name+" standard descriptors", func(t *testing.T) {
			r := start(t, s.Client, as(nobody), "/bin/sh", "-c", `exec <&- >&- 2>&-; exec "$0" "$@"`, path, "-n", "-i3600", target)
			waitOpen(t, r)
			for fd := range 3 {
				if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", r.cmd.Process.Pid, fd)); err != nil || to != "/dev/null" {
					t.Errorf("descriptor %d is %q, %v, want /dev/null", fd, to, err)
				}
			}
			r.signal(os.Interrupt)
			r.end()
		})
		t.Run(in.name+" without /proc", func(t *testing.T) {
			for _, tool := range []string{"unshare", "setpriv"} {
				if _, err := exec.LookPath(tool); err != nil {
					lacks(t, tool, "util-linux")
				}
			}
			r := start(t, s.Client, nil, "/bin/sh", "-c", `exec unshare -m sh -c 'umount -l /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" "$@"' "$@"`,
				"sh", path, "-n", "-c1", target).end()
			if r.status != 2 || !strings.HasPrefix(r.stderr, "gping: give up privilege: ") || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("want it to end, as it cannot tell that nothing is left\n%v", r)
			}
		})
	}
}

// lacks leaves a test out for want of a program, but not where everything has to run.
func lacks(t *testing.T, tool, pkg string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, so this test may not be left out: %s is not installed: apt-get install -y --no-install-recommends %s", tool, pkg)
	}
	t.Skipf("left out: %s is not installed: apt-get install -y --no-install-recommends %s", tool, pkg)
}

// TestOrder looks at every system call of every short path through the programs. Until the last thread has given up its
// privilege, nothing is opened but what the Go runtime and this program always read; the raw sockets are opened
// before, and what options and the environment name after.
func TestOrder(t *testing.T) {
	s := standard(t)
	strace, err := exec.LookPath("strace")
	if err != nil {
		lacks(t, "strace", "strace")
	}
	target := s.Target.Only(4).String()
	// Of the marker's many faces none may show before the drop.
	const marker = "/attack-marker"
	env := []string{"PATH=/usr/bin:/bin", "TZ=" + marker, "ZONEINFO=" + marker, "TZDIR=" + marker, "HOME=" + marker, "TMPDIR=" + marker, "LD_PRELOAD=" + marker,
		"HOSTALIASES=" + marker, "LOCALDOMAIN=attack-marker", "GTRACE_CONFIG=" + marker, "GPING_CONFIG=" + marker, "LANG=" + marker, "GODEBUG=netdns=cgo+2"}
	type way struct {
		args   []string
		before string // sh, as what closes output
	}
	ways := []way{
		{args: []string{"gping", "--help"}}, {args: []string{"gtrace", "--version"}}, {args: []string{"gtrace", "--man"}}, {args: []string{"gping", "--completion", "bash"}},
		{args: []string{"gtrace", "--nonsense"}}, {args: []string{"gping"}}, {args: []string{"gtrace", "-q", marker}},
		{args: []string{"gping", "doctor"}}, {args: []string{"gtrace", "doctor", "--json"}},
		{args: []string{"gping", "-n", "-c1", target}}, {args: []string{"gtrace", "-q1", "-m2", "-w1", target}},
		{args: []string{"gping", "-c1", "-W1", "no-such-host.invalid"}},
		{args: []string{"gping", "-c1", "--targets", marker}}, {args: []string{"gtrace", "--file", "/dev/null", "--as-server", "no-such-host.invalid", "-A", "127.0.0.1"}},
		{args: []string{"gtrace", "-p", "no-such-service", target}}, {args: []string{"gtrace", "-M", "tcpconn", "-m1", "-w1", target}},
		{args: []string{"gping", "-c1", target}, before: "exec >&-;"}, {args: []string{"gping", "-c1", target}, before: "exec >/dev/full;"},
		{args: []string{"fping", "-c1", "-f", marker}}, {args: []string{"ping", "-h"}}, {args: []string{"tracepath"}},
	}
	always := regexp.MustCompile(`^"(/sys/kernel/mm/transparent_hugepage/hpage_pmd_size|/proc/self/(cgroup|mountinfo|auxv|task|exe|task/\d+/status|status)|\d+/status|/proc/self/task/\d+/status|/sys/fs/cgroup/[\w./:@-]*cpu[.\w]*|/dev/null)"`)
	for i, w := range ways {
		in := installs[1+i%2]
		t.Run(fmt.Sprintf("%s %s%s", in.name, w.before, strings.Join(w.args, " ")), func(t *testing.T) {
			path, _ := inPersona(t, in, w.args[0])
			trace := filepath.Join(t.TempDir(), "trace")
			args := []string{strace, "-f", "-qq", "-u", "nobody", "-e", "signal=none", "-s", "300", "-o", trace}
			for _, e := range env {
				args = append(args, "-E", e)
			}
			name := filepath.Base(path)
			if w.args[0] != "gping" && w.args[0] != "gtrace" {
				name = w.args[0]
			}
			sh := fmt.Sprintf("%s exec -a %s %s \"$@\"", w.before, name, path)
			args = append(append(args, "bash", "-c", sh, "bash"), w.args[1:]...)
			r := start(t, s.Client, nil, args...).end()
			b, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			checkOrder(t, r, string(b), path, always, marker)
		})
	}
}

var (
	startedLine  = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	openingCalls = []string{"open", "openat", "openat2", "creat", "stat", "newfstatat", "statx", "readlink", "readlinkat", "access", "faccessat", "faccessat2", "connect", "chdir", "mkdir", "unlink", "rename"}
)

// checkOrder reads what strace wrote.
func checkOrder(t *testing.T, r result, trace, path string, always *regexp.Regexp, marker string) {
	t.Helper()
	lines := strings.Split(trace, "\n")
	begin, dropped, threads := -1, -1, 1
	for i, l := range lines {
		switch {
		case strings.Contains(l, `execve("`+path+`"`), strings.Contains(l, `execve("/proc/self/exe"`):
			begin = i // the last counts: it is started anew where the runtime's variables were set
		case strings.Contains(l, "PR_SET_NO_NEW_PRIVS, 1"):
			dropped = i
		case strings.Contains(l, "CLONE_THREAD"):
			threads++
		}
	}
	if begin < 0 || dropped < begin || threads < 2 {
		t.Fatalf("start in line %d, end of privilege in %d of %d, %d threads\n%v\n%s", begin, dropped, len(lines), threads, r, trace)
	}
	raw := 0
	for i, l := range lines[begin+1:] {
		m := startedLine.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		call, rest := m[2], m[3]
		before := begin+1+i < dropped
		if call == "socket" && strings.Contains(rest, "SOCK_RAW") && strings.HasPrefix(rest, "AF_INET") {
			if raw++; !before {
				if !strings.Contains(l, "EPERM") && !strings.Contains(l, "unfinished") {
					t.Errorf("a raw socket after the drop: %s", l)
				}
			}
		}
		if call == "execve" {
			t.Errorf("a program is started: %s", l)
		}
		if !before {
			continue
		}
		if strings.Contains(rest, marker) {
			t.Errorf("steered with privilege: %s", l)
		}
		if slices.Contains(openingCalls, call) {
			_, file, _ := strings.Cut(rest, "\"")
			if !always.MatchString(`"` + file) {
				t.Errorf("opened with privilege: %s", l)
			}
		}
	}
	if raw == 0 {
		t.Errorf("no raw socket was opened\n%v", r)
	}
}

// TestThreads reads every thread's rights where a program waits: for a name server, for a list that does not come.
func TestThreads(t *testing.T) {
	s := standard(t)
	fifo := filepath.Join(everybodys(t), "fifo")
	if err := mkfifo(fifo); err != nil {
		t.Fatal(err)
	}
	hold, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	for _, in := range installs[1:] {
		for _, tt := range []struct {
			name string
			args []string
		}{
			{"a list", []string{"gtrace", "--targets", fifo}},
			{"standard input", []string{"fping"}},
			{"an interval", []string{"gping", "-n", "-i3600", s.Target.Only(4).String()}},
			{"closed output", []string{"gping", "-n", "-i3600", "--json", s.Target.Only(4).String()}},
		} {
			t.Run(in.name+" "+tt.name, func(t *testing.T) {
				path, change := inPersona(t, in, tt.args[0])
				r := start(t, s.Client, func(c *exec.Cmd) {
					change(c)
					c.Stdin = hold
				}, append([]string{path}, tt.args[1:]...)...)
				waitOpen(t, r)
				ids := fmt.Sprintf("%d %[1]d %[1]d %[1]d", in.uid)
				want := map[string]string{"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1", "Uid": ids, "Gid": ids}
				if in.rootly {
					want["CapBnd"] = none
				}
				for file, fields := range threads(t, r.cmd.Process.Pid) {
					for k, v := range want {
						if got := fields[k]; got != v {
							t.Errorf("%s: %s is %q, want %q", file, k, got, v)
						}
					}
				}
				r.signal(os.Interrupt)
				r.end()
			})
		}
	}
}
