package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An asker is a datagram socket that is asked for its own name.
type asker struct {
	f  *os.File // nil: not there yet
	as Settings // it chooses its way so
}

// source is what a new socket that is connected to dst would be called. It is not ok where there is none, and where
// more than the socket must be asked: the routing table, for marked packets, and the names of interfaces. Nor with a device: to
// give up its name makes the kernel forget that the socket is bound to one.
func (q *asker) source(dst netip.Addr, s Settings) (src netip.Addr, ok bool) {
	if !dst.IsValid() || dst.IsUnspecified() || dst.Zone() != "" || s.Mark != 0 || s.Device != "" || !q.open(dst.Is6(), s) {
		return src, false
	}
	fd := q.f.Fd()
	// A connected socket keeps its name, so that one is given up first (connect(2), AF_UNSPEC). These are the bare system calls, as
	// each of thousands of destinations takes them.
	none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, e := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none)); e != 0 {
		return src, false
	}
	var a unix.RawSockaddrInet6
	n := rawSockaddrPort(&a, netip.AddrPortFrom(dst, sourcePort), 0)
	if _, _, e := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&a)), uintptr(n)); e != 0 {
		return src, false
	}
	n = uint32(unsafe.Sizeof(a))
	if _, _, e := unix.Syscall(unix.SYS_GETSOCKNAME, fd, uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(&n))); e != 0 {
		return src, false
	}
	name, _ := fromRaw(&a)
	src = name.Addr()
	return src, src.IsValid() && !src.IsLinkLocalUnicast() && !src.Is4In6()
}

// open makes a socket that chooses its way as s says, if there is none.
func (q *asker) open(v6 bool, s Settings) bool {
	if q.f != nil && q.as == s {
		return true
	}
	if q.f != nil {
		q.f.Close()
		q.f = nil
	}
	fd, err := unbound(v6, unix.SOCK_DGRAM)
	if err != nil {
		return false
	}
	if choosesBy(fd, v6, s) != nil {
		unix.Close(fd)
		return false
	}
	q.f, q.as = os.NewFile(uintptr(fd), "source"), s
	return true
}

// markedSource is SourceOn for packets with s.Mark.
func markedSource(dst netip.Addr, s Settings) (netip.Addr, error) {
	var z zones
	oif, err := z.id(dst)
	if err != nil {
		return netip.Addr{}, err
	}
	if s.Device != "" {
		device, err := z.id(netip.IPv6LinkLocalAllNodes().WithZone(s.Device))
		if err != nil {
			return netip.Addr{}, deviceError(s.Device, unix.ENODEV)
		}
		if oif != 0 && oif != device {
			return netip.Addr{}, fmt.Errorf("%v is of another interface than %q: %w", dst, s.Device, unix.EINVAL)
		}
		oif = device
	}
	w, err := wayTo(netip.Addr{}, dst, oif, s.Mark)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("with mark %d: %w", s.Mark, err)
	case s.Direct && dst.Is4() && w.router.IsValid(): // IPv6 looks later; see ways.check
		return netip.Addr{}, fmt.Errorf("behind the router %v: %w", w.router, unix.ENETUNREACH)
	case !w.source.IsValid():
		return netip.Addr{}, fmt.Errorf("with mark %d: %w", s.Mark, unix.EADDRNOTAVAIL)
	}
	return z.with(w.source, w.oif), nil
}

func routerOn(src, dst netip.Addr, s Settings) (netip.Addr, error) {
	var z zones
	var oif uint32
	if s.Device != "" {
		id, err := z.id(netip.IPv6LinkLocalAllNodes().WithZone(s.Device))
		if err != nil {
			return netip.Addr{}, deviceError(s.Device, unix.ENODEV)
		}
		oif = id
	}
	w, err := wayTo(src, dst, oif, s.Mark)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("rawsock: router before %v: %w", dst, err)
	}
	return w.router, nil
}

// sourceError names the errno of a failed connect.
func sourceError(dst netip.Addr, err error) error {
	// Of what net adds, the call is worth keeping; the address is said anyway.
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call
	}
	return sendError(dst, fmt.Errorf("no source address: %w", err))
}
