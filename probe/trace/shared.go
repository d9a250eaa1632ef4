package trace

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"gtrace/probe"
)

// The near hops of many traces are the same, and their routers answer one prober only so often: Linux one probe a second, of all
// traces together. So the traces of a run tell each other of them, and what many in a row were told the same of is not asked again.
// See docs/decisions/0015-shared-hops.md.

const (
	// No TTL beyond this one is near.
	nearDeep = 16

	// So many traces in a row have the same router at a TTL before it is shared. Had it a twin to share its load with, it
	// would be both of them in all but one of 32768 runs. Each time when another is seen after all it takes so many times as many, so
	// that a way that changes once costs little, and a router that seldom takes turns is not shared in the end.
	nearTimes  = 16
	nearScarce = 8 // where it leaves traces unanswered: one a second is all that there is
	nearMore   = 4
	nearMost   = 7 // times; no run has so many traces

	// One trace of so many asks all, so that what is shared is looked at again.
	nearWhole = 64

	// Who has not answered for so long, and so many traces, may be there no more.
	nearStale = time.Minute

	// At a TTL where so many of the last 16 traces got no answer, silence says nothing of the path.
	nearSilent = 4
)

// Shared is what the traces of one run, which ask all alike, tell each other of the hops near to them. It belongs to one goroutine.
type Shared struct {
	by map[netip.Addr]*near // by source: each may have a way out of its own
}

// NewShared is for the Config of each of them.
func NewShared() *Shared { return &Shared{by: make(map[netip.Addr]*near)} }

func (s *Shared) of(src netip.Addr) *near {
	n := s.by[src]
	if n == nil {
		n = new(near)
		s.by[src] = n
	}
	return n
}

// near is what traces from one source have found.
type near struct {
	begun int
	ended int                   // of the first nearTimes
	once  bool                  // one attempt a hop, so no answer is a part
	at    [nearDeep + 1]nearHop // by TTL
}

// A nearHop is one TTL.
type nearHop struct {
	from    netip.Addr // the router that answered last; invalid: none did, or several at once
	times   int        // traces in a row that it alone answered
	silent  int        // traces since that nobody answered
	last    time.Time  // when it was last heard
	changes int        // how often that was another
	recent  uint16     // the last traces that asked, one bit each: nobody answered

	whole, part, none int // traces that got an answer to all that was asked there, to a part, to nothing, since from was found
}

// need is how many traces in a row it takes.
func (h *nearHop) need() int {
	n := nearTimes
	if h.usual() && h.times > 0 {
		n = nearScarce
	}
	for range min(h.changes, nearMost) {
		n *= nearMore
	}
	return n
}

// heard takes in that a trace had that one router there, which answered whole or in part.
func (h *nearHop) heard(from netip.Addr, at time.Time, whole bool) {
	if h.from.IsValid() && h.from != from {
		h.times, h.changes = 0, h.changes+1
		h.whole, h.part, h.none = 0, 0, 0
	}
	if whole {
		h.whole++
	} else {
		h.part++
	}
	h.from, h.last = from, at
	h.times, h.silent, h.recent = h.times+1, 0, h.recent<<1
}

// mixed takes in that a trace had several there, or what is no plain router.
func (h *nearHop) mixed() {
	*h = nearHop{changes: h.changes + 1, recent: h.recent << 1}
}

func (h *nearHop) quiet() { h.silent, h.none, h.recent = h.silent+1, h.none+1, h.recent<<1|1 }

// usual reports whether silence is nothing unusual there.
func (h *nearHop) usual() bool { return bits.OnesCount16(h.recent) >= nearSilent }

// doubtful reports whether the traces that got no answer may have had another router there, one that never answers: then it is all
// or nothing, while one that limits its answers, and loss, leave traces with a part.
func (n *near) doubtful(h *nearHop) bool {
	if n.once {
		return h.none > (h.whole+h.none)/nearTimes
	}
	return min(h.whole, h.none) > h.part
}

// known is the last TTL up to which all traces had the same routers, or silence, and a router there; 0 where there is none. The
// first traces must all have ended: who met silence takes longer, and would not be among those that have.
func (n *near) known(now time.Time) (last int) {
	if n.ended < nearTimes {
		return 0
	}
	for ttl := 1; ttl <= nearDeep; ttl++ {
		h := &n.at[ttl]
		switch {
		case h.times == 0 && h.silent >= h.need(): // for all of them
		case h.times < h.need(), h.silent >= nearTimes && now.Sub(h.last) > nearStale, n.holds(h.from, ttl):
			return last
		case n.doubtful(h):
			return ttl // where it is asked, and no further
		default:
			last = ttl
		}
	}
	return last
}

