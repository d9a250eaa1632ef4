package wire

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers.
const (
	ProtoHopByHop    = 0
	ProtoICMP        = 1
	ProtoTCP         = 6
	ProtoUDP         = 17
	ProtoDCCP        = 33
	ProtoRouting     = 43
	ProtoFragment    = 44
	ProtoESP         = 50
	ProtoAH          = 51
	ProtoICMPv6      = 58
	ProtoNone        = 59
	ProtoDestOptions = 60
	ProtoUDPLite     = 136
)

const (
	header4 = 20 // bytes of an IPv4 header without options
	header6 = 40 // bytes of an IPv6 header

	flagDF     = 1 << 14
	flagMF     = 1 << 13
	offsetMask = 1<<13 - 1

	// maxExtensions bounds the walk over IPv6 extension headers. A packet that
	// keeps to the order of RFC 8200 section 4.1 has six that are walked here.
	maxExtensions = 8
)

// IPv4 are the header fields of an IPv4 packet to write.
type IPv4 struct {
	Src, Dst        netip.Addr
	TTL, TOS, Proto uint8
	ID              uint16
	DF, MF          bool
	Offset          uint16 // of a fragment, in units of 8 bytes
	Options         []byte // padded with end-of-list to a multiple of 4
}

// IPv6 are the header fields of an IPv6 packet to write.
type IPv6 struct {
	Src, Dst                     netip.Addr
	HopLimit, TrafficClass, Next uint8
	Label                        uint32 // flow label, 20 bits
	Routing                      []byte // a routing header as on the wire, see AppendRouting: Next goes into its first byte
}

// AppendIPv4 appends the header (checksum and total length filled in) of a
// packet with that many payload bytes to follow.
//
// It panics if an address is not IPv4, or if options or payload are longer
// than a header can say: 40 bytes, and 65535 with the header.
func AppendIPv4(dst []byte, f IPv4, payload int) []byte {
	n := header4 + (len(f.Options)+3)&^3
	if n > 60 {
		panic("wire: more than 40 bytes of IPv4 options")
	}
	if payload < 0 || n+payload > 0xffff {
		panic("wire: IPv4 payload out of range")
	}
	src, to := f.Src.As4(), f.Dst.As4()
	frag := f.Offset & offsetMask
	if f.DF {
		frag |= flagDF
	}
	if f.MF {
		frag |= flagMF
	}
	var h [60]byte
	h[0] = 4<<4 | uint8(n/4)
	h[1] = f.TOS
	binary.BigEndian.PutUint16(h[2:], uint16(n+payload))
	binary.BigEndian.PutUint16(h[4:], f.ID)
	binary.BigEndian.PutUint16(h[6:], frag)
	h[8] = f.TTL
	h[9] = f.Proto
	copy(h[12:], src[:])
	copy(h[16:], to[:])
	copy(h[header4:], f.Options)
	binary.BigEndian.PutUint16(h[10:], ^fold(add(0, h[:n])))
	return append(dst, h[:n]...)
}

// AppendIPv6 appends the header of a packet, and f.Routing, with that many payload bytes to
// follow, any other extension headers among them.
//
// It panics if there are more of them than a header can say, 65535 with f.Routing, or if f.Routing
// does not have the length that it says.
func AppendIPv6(dst []byte, f IPv6, payload int) []byte {
	if n := len(f.Routing); n != 0 && (n < 8 || n != 8+8*int(f.Routing[1])) {
		panic("wire: an IPv6 routing header of another length than it says")
	}
	if payload < 0 || payload+len(f.Routing) > 0xffff {
		panic("wire: IPv6 payload out of range")
	}
	src, to := f.Src.As16(), f.Dst.As16()
	var h [header6]byte
	binary.BigEndian.PutUint32(h[0:], 6<<28|uint32(f.TrafficClass)<<20|f.Label&0xfffff)
	binary.BigEndian.PutUint16(h[4:], uint16(payload+len(f.Routing)))
	h[6] = f.Next
	h[7] = f.HopLimit
	copy(h[8:], src[:])
	copy(h[24:], to[:])
	if len(f.Routing) == 0 {
		return append(dst, h[:]...)
	}
	h[6] = ProtoRouting
	dst = append(append(dst, h[:]...), f.Routing...)
	dst[len(dst)-len(f.Routing)] = f.Next
	return dst
}

