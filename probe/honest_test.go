package probe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/probe/trace"
	"gtrace/rawsock"
)

// T35: a redirect or a source quench is about a probe, and decides nothing: its answer is
// still to come.
func TestRedirectDoesNotEndAProbe(t *testing.T) {
	for _, typ := range []uint8{wire.Redirect4, wire.SourceQuench4} {
		src, r, _ := network()
		var c *simnet.Conn
		c = simnet.New(simnet.Config{Seed: 1, OnSend: func(now time.Time, p []byte) {
			from := r.Addrs[0]
			c.Inject(now.Add(time.Millisecond), rawsock.Reply{From: from, To: us, Proto: wire.ProtoICMP, TTL: 64, At: now.Add(time.Millisecond), Kernel: true,
				Data: wire.AppendError(nil, from, us, typ, 1, 0x0a000102, slices.Clone(p[:28]), nil)})
		}}, src)
		s := &script{spec: echo(t, c), count: 3, every: time.Second}
		lg := run(t, c, s, probe.Limits{})
		for _, o := range s.all {
			if o.Answer != probe.EchoReply || o.Duplicate {
				t.Errorf("type %d: outcome %+v, want the echo reply alone", typ, o)
			}
		}
		if got := lg.checked(t); len(s.all) != 3 || got.Advisories != 3 || got.Unmatched != 0 {
			t.Errorf("type %d: %d outcomes, %+v; want 3 and 3 advisories", typ, len(s.all), got)
		}
	}
}

// T53, T54: an answer stamped before its probe left is the clocks' fault; its RTT is
// measured anew and never negative.
func TestAnswerStampedBeforeItsProbe(t *testing.T) {
	src, _, _ := network()
	c := simnet.New(simnet.Config{Seed: 1}, src)
	s := &script{spec: echo(t, c), count: 1}
	if err := probe.Run(context.Background(), early{c}, s, probe.Limits{}, discard{}); err != nil {
		t.Fatal(err)
	}
	if len(s.all) != 1 {
		t.Fatalf("outcomes %+v", s.all)
	}
	if rtt, ok := s.all[0].RTT(); !ok || rtt < 0 || s.all[0].Clock != probe.UserClock {
		t.Errorf("RTT %v %v by the %v clock, want one of this program, not negative", rtt, ok, s.all[0].Clock)
	}
}

// T53: where the clock is set between the two stamps of a probe, by however much and either way, its RTT is what this program
// saw itself, by its own clock, and that is counted. What is right in spite of it stays.
func TestClockSetInBetween(t *testing.T) {
	const trip = 4 * time.Millisecond // there and back
	for _, tt := range []struct {
		name  string
		by    time.Duration
		clock probe.Clock
		steps uint64
	}{
		{"not at all", 0, probe.KernelClock, 0},
		{"forwards, an hour", time.Hour, probe.UserClock, 3},
		{"forwards, 6 ms", 6 * time.Millisecond, probe.UserClock, 3},
		{"backwards, an hour", -time.Hour, probe.UserClock, 3},
		{"backwards, 12 ms", -12 * time.Millisecond, probe.UserClock, 3},
		{"backwards, a little more than the trip", -trip - time.Microsecond, probe.UserClock, 0}, // two clocks differ by so much
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, _, _ := network()
			c := simnet.New(simnet.Config{Seed: 1}, src)
			s := &script{spec: echo(t, c), count: 3, every: time.Second}
			var lg eventLog
			if err := probe.Run(context.Background(), stepped{c, tt.by}, s, probe.Limits{}, &lg); err != nil {
				t.Fatal(err)
			}
			for _, o := range s.all {
				if rtt, ok := o.RTT(); !ok || rtt != trip || o.Clock != tt.clock {
					t.Errorf("RTT %v %v by the %v clock, want %v by the %v clock", rtt, ok, o.Clock, trip, tt.clock)
				}
			}
			if len(s.all) != 3 || lg.checked.ClockSteps != tt.steps {
				t.Errorf("%d outcomes, %d steps; want 3 and %d", len(s.all), lg.checked.ClockSteps, tt.steps)
			}
			if found := len(lg.found) == 1 && lg.found[0] == "clock-step"; found != (tt.steps > 0) || !found && len(lg.found) > 0 {
				t.Errorf("findings %v", lg.found)
			}
		})
	}
}

// An eventLog keeps what the run says against itself.
type eventLog struct {
	checked probe.Checked
	found   []string
}

func (l *eventLog) Emit(e probe.Event) error {
	switch e := e.(type) {
	case probe.Checked:
		l.checked = e
	case probe.Finding:
		l.found = append(l.found, e.Code)
	}
	return nil
}

