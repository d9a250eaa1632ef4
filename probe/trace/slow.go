package trace

import (
	"fmt"
	"slices"
	"time"

	"gtrace/internal/stats"
	"gtrace/probe"
)

const (
	// So many round trips it takes to say that a hop answers slowly: the first may wait for a neighbour's address, and three for
	// a busy host.
	slowLeast = 10

	// And so much longer they take than those of later hops, at least, and by a quarter.
	slowDelay = 2 * time.Millisecond
)

// times are the round-trip times of h's tries, late answers left out: those say how long something was held up.
func (h *hop) times() (ds []time.Duration) {
	for i := range h.tries {
		if y := &h.tries[i]; y.state == decided && !y.out.Late {
			if d, ok := y.out.RTT(); ok && d >= 0 {
				ds = append(ds, d)
			}
		}
	}
	return ds
}

// slow tells of hops, up to TTL last, whose answers take longer than those of a later hop, which they let pass: that is no delay of
// the path. Routers inside an MPLS tunnel, whose errors travel to its end first, take about as long as
// that end, not longer.
func (t *T) slow(last int, out *probe.Output) {
	if !t.c.Losses || t.alone != together {
		return
	}
	var mid, most time.Duration // of the later hop with the smallest median: that, and its 90th percentile
	by := 0                     // its TTL
	before := len(out.Events)
	for ttl := min(last, t.top); ttl >= int(t.c.First); ttl-- {
		h := t.hops[ttl]
		if h == nil {
			continue
		}
		ds := h.times()
		if len(ds) < slowLeast {
			continue
		}
		p := stats.Percentiles(ds, 50, 90)
		switch {
		case by == 0 || p[0] <= mid:
			mid, most, by = p[0], p[1], ttl
		case ds[0] > mid && p[0] > most && p[0]-mid >= max(slowDelay, mid/4):
			out.Events = append(out.Events, probe.Finding{
				Code: "slow-answers", TTL: uint8(ttl), Confidence: "medium",
				Text: fmt.Sprintf("half of its answers take %s or more, half of those of TTL %d no more than %s: it is slow to answer, or its answers come a longer way, and that is no delay on the path",
					inMs(p[0]), by, inMs(mid)),
			})
		}
	}
	slices.Reverse(out.Events[before:])
}

func inMs(d time.Duration) string { return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond)) }