// IP is a view of an IPv4 or IPv6 packet, whole or quoted.
type IP struct {
	b     []byte
	hdr   uint16 // bytes of b before the transport
	frag  uint16 // fragment offset and more-fragments flag, as in an IPv4 header
	proto uint8  // of what is at hdr
}

// ParseIP views a whole packet: trailing bytes beyond its length field are cut off, a length
// field beyond len(b) is ErrShort. An IPv4 header checksum is verified.
//
// IPv6 jumbograms (RFC 2675) are not known here: their length field is 0.
func ParseIP(b []byte) (IP, error) {
	switch u8(b, 0) >> 4 {
	case 4:
		n, err := length4(b, "IPv4")
		if err != nil {
			return IP{}, err
		}
		total := int(binary.BigEndian.Uint16(b[2:]))
		if total < n {
			return IP{}, &Error{"IPv4", 2, ErrLength}
		}
		if total > len(b) {
			return IP{}, &Error{"IPv4", len(b), ErrShort}
		}
		if !sound(0, b[:n]) {
			return IP{}, &Error{"IPv4", 10, ErrChecksum}
		}
		return view4(b[:total:total], n), nil
	case 6:
		if len(b) < header6 {
			return IP{}, &Error{"IPv6", len(b), ErrShort}
		}
		total := header6 + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return IP{}, &Error{"IPv6", len(b), ErrShort}
		}
		return walk6(b[:total:total], "IPv6")
	}
	if len(b) == 0 {
		return IP{}, &Error{"IP", 0, ErrShort}
	}
	return IP{}, &Error{"IP", 0, ErrVersion}
}

// ParseQuote views the start of a packet as an ICMP error carries it.
//
// Routers cut quotes short: RFC 792 asks for the header and 8 bytes more,
// RFC 1812 section 4.3.2.3 for as much as fits in 576, RFC 4443 for as much
// as fits in 1280. So ParseQuote wants the IP header (or headers) and
// 8 bytes, and does not compare the length field with len(b): some systems
// subtract the header from it or swap its bytes. That field, the header
// checksum and the TTL may have been changed on the way and are not checked.
//
// The error is an *Error. It wraps ErrShort when b ends too early.
func ParseQuote(b []byte) (IP, error) {
	var p IP
	switch u8(b, 0) >> 4 {
	case 4:
		n, err := length4(b, "quoted IPv4")
		if err != nil {
			return IP{}, err
		}
		p = view4(b, n)
	case 6:
		if len(b) < header6 {
			return IP{}, &Error{"quoted IPv6", len(b), ErrShort}
		}
		var err error
		if p, err = walk6(b, "quoted IPv6"); err != nil {
			return IP{}, err
		}
	default:
		if len(b) == 0 {
			return IP{}, &Error{"quote", 0, ErrShort}
		}
		return IP{}, &Error{"quote", 0, ErrVersion}
	}
	if len(b) < int(p.hdr)+8 {
		return IP{}, &Error{"quoted transport", len(b), ErrShort}
	}
	return p, nil
}

// length4 is the length of the IPv4 header at the start of b, all there.
func length4(b []byte, layer string) (int, error) {
	if len(b) < header4 {
		return 0, &Error{layer, len(b), ErrShort}
	}
	n := int(b[0]&0x0f) * 4
	if n < header4 {
		return 0, &Error{layer, 0, ErrHeaderLength}
	}
	if n > len(b) {
		return 0, &Error{layer, len(b), ErrShort}
	}
	return n, nil
}

func view4(b []byte, n int) IP {
	return IP{b, uint16(n), binary.BigEndian.Uint16(b[6:]) & (flagMF | offsetMask), b[9]}
}

