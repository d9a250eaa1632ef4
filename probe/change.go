package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gtrace/internal/wire"
)

// A Change is a header field that the answering node saw with another value than it was sent with.
type Change struct {
	Field      string // as the JSON documents call it
	Sent, Seen any    // of one comparable type
}

// Changes compares a probe as it was sent with the quote of it. What a hop itself writes into packets it forwards is not in its
// own quote: that shows at the next hop. Nor is what must differ, the TTL and with it the IPv4 header's checksum.
func (o *Outcome) Changes() (cs []Change) {
	if !o.Quoted.Known {
		return nil
	}
	sent, seen := &o.Spec, &o.Quoted
	cs = differ(cs, "ip", "dscp", sent.TOS>>2, seen.TOS>>2)
	cs = differ(cs, "ip", "ecn", sent.TOS&3, seen.TOS&3)
	// A packet carries no zone.
	if seen.Src.IsValid() {
		cs = differ(cs, "ip", "source", sent.Src.Addr().WithZone(""), seen.Src.Addr().WithZone(""))
	}
	to := seen.Dst.IsValid() && !sent.Via.IsValid() // on a source route it is one after the other
	if to {
		cs = differ(cs, "ip", "destination", sent.Dst.Addr().WithZone(""), seen.Dst.Addr().WithZone(""))
	}
	switch {
	case sent.Proto.IsICMP():
		if seen.Src.IsValid() {
			cs = differ(cs, "icmp", "identifier", sent.Src.Port(), seen.Src.Port())
		}
	case sent.Proto != Raw: // which has no ports
		if seen.Src.IsValid() {
			cs = differ(cs, sent.Proto.String(), "source_port", sent.Src.Port(), seen.Src.Port())
		}
		if to {
			cs = differ(cs, sent.Proto.String(), "destination_port", sent.Dst.Port(), seen.Dst.Port())
		}
	}
	return append(cs, seen.Changed...)
}

// compare notes in seen what else of r is not as it was sent, and whether all of it was quoted.
func (e *engine) compare(r *record, q wire.IP, l4 []byte, seen *Quoted) {
	var cs []Change
	s := r.like
	least, _ := SizesOf(s)
	size, head := max(s.Size, least), ipHeader(q.Version() == 6)+len(s.Options)
	if q.Version() == 4 {
		cs = differ(cs, "ip", "id", r.id(), q.ID())
	} else {
		cs = differ(cs, "ip", "flow_label", s.Label, q.Label())
	}
	// A fragment has a length of its own.
	if !q.MF() && !sameLength(q, size) {
		cs = append(cs, Change{"ip.length", size, q.Length()})
	}
	if seen.Whole, seen.Changed = e.untouched(r, q, l4, size-head), cs; seen.Whole {
		return
	}
	sent := e.transport(r)
	if len(sent) < 8 {
		return
	}
	if s.Proto == TCP {
		was, err := wire.ParseTCP(sent)
		is, short := wire.ParseTCP(l4)
		if err == nil && short == nil {
			var changed []Change
			seen.Whole, changed = tcpChanges(was, is)
			seen.Changed = append(cs, changed...)
		}
		return
	}
	got := uncut(l4, sent)
	seen.Whole = len(got) == len(sent)
	name := s.Proto.String()
	if s.Proto.IsICMP() {
		name = "icmp"
	}
	if at := sumAt(s.Proto); at >= 0 {
		cs = differ(cs, name, checksum, binary.BigEndian.Uint16(sent[at:]), binary.BigEndian.Uint16(got[at:]))
	}
	// What else there is of headers is looked at by match.
	from := 8
	switch s.Proto {
	case DCCP:
		from = 20
	case Raw:
		name, from = "ip", 0
	}
	if from < len(got) {
		a, b := difference(sent[from:len(got)], got[from:])
		cs = differ(cs, name, payload, a, b)
	}
	seen.Changed = cs
}

