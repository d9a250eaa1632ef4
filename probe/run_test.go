package probe_test

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/rawsock"
)

var (
	us   = netip.MustParseAddr("198.51.100.1")
	them = netip.MustParseAddr("192.0.2.9")
)

// network is a host, a router and a target, 2 ms away.
func network() (src, r, dst *simnet.Node) {
	src, r, dst = simnet.Host(us.String()), simnet.Router("10.0.1.1"), simnet.Host("192.0.2.9")
	simnet.Path(src, r, dst)
	return
}

// A script is an Algorithm that sends a number of like probes at a pace and keeps what
// became of them.
type script struct {
	spec    probe.Spec
	count   int
	every   time.Duration
	linger  time.Duration            // goes on that long after the last probe is decided
	giveUp  func(serial uint64) bool // at the next step
	onStep  func(probe.Input)        // sees every step
	sent    int
	next    time.Time
	end     time.Time
	decided int
	all     []probe.Outcome
	stopped error
}

func (s *script) Step(in probe.Input, out *probe.Output) {
	if s.onStep != nil {
		s.onStep(in)
	}
	for _, o := range in.Outcomes {
		s.all = append(s.all, o)
		if !o.Late && !o.Duplicate {
			s.decided++
		}
	}
	if s.next.IsZero() {
		s.next = in.Now
	}
	for s.sent < s.count && in.Room > len(out.Send) && !s.next.After(in.Now) {
		out.Send = append(out.Send, s.spec)
		s.sent++
		s.next = s.next.Add(s.every)
		if s.giveUp != nil && s.giveUp(uint64(s.sent)) {
			out.GiveUp = append(out.GiveUp, uint64(s.sent)-1)
		}
	}
	if s.sent < s.count && s.every > 0 {
		out.Wake = s.next
	}
	if s.decided >= s.count && s.end.IsZero() {
		s.end = in.Now.Add(s.linger)
	}
	if !s.end.IsZero() {
		out.Wake = s.end
	}
	if s.stopped = in.Stop; in.Stop != nil || !s.end.IsZero() && !s.end.After(in.Now) {
		out.Events = append(out.Events, probe.Finished{At: in.Now, Complete: in.Stop == nil})
		out.Done = true
	}
}

// A log is a Sink that keeps everything.
type log struct {
	events []probe.Event
	err    error // returned by Emit
}

func (l *log) Emit(e probe.Event) error {
	switch v := e.(type) {
	case *probe.Sent:
		c := *v
		c.Packet = slices.Clone(c.Packet)
		e = &c
	case *probe.Probed:
		c := *v
		e = &c
	}
	l.events = append(l.events, e)
	return l.err
}

func (l *log) checked(t *testing.T) probe.Checked {
	t.Helper()
	for _, e := range l.events {
		if c, ok := e.(probe.Checked); ok {
			return c
		}
	}
	t.Fatal("no Checked event")
	return probe.Checked{}
}

func run(t *testing.T, c *simnet.Conn, s *script, l probe.Limits) *log {
	t.Helper()
	var lg log
	if err := probe.Run(context.Background(), c, s, l, &lg); err != nil {
		t.Fatal(err)
	}
	if f := c.Faults(); len(f) > 0 {
		t.Errorf("packets no real host would accept: %v", f)
	}
	return &lg
}

func echo(t *testing.T, c rawsock.Conn) probe.Spec {
	t.Helper()
	id, err := c.Reserve(us, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return probe.Spec{Proto: probe.ICMP, Src: netip.AddrPortFrom(us, id), Dst: netip.AddrPortFrom(them, 0),
		TTL: 64, Size: 84, Timeout: time.Second}
}

func TestAnswersAreTimedByTheKernel(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 3, every: time.Second}
	run(t, c, s, probe.Limits{})
	if len(s.all) != 3 {
		t.Fatalf("%d outcomes, want 3: %+v", len(s.all), s.all)
	}
	for i, o := range s.all {
		rtt, ok := o.RTT()
		if !ok || rtt != 4*time.Millisecond || o.Clock != probe.KernelClock {
			t.Errorf("outcome %d: RTT %v %v, clock %v; want 4ms by the kernel", i, rtt, ok, o.Clock)
		}
		if o.Serial != uint64(i+1) || o.Answer != probe.EchoReply || o.From != them || o.TTL != 63 {
			t.Errorf("outcome %d: %+v", i, o)
		}
	}
}

