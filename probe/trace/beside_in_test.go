package trace

import (
	"testing"
	"time"

	"gtrace/probe"
)

// TestBesideAwaits: a trace that found silence waits for one that has probes under way, or is to ask, and two that have nothing left do not wait for each other.
func TestBesideAwaits(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*Config)
	}{
		{"probes under way", func(c *Config) {}},
		{"probes that are to leave later", func(c *Config) { c.Gap = time.Second }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := new(Beside)
			c := good()
			c.Losses, c.Attempts, c.Max, c.Beside, c.Wait.Here = true, 1, 3, b, 0 // no silence is checked
			tt.edit(&c)
			c.Open = 3
			one, two := start(t, c), start(t, c)
			// ask has all asked that is to be, up to a TTL.
			ask := func(r *run, ttl int) {
				for len(r.sent) < ttl {
					r.step(time.Second)
				}
			}
			one.step(0)
			two.step(0)
			ask(two, 3)
			two.step(ms, two.hop(1, 1))
			two.step(ms, two.lost(2, 1), two.lost(3, 1))
			if two.ended() || b.waiting != 1 {
				t.Fatalf("ended %v, %d wait, while another has probes under way", two.ended(), b.waiting)
			}
			ask(one, 2)
			one.step(ms, one.hop(1, 1))
			one.step(ms, one.lost(2, 1))
			if one.ended() || b.waiting != 1 {
				t.Fatalf("ended %v, %d wait, while one has more to do", one.ended(), b.waiting)
			}
			if one.room = 0; len(one.sent) < 3 {
				if one.step(time.Second); b.waiting != 1 {
					t.Fatal("one that has no room to ask counts as one that waits")
				}
			}
			one.room = two.room
			if two.step(besideLook); two.ended() {
				t.Fatal("it did not wait for one that has more to do")
			}
			ask(one, 3)
			one.step(ms, one.lost(3, 1))
			if !one.ended() {
				t.Fatal("the last that had something to do waits")
			}
			if two.step(besideLook); !two.ended() || b.open != 0 || b.waiting != 0 {
				t.Fatalf("ended %v; %d have not, %d wait", two.ended(), b.open, b.waiting)
			}
			for _, r := range []*run{one, two} {
				r.wantFinished(probe.MaxHops, 3)
			}
		})
	}
}

func (r *run) ended() bool { return r.last.Done }
