package report

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

func TestTraceDocument(t *testing.T) {
	last := hopAnswer(number(4, 2, 1), takes(time.Millisecond), func(o *probe.Outcome) {
		o.From, o.Answer, o.Type, o.Code = dest, probe.PortUnreachable, 3, 3
	})
	second := hopAnswer(number(2, 1, 2), takes(20*time.Microsecond), late)
	got := run(t, NewTrace, "json", Options{Version: "1.2.3"},
		started(udpMethod),
		sent(hopAnswer()), sent(second), sent(hopAnswer(number(3, 1, 3))), sent(last), sent(hopAnswer(number(5, 3, 1))), sent(hopAnswer(number(6, 4, 1))),
		&probe.Probed{Outcome: hopAnswer(number(2, 1, 2), lost)}, // out of order, and answered below
		&probe.Probed{Outcome: hopAnswer()},
		&probe.Probed{Outcome: hopAnswer(number(3, 1, 3), refused)},
		&probe.Probed{Outcome: last},
		&probe.Probed{Outcome: hopAnswer(duplicate)},
		&probe.Probed{Outcome: hopAnswer(number(5, 3, 1), lost)}, // beyond the destination
		&probe.Probed{Outcome: second},
		probe.Hop{TTL: 1}, probe.Hop{TTL: 2},
		probe.Finding{Code: "icmp-rate-limited", TTL: 1, Confidence: "high", Text: "1 a second"},
		probe.Finding{Code: "dscp-changed", Between: [2]uint8{1, 2}, Confidence: "low", Text: "46 became 0", Evidence: []probe.Evidence{
			{TTL: 1, From: netip.MustParseAddr("198.51.100.1"), Answers: 3, Type: 11, ICMP: true, Reply: 64, Quotes: true},
			{TTL: 2, From: netip.MustParseAddr("2001:db8::1"), Answers: 1}}},
		probe.Checked{ReceiveDrops: 1, SendErrors: 2, Late: 3, Duplicates: 4, Unmatched: 5, Malformed: 6, ClockSteps: 7,
			Rejected: probe.Rejections{probe.TokenWrong: 4, probe.IDNotInUse: 1, probe.ChecksumWrong: 6}},
		reached(2))
	want := strings.Join([]string{
		`{"schema":"gtrace/trace/v1","version":"1.2.3","target":"example.org","destination":"192.0.2.9","source":"198.51.100.2","family":4,`,
		`"method":{"protocol":"udp","flow":"paris","destination_port":33434,"source_port":40001,"size_bytes":60,"socket":"raw"},`,
		`"started_at":"2026-03-01T12:00:00.000000500Z","duration_ms":83.1,"complete":true,"outcome":"reached",`,
		`"hops":[{"ttl":1,"probes":[`,
		`{"attempt":1,"flow":0,"sent_at":"2026-03-01T12:00:00.001000500Z","result":"reply","from":"198.51.100.1","rtt_ms":0.412871,"clock":"kernel","match":"strict",`,
		`"duplicates":1,"icmp":{"type":11,"code":0},"reply_ttl":64,"reply_tos":0,"quoted_ttl":1},`,
		`{"attempt":2,"flow":0,"sent_at":"2026-03-01T12:00:00.001000500Z","result":"reply","from":"198.51.100.1","rtt_ms":0.02,"clock":"kernel","match":"strict",`,
		`"late":true,"icmp":{"type":11,"code":0},"reply_ttl":64,"reply_tos":0,"quoted_ttl":1},`,
		`{"attempt":3,"flow":0,"result":"error","error":"EMSGSIZE"}],`,
		`"summary":{"sent":2,"received":2,"min_ms":0.02,"avg_ms":0.216436,"max_ms":0.412871,"stddev_ms":0.277802,"p50_ms":0.02,"p90_ms":0.412871}},`,
		`{"ttl":2,"probes":[`,
		`{"attempt":1,"flow":0,"sent_at":"2026-03-01T12:00:00.001000500Z","result":"reply","from":"192.0.2.9","rtt_ms":1,"clock":"kernel","match":"strict",`,
		`"icmp":{"type":3,"code":3},"reply_ttl":64,"reply_tos":0,"quoted_ttl":1}]}],`,
		`"findings":[{"code":"icmp-rate-limited","ttl":1,"confidence":"high","text":"1 a second"},`,
		`{"code":"dscp-changed","between":[1,2],"confidence":"low","text":"46 became 0","evidence":[`,
		`{"ttl":1,"from":"198.51.100.1","answers":3,"icmp":{"type":11,"code":0},"reply_ttl":64,"quoted_ttl":0},{"ttl":2,"from":"2001:db8::1","answers":1}]}],`,
		`"self_check":{"receive_drops":1,"send_errors":2,"late":3,"duplicates":4,"unmatched":5,"malformed":6,"clock_steps":7,"advisories":0,"rejected":{"checksum":6,"id":1,"token":4}},`,
		`"summary":{"hop_count":2,"probes_sent":6,"replies":3,"in_flight":1}}`,
	}, "") + "\n"
	if got != want {
		t.Errorf("document\n%s\nwant\n%s", got, want)
	}
	traceSchemaFile.accepts(t, got)
}

