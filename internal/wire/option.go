package wire

import (
	"net/netip"
)

// IPv4 options (RFC 791 section 3.1).
const (
	OptEnd         = 0
	OptNop         = 1
	OptRecordRoute = 7
	OptTimestamp   = 68
	OptLooseRoute  = 131
	OptStrictRoute = 137
)

// The flag of a timestamp option.
const (
	StampsOnly      = 0 // time stamps alone
	StampsAddrs     = 1 // each with the address that registers it
	StampsSpecified = 3 // each at an address given beforehand
)

// maxOptions is how many bytes of options an IPv4 header has room for.
const maxOptions = 40

// room panics where there is none for n bytes of an option.
func room(n int) {
	if n > maxOptions {
		panic("wire: an IPv4 option of more than 40 bytes")
	}
}

// AppendRecordRoute appends a record route option with room for that many addresses, at most 9. A no-operation before it aligns
// them, and makes the whole a multiple of 4 bytes.
func AppendRecordRoute(dst []byte, slots int) []byte {
	return appendRoute(dst, OptRecordRoute, nil, slots)
}

// AppendSourceRoute appends a loose or strict source route: where the packet goes after the header's destination, the
// final destination last; at most 9. Aligned as in AppendRecordRoute.
func AppendSourceRoute(dst []byte, strict bool, then []netip.Addr) []byte {
	typ := uint8(OptLooseRoute)
	if strict {
		typ = OptStrictRoute
	}
	return appendRoute(dst, typ, then, len(then))
}

func appendRoute(dst []byte, typ uint8, addrs []netip.Addr, slots int) []byte {
	n := 3 + 4*slots
	room(1 + n)
	dst = append(dst, OptNop, typ, uint8(n), 4)
	for i := range slots {
		var a [4]byte
		if i < len(addrs) {
			a = addrs[i].As4()
		}
		dst = append(dst, a[:]...)
	}
	return dst
}

// AppendTimestampOption appends a timestamp option with room for that many stamps: at most 9, or 4 where addresses stand with them.
// With StampsSpecified the addresses are those, and as many as there are slots.
func AppendTimestampOption(dst []byte, flag uint8, addrs []netip.Addr, slots int) []byte {
	if flag == StampsSpecified {
		slots = len(addrs)
	}
	n := 4 + 4*slots
	if flag != StampsOnly {
		n = 4 + 8*slots
	}
	room(n)
	start := len(dst)
	dst = append(dst, OptTimestamp, uint8(n), 5, flag)
	dst = append(dst, zeros[:n-4]...)
	if flag == StampsSpecified {
		for i, a := range addrs {
			b := a.As4()
			copy(dst[start+4+8*i:], b[:])
		}
	}
	return dst
}

// Options is a position in the options of an IPv4 header.
type Options struct{ b []byte }

// WalkOptions starts at the first of b, the options as on the wire. No header has more than 40 bytes of them: what is
// there beyond is not looked at, so that a walk has at most 40 steps.
func WalkOptions(b []byte) Options { return Options{span(b, 0, maxOptions)} }

// An Option is an IPv4 option other than end of list and no-operation, a view of it all: type, length, data.
type Option struct{ b []byte }

// Next returns the next option, or false at the end or at the first malformed one: one
// whose length is less than its own two bytes or more than is there.
func (o *Options) Next() (Option, bool) {
	for len(o.b) > 0 && o.b[0] == OptNop {
		o.b = o.b[1:]
	}
	b := o.b
	n := int(u8(b, 1))
	if len(b) < 2 || b[0] == OptEnd || n < 2 || n > len(b) {
		o.b = nil
		return Option{}, false
	}
	o.b = b[n:]
	return Option{b[:n:n]}, true
}

// Type is the option's number, its copied flag and class included.
func (o Option) Type() uint8 { return u8(o.b, 0) }

// Data is what follows the type and the length.
func (o Option) Data() []byte { return span(o.b, 2, len(o.b)) }

// Route returns the i-th address of a record route or source route, and whether a node has already been there, which
// by the pointer it has; false past the last.
func (o Option) Route(i int) (a netip.Addr, passed, ok bool) {
	switch o.Type() {
	case OptRecordRoute, OptLooseRoute, OptStrictRoute:
	default:
		return netip.Addr{}, false, false
	}
	at := 3 + 4*i
	if i < 0 || at+4 > len(o.b) {
		return netip.Addr{}, false, false
	}
	return netip.AddrFrom4([4]byte(o.b[at:])), int(o.b[2]) > at+1, true
}

