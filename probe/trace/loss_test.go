package trace_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/trace"
)

// Whole runs over the real engine and the fake network, where probes or answers are lost, or not sent.

// A told is the sink of one run.
type told struct {
	sent     []probe.Sent
	hops     []probe.Hop
	findings []probe.Finding
	losses   []probe.HopLoss
	shared   probe.Shared
	end      probe.Finished
}

func (s *told) Emit(e probe.Event) error {
	switch e := e.(type) {
	case *probe.Sent:
		s.sent = append(s.sent, *e)
	case probe.Hop:
		e.Outcomes = slices.Clone(e.Outcomes)
		s.hops = append(s.hops, e)
	case probe.Finding:
		s.findings = append(s.findings, e)
	case probe.Losses:
		s.losses = e.Hops
	case probe.Shared:
		s.shared = e
	case probe.Finished:
		s.end = e
	}
	return nil
}

// lost are the attempts without an answer, as "TTL/attempt".
func (s *told) lost() (all []string) {
	for _, h := range s.hops {
		for _, o := range h.Outcomes {
			if o.Status != probe.Answered {
				all = append(all, fmt.Sprintf("%d/%d", h.TTL, o.Spec.Attempt))
			}
		}
	}
	return all
}

// found are the findings, as "CODE TTL" or "CODE FROM-TO".
func (s *told) found() (all []string) {
	for _, f := range s.findings {
		where := fmt.Sprint(f.TTL)
		if f.TTL == 0 {
			where = fmt.Sprintf("%d-%d", f.Between[0], f.Between[1])
		}
		all = append(all, f.Code+" "+where)
	}
	return all
}

// A path is a line of routers and a host, each with 1 to 10 ms to the next.
type path struct {
	conn    *simnet.Conn
	routers []*simnet.Node // by TTL, from 1; the last is the host
	links   []*simnet.Link // links[i] leads to routers[i+1]
	v6      bool
}

func newPath(seed uint64, hops int, v6 bool) *path {
	rnd := rand.New(rand.NewPCG(seed, 5))
	addrs := func(i int) []string { return []string{fmt.Sprintf("10.0.%d.1", i), fmt.Sprintf("fd00:%x::1", i)} }
	nodes := []*simnet.Node{simnet.Host(addrs(0)...)}
	for i := 1; i < hops; i++ {
		nodes = append(nodes, simnet.Router(addrs(i)...))
	}
	nodes = append(nodes, simnet.Host(addrs(hops)...))
	p := &path{routers: nodes, links: simnet.Path(nodes...), v6: v6}
	for _, l := range p.links {
		d := time.Duration(1+rnd.IntN(10)) * time.Millisecond / 2
		l.Out.Delay, l.Back.Delay = d, d
		l.Out.Jitter, l.Back.Jitter = time.Millisecond, time.Millisecond
	}
	p.conn = simnet.New(simnet.Config{Seed: seed}, nodes[0])
	return p
}

// limit gives all nodes Linux's default limit.
func (p *path) limit() *path {
	for _, n := range p.routers {
		n.Limit = simnet.Linux
	}
	return p
}

func (p *path) trace(t *testing.T, edit func(*trace.Config)) *told {
	t.Helper()
	family := 0
	if p.v6 {
		family = 1
	}
	src, dst := p.routers[0].Addrs[family], p.routers[len(p.routers)-1].Addrs[family]
	cfg := trace.Config{
		Proto: probe.UDP, Dst: netip.AddrPortFrom(dst, 33434),
		First: 1, Max: 30, Attempts: 3, Wait: trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10}, Losses: true,
	}
	if edit != nil {
		edit(&cfg)
	}
	port, err := p.conn.Reserve(src, cfg.Proto.Number(dst, 0), 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Src = netip.AddrPortFrom(src, port)
	a, err := trace.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var s told
	if err := probe.Run(context.Background(), p.conn, a, probe.Limits{}, &s); err != nil {
		t.Fatal(err)
	}
	if f := p.conn.Faults(); len(f) > 0 {
		t.Errorf("packets no real host would accept: %v", f)
	}
	return &s
}

