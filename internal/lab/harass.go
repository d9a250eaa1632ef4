//go:build linux

package lab

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A Harassment is a node that sends a neighbour what nobody asked for.
type Harassment struct {
	sent atomic.Int64
	stop func()
	done chan struct{}
}

// Harass has the node send to a neighbour, over and over, what about makes of the last packet from there of which it makes
// something: whole IP packets, per of them a second and no more than most in all. The node's kernel goes on routing as before.
// It ends with Stop or with the network.
//
// about is called from one goroutine at a time, and must not keep the packet.
func (n *Node) Harass(neighbour string, per, most int, about func(packet []byte) [][]byte) (*Harassment, error) {
	if per <= 0 || most <= 0 {
		return nil, fmt.Errorf("lab: %s: harass %s: %d packets a second, %d in all: want a bound", n.Name, neighbour, per, most)
	}
	var one sync.Mutex
	var junk [][]byte
	var send func([]byte)
	stop := make(chan struct{})
	if err := n.answer(neighbour, func(q *query, s func([]byte)) {
		select {
		case <-stop: // the socket stays until the network is closed
			return
		default:
		}
		made := about(q.packet)
		if len(made) == 0 {
			return
		}
		one.Lock()
		defer one.Unlock()
		junk, send = made, s
	}); err != nil {
		return nil, err
	}
	h := &Harassment{done: make(chan struct{})}
	h.stop = sync.OnceFunc(func() { close(stop) })
	const turn = 5 * time.Millisecond
	go func() {
		defer close(h.done)
		t := time.NewTicker(turn)
		defer t.Stop()
		due, began := 0, time.Time{}
		for next := 0; ; {
			select {
			case <-stop:
				return
			case now := <-t.C:
				one.Lock()
				js, s := junk, send
				one.Unlock()
				if len(js) == 0 {
					continue
				}
				if began.IsZero() {
					began = now
				}
				// What a busy machine is behind with is not made up for in one go.
				due = min(int(now.Sub(began).Seconds()*float64(per)), due+per/20)
				for ; int(h.sent.Load()) < min(due, most); h.sent.Add(1) {
					s(js[next%len(js)])
					next++
				}
				if h.sent.Load() >= int64(most) {
					return
				}
			}
		}
	}()
	n.net.onClose(func() error { h.Stop(); return nil })
	return h, nil
}

// Sent is how many packets there were so far.
func (h *Harassment) Sent() int { return int(h.sent.Load()) }

// Stop ends it, and returns how many packets there were.
func (h *Harassment) Stop() int {
	h.stop()
	<-h.done
	return h.Sent()
}
