package many_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/many"
	"gtrace/probe/ping"
	"gtrace/probe/trace"
	"gtrace/report"
)

var us = netip.MustParseAddr("10.0.0.1")

// dst is the i-th target: no answer, an error, or an echo, in turns.
func dst(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}) }

// world is a host with a router and n targets behind, each with a link of its own.
func world(n int, chance *rand.Rand) *simnet.Conn {
	src, r := simnet.Host(us.String()), simnet.Router("10.0.1.1")
	src.Link(r)
	for i := range n {
		mid := simnet.Router(fmt.Sprintf("10.1.%d.%d", i>>8, i&255))
		h := simnet.Host(dst(i).String())
		h.Silent = chance.IntN(4) == 0
		h.NoEcho = chance.IntN(4) == 0
		l := r.Link(mid, dst(i).String()+"/32")
		l.Out.Delay = time.Duration(1+chance.IntN(80)) * time.Millisecond
		mid.Link(h)
	}
	return simnet.New(simnet.Config{}, src)
}

// A gathering is a sink that makes the document of each target.
type gathering struct {
	t       *testing.T
	sinks   map[int]probe.Sink
	out     map[int]*bytes.Buffer
	interim []probe.Interim
	trace   bool
	serials map[int]uint64 // the last sent
}

func newGathering(t *testing.T, trace bool) *gathering {
	return &gathering{t: t, sinks: map[int]probe.Sink{}, out: map[int]*bytes.Buffer{}, trace: trace, serials: map[int]uint64{}}
}

func (g *gathering) Emit(e probe.Event) error {
	if e, ok := e.(probe.Interim); ok {
		g.interim = append(g.interim, e)
		return nil
	}
	f, ok := e.(*probe.For)
	if !ok {
		g.t.Errorf("%T for no target", e)
		return nil
	}
	switch e := f.Event.(type) {
	case probe.Started:
		b := new(bytes.Buffer)
		make := report.NewPing
		if g.trace {
			make = report.NewTrace
		}
		s, err := make(b, "json", report.Options{})
		if err != nil {
			g.t.Fatal(err)
		}
		g.sinks[f.Target], g.out[f.Target] = s, b
	case *probe.Sent:
		g.serials[f.Target]++
		if e.Serial != g.serials[f.Target] || e.Spec.Tag != uint32(f.Target)+7 || e.Spec.Dst.Addr() != dst(f.Target) {
			g.t.Errorf("target %d: sent serial %d tag %d to %v, want %d, %d, %v", f.Target, e.Serial, e.Spec.Tag, e.Spec.Dst, g.serials[f.Target], f.Target+7, dst(f.Target))
		}
	case *probe.Probed:
		if e.Outcome.Spec.Tag != uint32(f.Target)+7 || e.Outcome.Spec.Dst.Addr() != dst(f.Target) {
			g.t.Errorf("target %d: outcome of tag %d to %v", f.Target, e.Outcome.Spec.Tag, e.Outcome.Spec.Dst)
		}
	}
	return g.sinks[f.Target].Emit(f.Event)
}

// document is what does not depend on when a target's turn was.
func (g *gathering) document(i int) any {
	var d any
	if g.out[i] == nil {
		g.t.Fatalf("target %d: nothing told", i)
	}
	if err := json.Unmarshal(g.out[i].Bytes(), &d); err != nil {
		g.t.Fatalf("target %d: %v: %s", i, err, g.out[i])
	}
	return timeless(d)
}

func timeless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range []string{"sent_at", "started_at", "duration_ms", "unmatched"} {
			delete(v, k)
		}
		for k := range v {
			v[k] = timeless(v[k])
		}
	case []any:
		for i := range v {
			v[i] = timeless(v[i])
		}
	}
	return v
}

// A tagged algorithm has tags of its own, and none but its own outcomes.
type tagged struct {
	t *testing.T
	probe.Algorithm
	tag  uint32
	sent uint64
}

