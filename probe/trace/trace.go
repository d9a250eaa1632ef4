// Package trace finds the path to a destination hop by hop: probes with a rising
// TTL, each router telling where one died.
//
// The end is found by what an answer says, its type and code, never by who
// sent it. The flow stays put unless the trace is classic. Attempts interleave:
// several TTLs are in flight, and no router is asked more than it answers, because
// what a router leaves unsaid looks like loss.
//
// A hop is told once, in ascending order, when all its attempts are decided; none
// is told beyond the path's end. Traces of one run may spare each other what is near to all of them (Shared).
//
// The package knows nothing of sockets, bytes or output, and has no clock.
package trace

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gtrace/internal/stats"
	"gtrace/probe"
)

const (
	// Linux, the commonest router and host, answers a prober 6 errors at once
	// and then one a second. Of these 6 one is left to whoever else traces
	// from here.
	burst = 5

	// No TTL is asked more than a burst at once, and then once each perTTL; nor is the destination, by
	// all TTLs that reach it.
	perTTL = time.Second

	// A wait that follows from a round-trip time is never below this: three times
	// the 50 µs of a local network would be over before a busy router's slow path, or the
	// resolution of one neighbour's address, is done. It costs a trace that
	// loses probes no more than this once a round.
	minWait = 50 * time.Millisecond

	// Where nobody was heard behind a TTL, its answers are waited for no less than this part of the longest wait.
	farWait = 5

	// How far the search goes on behind a time exceeded from the
	// destination's own address.
	beyondTarget = 3

	// Where all attempts at this many TTLs failed to leave, and alike, so
	// would the rest.
	failedTTLs = 3

	// So many attempts at one of them.
	failedTries = 3

	// How many more probes than twice its attempts a TTL gets, so that a service's answer
	// is told from a stray: three in a row are lost once in a thousand times where one
	// in ten is.
	confirms = 3
)

// A T is one trace. New makes it, probe.Run drives it.
type T struct {
	c        Config
	dst      netip.Addr // without zone
	spare    *Spare
	inFlight int // at most
	opening
	check check

	near      *near             // what the traces from here share; nil: nothing
	unsettled bool              // whether what is nearer than the first TTL is shared has not shown yet; nothing is told
	anew      int               // it is not, and is asked: this was the first TTL; 0: else
	shared    []probe.SharedHop // it is
	early     bool              // it is one of the first of those traces
	behind    netip.Addr        // who was behind those in the traces they are of

	hops   []*hop // by TTL, up to one beyond Max; nil: nothing sent there
	probes []ref  // by serial, from 1
	flying []ref  // in order of sending

	start   time.Time
	now     time.Time
	latest  time.Time     // when a probe was last sent
	top     int           // the highest TTL sent to
	far     int           // the highest TTL known to lie before the destination
	heard   int           // the highest TTL that got any answer
	longest time.Duration // of the first round-trip times
	since   time.Time     // when far last changed
	told    int           // the highest TTL told
	end     int           // the smallest TTL with a terminal answer; 0: not known
	ended   time.Time     // when that was found

	target    target
	met       []meeting          // who answered time exceeded, where; until returned
	others    map[netip.Addr]int // where in met those behind the first few are
	returned  bool               // a router was met again, not right behind: see cycle
	turns     uint               // grows whenever what findCycle goes by changes
	cycles    map[int]cycle      // what it found, by TTL
	cyclesAt  uint               // turns at that time
	alone     alone
	cut       bool          // a router quotes too little to say what it answers, so what goes alone goes wholly alone
	hush      time.Time     // cut: nothing is sent before, so that copies of an answer go by
	last      int           // where somebody answered for the flow alone: the end is not beyond this TTL; else 0
	flowRTT   time.Duration // and at most so far away
	failed    int           // probes that did not leave
	failure   error         // of the first
	errno     string        // of the first
	different bool          // others ended otherwise

	awaits bool            // nothing is left to do but to wait for the traces beside it
	finish *probe.Finished // decided; told once nothing is in flight
	done   bool
}

