package cli

import (
	"context"
	"strings"
	"sync"
	"testing"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
)

// A countingConn tells when so many packets have left.
type countingConn struct {
	rawsock.Conn
	left int
	gone chan struct{}
	once sync.Once
}

func (c *countingConn) Send(ps []rawsock.Packet) (int, error) {
	n, err := c.Conn.Send(ps)
	if c.left -= n; c.left <= 0 {
		c.once.Do(func() { close(c.gone) })
	}
	return n, err
}

// TestNamesHoldNothingUp: with several hosts too the last packet leaves while the first name is still waited for. Who waited for
// the name before sending on would wait for the whole bound, and print no name then.
func TestNamesHoldNothingUp(t *testing.T) {
	for _, tt := range []struct {
		line        string
		sent, names int
	}{
		{"gping --names -c 3 192.0.2.9 10.0.2.1", 6, 6},
		{"gping --names -c 3 --ordered 192.0.2.9 10.0.2.1", 6, 6},
		{"gping --names -c 3 192.0.2.9", 3, 3},
		{"gtrace --names -q 1 -m 3 192.0.2.9 10.0.2.1", 5, 5},
		{"gtrace --names --json -q 1 -m 3 192.0.2.9 10.0.2.1", 5, 5},
	} {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			c := &countingConn{Conn: w.conn, left: tt.sent, gone: make(chan struct{})}
			w.env.Conn = c
			w.env.reverse = func(ctx context.Context, _ string) ([]string, error) {
				select {
				case <-c.gone:
				case <-ctx.Done():
				}
				return []string{"slow.example."}, nil
			}
			if status := w.run(t.Context(), tt.line); status != 0 || w.stderr.Len() > 0 {
				t.Errorf("status %d, %q", status, &w.stderr)
			}
			n := strings.Count(w.out.String(), "slow.example (") + strings.Count(w.out.String(), `"name":"slow.example"`)
			if n != tt.names {
				t.Errorf("%d names, want %d:\n%s", n, tt.names, &w.out)
			}
		})
	}
}
