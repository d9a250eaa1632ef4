// Package ping asks one destination again and again whether it is there: one
// probe each interval, on a grid that does not drift, or as fast as answers come.
//
// It ends as iputils' ping does. Times it works with are the engine's; it has no clock.
// What it remembers is the probes in flight and a few sums, so that it may run for months. A sweep, which asks packets of several
// sizes, remembers what became of each.
//
// The package knows nothing of sockets or output, and of bytes only those of the IPv4 options that it asks
// nodes on the way to write in.
package ping

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"gtrace/probe"
)

const (
	defaultTimeout = 10 * time.Second // as iputils' -W
	maxInterval    = (math.MaxInt32 / 1000) * time.Second
	maxDeadline    = math.MaxInt32 * time.Second
	maxPreload     = 65536 // as iputils' -l

	// blind is how long a run without an interval waits for what it asked for last before it asks
	// again: as iputils, 100 a second where nothing is answered.
	blind = 10 * time.Millisecond

	// leastWait is how long the last answers are waited for at least: this host may be busy with other things.
	leastWait = 100 * time.Millisecond
)

// ErrUnsent is wrapped by Finished.Err where no probe got past this host.
var ErrUnsent = errors.New("probes could be sent")

// A Config is what New needs. All is checked there.
type Config struct {
	Proto    probe.Proto    // 0: ICMP
	Src, Dst netip.AddrPort // ports as probe.Spec says: an identifier, and for ICMP the checksum to hold or 0
	Label    uint32         // IPv6 flow label, 20 bits
	TTL, TOS uint8
	DF       bool
	Yields   bool   // DF, until a router or this host says that the packet is too long: then it may leave in fragments
	Size     int    // bytes of the whole packet; 0 means as small as it gets
	Pattern  string // as probe.Spec says
	Segment  probe.Segment
	Query    probe.Query
	Options  string       // a source route, as probe.Spec says
	Via      netip.Addr   // its first hop
	Record   Record       // what nodes on the way write in; not with Options
	Hops     []netip.Addr // StampsOf: whose
	Any      bool         // whoever answers: a broadcast or multicast destination

	// Count probes are sent; 0: no end. Where there is a Deadline, Count answers
	// end the run instead, and probes are sent until then (iputils' -c with -w).
	Count    int
	Interval time.Duration // from one probe to the next; 0: when there is an answer, at the latest after 10 ms
	Preload  int           // probes that leave at once at the start, and may be unanswered with Interval 0; 0: 1
	Adaptive bool          // after the first answer the interval is the smoothed round-trip time, in whole milliseconds
	Least    time.Duration // of an Adaptive interval, and of one that is as answers come
	Waiting  bool          // Waiting events are wanted
	Deadline time.Duration // of the whole run; an error from the network ends such a run too; 0: none
	Timeout  time.Duration // how long an answer is waited for; 0 means 10 s
}

// check returns what is wrong with c, all of it, joined.
func (c *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("ping: "+format, args...))
	}
	probe.CheckFlow(c.Src.Addr(), c.Dst.Addr(), c.Label, wrong)
	if c.TTL == 0 {
		wrong("TTL 0: want 1 to 255")
	}
	if least, most := probe.Sizes(c.proto(), c.Dst.Addr().Is6(), c.Dst.Port() != 0); c.Size != 0 && (c.Size < least || c.Size > most) {
		wrong("size %d bytes: want 0, or %d to %d", c.Size, least, most)
	}
	c.checkRecord(wrong)
	if len(c.Pattern) > math.MaxUint16 {
		wrong("pattern of %d bytes: want at most %d", len(c.Pattern), math.MaxUint16)
	}
	if c.Count < 0 || int64(c.Count) > math.MaxUint32 {
		wrong("count %d: want 0 for no end, up to %d", c.Count, uint32(math.MaxUint32))
	}
	if c.Interval < 0 || c.Interval > maxInterval {
		wrong("interval %v: want 0 for as fast as answers come, up to %v", c.Interval, maxInterval)
	}
	if c.Least < 0 || c.Least > maxInterval {
		wrong("least interval %v: want 0 to %v", c.Least, maxInterval)
	}
	if c.Preload < 0 || c.Preload > maxPreload {
		wrong("preload %d: want 0 to %d", c.Preload, maxPreload)
	}
	if c.Deadline < 0 || c.Deadline > maxDeadline {
		wrong("deadline %v: want 0 for none, up to %v", c.Deadline, maxDeadline)
	}
	if c.Timeout < 0 || c.Timeout > maxInterval {
		wrong("timeout %v: want 0 for %v, up to %v", c.Timeout, defaultTimeout, maxInterval)
	}
	return errors.Join(errs...)
}

func (c *Config) proto() probe.Proto {
	if c.Proto == 0 {
		return probe.ICMP
	}
	return c.Proto
}

