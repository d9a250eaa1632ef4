// Package many measures many targets at once: it is one algorithm made of one for each of them.
//
// Each of these sees what it would see alone: serials of its own from 1, its own outcomes and tags, and a fair
// share of the room there is. As the events pass through M on their way to the user, they are
// turned back in the same way and said to be For their target.
//
// Targets begin when they are asked for, so many at a time, and are forgotten when they end. Only the
// serials of their probes stay, as long as an answer may come.
//
// The package knows nothing of sockets, bytes or output, and has no clock.
package many

import (
	"errors"
	"slices"
	"time"

	"gtrace/internal/queue"
	"gtrace/probe"
)

// A Target is one of those that are measured.
type Target struct {
	Number    int // For.Target
	Of        any // For.Of: who is told of it need not look it up
	Algorithm probe.Algorithm
	Started   probe.Started // told when the target begins; At is filled in
}

// A Config is what New needs.
type Config struct {
	// Next is the next target to begin. It reports false where there is none for now, and
	// is asked again when one has ended; the run ends where it has none while none is in progress.
	Next func() (Target, bool)
	// More, where not nil, reports whether there may be targets later though Next has none for now: it is asked again a
	// little later then, whether one has ended or not. Such targets begin as there is room for their probes.
	More  func() bool
	Most  int           // targets in progress at once, at least 1
	Every time.Duration // an Interim that resets each so long; 0: none
	After bool          // what becomes of a target's probes behind its Finished is told too
}

// again is how long after it had none Next is asked again.
const again = 10 * time.Millisecond

// Of a crowd of targets those that wake wait a grain for others: a turn of the loop for each costs as much as its probe.
const (
	crowd = 256
	grain = time.Millisecond
)

// An M is one run. New makes it, probe.Run drives it, as its algorithm and its sink.
type M struct {
	c    Config
	sink probe.Sink

	running queue.Bag[*target]
	more    bool      // Next is to be asked
	look    time.Time // when it is to be asked again in any case; zero: not
	must    []*target // to be stepped in any case: something happened
	due     []*target // those of the step before; its room is for the next
	hungry  []*target // would use more room, the one that waits longest first, at fed
	fed     int
	wakes   wakes
	tick    time.Time // when the next Interim is due
	sub     probe.Output
	spare   [][]probe.Outcome // for the outcomes of one step: whoever has some is stepped in the same

	epoch  time.Time         // of the first step
	probes queue.Queue[sent] // by serial, from base
	base   uint64            // serial of the first of them
	ended  []*target         // whose Finished is not told yet, in order
	run    probe.Checked
	one    probe.For // for the sink
	nobody target    // over: whose probes those of targets that ended are
}

// A target is one in progress, and what its probes are remembered by when it has ended.
type target struct {
	queue.Place
	Number         int
	Of             any
	Algorithm      probe.Algorithm
	outcomes       []probe.Outcome // for its next step
	must, hungry   bool            // it is in the list of that name
	wake           time.Duration   // when it wakes, as in wakes; never: not by itself
	serials        []uint64        // the run's, by its own from first
	first          uint64
	late, dup, bad uint64
	gone           error // its source address went away: it ends with its next step
	over           bool  // it is not in progress any more
}

// A sent is a probe that an outcome may still come for. There may be millions.
type sent struct {
	of     *target
	serial uint64 // its own
	tag    uint32 // its own
	until  uint32 // the second behind M.epoch in which the engine will have forgotten it, from 1; 0: it is not decided
}

// New prepares a run whose events go to s.
func New(c Config, s probe.Sink) *M {
	return &M{c: c, sink: s, more: true, base: 1, nobody: target{over: true}}
}

