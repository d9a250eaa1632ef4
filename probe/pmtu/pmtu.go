// Package pmtu traces a path hop by hop with the largest packets that it
// carries, and so finds where it narrows.
//
// Probes leave one at a time and must not be fragmented. They start at the
// size asked for; when this host or a router says that one is too big, the same TTL is
// asked again with the size that it says fits (RFC 1191, RFC 8201). What
// cannot be true is not believed, and where nobody says a size it is searched for: from the
// plateaus of RFC 1191 on, then by halves.
//
// Silence says nothing by itself. But where large packets get no answer and small ones do,
// in turns, and nobody further on answers a large one either, a router swallows those without a word (RFC 2923 section 2.1): a finding tells
// between which hops, and the trace goes on with the size that gets through. Nodes answer only so often, too, and then
// any size meets silence. So the end of a search is proven; what cannot be is said to be uncertain.
//
// Sizes are in bytes, of whole packets. The package knows no sockets and no clock.
package pmtu

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gtrace/probe"
)

const (
	// So many turns a doubt takes: three small packets, and between them two large ones. So many of the small ones
	// may be lost.
	doubtTurns = 5
	maxAgain   = 3

	// How often the size shrinks at one TTL. There is one link more to it than to the TTL before, so more
	// than a few times is somebody's game: the smallest size ends it.
	maxNarrowed = 8

	// A wait that follows from a round-trip time is never below this, as in probe/trace.
	minWait = 50 * time.Millisecond

	// Whoever is further on is waited for so many times the RTT at the TTL, and at least so long.
	farFactor  = 10
	minFarWait = 500 * time.Millisecond

	// Where nobody answers, answers are waited for no less than this part of the longest wait, as in probe/trace.
	farWait = 5

	// Linux answers a host with 6 errors at once and then with one a second. Where a node seems to do so, each
	// answer of it is followed by a pause, which is doubled where it was too short.
	minPause = 1100 * time.Millisecond
	maxPause = 2 * minPause

	// How many more probes a TTL gets to tell a service's answer from a late one, as in probe/trace.
	maxConfirmed = 3

	// Where all attempts at this many TTLs failed to leave, so would the rest.
	failedTTLs = 3
)

// A T is one trace. New makes it, probe.Run drives it.
type T struct {
	c     Config
	dst   netip.Addr // without zone
	floor int        // the smallest size that may still be too big

	now     time.Time
	sent    uint64    // probes so far: the serial of the latest
	latest  time.Time // when it was sent
	left    uint64    // those that this host let go, and the one in flight
	flying  bool
	flew    int // its size
	givenUp bool

	ttl      int
	size     int        // of what is asked
	teller   netip.Addr // the router that refused the latest
	narrowed int        // how often it shrank at this TTL
	again    bool       // the next answer there does not end its turn
	outcomes []probe.Outcome
	rtt      time.Duration // the first at this TTL; 0: none yet
	near     time.Duration // the same, of those who refuse a size: they are closer
	longest  time.Duration // of the first at all TTLs
	pause    time.Duration // between an answer and the next probe
	paused   time.Time     // when the last one began
	search   search
	doubt    doubt
	small    probe.Outcome // the answer to the first small packet, where the search is for a hole
	beyond   int           // what seems to vanish is sent to this TTL, further on; 0: not now
	cleared  bool          // large packets are lost here for other reasons, or all are
	known    bool          // size was found here, and was answered

	heard     int // the highest TTL told that answered the size of its time; 0: none
	failedRow int // TTLs in a row at which none left
	far       int // the highest TTL told that answered, or was not asked: the destination is not so close
	datagrams int // of a service, at this TTL, that do not say which probe they answer
	confirmed int // probes to have another one
	answered  bool
	lostAny   bool
	failure   error

	// Without privilege an error may quote too little to say what it answers. Then it is taken for the answer to the probe in flight
	// only once nothing else can come.
	cut   bool               // there are such errors: nothing is sent before quiet
	quiet time.Time          // from then on what was lost is not answered any more, and copies have gone by
	seen  map[netip.Addr]int // where who answered was first heard, by TTL
	wary  int                // the TTL at which one of those was not believed

	finish *probe.Finished
	done   bool
}

