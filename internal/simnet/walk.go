package simnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

const (
	maxHops   = 600  // links one packet may take; only nodes that do not count TTLs down let it come to that
	maxCopies = 1000 // of one packet, lest duplicating links in a loop never end
	maxFaults = 100
)

// A trip is a packet on its way and what its answers need to find theirs.
// There is one at a time; copies made on the way branch off it.
type trip struct {
	n      uint64
	ok     bool    // it can be read at all
	orig   wire.IP // the packet as it was sent
	buf    []byte  // of orig
	pkt    []byte  // the packet as it is now
	path   []*Link // taken so far
	nats   []nat   // made so far
	looped bool    // some node was passed twice
	copies int
	quote  []byte
	out    []byte
	// The options of the answer in out, of the echo and timestamp replies that have any.
	options []byte
}

// A nat is a translation and how to undo it.
type nat struct {
	dst     bool // of the destination, else of the source
	addr    netip.Addr
	port    [2]byte // of the source
	restore Restore
}

// A packet is a view of one that arrives at a node.
type packet struct {
	ip   wire.IP
	dst  netip.Addr
	v6   bool
	flow uint64 // 0 where not yet known
	at   int64
}

func look(ip wire.IP, at int64) packet {
	return packet{ip: ip, dst: ip.Dst(), v6: ip.Version() == 6, at: at}
}

// check says why Linux would not send p, and makes it the trip otherwise.
func (c *Conn) check(p *rawsock.Packet) (errno string) {
	t := &c.trip
	t.buf = append(t.buf[:0], p.Data...)
	ip, err := wire.ParseIP(t.buf)
	if t.ok = err == nil; !t.ok {
		return "" // Linux would send it: see inspect
	}
	dst := p.Dst.WithZone("")
	v6 := ip.Version() == 6
	switch {
	case v6 && !c.caps.IPv6 || !v6 && !c.caps.IPv4:
		return "EAFNOSUPPORT"
	case ip.Proto() == wire.ProtoTCP && !c.caps.TCP:
		return "EPROTONOSUPPORT"
	case c.src.owns(dst, nil):
	case !c.settings.Broadcast && !dst.IsMulticast() && c.floods(c.src, dst):
		return "EACCES"
	default:
		best, mtu := -1, 0
		for _, l := range c.src.Links {
			if f := l.fits(dst); f > best {
				best, mtu = f, l.MTU
			}
		}
		if best < 0 {
			return "ENETUNREACH"
		}
		if mtu > 0 && len(p.Data) > mtu {
			return "EMSGSIZE" // the kernel never fragments what comes with its header
		}
	}
	if !c.caps.Header {
		// The kernel writes the header: of its own, whatever was here.
		if v6 {
			v := binary.BigEndian.Uint32(t.buf) &^ 0xfffff
			binary.BigEndian.PutUint32(t.buf, v)
		} else {
			binary.BigEndian.PutUint16(t.buf[4:], uint16(c.rng.UintN(65535)+1))
			mendHeader(t.buf)
		}
	}
	t.orig = ip
	return ""
}

// launch sends the packet that check has looked at.
func (c *Conn) launch(p *rawsock.Packet) {
	t := &c.trip
	if c.cfg.Foreign {
		// as it is
	} else if err := c.inspect(p); err != nil {
		c.counts.Faulty++
		if len(c.faults) < maxFaults {
			c.faults = append(c.faults, fmt.Errorf("packet %d to %v: %w", p.N, p.Dst, err))
		}
	}
	if !t.ok {
		return
	}
	t.n++
	t.path, t.nats, t.looped, t.copies = t.path[:0], t.nats[:0], false, 0
	t.pkt = append(t.pkt[:0], t.orig.Bytes()...)
	c.forward(c.src, nil, t.pkt, c.now)
}

