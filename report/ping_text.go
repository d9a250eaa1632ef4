package report

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"gtrace/probe"
)

// Bytes of a header in front of the payload that ping counts.
const (
	ipv4Header = 20
	ipv6Header = 40
	echoHeader = 8
)

// pingText prints what iputils ping prints where no address has a name. It differs in three places: a
// late reply is printed when it comes and counts as received, the times in the
// statistics leave duplicates out, and a probe that did not leave this host is
// not transmitted: it is one of the errors, and has a line of its own.
type pingText struct {
	out
	quiet, numeric bool
	open           bool // a target is being printed
	next           bool // one was before
	named          bool // the target was given by name, and numeric is not set
	start          probe.Started
	pingTally
}

type pingTally struct {
	tally       tally
	flight      flight
	unsent      uint64 // did not leave
	refused     uint64 // left, but got no further than this host, as its own ICMP error says
	first, last time.Time
	newest      uint32 // attempt of the newest probe
	pipe        uint32 // how many were on their way at once, at most
}

func (t *pingText) Emit(e probe.Event) error {
	if e, ok := e.(probe.Started); ok {
		if t.open {
			return errOpen
		}
		return t.begin(e)
	}
	if !t.open {
		return errClosed
	}
	switch e := e.(type) {
	case probe.Sent:
		t.flight.left(e.Serial)
		if t.first.IsZero() {
			t.first = e.At
		}
		t.last = e.At
		t.newest = max(t.newest, e.Spec.Attempt)
	case probe.Probed:
		return t.probed(&e.Outcome)
	case probe.Finished:
		t.open = false
		return t.statistics()
	}
	return nil
}

func (t *pingText) begin(e probe.Started) error {
	if t.next {
		if err := t.line(nil); err != nil {
			return err
		}
	}
	t.open, t.next, t.start, t.pingTally = true, true, e, pingTally{}
	_, err := netip.ParseAddr(e.Target)
	t.named = err != nil && !t.numeric
	b := fmt.Appendf(nil, "PING %s", printable(e.Target))
	size := e.Method.Size
	if e.Dst.Is4() {
		b = fmt.Appendf(b, " (%s)", address(e.Dst))
		if size > 0 {
			b = fmt.Appendf(b, " %d(%d) bytes of data.", size-ipv4Header-echoHeader, size)
		}
		return t.line(b)
	}
	// iputils of 2024 and later has a blank before "(" here, but jc takes the
	// target for a name then and loses its place in every line.
	b = fmt.Appendf(b, "(%s)", t.node(e.Dst))
	if size > 0 {
		b = fmt.Appendf(b, " %d data bytes", size-ipv6Header-echoHeader)
	}
	return t.line(b)
}

// node is "10.0.0.1", or "10.0.0.1 (10.0.0.1)" where the target was given by name: what ping prints for an
// address that has no name, and what parsers count on in that case.
func (t *pingText) node(a netip.Addr) string {
	if t.named {
		return address(a) + " (" + address(a) + ")"
	}
	return address(a)
}

func (t *pingText) probed(o *probe.Outcome) error {
	seq := o.Spec.Attempt
	switch {
	case o.Status != probe.Failed, o.Duplicate:
	case o.Answer == probe.NoAnswer:
		t.unsent++
		t.newest = max(t.newest, seq)
	default:
		t.refused++
	}
	t.flight.decided(o)
	t.tally.add(o)
	if o.Answer != probe.NoAnswer && seq <= t.newest {
		t.pipe = max(t.pipe, t.newest-seq+1)
	}
	if t.quiet {
		return nil
	}
	switch {
	case o.Status == probe.Answered && received(o):
		return t.line(t.replyLine(o))
	case o.Answer != probe.NoAnswer:
		return t.printf("From %s icmp_seq=%d %s", t.node(o.From), seq, complaint(o))
	case o.Status == probe.Failed:
		return t.printf("icmp_seq=%d not sent: %s", seq, printable(failure(o)))
	}
	return nil
}

// replyLine is "64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.042 ms". What parsers do not expect stands
// behind that, and (DUP!) at the very end.
func (t *pingText) replyLine(o *probe.Outcome) []byte {
	b := fmt.Appendf(nil, "%d bytes from %s: icmp_seq=%d", o.Bytes, t.node(o.From), o.Spec.Attempt)
	if o.TTL > 0 {
		b = fmt.Appendf(b, " ttl=%d", o.TTL)
	}
	if d, ok := rtt(o); ok {
		b = append(b, " time="...)
		b = append(b, pingTime(d)...)
		b = append(b, " ms"...)
	}
	if o.Corrupted {
		b = append(b, " (CORRUPTED!)"...)
	}
	if o.Duplicate {
		b = append(b, " (DUP!)"...)
	}
	return b
}

// pingTime has three digits behind the point below a millisecond and three in all above,
// as ping rounds them.
func pingTime(d time.Duration) string {
	us := d.Round(time.Microsecond).Microseconds()
	switch {
	case us >= 100_000-50:
		return strconv.FormatInt((us+500)/1000, 10)
	case us >= 10_000-5:
		us += 50
		return fmt.Sprintf("%d.%d", us/1000, us%1000/100)
	case us >= 1000:
		us += 5
		return fmt.Sprintf("%d.%02d", us/1000, us%1000/10)
	}
	return fmt.Sprintf("0.%03d", us)
}

// statistics counts a probe that nothing is known of yet as lost, as ping does.
func (t *pingText) statistics() error {
	if err := t.line(nil); err != nil {
		return err
	}
	if err := t.printf("--- %s ping statistics ---", printable(t.start.Target)); err != nil {
		return err
	}
	transmitted := t.flight.sent - min(t.flight.sent, t.refused)
	b := fmt.Appendf(nil, "%d packets transmitted, %d received", transmitted, t.tally.received)
	for _, c := range []struct {
		n    uint64
		what string
	}{{t.tally.duplicates, "duplicates"}, {t.tally.corrupted, "corrupted"}, {t.tally.errors + t.unsent, "errors"}} {
		if c.n > 0 {
			b = fmt.Appendf(b, ", +%d %s", c.n, c.what)
		}
	}
	if transmitted > 0 {
		lost := transmitted - min(transmitted, t.tally.received)
		loss := 100 * float64(lost) / float64(transmitted)
		b = append(b, ", "...)
		b = strconv.AppendFloat(b, loss, 'g', 6, 64) // C's %g
		b = fmt.Appendf(b, "%% packet loss, time %dms", t.last.Sub(t.first).Round(time.Millisecond).Milliseconds())
	}
	if err := t.line(b); err != nil {
		return err
	}

	b, comma := nil, ""
	if s := &t.tally.times; s.N() > 0 {
		b = append(b, "rtt min/avg/max/mdev = "...)
		for i, d := range []time.Duration{s.Min(), s.Mean(), s.Max(), s.Mdev()} {
			if i > 0 {
				b = append(b, '/')
			}
			us := d.Round(time.Microsecond).Microseconds()
			b = fmt.Appendf(b, "%d.%03d", us/1000, us%1000)
		}
		b, comma = append(b, " ms"...), ", "
	}
	if t.pipe > 1 {
		b = fmt.Appendf(b, "%spipe %d", comma, t.pipe)
	}
	return t.line(b) // an empty one where there is nothing to say: parsers count lines
}