// T09: an answer that is there before Send returns finds its probe.
func TestAnswerWithoutDelay(t *testing.T) {
	src, _, _ := network()
	for _, n := range []*simnet.Link{src.Links[0], src.Links[0].To.Links[0]} {
		n.Out.Delay, n.Back.Delay = 0, 0
	}
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 200}
	lg := run(t, c, s, probe.Limits{})
	if got := len(s.all); got != 200 || lg.checked(t) != (probe.Checked{}) {
		t.Errorf("%d outcomes, %+v; want 200 and nothing odd", got, lg.checked(t))
	}
}

// T10: ids wrap, and an answer 5 s late still finds its own probe.
func TestSeventyThousandProbesAnsweredLate(t *testing.T) {
	src, _, dst := network()
	dst.Answer.Delay = 5 * time.Second
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 70_000, every: time.Millisecond, linger: 10 * time.Second}
	lg := run(t, c, s, probe.Limits{InFlight: 1 << 20})
	var late int
	for _, o := range s.all {
		if !o.Late {
			continue
		}
		late++
		if rtt, _ := o.RTT(); rtt != 5*time.Second+4*time.Millisecond {
			t.Fatalf("probe %d: RTT %v, want 5.004s: it took another's answer", o.Serial, rtt)
		}
	}
	if c := lg.checked(t); late != 70_000 || c.Late != 70_000 || c.Unmatched != 0 {
		t.Errorf("%d late answers, %+v; want all 70000", late, c)
	}
}

// T11: a probe that is not answered in time is lost, and then late; its RTT is known.
func TestLateAnswer(t *testing.T) {
	src, _, dst := network()
	dst.Answer.Delay = 1500 * time.Millisecond
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 1, linger: time.Second}
	run(t, c, s, probe.Limits{})
	if len(s.all) != 2 || s.all[0].Status != probe.Lost || !s.all[1].Late || s.all[1].Status != probe.Answered {
		t.Fatalf("outcomes %+v; want lost, then late", s.all)
	}
	if rtt, ok := s.all[1].RTT(); !ok || rtt != 1504*time.Millisecond {
		t.Errorf("RTT %v, want 1.504s", rtt)
	}
}

// T12: the first answer counts, the others are duplicates.
func TestThreeCopies(t *testing.T) {
	src, _, _ := network()
	src.Links[0].Back.Dup, src.Links[0].Back.Copies = 1, 2
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 1, linger: time.Second}
	lg := run(t, c, s, probe.Limits{})
	if len(s.all) != 3 || s.all[0].Duplicate || !s.all[1].Duplicate || !s.all[2].Duplicate {
		t.Errorf("outcomes %+v; want an answer and two duplicates", s.all)
	}
	if got := lg.checked(t).Duplicates; got != 2 {
		t.Errorf("%d duplicates counted, want 2", got)
	}
}

func TestGivingUpEarlyLeavesTheAnswerLate(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 2, every: time.Millisecond, linger: time.Second,
		giveUp: func(k uint64) bool { return k == 2 }}
	run(t, c, s, probe.Limits{})
	if len(s.all) != 3 || s.all[0].Status != probe.Lost || s.all[0].Serial != 1 {
		t.Fatalf("outcomes %+v; want probe 1 lost first", s.all)
	}
	var late bool
	for _, o := range s.all {
		late = late || o.Serial == 1 && o.Late
	}
	if !late {
		t.Error("the answer to probe 1 was not late")
	}
}

// T62: what did not leave is not lost.
func TestSendErrors(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1, Refuse: simnet.RefuseTries(1, 2, "EHOSTUNREACH")}, src)
	s := &script{spec: echo(t, c), count: 5}
	lg := run(t, c, s, probe.Limits{})
	var failed int
	for _, o := range s.all {
		if o.Status == probe.Failed {
			failed++
			if o.Errno != "EHOSTUNREACH" || o.Err == nil || o.Serial != 2 && o.Serial != 3 {
				t.Errorf("outcome %+v", o)
			}
		}
	}
	if got := lg.checked(t).SendErrors; failed != 2 || got != 2 || len(s.all) != 5 {
		t.Errorf("%d failed, %d counted, %d outcomes; want 2, 2, 5", failed, got, len(s.all))
	}
}

