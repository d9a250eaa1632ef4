package rawsock

import (
	"errors"
	"fmt"
	"io/fs"
)

// opError reports a failed op, for example
//
//	open IPv6 receiver: raw sockets need root or CAP_NET_RAW: operation not permitted
func opError(op string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w: %w", op, ErrPrivilege, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}
