package trace_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/many"
	"gtrace/probe/trace"
)

// Many traces of one run, with and without hops that they share, over the real engine and the fake network.

// A web is a network with many targets behind the same near routers: one at a time, then two, then some for each, then the targets, some of
// them a router further.
type web struct {
	*testing.T
	src     []netip.Addr // targets take turns
	host    *simnet.Node
	near    []*simnet.Node
	way     []*simnet.Link // way[i] leads to near[i]
	targets []netip.Addr
	seed    uint64
	asked   map[int]int // so many probes left with each TTL
	conn    *simnet.Conn
	later   func() // changes the network after such a time
	after   time.Duration
	most    int    // traces at a time
	twin    string // stands for "10.0.3.1", alone or beside it, where chance decides which
}

func newWeb(t *testing.T, near, n int, seed uint64) *web {
	w := &web{T: t, host: simnet.Host("10.0.0.1"), seed: seed, most: 16, src: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	last := w.host
	for i := range near {
		r := simnet.Router(fmt.Sprintf("10.0.%d.1", i+1))
		w.way = append(w.way, last.Link(r))
		w.near, last = append(w.near, r), r
	}
	var second []*simnet.Node
	for b := range 2 {
		r := simnet.Router(fmt.Sprintf("10.1.%d.1", b))
		last.Link(r, fmt.Sprintf("192.%d.0.0/16", b))
		second = append(second, r)
	}
	third, each := map[string]*simnet.Node{}, 5*(1+n/2000)
	for i := range n {
		b, c := i%2, i/2%each
		network := fmt.Sprintf("192.%d.%d", b, c)
		r := third[network]
		if r == nil {
			r = simnet.Router(fmt.Sprintf("10.2.%d.%d", b, c))
			second[b].Link(r, network+".0/24")
			third[network] = r
		}
		a := fmt.Sprintf("%s.%d", network, 1+i/2/each)
		if i%3 == 0 {
			further := simnet.Router(fmt.Sprintf("10.3.%d.%d", i/256, i%256))
			r.Link(further, a+"/32")
			r = further
		}
		r.Link(simnet.Host(a), a+"/32")
		w.targets = append(w.targets, netip.MustParseAddr(a))
	}
	return w
}

// run traces all targets and returns what was told of each.
func (w *web) run(shared *trace.Shared, edit func(*trace.Config)) []*told {
	w.Helper()
	w.asked = map[int]int{}
	w.conn = simnet.New(simnet.Config{Seed: w.seed, OnSend: func(_ time.Time, p []byte) { w.asked[int(p[8])]++ }}, w.host)
	if w.later != nil {
		w.conn.At(w.conn.Now().Add(w.after), w.later)
	}
	var ports []netip.AddrPort
	for _, a := range w.src {
		port, err := w.conn.Reserve(a, probe.UDP.Number(a, 0), 0)
		if err != nil {
			w.Fatal(err)
		}
		ports = append(ports, netip.AddrPortFrom(a, port))
	}
	all := make([]*told, len(w.targets))
	next := 0
	sink := sinks(func(e probe.For) error { return all[e.Target].Emit(e.Event) })
	m := many.New(many.Config{Most: w.most, Next: func() (t many.Target, ok bool) {
		if next == len(w.targets) {
			return t, false
		}
		c := trace.Config{Proto: probe.UDP, Src: ports[next%len(ports)], Dst: netip.AddrPortFrom(w.targets[next], 33434),
			First: 1, Max: 30, Attempts: 3, GapLimit: 10, Open: 3, Wait: trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10}, Losses: true, Shared: shared}
		if edit != nil {
			edit(&c)
		}
		a, err := trace.New(c)
		if err != nil {
			w.Fatal(err)
		}
		all[next] = new(told)
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, sink)
	if err := probe.Run(w.Context(), w.conn, m, probe.Limits{InFlight: 65536}, m); err != nil {
		w.Fatal(err)
	}
	if f := w.conn.Faults(); len(f) > 0 {
		w.Errorf("packets no host would take: %v", f)
	}
	return all
}

type sinks func(probe.For) error

func (s sinks) Emit(e probe.Event) error {
	if e, ok := e.(*probe.For); ok {
		return s(*e)
	}
	return nil
}

// path is who stands at each TTL from 1 on up to the last, shared or measured; "*" for nobody.
func (s *told) path() (all []string) {
	for _, h := range s.shared.Hops {
		all = append(all, who(h.From))
	}
	for _, h := range s.hops {
		var froms []string
		for _, o := range h.Outcomes {
			if f := who(o.From); o.Status == probe.Answered && !slices.Contains(froms, f) {
				froms = append(froms, f)
			}
		}
		if froms == nil {
			froms = []string{who(netip.Addr{})}
		}
		slices.Sort(froms)
		all = append(all, strings.Join(froms, "+"))
	}
	return all
}

func who(a netip.Addr) string {
	if !a.IsValid() {
		return "*"
	}
	return a.String()
}

// same holds the paths of two runs against each other, and returns how many of the second shared hops.
func (w *web) same(full, shared []*told) (n int) {
	w.Helper()
	for i := range full {
		a, b := full[i], shared[i]
		if b.shared.Hops != nil {
			n++
		}
		if len(b.hops) == 0 || int(b.hops[0].TTL) != 1+len(b.shared.Hops) {
			w.Fatalf("seed %d, target %d: %d hops are shared, the first measured is at %v", w.seed, i, len(b.shared.Hops), b.hops)
		}
		got, want := w.path(b), w.path(a)
		if a.end.Verdict == probe.Loop && b.end.Verdict == probe.Loop && len(got) > len(want) && len(got) <= len(want)+len(b.shared.Hops) {
			continue // one that leads back to what was not asked shows later
		}
		if !slices.Equal(got, want) || a.end.Verdict != b.end.Verdict || a.end.LastTTL != b.end.LastTTL {
			w.Errorf("seed %d, target %d %v:\n got %v, %s at %d (%d shared)\nwant %v, %s at %d", w.seed, i, w.targets[i], got, b.end.Verdict, b.end.LastTTL, len(b.shared.Hops), want, a.end.Verdict, a.end.LastTTL)
		}
	}
	return n
}

// path is s's, with one name for the twins.
func (w *web) path(s *told) []string {
	p := s.path()
	for i, at := range p {
		if w.twin != "" && (at == w.twin || at == "10.0.3.1+"+w.twin) {
			p[i] = "10.0.3.1"
		}
	}
	return p
}

func total(asked map[int]int) (n int) {
	for _, k := range asked {
		n += k
	}
	return n
}

// TestShared: the paths are the same with and without shared hops, whatever the network is like, and what is near is asked less.
func TestShared(t *testing.T) {
	const near, targets = 4, 400
	for _, tt := range []struct {
		name   string
		edit   func(w *web)
		config func(c *trace.Config)
		least  int // so many targets share
		most   int // no target shares more TTLs
	}{
		{name: "plain", edit: func(*web) {}, least: 360, most: 3},
		{name: "one attempt", edit: func(*web) {}, config: func(c *trace.Config) { c.Attempts = 1 }, least: 360, most: 3},
		{name: "no further than the shared hops", edit: func(*web) {}, config: func(c *trace.Config) { c.Max = 3 }, least: 360, most: 2},
		{name: "a silent router", edit: func(w *web) { w.near[1].Silent = true }, least: 360, most: 3},
		{name: "the last one is silent", edit: func(w *web) { w.near[3].Silent = true }, least: 360, most: 2},
		{name: "all of them are", edit: func(w *web) {
			for _, r := range w.near {
				r.Silent = true
			}
		}},
		{name: "a balancer", edit: func(w *web) {
			twin := simnet.Router("10.0.3.2")
			w.near[1].Link(twin)
			twin.Links = w.near[2].Links
		}, least: 360, most: 1},
		{name: "a balancer by packets", edit: func(w *web) {
			w.near[1].Balance, w.twin = simnet.PerPacket, "10.0.3.2"
			twin := simnet.Router(w.twin)
			w.near[1].Link(twin)
			twin.Links = w.near[2].Links
		}, least: 360, most: 1},
		{name: "a balancer with one that never answers", edit: func(w *web) {
			twin := simnet.Router("10.0.3.2")
			twin.Silent = true
			w.near[1].Link(twin)
			twin.Links = w.near[2].Links
		}, least: 350, most: 2},
		{name: "the same, one attempt", edit: func(w *web) {
			twin := simnet.Router("10.0.3.2")
			twin.Silent = true
			w.near[1].Link(twin)
			twin.Links = w.near[2].Links
		}, config: func(c *trace.Config) { c.Attempts = 1 }, least: 350, most: 2},
		{name: "ways of different lengths", edit: func(w *web) {
			longer := simnet.Router("10.0.3.2")
			w.near[1].Link(longer)
			longer.Link(w.near[2])
		}, least: 360, most: 1},
		{name: "near targets", edit: func(w *web) {
			for i := range 4 {
				for k, r := range []*simnet.Node{w.host, w.near[0], w.near[1], w.near[2]} {
					a := fmt.Sprintf("198.51.%d.%d", i, k)
					r.Link(simnet.Host(a), a+"/32")
					w.targets = slices.Insert(w.targets, 100*i+k, netip.MustParseAddr(a))
				}
			}
		}, least: 350, most: 3},
		{name: "near targets that are slow to answer errors", edit: func(w *web) {
			for i := range 4 {
				for k, r := range []*simnet.Node{w.host, w.near[0], w.near[1], w.near[2]} {
					a := fmt.Sprintf("198.51.%d.%d", i, k)
					h := simnet.Host(a)
					h.Limit = simnet.Linux
					r.Link(h, a+"/32")
					w.targets = slices.Insert(w.targets, 100*i+k, netip.MustParseAddr(a))
				}
			}
		}, least: 350, most: 3},
		{name: "the routers themselves", edit: func(w *web) {
			for i := range 4 {
				for _, r := range w.near {
					w.targets = slices.Insert(w.targets, 100*i, r.Addrs[0])
				}
			}
		}, least: 350, most: 3},
		{name: "silent targets", edit: func(w *web) {
			for i := range 40 {
				w.targets = slices.Insert(w.targets, 10*i, netip.MustParseAddr(fmt.Sprintf("192.0.0.%d", 200+i)))
			}
		}, least: 350, most: 3},
		{name: "some go another way", edit: func(w *web) {
			other := simnet.Router("10.9.1.1")
			w.host.Link(other, "198.51.0.0/16")
			further := simnet.Router("10.9.2.1")
			other.Link(further)
			for i := range 4 {
				a := fmt.Sprintf("198.51.1.%d", i)
				further.Link(simnet.Host(a), a+"/32")
				w.targets = slices.Insert(w.targets, 100*(i+1), netip.MustParseAddr(a))
			}
		}, least: 40, most: 3},
		{name: "loops", edit: func(w *web) {
			w.near[3].Link(w.near[0], "198.51.100.0/24")
			w.near[3].Link(w.near[2], "198.51.101.0/24")
			w.near[1].Link(w.near[0], "198.51.102.0/24")
			for i := range 4 {
				for k := range 3 {
					w.targets = slices.Insert(w.targets, 100*(i+1), netip.MustParseAddr(fmt.Sprintf("198.51.%d.%d", 100+k, i)))
				}
			}
		}, least: 350, most: 3},
		{name: "a filter", edit: func(w *web) {
			w.near[1].Rules = []simnet.Rule{{To: netip.MustParsePrefix("198.51.100.0/24"), Do: simnet.AdminProhibited}}
			for i := range 8 {
				w.targets = slices.Insert(w.targets, 40*(i+1), netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i)))
			}
		}, least: 350, most: 3},
		{name: "a firewall answers in the targets' place", edit: func(w *web) {
			w.near[1].Rules = []simnet.Rule{{To: netip.MustParsePrefix("198.51.100.0/24"), Do: simnet.PortUnreachable}}
			for i := range 8 {
				w.targets = slices.Insert(w.targets, 40*(i+1), netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i)))
			}
		}, least: 350, most: 3},
		{name: "a translator", edit: func(w *web) {
			w.near[1].DNAT = map[netip.Addr]netip.Addr{}
			for i := range 8 {
				a := netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i))
				w.near[1].DNAT[a] = w.targets[i]
				w.targets = slices.Insert(w.targets, 40*(i+1), a)
			}
		}, least: 350, most: 3},
		{name: "targets that answer by a service, which do not say what", edit: func(w *web) {
			for i := range 4 {
				for k, r := range append([]*simnet.Node{w.host}, w.near...) {
					a := fmt.Sprintf("198.51.%d.%d", i, k)
					h := simnet.Host(a)
					h.UDP = map[uint16]simnet.Service{33434: simnet.Echo}
					r.Link(h, a+"/32")
					w.targets = slices.Insert(w.targets, 100*i+k, netip.MustParseAddr(a))
				}
			}
		}, least: 350, most: 3},
		{name: "what is passed on with a TTL of 0", edit: func(w *web) { w.near[2].ZeroTTL = true }, least: 360, most: 3},
		{name: "a TTL set anew", edit: func(w *web) { w.near[2].NoDecrement = true }, least: 360, most: 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range seeds(2) {
				made := func() *web {
					w := newWeb(t, near, targets, seed)
					tt.edit(w)
					return w
				}
				w := made()
				full := w.run(nil, tt.config)
				before := w.asked
				w = made()
				got := w.run(trace.NewShared(), tt.config)
				n := w.same(full, got)
				if n < tt.least || tt.least == 0 && n > 0 {
					t.Errorf("seed %d: %d targets share hops, want %d at least", seed, n, tt.least)
				}
				for i, s := range got {
					if len(s.shared.Hops) > tt.most {
						t.Errorf("seed %d, target %d: %d hops are shared, want %d at most", seed, i, len(s.shared.Hops), tt.most)
					}
					if a, b := full[i].found(), s.found(); !slices.Equal(a, b) && !(s.end.Verdict == probe.Loop && len(s.shared.Hops) > 0) {
						t.Errorf("seed %d, target %d: findings %v, want %v", seed, i, b, a)
					}
				}
				if seed == 0 {
					t.Logf("%d of %d share; probes a target %.1f, of %.1f; by TTL %v, of %v", n, len(full), float64(total(w.asked))/float64(len(full)), float64(total(before))/float64(len(full)), w.asked, before)
				}
			}
		})
	}
}

