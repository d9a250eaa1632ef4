package rawsock

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// A dgram is one datagram socket of an unprivileged Conn, bound to its
// source address and port, or echo identifier, and connected to nothing.
type dgram struct {
	sockKey
	fd       int
	to       netip.Addr // src with its zone
	rxStamp  bool
	txStamp  bool
	objects  bool      // the kernel says where ICMP extensions begin
	discover int       // IP_MTU_DISCOVER at the moment
	fragment bool      // packets without DF that are too big are cut
	heed     bool      // of those with DF the host's path MTU decides
	options  string    // IP_OPTIONS at the moment
	quiet    time.Time // nothing was waiting to be received at that time
	queue    stamped
	errQueue stamped
	errQuiet time.Time // and nothing on the error queue
	ids      txIDs
	sa4      unix.SockaddrInet4
	sa6      unix.SockaddrInet6
	oob      []byte

	quotes map[quoteKey]quoteHead
	ring   []quoteKey // the keys of quotes, the oldest at next once it is full
	next   int
}

// icmp is the protocol of the errors the socket hears.
func (d *dgram) icmp() uint8 { return familyProto(d.src, wire.ProtoICMP) }

// reserveUDP binds a UDP socket to a port of src, a random one where it is 0.
func reserveUDP(src netip.Addr, scope uint32, port uint16) (fd int, _ uint16, err error) {
	port, err = choose(port, firstPort, func(port uint16) (err error) {
		fd, err = bound(src, scope, unix.SOCK_DGRAM, port)
		return err
	})
	if err != nil {
		return -1, 0, err
	}
	return fd, port, nil
}

// reservePing binds a ping socket to an identifier, a random one where it is 0. The kernel writes
// that into every echo request the socket sends, and hands it the replies
// that have it.
func reservePing(src netip.Addr, scope uint32, id uint16) (fd int, _ uint16, err error) {
	family, proto := unix.AF_INET6, unix.IPPROTO_ICMPV6
	if src.Is4() {
		family, proto = unix.AF_INET, unix.IPPROTO_ICMP
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err == unix.EACCES {
		return -1, 0, pingRefused(err)
	}
	if err != nil {
		return -1, 0, fmt.Errorf("open a ping socket: %w", err)
	}
	// Ping sockets share identifiers unless they ask not to, and then one gets the other's replies.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0); err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("keep the identifier (SO_REUSEADDR): %w", err)
	}
	id, err = choose(id, 0, func(id uint16) error {
		return unix.Bind(fd, sockaddr(netip.AddrPortFrom(src, id), scope))
	})
	if err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("bind a ping socket: %w", err)
	}
	return fd, id, nil
}

// pingRefused says what to do about a refused ping socket. opError adds ErrPrivilege.
func pingRefused(err error) error {
	program, e := os.Executable()
	if e != nil {
		program = "PROGRAM"
	}
	return fmt.Errorf("open a ping socket: %w: none of this user's groups is in net.ipv4.ping_group_range; "+
		"root can mend that with: sysctl -w net.ipv4.ping_group_range='0 2147483647' "+
		"or with: setcap cap_net_raw+p %s", err, program)
}

