package many

import (
	"cmp"
	"slices"
)

func sortByNumber(ts []*target) {
	slices.SortFunc(ts, func(a, b *target) int { return cmp.Compare(a.Number, b.Number) })
}

// wakes is a heap (container/heap) of targets, the one that wakes first in front; of two the lower number.
type wakes []*target

func (w wakes) Len() int { return len(w) }

func (w wakes) Less(i, j int) bool {
	if c := w[i].wake.Compare(w[j].wake); c != 0 {
		return c < 0
	}
	return w[i].Number < w[j].Number
}

func (w wakes) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}

func (w *wakes) Push(x any) {
	t := x.(*target)
	t.place = len(*w)
	*w = append(*w, t)
}

func (w *wakes) Pop() any {
	old := *w
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	t.place = -1
	return t
}
