package probe

import (
	"encoding/binary"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// A Content is what a UDP probe says to whoever hears it. What is not the engine's own is what a service understands, and where it
// answers as the protocol has it, the answer names the probe: it is matched strictly, as an answer of most other services cannot be.
type Content uint8

const (
	OwnContent Content = iota // bytes of the engine's own, of any number

	// DNSQuery is a query for the root's name servers (RFC 1035), 17 bytes. Its id alone is the probe's own; there is no
	// token, and an id is not used again before its probe is forgotten.
	DNSQuery

	// QUICInitial is a client's first packet (RFC 9000), 1200 bytes, of a version that has servers tell which they have. Both
	// connection ids are the probe's own.
	QUICInitial
)

var contentNames = [...]string{"own", "dns", "quic"}

// String is the content's name.
func (c Content) String() string {
	if int(c) < len(contentNames) {
		return contentNames[c]
	}
	return "unknown"
}

// A layout is where a payload says whose it is, in bytes from its start; -1: nowhere.
type layout struct {
	tune, id, token, number int
	own                     int // where that ends, and all that is there of a fixed form
}

var layouts = [...]layout{
	OwnContent:  {0, idOffset, rawsock.TokenOffset, numberOffset, ownBytes},
	DNSQuery:    {0, -1, -1, -1, wire.SizeDNSQuery}, // the query's id is the word that chooses the checksum
	QUICInitial: {wire.QUICDestination, wire.QUICDestination + 2, rawsock.QUICTokenOffset, wire.QUICSource, wire.QUICSource + 8},
}

// size is how many bytes content has that is not the engine's own; 0 is any number.
func (c Content) size() int {
	switch c {
	case DNSQuery:
		return wire.SizeDNSQuery
	case QUICInitial:
		return wire.SizeQUIC
	}
	return 0
}

// appendContent appends the payload of a probe whose content is not the engine's own, but for the word that chooses the checksum.
func (c *codec) appendContent(b []byte, s *Spec, n uint32, id uint16) []byte {
	if s.Content == DNSQuery {
		return wire.AppendDNSQuery(b, 0)
	}
	var dst, src [8]byte
	binary.BigEndian.PutUint16(dst[2:], id)
	binary.BigEndian.PutUint32(dst[4:], c.token)
	binary.BigEndian.PutUint32(src[0:], n)
	binary.BigEndian.PutUint32(src[4:], c.token)
	return wire.AppendQUIC(b, dst, src, wire.SizeQUIC)
}

// said is the id that a payload of g, or what there is of one, says it has; 0 where it says none.
func (e *engine) said(g *flow, payload []byte) uint16 {
	at := layouts[g.like.Content]
	switch {
	case g.like.Content == DNSQuery && len(payload) > 2 && payload[2] != 0: // else it may end in the word, and be filled up
		return e.idBy(g, binary.BigEndian.Uint16(payload))
	case at.id >= 0 && len(payload) >= at.id+2:
		return binary.BigEndian.Uint16(payload[at.id:])
	}
	return 0
}

// idBy is the id of g's probe whose payload has that word for its checksum's sake, and nothing else of its own: checksum and word
// have one sum in all of the flow (RFC 1071). It is 0 or one that was never given where no probe can have the word.
func (e *engine) idBy(g *flow, word uint16) uint16 {
	const one = 1 // the id of some probe
	sent := e.made(g.like, 1, one, 0)
	if at := 8 + layouts[g.like.Content].tune; len(sent) >= at+2 {
		return uint16((uint32(binary.BigEndian.Uint16(sent[at:])) + one + 0xffff - uint32(word)) % 0xffff)
	}
	return 0
}

// matchContent matches what a service said on g to what it was asked there. Where known is false, that is nothing such a service says.
func (e *engine) matchContent(g *flow, payload []byte, f *found) (known bool, _ fate) {
	// What of the question it brings back, and where in that it stood. Some send back all that they get.
	at, back := 0, payload
	var id uint16
	switch g.like.Content {
	case DNSQuery:
		word, asked, ok := wire.DNSAnswer(payload)
		if !ok {
			if word, ok = wire.IsDNSQuery(payload); !ok {
				return false, rejected
			}
		} else if !asked {
			return true, f.reject(FieldWrong)
		} else {
			back = payload[:2]
		}
		id = e.idBy(g, word)
	case QUICInitial:
		dst, src, ids, ok := wire.QUICVersions(payload)
		w := readWitness(payload, QUICInitial)
		if ok {
			if !ids {
				return true, f.reject(TokenWrong)
			}
			const other = wire.QUICSource - wire.QUICDestination
			var both [other + 8]byte
			copy(both[:], dst[:])
			both[other-1] = 8
			copy(both[other:], src[:])
			at, back = wire.QUICDestination, both[:]
			w.id, w.token = binary.BigEndian.Uint16(dst[2:]), binary.BigEndian.Uint32(dst[4:])
		}
		if w.token == 0 || w.token != e.codec.token {
			if ok {
				f.miss(TokenWrong)
			}
			return ok, rejected
		}
		id = w.id
	}
	if f.serial = g.find(id); f.serial == 0 {
		return true, f.reject(IDNotInUse)
	}
	sent := e.transport(e.table.get(f.serial))
	if len(sent) < 8+at+len(back) || string(sent[8+at:][:len(back)]) != string(back) {
		return true, f.reject(TokenWrong)
	}
	f.proves = g.like.Content == QUICInitial
	return true, ours
}
