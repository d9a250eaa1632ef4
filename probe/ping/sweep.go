package ping

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"gtrace/probe"
)

const (
	// TRAPS T88: so many probes of a size must be lost before that may be for their size.
	leastLost = 3

	// Then a size counts as unanswered once plain loss, as seen on sizes that are answered, would come to that in fewer cases than this.
	// Nor is a limit told while whatever does not go by size would come to it in more cases.
	proof = 1e-6
)

// Evidence, in bits, that what is lost is lost for its size. A coin says of each probe which of two sizes it has, the doubted one or one that
// is answered. Where sizes do not matter, what becomes of the probe was settled before the coin fell: by chance, by a token bucket (whose
// period the probes may be in step with), by an outage. Then these are the winnings of fair bets on the coin (2 for an answer of the one, 0 for one of
// the other; 7/4 and 1/4 where it is lost), and the product of such gets as large as 1/p with a chance of p at most, however long one plays
// (Ville's inequality). 7/4 is for an eighth of what is lost being so for another reason than its size.
var (
	besideAnswered = math.Log2(2)
	doubtedLost    = math.Log2(7. / 4)
	besideLost     = math.Log2(1. / 4)
)

// A coin is a sequence of chances, and its value where that is: SplitMix64's (Steele, Lea and Flood, 2014).
type coin uint64

func (c *coin) heads() bool {
	*c += 0x9e3779b97f4a7c15
	z := uint64(*c)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return (z^z>>31)>>63 == 0
}

// MostTurns is how many probes the coin has before there is no telling: both sizes' together.
const MostTurns = 100

// An S asks packets of several sizes, and finds the one at which answers stop.
//
// First it asks every size of a range, as often as Count says. A size that was answered once is answered. Then it looks at the
// smallest that was not, one probe at a time: it and the nearest size that is answered are asked, which of them a coin says each
// time, until it has an answer or plain loss is no explanation any more. Between the two sizes the search goes on, until they are 1 apart.
// Then it takes more: whatever loses probes without a look at their size, in whichever rhythm, must be no explanation either.
// What a router names as its MTU is tried first, and not believed.
//
// The coin is a sequence that follows from the flow's identity (ports, and an identifier, are chosen by chance each time), so that the same
// steps are the same run.
type S struct {
	p       *P
	coin    coin
	sizes   []size  // in ascending order
	rounds  int     // all of them are asked so many times more
	queue   []query // what is to be asked next
	limit   int     // the smallest size that this host does not send; 0: none is known
	largest int     // that left this host
	careful bool    // what was taken for unanswered on the way was not
	settled bool    // there is nothing left to ask
	doubt   bool    // but it could not be told
}

// A size is what is known of one.
type size struct {
	bytes    int
	asked    int // probes that are decided
	lost     int // of them those without an answer
	answered bool
	taken    bool           // for unanswered, and the search went on below
	tooBig   bool           // for this host or a router
	because  *probe.Outcome // what was said last instead of an answer; nil: nothing

	turns    int     // probes that were sent by the coin, of this size and of one that is answered
	evidence float64 // of those: bits

	// Those of the answered size.
	beside, besideLost int
}

// turn takes note of a probe that was sent by the coin.
func (z *size) turn(beside, answered bool) {
	z.turns++
	switch {
	case beside && answered:
		z.beside++
		z.evidence += besideAnswered
	case beside:
		z.beside++
		z.besideLost++
		z.evidence += besideLost
	case !answered:
		z.evidence += doubtedLost
	}
}

// mtu is what a message about it names; 0: none.
func (z *size) mtu() int {
	if z.because == nil {
		return 0
	}
	return z.because.MTU
}

// A query is a probe that is to be sent: of a size, and for the sake of which the coin was tossed; 0: it was not.
type query struct{ bytes, sake int }

