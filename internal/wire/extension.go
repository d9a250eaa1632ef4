package wire

import (
	"encoding/binary"
	"net/netip"
)

const (
	headerExtension = 4 // bytes of the header of an extension structure
	headerObject    = 4 // bytes of the header of an extension object

	// minOriginal is the least size of the original datagram field in a
	// message with extensions (RFC 4884 section 3).
	minOriginal = 128

	extensionVersion = 2

	classMPLS = 1 // RFC 4950
	typeMPLS  = 1
)

// ClassInterface is the class of interface information objects (RFC 5837).
const ClassInterface = 2

// lengthAttribute says for a message type in which unit, in bytes, the
// original datagram field is counted (RFC 4884 sections 4 and 5), and by how
// many bits the count is shifted in the second word of the header. The unit
// is 0 for a type that takes no extensions.
func lengthAttribute(v6 bool, typ uint8) (unit, shift int) {
	switch {
	case v6 && (typ == Unreachable6 || typ == TimeExceeded6):
		return 8, 24
	case !v6 && (typ == Unreachable4 || typ == TimeExceeded4 || typ == ParameterProblem4):
		return 4, 16
	}
	return 0, 0
}

// AppendExtensions appends an extension structure: its header, checksum
// computed, and objects. AppendError does so by itself; this is for messages
// that break the rules.
func AppendExtensions(dst, objects []byte) []byte {
	start := len(dst)
	dst = append(dst, extensionVersion<<4, 0, 0, 0)
	dst = append(dst, objects...)
	seal(dst[start:], 2, 0, 0)
	return dst
}

// AppendObject appends one extension object (RFC 4884 section 8).
func AppendObject(dst []byte, class, ctype uint8, data []byte) []byte {
	n := headerObject + len(data)
	if n > 0xffff {
		panic("wire: extension object too long")
	}
	dst = append(dst, uint8(n>>8), uint8(n), class, ctype)
	return append(dst, data...)
}

// AppendLSE appends one MPLS label stack entry (RFC 3032), the data of class 1 type 1 (RFC 4950).
func AppendLSE(dst []byte, label uint32, tc uint8, bottom bool, ttl uint8) []byte {
	v := label<<12 | uint32(tc&7)<<9 | uint32(ttl)
	if bottom {
		v |= 1 << 8
	}
	return binary.BigEndian.AppendUint32(dst, v)
}

// ExtensionKind says how the extension structure was found.
type ExtensionKind uint8

const (
	NoExtensions     ExtensionKind = iota
	Extensions                     // by the length attribute, RFC 4884
	CompatExtensions               // length 0 or wrong, at 128 bytes, checksum verified
	BadExtensions                  // there, but version or checksum wrong: objects not read
)

// Extensions reports whether and how an extension structure was found.
func (m ICMP) Extensions() ExtensionKind { return m.kind }

// Objects walks the extension objects; see Objects.Next.
func (m ICMP) Objects() Objects {
	if m.kind != Extensions && m.kind != CompatExtensions {
		return Objects{}
	}
	return Objects{m.b[m.end+headerExtension:]}
}

// located views a message of at least 8 bytes and finds in it the end of the original
// datagram field, padding included, and the extension objects.
//
// A length attribute that leads to a sound structure is believed. Else the structure may
// be at 128 bytes, where routers older than RFC 4884 put it without setting
// the attribute (its section 5.5), and where it also is when the attribute
// was counted in a wrong unit. As any payload might be there instead, this
// place counts only if a checksum is there, not 0 for "none", and verifies.
func located(b []byte, v6 bool) ICMP {
	m := ICMP{b, v6, NoExtensions, uint32(len(b))}
	unit, shift := lengthAttribute(v6, b[0])
	if unit == 0 {
		return m
	}
	n := headerICMP + int(binary.BigEndian.Uint32(b[4:])>>shift&0xff)*unit
	const at = headerICMP + minOriginal
	set := n >= at && n < len(b)
	switch {
	case set && soundExtensions(b[n:]):
		m.kind, m.end = Extensions, uint32(n)
	case len(b) >= at+headerExtension+headerObject && u16(b, at+2) != 0 && soundExtensions(b[at:]):
		m.kind, m.end = CompatExtensions, at
	case set:
		m.kind, m.end = BadExtensions, uint32(n)
	}
	return m
}

// soundExtensions reports whether an extension structure is of the known
// version and has the right checksum, or 0, which says that there is none
// (RFC 4884 section 7).
func soundExtensions(b []byte) bool {
	return len(b) >= headerExtension && b[0]>>4 == extensionVersion && (u16(b, 2) == 0 || sound(0, b))
}

