package report

import (
	"bytes"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"gtrace/probe"
)

// kind makes a reply of another kind of probe.
func kind(p probe.Proto, a probe.Answer, change ...func(*probe.Outcome)) probe.Outcome {
	return nth(1, 1, func(o *probe.Outcome) {
		o.Spec.Proto, o.Answer, o.Bytes = p, a, 20
		for _, c := range change {
			c(o)
		}
	})
}

// text prints one outcome of the run that s opens.
func text(t *testing.T, o Options, s probe.Started, e ...probe.Event) string {
	t.Helper()
	got := run(t, NewPing, "text", o, append([]probe.Event{s}, e...)...)
	_, got, _ = strings.Cut(got, "\n") // the first line
	return got
}

func TestPingKindLines(t *testing.T) {
	const from = "20 bytes from 192.0.2.9: "
	at := func(sent, back time.Time, r, x uint32) func(*probe.Outcome) {
		return func(o *probe.Outcome) { o.Sent, o.At, o.Times = sent, back, probe.Times{Receive: r, Transmit: x} }
	}
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	node := func(typ uint16, code uint8, payload string) func(*probe.Outcome) {
		return func(o *probe.Outcome) {
			o.Spec.Query.Type, o.Code, o.Payload = typ, code, []byte(payload)
		}
	}
	tests := []struct {
		name string
		o    probe.Outcome
		want string
	}{
		{"timestamp", kind(probe.Timestamp, probe.TimestampReply, at(midnight.Add(5*time.Millisecond), midnight.Add(9*time.Millisecond), 7, 8)),
			"icmp_seq=1 ttl=63 time=4.00 ms there=2 ms back=1 ms"},
		{"the other clock is past midnight, ours is not", kind(probe.Timestamp, probe.TimestampReply, at(midnight.Add(-2*time.Millisecond), midnight.Add(-time.Millisecond), 3, 3)),
			"icmp_seq=1 ttl=63 time=1.00 ms there=5 ms back=-4 ms"},
		{"no standard time", kind(probe.Timestamp, probe.TimestampReply, at(midnight, midnight.Add(time.Millisecond), 1<<31|17, 1<<31|18)),
			"icmp_seq=1 ttl=63 time=1.00 ms receive=17 transmit=18 not-standard"},
		{"no time of a day", kind(probe.Timestamp, probe.TimestampReply, at(midnight, midnight.Add(time.Millisecond), 86_400_000, 1)),
			"icmp_seq=1 ttl=63 time=1.00 ms receive=86400000 transmit=1"},
		{"mask", kind(probe.Mask, probe.MaskReply, func(o *probe.Outcome) { o.Mask = 0xffffff00 }), "icmp_seq=1 ttl=63 time=1.00 ms mask=255.255.255.0"},
		{"interface", kind(probe.ExtEcho, probe.ExtEchoReply, func(o *probe.Outcome) { o.Spec.Query.Flags, o.State = 1, 5 }),
			"icmp_seq=1 ttl=63 time=1.00 ms interface active IPv6"},
		{"neighbour", kind(probe.ExtEcho, probe.ExtEchoReply, func(o *probe.Outcome) { o.State = 2 << 5 }), "icmp_seq=1 ttl=63 time=1.00 ms interface state reachable"},
		{"no such interface", kind(probe.ExtEcho, probe.ExtEchoReply, func(o *probe.Outcome) { o.Code = 2 }), "icmp_seq=1 ttl=63 time=1.00 ms interface no such interface"},
		{"open", kind(probe.TCP, probe.SynAck), "tcp_seq=1 ttl=63 time=1.00 ms open"},
		{"closed", kind(probe.TCP, probe.Reset), "tcp_seq=1 ttl=63 time=1.00 ms closed"},
		{"unreachable port", kind(probe.UDP, probe.PortUnreachable), "udp_seq=1 ttl=63 time=1.00 ms port unreachable"},
		{"service", kind(probe.UDP, probe.Datagram), "udp_seq=1 ttl=63 time=1.00 ms answered"},
		{"name", kind(probe.NodeInfo, probe.NodeReply, node(2, 0, "\x00\x00\x00\x00\x03foo\x00\x00\x03bar\x07example\x00")), "foo, bar.example.; seq=1; ttl=63 time=1.00 ms"},
		{"name cut short", kind(probe.NodeInfo, probe.NodeReply, node(2, 0, "\x00\x00\x00\x00\x07foo")), "parse error (truncated); seq=1; ttl=63 time=1.00 ms"},
		{"a name's terminal command", kind(probe.NodeInfo, probe.NodeReply, node(2, 0, "\x00\x00\x00\x00\x03a\x1bb\x00")), `a\027b.; seq=1; ttl=63 time=1.00 ms`},
		{"addresses", kind(probe.NodeInfo, probe.NodeReply, node(4, 0, "\x00\x00\x00\x00\x0a\x00\x00\x01\x00\x00\x00\x00\x0a\x00\x00\x02")), "10.0.0.1, 10.0.0.2; seq=1; ttl=63 time=1.00 ms"},
		{"refused", kind(probe.NodeInfo, probe.NodeReply, node(2, 1, "")), "refused; seq=1; ttl=63 time=1.00 ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := started(echoMethod)
			s.Method.Proto, s.Method.Size = tt.o.Spec.Proto, 40
			if got := text(t, Options{Numeric: true}, s, arrive(tt.o)); got != from+tt.want+"\n" {
				t.Errorf("got %q, want %q", got, from+tt.want+"\n")
			}
			// And the schema, of the same: run holds every line against it.
			run(t, NewPing, "events", Options{}, s, sent(tt.o), arrive(tt.o), probe.Finished{At: after(2), Complete: true, Verdict: probe.AnsweredIt})
		})
	}
}

