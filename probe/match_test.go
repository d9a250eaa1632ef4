package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/internal/hostile"
	"gtrace/internal/wire"
	"gtrace/rawsock"
)

var router = map[bool]netip.Addr{
	false: netip.MustParseAddr("203.0.113.1"), true: netip.MustParseAddr("2001:db8:f::1"),
}

// asked returns an engine that has sent three probes of s and waits for them.
func asked(t testing.TB, s Spec) *engine {
	t.Helper()
	e := &engine{caps: rawsock.Caps{Header: true, Token: testToken}, table: newTable()}
	e.codec.token = testToken
	for range 3 {
		serial := register(t, e.table, s, e.codec.firstID(&s), epoch)
		e.table.get(serial).said = testTime
	}
	return e
}

// quoting returns the time exceeded that a router sends about the start of a
// packet.
func quoting(p wire.IP, keep int) *rawsock.Reply {
	v6 := p.Version() == 6
	typ, proto := uint8(wire.TimeExceeded4), uint8(wire.ProtoICMP)
	if v6 {
		typ, proto = wire.TimeExceeded6, wire.ProtoICMPv6
	}
	b := p.Bytes()
	return &rawsock.Reply{
		From: router[v6], To: p.Src(), Proto: proto, TTL: 250,
		Data: wire.AppendError(nil, router[v6], p.Src(), typ, 0, 0, b[:min(keep, len(b))], nil),
	}
}

// edited returns a copy of p with its bytes changed, checksums left wrong as a
// translator in the middle would leave them.
func edited(p wire.IP, edit func(b []byte)) wire.IP {
	b := slices.Clone(p.Bytes())
	edit(b)
	q, err := wire.ParseQuote(b)
	if err != nil {
		panic(err)
	}
	return q
}

// What the tests know rejected as, by its reason.
const (
	unmatched fate = 100 + iota
	malformed
)

// fateOf is the fate of a message, and what else is known of it.
func (e *engine) fateOf(r *rawsock.Reply) (fate, found) {
	var f found
	got := e.match(r, &f)
	switch {
	case got != rejected:
	case f.why.Malformed():
		got = malformed
	default:
		got = unmatched
	}
	return got, f
}

func (e *engine) matched(t *testing.T, r *rawsock.Reply, want fate, serial uint64, m Match) {
	t.Helper()
	got, f := e.fateOf(r)
	if got != want || want == ours && (f.serial != serial || f.o.Match != m) {
		t.Errorf("fate %d, probe %d, match %v; want %d, %d, %v", got, f.serial, f.o.Match, want, serial, m)
	}
}

// T04: 8 bytes of transport are all that a router must quote.
func TestQuotesOfEveryLengthMatch(t *testing.T) {
	for _, s := range kinds {
		t.Run(s.name(), func(t *testing.T) {
			e := asked(t, s)
			p := encode(t, s, 2)
			for keep := len(p.Header()) + 8; keep <= p.Length(); keep++ {
				e.matched(t, quoting(p, keep), ours, 2, Strict)
			}
		})
	}
}

// wrongField is what a quote with that field wrong is rejected for, of one kind of probe where its name stands in front.
var wrongField = map[string]Reason{
	"destination": PeerNotAsked, "raw destination": ProtocolNotOne, "destination port": PeerNotAsked,
	"protocol": ProtocolNotOne, "protocol is another of ours": PeerNotAsked, "type": ProtocolNotOne,
	"token": TokenWrong, "token, 8 bytes quoted": TokenWrong, "number": TokenWrong, "source port and token": TokenWrong, "identifier and token": TokenWrong,
	"middle of the sequence number": TokenWrong, "dccp id": TokenWrong, "icmp-node-info token": FieldWrong, "icmp-node-info id": FieldWrong,
	"length": FieldWrong, "code": FieldWrong, "packet type": FieldWrong, "what it asks": FieldWrong, "query type": FieldWrong, "query type, 8 bytes quoted": FieldWrong,
	"flags": FieldWrong, "chosen word": FieldWrong, "subject": FieldWrong, "icmp-node-info identifier": FieldWrong,
	"DNS DNS id": FieldWrong, "DNS flags": FieldWrong, "DNS number of questions": FieldWrong, "DNS name": FieldWrong, "DNS type": FieldWrong, "DNS class": FieldWrong,
	"QUIC first byte, no token quoted": FieldWrong, "QUIC version, no token quoted": FieldWrong, "QUIC length of an id, no token quoted": FieldWrong,
	"QUIC chosen word, no token quoted": FieldWrong, "QUIC id, no token quoted": FieldWrong,
	"source": SourceWrong, "source, 8 bytes quoted": SourceWrong, "identifier": SourceWrong, "identifier, 8 bytes quoted": SourceWrong,
	"source port, 8 bytes quoted, and the id": SourceWrong,
	"id": IDNotInUse, "id, 8 bytes quoted": IDNotInUse, "checksum and id": IDNotInUse, "checksum and IP ID, 8 bytes quoted": IDNotInUse,
	"checksum, 8 bytes quoted": IDNotInUse, "sequence number": IDNotInUse, "sequence number, 8 bytes quoted": IDNotInUse,
}

