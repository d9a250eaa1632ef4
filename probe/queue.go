package probe

// A queue is a first-in, first-out list that can be indexed from its front.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) {
	// Move up before growing, when at least half of the slice is free.
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

// at returns the i-th from the front. It is valid until the next push.
func (q *queue[T]) at(i int) *T { return &q.items[q.head+i] }

func (q *queue[T]) pop() {
	var zero T
	q.items[q.head] = zero
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
}

// keep drops those that f says no to.
func (q *queue[T]) keep(f func(T) bool) {
	for range q.len() {
		v := *q.at(0)
		if q.pop(); f(v) {
			q.push(v)
		}
	}
}
