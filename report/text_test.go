package report

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

func from(a string) func(*probe.Outcome) {
	return func(o *probe.Outcome) { o.From = netip.MustParseAddr(a) }
}

func TestTraceText(t *testing.T) {
	events := []probe.Event{
		started(udpMethod),
		probe.Hop{TTL: 1, Outcomes: []probe.Outcome{
			hopAnswer(takes(412_400)), hopAnswer(takes(397_600)), hopAnswer(takes(377_000))}},
		probe.Finding{Code: "icmp-rate-limited", TTL: 1, Confidence: "high", Text: "one answer in 1000 ms\x1b[0m"},
		probe.Hop{TTL: 2, Outcomes: []probe.Outcome{hopAnswer(lost), hopAnswer(lost), hopAnswer(lost)}},
		probe.Hop{TTL: 10, Outcomes: []probe.Outcome{hopAnswer(from("10.0.0.1")), hopAnswer(from("10.0.0.2")), hopAnswer(from("10.0.0.2"))}},
		probe.Hop{TTL: 11, Outcomes: []probe.Outcome{hopAnswer(lost), hopAnswer(), hopAnswer(refused), hopAnswer()}},
		probe.Hop{TTL: 12, Outcomes: []probe.Outcome{hopAnswer(unreachable(3, 1)), hopAnswer(unreachable(3, 13)), hopAnswer(lost)}},
		probe.Hop{TTL: 13, Outcomes: []probe.Outcome{hopAnswer(flowOnly)}},
		probe.Hop{TTL: 14, Outcomes: []probe.Outcome{hopAnswer(), hopAnswer(takes(-1), unreachable(3, 1)), hopAnswer()}},
		probe.Hop{TTL: 130, Outcomes: []probe.Outcome{hopAnswer(takes(1234567 * time.Microsecond)), hopAnswer(takes(499))}},
		reached(130),
	}
	want := strings.Join([]string{
		"traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets",
		" 1  198.51.100.1  0.412 ms  0.398 ms  0.377 ms",
		" 2  * * *",
		"10  10.0.0.1  0.413 ms 10.0.0.2  0.413 ms  0.413 ms",
		"11  * 198.51.100.1  0.413 ms *  0.413 ms",
		"12  198.51.100.1  0.413 ms !H  0.413 ms !X *",
		"13  192.0.2.9",
		"14  198.51.100.1  0.413 ms 198.51.100.1 !H  0.413 ms",
		"130  198.51.100.1  1234.567 ms  0.000 ms",
		`  # icmp-rate-limited: one answer in 1000ms\x1b[0m`,
		"",
	}, "\n")
	if got := run(t, NewTrace, "text", Options{}, events...); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Why a trace shows no end is told where its lines do not say it, but not in traceroute's place.
func TestTraceTextEnded(t *testing.T) {
	for _, tt := range []struct {
		verdict probe.Verdict
		plain   bool
		want    string
	}{
		{probe.GapLimit, false, "  # gap-limit: nothing further answered in time; -w 5 waits five seconds for each answer, --gap-limit 0 goes on to the last TTL\n"},
		{probe.Interrupted, false, "  # interrupted: what was still waited for is not shown\n"},
		{probe.GapLimit, true, ""},
		{probe.Interrupted, true, ""},
		{probe.Reached, false, ""},
		{probe.MaxHops, false, "  # max-hops: the destination was not reached by TTL 9; --max-hops goes further\n"},
		{probe.MaxHops, true, ""},
	} {
		for _, table := range []bool{false, true} {
			if table && tt.plain {
				continue // nobody has both
			}
			got := run(t, NewTrace, "text", Options{Plain: tt.plain, Table: table}, started(probe.Method{MaxTTL: 30}), probe.Finished{Verdict: tt.verdict, LastTTL: 9})
			var last string
			if i := strings.Index(got, "  # "); i >= 0 {
				last = got[i:]
			}
			if last != tt.want {
				t.Errorf("%s, table %v, plain %v: %q, want %q", tt.verdict, table, tt.plain, got, tt.want)
			}
		}
	}
}

func TestTraceTextHeader(t *testing.T) {
	tests := []struct {
		dst  string
		size int
		want string
	}{
		{"192.0.2.9", 60, "traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets\n"},
		{"2001:db8:0:0::9", 80, "traceroute to example.org (2001:db8::9), 30 hops max, 80 byte packets\n"},
		{"fe80::1%eth0", 80, "traceroute to example.org (fe80::1%eth0), 30 hops max, 80 byte packets\n"},
		{"192.0.2.9", 0, "traceroute to example.org (192.0.2.9), 30 hops max\n"},
	}
	for _, tt := range tests {
		s := started(udpMethod)
		s.Dst, s.Method.Size = netip.MustParseAddr(tt.dst), tt.size
		if got := run(t, NewTrace, "text", Options{}, s); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// TestAnnotation and TestComplaint hold what each error is called to what Linux traceroute 2.1 and
// iputils print.
func TestAnnotation(t *testing.T) {
	tests := []struct {
		family    int
		answer    probe.Answer
		typ, code uint8
		mtu       int
		want      string
	}{
		{4, probe.TimeExceeded, 11, 0, 0, ""}, {6, probe.TimeExceeded, 3, 0, 0, ""},
		{4, probe.EchoReply, 0, 0, 0, ""}, {6, probe.EchoReply, 129, 0, 0, ""},
		{4, probe.PortUnreachable, 3, 3, 0, ""}, {6, probe.PortUnreachable, 1, 4, 0, ""},
		{4, probe.SynAck, 0, 0, 0, ""}, {4, probe.Reset, 0, 0, 0, ""}, {4, probe.Datagram, 0, 0, 0, ""},
		{4, probe.Unreachable, 3, 0, 0, "!N"}, {4, probe.Unreachable, 3, 6, 0, "!N"},
		{4, probe.Unreachable, 3, 8, 0, "!N"}, {4, probe.Unreachable, 3, 11, 0, "!N"},
		{4, probe.Unreachable, 3, 1, 0, "!H"}, {4, probe.Unreachable, 3, 7, 0, "!H"}, {4, probe.Unreachable, 3, 12, 0, "!H"},
		{4, probe.ProtocolUnreachable, 3, 2, 0, "!P"},
		{4, probe.Unreachable, 3, 5, 0, "!S"},
		{4, probe.Unreachable, 3, 9, 0, "!X"}, {4, probe.Unreachable, 3, 10, 0, "!X"}, {4, probe.Unreachable, 3, 13, 0, "!X"},
		{4, probe.Unreachable, 3, 14, 0, "!V"}, {4, probe.Unreachable, 3, 15, 0, "!C"},
		{4, probe.Unreachable, 3, 16, 0, "!<16>"}, {4, probe.Unreachable, 3, 255, 0, "!<255>"},
		{4, probe.TooBig, 3, 4, 1400, "!F-1400"}, {6, probe.TooBig, 2, 0, 1280, "!F-1280"}, {4, probe.TooBig, 3, 4, 0, "!F"},
		{4, probe.ReassemblyExceeded, 11, 1, 0, "!<11-1>"}, {6, probe.ReassemblyExceeded, 3, 1, 0, "!<3-1>"},
		{4, probe.ParameterProblem, 12, 0, 0, "!<12-0>"}, {6, probe.ParameterProblem, 4, 0, 0, "!<4-0>"},
		{6, probe.ProtocolUnreachable, 4, 1, 0, "!<4-1>"},
		{6, probe.Unreachable, 1, 0, 0, "!N"}, {6, probe.Unreachable, 1, 1, 0, "!X"},
		{6, probe.Unreachable, 1, 2, 0, "!H"}, {6, probe.Unreachable, 1, 3, 0, "!H"},
		{6, probe.Unreachable, 1, 5, 0, "!<5>"}, {6, probe.Unreachable, 1, 6, 0, "!<6>"},
	}
	for _, tt := range tests {
		o := hopAnswer(func(o *probe.Outcome) {
			if tt.family == 6 {
				v6(o)
			}
			o.Answer, o.Type, o.Code, o.MTU = tt.answer, tt.typ, tt.code, tt.mtu
		})
		if got := annotation(&o); got != tt.want {
			t.Errorf("IPv%d type %d code %d: %q, want %q", tt.family, tt.typ, tt.code, got, tt.want)
		}
	}
}

func TestComplaint(t *testing.T) {
	tests := []struct {
		family    int
		typ, code uint8
		mtu       int
		want      string
	}{
		{4, 3, 0, 0, "Destination Net Unreachable"},
		{4, 3, 1, 0, "Destination Host Unreachable"},
		{4, 3, 2, 0, "Destination Protocol Unreachable"},
		{4, 3, 3, 0, "Destination Port Unreachable"},
		{4, 3, 4, 1300, "Frag needed and DF set (mtu = 1300)"},
		{4, 3, 4, 0, "Frag needed and DF set"},
		{4, 3, 5, 0, "Source Route Failed"},
		{4, 3, 6, 0, "Destination Net Unknown"},
		{4, 3, 7, 0, "Destination Host Unknown"},
		{4, 3, 8, 0, "Source Host Isolated"},
		{4, 3, 9, 0, "Destination Net Prohibited"},
		{4, 3, 10, 0, "Destination Host Prohibited"},
		{4, 3, 11, 0, "Destination Net Unreachable for Type of Service"},
		{4, 3, 12, 0, "Destination Host Unreachable for Type of Service"},
		{4, 3, 13, 0, "Packet filtered"},
		{4, 3, 14, 0, "Precedence Violation"},
		{4, 3, 15, 0, "Precedence Cutoff"},
		{4, 3, 16, 0, "Dest Unreachable, Bad Code: 16"},
		{4, 11, 0, 0, "Time to live exceeded"},
		{4, 11, 1, 0, "Frag reassembly time exceeded"},
		{4, 11, 2, 0, "Time exceeded, Bad Code: 2"},
		{4, 12, 0, 0, "Parameter problem: pointer = 0"},
		{4, 40, 0, 0, "Bad ICMP type: 40"},
		{6, 1, 0, 0, "Destination unreachable: No route"},
		{6, 1, 1, 0, "Destination unreachable: Administratively prohibited"},
		{6, 1, 2, 0, "Destination unreachable: Beyond scope of source address"},
		{6, 1, 3, 0, "Destination unreachable: Address unreachable"},
		{6, 1, 4, 0, "Destination unreachable: Port unreachable"},
		{6, 1, 6, 0, "Destination unreachable: Unknown code 6"},
		{6, 2, 0, 1300, "Packet too big: mtu=1300"},
		{6, 2, 0, 0, "Packet too big"},
		{6, 3, 0, 0, "Time exceeded: Hop limit"},
		{6, 3, 1, 0, "Time exceeded: Defragmentation failure"},
		{6, 3, 2, 0, "Time exceeded: code 2"},
		{6, 4, 0, 0, "Parameter problem: Wrong header field at 0"},
		{6, 4, 1, 0, "Parameter problem: Unknown header at 0"},
		{6, 4, 2, 0, "Parameter problem: Unknown option at 0"},
		{6, 4, 3, 0, "Parameter problem: code 3 at 0"},
		{6, 100, 0, 0, "unknown icmp type: 100"},
	}
	for _, tt := range tests {
		o := echoReply(func(o *probe.Outcome) {
			if tt.family == 6 {
				v6(o)
			}
			o.Type, o.Code, o.MTU = tt.typ, tt.code, tt.mtu
		})
		if got := complaint(&o); got != tt.want {
			t.Errorf("IPv%d type %d code %d: %q, want %q", tt.family, tt.typ, tt.code, got, tt.want)
		}
	}
}

const pingHeader = "PING example.org (192.0.2.9) 56(84) bytes of data.\n"

// leave is the event of the n-th probe's departure, so many milliseconds after epoch.
func leave(n int, ms float64) *probe.Sent {
	o := nth(n, 0)
	return &probe.Sent{Serial: o.Serial, Spec: o.Spec, At: after(ms)}
}

func arrive(o probe.Outcome) *probe.Probed { return &probe.Probed{Outcome: o} }

func TestPingText(t *testing.T) {
	tests := []struct {
		name   string
		events []probe.Event
		want   string
	}{
		{"two replies", []probe.Event{leave(1, 0), arrive(nth(1, 0.119)), leave(2, 203.6), arrive(nth(2, 0.0594))},
			"64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=0.119 ms\n" +
				"64 bytes from 192.0.2.9: icmp_seq=2 ttl=63 time=0.059 ms\n" +
				"\n--- example.org ping statistics ---\n" +
				"2 packets transmitted, 2 received, 0% packet loss, time 204ms\n" +
				"rtt min/avg/max/mdev = 0.059/0.089/0.119/0.030 ms\n"},
		{"nothing at all", nil,
			"\n--- example.org ping statistics ---\n0 packets transmitted, 0 received\n\n"},
		{"silence", []probe.Event{leave(1, 0), leave(2, 1000), arrive(nth(1, 0, lost)), leave(3, 2003), arrive(nth(2, 0, lost)), arrive(nth(3, 0, lost))},
			"\n--- example.org ping statistics ---\n3 packets transmitted, 0 received, 100% packet loss, time 2003ms\n\n"},
		{"a third lost", []probe.Event{leave(1, 0), arrive(nth(1, 2)), leave(2, 1000), arrive(nth(2, 0, lost)), leave(3, 2003), arrive(nth(3, 2))},
			"64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=2.00 ms\n64 bytes from 192.0.2.9: icmp_seq=3 ttl=63 time=2.00 ms\n" +
				"\n--- example.org ping statistics ---\n3 packets transmitted, 2 received, 33.3333% packet loss, time 2003ms\n" +
				"rtt min/avg/max/mdev = 2.000/2.000/2.000/0.000 ms\n"},
		{"interrupted with one on its way", []probe.Event{leave(1, 0), arrive(nth(1, 2)), leave(2, 1000)},
			"64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=2.00 ms\n" +
				"\n--- example.org ping statistics ---\n2 packets transmitted, 1 received, 50% packet loss, time 1000ms\n" +
				"rtt min/avg/max/mdev = 2.000/2.000/2.000/0.000 ms\n"},
		{"every clause", []probe.Event{leave(1, 0), leave(2, 10), leave(3, 20), leave(4, 30),
			arrive(nth(1, 40, corrupted)), arrive(nth(1, 50, duplicate)), arrive(nth(2, 1, unreachable(3, 1))), arrive(nth(3, 0, lost)), arrive(nth(4, 0, lost)), arrive(nth(3, 60, late))},
			"64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=40.0 ms (CORRUPTED!)\n" +
				"64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=50.0 ms (DUP!)\n" +
				"From 198.51.100.1 icmp_seq=2 Destination Host Unreachable\n" +
				"64 bytes from 192.0.2.9: icmp_seq=3 ttl=63 time=60.0 ms\n" +
				"\n--- example.org ping statistics ---\n" +
				"4 packets transmitted, 2 received, +1 duplicates, +1 corrupted, +1 errors, 50% packet loss, time 30ms\n" +
				"rtt min/avg/max/mdev = 40.000/50.000/60.000/10.000 ms, pipe 4\n"},
		{"errors alone", []probe.Event{leave(1, 0), leave(2, 10), arrive(nth(1, 1, unreachable(3, 0))), arrive(nth(2, 1, unreachable(3, 0)))},
			"From 198.51.100.1 icmp_seq=1 Destination Net Unreachable\nFrom 198.51.100.1 icmp_seq=2 Destination Net Unreachable\n" +
				"\n--- example.org ping statistics ---\n2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 10ms\npipe 2\n"},
		{"not sent", []probe.Event{arrive(nth(1, 0, refused)), arrive(nth(2, 0, refused, func(o *probe.Outcome) { o.Errno, o.Err = "", errors.New("no\abuffer") }))},
			"icmp_seq=1 not sent: EMSGSIZE\n" + `icmp_seq=2 not sent: no\abuffer` + "\n" +
				"\n--- example.org ping statistics ---\n0 packets transmitted, 0 received, +2 errors\n\n"},
		{"not sent, and what fits", []probe.Event{arrive(nth(1, 0, refused, func(o *probe.Outcome) {
			o.Err = fmt.Errorf("send to 192.0.2.9: %w", fmt.Errorf("%w: no more than 1400 bytes fit", o.Err))
		}))},
			"icmp_seq=1 not sent: EMSGSIZE (message too long: no more than 1400 bytes fit)\n" +
				"\n--- example.org ping statistics ---\n0 packets transmitted, 0 received, +1 errors\n\n"},
		{"one of two not sent", []probe.Event{arrive(nth(1, 0, refused)), leave(2, 1000), arrive(nth(2, 1)), leave(3, 2000), arrive(nth(3, 0, lost))},
			"icmp_seq=1 not sent: EMSGSIZE\n64 bytes from 192.0.2.9: icmp_seq=2 ttl=63 time=1.00 ms\n" +
				"\n--- example.org ping statistics ---\n2 packets transmitted, 1 received, +1 errors, 50% packet loss, time 1000ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n"},
		{"this host itself says unreachable", []probe.Event{leave(1, 0), arrive(nth(1, 3000, unreachable(3, 1), from("198.51.100.2"), func(o *probe.Outcome) { o.Status, o.Errno = probe.Failed, "EHOSTUNREACH" }))},
			"From 198.51.100.2 icmp_seq=1 Destination Host Unreachable\n" +
				"\n--- example.org ping statistics ---\n0 packets transmitted, 0 received, +1 errors\n\n"},
		{"this host itself says so, late, of one of two", []probe.Event{leave(1, 0), leave(2, 1000), arrive(nth(1, 0, lost)),
			arrive(nth(1, 3000, late, unreachable(3, 1), from("198.51.100.2"), func(o *probe.Outcome) { o.Status, o.Errno = probe.Failed, "EHOSTUNREACH" })), arrive(nth(2, 0, lost))},
			"From 198.51.100.2 icmp_seq=1 Destination Host Unreachable\n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 1000ms\npipe 2\n"},
		{"this host itself says so of a probe that was answered", []probe.Event{leave(1, 0), arrive(nth(1, 1)),
			arrive(nth(1, 3000, duplicate, unreachable(3, 1), from("198.51.100.2"), func(o *probe.Outcome) { o.Status, o.Errno = probe.Failed, "EHOSTUNREACH" }))},
			"64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\nFrom 198.51.100.2 icmp_seq=1 Destination Host Unreachable\n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, +1 errors, 0% packet loss, time 0ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n"},
		{"a deadline before any answer is due", []probe.Event{leave(1, 0), leave(2, 1000), leave(3, 2000)},
			"\n--- example.org ping statistics ---\n3 packets transmitted, 0 received, 100% packet loss, time 2000ms\n\n"},
		{"neither TTL nor time known", []probe.Event{leave(1, 0), arrive(nth(1, -1, func(o *probe.Outcome) { o.TTL = 0 }))},
			"64 bytes from 192.0.2.9: icmp_seq=1\n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, 0% packet loss, time 0ms\n\n"},
		{"more probes than 16 bits count", []probe.Event{leave(70000, 0), arrive(nth(70000, 1))},
			"64 bytes from 192.0.2.9: icmp_seq=70000 ttl=63 time=1.00 ms\n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, 0% packet loss, time 0ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := append(append([]probe.Event{started(echoMethod)}, tt.events...), answered)
			if got := run(t, NewPing, "text", Options{Numeric: true}, events...); got != pingHeader+tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, pingHeader+tt.want)
			}
			_, statistics, _ := strings.Cut(tt.want, "\n---")
			if got, want := run(t, NewPing, "text", Options{Quiet: true, Numeric: true}, events...), pingHeader+"\n---"+statistics; got != want {
				t.Errorf("quiet: got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestPingTextNodes: a target given by name has its address twice, as iputils prints it where the
// address has no name.
func TestPingTextNodes(t *testing.T) {
	tests := []struct {
		name    string
		target  string
		dst     netip.Addr
		size    int
		numeric bool
		want    string // header, a reply, an error
	}{
		{"IPv4", "192.0.2.9", dest, 84, false,
			"PING 192.0.2.9 (192.0.2.9) 56(84) bytes of data.\n64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n" +
				"From 198.51.100.1 icmp_seq=2 Destination Host Unreachable\n"},
		{"IPv4 by name", "example.org", dest, 84, false,
			"PING example.org (192.0.2.9) 56(84) bytes of data.\n64 bytes from 192.0.2.9 (192.0.2.9): icmp_seq=1 ttl=63 time=1.00 ms\n" +
				"From 198.51.100.1 (198.51.100.1) icmp_seq=2 Destination Host Unreachable\n"},
		{"IPv4 by name, numeric", "example.org", dest, 28, true,
			"PING example.org (192.0.2.9) 0(28) bytes of data.\n64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n" +
				"From 198.51.100.1 icmp_seq=2 Destination Host Unreachable\n"},
		{"IPv6", "2001:db8::9", dest6, 104, false,
			"PING 2001:db8::9(2001:db8::9) 56 data bytes\n64 bytes from 2001:db8::9: icmp_seq=1 ttl=63 time=1.00 ms\n" +
				"From 2001:db8::1 icmp_seq=2 Destination unreachable: Address unreachable\n"},
		{"IPv6 by name", "example.org", dest6, 104, false,
			"PING example.org(2001:db8::9 (2001:db8::9)) 56 data bytes\n64 bytes from 2001:db8::9 (2001:db8::9): icmp_seq=1 ttl=63 time=1.00 ms\n" +
				"From 2001:db8::1 (2001:db8::1) icmp_seq=2 Destination unreachable: Address unreachable\n"},
		{"IPv6 by name, numeric", "example.org", dest6, 0, true,
			"PING example.org(2001:db8::9)\n64 bytes from 2001:db8::9: icmp_seq=1 ttl=63 time=1.00 ms\n" +
				"From 2001:db8::1 icmp_seq=2 Destination unreachable: Address unreachable\n"},
		{"a size nobody knows", "192.0.2.9", dest, 0, false,
			"PING 192.0.2.9 (192.0.2.9)\n64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n" +
				"From 198.51.100.1 icmp_seq=2 Destination Host Unreachable\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := started(echoMethod)
			s.Target, s.Dst, s.Method.Size = tt.target, tt.dst, tt.size
			reply, refusal := nth(1, 1), nth(2, 1, unreachable(3, 1))
			if tt.dst == dest6 {
				reply = nth(1, 1, v6, from("2001:db8::9"))
				refusal = nth(2, 1, unreachable(1, 3), v6)
			}
			if got := run(t, NewPing, "text", Options{Numeric: tt.numeric}, s, arrive(reply), arrive(refusal)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestPingTime: iputils prints whole microseconds below a millisecond and three digits
// above.
func TestPingTime(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0.000"}, {499, "0.000"}, {500, "0.001"}, {42_000, "0.042"}, {999_499, "0.999"},
		{999_500, "1.00"}, {1_234_000, "1.23"}, {1_235_000, "1.24"}, {9_994_000, "9.99"}, {9_995_000, "10.0"},
		{12_349_000, "12.3"}, {12_350_000, "12.4"}, {99_949_000, "99.9"}, {99_950_000, "100"},
		{382 * time.Millisecond, "382"}, {382*time.Millisecond + 500*time.Microsecond, "383"}, {1007 * time.Millisecond, "1007"},
	}
	for _, tt := range tests {
		if got := pingTime(tt.d); got != tt.want {
			t.Errorf("%v is printed as %s, want %s", tt.d, got, tt.want)
		}
	}
}

// TestHopLineByLine: each line is out before the next event comes.
func TestHopLineByLine(t *testing.T) {
	var w lineWriter
	s, err := NewTrace(&w, "text", Options{})
	if err != nil {
		t.Fatal(err)
	}
	var want string
	for i, e := range []probe.Event{started(udpMethod), hopOf(1), hopOf(2), reached(2)} {
		if err := s.Emit(e); err != nil {
			t.Fatal(err)
		}
		want += []string{"traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets\n", " 1  198.51.100.1  0.413 ms\n", " 2  198.51.100.1  0.413 ms\n", ""}[i]
		if w.String() != want {
			t.Errorf("after %s: %q, want %q", e.Kind(), w.String(), want)
		}
	}
}

func hopOf(ttl uint8) probe.Hop {
	return probe.Hop{TTL: ttl, Outcomes: []probe.Outcome{hopAnswer()}}
}

// TestHints: that the way back seems longer is told to who asks for its length, and in JSON always.
func TestHints(t *testing.T) {
	const hint = "from TTL 5 on answers come further"
	events := append(append([]probe.Event{}, traceRun[:len(traceRun)-2]...), probe.Finding{Code: "return-path-longer", Between: [2]uint8{4, 5}, Confidence: "low", Text: hint}, probe.Checked{}, reached(1))
	for _, tt := range []struct {
		format string
		o      Options
		told   bool
	}{
		{"text", Options{}, false}, {"text", Options{Back: true}, true}, {"text", Options{Back: true, Plain: true}, false},
		{"text", Options{Table: true}, false}, {"text", Options{Table: true, Back: true}, true}, {"json", Options{}, true},
		{"dot", Options{}, false}, {"dot", Options{Back: true}, true},
	} {
		if got := strings.ReplaceAll(run(t, NewTrace, tt.format, tt.o, events...), `\n`, " "); strings.Contains(got, hint) != tt.told {
			t.Errorf("%s, %+v: told %v:\n%s", tt.format, tt.o, !tt.told, got)
		}
	}
}
