package probe

import (
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"gtrace/internal/queue"
	"gtrace/internal/wire"
)

// quarantine is how long after its timeout a probe is remembered, and its id not
// used again: until then an answer is late, after that it is nobody's.
const quarantine = 60 * time.Second

// Remembered is how long after its departure a probe can still have outcomes: where it has one
// by then, there are no more.
func Remembered(timeout time.Duration) time.Duration { return timeout + quarantine }

// IDs is how many probes like s one flow can tell apart at a time. Numbered says that their answers bring back more than
// the id: then it is how many can be waited for at a time.
func IDs(s *Spec) (n int, numbered bool) { return int(idSpace(s.Proto)), numbers(s) }

// LeastInterval is the shortest time between two probes like s, of one flow and for ever, at which none has to wait for
// an id, even if nothing is answered.
func LeastInterval(s *Spec) time.Duration {
	n, numbered := IDs(s)
	rest := s.Timeout
	if !numbered {
		rest += quarantine
	}
	return (rest + time.Duration(n) - 1) / time.Duration(n)
}

// A state is where a probe is on its way.
type state uint8

const (
	queued   state = iota // accepted, not sent yet
	pending               // sent, waited for
	answered              // at least once
	lost                  // not waited for any longer
	failed                // did not leave, or not further than this host
	spent                 // decided, and forgotten for another probe that has its id now
)

// A record is one probe, from its Spec to the end of its quarantine. There may be millions, so what those of one flow have in
// common is kept once, and times are since table.epoch.
type record struct {
	like    *Spec         // but for what follows; shared, so nothing in it changes
	flow    *flow         // nil, for some, while it has no number
	sent    time.Duration // 0: it did not leave
	rest    time.Duration // when another probe whose id it took would have been forgotten; 0 if it took none
	attempt uint32
	tag     uint32
	n       uint32 // in its flow, from 1; 0: it has none yet
	said    uint32 // Timestamp: the originate field
	packet  uint32 // the low half of rawsock.Packet.N
	ahead   uint32 // how long before sent this program handed it over, in microseconds, rounded up
	number  uint16 // Spec.Flow
	ttl     uint8
	state   state
	wall    uint8 // sent counts from table.walls[wall], where the time of day matters
	proven  bool  // what answered it showed its number
	given   bool  // it is to be given up, once what lies unread has been read
	kernel  bool  // sent is the kernel's
}

// spec is what the algorithm asked for.
func (r *record) spec() Spec {
	s := *r.like
	s.TTL, s.Attempt, s.Tag, s.Flow = r.ttl, r.attempt, r.tag, r.number
	return s
}

// due is when r, which left, is lost.
func (r *record) due() time.Duration { return r.sent + r.like.Timeout }

// release is when r is forgotten; 0 is at once.
func (r *record) release() time.Duration {
	if r.state == spent || r.sent == 0 {
		return 0
	}
	return r.due() + quarantine
}

// shared reports whether r's id was another's, so that only what shows the number is r's.
func (r *record) shared() bool { return r.rest != 0 }

// rests is when no answer can be taken for that of a probe with r's id any more.
func (r *record) rests() time.Duration { return max(r.release(), r.rest) }

// since is how long at is behind the epoch, which is set with the first probe.
func (t *table) since(at time.Time) time.Duration {
	if t.epoch.IsZero() {
		t.epoch = at.Add(-1) // no probe leaves at 0
		t.walls = []time.Time{t.epoch}
	}
	return at.Sub(t.epoch)
}

// depart notes when r left.
func (t *table) depart(r *record, at time.Time, kernel bool) {
	r.sent, r.kernel = t.since(at), kernel
	tells := func(wall time.Time) bool {
		moved := time.Duration(at.UnixNano()-wall.UnixNano()) - r.sent
		return -clockSet <= moved && moved <= clockSet
	}
	if !tells(t.walls[t.wall]) {
		switch i := slices.IndexFunc(t.walls, tells); {
		case i >= 0: // as after a reading between whose two clocks this thread was put aside
			t.wall = uint8(i)
		case len(t.walls) <= math.MaxUint8:
			t.wall = uint8(len(t.walls))
			t.walls = append(t.walls, at.Add(-r.sent))
		default: // the oldest: by now none of its probes is remembered, unless the clock is set all the time
			t.wall = t.oldestWall
			t.oldestWall++
			t.walls[t.wall] = at.Add(-r.sent)
		}
	}
	r.wall = t.wall
}

