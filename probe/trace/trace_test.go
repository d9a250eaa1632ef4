package trace

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

func TestNewChecksEveryField(t *testing.T) {
	v6 := netip.AddrPortFrom(netip.MustParseAddr("2001:db8::9"), 33434)
	tests := []struct {
		name string
		mod  func(*Config)
		want string // in the error; "": accepted
	}{
		{"good", func(c *Config) {}, ""},
		{"IPv6 with a label", func(c *Config) { c.Src, c.Dst, c.Label = v6, v6, 0xfffff }, ""},
		{"own address", func(c *Config) { c.Dst = netip.AddrPortFrom(src, 33434) }, ""},
		{"ICMP with a checksum", func(c *Config) { c.Proto = probe.ICMP }, ""},
		{"ICMP, classic", func(c *Config) { c.Proto, c.Classic, c.Dst = probe.ICMP, true, netip.AddrPortFrom(dst, 0) }, ""},
		{"shared hops", func(c *Config) { c.Shared = NewShared() }, ""},
		{"shared hops, classic", func(c *Config) { c.Shared, c.Classic = NewShared(), true }, "shared hops: want a constant flow"},
		{"shared hops, but not from the first on", func(c *Config) { c.Shared, c.First = NewShared(), 2 }, "shared hops: want a constant flow, and TTLs from 1"},
		{"one TTL", func(c *Config) { c.First, c.Max = 255, 255 }, ""},
		{"smallest size", func(c *Config) { c.Size = 30 }, ""},
		{"a DNS query", func(c *Config) { c.Content = probe.DNSQuery }, ""},
		{"a DNS query of its size", func(c *Config) { c.Content, c.Size = probe.DNSQuery, 45 }, ""},
		{"QUIC over IPv6", func(c *Config) { c.Src, c.Dst, c.Content, c.Size = v6, v6, probe.QUICInitial, 1248 }, ""},
		{"a DNS query of another size", func(c *Config) { c.Content, c.Size = probe.DNSQuery, 46 }, "want 0, or 45 to 45"},
		{"QUIC of another size", func(c *Config) { c.Content, c.Size = probe.QUICInitial, 1500 }, "want 0, or 1228 to 1228"},
		{"QUIC, classic", func(c *Config) { c.Content, c.Classic = probe.QUICInitial, true }, "content quic of udp: want own"},
		{"a DNS query by UDP-Lite", func(c *Config) { c.Content, c.Proto = probe.DNSQuery, probe.UDPLite }, "content dns of udplite: want own"},
		{"a DNS query by TCP", func(c *Config) { c.Content, c.Proto = probe.DNSQuery, probe.TCP }, "content dns of tcp: want own"},
		{"an unknown content", func(c *Config) { c.Content = probe.QUICInitial + 1 }, "content unknown of udp: want own"},
		{"only a maximum wait", func(c *Config) { c.Wait = Wait{Max: 1} }, ""},

		{"no protocol", func(c *Config) { c.Proto = 0 }, "protocol 0: want UDP, ICMP, TCP"},
		{"no source", func(c *Config) { c.Src = netip.AddrPort{} }, "source invalid IP: want"},
		{"no destination", func(c *Config) { c.Dst = netip.AddrPort{} }, "destination invalid IP: want"},
		{"mapped destination", func(c *Config) { c.Dst = netip.MustParseAddrPort("[::ffff:192.0.2.9]:33434") }, "destination ::ffff:192.0.2.9: want"},
		{"two families", func(c *Config) { c.Dst = v6 }, "want one family"},
		{"no source port", func(c *Config) { c.Src = netip.AddrPortFrom(src, 0) }, "source port 0: want 1 to 65535"},
		{"no destination port", func(c *Config) { c.Dst = netip.AddrPortFrom(dst, 0) }, "destination port 0: want 1 to 65535"},
		{"ICMP without a checksum", func(c *Config) { c.Proto, c.Dst = probe.ICMP, netip.AddrPortFrom(dst, 0) }, "checksum 0: want"},
		{"ICMP, classic, with a checksum", func(c *Config) { c.Proto, c.Classic = probe.ICMP, true }, "want 0 in a classic"},
		{"TCP, classic", func(c *Config) { c.Proto, c.Classic = probe.TCP, true }, "classic trace with tcp: want UDP or ICMP"},
		{"label of 21 bits", func(c *Config) { c.Src, c.Dst, c.Label = v6, v6, 1<<20 }, "flow label 0x100000: want 20 bits"},
		{"label in IPv4", func(c *Config) { c.Label = 1 }, "want 0 with IPv4"},
		{"first TTL 0", func(c *Config) { c.First = 0 }, "TTLs 0 to 30: want"},
		{"last below first", func(c *Config) { c.First = 31 }, "TTLs 31 to 30: want"},
		{"no attempts", func(c *Config) { c.Attempts = 0 }, "0 attempts: want 1 to 1000"},
		{"too many attempts", func(c *Config) { c.Attempts = 1001 }, "1001 attempts: want 1 to 1000"},
		{"negative size", func(c *Config) { c.Size = -1 }, "size -1 bytes: want 0, or 30 to 65535"},
		{"size below the headers", func(c *Config) { c.Size = 29 }, "size 29 bytes: want 0, or 30 to 65535"},
		{"TCP with a payload", func(c *Config) { c.Proto, c.Size = probe.TCP, 61 }, "want 0, or 60 to 60"},
		{"IPv6 size below the headers", func(c *Config) { c.Src, c.Dst, c.Size = v6, v6, 49 }, "want 0, or 50 to 65535"},
		{"size above a packet", func(c *Config) { c.Size = 65536 }, "size 65536 bytes: want"},
		{"negative gap", func(c *Config) { c.GapLimit = -1 }, "gap limit -1: want"},
		{"negative in flight", func(c *Config) { c.InFlight = -1 }, "-1 probes in flight: want"},
		{"too many in flight", func(c *Config) { c.InFlight = 5000 }, "5000 probes in flight: want 1 to 4096"},
		{"UDP-Lite, classic", func(c *Config) { c.Proto, c.Classic = probe.UDPLite, true }, "classic trace with udplite: want UDP or ICMP"},
		{"raw with ports", func(c *Config) { c.Proto, c.Number = probe.Raw, 253 }, "a raw probe has none"},
		{"raw without protocol", func(c *Config) {
			c.Proto, c.Src, c.Dst = probe.Raw, netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
		}, "IP protocol 0: want one exactly for a raw probe"},
		{"protocol of UDP", func(c *Config) { c.Number = 17 }, "IP protocol 17: want one exactly for a raw probe"},
		{"sequence of UDP", func(c *Config) { c.Sequence = 5 }, "sequence number 5: want 0 but for ICMP"},
		{"negative pause", func(c *Config) { c.Gap = -1 }, "gap of -1ns: want 0 for none"},
		{"no wait", func(c *Config) { c.Wait.Max = 0 }, "wait of 0s: want more than 0"},
		{"too long a wait", func(c *Config) { c.Wait.Max = math.MaxInt64 }, "want more than 0, up to 1h0m0s"},
		{"negative factor", func(c *Config) { c.Wait.Here = -1 }, "wait factor -1: want"},
		{"factor not a number", func(c *Config) { c.Wait.Near = math.NaN() }, "wait factor NaN: want"},
		{"endless factor", func(c *Config) { c.Wait.Near = math.Inf(1) }, "wait factor +Inf: want"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.mod(&c)
			a, err := New(c)
			switch {
			case tt.want == "" && (err != nil || a == nil):
				t.Fatalf("error %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestErrorNamesEveryWrongField(t *testing.T) {
	_, err := New(Config{})
	for _, want := range []string{"source", "protocol", "TTLs", "attempts", "wait"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}

func TestPlainPath(t *testing.T) {
	r := start(t, good())
	r.drive(r.path(6))
	r.wantHops(r.events, 1, 2, 3, 4, 5, 6)
	r.wantFinished(probe.Reached, 6)
	for ttl := 1; ttl <= 6; ttl++ {
		h := r.hopAt(ttl)
		if len(h.Outcomes) != 3 {
			t.Errorf("TTL %d: %d outcomes, want 3", ttl, len(h.Outcomes))
		}
		for i, o := range h.Outcomes {
			if int(o.Spec.Attempt) != i+1 || o.Status != probe.Answered || int(o.Spec.TTL) != ttl {
				t.Errorf("TTL %d: outcome %d is %+v", ttl, i, o)
			}
		}
	}
	if rtt := r.now.Sub(epoch); rtt > 20*ms {
		t.Errorf("took %v, want a few round trips of 6 ms", rtt)
	}
}

// Linux answers a prober 6 errors at once. Where the destination's distance is not known, all that goes
// beyond the last hop that answered may go to it: its own attempts are there first.
func TestDestinationIsNotAskedMoreThanItAnswers(t *testing.T) {
	for n := 1; n <= 20; n++ {
		for attempts := 1; attempts <= 3; attempts++ {
			c := good()
			c.Attempts, c.Open = attempts, 0
			r := start(t, c)
			answered := 0
			r.drive(r.path(n).but(func(s probe.Sent) []answer {
				if int(s.Spec.TTL) < n {
					return nil
				}
				if answered++; answered > 6 {
					return silence
				}
				return nil
			}))
			r.wantFinished(probe.Reached, n)
			for i, o := range r.hopAt(n).Outcomes {
				if o.Status != probe.Answered {
					t.Errorf("path of %d, %d attempts: attempt %d at the destination was lost", n, attempts, i+1)
				}
			}
		}
	}
}

// T60: a path whose length nobody knows is opened in order, all attempts at a TTL together, each TTL a little after the other.
func TestOpening(t *testing.T) {
	for _, tt := range []struct {
		attempts, open int
		step           time.Duration
	}{{1, 30, ms / 4}, {2, 25, ms / 2}, {3, 23, 3 * ms / 4}, {10, 21, 3 * ms / 4}} {
		c := good()
		c.Attempts, c.Open, c.Max, c.InFlight = tt.attempts, 0, 64, 256
		r := start(t, c)
		var want [][2]int
		for ttl := 1; ttl <= tt.open; ttl++ {
			want = want[:0]
			for n := 1; n <= min(tt.attempts, 3); n++ { // a Linux router answers 6 at once
				want = append(want, [2]int{ttl, n})
			}
			after := tt.step
			if ttl == 1 {
				after = 0
			}
			r.wantSent(r.step(after), want...)
		}
		opened := r.now.Sub(epoch)
		if most := 17 * ms; opened > most {
			t.Errorf("%d attempts: opened in %v, want %v, so that 80 ms are not exceeded by a quarter", tt.attempts, opened, most)
		}
		// Then silence opens the rest slowly.
		r.wantWake(100*ms - opened)
		r.wantSent(r.step(99*ms - opened))
		if tt.attempts == 3 {
			r.wantSent(r.step(ms), [2]int{24, 1}, [2]int{24, 2}, [2]int{24, 3})
			// As does an answer from near there, at once.
			r.wantSent(r.step(ms, r.hop(23, 1)), [2]int{25, 1}, [2]int{25, 2}, [2]int{25, 3}, [2]int{26, 1}, [2]int{26, 2}, [2]int{26, 3})
		}
	}
}

// What the path takes is about one round trip, and little is sent beyond the destination.
func TestOneRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		attempts, most int
		longest        time.Duration
	}{{3, 3*20 + 10, 100 * ms}, {1, 20 + 10, 88 * ms}} {
		c := good()
		c.Attempts, c.Open = tt.attempts, 0
		r := start(t, c)
		r.drive(r.path(20).after(4 * ms))
		r.wantFinished(probe.Reached, 20)
		if took := r.now.Sub(epoch); took > tt.longest || len(r.sent) > tt.most {
			t.Errorf("%d attempts, 20 hops, 80 ms: %v and %d probes, want %v and %d", tt.attempts, took, len(r.sent), tt.longest, tt.most)
		}
	}
	// A near one has answered before much goes beyond it.
	for n := 1; n <= 3; n++ {
		c := good()
		c.Open = 0
		r := start(t, c)
		r.drive(r.path(n).after(ms / 10))
		r.wantFinished(probe.Reached, n)
		if len(r.sent) > 3*n {
			t.Errorf("%d hops: %d probes", n, len(r.sent))
		}
	}
}

func TestSilenceOpensTheUnknownSlowly(t *testing.T) {
	c := good()
	c.Attempts = 1
	r := start(t, c)
	r.step(0)
	r.wantWake(100 * ms)
	r.wantSent(r.step(99 * ms))
	r.wantSent(r.step(ms), [2]int{6, 1})
	r.wantSent(r.step(250*ms), [2]int{7, 1}, [2]int{8, 1}) // late by 150 ms
	r.wantWake(50 * ms)
	// The clock starts anew where somebody answers, and runs once an answer from as far away could be here.
	r.wantSent(r.step(10*ms, r.hop(6, 1)), [2]int{9, 1}, [2]int{10, 1}, [2]int{11, 1})
	r.wantWake(260*ms + 100*ms)
}

// The end of a path that stays silent is waited for a second, not five, and looked at again.
func TestSilentEnd(t *testing.T) {
	c := good()
	c.Open, c.GapLimit = 0, 10
	r := start(t, c)
	r.drive(r.path(40).after(4 * ms).but(func(s probe.Sent) []answer {
		if s.Spec.TTL > 10 {
			return silence
		}
		return nil
	}))
	r.wantFinished(probe.GapLimit, 20)
	if took := r.now.Sub(epoch); took > 1500*ms {
		t.Errorf("took %v", took)
	}
	if n := len(r.sent); n != 3*23+1 {
		t.Errorf("%d probes, want the opening's and one more", n)
	}
	if s := r.sent[len(r.sent)-1]; s.Spec.TTL != 11 || s.At.Sub(epoch) < time.Second {
		t.Errorf("the last to TTL %d, after %v, want the first silent one asked again", s.Spec.TTL, s.At.Sub(epoch))
	}
}

// A neighbour that is not there is looked for for some three seconds, and then all that waits is answered at once: where nobody was heard
// that is waited for, whatever is asked again meanwhile.
func TestNeighbourThatIsNotThere(t *testing.T) {
	for attempts := 1; attempts <= 3; attempts++ {
		c := good()
		c.Attempts, c.Open, c.Max = attempts, 0, 5
		r := start(t, c)
		r.drive(func(s probe.Sent) []answer {
			return []answer{{3100*ms - s.At.Sub(epoch), r.to(s.Serial, c.Src.Addr(), probe.Unreachable)}}
		})
		r.wantFinished(probe.Blocked, 1)
		for _, o := range r.hopAt(1).Outcomes {
			if o.Status != probe.Answered {
				t.Errorf("%d attempts: %+v", attempts, o)
			}
		}
	}
}

func TestInFlight(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		c := good()
		c.InFlight = 1
		r := start(t, c)
		r.wantSent(r.step(0), [2]int{1, 1})
		r.wantSent(r.step(ms)) // while it is out, nothing else
		r.wantSent(r.step(ms, r.hop(1, 1)), [2]int{1, 2})
		r.wantSent(r.step(ms, r.hop(1, 2)), [2]int{1, 3})
		r.wantSent(r.step(ms, r.hop(1, 3)), [2]int{2, 1})
	})
	t.Run("the default is 96", func(t *testing.T) {
		c := good()
		c.Max = 64
		r := start(t, c)
		r.step(0)
		if out := r.step(time.Minute); len(r.sent) != 96 {
			t.Errorf("%d in flight with %v, want 96", len(r.sent), out.Send)
		}
		if out := r.step(ms, r.lost(1, 1)); len(out.Send) != 1 {
			t.Errorf("%d sent in the place of one", len(out.Send))
		}
	})
	t.Run("window from the lowest undecided TTL", func(t *testing.T) {
		c := good()
		c.InFlight, c.Attempts = 4, 1
		r := start(t, c)
		r.step(0)
		r.step(time.Minute)
		out := r.step(ms, r.hop(2, 1), r.hop(3, 1), r.hop(4, 1)) // 1 is open: 4 is the last in its window
		r.wantSent(out)
		r.wantSent(r.step(ms, r.hop(1, 1)), [2]int{5, 1}, [2]int{6, 1}, [2]int{7, 1}, [2]int{8, 1})
	})
	t.Run("room", func(t *testing.T) {
		r := start(t, good())
		r.room = 2
		r.wantSent(r.step(0), [2]int{1, 1}, [2]int{1, 2})
		r.room = 0
		r.wantSent(r.step(ms))
		r.room = 2
		r.wantSent(r.step(ms), [2]int{1, 3}, [2]int{2, 1})
	})
}

// Linux answers a prober 6 errors at once and then one a second.
func TestPace(t *testing.T) {
	c := good()
	c.Attempts, c.Max = 9, 1
	r := start(t, c)
	r.step(0)
	for range 10 {
		if len(r.sent) < 5 {
			r.step(100 * ms)
		}
	}
	if len(r.sent) != 5 {
		t.Fatalf("%d sent, want 5", len(r.sent))
	}
	first, last := r.sent[0].At, r.sent[4].At // further ones into the unknown take their time
	r.step(first.Add(999 * ms).Sub(r.now))
	r.wantSent(r.last)
	r.wantWake(ms)
	r.wantSent(r.step(ms), [2]int{1, 6})
	r.wantWake(time.Second)
	r.drive(r.path(1))
	for i, s := range r.sent[5:] {
		if want := first.Add(time.Duration(i+1) * time.Second); s.At != want {
			t.Errorf("probe %d after %v, want %v", i+6, s.At.Sub(first), want.Sub(first))
		}
	}
	if last.Sub(first) > 500*ms {
		t.Errorf("the first five took %v", last.Sub(first))
	}
}

func TestInterval(t *testing.T) {
	c := good()
	c.Attempts, c.Interval = 40, 100*ms
	r := start(t, c)
	r.drive(r.path(4))
	r.wantFinished(probe.Reached, 4)
	last := map[uint8]time.Time{}
	for _, s := range r.sent {
		if at, ok := last[s.Spec.TTL]; ok && s.Spec.TTL <= 4 && s.At.Sub(at) != 100*ms {
			t.Errorf("TTL %d: %v after the probe before, want 100 ms", s.Spec.TTL, s.At.Sub(at))
		}
		last[s.Spec.TTL] = s.At
	}
	if took := r.now.Sub(epoch); took < 3900*ms || took > 4200*ms {
		t.Errorf("took %v, want about 40 times 100 ms", took)
	}
}

func TestFlow(t *testing.T) {
	v6 := good()
	v6.Src = netip.MustParseAddrPort("[2001:db8::1]:40000")
	v6.Dst = netip.MustParseAddrPort("[2001:db8::9]:33434")
	v6.Label, v6.TOS, v6.Size, v6.DF = 0x12345, 0xb8, 80, true
	tests := []struct {
		name string
		c    Config
	}{{"UDP", good()}, {"ICMP", good()}, {"TCP", good()}, {"IPv6", v6}}
	tests[1].c.Proto, tests[2].c.Proto = probe.ICMP, probe.TCP
	for _, tt := range tests {
		t.Run(tt.name+" stays put", func(t *testing.T) {
			r := start(t, tt.c)
			r.drive(r.path(7))
			for _, s := range r.sent {
				got, want := s.Spec, probe.Spec{
					Proto: tt.c.Proto, Src: tt.c.Src, Dst: tt.c.Dst, Label: tt.c.Label, TOS: tt.c.TOS,
					DF: tt.c.DF, Size: tt.c.Size, Timeout: 5 * time.Second, TTL: s.Spec.TTL, Attempt: s.Spec.Attempt,
				}
				if got != want {
					t.Fatalf("probe %d is\n%+v, want\n%+v", s.Serial, got, want)
				}
			}
		})
	}
	t.Run("classic UDP counts the port up, and round without 0", func(t *testing.T) {
		c := good()
		c.Classic, c.Dst = true, netip.AddrPortFrom(dst, 65530)
		r := start(t, c)
		r.drive(r.path(5))
		for i, s := range r.sent { // a TTL's attempts one after the other, in whatever order they leave
			n := 3*(int(s.Spec.TTL)-1) + int(s.Spec.Attempt) - 1
			want := 65530 + n
			if want > 65535 {
				want -= 65535
			}
			if s.Spec.Dst != netip.AddrPortFrom(dst, uint16(want)) || s.Spec.Src != c.Src || int(s.Spec.Flow) != n {
				t.Fatalf("probe %d: %v to %v, flow %d; want port %d", i+1, s.Spec.Src, s.Spec.Dst, s.Spec.Flow, want)
			}
		}
		if len(r.sent) < 15 {
			t.Fatalf("only %d probes: the ports did not wrap", len(r.sent))
		}
	})
	t.Run("classic ICMP leaves the checksum free", func(t *testing.T) {
		c := good()
		c.Proto, c.Classic, c.Dst = probe.ICMP, true, netip.AddrPortFrom(dst, 0)
		r := start(t, c)
		r.drive(r.path(3))
		for i, s := range r.sent {
			if s.Spec.Dst.Port() != 0 || int(s.Spec.Flow) != 3*(int(s.Spec.TTL)-1)+int(s.Spec.Attempt)-1 {
				t.Fatalf("probe %d: checksum %d, flow %d", i+1, s.Spec.Dst.Port(), s.Spec.Flow)
			}
		}
	})
}

// The end is where an answer of a terminal kind says so, whoever sent it.
func TestEndIsFoundByTypeAndCode(t *testing.T) {
	for _, a := range []probe.Answer{
		probe.EchoReply, probe.PortUnreachable, probe.ProtocolUnreachable, probe.SynAck, probe.Reset, probe.Datagram,
	} {
		for _, from := range []netip.Addr{dst, router(9)} {
			t.Run(fmt.Sprint(a, " from ", from), func(t *testing.T) {
				r := start(t, good())
				r.drive(r.path(4).but(func(s probe.Sent) []answer {
					if s.Spec.TTL < 4 {
						return nil
					}
					return []answer{{4 * ms, r.to(s.Serial, from, a)}}
				}))
				r.wantHops(r.events, 1, 2, 3, 4)
				r.wantFinished(probe.Reached, 4)
			})
		}
	}
}

func TestNothingIsSentBeyondTheEnd(t *testing.T) {
	r := start(t, good())
	r.step(0)
	out := r.step(ms, r.reached(2, 1)) // 3 is out already, 1 is open
	for range 5 {
		for _, s := range out.Send {
			if s.TTL > 2 {
				t.Fatalf("TTL %d asked beyond the end at 2", s.TTL)
			}
		}
		out = r.step(time.Second)
	}
	for ttl := 1; ttl <= 2; ttl++ {
		for attempt := 1; attempt <= 3; attempt++ {
			r.serial(ttl, attempt) // the TTLs before it get all their attempts
		}
	}
	var os []probe.Outcome
	for attempt := 1; attempt <= 3; attempt++ {
		os = append(os, r.hop(1, attempt))
	}
	r.wantHops(r.step(ms, os...).Events, 1)
	out = r.step(ms, r.reached(2, 2), r.reached(2, 3))
	r.wantHops(out.Events, 2)
	if out.Done {
		t.Fatal("done while TTL 3 is out")
	}
	if want := []uint64{r.serial(3, 1), r.serial(3, 2), r.serial(3, 3)}; !slices.Equal(out.GiveUp, want) {
		t.Fatalf("gives up %v, want the probes at TTL 3", out.GiveUp)
	}
	r.step(0, r.lost(3, 1), r.lost(3, 2), r.lost(3, 3))
	r.wantFinished(probe.Reached, 2)
	r.wantHops(r.events, 1, 2)
}

func TestLowerEndFoundLater(t *testing.T) {
	c := good()
	c.Attempts = 1
	r := start(t, c)
	r.step(0)
	r.step(ms, r.reached(3, 1))
	r.step(ms, r.reached(2, 1))
	r.step(ms, r.hop(1, 1), r.lost(4, 1), r.lost(5, 1))
	r.wantHops(r.events, 1, 2)
	r.wantFinished(probe.Reached, 2)
}

func TestHigherEndFoundLater(t *testing.T) {
	c := good()
	c.Attempts = 1
	r := start(t, c)
	r.step(0)
	r.step(ms, r.reached(2, 1))
	r.step(ms, r.reached(3, 1), r.reached(4, 1))
	r.step(ms, r.hop(1, 1), r.reached(5, 1))
	r.wantHops(r.events, 1, 2)
	r.wantFinished(probe.Reached, 2)
}

func TestDuplicatesChangeNothing(t *testing.T) {
	c := good()
	c.Attempts = 1
	r := start(t, c)
	r.step(0)
	r.step(ms, r.hop(1, 1))
	dup := r.outcome(1, 1, dst, probe.PortUnreachable)
	dup.Duplicate = true
	r.step(ms, dup, dup)
	r.step(ms, r.hop(2, 1))
	if h := r.hopAt(1); h.Outcomes[0].From != router(1) {
		t.Errorf("TTL 1 became %v", h.Outcomes[0].From)
	}
	r.wantHops(r.events, 1, 2)
}

func TestBlocked(t *testing.T) {
	blocks := func(r *run, ttl int, attempts ...int) net {
		return r.path(9).but(func(s probe.Sent) []answer {
			if int(s.Spec.TTL) < ttl {
				return nil
			}
			for _, a := range attempts {
				if int(s.Spec.Attempt) == a {
					return []answer{{3 * ms, r.to(s.Serial, router(ttl-1), probe.Unreachable)}}
				}
			}
			return silence
		})
	}
	t.Run("every attempt", func(t *testing.T) {
		r := start(t, good())
		r.drive(blocks(r, 4, 1, 2, 3))
		r.wantHops(r.events, 1, 2, 3, 4)
		r.wantFinished(probe.Blocked, 4)
	})
	t.Run("every attempt that was answered", func(t *testing.T) {
		r := start(t, good())
		r.drive(blocks(r, 4, 2))
		r.wantHops(r.events, 1, 2, 3, 4)
		r.wantFinished(probe.Blocked, 4)
	})
	t.Run("not where another attempt got through", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(6).but(func(s probe.Sent) []answer {
			if s.Spec.TTL == 4 && s.Spec.Attempt == 1 {
				return []answer{{3 * ms, r.to(s.Serial, router(3), probe.Unreachable)}}
			}
			return nil
		}))
		r.wantFinished(probe.Reached, 6)
	})
	t.Run("not where the destination answers further on", func(t *testing.T) {
		c := good()
		c.Attempts = 1
		r := start(t, c)
		r.step(0)
		r.step(ms, r.reached(3, 1))
		r.step(ms, r.hop(1, 1), r.outcome(2, 1, router(1), probe.Unreachable))
		r.wantHops(r.events, 1, 2, 3)
	})
	t.Run("nothing is sent beyond, meanwhile", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.step(ms, r.outcome(2, 1, router(1), probe.Unreachable))
		r.step(10 * time.Second)
		for _, s := range r.sent {
			if s.Spec.TTL > 3 {
				t.Errorf("TTL %d asked", s.Spec.TTL)
			}
		}
		// Another attempt gets through: on it goes.
		out := r.step(ms, r.hop(2, 2))
		if len(out.Send) == 0 || out.Send[0].TTL != 4 {
			t.Errorf("sent %v, want TTL 4", out.Send)
		}
	})
	t.Run("at the first TTL", func(t *testing.T) {
		r := start(t, good())
		r.drive(blocks(r, 1, 1, 2, 3))
		r.wantHops(r.events, 1)
		r.wantFinished(probe.Blocked, 1)
	})
}