// NewSweep prepares a run. It takes from c all but Size; Count is how often each size is asked at first, 0: once. Neither
// Adaptive, Preload, Yields nor an Interval of 0 go with it. The error lists all that will not do.
func NewSweep(c Config, r probe.Sweep) (*S, error) {
	s := &S{rounds: max(1, c.Count)}
	c.Count, c.Size, c.DF = 0, r.From, r.DF
	p, err := New(c)
	errs := []error{err}
	if _, most := probe.Sizes(c.proto(), c.Dst.Addr().Is6(), c.Dst.Port() != 0); r.From < 1 || r.From >= r.To || r.To > most {
		errs = append(errs, fmt.Errorf("ping: sizes from %d to %d: want the first smaller than the last, up to %d", r.From, r.To, most))
	}
	if r.Step < 1 {
		errs = append(errs, fmt.Errorf("ping: step %d: want 1 or more", r.Step))
	}
	if c.Interval == 0 || c.Adaptive || c.Preload > 1 || c.Yields {
		errs = append(errs, errors.New("ping: a sweep has an interval, and neither adapts, preloads nor yields"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.p = p
	dst := c.Dst.Addr().As16()
	s.coin = coin(binary.BigEndian.Uint64(dst[8:]) ^ uint64(c.Src.Port())<<48 ^ uint64(c.Dst.Port())<<32)
	for n := r.From; n < r.To; n += r.Step {
		s.sizes = append(s.sizes, size{bytes: n})
	}
	s.sizes = append(s.sizes, size{bytes: r.To})
	return s, nil
}

// Step is probe.Algorithm's.
func (s *S) Step(in probe.Input, out *probe.Output) {
	p := s.p
	if !p.begin(&in, out) {
		return
	}
	for i := range in.Outcomes {
		s.learn(&in.Outcomes[i])
	}
	p.closing = p.closing || p.late(in.Now)
	for !p.closing && !s.settled && len(s.queue) == 0 && (s.rounds > 0 || len(p.flying) == 0) {
		if s.rounds > 0 {
			s.round()
		} else {
			s.choose()
		}
	}
	switch {
	case errors.Is(in.Stop, probe.ErrSource): // what was lost proves nothing
		s.settled = false
		p.finish(in.Now, false, in.Stop, out)
	case s.settled:
		p.finish(in.Now, true, nil, out)
	case in.Stop != nil:
		p.finish(in.Now, false, in.Stop, out)
	case p.closing:
		p.close(in.Now, out)
	case len(s.queue) > 0:
		s.send(&in, out)
	default:
		p.linger(in.Now, out)
	}
	p.wakeAtDeadline(out)
	if out.Done {
		s.tell(out)
	}
}

// round has all sizes asked.
func (s *S) round() {
	s.rounds--
	for i := range s.sizes {
		s.ask(s.sizes[i].bytes, 0)
	}
	s.skip()
}

// skip leaves out what this host does not send.
func (s *S) skip() {
	if s.limit == 0 {
		return
	}
	s.queue = slices.DeleteFunc(s.queue, func(q query) bool { return q.bytes >= s.limit })
	if s.limit <= s.sizes[0].bytes {
		s.rounds = 0
	}
}

// send sends what P would, of the size whose turn it is.
func (s *S) send(in *probe.Input, out *probe.Output) {
	p, q := s.p, s.queue[0]
	p.c.Size = q.bytes
	p.send(in.Now, in.Room, out)
	if n := len(out.Send); n > 0 {
		out.Send[n-1].Tag = uint32(q.sake)
		s.queue = s.queue[1:]
	}
}

// find is where a size is, or belongs.
func (s *S) find(bytes int) (int, bool) {
	return slices.BinarySearchFunc(s.sizes, bytes, func(z size, bytes int) int { return z.bytes - bytes })
}

// learn takes note of what became of a probe. An answer that comes late is one.
func (s *S) learn(o *probe.Outcome) {
	i, known := s.find(o.Spec.Size)
	if !known || o.Serial == 0 || o.Duplicate || o.Status == probe.Unsent {
		return
	}
	z, answered := &s.sizes[i], o.Status == probe.Answered && Answers(o)
	local := o.Status == probe.Failed
	if !o.Late {
		z.asked++
	}
	if j, some := s.find(int(o.Spec.Tag)); some && !o.Late {
		s.sizes[j].turn(i != j, answered)
	}
	if !local {
		s.largest = max(s.largest, z.bytes)
	}
	switch {
	case answered:
		z.answered = true
		s.careful = s.careful || z.taken
		if o.Late {
			z.lost--
		}
	case o.Answer == probe.TooBig, o.Errno == "EMSGSIZE":
		z.tooBig, z.because = true, new(*o)
		if local { // so is whatever is larger
			s.limit = z.bytes
			s.skip()
		}
	default:
		if !o.Late {
			z.lost++
		}
		if local || o.Answer != probe.NoAnswer {
			z.because = new(*o)
		}
	}
}

// choose looks at the smallest size that is not answered, and asks what is to be known next, or settles.
func (s *S) choose() {
	i := slices.IndexFunc(s.sizes, func(z size) bool { return !z.answered })
	if i < 0 {
		s.settled = true
		return
	}
	z := &s.sizes[i]
	other := i - 1 // the nearest that is answered
	if i == 0 {
		other = slices.IndexFunc(s.sizes, func(z size) bool { return z.answered })
	}
	met := i == 0 || z.bytes-s.sizes[other].bytes == 1
	switch {
	case other < 0 && z.tooBig:
		s.settled = true
	case other < 0 && z.asked >= leastLost: // nothing is answered, and that may have nothing to do with sizes
		s.settled, s.doubt = true, true
	case z.tooBig || s.likely(z) && (z.proven() || !met && !s.careful):
		if s.settled = met; !s.settled {
			z.taken = true
			n := between(s.sizes[other].bytes, z.bytes, z.mtu())
			s.sizes = slices.Insert(s.sizes, i, size{bytes: n})
			s.ask(n, 0)
		}
	case z.hopeless():
		s.settled, s.doubt = true, true
	case other < 0:
		s.ask(z.bytes, 0)
	case s.coin.heads():
		s.ask(s.sizes[other].bytes, z.bytes)
	default:
		s.ask(z.bytes, z.bytes)
	}
}

func (s *S) ask(bytes, sake int) { s.queue = append(s.queue, query{bytes, sake}) }

// between is the size to try next where one is answered and another is not. mtu is what a message names.
func between(answered, not, mtu int) int {
	switch {
	case answered < mtu && mtu < not:
		return mtu
	case answered == mtu:
		return answered + 1
	}
	return (answered + not) / 2
}

// proven reports whether nothing but its size explains what was lost of it.
func (z *size) proven() bool { return z.evidence >= -math.Log2(proof) }

// hopeless reports whether it will not be proven, or not known to be likely, in the turns that are left.
func (z *size) hopeless() bool {
	left := float64(MostTurns - z.turns)
	return left <= 0 || z.evidence+left*besideAnswered < -math.Log2(proof)
}

// likely reports whether plain loss does not explain what was lost of a size. How much of that there is, the sizes
// that are answered tell: all of them, and what of one was sent beside this size, whichever looks worse.
func (s *S) likely(z *size) bool {
	if z.lost < leastLost || z.beside < leastLost-1 {
		return false
	}
	asked, lost := 0, 0
	for i := range s.sizes {
		if s.sizes[i].answered {
			asked += s.sizes[i].asked
			lost += s.sizes[i].lost
		}
	}
	chance := func(lost, of int) float64 { return float64(lost+1) / float64(of+2) } // the rule of succession
	return math.Pow(max(chance(lost, asked), chance(z.besideLost, z.beside)), float64(z.lost)) < proof
}

// tell puts what is known before the run's end.
func (s *S) tell(out *probe.Output) {
	last := len(out.Events) - 1
	f := out.Events[last].(probe.Finished)
	f.Complete = s.settled
	out.Events = append(out.Events[:last], s.result(), f)
}

// result is what is known by now. Of a run that was cut short some sizes may not have been asked.
func (s *S) result() probe.Swept {
	r := probe.Swept{Settled: s.settled && !s.doubt, Doubt: s.doubt, Sent: s.largest}
	for i := range s.sizes {
		z := &s.sizes[i]
		mtu := z.mtu()
		switch {
		case z.asked == 0:
		case r.Unanswered == 0 && z.answered:
			r.Answered = z.bytes
		case r.Unanswered == 0:
			r.Unanswered, r.Because = z.bytes, z.because
			r.Lost, r.Beside, r.BesideLost = z.lost, z.beside, z.besideLost
		case z.answered && r.Resumed == 0:
			r.Resumed = z.bytes
		case r.Because == nil && mtu > 0 && r.Answered <= mtu && mtu < r.Unanswered: // it says so only now and then
			r.Because = z.because
		}
	}
	return r
}