// setOptions asks for everything about arrivals, departures and errors that the kernel tells.
func (d *dgram) setOptions() error {
	must := []setting{
		{"IP_RECVERR", unix.SOL_IP, unix.IP_RECVERR, 1},
		{"IP_RECVTTL", unix.SOL_IP, unix.IP_RECVTTL, 1},
		{"IP_RECVTOS", unix.SOL_IP, unix.IP_RECVTOS, 1},
		{"IP_RECVOPTS", unix.SOL_IP, unix.IP_RECVOPTS, 1},
	}
	objects := setting{"IP_RECVERR_RFC4884", unix.SOL_IP, unix.IP_RECVERR_RFC4884, 1}
	if d.src.Is6() {
		must = []setting{
			{"IPV6_RECVERR", unix.SOL_IPV6, unix.IPV6_RECVERR, 1},
			{"IPV6_RECVHOPLIMIT", unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			{"IPV6_RECVTCLASS", unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1},
			// No fragments, and no heed to what the host believes the path
			// to carry: a probe leaves whole or not at all.
			{"IPV6_MTU_DISCOVER", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
		}
		objects = setting{"IPV6_RECVERR_RFC4884", unix.SOL_IPV6, unix.IPV6_RECVERR_RFC4884, 1}
	}
	for _, o := range must {
		if err := o.apply(d.fd); err != nil {
			return err
		}
	}
	d.discover = -1 // not set
	// What follows the program can do without: Linux before 5.9 does not
	// look for extensions, a kernel may be built without time stamps, and the
	// administrator bounds the buffer (net.core.rmem_max).
	d.objects = objects.apply(d.fd) == nil
	d.rxStamp = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) == nil
	d.txStamp = d.stamp(txFlags) == nil
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	return nil
}

// set applies the settings of the connection.
func (d *dgram) set(s Settings, z *zones) error {
	v6 := d.src.Is6()
	d.fragment, d.heed = s.Fragment, s.Heed
	way := s
	if s.Device != "" && !v6 {
		// For what is sent alone: a socket bound to a device would not hear answers that come by another.
		// IPv6 has no such thing: with a source address it does not heed IPV6_UNICAST_IF (ip6_route_output_flags).
		way.Device = ""
		id, err := z.id(netip.IPv6LinkLocalAllNodes().WithZone(s.Device))
		if err != nil {
			return deviceError(s.Device, unix.ENODEV)
		}
		var network [4]byte // which byte order IP_UNICAST_IF is in
		binary.BigEndian.PutUint32(network[:], id)
		one := setting{"IP_UNICAST_IF", unix.SOL_IP, unix.IP_UNICAST_IF, int(int32(binary.NativeEndian.Uint32(network[:])))}
		if err := one.apply(d.fd); err != nil {
			return fmt.Errorf("device %q: %w", s.Device, err)
		}
		if err := unix.SetsockoptIPMreqn(d.fd, unix.SOL_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(id)}); err != nil {
			return fmt.Errorf("device %q: IP_MULTICAST_IF: %w", s.Device, err)
		}
	}
	if d.to.Zone() != "" && s.Device != "" {
		// The kernel has bound it to the interface of its address, for good.
		has, _ := z.id(d.to)
		if want, err := z.id(d.to.WithZone(s.Device)); err != nil || has != want {
			return fmt.Errorf("device %q: the source %v is of another interface: %w", s.Device, d.to, unix.EINVAL)
		}
		way.Device = ""
	}
	if err := choosesBy(d.fd, v6, way); err != nil {
		return err
	}
	if v6 {
		discover := setting{"fragment (IPV6_MTU_DISCOVER)", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE}
		switch {
		case s.Fragment:
			discover.value = unix.IPV6_PMTUDISC_OMIT
		case s.Heed:
			discover.value = unix.IPV6_PMTUDISC_DO
		}
		if err := discover.apply(d.fd); err != nil {
			return err
		}
	}
	return s.apply(d.fd, v6)
}

const txFlags = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE |
	unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY

func (d *dgram) stamp(flags int) error {
	return unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags)
}

// restart sets the kernel's count of packets back to 0, which asking anew for
// OPT_ID does. Send times that are still on their way are lost.
func (d *dgram) restart() {
	if !d.txStamp {
		return
	}
	d.txStamp = d.stamp(txFlags&^unix.SOF_TIMESTAMPING_OPT_ID) == nil && d.stamp(txFlags) == nil
	d.ids.restart()
}

// drops is how many messages the kernel has thrown away for want of buffer.
func (d *dgram) drops() uint64 {
	_, _, drops, err := memInfo(d.fd)
	if err != nil { // not on a socket that is open
		return 0
	}
	return uint64(drops)
}

// A message is a packet as a datagram socket sends it.
type message struct {
	p     *Packet
	ip    wire.IP
	dst   netip.AddrPort // the port is 0 for an echo
	body  []byte         // a UDP payload or a whole ICMP message
	scope uint32
	stops []netip.Addr // of a source route: where else the packet's destination field points on its way
}

// routed makes m one of a source route, if its options have one. On the wire the packet goes to the first stop and the
// list ends with the destination; sendto(2) wants the destination, and the list in
// IP_OPTIONS starts with the first stop (ip(7), RFC 791 section 3.1).
func (m *message) routed() {
	list, ok := sourceRoute(m.ip.Header()[20:])
	if !ok {
		return
	}
	m.stops = append(m.stops, m.dst.Addr())
	for ; len(list) > 4; list = list[4:] {
		m.stops = append(m.stops, netip.AddrFrom4([4]byte(list)))
	}
	m.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(list)), m.dst.Port())
}

// kernelOptions are m's options as IP_OPTIONS wants them.
func (m *message) kernelOptions() []byte {
	o := bytes.Clone(m.ip.Header()[20:])
	if list, ok := sourceRoute(o); ok {
		copy(list[4:], list[:len(list)-4])
		first := m.ip.Dst().As4()
		copy(list, first[:])
	}
	return o
}

