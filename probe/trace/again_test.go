package trace

import (
	"testing"
	"time"

	"gtrace/probe"
)

// T59: a hop that leaves out what later hops do not is asked again before it is told; what later hops lose as well is lost.
func TestAskedAgain(t *testing.T) {
	tests := []struct {
		name     string
		attempts int
		silent   func(ttl, attempt, nth int) bool // nth probe to that TTL, from 0
		losses   bool
		asked    int // probes to TTL 3
		lost     int // attempts there
		longer   time.Duration
	}{
		{"nothing is lost", 3, func(ttl, attempt, nth int) bool { return false }, true, 3, 0, 0},
		{"one answer left out", 3, func(ttl, attempt, nth int) bool { return ttl == 3 && nth == 2 }, true, 4, 0, againEvery},
		{"two left out", 3, func(ttl, attempt, nth int) bool { return ttl == 3 && (nth == 1 || nth == 2) }, true, 5, 0, 2 * againEvery},
		{"left out again", 3, func(ttl, attempt, nth int) bool { return ttl == 3 && nth > 0 }, true, 4, 2, againEvery},
		{"up to three times", 9, func(ttl, attempt, nth int) bool { return ttl == 3 && nth > 0 && nth < 9 }, true, 12, 5, 3 * againEvery},
		{"not where that is not asked for", 3, func(ttl, attempt, nth int) bool { return ttl == 3 && nth == 2 }, false, 3, 1, 0},
		{"not who never answers", 3, func(ttl, attempt, nth int) bool { return ttl == 3 }, true, 3, 3, 0},
		{"not what later hops lose as well", 3, func(ttl, attempt, nth int) bool { return ttl >= 3 && nth == 1 }, true, 3, 1, 0},
		{"nor what half of them lose", 3, func(ttl, attempt, nth int) bool { return ttl >= 3 && ttl%2 == 1 && nth == 1 }, true, 3, 1, againEvery}, // the last of them has the destination behind it
		{"side by side", 3, func(ttl, attempt, nth int) bool { return ttl <= 3 && nth == 2 }, true, 4, 0, againEvery},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			c.Losses, c.Attempts = tt.losses, tt.attempts
			r := start(t, c)
			asked := map[int]int{}
			const n = 12
			r.drive(r.path(n).but(func(s probe.Sent) []answer {
				ttl := int(s.Spec.TTL)
				nth := asked[ttl]
				asked[ttl]++
				if ttl <= n && tt.silent(ttl, int(s.Spec.Attempt), nth) {
					return silence
				}
				return nil
			}))
			r.wantFinished(probe.Reached, n)
			lost := 0
			for _, o := range r.hopAt(3).Outcomes {
				if o.Status != probe.Answered {
					lost++
				}
			}
			if asked[3] != tt.asked || lost != tt.lost {
				t.Errorf("TTL 3 asked %d times, %d attempts lost; want %d and %d", asked[3], lost, tt.asked, tt.lost)
			}
			// A lost probe costs a wait; each other attempt beyond the fifth a second.
			most := tt.longer + time.Duration(max(0, tt.attempts-3))*time.Second + 500*ms
			if took := r.now.Sub(epoch); took < tt.longer || took > most {
				t.Errorf("took %v, want %v to %v", took, tt.longer, most)
			}
			var at []time.Time
			for _, s := range r.sent {
				if s.Spec.TTL == 3 {
					at = append(at, s.At)
				}
			}
			for i := tt.attempts; i < len(at); i++ {
				if gap := at[i].Sub(at[i-1]); gap < againEvery {
					t.Errorf("asked again %v after the probe before, want %v", gap, againEvery)
				}
			}
		})
	}
}
