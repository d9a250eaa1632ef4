package wire

// SEAM: declarations the other packages build on. The bodies are written by
// whoever owns this package and this file then goes away.

import (
	"errors"
	"net/netip"
)

// IP protocol numbers.
const (
	ProtoHopByHop    = 0
	ProtoICMP        = 1
	ProtoTCP         = 6
	ProtoUDP         = 17
	ProtoRouting     = 43
	ProtoFragment    = 44
	ProtoESP         = 50
	ProtoAH          = 51
	ProtoICMPv6      = 58
	ProtoNone        = 59
	ProtoDestOptions = 60
)

// ICMP types this module sends or understands (RFC 792, RFC 4443).
const (
	EchoReply4        = 0
	Unreachable4      = 3
	SourceQuench4     = 4
	Redirect4         = 5
	Echo4             = 8
	TimeExceeded4     = 11
	ParameterProblem4 = 12

	Unreachable6      = 1
	PacketTooBig6     = 2
	TimeExceeded6     = 3
	ParameterProblem6 = 4
	Echo6             = 128
	EchoReply6        = 129
)

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

// What an *Error wraps.
var (
	ErrShort    = errors.New("message too short")
	ErrVersion  = errors.New("not an IP version known here")
	ErrLength   = errors.New("length field out of range")
	ErrChecksum = errors.New("wrong checksum")
	ErrTooDeep  = errors.New("too many extension headers")
)

// An Error locates what could not be read.
type Error struct {
	Layer string // such as "quoted IPv4"
	Off   int    // bytes from the start of the message
	Err   error
}

func (e *Error) Error() string { panic("seam") }
func (e *Error) Unwrap() error { return e.Err }

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
}

// AppendIPv4 appends the header (checksum and total length filled in) of a
// packet with that many payload bytes to follow.
func AppendIPv4(dst []byte, f IPv4, payload int) []byte { panic("seam") }

// AppendIPv6 appends the header of a packet with that many payload bytes to follow.
func AppendIPv6(dst []byte, f IPv6, payload int) []byte { panic("seam") }

// AppendUDP appends a UDP header and payload. With sum 0 the checksum is the
// computed one (0xFFFF for 0, RFC 768). Any other sum is the checksum the
// datagram will carry and truly have: the first two bytes of payload, which
// must be there, are overwritten in the copy with the word that makes it so.
// sum 0xFFFF is not allowed (same value as 0). Pseudo header by family of src.
func AppendUDP(dst []byte, src, to netip.AddrPort, payload []byte, sum uint16) []byte { panic("seam") }

// AppendEcho appends an ICMP or ICMPv6 (by family of src) echo message. sum as in AppendUDP,
// but every value except 0 may be chosen.
func AppendEcho(dst []byte, src, to netip.Addr, typ uint8, id, seq uint16, payload []byte, sum uint16) []byte {
	panic("seam")
}

// TCPFields are the header fields of a TCP segment to write.
type TCPFields struct {
	Seq, Ack uint32
	Flags    uint8
	Window   uint16
	Options  []byte // multiple of 4 bytes
}

// AppendTCP appends a TCP segment, checksum computed.
func AppendTCP(dst []byte, src, to netip.AddrPort, f TCPFields, payload []byte) []byte {
	panic("seam")
}

// AppendSYNOptions appends the 20 bytes of options an ordinary Linux client sends in a SYN:
// MSS, SACK permitted, timestamps (value tsval, echo 0), NOP, window scale 7.
func AppendSYNOptions(dst []byte, mss uint16, tsval uint32) []byte { panic("seam") }

// AppendError appends an ICMP or ICMPv6 error message (by family of src; src and to are
// the outer addresses, for ICMPv6's checksum). word is the second 32-bit word of
// the header (the MTU of a too-big message; the length attribute is put in
// by AppendError when objects is not empty). quote is the start of the offending packet, cut by the caller;
// with objects (encoded by AppendObject) it is padded to at least 128 bytes
// and the RFC 4884 extension structure is appended.
func AppendError(dst []byte, src, to netip.Addr, typ, code uint8, word uint32, quote, objects []byte) []byte {
	panic("seam")
}

// AppendObject appends one extension object (RFC 4884 section 7).
func AppendObject(dst []byte, class, ctype uint8, data []byte) []byte { panic("seam") }

// AppendLSE appends one MPLS label stack entry (RFC 3032), the data of class 1 type 1 (RFC 4950).
func AppendLSE(dst []byte, label uint32, tc uint8, bottom bool, ttl uint8) []byte { panic("seam") }

// IP is a view of an IPv4 or IPv6 packet, whole or quoted.
type IP struct{ _ []byte }

// ParseIP views a whole packet: trailing bytes beyond its length field are cut off, a length
// field beyond len(b) is ErrShort. An IPv4 header checksum is verified.
func ParseIP(b []byte) (IP, error) { panic("seam") }

// ParseQuote views the start of a packet as an ICMP error carries it (see STYLE: nothing
// that a router may have changed is checked; at least 8 bytes of transport).
func ParseQuote(b []byte) (IP, error) { panic("seam") }

