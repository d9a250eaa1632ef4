package report

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gtrace/probe"
)

// What replies say beside that they came: a clock, a mask, an interface, names; and what nodes on the way wrote into
// IP options. Each once, for text and for JSON.

const day = 24 * time.Hour

// A clockReading is what a timestamp reply says.
type clockReading struct {
	Receive  *uint32 `json:"receive_ms,omitempty"`  // since midnight UT
	Transmit *uint32 `json:"transmit_ms,omitempty"` // the same
	Standard bool    `json:"standard"`              // both are: no high bit (RFC 792)
	There    *millis `json:"there_ms,omitempty"`
	Back     *millis `json:"back_ms,omitempty"`
}

// newClockReading reckons the two one-way times of a timestamp reply: from our own record of when the request left to
// when the other clock had it, and from when that clock answered to our arrival. Both have the millisecond that is the
// message's resolution, and the difference of the two clocks in them, with opposite signs; their sum has not. The nearest day is
// taken, as the other's begins anew at midnight.
func newClockReading(o *probe.Outcome) *clockReading {
	const nonstandard = 1 << 31
	r, t := o.Times.Receive, o.Times.Transmit
	c := &clockReading{Receive: &r, Transmit: &t, Standard: (r|t)&nonstandard == 0}
	if !c.Standard || r >= uint32(day/time.Millisecond) || t >= uint32(day/time.Millisecond) || o.Sent.IsZero() || o.At.IsZero() {
		return c
	}
	there := nearest(time.Duration(r)*time.Millisecond - ofDay(o.Sent))
	back := nearest(ofDay(o.At) - time.Duration(t)*time.Millisecond)
	c.There, c.Back = (*millis)(&there), (*millis)(&back)
	return c
}

// ofDay is the time since midnight UT, in whole milliseconds as the other clock tells it.
func ofDay(t time.Time) time.Duration {
	return (time.Duration(t.UnixNano()) % day).Truncate(time.Millisecond)
}

func nearest(d time.Duration) time.Duration {
	switch {
	case d > day/2:
		return d - day
	case d < -day/2:
		return d + day
	}
	return d
}

// mask is an address mask as it is written.
func mask(m uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], m)
	return netip.AddrFrom4(b).String()
}

// A probedInterface is what an extended echo reply says (RFC 8335 section 3).
type probedInterface struct {
	Code   uint8  `json:"code"`
	Result string `json:"result"`
	State  string `json:"state,omitempty"` // of a neighbour, where one was asked for
	Active *bool  `json:"active,omitempty"`
	IPv4   *bool  `json:"ipv4,omitempty"`
	IPv6   *bool  `json:"ipv6,omitempty"`
}

var (
	extEchoCodes  = [...]string{"no error", "malformed query", "no such interface", "no such table entry", "multiple interfaces satisfy query"}
	extEchoStates = [...]string{"", "incomplete", "reachable", "stale", "delay", "probe", "failed"}
)

func newProbedInterface(o *probe.Outcome) *probedInterface {
	const local = 1 // the L bit of the query
	p := &probedInterface{Code: o.Code, Result: fmt.Sprintf("unknown code %d", o.Code)}
	if int(o.Code) < len(extEchoCodes) {
		p.Result = extEchoCodes[o.Code]
	}
	if o.Code != 0 { // section 3: the rest is zero then and says nothing
		return p
	}
	if s := int(o.State >> 5); o.Spec.Query.Flags&local == 0 && s < len(extEchoStates) {
		p.State = extEchoStates[s]
		return p
	}
	bit := func(n uint8) *bool { b := o.State&n != 0; return &b }
	p.Active, p.IPv4, p.IPv6 = bit(4), bit(2), bit(1)
	return p
}

func (p *probedInterface) text() string {
	switch {
	case p.Code != 0:
		return p.Result
	case p.Active == nil:
		return "state " + p.State
	}
	s := "inactive"
	if *p.Active {
		s = "active"
	}
	if *p.IPv4 {
		s += " IPv4"
	}
	if *p.IPv6 {
		s += " IPv6"
	}
	return s
}

