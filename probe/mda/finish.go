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
	ttl   int // of the balancer
	addr  netip.Addr
	flow  int
	left  int // how often it is still to be asked again, one TTL on
	same  int // answers like the first
	other int // other ones
}

// errBound is why it is not known whether the destination can be reached.
var errBound = errors.New("the search for branches ended at its bound before the destination was reached")

// planChecks has each node with several successors checked: one of its flows is asked again so often that packets spread by
// chance would hardly all go its way.
func (t *T) planChecks(last int) {
	for ttl := int(t.c.First); ttl < last; ttl++ {
		es := t.edges(ttl)
		out, _ := ends(es)
		for i, e := range es {
			if k := out[e.from]; k >= 2 && e.from.addr.IsValid() && e.to.addr.IsValid() && (i == 0 || es[i-1].from != e.from || !es[i-1].to.addr.IsValid()) &&
				!slices.ContainsFunc(t.checks, func(c check) bool { return c.ttl == ttl && c.addr == e.from.addr }) {
				t.checks = append(t.checks, check{ttl: ttl, addr: e.from.addr, flow: e.flows[0], left: int(math.Ceil(math.Log(t.c.Miss) / -math.Log(float64(k))))})
			}
		}
	}
}

// rechecked takes what became of a probe of a check.
func (t *T) rechecked(ttl, flow int, o *probe.Outcome) {
	if o.Status != probe.Answered {
		return
	}
	t.hop(ttl).answers++
	for i := range t.checks {
		if c := &t.checks[i]; c.ttl == ttl-1 && c.flow == flow {
			if t.hop(ttl).knows(flow).addr == o.From {
				c.same++
			} else {
				c.other++
			}
		}
	}
}

// finish tells everything.
func (t *T) finish(stop error, out *probe.Output) {
	t.done, out.Done = true, true
	end := probe.Finished{At: t.now, Complete: stop == nil, LastTTL: t.lastTTL(stop)}
	switch {
	case stop != nil && !errors.Is(stop, probe.ErrInterrupted):
		end.Verdict, end.Err = probe.Errored, stop
	case t.reached:
		end.Verdict = probe.Reached
	case stop != nil:
		end.Verdict = probe.Interrupted
	case t.failure != nil && t.heard() == 0:
		end.Verdict, end.Err, end.Complete = probe.Errored, t.failure, false
	case t.short:
		end.Verdict, end.Complete = probe.Errored, false
		end.Err = fmt.Errorf("%w: %d probes, %d flows", errBound, t.c.Budget, t.c.flows())
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

// lastTTL is where the last flow ends, or the last that was asked.
func (t *T) lastTTL(stop error) uint8 {
	last := uint8(0)
	for _, e := range t.end {
		last = max(last, e)
	}
	if t.reached && stop == nil {
		return last
	}
	for ttl := range t.hops {
		if len(t.hops[ttl].outcomes) > 0 {
			last = max(last, uint8(ttl))
		}
	}
	return last
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

// void says of each TTL whether it is chance which of its nodes a packet comes to, whatever its flow: behind a balancer that spreads
// packets one by one, until all ways meet.
func (t *T) void() []bool {
	void := make([]bool, len(t.hops))
	for ttl := int(t.c.First) + 1; ttl < len(t.hops); ttl++ {
		void[ttl] = len(t.live(ttl)) > 1 && (void[ttl-1] ||
			slices.ContainsFunc(t.checks, func(c check) bool { return c.ttl == ttl-1 && c.other > 0 }))
	}
	return void
}

// findings says what the balancers do, and how sure all is.
func (t *T) findings(last int, void []bool, out *probe.Output) {
	tell := func(f probe.Finding) { out.Events = append(out.Events, f) }
	for ttl := int(t.c.First); ttl <= t.last; ttl++ {
		if void[ttl] {
			continue // flows show no balancers there
		}
		es := t.edges(ttl)
		for _, n := range t.live(ttl) {
			var to []string
			var shares []int
			for _, e := range es {
				if e.from == n && e.to.addr.IsValid() {
					to = append(to, fmt.Sprintf("%v (%d)", e.to.addr, len(e.flows)))
					shares = append(shares, len(e.flows))
				}
			}
			if len(to) < 2 || !n.addr.IsValid() {
				continue
			}
			f := probe.Finding{Code: "balancer", TTL: uint8(ttl), Confidence: "medium"}
			kind := "by what is not known"
			if i := slices.IndexFunc(t.checks, func(c check) bool { return c.ttl == ttl && c.addr == n.addr }); i >= 0 {
				switch c := t.checks[i]; {
				case c.other > 0:
					f.Code, f.Confidence = "balancer-per-packet", "high"
					kind = fmt.Sprintf("packet by packet: one flow was answered by another node in %d of %d tries more, so that it is not known which nodes follow which behind it, until all ways meet", c.other, c.same+c.other)
				case c.same > 0 && math.Pow(float64(len(to)), -float64(c.same)) <= t.c.Miss:
					f.Code, f.Confidence = "balancer-per-flow", "high"
					kind = fmt.Sprintf("flow by flow: one flow went the same way in %d tries more", c.same)
				}
			}
			uneven := ""
			if Uneven(shares) {
				uneven = ", unevenly, so that a small share may have been missed"
			}
			f.Text = fmt.Sprintf("%v spreads packets over %d next hops, %s; flows seen: %s%s", n.addr, len(to), kind, strings.Join(to, ", "), uneven)
			tell(f)
		}
	}
	for _, f := range probe.FindChanges(int(t.c.First), last, t.answers) {
		tell(f)
	}
	if t.short {
		tell(probe.Finding{Code: "multipath-incomplete", Confidence: "high",
			Text: fmt.Sprintf("the search for branches ended at its bound, %d probes and %d flows: there may be more", t.c.Budget, t.c.flows())})
	}
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
