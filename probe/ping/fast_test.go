package ping

import (
	"net/netip"
	"testing"
	"time"

	"gtrace/probe"
)

func TestPreloadLeavesAtOnce(t *testing.T) {
	c := good()
	c.Count, c.Preload = 5, 3
	r := start(t, c)
	r.room = 2
	r.step(0)
	r.wantSent(2)
	r.room = 1024
	r.step(0)
	r.wantSent(3)
	r.wantWake(time.Second) // then the grid, from the start on
	r.step(time.Second)
	r.wantSent(4)
	r.wantWake(time.Second)
}

func TestWithoutIntervalAnAnswerIsEnough(t *testing.T) {
	c := good()
	c.Count, c.Interval = 4, 0
	r := start(t, c)
	r.step(0)
	r.wantSent(1)
	r.wantWake(10 * ms)
	r.step(3 * ms)
	r.wantSent(1)
	r.step(0, r.reply(1))
	r.wantSent(2)
	r.step(10 * ms) // nothing came: 100 a second
	r.wantSent(3)
	r.step(ms, r.reply(3)) // the second is given up on, but only as a measure of what is on its way
	r.wantSent(4)
}

func TestWithoutIntervalPreloadIsWhatMayBeUnanswered(t *testing.T) {
	c := good()
	c.Count, c.Interval, c.Preload = 0, 0, 3
	r := start(t, c)
	r.step(0)
	r.wantSent(3)
	r.step(ms, r.reply(1))
	r.wantSent(4)
	r.step(ms, r.reply(4))
	r.wantSent(7)
}

// However soon answers come.
func TestWithoutIntervalThereIsALeastOne(t *testing.T) {
	c := good()
	c.Count, c.Interval, c.Preload, c.Least = 0, 0, 2, 3*ms
	r := start(t, c)
	r.step(0)
	r.wantSent(2)
	r.wantWake(3 * ms)
	r.step(ms, r.reply(1))
	r.step(ms, r.reply(2))
	r.wantSent(2)
	r.wantWake(ms)
	r.step(ms)
	r.wantSent(3)
	r.step(ms)
	r.step(2 * ms) // the second of two may be unanswered
	r.wantSent(4)
	r.step(3 * ms)
	r.wantSent(4)
	r.wantWake(7 * ms)
	r.step(2*ms, r.reply(3), r.reply(4)) // 11 ms; the fifth was due at 9 ms
	r.wantSent(5)
	r.wantWake(ms)
	r.step(30*ms, r.reply(5)) // of much that was missed a little is made up for
	r.wantSent(7)
	r.step(0, r.reply(7))
	r.step(0, r.reply(6))
	r.wantSent(9)
}

func TestAdaptiveFollowsTheRoundTripTime(t *testing.T) {
	c := good()
	c.Count, c.Adaptive, c.Least = 0, true, 2*ms
	r := start(t, c)
	r.step(0)
	r.wantWake(time.Second)
	r.step(80*ms, r.reply(1))
	r.wantSent(2) // 80 ms have gone by
	r.wantWake(80 * ms)
	r.step(160*ms, r.reply(2)) // smoothed, 90 ms: the third was due at 170 ms, the fourth at 260 ms
	r.wantSent(3)
	r.wantWake(20 * ms)
}

func TestAdaptiveHasALeastInterval(t *testing.T) {
	for _, least := range []time.Duration{0, 2 * ms} {
		c := good()
		c.Count, c.Adaptive, c.Least = 0, true, least
		r := start(t, c)
		r.step(0)
		r.step(100*time.Microsecond, r.reply(1))
		if want := map[time.Duration]int{0: 2, 2 * ms: 1}[least]; len(r.sent) != want {
			t.Errorf("least interval %v: %d probes sent after an answer within 0.1 ms, want %d", least, len(r.sent), want)
		}
	}
}

func TestWaitingIsToldBeforeTheNextProbe(t *testing.T) {
	c := good()
	c.Count, c.Waiting = 4, true
	r := start(t, c)
	r.step(0)
	r.step(time.Second) // nothing came
	r.step(ms, r.reply(2))
	r.step(999 * ms)
	r.step(ms, r.icmp(3, probe.Unreachable)) // is not what was waited for
	r.step(999 * ms)
	var told []uint64
	for _, e := range r.events {
		w, ok := e.(probe.Waiting)
		if !ok || w.Spec.Attempt != uint32(w.Serial) {
			t.Fatalf("event %#v, want a Waiting with its own Spec", e)
		}
		told = append(told, w.Serial)
	}
	if len(told) != 2 || told[0] != 1 || told[1] != 3 {
		t.Errorf("no answer yet to %v, want 1 and 3", told)
	}
}

func TestEveryKindOfAnswerCounts(t *testing.T) {
	for proto, a := range map[probe.Proto]probe.Answer{
		probe.TCP: probe.Reset, probe.UDP: probe.PortUnreachable, probe.Timestamp: probe.TimestampReply,
		probe.Mask: probe.MaskReply, probe.ExtEcho: probe.ExtEchoReply,
	} {
		c := good()
		c.Proto, c.Count = proto, 1
		if proto == probe.UDP || proto == probe.TCP {
			c.Dst = netip.AddrPortFrom(dst, 80)
		}
		r := start(t, c)
		r.step(0)
		o := r.reply(1)
		o.Answer = a
		r.step(ms, o)
		r.wantFinished(probe.AnsweredIt)
		if r.sent[0].Spec.Proto != proto {
			t.Errorf("a %v probe left, want %v", r.sent[0].Spec.Proto, proto)
		}
	}
	// A port unreachable is no answer to an echo request.
	c := good()
	c.Count = 1
	r := start(t, c)
	r.step(0)
	r.step(ms, r.icmp(1, probe.PortUnreachable))
	r.wantFinished(probe.Blocked)
}

// TestRecord holds the options against what iputils ping 20221126 has sent by Linux from 198.51.100.2.
func TestRecord(t *testing.T) {
	c := good()
	zeros := func(n int) string { return string(make([]byte, n)) }
	const own, stamp = "\xc6\x33\x64\x02", "\x00\xa8\x88\x88" // 03:04:05 in ms
	other := netip.MustParseAddr("10.0.3.1")
	for _, tt := range []struct {
		record Record
		hops   []netip.Addr
		want   string
	}{
		{Route, nil, "\x01\x07\x27\x08" + own + zeros(32)},
		{Stamps, nil, "\x44\x28\x09\x00" + stamp + zeros(32)},
		{StampsAddresses, nil, "\x44\x24\x0d\x01" + own + stamp + zeros(24)},
		{StampsOf, []netip.Addr{other, dst}, "\x44\x14\x05\x03\x0a\x00\x03\x01" + zeros(4) + "\xc0\x00\x02\x09" + zeros(4)},
		{StampsOf, []netip.Addr{src}, "\x44\x0c\x0d\x03" + own + stamp},
	} {
		c.Record, c.Hops = tt.record, tt.hops
		r := start(t, c)
		r.step(0)
		if got := r.sent[0].Spec.Options; got != tt.want {
			t.Errorf("record %d: options\n%x, want\n%x", tt.record, got, tt.want)
		}
	}
}
