package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// TestQueriesAnyFields: for any fields, what is written is what is read.
func TestQueriesAnyFields(t *testing.T) {
	r := rng(t)
	for range 2000 {
		id, seq := uint16(r.Uint32()), uint16(r.Uint32())
		want := Times{r.Uint32(), r.Uint32(), r.Uint32()}
		m, err := ParseICMPv4(AppendTimestamp(nil, src4, dst4, TimestampReply4, id, seq, want))
		if got, ok := m.Times(); err != nil || !ok || got != want || m.ID() != id || m.Seq() != seq || m.Type() != TimestampReply4 || len(m.b) != 20 {
			t.Fatalf("timestamp %v %v %d %d, error %v", got, ok, m.ID(), m.Seq(), err)
		}
		mask := r.Uint32()
		m, err = ParseICMPv4(AppendMask(nil, src4, dst4, MaskReply4, id, seq, mask))
		if got, ok := m.Mask(); err != nil || !ok || got != mask || m.ID() != id || m.Seq() != seq || len(m.b) != 12 {
			t.Fatalf("mask %#x %v, error %v", got, ok, err)
		}
		for _, f := range families {
			code, state := uint8(r.Uint32()), uint8(r.Uint32())
			m, err = f.parseICMP(AppendExtEchoReply(nil, f.src, f.dst, code, id, uint8(seq), state))
			if err != nil || m.Code() != code || m.ID() != id || m.ExtSeq() != uint8(seq) || m.State() != state {
				t.Fatalf("%s: extended echo reply %d %d %d %#x, error %v", f.name, m.Code(), m.ID(), m.ExtSeq(), m.State(), err)
			}
		}
		nonce, flags, data, sum := r.Uint64(), uint16(r.Uint32()), randomBytes(r, r.IntN(40)), uint16(r.Uint32())
		b := AppendNode(nil, src6, dst6, NodeQuery6, 1, seq, flags, nonce, data, sum)
		m, err = ParseICMPv6(b, src6, dst6)
		qtype, gotFlags, gotNonce, gotData, ok := m.Node()
		if sum != 0 { // the nonce's second word makes it so
			gotNonce, nonce = gotNonce&^(0xffff<<32), nonce&^(0xffff<<32)
		}
		if err != nil || !ok || qtype != seq || gotFlags != flags || gotNonce != nonce || !bytes.Equal(gotData, data) || m.Code() != 1 || sum != 0 && u16(b, 2) != sum {
			t.Fatalf("node query %d %#x %#x %x %v, error %v", qtype, gotFlags, gotNonce, gotData, ok, err)
		}
	}
}