func (a *tagged) Step(in probe.Input, out *probe.Output) {
	for _, o := range in.Outcomes {
		if o.Spec.Tag != a.tag || o.Serial == 0 || o.Serial > a.sent {
			a.t.Errorf("tag %d with %d sent: learns of serial %d, tag %d", a.tag, a.sent, o.Serial, o.Spec.Tag)
		}
	}
	a.Algorithm.Step(in, out)
	if len(out.Send) > in.Room {
		a.t.Errorf("%d sent, room for %d", len(out.Send), in.Room)
	}
	a.sent += uint64(len(out.Send))
	for i := range out.Send {
		out.Send[i].Tag = a.tag
	}
}

type maker func(i int, src netip.AddrPort) (probe.Algorithm, error)

// run measures n targets, most at once.
func run(t *testing.T, c *simnet.Conn, n, most int, traces bool, make maker) *gathering {
	t.Helper()
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	g, next := newGathering(t, traces), 0
	m := many.New(many.Config{Most: most, Next: func() (many.Target, bool) {
		if next == n {
			return many.Target{}, false
		}
		i := next
		next++
		a, err := make(i, netip.AddrPortFrom(us, port))
		if err != nil {
			t.Fatal(err)
		}
		return many.Target{Number: i, Algorithm: &tagged{t: t, Algorithm: a, tag: uint32(i) + 7},
			Started: probe.Started{Target: dst(i).String(), Dst: dst(i), Src: us, Method: probe.Method{Proto: probe.ICMP, FirstTTL: 1, MaxTTL: 30, Attempts: 3}}}, true
	}}, g)
	if err := probe.Run(t.Context(), c, m, probe.Limits{}, m); err != nil {
		t.Fatal(err)
	}
	if f := c.Faults(); len(f) > 0 {
		t.Errorf("packets no host would take: %v", f)
	}
	return g
}

func pings(i int, src netip.AddrPort) (probe.Algorithm, error) {
	return ping.New(ping.Config{Src: src, Dst: netip.AddrPortFrom(dst(i), 0), TTL: 64, Size: 84, Count: 3, Interval: time.Second, Timeout: time.Second})
}

func alive(i int, src netip.AddrPort) (probe.Algorithm, error) {
	return ping.NewAlive(ping.Config{Src: src, Dst: netip.AddrPortFrom(dst(i), 0), TTL: 64, Size: 84, Timeout: 100 * time.Millisecond}, ping.Tries{Retries: 2, Backoff: 1.5})
}

func traces(i int, src netip.AddrPort) (probe.Algorithm, error) {
	return trace.New(trace.Config{Proto: probe.ICMP, Src: src, Dst: netip.AddrPortFrom(dst(i), 0xbeef), First: 1, Max: 30, Attempts: 3,
		GapLimit: 2, Open: 3, Wait: trace.Wait{Max: time.Second}})
}

// TestAtOnce: what is measured at once comes out as if measured one after another, and nothing of
// one target is told of another.
func TestAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		make   maker
		traces bool
	}{{"pings", pings, false}, {"alive", alive, false}, {"traces", traces, true}} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprint(tt.name, seed), func(t *testing.T) {
				const n = 40
				chance := rand.New(rand.NewPCG(seed, 1))
				one := run(t, world(n, rand.New(rand.NewPCG(seed, 0))), n, 1, tt.traces, tt.make)
				all := run(t, world(n, rand.New(rand.NewPCG(seed, 0))), n, 2+chance.IntN(n), tt.traces, tt.make)
				for i := range n {
					if a, b := one.document(i), all.document(i); !reflect.DeepEqual(a, b) {
						t.Errorf("target %d alone: %v\nwith others: %v", i, a, b)
					}
				}
			})
		}
	}
}

// An ear hears the events that are for targets.
type ear func(target int, e probe.Event)

func (f ear) Emit(e probe.Event) error {
	if one, ok := e.(*probe.For); ok {
		f(one.Target, one.Event)
	} else {
		f(-1, e)
	}
	return nil
}

// wide is a host with a router and 65536 targets behind it.
func wide() *simnet.Conn {
	src, r, h := simnet.Host(us.String()), simnet.Router("10.0.1.1"), simnet.Host()
	h.Own = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}
	simnet.Path(src, r, h)
	return simnet.New(simnet.Config{}, src)
}