// clockSet is how far the wall clock must move against the other for it to have been set.
const clockSet = 10 * time.Microsecond

// departure is when r left, and asked when this program handed it over, which was not after that. The zero time is not at all.
func (t *table) departure(r *record) time.Time {
	if r.sent == 0 {
		return time.Time{}
	}
	return t.walls[r.wall].Add(r.sent)
}

func (t *table) asked(r *record) time.Time {
	return t.departure(r).Add(-time.Duration(r.ahead) * time.Microsecond)
}

// handed notes by how much sooner than it left r was handed over.
func (r *record) handed(ahead time.Duration) {
	r.ahead = uint32(min(max(0, ahead+time.Microsecond-1)/time.Microsecond, math.MaxUint32))
}

// id is what tells a probe that has its number from the others of its flow.
func (r *record) id() uint16 { return idOf(r.n, r.flow.offset, r.flow.space) }

// A flow is the probes of one protocol between two ports, numbered from 1.
type flow struct {
	peer    peer
	src     netip.AddrPort
	next    uint32 // number of the next probe
	offset  uint32 // of its ids
	space   uint32 // how many ids it has
	pending int
	held    int // probes that are remembered, or wait for a number

	// places are the serials of the probes that are remembered, n's at n modulo their number, 0 where there is none. They
	// grow until each id has its own.
	places []uint64

	like *Spec // of the last probe
}

// A peer is where answers come from, or what they quote as the destination. The port is 0
// for what has none.
type peer struct {
	proto  Proto
	number uint8 // Raw
	dst    netip.AddrPort
}

// A wait is the probes of one timeout, in the order they were sent, which is the order
// they are due in.
type wait struct {
	timeout time.Duration
	serials queue.Queue[uint64]
}

// A table holds the probes that an answer may still come for. A probe is in it before it is
// sent.
type table struct {
	records    queue.Queue[record]
	base       uint64 // serial of the front record
	spent      int    // how many of the records are
	old        queue.Queue[aged]
	flows      map[peer][]*flow
	routed     map[peer][]*flow // those with a source route, by each node on it that a quote may have as the destination
	any        []*flow          // those that anybody may answer
	waits      []*wait
	inFlight   int // queued or pending
	epoch      time.Time
	walls      []time.Time // the epoch as the wall clock had it, each time that was set; 256 at most, in a ring
	wall       uint8       // which of them holds now
	oldestWall uint8       // which of them is replaced next
	last       *Spec       // of the record added last
}

// An aged is a record from before base that is still remembered. They are in the order of their serials.
type aged struct {
	serial uint64
	record
}

func newTable() *table {
	return &table{base: 1, flows: make(map[peer][]*flow), routed: make(map[peer][]*flow)}
}

// add accepts a probe and returns its serial.
func (t *table) add(s Spec) uint64 {
	r := record{ttl: s.TTL, attempt: s.Attempt, tag: s.Tag, number: s.Flow}
	s.TTL, s.Attempt, s.Tag, s.Flow = 0, 0, 0, 0
	if r.like, r.flow = t.alike(&s); r.flow != nil {
		r.flow.held++
	}
	t.last = r.like
	t.records.Push(r)
	t.inFlight++
	return t.base + uint64(t.records.Len()) - 1
}

// alike is s, or what equals it and is kept already, then maybe with its flow.
func (t *table) alike(s *Spec) (*Spec, *flow) {
	if t.last != nil && *t.last == *s {
		return t.last, nil
	}
	for _, f := range t.flows[key(s.Proto, s.Number, s.Dst)] {
		if f.like != nil && *f.like == *s {
			return f.like, f
		}
	}
	kept := *s
	return &kept, nil
}

