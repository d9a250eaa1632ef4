// Package stats keeps running statistics of round-trip times: extremes,
// mean, deviation, jitter and percentiles; and says what loss is.
//
// It computes in float64 by Welford's method and answers in whole
// nanoseconds, so that no result is ever NaN or infinite. It knows nothing of
// probes.
package stats

import (
	"math"
	"slices"
	"time"
)

// A Series is what is known about the times added so far. The zero value is
// empty. It does not keep the times themselves.
type Series struct {
	n        uint64
	min, max time.Duration
	mean, m2 float64 // nanoseconds; m2 is the sum of squared distances from the mean
	last     time.Duration
	jitter   float64 // nanoseconds
}

// Add takes the next time, in the order of arrival.
func (s *Series) Add(d time.Duration) {
	x := float64(d)
	if s.n == 0 {
		s.min, s.max = d, d
	} else {
		// RFC 3550 section 6.4.1: the distance between neighbours, smoothed by
		// one sixteenth. For round trips, the difference of the two transit
		// times is the difference of the two RTTs.
		s.jitter += (math.Abs(x-float64(s.last)) - s.jitter) / 16
	}
	s.n++
	s.min, s.max = min(s.min, d), max(s.max, d)
	s.last = d
	delta := x - s.mean
	s.mean += delta / float64(s.n)
	s.m2 += delta * (x - s.mean)
}

// N is how many times were added.
func (s *Series) N() uint64 { return s.n }

// Min, Max and Mean are 0 for an empty series: ask N first.
func (s *Series) Min() time.Duration  { return s.min }
func (s *Series) Max() time.Duration  { return s.max }
func (s *Series) Mean() time.Duration { return round(s.mean) }

// Mdev is the standard deviation of the series itself (divided by n), the
// square root of the mean of squares less the square of the mean: what
// iputils ping calls mdev. 0 for an empty series.
func (s *Series) Mdev() time.Duration {
	if s.n == 0 {
		return 0
	}
	return round(math.Sqrt(max(s.m2, 0) / float64(s.n)))
}

// Stddev estimates the standard deviation of what the series is a sample of
// (divided by n-1), which takes two times at least: false without them.
func (s *Series) Stddev() (time.Duration, bool) {
	if s.n < 2 {
		return 0, false
	}
	return round(math.Sqrt(max(s.m2, 0) / float64(s.n-1))), true
}

// Jitter is the interarrival jitter of RFC 3550 section 6.4.1, which takes two
// times at least: false without them.
func (s *Series) Jitter() (time.Duration, bool) {
	return round(s.jitter), s.n >= 2
}

// round is to the nearest nanosecond and never beyond what a Duration holds.
func round(ns float64) time.Duration {
	ns = math.Round(ns)
	switch {
	case ns >= math.MaxInt64:
		return math.MaxInt64
	case ns <= math.MinInt64:
		return math.MinInt64
	}
	return time.Duration(ns)
}

// Percentiles sorts ds and returns, for each of ps (above 0, up to 100), the smallest
// time that at least that share of ds does not exceed (nearest rank): always
// a time that was measured. It returns nothing for an empty ds.
func Percentiles(ds []time.Duration, ps ...int) []time.Duration {
	if len(ds) == 0 {
		return nil
	}
	slices.Sort(ds)
	out := make([]time.Duration, len(ps))
	for i, p := range ps {
		rank := (len(ds)*p + 99) / 100 // ⌈n·p/100⌉, without the rounding of floats
		out[i] = ds[min(max(rank, 1), len(ds))-1]
	}
	return out
}

// Loss is the percentage of lost probes among those whose fate is known. It is
// false where none's is. Probes still under way are neither.
func Loss(lost, answered uint64) (float64, bool) {
	if lost+answered == 0 {
		return 0, false
	}
	return 100 * float64(lost) / float64(lost+answered), true
}
