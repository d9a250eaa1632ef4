package rawsock

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An attempt is something that a confined program must not be able to do.
type attempt struct {
	name  string
	calls unix.Errno // how the filter refuses it; 0: it is none of its business
	files unix.Errno // how Landlock does
	try   func() unix.Errno
}

// syscallOf tries a system call whose arguments are such that it changes nothing even where it is let through.
func syscallOf(nr uintptr, args ...uintptr) func() unix.Errno {
	return func() unix.Errno {
		var a [6]uintptr
		copy(a[:], args)
		_, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		return e
	}
}

func opening(path string, flags int) func() unix.Errno {
	return func() unix.Errno { return closed(unix.Open(path, flags|unix.O_CLOEXEC, 0o600)) }
}

func socketOf(family, typ, proto int) func() unix.Errno {
	return func() unix.Errno { return closed(unix.Socket(family, typ, proto)) }
}

// closed takes the descriptor back that a call may have returned.
func closed(fd int, err error) unix.Errno {
	if err == nil {
		unix.Close(fd)
	}
	return errno(err)
}

// errno is what the system said, 0 for nil.
func errno(err error) unix.Errno {
	var e unix.Errno
	if err != nil && !errors.As(err, &e) {
		return unix.ENOTRECOVERABLE // none that is wanted anywhere
	}
	return e
}

