package report

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gtrace/probe"
)

// FpingOptions are what NewFping needs.
type FpingOptions struct {
	Names  []string  // of the targets, by number, as they are printed; "": it is not measured
	Side   io.Writer // where fping writes to standard error
	Count  int       // probes to each target (-c, -C); 0: see Loop
	Loop   bool      // without end (-l); where neither is, each target is asked until it answers
	Vector bool      // the times of all probes instead of sums of them (-C)
	Period time.Duration

	Quiet   bool // no lines for probes, targets or errors (-q); in a loop only where there are reports
	Reports bool // each so long there is a report (-Q)
	Alive   bool // the names of those that answer, alone (-a)
	Silent  bool // the names of those that do not, alone (-u)
	Elapsed bool // round-trip times with those that answer (-e)
	Stamped bool // the time before each line of a probe (-D)
	Outage  bool // the time that was lost (-o)
	Totals  bool // all numbers at the end (-s)
	Netdata bool // reports are in netdata's format (-N)
	AtLeast int  // say whether so many answered, and not who did (-x); 0: do not
	Unknown int  // targets whose names have no address, for Totals
}

// A Fping prints what fping 5.1 prints, about all targets together. Its input are For and Interim events.
//
// In fping's way a probe is sent when it is decided: its percentages do not move while a probe is under way. An
// ICMP error decides nothing, its probe times out like any other; since a target's run may be over by then,
// those lines are printed when the time has come for something else, or at Close.
type Fping struct {
	out
	side    out
	o       FpingOptions
	width   int
	targets []fpingTarget
	open    []fpingTimeout // in order
	start   time.Time
	charted bool

	sent, replies, timeouts, other uint64
	all                            fpingTimes // of all targets
}

type fpingTarget struct {
	fpingCount
	interval fpingCount
	flight   flight // of a series
	alive    bool
	ended    bool
	wait     time.Duration   // of the probe sent last
	resp     []time.Duration // of each probe; below 0: none
}

type fpingCount struct {
	sent, received int
	stand          int // answers of which only the flow is known, and that stand for a probe without one of its own
	fpingTimes
}

type fpingTimes struct {
	n             int
	sum, min, max time.Duration
}

// A fpingTimeout is a probe that was answered by an error.
type fpingTimeout struct {
	due    time.Time
	target int
	seq    uint32
}

// NewFping returns a sink that writes results to w.
func NewFping(w io.Writer, o FpingOptions) *Fping {
	f := &Fping{out: out{w: w}, side: out{w: o.Side}, o: o, targets: make([]fpingTarget, len(o.Names))}
	for _, n := range o.Names {
		f.width = max(f.width, len(Printable(n)))
	}
	return f
}

// each reports whether each probe has a line of its own.
func (f *Fping) each() bool {
	switch {
	case f.o.Loop:
		return !f.o.Reports
	case f.o.Count > 0:
		return f.verbose()
	}
	return false
}

// verbose is fping's word for it.
func (f *Fping) verbose() bool {
	return !f.o.Quiet && !f.o.Reports && !f.o.Alive && !f.o.Silent && f.o.AtLeast == 0
}

func (f *Fping) series() bool { return f.o.Loop || f.o.Count > 0 }

func (f *Fping) name(i int) string { return Printable(f.o.Names[i]) }

// Emit is probe.Sink's.
func (f *Fping) Emit(e probe.Event) error {
	switch e := e.(type) {
	case probe.Interim:
		if err := f.expire(e.At); err != nil {
			return err
		}
		return f.report(e.At)
	case *probe.For:
		return f.one(e.Target, e.Event)
	}
	return nil
}

func (f *Fping) one(i int, e probe.Event) error {
	t := &f.targets[i]
	switch e := e.(type) {
	case probe.Started:
		if f.start.IsZero() {
			f.start = e.At
		}
	case *probe.Sent:
		f.sent++
		t.wait = e.Spec.Timeout
		if f.series() {
			t.flight.left(e.Serial)
		}
		return f.expire(e.At)
	case probe.Advised:
		return f.advised(i, &e.Outcome)
	case *probe.Probed:
		return f.probed(i, t, &e.Outcome)
	case probe.Finished:
		t.ended = true
		if f.o.Names[i] != "" && e.Verdict == probe.Errored && e.Err != nil && t.sent == 0 && !t.alive && len(t.resp) == 0 { // there is no way to it
			n := max(1, f.o.Count)
			t.sent += n
			t.interval.sent += n
			f.record(t, uint32(n), -1)
			return f.unsent(i, e.Err)
		}
	}
	return nil
}