// T01: one wrong field is enough, and is what it is counted as.
func TestQuotesWithOneWrongFieldDoNotMatch(t *testing.T) {
	for _, s := range kinds {
		v6 := s.Dst.Addr().Is6()
		l4 := ipHeader(v6)
		dst, proto := 16, 9
		if v6 {
			dst, proto = 24, 6
		}
		word := func(at int) func([]byte) {
			return func(b []byte) { binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])^0x4000) }
		}
		tests := []struct {
			name string
			keep int
			edit func([]byte)
		}{
			{"destination", 1500, word(dst)},
			{"protocol", 1500, func(b []byte) { b[proto] = 132 }},
			{"protocol is another of ours", 1500, func(b []byte) {
				if b[proto] = wire.ProtoUDP; s.Proto == UDP {
					b[proto] = wire.ProtoTCP
				}
			}},
		}
		switch s.Proto {
		case UDP, UDPLite:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"destination port", 1500, word(l4 + 2)},
				{"length", 1500, word(l4 + 4)},
				{"checksum and id", l4 + 8, func(b []byte) { word(l4 + 6)(b); word(4)(b) }},
				{"source port, 8 bytes quoted, and the id", l4 + 8, func(b []byte) { word(l4)(b); word(4)(b); word(l4 + 6)(b) }},
			}...)
			if at := layouts[s.Content]; at.token >= 0 {
				tests = append(tests, []struct {
					name string
					keep int
					edit func([]byte)
				}{
					{"token", 1500, word(l4 + 8 + at.token)},
					{"number", 1500, word(l4 + 8 + at.number)},
					{"source port and token", 1500, func(b []byte) { word(l4)(b); word(l4 + 8 + at.token)(b) }},
				}...)
			}
			switch s.Content {
			case DNSQuery:
				for name, at := range map[string]int{"DNS id": 0, "flags": 2, "number of questions": 4, "name": 12, "type": 13, "class": 15} {
					tests = append(tests, struct {
						name string
						keep int
						edit func([]byte)
					}{"DNS " + name, 1500, word(l4 + 8 + at)})
				}
			case QUICInitial:
				for name, at := range map[string]int{"first byte": 0, "version": 2, "length of an id": 5, "chosen word": 6, "id": 8} {
					tests = append(tests, struct {
						name string
						keep int
						edit func([]byte)
					}{"QUIC " + name + ", no token quoted", l4 + 8 + 10, word(l4 + 8 + at)})
				}
			}
		case TCP:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"destination port", 1500, word(l4 + 2)},
				{"token", 1500, word(l4 + 4)},
				{"id", 1500, word(l4 + 6)},
				{"id, 8 bytes quoted", l4 + 8, word(l4 + 6)},
			}...)
		case DCCP:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"destination port", 1500, word(l4 + 2)},
				{"packet type", 1500, func(b []byte) { b[l4+8] ^= 2 }},
				{"token", 1500, word(l4 + 10)},
				{"middle of the sequence number", 1500, word(l4 + 12)},
				{"id", 1500, word(l4 + 14)},
				{"checksum and IP ID, 8 bytes quoted", l4 + 8, func(b []byte) { word(l4 + 6)(b); word(4)(b) }},
				{"source port and token", 1500, func(b []byte) { word(l4)(b); word(l4 + 10)(b) }},
				{"source port, 8 bytes quoted, and the id", l4 + 8, func(b []byte) { word(l4)(b); word(4)(b); word(l4 + 6)(b) }},
			}...)
		case Raw:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"id", 1500, word(l4 + idOffset)},
				{"id, 8 bytes quoted", l4 + 8, word(l4 + idOffset)},
				{"token", 1500, word(l4 + rawsock.TokenOffset)},
				{"token, 8 bytes quoted", l4 + 8, word(l4 + rawsock.TokenOffset)},
				{"number", 1500, word(l4 + numberOffset)},
			}...)
		case Timestamp, Mask, ExtEcho:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"type", 1500, func(b []byte) { b[l4] ^= 1 }},
				{"code", 1500, func(b []byte) { b[l4+1] = 1 }},
				{"identifier", 1500, word(l4 + 4)},
				{"identifier, 8 bytes quoted", l4 + 8, word(l4 + 4)},
				{"sequence number", 1500, word(l4 + 6)},
				{"sequence number, 8 bytes quoted", l4 + 8, word(l4 + 6)},
				{"what it asks", 1500, word(l4 + 8)},
				{"source", 1500, word(dst - map[bool]int{false: 4, true: 16}[v6])},
			}...)
		case NodeInfo:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"type", 1500, func(b []byte) { b[l4] ^= 1 }},
				{"code", 1500, func(b []byte) { b[l4+1] = 1 }},
				{"query type", 1500, word(l4 + 4)},
				{"query type, 8 bytes quoted", l4 + 8, word(l4 + 4)},
				{"flags", 1500, word(l4 + 6)},
				{"checksum, 8 bytes quoted", l4 + 8, word(l4 + 2)},
				{"identifier", 1500, word(l4 + 8)},
				{"chosen word", 1500, word(l4 + 10)},
				{"token", 1500, word(l4 + 12)},
				{"id", 1500, word(l4 + 14)},
				{"subject", 1500, word(l4 + 20)},
				{"source, 8 bytes quoted", l4 + 8, word(8)},
			}...)
		case ICMP:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"type", 1500, func(b []byte) { b[l4] ^= 1 }},
				{"code", 1500, func(b []byte) { b[l4+1] = 1 }},
				{"identifier, 8 bytes quoted", l4 + 8, word(l4 + 4)},
				{"sequence number", 1500, word(l4 + 6)},
				{"token", 1500, word(l4 + 8 + rawsock.TokenOffset)},
				{"identifier and token", 1500, func(b []byte) { word(l4 + 4)(b); word(l4 + 8 + rawsock.TokenOffset)(b) }},
				{"number", 1500, word(l4 + 8 + numberOffset)},
			}...)
		}
		e := asked(t, s)
		p := encode(t, s, 2)
		for _, tt := range tests {
			t.Run(s.name()+" "+tt.name, func(t *testing.T) {
				r := quoting(edited(p, tt.edit), tt.keep)
				e.matched(t, r, unmatched, 0, NoMatch)
				want, ok := wrongField[s.Proto.String()+" "+tt.name]
				if !ok {
					want = wrongField[tt.name]
				}
				if _, f := e.fateOf(r); f.why != want {
					t.Errorf("rejected for %v, want %v", f.why, want)
				}
			})
		}
		t.Run(s.name()+" never sent", func(t *testing.T) {
			e.matched(t, quoting(encode(t, s, 4), 1500), unmatched, 0, NoMatch)
		})
		if v6 {
			continue // its fragment offset is in an extension header
		}
		t.Run(s.name()+" quoted as a later fragment", func(t *testing.T) {
			e.matched(t, quoting(edited(p, func(b []byte) { b[7] = 9 }), 1500), unmatched, 0, NoMatch)
		})
	}
}

// T29: what a router saw of an IPv6 probe may have extension headers that we did not send; behind the header of a later fragment
// there is no transport.
func TestQuotesWithExtensionHeaders(t *testing.T) {
	const first, later = 0, 1 << 3
	for _, s := range kinds {
		if !s.Dst.Addr().Is6() {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			e := asked(t, s)
			p := encode(t, s, 2)
			quoted := func(offset uint16, keep int) *rawsock.Reply {
				next := p.Bytes()[6]
				b := slices.Clone(p.Bytes()[:40])
				b[6] = wire.ProtoHopByHop
				b = append(b, wire.ProtoFragment, 0, 1, 4, 0, 0, 0, 0)          // padding
				b = binary.BigEndian.AppendUint16(append(b, next, 0), offset|1) // more to come
				b = append(append(b, 0, 0, 0, 7), p.Transport()...)             // identification
				binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
				q, err := wire.ParseQuote(b)
				if err != nil {
					t.Fatal(err)
				}
				return quoting(q, keep)
			}
			for _, keep := range []int{40 + 8 + 8 + 8, 1500} {
				e.matched(t, quoted(first, keep), ours, 2, Strict)
				e.matched(t, quoted(later, keep), unmatched, 0, NoMatch)
			}
			e.matched(t, quoted(first, 40+8+8+7), malformed, 0, NoMatch)
		})
	}
}

// T06: an IP ID that was rewritten on the way does not hide a hop, and shows.
func TestRewrittenIPIDIsTold(t *testing.T) {
	for _, s := range kinds {
		if s.Dst.Addr().Is6() {
			continue
		}
		e := asked(t, s)
		p := encode(t, s, 2)
		for name, id := range map[string]uint16{
			"zero": 0, "one more": p.ID() + 1, "one less": p.ID() - 1, "swapped": p.ID()<<8 | p.ID()>>8, "random": 0x7777,
		} {
			t.Run(s.name()+" "+name, func(t *testing.T) {
				q := edited(p, func(b []byte) { binary.BigEndian.PutUint16(b[4:], id) })
				e.matched(t, quoting(q, 28), ours, 2, IDRewritten)
			})
		}
	}
}

// T06, T08: where the UDP checksum does not say which probe it was, the IP ID or
// the payload must.
func TestQuotedUDPChecksumReset(t *testing.T) {
	e := asked(t, kinds[0])
	p := encode(t, kinds[0], 2)
	zero := edited(p, func(b []byte) { b[26], b[27] = 0, 0 })
	e.matched(t, quoting(zero, 28), ours, 2, IDRewritten)
	e.matched(t, quoting(zero, 60), ours, 2, IDRewritten)
	other := edited(p, func(b []byte) { b[26] ^= 0x55 })
	e.matched(t, quoting(other, 28), ours, 2, IDRewritten)
	neither := edited(zero, func(b []byte) { b[4], b[5] = 0x77, 0x77 })
	e.matched(t, quoting(neither, 28), unmatched, 0, NoMatch)
	e.matched(t, quoting(neither, 60), ours, 2, IDRewritten) // the payload still says so
}

// T21: the checksum of an ICMP flow is its own; another in the quote is told.
func TestQuotedICMPChecksumChanged(t *testing.T) {
	for _, s := range kinds {
		if s.Proto != ICMP {
			continue
		}
		e := asked(t, s)
		p := encode(t, s, 2)
		at := len(p.Header()) + 2
		e.matched(t, quoting(edited(p, func(b []byte) { b[at] ^= 1 }), 1500), ours, 2, IDRewritten)
	}
}