// get returns the record of a serial, nil when it is forgotten or never was. It is
// valid until the next add or forget.
func (t *table) get(serial uint64) *record {
	if serial < t.base {
		return t.getOld(serial)
	}
	if serial-t.base >= uint64(t.records.Len()) {
		return nil
	}
	return t.records.At(int(serial - t.base))
}

func (t *table) getOld(serial uint64) *record {
	lo, hi := 0, t.old.Len()
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch a := t.old.At(mid); {
		case a.serial == serial:
			return &a.record
		case a.serial < serial:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil
}

func key(p Proto, number uint8, dst netip.AddrPort) peer {
	port := dst.Port()
	if p.IsICMP() || p == Raw {
		port = 0
	}
	if p != Raw {
		number = 0
	}
	return peer{p, number, netip.AddrPortFrom(dst.Addr().WithZone(""), port)}
}

// origin is where the probes of a flow come from: a port where there is such a thing in them.
func origin(s *Spec) netip.AddrPort {
	port := s.Src.Port()
	if s.Proto == Raw {
		port = 0
	}
	return netip.AddrPortFrom(s.Src.Addr().WithZone(""), port)
}

// flowOf returns the flow of a probe like s, which it makes where there is none.
func (t *table) flowOf(s *Spec, offset uint32) *flow {
	k, src := key(s.Proto, s.Number, s.Dst), origin(s)
	var f *flow
	for _, g := range t.flows[k] {
		if g.src == src {
			f = g
		}
	}
	if f == nil {
		f = &flow{peer: k, src: src, next: 1, offset: offset, space: idSpace(s.Proto)}
		t.flows[k] = append(t.flows[k], f)
	}
	if s.Any && !slices.Contains(t.any, f) {
		t.any = append(t.any, f)
	}
	if s.Via.IsValid() {
		for a := range stops(s) {
			on := key(s.Proto, s.Number, netip.AddrPortFrom(a, s.Dst.Port()))
			if on != k && !slices.Contains(t.routed[on], f) {
				t.routed[on] = append(t.routed[on], f)
			}
		}
	}
	return f
}

// number gives a queued probe its number in its flow. While all ids are taken or in quarantine it cannot, and
// returns when to try again.
func (t *table) number(serial uint64, offset uint32, now time.Time) (again time.Time, ok bool) {
	r := t.get(serial)
	if r.n != 0 {
		return again, true
	}
	if r.flow == nil {
		r.flow = t.flowOf(r.like, offset)
		r.flow.held++
	}
	f := r.flow
	if f.next > f.last() {
		f.grow(int(f.space)) // numbers begin again, ids and places go on
		f.next = 1
	}
	i := f.place(f.next)
	if len(f.places) == 0 || f.places[i] != 0 && len(f.places) < int(f.space) {
		f.grow(min(max(8, 2*len(f.places)), int(f.space)))
		i = f.place(f.next)
	}
	if f.places[i] != 0 {
		at, ok := t.clear(f, r, t.since(now))
		if !ok {
			return t.epoch.Add(at), false
		}
		i = f.place(f.next)
	}
	f.places[i] = serial
	r.n, f.like = f.next, r.like
	f.next++
	return again, true
}

// clear takes an id for r away from a probe that has been answered, or waited for long enough: from the one whose turn
// it is, or, where the numbers tell them apart, from the first behind it that can do without.
//
// What comes for that one afterwards is nobody's. So that it is not taken for r's, r believes only what
// shows the number.
func (t *table) clear(f *flow, r *record, now time.Duration) (again time.Duration, ok bool) {
	numbered := numbers(r.like)
	for range f.space {
		serial := f.places[f.place(f.next)]
		if serial == 0 {
			return again, true
		}
		had := t.get(serial)
		at := had.rests()
		if numbered {
			at = had.replaceable()
		}
		if had.state == queued {
			at = now + fullPause
		}
		if at <= now {
			if rest := had.rests(); rest > now {
				r.rest = rest
			}
			had.state = spent
			f.held--
			if serial >= t.base {
				t.spent++
			}
			return again, true
		}
		if !numbered {
			return at, false
		}
		if again == 0 || at < again {
			again = at
		}
		if f.next++; f.next > f.last() {
			f.next = 1
		}
	}
	return max(again, now+searchPause), false
}

// searchPause is how long it is not looked again for an id where all were in use: that takes milliseconds.
const searchPause = 50 * time.Millisecond

// replaceable is when r's id may go to a probe that its number tells from r; 0 is at once. Where
// what answered r did not show the number it would not for the other one.
func (r *record) replaceable() time.Duration {
	switch {
	case !numbers(r.like):
		return r.rests()
	case r.state == pending:
		return r.due()
	case r.state == lost || r.proven:
		return 0
	}
	return r.release()
}

// last is the highest number: so many that with 1 after it the ids go on in turn.
func (f *flow) last() uint32 { return (math.MaxUint32 - 1) / f.space * f.space }

// place is where the serial of the probe with that number is.
func (f *flow) place(n uint32) int {
	if len(f.places) == 0 {
		return 0
	}
	return int(n % uint32(len(f.places)))
}

// grow makes n places. Until each id has its own no number is left out.
func (f *flow) grow(n int) {
	was := f.places
	if len(was) == n {
		return
	}
	f.places = make([]uint64, n)
	for k := range min(uint32(len(was)), f.next-1) {
		m := f.next - 1 - k
		f.places[f.place(m)] = was[m%uint32(len(was))]
	}
}

// sent marks a queued probe as on its way.
func (t *table) sent(serial, packet uint64, at time.Time, kernel bool) {
	r := t.get(serial)
	r.state, r.packet = pending, uint32(packet)
	t.depart(r, at, kernel)
	r.flow.pending++
	for _, w := range t.waits {
		if w.timeout == r.like.Timeout {
			t.thin(w)
			w.serials.Push(serial)
			return
		}
	}
	w := &wait{timeout: r.like.Timeout}
	w.serials.Push(serial)
	t.waits = append(t.waits, w)
}

// thin takes out of w what is decided, where that is most of it: one probe that stays unanswered must not
// keep all that were answered after it.
func (t *table) thin(w *wait) {
	n := w.serials.Len()
	if n < crowd || n < 2*t.inFlight {
		return
	}
	w.serials.Keep(func(serial uint64) bool {
		r := t.get(serial)
		return r != nil && r.state == pending
	})
}

// close ends the wait for a probe that is queued or pending.
func (t *table) close(r *record, s state) {
	if r.state == pending {
		r.flow.pending--
	}
	t.inFlight--
	r.state = s
}

// find returns the serial of the live probe of f that has that id, 0 if there is none.
func (f *flow) find(id uint16) uint64 {
	if id == 0 || uint32(id) > f.space {
		return 0
	}
	n := (uint32(id) + f.space - f.offset%f.space) % f.space // modulo space
	if len(f.places) < int(f.space) {
		// The latest that has it is so far behind the next one.
		back := (f.next%f.space + f.space - n - 1 + f.space) % f.space
		if back >= uint32(len(f.places)) || back >= f.next-1 {
			return 0
		}
		n = f.next - 1 - back
	}
	return f.places[f.place(n)]
}

// oldest returns the serial of the probe of f that has been waited for the longest, 0 if there is none.
func (t *table) oldest(f *flow) (serial uint64) {
	left := f.pending
	for s := range f.remembered() {
		if left == 0 {
			break
		}
		if t.get(s).state == pending {
			serial = s
			left--
		}
	}
	return serial
}

// remembered are the serials of the probes of f that are, the latest first.
func (f *flow) remembered() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		i := f.place(f.next)
		for range f.places {
			if i--; i < 0 {
				i = len(f.places) - 1
			}
			if s := f.places[i]; s != 0 && !yield(s) {
				return
			}
		}
	}
}

