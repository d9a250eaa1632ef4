package probe

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// A fate is what became of one arrived message.
type fate uint8

const (
	ours      fate = iota // it answers a probe
	ambiguous             // it answers a flow; which probe is not known
	advisory              // it is about a probe, which goes on being waited for
	rejected              // it is no answer: found.why
)

// A found is an answer and the probe it belongs to.
type found struct {
	serial uint64
	icmp   bool   // by an ICMP error that quotes it
	proves bool   // it shows the probe's number
	why    Reason // where it is rejected
	o      Outcome
}

// reject is the fate of what is no answer, for that reason or for one that was found before and says more.
func (f *found) reject(why Reason) fate {
	f.miss(why)
	return rejected
}

// miss notes why it is not some probe's answer, if it is no other's either.
func (f *found) miss(why Reason) { f.why = max(f.why, why) }

// match reads one arrived message. It is ours only if everything in it says so:
// addresses, ports, protocol, id and, where enough came back, the run's token.
func (e *engine) match(r *rawsock.Reply, f *found) fate {
	*f = found{o: Outcome{Status: Answered, From: r.From, TTL: r.TTL, TOS: r.TOS, Bytes: len(r.Data), Match: Strict}}
	fate := e.matchMessage(r, f)
	if len(r.Options) > 0 && !f.icmp && (fate == ours || fate == ambiguous) {
		f.o.Options = slices.Clone(r.Options)
	}
	return fate
}

func (e *engine) matchMessage(r *rawsock.Reply, f *found) fate {
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
			return f.reject(unreadable(err))
		}
		f.o.Type, f.o.Code = m.Type(), m.Code()
		switch {
		case m.Type() == wire.EchoReply4 && !m.V6(), m.Type() == wire.EchoReply6 && m.V6():
			return e.matchEcho(r, m, f)
		case m.IsError():
			return e.matchError(m, f)
		}
		return e.matchQuery(r, m, f)
	case wire.ProtoTCP:
		t, err := wire.ParseTCP(r.Data)
		if err != nil {
			return f.reject(unreadable(err))
		}
		return e.matchTCP(r, t, f)
	case wire.ProtoUDP, wire.ProtoUDPLite:
		u, err := wire.ParseUDP(r.Data)
		if err != nil {
			return f.reject(unreadable(err))
		}
		p, payload := UDP, u.Payload()
		if r.Proto == wire.ProtoUDPLite {
			p, payload = UDPLite, r.Data[8:] // its length field is another
		}
		f.o.Answer = Datagram
		g := e.flowOf(f, p, 0, netip.AddrPortFrom(r.To, u.Dst()), netip.AddrPortFrom(r.From, u.Src()))
		return e.matchService(g, payload, f)
	case wire.ProtoDCCP:
		d, err := wire.ParseDCCP(r.Data)
		if err != nil {
			return f.reject(unreadable(err))
		}
		return e.matchDCCP(r, d, f)
	default:
		f.o.Answer = RawReply
		g := e.flowOf(f, Raw, r.Proto, netip.AddrPortFrom(r.To, 0), netip.AddrPortFrom(r.From, 0))
		return e.matchService(g, r.Data, f)
	}
}

// flowOf returns the flow between those ends, or nil, and then says in f why. Whoever answers a flow to any is the other end.
func (e *engine) flowOf(f *found, p Proto, number uint8, src, dst netip.AddrPort) *flow {
	src = withoutZone(src)
	k := key(p, number, dst)
	for _, g := range e.table.flows[k] {
		if g.src == src {
			return g
		}
	}
	for _, g := range e.table.any {
		if g.src == src && g.peer.proto == p && g.peer.number == k.number && g.peer.dst.Port() == k.dst.Port() {
			return g
		}
	}
	f.miss(PeerNotAsked)
	if len(e.table.flows[k]) > 0 {
		f.miss(PortNotOurs)
	}
	return nil
}

// matchEcho matches an echo reply, which brings the whole payload back.
func (e *engine) matchEcho(r *rawsock.Reply, m wire.ICMP, f *found) fate {
	g := e.flowOf(f, ICMP, 0, netip.AddrPortFrom(r.To, m.ID()), netip.AddrPortFrom(r.From, 0))
	if g == nil {
		return rejected
	}
	if f.serial = g.find(m.Seq()); f.serial == 0 {
		return f.reject(IDNotInUse)
	}
	rec := e.table.get(f.serial)
	e.want = e.codec.appendPayload(e.want[:0], rec.like, rec.n, m.Seq())
	got := m.Payload()
	// The token and the number are the probe's identity; a flipped bit
	// anywhere else is a corrupted answer.
	f.proves = len(e.want) >= ownBytes && len(got) >= ownBytes
	own := ownBytes // of it, how much is the probe's identity
	switch {
	case len(e.want) < numberOffset:
		own = 0
	case len(e.want) < ownBytes:
		own = numberOffset
	}
	back := min(own, len(got))
	switch {
	case own > 0 && back < numberOffset: // cut so short that anybody could have sent it
		return f.reject(TokenWrong)
	case own > 0 && string(e.want[rawsock.TokenOffset:back]) != string(got[rawsock.TokenOffset:back]):
		return f.reject(TokenWrong)
	case !f.proves && rec.shared():
		return f.reject(TokenWrong)
	}
	from := 0
	if rec.like.Dst.Port() != 0 {
		from = 2 // the tuning word; the checksum holds it
	}
	if len(got) != len(e.want) || string(got[from:]) != string(e.want[from:]) {
		f.o.Corrupted, f.o.Payload = true, slices.Clone(got)
		for f.o.Wrong = from; f.o.Wrong < min(len(got), len(e.want)) && got[f.o.Wrong] == e.want[f.o.Wrong]; {
			f.o.Wrong++
		}
	}
	f.o.Answer = EchoReply
	return ours
}

