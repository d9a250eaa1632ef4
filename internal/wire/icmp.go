package wire

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// ICMP types this module sends or understands (RFC 792, RFC 950, RFC 4443, RFC 4620, RFC 8335).
const (
	EchoReply4        = 0
	Unreachable4      = 3
	SourceQuench4     = 4
	Redirect4         = 5
	Echo4             = 8
	TimeExceeded4     = 11
	ParameterProblem4 = 12
	Timestamp4        = 13
	TimestampReply4   = 14
	Mask4             = 17
	MaskReply4        = 18
	ExtEcho4          = 42
	ExtEchoReply4     = 43

	Unreachable6      = 1
	PacketTooBig6     = 2
	TimeExceeded6     = 3
	ParameterProblem6 = 4
	Echo6             = 128
	EchoReply6        = 129
	Redirect6         = 137
	NodeQuery6        = 139
	NodeReply6        = 140
	ExtEcho6          = 160
	ExtEchoReply6     = 161
)

// needFragment is the code of Unreachable4 that carries an MTU (RFC 1191).
const needFragment = 4

const headerICMP = 8 // bytes before the payload of every message known here

// AppendICMP appends an ICMP or ICMPv6 (by family of src) message: word is the second 32-bit word
// of its header, and what follows is body. sum as in AppendUDP, but every value except 0 may be chosen.
//
// A computed 0 is left as it is: only UDP gives it another meaning.
func AppendICMP(dst []byte, src, to netip.Addr, typ, code uint8, word uint32, body []byte, sum uint16) []byte {
	var h [headerICMP]byte
	h[0], h[1] = typ, code
	binary.BigEndian.PutUint32(h[4:], word)
	start := len(dst)
	dst = append(dst, h[:]...)
	dst = append(dst, body...)
	sealICMP(dst[start:], src, to, sum)
	return dst
}

// AppendEcho appends an echo message; see AppendICMP.
func AppendEcho(dst []byte, src, to netip.Addr, typ uint8, id, seq uint16, payload []byte, sum uint16) []byte {
	return AppendICMP(dst, src, to, typ, 0, uint32(id)<<16|uint32(seq), payload, sum)
}

// AppendError appends an ICMP or ICMPv6 error message (by family of src; src and to are
// the outer addresses, for ICMPv6's checksum). word is the second 32-bit word of
// the header (the MTU of a too-big message; the length attribute is put in
// by AppendError when objects is not empty). quote is the start of the offending packet, cut by the caller;
// with objects (encoded by AppendObject) it is padded to at least 128 bytes
// and the RFC 4884 extension structure is appended.
//
// With objects, a quote beyond what the length attribute can say (1020 bytes, or 2040 for
// ICMPv6) is cut. Types that have no length attribute take no extensions: there objects are
// left out.
func AppendError(dst []byte, src, to netip.Addr, typ, code uint8, word uint32, quote, objects []byte) []byte {
	v6 := !is4(src)
	unit, shift := lengthAttribute(v6, typ)
	extended := unit != 0 && len(objects) > 0
	size := len(quote)
	if extended {
		quote = span(quote, 0, 0xff*unit)
		size = max(minOriginal, (len(quote)+unit-1)/unit*unit)
		word = word&^(0xff<<shift) | uint32(size/unit)<<shift
	}
	var h [headerICMP]byte
	h[0], h[1] = typ, code
	binary.BigEndian.PutUint32(h[4:], word)
	start := len(dst)
	dst = append(dst, h[:]...)
	dst = append(dst, quote...)
	if extended {
		dst = append(dst, zeros[:size-len(quote)]...)
		dst = AppendExtensions(dst, objects)
	}
	sealICMP(dst[start:], src, to, 0)
	return dst
}

var zeros [minOriginal]byte

// sealICMP fills in the checksum: with a pseudo header in ICMPv6 (RFC 4443
// section 2.3), without one in ICMP.
func sealICMP(b []byte, src, to netip.Addr, sum uint16) {
	var s uint64
	if !is4(src) {
		s = pseudo6(src, to, ProtoICMPv6, len(b))
	}
	seal(b, 2, s, sum)
}

// ICMP is a view of an ICMP or ICMPv6 message.
//
// Like IP it is kept to four fields in four words: the compiler then holds it
// in registers, which halves the time it takes to read an answer.
type ICMP struct {
	b    []byte
	v6   bool
	kind ExtensionKind
	end  uint32 // of the original datagram field
}

// ParseICMPv4 views a whole ICMP message; its checksum is verified.
func ParseICMPv4(b []byte) (ICMP, error) {
	if len(b) < headerICMP {
		return ICMP{}, &Error{"ICMP", len(b), ErrShort}
	}
	if !sound(0, b) {
		return ICMP{}, &Error{"ICMP", 2, ErrChecksum}
	}
	return located(b, false), nil
}

// ParseICMPv6 views a whole ICMPv6 message between those two addresses; its checksum is verified.
func ParseICMPv6(b []byte, src, dst netip.Addr) (ICMP, error) {
	if len(b) < headerICMP {
		return ICMP{}, &Error{"ICMPv6", len(b), ErrShort}
	}
	if !sound(pseudo6(src, dst, ProtoICMPv6, len(b)), b) {
		return ICMP{}, &Error{"ICMPv6", 2, ErrChecksum}
	}
	return located(b, true), nil
}

