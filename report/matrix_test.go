package report

import (
	"errors"
	"io"
	"strings"
	"testing"

	"gtrace/probe"
)

var matrixNames = []string{"icmp", "udp/53", "tcp/443"}

func openMatrix(w io.Writer, format string, o Options) (probe.Sink, error) {
	return NewMatrix(w, format, o, matrixNames)
}

// of makes events those of one method.
func of(n int, events ...probe.Event) (all []probe.Event) {
	for _, e := range events {
		all = append(all, &probe.For{Target: n, Event: e})
	}
	return all
}

// byMethod is how each of matrixNames is sent.
var byMethod = []probe.Method{
	{Matrix: "icmp", Proto: probe.ICMP, SrcPort: 7, Size: 60, Socket: "raw", FirstTTL: 1, MaxTTL: 30, Attempts: 1},
	{Matrix: "udp/53", Proto: probe.UDP, Content: probe.DNSQuery, SrcPort: 40001, DstPort: 53, Size: 45, Socket: "raw", FirstTTL: 1, MaxTTL: 30, Attempts: 1},
	{Matrix: "tcp/443", Proto: probe.TCP, SrcPort: 40001, DstPort: 443, Size: 60, Socket: "raw", FirstTTL: 1, MaxTTL: 30, Attempts: 1},
}

// hops make one of each distance from an outcome each.
func hops(os ...probe.Outcome) (hs []probe.Event) {
	for i, o := range os {
		o.Spec.TTL = uint8(i + 1)
		hs = append(hs, probe.Hop{TTL: uint8(i + 1), Outcomes: []probe.Outcome{o}})
	}
	return hs
}

// sends makes an answer the destination's.
func sends(a probe.Answer) func(*probe.Outcome) {
	return func(o *probe.Outcome) {
		o.From, o.Answer, o.Type, o.Code, o.Flags = dest, a, 0, 0, 0
		switch a {
		case probe.PortUnreachable:
			o.Type, o.Code = 3, 3
		case probe.SynAck:
			o.Flags = 0x12
		case probe.Reset:
			o.Flags = 0x14
		case probe.Datagram:
			o.Bytes = 25
		}
	}
}

var (
	r1, r2   = hopAnswer(), hopAnswer(from("10.0.2.1"))
	mute     = hopAnswer(lost)
	gapLimit = probe.Finished{At: after(83.1), Complete: true, Verdict: probe.GapLimit, LastTTL: 4}
)

// matrixRun is a path on which icmp is dropped behind the second router, udp/53 refused by it, and tcp/443 passes.
var matrixRun = func() (all []probe.Event) {
	filtered := probe.Finding{Code: "administratively-prohibited", Text: "10.0.2.1 refuses it", Confidence: "high", TTL: 3}
	private := probe.Finding{Code: "nat-implied", Text: "somebody translates", Confidence: "medium", Between: [2]uint8{1, 2}}
	for i, m := range byMethod {
		all = append(all, of(i, started(m), sent(hopAnswer()), &probe.Probed{Outcome: hopAnswer()})...)
	}
	refusal := hopAnswer(unreachable(3, 13), from("10.0.2.1"))
	all = append(all, of(1, append(hops(r1, r2, refusal), filtered, private, probe.Checked{},
		probe.Finished{At: after(9), Complete: true, Verdict: probe.Blocked, LastTTL: 3})...)...)
	all = append(all, of(2, append(hops(r1, mute, hopAnswer(from("10.0.3.1")), hopAnswer(sends(probe.SynAck))), private, probe.Checked{}, reached(4))...)...)
	return append(all, of(0, append(hops(r1, r2, mute, mute), private, probe.Checked{}, gapLimit)...)...)
}()

