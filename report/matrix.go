package report

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"gtrace/probe"
)

const matrixSchema = "gtrace/matrix/v1"

// A matrix is where the packets of several methods get on the way to one host after another. Its events are *probe.For, Target being
// the number of the method; a Finished without a Started is of one that did not begin. What all of them came to is told when the last has ended: as text
// a table, a line a node and a column a method, with where each ends, and findings; in JSON a document behind those of the traces.
type matrix struct {
	traceText          // the first line, and findings
	names     []string // of the methods
	columns   []column
	ended     int          // of them
	docs      []probe.Sink // of the methods; nil: text
}

// A column is one method's trace.
type column struct {
	course
	start    *probe.Started // nil: not yet
	findings []probe.Finding
	dropped  bool            // this host lost answers
	end      *probe.Finished // nil: not yet
}

func (c column) begun() bool { return c.start != nil }

// NewMatrix returns a sink of traces by several methods, side by side. Formats are those of Formats.
func NewMatrix(w io.Writer, format string, o Options, methods []string) (probe.Sink, error) {
	if !slices.Contains(Formats, format) {
		return nil, unknownFormat(format, Formats)
	}
	m := &matrix{traceText: traceText{out: out{w: w}, o: o}, names: methods, columns: make([]column, len(methods))}
	if format != "text" {
		for range methods {
			s, err := NewTrace(once{&m.out}, format, o)
			if err != nil {
				return nil, err
			}
			m.docs = append(m.docs, s)
		}
	}
	return m, nil
}

// once writes no more after the first error of o.
type once struct{ o *out }

func (o once) Write(b []byte) (int, error) {
	if o.o.err == nil {
		_, o.o.err = o.o.w.Write(b)
	}
	return len(b), o.o.err
}

func (m *matrix) Emit(e probe.Event) error {
	of, ok := e.(*probe.For)
	if !ok {
		return nil // of all: nothing here is
	}
	c := &m.columns[of.Target]
	_, ends := of.Event.(probe.Finished)
	if s, begins := of.Event.(probe.Started); begins {
		if c.start != nil {
			return errOpen
		}
		if m.docs == nil && !slices.ContainsFunc(m.columns, column.begun) {
			first := s
			first.Method.Size = 0 // each method has its own
			if err := m.start(first); err != nil {
				return err
			}
		}
		c.start = &s
	}
	switch {
	case c.start == nil && !ends:
		return errClosed
	case c.end != nil:
		return errClosed
	case m.docs != nil && c.start != nil:
		if err := m.docs[of.Target].Emit(of.Event); err != nil {
			return err
		}
	}
	switch e := of.Event.(type) {
	case probe.Finding:
		if m.o.tells(e) {
			c.findings = append(c.findings, e)
		}
	case probe.Checked:
		c.dropped = e.ReceiveDrops > 0
	case probe.Finished:
		c.end = &e
		if m.ended++; m.ended == len(m.columns) {
			return m.finish()
		}
	default:
		c.take(of.Event, false)
	}
	return nil
}

func (m *matrix) finish() error {
	columns := m.columns
	m.columns, m.ended, m.open = make([]column, len(columns)), 0, false
	if !slices.ContainsFunc(columns, column.begun) {
		return nil
	}
	ends := make([]wayEnd, len(columns))
	for i := range columns {
		ends[i] = columns[i].where(m.names[i])
	}
	if m.docs != nil {
		return m.document(columns, ends)
	}
	if err := m.table(columns); err != nil {
		return err
	}
	var lines []probe.Finding
	for _, e := range ends {
		lines = append(lines, probe.Finding{Code: e.Method, Text: e.text})
	}
	lines = append(lines, probe.Finding{Code: "matrix", Text: conclusion(ends)})
	return m.conclude(append(lines, m.common(columns)...))
}

type matrixJSON struct {
	head
	Methods []wayEnd `json:"methods"`
	Text    string   `json:"conclusion"`
}

func (m *matrix) document(columns []column, ends []wayEnd) error {
	d := matrixJSON{Methods: ends, Text: conclusion(ends)}
	for _, c := range columns {
		if c.start != nil {
			d.head = newHead(matrixSchema, *c.start, m.o)
		}
	}
	b, err := marshal(d)
	if err != nil {
		return err
	}
	return m.line(escape(b))
}

// A wayEnd is where a method's packets get.
type wayEnd struct {
	Method  string     `json:"method"`
	Outcome string     `json:"outcome,omitempty"` // of its trace; "": it did not begin
	Passes  *bool      `json:"passes,omitempty"`  // the destination answers; nil: not known
	TTL     uint8      `json:"ttl,omitempty"`     // the destination's, where it passes; else the last router's that was heard
	From    netip.Addr `json:"from,omitzero"`     // who answered there
	By      *wayBy     `json:"by,omitempty"`      // the answer that ended it
	Error   string     `json:"error,omitempty"`

	text, sum string // where it ends; and in the fewest words, "ends after hop 7"
}

