package probe

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func spec(proto Proto, src, dst string) Spec {
	return Spec{
		Proto: proto, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst),
		TTL: 1, Timeout: time.Second,
	}
}

func raw(number uint8) Spec {
	s := spec(Raw, "192.0.2.1:0", "198.51.100.9:0")
	s.Number = number
	return s
}

// register adds and sends one probe, as the engine does.
func register(t testing.TB, tb *table, s Spec, offset uint32, at time.Time) uint64 {
	t.Helper()
	serial := tb.add(s)
	if _, ok := tb.number(serial, offset, at); !ok {
		t.Fatalf("probe %d: no id free", serial)
	}
	tb.sent(serial, serial, at, true)
	return serial
}

func TestIDsAreNeverZeroNorAllOnes(t *testing.T) {
	seen := make(map[uint16]bool)
	for n := uint32(1); n <= ids; n++ {
		id := idOf(n, 40000, ids)
		if id == 0 || id == 0xffff || seen[id] {
			t.Fatalf("number %d has id %#x (seen before: %v)", n, id, seen[id])
		}
		seen[id] = true
	}
}

// T02: the same id in another protocol, family, port or destination is another
// probe.
func TestFlowsDoNotShareIDs(t *testing.T) {
	tb := newTable()
	specs := []Spec{
		spec(UDP, "192.0.2.1:40000", "198.51.100.9:33434"),
		spec(UDP, "192.0.2.1:40001", "198.51.100.9:33434"),
		spec(UDP, "192.0.2.1:40000", "198.51.100.9:33435"),
		spec(UDP, "192.0.2.1:40000", "198.51.100.10:33434"),
		spec(TCP, "192.0.2.1:40000", "198.51.100.9:33434"),
		spec(ICMP, "192.0.2.1:40000", "198.51.100.9:0"),
		spec(UDPLite, "192.0.2.1:40000", "198.51.100.9:33434"),
		spec(DCCP, "192.0.2.1:40000", "198.51.100.9:33434"),
		spec(Timestamp, "192.0.2.1:40000", "198.51.100.9:0"),
		spec(Mask, "192.0.2.1:40000", "198.51.100.9:0"),
		spec(ExtEcho, "192.0.2.1:40000", "198.51.100.9:0"),
		spec(NodeInfo, "[2001:db8::1]:40000", "[2001:db8::9]:0"),
		raw(47), raw(50),
		spec(UDP, "[2001:db8::1]:40000", "[2001:db8::9]:33434"),
	}
	for i, s := range specs {
		if serial := register(t, tb, s, 0, epoch); serial != uint64(i+1) {
			t.Errorf("serial %d, want %d", serial, i+1)
		}
	}
	for i, s := range specs {
		for _, f := range tb.flows[key(s.Proto, s.Number, s.Dst)] {
			if f.src != origin(&s) {
				continue
			}
			if got := f.find(1); got != uint64(i+1) {
				t.Errorf("%v %v to %v: id 1 is probe %d, want %d", s.Proto, s.Src, s.Dst, got, i+1)
			}
			if got := f.find(2); got != 0 {
				t.Errorf("id 2 is probe %d before it was sent", got)
			}
		}
	}
}

// An ICMP flow is told apart by its identifier; the checksum that its Dst port stands for
// does not come back in an echo reply.
func TestICMPFlowsShareIDsWhateverTheChecksum(t *testing.T) {
	tb := newTable()
	a := register(t, tb, spec(ICMP, "192.0.2.1:77", "198.51.100.9:1"), 0, epoch)
	b := register(t, tb, spec(ICMP, "192.0.2.1:77", "198.51.100.9:2"), 0, epoch)
	if n, m := tb.get(a).n, tb.get(b).n; n == m {
		t.Errorf("both have number %d", n)
	}
}

