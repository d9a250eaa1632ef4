package trace_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/many"
	"gtrace/probe/trace"
)

// Several methods side by side to one host, over the real engine and the fake network.

// A method is what one of them sends.
type method struct {
	proto probe.Proto
	port  uint16
}

var sideBySide = []method{{probe.ICMP, 0}, {probe.UDP, 53}, {probe.UDP, 443}, {probe.TCP, 80}, {probe.TCP, 443}}

// A sided is a line of n routers that all answer as Linux does, the wall-th of which lets tcp/443 pass and does something with the rest.
type sided struct {
	n, wall int // wall 0: none
	do      simnet.Action
	loss    float64 // of each packet, on each link
	limit   simnet.Limit
	seed    uint64
	apart   bool // nothing is known of each other
	tries   int
	closed  bool          // the wall lets nothing pass
	slow    time.Duration // the destination's answers come so late
	shut    time.Duration // nothing gets there for so long
}

// run traces by all methods and returns what was told of each, and how long it took.
func (w *sided) run(t *testing.T) ([]*told, time.Duration) {
	t.Helper()
	nodes := []*simnet.Node{simnet.Host("10.0.0.1")}
	for i := range w.n {
		nodes = append(nodes, simnet.Router(fmt.Sprintf("10.0.%d.1", i+1)))
	}
	dst := netip.MustParseAddr("192.0.2.9")
	nodes = append(nodes, simnet.Host(dst.String()))
	links := simnet.Path(nodes...)
	for _, l := range links {
		l.Out.Loss, l.Back.Loss = w.loss, w.loss
	}
	for _, n := range nodes[1:] {
		n.Limit = w.limit
	}
	if w.wall != 0 {
		nodes[w.wall].Rules = []simnet.Rule{{Proto: 6, Port: 443, Do: simnet.Accept}, {To: netip.PrefixFrom(dst, 32), Do: w.do}}
		if w.closed {
			nodes[w.wall].Rules = nodes[w.wall].Rules[1:]
		}
	}
	nodes[len(nodes)-1].Answer.Delay = w.slow
	asked := make(map[uint8][]time.Time)
	c := simnet.New(simnet.Config{Seed: w.seed, OnSend: func(at time.Time, p []byte) { asked[p[8]] = append(asked[p[8]], at) }}, nodes[0])
	if end := links[w.n]; w.shut > 0 {
		end.Out.Loss = 1
		c.At(c.Now().Add(w.shut), func() { end.Out.Loss = w.loss })
	}
	all := make([]*told, len(sideBySide))
	beside := new(trace.Beside)
	next := 0
	m := many.New(many.Config{Most: len(all), Next: func() (many.Target, bool) {
		if next == len(all) {
			return many.Target{}, false
		}
		p := sideBySide[next]
		port, err := c.Reserve(nodes[0].Addrs[0], p.proto.Number(dst, 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		cfg := trace.Config{Proto: p.proto, Src: netip.AddrPortFrom(nodes[0].Addrs[0], port), Dst: netip.AddrPortFrom(dst, p.port),
			First: 1, Max: 30, Attempts: max(1, w.tries), GapLimit: 10, Wait: trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10}, Losses: true, Beside: beside}
		if p.proto == probe.ICMP {
			cfg.Dst = netip.AddrPortFrom(dst, 4711)
		}
		if w.apart {
			cfg.Beside = nil
		}
		a, err := trace.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		all[next] = new(told)
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, sinks(func(e probe.For) error { return all[e.Target].Emit(e.Event) }))
	began := c.Now()
	if err := probe.Run(t.Context(), c, m, probe.Limits{InFlight: 1024}, m); err != nil {
		t.Fatal(err)
	}
	for ttl, at := range asked {
		if !w.apart && int(ttl) <= w.wall {
			sustained(t, ttl, at)
		}
	}
	return all, c.Now().Sub(began)
}

// sustained holds what a router is asked to what it answers: five at once, and then one a second.
func sustained(t *testing.T, ttl uint8, at []time.Time) {
	t.Helper()
	for i := 5; i < len(at); i++ {
		if within := at[i].Sub(at[i-5]); within < time.Second {
			t.Errorf("TTL %d asked six times within %v", ttl, within)
		}
	}
}

// ends is how a trace ended, and the last router it heard.
func (s *told) ends() string {
	last := 0
	for _, h := range s.hops {
		for _, o := range h.Outcomes {
			if o.Status == probe.Answered && o.Answer == probe.TimeExceeded {
				last = int(h.TTL)
			}
		}
	}
	return fmt.Sprintf("%v after %d", s.end.Verdict, last)
}

// TestBeside: where the routers limit their answers, it shows all the same where each method ends, and why; and that takes some seconds
// more where they answer less at once.
func TestBeside(t *testing.T) {
	for n := 2; n < 14; n += 3 {
		for wall := 0; wall <= n; wall++ {
			for _, do := range []simnet.Action{simnet.Drop, simnet.AdminProhibited} {
				for _, burst := range []int{1, 3, 6} { // what others left of it
					w := sided{n: n, wall: wall, do: do, limit: simnet.Limit{Burst: burst, Every: time.Second}, seed: uint64(100*n + wall)}
					all, took := w.run(t)
					most := 100 * time.Millisecond
					for i, s := range all {
						want := fmt.Sprintf("reached after %d", n)
						switch {
						case wall == 0 || sideBySide[i] == method{probe.TCP, 443}:
						case do == simnet.Drop:
							want = fmt.Sprintf("gap-limit after %d", wall)
							most = 5 * time.Second
						default:
							want = fmt.Sprintf("unreachable after %d", wall)
							most = 4 * time.Second
						}
						if got := s.ends(); got != want {
							t.Errorf("%d routers, the %dth %v, bursts of %d: %v: %s, want %s", n, wall, do, burst, sideBySide[i], got, want)
						}
					}
					if most += time.Duration(6-burst) * 5 * time.Second; took > most {
						t.Errorf("%d routers, the %dth %v, bursts of %d: took %v", n, wall, do, burst, took)
					}
				}
			}
		}
	}
}

// TestBesideClosed: where nothing passes, whoever refuses it and limits how often it says so has said it to each.
func TestBesideClosed(t *testing.T) {
	for n := 2; n < 10; n += 3 {
		for wall := 1; wall <= n; wall++ {
			for burst := 1; burst <= 6; burst++ {
				w := sided{n: n, wall: wall, do: simnet.AdminProhibited, closed: true, limit: simnet.Limit{Burst: burst, Every: time.Second}, seed: uint64(100*n + wall)}
				all, _ := w.run(t)
				for i, s := range all {
					if got, want := s.ends(), fmt.Sprintf("unreachable after %d", wall); got != want {
						t.Errorf("%d routers, the %dth, bursts of %d: %v: %s, want %s", n, wall, burst, sideBySide[i], got, want)
					}
				}
			}
		}
	}
}

// TestBesideOpens: where the way to the destination opens while methods are looked at one after the other, those that found it shut are looked at again.
func TestBesideOpens(t *testing.T) {
	for shut := 100 * time.Millisecond; shut < 5*time.Second; shut += 400 * time.Millisecond {
		w := sided{n: 3, shut: shut, limit: simnet.Linux}
		all, took := w.run(t)
		for i, s := range all {
			if got, want := s.ends(), "reached after 3"; got != want {
				t.Errorf("shut for %v: %v: %s, want %s", shut, sideBySide[i], got, want)
			}
		}
		t.Logf("shut for %v: took %v", shut, took)
	}
}

// TestBesideWaits: no method ends in silence while another may still be answered; late answers count for each.
func TestBesideWaits(t *testing.T) {
	for slow := time.Second; slow < 4*time.Second; slow += 300 * time.Millisecond {
		for _, limit := range []simnet.Limit{{}, simnet.Linux} {
			w := sided{n: 3, slow: slow, limit: limit}
			all, took := w.run(t)
			for i, s := range all {
				if got, want := s.ends(), "reached after 3"; got != want {
					t.Errorf("%v later, limit %v: %v: %s, want %s", slow, limit, sideBySide[i], got, want)
				}
			}
			if took > slow+7*time.Second {
				t.Errorf("%v later: took %v", slow, took)
			}
		}
	}
}

// TestBesidePace: however often each method asks, a router is asked no more than it answers.
func TestBesidePace(t *testing.T) {
	for tries := 2; tries < 6; tries++ {
		w := sided{n: 6, wall: 3, do: simnet.Drop, limit: simnet.Linux, tries: tries}
		all, _ := w.run(t)
		for i, s := range all {
			for _, h := range s.hops[:w.wall] {
				for _, o := range h.Outcomes {
					if o.Status != probe.Answered {
						t.Errorf("%d tries: %v at TTL %d is not answered", tries, sideBySide[i], h.TTL)
					}
				}
			}
		}
	}
}

// TestBesideDoubts: where packets are lost, a method's silence is asked about again where another was answered.
func TestBesideDoubts(t *testing.T) {
	silent := func(apart bool) (n int) {
		for seed := range seeds(400) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			w := sided{n: 3 + rnd.IntN(8), do: simnet.Drop, loss: 0.01, seed: seed, apart: apart}
			w.wall = 1 + rnd.IntN(w.n)
			all, _ := w.run(t)
			for _, s := range all {
				for _, h := range s.hops {
					if int(h.TTL) <= w.wall && h.Outcomes[0].Status != probe.Answered {
						n++
					}
				}
			}
		}
		return n
	}
	alone, beside := silent(true), silent(false)
	t.Logf("hops without an answer: %d of traces on their own, %d side by side", alone, beside)
	if beside == 0 || alone < 5*beside {
		t.Errorf("%d hops without an answer, and %d of traces on their own: want less than a fifth", beside, alone)
	}
}
