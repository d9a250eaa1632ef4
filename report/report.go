// Package report turns the events of a run into output: text as traceroute
// and ping print it, one JSON document a target, a stream of JSON events, or
// graphs of paths.
//
// A sink takes one target after another: probe.Started opens it and
// probe.Finished closes it. Text goes out line by line as things are known, a
// document or a graph when its target is done. Every line is one Write, nothing is
// buffered after Emit returns, and every write error comes back from Emit.
//
// What is not known is not printed: never a zero or an empty string in its
// place. Times in text are milliseconds with three decimals; in JSON units are
// in the names. What came from outside is printed without control characters.
//
// The package knows nothing of sockets, of bytes on the wire or of how an
// algorithm decides.
package report

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"gtrace/probe"
)

// Options are what the user may choose about output.
type Options struct {
	Version   string // of the program
	NoReplies bool   // ping, json and events: the document has no replies, only the summary

	// What a ping's document keeps at most: replies, beyond which it has none, as with NoReplies, and TooMany is called; and
	// times, beyond which it has no percentiles. 0: no bound.
	MostReplies, MostTimes int
	TooMany                func()

	Quiet   bool  // ping, text: the header and the statistics alone
	Numeric bool  // ping, text: addresses stand alone, also where the target is a name; tracepath: they come before names
	Both    bool  // tracepath: names and addresses (-b)
	Names   Namer // of addresses; nil: they stand alone
	Origins Namer // trace: the autonomous systems of addresses, such as "AS64496/AS64497", as -A prints them; nil: they are not asked for

	Extensions  bool      // trace, text: ICMP extension objects (-e)
	Flags       bool      // trace, text: the TCP flags of the destination's answers (-O info)
	Plain       bool      // trace, text: no findings, as traceroute has none
	Table       bool      // trace, text: a table with a line a hop, when the target is done
	Back        bool      // trace, text: the guessed length of the way back where it differs (--back)
	Stamped     bool      // ping, text: the time before each line (-D)
	Waiting     bool      // ping, text: Waiting events are told (-O)
	Flood       bool      // ping, text: a dot for a request, a backspace for a reply (-f)
	Bell        bool      // ping, text: the terminal's bell for a reply (-a)
	Rounds      bool      // ping, text: ipg and ewma in the statistics (-f, -A)
	Verbose     bool      // ping, text: what is left out otherwise (-v)
	IntegerLoss bool      // ping, text: the loss as a whole number, which some parsers want
	From        bool      // ping, text: the first line has the source (-I, -B)
	Device      string    // ping, text: and this, by which the requests leave
	Label       bool      // ping, text: the first line has the flow label (-F)
	Always      bool      // ping, text: names also where the target is an address
	Crowd       bool      // ping, text: targets may be broadcast addresses, so that an answer from another is no wonder
	Multipath   bool      // trace, text: a line a node, and what is behind it
	Precise     bool      // ping, text: all times with microseconds (-3)
	Literal     string    // ping, text: the program is called so and prints what iputils does in all cases; "": see pingText
	Side        io.Writer // ping, text: where an Interim's line goes, by custom standard error
	Targets     bool      // events: each line says of which target it is, for several run at once
}

// A Namer knows the names of addresses. It is asked beside the measurement and never holds it up.
type Namer interface {
	Ask(netip.Addr)         // starts to look a up, if that has not begun yet, and returns at once
	Name(netip.Addr) string // waits for what Ask began, no longer than the Namer's bound; "" where there is no name by then
}

// Formats are the names NewTrace and NewPing take, TraceFormats all those of NewTrace.
var (
	Formats      = []string{"text", "json", "events"}
	TraceFormats = append(slices.Clone(Formats), "dot", "mermaid")
)

// NewTrace returns a sink that writes the path to each target to w.
func NewTrace(w io.Writer, format string, o Options) (probe.Sink, error) {
	switch format {
	case "text":
		if o.Table {
			return newTraceTable(out{w: w}, o), nil
		}
		if o.Multipath {
			return &multipathText{traceText: traceText{out: out{w: w}, o: o}}, nil
		}
		return &traceText{out: out{w: w}, o: o}, nil
	case "json", "events":
		return &jsonSink{out: out{w: w}, events: format == "events", named: o.Targets,
			open: func(s probe.Started) collector { return newTraceDocument(s, o) }}, nil
	case "dot":
		return &graph{out: out{w: w}, o: o, in: dot}, nil
	case "mermaid":
		return &graph{out: out{w: w}, o: o, in: mermaid}, nil
	}
	return nil, unknownFormat(format, TraceFormats)
}

// NewPing returns a sink that writes each target's replies and statistics to w.
func NewPing(w io.Writer, format string, o Options) (probe.Sink, error) {
	switch format {
	case "text":
		return &pingText{out: out{w: w}, o: o}, nil
	case "json", "events":
		return &jsonSink{out: out{w: w}, events: format == "events", named: o.Targets,
			open: func(s probe.Started) collector { return newPingDocument(s, &o) }}, nil
	}
	return nil, unknownFormat(format, Formats)
}

func unknownFormat(name string, known []string) error {
	return fmt.Errorf("format %q is not known, only %s", name, strings.Join(known, ", "))
}

var (
	errOpen   = errors.New("report: a target began before the one before it ended")
	errClosed = errors.New("report: an event outside any target")
)

// out writes whole lines. After the first error it writes no more, so that
// nothing ever follows half a line.
type out struct {
	w   io.Writer
	err error
}

func (o *out) line(b []byte) error {
	if o.err != nil {
		return o.err
	}
	if _, err := o.w.Write(append(b, '\n')); err != nil {
		o.err = fmt.Errorf("write output: %w", err)
	}
	return o.err
}

func (o *out) printf(format string, args ...any) error {
	return o.line(fmt.Appendf(nil, format, args...))
}