// FuzzNodeNames: whatever a node sends is no reason to panic, nor to go on for ever.
func FuzzNodeNames(f *testing.F) {
	f.Add([]byte("\x03foo\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, fault := nodeNames(b)
		if len(names) == 0 && fault == "" && len(b) > 0 {
			t.Errorf("%x is neither a name nor a fault", b)
		}
		for _, o := range [][]byte{b, append([]byte{optionStamp}, b...), append([]byte{optionRoute}, b...)} {
			(&pingText{}).recorded(nil, o)
		}
	})
}

// TestPingTextOptions has what nodes on the way wrote, as iputils ping 20221126 printed it.
func TestPingTextOptions(t *testing.T) {
	route := "\x01\x07\x27\x10\x0a\x09\x00\x01\x0a\x09\x01\xfe\x0a\x09\x01\x01" + strings.Repeat("\x00", 24)
	with := func(b string) func(*probe.Outcome) { return func(o *probe.Outcome) { o.Options = []byte(b) } }
	s := started(echoMethod)
	s.Method.Size, s.Method.Options = 124, 40
	const line = "64 bytes from 192.0.2.9: icmp_seq=%d ttl=63 time=1.00 ms"
	first, second := strings.Replace(line, "%d", "1", 1), strings.Replace(line, "%d", "2", 1)
	for _, tt := range []struct{ name, one, two, want string }{
		{"the same route twice", route[1:], route[1:], first + "\nRR: \t10.9.0.1\n\t10.9.1.254\n\t10.9.1.1\n\n" + second + "\t(same route)\n"},
		{"a filler", route, "", first + "\nNOP\nRR: \t10.9.0.1\n\t10.9.1.254\n\t10.9.1.1\n\n" + second + "\n"},
		{"nothing written", "\x07\x07\x04\x00\x00\x00\x00\x00", "", first + "\n" + second + "\n"},
		{"times", "\x44\x10\x11\x00\x00\x00\x00\x64\x00\x00\x00\x66\x80\x00\x00\x07", "", first + "\nTS: \t100 absolute\n\t2\n\t7 absolute not-standard\n\n" + second + "\n"},
		{"times with addresses", "\x44\x0c\x0d\x21\x0a\x09\x00\x01\x00\x00\x00\x64", "", first + "\nTS: \t10.9.0.1\t100 absolute\nUnrecorded hops: 2\n\n" + second + "\n"},
		{"cut short", "\x44\x28\x0d\x01\x0a", "", first + "\n" + second + "\n"},
		{"length 0", "\x44\x00\x00\x00", "", first + "\n" + second + "\n"},
		{"unknown", "\x94\x04\x00\x00", "", first + "\nunknown option 94\n" + second + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := text(t, Options{Numeric: true}, s, arrive(nth(1, 1, with(tt.one))), arrive(nth(2, 1, with(tt.two))))
			if got != tt.want {
				t.Errorf("got\n%q\nwant\n%q", got, tt.want)
			}
		})
	}
}

