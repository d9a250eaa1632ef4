package probe

import (
	"math"
	"time"
)

// A pace is a token bucket that is told the time. The zero rate does not limit.
type pace struct {
	rate, burst float64 // probes a second; probes
	tokens      float64
	at          time.Time // when tokens was right
	strict      bool
}

const (
	// So long probes and lost answers are counted before it is asked whether the latter came of the former.
	easeEvery = 500 * time.Millisecond
	// No slower than this, in probes a second, a run goes by itself: then it is not its own answers that fill its buffers.
	easeLeast = 1000
)

// An easing makes a run go slower that asks more than this host reads.
type easing struct {
	since  time.Time
	sent   int    // probes, since then
	drops  uint64 // answers that were lost on this host until then
	waits  bool   // what is lost meanwhile was asked for before the rate was lowered
	lowest float64
}

// look is the rate to go on at, in probes a second, or 0: as before, which is at most asked (0: any). It is half of what probes left at
// while answers were lost.
func (e *easing) look(now time.Time, asked float64, drops func() uint64) (rate float64) {
	d := now.Sub(e.since)
	if d < easeEvery || e.sent == 0 {
		return 0
	}
	lost := drops()
	if left := float64(e.sent) / d.Seconds(); lost > e.drops && !e.waits && left > easeLeast {
		if rate = max(easeLeast, left/2); asked != 0 && rate >= asked {
			rate = 0
		} else {
			e.lowest = rate
		}
	}
	e.since, e.sent, e.drops, e.waits = now, 0, lost, rate != 0
	return rate
}

func newPace(l Limits, now time.Time) pace {
	b := float64(max(l.Burst, 1))
	return pace{rate: l.Rate, burst: b, tokens: b, at: now, strict: l.Strict}
}

// room is how many probes may leave at now.
func (p *pace) room(now time.Time) int {
	if p.rate == 0 {
		return math.MaxInt
	}
	if d := now.Sub(p.at); d > 0 {
		p.tokens = min(p.burst, p.tokens+d.Seconds()*p.rate)
		p.at = now
	}
	// A nanosecond's worth of rounding must not cost a turn of the loop.
	if n := int(p.tokens + 1e-6); n >= p.lot() {
		return n
	}
	return 0
}

// grain is how long a pace collects room: a turn of the loop for each of 20 000 probes a second costs several times as much
// as the probes.
const grain = time.Millisecond

// lot is how many probes there must be room for before one leaves: what a grain brings, as long as the bucket holds twice as many.
func (p *pace) lot() int { return max(1, int(min(p.rate*grain.Seconds(), p.burst/2))) }

func (p *pace) take(n int) {
	if p.rate != 0 {
		p.tokens -= float64(n)
	}
}

// left is told that n of those that were taken have left by now. What was held up on its way there, by a full queue or
// by this host, earns nothing for that time where the rate is strict, so that on the wire too there are never more than the burst and the rate's.
func (p *pace) left(n int, now time.Time) {
	if p.rate == 0 || n == 0 || !p.strict {
		return
	}
	p.tokens = min(p.tokens, max(0, p.burst-float64(n)))
	if now.After(p.at) {
		p.at = now
	}
}

// slow sets a rate, as of now. So many as leave in a hundredth of a second may leave at once.
func (p *pace) slow(rate float64, now time.Time) {
	if p.rate != 0 {
		p.burst = min(p.burst, max(1, rate/100))
	} else {
		p.burst = max(1, rate/100)
	}
	p.rate = rate
	p.tokens, p.at = min(p.tokens, 0), now
}

// next is when there is room again, rounded up.
func (p *pace) next() time.Time {
	missing := max(0, float64(p.lot())-p.tokens)
	return p.at.Add(time.Duration(math.Ceil(missing / p.rate * 1e9)))
}
