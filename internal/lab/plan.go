//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Plan describes a network. Its nodes are those the links name: a node with
// one link is a host and does not forward, a node with more is a router.
// Every node gets a route to every prefix of every link and to everything
// announced, by the fewest links of that family; the link named first wins a
// tie.
type Plan struct {
	Links     []Link
	Announces []Announce
	Routes    []Route
	Rules     []Rule
	Sysctls   []Sysctl // over the lab's own settings, see sysctl.go
}

// A Link joins two nodes. The interface at each end bears the other node's
// name, so two nodes have at most one link, and names at most 15 bytes.
type Link struct {
	A, B string
	V4   string // such as "198.51.100.0/30": A has the address after the prefix's, B the one after that; "" for none
	V6   string // the same
	MTU  int    // 0: 1500
}

// An Announce makes all nodes but At route a prefix towards At. What At does
// with it is another matter: see Route and Rule. Without either, At has no
// route to it.
type Announce struct{ At, Prefix string }

// A Route is a further route of one node.
type Route struct {
	On, Dst string
	Kind    RouteKind
	Via     string // for Unicast: the neighbour's name
}

// A RouteKind says what becomes of packets that take a route.
type RouteKind int

const (
	Unicast     RouteKind = iota // on to Route.Via
	Unreachable                  // answered with ICMP 3/1, ICMPv6 1/0
	Prohibit                     // answered with ICMP 3/13, ICMPv6 1/1
	Blackhole                    // dropped
	Local                        // the node's own: all addresses of the prefix are, and answer
)

// A Sysctl is a setting of one node below /proc/sys/net, such as
// "ipv4/icmp_ratelimit".
type Sysctl struct{ On, Key, Value string }

// A Rule is a packet filter rule of one node for one destination.
type Rule struct {
	On, Dst string // Dst is an address
	Hook    Hook
	Do      Action
}

// A Hook is where a rule looks at packets.
type Hook int

const (
	Forward    Hook = iota // after the TTL was checked
	Output                 // of the node's own packets
	Prerouting             // before the TTL is checked and a route is looked for
)

// An Action is what a rule does. One of the functions below makes it.
type Action struct {
	kind   actionKind
	code   uint8
	target netip.Addr
	keep   uint8     // actTOS: these bits stay
	mss    uint16    // actMSS
	ports  [2]uint16 // actMasquerade: of these, where they are not 0
	option uint8     // actStrip
	proto  uint8     // actWrite: of packets of that alone; 0: of all, in the header that is the network's
	at     uint8     // actWrite: from this byte on
	data   string    // actWrite
}

type actionKind int

const (
	actDrop actionKind = iota
	actTooBig
	actReject
	actDNAT
	actTTL
	actSource
	actTOS
	actMSS
	actMasquerade
	actDestination
	actStrip
	actWrite
)

// Drop drops without a word.
func Drop() Action { return Action{kind: actDrop} }

// DropTooBig drops what says that a packet was too big, without a word: with Output, the node's own.
func DropTooBig() Action { return Action{kind: actTooBig} }

// Reject answers with a destination unreachable of that code: ICMP type 3,
// or ICMPv6 type 1. The kernel knows codes 0, 1, 2, 3, 9, 10 and 13 for
// IPv4, and 0, 1, 3, 4, 5 and 6 for IPv6.
func Reject(code uint8) Action { return Action{kind: actReject, code: code} }

// DNAT rewrites the destination to an address of the same family, before
// routing; the rule's Hook does not count.
func DNAT(to string) Action { return Action{kind: actDNAT, target: netip.MustParseAddr(to)} }

// SetTTL sets the TTL, of what the node passes on after it has counted it down.
func SetTTL(ttl uint8) Action { return Action{kind: actTTL, code: ttl} }

// SetTOS clears the bits of the type of service or traffic class that are not in keep, and sets those in set.
func SetTOS(keep, set uint8) Action { return Action{kind: actTOS, keep: keep, code: set} }

// ClampMSS sets the maximum segment size in SYNs.
func ClampMSS(mss uint16) Action { return Action{kind: actMSS, mss: mss} }

// Masquerade has what leaves the node leave with the address of the interface it leaves by; the rule's Hook does not count.
func Masquerade() Action { return Action{kind: actMasquerade} }

// MasqueradePorts is Masquerade with another port or identifier, one of those.
func MasqueradePorts(first, last uint16) Action {
	return Action{kind: actMasquerade, ports: [2]uint16{first, last}}
}