// matchQuery matches an answer to an ICMP query other than echo, of which only as much comes back as the kind has room for.
func (e *engine) matchQuery(r *rawsock.Reply, m wire.ICMP, f *found) fate {
	var p Proto
	id, ident := m.Seq(), m.ID()
	switch {
	case !m.V6() && m.Type() == wire.TimestampReply4:
		p, f.o.Answer = Timestamp, TimestampReply
	case !m.V6() && m.Type() == wire.MaskReply4:
		p, f.o.Answer = Mask, MaskReply
	case !m.V6() && m.Type() == wire.ExtEchoReply4, m.V6() && m.Type() == wire.ExtEchoReply6:
		p, f.o.Answer = ExtEcho, ExtEchoReply
		id, f.o.State = uint16(m.ExtSeq()), m.State()
	case m.V6() && m.Type() == wire.NodeReply6:
		_, _, nonce, _, ok := m.Node()
		if !ok {
			return f.reject(ShortMessage)
		}
		p, f.o.Answer = NodeInfo, NodeReply
		id, ident = uint16(nonce), uint16(nonce>>48)
	default:
		if asks(m) {
			return f.reject(OwnKind)
		}
		return f.reject(KindNotAsked)
	}
	g := e.flowOf(f, p, 0, netip.AddrPortFrom(r.To, ident), netip.AddrPortFrom(r.From, 0))
	if g == nil {
		return rejected
	}
	if f.serial = g.find(id); f.serial == 0 {
		return f.reject(IDNotInUse)
	}
	rec, ok := e.table.get(f.serial), false
	switch p {
	case Timestamp:
		var t wire.Times
		if t, ok = m.Times(); !ok {
			return f.reject(ShortMessage)
		}
		if t.Originate != rec.said {
			return f.reject(FieldWrong) // it answers another's question, or another round of ids
		}
		f.o.Times = Times(t)
	case Mask:
		if f.o.Mask, ok = m.Mask(); !ok {
			return f.reject(ShortMessage)
		}
	case NodeInfo:
		qtype, flags, nonce, data, _ := m.Node()
		switch {
		case nonce != e.sentNonce(rec):
			return f.reject(TokenWrong)
		case qtype != rec.like.Query.Type:
			return f.reject(FieldWrong)
		}
		f.o.State, f.o.Payload = uint8(flags), slices.Clone(data)
	}
	return ours
}

// asks reports whether m is one of the requests that probes are made of.
func asks(m wire.ICMP) bool {
	switch m.Type() {
	case wire.Echo4, wire.Timestamp4, wire.Mask4, wire.ExtEcho4:
		return !m.V6()
	case wire.Echo6, wire.NodeQuery6, wire.ExtEcho6:
		return m.V6()
	}
	return false
}

// transport is a probe as it left, from its transport header on. It is valid until the next call.
func (e *engine) transport(r *record) []byte {
	return e.made(r.like, r.n, r.id(), r.said)
}

// made is a flow's n-th probe of that spec, from its transport header on. It is valid until the next call.
func (e *engine) made(s *Spec, n uint32, id uint16, at uint32) []byte {
	var err error
	if e.want, err = e.codec.appendPacket(e.want[:0], s, n, id, at); err != nil {
		return nil // it could not have been sent
	}
	return e.want[ipHeader(s.Dst.Addr().Is6())+len(s.Options):]
}

// sentNonce is the nonce of a node information query, the word that its checksum chose included.
func (e *engine) sentNonce(r *record) uint64 { return binary.BigEndian.Uint64(e.transport(r)[8:]) }

// sentSeq is the sequence number of a DCCP probe, the word that its checksum chose included.
func (e *engine) sentSeq(r *record) uint64 {
	d, err := wire.ParseDCCP(e.transport(r))
	if err != nil {
		return 0
	}
	seq, _ := d.Seq()
	return seq
}

