package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"gtrace/probe"
)

// A collector gathers what a document says about one target, and knows the
// lines of a stream of events.
type collector interface {
	started() any                  // the line that opens the target
	add(e probe.Event)             // of every event but Started and Finished
	line(e probe.Event) any        // the line of such an event, nil where it has none
	document(f probe.Finished) any // the whole; called once, last
}

// jsonSink writes one document a target and, where events is set, the lines of its events before
// it.
type jsonSink struct {
	out
	events bool
	named  bool   // each event says which target's it is
	name   []byte // of the target and of the method, as members of an object
	open   func(probe.Started) collector
	target collector // nil between targets
}

func (s *jsonSink) Emit(e probe.Event) error {
	switch e := e.(type) {
	case probe.Started:
		if s.target != nil {
			return errOpen
		}
		s.target = s.open(e)
		if !s.events {
			return nil
		}
		of := struct {
			Target string `json:"target,omitempty"`
			Matrix string `json:"matrix,omitempty"`
		}{Matrix: e.Method.Matrix}
		if s.named {
			of.Target = e.Target
		}
		if err := s.encode(s.target.started()); err != nil || of.Target+of.Matrix == "" {
			return err
		}
		b, err := marshal(of)
		s.name = append([]byte{','}, b[1:]...)
		return err
	case probe.Finished:
		if s.target == nil {
			return errClosed
		}
		doc := s.target.document(e)
		s.target, s.name = nil, nil
		return s.encode(doc)
	}
	if s.target == nil {
		return errClosed
	}
	s.target.add(e)
	if !s.events {
		return nil
	}
	return s.event(s.target.line(e))
}

func (s *jsonSink) event(v any) error {
	if !s.events || v == nil {
		return nil
	}
	return s.encode(v)
}

// usual is room for the document of a few pings.
const usual = 1536

func (s *jsonSink) encode(v any) error {
	var b []byte
	var err error
	if a, ok := v.(appender); ok {
		b, err = a.appendJSON(make([]byte, 0, usual))
	} else {
		b, err = marshal(v)
	}
	if err != nil {
		return err
	}
	if len(s.name) > 0 {
		b = append(bytes.TrimSuffix(b, []byte("}")), s.name...)
	}
	return s.line(escape(b))
}

// marshal is v in JSON, for people too: without escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("report: encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// What traces and pings have in common.

type head struct {
	Schema      string     `json:"schema"`
	Version     string     `json:"version,omitempty"`
	Target      string     `json:"target"`
	Destination netip.Addr `json:"destination,omitzero"`
	Source      netip.Addr `json:"source,omitzero"`
	Family      int        `json:"family,omitempty"`
}

func newHead(schema string, s probe.Started, o Options) head {
	h := head{Schema: schema, Version: o.Version, Target: s.Target, Destination: s.Dst, Source: s.Src}
	if s.Dst.IsValid() {
		h.Family = family(s.Dst)
	}
	return h
}

func (h *head) write(o *members) {
	o.add("schema", h.Schema)
	o.text("version", h.Version)
	o.add("target", h.Target)
	o.address("destination", h.Destination)
	o.address("source", h.Source)
	o.integer("family", h.Family)
}

type ending struct {
	StartedAt instant `json:"started_at,omitzero"`
	Duration  *millis `json:"duration_ms,omitempty"`
	Complete  bool    `json:"complete"`
	Outcome   string  `json:"outcome"`
	Stop      string  `json:"stop_reason,omitempty"`
	Error     string  `json:"error,omitempty"`
}

func newEnding(s probe.Started, f probe.Finished) ending {
	e := ending{StartedAt: instant{s.At}, Complete: f.Complete, Outcome: string(f.Verdict)}
	if d := f.At.Sub(s.At); !s.At.IsZero() && !f.At.IsZero() && d >= 0 {
		e.Duration = (*millis)(&d)
	}
	if f.Verdict == probe.Errored && f.Err != nil {
		e.Error = f.Err.Error()
		if errors.Is(f.Err, probe.ErrSource) {
			e.Stop = "source-changed"
		}
	}
	return e
}

func (e *ending) write(o *members) {
	o.instant("started_at", e.StartedAt)
	o.millis("duration_ms", e.Duration)
	o.addBool("complete", e.Complete)
	o.add("outcome", e.Outcome)
	o.text("stop_reason", e.Stop)
	o.text("error", e.Error)
}

type selfCheck struct {
	ReceiveDrops uint64 `json:"receive_drops"`
	SendErrors   uint64 `json:"send_errors"`
	Late         uint64 `json:"late"`
	Duplicates   uint64 `json:"duplicates"`
	Unmatched    uint64 `json:"unmatched"`
	Malformed    uint64 `json:"malformed"`
	ClockSteps   uint64 `json:"clock_steps"`
	Advisories   uint64 `json:"advisories"`

	SlowedTo float64 `json:"slowed_to_per_second,omitempty"`

	Rejected map[string]uint64 `json:"rejected,omitempty"` // unmatched and malformed, by probe.Reason
}

func newSelfCheck(c probe.Checked) *selfCheck {
	s := &selfCheck{ReceiveDrops: c.ReceiveDrops, SendErrors: c.SendErrors, Late: c.Late, Duplicates: c.Duplicates,
		Unmatched: c.Unmatched, Malformed: c.Malformed, ClockSteps: c.ClockSteps, Advisories: c.Advisories,
		SlowedTo: math.Round(c.SlowedTo)}
	for why, n := range c.Rejected {
		if n == 0 {
			continue
		}
		if s.Rejected == nil {
			s.Rejected = make(map[string]uint64)
		}
		s.Rejected[probe.Reason(why).String()] = n
	}
	return s
}