// Only time exceeded in transit is a hop, only some unreachables are an end.
func TestOtherAnswersAreNeitherHopNorEnd(t *testing.T) {
	c := good()
	c.Max, c.GapLimit = 5, 2
	r := start(t, c)
	r.drive(func(s probe.Sent) []answer { return []answer{{ms, r.to(s.Serial, dst, probe.ReassemblyExceeded)}} })
	r.wantHops(r.events, 1, 2, 3, 4, 5)
	r.wantFinished(probe.MaxHops, 5)
	r.wantFindings()
	if o := r.hopAt(1).Outcomes[0]; o.Answer != probe.ReassemblyExceeded {
		t.Errorf("outcome %v, want the answer as it is", o.Answer)
	}
	if r.a.far != 0 {
		t.Errorf("TTL %d passes for one before the destination, which may have said so itself", r.a.far)
	}
}

// What is too big for a link, or has a header that a router will not take, goes no further whatever its TTL.
func TestRefusedAsItIs(t *testing.T) {
	for _, a := range []probe.Answer{probe.TooBig, probe.ParameterProblem} {
		t.Run(fmt.Sprint(a), func(t *testing.T) {
			r := start(t, good())
			r.drive(func(s probe.Sent) []answer {
				if s.Spec.TTL < 3 {
					return []answer{{ms, r.to(s.Serial, router(int(s.Spec.TTL)), probe.TimeExceeded)}}
				}
				return []answer{{ms, r.to(s.Serial, router(2), a)}}
			})
			r.wantHops(r.events, 1, 2, 3)
			r.wantFinished(probe.Blocked, 3)
		})
	}
}

