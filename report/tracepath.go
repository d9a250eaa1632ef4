package report

import (
	"fmt"
	"io"
	"time"

	"gtrace/probe"
)

// NewTracepath returns a sink that writes what iputils' tracepath prints, one target after another: a line for each
// answer as it comes. Method.Size is the size that is asked for first, which tracepath takes for the path MTU until
// something is in the way. Findings follow, as in NewTrace's text.
//
// Where tracepath shows names (o.Names), o.Numeric puts the address first and o.Both shows the other of the two in
// parentheses.
func NewTracepath(w io.Writer, o Options) probe.Sink {
	if o.Numeric && !o.Both {
		o.Names = nil
	}
	return &tracepath{out: out{w: w}, o: o}
}

type tracepath struct {
	out
	o          Options
	open, next bool
	pathState
}

// pathState is what is known of a target's path.
type pathState struct {
	mtu      int       // bytes; 0 where it is not known
	ttl      uint8     // of the hop under way
	told     [256]bool // by TTL: it has a line, of another kind than "pmtu"
	hops     uint8     // the TTL that reached the destination; 0: none did
	back     int       // how far the way back is; 0 where it is not known
	findings []probe.Finding
}

func (t *tracepath) Emit(e probe.Event) error {
	if e, ok := e.(probe.Started); ok {
		if t.open {
			return errOpen
		}
		return t.start(e)
	}
	if !t.open {
		return errClosed
	}
	switch e := e.(type) {
	case *probe.Probed:
		return t.probed(&e.Outcome)
	case probe.PathMTU:
		return t.narrowed(e)
	case probe.Hop:
		t.ttl = e.TTL + 1
		if !t.told[e.TTL] {
			return t.printf("%2d:  no reply", e.TTL)
		}
	case probe.Finding:
		t.findings = append(t.findings, e)
	case probe.Finished:
		return t.finish(e)
	}
	return nil
}

func (t *tracepath) start(e probe.Started) error {
	if t.next {
		if err := t.line(nil); err != nil {
			return err
		}
	}
	t.open, t.next = true, true
	t.pathState = pathState{mtu: e.Method.Size, ttl: max(1, e.Method.FirstTTL)}
	return nil
}

// narrowed tells of the device's path MTU, where it was in the way. A router's stands in the line of its answer already.
func (t *tracepath) narrowed(e probe.PathMTU) error {
	if t.mtu != 0 && t.mtu <= e.Bytes {
		return nil
	}
	t.mtu = e.Bytes
	if e.TTL != 0 {
		return nil
	}
	return t.printf("%2d?: %-32s pmtu %d", t.ttl, "[LOCALHOST]", e.Bytes)
}

func (t *tracepath) probed(o *probe.Outcome) error {
	ask(o, t.o.Names)
	ttl := o.Spec.TTL
	if o.Serial == 0 { // the flow's, of which probe is not known
		ttl = t.ttl
	}
	switch {
	case o.Status == probe.Lost, o.Duplicate, o.Late && t.hops != 0: // tracepath had ended by then
		return nil
	case o.Status == probe.Failed && o.Errno == "EMSGSIZE": // the PathMTU event tells
		return nil
	case o.Status == probe.Failed, o.Answer == probe.Datagram,
		o.Answer != probe.TimeExceeded && o.Answer != probe.TooBig && (!o.Answer.Terminal() || o.Answer == probe.ProtocolUnreachable):
		// Each try meets the same, and tracepath ends at the first.
		if t.told[ttl] {
			return nil
		}
	}
	t.told[ttl] = t.told[ttl] || o.Answer != probe.TooBig
	switch {
	case o.Answer == probe.Datagram:
		return t.printf("%2d?: reply received 8)", ttl)
	case !o.From.IsValid():
		return t.printf("%2d:  send failed", ttl)
	}
	b := t.appendHost(fmt.Appendf(nil, "%2d:  ", ttl), o)
	if d, ok := rtt(o); ok {
		us := d.Round(time.Microsecond).Microseconds()
		b = fmt.Appendf(b, "%3d.%03dms ", us/1000, us%1000)
	}
	return t.line(append(b, t.remark(o)...))
}

// hostColumn is how wide the column of names is, the blank behind it included.
const hostColumn = 52

func (t *tracepath) appendHost(b []byte, o *probe.Outcome) []byte {
	start := len(b)
	host := address(o.From)
	if t.o.Names != nil {
		other := nameOr(host, t.o.Names, o.From)
		if !t.o.Numeric {
			host, other = other, host
		}
		if t.o.Both {
			host = fmt.Sprintf("%s (%s)", host, other)
		}
	}
	b = append(b, host...)
	for b = append(b, ' '); len(b)-start < hostColumn; {
		b = append(b, ' ')
	}
	return b
}

// remark is what stands behind the time.
func (t *tracepath) remark(o *probe.Outcome) string {
	switch o.Answer {
	case probe.TimeExceeded:
		if n := probe.WayBack(o.TTL); o.TTL > 0 && n != int(o.Spec.TTL) {
			return fmt.Sprintf("asymm %2d ", n)
		}
		return ""
	case probe.TooBig:
		if o.MTU == 0 { // an old router's; what the path then carries is found by trying
			return ""
		}
		return fmt.Sprintf("pmtu %d", o.MTU)
	}
	if o.Answer.Terminal() && o.Answer != probe.ProtocolUnreachable {
		if t.hops == 0 {
			t.hops = o.Spec.TTL
			if o.TTL > 0 {
				t.back = probe.WayBack(o.TTL)
			}
		}
		return "reached"
	}
	return refusal(o)
}

// refusal is tracepath's word for an ICMP error that ends a path: by what Linux makes of it, which takes all of ICMP type 11
// for an unreachable host. Where tracepath has none, and complains of a "NET ERROR" on standard error, it is traceroute's.
func refusal(o *probe.Outcome) string {
	if o.Spec.Dst.Addr().Is4() {
		switch o.Type {
		case 3:
			switch o.Code {
			case 0, 6, 9, 11:
				return "!N"
			case 1, 10, 12, 13, 14, 15:
				return "!H"
			}
		case 11:
			return "!H"
		case 12:
			return "!P"
		}
		return annotation(o)
	}
	switch o.Type {
	case 1:
		switch o.Code {
		case 0:
			return "!N"
		case 1, 5, 6:
			return "!A"
		case 2, 3:
			return "!H"
		}
	case 3:
		return "!H"
	}
	return "!P"
}

func (t *tracepath) finish(e probe.Finished) error {
	t.open = false
	pmtu := ""
	if t.mtu > 0 {
		pmtu = fmt.Sprintf("pmtu %d", t.mtu)
	}
	if e.Verdict == probe.MaxHops {
		if err := t.printf("     Too many hops: %s", pmtu); err != nil {
			return err
		}
	}
	b := []byte("     Resume: ")
	if pmtu != "" {
		b = fmt.Appendf(b, "%s ", pmtu)
	}
	if t.hops > 0 {
		b = fmt.Appendf(b, "hops %d ", t.hops)
	}
	if t.back > 0 {
		b = fmt.Appendf(b, "back %d ", t.back)
	}
	if err := t.line(b); err != nil {
		return err
	}
	return t.conclude(t.findings)
}
