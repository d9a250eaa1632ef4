package ping

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

// A try is what an A is told at a time, and what it is to do.
type try struct {
	at   time.Duration
	room int
	got  []probe.Outcome // their Spec.Timeout is filled in, and Sent, which is from the start
	stop error

	sends   time.Duration // the wait of the probe sent; 0: none is
	wake    time.Duration // from the start; 0: none
	verdict probe.Verdict // "": it goes on
}

// TestAlive steps through runs by hand: a wait of 100 ms, two retries, each waited for twice as long.
func TestAlive(t *testing.T) {
	const ms = time.Millisecond
	lost := func(n uint32) probe.Outcome {
		return probe.Outcome{Serial: uint64(n), Status: probe.Lost, Spec: probe.Spec{Attempt: n}}
	}
	// answered is a reply to the n-th probe, sent so long after the start, after rtt.
	answered := func(n uint32, sent, rtt time.Duration, a probe.Answer) probe.Outcome {
		return probe.Outcome{Serial: uint64(n), Status: probe.Answered, Answer: a, Match: probe.Strict, Spec: probe.Spec{Attempt: n, Proto: probe.ICMP},
			Sent: epoch.Add(sent), At: epoch.Add(sent + rtt)}
	}
	failed := probe.Outcome{Serial: 1, Status: probe.Failed, Err: errors.New("refused"), Spec: probe.Spec{Attempt: 1}}
	tests := []struct {
		name   string
		inTime bool
		tries  []try
	}{
		{name: "the first answer ends it", tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 5 * ms, room: 1, got: []probe.Outcome{answered(1, 0, 5*ms, probe.EchoReply)}, verdict: probe.AnsweredIt},
		}},
		{name: "three tries", tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 100 * ms, room: 1, got: []probe.Outcome{lost(1)}, sends: 200 * ms},
			{at: 300 * ms, room: 1, got: []probe.Outcome{lost(2)}, sends: 400 * ms},
			{at: 700 * ms, room: 1, got: []probe.Outcome{lost(3)}, verdict: probe.Silent},
		}},
		{name: "no room", tries: []try{
			{room: 0},
			{at: 3 * ms, room: 1, sends: 100 * ms},
		}},
		{name: "an error does not shorten the wait", tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 10 * ms, room: 1, got: []probe.Outcome{answered(1, 0, 10*ms, probe.Unreachable)}, wake: 100 * ms},
			{at: 100 * ms, room: 1, sends: 200 * ms},
			{at: 300 * ms, room: 1, got: []probe.Outcome{lost(2)}, sends: 400 * ms},
			{at: 700 * ms, room: 1, got: []probe.Outcome{lost(3)}, verdict: probe.Blocked},
		}},
		{name: "a late answer is one", tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 100 * ms, room: 1, got: []probe.Outcome{lost(1)}, sends: 200 * ms},
			{at: 250 * ms, room: 1, got: []probe.Outcome{answered(1, 0, 250*ms, probe.EchoReply)}, verdict: probe.AnsweredIt},
		}},
		{name: "a late answer is none", inTime: true, tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 100 * ms, room: 1, got: []probe.Outcome{lost(1)}, sends: 200 * ms},
			{at: 250 * ms, room: 1, got: []probe.Outcome{answered(1, 0, 250*ms, probe.EchoReply)}},
			{at: 300 * ms, room: 1, got: []probe.Outcome{lost(2)}, sends: 400 * ms},
			{at: 700 * ms, room: 1, got: []probe.Outcome{lost(3)}, verdict: probe.Silent},
		}},
		{name: "an answer after its own wait and within the present one", inTime: true, tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 100 * ms, room: 1, got: []probe.Outcome{lost(1)}, sends: 200 * ms},
			{at: 150 * ms, room: 1, got: []probe.Outcome{answered(1, 0, 150*ms, probe.EchoReply)}, verdict: probe.AnsweredIt},
		}},
		{name: "answers that all come too late, before their probes are lost", inTime: true, tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 101 * ms, room: 1, got: []probe.Outcome{answered(1, 0, 101*ms, probe.EchoReply)}, sends: 200 * ms},
			{at: 302 * ms, room: 1, got: []probe.Outcome{answered(2, 101*ms, 201*ms, probe.EchoReply)}, sends: 400 * ms},
			{at: 703 * ms, room: 1, got: []probe.Outcome{answered(3, 302*ms, 401*ms, probe.EchoReply)}, verdict: probe.Silent},
		}},
		{name: "what cannot be sent is not tried again", tries: []try{
			{room: 1, sends: 100 * ms},
			{at: ms, room: 1, got: []probe.Outcome{failed}, verdict: probe.Errored},
		}},
		{name: "interrupted", tries: []try{
			{room: 1, sends: 100 * ms},
			{at: 50 * ms, stop: probe.ErrInterrupted, verdict: probe.Interrupted},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := netip.MustParseAddr("10.0.0.1")
			a, err := NewAlive(Config{Src: netip.AddrPortFrom(src, 7), Dst: netip.AddrPortFrom(src.Next(), 0), TTL: 64, Timeout: 100 * ms},
				Tries{Retries: 2, Backoff: 2, InTime: tt.inTime})
			if err != nil {
				t.Fatal(err)
			}
			waits := map[uint32]time.Duration{1: 100 * ms, 2: 200 * ms, 3: 400 * ms}
			for i, s := range tt.tries {
				for k := range s.got {
					s.got[k].Spec.Timeout = waits[s.got[k].Spec.Attempt]
				}
				var out probe.Output
				a.Step(probe.Input{Now: epoch.Add(s.at), Room: s.room, Outcomes: s.got, Stop: s.stop}, &out)
				var sends, wake time.Duration
				var verdict probe.Verdict
				for _, p := range out.Send {
					sends = p.Timeout
				}
				if !out.Wake.IsZero() && s.verdict == "" {
					wake = out.Wake.Sub(epoch)
				}
				for _, e := range out.Events {
					if f, ok := e.(probe.Finished); ok {
						verdict = f.Verdict
					}
				}
				wantWake := s.wake
				if s.verdict != "" {
					wantWake = 0
				}
				if len(out.Send) > 1 || sends != s.sends || wake != wantWake || verdict != s.verdict || out.Done != (verdict != "") {
					t.Errorf("step %d: sent %v, wakes at %v, verdict %q, done %v; want %v, %v, %q", i, sends, wake, verdict, out.Done, s.sends, wantWake, s.verdict)
				}
			}
		})
	}
}

// TestAliveConfig: what will not do is listed, all of it.
func TestAliveConfig(t *testing.T) {
	_, err := NewAlive(Config{}, Tries{Retries: -1, Backoff: 0.5})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"TTL 0", "-1 retries", "backoff 0.5"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not tell %q", err, want)
		}
	}
}
