package simnet

import (
	"gtrace/internal/queue"
	"gtrace/rawsock"
)

// An agenda holds what is to happen, in order of time and then of being put in.
type agenda struct {
	heap  queue.Heap[entry]
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

// Before is queue.Heap's.
func (a entry) Before(b entry) bool { return a.at < b.at || a.at == b.at && a.n < b.n }

func (q *agenda) push(at int64, r rawsock.Reply, call func()) {
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

	q.heap.Push(entry{at, q.count, slot})
	q.count++
}

// next is the time of the first event, if there is one.
func (q *agenda) next() (int64, bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

// pop takes the first event out; its slot stays in use until it is freed.
func (q *agenda) pop() int32 {
	slot := q.heap[0].slot
	q.heap.Pop()
	return slot
}

func (q *agenda) free(slot int32) { q.idle = append(q.idle, slot) }
