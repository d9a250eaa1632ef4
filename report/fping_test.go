package report

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

// A fpinged is a Fping under test, with events at times by hand.
type fpinged struct {
	*Fping
	t        *testing.T
	out, err bytes.Buffer
	start    time.Time
}

func newFpinged(t *testing.T, o FpingOptions) *fpinged {
	f := &fpinged{t: t, start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	o.Side = &f.err
	if o.Names == nil {
		o.Names = []string{"10.0.0.1", "10.0.0.100"}
	}
	f.Fping = NewFping(&f.out, o)
	return f
}

func (f *fpinged) at(ms float64) time.Time {
	return f.start.Add(time.Duration(ms * float64(time.Millisecond)))
}

func (f *fpinged) tell(target int, e probe.Event) {
	f.t.Helper()
	if err := f.Emit(&probe.For{Target: target, Event: e}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fpinged) spec(target int, seq uint32) probe.Spec {
	return probe.Spec{Proto: probe.ICMP, Dst: netip.AddrPortFrom(netip.MustParseAddr([]string{"10.0.0.1", "10.0.0.100"}[target]), 0), Timeout: 100 * time.Millisecond, Attempt: seq}
}

func (f *fpinged) sent(target int, seq uint32, ms float64) {
	f.tell(target, &probe.Sent{Serial: uint64(seq), Spec: f.spec(target, seq), At: f.at(ms)})
}

// answered tells an echo reply to what was sent at one time and arrived at another.
func (f *fpinged) answered(target int, seq uint32, sent, ms float64, change func(*probe.Outcome)) {
	s := f.spec(target, seq)
	o := probe.Outcome{Serial: uint64(seq), Spec: s, Status: probe.Answered, Answer: probe.EchoReply, From: s.Dst.Addr(), Bytes: 64,
		Match: probe.Strict, Sent: f.at(sent), At: f.at(ms)}
	if change != nil {
		change(&o)
	}
	f.tell(target, &probe.Probed{Outcome: o})
}

func (f *fpinged) lost(target int, seq uint32, sent float64) {
	f.tell(target, &probe.Probed{Outcome: probe.Outcome{Serial: uint64(seq), Spec: f.spec(target, seq), Status: probe.Lost, Sent: f.at(sent)}})
}

func (f *fpinged) want(out, err string) {
	f.t.Helper()
	if f.out.String() != out {
		f.t.Errorf("standard output:\n%s\nwant:\n%s", &f.out, out)
	}
	if f.err.String() != err {
		f.t.Errorf("standard error:\n%s\nwant:\n%s", &f.err, err)
	}
}

// TestFpingErrors: an ICMP error is told at once, and its probe is lost when its time is over, before what happens later.
func TestFpingErrors(t *testing.T) {
	f := newFpinged(t, FpingOptions{Count: 2})
	f.sent(0, 1, 0)
	f.sent(1, 1, 10)
	f.answered(0, 1, 0, 20, func(o *probe.Outcome) {
		o.Answer, o.Type, o.Code, o.From = probe.Unreachable, 3, 1, netip.MustParseAddr("10.0.0.9")
	})
	f.lost(1, 1, 10)
	f.sent(0, 2, 300)
	f.answered(0, 2, 300, 301.5, nil)
	if err := f.Close(f.at(400)); err != nil {
		t.Fatal(err)
	}
	f.want(`10.0.0.1   : [0], timed out (NaN avg, 100% loss)
10.0.0.100 : [0], timed out (NaN avg, 100% loss)
10.0.0.1   : [1], 64 bytes, 1.50 ms (1.50 avg, 50% loss)
`, `ICMP Host Unreachable from 10.0.0.9 for ICMP Echo sent to 10.0.0.1

10.0.0.1   : xmt/rcv/%loss = 2/1/50%, min/avg/max = 1.50/1.50/1.50
10.0.0.100 : xmt/rcv/%loss = 1/0/100%
`)
}

// TestFpingVector: the times stand in the order of the requests, whenever they are known.
func TestFpingVector(t *testing.T) {
	f := newFpinged(t, FpingOptions{Count: 3, Vector: true, Quiet: true})
	f.sent(0, 1, 0)
	f.sent(0, 2, 100)
	f.answered(0, 2, 100, 100.05, nil)
	f.lost(0, 1, 0)
	f.answered(0, 1, 0, 101, func(o *probe.Outcome) { o.Late = true })
	f.answered(0, 2, 100, 112.3, func(o *probe.Outcome) { o.Duplicate = true })
	f.sent(0, 3, 200)
	f.answered(0, 3, 200, 299.96, nil)
	f.tell(1, probe.Finished{At: f.at(1), Verdict: probe.Errored, Err: errors.New("no way")})
	if err := f.Close(f.at(400)); err != nil {
		t.Fatal(err)
	}
	f.want("", "10.0.0.1 : duplicate for [1], 64 bytes, 12.3 ms\n10.0.0.1   : - 0.050 100.0\n10.0.0.100 : - - -\n")
}

// TestFpingAlive: the first answer in time counts, what comes behind it is a duplicate, also where the host is done.
func TestFpingAlive(t *testing.T) {
	f := newFpinged(t, FpingOptions{Elapsed: true})
	f.sent(0, 1, 0)
	f.sent(1, 1, 10)
	f.answered(0, 1, 0, 150, func(o *probe.Outcome) { o.Late = true }) // after its 100 ms
	f.sent(0, 2, 160)
	f.answered(0, 2, 160, 161, func(o *probe.Outcome) { o.From = netip.MustParseAddr("10.0.0.7") })
	f.tell(0, probe.Finished{At: f.at(161), Verdict: probe.AnsweredIt, Complete: true})
	f.answered(0, 2, 160, 163, func(o *probe.Outcome) { o.Duplicate = true })
	f.lost(0, 1, 0)
	f.tell(1, &probe.Probed{Outcome: probe.Outcome{Serial: 1, Spec: f.spec(1, 1), Status: probe.Failed,
		Err: fmt.Errorf("send: %w", errors.New("message too long"))}})
	if err := f.Close(f.at(400)); err != nil {
		t.Fatal(err)
	}
	f.want("10.0.0.1 is alive (1.00 ms)\n10.0.0.100 is unreachable\n",
		" [<- 10.0.0.7]10.0.0.1 : duplicate for [1], 64 bytes, 3.00 ms\n10.0.0.100: error while sending ping: Message too long\n")
	if n := f.Alive(); n != 1 {
		t.Errorf("%d alive, want the first alone", n)
	}
}

// TestFpingInterval: a report has what was decided since the last one, and what was lost by then.
func TestFpingInterval(t *testing.T) {
	f := newFpinged(t, FpingOptions{Loop: true, Reports: true, Quiet: true, Outage: true, Period: 200 * time.Millisecond})
	f.sent(0, 1, 0)
	f.answered(0, 1, 0, 2, nil)
	f.answered(0, 1, 0, 4, func(o *probe.Outcome) { o.Duplicate = true }) // another reply, as fping has forgotten
	f.sent(1, 1, 10)
	f.answered(1, 1, 10, 20, func(o *probe.Outcome) { o.Answer, o.Type, o.Code = probe.TimeExceeded, 11, 0 })
	for _, ms := range []float64{50, 1000} {
		if err := f.Emit(probe.Interim{At: f.at(ms), Resets: true}); err != nil {
			t.Fatal(err)
		}
	}
	local := f.start.Local().Format("[15:04:05]")
	after := f.at(1000).Local().Format("[15:04:05]")
	f.want("", local+`
10.0.0.1   : xmt/rcv/%loss = 2/2/0%, outage(ms) = 0, min/avg/max = 2.00/3.00/4.00
10.0.0.100 : xmt/rcv/%loss = 0/0/0%, outage(ms) = 0
`+after+`
10.0.0.1   : xmt/rcv/%loss = 0/0/0%, outage(ms) = 0
10.0.0.100 : xmt/rcv/%loss = 1/0/100%, outage(ms) = 200
`)
}

// TestFpingHostile: a name is printed without what a terminal would take for a command.
func TestFpingHostile(t *testing.T) {
	f := newFpinged(t, FpingOptions{Names: []string{"a\x1b[2Jb"}, Totals: true, Unknown: 1})
	f.sent(0, 1, 0)
	f.answered(0, 1, 0, 1, nil)
	if err := f.Close(f.at(400)); err != nil {
		t.Fatal(err)
	}
	f.want("a\\x1b[2Jb is alive\n", `
       1 targets
       1 alive
       0 unreachable
       1 unknown addresses

       0 timeouts (waiting for response)
       1 ICMP Echos sent
       1 ICMP Echo Replies received
       0 other ICMP received

 1.00 ms (min round trip time)
 1.00 ms (avg round trip time)
 1.00 ms (max round trip time)
        0.000 sec (elapsed real time)

`)
}

// TestFpingTime: three digits.
func TestFpingTime(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.000", 999 * time.Microsecond: "0.999", time.Millisecond: "1.00", 12345 * time.Microsecond: "12.3",
		99 * time.Millisecond: "99.0", 100 * time.Millisecond: "100", 1234 * time.Millisecond: "1234"} {
		if got := fpingTime(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestFpingFlowOnly: an answer that is no known probe's has neither a number nor a time, and one probe less is lost, be it that
// its time is over in the next interval.
func TestFpingFlowOnly(t *testing.T) {
	f := newFpinged(t, FpingOptions{Count: 3, Names: []string{"10.0.0.1"}, Netdata: true})
	flow := func(o *probe.Outcome) { flowOnly(o); o.Bytes = 13 }
	f.sent(0, 1, 0)
	f.sent(0, 2, 10)
	f.answered(0, 1, 0, 50, flow)
	f.answered(0, 1, 0, 60, flow)
	f.answered(0, 1, 0, 65, flow) // a copy, that no later probe is answered by
	f.sent(0, 3, 70)
	f.lost(0, 1, 0)
	if err := f.Emit(probe.Interim{At: f.at(105)}); err != nil {
		t.Fatal(err)
	}
	f.lost(0, 2, 10)
	if err := f.Emit(probe.Interim{At: f.at(120)}); err != nil {
		t.Fatal(err)
	}
	f.lost(0, 3, 70)
	const report = "SET xmt = 1\nSET rcv = 1\n"
	if n := strings.Count(f.out.String(), report); n != 2 {
		t.Errorf("%d times %q, want twice:\n%s", n, report, &f.out)
	}
	f.out.Reset()
	if err := f.Close(f.at(200)); err != nil {
		t.Fatal(err)
	}
	const line = "10.0.0.1 : 13 bytes, which probe is not known\n"
	f.want("", line+line+line+"\n10.0.0.1 : xmt/rcv/%loss = 3/2/33%\n")
	if f.Alive() != 1 {
		t.Error("not alive")
	}
}
