package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gtrace/probe"
	"gtrace/probe/ping"
	"gtrace/report"
)

// formatFping is the output of fping, of gping alone.
const formatFping = "fping"

// aliveHosts is how many hosts are asked at once until they answer: what they hold is let go of when they do.
const aliveHosts = 1 << 14

// A pingFleet is what gping has for many hosts.
type pingFleet struct {
	retrying bool // until the first answer
	retries  int
	backoff  float64
	every    time.Duration // reports; 0: none
	gap      time.Duration // between any two packets; 0: none
	least    int           // hosts that must answer; 0: all
	alive    bool          // list the hosts that answer
	silent   bool          // list those that do not
	fpings   bool          // in all that fping does otherwise: each probe has its whole timeout, whoever answers
	fping    report.FpingOptions
	names    []string      // of the hosts, where they are not what the user wrote
	sink     *report.Fping // nil where the output is another
}

// leastReport is how often there are reports at most.
const leastReport = 10 * time.Millisecond

// defaultRetries and defaultRetryTimeout are fping's.
const (
	defaultRetries      = 3
	defaultRetryTimeout = 500 * time.Millisecond
	defaultBackoff      = 1.5
)

// fleetOptions are what gping has for many hosts.
func (t *pingTool) fleetOptions() []option {
	f := &t.fleet
	const group = "Many hosts"
	return []option{
		{long: "retry", value: "N", group: group, set: func(v string) error {
			f.retrying = true
			return count(&f.retries, 0, ping.MaxRetries)(v)
		}, help: "ask each host until it answers, N times more than once;\n--timeout is 0.5 then, unless given"},
		{long: "backoff", value: "FACTOR", group: group, set: backoff(&f.backoff),
			help: "with --retry, wait so many times longer after each try, 1 to 5;\ndefault 1.5"},
		{long: "global-interval", value: "SECONDS", group: group, set: seconds(&f.gap, 10*time.Microsecond, time.Hour),
			help: "between any two requests, whatever host they go to; --interval\nis between two to one host"},
		{long: "report", value: "SECONDS", group: group, set: seconds(&f.every, leastReport, longest),
			help: "statistics of each such interval, on standard error"},
		{long: "min-alive", value: "N", group: group, set: count(&f.least, 1, maxTargets),
			help: "exit with 0 if and only if at least N hosts answered"},
		{long: "alive", group: group, set: flag(&f.alive),
			help: "print the hosts that answer, one a line, and nothing else; as --unreachable,\nwith --retry 3 where no other number is given"},
		{long: "unreachable", group: group, set: flag(&f.silent), help: "print the hosts that did not answer, at the end"},
	}
}

func backoff(into *float64) func(string) error {
	return func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f >= 1 && f <= 5) {
			return errors.New("want a factor from 1 to 5, such as 1.5")
		}
		*into = f
		return nil
	}
}

func (t *pingTool) atOnce() int {
	if t.fleet.retrying {
		return aliveHosts
	}
	return maxTargets // a series to each goes on at the same time
}

func (t *pingTool) atOnceHelp() string {
	return fmt.Sprintf("all, up to %d;\nwith --retry %d", maxTargets, aliveHosts)
}

// checkFleet looks at these options together, and settles what follows from them.
func (t *pingTool) checkFleet(s *session) error {
	f := &t.fleet
	lists := f.alive || f.silent
	if lists && t.count == 0 && t.deadline == 0 && !f.retrying {
		f.retrying, f.retries = true, defaultRetries
	}
	switch {
	case f.alive && f.silent:
		return errors.New("--alive and --unreachable exclude each other")
	case lists && !f.fpings && (t.count != 0 || t.deadline != 0):
		return fmt.Errorf("--%s: each host is asked until it answers: --retry says how often, not --count nor --deadline", listOf(f))
	case lists && s.format != defaultFormat && s.format != formatFping:
		return fmt.Errorf("--%s: a list is text, not %s, where \"outcome\" says it", listOf(f), s.format)
	case f.retrying && s.given["count"]:
		return errors.New("--retry and --count exclude each other: the first answer ends a host's turn, or its N requests do")
	case f.retrying && s.given["deadline"]:
		return errors.New("--retry and --deadline exclude each other")
	case s.given["backoff"] && !f.retrying && !lists:
		return errors.New("--backoff: is for --retry")
	case f.retrying && !f.fpings && (t.intervalGiven || t.flood || t.adaptive || t.preload > 1):
		return errors.New("--retry: a host is asked again when --timeout has passed, and no sooner: neither --interval, --flood, --adaptive nor --preload")
	case f.retrying && f.retries > 0 && t.timeout < leastInterval && s.given["timeout"] && !s.env.Root:
		return fmt.Errorf("--timeout %s: only root may ask again after less than %s seconds", inSeconds(t.timeout), inSeconds(leastInterval))
	case s.format == formatFping && !f.fpings && (s.named || t.integerLoss):
		return errors.New("--names and --loss-format: fping's lines have neither")
	case f.every != 0 && s.format != defaultFormat && s.format != formatFping:
		return fmt.Errorf("--report: is text on standard error, which goes with --format text or fping, not with %s", s.format)
	}
	if f.backoff == 0 {
		f.backoff = defaultBackoff
	}
	if f.retrying && !s.given["timeout"] {
		t.timeout = defaultRetryTimeout
	}
	if lists && s.format == defaultFormat {
		s.format, f.fping.Quiet = formatFping, true // and nothing but the list
	}
	f.fping.Alive, f.fping.Silent = f.fping.Alive || f.alive, f.fping.Silent || f.silent
	return nil
}

