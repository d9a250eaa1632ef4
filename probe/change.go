package probe

import (
	"bytes"
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
// own quote: that shows at the next hop.
func (o *Outcome) Changes() (cs []Change) {
	if !o.Quoted.Known {
		return nil
	}
	sent, seen := &o.Spec, &o.Quoted
	if a, b := sent.TOS>>2, seen.TOS>>2; a != b {
		cs = append(cs, Change{"ip.dscp", a, b})
	}
	if a, b := sent.TOS&3, seen.TOS&3; a != b {
		cs = append(cs, Change{"ip.ecn", a, b})
	}
	// A packet carries no zone.
	if a, b := sent.Src.Addr().WithZone(""), seen.Src.Addr().WithZone(""); b.IsValid() && a != b {
		cs = append(cs, Change{"ip.source", a, b})
	}
	if a, b := sent.Src.Port(), seen.Src.Port(); seen.Src.IsValid() && a != b {
		switch {
		case sent.Proto.IsICMP():
			cs = append(cs, Change{"icmp.identifier", a, b})
		case sent.Proto != Raw: // which has none
			cs = append(cs, Change{sent.Proto.String() + ".source_port", a, b})
		}
	}
	return append(cs, seen.Segment...)
}

// tcpChanges compares a quoted TCP header with the one that was sent. Not whole is one that was cut, which short quotes are filled up
// with zeros behind.
func tcpChanges(sent, seen wire.TCP) (whole bool, cs []Change) {
	rest := seen.Options()
	begun := bytes.TrimRight(rest, "\x00")
	if as := sent.Options(); seen.Checksum() == 0 || !bytes.Equal(rest, as) && len(rest) >= len(as) && len(begun) < len(as) && bytes.HasPrefix(as, begun) {
		return false, nil
	}
	cs = differ(cs, "tcp.flags", sent.Flags(), seen.Flags())
	cs = differ(cs, "tcp.window", sent.Window(), seen.Window())
	if bytes.Equal(rest, sent.Options()) {
		return true, cs
	}
	a, b := wire.ParseTCPOptions(sent.Options()), wire.ParseTCPOptions(rest)
	cs = differ(cs, "tcp.option.mss", a.MSS != 0, b.MSS != 0)
	if a.MSS != 0 && b.MSS != 0 {
		cs = differ(cs, "tcp.mss", a.MSS, b.MSS)
	}
	cs = differ(cs, "tcp.option.window_scale", a.WindowScale != 0, b.WindowScale != 0)
	if a.WindowScale != 0 && b.WindowScale != 0 {
		cs = differ(cs, "tcp.window_scale", a.WindowScale, b.WindowScale)
	}
	cs = differ(cs, "tcp.option.sack_permitted", a.SACK, b.SACK)
	return true, differ(cs, "tcp.option.timestamps", a.Timestamps, b.Timestamps)
}

// differ appends a change where there is one.
func differ[V comparable](cs []Change, field string, sent, seen V) []Change {
	if sent == seen {
		return cs
	}
	return append(cs, Change{field, sent, seen})
}

// A view is what all answers at a TTL that quote a field saw of it.
type view struct {
	o    *Outcome // one of them
	n    int
	seen any // nil: as it was sent
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
		before := view{}
		for i, v := range views {
			switch {
			case v.seen == before.seen:
				before = v
			case i+1 < len(views) && views[i+1].seen == before.seen, alone(views[i:]):
				// Nobody else says so.
			default:
				f := changed(field, before, v)
				f.Confidence = "medium"
				if i+1 < len(views) && views[i+1].seen == v.seen && before.o != nil {
					f.Confidence = "high"
				}
				fs = append(fs, f)
				before = v
			}
		}
	}
	return fs
}

// alone reports whether a single answer is all that saw what the first view did, before another saw something else.
func alone(views []view) bool {
	n := 0
	for _, v := range views {
		if v.seen != views[0].seen {
			break
		}
		n += v.n
	}
	return n < 2
}

// source is the field that stands for the source address, port or identifier: what a translator rewrites together.
const source = "source"

func aspect(field string) string {
	if field == "ip.source" || field == "icmp.identifier" || strings.HasSuffix(field, ".source_port") {
		return source
	}
	return field
}

// viewOf is what answers saw of a field, where those that quote it agree.
func viewOf(field string, answers []*Outcome) (v view, ok bool) {
	for _, o := range answers {
		if !o.Quoted.Known || strings.HasPrefix(field, "tcp.") && !o.Quoted.Whole {
			continue
		}
		var seen any
		for _, c := range o.Changes() {
			if c.Field == field {
				seen = c.Seen
			} else if aspect(c.Field) == field {
				seen = true // flows may be translated each in its way
			}
		}
		if v.n++; v.n == 1 {
			v.o, v.seen = o, seen
		} else if v.seen != seen {
			return view{}, false
		}
	}
	return v, v.n > 0
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
	case source:
		f.Code, what = "nat-rewritten", "the source address, port or identifier is rewritten"
		if after.seen == nil {
			what = "the source address, port or identifier is as it was sent again"
		} else if s := after.o; s.Quoted.Src.IsValid() {
			what = fmt.Sprintf("the source %v becomes %v", withoutZone(s.Spec.Src), s.Quoted.Src)
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
		if option, ok := strings.CutPrefix(field, "tcp.option."); ok {
			f.Code, what = "tcp-option-removed", fmt.Sprintf("the TCP option %s is taken out", option)
			if b == true {
				f.Code, what = "tcp-option-changed", fmt.Sprintf("the TCP option %s is put in", option)
			}
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