// alone is whether probes go one at a time, because an answer did not tell whose it is.
//
// While they do, whatever comes belongs to the TTL that is asked, if no datagram is
// older than Wait.Max. One comes only of a probe that got as far as the destination.
// So beyond the last known router the TTLs are asked in ascending order, each only Wait.Max
// after the last probe to a higher one (when), and left only Wait.Max
// after its own last probe, answered or not (wait). Nothing shorter would do: a stray that was not
// seen yet has no delay to go by. As datagrams may be older still, it takes two at a
// TTL to make it the end.
//
// Without privilege the same is true of ICMP errors that quote no more than 8 bytes (cut), and those come of any probe. So
// then one probe alone is out, whatever its TTL, and a TTL is asked only Wait.Max after the last probe to any other that was
// not answered. Once all that was asked is decided and the last TTL stayed silent, probes go together again: silence has a
// high price for who asks alone, and there may be much more of it.
type alone uint8

const (
	together alone = iota
	draining       // until nothing is in flight
	apart
)

// A ref names a probe: the n-th to its TTL, for a try.
type ref struct {
	ttl    uint8
	try, n int32 // from 0
}

// A hop is what is known at one TTL.
type hop struct {
	tries   []try
	sent    int // tries in flight or decided
	decided int
	answers int // decided tries that were answered
	service int // probes that went alone and were answered by a service
	blocked int // of these, as blocks says
	refused int // tries that failed
	rtt     time.Duration
	timed   bool      // rtt is known: the first answer's
	open    time.Time // when the last that was not answered, as far as is known, was sent
	doubted bool      // an answer was taken for another's
	last    time.Time // when it was last asked
	asked   bucket
	asks    []ask       // every probe sent there
	judged  bool        // whether it is to be asked again is decided
	again   int         // how often it was asked again
	idle    int         // no try before this is idle
	tally   stats.Share // what was lost of the tries as they stand
	own     alike       // what they were answered
	turns   *uint       // the trace's
}

// A try is one attempt.
type try struct {
	state   state
	n       int    // its number, from 0
	serial  uint64 // of the latest probe for it
	sent    time.Time
	givenUp bool
	out     probe.Outcome
}

type state uint8

const (
	idle state = iota
	flying
	decided
)

// New prepares a trace. The error lists every field of c that will not do.
func New(c Config) (*T, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &T{c: c, spare: cmp.Or(c.Spare, new(Spare)), dst: c.Dst.Addr().WithZone(""), inFlight: c.InFlight, hops: make([]*hop, int(c.Max)+2)}
	t.target.seen = make([]seen, len(t.hops))
	if t.inFlight == 0 {
		t.inFlight = defaultInFlight
	}
	// Who asks for more in flight than is the default gets it, there too.
	t.opening = t.c.opening()
	t.far, t.heard, t.told = int(c.First)-1, int(c.First)-1, int(c.First)-1
	return t, nil
}

// Step is probe.Algorithm's.
func (t *T) Step(in probe.Input, out *probe.Output) {
	if t.done {
		out.Done = true
		return
	}
	t.now = in.Now
	if t.start.IsZero() {
		t.start, t.since = in.Now, in.Now
		t.share()
		if b := t.c.Beside; b != nil {
			b.open++
		}
	}
	for i := range in.Outcomes {
		t.learn(&in.Outcomes[i])
	}
	if t.alone == draining && len(t.flying) == 0 {
		t.separate()
	}
	t.rejoin()
	if t.finish == nil && !errors.Is(in.Stop, probe.ErrSource) { // else what was lost proves nothing
		t.conclude(out)
	}
	switch {
	case t.finish != nil && (len(t.flying) == 0 || in.Stop != nil):
		t.finished(out)
	case t.finish != nil:
		t.giveUpAll(out)
	case in.Stop != nil:
		t.stop(in.Stop, out)
		t.finished(out)
	default:
		t.send(in.Room, out)
		t.giveUp(out) // what was just sent too: its wait may end before anything else happens
		t.await(in.Room, out)
	}
}

