package mda

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"gtrace/probe"
)

// Flows by destination: all but the first go to addresses next to the host's own. What is sent there is not to arrive. So the first flow is
// followed to its end before, and the others are asked at the distances where it was on its way, none further: the host's last router, which
// should be theirs too, is the last to see them.

const (
	// Of so many neighbours their own answer is taken for that of a router on the way, which has one or two of the addresses there. Where more
	// answer, they are nearer than the host.
	mostOwn = 3
	// So many may end before the host does, for whatever reason; more are the way of things where fewer go on.
	mostEnded = 8

	// mostVariants is how many flows to one destination are asked, beside the first, and mostVaried to how many destinations for one balancer.
	mostVariants, mostVaried = 47, 4
)

// aside reports whether a flow goes to a neighbour.
func (t *T) aside(flow int) bool { return t.c.By == Destination && flow > 0 }

// follow reports whether the first flow has just been followed to its end, or as far as it is answered. There is room for so many probes.
func (t *T) follow(room int) bool {
	if t.c.By != Destination || t.followed || !t.ended() && (room == 0 || len(t.flights) > 0 || !t.wake.IsZero()) {
		return false
	}
	t.followed = true
	t.bound()
	return true
}

// ended reports whether the first flow was answered at each TTL up to its end.
func (t *T) ended() bool {
	ttl := int(t.c.First)
	for ; ttl < int(t.c.Max) && !t.endsAt(0, ttl); ttl++ {
		if n := t.hop(ttl).knows(0); n == nil || !n.addr.IsValid() {
			return false
		}
	}
	return t.endsAt(0, ttl)
}

// bound finds out up to where neighbours are asked: the last TTL at which the first flow was answered by a router on the way, before anything
// that may be the host. Where so many neighbours end on the way that it is not theirs, that is before them.
func (t *T) bound() {
	if !t.followed {
		return
	}
	t.reach = 0
	for ttl := int(t.c.First); ttl <= int(t.c.Max) && !t.endsAt(0, ttl); ttl++ {
		switch n := t.hop(ttl).knows(0); {
		case n == nil || !n.addr.IsValid():
			continue
		case n.addr != t.c.Dst.Addr():
			t.reach = ttl
			continue
		}
		break // whatever it says
	}
	if t.low > 0 {
		t.reach = min(t.reach, t.low-1)
	}
	own, ended := 0, 0
	for ttl := int(t.c.First); ttl <= t.reach; ttl++ {
		h, going := t.hop(ttl), 0
		for f := 1; f < len(h.cells); f++ {
			n := h.knows(f)
			switch end := t.endOf(f); {
			case n == nil:
			case end == ttl:
				ended++
				if t.arrived[f] {
					own++
				}
			case n.addr.IsValid() && (end == 0 || end > ttl):
				going++
			}
		}
		if own > mostOwn || ended > mostEnded && ended > going {
			t.low, t.reach = ttl, ttl-1
		}
	}
}

// endOf is the TTL at which a flow was answered as at its end, 0 where it was not.
func (t *T) endOf(flow int) int {
	if flow < len(t.end) {
		return int(t.end[flow])
	}
	return 0
}

// A variant is a flow to the destination of another one that differs from it in Config.Also.
type variant struct {
	of, n  int // the other one, and which of its variants this is, from 1
	sights []sight
}

// A sight is a variant at a TTL.
type sight struct {
	ttl   int
	state state      // flying or known
	addr  netip.Addr // known: of the router that answered; invalid: none did
}

// at is the variant at a TTL, nil where it was not asked.
func (v *variant) at(ttl int) *sight {
	for i := range v.sights {
		if s := &v.sights[i]; s.ttl == ttl {
			return s
		}
	}
	return nil
}

// sighted takes what became of a variant's probe. Of those that were not answered in time a late answer comes a second time.
func (t *T) sighted(i, ttl int, o *probe.Outcome, answered bool) {
	if i < 0 || i >= len(t.variants) {
		return
	}
	s := t.variants[i].at(ttl)
	if s == nil {
		return
	}
	s.state = known
	if !answered {
		return
	}
	t.timed(t.hop(ttl), o)
	if o.Answer == probe.TimeExceeded {
		s.addr = o.From
	}
}

