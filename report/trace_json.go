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
	mtus    []narrowing // in order
	losses  probe.Losses
	links   []link        // nil: the trace is of one way
	nodes   nodes         // of a multipath trace
	shared  *probe.Shared // nil: every hop was asked
	checked *selfCheck
}

func newTraceDocument(s probe.Started, o Options) collector {
	return &traceDocument{start: s, o: o, hops: make(map[uint8]*hop),
		probes: make(map[uint64]*traceProbe), found: []finding{}}
}

type traceMethod struct {
	Matrix     string       `json:"matrix,omitempty"`
	Protocol   string       `json:"protocol"`
	Number     *uint8       `json:"protocol_number,omitempty"`
	Flow       string       `json:"flow"`
	Field      string       `json:"flow_field,omitempty"`
	Flows      int          `json:"flows,omitempty"`
	Confidence int          `json:"confidence_percent,omitempty"`
	Nodes      int          `json:"confidence_nodes,omitempty"`
	DstPort    uint16       `json:"destination_port,omitempty"`
	SrcPort    uint16       `json:"source_port,omitempty"`
	Identifier uint16       `json:"identifier,omitempty"`
	Flags      string       `json:"tcp_flags,omitempty"`
	Asks       string       `json:"asks,omitempty"`
	Label      *uint32      `json:"flow_label,omitempty"`
	Route      []netip.Addr `json:"source_route,omitempty"`
	Size       int          `json:"size_bytes,omitempty"`
	Interval   *millis      `json:"interval_ms,omitempty"`
	Socket     string       `json:"socket,omitempty"`
}

// synFlag is the flag of an ordinary TCP probe, which goes without saying.
const synFlag = 1 << 1

func newTraceMethod(m probe.Method) traceMethod {
	t := traceMethod{Matrix: m.Matrix, Protocol: m.Proto.String(), Flow: "paris", DstPort: m.DstPort, SrcPort: m.SrcPort,
		Label: m.Label, Route: m.Route, Size: m.Size, Socket: m.Socket}
	if m.Content != probe.OwnContent {
		t.Asks = m.Content.String()
	}
	if m.Classic {
		t.Flow = "classic"
	}
	if m.Multipath {
		t.Flow, t.Flows, t.Confidence, t.Nodes = "multipath", m.Flows, m.Confidence, m.Nodes
	}
	if m.Aside {
		t.Field = "destination"
	}
	if m.Interval > 0 {
		t.Interval = (*millis)(&m.Interval)
	}
	switch {
	case m.Proto.IsICMP(): // its ports are the identifier and a checksum
		t.DstPort, t.SrcPort, t.Identifier = 0, 0, m.SrcPort
	case m.Proto == probe.Raw: // it has none
		t.DstPort, t.SrcPort, t.Number = 0, 0, &m.Number
	case m.Proto == probe.TCP && m.Flags != synFlag:
		t.Flags = tcpFlags(m.Flags)
	}
	return t
}

type hop struct {
	TTL     uint8         `json:"ttl"`
	Probes  []*traceProbe `json:"probes"`
	Summary *hopSummary   `json:"summary,omitempty"`
	Nodes   []*pathNode   `json:"nodes,omitempty"`
}

type traceProbe struct {
	serial  uint64
	Attempt uint32     `json:"attempt,omitempty"`
	Asked   int        `json:"asked,omitempty"`
	Flow    uint16     `json:"flow"`
	To      netip.Addr `json:"to,omitzero"` // where that is not the destination
	SentAt  instant    `json:"sent_at,omitzero"`
	Result  string     `json:"result"`
	Error   string     `json:"error,omitempty"`
	From    netip.Addr `json:"from,omitzero"`
	Name    string     `json:"name,omitempty"`
	AS      []uint32   `json:"as,omitempty"`
	RTT     *millis    `json:"rtt_ms,omitempty"`
	Clock   string     `json:"clock,omitempty"`
	Match   string     `json:"match,omitempty"`
	Late    bool       `json:"late,omitempty"`
	Dups    uint64     `json:"duplicates,omitempty"`
	answer
	ReplyTTL  uint8    `json:"reply_ttl,omitempty"`
	ReplyTOS  *uint8   `json:"reply_tos,omitempty"`
	QuotedTTL *uint8   `json:"quoted_ttl,omitempty"`
	MPLS      []label  `json:"mpls,omitempty"`
	Objects   []object `json:"objects,omitempty"`
	Ifaces    []iface  `json:"interfaces,omitempty"`
	MTU       int      `json:"mtu,omitempty"`
	Pointer   *int     `json:"pointer,omitempty"`
	Changes   []change `json:"changes,omitempty"`

	of struct { // what those above point to
		rtt         millis
		tos, quoted uint8
	}
}

// A sharedHop is one that was not asked for this target, but was found so for others.
type sharedHop struct {
	TTL     uint8      `json:"ttl"`
	Address netip.Addr `json:"address,omitzero"`
	Name    string     `json:"name,omitempty"`
	AS      []uint32   `json:"as,omitempty"`
	Traces  int        `json:"traces"`
	LastAt  instant    `json:"last_at,omitzero"`
}