// A P is one run. New makes it, probe.Run drives it.
type P struct {
	c        Config
	interval time.Duration // now
	start    time.Time
	next     time.Time // when the next probe is due
	last     time.Time // when the last left
	sent     uint64
	acked    uint64        // the latest probe that is decided
	newest   *probe.Spec   // of the last probe, until it is answered, where Waiting events are wanted
	flying   []flight      // in the order they left
	smooth   time.Duration // round-trip time, an eighth of each new one taken over

	answers  int           // echo replies, duplicates not counted
	refusals int           // ICMP errors
	noted    bool          // some error came, be it from this host itself
	longest  time.Duration // round trip
	timed    bool          // some round trip is known: a service's answers may not say which probe they answer (probe.FlowOnly)
	left     bool          // some probe got past this host
	failure  error         // of the first that did not

	closing bool // nothing more is sent or waited for
	done    bool
}

// A flight is a probe that is waited for.
type flight struct {
	serial uint64
	at     time.Time // it was sent
}

// New prepares a run. The error lists every field of c that will not do.
func New(c Config) (*P, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	c.Preload = max(1, c.Preload)
	return &P{c: c, interval: c.Interval}, nil
}

// Step is probe.Algorithm's.
func (p *P) Step(in probe.Input, out *probe.Output) {
	if !p.begin(&in, out) {
		return
	}
	p.closing = p.closing || p.enough(in.Now)
	if !p.closing && in.Stop == nil {
		p.send(in.Now, in.Room, out)
	}
	all := p.closing || p.allSent()
	switch {
	case errors.Is(in.Stop, probe.ErrSource): // even where nothing is open: what was lost proves nothing
		p.finish(in.Now, false, in.Stop, out)
	case all && len(p.flying) == 0:
		p.finish(in.Now, true, nil, out)
	case in.Stop != nil:
		p.finish(in.Now, false, in.Stop, out)
	case p.closing:
		p.close(in.Now, out)
	case all:
		p.linger(in.Now, out)
	}
	p.wakeAtDeadline(out)
}

// begin is how every step begins. It reports whether there is anything left to do.
func (p *P) begin(in *probe.Input, out *probe.Output) bool {
	if p.done {
		out.Done = true
		return false
	}
	if p.start.IsZero() {
		p.start, p.next = in.Now, in.Now
	}
	for i := range in.Outcomes {
		p.learn(&in.Outcomes[i])
	}
	return true
}

// late reports whether the time is up.
func (p *P) late(now time.Time) bool {
	return p.c.Deadline != 0 && !now.Before(p.start.Add(p.c.Deadline))
}

func (p *P) wakeAtDeadline(out *probe.Output) {
	if p.c.Deadline != 0 && !out.Done && !p.closing {
		wake(out, p.start.Add(p.c.Deadline))
	}
}

// crowd is how many in flight are too many to be moved for each answer.
const crowd = 1024

func (p *P) learn(o *probe.Outcome) {
	if i, found := slices.BinarySearchFunc(p.flying, o.Serial, func(f flight, serial uint64) int { return cmp.Compare(f.serial, serial) }); found {
		if len(p.flying) < crowd {
			p.flying = slices.Delete(p.flying, i, i+1)
		} else { // mostly it is one of the first, and tens of thousands are behind it
			copy(p.flying[1:i+1], p.flying[:i])
			p.flying = p.flying[1:]
		}
	}
	p.acked = max(p.acked, o.Serial)
	if p.c.Yields && (o.Answer == probe.TooBig || o.Errno == "EMSGSIZE") {
		p.c.DF = false
	}
	reply := o.Status == probe.Answered && Answers(o)
	if reply && o.Serial == p.sent {
		p.newest = nil
	}
	p.noted = p.noted || o.Answer != probe.NoAnswer && !reply
	switch {
	case o.Status == probe.Failed, o.Status == probe.Unsent:
		if p.failure == nil {
			p.failure = o.Err
		}
		return
	case o.Status == probe.Answered && !reply:
		p.refusals++
	case o.Status == probe.Answered && !o.Duplicate:
		p.answers++
		if rtt, ok := o.RTT(); ok {
			p.longest, p.timed = max(p.longest, rtt), true
			p.adapt(rtt)
		}
	}
	p.left = true
}

// Answers reports whether an answer is what a ping waits for: not an error in place of a reply that the kind of
// probe should have.
func Answers(o *probe.Outcome) bool {
	if o.Spec.Proto.IsICMP() {
		return o.Answer.Terminal() && o.Answer != probe.PortUnreachable && o.Answer != probe.ProtocolUnreachable
	}
	return o.Answer.Terminal()
}

// adapt sets the interval by a round-trip time, as iputils' -A: in whole milliseconds, so that below half a
// millisecond it is as fast as answers come.
func (p *P) adapt(rtt time.Duration) {
	if p.smooth == 0 {
		p.smooth = rtt
	}
	p.smooth += (rtt - p.smooth) / 8
	if p.c.Adaptive {
		p.interval = max(p.c.Least, p.smooth.Round(time.Millisecond))
		p.next = p.last.Add(p.interval)
	}
}

// enough reports whether a run with a deadline is over. As ping(8) has it, -w waits "until the deadline expires or
// until count probes are answered or for some error notification from the network".
func (p *P) enough(now time.Time) bool {
	return p.late(now) || p.c.Deadline != 0 && (p.noted || p.c.Count != 0 && p.answers >= p.c.Count)
}

