package simnet

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

var families = []struct{ name, dst string }{{"IPv4", dst4}, {"IPv6", dst6}}

func TestDelay(t *testing.T) {
	n := newLine()
	n.links[0].Out.Delay, n.links[0].Back.Delay = 3*ms, 4*ms
	n.links[2].Back.Delay = 50 * ms
	n.r2.Answer.Delay = 100 * ms // slow to answer, not to forward
	n.dst.Answer.Delay = 10 * time.Second
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	for i, want := range []time.Duration{7 * ms, 109 * ms, 10*time.Second + 60*ms} {
		if a := l.probe(i + 1); a.rtt != want {
			t.Errorf("TTL %d: round trip %v, want %v", i+1, a.rtt, want)
		}
	}
}

// spread sends n probes at once to the target and returns the answers.
func spread(t *testing.T, n int, change func(*line)) (l *lab, as []answer) {
	t.Helper()
	net := newLine()
	change(net)
	l = newLab(t, Config{Seed: 1}, net.src, dst4, wire.ProtoICMP)
	for range n {
		l.send(9)
	}
	return l, l.all()
}

// disorder counts answers whose sequence number is below that of one before.
func disorder(as []answer) (n int) {
	top := uint16(0)
	for _, a := range as {
		if a.icmp.Seq() < top {
			n++
		}
		top = max(top, a.icmp.Seq())
	}
	return n
}

func TestJitter(t *testing.T) {
	for _, where := range []string{"out", "back"} {
		_, as := spread(t, 1000, func(n *line) {
			if where == "out" {
				n.links[1].Out.Jitter = 10 * ms
			} else {
				n.links[1].Back.Jitter = 10 * ms
			}
		})
		var least, most, sum time.Duration = time.Hour, 0, 0
		for _, a := range as {
			least, most, sum = min(least, a.rtt), max(most, a.rtt), sum+a.rtt
		}
		if mean := sum / time.Duration(len(as)); least < 6*ms || least > 6*ms+200*time.Microsecond || most >= 16*ms || most < 15*ms || mean < 10500*time.Microsecond || mean > 11500*time.Microsecond {
			t.Errorf("%s: round trips from %v to %v, mean %v; want 6 to 16 ms, 11 ms", where, least, most, mean)
		}
		if len(as) != 1000 || disorder(as) == 0 {
			t.Errorf("%s: %d answers, %d overtaken; want 1000, some", where, len(as), disorder(as))
		}
	}
}

func TestReorder(t *testing.T) {
	_, as := spread(t, 1000, func(n *line) { n.links[1].Out = Way{Delay: ms, Reorder: 0.1, Hold: 5 * ms} })
	held := 0
	for _, a := range as {
		switch a.rtt {
		case 11 * ms:
			held++
		case 6 * ms:
		default:
			t.Fatalf("round trip %v, want 6 or 11 ms", a.rtt)
		}
	}
	if len(as) != 1000 || held < 70 || held > 130 {
		t.Errorf("%d answers, %d held back; want 1000, some 100", len(as), held)
	}
}

func TestLoss(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*line)
		count  func(Counts) int
	}{
		{"out", func(n *line) { n.links[2].Out.Loss = 0.25 }, lost},
		{"back", func(n *line) { n.links[2].Back.Loss = 0.25 }, func(c Counts) int { return c.LostBack }},
		{"answer", func(n *line) { n.dst.Answer.Loss = 0.25 }, func(c Counts) int { return c.LostBack }},
	} {
		l, as := spread(t, 1000, tt.change)
		gone := tt.count(l.Counts())
		if gone < 200 || gone > 300 || len(as) != 1000-gone {
			t.Errorf("%s: %d lost, %d answers; want some 250, the rest", tt.name, gone, len(as))
		}
	}
}

func TestDuplicates(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*line)
		want   int
	}{
		{"out", func(n *line) { n.links[1].Out.Dup = 1 }, 20},
		{"back", func(n *line) { n.links[1].Back.Dup = 1 }, 20},
		{"three of an answer", func(n *line) { n.dst.Answer = Way{Dup: 1, Copies: 2} }, 30},
		{"out and back", func(n *line) { n.links[0].Out.Dup, n.links[1].Back.Dup = 1, 1 }, 40},
	} {
		_, as := spread(t, 10, tt.change)
		seen := map[uint16]int{}
		for _, a := range as {
			seen[a.icmp.Seq()]++
			if a.what != "echo" || a.From != addr(dst4) || a.TTL != 62 {
				t.Errorf("%s: answer %v", tt.name, a)
			}
		}
		if len(as) != tt.want || len(seen) != 10 || seen[1] != tt.want/10 {
			t.Errorf("%s: %d answers to %d probes, want %d to 10", tt.name, len(as), len(seen), tt.want)
		}
	}
}

// A copy takes its own time and its own harm.
func TestDuplicatesDiffer(t *testing.T) {
	way := Way{Delay: 10 * ms, Dup: 1, Damage: 0.5}
	for _, tt := range []struct {
		name        string
		change      func(*line)
		least, most int // answers with a wrong checksum, of 400 probes; 400 is right
		rtt         time.Duration
	}{
		{"back", func(n *line) { n.links[1].Back = way }, 350, 450, 15 * ms},
		{"answer", func(n *line) { n.dst.Answer = way }, 350, 450, 16 * ms},
		{"out", func(n *line) { n.links[1].Out = way }, 0, 0, 15 * ms},
	} {
		l, as := spread(t, 400, tt.change)
		bad := 0
		for _, a := range as {
			if a.what == "bad" {
				bad++
			}
			if a.rtt != tt.rtt {
				t.Fatalf("%s: %v, want after %v", tt.name, a, tt.rtt)
			}
		}
		damaged := l.Counts().Damaged // on the way out: not answered
		if bad < tt.least || bad > tt.most || len(as) != 800-damaged || tt.most == 0 && (damaged < 350 || damaged > 450) {
			t.Errorf("%s: %d answers, %d bad; %d probes damaged", tt.name, len(as), bad, damaged)
		}
	}
}