// attempts are made in dir, which is the child's own.
func attempts(dir string) []attempt {
	const bad = ^uintptr(0) // a descriptor or process that is not there, or memory
	file := filepath.Join(dir, "file")
	path, err := unix.BytePtrFromString(file)
	if err != nil {
		panic(err)
	}
	name := uintptr(unsafe.Pointer(path))
	missing := uintptr(unsafe.Pointer(&[]byte("/missing\x00")[0]))
	here := bad - 99 // AT_FDCWD
	parent := uintptr(os.Getppid())
	return []attempt{
		{name: "write to a file", calls: unix.EPERM, files: unix.EACCES, try: opening(file, unix.O_WRONLY)},
		{name: "write to a device", calls: unix.EPERM, files: unix.EACCES, try: opening("/dev/null", unix.O_RDWR)},
		{name: "append", calls: unix.EPERM, files: unix.EACCES, try: opening(file, unix.O_WRONLY|unix.O_APPEND)},
		{name: "truncate while reading", calls: unix.EPERM, files: unix.EACCES, try: opening(file, unix.O_RDONLY|unix.O_TRUNC)},
		{name: "make a file", calls: unix.EPERM, files: unix.EACCES, try: opening(filepath.Join(dir, "new"), unix.O_RDONLY|unix.O_CREAT)},
		{name: "make a file without a name", calls: unix.EPERM, files: unix.EACCES, try: opening(dir, unix.O_WRONLY|unix.O_TMPFILE)},
		{name: "openat2", calls: unix.ENOSYS, try: func() unix.Errno { return closed(unix.Openat2(unix.AT_FDCWD, file, &unix.OpenHow{})) }},
		{name: "make a directory", calls: unix.ENOSYS, files: unix.EACCES, try: func() unix.Errno {
			err := unix.Mkdirat(unix.AT_FDCWD, filepath.Join(dir, "sub"), 0o700)
			if err == nil {
				err = unix.Unlinkat(unix.AT_FDCWD, filepath.Join(dir, "sub"), unix.AT_REMOVEDIR)
			}
			return errno(err)
		}},
		{name: "make a symbolic link", calls: unix.ENOSYS, files: unix.EACCES, try: func() unix.Errno {
			err := unix.Symlinkat(file, unix.AT_FDCWD, filepath.Join(dir, "link"))
			if err == nil {
				err = unix.Unlinkat(unix.AT_FDCWD, filepath.Join(dir, "link"), 0)
			}
			return errno(err)
		}},
		{name: "truncate", calls: unix.ENOSYS, files: unix.EACCES, try: func() unix.Errno { return errno(unix.Truncate(file, 0)) }},
		{name: "rename", calls: unix.ENOSYS, files: unix.EACCES, try: func() unix.Errno {
			return errno(unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, filepath.Join(dir, "file"), 0))
		}},
		{name: "change a mode", calls: unix.ENOSYS, try: syscallOf(unix.SYS_FCHMODAT, here, name, 0o600)},
		{name: "change an owner", calls: unix.ENOSYS, try: syscallOf(unix.SYS_FCHOWNAT, here, name, bad, bad, 0)},
		{name: "mount", calls: unix.ENOSYS, try: syscallOf(unix.SYS_MOUNT, bad, bad, bad, 0, 0)},

		{name: "run a program", calls: unix.ENOSYS, try: syscallOf(unix.SYS_EXECVE, missing, 0, 0)},
		{name: "run a program, by descriptor", calls: unix.ENOSYS, try: syscallOf(unix.SYS_EXECVEAT, bad, missing, 0, 0, 0)},
		// Flags that no kernel takes together, or this test would have one more process.
		{name: "make a process", calls: unix.EPERM, try: syscallOf(unix.SYS_CLONE, unix.CLONE_FS|unix.CLONE_NEWNS|uintptr(unix.SIGCHLD))},
		{name: "make a thread in a namespace", calls: unix.EPERM, try: syscallOf(unix.SYS_CLONE, unix.CLONE_THREAD|unix.CLONE_FS|unix.CLONE_NEWNS)},
		{name: "clone3", calls: unix.ENOSYS, try: syscallOf(unix.SYS_CLONE3, bad, 0)},
		{name: "unshare", calls: unix.ENOSYS, try: syscallOf(unix.SYS_UNSHARE, 0)},
		{name: "enter a namespace", calls: unix.ENOSYS, try: syscallOf(unix.SYS_SETNS, bad, 0)},
		{name: "trace", calls: unix.ENOSYS, try: syscallOf(unix.SYS_PTRACE, bad)},
		{name: "read another's memory", calls: unix.ENOSYS, try: syscallOf(unix.SYS_PROCESS_VM_READV, parent, 0, 0, 0, 0, 0)},
		{name: "write another's memory", calls: unix.ENOSYS, try: syscallOf(unix.SYS_PROCESS_VM_WRITEV, parent, 0, 0, 0, 0, 0)},
		{name: "hold a process", calls: unix.ENOSYS, try: syscallOf(unix.SYS_PIDFD_OPEN, bad, 0)},
		{name: "take a descriptor", calls: unix.ENOSYS, try: syscallOf(unix.SYS_PIDFD_GETFD, bad, 0, 0)},
		{name: "signal another process", calls: unix.EPERM, files: unix.EPERM, try: syscallOf(unix.SYS_KILL, parent, 0)},
		{name: "signal a thread of another process", calls: unix.EPERM, files: unix.EPERM, try: syscallOf(unix.SYS_TGKILL, parent, parent, 0)},
		{name: "signal whoever there is", calls: unix.EPERM, try: syscallOf(unix.SYS_KILL, bad, 0)}, // signal 0 is none

		{name: "packet socket", calls: unix.EPERM, try: socketOf(unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{name: "raw IPv4 socket", calls: unix.EPERM, try: socketOf(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)},
		{name: "raw IPv6 socket", calls: unix.EPERM, try: socketOf(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)},
		{name: "Unix socket", calls: unix.EPERM, try: socketOf(unix.AF_UNIX, unix.SOCK_STREAM, 0)},
		{name: "another kind of netlink", calls: unix.EPERM, try: socketOf(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)},
		{name: "a pair of sockets", calls: unix.ENOSYS, try: syscallOf(unix.SYS_SOCKETPAIR, bad, 0, 0, 0)},

		{name: "executable memory", calls: unix.EPERM, try: func() unix.Errno {
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err == nil {
				err = unix.Munmap(b)
			}
			return errno(err)
		}},
		{name: "memory made executable", calls: unix.EPERM, try: func() unix.Errno {
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return unix.ENOTRECOVERABLE
			}
			defer unix.Munmap(b)
			return errno(unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC))
		}},
		{name: "a file in memory", calls: unix.ENOSYS, try: syscallOf(unix.SYS_MEMFD_CREATE, bad, 0)},

		{name: "io_uring", calls: unix.ENOSYS, try: syscallOf(unix.SYS_IO_URING_SETUP, 1, bad)},
		{name: "bpf", calls: unix.ENOSYS, try: syscallOf(unix.SYS_BPF, bad, bad, 0)},
		{name: "perf", calls: unix.ENOSYS, try: syscallOf(unix.SYS_PERF_EVENT_OPEN, bad, 0, 0, bad, 0)},
		{name: "keys", calls: unix.ENOSYS, try: syscallOf(unix.SYS_KEYCTL, bad)},
		{name: "another user", calls: unix.ENOSYS, try: syscallOf(unix.SYS_SETRESUID, bad, bad, bad)},
		{name: "another group", calls: unix.ENOSYS, try: syscallOf(unix.SYS_SETRESGID, bad, bad, bad)},
		{name: "capabilities", calls: unix.ENOSYS, try: syscallOf(unix.SYS_CAPSET, bad, 0)},
		{name: "to be dumped", calls: unix.EPERM, try: syscallOf(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)},
		{name: "signals by descriptor", calls: unix.EPERM, try: syscallOf(unix.SYS_FCNTL, 0, unix.F_SETOWN, parent)},
		{name: "keys on a terminal", calls: unix.ENOSYS, try: syscallOf(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0)},
	}
}

