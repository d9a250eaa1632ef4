//go:build linux

package lab

import (
	"fmt"
	"net/netip"
)

// Routers is how many routers stand in line in the standard network.
const Routers = 11

// Ports of the standard network's target.
const (
	OpenPort   = 80 // TCP
	ClosedPort = 81 // TCP
	EchoPort   = 7  // UDP, answers with what it got
	TextPort   = 17 // UDP, always answers the same

	FirewallPort = 443 // TCP, open
)

// Special destinations of the standard network. Each V4 and V6 share a
// number, the last of the address.
const (
	UnreachableAt = 3 // r3 has an unreachable route: 3/1, 1/0
	NoRouteAt     = 4 // r4 has no route: 3/0, 1/0
	ProhibitAt    = 5 // r5 has a prohibit route: 3/13, 1/1
	SilentAt      = 6 // r6 has a blackhole route
	DNATAt        = 2 // r2 rewrites it to the target's address
	FirewallAt    = 9 // the target's too; r9 keeps track of connections and lets those to FirewallPort pass, and nothing else
	DeadAt        = 8 // on a link of r8's own where nobody holds it: 3/1, 1/3, after the kernel's three seconds
)

// Rejects are the codes of the destinations that the router r7 rejects by
// its packet filter, in Standard.Rejected.
var Rejects = map[int][]uint8{
	4: {0, 1, 2, 3, 9, 10, 13},
	6: {0, 1, 3, 4, 5, 6},
}

// rejectAt is the router that rejects.
const rejectAt = 7

// A Standard is the standard network, client to target:
//
//	client - r1 - r2 - … - r11 - target
//
// with side destinations that end at one of the routers. Link i, from 0 at
// the client, is 198.51.100.4i/30 and 2001:db8:0:i::/64; the target is
// 203.0.113.10 and 2001:db8:cb::2.
type Standard struct {
	*Network
	Client, Target *Node
	// Path lists the addresses, by family, that a trace to the target shows:
	// the routers' in order, then the target's.
	Path map[int][]netip.Addr
}

// Special is the address, of family 4 or 6, of one of the special
// destinations.
func (s *Standard) Special(at, family int) netip.Addr { return special(at, family) }

// Rejected is the address that r7 rejects with that code.
func (s *Standard) Rejected(code uint8, family int) netip.Addr {
	return special(100+int(code), family)
}

func special(n, family int) netip.Addr {
	if family == 6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:ffff::%d", n))
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
}

// PathTo lists the addresses that a trace to something the router of that
// number answers for shows: the routers up to that one.
func (s *Standard) PathTo(router, family int) []netip.Addr { return s.Path[family][:router] }

// RejectAt is the number of the router that rejects.
func (s *Standard) RejectAt() int { return rejectAt }

// StandardPlan is the plan of the standard network without its services.
func StandardPlan() Plan {
	name := func(i int) string {
		switch i {
		case 0:
			return "client"
		case Routers + 1:
			return "target"
		}
		return fmt.Sprintf("r%d", i)
	}
	var p Plan
	for i := range Routers {
		p.Links = append(p.Links, Link{
			A: name(i), B: name(i + 1),
			V4: fmt.Sprintf("198.51.100.%d/30", 4*i),
			V6: fmt.Sprintf("2001:db8:0:%d::/64", i),
		})
	}
	p.Links = append(p.Links,
		Link{A: name(Routers), B: "target", V4: "203.0.113.8/30", V6: "2001:db8:cb::/64"},
		// The last of its addresses is nobody's.
		Link{A: name(DeadAt), B: "stub", V4: "192.0.2.248/29", V6: "2001:db8:dead::/64"})

	for _, family := range []int{4, 6} {
		announce := func(at, n int) string {
			a := special(n, family)
			s := netip.PrefixFrom(a, a.BitLen()).String()
			p.Announces = append(p.Announces, Announce{At: name(at), Prefix: s})
			return s
		}
		p.Routes = append(p.Routes,
			Route{On: name(UnreachableAt), Dst: announce(UnreachableAt, UnreachableAt), Kind: Unreachable},
			Route{On: name(ProhibitAt), Dst: announce(ProhibitAt, ProhibitAt), Kind: Prohibit},
			Route{On: name(SilentAt), Dst: announce(SilentAt, SilentAt), Kind: Blackhole})
		announce(NoRouteAt, NoRouteAt)
		p.Routes = append(p.Routes, Route{On: "target", Dst: announce(Routers+1, FirewallAt), Kind: Local})

		target := "203.0.113.10"
		if family == 6 {
			target = "2001:db8:cb::2"
		}
		announce(DNATAt, DNATAt)
		p.Rules = append(p.Rules, Rule{On: name(DNATAt), Dst: special(DNATAt, family).String(), Do: DNAT(target)})

		for _, code := range Rejects[family] {
			// The rule looks at what is forwarded, so there must be a way on.
			dst := announce(rejectAt, 100+int(code))
			p.Routes = append(p.Routes, Route{On: name(rejectAt), Dst: dst, Via: name(rejectAt + 1)})
			p.Rules = append(p.Rules, Rule{On: name(rejectAt), Dst: special(100+int(code), family).String(), Do: Reject(code)})
		}
	}
	return p
}

// Dead is an address, of family 4 or 6, on a link of r8 that nobody holds.
func (s *Standard) Dead(family int) netip.Addr {
	if family == 6 {
		return netip.MustParseAddr("2001:db8:dead::dead")
	}
	return netip.MustParseAddr("192.0.2.254")
}

// BuildStandard makes the standard network with its services.
func BuildStandard() (_ *Standard, err error) {
	n, err := Build(StandardPlan())
	if err != nil {
		return nil, err
	}
	s := &Standard{Network: n, Client: n.Node("client"), Target: n.Node("target"), Path: make(map[int][]netip.Addr)}
	for _, family := range []int{4, 6} {
		before := s.Client
		for i := range Routers {
			r := n.Node(fmt.Sprintf("r%d", i+1))
			s.Path[family] = append(s.Path[family], r.Addr(before.Name, family))
			before = r
		}
		s.Path[family] = append(s.Path[family], s.Target.Only(family))
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	for _, port := range []int{OpenPort, FirewallPort} {
		if err := s.Target.ServeTCP(port); err != nil {
			return nil, err
		}
	}
	for _, family := range []int{4, 6} {
		if err := n.Node(fmt.Sprintf("r%d", FirewallAt)).Admit(special(FirewallAt, family).String(), FirewallPort, Drop()); err != nil {
			return nil, err
		}
	}
	if err := s.Target.ServeUDP(EchoPort, Echo); err != nil {
		return nil, err
	}
	if err := s.Target.ServeUDP(TextPort, Say("The lab says the same to everybody.\n")); err != nil {
		return nil, err
	}
	return s, nil
}
