package cli

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
)

// loops makes a loop of the world's two routers.
func (w *world) loops() {
	w.routers[1].Links = nil
	w.routers[1].Link(w.routers[0])
}

// A loop ends a trace under our own name; under traceroute's it goes on to the last TTL, and all that is printed is what
// traceroute prints.
func TestLoop(t *testing.T) {
	w := newWorld(simnet.Config{})
	w.loops()
	status := w.run(t.Context(), "gtrace -n 192.0.2.9")
	lines := strings.Split(strings.TrimSpace(w.out.String()), "\n")
	if status != 1 || len(lines) != 8 || !strings.HasPrefix(lines[6], " 6  10.0.2.1 ") || !strings.HasPrefix(lines[7], "  # forwarding-loop: ") {
		t.Errorf("status %d\n%s%s", status, &w.out, &w.stderr)
	}

	w = newWorld(simnet.Config{})
	w.loops()
	status = w.run(t.Context(), "gtrace --json 192.0.2.9")
	d := w.documents(t)[0]
	if status != 1 || d["outcome"] != "loop" || d["complete"] != true || len(d["hops"].([]any)) != 6 || len(d["findings"].([]any)) != 1 {
		t.Errorf("status %d\n%s%s", status, &w.out, &w.stderr)
	}

	w = newWorld(simnet.Config{})
	w.loops()
	w.env.Name = "traceroute"
	status = w.run(t.Context(), "gtrace -n 192.0.2.9")
	lines = strings.Split(strings.TrimSpace(w.out.String()), "\n")
	if status != 0 || len(lines) != 31 || !strings.HasPrefix(lines[30], "30  10.0.2.1 ") || strings.Contains(w.out.String(), "#") {
		t.Errorf("status %d\n%s%s", status, &w.out, &w.stderr)
	}
}

// TRAPS T83: a source address that goes away ends what is measured from it, by that name; what is measured from another
// goes on.
func TestSourceChanges(t *testing.T) {
	for _, tt := range []struct {
		line     string
		left     bool // some probe had left by then and waits, and no other is to be sent
		outcomes map[string]string
	}{
		{"gtrace --json -z.1 -q5 192.0.2.9 2001:db8::9", false, map[string]string{target4: "error", target6: "reached"}},
		{"gtrace --json --mtu -z.1 192.0.2.9 2001:db8::9", false, map[string]string{target4: "error", target6: "reached"}},
		{"gping --json -c5 -i.2 192.0.2.9 2001:db8::9", false, map[string]string{target4: "error", target6: "answered"}},
		{"gping --json -c1 -W2 198.51.100.9 2001:db8::9", true, map[string]string{silent4: "error", target6: "answered"}},
		{"gtrace --json -m3 -w1 -f3 -q1 198.51.100.9 2001:db8::9", true, map[string]string{silent4: "error", target6: "reached"}},
	} {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.conn.At(w.conn.Now().Add(250*time.Millisecond), func() {
				w.src.Addrs = []netip.Addr{netip.MustParseAddr(other4), netip.MustParseAddr(here6)}
			})
			status := w.run(t.Context(), tt.line)
			ds := w.documents(t)
			if status != 2 || len(ds) != 2 {
				t.Fatalf("status %d\n%s%s", status, &w.out, &w.stderr)
			}
			for _, d := range ds {
				want := tt.outcomes[d["target"].(string)]
				gone := want == "error"
				if d["outcome"] != want || (d["stop_reason"] == "source-changed") != gone || d["complete"] != !gone {
					t.Errorf("%v: outcome %v, stop_reason %v, complete %v, want %s", d["target"], d["outcome"], d["stop_reason"], d["complete"], want)
				}
				if n := d["self_check"].(map[string]any)["send_errors"].(float64); gone && !tt.left && n != 1 || (!gone || tt.left) && n != 0 {
					t.Errorf("%v: %v send errors: want the run to end with the first", d["target"], n)
				}
			}
			if want := regexp.MustCompile(`^g\w+: \S+: .*198\.51\.100\.1.*\n$`); !want.MatchString(w.stderr.String()) {
				t.Errorf("standard error %q, want one line that names the address", &w.stderr)
			}
		})
	}
}

// Other reasons why probes do not leave are not that one.
func TestSourceStays(t *testing.T) {
	for _, errno := range []string{"EPERM", "EADDRNOTAVAIL", "ENETUNREACH"} {
		w := newWorld(simnet.Config{Refuse: simnet.RefuseTries(2, 100, errno)})
		status := w.run(t.Context(), "gping --json -c4 -i.2 192.0.2.9")
		d := w.documents(t)[0]
		if status != 0 || d["outcome"] != "answered" || d["stop_reason"] != nil || d["complete"] != true {
			t.Errorf("%s: status %d\n%s%s", errno, status, &w.out, &w.stderr)
		}
	}
}