// T10: an id is not used again before its probe's timeout and 60 s are over.
func TestIDQuarantine(t *testing.T) {
	tb := newTable()
	s := spec(ICMP, "192.0.2.1:77", "198.51.100.9:0")
	for range ids {
		register(t, tb, s, 0, epoch)
	}
	for {
		serial := tb.expired(epoch.Add(time.Second))
		if serial == 0 {
			break
		}
		tb.close(tb.get(serial), lost)
	}
	over := epoch.Add(time.Second + quarantine)
	extra := tb.add(s)
	tb.forget(over.Add(-1))
	again, ok := tb.number(extra, 0, over.Add(-1))
	if ok {
		t.Fatal("an id was given out again within its quarantine")
	}
	if !again.Equal(over) {
		t.Errorf("to be tried again at %v, want %v", again, over)
	}
	tb.forget(over)
	if _, ok := tb.number(extra, 0, over); !ok {
		t.Fatal("no id is free after the quarantine")
	}
	tb.sent(extra, extra, over, true)
	f := tb.get(extra).flow
	if got := f.find(1); got != extra {
		t.Errorf("id 1 is probe %d, want %d", got, extra)
	}
	if got := f.find(2); got != 0 {
		t.Errorf("id 2 is probe %d, forgotten before", got)
	}
	if tb.get(1) != nil {
		t.Error("probe 1 is still remembered")
	}
}

func TestExpiryFollowsEachTimeout(t *testing.T) {
	tb := newTable()
	slow, fast := spec(UDP, "192.0.2.1:1", "198.51.100.9:1"), spec(UDP, "192.0.2.1:1", "198.51.100.9:1")
	slow.Timeout, fast.Timeout = 5*time.Second, time.Second
	a := register(t, tb, slow, 0, epoch)
	b := register(t, tb, fast, 0, epoch.Add(time.Second))
	c := register(t, tb, fast, 0, epoch.Add(2*time.Second))
	tb.close(tb.get(b), answered)

	if got, want := tb.nextDue(), epoch.Add(3*time.Second); !got.Equal(want) {
		t.Errorf("next due %v, want %v", got, want)
	}
	if got := tb.expired(epoch.Add(3*time.Second - 1)); got != 0 {
		t.Errorf("probe %d expired early", got)
	}
	if got := tb.expired(epoch.Add(3 * time.Second)); got != c {
		t.Errorf("expired: probe %d, want %d", got, c)
	}
	tb.close(tb.get(c), lost)
	if got := tb.expired(epoch.Add(5 * time.Second)); got != a {
		t.Errorf("expired: probe %d, want %d", got, a)
	}
	tb.close(tb.get(a), lost)
	if tb.inFlight != 0 || !tb.nextDue().IsZero() {
		t.Errorf("%d in flight, next due %v, after all are decided", tb.inFlight, tb.nextDue())
	}
}

func TestPace(t *testing.T) {
	p := newPace(Limits{Rate: 10, Burst: 3}, epoch)
	if got := p.room(epoch); got != 3 {
		t.Fatalf("room %d at the start, want the burst of 3", got)
	}
	p.take(3)
	if got := p.room(epoch.Add(99 * time.Millisecond)); got != 0 {
		t.Errorf("room %d before a tenth of a second, want 0", got)
	}
	next := p.next()
	if want := epoch.Add(100 * time.Millisecond); next.Before(want) || next.Sub(want) > time.Microsecond {
		t.Errorf("next %v, want %v", next, want)
	}
	if got := p.room(next); got != 1 {
		t.Errorf("room %d when it was promised, want 1", got)
	}
	if got := p.room(epoch.Add(time.Hour)); got != 3 {
		t.Errorf("room %d after an hour, want the burst of 3", got)
	}
	if got := p.room(epoch); got != 3 {
		t.Errorf("room %d when the clock stood still, want 3", got)
	}
	// What left later than it was taken: nothing is earned in between, and what was earned while it waited is no
	// second burst.
	late := newPace(Limits{Rate: 10, Burst: 3, Strict: true}, epoch)
	late.take(3)
	if n := late.room(epoch.Add(time.Minute)); n != 3 {
		t.Errorf("room %d after a minute, want 3", n)
	}
	late.left(3, epoch.Add(2*time.Minute))
	for _, tt := range []struct {
		at   time.Duration
		want int
	}{{2 * time.Minute, 0}, {2*time.Minute + 99*time.Millisecond, 0}, {2*time.Minute + 100*time.Millisecond, 1}} {
		if n := late.room(epoch.Add(tt.at)); n != tt.want {
			t.Errorf("room %d at %v, behind a burst that left at 2 minutes, want %d", n, tt.at, tt.want)
		}
	}

	// Where the rate is not strict the time that sending takes is earned too: the run comes to its rate.
	run, sent := newPace(Limits{Rate: 1000, Burst: 20}, epoch), 0
	for now := epoch; now.Before(epoch.Add(10 * time.Second)); {
		n := run.room(now)
		run.take(n)
		sent += n
		now = now.Add(3 * time.Millisecond) // under way
		run.left(n, now)
	}
	if sent < 9980 || sent > 10020 {
		t.Errorf("%d sent in 10 s at 1000 a second", sent)
	}

	unlimited := newPace(Limits{}, epoch)
	if got := unlimited.room(epoch); got < 1<<30 {
		t.Errorf("room %d without a rate", got)
	}
}