// untouched reports whether the transport header and payload of r, so many bytes, are all quoted as they were sent, by their
// checksum, where that is a chosen one: it spares making the probe anew.
func (e *engine) untouched(r *record, q wire.IP, l4 []byte, n int) bool {
	s := r.like
	if n > len(l4) || s.Via.IsValid() {
		return false
	}
	l4 = l4[:n]
	switch {
	case s.Proto == UDP:
		u, err := wire.ParseUDP(l4)
		return err == nil && u.Checksum() == r.id() && u.Valid(q.Src(), q.Dst()) && q.Src() == s.Src.Addr().WithZone("") && q.Dst() == s.Dst.Addr().WithZone("")
	case s.Proto != ICMP || s.Dst.Port() == 0 || binary.BigEndian.Uint16(l4[2:]) != s.Dst.Port():
		return false
	case q.Version() == 6:
		_, err := wire.ParseICMPv6(l4, q.Src(), q.Dst())
		return err == nil
	}
	_, err := wire.ParseICMPv4(l4)
	return err == nil
}

// sameLength reports whether a quoted packet says that it has so many bytes, or what some systems make of that before they quote it: they swap
// its bytes, and take the header's away (ALGORITHMS 5.1).
func sameLength(q wire.IP, size int) bool {
	n := q.Length()
	if n == size || q.Version() == 6 {
		return n == size
	}
	swapped := n>>8 | n&0xff<<8
	return swapped == size || n+len(q.Header()) == size || swapped+len(q.Header()) == size
}

// sumAt is where the checksum is in a probe of that kind behind the IP header, -1 where it has none.
func sumAt(p Proto) int {
	switch {
	case p == TCP:
		return 16
	case p == Raw:
		return -1
	case p.IsICMP():
		return 2
	}
	return 6
}

// uncut is as much of sent as was quoted, 8 bytes at least, without the zeros that short quotes are filled up with (RFC 4884
// section 5.1).
func uncut(got, sent []byte) []byte {
	got = got[:min(len(got), len(sent))]
	if n := max(len(bytes.TrimRight(got, "\x00")), 8); !bytes.Equal(got[n:], sent[n:len(got)]) {
		return got[:n]
	}
	return got
}

// mostShown is how many bytes of a payload that is another are shown.
const mostShown = 16

// difference is where two payloads of one length differ: the first byte's number, and what stands from there on to the last
// one, up to mostShown. Both are empty where they are the same.
func difference(sent, seen []byte) (a, b string) {
	first := 0
	for first < len(sent) && sent[first] == seen[first] {
		first++
	}
	last := len(sent)
	for last > first && sent[last-1] == seen[last-1] {
		last--
	}
	if first == last {
		return "", ""
	}
	last = min(last, first+mostShown)
	return fmt.Sprintf("%d:%x", first, sent[first:last]), fmt.Sprintf("%d:%x", first, seen[first:last])
}

// tcpChanges compares a quoted TCP header with the one that was sent. Not whole is one that was cut, which short quotes are filled up
// with zeros behind.
func tcpChanges(sent, seen wire.TCP) (whole bool, cs []Change) {
	cs = differ(cs, "tcp", "sequence", sent.Seq(), seen.Seq())
	rest := seen.Options()
	begun := bytes.TrimRight(rest, "\x00")
	if as := sent.Options(); seen.Checksum() == 0 || !bytes.Equal(rest, as) && len(rest) >= len(as) && len(begun) < len(as) && bytes.HasPrefix(as, begun) {
		return false, cs
	}
	cs = differ(cs, "tcp", "flags", sent.Flags(), seen.Flags())
	cs = differ(cs, "tcp", "window", sent.Window(), seen.Window())
	if bytes.Equal(rest, sent.Options()) {
		return true, cs
	}
	a, b := wire.ParseTCPOptions(sent.Options()), wire.ParseTCPOptions(rest)
	cs = differ(cs, "tcp", "option.mss", a.MSS != 0, b.MSS != 0)
	if a.MSS != 0 && b.MSS != 0 {
		cs = differ(cs, "tcp", "mss", a.MSS, b.MSS)
	}
	cs = differ(cs, "tcp", "option.window_scale", a.WindowScale != 0, b.WindowScale != 0)
	if a.WindowScale != 0 && b.WindowScale != 0 {
		cs = differ(cs, "tcp", "window_scale", a.WindowScale, b.WindowScale)
	}
	cs = differ(cs, "tcp", "option.sack_permitted", a.SACK, b.SACK)
	return true, differ(cs, "tcp", "option.timestamps", a.Timestamps, b.Timestamps)
}

// differ appends a change where there is one.
func differ[V comparable](cs []Change, layer, name string, sent, seen V) []Change {
	if sent == seen {
		return cs
	}
	return append(cs, Change{layer + "." + name, sent, seen})
}