// T07: a translator that does not translate the quote back.
func TestQuotedSourceRewritten(t *testing.T) {
	for _, s := range kinds {
		v6 := s.Dst.Addr().Is6()
		l4, src := ipHeader(v6), 12
		if v6 {
			src = 8
		}
		e := asked(t, s)
		p := encode(t, s, 2)
		q := edited(p, func(b []byte) {
			copy(b[src:], router[v6].AsSlice())
			switch {
			case s.Proto == Raw || s.Proto == NodeInfo: // no port, or not where a translator looks
			case s.Proto.IsICMP():
				b[l4+4] ^= 0x55
			default:
				b[l4] ^= 0x55
			}
		})
		t.Run(s.name(), func(t *testing.T) {
			switch s.Proto {
			case Timestamp, Mask, ExtEcho: // nothing in them is ours alone
				e.matched(t, quoting(q, 1500), unmatched, 0, NoMatch)
				return
			}
			if s.Content == DNSQuery && v6 { // nor in this: the checksum goes with the id
				e.matched(t, quoting(q, 1500), unmatched, 0, NoMatch)
				return
			}
			e.matched(t, quoting(q, 1500), ours, 2, NATRewritten)
		})
	}
	// With 8 bytes quoted, the checksum as the translator left it and the IP
	// ID must both agree.
	e := asked(t, kinds[0])
	c := codec{token: testToken}
	s := kinds[0]
	s.Src = netip.AddrPortFrom(router[false], 1024)
	b, _ := c.appendPacket(nil, &kinds[0], 2, idOf(2, c.firstID(&kinds[0]), ids), 0)
	payload := slices.Clone(b[28:])
	moved := wire.AppendIPv4(nil, wire.IPv4{Src: s.Src.Addr(), Dst: s.Dst.Addr(), TTL: 1, Proto: wire.ProtoUDP, ID: idOf(2, c.firstID(&kinds[0]), ids)}, 40)
	moved = wire.AppendUDP(moved, s.Src, s.Dst, payload, 0)
	q, err := wire.ParseQuote(moved)
	if err != nil {
		t.Fatal(err)
	}
	e.matched(t, quoting(q, 28), ours, 2, NATRewritten)
	e.matched(t, quoting(edited(q, func(b []byte) { b[5] ^= 0x40 }), 28), unmatched, 0, NoMatch)
}

// T01, T05: direct answers.
func TestDirectAnswers(t *testing.T) {
	for _, s := range kinds {
		if s.Proto != TCP || s.Segment.Flags != 0 {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			e := asked(t, s)
			seq := e.codec.seq(idOf(2, e.codec.firstID(&s), ids))
			answer := func(from, to netip.AddrPort, flags uint8, seq, ack uint32) *rawsock.Reply {
				return &rawsock.Reply{From: from.Addr(), To: to.Addr(), Proto: wire.ProtoTCP, TTL: 60,
					Data: wire.AppendTCP(nil, from, to, wire.TCPFields{Seq: seq, Ack: ack, Flags: flags}, nil)}
			}
			e.matched(t, answer(s.Dst, s.Src, wire.SYN|wire.ACK, 77, seq+1), ours, 2, Strict)
			e.matched(t, answer(s.Dst, s.Src, wire.RST|wire.ACK, 0, seq+1), ours, 2, Strict)
			e.matched(t, answer(s.Dst, s.Src, wire.RST, seq, 0), unmatched, 0, NoMatch)
			e.matched(t, answer(s.Dst, s.Src, wire.RST|wire.ACK, 0, seq-1), unmatched, 0, NoMatch)
			e.matched(t, answer(s.Dst, s.Src, wire.RST|wire.ACK, 0, seq+1+1<<16), unmatched, 0, NoMatch)
			e.matched(t, answer(s.Dst, s.Src, wire.RST|wire.ACK, 0, seq+3), unmatched, 0, NoMatch)
			e.matched(t, answer(s.Dst, s.Src, wire.ACK, 77, seq+1), unmatched, 0, NoMatch)
			elsewhere := netip.AddrPortFrom(router[s.Dst.Addr().Is6()], s.Dst.Port())
			e.matched(t, answer(elsewhere, s.Src, wire.SYN|wire.ACK, 77, seq+1), unmatched, 0, NoMatch)
			e.matched(t, answer(netip.AddrPortFrom(s.Dst.Addr(), 81), s.Src, wire.SYN|wire.ACK, 77, seq+1), unmatched, 0, NoMatch)
			e.matched(t, answer(s.Dst, netip.AddrPortFrom(s.Src.Addr(), 81), wire.SYN|wire.ACK, 77, seq+1), unmatched, 0, NoMatch)
		})
	}
}

// T05, RFC 9293 section 3.10.7: what a segment with other flags is answered with.
func TestSegmentAnswers(t *testing.T) {
	const (
		none  = 0
		reset = uint8(wire.RST)
		ra    = wire.RST | wire.ACK
		sa    = wire.SYN | wire.ACK
	)
	tests := []struct {
		name       string
		probe      uint8
		answer     uint8
		seq, ack   uint32 // over the probe's sequence number
		seq0, ack0 bool   // the number is 0 instead
		want       Answer // none: unmatched
		carried    int    // bytes of payload
		n          uint32 // which probe of the three; 0: the second. One too many or few would be a neighbour's
	}{
		{name: "ACK, reset", probe: wire.ACK, answer: reset, ack0: true, want: Reset},
		{name: "ACK, reset with a sequence number of its own", probe: wire.ACK, answer: reset, seq: 1, ack0: true, n: 3},
		{name: "ACK, reset with an acknowledgement", probe: wire.ACK, answer: ra, want: Reset},
		{name: "ACK, reset with one too many", probe: wire.ACK, answer: ra, ack: 1, n: 3},
		{name: "ACK, acknowledged", probe: wire.ACK, answer: wire.ACK, seq: 77, want: SegmentReply},
		{name: "ACK, answered as a SYN", probe: wire.ACK, answer: sa, seq: 77, ack: 1},
		{name: "ACK with a payload, reset", probe: wire.ACK, carried: 100, answer: reset, ack0: true, want: Reset},
		{name: "ACK with a payload, reset with an acknowledgement", probe: wire.ACK, carried: 100, answer: ra, ack: 100, want: Reset},
		{name: "ACK with a payload, acknowledged", probe: wire.ACK, carried: 100, answer: wire.ACK, ack: 100, want: SegmentReply},
		{name: "ACK with a payload, acknowledged out of nowhere", probe: wire.ACK, carried: 100, answer: wire.ACK, seq: 77, ack: 100},
		{name: "ACK with a payload, reset out of nowhere", probe: wire.ACK, carried: 100, answer: ra, seq0: true, ack: 100},
		{name: "ACK with a payload, acknowledged without it", probe: wire.ACK, carried: 100, answer: wire.ACK},
		{name: "ACK with a payload of 1, as without", probe: wire.ACK, carried: 1, answer: ra, seq: 1, n: 1, ack: 1},
		{name: "FIN and ACK with a payload, reset", probe: wire.FIN | wire.ACK, carried: 1460, answer: ra, ack: 1461, want: Reset},
		{name: "FIN, reset", probe: wire.FIN, answer: ra, seq0: true, ack: 1, want: Reset},
		{name: "FIN, reset as if there was none", probe: wire.FIN, answer: ra, seq0: true, n: 1},
		{name: "FIN, reset as if acknowledged", probe: wire.FIN, answer: reset, ack0: true},
		{name: "Xmas, reset", probe: wire.FIN | wire.PSH | wire.URG, answer: ra, seq0: true, ack: 1, want: Reset},
		{name: "PSH, reset", probe: wire.PSH, answer: ra, seq0: true, want: Reset},
		{name: "SYN and FIN, reset", probe: wire.SYN | wire.FIN, answer: ra, seq0: true, ack: 2, want: Reset},
		{name: "SYN and FIN, open", probe: wire.SYN | wire.FIN, answer: sa, seq: 77, ack: 1, want: SynAck},
		{name: "SYN and FIN, both taken", probe: wire.SYN | wire.FIN, answer: sa, seq: 77, ack: 2, n: 3},
		{name: "SYN and ACK, reset", probe: wire.SYN | wire.ACK, answer: reset, ack0: true, want: Reset},
		{name: "SYN with ECN, open", probe: wire.SYN | wire.ECE | wire.CWR, answer: sa | wire.ECE, seq: 77, ack: 1, want: SynAck},
		{name: "SYN and reset", probe: wire.ACK, answer: wire.RST | wire.SYN, ack0: true},
		{name: "neither", probe: wire.ACK, answer: wire.PSH, ack0: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := kinds[2]
			s.Segment.Flags = tt.probe
			if tt.carried > 0 {
				least, _ := SizesOf(&s)
				s.Size = least + tt.carried
			}
			e := asked(t, s)
			if tt.n == 0 {
				tt.n = 2
			}
			sent, err := wire.ParseTCP(encode(t, s, tt.n).Transport())
			if err != nil {
				t.Fatal(err)
			}
			f := wire.TCPFields{Seq: sent.Seq() + tt.seq, Ack: sent.Seq() + tt.ack, Flags: tt.answer}
			if tt.seq0 {
				f.Seq = 0
			}
			if tt.ack0 {
				f.Ack = 0
			}
			r := &rawsock.Reply{From: s.Dst.Addr(), To: s.Src.Addr(), Proto: wire.ProtoTCP, Data: wire.AppendTCP(nil, s.Dst, s.Src, f, nil)}
			var got found
			if fate := e.match(r, &got); (fate == ours) != (tt.want != none) || fate == ours && (got.serial != 2 || got.o.Answer != tt.want || got.o.Flags != tt.answer) {
				t.Errorf("fate %d, probe %d, answer %d flags %#x; want answer %d", fate, got.serial, got.o.Answer, got.o.Flags, tt.want)
			}
		})
	}
}