// learn takes in what became of a probe.
func (t *T) learn(o *probe.Outcome) {
	if o.Serial == 0 { // FlowOnly
		t.learnFlow(o)
		return
	}
	if o.Serial > uint64(len(t.probes)) {
		return
	}
	r := t.probes[o.Serial-1]
	h := t.hops[r.ttl]
	y := &h.tries[r.try]
	ttl := int(r.ttl)
	h.note(int(r.n), o)

	if o.Status == probe.Unsent {
		t.flying = slices.DeleteFunc(t.flying, func(f ref) bool { return f == r })
		return
	}
	if o.Duplicate && !(y.serial == o.Serial && y.out.Match == probe.Alone) {
		return // behind one that may have been a stray it is news
	}
	vague, byPort := t.vague(o), o.Match == probe.Alone && t.byPort(o)
	if o.Match == probe.Alone {
		t.learnFlow(o)
	}
	if o.Status == probe.Lost {
		h.open = later(h.open, o.Sent)
	}
	// What is late revises the try, unless that has been asked again since.
	switch {
	case y.serial != o.Serial:
	case y.state == flying || o.Late:
		t.flying = slices.DeleteFunc(t.flying, func(f ref) bool { return y.state == flying && f == r })
		if vague && (t.alone != apart || ttl <= t.far) || !vague && !byPort && o.Match == probe.Alone && t.isStray(ttl, o) {
			h.open = later(h.open, o.Sent) // its own is still to come
			t.doubt(h, y, o)
			return
		}
		h.decide(y, o)
		h.askedAgain(o)
		if vague {
			h.service++
		}
		if o.Answer != probe.TimeExceeded {
			t.confirm(ttl)
		}
	case o.Duplicate && !vague && o.Match != probe.Alone && y.state == decided && !t.vague(&y.out):
		h.reopen(y) // what came before was another's
		h.decide(y, o)
	}

	switch o.Status {
	case probe.Failed:
		t.fail(o)
		return
	case probe.Lost:
		t.different = true
		return
	}
	t.different = true
	t.c.Beside.learn(ttl, o)
	t.heard = max(t.heard, ttl)
	if rtt, ok := o.RTT(); ok && !h.timed {
		h.rtt, h.timed = max(0, rtt), true
		t.longest = max(t.longest, h.rtt)
	}
	switch {
	case vague && h.service < 2:
	case o.Answer.Terminal():
		// A late one cannot take back a hop that was told.
		if ttl >= t.told && (t.end == 0 || ttl < t.end) {
			t.end, t.ended = ttl, t.now
			t.charge(ttl)
		}
	case blocks(o):
		if h.blocked == 1 {
			t.charge(ttl)
		}
	case o.Answer == probe.TimeExceeded:
		t.returns(ttl, o.From)
		for ; t.far < ttl; t.far++ {
			t.since = t.now
			t.disprove(t.far + 1)
		}
	}
	t.target.learn(ttl, o, t.dst)
}

func (t *T) fail(o *probe.Outcome) {
	t.failed++
	if t.failure == nil {
		t.failure, t.errno = o.Err, o.Errno
	}
	if o.Errno != t.errno {
		t.different = true
	}
}

// doubt takes in a datagram that came when strays may: no answer. The try is open again.
func (t *T) doubt(h *hop, y *try, o *probe.Outcome) {
	again := t.again(h)
	h.reopen(y)
	if y.out = *o; !again {
		h.decide(y, &probe.Outcome{Serial: o.Serial, Spec: o.Spec, Status: probe.Lost, Sent: o.Sent})
	}
}

// disprove takes back what passed for a service's answer at ttl, where there is a router.
func (t *T) disprove(ttl int) {
	if h := t.hops[ttl]; h != nil && ttl > t.told {
		for i := range h.tries {
			if y := &h.tries[i]; y.state == decided && t.vague(&y.out) {
				t.doubt(h, y, &y.out)
			}
		}
	}
}

// confirm asks ttl again if a service answered there once.
func (t *T) confirm(ttl int) {
	h := t.hops[ttl]
	if t.alone != apart || ttl <= t.far || h.service != 1 || h.decided < t.c.Attempts {
		return
	}
	var lost *try
	for i := range h.tries {
		switch y := &h.tries[i]; {
		case t.vague(&y.out):
			t.doubt(h, y, &y.out) // should it not answer again it is no answer
			return
		case y.out.Status == probe.Lost:
			lost = y
		}
	}
	if lost != nil && t.again(h) {
		h.reopen(lost)
	}
}

