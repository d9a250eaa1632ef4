package many

import (
	"cmp"
	"slices"
	"time"

	"gtrace/internal/queue"
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

// Before is queue.Heap's.
func (x waking) Before(y waking) bool {
	return x.at < y.at || x.at == y.at && x.of.Number < y.of.Number
}

// wakes has the one that wakes first in front; of two the lower number. To find and move a target for each new time
// would cost more than to leave the old one where it is until its turn comes, or most are void.
type wakes struct{ queue.Heap[waking] }

func (w *wakes) push(x waking, targets int) {
	if len(w.Heap) > 2*targets+crowd {
		w.Heap = slices.DeleteFunc(w.Heap, waking.void)
		slices.SortFunc(w.Heap, func(x, y waking) int { return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.of.Number, y.of.Number)) })
		w.Heap = slices.Compact(w.Heap) // one for each that had the time it has now more than once
	}
	w.Push(x)
}

// first is the one in front, all void ones before it gone.
func (w *wakes) first() (x waking, ok bool) {
	for len(w.Heap) > 0 && w.Heap[0].void() {
		w.Pop()
	}
	if len(w.Heap) == 0 {
		return x, false
	}
	return w.Heap[0], true
}
