// Package hostile makes what a network may send to a program that measures so as to mislead or to break it: messages cut
// short, with lying lengths, about other people's packets, and forgeries in which one thing is wrong. They are made from a
// probe as it left, as somebody on the path would who may not be believed.
//
// None of them is an answer. Each says what it is to be counted as, by the keys of docs/self-check.md.
//
// The package knows nothing of sockets, of networks or of who measures.
package hostile

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"gtrace/internal/wire"
)

// A Junk is a message that must change nothing.
type Junk struct {
	Name string
	Why  string // its key in self_check.rejected; "" where no kernel hands it over
	Data []byte // a whole IP packet

	// Hidden says that what is wrong in it is in a quote's headers, which Linux neither looks at nor shows an ordinary user's
	// sockets (IP_RECVERR in ip(7)). They cannot tell it from an answer, but for who sends it and how it arrives.
	Hidden bool

	// Spoils says that it does harm where the kernel has the connection, an ordinary user's TCP probe: a SYN with the right ports is
	// taken for the other end's own (simultaneous open, RFC 9293 section 3.5), and the true answer is not any more.
	Spoils bool
}

// TokenOffset is where in a UDP or echo payload a probe has its token, 4 bytes, and behind it its number.
const TokenOffset = 4

// maker makes junk about one probe.
type maker struct {
	p        []byte // as much of it as errors quote
	ip       wire.IP
	v6       bool
	l4       int        // where the transport header is
	src, dst netip.Addr // of the probe
	from     netip.Addr // who sends the junk
	all      []Junk
}

// About is all junk about a probe of UDP, ICMP echo or TCP, from that address, which is the destination's own where
// somebody spoofs it. It is nil where the probe cannot be read, is of another family, or has no room for a token that could be
// forged.
func About(probe []byte, from netip.Addr) []Junk {
	ip, err := wire.ParseIP(probe)
	if err != nil || ip.Src().Is6() != from.Is6() || len(ip.Transport()) < 8+TokenOffset+8 {
		return nil
	}
	most := 576 - 20 - 8 // RFC 1812 section 4.3.2.3
	if ip.Version() == 6 {
		most = 1280 - 40 - 8 // RFC 4443 section 2.4
	}
	m := &maker{p: probe[:min(len(probe), most)], ip: ip, v6: ip.Version() == 6, l4: len(ip.Header()), src: ip.Src(), dst: ip.FinalDst(), from: from}
	m.outer()
	m.errors()
	m.forgedQuotes()
	m.tooBig()
	m.extensions()
	m.direct()
	if m.v6 {
		m.chains()
	}
	return m.all
}

func (m *maker) icmp() uint8 {
	if m.v6 {
		return wire.ProtoICMPv6
	}
	return wire.ProtoICMP
}

// packet is a whole packet from somebody to the probe's source.
func (m *maker) packet(from netip.Addr, proto uint8, options, msg []byte) []byte {
	if m.v6 {
		return append(wire.AppendIPv6(nil, wire.IPv6{Src: from, Dst: m.src, HopLimit: 61, Next: proto}, len(msg)), msg...)
	}
	return append(wire.AppendIPv4(nil, wire.IPv4{Src: from, Dst: m.src, TTL: 61, ID: 0x6a6b, Proto: proto, Options: options}, len(msg)), msg...)
}

func (m *maker) add(name, why string, from netip.Addr, proto uint8, msg []byte) {
	m.all = append(m.all, Junk{Name: name, Why: why, Data: m.packet(from, proto, nil, msg)})
}

// exceeded is a time exceeded with that quote.
func (m *maker) exceeded(quote []byte) []byte {
	typ := uint8(wire.TimeExceeded4)
	if m.v6 {
		typ = wire.TimeExceeded6
	}
	return wire.AppendError(nil, m.from, m.src, typ, 0, 0, quote, nil)
}