// sourceRoute finds the addresses of a source route among IPv4 options: at least one, and none of them passed.
func sourceRoute(o []byte) (list []byte, ok bool) {
	const loose, strict = 131, 137
	for len(o) > 0 && o[0] != 0 {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return nil, false
		}
		n := int(o[1])
		if (o[0] == loose || o[0] == strict) && n >= 7 && (n-3)%4 == 0 && o[2] == 4 {
			return o[3:n], true
		}
		o = o[n:]
	}
	return nil, false
}

// plan finds the socket for a packet, nil for TCP, which has none yet. What these sockets cannot send is
// refused with a *SendError.
func (u *unprivileged) plan(p *Packet) (*dgram, message, error) {
	refuse := func(name string, err error) (*dgram, message, error) {
		return nil, message{}, &SendError{Name: name, Dst: p.Dst, Err: err}
	}
	ip, err := wire.ParseIP(p.Data)
	if err != nil {
		return refuse("EINVAL", err)
	}
	dst := p.Dst.Unmap()
	if ip.Dst() != dst.WithZone("") {
		return refuse("EINVAL", fmt.Errorf("the header says %v", ip.Dst()))
	}
	if dst.Is6() && len(ip.Header()) != 40 || ip.MF() || ip.Offset() != 0 {
		return refuse("EPERM", fmt.Errorf("extension headers and fragments: %w", ErrPrivilege))
	}
	m := message{p: p, ip: ip}
	key := sockKey{src: ip.Src(), proto: ip.Proto()}
	l4 := ip.Transport()
	switch {
	case key.proto == wire.ProtoUDP:
		t, err := wire.ParseUDP(l4)
		if err != nil {
			return refuse("EINVAL", err)
		}
		if t.Length() != len(l4) {
			return refuse("EINVAL", fmt.Errorf("UDP length is %d of %d bytes", t.Length(), len(l4)))
		}
		key.port, m.dst, m.body = t.Src(), netip.AddrPortFrom(dst, t.Dst()), t.Payload()
	case key.proto == wire.ProtoICMP && dst.Is4(), key.proto == wire.ProtoICMPv6 && dst.Is6():
		if len(l4) < 8 {
			return refuse("EINVAL", wire.ErrShort)
		}
		request := l4[0] == wire.Echo4 || l4[0] == extEcho4
		if dst.Is6() {
			request = l4[0] == wire.Echo6 || l4[0] == extEcho6
		}
		if !request || l4[1] != 0 {
			return refuse("EPERM", fmt.Errorf("ICMP type %d code %d: %w", l4[0], l4[1], ErrPrivilege))
		}
		key.port, m.dst, m.body = binary.BigEndian.Uint16(l4[4:]), netip.AddrPortFrom(dst, 0), l4
	case key.proto == wire.ProtoTCP:
		if dst.Is4() && len(ip.Header()) != 20 {
			return refuse("EPERM", fmt.Errorf("IP options of TCP: %w", ErrPrivilege))
		}
	default:
		return refuse("EPERM", fmt.Errorf("IP protocol %d: %w", key.proto, ErrPrivilege))
	}
	d := u.socks[key]
	if key.proto != wire.ProtoTCP && d == nil {
		return refuse("EADDRNOTAVAIL", fmt.Errorf("port %d of %v is not reserved", key.port, key.src))
	}
	if m.scope, err = u.zones.id(dst); err != nil {
		return refuse("EINVAL", err)
	}
	if dst.Is4() {
		m.routed()
	}
	return d, m, nil
}

