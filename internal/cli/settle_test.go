package cli

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gtrace/internal/simnet"
)

// TestSettle: files can go once Settle was called, as all have been read; no name has been asked for and no packet sent by then.
func TestSettle(t *testing.T) {
	for _, tt := range []struct{ as, line string }{
		{"gtrace", "gtrace -n --targets "},
		{"gping", "gping -n -c1 --targets "},
		{"fping", "gping -c1 -f "},
	} {
		t.Run(tt.as, func(t *testing.T) {
			list := filepath.Join(t.TempDir(), "list")
			if err := os.WriteFile(list, []byte("four.example\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			w := newWorld(simnet.Config{})
			w.env.Name = tt.as
			var order []string
			w.env.Settle = func() {
				order = append(order, "settle")
				if len(w.conn.Sent()) > 0 {
					t.Error("packets were sent before")
				}
				if err := os.Remove(list); err != nil {
					t.Error(err)
				}
			}
			lookup := w.env.lookup
			w.env.lookup = func(ctx context.Context, network, name string) ([]netip.Addr, error) {
				order = append(order, name)
				return lookup(ctx, network, name)
			}
			if status := w.run(t.Context(), tt.line+list); status != 0 {
				t.Errorf("status %d, want 0: %s", status, &w.stderr)
			}
			if want := []string{"settle", "four.example"}; !slices.Equal(order, want) {
				t.Errorf("in this order: %v, want %v", order, want)
			}
		})
	}
}