// TestExtEcho: what an extended echo asks about is read, and nothing else is taken for it.
func TestExtEcho(t *testing.T) {
	name, index, four, six := AppendInterfaceName(nil, "eth0.17"), AppendInterfaceIndex(nil, 7), AppendInterfaceAddr(nil, dst4), AppendInterfaceAddr(nil, dst6)
	if len(name) != 4+8 || binary.BigEndian.Uint16(name) != 12 {
		t.Errorf("name object % x: want it padded to 8 bytes, and that counted", name)
	}
	for _, f := range families {
		tests := []struct {
			name   string
			object []byte
			want   InterfaceID
			ok     bool
		}{
			{"name", name, InterfaceID{Name: []byte("eth0.17")}, true},
			{"index", index, InterfaceID{Index: 7}, true},
			{"IPv4 address", four, InterfaceID{Addr: dst4}, true},
			{"IPv6 address", six, InterfaceID{Addr: dst6}, true},
			{"nothing", nil, InterfaceID{}, false},
			{"two objects", cat(index, index), InterfaceID{Index: 7}, false},
			{"another class", AppendObject(nil, 2, 1, []byte("eth0")), InterfaceID{}, false},
			{"an empty name", AppendObject(nil, 3, 1, []byte{0, 0, 0, 0}), InterfaceID{}, false},
			{"an index of 2 bytes", AppendObject(nil, 3, 2, []byte{0, 1}), InterfaceID{}, false},
			{"an address cut short", AppendObject(nil, 3, 3, []byte{0, 1, 4, 0, 10, 0}), InterfaceID{}, false},
			{"an address of the wrong length", AppendObject(nil, 3, 3, []byte{0, 1, 16, 0, 10, 0, 0, 1}), InterfaceID{}, false},
		}
		for _, tt := range tests {
			t.Run(f.name+" "+tt.name, func(t *testing.T) {
				m, err := f.parseICMP(AppendExtEcho(nil, f.src, f.dst, 0x1234, 200, true, tt.object))
				if err != nil || m.ID() != 0x1234 || m.ExtSeq() != 200 {
					t.Fatalf("id %#x seq %d, error %v", m.ID(), m.ExtSeq(), err)
				}
				id, local, ok := m.ExtEcho()
				if ok != tt.ok || !local || ok && (string(id.Name) != string(tt.want.Name) || id.Index != tt.want.Index || id.Addr != tt.want.Addr) {
					t.Errorf("%+v local %v ok %v, want %+v, ok %v", id, local, ok, tt.want, tt.ok)
				}
			})
		}
	}
	b := AppendExtEcho(nil, src4, dst4, 1, 2, false, index)
	b[len(b)-1] ^= 1 // the structure's own checksum does not fit
	m, err := ParseICMPv4(families[0].resum(b))
	if _, local, ok := m.ExtEcho(); err != nil || local || ok {
		t.Errorf("a broken structure: local %v ok %v, error %v", local, ok, err)
	}
}

// TestXNetExtEcho: x/net writes the same bytes.
func TestXNetExtEcho(t *testing.T) {
	for _, f := range families {
		var ask, answer icmp.Type = ipv4.ICMPTypeExtendedEchoRequest, ipv4.ICMPTypeExtendedEchoReply
		var psh []byte
		if f.v6 {
			ask, answer = ipv6.ICMPTypeExtendedEchoRequest, ipv6.ICMPTypeExtendedEchoReply
			psh = icmp.IPv6PseudoHeader(f.src.AsSlice(), f.dst.AsSlice())
		}
		for _, tt := range []struct {
			name   string
			object []byte
			ident  icmp.InterfaceIdent
		}{
			{"name", AppendInterfaceName(nil, "eth0"), icmp.InterfaceIdent{Class: 3, Type: 1, Name: "eth0"}},
			{"index", AppendInterfaceIndex(nil, 911), icmp.InterfaceIdent{Class: 3, Type: 2, Index: 911}},
			{"IPv4 address", AppendInterfaceAddr(nil, dst4), icmp.InterfaceIdent{Class: 3, Type: 3, AFI: 1, Addr: dst4.AsSlice()}},
			{"IPv6 address", AppendInterfaceAddr(nil, dst6), icmp.InterfaceIdent{Class: 3, Type: 3, AFI: 2, Addr: dst6.AsSlice()}},
		} {
			theirs, err := (&icmp.Message{Type: ask, Body: &icmp.ExtendedEchoRequest{ID: 0xabcd, Seq: 7, Local: true, Extensions: []icmp.Extension{&tt.ident}}}).Marshal(bytes.Clone(psh))
			if err != nil {
				t.Fatal(err)
			}
			if ours := AppendExtEcho(nil, f.src, f.dst, 0xabcd, 7, true, tt.object); !bytes.Equal(ours, theirs) {
				t.Errorf("%s by %s: ours\n%x, x/net's\n%x", f.name, tt.name, ours, theirs)
			}
		}
		theirs, err := (&icmp.Message{Type: answer, Code: ExtEchoOK, Body: &icmp.ExtendedEchoReply{ID: 0xabcd, Seq: 7, State: 2, Active: true, IPv6: true}}).Marshal(bytes.Clone(psh))
		if err != nil {
			t.Fatal(err)
		}
		if ours := AppendExtEchoReply(nil, f.src, f.dst, ExtEchoOK, 0xabcd, 7, 2<<5|ExtEchoActive|ExtEchoIPv6); !bytes.Equal(ours, theirs) {
			t.Errorf("%s: ours\n%x, x/net's\n%x", f.name, ours, theirs)
		}
	}
}

