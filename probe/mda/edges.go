package mda

import (
	"slices"

	"gtrace/probe"
)

// An edge is from a node of a TTL to one of the next, and the flows that show it.
type edge struct {
	from, to *node
	flows    []int
}

// edges are those between a TTL and the next, by what is known, in the order that their nodes were heard.
func (t *T) edges(ttl int) (es []edge) {
	h, next := t.hop(ttl), t.hop(ttl+1)
	for i := range h.nodes {
		from := &h.nodes[i]
		first := len(es)
		for _, f := range t.through(from, ttl, true) {
			to := next.knows(f)
			if to == nil || to.addr == from.addr { // it refuses what goes on: nobody new
				continue
			}
			j := slices.IndexFunc(es[first:], func(e edge) bool { return e.to == to })
			if j < 0 {
				j = len(es) - first
				es = append(es, edge{from: from, to: to})
			}
			es[first+j].flows = append(es[first+j].flows, f)
		}
	}
	return es
}

// ends are how many edges begin and end at each node.
func ends(es []edge) (out, in map[*node]int) {
	out, in = make(map[*node]int), make(map[*node]int)
	for _, e := range es {
		out[e.from]++
		in[e.to]++
	}
	return out, in
}

// connect asks for what is missing of the edges between a TTL and the next, both of which have been asked with enough flows.
func (t *T) connect(ttl int, out *probe.Output, room *int) {
	h, next := t.hop(ttl), t.hop(ttl+1)
	if t.c.Flows > 0 || h.answers == 0 || next.answers == 0 {
		return
	}
	es := t.edges(ttl)
	from, to := ends(es)
	missing := false
	ask := func(flow, at int) { // whether it can be now or not
		missing = true
		t.send(flow, at, false, out, room)
	}
	known := func(h *hop) func(int) bool { return func(f int) bool { return h.knows(f) != nil } }

	// Each node has a successor and, but for those that only a flow shows that ends before, a predecessor.
	for _, n := range t.live(ttl) {
		if flows := t.through(n, ttl, true); from[n] == 0 && len(flows) > 0 && !slices.ContainsFunc(flows, known(next)) {
			ask(flows[0], ttl+1)
		}
	}
	for _, n := range t.live(ttl + 1) {
		if flows := t.through(n, ttl+1, false); to[n] == 0 && !slices.ContainsFunc(flows, known(h)) {
			ask(flows[0], ttl)
		}
	}
	if missing {
		return
	}
	if !h.full {
		h.full = t.meshed(ttl, es, from, to, ask)
		if missing {
			h.full = false
			return
		}
	}
	if h.full {
		t.control(ttl, es, from, out, room)
	}
}

// meshed reports whether the edges say that to ask the next TTL as a whole is not enough: a node of the wider side has two neighbours on
// the narrower one, which branches that only fan out or in have not; or those of the narrower one have unequal numbers of them,
// so that flows are not spread evenly. Two flows for each node of the wider side must be known on the other; ask is for those.
func (t *T) meshed(ttl int, es []edge, from, to map[*node]int, ask func(flow, at int)) bool {
	h, next := t.hop(ttl), t.hop(ttl+1)
	left, right := t.joined(ttl, from), t.joined(ttl+1, to)
	if len(left) < 2 && len(right) < 2 {
		return false
	}
	wide, narrow, wideEnds, narrowEnds := left, right, from, to
	at, other, otherTTL, going := ttl, next, ttl+1, true
	if len(right) > len(left) {
		wide, narrow, wideEnds, narrowEnds = right, left, to, from
		at, other, otherTTL, going = ttl+1, h, ttl, false
	}
	if len(narrow) >= 2 {
		for _, n := range wide {
			flows := t.through(n, at, going)
			seen := 0
			for _, f := range flows {
				if other.knows(f) != nil {
					seen++
				}
			}
			for _, f := range flows {
				if seen < 2 && other.at(f).state == unasked {
					ask(f, otherTTL)
					seen++
				}
			}
		}
		for _, n := range wide {
			if wideEnds[n] >= 2 {
				return true
			}
		}
	}
	for _, n := range narrow[1:] {
		if narrowEnds[n] != narrowEnds[narrow[0]] {
			return true
		}
	}
	return false
}

// joined are the nodes of a TTL that have edges.
func (t *T) joined(ttl int, ends map[*node]int) (nodes []*node) {
	for _, n := range t.live(ttl) {
		if ends[n] > 0 {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// control gives each node of a TTL as many flows as the stopping rule wants for its own successors: those that are known to go through it,
// and then new ones, of which some will.
func (t *T) control(ttl int, es []edge, from map[*node]int, out *probe.Output, room *int) {
	h, next := t.hop(ttl), t.hop(ttl+1)
	lack := 0
	for _, n := range t.live(ttl) {
		flows := t.through(n, ttl, true)
		if len(flows) == 0 || !n.addr.IsValid() {
			continue
		}
		need := Enough(max(1, from[n])+1, t.c.Miss)
		for _, f := range flows {
			if next.at(f).state != unasked {
				need--
			}
		}
		for _, f := range flows {
			if need > 0 && next.at(f).state == unasked {
				if !t.send(f, ttl+1, false, out, room) {
					return
				}
				need--
			}
		}
		lack += max(0, need)
	}
	for lack -= h.flying; lack > 0; lack-- {
		if !t.send(t.fresh(ttl), ttl, false, out, room) {
			return
		}
	}
}