// A doubt is whether silence has to do with size: small and large packets are asked in turns.
type doubt struct {
	on    bool
	turn  int // even: a small one
	again int // small ones that were lost behind the first
	first probe.Outcome
}

// New prepares a trace. The error lists every field of c that will not do.
func New(c Config) (*T, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &T{c: c, dst: c.Dst.Addr().WithZone(""), ttl: int(c.First), size: c.Size, floor: least4, far: int(c.First) - 1, seen: make(map[netip.Addr]int)}
	if c.Dst.Addr().Is6() {
		t.floor = least6
	}
	least, _ := c.sizes()
	t.floor = max(t.floor, least)
	return t, nil
}

// Step is probe.Algorithm's.
func (t *T) Step(in probe.Input, out *probe.Output) {
	if t.done {
		out.Done = true
		return
	}
	t.now = in.Now
	if errors.Is(in.Stop, probe.ErrSource) && t.finish == nil { // what was lost proves nothing
		t.stop(in.Stop, out)
	}
	for i := range in.Outcomes {
		o := &in.Outcomes[i]
		// One at a time: what belongs to an earlier probe comes too late to change anything.
		if t.flying && o.Serial == t.sent && t.finish == nil {
			t.flying = false
			t.learn(o, out)
		}
	}
	if in.Stop != nil && t.finish == nil {
		t.stop(in.Stop, out)
	}
	if t.finish != nil {
		t.finish.At = t.now
		out.Events = append(out.Events, *t.finish)
		out.Done, t.done = true, true
		return
	}
	if !t.flying {
		t.ask(in.Room, out)
	} else if due := t.latest.Add(t.wait()); !t.givenUp && t.wait() < t.c.Wait {
		if due.After(t.now) {
			out.Wake = due
		} else {
			t.givenUp = true
			out.GiveUp = append(out.GiveUp, t.sent)
		}
	}
}

// wait is how long the answer to the probe in flight is waited for.
func (t *T) wait() time.Duration {
	if t.beyond > 0 {
		return min(t.c.Wait, max(minFarWait, farFactor*t.rtt))
	}
	factor, rtt := t.c.Here, t.rtt
	if t.search.why != none || t.doubt.on {
		factor = max(factor, 3) // each size that gets no answer costs one of these, or a few
		if rtt == 0 {
			rtt = t.near
		}
	}
	switch {
	case rtt == 0 && t.longest > 0 && t.c.Near > 0: // most that is silent stays so
		return min(t.c.Wait, max(t.c.Wait/farWait, scaled(t.longest, t.c.Near)))
	case rtt == 0 || factor == 0:
		return t.c.Wait
	}
	return min(t.c.Wait, max(minWait, scaled(rtt, factor)))
}

// scaled is factor times rtt, as far as that may be waited.
func scaled(rtt time.Duration, factor float64) time.Duration {
	return time.Duration(min(factor*float64(rtt), float64(maxWait)))
}

// due is when the next probe may leave.
func (t *T) due() time.Time {
	if t.sent == 0 {
		return t.now
	}
	at := t.latest.Add(t.c.Gap)
	if next := t.paused.Add(t.pause); t.pause > 0 && next.After(at) {
		return next
	}
	return at
}

// slower makes the pauses longer, because a node that answers seems to do so only so often. One begins now.
func (t *T) slower() {
	t.pause = min(maxPause, max(minPause, 2*t.pause))
	t.paused = t.now
}