// monitor asks each hop so often, once each 0.1 s.
func monitor(attempts int) func(*trace.Config) {
	return func(c *trace.Config) { c.Attempts, c.Interval, c.InFlight = attempts, 100*time.Millisecond, 256 }
}

// T58, T59: a default trace through routers with Linux's default limits, and to a host with them, loses nothing, however many
// attempts. Nor does a second right behind it.
func TestKindToLinux(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, attempts := range []int{1, 2, 3, 5, 10, 20} {
			for seed := range uint64(10) {
				for hops := range 13 {
					s := newPath(seed, hops+1, v6).limit().trace(t, func(c *trace.Config) { c.Attempts = attempts })
					if lost := s.lost(); lost != nil || s.end.Verdict != probe.Reached || int(s.end.LastTTL) != hops+1 || len(s.findings) > 0 {
						t.Fatalf("IPv6 %v, %d attempts, %d hops, seed %d: lost %v, %+v, findings %v", v6, attempts, hops+1, seed, lost, s.end, s.findings)
					}
				}
			}
		}
	}
}

func TestTwoTracesInARowLoseNothing(t *testing.T) {
	again := 0
	for seed := range seeds(200) {
		p := newPath(seed, 1+int(seed%13), seed%2 == 0).limit()
		for i := range 2 {
			begin := p.conn.Now()
			s := p.trace(t, nil)
			if lost := s.lost(); lost != nil || s.end.Verdict != probe.Reached || int(s.end.LastTTL) != 1+int(seed%13) {
				t.Fatalf("seed %d: trace %d lost %v, %+v, findings %v", seed, i+1, lost, s.end, s.findings)
			}
			// Whatever the search sends may use up the token that is there by then; behind it each attempt waits for one.
			last, top := begin, uint8(0)
			for _, e := range s.sent {
				if e.Spec.TTL > top {
					last, top = e.At, e.Spec.TTL
				}
			}
			most := last.Sub(begin) + 3*1100*time.Millisecond + 150*time.Millisecond
			if took := p.conn.Now().Sub(begin); took > most || i == 0 && took > time.Second {
				t.Errorf("seed %d: trace %d took %v, want %v", seed, i+1, took, most)
			} else if took > 2*time.Second {
				again++
			}
		}
	}
	if again == 0 {
		t.Error("no destination was ever asked again: the test does not test")
	}
}

// Two routers that point at each other, and limit what they say of it, are told as a loop, whatever was asked before; and the trace ends.
func TestLoopOfLimited(t *testing.T) {
	for seed := range seeds(100) {
		for _, attempts := range []int{1, 3, 10} {
			p := newPath(seed, 6, seed%2 == 0).limit()
			p.routers[3].Links = nil
			p.routers[3].Link(p.routers[2])
			for i := range 3 {
				s := p.trace(t, func(c *trace.Config) { c.Attempts = attempts })
				if s.end.Verdict == probe.Reached || i == 0 && s.end.Verdict != probe.Loop {
					t.Errorf("seed %d, run %d of %d attempts: %+v", seed, i, attempts, s.end)
				}
			}
		}
	}
}

// Nor where the limits were used up before: then there may be too little to name them by, but nothing is called loss for sure.
func TestMonitoringAgainAtOnce(t *testing.T) {
	for seed := range seeds(100) {
		p := newPath(seed, 12, seed%2 == 0).limit()
		for i := range 3 {
			for _, f := range p.trace(t, monitor(40)).findings {
				if f.Code == "path-loss" && f.Confidence != "low" {
					t.Errorf("seed %d, run %d: %+v", seed, i, f)
				}
			}
		}
	}
}

// A router that refuses to forward, and limits how often it says so, answers for all that goes further: it is told at its own TTL,
// whatever was asked before, and nothing of it is loss for certain.
func TestRefusedAndLimited(t *testing.T) {
	for seed := range seeds(100) {
		for _, attempts := range []int{3, 10} {
			p := newPath(seed, 6, seed%2 == 0).limit()
			p.routers[4].Rules = []simnet.Rule{{To: netip.PrefixFrom(p.routers[6].Addrs[seed%2^1], 24), Do: simnet.HostProhibited}}
			for i := range 3 {
				s := p.trace(t, func(c *trace.Config) { c.Attempts = attempts })
				if s.end.Verdict != probe.Blocked || s.end.LastTTL != 5 {
					t.Errorf("seed %d, run %d of %d attempts: %+v", seed, i, attempts, s.end)
				}
				for _, f := range s.findings {
					if f.Code == "path-loss" && f.Confidence == "high" {
						t.Errorf("seed %d, run %d of %d attempts: %+v", seed, i, attempts, f)
					}
				}
			}
		}
	}
}