// matchDCCP matches an answer to a DCCP Request: a Response or a Reset, which acknowledges exactly its sequence number
// (RFC 4340 sections 8.1.3 and 8.3.1). The checksum is not looked at, as for TCP.
func (e *engine) matchDCCP(r *rawsock.Reply, d wire.DCCP, f *found) fate {
	g := e.flowOf(f, DCCP, 0, netip.AddrPortFrom(r.To, d.Dst()), netip.AddrPortFrom(r.From, d.Src()))
	switch {
	case g == nil:
		return rejected
	case d.Type() == wire.DCCPRequest:
		return f.reject(OwnKind)
	}
	if f.serial = g.find(uint16(d.Ack())); f.serial == 0 || d.Ack() != e.sentSeq(e.table.get(f.serial)) {
		return f.reject(AckWrong)
	}
	f.o.Answer, f.o.State = RawReply, d.Type()
	return ours
}

// length is how much of the sequence space those flags of a segment take (RFC 9293 section 3.4).
func length(flags uint8) (n uint32) {
	if flags&wire.SYN != 0 {
		n++
	}
	if flags&wire.FIN != 0 {
		n++
	}
	return n
}

// matchTCP matches an answer to a segment: it acknowledges our sequence number and
// what the segment takes of the sequence space, one for a SYN and one for a FIN, or, a reset
// of a segment that has an acknowledgement, it takes that for its own sequence number
// (RFC 9293 sections 3.5.2 and 3.10.7). What acknowledges a payload must do both: by itself its acknowledgement could be of
// probes of other sizes as well. The checksum is not looked at: on virtual links the kernel hands it over unfinished.
func (e *engine) matchTCP(r *rawsock.Reply, t wire.TCP, f *found) fate {
	g := e.flowOf(f, TCP, 0, netip.AddrPortFrom(r.To, t.Dst()), netip.AddrPortFrom(r.From, t.Src()))
	if g == nil {
		return rejected
	}
	f.o.Flags = t.Flags()
	reset, syn, ack := t.Flags()&wire.RST != 0, t.Flags()&wire.SYN != 0, t.Flags()&wire.ACK != 0
	// segment finds the probe with that sequence number, the flags it left with and how much it carried.
	segment := func(seq uint32) (serial uint64, flags uint8, carried uint32) {
		if serial = g.find(uint16(seq)); serial == 0 || seq != e.codec.seq(uint16(seq)) {
			return 0, 0, 0
		}
		like := e.table.get(serial).like
		return serial, flagsOf(&like.Segment), uint32(payloadLen(like))
	}
	switch {
	case !ack:
		if !reset || syn {
			return f.reject(KindNotAsked)
		}
		serial, flags, _ := segment(t.Seq())
		if serial == 0 || flags&wire.ACK == 0 {
			return f.reject(AckWrong)
		}
		f.serial, f.o.Answer = serial, Reset
		return ours
	case syn && !reset:
		// It opens a connection, whatever else the segment wanted.
		serial, flags, _ := segment(t.Ack() - 1)
		if serial == 0 || flags&wire.SYN == 0 {
			return f.reject(AckWrong)
		}
		f.serial, f.o.Answer = serial, SynAck
		return ours
	}
	answers := func(serial uint64, flags uint8) bool {
		switch {
		case reset:
			f.o.Answer = Reset
		case flags != wire.SYN:
			f.o.Answer = SegmentReply
		default:
			return false
		}
		f.serial = serial
		return true
	}
	if serial, flags, carried := segment(t.Seq()); carried > 0 && t.Ack() == t.Seq()+carried+length(flags) && answers(serial, flags) {
		return ours
	}
	for n := range uint32(3) {
		if serial, flags, carried := segment(t.Ack() - n); serial != 0 && carried == 0 && length(flags) == n && answers(serial, flags) {
			return ours
		}
	}
	return f.reject(AckWrong)
}

// matchService matches what a service sent back on a flow: a datagram, or a packet of a protocol without a header known here. Unless it repeats our payload there is
// nothing in it but the addresses and ports. Then it may belong to the one probe of the flow
// that is waiting, which the algorithm must make sure of by asking again, and it belongs
// to an unknown one if several are.
func (e *engine) matchService(g *flow, payload []byte, f *found) fate {
	if g == nil {
		return rejected
	}
	if g.like.Content != OwnContent {
		if known, fate := e.matchContent(g, payload, f); known {
			return fate
		}
	} else if w := readWitness(payload, OwnContent); w.token == e.codec.token && w.token != 0 {
		if f.serial = g.find(w.id); f.serial == 0 || !w.agrees(e.table.get(f.serial)) {
			return f.reject(IDNotInUse) // it answers a probe that is forgotten, and no other
		}
		f.proves = w.number != 0
		return ours
	}
	if serial := e.table.oldest(g); serial != 0 {
		if g.pending > 1 {
			f.o.Match, f.o.Spec = FlowOnly, e.table.get(serial).spec()
			return ambiguous
		}
		f.serial, f.o.Match = serial, Alone
		return ours
	}
	// Of those who answer a probe to all, the first is its answer, and the others answer it too.
	if serial := g.newest(); serial != 0 {
		if rec := e.table.get(serial); rec.like.Any && rec.state == answered {
			f.serial, f.o.Match = serial, Alone
			return ours
		}
	}
	return f.reject(NothingWaits)
}

