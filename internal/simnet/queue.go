package simnet

import "gtrace/rawsock"

// A queue holds what is to happen, in order of time and then of being put in.
type queue struct {
	heap  []entry
	slots []event
	idle  []int32 // slots not in use
	count uint64
}

type entry struct {
	at   int64
	n    uint64
	slot int32
}

// An event is a call or, where that is nil, a reply with data and options of its own.
type event struct {
	reply rawsock.Reply
	call  func()
}

func (a entry) before(b entry) bool { return a.at < b.at || a.at == b.at && a.n < b.n }

func (q *queue) push(at int64, r rawsock.Reply, call func()) {
	var slot int32
	if n := len(q.idle); n > 0 {
		slot = q.idle[n-1]
		q.idle = q.idle[:n-1]
	} else {
		slot = int32(len(q.slots))
		q.slots = append(q.slots, event{})
	}
	e := &q.slots[slot]
	data, options := append(e.reply.Data[:0], r.Data...), append(e.reply.Options[:0], r.Options...)
	e.reply, e.call = r, call
	e.reply.Data, e.reply.Options = data, options

	h := append(q.heap, entry{at, q.count, slot})
	q.count++
	i := len(h) - 1
	for i > 0 && h[i].before(h[(i-1)/2]) {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
	q.heap = h
}

// next is the time of the first event, if there is one.
func (q *queue) next() (int64, bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

// pop takes the first event out; its slot stays in use until it is freed.
func (q *queue) pop() int32 {
	h := q.heap
	slot := h[0].slot
	n := len(h) - 1
	h[0] = h[n]
	h = h[:n]
	for i := 0; ; {
		k := 2*i + 1
		if k >= n {
			break
		}
		if k+1 < n && h[k+1].before(h[k]) {
			k++
		}
		if !h[k].before(h[i]) {
			break
		}
		h[i], h[k] = h[k], h[i]
		i = k
	}
	q.heap = h
	return slot
}

func (q *queue) free(slot int32) { q.idle = append(q.idle, slot) }