func (m *maker) unreachable(quote []byte) []byte {
	if m.v6 {
		return wire.AppendError(nil, m.from, m.src, wire.Unreachable6, 4, 0, quote, nil)
	}
	return wire.AppendError(nil, m.from, m.src, wire.Unreachable4, 3, 0, quote, nil)
}

// quote adds a time exceeded.
func (m *maker) quote(name, why string, quote []byte) {
	m.add(name, why, m.from, m.icmp(), m.exceeded(quote))
}

// hidden adds a time exceeded that is wrong where ordinary users cannot see it.
func (m *maker) hidden(name, why string, quote []byte) {
	m.quote(name, why, quote)
	m.all[len(m.all)-1].Hidden = true
}

// edited is the probe with something changed.
func (m *maker) edited(edit func(b []byte)) []byte {
	b := slices.Clone(m.p)
	edit(b)
	return b
}

func flip(at int) func([]byte) {
	return func(b []byte) {
		if at+2 <= len(b) {
			binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])^0x4000)
		}
	}
}

// token is where in the probe its token is.
func (m *maker) token() int {
	if m.ip.Proto() == wire.ProtoTCP {
		return m.l4 + 4
	}
	return m.l4 + 8 + TokenOffset
}

// forged is the probe with another token.
func (m *maker) forged() []byte { return m.edited(flip(m.token())) }

// outer are packets that the kernel throws away before any socket hears of them.
func (m *maker) outer() {
	good := m.packet(m.from, m.icmp(), nil, m.exceeded(m.p))
	lie := func(name string, edit func(b []byte)) {
		b := slices.Clone(good)
		edit(b)
		if !m.v6 {
			b[10], b[11] = 0, 0
			binary.BigEndian.PutUint16(b[10:], ^sum(b[:min(len(b), max(20, int(b[0]&15)*4))]))
		}
		m.all = append(m.all, Junk{Name: "outer: " + name, Data: b})
	}
	if m.v6 {
		lie("a length beyond the end", func(b []byte) { binary.BigEndian.PutUint16(b[4:], uint16(len(b))) })
		lie("version 5", func(b []byte) { b[0] = 5<<4 | b[0]&15 })
		return
	}
	for ihl := range byte(5) {
		lie("IHL "+string('0'+rune(ihl)), func(b []byte) { b[0] = 4<<4 | ihl })
	}
	lie("a total length beyond the end", func(b []byte) { binary.BigEndian.PutUint16(b[2:], uint16(len(b)+1)) })
	lie("a total length within the header", func(b []byte) { binary.BigEndian.PutUint16(b[2:], 19) })
	lie("version 5", func(b []byte) { b[0] = 5<<4 | 5 })
}

func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// errors are ICMP errors that are cut short or damaged, and messages of types that nobody asked for.
func (m *maker) errors() {
	whole := m.exceeded(m.p)
	for n := range 8 + m.l4 + 8 { // what is longer answers: RFC 792 asks for no more
		b := slices.Clone(whole[:n])
		if n >= 4 {
			m.seal(b, m.from)
		}
		m.add("cut short", "short", m.from, m.icmp(), b)
	}
	for _, n := range []int{8, 28, len(whole) - 1, len(whole)} {
		b := slices.Clone(whole[:n])
		b[len(b)-1] ^= 0x10
		m.add("damaged", "checksum", m.from, m.icmp(), b)
	}
	for _, typ := range []uint8{1, 2, 6, 7, 9, 15, 16, 19, 40, 41, 44, 100, 127, 200, 253, 255} {
		why := "type"
		if m.v6 && typ < 128 { // any of these quotes (RFC 4443 section 2.1)
			why = "token"
		}
		m.add("an unknown type", why, m.from, m.icmp(), wire.AppendICMP(nil, m.from, m.src, typ, 3, 7, m.forged(), 0))
	}
	requests := []uint8{wire.Echo4, wire.Timestamp4, wire.Mask4, wire.ExtEcho4}
	if m.v6 {
		requests = []uint8{wire.Echo6, wire.NodeQuery6, wire.ExtEcho6}
	}
	for _, typ := range requests {
		m.add("a request", "request", m.from, m.icmp(), wire.AppendICMP(nil, m.from, m.src, typ, 0, 0x10001, make([]byte, 24), 0))
	}
}

