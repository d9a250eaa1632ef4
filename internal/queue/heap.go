package queue

// A Heap is a binary heap: the item that comes before all others is at 0. A sorted slice is one.
type Heap[T interface{ Before(T) bool }] []T

// Push puts one in.
func (q *Heap[T]) Push(v T) {
	h := append(*q, v)
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].Before(h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*q = h
}

// Pop takes the first away.
func (q *Heap[T]) Pop() {
	var zero T
	h := *q
	n := len(h) - 1
	h[0], h[n] = h[n], zero
	h = h[:n]
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && h[down+1].Before(h[down]) {
			down++
		}
		if !h[down].Before(h[i]) {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	*q = h
}
