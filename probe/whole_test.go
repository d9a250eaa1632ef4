package probe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/ping"
	"gtrace/probe/trace"
	"gtrace/report"
)

// The engine, the algorithms and the reporters together, on the fake network.

// A document is what the tests look at of a program's JSON.
type document struct {
	Outcome  string
	Complete bool
	Hops     []struct {
		TTL    int
		Probes []struct {
			Result, Match string
			From          netip.Addr
			RTT           *float64 `json:"rtt_ms"`
			Late          bool
			MPLS          []struct{ Label int }
			Changes       []struct {
				Field      string
				Sent, Seen any
			}
		}
	}
	Findings []struct {
		Code string
		TTL  int
	}
	SelfCheck map[string]any `json:"self_check"`
	Summary   struct {
		HopCount                                   int `json:"hop_count"`
		Sent                                       int `json:"probes_sent"`
		Pings                                      int `json:"sent"`
		Received, Duplicates, Corrupted, Reordered int
		Loss                                       *float64 `json:"loss_percent"`
		Min                                        *float64 `json:"min_ms"`
	}
}

// deliver runs an algorithm over c and returns the JSON its user gets.
func deliver(t *testing.T, c *simnet.Conn, a probe.Algorithm, sink func(*bytes.Buffer) (probe.Sink, error), s probe.Started) []byte {
	t.Helper()
	var out bytes.Buffer
	k, err := sink(&out)
	if err != nil {
		t.Fatal(err)
	}
	s.At, s.Target = c.Now(), s.Dst.String()
	if err := k.Emit(s); err != nil {
		t.Fatal(err)
	}
	if err := probe.Run(context.Background(), c, a, probe.Limits{}, k); err != nil {
		t.Fatal(err)
	}
	if f := c.Faults(); len(f) > 0 {
		t.Errorf("packets no real host would accept: %v", f)
	}
	return out.Bytes()
}

func decode(t *testing.T, b []byte) (d document) {
	t.Helper()
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return d
}

// traced traces from the host of c to dst and returns the document; edit changes the usual
// settings.
func traced(t *testing.T, c *simnet.Conn, proto probe.Proto, src, dst netip.Addr, edit func(*trace.Config)) []byte {
	t.Helper()
	number := map[probe.Proto]uint8{probe.UDP: 17, probe.TCP: 6, probe.ICMP: 1}[proto]
	if number == 1 && dst.Is6() {
		number = 58
	}
	port, err := c.Reserve(src, number, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := map[probe.Proto]uint16{probe.UDP: 33434, probe.TCP: 80, probe.ICMP: 0xbeef}[proto]
	cfg := trace.Config{
		Proto: proto, Src: netip.AddrPortFrom(src, port), Dst: netip.AddrPortFrom(dst, to),
		First: 1, Max: 30, Attempts: 3, Wait: trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10},
	}
	if edit != nil {
		edit(&cfg)
	}
	a, err := trace.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return deliver(t, c, a, func(b *bytes.Buffer) (probe.Sink, error) {
		return report.NewTrace(b, "json", report.Options{Version: "test"})
	}, probe.Started{Src: src, Dst: dst, Method: probe.Method{Proto: proto, Size: 60, Socket: "raw", FirstTTL: 1, MaxTTL: 30, Attempts: 3}})
}

func pinged(t *testing.T, c *simnet.Conn, count int, interval time.Duration) []byte {
	t.Helper()
	id, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ping.New(ping.Config{
		Src: netip.AddrPortFrom(us, id), Dst: netip.AddrPortFrom(them, 0), TTL: 64, Size: 84,
		Count: count, Interval: interval, Timeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return deliver(t, c, a, func(b *bytes.Buffer) (probe.Sink, error) {
		return report.NewPing(b, "json", report.Options{Version: "test"})
	}, probe.Started{Src: us, Dst: them, Method: probe.Method{Proto: probe.ICMP, Size: 84, Socket: "raw", Interval: interval}})
}

var us6, them6 = netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8::9")

// line is a path of n routers; router i, from 1, has the addresses at(i, …).
func line(n int) (src *simnet.Node, routers []*simnet.Node, dst *simnet.Node, links []*simnet.Link) {
	src, dst = simnet.Host(us.String(), us6.String()), simnet.Host(them.String(), them6.String())
	nodes := []*simnet.Node{src}
	for i := 1; i <= n; i++ {
		nodes = append(nodes, simnet.Router(at(i, false).String(), at(i, true).String()))
	}
	nodes = append(nodes, dst)
	return src, nodes[1 : n+1], dst, simnet.Path(nodes...)
}

func at(i int, v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("fd00:%x::1", i))
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(i), 1})
}