// exceeds makes time exceeded from the destination's own address.
func (r *run) exceeds(s probe.Sent, reply uint8, quoted int) []answer {
	o := r.to(s.Serial, dst, probe.TimeExceeded)
	o.TTL = reply
	o.Quoted = probe.Quoted{Known: quoted >= 0, TTL: uint8(max(0, quoted))}
	return []answer{{ms, o}}
}

func TestTimeExceededFromTheDestination(t *testing.T) {
	t.Run("falling reply TTL: translated, and the end is behind", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(7).but(func(s probe.Sent) []answer {
			if s.Spec.TTL < 3 || s.Spec.TTL >= 7 {
				return nil
			}
			return r.exceeds(s, 64-(s.Spec.TTL-3), 1)
		}))
		r.wantHops(r.events, 1, 2, 3, 4, 5, 6, 7)
		r.wantFinished(probe.Reached, 7)
		r.wantFindings("dnat-or-nat64-in-front")
	})
	t.Run("further behind than the search would go on without the finding", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(12).but(func(s probe.Sent) []answer {
			switch ttl := s.Spec.TTL; {
			case ttl < 3 || ttl >= 12:
				return nil
			case ttl > 4:
				return silence
			default:
				return r.exceeds(s, 64-(ttl-3), 1)
			}
		}))
		r.wantFinished(probe.Reached, 12)
		r.wantFindings("dnat-or-nat64-in-front")
	})
	t.Run("one hop behind the translator", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(4).but(func(s probe.Sent) []answer {
			if s.Spec.TTL < 3 {
				return nil
			}
			as := r.exceeds(s, 64, 1)
			if s.Spec.TTL > 3 {
				as[0].o.Answer, as[0].o.TTL = probe.PortUnreachable, 63
			}
			return as
		}))
		r.wantFinished(probe.Reached, 4)
		r.wantFindings("dnat-or-nat64-in-front")
	})
	t.Run("the destination itself may start from another TTL", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(4).but(func(s probe.Sent) []answer {
			if s.Spec.TTL < 3 {
				return nil
			}
			as := r.exceeds(s, 255, 1)
			if s.Spec.TTL > 3 {
				as[0].o.Answer, as[0].o.TTL = probe.EchoReply, 64
			}
			return as
		}))
		r.wantFinished(probe.Reached, 4)
		r.wantFindings()
	})
	for _, tt := range []struct {
		name       string
		reply      uint8
		quoted     int
		confidence string
	}{{"all known", 61, 1, "high"}, {"quoted TTL 0", 61, 0, "high"}, {"no reply TTL", 0, 1, "low"}, {"no quoted TTL", 61, -1, "low"}} {
		t.Run("the same again and again, "+tt.name+": the end of what can be known", func(t *testing.T) {
			r := start(t, good())
			r.drive(r.path(4).but(func(s probe.Sent) []answer {
				if s.Spec.TTL < 4 {
					return nil
				}
				return r.exceeds(s, tt.reply, tt.quoted)
			}))
			r.wantHops(r.events, 1, 2, 3, 4)
			r.wantFinished(probe.Blocked, 4)
			r.wantFindings("target-sends-time-exceeded")
			for _, e := range r.events {
				if f, ok := e.(probe.Finding); ok && (f.TTL != 4 || f.Confidence != tt.confidence) {
					t.Errorf("%+v, want TTL 4 and confidence %s", f, tt.confidence)
				}
			}
			for _, s := range r.sent {
				if s.Spec.TTL > 4+3 {
					t.Errorf("TTL %d asked, more than 3 behind", s.Spec.TTL)
				}
			}
		})
	}
	t.Run("silence behind it says nothing: on to the real end", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			switch {
			case s.Spec.TTL < 3 || s.Spec.TTL >= 9:
				return nil
			case s.Spec.TTL > 3:
				return silence
			}
			return r.exceeds(s, 62, 1)
		}))
		r.wantFinished(probe.Reached, 9)
		r.wantHops(r.events, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		r.wantFindings()
	})
	t.Run("other routers behind it", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			if s.Spec.TTL != 3 && s.Spec.TTL != 5 {
				return nil
			}
			return r.exceeds(s, 62, 1)
		}))
		r.wantFinished(probe.Reached, 9)
		r.wantFindings()
	})
	t.Run("another quoted TTL is another box, or zero-TTL forwarding", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			switch s.Spec.TTL {
			case 3:
				return r.exceeds(s, 62, 2)
			case 4, 5, 6:
				return r.exceeds(s, 62, 1)
			}
			return nil
		}))
		r.wantFinished(probe.Reached, 9)
		r.wantFindings("ttl-not-decremented")
	})
	t.Run("another reply TTL, though not falling", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			switch s.Spec.TTL {
			case 3:
				return r.exceeds(s, 60, 1)
			case 4, 5, 6:
				return r.exceeds(s, 62, 1)
			}
			return nil
		}))
		r.wantFinished(probe.Reached, 9)
		r.wantFindings()
	})
	t.Run("a reply TTL that is not known does not fall", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			switch s.Spec.TTL {
			case 3:
				return r.exceeds(s, 60, 1)
			case 4:
				return r.exceeds(s, 0, 1)
			}
			return nil
		}))
		r.wantFinished(probe.Reached, 9)
		r.wantFindings()
	})
	t.Run("the destination no further away is a destination off by one", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(4).but(func(s probe.Sent) []answer {
			if s.Spec.TTL < 3 {
				return nil
			}
			as := r.exceeds(s, 62, 1)
			if s.Spec.TTL > 3 {
				as[0].o.Answer = probe.PortUnreachable
			}
			return as
		}))
		r.wantFinished(probe.Reached, 4)
		r.wantFindings()
	})
	t.Run("once more, at the third TTL behind, among silence", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			switch {
			case s.Spec.TTL < 3:
				return nil
			case s.Spec.TTL == 3 || s.Spec.TTL == 6:
				return r.exceeds(s, 62, 1)
			}
			return silence
		}))
		r.wantFinished(probe.Blocked, 3)
		if f, ok := r.events[len(r.events)-2].(probe.Finding); !ok {
			t.Errorf("%+v before the end, want the finding", r.events[len(r.events)-2])
		} else if f.Confidence != "medium" {
			t.Errorf("%+v, want medium confidence", f)
		}
	})
	t.Run("not judged before the third TTL behind is decided", func(t *testing.T) {
		c := good()
		c.Attempts = 1
		r := start(t, c)
		r.step(0)
		var os []probe.Outcome
		for ttl := 1; ttl <= 4; ttl++ {
			o := r.outcome(ttl, 1, dst, probe.TimeExceeded)
			o.TTL = 62
			os = append(os, o)
		}
		r.step(ms, os[:3]...)
		r.wantHops(r.events, 1)
		r.wantFindings()
		r.step(ms, r.reached(4, 1))
		r.step(ms, r.lost(5, 1))
		r.wantHops(r.events, 1, 2, 3, 4)
		r.wantFinished(probe.Reached, 4)
	})
	t.Run("translated, at the last TTLs", func(t *testing.T) {
		c := good()
		c.Max = 4
		r := start(t, c)
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			if s.Spec.TTL < 3 {
				return nil
			}
			return r.exceeds(s, 67-s.Spec.TTL, 1)
		}))
		r.wantFinished(probe.MaxHops, 4)
		r.wantFindings("dnat-or-nat64-in-front")
	})
	t.Run("with a gap limit shorter than the search", func(t *testing.T) {
		c := good()
		c.GapLimit = 1
		r := start(t, c)
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			switch {
			case s.Spec.TTL < 3:
				return nil
			case s.Spec.TTL > 3:
				return silence
			}
			return r.exceeds(s, 62, 1)
		}))
		r.wantFinished(probe.GapLimit, 4)
	})
	t.Run("at the last TTL", func(t *testing.T) {
		c := good()
		c.Max = 3
		r := start(t, c)
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			if s.Spec.TTL < 3 {
				return nil
			}
			return r.exceeds(s, 62, 1)
		}))
		r.wantFinished(probe.MaxHops, 3)
		r.wantFindings()
	})
}