// TestConfine makes every attempt in every thread of children that are root and have dropped nothing, so that what
// refuses them is the confinement alone; and in one without, to know that it is.
func TestConfine(t *testing.T) {
	if how := os.Getenv("TEST_CONFINE_CHILD"); how != "" {
		confineChild(t, how)
		return
	}
	needRoot(t)
	path := childProgram(t, staticTest(t))
	for _, how := range []string{"nothing", "calls", "files", "both", "without seccomp", "without Landlock", "reading"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			c := child(path, "TestConfine", 0, "TEST_CONFINE_CHILD="+how, "TEST_CONFINE_DIR="+dir)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func confineChild(t *testing.T, how string) {
	dir := os.Getenv("TEST_CONFINE_DIR")
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := attempts(dir)

	type thread struct {
		name string
		run  chan func()
	}
	done := make(chan bool)
	var threads []thread
	start := func(name string) {
		th := thread{name, make(chan func())}
		go func() {
			runtime.LockOSThread()
			for f := range th.run {
				f()
				done <- true
			}
		}()
		th.run <- func() {} // until it has its thread
		<-done
		threads = append(threads, th)
	}
	for i := range 8 {
		start(fmt.Sprint("thread ", i))
	}

	var calls, files bool
	switch how {
	case "nothing":
	case "calls":
		if err := confineCalls(); err != nil {
			t.Fatal(err)
		}
		calls = true
	case "files":
		var c Confinement
		needLandlock(t, c.confineFiles())
		files = true
	case "both":
		c := Confine()
		needLandlock(t, c.FilesErr)
		if !c.Calls || c.CallsErr != nil || c.Landlock == 0 {
			t.Fatalf("%+v, want both", c)
		}
		calls, files = true, true
	case "without seccomp":
		answer(t, unix.EINVAL, unix.SYS_SECCOMP)
		c := Confine()
		needLandlock(t, c.FilesErr)
		if c.Calls || !errors.Is(c.CallsErr, unix.EINVAL) || c.Landlock == 0 {
			t.Errorf("%+v, want Landlock alone", c)
		}
		files = true
	case "without Landlock":
		answer(t, unix.ENOSYS, unix.SYS_LANDLOCK_CREATE_RULESET)
		c := Confine()
		if !c.Calls || c.CallsErr != nil || c.Landlock != 0 || !errors.Is(c.FilesErr, unix.ENOSYS) {
			t.Errorf("%+v, want the filter alone", c)
		}
		calls = true
	}
	var read unix.Errno // how reading is refused
	if how == "reading" {
		c := Confine()
		needLandlock(t, c.FilesErr)
		if err := c.ConfineReading(); err != nil {
			t.Fatal(err)
		}
		calls, read = true, unix.EACCES
	}
	start("a thread begun later")

	for _, th := range threads {
		th.run <- func() {
			for _, a := range all {
				got := a.try()
				switch {
				case calls && a.calls != 0:
					if got != a.calls {
						t.Errorf("%s: %s: %v, want %v", th.name, a.name, got, a.calls)
					}
				case files && a.files != 0:
					if got != a.files {
						t.Errorf("%s: %s: %v, want %v", th.name, a.name, got, a.files)
					}
				case got == a.calls && got == unix.ENOSYS:
					t.Logf("%s: not in this kernel", a.name)
				case got == a.calls || got == unix.ENOTRECOVERABLE || a.files != 0 && got != 0:
					t.Errorf("%s: %s: %v, though nothing refuses it: this test shows nothing", th.name, a.name, got)
				}
			}
			for _, path := range []string{filepath.Join(dir, "file"), dir, "/proc/self/environ", "/proc/1/status", "/"} {
				if e := opening(path, unix.O_RDONLY)(); e != read {
					t.Errorf("%s: read %s: %v, want %v", th.name, path, e, read)
				}
			}
			for _, path := range []string{"/etc/hosts", "/etc/passwd", "/proc/sys/net/ipv4/ip_forward"} {
				if e := opening(path, unix.O_RDONLY)(); e != 0 {
					t.Errorf("%s: read %s: %v", th.name, path, e)
				}
			}
			for _, may := range []attempt{
				{name: "UDP socket", try: socketOf(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)},
				{name: "TCP socket", try: socketOf(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)},
				{name: "netlink", try: socketOf(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)},
				{name: "signal itself", try: syscallOf(unix.SYS_KILL, uintptr(os.Getpid()), 0)},
			} {
				if e := may.try(); e != 0 {
					t.Errorf("%s: %s: %v", th.name, may.name, e)
				}
			}
		}
		<-done
	}

	// All threads, those that no goroutine can be tied to included.
	if n, filtered := filtered(); calls && read == 0 && (n != filtered || n < len(threads)) {
		t.Errorf("%d of %d threads have a filter, want all", filtered, n)
	}
	for key, a := range map[string]unix.Errno{"calls": unix.EPERM, "files": unix.EACCES} {
		if err := exec.Command("/bin/true").Run(); how == key && errno(err) != a {
			t.Errorf("start a program: %v, want %v", err, a)
		} else if how == "nothing" && err != nil {
			t.Errorf("start a program: %v", err)
		}
	}
	runtime.GC() // the runtime stops threads with signals, and gives memory back
}

// needLandlock skips what this kernel cannot do, and fails on any other error.
func needLandlock(t *testing.T, err error) {
	t.Helper()
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// answer makes the kernel answer a system call as an older one would, in every thread.
func answer(t *testing.T, e unix.Errno, nr uint32) {
	t.Helper()
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nrOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(e)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if thread, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog))); e != 0 || thread != 0 {
		t.Fatalf("make the kernel an older one: %v, thread %d", e, thread)
	}
}