// A link is that flows went from one node to another, at the next TTL.
type link struct {
	TTL   uint8      `json:"ttl"`
	From  netip.Addr `json:"from"`
	To    netip.Addr `json:"to"`
	Flows []int      `json:"flows"`
}

func newLinks(ls []probe.Link) []link {
	all := make([]link, len(ls)) // none is known too
	for i, l := range ls {
		all[i] = link(l)
	}
	return all
}

func newSharedHops(s *probe.Shared) (hs []sharedHop) {
	for _, h := range s.Hops {
		hs = append(hs, sharedHop{TTL: h.TTL, Address: h.From, Traces: h.Traces, LastAt: instant{h.Last}})
	}
	return hs
}

type label struct {
	Label  uint32 `json:"label"`
	TC     uint8  `json:"tc"`
	Bottom bool   `json:"bottom"`
	TTL    uint8  `json:"ttl"`
}

// An object is an ICMP extension object of another kind than a label stack.
type object struct {
	Class uint8  `json:"class"`
	Type  uint8  `json:"type"`
	Data  octets `json:"data,omitempty"`
}

// An iface is what an object of class 2 says (RFC 5837).
type iface struct {
	Role    string     `json:"role"`
	Index   *uint32    `json:"index,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	Name    string     `json:"name,omitempty"`
	MTU     *uint32    `json:"mtu,omitempty"`
	Partial bool       `json:"partial,omitempty"`
}

// roles are those of RFC 5837 section 4.2.
var roles = [4]string{"incoming", "incoming-part", "outgoing", "next-hop"}

func newIface(x probe.Interface) iface {
	return iface{roles[x.Role&3], x.Index, x.Addr, foreign(x.Name), x.MTU, x.Partial}
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
		p.of.rtt = millis(d)
		p.RTT, p.Clock = &p.of.rtt, o.Clock.String()
	}
	for _, l := range o.Labels {
		p.MPLS = append(p.MPLS, label{l.Value, l.TC, l.Bottom, l.TTL})
	}
	for _, x := range o.Objects {
		if !isStack(x) {
			p.Objects = append(p.Objects, object{x.Class, x.Type, slices.Clone(x.Data)})
		}
		if x.Interface != nil {
			p.Ifaces = append(p.Ifaces, newIface(*x.Interface))
		}
	}
	if o.TTL > 0 {
		p.of.tos = o.TOS
		p.ReplyTOS = &p.of.tos
	}
	if pointed(o) {
		p.Pointer = new(o.Pointer)
	}
	if o.Quoted.Known {
		p.of.quoted = o.Quoted.TTL
		p.QuotedTTL = &p.of.quoted
		p.Changes = changes(o)
	}
	return p
}

// aside is where a probe goes, if that is not the document's destination.
func (d *traceDocument) aside(s *probe.Spec) netip.Addr {
	if a := s.Dst.Addr(); d.start.Method.Aside && a != d.start.Dst {
		return a
	}
	return netip.Addr{}
}

// pointed reports whether an answer points at a byte of its probe. In ICMPv4 that is up to the code: 1 says that an option
// is missing (RFC 1122 section 3.2.2.5), which is nowhere.
func pointed(o *probe.Outcome) bool {
	return o.Answer == probe.ParameterProblem && (o.Spec.Dst.Addr().Is6() || o.Code != 1)
}

// changes are those that a quote shows.
func changes(o *probe.Outcome) (cs []change) {
	for _, c := range o.Changes() {
		cs = append(cs, change(c))
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
	case *probe.Sent:
		d.flight.left(e.Serial)
		d.hop(e.Spec.TTL)
	case *probe.Probed:
		ask(&e.Outcome, d.o.Names, d.o.Origins)
		d.outcome(&e.Outcome)
	case probe.PathMTU:
		d.mtus = append(d.mtus, newNarrowing(e))
	case probe.Finding:
		d.found = append(d.found, newFinding(e))
	case probe.Hop:
		if d.start.Method.Multipath {
			d.nodes.take(e)
		}
	case probe.Losses:
		d.losses = e
	case probe.Shared:
		d.shared = &e
		for _, h := range e.Hops {
			ask(&probe.Outcome{From: h.From}, d.o.Names, d.o.Origins)
		}
	case probe.Links:
		d.links = newLinks(e.Links)
	case probe.Checked:
		d.checked = newSelfCheck(e)
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
	p.To = d.aside(&o.Spec)
	if old != nil { // it was lost, and this is its late answer
		*old = *p
		return
	}
	d.probes[o.Serial] = p
	h := d.hop(o.Spec.TTL)
	h.Probes = append(h.Probes, p)
}

// A narrowing is from where on a path carries no more than so many bytes, and who said so.
type narrowing struct {
	TTL   uint8      `json:"ttl,omitempty"`
	From  netip.Addr `json:"from,omitzero"`
	Bytes int        `json:"path_mtu_bytes"`
}

func newNarrowing(e probe.PathMTU) narrowing { return narrowing{e.TTL, e.From, e.Bytes} }

type traceJSON struct {
	head
	Method traceMethod `json:"method"`
	ending
	Hops       []*hop       `json:"hops"`
	Links      []link       `json:"links,omitzero"`
	Narrowings []narrowing  `json:"narrowings,omitempty"`
	Shared     []sharedHop  `json:"shared_hops,omitempty"`
	Confirmed  *bool        `json:"shared_hops_confirmed,omitempty"`
	Findings   []finding    `json:"findings"`
	SelfCheck  *selfCheck   `json:"self_check,omitempty"`
	Summary    traceSummary `json:"summary"`
}

type traceSummary struct {
	HopCount  uint8     `json:"hop_count,omitempty"`
	Shared    int       `json:"shared_hop_count,omitempty"`
	PathMTU   int       `json:"path_mtu_bytes,omitempty"`
	Sent      uint64    `json:"probes_sent"`
	Replies   uint64    `json:"replies"`
	InFlight  int       `json:"in_flight,omitempty"`
	Loss      *percent  `json:"loss_percent,omitempty"`
	LossRange *interval `json:"loss_interval_percent,omitempty"`
}

func (d *traceDocument) document(f probe.Finished) any {
	t := &traceJSON{
		head:      newHead(traceSchema, d.start, d.o),
		Method:    newTraceMethod(d.start.Method),
		ending:    newEnding(d.start, f),
		Hops:      []*hop{},
		Findings:  d.found,
		SelfCheck: d.checked,
		Summary:   traceSummary{Sent: d.flight.sent, Replies: d.flight.answered, InFlight: len(d.flight.open)},
	}
	if f.Verdict == probe.Reached && !f.Vague {
		t.Summary.HopCount = cmp.Or(f.Distance, f.LastTTL)
	}
	t.Links = d.links
	if n := len(d.mtus); n > 0 {
		t.Narrowings, t.Summary.PathMTU = d.mtus, d.mtus[n-1].Bytes
	}
	if d.shared != nil {
		t.Shared, t.Confirmed, t.Summary.Shared = newSharedHops(d.shared), &d.shared.Seen, len(d.shared.Hops)
		for i := range t.Shared {
			h := &t.Shared[i]
			h.Name, h.AS = d.known(h.Address)
		}
	}
	for _, ttl := range slices.Sorted(maps.Keys(d.hops)) {
		if ttl > f.LastTTL {
			break
		}
		h := d.hops[ttl]
		slices.SortStableFunc(h.Probes, func(a, b *traceProbe) int {
			return cmp.Or(cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Flow, b.Flow), cmp.Compare(a.serial, b.serial))
		})
		h.compact()
		l := d.lossOf(ttl)
		h.Summary = h.summary(l)
		if l != nil && f.Verdict == probe.Reached && ttl == f.LastTTL && l.PathOf > 0 {
			loss := share(l.PathLost, l.PathOf)
			t.Summary.Loss, t.Summary.LossRange = &loss, lossRange(l.PathLost, l.PathOf)
		}
		h.Nodes = d.nodesOf(ttl)
		d.enrich(h)
		t.Hops = append(t.Hops, h)
	}
	return t
}

// compact leaves of an attempt that was asked again, as where a hop limits its answers or a service's answer could not be told
// apart, the last probe, by which it stands; the events have all.
func (h *hop) compact() {
	var kept []*traceProbe
	for _, p := range h.Probes {
		if n := len(kept); n > 0 && kept[n-1].Attempt == p.Attempt && kept[n-1].Flow == p.Flow {
			p.Asked = max(1, kept[n-1].Asked) + 1
			kept = kept[:n-1]
		}
		kept = append(kept, p)
	}
	h.Probes = append([]*traceProbe{}, kept...)
}

// lossOf is what the trace tells of the loss at ttl, nil where that is nothing.
func (d *traceDocument) lossOf(ttl uint8) *probe.HopLoss {
	for i := range d.losses.Hops {
		if l := &d.losses.Hops[i]; l.TTL == ttl {
			return l
		}
	}
	return nil
}

// enrich adds what is known of the addresses by now. Each was asked for when it answered, and a Namer's bound counts from
// then on, so that all of them together are not waited for longer than the last.
func (d *traceDocument) enrich(h *hop) {
	for _, p := range h.Probes {
		p.Name, p.AS = d.known(p.From)
	}
}

// known is what is known of a, where that is an address and was asked for.
func (d *traceDocument) known(a netip.Addr) (name string, as []uint32) {
	if !a.IsValid() {
		return "", nil
	}
	if d.o.Names != nil {
		name = nameOf(d.o.Names, a)
	}
	if d.o.Origins != nil {
		as = originsOf(d.o.Origins, a)
	}
	return name, as
}