// reply returns what a message of a protocol from there to the source of a probe looks like to the engine.
func reply(s Spec, from netip.Addr, data []byte) *rawsock.Reply {
	return &rawsock.Reply{From: from, To: s.Src.Addr(), Proto: s.Proto.Number(s.Dst.Addr(), s.Number), TTL: 60, TOS: 4, Data: data}
}

// T01: the answers to ICMP queries other than echo.
func TestQueryReplies(t *testing.T) {
	for _, s := range kinds {
		dst, src, ident := s.Dst.Addr(), s.Src.Addr(), s.Src.Port()
		var right []byte
		wrong := make(map[string][]byte)
		sent := encode(t, s, 2).Transport()
		var check func(o *Outcome) bool
		switch s.Proto {
		case Timestamp:
			times := wire.Times{Originate: testTime, Receive: testTime + 3, Transmit: testTime + 4}
			stamp := func(id, seq uint16, w wire.Times) []byte {
				return wire.AppendTimestamp(nil, dst, src, wire.TimestampReply4, id, seq, w)
			}
			right = stamp(ident, 2, times)
			wrong["identifier"] = stamp(ident+1, 2, times)
			wrong["sequence number"] = stamp(ident, 4, times)
			wrong["time it was sent at"] = stamp(ident, 2, wire.Times{Originate: testTime + 1, Receive: 3, Transmit: 4})
			check = func(o *Outcome) bool { return o.Answer == TimestampReply && o.Times == Times(times) }
		case Mask:
			mask := func(id, seq uint16) []byte {
				return wire.AppendMask(nil, dst, src, wire.MaskReply4, id, seq, 0xffffff00)
			}
			right = mask(ident, 2)
			wrong["identifier"], wrong["sequence number"] = mask(ident+1, 2), mask(ident, 4)
			check = func(o *Outcome) bool { return o.Answer == MaskReply && o.Mask == 0xffffff00 }
		case ExtEcho:
			state := func(id uint16, seq uint8) []byte {
				return wire.AppendExtEchoReply(nil, dst, src, wire.ExtEchoNoEntry, id, seq, 3<<5|wire.ExtEchoActive)
			}
			right = state(ident, 2)
			wrong["identifier"], wrong["sequence number"] = state(ident+1, 2), state(ident, 4)
			check = func(o *Outcome) bool {
				return o.Answer == ExtEchoReply && o.Code == wire.ExtEchoNoEntry && o.State == 3<<5|wire.ExtEchoActive
			}
		case NodeInfo:
			query := binary.BigEndian.Uint64(sent[8:])
			node := func(qtype uint16, nonce uint64) []byte {
				return wire.AppendNode(nil, dst, src, wire.NodeReply6, 0, qtype, 1, nonce, []byte("name"), 0)
			}
			right = node(2, query)
			wrong["query type"] = node(3, query)
			for name, bit := range map[string]int{"identifier": 50, "chosen word": 40, "token": 20, "id": 10} {
				wrong[name] = node(2, query^1<<bit)
			}
			check = func(o *Outcome) bool {
				return o.Answer == NodeReply && o.Code == 0 && o.State == 1 && string(o.Payload) == "name"
			}
		default:
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			e := asked(t, s)
			var f found
			r := reply(s, dst, right)
			r.Options = wire.AppendRecordRoute(nil, 1)
			got := e.match(r, &f)
			clear(r.Data)
			clear(r.Options) // the outcome must not share them
			if got != ours || f.serial != 2 || f.o.Match != Strict || f.o.TOS != 4 || !check(&f.o) || string(f.o.Options) != string(wire.AppendRecordRoute(nil, 1)) {
				t.Errorf("fate %d, probe %d, %+v", got, f.serial, f.o)
			}
			for name, data := range wrong {
				if got, f := e.fateOf(reply(s, dst, data)); got != unmatched {
					t.Errorf("wrong %s: fate %d, %v", name, got, f.why)
				}
			}
			elsewhere := router[dst.Is6()]
			moved := slices.Clone(encodeReply(s, elsewhere, sent))
			if got, f := e.fateOf(reply(s, elsewhere, moved)); got != unmatched || f.why != PeerNotAsked {
				t.Errorf("from elsewhere: fate %d, %v", got, f.why)
			}
		})
	}
}

// encodeReply is a right answer to a query, from that address.
func encodeReply(s Spec, from netip.Addr, sent []byte) []byte {
	src, ident := s.Src.Addr(), s.Src.Port()
	switch s.Proto {
	case Timestamp:
		return wire.AppendTimestamp(nil, from, src, wire.TimestampReply4, ident, 2, wire.Times{Originate: testTime})
	case Mask:
		return wire.AppendMask(nil, from, src, wire.MaskReply4, ident, 2, 0)
	case ExtEcho:
		return wire.AppendExtEchoReply(nil, from, src, 0, ident, 2, 0)
	case NodeInfo:
		return wire.AppendNode(nil, from, src, wire.NodeReply6, 0, 2, 0, binary.BigEndian.Uint64(sent[8:]), nil, 0)
	}
	typ := uint8(wire.EchoReply4)
	if from.Is6() {
		typ = wire.EchoReply6
	}
	return wire.AppendEcho(nil, from, src, typ, ident, 2, sent[8:], 0)
}

// A probe to all is answered by anybody: the first answer is its own, and so are the others.
func TestAnybodyMayAnswer(t *testing.T) {
	for _, s := range kinds {
		if !s.Proto.IsICMP() {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			sent := encode(t, s, 2).Transport()
			from := router[s.Dst.Addr().Is6()]
			e := asked(t, s)
			e.matched(t, reply(s, from, encodeReply(s, from, sent)), unmatched, 0, NoMatch)
			s.Any = true
			e = asked(t, s)
			r := reply(s, from, encodeReply(s, from, sent))
			e.matched(t, r, ours, 2, Strict)
			e.table.close(e.table.get(2), answered)
			e.matched(t, r, ours, 2, Strict)
			r.To = from
			e.matched(t, reply(s, from, encodeReply(s, s.Src.Addr(), sent)), malformedOr(s, ours), 2, Strict)
			s.Src = netip.AddrPortFrom(s.Src.Addr(), s.Src.Port()+1)
			e.matched(t, reply(s, from, encodeReply(s, from, encode(t, s, 2).Transport())), unmatched, 0, NoMatch)
		})
	}
	s := kinds[0]
	s.Any = true
	e := asked(t, s)
	e.table.close(e.table.get(1), lost)
	e.table.close(e.table.get(2), lost)
	answer := func(from string) *rawsock.Reply {
		a := netip.AddrPortFrom(netip.MustParseAddr(from), s.Dst.Port())
		return reply(s, a.Addr(), wire.AppendUDP(nil, a, s.Src, []byte("hello"), 0))
	}
	e.matched(t, answer("198.51.100.1"), ours, 3, Alone)
	e.table.close(e.table.get(3), answered)
	e.matched(t, answer("198.51.100.2"), ours, 3, Alone)
}

