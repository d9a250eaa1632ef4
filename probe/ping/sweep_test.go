package ping_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/probe/ping"
	"gtrace/rawsock"
)

// A swept is a sweep across a simulated path of two routers: its network, and what it tells.
type swept struct {
	probe.Algorithm
	cfg          simnet.Config
	c            ping.Config
	sizes        probe.Sweep
	v6           bool
	host, target *simnet.Node
	links        []*simnet.Link     // to the first router, to the second, to the target
	each         func(n, bytes int) // before the n-th packet leaves, from 1
	conn         *simnet.Conn
	id           uint16 // port or identifier, which the order of sizes follows from; 0: any

	n   int
	got []probe.Swept
	end probe.Finished
}

func sweeping(v6 bool) *swept {
	s := &swept{v6: v6, sizes: probe.Sweep{From: 84, To: 1500, Step: 45, DF: true},
		c: ping.Config{TTL: 64, Interval: 100 * time.Millisecond, Timeout: time.Second}}
	s.host = simnet.Host("10.0.0.1", "fd00::1")
	r1, r2 := simnet.Router("10.0.1.1", "fd00:1::1"), simnet.Router("10.0.2.1", "fd00:2::1")
	s.target = simnet.Host("192.0.2.9", "2001:db8::9")
	s.links = simnet.Path(s.host, r1, r2, s.target)
	if v6 {
		s.sizes.From = 104
	}
	return s
}

// Step is the sweep's.
func (s *swept) Step(in probe.Input, out *probe.Output) {
	s.Algorithm.Step(in, out)
	for i := range out.Send {
		if s.n++; s.each != nil {
			s.each(s.n, out.Send[i].Size)
		}
	}
}

func (s *swept) Emit(e probe.Event) error {
	switch e := e.(type) {
	case probe.Swept:
		s.got = append(s.got, e)
	case probe.Finished:
		s.end = e
	}
	return nil
}

// run does it and returns what is told, which is told once, before the end.
func (s *swept) run(t *testing.T) probe.Swept {
	t.Helper()
	src, dst, proto := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.9"), wire.ProtoICMP
	if s.v6 {
		src, dst, proto = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("2001:db8::9"), wire.ProtoICMPv6
	}
	s.conn = simnet.New(s.cfg, s.host)
	port := uint16(0)
	if s.c.Proto == probe.UDP {
		proto, port = wire.ProtoUDP, 33434
	}
	id, err := s.conn.Reserve(src, uint8(proto), s.id)
	if err != nil {
		t.Fatal(err)
	}
	s.c.Src, s.c.Dst = netip.AddrPortFrom(src, id), netip.AddrPortFrom(dst, port)
	s.Algorithm, err = ping.NewSweep(s.c, s.sizes)
	if err != nil {
		t.Fatal(err)
	}
	if err := probe.Run(context.Background(), s.conn, s, probe.Limits{}, s); err != nil && s.end.Verdict != probe.Interrupted {
		t.Fatal(err)
	}
	if f := s.conn.Faults(); len(f) > 0 {
		t.Fatal(f)
	}
	if len(s.got) != 1 || s.end.Verdict == "" {
		t.Fatalf("%d results and the end %+v, want one of each", len(s.got), s.end)
	}
	return s.got[0]
}

// limits is what a result comes to, in short.
func limits(r probe.Swept) string {
	s := fmt.Sprintf("%d answered, %d not", r.Answered, r.Unanswered)
	if r.Resumed > 0 {
		s += fmt.Sprintf(", %d again", r.Resumed)
	}
	switch o := r.Because; {
	case r.Unanswered == 0:
	case o == nil:
		s += ", silence"
	case o.Status == probe.Failed:
		s += ", " + o.Errno
	default:
		s += fmt.Sprintf(", %v says %d", o.From, o.MTU)
	}
	if !r.Settled {
		s += ", not settled"
	}
	return s
}