func (f *Fping) probed(i int, t *fpingTarget, o *probe.Outcome) error {
	seq := o.Spec.Attempt
	stand := t.flight.stand
	t.flight.decided(o)
	switch {
	case t.ended && (o.Status != probe.Answered || !received(o)):
		return nil // nobody waits for it
	case o.Status == probe.Lost:
		due := o.Sent.Add(o.Spec.Timeout)
		if err := f.expire(due); err != nil {
			return err
		}
		return f.timeout(fpingTimeout{due, i, seq})
	case o.Status == probe.Failed && o.Answer == probe.NoAnswer:
		t.add(-1)
		f.record(t, seq, -1)
		return f.unsent(i, o.Err)
	case o.Status == probe.Failed || !received(o):
		return f.refused(i, o)
	}
	if err := f.expire(o.At); err != nil {
		return err
	}
	f.replies++
	if o.Serial == 0 {
		if t.flight.stand > stand {
			t.stand++
			t.interval.stand++
		}
		t.alive = true
		if !f.each() {
			return nil
		}
		return f.side.printf("%s : %d bytes, which probe is not known", f.name(i), o.Bytes)
	}
	d, _ := rtt(o)
	switch {
	case d > t.wait && f.series() && !o.Late && !o.Duplicate: // nobody has called it lost yet
		return f.timeout(fpingTimeout{o.Sent.Add(t.wait), i, seq})
	case d > t.wait, o.Late && f.series():
		return nil // too late for fping
	case (o.Duplicate || t.alive) && !f.series() || o.Duplicate && !f.o.Loop: // in a loop fping has forgotten the first
		if f.each() {
			return nil
		}
		return f.side.printf("%s : duplicate for [%d], %d bytes, %s ms", f.name(i), seq-1, o.Bytes, fpingTime(d))
	}
	t.alive = true
	t.add(d)
	f.record(t, seq, d)
	f.all.add(d)
	other := ""
	if o.From != o.Spec.Dst.Addr().WithZone("") && o.From != o.Spec.Dst.Addr() {
		other = " [<- " + address(o.From) + "]"
	}
	switch {
	case f.series() && f.each():
		return f.probeLine(i, seq, o.At, fmt.Sprintf("%d bytes, %s ms", o.Bytes, fpingTime(d)), other)
	case !f.series() && (f.verbose() || f.o.Alive && f.o.AtLeast == 0):
		b := []byte(f.name(i))
		if !f.o.Alive {
			b = append(b, " is alive"...)
		}
		if f.o.Elapsed {
			b = fmt.Appendf(b, " (%s ms)", fpingTime(d))
		}
		if err := f.aside(other); err != nil {
			return err
		}
		return f.line(b)
	}
	return nil
}

// aside writes part of a line to the side.
func (f *Fping) aside(s string) error {
	if s == "" || f.side.err != nil {
		return f.side.err
	}
	_, f.side.err = io.WriteString(f.side.w, s)
	return f.side.err
}

// probeLine is "10.0.0.1 : [0], 64 bytes, 0.042 ms (0.042 avg, 0% loss)".
func (f *Fping) probeLine(i int, seq uint32, at time.Time, what, other string) error {
	t := &f.targets[i]
	var b []byte
	if f.o.Stamped {
		us := at.UnixMicro() / 10
		b = fmt.Appendf(b, "[%d.%05d] ", us/100_000, us%100_000)
	}
	b = fmt.Appendf(b, "%-*s : [%d], %s (", f.width, f.name(i), seq-1, what)
	if t.n > 0 {
		b = append(b, fpingTime(t.mean())...)
	} else {
		b = append(b, "NaN"...)
	}
	b = fmt.Appendf(b, " avg, %d%% loss)", t.loss())
	if err := f.aside(other); err != nil {
		return err
	}
	return f.line(b)
}