// inspect says what is wrong with a packet that a real host or the kernel would not take as it is.
func (c *Conn) inspect(p *rawsock.Packet) error {
	ip, err := wire.ParseIP(p.Data)
	if err != nil {
		return err
	}
	src, dst := ip.Src(), ip.Dst()
	switch {
	case ip.Length() != len(p.Data):
		return fmt.Errorf("the header says %d bytes, but there are %d", ip.Length(), len(p.Data))
	case dst != p.Dst.WithZone(""):
		return fmt.Errorf("the header says it is for %v", dst)
	case !c.Local(src):
		return fmt.Errorf("source %v is not an address of this host", src)
	case ip.Version() == 4 && ip.ID() == 0 && !ip.DF():
		return fmt.Errorf("identification 0 without DF: the kernel would fill it in")
	case ip.TTL() == 0:
		return fmt.Errorf("TTL 0")
	case ip.MF() || ip.Offset() != 0:
		return nil // its checksum is not in this fragment alone
	}
	if err := sound(ip.Proto(), ip.Transport(), src, ip.FinalDst()); err != nil {
		return err
	}
	return c.conventions(ip)
}

// conventions says how a packet departs from what rawsock wants of probes, so that
// kernel filters know their answers.
func (c *Conn) conventions(ip wire.IP) error {
	t, proto, token := ip.Transport(), ip.Proto(), c.caps.Token
	at := identAt(proto, t)
	if at < 0 { // of a protocol without ports
		if !c.reserved[reservation{ip.Src(), proto, 0}] {
			return fmt.Errorf("protocol %d is not reserved", proto)
		}
		return saysToken(t, token)
	}
	if len(t) < at+2 {
		return nil
	}
	if port := be(t[at:]); !c.reserved[reservation{ip.Src(), proto, port}] {
		// A packet of that protocol without its header is known by the token alone.
		if len(t) < rawsock.TokenOffset+4 || saysToken(t, token) != nil || ip.Proto() == wire.ProtoICMPv6 || ip.Proto() == wire.ProtoICMP {
			return fmt.Errorf("source port or identifier %d is not reserved", port)
		}
		return nil
	}
	switch proto {
	case wire.ProtoTCP:
		s, err := wire.ParseTCP(t)
		if err != nil {
			return err
		}
		if s.Seq()>>16 != token&0xffff || s.Flags()&wire.ACK != 0 && s.Ack()>>16 != token&0xffff {
			return fmt.Errorf("TCP sequence %#08x, acknowledgement %#08x: not the token %#04x above", s.Seq(), s.Ack(), token&0xffff)
		}
		return nil
	case wire.ProtoUDP, wire.ProtoUDPLite:
	default:
		if t[0] != wire.Echo4 && t[0] != wire.Echo6 {
			return nil // its answers bring no payload back, or the token is not alone in them
		}
	}
	payload := t[8:]
	if _, ok := wire.IsDNSQuery(payload); ok && proto == wire.ProtoUDP {
		return nil // which has no room for it
	}
	if proto == wire.ProtoUDP && len(payload) >= wire.SizeQUIC && binary.BigEndian.Uint32(payload[1:]) == wire.QUICVersion {
		if at := rawsock.QUICTokenOffset; binary.BigEndian.Uint32(payload[at:]) != token {
			return fmt.Errorf("QUIC packet %#x: not the token %#08x at byte %d", payload[:at+4], token, at)
		}
		return nil
	}
	return saysToken(payload, token)
}

// saysToken says that a payload lacks the token, if it has room for it.
func saysToken(payload []byte, token uint32) error {
	const off = rawsock.TokenOffset
	if len(payload) >= off+4 && binary.BigEndian.Uint32(payload[off:]) != token {
		return fmt.Errorf("payload %#x: not the token %#08x at byte %d", payload[:off+4], token, off)
	}
	return nil
}

