package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

// TestAnyRunIsOneDocument makes up runs and holds what comes out to the schema and to what it must
// add up to: whatever happened, one line of valid JSON for each target.
func TestAnyRunIsOneDocument(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			ping := r.IntN(2) == 0
			open, docs, events := NewTrace, traceSchemaFile, traceEventsFile
			if ping {
				open, docs, events = NewPing, pingSchemaFile, pingEventsFile
			}
			var all []probe.Event
			var made []*madeUp
			for range 1 + r.IntN(3) {
				m := makeUp(r, ping)
				made = append(made, m)
				all = append(all, m.events...)
			}
			o := Options{Version: "1", NoReplies: r.IntN(4) == 0}
			if r.IntN(2) == 0 {
				o.Names, o.Origins = says("a\x1b.example"), says("AS1")
			}
			got := lines(run(t, open, "json", o, all...))
			if len(got) != len(made) {
				t.Fatalf("%d documents of %d targets", len(got), len(made))
			}
			for i, doc := range got {
				docs.accepts(t, doc)
				made[i].check(t, doc, ping, o)
			}
			stream := lines(run(t, open, "events", o, all...))
			for _, l := range stream {
				events.accepts(t, l)
			}
			if want := got[len(got)-1]; stream[len(stream)-1] != want {
				t.Errorf("the last event is\n%s\nwant the document\n%s", stream[len(stream)-1], want)
			}
			// whole lines, no panic, and the counts that the documents have
			text := run(t, open, "text", Options{}, all...)
			if ping {
				sameCounts(t, text, got)
				sameOnTheWay(t, made[0].events)
			}
			o.Extensions, o.Back, o.Flags, o.Both = true, true, true, true
			run(t, open, "text", o, all...)
			run(t, openTracepath, "text", o, all...)
			run(t, openMultipath, "text", o, all...)
			run(t, NewTrace, "dot", o, all...)
			run(t, NewTrace, "mermaid", o, all...)
		})
	}
}

// sameOnTheWay: what SIGQUIT asks for is the same beside a document as beside text, after each event.
func sameOnTheWay(t *testing.T, events []probe.Event) {
	t.Helper()
	var asked []probe.Event
	for _, e := range events {
		if asked = append(asked, e); len(asked) < 2*len(events)-1 {
			asked = append(asked, probe.Interim{})
		}
	}
	var text, document bytes.Buffer
	run(t, NewPing, "text", Options{Side: &text}, asked...)
	run(t, NewPing, "json", Options{Side: &document}, asked...)
	if n := strings.Count(text.String(), "\n"); n != len(events)-1 || text.String() != document.String() {
		t.Errorf("%d lines beside text\n%s\nbeside a document\n%s", n, &text, &document)
	}
}

// A madeUp is a run, and what its document must say.
type madeUp struct {
	events                    []probe.Event
	sent, answered, open      int
	received, lost, ends, dup int
	flowOnly, stand           int // answers to the flow, and those that stand for a probe
	shown                     int // probes that are decided, up to the last TTL
}

