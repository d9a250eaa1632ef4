package mda

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"gtrace/probe"
)

// A check is whether a balancer sends one flow always the same way.
type check struct {
	ttl    int // of the balancer
	addr   netip.Addr
	flow   int
	varied []int // by Destination: this one and others that go there, of which variants are asked
	need   int   // so many answers like the first show that
	flying int   // probes one TTL on
	same   int
	other  int // answers by another node
	lost   int
}

// proven reports whether packets spread by chance would hardly all have gone the same way.
func (c *check) proven() bool { return c.other == 0 && c.same >= c.need }

// errBound is why it is not known whether the destination can be reached.
var errBound = errors.New("the search for branches ended at its bound before the destination was reached")

// planChecks has each node with several successors checked: one of its flows is asked again so often that packets spread by
// chance would hardly all go its way.
func (t *T) planChecks() {
	for ttl := int(t.c.First); ttl < t.last; ttl++ {
		es := t.edges(ttl)
		out, _ := ends(es)
		for _, e := range es {
			k := out[e.from]
			if k < 2 || !e.from.addr.IsValid() || !e.to.addr.IsValid() || t.checkOf(ttl, e.from.addr) != nil {
				continue
			}
			c := check{ttl: ttl, addr: e.from.addr, flow: e.flows[0], need: int(math.Ceil(math.Log(t.c.Miss) / -math.Log(float64(k))))}
			for _, also := range es {
				if also.from == e.from && also.to.addr.IsValid() {
					c.varied = append(c.varied, also.flows...)
				}
			}
			slices.Sort(c.varied)
			c.varied = c.varied[:min(len(c.varied), mostVaried)]
			t.checks = append(t.checks, c)
		}
	}
}

// runChecks asks what is still open.
func (t *T) runChecks(out *probe.Output, room *int) {
	for i := range t.checks {
		c := &t.checks[i]
		most := checkAtOnce
		if c.lost > 0 {
			most = 1
		}
		for c.other == 0 && c.same+c.flying < c.need && c.flying < most && c.lost < c.need+t.c.Attempts && t.send(c.flow, c.ttl+1, true, out, room) {
			c.flying++
		}
	}
}

// checkOf is that of a node, nil where there is none.
func (t *T) checkOf(ttl int, addr netip.Addr) *check {
	for i := range t.checks {
		if c := &t.checks[i]; c.ttl == ttl && c.addr == addr {
			return c
		}
	}
	return nil
}

// rechecked takes what became of a probe of a check; late ones come a second time.
func (t *T) rechecked(ttl, flow int, o *probe.Outcome, answered bool) {
	h := t.hop(ttl)
	if answered {
		t.timed(h, o)
	}
	for i := range t.checks {
		c := &t.checks[i]
		if c.ttl != ttl-1 || c.flow != flow {
			continue
		}
		if !o.Late {
			c.flying--
		}
		n := h.knows(flow)
		switch {
		case !answered:
			c.lost++
		case n == nil:
		case n.addr == o.From:
			c.same++
		default:
			c.other++
		}
		return
	}
}

// finish tells everything.
func (t *T) finish(stop error, out *probe.Output) {
	t.done, out.Done = true, true
	end := probe.Finished{At: t.now, Complete: stop == nil, LastTTL: t.lastTTL(stop)}
	switch {
	case stop != nil && !errors.Is(stop, probe.ErrInterrupted):
		end.Verdict, end.Err = probe.Errored, stop
	case t.distance > 0:
		end.Verdict, end.Distance = probe.Reached, uint8(t.distance)
	case stop != nil:
		end.Verdict = probe.Interrupted
	case t.failure != nil && t.heard() == 0:
		end.Verdict, end.Err, end.Complete = probe.Errored, t.failure, false
	case t.spent:
		end.Verdict, end.Complete = probe.Errored, false
		end.Err = fmt.Errorf("%w: %d probes", errBound, t.c.Budget)
	case t.blocked:
		end.Verdict = probe.Blocked
	case t.c.GapLimit > 0 && t.silent(t.last) >= t.c.GapLimit:
		end.Verdict = probe.GapLimit
	default:
		end.Verdict = probe.MaxHops
	}
	void := t.void()
	var links []probe.Link
	for ttl := int(t.c.First); ttl <= int(end.LastTTL); ttl++ {
		out.Events = append(out.Events, probe.Hop{TTL: uint8(ttl), Outcomes: slices.DeleteFunc(t.hop(ttl).outcomes, func(o probe.Outcome) bool { return o.Status == 0 })})
		if ttl == int(end.LastTTL) {
			break
		}
		if void[ttl] && len(t.live(ttl+1)) > 1 {
			continue // which of them follows which the flows do not say
		}
		for _, e := range t.edges(ttl) {
			if e.from.addr.IsValid() && e.to.addr.IsValid() {
				links = append(links, probe.Link{TTL: uint8(ttl), From: e.from.addr, To: e.to.addr, Flows: e.flows})
			}
		}
	}
	out.Events = append(out.Events, probe.Links{Links: links})
	t.findings(int(end.LastTTL), void, out)
	out.Events = append(out.Events, end)
}

