package report

import (
	"net/netip"

	"gtrace/probe"
)

// The lines of a stream of events: schema/gtrace-events-v1.json and
// schema/gping-events-v1.json.

type startedLine struct {
	Event       string     `json:"event"`
	Target      string     `json:"target"`
	Destination netip.Addr `json:"destination,omitzero"`
	Source      netip.Addr `json:"source,omitzero"`
	Family      int        `json:"family,omitempty"`
	Method      any        `json:"method"`
	StartedAt   instant    `json:"started_at,omitzero"`
}

func newStartedLine(s probe.Started, method any) startedLine {
	h := newHead("", s, Options{})
	return startedLine{"started", h.Target, h.Destination, h.Source, h.Family, method, instant{s.At}}
}

type traceSentLine struct {
	Event   string     `json:"event"`
	Serial  uint64     `json:"serial"`
	TTL     uint8      `json:"ttl"`
	Attempt uint32     `json:"attempt"`
	Flow    uint16     `json:"flow"`
	To      netip.Addr `json:"to,omitzero"`
	SentAt  instant    `json:"sent_at"`
	Packet  octets     `json:"packet,omitempty"`
}

type traceProbedLine struct {
	Event     string `json:"event"`
	Serial    uint64 `json:"serial,omitempty"`
	TTL       uint8  `json:"ttl,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"`
	*traceProbe
}

type hopLineJSON struct {
	Event   string   `json:"event"`
	TTL     uint8    `json:"ttl"`
	Serials []uint64 `json:"serials"`
}

type advisedLine struct {
	Event      string     `json:"event"`
	Serial     uint64     `json:"serial,omitempty"`
	TTL        uint8      `json:"ttl,omitempty"`
	Attempt    uint32     `json:"attempt,omitempty"`
	Flow       uint16     `json:"flow"`
	From       netip.Addr `json:"from,omitzero"`
	ReceivedAt instant    `json:"received_at,omitzero"`
	ICMP       icmp       `json:"icmp"`
	Gateway    netip.Addr `json:"gateway,omitzero"`
}

type pathMTULine struct {
	Event string `json:"event"`
	narrowing
}

type linksLine struct {
	Event string `json:"event"`
	Links []link `json:"links"`
}

type sharedLine struct {
	Event     string      `json:"event"`
	Hops      []sharedHop `json:"hops"`
	Confirmed bool        `json:"confirmed"`
}

type findingLine struct {
	Event string `json:"event"`
	finding
}

func (d *traceDocument) started() any {
	return newStartedLine(d.start, newTraceMethod(d.start.Method))
}

func (d *traceDocument) line(e probe.Event) any {
	switch e := e.(type) {
	case *probe.Sent:
		return traceSentLine{"sent", e.Serial, e.Spec.TTL, e.Spec.Attempt, e.Spec.Flow, d.aside(&e.Spec), instant{e.At}, e.Packet}
	case *probe.Probed:
		o := e.Outcome
		if o.Serial == 0 { // which probe it answers is not known: its Spec is any one's of the flow
			o.Spec.Attempt, o.Spec.TTL = 0, 0
		}
		p := newTraceProbe(&o)
		p.To = d.aside(&o.Spec)
		return traceProbedLine{"probed", o.Serial, o.Spec.TTL, o.Duplicate, p}
	case probe.Advised:
		o := &e.Outcome
		l := advisedLine{"advised", o.Serial, o.Spec.TTL, o.Spec.Attempt, o.Spec.Flow, o.From, instant{o.At}, icmp{o.Type, o.Code}, o.Gateway}
		if o.Serial == 0 {
			l.TTL, l.Attempt = 0, 0
		}
		return l
	case probe.PathMTU:
		return pathMTULine{"path-mtu", newNarrowing(e)}
	case probe.Hop:
		serials := make([]uint64, len(e.Outcomes))
		for i := range e.Outcomes {
			serials[i] = e.Outcomes[i].Serial
		}
		return hopLineJSON{"hop", e.TTL, serials}
	case probe.Shared:
		return sharedLine{"shared-hops", newSharedHops(&e), e.Seen}
	case probe.Links:
		return linksLine{"links", newLinks(e.Links)}
	case probe.Finding:
		return findingLine{"finding", newFinding(e)}
	}
	return nil
}

type pingSentLine struct {
	Event  string  `json:"event"`
	Serial uint64  `json:"serial"`
	Seq    uint32  `json:"seq"`
	Size   int     `json:"size_bytes,omitempty"` // of a sweep
	SentAt instant `json:"sent_at"`
	Packet octets  `json:"packet,omitempty"`
}

type pingProbedLine struct {
	Event     string `json:"event"`
	Serial    uint64 `json:"serial,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"`
	*reply
}

// A pingNoteLine tells of a probe without deciding it: that it is still waited for, or of a message about it.
type pingNoteLine struct {
	Event   string     `json:"event"`
	Serial  uint64     `json:"serial"`
	Seq     uint32     `json:"seq"`
	At      instant    `json:"at,omitzero"`
	From    netip.Addr `json:"from,omitzero"`
	ICMP    *icmp      `json:"icmp,omitempty"`
	Gateway netip.Addr `json:"gateway,omitzero"`
}

type pingInterimLine struct {
	Event   string      `json:"event"`
	At      instant     `json:"at,omitzero"`
	Summary pingSummary `json:"summary"`
}

func (d *pingDocument) started() any {
	return newStartedLine(d.start, newPingMethod(d.start.Method))
}

func (d *pingDocument) line(e probe.Event) any {
	switch e := e.(type) {
	case *probe.Sent:
		return pingSentLine{"sent", e.Serial, e.Spec.Attempt, d.size(e.Serial, &e.Spec), instant{e.At}, e.Packet}
	case *probe.Probed:
		return pingProbedLine{"probed", e.Outcome.Serial, e.Outcome.Duplicate, d.reply(&e.Outcome)}
	case probe.Waiting:
		return pingNoteLine{Event: "waiting", Serial: e.Serial, Seq: e.Spec.Attempt, At: instant{e.At}}
	case probe.Advised:
		o := &e.Outcome
		return pingNoteLine{"advised", o.Serial, o.Spec.Attempt, instant{o.At}, o.From, &icmp{o.Type, o.Code}, o.Gateway}
	case probe.Interim:
		return pingInterimLine{"interim", instant{e.At}, d.summary()}
	}
	return nil
}
