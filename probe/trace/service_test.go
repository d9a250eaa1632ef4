package trace_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/trace"
	"gtrace/rawsock"
)

// Whole runs, over the real engine and the fake network, to UDP services whose answers carry nothing
// of the probe.

// A heard is the sink of one run.
type heard struct {
	ttls     []int // of the probes, by serial from 1
	hops     []probe.Hop
	findings []string
	end      probe.Finished
}

func (s *heard) Emit(e probe.Event) error {
	switch e := e.(type) {
	case *probe.Sent:
		s.ttls = append(s.ttls, int(e.Spec.TTL))
	case probe.Hop:
		e.Outcomes = slices.Clone(e.Outcomes)
		s.hops = append(s.hops, e)
	case probe.Finding:
		s.findings = append(s.findings, e.Code)
	case probe.Finished:
		s.end = e
	}
	return nil
}

// A world is a line of routers with a service at its end.
type world struct {
	seed    uint64
	n       int // how many hops away the service is
	v6      bool
	silent  []int // TTLs of silent routers
	answer  simnet.Way
	service simnet.Service // nil: one that says hello
	edit    func(*trace.Config)

	copyLoss float64 // of each datagram by itself
	bare     bool    // the connection sees no quoted headers
	quote    int     // what routers quote behind the IP header; 0: as usual
}

func (w *world) run(t *testing.T) *heard {
	t.Helper()
	addrs := func(i int) []string { return []string{fmt.Sprintf("10.0.%d.1", i), fmt.Sprintf("fd00:%x::1", i)} }
	nodes := []*simnet.Node{simnet.Host(addrs(0)...)}
	for i := 1; i < w.n; i++ {
		nodes = append(nodes, simnet.Router(addrs(i)...))
	}
	for _, ttl := range w.silent {
		nodes[ttl].Silent = true
	}
	for _, r := range nodes[1:] {
		r.Quote = w.quote
	}
	target := simnet.Host(addrs(w.n)...)
	target.Answer = w.answer
	target.UDP = map[uint16]simnet.Service{53: w.service}
	if w.service == nil {
		target.UDP[53] = func([]byte) []byte { return []byte("hello") }
	}
	links := simnet.Path(append(nodes, target)...)
	links[w.n-1].Back.Loss = w.copyLoss
	c := simnet.New(simnet.Config{Seed: w.seed, Caps: func(c *rawsock.Caps) { c.Header = !w.bare }}, nodes[0])

	family := 0
	if w.v6 {
		family = 1
	}
	src, dst := netip.MustParseAddr(addrs(0)[family]), netip.MustParseAddr(addrs(w.n)[family])
	port, err := c.Reserve(src, 17, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := trace.Config{
		Proto: probe.UDP, Src: netip.AddrPortFrom(src, port), Dst: netip.AddrPortFrom(dst, 53),
		First: 1, Max: 30, Attempts: 3, Wait: trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10},
	}
	if w.edit != nil {
		w.edit(&cfg)
	}
	a, err := trace.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var s heard
	if err := probe.Run(context.Background(), c, a, probe.Limits{}, &s); err != nil {
		t.Fatal(err)
	}
	if f := c.Faults(); len(f) > 0 {
		t.Errorf("packets no real host would accept: %v", f)
	}
	if s.end.Verdict != probe.Reached || !s.end.Complete {
		t.Errorf("%+v, want reached", s.end)
	}
	return &s
}

// random is a world by chance; its service answers promptly and once.
func random(seed uint64) (*world, *rand.Rand) {
	rnd := rand.New(rand.NewPCG(seed, 11))
	w := &world{seed: seed, n: 1 + rnd.IntN(8), v6: rnd.IntN(2) == 0}
	for ttl := w.n - 1; ttl > 0 && rnd.IntN(4) > 0; ttl-- {
		w.silent = append(w.silent, ttl)
	}
	w.answer.Jitter = time.Duration(rnd.IntN(5)) * time.Millisecond
	attempts, inFlight, near := 1+rnd.IntN(3), []int{0, 0, 0, 1, 2, 30}[rnd.IntN(6)], []float64{10, 10, 0, 3}[rnd.IntN(4)]
	w.edit = func(c *trace.Config) { c.Attempts, c.InFlight, c.Wait.Near = attempts, inFlight, near }
	return w, rnd
}

func (s *heard) print(t *testing.T) {
	t.Logf("%+v, findings %v", s.end, s.findings)
	for _, h := range s.hops {
		for _, o := range h.Outcomes {
			t.Logf("TTL %d: probe %d, status %d, from %v, answer %d, match %v, RTT %v", h.TTL, o.Serial, o.Status, o.From, o.Answer, o.Match, o.At.Sub(o.Sent))
		}
	}
}