// again reports whether one more try of h may be asked again for a service's sake.
func (t *T) again(h *hop) bool { return len(h.asks)-h.sent < t.c.Attempts+confirms }

// learnFlow takes in an answer to the flow that fits several probes, or one without being sure. Which one is found by asking
// alone. A destination that answers so does it at a TTL not above the highest asked.
func (t *T) learnFlow(o *probe.Outcome) {
	switch {
	case t.byPort(o), t.alone == apart && (t.cut || !o.Answer.IsError()):
		return
	case t.alone != draining && len(t.flying) > 0:
		f := t.flying[0]
		t.flowRTT = max(0, o.At.Sub(t.hops[f.ttl].tries[f.try].sent))
	}
	t.alone = draining
	t.notEarly()
	t.cut = t.cut || o.Answer.IsError()
	if o.Answer.Terminal() && t.last == 0 {
		t.last = t.top
	}
}

// byPort reports whether o, which does not say whose it is, is one try's all the same: each of a classic
// trace has a port of its own, and errors quote that. A datagram has it too, but may be older than all that is known.
func (t *T) byPort(o *probe.Outcome) bool {
	return o.Answer.IsError() && t.c.Classic && t.c.Proto == probe.UDP && (int(t.c.Max)-int(t.c.First)+1)*t.c.Attempts <= 0xffff
}

// vague reports whether o, from the destination, may be the answer to a probe further away than the one it is told for.
func (t *T) vague(o *probe.Outcome) bool {
	return o.Match == probe.Alone && o.Answer.Terminal() && !t.byPort(o)
}

// isStray reports whether a router's error that came while one probe alone was waiting may be another's: as long as probes go
// together, and where it is from who was heard at another TTL. That may be a copy, so it counts only once those had time to
// go by.
func (t *T) isStray(ttl int, o *probe.Outcome) bool {
	h := t.hops[ttl]
	if t.alone != apart || h.doubted {
		return t.alone != apart
	}
	for n, other := range t.hops {
		if other == nil || n == ttl {
			continue
		}
		for i := range other.tries {
			if y := &other.tries[i]; y.state == decided && y.out.Status == probe.Answered && y.out.From == o.From {
				h.doubted, t.hush = true, t.now.Add(t.c.Wait.Max)
				return true
			}
		}
	}
	return false
}

// separate begins to ask one at a time. What was lost where a probe may have been answered is asked again.
func (t *T) separate() {
	t.alone = apart
	first := t.told + 1
	if !t.cut {
		first = max(t.far+1, first)
	}
	for ttl := first; ttl <= t.limit(); ttl++ {
		h := t.hops[ttl]
		if h == nil {
			continue
		}
		for i := range h.tries {
			if y := &h.tries[i]; y.state == decided && y.out.Status == probe.Lost {
				h.reopen(y)
			}
		}
	}
}

// rejoin ends asking one at a time for a router's sake, once all that was open is decided and the next TTL stays silent.
func (t *T) rejoin() {
	if t.alone != apart || !t.cut || t.last != 0 || len(t.flying) > 0 {
		return
	}
	for ttl := t.told + 1; ttl <= t.top; ttl++ {
		if h := t.hops[ttl]; h != nil && !t.isDecided(ttl) {
			return
		}
	}
	if h := t.hops[t.top]; h != nil && h.answers == 0 {
		t.alone = together
	}
}

// reopen makes y, which is flying or decided, one to be asked again. What becomes of its
// next probe stands for it.
func (h *hop) reopen(y *try) {
	if y.state == decided {
		h.decided--
		h.uncount(y)
		if y.out.Status == probe.Answered {
			h.answers--
		}
		if blocks(&y.out) {
			h.blocked--
		}
	}
	h.sent--
	y.state, y.givenUp = idle, false
	h.idle = 0
}

// decide sets or revises what became of y.
func (h *hop) decide(y *try, o *probe.Outcome) {
	if y.state == idle {
		h.sent++
	}
	if y.state != decided {
		h.decided++
	} else {
		h.uncount(y)
	}
	y.state, y.out = decided, *o
	h.tally = count(h.tally, fate(o), 1)
	if h.own.add(y) {
		*h.turns++
	}
	switch o.Status {
	case probe.Failed:
		h.refused++
	case probe.Answered:
		h.answers++
	}
	if blocks(o) {
		h.blocked++
	}
}

