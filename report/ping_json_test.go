package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

// nth is the n-th reply of a series, after so many milliseconds.
func nth(n int, ms float64, change ...func(*probe.Outcome)) probe.Outcome {
	first := []func(*probe.Outcome){number(uint64(n), 64, uint32(n)), takes(time.Duration(ms * 1e6))}
	return echoReply(append(first, change...)...)
}

// series is a run of ping: everything leaves, then the outcomes come in.
func series(outcomes ...probe.Outcome) []probe.Event {
	events := []probe.Event{started(echoMethod)}
	for _, o := range outcomes {
		if !o.Late && !o.Duplicate && !o.Sent.IsZero() {
			events = append(events, sent(o))
		}
	}
	for _, o := range outcomes {
		events = append(events, &probe.Probed{Outcome: o})
	}
	return events
}

func TestPingDocument(t *testing.T) {
	events := append(series(
		nth(1, 1), nth(3, 3), nth(2, 2, lost), nth(1, 4, duplicate), nth(4, 5, corrupted),
		nth(5, 1, unreachable(3, 1)), nth(6, 1, lost), nth(6, 7, late), nth(7, 0, refused)),
		sent(nth(8, 0)),
		probe.Checked{Late: 1, Duplicates: 1, SendErrors: 1},
		probe.Finished{At: after(4003.2), Verdict: probe.AnsweredIt})
	const at = `"sent_at":"2026-03-01T12:00:00.001000500Z"`
	const from = `"from":"192.0.2.9",`
	const rest = `"clock":"kernel","match":"strict","reply_ttl":63,"bytes":64,`
	head := `{"schema":"gping/ping/v1","version":"1.2.3","target":"example.org","destination":"192.0.2.9","source":"198.51.100.2","family":4,` +
		`"method":{"protocol":"icmp","identifier":7,"size_bytes":84,"interval_ms":1000,"socket":"raw"},` +
		`"started_at":"2026-03-01T12:00:00.000000500Z","duration_ms":4003.2,"complete":false,"outcome":"answered",`
	replies := `"replies":[` + strings.Join([]string{
		`{"seq":1,` + at + `,"result":"reply",` + from + `"rtt_ms":1,` + rest + `"duplicates":1,"late":false,"corrupted":false,"icmp":{"type":0,"code":0}}`,
		`{"seq":2,` + at + `,"result":"timeout","duplicates":0,"late":false}`,
		`{"seq":3,` + at + `,"result":"reply",` + from + `"rtt_ms":3,` + rest + `"duplicates":0,"late":false,"corrupted":false,"icmp":{"type":0,"code":0}}`,
		`{"seq":4,` + at + `,"result":"reply",` + from + `"rtt_ms":5,` + rest + `"duplicates":0,"late":false,"corrupted":true,"icmp":{"type":0,"code":0}}`,
		`{"seq":5,` + at + `,"result":"error","from":"198.51.100.1","rtt_ms":1,"clock":"kernel","match":"strict","reply_ttl":63,"duplicates":0,"late":false,"icmp":{"type":3,"code":1},"annotation":"!H"}`,
		`{"seq":6,` + at + `,"result":"reply",` + from + `"rtt_ms":7,` + rest + `"duplicates":0,"late":true,"corrupted":false,"icmp":{"type":0,"code":0}}`,
		`{"seq":7,"result":"error","error":"EMSGSIZE","duplicates":0,"late":false}`,
	}, ",") + `],`
	// The times are 1, 3, 5, 7: mean 4, squared distances 20. Their jitter is
	// 2/16, then what is left of it and another 2/16, twice.
	tail := `"summary":{"sent":7,"received":4,"duplicates":1,"corrupted":1,"reordered":0,"errors":1,"in_flight":1,"loss_percent":33.333333,"loss_interval_percent":[9.676933,70.001168],` +
		`"min_ms":1,"avg_ms":4,"max_ms":7,"mdev_ms":2.236068,"stddev_ms":2.581989,"jitter_ms":0.352051,"p50_ms":3,"p90_ms":7,"p95_ms":7,"p99_ms":7},` +
		`"self_check":{"receive_drops":0,"send_errors":1,"late":1,"duplicates":1,"unmatched":0,"malformed":0,"clock_steps":0,"advisories":0}}` + "\n"

	got := run(t, NewPing, "json", Options{Version: "1.2.3"}, events...)
	pingSchemaFile.accepts(t, got)
	if want := head + replies + tail; got != want {
		t.Errorf("document\n%s\nwant\n%s", got, want)
	}
	got = run(t, NewPing, "json", Options{Version: "1.2.3", NoReplies: true}, events...)
	pingSchemaFile.accepts(t, got)
	if want := head + tail; got != want {
		t.Errorf("document without replies\n%s\nwant\n%s", got, want)
	}
	got = run(t, NewPing, "json", Options{Version: "1.2.3", Names: says("nine.example")}, events...)
	pingSchemaFile.accepts(t, got)
	named := regexp.MustCompile(`"from":"[^"]+",`).ReplaceAllString(head+replies+tail, `$0"name":"nine.example",`)
	if got != named {
		t.Errorf("document with names\n%s\nwant\n%s", got, named)
	}
}