// malformedOr is want for IPv4, whose ICMP checksum is not over the addresses.
func malformedOr(s Spec, want fate) fate {
	if s.Dst.Addr().Is6() {
		return malformed
	}
	return want
}

func TestDCCPAnswers(t *testing.T) {
	for _, s := range kinds {
		if s.Proto != DCCP {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			e := asked(t, s)
			d, err := wire.ParseDCCP(encode(t, s, 2).Transport())
			if err != nil {
				t.Fatal(err)
			}
			seq, _ := d.Seq()
			answer := func(from, to netip.AddrPort, typ uint8, ack uint64) *rawsock.Reply {
				return reply(s, from.Addr(), wire.AppendDCCP(nil, from, to, wire.DCCPFields{Type: typ, Seq: 7, Ack: ack}, nil, 0))
			}
			for _, typ := range []uint8{wire.DCCPResponse, wire.DCCPReset} {
				e.matched(t, answer(s.Dst, s.Src, typ, seq), ours, 2, Strict)
				for _, bit := range []int{0, 17, 33, 47} {
					e.matched(t, answer(s.Dst, s.Src, typ, seq^1<<bit), unmatched, 0, NoMatch)
				}
				e.matched(t, answer(netip.AddrPortFrom(router[s.Dst.Addr().Is6()], s.Dst.Port()), s.Src, typ, seq), unmatched, 0, NoMatch)
				e.matched(t, answer(netip.AddrPortFrom(s.Dst.Addr(), 1), s.Src, typ, seq), unmatched, 0, NoMatch)
				e.matched(t, answer(s.Dst, netip.AddrPortFrom(s.Src.Addr(), 1), typ, seq), unmatched, 0, NoMatch)
			}
			e.matched(t, answer(s.Dst, s.Src, wire.DCCPRequest, seq), unmatched, 0, NoMatch)
			e.matched(t, reply(s, s.Dst.Addr(), make([]byte, 12)), malformed, 0, NoMatch)
			var f found
			if e.match(answer(s.Dst, s.Src, wire.DCCPReset, seq), &f); f.o.Answer != RawReply || f.o.State != wire.DCCPReset {
				t.Errorf("answer %d, packet type %d", f.o.Answer, f.o.State)
			}
		})
	}
}

// What comes back of a protocol without a header is as much as a service's datagram.
func TestRawAndUDPLiteAnswers(t *testing.T) {
	for _, s := range kinds {
		var echo, foreign []byte
		want := Datagram
		sent := encode(t, s, 2).Transport()
		switch s.Proto {
		case Raw:
			echo, foreign, want = sent, []byte("hello"), RawReply
		case UDPLite:
			echo = wire.AppendUDPLite(nil, s.Dst, s.Src, sent[8:], 0)
			foreign = wire.AppendUDPLite(nil, s.Dst, s.Src, []byte("hello"), 0)
		default:
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			if s.Proto == Raw { // a port in its spec says nothing: there is none in its packets
				s.Src, s.Dst = netip.AddrPortFrom(s.Src.Addr(), 7), netip.AddrPortFrom(s.Dst.Addr(), 9)
			}
			e := asked(t, s)
			e.matched(t, quoting(encode(t, s, 2), 1500), ours, 2, Strict)
			var f found
			if got := e.match(reply(s, s.Dst.Addr(), echo), &f); got != ours || f.serial != 2 || f.o.Answer != want || f.o.Match != Strict {
				t.Errorf("fate %d, probe %d, answer %d", got, f.serial, f.o.Answer)
			}
			e.matched(t, reply(s, router[s.Dst.Addr().Is6()], echo), unmatched, 0, NoMatch)
			other := reply(s, s.Dst.Addr(), echo)
			other.Proto = 252
			e.matched(t, other, unmatched, 0, NoMatch)
			e.matched(t, reply(s, s.Dst.Addr(), foreign), ambiguous, 0, FlowOnly)
			e.table.close(e.table.get(1), lost)
			e.table.close(e.table.get(2), lost)
			e.matched(t, reply(s, s.Dst.Addr(), foreign), ours, 3, Alone)
		})
	}
}

// A quote on a source route names any node of it, and no other; and what a gateway refuses is not the
// destination's word.
func TestQuotesOnASourceRoute(t *testing.T) {
	for _, s := range kinds {
		v6 := s.Dst.Addr().Is6()
		at, stranger, then := 16, netip.MustParseAddr("203.0.113.99"), gateways
		if v6 {
			at, stranger = 24, netip.MustParseAddr("2001:db8:f::99")
			then = []netip.Addr{router[true], netip.MustParseAddr("2001:db8:f::2"), s.Dst.Addr()}
			s.Options = string(wire.AppendRouting(nil, 2, then[1:]))
		} else {
			s.Options = string(wire.AppendSourceRoute(nil, true, then[1:]))
		}
		s.Size, s.Via = 0, then[0]
		t.Run(s.name(), func(t *testing.T) {
			e := asked(t, s)
			p := encode(t, s, 2)
			for _, a := range then {
				q := edited(p, func(b []byte) { copy(b[at:], a.AsSlice()) })
				e.matched(t, quoting(q, 1500), ours, 2, Strict)
				e.matched(t, quoting(q, len(q.Header())+8), ours, 2, Strict)
			}
			q := edited(p, func(b []byte) { copy(b[at:], stranger.AsSlice()) })
			e.matched(t, quoting(q, 1500), unmatched, 0, NoMatch)

			other := s
			other.Via, other.Options = netip.Addr{}, ""
			e = asked(t, other)
			e.matched(t, quoting(p, 1500), unmatched, 0, NoMatch)
		})
	}
	// Another probe of the same flow goes by the destination alone: no gateway is quoted of it.
	s := kinds[0]
	e := asked(t, s)
	s.Via, s.Options, s.Size = gateways[0], string(wire.AppendSourceRoute(nil, false, gateways[1:])), 0
	register(t, e.table, s, e.codec.firstID(&s), epoch)
	for n, want := range map[uint32]fate{2: unmatched, 4: ours} {
		plain := kinds[0]
		if n == 4 {
			plain = s
		}
		q := edited(encode(t, plain, n), func(b []byte) { copy(b[16:], gateways[0].AsSlice()) })
		e.matched(t, quoting(q, 1500), want, 4, Strict)
	}

	s = kinds[0]
	s.Via, s.Options, s.Size = gateways[0], string(wire.AppendSourceRoute(nil, false, gateways[1:])), 0
	e = asked(t, s)
	p := encode(t, s, 2)
	for i, want := range map[int]Answer{0: Unreachable, 2: PortUnreachable} {
		q := edited(p, func(b []byte) { copy(b[16:], gateways[i].AsSlice()) })
		r := quoting(q, 1500)
		r.Data = wire.AppendError(nil, r.From, r.To, wire.Unreachable4, 3, 0, q.Bytes(), nil)
		var f found
		if got := e.match(r, &f); got != ours || f.o.Answer != want {
			t.Errorf("port unreachable, quoted to %v: fate %d, answer %d, want %d", gateways[i], got, f.o.Answer, want)
		}
	}
}

