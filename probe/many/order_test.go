package many

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever times targets are given, and given instead, they wake by them, of two at one time the lower number; and the list is no
// longer than it may be.
func TestWakes(t *testing.T) {
	for seed := range uint64(50) {
		chance := rand.New(rand.NewPCG(seed, 1))
		ts := make([]*target, 1+chance.IntN(300))
		for i := range ts {
			ts[i] = &target{Number: i, wake: never}
		}
		var w wakes
		now, apart := time.Duration(0), 100
		if seed%3 == 0 { // the same times again and again
			apart = 1
		}
		often := 8
		if seed%2 == 0 { // it grows until it is swept
			often = 2000
		}
		longest := 0
		for range 5000 {
			switch x := ts[chance.IntN(len(ts))]; chance.IntN(often) {
			case 0:
				x.wake = never
			case 1: // all that wake by then
				now += time.Duration(chance.IntN(50))
				var want *target
				for _, y := range ts {
					if y.wake != never && (want == nil || y.wake < want.wake || y.wake == want.wake && y.Number < want.Number) {
						want = y
					}
				}
				got, ok := w.first()
				if ok != (want != nil) || ok && (got.of != want || got.at != want.wake) {
					t.Fatalf("seed %d: in front %+v, %v, want %+v", seed, got, ok, want)
				}
				if ok && got.at <= now {
					got.of.wake = never
				}
			default:
				x.wake = now + time.Duration(chance.IntN(apart))
				w.push(waking{x.wake, x}, len(ts))
			}
			longest = max(longest, len(w.Heap))
			if len(w.Heap) > 2*len(ts)+crowd+1 {
				t.Fatalf("seed %d: %d for %d targets", seed, len(w.Heap), len(ts))
			}
		}
		if often > 8 && longest != 2*len(ts)+crowd+1 {
			t.Errorf("seed %d: never more than %d for %d targets", seed, longest, len(ts))
		}
	}
}
