package rawsock

import (
	"encoding/binary"
	"fmt"

	"gtrace/internal/wire"
)

// fragments cuts a whole packet (RFC 791 section 3.2, RFC 8200 section 4.5) into fragments
// of at most mtu bytes. id is the identification of IPv6 fragments; IPv4's have the packet's own.
//
// The packet has passed check.
func fragments(b []byte, mtu int, id uint32) ([][]byte, error) {
	if b[0]>>4 == 6 {
		return fragments6(b, mtu, id)
	}
	head := int(b[0]&0x0f) * 4
	later := laterHeader(b[:head])
	flags := binary.BigEndian.Uint16(b[6:])
	at, last := int(flags&0x1fff)*8, flags&moreFragments == 0 // it may be a fragment itself
	payload := b[head:]
	var out [][]byte
	for h := b[:head:head]; ; h = later {
		n := (mtu - len(h)) &^ 7
		if n <= 0 {
			return nil, fmt.Errorf("an MTU of %d bytes has no room for a fragment", mtu)
		}
		more := len(payload) > mtu-len(h)
		if !more {
			n = len(payload)
		}
		f := append(append(make([]byte, 0, len(h)+n), h...), payload[:n]...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		off := flags&^(0x1fff|moreFragments) | uint16(at/8)
		if more || !last {
			off |= moreFragments
		}
		binary.BigEndian.PutUint16(f[6:], off)
		f[10], f[11] = 0, 0
		binary.BigEndian.PutUint16(f[10:], ^headerSum(f[:len(h)]))
		out = append(out, f)
		if payload, at = payload[n:], at+n; !more {
			return out, nil
		}
	}
}

const moreFragments = 0x2000

// laterHeader is the header of all fragments but the first: of the options only those
// whose copied flag is set (RFC 791 section 3.1).
func laterHeader(h []byte) []byte {
	out := append([]byte(nil), h[:20]...)
	for o := h[20:]; len(o) > 0 && o[0] != 0; {
		n := 1
		if o[0] != 1 {
			if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
				break // it is no option; routers will say so of the first
			}
			n = int(o[1])
		}
		if o[0]&0x80 != 0 {
			out = append(out, o[:n]...)
		}
		o = o[n:]
	}
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	out[0] = h[0]&0xf0 | byte(len(out)/4)
	return out
}

// fragments6 puts the fragment header behind what every router on the way must see: the hop-by-hop
// options, and everything up to a routing header.
func fragments6(b []byte, mtu int, id uint32) ([][]byte, error) {
	head, nextAt := 40, 6 // of the part in all fragments, and where it says what comes next
	next, at, where := b[6], 40, 6
	for next == wire.ProtoHopByHop || next == wire.ProtoRouting || next == wire.ProtoDestOptions {
		if len(b) < at+8 || len(b) < at+8+int(b[at+1])*8 {
			break
		}
		kind := next
		next, where = b[at], at
		at += 8 + int(b[where+1])*8
		if kind != wire.ProtoDestOptions { // those count if a routing header follows
			head, nextAt = at, where
		}
	}
	n := (mtu - head - 8) &^ 7
	if n <= 0 {
		return nil, fmt.Errorf("an MTU of %d bytes has no room for a fragment", mtu)
	}
	var out [][]byte
	for payload, off := b[head:], 0; ; off += n {
		more := len(payload) > mtu-head-8
		k := n
		if !more {
			k = len(payload)
		}
		f := append(make([]byte, 0, head+8+k), b[:head]...)
		f = append(f, b[nextAt], 0)
		word := uint16(off)
		if more {
			word |= 1
		}
		f = binary.BigEndian.AppendUint16(f, word)
		f = binary.BigEndian.AppendUint32(f, id)
		f = append(f, payload[:k]...)
		f[nextAt] = wire.ProtoFragment
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		out = append(out, f)
		if payload = payload[k:]; !more {
			return out, nil
		}
	}
}
