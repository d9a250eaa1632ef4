package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"time"
	"unicode"

	"gtrace/internal/stats"
	"gtrace/probe"
)

// Bytes of a header in front of the payload that ping counts.
const (
	ipv4Header = 20
	ipv6Header = 40
	echoHeader = 8
	tcpHeader  = 40 // with an ordinary client's options
)

const (
	timeBytes   = 16 // of the payload, which iputils has a time in and compares none of
	ownBytes    = 12 // of the payload, which the engine has its own in: what they should be is not known here
	wideOptions = 40 // what iputils counts for IPv4 options, however many they are
)

// pingText prints what iputils ping 20221126 prints. Unless Options.Literal asks for all of that, it differs in five places: a
// late reply is printed when it comes and counts as received, the times in the
// statistics leave duplicates out, a probe that did not leave this host is
// not transmitted: it is one of the errors, and has a line of its own; a payload that
// came back other than it was sent is counted; and a time is told also where the payload is too short for iputils to have one.
//
// Names are what Options.Names knows. They are waited for, and so no longer than that has them waited for.
type pingText struct {
	out
	o     Options
	open  bool // a target is being printed
	next  bool // one was before
	named bool // the target was given by name, and numeric is not set
	start probe.Started
	pingTally
}

type pingTally struct {
	tally       tally
	times       stats.Series  // Literal: duplicates too
	smooth      time.Duration // round-trip time, an eighth of each new one taken over
	part        stretch       // since the last report
	flight      flight
	unsent      uint64 // did not leave
	tooLong     uint64 // of them, for their size
	refused     uint64 // left, but got no further than this host, as its own ICMP error says
	first, last time.Time
	newest      uint32 // attempt of the newest probe
	pipe        uint32 // how many were on their way at once, at most
	route       string // that the last reply recorded
	swept       *probe.Swept
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
	case *probe.Sent:
		t.flight.left(e.Serial)
		t.part.sent++
		if t.first.IsZero() {
			t.first = e.At
		}
		t.last = e.At
		t.newest = max(t.newest, e.Spec.Attempt)
		if t.o.Flood && !t.o.Quiet {
			return t.raw(".")
		}
	case *probe.Probed:
		if t.over() {
			return nil
		}
		return t.probed(&e.Outcome)
	case probe.Advised:
		return t.advised(&e.Outcome)
	case probe.Waiting:
		if t.o.Waiting {
			return t.line(fmt.Appendf(t.stamp(e.At), "no answer yet for icmp_seq=%d", t.seq(e.Spec.Attempt)))
		}
	case probe.Swept:
		t.swept = &e
	case probe.Interim:
		t.interim(e.Resets)
	case probe.Finished:
		t.open = false
		return t.statistics()
	}
	return nil
}

// over reports whether iputils has ended: with the last answer that it waits for, whatever else has come by then.
func (t *pingText) over() bool {
	n := uint64(t.start.Method.Attempts)
	return t.o.Literal != "" && n > 0 && t.tally.received+t.tally.errors >= n
}

// raw writes what is no whole line, as a flood does.
func (t *pingText) raw(s string) error {
	if t.err == nil {
		if _, err := io.WriteString(t.w, s); err != nil {
			t.err = fmt.Errorf("write output: %w", err)
		}
	}
	return t.err
}

// overhead is how many bytes of a packet ping does not count as data.
func overhead(s *probe.Started) int {
	n := ipv4Header + s.Method.Options
	if s.Dst.Is6() {
		n = ipv6Header + s.Method.Options
	}
	if s.Method.Proto == probe.TCP {
		return n + tcpHeader
	}
	return n + echoHeader
}

