package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

var multipathMethod = probe.Method{Proto: probe.UDP, SrcPort: 40001, DstPort: 33434, Size: 60, Socket: "raw",
	Multipath: true, Confidence: 95, Nodes: 16, FirstTTL: 1, MaxTTL: 30, Attempts: 3}

// ways makes a hop of a multipath trace: a node for each flow, by address, "" for none.
type ways struct{ serial uint64 }

func (w *ways) hop(ttl uint8, change func(o *probe.Outcome), nodes ...string) probe.Hop {
	h := probe.Hop{TTL: ttl}
	for flow, node := range nodes {
		w.serial++
		o := hopAnswer(number(w.serial, ttl, uint32(flow+1)), func(o *probe.Outcome) { o.Spec.Flow = uint16(flow) })
		if node == "" {
			lost(&o)
		} else {
			o.From = netip.MustParseAddr(node)
			if change != nil {
				change(&o)
			}
		}
		h.Outcomes = append(h.Outcomes, o)
	}
	return h
}

// arrived makes an answer the destination's.
func arrived(o *probe.Outcome) { o.Answer, o.Type, o.Code = probe.PortUnreachable, 3, 3 }

func linkOf(ttl uint8, from, to string, flows ...int) probe.Link {
	return probe.Link{TTL: ttl, From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Flows: flows}
}

// multipathRun is a diamond: one router, two and a silent one, and the destination.
var multipathRun = func() []probe.Event {
	const a, b, c = "10.0.1.1", "10.0.2.1", "10.0.2.2"
	d := dest.String()
	var w ways
	hops := []probe.Hop{w.hop(1, nil, a, a, a, a, a, a), w.hop(2, nil, b, c, b, c, b, ""), w.hop(3, arrived, d, d, d, d, d, d)}
	events := []probe.Event{started(multipathMethod)}
	for _, h := range hops {
		for _, o := range h.Outcomes {
			events = append(events, sent(o), &probe.Probed{Outcome: o})
		}
	}
	for _, h := range hops {
		events = append(events, h)
	}
	return append(events,
		probe.Links{Links: []probe.Link{linkOf(1, a, b, 0, 2, 4), linkOf(1, a, c, 1, 3), linkOf(2, b, d, 0, 2, 4), linkOf(2, c, d, 1, 3)}},
		probe.Finding{Code: "balancer-per-flow", TTL: 1, Confidence: "high", Text: "10.0.1.1 spreads packets over 2 next hops"},
		probe.Checked{}, reached(3))
}()

// asideRun is a path of which one flow goes to an address next to the destination, which it does not get to.
var asideRun = func() []probe.Event {
	m := multipathMethod
	m.Aside = true
	var w ways
	hops := []probe.Hop{w.hop(1, nil, "10.0.1.1", "10.0.1.1"), w.hop(2, arrived, dest.String())}
	events := []probe.Event{started(m)}
	for i := range hops {
		for j := range hops[i].Outcomes {
			o := &hops[i].Outcomes[j]
			o.Spec.Dst = netip.AddrPortFrom(dest, 33434)
			if o.Spec.Flow > 0 {
				o.Spec.Dst = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.166"), 33434)
			}
			events = append(events, sent(*o), &probe.Probed{Outcome: *o})
		}
	}
	return append(events, hops[0], hops[1], probe.Links{Links: []probe.Link{linkOf(1, "10.0.1.1", dest.String(), 0)}}, probe.Checked{}, reached(2))
}()

