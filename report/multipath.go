package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gtrace/internal/stats"
	"gtrace/probe"
)

// multipathText prints all branches of the path to each target when it is done: the first line that traceroute prints, then for each
// hop a line a node, with the mean of its times and between which they lie, how many of the flows asked there it answered, and, where the path has branches, the nodes
// behind it; then findings.
type multipathText struct {
	traceText // the first line, and findings
	course
}

func (t *multipathText) Emit(e probe.Event) error {
	if !t.open {
		t.begin(e)
		return t.traceText.Emit(e)
	}
	if t.take(e, true) {
		return nil
	}
	if _, ends := e.(probe.Finished); ends {
		err := t.branches()
		t.course = course{}
		if err != nil {
			return err
		}
	}
	return t.traceText.Emit(e)
}

// A course is what is known of a path: the hops and, of a multipath trace, the links.
type course struct {
	hops  []probe.Hop
	links []probe.Link    // nil: none were told
	ended map[uint16]bool // flows
	to    netip.Addr      // the destination, where flows have others too; else invalid
}

// begin is how a path begins.
func (c *course) begin(e probe.Event) {
	if s, ok := e.(probe.Started); ok && s.Method.Aside {
		c.to = s.Dst
	}
}

// take keeps an event, if it is of those. Of many flows a hop has those that did not end before: as all distances are asked at once,
// more may have been asked there, and the destination's answer, or silence, is not a node of it then. Nor is what another destination says for itself.
func (c *course) take(e probe.Event, many bool) bool {
	switch e := e.(type) {
	case probe.Hop:
		h := probe.Hop{TTL: e.TTL}
		for i := range e.Outcomes {
			if o := &e.Outcomes[i]; c.to.IsValid() && o.Spec.Dst.Addr() != c.to && ends(o) {
				c.end(o.Spec.Flow)
			}
		}
		for _, o := range e.Outcomes {
			if !c.ended[o.Spec.Flow] {
				h.Outcomes = append(h.Outcomes, o)
			}
		}
		for i := range h.Outcomes {
			if o := &h.Outcomes[i]; many && ends(o) {
				c.end(o.Spec.Flow)
			}
		}
		c.hops = append(c.hops, h)
	case probe.Links:
		c.links = append([]probe.Link{}, e.Links...)
	default:
		return false
	}
	return true
}

func (c *course) end(flow uint16) {
	if c.ended == nil {
		c.ended = make(map[uint16]bool)
	}
	c.ended[flow] = true
}

// ends reports whether an answer is the end of its way, and no router's that it went on behind.
func ends(o *probe.Outcome) bool {
	return o.Status == probe.Answered && o.Answer != probe.TimeExceeded && o.Answer != probe.ReassemblyExceeded
}

// A branch is a node of a hop.
type branch struct {
	last  *probe.Outcome   // of its answers; nil: nobody answers these flows
	all   []*probe.Outcome // its answers, and what was lost of its flows
	flows int
	lost  int
	times stats.Series
	notes []string
}

// unanswered is how many probes a node left so, "" where that is none or nobody's.
func (b *branch) unanswered() string {
	if b.last == nil || b.lost == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d unanswered", b.lost, len(b.all))
}

// branches prints the hops.
func (t *multipathText) branches() error {
	for _, h := range t.hops {
		all := branchesOf(h)
		several := len(all) > 1
		flows := 0
		for _, n := range all {
			flows += n.flows
		}
		for i, n := range all {
			b := []byte("   ")
			if i == 0 {
				b = fmt.Appendf(nil, "%2d ", h.TTL)
			}
			if n.last == nil {
				b = append(b, " *"...)
			} else {
				b = t.appendNode(b, n.last, h.TTL, t.extra(n.last))
			}
			if n.times.N() > 0 {
				b = appendTimes(append(b, "  "...), &n.times)
			}
			for _, note := range n.notes {
				b = append(append(b, ' '), note...)
			}
			if several {
				b = fmt.Appendf(b, "  %d of %d flows", n.flows, flows)
			}
			if lost := n.unanswered(); lost != "" {
				b = append(append(b, "  "...), lost...)
			}
			if next := t.behind(h.TTL, n); len(next) > 1 || several && len(next) > 0 {
				b = fmt.Appendf(b, "  > %s", strings.Join(next, " "))
			}
			if err := t.line(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendTimes writes the mean of times, and, where they differ in what is shown of them, the least and the largest.
func appendTimes(b []byte, times *stats.Series) []byte {
	b = append(thousandths(b, times.Mean()), " ms"...)
	least, most := thousandths(nil, times.Min()), thousandths(nil, times.Max())
	if string(least) != string(most) {
		b = fmt.Appendf(b, " (%s-%s)", least, most)
	}
	return b
}

// behind are the nodes that flows through a node go to next.
func (t *multipathText) behind(ttl uint8, n *branch) (next []string) {
	for _, l := range t.links {
		if n.last != nil && l.TTL == ttl && l.From == n.last.From {
			next = append(next, address(l.To))
		}
	}
	return next
}

// branchesOf are the nodes that answer at a hop, in the order they were heard; flows that nobody answers are the last.
func branchesOf(h probe.Hop) (all []*branch) {
	at := make(map[netip.Addr]*branch)
	by := make(map[uint16]*branch)
	for i := range h.Outcomes {
		o := &h.Outcomes[i]
		if o.Status != probe.Answered {
			continue
		}
		n := at[o.From]
		if n == nil {
			n = new(branch)
			at[o.From] = n
			all = append(all, n)
		}
		n.last, n.all = o, append(n.all, o)
		if by[o.Spec.Flow] == nil {
			by[o.Spec.Flow] = n
			n.flows++
		}
		if d, ok := rtt(o); ok {
			n.times.Add(d)
		}
		if a := annotation(o); a != "" && !slices.Contains(n.notes, a) {
			n.notes = append(n.notes, a)
		}
	}
	var silent *branch
	for i := range h.Outcomes {
		o := &h.Outcomes[i]
		if o.Status == probe.Answered {
			continue
		}
		n := by[o.Spec.Flow]
		if n == nil {
			if silent == nil {
				silent = new(branch)
			}
			n = silent
			by[o.Spec.Flow] = n
			n.flows++
		}
		n.all = append(n.all, o)
		n.lost++
	}
	if silent != nil {
		all = append(all, silent)
	}
	return all
}
