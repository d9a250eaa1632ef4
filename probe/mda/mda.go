// Package mda finds every branch of a path: at each distance the nodes that answer, and which of them follow which, with a stated
// probability to have missed one.
//
// It is the multipath detection algorithm (Augustin et al., E2EMON 2007) as MDA-Lite has it (Vermeulen et al., IMC 2018). A flow is a
// set of header fields that balancers hash; its probes take one way. Each distance is asked with as many flows as the
// stopping rule wants for one more node than it has shown, and a flow that is known at two neighbouring
// distances is an edge. That is enough where branches do not mesh and are evenly spread. Where the edges show that they
// do or are not, that stretch gets what the full algorithm wants: for each node as many flows through it, and new flows
// until enough of them go there ("node control").
//
// All distances that are known to be there are asked at once, so a path takes some round trips and not one for each probe. Nodes that
// limit their answers are asked as slowly as they answer. The package knows no sockets and no clock.
package mda

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"gtrace/probe"
)

const (
	// No wait that follows from a round-trip time is shorter.
	minWait = 50 * time.Millisecond
	// Linux answers a host with 6 errors at once and then with one a second. So many probes are under way to one node, and, once
	// one was lost where others were answered, they go in turns that far apart.
	atOnce = 6
	pause  = 1100 * time.Millisecond
	// However few of its probes counted, a flow is not asked more often than that many times the attempts it has.
	mostAsked = 10
	// So many probes of a check of a balancer are under way.
	checkAtOnce = 3
)

// Tags mark the probes of checks, and those of variants.
const (
	checkTag = 1 + iota
	variantTag
)

// A state is what is known of a flow at a TTL.
type state uint8

const (
	unasked state = iota
	flying
	waiting // was lost, and is asked again or, from a time on, counts as unanswered
	known
)

// A cell is a flow at a TTL.
type cell struct {
	state state
	asked uint8
	tries uint8     // so many of them were alone at their hop, and lost
	node  int32     // known: which of the hop's
	until time.Time // waiting: an answer may come until then
}

// A node is who answers at a TTL. Where some flows get answers there and others never do, nobody is one too.
type node struct {
	addr  netip.Addr // invalid: nobody
	flows []int      // in the order they were heard
}

// A hop is a TTL.
type hop struct {
	opened    bool
	asked     time.Time // when it was first
	cells     []cell    // by flow
	nodes     []node
	next      int // no flow below was not asked
	flying    int
	waiting   int
	answers   int
	recovered int // flows that were answered when asked again: the hop limits its answers
	attempts  uint32
	rtt       time.Duration // the longest there; 0: none
	turn      turn
	full      bool // what follows its nodes is found by node control
	outcomes  []probe.Outcome
}

// A turn is a group of probes to a TTL where some were lost and others answered.
type turn struct {
	on         bool
	size       int // of this one
	sent, lost int
	next       time.Time // when the next may begin
}

// A flight is a probe under way.
type flight struct {
	serial   uint64
	flow     int
	ttl      int
	sent     time.Time
	check    bool
	variant  int  // which of the variants it is of, from 1; 0: none
	alone    bool // nothing else was under way to its TTL
	givenUp  bool
	recorded int // where its outcome goes in the hop's
}

// A T is one multipath trace. New makes it, probe.Run drives it.
type T struct {
	c        Config
	hops     []hop    // by TTL; the first is not used
	end      []uint8  // by flow: the TTL it ends at, by what is known; 0: none
	flights  []flight // in order of serial
	sent     uint64
	now      time.Time
	longest  time.Duration // round-trip time
	last     int           // the last TTL that is known to be there
	distance int           // the least TTL at which the destination answered; 0: none
	blocked  bool
	reach    int          // by Destination: up to where neighbours are asked; 0: the first flow has not been followed yet
	followed bool         // it has
	low      int          // many of them end at that TTL, the least one, and are not asked there any more; 0: not so
	arrived  map[int]bool // flows to neighbours that answered themselves
	variants []variant
	checks   []check
	checked  bool  // checks is filled
	spent    bool  // the budget did not suffice
	scarce   bool  // nor did the flows
	failure  error // why the last that did not leave did not
	wake     time.Time
	done     bool
}

// New prepares a trace. The error lists every field of c that will not do.
func New(c Config) (*T, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &T{c: c, hops: make([]hop, int(c.Max)+2), arrived: make(map[int]bool)}, nil
}

