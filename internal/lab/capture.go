//go:build linux

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Packet is one IP packet as an interface saw it.
type Packet struct {
	At   time.Time // by the kernel
	Out  bool      // it left by the interface; else it came in
	Data []byte    // from the IP header on
}

// A Capture records the IP packets of one interface, both ways, in the
// kernel's order.
type Capture struct {
	fd, wake  int
	limit     int
	loopDone  chan struct{}
	closeOnce sync.Once

	mu      sync.Mutex
	changed chan struct{} // closed and made anew with every packet, and at the end
	packets []Packet
	ended   bool
	err     error
}

// captureBuffer holds what arrives while the recorder does not run.
const captureBuffer = 32 << 20

// Capture records what crosses the interface to that neighbour ("lo" for
// loopback), at most limit packets, from now until Stop or the network's end.
func (n *Node) Capture(neighbour string, limit int) (*Capture, error) {
	c := &Capture{wake: -1, limit: limit, loopDone: make(chan struct{}), changed: make(chan struct{})}
	l, err := n.nl.LinkByName(neighbour)
	if err != nil {
		return nil, fmt.Errorf("lab: capture on %s: find %s: %w", n.Name, neighbour, err)
	}
	// Protocol 0 hears nothing, so nothing is queued from another interface
	// before bind names this one.
	err = n.Do(func() (err error) {
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: capture on %s: open packet socket: %w", n.Name, err)
	}
	if err := c.prepare(l.Attrs().Index); err != nil {
		c.closeFiles()
		return nil, fmt.Errorf("lab: capture on %s: %w", n.Name, err)
	}
	go c.record()
	n.net.onClose(func() error { c.Stop(); return nil })
	return c, nil
}

func (c *Capture) prepare(ifindex int) error {
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for time stamps: %w", err)
	}
	var err error
	if c.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	all := uint16(unix.ETH_P_ALL)
	bigEndian := all<<8 | all>>8
	if err := unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: bigEndian, Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func (c *Capture) closeFiles() {
	unix.Close(c.fd)
	if c.wake >= 0 {
		unix.Close(c.wake)
	}
}

// record runs until Stop, and then until the socket is empty.
func (c *Capture) record() {
	defer close(c.loopDone)
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	stopping := false
	for {
		p, ok, err := c.next(buf, oob)
		switch {
		case err == unix.EAGAIN && stopping:
			c.end(c.dropped())
			return
		case err == unix.EAGAIN:
			fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}, {Fd: int32(c.wake), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
				c.end(fmt.Errorf("lab: capture: poll: %w", err))
				return
			}
			stopping = fds[1].Revents != 0
		case err == unix.EINTR:
		case err != nil:
			c.end(fmt.Errorf("lab: capture: %w", err))
			return
		case ok && !c.add(p):
			c.end(fmt.Errorf("lab: capture: more than %d packets", c.limit))
			return
		}
	}
}

// next reads one packet; ok is false for what is not IP.
func (c *Capture) next(buf, oob []byte) (p Packet, ok bool, err error) {
	n, oobn, _, from, err := unix.Recvmsg(c.fd, buf, oob, 0)
	if err != nil {
		return p, false, err
	}
	link, isLink := from.(*unix.SockaddrLinklayer)
	if !isLink {
		return p, false, fmt.Errorf("packet from a %T", from)
	}
	switch proto := link.Protocol<<8 | link.Protocol>>8; proto {
	case unix.ETH_P_IP, unix.ETH_P_IPV6:
	default:
		return p, false, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return p, false, fmt.Errorf("read control messages: %w", err)
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS {
			var ts unix.Timespec
			if len(m.Data) < int(unsafe.Sizeof(ts)) {
				return p, false, errors.New("short time stamp")
			}
			ts = *(*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			p.At = time.Unix(ts.Unix())
		}
	}
	if p.At.IsZero() {
		return p, false, errors.New("packet without a time stamp")
	}
	p.Out = link.Pkttype == unix.PACKET_OUTGOING
	p.Data = append([]byte(nil), buf[:n]...)
	return p, true, nil
}

// dropped tells whether the kernel had to leave packets out.
func (c *Capture) dropped() error {
	s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("lab: capture: ask for drops: %w", err)
	}
	if s.Drops > 0 {
		return fmt.Errorf("lab: capture: the kernel dropped %d packets", s.Drops)
	}
	return nil
}

func (c *Capture) add(p Packet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.packets) == c.limit {
		return false
	}
	c.packets = append(c.packets, p)
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

func (c *Capture) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.err = true, err
	close(c.changed)
}

// Wait returns the first packet, recorded or yet to come, that ok accepts.
func (c *Capture) Wait(ctx context.Context, ok func(Packet) bool) (Packet, error) {
	for seen := 0; ; {
		c.mu.Lock()
		news, changed, ended := c.packets[seen:], c.changed, c.ended
		c.mu.Unlock()
		for _, p := range news {
			if ok(p) {
				return p, nil
			}
		}
		seen += len(news)
		if ended {
			return Packet{}, fmt.Errorf("lab: capture ended without such a packet among %d: %w", seen, errors.Join(c.err))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Packet{}, fmt.Errorf("lab: no such packet among %d: %w", seen, context.Cause(ctx))
		}
	}
}

// Stop ends the capture and returns what it has: everything that crossed the
// interface before the call. The error says when that is not so, because
// there was more than the limit or than the kernel's buffer held.
func (c *Capture) Stop() ([]Packet, error) {
	c.closeOnce.Do(func() {
		one := binary.NativeEndian.AppendUint64(nil, 1)
		if _, err := unix.Write(c.wake, one); err != nil {
			panic(fmt.Sprintf("lab: write to an eventfd: %v", err)) // cannot be full
		}
		<-c.loopDone
		c.closeFiles()
	})
	return c.packets, c.err
}