// TestTraceProbe is about what one outcome becomes. Each row is what differs from hopAnswer's.
func TestTraceProbe(t *testing.T) {
	const good = `"attempt":1,"flow":0,"sent_at":"2026-03-01T12:00:00.001000500Z","result":"reply","from":"198.51.100.1",` +
		`"rtt_ms":0.412871,"clock":"kernel","match":"strict","icmp":{"type":11,"code":0},"reply_ttl":64,"reply_tos":0,"quoted_ttl":1`
	type edit = map[string]string // a key's value; "" takes the key away
	tests := []struct {
		name string
		o    probe.Outcome
		edit edit
	}{
		{"a hop's answer", hopAnswer(), nil},
		{"timeout", hopAnswer(lost), edit{"result": `"timeout"`, "from": "", "rtt_ms": "", "clock": "", "match": "", "icmp": "", "reply_ttl": "", "reply_tos": "", "quoted_ttl": ""}},
		{"not sent", hopAnswer(refused), edit{"result": `"error"`, "error": `"EMSGSIZE"`, "sent_at": "", "from": "", "rtt_ms": "", "clock": "", "match": "", "icmp": "", "reply_ttl": "", "reply_tos": "", "quoted_ttl": ""}},
		{"not sent, without a name", hopAnswer(refused, func(o *probe.Outcome) { o.Errno, o.Err = "", errors.New("no\x1bbuffer") }),
			edit{"result": `"error"`, "error": `"no\u001bbuffer"`, "sent_at": "", "from": "", "rtt_ms": "", "clock": "", "match": "", "icmp": "", "reply_ttl": "", "reply_tos": "", "quoted_ttl": ""}},
		{"refused by this host's own ICMP", hopAnswer(unreachable(3, 1), func(o *probe.Outcome) { o.Status, o.Errno, o.From = probe.Failed, "EHOSTUNREACH", local }),
			edit{"result": `"error"`, "error": `"EHOSTUNREACH"`, "from": `"198.51.100.2"`, "rtt_ms": "", "clock": "", "match": "", "icmp": `{"type":3,"code":1}`}},
		{"a tenth of a microsecond", hopAnswer(takes(100)), edit{"rtt_ms": "0.0001"}},
		{"a clock gone back", hopAnswer(takes(-1)), edit{"rtt_ms": "", "clock": ""}},
		{"the arrival alone by the kernel", hopAnswer(func(o *probe.Outcome) { o.Clock = probe.KernelRxClock }), edit{"clock": `"kernel-rx"`}},
		{"by user-space times", hopAnswer(func(o *probe.Outcome) { o.Clock = probe.UserClock }), edit{"clock": `"user"`}},
		{"late", hopAnswer(late), edit{"late": "true"}},
		{"another flow", hopAnswer(func(o *probe.Outcome) { o.Spec.Flow = 4 }), edit{"flow": "4"}},
		{"no quote", hopAnswer(func(o *probe.Outcome) { o.Quoted = probe.Quoted{} }), edit{"quoted_ttl": ""}},
		{"a quoted TTL of 0", hopAnswer(func(o *probe.Outcome) { o.Quoted.TTL = 0 }), edit{"quoted_ttl": "0"}},
		{"a TTL the platform does not tell", hopAnswer(func(o *probe.Outcome) { o.TTL = 0 }), edit{"reply_ttl": "", "reply_tos": ""}},
		{"host unreachable", hopAnswer(unreachable(3, 1)), edit{"icmp": `{"type":3,"code":1}`, "annotation": `"!H"`}},
		{"too big", hopAnswer(func(o *probe.Outcome) { o.Answer, o.Type, o.Code, o.MTU = probe.TooBig, 3, 4, 1400 }),
			edit{"icmp": `{"type":3,"code":4}`, "annotation": `"!F-1400"`, "mtu": "1400"}},
		{"too big by an old router", hopAnswer(func(o *probe.Outcome) { o.Answer, o.Type, o.Code = probe.TooBig, 3, 4 }),
			edit{"icmp": `{"type":3,"code":4}`, "annotation": `"!F"`}},
		{"MPLS", hopAnswer(func(o *probe.Outcome) {
			o.Labels = []probe.Label{{Value: 24001, TTL: 1}, {Value: 3, TC: 7, Bottom: true, TTL: 255}}
		}),
			edit{"mpls": `[{"label":24001,"tc":0,"bottom":false,"ttl":1},{"label":3,"tc":7,"bottom":true,"ttl":255}]`}},
		{"objects", hopAnswer(stacks([]probe.Label{{Value: 3, Bottom: true}}, probe.Object{Class: 2, Type: 0x0a, Data: []byte{0, 0, 0, 9}}, probe.Object{Class: 1, Type: 1}, probe.Object{Class: 9})),
			edit{"mpls": `[{"label":3,"tc":0,"bottom":true,"ttl":0}]`, "objects": `[{"class":2,"type":10,"data":"00000009"},{"class":1,"type":1},{"class":9,"type":0}]`}},
		{"interfaces", hopAnswer(func(o *probe.Outcome) {
			n, mtu := uint32(0), uint32(9000)
			for _, f := range []probe.Interface{{Role: 0, Index: &n, Addr: local, Name: "Gi0/1", MTU: &mtu}, {Role: 2, Name: "a\x1b[2J\u202e\\\""}, {Role: 3, Partial: true}} {
				o.Objects = append(o.Objects, probe.Object{Class: 2, Type: f.Role << 6, Interface: &f})
			}
		}), edit{"objects": `[{"class":2,"type":0},{"class":2,"type":128},{"class":2,"type":192}]`, "interfaces": `[{"role":"incoming","index":0,"address":"198.51.100.2","name":"Gi0/1","mtu":9000},` +
			`{"role":"outgoing","name":"a\\027[2J\\226\\128\\174\\092\""},{"role":"next-hop","partial":true}]`}},
		{"a type of service", hopAnswer(func(o *probe.Outcome) { o.TOS = 0xc0 }), edit{"reply_tos": "192"}},
		{"a bad byte", hopAnswer(func(o *probe.Outcome) { o.Answer, o.Type, o.Code, o.Pointer = probe.ParameterProblem, 12, 0, 20 }),
			edit{"icmp": `{"type":12,"code":0}`, "annotation": `"!<12-0>"`, "pointer": "20"}},
		{"a bad first byte", hopAnswer(func(o *probe.Outcome) { o.Answer, o.Type, o.Code = probe.ParameterProblem, 12, 2 }),
			edit{"icmp": `{"type":12,"code":2}`, "annotation": `"!<12-2>"`, "pointer": "0"}},
		{"a missing option", hopAnswer(func(o *probe.Outcome) { o.Answer, o.Type, o.Code = probe.ParameterProblem, 12, 1 }),
			edit{"icmp": `{"type":12,"code":1}`, "annotation": `"!<12-1>"`}},
		{"an unknown option of IPv6", hopAnswer(v6, func(o *probe.Outcome) {
			o.Answer, o.Type, o.Code, o.Pointer = probe.ParameterProblem, 4, 2, 1<<32-1
		}), edit{"from": `"2001:db8::1"`, "icmp": `{"type":4,"code":2}`, "annotation": `"!<4-2>"`, "pointer": "4294967295"}},
		{"DCCP", hopAnswer(func(o *probe.Outcome) {
			o.Spec.Proto, o.Answer, o.From, o.Type, o.Quoted, o.Bytes = probe.DCCP, probe.RawReply, dest, 0, probe.Quoted{}, 28
		}), edit{"from": `"192.0.2.9"`, "icmp": "", "ip": `{"protocol":33,"bytes":28}`, "quoted_ttl": ""}},
		{"a raw protocol, and nothing in it", hopAnswer(func(o *probe.Outcome) {
			o.Spec.Proto, o.Spec.Number, o.Answer, o.From, o.Quoted, o.Bytes = probe.Raw, 253, probe.RawReply, dest, probe.Quoted{}, 0
		}), edit{"from": `"192.0.2.9"`, "icmp": "", "ip": `{"protocol":253}`, "quoted_ttl": ""}},
		{"another segment", hopAnswer(func(o *probe.Outcome) {
			o.Answer, o.Flags, o.From, o.Type, o.Quoted = probe.SegmentReply, 0x11, dest, 0, probe.Quoted{}
		}), edit{"from": `"192.0.2.9"`, "icmp": "", "tcp": `{"flags":"FA"}`, "quoted_ttl": ""}},
		{"an open port", hopAnswer(func(o *probe.Outcome) {
			o.Answer, o.Flags, o.From, o.Type, o.Quoted = probe.SynAck, 0x12, dest, 0, probe.Quoted{}
		}), edit{"from": `"192.0.2.9"`, "icmp": "", "tcp": `{"flags":"SA"}`, "quoted_ttl": ""}},
		{"a closed port", hopAnswer(func(o *probe.Outcome) {
			o.Answer, o.Flags, o.From, o.Type, o.Quoted = probe.Reset, 0x14, dest, 0, probe.Quoted{}
		}), edit{"from": `"192.0.2.9"`, "icmp": "", "tcp": `{"flags":"RA"}`, "quoted_ttl": ""}},
		{"a reset alone", hopAnswer(func(o *probe.Outcome) {
			o.Answer, o.Flags, o.From, o.Type, o.Quoted = probe.Reset, 0x04, dest, 0, probe.Quoted{}
		}), edit{"from": `"192.0.2.9"`, "icmp": "", "tcp": `{"flags":"R"}`, "quoted_ttl": ""}},
		{"a UDP service", hopAnswer(flowOnly, func(o *probe.Outcome) { o.Match, o.Sent, o.Serial = probe.Strict, after(1), 1 }),
			edit{"from": `"192.0.2.9"`, "icmp": "", "udp": `{"bytes":20}`, "quoted_ttl": ""}},
		{"a UDP service that knows the flow only", hopAnswer(flowOnly, func(o *probe.Outcome) { o.Serial = 1 }),
			edit{"from": `"192.0.2.9"`, "icmp": "", "udp": `{"bytes":20}`, "quoted_ttl": "", "match": `"flow-only"`, "rtt_ms": "", "clock": "", "sent_at": ""}},
		{"DSCP cleared", hopAnswer(func(o *probe.Outcome) { o.Spec.TOS, o.Quoted.TOS = 46<<2, 0 }),
			edit{"changes": `[{"field":"ip.dscp","sent":46,"seen":0}]`}},
		{"congestion marked", hopAnswer(func(o *probe.Outcome) { o.Spec.TOS, o.Quoted.TOS = 46<<2|1, 46<<2|3 }),
			edit{"changes": `[{"field":"ip.ecn","sent":1,"seen":3}]`}},
		{"both", hopAnswer(func(o *probe.Outcome) { o.Spec.TOS, o.Quoted.TOS = 0xff, 0 }),
			edit{"changes": `[{"field":"ip.dscp","sent":63,"seen":0},{"field":"ip.ecn","sent":3,"seen":0}]`}},
		{"TOS kept", hopAnswer(func(o *probe.Outcome) { o.Spec.TOS, o.Quoted.TOS = 0xb8, 0xb8 }), nil},
		{"TOS, without a quote", hopAnswer(func(o *probe.Outcome) { o.Spec.TOS, o.Quoted = 0xb8, probe.Quoted{} }), edit{"quoted_ttl": ""}},
		{"NAT", hopAnswer(func(o *probe.Outcome) {
			o.Match, o.Quoted.Src = probe.NATRewritten, netip.MustParseAddrPort("203.0.113.7:1024")
		}), edit{"match": `"nat-rewritten"`, "changes": `[{"field":"ip.source","sent":"198.51.100.2","seen":"203.0.113.7"},{"field":"udp.source_port","sent":40001,"seen":1024}]`}},
		{"NAT of an identifier", hopAnswer(func(o *probe.Outcome) {
			o.Spec.Proto, o.Match, o.Quoted.Src = probe.ICMP, probe.NATRewritten, netip.AddrPortFrom(local, 9)
		}), edit{"match": `"nat-rewritten"`, "changes": `[{"field":"icmp.identifier","sent":40001,"seen":9}]`}},
		{"NAT of UDP-Lite", hopAnswer(func(o *probe.Outcome) {
			o.Spec.Proto, o.Match, o.Quoted.Src = probe.UDPLite, probe.NATRewritten, netip.AddrPortFrom(local, 9)
		}), edit{"match": `"nat-rewritten"`, "changes": `[{"field":"udplite.source_port","sent":40001,"seen":9}]`}},
		{"NAT of what has no ports", hopAnswer(func(o *probe.Outcome) {
			o.Spec.Proto, o.Match, o.Quoted.Src = probe.Raw, probe.NATRewritten, netip.MustParseAddrPort("203.0.113.7:1024")
		}), edit{"match": `"nat-rewritten"`, "changes": `[{"field":"ip.source","sent":"198.51.100.2","seen":"203.0.113.7"}]`}},
		{"a swapped identification", hopAnswer(func(o *probe.Outcome) { o.Match = probe.IDRewritten }), edit{"match": `"id-rewritten"`}},
		{"IPv6", hopAnswer(v6, func(o *probe.Outcome) { o.Type = 3 }), edit{"from": `"2001:db8::1"`, "icmp": `{"type":3,"code":0}`}},
		{"a zone", hopAnswer(v6, func(o *probe.Outcome) {
			o.Type, o.From = 3, netip.MustParseAddr("fe80::1%eth0")
			o.Spec.Src = netip.MustParseAddrPort("[fe80::2%eth0]:40001")
			o.Quoted.Src = netip.MustParseAddrPort("[fe80::2]:40001")
		}), edit{"from": `"fe80::1%eth0"`, "icmp": `{"type":3,"code":0}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := run(t, NewTrace, "json", Options{Version: "1"}, started(udpMethod), sent(tt.o), &probe.Probed{Outcome: tt.o}, reached(1))
			traceSchemaFile.accepts(t, doc)
			var d struct {
				Hops []struct{ Probes []map[string]json.RawMessage }
			}
			if err := json.Unmarshal([]byte(doc), &d); err != nil {
				t.Fatal(err)
			}
			want := make(map[string]json.RawMessage)
			if err := json.Unmarshal([]byte("{"+good+"}"), &want); err != nil {
				t.Fatal(err)
			}
			for k, v := range tt.edit {
				if v == "" {
					delete(want, k)
				} else {
					want[k] = json.RawMessage(v)
				}
			}
			if got := d.Hops[0].Probes[0]; !reflect.DeepEqual(got, want) {
				t.Errorf("got  %s\nwant %s", asJSON(t, got), asJSON(t, want))
			}
			for _, l := range lines(run(t, NewTrace, "events", Options{}, started(udpMethod), &probe.Probed{Outcome: tt.o})) {
				traceEventsFile.accepts(t, l)
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }

// part is what stands at a path of keys in a JSON document, as it stands there; "" where nothing does.
func part(t *testing.T, doc string, path ...string) string {
	t.Helper()
	raw := json.RawMessage(doc)
	for _, k := range path {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%v of %s: %v", path, doc, err)
		}
		raw = m[k]
	}
	return string(raw)
}

func TestTraceMethod(t *testing.T) {
	tests := []struct {
		name string
		m    probe.Method
		want string
	}{
		{"UDP, classic", probe.Method{Proto: probe.UDP, Classic: true, DstPort: 33434, Size: 60, Socket: "raw"},
			`{"protocol":"udp","flow":"classic","destination_port":33434,"size_bytes":60,"socket":"raw"}`},
		{"ICMP", probe.Method{Proto: probe.ICMP, SrcPort: 7, DstPort: 0xbeef, Size: 60, Socket: "unprivileged"},
			`{"protocol":"icmp","flow":"paris","identifier":7,"size_bytes":60,"socket":"unprivileged"}`},
		{"TCP", probe.Method{Proto: probe.TCP, SrcPort: 40000, DstPort: 443, Size: 60, Socket: "raw"},
			`{"protocol":"tcp","flow":"paris","destination_port":443,"source_port":40000,"size_bytes":60,"socket":"raw"}`},
		{"a flow label", probe.Method{Proto: probe.UDP, Label: new(uint32(0xabcde))}, `{"protocol":"udp","flow":"paris","flow_label":703710}`},
		{"no flow label is one too", probe.Method{Proto: probe.UDP, Label: new(uint32)}, `{"protocol":"udp","flow":"paris","flow_label":0}`},
		{"TCP with SYN in words", probe.Method{Proto: probe.TCP, Flags: 2}, `{"protocol":"tcp","flow":"paris"}`},
		{"TCP without SYN", probe.Method{Proto: probe.TCP, Flags: 0x10, DstPort: 80}, `{"protocol":"tcp","flow":"paris","destination_port":80,"tcp_flags":"A"}`},
		{"UDP-Lite", probe.Method{Proto: probe.UDPLite, DstPort: 53}, `{"protocol":"udplite","flow":"paris","destination_port":53}`},
		{"DCCP", probe.Method{Proto: probe.DCCP, DstPort: 33434}, `{"protocol":"dccp","flow":"paris","destination_port":33434}`},
		{"raw", probe.Method{Proto: probe.Raw, Number: 253, Size: 60}, `{"protocol":"raw","protocol_number":253,"flow":"paris","size_bytes":60}`},
		{"raw protocol 0, and ports that are none", probe.Method{Proto: probe.Raw, SrcPort: 1, DstPort: 1}, `{"protocol":"raw","protocol_number":0,"flow":"paris"}`},
		{"by gateways", probe.Method{Proto: probe.UDP, Route: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}},
			`{"protocol":"udp","flow":"paris","source_route":["10.0.0.1","10.0.0.2"]}`},
		{"hardly anything known", probe.Method{Proto: probe.ICMP}, `{"protocol":"icmp","flow":"paris"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := run(t, NewTrace, "json", Options{Version: "1"}, started(tt.m), reached(1))
			traceSchemaFile.accepts(t, doc)
			if got := part(t, doc, "method"); got != tt.want {
				t.Errorf("method %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTraceEndings(t *testing.T) {
	answer := []probe.Event{sent(hopAnswer()), &probe.Probed{Outcome: hopAnswer()}}
	waits := sent(hopAnswer(number(2, 2, 1)))
	tests := []struct {
		name   string
		events []probe.Event
		end    probe.Finished
		want   map[string]string // "" where the key must not be
	}{
		{"interrupted with a probe on its way", append(answer, waits),
			probe.Finished{At: after(5), Verdict: probe.Interrupted, LastTTL: 2},
			map[string]string{"complete": "false", "outcome": `"interrupted"`, "summary": `{"probes_sent":2,"replies":1,"in_flight":1}`, "error": "", "self_check": ""}},
		{"interrupted before anything", nil, probe.Finished{At: epoch, Verdict: probe.Interrupted},
			map[string]string{"hops": "[]", "findings": "[]", "duration_ms": "0", "summary": `{"probes_sent":0,"replies":0}`}},
		{"error", nil, probe.Finished{At: after(1), Verdict: probe.Errored, Err: errors.New("recv: network is down")},
			map[string]string{"outcome": `"error"`, "error": `"recv: network is down"`, "complete": "false"}},
		{"blocked", answer, probe.Finished{At: after(1), Complete: true, Verdict: probe.Blocked, LastTTL: 1},
			map[string]string{"outcome": `"unreachable"`, "summary": `{"probes_sent":1,"replies":1}`}},
		{"max hops", answer, probe.Finished{At: after(1), Complete: true, Verdict: probe.MaxHops, LastTTL: 1}, map[string]string{"outcome": `"max-hops"`}},
		{"gap limit", answer, probe.Finished{At: after(1), Complete: true, Verdict: probe.GapLimit, LastTTL: 1}, map[string]string{"outcome": `"gap-limit"`}},
		{"reached", answer, reached(1), map[string]string{"summary": `{"hop_count":1,"probes_sent":1,"replies":1}`}},
		{"reached from an unknown distance",
			append(answer, probe.Finding{Code: "path-length-unknown", TTL: 1, Confidence: "high", Text: "it may be shorter"}), probe.Finished{At: after(1), Complete: true, Verdict: probe.Reached, Vague: true, LastTTL: 1},
			map[string]string{"outcome": `"reached"`, "summary": `{"probes_sent":1,"replies":1}`}},
		{"path MTU", append([]probe.Event{probe.PathMTU{Bytes: 1500}, probe.PathMTU{TTL: 1, Bytes: 1400, From: hopAnswer().From}}, answer...), reached(1),
			map[string]string{"narrowings": `[{"path_mtu_bytes":1500},{"ttl":1,"from":"198.51.100.1","path_mtu_bytes":1400}]`, "summary": `{"hop_count":1,"path_mtu_bytes":1400,"probes_sent":1,"replies":1}`}},
		{"without a time", answer, probe.Finished{Complete: true, Verdict: probe.Reached, LastTTL: 1}, map[string]string{"duration_ms": ""}},
		{"an answer to the flow alone", []probe.Event{sent(hopAnswer()), &probe.Probed{Outcome: hopAnswer(flowOnly)}}, reached(1),
			map[string]string{"hops": `[{"ttl":1,"probes":[]}]`, "summary": `{"hop_count":1,"probes_sent":1,"replies":0,"in_flight":1}`}},
		{"the same asked twice", []probe.Event{sent(hopAnswer()), &probe.Probed{Outcome: hopAnswer(lost)}, sent(hopAnswer(number(2, 1, 1))), &probe.Probed{Outcome: hopAnswer(number(2, 1, 1))}},
			reached(1), map[string]string{"summary": `{"hop_count":1,"probes_sent":2,"replies":1}`}},
		{"sent, then refused late by this host", []probe.Event{sent(hopAnswer()), &probe.Probed{Outcome: hopAnswer(lost)}, &probe.Probed{Outcome: hopAnswer(refused, late)}},
			reached(1), map[string]string{"summary": `{"hop_count":1,"probes_sent":1,"replies":0}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := append([]probe.Event{started(udpMethod)}, tt.events...)
			doc := run(t, NewTrace, "json", Options{Version: "1"}, append(events, tt.end)...)
			traceSchemaFile.accepts(t, doc)
			for k, want := range tt.want {
				if got := part(t, doc, k); got != want {
					t.Errorf("%s is %s, want %s", k, got, want)
				}
			}
		})
	}
}

func TestTraceIPv6(t *testing.T) {
	s := started(udpMethod)
	s.Dst, s.Src = netip.MustParseAddr("fe80::0:9%eth0"), netip.MustParseAddr("fe80:0::2%eth0")
	doc := run(t, NewTrace, "json", Options{Version: "1"}, s, reached(1))
	traceSchemaFile.accepts(t, doc)
	for k, want := range map[string]string{"family": "6", "destination": `"fe80::9%eth0"`, "source": `"fe80::2%eth0"`} {
		if got := part(t, doc, k); got != want {
			t.Errorf("%s is %s, want %s", k, got, want)
		}
	}
}

func TestTraceEvents(t *testing.T) {
	second := hopAnswer(number(2, 1, 2))
	events := []probe.Event{
		started(udpMethod), sent(hopAnswer()), sent(second),
		&probe.Probed{Outcome: hopAnswer()},
		&probe.Probed{Outcome: hopAnswer(duplicate)},
		&probe.Probed{Outcome: hopAnswer(number(2, 1, 2), lost)},
		&probe.Probed{Outcome: hopAnswer(flowOnly)},
		probe.Hop{TTL: 1, Outcomes: []probe.Outcome{hopAnswer(), hopAnswer(number(2, 1, 2), lost)}},
		&probe.Probed{Outcome: hopAnswer(number(2, 1, 2), late)},
		probe.Finding{Code: "x-y", TTL: 1, Confidence: "medium", Text: "so it is"},
		probe.Advised{Outcome: hopAnswer(func(o *probe.Outcome) {
			o.Answer, o.Type, o.Code, o.Gateway = probe.NoAnswer, 5, 1, netip.MustParseAddr("198.51.100.3")
		})},
		probe.Advised{Outcome: hopAnswer(func(o *probe.Outcome) { o.Answer, o.Type, o.Serial = probe.NoAnswer, 4, 0 })},
		probe.PathMTU{Bytes: 1500}, probe.PathMTU{TTL: 2, Bytes: 1400},
		probe.Waiting{}, probe.Interim{}, // ping's
		probe.Checked{}, reached(1),
	}
	const at = `"sent_at":"2026-03-01T12:00:00.001000500Z"`
	const reply = `"result":"reply","from":"198.51.100.1","rtt_ms":0.412871,"clock":"kernel","match":"strict",`
	const rest = `"icmp":{"type":11,"code":0},"reply_ttl":64,"reply_tos":0,"quoted_ttl":1}`
	got := lines(run(t, NewTrace, "events", Options{Version: "1"}, events...))
	want := []string{
		`{"event":"started","target":"example.org","destination":"192.0.2.9","source":"198.51.100.2","family":4,` +
			`"method":{"protocol":"udp","flow":"paris","destination_port":33434,"source_port":40001,"size_bytes":60,"socket":"raw"},` +
			`"started_at":"2026-03-01T12:00:00.000000500Z"}`,
		`{"event":"sent","serial":1,"ttl":1,"attempt":1,"flow":0,` + at + `,"packet":"4500be"}`,
		`{"event":"sent","serial":2,"ttl":1,"attempt":2,"flow":0,` + at + `,"packet":"4500be"}`,
		`{"event":"probed","serial":1,"ttl":1,"attempt":1,"flow":0,` + at + `,` + reply + rest,
		`{"event":"probed","serial":1,"ttl":1,"duplicate":true,"attempt":1,"flow":0,` + at + `,` + reply + rest,
		`{"event":"probed","serial":2,"ttl":1,"attempt":2,"flow":0,` + at + `,"result":"timeout"}`,
		`{"event":"probed","flow":0,"result":"reply","from":"192.0.2.9","match":"flow-only","udp":{"bytes":20},"reply_ttl":64,"reply_tos":0}`,
		`{"event":"hop","ttl":1,"serials":[1,2]}`,
		`{"event":"probed","serial":2,"ttl":1,"attempt":2,"flow":0,` + at + `,` + reply + `"late":true,` + rest,
		`{"event":"finding","code":"x-y","ttl":1,"confidence":"medium","text":"so it is"}`,
		`{"event":"advised","serial":1,"ttl":1,"attempt":1,"flow":0,"from":"198.51.100.1","received_at":"2026-03-01T12:00:00.001413371Z","icmp":{"type":5,"code":1},"gateway":"198.51.100.3"}`,
		`{"event":"advised","flow":0,"from":"198.51.100.1","received_at":"2026-03-01T12:00:00.001413371Z","icmp":{"type":4,"code":0}}`,
		`{"event":"path-mtu","path_mtu_bytes":1500}`,
		`{"event":"path-mtu","ttl":2,"path_mtu_bytes":1400}`,
		strings.TrimSuffix(run(t, NewTrace, "json", Options{Version: "1"}, events...), "\n"),
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		traceEventsFile.accepts(t, got[i])
		if got[i] != want[i] {
			t.Errorf("line %d\n%s\nwant\n%s", i+1, got[i], want[i])
		}
	}
}