// makeUp lets each probe live its own life and mixes these lives.
func makeUp(r *rand.Rand, ping bool) *madeUp {
	m := &madeUp{}
	protos := []probe.Proto{probe.UDP, probe.ICMP, probe.TCP}
	if !ping {
		protos = append(protos, probe.UDPLite, probe.DCCP, probe.Raw)
	}
	method := probe.Method{Proto: protos[r.IntN(len(protos))], Number: uint8(r.Uint32()), Flags: uint8(r.Uint32()), Classic: r.IntN(2) == 0,
		SrcPort: uint16(r.IntN(3)), DstPort: uint16(r.IntN(3)), Size: 40 + r.IntN(100), Socket: "raw", FirstTTL: 1, MaxTTL: 30}
	s := started(method)
	v6run := r.IntN(2) == 0
	if v6run {
		s.Src, s.Dst = local6, dest6
	}
	last := uint8(1 + r.IntN(4))

	var lives [][]probe.Event
	for n := range r.IntN(20) {
		spec := probe.Spec{Proto: method.Proto, Src: netip.AddrPortFrom(s.Src, 9), Dst: netip.AddrPortFrom(s.Dst, 7),
			TTL: uint8(1 + r.IntN(6)), TOS: uint8(r.Uint32()), Attempt: uint32(1 + n), Flow: uint16(r.IntN(3))}
		lives = append(lives, m.life(r, uint64(n+1), spec, last, ping))
	}
	if method.Proto == probe.UDP && len(lives) > 0 {
		for range r.IntN(12) {
			o := hopAnswer(flowOnly)
			o.Spec.Dst, o.Spec.Attempt = netip.AddrPortFrom(s.Dst, 7), 1
			lives = append(lives, []probe.Event{&probe.Probed{Outcome: o}})
			m.flowOnly++
		}
	}
	mixed := mix(r, lives)
	m.standing(mixed)
	if !ping {
		for range r.IntN(3) {
			f := probe.Finding{Code: "some-thing", Confidence: "low", Text: "\x1b\xff"}
			if r.IntN(2) == 0 {
				f.TTL = 1 + uint8(r.IntN(9))
			} else {
				f.Between = [2]uint8{1, 2}
			}
			mixed = slices.Insert(mixed, r.IntN(len(mixed)+1), probe.Event(f))
		}
		for range r.IntN(3) {
			a := probe.Outcome{Serial: r.Uint64N(3), At: after(2), From: s.Src, Type: 5, Code: uint8(r.IntN(4)), Gateway: s.Dst}
			a.Spec.TTL, a.Spec.Attempt = 1, 1
			for _, e := range []probe.Event{probe.Advised{Outcome: a}, probe.PathMTU{TTL: uint8(r.IntN(3)), Bytes: 68 + r.IntN(65468)}} {
				mixed = slices.Insert(mixed, r.IntN(len(mixed)+1), e)
			}
		}
		var h probe.Hop
		h.TTL = last
		for _, e := range mixed {
			if e, ok := e.(*probe.Probed); ok && e.Outcome.Serial != 0 {
				h.Outcomes = append(h.Outcomes, e.Outcome)
			}
		}
		mixed = append(mixed, h)
	}
	f := probe.Finished{At: after(float64(r.IntN(1e6))), Complete: r.IntN(2) == 0, LastTTL: last}
	verdicts := []probe.Verdict{probe.Reached, probe.Blocked, probe.MaxHops, probe.GapLimit, probe.Interrupted, probe.Errored}
	if ping {
		verdicts = []probe.Verdict{probe.AnsweredIt, probe.Silent, probe.Blocked, probe.Interrupted, probe.Errored}
	}
	if f.Verdict = verdicts[r.IntN(len(verdicts))]; f.Verdict == probe.Errored {
		f.Err = errors.New("something")
	}
	m.events = append(append([]probe.Event{s}, mixed...), probe.Checked{Late: r.Uint64N(1 << 40)}, f)
	return m
}

// standing reckons m.stand: an answer to the flow stands for a probe that has left and has none of its own, as long as that
// is so.
func (m *madeUp) standing(es []probe.Event) {
	without := make(map[uint64]bool)
	for _, e := range es {
		switch e := e.(type) {
		case *probe.Sent:
			without[e.Serial] = true
		case *probe.Probed:
			switch o := &e.Outcome; {
			case o.Serial == 0:
				m.stand++
			case o.Status == probe.Answered:
				delete(without, o.Serial)
			}
			m.stand = min(m.stand, len(without))
		}
	}
}