// vary asks a variant at a TTL, if that may be now.
func (t *T) vary(i, ttl int, out *probe.Output, room *int) bool {
	v := &t.variants[i]
	if t.aside(v.of) && ttl > t.reach || !t.clear(t.hop(ttl), room) {
		return false
	}
	s := t.c.spec(v.of, uint8(ttl))
	t.c.move(&s, t.c.Also, v.n)
	s.Flow, s.Tag = uint16(t.c.Most()+i), variantTag
	v.sights = append(v.sights, sight{ttl: ttl, state: flying})
	t.launch(s, flight{flow: int(s.Flow), ttl: ttl, variant: i + 1}, out, room)
	return true
}

// runKinds asks what shows whether the balancers that go by flow go by the destination alone. The nearest are first: where those do, a variant
// comes to the same balancers behind them as the flow that it varies, and need not be asked whether it does.
func (t *T) runKinds(out *probe.Output, room *int) {
	if t.c.By != Destination || t.c.Also == 0 || t.busy(*room) && !slices.ContainsFunc(t.flights, func(f flight) bool { return f.variant > 0 }) {
		return
	}
	void := t.void()
	for ttl := int(t.c.First); ttl < t.reach; ttl++ {
		open := false
		for i := range t.checks {
			if c := &t.checks[i]; c.ttl == ttl && c.proven() && !void[ttl] {
				open = t.runKind(c, open, out, room) || open
			}
		}
		if open && t.busy(*room) {
			return
		}
	}
}

// busy reports whether something is under way, or could not be sent yet.
func (t *T) busy(room int) bool { return room == 0 || len(t.flights) > 0 || !t.wake.IsZero() }

// runKind asks what is missing to know a balancer's kind, and reports whether there is something. New variants that are to be looked for at the
// balancer itself may as well come to another one there, so that one of them is served at a time: others is whether one is.
func (t *T) runKind(c *check, others bool, out *probe.Output, room *int) bool {
	same, other := t.kind(c)
	if other || same >= c.need {
		return false
	}
	straight := t.straight(c.ttl)
	under, here, lost := 0, 0, 0 // probes behind the balancer, and at it; those that were not answered
	for i := range t.variants {
		v := &t.variants[i]
		at, behind := v.at(c.ttl), v.at(c.ttl+1)
		mine := slices.Contains(c.varied, v.of)
		switch {
		case behind != nil && behind.state == flying:
			under++
		case behind != nil:
			if mine && !behind.addr.IsValid() {
				lost++
			}
		case straight:
		case at == nil:
		case at.state == flying && mine:
			here++
		case at.state == known && at.addr == c.addr && same+under < c.need:
			if t.vary(i, c.ttl+1, out, room) {
				under++
			}
		case mine && at.state == known && !at.addr.IsValid():
			lost++
		}
	}
	if lost >= c.need+t.c.Attempts {
		return under+here > 0
	}
	if others && !straight {
		return true
	}
	ttl, flying, most := c.ttl, &here, c.need
	if straight {
		ttl, flying, most = c.ttl+1, &under, checkAtOnce
	}
	if lost > 0 {
		most = 1
	}
	for same+under+here < c.need && *flying < most {
		i := -1
		for n := 0; i < 0 && n < len(c.varied); n++ {
			i = t.variantOf(c.varied[n], ttl)
		}
		if i < 0 {
			return under+here > 0
		}
		if !t.vary(i, ttl, out, room) {
			break
		}
		*flying++
	}
	return true
}

// variantOf is a variant of a flow that was not asked at a TTL, -1 where there are no more.
func (t *T) variantOf(flow, ttl int) int {
	n := 0
	for i := range t.variants {
		if v := &t.variants[i]; v.of == flow {
			if n++; v.at(ttl) == nil {
				return i
			}
		}
	}
	if n >= min(mostVariants, t.c.most(t.c.Also)-1) || t.c.Most()+len(t.variants) > math.MaxUint16 {
		return -1
	}
	t.variants = append(t.variants, variant{of: flow, n: n + 1})
	return len(t.variants) - 1
}

// straight reports whether a variant comes to the same node at a TTL as the flow that it varies: there is no other, or the balancers before it
// all go by the destination.
func (t *T) straight(ttl int) bool {
	if len(t.live(ttl)) < 2 {
		return true
	}
	for i := range t.checks {
		if c := &t.checks[i]; c.ttl < ttl {
			if same, other := t.kind(c); other || same < c.need || !c.proven() {
				return false
			}
		}
	}
	return true
}