// service is a path whose destination answers with datagrams that do not tell
// whose they are.
func (r *run) service(n int) net {
	return r.path(n).but(func(s probe.Sent) []answer {
		if int(s.Spec.TTL) < n {
			return nil
		}
		return []answer{{time.Duration(n) * ms, r.datagram(s.Serial)}}
	})
}

// datagram is a service's answer. Drive finds out what it passes for.
func (r *run) datagram(serial uint64) probe.Outcome {
	o := r.to(serial, dst, probe.Datagram)
	o.Match = probe.Alone
	return o
}

func TestServiceAnswersWithoutToken(t *testing.T) {
	for n := 1; n <= 12; n++ {
		for attempts := 1; attempts <= 3; attempts++ {
			c := good()
			c.Attempts = attempts
			r := start(t, c)
			r.drive(r.service(n))
			r.wantFinished(probe.Reached, n)
			r.wantFindings()
			for ttl := 1; ttl <= n; ttl++ {
				for _, o := range r.hopAt(ttl).Outcomes {
					if o.Status != probe.Answered {
						t.Errorf("path of %d, %d attempts: TTL %d lost attempt %d", n, attempts, ttl, o.Spec.Attempt)
					}
				}
			}
		}
	}
	t.Run("step by step", func(t *testing.T) {
		c := good()
		c.Attempts = 1
		r := start(t, c)
		r.step(0) // 1 to 5
		flow := r.to(1, dst, probe.Datagram)
		flow.Serial, flow.Match = 0, probe.FlowOnly
		r.wantSent(r.step(20*ms, r.hop(1, 1), flow)) // nothing more until all is in
		r.wantHops(r.events, 1)
		r.wantWake(180 * ms) // ten times 20 ms after they left
		out := r.step(180 * ms)
		if len(out.GiveUp) != 4 {
			t.Fatalf("gives up %v, want 4 probes", out.GiveUp)
		}
		r.wantSent(r.step(0, r.lost(2, 1), r.lost(3, 1), r.lost(4, 1)))
		r.wantSent(r.step(0, r.lost(5, 1)))
		r.wantWake(4800 * ms) // 5 s after they left no stray of them is about
		r.wantSent(r.step(4799 * ms))
		out = r.step(ms)
		r.wantSent(out, [2]int{2, 1}) // lost, but the end may be there
		out = r.step(2*ms, r.hop(2, 1))
		r.wantHops(out.Events, 2)
		r.wantSent(out, [2]int{3, 1})
		r.wantSent(r.step(20*ms, r.datagram(r.serial(3, 1))))
		r.wantHops(r.events, 1, 2) // once is not enough
		r.wantWake(180 * ms)       // again ten times 20 ms after it left
		r.wantSent(r.step(180*ms), [2]int{3, 1})
		r.wantSent(r.step(100 * ms)) // alone
		r.step(0, r.datagram(r.serial(3, 1)))
		r.wantHops(r.events, 1, 2, 3)
		r.wantFinished(probe.Reached, 3)
	})
	t.Run("known routers are asked together", func(t *testing.T) {
		c := good()
		c.Attempts = 5
		r := start(t, c)
		r.step(0) // three attempts at TTLs 1 to 3
		flow := r.to(1, dst, probe.Datagram)
		flow.Serial, flow.Match = 0, probe.FlowOnly
		r.wantSent(r.step(20*ms, r.hop(1, 1), r.hop(1, 2), r.hop(1, 3), r.hop(2, 1), r.hop(2, 2), r.hop(2, 3), flow))
		r.wantSent(r.step(0, r.lost(3, 1), r.lost(3, 2)))
		r.wantSent(r.step(0, r.lost(3, 3)), [2]int{1, 4}, [2]int{1, 5}, [2]int{2, 4}, [2]int{2, 5})
		r.wantSent(r.step(ms, r.hop(1, 4), r.hop(2, 4), r.hop(1, 5)))
		r.wantSent(r.step(ms, r.hop(2, 5)), [2]int{3, 1})
	})
	flowAnswer := func(r *run) probe.Outcome {
		o := r.to(1, dst, probe.Datagram)
		o.Serial, o.Match = 0, probe.FlowOnly
		return o
	}
	t.Run("a lost attempt at a known router is lost", func(t *testing.T) {
		c := good()
		c.Attempts, c.Max = 2, 3
		r := start(t, c)
		for range 3 {
			r.step(200 * ms)
		}
		r.step(ms, r.hop(2, 1), r.lost(2, 2), flowAnswer(r)) // 1 is open: 2 is not told yet
		out := r.step(ms, r.lost(1, 1), r.hop(1, 2), r.lost(3, 1), r.lost(3, 2))
		r.wantHops(r.events, 1, 2)
		r.wantSent(out, [2]int{3, 1})
	})
	t.Run("a late answer spares asking again", func(t *testing.T) {
		c := good()
		c.Attempts, c.Max = 1, 3
		r := start(t, c)
		r.step(0)
		r.step(ms, flowAnswer(r))
		r.wantSent(r.step(ms, r.lost(1, 1), r.lost(2, 1), r.lost(3, 1)))
		r.wantSent(r.step(5*time.Second), [2]int{1, 1})
		again := r.serial(1, 1)
		late := r.to(2, router(2), probe.TimeExceeded)
		late.Late = true
		r.wantSent(r.step(ms, late))
		r.wantSent(r.step(ms, r.to(again, router(1), probe.TimeExceeded)), [2]int{3, 1})
		r.wantHops(r.events, 1, 2)
	})
	t.Run("a late answer to what is asked again changes nothing", func(t *testing.T) {
		c := good()
		c.Attempts, c.Max = 1, 3
		r := start(t, c)
		r.step(0)
		r.step(ms, flowAnswer(r))
		r.step(ms, r.lost(1, 1), r.lost(2, 1), r.lost(3, 1))
		r.step(5 * time.Second)
		late := r.to(1, router(1), probe.TimeExceeded)
		late.Late = true
		r.step(ms, late)
		r.wantHops(r.events) // the second is out
		r.step(ms, r.to(4, router(9), probe.TimeExceeded))
		if o := r.hopAt(1).Outcomes[0]; o.Serial != 4 {
			t.Errorf("TTL 1 told by probe %d, want the second", o.Serial)
		}
	})
	t.Run("it does not answer again", func(t *testing.T) {
		c := good()
		c.Attempts = 1
		r := start(t, c)
		asked := false
		r.drive(r.path(3).but(func(s probe.Sent) []answer {
			switch {
			case s.Spec.TTL < 3:
				return nil
			case asked:
				return silence
			}
			asked = true
			return r.service(3)(s)
		}))
		f := r.finished()
		if f.Verdict != probe.Reached || f.LastTTL != 7 {
			t.Errorf("%+v, want reached, not beyond TTL 7, the last that was out", f)
		}
		r.wantFindings("path-length-unknown")
		if f := r.finished(); !f.Vague {
			t.Errorf("%+v, want the distance unknown", f)
		}
		for _, s := range r.sent {
			if s.Spec.TTL > 7 {
				t.Errorf("TTL %d asked, where the end cannot be", s.Spec.TTL)
			}
		}
	})
	t.Run("late, when all is told", func(t *testing.T) {
		c := good()
		c.Attempts, c.Max, c.Wait.Here = 1, 3, 0 // what is silent is told at once
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.hop(1, 1), r.lost(2, 1))
		flow := r.to(1, dst, probe.Datagram)
		flow.Serial, flow.Match = 0, probe.FlowOnly
		r.step(ms, flow) // of 2 or 3; 2 was told as lost
		r.step(time.Second, r.lost(3, 1))
		r.wantSent(r.last, [2]int{3, 1})
		r.step(ms, r.outcome(3, 1, dst, probe.Datagram))
		r.wantFinished(probe.Reached, 3)
	})
}