// FuzzQueries: what is read of a query and written anew reads the same, and nothing is read past its end.
func FuzzQueries(f *testing.F) {
	f.Add(AppendTimestamp(nil, src4, dst4, Timestamp4, 1, 2, Times{3, 4, 5}), false)
	f.Add(AppendMask(nil, src4, dst4, MaskReply4, 1, 2, 0xffffff00), false)
	f.Add(AppendExtEcho(nil, src6, dst6, 1, 2, true, AppendInterfaceName(nil, "lo")), true)
	f.Add(AppendExtEcho(nil, src4, dst4, 1, 2, false, AppendInterfaceAddr(nil, dst6)), false)
	f.Add(AppendNode(nil, src6, dst6, NodeReply6, 0, 2, 1, 42, []byte("\x00\x00\x00\x00\x04host\x00"), 0), true)
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		if len(b) < headerICMP {
			return
		}
		fam := families[0]
		if v6 {
			fam = families[1]
		}
		b = fam.resum(bytes.Clone(b))
		m, err := fam.parseICMP(b)
		if err != nil {
			t.Fatal(err)
		}
		touchICMP(m)
		if x, ok := m.Times(); ok != (len(b) >= 20) || ok && !bytes.Equal(AppendTimestamp(nil, fam.src, fam.dst, b[0], m.ID(), m.Seq(), x)[4:], b[4:20]) {
			t.Fatalf("times %+v, %v", x, ok)
		}
		if x, ok := m.Mask(); ok != (len(b) >= 12) || ok && !bytes.Equal(AppendMask(nil, fam.src, fam.dst, b[0], m.ID(), m.Seq(), x)[4:], b[4:12]) {
			t.Fatalf("mask %#x, %v", x, ok)
		}
		if id, local, ok := m.ExtEcho(); ok {
			var o []byte
			switch {
			case id.Name != nil:
				o = AppendInterfaceName(nil, string(id.Name))
			case id.Addr.IsValid():
				o = AppendInterfaceAddr(nil, id.Addr)
			default:
				o = AppendInterfaceIndex(nil, id.Index)
			}
			again, err := fam.parseICMP(AppendExtEcho(nil, fam.src, fam.dst, m.ID(), m.ExtSeq(), local, o))
			if err != nil {
				t.Fatal(err)
			}
			if id2, local2, ok := again.ExtEcho(); !ok || local2 != local || !bytes.Equal(id2.Name, id.Name) || id2.Index != id.Index || id2.Addr != id.Addr {
				t.Fatalf("written anew %+v %v %v, was %+v", id2, local2, ok, id)
			}
		}
		qtype, flags, nonce, data, ok := m.Node()
		if ok != (len(b) >= 16) {
			t.Fatalf("%d bytes: node message %v", len(b), ok)
		}
		if ok && v6 && !bytes.Equal(AppendNode(nil, fam.src, fam.dst, b[0], b[1], qtype, flags, nonce, data, 0), b) {
			t.Fatal("a node message is written anew as another")
		}
	})
}

