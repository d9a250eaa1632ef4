package wire

import (
	"net/netip"
	"testing"
)

// answers are what a probe's answer most often is.
func answers() map[string][]byte {
	v4, v6 := families[0], families[1]
	mpls := func(f family) []byte {
		return AppendError(nil, f.dst, f.src, f.timeExceeded(), 0, 0, f.probe(12), labels())
	}
	return map[string][]byte{
		"IPv4":      AppendError(nil, v4.dst, v4.src, TimeExceeded4, 0, 0, v4.probe(12), nil),
		"IPv4/mpls": mpls(v4),
		"IPv4/1500": AppendError(nil, v4.dst, v4.src, TimeExceeded4, 0, 0, v4.probe(1472)[:548], nil),
		"IPv6":      AppendError(nil, v6.dst, v6.src, TimeExceeded6, 0, 0, v6.probe(12), nil),
		"IPv6/mpls": mpls(v6),
	}
}

var names = []string{"IPv4", "IPv4/mpls", "IPv4/1500", "IPv6", "IPv6/mpls"}

var sink uint32 // what is written here is not optimised away

// decode reads of an answer all that an engine wants.
func decode(b []byte, v6 bool) bool {
	var m ICMP
	var err error
	if v6 {
		m, err = ParseICMPv6(b, dst6, src6)
	} else {
		m, err = ParseICMPv4(b)
	}
	if err != nil || !m.IsError() {
		return false
	}
	q, err := m.Quote()
	if err != nil {
		return false
	}
	u, err := ParseUDP(q.Transport())
	if err != nil {
		return false
	}
	sink += uint32(u.Src()) + uint32(u.Dst()) + uint32(u.Checksum()) + uint32(q.ID())
	for o := m.Objects(); ; {
		x, ok := o.Next()
		if !ok {
			return true
		}
		for i := 0; ; i++ {
			l, ok := x.LSE(i)
			if !ok {
				break
			}
			sink += l.Label()
		}
	}
}

func BenchmarkDecodeAnswer(b *testing.B) {
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			in := answers()[name]
			b.ReportAllocs()
			for b.Loop() {
				if !decode(in, name[3] == '6') {
					b.Fatal("not decoded")
				}
			}
		})
	}
}

// builders build each kind of probe behind what dst holds.
var payload12 = make([]byte, 12)

var builders = []struct {
	name  string
	build func(dst []byte) []byte
}{
	{"UDP", func(dst []byte) []byte {
		dst = AppendIPv4(dst, IPv4{Src: src4, Dst: dst4, TTL: 7, Proto: ProtoUDP, ID: 0xbeef}, 8+len(payload12))
		return AppendUDP(dst, netip.AddrPortFrom(src4, 40000), netip.AddrPortFrom(dst4, 33434), payload12, 0xbeef)
	}},
	{"UDP6", func(dst []byte) []byte {
		dst = AppendIPv6(dst, IPv6{Src: src6, Dst: dst6, HopLimit: 7, Next: ProtoUDP, Label: 0xabcde}, 8+len(payload12))
		return AppendUDP(dst, netip.AddrPortFrom(src6, 40000), netip.AddrPortFrom(dst6, 33434), payload12, 0xbeef)
	}},
	{"echo", func(dst []byte) []byte {
		dst = AppendIPv4(dst, IPv4{Src: src4, Dst: dst4, TTL: 7, Proto: ProtoICMP, ID: 0xbeef}, 8+len(payload12))
		return AppendEcho(dst, src4, dst4, Echo4, 1, 2, payload12, 0xbeef)
	}},
	{"SYN", func(dst []byte) []byte {
		var o [20]byte
		f := TCPFields{Seq: 0xdeadbeef, Flags: SYN, Window: 64240, Options: AppendSYNOptions(o[:0], 1460, 1)}
		dst = AppendIPv4(dst, IPv4{Src: src4, Dst: dst4, TTL: 7, Proto: ProtoTCP, ID: 0xbeef}, 40)
		return AppendTCP(dst, netip.AddrPortFrom(src4, 40000), netip.AddrPortFrom(dst4, 80), f, nil)
	}},
	{"error", func(dst []byte) []byte {
		return AppendError(dst, src6, dst6, TimeExceeded6, 0, 0, payload12, payload12)
	}},
}

func BenchmarkBuild(b *testing.B) {
	for _, x := range builders {
		b.Run(x.name, func(b *testing.B) {
			buf := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				sink += uint32(x.build(buf)[20])
			}
		})
	}
}

func BenchmarkSum1500(b *testing.B) {
	in := make([]byte, 1500)
	b.SetBytes(1500)
	for b.Loop() {
		sink += uint32(fold(add(0, in)))
	}
}

// TestNoAllocation: neither reading an answer nor building a probe into a
// slice that is large enough touches the heap.
func TestNoAllocation(t *testing.T) {
	for _, name := range names {
		in := answers()[name]
		if n := testing.AllocsPerRun(100, func() {
			if !decode(in, name[3] == '6') {
				t.Fatal("not decoded")
			}
		}); n != 0 {
			t.Errorf("decoding %s: %v allocations", name, n)
		}
	}
	buf := make([]byte, 0, 512)
	for _, x := range builders {
		if n := testing.AllocsPerRun(100, func() { x.build(buf) }); n != 0 {
			t.Errorf("building %s: %v allocations", x.name, n)
		}
	}
}
