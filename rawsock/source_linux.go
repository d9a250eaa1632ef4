package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
)

// sourceError names the errno of a failed connect.
func sourceError(dst netip.Addr, err error) error {
	// Of what net adds, the call is worth keeping; the address is said anyway.
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call
	}
	return sendError(dst, fmt.Errorf("no source address: %w", err))
}