// TestDCCPAnyFields: for any fields, what is written is what is read, and valid, with a chosen checksum too.
func TestDCCPAnyFields(t *testing.T) {
	r := rng(t)
	for _, f := range families {
		for range 2000 {
			src, dst := port(randomAddr(r, f.v6), uint16(r.Uint32())), port(randomAddr(r, f.v6), uint16(r.Uint32()))
			want := DCCPFields{Type: []uint8{DCCPRequest, DCCPResponse, DCCPReset}[r.IntN(3)], Seq: r.Uint64() & maskSeq}
			if want.Type != DCCPRequest {
				want.Ack = r.Uint64() & maskSeq
			}
			if want.Type == DCCPReset {
				want.Reset = uint8(r.Uint32())
			} else {
				want.Service = r.Uint32()
			}
			data, sum := randomBytes(r, r.IntN(30)), uint16(r.Uint32())
			b := AppendDCCP([]byte("odd"), src, dst, want, data, sum)[3:]
			d, err := ParseDCCP(b)
			if err != nil {
				t.Fatal(err)
			}
			seq, ok := d.Seq()
			got := DCCPFields{d.Type(), seq, d.Ack(), d.Service(), d.ResetCode()}
			if sum != 0 {
				got.Seq, want.Seq = got.Seq&^(0xffff<<16), want.Seq&^(0xffff<<16)
			}
			if !ok || got != want || d.Src() != src.Port() || d.Dst() != dst.Port() || !bytes.Equal(d.Payload(), data) {
				t.Fatalf("read %+v, data %x, want %+v, %x", got, d.Payload(), want, data)
			}
			if !d.Valid(src.Addr(), dst.Addr()) || sum != 0 && d.Checksum() != sum {
				t.Fatalf("checksum %#04x of %#04x, valid %v", d.Checksum(), sum, d.Valid(src.Addr(), dst.Addr()))
			}
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			if d.Valid(src.Addr(), dst.Addr()) && b[5]&0x0f == 0 {
				t.Fatal("a flipped bit goes unseen")
			}
		}
	}
}

// FuzzParseDCCP: a header that is read is all there, cut to 8 bytes it is a quote that says the same of ports and checksum, and
// written anew it is the same bytes but for those we do not read.
func FuzzParseDCCP(f *testing.F) {
	for _, typ := range []uint8{DCCPRequest, DCCPResponse, DCCPReset} {
		f.Add(AppendDCCP(nil, port(src4, 5001), port(dst4, 5002), DCCPFields{Type: typ, Seq: 1 << 47, Ack: 9, Service: 42, Reset: 3}, []byte("data"), 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ParseDCCPQuote(b)
		if (err == nil) != (len(b) >= 8) {
			t.Fatalf("quote of %d bytes: error %v", len(b), err)
		}
		touchDCCP(q, src4, dst4)
		d, err := ParseDCCP(b)
		if err != nil {
			wantOneOf(t, err, b, ErrShort, ErrLength, ErrType)
			return
		}
		cut, err := ParseDCCPQuote(b[:8])
		if err != nil || cut.Src() != d.Src() || cut.Dst() != d.Dst() || cut.Checksum() != d.Checksum() {
			t.Fatalf("cut to 8 bytes: %d %d %#x, %v", cut.Src(), cut.Dst(), cut.Checksum(), err)
		}
		seq, _ := d.Seq()
		again := AppendDCCP(nil, port(src4, d.Src()), port(dst4, d.Dst()), DCCPFields{d.Type(), seq, d.Ack(), d.Service(), d.ResetCode()}, d.Payload(), 0)
		v, err := ParseDCCP(again)
		if err != nil || !v.Valid(src4, dst4) || !bytes.Equal(v.Payload(), d.Payload()) {
			t.Fatalf("written anew: valid %v, error %v", v.Valid(src4, dst4), err)
		}
		if s, _ := v.Seq(); s != seq || v.Ack() != d.Ack() || v.Service() != d.Service() || v.ResetCode() != d.ResetCode() {
			t.Fatal("written anew it reads differently")
		}
	})
}

// TestUDPLite: RFC 3828 section 3.1 on coverage and checksum.
func TestUDPLite(t *testing.T) {
	for _, f := range families {
		b := AppendUDPLite(nil, port(f.src, 1), port(f.dst, 2), []byte("some payload"), 0xbeef)
		u, err := ParseUDP(b)
		if err != nil || !u.ValidLite(f.src, f.dst) || u.Checksum() != 0xbeef || u.Length() != len(b) || u.Valid(f.src, f.dst) {
			t.Fatalf("%s: %v, checksum %#x, coverage %d", f.name, err, u.Checksum(), u.Length())
		}
		binary.BigEndian.PutUint16(b[4:], 0)
		binary.BigEndian.PutUint16(b[6:], ^fold(uint64(^uint16(0xbeef))-uint64(len(b))+0xffff))
		if !u.ValidLite(f.src, f.dst) {
			t.Errorf("%s: a coverage of 0 is all of it", f.name)
		}
		for _, n := range []uint16{1, 7, uint16(len(b)) + 1} {
			binary.BigEndian.PutUint16(b[4:], n)
			if u.ValidLite(f.src, f.dst) {
				t.Errorf("%s: a coverage of %d is none", f.name, n)
			}
		}
		c := AppendUDPLite(nil, port(f.src, 1), port(f.dst, 2), []byte("12345678"), 0)
		c[6], c[7] = 0, 0
		if v, _ := ParseUDP(c); v.ValidLite(f.src, f.dst) {
			t.Errorf("%s: without checksum", f.name)
		}
	}
}

// TestTCPOptions: whatever is left out, an ordinary option parser reads what is there, in whole words.
func TestTCPOptions(t *testing.T) {
	for set := range 16 {
		o := TCPOptions{SACK: set&2 != 0, Timestamps: set&4 != 0, TSval: 0x01020304, TSecr: 5}
		if set&1 != 0 {
			o.MSS = 1220
		}
		if set&8 != 0 {
			o.WindowScale = 7
		}
		b := AppendTCPOptions(nil, o)
		if len(b)%4 != 0 || len(b) > 20 {
			t.Errorf("%+v: %d bytes", o, len(b))
		}
		var got TCPOptions
		for c := b; len(c) > 0; {
			if c[0] == 1 {
				c = c[1:]
				continue
			}
			switch d := c[2:c[1]]; c[0] {
			case 2:
				got.MSS = binary.BigEndian.Uint16(d)
			case 3:
				got.WindowScale = d[0]
			case 4:
				got.SACK = true
			case 8:
				got.Timestamps, got.TSval, got.TSecr = true, binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:])
			}
			c = c[c[1]:]
		}
		if !o.Timestamps {
			o.TSval, o.TSecr = 0, 0
		}
		if got != o {
			t.Errorf("% x reads %+v, want %+v", b, got, o)
		}
	}
}