// A service's datagram may be a stray: a copy, or the late answer to another probe.
func TestStrays(t *testing.T) {
	flow := func(r *run) probe.Outcome {
		o := r.to(1, dst, probe.Datagram)
		o.Serial, o.Match = 0, probe.FlowOnly
		return o
	}
	// oldest is the probe that is out the longest, if any is.
	oldest := func(r *run) (probe.Sent, bool) {
		i := slices.IndexFunc(r.sent, func(s probe.Sent) bool { return r.open[s.Serial] })
		if i < 0 {
			return probe.Sent{}, false
		}
		return r.sent[i], true
	}
	// ready is a trace that asks TTL 2 alone; TTL 1 is known, the service within 3.
	ready := func(t *testing.T, attempts int) *run {
		c := good()
		c.Attempts, c.Max = attempts, 3
		r := start(t, c)
		r.step(0)
		r.step(ms, r.hop(1, 1), flow(r))
		for r.a.alone != apart {
			var os []probe.Outcome
			for serial := range r.open {
				os = append(os, r.to(serial, netip.Addr{}, 0))
			}
			r.step(ms, os...)
		}
		for range 20 {
			switch s, ok := oldest(r); {
			case !ok:
				r.step(5 * time.Second)
			case s.Spec.TTL == 1:
				r.step(ms, r.to(s.Serial, router(1), probe.TimeExceeded))
			default:
				r.wantSent(r.last, [2]int{2, 1})
				return r
			}
		}
		t.Fatal("TTL 2 is not asked")
		return nil
	}
	t.Run("outside, a datagram only tells to ask alone", func(t *testing.T) {
		c := good()
		c.InFlight, c.Attempts = 1, 1
		r := start(t, c)
		r.step(0)
		r.wantSent(r.step(ms, r.hop(1, 1)), [2]int{2, 1})
		for range 2 {
			out := r.step(20*ms, r.datagram(r.serial(2, 1)))
			r.wantHops(r.events, 1)
			if len(out.Send) == 0 {
				out = r.step(180 * ms)
			}
			r.wantSent(out, [2]int{2, 1})
		}
		r.step(20*ms, r.datagram(r.serial(2, 1)))
		r.wantFinished(probe.Reached, 2)
		r.wantFindings()
		if o := r.hopAt(2).Outcomes[0]; o.Serial != 4 {
			t.Errorf("told by probe %d, want the last, 4", o.Serial)
		}
	})
	t.Run("a datagram for a known router is none", func(t *testing.T) {
		c := good()
		c.Attempts, c.Max = 1, 3
		r := start(t, c)
		r.step(0)
		r.step(ms, r.hop(2, 1), r.lost(3, 1))
		for n := 0; !r.a.isDecided(1); n++ {
			if n == 100 {
				t.Fatal("no end of asking")
			}
			switch s, ok := oldest(r); {
			case !ok:
				r.step(time.Second)
			case s.Spec.TTL == 3:
				r.step(ms, r.lost(3, 1))
			default:
				r.step(ms, r.datagram(s.Serial))
			}
		}
		if h := r.a.hops[1]; len(h.asks) != 2+confirms {
			t.Errorf("TTL 1 asked %d times, want %d", len(h.asks), 2+confirms)
		}
		r.drive(r.service(3))
		r.wantFinished(probe.Reached, 3)
		if o := r.hopAt(1).Outcomes[0]; o.Status != probe.Lost {
			t.Errorf("TTL 1: %+v, want it lost", o)
		}
	})
	t.Run("time exceeded behind it takes it back", func(t *testing.T) {
		for _, attempts := range []int{1, 2} {
			r := ready(t, attempts)
			serial := r.serial(2, 1)
			r.step(ms, r.datagram(serial))
			dup := r.to(serial, router(2), probe.TimeExceeded)
			dup.Duplicate = true
			r.step(ms, dup)
			if h := r.a.hops[2]; h.decided != 0 || h.answers != 0 || r.a.far != 2 {
				t.Errorf("%d attempts decided at TTL 2, known up to TTL %d; want it asked again", h.decided, r.a.far)
			}
			r.drive(r.service(3))
			r.wantFinished(probe.Reached, 3)
			r.wantFindings()
			for _, o := range r.hopAt(2).Outcomes {
				if o.Answer != probe.TimeExceeded {
					t.Errorf("TTL 2: %+v", o)
				}
			}
		}
	})
	t.Run("time exceeded at the same TTL takes it back", func(t *testing.T) {
		r := ready(t, 2)
		r.step(ms, r.datagram(r.serial(2, 1)))
		r.wantSent(r.step(time.Second), [2]int{2, 2})
		r.step(ms, r.hop(2, 2))
		r.wantHops(r.events, 1)
		r.drive(r.service(3))
		r.wantFinished(probe.Reached, 3)
		r.wantFindings()
		for _, o := range r.hopAt(2).Outcomes {
			if o.Answer != probe.TimeExceeded {
				t.Errorf("TTL 2: %+v", o)
			}
		}
	})
	t.Run("the last attempt is waited for in full", func(t *testing.T) {
		r := ready(t, 2)
		r.wantWake(50 * ms) // ten times 1 ms is too little
		r.step(50 * ms)
		r.wantSent(r.step(0, r.lost(2, 1)), [2]int{2, 2})
		r.step(4 * time.Second)
		if len(r.last.GiveUp) > 0 {
			t.Fatal("given up after 4 s")
		}
		r.wantSent(r.step(time.Second, r.lost(2, 2)), [2]int{3, 1})
	})
	t.Run("one that is not confirmed leaves it open", func(t *testing.T) {
		for attempts := 1; attempts <= 3; attempts++ {
			r := ready(t, attempts)
			r.step(ms, r.datagram(r.serial(2, 1)))
			for range 100 {
				if r.sent[len(r.sent)-1].Spec.TTL == 3 {
					break
				}
				if len(r.open) == 0 {
					r.step(time.Second)
					continue
				}
				last := len(r.sent)
				r.step(5*time.Second, r.to(uint64(last), netip.Addr{}, 0))
			}
			if asked := len(r.a.hops[2].asks); asked != 2*attempts+confirms {
				t.Errorf("TTL 2 asked %d times, want %d", asked, 2*attempts+confirms)
			}
			r.drive(r.service(3))
			r.wantFindings("path-length-unknown")
			if f := r.finished(); f.Verdict != probe.Reached || !f.Vague || f.LastTTL != 3 {
				t.Errorf("%+v, want reached, vague", f)
			}
			for _, o := range r.hopAt(2).Outcomes {
				if o.Status != probe.Lost {
					t.Errorf("TTL 2: %+v, want it lost", o)
				}
			}
		}
	})
}