func (t *pingText) begin(e probe.Started) error {
	if t.next {
		if err := t.line(nil); err != nil {
			return err
		}
	}
	t.open, t.next, t.start, t.pingTally = true, true, e, pingTally{}
	_, numeric := Address(e.Target)
	t.named = !t.o.Numeric && (!numeric || t.o.Always)
	if t.named && t.o.Names != nil {
		t.o.Names.Ask(e.Dst)
	}
	b := append(make([]byte, 0, 96), "PING "...)
	b = append(b, Printable(e.Target)...)
	m := &e.Method
	payload := m.Size - overhead(&t.start)
	if m.Proto == probe.NodeInfo && t.o.Literal != "" {
		payload = 56 // whatever a query has
	}
	from := ""
	if t.o.From {
		from = fmt.Sprintf("from %s %s: ", address(e.Src), Printable(t.o.Device))
	}
	if e.Dst.Is4() {
		b = append(append(append(b, " ("...), address(e.Dst)...), ") "...)
		b = append(b, from...)
		if size := m.Size; size > 0 {
			if t.o.Literal != "" && m.Options > 0 {
				size += wideOptions - m.Options
			}
			b = append(strconv.AppendInt(b, int64(payload), 10), '(')
			b = append(strconv.AppendInt(b, int64(size), 10), ") bytes of data."...)
		}
		if w := m.Sweep; w != nil {
			b = fmt.Appendf(b, "%d(%d) to %d(%d) bytes of data.", w.From-overhead(&t.start), w.From, w.To-overhead(&t.start), w.To)
		}
		return t.line(bytes.TrimRight(b, " "))
	}
	// iputils of 2024 and later has a blank before "(" here, but jc takes the
	// target for a name then and loses its place in every line.
	b = fmt.Appendf(b, "(%s) ", t.node(e.Dst))
	if t.o.Label && m.Label != nil {
		b = fmt.Appendf(b, ", flow 0x%05x, ", *m.Label)
	}
	b = append(b, from...)
	if m.Size > 0 {
		b = fmt.Appendf(b, "%d data bytes", payload)
	}
	if w := m.Sweep; w != nil {
		b = fmt.Appendf(b, "%d to %d data bytes", w.From-overhead(&t.start), w.To-overhead(&t.start))
	}
	return t.line(bytes.TrimRight(b, " "))
}

// node is "10.0.0.1", or "router.example.org (10.0.0.1)" where the target was given by name, or "10.0.0.1 (10.0.0.1)" where
// the address has none: what ping prints, and what parsers count on in that case.
func (t *pingText) node(a netip.Addr) string {
	if !t.named {
		return address(a)
	}
	name := ""
	if t.o.Names != nil {
		t.o.Names.Ask(a)
		name = nameOf(t.o.Names, a)
	}
	if name == "" {
		name = address(a)
	}
	return name + " (" + address(a) + ")"
}

// seq is the number of a probe as ping prints it: iputils has 16 bits of it.
func (t *pingText) seq(attempt uint32) uint32 {
	if t.o.Literal != "" {
		return uint32(uint16(attempt))
	}
	return attempt
}

// stamp begins a line with the time, if that is asked for.
func (t *pingText) stamp(at time.Time) []byte {
	if !t.o.Stamped || at.IsZero() {
		return nil
	}
	return fmt.Appendf(nil, "[%d.%06d] ", at.Unix(), at.Nanosecond()/1000)
}

func (t *pingText) probed(o *probe.Outcome) error {
	seq := o.Spec.Attempt
	local := o.Status == probe.Failed && o.Answer == probe.NoAnswer
	switch {
	case o.Status != probe.Failed, o.Duplicate:
	case local:
		t.unsent++
		if o.Errno == "EMSGSIZE" {
			t.tooLong++
		}
		if t.first.IsZero() && t.o.Literal != "" {
			t.first, t.last = o.Sent, o.Sent
		}
		t.newest = max(t.newest, seq)
	default:
		t.refused++
	}
	t.flight.decided(o)
	t.tally.add(o)
	reply := o.Status == probe.Answered && received(o)
	if reply && !o.Duplicate {
		t.part.received++
	}
	if d, ok := rtt(o); ok && reply {
		t.times.Add(d)
		t.part.times.Add(d)
		t.smooth, t.part.smooth = smoothed(t.smooth, d), smoothed(t.part.smooth, d)
	}
	late := t.o.Literal != "" && !reply && t.start.Dst.Is6() // iputils does not take such an error for an answer here
	if o.Answer != probe.NoAnswer && o.Serial != 0 && seq <= t.newest && !late {
		t.pipe = max(t.pipe, t.newest-seq+1)
	}
	if t.o.Quiet {
		return nil
	}
	if t.o.Flood {
		bell := ""
		if t.o.Bell {
			bell = "\a"
		}
		switch {
		case reply:
			return t.raw("\b \b" + bell)
		case o.Answer != probe.NoAnswer:
			return t.raw("\bE")
		case local:
			return t.raw("E")
		}
		return nil
	}
	switch {
	case o.Serial == 0 && reply:
		return t.unattributed(o)
	case o.Serial == 0:
		return t.line(fmt.Appendf(t.stamp(o.At), "From %s %s, which probe is not known", t.node(o.From), complaint(o)))
	case reply:
		return t.reply(o)
	case o.Answer != probe.NoAnswer:
		return t.line(fmt.Appendf(t.stamp(o.At), "From %s icmp_seq=%d %s", t.node(o.From), t.seq(seq), complaint(o)))
	case local && t.o.Literal != "":
		return t.unsendable(o)
	case local:
		return t.line(fmt.Appendf(t.stamp(o.At), "icmp_seq=%d not sent: %s", seq, Printable(failureText(o))))
	}
	return nil
}