// What else an error says is handed on, and kept when the reply's bytes are gone.
func TestErrorsTellMore(t *testing.T) {
	e := asked(t, kinds[0])
	p := encode(t, kinds[0], 2)
	r := quoting(p, 1500)
	objects := wire.AppendObject(wire.AppendObject(nil, 1, 1, wire.AppendLSE(nil, 16, 1, true, 2)), 2, 0x02, []byte("\x08eth0\x00\x00\x00"))
	r.Data = wire.AppendError(nil, r.From, r.To, wire.ParameterProblem4, 0, 20<<24, p.Bytes(), objects)
	r.TOS = 0xc0
	var f found
	if got := e.match(r, &f); got != ours || f.o.Answer != ParameterProblem || f.o.Pointer != 20 || f.o.TOS != 0xc0 {
		t.Errorf("fate %d, answer %d, pointer %d, TOS %#x", got, f.o.Answer, f.o.Pointer, f.o.TOS)
	}
	clear(r.Data)
	if len(f.o.Labels) != 1 || f.o.Labels[0] != (Label{16, 1, true, 2}) || len(f.o.Objects) != 2 || f.o.Objects[1].Class != 2 || string(f.o.Objects[1].Data) != "\x08eth0\x00\x00\x00" {
		t.Errorf("labels %v, objects %v", f.o.Labels, f.o.Objects)
	}
	r = quoting(p, 1500)
	r.Data = wire.AppendError(nil, r.From, r.To, wire.Redirect4, 1, 0xcb007102, p.Bytes(), nil)
	if got := e.match(r, &f); got != advisory || f.serial != 2 || f.o.Gateway != netip.MustParseAddr("203.0.113.2") || f.o.Answer != NoAnswer {
		t.Errorf("redirect: fate %d, probe %d, gateway %v", got, f.serial, f.o.Gateway)
	}
	s := kinds[4]
	e = asked(t, s)
	p = encode(t, s, 2)
	quote := append([]byte{4, uint8(1 + len(p.Bytes())/8), 0, 0, 0, 0, 0, 0}, p.Bytes()...)
	body := append(append(router[true].AsSlice(), s.Dst.Addr().AsSlice()...), quote...)
	r = reply(s, router[true], wire.AppendICMP(nil, router[true], s.Src.Addr(), wire.Redirect6, 0, 0, body, 0))
	if got := e.match(r, &f); got != advisory || f.serial != 2 || f.o.Gateway != router[true] {
		t.Errorf("redirect: fate %d, probe %d, gateway %v", got, f.serial, f.o.Gateway)
	}
}

// Plain answers are read without allocating.
func TestMatchingDoesNotAllocate(t *testing.T) {
	for _, s := range kinds {
		e := asked(t, s)
		p := encode(t, s, 2)
		replies := []*rawsock.Reply{quoting(p, 1500)}
		if s.Proto.IsICMP() && s.Proto != NodeInfo { // which has a payload to keep
			replies = append(replies, reply(s, s.Dst.Addr(), encodeReply(s, s.Dst.Addr(), p.Transport())))
		}
		for i, r := range replies {
			var f found
			if n := testing.AllocsPerRun(100, func() { e.match(r, &f) }); n != 0 || f.serial != 2 {
				t.Errorf("%s, answer %d: %v allocations, probe %d", s.name(), i, n, f.serial)
			}
		}
	}
}

func TestEchoReplies(t *testing.T) {
	for _, s := range kinds {
		if s.Proto != ICMP {
			continue
		}
		v6 := s.Dst.Addr().Is6()
		typ, proto := uint8(wire.EchoReply4), uint8(wire.ProtoICMP)
		if v6 {
			typ, proto = wire.EchoReply6, wire.ProtoICMPv6
		}
		e := asked(t, s)
		payload := slices.Clone(encode(t, s, 2).Transport()[8:])
		reply := func(from netip.Addr, id, seq uint16, payload []byte) *rawsock.Reply {
			return &rawsock.Reply{From: from, To: s.Src.Addr(), Proto: proto, TTL: 60,
				Data: wire.AppendEcho(nil, from, s.Src.Addr(), typ, id, seq, payload, 0)}
		}
		with := func(at int) []byte {
			p := slices.Clone(payload)
			p[at] ^= 0x80
			return p
		}
		ident := s.Src.Port()
		tests := []struct {
			name      string
			r         *rawsock.Reply
			want      fate
			corrupted bool
			why       Reason
		}{
			{"right", reply(s.Dst.Addr(), ident, 2, payload), ours, false, 0},
			{"from another address", reply(router[v6], ident, 2, payload), unmatched, false, PeerNotAsked},
			{"another identifier", reply(s.Dst.Addr(), ident+1, 2, payload), unmatched, false, PortNotOurs},
			{"a number not sent", reply(s.Dst.Addr(), ident, 4, payload), unmatched, false, IDNotInUse},
			{"another run's token", reply(s.Dst.Addr(), ident, 2, with(rawsock.TokenOffset)), unmatched, false, TokenWrong},
			{"another round of ids", reply(s.Dst.Addr(), ident, 2, with(numberOffset)), unmatched, false, TokenWrong},
			{"a flipped bit", reply(s.Dst.Addr(), ident, 2, with(ownBytes+3)), ours, true, 0},
			{"cut short", reply(s.Dst.Addr(), ident, 2, payload[:len(payload)-1]), ours, true, 0},
			{"without the token", reply(s.Dst.Addr(), ident, 2, payload[:rawsock.TokenOffset+3]), unmatched, false, TokenWrong},
			{"cut behind another token", reply(s.Dst.Addr(), ident, 2, with(rawsock.TokenOffset)[:numberOffset]), unmatched, false, TokenWrong},
			{"too long", reply(s.Dst.Addr(), ident, 2, append(slices.Clone(payload), 0)), ours, true, 0},
		}
		for _, tt := range tests {
			t.Run(s.name()+" "+tt.name, func(t *testing.T) {
				got, f := e.fateOf(tt.r)
				if got != tt.want || got == unmatched && f.why != tt.why || f.o.Corrupted != tt.corrupted || got == ours && f.serial != 2 {
					t.Errorf("fate %d, probe %d, corrupted %v", got, f.serial, f.o.Corrupted)
				}
				wrong := map[string]int{"a flipped bit": ownBytes + 3, "cut short": len(payload) - 1, "too long": len(payload)}[tt.name]
				if f.o.Wrong != wrong || (f.o.Payload != nil) != tt.corrupted {
					t.Errorf("wrong from byte %d, want %d; payload %x", f.o.Wrong, wrong, f.o.Payload)
				}
			})
		}
		t.Run(s.name()+" broken checksum", func(t *testing.T) {
			r := reply(s.Dst.Addr(), ident, 2, payload)
			r.Data[len(r.Data)-1] ^= 1
			if got, f := e.fateOf(r); got != malformed || f.why != ChecksumWrong {
				t.Errorf("fate %d, %v, want a wrong checksum", got, f.why)
			}
		})
	}
}

// T23: a service's answer belongs to a probe if it says so, or if only one is
// waiting.
func TestUDPServiceAnswers(t *testing.T) {
	s := kinds[0]
	e := asked(t, s)
	answer := func(payload []byte) *rawsock.Reply {
		return &rawsock.Reply{From: s.Dst.Addr(), To: s.Src.Addr(), Proto: wire.ProtoUDP, TTL: 60,
			Data: wire.AppendUDP(nil, s.Dst, s.Src, payload, 0)}
	}
	e.matched(t, answer(encode(t, s, 2).Transport()[8:]), ours, 2, Strict)
	e.matched(t, answer([]byte("hello")), ambiguous, 0, FlowOnly)
	e.table.close(e.table.get(1), lost)
	e.table.close(e.table.get(2), answered)
	e.matched(t, answer([]byte("hello")), ours, 3, Alone)
	e.table.close(e.table.get(3), lost)
	e.matched(t, answer([]byte("hello")), unmatched, 0, NoMatch)
	if _, f := e.fateOf(answer([]byte("hello"))); f.why != NothingWaits {
		t.Errorf("rejected for %v, want %v", f.why, NothingWaits)
	}
}

