package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"gtrace/internal/queue"
	"gtrace/internal/wire"
	"gtrace/rawsock"
)

const (
	defaultInFlight = 1024
	batch           = 64 // packets and replies one call moves
	fullPause       = 2 * time.Millisecond
	fullPatience    = time.Second // how long a probe may wait for a full device queue
	departed        = 1 << 12     // packets whose send time may still come; rawsock knows no more of a socket's
)

// Run drives a until it is done, ctx ends or the connection fails, and returns why it
// ended early: ErrInterrupted, the sink's error or the connection's.
//
// Before it returns for one of the latter two reasons, a has been stepped with
// Input.Stop set and its last words emitted. After the sink's own error nothing
// more is emitted.
func Run(ctx context.Context, c rawsock.Conn, a Algorithm, l Limits, s Sink) error {
	defer context.AfterFunc(ctx, c.Interrupt)()
	if ctx.Err() != nil {
		c.Interrupt() // AfterFunc's goroutine may take its time
	}
	if l.InFlight <= 0 {
		l.InFlight = defaultInFlight
	}
	e := engine{
		conn: c, caps: c.Caps(), algorithm: a, sink: s,
		limit: l.InFlight, pace: newPace(l, c.Now()),
		table: newTable(), before: c.Stats(),
		replies: make([]rawsock.Reply, batch), stamps: make([]rawsock.Stamp, batch),
	}
	e.codec.token = e.caps.Token
	e.flusher, _ = s.(Flusher)
	e.easing = easing{since: c.Now(), drops: e.before.Drops}
	return e.run()
}

// An engine is one run. One goroutine uses it.
type engine struct {
	conn      rawsock.Conn
	caps      rawsock.Caps
	algorithm Algorithm
	sink      Sink
	flusher   Flusher // the sink; nil where it is none
	limit     int     // probes in flight
	pace      pace
	table     *table
	codec     codec

	outbox   queue.Queue[uint64] // serials of queued probes
	retry    time.Time           // when the outbox may be tried again
	hinders  error               // what keeps its front from leaving until then
	stuck    uint64              // the serial of a front that a full queue keeps
	patience time.Time           // until when
	left     [departed]uint64    // serials of the last packets that left, each at its Packet.N
	outcomes []Outcome           // for the next step
	advice   []Outcome           // for the user, with the next step
	packets  []rawsock.Packet
	arena    []byte // the packets' bytes
	want     []byte // an echo reply's payload as it should be
	replies  []rawsock.Reply
	stamps   []rawsock.Stamp
	out      Output
	leaves   Sent      // for the user
	probed   Probed    // for the user
	given    []uint64  // serials that are to be given up
	full     bool      // more answers may lie unread
	heard    time.Time // when the last Recv returned
	held     int       // how often the end of a wait has been put off for that
	stepped  time.Time // the last step's Now
	room     int       // the last step's Room
	easing   easing
	crowded  bool       // the pace kept probes back in the last step
	ours     netip.Addr // a source that was this host's when it was last asked, in this turn

	check  Checked
	before rawsock.Stats // at the start
}

// run is the loop: expire, step, report, send, flush, then wait by receiving, so
// that the next thing after a send is listening. Whatever there is to wait for, it is
// the until of one Recv.
func (e *engine) run() error {
	for {
		now := e.conn.Now()
		e.ours = netip.Addr{}
		e.lapse(now)
		done, err := e.step(now, nil)
		if done || err != nil {
			return err
		}
		if err := e.send(); err != nil {
			return err
		}
		if e.flusher != nil {
			if err := e.flusher.Flush(); err != nil {
				return err
			}
		}
		n, err := e.conn.Recv(e.replies, e.until())
		e.heard = e.conn.Now()
		if rate := e.easing.look(e.heard, e.pace.rate, func() uint64 { return e.conn.Stats().Drops }); rate != 0 {
			e.pace.slow(rate, e.heard)
		}
		e.lateStamps()
		for i := range e.replies[:n] {
			e.receive(&e.replies[i])
		}
		e.full = n == len(e.replies)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return e.abort(err)
		}
	}
}

