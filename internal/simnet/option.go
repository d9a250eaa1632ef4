package simnet

import (
	"encoding/binary"
	"net/netip"
	"time"

	"gtrace/internal/wire"
)

// clock is the time of day that n has at a time: milliseconds since midnight UT.
func (c *Conn) clock(n *Node, at int64) uint32 {
	t := epoch.Add(time.Duration(at) + n.Clock)
	return uint32(t.Sub(t.Truncate(24*time.Hour)) / time.Millisecond)
}

// register puts a node's address into the record route option, and its time into the timestamp option, of IPv4 options
// in place (RFC 791 section 3.1), and reports whether it changed any. Without an IPv4 address it has nothing to register.
func register(options []byte, a netip.Addr, ms uint32) (changed bool) {
	if len(options) == 0 || !a.Is4() {
		return false
	}
	addr := a.As4()
	for at := 0; at < len(options); {
		o := options[at:]
		if o[0] == wire.OptNop {
			at++
			continue
		}
		if o[0] == wire.OptEnd || len(o) < 3 || int(o[1]) < 3 || int(o[1]) > len(o) {
			break
		}
		o = o[:o[1]]
		at += len(o)
		next := int(o[2]) - 1 // where the pointer leads
		switch {
		case o[0] == wire.OptRecordRoute && next >= 3 && next+4 <= len(o):
			copy(o[next:], addr[:])
			o[2] += 4
			changed = true
		case o[0] == wire.OptTimestamp && len(o) >= 4:
			changed = stamp(o, next, addr, ms) || changed
		}
	}
	return changed
}

// stamp registers in a timestamp option, or that there was no room for it.
func stamp(o []byte, next int, addr [4]byte, ms uint32) bool {
	size, flag := 8, o[3]&0x0f
	if flag == wire.StampsOnly {
		size = 4
	}
	switch {
	case next < 4:
		return false
	case next+size > len(o):
		if o[3]>>4 == 15 {
			return false
		}
		o[3] += 1 << 4
		return true
	case flag == wire.StampsSpecified && [4]byte(o[next:]) != addr:
		return false
	case flag == wire.StampsAddrs:
		copy(o[next:], addr[:])
	}
	binary.BigEndian.PutUint32(o[next+size-4:], ms)
	o[2] += uint8(size)
	return true
}

// onRoute does what n does with the route that p brings along, b being the packet. It reports false where p ends here.
func (c *Conn) onRoute(n *Node, in *Link, b []byte, p *packet) bool {
	route, next := p.ip.SourceRoute()
	if route == nil {
		return true
	}
	own := n.owns(p.dst, in)
	switch {
	case n.SourceRoutes == DropRoutes && !p.v6:
		c.counts.Discarded++
		return false
	case !own || next == 0:
		return true
	case n.SourceRoutes != FollowRoutes:
		c.refuseRoute(n, in, *p)
		return false
	}
	if p.v6 {
		// RFC 8200 section 4.4, as each type has it: the next address and the destination change places.
		to := netip.AddrFrom16([16]byte(route[next:]))
		if to.IsMulticast() {
			c.refuseRoute(n, in, *p)
			return false
		}
		copy(route[next:], b[24:40])
		a := to.As16()
		copy(b[24:], a[:])
		route[3]--
	} else {
		// RFC 791: the next address becomes the destination, and this node's own, on the way
		// out, is recorded in its place.
		to := netip.AddrFrom4([4]byte(route[next:]))
		if route[0] == wire.OptStrictRoute && !n.joins(to) {
			c.refuseRoute(n, in, *p)
			return false
		}
		a, own := to.As4(), first(n.Addrs, false).As4()
		copy(route[next:], own[:])
		copy(b[16:], a[:])
		route[2] += 4
		mendHeader(b)
	}
	ip, err := wire.ParseIP(b)
	if err != nil {
		return false
	}
	*p = look(ip, p.at)
	return true
}

// joins reports whether a is an address at the other end of one of n's links.
func (n *Node) joins(a netip.Addr) bool {
	for _, l := range n.Links {
		if l.To.owns(a, l) {
			return true
		}
	}
	return false
}

// refuseRoute answers that a source route failed.
func (c *Conn) refuseRoute(n *Node, in *Link, p packet) {
	if p.v6 {
		// An unrecognised routing type. Probes have no other extension header before it.
		c.fail(n, in, p, wire.ParameterProblem6, 0, 40+2, 0)
		return
	}
	const failed = 5
	c.fail(n, in, p, wire.Unreachable4, failed, 0, 0)
}

// redirect tells the sender of p, which is passed on all the same, of a better first hop (RFC 792, RFC 4861 section 8.2).
func (c *Conn) redirect(n *Node, in *Link, p packet) {
	if !p.v6 {
		const host = 1
		a := n.Redirect.As4()
		c.fail(n, in, p, wire.Redirect4, host, binary.BigEndian.Uint32(a[:]), 0)
		return
	}
	from := n.source(in, true)
	if n.Silent || !from.IsValid() || unanswerable(p.ip) {
		return
	}
	quote := p.ip.Bytes()
	quote = quote[:min(len(quote), 1280-40-40-8)&^7]
	body := append(n.Redirect.AsSlice(), p.dst.AsSlice()...)
	body = append(body, 4, uint8(1+len(quote)/8), 0, 0, 0, 0, 0, 0)
	body = append(body, quote...)
	to := c.trip.orig.Src()
	c.trip.out = wire.AppendICMP(c.trip.out[:0], from, to, wire.Redirect6, 0, 0, body, 0)
	c.answer(n, p, from, wire.ProtoICMPv6, 0, 255)
}
