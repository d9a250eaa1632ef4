package mda

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
)

// TestEnough holds the stopping rule to the table of the field (ALGORITHMS section 2.1, union bound).
func TestEnough(t *testing.T) {
	tests := []struct {
		miss float64
		want []int // from k = 2 on
	}{
		{0.05, []int{6, 11, 16, 21, 27, 33, 39, 45, 51, 57, 63, 70, 77, 83, 90, 97}},
		{0.01, []int{8, 15, 21, 28, 36, 43, 51, 58, 66, 74, 82, 90, 98, 106, 115, 123}},
	}
	for _, tt := range tests {
		for i, want := range tt.want {
			if got := Enough(i+2, tt.miss); got != want {
				t.Errorf("%d successors to rule out at %v: %d flows, want %d", i+2, tt.miss, got, want)
			}
		}
	}
	for _, k := range []int{0, 1} {
		if got := Enough(k, 0.05); got != 0 {
			t.Errorf("%d: %d flows, want none", k, got)
		}
	}
}

func TestPerNode(t *testing.T) {
	for _, tt := range []struct {
		nodes int
		want  float64
	}{{1, 0.05}, {5, 0.0102}, {13, 0.00394}, {16, 0.0032}, {30, 0.00171}} {
		if got := PerNode(0.05, tt.nodes); math.Abs(got-tt.want) > 0.00005 {
			t.Errorf("%d nodes: %.5f, want %.5f", tt.nodes, got, tt.want)
		}
	}
}

// TestUneven: even spreads are seldom taken for uneven ones, and clear ones are seen.
func TestUneven(t *testing.T) {
	for _, tt := range []struct {
		shares []int
		want   bool
	}{
		{[]int{5, 6}, false}, {[]int{30, 10}, false}, {[]int{50, 10}, true}, {[]int{10, 10, 10, 10}, false}, {[]int{40, 10, 10, 10}, true},
		{[]int{4, 0}, false}, {[]int{9, 0}, false}, {[]int{11}, false}, {nil, false},
	} {
		if got := Uneven(tt.shares); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.shares, got, tt.want)
		}
	}
}

