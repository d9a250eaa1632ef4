package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"gtrace/probe"
)

// What the answers of all hops together say about the path (docs/findings.md), told right before the end so that late answers
// count. Each needs that all answers at a TTL say the same: where they differ, packets take
// several ways, and hops of several ways in a row look like anything.

// find tells what there is to be found in the hops up to the last.
func (t *T) find(out *probe.Output) {
	last := int(t.finish.LastTTL)
	for _, look := range []func(int) []probe.Finding{
		t.findLoop, t.findZeroTTL, t.findTTL, t.findRewritten, t.findSource, t.findProhibited, t.findBack, t.findHidden, t.findUnshared,
	} {
		out.Events = append(out.Events, events(look(last))...)
	}
	out.Events = append(out.Events, events(probe.FindChanges(int(t.c.First), last, t.answers))...)
}

func events(fs []probe.Finding) (es []probe.Event) {
	for _, f := range fs {
		es = append(es, f)
	}
	return es
}

// owned reports whether y was answered and the answer is known to be its own.
func (y *try) owned() bool {
	return y.state == decided && y.out.Status == probe.Answered && y.out.Match != probe.Alone && y.out.Match != probe.FlowOnly
}

// answers are those at a TTL that are known to be their probes' own.
func (t *T) answers(ttl int) (os []*probe.Outcome) {
	h := t.hops[ttl]
	if h == nil {
		return nil
	}
	for i := range h.tries {
		if y := &h.tries[i]; y.owned() {
			os = append(os, &y.out)
		}
	}
	return os
}

// alike are the answers at a TTL where all n of them are the same: what and by whom, from as far away, and with as
// much TTL left as far as they quote it. o is nil where they differ or there are none.
func (t *T) alike(ttl int) (o *probe.Outcome, n int) {
	h := t.hops[ttl]
	if h == nil {
		return nil, 0
	}
	a := h.alike()
	if a.n == 0 || a.differ {
		return nil, 0
	}
	return &a.first.out, a.n
}

// silent reports whether answers has none.
func (t *T) silent(ttl int) bool {
	h := t.hops[ttl]
	return h == nil || h.alike().n == 0
}

// An alike is what a hop's answers have in common. It is kept up as they come, for it is asked for at each step.
type alike struct {
	first  *try // the first of them by number
	n      int
	differ bool
	stale  bool // one was taken back: to be counted anew
}

// alike is h.own, counted anew where it has to be.
func (h *hop) alike() *alike {
	if h.own.stale {
		h.own = alike{}
		for i := range h.tries {
			h.own.add(&h.tries[i])
		}
	}
	return &h.own
}

// add takes in what became of y, and reports whether that is more than the same again.
func (a *alike) add(y *try) (news bool) {
	if a.stale || !y.owned() {
		return false // stale, nobody has seen it since that was told
	}
	if a.n++; a.n == 1 {
		a.first = y
		return true
	}
	if !a.differ && !same(&a.first.out, &y.out) {
		a.differ, news = true, true
	}
	if y.n < a.first.n {
		a.first = y
	}
	return news
}

// same reports whether two answers are alike.
func same(a, b *probe.Outcome) bool {
	return a.From == b.From && a.Answer == b.Answer && a.Code == b.Code && a.TTL == b.TTL &&
		a.Quoted.Known == b.Quoted.Known && a.Quoted.TTL == b.Quoted.TTL
}

// several reports whether some TTL up to last was answered from several addresses, so that hops of several ways stand in a row.
func (t *T) several(last int) bool {
	for ttl := int(t.c.First); ttl <= last; ttl++ {
		if os := t.answers(ttl); len(os) > 0 {
			for _, o := range os[1:] {
				if o.From != os[0].From {
					return true
				}
			}
		}
	}
	return false
}

// A cycle is where the same routers answer in the same turn again and again.
type cycle struct {
	first, last, period int
	repeats             int // answers' TTLs that show one of them again
}

const (
	// A packet may well pass a router twice, and a service chain may send it through one firewall
	// three times. So a cycle must be gone round three times, and this often must a router turn up
	// again: with two routers that is A B A B A B, with one that answers and one that does not A * A * A * A * A.
	cycleRounds  = 3
	cycleRepeats = 4
)

func (c cycle) certain() bool {
	return c.repeats >= cycleRepeats && c.last-c.first+1 >= cycleRounds*c.period
}

// suspected reports whether it has been gone round twice.
func (c cycle) suspected() bool { return c.repeats >= 2 && c.last-c.first+1 >= 2*c.period }