// sound says what is wrong with a transport message.
func sound(proto uint8, t []byte, src, dst netip.Addr) error {
	switch proto {
	case wire.ProtoUDP, wire.ProtoUDPLite:
		u, err := wire.ParseUDP(t)
		switch {
		case err != nil:
			return err
		case u.Length() != len(t):
			return fmt.Errorf("UDP length %d, but there are %d bytes", u.Length(), len(t))
		case proto == wire.ProtoUDP && !u.Valid(src, dst):
			return fmt.Errorf("UDP checksum %#04x: %w", u.Checksum(), wire.ErrChecksum)
		case proto == wire.ProtoUDPLite && !u.ValidLite(src, dst):
			return fmt.Errorf("UDP-Lite checksum %#04x: %w", u.Checksum(), wire.ErrChecksum)
		}
	case wire.ProtoTCP:
		s, err := wire.ParseTCP(t)
		if err != nil {
			return err
		}
		if !s.Valid(src, dst) {
			return fmt.Errorf("TCP: %w", wire.ErrChecksum)
		}
	case wire.ProtoDCCP:
		d, err := wire.ParseDCCP(t)
		if err != nil {
			return err
		}
		if !d.Valid(src, dst) {
			return fmt.Errorf("DCCP: %w", wire.ErrChecksum)
		}
	case wire.ProtoICMP:
		_, err := wire.ParseICMPv4(t)
		return err
	case wire.ProtoICMPv6:
		_, err := wire.ParseICMPv6(t, src, dst)
		return err
	}
	return nil
}

// adopt makes n a part of c's network.
func (c *Conn) adopt(n *Node) {
	if n.conn != nil {
		panic("simnet: a node of one Conn is linked into the network of another")
	}
	n.conn = c
	n.salt = n.Salt
	if n.salt == 0 {
		n.salt = mix(c.cfg.Seed + 1)
		for _, a := range n.Addrs {
			b := a.As16()
			n.salt = mix(mix(n.salt^binary.BigEndian.Uint64(b[:])) ^ binary.BigEndian.Uint64(b[8:]))
		}
	}
}

// forward takes b, a packet that arrives at n by a link, to where it ends.
func (c *Conn) forward(n *Node, in *Link, b []byte, at int64) {
	t := &c.trip
	ip, err := wire.ParseIP(b)
	if err != nil {
		c.counts.Damaged++
		return
	}
	p := look(ip, at)
	for {
		if n.conn != c {
			c.adopt(n)
		}
		if n.trip == t.n {
			t.looped = true // or two copies met, which costs time only
		}
		n.trip = t.n
		if to, ok := n.DNAT[p.dst]; ok {
			t.nats = append(t.nats, nat{dst: true, addr: p.dst, restore: n.Restore})
			readdress(b, true, to, nil, true)
			p = look(ip, p.at)
		}
		sends := n == c.src && in == nil
		if !sends && !c.onRoute(n, in, b, &p) {
			return
		}
		switch {
		case slices.Contains(n.Groups, p.dst):
			if !sends || !c.settings.NoLoop {
				c.deliver(n, in, p)
			}
			if !c.floods(n, p.dst) {
				return
			}
		case n.owns(p.dst, in):
			c.deliver(n, in, p)
			return
		}
		switch {
		case sends:
		case !n.Forwards || (p.dst.IsMulticast() || p.dst == broadcast) && !c.floods(n, p.dst):
			c.counts.Discarded++
			return
		case !n.NoDecrement:
			ttl := p.ip.TTL()
			if ttl == 0 || ttl == 1 && !n.ZeroTTL {
				c.exceed(n, in, p)
				return
			}
			if p.v6 {
				b[7] = ttl - 1
			} else {
				replace(b, 8, []byte{ttl - 1, b[9]}, 10)
			}
		}
		if r := n.rule(p.ip); r != nil {
			c.obey(n, in, p, r)
			return
		}
		if n.Redirect.IsValid() && n.Redirect.Is6() == p.v6 {
			c.redirect(n, in, p)
		}
		if c.floods(n, p.dst) {
			c.flood(n, in, b, p)
			return
		}
		l := c.route(n, &p)
		if l == nil {
			c.refuse(n, in, p, NetUnreachable, 0)
			return
		}
		if !c.cross(n, in, l, b, &p) {
			return
		}
		n, in = l.To, l
	}
}