// A witness is what the engine's own payload bytes say, as far as they came back.
type witness struct {
	id     uint16 // 0: not there
	token  uint32 // 0: not there
	number uint32 // 0: not there
}

func readWitness(payload []byte, c Content) (w witness) {
	at := layouts[c]
	if at.token >= 0 && len(payload) >= at.token+4 {
		w.id = binary.BigEndian.Uint16(payload[at.id:])
		w.token = binary.BigEndian.Uint32(payload[at.token:])
	}
	if at.number >= 0 && len(payload) >= at.number+4 {
		w.number = binary.BigEndian.Uint32(payload[at.number:])
	}
	return w
}

// agrees reports whether w names r, as far as it says anything, and enough where r's id alone does not.
func (w witness) agrees(r *record) bool {
	return w.number == r.n || w.number == 0 && !r.shared()
}

// matchError matches an ICMP error by the probe it quotes.
func (e *engine) matchError(m wire.ICMP, f *found) fate {
	q, err := m.Quote()
	switch {
	case err != nil:
		return f.reject(unreadable(err))
	case (q.Version() == 6) != m.V6():
		return f.reject(ProtocolNotOne)
	case q.Offset() != 0:
		return f.reject(LaterFragment)
	}
	l4 := q.Transport()
	f.o.Quoted = Quoted{
		Known: true, TTL: q.TTL(), TOS: q.TOS(), ID: q.ID(), Bytes: len(q.Header()) + len(l4),
	}
	f.miss(ProtocolNotOne)
	var ok bool
	switch q.Proto() {
	case wire.ProtoUDP:
		ok = e.matchQuotedUDP(UDP, q, l4, f)
	case wire.ProtoUDPLite:
		ok = e.matchQuotedUDP(UDPLite, q, l4, f)
	case wire.ProtoTCP:
		ok = e.matchQuotedTCP(q, l4, f)
	case wire.ProtoDCCP:
		ok = e.matchQuotedDCCP(q, l4, f)
	case wire.ProtoICMP, wire.ProtoICMPv6:
		ok = (q.Proto() == wire.ProtoICMPv6) == m.V6() && e.matchQuotedICMP(q, m.V6(), f)
	}
	if !ok && !e.matchQuotedRaw(q, l4, f) { // which may be of any protocol
		return rejected
	}
	rec := e.table.get(f.serial) // nil: FlowOnly
	if e.caps.Header {
		if f.o.Match == Strict && q.Version() == 4 && q.ID() != rec.id() {
			f.o.Match = IDRewritten
		}
		e.compare(rec, q, l4, &f.o.Quoted)
	}
	f.icmp = true
	f.o.MTU, f.o.Pointer, f.o.Gateway = m.MTU(), int(m.Pointer()), m.Gateway()
	if m.Extensions() != wire.NoExtensions {
		f.o.Labels, f.o.Objects = extensions(m)
	}
	f.o.Answer = meaning(m)
	if !e.caps.Header {
		f.o.Quoted = Quoted{} // rebuilt from what was sent: it proves nothing
	}
	spec := &f.o.Spec
	if rec != nil {
		spec = rec.like
	}
	switch {
	case f.o.Answer == NoAnswer && rec == nil:
		return f.reject(KindNotAsked)
	case f.o.Answer == NoAnswer:
		return advisory
	case f.o.Answer.Terminal() && spec.Via.IsValid() && q.Dst() != spec.Dst.Addr().WithZone(""):
		f.o.Answer = Unreachable // a gateway of the source route refused it
	}
	if rec == nil {
		return ambiguous
	}
	return ours
}

// candidates calls yes with every flow to where the quote was going, those from the quoted
// source first, until it returns true. Where it does not, f says why, unless yes knows better.
func (e *engine) candidates(f *found, p Proto, number uint8, src, dst netip.AddrPort, yes func(g *flow, nat bool) bool) bool {
	k := key(p, number, dst)
	flows, routed := e.table.flows[k], e.table.routed[k]
	for _, nat := range [...]bool{false, true} {
		for _, g := range flows {
			if (g.src != src) == nat && yes(g, nat) {
				return true
			}
		}
		for _, g := range routed {
			if (g.src != src) == nat && yes(g, nat) {
				return true
			}
		}
	}
	if p == Raw && len(flows)+len(routed) == 0 {
		return false // every quote is tried as one of these too
	}
	f.miss(PeerNotAsked)
	if len(flows)+len(routed) > 0 {
		f.miss(IDNotInUse)
	}
	return false
}

