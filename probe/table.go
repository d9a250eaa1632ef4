package probe

import (
	"iter"
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

// LeastInterval is the shortest time between two probes of one flow, for ever,
// that lets every id rest as long as it must when each is waited for that long.
//
// An extended echo has fewer ids than the other kinds: see LeastIntervalOf.
func LeastInterval(timeout time.Duration) time.Duration { return LeastIntervalOf(ICMP, timeout) }

// LeastIntervalOf is LeastInterval for probes of that kind.
func LeastIntervalOf(p Proto, timeout time.Duration) time.Duration {
	n := time.Duration(idSpace(p))
	return (timeout + quarantine + n - 1) / n
}

// A state is where a probe is on its way.
type state uint8

const (
	queued   state = iota // accepted, not sent yet
	pending               // sent, waited for
	answered              // at least once
	lost                  // not waited for any longer
	failed                // did not leave, or not further than this host
)

// A record is one probe, from its Spec to the end of its quarantine.
type record struct {
	spec    Spec
	state   state
	flow    *flow // nil while queued
	n       uint32
	said    uint32 // Timestamp: the originate field
	packet  uint64 // rawsock.Packet.N
	sent    time.Time
	kernel  bool      // sent is the kernel's
	due     time.Time // when it is lost; while queued, when it fails
	release time.Time // when it is forgotten
}

// id is what tells a probe that has its number from the others of its flow.
func (r *record) id() uint16 { return idOf(r.n, r.flow.offset, r.flow.space) }

// A flow is the probes of one protocol between two ports, numbered from 1.
type flow struct {
	peer    peer
	src     netip.AddrPort
	first   uint32 // number of serials' front
	offset  uint32 // of its ids
	space   uint32 // how many ids it has
	serials queue[uint64]
	pending int
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
	flows    map[peer][]*flow
	routed   map[peer][]*flow // those with a source route, by each node on it that a quote may have as the destination
	any      []*flow          // those that anybody may answer
	waits    []*wait
	inFlight int // queued or pending
}

func newTable() *table {
	return &table{base: 1, flows: make(map[peer][]*flow), routed: make(map[peer][]*flow)}
}

// add accepts a probe and returns its serial.
func (t *table) add(s Spec) uint64 {
	t.records.push(record{spec: s})
	t.inFlight++
	return t.base + uint64(t.records.len()) - 1
}

// get returns the record of a serial, nil when it is forgotten or never was. It is
// valid until the next add.
func (t *table) get(serial uint64) *record {
	if serial < t.base || serial-t.base >= uint64(t.records.len()) {
		return nil
	}
	return t.records.at(int(serial - t.base))
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

// number gives a queued probe its number in its flow. It reports false while all ids of
// the flow are taken or in quarantine.
func (t *table) number(serial uint64, offset uint32) bool {
	r := t.get(serial)
	if r.flow != nil {
		return true
	}
	k, src := key(r.spec.Proto, r.spec.Number, r.spec.Dst), origin(&r.spec)
	var f *flow
	for _, g := range t.flows[k] {
		if g.src == src {
			f = g
		}
	}
	if f == nil {
		f = &flow{peer: k, src: src, first: 1, offset: offset, space: idSpace(r.spec.Proto)}
		t.flows[k] = append(t.flows[k], f)
	}
	if r.spec.Any && !slices.Contains(t.any, f) {
		t.any = append(t.any, f)
	}
	if r.spec.Via.IsValid() {
		for a := range stops(&r.spec) {
			on := key(r.spec.Proto, r.spec.Number, netip.AddrPortFrom(a, r.spec.Dst.Port()))
			if on != k && !slices.Contains(t.routed[on], f) {
				t.routed[on] = append(t.routed[on], f)
			}
		}
	}
	if f.serials.len() >= int(f.space) {
		return false
	}
	r.flow, r.n = f, f.first+uint32(f.serials.len())
	f.serials.push(serial)
	return true
}

// sent marks a queued probe as on its way.
func (t *table) sent(serial, packet uint64, at time.Time, kernel bool) {
	r := t.get(serial)
	r.state, r.packet, r.sent, r.kernel = pending, packet, at, kernel
	r.due = at.Add(r.spec.Timeout)
	r.release = r.due.Add(quarantine)
	r.flow.pending++
	for _, w := range t.waits {
		if w.timeout == r.spec.Timeout {
			w.serials.push(serial)
			return
		}
	}
	w := &wait{timeout: r.spec.Timeout}
	w.serials.push(serial)
	t.waits = append(t.waits, w)
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
	space := uint64(f.space)
	if id == 0 || uint64(id) > space {
		return 0
	}
	// n is the first number from f.first on with n-1+offset = id-1 (mod space).
	d := (uint64(id-1) + 2*space - uint64(f.first-1)%space - uint64(f.offset)%space) % space
	if d >= uint64(f.serials.len()) {
		return 0
	}
	return *f.serials.at(int(d))
}

// expired returns the serial of a pending probe that is due at now, 0 if there is
// none.
func (t *table) expired(now time.Time) uint64 {
	for _, w := range t.waits {
		if r, serial := t.front(w); r != nil && !r.due.After(now) {
			return serial
		}
	}
	return 0
}

// nextDue is when the next probe is due, the zero time if none is waited for.
func (t *table) nextDue() (at time.Time) {
	for _, w := range t.waits {
		if r, _ := t.front(w); r != nil && (at.IsZero() || r.due.Before(at)) {
			at = r.due
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
	for t.records.len() > 0 {
		r := t.records.at(0)
		if r.state == queued || r.state == pending || r.release.After(now) {
			return
		}
		if r.flow != nil {
			r.flow.serials.pop()
			r.flow.first++
		}
		t.records.pop()
		t.base++
	}
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
