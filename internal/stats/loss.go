package stats

import "math"

// Z95 is the normal quantile of a two-sided interval of 95 %.
const Z95 = 1.96

// A Share is how many of the probes whose fate is known were lost.
type Share struct{ Lost, Of int }

// Rate is the share as a fraction, 0 of nothing.
func (s Share) Rate() float64 {
	if s.Of == 0 {
		return 0
	}
	return float64(s.Lost) / float64(s.Of)
}

// Wilson is the interval in which the probability behind s lies (Wilson 1927): the set of all p that a test with quantile z
// does not refuse. Of nothing it is from 0 to 1.
//
// It holds where the normal approximation does not: 0 lost of 10 says no more than "below 28 %".
func (s Share) Wilson(z float64) (low, high float64) {
	if s.Of == 0 {
		return 0, 1
	}
	n, p := float64(s.Of), s.Rate()
	centre := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	low, high = max(0, centre-half), min(1, centre+half)
	if s.Lost == 0 { // exactly, whatever the rounding
		low = 0
	}
	if s.Lost == s.Of {
		high = 1
	}
	return low, high
}

// Newcombe is the interval of a's probability less b's, from their Wilson intervals (Newcombe 1998, method 10).
func Newcombe(a, b Share, z float64) (low, high float64) {
	la, ha := a.Wilson(z)
	lb, hb := b.Wilson(z)
	p, q := a.Rate(), b.Rate()
	return p - q - math.Hypot(p-la, hb-q), p - q + math.Hypot(ha-p, q-lb)
}

// Exceeds reports whether more is lost of a than of b, by Newcombe's interval.
func Exceeds(a, b Share, z float64) bool {
	low, _ := Newcombe(a, b, z)
	return a.Of > 0 && b.Of > 0 && low > 0
}

// SuffixMin returns for each of the hops of one flow, in ascending order of distance, the hop at or behind it of whose probes
// the smallest share was lost, the nearest of equals. As a probe to a hop crossed all before it, no more than that
// is lost on the path up to there; what a hop loses beyond that are its answers. Hops that never answered do not belong into it.
func SuffixMin(hops []Share) []int {
	at := make([]int, len(hops))
	for i := len(hops) - 1; i >= 0; i-- {
		at[i] = i
		if i+1 < len(hops) {
			if next := at[i+1]; hops[next].Rate() < hops[i].Rate() {
				at[i] = next
			}
		}
	}
	return at
}