// strange says in f why a quote without our token is not ours: nobody went there, or it is another's or a forgery.
func (e *engine) strange(f *found, p Proto, number uint8, dst netip.AddrPort) bool {
	return e.candidates(f, p, number, netip.AddrPort{}, dst, func(*flow, bool) bool {
		f.miss(TokenWrong)
		return false
	})
}

// quotedTo returns g's probe with that id, nil where there is none or where it never had that
// destination: on a source route it has one after the other.
func (e *engine) quotedTo(g *flow, id uint16, dst netip.Addr) (uint64, *record) {
	serial := g.find(id)
	if serial == 0 {
		return 0, nil
	}
	r := e.table.get(serial)
	if !heads(g, r, dst) {
		return 0, nil
	}
	return serial, r
}

// heads reports whether r, of g, is addressed to dst somewhere on its way.
func heads(g *flow, r *record, dst netip.Addr) bool {
	if g.peer.dst.Addr() == dst {
		return true
	}
	for a := range stops(r.like) {
		if a == dst {
			return true
		}
	}
	return false
}

func (e *engine) matchQuotedUDP(p Proto, q wire.IP, l4 []byte, f *found) bool {
	u, err := wire.ParseUDP(l4)
	if err != nil {
		return false
	}
	src := netip.AddrPortFrom(q.Src(), u.Src())
	dst := netip.AddrPortFrom(q.Dst(), u.Dst())
	f.o.Quoted.Src, f.o.Quoted.Dst, f.o.Quoted.Checksum = src, dst, u.Checksum()
	payload := u.Payload()
	if p == UDPLite {
		payload = l4[8:] // its length field is another
	}
	if !e.caps.Header {
		return e.matchPayload(p, src, dst, u.Checksum(), payload, f)
	}
	foreign := false // a token was quoted, and it is not ours
	return e.candidates(f, p, 0, src, dst, func(g *flow, nat bool) bool {
		w := readWitness(payload, g.like.Content)
		if w.token != 0 && w.token != e.codec.token {
			foreign = true
			f.miss(TokenWrong)
			return false
		}
		// What services are asked has a form to be held to where no token is quoted, and an id of its own.
		formal, said := g.like.Content != OwnContent && w.token == 0, w.id
		if formal {
			said = e.said(g, payload)
		}
		// A translator changes the checksum with the address and port, and not all put
		// it back in the quote.
		sum := u.Checksum()
		if nat {
			sum = untranslate(sum, src, g.src)
		}
		torn := false // the checksum says one probe and the payload another
		for _, id := range [...]uint16{u.Checksum(), sum, said, q.ID()} {
			serial, rec := e.quotedTo(g, id, q.Dst())
			switch {
			case serial == 0:
				continue
			case !w.agrees(rec):
				f.miss(TokenWrong)
				continue
			case u.Length() != covered(rec.like):
				f.miss(FieldWrong)
				continue
			case formal && !e.begins(rec, payload):
				f.miss(FieldWrong)
				torn = true
				continue
			}
			bySum := id == u.Checksum() || id == sum
			byID := q.Version() == 4 && id == q.ID()
			byToken := w.token != 0 && w.id == id
			switch {
			case nat && (byToken || bySum && byID):
				f.o.Match = NATRewritten
			case nat:
				f.miss(SourceWrong)
				continue
			case bySum && (byToken || w.token == 0):
			case byToken, byID && w.token == 0, formal && id == said && !torn:
				f.o.Match = IDRewritten // a translator or a stack left another checksum in the quote
			default:
				continue
			}
			f.serial, f.proves = serial, w.number != 0
			return true
		}
		return false
	}) || !foreign && e.readdressed(p, q, l4, q.ID(), f)
}

// mostCompared is with how many probes a quote too short to have an id is compared; it may be of any beyond.
const mostCompared = 256

// matchPayload matches a quote to a connection that sees no more of it than addresses, ports and payload; the rest is
// rebuilt. Of the payload there may be nothing: RFC 792 asks for 8 bytes, and those are the UDP header. The flow is ours in any
// case, as the quote came to our socket. Where what there is fits one probe alone, of all that are remembered, it is that
// one's. Else it may be the one's that is waited for alone, as with a service's answer, and where several are nobody knows.
func (e *engine) matchPayload(p Proto, src, dst netip.AddrPort, sum uint16, got []byte, f *found) bool {
	return e.candidates(f, p, 0, src, dst, func(g *flow, nat bool) bool {
		if nat {
			return false
		}
		w := readWitness(got, g.like.Content)
		var fits, waits, losses int
		var one uint64 // of those that fit: one that is waited for, else a lost one, else any
		compared := 0
		consider := func(serial uint64) {
			r := e.table.get(serial)
			if r == nil || r.state == queued || r.state == failed || !heads(g, r, dst.Addr()) {
				return
			}
			// To compare, the probe is made anew, which nobody else is to have done for all of thousands.
			if compared++; compared <= mostCompared && !e.begins(r, got) {
				f.miss(TokenWrong)
				return
			}
			fits++
			switch {
			case r.shared() && w.number != r.n: // or the one's whose id it has now: nobody knows
				fits++
				losses++
				if one == 0 {
					one = serial
				}
			case r.state == pending:
				waits++
				one = serial
			case r.state == lost && waits == 0:
				losses++
				one = serial
			case fits == 1:
				one = serial
			}
		}
		id := e.said(g, got)
		if r := e.table.get(g.find(sum)); id == 0 && r != nil && payloadLen(r.like) == len(got) {
			id = sum // of a whole payload it is what it was
		}
		if id != 0 {
			consider(g.find(id))
		} else {
			for serial := range g.remembered() {
				if consider(serial); waits >= 2 || fits >= 2 && waits == g.pending && waits+losses > 0 {
					break
				}
			}
		}
		switch {
		case fits == 1:
			f.serial, f.o.Match, f.proves = one, Strict, w.number != 0 && w.number == e.table.get(one).n
		case waits == 1:
			f.serial, f.o.Match = one, Alone
		case waits > 1, losses > 0:
			f.o.Match, f.o.Spec = FlowOnly, e.table.get(one).spec()
		default: // nothing, or a copy of one of several answers
			return false
		}
		return true
	})
}

