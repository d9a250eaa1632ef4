package rawsock

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// TCP probes without privilege are connections that are never used. Why one
// at a time, and how long, is in docs/decisions/0009-unprivileged-tcp.md.

// dialPatience is how long a connection is tried. The kernel sends the SYN
// again after 1 s (TCP_TIMEOUT_INIT), which would be a probe nobody asked for.
const dialPatience = 900 * time.Millisecond

// resetRest is how long after a connection was reset the next with the same ends waits. A service that closes what it accepts may be
// doing so when the reset and the next SYN come: the kernel there keeps both for the old connection then, and the SYN is lost.
const resetRest = 2 * time.Millisecond

// A tcpPort is a reserved TCP port. Its socket only keeps it.
type tcpPort struct {
	sockKey
	to    netip.Addr // src with its zone
	scope uint32     // the zone
	hold  int
}

// A dial is one TCP probe under way.
type dial struct {
	port     *tcpPort
	fd       int
	dst      netip.AddrPort // with its zone
	packet   []byte         // as it was handed to Send
	sent     time.Time
	extended bool // the kernel says where ICMP extensions begin
}

// A reset is the ends of a connection that stood, and when it was reset.
type reset struct {
	port *tcpPort
	dst  netip.AddrPort
	at   time.Time
}

func (d *dial) due() time.Time { return d.sent.Add(dialPatience) }

// holdPort binds a TCP socket to a port of src and lets others of this user bind to it
// too, if they ask for that: the probes. Before the bind that would let them in where
// another program has the port already.
func holdPort(src netip.Addr, scope uint32, port uint16) (fd int, _ uint16, err error) {
	port, err = choose(port, firstPort, func(port uint16) (err error) {
		fd, err = bound(src, scope, unix.SOCK_STREAM, port)
		return err
	})
	if err != nil {
		return -1, 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("share the port (SO_REUSEPORT): %w", err)
	}
	return fd, port, nil
}

// dial sends a TCP probe.
func (u *unprivileged) dial(p *Packet, ip wire.IP) error {
	refuse := func(name string, err error) error { return &SendError{Name: name, Dst: p.Dst, Err: err} }
	t, err := wire.ParseTCP(ip.Transport())
	switch {
	case err != nil:
		return refuse("EINVAL", err)
	case t.Flags() != wire.SYN || len(t.Payload()) > 0:
		return refuse("EPERM", fmt.Errorf("TCP segments other than a SYN: %w", ErrPrivilege))
	case ip.TOS()&3 != 0:
		return refuse("EPERM", fmt.Errorf("ECN bits of TCP: %w", ErrPrivilege))
	}
	port := u.ports[sockKey{ip.Src(), wire.ProtoTCP, t.Src()}]
	if port == nil {
		return refuse("EADDRNOTAVAIL", fmt.Errorf("port %d of %v is not reserved", t.Src(), ip.Src()))
	}
	dst := netip.AddrPortFrom(p.Dst.Unmap(), t.Dst())
	scope, err := u.zones.id(dst.Addr())
	if err != nil {
		return refuse("EINVAL", err)
	}
	now, _ := u.clock.read()
	u.expire(now)
	for _, d := range u.dials {
		if d.port == port && d.dst == dst && !u.finish(d) {
			// Two connections cannot have the same ends.
			return refuse("EAGAIN", fmt.Errorf("%w: a connection from port %d to %v is under way", ErrFull, t.Src(), dst))
		}
	}
	if u.rests(port, dst, now) {
		return refuse("EAGAIN", fmt.Errorf("%w: a connection from port %d to %v was reset just now", ErrFull, t.Src(), dst))
	}
	u.sweep()
	d := &dial{port: port, dst: dst, packet: bytes.Clone(p.Data)}
	if d.fd, err = unbound(dst.Addr().Is6(), unix.SOCK_STREAM); err != nil {
		return sendError(p.Dst, err)
	}
	if err := d.prepare(ip, u.settings); err != nil {
		unix.Close(d.fd)
		return sendError(p.Dst, err)
	}
	d.sent, _ = u.clock.read()
	if err := unix.Connect(d.fd, sockaddr(dst, scope)); err != nil && err != unix.EINPROGRESS && err != unix.ECONNREFUSED {
		unix.Close(d.fd)
		return sendError(p.Dst, err)
	}
	p.N, p.Sent, p.Kernel = u.sent, d.sent, false
	u.sent++
	u.dials = append(u.dials, d)
	u.poll()
	return nil
}

