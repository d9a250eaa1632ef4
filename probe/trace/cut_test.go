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
	"gtrace/rawsock"
)

// Whole runs without privilege, over the real engine and the fake network, among routers and a destination of which some
// quote no more than RFC 792 asks for.

// A cutWorld is a line of routers.
type cutWorld struct {
	seed   uint64
	n      int         // how many hops away the destination is
	quotes map[int]int // by TTL: bytes behind the quoted IP header, where not all
	silent []int       // TTLs
	edit   func(nodes []*simnet.Node, links []*simnet.Link)
	config func(*trace.Config)
}

func (w *cutWorld) run(t *testing.T, header bool) (*heard, time.Duration) {
	t.Helper()
	addr := func(i int) string { return fmt.Sprintf("10.0.%d.1", i) }
	nodes := []*simnet.Node{simnet.Host(addr(0))}
	for i := 1; i < w.n; i++ {
		nodes = append(nodes, simnet.Router(addr(i)))
	}
	nodes = append(nodes, simnet.Host(addr(w.n)))
	for ttl, quote := range w.quotes {
		nodes[ttl].Quote = quote
	}
	for _, ttl := range w.silent {
		nodes[ttl].Silent = true
	}
	links := simnet.Path(nodes...)
	if w.edit != nil {
		w.edit(nodes, links)
	}
	c := simnet.New(simnet.Config{Seed: w.seed, Caps: func(c *rawsock.Caps) { c.Header = header }}, nodes[0])
	src, dst := netip.MustParseAddr(addr(0)), netip.MustParseAddr(addr(w.n))
	port, err := c.Reserve(src, 17, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := trace.Config{
		Proto: probe.UDP, Src: netip.AddrPortFrom(src, port), Dst: netip.AddrPortFrom(dst, 33434),
		First: 1, Max: 30, Attempts: 3, Wait: trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10}, Open: 3,
	}
	if w.config != nil {
		w.config(&cfg)
	}
	a, err := trace.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	began := c.Now()
	var s heard
	if err := probe.Run(context.Background(), c, a, probe.Limits{}, &s); err != nil {
		t.Fatal(err)
	}
	if f := c.Faults(); len(f) > 0 {
		t.Errorf("packets no real host would accept: %v", f)
	}
	return &s, c.Now().Sub(began)
}

// path is who answered, hop by hop and attempt by attempt, and what.
func (s *heard) path() string {
	var b strings.Builder
	for _, h := range s.hops {
		fmt.Fprintf(&b, "%d:", h.TTL)
		for _, o := range h.Outcomes {
			if o.Status != probe.Answered {
				fmt.Fprint(&b, " *")
				continue
			}
			fmt.Fprintf(&b, " %v/%d", o.From, o.Answer)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "%v, to TTL %d, vague %v", s.end.Verdict, s.end.LastTTL, s.end.Vague)
	return b.String()
}

func TestCutQuotes(t *testing.T) {
	all := func(n, quote int) map[int]int {
		m := map[int]int{}
		for ttl := 1; ttl <= n; ttl++ {
			m[ttl] = quote
		}
		return m
	}
	for _, tt := range []struct {
		name string
		w    cutWorld
		most time.Duration // longer than with privilege
	}{
		{"whole quotes", cutWorld{n: 8}, 0},
		{"as much as names the probe", cutWorld{n: 8, quotes: all(8, 12)}, 0},
		{"the tuning word alone", cutWorld{n: 8, quotes: all(8, 10)}, 0},
		{"nothing, everywhere", cutWorld{n: 8, quotes: all(8, 8)}, 6 * time.Second},
		{"the first router", cutWorld{n: 8, quotes: map[int]int{1: 8}}, 6 * time.Second},
		{"a router amid others", cutWorld{n: 8, quotes: map[int]int{4: 8}}, 6 * time.Second},
		{"the destination", cutWorld{n: 8, quotes: map[int]int{8: 8}}, 6 * time.Second},
		{"a silent router behind", cutWorld{n: 8, quotes: map[int]int{4: 8}, silent: []int{5}}, 12 * time.Second},
		{"a silent router before", cutWorld{n: 8, quotes: map[int]int{4: 8}, silent: []int{3}}, 12 * time.Second},
		{"a silent destination", cutWorld{n: 8, quotes: map[int]int{3: 8}, silent: []int{8}}, 40 * time.Second},
	} {
		for _, classic := range []bool{false, true} {
			for _, attempts := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s, classic %v, %d", tt.name, classic, attempts), func(t *testing.T) {
					tt.w.config = func(c *trace.Config) { c.Classic, c.Attempts = classic, attempts }
					want, took := tt.w.run(t, true)
					got, takes := tt.w.run(t, false)
					if got.path() != want.path() || !slices.Equal(got.findings, want.findings) {
						t.Errorf("without privilege\n%s\n%v\nwant\n%s\n%v", got.path(), got.findings, want.path(), want.findings)
					}
					t.Logf("%v, with privilege %v; %d probes, %d", takes, took, len(got.ttls), len(want.ttls))
					for _, h := range got.hops {
						for _, o := range h.Outcomes {
							if rtt, ok := o.RTT(); ok != (o.Status == probe.Answered) || ok && rtt != time.Duration(2*h.TTL)*time.Millisecond {
								t.Errorf("TTL %d: RTT %v, %v", h.TTL, rtt, ok)
							}
						}
					}
					if most := tt.most; takes > took+most || classic && takes != took {
						t.Errorf("takes %v, with privilege %v", takes, took)
					}
				})
			}
		}
	}
}