// begins reports whether got may be how a router quoted r's payload: its beginning, and behind that the zeros that short
// quotes are filled up with before extensions (RFC 4884 section 5.1).
func (e *engine) begins(r *record, got []byte) bool {
	if len(got) == 0 {
		return true
	}
	sent := e.transport(r)
	if len(sent) < 8 {
		return false
	}
	sent = sent[8:min(len(sent), 8+layouts[r.like.Content].own)]
	got = got[:min(len(got), len(sent))]
	for i := range got {
		if got[i] != sent[i] {
			return len(bytes.Trim(got[i:], "\x00")) == 0
		}
	}
	return true
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
		return e.resequenced(q, l4, src, dst, f) || e.strange(f, TCP, 0, dst)
	}
	return e.candidates(f, TCP, 0, src, dst, func(g *flow, nat bool) bool {
		f.o.Match = Strict
		if nat {
			f.o.Match = NATRewritten // the sequence number has the token
		}
		f.serial, _ = e.quotedTo(g, id, q.Dst())
		return f.serial != 0
	}) || e.readdressed(TCP, q, l4, id, f)
}

// resequenced matches a quote of a segment whose sequence number a firewall replaced. What else is ours alone in it is the
// timestamp, which has the token too; the checksum must fit what the number was replaced by.
func (e *engine) resequenced(q wire.IP, l4 []byte, src, dst netip.AddrPort, f *found) bool {
	t, err := wire.ParseTCP(l4)
	if err != nil {
		return false
	}
	o := wire.ParseTCPOptions(t.Options())
	n := o.TSval - e.codec.token
	if !o.Timestamps || n == 0 {
		return false
	}
	return e.candidates(f, TCP, 0, src, dst, func(g *flow, nat bool) bool {
		serial, rec := e.quotedTo(g, idOf(n, g.offset, g.space), q.Dst())
		if nat || serial == 0 || rec.n != n || q.Version() == 4 && q.ID() != rec.id() ||
			!t.Header().Valid(q.Src(), q.Dst()) {
			return false
		}
		f.serial, f.o.Match = serial, IDRewritten
		return true
	})
}

// mostReaddressed is among how many destinations at most it is looked for whose quote it is that says another: each one's
// probe with that id is made anew.
const mostReaddressed = 256

// readdressed matches a quote of a probe on its way to another destination than it was sent to, as behind a translator that keeps no
// state: everything else is as it was sent, and the checksum is what such a rewriting makes of it. It must fit one probe alone.
func (e *engine) readdressed(p Proto, q wire.IP, l4 []byte, id uint16, f *found) bool {
	if !e.caps.Header || len(e.table.flows) > mostReaddressed {
		return false
	}
	var one uint64
	there := key(p, q.Proto(), f.o.Quoted.Dst)
	for k, flows := range e.table.flows {
		if k.proto != p || k.number != there.number || k.dst.Addr().Is6() != (q.Version() == 6) || k == there {
			continue
		}
		for _, g := range flows {
			if g.src != f.o.Quoted.Src {
				continue
			}
			is := id
			if p == UDP || p == UDPLite {
				is = cmp.Or(e.said(g, l4[8:]), id)
			}
			serial := g.find(is)
			if serial == 0 || !e.fits(e.table.get(serial), q, l4, f) {
				continue
			}
			if one != 0 {
				return false
			}
			one = serial
		}
	}
	if one == 0 {
		return false
	}
	f.serial, f.o.Match = one, NATRewritten
	return true
}