// TestPingSummary is about what counts as what (TRAPS T78, T11, T12, T62).
func TestPingSummary(t *testing.T) {
	tests := []struct {
		name     string
		outcomes []probe.Outcome
		open     int // probes still on their way
		want     map[string]string
	}{
		{"nothing sent", nil, 0, map[string]string{"sent": "0", "received": "0", "loss_percent": "", "min_ms": "", "in_flight": ""}},
		{"all on their way", nil, 3, map[string]string{"sent": "3", "received": "0", "loss_percent": "", "in_flight": "3"}},
		{"one of two on its way", []probe.Outcome{nth(1, 1)}, 1, map[string]string{"sent": "2", "received": "1", "loss_percent": "0", "in_flight": "1"}},
		{"all lost", []probe.Outcome{nth(1, 0, lost), nth(2, 0, lost)}, 0, map[string]string{"sent": "2", "received": "0", "loss_percent": "100", "min_ms": "", "p50_ms": ""}},
		{"one of three lost", []probe.Outcome{nth(1, 1), nth(2, 0, lost), nth(3, 1)}, 0, map[string]string{"received": "2", "loss_percent": "33.333333"}},
		{"a single reply", []probe.Outcome{nth(1, 0.25)}, 0,
			map[string]string{"min_ms": "0.25", "avg_ms": "0.25", "max_ms": "0.25", "mdev_ms": "0", "stddev_ms": "", "jitter_ms": "", "p50_ms": "0.25", "p99_ms": "0.25"}},
		{"lost, then answered late", []probe.Outcome{nth(1, 0, lost), nth(1, 9, late)}, 0, map[string]string{"sent": "1", "received": "1", "loss_percent": "0", "max_ms": "9"}},
		{"three copies", []probe.Outcome{nth(1, 1), nth(1, 2, duplicate), nth(1, 3, duplicate)}, 0,
			map[string]string{"sent": "1", "received": "1", "duplicates": "2", "loss_percent": "0", "max_ms": "1"}},
		{"unreachable", []probe.Outcome{nth(1, 1, unreachable(3, 1)), nth(2, 1, unreachable(3, 1))}, 0,
			map[string]string{"sent": "2", "received": "0", "errors": "2", "loss_percent": "100", "min_ms": ""}},
		{"unreachable, late", []probe.Outcome{nth(1, 0, lost), nth(1, 1, unreachable(3, 1), late)}, 0,
			map[string]string{"sent": "1", "received": "0", "errors": "1", "loss_percent": "100"}},
		{"an error about an answered probe", []probe.Outcome{nth(1, 1), nth(1, 1, unreachable(3, 1), duplicate)}, 0,
			map[string]string{"received": "1", "errors": "1", "duplicates": "0", "loss_percent": "0"}},
		{"nothing leaves", []probe.Outcome{nth(1, 0, refused)}, 0, map[string]string{"sent": "0", "errors": "0", "loss_percent": ""}},
		{"one does not leave", []probe.Outcome{nth(1, 0, refused), nth(2, 1)}, 0, map[string]string{"sent": "1", "received": "1", "loss_percent": "0"}},
		{"this host itself says unreachable", []probe.Outcome{nth(1, 1, unreachable(3, 1), func(o *probe.Outcome) { o.Status, o.Errno = probe.Failed, "EHOSTUNREACH" })}, 0,
			map[string]string{"sent": "1", "received": "0", "errors": "1", "loss_percent": "", "in_flight": ""}},
		{"this host itself says port unreachable", []probe.Outcome{nth(1, 1, func(o *probe.Outcome) {
			o.Spec.Proto, o.Answer, o.Type, o.Code, o.Status, o.Errno = probe.UDP, probe.PortUnreachable, 3, 3, probe.Failed, "ECONNREFUSED"
		})}, 0, map[string]string{"sent": "1", "received": "0", "errors": "1", "loss_percent": ""}},
		{"overtaken", []probe.Outcome{nth(1, 1), nth(3, 1), nth(2, 1), nth(4, 1)}, 0, map[string]string{"received": "4", "reordered": "1"}},
		{"a duplicate overtakes nobody", []probe.Outcome{nth(1, 1), nth(2, 1), nth(1, 1, duplicate)}, 0, map[string]string{"received": "2", "reordered": "0"}},
		{"answers to the flow, in time", []probe.Outcome{nth(1, 0, lost), nth(1, 0, flowOnly), nth(2, 0, flowOnly), nth(2, 0, lost)}, 0,
			map[string]string{"sent": "2", "received": "2", "flow_only": "2", "loss_percent": "0", "reordered": "0", "min_ms": "", "in_flight": ""}},
		{"fewer answers to the flow than probes", []probe.Outcome{nth(1, 0, lost), nth(2, 0, lost), nth(2, 0, flowOnly), nth(3, 1), nth(4, 0, lost)}, 0,
			map[string]string{"sent": "4", "received": "2", "flow_only": "1", "loss_percent": "50", "min_ms": "1"}},
		{"more answers to the flow than probes", []probe.Outcome{nth(1, 0, lost), nth(1, 0, flowOnly), nth(1, 0, flowOnly), nth(1, 0, flowOnly), nth(2, 1)}, 1,
			map[string]string{"sent": "3", "received": "2", "flow_only": "3", "loss_percent": "0", "in_flight": "1"}},
		{"a copy of an answer to the flow, and probes that left later", []probe.Outcome{nth(2, 0, flowOnly), nth(2, 0, lost), nth(2, 0, flowOnly)}, 3,
			map[string]string{"sent": "4", "received": "1", "flow_only": "2", "loss_percent": "0", "in_flight": "3"}},
		{"an answer to the flow, and then its probe's own", []probe.Outcome{nth(1, 0, flowOnly), nth(1, 1), nth(2, 1)}, 0,
			map[string]string{"sent": "2", "received": "2", "flow_only": "1", "loss_percent": "0"}},
		{"the same, and one lost", []probe.Outcome{nth(1, 0, flowOnly), nth(1, 1), nth(2, 1), nth(3, 0, lost)}, 0,
			map[string]string{"sent": "3", "received": "3", "flow_only": "1", "loss_percent": "0"}},
		{"one late", []probe.Outcome{nth(1, 0, lost), nth(2, 0, lost), nth(1, 0, flowOnly), nth(1, 0, flowOnly), nth(1, 9, late)}, 0,
			map[string]string{"sent": "2", "received": "2", "flow_only": "2", "loss_percent": "0", "max_ms": "9"}},
		{"corrupted", []probe.Outcome{nth(1, 1, corrupted)}, 0, map[string]string{"received": "1", "corrupted": "1", "loss_percent": "0"}},
		{"an open port", []probe.Outcome{nth(1, 1, func(o *probe.Outcome) { o.Spec.Proto, o.Answer, o.Flags = probe.TCP, probe.SynAck, 0x12 })}, 0, map[string]string{"received": "1", "errors": "0"}},
		{"an echo reply's place taken by a port's", []probe.Outcome{nth(1, 1, func(o *probe.Outcome) { o.Answer, o.Type, o.Code = probe.PortUnreachable, 3, 3 })}, 0,
			map[string]string{"received": "0", "errors": "1", "loss_percent": "100"}},
		{"a clock gone back", []probe.Outcome{nth(1, -1)}, 0, map[string]string{"received": "1", "min_ms": ""}},
	}
	for _, tt := range tests {
		for _, o := range []Options{{Version: "1"}, {Version: "1", NoReplies: true}} {
			t.Run(fmt.Sprintf("%s, no replies %v", tt.name, o.NoReplies), func(t *testing.T) {
				events := series(tt.outcomes...)
				for i := range tt.open {
					events = append(events, sent(nth(100+i, 0)))
				}
				doc := run(t, NewPing, "json", o, append(events, answered)...)
				pingSchemaFile.accepts(t, doc)
				for k, want := range tt.want {
					if got := part(t, doc, "summary", k); got != want {
						t.Errorf("%s is %q, want %q", k, got, want)
					}
				}
			})
		}
	}
}

