package probe

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// numbered is a request whose payload has room for its number.
func numbered() Spec {
	s := spec(ICMP, "192.0.2.1:77", "198.51.100.9:0")
	s.Size = 28 + ownBytes
	return s
}

// fill sends as many probes as s's flow has ids.
func fill(t *testing.T, tb *table, s Spec) {
	t.Helper()
	n, _ := IDs(&s)
	for range n {
		register(t, tb, s, 0, epoch)
	}
}

func (t *table) settle(serial uint64, s state, proven bool) {
	r := t.get(serial)
	t.close(r, s)
	r.proven = proven
}

// Where the number tells probes apart an id is free when its probe is lost, or answered by what shows the number.
func TestIDsGoEarlyToNumberedProbes(t *testing.T) {
	tb, s := newTable(), numbered()
	fill(t, tb, s)
	tb.settle(2, answered, false) // by a short quote
	tb.settle(3, answered, true)
	tb.settle(5, lost, false)
	for _, want := range []uint16{3, 5} {
		serial := register(t, tb, s, 0, epoch)
		r := tb.get(serial)
		if r.id() != want || r.flow.find(want) != serial || !r.shared() {
			t.Errorf("probe %d: id %d, shared %v; want that of %d", serial, r.id(), r.shared(), want)
		}
	}
	extra := tb.add(s)
	again, ok := tb.number(extra, 0, epoch)
	if want := epoch.Add(s.Timeout); ok || !again.Equal(want) {
		t.Errorf("numbered %v, to be tried again at %v; want when the first is lost, %v", ok, again, want)
	}
	f := tb.get(1).flow
	for id, want := range map[uint16]uint64{1: 1, 2: 2, 4: 4, 3: ids + 1, 5: ids + 2, 6: 6} {
		if got := f.find(id); got != want {
			t.Errorf("id %d is probe %d, want %d", id, got, want)
		}
	}

	// What is not numbered waits for its turn.
	bare := s
	bare.Size = 28 + ownBytes - 1
	tb = newTable()
	fill(t, tb, bare)
	tb.settle(1, answered, true)
	again, ok = tb.number(tb.add(bare), 0, epoch)
	if want := epoch.Add(bare.Timeout + quarantine); ok || !again.Equal(want) {
		t.Errorf("numbered %v, to be tried again at %v; want no sooner than %v", ok, again, want)
	}
	// Nor does a numbered one take the id of such.
	again, ok = tb.number(tb.add(s), 0, epoch)
	if want := epoch.Add(bare.Timeout); ok || again.Before(want) {
		t.Errorf("numbered %v, to be tried again at %v", ok, again)
	}
}

// sharing is an engine whose ids are all in use, and the serial of a probe that has the id of the first.
func sharing(t *testing.T, s Spec, header bool) (e *engine, serial uint64) {
	t.Helper()
	e = &engine{caps: rawsock.Caps{Header: header, Token: testToken}, table: newTable()}
	e.codec.token = testToken
	for range ids {
		register(t, e.table, s, e.codec.firstID(&s), epoch)
	}
	e.table.settle(1, answered, true)
	return e, register(t, e.table, s, e.codec.firstID(&s), epoch)
}

