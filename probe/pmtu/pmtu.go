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
// in turns, a router swallows the large ones without a word (RFC 2923 section 2.1): a finding tells
// between which hops, and the trace goes on with the size that gets through.
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
	// So many times in a row a size must be lost, at a hop that answers others, to be too big for it.
	sure = 3

	// How often the size shrinks at one TTL. There is one link more to it than to the TTL before, so more
	// than a few times is somebody's game: the smallest size ends it.
	maxNarrowed = 8

	// A wait that follows from a round-trip time is never below this, as in probe/trace.
	minWait = 50 * time.Millisecond

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
	size     int  // of what is asked
	narrowed int  // how often it shrank at this TTL
	again    bool // the next answer there does not end its turn
	outcomes []probe.Outcome
	rtt      time.Duration // the first at this TTL; 0: none yet
	search   search
	doubt    doubt
	cleared  bool // large packets are lost here for other reasons, or all are

	heard     int // the highest TTL told that answered anything
	failedRow int // TTLs in a row at which none left
	answered  bool
	lostAny   bool
	vague     bool // the end may be closer
	failure   error

	finish *probe.Finished
	done   bool
}

// A doubt is whether silence has to do with size: small and large packets are asked in turns.
type doubt struct {
	on    bool
	small int // the size
	turn  int // even: a small one
	first probe.Outcome
}

// New prepares a trace. The error lists every field of c that will not do.
func New(c Config) (*T, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &T{c: c, dst: c.Dst.Addr().WithZone(""), ttl: int(c.First), size: c.Size, floor: least4, heard: int(c.First) - 1}
	if c.Dst.Addr().Is6() {
		t.floor = least6
	}
	least, _ := probe.SizesOf(&probe.Spec{Proto: c.Proto, Dst: c.Dst, Options: c.Options})
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
	factor := t.c.Here
	if t.search.why == hole || t.doubt.on {
		factor = max(factor, sure) // each size that is too big costs a few of these
	}
	if t.rtt == 0 || factor == 0 {
		return t.c.Wait
	}
	return min(t.c.Wait, max(minWait, time.Duration(min(factor*float64(t.rtt), float64(maxWait)))))
}