// rests reports whether a connection with these ends was reset so lately that the next has to wait.
func (u *unprivileged) rests(port *tcpPort, dst netip.AddrPort, now time.Time) bool {
	u.resets = slices.DeleteFunc(u.resets, func(r reset) bool { return !r.at.Add(resetRest).After(now) })
	return slices.ContainsFunc(u.resets, func(r reset) bool { return r.port == port && r.dst == dst })
}

// prepare gives a socket all that is to be in place before the SYN leaves.
func (d *dial) prepare(ip wire.IP, s Settings) error {
	v6 := d.dst.Addr().Is6()
	all := []setting{
		{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{"TCP_SYNCNT", unix.SOL_TCP, unix.TCP_SYNCNT, 1}, // should nobody look at the clock in time
	}
	discover := unix.IP_PMTUDISC_DONT
	if ip.DF() {
		discover = unix.IP_PMTUDISC_DO
	}
	if v6 {
		all = append(all,
			setting{"IPV6_UNICAST_HOPS", unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, int(ip.TTL())},
			setting{"IPV6_TCLASS", unix.SOL_IPV6, unix.IPV6_TCLASS, int(ip.TOS())},
			setting{"IPV6_RECVERR", unix.SOL_IPV6, unix.IPV6_RECVERR, 1},
			setting{"IPV6_RECVHOPLIMIT", unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			setting{"IPV6_RECVTCLASS", unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1})
	} else {
		all = append(all,
			setting{"IP_TTL", unix.SOL_IP, unix.IP_TTL, int(ip.TTL())},
			setting{"IP_TOS", unix.SOL_IP, unix.IP_TOS, int(ip.TOS())},
			setting{"IP_MTU_DISCOVER", unix.SOL_IP, unix.IP_MTU_DISCOVER, discover},
			setting{"IP_RECVERR", unix.SOL_IP, unix.IP_RECVERR, 1},
			setting{"IP_RECVTTL", unix.SOL_IP, unix.IP_RECVTTL, 1},
			setting{"IP_RECVTOS", unix.SOL_IP, unix.IP_RECVTOS, 1})
	}
	for _, o := range all {
		if err := o.apply(d.fd); err != nil {
			return err
		}
	}
	// What is established all the same is reset, not closed in an orderly way.
	if err := unix.SetsockoptLinger(d.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("SO_LINGER: %w", err)
	}
	if err := choosesBy(d.fd, v6, s); err != nil {
		return err
	}
	if err := s.apply(d.fd, v6); err != nil {
		return err
	}
	// As in setOptions, the program can do without these.
	objects := setting{"IP_RECVERR_RFC4884", unix.SOL_IP, unix.IP_RECVERR_RFC4884, 1}
	if v6 {
		objects = setting{"IPV6_RECVERR_RFC4884", unix.SOL_IPV6, unix.IPV6_RECVERR_RFC4884, 1}
	}
	d.extended = objects.apply(d.fd) == nil
	_ = setting{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}.apply(d.fd)
	return unix.Bind(d.fd, sockaddr(netip.AddrPortFrom(d.port.src, d.port.port), d.port.scope))
}

// finish reads what became of a connection, and reports whether it is over; its socket is closed then.
func (u *unprivileged) finish(d *dial) bool {
	if d.fd < 0 {
		return true
	}
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLOUT}}
	if n, err := poll(fds, time.Unix(0, 0)); n == 0 || err != nil {
		return false
	}
	if !u.refused(d) {
		now, _ := u.clock.read()
		no, err := unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
		case no == 0:
			if _, err := unix.Getpeername(d.fd); err != nil {
				return false // something was told, but not the end
			}
			u.answered(d, wire.SYN|wire.ACK, now)
			u.resets = append(u.resets, reset{d.port, d.dst, now})
		case unix.Errno(no) == unix.ECONNREFUSED:
			u.answered(d, wire.RST|wire.ACK, now)
		}
		// Any other error is this host's own, such as its firewall's, and no answer.
	}
	unix.Close(d.fd)
	d.fd = -1
	return true
}