// The run says of itself that answers were lost on this host, once, and with how many; and nothing where none were.
func TestOwnDropsAreFound(t *testing.T) {
	for _, drops := range []uint64{0, 7} {
		src, _, _ := network()
		c := simnet.New(simnet.Config{Seed: 1}, src)
		c.SetStats(rawsock.Stats{Drops: 5}) // before the run
		c.At(c.Now().Add(time.Second), func() { c.SetStats(rawsock.Stats{Drops: 5 + drops}) })
		s := &script{spec: echo(t, c), count: 3, every: time.Second}
		var lg eventLog
		if err := probe.Run(context.Background(), c, s, probe.Limits{}, &lg); err != nil {
			t.Fatal(err)
		}
		if found := len(lg.found) == 1 && lg.found[0] == "own-receive-drops"; found != (drops > 0) || !found && len(lg.found) > 0 || lg.checked.ReceiveDrops != drops {
			t.Errorf("%d drops: findings %v, %+v", drops, lg.found, lg.checked)
		}
	}
}

// overrun is a connection whose host reads so many answers a second and loses the rest.
type overrun struct {
	*simnet.Conn
	reads, room float64
	at, last    time.Time // of the last answer; of the last that was lost
	lost        uint64
}

func (o *overrun) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	n, err := o.Conn.Recv(rs, until)
	kept := 0
	for _, r := range rs[:n] {
		o.room = min(o.reads/10, o.room+r.At.Sub(o.at).Seconds()*o.reads)
		o.at = r.At
		if o.room < 1 {
			o.lost++
			o.last = r.At
			continue
		}
		o.room--
		rs[kept] = r
		kept++
	}
	return kept, err
}

func (o *overrun) Stats() rawsock.Stats { return rawsock.Stats{Drops: o.lost} }

// A run that asks more than this host reads goes slower until nothing is lost, and says so. One that is slow anyway is not the reason.
func TestGoesSlowerForItsOwnDrops(t *testing.T) {
	for _, tt := range []struct {
		rate, reads, least, most float64
	}{
		{20000, 30000, 0, 0},
		{20000, 12000, 9000, 10100},
		{20000, 6000, 4500, 5100},
		{0, 6000, 3000, 6000}, // as fast as it goes
		{20000, 500, 1000, 1000},
		{900, 400, 0, 0},
		{990, 400, 0, 0}, // the first half second has the burst beside
	} {
		src, _, _ := network()
		o := &overrun{Conn: simnet.New(simnet.Config{Seed: 1}, src), reads: tt.reads}
		o.at = o.Now()
		every := 50 * time.Microsecond
		if tt.rate > 0 && tt.rate < 1000 {
			every = time.Second / time.Duration(tt.rate)
		}
		s := &script{spec: echo(t, o.Conn), count: int(6 * min(20000, 1/every.Seconds())), every: every}
		s.spec.Timeout = time.Second
		var lg eventLog
		if err := probe.Run(context.Background(), o, s, probe.Limits{InFlight: 1 << 16, Rate: tt.rate, Burst: 256}, &lg); err != nil {
			t.Fatal(err)
		}
		if got := lg.checked.SlowedTo; got < tt.least || got > tt.most {
			t.Errorf("%v a second, of which %v are read: slowed to %v, want %v to %v", tt.rate, tt.reads, got, tt.least, tt.most)
		}
		if calm := o.Now().Sub(o.last); tt.least > 1000 && calm < 2*time.Second {
			t.Errorf("%v a second, of which %v are read: answers were lost until %v before the end", tt.rate, tt.reads, calm)
		}
	}
}

// stepped is a connection on whose host the clock is set between a probe's departure and its answer.
type stepped struct {
	*simnet.Conn
	by time.Duration
}

func (e stepped) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	n, err := e.Conn.Recv(rs, until)
	for i := range rs[:n] {
		rs[i].At = rs[i].At.Add(e.by)
	}
	return n, err
}

// early is a connection whose arrival stamps are a second too early.
type early struct{ *simnet.Conn }

func (e early) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	n, err := e.Conn.Recv(rs, until)
	for i := range rs[:n] {
		rs[i].At = rs[i].At.Add(-time.Second)
	}
	return n, err
}