// TestMatrixText: a line a node and a column a method; where each ends; findings once, and whose they are where not all have them.
func TestMatrixText(t *testing.T) {
	const want = `traceroute to example.org (192.0.2.9), 30 hops max
    Host           icmp    udp/53  tcp/443
 1  198.51.100.1  0.413     0.413    0.413
 2  10.0.2.1      0.413     0.413        *
 3  10.0.2.1          *  0.413 !X
    10.0.3.1                         0.413
 4  192.0.2.9         *         -    0.413
  # icmp: ends after hop 2, 10.0.2.1: nothing further is answered
  # udp/53: ends after hop 2: 10.0.2.1 answers !X
  # tcp/443: reaches the destination at hop 4: the port is open
  # matrix: icmp and udp/53 end after hop 2, tcp/443 passes
  # nat-implied: somebody translates
  # administratively-prohibited: udp/53: 10.0.2.1 refuses it
`
	if got := run(t, openMatrix, "text", Options{}, matrixRun...); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	twice := run(t, openMatrix, "text", Options{}, append(append([]probe.Event{}, matrixRun...), matrixRun...)...)
	if twice != want+"\n"+want {
		t.Errorf("a second target comes out as\n%s", strings.TrimPrefix(twice, want))
	}
}

// TestMatrixHosts: what stands with a router in a trace stands with it here: its name, its system, labels, and the length of its way back.
func TestMatrixHosts(t *testing.T) {
	labelled := hopAnswer(func(o *probe.Outcome) { o.Labels, o.TTL = []probe.Label{{Value: 7, Bottom: true, TTL: 1}}, 60 })
	events := of(0, append([]probe.Event{started(byMethod[0]), &probe.Probed{Outcome: labelled}}, append(hops(labelled), gapLimit)...)...)
	for i := 1; i < len(matrixNames); i++ {
		events = append(events, of(i, started(byMethod[i]), gapLimit)...)
	}
	o := Options{Extensions: true, Back: true, Names: says("gw.example.org"), Origins: says("AS64496")}
	if got, want := run(t, openMatrix, "text", o, events...), "\n 1  gw.example.org (198.51.100.1) [AS64496] <MPLS:L=7,E=0,S=1,T=1> '-5'  0.413"; !strings.Contains(got, want) {
		t.Errorf("got\n%swant in it %q", got, want)
	}
}

// TestMatrixJSON: a document a method and one of all behind them; the lines of events say which method's they are.
func TestMatrixJSON(t *testing.T) {
	got := strings.Split(run(t, openMatrix, "json", Options{Version: "1"}, matrixRun...), "\n")
	const want = `{"schema":"gtrace/matrix/v1","version":"1","target":"example.org","destination":"192.0.2.9","source":"198.51.100.2","family":4,"methods":[` +
		`{"method":"icmp","outcome":"gap-limit","passes":false,"ttl":2,"from":"10.0.2.1"},` +
		`{"method":"udp/53","outcome":"unreachable","passes":false,"ttl":2,"from":"10.0.2.1","by":{"from":"10.0.2.1","icmp":{"type":3,"code":13},"annotation":"!X"}},` +
		`{"method":"tcp/443","outcome":"reached","passes":true,"ttl":4,"from":"192.0.2.9","by":{"from":"192.0.2.9","tcp":{"flags":"SA"}}}],` +
		`"conclusion":"icmp and udp/53 end after hop 2, tcp/443 passes"}`
	if len(got) != 5 || got[3] != want {
		t.Fatalf("got\n%s\nwant, the fourth,\n%s", strings.Join(got, "\n"), want)
	}
	for i, method := range []string{`"method":{"matrix":"udp/53","protocol":"udp"`, `"method":{"matrix":"tcp/443"`, `"method":{"matrix":"icmp"`} {
		traceSchemaFile.accepts(t, got[i])
		if !strings.Contains(got[i], method) {
			t.Errorf("document %d is %s, want that with %s", i, got[i], method)
		}
	}
	matrixSchemaFile.accepts(t, got[3])
	if !strings.Contains(got[0], `"asks":"dns"`) || strings.Contains(got[1]+got[2], `"asks"`) {
		t.Error("what is asked stands elsewhere than with udp/53")
	}
	for _, l := range strings.Split(strings.TrimSpace(run(t, openMatrix, "events", Options{Version: "1", Targets: true}, matrixRun...)), "\n") {
		if strings.Contains(l, `"schema":"gtrace/matrix/v1"`) {
			matrixSchemaFile.accepts(t, l)
			continue
		}
		traceEventsFile.accepts(t, l)
		if !strings.Contains(l, `"matrix":"`) || !strings.Contains(l, `"target":"example.org"`) {
			t.Errorf("whose is %s", l)
		}
	}
}