func listOf(f *pingFleet) string {
	if f.alive {
		return "alive"
	}
	return "unreachable"
}

// algorithm is what asks one host: of one size, or those of sizes where that is not nil.
func (t *pingTool) algorithm(c ping.Config, sizes *probe.Sweep) (probe.Algorithm, error) {
	f := &t.fleet
	var a probe.Algorithm
	var err error
	switch {
	case sizes != nil:
		a, err = ping.NewSweep(c, *sizes)
	case f.retrying:
		a, err = ping.NewAlive(c, ping.Tries{Retries: f.retries, Backoff: f.backoff, InTime: f.fpings})
	case f.fpings:
		var p *ping.P
		p, err = ping.New(c)
		a = &unhurried{P: p}
	default:
		a, err = ping.New(c)
	}
	switch {
	case err != nil:
		return nil, err
	case f.fpings:
		return asked{a, anybodys}, nil
	}
	return a, nil
}

// asked changes every probe that an algorithm asks for.
type asked struct {
	probe.Algorithm
	change func(*probe.Spec)
}

func (a asked) Step(in probe.Input, out *probe.Output) {
	a.Algorithm.Step(in, out)
	for i := range out.Send {
		a.change(&out.Send[i])
	}
}

// anybodys is for an answer from whoever gives it, this host included, as fping, which tells the address where it is another.
func anybodys(s *probe.Spec) { s.Any, s.Own = true, true }

// An unhurried ping gives every probe its whole timeout, as fping does, where ping waits two round trips for the last, and
// no longer for one that an error came back for.
type unhurried struct {
	*ping.P
	due  time.Time      // when the last of those would have been lost
	end  probe.Finished // P's, where over
	over bool
}

func (u *unhurried) Step(in probe.Input, out *probe.Output) {
	for i := range in.Outcomes {
		o := &in.Outcomes[i]
		if due := o.Sent.Add(o.Spec.Timeout); o.Answer != probe.NoAnswer && !o.Answer.Terminal() && due.After(u.due) {
			u.due = due
		}
	}
	if !u.over {
		u.P.Step(in, out)
		out.GiveUp = nil
		last := len(out.Events) - 1
		if !out.Done || last < 0 {
			return
		}
		u.end, u.over = out.Events[last].(probe.Finished)
		if !u.over {
			return
		}
		out.Events = out.Events[:last]
	}
	out.Done = in.Stop != nil || !in.Now.Before(u.due)
	if !out.Done {
		out.Wake = u.due
		return
	}
	u.end.At = in.Now
	out.Events = append(out.Events, u.end)
}

// Of so many hosts asked at once the answers find room in a buffer of Linux's default size (TRAPS T45); so many a second
// are read as they come.
const (
	crowdBurst = 256
	crowdRate  = 20_000
)

// pace slows all hosts together down and says how often there is a report.
func (t *pingTool) pace(l *probe.Limits, hosts int) time.Duration {
	slow := func(rate float64, burst int) {
		if l.Rate == 0 || rate < l.Rate {
			l.Rate, l.Burst, l.Strict = rate, burst, true
		}
	}
	switch {
	case t.fleet.gap > 0:
		slow(float64(time.Second)/float64(t.fleet.gap), 1)
	case hosts > crowdBurst && l.Rate == 0: // nor is there --rate
		slow(crowdRate, crowdBurst)
	}
	return t.fleet.every
}

// fleetSink is the one sink for all hosts that fping's output wants; nil for other formats.
func (t *pingTool) fleetSink(_ context.Context, s *session, hosts []host) (probe.Sink, error) {
	if s.format != formatFping {
		return nil, nil
	}
	o := t.fleet.fping
	o.Side, o.Count, o.Period = s.env.Stderr, t.count, t.interval
	o.Loop = o.Loop || !t.fleet.retrying && t.count == 0
	o.Quiet, o.Stamped = o.Quiet || t.quiet, o.Stamped || t.stamped
	o.Reports = o.Reports || t.fleet.every != 0
	if t.fleet.least > 0 && o.AtLeast == 0 && !o.Alive && !o.Silent {
		o.AtLeast = t.fleet.least
	}
	o.Names = make([]string, len(hosts))
	for i, h := range hosts {
		switch {
		case h.unknown:
			o.Unknown++
		case t.fleet.names != nil:
			o.Names[i] = t.fleet.names[i]
		default:
			o.Names[i] = h.name
		}
	}
	t.fleet.sink = report.NewFping(s.out, o)
	return t.fleet.sink, nil
}

// exit is the program's exit status. Where a number of hosts has to answer, that alone decides.
func (f *pingFleet) exit(y *tally) int {
	switch {
	case f.least == 0:
		return y.worst()
	case y.arrived >= f.least:
		return yes
	case y.status[unsure] > 0:
		return unsure // those might have
	}
	return no
}