// TestSharedChance: the same in networks made by chance.
func TestSharedChance(t *testing.T) {
	shared, all := 0, 0
	for seed := range seeds(40) {
		chance := func() *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
		made := func() *web {
			r := chance()
			w := newWeb(t, 2+r.IntN(6), 200+r.IntN(200), seed)
			w.most = 1 << r.IntN(7)
			for i, l := range w.way {
				l.Out.Delay = time.Duration(r.IntN(20)) * time.Millisecond
				n := w.near[i]
				switch r.IntN(8) {
				case 0:
					n.Silent = true
				case 1:
					n.ErrorTTL = 255
				case 2:
					n.Objects = simnet.MPLS(16001)
				}
				if i > 0 && i < len(w.near)-1 && r.IntN(5) == 0 { // a twin, or a longer way
					a := simnet.Router(fmt.Sprintf("10.0.%d.2", i+1))
					b := w.near[i-1]
					if b.Balance = simnet.Balance(r.IntN(2)); r.IntN(2) == 0 {
						a.Links = n.Links
					} else {
						a.Link(n)
					}
					b.Link(a)
				}
			}
			for k := range r.IntN(20) {
				at := append([]*simnet.Node{w.host}, w.near...)[r.IntN(1+len(w.near))]
				a := fmt.Sprintf("198.51.100.%d", k)
				h := simnet.Host(a)
				if r.IntN(3) == 0 {
					h.Limit = simnet.Linux
				}
				at.Link(h, a+"/32")
				w.targets = slices.Insert(w.targets, r.IntN(len(w.targets)), netip.MustParseAddr(a))
			}
			for k := range r.IntN(20) { // nobody is there
				w.targets = slices.Insert(w.targets, r.IntN(len(w.targets)), netip.MustParseAddr(fmt.Sprintf("192.%d.0.%d", k%2, 220+k)))
			}
			for k := range r.IntN(4) { // loops
				a := fmt.Sprintf("198.51.101.%d", k)
				w.near[len(w.near)-1].Link(w.near[r.IntN(len(w.near))], a+"/32")
				w.targets = slices.Insert(w.targets, r.IntN(len(w.targets)), netip.MustParseAddr(a))
			}
			return w
		}
		attempts := 1 + chance().IntN(3)
		edit := func(c *trace.Config) { c.Attempts = attempts }
		full := made().run(nil, edit)
		w := made()
		shared += w.same(full, w.run(trace.NewShared(), edit))
		all += len(full)
	}
	t.Logf("%d of %d targets share hops", shared, all)
	if 3*shared < all {
		t.Errorf("%d of %d targets share hops: too few to prove anything", shared, all)
	}
}

