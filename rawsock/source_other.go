//go:build !linux

package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

// An asker is nothing here: each destination has a socket of its own.
type asker struct{}

func (*asker) source(netip.Addr, Settings) (src netip.Addr, ok bool) { return src, false }

// sourceError names the errno of a failed connect, of those that say why
// there is no way.
func sourceError(dst netip.Addr, err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call
	}
	e := &SendError{Dst: dst, Err: fmt.Errorf("no source address: %w", err)}
	for no, name := range map[syscall.Errno]string{
		syscall.ENETUNREACH:   "ENETUNREACH",
		syscall.EHOSTUNREACH:  "EHOSTUNREACH",
		syscall.ENETDOWN:      "ENETDOWN",
		syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL",
		syscall.EACCES:        "EACCES",
		syscall.EINVAL:        "EINVAL",
	} {
		if errors.Is(err, no) {
			e.Name = name
			return e
		}
	}
	e.Name = "unknown"
	var no syscall.Errno
	if errors.As(err, &no) {
		e.Name = fmt.Sprintf("errno %d", int(no))
	}
	return e
}

// markedSource refuses too: there are no marks here.
func markedSource(netip.Addr, Settings) (netip.Addr, error) {
	return netip.Addr{}, fmt.Errorf("mark packets: %w", errors.ErrUnsupported)
}

func routerOn(_, dst netip.Addr, _ Settings) (netip.Addr, error) {
	return netip.Addr{}, fmt.Errorf("rawsock: router before %v: %w", dst, errors.ErrUnsupported)
}

// choosesBy refuses what no socket here is asked for yet.
func choosesBy(_ int, _ bool, s Settings) error {
	if s.Device != "" || s.Direct {
		return fmt.Errorf("choose the interface: %w", errors.ErrUnsupported)
	}
	return nil
}