// T10: what comes for a probe whose id has gone to another is not taken for the other's.
func TestSharedIDsTakeOnlyTheirOwnAnswers(t *testing.T) {
	for _, s := range kinds {
		if s.Size = 120; s.Content != OwnContent {
			s.Size = 0
		}
		if !numbers(&s) {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			s.Timeout = time.Second
			e, serial := sharing(t, s, true)

			old, own := encode(t, s, 1), encode(t, s, ids+1)
			head := len(own.Header())
			e.matched(t, quoting(own, 1500), ours, serial, Strict)
			e.matched(t, quoting(old, 1500), unmatched, 0, NoMatch)
			at := layouts[s.Content]
			short := []int{head + 8, head + 8 + at.token + 4, head + 8 + at.number + 3}
			if s.Proto == Raw {
				short = []int{head + 8, head + ownBytes - 1}
			}
			for _, keep := range short {
				e.matched(t, quoting(old, keep), unmatched, 0, NoMatch)
				e.matched(t, quoting(own, keep), unmatched, 0, NoMatch)
				e.matched(t, quoting(encode(t, s, 2), keep), ours, 2, Strict) // whose id is its own
			}

			back := func(p wire.IP, keep int) []byte {
				l4 := p.Transport()
				switch s.Proto {
				case ICMP:
					return echoReply(s, l4, keep)
				case UDP:
					return wire.AppendUDP(nil, s.Dst, s.Src, l4[8:], 0)
				case UDPLite:
					return wire.AppendUDPLite(nil, s.Dst, s.Src, l4[8:], 0)
				default:
					return l4
				}
			}
			e.matched(t, reply(s, s.Dst.Addr(), back(own, 100)), ours, serial, Strict)
			e.matched(t, reply(s, s.Dst.Addr(), back(old, 100)), unmatched, 0, NoMatch)
			if s.Proto == ICMP { // cut short, so that it shows no number
				e.matched(t, reply(s, s.Dst.Addr(), back(own, ownBytes-1)), unmatched, 0, NoMatch)
			}
		})
	}
}

// echoReply is the answer to an echo request, with so much of its payload at most.
func echoReply(s Spec, sent []byte, keep int) []byte {
	typ := uint8(wire.EchoReply4)
	if s.Dst.Addr().Is6() {
		typ = wire.EchoReply6
	}
	return wire.AppendEcho(nil, s.Dst.Addr(), s.Src.Addr(), typ, s.Src.Port(), binary.BigEndian.Uint16(sent[6:]), sent[8:min(len(sent), 8+keep)], 0)
}

// Nor is it where a probe had the id in between that never left.
func TestSharedIDsPastProbesThatFailed(t *testing.T) {
	s := kinds[1]
	s.Timeout = time.Second
	e := &engine{caps: rawsock.Caps{Header: true, Token: testToken}, table: newTable()}
	e.codec.token = testToken
	for range ids {
		register(t, e.table, s, e.codec.firstID(&s), epoch)
	}
	for serial := uint64(1); serial <= ids; serial++ {
		e.table.settle(serial, answered, true)
	}
	unsent := e.table.add(s)
	e.table.number(unsent, e.codec.firstID(&s), epoch)
	e.table.close(e.table.get(unsent), failed)
	e.table.forget(epoch.Add(30 * time.Second))
	for range ids - 1 {
		e.table.settle(register(t, e.table, s, e.codec.firstID(&s), epoch.Add(30*time.Second)), answered, true)
	}
	serial := register(t, e.table, s, e.codec.firstID(&s), epoch.Add(30*time.Second))
	if got := e.table.get(serial).id(); got != 1 {
		t.Fatalf("id %d, want 1", got)
	}
	old := encode(t, s, 1)
	e.matched(t, quoting(old, len(old.Header())+8), unmatched, 0, NoMatch)
}

// A datagram that repeats the payload of a probe that is forgotten is not the answer to the one that is waited for.
func TestForgottenDatagramIsNobodys(t *testing.T) {
	s := kinds[0]
	e := asked(t, s)
	e.table.close(e.table.get(1), lost)
	e.table.close(e.table.get(2), lost)
	e.matched(t, reply(s, s.Dst.Addr(), wire.AppendUDP(nil, s.Dst, s.Src, encode(t, s, ids+1).Transport()[8:], 0)), unmatched, 0, NoMatch)
}

