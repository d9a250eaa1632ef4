package simnet

import (
	"encoding/binary"
	"net/netip"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

func be(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// An Edit changes an IP packet, or the start of one, in place.
//
// The IPv4 header checksum of a packet on the way is mended after it. In a quote
// nothing is mended, as in the systems these edits are known from.
type Edit func(packet []byte)

// SwapID swaps the bytes of the IPv4 identification.
func SwapID(p []byte) {
	if p[0]>>4 == 4 {
		p[4], p[5] = p[5], p[4]
	}
}

// ZeroID clears the IPv4 identification.
func ZeroID(p []byte) {
	if p[0]>>4 == 4 {
		p[4], p[5] = 0, 0
	}
}

// AddID adds to the IPv4 identification.
func AddID(d uint16) Edit {
	return func(p []byte) {
		if p[0]>>4 == 4 {
			binary.BigEndian.PutUint16(p[4:], be(p[4:])+d)
		}
	}
}

// ZeroChecksum clears the UDP checksum.
func ZeroChecksum(p []byte) {
	if hdr, proto := transport(p); proto == wire.ProtoUDP && len(p) >= hdr+8 {
		p[hdr+6], p[hdr+7] = 0, 0
	}
}

// SetTTL sets the TTL or hop limit.
func SetTTL(ttl uint8) Edit {
	return func(p []byte) { p[ttlAt(p)] = ttl }
}

// SetDSCP sets the DSCP (RFC 2474) and leaves the ECN bits.
func SetDSCP(dscp uint8) Edit {
	return func(p []byte) {
		if p[0]>>4 == 4 {
			p[1] = dscp<<2 | p[1]&3
			return
		}
		v := be(p)&0xf03f | uint16(dscp&0x3f)<<6
		binary.BigEndian.PutUint16(p, v)
	}
}

// MPLS returns an extension object with a label stack (RFC 4950): traffic
// class 0, and the TTL 1 of a label that ran out.
func MPLS(labels ...uint32) []byte {
	var stack []byte
	for i, l := range labels {
		stack = wire.AppendLSE(stack, l, 0, i == len(labels)-1, 1)
	}
	return wire.AppendObject(nil, 1, 1, stack)
}

// Interface returns an interface information object (RFC 5837 section 4).
func Interface(f wire.Interface) []byte {
	ctype := f.Role << 6
	var b []byte
	if f.HasIndex {
		ctype |= 1 << 3
		b = binary.BigEndian.AppendUint32(b, f.Index)
	}
	if f.Addr.IsValid() {
		ctype |= 1 << 2
		family := byte(1)
		if f.Addr.Is6() {
			family = 2
		}
		b = append(append(b, 0, family, 0, 0), f.Addr.AsSlice()...)
	}
	if f.Name != nil {
		ctype |= 1 << 1
		n := (1 + len(f.Name) + 3) &^ 3 // its own byte counts, and zeros up to a multiple of 4
		b = append(append(b, byte(n)), f.Name...)
		b = append(b, make([]byte, n-1-len(f.Name))...)
	}
	if f.HasMTU {
		ctype |= 1
		b = binary.BigEndian.AppendUint32(b, f.MTU)
	}
	return wire.AppendObject(nil, 2, ctype, b)
}

// Mend makes the checksum of a reply's Data right again.
func Mend(r *rawsock.Reply) { mend(r.Data, r.From, r.To, r.Proto) }

// mend makes the checksum of a whole transport message right.
func mend(t []byte, src, dst netip.Addr, proto uint8) {
	at := sumAt(proto)
	if at < 0 || len(t) < at+2 {
		return
	}
	t[at], t[at+1] = 0, 0
	var s uint64
	if proto != wire.ProtoICMP {
		s = words(src.AsSlice()) + words(dst.AsSlice()) + uint64(proto) + uint64(len(t))
	}
	sum := ^fold(s + words(t))
	if sum == 0 && (proto == wire.ProtoUDP || proto == wire.ProtoUDPLite) {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(t[at:], sum)
}

// mendHeader makes an IPv4 header checksum right.
func mendHeader(p []byte) {
	if p[0]>>4 == 4 {
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], ^fold(words(p[:int(p[0]&0xf)*4])))
	}
}

// words is the sum of b's 16-bit words (RFC 1071), not folded.
func words(b []byte) (s uint64) {
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(be(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// sumAt is where in a transport header the checksum is, -1 where that is not known.
func sumAt(proto uint8) int {
	switch proto {
	case wire.ProtoUDP, wire.ProtoUDPLite, wire.ProtoDCCP:
		return 6
	case wire.ProtoTCP:
		return 16
	case wire.ProtoICMP, wire.ProtoICMPv6:
		return 2
	}
	return -1
}

// portAt is where in a transport header the source port or identifier is that a translator rewrites, -1 where it finds none.
func portAt(proto uint8, t []byte) int {
	switch proto {
	case wire.ProtoUDP, wire.ProtoTCP, wire.ProtoUDPLite, wire.ProtoDCCP:
		return 0
	case wire.ProtoICMP:
		return 4
	case wire.ProtoICMPv6:
		if len(t) > 0 && t[0] == wire.NodeQuery6 {
			return -1
		}
		return 4
	}
	return -1
}

// identAt is where a probe's reserved port or identifier is: as portAt says, but that of node information is in its nonce.
func identAt(proto uint8, t []byte) int {
	if proto == wire.ProtoICMPv6 && len(t) > 0 && t[0] == wire.NodeQuery6 {
		return 8
	}
	return portAt(proto, t)
}

// transport is where the transport header begins and what it is.
func transport(p []byte) (hdr int, proto uint8) {
	ip, err := wire.ParseQuote(p)
	if err != nil || ip.Offset() != 0 {
		return len(p), wire.ProtoNone
	}
	return len(ip.Header()), ip.Proto()
}

func ttlAt(p []byte) int {
	if p[0]>>4 == 4 {
		return 8
	}
	return 7
}

// addrAt is where in an IP header an address is.
func addrAt(v6, dst bool) int {
	switch {
	case v6 && dst:
		return 24
	case v6:
		return 8
	case dst:
		return 16
	}
	return 12
}

// replace writes v at an even offset and keeps the checksums at sums, offsets of the same
// message, as they were: right, or wrong by as much (RFC 1624). A checksum beyond the end
// of p, or a negative offset, is left out.
func replace(p []byte, at int, v []byte, sums ...int) {
	for i := 0; i+1 < len(v) && at+i+2 <= len(p); i += 2 {
		old, now := be(p[at+i:]), be(v[i:])
		for _, s := range sums {
			if s >= 0 && s+2 <= len(p) {
				binary.BigEndian.PutUint16(p[s:], ^fold(uint64(^be(p[s:]))+uint64(^old)+uint64(now)))
			}
		}
		copy(p[at+i:], v[i:i+2])
	}
}

// readdress replaces the source or destination address of a packet or the start of one, and
// if port is not nil its source port or echo identifier. sum says whether the transport's
// checksum follows.
func readdress(p []byte, dst bool, a netip.Addr, port []byte, sum bool) {
	hdr, proto := transport(p)
	v6 := p[0]>>4 == 6
	header, inner := 10, -1
	if v6 {
		header = -1
	}
	if at := sumAt(proto); sum && at >= 0 && hdr+at+2 <= len(p) {
		inner = hdr + at
		if proto == wire.ProtoUDP && be(p[inner:]) == 0 { // none
			inner = -1
		}
	}
	pseudo := inner
	if proto == wire.ProtoICMP {
		pseudo = -1
	}
	replace(p, addrAt(v6, dst), a.AsSlice(), header, pseudo)
	if at := portAt(proto, p[hdr:]); port != nil && at >= 0 {
		replace(p, hdr+at, port, inner)
	}
	if inner >= 0 && proto == wire.ProtoUDP && be(p[inner:]) == 0 {
		p[inner], p[inner+1] = 0xff, 0xff
	}
}

// mix scatters the bits of x (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
