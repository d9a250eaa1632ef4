package probe

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// Where a probe carries its identity. An answer may quote no more than the
// first 8 bytes after the IP header (RFC 792), so the id, 16 bits, stands there:
//
//	UDP, UDP-Lite       the checksum, made so by the payload's first word
//	ICMP                the sequence number
//	timestamp, mask     the sequence number; what else a timestamp has of its own is the time of day it was sent at
//	extended echo       the sequence number, which has 8 bits: a flow has 255 ids (RFC 8335 section 2)
//	node information    the checksum, made so by the nonce's second word; around it the identifier, 16 bits of the token and the id
//	TCP                 the low half of the sequence number, under 16 bits of the run's token; where the ACK flag is
//	                    set the acknowledgement number is the same, since a RST takes its sequence number from that
//	DCCP                the checksum, made so by the middle word of the sequence number; 16 bits of the token and the id around it
//	raw                 the first 8 bytes of the payload: the id and the token
//
// Over IPv4 the IP ID is the id too.
//
// The payload of UDP, UDP-Lite, ICMP, TCP, DCCP and raw carries a second witness, as far as it is long
// enough: the tuning word, the id, the run's token, and the probe's number in
// its flow, which tells probes apart whose ids are the same because 65534
// others were sent in between, and so lets go of an id early: see table.clear.
//
// What a UDP probe asks a service has all that elsewhere, as far as there is room: see Content.
const (
	idOffset     = 2
	numberOffset = rawsock.TokenOffset + 4
	ownBytes     = numberOffset + 4 // of a payload that is long enough
)

// ids is how many ids there are: 1 to 0xfffe. Neither 0 (a UDP checksum of 0 means
// none, an IP ID of 0 is filled in by the kernel) nor 0xffff (RFC 768 makes it
// the same checksum as 0).
const ids = 0xfffe

// idSpace is how many ids a flow of that kind has.
func idSpace(p Proto) uint32 {
	if p == ExtEcho {
		return 0xff
	}
	return ids
}

// numbers reports whether what answers a probe of that spec should show its number in its flow: the payload comes back,
// and there is room for it.
func numbers(s *Spec) bool {
	switch s.Proto {
	case UDP, UDPLite, ICMP, Raw:
		return layouts[s.Content].number >= 0 && payloadLen(s) >= ownBytes
	}
	return false
}

