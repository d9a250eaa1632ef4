package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// Where a probe carries its identity. An answer may quote no more than the
// first 8 bytes after the IP header (RFC 792), so the 16-bit id stands there:
//
//	UDP   the checksum, made so by the payload's first word; over IPv4 the IP ID too
//	ICMP  the sequence number; over IPv4 the IP ID too
//	TCP   the low half of the sequence number, under 16 bits of the run's token;
//	      over IPv4 the IP ID too
//
// The payload of UDP and ICMP carries a second witness, as far as it is long
// enough: the tuning word, the id, the run's token, and the probe's number in
// its flow, which tells probes apart whose ids are the same because 65534
// others were sent in between.
const (
	idOffset     = 2
	numberOffset = rawsock.TokenOffset + 4
	ownBytes     = numberOffset + 4 // of a payload that is long enough
)

// ids is how many ids there are: 1 to 0xfffe. Neither 0 (a UDP checksum of 0 means
// none, an IP ID of 0 is filled in by the kernel) nor 0xffff (RFC 768 makes it
// the same checksum as 0).
const ids = 0xfffe

// Sizes are the smallest and the largest packet of a probe of that kind, in
// bytes. tuned says that its checksum is chosen, as it always is for UDP.
//
// TCP probes have one size, that of an ordinary client's SYN: with a payload
// firewalls drop them, and an acknowledgement could be of several probes.
func Sizes(p Proto, v6, tuned bool) (least, most int) {
	n := ipHeader(v6)
	switch {
	case p == TCP:
		return n + 40, n + 40 // the header and its options
	case p == UDP || tuned:
		n += 2
	}
	return n + 8, 65535
}

// minSize is the size of a probe that asks for none.
func minSize(s *Spec) int {
	least, _ := Sizes(s.Proto, s.Dst.Addr().Is6(), s.Dst.Port() != 0)
	return least
}

// A codec turns specs into packets.
type codec struct {
	token   uint32
	payload []byte // scratch
}

// idOf is the id of a flow's n-th probe, n from 1.
func idOf(n, offset uint32) uint16 {
	return uint16(1 + (uint64(n-1)+uint64(offset))%ids)
}

// firstID is what a flow's ids are counted from. An echo's sequence number
// starts at 1, as everybody's does; the others are harder to guess.
func (c *codec) firstID(p Proto) uint32 {
	if p == ICMP {
		return 0
	}
	return (c.token >> 16) % ids
}

// seq is the TCP sequence number of the probe with that id.
func (c *codec) seq(id uint16) uint32 { return c.token<<16 | uint32(id) }

func ipHeader(v6 bool) int {
	if v6 {
		return 40
	}
	return 20
}

// payloadLen is how many bytes of payload a UDP or ICMP probe of that spec has.
func payloadLen(s *Spec) int {
	return max(s.Size, minSize(s)) - ipHeader(s.Dst.Addr().Is6()) - 8
}

// appendPayload appends the payload of a UDP or ICMP probe; its first two bytes are left to the checksum.
func (c *codec) appendPayload(b []byte, s *Spec, n uint32, id uint16) []byte {
	start, size := len(b), payloadLen(s)
	for i := range size {
		v := byte(i)
		if s.Pattern != "" {
			v = s.Pattern[i%len(s.Pattern)]
		}
		b = append(b, v)
	}
	p := b[start:]
	if s.Proto == UDP || s.Dst.Port() != 0 {
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

// appendPacket appends the whole packet of a flow's n-th probe.
func (c *codec) appendPacket(b []byte, s *Spec, n uint32, id uint16) ([]byte, error) {
	src, dst := s.Src.Addr().WithZone(""), s.Dst.Addr().WithZone("")
	v6 := dst.Is6()
	if least, most := Sizes(s.Proto, v6, s.Dst.Port() != 0); s.Size != 0 && (s.Size < least || s.Size > most) {
		return nil, fmt.Errorf("probe of %d bytes: %v over this family has %d to %d", s.Size, s.Proto, least, most)
	}
	if src.Is6() != v6 || !src.IsValid() || src.IsUnspecified() {
		return nil, fmt.Errorf("probe to %v: source %v is not of its family", dst, src)
	}

	var proto uint8
	var size int // of transport header and payload
	switch s.Proto {
	case UDP:
		proto, size = wire.ProtoUDP, 8+payloadLen(s)
	case ICMP:
		proto, size = wire.ProtoICMP, 8+payloadLen(s)
		if v6 {
			proto = wire.ProtoICMPv6
		}
	case TCP:
		proto, size = wire.ProtoTCP, minSize(s)-ipHeader(v6)
	default:
		return nil, fmt.Errorf("probe to %v: no such protocol: %d", dst, s.Proto)
	}

	if v6 {
		b = wire.AppendIPv6(b, wire.IPv6{
			Src: src, Dst: dst, HopLimit: s.TTL, TrafficClass: s.TOS, Next: proto, Label: s.Label,
		}, size)
	} else {
		b = wire.AppendIPv4(b, wire.IPv4{
			Src: src, Dst: dst, TTL: s.TTL, TOS: s.TOS, Proto: proto, ID: id, DF: s.DF,
		}, size)
	}

	switch s.Proto {
	case UDP:
		c.payload = c.appendPayload(c.payload[:0], s, n, id)
		b = wire.AppendUDP(b, netip.AddrPortFrom(src, s.Src.Port()), netip.AddrPortFrom(dst, s.Dst.Port()), c.payload, id)
	case ICMP:
		typ := uint8(wire.Echo4)
		if v6 {
			typ = wire.Echo6
		}
		c.payload = c.appendPayload(c.payload[:0], s, n, id)
		b = wire.AppendEcho(b, src, dst, typ, s.Src.Port(), id, c.payload, s.Dst.Port())
	case TCP:
		mss := uint16(1460)
		if v6 {
			mss = 1440
		}
		var options [20]byte
		// The timestamp's start is random (as RFC 7323 section 5.4 has it) and moves with
		// the probes.
		opts := wire.AppendSYNOptions(options[:0], mss, c.token+n)
		b = wire.AppendTCP(b, netip.AddrPortFrom(src, s.Src.Port()), netip.AddrPortFrom(dst, s.Dst.Port()),
			wire.TCPFields{Seq: c.seq(id), Flags: wire.SYN, Window: 64240, Options: opts}, nil)
	}
	return b, nil
}