// T13: probes beyond the target are answered too; the path ends at the nearest answer.
func TestTraceEndsAtTheTarget(t *testing.T) {
	for _, proto := range []probe.Proto{probe.UDP, probe.ICMP, probe.TCP} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, IPv6 %v", proto, v6), func(t *testing.T) {
				src, _, dst, _ := line(5)
				dst.TCP = map[uint16]simnet.TCPPort{80: simnet.Open}
				c := simnet.New(simnet.Config{Seed: 3}, src)
				from, to := us, them
				if v6 {
					from, to = us6, them6
				}
				d := decode(t, traced(t, c, proto, from, to, func(c *trace.Config) { c.InFlight = 30 }))
				if d.Outcome != "reached" || !d.Complete || d.Summary.HopCount != 6 || len(d.Hops) != 6 {
					t.Fatalf("%+v", d)
				}
				for _, h := range d.Hops {
					want := to
					if h.TTL < 6 {
						want = at(h.TTL, v6)
					}
					if len(h.Probes) != 3 {
						t.Errorf("TTL %d: %d probes, want 3", h.TTL, len(h.Probes))
					}
					for _, p := range h.Probes {
						if p.From != want || p.Match != "strict" || p.RTT == nil || *p.RTT != float64(2*h.TTL) {
							t.Errorf("TTL %d: %+v, want %v after %d ms", h.TTL, p, want, 2*h.TTL)
						}
					}
				}
				for what, n := range d.SelfCheck {
					if n != 0.0 { // nor anything rejected, which is no number
						t.Errorf("%v %s", n, what)
					}
				}
			})
		}
	}
}

// T33: the address says nothing, type and code do.
func TestStopRule(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.80")
	tests := []struct {
		name    string
		build   func() *simnet.Node
		to      netip.Addr
		outcome string
		hops    int
		finding string
	}{
		{"destination translated at hop 2", func() *simnet.Node {
			src, rs, _, _ := line(4)
			rs[1].DNAT = map[netip.Addr]netip.Addr{public: them}
			return src
		}, public, "reached", 5, "dnat-or-nat64-in-front"},
		{"a target that answers time exceeded", func() *simnet.Node {
			src, _, dst, _ := line(4)
			dst.Exceeds = true
			return src
		}, them, "unreachable", 5, "target-sends-time-exceeded"},
		{"port unreachable from another address of the target", func() *simnet.Node {
			src, _, dst, _ := line(4)
			dst.From = netip.MustParseAddr("192.0.2.10")
			return src
		}, them, "reached", 5, "reply-from-unexpected-source"},
		{"prohibited by the router at hop 3, in what it forwards", func() *simnet.Node {
			src, rs, _, _ := line(4)
			rs[2].Rules = []simnet.Rule{{Do: simnet.AdminProhibited}}
			return src
		}, them, "unreachable", 4, "administratively-prohibited"},
		{"a loop", func() *simnet.Node {
			src, rs, _, _ := line(4)
			rs[3].Links = nil
			rs[3].Link(rs[2])
			return src
		}, them, "loop", 8, "forwarding-loop"},
		{"a silent target", func() *simnet.Node {
			src, _, dst, _ := line(4)
			dst.Silent = true
			return src
		}, them, "max-hops", 30, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := simnet.New(simnet.Config{Seed: 1}, tt.build())
			d := decode(t, traced(t, c, probe.UDP, us, tt.to, nil))
			if d.Outcome != tt.outcome || len(d.Hops) != tt.hops {
				t.Errorf("%s after %d hops, want %s after %d", d.Outcome, len(d.Hops), tt.outcome, tt.hops)
			}
			var found string
			for _, f := range d.Findings {
				found += f.Code
			}
			if found != tt.finding {
				t.Errorf("findings %q, want %q", found, tt.finding)
			}
		})
	}
}

