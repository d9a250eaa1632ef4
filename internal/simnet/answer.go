package simnet

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// deliver does what n does with a packet to itself.
func (c *Conn) deliver(n *Node, in *Link, p packet) {
	if r := n.rule(p.ip); r != nil {
		c.obey(n, in, p, r)
		return
	}
	if n.Exceeds {
		c.exceed(n, in, p)
		return
	}
	if p.ip.MF() || p.ip.Offset() != 0 {
		c.counts.Discarded++ // the rest never comes
		return
	}
	t, proto := p.ip.Transport(), p.ip.Proto()
	if sound(proto, t, p.ip.Src(), p.dst) != nil {
		c.counts.Damaged++
		return
	}
	switch proto {
	case wire.ProtoUDP, wire.ProtoUDPLite:
		services, write := n.UDP, wire.AppendUDP
		if proto == wire.ProtoUDPLite {
			if services, write = n.UDPLite, wire.AppendUDPLite; services == nil {
				c.refuse(n, in, p, ProtocolUnreachable, 0)
				return
			}
		}
		u, _ := wire.ParseUDP(t)
		service, open := services[u.Dst()]
		switch {
		case !open:
			c.refuse(n, in, p, PortUnreachable, 0)
			return
		case service != nil && !n.Silent:
			if b := service(u.Payload()); b != nil {
				from, to := c.ends(n, u.Src(), u.Dst())
				c.trip.out = write(c.trip.out[:0], from, to, b, 0)
				c.answer(n, p, from.Addr(), proto, 0, n.TTL)
				return
			}
		}
	case wire.ProtoDCCP:
		d, _ := wire.ParseDCCP(t)
		seq, _ := d.Seq()
		open := n.DCCP[d.Dst()]
		switch {
		case n.DCCP == nil:
			c.refuse(n, in, p, ProtocolUnreachable, 0)
			return
		case d.Type() != wire.DCCPRequest || n.Silent:
		default:
			// RFC 4340 sections 8.1.3 and 8.3.1: both acknowledge the request's sequence number.
			const refused = 7
			f := wire.DCCPFields{Type: wire.DCCPReset, Ack: seq, Reset: refused}
			if open {
				f = wire.DCCPFields{Type: wire.DCCPResponse, Seq: c.rng.Uint64(), Ack: seq, Service: d.Service()}
			}
			from, to := c.ends(n, d.Src(), d.Dst())
			c.trip.out = wire.AppendDCCP(c.trip.out[:0], from, to, f, nil, 0)
			c.answer(n, p, from.Addr(), proto, 0, n.TTL)
			return
		}
	case wire.ProtoTCP:
		if slices.Contains(n.Groups, p.dst) {
			break // RFC 9293 section 3.9.2.3: nobody opens a connection with many
		}
		s, _ := wire.ParseTCP(t)
		if f, ok := n.segment(s, p.at); ok && !n.Silent {
			if f.Flags == wire.SYN|wire.ACK {
				f.Seq = c.rng.Uint32()
			}
			c.tcp(n, p, s, f, n.TTL)
			return
		}
	case wire.ProtoICMP, wire.ProtoICMPv6:
		if (proto == wire.ProtoICMPv6) == p.v6 && !n.Silent && c.query(n, p, t) {
			return
		}
	default:
		service, there := n.Protocols[proto]
		switch {
		case !there:
			c.refuse(n, in, p, ProtocolUnreachable, 0)
			return
		case service != nil && !n.Silent:
			if b := service(t); b != nil {
				from, _ := c.ends(n, 0, 0)
				c.trip.out = append(c.trip.out[:0], b...)
				c.answer(n, p, from.Addr(), proto, 0, n.TTL)
				return
			}
		}
	}
	c.counts.Discarded++
}