// literal is what the name ping asks for.
var literal = Options{Numeric: true, Literal: "ping"}

func TestPingTextLiteral(t *testing.T) {
	payload := func(at int, b byte) func(*probe.Outcome) {
		return func(o *probe.Outcome) {
			o.Corrupted, o.Payload = true, make([]byte, 56)
			for i := range o.Payload {
				o.Payload[i] = byte(i)
			}
			o.Payload[at] = b
		}
	}
	mtu := func(o *probe.Outcome) { refused(o); o.MTU = 1300 }
	unreach := func(o *probe.Outcome) { refused(o); o.Errno, o.Err = "ENETUNREACH", syscall.ENETUNREACH }
	tests := []struct {
		name   string
		change func(*Options)
		size   int // 0: 84
		events []probe.Event
		out    string // behind the first line
		side   string
	}{
		{name: "wrong data", events: []probe.Event{leave(1, 0), arrive(nth(1, 1, payload(40, 0xd7)))},
			out: "64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\nwrong data byte #40 should be 0x28 but was 0xd7\n" +
				"#16\t10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23 24 25 26 27 d7 29 2a 2b 2c 2d 2e 2f \n" +
				"#48\t30 31 32 33 34 35 36 37 \n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, 0% packet loss, time 0ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n"},
		{name: "truncated", events: []probe.Event{leave(1, 0), arrive(nth(1, 1, corrupted, func(o *probe.Outcome) { o.Bytes = 28 }))},
			out: "28 bytes from 192.0.2.9: icmp_seq=1 ttl=63 (truncated)\n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, 0% packet loss, time 0ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n"},
		{name: "duplicates in the times, another sender", events: []probe.Event{leave(1, 0), arrive(nth(1, 1)), arrive(nth(1, 3, duplicate, from("192.0.2.1")))},
			out: "64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n64 bytes from 192.0.2.1: icmp_seq=1 ttl=63 time=3.00 ms (DUP!) (DIFFERENT ADDRESS!)\n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, +1 duplicates, 0% packet loss, time 0ms\nrtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms\n"},
		{name: "no room for a time", size: 32, events: []probe.Event{leave(1, 0), arrive(nth(1, 1, func(o *probe.Outcome) { o.Bytes = 12 }))},
			out: "12 bytes from 192.0.2.9: icmp_seq=1 ttl=63\n\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, 0% packet loss, time 0ms\n\n"},
		{name: "too long, and no way", events: []probe.Event{arrive(nth(1, 0, mtu)), arrive(nth(2, 0, unreach))},
			out:  "\n--- example.org ping statistics ---\n2 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms\n\n",
			side: "ping: local error: message too long, mtu=1300\nping: sendmsg: Network is unreachable\n"},
		{name: "flood", change: func(o *Options) { o.Flood, o.Rounds = true, true },
			events: []probe.Event{leave(1, 0), arrive(nth(1, 1)), leave(2, 2), leave(3, 4), arrive(nth(3, 1)), arrive(nth(2, 1, unreachable(3, 1)))},
			out: ".\b \b..\b \b\bE\n--- example.org ping statistics ---\n3 packets transmitted, 2 received, +1 errors, 33.3333% packet loss, time 4ms\n" +
				"rtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms, pipe 2, ipg/ewma 2.000/1.000 ms\n"},
		{name: "stamped, waited for, redirected", change: func(o *Options) { o.Stamped, o.Waiting, o.Bell = true, true, true },
			events: []probe.Event{leave(1, 0), probe.Waiting{At: after(1000), Serial: 1, Spec: nth(1, 0).Spec}, arrive(nth(1, 1)),
				probe.Advised{Outcome: nth(1, 1, from("198.51.100.1"), func(o *probe.Outcome) {
					o.Type, o.Code, o.Gateway = 5, 1, netip.MustParseAddr("192.0.2.254")
				})}},
			out: "[1772366401.000000] no answer yet for icmp_seq=1\n[1772366400.002000] 64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\a\n" +
				"[1772366400.002000] From 198.51.100.1: icmp_seq=1 Redirect Host(New nexthop: 192.0.2.254)\n" +
				"\n--- example.org ping statistics ---\n1 packets transmitted, 1 received, 0% packet loss, time 0ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n"},
		{name: "whole loss, one clause", change: func(o *Options) { o.IntegerLoss = true },
			events: []probe.Event{leave(1, 0), leave(2, 1), leave(3, 2), arrive(nth(1, 1)), arrive(nth(1, 1, duplicate)), arrive(nth(2, 1, unreachable(3, 1))), arrive(nth(3, 1))},
			out: "64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms (DUP!)\n" +
				"From 198.51.100.1 icmp_seq=2 Destination Host Unreachable\n64 bytes from 192.0.2.9: icmp_seq=3 ttl=63 time=1.00 ms\n" +
				"\n--- example.org ping statistics ---\n3 packets transmitted, 2 received, +1 errors, 33% packet loss, time 2ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms, pipe 3\n"},
		{name: "asked for on the way", events: []probe.Event{leave(1, 0), arrive(nth(1, 1)), leave(2, 10), probe.Interim{}},
			out: "64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n\n--- example.org ping statistics ---\n" +
				"2 packets transmitted, 1 received, 50% packet loss, time 10ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n",
			side: "\r1/2 packets, 50% loss, min/avg/ewma/max = 1.000/1.000/1.000/1.000 ms\n"},
		{name: "reports", events: []probe.Event{leave(1, 0), arrive(nth(1, 1)), probe.Interim{Resets: true}, leave(2, 10), probe.Interim{Resets: true}},
			out: "64 bytes from 192.0.2.9: icmp_seq=1 ttl=63 time=1.00 ms\n\n--- example.org ping statistics ---\n" +
				"2 packets transmitted, 1 received, 50% packet loss, time 10ms\nrtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\n",
			side: "example.org : 1/1 packets, 0% loss, min/avg/ewma/max = 1.000/1.000/1.000/1.000 ms\nexample.org : 0/1 packets, 100% loss\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var side bytes.Buffer
			o := literal
			o.Side = &side
			if tt.change != nil {
				tt.change(&o)
			}
			s := started(echoMethod)
			if tt.size != 0 {
				s.Method.Size = tt.size
			}
			if got := text(t, o, s, append(tt.events, answered)...); got != tt.out {
				t.Errorf("got\n%q\nwant\n%q", got, tt.out)
			}
			if side.String() != tt.side {
				t.Errorf("standard error %q, want %q", &side, tt.side)
			}
		})
	}
}