// Whatever is lost, late or copied, nobody is told where he is not, and of what answers reliably nothing is missing.
func TestCutQuotesNeverMislead(t *testing.T) {
	for seed := range seeds(3000) {
		rnd := rand.New(rand.NewPCG(seed, 12))
		w := cutWorld{seed: seed, n: 1 + rnd.IntN(9), quotes: map[int]int{}}
		calm := rnd.IntN(3) == 0
		for ttl := 1; ttl <= w.n; ttl++ {
			switch rnd.IntN(6) {
			case 0, 1, 2:
				w.quotes[ttl] = []int{8, 9, 10, 12, 16}[max(0, rnd.IntN(8)-3)]
			case 3:
				if ttl < w.n {
					w.silent = append(w.silent, ttl)
				}
			}
		}
		w.edit = func(nodes []*simnet.Node, links []*simnet.Link) {
			for i, n := range nodes[1:] {
				if rnd.IntN(8) == 0 {
					n.Objects = simnet.MPLS(16)
				}
				if calm {
					continue
				}
				a := &n.Answer
				if rnd.IntN(3) == 0 {
					a.Dup, a.Copies = []float64{0.5, 1}[rnd.IntN(2)], 1+rnd.IntN(2)
				}
				switch rnd.IntN(5) {
				case 0:
					a.Jitter = time.Duration(rnd.IntN(20)) * time.Millisecond
				case 1:
					a.Jitter = time.Duration(rnd.IntN(3000)) * time.Millisecond
				case 2:
					a.Reorder, a.Hold = 0.5*rnd.Float64(), time.Duration(rnd.IntN(3000))*time.Millisecond
				case 3:
					links[i].Out.Loss = 0.2 * rnd.Float64()
				}
			}
		}
		w.config = func(c *trace.Config) {
			c.Classic, c.Attempts = rnd.IntN(4) == 0, 1+rnd.IntN(3)
			if rnd.IntN(3) == 0 {
				c.GapLimit = len(w.silent) + 1
			}
			c.InFlight, c.Wait.Near = []int{0, 0, 1, 2, 30}[rnd.IntN(5)], []float64{10, 10, 0, 3}[rnd.IntN(4)]
		}
		s, _ := w.run(t, false)
		last := int(s.end.LastTTL)
		if s.end.Verdict == probe.Reached && last < w.n {
			t.Errorf("reached at TTL %d, want %d", last, w.n)
		}
		for _, h := range s.hops {
			silent := slices.Contains(w.silent, int(h.TTL))
			for _, o := range h.Outcomes {
				want := netip.AddrFrom4([4]byte{10, 0, byte(min(int(h.TTL), w.n)), 1})
				switch {
				case o.Status == probe.Answered && (o.From != want || silent):
					t.Errorf("TTL %d: %v, %v", h.TTL, o.From, o.Match)
				case o.Status != probe.Answered && calm && !silent:
					t.Errorf("TTL %d is silent", h.TTL)
				}
			}
		}
		if calm && (s.end.Verdict != probe.Reached || last != w.n || s.end.Vague || len(s.findings) > 0) {
			t.Errorf("%+v, findings %v, want reached at TTL %d", s.end, s.findings, w.n)
		}
		if t.Failed() {
			s.print(t)
			t.Fatalf("seed %d: %+v", seed, w)
		}
	}
}
