package rawsock

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A waker ends a poll from another goroutine, for good.
type waker struct {
	fd   int // an eventfd, written once and never read
	done atomic.Bool

	mu     sync.Mutex // fd is not closed, and perhaps somebody else's, while wake writes to it
	closed bool
}

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, opError("make eventfd", err)
	}
	return &waker{fd: fd}, nil
}

func (w *waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.done.Swap(true) {
		return
	}
	// An eventfd of value 0 takes any number but the largest (eventfd(2)).
	unix.Write(w.fd, []byte{1, 1, 1, 1, 1, 1, 1, 1})
}

func (w *waker) woken() bool { return w.done.Load() }

func (w *waker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		unix.Close(w.fd)
	}
}

// poll waits until one of fds has an event or until the given time; the zero
// time is never. A time that has passed still looks once. It returns how many
// have an event.
//
// This is not the runtime's poller, because that gives up on a descriptor
// whose only event is an error, which is what a waiting send stamp is.
func poll(fds []unix.PollFd, until time.Time) (int, error) {
	for {
		var ts *unix.Timespec
		if !until.IsZero() {
			t := unix.NsecToTimespec(max(0, int64(time.Until(until))))
			ts = &t
		}
		n, err := unix.Ppoll(fds, ts, nil)
		if err == unix.EINTR {
			continue
		}
		if n == 0 && err == nil && ts != nil && time.Until(until) > 0 {
			continue // the timer must not be early
		}
		return n, err
	}
}