// send sends m with its own TTL and TOS, told with the packet and not by
// socket options, but for two that can only be had so. The error is the bare errno.
func (d *dgram) send(m message) error {
	ttl, tos := int(m.ip.TTL()), int(m.ip.TOS())
	d.oob = d.oob[:0]
	if d.src.Is4() {
		// PROBE sets DF, INTERFACE clears it; both send what fits the device
		// in one piece, whatever MTU the host remembers for the path.
		discover := unix.IP_PMTUDISC_INTERFACE
		switch {
		case m.ip.DF() && d.heed:
			discover = unix.IP_PMTUDISC_DO
		case m.ip.DF():
			discover = unix.IP_PMTUDISC_PROBE
		case d.fragment:
			discover = unix.IP_PMTUDISC_OMIT // as INTERFACE, and what the device does not take is cut
		}
		if d.discover != discover {
			if err := unix.SetsockoptInt(d.fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, discover); err != nil {
				return err
			}
			d.discover = discover
		}
		if options := m.ip.Header()[20:]; d.options != string(options) {
			if err := unix.SetsockoptString(d.fd, unix.SOL_IP, unix.IP_OPTIONS, string(m.kernelOptions())); err != nil {
				return err
			}
			d.options = string(options)
		}
		d.oob = appendCmsg(d.oob, unix.SOL_IP, unix.IP_TTL, ttl)
		d.oob = appendCmsg(d.oob, unix.SOL_IP, unix.IP_TOS, tos)
		d.sa4 = unix.SockaddrInet4{Addr: m.dst.Addr().As4(), Port: int(m.dst.Port())}
		return d.sendmsg(m.body, &d.sa4)
	}
	if d.proto == wire.ProtoICMPv6 {
		// Linux before 5.18 takes no control messages on an IPv6 ping
		// socket, and does not say so. One goroutine sends, so an option
		// set now is this packet's.
		for _, o := range [...]struct{ opt, value int }{{unix.IPV6_UNICAST_HOPS, ttl}, {unix.IPV6_TCLASS, tos}} {
			if err := unix.SetsockoptInt(d.fd, unix.SOL_IPV6, o.opt, o.value); err != nil {
				return err
			}
		}
	}
	d.oob = appendCmsg(d.oob, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, ttl)
	d.oob = appendCmsg(d.oob, unix.SOL_IPV6, unix.IPV6_TCLASS, tos)
	d.sa6 = unix.SockaddrInet6{Addr: m.dst.Addr().As16(), Port: int(m.dst.Port()), ZoneId: m.scope}
	return d.sendmsg(m.body, &d.sa6)
}

func (d *dgram) sendmsg(b []byte, to unix.Sockaddr) error {
	for {
		_, err := unix.SendmsgN(d.fd, b, d.oob, to, unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err
		}
	}
}

// appendCmsg appends a control message that is an int.
func appendCmsg(b []byte, level, typ int32, v int) []byte {
	n := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(4))...)
	h := unix.Cmsghdr{Level: level, Type: typ}
	h.SetLen(unix.CmsgLen(4))
	copy(b[n:], unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)))
	binary.NativeEndian.PutUint32(b[n+unix.CmsgLen(0):], uint32(v))
	return b
}

// Of a quoted packet the kernel hands over only what follows its header.
// The header is put back from memory: by where the packet went and how its
// payload begins, which is where a probe says which one it is.
type (
	quoteKey struct {
		dst  netip.AddrPort // without zone
		from [12]byte       // of a UDP payload, or of an echo from its sequence number on
	}
	quoteHead struct {
		b [68]byte // of the IP header, and the UDP header if there is one
		n int
	}
)

// maxQuotes is how many packets of one socket are remembered.
const maxQuotes = 4096

func (d *dgram) quoteKey(dst netip.AddrPort, body []byte) quoteKey {
	k := quoteKey{dst: netip.AddrPortFrom(dst.Addr().WithZone(""), dst.Port())}
	if d.proto != wire.ProtoUDP {
		body = body[min(6, len(body)):] // the kernel writes checksum and identifier
	}
	copy(k.from[:], body)
	return k
}

// remember keeps the headers of a packet that was sent.
func (d *dgram) remember(m message) {
	d.rememberAs(m, m.dst)
	for _, a := range m.stops {
		d.rememberAs(m, netip.AddrPortFrom(a, m.dst.Port()))
	}
}

// rememberAs keeps them for quotes that say the packet was going to dst.
func (d *dgram) rememberAs(m message, dst netip.AddrPort) {
	k := d.quoteKey(dst, m.body)
	var h quoteHead
	h.n = len(m.ip.Header())
	if d.proto == wire.ProtoUDP {
		h.n += 8
	}
	copy(h.b[:h.n], m.ip.Bytes())
	if _, known := d.quotes[k]; !known {
		if len(d.ring) < maxQuotes {
			d.ring = append(d.ring, k)
		} else {
			delete(d.quotes, d.ring[d.next])
			d.ring[d.next] = k
			d.next = (d.next + 1) % maxQuotes
		}
	}
	d.quotes[k] = h
}