var gateways4 = []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("192.0.2.9")}

// TestOptions: what is built is what the walk finds.
func TestOptions(t *testing.T) {
	b := cat(AppendSourceRoute(nil, false, gateways4), AppendTimestampOption(nil, StampsSpecified, gateways4[:2], 0))
	if len(b)%4 != 0 {
		t.Errorf("%d bytes", len(b))
	}
	all := touchOptions(b)
	if len(all) != 2 || all[0].Type() != OptLooseRoute || all[1].Type() != OptTimestamp {
		t.Fatalf("found %v", all)
	}
	for i, want := range gateways4 {
		if a, passed, ok := all[0].Route(i); a != want || passed || !ok {
			t.Errorf("address %d: %v passed %v ok %v, want %v", i, a, passed, ok, want)
		}
	}
	if _, _, ok := all[0].Route(3); ok {
		t.Error("a fourth address")
	}
	b[1+2] += 4 // the pointer: the first has been visited
	if _, passed, _ := all[0].Route(0); !passed {
		t.Error("the first address is not passed")
	}
	if _, passed, _ := all[0].Route(1); passed {
		t.Error("the second address is passed")
	}
	b = AppendTimestampOption(nil, StampsAddrs, nil, 4)
	copy(b[4:], "\x0a\x00\x01\x01\x00\x00\x00\x07")
	b[2], b[3] = 13, b[3]|5<<4
	ts := touchOptions(b)[0]
	if s, ok := ts.Stamp(0); !ok || s != (Stamp{gateways4[0], 7, true}) {
		t.Errorf("stamp %+v %v", s, ok)
	}
	if s, ok := ts.Stamp(1); !ok || s.Set {
		t.Errorf("stamp %+v %v, want one that is not set", s, ok)
	}
	if _, ok := ts.Stamp(4); ok || ts.Overflow() != 5 {
		t.Errorf("a fifth stamp, overflow %d", ts.Overflow())
	}
	if s, ok := touchOptions(AppendTimestampOption(nil, StampsOnly, nil, 9))[0].Stamp(8); !ok || s.Addr.IsValid() {
		t.Errorf("stamp %+v %v", s, ok)
	}
	if n := len(AppendRecordRoute(nil, 9)); n != 40 {
		t.Errorf("a record route of 9 has %d bytes", n)
	}
	for name, f := range map[string]func(){
		"ten addresses":   func() { AppendRecordRoute(nil, 10) },
		"ten stamps":      func() { AppendTimestampOption(nil, StampsOnly, nil, 10) },
		"five with names": func() { AppendTimestampOption(nil, StampsAddrs, nil, 5) },
		"a long routing":  func() { AppendRouting(nil, 2, make([]netip.Addr, 128)) },
		"a false routing": func() { AppendIPv6(nil, IPv6{Src: src6, Dst: dst6, Routing: make([]byte, 16)}, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// FuzzOptions: the walk ends, what it finds lies in order and apart, and a packet with such options reads whole.
func FuzzOptions(f *testing.F) {
	f.Add(AppendRecordRoute(nil, 9))
	f.Add(AppendSourceRoute(nil, true, gateways4))
	f.Add(AppendTimestampOption(nil, StampsAddrs, nil, 4))
	f.Add([]byte{7, 0, 4})
	f.Add([]byte{131, 255, 4, 0})
	f.Add(bytes.Repeat([]byte{1}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		all := touchOptions(b)
		rest := b[:min(len(b), 40)]
		for _, o := range all {
			if len(o.b) < 2 || len(o.Data()) != len(o.b)-2 {
				t.Fatalf("option % x", o.b)
			}
			rest = bytes.TrimLeft(rest, "\x01")
			if !bytes.HasPrefix(rest, o.b) {
				t.Fatalf("option % x, next are % x", o.b, rest)
			}
			rest = rest[len(o.b):]
		}
		if len(b) > 40 {
			return
		}
		p, err := ParseIP(AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, Options: b}, 0))
		if err != nil {
			t.Fatal(err)
		}
		if !p.FinalDst().Is4() || len(touchOptions(p.Options())) < len(all) {
			t.Fatalf("final destination %v", p.FinalDst())
		}
	})
}

// TestSourceRoutes: the checksums of transports are over where a packet goes in the end.
func TestSourceRoutes(t *testing.T) {
	six := []netip.Addr{netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::b"), dst6}
	four := func(options []byte) []byte {
		return AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, Proto: ProtoUDP, Options: options}, 0)
	}
	routed := func(typ, left uint8) []byte {
		h := AppendRouting(nil, typ, six)
		h[3] = left
		return AppendIPv6(nil, IPv6{Src: src6, Dst: src6, Next: ProtoNone, Routing: h}, 0)
	}
	pointed := func(at uint8) []byte {
		o := AppendSourceRoute(nil, true, gateways4)
		o[3] = at
		return four(o)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want netip.Addr
	}{
		{"no route", four(nil), dst4},
		{"loose", four(AppendSourceRoute(nil, false, gateways4)), gateways4[2]},
		{"strict, behind another option", four(cat(AppendRecordRoute(nil, 1), AppendSourceRoute(nil, true, gateways4))), gateways4[2]},
		{"used up", pointed(16), dst4},
		{"a pointer to nowhere", pointed(0), dst4},
		{"type 2", routed(2, 3), dst6},
		{"segments", routed(4, 3), dst6},
		{"used up", routed(2, 0), src6},
		{"more than there are", routed(2, 4), src6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParseIP(tt.b)
			if err != nil || p.FinalDst() != tt.want {
				t.Errorf("%v, want %v; error %v", p.FinalDst(), tt.want, err)
			}
		})
	}
	p, err := ParseIP(routed(2, 3))
	if err != nil || p.Proto() != ProtoNone || len(p.Header()) != 40+8+48 {
		t.Errorf("protocol %d behind %d bytes, error %v", p.Proto(), len(p.Header()), err)
	}
	for typ, want := range map[uint8]int{2: 8, 4: 8 + 32} {
		p, _ := ParseIP(routed(typ, 3))
		if b, next := p.SourceRoute(); next != want || netip.AddrFrom16([16]byte(b[next:])) != six[0] {
			t.Errorf("type %d: the next is at %d, want %d", typ, next, want)
		}
	}
}