type wayBy struct {
	From netip.Addr `json:"from"`
	answer
}

// where is where c ends.
func (c *column) where(name string) wayEnd {
	w := wayEnd{Method: name}
	if c.start == nil {
		w.sum = "was not measured"
		w.text = w.sum
		return w
	}
	w.Outcome = string(c.end.Verdict)
	router := make(map[netip.Addr]bool)
	rank := func(o *probe.Outcome) int { // of what ends a path, the destination's own answer counts most
		switch {
		case !o.Answer.Terminal():
			return 1
		case o.From.WithZone("") != c.start.Dst.WithZone(""):
			return 2
		}
		return 3
	}
	var end *probe.Outcome
	best := 0
	for _, h := range c.hops {
		for i := range h.Outcomes {
			switch o := &h.Outcomes[i]; {
			case o.Status != probe.Answered:
			case o.Answer == probe.TimeExceeded:
				w.TTL, w.From, router[o.From] = h.TTL, o.From, true
			case rank(o) > best:
				end, best = o, rank(o)
			}
		}
	}
	heard := len(router) > 0
	if end != nil {
		w.By = &wayBy{end.From, newAnswer(end)}
	}
	no := false
	switch {
	case best == 3, end == nil && c.end.Verdict == probe.Reached: // by an answer to which probe is not known
		yes := true
		w.Passes, w.sum, w.From, w.TTL = &yes, "passes", c.start.Dst, c.end.LastTTL
		if c.end.Verdict != probe.Reached {
			w.TTL = end.Spec.TTL
		}
		about := ""
		if c.end.Vague {
			about = " or before"
		}
		w.text = fmt.Sprintf("reaches the destination at hop %d%s%s", w.TTL, about, said(end))
	case best == 2 && !router[end.From]: // it may have several addresses
		w.sum = "may pass"
		w.text = fmt.Sprintf("may pass: %s answers for the destination at hop %d%s", address(end.From), end.Spec.TTL, said(end))
	case c.end.Verdict == probe.Errored || c.end.Verdict == probe.Interrupted:
		w.sum, w.text = "could not be told", "was interrupted"
		switch {
		case c.end.Err != nil:
			w.Error = c.end.Err.Error()
			w.text = w.sum + ": " + w.Error
		case heard:
			w.text = fmt.Sprintf("was interrupted after hop %d", w.TTL)
		}
	case heard && w.TTL == c.start.Method.MaxTTL && end == nil:
		w.sum = fmt.Sprintf("does not reach it within %d hops", w.TTL)
		w.text = fmt.Sprintf("does not reach the destination within %d hops; --max-hops goes further", w.TTL)
	case c.end.Verdict == probe.Loop:
		w.Passes, w.sum = &no, fmt.Sprintf("goes in circles up to hop %d", c.end.LastTTL)
		w.text = w.sum
	case end == nil && c.dropped:
		w.sum = "could not be told"
		w.text = fmt.Sprintf("could not be told: nothing is answered behind hop %d, but this host lost answers (self_check.receive_drops)", w.TTL)
	case end == nil && !heard:
		w.Passes, w.sum, w.text = &no, "is not answered", "is not answered by anybody"
	case end == nil:
		w.Passes, w.sum = &no, fmt.Sprintf("ends after hop %d", w.TTL)
		w.text = fmt.Sprintf("%s, %s: nothing further is answered", w.sum, address(w.From))
	default:
		w.Passes, w.sum = &no, fmt.Sprintf("ends after hop %d", w.TTL)
		if !router[end.From] { // whoever refuses it does so in place of time exceeded
			w.TTL, w.From, w.sum = end.Spec.TTL, end.From, fmt.Sprintf("ends at hop %d", end.Spec.TTL)
		}
		how := " " + annotation(end)
		if best == 2 {
			how = " in the destination's place" + said(end)
		}
		w.text = fmt.Sprintf("%s: %s answers%s", w.sum, address(end.From), how)
	}
	return w
}

// said is what the end of a path answered, beyond that it was reached.
func said(o *probe.Outcome) string {
	switch {
	case o == nil, o.Spec.Proto == probe.ICMP:
		return ""
	case o.Answer == probe.SynAck:
		return ": the port is open"
	case o.Answer == probe.Reset, o.Answer == probe.PortUnreachable:
		return ": the port is closed"
	case o.Answer == probe.Datagram && o.Match == probe.Strict && o.Spec.Content == probe.DNSQuery:
		return ": a name server answers"
	case o.Answer == probe.Datagram && o.Match == probe.Strict && o.Spec.Content == probe.QUICInitial:
		return ": a QUIC server answers"
	case o.Answer == probe.Datagram:
		return ": a service answers"
	}
	return ""
}

