package many

import (
	"testing"
	"time"

	"gtrace/probe"
)

// A sleeper asks to be woken at a time.
type sleeper struct{ at time.Time }

func (s sleeper) Step(_ probe.Input, out *probe.Output) { out.Wake = s.at }

// TestCrowdWakes: few targets are woken when they ask for it, of a crowd those of a millisecond together.
func TestCrowdWakes(t *testing.T) {
	now := time.Unix(1, 0)
	for n, want := range map[int]time.Duration{1: time.Microsecond, crowd - 1: time.Microsecond, crowd: grain} {
		begun := 0
		m := New(Config{Most: n, Next: func() (Target, bool) {
			begun++
			return Target{Number: begun - 1, Algorithm: sleeper{now.Add(time.Duration(begun) * time.Microsecond)}}, begun <= n
		}}, nothing{})
		var out probe.Output
		m.Step(probe.Input{Now: now, Room: 1 << 10}, &out)
		if got := out.Wake.Sub(now); got != want {
			t.Errorf("%d targets: woken after %v, want %v", n, got, want)
		}
	}
}
