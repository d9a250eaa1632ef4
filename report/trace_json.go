package report

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"gtrace/probe"
)

const traceSchema = "gtrace/trace/v1"

// traceDocument gathers the document of schema/gtrace-trace-v1.json.
type traceDocument struct {
	start   probe.Started
	o       Options
	flight  flight
	hops    map[uint8]*hop
	probes  map[uint64]*traceProbe // by serial
	found   []finding
	checked *selfCheck
}

func newTraceDocument(s probe.Started, o Options) collector {
	return &traceDocument{start: s, o: o, hops: make(map[uint8]*hop),
		probes: make(map[uint64]*traceProbe), found: []finding{}}
}

type traceMethod struct {
	Protocol   string  `json:"protocol"`
	Flow       string  `json:"flow"`
	DstPort    uint16  `json:"destination_port,omitempty"`
	SrcPort    uint16  `json:"source_port,omitempty"`
	Identifier uint16  `json:"identifier,omitempty"`
	Label      *uint32 `json:"flow_label,omitempty"`
	Size       int     `json:"size_bytes,omitempty"`
	Socket     string  `json:"socket,omitempty"`
}

func newTraceMethod(m probe.Method) traceMethod {
	t := traceMethod{Protocol: m.Proto.String(), Flow: "paris", DstPort: m.DstPort, SrcPort: m.SrcPort,
		Label: m.Label, Size: m.Size, Socket: m.Socket}
	if m.Classic {
		t.Flow = "classic"
	}
	if m.Proto == probe.ICMP { // its ports are the identifier and a checksum
		t.DstPort, t.SrcPort, t.Identifier = 0, 0, m.SrcPort
	}
	return t
}

type hop struct {
	TTL    uint8         `json:"ttl"`
	Probes []*traceProbe `json:"probes"`
}

type traceProbe struct {
	serial  uint64
	Attempt uint32     `json:"attempt,omitempty"`
	Flow    uint16     `json:"flow"`
	SentAt  instant    `json:"sent_at,omitzero"`
	Result  string     `json:"result"`
	Error   string     `json:"error,omitempty"`
	From    netip.Addr `json:"from,omitzero"`
	RTT     *millis    `json:"rtt_ms,omitempty"`
	Clock   string     `json:"clock,omitempty"`
	Match   string     `json:"match,omitempty"`
	Late    bool       `json:"late,omitempty"`
	Dups    uint64     `json:"duplicates,omitempty"`
	answer
	ReplyTTL  uint8    `json:"reply_ttl,omitempty"`
	QuotedTTL *uint8   `json:"quoted_ttl,omitempty"`
	MPLS      []label  `json:"mpls,omitempty"`
	MTU       int      `json:"mtu,omitempty"`
	Changes   []change `json:"changes,omitempty"`
}

type label struct {
	Label  uint32 `json:"label"`
	TC     uint8  `json:"tc"`
	Bottom bool   `json:"bottom"`
	TTL    uint8  `json:"ttl"`
}

// A change is a header field that the answering node saw with another value
// than it was sent with.
type change struct {
	Field string `json:"field"`
	Sent  any    `json:"sent"`
	Seen  any    `json:"seen"`
}

func newTraceProbe(o *probe.Outcome) *traceProbe {
	p := &traceProbe{serial: o.Serial, Attempt: o.Spec.Attempt, Flow: o.Spec.Flow,
		SentAt: instant{o.Sent}, Error: failure(o), From: o.From, answer: newAnswer(o), ReplyTTL: o.TTL, MTU: o.MTU}
	switch o.Status {
	case probe.Answered:
		p.Result, p.Late = "reply", o.Late
		if o.Match != probe.NoMatch {
			p.Match = o.Match.String()
		}
	case probe.Lost:
		p.Result = "timeout"
	default:
		p.Result = "error"
	}
	if d, ok := rtt(o); ok {
		p.RTT, p.Clock = (*millis)(&d), o.Clock.String()
	}
	for _, l := range o.Labels {
		p.MPLS = append(p.MPLS, label{l.Value, l.TC, l.Bottom, l.TTL})
	}
	if o.Quoted.Known {
		p.QuotedTTL = &o.Quoted.TTL
		p.Changes = changes(o)
	}
	return p
}

