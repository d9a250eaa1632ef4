package wire

import (
	"encoding/binary"
	"net/netip"
)

// Times are the fields of an ICMP timestamp message (RFC 792): milliseconds since midnight UT, or, where
// the high bit is set, in another unit or from another start.
type Times struct{ Originate, Receive, Transmit uint32 }

// AppendTimestamp appends an ICMP timestamp message, request or reply by typ.
func AppendTimestamp(dst []byte, src, to netip.Addr, typ uint8, id, seq uint16, t Times) []byte {
	var b [12]byte
	binary.BigEndian.PutUint32(b[0:], t.Originate)
	binary.BigEndian.PutUint32(b[4:], t.Receive)
	binary.BigEndian.PutUint32(b[8:], t.Transmit)
	return AppendEcho(dst, src, to, typ, id, seq, b[:], 0)
}

// AppendMask appends an ICMP address mask message (RFC 950), request or reply by typ.
func AppendMask(dst []byte, src, to netip.Addr, typ uint8, id, seq uint16, mask uint32) []byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], mask)
	return AppendEcho(dst, src, to, typ, id, seq, b[:], 0)
}

// localInterface is the L bit of an extended echo request (RFC 8335 section 2).
const localInterface = 1

// AppendExtEcho appends an extended echo request (RFC 8335 section 2), by family of src. object is the Interface
// Identification Object, its header included; local says that the interface is the asked node's own.
func AppendExtEcho(dst []byte, src, to netip.Addr, id uint16, seq uint8, local bool, object []byte) []byte {
	var h [headerICMP]byte
	h[0] = ExtEcho4
	if !is4(src) {
		h[0] = ExtEcho6
	}
	binary.BigEndian.PutUint16(h[4:], id)
	h[6] = seq
	if local {
		h[7] = localInterface
	}
	start := len(dst)
	dst = AppendExtensions(append(dst, h[:]...), object)
	sealICMP(dst[start:], src, to, 0)
	return dst
}

// AppendExtEchoReply appends an extended echo reply (RFC 8335 section 3): state is the byte of State, A, 4 and 6.
func AppendExtEchoReply(dst []byte, src, to netip.Addr, code uint8, id uint16, seq, state uint8) []byte {
	typ := uint8(ExtEchoReply4)
	if !is4(src) {
		typ = ExtEchoReply6
	}
	return AppendICMP(dst, src, to, typ, code, uint32(id)<<16|uint32(seq)<<8|uint32(state), nil, 0)
}

// What a code of an extended echo reply says (RFC 8335 section 3).
const (
	ExtEchoOK             = 0
	ExtEchoMalformed      = 1 // the query could not be read
	ExtEchoNoInterface    = 2 // no such interface
	ExtEchoNoEntry        = 3 // the address is not in the node's table of neighbours
	ExtEchoManyInterfaces = 4 // several fit
)

// The bits of the last byte of an extended echo reply's header (RFC 8335 section 3). Above them is the State, 3 bits.
const (
	ExtEchoActive = 1 << 2 // the interface is up
	ExtEchoIPv4   = 1 << 1 // and runs IPv4
	ExtEchoIPv6   = 1 << 0
)

// classInterfaceID is that of the Interface Identification Object (RFC 8335 section 2.1).
const classInterfaceID = 3

// AppendInterfaceName appends the object that names an interface (RFC 8335 section 2.1, C-Type 1), padded with zeros.
func AppendInterfaceName(dst []byte, name string) []byte {
	n := (len(name) + 3) &^ 3
	dst = AppendObject(dst, classInterfaceID, 1, []byte(name))
	start := len(dst) - len(name) - headerObject
	dst = append(dst, zeros[:n-len(name)]...)
	binary.BigEndian.PutUint16(dst[start:], uint16(headerObject+n))
	return dst
}

// AppendInterfaceIndex appends the object that names an interface by its index (C-Type 2).
func AppendInterfaceIndex(dst []byte, index uint32) []byte {
	return AppendObject(dst, classInterfaceID, 2, binary.BigEndian.AppendUint32(nil, index))
}

// AppendInterfaceAddr appends the object that names an interface by an address (C-Type 3): AFI 1 or 2 (IANA's
// Address Family Numbers), the address's length, a reserved byte, and the address.
func AppendInterfaceAddr(dst []byte, a netip.Addr) []byte {
	b := a.AsSlice()
	afi := uint8(1)
	if len(b) == 16 {
		afi = 2
	}
	return AppendObject(dst, classInterfaceID, 3, append([]byte{0, afi, uint8(len(b)), 0}, b...))
}