// kindText is what stands behind the time of a reply that is no echo.
func kindText(o *probe.Outcome) string {
	switch o.Answer {
	case probe.TimestampReply:
		c := newClockReading(o)
		switch {
		case !c.Standard:
			return fmt.Sprintf(" receive=%d transmit=%d not-standard", *c.Receive&^(1<<31), *c.Transmit&^(1<<31))
		case c.There == nil:
			return fmt.Sprintf(" receive=%d transmit=%d", *c.Receive, *c.Transmit)
		}
		return fmt.Sprintf(" there=%d ms back=%d ms", time.Duration(*c.There).Milliseconds(), time.Duration(*c.Back).Milliseconds())
	case probe.MaskReply:
		return " mask=" + mask(o.Mask)
	case probe.ExtEchoReply:
		return " interface " + newProbedInterface(o).text()
	case probe.SynAck:
		return " open"
	case probe.Reset:
		return " closed"
	case probe.PortUnreachable:
		return " port unreachable"
	case probe.Datagram:
		return " answered"
	}
	return ""
}

// Types of a node information query (RFC 4620 section 5), and the flag that the answer is cut short.
const (
	nodeName      = 2
	nodeIPv6      = 3
	nodeIPv4      = 4
	nodeTruncated = 1
	nodeTTL       = 4 // bytes before a name, and before each address
)

// nodeAnswer are the names or addresses of a node information reply; fault says why there are no more of them.
func nodeAnswer(o *probe.Outcome) (answers []string, fault string) {
	switch o.Code {
	case 0:
	case 1:
		return nil, "refused"
	case 2:
		return nil, "unknown"
	default:
		return nil, fmt.Sprintf("unknown code(%02x)", o.Code)
	}
	p := o.Payload
	size := 16
	switch o.Spec.Query.Type {
	case nodeName:
		if len(p) < nodeTTL {
			return nil, "parse error (too short)"
		}
		return nodeNames(p[nodeTTL:])
	case nodeIPv4:
		size = 4
	case nodeIPv6:
	default:
		return nil, fmt.Sprintf("unknown qtype(0x%02x)", o.Spec.Query.Type)
	}
	for len(p) > 0 {
		if len(p) < nodeTTL+size {
			return answers, "parse error (truncated)"
		}
		a, _ := netip.AddrFromSlice(p[nodeTTL : nodeTTL+size])
		answers = append(answers, a.String())
		p = p[nodeTTL+size:]
	}
	return answers, ""
}

// nodeNames reads names as in the DNS, one behind the other; a single label ends with two empty ones, a full name
// with one, and is printed with a dot at its end (RFC 4620 section 6.3). What is odd in a label is escaped, so that it can neither be
// taken for several nor for what stands around it.
func nodeNames(p []byte) (names []string, fault string) {
	for len(p) > 0 {
		var labels []string
		for {
			if len(p) == 0 || int(p[0]) >= len(p) || p[0] > 63 {
				return names, "parse error (truncated)"
			}
			n := int(p[0])
			label := string(p[1 : 1+n])
			p = p[1+n:]
			if n == 0 {
				break
			}
			labels = append(labels, host(label))
			if len(p) == 0 {
				return names, "parse error (truncated)"
			}
		}
		name := strings.Join(labels, ".")
		if len(p) > 0 && p[0] == 0 {
			p = p[1:]
		} else {
			name += "."
		}
		names = append(names, name)
	}
	return names, ""
}

// nodeText is what iputils prints of a node information reply.
func nodeText(o *probe.Outcome) string {
	answers, fault := nodeAnswer(o)
	s := ""
	for i, a := range answers {
		if i > 0 {
			s += ","
		}
		s += " " + a
	}
	if fault != "" {
		if len(answers) > 0 {
			s += ","
		}
		s += " " + fault
	}
	return s
}

// IPv4 option types (RFC 791 section 3.1).
const (
	optionEnd   = 0
	optionNop   = 1
	optionRoute = 7
	optionStamp = 68
	optionLoose = 131
	optionRigid = 137
)

// eachOption calls each with every IPv4 option but the end. What does not fit ends the list.
func eachOption(b []byte, each func(typ uint8, o []byte)) {
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionNop {
			each(b[0], b[:1])
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		each(b[0], b[:b[1]])
		b = b[b[1]:]
	}
}

