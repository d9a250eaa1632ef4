package probe

import (
	"fmt"
	"net/netip"
	"testing"

	"gtrace/internal/wire"
)

// kinds are one probe of each kind, with a constant flow where there is a choice.
var kinds = []Spec{
	{Proto: UDP, Src: addrPort("192.0.2.1:40000"), Dst: addrPort("198.51.100.9:33434"), Size: 60},
	{Proto: ICMP, Src: addrPort("192.0.2.1:513"), Dst: addrPort("198.51.100.9:4660"), Size: 60},
	{Proto: TCP, Src: addrPort("192.0.2.1:40000"), Dst: addrPort("198.51.100.9:80")},
	{Proto: UDP, Src: addrPort("[2001:db8::1]:40000"), Dst: addrPort("[2001:db8::9]:33434"), Size: 80, Label: 0xabcde},
	{Proto: ICMP, Src: addrPort("[2001:db8::1]:513"), Dst: addrPort("[2001:db8::9]:4660"), Size: 80, Label: 0xabcde},
	{Proto: TCP, Src: addrPort("[2001:db8::1]:40000"), Dst: addrPort("[2001:db8::9]:80"), Label: 0xabcde},
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func (s Spec) name() string {
	return fmt.Sprintf("%v over IPv%d", s.Proto, map[bool]int{false: 4, true: 6}[s.Dst.Addr().Is6()])
}

const testToken = 0xdecafbad

func encode(t testing.TB, s Spec, n uint32) wire.IP {
	t.Helper()
	c := codec{token: testToken}
	b, err := c.appendPacket(nil, &s, n, idOf(n, c.firstID(s.Proto)))
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
		least, most := Sizes(s.Proto, s.Dst.Addr().Is6(), true)
		for _, size := range []int{0, least, 100, 1500} {
			if size > most {
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
				case TCP:
					tc, err := wire.ParseTCP(l4)
					if err != nil || !tc.Valid(p.Src(), p.Dst()) || tc.Flags() != wire.SYN || tc.Window() < 1024 {
						t.Errorf("TCP %v flags %#x window %d", err, tc.Flags(), tc.Window())
					}
					if got := uint16(tc.Seq() >> 16); got != testToken&0xffff {
						t.Errorf("sequence number %#x lacks the token", tc.Seq())
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
	if got := readWitness(p); got.token != testToken || got.number != 1 {
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
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := kinds[0]
			tt.edit(&s)
			c := codec{token: testToken}
			if b, err := c.appendPacket(nil, &s, 1, 1); err == nil {
				t.Errorf("built % x", b)
			}
		})
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	for _, s := range kinds {
		c := codec{token: testToken}
		buf := make([]byte, 0, 128)
		run := func() { buf, _ = c.appendPacket(buf[:0], &s, 9, 9) }
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
				buf, _ = c.appendPacket(buf[:0], &s, 9, 9)
			}
		})
	}
}
