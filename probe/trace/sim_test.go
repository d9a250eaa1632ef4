package trace

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/probe"
)

var (
	epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	src   = netip.MustParseAddr("198.51.100.2")
	dst   = netip.MustParseAddr("192.0.2.9")
)

const ms = time.Millisecond

// good is a trace that New accepts; tests change what they are about.
func good() Config {
	return Config{
		Proto: probe.UDP, Src: netip.AddrPortFrom(src, 40000), Dst: netip.AddrPortFrom(dst, 33434),
		First: 1, Max: 30, Attempts: 3, Wait: Wait{Max: 5 * time.Second, Here: 3, Near: 10}, Open: 3,
	}
}

// router is the address of the hop at a TTL.
func router(ttl int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(ttl), 1}) }

// A run holds a trace, its clock and all it has said.
type run struct {
	*testing.T
	a      *T
	now    time.Time
	room   int
	sent   []probe.Sent // by serial, from 1
	open   map[uint64]bool
	events []probe.Event
	last   probe.Output
}

func start(t *testing.T, c Config) *run {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Open != 0 { // all of it at once, and little more: TestOpening has what is usual
		a.step = 0
		if c.Attempts == 1 {
			a.ahead = 5
		}
	}
	return &run{T: t, a: a, now: epoch, room: 1024, open: map[uint64]bool{}}
}

// step steps the trace after some time with some outcomes and holds what every step must hold.
func (r *run) step(after time.Duration, os ...probe.Outcome) probe.Output {
	r.Helper()
	return r.do(after, nil, os)
}

func (r *run) stop(after time.Duration, why error, os ...probe.Outcome) probe.Output {
	r.Helper()
	return r.do(after, why, os)
}

func (r *run) do(after time.Duration, stop error, os []probe.Outcome) probe.Output {
	r.Helper()
	r.now = r.now.Add(after)
	for i := range os {
		if os[i].Status == probe.Answered && os[i].At.IsZero() {
			os[i].At = r.now
		}
		delete(r.open, os[i].Serial)
	}
	var out probe.Output
	r.a.Step(probe.Input{Now: r.now, Room: r.room, Outcomes: os, Stop: stop}, &out)
	if len(out.Send) > r.room {
		r.Fatalf("%d probes sent, room was %d", len(out.Send), r.room)
	}
	for _, s := range out.Send {
		r.sent = append(r.sent, probe.Sent{Serial: uint64(len(r.sent) + 1), Spec: s, At: r.now})
		r.open[uint64(len(r.sent))] = true
	}
	if most := cmp.Or(r.a.c.InFlight, defaultInFlight); len(r.open) > most {
		r.Fatalf("%d probes in flight, want at most %d", len(r.open), most)
	}
	if !out.Wake.IsZero() && !out.Wake.After(r.now) {
		r.Fatalf("wake at %v, now is %v", out.Wake.Sub(epoch), r.now.Sub(epoch))
	}
	r.events = append(r.events, out.Events...)
	r.last = out
	return out
}

// serial finds the latest probe for an attempt at a TTL.
func (r *run) serial(ttl, attempt int) uint64 {
	r.Helper()
	for _, s := range slices.Backward(r.sent) {
		if int(s.Spec.TTL) == ttl && int(s.Spec.Attempt) == attempt {
			return s.Serial
		}
	}
	r.Fatalf("no probe for TTL %d, attempt %d", ttl, attempt)
	return 0
}

// outcome is the answer to an attempt, or its loss where from is not valid.
func (r *run) outcome(ttl, attempt int, from netip.Addr, a probe.Answer) probe.Outcome {
	r.Helper()
	return r.to(r.serial(ttl, attempt), from, a)
}

func (r *run) to(serial uint64, from netip.Addr, a probe.Answer) probe.Outcome {
	s := r.sent[serial-1]
	o := probe.Outcome{Serial: serial, Spec: s.Spec, Sent: s.At, Status: probe.Lost}
	if from.IsValid() {
		o.Status, o.From, o.Answer, o.Match = probe.Answered, from, a, probe.Strict
	}
	return o
}

func (r *run) lost(ttl, attempt int) probe.Outcome {
	r.Helper()
	return r.outcome(ttl, attempt, netip.Addr{}, 0)
}

func (r *run) hop(ttl, attempt int) probe.Outcome {
	r.Helper()
	return r.outcome(ttl, attempt, router(ttl), probe.TimeExceeded)
}

func (r *run) reached(ttl, attempt int) probe.Outcome {
	r.Helper()
	return r.outcome(ttl, attempt, dst, probe.PortUnreachable)
}

// wantSent compares what one step sent, as TTL and attempt pairs.
func (r *run) wantSent(out probe.Output, want ...[2]int) {
	r.Helper()
	var got [][2]int
	for _, s := range out.Send {
		got = append(got, [2]int{int(s.TTL), int(s.Attempt)})
	}
	if !slices.Equal(got, want) {
		r.Fatalf("sent (TTL, attempt) %v, want %v", got, want)
	}
}

// wantHops compares the hops of some events, by TTL.
func (r *run) wantHops(events []probe.Event, want ...int) {
	r.Helper()
	var got []int
	for _, e := range events {
		if h, ok := e.(probe.Hop); ok {
			got = append(got, int(h.TTL))
		}
	}
	if !slices.Equal(got, want) {
		r.Fatalf("hops %v, want %v", got, want)
	}
}