func TestAdaptiveWait(t *testing.T) {
	tests := []struct {
		name       string
		w          Wait
		here, near time.Duration // the round trip of TTL 2's first attempt and of TTL 3's; 0: lost so far
		want       time.Duration
	}{
		{"nothing known", Wait{5 * time.Second, 3, 10}, 0, 0, 5 * time.Second},
		{"the same hop", Wait{5 * time.Second, 3, 10}, 40 * ms, 0, 120 * ms},
		{"the same hop before a later one", Wait{5 * time.Second, 3, 10}, 40 * ms, 90 * ms, 120 * ms},
		{"a later hop", Wait{5 * time.Second, 3, 10}, 0, 90 * ms, 900 * ms},
		{"not above the maximum", Wait{500 * ms, 3, 10}, 0, 90 * ms, 500 * ms},
		{"not below the floor", Wait{5 * time.Second, 3, 10}, 50 * time.Microsecond, 0, 50 * ms},
		{"the floor is not above the maximum", Wait{20 * ms, 3, 10}, 50 * time.Microsecond, 0, 20 * ms},
		{"no factor here", Wait{5 * time.Second, 0, 10}, 40 * ms, 90 * ms, 900 * ms},
		{"no factor near", Wait{5 * time.Second, 3, 0}, 0, 90 * ms, 5 * time.Second},
		{"neither", Wait{5 * time.Second, 0, 0}, 40 * ms, 90 * ms, 5 * time.Second},
		{"a factor beyond all time", Wait{5 * time.Second, math.MaxFloat64, 0}, 40 * ms, 0, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			c.Wait, c.Max, c.Attempts = tt.w, 3, 2
			r := start(t, c)
			r.step(0)
			if r.sent[0].Spec.Timeout != tt.w.Max {
				t.Errorf("timeout %v, want %v", r.sent[0].Spec.Timeout, tt.w.Max)
			}
			for len(r.sent) < 6 {
				r.step(100 * ms)
			}
			// All six are out. The first answers name their round trips.
			told := r.now
			var os []probe.Outcome
			answer := func(ttl int, rtt time.Duration) {
				if rtt == 0 {
					return
				}
				o := r.hop(ttl, 1)
				o.At = o.Sent.Add(rtt)
				os = append(os, o)
			}
			answer(2, tt.here)
			answer(3, tt.near)
			r.step(0, os...)
			serial := r.serial(2, 2)
			sent := r.sent[serial-1].At
			gone := func() bool {
				for _, g := range r.last.GiveUp {
					if g == serial {
						return true
					}
				}
				return false
			}
			for !gone() && !r.last.Wake.IsZero() {
				r.step(r.last.Wake.Sub(r.now))
			}
			switch {
			case tt.want == tt.w.Max && gone():
				t.Errorf("given up after %v; the maximum is the engine's", r.now.Sub(sent))
			case tt.want != tt.w.Max && !gone():
				t.Errorf("not given up, want after %v", tt.want)
			case tt.want != tt.w.Max && r.now.Sub(sent) != max(tt.want, told.Sub(sent)):
				t.Errorf("given up after %v, want %v", r.now.Sub(sent), tt.want)
			}
		})
	}
}

func TestFirstAnswerOfAHopSetsItsWait(t *testing.T) {
	c := good()
	c.Max = 1
	r := start(t, c)
	r.step(0)
	r.step(20*ms, r.hop(1, 1))
	r.wantWake(40 * ms)
	r.step(30*ms, r.hop(1, 2)) // after 50 ms
	r.wantWake(10 * ms)        // the third has still three times 20 ms
}

func TestGivenUpOnce(t *testing.T) {
	c := good()
	c.Max, c.Attempts = 2, 1
	r := start(t, c)
	r.step(0)
	r.step(10*ms, r.hop(2, 1))
	r.wantWake(90 * ms)
	if out := r.step(90 * ms); len(out.GiveUp) != 1 || out.GiveUp[0] != r.serial(1, 1) {
		t.Fatalf("gives up %v", out.GiveUp)
	}
	if out := r.step(ms); len(out.GiveUp) != 0 || !out.Wake.IsZero() {
		t.Errorf("gives up %v again, wakes %v", out.GiveUp, out.Wake)
	}
	r.wantHops(r.step(0, r.lost(1, 1)).Events, 1, 2)
	r.wantFinished(probe.MaxHops, 2)
}

func TestLateAnswers(t *testing.T) {
	late := func(o probe.Outcome) probe.Outcome { o.Late = true; return o }
	one := good()
	one.Attempts = 1
	t.Run("revises a hop that is not told", func(t *testing.T) {
		r := start(t, one)
		r.step(0)
		r.step(ms, r.lost(2, 1))
		r.step(ms, late(r.hop(2, 1)))
		r.step(ms, r.hop(1, 1))
		if o := r.hopAt(2).Outcomes[0]; o.Status != probe.Answered || !o.Late {
			t.Errorf("TTL 2 told as %+v, want late and answered", o)
		}
	})
	t.Run("shortens a path that is not told", func(t *testing.T) {
		r := start(t, one)
		r.step(0)
		r.step(ms, r.lost(2, 1), r.reached(3, 1))
		r.step(ms, late(r.reached(2, 1)))
		r.step(ms, r.hop(1, 1), r.lost(4, 1), r.lost(5, 1))
		r.wantHops(r.events, 1, 2)
		r.wantFinished(probe.Reached, 2)
	})
	t.Run("ends the path at the last hop told", func(t *testing.T) {
		c := one
		c.Wait.Here = 0 // what is silent is told at once
		r := start(t, c)
		r.step(0)
		r.step(ms, r.hop(1, 1), r.lost(2, 1))
		r.wantHops(r.events, 1, 2)
		r.step(ms, late(r.reached(2, 1)))
		for _, s := range r.last.GiveUp {
			r.step(0, r.to(s, netip.Addr{}, 0))
		}
		r.wantHops(r.events, 1, 2)
		r.wantFinished(probe.Reached, 2)
	})
	t.Run("does not take back a hop", func(t *testing.T) {
		r := start(t, one)
		r.step(0)
		r.step(ms, r.hop(1, 1), r.lost(2, 1), r.hop(3, 1))
		r.wantHops(r.events, 1, 2, 3)
		r.step(ms, late(r.reached(2, 1)))
		r.drive(r.path(20))
		if f := r.finished(); f.LastTTL <= 3 {
			t.Errorf("%+v, want an end beyond what was told", f)
		}
	})
	t.Run("is no gap", func(t *testing.T) {
		c := one
		c.GapLimit, c.Max, c.Wait.Here = 2, 9, 0
		r := start(t, c)
		r.step(0)
		r.step(ms, r.hop(1, 1), r.lost(2, 1))
		r.step(ms, late(r.hop(2, 1)))
		r.step(ms, r.lost(3, 1))
		if r.last.Done || len(r.last.GiveUp) > 0 {
			t.Fatal("ended after one silent TTL")
		}
		r.step(time.Second)
		r.step(ms, r.lost(4, 1))
		r.wantFinished(probe.GapLimit, 4)
	})
}