// query answers an ICMP request, and reports whether it did or was kept from it by a limit.
func (c *Conn) query(n *Node, p packet, t []byte) bool {
	var m wire.ICMP
	if p.v6 {
		m, _ = wire.ParseICMPv6(t, p.ip.Src(), p.dst)
	} else {
		m, _ = wire.ParseICMPv4(t)
	}
	from, to := c.ends(n, 0, 0)
	src, dst, out := from.Addr(), to.Addr(), c.trip.out[:0]
	id := be(c.trip.orig.Transport()[4:]) // a translated one is translated back
	switch typ := m.Type(); {
	case !p.v6 && typ == wire.Echo4 && !n.NoEcho, p.v6 && typ == wire.Echo6 && !n.NoEcho:
		if !n.EchoLimit.allow(&n.echoes, dst, p.at) {
			c.counts.Limited++
			return true
		}
		answer := uint8(wire.EchoReply4)
		if p.v6 {
			answer = wire.EchoReply6
		}
		out = wire.AppendEcho(out, src, dst, answer, id, m.Seq(), m.Payload(), 0)
	case !p.v6 && typ == wire.Timestamp4 && !n.NoTimestamp:
		w, ok := m.Times()
		if !ok {
			return false
		}
		w.Receive = c.clock(n, p.at)
		w.Transmit = w.Receive
		out = wire.AppendTimestamp(out, src, dst, wire.TimestampReply4, id, m.Seq(), w)
	case !p.v6 && typ == wire.Mask4 && n.Mask != 0:
		out = wire.AppendMask(out, src, dst, wire.MaskReply4, id, m.Seq(), n.Mask)
	case (!p.v6 && typ == wire.ExtEcho4 || p.v6 && typ == wire.ExtEcho6) && (n.Ports != nil || n.Neighbors != nil):
		code, state := n.extEcho(m)
		out = wire.AppendExtEchoReply(out, src, dst, code, id, m.ExtSeq(), state)
	case p.v6 && typ == wire.NodeQuery6 && n.Name != "":
		qtype, flags, nonce, subject, ok := m.Node()
		if !ok || !n.isSubject(m.Code(), subject, p.dst) {
			return false
		}
		code, data := n.about(qtype)
		out = wire.AppendNode(out, src, dst, wire.NodeReply6, code, qtype, flags, nonce, data, 0)
	default:
		return false
	}
	proto := uint8(wire.ProtoICMP)
	if p.v6 {
		proto = wire.ProtoICMPv6
	} else {
		// The options come back too, and the node is on the route. A source route would come back reversed: answers here
		// go back by the way the packet came, and need none.
		c.trip.options = c.trip.options[:0]
		for w := wire.WalkOptions(p.ip.Options()); ; {
			o, ok := w.Next()
			if !ok {
				break
			}
			if o.Type() == wire.OptRecordRoute || o.Type() == wire.OptTimestamp {
				c.trip.options = append(append(c.trip.options, o.Type(), uint8(2+len(o.Data()))), o.Data()...)
			}
		}
		for len(c.trip.options)%4 != 0 {
			c.trip.options = append(c.trip.options, wire.OptEnd)
		}
		register(c.trip.options, src, c.clock(n, p.at))
	}
	c.trip.out = out
	c.answer(n, p, src, proto, p.ip.TOS(), n.TTL)
	c.trip.options = c.trip.options[:0]
	return true
}

// extEcho is how n answers an extended echo request (RFC 8335 section 4).
func (n *Node) extEcho(m wire.ICMP) (code, state uint8) {
	id, local, ok := m.ExtEcho()
	if !ok {
		return wire.ExtEchoMalformed, 0
	}
	if !local {
		for _, x := range n.Neighbors {
			if id.Addr.IsValid() && x.Addr == id.Addr {
				return wire.ExtEchoOK, x.State << 5
			}
		}
		return wire.ExtEchoNoEntry, 0
	}
	found := 0
	for _, x := range n.Ports {
		switch {
		case id.Name != nil && string(id.Name) != x.Name, id.Addr.IsValid() && id.Addr != x.Addr,
			id.Name == nil && !id.Addr.IsValid() && id.Index != x.Index:
			continue
		}
		found++
		state = 0
		if !x.Down {
			state = wire.ExtEchoActive
		}
		if x.IPv4 {
			state |= wire.ExtEchoIPv4
		}
		if x.IPv6 {
			state |= wire.ExtEchoIPv6
		}
	}
	switch found {
	case 0:
		return wire.ExtEchoNoInterface, 0
	case 1:
		return wire.ExtEchoOK, state
	}
	return wire.ExtEchoManyInterfaces, 0
}

