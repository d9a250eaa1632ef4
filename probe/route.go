package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"gtrace/internal/wire"
)

// The kinds of IPv6 routing headers that SourceRoute makes.
const (
	RouteType0   = 0 // RFC 2460; deprecated by RFC 5095: hosts and routers drop it
	RouteMobile  = 2 // RFC 6275: one address, the home address of a mobile node
	RouteSegment = 4 // RFC 8754: the segment routing header
)

// maxGateways is how many gateways traceroute takes over IPv4. One more would fit into the options.
const maxGateways = 8

// SourceRoute makes a probe to dst go by those gateways, in that order: options is for
// Spec.Options, and via, the first of them, for Spec.Via, which is what the packet's header has for a destination.
//
// Over IPv4 that is a loose source route (RFC 791 section 3.1): each gateway takes the next address
// from it. Over IPv6 it is a routing header of that kind. Hop limits and errors are as without; an error quotes
// the gateway that was next.
func SourceRoute(kind uint8, gateways []netip.Addr, dst netip.Addr) (options string, via netip.Addr, err error) {
	if len(gateways) == 0 {
		return "", via, fmt.Errorf("source route to %v: no gateway", dst)
	}
	for _, g := range gateways {
		switch {
		case g.Is4() != dst.Is4():
			return "", via, fmt.Errorf("gateway %v: is not of the family of %v", g, dst)
		case g.IsUnspecified() || g.IsMulticast():
			return "", via, fmt.Errorf("gateway %v: is no address of a router", g)
		}
	}
	// Where the first gateway sends it on to, and so on.
	hops := append(append([]netip.Addr(nil), gateways[1:]...), dst)
	var b []byte
	switch {
	case dst.Is4():
		if len(gateways) > maxGateways {
			return "", via, fmt.Errorf("%d gateways: want no more than %d", len(gateways), maxGateways)
		}
		b = wire.AppendSourceRoute(nil, false, hops)
	case kind == RouteType0, kind == RouteMobile:
		if kind == RouteMobile && len(gateways) > 1 {
			return "", via, fmt.Errorf("%d gateways: a routing header of type 2 takes one (RFC 6275 section 6.4); type 4 takes more, where routers allow it", len(gateways))
		}
		if len(gateways) > 127 {
			return "", via, fmt.Errorf("%d gateways: want no more than 127", len(gateways))
		}
		b = wire.AppendRouting(nil, kind, hops)
	case kind == RouteSegment:
		// The whole list, last first; the one that is under way is where "segments left" points.
		all := append([]netip.Addr{gateways[0]}, hops...)
		if len(gateways) > 126 {
			return "", via, fmt.Errorf("%d gateways: want no more than 126", len(gateways))
		}
		b = append(b, 0, byte(2*len(all)), kind, byte(len(all)-1), byte(len(all)-1), 0)
		b = binary.BigEndian.AppendUint16(b, 0)
		for i := range all {
			b = append(b, all[len(all)-1-i].WithZone("").AsSlice()...)
		}
	default:
		return "", via, fmt.Errorf("routing header of type %d: want 0 (deprecated), 2 or 4", kind)
	}
	return string(b), gateways[0], nil
}

// ByName, ByIndex and ByAddr ask an extended echo about an interface of the node itself (RFC 8335 section 2.1).
func ByName(name string) Query { return ownInterface(wire.AppendInterfaceName(nil, name)) }

func ByIndex(index uint32) Query { return ownInterface(wire.AppendInterfaceIndex(nil, index)) }

func ByAddr(a netip.Addr) Query { return ownInterface(wire.AppendInterfaceAddr(nil, a)) }

func ownInterface(object []byte) Query {
	const local = 1 // the L bit
	return Query{Flags: local, Data: string(object)}
}

// WayBack guesses how many hops an answer has come that arrived with that TTL: hosts and routers send with a TTL of 64,
// 128 or 255, and the first of them is itself one hop away.
func WayBack(ttl uint8) int {
	switch {
	case ttl <= 64:
		return 64 + 1 - int(ttl)
	case ttl <= 128:
		return 128 + 1 - int(ttl)
	}
	return 255 + 1 - int(ttl)
}
