package wire

import (
	"bytes"
	"encoding/binary"
)

// What services at UDP ports are asked, and how they answer.

// SizeDNSQuery is how many bytes a DNS query for the root has, SizeQUIC the least of a client's first QUIC packet (RFC 9000 section
// 14.1).
const (
	SizeDNSQuery = 17
	SizeQUIC     = 1200
)

// AppendDNSQuery appends a query for the root's name servers, recursion desired (RFC 1035 section 4.1). It is 17 bytes.
func AppendDNSQuery(dst []byte, id uint16) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(dst, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1)
}

// DNSAnswer reports whether b is an answer to a query of AppendDNSQuery, and which id that had. The question must be the
// same where it is repeated, which of those that refuse not all do.
func DNSAnswer(b []byte) (id uint16, ok bool) {
	if len(b) < 12 || b[2]&0xf8 != 0x80 { // an answer, to a standard query
		return 0, false
	}
	id = u16(b, 0)
	switch u16(b, 4) {
	case 0:
		return id, true
	case 1:
		query := AppendDNSQuery(nil, id)
		return id, len(b) >= SizeDNSQuery && bytes.Equal(b[12:SizeDNSQuery], query[12:])
	}
	return 0, false
}

// Where a QUIC packet of AppendQUIC has its connection ids, of 8 bytes each.
const (
	QUICDestination = 6
	QUICSource      = 15
)

// AppendQUIC appends a client's first QUIC packet (an Initial, RFC 9000 section 17.2.2) of size bytes, at least 1200, with those connection
// ids. Its version is one that is kept for making servers tell which they have (sections 6.1 and 15), so nothing in it needs keys.
// Behind the header it is as it came in dst's room: zeros.
func AppendQUIC(dst []byte, destination, source [8]byte, size int) []byte {
	start := len(dst)
	dst = append(dst, 0xc0, 0x1a, 0x2a, 0x3a, 0x4a, byte(len(destination)))
	dst = append(dst, destination[:]...)
	dst = append(dst, byte(len(source)))
	dst = append(dst, source[:]...)
	dst = append(dst, 0) // no token
	rest := size - (len(dst) - start) - 2
	if rest < 0 || rest > 0x3fff {
		panic("wire: QUIC packet of a size that has no length field of two bytes")
	}
	dst = binary.BigEndian.AppendUint16(dst, 0x4000|uint16(rest))
	return append(dst, make([]byte, rest)...)
}

// QUICVersions reports whether b is a server's list of versions (RFC 9000 section 17.2.1) in answer to a packet of AppendQUIC,
// and the connection ids that had.
func QUICVersions(b []byte) (destination, source [8]byte, ok bool) {
	const ids = 6
	if len(b) < ids+8+1+8+4 || b[0]&0x80 == 0 || binary.BigEndian.Uint32(b[1:]) != 0 || b[5] != 8 || b[ids+8] != 8 {
		return destination, source, false
	}
	copy(source[:], b[ids:])
	copy(destination[:], b[ids+9:])
	return destination, source, true
}