// An InterfaceID is what an Interface Identification Object names: a name, an index or an address.
type InterfaceID struct {
	Name  []byte // not sanitised
	Index uint32 // valid where the others are not
	Addr  netip.Addr
}

// InterfaceID reads an Interface Identification Object, false where it is none or cannot be read.
func (o Object) InterfaceID() (InterfaceID, bool) {
	if o.Class != classInterfaceID {
		return InterfaceID{}, false
	}
	b := o.Data
	switch o.Type {
	case 1:
		n := len(b)
		for n > 0 && b[n-1] == 0 {
			n--
		}
		return InterfaceID{Name: b[:n:n]}, n > 0
	case 2:
		return InterfaceID{Index: u32(b, 0)}, len(b) == 4
	case 3:
		switch n := int(u8(b, 2)); {
		case u16(b, 0) == 1 && n == 4 && len(b) >= 4+n:
			return InterfaceID{Addr: netip.AddrFrom4([4]byte(b[4:]))}, true
		case u16(b, 0) == 2 && n == 16 && len(b) >= 4+n:
			return InterfaceID{Addr: netip.AddrFrom16([16]byte(b[4:]))}, true
		}
	}
	return InterfaceID{}, false
}

// headerNode is how many bytes of a node information message come before its data.
const headerNode = headerICMP + 8

// tunedNode is the word that makes a chosen checksum true: the second of the nonce.
const tunedNode = headerICMP + 2

// AppendNode appends an ICMPv6 node information message (RFC 4620 section 4), query or reply by typ. With sum 0
// the checksum is computed; any other becomes the checksum, and the second 16 bits of the nonce what makes it so.
func AppendNode(dst []byte, src, to netip.Addr, typ, code uint8, qtype, flags uint16, nonce uint64, data []byte, sum uint16) []byte {
	var h [headerNode]byte
	h[0], h[1] = typ, code
	binary.BigEndian.PutUint16(h[4:], qtype)
	binary.BigEndian.PutUint16(h[6:], flags)
	binary.BigEndian.PutUint64(h[8:], nonce)
	start := len(dst)
	dst = append(dst, h[:]...)
	dst = append(dst, data...)
	b := dst[start:]
	sealBy(b, 2, tunedNode, pseudo6(src, to, ProtoICMPv6, len(b)), sum)
	return dst
}

// The views of these messages, as of ID and Seq, say what is at a place: by Type it is known what that is.

// Times are those of a timestamp message; false where they are not all there.
func (m ICMP) Times() (Times, bool) {
	return Times{u32(m.b, 8), u32(m.b, 12), u32(m.b, 16)}, len(m.b) >= headerICMP+12
}

// Mask is that of an address mask message; false where it is not there.
func (m ICMP) Mask() (uint32, bool) { return u32(m.b, 8), len(m.b) >= headerICMP+4 }

// ExtSeq is the sequence number of an extended echo message.
func (m ICMP) ExtSeq() uint8 { return u8(m.b, 6) }

// State is the last byte of an extended echo reply's header: State, A, 4 and 6.
func (m ICMP) State() uint8 { return u8(m.b, 7) }

// ExtEcho is what an extended echo request asks about; false where its extension structure is broken or
// does not hold one Interface Identification Object and nothing else.
func (m ICMP) ExtEcho() (id InterfaceID, local, ok bool) {
	b := m.Payload()
	if !soundExtensions(b) {
		return InterfaceID{}, false, false
	}
	objects := Objects{b[headerExtension:]}
	o, ok := objects.Next()
	if ok {
		id, ok = o.InterfaceID()
	}
	return id, u8(m.b, 7)&localInterface != 0, ok && len(objects.b) == 0
}

// Node is what a node information message says; false where its nonce is not all there.
func (m ICMP) Node() (qtype, flags uint16, nonce uint64, data []byte, ok bool) {
	if len(m.b) < headerNode {
		return 0, 0, 0, nil, false
	}
	return u16(m.b, 4), u16(m.b, 6), binary.BigEndian.Uint64(m.b[8:]), span(m.b, headerNode, len(m.b)), true
}