// kind is what is known of a balancer that goes by flow: how many variants went the same way as another flow to their destination, and
// whether any went another.
func (t *T) kind(c *check) (same int, other bool) {
	h, next := t.hop(c.ttl), t.hop(c.ttl+1)
	i := slices.IndexFunc(h.nodes, func(n node) bool { return n.addr == c.addr })
	if i < 0 {
		return 0, false
	}
	first := make(map[int]netip.Addr) // by flow that is varied: where it or the first of its variants went
	for _, f := range t.through(&h.nodes[i], c.ttl, true) {
		if n := next.knows(f); n != nil && n.addr.IsValid() && t.goesOn(f, c.ttl+1) {
			first[f] = n.addr
		}
	}
	var straight bool
	for i := range t.variants {
		v := &t.variants[i]
		behind := v.at(c.ttl + 1)
		if behind == nil || behind.state != known || !behind.addr.IsValid() {
			continue
		}
		switch at := v.at(c.ttl); {
		case at != nil && at.addr == c.addr:
		case at != nil || !slices.Contains(c.varied, v.of):
			continue
		case !straight:
			if straight = t.straight(c.ttl); !straight {
				continue
			}
		}
		switch was, ok := first[v.of]; {
		case !ok:
			first[v.of] = behind.addr
		case was == behind.addr:
			same++
		default:
			other = true
		}
	}
	return same, other
}

// varied is what variants differ in, for people.
func (t *T) varied() string {
	switch {
	case t.c.Also == Label:
		return "label"
	case t.c.Also&Label != 0 && t.c.Proto == probe.ICMP:
		return "checksum and label"
	case t.c.Also&Label != 0:
		return "port and label"
	case t.c.Proto == probe.ICMP:
		return "checksum"
	}
	return "port"
}

// kinds is what there is to say of a balancer that one flow goes by always in the same way.
func (t *T) kinds(ttl int, c *check, n *node, es []edge) (f probe.Finding, kind string) {
	f = probe.Finding{Code: "balancer", Confidence: "medium"}
	switch same, other := t.kind(c); {
	case other:
		f.Code, f.Confidence = "balancer-per-flow", "high"
		return f, fmt.Sprintf("flow by flow: one flow went the same way in %d tries more, and with another %s another way", c.same, t.varied())
	case same < c.need:
		return f, "flow by flow or by destination address, which could not be found out"
	case t.ranges(ttl, n, es):
		return f, fmt.Sprintf("by destination address, whatever the %s (%d tries more), and each has a range of addresses of its own: rather by routes to parts of these than to balance", t.varied(), same)
	default:
		f.Code, f.Confidence = "balancer-per-destination", "high"
		return f, fmt.Sprintf("by destination address: what goes to one went the same way whatever its %s, in %d tries more", t.varied(), same)
	}
}

// ranges reports whether the destinations that go to each successor of a node lie side by side, where chance would hardly have it so.
func (t *T) ranges(ttl int, from *node, es []edge) bool {
	type one struct {
		dst netip.Addr
		to  *node
	}
	var all []one
	add := func(f int, to *node) {
		if to.addr.IsValid() {
			all = append(all, one{t.c.spec(f, 1).Dst.Addr(), to})
		}
	}
	if len(t.live(ttl)) == 1 { // what was not asked there goes through it as well
		h := t.hop(ttl + 1)
		for i := range h.nodes {
			for _, f := range t.through(&h.nodes[i], ttl+1, false) {
				add(f, &h.nodes[i])
			}
		}
	} else {
		for _, e := range es {
			for _, f := range e.flows {
				if e.from == from {
					add(f, e.to)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b one) int { return a.dst.Compare(b.dst) })
	runs, shares := 0, make(map[*node]int)
	for i := range all {
		if i == 0 || all[i].to != all[i-1].to {
			runs++
		}
		shares[all[i].to]++
	}
	if runs != len(shares) || runs < 2 {
		return false
	}
	// Of all orders of so many of each, k! have as few runs.
	factorial := func(n int) float64 {
		l, _ := math.Lgamma(float64(n + 1))
		return l
	}
	chance := factorial(runs) - factorial(len(all))
	for _, n := range shares {
		chance += factorial(n)
	}
	return chance <= math.Log(t.c.Miss/10)
}
