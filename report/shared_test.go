package report

import (
	"net/netip"
	"strings"
	"testing"

	"gtrace/probe"
)

// sharedRun is a trace that began at TTL 4.
func sharedRun(seen bool) []probe.Event {
	return []probe.Event{
		started(udpMethod),
		probe.Shared{Seen: seen, Hops: []probe.SharedHop{
			{TTL: 1, From: netip.MustParseAddr("10.0.0.1"), Traces: 412, Last: after(1000)},
			{TTL: 2, Traces: 16},
			{TTL: 3, From: netip.MustParseAddr("10.0.2.1"), Traces: 300, Last: after(2000)},
		}},
		sent(hopAnswer(number(1, 4, 1))),
		&probe.Probed{Outcome: hopAnswer(number(1, 4, 1))},
		probe.Hop{TTL: 4, Outcomes: []probe.Outcome{hopAnswer(number(1, 4, 1))}},
		probe.Finished{At: after(83.1), Complete: true, Verdict: probe.Reached, LastTTL: 4},
	}
}

// What was not asked never stands among what was measured.
func TestShared(t *testing.T) {
	const hops = `[{"ttl":1,"address":"10.0.0.1","traces":412,"last_at":"2026-03-01T12:00:01.000000500Z"},` +
		`{"ttl":2,"traces":16},{"ttl":3,"address":"10.0.2.1","traces":300,"last_at":"2026-03-01T12:00:02.000000500Z"}]`
	doc := run(t, NewTrace, "json", Options{Version: "1"}, sharedRun(true)...)
	traceSchemaFile.accepts(t, doc)
	for _, want := range []string{`"hops":[{"ttl":4,`, `,"shared_hops":` + hops + `,"shared_hops_confirmed":true,`, `"hop_count":4,"shared_hop_count":3,`} {
		if !strings.Contains(doc, want) {
			t.Errorf("no %s in %s", want, doc)
		}
	}
	if doc := run(t, NewTrace, "json", Options{Version: "1"}, sharedRun(false)...); !strings.Contains(doc, `"shared_hops_confirmed":false,`) {
		t.Error(doc)
	}
	const event = `{"event":"shared-hops","hops":` + hops + `,"confirmed":true}`
	lines := strings.Split(run(t, NewTrace, "events", Options{Version: "1"}, sharedRun(true)...), "\n")
	if lines[1] != event {
		t.Errorf("%s, want %s", lines[1], event)
	}
	traceEventsFile.accepts(t, lines[1])
	for _, tt := range []struct {
		seen bool
		want string
	}{
		{true, "  # shared-hops: TTL 1 to 3 were not asked: the last 16 traces or more of this run that were answered there found 10.0.0.1, silence, 10.0.2.1; --full asks\n"},
		{false, "  # shared-hops: TTL 1 to 3 were not asked: the last 16 traces or more of this run that were answered there found 10.0.0.1, silence, 10.0.2.1, and TTL 4, which would show it, has not answered; --full asks\n"},
	} {
		for _, table := range []bool{false, true} {
			got := run(t, NewTrace, "text", Options{Table: table}, sharedRun(tt.seen)...)
			if !strings.HasSuffix(got, tt.want) || !strings.Contains(got, "\n 4  198.51.100.1 ") {
				t.Errorf("table %v: %s\nwant %s", table, got, tt.want)
			}
		}
	}
}

// Their names and systems are asked for as those of the others.
func TestSharedNames(t *testing.T) {
	doc := run(t, NewTrace, "json", Options{Version: "1", Names: newHosts("10.0.0.1", "gw.example"), Origins: newHosts("10.0.2.1", "AS64496/AS64497")}, sharedRun(true)...)
	traceSchemaFile.accepts(t, doc)
	for _, want := range []string{`"address":"10.0.0.1","name":"gw.example","traces"`, `"address":"10.0.2.1","as":[64496,64497],"traces"`} {
		if !strings.Contains(doc, want) {
			t.Errorf("no %s in %s", want, doc)
		}
	}
}
