package report

import "bytes"

// appendJSON writes the hops, which are nearly all of a document, member by member, and leaves the rest to encoding/json.
// TestAppended holds that to the tags.
func (t *traceJSON) appendJSON(b []byte) ([]byte, error) {
	rest := *t
	rest.Hops = []*hop{}
	around, err := marshal(&rest)
	if err != nil {
		return b, err
	}
	none := []byte(`"hops":[]`) // in no string, where quotes are escaped
	at := bytes.Index(around, none)
	o := members{b: append(b, around[:at]...)}
	o.b = append(o.b, `"hops":[`...)
	for i, h := range t.Hops {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = append(o.b, '{')
		h.write(&o)
		o.b = append(o.b, '}')
	}
	o.b = append(o.b, ']')
	return append(o.b, around[at+len(none):]...), o.err
}

func (h *hop) write(o *members) {
	o.addNumber("ttl", uint64(h.TTL))
	o.key("probes")
	o.b = append(o.b, '[')
	for i, p := range h.Probes {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = append(o.b, '{')
		p.write(o)
		o.b = append(o.b, '}')
	}
	o.b = append(o.b, ']')
	if h.Summary != nil {
		o.any("summary", h.Summary)
	}
	if len(h.Nodes) > 0 {
		o.any("nodes", h.Nodes)
	}
}

func (p *traceProbe) write(o *members) {
	o.number("attempt", uint64(p.Attempt))
	o.integer("asked", p.Asked)
	o.addNumber("flow", uint64(p.Flow))
	o.address("to", p.To)
	o.instant("sent_at", p.SentAt)
	o.add("result", p.Result)
	o.text("error", p.Error)
	o.address("from", p.From)
	o.text("name", p.Name)
	if len(p.AS) > 0 {
		o.any("as", p.AS)
	}
	o.millis("rtt_ms", p.RTT)
	o.text("clock", p.Clock)
	o.text("match", p.Match)
	if p.Late {
		o.addBool("late", true)
	}
	o.number("duplicates", p.Dups)
	p.answer.write(o)
	o.number("reply_ttl", uint64(p.ReplyTTL))
	if p.ReplyTOS != nil {
		o.addNumber("reply_tos", uint64(*p.ReplyTOS))
	}
	if p.QuotedTTL != nil {
		o.addNumber("quoted_ttl", uint64(*p.QuotedTTL))
	}
	if len(p.MPLS) > 0 {
		o.any("mpls", p.MPLS)
	}
	if len(p.Objects) > 0 {
		o.any("objects", p.Objects)
	}
	if len(p.Ifaces) > 0 {
		o.any("interfaces", p.Ifaces)
	}
	o.integer("mtu", p.MTU)
	if p.Pointer != nil {
		o.any("pointer", p.Pointer)
	}
	if len(p.Changes) > 0 {
		o.any("changes", p.Changes)
	}
}

func (a *answer) write(o *members) {
	if a.ICMP != nil {
		o.within("icmp", func() {
			o.addNumber("type", uint64(a.ICMP.Type))
			o.addNumber("code", uint64(a.ICMP.Code))
		})
	}
	if a.TCP != nil {
		o.any("tcp", a.TCP)
	}
	if a.UDP != nil {
		o.any("udp", a.UDP)
	}
	if a.IP != nil {
		o.any("ip", a.IP)
	}
	o.text("annotation", a.Annotation)
}
