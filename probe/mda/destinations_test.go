package mda

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/rawsock"
)

// TestNeighbours: they are all the addresses beside one that may be hosts', each once, and any few of them are spread over all.
func TestNeighbours(t *testing.T) {
	for _, tt := range []struct {
		addr string
		want int
	}{{"192.0.2.9", 253}, {"192.0.2.0", 253}, {"192.0.2.255", 253}, {"2001:db8::9", 253}, {"2001:db8::1:100", 253}} {
		a := netip.MustParseAddr(tt.addr)
		all := Neighbours(a)
		near := netip.PrefixFrom(a, a.BitLen()-8).Masked()
		seen := map[netip.Addr]bool{a: true}
		for i, n := range all {
			last := n.AsSlice()[a.BitLen()/8-1]
			if !near.Contains(n) || seen[n] || last == 0 || last == 255 {
				t.Errorf("%v: neighbour %d is %v", a, i, n)
			}
			seen[n] = true
		}
		quarters := map[byte]int{}
		for _, n := range all[:32] {
			quarters[n.AsSlice()[a.BitLen()/8-1]/64]++
		}
		if len(all) != tt.want || !slices.Equal(all, Neighbours(a)) || len(quarters) != 4 || quarters[0] < 6 || quarters[1] < 6 || quarters[2] < 6 || quarters[3] < 6 {
			t.Errorf("%v: %d neighbours, the first 32 by quarters %v", a, len(all), quarters)
		}
	}
	if n := len(Neighbours(netip.Addr{})); n != 0 {
		t.Errorf("%d neighbours of nobody", n)
	}
}

// TestDestinations: flows by destination differ in that, their variants in what they are to, and neither in anything else.
func TestDestinations(t *testing.T) {
	for _, proto := range []probe.Proto{probe.UDP, probe.TCP, probe.ICMP} {
		for _, a := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
			c := Config{Proto: proto, Src: netip.AddrPortFrom(a, 65000), Dst: netip.AddrPortFrom(a.Next(), 65530), By: Destination, Also: Ports, Wait: time.Second}
			if a.Is6() {
				c.Label, c.Also = 0xffffe, Ports|Label
			}
			c.Neighbours = Neighbours(c.Dst.Addr())
			if proto == probe.TCP {
				c.Sources = []uint16{65000, 65001, 65002}
			}
			seen := map[string]int{}
			for f := range c.Most() {
				s := c.spec(f, 7)
				if s.Src != c.Src || s.Dst.Port() != c.Dst.Port() || s.Label != c.Label || (f == 0) != (s.Dst == c.Dst) {
					t.Errorf("%v: flow %d is %+v", proto, f, s)
				}
				for n := range 3 {
					v := s
					c.move(&v, c.Also, n)
					if v.Dst.Addr() != s.Dst.Addr() || (v.Src != s.Src || v.Dst != s.Dst) != (n > 0) || (v.Label != s.Label) != (n > 0 && a.Is6()) || (v.Src != s.Src) != (n > 0 && proto == probe.TCP) {
						t.Errorf("%v: variant %d of flow %d is %+v", proto, n, f, v)
					}
					seen[fmt.Sprint(v.Src, v.Dst, v.Label)]++
				}
			}
			if len(seen) != 3*254 {
				t.Errorf("%v: %d differ, want %d", proto, len(seen), 3*254)
			}
		}
	}
}