// uncount forgets what became of y, which is decided, before that is revised.
func (h *hop) uncount(y *try) {
	h.tally = count(h.tally, fate(&y.out), -1)
	if y.owned() {
		h.own.stale = true
		*h.turns++
	}
}

// blocks reports whether o is an error that does not mean the end, and that a higher TTL does not change.
func blocks(o *probe.Outcome) bool {
	switch o.Answer {
	case probe.Unreachable, probe.TooBig, probe.ParameterProblem:
		return o.Status == probe.Answered
	}
	return false
}

// limit is the highest TTL worth a probe.
func (t *T) limit() int {
	n := int(t.c.Max)
	if t.end != 0 {
		return min(n, t.end)
	}
	if t.failed > 0 && !t.different {
		n = min(n, int(t.c.First)+failedTTLs-1)
	}
	if t.last != 0 {
		n = min(n, t.last)
	}
	if t.c.GapLimit > 0 {
		n = min(n, max(t.heard+t.c.GapLimit, t.open))
	}
	n = min(n, t.loopLimit())
	switch first := t.target.hold(); {
	case t.target.endless:
		n = min(n, first)
	case first != 0:
		n = min(n, first+beyondTarget)
	}
	for ttl := t.told + 1; ttl <= min(n, t.heard) && t.last == 0; ttl++ {
		if t.isBlocked(ttl) {
			return ttl
		}
	}
	return n
}

// isBlocked reports whether all that is heard at ttl is that it goes no further. While attempts are
// out that may change.
func (t *T) isBlocked(ttl int) bool {
	h := t.hops[ttl]
	return h != nil && h.blocked > 0 && h.blocked == h.answers
}

// isDecided reports whether nothing more is to come from ttl.
func (t *T) isDecided(ttl int) bool {
	h := t.hops[ttl]
	return h != nil && h.decided == t.c.Attempts
}

// lost reports whether an attempt at ttl was lost.
func (t *T) lost(ttl int) bool { return t.hops[ttl].tally.Lost > 0 }

// conclude tells what can be told, and decides whether that was all.
func (t *T) conclude(out *probe.Output) {
	if t.unsettled {
		if t.settle(out); t.unsettled {
			return
		}
	}
	t.judgeTarget(out)
	held := t.doubts(out)
	t.judge(held)
	for t.finish == nil {
		ttl := t.told + 1
		switch {
		case t.end != 0 && t.told >= t.end:
			once := t.once()
			if once != 0 {
				out.Events = append(out.Events, probe.Finding{
					Code: "path-length-unknown", TTL: uint8(once), Confidence: "medium",
					Text: fmt.Sprintf("the destination answered a probe that was sent alone, with TTL %d, but none after it; the path may be as short", once),
				})
			}
			t.over(probe.Reached, t.end)
			t.finish.Vague = once != 0
			return
		case t.end == 0 && t.last != 0 && t.told >= t.last:
			// The destination answered, but not again.
			out.Events = append(out.Events, probe.Finding{
				Code: "path-length-unknown", TTL: uint8(t.told), Confidence: "high",
				Text: fmt.Sprintf("the destination answered, up to TTL %d, but not again to two probes with one TTL that were sent alone; the path may be shorter", t.told),
			})
			t.over(probe.Reached, t.told)
			t.finish.Vague = true
			return
		case t.end == 0 && t.target.endless && t.told >= t.target.first:
			// An error from the destination's own address, and no TTL will change
			// it: not "max-hops", which a higher one could.
			t.over(probe.Blocked, t.told)
			return
		case t.told == int(t.c.Max):
			t.over(probe.MaxHops, t.told)
			return
		case t.unsendable():
			t.tellRest(out)
			t.fails(t.top)
			return
		case !t.isDecided(ttl), t.isHeld(ttl), ttl > held, t.end == 0 && t.target.hold() != 0 && ttl > t.target.hold():
			return
		case t.mayBeHeard(ttl):
			return
		case t.alone == draining && (ttl > t.far || t.cut && t.lost(ttl)):
			return // it may be asked again
		}
		t.tell(ttl, out)
		switch {
		case t.end != 0 || t.last != 0:
		case t.isBlocked(ttl):
			t.over(probe.Blocked, ttl)
		case t.looped():
			t.over(probe.Loop, ttl)
		case t.c.GapLimit > 0 && ttl-t.heard >= t.c.GapLimit:
			t.over(probe.GapLimit, ttl)
		}
	}
}