// Of a run over ever more destinations no more is kept than of those whose probes are remembered, and some.
func TestFlowsAreLetGo(t *testing.T) {
	tb, now := newTable(), epoch
	for i := range 3 * mostIdle {
		dst := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		serial := tb.add(Spec{Proto: UDP, Src: netip.MustParseAddrPort("198.51.100.2:40000"), Dst: netip.AddrPortFrom(dst, 33434), TTL: 9, Size: 60, Timeout: time.Second, Any: i%100 == 0})
		if _, ok := tb.number(serial, 0, now); !ok {
			t.Fatal("no id")
		}
		tb.sent(serial, serial, now, true)
		tb.close(tb.get(serial), answered)
	}
	tb.forget(now.Add(Remembered(time.Second)))
	if n := len(tb.flows); n > mostIdle {
		t.Errorf("%d flows are kept, want %d", n, mostIdle)
	}
	if n := len(tb.any); n > mostIdle/50 {
		t.Errorf("%d flows are kept for what anybody answers", n)
	}
}

// T53: the time of day at which a probe left is what the wall clock said then, whether or not that has been set since; what is
// waited for goes by the other clock.
func TestDepartureKeepsTheTimeOfDay(t *testing.T) {
	tb := newTable()
	first := time.Now()
	add := func(at time.Time) *record {
		return tb.get(register(t, tb, spec(UDP, "192.0.2.1:40000", "198.51.100.9:33434"), 0, at))
	}
	times := []time.Time{first, first.Add(time.Second), wallSet(first.Add(2*time.Second), time.Hour), wallSet(first.Add(3*time.Second), -time.Hour)}
	var left []record
	for _, at := range times {
		left = append(left, *add(at))
	}
	for i, at := range times {
		r := &left[i]
		if got := tb.departure(r); !got.Round(0).Equal(at.Round(0)) || got.Sub(first) != at.Sub(first) {
			t.Errorf("probe %d left at %v, %v behind the first, want %v, %v", i, got.Round(0), got.Sub(first), at.Round(0), at.Sub(first))
		}
		if want := at.Add(r.like.Timeout).Sub(tb.epoch); r.due() != want {
			t.Errorf("probe %d is due %v behind the epoch, want %v", i, r.due(), want)
		}
	}
	for i := range 1000 { // it is set again and again, and every other time was a glitch
		at := wallSet(first.Add(time.Duration(i)*time.Second), time.Duration(1+i/2)*time.Minute)
		if i%2 == 1 {
			at = first.Add(time.Duration(i) * time.Second)
		}
		if got := tb.departure(add(at)).Round(0); got.Sub(at.Round(0)).Abs() > clockSet {
			t.Fatalf("set %d times: left at %v, want %v", i, got, at.Round(0))
		}
	}
	if len(tb.walls) > 1<<8 {
		t.Errorf("%d epochs", len(tb.walls))
	}
}

// wallSet is t had the wall clock been set by d, whole seconds, meanwhile: time.Time has both clocks, the seconds of one from bit 30 on.
func wallSet(t time.Time, d time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(d/time.Second) << 30
	return t
}

// There may be millions of them.
func TestRecordIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(record{}); size > 64 {
		t.Errorf("a record takes %d bytes, want 64 at most", size)
	}
}
