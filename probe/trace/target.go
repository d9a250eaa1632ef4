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
	seen       []seen // by TTL
	first      int    // the lowest TTL that answered so; 0: none
	translated bool   // found: there is a path behind it
	released   bool   // looked at, and nothing follows from it
	endless    bool   // found: it answers so whatever the TTL
}

// seen is the first answer from the destination's address at a TTL.
type seen struct {
	exceeded, terminal bool
	other              bool  // another address answered there
	reply, quoted      int16 // TTLs; 0 and -1: not known
}

func (g *target) learn(ttl int, o *probe.Outcome, dst netip.Addr) {
	s := &g.seen[ttl]
	exceeded := o.Answer == probe.TimeExceeded
	if o.From.WithZone("") != dst {
		s.other = true
		return
	}
	if s.exceeded || s.terminal || !exceeded && !o.Answer.Terminal() {
		return
	}
	*s = seen{exceeded: exceeded, terminal: !exceeded, reply: int16(o.TTL), quoted: -1, other: s.other}
	if o.Quoted.Known {
		s.quoted = int16(o.Quoted.TTL)
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
	if first == 0 || g.endless {
		return
	}
	last := t.top
	if t.end != 0 {
		last = t.end
	}
	if a, b, sure := g.falls(last); a != 0 {
		g.translated = true
		confidence := "medium"
		if sure {
			confidence = "high"
		}
		out.Events = append(out.Events, probe.Finding{
			Code: "dnat-or-nat64-in-front", TTL: uint8(first), Confidence: confidence,
			Text: fmt.Sprintf("%v answers at TTL %d (reply TTL %d) and, from further away, at TTL %d (reply TTL %d): its address is translated and stands for several hops",
				t.dst, a, g.seen[a].reply, b, g.seen[b].reply),
			Evidence: t.toldBy(first, b),
		})
		return
	}
	if t.end != 0 {
		return
	}
	last = min(first+beyondTarget, t.limit())
	for ttl := first; ttl <= last; ttl++ {
		if ttl > t.told && !t.isDecided(ttl) {
			return
		}
	}
	n := g.repeats(last)
	if n == 0 {
		g.released = true
		return
	}
	g.endless = true
	confidence := "low"
	if s := g.seen[first]; s.reply != 0 && s.quoted >= 0 {
		confidence = "medium"
		if n > 1 {
			confidence = "high"
		}
	}
	out.Events = append(out.Events, probe.Finding{
		Code: "target-sends-time-exceeded", TTL: uint8(first), Confidence: confidence,
		Text: fmt.Sprintf("%v answers time exceeded at TTL %d and just so at %d of the next %d: no TTL is enough for it",
			t.dst, first, n, last-first),
		Evidence: t.toldBy(first, last),
	})
}

// toldBy is what the destination's address answered at the TTLs from first to last.
func (t *T) toldBy(first, last int) (es []probe.Evidence) {
	for ttl := first; ttl <= last; ttl++ {
		if o, n := t.alike(ttl); o != nil && o.From.WithZone("") == t.dst {
			es = append(es, probe.Witness(o, n))
		}
	}
	return es
}

// falls looks for two answers, up to TTL last, of which the later came further, and reports their TTLs.
// Of two routers that is sure. The destination's own answer may just start from another
// TTL, so it must have come about as much further as it is away.
func (g *target) falls(last int) (a, b int, sure bool) {
	prev := 0
	for ttl := g.first; ttl <= last; ttl++ {
		s := &g.seen[ttl]
		if s.reply == 0 || !s.exceeded && !s.terminal {
			continue
		}
		if prev != 0 {
			fall := int(g.seen[prev].reply - s.reply)
			switch {
			case s.exceeded && fall > 0:
				return prev, ttl, true
			case s.terminal && 0 < fall && fall <= ttl-prev:
				return prev, ttl, false
			}
		}
		if s.exceeded {
			prev = ttl
		}
	}
	return 0, 0, false
}

// repeats counts the TTLs behind the first, up to last, that were answered by one and the same node: from
// as far away, and having seen either the same TTL again or what was left over of
// a larger one. It is 0 if any was answered in another way.
func (g *target) repeats(last int) (n int) {
	first := &g.seen[g.first]
	for ttl := g.first + 1; ttl <= last; ttl++ {
		s := &g.seen[ttl]
		switch {
		case s.other, s.terminal, s.exceeded && s.reply != first.reply:
			return 0
		case s.exceeded && s.quoted != first.quoted && (first.quoted < 0 || int(s.quoted) != int(first.quoted)+ttl-g.first):
			return 0
		case s.exceeded:
			n++
		}
	}
	return n
}