// TestPingTextFirstLine: what stands in it where options ask for it.
func TestPingTextFirstLine(t *testing.T) {
	label := uint32(0x3039)
	for _, tt := range []struct {
		o      Options
		v6     bool
		method func(*probe.Method)
		want   string
	}{
		{Options{From: true, Device: "eth0"}, false, nil, "PING example.org (192.0.2.9) from 198.51.100.2 eth0: 56(84) bytes of data.\n"},
		{Options{From: true}, false, nil, "PING example.org (192.0.2.9) from 198.51.100.2 : 56(84) bytes of data.\n"},
		{Options{Label: true}, true, func(m *probe.Method) { m.Size, m.Label = 104, &label }, "PING example.org(2001:db8::9) , flow 0x03039, 56 data bytes\n"},
		{Options{}, false, func(m *probe.Method) { m.Size, m.Options = 120, 36 }, "PING example.org (192.0.2.9) 56(120) bytes of data.\n"},
		{Options{Literal: "ping"}, false, func(m *probe.Method) { m.Size, m.Options = 120, 36 }, "PING example.org (192.0.2.9) 56(124) bytes of data.\n"},
		{Options{Literal: "ping"}, true, func(m *probe.Method) { m.Proto, m.Size = probe.NodeInfo, 72 }, "PING example.org(2001:db8::9) 56 data bytes\n"},
	} {
		s := started(echoMethod)
		if tt.v6 {
			s.Dst = dest6
		}
		if tt.method != nil {
			tt.method(&s.Method)
		}
		tt.o.Numeric = true
		if got := run(t, NewPing, "text", tt.o, s); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{"Operation not permitted": &wrapped{syscall.EPERM}, "Unknown error": nil} {
		if got := reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

type wrapped struct{ err error }

func (w *wrapped) Error() string { return "send: " + w.err.Error() }
func (w *wrapped) Unwrap() error { return w.err }