// TestNewViewsDoNotAllocate holds the package's promise for what is here.
func TestNewViewsDoNotAllocate(t *testing.T) {
	buf, object := make([]byte, 0, 128), AppendInterfaceIndex(nil, 7)
	route := AppendSourceRoute(nil, false, gateways4)
	for name, run := range map[string]func(){
		"timestamp": func() {
			m, _ := ParseICMPv4(AppendTimestamp(buf, src4, dst4, Timestamp4, 1, 2, Times{}))
			m.Times()
		},
		"mask":          func() { m, _ := ParseICMPv4(AppendMask(buf, src4, dst4, Mask4, 1, 2, 3)); m.Mask() },
		"extended echo": func() { m, _ := ParseICMPv4(AppendExtEcho(buf, src4, dst4, 1, 2, true, object)); m.ExtEcho() },
		"node": func() {
			m, _ := ParseICMPv6(AppendNode(buf, src6, dst6, NodeQuery6, 0, 2, 0, 1, nil, 7), src6, dst6)
			m.Node()
		},
		"DCCP": func() {
			d, _ := ParseDCCP(AppendDCCP(buf, port(src4, 1), port(dst4, 2), DCCPFields{}, nil, 7))
			d.Seq()
		},
		"UDP-Lite": func() {
			u, _ := ParseUDP(AppendUDPLite(buf, port(src4, 1), port(dst4, 2), object, 7))
			u.ValidLite(src4, dst4)
		},
		"options": func() {
			w := WalkOptions(AppendSourceRoute(buf, false, gateways4))
			o, _ := w.Next()
			o.Route(0)
		},
		"packet": func() { p, _ := ParseIP(AppendIPv4(buf, IPv4{Src: src4, Dst: dst4, Options: route}, 0)); p.FinalDst() },
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestRedirect6 reads what a router tells of a better first hop (RFC 4861 section 4.5): the quote is in an option.
func TestRedirect6(t *testing.T) {
	quote := families[1].probe(9)
	link := []byte{2, 1, 1, 2, 3, 4, 5, 6} // the target's link-layer address
	redirected := func(n int) []byte {
		padded := append(bytes.Clone(quote), make([]byte, n*8-8-len(quote))...)
		return cat([]byte{4, uint8(n), 0, 0, 0, 0, 0, 0}, padded)
	}
	whole := redirected((8 + len(quote) + 7) / 8)
	for _, tt := range []struct {
		name    string
		options []byte
		ok      bool
	}{
		{"first", whole, true},
		{"behind another", cat(link, whole), true},
		{"none", nil, false},
		{"another alone", link, false},
		{"a length of 0", cat([]byte{2, 0, 0, 0, 0, 0, 0, 0}, whole), false},
		{"longer than there is", whole[:len(whole)-8], false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseICMPv6(AppendICMP(nil, src6, dst6, Redirect6, 0, 0, cat(src6.AsSlice(), dst6.AsSlice(), tt.options), 0), src6, dst6)
			if err != nil || !m.IsError() || m.Gateway() != src6 {
				t.Fatalf("error message %v, gateway %v, error %v", m.IsError(), m.Gateway(), err)
			}
			q, err := m.Quote()
			if (err == nil) != tt.ok || tt.ok && !bytes.Equal(q.Bytes(), quote) {
				t.Errorf("quote %x, error %v", q.Bytes(), err)
			}
		})
	}
	m, err := ParseICMPv4(AppendError(nil, src4, dst4, Redirect4, 1, 0x0a000101, families[0].probe(9), nil))
	if q, qerr := m.Quote(); err != nil || qerr != nil || m.Gateway() != gateways4[0] || q.Dst() != dst4 {
		t.Errorf("gateway %v, errors %v, %v", m.Gateway(), err, qerr)
	}
}
