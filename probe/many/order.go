package many

import (
	"cmp"
	"slices"
	"time"
)

func sortByNumber(ts []*target) {
	slices.SortFunc(ts, func(a, b *target) int { return cmp.Compare(a.Number, b.Number) })
}

// A waking is a target and when it wakes, since M.epoch. It is void where the target has been given another time since, or none.
type waking struct {
	at time.Duration
	of *target
}

// never is target.wake where it has none.
const never = -1

func (x waking) void() bool { return x.of.wake != x.at }

func (x waking) before(y waking) bool {
	return x.at < y.at || x.at == y.at && x.of.Number < y.of.Number
}

// wakes is a binary heap, the one that wakes first in front; of two the lower number. To find and move a target for each new time
// would cost more than to leave the old one where it is until its turn comes, or most are void.
type wakes []waking

func (w *wakes) push(x waking, targets int) {
	if len(*w) > 2*targets+crowd {
		*w = slices.DeleteFunc(*w, waking.void)
		slices.SortFunc(*w, func(x, y waking) int { return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.of.Number, y.of.Number)) })
		*w = slices.Compact(*w) // one for each that had the time it has now more than once
	}
	h := append(*w, x)
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*w = h
}

// first is the one in front, all void ones before it gone.
func (w *wakes) first() (x waking, ok bool) {
	for len(*w) > 0 && (*w)[0].void() {
		w.pop()
	}
	if len(*w) == 0 {
		return x, false
	}
	return (*w)[0], true
}

func (w *wakes) pop() {
	h := *w
	last := len(h) - 1
	h[0], h[last] = h[last], waking{}
	h = h[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if down+1 < last && h[down+1].before(h[down]) {
			down++
		}
		if !h[down].before(h[i]) {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	*w = h
}