// TestMatrixEnds: where each method ends, in words and in the document.
func TestMatrixEnds(t *testing.T) {
	ends := func(v probe.Verdict, last uint8, err error) probe.Finished {
		return probe.Finished{At: after(9), Complete: v != probe.Interrupted, Verdict: v, LastTTL: last, Err: err}
	}
	asks := func(c probe.Content) func(*probe.Outcome) { return func(o *probe.Outcome) { o.Spec.Content = c } }
	alone := func(o *probe.Outcome) { o.Match = probe.Alone }
	const passes, fails, unknown = `"passes":true`, `"passes":false`, ``
	for _, tt := range []struct {
		name   string
		hops   []probe.Event
		end    probe.Finished
		text   string
		sum    string
		passes string
	}{
		{"an echo reply", hops(r1, hopAnswer(sends(probe.EchoReply))), reached(2), "reaches the destination at hop 2", "passes", passes},
		{"an open port", hops(r1, hopAnswer(sends(probe.SynAck))), reached(2), "reaches the destination at hop 2: the port is open", "passes", passes},
		{"a reset", hops(hopAnswer(sends(probe.Reset))), reached(1), "reaches the destination at hop 1: the port is closed", "passes", passes},
		{"port unreachable", hops(hopAnswer(sends(probe.PortUnreachable))), reached(1), "reaches the destination at hop 1: the port is closed", "passes", passes},
		{"a name server", hops(hopAnswer(sends(probe.Datagram), asks(probe.DNSQuery))), reached(1), "reaches the destination at hop 1: a name server answers", "passes", passes},
		{"a QUIC server", hops(hopAnswer(sends(probe.Datagram), asks(probe.QUICInitial))), reached(1), "reaches the destination at hop 1: a QUIC server answers", "passes", passes},
		{"what is no name server's answer", hops(hopAnswer(sends(probe.Datagram), asks(probe.DNSQuery), alone)), reached(1),
			"reaches the destination at hop 1: a service answers", "passes", passes},
		{"the destination's answer, to which probe is not known", hops(r1), probe.Finished{Complete: true, Verdict: probe.Reached, LastTTL: 3, Vague: true},
			"reaches the destination at hop 3 or before", "passes", passes},
		{"silence", hops(r1, r2, mute), gapLimit, "ends after hop 2, 10.0.2.1: nothing further is answered", "ends after hop 2", fails},
		{"silence, on a host that lost answers", append(hops(r1, r2, mute), probe.Checked{ReceiveDrops: 3}), gapLimit,
			"could not be told: nothing is answered behind hop 2, but this host lost answers (self_check.receive_drops)", "could not be told", unknown},
		{"silence in between", hops(mute, r2, mute), gapLimit, "ends after hop 2, 10.0.2.1: nothing further is answered", "ends after hop 2", fails},
		{"silence from the start", hops(mute, mute), gapLimit, "is not answered by anybody", "is not answered", fails},
		{"a refusal", hops(r1, hopAnswer(unreachable(3, 1))), ends(probe.Blocked, 2, nil), "ends after hop 1: 198.51.100.1 answers !H", "ends after hop 1", fails},
		{"a refusal by a router that says nothing else", hops(r1, hopAnswer(unreachable(3, 1), from("10.0.2.1"))), ends(probe.Blocked, 2, nil), "ends at hop 2: 10.0.2.1 answers !H", "ends at hop 2", fails},
		{"a refusal by the first", hops(hopAnswer(unreachable(3, 13))), ends(probe.Blocked, 1, nil), "ends at hop 1: 198.51.100.1 answers !X", "ends at hop 1", fails},
		{"a router that answers in the destination's place", hops(r1, r2, hopAnswer(sends(probe.PortUnreachable), from("198.51.100.1"))), reached(3),
			"ends after hop 2: 198.51.100.1 answers in the destination's place: the port is closed", "ends after hop 2", fails},
		{"another address that nobody heard before", hops(r1, hopAnswer(sends(probe.PortUnreachable), from("10.0.2.1"))), reached(2),
			"may pass: 10.0.2.1 answers for the destination at hop 2: the port is closed", "may pass", unknown},
		{"such a one, and the destination", append(hops(r1), probe.Hop{TTL: 2, Outcomes: []probe.Outcome{
			hopAnswer(sends(probe.PortUnreachable), from("10.0.2.1")), hopAnswer(sends(probe.PortUnreachable))}}), reached(2),
			"reaches the destination at hop 2: the port is closed", "passes", passes},
		{"a loop", hops(r1, r2, r1, r2), ends(probe.Loop, 4, nil), "goes in circles up to hop 4", "goes in circles up to hop 4", fails},
		{"a path that goes on", func() []probe.Event {
			h := r2
			h.Spec.TTL = 30
			return append(hops(r1), probe.Hop{TTL: 30, Outcomes: []probe.Outcome{h}})
		}(), ends(probe.MaxHops, 30, nil), "does not reach the destination within 30 hops; --max-hops goes further", "does not reach it within 30 hops", unknown},
		{"the last TTL, in silence", hops(r1, mute), ends(probe.MaxHops, 30, nil), "ends after hop 1, 198.51.100.1: nothing further is answered", "ends after hop 1", fails},
		{"an interrupt", hops(r1), ends(probe.Interrupted, 1, nil), "was interrupted after hop 1", "could not be told", unknown},
		{"an interrupt behind the end", hops(r1, hopAnswer(sends(probe.EchoReply))), ends(probe.Interrupted, 2, nil), "reaches the destination at hop 2", "passes", passes},
		{"an error", nil, ends(probe.Errored, 0, errors.New("no buffer space")), "could not be told: no buffer space", "could not be told", unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events := of(0, append(append([]probe.Event{started(byMethod[0])}, tt.hops...), tt.end)...)
			events = append(events, of(1, append(append([]probe.Event{started(byMethod[1])}, hops(r1, hopAnswer(sends(probe.EchoReply)))...), reached(2))...)...)
			events = append(events, of(2, probe.Finished{Verdict: probe.Interrupted})...) // it did not begin
			text := run(t, openMatrix, "text", Options{}, events...)
			for _, want := range []string{"\n  # icmp: " + tt.text + "\n", "\n  # tcp/443: was not measured\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing of\n%s", want, text)
				}
			}
			sum := "icmp " + tt.sum + ", udp/53 passes, tcp/443 was not measured"
			if tt.sum == "passes" {
				sum = "icmp and udp/53 pass, tcp/443 was not measured"
			}
			lines := strings.Split(strings.TrimSpace(run(t, openMatrix, "json", Options{Version: "1"}, events...)), "\n")
			doc := lines[len(lines)-1]
			matrixSchemaFile.accepts(t, doc)
			if want := `"conclusion":"` + sum + `"`; !strings.Contains(doc, want) || !strings.Contains(text, "\n  # matrix: "+sum+"\n") {
				t.Errorf("want %s\n%s\n%s", want, doc, text)
			}
			first := doc[strings.Index(doc, `{"method":"icmp"`):strings.Index(doc, `{"method":"udp/53"`)]
			if !strings.Contains(first, tt.passes) || tt.passes == unknown && strings.Contains(first, "passes") {
				t.Errorf("%s: want %q", first, tt.passes)
			}
		})
	}
}

// TestMatrixNotBegun: where no method began there is nothing to tell.
func TestMatrixNotBegun(t *testing.T) {
	for _, format := range Formats {
		var events []probe.Event
		for i := range matrixNames {
			events = append(events, of(i, probe.Finished{Verdict: probe.Interrupted})...)
		}
		if got := run(t, openMatrix, format, Options{}, events...); got != "" {
			t.Errorf("%s: %q, want nothing", format, got)
		}
	}
}
