package probe

import (
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

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

// A record is one probe, from its Spec to the end of its quarantine. There may be hundreds of thousands, so what those of one flow have in
// common is kept once.
type record struct {
	like    *Spec // but for what follows; shared, so nothing in it changes
	attempt uint32
	tag     uint32
	number  uint16 // Spec.Flow
	ttl     uint8
	state   state
	numbers bool   // what answers it should show the number
	proven  bool   // what answered it did
	given   bool   // it is to be given up, once what lies unread has been read
	kernel  bool   // sent is the kernel's
	n       uint32 // in its flow
	said    uint32 // Timestamp: the originate field
	flow    *flow  // nil while queued
	packet  uint64 // rawsock.Packet.N
	sent    time.Time
	ahead   time.Duration // how long before sent this program handed it over
	rest    time.Duration // since table.epoch: when another probe whose id it took would have been forgotten; 0 if it took none
}

// spec is what the algorithm asked for.
func (r *record) spec() Spec {
	s := *r.like
	s.TTL, s.Attempt, s.Tag, s.Flow = r.ttl, r.attempt, r.tag, r.number
	return s
}

// asked is when this program handed r over, which was not after it left.
func (r *record) asked() time.Time { return r.sent.Add(-r.ahead) }

// due is when r, which left, is lost.
func (r *record) due() time.Time { return r.sent.Add(r.like.Timeout) }

// release is when r is forgotten; the zero time is at once.
func (r *record) release() time.Time {
	if r.state == spent || r.sent.IsZero() {
		return time.Time{}
	}
	return r.due().Add(quarantine)
}

// shared reports whether r's id was another's, so that only what shows the number is r's.
func (r *record) shared() bool { return r.rest != 0 }

// rests is when no answer can be taken for that of a probe with r's id any more.
func (t *table) rests(r *record) time.Time {
	if !r.shared() {
		return r.release()
	}
	return later(r.release(), t.epoch.Add(r.rest))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
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
	held    int // probes that are remembered

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
	serials queue[uint64]
}

// A table holds the probes that an answer may still come for. A probe is in it before it is
// sent.
type table struct {
	records  queue[record]
	base     uint64 // serial of the front record
	spent    int    // how many of the records are
	old      queue[aged]
	flows    map[peer][]*flow
	routed   map[peer][]*flow // those with a source route, by each node on it that a quote may have as the destination
	any      []*flow          // those that anybody may answer
	waits    []*wait
	inFlight int // queued or pending
	epoch    time.Time
	last     *Spec // of the record added last
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
	r.like = t.alike(&s)
	t.last = r.like
	t.records.push(r)
	t.inFlight++
	return t.base + uint64(t.records.len()) - 1
}

// alike is s, or what equals it and is kept already.
func (t *table) alike(s *Spec) *Spec {
	if t.last != nil && *t.last == *s {
		return t.last
	}
	for _, f := range t.flows[key(s.Proto, s.Number, s.Dst)] {
		if f.like != nil && *f.like == *s {
			return f.like
		}
	}
	kept := *s
	return &kept
}

// get returns the record of a serial, nil when it is forgotten or never was. It is
// valid until the next add or forget.
func (t *table) get(serial uint64) *record {
	if serial < t.base {
		return t.getOld(serial)
	}
	if serial-t.base >= uint64(t.records.len()) {
		return nil
	}
	return t.records.at(int(serial - t.base))
}

func (t *table) getOld(serial uint64) *record {
	lo, hi := 0, t.old.len()
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch a := t.old.at(mid); {
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
	if r.flow != nil {
		return again, true
	}
	if t.epoch.IsZero() {
		t.epoch = now
	}
	f := t.flowOf(r.like, offset)
	if f.next > f.last() {
		f.grow(int(f.space)) // numbers begin again, ids and places go on
		f.next = 1
	}
	i := f.place(f.next)
	if len(f.places) == 0 || f.places[i] != 0 && len(f.places) < int(f.space) {
		f.grow(min(max(8, 2*len(f.places)), int(f.space)))
		i = f.place(f.next)
	}
	r.numbers = numbers(r.like)
	if f.places[i] != 0 {
		if again, ok = t.clear(f, r, now); !ok {
			return again, false
		}
		i = f.place(f.next)
	}
	f.places[i] = serial
	r.flow, r.n, f.like = f, f.next, r.like
	f.held++
	f.next++
	return again, true
}

// clear takes an id for r away from a probe that has been answered, or waited for long enough: from the one whose turn
// it is, or, where the numbers tell them apart, from the first behind it that can do without.
//
// What comes for that one afterwards is nobody's. So that it is not taken for r's, r believes only what
// shows the number.
func (t *table) clear(f *flow, r *record, now time.Time) (again time.Time, ok bool) {
	for range f.space {
		serial := f.places[f.place(f.next)]
		if serial == 0 {
			return again, true
		}
		had := t.get(serial)
		at := t.rests(had)
		if r.numbers {
			at = t.replaceable(had)
		}
		if had.state == queued {
			at = now.Add(fullPause)
		}
		if !at.After(now) {
			if rest := t.rests(had); rest.After(now) {
				r.rest = rest.Sub(t.epoch)
			}
			had.state = spent
			f.held--
			if serial >= t.base {
				t.spent++
			}
			return again, true
		}
		if !r.numbers {
			return at, false
		}
		if again.IsZero() || at.Before(again) {
			again = at
		}
		if f.next++; f.next > f.last() {
			f.next = 1
		}
	}
	return later(again, now.Add(searchPause)), false
}

// searchPause is how long it is not looked again for an id where all were in use: that takes milliseconds.
const searchPause = 50 * time.Millisecond

// replaceable is when r's id may go to a probe that its number tells from r; the zero time is at once. Where
// what answered r did not show the number it would not for the other one.
func (t *table) replaceable(r *record) time.Time {
	switch {
	case !r.numbers:
		return t.rests(r)
	case r.state == pending:
		return r.due()
	case r.state == lost || r.proven:
		return time.Time{}
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
	r.state, r.packet, r.sent, r.kernel = pending, packet, at, kernel
	r.flow.pending++
	for _, w := range t.waits {
		if w.timeout == r.like.Timeout {
			t.thin(w)
			w.serials.push(serial)
			return
		}
	}
	w := &wait{timeout: r.like.Timeout}
	w.serials.push(serial)
	t.waits = append(t.waits, w)
}

// thin takes out of w what is decided, where that is most of it: one probe that stays unanswered must not
// keep all that were answered after it.
func (t *table) thin(w *wait) {
	n := w.serials.len()
	if n < crowd || n < 2*t.inFlight {
		return
	}
	w.serials.keep(func(serial uint64) bool {
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
		if r, serial := t.front(w); r != nil && !r.due().After(now) {
			return serial
		}
	}
	return 0
}

// nextDue is when the next probe is due, the zero time if none is waited for.
func (t *table) nextDue() (at time.Time) {
	for _, w := range t.waits {
		if r, _ := t.front(w); r != nil && (at.IsZero() || r.due().Before(at)) {
			at = r.due()
		}
	}
	return at
}

// front drops what is decided from the front of w and returns what is there then.
func (t *table) front(w *wait) (*record, uint64) {
	for w.serials.len() > 0 {
		serial := *w.serials.at(0)
		if r := t.get(serial); r != nil && r.state == pending {
			return r, serial
		}
		w.serials.pop()
	}
	return nil, 0
}

// forget drops the probes whose quarantine is over.
func (t *table) forget(now time.Time) {
	for t.old.len() > 0 && t.over(&t.old.at(0).record, t.old.at(0).serial, now) {
		t.old.pop()
	}
	for t.records.len() > 0 {
		r, serial := t.records.at(0), t.base
		// Where most are spent, the few in front of them must not keep them all.
		crowded := t.spent > max(crowd, t.records.len()/2)
		switch {
		case r.state == spent:
			t.spent--
		case t.over(r, serial, now):
		case crowded:
			t.old.push(aged{serial, *r})
		default:
			return
		}
		t.records.pop()
		t.base++
	}
}

// crowd is how many spent records are not worth moving others for.
const crowd = 1 << 14

// over reports whether r is not to be remembered any longer, and lets go of its id.
func (t *table) over(r *record, serial uint64, now time.Time) bool {
	if r.state == queued || r.state == pending || r.state != spent && t.rests(r).After(now) {
		return false
	}
	if r.state != spent && r.flow != nil {
		if i := r.flow.place(r.n); r.flow.places[i] == serial {
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
