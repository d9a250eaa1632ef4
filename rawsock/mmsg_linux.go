package rawsock

import (
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of sendmmsg(2). Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes sent or received
}

// sendmmsg sends ms in order; a number below len(ms) means that the next one failed.
func sendmmsg(fd int, ms []mmsghdr) (int, error) { return mmsg(unix.SYS_SENDMMSG, fd, ms, 0) }

// recvmmsg never blocks. A number below len(ms) means that there are no more.
func recvmmsg(fd int, ms []mmsghdr, flags int) (int, error) {
	return mmsg(unix.SYS_RECVMMSG, fd, ms, flags|unix.MSG_DONTWAIT)
}

func mmsg(trap uintptr, fd int, ms []mmsghdr, flags int) (int, error) {
	for {
		n, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&ms[0])), uintptr(len(ms)), uintptr(flags), 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

const (
	batch   = 64      // messages per system call
	slotLen = 1 << 16 // no IP packet is longer
	oobLen  = 256     // more than all control messages asked for
)

// An inbox has room for as many messages as one call may receive. Its slots
// are filled in turn and stay as they are until the next take(0, …).
type inbox struct {
	ms    []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6 // the longest address that comes; IPv4's is shorter
	oob   []byte
	buf   []byte
	slot  int
}

// The first inbox with room for the largest messages has these 4 MiB, of which the kernel gives what is written to. From the heap they would start
// the garbage collector before there is any garbage, and with it threads, in each of which privilege must be dropped.
var (
	firstSlots      [batch*slotLen + 1]byte
	firstSlotsTaken atomic.Bool
)

// newInbox has n slots of slot bytes.
func newInbox(n, slot int) *inbox {
	buf := firstSlots[:]
	if n*slot+1 != len(buf) || firstSlotsTaken.Swap(true) {
		buf = make([]byte, n*slot+1)
	}
	return &inbox{
		ms:    make([]mmsghdr, n),
		iovs:  make([]unix.Iovec, n),
		names: make([]unix.RawSockaddrInet6, n),
		oob:   make([]byte, n*oobLen),
		buf:   buf,
		slot:  slot,
	}
}

// take receives into the slots from up to but not including to, leaving head
// bytes free before each message. It returns how many it filled, 0 when
// nothing was there.
func (in *inbox) take(fd, from, to, head, flags int) (int, error) {
	for i := from; i < to; i++ {
		in.iovs[i].Base = &in.buf[i*in.slot+head]
		in.iovs[i].SetLen(in.slot - head)
		h := &in.ms[i].hdr
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control = &in.oob[i*oobLen]
		h.SetControllen(oobLen)
		h.Flags = 0
	}
	n, err := recvmmsg(fd, in.ms[from:to], flags)
	if err == unix.EAGAIN {
		return 0, nil
	}
	return n, err
}

// msg is slot i with the head bytes before the message, its control messages,
// and whether all of both is there.
func (in *inbox) msg(i, head int) (b, oob []byte, whole bool) {
	m := &in.ms[i]
	b = in.buf[i*in.slot:][:head+int(m.n)]
	oob = in.oob[i*oobLen:][:m.hdr.Controllen]
	return b, oob, m.hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0
}

// from is where the message in slot i came from; scope is the interface of a link-local address.
func (in *inbox) from(i int) (a netip.AddrPort, scope uint32) { return fromRaw(&in.names[i]) }

// rawSockaddr writes the address of a packet to send, with port 0 as raw IPv6
// sockets want it, and returns its length.
func rawSockaddr(to *unix.RawSockaddrInet6, a netip.Addr, scope uint32) uint32 {
	return rawSockaddrPort(to, netip.AddrPortFrom(a, 0), scope)
}

func rawSockaddrPort(to *unix.RawSockaddrInet6, a netip.AddrPort, scope uint32) uint32 {
	port := ntohs(a.Port())
	if a.Addr().Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(to)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: a.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: a.Addr().As16(), Scope_id: scope}
	return unix.SizeofSockaddrInet6
}

// fromRaw reads such an address.
func fromRaw(n *unix.RawSockaddrInet6) (a netip.AddrPort, scope uint32) {
	if n.Family == unix.AF_INET {
		n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(n4.Addr), ntohs(n4.Port)), 0
	}
	return netip.AddrPortFrom(netip.AddrFrom16(n.Addr), ntohs(n.Port)), n.Scope_id
}

// ntohs reads a port as a socket address keeps it, and back.
func ntohs(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}