// T83: a source address that goes away is not sent from any longer, and what is not sent is not lost.
func TestSourceAddressGoesAway(t *testing.T) {
	src, _, _ := network()
	var left int
	c := simnet.New(simnet.Config{Seed: 1, OnSend: func(time.Time, []byte) { left++ }}, src)
	spec := echo(t, c)
	c.At(c.Now().Add(2500*time.Millisecond), func() { src.Addrs = []netip.Addr{netip.MustParseAddr("10.0.0.77")} })
	s := &script{spec: spec, count: 6, every: time.Second}
	lg := run(t, c, s, probe.Limits{})
	var failed int
	for _, o := range s.all {
		if o.Status == probe.Failed && o.Errno == "EADDRNOTAVAIL" && o.Err != nil {
			failed++
		}
	}
	if left != 3 || failed != 3 || lg.checked(t).SendErrors != 3 {
		t.Errorf("%d left, %d failed, %+v; want 3 and 3", left, failed, lg.checked(t))
	}
}

// T36: an error from this host's own address is a local failure, by its own name, unless this host is
// what was asked.
func TestErrorsOfThisHost(t *testing.T) {
	tests := []struct {
		do    simnet.Action
		errno string
	}{
		{simnet.HostUnreachable, "EHOSTUNREACH"},
		{simnet.NetUnreachable, "ENETUNREACH"},
		{simnet.AdminProhibited, "EACCES"},
		{simnet.HostProhibited, "EACCES"},
		{simnet.PortUnreachable, "ECONNREFUSED"},
		{simnet.ProtocolUnreachable, "EHOSTUNREACH"},
		{simnet.Unreachable(4, 127), "EMSGSIZE"},
	}
	for _, tt := range tests {
		t.Run(tt.errno, func(t *testing.T) {
			src, _, _ := network()
			src.Rules = []simnet.Rule{{Do: tt.do}}
			c := simnet.New(simnet.Config{Seed: 1}, src)
			s := &script{spec: echo(t, c), count: 1}
			run(t, c, s, probe.Limits{})
			if len(s.all) != 1 || s.all[0].Status != probe.Failed || s.all[0].Errno != tt.errno {
				t.Errorf("outcomes %+v, want one that failed with %s", s.all, tt.errno)
			}
		})
	}
	t.Run("it was asked itself", func(t *testing.T) {
		src, _, _ := network()
		src.Forwards = false
		c := simnet.New(simnet.Config{Seed: 1}, src)
		d := decode(t, traced(t, c, probe.UDP, us, us, nil))
		if d.Outcome != "reached" || d.Summary.HopCount != 1 || d.SelfCheck["send_errors"] != 0.0 {
			t.Errorf("%+v, want reached at once", d)
		}
	})
}

// T34, T30: what each type and code means, whichever the family.
func TestMeaning(t *testing.T) {
	type code struct{ typ, code uint8 }
	special := map[bool]map[code]probe.Answer{
		false: {{11, 0}: probe.TimeExceeded, {3, 2}: probe.ProtocolUnreachable, {3, 3}: probe.PortUnreachable, {3, 4}: probe.TooBig},
		true:  {{3, 0}: probe.TimeExceeded, {1, 4}: probe.PortUnreachable, {4, 1}: probe.ProtocolUnreachable},
	}
	general := map[bool]map[uint8]probe.Answer{
		false: {3: probe.Unreachable, 11: probe.ReassemblyExceeded, 12: probe.ParameterProblem},
		true:  {1: probe.Unreachable, 2: probe.TooBig, 3: probe.ReassemblyExceeded, 4: probe.ParameterProblem},
	}
	for _, v6 := range []bool{false, true} {
		for typ := range uint8(128) {
			for _, n := range []uint8{0, 1, 2, 3, 4, 5, 6, 9, 10, 13, 15} {
				want, ok := special[v6][code{typ, n}]
				if !ok {
					want = general[v6][typ]
				}
				if !v6 && (typ == wire.Echo4 || typ == wire.EchoReply4) {
					continue
				}
				src, from, to := network6()
				var c *simnet.Conn
				c = simnet.New(simnet.Config{Seed: 1, PassAll: true, OnSend: func(now time.Time, p []byte) {
					proto := uint8(wire.ProtoICMP)
					if v6 {
						proto = wire.ProtoICMPv6
					}
					r, u := from[v6], to[v6]
					c.Inject(now, rawsock.Reply{From: r, To: u, Proto: proto, TTL: 64, At: now, Kernel: true,
						Data: wire.AppendError(nil, r, u, typ, n, 0, slices.Clone(p), nil)})
				}}, src)
				spec := probe.Spec{Proto: probe.UDP, TTL: 9, Timeout: time.Millisecond}
				spec.Dst = netip.AddrPortFrom(them, 33434)
				if v6 {
					spec.Dst = netip.AddrPortFrom(them6, 33434)
				}
				port, err := c.Reserve(to[v6], wire.ProtoUDP, 0)
				if err != nil {
					t.Fatal(err)
				}
				spec.Src = netip.AddrPortFrom(to[v6], port)
				s := &script{spec: spec, count: 1}
				run(t, c, s, probe.Limits{})
				got := s.all[0].Answer
				if len(s.all) != 1 || got != want || (s.all[0].Status == probe.Answered) != (want != probe.NoAnswer) {
					t.Errorf("IPv6 %v, type %d code %d: %d outcomes, answer %d, want %d", v6, typ, n, len(s.all), got, want)
				}
			}
		}
	}
}

