package report

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

// TestGraph: the diamond in both languages.
func TestGraph(t *testing.T) {
	const dot = `digraph {
  graph [label="example.org (192.0.2.9): reached", labelloc=t]
  node [shape=box]
  h0_1 [label="198.51.100.2", shape=ellipse]
  h1_1 [label="gw_1.example.org\n10.0.1.1\n[AS64496/AS64497]\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n[*]\n0.413 ms"]
  h2_2 [label="10.0.2.2\n[*]\n0.413 ms"]
  h2_3 [label="*", shape=circle]
  h1_1 -> h2_1 [label="3 flows"]
  h1_1 -> h2_2 [label="2 flows"]
  h1_1 -> h2_3 [label="1 flow"]
  h3_1 [label="192.0.2.9\n[*]\n0.413 ms", peripheries=2]
  h2_1 -> h3_1 [label="3 flows"]
  h2_2 -> h3_1 [label="2 flows"]
  h2_3 -> h3_1 [label="1 flow"]
  f1 [label="balancer-per-flow: 10.0.1.1 spreads packets over\n2 next hops", shape=note]
  h1_1 -> f1 [style=dotted, dir=none]
}
`
	const mermaid = `---
title: "example.org (192.0.2.9): reached"
---
flowchart TD
  h0_1(["198.51.100.2"])
  h1_1["gw#95;1.example.org<br/>10.0.1.1<br/>[AS64496/AS64497]<br/>0.413 ms"]
  h0_1 --> h1_1
  h2_1["10.0.2.1<br/>[#42;]<br/>0.413 ms"]
  h2_2["10.0.2.2<br/>[#42;]<br/>0.413 ms"]
  h2_3(("#42;"))
  h1_1 -->|3 flows| h2_1
  h1_1 -->|2 flows| h2_2
  h1_1 -->|1 flow| h2_3
  h3_1[["192.0.2.9<br/>[#42;]<br/>0.413 ms"]]
  h2_1 -->|3 flows| h3_1
  h2_2 -->|2 flows| h3_1
  h2_3 -->|1 flow| h3_1
  f1>"balancer-per-flow: 10.0.1.1 spreads packets over<br/>2 next hops"]
  h1_1 -.- f1
`
	for format, want := range map[string]string{"dot": dot, "mermaid": mermaid} {
		o := Options{Names: newHosts("10.0.1.1", "gw_1.example.org"), Origins: newHosts("10.0.1.1", "AS64496/AS64497")}
		for range 20 { // whatever order maps have
			if got := run(t, NewTrace, format, o, multipathRun...); got != want {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
		}
	}
}

// TestGraphs is about what becomes of events. Each row is what stands between the title and the end, but for this host's node; mermaid differs
// by the language alone.
func TestGraphs(t *testing.T) {
	const a, b, c, d = "10.0.1.1", "10.0.2.1", "10.0.2.2", "10.0.3.1"
	at := func(ttl uint8, attempt uint32, change ...func(*probe.Outcome)) probe.Outcome {
		return hopAnswer(append([]func(*probe.Outcome){number(uint64(attempt), ttl, attempt)}, change...)...)
	}
	hop := func(ttl uint8, nodes ...string) probe.Hop { // a node for each attempt, "" for none
		h := probe.Hop{TTL: ttl}
		for i, n := range nodes {
			o := at(ttl, uint32(i+1), lost)
			if n != "" {
				o = at(ttl, uint32(i+1), from(n))
			}
			h.Outcomes = append(h.Outcomes, o)
		}
		return h
	}
	target := func(ttl uint8) probe.Hop {
		return probe.Hop{TTL: ttl, Outcomes: []probe.Outcome{at(ttl, 1, from(dest.String()), arrived), at(ttl, 2, from(dest.String()), arrived)}}
	}
	classic := func(h probe.Hop) probe.Hop { // each probe is a flow of its own
		for i := range h.Outcomes {
			h.Outcomes[i].Spec.Flow = uint16(10*int(h.TTL) + i)
		}
		return h
	}
	var w ways
	tests := []struct {
		name   string
		m      probe.Method
		events []probe.Event
		want   string
	}{
		{"nothing", udpMethod, nil, ""},
		{"one way", udpMethod, []probe.Event{hop(1, a, a), hop(2, b, ""), target(3)}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h1_1 -> h2_1
  h3_1 [label="192.0.2.9\n0.413 ms", peripheries=2]
  h2_1 -> h3_1`},
		{"silence", udpMethod, []probe.Event{hop(1, "", ""), hop(2, "", ""), hop(3, a, ""), hop(4, "", "")}, `
  h1_1 [label="*", shape=circle]
  h0_1 -> h1_1
  h2_1 [label="*", shape=circle]
  h1_1 -> h2_1
  h3_1 [label="10.0.1.1\n0.413 ms"]
  h2_1 -> h3_1
  h4_1 [label="*", shape=circle]
  h3_1 -> h4_1`},
		{"one flow, and two ways", udpMethod, []probe.Event{hop(1, a, a, a), hop(2, b, c, b), hop(3, d, d, "")}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h2_2 [label="10.0.2.2\n0.413 ms"]
  h1_1 -> h2_1 [label="2 probes"]
  h1_1 -> h2_2 [label="1 probe"]
  h3_1 [label="10.0.3.1\n0.413 ms"]
  h2_1 -> h3_1 [label="2 probes"]
  h2_2 -> h3_1 [label="1 probe"]`},
		{"one flow, two ways, and what says which is lost", udpMethod, []probe.Event{hop(1, a, b, ""), hop(2, "", c, d)}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h1_2 [label="10.0.2.1\n0.413 ms"]
  h0_1 -> h1_1 [label="1 probe"]
  h0_1 -> h1_2 [label="1 probe"]
  h2_1 [label="10.0.2.2\n0.413 ms"]
  h2_2 [label="10.0.3.1\n0.413 ms"]
  h1_2 -> h2_1 [label="1 probe"]
  h1_1 -> h2_2 [style=dashed]
  h1_2 -> h2_2 [style=dashed]`},
		{"a flow for each probe", probe.Method{Classic: true}, []probe.Event{classic(hop(1, a, a)), classic(hop(2, b, c)), classic(hop(3, "", "")), classic(hop(4, "", d))}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h2_2 [label="10.0.2.2\n0.413 ms"]
  h1_1 -> h2_1 [label="1 probe"]
  h1_1 -> h2_2 [label="1 probe"]
  h3_1 [label="*", shape=circle]
  h2_1 -> h3_1 [label="1 probe"]
  h2_2 -> h3_1 [label="1 probe"]
  h4_1 [label="10.0.3.1\n0.413 ms"]
  h3_1 -> h4_1`},
		{"the same address twice", udpMethod, []probe.Event{hop(1, a), hop(2, a)}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.1.1\n0.413 ms"]
  h1_1 -> h2_1`},
		{"from TTL 3, and one left out", udpMethod, []probe.Event{hop(3, a), hop(5, b)}, `
  h3_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h3_1 [style=dashed]
  h5_1 [label="10.0.2.1\n0.413 ms"]
  h3_1 -> h5_1 [style=dashed]`},
		{"a refusal, which ends a way", udpMethod, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{at(1, 1, unreachable(3, 1), takes(2*time.Millisecond)), at(1, 2, from(a), takes(time.Millisecond))}}, hop(2, b, b)}, `
  h1_1 [label="198.51.100.1\n2.000 ms !H"]
  h1_2 [label="10.0.1.1\n1.000 ms"]
  h0_1 -> h1_1 [label="1 probe"]
  h0_1 -> h1_2 [label="1 probe"]
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h1_2 -> h2_1 [label="1 probe"]`},
		{"a fragment that waited for others, which ends none", udpMethod, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{at(1, 1, func(o *probe.Outcome) { o.Answer, o.Code = probe.ReassemblyExceeded, 1 })}}, hop(2, b)}, `
  h1_1 [label="198.51.100.1\n0.413 ms !<11-1>"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h1_1 -> h2_1`},
		{"a mean, and no time", udpMethod, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{at(1, 1, from(a), takes(time.Millisecond)), at(1, 2, from(a), takes(2*time.Millisecond))}},
			probe.Hop{TTL: 2, Outcomes: []probe.Outcome{at(2, 1, from(b), takes(-1))}}}, `
  h1_1 [label="10.0.1.1\n1.500 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1"]
  h1_1 -> h2_1`},
		{"branches of different lengths", multipathMethod, []probe.Event{w.hop(1, nil, a, a, a), w.hop(2, nil, b, c, b), w.hop(3, func(o *probe.Outcome) {
			if o.Spec.Flow != 1 {
				arrived(o)
			}
		}, "192.0.2.9", d, "192.0.2.9"), w.hop(4, arrived, "192.0.2.9", "192.0.2.9"),
			probe.Links{Links: []probe.Link{linkOf(1, a, b, 0, 2), linkOf(1, a, c, 1), linkOf(2, b, "192.0.2.9", 0, 2), linkOf(2, c, d, 1), linkOf(3, d, "192.0.2.9", 1)}}}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h2_2 [label="10.0.2.2\n0.413 ms"]
  h1_1 -> h2_1 [label="2 flows"]
  h1_1 -> h2_2 [label="1 flow"]
  h3_1 [label="192.0.2.9\n0.413 ms", peripheries=2]
  h3_2 [label="10.0.3.1\n0.413 ms"]
  h2_1 -> h3_1 [label="2 flows"]
  h2_2 -> h3_2 [label="1 flow"]
  h4_1 [label="192.0.2.9\n0.413 ms", peripheries=2]
  h3_2 -> h4_1 [label="1 flow"]`},
		{"a link at another TTL", multipathMethod, []probe.Event{w.hop(1, nil, a, b), w.hop(2, nil, c, d), w.hop(3, nil, a, b), w.hop(4, nil, c, d),
			probe.Links{Links: []probe.Link{linkOf(1, a, c, 0), linkOf(1, b, d, 1), linkOf(2, c, a, 0), linkOf(2, d, b, 1), linkOf(3, a, d, 0), linkOf(3, b, c, 1)}}}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h1_2 [label="10.0.2.1\n0.413 ms"]
  h0_1 -> h1_1 [label="1 flow"]
  h0_1 -> h1_2 [label="1 flow"]
  h2_1 [label="10.0.2.2\n0.413 ms"]
  h2_2 [label="10.0.3.1\n0.413 ms"]
  h1_1 -> h2_1 [label="1 flow"]
  h1_2 -> h2_2 [label="1 flow"]
  h3_1 [label="10.0.1.1\n0.413 ms"]
  h3_2 [label="10.0.2.1\n0.413 ms"]
  h2_1 -> h3_1 [label="1 flow"]
  h2_2 -> h3_2 [label="1 flow"]
  h4_1 [label="10.0.2.2\n0.413 ms"]
  h4_2 [label="10.0.3.1\n0.413 ms"]
  h3_2 -> h4_1 [label="1 flow"]
  h3_1 -> h4_2 [label="1 flow"]`},
		{"a destination, which leads nowhere", udpMethod, []probe.Event{target(1), hop(2, b, b)}, `
  h1_1 [label="192.0.2.9\n0.413 ms", peripheries=2]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]`},
		{"flows that have ended, and are asked further on all the same", multipathMethod, []probe.Event{w.hop(1, func(o *probe.Outcome) {
			if o.Spec.Flow != 1 {
				arrived(o)
			}
		}, "192.0.2.9", a, "192.0.2.9"), w.hop(2, arrived, "192.0.2.9", "192.0.2.9", ""), w.hop(3, arrived, "", "192.0.2.9"), probe.Links{Links: []probe.Link{linkOf(1, a, "192.0.2.9", 1)}}}, `
  h1_1 [label="192.0.2.9\n0.413 ms", peripheries=2]
  h1_2 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1 [label="2 flows"]
  h0_1 -> h1_2 [label="1 flow"]
  h2_1 [label="192.0.2.9\n0.413 ms", peripheries=2]
  h1_2 -> h2_1 [label="1 flow"]`},
		{"packets that go by chance, of which there are no links", multipathMethod, []probe.Event{w.hop(1, nil, a, b, ""), w.hop(2, nil, c, d, ""), w.hop(3, nil, a, a, a),
			probe.Links{Links: []probe.Link{linkOf(2, c, a, 0), linkOf(2, d, a, 1)}}}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h1_2 [label="10.0.2.1\n0.413 ms"]
  h1_3 [label="*", shape=circle]
  h0_1 -> h1_1 [label="1 flow"]
  h0_1 -> h1_2 [label="1 flow"]
  h0_1 -> h1_3 [label="1 flow"]
  h2_1 [label="10.0.2.2\n0.413 ms"]
  h2_2 [label="10.0.3.1\n0.413 ms"]
  h2_3 [label="*", shape=circle]
  h1_1 -> h2_1 [style=dashed]
  h1_2 -> h2_1 [style=dashed]
  h1_3 -> h2_1 [style=dashed]
  h1_1 -> h2_2 [style=dashed]
  h1_2 -> h2_2 [style=dashed]
  h1_3 -> h2_2 [style=dashed]
  h1_1 -> h2_3 [style=dashed]
  h1_2 -> h2_3 [style=dashed]
  h1_3 -> h2_3 [style=dashed]
  h3_1 [label="10.0.1.1\n0.413 ms"]
  h2_1 -> h3_1 [label="1 flow"]
  h2_2 -> h3_1 [label="1 flow"]
  h2_3 -> h3_1 [label="1 flow"]`},
		{"silence, of which there are no links either", multipathMethod, []probe.Event{w.hop(1, nil, a, b), w.hop(2, nil, "", ""), w.hop(3, nil, c, c), probe.Links{}}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h1_2 [label="10.0.2.1\n0.413 ms"]
  h0_1 -> h1_1 [label="1 flow"]
  h0_1 -> h1_2 [label="1 flow"]
  h2_1 [label="*", shape=circle]
  h1_1 -> h2_1 [label="1 flow"]
  h1_2 -> h2_1 [label="1 flow"]
  h3_1 [label="10.0.2.2\n0.413 ms"]
  h2_1 -> h3_1`},
		{"what was not answered, of several flows", multipathMethod, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{at(1, 1, from(a)), at(1, 2, lost)}}}, `
  h1_1 [label="10.0.1.1\n0.413 ms\n1 of 2 unanswered"]
  h0_1 -> h1_1`},
		{"findings about a hop, one of its nodes, a stretch, another hop and the run", multipathMethod, []probe.Event{w.hop(1, nil, a, a), w.hop(2, nil, b, "10.0.2.10"),
			probe.Finding{Code: "a", TTL: 1, Text: "x"}, probe.Finding{Code: "b", TTL: 2, Text: "x (10.0.2.10): y"}, probe.Finding{Code: "c", Between: [2]uint8{1, 2}, Text: "10.0.2.1: y"},
			probe.Finding{Code: "d", TTL: 2, Text: "10.0.2.100"}, probe.Finding{Code: "e", TTL: 9, Text: "x"}, probe.Finding{Code: "clock-step", Text: "x"}}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h2_2 [label="10.0.2.10\n0.413 ms"]
  h1_1 -> h2_1 [label="1 flow"]
  h1_1 -> h2_2 [label="1 flow"]
  f1 [label="a: x", shape=note]
  h1_1 -> f1 [style=dotted, dir=none]
  f2 [label="b: x (10.0.2.10): y", shape=note]
  h2_2 -> f2 [style=dotted, dir=none]
  f3 [label="c: 10.0.2.1: y", shape=note]
  h1_1 -> f3 [style=dotted, dir=none]
  h2_1 -> f3 [style=dotted, dir=none]
  f4 [label="d: 10.0.2.100", shape=note]
  f5 [label="e: x", shape=note]`},
		{"a destination by what it says, and by its address", udpMethod, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{at(1, 1, from(a), arrived), at(1, 2, from(dest.String()))}}}, `
  h1_1 [label="10.0.1.1\n0.413 ms", peripheries=2]
  h1_2 [label="192.0.2.9\n0.413 ms", peripheries=2]
  h0_1 -> h1_1 [label="1 probe"]
  h0_1 -> h1_2 [label="1 probe"]`},
		{"links that are none, and hops of which nothing is known", multipathMethod, []probe.Event{w.hop(1, nil, a), w.hop(2, nil, b), probe.Hop{TTL: 3}, w.hop(4, nil, c), probe.Links{}}, `
  h1_1 [label="10.0.1.1\n0.413 ms"]
  h0_1 -> h1_1
  h2_1 [label="10.0.2.1\n0.413 ms"]
  h1_1 -> h2_1 [style=dashed]
  h4_1 [label="10.0.2.2\n0.413 ms"]
  h2_1 -> h4_1 [style=dashed]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := append(append([]probe.Event{started(tt.m)}, tt.events...), probe.Finished{Verdict: probe.MaxHops})
			want := `digraph {
  graph [label="example.org (192.0.2.9): max-hops", labelloc=t]
  node [shape=box]
  h0_1 [label="198.51.100.2", shape=ellipse]` + tt.want + "\n}\n"
			if got := run(t, NewTrace, "dot", Options{}, events...); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestGraphOfNothing: a host that is not measured has a graph too, of what is known of it.
func TestGraphOfNothing(t *testing.T) {
	events := []probe.Event{probe.Started{Target: "nosuch.example"}, probe.Finished{Verdict: probe.Errored, Err: errors.New("no such host")}}
	for format, want := range map[string]string{
		"dot":     "digraph {\n  graph [label=\"nosuch.example: error\", labelloc=t]\n  node [shape=box]\n}\n",
		"mermaid": "---\ntitle: \"nosuch.example: error\"\n---\nflowchart TD\n",
	} {
		if got := run(t, NewTrace, format, Options{}, events...); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	// Nor does the next one have what was told of the one before.
	alone := []probe.Event{started(multipathMethod), hopOf(1), hopOf(2), reached(2)}
	if one, both := run(t, NewTrace, "dot", Options{}, alone...), run(t, NewTrace, "dot", Options{}, append(multipathRun[:len(multipathRun):len(multipathRun)], alone...)...); !strings.HasSuffix(both, "}\n"+one) {
		t.Errorf("got\n%s\nwant at the end\n%s", both, one)
	}
	s := started(udpMethod)
	s.Target = "192.0.2.9"
	if got := run(t, NewTrace, "dot", Options{}, s, reached(1)); !strings.Contains(got, `[label="192.0.2.9: reached",`) {
		t.Errorf("an address stands twice: %s", got)
	}
}

// hostileGraph has what would be markup in either language wherever somebody else chooses a text: in a target, names, systems and zones.
func hostileGraph() (Options, []probe.Event) {
	const bad = "a\"]\\\"; end --> %%{init: {}}%% <b>&lt;*_`#quot;\x1b[2J\n}\u202e\\"
	s := started(udpMethod)
	s.Target = bad
	s.Src = netip.MustParseAddr("fe80::2").WithZone(bad)
	o := hopAnswer(v6, func(o *probe.Outcome) { o.From = netip.MustParseAddr("fe80::1").WithZone(bad) })
	return Options{Names: says(bad), Origins: says(bad)}, []probe.Event{s, &probe.Probed{Outcome: o}, probe.Hop{TTL: 1, Outcomes: []probe.Outcome{o}}, probe.Finding{Code: "bad", TTL: 1, Text: bad}, reached(1)}
}

// TestGraphEscapes: what comes from elsewhere ends neither a string nor a line, and is no markup.
func TestGraphEscapes(t *testing.T) {
	o, events := hostileGraph()
	const name = `a\\034\\093\\\\034\\059\\032end\\032--\\062`
	dot := regexp.MustCompile(`^digraph \{
  graph \[label="(\\[\\"]|[^\\"])*", labelloc=t\]
  node \[shape=box\]
  h0_1 \[label="fe80::2%(\\[\\"]|[^\\"])*", shape=ellipse\]
  h1_1 \[label="` + regexp.QuoteMeta(name) + `(\\[\\"n]|[^\\"])*"\]
  h0_1 -> h1_1
  f1 \[label="bad: a(\\[\\"n]|[^\\"])*", shape=note\]
  h1_1 -> f1 \[style=dotted, dir=none\]
\}
$`)
	if got := run(t, NewTrace, "dot", o, events...); !dot.MatchString(got) || strings.Contains(got, "&lt") {
		t.Errorf("got\n%s", got)
	}
	word := `([A-Za-z0-9 .:!/\[\]-]|#\d+;)*`
	mermaid := regexp.MustCompile(`^---
title: "(\\[\\"]|[^\\"])*<b>&lt;(\\[\\"]|[^\\"])*"
---
flowchart TD
  h0_1\(\["` + word + `"\]\)
  h1_1\["a#92;034#92;093` + word + `<br/>fe80::1#37;a#34;` + word + `<br/>\[#42;\]<br/>0.413 ms"\]
  h0_1 --> h1_1
  f1>"bad: a#34;\]` + word + `(<br/>` + word + `)*"\]
  h1_1 -.- f1
$`)
	if got := run(t, NewTrace, "mermaid", o, events...); !mermaid.MatchString(got) {
		t.Errorf("got\n%s", got)
	}
}

// TestAnyGraph makes up traces: whatever comes, there is one node for each address at a TTL, edges are between nodes of neighbouring hops, each is
// there once, and both languages say the same.
func TestAnyGraph(t *testing.T) {
	node, edge := regexp.MustCompile(`^  (h\d+_\d+)(?: \[label="([^\\"]*)|\W+"([^<"]*))`), regexp.MustCompile(`^  (h(\d+)_\d+) -\S*>(?:\|[^|]*\|)? (h(\d+)_\d+)`)
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := []probe.Method{udpMethod, multipathMethod, {Classic: true}}[r.IntN(3)]
		events := []probe.Event{started(m)}
		want := map[string]bool{"0 198.51.100.2": true}
		var links []probe.Link
		at := []string{"0"} // TTLs with nodes
		ended := make(map[uint16]bool)
		for ttl := uint8(1 + r.IntN(2)); ttl < 9; ttl += uint8(1 + r.IntN(10)/9) {
			h := probe.Hop{TTL: ttl}
			for n := range r.IntN(7) {
				o := hopAnswer(number(uint64(n), ttl, uint32(1+n/2)), from(fmt.Sprintf("10.0.%d.%d", ttl, r.IntN(3))))
				switch o.Spec.Flow = uint16(r.IntN(4)); r.IntN(8) {
				case 0:
					o.Answer = probe.PortUnreachable
				case 1:
					o.Answer = probe.Unreachable
				case 2, 3:
					lost(&o)
				}
				h.Outcomes = append(h.Outcomes, o)
				if m.Multipath && ended[o.Spec.Flow] {
					continue
				}
				if fmt.Sprint(ttl) != at[len(at)-1] {
					at = append(at, fmt.Sprint(ttl))
				}
				if o.Status == probe.Answered {
					want[fmt.Sprint(ttl, " ", o.From)] = true
					links = append(links, linkOf(ttl, o.From.String(), fmt.Sprintf("10.0.%d.%d", ttl+1, r.IntN(3)), n))
				}
			}
			for _, o := range h.Outcomes {
				ended[o.Spec.Flow] = ended[o.Spec.Flow] || ends(&o)
			}
			events = append(events, h)
		}
		if m.Multipath && r.IntN(4) > 0 {
			events = append(events, probe.Links{Links: links})
		}
		events = append(events, reached(9))
		var said [2][]string
		for i, format := range []string{"dot", "mermaid"} {
			text := run(t, NewTrace, format, Options{}, events...)
			nodes, edges, got := make(map[string]bool), make(map[string]bool), make(map[string]bool)
			before := map[string]string{}
			for j, ttl := range at[1:] {
				before[ttl] = at[j]
			}
			for _, l := range lines(text) {
				if e := edge.FindStringSubmatch(l); e != nil {
					if key := e[1] + " " + e[3]; !nodes[e[1]] || !nodes[e[3]] || edges[key] || before[e[4]] != e[2] {
						t.Fatalf("seed %d: %s in\n%s", seed, l, text)
					} else {
						edges[key] = true
						said[i] = append(said[i], key)
					}
				} else if n := node.FindStringSubmatch(l); n != nil {
					if nodes[n[1]] {
						t.Fatalf("seed %d: %s twice in\n%s", seed, n[1], text)
					}
					nodes[n[1]] = true
					said[i] = append(said[i], n[1])
					if who := n[2] + n[3]; who != "*" && who != "#42;" {
						ttl, _, _ := strings.Cut(n[1][1:], "_")
						got[ttl+" "+who] = true
					}
				}
			}
			if !maps.Equal(got, want) {
				t.Fatalf("seed %d: nodes %v, want %v, in\n%s", seed, got, want, text)
			}
		}
		if !slices.Equal(said[0], said[1]) {
			t.Errorf("seed %d: dot says %v, mermaid %v", seed, said[0], said[1])
		}
	}
}

// TestGraphviz has the program that dot is for read it.
func TestGraphviz(t *testing.T) {
	if _, err := exec.LookPath("dot"); err != nil {
		t.Skipf("%v: apt-get install graphviz", err)
	}
	o, events := hostileGraph()
	text := run(t, NewTrace, "dot", Options{}, multipathRun...) + run(t, NewTrace, "dot", Options{}, sharedRun(true)...) + run(t, NewTrace, "dot", o, events...)
	c := exec.Command("dot", "-Tsvg")
	c.Stdin = strings.NewReader(text)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	for what, want := range map[string]int{"</svg>": 3, `class="node"`: 7 + 2 + 3, `class="edge"`: 8 + 1 + 2, ">1 flow</text>": 2, "&lt;b&gt;&amp;lt;*_`#quot;": 4} {
		if n := strings.Count(string(out), what); n != want {
			t.Errorf("%d of %s, want %d, in\n%s", n, what, want, out)
		}
	}
}
