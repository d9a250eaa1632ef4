package main

import (
	"errors"
	"fmt"
	"math/bits"

	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// An internet is a world behind a TUN device, in real time.
type internet struct {
	world *world
	tun   *lab.Tun
	conn  *simnet.Conn
	wake  int // an eventfd: written to when it is to stop
	done  chan error

	probes, answers, lost atomic.Int64     // lost: answers the kernel did not take
	last                  atomic.Int64     // when the last probe came, in ns since it all began
	first                 atomic.Int64     // and the first since this was set to 0
	late                  [64]atomic.Int64 // answers by how late they were: less than 2^i ns
}

// serve puts w behind a device until stop.
func serve(w *world, tun *lab.Tun) (*internet, error) {
	n := &internet{world: w, tun: tun, done: make(chan error)}
	n.conn = simnet.New(simnet.Config{Foreign: true, PassAll: true}, w.src)
	var err error
	if n.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	go func() { n.done <- n.run() }()
	return n, nil
}

// stop ends the internet and tells why it had ended before, if it had.
func (n *internet) stop() error {
	n.conn.Interrupt()
	_, err := unix.Write(n.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	err = errors.Join(err, <-n.done)
	return errors.Join(err, unix.Close(n.wake))
}

// run is the only one to use the Conn, whose clock follows the real one.
func (n *internet) run() error {
	// A network does not wait for a processor: where this is refused, answers are later, which is told. The thread ends with this
	// goroutine, so nobody else gets its priority.
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set timer slack: %w", err)
	}
	epoch, began := n.conn.Now(), time.Now()
	packet, scratch := make([]byte, 1<<16), make([]byte, 0, 1<<16)
	replies := make([]rawsock.Reply, 16)
	for {
		now := epoch.Add(time.Since(began))
		for {
			k, err := n.conn.Recv(replies, now)
			switch {
			case errors.Is(err, rawsock.ErrInterrupted):
				return nil
			case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
				return err
			}
			for i := range replies[:k] {
				n.deliver(&replies[i], now, scratch)
			}
			if err != nil {
				break
			}
		}
		k, err := unix.Read(n.tun.FD, packet)
		switch {
		case err == unix.EAGAIN:
			var rest time.Duration = -1
			if at, ok := n.conn.Next(); ok {
				rest = max(0, at.Sub(epoch)-time.Since(began))
			}
			if err := n.wait(rest); err != nil {
				return err
			}
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("read from the TUN device: %w", err)
		case packet[0]>>4 == 4: // else the kernel's own, about IPv6
			n.probes.Add(1)
			n.last.Store(int64(time.Since(began)))
			n.first.CompareAndSwap(0, n.last.Load())
			n.ask(packet[:k], scratch)
		}
	}
}

// ask gives the world a packet.
func (n *internet) ask(packet, scratch []byte) {
	if r, after, known := n.world.quick(packet, scratch); known {
		if r.From.IsValid() {
			n.conn.Inject(n.conn.Now().Add(after), r)
		}
		return
	}
	if ip, err := wire.ParseIP(packet); err == nil {
		// What has no route ends here, as at a host that says nothing.
		_, _ = n.conn.Send([]rawsock.Packet{{Dst: ip.Dst(), Data: packet}})
	}
}

// deliver writes an answer to the device.
func (n *internet) deliver(r *rawsock.Reply, now time.Time, b []byte) {
	b = wire.AppendIPv4(b, wire.IPv4{Src: r.From, Dst: r.To, TTL: r.TTL, TOS: r.TOS, Proto: r.Proto, Options: r.Options}, len(r.Data))
	b = append(b, r.Data...)
	n.late[bits.Len64(uint64(now.Sub(r.At)))].Add(1)
	if _, err := unix.Write(n.tun.FD, b); err != nil {
		n.lost.Add(1)
		return
	}
	n.answers.Add(1)
}

// wait waits for a packet, for the end, or that long; a negative time is for ever.
func (n *internet) wait(d time.Duration) error {
	fds := [...]unix.PollFd{{Fd: int32(n.tun.FD), Events: unix.POLLIN}, {Fd: int32(n.wake), Events: unix.POLLIN}}
	var limit *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		limit = &t
	}
	if _, err := unix.Ppoll(fds[:], limit, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}