// A view is what all answers at a TTL that quote a field saw of it.
type view struct {
	field string
	o     *Outcome // one of them; nil: nobody's
	n     int
	seen  any // nil: as it was sent
}

// as reports whether v and w saw the same.
func (v view) as(w view) bool {
	return v.seen == w.seen && (v.field != checksum || v.seen == nil || alike(v.o, w.o))
}

// FindChanges tells what is done to packets on the way, and between which hops. answers are those at a TTL that are known to be their
// probes' own. A field counts as changed from a hop on if two answers say so, and if the next hop that quotes it does not deny it: nodes that garble what they
// quote are no part of the path. Where the answers at a TTL differ, packets take several ways, and it says nothing.
func FindChanges(first, last int, answers func(ttl int) []*Outcome) (fs []Finding) {
	var fields []string
	for ttl := first; ttl <= last; ttl++ {
		for _, o := range answers(ttl) {
			for _, c := range o.Changes() {
				if f := aspect(c.Field); !slices.Contains(fields, f) {
					fields = append(fields, f)
				}
			}
		}
	}
	for _, field := range fields {
		var views []view
		for ttl := first; ttl <= last; ttl++ {
			if v, ok := viewOf(field, answers(ttl)); ok {
				views = append(views, v)
			}
		}
		before := view{field: field}
		for i, v := range views {
			switch {
			case v.as(before):
				before = v
			case i+1 < len(views) && views[i+1].as(before), alone(views[i:]):
				// Nobody else says so.
			case field == checksum && i+1 < len(views) && !views[i+1].as(v):
				// It is this node's own arithmetic.
			default:
				f := changed(field, before, v)
				f.Confidence = "medium"
				if i+1 < len(views) && views[i+1].as(v) && before.o != nil {
					f.Confidence = "high"
				}
				if field == checksum && !v.o.Quoted.Whole {
					f.Confidence = "medium" // it may be the payload that is another
				}
				fs = append(fs, f)
				before = v
			}
		}
	}
	if f, ok := implied(first, last, answers); ok && !slices.ContainsFunc(fs, func(f Finding) bool { return f.Code == rewritten }) {
		fs = append(fs, f)
	}
	return fs
}

// implied is the finding that somebody must translate: this host's address is private, and one that is not answers it. Quotes
// seldom show that, as most translators put back in them what they rewrote (ALGORITHMS 1.4).
func implied(first, last int, answers func(ttl int) []*Outcome) (f Finding, ok bool) {
	var near, far view // the last that are private, and the first behind them
	for ttl := first; ttl <= last && far.o == nil; ttl++ {
		var all view
		for _, o := range answers(ttl) {
			if !private(o.Spec.Src.Addr()) {
				return f, false
			}
			if all.n++; all.n > 1 && all.seen != private(o.From) {
				all = view{} // some of each
				break
			}
			all.o, all.seen = o, private(o.From)
		}
		switch all.seen {
		case true:
			near = all
		case false:
			far = all
		}
	}
	if far.o == nil {
		return f, false
	}
	f = Finding{Code: "nat-implied", TTL: far.o.Spec.TTL, Confidence: "medium", Evidence: []Evidence{Witness(far.o, far.n)}}
	where := fmt.Sprintf("before TTL %d (%v)", f.TTL, far.o.From)
	if near.o != nil {
		f.TTL, f.Between = 0, [2]uint8{near.o.Spec.TTL, far.o.Spec.TTL}
		f.Evidence = append([]Evidence{Witness(near.o, near.n)}, f.Evidence...)
		where = fmt.Sprintf("between TTL %d (%v) and TTL %d (%v)", f.Between[0], near.o.From, f.Between[1], far.o.From)
	}
	f.Text = fmt.Sprintf("this host's address %v is private: a translator (NAT) is %s, or public addresses are used inside the private network",
		far.o.Spec.Src.Addr(), where)
	return f, true
}

// notGlobal are prefixes besides those of netip's own predicates that are nobody's on the Internet.
var notGlobal = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), // RFC 6598
	netip.MustParsePrefix("192.0.0.0/24"),  // RFC 6890; RFC 7335: of hosts behind NAT64
	netip.MustParsePrefix("198.18.0.0/15"), // RFC 2544
	netip.MustParsePrefix("240.0.0.0/4"),   // RFC 1112
	netip.MustParsePrefix("0.0.0.0/8"),     // RFC 791
	netip.MustParsePrefix("fec0::/10"),     // RFC 3879
}