// TestCheck: what will not do is refused, each thing by its name.
func TestCheck(t *testing.T) {
	good := (shape{widths: []int{1, 1}}).build(1).config
	v6 := func(c *Config) {
		c.Src, c.Dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:33434")
	}
	tests := []struct {
		name string
		edit func(*Config)
		want string // "": accepted
	}{
		{"as the others", func(*Config) {}, ""},
		{"by label", func(c *Config) { v6(c); c.By = Label }, ""},
		{"TCP", func(c *Config) { c.Proto, c.Sources = probe.TCP, []uint16{40000, 40001} }, ""},
		{"ICMP", func(c *Config) { c.Proto = probe.ICMP }, ""},
		{"a protocol", func(c *Config) { c.Proto = probe.Raw }, "protocol raw"},
		{"no port", func(c *Config) { c.Dst = netip.AddrPortFrom(c.Dst.Addr(), 0) }, "ports 40000 and 0"},
		{"checksum 0", func(c *Config) { c.Proto, c.Dst = probe.ICMP, netip.AddrPortFrom(c.Dst.Addr(), 0) }, "checksum 0x0000"},
		{"checksum 0xffff", func(c *Config) { c.Proto, c.Dst = probe.ICMP, netip.AddrPortFrom(c.Dst.Addr(), 0xffff) }, "checksum 0xffff"},
		{"by nothing", func(c *Config) { c.By = 0 }, "flows by 0"},
		{"by something else", func(c *Config) { c.By = 8 }, "flows by 1000"},
		{"a label over IPv4", func(c *Config) { c.By = Label }, "IPv4 has none"},
		{"TCP without ports", func(c *Config) { c.Proto = probe.TCP }, "source ports []"},
		{"TCP, another first port", func(c *Config) { c.Proto, c.Sources = probe.TCP, []uint16{1} }, "source ports [1]"},
		{"TTL 0", func(c *Config) { c.First = 0 }, "TTLs 0 to 30"},
		{"TTLs the wrong way", func(c *Config) { c.First = 31 }, "TTLs 31 to 30"},
		{"size", func(c *Config) { c.Size = 10 }, "size 10 bytes"},
		{"miss 0", func(c *Config) { c.Miss = 0 }, "probability of 0"},
		{"miss 1", func(c *Config) { c.Miss = 1 }, "probability of 1"},
		{"miss unknown", func(c *Config) { c.Miss = math.NaN() }, "probability of NaN"},
		{"flows", func(c *Config) { c.Flows = -1 }, "-1 flows"},
		{"more flows than ports", func(c *Config) { c.Flows, c.Dst = 5, netip.AddrPortFrom(c.Dst.Addr(), 65532) }, "5 flows: want 0 for as many as it takes, or up to 4"},
		{"no attempt", func(c *Config) { c.Attempts = 0 }, "0 attempts"},
		{"gap limit", func(c *Config) { c.GapLimit = -1 }, "gap limit -1"},
		{"wait", func(c *Config) { c.Wait = 0 }, "wait of 0s"},
		{"budget", func(c *Config) { c.Budget = 0 }, "0 probes"},
		{"by destination", func(c *Config) { c.By, c.Also, c.Neighbours = Destination, Ports, Neighbours(c.Dst.Addr()) }, ""},
		{"by destination, and nobody beside", func(c *Config) { c.By = Destination }, ""},
		{"by destination and ports", func(c *Config) { c.By = Destination | Ports }, "flows by 101"},
		{"more flows by destination", func(c *Config) { c.By, c.Also = Destination, Destination }, "more flows by 100"},
		{"more flows, not by destination", func(c *Config) { c.Also = Ports }, "more flows by 1"},
		{"more flows by label over IPv4", func(c *Config) { c.By, c.Also = Destination, Label }, "IPv4 has none"},
		{"TCP by destination, more without ports", func(c *Config) { c.Proto, c.By, c.Also = probe.TCP, Destination, Ports }, "source ports []"},
		{"more flows than neighbours", func(c *Config) { c.By, c.Flows, c.Neighbours = Destination, 4, Neighbours(c.Dst.Addr())[:2] }, "4 flows: want 0 for as many as it takes, or up to 3"},
		{"neighbours by ports", func(c *Config) { c.Neighbours = Neighbours(c.Dst.Addr()) }, "253 neighbours: want none"},
		{"too many neighbours", func(c *Config) { c.By, c.Neighbours = Destination, make([]netip.Addr, 254) }, "254 neighbours: want 253"},
		{"neighbours of another family", func(c *Config) { c.By, c.Neighbours = Destination, Neighbours(netip.IPv6Loopback()) }, "want addresses of the destination's family"},
		{"the host for its neighbour", func(c *Config) { c.By, c.Neighbours = Destination, []netip.Addr{c.Dst.Addr()} }, "each once"},
		{"families", func(c *Config) { c.Dst = netip.MustParseAddrPort("[2001:db8::2]:33434") }, "want one family"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.edit(&c)
			_, err := New(c)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}

// TestFlows: flows differ in what they are to differ in, and in nothing else.
func TestFlows(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, proto := range []probe.Proto{probe.UDP, probe.TCP, probe.ICMP} {
		for _, a := range []netip.Addr{v4, v6} {
			for by := Ports; by <= Ports|Label; by++ {
				if by&Label != 0 && a.Is4() {
					continue
				}
				c := Config{Proto: proto, Src: netip.AddrPortFrom(a, 65000), Dst: netip.AddrPortFrom(a.Next(), 65530), Label: 0xffffe, By: by, Wait: time.Second}
				for i := range uint16(48) {
					if proto == probe.TCP {
						c.Sources = append(c.Sources, 65000+i)
					}
				}
				seen := map[string]int{}
				for f := range min(c.Most(), 3000) {
					s := c.spec(f, 7)
					if s.Flow != uint16(f) || s.TTL != 7 {
						t.Fatalf("%v: %+v", proto, s)
					}
					if proto == probe.ICMP && (s.Dst.Port() == 0 || s.Dst.Port() == 0xffff) {
						t.Fatalf("flow %d: checksum %#x, which no probe can carry", f, s.Dst.Port())
					}
					if by&Ports == 0 && (s.Src != c.Src || s.Dst != c.Dst) || by&Label == 0 && s.Label != c.Label || s.Label > 0xfffff ||
						proto == probe.TCP && s.Dst != c.Dst || proto != probe.TCP && s.Src != c.Src {
						t.Fatalf("%v by %b: flow %d moves %+v", proto, by, f, s)
					}
					k := fmt.Sprint(s.Src, s.Dst, s.Label)
					if was, ok := seen[k]; ok {
						t.Fatalf("%v by %b: flows %d and %d are the same", proto, by, was, f)
					}
					seen[k] = f
				}
			}
		}
	}
}

// TestMissRate: of the simplest diamond a branch is missed as often as the stopping rule allows, which is 1 in 32 for 6 flows, and
// no more; and all branches of a whole graph together by what PerNode gives each.
func TestMissRate(t *testing.T) {
	const runs = 2000
	tests := []struct {
		name     string
		s        shape
		miss     float64
		min, max float64 // of the runs in which something was missed: what is to be expected, and four deviations around
	}{
		{"1-2-1 at 95 %", shape{widths: []int{1, 2, 1, 1}}, 0.05, 0.0157, 0.0469},
		{"1-2-1 at 99 %", shape{widths: []int{1, 2, 1, 1}}, 0.01, 0.0008, 0.0157},
		{"1-4-2-1, the whole at 95 %", shape{widths: []int{1, 4, 2, 1, 1}}, PerNode(0.05, 4), 0, 0.05},
		{"1-2-2-1 meshed, the whole at 95 %", shape{"", []int{1, 2, 2, 1, 1}, mesh}, PerNode(0.05, 4), 0, 0.05},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			missed := 0
			for seed := range uint64(runs) {
				w := tt.s.build(seed)
				c := w.config()
				c.Miss = tt.miss
				if n, e := w.found(t, w.run(t, c)); n < w.nodes || e < len(w.edges) {
					missed++
				}
			}
			t.Logf("missed in %d of %d", missed, runs)
			if rate := float64(missed) / runs; rate < tt.min || rate > tt.max {
				t.Errorf("something was missed in %d of %d runs, %.4f, want %.4f to %.4f", missed, runs, rate, tt.min, tt.max)
			}
		})
	}
}