// Numbers begin again after the highest, and ids go on as if they did not.
func TestNumbersBeginAgain(t *testing.T) {
	for _, s := range []Spec{numbered(), spec(ExtEcho, "192.0.2.1:77", "198.51.100.9:0")} {
		tb := newTable()
		f := tb.flowOf(&s, 3)
		f.next = f.last() - 1
		was := idOf(f.next-1, 3, f.space)
		for range 5 {
			serial := register(t, tb, s, 3, epoch)
			r := tb.get(serial)
			if r.n == 0 || r.id() != was%uint16(f.space)+1 || f.find(r.id()) != serial {
				t.Errorf("%v: number %d has id %d after %d, and that is probe %d, want %d", s.Proto, r.n, r.id(), was, f.find(r.id()), serial)
			}
			was = r.id()
			for k := uint64(1); k <= serial; k++ {
				if r := tb.get(k); f.find(r.id()) != k {
					t.Errorf("%v: id %d is probe %d, want %d", s.Proto, r.id(), f.find(r.id()), k)
				}
			}
		}
		if f.last() > math.MaxUint32-1 || f.last()%f.space != 0 || f.last() < math.MaxUint32-2*f.space {
			t.Errorf("%v: highest number %d", s.Proto, f.last())
		}
	}
}

// Whatever becomes of the probes of a small flow, an id is never two live probes', nor another's before it may be.
func TestIDsWhateverComes(t *testing.T) {
	const space = 24
	for seed := range uint64(300) {
		chance := rand.New(rand.NewPCG(seed, 1))
		tb, now := newTable(), epoch
		offset := uint32(chance.IntN(space))
		mixed := chance.IntN(3) == 0
		s := numbered()
		f := tb.flowOf(&s, offset)
		f.space = space
		if chance.IntN(4) == 0 {
			f.next = f.last() - uint32(chance.IntN(60)) // as if it had been long under way
			f.grow(space)
		}
		holds := make(map[uint16]uint64) // by id
		var live []uint64
		for range 400 {
			now = now.Add(time.Duration(chance.IntN(2000)) * time.Millisecond)
			for serial := tb.expired(now); serial != 0; serial = tb.expired(now) {
				tb.close(tb.get(serial), lost)
			}
			tb.forget(now)
			live = slices.DeleteFunc(live, func(serial uint64) bool { return tb.get(serial) == nil })
			s.Size = 28 + ownBytes
			if mixed && chance.IntN(2) == 0 {
				s.Size = 28
			}
			before := make(map[uint16]record)
			for id := uint16(1); id <= space; id++ {
				if serial := f.find(id); serial != 0 {
					before[id] = *tb.get(serial)
				}
			}
			serial := tb.add(s)
			if again, ok := tb.number(serial, offset, now); !ok {
				if !again.After(now) {
					t.Fatalf("seed %d: to be tried again at %v, now is %v", seed, again, now)
				}
				tb.settle(serial, failed, false)
			} else {
				r := tb.get(serial)
				if had, taken := before[r.id()]; taken && (had.state == pending || had.state == queued ||
					had.rests() > tb.since(now) && !(r.shared() && numbers(r.like) && numbers(had.like) && (had.proven || had.state == lost))) {
					t.Fatalf("seed %d: probe %d took the id of %+v", seed, serial, had)
				}
				holds[r.id()] = serial
				tb.sent(serial, serial, now, true)
				live = append(live, serial)
			}
			for range chance.IntN(3) {
				if len(live) == 0 {
					break
				}
				serial := live[chance.IntN(len(live))]
				if r := tb.get(serial); r.state == pending {
					tb.settle(serial, answered, chance.IntN(3) > 0)
				}
			}
			for id, serial := range holds {
				want := serial
				if r := tb.get(serial); r == nil {
					want = 0
				}
				if got := f.find(id); got != want {
					t.Fatalf("seed %d: id %d is probe %d, want %d", seed, id, got, want)
				}
			}
			for _, serial := range live {
				if r := tb.get(serial); r.state != spent && f.find(r.id()) != serial {
					t.Fatalf("seed %d: probe %d is not found by its id %d", seed, serial, r.id())
				}
			}
		}
	}
}

