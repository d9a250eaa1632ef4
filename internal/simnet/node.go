package simnet

import (
	"net/netip"
	"slices"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// A Node is a router or a host. Its fields may be changed at any time between
// two calls to the Conn it belongs to; it belongs to one only.
type Node struct {
	// Addrs are its addresses. It answers from the one of the interface the packet came
	// in by (Link.Addrs), else from the first of the packet's family, or not at all.
	Addrs []netip.Addr

	// Own are prefixes every address of which is its own, for many targets in one node.
	Own []netip.Prefix

	// Links lead out of it. See Link and Path.
	Links []*Link

	// Forwards makes it a router: it counts TTLs down, passes packets on and answers those
	// it cannot pass on. Without it, packets that are for others are dropped.
	Forwards bool

	Balance Balance // over links that fit equally well
	Salt    uint64  // of Balance; 0: from the seed and Addrs, so that routers differ. Equal salts polarise
	Rules   []Rule  // for packets it forwards and for those to itself; the first that fits counts

	// What it does on the way.
	NoDecrement bool                      // does not count TTLs down, in either direction
	ZeroTTL     bool                      // passes packets on whose TTL has become 0
	Forward     []Edit                    // changes to packets it passes on, after its own answer could have quoted them
	SNAT        netip.Addr                // packets it passes on leave with this source and another port
	DNAT        map[netip.Addr]netip.Addr // packets to the key go to the value; every answer from here on comes from the key
	Restore     Restore                   // what of SNAT and DNAT it undoes in quotes

	// What it does with packets to many, and with those that say where to go.
	Groups       []netip.Addr   // broadcast and multicast addresses it hears; it answers in its own name
	Flood        []netip.Prefix // packets to these leave over every link that fits, as a LAN's do to its broadcast address; so do those to 255.255.255.255 and, from the host itself, to multicast addresses
	SourceRoutes Routing        // IPv4 source routes and IPv6 routing headers
	Redirect     netip.Addr     // packets of its family that it passes on: it tells that this would be the better first hop

	// How it answers.
	Silent    bool               // not at all
	Exceeds   bool               // packets to itself: with time exceeded
	NoEcho    bool               // not echo requests
	UDP       map[uint16]Service // ports that are open; the others: port unreachable
	TCP       map[uint16]TCPPort // ports that are not Closed
	UDPLite   map[uint16]Service // as UDP; nil: it does not have the protocol
	DCCP      map[uint16]bool    // ports that are open; the others: reset. nil: it does not have the protocol
	Protocols map[uint8]Service  // other IP protocols that it has; the others: protocol unreachable
	Limit     Limit              // of ICMP errors, per source of the offending packets
	EchoLimit Limit              // of echo replies

	NoTimestamp bool          // not timestamp requests
	Clock       time.Duration // that its clock is ahead
	Mask        uint32        // it answers address mask requests with this; 0: not at all
	Ports       []Port        // it answers extended echo requests (RFC 8335) about these; nil: not at all
	Neighbors   []Neighbor    // and about these
	Name        string        // it answers node information queries (RFC 4620) with this and its addresses; "": not at all

	From     netip.Addr           // answers of its family come from here
	TTL      uint8                // of its answers when they leave; 0 means 64
	ErrorTTL uint8                // of ICMP errors, where it is not TTL
	BackHops int                  // routers more on the way back than on the way out
	Answer   Way                  // what happens to its answers before anything else: Delay is its slowness
	Alter    func(*rawsock.Reply) // last change to an answer; see Mend

	// What its ICMP errors carry.
	Quote   int    // bytes of the offending packet after its IP header; 0: as RFC 1812 and RFC 4443, see Full
	Edits   []Edit // changes to quotes
	Objects []byte // extension objects: MPLS, Interface and wire.AppendObject, one after the other
	Compat  bool   // the objects come without length attribute (RFC 4884 section 5.5)

	conn   *Conn
	salt   uint64
	trip   uint64 // the last packet that came by
	errors []bucket
	echoes []bucket
}

// A Port is one of a Node's interfaces, as extended echo tells of it.
type Port struct {
	Name       string
	Index      uint32
	Addr       netip.Addr
	Down       bool
	IPv4, IPv6 bool // runs on it
}

// A Neighbor is an entry of a Node's ARP table or neighbour cache, by its address and State (RFC 8335 section 3).
type Neighbor struct {
	Addr  netip.Addr
	State uint8 // 1 incomplete, 2 reachable, 3 stale, 4 delay, 5 probe, 6 failed
}

// A Routing is what a Node does with packets that bring their own route.
type Routing uint8

const (
	DropRoutes   Routing = iota // IPv4: drops them, on their way too; IPv6: as RefuseRoutes, as Linux does
	RefuseRoutes                // where it is on the route: source route failed; IPv6: parameter problem
	FollowRoutes
)

// Full makes a Node quote everything. Where Quote is 0 an error is at most 576 bytes
// for IPv4 (RFC 1812 section 4.3.2.3) and 1280 for IPv6 (RFC 4443 section 3.3).
const Full = 1 << 16

// Host returns a node that forwards nothing, with those addresses.
func Host(addrs ...string) *Node {
	n := new(Node)
	for _, a := range addrs {
		n.Addrs = append(n.Addrs, netip.MustParseAddr(a))
	}
	return n
}

// Router returns a node that forwards, with those addresses.
func Router(addrs ...string) *Node {
	n := Host(addrs...)
	n.Forwards = true
	return n
}

// Link joins n to a node, for packets to those prefixes; without any, for all. The longest
// prefix counts, as in a routing table. Both ways take 1 ms.
func (n *Node) Link(to *Node, prefixes ...string) *Link {
	l := &Link{To: to, Out: Way{Delay: time.Millisecond}, Back: Way{Delay: time.Millisecond}}
	for _, p := range prefixes {
		l.For = append(l.For, netip.MustParsePrefix(p))
	}
	n.Links = append(n.Links, l)
	return l
}

// Path joins nodes in a row: link i leads from node i to node i+1.
func Path(nodes ...*Node) []*Link {
	var ls []*Link
	for i := range nodes[1:] {
		ls = append(ls, nodes[i].Link(nodes[i+1]))
	}
	return ls
}

// A Link leads to a node, and its answers back.
type Link struct {
	To        *Node
	For       []netip.Prefix // what it is a route to; nil means everything
	Addrs     []netip.Addr   // of To's interface on this link; one that other links lead to as well belongs into To.Addrs too
	Out, Back Way
	MTU       int  // bytes of the largest packet; 0 means any. On the first link it is the device's: Send fails
	BlackHole bool // larger packets vanish; else they are answered (IPv4 without DF: pass)
}

// A Way is what happens to packets in one direction. Chances are from 0 to 1.
type Way struct {
	Delay   time.Duration
	Jitter  time.Duration // up to as much more, evenly spread; packets may overtake each other
	Loss    float64       // chance to be lost
	Dup     float64       // chance to be duplicated
	Copies  int           // how many more there are of a duplicated packet; 0 means 1
	Reorder float64       // chance to be held back by Hold
	Hold    time.Duration
	Corrupt float64 // chance of a changed payload byte with a checksum that fits, as from a router's bad memory
	Damage  float64 // chance of a changed payload byte with the checksum as it was
}

// A Balance is how a node chooses among links that fit equally well.
type Balance uint8

const (
	PerFlow        Balance = iota // by addresses, protocol, the first 4 bytes after the IP header and the flow label
	PerDestination                // by destination address
	PerPacket                     // by chance
)

// A Rule is a line of a firewall or an error route.
type Rule struct {
	To    netip.Prefix  // destinations; the zero value means all
	Proto uint8         // 0 means all
	Port  uint16        // destination port of UDP or TCP; 0 means all
	Do    Action        // with packets that fit
	Delay time.Duration // before it answers: some 3 s for a neighbour that is gone
}

// An Action is what a Rule does with a packet. See Unreachable.
type Action uint32

const (
	Drop                Action = iota
	Accept                     // no later rule counts
	Reset                      // TCP: a reset in the target's name; others: port unreachable
	unreachable         Action = 1 << 16
	NetUnreachable             = unreachable // codes 0 and 0
	HostUnreachable            = unreachable | 1<<8 | 3
	ProtocolUnreachable        = unreachable | 2<<8 | 1<<7 // IPv6: parameter problem, code 1
	PortUnreachable            = unreachable | 3<<8 | 4
	NetProhibited              = unreachable | 9<<8 | 1
	HostProhibited             = unreachable | 10<<8 | 1
	AdminProhibited            = unreachable | 13<<8 | 1
)

// Unreachable is the Action of answering with destination unreachable, with
// one code for ICMP (type 3) and one, below 128, for ICMPv6 (type 1).
func Unreachable(code4, code6 uint8) Action {
	return unreachable | Action(code4)<<8 | Action(code6&0x7f)
}

// A Service is an open UDP port: it returns the answer to a payload, nil for
// none. A nil Service never answers. The payload is valid during the call.
type Service func(payload []byte) []byte

// Echo is the Service that sends the payload back.
func Echo(payload []byte) []byte { return payload }

// DNS is the Service that refuses every DNS query, as a server does that serves others alone.
func DNS(payload []byte) []byte { return wire.AppendDNSRefusal(nil, payload) }

// QUIC is the Service of a server that has QUIC version 1 (RFC 9000): of those of another version it tells which it has. It opens no
// connections, and answers nothing else.
func QUIC(payload []byte) []byte { return wire.AppendQUICVersions(nil, payload, 1) }

// A TCPPort is how a TCP port answers a SYN.
type TCPPort uint8

const (
	Closed   TCPPort = iota // reset
	Open                    // SYN-ACK
	Filtered                // not at all
	BadReset                // reset with an acknowledgement (or, where it has none, a sequence number) that does not fit, in the lower half
)

// A Limit is a token bucket. The zero value is no limit.
type Limit struct {
	Burst int           // answers at once
	Every time.Duration // a further one after this long
	All   bool          // one bucket for all sources, not one each
}

// Linux is net.ipv4.icmp_ratelimit as it is by default: six at once, then one a second,
// for each host that is answered (measured; see net/ipv4/inetpeer.c, XRLIM_BURST_FACTOR).
var Linux = Limit{Burst: 6, Every: time.Second}

// Restore is what a translating node undoes in the packets that errors quote.
type Restore uint8

const (
	RestoreAll       Restore = iota // addresses, ports and checksums, as Linux
	RestoreAddresses                // addresses and ports, not the transport's checksum
	RestoreNothing                  // the quote shows the packet as it was behind the node
)

type bucket struct {
	src   netip.Addr
	debt  int64 // ns of Every used up and not yet paid back
	since int64
}

// allow takes a token at time t.
func (l Limit) allow(bs *[]bucket, src netip.Addr, t int64) bool {
	if l == (Limit{}) {
		return true
	}
	if l.All {
		src = netip.Addr{}
	}
	i := slices.IndexFunc(*bs, func(b bucket) bool { return b.src == src })
	if i < 0 {
		i = len(*bs)
		*bs = append(*bs, bucket{src: src, since: t})
	}
	b := &(*bs)[i]
	if t > b.since {
		b.debt = max(0, b.debt-(t-b.since))
		b.since = t
	}
	if b.debt+int64(l.Every) > int64(l.Burst)*int64(l.Every) {
		return false
	}
	b.debt += int64(l.Every)
	return true
}

// owns reports whether a packet to a is for n.
func (n *Node) owns(a netip.Addr, in *Link) bool {
	if in != nil && slices.Contains(in.Addrs, a) {
		return true
	}
	for _, own := range n.Addrs {
		if own == a {
			return true
		}
	}
	for _, p := range n.Own {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// source is the address n answers from when a packet of that family came in by a link.
func (n *Node) source(in *Link, v6 bool) netip.Addr {
	if n.From.IsValid() && n.From.Is6() == v6 {
		return n.From
	}
	if in != nil {
		if a := first(in.Addrs, v6); a.IsValid() {
			return a
		}
	}
	return first(n.Addrs, v6)
}

func first(as []netip.Addr, v6 bool) netip.Addr {
	for _, a := range as {
		if a.Is6() == v6 {
			return a
		}
	}
	return netip.Addr{}
}

// rule returns the rule for a packet, or nil.
func (n *Node) rule(ip wire.IP) *Rule {
	for i := range n.Rules {
		r := &n.Rules[i]
		if r.To.IsValid() && !r.To.Contains(ip.Dst()) || r.Proto != 0 && r.Proto != ip.Proto() {
			continue
		}
		if r.Port != 0 {
			p := ip.Proto()
			if t := ip.Transport(); p != wire.ProtoUDP && p != wire.ProtoTCP || ip.Offset() != 0 || len(t) < 4 || be(t[2:]) != r.Port {
				continue
			}
		}
		if r.Do == Accept {
			return nil
		}
		return r
	}
	return nil
}

// fits returns how long the best prefix of l for a is, -1 where there is none.
func (l *Link) fits(a netip.Addr) int {
	if l.For == nil {
		return 0
	}
	best := -1
	for _, p := range l.For {
		if p.Contains(a) {
			best = max(best, p.Bits())
		}
	}
	return best
}

// floods reports whether packets to a leave n over every link.
func (c *Conn) floods(n *Node, a netip.Addr) bool {
	if n == c.src && (a == broadcast || a.IsMulticast()) {
		return true
	}
	for _, p := range n.Flood {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