// refused takes an ICMP error about a probe of target i. The probe stays open for fping.
func (f *Fping) refused(i int, o *probe.Outcome) error {
	if !o.At.IsZero() {
		if err := f.expire(o.At); err != nil {
			return err
		}
	}
	if o.Duplicate {
		return nil
	}
	if !o.Late && o.Serial != 0 {
		to := fpingTimeout{o.Sent.Add(o.Spec.Timeout), i, o.Spec.Attempt}
		at, _ := slices.BinarySearchFunc(f.open, to, func(a, b fpingTimeout) int {
			if c := a.due.Compare(b.due); c != 0 {
				return c
			}
			return -1 // behind its like
		})
		f.open = slices.Insert(f.open, at, to)
	}
	if o.Spec.Dst.Addr().Is6() { // of these fping knows nothing
		return nil
	}
	f.other++
	if f.o.Quiet || f.o.Reports {
		return nil
	}
	return f.side.printf("%s from %s for ICMP Echo sent to %s", fpingError(o), address(o.From), f.name(i))
}

// advised takes a message that decides nothing.
func (f *Fping) advised(i int, o *probe.Outcome) error {
	what := ""
	switch {
	case o.Spec.Dst.Addr().Is6():
	case o.Type == 4:
		what = "ICMP Source Quench"
	case o.Type == 5:
		what = "ICMP Redirect"
	}
	if what == "" {
		return nil
	}
	f.other++
	if f.o.Quiet || f.o.Reports {
		return nil
	}
	return f.side.printf("%s from %s for ICMP Echo sent to %s", what, address(o.From), f.name(i))
}

// Alive is how many targets have answered, as far as fping is concerned.
func (f *Fping) Alive() (n int) {
	for i := range f.targets {
		if f.targets[i].alive {
			n++
		}
	}
	return n
}

// fpingUnreachable are the codes of ICMP destination unreachable as fping names them.
var fpingUnreachable = [...]string{
	"ICMP Network Unreachable",
	"ICMP Host Unreachable",
	"ICMP Protocol Unreachable",
	"ICMP Port Unreachable",
	"ICMP Unreachable (Fragmentation Needed)",
	"ICMP Unreachable (Source Route Failed)",
	"ICMP Unreachable (Destination Network Unknown)",
	"ICMP Unreachable (Destination Host Unknown)",
	"ICMP Unreachable (Source Host Isolated)",
	"ICMP Unreachable (Communication with Network Prohibited)",
	"ICMP Unreachable (Communication with Host Prohibited)",
	"ICMP Unreachable (Network Unreachable For Type Of Service)",
	"ICMP Unreachable (Host Unreachable For Type Of Service)",
	"ICMP Unreachable (Communication Administratively Prohibited)",
	"ICMP Unreachable (Host Precedence Violation)",
	"ICMP Unreachable (Precedence cutoff in effect)",
}

// fpingError names an ICMP error over IPv4.
func fpingError(o *probe.Outcome) string {
	switch o.Answer {
	case probe.TimeExceeded:
		return "ICMP Time Exceeded"
	case probe.ParameterProblem:
		return "ICMP Parameter Problem"
	}
	if int(o.Code) < len(fpingUnreachable) {
		return fpingUnreachable[o.Code]
	}
	return "ICMP Unreachable (Invalid Code)"
}

// unsent tells that a probe to target i did not leave.
func (f *Fping) unsent(i int, why error) error {
	if f.series() || !f.verbose() || why == nil {
		return nil
	}
	for inner := errors.Unwrap(why); inner != nil; inner = errors.Unwrap(why) {
		why = inner
	}
	text := why.Error()
	return f.side.printf("%s: error while sending ping: %s", f.name(i), Printable(strings.ToUpper(text[:min(1, len(text))])+text[min(1, len(text)):]))
}

