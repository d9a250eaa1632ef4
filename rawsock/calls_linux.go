//go:build linux && (386 || amd64 || arm || arm64 || riscv64)

package rawsock

import (
	"cmp"
	"slices"

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
const readFlags = unix.O_RDONLY | unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_LARGEFILE

// rules are all that the programs and Go's runtime do once their privilege is given up, by what it is for. pid is the
// program's own process. What an architecture alone has is in archRules.
func rules(pid uint32) []rule {
	rs := make([]rule, 0, 128)
	allow := func(nrs ...uint32) {
		for _, nr := range nrs {
			rs = append(rs, rule{nr: nr})
		}
	}
	when := func(nr uint32, tests ...test) { rs = append(rs, rule{nr, tests}) }

	// Packets, and waiting for them.
	allow(unix.SYS_PPOLL, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG, unix.SYS_SENDMSG, unix.SYS_RECVMSG,
		unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_BIND, unix.SYS_CONNECT,
		unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT,
		unix.SYS_EVENTFD2, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT)
	// Not SOL_PACKET: nobody else's packets are asked for on the packet sockets that may be there.
	when(unix.SYS_SETSOCKOPT, oneOf(1, unix.SOL_SOCKET, unix.SOL_IP, unix.SOL_IPV6, unix.SOL_TCP, unix.SOL_UDP, unix.SOL_RAW, unix.SOL_ICMPV6, unix.SOL_NETLINK))
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
	for _, nr := range fcntl {
		when(nr, oneOf(1, unix.F_GETFL, unix.F_SETFL)) // not F_SETOWN and F_SETSIG, which send signals
	}

	// To be confined further, as ConfineReading does. None of these gives anything.
	allow(unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF)

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
func callFilter(pid uint32) []unix.SockFilter {
	rs := rules(pid)
	slices.SortStableFunc(rs, func(a, b rule) int { return cmp.Compare(a.nr, b.nr) })
	f := filter{prog: make([]unix.SockFilter, 0, 512)}
	f.load(archOffset)
	f.equal(auditArch, 1)
	f.end(callUnknown)
	f.load(nrOffset)
	f.search(rs)
	return f.prog
}

// A filter is in the making. What is not known yet of a jump is filled in where it lands.
type filter struct{ prog []unix.SockFilter }

func (f *filter) add(code uint16, k uint32, jt uint8) {
	f.prog = append(f.prog, unix.SockFilter{Code: code, K: k, Jt: jt})
}

func (f *filter) load(off uint32)            { f.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off, 0) }
func (f *filter) and(mask uint32)            { f.add(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask, 0) }
func (f *filter) equal(v uint32, skip uint8) { f.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, v, skip) }
func (f *filter) least(v uint32, skip uint8) { f.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, v, skip) }
func (f *filter) end(verdict uint32)         { f.add(unix.BPF_RET|unix.BPF_K, verdict, 0) }

// jump goes to where land is told of it.
func (f *filter) jump() (from int) {
	f.add(unix.BPF_JMP|unix.BPF_JA, 0, 0)
	return len(f.prog)
}

func (f *filter) land(from int) { f.prog[from-1].K = uint32(len(f.prog) - from) }

// search finds the rules of the call whose number was loaded, among sorted ones, by halves: when a filter is set, the kernel
// runs it for each number there is, to know which need not be looked at again.
func (f *filter) search(rs []rule) {
	first := rs[0].nr
	if rs[len(rs)-1].nr == first {
		f.equal(first, 1)
		f.end(callUnknown)
		f.decide(rs)
		return
	}
	half := len(rs) / 2
	for half > 0 && rs[half-1].nr == rs[half].nr { // not between rules of one call
		half--
	}
	for half == 0 || rs[half].nr == first {
		half++
	}
	f.least(rs[half].nr, 1)
	low := f.jump()
	f.search(rs[half:])
	f.land(low)
	f.search(rs[:half])
}

// decide looks at the arguments of a call by its rules.
func (f *filter) decide(rs []rule) {
	for _, r := range rs {
		var next [3]int // at most so many tests are in a rule
		for i, t := range r.tests {
			f.load(argsOffset + 8*t.arg)
			if t.mask != allBits {
				f.and(t.mask)
			}
			for i, v := range t.values {
				f.equal(v, uint8(len(t.values)-i))
			}
			next[i] = f.jump()
		}
		f.end(callAllowed)
		if len(r.tests) == 0 {
			return
		}
		for i := range r.tests {
			f.land(next[i])
		}
	}
	f.end(callRefused)
}