// fits reports whether q is r on its way to another destination.
func (e *engine) fits(r *record, q wire.IP, l4 []byte, f *found) bool {
	sent := e.transport(r)
	if len(sent) < 8 || r.like.Via.IsValid() || q.Version() == 4 && q.ID() != r.id() ||
		len(q.Header()) != ipHeader(q.Version() == 6)+len(r.like.Options) {
		return false
	}
	got, sum := uncut(l4, sent), sumAt(r.like.Proto)
	if r.shared() && len(got) < 8+layouts[r.like.Content].own {
		return false // it may be of whoever had the id before
	}
	port := r.like.Proto != Raw && !r.like.Proto.IsICMP()
	for i := range got {
		rewritten := sum >= 0 && (i == sum || i == sum+1) || port && (i == 2 || i == 3)
		if got[i] != sent[i] && !rewritten {
			return false
		}
	}
	if sum < 0 || len(got) < sum+2 {
		return q.Version() == 4 && q.Sound()
	}
	is, was := binary.BigEndian.Uint16(got[sum:]), binary.BigEndian.Uint16(sent[sum:])
	switch {
	case port:
		return was == untranslate(is, f.o.Quoted.Dst, r.like.Dst)
	case q.Version() == 6:
		return was == untranslate(is, f.o.Quoted.Dst, netip.AddrPortFrom(r.like.Dst.Addr(), 0))
	}
	return is == was && q.Sound() // no checksum but the header's covers the address
}

// matchQuotedDCCP matches a quote of which the checksum is always there, and the sequence number if 16 bytes are.
func (e *engine) matchQuotedDCCP(q wire.IP, l4 []byte, f *found) bool {
	d, err := wire.ParseDCCPQuote(l4)
	if err != nil {
		return false
	}
	src := netip.AddrPortFrom(q.Src(), d.Src())
	dst := netip.AddrPortFrom(q.Dst(), d.Dst())
	f.o.Quoted.Src, f.o.Quoted.Dst, f.o.Quoted.Checksum = src, dst, d.Checksum()
	seq, quoted := d.Seq()
	return e.candidates(f, DCCP, 0, src, dst, func(g *flow, nat bool) bool {
		sum := d.Checksum()
		if nat {
			sum = untranslate(sum, src, g.src)
		}
		for _, id := range [...]uint16{d.Checksum(), sum, uint16(seq), q.ID()} {
			serial, rec := e.quotedTo(g, id, q.Dst())
			switch {
			case serial == 0:
				continue
			case quoted && seq != e.sentSeq(rec):
				f.miss(TokenWrong)
				continue
			case quoted && d.Type() != wire.DCCPRequest:
				f.miss(FieldWrong)
				continue
			}
			bySum := id == d.Checksum() || id == sum
			byID := q.Version() == 4 && id == q.ID()
			switch {
			case nat && !quoted && !(bySum && byID):
				f.miss(SourceWrong)
				continue
			case nat:
				f.o.Match = NATRewritten
			case !bySum && !quoted && !byID:
				continue
			case !bySum:
				f.o.Match = IDRewritten
			}
			f.serial = serial
			return true
		}
		return false
	}) || e.readdressed(DCCP, q, l4, q.ID(), f)
}

// matchQuotedRaw matches a quote by the first bytes of the payload, which have both the id and the token.
func (e *engine) matchQuotedRaw(q wire.IP, l4 []byte, f *found) bool {
	src, dst := netip.AddrPortFrom(q.Src(), 0), netip.AddrPortFrom(q.Dst(), 0)
	f.o.Quoted.Src, f.o.Quoted.Dst = src, dst
	w := readWitness(l4, OwnContent)
	if w.token == 0 || w.token != e.codec.token {
		return e.strange(f, Raw, q.Proto(), dst)
	}
	return e.candidates(f, Raw, q.Proto(), src, dst, func(g *flow, nat bool) bool {
		serial, rec := e.quotedTo(g, w.id, q.Dst())
		if serial == 0 {
			return false
		}
		if !w.agrees(rec) {
			f.miss(TokenWrong)
			return false
		}
		if nat {
			f.o.Match = NATRewritten
		}
		f.serial, f.proves = serial, w.number != 0
		return true
	}) || e.readdressed(Raw, q, l4, w.id, f)
}