// expire is the time for what was to be lost by then.
func (f *Fping) expire(now time.Time) error {
	for len(f.open) > 0 && !f.open[0].due.After(now) {
		to := f.open[0]
		f.open = f.open[1:]
		if err := f.timeout(to); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fping) timeout(to fpingTimeout) error {
	f.timeouts++
	t := &f.targets[to.target]
	t.add(-1)
	f.record(t, to.seq, -1)
	if !f.series() || !f.each() {
		return nil
	}
	return f.probeLine(to.target, to.seq, to.due, "timed out", "")
}

// add counts a probe; a time below 0 is none.
func (t *fpingTarget) add(d time.Duration) {
	for _, c := range []*fpingCount{&t.fpingCount, &t.interval} {
		c.sent++
		if d >= 0 {
			c.received++
			c.add(d)
		}
	}
}

// record keeps the time of t's probe of that number for the line of all of them. They are not decided in order.
func (f *Fping) record(t *fpingTarget, seq uint32, d time.Duration) {
	if !f.o.Vector {
		return
	}
	for len(t.resp) < int(seq) {
		t.resp = append(t.resp, -1)
	}
	t.resp[seq-1] = d
}

func (s *fpingTimes) add(d time.Duration) {
	if s.n == 0 || d < s.min {
		s.min = d
	}
	s.n++
	s.sum += d
	s.max = max(s.max, d)
}

func (s *fpingTimes) mean() time.Duration { return s.sum / time.Duration(max(1, s.n)) }

// answered is how many probes were, by an answer of their own or one that stands for it.
func (c *fpingCount) answered() int { return c.received + min(c.stand, c.sent-c.received) }

// restart begins the next interval: a probe may be decided in another than its answer came in.
func (c *fpingCount) restart() {
	*c = fpingCount{stand: c.stand - min(c.stand, c.sent-c.received)}
}

// loss is a whole number of percents, cut off.
func (c *fpingCount) loss() int {
	if c.sent == 0 {
		return 0
	}
	return (c.sent - c.answered()) * 100 / c.sent
}

// fpingTime is in milliseconds, of three digits.
func fpingTime(d time.Duration) string {
	ms := float64(d) / 1e6
	switch {
	case ms < 1:
		return strconv.FormatFloat(ms, 'f', 3, 64)
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64)
	case ms < 100:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}

// report is what each interval ends with.
func (f *Fping) report(at time.Time) error {
	if f.o.Netdata {
		return f.netdata()
	}
	if f.verbose() || f.each() {
		if err := f.side.line(nil); err != nil {
			return err
		}
	}
	if err := f.side.line(at.Local().AppendFormat(nil, "[15:04:05]")); err != nil {
		return err
	}
	for i := range f.targets {
		c := &f.targets[i].interval
		if f.o.Names[i] != "" {
			if err := f.countLine(i, c); err != nil {
				return err
			}
		}
		c.restart()
	}
	return nil
}

// countLine is "10.0.0.1 : xmt/rcv/%loss = 3/3/0%, min/avg/max = 0.054/0.058/0.065".
func (f *Fping) countLine(i int, c *fpingCount) error {
	b := fmt.Appendf(nil, "%-*s : xmt/rcv/%%loss = %d/%d/%d%%", f.width, f.name(i), c.sent, c.answered(), c.loss())
	if f.o.Outage {
		b = fmt.Appendf(b, ", outage(ms) = %d", int64(c.sent-c.answered())*f.o.Period.Milliseconds())
	}
	if c.n > 0 {
		b = fmt.Appendf(b, ", min/avg/max = %s/%s/%s", fpingTime(c.min), fpingTime(c.mean()), fpingTime(c.max))
	}
	return f.side.line(b)
}

// netdata prints a report as a plug-in of netdata does.
func (f *Fping) netdata() error {
	var b []byte
	for i := range f.targets {
		c := &f.targets[i].interval
		if f.o.Names[i] == "" {
			continue
		}
		name := f.name(i)
		id := strings.NewReplacer(".", "_", ":", "_").Replace(name)
		chart := func(kind, title, unit, order string, dimensions ...string) {
			if !f.charted {
				b = fmt.Appendf(b, "CHART fping.%s_%s '' 'FPing %s for host %s' %s '%s' fping.%s %s\n", id, kind, title, name, unit, name, kind, order)
				for _, d := range dimensions {
					b = fmt.Appendf(b, "DIMENSION %s\n", d)
				}
			}
			b = fmt.Appendf(b, "BEGIN fping.%s_%s\n", id, kind)
		}
		chart("packets", "Packets", "packets", "line 110020 1", "xmt sent absolute 1 1", "rcv received absolute 1 1")
		b = fmt.Appendf(b, "SET xmt = %d\nSET rcv = %d\nEND\n", c.sent, c.answered())
		chart("quality", "Quality", "percentage", "area 110010 1", "returned '' absolute 1 1")
		returned := 0
		if c.sent > 0 {
			returned = c.answered() * 100 / c.sent
		}
		b = fmt.Appendf(b, "SET returned = %d\nEND\n", returned)
		chart("latency", "Latency", "ms", "area 110000 1", "min minimum absolute 1 1000000", "max maximum absolute 1 1000000", "avg average absolute 1 1000000")
		if c.n > 0 {
			b = fmt.Appendf(b, "SET min = %d\nSET avg = %d\nSET max = %d\n", c.min.Nanoseconds(), c.mean().Nanoseconds(), c.max.Nanoseconds())
		}
		b = append(b, "END\n"...)
		c.restart()
	}
	f.charted = true
	if len(b) == 0 {
		return nil
	}
	return f.line(b[:len(b)-1])
}

// Close prints what comes at the end.
func (f *Fping) Close(now time.Time) error {
	if n := len(f.open); n > 0 && !f.interrupted() {
		if err := f.expire(f.open[n-1].due); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(f.o.Names, func(n string) bool { return n != "" }) {
		return nil // as fping, which does not begin then
	}
	alive, silent := 0, 0
	for i := range f.targets {
		switch {
		case f.o.Names[i] == "":
			continue
		case f.targets[i].alive:
			alive++
			continue
		}
		silent++
		if f.series() || !f.verbose() && (!f.o.Silent || f.o.AtLeast > 0) {
			continue
		}
		line := f.name(i)
		if !f.o.Silent {
			line += " is unreachable"
		}
		if err := f.printf("%s", line); err != nil {
			return err
		}
	}
	if f.series() {
		if err := f.statistics(); err != nil {
			return err
		}
	}
	if n := f.o.AtLeast; n > 0 {
		not, enough := "Enough", alive >= n
		if !enough {
			not = "Not enough"
		}
		if err := f.printf("%s hosts reachable (required: %d, reachable: %d)", not, n, alive); err != nil {
			return err
		}
	}
	if f.o.Totals {
		return f.totals(now, alive, silent)
	}
	return nil
}

func (f *Fping) interrupted() bool { return f.o.Loop }

func (f *Fping) statistics() error {
	if f.verbose() || f.each() {
		if err := f.side.line(nil); err != nil {
			return err
		}
	}
	for i := range f.targets {
		t := &f.targets[i]
		if f.o.Names[i] == "" {
			continue
		}
		if !f.o.Vector {
			if err := f.countLine(i, &t.fpingCount); err != nil {
				return err
			}
			continue
		}
		b := fmt.Appendf(nil, "%-*s :", f.width, f.name(i))
		for _, d := range t.resp {
			if d < 0 {
				b = append(b, " -"...)
			} else {
				b = append(append(b, ' '), fpingTime(d)...)
			}
		}
		if err := f.side.line(b); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fping) totals(now time.Time, alive, silent int) error {
	elapsed := time.Duration(0)
	if !f.start.IsZero() {
		elapsed = now.Sub(f.start)
	}
	return f.side.printf(`
%8d targets
%8d alive
%8d unreachable
%8d unknown addresses

%8d timeouts (waiting for response)
%8d ICMP Echos sent
%8d ICMP Echo Replies received
%8d other ICMP received

 %s ms (min round trip time)
 %s ms (avg round trip time)
 %s ms (max round trip time)
 %12.3f sec (elapsed real time)
`, alive+silent, alive, silent, f.o.Unknown, f.timeouts, f.sent, f.replies, f.other,
		fpingTime(f.all.min), fpingTime(f.all.mean()), fpingTime(f.all.max), elapsed.Seconds())
}