// TestSharedNoise: nor is a hop that stays silent, by loss or because a router limits its answers, made another.
func TestSharedNoise(t *testing.T) {
	const near = 4
	assumed, right := 0, 0 // shared hops rest on what is heard behind them; on the destination alone
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := newWeb(t, near, 400, seed)
		for i, l := range w.way {
			l.Out.Loss, l.Back.Loss = 0.1*r.Float64(), 0.1*r.Float64()
			if r.IntN(2) == 0 {
				w.near[i].Limit = simnet.Limit{Burst: 6, Every: time.Duration(1+r.IntN(100)) * time.Millisecond}
			}
		}
		behind := map[int]int{} // the routers before a target, where those are all
		for i := 100; i < 400; i += 10 {
			n := 2 // nearer than what is shared, and slow to say so
			if i%20 == 0 {
				n = near
			}
			a := simnet.Host(fmt.Sprintf("198.51.100.%d", i/10))
			a.Limit = simnet.Linux
			w.near[n-1].Link(a, a.Addrs[0].String()+"/32")
			w.targets[i], behind[i] = a.Addrs[0], n
		}
		attempts := 1 + r.IntN(3)
		for i, s := range w.run(trace.NewShared(), func(c *trace.Config) { c.Attempts = attempts }) {
			if n := len(s.shared.Hops); n > 0 {
				if behind[i] == 2 && n >= 2 {
					t.Errorf("seed %d, target %d: hops beyond it are shared: %v", seed, i, s.path())
				}
				if !s.shared.Seen {
					assumed++
					if behind[i] > 0 {
						right++
					}
				}
			}
			for k, at := range s.path() {
				want := fmt.Sprintf("10.0.%d.1", k+1)
				if n := behind[i]; n > 0 && k >= n { // further on where its own answers are lost, as ever
					want = w.targets[i].String()
				}
				if k < near && at != "*" && at != want {
					t.Errorf("seed %d, target %d: %s at TTL %d", seed, i, at, k+1)
				}
			}
		}
	}
	t.Logf("%d targets' shared hops rest on what is heard behind them, %d on the target alone", assumed, right)
	if assumed == 0 || right == 0 {
		t.Error("too few to prove anything")
	}
}

