package probe

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

var router = map[bool]netip.Addr{
	false: netip.MustParseAddr("203.0.113.1"), true: netip.MustParseAddr("2001:db8:f::1"),
}

// asked returns an engine that has sent three probes of s and waits for them.
func asked(t *testing.T, s Spec) *engine {
	t.Helper()
	e := &engine{caps: rawsock.Caps{Header: true, Token: testToken}, table: newTable()}
	e.codec.token = testToken
	for range 3 {
		register(t, e.table, s, e.codec.firstID(s.Proto), epoch)
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

func (e *engine) matched(t *testing.T, r *rawsock.Reply, want fate, serial uint64, m Match) {
	t.Helper()
	var f found
	got := e.match(r, &f)
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

// T01: one wrong field is enough.
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
				b[proto] = map[Proto]uint8{UDP: wire.ProtoTCP, TCP: wire.ProtoUDP, ICMP: wire.ProtoUDP}[s.Proto]
			}},
		}
		switch s.Proto {
		case UDP:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"destination port", 1500, word(l4 + 2)},
				{"length", 1500, word(l4 + 4)},
				{"token", 1500, word(l4 + 8 + rawsock.TokenOffset)},
				{"number", 1500, word(l4 + 8 + numberOffset)},
				{"checksum and id", l4 + 8, func(b []byte) { word(l4 + 6)(b); word(4)(b) }},
				{"source port, 8 bytes quoted, and the id", l4 + 8, func(b []byte) { word(l4)(b); word(4)(b); word(l4 + 6)(b) }},
				{"source port and token", 1500, func(b []byte) { word(l4)(b); word(l4 + 8 + rawsock.TokenOffset)(b) }},
			}...)
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
		case ICMP:
			tests = append(tests, []struct {
				name string
				keep int
				edit func([]byte)
			}{
				{"type", 1500, func(b []byte) { b[l4] ^= 1 }},
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
				e.matched(t, quoting(edited(p, tt.edit), tt.keep), unmatched, 0, NoMatch)
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

// T06: an IP ID that was rewritten on the way does not hide a hop, and shows.
func TestRewrittenIPIDIsTold(t *testing.T) {
	for _, s := range kinds[:3] {
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
			if s.Proto == ICMP {
				b[l4+4] ^= 0x55
			} else {
				b[l4] ^= 0x55
			}
		})
		t.Run(s.name(), func(t *testing.T) {
			e.matched(t, quoting(q, 1500), ours, 2, NATRewritten)
		})
	}
	// With 8 bytes quoted, the checksum as the translator left it and the IP
	// ID must both agree.
	e := asked(t, kinds[0])
	c := codec{token: testToken}
	s := kinds[0]
	s.Src = netip.AddrPortFrom(router[false], 1024)
	b, _ := c.appendPacket(nil, &kinds[0], 2, idOf(2, c.firstID(UDP)))
	payload := slices.Clone(b[28:])
	moved := wire.AppendIPv4(nil, wire.IPv4{Src: s.Src.Addr(), Dst: s.Dst.Addr(), TTL: 1, Proto: wire.ProtoUDP, ID: idOf(2, c.firstID(UDP))}, 40)
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
		if s.Proto != TCP {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			e := asked(t, s)
			seq := e.codec.seq(idOf(2, e.codec.firstID(TCP)))
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
		}{
			{"right", reply(s.Dst.Addr(), ident, 2, payload), ours, false},
			{"from another address", reply(router[v6], ident, 2, payload), unmatched, false},
			{"another identifier", reply(s.Dst.Addr(), ident+1, 2, payload), unmatched, false},
			{"a number not sent", reply(s.Dst.Addr(), ident, 4, payload), unmatched, false},
			{"another run's token", reply(s.Dst.Addr(), ident, 2, with(rawsock.TokenOffset)), unmatched, false},
			{"another round of ids", reply(s.Dst.Addr(), ident, 2, with(numberOffset)), unmatched, false},
			{"a flipped bit", reply(s.Dst.Addr(), ident, 2, with(ownBytes+3)), ours, true},
			{"cut short", reply(s.Dst.Addr(), ident, 2, payload[:len(payload)-1]), ours, true},
			{"too long", reply(s.Dst.Addr(), ident, 2, append(slices.Clone(payload), 0)), ours, true},
		}
		for _, tt := range tests {
			t.Run(s.name()+" "+tt.name, func(t *testing.T) {
				var f found
				got := e.match(tt.r, &f)
				if got != tt.want || f.o.Corrupted != tt.corrupted || got == ours && f.serial != 2 {
					t.Errorf("fate %d, probe %d, corrupted %v", got, f.serial, f.o.Corrupted)
				}
			})
		}
		t.Run(s.name()+" broken checksum", func(t *testing.T) {
			r := reply(s.Dst.Addr(), ident, 2, payload)
			r.Data[len(r.Data)-1] ^= 1
			var f found
			if got := e.match(r, &f); got != malformed {
				t.Errorf("fate %d, want malformed", got)
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
}

// FuzzMatch: whatever arrives, nothing panics, and only a message that quotes or
// returns the token or a full tuple is ours.
func FuzzMatch(f *testing.F) {
	for _, s := range kinds {
		p := encode(f, s, 2)
		r := quoting(p, 1500)
		f.Add(r.Proto, r.Data)
	}
	f.Fuzz(func(t *testing.T, proto uint8, data []byte) {
		for _, s := range kinds {
			e := asked(t, s)
			r := rawsock.Reply{From: s.Dst.Addr(), To: s.Src.Addr(), Proto: proto, Data: data}
			var got found
			if e.match(&r, &got) == ours && e.table.get(got.serial) == nil {
				t.Errorf("answers probe %d, which was never sent", got.serial)
			}
		}
	})
}
