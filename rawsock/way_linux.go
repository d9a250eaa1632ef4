package rawsock

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
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
	m := wayMTU{now, w.routeMTU(src, dst, scope)}
	w.mtu[k] = m
	return m.mtu
}

// routeMTU asks a connected datagram socket, which sends nothing, or, as no socket can be marked
// any more, the routing table.
func (w *ways) routeMTU(src, dst netip.Addr, scope uint32) int {
	if w.s.Mark != 0 {
		r, err := wayTo(src, dst, max(scope, w.oif), w.s.Mark)
		switch {
		case err != nil:
			return 0
		case r.mtu != 0:
			return r.mtu
		}
		return deviceMTU(r.oif, dst.Is6())
	}
	fd, err := unbound(dst.Is6(), unix.SOCK_DGRAM)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if choosesBy(fd, dst.Is6(), w.s) != nil || w.s.apply(fd, dst.Is6()) != nil ||
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

// deviceMTU is what packets of that family may have on a device: over IPv6 a router may have told less than it
// takes (RFC 4861 section 4.6.4). 0: it is gone.
func deviceMTU(index uint32, v6 bool) int {
	dev, err := net.InterfaceByIndex(int(index))
	if err != nil {
		return 0
	}
	if v6 {
		b, _ := os.ReadFile("/proc/sys/net/ipv6/conf/" + dev.Name + "/mtu")
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return n
		}
	}
	return dev.MTU
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
		r, err := wayTo(src, dst, max(scope, w.oif), w.s.Mark)
		if err != nil {
			return err
		}
		if w.via == nil || len(w.via) >= maxWays {
			w.via = make(map[wayKey]wayVia)
		}
		v = wayVia{now, r.router}
		w.via[k] = v
	}
	if v.router.IsValid() {
		return fmt.Errorf("on no network of this host, but behind the router %v: %w", v.router, unix.ENETUNREACH)
	}
	return nil
}

// A wayOut is how the kernel would have a packet leave.
type wayOut struct {
	router netip.Addr // invalid: the destination is on a network of this host
	source netip.Addr // of a packet that has none yet; else invalid
	oif    uint32
	plain  bool // to one host, as the packet is
	mtu    int  // the route's own, or the path MTU learnt; 0: that of the device
}

// wayTo asks the routing table (rtnetlink(7)) how a packet with that mark would leave from src, which may be invalid, by the
// interface oif where it is not 0. Unlike marking a socket it takes no privilege.
func wayTo(src, dst netip.Addr, oif, mark uint32) (wayOut, error) {
	r, err := askWay(src, dst, oif, mark)
	if err == nil && oif != 0 && r.oif != oif && src.IsValid() {
		// Over IPv6 the interface is a wish once there is a source (ip6_route_output_flags), but not for
		// the socket that sends: it is bound to it.
		r, err = askWay(netip.Addr{}, dst, oif, mark)
	}
	if err != nil {
		return wayOut{}, fmt.Errorf("ask for the route: %w", err)
	}
	return r, nil
}

func askWay(src, dst netip.Addr, oif, mark uint32) (r wayOut, err error) {
	number := func(b []byte, typ uint16, n uint32) []byte {
		if n == 0 {
			return b
		}
		return appendAttr(b, typ, binary.NativeEndian.AppendUint32(nil, n))
	}
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[2] = unix.AF_INET, uint8(dst.BitLen()), uint8(src.BitLen())
	if dst.Is6() {
		b[0] = unix.AF_INET6
	}
	b = appendAttr(b, unix.RTA_DST, dst.WithZone("").AsSlice())
	if src.IsValid() {
		b = appendAttr(b, unix.RTA_SRC, src.WithZone("").AsSlice())
	}
	b = number(number(b, unix.RTA_OIF, oif), unix.RTA_MARK, mark)
	err = askNetlink(unix.NETLINK_ROUTE, unix.RTM_GETROUTE, 0, b, func(answer []byte) (more bool, err error) {
		r, err = readRoute(answer)
		return false, err
	})
	return r, err
}

// readRoute reads the kernel's answer to a question for a route.
func readRoute(answer []byte) (r wayOut, err error) {
	ms, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return r, err
	}
	for i := range ms {
		switch ms[i].Header.Type {
		case unix.NLMSG_ERROR:
			if len(ms[i].Data) >= 4 {
				return r, unix.Errno(-int32(binary.NativeEndian.Uint32(ms[i].Data)))
			}
		case unix.RTM_NEWROUTE:
			attrs, err := attributes(&ms[i])
			if err != nil {
				return r, err
			}
			r = readWay(attrs)
			r.plain = r.plain && ms[i].Data[7] == unix.RTN_UNICAST
			return r, nil
		}
	}
	return r, unix.EPROTO
}

// attributes are those of m. Package syscall's parser panics where the header before them is cut, and where the last lacks the bytes
// that fill it up to a multiple of 4.
func attributes(m *syscall.NetlinkMessage) ([]syscall.NetlinkRouteAttr, error) {
	header := map[uint16]int{unix.RTM_NEWROUTE: unix.SizeofRtMsg, unix.RTM_NEWADDR: unix.SizeofIfAddrmsg, unix.RTM_NEWLINK: unix.SizeofIfInfomsg}
	if len(m.Data) < header[m.Header.Type] {
		return nil, unix.EPROTO
	}
	n := len(m.Data)
	m.Data = append(m.Data[:n:n], make([]byte, -n&3)...)
	return syscall.ParseNetlinkRouteAttr(m)
}

// readWay reads the attributes that matter here.
func readWay(attrs []syscall.NetlinkRouteAttr) (r wayOut) {
	r.plain = true
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_GATEWAY:
			r.router, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_VIA: // a router of the other family
			if len(a.Value) > 2 {
				r.router, _ = netip.AddrFromSlice(a.Value[2:])
			}
		case unix.RTA_ENCAP:
			r.plain = false
		case unix.RTA_PREFSRC:
			r.source, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_OIF:
			if len(a.Value) == 4 {
				r.oif = binary.NativeEndian.Uint32(a.Value)
			}
		case unix.RTA_METRICS: // attributes again, of 4 bytes each but for one that is none of ours
			for b := a.Value; len(b) >= unix.SizeofRtAttr; {
				n := int(binary.NativeEndian.Uint16(b))
				if n < unix.SizeofRtAttr || n > len(b) {
					break
				}
				if binary.NativeEndian.Uint16(b[2:]) == unix.RTAX_MTU && n == unix.SizeofRtAttr+4 {
					r.mtu = int(binary.NativeEndian.Uint32(b[unix.SizeofRtAttr:]))
				}
				b = b[min((n+3)&^3, len(b)):]
			}
		}
	}
	return r
}