// cycle is findCycle, which is gone through only where an answer came that is not just the same again.
func (t *T) cycle(last int) cycle {
	if t.cycles == nil || t.cyclesAt != t.turns {
		t.cycles, t.cyclesAt = map[int]cycle{}, t.turns
	}
	c, ok := t.cycles[last]
	if !ok {
		c = t.findCycle(last)
		t.cycles[last] = c
	}
	return c
}

// findCycle finds the shortest that the answers up to a TTL end in. It is the same router again only if its answer comes from as far
// away: behind a translator many have one address, each further away than the one before.
func (t *T) findCycle(last int) (best cycle) {
	first := int(t.c.First)
	for last >= first && t.silent(last) {
		last--
	}
	var turn [256]*probe.Outcome // who answers, by TTL modulo period
	var times [256]int           // and how often
	for period := 2; period <= (last-first+1)/2; period++ {
		clear(turn[:period])
		clear(times[:period])
		c := cycle{first: last + 1, last: last, period: period}
	back:
		for ttl := last; ttl >= first; ttl-- {
			o, _ := t.alike(ttl)
			switch {
			case o == nil && t.silent(ttl):
				continue // it may be any of them
			case o == nil || o.Answer != probe.TimeExceeded || o.From.WithZone("") == t.dst:
				break back
			}
			switch same := turn[ttl%period]; {
			case same != nil && (same.From != o.From || same.TTL != o.TTL):
				break back
			case same != nil:
				c.repeats++
			default:
				for _, other := range turn[:period] {
					if other != nil && other.From == o.From {
						break back
					}
				}
				turn[ttl%period] = o
			}
			times[ttl%period]++
			c.first = ttl
		}
		for c.first < c.last && times[c.first%period] < 2 {
			c.first++ // it is before the cycle, where one in that is silent
		}
		if c.certain() {
			return c
		}
		if c.suspected() && best.period == 0 {
			best = c
		}
	}
	return best
}

// returns notes that a router was met at another TTL that is not next to this one: only then a cycle need be looked for.
func (t *T) returns(ttl int, from netip.Addr) {
	if t.returned || from.WithZone("") == t.dst {
		return
	}
	m := t.meeting(ttl, from)
	m.low, m.high = min(m.low, ttl), max(m.high, ttl)
	t.returned = m.high-m.low > 1
}

// A meeting is between which TTLs a router was met.
type meeting struct {
	from      netip.Addr
	low, high int
}

// fewRouters is how many are found faster one after the other than in a map.
const fewRouters = 64

// meeting is that of from, which may be new at ttl. It is valid until the next.
func (t *T) meeting(ttl int, from netip.Addr) *meeting {
	for i := range t.met[:min(len(t.met), fewRouters)] {
		if m := &t.met[i]; m.from == from {
			return m
		}
	}
	switch n := len(t.met); {
	case n == 0:
		t.met = t.spare.routers()
	case n >= fewRouters:
		if i, known := t.others[from]; known {
			return &t.met[i]
		}
		if t.others == nil {
			t.others = make(map[netip.Addr]int)
		}
		t.others[from] = n
	}
	t.met = append(t.met, meeting{from, ttl, ttl})
	return &t.met[len(t.met)-1]
}

// looped reports whether what was told ends in a forwarding loop for certain.
func (t *T) looped() bool { return t.returned && !t.c.Through && t.cycle(t.told).certain() }

// loopLimit is the highest TTL worth a probe while a loop is suspected: what it takes to be certain. It is the
// maximum where none is.
func (t *T) loopLimit() int {
	if !t.returned || t.c.Through {
		return int(t.c.Max)
	}
	c := t.cycle(t.far)
	if !c.suspected() {
		return int(t.c.Max)
	}
	if !c.certain() {
		return max(c.first+cycleRounds*c.period-1, max(c.last, t.told)+max(1, cycleRepeats-c.repeats))
	}
	for n := c.first; n < t.far; n++ { // where that was certain
		if t.cycle(n).certain() {
			return max(n, t.told+1)
		}
	}
	return max(t.far, t.told+1)
}

