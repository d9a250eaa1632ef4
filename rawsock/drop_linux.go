package rawsock

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Credentials are each thread's own in Linux, and Go has several threads
// before main. Everything here goes through syscall.AllThreadsSyscall or the
// syscall functions built on it, which stop the program, make the call in
// every thread, and end the program if it went differently in one of them.
// A thread that the runtime starts later is cloned from one that has been
// through it, and clone(2) copies ids, capability sets and no_new_privs.
// In a binary that uses cgo that is ENOTSUP, as there may be threads the
// runtime knows nothing of.
func drop() error {
	was, err := threadCaps()
	if err != nil {
		return err
	}
	uid, gid := syscall.Getuid(), syscall.Getgid()
	held := was.permitted != 0 || syscall.Geteuid() != uid || syscall.Getegid() != gid
	want := threadStatus{uid: uid, gid: gid}

	// What only a privileged thread may give up comes first; what is
	// permitted but not in use is put to use for that.
	const need = 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP
	if idle := was.permitted & need &^ was.effective; idle != 0 {
		was.effective |= idle
		if err := allThreadsCaps(was); err != nil {
			return opError("raise CAP_SETGID and CAP_SETPCAP", err)
		}
	}
	if was.effective&(1<<unix.CAP_SETPCAP) != 0 {
		if err := emptyBoundingSet(); err != nil {
			return err
		}
		want.bounded = true
	}
	if was.effective&(1<<unix.CAP_SETGID) != 0 {
		// A user namespace may forbid it to its root too (setgroups in
		// user_namespaces(7)); the groups are the user's own then.
		switch err := syscall.Setgroups(nil); err {
		case nil:
			want.alone = true
		case syscall.EPERM:
		default:
			return opError("drop supplementary groups", err)
		}
	}

	// To stop every thread takes longer than all else here, so it is not done for nothing; that they
	// are the caller's own in the others too is verified below.
	if r, e, s := unix.Getresgid(); !all(gid, r, e, s) {
		if err := syscall.Setresgid(gid, gid, gid); err != nil {
			return opError("drop group", err)
		}
	}
	if r, e, s := unix.Getresuid(); !all(uid, r, e, s) {
		if err := syscall.Setresuid(uid, uid, uid); err != nil {
			return opError("drop user", err)
		}
	}

	// That emptied the sets if root was left; not if the capability came
	// from the file, nor for root itself. What is ambient goes with what is
	// permitted (capabilities(7)).
	if err := allThreadsCaps(capSets{}); err != nil {
		return opError("drop capabilities", err)
	}

	// With this no program started from here gains anything either, be it
	// setuid, with file capabilities, or run by root.
	if err := allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return opError("set no_new_privs", err)
	}

	// The process now has its user's ids and still has raw sockets: without
	// this the user could take them with ptrace(2) or pidfd_getfd(2). It
	// turns core dumps off too. It holds for the whole process, and comes
	// last because a change of ids resets it to fs.suid_dumpable. The price
	// is that root owns its files in /proc: other processes of the user can
	// not look at its descriptors or memory, which is the point, while a
	// thread may always look at its own process. Where no privilege was
	// held there is nothing to protect, and the user may debug the program.
	if held {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return opError("turn core dumps off", err)
		}
	}
	return verifyDropped(want)
}

// all reports whether an id is the real, the effective and the saved one. Where ints have 32 bits these come with 16 (getresuid(2)),
// so there it is not known.
func all(id, real, effective, saved int) bool {
	return strconv.IntSize == 64 && real == id && effective == id && saved == id
}

// allThreads makes a system call in every thread.
func allThreads(trap, a1, a2, a3 uintptr) error {
	// prctl(2) wants its unused arguments zero.
	if _, _, e := syscall.AllThreadsSyscall6(trap, a1, a2, a3, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

func allThreadsCaps(c capSets) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(c.words())), 0)
	if e != 0 {
		return e
	}
	return nil
}

// emptyBoundingSet takes every capability out of the bounding set, so that
// not even root gets one back by starting a program (capabilities(7)).
func emptyBoundingSet() error {
	for c := range uintptr(64) {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err == unix.EINVAL {
			return nil // the kernel knows no more capabilities
		}
		if err != nil {
			return opError("read the capability bounding set", err)
		}
		if in == 0 {
			continue
		}
		if err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); err != nil {
			return opError(fmt.Sprintf("drop capability %d from the bounding set", c), err)
		}
	}
	return nil
}

