package wire

import (
	"encoding/binary"
	"net/netip"
)

const headerUDP = 8 // bytes of a UDP header

// AppendUDP appends a UDP header and payload. With sum 0 the checksum is the
// computed one (0xFFFF for 0, RFC 768). Any other sum is the checksum the
// datagram will carry and truly have: the first two bytes of payload, which
// must be there, are overwritten in the copy with the word that makes it so.
// sum 0xFFFF is not allowed (same value as 0). Pseudo header by family of src.
//
// It panics where these rules are broken, where src and to are not of one
// family, or where the length does not fit its field.
func AppendUDP(dst []byte, src, to netip.AddrPort, payload []byte, sum uint16) []byte {
	return AppendUDPTuned(dst, src, to, payload, 0, sum)
}

// AppendUDPTuned is AppendUDP where another word of the payload makes a chosen checksum true: the one at that byte of it, which is even.
func AppendUDPTuned(dst []byte, src, to netip.AddrPort, payload []byte, word int, sum uint16) []byte {
	return appendDatagram(dst, ProtoUDP, src, to, payload, headerUDP+len(payload), word, sum)
}

// AppendUDPLite appends a UDP-Lite header and payload (RFC 3828), the checksum over all of it. sum
// and what it panics at are as in AppendUDP.
//
// The coverage field has the length where 0 would say the same (section 3.1): so a quote tells it.
func AppendUDPLite(dst []byte, src, to netip.AddrPort, payload []byte, sum uint16) []byte {
	return appendDatagram(dst, ProtoUDPLite, src, to, payload, headerUDP+len(payload), 0, sum)
}

// AppendUDPLiteCovering is AppendUDPLite with the checksum over so many bytes from the header on, as far as there
// are so many: at least the header and the word that makes a chosen checksum true, 10 in all. It panics with less.
func AppendUDPLiteCovering(dst []byte, src, to netip.AddrPort, payload []byte, coverage int, sum uint16) []byte {
	if coverage < headerUDP+2 {
		panic("wire: UDP-Lite coverage out of range")
	}
	return appendDatagram(dst, ProtoUDPLite, src, to, payload, coverage, 0, sum)
}

func appendDatagram(dst []byte, proto uint8, src, to netip.AddrPort, payload []byte, coverage, word int, sum uint16) []byte {
	n := headerUDP + len(payload)
	if n > 0xffff {
		panic("wire: UDP payload out of range")
	}
	coverage = min(coverage, n)
	if sum == 0xffff {
		panic("wire: UDP checksum 0xFFFF chosen")
	}
	var h [headerUDP]byte
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(coverage))
	start := len(dst)
	dst = append(dst, h[:]...)
	dst = append(dst, payload...)
	b := dst[start:][:coverage]
	sealBy(b, 6, headerUDP+word, pseudo(src.Addr(), to.Addr(), proto, n), sum)
	if b[6] == 0 && b[7] == 0 {
		b[6], b[7] = 0xff, 0xff // 0 would say that there is no checksum
	}
	return dst
}

// UDP is a view of a UDP or UDP-Lite header and what follows.
type UDP struct{ b []byte }

// ParseUDP wants the 8 header bytes; the length field is not compared, as quotes are cut short.
func ParseUDP(b []byte) (UDP, error) {
	if len(b) < headerUDP {
		return UDP{}, &Error{"UDP", len(b), ErrShort}
	}
	return UDP{b}, nil
}

// Src is the source port.
func (u UDP) Src() uint16 { return u16(u.b, 0) }

// Dst is the destination port.
func (u UDP) Dst() uint16 { return u16(u.b, 2) }

// Length is the length field: header and payload. In UDP-Lite it is the checksum's coverage.
func (u UDP) Length() int { return int(u16(u.b, 4)) }

// Checksum is the checksum as it was sent.
func (u UDP) Checksum() uint16 { return u16(u.b, 6) }

// Payload is what is there of the payload, by Length where that is less.
func (u UDP) Payload() []byte { return span(u.b, headerUDP, u.Length()) }

// Valid reports whether the datagram is all there and its checksum between
// those addresses is right, or 0 on IPv4 (RFC 768; RFC 8200 section 8.1
// forbids 0 on IPv6).
func (u UDP) Valid(src, dst netip.Addr) bool {
	n := u.Length()
	if n < headerUDP || n > len(u.b) || is4(src) != is4(dst) {
		return false
	}
	if u.Checksum() == 0 {
		return is4(src)
	}
	return sound(pseudo(src, dst, ProtoUDP, n), u.b[:n])
}

// ValidLite is Valid for a UDP-Lite datagram of which all is there, as its own header does not say how long it
// is: the coverage is 0 for all of it or at least the header, and there is always a checksum (RFC 3828 section 3.1).
func (u UDP) ValidLite(src, dst netip.Addr) bool {
	n := u.Length()
	if n == 0 {
		n = len(u.b)
	}
	return n >= headerUDP && n <= len(u.b) && is4(src) == is4(dst) && u.Checksum() != 0 &&
		sound(pseudo(src, dst, ProtoUDPLite, len(u.b)), u.b[:n])
}