// flood sends p over every link that leads to where it goes.
func (c *Conn) flood(n *Node, in *Link, b []byte, p packet) {
	t := &c.trip
	for _, l := range n.Links {
		if l.fits(p.dst) < 0 || t.copies == maxCopies {
			continue
		}
		t.copies++
		depth, nats, twin := len(t.path), len(t.nats), slices.Clone(b)
		ip, err := wire.ParseIP(twin)
		if err != nil {
			return // it has been read before
		}
		q := look(ip, p.at)
		if c.cross(n, in, l, twin, &q) {
			c.forward(l.To, l, twin, q.at)
		}
		t.path, t.nats = t.path[:depth], t.nats[:nats]
	}
}

// cross takes p, which is b, over l, one of n's links. It reports false where p ends before the other side.
func (c *Conn) cross(n *Node, in *Link, l *Link, b []byte, p *packet) bool {
	t := &c.trip
	if l.MTU > 0 && len(b) > l.MTU {
		switch {
		case l.BlackHole:
			c.counts.Discarded++
			return false
		case p.v6:
			c.fail(n, in, *p, wire.PacketTooBig6, 0, uint32(l.MTU), 0)
			return false
		case p.ip.DF():
			c.fail(n, in, *p, wire.Unreachable4, 4, uint32(l.MTU), 0)
			return false
		}
	}
	if n.SNAT.IsValid() && n.SNAT.Is6() == p.v6 {
		c.masquerade(n, p)
	}
	for _, e := range n.Forward {
		e(b)
	}
	// What comes with its header leaves the host as it is: it is no node of its own route.
	options := p.ip.Options()
	recorded := len(options) > 0 && !(n == c.src && in == nil) && register(options, first(n.Addrs, false), c.clock(n, p.at))
	if len(n.Forward) > 0 || recorded {
		mendHeader(b)
		*p = look(p.ip, p.at)
	}
	if len(t.path) == maxHops {
		c.counts.Discarded++
		return false
	}
	t.path = append(t.path, l)
	w := &l.Out
	if c.chance(w.Loss) {
		c.counts.Lost++
		return false
	}
	hdr, proto, src := len(p.ip.Header()), p.ip.Proto(), p.ip.Src()
	for range c.more(w) {
		depth, nats := len(t.path), len(t.nats)
		twin := slices.Clone(b)
		c.harm(w, twin[hdr:], src, p.dst, proto)
		c.forward(l.To, l, twin, p.at+c.take(w))
		t.path, t.nats = t.path[:depth], t.nats[:nats]
	}
	c.harm(w, b[hdr:], src, p.dst, proto)
	p.at += c.take(w)
	return true
}

// route chooses among the links of n that fit p best.
func (c *Conn) route(n *Node, p *packet) *Link {
	best, count := -1, 0
	var link *Link
	for _, l := range n.Links {
		switch f := l.fits(p.dst); {
		case f > best:
			best, count, link = f, 1, l
		case f == best && f >= 0:
			count++
		}
	}
	if count < 2 {
		return link
	}
	var h uint64
	switch n.Balance {
	case PerFlow:
		h = mix(p.hash() ^ n.salt)
	case PerDestination:
		b := p.dst.As16()
		h = mix(mix(binary.BigEndian.Uint64(b[:])^n.salt) ^ binary.BigEndian.Uint64(b[8:]))
	case PerPacket:
		h = c.rng.Uint64()
	}
	pick := int(h >> 32 * uint64(count) >> 32)
	for _, l := range n.Links {
		if l.fits(p.dst) == best {
			if pick == 0 {
				return l
			}
			pick--
		}
	}
	return nil
}

// hash is that of p's flow: addresses, protocol, the first 4 bytes of the
// transport (ports, or type, code and checksum) and flow label.
func (p *packet) hash() uint64 {
	if p.flow != 0 {
		return p.flow
	}
	b := p.ip.Bytes()
	x := uint64(p.ip.Proto())<<32 | uint64(p.ip.Label())<<40
	if t := p.ip.Transport(); p.ip.Offset() == 0 && len(t) >= 4 {
		x |= uint64(binary.BigEndian.Uint32(t))
	}
	x = mix(x + 1)
	if p.v6 {
		for i := 8; i < 40; i += 8 {
			x = mix(x ^ binary.BigEndian.Uint64(b[i:]))
		}
	} else {
		x = mix(x ^ binary.BigEndian.Uint64(b[12:]))
	}
	p.flow = x | 1
	return p.flow
}

