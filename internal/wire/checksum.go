package wire

import (
	"encoding/binary"
	"net/netip"
)

// The Internet checksum (RFC 1071) is the complement of a ones' complement
// sum of 16-bit words. Such a sum may be taken in wider words and folded at
// the end, since 65536 is 1 in it.

// add adds the words of b to s. It does not overflow: a message has at most
// 65575 bytes, and 8 bytes add less than 2^33.
func add(s uint64, b []byte) uint64 {
	for len(b) >= 32 {
		v, w := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		x, y := binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])
		s += v>>32 + v&0xffffffff + w>>32 + w&0xffffffff
		s += x>>32 + x&0xffffffff + y>>32 + y&0xffffffff
		b = b[32:]
	}
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		s += v>>32 + v&0xffffffff
		b = b[8:]
	}
	if len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8 // as if a zero byte followed
	}
	return s
}

// fold adds the carries back in until 16 bits are left. Only a sum of
// nothing but zeros folds to 0; otherwise zero shows as 0xFFFF.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// sound reports whether a message that carries its checksum, together with
// the pseudo header in s, adds up.
func sound(s uint64, b []byte) bool { return fold(add(s, b)) == 0xffff }

// pseudo4 is the sum of the pseudo header of RFC 768 and RFC 9293.
func pseudo4(src, dst netip.Addr, proto uint8, n int) uint64 {
	s, d := src.As4(), dst.As4()
	return uint64(binary.BigEndian.Uint32(s[:])) + uint64(binary.BigEndian.Uint32(d[:])) +
		uint64(proto) + uint64(n)
}

// pseudo6 is the sum of the pseudo header of RFC 8200 section 8.1.
func pseudo6(src, dst netip.Addr, proto uint8, n int) uint64 {
	s, d := src.As16(), dst.As16()
	return add(add(uint64(proto)+uint64(n), s[:]), d[:])
}

// pseudo is pseudo4 or pseudo6, by the family of src. The addresses must be
// of one family.
func pseudo(src, dst netip.Addr, proto uint8, n int) uint64 {
	if is4(src) {
		return pseudo4(src, dst, proto, n)
	}
	return pseudo6(src, dst, proto, n)
}

// is4 reports whether a goes into IPv4 headers. A mapped address (RFC 4291
// section 2.5.5.2) stands for an IPv4 node and never belongs on the wire.
func is4(a netip.Addr) bool { return a.Is4() || a.Is4In6() }

// tuned is where a message of 8 header bytes has the payload word that makes
// a chosen checksum true.
const tuned = 8

// seal writes the checksum of message b at offset at, where zero is. s is the
// sum of the pseudo header. With want 0 the checksum is computed. Any other
// want becomes the checksum, made true by the word at tuned.
func seal(b []byte, at int, s uint64, want uint16) { sealBy(b, at, tuned, s, want) }

// sealBy is seal with another word, at an even offset, to make a chosen checksum true. It is
// set to
//
//	fold((0xFFFF − want) + (0xFFFF − S))
//
// where S is the sum of all the rest, so that the message adds up.
func sealBy(b []byte, at, word int, s uint64, want uint16) {
	if want == 0 {
		binary.BigEndian.PutUint16(b[at:], ^fold(add(s, b)))
		return
	}
	if len(b) < word+2 {
		panic("wire: a chosen checksum needs two bytes of payload")
	}
	b[word], b[word+1] = 0, 0
	rest := fold(add(s, b))
	binary.BigEndian.PutUint16(b[word:], fold(uint64(^want)+uint64(^rest)))
	binary.BigEndian.PutUint16(b[at:], want)
}
