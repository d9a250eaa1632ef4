package cli

import (
	"testing"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
)

// TestLookedUpOnce: a name is looked up once, and all probes go to the one address that was chosen, of the family that it has.
func TestLookedUpOnce(t *testing.T) {
	for _, tt := range []struct {
		line, dst string
		family    float64
		looked    int32
	}{
		{"gtrace --json -q5 -m5 target.example", target6, 6, 1},
		{"gtrace --json -q5 -m5 -4 target.example", target4, 4, 1},
		{"gtrace --json odd.example", target4, 4, 1}, // the first that may be probed
		{"gtrace --json --mtu target.example", target6, 6, 1},
		{"gping --json -c20 target.example", target6, 6, 1},
		{"gping --json -c2 " + target4, target4, 4, 0},
		{"gping --json -c2 ::ffff:" + target4, target4, 4, 0}, // an IPv4 address, for all its 16 bytes
	} {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.run(t.Context(), tt.line); status != 0 {
				t.Fatalf("status %d: %s", status, &w.stderr)
			}
			if n := w.looked.Load(); n != tt.looked {
				t.Errorf("looked up %d times, want %d", n, tt.looked)
			}
			d := w.documents(t)
			if len(d) != 1 || d[0]["destination"] != tt.dst || d[0]["family"] != tt.family {
				t.Errorf("to %v, family %v, want %s", d[0]["destination"], d[0]["family"], tt.dst)
			}
			to := make(map[string]int)
			for _, p := range w.conn.Sent() {
				ip, err := wire.ParseIP(p.Data)
				if err != nil {
					t.Fatal(err)
				}
				to[ip.Dst().String()]++
			}
			if len(to) != 1 || to[tt.dst] == 0 {
				t.Errorf("sent to %v, want all to %s", to, tt.dst)
			}
		})
	}
}