// private reports whether an address is one that the Internet does not route.
func private(a netip.Addr) bool {
	a = a.WithZone("")
	return a.IsPrivate() || !a.IsGlobalUnicast() || slices.ContainsFunc(notGlobal, func(p netip.Prefix) bool { return p.Contains(a) })
}

// alone reports whether a single answer is all that saw what the first view did, before another saw something else.
func alone(views []view) bool {
	n := 0
	for _, v := range views {
		if !v.as(views[0]) {
			break
		}
		n += v.n
	}
	return n < 2
}

// rewritten is the code of a translation that quotes prove.
const rewritten = "nat-rewritten"

// The fields that stand for several, which a translator rewrites together, or for those of all protocols.
const (
	source      = "source"
	destination = "destination"
	checksum    = "checksum"
	payload     = "payload"
)

func aspect(field string) string {
	_, name, _ := strings.Cut(field, ".")
	switch name {
	case "source", "identifier", "source_port":
		return source
	case "destination", "destination_port":
		return destination
	case "checksum", "payload":
		return name
	}
	return field
}

// own are the fields of which each probe has its own value, or each flow may get its own, with the code of the finding that they
// are rewritten and what that calls them. Payloads that are rewritten, and not damaged, get the same in the same place.
var own = map[string][2]string{
	source:          {rewritten, "the source address, port or identifier"},
	destination:     {rewritten, "the destination address or port"},
	checksum:        {rewritten, "the checksum"},
	payload:         {"payload-changed", "the payload"},
	"ip.id":         {"ip-id-changed", "the IP identification"},
	"ip.flow_label": {"flow-label-changed", "the flow label"},
	"tcp.sequence":  {"tcp-sequence-changed", "the TCP sequence number"},
}

// viewOf is what answers saw of a field, where those that quote it agree.
func viewOf(field string, answers []*Outcome) (v view, ok bool) {
	v.field = field
	for _, o := range answers {
		seen, ok := sees(field, o)
		if !ok {
			continue
		}
		if v.n++; v.n == 1 {
			v.o, v.seen = o, seen
		} else if !v.as(view{field, o, 1, seen}) {
			return v, false
		}
	}
	return v, v.n > 0
}

// sees is what an answer saw of a field, nil where that is as it was sent, and whether its quote tells.
func sees(field string, o *Outcome) (seen any, ok bool) {
	if !o.Quoted.Known || (field == payload || strings.HasPrefix(field, "tcp.")) && !o.Quoted.Whole {
		return nil, false
	}
	for _, c := range o.Changes() {
		a := aspect(c.Field)
		switch {
		case field == checksum && (a == source || a == destination || a == payload):
			return nil, false // and it goes with those
		case a != field:
			continue
		case field == checksum && c.Seen == uint16(0):
			return nil, false // some systems quote none (TRAPS T08)
		case field == "ip.id" && mangled(c.Sent.(uint16), c.Seen.(uint16)):
			return nil, false
		}
		if seen = c.Seen; field != payload && own[field][0] != "" {
			seen = true
		}
	}
	return seen, true
}

// mangled reports whether a quoted IP identification is what some systems make of one before they quote it (TRAPS T06).
func mangled(sent, seen uint16) bool {
	return seen == sent>>8|sent<<8 || seen == sent+1 || seen == sent-1
}

// alike reports whether the checksums that two answers quote differ by as much from what was sent, as those of a flow do that is
// translated (ALGORITHMS 1.4). Other flows are translated in other ways.
func alike(a, b *Outcome) bool {
	return a.Spec.Src != b.Spec.Src || a.Spec.Dst != b.Spec.Dst || moved(a) == moved(b)
}

// moved is by how much the quoted checksum differs from the one sent, modulo 65535, as such sums are.
func moved(o *Outcome) uint32 {
	for _, c := range o.Changes() {
		if aspect(c.Field) == checksum {
			return (uint32(c.Seen.(uint16)) + 0xffff - uint32(c.Sent.(uint16))) % 0xffff
		}
	}
	return 0
}