// newest returns the serial of the probe of f that was numbered last, 0 if there is none.
func (f *flow) newest() uint64 {
	if len(f.places) == 0 || f.next == 1 {
		return 0
	}
	return f.places[f.place(f.next-1)]
}

// expired returns the serial of a pending probe that is due at now, 0 if there is
// none.
func (t *table) expired(now time.Time) uint64 {
	for _, w := range t.waits {
		if r, serial := t.front(w); r != nil && r.due() <= t.since(now) {
			return serial
		}
	}
	return 0
}

// nextDue is when the next probe is due, the zero time if none is waited for.
func (t *table) nextDue() (at time.Time) {
	for _, w := range t.waits {
		if r, _ := t.front(w); r != nil {
			if due := t.epoch.Add(r.due()); at.IsZero() || due.Before(at) {
				at = due
			}
		}
	}
	return at
}

// front drops what is decided from the front of w and returns what is there then.
func (t *table) front(w *wait) (*record, uint64) {
	for w.serials.Len() > 0 {
		serial := *w.serials.At(0)
		if r := t.get(serial); r != nil && r.state == pending {
			return r, serial
		}
		w.serials.Pop()
	}
	return nil, 0
}

// forget drops the probes whose quarantine is over.
func (t *table) forget(at time.Time) {
	if t.records.Len() == 0 && t.old.Len() == 0 {
		return
	}
	now := t.since(at)
	for t.old.Len() > 0 && t.over(&t.old.At(0).record, t.old.At(0).serial, now) {
		t.old.Pop()
	}
	for t.records.Len() > 0 {
		r, serial := t.records.At(0), t.base
		// Where most are spent, the few in front of them must not keep them all.
		crowded := t.spent > max(crowd, t.records.Len()/2)
		switch {
		case r.state == spent:
			t.spent--
		case t.over(r, serial, now):
		case crowded:
			t.old.Push(aged{serial, *r})
		default:
			return
		}
		t.records.Pop()
		t.base++
	}
}

