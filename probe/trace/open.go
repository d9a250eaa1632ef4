package trace

import (
	"time"

	"gtrace/internal/stats"
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

	// So many TTLs are checked at most: routers that answer no more than what is asked slowly would take a second each.
	mostChecks = 8
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
	n      int       // how many were checked
}

// doubts reports whether nothing behind the last router that was heard is to be told yet, as the end may be nearer than
// it seems: the destination, or a router that goes no further.
func (t *T) doubts() bool {
	c := &t.check
	if t.alone != together || t.last != 0 || t.c.Interval > 0 {
		return false
	}
	last, end := t.limit(), t.end
	if t.isBlocked(last) {
		end = last
	}
	if c.ttl > last {
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
	low := max(t.far, c.silent)
	switch {
	case t.told > t.far, last <= low, end == low+1, c.n == mostChecks:
		return false
	case end != 0:
	case c.silent > t.far, t.heard > t.far, !t.returned && (t.c.Wait.Here == 0 || !t.limits()):
		return false
	}
	if t.told < t.far && !t.returned && (!t.isDecided(t.far) || t.isHeld(t.far)) {
		return true // it may be the one that is asked too much
	}
	for n := t.far + 1; n <= last; n++ {
		switch h := t.hops[n]; {
		case !t.isDecided(n):
			return true
		case n != end && h.answers > 0 || h.refused > 0:
			return false
		}
	}
	next := low + 1
	switch {
	case end != 0 && !t.isScarce(end):
		return false
	case end != 0 && c.silent > t.far:
		next = (low + end) / 2
	}
	c.ttl = next
	c.n++
	for n := max(t.far, int(t.c.First)); n <= t.top; n++ {
		if h := t.hops[n]; h != nil {
			c.at = later(c.at, h.last.Add(againEvery))
		}
	}
	t.hops[next].reopen(&t.hops[next].tries[0])
	return true
}

// limits reports whether what a destination answers are ICMP errors, which hosts send only so often.
func (t *T) limits() bool { return t.c.Proto != probe.ICMP && t.c.Proto != probe.TCP }

// isScarce reports whether what answers at a TTL and further on by ICMP errors left most of what came at once unanswered.
func (t *T) isScarce(ttl int) bool {
	var s stats.Share
	for n := ttl; n <= t.top; n++ {
		if h := t.hops[n]; h != nil {
			for _, a := range h.asks[:min(openTries, len(h.asks))] {
				s = count(s, a.status, 1)
			}
		}
	}
	return 2*s.Lost > s.Of && t.hops[ttl].answersWith(probe.Answer.IsError)
}