// TestAside: where flows differ in the destination the method says so, and each probe where it went, in the document and in the events.
func TestAside(t *testing.T) {
	doc := run(t, NewTrace, "json", Options{Version: "1"}, asideRun...)
	traceSchemaFile.accepts(t, doc)
	if m := part(t, doc, "method"); !strings.Contains(m, `"flow":"multipath","flow_field":"destination",`) || strings.Count(doc, `"to":"192.0.2.166"`) != 1 || strings.Count(doc, `"flow":1,"to":"192.0.2.166"`) != 1 {
		t.Error(doc)
	}
	lines := run(t, NewTrace, "events", Options{Version: "1"}, asideRun...)
	for line := range strings.Lines(lines) {
		traceEventsFile.accepts(t, line)
		probed := strings.HasPrefix(line, `{"event":"sent"`) || strings.HasPrefix(line, `{"event":"probed"`)
		if got, want := strings.Contains(line, `"to":"192.0.2.166"`), probed && strings.Contains(line, `"flow":1,`); got != want && !strings.HasPrefix(line, `{"schema"`) && !strings.HasPrefix(line, `{"event":"links"`) {
			t.Error(line)
		}
	}
}

// TestAsideEnds: what another destination says for itself is no node of the path, in text and in graphs.
func TestAsideEnds(t *testing.T) {
	var events []probe.Event
	for _, e := range asideRun {
		if h, ok := e.(probe.Hop); ok && h.TTL == 1 {
			own := h.Outcomes[1]
			own.Serial, own.Spec.Flow, own.From = 9, 2, netip.MustParseAddr("192.0.2.1")
			arrived(&own)
			own.Spec.Dst = netip.AddrPortFrom(own.From, 33434)
			h.Outcomes = append(h.Outcomes[:2:2], own)
			e = h
		}
		events = append(events, e)
	}
	for _, format := range []string{"text", "mermaid", "dot"} {
		if got, want := run(t, NewTrace, format, Options{Multipath: true}, events...), run(t, NewTrace, format, Options{Multipath: true}, asideRun...); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// TestMultipathTextEnded: a flow that ended is no node further on, and nobody's silence, where all distances were asked at once.
func TestMultipathTextEnded(t *testing.T) {
	var w ways
	d := dest.String()
	got := run(t, NewTrace, "text", Options{Multipath: true}, started(multipathMethod), w.hop(1, func(o *probe.Outcome) {
		if o.Spec.Flow != 1 {
			arrived(o)
		}
	}, d, "10.0.1.1", d), w.hop(2, arrived, d, d, ""), probe.Links{Links: []probe.Link{linkOf(1, "10.0.1.1", d, 1)}}, reached(2))
	want := `traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets
 1  192.0.2.9  0.413 ms  2 of 3 flows
    10.0.1.1  0.413 ms  1 of 3 flows  > 192.0.2.9
 2  192.0.2.9  0.413 ms
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

const multipathText1 = `traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets
 1  10.0.1.1  0.413 ms  > 10.0.2.1 10.0.2.2
 2  10.0.2.1  0.413 ms  3 of 6 flows  > 192.0.2.9
    10.0.2.2  0.413 ms  2 of 6 flows  > 192.0.2.9
    *  1 of 6 flows
 3  192.0.2.9  0.413 ms
  # balancer-per-flow: 10.0.1.1 spreads packets over 2 next hops
`

// TestMultipathText: a line a node, and what is behind it where that is not the one below. The second of two targets looks as if it were alone.
func TestMultipathText(t *testing.T) {
	one := run(t, NewTrace, "text", Options{Multipath: true}, multipathRun...)
	if one != multipathText1 {
		t.Errorf("got\n%s\nwant\n%s", one, multipathText1)
	}
	two := run(t, NewTrace, "text", Options{Multipath: true}, append(multipathRun[:len(multipathRun):len(multipathRun)], multipathRun...)...)
	if two != one+"\n"+one {
		t.Errorf("twice\n%s\nwant\n%s", two, one+"\n"+one)
	}
}

// TestMultipathTextNodes is about the lines of one hop. What each row has at TTL 1 is all there is.
func TestMultipathTextNodes(t *testing.T) {
	const a, b = "10.0.1.1", "10.0.1.2"
	again := func(flow uint16, change ...func(*probe.Outcome)) probe.Outcome {
		o := hopAnswer(append([]func(*probe.Outcome){from(a), func(o *probe.Outcome) { o.Spec.Flow = flow }}, change...)...)
		return o
	}
	var w ways
	tests := []struct {
		name  string
		o     Options
		hop   []probe.Outcome
		links []probe.Link
		want  string
	}{
		{"nobody at all", Options{}, w.hop(1, nil, "", "", "").Outcomes, nil, " 1  *\n"},
		{"nothing asked that is known", Options{}, nil, nil, ""},
		{"nothing left", Options{}, []probe.Outcome{again(0, refused)}, nil, " 1  *\n"},
		{"a node that loses", Options{}, []probe.Outcome{again(0, lost), again(0), again(1), again(2, lost), again(2)}, nil,
			" 1  10.0.1.1  0.413 ms  2 of 5 unanswered\n"},
		{"one of two loses, and the mean of its times", Options{}, []probe.Outcome{again(0, lost), again(0), again(1, from(b), takes(time.Millisecond)), again(2, from(b), takes(2*time.Millisecond))}, nil,
			" 1  10.0.1.1  0.413 ms  1 of 3 flows  1 of 2 unanswered\n    10.0.1.2  1.500 ms (1.000-2.000)  2 of 3 flows\n"},
		{"times that look alike", Options{}, []probe.Outcome{again(0, takes(time.Millisecond)), again(1, takes(time.Millisecond+499))}, nil, " 1  10.0.1.1  1.000 ms\n"},
		{"what nobody answers is no loss", Options{}, []probe.Outcome{again(0), again(1, lost), again(1, lost), again(1, lost)}, nil,
			" 1  10.0.1.1  0.413 ms  1 of 2 flows\n    *  1 of 2 flows\n"},
		{"one that refuses", Options{}, []probe.Outcome{again(0, unreachable(3, 1), from(a)), again(1, unreachable(3, 1), from(a)), again(2, from(b))}, nil,
			" 1  10.0.1.1  0.413 ms !H  2 of 3 flows\n    10.0.1.2  0.413 ms  1 of 3 flows\n"},
		{"one that says two things", Options{}, []probe.Outcome{again(0, unreachable(3, 1), from(a)), again(1, unreachable(3, 13), from(a)), again(2)}, nil,
			" 1  10.0.1.1  0.413 ms !H !X\n"},
		{"no time", Options{}, []probe.Outcome{again(0, takes(-1))}, nil, " 1  10.0.1.1\n"},
		{"the one behind, which is the one below", Options{}, []probe.Outcome{again(0)}, []probe.Link{linkOf(1, a, b, 0)}, " 1  10.0.1.1  0.413 ms\n"},
		{"two behind", Options{}, []probe.Outcome{again(0)}, []probe.Link{linkOf(1, a, b, 0), linkOf(1, a, "10.0.1.3", 1)}, " 1  10.0.1.1  0.413 ms  > 10.0.1.2 10.0.1.3\n"},
		{"behind others, or at another TTL", Options{}, []probe.Outcome{again(0)}, []probe.Link{linkOf(1, b, a, 0), linkOf(1, b, "10.0.1.3", 1), linkOf(2, a, b, 0), linkOf(2, a, "10.0.1.3", 1)},
			" 1  10.0.1.1  0.413 ms\n"},
		{"names", Options{Names: newHosts(a, "gw.example.org")}, []probe.Outcome{again(0), again(1, from(b))}, []probe.Link{linkOf(1, a, "10.0.2.1", 0)},
			" 1  gw.example.org (10.0.1.1)  0.413 ms  1 of 2 flows  > 10.0.2.1\n    10.0.1.2 (10.0.1.2)  0.413 ms  1 of 2 flows\n"},
		{"a name with a terminal's commands", Options{Names: newHosts(a, "x\x1b[2J\n 9  10.9.9.9  1.000 ms")}, []probe.Outcome{again(0)}, nil,
			` 1  x\027\0912J\010\0329\032\03210.9.9.9\032\0321.000\032ms (10.0.1.1)  0.413 ms` + "\n"},
		{"a zone with them", Options{}, []probe.Outcome{again(0, v6, from("fe80::1%e\x1b[2J"))}, []probe.Link{linkOf(1, "fe80::1%e\x1b[2J", "fe80::2%e\a", 0), linkOf(1, "fe80::1%e\x1b[2J", "fe80::3%e", 1)},
			` 1  fe80::1%e\x1b[2J  0.413 ms  > fe80::2%e\a fe80::3%e` + "\n"},
		{"systems and extensions", Options{Origins: newHosts(a, "AS64496"), Extensions: true}, []probe.Outcome{again(0, stacks([]probe.Label{{Value: 7, Bottom: true, TTL: 1}}))}, nil,
			" 1  10.0.1.1 [AS64496] <MPLS:L=7,E=0,S=1,T=1>  0.413 ms\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Multipath = true
			events := []probe.Event{started(multipathMethod)}
			for _, o := range tt.hop {
				events = append(events, &probe.Probed{Outcome: o})
			}
			events = append(events, probe.Hop{TTL: 1, Outcomes: tt.hop}, probe.Links{Links: tt.links}, probe.Finished{Verdict: probe.Blocked, LastTTL: 1})
			_, got, _ := strings.Cut(run(t, NewTrace, "text", tt.o, events...), "\n")
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestMultipathTextOwns: the outcomes of a hop are valid during Emit alone, and printed long after.
func TestMultipathTextOwns(t *testing.T) {
	for _, format := range []string{"text", "dot", "mermaid", "json"} {
		want := run(t, NewTrace, format, Options{Multipath: true}, multipathRun...)
		var w bytes.Buffer
		s, err := NewTrace(&w, format, Options{Multipath: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range multipathRun {
			h, hop := e.(probe.Hop)
			if hop {
				h.Outcomes = append([]probe.Outcome{}, h.Outcomes...)
				e = h
			}
			if err := s.Emit(e); err != nil {
				t.Fatal(err)
			}
			clear(h.Outcomes)
		}
		if got := w.String(); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", format, got, want)
		}
	}
}

// TestMultipathTextTargets: an event outside any target is an error, and so is a target within another; one that fails before its first
// probe leaves nothing to the next.
func TestMultipathTextTargets(t *testing.T) {
	s, err := NewTrace(&bytes.Buffer{}, "text", Options{Multipath: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []probe.Event{hopOf(1), probe.Links{}, probe.Finding{}, reached(1)} {
		if err := s.Emit(e); !errors.Is(err, errClosed) {
			t.Errorf("%s first: error %v, want %v", e.Kind(), err, errClosed)
		}
	}
	if err := s.Emit(multipathRun[0]); err != nil {
		t.Error(err)
	}
	if err := s.Emit(multipathRun[0]); !errors.Is(err, errOpen) {
		t.Errorf("started twice: error %v, want %v", err, errOpen)
	}
	without := []probe.Event{started(multipathMethod), multipathRun[len(multipathRun)-7], reached(1)} // its first hop alone
	if h, ok := without[1].(probe.Hop); !ok || h.TTL != 1 {
		t.Fatalf("%+v is not the first hop", without[1])
	}
	one := run(t, NewTrace, "text", Options{Multipath: true}, without...)
	if both := run(t, NewTrace, "text", Options{Multipath: true}, append(multipathRun[:len(multipathRun):len(multipathRun)], without...)...); !strings.HasSuffix(both, "\n\n"+one) {
		t.Errorf("got\n%s\nwant at the end\n%s", both, one)
	}
	const head = "traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets\n"
	got := run(t, NewTrace, "text", Options{Multipath: true}, append([]probe.Event{started(multipathMethod), hopOf(1), probe.Links{}, reached(1),
		started(multipathMethod), probe.Finished{Verdict: probe.Interrupted}}, multipathRun...)...)
	if want := head + " 1  198.51.100.1  0.413 ms\n\n" + head + "  # interrupted: what was still waited for is not shown\n\n" + multipathText1; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestLinks: a multipath trace tells its links, be there none, and no other trace does.
func TestLinks(t *testing.T) {
	const links = `[{"ttl":1,"from":"10.0.1.1","to":"10.0.2.1","flows":[0,2,4]},{"ttl":1,"from":"10.0.1.1","to":"10.0.2.2","flows":[1,3]},` +
		`{"ttl":2,"from":"10.0.2.1","to":"192.0.2.9","flows":[0,2,4]},{"ttl":2,"from":"10.0.2.2","to":"192.0.2.9","flows":[1,3]}]`
	cut := func(f probe.Finished, events ...probe.Event) []probe.Event {
		return append(append([]probe.Event{started(multipathMethod)}, events...), f)
	}
	tests := []struct {
		name   string
		events []probe.Event
		want   string // "": there is no such key
	}{
		{"a diamond", multipathRun, links},
		{"one hop", cut(reached(1), probe.Links{}), `[]`},
		{"interrupted", cut(probe.Finished{Verdict: probe.Interrupted, LastTTL: 2}, probe.Links{Links: []probe.Link{linkOf(1, "10.0.1.1", "10.0.2.1", 0)}}),
			`[{"ttl":1,"from":"10.0.1.1","to":"10.0.2.1","flows":[0]}]`},
		{"nothing sent", cut(probe.Finished{Verdict: probe.Errored, Err: errors.New("no route")}), ""},
		{"one way", traceRun, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := run(t, NewTrace, "json", Options{Version: "1"}, tt.events...)
			traceSchemaFile.accepts(t, doc)
			if got := part(t, doc, "links"); got != tt.want {
				t.Errorf("links %s, want %s", got, tt.want)
			}
			want := ""
			if tt.want != "" {
				want = `{"event":"links","links":` + tt.want + "}"
			}
			var got string
			for _, l := range lines(run(t, NewTrace, "events", Options{Version: "1"}, tt.events...)) {
				traceEventsFile.accepts(t, l)
				if strings.HasPrefix(l, `{"event":"links"`) {
					got += l
				}
			}
			if got != want {
				t.Errorf("event %s, want %s", got, want)
			}
		})
	}
	if got := part(t, run(t, NewTrace, "json", Options{Version: "1"}, multipathRun...), "method", "flow"); got != `"multipath"` {
		t.Errorf("flow %s", got)
	}
}

// TestNodes: in JSON each node of a multipath trace says what the probes of its flows say together, as far as that is known.
func TestNodes(t *testing.T) {
	const a, b, d = "10.0.1.1", "10.0.1.2", "192.0.2.9"
	const nobody = `{"flows":[%s],"sent":%d,"received":0}`
	const mean = `"min_ms":0.412871,"avg_ms":0.412871,"max_ms":0.412871,`
	const once, twice = mean + `"p50_ms":0.412871,"p90_ms":0.412871`, mean + `"stddev_ms":0,"p50_ms":0.412871,"p90_ms":0.412871`
	serial := uint64(0)
	at := func(ttl uint8, flow uint16, after time.Duration, node string, change ...func(*probe.Outcome)) probe.Outcome {
		serial++
		o := hopAnswer(append([]func(*probe.Outcome){number(serial, ttl, uint32(serial)), func(o *probe.Outcome) { o.Spec.Flow = flow }}, change...)...)
		o.Sent, o.At = o.Sent.Add(after), o.At.Add(after)
		if node == "" {
			lost(&o)
		} else {
			o.From = netip.MustParseAddr(node)
		}
		return o
	}
	balancer := func(code string) probe.Finding {
		return probe.Finding{Code: code, TTL: 1, Confidence: "high", Text: "?"}
	}
	// Sparse losses in no order that a bucket would give, a millisecond apart.
	chance := func(flow uint16) (os []probe.Outcome) {
		for i, answered := range []string{a, "", a, a, a, a, "", "", a, a, a, a, a, "", a, a} {
			os = append(os, at(1, flow, time.Duration(i)*2*time.Second, answered))
		}
		return os
	}
	var limit []probe.Outcome // six at once, and then one a second
	for i := range 12 {
		limit = append(limit, at(1, 0, time.Duration(i)*time.Millisecond, []string{a, ""}[i/6]))
	}
	for i := range 6 {
		limit = append(limit, at(1, 0, time.Duration(1+i)*1100*time.Millisecond, a))
	}
	tests := []struct {
		name   string
		m      probe.Method
		hops   [][]probe.Outcome // from TTL 1 on
		others []probe.Event
		want   string // of the last hop; "": there is no such key
	}{
		{"one, of one probe", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a)}}, nil,
			`[{"address":"10.0.1.1","flows":[0],"sent":1,"received":1,"loss_percent":0,"loss_interval_percent":[0,79.345671],` + once + `}]`},
		{"two and silence, and what asked nobody", multipathMethod, [][]probe.Outcome{{at(1, 3, 0, b), at(1, 0, 0, b), at(1, 2, 0, a, takes(-1)), at(1, 5, 0, ""), at(1, 1, 0, ""), at(1, 1, 0, ""), at(1, 7, 0, a, refused)}}, nil,
			`[{"address":"10.0.1.2","flows":[0,3],"sent":2,"received":2,"loss_percent":0,"loss_interval_percent":[0,65.762805],` + twice + `},` +
				`{"address":"10.0.1.1","flows":[2],"sent":1,"received":1,"loss_percent":0,"loss_interval_percent":[0,79.345671]},` + fmt.Sprintf(nobody, "1,5", 3) + `]`},
		{"nobody", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, ""), at(1, 0, 0, "")}}, nil, "[" + fmt.Sprintf(nobody, "0", 2) + "]"},
		{"nobody asked", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a, refused)}}, nil, ""},
		{"loss by chance", multipathMethod, [][]probe.Outcome{chance(0)}, nil,
			`[{"address":"10.0.1.1","flows":[0],"sent":16,"received":12,"loss_percent":25,"loss_interval_percent":[10.181902,49.498769],` + twice + `}]`},
		{"a limit", multipathMethod, [][]probe.Outcome{limit}, nil, `[{"address":"10.0.1.1","flows":[0],"sent":18,"received":12,` + twice + `}]`},
		{"a limit that shows at the hop alone", multipathMethod, [][]probe.Outcome{append(slices.Clone(limit[1:]), at(1, 1, 0, b), at(1, 1, 6*time.Millisecond, ""), at(1, 1, 9*time.Second, b))}, nil,
			`[{"address":"10.0.1.1","flows":[0],"sent":17,"received":11,` + twice + `},{"address":"10.0.1.2","flows":[1],"sent":3,"received":2,` + twice + `}]`},
		{"an answer to a flow, of nobody knows which probe", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, d, func(o *probe.Outcome) { o.Match = probe.FlowOnly }), at(1, 1, 0, d)}}, nil,
			`[{"address":"192.0.2.9","flows":[0,1],"sent":2,"received":2,` + once + `}]`},
		{"a flow that two answer", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a), at(1, 0, 0, b)}}, nil,
			`[{"address":"10.0.1.1","flows":[0],"sent":1,"received":1,"loss_percent":0,"loss_interval_percent":[0,79.345671],` + once + `},` +
				`{"address":"10.0.1.2","flows":[0],"sent":1,"received":1,"loss_percent":0,"loss_interval_percent":[0,79.345671],` + once + `}]`},
		{"and of which one is lost", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a), at(1, 0, 0, b), at(1, 0, 0, "")}}, nil,
			`[{"address":"10.0.1.1","flows":[0],"received":1,` + once + `},{"address":"10.0.1.2","flows":[0],"received":1,` + once + `}]`},
		{"behind one that spreads packets", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a)}, {at(2, 0, 0, a), at(2, 1, 0, b)}, append(moved(3, chance(0)), at(3, 1, 0, b))}, []probe.Event{balancer("balancer-per-packet")},
			`[{"address":"10.0.1.1","flows":[0],"received":12,` + twice + `},{"address":"10.0.1.2","flows":[1],"received":1,` + once + `}]`},
		{"behind one of which that is not known", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a)}, append(moved(2, chance(0)), at(2, 1, 0, b))}, []probe.Event{balancer("balancer")},
			`[{"address":"10.0.1.1","flows":[0],"received":12,` + twice + `},{"address":"10.0.1.2","flows":[1],"received":1,` + once + `}]`},
		{"behind one that does not", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a)}, append(moved(2, chance(0)), at(2, 1, 0, b))}, []probe.Event{balancer("balancer-per-flow")},
			`[{"address":"10.0.1.1","flows":[0],"sent":16,"received":12,"loss_percent":25,"loss_interval_percent":[10.181902,49.498769],` + twice + `},` +
				`{"address":"10.0.1.2","flows":[1],"sent":1,"received":1,"loss_percent":0,"loss_interval_percent":[0,79.345671],` + once + `}]`},
		{"where ways have met", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, a)}, moved(2, chance(0)), append(moved(3, chance(0)), at(3, 1, 0, b))}, []probe.Event{balancer("balancer-per-packet")},
			`[{"address":"10.0.1.1","flows":[0],"sent":16,"received":12,"loss_percent":25,"loss_interval_percent":[10.181902,49.498769],` + twice + `},` +
				`{"address":"10.0.1.2","flows":[1],"sent":1,"received":1,"loss_percent":0,"loss_interval_percent":[0,79.345671],` + once + `}]`},
		{"flows that ended before", multipathMethod, [][]probe.Outcome{{at(1, 0, 0, d, arrived), at(1, 1, 0, a)}, {at(2, 0, 0, d, arrived), at(2, 1, 0, d, arrived)}}, nil,
			`[{"address":"192.0.2.9","flows":[1],"sent":1,"received":1,"loss_percent":0,"loss_interval_percent":[0,79.345671],` + once + `}]`},
		{"one way", udpMethod, [][]probe.Outcome{{at(1, 0, 0, a), at(1, 0, 0, b)}}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := []probe.Event{started(tt.m)}
			for _, os := range tt.hops {
				for _, o := range os {
					events = append(events, sent(o), &probe.Probed{Outcome: o})
				}
			}
			for i, os := range tt.hops {
				events = append(events, probe.Hop{TTL: uint8(i + 1), Outcomes: os})
			}
			if tt.m.Multipath {
				events = append(events, probe.Links{})
			}
			events = append(append(events, tt.others...), reached(uint8(len(tt.hops))))
			doc := run(t, NewTrace, "json", Options{Version: "1"}, events...)
			traceSchemaFile.accepts(t, doc)
			var hops []json.RawMessage
			if err := json.Unmarshal([]byte(part(t, doc, "hops")), &hops); err != nil {
				t.Fatal(err)
			}
			if got := part(t, string(hops[len(hops)-1]), "nodes"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// moved are outcomes at another TTL.
func moved(ttl uint8, os []probe.Outcome) []probe.Outcome {
	for i := range os {
		os[i].Spec.TTL = ttl
		os[i].Serial += 1000 * uint64(ttl)
	}
	return os
}

func openMultipath(w io.Writer, format string, o Options) (probe.Sink, error) {
	o.Multipath = true
	return NewTrace(w, format, o)
}

// TestDistance: where branches go on behind the destination, its own distance is what the path is long.
func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		end  probe.Finished
		want string
	}{
		{probe.Finished{Complete: true, Verdict: probe.Reached, LastTTL: 5, Distance: 3}, `"hop_count":3,`},
		{probe.Finished{Complete: true, Verdict: probe.Reached, LastTTL: 5}, `"hop_count":5,`},
	} {
		got := run(t, NewTrace, "json", Options{}, started(multipathMethod), probe.Links{}, tt.end)
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}
