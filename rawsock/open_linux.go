package rawsock

import (
	"errors"
	"fmt"
)

func open(o Options) (Conn, error) {
	if o.Unprivileged {
		return openUnprivileged(o)
	}
	c, err := openRaw(o, rcvBuf)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, ErrPrivilege) {
		return nil, err
	}
	u, uerr := openUnprivileged(o)
	if uerr != nil {
		return nil, fmt.Errorf("%w; nor without privilege: %w", err, uerr)
	}
	u.(*unprivileged).caps.Refused = err
	return u, nil
}
