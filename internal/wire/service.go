package wire

import (
	"encoding/binary"
	"slices"
)

// What services at UDP ports are asked, and how they answer: the Domain Name System (RFC 1035), and QUIC up to the version it is
// spoken in (RFC 8999, RFC 9000).

// SizeDNSQuery is how many bytes a query of AppendDNSQuery has, SizeQUIC the fewest of a client's first QUIC packet (RFC 9000
// section 14.1).
const (
	SizeDNSQuery = headerDNS + 5
	SizeQUIC     = 1200
)

const (
	headerDNS = 12     // bytes of a DNS message before its question
	rootNS    = 2      // QTYPE NS
	classIN   = 1      // QCLASS
	queryRD   = 0x0100 // a standard query, recursion desired
	refusedBy = 0x8005 // an answer: refused
	malformed = 0x8001 // an answer: format error
)

// AppendDNSQuery appends a query for the root's name servers, recursion desired (RFC 1035 section 4.1). It is 17 bytes.
func AppendDNSQuery(dst []byte, id uint16) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = binary.BigEndian.AppendUint16(dst, queryRD)
	dst = append(dst, 0, 1, 0, 0, 0, 0, 0, 0) // one question, and nothing else
	return append(dst, 0, 0, rootNS, 0, classIN)
}

// DNSAnswer reports whether b is an answer to a standard query, and which id that had. Where asked is false it is one to
// another question than AppendDNSQuery's; the question need not be there, as not all that refuse one repeat it.
func DNSAnswer(b []byte) (id uint16, asked, ok bool) {
	if len(b) < headerDNS || b[2]&0xf8 != 0x80 { // QR, and an opcode of 0
		return 0, false, false
	}
	switch u16(b, 4) {
	case 0:
		asked = true
	case 1:
		asked = isQuestion(b[headerDNS:])
	}
	return u16(b, 0), asked, true
}

// IsDNSQuery reports whether b is what AppendDNSQuery appends, as where a service sends back what it gets, and which id it has.
func IsDNSQuery(b []byte) (id uint16, ok bool) {
	if len(b) != SizeDNSQuery || u16(b, 2) != queryRD || u16(b, 4) != 1 || binary.BigEndian.Uint32(b[6:]) != 0 || u16(b, 10) != 0 {
		return 0, false
	}
	return u16(b, 0), isQuestion(b[headerDNS:])
}

// isQuestion reports whether b begins with the question of AppendDNSQuery.
func isQuestion(b []byte) bool {
	return len(b) >= 5 && b[0] == 0 && u16(b, 1) == rootNS && u16(b, 3) == classIN
}

// AppendDNSRefusal appends the answer of a server that does not serve whoever asks (RCODE 5, RFC 1035 section 4.1.1), the question
// repeated. What is no query of one question it calls malformed; to an answer, or what is no DNS message, there is none: dst as it was.
func AppendDNSRefusal(dst, query []byte) []byte {
	if len(query) < headerDNS || query[2]&0x80 != 0 {
		return dst
	}
	flags, end := uint16(refusedBy), headerDNS
	if u16(query, 4) == 1 {
		for end < len(query) && query[end] != 0 {
			end += 1 + int(query[end])
		}
		end += 1 + 4
	}
	if end == headerDNS || end > len(query) {
		flags, end = malformed, headerDNS
	}
	flags |= u16(query, 2) & 0x7900 // the opcode, and RD
	dst = binary.BigEndian.AppendUint16(dst, u16(query, 0))
	dst = binary.BigEndian.AppendUint16(dst, flags)
	if end == headerDNS {
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	dst = append(dst, 0, 1, 0, 0, 0, 0, 0, 0)
	return append(dst, query[headerDNS:end]...)
}

// Where a QUIC packet of AppendQUIC has its connection ids, of 8 bytes each.
const (
	QUICDestination = 6
	QUICSource      = QUICDestination + 8 + 1
)

// QUICVersion is that of AppendQUIC's packets: one of those kept for making servers tell which they have (RFC 9000 section 15).
const QUICVersion = 0x1a2a3a4a

// AppendQUIC appends a client's first QUIC packet (an Initial, RFC 9000 section 17.2.2) of size bytes with those connection ids. No
// server has its version, so none looks for more in it than the ids (section 6.1), and there is no more: behind the header are
// zeros. A server answers at all only where there are SizeQUIC bytes.
//
// It panics where there is no room for the header, or where the rest does not fit a length field of two bytes.
func AppendQUIC(dst []byte, destination, source [8]byte, size int) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(append(dst, 0xc0), QUICVersion)
	dst = append(append(dst, byte(len(destination))), destination[:]...)
	dst = append(append(dst, byte(len(source))), source[:]...)
	dst = append(dst, 0) // no token
	rest := size - (len(dst) - start) - 2
	if rest < 0 || rest > 0x3fff {
		panic("wire: QUIC packet size out of range")
	}
	dst = binary.BigEndian.AppendUint16(dst, 0x4000|uint16(rest))
	dst = slices.Grow(dst, rest)[:len(dst)+rest] // no memory of its own, whatever the compiler makes of it
	clear(dst[len(dst)-rest:])
	return dst
}

// QUICVersions reports whether b is a server's list of the versions it has (RFC 8999 section 6), and to which connection ids: those
// of the packet it answers. Where known is false they are not of 8 bytes each, as AppendQUIC's are, or cut off.
func QUICVersions(b []byte) (destination, source [8]byte, known, ok bool) {
	if len(b) < QUICDestination || b[0]&0x80 == 0 || binary.BigEndian.Uint32(b[1:]) != 0 {
		return destination, source, false, false
	}
	if len(b) < QUICSource+8 || b[QUICDestination-1] != 8 || b[QUICSource-1] != 8 {
		return destination, source, false, true
	}
	// The server's are the client's the other way round.
	copy(source[:], b[QUICDestination:])
	copy(destination[:], b[QUICSource:])
	return destination, source, true, true
}

// AppendQUICVersions appends the answer of a server with those versions to a client's first packet of another one. To what is none,
// is of less than SizeQUIC bytes, or of a version that the server has, there is no such answer: dst as it was.
func AppendQUICVersions(dst, packet []byte, versions ...uint32) []byte {
	if len(packet) < SizeQUIC || packet[0]&0x80 == 0 {
		return dst
	}
	asked := binary.BigEndian.Uint32(packet[1:])
	if asked == 0 {
		return dst
	}
	for _, v := range versions {
		if v == asked {
			return dst
		}
	}
	// An id has at most 255 bytes: both are there.
	destination := span(packet, 6, 6+int(packet[5]))
	rest := packet[6+len(destination):]
	source := span(rest, 1, 1+int(rest[0]))
	dst = append(dst, 0xc0, 0, 0, 0, 0)
	dst = append(append(dst, byte(len(source))), source...)
	dst = append(append(dst, byte(len(destination))), destination...)
	for _, v := range versions {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return dst
}