func TestDuplicatesAreBounded(t *testing.T) {
	n := newLine()
	n.links[1].To = n.r1 // a loop that doubles
	n.links[1].Out.Dup = 1
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	l.send(64)
	if got := len(l.all()); got < 2 || got > maxCopies+1 {
		t.Errorf("%d answers, want 2 to %d", got, maxCopies+1)
	}
}

func TestCorruption(t *testing.T) {
	for _, tt := range []struct {
		name    string
		proto   uint8
		change  func(*line)
		changed bool // the answer's payload is not the probe's
		bad     bool // and its checksum is wrong
		answers int
	}{
		{"bad memory, out", wire.ProtoICMP, func(n *line) { n.links[1].Out.Corrupt = 1 }, true, false, 1},
		{"bad memory, back", wire.ProtoICMP, func(n *line) { n.links[1].Back.Corrupt = 1 }, true, false, 1},
		{"target changes it", wire.ProtoICMP, func(n *line) { n.dst.Answer.Corrupt = 1 }, true, false, 1},
		{"bit error, out", wire.ProtoICMP, func(n *line) { n.links[1].Out.Damage = 1 }, true, false, 0},
		{"bit error, back", wire.ProtoICMP, func(n *line) { n.links[1].Back.Damage = 1 }, true, true, 1},
		{"UDP, bad memory", wire.ProtoUDP, func(n *line) { n.links[1].Out.Corrupt = 1 }, true, false, 1},
		{"UDP, bit error", wire.ProtoUDP, func(n *line) { n.links[1].Out.Damage = 1 }, true, false, 0},
		{"nothing to change in a SYN", wire.ProtoTCP, func(n *line) { n.links[1].Out.Damage = 1 }, false, false, 1},
	} {
		for _, f := range families {
			t.Run(tt.name+" "+f.name, func(t *testing.T) {
				n := newLine()
				n.dst.UDP = map[uint16]Service{33434: Echo}
				tt.change(n)
				l := newLab(t, Config{}, n.src, f.dst, tt.proto)
				p := l.packet(9)
				if _, err := l.Send([]rawsock.Packet{p}); err != nil {
					t.Fatal(err)
				}
				as := l.all()
				if len(as) != tt.answers {
					t.Fatalf("answers %v, want %d", as, tt.answers)
				}
				if len(as) == 0 {
					if d := l.Counts().Damaged; d != 1 {
						t.Errorf("counted %d damaged, want 1", d)
					}
					return
				}
				if bad := as[0].what == "bad"; bad != tt.bad {
					t.Errorf("answer %v, wrong checksum %v, want %v", as[0], bad, tt.bad)
				}
				if tt.proto == wire.ProtoTCP {
					return
				}
				sent := p.Data[len(p.Data)-l.payload:]
				if same := bytes.Equal(as[0].Data[8:], sent); same == tt.changed {
					t.Errorf("payload %x, sent %x", as[0].Data[8:], sent)
				}
			})
		}
	}
}

// fan is a router with several ways to one more, behind which is the target.
func fan(width int) (src, r *Node) {
	src, r = Host("10.0.0.1", "fd00::1"), Router("10.0.1.1", "fd00:1::1")
	last := Router("10.0.3.1", "fd00:3::1")
	src.Link(r)
	for i := range width {
		m := Router(fmt.Sprint("10.0.2.", i+1), fmt.Sprint("fd00:2::", i+1))
		Path(r, m, last)
	}
	h := Host()
	h.Own = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	last.Link(h)
	return src, r
}

func TestBalancePerFlow(t *testing.T) {
	for _, f := range families {
		for _, tt := range []struct {
			name   string
			proto  uint8
			change func(l *lab)
			moves  bool
		}{
			{"nothing", wire.ProtoUDP, func(*lab) {}, false},
			{"destination port", wire.ProtoUDP, func(l *lab) { l.to++ }, true},
			{"TCP destination port", wire.ProtoTCP, func(l *lab) { l.to++ }, true},
			{"echo checksum", wire.ProtoICMP, func(*lab) {}, true}, // moves with the sequence number
			{"destination address", wire.ProtoUDP, func(l *lab) { l.dst = l.dst.Next() }, true},
			{"flow label", wire.ProtoUDP, func(l *lab) { l.label++ }, f.name == "IPv6"},
			{"type of service", wire.ProtoUDP, func(l *lab) { l.tos++ }, false},
			{"identification and payload", wire.ProtoUDP, func(l *lab) { l.id += 5 }, false},
		} {
			t.Run(f.name+" "+tt.name, func(t *testing.T) {
				src, _ := fan(4)
				l := newLab(t, Config{Seed: 5}, src, f.dst, tt.proto)
				count := map[netip.Addr]int{}
				for range 400 {
					tt.change(l)
					l.send(2)
				}
				for _, a := range l.all() {
					count[a.From]++
				}
				if !tt.moves {
					if len(count) != 1 {
						t.Errorf("took the ways %v, want one", count)
					}
					return
				}
				for a, n := range count {
					if n < 60 || n > 140 {
						t.Errorf("%v taken %d times, want some 100", a, n)
					}
				}
				if len(count) != 4 {
					t.Errorf("took %d ways, want 4: %v", len(count), count)
				}
			})
		}
	}
}