func (t *T) findLoop(last int) []probe.Finding {
	c := t.cycle(last)
	if !c.certain() {
		return nil
	}
	f := probe.Finding{Code: "forwarding-loop", TTL: uint8(c.first), Confidence: "high"}
	if t.c.Classic {
		f.Confidence = "medium" // each probe may go its own way
	}
	var names []string
	nearer := false
	for ttl := c.first; ttl <= c.last; ttl++ {
		o, n := t.alike(ttl)
		switch {
		case o == nil:
			if ttl < c.first+c.period {
				names = append(names, "a silent one")
			}
			continue
		case ttl < c.first+c.period:
			names = append(names, o.From.String())
		}
		if o.TTL == 0 {
			f.Confidence = "medium"
		}
		f.Evidence = append(f.Evidence, probe.Witness(o, n))
		nearer = nearer || t.isShared(o.From)
	}
	f.Text = fmt.Sprintf("%d routers pass packets round from TTL %d on and never to %v: %s, in the same turn again up to TTL %d",
		c.period, c.first, t.dst, strings.Join(names, ", "), c.last)
	if nearer {
		f.Text += "; it may begin at one of the shared hops, which were not asked"
	}
	return []probe.Finding{f}
}

// findZeroTTL: a router that passes on what it should have answered has the next one answer in its place, with a TTL of 0
// in the quote, and once more at its own TTL, with 1 (ALGORITHMS 8.4).
func (t *T) findZeroTTL(last int) (fs []probe.Finding) {
	for ttl := int(t.c.First); ttl < last; ttl++ {
		a, n := t.alike(ttl)
		b, m := t.alike(ttl + 1)
		if a == nil || b == nil || a.From != b.From || a.TTL != b.TTL || a.Answer != probe.TimeExceeded || b.Answer != probe.TimeExceeded ||
			!a.Quoted.Known || !b.Quoted.Known || a.Quoted.TTL != 0 || b.Quoted.TTL != 1 {
			continue
		}
		f := probe.Finding{Code: "zero-ttl-forwarding", TTL: uint8(ttl), Confidence: "high",
			Text: fmt.Sprintf("the router at TTL %d passes on packets whose TTL has become 0: %v answers in its place, and again at TTL %d, with quoted TTLs of 0 and 1",
				ttl, a.From, ttl+1),
			Evidence: []probe.Evidence{probe.Witness(a, n), probe.Witness(b, m)},
		}
		if a.TTL == 0 {
			f.Confidence = "medium"
		}
		fs = append(fs, f)
	}
	return fs
}

// findTTL: what is quoted with more TTL than can be left of it (TRAPS T37). A packet whose TTL is exceeded had 1 left,
// or 0. One that arrived had as much less than it was sent with as routers are known to lie before.
func (t *T) findTTL(last int) (fs []probe.Finding) {
	var run []probe.Evidence // time exceeded with TTL left, at TTLs in a row
	tell := func() {
		if len(run) > 0 {
			fs = append(fs, t.notDecremented(run))
			run = nil
		}
	}
	router, labelled := 0, false // the last TTL at which a router answered, and whether the one before did so from a tunnel
	for ttl := int(t.c.First); ttl <= last; ttl++ {
		o, n := t.alike(ttl)
		switch {
		case o == nil || !o.Quoted.Known || !o.Answer.IsError():
			tell()
		case t.target.endless && o.From.WithZone("") == t.dst:
			tell() // it answers so whatever is left: target-sends-time-exceeded says that
		case int(o.Quoted.TTL) > ttl:
			tell()
			if f := t.raised(o, n, router); len(fs) == 0 || fs[len(fs)-1].Code != f.Code {
				fs = append(fs, f) // all behind see it
			}
		case o.Answer == probe.TimeExceeded && o.Quoted.TTL > 1 && len(o.Labels) == 0:
			run = append(run, probe.Witness(o, n))
		case o.Answer.Terminal() && ttl == t.end && ttl-1 == router && o.Quoted.TTL > 1 && !t.c.Classic && !t.several(last) && (len(run) > 0 || labelled):
			// Alone it proves nothing: where packets go different ways, this one may have gone a shorter.
			run = append(run, probe.Witness(o, n))
		default:
			tell()
		}
		labelled = o != nil && len(o.Labels) > 0
		if o != nil && o.Answer == probe.TimeExceeded {
			router = ttl
		}
	}
	tell()
	return fs
}

// raised is the finding that o has more TTL left than it was sent with.
func (t *T) raised(o *probe.Outcome, n, router int) probe.Finding {
	f := probe.Finding{Code: "ttl-reset", TTL: o.Spec.TTL, Confidence: "high", Evidence: []probe.Evidence{probe.Witness(o, n)},
		Text: fmt.Sprintf("%v got with a TTL of %d what was sent with %d: a box on the way set it anew", o.From, o.Quoted.TTL, o.Spec.TTL)}
	if router > 0 {
		f.TTL, f.Between = 0, [2]uint8{uint8(router), o.Spec.TTL}
		f.Text += fmt.Sprintf(", behind TTL %d", router)
	}
	if o.Answer == probe.TimeExceeded { // it contradicts itself: the quote may be wrong
		f.Confidence = "low"
	}
	return f
}

