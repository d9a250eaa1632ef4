package rawsock

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Files come first, as long as no filter can be in the way.
func confine() (c Confinement) {
	c.FilesErr = c.confineFiles()
	if c.CallsErr = confineCalls(); c.CallsErr == nil {
		c.Calls = true
	}
	return c
}

// confineCalls filters the system calls of every thread (seccomp(2)). Threads that start later inherit it.
func confineCalls() error {
	prog := callFilter(uint32(syscall.Getpid()))
	if prog == nil {
		return opError("filter system calls", fmt.Errorf("there is no list of those of %s: %w", runtime.GOARCH, errors.ErrUnsupported))
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	thread, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	switch {
	case e != 0:
		return opError("filter system calls", e)
	case thread != 0:
		return opError("filter system calls", fmt.Errorf("thread %d has a filter of its own", thread))
	}
	return nil
}

// What Landlock can take, by the version from which on it can (landlock(7)). Reading, and TCP, are left.
var landlockRights = []struct {
	abi   int
	files uint64
	scope uint64
}{
	{abi: 1, files: unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM},
	{abi: 2, files: unix.LANDLOCK_ACCESS_FS_REFER},
	{abi: 3, files: unix.LANDLOCK_ACCESS_FS_TRUNCATE},
	{abi: 5, files: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
	{abi: 6, scope: unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET},
}

// confineFiles lets nothing be changed or executed in the file system, whoever owns it (landlock(7)). What is open stays as it is.
func (c *Confinement) confineFiles() error {
	abi, err := landlockCreate(nil, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if err != nil {
		return opError("ask for Landlock", err)
	}
	errata, err := landlockCreate(nil, unix.LANDLOCK_CREATE_RULESET_ERRATA)
	if err != nil {
		errata = 0 // the kernel keeps no such list
	}
	attr := landlockAttr(abi, errata)
	fd, err := landlockCreate(&attr, 0)
	if err != nil {
		return opError("make Landlock rules", err)
	}
	defer unix.Close(fd)
	if err := allThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0, 0); err != nil {
		return opError("confine files with Landlock", err)
	}
	c.Landlock = abi
	c.Devices = attr.Handled_access_fs&unix.LANDLOCK_ACCESS_FS_IOCTL_DEV != 0
	c.Signals = attr.Scoped&unix.LANDLOCK_SCOPE_SIGNAL != 0
	c.Sockets = attr.Scoped&unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET != 0
	return nil
}

// readable are the directories that are read during a measurement. /etc is one as a whole: its files are replaced by others
// of the same name, and a rule about a file would not hold for its successor.
var readable = []string{"/etc", "/proc/sys/net", "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ"}

// elsewhere are files of /etc that often are links to where another directory's daemon or package keeps them.
var elsewhere = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/localtime"}

func (c *Confinement) confineReading() error {
	if c.Landlock == 0 {
		return opError("confine reading", errors.ErrUnsupported)
	}
	_ = time.Local.String() // read now: TZ may name any file

	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR}
	fd, err := landlockCreate(&attr, 0)
	if err != nil {
		return opError("make Landlock rules of reading", err)
	}
	defer unix.Close(fd)
	dirs := slices.Clone(readable)
	for _, file := range elsewhere {
		if real, err := filepath.EvalSymlinks(file); err == nil && !strings.HasPrefix(real, "/etc/") {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, dir := range dirs {
		at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // nor will anything in it be read
		}
		if !strings.HasPrefix(dir, "/proc/") {
			// What is there has other inodes each time the kernel has forgotten it; so that one is held
			// to the end. Elsewhere the rule itself holds it.
			defer unix.Close(at)
		}
		if err := landlockBeneath(fd, at, attr.Handled_access_fs); err != nil {
			return opError("let "+dir+" be read", err)
		}
	}
	if err := allThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0, 0); err != nil {
		return opError("confine reading with Landlock", err)
	}
	return nil
}

// landlockBeneath adds a rule (landlock_add_rule(2)) that allows that access to all that is in an open directory.
func landlockBeneath(rules, dir int, access uint64) error {
	attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(dir)}
	_, _, e := syscall.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// landlockAttr is all that can be taken with that version of Landlock.
func landlockAttr(abi, errata int) (attr unix.LandlockRulesetAttr) {
	for _, r := range landlockRights {
		if abi >= r.abi {
			attr.Handled_access_fs |= r.files
			attr.Scoped |= r.scope
		}
	}
	// Each thread gets a domain of its own, and at first the scope of signals kept threads of one process
	// from signalling each other, which Go's runtime does. Erratum 2 is the mending of that.
	if errata&(1<<1) == 0 {
		attr.Scoped &^= unix.LANDLOCK_SCOPE_SIGNAL
	}
	return attr
}

// landlockCreate is landlock_create_ruleset(2).
func landlockCreate(attr *unix.LandlockRulesetAttr, flags uintptr) (int, error) {
	var size uintptr
	if attr != nil {
		size = unsafe.Sizeof(*attr) // what an older kernel does not know is zero, and so taken
	}
	n, _, e := syscall.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), size, flags)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
