//go:build linux && (386 || amd64 || arm || arm64 || riscv64)

package rawsock

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const filterPID = 4711

// callVM runs the filter here. It reads words in network order, as packets have them.
func callVM(t *testing.T) func(arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	var raw []bpf.RawInstruction
	for _, in := range callFilter(filterPID) {
		raw = append(raw, bpf.RawInstruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K})
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("an instruction that does not exist")
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	return func(arch, nr uint32, args ...uint64) uint32 {
		var data [argsOffset + 6*8]byte // struct seccomp_data of linux/seccomp.h
		binary.BigEndian.PutUint32(data[nrOffset:], nr)
		binary.BigEndian.PutUint32(data[archOffset:], arch)
		for i, a := range args {
			binary.BigEndian.PutUint32(data[argsOffset+8*i:], uint32(a))
			binary.BigEndian.PutUint32(data[argsOffset+8*i+4:], uint32(a>>32))
		}
		verdict, err := vm.Run(data[:])
		if err != nil {
			t.Fatal(err)
		}
		return uint32(verdict)
	}
}

func TestCallFilter(t *testing.T) {
	run := callVM(t)
	const (
		yes, no, gone = callAllowed, callRefused, callUnknown
		// As Go's runtime starts threads (runtime/os_linux.go).
		goThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
		high     = 1 << 32 // a bit that the kernel does not look at
	)
	tests := []struct {
		name string
		nr   uint32
		args []uint64
		want uint32
	}{
		{"read", unix.SYS_READ, nil, yes},
		{"a socket's option", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_SOCKET, unix.SO_RCVBUF}, yes},
		{"promiscuous packets", unix.SYS_SETSOCKOPT, []uint64{3, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP}, no},
		{"clone, Go's thread", unix.SYS_CLONE, []uint64{goThread}, yes},
		{"clone, Go's thread with storage", unix.SYS_CLONE, []uint64{goThread | unix.CLONE_SETTLS}, yes},
		{"clone, a process", unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, no},
		{"clone, as vfork does", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)}, no},
		{"clone, a thread in its own user namespace", unix.SYS_CLONE, []uint64{goThread | unix.CLONE_NEWUSER}, no},
		{"clone, a traced thread", unix.SYS_CLONE, []uint64{goThread | unix.CLONE_PTRACE}, no},
		{"clone3", unix.SYS_CLONE3, []uint64{goThread}, gone},
		{"open to read", unix.SYS_OPENAT, []uint64{0, 0, unix.O_CLOEXEC}, yes},
		{"open a directory", unix.SYS_OPENAT, []uint64{0, 0, unix.O_CLOEXEC | unix.O_DIRECTORY | unix.O_NOFOLLOW}, yes},
		{"open to write", unix.SYS_OPENAT, []uint64{0, 0, unix.O_WRONLY}, no},
		{"open to write, hidden behind high bits", unix.SYS_OPENAT, []uint64{0, 0, high | unix.O_WRONLY}, no},
		{"open to read and write", unix.SYS_OPENAT, []uint64{0, 0, unix.O_RDWR}, no},
		{"open for ioctl alone", unix.SYS_OPENAT, []uint64{0, 0, unix.O_WRONLY | unix.O_RDWR}, no},
		{"create", unix.SYS_OPENAT, []uint64{0, 0, unix.O_CREAT}, no},
		{"truncate", unix.SYS_OPENAT, []uint64{0, 0, unix.O_TRUNC}, no},
		{"append", unix.SYS_OPENAT, []uint64{0, 0, unix.O_APPEND}, no},
		{"a file without a name", unix.SYS_OPENAT, []uint64{0, 0, unix.O_TMPFILE}, no},
		{"open, a flag of a later kernel", unix.SYS_OPENAT, []uint64{0, 0, 1 << 30}, no},
		{"openat2", unix.SYS_OPENAT2, nil, gone},
		{"UDP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_DGRAM | unix.SOCK_NONBLOCK, 0}, yes},
		{"ping socket", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6}, yes},
		{"TCP", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP}, yes},
		{"MPTCP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, no},
		{"SCTP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP}, no},
		{"raw", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_RAW | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP}, no},
		{"raw IPv6", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_RAW, 0}, no},
		{"packet", unix.SYS_SOCKET, []uint64{unix.AF_PACKET, unix.SOCK_RAW, 0}, no},
		{"packet, the old way", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_PACKET, 0}, no},
		{"netlink", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW | unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE}, yes},
		{"netlink for packet filters", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, no},
		{"Unix", unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_DGRAM, 0}, no},
		{"vsock", unix.SYS_SOCKET, []uint64{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, no},
		{"memory", uint32(mmap[0]), []uint64{0, 4096, unix.PROT_READ | unix.PROT_WRITE}, yes},
		{"executable memory", uint32(mmap[len(mmap)-1]), []uint64{0, 4096, unix.PROT_READ | unix.PROT_EXEC}, no},
		{"memory made executable", unix.SYS_MPROTECT, []uint64{0, 4096, unix.PROT_EXEC}, no},
		{"memory moved", unix.SYS_MREMAP, nil, gone},
		{"kill itself", unix.SYS_KILL, []uint64{filterPID, 6}, yes},
		{"kill another", unix.SYS_KILL, []uint64{filterPID + 1, 6}, no},
		{"kill its group", unix.SYS_KILL, []uint64{0, 6}, no},
		{"kill everybody", unix.SYS_KILL, []uint64{1<<64 - 1, 6}, no},
		{"signal a thread of its own", unix.SYS_TGKILL, []uint64{filterPID, 1, 6}, yes},
		{"signal a thread of another's", unix.SYS_TGKILL, []uint64{1, filterPID, 6}, no},
		{"tkill", unix.SYS_TKILL, []uint64{filterPID, 6}, gone},
		{"keys for a terminal", unix.SYS_IOCTL, []uint64{1, unix.TIOCSTI}, gone},
		{"flags of a descriptor", fcntl[len(fcntl)-1], []uint64{1, unix.F_GETFL}, yes},
		{"signals of a descriptor", fcntl[0], []uint64{1, unix.F_SETSIG, 9}, no},
		{"names of memory", unix.SYS_PRCTL, []uint64{unix.PR_SET_VMA}, yes},
		{"prctl, anything else", unix.SYS_PRCTL, []uint64{unix.PR_SET_PTRACER}, no},
		{"another filter", unix.SYS_SECCOMP, nil, gone},
		{"execve", unix.SYS_EXECVE, nil, gone},
		{"execveat", unix.SYS_EXECVEAT, nil, gone},
		{"a call of a later kernel", 1000, nil, gone},
	}
	for _, tt := range tests {
		if got := run(auditArch, tt.nr, tt.args...); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
		for _, other := range []uint32{auditArch ^ 0x40000000, auditArch ^ 1, 0} {
			if got := run(other, tt.nr, tt.args...); got != gone {
				t.Errorf("%s, on architecture %#x: %#x, want %#x", tt.name, other, got, gone)
			}
		}
		if got := run(auditArch, tt.nr|1<<30, tt.args...); got != gone {
			t.Errorf("%s, as x32 numbers it: %#x, want %#x", tt.name, got, gone)
		}
	}
}

// TestCallSearch holds the search to finding the rules of each call that has some, and of no other.
func TestCallSearch(t *testing.T) {
	run := callVM(t)
	free, ruled := make(map[uint32]bool), make(map[uint32]bool)
	for _, r := range rules(filterPID) {
		ruled[r.nr] = true
		if len(r.tests) == 0 {
			free[r.nr] = true
		}
		if free[r.nr] && len(r.tests) > 0 {
			t.Errorf("call %d has a rule, and is allowed without", r.nr)
		}
	}
	for nr := range uint32(4096) {
		got := run(auditArch, nr, 1<<31, 1<<31, 1<<31) // passes no test but that of PROT_EXEC
		switch {
		case free[nr] && got != callAllowed, !ruled[nr] && got != callUnknown, ruled[nr] && got == callUnknown:
			t.Errorf("call %d: %#x; has rules: %t, without tests: %t", nr, got, ruled[nr], free[nr])
		}
	}
}