func TestFullQueueIsTriedAgain(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1, Refuse: simnet.RefuseTries(3, 4, "ENOBUFS")}, src)
	s := &script{spec: echo(t, c), count: 10}
	run(t, c, s, probe.Limits{})
	for _, o := range s.all {
		if o.Status != probe.Answered {
			t.Errorf("outcome %+v; want every probe answered", o)
		}
	}
	if len(s.all) != 10 {
		t.Errorf("%d outcomes, want 10", len(s.all))
	}

	c = simnet.New(simnet.Config{Seed: 1, Refuse: simnet.RefuseTo(them, "ENOBUFS")}, src2())
	s = &script{spec: echo(t, c), count: 2}
	run(t, c, s, probe.Limits{})
	for _, o := range s.all {
		if o.Status != probe.Failed || o.Errno != "ENOBUFS" {
			t.Errorf("outcome %+v; want it to fail after a while", o)
		}
	}
}

func src2() *simnet.Node { s, _, _ := network(); return s }

// T36: an error from this host itself says that the probe got no further than here.
func TestErrorFromOurselves(t *testing.T) {
	src, _, _ := network()
	src.Rules = []simnet.Rule{{Do: simnet.HostUnreachable, Delay: 3 * time.Second}}
	c := simnet.New(simnet.Config{Seed: 1}, src)
	spec := echo(t, c)
	spec.Timeout = 5 * time.Second
	s := &script{spec: spec, count: 1}
	lg := run(t, c, s, probe.Limits{})
	if len(s.all) != 1 {
		t.Fatalf("outcomes %+v, want one", s.all)
	}
	if o := s.all[0]; o.Status != probe.Failed || o.Errno != "EHOSTUNREACH" {
		t.Errorf("outcome %+v; want it to have failed here", o)
	}
	if got := lg.checked(t).SendErrors; got != 1 {
		t.Errorf("%d send errors, want 1", got)
	}
}

// T52: a stamp that Send could not give yet still counts.
func TestStampsThatComeLater(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1, StampDelay: 100 * time.Microsecond, SendCost: 40 * time.Microsecond}, src)
	s := &script{spec: echo(t, c), count: 10, every: time.Millisecond}
	run(t, c, s, probe.Limits{})
	for _, o := range s.all {
		if o.Clock != probe.KernelClock {
			t.Errorf("probe %d: clock %v, want the kernel's", o.Serial, o.Clock)
		}
	}
}

// What the program says it sent is what left.
func TestSentEventsHoldThePackets(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1, Record: true}, src)
	s := &script{spec: echo(t, c), count: 100}
	lg := run(t, c, s, probe.Limits{})
	var got [][]byte
	for _, e := range lg.events {
		if s, ok := e.(*probe.Sent); ok {
			got = append(got, s.Packet)
		}
	}
	left := c.Sent()
	if len(got) != 100 || len(left) != 100 {
		t.Fatalf("%d events for %d packets, want 100", len(got), len(left))
	}
	for i, p := range left {
		if !slices.Equal(p.Data, got[i]) {
			t.Fatalf("packet %d: told % x, left % x", i, got[i], p.Data)
		}
	}
}

func TestRateHolds(t *testing.T) {
	src, _, _ := network()
	var at []time.Time
	c := simnet.New(simnet.Config{Seed: 1, OnSend: func(now time.Time, _ []byte) { at = append(at, now) }}, src)
	s := &script{spec: echo(t, c), count: 101}
	run(t, c, s, probe.Limits{Rate: 100, Burst: 1})
	if got := at[100].Sub(at[0]); got < time.Second || got > 1001*time.Millisecond {
		t.Errorf("101 probes at 100 a second took %v", got)
	}
}