// unsendable says, where iputils does, why a probe did not leave. An error of standard error has no remedy.
func (t *pingText) unsendable(o *probe.Outcome) error {
	if t.o.Side == nil {
		return nil
	}
	what := "sendmsg: " + reason(o.Err)
	if o.Errno == "EMSGSIZE" {
		what = "local error: message too long"
		switch {
		case o.MTU > 0 && t.start.Dst.Is6():
			what += fmt.Sprintf(", mtu: %d", o.MTU)
		case o.MTU > 0:
			what += fmt.Sprintf(", mtu=%d", o.MTU)
		}
	}
	_, _ = fmt.Fprintf(t.o.Side, "%s: %s\n", t.o.Literal, Printable(what))
	return nil
}

// failureText is the system's name of the error and, behind it, what that means: the error without the destination, which a SendError
// has in front.
func failureText(o *probe.Outcome) string {
	why := errors.Unwrap(o.Err)
	if o.Errno == "" || why == nil {
		return failure(o)
	}
	return fmt.Sprintf("%s (%v)", o.Errno, why)
}

// reason is the innermost of an error's words as C has them: those of Go begin with a small letter.
func reason(err error) string {
	if err == nil {
		return "Unknown error"
	}
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || u.Unwrap() == nil {
			break
		}
		err = u.Unwrap()
	}
	r := []rune(err.Error())
	if len(r) > 0 {
		r[0] = unicode.ToUpper(r[0])
	}
	return string(r)
}

func (t *pingText) advised(o *probe.Outcome) error {
	if t.o.Quiet || t.o.Flood {
		return nil
	}
	what := advice(o)
	if what == "" {
		if !t.o.Verbose {
			return nil
		}
		what = complaint(o)
	}
	return t.line(fmt.Appendf(t.stamp(o.At), "From %s: icmp_seq=%d %s", t.node(o.From), t.seq(o.Spec.Attempt), what))
}

// unattributed prints an answer of which only the flow is known. It does not begin as a reply's line does: jc, which
// counts words, would take the TTL for the sequence number that is not there.
func (t *pingText) unattributed(o *probe.Outcome) error {
	b := fmt.Appendf(t.stamp(o.At), "From %s: %d bytes", t.node(o.From), o.Bytes)
	if o.TTL > 0 {
		b = fmt.Appendf(b, " ttl=%d", o.TTL)
	}
	b = append(b, " answered, which probe is not known"...)
	if t.o.Bell {
		b = append(b, '\a')
	}
	return t.line(b)
}