// conclusion is all of it in a sentence, "icmp and udp/53 end after hop 7, tcp/443 passes".
func conclusion(ends []wayEnd) string {
	by := make(map[string][]string)
	var order []string
	for _, e := range ends {
		if by[e.sum] == nil {
			order = append(order, e.sum)
		}
		by[e.sum] = append(by[e.sum], e.Method)
	}
	var all []string
	for _, sum := range order {
		who := by[sum]
		if n := len(who); n > 1 {
			who = []string{strings.Join(who[:n-1], ", ") + " and " + who[n-1]}
			for _, verb := range [][2]string{{"passes", "pass"}, {"ends ", "end "}, {"goes ", "go "}, {"does ", "do "}, {"is ", "are "}, {"was ", "were "}} {
				if rest, ok := strings.CutPrefix(sum, verb[0]); ok {
					sum = verb[1] + rest
					break
				}
			}
		}
		all = append(all, who[0]+" "+sum)
	}
	return strings.Join(all, ", ")
}

// common are the findings of all methods, each once, with the methods that have it, where not all do.
func (m *matrix) common(columns []column) (all []probe.Finding) {
	by := make(map[[2]string][]string)
	for i, c := range columns {
		for _, f := range c.findings {
			k := [2]string{f.Code, f.Text}
			if by[k] == nil {
				all = append(all, f)
			}
			by[k] = append(by[k], m.names[i])
		}
	}
	for i := range all {
		f := &all[i]
		if who := by[[2]string{f.Code, f.Text}]; len(who) < len(columns) {
			f.Text = strings.Join(who, ", ") + ": " + f.Text
		}
	}
	return all
}

// table prints who answered at each distance, up to the last where anybody did, and each method's mean time to there: an asterisk where a
// method was asked and not answered, a hyphen where it was not asked.
func (m *matrix) table(columns []column) error {
	rows := []matrixRow{{host: "Host", cells: m.names}}
	first, last := 255, 0
	for _, c := range columns {
		for _, h := range c.hops {
			first = min(first, int(h.TTL))
			if slices.ContainsFunc(h.Outcomes, func(o probe.Outcome) bool { return o.Status == probe.Answered }) {
				last = max(last, int(h.TTL))
			}
		}
	}
	for ttl := first; ttl <= last; ttl++ {
		rows = append(rows, m.rows(columns, uint8(ttl))...)
	}
	width := make([]int, len(columns)+1)
	for _, r := range rows {
		width[0] = max(width[0], len(r.host))
		for i, cell := range r.cells {
			width[i+1] = max(width[i+1], len(cell))
		}
	}
	for _, r := range rows {
		b := fmt.Appendf(nil, "%2s  %-*s", r.ttl, width[0], r.host)
		for i, cell := range r.cells {
			b = fmt.Appendf(b, "  %*s", width[i+1], cell)
		}
		if err := m.line(bytes.TrimRight(b, " ")); err != nil {
			return err
		}
	}
	return nil
}

// A matrixRow is a line of the table.
type matrixRow struct {
	ttl, host string
	cells     []string // by method
}

// rows are the lines of a distance, at least one.
func (m *matrix) rows(columns []column, ttl uint8) []matrixRow {
	rows := []matrixRow{{ttl: fmt.Sprint(ttl), host: "*", cells: make([]string, len(columns))}}
	at := make(map[netip.Addr]int)
	for i, c := range columns {
		cell := "-"
		for _, h := range c.hops {
			if h.TTL != ttl {
				continue
			}
			cell = "*"
			for _, b := range branchesOf(h) {
				if b.last == nil {
					continue
				}
				n, known := at[b.last.From]
				if !known {
					if n = len(at); n > 0 {
						rows = append(rows, matrixRow{cells: make([]string, len(columns))})
					}
					at[b.last.From] = n
					rows[n].host = strings.TrimSpace(string(m.appendNode(nil, b.last, ttl, m.extra(b.last))))
				}
				rows[n].cells[i], cell = b.cell(), ""
			}
		}
		rows[0].cells[i] += cell
	}
	return rows
}

// cell is the mean of a node's times, and what it said other than that a probe expired there or arrived.
func (b *branch) cell() string {
	var text []string
	if b.times.N() > 0 {
		text = append(text, string(thousandths(nil, b.times.Mean())))
	}
	return strings.Join(append(text, b.notes...), " ")
}
