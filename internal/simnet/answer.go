package simnet

import (
	"net/netip"
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
	src := p.ip.Src()
	if sound(proto, t, src, p.dst) != nil {
		c.counts.Damaged++
		return
	}
	switch proto {
	case wire.ProtoUDP:
		u, _ := wire.ParseUDP(t)
		service, open := n.UDP[u.Dst()]
		switch {
		case !open:
			c.refuse(n, in, p, PortUnreachable, 0)
			return
		case service != nil && !n.Silent:
			if b := service(u.Payload()); b != nil {
				from, to := c.ends(n, u.Src(), u.Dst())
				c.trip.out = wire.AppendUDP(c.trip.out[:0], from, to, b, 0)
				c.answer(n, p, from.Addr(), proto, 0, n.TTL)
				return
			}
		}
	case wire.ProtoTCP:
		s, _ := wire.ParseTCP(t)
		if f, ok := n.segment(s, p.at); ok && !n.Silent {
			if f.Flags == wire.SYN|wire.ACK {
				f.Seq = c.rng.Uint32()
			}
			c.tcp(n, p, s, f, n.TTL)
			return
		}
	case wire.ProtoICMP, wire.ProtoICMPv6:
		typ, answer := t[0], uint8(wire.EchoReply4)
		if p.v6 {
			answer = wire.EchoReply6
		}
		echo := !p.v6 && typ == wire.Echo4 && proto == wire.ProtoICMP || p.v6 && typ == wire.Echo6 && proto == wire.ProtoICMPv6
		if !echo || n.NoEcho || n.Silent {
			break
		}
		from, to := c.ends(n, 0, 0)
		if !n.EchoLimit.allow(&n.echoes, to.Addr(), p.at) {
			c.counts.Limited++
			return
		}
		id := be(c.trip.orig.Transport()[4:]) // a translated one is translated back
		c.trip.out = wire.AppendEcho(c.trip.out[:0], from.Addr(), to.Addr(), answer, id, be(t[6:]), t[8:], 0)
		c.answer(n, p, from.Addr(), proto, p.ip.TOS(), n.TTL)
		return
	default:
		c.refuse(n, in, p, ProtocolUnreachable, 0)
		return
	}
	c.counts.Discarded++
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
	if at := portAt(o.Proto()); at >= 0 && src != 0 {
		src = be(o.Transport()[at:])
	}
	a := o.Dst()
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
	from := netip.AddrPortFrom(c.trip.orig.Dst(), s.Dst())
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
	if n.Silent || !from.IsValid() || unanswerable(p.ip) {
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

// unanswerable reports whether an ICMP error about p is forbidden (RFC 1122
// section 3.2.2): p is one itself, or a later fragment.
func unanswerable(p wire.IP) bool {
	if p.Offset() != 0 {
		return true
	}
	t := p.Transport()
	switch p.Proto() {
	case wire.ProtoICMP:
		return len(t) > 0 && t[0] != wire.Echo4 && t[0] != wire.EchoReply4
	case wire.ProtoICMPv6:
		return len(t) > 0 && t[0] < 128
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
		twin.Data = append([]byte(nil), r.Data...)
		c.harm(w, twin.Data, r.From, r.To, r.Proto)
		c.back(twin, i, p.at+c.take(w), true)
	}
	c.harm(w, r.Data, r.From, r.To, r.Proto)
	c.back(r, i, p.at+c.take(w), true)
}

var _ rawsock.Conn = (*Conn)(nil)
