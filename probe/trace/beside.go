package trace

import (
	"time"

	"gtrace/probe"
)

// Beside is what traces to one host that go on side by side, each by another kind of probes, have in common: a router limits what it
// answers to all of them together, and where one of them was answered another's silence is doubted. It belongs to one goroutine.
type Beside struct {
	hops [256]struct { // by TTL
		asked   bucket
		expired bool // a router was heard
	}
	end     int       // the smallest TTL at which the destination was; 0: not known
	checked time.Time // no check of any of them before
}

// besideMost is how often a TTL is asked again where another trace was answered.
const besideMost = 2

// learn takes in what one of them was told at a TTL.
func (b *Beside) learn(ttl int, o *probe.Outcome) {
	switch {
	case b == nil:
	case o.Answer == probe.TimeExceeded:
		b.hops[ttl].expired = true
	case o.Answer.Terminal() && (b.end == 0 || ttl < b.end):
		b.end = ttl
	}
}

// doubtful reports whether the silence of h, at a TTL, is to be looked into: another trace was answered there.
func (b *Beside) doubtful(ttl int, h *hop) bool {
	return b != nil && h.answers == 0 && h.tally.Lost > 0 && h.again < besideMost && (b.hops[ttl].expired || ttl == b.end)
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