// Step is probe.Algorithm's.
func (m *M) Step(in probe.Input, out *probe.Output) {
	if m.epoch.IsZero() {
		m.epoch = in.Now
	}
	for i := range in.Outcomes {
		m.learn(&in.Outcomes[i])
	}
	m.forget(in.Now)
	m.interim(in.Now, out)
	m.begin(in, out)
	next, wakes := m.wakes.first()
	for now := in.Now.Sub(m.epoch); wakes && next.at <= now; next, wakes = m.wakes.first() {
		next.of.wake = never
		m.want(next.of)
	}
	if in.Stop != nil {
		m.stop(in, out)
		return
	}
	m.feed(in, out)

	// Whoever follows those that ended is asked for in the next step, when their ends are told.
	begins := m.more && len(m.running) < m.c.Most
	out.Done = len(m.running) == 0 && !begins && m.look.IsZero()
	switch {
	case begins && (m.c.More == nil || in.Room > len(out.Send)), in.Room > len(out.Send) && m.waiting() > 0:
		out.Wake = in.Now
	default:
		next, wakes := m.wakes.first()
		if !wakes {
			break
		}
		out.Wake = m.epoch.Add(next.at)
		if soon := in.Now.Add(grain); len(m.running) >= crowd && out.Wake.Before(soon) {
			out.Wake = soon
		}
	}
	if !m.look.IsZero() && (out.Wake.IsZero() || m.look.Before(out.Wake)) {
		out.Wake = m.look
	}
	if m.c.Every > 0 && (out.Wake.IsZero() || m.tick.Before(out.Wake)) {
		out.Wake = m.tick
	}
}

// begin takes in targets as far as there is place.
func (m *M) begin(in probe.Input, out *probe.Output) {
	if !m.look.IsZero() && !m.look.After(in.Now) {
		m.more, m.look = true, time.Time{}
	}
	for in.Stop == nil && m.more && len(m.running) < m.c.Most && (m.c.More == nil || m.waiting() < in.Room) {
		next, ok := m.c.Next()
		if !ok {
			m.more, m.look = false, time.Time{}
			if m.c.More != nil && m.c.More() {
				m.look = in.Now.Add(again)
			}
			return
		}
		t := &target{Number: next.Number, Of: next.Of, Algorithm: next.Algorithm, first: 1, wake: never, serials: make([]uint64, 0, 4)}
		next.Started.At = in.Now
		m.running.Add(t)
		m.tell(t, next.Started, out)
		m.want(t)
	}
}

// want has t stepped in this step or the next, with room in its turn.
func (m *M) want(t *target) {
	if !t.must {
		t.must = true
		m.must = append(m.must, t)
	}
	if !t.hungry {
		t.hungry = true
		m.hungry = append(m.hungry, t)
	}
}

// waiting is how many are hungry.
func (m *M) waiting() int { return len(m.hungry) - m.fed }

// feed deals out the room in turns, and then steps those that must be and got none.
func (m *M) feed(in probe.Input, out *probe.Output) {
	due := m.must
	m.must, m.due = m.due[:0], due
	for n := m.waiting(); n > 0 && in.Room > len(out.Send); n-- {
		t := m.hungry[m.fed]
		m.hungry[m.fed] = nil
		m.fed++
		t.hungry = false
		if !t.over {
			m.step(t, in.Now, max(1, (in.Room-len(out.Send))/n), nil, out)
		}
	}
	if m.fed > len(m.hungry)/2 {
		n := copy(m.hungry, m.hungry[m.fed:])
		clear(m.hungry[n:])
		m.hungry, m.fed = m.hungry[:n], 0
	}
	for _, t := range due {
		if t.must && !t.over {
			m.step(t, in.Now, 0, nil, out)
		}
	}
	clear(due)
}

// stop is everybody's last step.
func (m *M) stop(in probe.Input, out *probe.Output) {
	left := slices.Clone(m.running)
	sortByNumber(left)
	for _, t := range left {
		m.step(t, in.Now, 0, in.Stop, out)
	}
	out.Done = true
}

