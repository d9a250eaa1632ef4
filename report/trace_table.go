package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"gtrace/probe"
)

// traceTable prints the path to each target when it is done: the first line that traceroute prints, then a table with a line a
// hop, as mtr's report, and findings. "-" is what is not known.
type traceTable struct {
	out
	o    Options
	text traceText // prints the first line
	doc  *traceDocument
}

func newTraceTable(t out, o Options) *traceTable {
	return &traceTable{out: t, o: o, text: traceText{out: t, o: o}}
}

func (t *traceTable) Emit(e probe.Event) error {
	switch e := e.(type) {
	case probe.Started:
		if t.doc != nil {
			return errOpen
		}
		t.doc = newTraceDocument(e, t.o).(*traceDocument)
		return t.text.start(e)
	case probe.Finished:
		if t.doc == nil {
			return errClosed
		}
		return t.finish(e)
	}
	if t.doc == nil {
		return errClosed
	}
	switch e := e.(type) {
	case probe.Finding:
		if t.o.tells(e) {
			t.text.findings = append(t.text.findings, e)
		}
	case probe.Shared:
		t.text.findings = append(t.text.findings, notAsked(e))
	}
	t.doc.add(e)
	return nil
}

func (t *traceTable) finish(f probe.Finished) error {
	doc := t.doc.document(f).(*traceJSON)
	findings := t.text.findings
	t.doc, t.text.findings = nil, nil
	width := len("Host")
	for _, h := range doc.Hops {
		for _, who := range t.hosts(h) {
			width = max(width, len(who))
		}
	}
	if err := t.printf("    %-*s  "+tableCells, width, "Host", "Loss", "95 %", "Path", "Snt", "Last", "Avg", "Best", "Wrst", "StDev"); err != nil {
		return err
	}
	if err := t.printf("    %-*s  "+tableCells, width, "", "%", "%", "%", "", "ms", "ms", "ms", "ms", "ms"); err != nil {
		return err
	}
	for _, h := range doc.Hops {
		if len(h.Probes) == 0 {
			continue // what was asked there is still waited for, as the run was cut short
		}
		hosts := t.hosts(h)
		if err := t.printf("%2d  %-*s  %s", h.TTL, width, hosts[0], t.numbers(h)); err != nil {
			return err
		}
		for _, who := range hosts[1:] {
			if err := t.printf("    %s", who); err != nil {
				return err
			}
		}
	}
	return t.conclude(append(findings, ended(f)...))
}

// hosts are who answered at h, with what they said other than that a probe expired there or arrived, at least one.
func (t *traceTable) hosts(h *hop) (all []string) {
	for _, p := range h.Probes {
		if !p.From.IsValid() || p.Result != "reply" {
			continue
		}
		who := t.host(p.From)
		if p.Annotation != "" {
			who += " " + p.Annotation
		}
		if !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	if all == nil {
		return []string{"*"}
	}
	return all
}

func (t *traceTable) host(from netip.Addr) string {
	who := address(from)
	if t.o.Names != nil {
		who = fmt.Sprintf("%s (%s)", nameOr(who, t.o.Names, from), who)
	}
	if t.o.Origins != nil {
		who += " [" + originsText(originsOf(t.o.Origins, from)) + "]"
	}
	return who
}

// tableCells are the columns behind the host: with an IPv4 address before them a line has 80.
const tableCells = "%4v %9v %4v %4v %6v %6v %6v %6v %6v"

// tableTime is the width of a time. Up to 99.999 ms it has microseconds, above that the digits that fit.
const tableTime = 6

// numbers are the columns behind the host.
func (t *traceTable) numbers(h *hop) string {
	share := func(p *percent) string {
		switch {
		case p == nil:
			return "-"
		case *p == 100:
			return "100"
		}
		return strconv.FormatFloat(float64(*p), 'f', 1, 64)
	}
	ms := func(m *millis) (text string) {
		if m == nil {
			return "-"
		}
		for digits := 3; digits >= 0; digits-- {
			text = strconv.FormatFloat(float64(*m)/float64(time.Millisecond), 'f', digits, 64)
			if len(text) <= tableTime {
				break
			}
		}
		return text
	}
	s := h.Summary
	if s == nil {
		s = &hopSummary{}
	}
	sent := 0
	var last *millis
	for _, p := range h.Probes {
		if p.Result != "error" {
			sent++
		}
		if p.RTT != nil {
			last = p.RTT
			if s.Avg == nil { // of a single probe there is no summary
				s = &hopSummary{Avg: last, Min: last, Max: last}
			}
		}
	}
	within := "-"
	if s.LossRange != nil {
		within = share(&s.LossRange[0]) + "-" + share(&s.LossRange[1])
	}
	cells := []any{share(s.Loss), within, share(s.Path), max(sent, s.Sent), ms(last), ms(s.Avg), ms(s.Min), ms(s.Max), ms(s.Stddev)}
	return fmt.Sprintf(tableCells, cells...)
}