// Step is probe.Algorithm's.
func (t *T) Step(in probe.Input, out *probe.Output) {
	if t.done {
		out.Done = true
		return
	}
	t.now, t.wake = in.Now, time.Time{}
	for i := range in.Outcomes {
		t.learn(&in.Outcomes[i])
	}
	t.bound()
	if in.Stop != nil {
		t.finish(in.Stop, out)
		return
	}
	t.giveUp(out)
	room := in.Room
	t.explore(out, &room)
	if len(t.flights) == 0 && t.wake.IsZero() && (room > 0 || t.spent) {
		t.finish(nil, out)
		return
	}
	out.Wake = t.wake
}

// due has the algorithm step again then.
func (t *T) due(at time.Time) {
	if t.wake.IsZero() || at.Before(t.wake) {
		t.wake = at
	}
}

func (t *T) hop(ttl int) *hop { return &t.hops[ttl] }

// at is a flow's cell at a TTL.
func (h *hop) at(flow int) *cell {
	for len(h.cells) <= flow {
		h.cells = append(h.cells, cell{})
	}
	return &h.cells[flow]
}

// knows is a flow's node there, or nil.
func (h *hop) knows(flow int) *node {
	if flow < len(h.cells) && h.cells[flow].state == known {
		return &h.nodes[h.cells[flow].node]
	}
	return nil
}

// goesOn reports whether a flow is not known to end before that TTL.
func (t *T) goesOn(flow, ttl int) bool { return t.until(flow) >= ttl }

// endsAt reports whether it is known to end there.
func (t *T) endsAt(flow, ttl int) bool { return t.until(flow) == ttl }

// until is the last TTL of a flow by what is known. To a neighbour that is the last at which it is asked, before its end.
func (t *T) until(flow int) int {
	last := math.MaxInt
	if flow < len(t.end) && t.end[flow] != 0 {
		last = int(t.end[flow])
		if t.aside(flow) {
			last--
		}
	}
	if t.aside(flow) {
		last = min(last, t.reach)
	}
	return last
}

func (t *T) heard() (n int) {
	for i := range t.hops {
		n += t.hops[i].answers
	}
	return n
}

// through are the flows of a node at a TTL that are known not to end before; going: nor there.
func (t *T) through(n *node, ttl int, going bool) (flows []int) {
	for _, f := range n.flows {
		if t.goesOn(f, ttl) && !(going && t.endsAt(f, ttl)) {
			flows = append(flows, f)
		}
	}
	return flows
}