// A Stamp is one entry of a timestamp option.
type Stamp struct {
	Addr netip.Addr // invalid with StampsOnly
	Time uint32     // milliseconds since midnight UT or, with the high bit, anything else
	Set  bool       // a node registered it
}

// Stamp returns the i-th entry of a timestamp option; false past the last.
func (o Option) Stamp(i int) (Stamp, bool) {
	if o.Type() != OptTimestamp || len(o.b) < 4 || i < 0 {
		return Stamp{}, false
	}
	size, addr := 4, o.b[3]&0x0f != StampsOnly
	if addr {
		size = 8
	}
	at := 4 + size*i
	if at+size > len(o.b) {
		return Stamp{}, false
	}
	s := Stamp{Time: u32(o.b, at+size-4), Set: int(o.b[2]) > at+1}
	if addr {
		s.Addr = netip.AddrFrom4([4]byte(o.b[at:]))
	}
	return s, true
}

// Overflow is how many nodes found no room in a timestamp option, at most 15.
func (o Option) Overflow() int {
	if o.Type() != OptTimestamp {
		return 0
	}
	return int(u8(o.b, 3) >> 4)
}

// AppendRouting appends an IPv6 routing header of that type (RFC 8200 section 4.4) with all nodes still to be visited after
// the header's destination, the final destination last. Its next-header byte is left to AppendIPv6.
//
// Types 0 (which RFC 5095 deprecates) and 2 (RFC 6275 section 6.4, one address) are written as they are defined; so is 4, segment routing (RFC 8754
// section 2), which lists them backwards; all others as type 0. At most 127 fit.
func AppendRouting(dst []byte, typ uint8, then []netip.Addr) []byte {
	n := len(then)
	if n > 127 {
		panic("wire: an IPv6 routing header of more than 127 addresses")
	}
	h := [8]byte{1: uint8(2 * n), 2: typ, 3: uint8(n)}
	if typ == routingSegments && n > 0 {
		h[4] = uint8(n - 1) // the last entry
	}
	dst = append(dst, h[:]...)
	for i := range then {
		a := then[i]
		if typ == routingSegments {
			a = then[n-1-i]
		}
		b := a.As16()
		dst = append(dst, b[:]...)
	}
	return dst
}

const routingSegments = 4 // the type of a segment routing header

// Options are those of an IPv4 header, empty for IPv6.
func (p IP) Options() []byte {
	if p.v6() {
		return nil
	}
	return span(p.b, header4, int(p.hdr))
}

// routing is the first routing header of an IPv6 packet, nil where there is none.
func (p IP) routing() []byte {
	proto := u8(p.b, 6)
	for b := span(p.b, header6, int(p.hdr)); len(b) >= 8; {
		n := (int(b[1]) + 1) * 8
		switch proto {
		case ProtoRouting:
			return span(b, 0, n)
		case ProtoFragment:
			n = 8
		case ProtoAH:
			n = (int(b[1]) + 2) * 4
		}
		proto, b = b[0], span(b, n, len(b))
	}
	return nil
}

// SourceRoute is the part of p that says where it goes after its destination: the loose or strict source route, an
// IPv6 routing header, a view of either. next is where in it the next address stands, 0 where none is left.
func (p IP) SourceRoute() (b []byte, next int) {
	if !p.v6() {
		for o := WalkOptions(p.Options()); ; {
			x, ok := o.Next()
			if !ok {
				return nil, 0
			}
			if t := x.Type(); t != OptLooseRoute && t != OptStrictRoute {
				continue
			}
			if at := int(u8(x.b, 2)) - 1; at >= 3 && at+4 <= len(x.b) {
				return x.b, at
			}
			return x.b, 0
		}
	}
	b = p.routing()
	left, n := int(u8(b, 3)), (len(b)-8)/16
	if left == 0 || left > n {
		return b, 0
	}
	if u8(b, 2) == routingSegments {
		return b, 8 + 16*(left-1)
	}
	return b, 8 + 16*(n-left)
}

// FinalDst is where the packet goes in the end, which is what the checksums of transports are over (RFC 1122 section
// 3.2.1.8, RFC 8200 section 8.1): Dst, but where a source route leads on, its last address.
func (p IP) FinalDst() netip.Addr {
	b, next := p.SourceRoute()
	switch {
	case next == 0:
		return p.Dst()
	case !p.v6():
		at := len(b) - 4
		at -= (at - 3) % 4 // a length that is not whole
		return netip.AddrFrom4([4]byte(b[at:]))
	case b[2] == routingSegments:
		return netip.AddrFrom16([16]byte(b[8:]))
	}
	return netip.AddrFrom16([16]byte(b[8+(len(b)-8)/16*16-16:]))
}