// TestSharedSources: hops are shared only with what leaves from the same address.
func TestSharedSources(t *testing.T) {
	made := func() *web {
		w := newWeb(t, 3, 400, 1)
		w.host.Addrs = append(w.host.Addrs, netip.MustParseAddr("10.0.0.2"))
		w.src = w.host.Addrs
		return w
	}
	full, w := made().run(nil, nil), made()
	shared := trace.NewShared()
	got := w.run(shared, nil)
	if n := w.same(full, got); n < 330 {
		t.Errorf("%d targets share hops, want 330 at least", n)
	}
	for _, s := range got {
		if s.shared.Hops != nil && s.shared.Hops[0].Traces > 200 {
			t.Fatalf("a hop is shared with %d traces, of which each source has 200", s.shared.Hops[0].Traces)
		}
	}
}

// TestSharedChange: the way changes while the run is on. Where the router changes that all are still asked for, no target gets the old way; where
// only a nearer one does, those until the next that is traced whole; where they answer one a second, those of a few seconds.
func TestSharedChange(t *testing.T) {
	const near, targets = 4, 600
	for _, tt := range []struct {
		name string
		at   []int // which routers change, by TTL
		old  int   // so many targets get the old way at most
		slow bool  // all answer one a second
	}{
		{"the last", []int{4}, 0, false},
		{"the last two", []int{3, 4}, 0, false},
		{"all", []int{1, 2, 3, 4}, 0, false},
		{"one nearer", []int{2}, 64 + 16, false},
		{"all, and slow to answer", []int{1, 2, 3, 4}, 200, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWeb(t, near, targets, 1)
			if w.after = 300 * time.Millisecond; tt.slow {
				w = newWeb(t, near, 2000, 1)
				for _, r := range w.near {
					r.Limit = simnet.Linux
				}
				w.after = 12 * time.Second
			}
			var changed time.Time
			w.later = func() {
				changed = w.conn.Now()
				for _, ttl := range tt.at {
					w.near[ttl-1].Addrs = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.%d.9", ttl))}
				}
			}
			before, old, again := 0, 0, 0
			for i, s := range w.run(trace.NewShared(), nil) {
				last := slices.MaxFunc(s.sent, func(a, b probe.Sent) int { return a.At.Compare(b.At) }).At
				if s.shared.Hops != nil && last.Before(changed) {
					before++
				}
				p, stale := s.path(), false
				for ttl := 1; ttl <= near; ttl++ {
					was, is := fmt.Sprintf("10.0.%d.1", ttl), fmt.Sprintf("10.0.%d.9", ttl)
					if !slices.Contains(tt.at, ttl) {
						is = was
					}
					switch at := p[ttl-1]; {
					case last.Before(changed) && at != was && at != "*", at != was && at != is && at != was+"+"+is && at != "*":
						t.Errorf("target %d: %s at TTL %d", i, at, ttl)
					case s.sent[0].At.Before(changed):
					case at == is && is != was && ttl <= len(s.shared.Hops):
						again++
					case at != is && at != "*":
						stale = true
					}
				}
				if stale {
					old++
				}
				if stale && s.shared.Seen && slices.Contains(tt.at, near) {
					t.Errorf("target %d: %v is told as if the router that tells had been met", i, p)
				}
			}
			t.Logf("%d shared before the change; %d with the old way after it, %d of the new one shared", before, old, again)
			if before < 50 || again < 50 && tt.at[0] < near && !tt.slow || old > tt.old {
				t.Errorf("%d shared before the change, %d hops of the new way after it; %d targets with the old way, want %d at most", before, again, old, tt.old)
			}
		})
	}
}