// TestReleased: of ten thousand targets no more than asked for are in progress at once, and nothing is left of
// them afterwards.
func TestReleased(t *testing.T) {
	const n, most = 10_000, 64
	c := wide()
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	var seen []weak.Pointer[ping.P]
	running, peak := 0, 0
	m := many.New(many.Config{Most: most, Next: func() (many.Target, bool) {
		i := len(seen)
		if i == n {
			return many.Target{}, false
		}
		p, err := pings(i, netip.AddrPortFrom(us, port))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, weak.Make(p.(*ping.P)))
		return many.Target{Number: i, Algorithm: p}, true
	}}, ear(func(_ int, e probe.Event) {
		switch e.(type) {
		case probe.Started:
			running++
			peak = max(peak, running)
		case probe.Finished:
			running--
		}
	}))
	if err := probe.Run(t.Context(), c, m, probe.Limits{}, m); err != nil {
		t.Fatal(err)
	}
	if len(seen) != n || running != 0 || peak != most {
		t.Errorf("%d begun, %d not ended, %d at once; want %d, 0, %d", len(seen), running, peak, n, most)
	}
	runtime.GC()
	kept := 0
	for _, p := range seen {
		if p.Value() != nil {
			kept++
		}
	}
	if kept > 0 {
		t.Errorf("%d algorithms of ended targets are kept", kept)
	}
	runtime.KeepAlive(m)
}