// life is what happens to one probe, in order.
func (m *madeUp) life(r *rand.Rand, serial uint64, spec probe.Spec, last uint8, ping bool) (es []probe.Event) {
	is := func(status probe.Status) probe.Outcome {
		return probe.Outcome{Serial: serial, Spec: spec, Status: status, Sent: after(1)}
	}
	shown := ping || spec.TTL <= last
	fail := is(probe.Failed)
	fail.Sent, fail.Errno, fail.Err = time.Time{}, "EPERM", errors.New("no")
	if r.IntN(6) == 0 {
		if shown {
			m.shown++
		}
		return []probe.Event{&probe.Probed{Outcome: fail}}
	}
	m.sent++
	es = append(es, &probe.Sent{Serial: serial, Spec: spec, At: after(1)})
	if r.IntN(6) == 0 {
		m.open++
		return es
	}
	if shown {
		m.shown++
	}
	isLate := false
	if r.IntN(3) == 0 {
		es = append(es, &probe.Probed{Outcome: is(probe.Lost)})
		if r.IntN(2) == 0 {
			m.lost++
			m.ends++
			return es
		}
		isLate = true
	}
	o := someAnswer(r, is(probe.Answered))
	o.Late = isLate
	es = append(es, &probe.Probed{Outcome: o})
	m.answered++
	m.ends++
	if received(&o) {
		m.received++
	}
	for range r.IntN(3) {
		o := someAnswer(r, is(probe.Answered))
		o.Duplicate = true
		es = append(es, &probe.Probed{Outcome: o})
		if shown {
			m.dup++
		}
	}
	return es
}

// someAnswer makes up an answer.
func someAnswer(r *rand.Rand, o probe.Outcome) probe.Outcome {
	o.At = o.Sent.Add(time.Duration(r.Int64N(1e10) - 1e6))
	o.Clock = probe.Clock(r.IntN(3))
	o.Match = []probe.Match{probe.Strict, probe.NATRewritten, probe.IDRewritten, probe.Alone}[r.IntN(4)]
	o.From = o.Spec.Dst.Addr()
	o.TTL = uint8(r.IntN(3))
	o.Bytes = 1 + r.IntN(100)
	o.Corrupted = r.IntN(5) == 0
	o.TOS, o.Pointer = uint8(r.Uint32()), int(r.Uint32())
	direct := map[probe.Proto][]probe.Answer{probe.UDP: {probe.Datagram}, probe.UDPLite: {probe.Datagram}, probe.ICMP: {probe.EchoReply},
		probe.TCP: {probe.SynAck, probe.Reset, probe.SegmentReply}, probe.DCCP: {probe.RawReply}, probe.Raw: {probe.RawReply}}
	errors := []probe.Answer{probe.TimeExceeded, probe.ReassemblyExceeded, probe.PortUnreachable, probe.ProtocolUnreachable,
		probe.Unreachable, probe.TooBig, probe.ParameterProblem}
	if from := append(direct[o.Spec.Proto], errors...); r.IntN(2) == 0 {
		o.Answer = from[0]
	} else {
		o.Answer = from[r.IntN(len(from))]
	}
	o.Type, o.Code = uint8(r.Uint32()), uint8(r.Uint32())
	switch o.Answer {
	case probe.SynAck, probe.Reset, probe.SegmentReply:
		o.Flags = 1 + uint8(r.IntN(255))
	case probe.TooBig:
		o.MTU = r.IntN(2) * 1400
	}
	if r.IntN(2) == 0 {
		o.Quoted = probe.Quoted{Known: true, Src: netip.AddrPortFrom(o.Spec.Src.Addr(), uint16(8+r.IntN(3))),
			Dst: o.Spec.Dst, TTL: uint8(r.IntN(3)), TOS: uint8(r.Uint32())}
		o.Labels = make([]probe.Label, r.IntN(3))
		for range r.IntN(3) {
			data := make([]byte, r.IntN(9))
			o.Objects = append(o.Objects, probe.Object{Class: uint8(r.IntN(3)), Type: uint8(r.IntN(3)), Data: data})
		}
	}
	return o
}

// mix keeps each life's own order.
func mix(r *rand.Rand, lives [][]probe.Event) (es []probe.Event) {
	for len(lives) > 0 {
		i := r.IntN(len(lives))
		es = append(es, lives[i][0])
		if lives[i] = lives[i][1:]; len(lives[i]) == 0 {
			lives = slices.Delete(lives, i, i+1)
		}
	}
	return es
}