func TestBalancePerPacketAndDestination(t *testing.T) {
	for _, tt := range []struct {
		balance             Balance
		port, dst           bool // change
		least, most, others int
	}{
		{PerPacket, false, false, 60, 140, 4},
		{PerDestination, true, false, 400, 400, 1},
		{PerDestination, false, true, 60, 140, 4},
	} {
		src, r := fan(4)
		r.Balance = tt.balance
		l := newLab(t, Config{Seed: 5}, src, dst6, wire.ProtoUDP)
		for range 400 {
			if tt.port {
				l.to++
			}
			if tt.dst {
				l.dst = l.dst.Next()
			}
			l.send(2)
		}
		count := map[netip.Addr]int{}
		for _, a := range l.all() {
			count[a.From]++
		}
		for a, n := range count {
			if n < tt.least || n > tt.most || len(count) != tt.others {
				t.Errorf("balance %d, ports move %v, destinations move %v: %v taken %d times of %d ways", tt.balance, tt.port, tt.dst, a, n, len(count))
			}
		}
	}
}

// Routers with equal salts send what one of them sends left all left again.
func TestSalt(t *testing.T) {
	for _, salt := range []uint64{0, 7} {
		src, r := fan(2)
		for i, l := range r.Links {
			m := l.To
			m.Links, m.Salt = nil, salt
			m.Link(Router(fmt.Sprint("10.9.", i, ".1")))
			m.Link(Router(fmt.Sprint("10.9.", i, ".2")))
		}
		r.Salt = salt
		l := newLab(t, Config{}, src, dst4, wire.ProtoUDP)
		for range 200 {
			l.to++
			l.send(3)
		}
		count := map[netip.Addr]int{}
		for _, a := range l.all() {
			count[a.From]++
		}
		if want := map[uint64]int{0: 4, 7: 2}[salt]; len(count) != want {
			t.Errorf("salt %d: answers from %v, want %d nodes", salt, count, want)
		}
	}
}

func TestRoutes(t *testing.T) {
	src, r := Host("10.0.0.1"), Router("10.0.1.1")
	a, b, c := Host(dst4), Host(dst4), Host("198.51.100.7")
	src.Link(r)
	r.Link(a, "192.0.2.0/24")
	r.Link(b, "192.0.2.8/29", "203.0.113.0/24").Out.Delay = 20 * ms
	r.Link(c, "198.51.100.0/24")
	l := newLab(t, Config{}, src, dst4, wire.ProtoUDP)
	if got := l.probe(9); got.rtt != 23*ms {
		t.Errorf("round trip %v, want 23 ms over the longest prefix", got.rtt)
	}
	l.dst = addr("198.51.100.7")
	l.want(l.probe(9), "198.51.100.7 3/3 63")
	l.dst = addr("10.77.0.1")
	l.want(l.probe(9), "10.0.1.1 3/0 64") // no route
	l.dst = addr("198.51.100.8")
	l.silence(9, discarded) // a host does not forward
}

func TestRateLimit(t *testing.T) {
	tests := []struct {
		name   string
		change func(*line)
		ttl    int
		gap    time.Duration
		want   int // of 30
	}{
		{"at once", func(n *line) { n.r1.Limit = Linux }, 1, 0, 6},
		{"ten a second", func(n *line) { n.r1.Limit = Linux }, 1, 100 * ms, 8},
		{"one a second", func(n *line) { n.r1.Limit = Linux }, 1, time.Second, 30},
		{"port unreachables too", func(n *line) { n.dst.Limit = Linux }, 9, 0, 6},
		{"what passes is not limited", func(n *line) { n.r1.Limit = Linux }, 9, 0, 30},
		{"echo limit is another", func(n *line) { n.dst.EchoLimit = Linux }, 9, 0, 30},
		{"other numbers", func(n *line) { n.r1.Limit = Limit{Burst: 3, Every: 10 * ms} }, 1, 5 * ms, 17},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newLine()
			tt.change(n)
			l := newLab(t, Config{SendCost: tt.gap}, n.src, dst4, wire.ProtoUDP)
			for range 30 {
				l.send(tt.ttl)
			}
			if got := len(l.all()); got != tt.want || limited(l.Counts()) != 30-tt.want {
				t.Errorf("%d answers, %d limited; want %d", got, limited(l.Counts()), tt.want)
			}
		})
	}
	t.Run("echo", func(t *testing.T) {
		l, as := spread(t, 30, func(n *line) { n.dst.EchoLimit = Linux })
		if len(as) != 6 || limited(l.Counts()) != 24 {
			t.Errorf("%d answers, want 6", len(as))
		}
	})
	t.Run("each source its own", func(t *testing.T) {
		for _, all := range []bool{false, true} {
			n := newLine()
			n.src.Addrs = append(n.src.Addrs, addr("10.0.0.2"))
			n.r1.Limit = Linux
			n.r1.Limit.All = all
			l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
			for range 10 {
				l.send(1)
			}
			l.src = addr("10.0.0.2")
			var err error
			if l.port, err = l.Reserve(l.src, l.proto, 0); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				l.send(1)
			}
			want := 12
			if all {
				want = 6
			}
			if got := len(l.all()); got != want {
				t.Errorf("one bucket for all %v: %d answers, want %d", all, got, want)
			}
		}
	})
}

func TestSilence(t *testing.T) {
	n := newLine()
	n.r1.Silent = true
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	l.silence(1, discarded)
	l.want(l.probe(2), "10.0.2.1 11/0 63")
	n.dst.Silent = true
	l.silence(3, discarded)
	for _, f := range families {
		for _, proto := range []uint8{wire.ProtoICMP, wire.ProtoTCP, wire.ProtoUDP} {
			n := newLine()
			n.dst.Silent = true
			n.dst.UDP = map[uint16]Service{33434: Echo}
			newLab(t, Config{}, n.src, f.dst, proto).silence(9, discarded)
		}
	}
	n.r2.Addrs = n.r2.Addrs[1:] // has no IPv4 address to answer from
	l.silence(2, discarded)
}