// masquerade gives p the source n.SNAT and a port that stays with its flow.
func (c *Conn) masquerade(n *Node, p *packet) {
	t, at := p.ip.Transport(), portAt(p.ip.Proto(), p.ip.Transport())
	r := nat{addr: p.ip.Src(), restore: n.Restore}
	var port []byte
	if at >= 0 && p.ip.Offset() == 0 && len(t) >= at+2 {
		copy(r.port[:], t[at:])
		h := mix(p.sourceHash() ^ n.salt)
		port = binary.BigEndian.AppendUint16(nil, uint16(1024+h%64512))
	}
	c.trip.nats = append(c.trip.nats, r)
	readdress(p.ip.Bytes(), false, n.SNAT, port, true)
	*p = look(p.ip, p.at)
}

// sourceHash is a hash of p's source address, protocol and port.
func (p *packet) sourceHash() uint64 {
	b := p.ip.Src().As16()
	x := uint64(p.ip.Proto()) << 16
	x |= uint64(be(p.ip.Transport()[portAt(p.ip.Proto(), p.ip.Transport()):]))
	return mix(mix(x^binary.BigEndian.Uint64(b[:])) ^ binary.BigEndian.Uint64(b[8:]))
}

// chance throws the dice, if there is anything to throw them for.
func (c *Conn) chance(p float64) bool { return p > 0 && c.rng.Float64() < p }

// more is how many copies besides the first come out of w.
func (c *Conn) more(w *Way) int {
	if !c.chance(w.Dup) {
		return 0
	}
	n := min(max(1, w.Copies), maxCopies-c.trip.copies)
	c.trip.copies += n
	return n
}

// take is how long one packet takes on w.
func (c *Conn) take(w *Way) int64 {
	d := int64(w.Delay)
	if w.Jitter > 0 {
		d += c.rng.Int64N(int64(w.Jitter))
	}
	if c.chance(w.Reorder) {
		d += int64(w.Hold)
	}
	return d
}

// harm changes a transport message, by chance.
func (c *Conn) harm(w *Way, t []byte, src, dst netip.Addr, proto uint8) {
	if c.chance(w.Corrupt) && c.garble(t, proto) {
		mend(t, src, dst, proto)
	}
	if c.chance(w.Damage) {
		c.garble(t, proto)
	}
}

// garble changes the last byte of a transport message, if that is payload.
func (c *Conn) garble(t []byte, proto uint8) bool {
	hdr := 8
	if proto == wire.ProtoTCP {
		hdr = 20
	}
	if len(t) <= hdr {
		return false
	}
	t[len(t)-1] ^= byte(c.rng.UintN(255) + 1)
	return true
}

// back takes an answer home over path[:i]. It leaves the node at the end of
// that at the given time; origin says that the node made it.
func (c *Conn) back(r rawsock.Reply, i int, at int64, origin bool) {
	path := c.trip.path
	for ; i > 0; i-- {
		n := path[i-1].To
		if c.trip.looped {
			if n == c.src {
				break
			}
			i = 1 + slices.IndexFunc(path, func(l *Link) bool { return l.To == n })
		}
		if !origin && !n.NoDecrement {
			if r.TTL <= 1 {
				c.counts.LostBack++
				return
			}
			r.TTL--
		}
		if !origin && len(r.Options) > 0 {
			register(r.Options, first(n.Addrs, false), c.clock(n, at))
		}
		origin = false
		w := &path[i-1].Back
		if c.chance(w.Loss) {
			c.counts.LostBack++
			return
		}
		for range c.more(w) {
			twin := r
			twin.Data, twin.Options = slices.Clone(r.Data), slices.Clone(r.Options)
			c.harm(w, twin.Data, r.From, r.To, r.Proto)
			c.back(twin, i-1, at+c.take(w), false)
		}
		c.harm(w, r.Data, r.From, r.To, r.Proto)
		at += c.take(w)
	}
	c.events.push(at, r, nil)
}
