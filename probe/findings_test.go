package probe_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/trace"
)

// A scene is a network in which something is to be found, or looks so.
type scene struct {
	name  string
	build func(n *noisy)
	want  string // the finding; "": none
	edit  func(*trace.Config)
}

// noisy is a path of routers that loses, copies, reorders and limits, by chance.
type noisy struct {
	src, dst *simnet.Node
	rs       []*simnet.Node
	links    []*simnet.Link
	to       netip.Addr
	v6       bool
}

func noise(rnd *rand.Rand) *noisy {
	n := &noisy{v6: rnd.IntN(2) == 0, to: them}
	n.src, n.rs, n.dst, n.links = line(9)
	if n.v6 {
		n.to = them6
	}
	for _, l := range n.links {
		for _, w := range []*simnet.Way{&l.Out, &l.Back} {
			w.Delay = time.Duration(1+rnd.IntN(10)) * time.Millisecond
			w.Jitter = time.Duration(rnd.IntN(5)) * time.Millisecond
			w.Loss = 0.01 * rnd.Float64()
			w.Dup, w.Copies = 0.1*rnd.Float64(), 1+rnd.IntN(3)
			w.Reorder, w.Hold = 0.1*rnd.Float64(), time.Duration(rnd.IntN(500))*time.Millisecond
		}
	}
	for _, r := range n.rs {
		r.Quote = []int{0, 8, 28, simnet.Full}[rnd.IntN(4)]
		r.ErrorTTL = []uint8{0, 255}[rnd.IntN(2)]
		if rnd.IntN(4) == 0 {
			r.Limit = simnet.Linux
		}
	}
	return n
}

// quoting has a router quote that TTL.
func (n *noisy) quoting(r *simnet.Node, ttl uint8) {
	r.Edits = []simnet.Edit{n.setTTL(ttl)}
}

// setTTL sets the TTL of a packet; its checksum is mended behind it.
func (n *noisy) setTTL(ttl uint8) simnet.Edit {
	at := 8
	if n.v6 {
		at = 7
	}
	return func(b []byte) { b[at] = ttl }
}

// under has routers answer from one address.
func (n *noisy) under(a netip.Addr, rs ...*simnet.Node) {
	for _, r := range rs {
		r.From, r.ErrorTTL = a, 0
	}
}

// detour has router 4 lead to router 5, and to further ones before it.
func (n *noisy) detour(how simnet.Balance, more int) {
	from, at := n.rs[3], n.rs[3]
	from.Balance = how
	for i := range more {
		r := simnet.Router(fmt.Sprintf("10.9.%d.1", i), fmt.Sprintf("fd00:9%d::1", i))
		at.Link(r)
		at = r
	}
	at.Link(n.rs[4])
}

func classic(c *trace.Config) { c.Classic = true }