// isSubject reports whether a node information query is about n (RFC 4620 section 5): an address of it, or its name.
func (n *Node) isSubject(code uint8, subject []byte, dst netip.Addr) bool {
	switch {
	case code == 1:
		return len(subject) == 0 || string(subject) == string(appendName(nil, n.Name))
	case code == 0 && len(subject) == 16, code == 2 && len(subject) == 4:
		a, _ := netip.AddrFromSlice(subject)
		return n.owns(a, nil) || a == dst && slices.Contains(n.Groups, a)
	}
	return false
}

// about is what n says of itself (RFC 4620 sections 5 and 6): a time to live of 0 and a DNS name, or addresses each with one.
func (n *Node) about(qtype uint16) (code uint8, data []byte) {
	const noop, name, addrs6, addrs4, unknown = 0, 2, 3, 4, 2
	switch qtype {
	case noop:
		return 0, nil
	case name:
		return 0, appendName(make([]byte, 4), n.Name)
	case addrs6, addrs4:
		for _, a := range n.Addrs {
			if a.Is6() == (qtype == addrs6) {
				data = append(append(data, 0, 0, 0, 0), a.AsSlice()...)
			}
		}
		return 0, data
	}
	return unknown, nil
}

// appendName appends a name as DNS has it (RFC 1035 section 3.1). One label alone is no whole name and
// ends with an empty one more (RFC 4620 section 4).
func appendName(b []byte, name string) []byte {
	labels := strings.Split(name, ".")
	for _, l := range labels {
		b = append(append(b, uint8(len(l))), l...)
	}
	if b = append(b, 0); len(labels) == 1 {
		b = append(b, 0)
	}
	return b
}

// segment is how n answers a TCP segment (RFC 9293 section 3.10.7), if it does.
// There are no connections: whatever is not a SYN belongs to none.
func (n *Node) segment(s wire.TCP, at int64) (wire.TCPFields, bool) {
	state, flags := n.TCP[s.Dst()], s.Flags()
	if state == Filtered || flags&wire.RST != 0 {
		return wire.TCPFields{}, false
	}
	var f wire.TCPFields
	switch {
	case flags&wire.ACK != 0:
		f = wire.TCPFields{Seq: s.Ack(), Flags: wire.RST}
	case state != Open:
		n := uint32(len(s.Payload()))
		if flags&wire.SYN != 0 {
			n++
		}
		if flags&wire.FIN != 0 {
			n++
		}
		f = wire.TCPFields{Ack: s.Seq() + n, Flags: wire.RST | wire.ACK}
	case flags&wire.SYN != 0:
		mss := uint16(1460)
		f = wire.TCPFields{Ack: s.Seq() + 1, Flags: wire.SYN | wire.ACK, Window: 65160}
		f.Options = wire.AppendSYNOptions(nil, mss, uint32(at/int64(time.Millisecond)))
	default:
		return f, false
	}
	if state == BadReset {
		f.Seq, f.Ack = f.Seq+0x0101, f.Ack+0x0101
	}
	return f, true
}

// ends are the addresses and ports of a direct answer by n, translations undone.
func (c *Conn) ends(n *Node, src, dst uint16) (from, to netip.AddrPort) {
	o := c.trip.orig
	if at := portAt(o.Proto(), o.Transport()); at >= 0 && src != 0 {
		src = be(o.Transport()[at:])
	}
	a := o.FinalDst()
	if slices.Contains(n.Groups, a) {
		a = first(n.Addrs, a.Is6())
	}
	if n.From.IsValid() && n.From.Is6() == a.Is6() && !c.translated() {
		a = n.From
	}
	return netip.AddrPortFrom(a, dst), netip.AddrPortFrom(o.Src(), src)
}

// translated reports whether the packet goes to another address than it was sent to.
func (c *Conn) translated() bool {
	for _, t := range c.trip.nats {
		if t.dst {
			return true
		}
	}
	return false
}

// tcp answers s with a segment.
func (c *Conn) tcp(n *Node, p packet, s wire.TCP, f wire.TCPFields, ttl uint8) {
	from, to := c.ends(n, s.Src(), s.Dst())
	c.trip.out = wire.AppendTCP(c.trip.out[:0], from, to, f, nil)
	c.answer(n, p, from.Addr(), wire.ProtoTCP, 0, ttl)
}