// A probe that stays unanswered does not keep all that were answered after it.
func TestMemoryOfAFloodIsBounded(t *testing.T) {
	tb, s := newTable(), numbered()
	s.Timeout = time.Hour
	silent := []uint64{register(t, tb, s, 0, epoch)}
	for k := range 5 * ids {
		if k == 3*ids {
			silent = append(silent, register(t, tb, s, 0, epoch))
		}
		tb.forget(epoch)
		tb.settle(register(t, tb, s, 0, epoch), answered, true)
	}
	if n := tb.records.Len() + tb.old.Len(); n > 3*ids {
		t.Errorf("%d records for %d ids", n, ids)
	}
	if n := tb.waits[0].serials.Len(); n > 2*ids {
		t.Errorf("%d serials are waited for, want 2", n)
	}
	for _, serial := range silent {
		r := tb.get(serial)
		if r == nil || r.state != pending || r.flow.find(r.id()) != serial {
			t.Errorf("probe %d is not waited for any longer: %+v", serial, r)
		}
		tb.close(r, lost)
	}
	over := epoch.Add(s.Timeout + quarantine)
	if tb.forget(over); tb.old.Len()+tb.records.Len() != 0 {
		t.Errorf("%d records when all is over", tb.old.Len()+tb.records.Len())
	}
}

// Late send times find their packets whatever did not leave in between.
func TestLateStampsPastProbesThatFailed(t *testing.T) {
	e := asked(t, kinds[0])
	e.table = newTable()
	for i, n := range []uint64{0, math.MaxUint64, 1, 2} {
		serial := e.table.add(kinds[0])
		if n == math.MaxUint64 {
			e.table.close(e.table.get(serial), failed)
			continue
		}
		e.table.number(serial, 0, epoch)
		e.table.sent(serial, n, epoch, false)
		e.left[n%departed] = serial
		if r := e.bySendNumber(n); r != e.table.get(uint64(i+1)) {
			t.Errorf("packet %d: %+v, want probe %d", n, r, i+1)
		}
	}
	if r := e.bySendNumber(0); r != e.table.get(1) {
		t.Errorf("packet 0: %+v, want probe 1", r)
	}
	for _, n := range []uint64{3, departed, departed + 1} {
		if r := e.bySendNumber(n); r != nil {
			t.Errorf("packet %d, which never left: %+v", n, r)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	s := kinds[1]
	s.Timeout = time.Second
	e := &engine{caps: rawsock.Caps{Header: true, Token: testToken}, table: newTable()}
	e.codec.token = testToken
	for range ids {
		serial := e.table.add(s)
		e.table.number(serial, e.codec.firstID(&s), epoch)
		e.table.sent(serial, serial, epoch, true)
	}
	p := encode(b, s, 30000)
	for name, r := range map[string]*rawsock.Reply{
		"reply": reply(s, s.Dst.Addr(), echoReply(s, p.Transport(), 1500)), "quote": quoting(p, 1500),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var f found
				if e.match(r, &f) != ours || f.serial != 30000 {
					b.Fatal(f)
				}
			}
		})
	}
}

// The same without quoted headers: a quote that shows no number may be that of whoever had the id before.
func TestSharedIDsAndRebuiltQuotes(t *testing.T) {
	for _, s := range kinds {
		if s.Size = 120; s.Content != OwnContent {
			s.Size = 0
		}
		if s.Proto != UDP || !numbers(&s) {
			continue
		}
		t.Run(s.name(), func(t *testing.T) {
			s.Timeout = time.Second
			e, serial := sharing(t, s, false)
			for other := uint64(2); other <= ids; other++ { // as if never sent
				e.table.close(e.table.get(other), failed)
			}
			own := encode(t, s, ids+1).Transport()[8:]
			e.matched(t, rebuilt(s, nil), ambiguous, 0, FlowOnly)
			shown := layouts[s.Content].number + 4
			e.matched(t, rebuilt(s, own[:shown-1]), ambiguous, 0, FlowOnly)
			e.matched(t, rebuilt(s, append(slices.Clone(own[:shown-4]), make([]byte, 50)...)), ambiguous, 0, FlowOnly) // zeros are no number
			e.matched(t, rebuilt(s, own[:shown]), ours, serial, Strict)
			e.matched(t, rebuilt(s, encode(t, s, 1).Transport()[8:]), unmatched, 0, NoMatch)
		})
	}
}