// Objects is a position in a list of extension objects.
type Objects struct{ b []byte }

// An Object is one extension object.
type Object struct {
	Class, Type uint8
	Data        []byte
}

// Next returns the next object, or false at the end or at the first malformed one:
// one whose length is less than its own header or more than is there.
func (o *Objects) Next() (Object, bool) {
	b := o.b
	n := int(u16(b, 0))
	if n < headerObject || n > len(b) {
		o.b = nil
		return Object{}, false
	}
	o.b = b[n:]
	return Object{b[2], b[3], b[headerObject:n:n]}, true
}

// LSE returns label stack entry i of an MPLS object (class 1 type 1), false past the last:
// the one with the bottom bit, or where the data end.
func (o Object) LSE(i int) (LSE, bool) {
	if o.Class != classMPLS || o.Type != typeMPLS || i < 0 {
		return 0, false
	}
	for b := o.Data; len(b) >= 4; b = b[4:] {
		l := LSE(binary.BigEndian.Uint32(b))
		if i == 0 {
			return l, true
		}
		if l.Bottom() {
			break
		}
		i--
	}
	return 0, false
}

// An LSE is an MPLS label stack entry (RFC 3032).
type LSE uint32

// Label is the label, 20 bits.
func (l LSE) Label() uint32 { return uint32(l >> 12) }

// TC is the traffic class, 3 bits (RFC 5462; once "experimental").
func (l LSE) TC() uint8 { return uint8(l>>9) & 7 }

// Bottom reports whether this is the last entry of the stack.
func (l LSE) Bottom() bool { return l&(1<<8) != 0 }

// TTL is the time to live of the label.
func (l LSE) TTL() uint8 { return uint8(l) }

// Interface is the content of an interface information object (RFC 5837, class 2).
type Interface struct {
	Role             uint8      // 0 incoming, 1 sub-interface of incoming, 2 outgoing, 3 next hop
	Index            uint32     // valid if HasIndex
	Addr             netip.Addr // invalid if absent
	Name             []byte     // nil if absent; up to 63 bytes of UTF-8 as sent: not sanitised
	MTU              uint32     // valid if HasMTU
	HasIndex, HasMTU bool
}

// Which parts an interface information object has, by the bits of its type,
// in the order in which they follow each other (RFC 5837 section 4.1).
const (
	hasIndex = 1 << 3
	hasAddr  = 1 << 2
	hasName  = 1 << 1
	hasMTU   = 1 << 0
)

// Interface reads an interface information object.
//
// The error is an *Error; its offset is that in the object, header included.
// It wraps ErrType if the object is not of class 2. The parts before the one
// that could not be read are valid then.
func (o Object) Interface() (Interface, error) {
	const layer = "interface information"
	if o.Class != ClassInterface {
		return Interface{}, &Error{layer, 2, ErrType}
	}
	f := Interface{Role: o.Type >> 6}
	b := o.Data
	fail := func(err error) (Interface, error) {
		return f, &Error{layer, headerObject + len(o.Data) - len(b), err}
	}
	if o.Type&hasIndex != 0 {
		if len(b) < 4 {
			return fail(ErrShort)
		}
		f.Index, f.HasIndex = binary.BigEndian.Uint32(b), true
		b = b[4:]
	}
	if o.Type&hasAddr != 0 {
		if len(b) < 4 {
			return fail(ErrShort)
		}
		switch family := binary.BigEndian.Uint16(b); {
		case family == 1 && len(b) >= 8:
			f.Addr = netip.AddrFrom4([4]byte(b[4:]))
			b = b[8:]
		case family == 2 && len(b) >= 20:
			f.Addr = netip.AddrFrom16([16]byte(b[4:]))
			b = b[20:]
		case family == 1 || family == 2:
			return fail(ErrShort)
		default:
			return fail(ErrType) // and of unknown length
		}
	}
	if o.Type&hasName != 0 {
		if len(b) < 1 {
			return fail(ErrShort)
		}
		// The length counts its own byte and the zeros that pad the name to
		// a multiple of 4 (RFC 5837 section 4.3).
		n := int(b[0])
		if n < 4 || n > 64 || n%4 != 0 {
			return fail(ErrLength)
		}
		if n > len(b) {
			return fail(ErrShort)
		}
		end := n
		for end > 1 && b[end-1] == 0 {
			end--
		}
		f.Name = b[1:end:end]
		b = b[n:]
	}
	if o.Type&hasMTU != 0 {
		if len(b) < 4 {
			return fail(ErrShort)
		}
		f.MTU, f.HasMTU = binary.BigEndian.Uint32(b), true
	}
	return f, nil
}
