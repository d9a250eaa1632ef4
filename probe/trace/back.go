package trace

import (
	"fmt"
	"math"

	"gtrace/probe"
)

// What the TTLs of answers, and of label stacks, hint at: ways back of another length, and routers that answer for no TTL. They prove
// nothing, as both look alike, and either is common.

// backLonger is how many routers further than before answers must come, at once and from there on. Less is usual.
const backLonger = 3

// findBack: from some TTL on answers come further than what they answer went.
func (t *T) findBack(last int) []probe.Finding {
	if t.several(last) {
		return nil
	}
	type back struct {
		o            *probe.Outcome
		n            int
		more, before int // routers on the way back that are not on the way there; the most that any hop before showed
	}
	var all []back
	most := math.MinInt
	for ttl := int(t.c.First); ttl <= last; ttl++ {
		o, n := t.alike(ttl)
		if o != nil && o.TTL > 0 && o.Answer == probe.TimeExceeded && o.From.WithZone("") != t.dst {
			b := back{o, n, probe.WayBack(o.TTL) - ttl, most}
			all, most = append(all, b), max(most, b.more)
		}
	}
	at, by, behind := 0, backLonger, math.MaxInt
	for i := len(all) - 1; i > 0; i-- {
		behind = min(behind, all[i].more)
		if i < len(all)-1 && behind-all[i].before >= by { // the last alone may just send with another TTL
			at, by = i, behind-all[i].before
		}
	}
	if at == 0 {
		return nil
	}
	a, b := all[at-1], all[at]
	return []probe.Finding{{
		Code: "return-path-longer", Between: [2]uint8{a.o.Spec.TTL, b.o.Spec.TTL}, Confidence: "low",
		Text: fmt.Sprintf("from TTL %d on answers come at least %d routers further than what they answer went: another way back, or routers that are hidden, as in a tunnel (MPLS)",
			b.o.Spec.TTL, by),
		Evidence: []probe.Evidence{probe.Witness(a.o, a.n), probe.Witness(b.o, b.n)},
	}}
}

// findHidden: a label stack in which TTL is left tells how many routers passed it on, as they count the label's TTL down from 255 where it is not that of
// the packet. Where the nodes around have no labels that is the one answer of the whole tunnel.
func (t *T) findHidden(last int) (fs []probe.Finding) {
	labelled := func(ttl int) bool {
		o, _ := t.alike(ttl)
		return o != nil && len(o.Labels) > 0
	}
	for ttl := int(t.c.First) + 1; ttl <= last; ttl++ {
		if !labelled(ttl) || labelled(ttl-1) || labelled(ttl+1) {
			continue
		}
		o, n := t.alike(ttl)
		if left := o.Labels[0].TTL; left > 127 && left < 255 {
			fs = append(fs, probe.Finding{
				Code: "hidden-hops", Between: [2]uint8{uint8(ttl - 1), uint8(ttl)}, Confidence: "medium",
				Text:     fmt.Sprintf("%v got it by a tunnel (MPLS) with %d of the label's TTL left: some %d routers in between answer for no TTL", o.From, left, 255-int(left)),
				Evidence: []probe.Evidence{probe.Witness(o, n)},
			})
		}
	}
	return fs
}