// FuzzMatch: whatever arrives, nothing panics, and only a message that quotes or
// returns the token or a full tuple is ours.
func FuzzMatch(f *testing.F) {
	type asker struct {
		spec Spec
		e    *engine
	}
	var all []asker
	for _, s := range kinds {
		p := encode(f, s, 2)
		r := quoting(p, 1500)
		f.Add(r.Proto, r.Data, true)
		f.Add(r.Proto, quoting(readdress(p, s, 7), 1500).Data, true)
		if answer := serviceAnswer(s, p); answer != nil {
			f.Add(uint8(wire.ProtoUDP), answer.Data, false)
		}
		for _, j := range hostile.About(p.Bytes(), s.Dst.Addr()) {
			if ip, err := wire.ParseIP(j.Data); err == nil && len(j.Data) < 400 {
				f.Add(ip.Proto(), ip.Transport(), false)
			}
		}
		for _, header := range []bool{true, false} {
			e := asked(f, s)
			e.caps.Header = header
			all = append(all, asker{s, e})
		}
	}
	f.Fuzz(func(t *testing.T, proto uint8, data []byte, mended bool) {
		for _, a := range all {
			from, to := a.spec.Dst.Addr(), a.spec.Src.Addr()
			r := rawsock.Reply{From: from, To: to, Proto: proto, Data: data}
			if mended && len(data) >= 8 && (proto == wire.ProtoICMP || proto == wire.ProtoICMPv6) && (proto == wire.ProtoICMPv6) == from.Is6() {
				// Else the fuzzer would seldom get further than the checksum.
				r.Data = wire.AppendICMP(nil, from, to, data[0], data[1], binary.BigEndian.Uint32(data[4:]), data[8:], 0)
			}
			var got found
			switch a.e.match(&r, &got) {
			case rejected:
				if got.why >= reasons {
					t.Errorf("rejected for no reason, %d", got.why)
				}
			case ours, advisory:
				if serial := got.serial; serial < 1 || serial > 3 {
					t.Errorf("answers probe %d, which was never sent", serial)
				}
			}
			if n := len(got.o.Objects); n > mostObjects || n*4 > len(data) {
				t.Errorf("%d objects in %d bytes", n, len(data))
			}
		}
	})
}

// rebuilt is the time exceeded that a connection without quoted headers makes of a probe's addresses and ports and the payload that came
// back, of which no more is known.
func rebuilt(s Spec, payload []byte) *rawsock.Reply {
	src, dst := s.Src.Addr(), s.Dst.Addr()
	var q []byte
	if dst.Is6() {
		q = wire.AppendIPv6(nil, wire.IPv6{Src: src, Dst: dst, HopLimit: 1, Next: wire.ProtoUDP}, 8+len(payload))
	} else {
		q = wire.AppendIPv4(nil, wire.IPv4{Src: src, Dst: dst, TTL: 1, Proto: wire.ProtoUDP}, 8+len(payload))
	}
	q = wire.AppendUDP(q, s.Src, s.Dst, payload, 0)
	ip, err := wire.ParseIP(q)
	if err != nil {
		panic(err)
	}
	return quoting(ip, len(q))
}

// Without privilege a quote is known by its payload, however little of that came back, if it is known at all.
func TestRebuiltQuotes(t *testing.T) {
	for _, s := range kinds {
		if s.Proto != UDP {
			continue
		}
		asked := func(n int) *engine {
			e := asked(t, s)
			e.caps.Header = false
			for serial := uint64(1); serial <= uint64(3-n); serial++ { // as if never sent
				e.table.close(e.table.get(serial), failed)
			}
			return e
		}
		t.Run(s.name(), func(t *testing.T) {
			payload := encode(t, s, 2).Transport()[8:]
			at := layouts[s.Content]
			for _, keep := range []int{2, 3, 4, 6, 8, 11, 12, 17, 23, len(payload)} {
				if keep > len(payload) {
					continue
				}
				e := asked(3)
				if keep < at.tune+2 {
					e.matched(t, rebuilt(s, payload[:keep]), ambiguous, 0, FlowOnly)
					continue
				}
				e.matched(t, rebuilt(s, payload[:keep]), ours, 2, Strict)
				// The zeros that fill a quote up are not quoted.
				if keep != at.id+1 { // half an id
					e.matched(t, rebuilt(s, append(slices.Clone(payload[:keep]), make([]byte, 100)...)), ours, 2, Strict)
				}
				e.table.close(e.table.get(2), answered)
				e.matched(t, rebuilt(s, payload[:keep]), ours, 2, Strict)
				wrong := slices.Clone(payload[:keep])
				wrong[keep-1] ^= 0xff
				if keep <= at.own {
					e.matched(t, rebuilt(s, wrong), unmatched, 0, NoMatch)
				}
			}
			for _, nothing := range [][]byte{nil, make([]byte, 100), make([]byte, len(payload))} {
				const p, l, a = pending, lost, answered
				for _, tt := range []struct {
					states []state
					want   fate
					serial uint64
					m      Match
				}{
					{[]state{p}, ours, 3, Strict}, // no other was ever sent
					{[]state{l}, ours, 3, Strict},
					{[]state{a}, ours, 3, Strict},
					{[]state{p, p, p}, ambiguous, 0, FlowOnly},
					{[]state{a, p, p}, ambiguous, 0, FlowOnly},
					{[]state{p, l, p}, ambiguous, 0, FlowOnly},
					{[]state{l, a, p}, ours, 3, Alone},
					{[]state{a, p, l}, ours, 2, Alone},
					{[]state{p, l, l}, ours, 1, Alone},
					{[]state{a, l, a}, ambiguous, 0, FlowOnly},
					{[]state{l, l, l}, ambiguous, 0, FlowOnly},
					{[]state{a, a, a}, unmatched, 0, NoMatch},
				} {
					e := asked(len(tt.states))
					for i, st := range tt.states {
						if st != pending {
							e.table.close(e.table.get(uint64(4-len(tt.states)+i)), st)
						}
					}
					e.matched(t, rebuilt(s, nothing), tt.want, tt.serial, tt.m)
					var f found
					if e.match(rebuilt(s, nothing), &f) == ambiguous && (f.o.Match != FlowOnly || f.o.Answer != TimeExceeded || f.o.Spec.Dst != s.Dst || f.o.Quoted.Known) {
						t.Errorf("%v: %+v", tt.states, f.o)
					}
					if t.Failed() {
						t.Fatalf("%v, %d bytes of zeros", tt.states, len(nothing))
					}
				}
			}
			e := asked(3)
			other := s
			other.Dst = netip.AddrPortFrom(s.Dst.Addr(), s.Dst.Port()+1)
			e.matched(t, rebuilt(other, nil), unmatched, 0, NoMatch)
			e.matched(t, rebuilt(other, payload), unmatched, 0, NoMatch)
			other = s
			other.Src = netip.AddrPortFrom(s.Src.Addr(), s.Src.Port()+1)
			e.matched(t, rebuilt(other, nil), unmatched, 0, NoMatch)
			if s.Dst.Addr().Is4() { // what decides nothing is nobody's if it is not known whose it is
				r := rebuilt(s, nil)
				redirect := *r
				redirect.Data = wire.AppendError(nil, r.From, r.To, 5, 1, 0, r.Data[8:], nil)
				e.matched(t, &redirect, unmatched, 0, NoMatch)
			}
			e.caps.Header = true
			e.matched(t, rebuilt(s, nil), unmatched, 0, NoMatch)
		})
	}
}

// TestManyAreNotCompared: two bytes tell a probe from some, but to look at thousands for each such quote costs too much.
func TestManyAreNotCompared(t *testing.T) {
	s := kinds[0]
	for probes, want := range map[uint32]fate{mostCompared: ours, mostCompared + 1: ambiguous} {
		e := &engine{caps: rawsock.Caps{Token: testToken}, table: newTable()}
		e.codec.token = testToken
		for range probes {
			register(t, e.table, s, e.codec.firstID(&s), epoch)
		}
		serial, m := uint64(2), Strict
		if want == ambiguous {
			serial, m = 0, FlowOnly
		}
		e.matched(t, rebuilt(s, encode(t, s, 2).Transport()[8:10]), want, serial, m)
	}
}

// The shortest UDP probes have no more of their own than the checksum's word.
func TestRebuiltQuotesOfShortProbes(t *testing.T) {
	s := kinds[0]
	for _, size := range []int{30, 31, 32, 34} {
		s.Size = size
		e := asked(t, s)
		e.caps.Header = false
		for n := uint32(1); n <= 3; n++ {
			e.matched(t, rebuilt(s, encode(t, s, n).Transport()[8:]), ours, uint64(n), Strict)
		}
		e.matched(t, rebuilt(s, nil), ambiguous, 0, FlowOnly)
	}
}

