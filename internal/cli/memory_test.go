//go:build !race

// With the race detector a program takes several times the memory it takes without.

package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
)

// TestMemory runs half of what may be kept at once and looks at what that takes: the whole is 1 GiB at most, as the
// manual has it (limitsSection).
func TestMemory(t *testing.T) {
	const most = 1 << 30 / 2
	for _, line := range []string{
		fmt.Sprintf("gtrace --json -m255 -q10 -N1024 -w.1 --parallel %d --generate 198.51.100.1-198.51.100.%[1]d", maxResults/2550/2),
		fmt.Sprintf("gping --json -c%d -i.0001 -W.01 198.51.100.9", maxResults/2),
	} {
		t.Run(line, func(t *testing.T) {
			src, r1, r2, silent := simnet.Host(here4), simnet.Router("10.0.1.1"), simnet.Router("10.0.2.1"), simnet.Host(silent4)
			simnet.Path(src, r1, r2)
			silent.Silent = true
			r2.Link(silent, "198.51.100.0/24")
			debug.FreeOSMemory() // what the test before took
			high := &highWater{}
			env := Env{Conn: simnet.New(simnet.Config{}, src), Stdout: high, Stderr: io.Discard, Version: "v1", Root: true, Args: strings.Fields(line)[1:],
				source: func(netip.Addr, rawsock.Settings) (netip.Addr, error) { return netip.MustParseAddr(here4), nil }}
			begun := time.Now()
			runs := map[string]func(context.Context, Env) int{"gtrace": Trace, "gping": Ping}
			runs[strings.Fields(line)[0]](t.Context(), env)
			t.Logf("%d MiB, %d bytes written, %v", high.most>>20, high.n, time.Since(begun))
			if high.most > most {
				t.Errorf("%d MiB in use, want no more than %d", high.most>>20, most>>20)
			}
		})
	}
}

// highWater looks at the heap with each document.
type highWater struct {
	n    int
	most uint64
}

func (h *highWater) Write(b []byte) (int, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.most = max(h.most, m.HeapSys-m.HeapReleased)
	h.n += len(b)
	return len(b), nil
}