// SetSource sets the source address, to one of the same family, without keeping any state: what comes back and what is quoted
// stays as it is.
func SetSource(to string) Action { return Action{kind: actSource, target: netip.MustParseAddr(to)} }

// SetDestination sets the destination address in the same way.
func SetDestination(to string) Action {
	return Action{kind: actDestination, target: netip.MustParseAddr(to)}
}

// StripOption takes a TCP option out of SYNs, by writing NOPs in its place: 4, SACK permitted, or 8, timestamps.
func StripOption(kind uint8) Action { return Action{kind: actStrip, option: kind} }

// SetHeader writes bytes into the IP header, from so many of its bytes on, and mends its checksum, if it has one.
func SetHeader(at uint8, data string) Action { return Action{kind: actWrite, at: at, data: data} }

// SetTransport does the same behind the IP header of TCP segments or, where udp is set, UDP datagrams.
func SetTransport(udp bool, at uint8, data string) Action {
	a := Action{kind: actWrite, proto: 6, at: at, data: data}
	if udp {
		a.proto = 17
	}
	return a
}

// ends returns the addresses of a link's two ends, with the prefix length.
func ends(prefix string) (a, b netip.Prefix, err error) {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return a, b, err
	}
	first := p.Masked().Addr().Next()
	second := first.Next()
	if !p.Contains(second) {
		return a, b, fmt.Errorf("%s has no room for two addresses after its own", prefix)
	}
	return netip.PrefixFrom(first, p.Bits()), netip.PrefixFrom(second, p.Bits()), nil
}

// names lists the plan's nodes in the order the links name them.
func (p *Plan) names() []string {
	var out []string
	for _, l := range p.Links {
		for _, n := range []string{l.A, l.B} {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// neighbours lists who has a link with node, in the order of the links.
func (p *Plan) neighbours(node string) []string {
	var out []string
	for _, l := range p.Links {
		switch node {
		case l.A:
			out = append(out, l.B)
		case l.B:
			out = append(out, l.A)
		}
	}
	return out
}

// towards says for every node which neighbour is next on the shortest way,
// over links of that family, to one of the nodes in to. Those themselves, and
// who cannot reach them, are not in the answer.
func (p *Plan) towards(family int, to ...string) map[string]string {
	has := &Plan{}
	for _, l := range p.Links {
		if family == 4 && l.V4 != "" || family == 6 && l.V6 != "" {
			has.Links = append(has.Links, l)
		}
	}
	next := make(map[string]string)
	queue := slices.Clone(to)
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, n := range has.neighbours(at) {
			if _, seen := next[n]; seen || slices.Contains(to, n) {
				continue
			}
			next[n] = at
			queue = append(queue, n)
		}
	}
	return next
}

// check finds mistakes that would otherwise surface as a kernel's EINVAL.
func (p *Plan) check() error {
	if len(p.Links) == 0 {
		return fmt.Errorf("lab: a plan without links")
	}
	pairs := make(map[[2]string]bool)
	for _, l := range p.Links {
		if l.A == "" || l.B == "" || l.A == l.B || len(l.A) > 15 || len(l.B) > 15 {
			return fmt.Errorf("lab: link %q to %q: names must differ and have 1 to 15 bytes", l.A, l.B)
		}
		if pairs[[2]string{l.A, l.B}] || pairs[[2]string{l.B, l.A}] {
			return fmt.Errorf("lab: two links between %s and %s", l.A, l.B)
		}
		pairs[[2]string{l.A, l.B}] = true
		for _, s := range []string{l.V4, l.V6} {
			if s == "" {
				continue
			}
			if _, _, err := ends(s); err != nil {
				return fmt.Errorf("lab: link %s to %s: %w", l.A, l.B, err)
			}
		}
	}
	known := p.names()
	used := map[string]string{}
	for _, a := range p.Announces {
		used[a.At] = "announce"
	}
	for _, r := range p.Routes {
		used[r.On] = "route"
		if r.Kind == Unicast && !slices.Contains(p.neighbours(r.On), r.Via) {
			return fmt.Errorf("lab: route on %s to %s: %q is not a neighbour", r.On, r.Dst, r.Via)
		}
	}
	for _, r := range p.Rules {
		used[r.On] = "rule"
	}
	for _, s := range p.Sysctls {
		used[s.On] = "sysctl"
	}
	for n, what := range used {
		if !slices.Contains(known, n) {
			return fmt.Errorf("lab: %s on %q, which has no link", what, n)
		}
	}
	return nil
}