// udpSeries is a run against a service whose answers come when several probes are waiting, so that all of them are the flow's.
func udpSeries(n int) []probe.Event {
	s := started(probe.Method{Proto: probe.UDP, SrcPort: 9, DstPort: 7, Size: 44, Socket: "raw", Interval: time.Second})
	events := []probe.Event{s}
	udp := func(o *probe.Outcome) { o.Spec.Proto = probe.UDP }
	for i := range n {
		events = append(events, sent(nth(i+1, 0, udp)))
	}
	for range n {
		events = append(events, &probe.Probed{Outcome: nth(1, 0, udp, flowOnly)})
	}
	for i := range n {
		events = append(events, &probe.Probed{Outcome: nth(i+1, 0, udp, lost)})
	}
	return append(events, answered)
}

// TestPingFlowOnly: an answer that is no known probe's is told without a number, in no probe's place, and counts for one.
func TestPingFlowOnly(t *testing.T) {
	events := udpSeries(2)
	doc := run(t, NewPing, "json", Options{Version: "1"}, events...)
	pingSchemaFile.accepts(t, doc)
	const timeout = `,"sent_at":"2026-03-01T12:00:00.001000500Z","result":"timeout","duplicates":0,"late":false}`
	if got, want := part(t, doc, "replies"), `[{"seq":1`+timeout+`,{"seq":2`+timeout+`]`; got != want {
		t.Errorf("replies %s, want %s", got, want)
	}
	if got, want := part(t, doc, "summary"), `{"sent":2,"received":2,"duplicates":0,"corrupted":0,"reordered":0,"errors":0,"flow_only":2,"loss_percent":0,"loss_interval_percent":[0,65.762805]}`; got != want {
		t.Errorf("summary %s, want %s", got, want)
	}
	for _, l := range lines(run(t, NewPing, "events", Options{Version: "1"}, events...)) {
		pingEventsFile.accepts(t, l)
		if want := `{"event":"probed","result":"reply","from":"192.0.2.9","match":"flow-only","reply_ttl":63,"bytes":20,` +
			`"late":false,"corrupted":false,"udp":{"bytes":20}}`; strings.Contains(l, "flow-only") && l != want {
			t.Errorf("event %s, want %s", l, want)
		}
	}
	const line = "From 192.0.2.9: 20 bytes ttl=63 answered, which probe is not known\n"
	if got, want := text(t, Options{Numeric: true, Rounds: true}, events[0].(probe.Started), events[1:]...), line+line+
		"\n--- example.org ping statistics ---\n2 packets transmitted, 2 received, 0% packet loss, time 0ms\n\n"; got != want {
		t.Errorf("text\n%s\nwant\n%s", got, want)
	}
	cut := run(t, NewPing, "json", Options{Version: "1"}, append(slices.Clone(events[:4]), probe.Finished{At: after(1), Verdict: probe.Interrupted})...)
	pingSchemaFile.accepts(t, cut)
	if got, want := part(t, cut, "summary"), `{"sent":2,"received":1,"duplicates":0,"corrupted":0,"reordered":0,"errors":0,"flow_only":1,"in_flight":1,"loss_percent":0,"loss_interval_percent":[0,79.345671]}`; got != want {
		t.Errorf("summary, cut short, %s, want %s", got, want)
	}
	// On the way there is as much as has come.
	for n, want := range map[int]string{4: "\r1/2 packets, 50% loss\n", 5: "\r2/2 packets, 0% loss\n", 6: "\r2/2 packets, 0% loss\n"} {
		var side bytes.Buffer
		run(t, NewPing, "text", Options{Numeric: true, Side: &side}, append(slices.Clone(events[:n]), probe.Interim{})...)
		if side.String() != want {
			t.Errorf("after %d events %q, want %q", n, &side, want)
		}
	}
}