// code is how many findings have that code.
func (s *told) code(code string) (n int) {
	for _, f := range s.finds {
		if f.Code == code {
			n++
		}
	}
	return n
}

// TestBalancers: what each balancer goes by is told, and told wrongly of none.
func TestBalancers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		balance simnet.Balance
		want    string // the code; "": no branches are seen
	}{{"by flow", simnet.PerFlow, "balancer-per-flow"}, {"by packet", simnet.PerPacket, "balancer-per-packet"}, {"by destination", simnet.PerDestination, ""}} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(50) {
				w := shape{widths: []int{1, 1, 3, 1, 1}}.build(seed)
				w.layers[1][0].Balance = tt.balance
				c := w.config()
				c.Plain, c.Miss = false, 0.001
				r := w.run(t, c)
				if tt.balance != simnet.PerPacket {
					w.found(t, r)
				}
				want := 1
				if tt.want == "" {
					want = 0
				}
				if r.code(tt.want) != want || len(r.finds) != want {
					t.Errorf("seed %d: %+v, want %d of %q", seed, r.finds, want, tt.want)
				}
			}
		})
	}
}

// TestHard: branches that are silent, lose, limit their answers, end, or differ in length neither hang a trace nor make it tell what is not.
func TestHard(t *testing.T) {
	tests := []struct {
		name string
		edit func(*world, *Config)
		end  probe.Verdict
		last uint8
		less bool // not all nodes and edges can be found
	}{
		{"loss", func(w *world, c *Config) {
			for _, l := range w.layers {
				for _, n := range l {
					for _, k := range n.Links {
						k.Back.Loss = 0.03
					}
				}
			}
		}, probe.Reached, 6, false},
		{"a limit as of Linux", func(w *world, c *Config) {
			for _, l := range w.layers {
				for _, n := range l {
					n.Limit = simnet.Linux
				}
			}
		}, probe.Reached, 6, false},
		{"a silent hop", func(w *world, c *Config) { w.layers[1][0].Silent = true }, probe.Reached, 6, true},
		{"a silent branch", func(w *world, c *Config) { w.layers[3][1].Silent = true }, probe.Reached, 6, true},
		{"a silent end", func(w *world, c *Config) { w.layers[5][0].Silent = true }, probe.GapLimit, 10, true},
		{"all silent", func(w *world, c *Config) {
			for _, l := range w.layers {
				for _, n := range l {
					n.Silent = true
				}
			}
		}, probe.GapLimit, 5, true},
		{"cut short", func(w *world, c *Config) { c.Max = 4 }, probe.MaxHops, 4, true},
		{"an end that refuses", func(w *world, c *Config) {
			for _, n := range w.layers[4] {
				n.Rules = []simnet.Rule{{Do: simnet.HostUnreachable}}
			}
		}, probe.Blocked, 6, true},
		{"a branch that refuses", func(w *world, c *Config) {
			w.layers[3][0].Rules = []simnet.Rule{{Do: simnet.HostUnreachable}}
		}, probe.Reached, 6, true},
		{"a far end", func(w *world, c *Config) {
			for _, n := range w.layers[4] {
				n.Links[0].Out.Delay = 600 * time.Millisecond
			}
		}, probe.Reached, 6, false},
		{"a far branch, asked once", func(w *world, c *Config) {
			c.Attempts = 1
			w.layers[2][0].Links[1].Out.Delay = 300 * time.Millisecond
		}, probe.Reached, 6, false},
		{"from TTL 3", func(w *world, c *Config) { c.First = 3 }, probe.Reached, 6, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(20) {
				w := shape{widths: []int{1, 1, 1, 4, 2, 1}}.build(seed)
				c := w.config()
				c.Miss, c.Plain = 0.0005, false
				tt.edit(w, &c)
				r := w.run(t, c)
				n, e := w.found(t, r)
				if !tt.less && (n < w.nodes || e < len(w.edges)) {
					t.Errorf("seed %d: %d nodes of %d, %d edges of %d", seed, n, w.nodes, e, len(w.edges))
				}
				if r.end.Verdict != tt.end || r.end.LastTTL != tt.last || !r.end.Complete || r.took > 40*time.Second {
					t.Errorf("seed %d: %+v after %v, want %v at TTL %d", seed, r.end, r.took, tt.end, tt.last)
				}
				for i, h := range r.hops {
					if int(h.TTL) != int(c.First)+i {
						t.Errorf("seed %d: hop %d is of TTL %d", seed, i, h.TTL)
					}
				}
			}
		})
	}
}