var scenes = []scene{
	{name: "loop of two", want: "forwarding-loop", build: func(n *noisy) {
		n.rs[5].Links = nil
		n.rs[5].Link(n.rs[4])
	}},
	{name: "loop of three", want: "forwarding-loop", build: func(n *noisy) {
		n.rs[5].Links = nil
		n.rs[5].Link(n.rs[3])
	}},
	{name: "loop of two of which one is silent", want: "forwarding-loop", build: func(n *noisy) {
		n.rs[5].Links = nil
		n.rs[5].Link(n.rs[4])
		n.rs[5].Silent = true
	}},
	{name: "zero-TTL forwarding", want: "zero-ttl-forwarding", build: func(n *noisy) { n.rs[3].ZeroTTL = true }},
	{name: "TTL set anew", want: "ttl-reset", build: func(n *noisy) { n.rs[4].Forward = []simnet.Edit{n.setTTL(64)} }},
	{name: "a tunnel that shows no labels", want: "ttl-not-decremented", build: func(n *noisy) {
		for i := range 3 {
			n.quoting(n.rs[3+i], uint8(2+i))
		}
	}},
	{name: "several routers under one address", want: "address-rewritten", build: func(n *noisy) { n.under(at(4, n.v6), n.rs[3:7]...) }},
	{name: "the target answers from another address", want: "reply-from-unexpected-source", build: func(n *noisy) {
		n.dst.From = netip.MustParseAddr("192.0.2.10")
		if n.v6 {
			n.dst.From = netip.MustParseAddr("2001:db8::10")
		}
	}},
	{name: "prohibited", want: "administratively-prohibited", build: func(n *noisy) { n.rs[4].Rules = []simnet.Rule{{Do: simnet.AdminProhibited}} }},
	{name: "policy and reject route", want: "administratively-prohibited", build: func(n *noisy) {
		n.rs[4].Rules = []simnet.Rule{{Do: simnet.Unreachable(10, 6)}}
	}},
	{name: "translated", want: "dnat-or-nat64-in-front", build: func(n *noisy) {
		public, at := netip.MustParseAddr("203.0.113.80"), them
		if n.v6 {
			public, at = netip.MustParseAddr("2001:db8:80::1"), them6
		}
		n.rs[4].DNAT = map[netip.Addr]netip.Addr{public: at}
		n.to = public
		for _, r := range n.rs {
			r.ErrorTTL = 0
		}
	}},
	{name: "a target that answers time exceeded", want: "target-sends-time-exceeded", build: func(n *noisy) { n.dst.Exceeds = true }},

	// What looks like these.
	{name: "all that a plain path may do", build: func(*noisy) {}},
	{name: "the same of a classic trace", build: func(*noisy) {}, edit: classic},
	{name: "a router passed twice", build: func(n *noisy) { n.under(at(3, n.v6), n.rs[2], n.rs[4]) }},
	{name: "two routers passed twice", build: func(n *noisy) {
		n.under(at(3, n.v6), n.rs[2], n.rs[4])
		n.under(at(4, n.v6), n.rs[3], n.rs[5])
	}},
	{name: "two routers under one address", build: func(n *noisy) { n.under(at(4, n.v6), n.rs[3:5]...) }},
	{name: "a router that quotes 0", build: func(n *noisy) { n.quoting(n.rs[3], 0) }},
	{name: "a router that counts nothing down", build: func(n *noisy) { n.rs[3].NoDecrement = true }},
	{name: "a tunnel that shows its labels", build: func(n *noisy) {
		for i := range 3 {
			n.quoting(n.rs[3+i], uint8(2+i))
			n.rs[3+i].Objects = simnet.MPLS(16001)
		}
	}},
	{name: "ways of two lengths, flow by flow", build: func(n *noisy) { n.detour(simnet.PerFlow, 1) }},
	{name: "ways of two lengths, a classic trace", build: func(n *noisy) { n.detour(simnet.PerFlow, 2) }, edit: classic},
	{name: "ways of two lengths, packet by packet", build: func(n *noisy) { n.detour(simnet.PerPacket, 1) }},
	{name: "ways of very different length, packet by packet", build: func(n *noisy) { n.detour(simnet.PerPacket, 3) }},
	{name: "no route", build: func(n *noisy) { n.rs[4].Rules = []simnet.Rule{{Do: simnet.NetUnreachable}} }},
	{name: "no host", build: func(n *noisy) { n.rs[4].Rules = []simnet.Rule{{Do: simnet.HostUnreachable}} }},
	{name: "our own source is translated", build: func(n *noisy) {
		n.rs[1].SNAT = netip.MustParseAddr("203.0.113.99")
		if n.v6 {
			n.rs[1].SNAT = netip.MustParseAddr("2001:db8:99::1")
		}
	}},
	{name: "longer ways back", build: func(n *noisy) {
		for i, r := range n.rs {
			r.BackHops = i % 3
		}
	}},
	{name: "the target is silent", build: func(n *noisy) { n.dst.Silent = true }},
	{name: "the target answers by TCP", build: func(n *noisy) { n.dst.From = netip.Addr{} }},
}

// Each finding is made where its cause is, and none anywhere else, whatever else the network does.
func TestFindingsInNoise(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 12
	}
	for _, tt := range scenes {
		t.Run(tt.name, func(t *testing.T) {
			found := 0
			for seed := range uint64(seeds) {
				rnd := rand.New(rand.NewPCG(seed, 11))
				n := noise(rnd)
				tt.build(n)
				from, proto := us, []probe.Proto{probe.UDP, probe.ICMP, probe.TCP}[rnd.IntN(3)]
				if n.v6 {
					from = us6
				}
				if tt.edit != nil || tt.want == "reply-from-unexpected-source" || tt.want == "ttl-reset" {
					proto = probe.UDP // whose flow moves, or which is answered by an error
				}
				c := simnet.New(simnet.Config{Seed: seed}, n.src)
				d := decode(t, traced(t, c, proto, from, n.to, func(c *trace.Config) {
					c.Wait.Max = time.Second
					if tt.edit != nil {
						tt.edit(c)
					}
				}))
				for _, f := range d.Findings {
					if f.Code == tt.want {
						found++
						continue
					}
					t.Errorf("seed %d: %+v, want %q alone", seed, f, tt.want)
				}
				if tt.want == "forwarding-loop" && (d.Outcome == "loop") != (len(d.Findings) == 1) {
					t.Errorf("seed %d: outcome %s with %d findings", seed, d.Outcome, len(d.Findings))
				}
			}
			// Loss and limits hide some.
			if tt.want != "" && (found < seeds*3/4 || found > seeds) {
				t.Errorf("found in %d of %d networks", found, seeds)
			}
			t.Logf("found in %d of %d networks", found, seeds)
		})
	}
}
