package trace_test

import (
	"reflect"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe/trace"
)

// Traces in the room that others left tell what they tell in their own: over hops that are lossy, limit their answers or come
// again, with one attempt or many, after long paths and short ones.
func TestSpare(t *testing.T) {
	for seed := range uint64(4) {
		run := func(spare *trace.Spare) []*told {
			w := newWeb(t, 4, 300, seed)
			for i, l := range w.way {
				l.Out.Loss, l.Back.Loss = 0.02*float64(i), 0.05
			}
			w.near[1].Limit = simnet.Limit{Burst: 6, Every: 100 * time.Millisecond}
			begun := 0
			return w.run(nil, func(c *trace.Config) {
				begun++
				c.Spare, c.Attempts, c.Max = spare, 1+begun%4, uint8(3+begun%9)
			})
		}
		own, left := run(nil), run(new(trace.Spare))
		hops := 0
		for i := range own {
			if !reflect.DeepEqual(own[i], left[i]) {
				t.Fatalf("seed %d, target %d: in the room of others\n%+v\nwant\n%+v", seed, i, left[i], own[i])
			}
			hops += len(own[i].hops)
		}
		if hops < 1000 {
			t.Errorf("seed %d: %d hops told: too few to prove anything", seed, hops)
		}
	}
}
