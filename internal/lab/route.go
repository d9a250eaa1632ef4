//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var routeTypes = map[RouteKind]int{
	Unicast:     unix.RTN_UNICAST,
	Unreachable: unix.RTN_UNREACHABLE,
	Prohibit:    unix.RTN_PROHIBIT,
	Blackhole:   unix.RTN_BLACKHOLE,
	Local:       unix.RTN_LOCAL,
}

func (n *Network) addRoutes() error {
	for _, l := range n.plan.Links {
		for _, s := range []string{l.V4, l.V6} {
			if s == "" {
				continue
			}
			if err := n.addToward(s, l.A, l.B); err != nil {
				return err
			}
		}
	}
	for _, a := range n.plan.Announces {
		if err := n.addToward(a.Prefix, a.At); err != nil {
			return err
		}
	}
	for _, r := range n.plan.Routes {
		if err := n.nodes[r.On].AddRoute(r.Dst, r.Kind, r.Via); err != nil {
			return err
		}
	}
	return nil
}

// addToward gives all other nodes a route to a prefix that some nodes know.
func (n *Network) addToward(prefix string, known ...string) error {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return fmt.Errorf("lab: route to %s: %w", known[0], err)
	}
	for node, via := range n.plan.towards(familyOf(p.Addr()), known...) {
		if err := n.nodes[node].AddRoute(prefix, Unicast, via); err != nil {
			return err
		}
	}
	return nil
}

func familyOf(a netip.Addr) int {
	if a.Is6() {
		return 6
	}
	return 4
}

// AddRoute gives the node a route to a prefix; via is a neighbour's name, or
// an address on one of the node's links, for Unicast alone.
func (n *Node) AddRoute(prefix string, kind RouteKind, via string) error {
	dst, err := netip.ParsePrefix(prefix)
	if err != nil {
		return fmt.Errorf("lab: route on %s: %w", n.Name, err)
	}
	r := &netlink.Route{Dst: ipNet(dst.Masked()), Type: routeTypes[kind]}
	if kind == Local {
		r.LinkIndex, r.Scope = 1, unix.RT_SCOPE_HOST // lo's index is 1 in every namespace
	}
	if gw, err := netip.ParseAddr(via); kind == Unicast && err == nil {
		r.Gw = gw.AsSlice() // the kernel finds the link
	} else if kind == Unicast {
		l, err := n.nl.LinkByName(via)
		if err != nil {
			return fmt.Errorf("lab: route on %s to %s: find %s: %w", n.Name, prefix, via, err)
		}
		gw := n.net.nodes[via].Addr(n.Name, familyOf(dst.Addr()))
		if !gw.IsValid() {
			return fmt.Errorf("lab: route on %s to %s: %s has no address of that family", n.Name, prefix, via)
		}
		r.LinkIndex, r.Gw = l.Attrs().Index, gw.AsSlice()
	}
	if err := n.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("lab: route on %s to %s: %w", n.Name, prefix, err)
	}
	return nil
}

// A Share is how much of what a node spreads goes to a neighbour.
type Share struct {
	Via    string
	Weight int // 0: 1
}

// Balance has the node spread packets to a prefix over neighbours, in the place of the route it has. What it hashes is set by
// ipv4/fib_multipath_hash_policy and ipv6/…: 0 addresses, and over IPv6 the flow label, 1 also ports. Routers hash alike unless their
// fib_multipath_hash_seed differ.
func (n *Node) Balance(prefix string, over ...Share) error {
	dst, err := netip.ParsePrefix(prefix)
	if err != nil {
		return fmt.Errorf("lab: balance on %s: %w", n.Name, err)
	}
	r := &netlink.Route{Dst: ipNet(dst.Masked())}
	for _, s := range over {
		l, err := n.nl.LinkByName(s.Via)
		if err != nil {
			return fmt.Errorf("lab: balance on %s to %s: find %s: %w", n.Name, prefix, s.Via, err)
		}
		gw := n.net.nodes[s.Via].Addr(n.Name, familyOf(dst.Addr()))
		if !gw.IsValid() {
			return fmt.Errorf("lab: balance on %s to %s: %s has no address of that family", n.Name, prefix, s.Via)
		}
		r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: l.Attrs().Index, Gw: gw.AsSlice(), Hops: max(s.Weight, 1) - 1})
	}
	if err := n.nl.RouteReplace(r); err != nil {
		return fmt.Errorf("lab: balance on %s to %s: %w", n.Name, prefix, err)
	}
	return nil
}

// Scatter has the node send each packet to a prefix, of whole bytes, by one of the neighbours that chance picks, whatever flow it is of: a mark from
// the packet filter chooses the routing table.
func (n *Node) Scatter(prefix string, over ...string) error {
	failed := func(err error) error { return fmt.Errorf("lab: scatter on %s to %s: %w", n.Name, prefix, err) }
	dst, err := netip.ParsePrefix(prefix)
	if err != nil {
		return failed(err)
	}
	if dst = dst.Masked(); dst.Bits()%8 != 0 {
		return failed(errors.New("want whole bytes"))
	}
	family := unix.AF_INET
	if dst.Addr().Is6() {
		family = unix.AF_INET6
	}
	const first = 100 // the mark and the table of the first neighbour
	for i, via := range over {
		l, err := n.nl.LinkByName(via)
		if err != nil {
			return failed(fmt.Errorf("find %s: %w", via, err))
		}
		gw := n.net.nodes[via].Addr(n.Name, familyOf(dst.Addr()))
		if !gw.IsValid() {
			return failed(fmt.Errorf("%s has no address of that family", via))
		}
		r := &netlink.Route{Dst: ipNet(dst), LinkIndex: l.Attrs().Index, Gw: gw.AsSlice(), Table: first + i}
		if err := n.nl.RouteAdd(r); err != nil {
			return failed(err)
		}
		rule := netlink.NewRule()
		rule.Family, rule.Mark, rule.Table = family, uint32(first+i), first+i
		if err := n.nl.RuleAdd(rule); err != nil {
			return failed(err)
		}
	}
	if err := n.mark(dst, first, len(over)); err != nil {
		return failed(err)
	}
	return nil
}