// walk6 views an IPv6 packet of which the fixed header is there, with the
// extension headers it knows the length of (RFC 8200 section 4, RFC 4302 for
// AH). It stops at the first other header, or behind the header of a
// fragment that is not the first: what follows is data.
func walk6(b []byte, layer string) (IP, error) {
	p := IP{b: b, hdr: header6, proto: b[6]}
	for i := 0; ; i++ {
		switch p.proto {
		case ProtoHopByHop, ProtoRouting, ProtoFragment, ProtoDestOptions, ProtoAH:
		default:
			return p, nil
		}
		if i == maxExtensions {
			return IP{}, &Error{layer, int(p.hdr), ErrTooDeep}
		}
		h := b[p.hdr:]
		if len(h) < 8 { // none is shorter
			return IP{}, &Error{layer, len(b), ErrShort}
		}
		n := 8
		switch p.proto {
		case ProtoFragment:
		case ProtoAH:
			n = (int(h[1]) + 2) * 4
		default:
			n = (int(h[1]) + 1) * 8
		}
		if len(h) < n {
			return IP{}, &Error{layer, len(b), ErrShort}
		}
		fragment := p.proto == ProtoFragment
		p.proto = h[0]
		p.hdr += uint16(n) // at most 40 + 8×2048
		if fragment {
			v := binary.BigEndian.Uint16(h[2:])
			p.frag = v>>3 | v&1<<13
			if p.Offset() != 0 {
				return p, nil
			}
		}
	}
}

// Version is 4 or 6.
func (p IP) Version() int { return int(u8(p.b, 0) >> 4) }

func (p IP) v6() bool { return u8(p.b, 0)>>4 == 6 }

// Src is where the packet comes from.
func (p IP) Src() netip.Addr { return p.addr(12, 8) }

// Dst is where the packet is going: on a source route, to the next node of it. See FinalDst.
func (p IP) Dst() netip.Addr { return p.addr(16, 24) }

// addr is the address at that offset of an IPv4 or an IPv6 header.
func (p IP) addr(at4, at6 int) netip.Addr {
	if p.v6() {
		if at6+16 > len(p.b) {
			return netip.Addr{}
		}
		return netip.AddrFrom16([16]byte(p.b[at6:]))
	}
	if at4+4 > len(p.b) {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(p.b[at4:]))
}

// TTL is the time to live or hop limit. That of a quoted probe is what was
// left of it, normally 1.
func (p IP) TTL() uint8 {
	if p.v6() {
		return u8(p.b, 7)
	}
	return u8(p.b, 8)
}

// TOS is the type of service or traffic class, ECN bits included.
func (p IP) TOS() uint8 {
	if p.v6() {
		return uint8(u16(p.b, 0) >> 4)
	}
	return u8(p.b, 1)
}

// ID is the IPv4 identification, 0 for IPv6.
func (p IP) ID() uint16 {
	if p.v6() {
		return 0
	}
	return u16(p.b, 4)
}

// DF is the IPv4 flag that forbids routers to fragment, false for IPv6, where
// they never do.
func (p IP) DF() bool { return !p.v6() && u16(p.b, 6)&flagDF != 0 }

// MF reports whether this is a fragment and not the last.
func (p IP) MF() bool { return p.frag&flagMF != 0 }

// Label is the IPv6 flow label, 0 for IPv4.
func (p IP) Label() uint32 {
	if !p.v6() {
		return 0
	}
	return u32(p.b, 0) & 0xfffff
}

// Proto is the protocol of the transport, IPv6 extension headers walked.
func (p IP) Proto() uint8 { return p.proto }

// Length is the size of the whole packet by its own length field, which in a
// quote may be anything.
func (p IP) Length() int {
	if p.v6() {
		return header6 + int(u16(p.b, 4))
	}
	return int(u16(p.b, 2))
}

// Offset is the fragment offset in units of 8 bytes. When it is not 0,
// Transport is not a header.
func (p IP) Offset() uint16 { return p.frag & offsetMask }

// Transport is what is there after the IP header or headers.
func (p IP) Transport() []byte { return p.b[p.hdr:] }

// Header is the IP header, with its options, or the IPv6 header with its
// extension headers.
func (p IP) Header() []byte { return p.b[:p.hdr:p.hdr] }

// Sound reports whether the checksum of an IPv4 header, which ParseQuote does not look at, is right. IPv6 has none.
func (p IP) Sound() bool { return p.v6() || sound(0, p.Header()) }

// Complete reports whether Length bytes are all there.
func (p IP) Complete() bool { return len(p.b) >= p.Length() }

// Bytes is all that is there of the packet.
func (p IP) Bytes() []byte { return p.b }