// TestUnequal: branches of different lengths end where they end.
func TestUnequal(t *testing.T) {
	for seed := range uint64(50) {
		src, dst := simnet.Host("198.51.100.2"), simnet.Host("192.0.2.9")
		a, b, c, d := simnet.Router("10.0.1.1"), simnet.Router("10.0.2.1"), simnet.Router("10.0.2.2"), simnet.Router("10.0.3.1")
		src.Link(a)
		a.Link(b)
		a.Link(c)
		b.Link(dst)
		c.Link(d)
		d.Link(dst)
		w := &world{conn: simnet.New(simnet.Config{Seed: seed}, src), src: src.Addrs[0], dst: dst.Addrs[0]}
		cfg := w.config()
		cfg.Miss = 0.0005
		r := w.run(t, cfg)
		var got []string
		for _, l := range r.links {
			got = append(got, fmt.Sprintf("%d %v %v", l.TTL, l.From, l.To))
		}
		slices.Sort(got)
		want := []string{"1 10.0.1.1 10.0.2.1", "1 10.0.1.1 10.0.2.2", "2 10.0.2.1 192.0.2.9", "2 10.0.2.2 10.0.3.1", "3 10.0.3.1 192.0.2.9"}
		if !slices.Equal(got, want) || r.end.LastTTL != 4 {
			t.Errorf("seed %d: %v, end %+v, want %v", seed, got, r.end, want)
		}
	}
}

// TestBudget: the bound holds, and what it leaves out is said.
func TestBudget(t *testing.T) {
	for _, budget := range []int{1, 5, 40, 100} {
		w := shape{widths: diamond(16)}.build(1)
		c := w.config()
		c.Budget, c.Plain = budget, false
		r := w.run(t, c)
		w.found(t, r)
		if r.end.Verdict != probe.Errored && r.end.Verdict != probe.Reached || r.end.Verdict == probe.Errored && (r.end.Complete || !errors.Is(r.end.Err, errBound)) {
			t.Errorf("%d probes: %+v", budget, r.end)
		}
		if r.sent > budget || r.code("multipath-incomplete") != 1 {
			t.Errorf("%d probes of %d, findings %+v", r.sent, budget, r.finds)
		}
	}
	// Nor are there more flows than there are source ports.
	w := shape{widths: []int{1, 16, 1, 1}}.build(1)
	c := w.config()
	c.Proto, c.Sources = probe.TCP, []uint16{40000, 40001, 40002, 40003, 40004, 40005, 40006, 40007}
	for _, p := range c.Sources[1:] {
		if _, err := w.conn.Reserve(w.src, 6, p); err != nil {
			t.Fatal(err)
		}
	}
	r := w.run(t, c)
	w.found(t, r)
	if r.code("multipath-incomplete") != 1 {
		t.Errorf("findings %+v", r.finds)
	}
}

// TestStopped: a trace that is cut short tells what it has.
func TestStopped(t *testing.T) {
	for _, tt := range []struct {
		stop error
		want probe.Verdict
	}{{probe.ErrInterrupted, probe.Interrupted}, {errors.New("the socket is gone"), probe.Errored}, {probe.ErrSource, probe.Errored}} {
		w := shape{widths: []int{1, 2, 1, 1}}.build(1)
		a, err := New(w.config())
		if err != nil {
			t.Fatal(err)
		}
		var out probe.Output
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		a.Step(probe.Input{Now: now, Room: 100}, &out)
		if len(out.Send) != 6 || out.Done {
			t.Fatalf("%d probes, done %v", len(out.Send), out.Done)
		}
		first := probe.Outcome{Serial: 1, Spec: out.Send[0], Status: probe.Answered, Answer: probe.TimeExceeded, From: w.layers[0][0].Addrs[0], Sent: now, At: now.Add(time.Millisecond), Match: probe.Strict}
		out = probe.Output{}
		a.Step(probe.Input{Now: now.Add(time.Millisecond), Room: 100, Outcomes: []probe.Outcome{first}, Stop: tt.stop}, &out)
		var s told
		for _, e := range out.Events {
			_ = s.Emit(e)
		}
		if !out.Done || len(out.Send) > 0 || s.end.Verdict != tt.want || s.end.Complete || len(s.hops) != 1 || len(s.hops[0].Outcomes) != 1 {
			t.Errorf("%v: done %v, %+v, hops %+v", tt.stop, out.Done, s.end, s.hops)
		}
		out = probe.Output{}
		if a.Step(probe.Input{Now: now.Add(time.Second), Room: 100}, &out); !out.Done || len(out.Events) > 0 {
			t.Errorf("%v: goes on: %+v", tt.stop, out)
		}
	}
}