// crowd is how many spent records are not worth moving others for.
const crowd = 1 << 14

// over reports whether r is not to be remembered any longer, and lets go of its id.
func (t *table) over(r *record, serial uint64, now time.Duration) bool {
	if r.state == queued || r.state == pending || r.state != spent && r.rests() > now {
		return false
	}
	if r.state != spent && r.flow != nil {
		if i := r.flow.place(r.n); r.n != 0 && r.flow.places[i] == serial {
			r.flow.places[i] = 0
		}
		r.flow.held--
		t.leave(r.flow)
	}
	return true
}

// mostIdle is how many flows are kept though none of their probes is remembered: their numbers go on where they are asked again.
const mostIdle = 1 << 12

// leave drops f where no probe of it is remembered, and there are many.
func (t *table) leave(f *flow) {
	if f.held > 0 || len(t.flows) <= mostIdle {
		return
	}
	gone := func(g *flow) bool { return g == f }
	drop := func(flows map[peer][]*flow, k peer) {
		if flows[k] = slices.DeleteFunc(flows[k], gone); len(flows[k]) == 0 {
			delete(flows, k)
		}
	}
	drop(t.flows, f.peer)
	for k := range t.routed {
		drop(t.routed, k)
	}
	t.any = slices.DeleteFunc(t.any, gone)
}

// stops are the nodes that a packet of that spec is addressed to on its way, the destination among them: its first
// gateway and all addresses in its source route or routing header.
func stops(s *Spec) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		if !s.Via.IsValid() || !yield(s.Via.WithZone("")) {
			return
		}
		if s.Dst.Addr().Is6() {
			for at := 8; at+16 <= len(s.Options); at += 16 {
				if !yield(netip.AddrFrom16([16]byte([]byte(s.Options[at : at+16])))) {
					return
				}
			}
			return
		}
		for w := wire.WalkOptions([]byte(s.Options)); ; {
			o, ok := w.Next()
			if !ok {
				return
			}
			if t := o.Type(); t != wire.OptLooseRoute && t != wire.OptStrictRoute {
				continue
			}
			for i := 0; ; i++ {
				a, _, ok := o.Route(i)
				if !ok {
					break
				}
				if !yield(a) {
					return
				}
			}
		}
	}
}