func (p *P) allSent() bool {
	return p.c.Deadline == 0 && p.c.Count != 0 && p.sent >= uint64(p.c.Count)
}

// send sends what is due. Who is late sends one, not all that were missed, and
// goes on with the next point of the grid.
func (p *P) send(now time.Time, room int, out *probe.Output) {
	for !p.allSent() && p.due(now) {
		if room == 0 {
			return // the engine steps again when there is some
		}
		room--
		if p.newest != nil {
			out.Events = append(out.Events, probe.Waiting{At: now, Serial: p.sent, Spec: *p.newest})
		}
		switch late := now.Sub(p.next); {
		case p.sent < uint64(p.c.Preload-1):
		case p.interval > 0:
			p.next = now.Add(p.interval - late%p.interval)
		default: // a little that was missed is made up for
			p.next = now.Add(p.c.Least - min(late, blind))
		}
		p.sent++
		p.last = now
		p.flying = append(p.flying, flight{p.sent, now})
		s := probe.Spec{
			Proto: p.c.proto(), Src: p.c.Src, Dst: p.c.Dst, Label: p.c.Label,
			TTL: p.c.TTL, TOS: p.c.TOS, DF: p.c.DF, Size: p.c.Size, Pattern: p.c.Pattern,
			Segment: p.c.Segment, Query: p.c.Query, Options: p.c.Options, Via: p.c.Via,
			Any: p.c.Any, Timeout: p.c.Timeout, Attempt: uint32(p.sent),
		}
		if p.c.Record != NoRecord {
			s.Options = p.c.record(now)
		}
		if p.c.Waiting {
			p.newest = new(s)
		}
		out.Send = append(out.Send, s)
	}
	switch {
	case p.allSent():
	case p.interval > 0:
		wake(out, p.next)
	case p.next.After(now):
		wake(out, p.next)
	default:
		wake(out, p.last.Add(blind))
	}
}

// due reports whether a probe is due: by the grid, or without an interval as soon as fewer than Preload are
// on their way.
func (p *P) due(now time.Time) bool {
	if p.interval > 0 || p.sent == 0 {
		return !now.Before(p.next)
	}
	if p.sent >= uint64(p.c.Preload) && now.Before(p.next) {
		return false
	}
	return p.sent-min(p.sent, p.acked) < uint64(p.c.Preload) || !now.Before(p.last.Add(blind))
}

// linger closes what is still open some time after the last probe left: as iputils, two of the longest round
// trips, at least an interval, where any is known. Else each probe has its own timeout, but where there are as many
// answers as probes nothing more is to come.
func (p *P) linger(now time.Time, out *probe.Output) {
	if !p.timed && uint64(p.answers) < p.sent {
		return
	}
	wait := max(p.interval, leastWait, 2*min(p.longest, p.c.Timeout))
	if due := p.last.Add(wait); due.After(now) {
		wake(out, due)
	} else {
		p.giveUp(now, out)
	}
}

// giveUp waits no longer for what was sent by then, and reports whether that was any.
func (p *P) giveUp(then time.Time, out *probe.Output) (any bool) {
	for _, f := range p.flying {
		if !f.at.After(then) {
			out.GiveUp = append(out.GiveUp, f.serial)
			any = true
		}
	}
	return any
}

// close ends a run with a deadline. What was asked so lately that an answer could not be expected yet is not
// lost: it stays in flight, and so does all that is open where answers came but none with a time. Where nothing was
// answered the deadline is all there is to go by.
func (p *P) close(now time.Time, out *probe.Output) {
	then := now
	switch {
	case p.timed:
		then = now.Add(-2 * min(p.longest, p.c.Timeout))
	case p.answers > 0:
		then = p.start.Add(-1)
	}
	for _, f := range p.flying {
		out.Recall = append(out.Recall, f.serial)
	}
	if !p.giveUp(then, out) {
		cut := p.c.Count == 0 || p.answers < p.c.Count
		p.finish(now, !cut || len(p.flying) == 0, nil, out)
	}
}

// wake brings the next step forward to at.
func wake(out *probe.Output, at time.Time) {
	if out.Wake.IsZero() || at.Before(out.Wake) {
		out.Wake = at
	}
}

func (p *P) finish(now time.Time, complete bool, stop error, out *probe.Output) {
	f := probe.Finished{At: now, Complete: complete}
	switch {
	case stop != nil && errors.Is(stop, probe.ErrInterrupted):
		f.Verdict = probe.Interrupted
	case stop != nil:
		f.Verdict, f.Err = probe.Errored, stop
	case p.answers > 0:
		f.Verdict = probe.AnsweredIt
	case p.sent > 0 && !p.left:
		f.Verdict, f.Err = probe.Errored, fmt.Errorf("none of %d %w: %w", p.sent, ErrUnsent, p.failure)
	case p.refusals > 0:
		f.Verdict = probe.Blocked
	default:
		f.Verdict = probe.Silent
	}
	out.Events = append(out.Events, f)
	out.Done, p.done = true, true
}