// ask sends what is to be asked now.
func (t *T) ask(room int, out *probe.Output) {
	if at := t.latest.Add(t.c.Gap); t.c.Gap > 0 && t.sent > 0 && at.After(t.now) {
		out.Wake = at
		return
	}
	if room == 0 {
		return
	}
	size := t.size
	switch {
	case t.search.why != none:
		size = t.search.next()
	case t.doubt.on && t.doubt.turn%2 == 0:
		size = t.doubt.small
	}
	s := probe.Spec{
		Proto: t.c.Proto, Src: t.c.Src, Dst: t.c.Dst, Label: t.c.Label, TTL: uint8(t.ttl), TOS: t.c.TOS, DF: true, Size: size,
		Number: t.c.Number, Coverage: t.c.Coverage, Options: t.c.Options, Via: t.c.Via, First: t.c.Sequence,
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

// learn takes in what became of the probe that was in flight.
func (t *T) learn(o *probe.Outcome, out *probe.Output) {
	size := t.flew
	local := o.Status == probe.Failed && o.Errno == "EMSGSIZE"
	tooBig := local || o.Status == probe.Answered && o.Answer == probe.TooBig
	switch {
	case o.Status == probe.Answered:
		t.answered = true
		if rtt, ok := o.RTT(); ok && t.rtt == 0 && !tooBig {
			t.rtt = max(1, rtt)
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
	if o.Match == probe.Alone && t.lostAny {
		t.vague = true // it may be the answer to one that was lost further from the end
	}
	t.outcomes = append(t.outcomes, *o)
	t.attempted(out)
}

// tooBig shrinks the probes: to what the answer says, if that can be, else by search.
func (t *T) tooBig(o *probe.Outcome, size int, local bool, out *probe.Output) {
	why := router
	if local {
		why = device
		t.left-- // its port is the next one's
	}
	mtu := o.MTU
	least := least4
	if t.dst.Is6() {
		least = least6
	}
	// RFC 1191 section 3 and RFC 8201 section 4: below what every link carries it is a mistake or a
	// forgery, and what is not less than was sent is no help.
	if mtu < max(least, t.floor) || mtu >= size {
		if t.search.why == none || t.search.why == hole {
			t.search, t.doubt = search{why: why, floor: t.floor}, doubt{}
		}
		t.search.fails(size)
		if t.search.least >= size {
			t.search.least = 0 // it changed under our hands
		}
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
	out.Events = append(out.Events, probe.PathMTU{TTL: ttl, Bytes: size})
}

// searched takes in what became of a size that was tried.
func (t *T) searched(o *probe.Outcome, size int, out *probe.Output) {
	switch {
	case o.Status == probe.Lost && t.search.why != device:
		if t.search.lost++; t.search.lost < sure {
			return
		}
		if size <= t.floor { // not even the smallest is answered, and it was not refused
			t.search.passes(size)
			break
		}
		t.search.fails(size)
	case o.Status == probe.Failed && o.Errno != "EMSGSIZE":
		// It has nothing to do with the size.
		t.search = search{}
		t.decide(o, out)
		return
	default:
		t.search.passes(size)
	}
	t.searchOn(out)
}

// searchOn ends the search if it is at its end.
func (t *T) searchOn(out *probe.Output) {
	s := t.search
	if s.least == 0 && s.most > s.floor || s.least != 0 && s.next() != 0 {
		return
	}
	size := max(s.least, s.floor)
	t.search = search{}
	if s.why == hole {
		out.Events = append(out.Events, probe.Finding{
			Code: "mtu-black-hole", Between: [2]uint8{uint8(t.heard), uint8(t.ttl)}, Confidence: "high",
			Text: fmt.Sprintf("packets of more than %d bytes vanish on the way to TTL %d without a word; up to that they are answered", size, t.ttl),
		})
	}
	t.outcomes = t.outcomes[:0] // those were too big
	t.shrink(size, s.why, out)
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
	if small := t.small(); !t.cleared && small != 0 && t.silent() {
		t.doubt = doubt{on: true, small: small}
		return
	}
	t.tell(out)
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

// small is a size that gets through wherever anything does, or 0 where the present one is as small.
func (t *T) small() int {
	small := max(576, t.floor) // as every IPv4 host takes (RFC 791 section 3.1)
	if t.size <= small {
		small = t.floor
	}
	if t.size <= small {
		return 0
	}
	return small
}

// doubted takes in one turn of small and large.
func (t *T) doubted(o *probe.Outcome, size int, out *probe.Output) {
	d := &t.doubt
	isSmall := d.turn%2 == 0
	if d.turn == 0 {
		d.first = *o
	}
	if isSmall == (o.Status == probe.Answered) && o.Status != probe.Failed {
		if d.turn++; d.turn < 2*sure-1 {
			return
		}
		t.search = search{why: hole, least: d.small, most: t.size, floor: t.floor}
		t.doubt, t.cleared = doubt{}, true
		t.searchOn(out)
		return
	}
	// It is not the size. What answered is as good an answer as any.
	t.cleared = true
	if d.turn > 0 || o.Status != probe.Lost {
		answer := o
		if o.Status != probe.Answered && d.turn > 0 {
			answer = &d.first
		}
		answer.Spec.Attempt = t.outcomes[len(t.outcomes)-1].Spec.Attempt
		t.outcomes[len(t.outcomes)-1] = *answer
	}
	t.doubt = doubt{}
	t.tell(out)
}

// tell emits the hop and decides whether it was the last.
func (t *T) tell(out *probe.Output) {
	var reached, blocked, refused, answers int
	for i := range t.outcomes {
		switch o := &t.outcomes[i]; {
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
	out.Events = append(out.Events, probe.Hop{TTL: uint8(t.ttl), Outcomes: append([]probe.Outcome(nil), t.outcomes...)})
	if refused == len(t.outcomes) {
		t.failedRow++
	} else {
		t.failedRow = 0
	}
	if answers > 0 {
		t.heard = t.ttl
	}
	switch {
	case reached > 0:
		t.over(probe.Reached)
		t.finish.Vague = t.vague
	case blocked > 0 && blocked == answers:
		t.over(probe.Blocked)
	case t.failedRow >= failedTTLs && !t.answered && !t.lostAny,
		t.ttl == int(t.c.Max) && refused > 0 && !t.answered && !t.lostAny:
		t.finish = &probe.Finished{Verdict: probe.Errored, LastTTL: uint8(t.ttl), Complete: t.ttl == int(t.c.Max),
			Err: fmt.Errorf("none of %d probes could be sent: %w", t.sent, t.failure)}
	case t.ttl == int(t.c.Max):
		t.over(probe.MaxHops)
	default:
		t.ttl++
		t.outcomes, t.rtt, t.narrowed, t.cleared, t.again = t.outcomes[:0], 0, 0, false, false
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
