package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gtrace/internal/wire"
)

// kinds are one probe of each kind, with a constant flow where there is a choice. The first six are the most used.
var kinds = []Spec{
	{Proto: UDP, Src: addrPort("192.0.2.1:40000"), Dst: addrPort("198.51.100.9:33434"), Size: 60},
	{Proto: ICMP, Src: addrPort("192.0.2.1:513"), Dst: addrPort("198.51.100.9:4660"), Size: 60},
	{Proto: TCP, Src: addrPort("192.0.2.1:40000"), Dst: addrPort("198.51.100.9:80")},
	{Proto: UDP, Src: addrPort("[2001:db8::1]:40000"), Dst: addrPort("[2001:db8::9]:33434"), Size: 80, Label: 0xabcde},
	{Proto: ICMP, Src: addrPort("[2001:db8::1]:513"), Dst: addrPort("[2001:db8::9]:4660"), Size: 80, Label: 0xabcde},
	{Proto: TCP, Src: addrPort("[2001:db8::1]:40000"), Dst: addrPort("[2001:db8::9]:80"), Label: 0xabcde},

	{Proto: UDPLite, Src: addrPort("192.0.2.1:40000"), Dst: addrPort("198.51.100.9:33434"), Size: 60},
	{Proto: DCCP, Src: addrPort("192.0.2.1:40000"), Dst: addrPort("198.51.100.9:33434")},
	{Proto: Raw, Number: 253, Src: addrPort("192.0.2.1:0"), Dst: addrPort("198.51.100.9:0"), Size: 60},
	{Proto: Timestamp, Src: addrPort("192.0.2.1:513"), Dst: addrPort("198.51.100.9:0")},
	{Proto: Mask, Src: addrPort("192.0.2.1:513"), Dst: addrPort("198.51.100.9:0")},
	{Proto: ExtEcho, Src: addrPort("192.0.2.1:513"), Dst: addrPort("198.51.100.9:0"), Query: Query{Data: eth0}},
	{Proto: UDPLite, Src: addrPort("[2001:db8::1]:40000"), Dst: addrPort("[2001:db8::9]:33434"), Size: 80, Label: 0xabcde},
	{Proto: DCCP, Src: addrPort("[2001:db8::1]:40000"), Dst: addrPort("[2001:db8::9]:33434"), Size: 80, Label: 0xabcde},
	{Proto: Raw, Number: 253, Src: addrPort("[2001:db8::1]:0"), Dst: addrPort("[2001:db8::9]:0"), Size: 80, Label: 0xabcde},
	{Proto: ExtEcho, Src: addrPort("[2001:db8::1]:513"), Dst: addrPort("[2001:db8::9]:0"), Query: Query{Data: eth0, Flags: 1}, Label: 0xabcde},
	{Proto: NodeInfo, Src: addrPort("[2001:db8::1]:513"), Dst: addrPort("[2001:db8::9]:0"), Query: Query{Type: 2, Data: "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"}, Label: 0xabcde},
	{Proto: UDPLite, Src: addrPort("192.0.2.1:40001"), Dst: addrPort("198.51.100.9:33434"), Size: 60, Coverage: 20},
	{Proto: UDPLite, Src: addrPort("[2001:db8::1]:40001"), Dst: addrPort("[2001:db8::9]:33434"), Size: 80, Coverage: 10, Label: 0xabcde},
	{Proto: DCCP, Src: addrPort("192.0.2.1:40001"), Dst: addrPort("198.51.100.9:33434"), Service: 0x70696e67},
	{Proto: TCP, Src: addrPort("192.0.2.1:40001"), Dst: addrPort("198.51.100.9:80"), Segment: Segment{Flags: wire.ACK}},
	{Proto: TCP, Src: addrPort("[2001:db8::1]:40001"), Dst: addrPort("[2001:db8::9]:80"), Segment: Segment{Flags: wire.FIN | wire.PSH | wire.URG, Bare: NoTimestamps}, Label: 0xabcde},
	{Proto: UDP, Content: DNSQuery, Src: addrPort("192.0.2.1:40001"), Dst: addrPort("198.51.100.9:53")},
	{Proto: UDP, Content: QUICInitial, Src: addrPort("192.0.2.1:40001"), Dst: addrPort("198.51.100.9:443")},
	{Proto: UDP, Content: DNSQuery, Src: addrPort("[2001:db8::1]:40001"), Dst: addrPort("[2001:db8::9]:53"), Label: 0xabcde},
	{Proto: UDP, Content: QUICInitial, Src: addrPort("[2001:db8::1]:40001"), Dst: addrPort("[2001:db8::9]:443"), Label: 0xabcde},
}

