package trace

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"gtrace/probe"
)

// TestWhateverComes holds the trace to its promises on networks that answer at random: it ends,
// tells each hop once, in order and none beyond the end, asks no TTL more often than it may, and
// keeps to its room. However often and however late a service answers, it is told no nearer than it is.
func TestWhateverComes(t *testing.T) {
	runs := uint64(6000) // a third are services, of which half answer only as they should
	if testing.Short() {
		runs /= 10
	}
	for seed := range runs {
		whatever(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func whatever(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(n ...int) int { return n[rnd.IntN(len(n))] }
	c := good()
	c.First = uint8(pick(1, 1, 1, 5, 255))
	c.Max = uint8(pick(int(c.First), min(255, int(c.First)+3), 30, 255))
	c.Max = max(c.Max, c.First)
	c.Attempts = pick(1, 2, 3, 3, 7)
	c.GapLimit = pick(0, 1, 2, 5)
	c.InFlight = pick(0, 1, 2, 16, 100)
	c.Wait = Wait{time.Duration(pick(20, 1000, 5000)) * ms, float64(pick(0, 1, 3)), float64(pick(0, 1, 10))}
	c.Classic = pick(0, 1) == 1
	c.Losses = seed%2 == 0
	if seed%5 == 0 {
		c.Interval = time.Duration(1+seed%300) * ms
	}
	length := pick(1, 2, 6, 20, 300)
	loss, odd, dup, slow := rnd.Float64()*rnd.Float64(), rnd.Float64()*rnd.Float64()*0.5, rnd.Float64()*0.3, rnd.Float64()*0.3
	if pick(0, 0, 0, 0, 1) == 1 {
		loss = 1
	}
	ownTE := pick(0, 0, 1, 2)
	service := pick(0, 0, 1) == 1 // a service that answers without a token
	plain := service && pick(0, 1) == 1
	if plain {
		odd, ownTE = 0, 0
	}
	stopAt := -1
	if pick(0, 0, 1) == 1 {
		stopAt = rnd.IntN(40)
	}
	r := start(t, c)

	kinds := []probe.Answer{
		probe.EchoReply, probe.TimeExceeded, probe.ReassemblyExceeded, probe.PortUnreachable, probe.ProtocolUnreachable, probe.Unreachable,
		probe.TooBig, probe.ParameterProblem, probe.SynAck, probe.Reset, probe.Datagram,
	}
	one := func(s probe.Sent) answer {
		ttl := int(s.Spec.TTL)
		after := time.Duration(rnd.IntN(1+10*ttl)) * ms
		if rnd.Float64() < slow {
			after += time.Duration(rnd.IntN(8000)) * ms
		}
		o := r.to(s.Serial, router(ttl), probe.TimeExceeded)
		o.TTL, o.Quoted = uint8(60-ttl%50), probe.Quoted{Known: pick(0, 1) == 1, TTL: 1}
		switch {
		case ttl >= length && service:
			o = r.datagram(s.Serial)
			after = min(after, c.Wait.Max)
			if stopAt >= 0 && len(r.a.flying) > 1 {
				o.Serial, o.Match = 0, probe.FlowOnly
			}
		case ttl >= length:
			o.From, o.Answer = dst, probe.PortUnreachable
		case ownTE == 1 && ttl >= length/2:
			o.From = dst
		case ownTE == 2 && ttl >= length/2:
			o.From, o.TTL = dst, 55
		}
		if rnd.Float64() < odd && o.Serial != 0 {
			o.Answer = kinds[rnd.IntN(len(kinds))]
			o.From = []netip.Addr{dst, router(ttl), src}[rnd.IntN(3)]
		}
		return answer{after, o}
	}
	network := func(s probe.Sent) (as []answer) {
		if rnd.Float64() < odd/3 {
			return r.fails(s, []string{"EPERM", "ENETUNREACH"}[rnd.IntN(2)])
		}
		if rnd.Float64() < loss {
			return nil
		}
		as = append(as, one(s))
		for rnd.Float64() < dup {
			as = append(as, one(s))
		}
		return as
	}
	if stopAt < 0 {
		r.drive(network)
	} else {
		// Steps at random with some of the answers, in any order, and then the end.
		var open []answer
		for range stopAt {
			known := len(r.sent)
			var now []probe.Outcome
			rnd.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
			n := rnd.IntN(len(open) + 1)
			seen := map[uint64]bool{}
			for _, a := range open[:n] {
				if !seen[a.o.Serial] {
					now = append(now, a.o)
				}
				seen[a.o.Serial] = true
			}
			open = open[n:]
			r.room = rnd.IntN(20)
			r.step(time.Duration(rnd.IntN(200))*ms, now...)
			if r.last.Done {
				break
			}
			for _, s := range r.sent[known:] {
				open = append(open, network(s)...)
			}
		}
		if !r.last.Done {
			r.stop(ms, []error{probe.ErrInterrupted, errLink}[rnd.IntN(2)])
		}
	}
	f := r.finished()

	asked := map[uint8]int{}
	times := map[uint8][]time.Time{}
	for _, s := range r.sent {
		asked[s.Spec.TTL]++
		times[s.Spec.TTL] = append(times[s.Spec.TTL], s.At)
		if s.Spec.TTL < c.First || s.Spec.TTL > c.Max {
			t.Errorf("TTL %d asked, wanted %d to %d", s.Spec.TTL, c.First, c.Max)
		}
		if int(s.Spec.Attempt) > c.Attempts || s.Spec.Attempt == 0 {
			t.Errorf("attempt %d of %d", s.Spec.Attempt, c.Attempts)
		}
	}
	for ttl, n := range asked {
		most := c.Attempts + 1 // a check
		if c.Losses {
			most += againMost
		}
		if n > most && !(service && n <= 2*most+confirms) {
			t.Errorf("TTL %d asked %d times, want at most %d", ttl, n, most)
		}
		for i := 1; i < n && c.Interval > 0; i++ {
			if times[ttl][i].Sub(times[ttl][i-1]) < c.Interval {
				t.Errorf("TTL %d asked again after %v, want %v", ttl, times[ttl][i].Sub(times[ttl][i-1]), c.Interval)
			}
		}
		for i := burst; i < n && c.Interval == 0; i++ {
			if times[ttl][i].Sub(times[ttl][i-burst]) < perTTL {
				t.Errorf("TTL %d asked more than %d times in %v", ttl, burst, perTTL)
			}
		}
	}
	if stopAt < 0 && plain && f.Verdict == probe.Reached && !f.Vague && int(f.LastTTL) < max(length, int(c.First)) {
		t.Errorf("reached at TTL %d, want %d", f.LastTTL, length)
	}
	told := int(c.First) - 1
	for _, e := range r.events {
		h, ok := e.(probe.Hop)
		if !ok {
			continue
		}
		if int(h.TTL) <= told || f.Complete && int(h.TTL) != told+1 {
			t.Errorf("hop %d after %d", h.TTL, told)
		}
		told = int(h.TTL)
		if h.TTL > f.LastTTL {
			t.Errorf("hop %d beyond the end at %d", h.TTL, f.LastTTL)
		}
		if n := len(h.Outcomes); n == 0 || f.Complete && n != c.Attempts {
			t.Errorf("hop %d has %d outcomes, want %d", h.TTL, n, c.Attempts)
		}
		attempt := uint32(0)
		for _, o := range h.Outcomes {
			if o.Spec.TTL != h.TTL || o.Spec.Attempt <= attempt || o.Serial == 0 || o.Duplicate {
				t.Errorf("hop %d: attempt %d after %d, %+v", h.TTL, o.Spec.Attempt, attempt, o)
			}
			attempt = o.Spec.Attempt
		}
	}
	if f.Complete && told != int(f.LastTTL) {
		t.Errorf("last hop %d, end at %d", told, f.LastTTL)
	}
	if f.Complete == (f.Verdict == probe.Interrupted) && f.Verdict != probe.Errored {
		t.Errorf("%+v", f)
	}
	if f.Verdict == probe.Errored && f.Err == nil || f.Verdict != probe.Errored && f.Err != nil {
		t.Errorf("%+v", f)
	}
	if errors.Is(f.Err, errLink) && f.Verdict != probe.Errored {
		t.Errorf("%+v", f)
	}
}

// BenchmarkStep is what the algorithm itself costs, for one probe of a path of 15 hops: sending it and
// taking in its answer.
func BenchmarkStep(b *testing.B) {
	b.ReportAllocs()
	probes := 0
	for b.Loop() {
		a, err := New(good())
		if err != nil {
			b.Fatal(err)
		}
		now, serial := epoch, uint64(0)
		var out probe.Output
		var next, os []probe.Outcome
		for !out.Done {
			out = probe.Output{Send: out.Send[:0], GiveUp: out.GiveUp[:0], Events: out.Events[:0]}
			a.Step(probe.Input{Now: now, Room: 1024, Outcomes: os}, &out)
			next, os = append(next[len(os):], outcomes(out.Send, now, &serial)...), nil
			if len(next) > 0 {
				os = next[:1]
			}
			now = now.Add(ms)
		}
		probes += int(serial)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(probes), "ns/probe")
}

func outcomes(specs []probe.Spec, now time.Time, serial *uint64) (os []probe.Outcome) {
	for _, s := range specs {
		*serial++
		o := probe.Outcome{
			Serial: *serial, Spec: s, Status: probe.Answered, Sent: now, At: now.Add(10 * ms), Match: probe.Strict,
			From: router(int(s.TTL)), Answer: probe.TimeExceeded,
		}
		if s.TTL >= 15 {
			o.From, o.Answer = dst, probe.PortUnreachable
		}
		os = append(os, o)
	}
	return os
}