// holds reports whether a is the router of a TTL before that one.
func (n *near) holds(a netip.Addr, before int) bool {
	for ttl := 1; ttl < before; ttl++ {
		if n.at[ttl].from == a {
			return true
		}
	}
	return false
}

// share has t begin where the hops are known that this run's traces share.
func (t *T) share() {
	if t.c.Shared == nil {
		return
	}
	t.near = t.c.Shared.of(t.c.Src.Addr())
	t.near.begun++
	t.early = t.near.begun <= nearTimes
	t.near.once = t.c.Attempts == 1
	first := min(t.near.known(t.now), int(t.c.Max))
	if first < 2 || t.near.begun%nearWhole == 0 {
		return
	}
	if t.c.Open > 0 {
		t.c.Open = uint8(min(int(t.c.Max), int(t.c.Open)+first-1))
	}
	t.c.First, t.unsettled = uint8(first), true
	t.far, t.heard, t.told = first-1, first-1, first-1
	t.opening = t.c.opening()
}

// settle looks whether this path leads by the shared hops. The first TTL that was asked is the last of them: the same router must be there, and
// what came of the next must be as if it did. Where that router leaves most traces unanswered, what is heard behind it must do. Else all is
// asked, as nothing has been told yet.
func (t *T) settle(out *probe.Output) {
	if t.anew > 0 {
		t.unsettled = !t.unsent() && t.isOpen(1, t.anew)
		return
	}
	first := int(t.c.First)
	h := &t.near.at[first]
	from, answers, plain := t.router(first)
	back, _ := t.bends(first, func(a netip.Addr) bool { return t.near.holds(a, first) })
	switch {
	case t.alone != together, t.unsent(), t.target.first != 0, answers > 0 && (!plain || from != h.from), back != 0:
		t.askAll()
	case t.isOpen(first, first+1):
		// not known yet
	case t.near.known(t.now) < first:
		t.askAll() // another trace found something else meanwhile
	case answers > 0, h.usual() && t.passes(first):
		t.take(first, answers > 0, out)
	case !h.usual(), !t.isOpen(first, all):
		t.askAll()
	}
}

// passes reports whether packets are known to get further than a TTL: a router further on answered, or the destination, and what it quotes had
// no more than one hop left.
func (t *T) passes(ttl int) bool {
	if t.end <= ttl {
		return t.far > ttl
	}
	o, _ := t.alike(t.end)
	return t.far > ttl || o != nil && o.Quoted.Known && o.Quoted.TTL <= 1
}

// unsent reports whether nothing has left this host yet.
func (t *T) unsent() bool { return t.failed > 0 && !t.different }

// isOpen reports whether more is to come of the first attempts at a TTL or a later one worth a probe, up to last.
func (t *T) isOpen(ttl, last int) bool {
	for last = min(last, t.limit()); ttl <= last; ttl++ {
		if h := t.hops[ttl]; h == nil || h.decided < min(t.c.Attempts, openTries) {
			return true
		}
	}
	return false
}

// bends is a TTL from first on at which a router answers that is one of those before it: then the path comes back to it, or it answers in
// another's place, and it has to be asked. It is 0 where there is none.
func (t *T) bends(first int, before func(netip.Addr) bool) (ttl int, who netip.Addr) {
	for ttl := first; ttl <= t.top; ttl++ {
		h := t.hops[ttl]
		if h == nil || h.answers == 0 {
			continue
		}
		for i := range h.tries {
			if y := &h.tries[i]; y.state == decided && y.out.Status == probe.Answered && before(y.out.From) {
				return ttl, y.out.From
			}
		}
	}
	return 0, who
}

// router is who answers at a TTL, and how often. It is plain where all answers are one router's: that a packet's time was exceeded that had no more left.
func (t *T) router(ttl int) (from netip.Addr, answers int, plain bool) {
	h := t.hops[ttl]
	if h == nil {
		return from, 0, false
	}
	plain = true
	for i := range h.tries {
		y := &h.tries[i]
		if y.state != decided || y.out.Status != probe.Answered {
			continue
		}
		if answers++; answers == 1 {
			from = y.out.From
		}
		o := &y.out
		plain = plain && y.owned() && o.Answer == probe.TimeExceeded && o.From == from && from.WithZone("") != t.dst && (!o.Quoted.Known || o.Quoted.TTL <= 1)
	}
	return from, answers, plain
}

