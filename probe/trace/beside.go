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
	end     int           // the smallest TTL at which the destination was; 0: not known
	rtt     time.Duration // to there
	open    int           // traces that have begun and not ended
	waiting int           // of them, those that do nothing but wait for the others
}

// besideLook is how often one that waits looks at what the others have found.
const besideLook = 50 * time.Millisecond

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

// answered is how long the first answer to any of them at a TTL took, and whether there was one: a router's, or the destination's at its own.
func (b *Beside) answered(ttl int) (time.Duration, bool) {
	switch {
	case b == nil:
		return 0, false
	case ttl == b.end:
		return b.rtt, true
	}
	return b.hops[ttl].rtt, b.hops[ttl].heard
}

// busy reports whether one of the others may still be answered.
func (b *Beside) busy(waits bool) bool {
	others := b.open - b.waiting
	if !waits {
		others--
	}
	return others > 0
}

// doubts reports whether the silence of h, at a TTL, is to be looked into: another trace was answered there. It is asked again once.
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

// mayBeHeard reports whether the silence of ttl is not to be told yet: a trace beside this one may still be answered there.
func (t *T) mayBeHeard(ttl int) bool {
	b, h := t.c.Beside, t.hops[ttl]
	return b != nil && t.c.Losses && t.alone == together && t.end == 0 && h.answers == 0 && h.refused == 0 && b.busy(t.awaits)
}

// await settles, at the end of a step in which there was room for so many probes, whether there is nothing to do but to wait for the traces beside it.
func (t *T) await(room int, out *probe.Output) {
	b := t.c.Beside
	if b == nil {
		return
	}
	if is := room > 0 && len(t.flying) == 0 && out.Wake.IsZero(); is != t.awaits {
		if t.awaits = is; is {
			b.waiting++
		} else {
			b.waiting--
		}
	}
	if t.awaits {
		wake(out, t.now.Add(besideLook))
	}
}

// part leaves the traces beside it, at the end.
func (t *T) part() {
	if b := t.c.Beside; b != nil && !t.start.IsZero() {
		if b.open--; t.awaits {
			b.waiting--
		}
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