var eth0 = string(wire.AppendInterfaceName(nil, "eth0"))

// constant reports whether a probe of that kind has a flow that routers which look at the first 4 bytes of any transport take for one.
func (s Spec) constant() bool {
	switch s.Proto {
	case Raw, Timestamp, Mask, ExtEcho, NodeInfo: // its checksum, or in Raw its id, stands there
		return false
	}
	return true
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func (s Spec) name() string {
	name := fmt.Sprintf("%v over IPv%d", s.Proto, map[bool]int{false: 4, true: 6}[s.Dst.Addr().Is6()])
	if s.Content != OwnContent {
		name = s.Content.String() + " by " + name
	}
	if s.Coverage != 0 {
		name += fmt.Sprintf(" covering %d", s.Coverage)
	}
	if s.Segment != (Segment{}) {
		name += fmt.Sprintf(" with flags %#x", s.Segment.Flags)
	}
	return name
}

const (
	testToken = 0xdecafbad
	testTime  = 12345678 // milliseconds since midnight
)

func encode(t testing.TB, s Spec, n uint32) wire.IP {
	t.Helper()
	c := codec{token: testToken}
	b, err := c.appendPacket(nil, &s, n, idOf(n, c.firstID(&s), idSpace(s.Proto)), testTime)
	if err != nil {
		t.Fatal(err)
	}
	p, err := wire.ParseIP(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// T21: whatever a router may hash stays the same over a flow; what tells probes
// apart does not.
func TestFlowIsConstant(t *testing.T) {
	for _, s := range kinds {
		if !s.constant() {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			hashed := func(p wire.IP) string {
				return fmt.Sprint(p.Src(), p.Dst(), p.Proto(), p.TOS(), p.Label(), p.Length(), p.Transport()[:4])
			}
			first := encode(t, s, 1)
			told := make(map[string]bool)
			for n := uint32(1); n <= 300; n++ {
				s.TTL = uint8(n)
				p := encode(t, s, n)
				if got, want := hashed(p), hashed(first); got != want {
					t.Fatalf("probe %d: flow %s, want %s", n, got, want)
				}
				if p.TTL() != s.TTL {
					t.Fatalf("TTL %d, want %d", p.TTL(), s.TTL)
				}
				told[string(p.Transport()[4:8])] = true
			}
			if len(told) != 300 {
				t.Errorf("%d of 300 probes can be told apart by 8 bytes of transport", len(told))
			}
		})
	}
}

func TestProbesAreValidPackets(t *testing.T) {
	for _, s := range kinds {
		least, most := SizesOf(&s)
		if s.Segment == (Segment{}) && s.Query.Data == "" && s.Content == OwnContent {
			if l, m := Sizes(s.Proto, s.Dst.Addr().Is6(), true); l != least || m != most {
				t.Errorf("%s: Sizes %d to %d, SizesOf %d to %d", s.name(), l, m, least, most)
			}
		}
		for _, size := range []int{0, least, 100, 1500} {
			if size > most || size != 0 && size < least {
				continue
			}
			s.Size, s.TTL, s.TOS, s.DF = size, 7, 0xb9, true
			t.Run(fmt.Sprintf("%s of %d", s.name(), size), func(t *testing.T) {
				p := encode(t, s, 3)
				want := max(size, least)
				if p.Length() != want || len(p.Bytes()) != want {
					t.Errorf("length %d (%d bytes), want %d", p.Length(), len(p.Bytes()), want)
				}
				if p.Src() != s.Src.Addr() || p.Dst() != s.Dst.Addr() || p.TOS() != 0xb9 || p.Label() != s.Label {
					t.Errorf("header %v > %v TOS %#x label %#x", p.Src(), p.Dst(), p.TOS(), p.Label())
				}
				if p.Version() == 4 && (!p.DF() || p.ID() == 0) {
					t.Errorf("DF %v, ID %d; the kernel fills in an ID of 0", p.DF(), p.ID())
				}
				l4 := p.Transport()
				switch s.Proto {
				case UDP:
					u, err := wire.ParseUDP(l4)
					if err != nil || !u.Valid(p.Src(), p.Dst()) || u.Checksum() == 0 {
						t.Errorf("UDP %v: checksum %#x is not right", err, u.Checksum())
					}
					if u.Src() != s.Src.Port() || u.Dst() != s.Dst.Port() {
						t.Errorf("ports %d > %d", u.Src(), u.Dst())
					}
					if s.Content != OwnContent && (u.Checksum() != idOf(3, (&codec{token: testToken}).firstID(&s), ids) || len(u.Payload()) != s.Content.size()) {
						t.Errorf("checksum %#x, payload of %d bytes", u.Checksum(), len(u.Payload()))
					}
				case TCP:
					tc, err := wire.ParseTCP(l4)
					want := s.Segment.Flags
					if want == 0 {
						want = wire.SYN
					}
					if err != nil || !tc.Valid(p.Src(), p.Dst()) || tc.Flags() != want || tc.Window() < 1024 {
						t.Errorf("TCP %v flags %#x window %d", err, tc.Flags(), tc.Window())
					}
					if ack := want&wire.ACK != 0; ack && tc.Ack() != tc.Seq() || !ack && tc.Ack() != 0 {
						t.Errorf("sequence number %#x acknowledges %#x", tc.Seq(), tc.Ack())
					}
					if got := uint16(tc.Seq() >> 16); got != testToken&0xffff {
						t.Errorf("sequence number %#x lacks the token", tc.Seq())
					}
				case UDPLite:
					u, err := wire.ParseUDP(l4)
					if err != nil || !u.ValidLite(p.Src(), p.Dst()) || u.Src() != s.Src.Port() || u.Dst() != s.Dst.Port() {
						t.Errorf("UDP-Lite %v: checksum %#x is not right", err, u.Checksum())
					}
					if cover := int(s.Coverage); u.Length() != len(l4) && (cover == 0 || u.Length() != min(cover, len(l4))) {
						t.Errorf("covers %d of %d bytes", u.Length(), len(l4))
					}
				case DCCP:
					d, err := wire.ParseDCCP(l4)
					if err != nil || !d.Valid(p.Src(), p.Dst()) || d.Type() != wire.DCCPRequest || d.Src() != s.Src.Port() || d.Dst() != s.Dst.Port() || d.Service() != s.Service {
						t.Errorf("DCCP %v: type %d, checksum %#x", err, d.Type(), d.Checksum())
					}
					if seq, _ := d.Seq(); seq>>32 != testToken&0xffff || uint16(seq) != d.Checksum() {
						t.Errorf("sequence number %#x lacks the token or the id %#x", seq, d.Checksum())
					}
				case Raw:
					if w := readWitness(l4, OwnContent); p.Proto() != s.Number || w.token != testToken || w.id == 0 {
						t.Errorf("protocol %d, witness %+v", p.Proto(), w)
					}
				case Timestamp, Mask, ExtEcho, NodeInfo:
					m, err := wire.ParseICMPv4(l4)
					if p.Version() == 6 {
						m, err = wire.ParseICMPv6(l4, p.Src(), p.Dst())
					}
					if err != nil {
						t.Fatal(err)
					}
					ident, seq, typ := m.ID(), m.Seq(), uint8(0)
					switch s.Proto {
					case Timestamp:
						x, _ := m.Times()
						if typ = wire.Timestamp4; x != (wire.Times{Originate: testTime}) {
							t.Errorf("times %+v", x)
						}
					case Mask:
						typ = wire.Mask4
					case ExtEcho:
						id, local, ok := m.ExtEcho()
						if !ok || string(id.Name) != "eth0" || local != (s.Query.Flags == 1) {
							t.Errorf("asks about %+v, local %v, %v", id, local, ok)
						}
						typ, seq = wire.ExtEcho4, uint16(m.ExtSeq())
						if p.Version() == 6 {
							typ = wire.ExtEcho6
						}
					case NodeInfo:
						qtype, _, nonce, data, ok := m.Node()
						if !ok || qtype != 2 || string(data) != s.Query.Data {
							t.Errorf("query type %d, subject %x, %v", qtype, data, ok)
						}
						if sum := binary.BigEndian.Uint16(l4[2:]); sum != uint16(nonce) {
							t.Errorf("nonce %#x, checksum %#x", nonce, sum)
						}
						typ, ident, seq = wire.NodeQuery6, uint16(nonce>>48), 3
					}
					if m.Type() != typ || ident != s.Src.Port() || seq != 3 {
						t.Errorf("type %d, id %d, seq %d", m.Type(), ident, seq)
					}
				case ICMP:
					m, err := wire.ParseICMPv4(l4)
					if p.Version() == 6 {
						m, err = wire.ParseICMPv6(l4, p.Src(), p.Dst())
					}
					if err != nil || m.ID() != s.Src.Port() || m.Seq() != 3 {
						t.Errorf("echo %v id %d seq %d", err, m.ID(), m.Seq())
					}
				}
			})
		}
	}
}

func TestPatternFillsBehindOurOwnBytes(t *testing.T) {
	s := kinds[1]
	s.Pattern, s.Size = "\xff\x00\xaa", 20+8+20
	p := encode(t, s, 1).Transport()[8:]
	if got, want := string(p[ownBytes:]), "\xff\x00\xaa\xff\x00\xaa\xff\x00"; got != want {
		t.Errorf("pattern %x, want %x", got, want)
	}
	if got := readWitness(p, OwnContent); got.token != testToken || got.number != 1 {
		t.Errorf("witness %+v", got)
	}
}

func TestImpossibleSpecs(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Spec)
	}{
		{"one byte too small", func(s *Spec) { s.Size = 29 }},
		{"larger than any packet", func(s *Spec) { s.Size = 65536 }},
		{"a SYN with a payload", func(s *Spec) { s.Proto, s.Size = TCP, 61 }},
		{"source of the other family", func(s *Spec) { s.Src = addrPort("[2001:db8::1]:40000") }},
		{"source left to the kernel", func(s *Spec) { s.Src = addrPort("0.0.0.0:40000") }},
		{"no source", func(s *Spec) { s.Src = netip.AddrPort{} }},
		{"no protocol", func(s *Spec) { s.Proto = 0 }},
		{"an unknown protocol", func(s *Spec) { s.Proto = NodeInfo + 1 }},
		{"IPv4 options of 3 bytes", func(s *Spec) { s.Options = "\x07\x03\x04" }},
		{"IPv4 options of 44 bytes", func(s *Spec) { s.Options = strings.Repeat("\x01", 44) }},
		{"too small for its options", func(s *Spec) { s.Options, s.Size = "\x01\x01\x01\x01", 33 }},
		{"a gateway of the other family", func(s *Spec) { s.Via = netip.IPv6LinkLocalAllNodes() }},
		{"a checksum over the header alone", func(s *Spec) { s.Proto, s.Coverage = UDPLite, 8 }},
		{"raw of no protocol", func(s *Spec) { s.Proto = Raw }},
		{"a timestamp of another size", func(s *Spec) { s.Proto = Timestamp }},
		{"a timestamp over IPv6", func(s *Spec) { *s = kinds[4]; s.Proto, s.Size = Timestamp, 0 }},
		{"a mask over IPv6", func(s *Spec) { *s = kinds[4]; s.Proto, s.Size = Mask, 0 }},
		{"node information over IPv4", func(s *Spec) { s.Proto, s.Size = NodeInfo, 0 }},
		{"an object beyond any packet", func(s *Spec) { s.Proto, s.Size, s.Query.Data = ExtEcho, 0, strings.Repeat("x", 65535) }},
		{"a first sequence number beyond 8 bits", func(s *Spec) { s.Proto, s.Size, s.First = ExtEcho, 0, 256 }},
		{"a first sequence number of all ones", func(s *Spec) { s.Proto, s.First = ICMP, 0xffff }},
		{"a query by UDP-Lite", func(s *Spec) { s.Proto, s.Size, s.Content = UDPLite, 0, DNSQuery }},
		{"a query by ICMP", func(s *Spec) { s.Proto, s.Size, s.Content = ICMP, 0, DNSQuery }},
		{"a query of another size", func(s *Spec) { s.Content = DNSQuery }},
		{"a query with a pattern", func(s *Spec) { s.Size, s.Content, s.Pattern = 0, DNSQuery, "x" }},
		{"a QUIC packet of another size", func(s *Spec) { s.Size, s.Content = 20+8+1201, QUICInitial }},
		{"an unknown content", func(s *Spec) { s.Size, s.Content = 0, QUICInitial+1 }},
		{"a routing header of another length", func(s *Spec) { *s = kinds[3]; s.Options = "\x00\x02\x02\x01\x00\x00\x00\x00" }},
		{"raw of an extension header", func(s *Spec) { *s = kinds[3]; s.Proto, s.Number = Raw, wire.ProtoFragment }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := kinds[0]
			tt.edit(&s)
			c := codec{token: testToken}
			if b, err := c.appendPacket(nil, &s, 1, 1, 0); err == nil {
				t.Errorf("built % x", b)
			}
		})
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	for _, s := range kinds {
		c := codec{token: testToken}
		buf := make([]byte, 0, 128)
		run := func() { buf, _ = c.appendPacket(buf[:0], &s, 9, 9, 0) }
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", s.name(), n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, s := range kinds {
		b.Run(s.name(), func(b *testing.B) {
			c := codec{token: testToken}
			buf := make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = c.appendPacket(buf[:0], &s, 9, 9, 0)
			}
		})
	}
}

