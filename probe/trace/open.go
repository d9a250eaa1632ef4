package trace

import (
	"time"

	"gtrace/probe"
)

// How a path is opened, whose length nobody knows. See docs/decisions/0014-opening.md.

const (
	// No answers are waited for up to the length that few paths exceed, and as many TTLs further as so
	// many probes are: else a trace would take several round trips.
	usualHops = 20
	spare     = 10

	// One TTL follows the other by so much for each probe, so that a near destination has answered before much goes
	// beyond it. So many attempts at a TTL leave together, so that the destination's own come before what goes
	// beyond it uses up what it answers.
	openStep  = 250 * time.Microsecond
	openTries = 3

	// Behind the opening a TTL waits until one that is no more than t.ahead before it answers, or for silence:
	// one TTL each aheadStep of it.
	aheadStep = 100 * time.Millisecond
)

// An opening is how far and how fast.
type opening struct {
	open  int           // up to this TTL no answers are waited for
	step  time.Duration // from one TTL to the next, up to there
	ahead int           // so many TTLs behind one that answered, from there on
}

func (c *Config) opening() (o opening) {
	o.ahead = max(1, spare/c.Attempts)
	o.open = int(c.Open)
	if o.open == 0 {
		o.open = max(usualHops, int(c.First)-1) + o.ahead
	}
	o.ahead = min(o.ahead, max(1, o.open-int(c.First)+1))
	o.step = openStep
	if c.Interval == 0 {
		o.step *= time.Duration(min(c.Attempts, openTries))
	}
	return o
}

// opens is when ttl may be asked as long as nobody behind it was heard.
func (t *T) opens(ttl int, h *hop) time.Time {
	// What answers from as far away as the last that did is not silent before its time.
	silent := t.since.Add(t.rtt(t.far))
	switch {
	case h != nil && h.sent >= openTries:
		return silent.Add(aheadStep)
	case ttl <= t.open:
		return t.start.Add(time.Duration(ttl-int(t.c.First)) * t.step)
	case ttl <= t.far+t.ahead:
		return t.now
	}
	return silent.Add(time.Duration(ttl-max(t.far+t.ahead, t.open)) * aheadStep)
}

// A check asks one silent TTL again. What went beyond a destination may have used up the errors it sends, this time or in a run
// before: then it is silent at its own TTL, and answers further away, or not at all. So behind the last router that
// was heard a TTL is asked once more when a token must be there. So it is where routers that were met before fall silent: they may be
// a loop, and be asked too much.
type check struct {
	ttl    int       // that is asked; 0: none
	at     time.Time // not before
	silent int       // the highest TTL that stayed so
}

// doubts reports whether nothing behind the last router that was heard is to be told yet, as the destination may be nearer than
// it seems.
func (t *T) doubts() bool {
	c := &t.check
	if t.alone != together || t.last != 0 || t.c.Interval > 0 || !t.limits() && !t.returned {
		return false
	}
	if c.ttl > t.limit() {
		c.ttl = 0 // the end was found nearer meanwhile
	}
	if c.ttl != 0 {
		if !t.isDecided(c.ttl) {
			return true
		}
		h := t.hops[c.ttl]
		c.at = h.last.Add(againEvery)
		switch {
		case h.answers == 0:
			c.silent = c.ttl
		case t.c.Losses && h.tally.Lost > 0 && !t.returned:
			h.judged = true
			h.askAgain()
		}
		c.ttl = 0
	}
	low, last := max(t.far, c.silent), t.limit()
	switch {
	case t.told > t.far, last <= low, t.end == low+1:
		return false
	case t.end == 0 && (c.silent > t.far || t.heard > t.far || t.c.Wait.Here == 0 && !t.returned):
		return false
	}
	for n := t.far + 1; n <= last; n++ {
		switch h := t.hops[n]; {
		case !t.isDecided(n):
			return true
		case n != t.end && h.answers > 0 || h.refused > 0:
			return false
		}
	}
	next := low + 1
	switch {
	case t.end != 0 && !t.isScarce():
		return false
	case t.end != 0 && c.silent > t.far:
		next = (low + t.end) / 2
	}
	c.ttl = next
	for n := next; n <= t.top; n++ {
		if h := t.hops[n]; h != nil {
			c.at = later(c.at, h.last.Add(againEvery))
		}
	}
	t.hops[next].reopen(&t.hops[next].tries[0])
	return true
}

// limits reports whether what a destination answers are ICMP errors, which hosts send only so often.
func (t *T) limits() bool { return t.c.Proto != probe.ICMP && t.c.Proto != probe.TCP }

// isScarce reports whether the destination left unanswered more than it answered.
func (t *T) isScarce() bool {
	answered, lost := 0, 0
	for n := t.end; n <= t.top; n++ {
		if h := t.hops[n]; h != nil {
			s := h.raw()
			answered, lost = answered+s.Of-s.Lost, lost+s.Lost
		}
	}
	return t.limits() && lost > answered
}
