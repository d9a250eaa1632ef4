// Package queue has a first-in, first-out list for many items, a heap, and a set without order.
package queue

// A Queue is a first-in, first-out list that can be indexed from its front. It is kept in pieces, so that a long one is never copied, and
// what was taken from it is let go of.
type Queue[T any] struct {
	pieces [][]T // of piece items, the last not full
	head   int   // items taken from the first
	n      int
}

// The first piece of a short queue grows up to that.
const piece = 1 << 10

// Len is how many there are.
func (q *Queue[T]) Len() int { return q.n }

// Push appends one.
func (q *Queue[T]) Push(v T) {
	last := len(q.pieces) - 1
	if last < 0 || len(q.pieces[last]) == piece {
		var p []T
		if last >= 0 {
			p = make([]T, 0, piece)
		}
		q.pieces = append(q.pieces, p)
		last++
	}
	q.pieces[last] = append(q.pieces[last], v)
	q.n++
}

// At returns the i-th from the front. It is valid until the next push.
func (q *Queue[T]) At(i int) *T {
	i += q.head
	return &q.pieces[i/piece][i%piece]
}

// Pop takes the front away.
func (q *Queue[T]) Pop() {
	var zero T
	q.pieces[0][q.head] = zero
	q.head++
	q.n--
	switch {
	case q.n == 0:
		q.pieces[0] = q.pieces[0][:0]
		q.pieces, q.head = q.pieces[:1], 0
	case q.head == piece:
		q.pieces[0] = nil
		q.pieces, q.head = q.pieces[1:], 0
	}
}

// Keep drops those that f says no to.
func (q *Queue[T]) Keep(f func(T) bool) {
	for range q.Len() {
		v := *q.At(0)
		if q.Pop(); f(v) {
			q.Push(v)
		}
	}
}
