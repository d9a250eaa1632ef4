package probe

import (
	"encoding/binary"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// A Content is what a UDP probe says to whoever hears it.
type Content uint8

const (
	OwnContent  Content = iota // bytes of the engine's own, of any number
	DNSQuery                   // a query for the root's name servers (RFC 1035)
	QUICInitial                // a client's first packet (RFC 9000), of a version that has servers tell which they have
)

var contentNames = [...]string{"own", "dns", "quic"}

func (c Content) String() string {
	if int(c) < len(contentNames) {
		return contentNames[c]
	}
	return "unknown"
}

// A layout is where a payload says whose it is, in bytes from its start; -1: nowhere.
type layout struct{ tune, id, token, number int }

var layouts = [...]layout{
	OwnContent:  {0, idOffset, rawsock.TokenOffset, numberOffset},
	DNSQuery:    {0, -1, -1, -1}, // the query's id is the word that chooses the checksum
	QUICInitial: {wire.QUICDestination, wire.QUICDestination + 2, wire.QUICDestination + 4, wire.QUICSource},
}

// identity is how much of a payload's beginning has all of that, whatever the content.
const identity = wire.QUICSource + 4

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
	dst, src := c.connection(n, id)
	return wire.AppendQUIC(b, dst, src, wire.SizeQUIC)
}

// connection are the connection ids of a QUIC probe.
func (c *codec) connection(n uint32, id uint16) (dst, src [8]byte) {
	binary.BigEndian.PutUint16(dst[2:], id)
	binary.BigEndian.PutUint32(dst[4:], c.token)
	binary.BigEndian.PutUint32(src[0:], n)
	binary.BigEndian.PutUint32(src[4:], c.token)
	return dst, src
}

// matchContent matches what a service said on g to a question of that content. Where known is false it is nothing that it would say.
func (e *engine) matchContent(g *flow, payload []byte, f *found) (known bool, _ fate) {
	var w witness
	var word uint16 // the one that chose the checksum
	switch g.like.Content {
	case DNSQuery:
		id, ok := wire.DNSAnswer(payload)
		if !ok {
			return false, rejected
		}
		word = id
	case QUICInitial:
		dst, src, ok := wire.QUICVersions(payload)
		if !ok {
			return false, rejected
		}
		word = binary.BigEndian.Uint16(dst[0:])
		w = witness{binary.BigEndian.Uint16(dst[2:]), binary.BigEndian.Uint32(dst[4:]), binary.BigEndian.Uint32(src[0:])}
		if w.token != e.codec.token || binary.BigEndian.Uint32(src[4:]) != w.token {
			return true, f.reject(TokenWrong)
		}
	}
	at := 8 + layouts[g.like.Content].tune
	compared := 0
	for serial := range g.remembered() {
		r := e.table.get(serial)
		if r == nil || r.state == queued || r.state == failed || !w.agrees(r) && w.token != 0 || r.shared() {
			continue
		}
		if compared++; compared > mostCompared {
			break
		}
		if sent := e.transport(r); len(sent) >= at+2 && binary.BigEndian.Uint16(sent[at:]) == word {
			f.serial, f.proves = serial, w.number != 0
			return true, ours
		}
	}
	return true, f.reject(IDNotInUse)
}
