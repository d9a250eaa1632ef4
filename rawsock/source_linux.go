package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// markedSource is SourceOn for packets with s.Mark.
func markedSource(dst netip.Addr, s Settings) (netip.Addr, error) {
	var z zones
	oif, err := z.id(dst)
	if err != nil {
		return netip.Addr{}, err
	}
	if s.Device != "" {
		device, err := z.id(netip.IPv6LinkLocalAllNodes().WithZone(s.Device))
		if err != nil {
			return netip.Addr{}, deviceError(s.Device, unix.ENODEV)
		}
		if oif != 0 && oif != device {
			return netip.Addr{}, fmt.Errorf("%v is of another interface than %q: %w", dst, s.Device, unix.EINVAL)
		}
		oif = device
	}
	w, err := wayTo(netip.Addr{}, dst, oif, s.Mark)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("with mark %d: %w", s.Mark, err)
	case s.Direct && dst.Is4() && w.router.IsValid(): // IPv6 looks later; see ways.check
		return netip.Addr{}, fmt.Errorf("behind the router %v: %w", w.router, unix.ENETUNREACH)
	case !w.source.IsValid():
		return netip.Addr{}, fmt.Errorf("with mark %d: %w", s.Mark, unix.EADDRNOTAVAIL)
	}
	return z.with(w.source, w.oif), nil
}

// sourceError names the errno of a failed connect.
func sourceError(dst netip.Addr, err error) error {
	// Of what net adds, the call is worth keeping; the address is said anyway.
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call
	}
	return sendError(dst, fmt.Errorf("no source address: %w", err))
}