// changes compares the probe as it was sent with the quote of it. What the hop itself
// writes into packets it forwards is not in its quote: that shows at the next
// hop.
func changes(o *probe.Outcome) (cs []change) {
	sent, seen := o.Spec, o.Quoted
	if a, b := sent.TOS>>2, seen.TOS>>2; a != b {
		cs = append(cs, change{"ip.dscp", a, b})
	}
	if a, b := sent.TOS&3, seen.TOS&3; a != b {
		cs = append(cs, change{"ip.ecn", a, b})
	}
	// A packet carries no zone.
	if a, b := sent.Src.Addr().WithZone(""), seen.Src.Addr().WithZone(""); b.IsValid() && a != b {
		cs = append(cs, change{"ip.source", a, b})
	}
	if a, b := sent.Src.Port(), seen.Src.Port(); seen.Src.IsValid() && a != b {
		field := sent.Proto.String() + ".source_port"
		if sent.Proto == probe.ICMP {
			field = "icmp.identifier"
		}
		cs = append(cs, change{field, a, b})
	}
	return cs
}

func (d *traceDocument) hop(ttl uint8) *hop {
	h := d.hops[ttl]
	if h == nil {
		h = &hop{TTL: ttl, Probes: []*traceProbe{}}
		d.hops[ttl] = h
	}
	return h
}

func (d *traceDocument) add(e probe.Event) {
	switch e := e.(type) {
	case probe.Sent:
		d.flight.left(e.Serial)
		d.hop(e.Spec.TTL)
	case probe.Probed:
		d.outcome(&e.Outcome)
	case probe.Finding:
		d.found = append(d.found, newFinding(e))
	case probe.Checked:
		d.checked = (*selfCheck)(&e)
	}
}

func (d *traceDocument) outcome(o *probe.Outcome) {
	d.flight.decided(o)
	old := d.probes[o.Serial]
	switch {
	case o.Serial == 0: // of the flow, but of no probe
		return
	case o.Duplicate:
		if old != nil {
			old.Dups++
		}
		return
	}
	p := newTraceProbe(o)
	if old != nil { // it was lost, and this is its late answer
		*old = *p
		return
	}
	d.probes[o.Serial] = p
	h := d.hop(o.Spec.TTL)
	h.Probes = append(h.Probes, p)
}

type traceJSON struct {
	head
	Method traceMethod `json:"method"`
	ending
	Hops      []*hop       `json:"hops"`
	Findings  []finding    `json:"findings"`
	SelfCheck *selfCheck   `json:"self_check,omitempty"`
	Summary   traceSummary `json:"summary"`
}

type traceSummary struct {
	HopCount uint8  `json:"hop_count,omitempty"`
	Sent     uint64 `json:"probes_sent"`
	Replies  uint64 `json:"replies"`
	InFlight int    `json:"in_flight,omitempty"`
}

func (d *traceDocument) document(f probe.Finished) any {
	t := traceJSON{
		head:      newHead(traceSchema, d.start, d.o),
		Method:    newTraceMethod(d.start.Method),
		ending:    newEnding(d.start, f),
		Hops:      []*hop{},
		Findings:  d.found,
		SelfCheck: d.checked,
		Summary:   traceSummary{Sent: d.flight.sent, Replies: d.flight.answered, InFlight: len(d.flight.open)},
	}
	if f.Verdict == probe.Reached && !f.Vague {
		t.Summary.HopCount = f.LastTTL
	}
	for _, ttl := range slices.Sorted(maps.Keys(d.hops)) {
		if ttl > f.LastTTL {
			break
		}
		h := d.hops[ttl]
		slices.SortStableFunc(h.Probes, func(a, b *traceProbe) int {
			return cmp.Or(cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Flow, b.Flow), cmp.Compare(a.serial, b.serial))
		})
		// An attempt that was asked again, as when a service's answer could not be told apart,
		// stands by its last probe; the events have both.
		slices.Reverse(h.Probes)
		h.Probes = slices.CompactFunc(h.Probes, func(a, b *traceProbe) bool { return a.Attempt == b.Attempt && a.Flow == b.Flow })
		slices.Reverse(h.Probes)
		t.Hops = append(t.Hops, h)
	}
	return t
}