// matchQuotedICMP matches a quoted request by its type, its identifier and its sequence number, or, as node information
// has neither, by its checksum.
func (e *engine) matchQuotedICMP(q wire.IP, v6 bool, f *found) bool {
	l4 := q.Transport()
	sum, ident := binary.BigEndian.Uint16(l4[2:]), binary.BigEndian.Uint16(l4[4:])
	id := binary.BigEndian.Uint16(l4[6:])
	var p Proto
	switch typ := l4[0]; {
	case !v6 && typ == wire.Echo4, v6 && typ == wire.Echo6:
		p = ICMP
	case !v6 && typ == wire.Timestamp4:
		p = Timestamp
	case !v6 && typ == wire.Mask4:
		p = Mask
	case !v6 && typ == wire.ExtEcho4, v6 && typ == wire.ExtEcho6:
		p, id = ExtEcho, uint16(l4[6])
	case v6 && typ == wire.NodeQuery6:
		return e.matchQuotedNode(q, l4, f)
	default:
		return false
	}
	src := netip.AddrPortFrom(q.Src(), ident)
	dst := netip.AddrPortFrom(q.Dst(), 0)
	f.o.Quoted.Src, f.o.Quoted.Dst, f.o.Quoted.Checksum = src, dst, sum
	var w witness
	if p == ICMP {
		if w = readWitness(l4[8:], OwnContent); w.token != 0 && w.token != e.codec.token {
			// A pattern may stand there only in payloads too short for the token,
			// and those are too short to be read.
			return e.strange(f, p, 0, dst)
		}
	}
	return e.candidates(f, p, 0, src, dst, func(g *flow, nat bool) bool {
		serial, rec := e.quotedTo(g, id, q.Dst())
		switch {
		case serial == 0:
			return false
		case !w.agrees(rec) || w.token != 0 && w.id != id:
			f.miss(TokenWrong)
			return false
		case l4[1] != 0:
			f.miss(FieldWrong)
			return false
		}
		switch {
		case nat && w.token == 0: // nothing in the other kinds is hard to guess
			f.miss(SourceWrong)
			return false
		case nat:
			f.o.Match = NATRewritten
		case p == ICMP && rec.like.Dst.Port() != 0 && sum != rec.like.Dst.Port() && e.caps.Header:
			f.o.Match = IDRewritten
		case p != ICMP && !e.quotesRest(rec, l4):
			f.miss(FieldWrong)
			return false
		}
		f.serial, f.proves = serial, w.number != 0
		return true
	}) || w.token != 0 && e.readdressed(p, q, l4, id, f)
}

// quotesRest reports whether what is quoted of a request is what was sent, its checksum apart.
func (e *engine) quotesRest(r *record, l4 []byte) bool {
	sent := e.transport(r)
	n := min(len(l4), len(sent))
	return string(l4[:2]) == string(sent[:2]) && string(l4[4:n]) == string(sent[4:n])
}

// matchQuotedNode matches a quoted node information query. Its identifier is in the nonce, which may not be there: then the
// checksum must find it among all queries from there.
func (e *engine) matchQuotedNode(q wire.IP, l4 []byte, f *found) bool {
	sum := binary.BigEndian.Uint16(l4[2:])
	var nonce uint64
	quoted := len(l4) >= 16
	if quoted {
		nonce = binary.BigEndian.Uint64(l4[8:])
	}
	src, dst := netip.AddrPortFrom(q.Src(), uint16(nonce>>48)), netip.AddrPortFrom(q.Dst(), 0)
	f.o.Quoted.Src, f.o.Quoted.Dst, f.o.Quoted.Checksum = src, dst, sum
	return e.candidates(f, NodeInfo, 0, src, dst, func(g *flow, _ bool) bool {
		nat := g.src.Addr() != q.Src()
		for _, id := range [...]uint16{sum, uint16(nonce)} {
			serial, rec := e.quotedTo(g, id, q.Dst())
			switch {
			case serial == 0:
				continue
			case !e.quotesRest(rec, l4):
				f.miss(FieldWrong)
				continue
			case !quoted && (nat || id != sum):
				f.miss(SourceWrong)
				continue
			case nat:
				f.o.Match = NATRewritten // the nonce has the token
			case id != sum:
				f.o.Match = IDRewritten
			}
			f.o.Quoted.Src = netip.AddrPortFrom(q.Src(), g.src.Port())
			f.serial = serial
			return true
		}
		return false
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

// mostObjects is how many objects, and how many labels, of one message are kept: more than any router sends, and far less than 64 KiB hold.
const mostObjects = 128

// extensions are copies of the objects an error carries, with what those of class 2 tell of interfaces (RFC 5837), and the MPLS
// label stack entries in them (RFC 4950: class 1, type 1).
func extensions(m wire.ICMP) (ls []Label, all []Object) {
	objects := m.Objects()
	for {
		o, ok := objects.Next()
		if !ok || len(all) == mostObjects {
			return ls, all
		}
		x := Object{Class: o.Class, Type: o.Type, Data: slices.Clone(o.Data)}
		if o.Class == wire.ClassInterface {
			x.Interface = told(o)
		}
		all = append(all, x)
		if o.Class != 1 || o.Type != 1 {
			continue
		}
		for i := 0; ; i++ {
			l, ok := o.LSE(i)
			if !ok || len(ls) == mostObjects {
				break
			}
			ls = append(ls, Label{Value: l.Label(), TC: l.TC(), Bottom: l.Bottom(), TTL: l.TTL()})
		}
	}
}

// told is what an interface information object says, as far as it can be read.
func told(o wire.Object) *Interface {
	x, err := o.Interface()
	f := &Interface{Role: x.Role, Addr: x.Addr, Name: string(x.Name), Partial: err != nil}
	if x.HasIndex {
		f.Index = &x.Index
	}
	if x.HasMTU {
		f.MTU = &x.MTU
	}
	return f
}