// abort ends the run early and returns why.
func (e *engine) abort(why error) error {
	if _, err := e.step(e.conn.Now(), why); err != nil {
		return err
	}
	return why
}

// step tells the algorithm what happened, and the user both that and what the algorithm makes of it.
func (e *engine) step(now time.Time, stop error) (done bool, err error) {
	for i := range e.advice {
		if err := e.sink.Emit(Advised{e.advice[i]}); err != nil {
			return true, err
		}
	}
	e.advice = e.advice[:0]
	for i := range e.outcomes {
		if e.outcomes[i].Status == Unsent {
			continue
		}
		e.probed.Outcome = e.outcomes[i]
		if err := e.sink.Emit(&e.probed); err != nil {
			return true, err
		}
	}
	in := Input{Now: now, Outcomes: e.outcomes, Stop: stop}
	paced := e.pace.room(now)
	in.Room = max(0, min(e.limit-e.table.inFlight, paced))
	if e.outbox.Len() > 0 {
		in.Room = 0
	}
	e.stepped, e.room = now, in.Room
	e.out = Output{Send: e.out.Send[:0], GiveUp: e.out.GiveUp[:0], Recall: e.out.Recall[:0], Events: e.out.Events[:0], Told: e.out.Told[:0]}
	e.algorithm.Step(in, &e.out)
	e.outcomes = e.outcomes[:0]
	e.crowded = len(e.out.Send) >= paced || paced == 0

	var c Checked
	asked := false // the kernel, which costs a call for each socket: once for all who end now
	for _, ev := range e.out.Events {
		if finishes(ev) {
			if !asked {
				c, asked = e.checked(), true
			}
			if err := e.sink.Emit(c); err != nil {
				return true, err
			}
			for _, f := range c.Findings() {
				if err := e.sink.Emit(f); err != nil {
					return true, err
				}
			}
		}
		if err := e.sink.Emit(ev); err != nil {
			return true, err
		}
	}
	if e.out.Done || stop != nil {
		return true, nil
	}
	for _, s := range e.out.Send {
		e.outbox.Push(e.table.add(s))
	}
	e.pace.take(len(e.out.Send))
	for _, serial := range e.out.GiveUp {
		if r := e.table.get(serial); r != nil && r.state == pending && !r.given {
			r.given = true // algorithms may ask again
			e.given = append(e.given, serial)
		}
	}
	if !e.full {
		e.giveUp()
	}
	e.recall()
	return false, nil
}

// mostUnread is how many times as much is read as can be before what was there at first has been read for sure: no receive
// buffer, and no ring of a packet socket, holds 65536 answers.
const mostUnread = 1024

// lapse ends the wait for what is due and for what was given up; but first the answers that lie unread are read (TRAPS T47).
func (e *engine) lapse(now time.Time) {
	if e.full && e.held < mostUnread && (len(e.given) > 0 || e.table.expired(now) != 0) {
		e.held++
		return
	}
	e.held = 0
	e.expire(now)
	e.giveUp()
}

// giveUp does what the algorithm asked for.
func (e *engine) giveUp() {
	for _, serial := range e.given {
		if r := e.table.get(serial); r != nil && r.state == pending {
			e.lose(serial, r)
		}
	}
	e.given = e.given[:0]
}

// recall takes back what the algorithm wants back, as far as it has not left.
func (e *engine) recall() {
	var unsent bool
	for _, serial := range e.out.Recall {
		r := e.table.get(serial)
		if r == nil || r.state != queued {
			continue
		}
		e.table.close(r, failed)
		o := Outcome{Serial: serial, Spec: r.spec(), Status: Unsent, Err: cmp.Or(e.hinders, errRecalled)}
		var se *rawsock.SendError
		if errors.As(o.Err, &se) {
			o.Errno = se.Name
		}
		e.outcomes = append(e.outcomes, o)
		unsent = true
	}
	if !unsent {
		return
	}
	front := *e.outbox.At(0)
	e.outbox.Keep(func(serial uint64) bool { return e.table.get(serial).state == queued })
	if e.outbox.Len() == 0 || *e.outbox.At(0) != front {
		e.retry = time.Time{} // what hindered it does not hinder the next
	}
}