// appendQuote appends a packet to dst of which the kernel gave body, and its headers.
func (d *dgram) appendQuote(b []byte, dst netip.AddrPort, body []byte) []byte {
	if h, ok := d.quotes[d.quoteKey(dst, body)]; ok {
		return append(append(b, h.b[:h.n]...), body...)
	}
	// So little of it came back that it could be several, or it is long ago.
	// Its length and with that its UDP checksum are then as of what came back;
	// of nothing there is no checksum. Whose it is, is for package probe to find out, which knows what is waited
	// for: see docs/decisions/0011-short-quotes.md.
	size := len(body)
	if d.proto == wire.ProtoUDP {
		size += 8
	}
	to := dst.Addr().WithZone("")
	if d.src.Is4() {
		b = wire.AppendIPv4(b, wire.IPv4{Src: d.src, Dst: to, TTL: 1, Proto: d.proto}, size)
	} else {
		b = wire.AppendIPv6(b, wire.IPv6{Src: d.src, Dst: to, HopLimit: 1, Next: d.proto}, size)
	}
	if d.proto != wire.ProtoUDP {
		return append(b, body...)
	}
	start := len(b)
	b = wire.AppendUDP(b, netip.AddrPortFrom(d.src, d.port), netip.AddrPortFrom(to, dst.Port()), body, 0)
	if len(body) == 0 {
		b[start+6], b[start+7] = 0, 0
	}
	return b
}

// A queuedError is an entry of an error queue: struct sock_extended_err of
// ip(7), and who sent the ICMP error.
type queuedError struct {
	errno      unix.Errno
	origin     uint8
	typ, code  uint8
	info       uint32 // the MTU, or the pointer of a parameter problem
	extensions uint16 // where in the data they begin; 0: not known
	from       netip.Addr
	scope      uint32
}

func (e *queuedError) offender(z *zones) netip.Addr { return z.with(e.from, e.scope) }

// parseQueuedError finds the entry among the control messages of a message
// from an error queue.
func parseQueuedError(oob []byte) (e queuedError, ok bool) {
	for {
		m, rest, more := nextCmsg(oob)
		if !more {
			return e, false
		}
		oob = rest
		v4 := m.level == unix.SOL_IP && m.typ == unix.IP_RECVERR
		v6 := m.level == unix.SOL_IPV6 && m.typ == unix.IPV6_RECVERR
		if !v4 && !v6 || len(m.data) < 16 {
			continue
		}
		b := m.data
		e.errno = unix.Errno(binary.NativeEndian.Uint32(b))
		e.origin, e.typ, e.code = b[4], b[5], b[6]
		e.info = binary.NativeEndian.Uint32(b[8:])
		e.extensions = binary.NativeEndian.Uint16(b[12:]) // struct sock_ee_data_rfc4884
		// The offender's address is as long as its family says.
		if b = b[16:]; len(b) >= 2 {
			switch family := binary.NativeEndian.Uint16(b); {
			case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
				e.from = netip.AddrFrom4([4]byte(b[4:8]))
			case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
				e.from = netip.AddrFrom16([16]byte(b[8:24]))
				e.scope = binary.NativeEndian.Uint32(b[24:])
			}
		}
		return e, true
	}
}

// appendError appends the ICMP error that e tells of, as it must have been: it
// quotes a packet to dst, of which body came back, and extensions if there were any.
func (d *dgram) appendError(b []byte, e queuedError, dst netip.AddrPort, body []byte) ([]byte, bool) {
	if dst.Addr().Is6() != d.src.Is6() || d.proto != wire.ProtoUDP && len(body) < 8 {
		return b, false
	}
	return e.append(b, d.src, d.objects, d.appendQuote(nil, dst, body), len(body))
}

// append appends the ICMP error to src that quotes quote, of which the last bytes, body of them, are
// what came back; extended says that e.extensions is known.
func (e *queuedError) append(b []byte, src netip.Addr, extended bool, quote []byte, body int) ([]byte, bool) {
	v6 := src.Is6()
	if !e.from.IsValid() || e.from.Is6() != v6 || e.from.Is4In6() { // the last never belongs on the wire
		return b, false
	}
	var word uint32 // the second of the header
	unit, shift := 4, 16
	may := e.typ == wire.Unreachable4 || e.typ == wire.TimeExceeded4 || e.typ == wire.ParameterProblem4
	switch {
	case v6:
		unit, shift = 8, 24
		may = e.typ == wire.Unreachable6 || e.typ == wire.TimeExceeded6
		if e.typ == wire.PacketTooBig6 || e.typ == wire.ParameterProblem6 {
			word = e.info
		}
	case e.typ == wire.Unreachable4 && e.code == 4:
		word = e.info & 0xffff
	case e.typ == wire.ParameterProblem4:
		word = e.info << 24
	}
	if at := len(quote) - body + int(e.extensions); may && extended && e.extensions != 0 && at/unit <= 0xff {
		// The body runs on into the extensions, which are left as they
		// came, good or bad; what says so is the length attribute (RFC 4884 section 5).
		word |= uint32(at/unit) << shift
	}
	return wire.AppendError(b, e.from, src, e.typ, e.code, word, quote, nil), true
}