// More than 65534 probes of one flow within their quarantine go on at full speed where the payload has their number, and
// else wait for ids; none is answered for another.
func TestIDsRunOut(t *testing.T) {
	for _, tt := range []struct {
		payload, count int
		took           time.Duration
	}{
		{12, 80_000, 8 * time.Second},  // as long as they take at that pace
		{11, 66_000, 61 * time.Second}, // until the first of the ids has rested
	} {
		src, _, _ := network()
		src.Links[0].Back.Dup = 0.2
		src.Links[0].Back.Jitter = time.Millisecond
		c := simnet.New(simnet.Config{Seed: 1}, src)
		start := c.Now()
		s := &script{spec: echo(t, c), count: tt.count, every: 100 * time.Microsecond}
		s.spec.Size = 28 + tt.payload
		lg := run(t, c, s, probe.Limits{})
		first := make(map[uint64]bool)
		for _, o := range s.all {
			if rtt, _ := o.RTT(); rtt < 4*time.Millisecond || rtt > 5*time.Millisecond || first[o.Serial] == !o.Duplicate {
				t.Fatalf("payload %d, probe %d: %+v", tt.payload, o.Serial, o)
			}
			first[o.Serial] = true
		}
		if len(first) != tt.count || lg.checked(t).Unmatched != 0 || lg.checked(t).Duplicates == 0 {
			t.Errorf("payload %d: %d answered, %+v", tt.payload, len(first), lg.checked(t))
		}
		if took := c.Now().Sub(start).Round(time.Second); took != tt.took {
			t.Errorf("payload %d: took %v, want %v", tt.payload, took, tt.took)
		}
	}
}

// T10: an answer that comes when its probe's id is another's already is nobody's, whether the first was lost or, as of
// a duplicate, answered.
func TestAnswersAfterTheirIDWasGivenAway(t *testing.T) {
	const count = 100_000
	t.Run("late", func(t *testing.T) {
		src, _, dst := network()
		dst.Answer.Delay = 8 * time.Second // 65534 probes leave in 6.6 s
		c := simnet.New(simnet.Config{Seed: 1}, src)
		s := &script{spec: echo(t, c), count: count, every: 100 * time.Microsecond, linger: 10 * time.Second}
		lg := run(t, c, s, probe.Limits{InFlight: 1 << 20})
		var late int
		for _, o := range s.all {
			if o.Status != probe.Answered {
				continue
			}
			if rtt, _ := o.RTT(); !o.Late || rtt != 8*time.Second+4*time.Millisecond {
				t.Fatalf("probe %d took another's answer: %+v", o.Serial, o)
			}
			late++
		}
		// Those of the last round of ids nobody took them from.
		if got := lg.checked(t); late != 65534 || got.Unmatched != count-65534 {
			t.Errorf("%d late, checked %+v", late, got)
		}
	})
	t.Run("duplicates", func(t *testing.T) {
		src, _, _ := network()
		src.Links[0].Back = simnet.Way{Delay: 2 * time.Millisecond, Dup: 1, Reorder: 0.5, Hold: 8 * time.Second}
		c := simnet.New(simnet.Config{Seed: 1}, src)
		s := &script{spec: echo(t, c), count: count, every: 100 * time.Microsecond, linger: 10 * time.Second}
		lg := run(t, c, s, probe.Limits{InFlight: 1 << 20})
		for _, o := range s.all {
			rtt, ok := o.RTT()
			if over := rtt % (8 * time.Second); ok && (over < 4*time.Millisecond || over > 6*time.Millisecond) || rtt > o.Spec.Timeout && !o.Late && !o.Duplicate {
				t.Fatalf("probe %d took another's answer: %+v", o.Serial, o)
			}
		}
		if got := lg.checked(t); got.Unmatched == 0 || got.Late == 0 || got.Duplicates == 0 {
			t.Errorf("checked %+v, want some of each", got)
		}
	})
}

// A flood that loses some goes on: only what is waited for keeps its id.
func TestIDsWithLoss(t *testing.T) {
	src, _, _ := network()
	src.Links[0].Out.Loss = 0.3
	c := simnet.New(simnet.Config{Seed: 1}, src)
	start := c.Now()
	s := &script{spec: echo(t, c), count: 150_000, every: 50 * time.Microsecond}
	run(t, c, s, probe.Limits{InFlight: 1 << 16})
	if took := c.Now().Sub(start); took > 8500*time.Millisecond || len(s.all) != 150_000 {
		t.Errorf("%d outcomes in %v, want 150000 in 7.5 s and a timeout", len(s.all), took)
	}
}