var (
	errRecalled = errors.New("recalled before it could leave")
	errNoID     = errors.New("too many probes within their timeout and a minute to tell them apart")
)

// finishes reports whether ev ends a target's run, be it one of several.
func finishes(ev Event) bool {
	if f, of := ev.(*For); of {
		ev = f.Event
	}
	_, last := ev.(Finished)
	return last
}

// checked is what the run can say against itself, so far.
func (e *engine) checked() Checked {
	s := e.conn.Stats()
	c := e.check
	c.ReceiveDrops, c.SlowedTo = s.Drops-e.before.Drops, e.easing.lowest
	c.reject(OuterHeader, s.Malformed-e.before.Malformed)
	c.ClockSteps += s.ClockSteps - e.before.ClockSteps
	return c
}

// until is how long the next Recv may wait: the zero time is until something arrives.
func (e *engine) until() (at time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if len(e.outcomes) > 0 || len(e.advice) > 0 {
		return e.conn.Now()
	}
	sooner(e.table.nextDue())
	if e.room > 0 || e.out.Wake.After(e.stepped) {
		sooner(e.out.Wake) // else it waits for room, and room comes with something else
	}
	if e.outbox.Len() > 0 {
		if e.retry.IsZero() {
			return e.conn.Now()
		}
		sooner(e.retry)
	}
	if e.crowded && e.pace.rate != 0 {
		sooner(e.pace.next())
	}
	return at
}

// send sends a batch of what the outbox holds, as far as it can leave now. The answers to one batch are read before the
// next leaves, or thousands would want room in a buffer.
func (e *engine) send() error {
	now := e.conn.Now()
	if e.retry.After(now) {
		return nil
	}
	e.retry, e.hinders = time.Time{}, nil
	for left := 0; left < batch && e.outbox.Len() > 0; {
		n, err := e.encode(now)
		if err != nil {
			return e.abort(err)
		}
		if n == 0 { // every id of the flow is taken
			e.hinders = errNoID
			return nil
		}
		if n = e.ownSource(n); n == 0 {
			continue
		}
		asked := e.conn.Now()
		sent, err := e.conn.Send(e.packets[:n])
		left += sent
		e.pace.left(sent, e.conn.Now())
		e.easing.sent += sent
		for i := range e.packets[:sent] {
			p := &e.packets[i]
			serial := *e.outbox.At(0)
			e.outbox.Pop()
			e.table.sent(serial, p.N, p.Sent, p.Kernel)
			e.left[p.N%departed] = serial
			r := e.table.get(serial)
			r.handed(p.Sent.Sub(asked))
			e.leaves = Sent{Serial: serial, Spec: r.spec(), At: p.Sent}
			if e.caps.Header {
				e.leaves.Packet = p.Data
			}
			if err := e.sink.Emit(&e.leaves); err != nil {
				return err
			}
		}
		if err == nil {
			continue
		}
		now = e.conn.Now()
		serial := *e.outbox.At(0)
		r := e.table.get(serial)
		if errors.Is(err, rawsock.ErrFull) {
			// Not loss, and not the probe's fault: ask again a little later.
			if e.stuck != serial {
				e.stuck, e.patience = serial, now.Add(fullPatience)
			}
			if now.Before(e.patience) {
				e.retry, e.hinders = now.Add(fullPause), err
				return nil
			}
		}
		var se *rawsock.SendError
		if !errors.As(err, &se) {
			return e.abort(err)
		}
		e.outbox.Pop()
		e.fail(serial, r, se.Name, err)
	}
	return nil
}

