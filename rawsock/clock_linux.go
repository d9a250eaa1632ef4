package rawsock

import "time"

const (
	// stepSize is how far the wall clock must have moved against the monotonic one
	// to count as a step. Reading both takes some 50 ns, and both are slewed alike
	// (clock_gettime(2)), so anything more is a step.
	stepSize = 10 * time.Microsecond
)

// A reading is both clocks read together.
type reading struct {
	at   time.Time // carries the monotonic clock
	wall int64     // CLOCK_REALTIME, nanoseconds since 1970
}

// readClocks reads the wall clock and, straight after it, the monotonic one.
func readClocks() reading {
	t := time.Now()
	return reading{t, t.UnixNano()}
}

// since is how far the wall clock moved against the monotonic one from p to r.
// It is too small by the time that passed between the two clock readings of r.
func (r reading) since(p reading) time.Duration {
	return time.Duration(r.wall-p.wall) - r.at.Sub(p.at)
}

// A clock turns the kernel's time stamps, which are of CLOCK_REALTIME, into
// times on the monotonic clock, which no one can set.
type clock struct {
	now   func() reading
	base  reading // what the two clocks said at one moment
	steps uint64  // seen so far
	epoch uint64  // counts up when base moves on: what is in a queue since before has stamps of the time before
}

func newClock(now func() reading) *clock {
	k := &clock{now: now}
	k.base = k.measure()
	return k
}

// measure reads both clocks as close together as they get: the wall clock is
// read first, so of several readings the one where it is furthest ahead is
// best.
func (k *clock) measure() reading {
	best := k.now()
	for range 8 {
		if r := k.now(); r.since(best) > 0 {
			best = r
		}
	}
	return best
}

// read returns the time. It is not steady if the wall clock was set since the
// last read: the stamps in between may be from before or from after that.
func (k *clock) read() (now time.Time, steady bool) {
	r := k.now()
	if abs(r.since(k.base)) <= stepSize {
		return r.at, true
	}
	// The thread may only have been put aside between the two clocks.
	best := k.measure()
	if abs(best.since(k.base)) <= stepSize {
		return r.at, true
	}
	k.base = best
	k.steps++
	k.epoch++
	return r.at, false
}

// A stamped is a queue of messages with stamps. After a step it may hold some of before, whoever noticed it, until it has
// been read to its end.
type stamped struct{ epoch uint64 }

// read is clock.read for what was just read from the queue, to its end if drained.
func (q *stamped) read(k *clock, drained bool) (now time.Time, steady bool) {
	now, steady = k.read()
	steady = steady && q.epoch == k.epoch
	if drained {
		q.epoch = k.epoch
	}
	return now, steady
}

// at is when the kernel took a stamp.
func (k *clock) at(stamp int64) time.Time {
	return k.base.at.Add(time.Duration(stamp - k.base.wall))
}

// place returns when the kernel took a stamp that it can only have taken
// between lo and hi. A stamp well outside is of a clock that was set and set
// back, and is not to be used.
func (k *clock) place(stamp int64, lo, hi time.Time) (t time.Time, ok bool) {
	t = k.at(stamp)
	switch {
	case t.Before(lo.Add(-StampSlack)), t.After(hi.Add(StampSlack)):
		k.steps++
		return time.Time{}, false
	case t.Before(lo):
		return lo, true
	case t.After(hi):
		return hi, true
	}
	return t, true
}

func abs(d time.Duration) time.Duration { return max(d, -d) }
