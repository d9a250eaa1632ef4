package simnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

const ms = time.Millisecond

// A lab is a Conn with what a test needs to speak through it. Probes are UDP
// unless a test says otherwise.
type lab struct {
	testing.TB
	*Conn
	src, dst netip.Addr
	proto    uint8
	port     uint16 // reserved; or the identifier
	to       uint16
	label    uint32
	tos      uint8
	df       bool
	flags    uint8 // TCP
	payload  int
	id       uint16 // next IPv4 identification and echo sequence
	quiet    bool   // faults are expected
}

// newLab opens a lab on the network of src, towards dst, over that protocol.
func newLab(t testing.TB, cfg Config, src *Node, dst string, proto uint8) *lab {
	t.Helper()
	l := &lab{TB: t, Conn: New(cfg, src), dst: addr(dst), proto: proto, to: 33434, flags: wire.SYN, payload: 12, id: 1}
	l.src = first(src.Addrs, l.dst.Is6())
	if l.dst.Is6() && proto == wire.ProtoICMP {
		l.proto = wire.ProtoICMPv6
	}
	var err error
	if l.port, err = l.Reserve(l.src, l.proto, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f := l.Faults(); len(f) > 0 && !l.quiet {
			t.Errorf("faults: %v", f)
		}
	})
	return l
}

// packet builds the next probe.
func (l *lab) packet(ttl int) rawsock.Packet {
	payload := make([]byte, max(l.payload, 8))
	for i := range payload {
		payload[i] = byte(i)
	}
	payload[0], payload[1] = byte(l.id>>8), byte(l.id)
	binary.BigEndian.PutUint32(payload[rawsock.TokenOffset:], l.Caps().Token)
	payload = payload[:l.payload]
	src, dst := netip.AddrPortFrom(l.src, l.port), netip.AddrPortFrom(l.dst, l.to)
	var t []byte
	switch l.proto {
	case wire.ProtoUDP:
		t = wire.AppendUDP(nil, src, dst, payload, 0)
	case wire.ProtoTCP:
		seq := l.Caps().Token<<16 | uint32(l.id)
		f := wire.TCPFields{Seq: seq, Flags: l.flags, Window: 1024}
		if l.flags&wire.ACK != 0 {
			f.Ack = seq
		}
		t = wire.AppendTCP(nil, src, dst, f, nil)
	case wire.ProtoICMP:
		t = wire.AppendEcho(nil, l.src, l.dst, wire.Echo4, l.port, l.id, payload, 0)
	case wire.ProtoICMPv6:
		t = wire.AppendEcho(nil, l.src, l.dst, wire.Echo6, l.port, l.id, payload, 0)
	default:
		t = payload
	}
	var b []byte
	if l.dst.Is6() {
		b = wire.AppendIPv6(nil, wire.IPv6{Src: l.src, Dst: l.dst, HopLimit: uint8(ttl), TrafficClass: l.tos, Next: l.proto, Label: l.label}, len(t))
	} else {
		b = wire.AppendIPv4(nil, wire.IPv4{Src: l.src, Dst: l.dst, TTL: uint8(ttl), TOS: l.tos, Proto: l.proto, ID: max(l.id, 1), DF: l.df}, len(t))
	}
	l.id++
	return rawsock.Packet{Dst: l.dst, Data: append(b, t...)}
}

// send sends one probe for each TTL.
func (l *lab) send(ttls ...int) {
	l.Helper()
	for _, ttl := range ttls {
		if n, err := l.Send([]rawsock.Packet{l.packet(ttl)}); n != 1 || err != nil {
			l.Fatalf("send TTL %d: %d left, %v", ttl, n, err)
		}
	}
}

// An answer is a Reply taken apart, its data copied.
type answer struct {
	rawsock.Reply
	what  string // such as "11/0", "echo", "syn-ack", "rst", "udp"
	rtt   time.Duration
	icmp  wire.ICMP
	quote wire.IP
	tcp   wire.TCP
}

func (a answer) String() string {
	return fmt.Sprintf("%v %s ttl %d after %v", a.From, a.what, a.TTL, a.rtt)
}