func TestServices(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			n := newLine()
			n.dst.UDP = map[uint16]Service{7: Echo, 53: func([]byte) []byte { return []byte("no") }, 99: nil, 98: func([]byte) []byte { return nil }}
			n.dst.TCP = map[uint16]TCPPort{80: Open, 81: Filtered, 82: BadReset}
			l := newLab(t, Config{}, n.src, f.dst, wire.ProtoUDP)
			l.to = 7
			p := l.packet(9)
			l.id--
			if a := l.probe(9); a.what != "udp" || !bytes.HasSuffix(p.Data, a.Data[8:]) || len(a.Data) != 8+l.payload {
				t.Errorf("echo service: %v %x", a, a.Data)
			}
			l.to = 53
			if a := l.probe(9); a.what != "udp" || string(a.Data[8:]) != "no" || be(a.Data) != 53 || be(a.Data[2:]) != l.port {
				t.Errorf("answering service: %v %x", a, a.Data)
			}
			for _, l.to = range []uint16{98, 99} {
				l.silence(9, discarded)
			}

			l = &lab{TB: t, Conn: l.Conn, src: l.src, dst: l.dst, proto: wire.ProtoTCP, flags: wire.SYN, payload: 8, id: 99}
			var err error
			if l.port, err = l.Reserve(l.src, l.proto, 0); err != nil {
				t.Fatal(err)
			}
			seq := l.Caps().Token<<16 | 99
			for _, tt := range []struct {
				to       uint16
				flags    uint8
				what     string
				seq, ack uint32 // 0: any
			}{
				{80, wire.SYN, "syn-ack", 0, 1},
				{79, wire.SYN, "rst-ack", 0, 1},
				{82, wire.SYN, "rst-ack", 0, 0x102},
				{80, wire.ACK, "rst", 0xffff, 0},
				{79, wire.ACK, "rst", 0xffff, 0},
				{82, wire.ACK, "rst", 0x10100, 0},
				{79, wire.FIN, "rst-ack", 0, 1},
			} {
				l.to, l.flags, l.id = tt.to, tt.flags, 99
				a := l.probe(9)
				if a.what != tt.what || tt.ack != 0 && a.tcp.Ack() != seq+tt.ack || tt.what == "rst" && a.tcp.Seq() != seq+tt.seq-0xffff {
					t.Errorf("port %d, flags %#x: %v seq %#x ack %#x, probe %#x", tt.to, tt.flags, a, a.tcp.Seq(), a.tcp.Ack(), seq)
				}
				if a.tcp.Src() != tt.to || a.tcp.Dst() != l.port {
					t.Errorf("port %d: answer from %d to %d", tt.to, a.tcp.Src(), a.tcp.Dst())
				}
			}
			for _, tt := range [][2]uint16{{81, wire.SYN}, {79, wire.RST}, {80, wire.FIN}} {
				l.to, l.flags = tt[0], uint8(tt[1])
				l.silence(9, discarded)
			}
		})
	}
	n := newLine()
	n.dst.NoEcho = true
	newLab(t, Config{}, n.src, dst4, wire.ProtoICMP).silence(9, discarded)
}

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name   string
		rule   Rule
		want4  string // from TTL 9; "" is silence
		want6  string
		before bool // at the source's own node
	}{
		{"drop", Rule{Do: Drop}, "", "", false},
		{"net", Rule{Do: NetUnreachable}, "10.0.2.1 3/0 63", "fd00:2::1 1/0 63", false},
		{"host", Rule{Do: HostUnreachable}, "10.0.2.1 3/1 63", "fd00:2::1 1/3 63", false},
		{"protocol", Rule{Do: ProtocolUnreachable}, "10.0.2.1 3/2 63", "fd00:2::1 4/1 63", false},
		{"port", Rule{Do: PortUnreachable}, "10.0.2.1 3/3 63", "fd00:2::1 1/4 63", false},
		{"net prohibited", Rule{Do: NetProhibited}, "10.0.2.1 3/9 63", "fd00:2::1 1/1 63", false},
		{"host prohibited", Rule{Do: HostProhibited}, "10.0.2.1 3/10 63", "fd00:2::1 1/1 63", false},
		{"admin", Rule{Do: AdminProhibited}, "10.0.2.1 3/13 63", "fd00:2::1 1/1 63", false},
		{"other codes", Rule{Do: Unreachable(5, 6)}, "10.0.2.1 3/5 63", "fd00:2::1 1/6 63", false},
		{"reset", Rule{Do: Reset}, dst4 + " rst-ack 63", dst6 + " rst-ack 63", false},
		{"fits", Rule{To: netip.MustParsePrefix("192.0.2.0/24"), Proto: wire.ProtoTCP, Port: 33434, Do: HostUnreachable}, "10.0.2.1 3/1 63", dst6 + " rst-ack 62", false},
		{"other protocol", Rule{Proto: wire.ProtoUDP, Do: Drop}, dst4 + " rst-ack 62", dst6 + " rst-ack 62", false},
		{"other port", Rule{Port: 80, Do: Drop}, dst4 + " rst-ack 62", dst6 + " rst-ack 62", false},
		{"accept", Rule{Do: Accept}, dst4 + " rst-ack 62", dst6 + " rst-ack 62", false},
		{"own host", Rule{Do: HostUnreachable}, "10.0.0.1 3/1 64", "fd00::1 1/3 64", true},
	} {
		for _, f := range families {
			t.Run(tt.name+" "+f.name, func(t *testing.T) {
				n := newLine()
				at := n.r2
				if tt.before {
					at = n.src
				}
				at.Rules = []Rule{tt.rule, {To: netip.MustParsePrefix("10.99.0.0/16"), Do: Drop}}
				want := tt.want4
				if f.name == "IPv6" {
					want = tt.want6
				}
				l := newLab(t, Config{}, n.src, f.dst, wire.ProtoTCP)
				if want == "" {
					l.silence(9, discarded)
				} else {
					l.want(l.probe(9), want)
				}
				if !tt.before { // the TTL counts before the firewall
					l.want(l.probe(2), map[string]string{"IPv4": "10.0.2.1 11/0 63", "IPv6": "fd00:2::1 3/0 63"}[f.name])
				}
			})
		}
	}
	n := newLine()
	n.dst.Rules = []Rule{{Proto: wire.ProtoUDP, Do: AdminProhibited, Delay: 3 * time.Second}}
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	a := l.probe(9)
	l.want(a, dst4+" 3/13 62") // the target's own firewall
	if a.rtt != 3006*ms {
		t.Errorf("round trip %v, want 3.006 s", a.rtt)
	}
	n.dst.Rules = []Rule{{Do: Reset}}
	l.want(l.probe(9), dst4+" 3/3 62") // nothing to reset
}

