//go:build linux && !386 && !amd64 && !arm && !arm64 && !riscv64

package rawsock

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/net/bpf"
)

// callFilter refuses: nobody has listed this architecture's calls yet.
func callFilter(uint32) ([]bpf.RawInstruction, error) {
	return nil, fmt.Errorf("no list of system calls for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
}