func TestGapLimit(t *testing.T) {
	gap := func(n int) Config {
		c := good()
		c.GapLimit = n
		return c
	}
	from := func(r *run, n net, ttls ...int) net {
		return n.but(func(s probe.Sent) []answer {
			for _, ttl := range ttls {
				if int(s.Spec.TTL) == ttl {
					return silence
				}
			}
			return nil
		})
	}
	t.Run("ends the trace, the silent TTLs told", func(t *testing.T) {
		r := start(t, gap(3))
		r.drive(from(r, r.path(12), 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
		r.wantHops(r.events, 1, 2, 3, 4, 5, 6)
		r.wantFinished(probe.GapLimit, 6)
		for _, s := range r.sent {
			if s.Spec.TTL > 6 {
				t.Errorf("TTL %d asked, beyond what can count", s.Spec.TTL)
			}
		}
	})
	t.Run("counts anew behind a hop that answers", func(t *testing.T) {
		r := start(t, gap(3))
		r.drive(from(r, r.path(9), 3, 4, 6, 7))
		r.wantFinished(probe.Reached, 9)
	})
	t.Run("one answered attempt is no silence", func(t *testing.T) {
		r := start(t, gap(1))
		r.drive(r.path(5).but(func(s probe.Sent) []answer {
			if s.Spec.TTL == 3 && s.Spec.Attempt != 3 {
				return silence
			}
			return nil
		}))
		r.wantFinished(probe.Reached, 5)
	})
	t.Run("nobody at all", func(t *testing.T) {
		r := start(t, gap(4))
		r.drive(func(probe.Sent) []answer { return silence })
		r.wantHops(r.events, 1, 2, 3, 4)
		r.wantFinished(probe.GapLimit, 4)
	})
	t.Run("none", func(t *testing.T) {
		r := start(t, gap(0))
		r.drive(func(probe.Sent) []answer { return silence })
		if f := r.finished(); f.Verdict != probe.MaxHops || f.LastTTL != 30 {
			t.Errorf("%+v, want max-hops at 30", f)
		}
	})
}

func TestEdges(t *testing.T) {
	with := func(first, max uint8, attempts int) Config {
		c := good()
		c.First, c.Max, c.Attempts = first, max, attempts
		return c
	}
	t.Run("one hop", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(1))
		r.wantHops(r.events, 1)
		r.wantFinished(probe.Reached, 1)
	})
	t.Run("own address", func(t *testing.T) {
		c := good()
		c.Dst = netip.AddrPortFrom(src, 33434)
		r := start(t, c)
		r.drive(func(s probe.Sent) []answer {
			return []answer{{20 * time.Microsecond, r.to(s.Serial, src, probe.PortUnreachable)}}
		})
		r.wantHops(r.events, 1)
		r.wantFinished(probe.Reached, 1)
	})
	t.Run("first is last, before the destination", func(t *testing.T) {
		r := start(t, with(4, 4, 3))
		r.drive(r.path(9))
		r.wantHops(r.events, 4)
		r.wantFinished(probe.MaxHops, 4)
	})
	t.Run("first is last, at the destination", func(t *testing.T) {
		r := start(t, with(4, 4, 1))
		r.drive(r.path(4))
		r.wantHops(r.events, 4)
		r.wantFinished(probe.Reached, 4)
	})
	t.Run("first beyond the destination", func(t *testing.T) {
		r := start(t, with(7, 30, 3))
		r.drive(r.path(4))
		r.wantHops(r.events, 7)
		r.wantFinished(probe.Reached, 7)
	})
	t.Run("silent first hop", func(t *testing.T) {
		r := start(t, good())
		r.drive(r.path(4).but(func(s probe.Sent) []answer {
			if s.Spec.TTL == 1 {
				return silence
			}
			return nil
		}))
		r.wantHops(r.events, 1, 2, 3, 4)
		r.wantFinished(probe.Reached, 4)
	})
	t.Run("too long a path", func(t *testing.T) {
		r := start(t, with(1, 5, 2))
		r.drive(r.path(9))
		r.wantHops(r.events, 1, 2, 3, 4, 5)
		r.wantFinished(probe.MaxHops, 5)
	})
	t.Run("255 hops", func(t *testing.T) {
		r := start(t, with(1, 255, 2))
		r.drive(r.path(255))
		r.wantFinished(probe.Reached, 255)
		if n := len(r.events); n != 256 {
			t.Errorf("%d events, want 255 hops and the end", n)
		}
	})
	t.Run("after the end", func(t *testing.T) {
		r := start(t, with(1, 1, 1))
		r.drive(r.path(1))
		out := r.step(time.Second)
		if !out.Done || len(out.Events)+len(out.Send) != 0 {
			t.Errorf("a step after the end gives %+v", out)
		}
	})
}

// fails makes the outcome of a probe that did not leave.
func (r *run) fails(s probe.Sent, errno string) []answer {
	o := probe.Outcome{Serial: s.Serial, Spec: s.Spec, Status: probe.Failed, Errno: errno, Err: errLink}
	return []answer{{0, o}}
}

func TestProbesThatDoNotLeave(t *testing.T) {
	for _, one := range []bool{false, true} { // one does leave, and is lost
		t.Run(fmt.Sprintf("none behind the second hop, but for one lost: %v", one), func(t *testing.T) {
			c := good()
			c.Max = 6
			r := start(t, c)
			r.drive(r.path(9).but(func(s probe.Sent) []answer {
				switch {
				case s.Spec.TTL < 3:
					return nil
				case one && s.Spec.TTL == 4 && s.Spec.Attempt == 2:
					return silence
				}
				return r.fails(s, "EPERM")
			}))
			f := r.finished()
			if one && (f.Verdict != probe.MaxHops || f.Err != nil) || !one && (f.Verdict != probe.Errored || !errors.Is(f.Err, errLink)) || !f.Complete || f.LastTTL != 6 {
				t.Errorf("%+v, want an error that wraps why, and with the lost one max-hops", f)
			}
		})
	}
	t.Run("all alike: the rest is spared", func(t *testing.T) {
		r := start(t, good())
		r.drive(func(s probe.Sent) []answer { return r.fails(s, "ENETUNREACH") })
		f := r.finished()
		if f.Verdict != probe.Errored || !errors.Is(f.Err, errLink) || f.Complete {
			t.Errorf("%+v, want an error that wraps why, not complete", f)
		}
		if len(r.sent) > 9 {
			t.Errorf("%d probes tried, want no more than those of the first TTLs", len(r.sent))
		}
		r.wantHops(r.events[:3], 1, 2, 3)
	})
	t.Run("one TTL", func(t *testing.T) {
		c := good()
		c.Max = 1
		r := start(t, c)
		r.drive(func(s probe.Sent) []answer { return r.fails(s, "EPERM") })
		if f := r.finished(); f.Verdict != probe.Errored || !errors.Is(f.Err, errLink) || f.LastTTL != 1 || !f.Complete {
			t.Errorf("%+v", f)
		}
	})
	t.Run("many attempts: what is known of the hops is told", func(t *testing.T) {
		c := good()
		c.Attempts = 50
		r := start(t, c)
		r.drive(func(s probe.Sent) []answer { return r.fails(s, "EPERM") })
		if f := r.finished(); f.Verdict != probe.Errored {
			t.Errorf("%+v", f)
		}
		if h := r.hopAt(3); len(h.Outcomes) < 3 || r.now.Sub(epoch) > time.Second {
			t.Errorf("TTL 3 has %d outcomes after %v", len(h.Outcomes), r.now.Sub(epoch))
		}
	})
	t.Run("not while others are out", func(t *testing.T) {
		c := good()
		c.Attempts = 1
		r := start(t, c)
		r.step(0)
		var os []probe.Outcome
		for _, s := range r.sent[:3] {
			os = append(os, r.fails(s, "EPERM")[0].o)
		}
		r.wantSent(r.step(0, os...))
		if r.last.Done {
			t.Fatal("done, while two probes are out")
		}
		if out := r.step(ms, r.hop(4, 1)); len(out.Send) == 0 {
			t.Error("one is answered, and nothing is sent")
		}
	})
	t.Run("for different reasons: all are tried", func(t *testing.T) {
		c := good()
		c.Max = 6
		r := start(t, c)
		r.drive(func(s probe.Sent) []answer { return r.fails(s, fmt.Sprint("E", s.Serial%2)) })
		if f := r.finished(); f.Verdict != probe.Errored || f.LastTTL != 6 || len(r.sent) != 18 {
			t.Errorf("%+v after %d probes", f, len(r.sent))
		}
	})
	t.Run("one that failed is no hop, no end and no silence", func(t *testing.T) {
		c := good()
		c.Attempts = 1
		r := start(t, c)
		r.drive(r.path(5).but(func(s probe.Sent) []answer {
			if s.Spec.TTL == 2 {
				return r.fails(s, "EPERM")
			}
			return nil
		}))
		r.wantHops(r.events, 1, 2, 3, 4, 5)
		r.wantFinished(probe.Reached, 5)
		if o := r.hopAt(2).Outcomes[0]; o.Status != probe.Failed || o.Err == nil {
			t.Errorf("%+v, want why it failed", o)
		}
	})
	t.Run("not even when all others are lost", func(t *testing.T) {
		c := good()
		c.Max = 4
		r := start(t, c)
		r.drive(func(s probe.Sent) []answer {
			if s.Serial%2 == 0 {
				return silence
			}
			return r.fails(s, "EPERM")
		})
		r.wantFinished(probe.MaxHops, 4)
	})
}

func TestStop(t *testing.T) {
	t.Run("interrupted: what is known, in order", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.step(ms, r.hop(1, 1), r.hop(3, 1))
		r.step(ms, r.hop(1, 2), r.hop(1, 3))
		r.wantHops(r.last.Events, 1)
		out := r.stop(ms, fmt.Errorf("run: %w", probe.ErrInterrupted), r.hop(3, 2))
		r.wantHops(out.Events, 3) // 2 has nothing decided
		if h := r.hopAt(3); len(h.Outcomes) != 2 || h.Outcomes[1].Spec.Attempt != 2 {
			t.Errorf("TTL 3 has %+v", h.Outcomes)
		}
		f := r.finished()
		if f.Verdict != probe.Interrupted || f.Complete || f.Err != nil || f.LastTTL != 6 || f.At != r.now {
			t.Errorf("%+v, want interrupted, last probed TTL 6", f)
		}
		if len(out.Send) != 0 {
			t.Errorf("sends %v", out.Send)
		}
	})
	t.Run("before anything", func(t *testing.T) {
		r := start(t, good())
		r.stop(0, probe.ErrInterrupted)
		if f := r.finished(); f.Verdict != probe.Interrupted || f.Complete || f.LastTTL != 0 || len(r.events) != 1 {
			t.Errorf("%+v in %d events", f, len(r.events))
		}
	})
	t.Run("with the end known", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.step(ms, r.reached(2, 1), r.reached(3, 1))
		r.stop(ms, probe.ErrInterrupted)
		r.wantHops(r.events, 2) // not 3
		if f := r.finished(); f.Verdict != probe.Interrupted || f.LastTTL != 2 || f.Complete {
			t.Errorf("%+v", f)
		}
	})
	t.Run("a fault", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.stop(ms, errLink)
		if f := r.finished(); f.Verdict != probe.Errored || !errors.Is(f.Err, errLink) || f.Complete {
			t.Errorf("%+v", f)
		}
	})
	t.Run("when all is known but what lies beyond the end", func(t *testing.T) {
		c := good()
		c.Attempts = 1
		r := start(t, c)
		r.step(0)
		r.step(ms, r.reached(1, 1))
		if r.last.Done {
			t.Fatal("done while others are out")
		}
		r.stop(ms, probe.ErrInterrupted)
		r.wantHops(r.events, 1)
		r.wantFinished(probe.Reached, 1)
	})
}