// take tells the hops before a TTL as shared.
func (t *T) take(first int, seen bool, out *probe.Output) {
	e := probe.Shared{Seen: seen}
	for ttl := 1; ttl < first; ttl++ {
		h := &t.near.at[ttl]
		s := probe.SharedHop{TTL: uint8(ttl), From: h.from, Traces: h.times, Last: h.last}
		if h.times == 0 {
			s.Traces = h.silent
		}
		e.Hops = append(e.Hops, s)
	}
	t.unsettled, t.shared, t.behind = false, e.Hops, t.near.at[first].from
	out.Events = append(out.Events, e)
}

// unproven tells what was not asked, where the trace ends before it has shown whether it is shared.
func (t *T) unproven(out *probe.Output) {
	if first := int(t.c.First); t.unsettled && t.anew == 0 && !t.unsent() {
		from, answers, plain := t.router(first)
		t.take(first, answers > 0 && plain && from == t.near.at[first].from, out)
	}
}

// findUnshared: what came after the hops had been told as shared may speak against it.
func (t *T) findUnshared(int) []probe.Finding {
	if len(t.shared) == 0 {
		return nil
	}
	first := int(t.c.First)
	f := probe.Finding{Code: "shared-hops-doubtful", Confidence: "medium"}
	switch from, answers, plain := t.router(first); {
	case answers > 0 && (!plain || from != t.behind):
		f.TTL = uint8(first)
		f.Text = fmt.Sprintf("not only %v answered at TTL %d, which the traces had in common that the nearer hops are of: here they may be others", t.behind, first)
	case t.finish.Verdict == probe.Loop:
		return nil // which says so
	default:
		ttl, again := t.bends(first, t.isShared)
		if ttl == 0 {
			return nil
		}
		f.TTL = uint8(ttl)
		f.Text = fmt.Sprintf("%v answered at TTL %d, and is told as a nearer hop, which was not asked: here that may be another", again, ttl)
	}
	if o, n := t.alike(int(f.TTL)); o != nil {
		f.Evidence = append(f.Evidence, probe.Witness(o, n))
	}
	return []probe.Finding{f}
}

// askAll has the trace ask from TTL 1 on after all. Nothing is concluded before that is known.
func (t *T) askAll() {
	first := int(t.c.First)
	t.anew, t.c.First, t.told = first, 1, 0
	if t.far < first { // it was only taken for granted
		t.far = 0
	}
	if t.heard < first {
		t.heard = 0
	}
	t.turns++
}

// notEarly is when t has told others what it will, or will not.
func (t *T) notEarly() {
	if t.early {
		t.early = false
		t.near.ended++
	}
}

// teach tells other traces what this one found near by.
func (t *T) teach() {
	t.notEarly()
	if t.near == nil || t.unsettled || t.alone != together {
		return
	}
	last := min(t.far, nearDeep)
	if t.end != 0 {
		last = min(last, t.end-1)
	}
	var met []netip.Addr
	for ttl := int(t.c.First); ttl <= last; ttl++ {
		switch from, answers, plain := t.router(ttl); {
		case answers > 0 && (from.WithZone("") == t.dst || t.hops[ttl].blocked > 0 || slices.Contains(met, from)):
			return // from here on it is this destination's path alone: a translator's, a filter's, a loop
		case answers > 0 && plain:
			t.near.at[ttl].heard(from, t.hops[ttl].lastAnswer(), t.hops[ttl].lostNone())
			met = append(met, from)
		case answers > 0:
			t.near.at[ttl].mixed()
		case t.isDecided(ttl) && t.hops[ttl].refused == 0: // what did not leave says nothing
			t.near.at[ttl].quiet()
		}
	}
}

// lostNone reports whether every probe to h was answered, also those for attempts that were asked again.
func (h *hop) lostNone() bool {
	return !slices.ContainsFunc(h.asks, func(a ask) bool { return a.status == probe.Lost })
}

// lastAnswer is when the latest of h's answers came.
func (h *hop) lastAnswer() (at time.Time) {
	for i := range h.tries {
		if y := &h.tries[i]; y.state == decided && y.out.Status == probe.Answered {
			at = later(at, y.out.At)
		}
	}
	return at
}

// isShared reports whether a is told as a shared hop.
func (t *T) isShared(a netip.Addr) bool {
	return slices.ContainsFunc(t.shared, func(h probe.SharedHop) bool { return h.From == a })
}
