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
	return int(p.tokens + 1e-6)
}

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

// next is when there is room for one more, rounded up.
func (p *pace) next() time.Time {
	missing := max(0, 1-p.tokens)
	return p.at.Add(time.Duration(math.Ceil(missing / p.rate * 1e9)))
}
