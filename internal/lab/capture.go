//go:build linux

package lab

import (
	"errors"
	"fmt"
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
// kernel's order. One goroutine uses it.
//
// Nobody reads along: until Wait or Stop, packets stay in the kernel's
// buffer. So the recording does not wake anyone between two steps of what is
// recorded, which would cost the packets more time than a system call.
type Capture struct {
	fd      int
	limit   int
	packets []Packet
	ended   bool
	err     error // why there may be more than packets
}

// captureBuffer holds what has arrived and was not read, with some 700 bytes
// of the kernel's own a packet.
const captureBuffer = 64 << 20

// Capture records what crosses the interface to that neighbour ("lo" for
// loopback), at most limit packets, from now until Stop or the network's end.
func (n *Node) Capture(neighbour string, limit int) (*Capture, error) {
	l, err := n.nl.LinkByName(neighbour)
	if err != nil {
		return nil, fmt.Errorf("lab: capture on %s: find %s: %w", n.Name, neighbour, err)
	}
	c := &Capture{limit: limit}
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
		unix.Close(c.fd)
		return nil, fmt.Errorf("lab: capture on %s: %w", n.Name, err)
	}
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
	all := uint16(unix.ETH_P_ALL)
	bigEndian := all<<8 | all>>8
	if err := unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: bigEndian, Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// drain reads what the kernel has.
func (c *Capture) drain() {
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for c.err == nil {
		p, ok, err := c.next(buf, oob)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
		case err != nil:
			c.err = fmt.Errorf("lab: capture: %w", err)
		case !ok:
		case len(c.packets) == c.limit:
			c.err = fmt.Errorf("lab: capture: more than %d packets", c.limit)
		default:
			c.packets = append(c.packets, p)
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

// Wait returns the first packet, recorded or yet to come, that ok accepts.
func (c *Capture) Wait(patience time.Duration, ok func(Packet) bool) (Packet, error) {
	until := time.Now().Add(patience)
	for seen := 0; ; {
		if !c.ended {
			c.drain()
		}
		for ; seen < len(c.packets); seen++ {
			if p := c.packets[seen]; ok(p) {
				return p, nil
			}
		}
		left := time.Until(until)
		switch {
		case c.err != nil:
			return Packet{}, c.err
		case c.ended:
			return Packet{}, fmt.Errorf("lab: capture: no such packet among %d when it ended", seen)
		case left <= 0:
			return Packet{}, fmt.Errorf("lab: capture: no such packet among %d within %v", seen, patience)
		}
		fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return Packet{}, fmt.Errorf("lab: capture: poll: %w", err)
		}
	}
}

// Stop ends the capture and returns what it has: everything that crossed the
// interface before the call. The error says when that is not so, because
// there was more than the limit or than the kernel's buffer held.
func (c *Capture) Stop() ([]Packet, error) {
	if !c.ended {
		c.ended = true
		c.drain()
		if c.err == nil {
			c.err = c.dropped()
		}
		unix.Close(c.fd)
	}
	return c.packets, c.err
}
