package report

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gtrace/probe"
)

// traceText prints what Linux traceroute 2.1 prints: a line as soon as its hop is known. A
// late answer to a hop already printed cannot be shown. Findings, which
// traceroute does not have, follow the hops, "  # CODE: TEXT", a line each: parsers
// take a line for a hop where a number comes first, and jc wants a blank first
// where none does.
type traceText struct {
	out
	o          Options
	open, next bool // a target is being printed; one was before
	mtu        int  // the path MTU that shows at the next hop; 0: no new one
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
	case *probe.Probed:
		ask(&e.Outcome, t.o.Names, t.o.Origins)
	case probe.PathMTU:
		t.mtu = e.Bytes
	case probe.Hop:
		b := t.hop(e)
		t.mtu = 0
		return t.line(b)
	case probe.Shared:
		t.findings = append(t.findings, notAsked(e))
	case probe.Finding:
		if t.o.tells(e) {
			t.findings = append(t.findings, e)
		}
	case probe.Finished:
		t.open = false
		fs := t.findings
		if t.findings = nil; !t.o.Plain {
			fs = append(fs, ended(e)...)
		}
		return t.conclude(fs)
	}
	return nil
}

func (t *traceText) start(e probe.Started) error {
	if t.next {
		if err := t.line(nil); err != nil {
			return err
		}
	}
	t.open, t.next, t.mtu = true, true, 0
	b := fmt.Appendf(nil, "traceroute to %s (%s), %d hops max", Printable(e.Target), address(e.Dst), e.Method.MaxTTL)
	if e.Method.Size > 0 {
		b = fmt.Appendf(b, ", %d byte packets", e.Method.Size)
	}
	return t.line(b)
}