// network6 is a host that nothing but injected replies reaches.
func network6() (src *simnet.Node, from, us46 map[bool]netip.Addr) {
	src, _, dst, _ := line(1)
	dst.Silent = true
	return src, map[bool]netip.Addr{false: netip.MustParseAddr("10.9.9.9"), true: netip.MustParseAddr("fd00:99::9")},
		map[bool]netip.Addr{false: us, true: us6}
}

// T41 to T43: labels come through to the document.
func TestLabelsAreTold(t *testing.T) {
	for _, compat := range []bool{false, true} {
		src, rs, _, _ := line(3)
		rs[1].Objects, rs[1].Compat = simnet.MPLS(16001, 16002), compat
		c := simnet.New(simnet.Config{Seed: 1}, src)
		d := decode(t, traced(t, c, probe.UDP, us, them, nil))
		for _, h := range d.Hops {
			for _, p := range h.Probes {
				got := fmt.Sprint(p.MPLS)
				want := "[]"
				if h.TTL == 2 {
					want = "[{16001} {16002}]"
				}
				if got != want {
					t.Errorf("compat %v, TTL %d: labels %s, want %s", compat, h.TTL, got, want)
				}
			}
		}
	}
}

// T43: what a router tells of its interfaces (RFC 5837) comes through, as far as it can be read, and a name's bytes do no harm.
func TestInterfacesAreTold(t *testing.T) {
	whole := simnet.Interface(wire.Interface{Role: 2, Index: 7, HasIndex: true, Addr: netip.MustParseAddr("198.51.100.7"), Name: []byte("xe-0/0/1\x1b[A"), MTU: 9000, HasMTU: true})
	cut := wire.AppendObject(nil, wire.ClassInterface, 0x0b, []byte{0, 0, 0, 3, 60, 'e', 't', 'h'}) // an index, a name and an MTU are promised
	for _, tt := range []struct {
		objects []byte
		want    string
	}{
		{whole, `[{"role":"outgoing","index":7,"address":"198.51.100.7","name":"xe-0/0/1\\027[A","mtu":9000}]`},
		{cut, `[{"role":"incoming","index":3,"partial":true}]`},
		{slices.Concat(cut, simnet.MPLS(5), whole), `[{"role":"incoming","index":3,"partial":true},{"role":"outgoing","index":7,"address":"198.51.100.7","name":"xe-0/0/1\\027[A","mtu":9000}]`},
		{wire.AppendObject(nil, wire.ClassInterface, 0x44, []byte{0, 9, 0, 0, 1, 2, 3, 4}), `[{"role":"incoming-part","partial":true}]`},
	} {
		src, rs, _, _ := line(3)
		rs[1].Objects = tt.objects
		b := traced(t, simnet.New(simnet.Config{Seed: 1}, src), probe.UDP, us, them, nil)
		var d struct {
			Hops []struct {
				TTL    int
				Probes []struct{ Interfaces json.RawMessage }
			}
		}
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatal(err)
		}
		for _, h := range d.Hops {
			for _, p := range h.Probes {
				want := ""
				if h.TTL == 2 {
					want = tt.want
				}
				if got := string(p.Interfaces); got != want {
					t.Errorf("TTL %d: interfaces %s, want %s", h.TTL, got, want)
				}
			}
		}
	}
}

// T38: a hop that clears DSCP on its way out still quotes it; the change shows at
// the next hop, in its quote alone.
func TestBleachedDSCP(t *testing.T) {
	src, rs, _, _ := line(4)
	rs[1].Forward = []simnet.Edit{simnet.SetDSCP(0)}
	c := simnet.New(simnet.Config{Seed: 1}, src)
	d := decode(t, traced(t, c, probe.UDP, us, them, func(c *trace.Config) { c.TOS = 0xb9 }))
	for _, h := range d.Hops {
		for _, p := range h.Probes {
			want := "[]"
			if h.TTL > 2 {
				want = "[{ip.dscp 46 0}]"
			}
			if got := fmt.Sprint(p.Changes); got != want {
				t.Errorf("TTL %d: changes %s, want %s", h.TTL, got, want)
			}
		}
	}
}