// ask sends what is to be asked now.
func (t *T) ask(room int, out *probe.Output) {
	if at := t.due(); at.After(t.now) {
		out.Wake = at
		return
	}
	if t.cut && t.quiet.After(t.now) {
		out.Wake = t.quiet
		return
	}
	if room == 0 {
		return
	}
	size, ttl := t.size, t.ttl
	switch {
	case t.beyond > 0:
		ttl = t.beyond
	case t.search.why != none:
		size = t.search.next()
		t.search.asked++
	case t.doubt.on && t.doubt.turn%2 == 0:
		size = t.floor // which gets through wherever anything does
	}
	s := probe.Spec{
		Proto: t.c.Proto, Src: t.c.Src, Dst: t.c.Dst, Label: t.c.Label, TTL: uint8(ttl), TOS: t.c.TOS, DF: true, Size: size,
		Number: t.c.Number, Segment: t.c.Segment, Coverage: t.c.Coverage, Options: t.c.Options, Via: t.c.Via, First: t.c.Sequence,
		// A probe that is asked again, with another size, is the same attempt.
		Timeout: t.c.Wait, Attempt: uint32(min(len(t.outcomes)+1, t.c.Attempts)),
	}
	if t.c.Classic {
		k := int(t.left)
		s.Flow = uint16(k)
		if t.c.Proto == probe.UDP {
			// Port 0 is left out when the ports wrap.
			s.Dst = netip.AddrPortFrom(s.Dst.Addr(), uint16((int(s.Dst.Port())-1+k)%65535+1))
		}
	}
	t.sent++
	t.left++
	t.flying, t.givenUp, t.latest, t.flew = true, false, t.now, size
	out.Send = append(out.Send, s)
	if w := t.wait(); w < t.c.Wait {
		out.Wake = t.now.Add(w)
	}
}

// isStray reports whether o, which quotes too little to say what it answers, may be an earlier probe's answer or a copy
// of one.
func (t *T) isStray(o *probe.Outcome) bool {
	if o.Status != probe.Answered {
		return false
	}
	at, known := t.seen[o.From]
	vague := o.Match == probe.Alone && o.Answer.IsError()
	t.cut = t.cut || vague
	switch {
	case vague && known && at != t.ttl && t.wary != t.ttl:
		t.wary = t.ttl
	case vague && t.quiet.After(t.now):
	default:
		if !known {
			t.seen[o.From] = t.ttl
		}
		return false
	}
	t.quiet = t.now.Add(t.c.Wait)
	return true
}

// learn takes in what became of the probe that was in flight.
func (t *T) learn(o *probe.Outcome, out *probe.Output) {
	if o.Status == probe.Lost {
		t.quiet = t.latest.Add(t.c.Wait)
	}
	if t.beyond > 0 {
		t.lookedBeyond(o, out)
		return
	}
	if t.isStray(o) {
		return // it is asked again
	}
	size := t.flew
	local := o.Status == probe.Failed && o.Errno == "EMSGSIZE"
	tooBig := local || o.Status == probe.Answered && o.Answer == probe.TooBig
	switch {
	case o.Status == probe.Answered:
		t.answered = true
		// Where each probe has its own flow the datagram is its own too.
		if o.Match == probe.Alone && !o.Answer.IsError() && !t.c.Classic {
			t.datagrams++
		}
		t.paused = t.now
		if rtt, ok := o.RTT(); ok {
			first := &t.rtt
			if tooBig {
				first = &t.near
			}
			if *first == 0 {
				*first = max(1, rtt)
				t.longest = max(t.longest, rtt)
			}
		}
	case o.Status == probe.Failed:
		if t.failure == nil {
			t.failure = o.Err
		}
	case o.Status == probe.Lost:
		t.lostAny = true
	}

	switch {
	case tooBig && size > t.floor:
		t.tooBig(o, size, local, out)
	case tooBig: // nothing smaller is worth trying
		t.search, t.doubt, t.size = search{}, doubt{}, size
		t.decide(o, out)
	case t.search.why != none:
		t.searched(o, size, out)
	case t.doubt.on:
		t.doubted(o, size, out)
	default:
		t.decide(o, out)
	}
}

// decide takes o for what became of an attempt.
func (t *T) decide(o *probe.Outcome, out *probe.Output) {
	if o.Status == probe.Lost && t.known && t.pause == 0 {
		t.slower() // it comes after all that was asked to find the size
		return
	}
	if n := len(t.outcomes); n == t.c.Attempts {
		o.Spec.Attempt = t.outcomes[n-1].Spec.Attempt
		t.outcomes[n-1] = *o
	} else {
		t.outcomes = append(t.outcomes, *o)
	}
	t.attempted(out)
}