// obey does what a rule says.
func (c *Conn) obey(n *Node, in *Link, p packet, r *Rule) {
	switch {
	case r.Do == Drop:
		c.counts.Discarded++
		return
	case r.Do != Reset:
		c.refuse(n, in, p, r.Do, r.Delay)
		return
	case p.ip.Proto() != wire.ProtoTCP:
		c.refuse(n, in, p, PortUnreachable, r.Delay)
		return
	}
	s, err := wire.ParseTCP(p.ip.Transport())
	if err != nil || p.ip.Offset() != 0 {
		c.counts.Discarded++
		return
	}
	closed := Node{}
	f, ok := closed.segment(s, p.at)
	if !ok || n.Silent {
		c.counts.Discarded++
		return
	}
	p.at += int64(r.Delay)
	// The reset is in the name of the target: n.From does not count.
	from := netip.AddrPortFrom(c.trip.orig.FinalDst(), s.Dst())
	_, to := c.ends(n, s.Src(), s.Dst())
	c.trip.out = wire.AppendTCP(c.trip.out[:0], from, to, f, nil)
	c.answer(n, p, from.Addr(), wire.ProtoTCP, 0, n.TTL)
}

// exceed answers with time exceeded in transit.
func (c *Conn) exceed(n *Node, in *Link, p packet) {
	typ := uint8(wire.TimeExceeded4)
	if p.v6 {
		typ = wire.TimeExceeded6
	}
	c.fail(n, in, p, typ, 0, 0, 0)
}

// refuse answers with the unreachable message that a is.
func (c *Conn) refuse(n *Node, in *Link, p packet, a Action, delay time.Duration) {
	switch {
	case !p.v6:
		c.fail(n, in, p, wire.Unreachable4, uint8(a>>8), 0, delay)
	case a == ProtocolUnreachable:
		// RFC 8200 section 4: unrecognised next header. The pointer leads to
		// the field that names it: the fixed header's, or that of the one
		// extension header there may be.
		at := uint32(6)
		if len(p.ip.Header()) > 40 {
			at = 40
		}
		c.fail(n, in, p, wire.ParameterProblem6, 1, at, delay)
	default:
		c.fail(n, in, p, wire.Unreachable6, uint8(a), 0, delay)
	}
}

// fail answers with an ICMP error.
func (c *Conn) fail(n *Node, in *Link, p packet, typ, code uint8, word uint32, delay time.Duration) {
	t := &c.trip
	from := n.source(in, p.v6)
	if n.Silent || !from.IsValid() || unanswerable(p.ip) || slices.Contains(n.Groups, p.dst) {
		c.counts.Discarded++
		return
	}
	to := t.orig.Src()
	if !n.Limit.allow(&n.errors, to, p.at) {
		c.counts.Limited++
		return
	}

	objects := n.Objects
	t.quote = append(t.quote[:0], p.ip.Bytes()...)
	if !c.caps.Header {
		// Put together from the little a socket's error queue tells.
		t.quote = append(t.quote[:0], t.orig.Bytes()...)
		ZeroID(t.quote)
		mendHeader(t.quote)
		if ip := t.orig; ip.Proto() == wire.ProtoUDP {
			// The payload alone is told. By its first 12 bytes a packet is known again; of another the header is lost.
			most, whole := max(0, n.quoted(p, len(objects))-len(ip.Header())-8), ip.Transport()[8:]
			body := slices.Clone(whole[:min(len(whole), most)])
			if head := len(ip.Header()) + 8; len(objects) > 0 && head+len(body) < 128 {
				body = append(body, make([]byte, 128-head-len(body))...) // as RFC 4884 has it
			}
			if n := min(len(whole), 12); len(body) < n || !bytes.Equal(body[:n], whole[:n]) {
				t.quote = appendUnknown(t.quote[:0], ip, body)
			} else {
				t.quote = append(t.quote[:len(t.quote)-len(whole)], body...)
			}
		}
		objects = nil
	} else {
		t.quote = t.quote[:min(len(t.quote), n.quoted(p, len(objects)))]
		for _, e := range n.Edits {
			e(t.quote)
		}
	}
	for i := len(t.nats) - 1; i >= 0; i-- {
		r := &t.nats[i]
		if r.dst {
			from = r.addr // in conntrack's eyes the error comes from the target
		}
		if r.restore == RestoreNothing || !c.caps.Header {
			continue
		}
		var port []byte
		if !r.dst {
			port = r.port[:]
		}
		readdress(t.quote, r.dst, r.addr, port, r.restore == RestoreAll)
	}
	t.out = wire.AppendError(t.out[:0], from, to, typ, code, word, t.quote, objects)
	proto, tos := uint8(wire.ProtoICMP), 0xc0|p.ip.TOS()&0x1e // as Linux answers
	if p.v6 {
		proto, tos = wire.ProtoICMPv6, 0
	}
	if n.Compat && len(objects) > 0 {
		at := 5 // the length attribute (RFC 4884 section 4)
		if p.v6 {
			at = 4
		}
		t.out[at] = 0
		mend(t.out, from, to, proto)
	}
	ttl := n.TTL
	if n.ErrorTTL != 0 {
		ttl = n.ErrorTTL
	}
	p.at += int64(delay)
	c.answer(n, p, from, proto, tos, ttl)
}