func TestQuotes(t *testing.T) {
	for _, tt := range []struct {
		name         string
		quote, size  int // size: payload of the probe
		objects      []byte
		compat       bool
		want4, want6 int // quoted bytes, IP header included
	}{
		{"small, whole", 0, 100, nil, false, 128, 148},
		{"as RFC 1812 and 4443", 0, 1400, nil, false, 548, 1232},
		{"8 bytes", 8, 100, nil, false, 28, 48},
		{"64 bytes", 64, 1400, nil, false, 84, 104},
		{"all", Full, 1400, nil, false, 1428, 1448},
		{"small with objects", 0, 12, MPLS(16), false, 40, 60},
		{"large with objects", 0, 1400, MPLS(16), false, 536, 1216},
		{"8 bytes with objects", 8, 100, MPLS(16), false, 128, 128}, // padded
		{"all with objects", Full, 1400, MPLS(16), false, 1020, 1448},
		{"large compat", 0, 1400, MPLS(16), true, 128, 128},
	} {
		for _, f := range families {
			t.Run(tt.name+" "+f.name, func(t *testing.T) {
				n := newLine()
				n.r1.Quote, n.r1.Objects, n.r1.Compat = tt.quote, tt.objects, tt.compat
				l := newLab(t, Config{}, n.src, f.dst, wire.ProtoUDP)
				l.payload = tt.size
				p := l.packet(1)
				l.id--
				a := l.probe(1)
				want := tt.want4
				if f.name == "IPv6" {
					want = tt.want6
				}
				got := a.quote.Bytes()
				if len(got) != want {
					t.Errorf("quotes %d bytes, want %d", len(got), want)
				}
				same := len(got)
				if tt.objects != nil && tt.quote == 8 {
					same = len(a.quote.Header()) + 8 // zeros behind
				}
				if !bytes.Equal(got[:same], p.Data[:same]) {
					t.Errorf("quotes %x, sent %x", got, p.Data)
				}
				kind := wire.NoExtensions
				switch {
				case tt.compat:
					kind = wire.CompatExtensions
				case tt.objects != nil:
					kind = wire.Extensions
				}
				if k := a.icmp.Extensions(); k != kind {
					t.Errorf("extensions of kind %d, want %d", k, kind)
				}
			})
		}
	}
}

func TestObjects(t *testing.T) {
	in := wire.Interface{Role: 2, Index: 7, HasIndex: true, Addr: addr("fd00::77"), Name: []byte("eth0.7"), MTU: 9000, HasMTU: true}
	for _, f := range families {
		n := newLine()
		n.r1.Objects = slices.Concat(MPLS(16001, 16002), Interface(in), Interface(wire.Interface{Addr: addr("10.0.0.77")}))
		l := newLab(t, Config{}, n.src, f.dst, wire.ProtoUDP)
		objects := l.probe(1).icmp.Objects()
		o, _ := objects.Next()
		top, _ := o.LSE(0)
		next, ok := o.LSE(1)
		if !ok || top.Label() != 16001 || top.Bottom() || next.Label() != 16002 || !next.Bottom() || next.TTL() != 1 {
			t.Errorf("%s: labels %v %v", f.name, top, next)
		}
		o, _ = objects.Next()
		got, err := o.Interface()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(in) {
			t.Errorf("%s: interface %v, %v; want %v", f.name, got, err, in)
		}
		o, _ = objects.Next()
		if got, err = o.Interface(); err != nil || got.Addr != addr("10.0.0.77") || got.HasMTU || got.HasIndex || got.Name != nil {
			t.Errorf("%s: interface %v, %v; want an address alone", f.name, got, err)
		}
		if _, more := objects.Next(); more {
			t.Errorf("%s: more than three objects", f.name)
		}
	}
}