// TestStoppedBehindTheEnd: of a trace that has its destination and is cut short while it looks for branches nothing that was asked is hidden;
// where the connection failed, or the source address went, it is an error all the same.
func TestStoppedBehindTheEnd(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		stop error
		want probe.Verdict
	}{{probe.ErrInterrupted, probe.Reached}, {probe.ErrSource, probe.Errored}} {
		w := shape{widths: []int{1, 2, 1, 1}}.build(1)
		a, err := New(w.config())
		if err != nil {
			t.Fatal(err)
		}
		var out probe.Output
		a.Step(probe.Input{Now: now, Room: 100}, &out)
		answer := func(serial uint64, s probe.Spec, answer probe.Answer, from netip.Addr) probe.Outcome {
			return probe.Outcome{Serial: serial, Spec: s, Status: probe.Answered, Answer: answer, From: from, Sent: now, At: now.Add(time.Millisecond), Match: probe.Strict}
		}
		first := []probe.Outcome{answer(1, out.Send[0], probe.PortUnreachable, w.dst), answer(2, out.Send[1], probe.TimeExceeded, w.layers[0][0].Addrs[0])}
		out = probe.Output{}
		a.Step(probe.Input{Now: now.Add(time.Millisecond), Room: 100, Outcomes: first}, &out)
		i := slices.IndexFunc(out.Send, func(s probe.Spec) bool { return s.TTL == 2 })
		if i < 0 {
			t.Fatalf("nothing behind TTL 1: %+v", out.Send)
		}
		next := []probe.Outcome{answer(uint64(7+i), out.Send[i], probe.TimeExceeded, w.layers[1][0].Addrs[0])}
		out = probe.Output{}
		a.Step(probe.Input{Now: now.Add(2 * time.Millisecond), Room: 100, Outcomes: next, Stop: tt.stop}, &out)
		var s told
		for _, e := range out.Events {
			_ = s.Emit(e)
		}
		if s.end.Verdict != tt.want || s.end.Complete || s.end.LastTTL != 2 || len(s.hops) != 2 {
			t.Errorf("%v: %+v, %d hops", tt.stop, s.end, len(s.hops))
		}
	}
}

// TestNothingLeaves: where no probe leaves that is an error, and its own.
func TestNothingLeaves(t *testing.T) {
	w := shape{widths: []int{1, 1}}.build(1)
	a, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	why := errors.New("operation not permitted")
	var s told
	for range 100 {
		var out probe.Output
		a.Step(probe.Input{Now: now, Room: 100, Outcomes: s.failed(why)}, &out)
		for _, e := range out.Events {
			_ = s.Emit(e)
		}
		if out.Done {
			break
		}
		s.open = append(s.open, out.Send...)
		if now = now.Add(time.Millisecond); !out.Wake.IsZero() && len(out.Send) == 0 {
			now = out.Wake
		}
	}
	if s.end.Verdict != probe.Errored || !errors.Is(s.end.Err, why) || s.end.Complete {
		t.Errorf("%+v after %d probes", s.end, s.sent)
	}
}

// failed is the end of all that is open: it did not leave.
func (s *told) failed(why error) (os []probe.Outcome) {
	for _, spec := range s.open {
		s.sent++
		os = append(os, probe.Outcome{Serial: uint64(s.sent), Spec: spec, Status: probe.Failed, Err: why})
	}
	s.open = nil
	return os
}