// TestSharedLimited: near routers that limit their answers are asked less, and what they told some traces is known of more.
func TestSharedLimited(t *testing.T) {
	const near, targets = 4, 3000
	for _, tt := range []struct {
		name  string
		limit simnet.Limit
		less  float64 // so many times less is asked of those before the last that is shared, at least
		more  float64 // so many times as many near hops are known
	}{
		{"one a second", simnet.Linux, 5, 20},
		{"100 a second", simnet.Limit{Burst: 100, Every: 10 * time.Millisecond}, 10, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked, known, lost, waited [2]int
			for k, shared := range []*trace.Shared{nil, trace.NewShared()} {
				w := newWeb(t, near, targets, 1)
				for _, r := range w.near {
					r.Limit = tt.limit
				}
				begin := time.Time{}
				for i, s := range w.run(shared, nil) {
					if begin.IsZero() {
						begin = s.sent[0].At
					}
					for ttl, at := range s.path() {
						if ttl < near && at != "*" {
							known[k]++
							if at != fmt.Sprintf("10.0.%d.1", ttl+1) {
								t.Errorf("target %d: %s at TTL %d", i, at, ttl+1)
							}
						}
					}
					for _, h := range s.hops {
						if int(h.TTL) < near && !slices.ContainsFunc(h.Outcomes, func(o probe.Outcome) bool { return o.Status == probe.Answered }) {
							lost[k]++
						}
					}
				}
				waited[k] = int(w.conn.Now().Sub(begin).Seconds())
				for ttl := 1; ttl < near; ttl++ {
					asked[k] += w.asked[ttl]
				}
			}
			t.Logf("probes to TTL 1 to %d: %d, of %d; near hops known %d, of %d; told as silent %d, of %d; %d s, of %d s", near-1, asked[1], asked[0], known[1], known[0], lost[1], lost[0], waited[1], waited[0])
			if float64(asked[0]) < tt.less*float64(asked[1]) || float64(known[1]) < tt.more*float64(known[0]) || lost[0] < 2*lost[1] {
				t.Errorf("want %v times less asked, %v times as much known and less than half as much told as silent", tt.less, tt.more)
			}
		})
	}
}