// all receives whatever arrives within a minute.
func (l *lab) all() (as []answer) {
	l.Helper()
	start := l.Now()
	rs := make([]rawsock.Reply, 3)
	for {
		n, err := l.Recv(rs, start.Add(time.Minute))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return as
		}
		if err != nil {
			l.Fatal(err)
		}
		for _, r := range rs[:n] {
			r.Data = append([]byte(nil), r.Data...)
			as = append(as, l.read(r, r.At.Sub(start)))
		}
	}
}

func (l *lab) read(r rawsock.Reply, rtt time.Duration) answer {
	l.Helper()
	a := answer{Reply: r, rtt: rtt}
	var err error
	switch r.Proto {
	case wire.ProtoUDP:
		var u wire.UDP
		if u, err = wire.ParseUDP(r.Data); err == nil && !u.Valid(r.From, r.To) {
			err = wire.ErrChecksum
		}
		a.what = "udp"
	case wire.ProtoTCP:
		if a.tcp, err = wire.ParseTCP(r.Data); err == nil && !a.tcp.Valid(r.From, r.To) {
			err = wire.ErrChecksum
		}
		switch a.tcp.Flags() {
		case wire.SYN | wire.ACK:
			a.what = "syn-ack"
		case wire.RST | wire.ACK:
			a.what = "rst-ack"
		case wire.RST:
			a.what = "rst"
		}
	default:
		if r.Proto == wire.ProtoICMP {
			a.icmp, err = wire.ParseICMPv4(r.Data)
		} else {
			a.icmp, err = wire.ParseICMPv6(r.Data, r.From, r.To)
		}
		switch {
		case err != nil:
		case a.icmp.IsError():
			a.what = fmt.Sprintf("%d/%d", a.icmp.Type(), a.icmp.Code())
			a.quote, err = a.icmp.Quote()
		default:
			a.what = "echo"
		}
	}
	if err != nil {
		a.what = "bad"
	}
	return a
}

// probe sends a probe and wants one answer.
func (l *lab) probe(ttl int) answer {
	l.Helper()
	l.send(ttl)
	as := l.all()
	if len(as) != 1 {
		l.Fatalf("TTL %d: answers %v, want one", ttl, as)
	}
	return as[0]
}

// want holds an answer against "address what ttl".
func (l *lab) want(a answer, want string) {
	l.Helper()
	if got := fmt.Sprintf("%v %s %d", a.From, a.what, a.TTL); got != want {
		l.Errorf("answer %q, want %q", got, want)
	}
}

// silence sends a probe and wants no answer, counted as in want.
func (l *lab) silence(ttl int, count func(Counts) int) {
	l.Helper()
	before := count(l.Counts())
	l.send(ttl)
	if as := l.all(); len(as) > 0 {
		l.Errorf("TTL %d: answers %v, want none", ttl, as)
	}
	if n := count(l.Counts()) - before; n != 1 {
		l.Errorf("TTL %d: counted %d, want 1 in %+v", ttl, n, l.Counts())
	}
}

func discarded(c Counts) int { return c.Discarded }
func limited(c Counts) int   { return c.Limited }
func lost(c Counts) int      { return c.Lost }

// line is a path of two routers, for both families.
type line struct {
	src, r1, r2, dst *Node
	links            []*Link
}

func newLine() *line {
	n := &line{
		src: Host("10.0.0.1", "fd00::1"),
		r1:  Router("10.0.1.1", "fd00:1::1"), r2: Router("10.0.2.1", "fd00:2::1"),
		dst: Host("192.0.2.9", "2001:db8::9"),
	}
	n.links = Path(n.src, n.r1, n.r2, n.dst)
	return n
}

const dst4, dst6 = "192.0.2.9", "2001:db8::9"