// TestLimited: where all nodes limit their answers as Linux does each is found, each balancer's kind too, and nobody is made up; nor is an edge
// behind a balancer by packet.
func TestLimited(t *testing.T) {
	for _, balance := range []simnet.Balance{simnet.PerFlow, simnet.PerPacket} {
		for seed := range uint64(20) {
			w := shape{widths: []int{1, 1, 4, 2, 1, 1}}.build(seed)
			for _, l := range w.layers {
				for _, n := range l {
					n.Limit = simnet.Linux
				}
			}
			w.layers[1][0].Balance = balance
			c := w.config()
			c.Miss, c.Plain = 0.0005, false
			r := w.run(t, c)
			nodes, edges := w.found(t, r)
			want, all := "balancer-per-flow", len(w.edges)
			if balance == simnet.PerPacket {
				want, all = "balancer-per-packet", len(w.edges)-4
			}
			if nodes != w.nodes || edges != all || r.code(want) != 1 || len(r.finds) != 1 || r.took > time.Minute {
				t.Errorf("seed %d: %d nodes of %d, %d edges of %d after %v, %+v", seed, nodes, w.nodes, edges, all, r.took, r.finds)
			}
			for _, h := range r.hops {
				answered, asked := map[uint16]bool{}, map[uint16]bool{}
				for _, o := range h.Outcomes {
					asked[o.Spec.Flow] = true
					if o.Status == probe.Answered {
						answered[o.Spec.Flow] = true
					}
				}
				if len(answered) != len(asked) {
					t.Errorf("seed %d, TTL %d: %d flows asked, %d answered", seed, h.TTL, len(asked), len(answered))
				}
			}
		}
	}
}

// TestLongBranch: a branch that is longer than the way to the destination, and does not get there, is shown to its end, and that it is one is said.
func TestLongBranch(t *testing.T) {
	for seed := range uint64(20) {
		src, dst := simnet.Host("198.51.100.2"), simnet.Host("192.0.2.9")
		a, b := simnet.Router("10.0.1.1"), simnet.Router("10.0.2.1")
		src.Link(a)
		a.Link(b)
		b.Link(dst)
		at := a
		for _, addr := range []string{"10.0.2.2", "10.0.3.2", "10.0.4.2", "10.0.5.2"} {
			n := simnet.Router(addr)
			at.Link(n)
			at = n
		}
		at.Rules = []simnet.Rule{{Do: simnet.Drop}}
		w := &world{conn: simnet.New(simnet.Config{Seed: seed}, src), src: src.Addrs[0], dst: dst.Addrs[0]}
		c := w.config()
		c.Miss = 0.0005
		r := w.run(t, c)
		if r.end.Verdict != probe.Reached || r.end.LastTTL != 5 || r.end.Distance != 3 || len(r.hops) != 5 || r.code("branch-ends") != 1 {
			t.Errorf("seed %d: %+v, %d hops, %+v", seed, r.end, len(r.hops), r.finds)
		}
	}
}

// TestRefusals: who does not let flows pass on, at the TTL where they would come to the next, or answers in the destination's place, is told, with how many of the flows; who does neither is not.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(w *world)
		want []string // "code TTL confidence", in order, with what the text says
	}{
		{"nobody", func(w *world) {}, nil},
		{"the only way", func(w *world) { w.layers[2][0].Rules = []simnet.Rule{{Do: simnet.AdminProhibited}} },
			[]string{"administratively-prohibited 4 high 10.3.0.1 answers at TTL 4: communication administratively prohibited (ICMP 3/13), to all; a filter refuses them"}},
		{"the only way, but some flows alone", func(w *world) { w.layers[2][0].Rules = []simnet.Rule{{Port: 33435, Do: simnet.AdminProhibited}} },
			[]string{"administratively-prohibited 4 medium 10.3.0.1 answers at TTL 4: communication administratively prohibited (ICMP 3/13), to some; a filter refuses them"}},
		{"one of two", func(w *world) { w.layers[3][1].Rules = []simnet.Rule{{Do: simnet.HostProhibited}} },
			[]string{"administratively-prohibited 5 medium 10.4.0.2 answers at TTL 5: host administratively prohibited (ICMP 3/10), to some; a filter refuses them"}},
		{"both, each in its way", func(w *world) {
			w.layers[3][0].Rules = []simnet.Rule{{Do: simnet.NetProhibited}}
			w.layers[3][1].Rules = []simnet.Rule{{Do: simnet.HostProhibited}}
		}, []string{"administratively-prohibited 5 medium 10.4.0.1 answers at TTL 5: network administratively prohibited (ICMP 3/9), to some; a filter refuses them",
			"administratively-prohibited 5 medium 10.4.0.2 answers at TTL 5: host administratively prohibited (ICMP 3/10), to some; a filter refuses them"}},
		{"the destination", func(w *world) { w.layers[5][0].Rules = []simnet.Rule{{Do: simnet.AdminProhibited}} },
			[]string{"administratively-prohibited 6 high 192.0.2.9 answers at TTL 6: communication administratively prohibited (ICMP 3/13), to all; the destination itself refuses them"}},
		{"a host that is not there", func(w *world) { w.layers[4][0].Rules = []simnet.Rule{{Do: simnet.HostUnreachable}} }, nil},
		{"the destination from another address", func(w *world) { w.layers[5][0].From = netip.MustParseAddr("192.0.2.10") },
			[]string{"reply-from-unexpected-source 6 medium 192.0.2.10 says that 192.0.2.9 was reached: another address of the same host, or a box that answers in its place"}},
		{"a router in its place", func(w *world) { w.layers[4][0].Rules = []simnet.Rule{{Do: simnet.PortUnreachable}} },
			[]string{"reply-from-unexpected-source 6 high 10.5.0.1 says that 192.0.2.9 was reached, but it is the router at TTL 5: a firewall answers in the destination's place"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(20) {
				w := shape{widths: []int{1, 1, 1, 2, 1, 1}}.build(seed)
				tt.edit(w)
				c := w.config()
				c.Miss = 0.0005
				var got []string
				for _, f := range w.run(t, c).finds {
					if !strings.HasPrefix(f.Code, "balancer") && f.Code != "branch-ends" {
						got = append(got, fmt.Sprintf("%s %d %s %s", f.Code, f.TTL, f.Confidence, shares.ReplaceAllStringFunc(f.Text, func(s string) string {
							if strings.HasPrefix(s, "to all ") {
								return "to all"
							}
							return "to some"
						})))
					}
				}
				slices.Sort(got) // of two nodes at a TTL either may be heard first
				if !slices.Equal(got, tt.want) {
					t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
			}
		})
	}
}