// What is recalled before it could leave is not asked: the algorithm learns so, and nobody else. What was behind it leaves at once.
func TestRecallOfWhatHasNotLeft(t *testing.T) {
	full := netip.MustParseAddr("192.0.2.10")
	for _, tt := range []struct {
		name  string
		edit  func(*probe.Spec) // of all probes but the last
		stuck uint64            // cannot leave, and is recalled
	}{
		{"for a full queue", func(s *probe.Spec) { s.Dst = netip.AddrPortFrom(full, 0) }, 1},
		{"for want of an id", func(s *probe.Spec) { s.Size = 28 }, 65_535},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, _, _ := network()
			c := simnet.New(simnet.Config{Seed: 1, Refuse: simnet.RefuseTo(full, "ENOBUFS")}, src)
			first, last := echo(t, c), echo(t, c)
			tt.edit(&first)
			start, most := c.Now(), int(tt.stuck)+1
			end := start.Add(500 * time.Millisecond)
			var (
				os, unsent []probe.Outcome
				took       time.Duration
				asked      bool
				lg         log
			)
			a := steps(func(in probe.Input, out *probe.Output) {
				os = append(os, in.Outcomes...)
				switch {
				case !asked:
					asked = true
					for range tt.stuck {
						out.Send = append(out.Send, first)
					}
					out.Send = append(out.Send, last)
					out.Wake = end
				case in.Now.Before(end):
					out.Wake = end
				case len(os) < most-1:
					out.Recall = append(out.Recall, tt.stuck)
				}
				if out.Done = len(os) == most; out.Done {
					took = in.Now.Sub(start)
					out.Events = append(out.Events, probe.Finished{})
				}
			})
			if err := probe.Run(context.Background(), c, a, probe.Limits{InFlight: 1 << 20}, &lg); err != nil {
				t.Fatal(err)
			}
			for _, o := range os {
				if o.Status == probe.Unsent {
					unsent = append(unsent, o)
				}
			}
			if len(unsent) != 1 || unsent[0].Serial != tt.stuck || unsent[0].Err == nil || !unsent[0].Sent.IsZero() {
				t.Errorf("not sent: %+v; want probe %d", unsent, tt.stuck)
			}
			if sent := c.Counts().Sent; sent != most-1 || took != 504*time.Millisecond {
				t.Errorf("%d sent, all answered after %v; want %d, the last of them at 500ms", sent, took, most-1)
			}
			for _, e := range lg.events {
				switch e := e.(type) {
				case *probe.Sent:
					if e.Serial == tt.stuck {
						t.Error("said to have left")
					}
				case *probe.Probed:
					if e.Outcome.Serial == tt.stuck {
						t.Errorf("told: %+v", e.Outcome)
					}
				}
			}
			if got := lg.checked(t); got != (probe.Checked{}) {
				t.Errorf("checked %+v, want nothing odd", got)
			}
		})
	}
}

// steps is an Algorithm.
type steps func(probe.Input, *probe.Output)

func (s steps) Step(in probe.Input, out *probe.Output) { s(in, out) }

// Where all ids are waited for, an answer frees one at once.
func TestAnAnswerFreesAnID(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1}, src)
	start := c.Now()
	s := &script{spec: echo(t, c), count: 65_540}
	run(t, c, s, probe.Limits{InFlight: 1 << 20})
	if took := c.Now().Sub(start); took != 8*time.Millisecond {
		t.Errorf("65540 probes took %v, want two round trips", took)
	}
}

func TestInFlightIsALimit(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 100}
	s.onStep = func(in probe.Input) {
		if in.Room > 7 || s.sent-s.decided > 7 {
			t.Errorf("room %d with %d in flight, limit 7", in.Room, s.sent-s.decided)
		}
	}
	run(t, c, s, probe.Limits{InFlight: 7})
	if len(s.all) != 100 {
		t.Errorf("%d outcomes, want 100", len(s.all))
	}
}