// seal gives a message the checksum that is right for it.
func (m *maker) seal(b []byte, from netip.Addr) {
	good := wire.AppendICMP(nil, from, m.src, b[0], b[1], word(b), rest(b), 0)
	copy(b[2:4], good[2:4])
	if len(b) < 8 { // AppendICMP has filled it up with zeros, which count nothing, but for ICMPv6's length
		b[2], b[3] = 0, 0
	}
}

func word(b []byte) uint32 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint32(b[4:])
}

func rest(b []byte) []byte { return b[min(8, len(b)):] }

// forgedQuotes are errors about packets that are not quite the probe: whoever has only seen its addresses, or guesses.
func (m *maker) forgedQuotes() {
	hdr, l4, proto := m.l4, m.l4, m.ip.Proto()
	dst, next := 16, 9
	if m.v6 {
		dst, next = 24, 6
	}
	m.quote("quotes another destination", "peer", m.edited(flip(dst+2)))
	m.quote("quotes another protocol", "protocol", m.edited(func(b []byte) { b[next] = 132 }))
	m.quote("quotes another token", "token", m.forged())
	m.add("port unreachable with another token", "token", m.from, m.icmp(), m.unreachable(m.forged()))
	if other := netip.MustParseAddr("203.0.113.77"); !m.v6 {
		m.quote("quotes somebody else's packet", "peer", somebody(other, netip.MustParseAddr("198.18.0.1")))
	} else {
		m.quote("quotes somebody else's packet", "peer", somebody(netip.MustParseAddr("2001:db8:77::1"), netip.MustParseAddr("2001:db8:77::2")))
	}
	switch proto {
	case wire.ProtoUDP:
		m.quote("quotes another destination port", "peer", m.edited(flip(l4+2)))
		m.hidden("quotes another length", "field", m.edited(flip(l4+4)))
		m.hidden("quotes a length of 0", "field", m.edited(func(b []byte) { b[l4+4], b[l4+5] = 0, 0 }))
		m.quote("quotes another number", "token", m.edited(flip(l4+8+TokenOffset+4)))
		m.hidden("quotes 8 bytes with another checksum", "id", m.edited(func(b []byte) { flip(l4 + 6)(b); m.flipID(b) })[:l4+8])
		m.quote("quotes another source port and token", "token", m.edited(func(b []byte) { flip(l4)(b); flip(m.token())(b) }))
		m.quote("quotes a probe of the future", "id", m.edited(func(b []byte) {
			flip(l4 + 6)(b)
			flip(l4 + 8 + 2)(b)
			m.flipID(b)
		}))
	case wire.ProtoTCP:
		m.quote("quotes another destination port", "peer", m.edited(flip(l4+2)))
		m.quote("quotes another token, 8 bytes", "token", m.forged()[:l4+8])
		m.quote("quotes a probe of the future", "id", m.edited(flip(l4+6)))
		m.quote("quotes another source port and token", "token", m.edited(func(b []byte) { flip(l4)(b); flip(m.token())(b) }))
	case wire.ProtoICMP, wire.ProtoICMPv6:
		m.quote("quotes another type", "protocol", m.edited(func(b []byte) { b[l4] ^= 1 }))
		m.quote("quotes another code", "field", m.edited(func(b []byte) { b[l4+1] = 1 }))
		m.quote("quotes another number", "token", m.edited(flip(l4+8+TokenOffset+4)))
		m.quote("quotes another identifier and token", "token", m.edited(func(b []byte) { flip(l4 + 4)(b); flip(m.token())(b) }))
		m.quote("quotes 8 bytes with another identifier", "source", m.edited(flip(l4 + 4))[:l4+8])
		m.quote("quotes a probe of the future", "id", m.edited(func(b []byte) { flip(l4 + 6)(b); flip(l4 + 8 + 2)(b) }))
	}
	// An error about an error, which nobody may send (RFC 1122 section 3.2.2).
	m.quote("quotes an error", "protocol", m.packet(m.from, m.icmp(), nil, m.exceeded(m.p)))
	// The quote's own lengths.
	m.hidden("version 5 in the quote", "version", m.edited(func(b []byte) { b[0] = 5<<4 | b[0]&15 }))
	m.quote("a quote of zeros", "version", make([]byte, 64))
	if m.v6 {
		m.quote("an IPv4 quote", "protocol", somebody(netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.1")))
		m.quote("a payload length of 0, forged", "token", edit(m.forged(), func(b []byte) { b[4], b[5] = 0, 0 }))
		return
	}
	m.quote("an IPv6 quote", "protocol", somebody(netip.MustParseAddr("2001:db8:77::1"), netip.MustParseAddr("2001:db8:77::2")))
	for ihl := range byte(5) {
		m.quote("IHL "+string('0'+rune(ihl))+" in the quote", "header-length", m.edited(func(b []byte) { b[0] = 4<<4 | ihl }))
	}
	m.quote("IHL 15 in a short quote", "short", m.edited(func(b []byte) { b[0] = 4<<4 | 15 })[:28])
	options := append(slices.Repeat([]byte{1}, 40), m.forged()[hdr:]...)
	m.quote("40 bytes of options in the quote, forged", "token", append(edit(m.forged(), func(b []byte) { b[0] = 4<<4 | 15 })[:hdr:hdr], options...))
	m.hidden("a later fragment", "fragment", m.edited(func(b []byte) { b[7] = 9 }))
	for _, n := range []uint16{0, 19, 0xffff} {
		m.quote("a lying total length in the quote, forged", "token", edit(m.forged(), func(b []byte) { binary.BigEndian.PutUint16(b[2:], n) }))
	}
	m.all = append(m.all, Junk{Name: "options around a forged quote", Why: "token", Data: m.packet(m.from, m.icmp(), slices.Repeat([]byte{1}, 40), m.exceeded(m.forged()))})
}

// tooBig are errors that say that the probe was too big, by somebody who has not seen it: of sizes that could be, and of others.
func (m *maker) tooBig() {
	for _, mtu := range []uint32{0, 67, 68, 552, 1279, 1280, 1300, uint32(m.ip.Length()) - 1, uint32(m.ip.Length()), 65535} {
		typ, code := uint8(wire.Unreachable4), uint8(4)
		if m.v6 {
			typ, code = wire.PacketTooBig6, 0
		}
		says := func(name, why string, quote []byte) {
			m.add(fmt.Sprintf("too big for %d bytes, %s", mtu, name), why, m.from, m.icmp(), wire.AppendError(nil, m.from, m.src, typ, code, mtu, quote, nil))
		}
		says("with another token", "token", m.forged())
		if p := m.ip.Proto(); p == wire.ProtoUDP || p == wire.ProtoTCP {
			says("with another destination port", "peer", m.edited(flip(m.l4+2)))
		}
	}
}

func (m *maker) flipID(b []byte) {
	if !m.v6 {
		flip(4)(b)
	}
}

func edit(b []byte, f func([]byte)) []byte { f(b); return b }

// somebody is a packet that two others exchanged.
func somebody(a, b netip.Addr) []byte {
	u := wire.AppendUDP(nil, netip.AddrPortFrom(a, 53), netip.AddrPortFrom(b, 4242), make([]byte, 32), 0)
	if a.Is6() {
		return append(wire.AppendIPv6(nil, wire.IPv6{Src: a, Dst: b, HopLimit: 1, Next: wire.ProtoUDP}, len(u)), u...)
	}
	return append(wire.AppendIPv4(nil, wire.IPv4{Src: a, Dst: b, TTL: 1, ID: 7, Proto: wire.ProtoUDP}, len(u)), u...)
}

// extensions are structures behind a forged quote that would keep a careless reader busy for ever, or lead it astray.
func (m *maker) extensions() {
	typ, unit, at := uint8(wire.TimeExceeded4), 4, 5
	if m.v6 {
		typ, unit, at = wire.TimeExceeded6, 8, 4
	}
	original := make([]byte, 128)
	copy(original, m.forged())
	structure := func(name string, length byte, objects []byte) {
		body := wire.AppendExtensions(slices.Clone(original), objects)
		m.add("extensions: "+name, "token", m.from, m.icmp(), wire.AppendICMP(nil, m.from, m.src, typ, 0, uint32(length)<<(8*(7-at)), body, 0))
	}
	right := byte(128 / unit)
	object := wire.AppendObject(nil, 1, 1, wire.AppendLSE(nil, 16, 0, true, 1))
	for n := range byte(4) {
		structure("an object of length "+string('0'+rune(n)), right, []byte{0, n, 1, 1, 0, 0, 0, 0})
	}
	structure("an object beyond the end", right, []byte{0xff, 0xff, 1, 1, 0, 0, 0, 0})
	structure("an object of labels without a bottom", right, wire.AppendObject(nil, 1, 1, make([]byte, 399)))
	structure("interface information that ends in its name", right, wire.AppendObject(nil, 2, 0x02, []byte{64, 'e', 't', 'h'}))
	structure("a thousand objects", right, slices.Repeat(object, 100))
	for _, n := range []byte{0, 1, 31, 255} {
		structure("a length attribute that lies", n, object)
	}
}

// direct are answers in the destination's name by somebody who has not seen the probe.
func (m *maker) direct() {
	h := m.p[m.l4:]
	a, b := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:]) // ports
	elsewhere := m.from
	if elsewhere == m.dst {
		elsewhere = elsewhere.Next()
	}
	at := func(x netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(x, port) }
	switch m.ip.Proto() {
	case wire.ProtoUDP:
		payload := m.p[m.l4+8:]
		udp := func(name, why string, from, to netip.AddrPort, payload []byte) {
			m.add("datagram "+name, why, from.Addr(), wire.ProtoUDP, wire.AppendUDP(nil, from, to, payload, 0))
		}
		udp("from elsewhere", "peer", at(elsewhere, b), at(m.src, a), payload)
		udp("from another port", "peer", at(m.dst, b^0x4000), at(m.src, a), payload)
		udp("to another port", "port", at(m.dst, b), at(m.src, a^0x4000), payload)
		udp("with the token and another id", "id", at(m.dst, b), at(m.src, a), edit(slices.Clone(payload), flip(2)))
	case wire.ProtoTCP:
		seq, acknowledged := binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint32(h[8:])^0x4000
		tcp := func(name, why string, from, to netip.AddrPort, f wire.TCPFields) {
			m.add("segment "+name, why, from.Addr(), wire.ProtoTCP, wire.AppendTCP(nil, from, to, f, nil))
		}
		synAck := wire.TCPFields{Seq: 9, Ack: seq + 1, Flags: wire.SYN | wire.ACK}
		tcp("from elsewhere", "peer", at(elsewhere, b), at(m.src, a), synAck)
		tcp("from another port", "peer", at(m.dst, b^0x4000), at(m.src, a), synAck)
		tcp("to another port", "port", at(m.dst, b), at(m.src, a^0x4000), synAck)
		for _, f := range []wire.TCPFields{
			{Ack: seq + 1 ^ 0x40000000, Flags: wire.SYN | wire.ACK}, {Ack: seq ^ 0x4000, Flags: wire.RST | wire.ACK}, {Ack: 0, Flags: wire.RST | wire.ACK},
			{Seq: acknowledged, Flags: wire.RST}, {Ack: seq + 1, Flags: wire.ACK}, {Ack: seq + 1, Flags: wire.FIN | wire.ACK},
		} {
			tcp("that acknowledges something else", "ack", at(m.dst, b), at(m.src, a), f)
		}
		tcp("that opens a connection", "type", at(m.dst, b), at(m.src, a), wire.TCPFields{Seq: seq, Flags: wire.SYN})
		m.all[len(m.all)-1].Spoils = true
		whole := wire.AppendTCP(nil, at(m.dst, b), at(m.src, a), synAck, nil)
		m.add("segment cut short", "short", m.dst, wire.ProtoTCP, whole[:19])
		m.add("segment with a data offset of 4", "length", m.dst, wire.ProtoTCP, edit(slices.Clone(whole), func(b []byte) { b[12] = 4 << 4 }))
	case wire.ProtoICMP, wire.ProtoICMPv6:
		typ := uint8(wire.EchoReply4)
		if m.v6 {
			typ = wire.EchoReply6
		}
		id, seq, payload := binary.BigEndian.Uint16(h[4:]), binary.BigEndian.Uint16(h[6:]), h[8:]
		echo := func(name, why string, from netip.Addr, id, seq uint16, payload []byte) {
			m.add("reply "+name, why, from, m.icmp(), wire.AppendEcho(nil, from, m.src, typ, id, seq, payload, 0))
		}
		with := func(at int) []byte { return edit(slices.Clone(payload), flip(at)) }
		echo("from elsewhere", "peer", elsewhere, id, seq, payload)
		echo("with another identifier", "port", m.dst, id^0x4000, seq, payload)
		echo("of the future", "id", m.dst, id, seq^0x4000, payload)
		echo("with another token", "token", m.dst, id, seq, with(TokenOffset))
		echo("with another number", "token", m.dst, id, seq, with(TokenOffset+4))
		echo("without a payload", "token", m.dst, id, seq, nil)
		echo("of 64 KiB with another token", "token", m.dst, id, seq, append(with(TokenOffset), make([]byte, 65000-len(payload))...))
		m.all[len(m.all)-1].Name = Huge
		b := wire.AppendEcho(nil, m.dst, m.src, typ, id, seq, payload, 0)
		m.add("reply damaged", "checksum", m.dst, m.icmp(), edit(b, flip(len(b)-2)))
	}
}

