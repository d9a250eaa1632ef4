//go:build !linux

package rawsock

import (
	"errors"
	"fmt"
	"runtime"
)

// open refuses: there are no sockets for this system yet. What its kernel
// does to headers is in order.go.
func open(Options) (Conn, error) {
	return nil, opError("open sockets", fmt.Errorf("probes are not sent from %s yet, only from Linux: %w", runtime.GOOS, errors.ErrUnsupported))
}
