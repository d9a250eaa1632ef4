package rawsock

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wayMaxAge is how long what the kernel said of a way is believed.
const wayMaxAge = time.Second

// ways remembers what the routing table says of destinations.
type ways struct {
	s   Settings
	oif uint32 // the interface of s.Device
	mtu map[wayKey]wayMTU
	via map[wayKey]wayVia
	all wayMTU // what every device takes
}

type wayKey struct{ src, dst netip.Addr }

type wayMTU struct {
	at  time.Time
	mtu int
}

type wayVia struct {
	at     time.Time
	router netip.Addr // invalid: the destination is on a network of this host
}

// maxWays bounds the memory; beyond it everything is forgotten.
const maxWays = 4096

// anyDevice is the largest packet that every device takes, 0 where that is not known.
func (w *ways) anyDevice(now time.Time) int {
	if w.all.at.IsZero() || now.Sub(w.all.at) >= wayMaxAge {
		w.all = wayMTU{at: now}
		devices, _ := net.Interfaces()
		for _, d := range devices {
			if d.Flags&net.FlagUp != 0 && (w.all.mtu == 0 || d.MTU < w.all.mtu) {
				w.all.mtu = d.MTU
			}
		}
	}
	return w.all.mtu
}

// mtuTo is the largest packet that the routing table says goes from src to dst: the
// device's MTU, or a smaller path MTU that this host has learnt. 0: it does not say.
func (w *ways) mtuTo(src, dst netip.Addr, scope uint32, now time.Time) int {
	k := wayKey{src, dst}
	if m, ok := w.mtu[k]; ok && now.Sub(m.at) < wayMaxAge {
		return m.mtu
	}
	if w.mtu == nil || len(w.mtu) >= maxWays {
		w.mtu = make(map[wayKey]wayMTU)
	}
	m := wayMTU{now, routeMTU(src, dst, scope, w.s)}
	w.mtu[k] = m
	return m.mtu
}

// routeMTU asks a connected datagram socket, which sends nothing.
func routeMTU(src, dst netip.Addr, scope uint32, s Settings) int {
	fd, err := unbound(dst.Is6(), unix.SOCK_DGRAM)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if choosesBy(fd, dst.Is6(), s) != nil || s.apply(fd, dst.Is6()) != nil ||
		unix.Bind(fd, sockaddr(netip.AddrPortFrom(src, 0), scope)) != nil ||
		unix.Connect(fd, sockaddr(netip.AddrPortFrom(dst, 33434), scope)) != nil {
		return 0
	}
	level, opt := unix.SOL_IP, unix.IP_MTU
	if dst.Is6() {
		level, opt = unix.SOL_IPV6, unix.IPV6_MTU
	}
	mtu, err := unix.GetsockoptInt(fd, level, opt)
	if err != nil {
		return 0
	}
	return mtu
}

// sockaddr is a for system calls; scope is the interface of a link-local address.
func sockaddr(a netip.AddrPort, scope uint32) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	if !a.Addr().IsLinkLocalUnicast() && !a.Addr().IsLinkLocalMulticast() {
		scope = 0
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: scope}
}

// check refuses what the kernel would send another way than the settings say.
func (w *ways) check(src, dst netip.Addr, scope uint32) error {
	if scope != 0 && w.oif != 0 && scope != w.oif {
		// It would look for that address on the other link.
		return fmt.Errorf("%v is of another interface than %q: %w", dst, w.s.Device, unix.EINVAL)
	}
	if !w.s.Direct || dst.Is4() || dst.IsMulticast() {
		return nil
	}
	// IPv6 takes SO_DONTROUTE and does not heed it (measured on Linux 6.18), so the
	// routing table is asked whether a router comes first.
	k, now := wayKey{src, dst}, time.Now()
	v, ok := w.via[k]
	if !ok || now.Sub(v.at) >= wayMaxAge {
		router, err := gateway6(src, dst, max(scope, w.oif))
		if err != nil {
			return err
		}
		if w.via == nil || len(w.via) >= maxWays {
			w.via = make(map[wayKey]wayVia)
		}
		v = wayVia{now, router}
		w.via[k] = v
	}
	if v.router.IsValid() {
		return fmt.Errorf("on no network of this host, but behind the router %v: %w", v.router, unix.ENETUNREACH)
	}
	return nil
}

// gateway6 asks the kernel (rtnetlink(7)) which router a packet would go by; none is invalid.
func gateway6(src, dst netip.Addr, oif uint32) (netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask for the route: %w", err)
	}
	defer unix.Close(fd)
	attr := func(b []byte, typ uint16, data []byte) []byte { // all of them are multiples of 4 bytes long
		b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
		b = binary.NativeEndian.AppendUint16(b, typ)
		return append(b, data...)
	}
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg)
	rt := b[unix.SizeofNlMsghdr:]
	rt[0], rt[1], rt[2] = unix.AF_INET6, 128, 128
	b = attr(b, unix.RTA_DST, dst.WithZone("").AsSlice())
	b = attr(b, unix.RTA_SRC, src.WithZone("").AsSlice())
	if oif != 0 {
		b = attr(b, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, oif))
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return netip.Addr{}, fmt.Errorf("ask for the route: %w", err)
	}
	answer := make([]byte, 1<<14)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask for the route: %w", err)
	}
	ms, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask for the route: %w", err)
	}
	for i := range ms {
		switch ms[i].Header.Type {
		case unix.NLMSG_ERROR:
			if len(ms[i].Data) >= 4 {
				return netip.Addr{}, unix.Errno(-int32(binary.NativeEndian.Uint32(ms[i].Data)))
			}
		case unix.RTM_NEWROUTE:
			attrs, err := syscall.ParseNetlinkRouteAttr(&ms[i])
			if err != nil {
				return netip.Addr{}, fmt.Errorf("ask for the route: %w", err)
			}
			for _, a := range attrs {
				if router, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.RTA_GATEWAY {
					return router, nil
				}
			}
			return netip.Addr{}, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("ask for the route: %w", unix.EPROTO)
}
