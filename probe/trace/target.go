package trace

import (
	"fmt"
	"net/netip"

	"gtrace/probe"
)

// A target is what is known of time exceeded from the destination's own address. It is not the
// end by itself: a translator in front of the destination (DNAT, NAT64) gives every
// router behind it that address. Nor is it never the end: some destinations answer
// so whatever the TTL.
type target struct {
	seen       [256]seen
	first      int  // the lowest TTL that answered so; 0: none
	translated bool // found: there is a path behind it
	released   bool // looked at, and nothing follows from it
}

// seen is the first answer from the destination's address at a TTL.
type seen struct {
	exceeded, terminal bool
	reply, quoted      int  // TTLs; 0 and -1: not known
	other              bool // another address said time exceeded there
}

func (g *target) learn(ttl int, o *probe.Outcome, dst netip.Addr) {
	s := &g.seen[ttl]
	exceeded := o.Answer == probe.TimeExceeded
	if o.From.WithZone("") != dst {
		s.other = s.other || exceeded
		return
	}
	if s.exceeded || s.terminal || !exceeded && !o.Answer.Terminal() {
		return
	}
	*s = seen{exceeded: exceeded, terminal: !exceeded, reply: int(o.TTL), quoted: -1, other: s.other}
	if o.Quoted.Known {
		s.quoted = int(o.Quoted.TTL)
	}
	if exceeded && (g.first == 0 || ttl < g.first) {
		g.first = ttl
	}
}

// hold is the TTL whose meaning is being looked into, or 0: none beyond is told yet.
func (g *target) hold() int {
	if g.translated || g.released {
		return 0
	}
	return g.first
}

// judgeTarget says what time exceeded from the destination's address means, once that can be said.
func (t *T) judgeTarget(out *probe.Output) {
	g := &t.target
	first := g.hold()
	if first == 0 {
		return
	}
	if a, b, sure := g.falls(int(t.c.Max)); a != 0 {
		g.translated = true
		confidence := "medium"
		if sure {
			confidence = "high"
		}
		out.Events = append(out.Events, probe.Finding{
			Code: "dnat-or-nat64-in-front", TTL: uint8(first), Confidence: confidence,
			Text: fmt.Sprintf("%v answers at TTL %d (reply TTL %d) and again, from further away, at TTL %d (reply TTL %d): its address is translated, and stands for several hops",
				t.dst, a, g.seen[a].reply, b, g.seen[b].reply),
		})
		return
	}
	if t.end != 0 {
		return
	}
	last := min(int(t.c.Max), first+beyondTarget)
	for ttl := first; ttl <= last; ttl++ {
		if !t.isDecided(ttl) {
			return
		}
	}
	n, known := g.repeats(last)
	if n == 0 {
		g.released = true
		return
	}
	confidence := "low" // one box, or several that nothing tells apart
	if known {
		confidence = "high"
	}
	out.Events = append(out.Events, probe.Finding{
		Code: "target-sends-time-exceeded", TTL: uint8(first), Confidence: confidence,
		Text: fmt.Sprintf("%v answers time exceeded at TTL %d and alike at %d of the next %d: no TTL is enough for it, which is a fault at the destination or in front of it",
			t.dst, first, n, last-first),
	})
	t.beyond(first, out)
}
