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
		now := time.Duration(0)
		for range 5000 {
			switch x := ts[chance.IntN(len(ts))]; chance.IntN(8) {
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
				x.wake = now + time.Duration(chance.IntN(100))
				w.push(waking{x.wake, x}, len(ts))
			}
			if len(w.Heap) > 2*len(ts)+crowd+1 {
				t.Fatalf("seed %d: %d for %d targets", seed, len(w.Heap), len(ts))
			}
		}
	}
}
