package report

import (
	"fmt"
	"net/netip"

	"gtrace/probe"
)

// Where a sweep found answers to stop, for text and for JSON.

// Why a size is not answered.
const (
	becauseHost    = "refused-by-host"
	becauseRouter  = "refused-by-router"
	becauseError   = "error"
	becauseSilence = "silence"
	becauseLoss    = "loss"
)

// A sweep is what the document says of one. Sizes are of whole packets.
type sweep struct {
	From       int        `json:"from_bytes"`
	To         int        `json:"to_bytes"`
	Step       int        `json:"step_bytes"`
	Header     int        `json:"header_bytes"`
	DF         bool       `json:"dont_fragment"`
	Settled    bool       `json:"settled"`
	Answered   int        `json:"answered_bytes,omitempty"`
	Unanswered int        `json:"unanswered_bytes,omitempty"`
	Resumed    int        `json:"resumed_bytes,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	Error      string     `json:"error,omitempty"`
	By         netip.Addr `json:"from,omitzero"`
	ICMP       *icmp      `json:"icmp,omitempty"`
	MTU        int        `json:"mtu,omitempty"`
	Lost       *int       `json:"lost,omitempty"`
	Beside     *int       `json:"beside,omitempty"`
	BesideLost *int       `json:"beside_lost,omitempty"`
}

// newSweep is nil where sizes were not swept.
func newSweep(start *probe.Started, r *probe.Swept) *sweep {
	m := start.Method.Sweep
	if m == nil || r == nil {
		return nil
	}
	s := &sweep{From: m.From, To: m.To, Step: m.Step, Header: overhead(start), DF: m.DF,
		Settled: r.Settled, Answered: r.Answered, Unanswered: r.Unanswered, Resumed: r.Resumed, Reason: sweepReason(r)}
	if o := r.Because; o != nil {
		s.Error, s.By, s.MTU = failure(o), o.From, o.MTU
		if o.Answer != probe.NoAnswer {
			s.ICMP = &icmp{o.Type, o.Code}
		}
	}
	if s.Reason == becauseSilence || s.Reason == becauseLoss {
		s.Lost, s.Beside, s.BesideLost = &r.Lost, &r.Beside, &r.BesideLost
	}
	return s
}

// sweepReason is why the smallest size without an answer has none; "" where there is none, or it is not known yet.
func sweepReason(r *probe.Swept) string {
	switch o := r.Because; {
	case r.Unanswered == 0:
		return ""
	case r.Doubt && r.Beside > 0:
		return becauseLoss
	case o != nil && o.Status == probe.Failed:
		return becauseHost
	case o != nil && o.Answer == probe.TooBig:
		return becauseRouter
	case o != nil:
		return becauseError
	case r.Settled || r.Doubt:
		return becauseSilence
	}
	return ""
}

// sweepLine is the line of the statistics. As in the first line, a size is that of the payload and, in brackets, of the packet.
func sweepLine(start *probe.Started, r *probe.Swept) string {
	m := start.Method.Sweep
	size := func(n int) string { return fmt.Sprintf("%d(%d)", n-overhead(start), n) }
	why := sweepWhy(r)
	if why != "" {
		why = ": " + why
	}
	line := "sweep: "
	if !m.DF {
		line = "sweep, fragments allowed: "
	}
	if !r.Settled && !r.Doubt {
		line += "cut short: "
	}
	switch {
	case r.Unanswered == 0 && r.Settled:
		line += fmt.Sprintf("all sizes from %s to %s bytes are answered", size(m.From), size(m.To))
	case r.Unanswered == 0 && r.Answered == 0:
		line += "no size is known yet"
	case r.Unanswered == 0:
		line += fmt.Sprintf("up to %s bytes are answered, so far", size(r.Answered))
	case sweepReason(r) == becauseLoss:
		return line + fmt.Sprintf("could not tell: %s bytes are answered and %s not, but of %d requests among those, of a size that is answered, %d were lost as well",
			size(r.Answered), size(r.Unanswered), r.Beside, r.BesideLost)
	case r.Answered == 0 && r.Resumed == 0 && (r.Settled || r.Doubt):
		// What this host refuses of the smallest it refuses of all; else it is of those alone that were sent.
		most := m.To
		if r.Sent > 0 {
			most = r.Sent
		}
		if most == m.From {
			line += fmt.Sprintf("%s bytes are not answered%s", size(m.From), why)
			break
		}
		line += fmt.Sprintf("no size from %s to %s bytes is answered%s", size(m.From), size(most), why)
	case r.Answered == 0:
		line += fmt.Sprintf("%s bytes are not answered%s", size(r.Unanswered), why)
	case r.Settled && r.Resumed == 0:
		line += fmt.Sprintf("%s bytes are answered, %s and more are not%s", size(r.Answered), size(r.Unanswered), why)
	default:
		line += fmt.Sprintf("%s bytes are answered, %s are not%s", size(r.Answered), size(r.Unanswered), why)
	}
	if r.Resumed > 0 {
		line += fmt.Sprintf("; but %s bytes are", size(r.Resumed))
	}
	return line
}

// sweepWhy is the reason in words.
func sweepWhy(r *probe.Swept) string {
	o, named := r.Because, ""
	if o != nil && o.MTU > 0 {
		named = fmt.Sprintf(" (MTU %d)", o.MTU)
	}
	switch sweepReason(r) {
	case becauseHost:
		if named == "" {
			named = ": " + Printable(failureText(o))
		}
		return "this host does not send them" + named
	case becauseRouter:
		return address(o.From) + " says that they are too big" + named
	case becauseError:
		return address(o.From) + " says " + complaint(o)
	case becauseSilence:
		return "nothing comes back, and nobody says why"
	}
	return ""
}