func TestTimeOfDay(t *testing.T) {
	for at, want := range map[time.Time]uint32{
		time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC):                                   0,
		time.Date(2026, 5, 4, 23, 59, 59, 999e6, time.UTC):                            msPerDay - 1,
		time.Date(2026, 5, 4, 2, 30, 0, 5e6, time.FixedZone("somewhere", 2*60*60+60)): 29*60*1000 + 5,
		time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC):                              msPerDay - 1000,
	} {
		if got := timeOfDay(at); got != want {
			t.Errorf("%v: %d, want %d", at, got, want)
		}
	}
}

// The first number of a flow is what a spec says, of those that have one.
func TestFirstSequenceNumber(t *testing.T) {
	c := codec{token: testToken}
	for _, s := range kinds {
		s.First = 200
		id := idOf(1, c.firstID(&s), idSpace(s.Proto))
		want := id == 200
		switch s.Proto {
		case ICMP, Timestamp, Mask, ExtEcho:
			if !want {
				t.Errorf("%s: the first is %d, want 200", s.name(), id)
			}
			if id := idOf(57, c.firstID(&s), idSpace(s.Proto)); s.Proto == ExtEcho && id != 1 {
				t.Errorf("%s: behind 255 comes %d, want 1", s.name(), id)
			}
		default:
			if want {
				t.Errorf("%s: the first is %d, for all to guess", s.name(), id)
			}
		}
	}
}

