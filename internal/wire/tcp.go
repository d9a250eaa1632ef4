package wire

import (
	"encoding/binary"
	"net/netip"
)

const headerTCP = 20 // bytes of a TCP header without options

// TCP flags.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// TCPFields are the header fields of a TCP segment to write.
type TCPFields struct {
	Seq, Ack uint32
	Flags    uint8
	Window   uint16
	Options  []byte // multiple of 4 bytes
}

// AppendTCP appends a TCP segment, checksum computed.
//
// It panics where src and to are not of one family, or where the options are
// more than 40 bytes or no multiple of 4.
func AppendTCP(dst []byte, src, to netip.AddrPort, f TCPFields, payload []byte) []byte {
	if len(f.Options) > 40 || len(f.Options)%4 != 0 {
		panic("wire: TCP options of a length that no header can say")
	}
	n := headerTCP + len(f.Options)
	var h [headerTCP]byte
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	binary.BigEndian.PutUint32(h[4:], f.Seq)
	binary.BigEndian.PutUint32(h[8:], f.Ack)
	h[12] = uint8(n/4) << 4
	h[13] = f.Flags
	binary.BigEndian.PutUint16(h[14:], f.Window)
	start := len(dst)
	dst = append(dst, h[:]...)
	dst = append(dst, f.Options...)
	dst = append(dst, payload...)
	b := dst[start:]
	seal(b, 16, pseudo(src.Addr(), to.Addr(), ProtoTCP, len(b)), 0)
	return dst
}

// TCPOptions are the options of a segment to write.
type TCPOptions struct {
	MSS         uint16 // 0: none
	SACK        bool   // SACK permitted (RFC 2018)
	Timestamps  bool   // RFC 7323, with the two values
	TSval       uint32
	TSecr       uint32
	WindowScale uint8 // the shift (RFC 7323); 0: none
}

// AppendTCPOptions appends options in the order in which Linux sends them, padded in its way: at most 20 bytes.
func AppendTCPOptions(dst []byte, o TCPOptions) []byte {
	if o.MSS != 0 {
		dst = append(dst, 2, 4, uint8(o.MSS>>8), uint8(o.MSS))
	}
	switch {
	case o.SACK:
		dst = append(dst, 4, 2)
	case o.Timestamps:
		dst = append(dst, 1, 1)
	}
	switch {
	case o.Timestamps:
		dst = append(dst, 8, 10)
		dst = binary.BigEndian.AppendUint32(dst, o.TSval)
		dst = binary.BigEndian.AppendUint32(dst, o.TSecr)
	case o.SACK:
		dst = append(dst, 1, 1)
	}
	if o.WindowScale != 0 {
		dst = append(dst, 1, 3, 3, o.WindowScale)
	}
	return dst
}

// AppendSYNOptions appends the 20 bytes of options an ordinary Linux client sends in a SYN:
// MSS, SACK permitted, timestamps (value tsval, echo 0), NOP, window scale 7
// (RFC 9293 section 3.2, RFC 2018, RFC 7323).
func AppendSYNOptions(dst []byte, mss uint16, tsval uint32) []byte {
	return AppendTCPOptions(dst, TCPOptions{MSS: mss, SACK: true, Timestamps: true, TSval: tsval, WindowScale: 7})
}

// ParseTCPOptions reads those options, as far as they make sense; the first of a kind counts.
func ParseTCPOptions(b []byte) (o TCPOptions) {
	for len(b) > 0 && b[0] != 0 {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return o
		}
		switch v := b[2:b[1]]; {
		case b[0] == 2 && len(v) == 2 && o.MSS == 0:
			o.MSS = u16(v, 0)
		case b[0] == 3 && len(v) == 1 && o.WindowScale == 0:
			o.WindowScale = v[0]
		case b[0] == 4 && len(v) == 0:
			o.SACK = true
		case b[0] == 8 && len(v) == 8 && !o.Timestamps:
			o.Timestamps, o.TSval, o.TSecr = true, u32(v, 0), u32(v, 4)
		}
		b = b[b[1]:]
	}
	return o
}

// TCP is a view of a TCP segment, whole or cut.
type TCP struct{ b []byte }

// ParseTCP views a whole TCP header with its options.
func ParseTCP(b []byte) (TCP, error) {
	if len(b) < headerTCP {
		return TCP{}, &Error{"TCP", len(b), ErrShort}
	}
	n := int(b[12]>>4) * 4
	if n < headerTCP {
		return TCP{}, &Error{"TCP", 12, ErrLength}
	}
	if n > len(b) {
		return TCP{}, &Error{"TCP", len(b), ErrShort}
	}
	return TCP{b}, nil
}

// ParseTCPQuote views at least the first 8 bytes of a segment; Full says whether the 20
// bytes of the fixed header are there, without which Ack, Flags and Window are 0.
func ParseTCPQuote(b []byte) (TCP, error) {
	if len(b) < 8 {
		return TCP{}, &Error{"quoted TCP", len(b), ErrShort}
	}
	return TCP{b}, nil
}

// Full reports whether the 20 bytes of the fixed header are there.
func (t TCP) Full() bool { return len(t.b) >= headerTCP }

// Src is the source port.
func (t TCP) Src() uint16 { return u16(t.b, 0) }

// Dst is the destination port.
func (t TCP) Dst() uint16 { return u16(t.b, 2) }

// Seq is the sequence number.
func (t TCP) Seq() uint32 { return u32(t.b, 4) }

// Ack is the acknowledgement number, 0 unless Full.
func (t TCP) Ack() uint32 {
	if !t.Full() {
		return 0
	}
	return u32(t.b, 8)
}

// Flags are the eight flags FIN to CWR, 0 unless Full.
func (t TCP) Flags() uint8 {
	if !t.Full() {
		return 0
	}
	return t.b[13]
}

// Window is the window field, not scaled, 0 unless Full.
func (t TCP) Window() uint16 {
	if !t.Full() {
		return 0
	}
	return u16(t.b, 14)
}

// Checksum is the checksum of a whole header.
func (t TCP) Checksum() uint16 { return u16(t.b, 16) }

// header is the length of the header by its own field. In a quote that may be
// less than 20 bytes: nonsense.
func (t TCP) header() int { return int(u8(t.b, 12)>>4) * 4 }

// Options is what is there of the options.
func (t TCP) Options() []byte { return span(t.b, headerTCP, t.header()) }

// Header is the segment without what is there after the options.
func (t TCP) Header() TCP { return TCP{span(t.b, 0, t.header())} }

// Payload is what is there after the options.
func (t TCP) Payload() []byte {
	if t.header() < headerTCP {
		return nil
	}
	return span(t.b, t.header(), len(t.b))
}

// Valid reports whether the checksum of the segment between those addresses
// is right. That can only be said of a whole segment.
func (t TCP) Valid(src, dst netip.Addr) bool {
	return t.Full() && is4(src) == is4(dst) && sound(pseudo(src, dst, ProtoTCP, len(t.b)), t.b)
}