// readdress is p as somebody passed it on who rewrote its destination, and the checksums with it.
func readdress(p wire.IP, s Spec, port uint16) wire.IP {
	v6 := p.Version() == 6
	to := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.80"), port)
	if v6 {
		to = netip.AddrPortFrom(netip.MustParseAddr("2001:db8:80::1"), port)
	}
	l4 := slices.Clone(p.Transport())
	was := s.Dst
	switch {
	case s.Proto.IsICMP() || s.Proto == Raw:
		to, was = netip.AddrPortFrom(to.Addr(), 0), netip.AddrPortFrom(was.Addr(), 0)
	default:
		binary.BigEndian.PutUint16(l4[2:], port)
	}
	if at := sumAt(s.Proto); at >= 0 && (v6 || !s.Proto.IsICMP()) {
		binary.BigEndian.PutUint16(l4[at:], untranslate(binary.BigEndian.Uint16(l4[at:]), was, to))
	}
	var b []byte
	if v6 {
		b = wire.AppendIPv6(nil, wire.IPv6{Src: p.Src(), Dst: to.Addr(), HopLimit: 1, Next: p.Proto(), Label: s.Label}, len(l4))
	} else {
		b = wire.AppendIPv4(nil, wire.IPv4{Src: p.Src(), Dst: to.Addr(), TTL: 1, Proto: p.Proto(), ID: p.ID()}, len(l4))
	}
	q, err := wire.ParseQuote(append(b, l4...))
	if err != nil {
		panic(err)
	}
	return q
}

// A destination that was rewritten is told where all else is as it was sent, and checksums are as a translator makes them.
func TestQuotedDestinationRewritten(t *testing.T) {
	for _, s := range kinds {
		t.Run(s.name(), func(t *testing.T) {
			v6 := s.Dst.Addr().Is6()
			e := asked(t, s)
			p := encode(t, s, 2)
			switch s.Proto {
			case Timestamp, Mask, ExtEcho, NodeInfo: // nothing in them is ours alone, or nothing is believed but what was sent
				e.matched(t, quoting(readdress(p, s, 0), 1500), unmatched, 0, NoMatch)
				return
			case Raw:
				if v6 { // no checksum covers the address
					e.matched(t, quoting(readdress(p, s, 0), 1500), unmatched, 0, NoMatch)
					return
				}
			case DCCP:
				if v6 { // the id is in nothing that stays
					e.matched(t, quoting(readdress(p, s, s.Dst.Port()), 1500), unmatched, 0, NoMatch)
					return
				}
			}
			for _, port := range []uint16{s.Dst.Port(), 8080} {
				q := readdress(p, s, port)
				r := quoting(q, 1500)
				e.matched(t, r, ours, 2, NATRewritten)
				_, f := e.fateOf(r)
				if got := f.o.Quoted.Dst.Addr(); got != q.Dst() {
					t.Errorf("quoted destination %v, want %v", got, q.Dst())
				}
			}
			q := readdress(p, s, s.Dst.Port())
			for at := range q.Bytes() {
				switch l4 := ipHeader(v6); {
				case v6 && at < 8, !v6 && (at < 4 || at > 5 && at < 12): // not its identity
					continue
				case at >= l4+8+layouts[s.Content].own && s.Proto != Raw, s.Proto == TCP && at >= l4+8:
					continue // as far as that must be there
				}
				t.Run(fmt.Sprint("byte ", at), func(t *testing.T) {
					e.matched(t, quoting(edited(q, func(b []byte) { b[at] ^= 0x24 }), 1500), unmatched, 0, NoMatch)
				})
			}
			// To whom it was sent must be certain.
			other := s
			other.Dst = netip.AddrPortFrom(router[v6], s.Dst.Port())
			for range 2 {
				register(t, e.table, other, e.codec.firstID(&other), epoch)
			}
			if s.Proto == TCP || s.Proto == Raw || s.Proto == ICMP && !v6 {
				e.matched(t, quoting(q, 1500), unmatched, 0, NoMatch)
			} else { // what makes the checksum the chosen one is another for each destination
				e.matched(t, quoting(q, 1500), ours, 2, NATRewritten)
			}
			// It is not looked for among any number of flows.
			for i := range mostReaddressed {
				other.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 7)
				other.Src = netip.MustParseAddrPort("192.0.2.1:40009")
				other.Proto = UDP
				register(t, e.table, other, 0, epoch)
			}
			e.matched(t, quoting(q, 1500), unmatched, 0, NoMatch)
		})
	}
}

// Where another probe had the id, a short quote may be that one's, wherever it went.
func TestQuotedDestinationRewrittenOfSharedIDs(t *testing.T) {
	s := kinds[0]
	s.Size, s.Timeout = 120, time.Second
	e, serial := sharing(t, s, true)
	q := readdress(encode(t, s, ids+1), s, 7)
	e.matched(t, quoting(q, 28), unmatched, 0, NoMatch)
	e.matched(t, quoting(q, 1500), ours, serial, NATRewritten)
}

// A sequence number that was rewritten is told where the timestamp, which has the token, says whose it is.
func TestQuotedSequenceRewritten(t *testing.T) {
	for _, s := range kinds {
		if s.Proto != TCP {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			v6 := s.Dst.Addr().Is6()
			l4 := ipHeader(v6)
			e := asked(t, s)
			p := encode(t, s, 2)
			seal := func(b []byte) {
				b[l4+16], b[l4+17] = 0, 0
				t, _ := wire.ParseTCP(b[l4:])
				for sum := range 1 << 16 {
					if binary.BigEndian.PutUint16(b[l4+16:], uint16(sum)); t.Valid(p.Src(), p.Dst()) {
						return
					}
				}
			}
			made := func(also func([]byte)) *rawsock.Reply {
				return quoting(edited(p, func(b []byte) {
					binary.BigEndian.PutUint32(b[l4+4:], 0x12345678)
					also(b)
					seal(b)
				}), 1500)
			}
			if s.Segment.Bare&NoTimestamps != 0 {
				e.matched(t, made(func([]byte) {}), unmatched, 0, NoMatch)
				return
			}
			r := made(func([]byte) {})
			e.matched(t, r, ours, 2, IDRewritten)
			_, f := e.fateOf(r)
			want := []Change{{"tcp.sequence", e.codec.seq(idOf(2, e.codec.firstID(&s), ids)), uint32(0x12345678)}}
			if got := f.o.Quoted.Changed; !slices.Equal(got, want) || !f.o.Quoted.Whole {
				t.Errorf("changes %v, whole %v, want %v", got, f.o.Quoted.Whole, want)
			}
			e.matched(t, quoting(edited(p, func(b []byte) { binary.BigEndian.PutUint32(b[l4+4:], 0x12345678) }), l4+20), unmatched, 0, NoMatch)
			for name, edit := range map[string]func([]byte){
				"destination port": func(b []byte) { b[l4+3] ^= 1 },
				"source port":      func(b []byte) { b[l4] ^= 1 },
				"timestamp":        func(b []byte) { b[bytes.Index(b[l4+20:], []byte{8, 10})+l4+20+2] ^= 1 },
				"another probe":    func(b []byte) { b[bytes.Index(b[l4+20:], []byte{8, 10})+l4+20+5] += 7 },
				"a round of ids": func(b []byte) {
					binary.BigEndian.PutUint32(b[bytes.Index(b[l4+20:], []byte{8, 10})+l4+20+2:], testToken+2+ids)
				},
				"IP ID": func(b []byte) { b[4] ^= 1 },
			} {
				if name == "IP ID" && v6 {
					continue
				}
				e.matched(t, made(edit), unmatched, 0, NoMatch)
			}
			e.matched(t, quoting(edited(p, func(b []byte) { b[l4+5] ^= 0x40 }), 1500), unmatched, 0, NoMatch) // the checksum is for another
		})
	}
}
