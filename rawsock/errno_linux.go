package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// sendError tells why a packet to dst did not leave. What a full queue refused
// may be sent again: ENOBUFS is the device's queue, EAGAIN the socket's own
// send buffer.
func sendError(dst netip.Addr, err error) *SendError {
	e := &SendError{Dst: dst, Err: err}
	var no unix.Errno
	switch {
	case errors.As(err, &no):
		e.Name = unix.ErrnoName(no)
		if e.Name == "" {
			e.Name = fmt.Sprintf("errno %d", int(no))
		}
		if no == unix.ENOBUFS || no == unix.EAGAIN {
			e.Err = fmt.Errorf("%w: %w", ErrFull, err)
		}
	case errors.Is(err, os.ErrClosed):
		e.Name = "EBADF"
	}
	return e
}
