package rawsock

import (
	"testing"
	"time"
)

// fakeClocks are a monotonic clock and a wall clock that can be set.
type fakeClocks struct {
	at   time.Time
	wall int64
	gap  time.Duration // between the two clock readings
}

func (f *fakeClocks) pass(d time.Duration) { f.at, f.wall = f.at.Add(d), f.wall+int64(d) }
func (f *fakeClocks) read() reading        { return reading{f.at.Add(f.gap), f.wall} }

func TestClockPlace(t *testing.T) {
	f := &fakeClocks{at: time.Now(), wall: 1e18}
	k := newClock(f.read)
	start, wall := f.at, f.wall
	f.pass(time.Second)
	lo, hi := start, f.at
	tests := []struct {
		name  string
		stamp time.Duration // after start
		want  time.Duration
		ok    bool
	}{
		{"inside", 400 * time.Millisecond, 400 * time.Millisecond, true},
		{"at the end", time.Second, time.Second, true},
		{"a little early", -time.Millisecond, 0, true},
		{"a little late", time.Second + 4*time.Millisecond, time.Second, true},
		{"too early", -6 * time.Millisecond, 0, false},
		{"too late", time.Second + 6*time.Millisecond, 0, false},
		{"years off", -1e18, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps := k.steps
			at, ok := k.place(wall+int64(tt.stamp), lo, hi)
			if ok != tt.ok || ok && at.Sub(start) != tt.want {
				t.Errorf("%v, %v, want %v, %v", at.Sub(start), ok, tt.want, tt.ok)
			}
			if counted := k.steps - steps; (counted == 0) != tt.ok {
				t.Errorf("%d steps counted", counted)
			}
		})
	}
}

func TestClockStep(t *testing.T) {
	tests := []struct {
		name   string
		step   time.Duration
		gap    time.Duration
		steady bool
	}{
		{name: "none", steady: true},
		{name: "the thread was put aside between the clocks", gap: 8 * time.Microsecond, steady: true},
		{name: "forwards", step: time.Hour},
		{name: "backwards", step: -time.Hour},
		{name: "by 1 ms", step: time.Millisecond},
		{name: "by -20 µs", step: -20 * time.Microsecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeClocks{at: time.Now(), wall: 1e18}
			k := newClock(f.read)
			f.pass(time.Minute)
			f.wall += int64(tt.step)
			f.gap = tt.gap
			if _, steady := k.read(); steady != tt.steady {
				t.Errorf("steady: %v, want %v", steady, tt.steady)
			}
			if stepped := k.steps == 1; stepped == tt.steady {
				t.Errorf("%d steps counted", k.steps)
			}
			// From here on stamps are right again.
			f.gap = 0
			stamp, want := f.wall, f.at
			f.pass(time.Second)
			now, steady := k.read()
			if !steady {
				t.Error("not steady after the step")
			}
			at, ok := k.place(stamp, want.Add(-time.Second), now)
			if !ok || at.Sub(want).Abs() > stepSize {
				t.Errorf("a stamp after the step is %v off (%v)", at.Sub(want), ok)
			}
		})
	}
}

// TestStampedQueue: a step that was noticed elsewhere, as before a send, makes what waited in a queue meanwhile
// unsteady, however much that is, and nothing behind it.
func TestStampedQueue(t *testing.T) {
	f := &fakeClocks{at: time.Now(), wall: 1e18}
	k := newClock(f.read)
	var q, other stamped
	want := func(what string, q *stamped, drained, want bool) {
		t.Helper()
		f.pass(time.Second)
		if _, steady := q.read(k, drained); steady != want {
			t.Errorf("%s: steady %v, want %v", what, steady, want)
		}
	}
	want("before", &q, true, true)
	f.wall += int64(20 * time.Millisecond)
	if _, steady := k.read(); steady {
		t.Error("no step noticed")
	}
	want("the first of what waited", &q, false, false)
	want("the rest of it", &q, true, false)
	want("what came since", &q, false, true)
	want("another queue", &other, true, false)
	want("another queue, since", &other, true, true)
	if k.steps != 1 {
		t.Errorf("%d steps, want 1", k.steps)
	}
}

// TestClockInterrupted: a reading whose two clocks lie far apart, because the
// thread was put aside in between, is no step as long as another one shows
// none.
func TestClockInterrupted(t *testing.T) {
	f := &fakeClocks{at: time.Now(), wall: 1e18}
	k := newClock(f.read)
	late := true
	k.now = func() reading {
		r := f.read()
		if late {
			late = false
			r.at = r.at.Add(3 * time.Millisecond)
		}
		return r
	}
	if _, steady := k.read(); !steady || k.steps != 0 {
		t.Errorf("steady %v with %d steps, want no step", steady, k.steps)
	}
}

func TestTxIDs(t *testing.T) {
	var x txIDs
	start := uint32(1<<32 - 3)
	x.next = start
	for n := range uint64(6) {
		x.add(n, time.Time{})
	}
	if x.find(start-1) != nil || x.find(x.next) != nil {
		t.Error("a number that was not given is found")
	}
	for i := range uint32(6) { // across the wrap
		e := x.find(start + i)
		if e == nil || e.n != uint64(i) {
			t.Fatalf("number %d: %+v, want packet %d", start+i, e, i)
		}
		e.wait = false
		if x.find(start+i) != nil {
			t.Errorf("number %d is found twice", start+i)
		}
	}
	for n := range uint64(len(x.ring)) {
		x.add(100+n, time.Time{})
	}
	if x.find(x.next-uint32(len(x.ring))-1) != nil {
		t.Error("a packet whose place was taken is found")
	}
	if e := x.find(x.next - uint32(len(x.ring))); e == nil || e.n != 100 {
		t.Errorf("the oldest remembered packet: %+v, want packet 100", e)
	}
	x.restart()
	if x.find(x.next-1) != nil || x.next != 0 {
		t.Error("a packet is remembered across a restart")
	}
}