// Huge is the name of what no link of an ordinary MTU carries whole.
const Huge = "reply of 64 KiB with another token"

// chains are quotes with IPv6 extension headers between the header and a forged transport.
func (m *maker) chains() {
	chain := func(name, why string, first uint8, headers ...[]byte) {
		b := slices.Clone(m.forged()[:40])
		b[6] = first
		for _, h := range headers {
			b = append(b, h...)
		}
		m.quote("chain: "+name, why, append(b, m.forged()[m.l4:]...))
	}
	proto := m.ip.Proto()
	long := func(next uint8) []byte { return append([]byte{next, 0}, 1, 4, 0, 0, 0, 0) }
	fragment := func(next uint8, offset uint16) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{next, 0}, offset<<3), 77)
	}
	many := func(n int, last uint8) (hs [][]byte) {
		for range n - 1 {
			hs = append(hs, long(wire.ProtoDestOptions))
		}
		return append(hs, long(last))
	}
	chain("eight headers, forged", "token", wire.ProtoDestOptions, many(8, proto)...)
	chain("nine headers", "extension-headers", wire.ProtoDestOptions, many(9, proto)...)
	chain("the first fragment, forged", "token", wire.ProtoFragment, fragment(proto, 0))
	chain("a later fragment", "fragment", wire.ProtoFragment, fragment(proto, 3))
	chain("AH, forged", "token", wire.ProtoAH, append([]byte{proto, 4, 0, 0}, make([]byte, 20)...))
	chain("ESP", "protocol", wire.ProtoESP, make([]byte, 16))
	chain("no next header", "protocol", wire.ProtoNone)
	chain("a header beyond the end", "short", wire.ProtoHopByHop, []byte{proto, 255, 1, 4, 0, 0, 0, 0})
}