// written is what the nodes on the way have put into an option of that many bytes before it: from there to its pointer.
func written(o []byte, before int) []byte {
	if len(o) <= before || int(o[2]) <= before+1 {
		return nil
	}
	return o[before:min(len(o), int(o[2])-1)]
}

// addresses are those of a recorded route.
func addresses(b []byte) (as []netip.Addr) {
	for ; len(b) >= 4; b = b[4:] {
		as = append(as, netip.AddrFrom4([4]byte(b)))
	}
	return as
}

// A hopStamp is the time, or address and time, that one node on the way has written.
type hopStamp struct {
	Address  netip.Addr `json:"address,omitzero"`
	MS       *uint32    `json:"ms,omitempty"` // since midnight UT, unless not standard
	Standard bool       `json:"standard"`
}

// hopStamps are those of a timestamp option, and how many nodes found no room in it.
func hopStamps(o []byte) (hops []hopStamp, missed int) {
	if len(o) < 4 {
		return nil, 0
	}
	b, withAddress := written(o, 4), o[3]&0xf != 0
	for {
		var h hopStamp
		if withAddress {
			if len(b) < 4 {
				break
			}
			h.Address, b = netip.AddrFrom4([4]byte(b)), b[4:]
		}
		if len(b) < 4 {
			break
		}
		ms := binary.BigEndian.Uint32(b)
		h.Standard = ms&(1<<31) == 0
		ms &^= 1 << 31
		h.MS, b = &ms, b[4:]
		hops = append(hops, h)
	}
	return hops, int(o[3] >> 4)
}

// recorded appends to a reply's line what its IP options say, as iputils prints it. What ends it is the line's own end.
func (t *pingText) recorded(b []byte, options []byte) []byte {
	eachOption(options, func(typ uint8, o []byte) {
		switch typ {
		case optionNop:
			b = append(b, "\nNOP"...)
		case optionRoute:
			if len(o) < 3 {
				return
			}
			w := written(o, 3)
			if len(w) == 0 {
				return
			}
			if string(w) == t.route {
				b = append(b, "\t(same route)"...)
				return
			}
			t.route = string(w)
			b = t.hopLines(append(b, "\nRR: "...), w)
		case optionLoose, optionRigid:
			letter := 'L'
			if typ == optionRigid {
				letter = 'S'
			}
			b = fmt.Appendf(b, "\n%cSRR: ", letter)
			if len(o) > 3 {
				b = t.hopLines(b, o[3:])
			}
		case optionStamp:
			b = t.stampLines(b, o)
		default:
			b = fmt.Appendf(b, "\nunknown option %x", typ)
		}
	})
	return b
}

func (t *pingText) hopLines(b, w []byte) []byte {
	for _, a := range addresses(w) {
		b = fmt.Appendf(b, "\t%s\n", t.hop(a))
	}
	return b
}

// hop is an address in an option: where none is written no name is asked for.
func (t *pingText) hop(a netip.Addr) string {
	if a.IsUnspecified() {
		return "0.0.0.0"
	}
	return t.node(a)
}

func (t *pingText) stampLines(b, o []byte) []byte {
	hops, missed := hopStamps(o)
	if len(hops) == 0 {
		return b
	}
	b = append(b, "\nTS: "...)
	var standard, other int64
	for _, h := range hops {
		if h.Address.IsValid() {
			b = fmt.Appendf(b, "\t%s", t.hop(h.Address))
		}
		ms := int64(*h.MS)
		switch {
		case !h.Standard && other == 0:
			b = fmt.Appendf(b, "\t%d absolute not-standard", ms)
		case !h.Standard:
			b = fmt.Appendf(b, "\t%d not-standard", ms-other)
		case standard == 0:
			b = fmt.Appendf(b, "\t%d absolute", ms)
		default:
			b = fmt.Appendf(b, "\t%d", ms-standard)
		}
		if h.Standard {
			standard = ms
		} else {
			other = ms
		}
		b = append(b, '\n')
	}
	if missed > 0 {
		b = fmt.Appendf(b, "Unrecorded hops: %d\n", missed)
	}
	return b
}