// beside gives the host of a world neighbours, which are behind the same routers, has its routers balance, and counts what comes to the neighbours.
func (w *world) beside(balance func(layer, i int) simnet.Balance) (reached *int) {
	reached = new(int)
	others := &simnet.Node{Own: []netip.Prefix{netip.PrefixFrom(w.dst, 24).Masked()}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.254")}}
	others.Alter = func(*rawsock.Reply) { *reached++ }
	for i, l := range w.layers[:len(w.layers)-1] {
		for j, n := range l {
			n.Balance = balance(i, j)
			if i == len(w.layers)-2 {
				for _, k := range n.Links {
					k.For = []netip.Prefix{netip.PrefixFrom(w.dst, 32)}
				}
				n.Link(others, "192.0.2.0/24")
			}
		}
	}
	return reached
}

func byDestination(int, int) simnet.Balance { return simnet.PerDestination }

// around is a configuration by destination.
func (w *world) around() Config {
	c := w.config()
	c.By, c.Also, c.Neighbours, c.Plain = Destination, Ports, Neighbours(w.dst), false
	return c
}

// TestDestinationMissRate: over balancers by destination alone, of which flows by ports show one path, all nodes and edges are found as often as
// is said, and nothing comes to a neighbour.
func TestDestinationMissRate(t *testing.T) {
	const runs = 400
	for _, s := range []struct {
		shape
		balancers int
	}{
		{shape{"2 wide", []int{1, 2, 1, 1}, nil}, 1}, {shape{"4 wide", []int{1, 4, 1, 1}, nil}, 1}, {shape{"8 wide", []int{1, 8, 1, 1}, nil}, 1},
		{shape{"16 wide", []int{1, 16, 1, 1}, nil}, 1}, {shape{"nested", []int{1, 2, 4, 2, 1, 1}, nil}, 3}, {shape{"meshed", []int{1, 2, 2, 1, 1}, mesh}, 3},
	} {
		t.Run(s.name, func(t *testing.T) {
			missed, sent, named, least, slowest := 0, 0, 0, 0, time.Duration(0)
			for seed := range uint64(runs) {
				w := s.build(seed)
				reached := w.beside(byDestination)
				c := w.around()
				c.Miss = PerNode(0.05, 16)
				r := w.run(t, c)
				n, e := w.found(t, r)
				if n < w.nodes || e < len(w.edges) {
					missed++
				}
				named += r.code("balancer-per-destination")
				if r.code("balancer-per-destination") == s.balancers {
					least++
				}
				if *reached > 0 || r.code("balancer-per-flow")+r.code("balancer-per-packet")+r.code("branch-ends")+r.code("multipath-incomplete") > 0 {
					t.Errorf("seed %d: %d packets came to neighbours, %+v", seed, *reached, r.finds)
				}
				sent += r.sent
				slowest = max(slowest, r.took)
			}
			t.Logf("something missed in %d of %d, %.1f probes, %d of %d balancers named, at most %v", missed, runs, float64(sent)/runs, named, runs*s.balancers, slowest)
			if missed > runs*5/100 || least < runs*95/100 || slowest > time.Second {
				t.Errorf("something missed in %d of %d, all balancers named in %d, at most %v", missed, runs, least, slowest)
			}
		})
	}
}

// TestDestinationKinds: each balancer is named by what it goes by, whatever those before it do.
func TestDestinationKinds(t *testing.T) {
	const flow, destination, packet = simnet.PerFlow, simnet.PerDestination, simnet.PerPacket
	for _, tt := range []struct {
		name   string
		widths []int
		kinds  [2]simnet.Balance // of the first router, and of those behind it
		want   map[string]int
	}{
		{"by destination", []int{1, 4, 1, 1}, [2]simnet.Balance{destination}, map[string]int{"balancer-per-destination": 1}},
		{"by flow", []int{1, 4, 1, 1}, [2]simnet.Balance{flow}, map[string]int{"balancer-per-flow": 1}},
		{"by packet", []int{1, 4, 1, 1}, [2]simnet.Balance{packet}, map[string]int{"balancer-per-packet": 1}},
		{"all by destination", []int{1, 2, 4, 1, 1}, [2]simnet.Balance{destination, destination}, map[string]int{"balancer-per-destination": 3}},
		{"by destination, then by flow", []int{1, 2, 4, 1, 1}, [2]simnet.Balance{destination, flow}, map[string]int{"balancer-per-destination": 1, "balancer-per-flow": 2}},
		{"by flow, then by destination", []int{1, 2, 4, 1, 1}, [2]simnet.Balance{flow, destination}, map[string]int{"balancer-per-destination": 2, "balancer-per-flow": 1}},
		{"by flow, then by destination, wide", []int{1, 4, 8, 1, 1}, [2]simnet.Balance{flow, destination}, map[string]int{"balancer-per-destination": 4, "balancer-per-flow": 1}},
		{"all by flow", []int{1, 2, 4, 1, 1}, [2]simnet.Balance{flow, flow}, map[string]int{"balancer-per-flow": 3}},
		{"by packet, then by destination", []int{1, 2, 4, 1, 1}, [2]simnet.Balance{packet, destination}, map[string]int{"balancer-per-packet": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const runs = 60
			right, sent, slowest := 0, 0, time.Duration(0)
			for seed := range uint64(runs) {
				w := shape{widths: tt.widths}.build(seed)
				reached := w.beside(func(layer, _ int) simnet.Balance { return tt.kinds[min(layer, 1)] })
				c := w.around()
				c.Miss = 0.001
				r := w.run(t, c)
				got := map[string]int{}
				for _, f := range r.finds {
					got[f.Code]++
				}
				if fmt.Sprint(got) == fmt.Sprint(tt.want) {
					right++
				}
				for code := range got {
					if tt.want[code] == 0 {
						t.Errorf("seed %d: %+v, want %v", seed, r.finds, tt.want)
					}
				}
				if tt.kinds[0] != packet {
					w.found(t, r)
				}
				if *reached > 0 {
					t.Errorf("seed %d: %d packets came to neighbours", seed, *reached)
				}
				sent += r.sent
				slowest = max(slowest, r.took)
			}
			t.Logf("%d of %d right, %.1f probes, at most %v", right, runs, float64(sent)/runs, slowest)
			if right < runs-1 || slowest > 2*time.Second {
				t.Errorf("%d of %d right, at most %v", right, runs, slowest)
			}
		})
	}
}

// TestDestinationNeverArrives: over paths of any shape, with loss, silence, limits and an end that may not answer, nothing comes to a neighbour and no
// edge is told that is not there.
func TestDestinationNeverArrives(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := shape{widths: []int{1}, joined: mesh}
		for range 1 + rng.IntN(5) {
			s.widths = append(s.widths, 1+rng.IntN(4))
		}
		s.widths = append(s.widths, 1)
		w := s.build(seed)
		reached := w.beside(func(int, int) simnet.Balance { return simnet.Balance(rng.IntN(3)) })
		w.rough(rng)
		c := w.around()
		c.Budget = 2000
		r := w.run(t, c)
		w.found(t, r)
		if *reached > 0 || !r.end.Complete && r.code("multipath-incomplete") == 0 || r.sent > c.Budget {
			t.Errorf("seed %d: %d packets came to neighbours; %d probes, %+v", seed, *reached, r.sent, r.end)
		}
	}
}

