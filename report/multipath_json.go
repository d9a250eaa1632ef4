package report

import (
	"maps"
	"net/netip"
	"slices"

	"gtrace/internal/stats"
	"gtrace/probe"
)

// A pathNode is who answers flows at a TTL of a multipath trace, or nobody.
type pathNode struct {
	Address netip.Addr `json:"address,omitzero"`
	Flows   []int      `json:"flows"`
	hopSummary
}

// A nodeProbes is the probes of the flows of a node, of which a node is made when all is known.
type nodeProbes struct {
	node   pathNode
	probes []*traceProbe
}

// nodes gathers them, by TTL.
type nodes struct {
	course
	at map[uint8][]nodeProbes
}

// take keeps what the outcomes of a hop say. They themselves are not kept.
func (ns *nodes) take(h probe.Hop) {
	ns.course.take(h, true)
	h = ns.hops[0]
	ns.hops = nil
	if ns.at == nil {
		ns.at = make(map[uint8][]nodeProbes)
	}
	for _, b := range branchesOf(h) {
		var n nodeProbes
		if b.last != nil {
			n.node.Address = b.last.From
		}
		for _, o := range b.all {
			if o.Status == probe.Failed { // it asked nobody
				continue
			}
			n.probes = append(n.probes, newTraceProbe(o))
			if flow := int(o.Spec.Flow); (o.Status == probe.Answered || b.last == nil) && !slices.Contains(n.node.Flows, flow) {
				n.node.Flows = append(n.node.Flows, flow)
			}
		}
		if len(n.probes) > 0 {
			slices.Sort(n.node.Flows)
			ns.at[h.TTL] = append(ns.at[h.TTL], n)
		}
	}
}

// nodesOf are those of a TTL, with what is known of each. Unless all its probes were answered, that is not how many came to it where flows do not
// stay: what was lost may have gone to another one. Nor is it loss where a limit explains it.
func (d *traceDocument) nodesOf(ttl uint8) (all []*pathNode) {
	found := d.nodes.at[ttl]
	if len(found) == 0 {
		return nil
	}
	strays := d.strays(ttl)
	for i := range found {
		n := &found[i].node
		n.timed(n.count(found[i].probes))
		all = append(all, n)
		switch lost := n.Sent - n.Received; {
		case n.Received == 0: // whoever never answers loses nothing that is known of
		case strays:
			n.Sent = 0
		case lost > 0 && d.limited(ttl, &found[i]) || slices.ContainsFunc(found[i].probes, toFlow):
		default:
			loss := share(lost, n.Sent)
			n.Loss, n.LossRange = &loss, lossRange(lost, n.Sent)
		}
	}
	return all
}

// strays reports whether probes that were lost at a TTL may have gone to any of several nodes there: one flow was answered by two, or a balancer
// before, since when ways have not met, is not known to send a flow always the same way.
func (d *traceDocument) strays(ttl uint8) bool {
	lost, twice, seen := false, false, make(map[int]bool)
	for _, n := range d.nodes.at[ttl] {
		for _, f := range n.node.Flows {
			twice = twice || seen[f]
			seen[f] = true
		}
		lost = lost || n.node.Address.IsValid() && slices.ContainsFunc(n.probes, func(p *traceProbe) bool { return p.Result == "timeout" })
	}
	switch {
	case !lost || !d.several(ttl):
		return false
	case twice:
		return true
	}
	for before := ttl - 1; before > 0; before-- {
		if slices.ContainsFunc(d.found, func(f finding) bool {
			return f.TTL == before && (f.Code == "balancer-per-packet" || f.Code == "balancer")
		}) {
			return true
		}
		if !d.several(before) {
			return false
		}
	}
	return false
}

// several reports whether more than one node answers at a TTL.
func (d *traceDocument) several(ttl uint8) bool {
	n := 0
	for i := range d.nodes.at[ttl] {
		if d.nodes.at[ttl][i].node.Address.IsValid() {
			n++
		}
	}
	return n > 1
}

// limitExplains is how much likelier, as a natural logarithm, the answers of a node must be by a limit than by chance for its loss not to be told: 20
// times. In a simulated diamond with Linux's limits and no loss none of 400 nodes had one so, and with 10 % of loss and no limits one in four had none.
const limitExplains = 3

// limited reports whether a limit to its answers explains what a node left out. One limit may be that of all nodes of a hop,
// which may be one router, and the destination's is that of all TTLs at which it was asked.
func (d *traceDocument) limited(ttl uint8, n *nodeProbes) bool {
	var everywhere []*traceProbe
	for _, at := range slices.Sorted(maps.Keys(d.hops)) {
		h := d.hops[at]
		if slices.ContainsFunc(h.Probes, func(p *traceProbe) bool { return p.From == n.node.Address }) {
			everywhere = append(everywhere, h.Probes...)
		}
	}
	for _, ps := range [...][]*traceProbe{n.probes, d.hop(ttl).Probes, everywhere} {
		if l, ok := stats.FitLimit(asksOf(ps)); ok && l.Evidence > limitExplains {
			return true
		}
	}
	return false
}

// toFlow reports whether an answer is one to the flow: nobody knows to which of its probes, so that another may be the lost one.
func toFlow(p *traceProbe) bool { return p.Match == probe.FlowOnly.String() }

// asksOf are probes as FitLimit wants them.
func asksOf(ps []*traceProbe) (as []stats.Ask) {
	ps = slices.DeleteFunc(slices.Clone(ps), func(p *traceProbe) bool { return p.Result == "error" })
	slices.SortStableFunc(ps, func(a, b *traceProbe) int { return a.SentAt.Compare(b.SentAt.Time) })
	for _, p := range ps {
		as = append(as, stats.Ask{At: p.SentAt.Sub(ps[0].SentAt.Time), Answered: p.Result == "reply"})
	}
	return as
}
