package probe

import (
	"encoding/binary"
	"net/netip"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// A fate is what became of one arrived message.
type fate uint8

const (
	ours      fate = iota // it answers a probe
	ambiguous             // it answers a flow; which probe is not known
	advisory              // it is about a probe, which goes on being waited for
	unmatched             // it answers nothing that was asked
	malformed             // it cannot be read
)

// A found is an answer and the probe it belongs to.
type found struct {
	serial uint64
	icmp   bool // by an ICMP error that quotes it
	o      Outcome
}

// match reads one arrived message. It is ours only if everything in it says so:
// addresses, ports, protocol, id and, where enough came back, the run's token.
func (e *engine) match(r *rawsock.Reply, f *found) fate {
	*f = found{o: Outcome{Status: Answered, From: r.From, TTL: r.TTL, Bytes: len(r.Data), Match: Strict}}
	switch r.Proto {
	case wire.ProtoICMP, wire.ProtoICMPv6:
		var m wire.ICMP
		var err error
		if r.Proto == wire.ProtoICMP {
			m, err = wire.ParseICMPv4(r.Data)
		} else {
			m, err = wire.ParseICMPv6(r.Data, r.From.WithZone(""), r.To.WithZone(""))
		}
		if err != nil {
			return malformed
		}
		f.o.Type, f.o.Code = m.Type(), m.Code()
		switch {
		case m.Type() == wire.EchoReply4 && !m.V6(), m.Type() == wire.EchoReply6 && m.V6():
			return e.matchEcho(r, m, f)
		case m.IsError():
			return e.matchError(m, f)
		}
	case wire.ProtoTCP:
		t, err := wire.ParseTCP(r.Data)
		if err != nil {
			return malformed
		}
		return e.matchTCP(r, t, f)
	case wire.ProtoUDP:
		u, err := wire.ParseUDP(r.Data)
		if err != nil {
			return malformed
		}
		return e.matchUDP(r, u, f)
	}
	return unmatched
}

// flowOf returns the flow between those ends, or nil.
func (e *engine) flowOf(p Proto, src, dst netip.AddrPort) *flow {
	for _, g := range e.table.flows[key(p, dst)] {
		if g.src.Port() == src.Port() && g.src.Addr() == src.Addr().WithZone("") {
			return g
		}
	}
	return nil
}

// matchEcho matches an echo reply, which brings the whole payload back.
func (e *engine) matchEcho(r *rawsock.Reply, m wire.ICMP, f *found) fate {
	g := e.flowOf(ICMP, netip.AddrPortFrom(r.To, m.ID()), netip.AddrPortFrom(r.From, 0))
	if g == nil {
		return unmatched
	}
	if f.serial = g.find(m.Seq()); f.serial == 0 {
		return unmatched
	}
	rec := e.table.get(f.serial)
	e.want = e.codec.appendPayload(e.want[:0], &rec.spec, rec.n, m.Seq())
	got := m.Payload()
	// The token and the number are the probe's identity; a flipped bit
	// anywhere else is a corrupted answer.
	if len(e.want) >= ownBytes && len(got) >= ownBytes &&
		string(e.want[rawsock.TokenOffset:ownBytes]) != string(got[rawsock.TokenOffset:ownBytes]) {
		return unmatched
	}
	from := 0
	if rec.spec.Dst.Port() != 0 {
		from = 2 // the tuning word; the checksum holds it
	}
	f.o.Corrupted = len(got) != len(e.want) || string(got[from:]) != string(e.want[from:])
	f.o.Answer = EchoReply
	return ours
}

// matchTCP matches an answer to a SYN: it acknowledges our sequence number and
// one more for the SYN (RFC 9293 section 3.5). The checksum is not looked at: on
// virtual links the kernel hands it over unfinished.
func (e *engine) matchTCP(r *rawsock.Reply, t wire.TCP, f *found) fate {
	g := e.flowOf(TCP, netip.AddrPortFrom(r.To, t.Dst()), netip.AddrPortFrom(r.From, t.Src()))
	if g == nil || t.Flags()&wire.ACK == 0 {
		return unmatched
	}
	seq := t.Ack() - 1
	if f.serial = g.find(uint16(seq)); f.serial == 0 || seq != e.codec.seq(uint16(seq)) {
		return unmatched
	}
	f.o.Flags = t.Flags()
	switch {
	case t.Flags()&wire.RST != 0:
		f.o.Answer = Reset
	case t.Flags()&wire.SYN != 0:
		f.o.Answer = SynAck
	default:
		return unmatched
	}
	return ours
}

// matchUDP matches a datagram that a service sent back. Unless it repeats our payload there is
// nothing in it but the ports. Then it may belong to the one probe of the flow
// that is waiting, which the algorithm must make sure of by asking again, and it belongs
// to an unknown one if several are.
func (e *engine) matchUDP(r *rawsock.Reply, u wire.UDP, f *found) fate {
	g := e.flowOf(UDP, netip.AddrPortFrom(r.To, u.Dst()), netip.AddrPortFrom(r.From, u.Src()))
	if g == nil {
		return unmatched
	}
	f.o.Answer = Datagram
	if w := readWitness(u.Payload()); w.token == e.codec.token && w.token != 0 {
		if f.serial = g.find(w.id); f.serial != 0 && w.agrees(e.table.get(f.serial)) {
			return ours
		}
	}
	for i := range g.serials.len() {
		serial := *g.serials.at(i)
		if rec := e.table.get(serial); rec.state == pending {
			if g.pending > 1 {
				f.o.Match, f.o.Spec = FlowOnly, rec.spec
				return ambiguous
			}
			f.serial, f.o.Match = serial, Alone
			return ours
		}
	}
	return unmatched
}

// A witness is what the engine's own payload bytes say, as far as they came back.
type witness struct {
	id     uint16 // 0: not there
	token  uint32 // 0: not there
	number uint32 // 0: not there
}

func readWitness(payload []byte) (w witness) {
	if len(payload) >= rawsock.TokenOffset+4 {
		w.id = binary.BigEndian.Uint16(payload[idOffset:])
		w.token = binary.BigEndian.Uint32(payload[rawsock.TokenOffset:])
	}
	if len(payload) >= ownBytes {
		w.number = binary.BigEndian.Uint32(payload[numberOffset:])
	}
	return w
}

// agrees reports whether w names r, as far as it says anything.
func (w witness) agrees(r *record) bool {
	return w.number == 0 || w.number == r.n
}

// matchError matches an ICMP error by the probe it quotes.
func (e *engine) matchError(m wire.ICMP, f *found) fate {
	q, err := m.Quote()
	if err != nil {
		return malformed
	}
	if q.Offset() != 0 || (q.Version() == 6) != m.V6() {
		return unmatched
	}
	l4 := q.Transport()
	f.o.Quoted = Quoted{
		Known: true, TTL: q.TTL(), TOS: q.TOS(), ID: q.ID(), Bytes: len(q.Header()) + len(l4),
	}
	var ok bool
	switch q.Proto() {
	case wire.ProtoUDP:
		ok = e.matchQuotedUDP(q, l4, f)
	case wire.ProtoTCP:
		ok = e.matchQuotedTCP(q, l4, f)
	case wire.ProtoICMP, wire.ProtoICMPv6:
		ok = (q.Proto() == wire.ProtoICMPv6) == m.V6() && e.matchQuotedEcho(q, m.V6(), f)
	}
	if !ok {
		return unmatched
	}
	if f.o.Match == Strict && q.Version() == 4 && e.caps.Header && q.ID() != e.idOf(f.serial) {
		f.o.Match = IDRewritten
	}
	if f.o.Answer = meaning(m); f.o.Answer == NoAnswer {
		return advisory
	}
	f.icmp, f.o.MTU = true, m.MTU()
	f.o.Labels = labels(m)
	if !e.caps.Header {
		f.o.Quoted = Quoted{} // rebuilt from what was sent: it proves nothing
	}
	return ours
}

func (e *engine) idOf(serial uint64) uint16 {
	r := e.table.get(serial)
	return idOf(r.n, r.flow.offset)
}

// candidates calls yes with every flow to where the quote was going, those from the quoted
// source first, until it returns true.
func (e *engine) candidates(p Proto, src, dst netip.AddrPort, yes func(g *flow, nat bool) bool) bool {
	flows := e.table.flows[key(p, dst)]
	for _, g := range flows {
		if g.src == src && yes(g, false) {
			return true
		}
	}
	for _, g := range flows {
		if g.src != src && yes(g, true) {
			return true
		}
	}
	return false
}

func (e *engine) matchQuotedUDP(q wire.IP, l4 []byte, f *found) bool {
	u, err := wire.ParseUDP(l4)
	if err != nil {
		return false
	}
	src := netip.AddrPortFrom(q.Src(), u.Src())
	dst := netip.AddrPortFrom(q.Dst(), u.Dst())
	f.o.Quoted.Src, f.o.Quoted.Dst, f.o.Quoted.Checksum = src, dst, u.Checksum()
	w := readWitness(u.Payload())
	if w.token != 0 && w.token != e.codec.token {
		return false // it was quoted, and it is not ours
	}
	return e.candidates(UDP, src, dst, func(g *flow, nat bool) bool {
		// A translator changes the checksum with the address and port, and not all put
		// it back in the quote.
		sum := u.Checksum()
		if nat {
			sum = untranslate(sum, src, g.src)
		}
		for _, id := range [...]uint16{u.Checksum(), sum, w.id, q.ID()} {
			serial := g.find(id)
			if serial == 0 {
				continue
			}
			rec := e.table.get(serial)
			if !w.agrees(rec) || u.Length() != 8+payloadLen(&rec.spec) {
				continue
			}
			bySum := id == u.Checksum() || id == sum
			byID := q.Version() == 4 && id == q.ID()
			byToken := w.token != 0 && w.id == id
			switch {
			case nat && (byToken || bySum && byID):
				f.o.Match = NATRewritten
			case nat:
				continue
			case bySum && (byToken || w.token == 0):
			case byToken, byID && w.token == 0:
				f.o.Match = IDRewritten // a translator or a stack left another checksum in the quote
			default:
				continue
			}
			f.serial = serial
			return true
		}
		return false
	})
}

// untranslate is what a UDP checksum was before a translator rewrote the source from was to is
// (RFC 1624).
func untranslate(sum uint16, is, was netip.AddrPort) uint16 {
	if is.Addr().BitLen() != was.Addr().BitLen() {
		return sum
	}
	t := uint64(^sum)
	add := func(a netip.AddrPort, flip uint16) {
		b := a.Addr().AsSlice()
		for ; len(b) > 0; b = b[2:] {
			t += uint64(binary.BigEndian.Uint16(b) ^ flip)
		}
		t += uint64(a.Port() ^ flip)
	}
	add(is, 0xffff) // take away
	add(was, 0)
	for t > 0xffff {
		t = t>>16 + t&0xffff
	}
	return ^uint16(t)
}

func (e *engine) matchQuotedTCP(q wire.IP, l4 []byte, f *found) bool {
	t, err := wire.ParseTCPQuote(l4)
	if err != nil {
		return false
	}
	src := netip.AddrPortFrom(q.Src(), t.Src())
	dst := netip.AddrPortFrom(q.Dst(), t.Dst())
	f.o.Quoted.Src, f.o.Quoted.Dst = src, dst
	id := uint16(t.Seq())
	if t.Seq() != e.codec.seq(id) {
		return false
	}
	return e.candidates(TCP, src, dst, func(g *flow, nat bool) bool {
		if nat {
			f.o.Match = NATRewritten // the sequence number has the token
		}
		f.serial = g.find(id)
		return f.serial != 0
	})
}

func (e *engine) matchQuotedEcho(q wire.IP, v6 bool, f *found) bool {
	l4 := q.Transport()
	if want := uint8(wire.Echo4); !v6 && l4[0] != want || v6 && l4[0] != wire.Echo6 {
		return false
	}
	sum, ident := binary.BigEndian.Uint16(l4[2:]), binary.BigEndian.Uint16(l4[4:])
	id := binary.BigEndian.Uint16(l4[6:])
	src := netip.AddrPortFrom(q.Src(), ident)
	dst := netip.AddrPortFrom(q.Dst(), 0)
	f.o.Quoted.Src, f.o.Quoted.Dst, f.o.Quoted.Checksum = src, dst, sum
	w := readWitness(l4[8:])
	if w.token != 0 && w.token != e.codec.token {
		// A pattern may stand there only in payloads too short for the token,
		// and those are too short to be read.
		return false
	}
	return e.candidates(ICMP, src, dst, func(g *flow, nat bool) bool {
		serial := g.find(id)
		if serial == 0 {
			return false
		}
		rec := e.table.get(serial)
		if !w.agrees(rec) || w.token != 0 && w.id != id {
			return false
		}
		switch {
		case nat && w.token == 0:
			return false
		case nat:
			f.o.Match = NATRewritten
		case rec.spec.Dst.Port() != 0 && sum != rec.spec.Dst.Port() && e.caps.Header:
			f.o.Match = IDRewritten
		}
		f.serial = serial
		return true
	})
}

// meaning is what an ICMP error says (RFC 792, RFC 1122 section 3.2.2, RFC 4443 section 3).
// A redirect or a source quench says nothing of the probe's fate, and its answer is
// still to come: NoAnswer, as for types unknown here.
func meaning(m wire.ICMP) Answer {
	if m.V6() {
		switch m.Type() {
		case wire.Unreachable6:
			if m.Code() == 4 {
				return PortUnreachable
			}
			return Unreachable
		case wire.PacketTooBig6:
			return TooBig
		case wire.TimeExceeded6:
			if m.Code() == 0 {
				return TimeExceeded
			}
			return ReassemblyExceeded
		case wire.ParameterProblem6:
			if m.Code() == 1 {
				return ProtocolUnreachable
			}
			return ParameterProblem
		}
		return NoAnswer
	}
	switch m.Type() {
	case wire.Unreachable4:
		switch m.Code() {
		case 2:
			return ProtocolUnreachable
		case 3:
			return PortUnreachable
		case 4:
			return TooBig
		}
		return Unreachable
	case wire.TimeExceeded4:
		if m.Code() == 0 {
			return TimeExceeded
		}
		return ReassemblyExceeded
	case wire.ParameterProblem4:
		return ParameterProblem
	}
	return NoAnswer
}

// labels are the MPLS label stack entries an error carries (RFC 4950: class 1, type 1).
func labels(m wire.ICMP) (ls []Label) {
	objects := m.Objects()
	for {
		o, ok := objects.Next()
		if !ok {
			return ls
		}
		if o.Class != 1 || o.Type != 1 {
			continue
		}
		for i := 0; ; i++ {
			l, ok := o.LSE(i)
			if !ok {
				break
			}
			ls = append(ls, Label{Value: l.Label(), TC: l.TC(), Bottom: l.Bottom(), TTL: l.TTL()})
		}
	}
}