// ownSource cuts the n packets off before the first whose source is not this host's
// any more, as when a lease ran out: the kernel would send it all the same. If that is the first it fails.
func (e *engine) ownSource(n int) int {
	var known netip.Addr
	for i := range n {
		serial := *e.outbox.At(i)
		r := e.table.get(serial)
		src := r.like.Src.Addr()
		if src == known || e.conn.Local(src) {
			known = src
			continue
		}
		if i == 0 {
			e.outbox.Pop()
			e.fail(serial, r, "EADDRNOTAVAIL", &rawsock.SendError{
				Name: "EADDRNOTAVAIL", Dst: r.like.Dst.Addr(),
				Err: gone(src),
			})
		}
		return i
	}
	return n
}

// encode turns the front of the outbox into packets and returns how many: 0 where all must wait for an id, until retry.
func (e *engine) encode(now time.Time) (n int, err error) {
	e.table.forget(now)
	e.packets, e.arena = e.packets[:0], e.arena[:0]
	for n < min(batch, e.outbox.Len()) {
		serial := *e.outbox.At(n)
		r := e.table.get(serial)
		again, ok := e.table.number(serial, e.codec.firstID(r.like), now)
		if !ok {
			if n == 0 {
				e.retry = again
			}
			return n, nil
		}
		start := len(e.arena)
		r.said = timeOfDay(now)
		spec := r.spec()
		e.arena, err = e.codec.appendPacket(e.arena, &spec, r.n, r.id(), r.said)
		if err != nil {
			return 0, err
		}
		first := r.like.Dst.Addr()
		if r.like.Via.IsValid() {
			first = r.like.Via
		}
		e.packets = append(e.packets, rawsock.Packet{Dst: first, Data: e.arena[start:len(e.arena):len(e.arena)]})
		n++
	}
	return n, nil
}

// mostOutcomes is how many probes are closed before the algorithm is told: thousands may be due at once, and what becomes of
// each takes more memory than to wait a turn.
const mostOutcomes = 1024

// expire closes probes whose time is over; those left are next.
func (e *engine) expire(now time.Time) {
	for len(e.outcomes) < mostOutcomes {
		serial := e.table.expired(now)
		if serial == 0 {
			break
		}
		e.lose(serial, e.table.get(serial))
	}
	e.table.forget(now)
}

func (e *engine) lose(serial uint64, r *record) {
	e.table.close(r, lost)
	o := Outcome{Serial: serial, Spec: r.spec(), Status: Lost, Sent: e.table.departure(r)}
	if src := r.like.Src.Addr(); src != e.ours && !e.conn.Local(src) {
		o.Err = gone(src) // no answer could come
	} else {
		e.ours = src
	}
	e.outcomes = append(e.outcomes, o)
}

// gone is the error of a probe from an address that is not this host's any more.
func gone(src netip.Addr) error {
	return fmt.Errorf("the %w: %v is not this host's any more", ErrSource, src)
}

func (e *engine) fail(serial uint64, r *record, errno string, err error) {
	e.check.SendErrors++
	e.table.close(r, failed)
	o := Outcome{Serial: serial, Spec: r.spec(), Status: Failed, Errno: errno, Err: err}
	var se *rawsock.SendError
	if errors.As(err, &se) {
		o.MTU = se.MTU
	}
	e.outcomes = append(e.outcomes, o)
}

// lateStamps takes over the send times that were not there yet when Send returned.
func (e *engine) lateStamps() {
	for {
		n := e.conn.Stamps(e.stamps)
		for _, s := range e.stamps[:n] {
			if r := e.bySendNumber(s.N); r != nil {
				asked := e.table.asked(r)
				e.table.depart(r, s.Sent, true)
				r.handed(s.Sent.Sub(asked))
			}
		}
		if n < len(e.stamps) {
			return
		}
	}
}

// bySendNumber finds the probe that was the connection's n-th packet, unless that is long ago.
func (e *engine) bySendNumber(n uint64) *record {
	if r := e.table.get(e.left[n%departed]); r != nil && r.packet == uint32(n) {
		return r
	}
	return nil
}

