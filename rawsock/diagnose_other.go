//go:build !linux

package rawsock

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func unknownHere(op string) error {
	return opError(op, fmt.Errorf("not known for %s yet, only for Linux: %w", runtime.GOOS, errors.ErrUnsupported))
}

func snapshot() Privilege {
	return Privilege{
		UID: os.Getuid(), EUID: os.Geteuid(), GID: os.Getgid(), EGID: os.Getegid(),
		Err: unknownHere("look at the program's privilege"),
	}
}

func diagnose(Conn, bool, bool) (Facts, error) {
	return Facts{}, unknownHere("find out what sockets can be opened")
}