// Sizes are the smallest and the largest packet of an ordinary probe of that kind, without IPv4 options and with nothing
// asked about, in bytes. tuned says that its checksum is chosen, as it always is for UDP. See SizesOf.
func Sizes(p Proto, v6, tuned bool) (least, most int) {
	s := Spec{Proto: p, Dst: netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}
	if v6 {
		s.Dst = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	if tuned {
		s.Dst = netip.AddrPortFrom(s.Dst.Addr(), 1)
	}
	return SizesOf(&s)
}

// SizesOf are the smallest and the largest packet that a probe of that spec can be, whatever its Size, in bytes.
//
// TCP probes have one size, that of an ordinary client's segment: a SYN with a payload is dropped by firewalls, and what acknowledges
// data could answer several probes. But what answers a segment with ACK and without SYN has its acknowledgement for a sequence
// number: such a one may carry anything. ICMP messages without a payload have one size too.
func SizesOf(s *Spec) (least, most int) {
	v6 := s.Dst.Addr().Is6()
	n := ipHeader(v6) + len(s.Options)
	switch s.Proto {
	case UDP, UDPLite:
		if size := s.Content.size(); size > 0 {
			return n + 8 + size, n + 8 + size
		}
		n += 10
	case ICMP:
		if n += 8; s.Dst.Port() != 0 {
			n += 2
		}
	case DCCP:
		n += 20
	case Raw:
		n += 8
	case TCP:
		var room [20]byte
		n += 20 + len(wire.AppendTCPOptions(room[:0], segmentOptions(&s.Segment, v6)))
		if s.Segment.Flags&(wire.SYN|wire.ACK) != wire.ACK {
			return n, n
		}
	case Timestamp:
		return n + 20, n + 20
	case Mask:
		return n + 12, n + 12
	case ExtEcho: // the extension structure's header, and the object
		n += 8 + 4 + len(s.Query.Data)
		return n, n
	case NodeInfo:
		n += 16 + len(s.Query.Data)
		return n, n
	}
	return n, 65535
}

func flagsOf(s *Segment) uint8 { return cmp.Or(s.Flags, wire.SYN) }

// windowOf is the window of a segment: where nobody says an ordinary Linux client's.
func windowOf(s *Segment) uint16 { return cmp.Or(s.Window, 64240) }

// segmentOptions are the options of a segment. Those that belong to the opening of a connection are in a SYN alone.
func segmentOptions(s *Segment, v6 bool) (o wire.TCPOptions) {
	o.Timestamps = s.Bare&NoTimestamps == 0
	if s.Flags != 0 && s.Flags&wire.SYN == 0 {
		return o
	}
	o.SACK = s.Bare&NoSACK == 0
	if s.Bare&NoWindowScale == 0 {
		o.WindowScale = 7
	}
	switch {
	case s.Bare&NoMSS != 0:
	case s.MSS != 0:
		o.MSS = s.MSS
	case v6:
		o.MSS = 1440
	default:
		o.MSS = 1460
	}
	return o
}

// A codec turns specs into packets.
type codec struct {
	token   uint32
	payload []byte // scratch
	options []byte
}

// idOf is the id of a flow's n-th probe, n from 1, out of so many.
func idOf(n, offset, space uint32) uint16 {
	return uint16(1 + (uint64(n-1)+uint64(offset))%uint64(space))
}

// firstID is what a flow's ids are counted from. A sequence number
// starts at 1, as everybody's does, or as the spec says; the others are harder to guess.
func (c *codec) firstID(s *Spec) uint32 {
	switch s.Proto {
	case ICMP, Timestamp, Mask, ExtEcho:
		return uint32(max(s.First, 1) - 1)
	}
	return (c.token >> 16) % ids
}

// msPerDay is what a time of day in an ICMP timestamp stays below (RFC 792).
const msPerDay = 24 * 60 * 60 * 1000

// timeOfDay is t in milliseconds since midnight UT.
func timeOfDay(t time.Time) uint32 {
	ms := t.UnixMilli() % msPerDay
	if ms < 0 {
		ms += msPerDay
	}
	return uint32(ms)
}

// seq is the TCP sequence number of the probe with that id.
func (c *codec) seq(id uint16) uint32 { return c.token<<16 | uint32(id) }

func ipHeader(v6 bool) int {
	if v6 {
		return 40
	}
	return 20
}

// payloadLen is how many bytes of payload a probe of that spec has.
func payloadLen(s *Spec) int {
	least, _ := SizesOf(s)
	n := max(s.Size, least) - ipHeader(s.Dst.Addr().Is6()) - len(s.Options)
	switch s.Proto {
	case Raw:
		return n
	case DCCP:
		return n - 20
	case TCP:
		return max(s.Size, least) - least
	}
	return n - 8
}

// covered is the length field of a UDP or UDP-Lite probe of that spec: in UDP-Lite, how much the checksum covers.
func covered(s *Spec) int {
	n := 8 + payloadLen(s)
	if s.Proto == UDPLite && s.Coverage != 0 {
		n = min(n, int(s.Coverage))
	}
	return n
}

// tunedPayload reports whether the first two bytes of the probe's payload are the checksum's.
func tunedPayload(s *Spec) bool {
	return s.Proto == UDP || s.Proto == UDPLite || s.Proto == ICMP && s.Dst.Port() != 0
}

// appendPayload appends the payload of a UDP, UDP-Lite, ICMP, TCP, DCCP or raw probe; the first two bytes of a tuned one are left to the checksum.
func (c *codec) appendPayload(b []byte, s *Spec, n uint32, id uint16) []byte {
	if s.Content != OwnContent {
		return c.appendContent(b, s, n, id)
	}
	start, size := len(b), payloadLen(s)
	for i := range size {
		v := byte(i)
		if s.Pattern != "" {
			v = s.Pattern[i%len(s.Pattern)]
		}
		b = append(b, v)
	}
	p := b[start:]
	if tunedPayload(s) {
		p[0], p[1] = 0, 0
	}
	if size >= idOffset+2 {
		binary.BigEndian.PutUint16(p[idOffset:], id)
	}
	if size >= rawsock.TokenOffset+4 {
		binary.BigEndian.PutUint32(p[rawsock.TokenOffset:], c.token)
	}
	if size >= numberOffset+4 {
		binary.BigEndian.PutUint32(p[numberOffset:], n)
	}
	return b
}

// dccpSeq is the sequence number of the DCCP probe with that id, but for the middle word that is the checksum's.
func (c *codec) dccpSeq(id uint16) uint64 { return uint64(c.token&0xffff)<<32 | uint64(id) }

// nonce is that of the node information query with that identifier and id, but for the second word that is the checksum's.
func (c *codec) nonce(ident, id uint16) uint64 {
	return uint64(ident)<<48 | uint64(c.token&0xffff)<<16 | uint64(id)
}

// check says what no probe can be.
func check(s *Spec) error {
	src, dst := s.Src.Addr(), s.Dst.Addr()
	v6 := dst.Is6()
	switch {
	case s.Content == OwnContent:
	case s.Proto != UDP || int(s.Content) >= len(layouts):
		return fmt.Errorf("probe to %v: %v with the content %v: want UDP, and a content that there is", dst, s.Proto, s.Content)
	case s.Pattern != "":
		return fmt.Errorf("probe to %v: a pattern with the content %v, which has no room for one", dst, s.Content)
	}
	if least, most := SizesOf(s); s.Size != 0 && (s.Size < least || s.Size > most) || least > most || least > 65535 {
		return fmt.Errorf("probe of %d bytes: %v over this family has %d to %d", max(s.Size, least), s.Proto, least, min(most, 65535))
	}
	if src.Is6() != v6 || !src.IsValid() || src.IsUnspecified() {
		return fmt.Errorf("probe to %v: source %v is not of its family", dst, src)
	}
	if s.Via.IsValid() && s.Via.Is6() != v6 {
		return fmt.Errorf("probe to %v: first gateway %v is not of its family", dst, s.Via)
	}
	switch n := len(s.Options); {
	case n == 0:
	case !v6 && (n%4 != 0 || n > 40):
		return fmt.Errorf("probe to %v: %d bytes of IPv4 options: want a multiple of 4, at most 40", dst, n)
	case v6 && (n < 8 || n != 8+8*int(s.Options[1])):
		return fmt.Errorf("probe to %v: an IPv6 routing header of %d bytes that says it has another length", dst, n)
	}
	switch s.Proto {
	case Timestamp, Mask:
		if v6 {
			return fmt.Errorf("probe to %v: %v is of IPv4 alone", dst, s.Proto)
		}
	case NodeInfo:
		if !v6 {
			return fmt.Errorf("probe to %v: %v is of IPv6 alone", dst, s.Proto)
		}
	case Raw:
		return checkRaw(s.Number, dst)
	case UDPLite:
		if s.Coverage != 0 && s.Coverage < 10 {
			return fmt.Errorf("probe to %v: a checksum over %d bytes: want at least 10, the header and what makes it the probe's own", dst, s.Coverage)
		}
	}
	switch s.Proto {
	case ICMP, Timestamp, Mask, ExtEcho:
		if most := idSpace(s.Proto); uint32(s.First) > most {
			return fmt.Errorf("probe to %v: first sequence number %d: %v has 1 to %d", dst, s.First, s.Proto, most)
		}
	}
	return nil
}

// checkRaw refuses protocols whose header a raw probe's bytes would be taken for on the way.
func checkRaw(number uint8, dst netip.Addr) error {
	switch number {
	case wire.ProtoHopByHop:
		return fmt.Errorf("probe to %v: IP protocol 0 cannot be probed", dst)
	case wire.ProtoRouting, wire.ProtoFragment, wire.ProtoAH, wire.ProtoDestOptions:
		if dst.Is6() {
			return fmt.Errorf("probe to %v: IP protocol %d is an IPv6 extension header", dst, number)
		}
	}
	return nil
}

// appendPacket appends the whole packet of a flow's n-th probe. at is the time of day that a timestamp request says.
func (c *codec) appendPacket(b []byte, s *Spec, n uint32, id uint16, at uint32) ([]byte, error) {
	src, dst := s.Src.Addr().WithZone(""), s.Dst.Addr().WithZone("")
	v6 := dst.Is6()
	if err := check(s); err != nil {
		return nil, err
	}
	proto := s.Proto.Number(dst, s.Number)
	least, _ := SizesOf(s)
	size := max(s.Size, least) - ipHeader(v6) - len(s.Options) // of transport header and payload
	first := dst
	if s.Via.IsValid() {
		first = s.Via.WithZone("")
	}
	c.options = append(c.options[:0], s.Options...)
	if v6 {
		b = wire.AppendIPv6(b, wire.IPv6{
			Src: src, Dst: first, HopLimit: s.TTL, TrafficClass: s.TOS, Next: proto, Label: s.Label, Routing: c.options,
		}, size)
	} else {
		b = wire.AppendIPv4(b, wire.IPv4{
			Src: src, Dst: first, TTL: s.TTL, TOS: s.TOS, Proto: proto, ID: id, DF: s.DF, Options: c.options,
		}, size)
	}

	from, to := netip.AddrPortFrom(src, s.Src.Port()), netip.AddrPortFrom(dst, s.Dst.Port())
	switch s.Proto {
	case UDP, UDPLite, ICMP, TCP, DCCP, Raw:
		c.payload = c.appendPayload(c.payload[:0], s, n, id)
	case ExtEcho, NodeInfo:
		c.payload = append(c.payload[:0], s.Query.Data...)
	}
	switch s.Proto {
	case UDP:
		b = wire.AppendUDPTuned(b, from, to, c.payload, layouts[s.Content].tune, id)
	case UDPLite:
		b = wire.AppendUDPLiteCovering(b, from, to, c.payload, covered(s), id)
	case DCCP:
		b = wire.AppendDCCP(b, from, to, wire.DCCPFields{Type: wire.DCCPRequest, Seq: c.dccpSeq(id), Service: s.Service}, c.payload, id)
	case Raw:
		b = append(b, c.payload...)
	case ICMP:
		typ := uint8(wire.Echo4)
		if v6 {
			typ = wire.Echo6
		}
		b = wire.AppendEcho(b, src, dst, typ, s.Src.Port(), id, c.payload, s.Dst.Port())
	case Timestamp:
		b = wire.AppendTimestamp(b, src, dst, wire.Timestamp4, s.Src.Port(), id, wire.Times{Originate: at})
	case Mask:
		b = wire.AppendMask(b, src, dst, wire.Mask4, s.Src.Port(), id, 0)
	case ExtEcho:
		b = wire.AppendExtEcho(b, src, dst, s.Src.Port(), uint8(id), s.Query.Flags&1 != 0, c.payload)
	case NodeInfo:
		b = wire.AppendNode(b, src, dst, wire.NodeQuery6, s.Query.Code, s.Query.Type, s.Query.Flags, c.nonce(s.Src.Port(), id), c.payload, id)
	case TCP:
		b = wire.AppendTCP(b, from, to, c.segment(s, n, id), c.payload)
	default:
		return nil, fmt.Errorf("probe to %v: no such protocol: %d", dst, s.Proto)
	}
	return b, nil
}

// segment is the TCP header of a flow's n-th probe. Its options are in c.options.
func (c *codec) segment(s *Spec, n uint32, id uint16) wire.TCPFields {
	f := wire.TCPFields{Seq: c.seq(id), Flags: flagsOf(&s.Segment), Window: windowOf(&s.Segment)}
	if f.Flags&wire.ACK != 0 {
		f.Ack = f.Seq
	}
	o := segmentOptions(&s.Segment, s.Dst.Addr().Is6())
	// The timestamp's start is random (as RFC 7323 section 5.4 has it) and moves with
	// the probes.
	o.TSval = c.token + n
	c.options = wire.AppendTCPOptions(c.options[:0], o)
	f.Options = c.options
	return f
}
