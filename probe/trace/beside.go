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
		again time.Time     // none asks again before what the router here would answer
	}
}

// learn takes in what one of them was told at a TTL.
func (b *Beside) learn(ttl int, o *probe.Outcome) {
	if rtt, ok := o.RTT(); b != nil && ok && o.Answer == probe.TimeExceeded && !b.hops[ttl].heard {
		b.hops[ttl].heard, b.hops[ttl].rtt = true, rtt
	}
}

// answered is how long a router's first answer to any of them took, and whether there was one.
func (b *Beside) answered(ttl int) (time.Duration, bool) {
	if b == nil {
		return 0, false
	}
	return b.hops[ttl].rtt, b.hops[ttl].heard
}

// doubts reports whether the silence of h, at a TTL, is to be looked into: a router answered another trace there. It is asked again once.
func (b *Beside) doubts(ttl int, h *hop) bool {
	_, answered := b.answered(ttl)
	return answered && h.answers == 0 && h.tally.Lost > 0 && h.again == 0
}

// ready is when a TTL may be asked again by a trace that heard routers up to far: it is the router there that answers, or the last that was heard,
// if it refuses what goes further.
func (b *Beside) ready(ttl, far int) time.Time {
	if b == nil {
		return time.Time{}
	}
	return later(b.hops[ttl].again, b.hops[min(ttl, far)].again)
}

// ask takes down that it is asked again.
func (b *Beside) ask(ttl, far int, at time.Time) {
	if b != nil {
		b.hops[ttl].again, b.hops[min(ttl, far)].again = at.Add(againEvery), at.Add(againEvery)
	}
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
