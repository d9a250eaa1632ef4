package rawsock

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A lossMeter counts what the kernel threw away for want of room on one socket.
//
// It reads SO_MEMINFO, because SO_RXQ_OVFL tells of a loss only together with
// a later packet.
type lossMeter struct {
	last  uint32 // the kernel's counter when last looked at; it wraps
	total uint64
	room  uint32 // bytes the queue may hold
	burst int    // packets read since the queue was last empty
	full  bool   // the queue may have been full since the counter was last looked at
}

// biggest is more memory than the kernel ever counts for one queued packet: 64
// KiB of data take up 128 KiB and a header.
const biggest = 256 << 10

// memInfo are the words of SO_MEMINFO that matter here (SK_MEMINFO_*).
func memInfo(fd int) (queued, room, drops uint32, err error) {
	var m [9]uint32
	n := uint32(unsafe.Sizeof(m))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return 0, 0, 0, e
	}
	return m[0], m[1], m[8], nil
}

func (l *lossMeter) start(fd int) error {
	_, room, drops, err := memInfo(fd)
	if err != nil {
		return fmt.Errorf("read the loss counter (SO_MEMINFO): %w", err)
	}
	l.last, l.room = drops, room
	return nil
}

// read notes that n packets were read, and whether that emptied the queue.
func (l *lossMeter) read(n int, empty bool) {
	l.burst += n
	if l.possible(0) {
		l.full = true
	}
	if empty {
		l.burst = 0
	}
}

// possible reports whether the queue may have been full since it was last
// empty, with that much in it now.
func (l *lossMeter) possible(queued uint32) bool {
	return uint64(l.burst)*biggest+uint64(queued) >= uint64(l.room)
}

// count returns the losses so far.
func (l *lossMeter) count(fd int) uint64 {
	if queued, _, drops, err := memInfo(fd); err == nil {
		l.add(queued, drops)
	}
	return l.total
}

// add takes in what the kernel says: how much is queued, and its counter.
//
// That counter also grows by what is no loss: every ICMPv6 and TCP packet with
// a wrong checksum, whoever it is for, on a raw IPv6 socket. So it counts only
// for times when the queue can have been full. While it was, packets that the
// filter would have refused count too, as the kernel looks at the room first:
// then the sum is an upper bound.
func (l *lossMeter) add(queued, drops uint32) {
	if l.full || l.possible(queued) {
		l.total += uint64(drops - l.last)
	}
	l.last, l.full = drops, false
}
