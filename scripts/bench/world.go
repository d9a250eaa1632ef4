package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// A world is a simulated network and the truth about it.
type world struct {
	src     *simnet.Node
	routers uint32
	targets []netip.Addr // in the order they are asked
	ways    map[netip.Addr]way
	pings   bool // targets are to be pinged: they answer nothing but echo requests
}

// A way is what lies before a target, and the target last where it answers.
type way struct {
	hops    []hop
	answers bool
}

// A hop is one that answers, so long after it was asked.
type hop struct {
	addr netip.Addr
	rtt  time.Duration
}

// home is the address of the host that measures.
var home = netip.MustParseAddr("10.0.0.2")

// Routers are below 10.64.0.0, targets above.
const (
	firstRouter = 10<<24 | 1<<8
	firstTarget = 10<<24 | 64<<16
)

func ipv4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

func newWorld() *world {
	return &world{src: simnet.Host(home.String()), ways: make(map[netip.Addr]way)}
}

func (w *world) router() *simnet.Node {
	w.routers++
	return &simnet.Node{Addrs: []netip.Addr{ipv4(firstRouter + w.routers)}, Forwards: true}
}

// shuffle puts the targets in an order in which neighbours are not asked one after the other.
func (w *world) shuffle(seed uint64) {
	rand.New(rand.NewPCG(seed, seed)).Shuffle(len(w.targets), func(i, j int) {
		w.targets[i], w.targets[j] = w.targets[j], w.targets[i]
	})
}

// join links a to b, for packets to p or, where that is the zero value, for all. Answers from b take rtt longer than a's.
func join(a, b *simnet.Node, rtt time.Duration, p netip.Prefix) {
	l := a.Link(b)
	l.Out.Delay, l.Back.Delay = rtt/2, rtt-rtt/2
	if p.IsValid() {
		l.For = []netip.Prefix{p}
	}
}

// line is one path: that many hops answer, then that many do not, and the last of all is the target.
func line(answering, silent int, rtt time.Duration) *world {
	w := newWorld()
	n, at := answering+silent, w.src
	target := ipv4(firstTarget + 1)
	var hops []hop
	for i := range n {
		next := w.router()
		if i == n-1 {
			next = simnet.Host(target.String())
		}
		join(at, next, rtt/time.Duration(n), netip.Prefix{})
		if next.Silent = i >= answering; !next.Silent {
			hops = append(hops, hop{next.Addrs[0], rtt * time.Duration(i+1) / time.Duration(n)})
		}
		at = next
	}
	w.targets, w.ways[target] = []netip.Addr{target}, way{hops, silent == 0}
	return w
}

// tree is a network of n targets at a distance of 8 to 25 hops. The first two routers are on every path; behind them a router
// leads to up to eight others; sixteen targets, each behind a router of its own, share all routers but that. With delays the
// targets' round-trip times are 10 to 150 ms, evenly spread.
func tree(n int, delays bool) *world {
	const (
		together = 16 // targets that share a way
		near     = 5  // routers that more than those share
		shortest = 8 - near
		longest  = 25 - near
		shared   = time.Millisecond // a router of those
	)
	w, rng := newWorld(), rand.New(rand.NewPCG(1, 2))
	rtt := func(d time.Duration) time.Duration {
		if !delays {
			return 0
		}
		return d
	}
	tight := 0 // so many bits less of the address space for each target
	if n > 16_000 {
		tight = 4
	}
	host := new(simnet.Node) // of all addresses: those of the links to it
	branches := make(map[netip.Prefix]*simnet.Node)
	for stub := range uint32((n + together - 1) / together) {
		base := ipv4(firstTarget + stub<<(12-tight))
		at, hops := w.src, []hop(nil)
		step := func(next *simnet.Node, d time.Duration, a netip.Addr) {
			before := time.Duration(0)
			if len(hops) > 0 {
				before = hops[len(hops)-1].rtt
			}
			at, hops = next, append(hops, hop{a, before + d})
		}
		for _, bits := range []int{8, 9, 11, 14, 17} {
			p, _ := base.Prefix(bits)
			next := branches[p]
			if next == nil {
				next = w.router()
				branches[p] = next
				join(at, next, rtt(shared), p)
			}
			step(next, rtt(shared), next.Addrs[0])
		}
		rest := shortest + rng.IntN(longest-shortest+1)
		all := 10*time.Millisecond + time.Duration(rng.Int64N(int64(140*time.Millisecond)))
		each := rtt((all - near*shared) / time.Duration(rest))
		p, _ := base.Prefix(20 + tight)
		for range rest - 2 {
			next := w.router()
			join(at, next, each, p)
			step(next, each, next.Addrs[0])
		}
		fork, common := at, hops
		for i := range uint32(min(together, n-len(w.targets))) {
			a, last := ipv4(firstTarget+stub<<(12-tight)+i<<(8-tight)+1), w.router()
			p, _ := a.Prefix(24 + tight)
			join(fork, last, each, p)
			join(last, host, each, netip.Prefix{})
			last.Links[0].Addrs = []netip.Addr{a}
			at, hops = fork, common[:len(common):len(common)]
			step(last, each, last.Addrs[0])
			step(host, each, a)
			w.targets, w.ways[a] = append(w.targets, a), way{hops, true}
		}
	}
	w.shuffle(1)
	return w
}