// A name is padded to a multiple of 4 with its length byte (RFC 5837 section 4.3).
func TestInterfaceName(t *testing.T) {
	for name, want := range map[string]string{"eth": "\x04eth", "eth0": "\x08eth0\x00\x00\x00", "eth0.10": "\x08eth0.10"} {
		if got := Interface(wire.Interface{Name: []byte(name)}); string(got[4:]) != want {
			t.Errorf("name %q: %q, want %q", name, got[4:], want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edits []Edit
		id    uint16
		sum   bool // as sent
		ttl   uint8
		tos   uint8
	}{
		{"none", nil, 0x1234, true, 1, 0xb8},
		{"swapped", []Edit{SwapID}, 0x3412, true, 1, 0xb8},
		{"zero", []Edit{ZeroID}, 0, true, 1, 0xb8},
		{"one more", []Edit{AddID(1)}, 0x1235, true, 1, 0xb8},
		{"no checksum, TTL", []Edit{ZeroChecksum, SetTTL(0)}, 0x1234, false, 0, 0xb8},
		{"DSCP", []Edit{SetDSCP(0x0a)}, 0x1234, true, 1, 0x28},
	} {
		for _, f := range families {
			n := newLine()
			n.r1.Edits = tt.edits
			l := newLab(t, Config{}, n.src, f.dst, wire.ProtoUDP)
			l.id, l.tos = 0x1234, 0xb8
			p := l.packet(1)
			l.id--
			q := l.probe(1).quote
			sent, _ := wire.ParseUDP(p.Data[len(q.Header()):])
			u, err := wire.ParseUDP(q.Transport())
			want := sent.Checksum()
			if !tt.sum {
				want = 0
			}
			id := tt.id
			if f.name == "IPv6" {
				id = 0
			}
			if err != nil || q.ID() != id || u.Checksum() != want || q.TTL() != tt.ttl || q.TOS() != tt.tos || q.Dst() != l.dst {
				t.Errorf("%s %s: ID %#x, checksum %#x, TTL %d, TOS %#x, destination %v (%v)", tt.name, f.name, q.ID(), u.Checksum(), q.TTL(), q.TOS(), q.Dst(), err)
			}
		}
	}
}

// A router that clears the DSCP on the way out quotes it as it was; the next
// one quotes what came.
func TestRewrite(t *testing.T) {
	for _, f := range families {
		n := newLine()
		n.r1.Forward = []Edit{SetDSCP(0)}
		l := newLab(t, Config{}, n.src, f.dst, wire.ProtoUDP)
		l.tos = 0xba
		for i, want := range []uint8{0xba, 0x02, 0x02} {
			a := l.probe(i + 1)
			if a.quote.TOS() != want {
				t.Errorf("%s, TTL %d: quoted TOS %#x, want %#x", f.name, i+1, a.quote.TOS(), want)
			}
			if l.dst.Is4() {
				if h := a.quote.Header(); fold(words(h)) != 0xffff {
					t.Errorf("TTL %d: quoted header %x does not add up", i+1, h)
				}
			}
		}
	}
}

func TestAnswerTOS(t *testing.T) {
	l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	for _, tt := range [][2]uint8{{0, 0xc0}, {0xb8, 0xd8}, {1, 0xc0}, {2, 0xc2}, {3, 0xc2}, {0x10, 0xd0}} { // TRAPS, measured
		l.tos = tt[0]
		if a := l.probe(1); a.TOS != tt[1] {
			t.Errorf("probe %#x: answer %#x, want %#x", tt[0], a.TOS, tt[1])
		}
	}
}

func TestSNAT(t *testing.T) {
	public := map[string]string{"IPv4": "198.51.100.1", "IPv6": "2001:db8:1::1"}
	for _, f := range families {
		for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoTCP, wire.ProtoICMP} {
			for _, restore := range []Restore{RestoreAll, RestoreAddresses, RestoreNothing} {
				t.Run(fmt.Sprint(f.name, " protocol ", proto, " restore ", restore), func(t *testing.T) {
					n := newLine()
					n.r1.SNAT, n.r1.Restore = addr(public[f.name]), restore
					n.dst.TCP = map[uint16]TCPPort{33434: Open}
					l := newLab(t, Config{}, n.src, f.dst, proto)
					for ttl := 1; ttl <= 2; ttl++ {
						p := l.packet(ttl)
						l.id--
						q := l.probe(ttl).quote
						hdr := len(q.Header())
						sent, got := p.Data[hdr:], q.Transport()
						port, sum := portAt(l.proto, sent), sumAt(l.proto)
						sameAddr, samePort := q.Src() == l.src, be(got[port:]) == l.port
						sameSum := be(got[sum:]) == be(sent[sum:])
						outside := ttl == 2 // of the translator
						if want := !outside || restore != RestoreNothing; sameAddr != want || samePort != want {
							t.Errorf("TTL %d: quoted source %v, port %d; as sent: want %v", ttl, q.Src(), be(got[port:]), want)
						}
						if want := !outside || restore == RestoreAll; sameSum != want {
							t.Errorf("TTL %d: quoted checksum %#x, sent %#x; equal: want %v", ttl, be(got[sum:]), be(sent[sum:]), want)
						}
						if outside && restore == RestoreNothing && (q.Src() != n.r1.SNAT || sound(l.proto, got, q.Src(), l.dst) != nil) {
							t.Errorf("TTL %d: quote from %v: %v", ttl, q.Src(), sound(l.proto, got, q.Src(), l.dst))
						}
						if l.dst.Is4() && fold(words(q.Header())) != 0xffff {
							t.Errorf("TTL %d: quoted header %x does not add up", ttl, q.Header())
						}
					}
					a := l.probe(3) // the target answers, so it took the translated packet for sound
					if a.From != l.dst || a.To != l.src || a.what == "bad" {
						t.Errorf("target's answer %v", a)
					}
					if l.Counts().Damaged != 0 {
						t.Errorf("counts %+v", l.Counts())
					}
				})
			}
		}
	}
}

// A translator of one family leaves the other alone.
func TestSNATFamily(t *testing.T) {
	n := newLine()
	n.r1.SNAT, n.r1.Restore = addr("198.51.100.1"), RestoreNothing
	l := newLab(t, Config{}, n.src, dst6, wire.ProtoUDP)
	if a := l.probe(2); a.quote.Src() != l.src {
		t.Errorf("quoted source %v, want %v", a.quote.Src(), l.src)
	}
}

// Translation keeps UDP checksums right, whatever they are, and 0 means none.
func TestTranslatedChecksum(t *testing.T) {
	src, dst := netip.AddrPortFrom(addr("10.0.0.1"), 40000), netip.AddrPortFrom(addr(dst4), 33434)
	public, port := addr("198.51.100.1"), []byte{0x12, 0x34}
	packet := func(sum uint16) []byte {
		b := wire.AppendIPv4(nil, wire.IPv4{Src: src.Addr(), Dst: dst.Addr(), TTL: 9, Proto: wire.ProtoUDP, ID: 1}, 10)
		return wire.AppendUDP(b, src, dst, []byte{0, 0}, sum)
	}
	for sum := uint16(1); sum < 0xffff; sum++ {
		b := packet(sum)
		readdress(b, false, public, port, true)
		u, err := wire.ParseUDP(b[20:])
		if err != nil || u.Checksum() == 0 || !u.Valid(public, dst.Addr()) || fold(words(b[:20])) != 0xffff {
			t.Fatalf("checksum %#x became %#x, which is wrong (%v)", sum, u.Checksum(), err)
		}
		readdress(b, false, src.Addr(), []byte{0x9c, 0x40}, true)
		if !bytes.Equal(b, packet(sum)) {
			t.Fatalf("checksum %#x: there and back is %x", sum, b)
		}
	}
	b := packet(1)
	b[26], b[27] = 0, 0
	readdress(b, false, public, port, true)
	if be(b[26:]) != 0 {
		t.Errorf("no checksum became %#x", be(b[26:]))
	}
}

func TestDNAT(t *testing.T) {
	for _, f := range families {
		for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoTCP, wire.ProtoICMP} {
			for _, restore := range []Restore{RestoreAll, RestoreNothing} {
				inside := map[string]string{"IPv4": "10.5.0.9", "IPv6": "fd05::9"}[f.name]
				n := newLine()
				n.r1.DNAT = map[netip.Addr]netip.Addr{addr(f.dst): addr(inside)}
				n.r1.Restore = restore
				n.dst.Addrs = []netip.Addr{addr(inside)}
				l := newLab(t, Config{}, n.src, f.dst, proto)
				for ttl := 1; ttl <= 3; ttl++ {
					p := l.packet(ttl)
					l.id--
					a := l.probe(ttl)
					if a.From != l.dst || a.what == "bad" || int(a.TTL) != 65-ttl {
						t.Errorf("%s protocol %d, TTL %d: %v; want %v, TTL %d", f.name, proto, ttl, a, l.dst, 65-ttl)
					}
					if a.quote.Bytes() == nil {
						continue // a direct answer
					}
					want := l.dst
					if restore == RestoreNothing {
						want = addr(inside)
					}
					hdr := len(a.quote.Header())
					if a.quote.Dst() != want || restore == RestoreAll && !bytes.Equal(a.quote.Transport(), p.Data[hdr:]) {
						t.Errorf("%s protocol %d, TTL %d: quotes %x, sent %x", f.name, proto, ttl, a.quote.Bytes(), p.Data)
					}
				}
				if l.Counts().Damaged != 0 {
					t.Errorf("%s protocol %d: counts %+v", f.name, proto, l.Counts())
				}
			}
		}
	}
}