// value is what a view saw, in the words of the probe where that is as it was sent; like has one that is not.
func (v view) value(field string, like *Outcome) any {
	if v.seen != nil {
		return v.seen
	}
	for _, c := range like.Changes() {
		if c.Field == field {
			return c.Sent
		}
	}
	return nil
}

// changed is the finding that a field changes between two views; the first may be of nobody.
func changed(field string, before, after view) Finding {
	like := after.o
	if after.seen == nil {
		like = before.o
	}
	a, b := before.value(field, like), after.value(field, like)
	f := Finding{Code: "field-changed", TTL: after.o.Spec.TTL, Evidence: []Evidence{Witness(after.o, after.n)}}
	what := fmt.Sprintf("%s %v becomes %v", field, a, b)
	switch field {
	case "ip.dscp":
		f.Code, what = "dscp-changed", fmt.Sprintf("the DSCP %v becomes %v", a, b)
	case "ip.ecn":
		f.Code, what = "ecn-changed", fmt.Sprintf("the ECN bits %s become %s", ecn(a), ecn(b))
		switch b {
		case uint8(0):
			f.Code, what = "ecn-bleached", fmt.Sprintf("the ECN bits %s are cleared", ecn(a))
		case uint8(3):
			f.Code, what = "ecn-marked", fmt.Sprintf("packets with the ECN bits %s come marked: they met congestion (CE)", ecn(a))
		}
	case "tcp.mss":
		f.Code, what = "tcp-option-changed", fmt.Sprintf("the maximum segment size %v of a SYN becomes %v", a, b)
		if m, ok := a.(uint16); ok && b.(uint16) < m {
			f.Code = "mss-clamped"
		}
	case "tcp.window_scale":
		f.Code, what = "tcp-option-changed", fmt.Sprintf("the window scale %v becomes %v", a, b)
	case "tcp.window":
		f.Code, what = "tcp-window-changed", fmt.Sprintf("the TCP window %v becomes %v", a, b)
	case "tcp.flags":
		f.Code, what = "tcp-flags-changed", fmt.Sprintf("the TCP flags %#02x become %#02x", a, b)
	default:
		switch option, ok := strings.CutPrefix(field, "tcp.option."); {
		case own[field][0] != "":
			f.Code, what = own[field][0], rewriting(field, after)
		case ok && b == true:
			f.Code, what = "tcp-option-changed", fmt.Sprintf("the TCP option %s is put in", option)
		case ok:
			f.Code, what = "tcp-option-removed", fmt.Sprintf("the TCP option %s is taken out", option)
		}
	}
	if before.o == nil {
		f.Text = fmt.Sprintf("%s before TTL %d (%v)", what, f.TTL, after.o.From)
		return f
	}
	f.Between = [2]uint8{before.o.Spec.TTL, f.TTL}
	f.TTL = 0
	f.Evidence = append([]Evidence{Witness(before.o, before.n)}, f.Evidence...)
	f.Text = fmt.Sprintf("%s between TTL %d (%v) and TTL %d (%v)", what, f.Between[0], before.o.From, f.Between[1], after.o.From)
	return f
}

// rewriting says what becomes of a field of own.
func rewriting(field string, after view) string {
	name := own[field][1]
	if after.seen == nil {
		return name + " is as it was sent again"
	}
	switch s, seen := &after.o.Spec, &after.o.Quoted; {
	case field == source && seen.Src.IsValid():
		return fmt.Sprintf("the source %v becomes %v", withoutZone(s.Src), seen.Src)
	case field == destination && (s.Proto.IsICMP() || s.Proto == Raw): // which has no port
		return fmt.Sprintf("the destination %v becomes %v", s.Dst.Addr().WithZone(""), seen.Dst.Addr())
	case field == destination:
		return fmt.Sprintf("the destination %v becomes %v", withoutZone(s.Dst), seen.Dst)
	case field == checksum:
		return "addresses or ports are rewritten, and put back in quotes but for the checksum,"
	}
	return name + " is rewritten"
}

func withoutZone(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}

// ecn is the name of an ECN field's value (RFC 3168 section 5).
func ecn(v any) string {
	if n, ok := v.(uint8); ok && n < 4 {
		return [...]string{"Not-ECT", "ECT(1)", "ECT(0)", "CE"}[n]
	}
	return fmt.Sprint(v)
}
