package trace

import (
	"time"

	"gtrace/probe"
)

// Beside is what traces to one host that go on side by side, each by another kind of probes, have in common: a router limits what it
// answers to all of them together, and where one of them was answered another's silence is doubted. It belongs to one goroutine.
type Beside struct {
	hops [256]struct { // by TTL
		asked bucket
		rtt   time.Duration // of the first answer of a router
		heard bool          // there was one
	}
	end     int           // the smallest TTL at which the destination was; 0: not known
	rtt     time.Duration // to there
	checked time.Time     // none asks again before, so that who limits what it answers has one for each of them
}

// learn takes in what one of them was told at a TTL.
func (b *Beside) learn(ttl int, o *probe.Outcome) {
	rtt, ok := o.RTT()
	if b == nil || !ok {
		return
	}
	switch h := &b.hops[ttl]; {
	case o.Answer == probe.TimeExceeded && !h.heard:
		h.heard, h.rtt = true, rtt
	case o.Answer.Terminal() && (b.end == 0 || ttl < b.end):
		b.end, b.rtt = ttl, rtt
	}
}

// answered is how long another trace's first answer at a TTL took, and whether there was one.
func (b *Beside) answered(ttl int) (time.Duration, bool) {
	switch {
	case b == nil:
	case b.hops[ttl].heard:
		return b.hops[ttl].rtt, true
	case ttl == b.end:
		return b.rtt, true
	}
	return 0, false
}

// doubts reports whether the silence of h, at a TTL, is to be looked into: another trace was answered there. It is asked again once.
func (b *Beside) doubts(ttl int, h *hop) bool {
	_, answered := b.answered(ttl)
	return answered && h.answers == 0 && h.tally.Lost > 0 && h.again == 0
}

// A bucket is what a router answers: burst probes at once, and one more each perTTL.
type bucket struct{ full time.Time } // when it is again

// pay counts a probe that left at a time. What a bucket that is empty leaves unanswered empties it no further; behind that
// a token is left to be sure.
func (b *bucket) pay(at time.Time) {
	b.full = later(b.full, at).Add(perTTL)
	if most := at.Add((burst + 1) * perTTL); b.full.After(most) {
		b.full = most
	}
}

// ready is when there is a token.
func (b *bucket) ready() time.Time { return b.full.Add(-(burst - 1) * perTTL) }