// reply prints "64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.042 ms". What parsers do not expect stands
// behind that, and (DUP!) at the very end.
func (t *pingText) reply(o *probe.Outcome) error {
	b := fmt.Appendf(t.stamp(o.At), "%d bytes from %s:", o.Bytes, t.node(o.From))
	switch o.Spec.Proto {
	case probe.NodeInfo:
		b = append(b, nodeText(o)...)
		b = fmt.Appendf(b, "; seq=%d;", t.seq(o.Spec.Attempt))
	case probe.TCP, probe.UDP:
		b = fmt.Appendf(b, " %s_seq=%d", o.Spec.Proto, t.seq(o.Spec.Attempt))
	default:
		b = fmt.Appendf(b, " icmp_seq=%d", t.seq(o.Spec.Attempt))
	}
	if t.o.Verbose && o.Spec.Proto.IsICMP() {
		b = fmt.Appendf(b, " ident=%d", o.Spec.Src.Port())
	}
	if o.TTL > 0 {
		b = fmt.Appendf(b, " ttl=%d", o.TTL)
	}
	size := t.start.Method.Size
	if t.start.Method.Sweep != nil {
		size = o.Spec.Size
	}
	if o.Answer == probe.EchoReply && size > 0 && o.Bytes < size-overhead(&t.start)+echoHeader {
		return t.line(append(b, " (truncated)"...))
	}
	if d, ok := rtt(o); ok && t.timed() {
		b = append(b, " time="...)
		if t.o.Precise {
			b = thousandths(b, d)
		} else {
			b = append(b, pingTime(d)...)
		}
		b = append(b, " ms"...)
	}
	b = append(b, kindText(o)...)
	data, told := wrongData(o)
	if o.Corrupted && !told && t.o.Literal == "" {
		b = append(b, " (CORRUPTED!)"...)
	}
	if o.Duplicate && (!o.Spec.Dst.Addr().IsMulticast() || t.o.Verbose) {
		b = append(b, " (DUP!)"...)
	}
	if a := o.Spec.Dst.Addr(); t.o.Literal != "" && o.From.WithZone("") != a.WithZone("") && !a.IsMulticast() && !t.o.Crowd {
		b = append(b, " (DIFFERENT ADDRESS!)"...)
	}
	b = append(b, data...)
	if t.o.Bell {
		b = append(b, '\a')
	}
	for _, l := range bytes.Split(t.recorded(b, o.Options), []byte("\n")) {
		if err := t.line(l); err != nil {
			return err
		}
	}
	return nil
}

// timed reports whether times are printed: iputils has the time of departure in the payload, and none where that is too short.
func (t *pingText) timed() bool {
	m := &t.start.Method
	return t.o.Literal == "" || m.Proto == probe.NodeInfo || m.Size == 0 || m.Size-overhead(&t.start) >= timeBytes
}