// TestTurns: where the rate lets few probes leave, all targets get as many as each other.
func TestTurns(t *testing.T) {
	const n = 50
	c := wide()
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	next := 0
	m := many.New(many.Config{Most: n, Next: func() (many.Target, bool) {
		if next == n {
			return many.Target{}, false
		}
		a, err := pings(next, netip.AddrPortFrom(us, port))
		if err != nil {
			t.Fatal(err)
		}
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, ear(func(i int, e probe.Event) {
		if _, ok := e.(*probe.Sent); ok {
			order = append(order, i)
		}
	}))
	start := c.Now()
	if err := probe.Run(t.Context(), c, m, probe.Limits{Rate: 10, Burst: 1}, m); err != nil {
		t.Fatal(err)
	}
	if len(order) != 3*n {
		t.Fatalf("%d sent, want %d", len(order), 3*n)
	}
	for k, i := range order {
		if i != k%n {
			t.Fatalf("probe %d was target %d's, want %d: %v", k, i, k%n, order)
		}
	}
	if took := c.Now().Sub(start); took < 14900*time.Millisecond {
		t.Errorf("%d probes at 10 a second in %v", len(order), took)
	}
}

// TestInterim: reports are asked for on a grid from the start, and an interrupted run ends every target once.
func TestInterim(t *testing.T) {
	const n = 3
	c := wide()
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	start, next := c.Now(), 0
	var at []time.Duration
	var ends []int
	m := many.New(many.Config{Most: 2, Every: 1500 * time.Millisecond, Next: func() (many.Target, bool) {
		if next == n {
			return many.Target{}, false
		}
		a, err := ping.New(ping.Config{Src: netip.AddrPortFrom(us, port), Dst: netip.AddrPortFrom(dst(next), 0), TTL: 64, Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, ear(func(i int, e probe.Event) {
		switch e := e.(type) {
		case probe.Interim:
			if !e.Resets || i != -1 {
				t.Errorf("%+v for target %d", e, i)
			}
			at = append(at, e.At.Sub(start))
		case probe.Finished:
			if e.Verdict != probe.Interrupted || e.Complete {
				t.Errorf("target %d: %+v, want interrupted", i, e)
			}
			ends = append(ends, i)
		}
	}))
	c.At(start.Add(5*time.Second), c.Interrupt)
	if err := probe.Run(t.Context(), c, m, probe.Limits{}, m); !errors.Is(err, probe.ErrInterrupted) {
		t.Fatalf("error %v, want interrupted", err)
	}
	if want := []time.Duration{1500 * time.Millisecond, 3 * time.Second, 4500 * time.Millisecond}; !slices.Equal(at, want) {
		t.Errorf("asked at %v, want %v", at, want)
	}
	if want := []int{0, 1}; !slices.Equal(ends, want) {
		t.Errorf("targets %v ended, want %v: the third never began", ends, want)
	}
}

// TestChecked: what the engine counts of a target's probes is that target's, and the rest everybody's.
func TestChecked(t *testing.T) {
	src, r, h := simnet.Host(us.String()), simnet.Router("10.0.1.1"), simnet.Host()
	h.Own = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}
	src.Link(r)
	r.Link(h)
	late := simnet.Host(dst(1).String())
	late.Answer.Delay = 1200 * time.Millisecond
	r.Link(late, dst(1).String()+"/32")
	c := simnet.New(simnet.Config{Refuse: simnet.RefuseTo(dst(2), "EHOSTUNREACH")}, src)
	checked := map[int]probe.Checked{}
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	m := many.New(many.Config{Most: 3, Next: func() (many.Target, bool) {
		if next == 3 {
			return many.Target{}, false
		}
		a, err := pings(next, netip.AddrPortFrom(us, port))
		if err != nil {
			t.Fatal(err)
		}
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, ear(func(i int, e probe.Event) {
		if e, ok := e.(probe.Checked); ok {
			if _, twice := checked[i]; twice {
				t.Errorf("target %d checked twice", i)
			}
			checked[i] = e
		}
	}))
	if err := probe.Run(t.Context(), c, m, probe.Limits{}, m); err != nil {
		t.Fatal(err)
	}
	want := map[int]probe.Checked{0: {}, 1: {Late: 2}, 2: {SendErrors: 3}}
	if !reflect.DeepEqual(checked, want) {
		t.Errorf("checked %+v, want %+v", checked, want)
	}
}

// TestRecalledBeforeItLeft: a target's end takes back what could not leave by then, and the others go on at once.
func TestRecalledBeforeItLeft(t *testing.T) {
	src, r, h := simnet.Host(us.String()), simnet.Router("10.0.1.1"), simnet.Host()
	h.Own = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}
	src.Link(r)
	r.Link(h)
	c := simnet.New(simnet.Config{Refuse: simnet.RefuseTo(dst(0), "ENOBUFS")}, src)
	start := c.Now()
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	ended := map[int]time.Duration{}
	replies := map[int]int{}
	m := many.New(many.Config{Most: 2, Next: func() (many.Target, bool) {
		if next == 2 {
			return many.Target{}, false
		}
		p := ping.Config{Src: netip.AddrPortFrom(us, port), Dst: netip.AddrPortFrom(dst(next), 0), TTL: 64, Size: 84, Interval: 200 * time.Millisecond}
		if p.Deadline = 300 * time.Millisecond; next == 1 {
			p.Deadline, p.Count = 0, 3
		}
		a, err := ping.New(p)
		if err != nil {
			t.Fatal(err)
		}
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, ear(func(i int, e probe.Event) {
		switch e := e.(type) {
		case *probe.Sent:
			if i == 0 {
				t.Error("said to have left what did not")
			}
		case *probe.Probed:
			if i == 0 {
				t.Errorf("outcome %+v of what was recalled", e.Outcome)
			} else if e.Outcome.Status == probe.Answered {
				replies[i]++
			}
		case probe.Finished:
			ended[i] = e.At.Sub(start)
		}
	}))
	if err := probe.Run(t.Context(), c, m, probe.Limits{}, m); err != nil {
		t.Fatal(err)
	}
	if ended[0] != 300*time.Millisecond || ended[1] > 900*time.Millisecond || replies[1] != 3 {
		t.Errorf("ended after %v, %d replies; want 300ms, and before the second a full queue is waited for at most", ended, replies[1])
	}
}

// TestFloodIsForgotten: what a long flood to one target has asked is not kept.
func TestFloodIsForgotten(t *testing.T) {
	src, h := simnet.Host(us.String()), simnet.Host(dst(0).String())
	l := src.Link(h)
	l.Out.Delay, l.Back.Delay = 0, 0
	c := simnet.New(simnet.Config{}, src)
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	const count = 200_000
	a, err := ping.New(ping.Config{Src: netip.AddrPortFrom(us, port), Dst: netip.AddrPortFrom(dst(0), 0), TTL: 64, Size: 84, Count: count})
	if err != nil {
		t.Fatal(err)
	}
	begun, sent := false, 0
	var before, after runtime.MemStats
	m := many.New(many.Config{Most: 1, Next: func() (many.Target, bool) {
		first := !begun
		begun = true
		return many.Target{Algorithm: a}, first
	}}, ear(func(_ int, e probe.Event) {
		if _, ok := e.(*probe.Sent); !ok {
			return
		}
		switch sent++; sent {
		case count - 65_000:
			runtime.GC()
			runtime.ReadMemStats(&before)
		case count:
			runtime.GC()
			runtime.ReadMemStats(&after)
		}
	}))
	if err := probe.Run(t.Context(), c, m, probe.Limits{InFlight: 1000}, m); err != nil {
		t.Fatal(err)
	}
	if sent != count {
		t.Fatalf("%d sent, want %d", sent, count)
	}
	if more := int64(after.HeapAlloc) - int64(before.HeapAlloc); more > 3<<20 {
		t.Errorf("grew by %d bytes", more)
	}
}

// TestRefused: what cannot be sent is learnt too, be it all there is.
func TestRefused(t *testing.T) {
	for name, make := range map[string]maker{"pings": pings, "alive": alive} {
		t.Run(name, func(t *testing.T) {
			src, r := simnet.Host(us.String()), simnet.Router("10.0.1.1")
			src.Link(r)
			c := simnet.New(simnet.Config{Refuse: simnet.RefuseTo(dst(0), "EMSGSIZE")}, src)
			g := run(t, c, 1, 1, false, make)
			if d := g.document(0).(map[string]any); d["outcome"] != "error" {
				t.Errorf("%v, want an error", d)
			}
		})
	}
}

// TestLater: a target there was no place for is begun when another has ended and that was told, also where it is
// the only one left.
func TestLater(t *testing.T) {
	c := wide()
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, told := 0, 0
	m := many.New(many.Config{Most: 10, Next: func() (many.Target, bool) {
		if next == 3 || next > told { // one at a time
			return many.Target{}, false
		}
		a, err := pings(next, netip.AddrPortFrom(us, port))
		if err != nil {
			t.Fatal(err)
		}
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, ear(func(_ int, e probe.Event) {
		if _, ok := e.(probe.Finished); ok {
			told++
		}
	}))
	if err := probe.Run(t.Context(), c, m, probe.Limits{Rate: 100}, m); err != nil {
		t.Fatal(err)
	}
	if told != 3 {
		t.Errorf("%d of 3 targets ended", told)
	}
}

// TestTargetsToCome: while there may be more targets the run waits for them, begins each as there is room, and ends when there are none.
func TestTargetsToCome(t *testing.T) {
	c := wide()
	port, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	const n = 100
	start, next, late, waiting, most := c.Now(), 0, false, 0, 0
	more := func() bool { return c.Now().Sub(start) < 5*time.Second || next < n }
	m := many.New(many.Config{Most: n, More: more, Next: func() (many.Target, bool) {
		if !more() || next == n || next == n/2 && c.Now().Sub(start) < 3*time.Second {
			return many.Target{}, false
		}
		a, err := ping.New(ping.Config{Src: netip.AddrPortFrom(us, port), Dst: netip.AddrPortFrom(dst(next), 0), TTL: 64, Count: 1, Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		next++
		return many.Target{Number: next - 1, Algorithm: a}, true
	}}, ear(func(i int, e probe.Event) {
		switch e.(type) {
		case probe.Started:
			waiting++
			late = late || i == n/2 && c.Now().Sub(start) < 3100*time.Millisecond
		case *probe.Sent:
			waiting--
		}
		most = max(most, waiting)
	}))
	if err := probe.Run(t.Context(), c, m, probe.Limits{Rate: 100, Burst: 2}, m); err != nil {
		t.Fatal(err)
	}
	if next != n || !late || most > 2 {
		t.Errorf("%d begun, soon after they came %v, up to %d begun without having sent; want %d, true, 2", next, late, most, n)
	}
	if took := c.Now().Sub(start); took < 5*time.Second || took > 5100*time.Millisecond {
		t.Errorf("it took %v, want until there were no more", took)
	}
}
