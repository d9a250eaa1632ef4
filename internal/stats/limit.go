package stats

import (
	"math"
	"slices"
	"time"
)

// An Ask is a probe whose fate is known.
type Ask struct {
	At       time.Duration // when it left
	Answered bool
}

// A Limit is the token bucket that explains best which of the probes to a node it answered.
type Limit struct {
	Burst    int           // answers at once
	Every    time.Duration // a further one after this long
	Evidence float64       // natural logarithm of how much likelier the answers are by this bucket than by chance alone
	Proof    float64       // the same, but no more than against outages: losses that come in runs
	Free     Share         // of the probes that the bucket had a token for: what was lost all the same
	Spent    int           // probes that it had none for, and that were not answered
}

const (
	// The chance of an answer that the bucket has no token for, by which what it cannot explain counts against it.
	unexplained = 0.005

	// What is known of a token's time: the probes' times are those of their departure. Where a token is due within
	// that, either is as likely.
	blurred     = 15 * time.Millisecond
	leastBlur   = 0.03 // of a token
	mostBlur    = 0.4
	mostAnswers = 512 // of the answers behind the first loss, so many are looked at for their distance
)

// often are usual distances of answers. Linux has one second, and ICMPv6 100 ms in later kernels; Cisco IOS 500 ms. Where several
// explain as much, the longest is what was seen.
var often = [...]time.Duration{
	2 * time.Second, time.Second, 500 * time.Millisecond, 250 * time.Millisecond, 200 * time.Millisecond,
	100 * time.Millisecond, 50 * time.Millisecond, 20 * time.Millisecond, 10 * time.Millisecond,
}

// FitLimit looks for a token bucket that explains as, in order of departure. It reports false where there is nothing
// to explain: no answer, or no loss, or none that a bucket would explain.
//
// Two explanations are held against each other: that the node answers while it has a token, and that every probe is lost with
// the same chance. What is lost though there was a token counts as chance in the first too, at its own rate, so that a
// limit and losses may stand side by side.
func FitLimit(as []Ask) (best Limit, ok bool) {
	first := slices.IndexFunc(as, func(a Ask) bool { return !a.Answered }) // the first that was lost
	answered := 0
	for _, a := range as {
		if a.Answered {
			answered++
		}
	}
	if first < 0 || answered == 0 {
		return best, false
	}
	chance := logChance(answered, len(as)-answered)
	best.Evidence = math.Inf(-1)
	for i, every := range distances(as, first) {
		more := 0.0
		if i >= len(often) {
			more = math.Ln2 // a usual distance is as good as one that fits a little better
		}
		for _, b := range bursts(as, every) {
			for _, costs := range [...]bool{false, true} {
				l := Limit{Burst: b, Every: every}
				if l.Evidence = l.explain(as, costs) - chance; l.Evidence > best.Evidence+more && l.Spent > 0 {
					best = l
				}
			}
		}
	}
	best.Proof = min(best.Evidence, best.Evidence+chance-logRuns(as))
	return best, best.Spent > 0
}

// logChance is the logarithm of how likely so many of each are, in this order, at the rate that suits them best.
func logChance(a, b int) float64 {
	sum := 0.0
	for _, k := range [...]int{a, b} {
		if k > 0 {
			sum += float64(k) * math.Log(float64(k)/float64(a+b))
		}
	}
	return sum
}

// logRuns is the logarithm of how likely as are where each probe's fate depends on that of the one before (Gilbert 1960), at the rates that
// suit them best. One outage is explained by that as well as by a bucket that is empty, however long it is; a bucket's losses come to an end again and again.
func logRuns(as []Ask) float64 {
	var same, changed [2]int // by what was before
	for i := 1; i < len(as); i++ {
		was := 0
		if as[i-1].Answered {
			was = 1
		}
		if as[i].Answered == as[i-1].Answered {
			same[was]++
		} else {
			changed[was]++
		}
	}
	return math.Log(0.5) + logChance(same[0], changed[0]) + logChance(same[1], changed[1])
}

// distances are how long after each other tokens may come.
func distances(as []Ask, first int) []time.Duration {
	out := slices.Clone(often[:])
	var gaps []time.Duration
	last := time.Duration(-1)
	for _, a := range as[first:] {
		if !a.Answered || len(gaps) >= mostAnswers {
			continue
		}
		if last >= 0 && a.At > last {
			gaps = append(gaps, a.At-last)
		}
		last = a.At
	}
	if len(gaps) == 0 {
		return out
	}
	slices.Sort(gaps)
	median := gaps[len(gaps)/2]
	// Tokens come evenly, probes when they come: the mean is nearest, but for pauses.
	var sum time.Duration
	n := 0
	for _, g := range gaps {
		if g <= median*5/4 {
			sum += g
			n++
		}
	}
	mean := sum / time.Duration(n)
	out = append(out, gaps[0], median, mean)
	for _, unit := range [...]time.Duration{100, 50, 10} { // people like round numbers
		if d := mean.Round(unit * time.Millisecond); d > 0 {
			out = append(out, d)
		}
	}
	return out
}

// bursts are how many answers may come at once: so many as did come closer to each other than tokens would, less what was
// earned meanwhile, or one more or less.
func bursts(as []Ask, every time.Duration) (out []int) {
	n := 0
	var last, earned time.Duration
	for _, a := range as {
		if !a.Answered {
			continue
		}
		if n > 0 && a.At-last > every/2 {
			break
		}
		n++
		last, earned = a.At, a.At-as[0].At
	}
	n -= int(earned / every)
	for b := max(1, n-1); b <= n+1; b++ {
		out = append(out, b)
	}
	return out
}

// explain goes through as with the bucket l and returns the logarithm of how likely it makes them. Of what is lost though there
// is a token it is not known whether that was spent, as where the answer was lost (costs), or not.
func (l *Limit) explain(as []Ask, costs bool) float64 {
	blur := min(mostBlur, max(leastBlur, float64(blurred)/float64(l.Every)))
	full := float64(l.Burst)
	level, sum := full, 0.0
	whole := true // the tokens are those of a full bucket, and not just due
	kept := 0     // answers that a token was there for
	for i, a := range as {
		if i > 0 {
			level += float64(a.At-as[i-1].At) / float64(l.Every)
			whole = whole || level >= full+blur
			level = min(full+blur, level)
		}
		whole = whole && level >= 1
		switch {
		case whole || level >= 1+blur:
			if l.Free.Of++; a.Answered {
				kept++
				break
			}
			if l.Free.Lost++; costs {
				level--
			}
		case level > 1-blur: // either
			sum += math.Log(0.5)
			if a.Answered { // there was one
				kept++
				l.Free.Of++
			} else {
				l.Spent++
			}
		case a.Answered:
			sum += math.Log(unexplained)
			kept++
			l.Free.Of++
		default:
			sum += math.Log(1 - unexplained)
			l.Spent++
		}
		if a.Answered {
			level = max(0, min(full, level)-1)
		}
	}
	return sum + logChance(kept, l.Free.Lost)
}