func TestPingReplies(t *testing.T) {
	tests := []struct {
		name string
		o    probe.Outcome
		want map[string]string
	}{
		{"IPv6", nth(1, 1, v6, func(o *probe.Outcome) { o.Type, o.From = 129, dest6 }), map[string]string{"icmp": `{"type":129,"code":0}`, "from": `"2001:db8::9"`}},
		{"hop limit", nth(1, 1, func(o *probe.Outcome) { o.Answer, o.Type = probe.TimeExceeded, 11 }),
			map[string]string{"result": `"error"`, "icmp": `{"type":11,"code":0}`, "annotation": "", "bytes": "", "corrupted": "", "error": ""}},
		{"too big", nth(1, 1, func(o *probe.Outcome) { o.Answer, o.Type, o.Code, o.MTU = probe.TooBig, 3, 4, 1300 }),
			map[string]string{"result": `"error"`, "mtu": "1300", "annotation": `"!F-1300"`}},
		{"a TTL the platform does not tell", nth(1, 1, func(o *probe.Outcome) { o.TTL = 0 }), map[string]string{"reply_ttl": ""}},
		{"no room for any stamp", nth(1, 1, func(o *probe.Outcome) { o.Options = []byte{68, 4, 5, 0x30} }),
			map[string]string{"stamps": "", "unrecorded_hops": "3"}},
		{"stamps missed before any was made", nth(1, 1, func(o *probe.Outcome) { o.Options = []byte{68, 12, 5, 0x31, 11: 0} }),
			map[string]string{"stamps": "", "unrecorded_hops": "3"}},
		{"a node without a name", nth(1, 1, nodeSays("\x00\x00\x00\x00\x00\x00")), map[string]string{"node": `{"fault":"a name without labels"}`}},
		{"a node with a name and one without", nth(1, 1, nodeSays("\x00\x00\x00\x00\x03foo\x00\x00\x00\x00")),
			map[string]string{"node": `{"answers":["foo"],"fault":"a name without labels"}`}},
		{"this host itself says unreachable", nth(1, 1, unreachable(3, 1), func(o *probe.Outcome) { o.Status, o.Errno = probe.Failed, "EHOSTUNREACH" }),
			map[string]string{"result": `"error"`, "error": `"EHOSTUNREACH"`, "icmp": `{"type":3,"code":1}`, "annotation": "", "rtt_ms": ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := run(t, NewPing, "json", Options{Version: "1"}, append(series(tt.o), answered)...)
			pingSchemaFile.accepts(t, doc)
			var d struct{ Replies []json.RawMessage }
			if err := json.Unmarshal([]byte(doc), &d); err != nil {
				t.Fatal(err)
			}
			for k, want := range tt.want {
				if got := part(t, string(d.Replies[0]), k); got != want {
					t.Errorf("%s is %q, want %q", k, got, want)
				}
			}
		})
	}
}