func TestMTU(t *testing.T) {
	for _, tt := range []struct {
		name   string
		f      int // family
		df     bool
		hole   bool
		size   int
		want   string // "": silence
		mtu    int
		device bool
	}{
		{"fits", 0, true, false, 1400, dst4 + " 3/3 62", 0, false},
		{"too big", 0, true, false, 1401, "10.0.2.1 3/4 63", 1400, false},
		{"may be fragmented", 0, false, false, 1401, dst4 + " 3/3 62", 0, false},
		{"black hole", 0, true, true, 1401, "", 0, false},
		{"fits the black hole", 0, true, true, 1400, dst4 + " 3/3 62", 0, false},
		{"IPv6 fits", 1, false, false, 1400, dst6 + " 1/4 62", 0, false},
		{"IPv6 too big", 1, false, false, 1401, "fd00:2::1 2/0 63", 1400, false},
		{"IPv6 black hole", 1, false, true, 1401, "", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newLine()
			n.links[2].MTU, n.links[2].BlackHole = 1400, tt.hole
			n.r2.Objects = MPLS(9) // which a too big message of ICMPv6 cannot carry
			l := newLab(t, Config{}, n.src, families[tt.f].dst, wire.ProtoUDP)
			l.df = tt.df
			l.payload = tt.size - 28 - 20*tt.f
			if tt.want == "" {
				l.silence(9, discarded)
				return
			}
			a := l.probe(9)
			l.want(a, tt.want)
			if a.icmp.MTU() != tt.mtu {
				t.Errorf("MTU %d, want %d", a.icmp.MTU(), tt.mtu)
			}
		})
	}
}

func TestReplyTTL(t *testing.T) {
	n := newLine()
	n.r2.TTL = 255
	n.dst.TTL, n.dst.ErrorTTL = 128, 255
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	l.want(l.probe(2), "10.0.2.1 11/0 254")
	l.want(l.probe(3), dst4+" 3/3 253")
	n.dst.BackHops = 5
	l.want(l.probe(3), dst4+" 3/3 248")
	n.r1.NoDecrement = true // neither out nor back
	l.want(l.probe(1), "10.0.2.1 11/0 255")
	l.want(l.probe(2), dst4+" 3/3 249")
	n.dst.ErrorTTL = 0
	l.want(l.probe(3), dst4+" 3/3 122")
	lostBack := func(c Counts) int { return c.LostBack }
	n.dst.TTL = 6 // runs out at r2
	l.silence(3, lostBack)
	n.dst.TTL = 5
	l.silence(3, lostBack)
}