func (p IP) Version() int      { panic("seam") } // 4 or 6
func (p IP) Src() netip.Addr   { panic("seam") }
func (p IP) Dst() netip.Addr   { panic("seam") }
func (p IP) TTL() uint8        { panic("seam") } // or hop limit
func (p IP) TOS() uint8        { panic("seam") } // or traffic class
func (p IP) ID() uint16        { panic("seam") } // IPv4; 0 for IPv6
func (p IP) DF() bool          { panic("seam") }
func (p IP) MF() bool          { panic("seam") }
func (p IP) Label() uint32     { panic("seam") } // IPv6
func (p IP) Proto() uint8      { panic("seam") } // of the transport, extension headers walked
func (p IP) Length() int       { panic("seam") } // whole packet, by its own length field
func (p IP) Offset() uint16    { panic("seam") } // fragment offset in 8 bytes; when not 0, Transport is not a header
func (p IP) Transport() []byte { panic("seam") } // what is there after the IP header(s)
func (p IP) Header() []byte    { panic("seam") } // the IP header(s)
func (p IP) Complete() bool    { panic("seam") } // Length() bytes are all there
func (p IP) Bytes() []byte     { panic("seam") }

// UDP is a view of a UDP header and what follows.
type UDP struct{ _ []byte }

// ParseUDP wants the 8 header bytes; the length field is not compared, as quotes are cut short.
func ParseUDP(b []byte) (UDP, error) { panic("seam") }

func (u UDP) Src() uint16                    { panic("seam") }
func (u UDP) Dst() uint16                    { panic("seam") }
func (u UDP) Length() int                    { panic("seam") }
func (u UDP) Checksum() uint16               { panic("seam") }
func (u UDP) Payload() []byte                { panic("seam") } // what is there of it, by Length where that is less
func (u UDP) Valid(src, dst netip.Addr) bool { panic("seam") } // all there, checksum right (or 0 on IPv4)

// TCP is a view of a TCP segment, whole or cut.
type TCP struct{ _ []byte }

// ParseTCP views a whole TCP header with its options.
func ParseTCP(b []byte) (TCP, error) { panic("seam") }

// ParseTCPQuote views at least the first 8 bytes of a segment; Full says whether the 20
// bytes of the fixed header are there, without which Ack, Flags and Window are 0.
func ParseTCPQuote(b []byte) (TCP, error) { panic("seam") }

func (t TCP) Full() bool                     { panic("seam") }
func (t TCP) Src() uint16                    { panic("seam") }
func (t TCP) Dst() uint16                    { panic("seam") }
func (t TCP) Seq() uint32                    { panic("seam") }
func (t TCP) Ack() uint32                    { panic("seam") }
func (t TCP) Flags() uint8                   { panic("seam") }
func (t TCP) Window() uint16                 { panic("seam") }
func (t TCP) Options() []byte                { panic("seam") } // what is there of them
func (t TCP) Payload() []byte                { panic("seam") }
func (t TCP) Valid(src, dst netip.Addr) bool { panic("seam") } // checksum right; only on whole segments

// ICMP is a view of an ICMP or ICMPv6 message.
type ICMP struct{ _ []byte }

// ParseICMPv4 views a whole ICMP message; its checksum is verified.
func ParseICMPv4(b []byte) (ICMP, error) { panic("seam") }

// ParseICMPv6 views a whole ICMPv6 message between those two addresses; its checksum is verified.
func ParseICMPv6(b []byte, src, dst netip.Addr) (ICMP, error) { panic("seam") }

func (m ICMP) V6() bool           { panic("seam") }
func (m ICMP) Type() uint8        { panic("seam") }
func (m ICMP) Code() uint8        { panic("seam") }
func (m ICMP) IsError() bool      { panic("seam") } // carries a quote
func (m ICMP) ID() uint16         { panic("seam") } // of an echo
func (m ICMP) Seq() uint16        { panic("seam") }
func (m ICMP) Payload() []byte    { panic("seam") } // after the 8 header bytes
func (m ICMP) MTU() int           { panic("seam") } // 3/4 (RFC 1191; 0 from old routers) or ICMPv6 type 2
func (m ICMP) Pointer() uint32    { panic("seam") } // of a parameter problem
func (m ICMP) Quote() (IP, error) { panic("seam") } // extensions and padding cut off

// ExtensionKind says how the extension structure was found.
type ExtensionKind uint8

const (
	NoExtensions     ExtensionKind = iota
	Extensions                     // by the length attribute, RFC 4884
	CompatExtensions               // length 0, at 128 bytes, checksum verified
	BadExtensions                  // there, but version or checksum wrong: objects not read
)

func (m ICMP) Extensions() ExtensionKind { panic("seam") }

// Objects walks the extension objects; see Objects.Next.
func (m ICMP) Objects() Objects { panic("seam") }

// Objects is a position in a list of extension objects.
type Objects struct{ _ []byte }

// An Object is one extension object.
type Object struct {
	Class, Type uint8
	Data        []byte
}

// Next returns the next object, or false at the end or at the first malformed one.
func (o *Objects) Next() (Object, bool) { panic("seam") }

// LSE returns label stack entry i of an MPLS object (class 1 type 1), false past the last:
// the one with the bottom bit, or where the data end.
func (o Object) LSE(i int) (LSE, bool) { panic("seam") }

// An LSE is an MPLS label stack entry (RFC 3032).
type LSE uint32

func (l LSE) Label() uint32 { panic("seam") }
func (l LSE) TC() uint8     { panic("seam") }
func (l LSE) Bottom() bool  { panic("seam") }
func (l LSE) TTL() uint8    { panic("seam") }

// Interface is the content of an interface information object (RFC 5837, class 2).
type Interface struct {
	Role             uint8      // 0 incoming, 1 sub-interface of incoming, 2 outgoing, 3 next hop
	Index            uint32     // valid if HasIndex
	Addr             netip.Addr // invalid if absent
	Name             []byte     // nil if absent; up to 63 bytes of UTF-8 as sent: not sanitised
	MTU              uint32     // valid if HasMTU
	HasIndex, HasMTU bool
}

// Interface reads an interface information object.
func (o Object) Interface() (Interface, error) { panic("seam") }