func TestSameStepsSameAnswers(t *testing.T) {
	tell := func() (*run, []probe.Event) {
		r := start(t, good())
		r.drive(r.path(9).but(func(s probe.Sent) []answer {
			if s.Serial%5 == 0 {
				return silence
			}
			return nil
		}))
		return r, r.events
	}
	a, one := tell()
	b, two := tell()
	if !reflect.DeepEqual(one, two) || !reflect.DeepEqual(a.sent, b.sent) {
		t.Error("two runs of the same differ")
	}
}

// With a gap no probe leaves sooner than so long behind the one before, and none is left out for it.
func TestGap(t *testing.T) {
	c := good()
	c.Gap, c.Max = 300*ms, 3
	r := start(t, c)
	r.drive(func(s probe.Sent) []answer {
		return []answer{{ms, r.to(s.Serial, router(int(s.Spec.TTL)), probe.TimeExceeded)}}
	})
	r.wantFinished(probe.MaxHops, 3)
	if len(r.sent) != 9 {
		t.Errorf("%d probes, want 9", len(r.sent))
	}
	for i := range r.sent[1:] {
		if gap := r.sent[i+1].At.Sub(r.sent[i].At); gap < c.Gap {
			t.Errorf("probe %d: %v behind the one before, want at least %v", i+2, gap, c.Gap)
		}
	}
}

// What is asked beyond the end is waited for no longer, and not asked at all where it has not left.
func TestTheEndRecallsWhatHasNotLeft(t *testing.T) {
	c := good()
	c.Attempts = 1
	r := start(t, c)
	r.wantSent(r.step(0), [2]int{1, 1}, [2]int{2, 1}, [2]int{3, 1}, [2]int{4, 1}, [2]int{5, 1})
	out := r.step(20*ms, r.hop(1, 1), r.reached(2, 1))
	beyond := []uint64{r.serial(3, 1), r.serial(4, 1), r.serial(5, 1)}
	if !slices.Equal(out.GiveUp, beyond) || !slices.Equal(out.Recall, beyond) {
		t.Fatalf("gives up %v, recalls %v; want both for %v", out.GiveUp, out.Recall, beyond)
	}
	o := r.lost(5, 1)
	o.Status = probe.Unsent
	r.step(0, r.lost(3, 1), r.lost(4, 1), o)
	r.wantFinished(probe.Reached, 2)
}

// What a probe is made of is the same in every one.
func TestEveryProbeAsAskedFor(t *testing.T) {
	tests := []struct {
		name string
		mod  func(*Config)
		want func(probe.Spec) bool
	}{
		{"first sequence number", func(c *Config) {
			c.Proto, c.Sequence, c.Dst = probe.ICMP, 50, netip.AddrPortFrom(dst, 1)
		}, func(s probe.Spec) bool { return s.First == 50 }},
		{"protocol", func(c *Config) {
			c.Proto, c.Number, c.Src, c.Dst = probe.Raw, 253, netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
		}, func(s probe.Spec) bool { return s.Proto == probe.Raw && s.Number == 253 }},
		{"segment", func(c *Config) { c.Proto, c.Segment = probe.TCP, probe.Segment{Flags: 0x10, MSS: 900} },
			func(s probe.Spec) bool { return s.Segment == probe.Segment{Flags: 0x10, MSS: 900} }},
		{"source route", func(c *Config) { c.Options, c.Via = "\x01\x83\x07\x04\xc0\x00\x02\x09", router(1) },
			func(s probe.Spec) bool { return len(s.Options) == 8 && s.Via == router(1) }},
		{"service", func(c *Config) { c.Proto, c.Service = probe.DCCP, 7 }, func(s probe.Spec) bool { return s.Service == 7 }},
		{"content", func(c *Config) { c.Content = probe.QUICInitial }, func(s probe.Spec) bool { return s.Content == probe.QUICInitial }},
		{"coverage", func(c *Config) { c.Proto, c.Coverage = probe.UDPLite, 20 }, func(s probe.Spec) bool { return s.Coverage == 20 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.mod(&c)
			r := start(t, c)
			r.drive(func(s probe.Sent) []answer { return []answer{{ms, r.to(s.Serial, dst, probe.PortUnreachable)}} })
			for _, s := range r.sent {
				if !tt.want(s.Spec) || s.Spec.Dst != c.Dst || s.Spec.Src != c.Src {
					t.Errorf("%+v", s.Spec)
				}
			}
			r.wantFinished(probe.Reached, 1)
		})
	}
}

// alone is an ICMP error that quotes too little to say what it answers, while that probe alone is waited for.
func (r *run) alone(ttl, attempt int, from netip.Addr, a probe.Answer) probe.Outcome {
	r.Helper()
	o := r.outcome(ttl, attempt, from, a)
	o.Match = probe.Alone
	return o
}

func TestCutQuotesStepByStep(t *testing.T) {
	begin := func(t *testing.T, attempts int) *run {
		c := good()
		c.Attempts = attempts
		r := start(t, c)
		var lost []probe.Outcome
		for _, s := range r.step(0).Send {
			o := r.to(uint64(len(lost)+1), netip.Addr{}, 0)
			o.Spec = s
			lost = append(lost, o)
		}
		flow := r.to(1, router(1), probe.TimeExceeded)
		flow.Serial, flow.Match = 0, probe.FlowOnly
		r.wantSent(r.step(20*ms, flow)) // nothing more until all is in
		r.wantWake(180 * ms)            // ten times 20 ms after they left
		r.step(180 * ms)
		r.wantSent(r.step(0, lost...))
		r.wantWake(4800 * ms) // 5 s after they left no answer of them is about
		r.wantSent(r.step(4799 * ms))
		r.wantHops(r.events)
		r.wantSent(r.step(ms), [2]int{1, 1})
		return r
	}
	t.Run("one after the other", func(t *testing.T) {
		r := begin(t, 1)
		out := r.step(2*ms, r.alone(1, 1, router(1), probe.TimeExceeded))
		r.wantHops(out.Events, 1)
		r.wantSent(out, [2]int{2, 1})
		out = r.step(4*ms, r.hop(2, 1)) // one that quotes more is taken as well
		r.wantSent(out, [2]int{3, 1})
		out = r.step(4*ms, r.alone(3, 1, dst, probe.PortUnreachable))
		r.wantHops(r.events, 1, 2) // once is not enough for the end
		r.wantSent(out)
		r.wantSent(r.step(50*ms), [2]int{3, 1})
		r.step(4*ms, r.alone(3, 1, dst, probe.PortUnreachable))
		r.wantHops(r.events, 1, 2, 3)
		r.wantFinished(probe.Reached, 3)
		r.wantFindings()
	})
	t.Run("a copy", func(t *testing.T) {
		r := begin(t, 1)
		r.wantSent(r.step(2*ms, r.alone(1, 1, router(1), probe.TimeExceeded)), [2]int{2, 1})
		r.wantSent(r.step(ms, r.alone(2, 1, router(1), probe.TimeExceeded)))
		r.wantHops(r.events, 1)
		r.wantWake(5 * time.Second)
		r.wantSent(r.step(5*time.Second), [2]int{2, 1})
		// There it is again: a router that is two hops, or that passes a TTL of 0 on.
		out := r.step(ms, r.alone(2, 1, router(1), probe.TimeExceeded))
		r.wantHops(out.Events, 2)
		r.wantSent(out, [2]int{3, 1})
	})
	t.Run("its own answer after all", func(t *testing.T) {
		r := begin(t, 2)
		r.wantSent(r.step(2*ms, r.alone(1, 1, router(9), probe.Unreachable)), [2]int{1, 2})
		o := r.hop(1, 1)
		o.Duplicate = true
		r.step(ms, o)
		r.step(ms, r.lost(1, 2))
		if o := r.hopAt(1).Outcomes[0]; o.From != router(1) || o.Answer != probe.TimeExceeded {
			t.Errorf("%v, answer %d", o.From, o.Answer)
		}
		if r.a.finish != nil {
			t.Errorf("ends as %+v", r.a.finish)
		}
	})
	t.Run("a lost attempt", func(t *testing.T) {
		r := begin(t, 2)
		r.wantSent(r.step(200*ms, r.lost(1, 1)), [2]int{1, 2}) // at the same TTL a stray does no harm
		r.wantSent(r.step(2*ms, r.alone(1, 2, router(1), probe.TimeExceeded)))
		r.wantWake(4798 * ms)
		r.wantSent(r.step(4798*ms), [2]int{2, 1})
	})
	t.Run("one in flight", func(t *testing.T) {
		c := good()
		c.Attempts, c.InFlight = 1, 1
		r := start(t, c)
		r.step(0)
		r.wantSent(r.step(2*ms, r.hop(1, 1)), [2]int{2, 1})
		// It may be a copy of the first answer, and then its own is still to come.
		r.wantSent(r.step(ms, r.alone(2, 1, router(2), probe.TimeExceeded)), [2]int{2, 1})
		r.wantSent(r.step(4*ms, r.alone(2, 1, router(2), probe.TimeExceeded)))
		r.wantHops(r.events, 1, 2)
		r.wantWake(5*time.Second - 5*ms)
		r.wantSent(r.step(5*time.Second-5*ms), [2]int{3, 1})
	})
	t.Run("a way that is blocked", func(t *testing.T) {
		r := begin(t, 1)
		r.step(2*ms, r.alone(1, 1, router(1), probe.Unreachable))
		r.wantFinished(probe.Blocked, 1)
	})
	t.Run("classic", func(t *testing.T) {
		c := good()
		c.Attempts, c.Classic = 1, true
		r := start(t, c)
		sent := len(r.step(0).Send)
		o := r.alone(2, 1, router(2), probe.TimeExceeded) // its port says whose it is
		out := r.step(ms, r.hop(1, 1), o)
		r.wantHops(out.Events, 1, 2)
		if len(out.Send) == 0 || sent < 3 || r.a.alone != together {
			t.Errorf("%d probes sent, then %d", sent, len(out.Send))
		}
	})
}
