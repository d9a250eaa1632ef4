package ping

import (
	"errors"
	"fmt"
	"time"

	"gtrace/probe"
)

// An A asks until it is answered: fping's way to find out who is there. What is not answered in time is asked again
// and waited for longer, and the first answer ends it.
type A struct {
	p *P // its probes, counts and end
	Tries
	wait    time.Duration // of the probe sent last
	timeout time.Duration // of the next probe
	due     time.Time     // when the next leaves, where none is waited for
	waits   bool          // for a probe's outcome
	unsent  bool          // a probe did not leave: the next would not either
}

// MaxRetries bounds how often a destination is asked again.
const MaxRetries = 65535

// A Tries is how often an A asks.
type Tries struct {
	Retries int     // after the first try, at most
	Backoff float64 // each try is waited for so many times longer than the one before, 1 to 5
	InTime  bool    // an answer that took longer than the present wait is none, as for fping
}

// NewAlive prepares a run. It takes from c all but Count, Interval and Deadline; Timeout is the first wait. The error lists all
// that will not do.
func NewAlive(c Config, t Tries) (*A, error) {
	c.Count, c.Deadline, c.Interval = 0, 0, time.Second
	p, err := New(c)
	errs := []error{err}
	if t.Retries < 0 || t.Retries > MaxRetries {
		errs = append(errs, fmt.Errorf("ping: %d retries: want 0 to %d", t.Retries, MaxRetries))
	}
	if !(t.Backoff >= 1 && t.Backoff <= 5) {
		errs = append(errs, fmt.Errorf("ping: backoff %v: want 1 to 5", t.Backoff))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &A{p: p, Tries: t, timeout: p.c.Timeout}, nil
}

// Step is probe.Algorithm's.
func (a *A) Step(in probe.Input, out *probe.Output) {
	p := a.p
	if p.done {
		out.Done = true
		return
	}
	for i := range in.Outcomes {
		a.learn(in.Now, &in.Outcomes[i])
	}
	switch over := !a.waits && !a.due.After(in.Now); {
	case p.answers > 0:
		p.finish(in.Now, true, nil, out)
	case over && p.sent > uint64(a.Retries), a.unsent:
		p.finish(in.Now, true, nil, out)
	case in.Stop != nil:
		p.finish(in.Now, false, in.Stop, out)
	case over && in.Room > 0:
		a.send(in.Now, out)
	case !a.waits:
		out.Wake = a.due
	}
}

// learn takes note of an outcome. An error from the network does not shorten the wait, since it may be one of a moment.
func (a *A) learn(now time.Time, o *probe.Outcome) {
	last := o.Spec.Attempt == uint32(a.p.sent) && a.waits
	if took, ok := o.RTT(); a.InTime && ok && took > a.wait {
		late := *o
		late.Status = probe.Lost
		a.p.learn(&late)
	} else {
		a.p.learn(o)
	}
	if !last {
		return
	}
	a.waits = false
	switch o.Status {
	case probe.Answered:
		a.due = o.Sent.Add(o.Spec.Timeout)
	case probe.Failed:
		a.unsent = o.Answer == probe.NoAnswer
		a.due = now.Add(o.Spec.Timeout)
	default:
		a.due = now
	}
}

// send sends what P would, waited for in another way.
func (a *A) send(now time.Time, out *probe.Output) {
	p := a.p
	p.start, p.next, p.c.Timeout = now, now, a.timeout
	p.send(now, 1, out)
	out.Wake = time.Time{} // its grid is not ours
	a.waits, a.wait = true, a.timeout
	a.timeout = min(time.Duration(float64(a.timeout)*a.Backoff), maxInterval)
}