// nodeSays makes a reply to a query for names of this payload.
func nodeSays(payload string) func(*probe.Outcome) {
	return func(o *probe.Outcome) {
		v6(o)
		o.Spec.Proto, o.Spec.Query.Type, o.Answer, o.Type, o.Payload = probe.NodeInfo, nodeName, probe.NodeReply, 140, []byte(payload)
	}
}

func TestPingEndings(t *testing.T) {
	tests := []struct {
		end  probe.Finished
		want map[string]string
	}{
		{probe.Finished{At: after(1), Complete: true, Verdict: probe.Silent}, map[string]string{"outcome": `"silent"`, "complete": "true", "error": "", "replies": "[]"}},
		{probe.Finished{At: after(1), Verdict: probe.Interrupted}, map[string]string{"outcome": `"interrupted"`, "complete": "false"}},
		{probe.Finished{At: after(1), Complete: true, Verdict: probe.Blocked}, map[string]string{"outcome": `"unreachable"`}},
		{probe.Finished{At: after(1), Verdict: probe.Errored, Err: errors.New("recv: network is down")}, map[string]string{"outcome": `"error"`, "error": `"recv: network is down"`}},
	}
	for _, tt := range tests {
		doc := run(t, NewPing, "json", Options{Version: "1"}, started(echoMethod), tt.end)
		pingSchemaFile.accepts(t, doc)
		for k, want := range tt.want {
			if got := part(t, doc, k); got != want {
				t.Errorf("%s: %s is %s, want %s", tt.end.Verdict, k, got, want)
			}
		}
	}
}