// wantWake compares the wake of the last step with a time from now.
func (r *run) wantWake(want time.Duration) {
	r.Helper()
	if got := r.last.Wake.Sub(r.now); r.last.Wake.IsZero() || got != want {
		r.Fatalf("wake in %v, want in %v", got, want)
	}
}

func (r *run) hopAt(ttl int) probe.Hop {
	r.Helper()
	for _, e := range r.events {
		if h, ok := e.(probe.Hop); ok && int(h.TTL) == ttl {
			return h
		}
	}
	r.Fatalf("no hop %d", ttl)
	return probe.Hop{}
}

// findings are the codes found.
func (r *run) findings() (codes []string) {
	for _, e := range r.events {
		if f, ok := e.(probe.Finding); ok {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

func (r *run) wantFindings(want ...string) {
	r.Helper()
	if got := r.findings(); !slices.Equal(got, want) {
		r.Fatalf("findings %v, want %v", got, want)
	}
}

// finished returns the last event, which must be the only Finished.
func (r *run) finished() probe.Finished {
	r.Helper()
	n := 0
	for _, e := range r.events {
		if _, ok := e.(probe.Finished); ok {
			n++
		}
	}
	if n != 1 {
		r.Fatalf("finished %d times, want once", n)
	}
	f, ok := r.events[len(r.events)-1].(probe.Finished)
	if !ok || !r.last.Done {
		r.Fatalf("last event %T, done %v", r.events[len(r.events)-1], r.last.Done)
	}
	return f
}

func (r *run) wantFinished(v probe.Verdict, last int) {
	r.Helper()
	if f := r.finished(); f.Verdict != v || int(f.LastTTL) != last || !f.Complete || f.At != r.now {
		r.Fatalf("finished %+v, want complete, %q at TTL %d, at %v", f, v, last, r.now)
	}
}

// An answer comes some time after its probe left.
type answer struct {
	after time.Duration
	o     probe.Outcome
}

// A net answers probes.
type net func(s probe.Sent) []answer

// path is a plain path of n TTLs, the last of them the destination, 1 ms each.
func (r *run) path(n int) net {
	return func(s probe.Sent) []answer {
		ttl := int(s.Spec.TTL)
		if ttl >= n {
			return []answer{{time.Duration(n) * ms, r.to(s.Serial, dst, probe.PortUnreachable)}}
		}
		return []answer{{time.Duration(ttl) * ms, r.to(s.Serial, router(ttl), probe.TimeExceeded)}}
	}
}

// after is n with so long instead of each 1 ms.
func (n net) after(per time.Duration) net {
	return func(s probe.Sent) []answer {
		as := n(s)
		for i := range as {
			as[i].after = as[i].after * per / ms
		}
		return as
	}
}

// but is n with other answers where f has any; an empty list is silence.
func (n net) but(f func(s probe.Sent) []answer) net {
	return func(s probe.Sent) []answer {
		if as := f(s); as != nil {
			return as
		}
		return n(s)
	}
}

var silence = []answer{}

// drive runs the trace on a network to its end, as the engine would: what is not
// answered in time is Lost, what comes afterwards is Late, what comes again a Duplicate.
func (r *run) drive(n net) {
	r.Helper()
	type arrival struct {
		at time.Time
		o  probe.Outcome
	}
	var coming []arrival // by time
	add := func(at time.Time, o probe.Outcome) {
		i, _ := slices.BinarySearchFunc(coming, at, func(a arrival, at time.Time) int {
			return cmp.Or(a.at.Compare(at), -1) // behind its equals
		})
		coming = slices.Insert(coming, i, arrival{at, o})
	}
	known := 0
	fate := map[uint64]probe.Status{}
	out := r.step(0)
	for steps := 0; !out.Done; steps++ {
		if steps > 200_000 {
			r.Fatal("no end after 200000 steps")
		}
		for ; known < len(r.sent); known++ {
			s := r.sent[known]
			if !r.open[s.Serial] {
				continue
			}
			for _, a := range n(s) {
				add(s.At.Add(a.after), a.o)
			}
			add(s.At.Add(s.Spec.Timeout), r.to(s.Serial, netip.Addr{}, 0))
		}
		for _, serial := range out.GiveUp {
			add(r.now, r.to(serial, netip.Addr{}, 0))
		}
		next := out.Wake
		if len(coming) > 0 && (next.IsZero() || coming[0].at.Before(next)) {
			next = coming[0].at
		}
		if next.IsZero() {
			r.Fatal("nothing to wait for, and no end")
		}
		var os []probe.Outcome
		for ; len(coming) > 0 && !coming[0].at.After(next); coming = coming[1:] {
			o := coming[0].o
			if o.Match == probe.Alone {
				// Nothing in it says whose it is.
				var waiting []uint64
				for serial := range r.open {
					if fate[serial] == 0 {
						waiting = append(waiting, serial)
					}
				}
				switch len(waiting) {
				case 0:
					continue
				case 1:
					o = r.to(waiting[0], o.From, o.Answer)
					o.Match = probe.Alone
				default:
					o.Serial, o.Sent, o.Match = 0, time.Time{}, probe.FlowOnly
				}
			}
			was := fate[o.Serial]
			if was != 0 && o.Status == probe.Lost || was == probe.Failed {
				continue
			}
			if o.Serial != 0 {
				o.Late = was == probe.Lost
				o.Duplicate = was == probe.Answered
				fate[o.Serial] = o.Status
			}
			if o.Status == probe.Answered {
				o.At = coming[0].at
			}
			os = append(os, o)
		}
		out = r.step(max(0, next.Sub(r.now)), os...)
	}
}

var errLink = errors.New("link is down")