type icmp struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

type tcp struct {
	Flags string `json:"flags"`
}

type udp struct {
	Bytes int `json:"bytes,omitempty"`
}

// packet is an answer of another protocol than these.
type packet struct {
	Protocol uint8 `json:"protocol"`
	Bytes    int   `json:"bytes,omitempty"`
}

// answer is what an outcome says of its answer, in both documents.
type answer struct {
	ICMP       *icmp   `json:"icmp,omitempty"`
	TCP        *tcp    `json:"tcp,omitempty"`
	UDP        *udp    `json:"udp,omitempty"`
	IP         *packet `json:"ip,omitempty"`
	Annotation string  `json:"annotation,omitempty"`
}

func newAnswer(o *probe.Outcome) answer {
	a := answer{Annotation: annotation(o)}
	switch o.Answer {
	case probe.NoAnswer:
	case probe.SynAck, probe.Reset, probe.SegmentReply:
		a.TCP = &tcp{tcpFlags(o.Flags)}
	case probe.Datagram:
		a.UDP = &udp{o.Bytes}
	case probe.RawReply:
		a.IP = &packet{o.Spec.Proto.Number(o.Spec.Dst.Addr(), o.Spec.Number), o.Bytes}
	default:
		a.ICMP = &icmp{o.Type, o.Code}
	}
	return a
}

// tcpFlags names the bits of f (RFC 9293 section 3.1, RFC 3168 section 6.1), the lowest
// first: "SA" is an open port, "RA" a closed one.
func tcpFlags(f uint8) string {
	var b []byte
	for i, name := range []byte("FSRPAUEC") {
		if f&(1<<i) != 0 {
			b = append(b, name)
		}
	}
	return string(b)
}

// failure is why a probe did not leave, in the system's word for it where it has one.
func failure(o *probe.Outcome) string {
	switch {
	case o.Status != probe.Failed:
		return ""
	case o.Errno != "":
		return o.Errno
	case o.Err != nil:
		return o.Err.Error()
	}
	return ""
}

type finding struct {
	Code       string     `json:"code"`
	TTL        uint8      `json:"ttl,omitempty"`
	Between    [2]uint8   `json:"between,omitzero"`
	Confidence string     `json:"confidence,omitempty"`
	Text       string     `json:"text"`
	Evidence   []evidence `json:"evidence,omitempty"`
}

type evidence struct {
	TTL       uint8      `json:"ttl"`
	From      netip.Addr `json:"from"`
	Answers   int        `json:"answers"`
	ICMP      *icmp      `json:"icmp,omitempty"`
	ReplyTTL  uint8      `json:"reply_ttl,omitempty"`
	QuotedTTL *uint8     `json:"quoted_ttl,omitempty"`
}

func newFinding(f probe.Finding) finding {
	n := finding{Code: f.Code, TTL: f.TTL, Between: f.Between, Confidence: f.Confidence, Text: f.Text}
	for _, e := range f.Evidence {
		v := evidence{TTL: e.TTL, From: e.From, Answers: e.Answers, ReplyTTL: e.Reply}
		if e.ICMP {
			v.ICMP = &icmp{e.Type, e.Code}
		}
		if e.Quotes {
			v.QuotedTTL = &e.Quoted
		}
		n.Evidence = append(n.Evidence, v)
	}
	return n
}

// flight counts what became of the probes of a run.
type flight struct {
	sent, answered, lost uint64
	open                 []uint64 // serials that left and are not decided, in ascending order
	flowOnly             uint64   // answers of which only the flow is known
	stand                uint64   // so many of them stand for a probe that has no answer of its own
}

func (f *flight) left(serial uint64) {
	f.sent++
	if i, found := slices.BinarySearch(f.open, serial); !found { // as a rule it is the last
		f.open = slices.Insert(f.open, i, serial)
	}
}

// crowd is how many open serials are too many to be moved for each answer.
const crowd = 1024

// close takes a serial out. As a rule it is one of the first, and in a flood tens of thousands are behind it.
func (f *flight) close(serial uint64) {
	switch i, found := slices.BinarySearch(f.open, serial); {
	case !found:
	case len(f.open) < crowd:
		f.open = slices.Delete(f.open, i, i+1)
	default:
		copy(f.open[1:i+1], f.open[:i])
		f.open = f.open[1:]
	}
}

// decided takes an outcome. One that comes late takes its probe back from the lost; a
// duplicate decides nothing. Nor does an answer of which only the flow is
// known: it has no serial, and the probes it may belong to stay open. It stands for one of them; one more than there
// are is a copy, and none stands for a probe that left later.
func (f *flight) decided(o *probe.Outcome) {
	defer func() { f.stand = min(f.stand, f.lost+uint64(len(f.open))) }()
	switch {
	case o.Serial == 0 && !received(o): // an error that quotes too little: no answer of the destination's
		return
	case o.Serial == 0:
		f.flowOnly++
		f.stand++
		return
	case o.Duplicate:
		return
	}
	f.close(o.Serial)
	if o.Late && f.lost > 0 {
		f.lost--
	}
	switch o.Status {
	case probe.Answered:
		f.answered++
	case probe.Lost:
		f.lost++
	}
}

// accounted is how many of the probes without an answer of their own answers to the flow stand for. Which they are is
// not known; those given up are older than those still open, so they come first.
func (f *flight) accounted() (lost, open uint64) {
	lost = min(f.stand, f.lost)
	return lost, f.stand - lost
}