// shares is how many of a hop's probes are refused, which is up to chance.
var shares = regexp.MustCompile(`to (all )?\d+ (of \d+ )?probes answered there`)

// TestFewFlows: for want of flows there may be more branches, but that nobody lets any of them through is a plain answer.
func TestFewFlows(t *testing.T) {
	w := shape{widths: []int{1, 1, 1, 1}}.build(1)
	w.layers[1][0].Rules = []simnet.Rule{{Do: simnet.HostUnreachable}}
	c := w.config()
	c.Dst = netip.AddrPortFrom(c.Dst.Addr(), 65532)
	if r := w.run(t, c); r.end.Verdict != probe.Blocked || r.end.LastTTL != 3 || r.code("multipath-incomplete") != 1 {
		t.Errorf("%+v, %+v", r.end, r.finds)
	}
}

// TestSideBySide: so many flows and no more, each at every TTL of its way, on branches of any length.
func TestSideBySide(t *testing.T) {
	for seed := range uint64(30) {
		for _, flows := range []int{1, 3, 8} {
			w := shape{widths: []int{1, 1, 4, 2, 1, 1}}.build(seed)
			c := w.config()
			c.Flows = flows
			r := w.run(t, c)
			w.found(t, r)
			if r.end.Verdict != probe.Reached || r.sent != flows*len(w.layers) {
				t.Errorf("seed %d: %+v, %d probes, want %d", seed, r.end, r.sent, flows*len(w.layers))
			}
			for _, h := range r.hops {
				seen := map[uint16]bool{}
				for _, o := range h.Outcomes {
					seen[o.Spec.Flow] = true
				}
				if len(seen) != flows || len(h.Outcomes) != flows {
					t.Errorf("seed %d, TTL %d: %d probes of %d flows, want %d", seed, h.TTL, len(h.Outcomes), len(seen), flows)
				}
			}
			links := 0
			for _, l := range r.links {
				links += len(l.Flows)
			}
			if links != flows*(len(w.layers)-1) {
				t.Errorf("seed %d: %d flows on all links, want %d", seed, links, flows*(len(w.layers)-1))
			}
		}
	}
}

// TestMeshed: what the edges say of a stretch, where each side of the rule alone says it.
func TestMeshed(t *testing.T) {
	tests := []struct {
		name  string
		flows []string // of each: its nodes at the one TTL and the next
		want  bool
	}{
		{"one to several", []string{"ax", "ay", "az", "ax"}, false},
		{"side by side", []string{"ax", "by", "ax", "by"}, false},
		{"several to fewer", []string{"ax", "bx", "cy", "dy", "ax", "bx", "cy", "dy"}, false},
		{"a node with two before it, and as many behind each of those", []string{"ax", "ay", "by", "bz", "ax", "ay", "by", "bz"}, true},
		{"as many behind each, unevenly", []string{"ax", "by", "bz", "ax", "by", "bz"}, true},
		{"two behind a node of the wider side", []string{"ax", "ay", "by", "cx", "ax", "ay", "by", "cx"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := shape{widths: []int{1, 1}}.build(1)
			a, err := New(w.config())
			if err != nil {
				t.Fatal(err)
			}
			for f, at := range tt.flows {
				for i := range 2 {
					a.place(a.hop(1+i), f, netip.AddrFrom4([4]byte{10, 0, 0, at[i]}))
				}
			}
			es := a.edges(1)
			from, to := ends(es)
			got := a.meshed(1, es, from, to, func(flow, at int) { t.Errorf("flow %d is asked for at TTL %d: all are known", flow, at) })
			if got != tt.want {
				t.Errorf("meshed %v, want %v", got, tt.want)
			}
		})
	}
}