func TestSweep(t *testing.T) {
	hole := func(s *swept) { s.links[1].MTU, s.links[1].BlackHole = 1400, true }
	for _, tt := range []struct {
		name     string
		change   func(*swept)
		want, v6 string // "": as want
		verdict  probe.Verdict
		most     int // probes
	}{
		{"all sizes are answered", func(s *swept) {}, "1500 answered, 0 not", "", probe.AnsweredIt, 33},
		{"a router says what fits", func(s *swept) { s.links[1].MTU = 1400 }, "1400 answered, 1401 not, 10.0.1.1 says 1400", "1400 answered, 1401 not, fd00:1::1 says 1400", probe.AnsweredIt, 35},
		{"the second of two does", func(s *swept) { s.links[1].MTU, s.links[2].MTU = 1400, 1280 }, "1280 answered, 1281 not, 10.0.2.1 says 1280", "1280 answered, 1281 not, fd00:2::1 says 1280", probe.AnsweredIt, 35},
		{"silence", hole, "1400 answered, 1401 not, silence", "", probe.AnsweredIt, 150},
		{"the device", func(s *swept) { s.links[0].MTU = 1300 }, "1300 answered, 1301 not, EMSGSIZE", "", probe.AnsweredIt, 34},
		{"the device, more than once", func(s *swept) { s.links[0].MTU, s.c.Count = 1300, 3 }, "1300 answered, 1301 not, EMSGSIZE", "", probe.AnsweredIt, 100},
		{"not even the smallest leaves", func(s *swept) { s.links[0].MTU, s.c.Count = 80, 1<<31-1 }, "0 answered, 84 not, EMSGSIZE", "0 answered, 104 not, EMSGSIZE", probe.Errored, 1},
		{"not even the smallest passes", func(s *swept) { s.sizes.From, s.links[1].MTU = 1450, 1400 }, "0 answered, 1450 not, 10.0.1.1 says 1400", "0 answered, 1450 not, fd00:1::1 says 1400", probe.Blocked, 3},
		{"nobody answers", func(s *swept) { s.target.Silent = true }, "0 answered, 84 not, silence, not settled", "0 answered, 104 not, silence, not settled", probe.Silent, 35},
		{"nobody answers, and the device does not take all", func(s *swept) { s.target.Silent, s.links[0].MTU = true, 1300 }, "0 answered, 84 not, silence, not settled", "0 answered, 104 not, silence, not settled", probe.Silent, 35},
		{"each size twice", func(s *swept) { s.c.Count = 2 }, "1500 answered, 0 not", "", probe.AnsweredIt, 66},
		{"every size, and a limit between none", func(s *swept) {
			s.sizes = probe.Sweep{From: 1390, To: 1410, Step: 1, DF: true}
			hole(s)
		}, "1400 answered, 1401 not, silence", "", probe.AnsweredIt, 50},
		{"UDP", func(s *swept) { s.c.Proto, s.links[1].MTU = probe.UDP, 1400 }, "1400 answered, 1401 not, 10.0.1.1 says 1400", "1400 answered, 1401 not, fd00:1::1 says 1400", probe.AnsweredIt, 35},
		{"UDP, silence", func(s *swept) { s.c.Proto = probe.UDP; hole(s) }, "1400 answered, 1401 not, silence", "", probe.AnsweredIt, 150},
		{"an answer that takes longer than the interval", func(s *swept) {
			s.links[2].Out.Delay = 300 * time.Millisecond
			hole(s)
		}, "1400 answered, 1401 not, silence", "", probe.AnsweredIt, 150},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %v", tt.name, v6), func(t *testing.T) {
				s := sweeping(v6)
				tt.change(s)
				want := tt.want
				if v6 && tt.v6 != "" {
					want = tt.v6
				}
				r := s.run(t)
				if got := limits(r); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				if mtu := s.links[0].MTU; mtu > 0 && r.Sent > mtu || r.Sent < r.Answered {
					t.Errorf("%d bytes were sent of %d that the device takes, and %d are answered", r.Sent, mtu, r.Answered)
				}
				if s.n > tt.most || s.end.Verdict != tt.verdict || !s.end.Complete {
					t.Errorf("%d probes and %+v, want no more than %d and %q", s.n, s.end, tt.most, tt.verdict)
				}
			})
		}
	}
}