// notDecremented is the finding that time was exceeded with TTL left. Where that grows from 2 by one each,
// it is as in an MPLS tunnel that counts its labels' TTL alone, and does not show them (RFC 3443 section 3.1, ALGORITHMS 8.5).
func (t *T) notDecremented(run []probe.Evidence) probe.Finding {
	first, last := run[0].TTL, run[len(run)-1].TTL
	f := probe.Finding{Code: "ttl-not-decremented", Between: [2]uint8{first - 1, last}, Confidence: "medium", Evidence: run}
	where := fmt.Sprintf("between TTL %d and %d", first-1, last)
	if first == t.c.First {
		f.Between, f.TTL = [2]uint8{}, first
		where = fmt.Sprintf("before TTL %d", first)
	}
	if len(run) == 1 && int(first) == t.end {
		f.Confidence = "low" // it may have gone a shorter way
	}
	tunnel := true
	for i, e := range run {
		tunnel = tunnel && int(e.Quoted) == i+2
	}
	if tunnel {
		f.Confidence = "low"
		f.Text = fmt.Sprintf("TTL is left in the quotes, up to %d, as in a tunnel that counts down its labels alone (MPLS), %s",
			run[len(run)-1].Quoted, where)
		return f
	}
	f.Text = fmt.Sprintf("what was sent with TTL %d is quoted with %d of it left, and no label says why: it is not counted down %s, or the quote is wrong",
		first, run[0].Quoted, where)
	return f
}

// rewrittenTTLs is at how many TTLs one address must answer from further and further away. Two are what a way that became longer in between
// looks like too.
const rewrittenTTLs = 3

// findRewritten: several nodes behind each other under an address that is not the destination's, as of a translator in between
// (ALGORITHMS 5.4). For the destination's own see target.
func (t *T) findRewritten(last int) (fs []probe.Finding) {
	for ttl := int(t.c.First); ttl <= last; ttl++ {
		a, n := t.alike(ttl)
		if a == nil || a.TTL == 0 || a.Answer != probe.TimeExceeded || a.From.WithZone("") == t.dst {
			continue
		}
		var run []probe.Evidence // where it is more than one
		end := ttl
		for next := ttl + 1; next <= last; next++ {
			b, m := t.alike(next)
			if b == nil && t.silent(next) {
				continue // silent
			}
			if b == nil || b.From != a.From || int(a.TTL)-int(b.TTL) != next-ttl || b.Answer != probe.TimeExceeded && !b.Answer.Terminal() {
				break
			}
			if run == nil {
				run = append(run, probe.Witness(a, n))
			}
			run, end = append(run, probe.Witness(b, m)), next
		}
		if len(run) >= rewrittenTTLs {
			f := probe.Finding{Code: "address-rewritten", Between: [2]uint8{uint8(ttl), uint8(end)}, Confidence: "high", Evidence: run,
				Text: fmt.Sprintf("%v answers at TTL %d to %d, each time from one hop further away (reply TTL %d to %d): several nodes answer under its address, as behind a translator",
					a.From, ttl, end, a.TTL, run[len(run)-1].Reply)}
			if t.c.Classic {
				f.Confidence = "medium"
			}
			fs = append(fs, f)
			ttl = end
		}
	}
	return fs
}

// findSource: an error that says that the destination was reached, from another address. It counts as reached all the same
// (TRAPS T33): what it says is not changed by who says it.
func (t *T) findSource(last int) []probe.Finding {
	if last != t.end {
		return nil
	}
	f, ok := probe.FindSource(t.answers(last), func(from netip.Addr) (*probe.Outcome, int) {
		for ttl := int(t.c.First); ttl < last; ttl++ {
			if o, n := t.alike(ttl); o != nil && o.From == from && o.Answer == probe.TimeExceeded {
				return o, n
			}
		}
		return nil, 0
	})
	if !ok {
		return nil
	}
	return []probe.Finding{f}
}

// findProhibited: an error by which somebody says that he does not let the probe pass. What others say further on is no news.
func (t *T) findProhibited(last int) []probe.Finding {
	fs := probe.FindProhibited(int(t.c.First), last, t.answers)
	return fs[:min(1, len(fs))]
}