// tooBig shrinks the probes: to what the answer says, if that can be, else by search.
func (t *T) tooBig(o *probe.Outcome, size int, local bool, out *probe.Output) {
	why := router
	if local {
		why = device
		t.left-- // its port is the next one's
	}
	t.teller = o.From
	mtu := o.MTU
	least := least4
	if t.dst.Is6() {
		least = least6
	}
	// RFC 1191 section 3 and RFC 8201 section 4: below what every link carries it is a mistake or a
	// forgery, and what is not less than was sent is no help.
	if mtu < max(least, t.floor) || mtu >= size {
		switch t.search.why {
		case none:
			t.search, t.doubt = newSearch(why, 0, size, t.floor), doubt{}
		case hole:
			t.search.why = why
		}
		t.search.refused(size)
		t.searchOn(out)
		return
	}
	t.search, t.doubt = search{}, doubt{}
	t.shrink(mtu, why, out)
}

// shrink goes on with another size, at the same TTL.
func (t *T) shrink(size int, why cause, out *probe.Output) {
	ttl := uint8(t.ttl)
	if why == device {
		ttl, t.again = 0, t.c.Once
	}
	if t.narrowed++; t.narrowed > maxNarrowed {
		size = t.floor
	}
	t.size = size
	e := probe.PathMTU{TTL: ttl, Bytes: size}
	if why == router {
		e.From = t.teller
	}
	out.Events = append(out.Events, e)
}

// searched takes in what became of a size that was tried.
func (t *T) searched(o *probe.Outcome, size int, out *probe.Output) {
	s := &t.search
	switch {
	case o.Status == probe.Lost && s.why != device:
		s.silent(size)
		if s.met() && !s.controls() {
			t.paused = t.now // should an answer to that one have been lost, the next finds the node ready all the same
		}
	case o.Status == probe.Failed && o.Errno != "EMSGSIZE",
		!s.passes(size):
		// It has nothing to do with the size.
		t.search, t.cleared = search{}, true
		t.decide(o, out)
		return
	}
	t.searchOn(out)
}

// searchOn ends the search if it is at its end.
func (t *T) searchOn(out *probe.Output) {
	if t.search.slow {
		t.search.slow = false
		t.slower()
	}
	if s := &t.search; s.over() && !(s.why == hole && t.lookBeyond()) {
		t.searchedAll(out)
	}
}

// searchedAll goes on with what the search found.
func (t *T) searchedAll(out *probe.Output) {
	s := t.search
	size := max(s.heard, s.floor)
	switch {
	case !s.met() || !s.proven():
		out.Events = append(out.Events, t.unsure(s.heard, s.bound()))
	case s.mute:
		size = s.least
	case s.why == hole:
		f := probe.Finding{Code: "mtu-black-hole", Confidence: "high",
			Text: fmt.Sprintf("packets of more than %d bytes vanish on the way to TTL %d without a word; up to that they are answered", size, t.ttl)}
		if t.small.Answer == probe.EchoReply {
			f.Confidence = "medium"
			f.Text += "; it may be on the way back, as an echo reply is as large as its request"
		}
		out.Events = append(out.Events, t.before(f))
	}
	t.search = search{}
	t.known = s.why != device && s.heard != 0
	t.outcomes = t.outcomes[:0] // those were too big
	t.shrink(size, s.why, out)
}

// unsure is the finding that packets of heard bytes get here (0: no size does) and others of bound bytes do not, as far as
// is known.
func (t *T) unsure(heard, bound int) probe.Finding {
	text := fmt.Sprintf("packets of %d bytes get to TTL %d, those of %d bytes do not seem to; what is between cannot be told, because too few probes are answered", heard, t.ttl, bound)
	if heard == 0 {
		text = fmt.Sprintf("packets of %d bytes are too big on the way to TTL %d; what fits cannot be told, because too few probes are answered", bound, t.ttl)
	}
	return t.before(probe.Finding{Code: "path-mtu-uncertain", Confidence: "low", Text: text})
}