// live are the nodes of a TTL that some flow goes through.
func (t *T) live(ttl int) (nodes []*node) {
	h := t.hop(ttl)
	for i := range h.nodes {
		if n := &h.nodes[i]; len(t.through(n, ttl, false)) > 0 {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// learn takes what became of a probe.
func (t *T) learn(o *probe.Outcome) {
	ttl, flow := int(o.Spec.TTL), int(o.Spec.Flow)
	if ttl >= len(t.hops) || o.Duplicate {
		return
	}
	h := t.hop(ttl)
	i, found := slices.BinarySearchFunc(t.flights, o.Serial, func(f flight, serial uint64) int { return cmp.Compare(f.serial, serial) })
	if !found {
		if o.Late && o.Status == probe.Answered {
			t.late(h, ttl, flow, o)
		}
		return
	}
	f := t.flights[i]
	t.flights = slices.Delete(t.flights, i, i+1)
	h.flying--
	h.outcomes[f.recorded] = *o
	answered := o.Status == probe.Answered && o.Match != probe.FlowOnly
	if o.Status == probe.Failed {
		t.failure = o.Err
	}
	if !answered {
		h.turn.lost++
		if h.answers > 0 && !h.turn.on {
			h.turn = turn{on: true, size: 1, next: f.sent.Add(pause)}
		}
	}
	if f.variant > 0 {
		t.sighted(f.variant-1, ttl, o, answered)
		return
	}
	c := h.at(flow)
	switch {
	case f.check:
		t.rechecked(ttl, flow, o, answered)
	case c.state == known: // by a late answer
	case answered:
		t.answered(h, ttl, flow, o)
	default:
		if f.alone {
			c.tries++
		}
		c.state, c.until = waiting, o.Sent.Add(t.grace())
		if o.Status == probe.Failed {
			c.until = t.now
		}
		h.waiting++
	}
}

// late takes an answer to a probe that was not waited for any more.
func (t *T) late(h *hop, ttl, flow int, o *probe.Outcome) {
	for i := range h.outcomes {
		if h.outcomes[i].Serial == o.Serial {
			h.outcomes[i] = *o
		}
	}
	if o.Match == probe.FlowOnly {
		return
	}
	switch o.Spec.Tag {
	case checkTag:
		t.rechecked(ttl, flow, o, true)
		return
	case variantTag:
		t.sighted(flow-t.c.Most(), ttl, o, true)
		return
	}
	c := h.at(flow)
	switch {
	case c.state == waiting:
		h.waiting--
	case c.state == known && !h.nodes[c.node].addr.IsValid():
		n := &h.nodes[c.node]
		n.flows = slices.DeleteFunc(n.flows, func(f int) bool { return f == flow })
	case c.state != flying:
		return
	}
	t.answered(h, ttl, flow, o)
}

// answered notes who answers a flow.
func (t *T) answered(h *hop, ttl, flow int, o *probe.Outcome) {
	t.timed(h, o)
	c := h.at(flow)
	if c.asked > 1 && !o.Late {
		h.recovered++
	}
	if o.Answer != probe.TimeExceeded && o.Answer != probe.ReassemblyExceeded {
		if o.Answer.Terminal() && (t.distance == 0 || ttl < t.distance) && !t.aside(flow) {
			t.distance = ttl
		}
		if t.aside(flow) && (o.Answer.Terminal() || o.From == o.Spec.Dst.Addr()) {
			t.arrived[flow] = true
		}
		t.blocked = t.blocked || !o.Answer.Terminal() && !t.aside(flow)
		for len(t.end) <= flow {
			t.end = append(t.end, 0)
		}
		if t.end[flow] == 0 || ttl < int(t.end[flow]) {
			t.end[flow] = uint8(ttl)
		}
	}
	t.place(h, flow, o.From)
}

// timed notes that and how fast somebody answers at a hop.
func (t *T) timed(h *hop, o *probe.Outcome) {
	h.answers++
	if rtt, ok := o.RTT(); ok {
		t.longest = max(t.longest, rtt)
		h.rtt = max(h.rtt, rtt, 1)
	}
}

// place puts a flow at a node.
func (t *T) place(h *hop, flow int, addr netip.Addr) {
	i := slices.IndexFunc(h.nodes, func(n node) bool { return n.addr == addr })
	if i < 0 {
		i = len(h.nodes)
		h.nodes = append(h.nodes, node{addr: addr})
	}
	c := h.at(flow)
	c.state, c.node = known, int32(i)
	h.nodes[i].flows = append(h.nodes[i].flows, flow)
}

// wait is how long an answer from a TTL is waited for.
func (t *T) wait(ttl int) time.Duration {
	if rtt := t.hop(ttl).rtt; rtt > 0 {
		if t.c.Here == 0 {
			return t.c.Wait
		}
		return min(t.c.Wait, max(minWait, time.Duration(t.c.Here*float64(rtt))))
	}
	return t.grace()
}

// grace is how long an answer may take where nothing is known of its hop. Until then a flow that was lost may still be answered.
func (t *T) grace() time.Duration {
	if t.c.Near == 0 || t.longest == 0 {
		return t.c.Wait
	}
	return min(t.c.Wait, max(minWait, t.c.Wait/5, time.Duration(t.c.Near*float64(t.longest))))
}

// giveUp ends the wait for what takes longer than anything there did.
func (t *T) giveUp(out *probe.Output) {
	for i := range t.flights {
		f := &t.flights[i]
		if f.givenUp {
			continue
		}
		if until := f.sent.Add(t.wait(f.ttl)); until.After(t.now) {
			t.due(until)
		} else {
			f.givenUp = true
			out.GiveUp = append(out.GiveUp, f.serial)
		}
	}
}

// may reports whether a TTL may be asked now. A hop of which some probes were lost while others were answered limits its answers, or loses
// them: it is asked in turns, of as many probes as it answered of the last and one more.
func (t *T) may(h *hop) bool {
	if !h.turn.on {
		return h.flying < atOnce*max(1, len(h.nodes))
	}
	switch {
	case h.turn.sent < h.turn.size && (h.turn.sent > 0 || !h.turn.next.After(t.now)):
		return true
	case h.flying > 0:
		return false
	case h.turn.next.After(t.now):
		t.due(h.turn.next)
		return false
	}
	size := h.turn.size + 1
	if h.turn.lost > 0 {
		size = h.turn.sent - h.turn.lost
	}
	h.turn = turn{on: true, size: min(max(1, size), atOnce*max(1, len(h.nodes))), next: h.turn.next}
	return true
}

// send asks a flow at a TTL, if that may be now, and reports whether it does.
func (t *T) send(flow, ttl int, check bool, out *probe.Output, room *int) bool {
	h := t.hop(ttl)
	switch {
	case t.aside(flow) && ttl > t.reach:
		return false
	case *room > 0 && t.sent < uint64(t.c.Budget) && flow >= t.c.Most():
		t.scarce = true
		return false
	case !t.clear(h, room):
		return false
	}
	s := t.c.spec(flow, uint8(ttl))
	if check {
		s.Tag = checkTag
	} else {
		c := h.at(flow)
		if c.state == waiting {
			h.waiting--
		}
		c.state = flying
		c.asked++
	}
	t.launch(s, flight{flow: flow, ttl: ttl, check: check}, out, room)
	return true
}

// clear reports whether a probe may be sent to a TTL now, which the next one then is.
func (t *T) clear(h *hop, room *int) bool {
	switch {
	case *room == 0:
		return false
	case t.sent >= uint64(t.c.Budget):
		t.spent = true
		return false
	}
	return t.may(h)
}

// launch sends a probe.
func (t *T) launch(s probe.Spec, f flight, out *probe.Output, room *int) {
	h := t.hop(f.ttl)
	if h.turn.on {
		if h.turn.sent == 0 {
			h.turn.next = t.now.Add(pause)
		}
		h.turn.sent++
	}
	if h.asked.IsZero() {
		h.asked = t.now
	}
	*room--
	t.sent++
	h.attempts++
	s.Attempt = h.attempts
	f.serial, f.sent, f.alone, f.recorded = t.sent, t.now, h.flying == 0 && (!h.turn.on || h.turn.size == 1), len(h.outcomes)
	t.flights = append(t.flights, f)
	h.flying++
	h.outcomes = append(h.outcomes, probe.Outcome{Serial: t.sent, Spec: s})
	t.due(t.now.Add(t.wait(f.ttl)))
	out.Send = append(out.Send, s)
}

// explore asks what there is to ask.
func (t *T) explore(out *probe.Output, room *int) {
	t.search(out, room)
	if t.follow(*room) {
		t.search(out, room)
	}
	if !t.checked {
		if t.c.Plain || *room == 0 || len(t.flights) > 0 || !t.wake.IsZero() {
			return // there is more to ask
		}
		t.checked = true
		t.planChecks()
	}
	t.runChecks(out, room)
	t.runKinds(out, room)
}

// search asks what is missing of nodes and edges.
func (t *T) search(out *probe.Output, room *int) {
	ttl := int(t.c.First)
	for ; ttl <= int(t.c.Max) && t.opens(ttl); ttl++ {
		t.fill(ttl, out, room)
		if ttl > int(t.c.First) && t.settled(ttl-1) && t.settled(ttl) {
			t.connect(ttl-1, out, room)
		}
	}
	t.last = ttl - 1
}

// opens reports whether a TTL is there to be asked: the first; what is behind a node that is not the end; and what is behind silence.
func (t *T) opens(ttl int) bool {
	h := t.hop(ttl)
	if ttl == int(t.c.First) {
		h.opened = true
		return true
	}
	before := t.hop(ttl - 1)
	for i := range before.nodes {
		if n := &before.nodes[i]; n.addr.IsValid() && len(t.through(n, ttl-1, true)) > 0 {
			h.opened = true
			return true
		}
	}
	switch {
	case before.answers > 0: // all that answered there is the end
		return false
	case h.opened:
		return true
	case before.asked.IsZero():
		return false
	}
	// Nobody has answered there yet. Whoever comes behind is not made to wait for that.
	if patience := before.asked.Add(max(minWait, 2*t.longest)); patience.After(t.now) {
		t.due(patience)
		return false
	}
	if t.c.GapLimit > 0 && t.silent(ttl-1) >= t.c.GapLimit {
		return false
	}
	h.opened = true
	return true
}

// silent is how many TTLs up to that one have not answered, in a row.
func (t *T) silent(ttl int) (n int) {
	for ; ttl >= int(t.c.First) && t.hop(ttl).answers == 0; ttl-- {
		n++
	}
	return n
}

// wants is how many flows the stopping rule has a TTL asked with, or those that were asked for.
func (t *T) wants(ttl int) (n int) {
	switch {
	case t.c.By == Destination && ttl > t.reach:
		if t.goesOn(0, ttl) {
			n = 1
		}
		return n
	case t.c.Flows == 0:
		return Enough(max(1, len(t.live(ttl)))+1, t.c.Miss)
	}
	for f := range t.c.Flows {
		if t.goesOn(f, ttl) {
			n++
		}
	}
	return n
}

// has is how many flows are known there, or are about to be, of those that count.
func (t *T) has(ttl int) (n int) {
	h := t.hop(ttl)
	for f := range h.cells {
		if h.cells[f].state != unasked && t.goesOn(f, ttl) {
			n++
		}
	}
	return n
}

// settled reports whether a TTL has been asked with as many flows as the stopping rule wants, and nothing is waited for.
func (t *T) settled(ttl int) bool {
	h := t.hop(ttl)
	return h.opened && h.flying == 0 && h.waiting == 0 && (t.spent || t.scarce || t.has(ttl) >= t.wants(ttl))
}

// fill asks a TTL with as many flows as the stopping rule wants, the same ones everywhere, and again with what was lost.
func (t *T) fill(ttl int, out *probe.Output, room *int) {
	h := t.hop(ttl)
	for h.waiting > 0 && t.again(ttl, out, room) {
	}
	if h.waiting > 0 && h.answers > 0 || h.answers == 0 && h.flying == 0 && len(h.nodes) > 0 && !(ttl <= t.reach && t.has(ttl) == 1) {
		return // what it limits comes first; silent
	}
	for want := t.wants(ttl) - t.has(ttl); want > 0; want-- {
		if f, ok := t.choose(ttl); !ok || !t.send(f, ttl, false, out, room) {
			return
		}
	}
}

// again decides on a flow that was lost, and reports whether it did: it is asked again, or it counts as unanswered, where it was
// asked often enough, where nobody answered any flow once, or where one has been found unanswered and nothing that was lost ever
// came back. Until something does, one flow is asked to its end; from then on the hop limits its answers, and each has its turn.
func (t *T) again(ttl int, out *probe.Output, room *int) bool {
	h := t.hop(ttl)
	flow := -1
	for f := range h.cells {
		if c := &h.cells[f]; c.state == waiting && (flow < 0 || c.asked != h.cells[flow].asked && (c.asked < h.cells[flow].asked) == (h.recovered > 0)) {
			flow = f
		}
	}
	if flow < 0 {
		return false
	}
	c := &h.cells[flow]
	over := h.answers == 0 && !(t.c.By == Destination && flow == 0) || !t.goesOn(flow, ttl) || t.c.Attempts == 1 || int(c.tries) >= t.c.Attempts || int(c.asked) >= mostAsked*t.c.Attempts ||
		h.recovered == 0 && slices.ContainsFunc(h.nodes, func(n node) bool { return !n.addr.IsValid() && len(n.flows) > 0 })
	switch {
	case !over:
		return t.send(flow, ttl, false, out, room)
	case h.answers > 0 && c.until.After(t.now):
		t.due(c.until)
		return false
	}
	h.waiting--
	t.place(h, flow, netip.Addr{})
	return true
}

// choose is the flow that a TTL is asked with next: behind several nodes one through the node that the fewest are known of, so that each
// has one early and none is asked for that alone. While more of those nodes may turn up the second of a node waits.
func (t *T) choose(ttl int) (flow int, ok bool) {
	if ttl == int(t.c.First) || len(t.hop(ttl-1).nodes) < 2 || t.c.Flows > 0 {
		return t.fresh(ttl), true
	}
	h, before := t.hop(ttl), t.hop(ttl-1)
	least, flow := -1, -1
	for i := range before.nodes {
		asked, first := 0, -1
		for _, f := range t.through(&before.nodes[i], ttl-1, true) {
			switch {
			case h.at(f).state != unasked:
				asked++
			case first < 0:
				first = f
			}
		}
		if first >= 0 && (least < 0 || asked < least) {
			least, flow = asked, first
		}
	}
	switch {
	case least == 0:
		return flow, true
	case !t.settled(ttl - 1):
		return 0, false
	case flow >= 0:
		return flow, true
	}
	return t.fresh(ttl), true
}

// fresh is the lowest flow that was not asked at a TTL and may get there.
func (t *T) fresh(ttl int) int {
	h := t.hop(ttl)
	for ; ; h.next++ {
		if f := h.next; f >= t.c.Most() || h.at(f).state == unasked && t.goesOn(f, ttl) {
			return f
		}
	}
}
