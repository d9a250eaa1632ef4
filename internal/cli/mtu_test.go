package cli

import (
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
)

// TestMTUSilent: a path MTU trace to who does not answer ends after as many silent hops as another, and in no more than four seconds each.
func TestMTUSilent(t *testing.T) {
	for _, tt := range []struct {
		options string
		hops    int
		end     string
	}{
		{"", 12, "  # gap-limit: "},
		{" --gap-limit 2", 4, "  # gap-limit: "},
		{" --gap-limit 0 -m 6", 6, "  # max-hops: "},
		{" -I -q1", 12, "  # gap-limit: "},
	} {
		w := newWorld(simnet.Config{})
		began := w.conn.Now()
		if status := w.run(t.Context(), "gtrace -n --mtu"+tt.options+" 198.51.100.9"); status != no {
			t.Errorf("%q: status %d, want %d: %s", tt.options, status, no, &w.stderr)
		}
		took := w.conn.Now().Sub(began)
		lines := strings.Split(strings.TrimSpace(w.out.String()), "\n")
		if len(lines) != tt.hops+2 || !strings.HasPrefix(lines[len(lines)-1], tt.end) {
			t.Errorf("%q:\n%s\nwant %d hops, and %q", tt.options, &w.out, tt.hops, tt.end)
		}
		if most := time.Duration(tt.hops-2) * 4100 * time.Millisecond; took > most {
			t.Errorf("%q: took %v, want no more than %v", tt.options, took, most)
		}
	}
}