// TestSweepFragments: where packets may be fragmented a router's MTU is no limit over IPv4.
func TestSweepFragments(t *testing.T) {
	s := sweeping(false)
	s.sizes.DF, s.links[1].MTU = false, 1400
	if got, want := limits(s.run(t)), "1500 answered, 0 not"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSweepLoss: plain loss is no limit, nor does it hide or move one.
func TestSweepLoss(t *testing.T) {
	for seed := range uint64(500) {
		for mtu, want := range map[int]string{0: "1500 answered, 0 not", 1400: "1400 answered, 1401 not, silence"} {
			s := sweeping(seed%2 == 1)
			s.cfg.Seed = seed
			s.links[2].Out.Loss = 0.2
			s.links[1].MTU, s.links[1].BlackHole = mtu, true
			r := s.run(t)
			if got := limits(r); got != want {
				t.Errorf("seed %d: %s, want %s", seed, got, want)
			}
			// The first of a size is not the coin's. In one of a million cases a product of fair bets is so large, as they can be won or lost
			// where size does not matter: (2+0)/2 and (7/4+1/4)/2 are 1.
			if odds := math.Pow(2, float64(r.Beside-r.BesideLost)) * math.Pow(7./4, float64(r.Lost-1)) * math.Pow(1./4, float64(r.BesideLost)); mtu > 0 && odds < 1e6 {
				t.Errorf("seed %d: %+v is a limit at odds of %.0f", seed, r, odds)
			}
		}
	}
}

// drop loses packets by their number and size.
func (s *swept) drop(which func(n, bytes int) bool) {
	s.each = func(n, bytes int) {
		s.links[2].Out.Loss = 0
		if which(n, bytes) {
			s.links[2].Out.Loss = 1
		}
	}
}

// TestSweepLossBefore: loss that other sizes had before counts, though none of those sent among a size's is lost.
func TestSweepLossBefore(t *testing.T) {
	s, tries := sweeping(false), 0
	s.drop(func(n, bytes int) bool {
		if bytes == 1500 {
			tries++
		}
		return n <= 33 && n%2 == 0 || bytes == 1500 && tries < 10
	})
	if got, want := limits(s.run(t)), "1500 answered, 0 not"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSweepLate: an answer that is late is one.
func TestSweepLate(t *testing.T) {
	s, tries := sweeping(false), 0
	s.each = func(_, bytes int) {
		way := &s.links[2].Out
		way.Delay, way.Loss = time.Millisecond, 0
		if bytes != 1500 {
			return
		}
		if tries++; tries == 1 {
			way.Delay = 500 * time.Millisecond
		} else {
			way.Loss = 1
		}
	}
	if got, want := limits(s.run(t)), "1500 answered, 0 not"; got != want || tries < 2 {
		t.Errorf("%s, after %d requests of 1500 bytes, want %s after some", got, tries, want)
	}
}

// TestSweepTurnsRound: what was taken for unanswered on the way is asked, and not halved again, where the last of it turns out to be answered.
func TestSweepTurnsRound(t *testing.T) {
	s, tries, turned, known := sweeping(false), 0, false, map[int]bool{}
	s.drop(func(_, bytes int) bool {
		if bytes == 1401 {
			tries++
		}
		if turned = turned || tries == 3; !turned {
			known[bytes] = true
		} else if !known[bytes] {
			t.Errorf("%d bytes are asked, which were not before", bytes)
		}
		return !turned && bytes > 1400
	})
	if got, want := limits(s.run(t)), "1500 answered, 0 not"; got != want || !turned {
		t.Errorf("%s, want %s, after it turned out so (%v)", got, want, turned)
	}
}

// TestSweepLateIsCountedOnce: what is lost and then answered late, or refused, was one request. As long as it counts for lost it is; once it is
// answered it is not.
func TestSweepLateIsCountedOnce(t *testing.T) {
	clean := sweepLate(t, func(int) bool { return false })
	if first := sweepLate(t, func(serial int) bool { return serial == 1 }); !clean.Settled || first.Lost != clean.Lost {
		t.Errorf("%d lost requests settle it where the first answer was late, and else %d: %+v", first.Lost, clean.Lost, clean)
	}
	all := sweepLate(t, func(serial int) bool { return serial > 1 })
	if !all.Doubt || all.Lost < 20 || all.BesideLost != all.Beside || all.Beside < 20 {
		t.Errorf("all behind the first are late: %+v, want doubt", all)
	}
}

// sweepLate sweeps 100 and 101 bytes, of which those of 100 are answered, late where that says so, and those of 101 refused, always late.
func sweepLate(t *testing.T, late func(serial int) bool) (r probe.Swept) {
	t.Helper()
	src := netip.MustParseAddrPort("192.0.2.1:7")
	s, err := ping.NewSweep(ping.Config{Src: src, Dst: netip.MustParseAddrPort("192.0.2.9:0"), TTL: 64, Interval: time.Second, Timeout: time.Second},
		probe.Sweep{From: 100, To: 101, Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	serial := 0
	var outcomes []probe.Outcome
	for now := time.Unix(1, 0); serial < 1000; now = now.Add(time.Second) {
		var out probe.Output
		s.Step(probe.Input{Now: now, Room: 1, Outcomes: outcomes}, &out)
		outcomes = nil
		for _, spec := range out.Send {
			serial++
			o := probe.Outcome{Serial: uint64(serial), Spec: spec, Status: probe.Answered, Answer: probe.EchoReply, Match: probe.Strict, Sent: now, At: now}
			if spec.Size == 101 {
				o.Answer = probe.Unreachable
			}
			if spec.Size == 101 || late(serial) {
				outcomes = append(outcomes, probe.Outcome{Serial: o.Serial, Spec: spec, Status: probe.Lost, Sent: now})
				o.Late = true
			}
			outcomes = append(outcomes, o)
		}
		if out.Done {
			return out.Events[len(out.Events)-2].(probe.Swept)
		}
	}
	t.Fatal("it goes on and on")
	return r
}

// TestSweepNotMonotonic: what is answered above the size at which answers stop is told.
func TestSweepNotMonotonic(t *testing.T) {
	s := sweeping(false)
	s.drop(func(_, bytes int) bool { return 900 <= bytes && bytes < 1200 })
	if got, want := limits(s.run(t)), "899 answered, 900 not, 1209 again, silence"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	s = sweeping(false)
	s.drop(func(_, bytes int) bool { return bytes < 100 })
	if got, want := limits(s.run(t)), "0 answered, 84 not, 129 again, silence"; got != want {
		t.Errorf("the smallest: %s, want %s", got, want)
	}
}

// TestSweepDoubt: where sizes that are answered get lost as well, nobody can tell why others are.
func TestSweepDoubt(t *testing.T) {
	for name, which := range map[string]func(n, bytes int) bool{
		"the path goes down": func(n, _ int) bool { return n > 20 },
		"most is lost":       func(n, bytes int) bool { return bytes > 1000 || n > 33 && n%10 != 0 },
	} {
		s := sweeping(false)
		s.drop(which)
		r := s.run(t)
		if r.Settled || r.Answered == 0 || r.Lost < 20 || r.Lost+r.Beside > 90 || r.BesideLost < r.Beside*8/10 || s.end.Verdict != probe.AnsweredIt || !s.end.Complete {
			t.Errorf("%s: %s, %+v", name, limits(r), r)
		}
	}
}

// honest sweeps, with a limit at 1400 bytes and without, in a number of orders each, where something has answers lost that does not look at their
// size. That may hide what there is to be told, but must not pass for it. It returns which share was told.
func honest(t *testing.T, name string, ids int, lose func(*swept)) (clear, narrow float64) {
	t.Helper()
	told := map[int]int{}
	for id := range uint16(ids) {
		for mtu, want := range map[int]string{0: "1500 answered, 0 not", 1400: "1400 answered, 1401 not, silence"} {
			s := sweeping(false)
			s.id = 5000 + id
			s.links[1].MTU, s.links[1].BlackHole = mtu, true
			lose(s)
			switch r := s.run(t); {
			case r.Settled && limits(r) == want:
				told[mtu]++
			case r.Settled || !r.Doubt || s.n > 2000:
				t.Errorf("%s, order %d: %s after %d probes, want %s or doubt: %+v", name, id, limits(r), s.n, want, r)
			}
		}
	}
	return float64(told[0]) / float64(ids), float64(told[1400]) / float64(ids)
}

// TestSweepLimits: a token bucket is no limit of size, whatever its period has to do with that of the probes.
func TestSweepLimits(t *testing.T) {
	const ms = time.Millisecond
	var clear, narrow, all float64
	for _, every := range []time.Duration{50 * ms, 100 * ms, 120 * ms, 150 * ms, 200 * ms, 250 * ms, 300 * ms, 333 * ms, 400 * ms, 500 * ms, 800 * ms, time.Second, 1500 * ms, 2 * time.Second} {
		for _, burst := range []int{1, 2, 5, 6, 20} {
			for _, interval := range []time.Duration{0, 250 * ms, 500 * ms, time.Second} { // 0: echo requests
				limit := simnet.Limit{Burst: burst, Every: every, All: burst%2 == 0}
				c, n := honest(t, fmt.Sprintf("%+v, interval %v", limit, interval), 2, func(s *swept) {
					if s.target.EchoLimit = limit; interval > 0 {
						s.c.Proto, s.c.Interval, s.target.Limit = probe.UDP, interval, limit
					}
				})
				clear, narrow, all = clear+c, narrow+n, all+1
				// Half of all answers are enough to find that there is no limit.
				if c < 1 && every <= 2*max(interval, 100*ms) {
					t.Errorf("%+v, interval %v: %v of those without a limit are told", limit, interval, c)
				}
			}
		}
	}
	t.Logf("told: %.0f %% of those without a limit, %.0f %% of those with one", clear/all*100, narrow/all*100)
}

// TestSweepRhythms: nor is loss that comes back in any rhythm.
func TestSweepRhythms(t *testing.T) {
	for period := 2; period <= 8; period++ {
		for mask := 1; mask < 1<<period-1; mask++ {
			honest(t, fmt.Sprintf("%0*b by number", period, mask), 1, func(s *swept) {
				s.drop(func(n, _ int) bool { return mask>>(n%period)&1 != 0 })
			})
		}
	}
	for _, period := range []time.Duration{200, 300, 400, 600, 1000, 3000, 7000} {
		for down := period / 10; down < period; down += period / 10 {
			honest(t, fmt.Sprintf("%d of %d ms", down, period), 3, func(s *swept) {
				s.drop(func(int, int) bool {
					return time.Duration(s.conn.Now().UnixMilli())%period < down
				})
			})
		}
	}
}

// TestSweepCutShort: what is known is told, and that it is not all.
func TestSweepCutShort(t *testing.T) {
	for n, want := range map[int]string{
		1:  "0 answered, 0 not, not settled",
		10: "444 answered, 0 not, not settled",
		33: "1389 answered, 1434 not, 10.0.1.1 says 1400, not settled",
	} {
		s := sweeping(false)
		s.links[1].MTU = 1400
		s.each = func(sent, _ int) {
			if sent == n {
				s.conn.Interrupt()
			}
		}
		if got := limits(s.run(t)); got != want || s.end.Verdict != probe.Interrupted || s.end.Complete {
			t.Errorf("interrupted at probe %d: %s, %+v, want %s", n, got, s.end, want)
		}
	}
	s := sweeping(false)
	s.c.Deadline = 950 * time.Millisecond
	if got, want := limits(s.run(t)), "489 answered, 0 not, not settled"; got != want || s.end.Verdict != probe.AnsweredIt || s.end.Complete {
		t.Errorf("a deadline: %s, %+v, want %s", got, s.end, want)
	}
}

// TestSweepLie: an MTU that is named is tried, and what is answered counts.
func TestSweepLie(t *testing.T) {
	for _, tt := range []struct {
		named uint16
		most  int // probes
	}{{0, 40}, {1350, 45}, {1420, 40}, {1399, 41}, {1401, 39}, {68, 40}, {9000, 40}} {
		s := sweeping(false)
		s.links[1].MTU = 1400
		s.links[0].To.Alter = func(r *rawsock.Reply) {
			binary.BigEndian.PutUint16(r.Data[6:], tt.named)
			simnet.Mend(r)
		}
		want := fmt.Sprintf("1400 answered, 1401 not, 10.0.1.1 says %d", tt.named)
		if got := limits(s.run(t)); got != want || s.n > tt.most {
			t.Errorf("%s, after %d probes, want %s, after no more than %d", got, s.n, want, tt.most)
		}
	}
}

// TestSweepRouterSaysSoAtTimes: a router that seldom says what fits counts as the reason of what it swallows.
func TestSweepRouterSaysSoAtTimes(t *testing.T) {
	s := sweeping(false)
	s.links[1].MTU = 1400
	s.links[0].To.Limit = simnet.Limit{Burst: 1, Every: time.Hour}
	if got, want := limits(s.run(t)), "1400 answered, 1401 not, 10.0.1.1 says 1400"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// But not where what it says is of larger sizes alone.
	s = sweeping(false)
	s.links[0].MTU, s.links[1].MTU, s.links[2].MTU, s.links[2].BlackHole = 0, 1450, 1300, true
	if got, want := limits(s.run(t)), "1300 answered, 1301 not, silence"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSweepUnprivileged: where the kernel writes the headers it is the same.
func TestSweepUnprivileged(t *testing.T) {
	for _, proto := range []probe.Proto{probe.ICMP, probe.UDP} {
		for _, told := range []bool{false, true} {
			s := sweeping(false)
			s.cfg.Caps = func(c *rawsock.Caps) { c.Header = false }
			s.c.Proto, s.links[1].MTU, s.links[1].BlackHole = proto, 1400, !told
			want := "1400 answered, 1401 not, silence"
			if told {
				want = "1400 answered, 1401 not, 10.0.1.1 says 1400"
			}
			if got := limits(s.run(t)); got != want {
				t.Errorf("%v: %s, want %s", proto, got, want)
			}
		}
	}
}

func TestNewSweepChecks(t *testing.T) {
	for want, change := range map[string]func(*swept){
		"sizes from 1500 to 1500: want the first smaller":     func(s *swept) { s.sizes.From = 1500 },
		"sizes from 84 to 65536: want the first smaller":      func(s *swept) { s.sizes.To = 65536 },
		"size 27 bytes: want":                                 func(s *swept) { s.sizes.From = 27 },
		"step 0: want 1 or more":                              func(s *swept) { s.sizes.Step = 0 },
		"a sweep has an interval, and neither adapts":         func(s *swept) { s.c.Interval = 0 },
		"an interval, and neither adapts, preloads nor yield": func(s *swept) { s.c.Preload = 2 },
	} {
		s := sweeping(false)
		change(s)
		s.c.Src, s.c.Dst = netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("192.0.2.9:0")
		if _, err := ping.NewSweep(s.c, s.sizes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
