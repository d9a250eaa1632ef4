package trace

import (
	"math"
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
// before: then it is silent at its own TTL, and answers further away, or not at all. So does a router that goes no further, and
// so do those of a loop, each of which is asked at many TTLs. So a TTL is asked once more when a token must be there.
type check struct {
	ttl    int       // that is asked; 0: none
	held   int       // nothing behind this one is told meanwhile
	at     time.Time // the next is not asked before
	silent int       // the highest TTL behind the last router that was heard that stayed so
	n      int       // how many were checked
}

// all is a TTL behind which there is none.
const all = math.MaxUint8

// doubts checks what is to be, and is the TTL behind which nothing is told yet.
func (t *T) doubts(out *probe.Output) (held int) {
	if t.alone != together || t.last != 0 || t.c.Interval > 0 {
		return all
	}
	last, end := t.limit(), t.end
	if t.isBlocked(last) {
		end = last
	}
	c := &t.check
	switch {
	case c.ttl == 0:
	case c.ttl > last:
		c.ttl = 0 // the end was found nearer meanwhile
	case !t.isDecided(c.ttl):
		return c.held
	default:
		t.checked(t.hops[c.ttl])
	}
	if c.n == mostChecks {
		return all
	}
	next, held := t.missing(last)
	if held == all {
		next, held = t.nearer(last, end)
	}
	if held == all {
		return held
	}
	if _, answered := t.c.Beside.answered(next); answered && next != 0 {
		return all // it is asked again for that
	}
	if at := later(later(c.at, t.token(max(held, int(t.c.First)))), t.c.Beside.ready(next, t.far)); at.After(t.now) {
		if next != 0 || t.c.Attempts <= burst { // by then what is to be asked yet has been; the last of more come a second apart
			wake(out, at)
		}
		return held
	}
	if next == 0 {
		return held
	}
	h := t.hops[next]
	y := &h.tries[0]
	if y.state != decided { // it has waited long enough to be asked again
		if !y.givenUp {
			y.givenUp = true
			out.GiveUp = append(out.GiveUp, y.serial)
		}
		return held
	}
	c.ttl, c.held = next, held
	c.n++
	t.c.Beside.ask(next, t.far, t.now)
	h.reopen(y)
	return held
}

// checked takes in what became of the check at h.
func (t *T) checked(h *hop) {
	c := &t.check
	c.at = h.last.Add(againEvery)
	switch {
	case h.answers == 0:
		c.silent = max(c.silent, c.ttl)
	case t.c.Losses && h.tally.Lost > 0 && !t.returned:
		h.judged = true
		h.askAgain()
	}
	c.ttl = 0
}

// nearer is the TTL up to last at which the end may be, for all that is known: behind the last router that was heard or, where that
// stayed silent, by halves. held is all where there is nothing to doubt.
func (t *T) nearer(last, end int) (next, held int) {
	c := &t.check
	low := max(t.far, c.silent)
	switch {
	case t.told > t.far, last <= low, end == low+1:
		return 0, all
	case end != 0:
	case c.silent > t.far, t.heard > t.far, !t.returned && t.c.Wait.Here == 0:
		return 0, all
	}
	if t.told < t.far && !t.returned && (!t.isDecided(t.far) || t.isHeld(t.far)) {
		return 0, t.far // it may be the one that is asked too much
	}
	for n := t.far + 1; n <= last; n++ {
		switch h := t.hops[n]; {
		case !t.isDecided(n) && (end != 0 || h == nil || h.sent < t.c.Attempts):
			return 0, t.far
		case n != end && h.answers > 0 || h.refused > 0:
			return 0, all
		}
	}
	switch {
	case end != 0 && t.anew == 0 && !t.isScarce(end): // who began beyond the end may have used up all it answers
		return 0, all
	case end != 0 && c.silent > t.far:
		return (low + end) / 2, t.far
	}
	return low + 1, t.far
}

// missing is the first silent TTL at which a router that was met before would answer again if it is part of a loop. held is all
// where none is suspected.
func (t *T) missing(last int) (next, held int) {
	o, _ := t.alike(t.far)
	if !t.returned || t.c.Through || t.end != 0 || o == nil || t.cycle(t.far).certain() {
		return 0, all
	}
	first, before, period := 0, 0, all
	for ttl := int(t.c.First); ttl <= t.far; ttl++ {
		if m, _ := t.alike(ttl); m == nil || m.From != o.From {
			continue
		}
		if before != 0 && ttl-before > 1 {
			period = min(period, ttl-before)
		}
		if before = ttl; first == 0 {
			first = ttl
		}
	}
	for n := first + period; n <= last; n += period {
		h := t.hops[n]
		switch {
		case n <= t.told || h != nil && h.answers > 0:
		case h == nil || h.sent < t.c.Attempts:
			return 0, max(first, t.told)
		case h.refused > 0 || h.again > 0:
			return 0, all
		default:
			return n, max(first, t.told)
		}
	}
	return 0, all
}

// token is when whoever answers at ttl or further on has one to spare: one comes within a second behind the last that was
// answered, and behind the first that was not.
func (t *T) token(ttl int) time.Time {
	var first, answered time.Time
	for n := ttl; n <= t.top; n++ {
		if t.hops[n] == nil {
			continue
		}
		for _, a := range t.hops[n].asks {
			switch {
			case a.status == probe.Answered:
				answered = later(answered, a.at)
			case first.IsZero() || a.at.Before(first):
				first = a.at
			}
		}
	}
	return later(first, answered).Add(againEvery)
}

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