// refused reads the ICMP error that ended a connection, if it was one.
func (u *unprivileged) refused(d *dial) (found bool) {
	for {
		n, err := u.in.take(d.fd, 0, len(u.in.ms), 0, unix.MSG_ERRQUEUE)
		if err != nil || n == 0 {
			return found
		}
		now, steady := u.clock.read()
		for i := range n {
			b, oob, whole := u.in.msg(i, 0)
			e, ok := parseQueuedError(oob)
			if ok && e.origin != unix.SO_EE_ORIGIN_ICMP && e.origin != unix.SO_EE_ORIGIN_ICMP6 {
				continue
			}
			start := len(u.data)
			if ok = ok && whole && len(b) >= 8; ok {
				u.data, ok = e.append(u.data, d.port.src, d.extended, d.quote(b), len(b))
			}
			if !ok {
				u.stats.Malformed++
				continue
			}
			found = true
			u.arrived(d.port.to, e.offender(&u.zones), familyProto(d.port.src, wire.ProtoICMP), start, parseArrival(oob), d.sent, now, steady)
		}
	}
}

// quote is the probe as it was handed to Send, where the kernel sent a SYN with a sequence number and
// options of its own: so the answer is known to be the probe's. What the ICMP error has behind the TCP header,
// its extensions, stays.
func (d *dial) quote(body []byte) []byte {
	ip, err := wire.ParseIP(d.packet)
	if err != nil { // it was read before
		return nil
	}
	q := append(bytes.Clone(ip.Header()), body...)
	copy(q[len(ip.Header()):], ip.Transport())
	return q
}

// answered makes the segment that a raw socket would have heard. Of the real one only the
// flags and the acknowledgement are known.
func (u *unprivileged) answered(d *dial, flags uint8, now time.Time) {
	ip, _ := wire.ParseIP(d.packet)
	t, err := wire.ParseTCP(ip.Transport())
	if err != nil { // it was read before
		return
	}
	start := len(u.data)
	u.data = wire.AppendTCP(u.data, netip.AddrPortFrom(ip.Dst(), d.dst.Port()), netip.AddrPortFrom(d.port.src, d.port.port),
		wire.TCPFields{Ack: t.Seq() + 1, Flags: flags}, nil)
	u.arrived(d.port.to, d.dst.Addr(), wire.ProtoTCP, start, arrival{}, d.sent, now, false)
}

// expire ends the connections that have been tried long enough.
func (u *unprivileged) expire(now time.Time) {
	for _, d := range u.dials {
		if d.due().After(now) {
			break // they are in the order they were sent
		}
		if !u.finish(d) {
			unix.Close(d.fd)
			d.fd = -1
		}
	}
	u.sweep()
}

// sweep forgets the connections that are over.
func (u *unprivileged) sweep() {
	k := 0
	for _, d := range u.dials {
		if d.fd >= 0 {
			u.dials[k] = d
			k++
		}
	}
	if k < len(u.dials) {
		clear(u.dials[k:])
		u.dials = u.dials[:k]
		u.poll()
	}
}

// releaseTCP ends what is under way from a port and gives it back.
func (u *unprivileged) releaseTCP(key sockKey) {
	port := u.ports[key]
	if port == nil {
		return
	}
	for _, d := range u.dials {
		if d.port == port && d.fd >= 0 {
			unix.Close(d.fd)
			d.fd = -1
		}
	}
	u.sweep()
	unix.Close(port.hold)
	delete(u.ports, key)
}