// What is asked for faster than it is answered, on purpose: each hop that limits its answers is named, and nothing is called lost.
func TestMonitoringLimiters(t *testing.T) {
	named, hops := 0, 0
	for seed := range seeds(1000) {
		p := newPath(seed, 12, seed%2 == 0).limit()
		s := p.trace(t, monitor(40))
		hops += 12
		for _, f := range s.findings {
			if f.Code != "icmp-rate-limited" {
				t.Errorf("seed %d: %+v", seed, f)
			} else {
				named++
			}
		}
		for _, l := range s.losses {
			if l.PathLost > 0 {
				t.Errorf("seed %d: path loss %+v", seed, l)
			}
			if l.Burst > 0 && (l.Burst < 5 || l.Burst > 7 || l.Every < 900*time.Millisecond || l.Every > 1100*time.Millisecond) {
				t.Errorf("seed %d, TTL %d: limit of %d and one each %v", seed, l.TTL, l.Burst, l.Every)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d of %d hops named", named, hops)
	if named < hops {
		t.Errorf("%d of %d hops named", named, hops)
	}
}

func TestLossFindings(t *testing.T) {
	tests := []struct {
		name  string
		seeds int
		edit  func(*trace.Config)
		build func(*path)
		want  []string // findings, of which some may be missing
		least float64  // share of runs that have all of them
		most  float64  // share of runs that have others
		never []string // codes
		may   string   // a finding that is right too
	}{
		{"no loss, no limit", 200, monitor(40), func(p *path) {}, nil, 1, 0, nil, ""},
		{"loss at a middle hop alone, which limits", 300, monitor(40), func(p *path) { p.routers[5].Limit = simnet.Linux },
			[]string{"icmp-rate-limited 5"}, 1, 0, []string{"path-loss", "reply-loss"}, ""},
		{"a slow limit, all sources in one", 300, monitor(40), func(p *path) { p.routers[5].Limit = simnet.Limit{Burst: 3, Every: 500 * time.Millisecond, All: true} },
			[]string{"icmp-rate-limited 5"}, 1, 0, []string{"path-loss", "reply-loss"}, ""},
		{"answers of one hop lost by chance", 300, monitor(100), func(p *path) { p.routers[5].Answer.Loss = 0.3 },
			[]string{"reply-loss 5"}, 0.99, 0.005, []string{"icmp-rate-limited", "path-loss"}, ""},
		{"most answers of one hop lost by chance", 300, monitor(40), func(p *path) { p.routers[5].Answer.Loss = 0.8 },
			[]string{"reply-loss 5"}, 0.99, 0.005, []string{"path-loss"}, ""},
		{"a link loses one in ten", 150, monitor(200), func(p *path) { p.links[3].Out.Loss = 0.1 },
			[]string{"path-loss 3-4"}, 0.8, 0.01, []string{"icmp-rate-limited"}, "path-loss 8"},
		{"a link loses a third", 100, monitor(200), func(p *path) { p.links[3].Out.Loss = 0.33 },
			[]string{"path-loss 3-4"}, 0.98, 0.01, []string{"icmp-rate-limited"}, ""},
		{"a link loses one in ten, default trace", 1000, nil, func(p *path) { p.links[3].Out.Loss = 0.1 },
			nil, 1, 0.002, []string{"icmp-rate-limited"}, ""},
		{"a limit and a link that loses", 100, monitor(200), func(p *path) { p.routers[2].Limit = simnet.Linux; p.links[3].Out.Loss = 0.33 },
			[]string{"icmp-rate-limited 2", "path-loss 3-4"}, 0.98, 0.01, nil, ""},
		{"a limit right before a link that loses", 100, monitor(200), func(p *path) { p.routers[3].Limit = simnet.Linux; p.links[3].Out.Loss = 0.33 },
			[]string{"icmp-rate-limited 3", "path-loss 2-4"}, 0.98, 0.01, nil, ""},
		{"a limit behind a link that loses", 100, monitor(200), func(p *path) { p.routers[6].Limit = simnet.Linux; p.links[3].Out.Loss = 0.2 },
			[]string{"icmp-rate-limited 6", "path-loss 3-4"}, 0.98, 0.01, nil, "path-loss 8"},
		{"a hop that is slow to answer", 200, monitor(40), func(p *path) { p.routers[3].Answer.Delay = 30 * time.Millisecond },
			[]string{"slow-answers 3"}, 1, 0, nil, ""},
		{"one whose answers take their time now and then", 200, monitor(40), func(p *path) { p.routers[3].Answer.Jitter = 20 * time.Millisecond },
			[]string{"slow-answers 3"}, 0, 0, nil, ""},
		{"a slow link", 200, monitor(40), func(p *path) { p.links[3].Out.Delay = 30 * time.Millisecond }, nil, 1, 0, []string{"slow-answers"}, ""},
		{"a link with a queue", 200, monitor(40), func(p *path) { p.links[3].Out.Jitter = 50 * time.Millisecond }, nil, 1, 0, []string{"slow-answers"}, ""},
		{"a hop that is slow to answer, default trace", 200, nil, func(p *path) { p.routers[3].Answer.Delay = 30 * time.Millisecond }, nil, 1, 0, nil, ""},
		{"a link that goes down", 200, monitor(40), func(p *path) {
			p.conn.At(p.conn.Now().Add(2*time.Second), func() { p.links[3].Out.Loss = 1 })
		}, []string{"path-loss 3-4", "path-loss 8"}, 0, 0, []string{"icmp-rate-limited", "reply-loss"}, ""},
		{"a link that is down for a while", 200, monitor(40), func(p *path) {
			p.conn.At(p.conn.Now().Add(3*time.Second), func() { p.links[3].Out.Loss = 1 })
			p.conn.At(p.conn.Now().Add(4500*time.Millisecond), func() { p.links[3].Out.Loss = 0 })
		}, []string{"path-loss 3-4", "path-loss 8"}, 0, 0, []string{"icmp-rate-limited", "reply-loss"}, ""},
		{"a host that limits echo replies", 100, func(c *trace.Config) {
			monitor(40)(c)
			c.Proto, c.Dst = probe.ICMP, netip.AddrPortFrom(c.Dst.Addr(), 0xbeef)
		}, func(p *path) { p.routers[8].EchoLimit = simnet.Limit{Burst: 4, Every: 500 * time.Millisecond} },
			[]string{"icmp-rate-limited 8"}, 1, 0, nil, ""},
		{"silent hops", 100, monitor(40), func(p *path) { p.routers[4].Silent, p.routers[5].Silent = true, true }, nil, 1, 0, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all, others := 0, 0
			for seed := range seeds(tt.seeds) {
				p := newPath(seed, 8, false)
				tt.build(p)
				s := p.trace(t, tt.edit)
				found := s.found()
				hit := 0
				odd := false
				for _, f := range found {
					if slices.Contains(tt.want, f) {
						hit++
						continue
					}
					if f == tt.may {
						continue
					}
					odd = true
					code, _, _ := strings.Cut(f, " ")
					if slices.Contains(tt.never, code) {
						t.Errorf("seed %d: %s: %v", seed, f, s.findings)
					}
				}
				if hit == len(tt.want) {
					all++
				}
				if odd {
					others++
				}
			}
			t.Logf("%d of %d with %v, %d with others", all, seeds(tt.seeds), tt.want, others)
			if testing.Short() {
				return // too few for shares
			}
			if float64(all) < tt.least*float64(tt.seeds) || float64(others) > tt.most*float64(tt.seeds) {
				t.Errorf("%d of %d with %v, want at least %v; %d with others, want at most %v", all, tt.seeds, tt.want, tt.least, others, tt.most)
			}
		})
	}
}

// seeds is how many runs a test makes of n: a tenth with -short, as with the race detector, which finds nothing more in more of the same.
func seeds(n int) uint64 {
	if testing.Short() {
		n = (n + 9) / 10
	}
	return uint64(n)
}