// wrongData shows a payload that is not what was sent, from the first byte of it that is wrong, and whether it
// could.
func wrongData(o *probe.Outcome) (b []byte, told bool) {
	if !o.Corrupted {
		return nil, false
	}
	should := func(i int) byte {
		if p := o.Spec.Pattern; p != "" {
			return p[i%len(p)]
		}
		return byte(i)
	}
	wrong := -1
	for i := ownBytes; i < len(o.Payload) && wrong < 0; i++ {
		if o.Payload[i] != should(i) {
			wrong = i
		}
	}
	if wrong < 0 {
		return nil, false
	}
	b = fmt.Appendf(nil, "\nwrong data byte #%d should be 0x%x but was 0x%x", wrong, should(wrong), o.Payload[wrong])
	for i := timeBytes; i < len(o.Payload); i++ {
		if i%32 == timeBytes {
			b = fmt.Appendf(b, "\n#%d\t", i)
		}
		b = fmt.Appendf(b, "%x ", o.Payload[i])
	}
	return b, true
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

// thousandths appends milliseconds with three digits behind the point, as the statistics have them.
func thousandths(b []byte, d time.Duration) []byte {
	us := d.Round(time.Microsecond).Microseconds()
	if us < 0 {
		b, us = append(b, '-'), -us
	}
	b = append(strconv.AppendInt(b, us/1000, 10), '.')
	return append(b, byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

// slashed is several of them with slashes between.
func slashed(b []byte, ds ...time.Duration) []byte {
	for i, d := range ds {
		if i > 0 {
			b = append(b, '/')
		}
		b = thousandths(b, d)
	}
	return b
}

// transmitted is how many probes count as that.
func (t *pingText) transmitted() uint64 {
	if t.o.Literal != "" {
		return t.flight.sent + t.unsent
	}
	return t.flight.sent - min(t.flight.sent, t.refused)
}

// received is how many of them the destination answered.
func (t *pingText) received() uint64 {
	return t.tally.received + t.flight.stand
}

// series is the times that the statistics are about.
func (t *pingText) series() *stats.Series {
	if t.o.Literal != "" {
		return &t.times
	}
	return &t.tally.times
}

// statistics counts a probe that nothing is known of yet as lost, as ping does.
func (t *pingText) statistics() error {
	if err := t.line(nil); err != nil {
		return err
	}
	b := append(make([]byte, 0, 128), "--- "...)
	b = append(append(b, Printable(t.start.Target)...), " ping statistics ---"...)
	if err := t.line(b); err != nil {
		return err
	}
	transmitted, received := t.transmitted(), t.received()
	errors, corrupted := t.tally.errors+t.unsent, t.tally.corrupted
	if t.o.Literal != "" {
		errors, corrupted = t.tally.errors+t.tooLong, 0
	}
	b = append(strconv.AppendUint(b[:0], transmitted, 10), " packets transmitted, "...)
	b = append(strconv.AppendUint(b, received, 10), " received"...)
	clauses := []struct {
		n    uint64
		what string
	}{{t.tally.duplicates, "duplicates"}, {corrupted, "corrupted"}, {errors, "errors"}}
	if t.o.IntegerLoss { // who reads it so reads no more than one of them
		clauses = clauses[2:]
		if errors == 0 {
			clauses[0].n, clauses[0].what = t.tally.duplicates, "duplicates"
		}
	}
	for _, c := range clauses {
		if c.n > 0 {
			b = fmt.Appendf(b, ", +%d %s", c.n, c.what)
		}
	}
	elapsed := t.last.Sub(t.first)
	if transmitted > 0 {
		lost := transmitted - min(transmitted, received)
		b = append(b, ", "...)
		b = append(b, t.loss(lost, transmitted)...)
		b = append(b, "% packet loss, time "...)
		b = append(strconv.AppendInt(b, elapsed.Round(time.Millisecond).Milliseconds(), 10), "ms"...)
	}
	if err := t.line(b); err != nil {
		return err
	}

	b = b[:0]
	if s := t.series(); s.N() > 0 && t.timed() {
		b = append(slashed(append(b, "rtt min/avg/max/mdev = "...), s.Min(), s.Mean(), s.Max(), s.Mdev()), " ms, "...)
	}
	if t.pipe > 1 {
		b = append(strconv.AppendUint(append(b, "pipe "...), uint64(t.pipe), 10), ", "...)
	}
	if t.o.Rounds && t.times.N() > 0 && transmitted > 1 {
		gap := elapsed / time.Duration(transmitted-1)
		b = append(slashed(append(b, "ipg/ewma "...), gap, t.smooth), " ms, "...)
	}
	err := t.line(bytes.TrimSuffix(b, []byte(", "))) // an empty line where there is nothing to say: parsers count lines
	if err == nil && t.swept != nil {
		err = t.printf("%s", sweepLine(&t.start, t.swept))
	}
	return err
}

// loss is a percentage as C's %g prints it; or a whole number, that is 0 and 100 only where all or nothing came.
func (t *pingText) loss(lost, of uint64) string {
	l := 100 * float64(lost) / float64(of)
	if !t.o.IntegerLoss {
		return strconv.FormatFloat(l, 'g', 6, 64)
	}
	n := math.Round(l)
	if lost > 0 {
		n = max(n, 1)
	}
	if lost < of {
		n = min(n, 99)
	}
	return strconv.Itoa(int(n))
}

// interim prints iputils' short statistics, which SIGQUIT asks for; or, where that resets, those of an interval, on a line that says
// whose they are. An error of standard error has no remedy.
func (t *pingText) interim(resets bool) {
	if t.o.Side == nil {
		return
	}
	p := stretch{t.transmitted(), t.received(), *t.series(), t.smooth}
	b := []byte("\r")
	if resets {
		p, t.part = t.part, stretch{}
		b = fmt.Appendf(nil, "%s : ", Printable(t.start.Target))
	}
	_, _ = t.o.Side.Write(p.short(b, t.timed()))
}

// short appends the line of short statistics.
func (p *stretch) short(b []byte, timed bool) []byte {
	b = fmt.Appendf(b, "%d/%d packets", p.received, p.sent)
	loss := uint64(0)
	if p.sent > 0 {
		loss = 100 * (p.sent - min(p.sent, p.received)) / p.sent
	}
	b = fmt.Appendf(b, ", %d%% loss", loss)
	if s := &p.times; s.N() > 0 && timed {
		b = append(slashed(append(b, ", min/avg/ewma/max = "...), s.Min(), s.Mean(), p.smooth, s.Max()), " ms"...)
	}
	return append(b, '\n')
}

// A stretch is what short statistics are about.
type stretch struct {
	sent, received uint64
	times          stats.Series
	smooth         time.Duration
}

// smoothed takes an eighth of a new time over.
func smoothed(before, d time.Duration) time.Duration {
	if before == 0 {
		return d
	}
	return before + (d-before)/8
}