// lastTTL is the last that was answered, where the destination was reached; else the last that is there, which may be silence. A trace that is
// cut short hides nothing.
func (t *T) lastTTL(stop error) uint8 {
	last := 0
	for ttl := int(t.c.First); ttl < len(t.hops); ttl++ {
		switch {
		case len(t.hop(ttl).outcomes) == 0:
		case stop != nil:
			last = ttl
		case ttl > t.last:
		case t.distance == 0 || slices.ContainsFunc(t.live(ttl), func(n *node) bool { return n.addr.IsValid() }):
			last = ttl
		}
	}
	return uint8(last)
}

// answers are those at a TTL that are known to be their probes' own.
func (t *T) answers(ttl int) (os []*probe.Outcome) {
	h := t.hop(ttl)
	for i := range h.outcomes {
		if o := &h.outcomes[i]; o.Status == probe.Answered && o.Match != probe.Alone && o.Match != probe.FlowOnly {
			os = append(os, o)
		}
	}
	return os
}

// chance is the first TTL whose balancers may spread packets one by one, 0 where none does. It is that of the first check that is not
// proven, where a flow was answered by several nodes there or further on: those checks do not say whose doing that is.
func (t *T) chance() int {
	first, other := 0, 0
	for i := range t.checks {
		c := &t.checks[i]
		if !c.proven() && (first == 0 || c.ttl < first) {
			first = c.ttl
		}
		if c.other > 0 {
			other = max(other, c.ttl)
		}
	}
	if other < first {
		return 0
	}
	return first
}

// void says of each TTL whether it is chance which of its nodes a packet comes to, whatever its flow: behind a balancer that spreads
// packets one by one, until all ways meet.
func (t *T) void() []bool {
	void, first := make([]bool, len(t.hops)), t.chance()
	for ttl := int(t.c.First) + 1; ttl < len(t.hops); ttl++ {
		by := func(c check) bool { return c.ttl == ttl-1 && !c.proven() && first > 0 && c.ttl >= first }
		void[ttl] = len(t.live(ttl)) > 1 && (void[ttl-1] || slices.ContainsFunc(t.checks, by))
	}
	return void
}

// findings says what the balancers do, where branches end, and how sure all is.
func (t *T) findings(last int, void []bool, out *probe.Output) {
	tell := func(f probe.Finding) { out.Events = append(out.Events, f) }
	for ttl := int(t.c.First); ttl <= last; ttl++ {
		if void[ttl] {
			continue // flows show no balancers there, nor which way ends
		}
		es := t.edges(ttl)
		for _, n := range t.live(ttl) {
			if f, ok := t.balancer(ttl, n, es); ok {
				tell(f)
			}
			if f, ok := t.deadEnd(ttl, n); ok {
				tell(f)
			}
		}
	}
	t.refusals(last, tell)
	for _, f := range probe.FindChanges(int(t.c.First), last, t.answers) {
		tell(f)
	}
	switch {
	case t.spent:
		tell(probe.Finding{Code: "multipath-incomplete", Confidence: "high", Text: fmt.Sprintf("the search for branches ended at its bound of %d probes: there may be more", t.c.Budget)})
	case t.scarce:
		what := ""
		if t.c.By == Destination {
			what = ", as many as there are addresses next to the host's that can be asked"
		}
		tell(probe.Finding{Code: "multipath-incomplete", Confidence: "high", Text: fmt.Sprintf("the search for branches took all of its %d flows%s: there may be more", t.c.Most(), what)})
	case t.low > 0:
		tell(probe.Finding{Code: "multipath-incomplete", TTL: uint8(t.low), Confidence: "high", Text: fmt.Sprintf(
			"most of what goes to addresses next to the host's ends after %d hops, before it: they were asked no further, and what follows is its own way alone", t.low)})
	}
}

// passing are the answers at a TTL to flows that are not known to end before: further on a flow is answered by whoever ended it.
func (t *T) passing(ttl int) []*probe.Outcome {
	return slices.DeleteFunc(t.answers(ttl), func(o *probe.Outcome) bool { return !t.goesOn(int(o.Spec.Flow), ttl) })
}