// A service that is asked what it understands answers each probe as such: nothing waits for anything to be certain, however answers
// overtake each other, come twice or late.
func TestAskedService(t *testing.T) {
	for seed := range seeds(600) {
		w, rnd := random(seed)
		content := []probe.Content{probe.DNSQuery, probe.QUICInitial}[seed%2]
		w.service = map[probe.Content]simnet.Service{probe.DNSQuery: simnet.DNS, probe.QUICInitial: simnet.QUIC}[content]
		w.answer.Jitter = 20 * time.Millisecond
		if rnd.IntN(2) == 0 {
			w.answer.Dup, w.answer.Copies = 0.5, 2
		}
		if w.bare = rnd.IntN(4) == 0; !w.bare { // which would have to guess
			w.quote = []int{0, 8, 12, 28, simnet.Full}[rnd.IntN(5)]
		}
		edit := w.edit
		w.edit = func(c *trace.Config) { edit(c); c.Content = content }
		s := w.run(t)
		if int(s.end.LastTTL) != w.n || s.end.Vague || len(s.findings) > 0 {
			t.Errorf("%+v, findings %v, want reached at TTL %d", s.end, s.findings, w.n)
		}
		for _, h := range s.hops {
			for _, o := range h.Outcomes {
				if int(h.TTL) == w.n && (o.Status != probe.Answered || o.Answer != probe.Datagram) || o.Status == probe.Answered && (o.Match != probe.Strict || o.Spec.TTL != h.TTL) {
					t.Errorf("TTL %d: %+v", h.TTL, o)
				}
				if rtt, ok := o.RTT(); o.Answer == probe.Datagram && (!ok || rtt < time.Duration(2*w.n)*time.Millisecond || rtt >= time.Duration(2*w.n+20)*time.Millisecond) {
					t.Errorf("TTL %d: %v away", h.TTL, rtt)
				}
			}
		}
		if t.Failed() {
			s.print(t)
			t.Fatalf("seed %d: %v, %+v", seed, content, w)
		}
	}
}

func TestWellBehavedService(t *testing.T) {
	for seed := range seeds(600) {
		w, _ := random(seed)
		s := w.run(t)
		if int(s.end.LastTTL) != w.n || s.end.Vague || len(s.findings) > 0 {
			t.Errorf("%+v, findings %v, want reached at TTL %d", s.end, s.findings, w.n)
		}
		for _, h := range s.hops {
			for _, o := range h.Outcomes {
				if rtt, ok := o.RTT(); o.Answer == probe.Datagram && (int(h.TTL) != w.n || !ok || rtt < time.Duration(2*w.n)*time.Millisecond || rtt >= time.Duration(2*w.n+5)*time.Millisecond) {
					t.Errorf("TTL %d: %+v", h.TTL, o)
				}
				if int(h.TTL) == w.n && o.Status != probe.Answered {
					t.Errorf("the service's TTL: %+v", o)
				}
			}
		}
		if t.Failed() {
			s.print(t)
			t.Fatalf("seed %d: %+v", seed, w)
		}
	}
}

// Whatever strays there are, the service is never told nearer than it is; nor further, unless each of its
// attempts there went without an answer; and if nothing is lost it is told for sure.
func TestStraysOfAService(t *testing.T) {
	for seed := range seeds(1500) {
		w, rnd := random(seed)
		w.answer.Dup, w.answer.Copies = []float64{0, 0.5, 1}[rnd.IntN(3)], 1+rnd.IntN(2)
		switch rnd.IntN(4) {
		case 0: // every one takes up to 2 s
			w.answer.Jitter = 2 * time.Second
		case 1: // some come 2 s later
			w.answer.Reorder, w.answer.Hold = 0.5*rnd.Float64(), 2*time.Second
		case 2: // some come a little later
			w.answer.Reorder, w.answer.Hold = 0.5, time.Duration(120+rnd.IntN(380))*time.Millisecond
		case 3:
			w.answer.Jitter = time.Duration(rnd.IntN(500)) * time.Millisecond
		}
		loss := []float64{0, 0, 0.1, 0.3}[rnd.IntN(4)]
		w.copyLoss = []float64{0, loss}[rnd.IntN(2)]
		var answered []bool // by probe that arrived, in the order of sending
		w.service = func([]byte) []byte {
			answered = append(answered, rnd.Float64() >= loss)
			if !answered[len(answered)-1] {
				return nil
			}
			return []byte("hello")
		}
		s := w.run(t)

		last := int(s.end.LastTTL)
		switch {
		case s.end.Vague && loss == 0:
			t.Errorf("vague, want reached at TTL %d", w.n)
		case s.end.Vague != (len(s.findings) == 1 && s.findings[0] == "path-length-unknown"):
			t.Errorf("vague %v, findings %v", s.end.Vague, s.findings)
		case s.end.Vague, last == w.n:
		case last < w.n:
			t.Errorf("reached at TTL %d, want %d", last, w.n)
		case w.copyLoss == 0:
			var there []bool // at the service's TTL
			for _, ttl := range s.ttls {
				if ttl >= w.n {
					if ttl == w.n {
						there = append(there, answered[0])
					}
					answered = answered[1:]
				}
			}
			if attempts := len(s.hops[w.n-1].Outcomes); slices.Contains(there[len(there)-attempts:], true) {
				t.Errorf("reached at TTL %d, want %d, which answered: %v", last, w.n, there)
			}
		}
		for _, h := range s.hops {
			for _, o := range h.Outcomes {
				if o.Answer == probe.Datagram && int(h.TTL) != w.n && int(h.TTL) != last {
					t.Errorf("the service at TTL %d: %+v", h.TTL, o)
				}
			}
		}
		if t.Failed() {
			s.print(t)
			t.Fatalf("seed %d: %+v", seed, w)
		}
	}
}