// hosts is a network of n hosts behind three routers, 10 ms away. Some one in ten of them does not answer.
func hosts(n int) *world {
	const hops, rtt = 4, 10 * time.Millisecond
	w, rng := newWorld(), rand.New(rand.NewPCG(3, 4))
	w.pings = true
	host := &simnet.Node{Own: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/10")}}
	branches := make(map[netip.Prefix]*simnet.Node)
	for i := range uint32(n) {
		a, at := ipv4(firstTarget+i), w.src
		var r way
		for i, bits := range []int{8, 20, 24} {
			p, _ := a.Prefix(bits)
			next := branches[p]
			if next == nil {
				next = w.router()
				branches[p] = next
				join(at, next, rtt/hops, p)
				if bits == 24 {
					join(next, host, rtt/hops, netip.Prefix{})
				}
			}
			at = next
			r.hops = append(r.hops, hop{next.Addrs[0], rtt / hops * time.Duration(i+1)})
		}
		if r.answers = rng.IntN(10) > 0; r.answers {
			r.hops = append(r.hops, hop{a, rtt})
		} else {
			at.Rules = append(at.Rules, simnet.Rule{To: netip.PrefixFrom(a, 32), Do: simnet.Drop})
		}
		w.targets, w.ways[a] = append(w.targets, a), r
	}
	w.shuffle(3)
	return w
}

// quick answers a probe as the nodes would, out of the list of ways: the walk from node to node costs more than a fast tool's
// own work. It knows echo requests, and UDP to targets of
// traces; known is false for all else. The answer, whose data are appended to b, is
// from no valid address where there is none.
func (w *world) quick(packet, b []byte) (r rawsock.Reply, after time.Duration, known bool) {
	ip, err := wire.ParseIP(packet)
	if err != nil || ip.Version() != 4 || ip.MF() || ip.Offset() != 0 || len(ip.Options()) > 0 || len(ip.Transport()) < 8 || ip.TTL() == 0 {
		return r, 0, false
	}
	t, echo := ip.Transport(), ip.Proto() == wire.ProtoICMP && ip.Transport()[0] == wire.Echo4
	way, there := w.ways[ip.Dst()]
	if !there || !echo && (w.pings || ip.Proto() != wire.ProtoUDP) {
		return r, 0, false
	}
	at, last := int(ip.TTL())-1, len(way.hops)-1
	reached := at >= last && way.answers
	switch {
	case reached:
		at = last
	case at > last:
		return r, 0, true
	}
	from := way.hops[at]
	r = rawsock.Reply{From: from.addr, To: ip.Src(), Proto: wire.ProtoICMP, TTL: uint8(64 - at), TOS: 0xc0 | ip.TOS()&0x1e}
	if echo && reached {
		r.TOS = ip.TOS()
		r.Data = wire.AppendEcho(b, r.From, r.To, wire.EchoReply4, u16(t[4:]), u16(t[6:]), t[8:], 0)
		return r, from.rtt, true
	}
	typ, code := uint8(wire.TimeExceeded4), uint8(0)
	if reached {
		typ, code = wire.Unreachable4, 3
	}
	const most = 576 - 20 - 8 // of a packet in an error (RFC 1812 section 4.3.2.3)
	arrive(packet, uint8(at))
	r.Data = wire.AppendError(b, r.From, r.To, typ, code, 0, packet[:min(len(packet), most)], nil)
	return r, from.rtt, true
}

// arrive counts the TTL of an IPv4 packet down by n and keeps its checksum right (RFC 1624).
func arrive(packet []byte, n uint8) {
	old := u16(packet[8:])
	packet[8] -= n
	sum := uint32(^u16(packet[10:])) + uint32(^old) + uint32(u16(packet[8:]))
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(packet[10:], ^uint16(sum))
}

func u16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