// refusals tells who does not let flows pass, and who says in the destination's place that it was reached.
func (t *T) refusals(last int, tell func(probe.Finding)) {
	for _, f := range probe.FindProhibited(int(t.c.First), last, t.passing) {
		tell(f)
	}
	var told []netip.Addr
	for ttl := int(t.c.First); ttl <= last; ttl++ {
		f, ok := probe.FindSource(t.passing(ttl), func(from netip.Addr) (first *probe.Outcome, n int) {
			for before := int(t.c.First); before < ttl && first == nil; before++ {
				for _, o := range t.answers(before) {
					if o.From == from && o.Answer == probe.TimeExceeded {
						if n++; first == nil {
							first = o
						}
					}
				}
			}
			return first, n
		})
		if !ok {
			continue
		}
		if from := f.Evidence[len(f.Evidence)-1].From; !slices.Contains(told, from) {
			told = append(told, from)
			tell(f)
		}
	}
}

// balancer is what there is to say of a node with several next hops.
func (t *T) balancer(ttl int, n *node, es []edge) (f probe.Finding, ok bool) {
	var to []string
	var shares []int
	for _, e := range es {
		if e.from == n && e.to.addr.IsValid() {
			to = append(to, fmt.Sprintf("%v (%d)", e.to.addr, len(e.flows)))
			shares = append(shares, len(e.flows))
		}
	}
	if len(to) < 2 || !n.addr.IsValid() {
		return f, false
	}
	f = probe.Finding{Code: "balancer", TTL: uint8(ttl), Confidence: "medium"}
	kind := "by what could not be found out"
	switch c := t.checkOf(ttl, n.addr); {
	case c == nil:
	case c.proven() && t.c.By == Destination:
		var more probe.Finding
		more, kind = t.kinds(ttl, c, n, es)
		f.Code, f.Confidence = more.Code, more.Confidence
	case c.proven():
		f.Code, f.Confidence = "balancer-per-flow", "high"
		kind = fmt.Sprintf("flow by flow: one flow went the same way in %d tries more", c.same)
	case c.other > 0:
		f.Code, f.Confidence = "balancer-per-packet", "high"
		kind = fmt.Sprintf("packet by packet: one flow was answered by another node in %d of %d tries more, so that it is not known which nodes follow which behind it, until all ways meet", c.other, c.same+c.other)
	case t.chance() > 0:
		kind += ", as too few probes were answered; packets may come to what is behind it one by one"
	}
	uneven := ""
	if Uneven(shares) {
		uneven = ", unevenly, so that a small share may have been missed"
	}
	f.Text = fmt.Sprintf("%v spreads packets over %d next hops, %s; flows seen: %s%s", n.addr, len(to), kind, strings.Join(to, ", "), uneven)
	return f, true
}

// deadEnd is whether none of the flows through a node is answered any further, while others reach the destination.
func (t *T) deadEnd(ttl int, n *node) (f probe.Finding, ok bool) {
	flows := t.through(n, ttl, false)
	if t.distance == 0 || !n.addr.IsValid() || t.spent || t.scarce {
		return f, false
	}
	for _, flow := range flows {
		if t.endsAt(flow, ttl) {
			return f, false
		}
		for further := ttl + 1; further < len(t.hops); further++ {
			if m := t.hop(further).knows(flow); m != nil && m.addr.IsValid() {
				return f, false
			}
		}
	}
	if t.c.By == Destination { // they go elsewhere
		return probe.Finding{Code: "branch-ends", TTL: uint8(ttl), Confidence: "low",
			Text: fmt.Sprintf("nothing that goes through %v (to %d addresses next to the host's) is answered any further, while what goes to the host is", n.addr, len(flows))}, true
	}
	return probe.Finding{Code: "branch-ends", TTL: uint8(ttl), Confidence: "medium",
		Text: fmt.Sprintf("none of the flows through %v (%d) is answered any further, while others reach the destination", n.addr, len(flows))}, true
}

// Uneven reports whether so many flows to each successor would hardly come of an even spread: Pearson's test at 1 in 1000, where it holds,
// that is with 5 flows or more to each to be expected.
func Uneven(shares []int) bool {
	total := 0
	for _, n := range shares {
		total += n
	}
	k := len(shares)
	if k < 2 || total < 5*k {
		return false
	}
	mean, chi := float64(total)/float64(k), 0.0
	for _, n := range shares {
		chi += (float64(n) - mean) * (float64(n) - mean) / mean
	}
	// The quantile of the distribution with k-1 degrees of freedom, by Wilson and Hilferty.
	d := float64(k - 1)
	q := 1 - 2/(9*d) + 3.09*math.Sqrt(2/(9*d))
	return chi > d*q*q*q
}
