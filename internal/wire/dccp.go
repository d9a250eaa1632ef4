package wire

import (
	"encoding/binary"
	"net/netip"
)

// DCCP packet types (RFC 4340 section 5.1).
const (
	DCCPRequest  = 0
	DCCPResponse = 1
	DCCPReset    = 7
)

const (
	headerDCCP = 16 // bytes of a generic header with long sequence numbers, which these types have
	maskSeq    = 1<<48 - 1

	// tunedDCCP is the word that makes a chosen checksum true: the middle of the sequence number.
	tunedDCCP = 12
)

// DCCPFields are the fields of a DCCP Request, Response or Reset to write.
type DCCPFields struct {
	Type     uint8
	Seq, Ack uint64 // 48 bits; a Request has no Ack
	Service  uint32 // Request and Response: the service code
	Reset    uint8  // Reset: the reset code (RFC 4340 section 5.6)
}

// AppendDCCP appends a DCCP packet and its application data, all of it under the checksum. With sum 0 the checksum is computed; any other
// becomes the checksum, and the middle 16 bits of the sequence number what makes it so.
//
// It panics where src and to are not of one family, or for another type.
func AppendDCCP(dst []byte, src, to netip.AddrPort, f DCCPFields, data []byte, sum uint16) []byte {
	var h [headerDCCP + 12]byte
	n := headerDCCP
	switch f.Type {
	case DCCPRequest:
	case DCCPResponse, DCCPReset:
		// An Acknowledgement Number Subheader: 16 reserved bits and 48 of the number.
		binary.BigEndian.PutUint64(h[n:], f.Ack&maskSeq)
		n += 8
	default:
		panic("wire: a DCCP type that is not written here")
	}
	if f.Type == DCCPReset {
		h[n] = f.Reset
	} else {
		binary.BigEndian.PutUint32(h[n:], f.Service)
	}
	n += 4
	// The word of type and X overlaps the sequence number's 64 bits in its first 16: it is written last.
	binary.BigEndian.PutUint64(h[8:], f.Seq&maskSeq)
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	h[4] = uint8(n / 4)
	h[8] = f.Type<<1 | 1 // X: the sequence number has 48 bits
	start := len(dst)
	dst = append(dst, h[:n]...)
	dst = append(dst, data...)
	b := dst[start:]
	sealBy(b, 6, tunedDCCP, pseudo(src.Addr(), to.Addr(), ProtoDCCP, len(b)), sum)
	return dst
}

// DCCP is a view of a DCCP packet, whole or cut. What is not there reads as 0.
type DCCP struct{ b []byte }

// ParseDCCP views a whole DCCP header, of a type with 48-bit sequence numbers.
func ParseDCCP(b []byte) (DCCP, error) {
	d := DCCP{b}
	if len(b) < headerDCCP {
		return DCCP{}, &Error{"DCCP", len(b), ErrShort}
	}
	n := headerDCCP
	switch d.Type() {
	case DCCPRequest:
		n += 4
	case DCCPResponse, DCCPReset:
		n += 12
	default:
		return DCCP{}, &Error{"DCCP", 8, ErrType}
	}
	switch {
	case b[8]&1 == 0:
		return DCCP{}, &Error{"DCCP", 8, ErrType}
	case d.header() < n:
		return DCCP{}, &Error{"DCCP", 4, ErrLength}
	case d.header() > len(b):
		return DCCP{}, &Error{"DCCP", len(b), ErrShort}
	}
	return d, nil
}

// ParseDCCPQuote views at least the first 8 bytes of a packet.
func ParseDCCPQuote(b []byte) (DCCP, error) {
	if len(b) < 8 {
		return DCCP{}, &Error{"quoted DCCP", len(b), ErrShort}
	}
	return DCCP{b}, nil
}

// Src is the source port.
func (d DCCP) Src() uint16 { return u16(d.b, 0) }

// Dst is the destination port.
func (d DCCP) Dst() uint16 { return u16(d.b, 2) }

// header is the length of the header by its own field.
func (d DCCP) header() int { return int(u8(d.b, 4)) * 4 }

// Checksum is the checksum as it was sent.
func (d DCCP) Checksum() uint16 { return u16(d.b, 6) }

// Type is the packet type.
func (d DCCP) Type() uint8 { return u8(d.b, 8) >> 1 & 0x0f }

// Seq is the 48-bit sequence number; false where it is not all there.
func (d DCCP) Seq() (uint64, bool) {
	return uint64(u16(d.b, 10))<<32 | uint64(u32(d.b, 12)), len(d.b) >= headerDCCP
}

// Ack is the 48-bit acknowledgement number of a Response or Reset.
func (d DCCP) Ack() uint64 {
	if d.Type() == DCCPRequest {
		return 0
	}
	return uint64(u16(d.b, 18))<<32 | uint64(u32(d.b, 20))
}

// Service is the service code of a Request or Response.
func (d DCCP) Service() uint32 {
	switch d.Type() {
	case DCCPRequest:
		return u32(d.b, 16)
	case DCCPResponse:
		return u32(d.b, 24)
	}
	return 0
}

// ResetCode is why a Reset was sent.
func (d DCCP) ResetCode() uint8 {
	if d.Type() != DCCPReset {
		return 0
	}
	return u8(d.b, 24)
}

// Payload is what is there after the header and its options.
func (d DCCP) Payload() []byte {
	if d.header() < headerDCCP {
		return nil
	}
	return span(d.b, d.header(), len(d.b))
}

// Valid reports whether the checksum of the packet between those addresses is right. That can only be said of a whole
// packet. A partial coverage (RFC 4340 section 9.2) covers the header and (CsCov − 1) × 4 bytes of data.
func (d DCCP) Valid(src, dst netip.Addr) bool {
	n := len(d.b)
	if cov := int(u8(d.b, 5) & 0x0f); cov != 0 {
		n = min(n, d.header()+(cov-1)*4)
	}
	return len(d.b) >= headerDCCP && is4(src) == is4(dst) && sound(pseudo(src, dst, ProtoDCCP, len(d.b)), d.b[:n])
}