// A hop on the path is never told wrongly, whatever the network does: a thousand seeded networks
// with loss, duplicates, reordering, rewriting and balancing, each run twice, to the byte the same.
func TestThousandNetworksTwice(t *testing.T) {
	length := func(seed uint64) (*rand.Rand, int) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		return rnd, 1 + rnd.IntN(12)
	}
	once := func(seed uint64) []byte {
		rnd, n := length(seed)
		src, routers, dst, links := line(n)
		dst.TCP = map[uint16]simnet.TCPPort{80: []simnet.TCPPort{simnet.Open, simnet.Closed, simnet.BadReset}[rnd.IntN(3)]}
		if rnd.IntN(3) == 0 {
			dst.UDP = map[uint16]simnet.Service{33434: func([]byte) []byte { return []byte("hello") }}
		}
		for _, l := range links {
			for _, w := range []*simnet.Way{&l.Out, &l.Back} {
				w.Delay = time.Duration(rnd.IntN(20)) * time.Millisecond
				w.Jitter = time.Duration(rnd.IntN(5)) * time.Millisecond
				w.Loss = 0.05 * rnd.Float64()
				w.Dup, w.Copies = 0.1*rnd.Float64(), 1+rnd.IntN(3)
				w.Reorder, w.Hold = 0.1*rnd.Float64(), time.Duration(rnd.IntN(2000))*time.Millisecond
				w.Damage = 0.02 * rnd.Float64()
			}
		}
		for _, r := range routers {
			r.Silent = rnd.IntN(12) == 0
			r.Quote = []int{0, 8, 28, simnet.Full}[rnd.IntN(4)]
			if rnd.IntN(4) == 0 {
				r.Limit = simnet.Linux
			}
			if rnd.IntN(4) == 0 {
				r.Objects = simnet.MPLS(16000 + uint32(rnd.IntN(100)))
				r.Compat = rnd.IntN(2) == 0
			}
			r.ErrorTTL = []uint8{0, 255}[rnd.IntN(2)]
		}
		c := simnet.New(simnet.Config{Seed: seed}, src)
		from, to := us, them
		if rnd.IntN(2) == 0 {
			from, to = us6, them6
		}
		proto := []probe.Proto{probe.UDP, probe.ICMP, probe.TCP}[rnd.IntN(3)]
		return traced(t, c, proto, from, to, func(c *trace.Config) {
			c.Wait.Max = time.Second
			if dst.UDP != nil {
				c.Wait.Max = 30 * time.Second // no datagram is older: what is stray is told then
			}
			if proto != probe.TCP && rnd.IntN(4) == 0 {
				c.Classic = true
				if proto == probe.ICMP {
					c.Dst = netip.AddrPortFrom(c.Dst.Addr(), 0)
				}
			}
		})
	}
	runs := uint64(1000)
	if testing.Short() {
		runs /= 10
	}
	for seed := range runs {
		b := once(seed)
		for _, f := range decode(t, b).Findings {
			if f.Code != "path-length-unknown" { // a service's answers tell no more
				t.Errorf("seed %d: finding %+v, want none: there is nothing to be found", seed, f)
			}
		}
		if again := once(seed); !bytes.Equal(b, again) {
			t.Fatalf("seed %d: two runs differ:\n%s%s", seed, b, again)
		}
		d := decode(t, b)
		for _, h := range d.Hops {
			for _, p := range h.Probes {
				if p.Result != "reply" {
					continue
				}
				if p.RTT != nil && *p.RTT < 0 {
					t.Errorf("seed %d TTL %d: RTT %v", seed, h.TTL, *p.RTT)
				}
				want := at(h.TTL, p.From.Is6())
				if p.From != want && p.From != them && p.From != them6 {
					t.Errorf("seed %d TTL %d: from %v, want %v or the target", seed, h.TTL, p.From, want)
				}
				vague := len(d.Findings) == 1 && d.Findings[0].Code == "path-length-unknown" && d.Summary.HopCount == 0
				// A late answer does not take back a hop that was told, nor those behind it.
				late := p.Late && h.TTL < d.Summary.HopCount
				if (p.From == them || p.From == them6) && (d.Outcome != "reached" || h.TTL != d.Summary.HopCount && !vague && !late) {
					t.Errorf("seed %d: target at TTL %d; %s, %d hops", seed, h.TTL, d.Outcome, d.Summary.HopCount)
				}
			}
		}
		if _, n := length(seed); d.Summary.HopCount != 0 && d.Summary.HopCount < n+1 {
			t.Errorf("seed %d: reached after %d hops, the path has %d", seed, d.Summary.HopCount, n+1)
		}
		if t.Failed() {
			t.Fatalf("%s", b)
		}
	}
}

// An hour in virtual time, and statistics that add up.
func TestAnHourOfPings(t *testing.T) {
	src, _, dst := network()
	way := simnet.Way{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.01, Dup: 0.01, Corrupt: 0.01, Reorder: 0.01, Hold: 3 * time.Second}
	src.Links[0].Out, dst.Answer = way, way
	run := func() ([]byte, time.Duration) {
		c := simnet.New(simnet.Config{Seed: 5}, src)
		start := c.Now()
		return pinged(t, c, 3600, time.Second), c.Now().Sub(start)
	}
	b, took := run()
	d := decode(t, b)
	s := d.Summary
	if took < 3599*time.Second || took > 3610*time.Second || d.Outcome != "answered" {
		t.Errorf("%s after %v, want answered after an hour", d.Outcome, took)
	}
	if s.Pings != 3600 || s.Received < 3450 || s.Received == 3600 || s.Duplicates == 0 || s.Corrupted == 0 || s.Reordered == 0 || s.Loss == nil {
		t.Fatalf("%+v", s)
	}
	if want := 100 * float64(3600-s.Received) / 3600; *s.Loss < want-1e-5 || *s.Loss > want+1e-5 {
		t.Errorf("loss %v %%, want %v", *s.Loss, want)
	}
	if *s.Min < 20 || *s.Min > 25 {
		t.Errorf("smallest RTT %v ms, want 20 to 25", *s.Min)
	}
}
