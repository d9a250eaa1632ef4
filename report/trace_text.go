package report

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gtrace/probe"
)

// traceText prints what Linux `traceroute -n` prints: a line as soon as its hop is known. A
// late answer to a hop already printed cannot be shown. Findings, which
// traceroute does not have, follow the hops, "  # CODE: TEXT", a line each: parsers
// take a line for a hop where a number comes first, and jc wants a blank first
// where none does.
type traceText struct {
	out
	open, next bool // a target is being printed; one was before
	findings   []probe.Finding
}

func (t *traceText) Emit(e probe.Event) error {
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
	case probe.Hop:
		return t.line(hopLine(e))
	case probe.Finding:
		t.findings = append(t.findings, e)
	case probe.Finished:
		t.open = false
		for _, f := range t.findings {
			if err := t.printf("  # %s: %s", printable(f.Code), joined(printable(f.Text))); err != nil {
				return err
			}
		}
		t.findings = nil
	}
	return nil
}

func (t *traceText) start(e probe.Started) error {
	if t.next {
		if err := t.line(nil); err != nil {
			return err
		}
	}
	t.open, t.next = true, true
	b := fmt.Appendf(nil, "traceroute to %s (%s), %d hops max", printable(e.Target), address(e.Dst), e.Method.MaxTTL)
	if e.Method.Size > 0 {
		b = fmt.Appendf(b, ", %d byte packets", e.Method.Size)
	}
	return t.line(b)
}

// hopLine is " 1  10.0.0.1  0.412 ms  0.398 ms *": an address stands before its times,
// once as long as it stays the same.
func hopLine(h probe.Hop) []byte {
	b := fmt.Appendf(nil, "%2d ", h.TTL)
	var last netip.Addr
	for i := range h.Outcomes {
		o := &h.Outcomes[i]
		if o.Status != probe.Answered {
			b = append(b, " *"...)
			continue
		}
		if o.From != last {
			b = fmt.Appendf(b, " %s", address(o.From))
			last = o.From
		}
		if d, ok := rtt(o); ok {
			us := d.Round(time.Microsecond).Microseconds()
			b = fmt.Appendf(b, "  %d.%03d ms", us/1000, us%1000)
		}
		if a := annotation(o); a != "" {
			b = fmt.Appendf(b, " %s", a)
		}
	}
	return b
}

// joined takes the blank out of "0.4 ms", which parsers take for a probe's time wherever it
// stands.
func joined(text string) string { return strings.ReplaceAll(text, " ms", "ms") }