// before makes f one about the way to the present TTL: from the last hop that is known.
func (t *T) before(f probe.Finding) probe.Finding {
	if t.heard == 0 { // which begins at this host, and that is no hop
		f.TTL = uint8(t.ttl)
	} else {
		f.Between = [2]uint8{uint8(t.heard), uint8(t.ttl)}
	}
	return f
}

// attempted goes on after an attempt: at the same TTL, or the next, or nowhere.
func (t *T) attempted(out *probe.Output) {
	last := &t.outcomes[len(t.outcomes)-1]
	if t.again && last.Status == probe.Answered && len(t.outcomes) < t.c.Attempts {
		t.again = false
		return
	}
	if len(t.outcomes) < t.c.Attempts && !(t.c.Once && last.Status == probe.Answered) {
		return
	}
	if t.vague() && t.confirmed < maxConfirmed {
		t.confirmed++
		return
	}
	if !t.cleared && t.size > t.floor && t.silent() && t.datagrams == 0 {
		t.doubt = doubt{on: true}
		return
	}
	t.tell(out)
}

// vague reports whether the destination answered here, but maybe a probe with a lower TTL. A datagram that comes later
// than it was waited for is taken for the answer to the next probe, and two that are so late are not to be expected (see
// probe/trace). Where the TTL before is a router's there is no lower one that may have got there.
func (t *T) vague() bool {
	if t.datagrams != 1 || t.far == t.ttl-1 {
		return false
	}
	for i := range t.outcomes {
		if o := &t.outcomes[i]; o.Answer.Terminal() && o.Match != probe.Alone {
			return false
		}
	}
	return true
}

// silent reports whether all that is known of the TTL is silence.
func (t *T) silent() bool {
	for i := range t.outcomes {
		if t.outcomes[i].Status != probe.Lost {
			return false
		}
	}
	return true
}

// doubted takes in one turn of small and large.
func (t *T) doubted(o *probe.Outcome, size int, out *probe.Output) {
	d := &t.doubt
	isSmall := d.turn%2 == 0
	if d.turn == 0 {
		d.first = *o
	}
	switch {
	case o.Status == probe.Failed, !isSmall && o.Status == probe.Answered:
	case isSmall && o.Status == probe.Lost:
		// Behind the first that may be the node's limit: it is asked again, later.
		if d.again++; d.turn > 0 && d.again <= maxAgain {
			t.slower()
			return
		}
	default:
		if d.turn++; d.turn == doubtTurns {
			t.search, t.small = newSearch(hole, t.floor, t.size, t.floor), d.first
			t.doubt, t.cleared = doubt{}, true
		}
		return
	}
	switch {
	case o.Status != probe.Answered && d.turn > 0:
		o = &d.first
	case o.Status == probe.Lost:
		o = nil
	}
	t.sizeIsNot(o, out)
}

// sizeIsNot ends a doubt: silence has other reasons. What answered, if anything did, is as good an answer as any.
func (t *T) sizeIsNot(o *probe.Outcome, out *probe.Output) {
	if last := len(t.outcomes) - 1; o != nil {
		o.Spec.Attempt = t.outcomes[last].Spec.Attempt
		t.outcomes[last] = *o
	}
	t.search, t.doubt, t.cleared = search{}, doubt{}, true
	t.tell(out)
}

// lookBeyond has what seems to vanish sent further, in case that it is this node alone that does not answer it: to the two next
// hops, and then as far as the destination may be. It reports false where there is nobody left to ask.
func (t *T) lookBeyond() bool {
	last := int(t.c.Max)
	switch at := max(t.beyond, t.ttl); {
	case t.small.Answer.Terminal(), at == last:
		t.beyond = 0
	case at < t.ttl+2:
		t.beyond = at + 1
	default:
		t.beyond = last
	}
	return t.beyond > 0
}

