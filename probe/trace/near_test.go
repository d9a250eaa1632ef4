package trace

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/probe"
)

// shared is what a run knows after so many traces that all had the same routers up to a TTL.
func shared(traces, last int) *Shared {
	s := NewShared()
	n := s.of(src)
	n.begun, n.ended = traces, traces
	for ttl := 1; ttl <= last; ttl++ {
		for range traces {
			n.at[ttl].heard(router(ttl), epoch, true)
		}
	}
	return s
}

// shared is what the run told of shared hops, if it did.
func (r *run) shared() (s probe.Shared, ok bool) {
	for _, e := range r.events {
		if s, ok = e.(probe.Shared); ok {
			return s, true
		}
	}
	return s, false
}

// What contradicts shared hops after they were told is a finding.
func TestSharedDoubtful(t *testing.T) {
	other := netip.MustParseAddr("10.9.9.9")
	for _, tt := range []struct {
		name string
		ttl  int // where the fourth attempt is answered
		from netip.Addr
		want []string
	}{
		{"by the same", 3, router(3), nil},
		{"by another", 3, other, []string{"shared-hops-doubtful"}},
		{"by another, further on", 4, other, nil},
		{"by one that is nearer, further on", 5, router(1), []string{"shared-hops-doubtful"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			c.Attempts, c.Shared = 4, shared(nearTimes, 3)
			r := start(t, c)
			r.drive(r.path(6).but(func(s probe.Sent) []answer {
				if int(s.Spec.TTL) == tt.ttl && s.Spec.Attempt == 4 {
					return []answer{{2 * time.Second, r.to(s.Serial, tt.from, probe.TimeExceeded)}}
				}
				return nil
			}))
			r.wantFinished(probe.Reached, 6)
			if s, ok := r.shared(); !ok || len(s.Hops) != 2 || !s.Seen {
				t.Errorf("shared %+v, want TTL 1 and 2", s)
			}
			var got []string
			for _, code := range r.findings() {
				if code == "shared-hops-doubtful" {
					got = append(got, code)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("findings %v, want %v", got, tt.want)
			}
		})
	}
}

// A trace that is cut short before its shared hops have shown says what was not asked.
func TestSharedCutShort(t *testing.T) {
	for _, answered := range []bool{false, true} {
		c := good()
		c.Shared = shared(nearTimes, 3)
		r := start(t, c)
		r.step(0)
		if answered {
			r.step(ms, r.hop(3, 1))
		}
		r.stop(ms, probe.ErrInterrupted)
		if s, ok := r.shared(); !ok || len(s.Hops) != 2 || s.Seen != answered {
			t.Errorf("answered %v: shared %+v, want TTL 1 and 2", answered, s)
		}
	}
	// Where nothing leaves there is nothing to say.
	c := good()
	c.Shared = shared(nearTimes, 3)
	r := start(t, c)
	r.step(0)
	var failed []probe.Outcome
	for _, s := range r.sent {
		failed = append(failed, r.fails(s, "EPERM")[0].o)
	}
	r.stop(ms, errors.New("cut"), failed...)
	if s, ok := r.shared(); ok {
		t.Errorf("shared %+v", s)
	}
}

// No path has a router twice, nor one that may take turns with one that never answers, nor what the first traces have not yet shown.
func TestNearKnown(t *testing.T) {
	now := epoch.Add(time.Second)
	for _, tt := range []struct {
		name string
		edit func(n *near)
		want int
	}{
		{"all", func(*near) {}, 4},
		{"one twice", func(n *near) { n.at[3] = n.at[2] }, 2},
		{"a part of the answers now and then", func(n *near) {
			for range 3 {
				n.at[2].quiet()
				n.at[2].heard(router(2), epoch, false)
			}
		}, 4},
		{"all or nothing", func(n *near) { n.at[2].quiet() }, 2},
		{"one attempt, rarely none", func(n *near) { n.once = true; n.at[2].quiet() }, 4},
		{"one attempt, often none", func(n *near) {
			n.once = true
			for range 3 {
				n.at[2].quiet()
			}
		}, 2},
		{"the first are not all there", func(n *near) { n.ended-- }, 0},
	} {
		n := shared(nearTimes, 4).of(src)
		tt.edit(n)
		if got := n.known(now); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