// step steps t and passes on what it wants.
func (m *M) step(t *target, now time.Time, room int, stop error, out *probe.Output) {
	m.sub = probe.Output{Send: m.sub.Send[:0], GiveUp: m.sub.GiveUp[:0], Recall: m.sub.Recall[:0], Events: m.sub.Events[:0], Told: out.Told}
	t.must = false
	if stop == nil {
		stop = t.gone
	}
	t.Algorithm.Step(probe.Input{Now: now, Room: room, Outcomes: t.outcomes, Stop: stop}, &m.sub)
	out.Told = m.sub.Told
	if t.outcomes != nil {
		clear(t.outcomes)
		m.spare, t.outcomes = append(m.spare, t.outcomes[:0]), nil
	}

	out.GiveUp = t.appendOwn(out.GiveUp, m.sub.GiveUp)
	out.Recall = t.appendOwn(out.Recall, m.sub.Recall)
	for i := range m.sub.Send {
		s := &m.sub.Send[i]
		serial := m.base + uint64(m.probes.Len())
		m.probes.Push(sent{of: t, serial: t.first + uint64(len(t.serials)), tag: s.Tag})
		t.serials = append(t.serials, serial)
		s.Tag = uint32(serial) // for the answers that have no serial
		out.Send = append(out.Send, *s)
	}
	for _, e := range m.sub.Events {
		m.tell(t, e, out)
	}
	if m.sub.Done || stop != nil {
		m.end(t, out)
		return
	}
	if len(m.sub.Send) >= room && !t.hungry {
		t.hungry = true
		m.hungry = append(m.hungry, t)
	}
	m.wakeAt(t, now, room)
}

// appendOwn appends the run's serials of those that are t's own.
func (t *target) appendOwn(to, own []uint64) []uint64 {
	for _, serial := range own {
		if serial >= t.first && serial-t.first < uint64(len(t.serials)) {
			to = append(to, t.serials[serial-t.first])
		}
	}
	return to
}

// wakeAt sets when t is stepped again, if nothing happens before. A time that has
// come is one to wait for room from, where there was none.
func (m *M) wakeAt(t *target, now time.Time, room int) {
	at := m.sub.Wake
	if at.IsZero() || room == 0 && !at.After(now) {
		t.wake = never
		return
	}
	if wake := max(0, at.Sub(m.epoch)); wake != t.wake {
		t.wake = wake
		m.wakes.push(waking{wake, t}, len(m.running))
	}
}

// end lets go of all that t held, waits for none of its probes any longer, and asks none that has not left.
func (m *M) end(t *target, out *probe.Output) {
	for _, serial := range t.serials {
		p := m.probes.At(int(serial - m.base))
		if p.until == 0 {
			out.GiveUp = append(out.GiveUp, serial)
			out.Recall = append(out.Recall, serial)
		}
		if !m.c.After { // nobody is told of it any more, so t need not be remembered
			p.of = &m.nobody
		}
	}
	t.wake = never
	m.running.Remove(t)
	t.over, t.outcomes, t.serials, t.Algorithm, t.Of = true, nil, nil, nil, nil
	m.more = true
}

func (m *M) tell(t *target, e probe.Event, out *probe.Output) {
	if _, last := e.(probe.Finished); last {
		m.ended = append(m.ended, t)
	}
	out.Events = append(out.Events, &probe.For{Target: t.Number, Of: t.Of, Event: e})
}

// interim asks for a report where one is due. Who is late asks once.
func (m *M) interim(now time.Time, out *probe.Output) {
	switch {
	case m.c.Every <= 0:
	case m.tick.IsZero():
		m.tick = now.Add(m.c.Every)
	case !m.tick.After(now):
		out.Events = append(out.Events, probe.Interim{At: now, Resets: true})
		m.tick = m.tick.Add(m.c.Every * (1 + now.Sub(m.tick)/m.c.Every))
	}
}

// learn gives an outcome to its target.
func (m *M) learn(o *probe.Outcome) {
	p := m.probe(o.Serial, o.Spec.Tag)
	if p == nil {
		return
	}
	if o.Status == probe.Unsent { // of which there is no event
		m.decide(p, o)
	}
	if p.of.over {
		return
	}
	if errors.Is(o.Err, probe.ErrSource) && p.of.gone == nil {
		p.of.gone = o.Err
	}
	t := p.of
	if n := len(m.spare); t.outcomes == nil && n > 0 {
		t.outcomes, m.spare = m.spare[n-1], m.spare[:n-1]
	}
	t.outcomes = append(t.outcomes, *o)
	p.rename(&t.outcomes[len(t.outcomes)-1])
	m.want(t)
}

