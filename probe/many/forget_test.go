package many

import (
	"net/netip"
	"testing"
	"time"

	"gtrace/probe"
	"gtrace/probe/ping"
)

type nothing struct{}

func (nothing) Emit(probe.Event) error { return nil }

// TestUnsentIsForgotten: of what never left nothing more is to come.
func TestUnsentIsForgotten(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a, err := ping.New(ping.Config{Src: netip.MustParseAddrPort("10.0.0.1:7"), Dst: netip.MustParseAddrPort("192.0.2.9:0"), TTL: 64,
		Interval: time.Second, Deadline: 1500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	begun := false
	m := New(Config{Most: 1, Next: func() (Target, bool) {
		first := !begun
		begun = true
		return Target{Algorithm: a}, first
	}}, nothing{})
	step := func(after time.Duration, os ...probe.Outcome) (out probe.Output) {
		now = now.Add(after)
		m.Step(probe.Input{Now: now, Room: 1, Outcomes: os}, &out)
		return out
	}
	step(0)
	step(time.Second)
	out := step(500 * time.Millisecond)
	if len(out.Recall) != 2 || m.probes.Len() != 2 {
		t.Fatalf("%d recalled, %d remembered; want 2", len(out.Recall), m.probes.Len())
	}
	step(0, probe.Outcome{Serial: 2, Status: probe.Unsent}, probe.Outcome{Serial: 1, Status: probe.Unsent})
	if m.probes.Len() != 0 {
		t.Errorf("%d remembered, want none", m.probes.Len())
	}
}