// TestDestinationNearer: where neighbours are nearer than the host, few of them are reached before that is known, their answers are no nodes, and it is said
// how far they were asked; a router's own addresses among them are no sign of that.
func TestDestinationNearer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		routers []string // addresses of the last router among them
		near    bool     // all others are behind the router before it
		refused bool     // nobody has a route to them there
		wide    bool     // what is found
		most    int      // packets at neighbours
		said    int      // multipath-incomplete
	}{
		{"a router's own", []string{"192.0.2.1", "192.0.2.2"}, false, false, true, 0, 0},
		{"nearer hosts", nil, true, false, false, 40, 1},
		{"no route", nil, true, true, false, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(30) {
				w := shape{widths: []int{1, 1, 4, 1, 1}}.build(seed)
				reached := w.beside(byDestination)
				last := w.layers[3][0]
				for _, a := range tt.routers {
					last.Addrs = append(last.Addrs, netip.MustParseAddr(a))
				}
				if tt.near {
					for _, k := range w.layers[1][0].Links {
						k.For = []netip.Prefix{netip.PrefixFrom(w.dst, 32)}
					}
					if tt.refused {
						w.layers[1][0].Rules = []simnet.Rule{{To: netip.PrefixFrom(w.dst, 32), Do: simnet.Accept}, {Do: simnet.HostUnreachable}}
					} else {
						w.layers[1][0].Link(last.Links[len(last.Links)-1].To, "192.0.2.0/24")
					}
				}
				c := w.around()
				c.Miss = 0.0005
				r := w.run(t, c)
				nodes := map[netip.Addr]bool{}
				for _, l := range r.links {
					nodes[l.From], nodes[l.To] = true, true
				}
				if all := len(nodes) == w.nodes; all != tt.wide || *reached > tt.most || r.code("multipath-incomplete") != tt.said || r.end.Verdict != probe.Reached || r.end.Distance != 5 {
					t.Errorf("seed %d: %v linked of %d, %d came to neighbours, %+v, %+v", seed, nodes, w.nodes, *reached, r.finds, r.end)
				}
				for a := range nodes {
					if a != w.dst && netip.PrefixFrom(w.dst, 24).Contains(a) {
						t.Errorf("seed %d: %v is linked", seed, a)
					}
				}
			}
		})
	}
}