// receive finds out what an arrived message answers.
func (e *engine) receive(r *rawsock.Reply) {
	var f found
	switch e.match(r, &f) {
	case rejected:
		e.check.reject(f.why, 1)
		return
	case advisory:
		e.check.Advisories++
		rec, o := e.table.get(f.serial), f.o
		o.Serial, o.Spec, o.Sent, o.At, o.Status = f.serial, rec.spec(), e.table.departure(rec), r.At, 0
		e.advice = append(e.advice, o)
		return
	case ambiguous:
		f.o.At, f.o.Sent = r.At, time.Time{}
		e.outcomes = append(e.outcomes, f.o)
		return
	}

	rec := e.table.get(f.serial)
	o := f.o
	o.Serial, o.Spec, o.Sent, o.At = f.serial, rec.spec(), e.table.departure(rec), r.At
	switch {
	case r.Kernel && rec.kernel:
		o.Clock = KernelClock
	case r.Kernel:
		o.Clock = KernelRxClock
	}
	if o.Match == Alone && r.Kernel && o.At.Before(o.Sent) { // it was here before the probe left, and nothing but that says it is its answer
		e.check.reject(BeforeItsProbe, 1)
		return
	}
	if rtt, most := o.At.Sub(o.Sent), e.heard.Sub(e.table.asked(rec)); rtt < 0 || rtt > most+rawsock.StampSlack {
		// Only a clock that was set in between can do that (TRAPS T53). What is left is when this
		// program asked and when it looked.
		if rtt < -rawsock.StampSlack || rtt > 0 {
			e.check.ClockSteps++
		}
		o.Sent, o.At, o.Clock = e.table.asked(rec), e.heard, UserClock
	}

	// An error that this host sent itself tells that the probe got no
	// further than here: no neighbour answered, a local firewall refused, the packet
	// exceeds a path MTU known here. It is never a hop.
	ends := answered
	if f.icmp && r.Local && !e.conn.Local(rec.like.Dst.Addr()) && !(rec.like.Own && o.Answer == Unreachable) {
		ends = failed
		o.Status, o.Errno = Failed, localErrno(&o)
		o.Err = &rawsock.SendError{Name: o.Errno, Dst: rec.like.Dst.Addr(), Err: localError(o.Errno)}
	}

	rec.proven = rec.proven || f.proves
	switch rec.state {
	case pending:
		if e.hinders == errNoID {
			e.retry = time.Time{} // its id may be what is waited for
		}
		e.table.close(rec, ends)
		if ends == failed {
			e.check.SendErrors++
		}
	case lost:
		o.Late = true
		rec.state = ends
		e.check.Late++
	case answered:
		o.Duplicate = true
		e.check.Duplicates++
	default:
		e.check.reject(NotSentYet, 1)
		return
	}
	e.outcomes = append(e.outcomes, o)
}

// localError is what an ICMP error from this host itself says, by localErrno.
func localError(errno string) error {
	why := "the next hop does not answer on its link"
	switch errno {
	case "EMSGSIZE":
		why = "larger than the path takes, as this host has learnt"
	case "ECONNREFUSED", "EACCES":
		why = "a firewall of this host refuses it"
	case "ENETUNREACH":
		why = "this host has no way there"
	}
	return errors.New(why + " (told by this host's own ICMP error)")
}

// localErrno is the send error that an ICMP error from this host stands for.
func localErrno(o *Outcome) string {
	switch o.Answer {
	case TooBig:
		return "EMSGSIZE"
	case PortUnreachable:
		return "ECONNREFUSED"
	case Unreachable:
		v6 := o.Spec.Dst.Addr().Is6()
		switch {
		case v6 && o.Type == wire.Unreachable6 && o.Code == 1, !v6 && (o.Code == 9 || o.Code == 10 || o.Code == 13):
			return "EACCES"
		case o.Code == 0:
			return "ENETUNREACH"
		}
		return "EHOSTUNREACH"
	}
	return "EHOSTUNREACH"
}
