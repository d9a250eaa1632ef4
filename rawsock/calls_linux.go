//go:build linux && (386 || amd64 || arm || arm64 || riscv64)

package rawsock

import (
	"cmp"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A rule allows a system call where its arguments pass all tests. Of several rules for a call one is enough.
type rule struct {
	nr    uint32
	tests []test
}

// A test passes where the bits of the mask in an argument are one of some values. It sees the argument's lower
// 32 bits, which is all that the kernel looks at in those tested here.
type test struct {
	arg    uint32
	mask   uint32
	values []uint32
}

const allBits = ^uint32(0)

// only is a test for bits other than those given: there must be none.
func only(arg, bits uint32) test { return test{arg, ^bits, []uint32{0}} }

func oneOf(arg uint32, values ...uint32) test { return test{arg, allBits, values} }

// readFlags are all the flags that a file may be opened with: none that writes or creates.
const readFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_LARGEFILE

// rules are all that the programs and Go's runtime do once their privilege is given up, by what it is for. pid is the
// program's own process. What an architecture alone has is in archRules.
func rules(pid uint32) []rule {
	var rs []rule
	allow := func(nrs ...uint32) {
		for _, nr := range nrs {
			rs = append(rs, rule{nr: nr})
		}
	}
	when := func(nr uint32, tests ...test) { rs = append(rs, rule{nr, tests}) }

	// Packets, and waiting for them.
	allow(unix.SYS_PPOLL, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG, unix.SYS_SENDMSG, unix.SYS_RECVMSG,
		unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_BIND, unix.SYS_CONNECT,
		unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT,
		unix.SYS_EVENTFD2, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT)
	kind := func(types ...uint32) test {
		return test{1, allBits &^ (unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC), types}
	}
	internet := oneOf(0, unix.AF_INET, unix.AF_INET6)
	when(unix.SYS_SOCKET, internet, kind(unix.SOCK_STREAM), oneOf(2, 0, unix.IPPROTO_TCP))
	when(unix.SYS_SOCKET, internet, kind(unix.SOCK_DGRAM), oneOf(2, 0, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6))
	when(unix.SYS_SOCKET, oneOf(0, unix.AF_NETLINK), kind(unix.SOCK_RAW), oneOf(2, unix.NETLINK_ROUTE)) // addresses and routes

	// Files: resolv.conf, hosts, lists of targets, /proc.
	when(unix.SYS_OPENAT, only(2, readFlags))
	allow(unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_LSEEK, unix.SYS_GETDENTS64,
		unix.SYS_READLINKAT, unix.SYS_FSTAT, unix.SYS_STATFS, unix.SYS_GETXATTR)
	// Not F_SETOWN and F_SETSIG, which send signals, nor commands of devices beyond what a terminal is asked.
	for _, nr := range fcntl {
		when(nr, oneOf(1, unix.F_GETFL, unix.F_SETFL, unix.F_GETFD, unix.F_SETFD, unix.F_DUPFD_CLOEXEC))
	}
	when(unix.SYS_IOCTL, oneOf(1, unix.TCGETS, unix.TIOCGWINSZ))

	// Memory, none of it executable.
	for _, nr := range mmap {
		when(nr, test{2, unix.PROT_EXEC, []uint32{0}})
	}
	when(unix.SYS_MPROTECT, test{2, unix.PROT_EXEC, []uint32{0}})
	allow(unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_BRK)
	when(unix.SYS_PRCTL, oneOf(0, unix.PR_SET_VMA)) // names of memory

	// Threads of this process: no other process comes of clone, and of clone3, whose flags cannot be seen from here, nothing.
	const inThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS |
		unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID
	when(unix.SYS_CLONE, test{0, allBits &^ inThread, []uint32{unix.CLONE_THREAD}})
	allow(unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_NANOSLEEP,
		unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP)

	// Signals, to itself alone.
	when(unix.SYS_KILL, oneOf(0, pid))
	when(unix.SYS_TGKILL, oneOf(0, pid))
	allow(unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL)

	// Clocks where the vDSO does not tell, chance, and who and where this is. Not the profiler's timers.
	allow(unix.SYS_CLOCK_GETTIME, unix.SYS_GETRANDOM, unix.SYS_UNAME,
		unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETGROUPS)
	return append(rs, archRules...)
}

// Where struct seccomp_data of linux/seccomp.h has what a filter looks at. The lower half of an argument comes
// first on all architectures that have rules.
const (
	nrOffset   = 0
	archOffset = 4
	argsOffset = 16
)

// What becomes of a call. One without rules seems not to be there, as on an older kernel: Go's libraries then do without, where EPERM would
// be an error that they hand on. So a call that is missed here takes little away.
const (
	callAllowed = unix.SECCOMP_RET_ALLOW
	callUnknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	callRefused = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM) // the call has rules, and its arguments are others
)

// callFilter is the program that looks at each system call.
func callFilter(pid uint32) ([]bpf.RawInstruction, error) {
	rs := rules(pid)
	slices.SortStableFunc(rs, func(a, b rule) int { return cmp.Compare(a.nr, b.nr) })
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: callUnknown},
		bpf.LoadAbsolute{Off: nrOffset, Size: 4},
	}
	return bpf.Assemble(append(prog, search(rs)...))
}

// search finds the rules of the call whose number is in A, among sorted ones, by halves: the kernel runs the filter for each number
// there is when it is set, to know which need not be looked at again.
func search(rs []rule) []bpf.Instruction {
	if rs[0].nr == rs[len(rs)-1].nr {
		return append([]bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: rs[0].nr, SkipTrue: 1},
			bpf.RetConstant{Val: callUnknown},
		}, decide(rs)...)
	}
	half := len(rs) / 2
	for half > 0 && rs[half-1].nr == rs[half].nr { // not between rules of one call
		half--
	}
	if half == 0 {
		for half = len(rs) / 2; rs[half].nr == rs[0].nr; half++ {
		}
	}
	low, high := search(rs[:half]), search(rs[half:])
	out := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: rs[half].nr, SkipFalse: 1},
		bpf.Jump{Skip: uint32(len(high))},
	}
	return append(append(out, high...), low...)
}

// decide looks at the arguments of a call by its rules.
func decide(rs []rule) (out []bpf.Instruction) {
	for _, r := range rs {
		pass := []bpf.Instruction{bpf.RetConstant{Val: callAllowed}}
		for _, t := range slices.Backward(r.tests) {
			pass = append(t.instructions(len(pass)), pass...)
		}
		out = append(out, pass...)
		if len(r.tests) == 0 {
			return out
		}
	}
	return append(out, bpf.RetConstant{Val: callRefused})
}

// instructions go on behind them where the test passes, and skip so many where it does not.
func (t test) instructions(skip int) []bpf.Instruction {
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: argsOffset + 8*t.arg, Size: 4}}
	if t.mask != allBits {
		out = append(out, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: t.mask})
	}
	for i, v := range t.values {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(t.values) - i)})
	}
	return append(out, bpf.Jump{Skip: uint32(skip)})
}