// appendUnknown appends a UDP packet between ip's ends of which no more is known than body, the beginning of its payload.
func appendUnknown(b []byte, ip wire.IP, body []byte) []byte {
	u, err := wire.ParseUDP(ip.Transport())
	if err != nil {
		return b
	}
	if ip.Version() == 4 {
		b = wire.AppendIPv4(b, wire.IPv4{Src: ip.Src(), Dst: ip.Dst(), TTL: 1, Proto: wire.ProtoUDP}, 8+len(body))
	} else {
		b = wire.AppendIPv6(b, wire.IPv6{Src: ip.Src(), Dst: ip.Dst(), HopLimit: 1, Next: wire.ProtoUDP}, 8+len(body))
	}
	return wire.AppendUDP(b, netip.AddrPortFrom(ip.Src(), u.Src()), netip.AddrPortFrom(ip.Dst(), u.Dst()), body, 0)
}

// unanswerable reports whether an ICMP error about p is forbidden (RFC 1122
// section 3.2.2): p is one itself, a later fragment, or for many.
func unanswerable(p wire.IP) bool {
	if p.Offset() != 0 || p.Dst().IsMulticast() || p.Dst() == broadcast {
		return true
	}
	t := p.Transport()
	switch p.Proto() {
	case wire.ProtoICMP:
		if len(t) > 0 {
			switch t[0] {
			case wire.Unreachable4, wire.SourceQuench4, wire.Redirect4, wire.TimeExceeded4, wire.ParameterProblem4:
				return true
			}
		}
	case wire.ProtoICMPv6:
		return len(t) > 0 && (t[0] < 128 || t[0] == wire.Redirect6)
	}
	return false
}

// quoted is how many bytes of p an error of n quotes, if there are as many.
func (n *Node) quoted(p packet, objects int) int {
	size := 576 - 20 - 8
	if p.v6 {
		size = 1280 - 40 - 8
	}
	if objects > 0 {
		size -= 4 + objects
	}
	if n.Quote != 0 {
		size = len(p.ip.Header()) + n.Quote
	}
	switch {
	case objects == 0:
		return size
	case n.Compat:
		return min(size, 128)
	}
	return max(size&^7, min(size, 128)) // counted in words of 4 or 8 bytes; shorter ones are padded to 128
}

// answer sends home what is in trip.out.
func (c *Conn) answer(n *Node, p packet, from netip.Addr, proto, tos, ttl uint8) {
	if ttl == 0 {
		ttl = 64
	}
	if int(ttl) <= n.BackHops {
		c.counts.LostBack++
		return
	}
	r := rawsock.Reply{
		From: from, To: c.trip.orig.Src(), Proto: proto, TTL: ttl - uint8(n.BackHops), TOS: tos, Data: c.trip.out,
		Options: c.trip.options,
	}
	if n.Alter != nil {
		altered := r // of its own, so that r stays off the heap
		n.Alter(&altered)
		r = altered
	}
	w := &n.Answer
	if c.chance(w.Loss) {
		c.counts.LostBack++
		return
	}
	i := len(c.trip.path)
	for range c.more(w) {
		twin := r
		twin.Data, twin.Options = slices.Clone(r.Data), slices.Clone(r.Options)
		c.harm(w, twin.Data, r.From, r.To, r.Proto)
		c.back(twin, i, p.at+c.take(w), true)
	}
	c.harm(w, r.Data, r.From, r.To, r.Proto)
	c.back(r, i, p.at+c.take(w), true)
}

var _ rawsock.Conn = (*Conn)(nil)
