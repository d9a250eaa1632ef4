package trace

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/internal/stats"
	"gtrace/probe"
)

// A long trace asks many TTLs often, as fast as it may, and does not find its end: each probe is answered after 5 ms, one to a step, as the engine has it
// where the network is not idle.
type long struct {
	a     *T
	now   time.Time
	from  func(ttl int) netip.Addr
	wait  []probe.Outcome // in order of arrival
	sent  uint64
	steps int
	out   probe.Output
}

func startLong(t testing.TB, hops, attempts int, from func(int) netip.Addr) *long {
	t.Helper()
	c := good()
	c.Max, c.Attempts, c.Interval, c.InFlight, c.Losses = uint8(hops), attempts, 10*ms, 1024, true
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &long{a: a, now: epoch, from: from}
}

// step steps once, to whatever comes next.
func (l *long) step() {
	var os []probe.Outcome
	switch {
	case len(l.wait) > 0 && (l.out.Wake.IsZero() || !l.wait[0].At.After(l.out.Wake)):
		l.now, os, l.wait = l.wait[0].At, l.wait[:1], l.wait[1:]
	case !l.out.Wake.IsZero():
		l.now = l.out.Wake
	}
	l.out = probe.Output{Send: l.out.Send[:0], GiveUp: l.out.GiveUp[:0], Events: l.out.Events[:0]}
	l.a.Step(probe.Input{Now: l.now, Room: 1024, Outcomes: os}, &l.out)
	l.steps++
	for _, s := range l.out.Send {
		l.sent++
		o := probe.Outcome{Serial: l.sent, Spec: s, Status: probe.Answered, Sent: l.now, At: l.now.Add(5 * ms), Match: probe.Strict,
			From: l.from(int(s.TTL)), Answer: probe.TimeExceeded}
		l.wait = append(l.wait, o)
	}
}

// The ways that routers are met on.
var ways = []struct {
	name string
	from func(ttl int) netip.Addr
}{
	{"plain", router},
	{"twice", func(ttl int) netip.Addr { // one router is met again, further on
		if ttl == 5 {
			return router(2)
		}
		return router(ttl)
	}},
	{"loop", func(ttl int) netip.Addr {
		if ttl > 5 {
			return router(6 + ttl%2)
		}
		return router(ttl)
	}},
}

// BenchmarkLongTrace is what a probe costs the algorithm where there are many. It should not depend on how many there are.
func BenchmarkLongTrace(b *testing.B) {
	for _, way := range ways {
		for _, attempts := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", way.name, attempts), func(b *testing.B) {
				probes, steps := 0, 0
				for b.Loop() {
					l := startLong(b, 64, attempts, way.from)
					for !l.out.Done {
						l.step()
					}
					probes += int(l.sent)
					steps += l.steps
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(probes), "ns/probe")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
			})
		}
	}
}

// What it costs to take in an answer is not to grow with how many there were: those that are decided are not looked at again, but
// for the first, until the hop is told. So nobody notices if others are in their place.
func TestLongTraceLooksAtNoOldTries(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			a, b := startLong(t, 40, 100, way.from), startLong(t, 40, 100, way.from)
			changed := 0
			for !a.out.Done {
				a.step()
				b.step()
				if !slices.EqualFunc(a.out.Send, b.out.Send, func(x, y probe.Spec) bool { return x.TTL == y.TTL && x.Attempt == y.Attempt }) ||
					!a.out.Wake.Equal(b.out.Wake) || a.out.Done != b.out.Done {
					t.Fatalf("step %d: sent %v and %v, wake at %v and %v", a.steps, a.out.Send, b.out.Send, a.out.Wake, b.out.Wake)
				}
				for ttl, h := range b.a.hops {
					if h == nil || a.steps%100 != 0 || ttl <= b.a.told {
						continue
					}
					for i := 1; i < len(h.tries); i++ {
						if y := &h.tries[i]; y.state == decided {
							y.out.From = router((ttl + 7) % 40)
							changed++
						}
					}
				}
			}
			va, vb := a.out.Events[len(a.out.Events)-1].(probe.Finished), b.out.Events[len(b.out.Events)-1].(probe.Finished)
			if va != vb || a.a.returned != b.a.returned || a.a.returned != (way.name != "plain") {
				t.Errorf("%+v and %+v", va, vb)
			}
			if changed < 1000 {
				t.Errorf("%d tries changed: too few to prove anything", changed)
			}
		})
	}
}