// TestLopsided: behind two nodes of which one leads to many, these are found as surely as behind one.
func TestLopsided(t *testing.T) {
	const runs = 300
	missed := 0
	for seed := range uint64(runs) {
		w := shape{"", []int{1, 2, 9, 1, 1}, func(layer, from, to int) bool { return layer != 2 || (from == 0) == (to == 0) }}.build(seed)
		c := w.config()
		c.Miss = PerNode(0.05, 3)
		if n, e := w.found(t, w.run(t, c)); n < w.nodes || e < len(w.edges) {
			missed++
		}
	}
	if missed > runs*8/100 { // 5 in 100 are to be expected at most
		t.Errorf("something was missed in %d of %d runs", missed, runs)
	}
}

// TestWaits: how long an answer is waited for, by what is known.
func TestWaits(t *testing.T) {
	for _, tt := range []struct {
		name         string
		here, near   float64
		rtt, longest time.Duration
		want, grace  time.Duration
	}{
		{"nothing is known", 3, 10, 0, 0, 5 * time.Second, 5 * time.Second},
		{"another hop", 3, 10, 0, 300 * time.Millisecond, 3 * time.Second, 3 * time.Second},
		{"a near one", 3, 10, 0, time.Millisecond, time.Second, time.Second},
		{"the hop itself", 3, 10, 100 * time.Millisecond, 300 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second},
		{"the hop itself, near", 3, 10, time.Millisecond, time.Millisecond, minWait, time.Second},
		{"no bound by the hop", 0, 10, time.Millisecond, time.Millisecond, 5 * time.Second, time.Second},
		{"no bound by others", 3, 0, 0, time.Millisecond, 5 * time.Second, 5 * time.Second},
		{"never above the whole", 3, 10, 4 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second},
	} {
		c := (shape{widths: []int{1, 1}}).build(1).config()
		c.Here, c.Near = tt.here, tt.near
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		a.hop(1).rtt, a.longest = tt.rtt, tt.longest
		if w, g := a.wait(1), a.grace(); w != tt.want || g != tt.grace {
			t.Errorf("%s: waits %v, at most %v, want %v and %v", tt.name, w, g, tt.want, tt.grace)
		}
	}
}

// TestPaced: however slowly probes may leave, nothing is concluded before all that is to be asked was.
func TestPaced(t *testing.T) {
	for seed := range uint64(10) {
		w := shape{widths: []int{1, 2, 4, 1, 1}}.build(seed)
		c := w.config()
		c.Plain, c.Miss = false, 0.0005
		w.limits = probe.Limits{Rate: 50, Burst: 1}
		r := w.run(t, c)
		n, e := w.found(t, r)
		if n < w.nodes || e < len(w.edges) || r.code("balancer-per-flow") != 3 || len(r.finds) != 3 {
			t.Errorf("seed %d: %d nodes of %d, %d edges of %d, %+v", seed, n, w.nodes, e, len(w.edges), r.finds)
		}
	}
}

// TestChecksEnd: where nobody answers any more once all is known, the checks of balancers end, and say that they could not find out.
func TestChecksEnd(t *testing.T) {
	plain := shape{widths: []int{1, 2, 1, 1}}
	w := plain.build(3)
	all := w.run(t, w.config()).sent
	w = plain.build(3)
	w.onSend = func(sent int) {
		if sent == all {
			for _, l := range w.layers {
				for _, n := range l {
					n.Silent = true
				}
			}
		}
	}
	c := w.config()
	c.Plain = false
	r := w.run(t, c)
	if r.sent > all+2*Enough(2, c.Miss)+c.Attempts || r.code("balancer") != 1 || !r.end.Complete {
		t.Errorf("%d probes, %d of them for what there is: %+v, %+v", r.sent, all, r.end, r.finds)
	}
}

// TestGrace: who answers late is heard before the trace ends, though each flow is asked once and there is nothing else to ask.
func TestGrace(t *testing.T) {
	for seed := range uint64(20) {
		w := shape{widths: []int{1, 2, 1}}.build(seed)
		w.layers[1][0].Links[0].Back.Delay = 400 * time.Millisecond // of what the destination answers by this way
		c := w.config()
		c.Attempts, c.Flows = 1, 8
		r := w.run(t, c)
		for _, h := range r.hops {
			for _, o := range h.Outcomes {
				if o.Status != probe.Answered {
					t.Errorf("seed %d: flow %d at TTL %d is not answered after %v", seed, o.Spec.Flow, h.TTL, r.took)
				}
			}
		}
	}
}