// probe finds the probe with that serial, or, where the engine did not know it, that tag.
func (m *M) probe(serial uint64, tag uint32) *sent {
	if serial == 0 {
		serial = m.base + uint64(tag-uint32(m.base))
	}
	if serial < m.base || serial-m.base >= uint64(m.probes.Len()) {
		return nil
	}
	return m.probes.At(int(serial - m.base))
}

// rename makes o what p's target knows it as.
func (p *sent) rename(o *probe.Outcome) {
	o.Spec.Tag = p.tag
	if o.Serial != 0 {
		o.Serial = p.serial
	}
}

// decide notes that p has an outcome, and how long more may come.
func (m *M) decide(p *sent, o *probe.Outcome) {
	p.until = 1
	if !o.Sent.IsZero() {
		p.until += uint32((o.Sent.Sub(m.epoch) + probe.Remembered(o.Spec.Timeout)) / time.Second)
	}
}

// remembered is how many probes behind one of the same target are enough to forget it: by then the engine has given its id,
// of which there are fewer in a flow, to another.
const remembered = 1 << 16

// forget drops the probes that the engine has forgotten.
func (m *M) forget(now time.Time) {
	for m.probes.Len() > 0 {
		p := m.probes.At(0)
		t := p.of
		if p.until == 0 || time.Duration(p.until)*time.Second > now.Sub(m.epoch) && len(t.serials) <= remembered {
			return
		}
		if !t.over {
			t.serials = t.serials[1:]
			t.first++
		}
		m.probes.Pop()
		m.base++
	}
}

// Emit is probe.Sink's: of the engine's events.
func (m *M) Emit(e probe.Event) error {
	switch e := e.(type) {
	case *probe.Sent:
		p := m.probe(e.Serial, e.Spec.Tag)
		e.Serial, e.Spec.Tag = p.serial, p.tag
		return m.pass(p.of, e)
	case *probe.Probed:
		p := m.probe(e.Outcome.Serial, e.Outcome.Spec.Tag)
		if p == nil {
			return nil
		}
		if o := &e.Outcome; o.Serial != 0 {
			m.decide(p, o)
			p.of.count(o)
		}
		p.rename(&e.Outcome)
		return m.pass(p.of, e)
	case probe.Advised:
		p := m.probe(e.Outcome.Serial, e.Outcome.Spec.Tag)
		if p == nil {
			return nil
		}
		p.rename(&e.Outcome)
		return m.pass(p.of, e)
	case probe.Checked:
		m.run = e
		return nil
	case probe.Finding: // of the run: it follows from Checked, and is told of each target as that ends
		return nil
	case *probe.For:
		if _, last := e.Event.(probe.Finished); last {
			t := m.ended[0]
			m.ended[0] = nil
			m.ended = m.ended[1:]
			c := t.checked(m.run)
			if err := m.sink.Emit(&probe.For{Target: t.Number, Of: e.Of, Event: c}); err != nil {
				return err
			}
			for _, f := range c.Findings() {
				if err := m.sink.Emit(&probe.For{Target: t.Number, Of: e.Of, Event: f}); err != nil {
					return err
				}
			}
		}
	}
	return m.sink.Emit(e)
}

// Flush is probe.Flusher's.
func (m *M) Flush() error {
	if s, ok := m.sink.(probe.Flusher); ok {
		return s.Flush()
	}
	return nil
}

// pass tells an event of t. When t has ended all about it has been said, unless more was asked for.
func (m *M) pass(t *target, e probe.Event) error {
	if t.over && !m.c.After {
		return nil
	}
	m.one = probe.For{Target: t.Number, Of: t.Of, Event: e}
	return m.sink.Emit(&m.one)
}

// count is what the engine counts of the run.
func (t *target) count(o *probe.Outcome) {
	switch {
	case o.Late:
		t.late++
	case o.Duplicate:
		t.dup++
	case o.Status == probe.Failed:
		t.bad++
	}
}

// checked is the run's, but for what is known of t alone: what nobody asked for, what was lost here and the clock
// are not one target's.
func (t *target) checked(run probe.Checked) probe.Checked {
	run.Late, run.Duplicates, run.SendErrors = t.late, t.dup, t.bad
	return run
}