// hop is " 1  10.0.0.1  0.412 ms  0.398 ms *": who answers stands before the times, once as long
// as it stays the same.
func (t *traceText) hop(h probe.Hop) []byte {
	b := fmt.Appendf(nil, "%2d ", h.TTL)
	type node struct {
		addr  netip.Addr
		extra string
		ttl   uint8 // with --back: another TTL is another way back
	}
	var last node
	for i := range h.Outcomes {
		o := &h.Outcomes[i]
		note := ""
		if i == 0 && t.mtu > 0 {
			note = fmt.Sprintf("F=%d", t.mtu)
		}
		if o.Status != probe.Answered {
			b = append(b, " *"...)
		} else {
			n := node{addr: o.From, extra: t.extra(o)}
			if t.o.Back {
				n.ttl = o.TTL
			}
			d, timed := rtt(o)
			if n != last || !timed { // what stands behind another's time would be taken for that one's
				b = t.appendNode(b, o, h.TTL, n.extra)
				last = n
			}
			if timed {
				us := d.Round(time.Microsecond).Microseconds()
				b = strconv.AppendInt(append(b, "  "...), us/1000, 10)
				b = append(b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
				b = append(b, " ms"...)
			}
			if a := annotation(o); a != "" { // in the place of a path MTU, if both are there
				note = a
			}
		}
		if note != "" {
			b = fmt.Appendf(b, " %s", note)
		}
	}
	return b
}

// appendNode appends who sent an answer: " gw.example.org (10.0.0.1) [AS64496] <EXTRA> '-3'".
func (t *traceText) appendNode(b []byte, o *probe.Outcome, ttl uint8, extra string) []byte {
	a := address(o.From)
	if t.o.Names == nil {
		b = append(append(b, ' '), a...)
	} else {
		b = fmt.Appendf(b, " %s (%s)", nameOr(a, t.o.Names, o.From), a)
	}
	if t.o.Origins != nil {
		b = fmt.Appendf(b, " [%s]", originsText(originsOf(t.o.Origins, o.From)))
	}
	if extra != "" {
		b = fmt.Appendf(b, " <%s>", extra)
	}
	if t.o.Back && o.TTL > 0 {
		if n := probe.WayBack(o.TTL); n != int(ttl) {
			b = fmt.Appendf(b, " '-%d'", n)
		}
	}
	return b
}

// extra is what stands in angle brackets behind an address.
func (t *traceText) extra(o *probe.Outcome) string {
	switch o.Answer {
	case probe.SynAck, probe.Reset, probe.SegmentReply:
		if t.o.Flags {
			return flagWords(o.Flags)
		}
	default:
		if t.o.Extensions {
			return extensions(o)
		}
	}
	return ""
}

// extensions are the ICMP extension objects of an answer, "MPLS:L=24001,E=0,S=1,T=1;2/2:0000000a". The
// manual page says that objects are separated by "/"; the program does so with the entries of
// a label stack, and puts ";" between objects.
func extensions(o *probe.Outcome) string {
	labels := o.Labels
	if len(o.Objects) == 0 {
		return stackText(labels)
	}
	var all []string
	for _, x := range o.Objects {
		if isStack(x) && len(labels) > 0 {
			n := 1
			for n < len(x.Data)/4 && n < len(labels) && !labels[n-1].Bottom {
				n++
			}
			all = append(all, stackText(labels[:n]))
			labels = labels[n:]
			continue
		}
		var words []string
		for d := x.Data; len(d) > 0; {
			n := min(4, len(d))
			words = append(words, hex.EncodeToString(d[:n]))
			d = d[n:]
		}
		all = append(all, fmt.Sprintf("%d/%d:%s", x.Class, x.Type, strings.Join(words, ",")))
	}
	return strings.Join(all, ";")
}

// isStack reports whether x is an MPLS label stack with an entry in it (RFC 4950).
func isStack(x probe.Object) bool { return x.Class == 1 && x.Type == 1 && len(x.Data) >= 4 }

func stackText(ls []probe.Label) string {
	if len(ls) == 0 {
		return ""
	}
	var all []string
	for _, l := range ls {
		bottom := 0
		if l.Bottom {
			bottom = 1
		}
		all = append(all, fmt.Sprintf("L=%d,E=%d,S=%d,T=%d", l.Value, l.TC, bottom, l.TTL))
	}
	return "MPLS:" + strings.Join(all, "/")
}

// flagWords are TCP flags as traceroute prints them, "syn,ack".
func flagWords(f uint8) string {
	var all []string
	for i, name := range []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"} {
		if f&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return strings.Join(all, ",")
}

// tells reports whether text, and graphs, have a finding.
func (o *Options) tells(f probe.Finding) bool {
	return !o.Plain && (o.Back || f.Code != "return-path-longer")
}

// conclude prints findings, a line each.
func (o *out) conclude(fs []probe.Finding) error {
	for _, f := range fs {
		if err := o.printf("  # %s", joined(Printable(f.Code+": "+f.Text))); err != nil {
			return err
		}
	}
	return nil
}

// notAsked says which hops were not asked, as a line like those of findings.
func notAsked(e probe.Shared) probe.Finding {
	var who []string
	least := e.Hops[0].Traces
	for _, h := range e.Hops {
		a := "silence"
		if h.From.IsValid() {
			a = address(h.From)
		}
		who, least = append(who, a), min(least, h.Traces)
	}
	n := len(e.Hops)
	which, both := "TTL 1 was", ""
	if n > 1 {
		which = fmt.Sprintf("TTL 1 to %d were", n)
	}
	if !e.Seen {
		both = fmt.Sprintf(", and TTL %d, which would show it, has not answered", n+1)
	}
	return probe.Finding{Code: e.Kind(), Text: fmt.Sprintf("%s not asked: the last %d traces or more of this run that were answered there found %s%s; --full asks", which, least, strings.Join(who, ", "), both)}
}

// ended says why a trace shows no end, as a line like those of findings.
func ended(f probe.Finished) []probe.Finding {
	switch f.Verdict {
	case probe.GapLimit:
		return []probe.Finding{{Code: string(f.Verdict), Text: "nothing further answered in time; -w 5 waits five seconds for each answer, --gap-limit 0 goes on to the last TTL"}}
	case probe.MaxHops:
		return []probe.Finding{{Code: string(f.Verdict), Text: fmt.Sprintf("the destination was not reached by TTL %d; --max-hops goes further", f.LastTTL)}}
	case probe.Interrupted:
		return []probe.Finding{{Code: string(f.Verdict), Text: "what was still waited for is not shown"}}
	}
	return nil
}

// joined takes the blanks out of what parsers take for a probe's result wherever it stands: "0.4 ms", and a
// star on its own.
func joined(text string) string {
	var b []byte
	for w := range strings.FieldsSeq(text) {
		time := strings.HasPrefix(w, "ms") && len(b) > 0 && '0' <= b[len(b)-1] && b[len(b)-1] <= '9'
		if len(b) > 0 && w != "*" && !time {
			b = append(b, ' ')
		}
		b = append(b, w...)
	}
	return string(b)
}