// TestDestinationUnknown: a host that is not reached has its neighbours asked as far as its own way is known, and no further.
func TestDestinationUnknown(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*world)
		end  probe.Verdict
		last int // TTL up to which neighbours are asked
	}{
		{"a silent host", func(w *world) { w.layers[4][0].Silent = true }, probe.GapLimit, 4},
		{"a silent last router", func(w *world) { w.layers[3][0].Silent = true }, probe.Reached, 3},
		{"a host that is not there", func(w *world) {
			w.layers[3][0].Rules = []simnet.Rule{{To: netip.PrefixFrom(w.dst, 32), Do: simnet.HostUnreachable}}
		}, probe.Blocked, 4},
		{"a translator that answers in its name", func(w *world) { w.layers[3][0].From = w.dst }, probe.Reached, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(20) {
				w := shape{widths: []int{1, 4, 1, 1, 1}}.build(seed)
				reached := w.beside(byDestination)
				tt.edit(w)
				c := w.around()
				c.Miss = 0.0005
				r := w.run(t, c)
				last := 0
				for _, h := range r.hops {
					for _, o := range h.Outcomes {
						if o.Spec.Dst.Addr() != w.dst {
							last = max(last, int(h.TTL))
						}
					}
				}
				if *reached > 0 || last != tt.last || r.end.Verdict != tt.end || r.code("balancer-per-destination") != 1 {
					t.Errorf("seed %d: %d came to neighbours, asked up to %d, %+v, %+v", seed, *reached, last, r.end, r.finds)
				}
			}
		})
	}
}

// TestDestinationRoutes: routes to parts of the addresses are not said to be balanced.
func TestDestinationRoutes(t *testing.T) {
	for seed := range uint64(20) {
		w := shape{widths: []int{1, 2, 1, 1}}.build(seed)
		w.beside(byDestination)
		w.layers[0][0].Links[0].For = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")}
		w.layers[0][0].Links[1].For = []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}
		r := w.run(t, w.around())
		if len(r.finds) != 1 || r.finds[0].Code != "balancer" || !strings.Contains(r.finds[0].Text, "a range of addresses of its own") {
			t.Errorf("seed %d: %+v", seed, r.finds)
		}
	}
}

// TestDestinationSideBySide: so many destinations and no more; each where it may be asked.
func TestDestinationSideBySide(t *testing.T) {
	for seed := range uint64(30) {
		w := shape{widths: []int{1, 1, 4, 2, 1, 1}}.build(seed)
		reached := w.beside(byDestination)
		c := w.around()
		c.Flows, c.Plain = 5, true
		r := w.run(t, c)
		w.found(t, r)
		if want := 5*5 + 1; r.sent != want || *reached > 0 || r.end.Verdict != probe.Reached {
			t.Errorf("seed %d: %d probes, want %d; %d came to neighbours, %+v", seed, r.sent, want, *reached, r.end)
		}
	}
}

