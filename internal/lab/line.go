//go:build linux

package lab

import (
	"net/netip"

	"gtrace/internal/wire"
)

// LinePrefix are the addresses of a line of nodes that Node.ActLine plays, by family.
var LinePrefix = map[int]netip.Prefix{
	4: netip.MustParsePrefix("192.0.2.192/26"), 6: netip.MustParsePrefix("2001:db8:ffff::/64"),
}

// LineAddr is the address of the line's i-th node, from 1.
func LineAddr(i, family int) netip.Addr {
	if family == 4 {
		a := LinePrefix[4].Addr().As4()
		a[3] += byte(i)
		return netip.AddrFrom4(a)
	}
	a := LinePrefix[6].Addr().As16()
	a[15] = byte(i)
	return netip.AddrFrom16(a)
}

// A Quoter is a node of a line.
type Quoter struct {
	Quote int  // how much its ICMP errors quote behind the IP header; 0: all, as far as errors may
	MPLS  bool // they have a label stack, and so are filled up to 128 bytes of quote (RFC 4884 section 5.1)
}

// LinePlan is a client and a node that plays a line, whichever.
func LinePlan() Plan {
	p := Plan{Links: []Link{{A: "client", B: "line", V4: "198.51.100.0/30", V6: "2001:db8::/64"}}}
	for _, family := range []int{4, 6} {
		all := LinePrefix[family].String()
		p.Announces = append(p.Announces, Announce{At: "line", Prefix: all})
		p.Routes = append(p.Routes, Route{On: "line", Dst: all, Kind: Blackhole}) // this process answers, not the kernel
	}
	return p
}

// ActLine has the node line of a LinePlan play routers one behind the other and, as the last, a host with no open UDP port.
func (n *Network) ActLine(nodes ...Quoter) error {
	return n.Node("line").answer("client", func(q *query, send func([]byte)) {
		ttl, family := int(q.ip.TTL()), q.family()
		last := len(nodes)
		if q.ip.Proto() != wire.ProtoUDP || q.dst != LineAddr(last, family) || ttl == 0 {
			return
		}
		typ, code := uint8(wire.TimeExceeded4), uint8(0)
		switch at := ttl < last; {
		case at && family == 6:
			typ = wire.TimeExceeded6
		case at:
		case family == 6:
			typ, code = wire.Unreachable6, 4
		default:
			typ, code = wire.Unreachable4, 3
		}
		i := min(ttl, last)
		from, by := LineAddr(i, family), nodes[i-1]
		quote, proto := q.counted(i-1), uint8(wire.ProtoICMP)
		if by.Quote != 0 {
			quote = quote[:min(len(quote), len(q.ip.Header())+by.Quote)]
		}
		if family == 6 {
			proto = wire.ProtoICMPv6
		}
		var objects []byte
		if by.MPLS {
			objects = wire.AppendObject(nil, 1, 1, wire.AppendLSE(nil, 16, 0, true, 1))
		}
		send(q.wrap(from, proto, uint8(65-i), nil, wire.AppendError(nil, from, q.src, typ, code, 0, quote, objects)))
	})
}