// Nor does a step make anything anew of them.
func TestLongTraceAllocatesNothing(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			l := startLong(t, 40, 300, way.from)
			for l.sent < 1000 {
				l.step()
			}
			n := testing.AllocsPerRun(1000, l.step)
			if l.out.Done {
				t.Fatal("it is over")
			}
			if n > 0 {
				t.Errorf("%v allocations a step, want none but to make room now and then", n)
			}
		})
	}
}

// Nor is a cycle looked for again while the same is answered again: what was found, changed here, stays.
func TestLongTraceLooksForACycleOnce(t *testing.T) {
	l := startLong(t, 40, 300, ways[1].from)
	for l.sent < 1000 {
		l.step()
	}
	mark := cycle{period: 99} // no more suspected than what was found
	if len(l.a.cycles) == 0 {
		t.Fatal("none was looked for")
	}
	for last, c := range l.a.cycles {
		if c.suspected() {
			t.Fatalf("up to TTL %d: %+v", last, c)
		}
		l.a.cycles[last] = mark
	}
	for range 1000 {
		l.step()
	}
	for last, c := range l.a.cycles {
		if c != mark {
			t.Errorf("looked for up to TTL %d again", last)
		}
	}
}

// What is kept up of a hop is what its tries say, whatever is revised, taken back or asked again.
func TestKeptUp(t *testing.T) {
	const hops, attempts = 12, 3
	loops, stale := 0, 0
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		c := good()
		c.Attempts = attempts
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		var out probe.Output
		for ttl := 1; ttl <= hops; ttl++ {
			for range attempts {
				a.ask(ttl, &out)
			}
		}
		period, odd := 2+rnd.IntN(2), rnd.Float64()*rnd.Float64()*0.1
		for range 300 {
			ttl := 1 + rnd.IntN(hops)
			h := a.hops[ttl]
			y := &h.tries[rnd.IntN(attempts)]
			o := probe.Outcome{Status: probe.Answered, Answer: probe.TimeExceeded, From: router(ttl % period), Match: probe.Strict}
			if rnd.Float64() < odd {
				o.Status = []probe.Status{probe.Lost, probe.Failed, probe.Answered}[rnd.IntN(3)]
				o.Match = []probe.Match{probe.Strict, probe.Alone}[rnd.IntN(2)]
				o.TTL = uint8(rnd.IntN(2))
			}
			if rnd.IntN(9) == 0 && y.state != idle {
				h.reopen(y)
			} else {
				h.decide(y, &o)
			}
			if h.own.stale {
				stale++
			}
			if rnd.IntN(3) == 0 { // not always, so that what is stale may stay so
				a.checkKept(t)
			}
			if a.cycle(1 + rnd.IntN(hops)).certain() {
				loops++
			}
		}
	}
	if loops < 1000 || stale < 1000 {
		t.Errorf("%d loops, %d times stale: too few to prove anything", loops, stale)
	}
}

func (t *T) checkKept(tb testing.TB) {
	tb.Helper()
	for ttl, h := range t.hops {
		if h == nil {
			continue
		}
		var s stats.Share
		for i := range h.tries {
			if y := &h.tries[i]; y.state == decided {
				s = count(s, fate(&y.out), 1)
			}
		}
		if h.tally != s {
			tb.Fatalf("TTL %d: tally %+v, want %+v", ttl, h.tally, s)
		}
		os := t.answers(ttl)
		var first *probe.Outcome
		n := len(os)
		for _, o := range os {
			if first = os[0]; !same(o, first) {
				first, n = nil, 0
				break
			}
		}
		if t.silent(ttl) != (len(os) == 0) {
			tb.Fatalf("TTL %d: silent %v with %d answers", ttl, t.silent(ttl), len(os))
		}
		if o, m := t.alike(ttl); o != first || m != n {
			tb.Fatalf("TTL %d: alike %p of %d, want %p of %d", ttl, o, m, first, n)
		}
		if i := slices.IndexFunc(h.tries, func(y try) bool { return y.state == idle }); i >= 0 && h.next() != i {
			tb.Fatalf("TTL %d: next is %d, want %d", ttl, h.next(), i)
		}
		if got, want := t.cycle(ttl), t.findCycle(ttl); got != want {
			tb.Fatalf("TTL %d: cycle %+v, want %+v", ttl, got, want)
		}
	}
}
