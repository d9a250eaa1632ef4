package report

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"gtrace/probe"
)

// sweepStart opens a run that asks 84 to 1500 bytes.
func sweepStart(change ...func(*probe.Started)) probe.Started {
	s := started(echoMethod)
	s.Method.Size, s.Method.Sweep = 0, &probe.Sweep{From: 84, To: 1500, Step: 45, DF: true}
	for _, c := range change {
		c(&s)
	}
	return s
}

// tooLong is what a router says of a size.
func tooLong(mtu int) *probe.Outcome {
	o := nth(1, 1, unreachable(3, 4), func(o *probe.Outcome) { o.Answer, o.MTU = probe.TooBig, mtu })
	return &o
}

func notSent(errno string, why error, mtu int) *probe.Outcome {
	return &probe.Outcome{Spec: nth(1, 1).Spec, Status: probe.Failed, Errno: errno, Err: fmt.Errorf("send to 192.0.2.9: %w", why), MTU: mtu}
}

func TestSweep(t *testing.T) {
	const object = `{"from_bytes":84,"to_bytes":1500,"step_bytes":45,"header_bytes":28,"dont_fragment":true,"settled":`
	filtered := nth(1, 1, unreachable(3, 13))
	for _, tt := range []struct {
		name string
		r    probe.Swept
		text string
		json string // behind "settled":
	}{
		{"all", probe.Swept{Settled: true, Answered: 1500}, "all sizes from 56(84) to 1472(1500) bytes are answered", `true,"answered_bytes":1500}`},
		{"a router", probe.Swept{Settled: true, Answered: 1400, Unanswered: 1401, Because: tooLong(1400)},
			"1372(1400) bytes are answered, 1373(1401) and more are not: 198.51.100.1 says that they are too big (MTU 1400)",
			`true,"answered_bytes":1400,"unanswered_bytes":1401,"reason":"refused-by-router","from":"198.51.100.1","icmp":{"type":3,"code":4},"mtu":1400}`},
		{"a router that does not say more", probe.Swept{Settled: true, Answered: 1400, Unanswered: 1401, Because: tooLong(0)},
			"1372(1400) bytes are answered, 1373(1401) and more are not: 198.51.100.1 says that they are too big",
			`true,"answered_bytes":1400,"unanswered_bytes":1401,"reason":"refused-by-router","from":"198.51.100.1","icmp":{"type":3,"code":4}}`},
		{"the device", probe.Swept{Settled: true, Answered: 1300, Unanswered: 1301, Because: notSent("EMSGSIZE", syscall.EMSGSIZE, 1300)},
			"1272(1300) bytes are answered, 1273(1301) and more are not: this host does not send them (MTU 1300)",
			`true,"answered_bytes":1300,"unanswered_bytes":1301,"reason":"refused-by-host","error":"EMSGSIZE","mtu":1300}`},
		{"this host's firewall", probe.Swept{Settled: true, Answered: 1300, Unanswered: 1301, Because: notSent("EPERM", errors.New("no\x1b"), 0)},
			`1272(1300) bytes are answered, 1273(1301) and more are not: this host does not send them: EPERM (no\x1b)`,
			`true,"answered_bytes":1300,"unanswered_bytes":1301,"reason":"refused-by-host","error":"EPERM"}`},
		{"another error", probe.Swept{Settled: true, Answered: 1300, Unanswered: 1301, Because: &filtered},
			"1272(1300) bytes are answered, 1273(1301) and more are not: 198.51.100.1 says Packet filtered",
			`true,"answered_bytes":1300,"unanswered_bytes":1301,"reason":"error","from":"198.51.100.1","icmp":{"type":3,"code":13}}`},
		{"silence", probe.Swept{Settled: true, Answered: 1400, Unanswered: 1401, Lost: 7, Beside: 6},
			"1372(1400) bytes are answered, 1373(1401) and more are not: nothing comes back, and nobody says why",
			`true,"answered_bytes":1400,"unanswered_bytes":1401,"reason":"silence","lost":7,"beside":6,"beside_lost":0}`},
		{"answers that begin again", probe.Swept{Settled: true, Answered: 899, Unanswered: 900, Resumed: 1209, Lost: 7, Beside: 6},
			"871(899) bytes are answered, 872(900) are not: nothing comes back, and nobody says why; but 1181(1209) bytes are",
			`true,"answered_bytes":899,"unanswered_bytes":900,"resumed_bytes":1209,"reason":"silence","lost":7,"beside":6,"beside_lost":0}`},
		{"the smallest not", probe.Swept{Settled: true, Unanswered: 84, Resumed: 129, Lost: 7, Beside: 6},
			"56(84) bytes are not answered: nothing comes back, and nobody says why; but 101(129) bytes are",
			`true,"unanswered_bytes":84,"resumed_bytes":129,"reason":"silence","lost":7,"beside":6,"beside_lost":0}`},
		{"none", probe.Swept{Settled: true, Unanswered: 84, Because: tooLong(80)},
			"no size from 56(84) to 1472(1500) bytes is answered: 198.51.100.1 says that they are too big (MTU 80)",
			`true,"unanswered_bytes":84,"reason":"refused-by-router","from":"198.51.100.1","icmp":{"type":3,"code":4},"mtu":80}`},
		{"nobody", probe.Swept{Doubt: true, Unanswered: 84, Lost: 3}, "no size from 56(84) to 1472(1500) bytes is answered: nothing comes back, and nobody says why",
			`false,"unanswered_bytes":84,"reason":"silence","lost":3,"beside":0,"beside_lost":0}`},
		{"nobody, and this host does not send all", probe.Swept{Doubt: true, Unanswered: 84, Lost: 3, Sent: 1299}, "no size from 56(84) to 1271(1299) bytes is answered: nothing comes back, and nobody says why",
			`false,"unanswered_bytes":84,"reason":"silence","lost":3,"beside":0,"beside_lost":0}`},
		{"nobody, and this host sends the smallest alone", probe.Swept{Doubt: true, Unanswered: 84, Lost: 3, Sent: 84}, "56(84) bytes are not answered: nothing comes back, and nobody says why",
			`false,"unanswered_bytes":84,"reason":"silence","lost":3,"beside":0,"beside_lost":0}`},
		{"doubt", probe.Swept{Doubt: true, Answered: 1400, Unanswered: 1401, Lost: 30, Beside: 29, BesideLost: 20},
			"could not tell: 1372(1400) bytes are answered and 1373(1401) not, but of 29 requests among those, of a size that is answered, 20 were lost as well",
			`false,"answered_bytes":1400,"unanswered_bytes":1401,"reason":"loss","lost":30,"beside":29,"beside_lost":20}`},
		{"cut short", probe.Swept{Answered: 1389, Unanswered: 1434, Lost: 1}, "cut short: 1361(1389) bytes are answered, 1406(1434) are not", `false,"answered_bytes":1389,"unanswered_bytes":1434}`},
		{"cut short below", probe.Swept{Unanswered: 84, Resumed: 129, Lost: 1}, "cut short: 56(84) bytes are not answered; but 101(129) bytes are", `false,"unanswered_bytes":84,"resumed_bytes":129}`},
		{"cut short on the way", probe.Swept{Answered: 399}, "cut short: up to 371(399) bytes are answered, so far", `false,"answered_bytes":399}`},
		{"cut short at once", probe.Swept{}, "cut short: no size is known yet", `false}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := []probe.Event{sweepStart(), tt.r, probe.Checked{}, answered}
			want := "PING example.org (192.0.2.9) 56(84) to 1472(1500) bytes of data.\n\n--- example.org ping statistics ---\n0 packets transmitted, 0 received\n\nsweep: " + tt.text + "\n"
			for _, quiet := range []bool{false, true} {
				if got := run(t, NewPing, "text", Options{Numeric: true, Quiet: quiet}, events...); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			}
			doc := run(t, NewPing, "json", Options{Version: "1"}, events...)
			pingSchemaFile.accepts(t, doc)
			if got := part(t, doc, "sweep"); got != object+tt.json {
				t.Errorf("got\n%s\nwant\n%s", got, object+tt.json)
			}
		})
	}
}

// TestSweepReplies: each request has its own size, a reply is held to that, and options are no payload.
func TestSweepReplies(t *testing.T) {
	sized := func(n int) func(*probe.Outcome) {
		return func(o *probe.Outcome) { o.Spec.Size, o.Bytes = n, n-20 }
	}
	short := func(o *probe.Outcome) { o.Bytes = 64 }
	flow := nth(1, 1, sized(84), flowOnly)
	first, second, third := nth(1, 1, sized(84)), nth(2, 1, sized(1500), short), nth(3, 1, sized(1500), lost)
	events := []probe.Event{sweepStart(), sent(first), arrive(first), sent(second), arrive(second), sent(third), arrive(third), arrive(flow), probe.Swept{Settled: true, Answered: 1500}, answered}
	want := "64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n64 bytes from 192.0.2.9: icmp_seq=2 ttl=63 (truncated)\n"
	if got := text(t, Options{Numeric: true}, events[0].(probe.Started), events[1:]...); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant it to begin with\n%s", got, want)
	}
	lines := lines(run(t, NewPing, "events", Options{Version: "1"}, events...))
	sizes := ""
	for _, l := range lines {
		pingEventsFile.accepts(t, l)
		sizes += part(t, l, "size_bytes") + " "
	}
	if want := " 84 84 1500 1500 1500 1500   "; sizes != want {
		t.Errorf("sizes %q, want %q", sizes, want)
	}
	doc := lines[len(lines)-1]
	if strings.Count(doc, `"size_bytes":`) != 3 {
		t.Errorf("sizes of three replies and no other, in %s", doc)
	}

	at6 := sweepStart(func(s *probe.Started) { s.Dst, s.Src = dest6, local6 })
	if got, want := run(t, NewPing, "text", Options{Numeric: true}, at6), "PING example.org(2001:db8::9) 36 to 1452 data bytes\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	loose := sweepStart(func(s *probe.Started) {
		s.Method.Options, s.Method.Sweep = 40, &probe.Sweep{From: 124, To: 1500, Step: 1}
	})
	if got, want := text(t, Options{Numeric: true}, loose, probe.Swept{Settled: true, Answered: 1500}, answered), "\nsweep, fragments allowed: all sizes from 56(124) to 1432(1500) bytes are answered\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q at its end", got, want)
	}
	// Who was never measured has nothing to say of sizes.
	doc = run(t, NewPing, "json", Options{Version: "1"}, sweepStart(), probe.Finished{At: after(1), Verdict: probe.Errored, Err: errors.New("no")})
	if pingSchemaFile.accepts(t, doc); strings.Contains(doc, "sweep") {
		t.Error(doc)
	}
}