var gateways = []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("198.51.100.9")}

// A source route moves the header's destination and nothing else: checksums are over the last of it.
func TestSourceRoutedProbes(t *testing.T) {
	for _, s := range kinds {
		least, _ := SizesOf(&s)
		if s.Via = gateways[0]; s.Dst.Addr().Is6() {
			s.Via = netip.MustParseAddr("2001:db8:f::1")
			s.Options = string(wire.AppendRouting(nil, 2, []netip.Addr{s.Dst.Addr()}))
		} else {
			s.Options = string(wire.AppendSourceRoute(nil, false, gateways[1:]))
		}
		if s.Size != 0 {
			s.Size += len(s.Options)
		}
		if l, _ := SizesOf(&s); l != least+len(s.Options) {
			t.Errorf("%s: at least %d bytes, %d without the %d of options", s.name(), l, least, len(s.Options))
		}
		p := encode(t, s, 3)
		if p.Dst() != s.Via || p.FinalDst() != s.Dst.Addr() {
			t.Errorf("%s: to %v, in the end to %v", s.name(), p.Dst(), p.FinalDst())
		}
		plain := s
		plain.Via, plain.Options = netip.Addr{}, ""
		if s.Size != 0 {
			plain.Size -= len(s.Options)
		}
		if q := encode(t, plain, 3); string(q.Transport()) != string(p.Transport()) {
			t.Errorf("%s: transport\n%x, without the route\n%x", s.name(), p.Transport(), q.Transport())
		}
	}
}