var transmitted = regexp.MustCompile(`(?m)^(\d+) packets transmitted, (\d+) received.*?(?:, ([\d.]+)% packet loss|$)`)

// sameCounts holds what a text says of each target to its document. Text has what is open as lost.
func sameCounts(t *testing.T, text string, docs []string) {
	t.Helper()
	all := transmitted.FindAllStringSubmatch(text, -1)
	if len(all) != len(docs) {
		t.Fatalf("%d statistics of %d targets:\n%s", len(all), len(docs), text)
	}
	for i, m := range all {
		sent, received := part(t, docs[i], "summary", "sent"), part(t, docs[i], "summary", "received")
		if m[1] != sent || m[2] != received {
			t.Errorf("text has %s and %s, the document %s and %s", m[1], m[2], sent, received)
		}
		loss, err := strconv.ParseFloat(part(t, docs[i], "summary", "loss_percent"), 64)
		if err != nil || part(t, docs[i], "summary", "in_flight") != "" {
			continue
		}
		if told, err := strconv.ParseFloat(m[3], 64); err != nil || math.Abs(told-loss) > 1e-3 {
			t.Errorf("text has a loss of %s, the document of %v", m[3], loss)
		}
	}
}

func (m *madeUp) check(t *testing.T, doc string, ping bool, o Options) {
	t.Helper()
	var d struct {
		Hops []struct {
			TTL    int
			Probes []struct {
				Result     string
				Duplicates int
			}
		}
		Replies []struct {
			Seq        int
			Result     string
			Duplicates int
		}
		Summary struct {
			Sent, Received int
			Probes         int `json:"probes_sent"`
			Replies        int
			InFlight       int      `json:"in_flight"`
			FlowOnly       int      `json:"flow_only"`
			Loss           *float64 `json:"loss_percent"`
		}
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatal(err)
	}
	shown, dup, before := 0, 0, 0
	for _, h := range d.Hops {
		if h.TTL <= before {
			t.Errorf("TTL %d after %d", h.TTL, before)
		}
		before = h.TTL
		for _, p := range h.Probes {
			shown++
			dup += p.Duplicates
		}
	}
	for _, p := range d.Replies {
		if p.Seq <= before {
			t.Errorf("seq %d after %d", p.Seq, before)
		}
		before = p.Seq
		shown++
		dup += p.Duplicates
	}
	if !(ping && o.NoReplies) && (shown != m.shown || dup != m.dup) {
		t.Errorf("%d probes and %d duplicates shown, want %d and %d", shown, dup, m.shown, m.dup)
	}
	// An answer to the flow stands for a probe that was given up, else for one that is open.
	of := 0
	if ping {
		of = m.stand
	}
	open := m.open - max(0, of-m.lost)
	if d.Summary.InFlight != open || ping && d.Summary.FlowOnly != m.flowOnly {
		t.Errorf("%d in flight and %d of the flow, want %d and %d", d.Summary.InFlight, d.Summary.FlowOnly, open, m.flowOnly)
	}
	if !ping {
		if d.Summary.Probes != m.sent || d.Summary.Replies != m.answered {
			t.Errorf("%d sent and %d replies, want %d and %d", d.Summary.Probes, d.Summary.Replies, m.sent, m.answered)
		}
		return
	}
	received, ends := m.received+of, m.ends+m.open-open
	if d.Summary.Sent != m.sent || d.Summary.Received != received {
		t.Errorf("%d sent and %d received, want %d and %d", d.Summary.Sent, d.Summary.Received, m.sent, received)
	}
	switch loss := d.Summary.Loss; {
	case ends == 0:
		if loss != nil {
			t.Errorf("loss %v, but nothing is decided", *loss)
		}
	case loss == nil:
		t.Error("no loss")
	default:
		if want := 100 * float64(ends-received) / float64(ends); *loss < want-1e-6 || *loss > want+1e-6 {
			t.Errorf("loss %v, want %v", *loss, want)
		}
	}
}