// TestDestinationScarce: where there are fewer addresses than it takes that is said, and so is a kind that could not be found out for want of
// ports. A few are enough, as several destinations are asked with each.
func TestDestinationScarce(t *testing.T) {
	w := shape{widths: []int{1, 4, 1, 1}}.build(1)
	w.beside(byDestination)
	c := w.around()
	c.Neighbours = c.Neighbours[:7]
	if r := w.run(t, c); r.code("multipath-incomplete") != 1 || r.sent > 100 {
		t.Errorf("%d probes, %+v", r.sent, r.finds)
	}
	for ports, want := range map[int]string{1: "balancer", 3: "balancer-per-destination"} {
		w := shape{widths: []int{1, 4, 1, 1}}.build(1)
		w.beside(byDestination)
		c := w.around()
		c.Proto = probe.TCP
		for i := range uint16(ports) {
			c.Sources = append(c.Sources, 40000+i)
			if i > 0 {
				if _, err := w.conn.Reserve(w.src, 6, 40000+i); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r := w.run(t, c); r.code(want) != 1 || len(r.finds) != 1 {
			t.Errorf("%d ports: %+v, want %s", ports, r.finds, want)
		}
	}
}

// TestDestinationMissesAsSaid: of the simplest diamond a branch is missed as often as the stopping rule allows, and no more: see TestMissRate.
func TestDestinationMissesAsSaid(t *testing.T) {
	const runs = 2000
	missed := 0
	for seed := range uint64(runs) {
		w := shape{widths: []int{1, 2, 1, 1}}.build(seed)
		reached := w.beside(byDestination)
		c := w.around()
		c.Plain = true
		if n, e := w.found(t, w.run(t, c)); n < w.nodes || e < len(w.edges) {
			missed++
		}
		if *reached > 0 {
			t.Errorf("seed %d: %d packets came to neighbours", seed, *reached)
		}
	}
	t.Logf("missed in %d of %d", missed, runs)
	if rate := float64(missed) / runs; rate < 0.0157 || rate > 0.0469 {
		t.Errorf("something was missed in %d of %d runs, %.4f, want 0.0157 to 0.0469", missed, runs, rate)
	}
}

// TestDestinationSilentWay: that the host's own way is silent at a distance keeps nobody from asking there for the others.
func TestDestinationSilentWay(t *testing.T) {
	for seed := range uint64(30) {
		w := shape{widths: []int{1, 4, 1, 1}}.build(seed)
		w.beside(byDestination)
		c := w.around()
		c.Flows = 1
		plain := w.run(t, c)
		w = shape{widths: []int{1, 4, 1, 1}}.build(seed)
		reached := w.beside(byDestination)
		for _, n := range w.layers[1] {
			n.Silent = n.Addrs[0] == plain.hops[1].Outcomes[0].From
		}
		c = w.around()
		c.Miss = 0.0005
		if r := w.run(t, c); len(r.links) != 7 || *reached > 0 || r.end.Verdict != probe.Reached { // without the two of the silent one, but the host's own behind it
			t.Errorf("seed %d: %+v, %d came to neighbours, %+v", seed, r.links, *reached, r.end)
		}
	}
}

// TestDestinationLoss: a way of which a probe was lost is not taken for a silent one, behind which neighbours are not asked.
func TestDestinationLoss(t *testing.T) {
	const runs = 200
	whole := 0
	for seed := range uint64(runs) {
		w := shape{widths: []int{1, 1, 1, 1}}.build(seed)
		reached := w.beside(byDestination)
		w.layers[2][0].Answer.Loss = 0.3
		c := w.around()
		r := w.run(t, c)
		for _, o := range r.hops[2].Outcomes {
			if o.Spec.Flow > 0 {
				whole++
				break
			}
		}
		if *reached > 0 {
			t.Errorf("seed %d: %d came to neighbours", seed, *reached)
		}
	}
	if want := runs * 92 / 100; whole < want { // of three attempts all are lost in 2.7 of 100
		t.Errorf("neighbours were asked as far as they may in %d of %d, want %d", whole, runs, want)
	}
}