func TestPath(t *testing.T) {
	for _, tt := range []struct {
		dst   string
		proto uint8
		want  string
	}{
		{dst4, wire.ProtoUDP, "10.0.1.1 11/0 64; 10.0.2.1 11/0 63; 192.0.2.9 3/3 62; 192.0.2.9 3/3 62"},
		{dst4, wire.ProtoICMP, "10.0.1.1 11/0 64; 10.0.2.1 11/0 63; 192.0.2.9 echo 62; 192.0.2.9 echo 62"},
		{dst4, wire.ProtoTCP, "10.0.1.1 11/0 64; 10.0.2.1 11/0 63; 192.0.2.9 rst-ack 62; 192.0.2.9 rst-ack 62"},
		{dst4, 99, "10.0.1.1 11/0 64; 10.0.2.1 11/0 63; 192.0.2.9 3/2 62; 192.0.2.9 3/2 62"},
		{dst6, wire.ProtoUDP, "fd00:1::1 3/0 64; fd00:2::1 3/0 63; 2001:db8::9 1/4 62; 2001:db8::9 1/4 62"},
		{dst6, wire.ProtoICMP, "fd00:1::1 3/0 64; fd00:2::1 3/0 63; 2001:db8::9 echo 62; 2001:db8::9 echo 62"},
		{dst6, wire.ProtoTCP, "fd00:1::1 3/0 64; fd00:2::1 3/0 63; 2001:db8::9 rst-ack 62; 2001:db8::9 rst-ack 62"},
		{dst6, 99, "fd00:1::1 3/0 64; fd00:2::1 3/0 63; 2001:db8::9 4/1 62; 2001:db8::9 4/1 62"},
		{"10.0.1.1", wire.ProtoICMP, "10.0.1.1 echo 64; 10.0.1.1 echo 64"},
		{"10.0.0.1", wire.ProtoICMP, "10.0.0.1 echo 64"},
		{"10.0.0.1", wire.ProtoUDP, "10.0.0.1 3/3 64"},
	} {
		t.Run(fmt.Sprint(tt.dst, " protocol ", tt.proto), func(t *testing.T) {
			l := newLab(t, Config{Caps: func(c *rawsock.Caps) { c.Extra = []uint8{99} }}, newLine().src, tt.dst, tt.proto)
			for i, want := range strings.Split(tt.want, "; ") {
				a := l.probe(i + 1)
				l.want(a, want)
				hops := min(i+1, 3)
				if tt.dst == "10.0.1.1" {
					hops = 1
				}
				if tt.dst == "10.0.0.1" {
					hops = 0
				}
				if want := time.Duration(2*hops) * ms; a.rtt != want {
					t.Errorf("TTL %d: round trip %v, want %v", i+1, a.rtt, want)
				}
				if a.To != l.src || !a.Kernel {
					t.Errorf("TTL %d: to %v, kernel %v; want %v, true", i+1, a.To, a.Kernel, l.src)
				}
				if a.quote.Bytes() != nil && a.quote.TTL() != uint8(i+2-max(hops, 1)) {
					t.Errorf("TTL %d: quoted TTL %d", i+1, a.quote.TTL())
				}
			}
		})
	}
}

func BenchmarkProbe(b *testing.B) {
	for _, hops := range []int{3, 15, 30} {
		for _, dst := range []string{dst4, dst6} {
			b.Run(fmt.Sprint(hops, " hops to ", dst), func(b *testing.B) {
				nodes := []*Node{Host("10.0.0.1", "fd00::1")}
				for i := range hops - 1 {
					nodes = append(nodes, Router(fmt.Sprint("10.0.1.", i+1), fmt.Sprint("fd00:1::", i+1)))
				}
				nodes = append(nodes, Host(dst4, dst6))
				Path(nodes...)
				l := newLab(b, Config{}, nodes[0], dst, wire.ProtoUDP)
				ps := make([]rawsock.Packet, hops)
				for i := range ps {
					ps[i] = l.packet(i + 1)
				}
				rs := make([]rawsock.Reply, 64)
				b.ReportAllocs()
				for n := 0; n < b.N; n += hops {
					if _, err := l.Send(ps); err != nil {
						b.Fatal(err)
					}
					for got := 0; got < hops; {
						k, err := l.Recv(rs, time.Time{})
						if err != nil {
							b.Fatal(err)
						}
						got += k
					}
				}
			})
		}
	}
}
