package probe

import (
	"testing"
	"time"
)

// TestPaceNext: there is room for as many probes as a millisecond brings at once, or half the burst if those are fewer, or for one.
func TestPaceNext(t *testing.T) {
	now := time.Unix(1, 0)
	for _, tt := range []struct {
		rate  float64
		burst int
		want  time.Duration
	}{
		{500, 10, 2 * time.Millisecond},
		{1900, 256, time.Second / 1900},
		{20_000, 256, time.Millisecond},
		{20_000, 8, 200 * time.Microsecond},
		{20_000, 3, 50 * time.Microsecond},
		{20_000, 1, 50 * time.Microsecond},
	} {
		p := newPace(Limits{Rate: tt.rate, Burst: tt.burst}, now)
		p.take(tt.burst)
		if got := p.next().Sub(now); got < tt.want || got > tt.want+time.Microsecond {
			t.Errorf("%v a second, %d at once: %v, want %v", tt.rate, tt.burst, got, tt.want)
		}
		next := p.next()
		if n := p.room(next.Add(-time.Microsecond)); n != 0 {
			t.Errorf("%v a second, %d at once: room for %d before", tt.rate, tt.burst, n)
		}
		if n := p.room(next); n < 1 || n > tt.burst {
			t.Errorf("%v a second, %d at once: room for %d then", tt.rate, tt.burst, n)
		}
	}
}