// verifyDropped asks the kernel, thread by thread, whether it is as want
// says, and then tries to get something back.
//
// It reads /proc/self/task, which works although the process is not dumpable:
// only files that show memory or descriptors are closed to the user then.
func verifyDropped(want threadStatus) error {
	nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return opError("verify no_new_privs", err)
	}
	if nnp != 1 {
		return opError("verify no_new_privs", errLeft)
	}
	if err := eachThread(want.check()); err != nil {
		return err
	}

	// These are tried in this thread alone, by the bare system call: where
	// one does succeed the caller is about to exit.
	netRaw := capSets{effective: 1 << unix.CAP_NET_RAW, permitted: 1 << unix.CAP_NET_RAW}
	if err := setThreadCaps(netRaw); err != unix.EPERM {
		return regained("CAP_NET_RAW", err)
	}
	const keep = ^uintptr(0)
	if want.uid != 0 {
		if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); e != syscall.EPERM {
			return regained("user 0", e)
		}
	}
	if want.gid != 0 {
		if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, keep, 0, keep); e != syscall.EPERM {
			return regained("group 0", e)
		}
	}
	return nil
}

var errLeft = errors.New("privilege is left")

// regained reports an attempt to get privilege back that was not refused
// with EPERM.
func regained(what string, err error) error {
	if err == nil || err == syscall.Errno(0) {
		return opError("verify that "+what+" is gone", fmt.Errorf("%w: it could be had again", errLeft))
	}
	return opError("verify that "+what+" is gone", err)
}

// threadStatus is what /proc/…/status must say of each thread.
type threadStatus struct {
	uid, gid int
	bounded  bool // the bounding set was emptied
	alone    bool // there are no supplementary groups
}

// check returns what compares it with the contents of a status file (proc_pid_status(5)).
func (want threadStatus) check() func(status []byte) error {
	type line struct {
		key, value string
		optional   bool // not there before Linux 4.3 and 4.10
	}
	id := func(n int) string { // real, effective, saved, file system
		return strings.TrimPrefix(strings.Repeat("\t"+strconv.Itoa(n), 4), "\t")
	}
	const none = "0000000000000000"
	lines := []line{
		{"\nUid:", id(want.uid), false}, {"\nGid:", id(want.gid), false},
		{"\nCapInh:", none, false}, {"\nCapPrm:", none, false}, {"\nCapEff:", none, false},
		{"\nCapAmb:", none, true}, {"\nNoNewPrivs:", "1", true},
	}
	if want.bounded {
		lines = append(lines, line{"\nCapBnd:", none, false})
	}
	if want.alone {
		lines = append(lines, line{"\nGroups:", "", false})
	}
	return func(status []byte) error {
		for _, l := range lines {
			_, rest, found := bytes.Cut(status, []byte(l.key))
			value, _, _ := bytes.Cut(rest, []byte("\n"))
			value = bytes.TrimSpace(value)
			switch name := l.key[1 : len(l.key)-1]; {
			case found && string(value) != l.value:
				return fmt.Errorf("%w: %s is %q, not %q", errLeft, name, value, l.value)
			case !found && !l.optional:
				return fmt.Errorf("%w, perhaps: its status has no %s", errLeft, name)
			}
		}
		return nil
	}
}

// eachThread shows check the status of every thread of the program. It reads as the system calls are, as it is part of each
// start, and takes some microseconds a thread so.
func eachThread(check func(status []byte) error) error {
	const tasks = "/proc/self/task"
	failed := func(of string, err error) error { return opError("verify that no thread kept a privilege: "+of, err) }
	dir, err := unix.Open(tasks, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(tasks, err)
	}
	defer unix.Close(dir)
	b := make([]byte, 4096) // a status has 1.5 kB, and a number for each group
	var threads []string
	for {
		n, err := unix.ReadDirent(dir, b)
		if err != nil {
			return failed(tasks, err)
		}
		if n == 0 {
			break
		}
		_, _, threads = unix.ParseDirent(b[:n], -1, threads)
	}
	seen := 0
	for _, t := range threads {
		b, err = readAt(dir, t+"/status", b[:0])
		if err == unix.ENOENT || err == unix.ESRCH {
			continue // the thread has ended
		}
		if err == nil {
			err = check(b)
		}
		if err != nil {
			return failed("thread "+t, err)
		}
		seen++
	}
	if seen == 0 {
		return failed(tasks, errors.New("it has no thread"))
	}
	return nil
}

// readAt appends a whole file to b.
func readAt(dir int, name string, b []byte) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return b, err
	}
	defer unix.Close(fd)
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, cap(b)+1)
		}
		n, err := unix.Read(fd, b[len(b):cap(b)])
		if err != nil || n == 0 {
			return b, err
		}
		b = b[:len(b)+n]
	}
}