// lookedBeyond takes in what became of it there.
func (t *T) lookedBeyond(o *probe.Outcome, out *probe.Output) {
	at, met := t.seen[o.From]
	switch {
	case o.Status == probe.Answered && o.Answer == probe.TooBig && met && at < t.ttl: // it is told after all
		t.search, t.beyond, t.cleared = search{}, 0, false
		t.outcomes = t.outcomes[:0]
		t.tooBig(o, t.size, false, out)
	// What does not say which probe it answers, or comes from here, may be a copy of an earlier answer.
	case o.Status == probe.Answered && o.Match != probe.Alone && o.From != t.small.From:
		t.beyond = 0
		t.sizeIsNot(&t.small, out)
	case !t.lookBeyond():
		t.searchedAll(out)
	}
}

// tell emits the hop and decides whether it was the last.
func (t *T) tell(out *probe.Output) {
	var reached, blocked, refused, answers int
	largest := 0 // that was answered
	for i := range t.outcomes {
		o := &t.outcomes[i]
		if o.Status == probe.Answered {
			largest = max(largest, o.Spec.Size)
		}
		switch {
		case o.Status == probe.Failed:
			refused++
		case o.Status != probe.Answered:
		case o.Answer.Terminal():
			reached++
			answers++
		default:
			answers++
			switch o.Answer {
			case probe.Unreachable, probe.TooBig, probe.ParameterProblem:
				blocked++
			}
		}
	}
	if reached > 0 && largest < t.size {
		// The end was reached, but not with the size that the path is said to carry.
		out.Events = append(out.Events, t.unsure(largest, t.size))
		t.shrink(largest, hole, out)
	}
	out.Events = append(out.Events, probe.Hop{TTL: uint8(t.ttl), Outcomes: append([]probe.Outcome(nil), t.outcomes...)})
	if refused == len(t.outcomes) {
		t.failedRow++
	} else {
		t.failedRow = 0
	}
	if largest >= t.size {
		t.heard = t.ttl
	}
	switch {
	case reached > 0, t.datagrams > 0: // one that did not come again is no outcome
		if t.over(probe.Reached); t.vague() {
			t.finish.Vague = true
			out.Events = append(out.Events, probe.Finding{Code: "path-length-unknown", TTL: uint8(t.ttl), Confidence: "medium",
				Text: fmt.Sprintf("a service at the destination answered a probe with TTL %d, but none after it, and nothing is heard of the TTL before; the path may be as short as %d", t.ttl, t.far+1)})
		}
	case blocked > 0 && blocked == answers:
		t.over(probe.Blocked)
	case t.failedRow >= failedTTLs && !t.answered && !t.lostAny,
		t.ttl == int(t.c.Max) && refused > 0 && !t.answered && !t.lostAny:
		t.finish = &probe.Finished{Verdict: probe.Errored, LastTTL: uint8(t.ttl), Complete: t.ttl == int(t.c.Max),
			Err: fmt.Errorf("none of %d probes could be sent: %w", t.sent, t.failure)}
	case t.ttl == int(t.c.Max):
		t.over(probe.MaxHops)
	case t.c.GapLimit > 0 && answers == 0 && refused == 0 && t.ttl-t.far >= t.c.GapLimit:
		t.over(probe.GapLimit)
	default:
		if answers > 0 {
			t.far = t.ttl
		}
		t.ttl++
		t.outcomes, t.rtt, t.near, t.pause, t.narrowed = t.outcomes[:0], 0, 0, 0, 0
		t.cleared, t.known, t.again = false, false, false
	}
}

func (t *T) over(v probe.Verdict) {
	t.finish = &probe.Finished{Complete: true, Verdict: v, LastTTL: uint8(t.ttl)}
}

// stop ends a trace before its time.
func (t *T) stop(why error, out *probe.Output) {
	t.finish = &probe.Finished{Verdict: probe.Interrupted}
	if len(t.outcomes) > 0 {
		out.Events = append(out.Events, probe.Hop{TTL: uint8(t.ttl), Outcomes: t.outcomes})
	}
	if t.sent > 0 {
		t.finish.LastTTL = uint8(t.ttl)
	}
	if !errors.Is(why, probe.ErrInterrupted) {
		t.finish.Verdict, t.finish.Err = probe.Errored, why
	}
}
