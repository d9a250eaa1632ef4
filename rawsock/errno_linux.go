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
// send buffer. What else the kernel refuses by an errno whose words do not say why has the usual reason with it (TRAPS T62).
func sendError(dst netip.Addr, err error) *SendError {
	e := &SendError{Dst: dst, Err: err}
	var no unix.Errno
	switch {
	case errors.As(err, &no):
		e.Name = unix.ErrnoName(no)
		if e.Name == "" {
			e.Name = fmt.Sprintf("errno %d", int(no))
		}
		switch why := usualReason[no]; {
		case no == unix.ENOBUFS || no == unix.EAGAIN:
			e.Err = fmt.Errorf("%w: %w", ErrFull, err)
		case why != "":
			e.Err = fmt.Errorf("%w (as a rule %s)", err, why)
		}
	case errors.Is(err, os.ErrClosed):
		e.Name = "EBADF"
	}
	return e
}

var usualReason = map[unix.Errno]string{
	unix.EPERM:  "a packet filter of this host",
	unix.EACCES: "a prohibit route, or a broadcast address",
	unix.EINVAL: "a blackhole route",
}
