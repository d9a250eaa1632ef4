package ping

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

const ms = time.Millisecond

var (
	epoch   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	src     = netip.MustParseAddr("198.51.100.2")
	dst     = netip.MustParseAddr("192.0.2.9")
	router  = netip.MustParseAddr("10.0.3.1")
	errLink = errors.New("link is down")
)

// good is a run that New accepts; tests change what they are about.
func good() Config {
	return Config{
		Src: netip.AddrPortFrom(src, 4711), Dst: netip.AddrPortFrom(dst, 0),
		TTL: 64, Count: 3, Interval: time.Second, Timeout: 10 * time.Second,
	}
}

// A run holds a ping, its clock and all it has said.
type run struct {
	*testing.T
	p      *P
	now    time.Time
	room   int
	sent   []probe.Sent // by serial, from 1
	events []probe.Event
	last   probe.Output
}

func start(t *testing.T, c Config) *run {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &run{T: t, p: p, now: epoch, room: 1024}
}

func (r *run) step(after time.Duration, os ...probe.Outcome) probe.Output {
	r.Helper()
	return r.stop(after, nil, os...)
}

func (r *run) stop(after time.Duration, why error, os ...probe.Outcome) probe.Output {
	r.Helper()
	r.now = r.now.Add(after)
	for i := range os {
		if os[i].Status == probe.Answered {
			os[i].At = r.now
		}
	}
	var out probe.Output
	r.p.Step(probe.Input{Now: r.now, Room: r.room, Outcomes: os, Stop: why}, &out)
	if len(out.Send) > min(r.p.c.Preload, r.room) {
		r.Fatalf("%d probes sent at once, room was %d", len(out.Send), r.room)
	}
	for _, s := range out.Send {
		r.sent = append(r.sent, probe.Sent{Serial: uint64(len(r.sent) + 1), Spec: s, At: r.now})
	}
	if !out.Wake.IsZero() && !out.Wake.After(r.now) {
		r.Fatalf("wake at %v, now is %v", out.Wake.Sub(epoch), r.now.Sub(epoch))
	}
	r.events = append(r.events, out.Events...)
	r.last = out
	return out
}

// reply is the answer to a probe.
func (r *run) reply(serial uint64) probe.Outcome {
	o := r.lost(serial)
	o.Status, o.From, o.Answer, o.Match = probe.Answered, dst, probe.EchoReply, probe.Strict
	return o
}

// icmp is an ICMP error about a probe.
func (r *run) icmp(serial uint64, a probe.Answer) probe.Outcome {
	o := r.reply(serial)
	o.From, o.Answer = router, a
	return o
}

// flowOnly is a service's answer to a probe that the engine could not tell from others.
func (r *run) flowOnly(serial uint64) probe.Outcome {
	o := r.reply(serial)
	o.Serial, o.Sent, o.Answer, o.Match = 0, time.Time{}, probe.Datagram, probe.FlowOnly
	return o
}

func (r *run) lost(serial uint64) probe.Outcome {
	s := r.sent[serial-1]
	return probe.Outcome{Serial: serial, Spec: s.Spec, Sent: s.At, Status: probe.Lost}
}

func (r *run) failed(serial uint64) probe.Outcome {
	return probe.Outcome{Serial: serial, Spec: r.sent[serial-1].Spec, Status: probe.Failed, Errno: "ENETUNREACH", Err: errLink}
}

func (r *run) unsent(serial uint64) probe.Outcome {
	return probe.Outcome{Serial: serial, Spec: r.sent[serial-1].Spec, Status: probe.Unsent, Err: errLink}
}

// wantSent tells how many probes have been sent in all.
func (r *run) wantSent(n int) {
	r.Helper()
	if len(r.sent) != n {
		r.Fatalf("%d probes sent, want %d", len(r.sent), n)
	}
}

func (r *run) wantWake(want time.Duration) {
	r.Helper()
	if got := r.last.Wake.Sub(r.now); r.last.Wake.IsZero() || got != want {
		r.Fatalf("wake in %v, want in %v", got, want)
	}
}

func (r *run) wantGiveUp(want ...uint64) {
	r.Helper()
	if !slices.Equal(r.last.GiveUp, want) {
		r.Fatalf("gives up %v, want %v", r.last.GiveUp, want)
	}
}

