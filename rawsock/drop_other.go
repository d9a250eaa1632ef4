//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package rawsock

import (
	"errors"
	"os"
)

// drop refuses where there is something to give up: this system's way to do
// so is not known here.
func drop() error {
	if uid := os.Getuid(); uid == 0 || uid != os.Geteuid() || os.Getgid() != os.Getegid() {
		return opError("drop privilege", errors.ErrUnsupported)
	}
	return nil
}