// V6 reports whether this is ICMPv6.
func (m ICMP) V6() bool { return m.v6 }

// Type is the message type, which means different things in ICMP and ICMPv6.
func (m ICMP) Type() uint8 { return u8(m.b, 0) }

// Code tells messages of one type apart.
func (m ICMP) Code() uint8 { return u8(m.b, 1) }

// IsError reports whether the message carries a quote. ICMPv6 types below
// 128 do, known or not (RFC 4443 section 2.1), and so does a redirect (RFC 4861 section 4.5).
func (m ICMP) IsError() bool {
	if len(m.b) == 0 {
		return false
	}
	if m.v6 {
		return m.Type() < 128 || m.Type() == Redirect6
	}
	switch m.Type() {
	case Unreachable4, SourceQuench4, Redirect4, TimeExceeded4, ParameterProblem4:
		return true
	}
	return false
}

// ID is the identifier of an echo, timestamp, mask or extended echo message.
func (m ICMP) ID() uint16 { return u16(m.b, 4) }

// Seq is the sequence number of an echo, timestamp or mask message.
func (m ICMP) Seq() uint16 { return u16(m.b, 6) }

// Payload is what follows the 8 header bytes.
func (m ICMP) Payload() []byte { return span(m.b, headerICMP, len(m.b)) }

// MTU is what a too-big message says will fit: type 3 code 4 (RFC 1191; 0
// from old routers) or ICMPv6 type 2. It is 0 in all other messages.
func (m ICMP) MTU() int {
	switch {
	case m.v6 && m.Type() == PacketTooBig6:
		return int(min(u32(m.b, 4), math.MaxInt32)) // an int may have 32 bits
	case !m.v6 && m.Type() == Unreachable4 && m.Code() == needFragment:
		return int(u16(m.b, 6))
	}
	return 0
}

// Pointer is the offset in the quoted packet that a parameter problem is
// about. It is 0 in all other messages.
func (m ICMP) Pointer() uint32 {
	switch {
	case m.v6 && m.Type() == ParameterProblem6:
		return u32(m.b, 4)
	case !m.v6 && m.Type() == ParameterProblem4:
		return uint32(u8(m.b, 4))
	}
	return 0
}

// Gateway is the better first hop that a redirect names. It is invalid in all other messages.
func (m ICMP) Gateway() netip.Addr {
	switch {
	case m.v6 && m.Type() == Redirect6 && len(m.b) >= redirectOptions:
		return netip.AddrFrom16([16]byte(m.b[headerICMP:]))
	case !m.v6 && m.Type() == Redirect4 && len(m.b) >= headerICMP:
		return netip.AddrFrom4([4]byte(m.b[4:]))
	}
	return netip.Addr{}
}

// A redirect of ICMPv6 has two addresses and then options, one of which quotes.
const (
	redirectOptions   = headerICMP + 32
	optRedirectedHead = 4 // the redirected header option (RFC 4861 section 4.6.3)
)

// redirected is Quote of an ICMPv6 redirect, which quotes in an option. Out of the way of all other errors, which
// are many more.
func (m ICMP) redirected() (IP, error) {
	from, to := len(m.b), len(m.b)
	for at := redirectOptions; at+8 <= len(m.b); { // no option is shorter
		n := int(m.b[at+1]) * 8
		if n == 0 || at+n > len(m.b) {
			break
		}
		if m.b[at] == optRedirectedHead {
			from, to = at+8, at+n
			break
		}
		at += n
	}
	p, err := ParseQuote(m.b[from:to:to])
	if err != nil {
		if e, ok := err.(*Error); ok {
			e.Off += from
		}
		return IP{}, err
	}
	if n := p.Length(); n >= int(p.hdr)+8 && n < len(p.b) {
		p.b = p.b[:n:n]
	}
	return p, nil
}

// Quote is the offending packet as the node that answered saw it; extensions
// and padding are cut off. Padding is what lies beyond the quoted packet's own
// length and is all zeros (RFC 4884 section 4): by the length alone nothing is
// cut, since some systems quote a wrong one. A router that cuts the packet
// short and then pads leaves zeros within that length; they cannot be told
// from the packet's own, so where Extensions finds a structure, zeros at the
// end of a quote prove nothing.
//
// The error is ParseQuote's, its offset that in the ICMP message; it wraps
// ErrType if the message is not an error message.
func (m ICMP) Quote() (IP, error) {
	if !m.IsError() {
		return IP{}, &Error{"ICMP error", 0, ErrType}
	}
	if m.v6 && m.b[0] == Redirect6 {
		return m.redirected()
	}
	p, err := ParseQuote(m.b[headerICMP:m.end:m.end])
	if err != nil {
		if e, ok := err.(*Error); ok {
			e.Off += headerICMP
		}
		return IP{}, err
	}
	if n := p.Length(); n >= int(p.hdr)+8 && n < len(p.b) && allZero(p.b[n:]) {
		p.b = p.b[:n:n]
	}
	return p, nil
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.BigEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