// wantRecall tells what need not leave any more.
func (r *run) wantRecall(want ...uint64) {
	r.Helper()
	if !slices.Equal(r.last.Recall, want) {
		r.Fatalf("recalls %v, want %v", r.last.Recall, want)
	}
}

func (r *run) wantRunning() {
	r.Helper()
	if r.last.Done || len(r.events) != 0 {
		r.Fatalf("ended with %v, want it to go on", r.events)
	}
}

// wantFinished holds the one event there is.
func (r *run) wantFinished(v probe.Verdict) {
	r.Helper()
	r.wantEnd(v, true)
}

func (r *run) wantEnd(v probe.Verdict, complete bool) {
	r.Helper()
	if !r.last.Done || len(r.events) != 1 {
		r.Fatalf("done %v with %d events, want the end, once", r.last.Done, len(r.events))
	}
	f, ok := r.events[0].(probe.Finished)
	if !ok || f.Verdict != v || f.Complete != complete || f.At != r.now || f.LastTTL != 0 || (f.Err != nil) != (v == probe.Errored) {
		r.Fatalf("%T %+v, want %q", r.events[0], r.events[0], v)
	}
}

func TestNewChecksEveryField(t *testing.T) {
	v6 := netip.MustParseAddrPort("[2001:db8::9]:0")
	tests := []struct {
		name string
		mod  func(*Config)
		want string // in the error; "": accepted
	}{
		{"good", func(c *Config) {}, ""},
		{"IPv6 with a label", func(c *Config) { c.Src, c.Dst, c.Label = v6, v6, 0xfffff }, ""},
		{"no end, no deadline, no timeout", func(c *Config) { c.Count, c.Deadline, c.Timeout = 0, 0, 0 }, ""},
		{"smallest size", func(c *Config) { c.Size = 28 }, ""},
		{"longest waits", func(c *Config) {
			c.Interval, c.Timeout, c.Deadline = maxInterval, maxInterval, maxDeadline
		}, ""},

		{"no source", func(c *Config) { c.Src = netip.AddrPort{} }, "source invalid IP: want"},
		{"no destination", func(c *Config) { c.Dst = netip.AddrPort{} }, "destination invalid IP: want"},
		{"mapped source", func(c *Config) { c.Src = netip.MustParseAddrPort("[::ffff:192.0.2.9]:1") }, "source ::ffff:192.0.2.9: want"},
		{"two families", func(c *Config) { c.Dst = v6 }, "want one family"},
		{"label of 21 bits", func(c *Config) { c.Src, c.Dst, c.Label = v6, v6, 1<<20 }, "flow label 0x100000: want 20 bits"},
		{"label in IPv4", func(c *Config) { c.Label = 1 }, "want 0 with IPv4"},
		{"TTL 0", func(c *Config) { c.TTL = 0 }, "TTL 0: want 1 to 255"},
		{"negative size", func(c *Config) { c.Size = -1 }, "size -1 bytes: want 0, or 28 to 65535"},
		{"size below the headers", func(c *Config) { c.Size = 27 }, "size 27 bytes: want"},
		{"IPv6 size below the headers", func(c *Config) { c.Src, c.Dst, c.Size = v6, v6, 47 }, "want 0, or 48 to 65535"},
		{"size above a packet", func(c *Config) { c.Size = 65536 }, "size 65536 bytes: want"},
		{"endless pattern", func(c *Config) { c.Pattern = strings.Repeat("x", 65536) }, "pattern of 65536 bytes: want at most 65535"},
		{"negative count", func(c *Config) { c.Count = -1 }, "count -1: want 0 for no end"},
		{"no interval", func(c *Config) { c.Interval = 0 }, ""},
		{"negative interval", func(c *Config) { c.Interval = -1 }, "interval -1ns: want 0 for as fast as answers come"},
		{"too long an interval", func(c *Config) { c.Interval = math.MaxInt64 }, "come, up to 596h31m23s"},
		{"negative least interval", func(c *Config) { c.Least = -1 }, "least interval -1ns: want 0"},
		{"too long a preload", func(c *Config) { c.Preload = 65537 }, "preload 65537: want 0 to 65536"},
		{"unknown record", func(c *Config) { c.Record = StampsOf + 1 }, "record 5: want 0 to 4"},
		{"record and options", func(c *Config) { c.Record, c.Options = Route, "\x01\x01\x01\x01" }, "want one of the two"},
		{"record in IPv6", func(c *Config) { c.Src, c.Dst, c.Record = v6, v6, Route }, "IPv6 has no such options"},
		{"nobody's times", func(c *Config) { c.Record = StampsOf }, "0 hops: want 1 to 4"},
		{"hops without a record", func(c *Config) { c.Hops = []netip.Addr{dst} }, "1 hops: want"},
		{"IPv6 hop", func(c *Config) { c.Record, c.Hops = StampsOf, []netip.Addr{v6.Addr()} }, "hop 2001:db8::9: want an IPv4 address"},
		{"negative deadline", func(c *Config) { c.Deadline = -1 }, "deadline -1ns: want 0 for none"},
		{"too long a deadline", func(c *Config) { c.Deadline = math.MaxInt64 }, "deadline 2562047h47m16.854775807s: want"},
		{"negative timeout", func(c *Config) { c.Timeout = -1 }, "timeout -1ns: want 0 for 10s"},
		{"too long a timeout", func(c *Config) { c.Timeout = math.MaxInt64 }, "timeout 2562047h47m16.854775807s: want"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.mod(&c)
			p, err := New(c)
			switch {
			case tt.want == "" && (err != nil || p == nil):
				t.Fatalf("error %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	_, err := New(Config{})
	for _, want := range []string{"source", "TTL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s too", err, want)
		}
	}
}

func TestOneProbeAnInterval(t *testing.T) {
	c := good()
	c.Label, c.TOS, c.DF, c.Size, c.Pattern = 0, 0xb8, true, 84, "\xff\x00"
	r := start(t, c)
	r.step(0)
	r.wantSent(1) // at once
	r.wantWake(time.Second)
	r.step(20*ms, r.reply(1))
	r.wantSent(1)
	r.wantWake(980 * ms)
	r.step(980 * ms)
	r.wantSent(2)
	r.step(time.Second, r.reply(2))
	r.wantSent(3)
	r.step(20*ms, r.reply(3))
	r.wantFinished(probe.AnsweredIt)
	for i, s := range r.sent {
		want := probe.Spec{
			Proto: probe.ICMP, Src: c.Src, Dst: c.Dst, TTL: 64, TOS: 0xb8, DF: true, Size: 84, Pattern: "\xff\x00",
			Timeout: 10 * time.Second, Attempt: uint32(i + 1),
		}
		if s.Spec != want {
			t.Errorf("probe %d is\n%+v, want\n%+v", i+1, s.Spec, want)
		}
	}
	if out := r.step(time.Hour); !out.Done || len(out.Send)+len(out.Events) != 0 {
		t.Errorf("a step after the end gives %+v", out)
	}
}

func TestScheduleKeepsToItsGrid(t *testing.T) {
	c := good()
	c.Count = 0
	r := start(t, c)
	r.step(0)
	r.step(1300 * ms) // 300 ms late
	r.wantSent(2)
	r.wantWake(700 * ms) // not a whole second
	r.step(700 * ms)     // in time, at 2 s
	r.step(3500 * ms)    // at 5.5 s: 3, 4 and 5 s are over
	r.wantSent(4)        // one for them all
	r.wantWake(500 * ms) // the next is due at 6 s
	r.step(500*ms - 1)   // not yet
	r.wantSent(4)        //
	r.step(1)            //
	r.wantSent(5)        //
	r.wantWake(time.Second)
	r.room = 0
	r.step(time.Second)
	r.wantSent(5)
	if !r.last.Wake.IsZero() {
		t.Errorf("wakes %v, but only room can help", r.last.Wake)
	}
	r.room = 1
	r.step(400 * ms)
	r.wantSent(6)
	r.wantWake(600 * ms)
}

func TestCountEndsWithTheLastAnswer(t *testing.T) {
	t.Run("an ICMP error decides a probe", func(t *testing.T) {
		c := good()
		c.Count = 2
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.reply(1))
		r.step(ms, r.icmp(2, probe.Unreachable))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("the last probe is waited for, two round trips", func(t *testing.T) {
		c := good()
		c.Interval = 100 * ms
		r := start(t, c)
		r.step(0)
		r.step(100 * ms)
		r.step(50*ms, r.reply(1)) // 150 ms
		r.step(50 * ms)           // the third leaves
		r.wantWake(300 * ms)
		r.step(100*ms, r.reply(2)) // 200 ms is the longest now
		r.wantWake(300 * ms)
		r.step(300 * ms)
		r.wantGiveUp(3)
		r.wantRecall() // it was asked for
		r.wantRunning()
		r.step(0, r.lost(3))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("or an interval, whichever is longer", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.step(ms, r.reply(1))
		r.step(999 * ms)
		r.step(time.Second)
		r.wantWake(time.Second)
		r.step(time.Second)
		r.wantGiveUp(2, 3)
	})
	t.Run("or its timeout, where nothing was answered", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.step(time.Second)
		r.step(time.Second)
		if !r.last.Wake.IsZero() {
			t.Errorf("wakes %v, want the engine to hold the timeout", r.last.Wake)
		}
		r.step(8*time.Second, r.lost(1))
		r.step(time.Second, r.lost(2))
		r.wantRunning()
		r.wantGiveUp()
		r.step(time.Second, r.lost(3))
		r.wantFinished(probe.Silent)
	})
	t.Run("not for the answer that was too late by far", func(t *testing.T) {
		c := good()
		c.Timeout, c.Count = time.Second, 2
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.lost(1))
		late := r.reply(1)
		late.Late = true
		r.step(900*ms, late) // 1.9 s; twice that is more than the timeout allows
		r.wantWake(1100 * ms)
	})
}

// TestAnswersOfTheFlow: an answer that is no known probe's has no time, so it shortens no wait.
func TestAnswersOfTheFlow(t *testing.T) {
	three := func(t *testing.T) *run {
		c := good()
		c.Proto, c.Interval, c.Timeout = probe.UDP, 100*ms, time.Second
		r := start(t, c)
		r.step(0)
		r.step(100 * ms)
		r.step(100 * ms)
		r.wantSent(3)
		return r
	}
	t.Run("the rest is waited for", func(t *testing.T) {
		r := three(t)
		r.step(150*ms, r.flowOnly(1))
		r.step(100*ms, r.flowOnly(2))
		r.wantGiveUp()
		if !r.last.Wake.IsZero() {
			t.Errorf("wakes %v, want the engine to hold the timeout", r.last.Wake)
		}
		r.step(550*ms, r.lost(1))
		r.step(100*ms, r.lost(2))
		r.wantGiveUp()
		r.wantRunning()
		r.step(100*ms, r.lost(3))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("until there are as many as probes", func(t *testing.T) {
		r := three(t)
		r.step(150*ms, r.flowOnly(1))
		r.step(100*ms, r.flowOnly(2))
		r.step(100*ms, r.flowOnly(3))
		r.wantGiveUp(1, 2, 3)
		r.step(0, r.lost(1), r.lost(2), r.lost(3))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("or a time is known", func(t *testing.T) {
		r := three(t)
		r.step(10*ms, r.flowOnly(1), r.reply(3))
		r.wantWake(90 * ms)
		r.step(90 * ms)
		r.wantGiveUp(1, 2)
	})
	t.Run("a deadline loses none", func(t *testing.T) {
		c := good()
		c.Proto, c.Count, c.Deadline = probe.UDP, 0, 2500*ms
		r := start(t, c)
		r.step(0)
		r.step(time.Second)
		r.step(time.Second, r.flowOnly(1))
		r.step(500 * ms)
		r.wantGiveUp()
		r.wantEnd(probe.AnsweredIt, false)
	})
}

func TestDeadline(t *testing.T) {
	t.Run("ends everything", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, 2500*ms
		r := start(t, c)
		r.step(0)
		r.wantWake(time.Second)
		r.step(100*ms, r.reply(1))
		r.step(900 * ms)
		r.step(time.Second)
		r.wantWake(500 * ms)
		r.step(500 * ms)
		r.wantSent(3)
		r.wantGiveUp(2, 3)
		r.wantRunning()
		r.step(0, r.lost(2), r.lost(3))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("what could not be answered yet is not lost", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, 2500*ms
		r := start(t, c)
		r.step(0)
		r.step(400*ms, r.reply(1)) // so the third, sent 500 ms before the end, may still be
		r.step(600 * ms)
		r.step(time.Second)
		r.step(500 * ms)
		r.wantGiveUp(2)
		r.step(0, r.lost(2))
		r.wantEnd(probe.AnsweredIt, false)
	})
	t.Run("nothing answered by then is silence", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, 1500*ms
		r := start(t, c)
		r.step(0)
		r.step(time.Second)
		r.step(500 * ms)
		r.wantGiveUp(1, 2)
		r.step(0, r.lost(1), r.lost(2))
		r.wantFinished(probe.Silent)
	})
	t.Run("nothing leaves when it is over", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, 2*time.Second
		r := start(t, c)
		r.step(0)
		r.step(time.Second)
		r.step(time.Second, r.lost(1), r.lost(2))
		r.wantSent(2)
		r.wantFinished(probe.Silent)
	})
	t.Run("count is of answers then", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 2, time.Minute
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.lost(1))
		r.step(time.Second, r.reply(2))
		r.step(time.Second)
		r.wantSent(4) // two answers are wanted, and one is there
		dup := r.reply(2)
		dup.Duplicate = true
		r.step(ms, dup)
		r.wantRunning()
		r.step(ms, r.reply(4)) // 3 is still out, and may be answered yet
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("no waiting for the last as without", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 1, time.Minute
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.lost(1))
		r.wantSent(2)
		r.wantRunning()
	})
	t.Run("an error from the network ends it too", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, time.Minute
		r := start(t, c)
		r.step(0)
		r.step(time.Second)
		r.step(ms, r.icmp(1, probe.Unreachable))
		r.wantGiveUp(2)
		r.step(0, r.lost(2))
		r.wantFinished(probe.Blocked)
	})
	t.Run("an error of this host itself too", func(t *testing.T) { // as where no neighbour answers
		c := good()
		c.Count, c.Deadline = 0, time.Minute
		r := start(t, c)
		r.step(0)
		r.step(time.Second)
		o := r.failed(1)
		o.Answer, o.From = probe.Unreachable, src
		r.step(ms, o)
		r.wantGiveUp(2)
		r.step(0, r.lost(2))
		r.wantFinished(probe.Silent) // nobody refused anything
	})
	t.Run("not what could not leave", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, time.Minute
		r := start(t, c)
		r.step(0)
		r.step(ms, r.failed(1))
		r.wantGiveUp()
		r.wantRunning()
	})
	t.Run("does not wait for what has not left by then", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, 1500*ms
		r := start(t, c)
		r.step(0)
		r.step(ms, r.reply(1))
		r.step(999 * ms)
		r.step(500 * ms)
		r.wantGiveUp(2)
		r.wantRecall(2)
		r.step(0, r.unsent(2))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("nothing left at all", func(t *testing.T) {
		c := good()
		c.Count, c.Deadline = 0, 500*ms
		r := start(t, c)
		r.step(0)
		r.step(500 * ms)
		r.wantGiveUp(1)
		r.wantRecall(1)
		r.step(0, r.unsent(1))
		r.wantFinished(probe.Errored)
		if f := r.events[len(r.events)-1].(probe.Finished); !errors.Is(f.Err, errLink) || !errors.Is(f.Err, ErrUnsent) {
			t.Errorf("error %v, want what the probe waited for", f.Err)
		}
	})
	t.Run("before there was room for anything", func(t *testing.T) {
		c := good()
		c.Deadline = time.Second
		r := start(t, c)
		r.room = 0
		r.step(0)
		r.wantWake(time.Second)
		r.step(time.Second)
		r.wantFinished(probe.Silent)
	})
	t.Run("wakes in time, though probes go on later", func(t *testing.T) {
		c := good()
		c.Deadline = 300 * ms
		r := start(t, c)
		r.step(0)
		r.wantWake(300 * ms)
	})
}

func TestVerdict(t *testing.T) {
	one := func(t *testing.T) *run {
		c := good()
		c.Count = 1
		r := start(t, c)
		r.step(0)
		return r
	}
	t.Run("answered", func(t *testing.T) {
		r := one(t)
		r.step(ms, r.reply(1))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("answered, corrupted", func(t *testing.T) {
		r := one(t)
		o := r.reply(1)
		o.Corrupted = true
		r.step(ms, o)
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("answered late", func(t *testing.T) {
		c := good()
		c.Count = 2
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.lost(1))
		late := r.reply(1)
		late.Late = true
		r.step(ms, late)
		r.step(ms, r.lost(2))
		r.wantFinished(probe.AnsweredIt)
	})
	t.Run("answered among errors", func(t *testing.T) {
		c := good()
		c.Count = 3
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.icmp(1, probe.Unreachable))
		r.step(time.Second, r.reply(2))
		r.step(ms, r.failed(3))
		r.wantFinished(probe.AnsweredIt)
	})
	for _, a := range []probe.Answer{probe.Unreachable, probe.PortUnreachable, probe.TimeExceeded, probe.TooBig} {
		t.Run("an error instead", func(t *testing.T) {
			r := one(t)
			r.step(ms, r.icmp(1, a))
			r.wantFinished(probe.Blocked)
		})
	}
	t.Run("silent", func(t *testing.T) {
		r := one(t)
		r.step(ms, r.lost(1))
		r.wantFinished(probe.Silent)
	})
	t.Run("nothing left this host", func(t *testing.T) {
		r := one(t)
		r.step(ms, r.failed(1))
		r.wantFinished(probe.Errored)
		if f := r.events[0].(probe.Finished); !errors.Is(f.Err, errLink) {
			t.Errorf("error %v, want one that wraps why", f.Err)
		}
	})
	t.Run("something left this host", func(t *testing.T) {
		c := good()
		c.Count = 2
		r := start(t, c)
		r.step(0)
		r.step(time.Second, r.failed(1))
		r.step(ms, r.lost(2))
		r.wantFinished(probe.Silent)
	})
}

func TestStop(t *testing.T) {
	ended := func(t *testing.T, r *run, v probe.Verdict) probe.Finished {
		t.Helper()
		f, ok := r.events[len(r.events)-1].(probe.Finished)
		if !ok || len(r.events) != 1 || !r.last.Done || f.Complete || f.Verdict != v || len(r.last.Send) != 0 {
			t.Fatalf("%+v, done %v, sends %v; want %q, not complete", r.events, r.last.Done, r.last.Send, v)
		}
		return f
	}
	t.Run("interrupted", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.stop(time.Second, probe.ErrInterrupted, r.reply(1)) // when a probe is due
		ended(t, r, probe.Interrupted)
	})
	t.Run("interrupted before anything", func(t *testing.T) {
		r := start(t, good())
		r.stop(0, probe.ErrInterrupted)
		ended(t, r, probe.Interrupted)
	})
	t.Run("a fault", func(t *testing.T) {
		r := start(t, good())
		r.step(0)
		r.stop(ms, errLink)
		if f := ended(t, r, probe.Errored); !errors.Is(f.Err, errLink) {
			t.Errorf("error %v", f.Err)
		}
	})
	t.Run("when all is known", func(t *testing.T) {
		c := good()
		c.Count = 1
		r := start(t, c)
		r.step(0)
		r.stop(ms, probe.ErrInterrupted, r.reply(1))
		r.wantFinished(probe.AnsweredIt)
	})
}

// A ping may run for months: what it keeps does not grow.
func TestMemoryIsBounded(t *testing.T) {
	c := good()
	c.Count, c.Interval, c.Timeout = 0, ms, time.Second
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	now, serial := epoch, uint64(0)
	var out probe.Output
	go1000 := func(n int) {
		for range n * 1000 {
			var os []probe.Outcome
			switch o := (probe.Outcome{Serial: serial, Sent: now.Add(-ms), At: now, Match: probe.Strict}); {
			case serial%3 != 0: // answered at once
				o.Status, o.Answer = probe.Answered, probe.EchoReply
				os = append(os, o)
			}
			if old := serial - 999; serial > 999 && old%3 == 0 {
				os = append(os, probe.Outcome{Serial: old, Status: probe.Lost})
			}
			out = probe.Output{Send: out.Send[:0]}
			p.Step(probe.Input{Now: now, Room: 1024, Outcomes: os}, &out)
			serial += uint64(len(out.Send))
			now = now.Add(ms)
		}
	}
	go1000(5)
	most := cap(p.flying)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	go1000(500)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if serial != 505_000 {
		t.Fatalf("%d probes, want 505000", serial)
	}
	if len(p.flying) > 1000 || cap(p.flying) > most {
		t.Errorf("%d probes in flight, room for %d after %d before", len(p.flying), cap(p.flying), most)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<10 {
		t.Errorf("grew by %d bytes", grown)
	}
	runtime.KeepAlive(p)
}

// TestWhateverComes holds ping to its promises on a network that answers at random.
func TestWhateverComes(t *testing.T) {
	for seed := range uint64(1000) {
		whatever(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func whatever(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	pick := func(n ...int) int { return n[rnd.IntN(len(n))] }
	c := good()
	c.Count = pick(0, 1, 3, 20)
	c.Interval = time.Duration(pick(1, 200, 1000)) * ms
	c.Deadline = time.Duration(pick(0, 1, 500, 7000)) * ms
	c.Timeout = time.Duration(pick(0, 50, 1000)) * ms
	c.Proto = probe.Proto(pick(0, int(probe.UDP)))
	stopAt := pick(10_000, 10_000, 5, 50)
	if c.Count == 0 && c.Deadline == 0 {
		stopAt = 100
	}
	r := start(t, c)
	fate := map[uint64]probe.Status{}
	open := 0
	answer := func(serial uint64) probe.Outcome {
		switch rnd.IntN(8) {
		case 0:
			return r.icmp(serial, probe.Unreachable)
		case 1:
			return r.failed(serial)
		case 2:
			return r.lost(serial)
		}
		return r.reply(serial)
	}
	var os []probe.Outcome
	for steps := 0; !r.last.Done; steps++ {
		if steps > 50_000 {
			t.Fatal("no end")
		}
		if steps == stopAt {
			r.stop(ms, probe.ErrInterrupted, os...)
			break
		}
		r.room = pick(0, 1, 5)
		known := len(r.sent)
		after := time.Duration(rnd.IntN(300)) * ms
		if steps == 0 {
			after = 0 // the grid begins here
		}
		if w := r.last.Wake; !w.IsZero() && rnd.IntN(2) == 0 {
			after = w.Sub(r.now)
		}
		out := r.step(max(0, after), os...)
		open += len(r.sent) - known
		os = nil
		for _, serial := range out.GiveUp {
			if fate[serial] == 0 {
				os = append(os, r.lost(serial))
			}
		}
		for _, s := range r.sent {
			timeout := s.Spec.Timeout
			switch was := fate[s.Serial]; {
			case slices.Contains(out.GiveUp, s.Serial):
			case was == 0 && r.now.Sub(s.At) >= timeout:
				os = append(os, r.lost(s.Serial))
			case was == 0 && c.Proto == probe.UDP && rnd.IntN(4) == 0:
				os = append(os, r.flowOnly(s.Serial))
			case was == 0 && rnd.IntN(3) == 0:
				os = append(os, answer(s.Serial))
			case was == probe.Lost && rnd.IntN(30) == 0:
				o := r.reply(s.Serial)
				o.Late = true
				os = append(os, o)
			case was == probe.Answered && rnd.IntN(30) == 0:
				o := r.reply(s.Serial)
				o.Duplicate = true
				os = append(os, o)
			}
		}
		for _, o := range os {
			if o.Serial == 0 {
				continue
			}
			if fate[o.Serial] == 0 {
				open--
			}
			fate[o.Serial] = o.Status
		}
	}
	f, ok := r.events[0].(probe.Finished)
	if len(r.events) != 1 || !ok {
		t.Fatalf("events %v, want one, the end", r.events)
	}
	if f.Complete && open != 0 && (c.Deadline == 0 || c.Count == 0) {
		t.Errorf("complete with %d probes out", open)
	}
	if c.Count != 0 && c.Deadline == 0 && len(r.sent) > c.Count {
		t.Errorf("%d probes, want at most %d", len(r.sent), c.Count)
	}
	for i, s := range r.sent {
		if int(s.Spec.Attempt) != i+1 {
			t.Errorf("probe %d is number %d", i+1, s.Spec.Attempt)
		}
		if c.Deadline != 0 && s.At.Sub(epoch) >= c.Deadline {
			t.Errorf("probe %d left after %v, the deadline is %v", i+1, s.At.Sub(epoch), c.Deadline)
		}
		if i > 0 && s.At.Sub(epoch)/c.Interval == r.sent[i-1].At.Sub(epoch)/c.Interval {
			t.Errorf("probes %d and %d in one interval", i, i+1)
		}
	}
}

// BenchmarkStep is what the algorithm itself costs, for one probe and its answer.
func BenchmarkStep(b *testing.B) {
	c := good()
	c.Count, c.Interval = 0, ms
	p, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var out probe.Output
	os := make([]probe.Outcome, 1)
	now, serial := epoch, uint64(0)
	for b.Loop() {
		out = probe.Output{Send: out.Send[:0]}
		p.Step(probe.Input{Now: now, Room: 1024}, &out)
		serial++
		os[0] = probe.Outcome{Serial: serial, Status: probe.Answered, Answer: probe.EchoReply, Match: probe.Strict, Sent: now, At: now}
		out = probe.Output{Send: out.Send[:0]}
		p.Step(probe.Input{Now: now, Room: 1024, Outcomes: os}, &out)
		now = now.Add(ms)
	}
}