func TestInterruptGivesTheLastWord(t *testing.T) {
	src, _, dst := network()
	dst.Silent = true
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 5, every: time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var lg log
	if err := probe.Run(ctx, c, s, probe.Limits{}, &lg); !errors.Is(err, probe.ErrInterrupted) {
		t.Errorf("error %v, want ErrInterrupted", err)
	}
	if !errors.Is(s.stopped, probe.ErrInterrupted) {
		t.Errorf("the algorithm was stopped with %v", s.stopped)
	}
	n := len(lg.events)
	if n < 2 {
		t.Fatalf("events %v", lg.events)
	}
	if _, ok := lg.events[n-2].(probe.Checked); !ok {
		t.Errorf("before the last event: %T, want Checked", lg.events[n-2])
	}
	if f, ok := lg.events[n-1].(probe.Finished); !ok || f.Complete {
		t.Errorf("last event %+v, want an incomplete Finished", lg.events[n-1])
	}
}

func TestSinkErrorEndsTheRun(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1}, src)
	full := errors.New("disk full")
	lg := log{err: full}
	s := &script{spec: echo(t, c), count: 5}
	if err := probe.Run(context.Background(), c, s, probe.Limits{}, &lg); !errors.Is(err, full) {
		t.Errorf("error %v, want the sink's", err)
	}
	if len(lg.events) != 1 {
		t.Errorf("%d events after the sink failed", len(lg.events)-1)
	}
}

// A thousand runs over a bad network, each twice: the same seed gives the same run, and every
// probe is decided once.
func TestSeededRunsRepeat(t *testing.T) {
	once := func(seed uint64) ([]probe.Event, []probe.Outcome) {
		src, _, _ := network()
		w := simnet.Way{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.1, Dup: 0.1, Reorder: 0.2, Hold: 300 * time.Millisecond}
		src.Links[0].Out, src.Links[0].Back = w, w
		c := simnet.New(simnet.Config{Seed: seed}, src)
		spec := echo(t, c)
		spec.Timeout = 200 * time.Millisecond
		s := &script{spec: spec, count: 20, every: 5 * time.Millisecond, linger: time.Second}
		return run(t, c, s, probe.Limits{}).events, s.all
	}
	for seed := range uint64(1000) {
		events, outcomes := once(seed)
		again, _ := once(seed)
		if !reflect.DeepEqual(events, again) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
		first := make(map[uint64]int)
		for _, o := range outcomes {
			if !o.Late && !o.Duplicate {
				first[o.Serial]++
			}
		}
		for serial := uint64(1); serial <= 20; serial++ {
			if first[serial] != 1 {
				t.Fatalf("seed %d: probe %d was decided %d times", seed, serial, first[serial])
			}
		}
	}
}

func BenchmarkRun(b *testing.B) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1}, src)
	id, err := c.Reserve(us, 1, 0)
	if err != nil {
		b.Fatal(err)
	}
	s := &script{count: b.N, every: time.Millisecond, spec: probe.Spec{
		Proto: probe.ICMP, Src: netip.AddrPortFrom(us, id), Dst: netip.AddrPortFrom(them, 0), TTL: 64, Size: 84, Timeout: time.Second}}
	b.ReportAllocs()
	if err := probe.Run(context.Background(), c, s, probe.Limits{}, discard{}); err != nil {
		b.Fatal(err)
	}
}

type discard struct{}

func (discard) Emit(probe.Event) error { return nil }

// Of several targets each has an end of its own, and before it what can be said against the run.
func TestCheckedComesBeforeTheEndOfOneOfSeveral(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{}, src)
	var lg log
	if err := probe.Run(context.Background(), c, two{}, probe.Limits{}, &lg); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range lg.events {
		kinds = append(kinds, e.Kind())
	}
	if got, want := kinds, []string{"checked", "for", "for", "checked", "for"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// two is an Algorithm of two targets that ends with its first step.
type two struct{}

func (two) Step(_ probe.Input, out *probe.Output) {
	out.Events = []probe.Event{
		&probe.For{Event: probe.Finished{}},
		&probe.For{Target: 1, Event: probe.Interim{}},
		&probe.For{Target: 1, Event: probe.Finished{}},
	}
	out.Done = true
}
