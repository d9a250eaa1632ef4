package ping_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/ping"
	"gtrace/rawsock"
)

// tally is the sink of one run.
type tally struct {
	received, sent int
	rtts           []time.Duration
	vague          int
	end            probe.Finished
}

func (s *tally) Emit(e probe.Event) error {
	switch e := e.(type) {
	case *probe.Sent:
		s.sent++
	case *probe.Probed:
		o := &e.Outcome
		switch rtt, ok := o.RTT(); {
		case o.Match == probe.FlowOnly:
			s.vague++
		case ok && !o.Duplicate:
			s.received++
			s.rtts = append(s.rtts, rtt)
		}
	case probe.Finished:
		s.end = e
	}
	return nil
}

// A host that quotes 8 bytes is pinged without privilege: each answer is one, and has a time where no other probe is waited for.
func TestCutQuotes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		rtt      time.Duration
		interval time.Duration
		lost     []uint64 // probes, from 1
		timed    int      // of 20, at least
	}{
		{"ordinary", 20 * time.Millisecond, time.Second, nil, 20},
		{"one is lost", 20 * time.Millisecond, time.Second, []uint64{5}, 4},
		{"faster than answers come", 150 * time.Millisecond, 100 * time.Millisecond, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, target := simnet.Host("10.0.0.1"), simnet.Host("10.0.1.1")
			target.Quote = 8
			link := simnet.Path(host, target)[0]
			link.Out.Delay, link.Back.Delay = tt.rtt/2, tt.rtt/2
			c := simnet.New(simnet.Config{Seed: 1, Caps: func(c *rawsock.Caps) { c.Header = false }}, host)
			src, dst := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.1.1")
			port, err := c.Reserve(src, 17, 0)
			if err != nil {
				t.Fatal(err)
			}
			p, err := ping.New(ping.Config{
				Proto: probe.UDP, Src: netip.AddrPortFrom(src, port), Dst: netip.AddrPortFrom(dst, 33434),
				TTL: 64, Count: 20, Interval: tt.interval,
			})
			if err != nil {
				t.Fatal(err)
			}
			var s tally
			if err := probe.Run(context.Background(), c, &losing{Algorithm: p, link: link, lost: tt.lost}, probe.Limits{}, &s); err != nil {
				t.Fatal(err)
			}
			if s.sent != 20 || s.received < tt.timed || s.received+s.vague != 20-len(tt.lost) || s.end.Verdict != probe.AnsweredIt {
				t.Errorf("%d sent, %d answered, and %d by nobody knows which; want %d of 20; %+v", s.sent, s.received, s.vague, 20-len(tt.lost), s.end)
			}
			for _, rtt := range s.rtts {
				if rtt != tt.rtt {
					t.Errorf("RTT %v, want %v", rtt, tt.rtt)
				}
			}
		})
	}
}

// losing has some probes lost.
type losing struct {
	probe.Algorithm
	link *simnet.Link
	lost []uint64
	sent uint64
}

func (l *losing) Step(in probe.Input, out *probe.Output) {
	l.Algorithm.Step(in, out)
	l.link.Out.Loss = 0
	for range out.Send {
		l.sent++
		for _, n := range l.lost {
			if n == l.sent {
				l.link.Out.Loss = 1
			}
		}
	}
}