// TestLandlockVersions: of each version is asked only what it knows, which this kernel's own takes.
func TestLandlockVersions(t *testing.T) {
	const signal, unixSockets = unix.LANDLOCK_SCOPE_SIGNAL, unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	for _, tt := range []struct {
		abi, errata int
		files       uint64
		scoped      uint64
	}{
		{abi: 1, files: 0x1ff3},
		{abi: 2, files: 0x3ff3},
		{abi: 3, files: 0x7ff3},
		{abi: 4, files: 0x7ff3},
		{abi: 5, files: 0xfff3, errata: 2},
		{abi: 6, files: 0xfff3, scoped: unixSockets}, // one thread could not signal another
		{abi: 6, files: 0xfff3, errata: 1, scoped: unixSockets},
		{abi: 6, files: 0xfff3, errata: 2, scoped: signal | unixSockets},
		{abi: 99, files: 0xfff3, errata: 7, scoped: signal | unixSockets},
	} {
		attr := landlockAttr(tt.abi, tt.errata)
		if attr.Handled_access_fs != tt.files || attr.Scoped != tt.scoped || attr.Handled_access_net != 0 {
			t.Errorf("version %d, errata %d: %+v, want files %#x, scopes %#x", tt.abi, tt.errata, attr, tt.files, tt.scoped)
		}
		if abi, err := landlockCreate(nil, unix.LANDLOCK_CREATE_RULESET_VERSION); err != nil || abi < tt.abi {
			continue // this kernel cannot be asked
		}
		fd, err := landlockCreate(&attr, 0)
		if err != nil {
			t.Errorf("version %d: %v", tt.abi, err)
			continue
		}
		unix.Close(fd)
	}
}