func TestPingEvents(t *testing.T) {
	events := append(series(nth(1, 1), nth(1, 2, duplicate), nth(2, 0, lost), nth(2, 3, late)), probe.Checked{}, answered)
	const at = `"sent_at":"2026-03-01T12:00:00.001000500Z"`
	const from = `"result":"reply","from":"192.0.2.9",`
	const rest = `"clock":"kernel","match":"strict","reply_ttl":63,"bytes":64,`
	want := []string{
		`{"event":"started","target":"example.org","destination":"192.0.2.9","source":"198.51.100.2","family":4,` +
			`"method":{"protocol":"icmp","identifier":7,"size_bytes":84,"interval_ms":1000,"socket":"raw"},"started_at":"2026-03-01T12:00:00.000000500Z"}`,
		`{"event":"sent","serial":1,"seq":1,` + at + `,"packet":"4500be"}`,
		`{"event":"sent","serial":2,"seq":2,` + at + `,"packet":"4500be"}`,
		`{"event":"probed","serial":1,"seq":1,` + at + `,` + from + `"rtt_ms":1,` + rest + `"late":false,"corrupted":false,"icmp":{"type":0,"code":0}}`,
		`{"event":"probed","serial":1,"duplicate":true,"seq":1,` + at + `,` + from + `"rtt_ms":2,` + rest + `"late":false,"corrupted":false,"icmp":{"type":0,"code":0}}`,
		`{"event":"probed","serial":2,"seq":2,` + at + `,"result":"timeout","late":false}`,
		`{"event":"probed","serial":2,"seq":2,` + at + `,` + from + `"rtt_ms":3,` + rest + `"late":true,"corrupted":false,"icmp":{"type":0,"code":0}}`,
		strings.TrimSuffix(run(t, NewPing, "json", Options{Version: "1"}, events...), "\n"),
	}
	got := lines(run(t, NewPing, "events", Options{Version: "1"}, events...))
	for _, l := range got {
		pingEventsFile.accepts(t, l)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPingErrorOfTheFlow: an error that quotes too little to say whose it is counts as one and stands for no answer.
func TestPingErrorOfTheFlow(t *testing.T) {
	blocked := func(o *probe.Outcome) {
		flowOnly(o)
		o.Answer, o.Type, o.Code = probe.Unreachable, 3, 1
	}
	events := udpSeries(2)
	for i, e := range events {
		if p, ok := e.(*probe.Probed); ok && p.Outcome.Serial == 0 {
			blocked(&p.Outcome)
			events[i] = p
		}
	}
	events[len(events)-1] = probe.Finished{At: after(1), Complete: true, Verdict: probe.Blocked}
	doc := run(t, NewPing, "json", Options{Version: "1"}, events...)
	pingSchemaFile.accepts(t, doc)
	if got, want := part(t, doc, "summary"), `{"sent":2,"received":0,"duplicates":0,"corrupted":0,"reordered":0,"errors":2,"loss_percent":100,"loss_interval_percent":[34.237195,100]}`; got != want {
		t.Errorf("summary %s, want %s", got, want)
	}
	for _, l := range lines(run(t, NewPing, "events", Options{Version: "1"}, events...)) {
		pingEventsFile.accepts(t, l)
		if want := `{"event":"probed","result":"error","from":"192.0.2.9","match":"flow-only","reply_ttl":63,"late":false,` +
			`"icmp":{"type":3,"code":1},"annotation":"!H"}`; strings.Contains(l, "flow-only") && l != want {
			t.Errorf("event %s, want %s", l, want)
		}
	}
	const line = "From 192.0.2.9 Destination Host Unreachable, which probe is not known\n"
	if got, want := text(t, Options{Numeric: true, Rounds: true}, events[0].(probe.Started), events[1:]...), line+line+
		"\n--- example.org ping statistics ---\n2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 0ms\n\n"; got != want {
		t.Errorf("text\n%s\nwant\n%s", got, want)
	}
}