// once is the TTL below the end at which a service answered once and not again, or 0.
func (t *T) once() int {
	for ttl := t.far + 1; ttl < t.end; ttl++ {
		if h := t.hops[ttl]; h != nil && h.service > 0 {
			return ttl
		}
	}
	return 0
}

// tell emits what is known of ttl.
func (t *T) tell(ttl int, out *probe.Output) {
	h := t.hops[ttl]
	from := len(out.Told)
	for i := range h.tries {
		if h.tries[i].state == decided {
			out.Told = append(out.Told, h.tries[i].out)
		}
	}
	t.told = ttl
	out.Events = append(out.Events, probe.Hop{TTL: uint8(ttl), Outcomes: slices.Clip(out.Told[from:])})
}

// tellRest emits what is known of every hop not told yet.
func (t *T) tellRest(out *probe.Output) {
	n := t.top
	if t.end != 0 {
		n = min(n, t.end)
	}
	for ttl := t.told + 1; ttl <= n; ttl++ {
		if h := t.hops[ttl]; h != nil && h.decided > 0 {
			t.tell(ttl, out)
		}
	}
}

// unsendable reports whether nothing leaves this host and nothing would.
func (t *T) unsendable() bool {
	if t.failed == 0 || t.different || len(t.flying) > 0 {
		return false
	}
	for ttl := int(t.c.First); ttl <= t.limit(); ttl++ {
		if h := t.hops[ttl]; h == nil || h.refused < min(t.c.Attempts, failedTries) {
			return false
		}
	}
	return true
}

// over decides how the trace ends.
func (t *T) over(v probe.Verdict, last int) {
	if t.failed > 0 && t.failed == len(t.probes) {
		t.fails(last)
		return
	}
	if (v == probe.MaxHops || v == probe.GapLimit) && t.unsentFrom(last) {
		t.finish = &probe.Finished{
			Complete: true, Verdict: probe.Errored, LastTTL: uint8(last),
			Err: fmt.Errorf("not one probe beyond TTL %d could be sent: %w", t.heard, t.failure),
		}
		return
	}
	t.finish = &probe.Finished{Complete: true, Verdict: v, LastTTL: uint8(last)}
}

// unsentFrom reports whether behind the last TTL that was heard of, up to last, not one probe left: that nothing was reached
// then says nothing of the path (TRAPS T62).
func (t *T) unsentFrom(last int) bool {
	for ttl := t.heard + 1; ttl <= last; ttl++ {
		if h := t.hops[ttl]; h != nil && h.refused < h.decided {
			return false
		}
	}
	return t.failed > 0 && t.heard < last
}

// fails ends a trace none of whose probes left.
func (t *T) fails(last int) {
	t.finish = &probe.Finished{
		Complete: last == int(t.c.Max) && t.isDecided(last), Verdict: probe.Errored, LastTTL: uint8(last),
		Err: fmt.Errorf("none of %d probes could be sent: %w", t.failed, t.failure),
	}
}

// stop ends a trace before its time.
func (t *T) stop(why error, out *probe.Output) {
	t.unproven(out)
	t.tellRest(out)
	t.finish = &probe.Finished{Verdict: probe.Interrupted, LastTTL: uint8(t.top)}
	if t.end != 0 {
		t.finish.LastTTL = uint8(t.end)
	}
	if !errors.Is(why, probe.ErrInterrupted) {
		t.finish.Verdict, t.finish.Err = probe.Errored, why
	}
}

func (t *T) finished(out *probe.Output) {
	t.part()
	t.teach()
	t.find(out)
	t.finish.At = t.now
	t.loss(int(t.finish.LastTTL), out)
	t.slow(int(t.finish.LastTTL), out)
	out.Events = append(out.Events, *t.finish)
	out.Done, t.done = true, true
	t.leave()
}