func TestZeroTTL(t *testing.T) {
	for _, f := range families {
		n := newLine()
		n.r1.ZeroTTL = true
		l := newLab(t, Config{}, n.src, f.dst, wire.ProtoUDP)
		for ttl, quoted := range []uint8{1: 0, 2: 1} {
			if ttl == 0 {
				continue
			}
			a := l.probe(ttl)
			if a.From != first(n.r2.Addrs, l.dst.Is6()) || a.quote.TTL() != quoted {
				t.Errorf("%s TTL %d: %v quotes TTL %d, want r2, %d", f.name, ttl, a, a.quote.TTL(), quoted)
			}
		}
	}
}

func TestForwardingLoop(t *testing.T) {
	n := newLine()
	n.r2.Links = nil
	n.r2.Link(n.r1).Back.Delay = time.Second // a way no answer takes
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	for ttl := 1; ttl <= 30; ttl++ {
		a := l.probe(ttl)
		want, back := "10.0.1.1 11/0 64", 1
		if ttl%2 == 0 {
			want, back = "10.0.2.1 11/0 63", 2
		}
		l.want(a, want)
		if rtt := time.Duration(ttl+back) * ms; a.rtt != rtt {
			t.Errorf("TTL %d: round trip %v, want %v", ttl, a.rtt, rtt)
		}
	}
	n.r1.NoDecrement, n.r2.NoDecrement = true, true
	l.silence(30, discarded) // ends all the same
}

func TestTargetExceeds(t *testing.T) {
	n := newLine()
	n.dst.Exceeds = true
	n.dst.Edits = []Edit{SetTTL(1)}
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoICMP)
	for ttl := 3; ttl < 6; ttl++ {
		a := l.probe(ttl)
		l.want(a, dst4+" 11/0 62")
		if a.quote.TTL() != 1 {
			t.Errorf("TTL %d: quoted TTL %d, want 1", ttl, a.quote.TTL())
		}
	}
}

func TestAnswerFrom(t *testing.T) {
	n := newLine()
	n.r1.From = addr("10.7.7.7")
	n.dst.From = addr("10.8.8.8")
	n.links[1].Addrs = []netip.Addr{addr("10.0.1.2"), addr("fd00:1::2")}
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	l.want(l.probe(1), "10.7.7.7 11/0 64")
	l.want(l.probe(2), "10.0.1.2 11/0 63") // the interface it came in by
	l.want(l.probe(3), "10.8.8.8 3/3 62")
	n = newLine()
	n.r1.DNAT = map[netip.Addr]netip.Addr{addr(dst4): addr("10.5.0.9")}
	n.dst.Addrs, n.dst.From = []netip.Addr{addr("10.5.0.9")}, addr("10.8.8.8")
	n.dst.UDP = map[uint16]Service{33434: Echo}
	l = newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	l.want(l.probe(9), dst4+" udp 62") // hidden by the translation
	n = newLine()
	n.dst.From = addr("10.8.8.8")
	l = newLab(t, Config{}, n.src, dst4, wire.ProtoICMP)
	l.want(l.probe(9), "10.8.8.8 echo 62")
	n = newLine()
	n.links[1].Addrs = []netip.Addr{addr("10.0.1.2")}
	l = newLab(t, Config{}, n.src, "10.0.1.2", wire.ProtoICMP)
	l.want(l.probe(9), "10.0.1.2 echo 63") // its own, too
}

func TestAlter(t *testing.T) {
	for _, f := range families {
		n := newLine()
		n.r1.Alter = func(r *rawsock.Reply) {
			r.Data[1] = 1 // code: reassembly
			Mend(r)
		}
		n.r2.Alter = func(r *rawsock.Reply) { r.Data[1] = 1 } // the checksum is wrong now
		l := newLab(t, Config{}, n.src, f.dst, wire.ProtoUDP)
		if a := l.probe(1); a.icmp.Code() != 1 || a.what == "bad" {
			t.Errorf("%s: %v, want code 1", f.name, a)
		}
		if a := l.probe(2); a.what != "bad" {
			t.Errorf("%s: %v, want a wrong checksum", f.name, a)
		}
	}
}

// No error answers an error, nor a fragment that is not the first, and a first
// fragment alone does not get past a host.
func TestUnanswerable(t *testing.T) {
	n := newLine()
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	l.quiet = true
	fragment := func(ttl uint8, offset uint16, mf bool) {
		b := wire.AppendIPv4(nil, wire.IPv4{Src: l.src, Dst: l.dst, TTL: ttl, Proto: wire.ProtoUDP, ID: 9, Offset: offset, MF: mf}, 16)
		b = append(b, byte(l.port>>8), byte(l.port), 0, 9)
		b = append(b, make([]byte, 12)...)
		if _, err := l.Send([]rawsock.Packet{{Dst: l.dst, Data: b}}); err != nil {
			t.Fatal(err)
		}
	}
	fragment(1, 8, false)
	fragment(9, 0, true)
	e := wire.AppendError(nil, l.src, l.dst, wire.TimeExceeded4, 0, 0, l.packet(1).Data, nil)
	b := wire.AppendIPv4(nil, wire.IPv4{Src: l.src, Dst: l.dst, TTL: 1, Proto: wire.ProtoICMP, ID: 9}, len(e))
	if _, err := l.Send([]rawsock.Packet{{Dst: l.dst, Data: append(b, e...)}}); err != nil {
		t.Fatal(err)
	}
	if as := l.all(); len(as) != 0 || l.Counts().Discarded != 3 {
		t.Errorf("answers %v, counts %+v; want none, 3 discarded", as, l.Counts())
	}
	fragment(1, 0, true)
	if as := l.all(); len(as) != 1 || as[0].what != "11/0" {
		t.Errorf("answers %v to a first fragment, want time exceeded", as)
	}
}
