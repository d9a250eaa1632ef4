package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"gtrace/probe"
	"gtrace/probe/pmtu"
	"gtrace/rawsock"
	"gtrace/report"
)

// A tracepathTool is gtrace called by the name tracepath (iputils).
type tracepathTool struct {
	port  uint16
	max   uint8
	size  int
	both  bool
	label uint32 // of this run
}

const (
	// tracepath gives a hop so many tries of a second each.
	tracepathTries = 3
	tracepathWait  = time.Second

	tracepathPort = 44444

	// The exit status of tracepath says nothing of the path (measured with iputils 20221126).
	tracepathRan   = 0
	tracepathWrong = 1
	tracepathUsage = 255
)

func newTracepath(e Env) (Env, *tracepathTool) {
	if len(e.Args) == 1 && e.Args[0] == "-h" {
		e.Stdout = e.Stderr
	}
	return e, &tracepathTool{max: 30, size: maxLength, label: random(1<<20 - 1)}
}

func (t *tracepathTool) name() string { return "tracepath" }

func (t *tracepathTool) verbatim() bool { return true }

func (t *tracepathTool) letters() (source, tos byte) { return 0, 0 }

func (t *tracepathTool) numericHelp() string { return "print addresses only" }

func (t *tracepathTool) slower() string { return "it asks one at a time" }

func (t *tracepathTool) usage() string {
	return `Usage: tracepath [OPTION]... HOST

Prints the path to HOST and where it narrows: one UDP packet at a time, as large
as the path carries. Exit status: 0 the path was traced, 1 it could not be,
255 wrong use.
`
}

func (t *tracepathTool) page() *page { return &tracepathPage }

var tracepathPage = page{
	name:     "tracepath",
	short:    "print the path to a host and where it narrows",
	synopsis: []string{"[OPTION]... HOST"},
	names:    []string{"tracepath"},
	sections: []manSection{
		{"DESCRIPTION", `
This is gtrace(1) by the name of the tool of iputils, with its options and its output. It sends one UDP packet at a time, as large as the path carries:
where this host or a router says that a packet is too big, the same distance is asked again with what fits. Each answer has a line.
`},
		{optionsTitle, ""},
		privilegeSection,
		seeAlsoSection("gtrace(1), tracepath(8), traceroute(8)"),
	},
}

func (t *tracepathTool) options() []option {
	return []option{
		{long: "both", short: 'b', set: flag(&t.both), help: "print both names and addresses"},
		{long: "length", short: 'l', value: "BYTES", set: t.setLength, help: "start with packets of this size; default 65535"},
		{long: "max-hops", short: 'm', value: "TTL", set: count(&t.max, 1, 255), help: "go no further than this; default 30"},
		{long: "port", short: 'p', value: "PORT", set: count(&t.port, 1, 65535), help: "first destination port; default 44444"},
	}
}

func (t *tracepathTool) setLength(s string) error {
	return says(count(&t.size, 29, maxLength), "pktlen must be within: 28 < value")(s)
}

// prepare takes the port off "HOST/PORT", as tracepath did before it had -p.
func (t *tracepathTool) prepare(_ context.Context, s *session, operands []string) (hosts []string, done bool, err error) {
	if len(operands) != 1 {
		return nil, false, usageError{fmt.Errorf("%d hosts given: want one (--help lists the options)", len(operands))}
	}
	s.named = s.named || t.both // beside an address, which --numeric puts first
	name, port, found := strings.Cut(operands[0], "/")
	if found && t.port == 0 {
		if err := count(&t.port, 1, 65535)(port); err != nil {
			return nil, false, fmt.Errorf("%s: port: %w", printable(operands[0]), err)
		}
	}
	return []string{name}, false, nil
}

func (t *tracepathTool) check(*session, int) error { return nil }

func (t *tracepathTool) privileged(rawsock.Caps) string { return "" }

func (t *tracepathTool) sourcePort() uint16 { return 0 }

func (t *tracepathTool) settings() rawsock.Settings { return rawsock.Settings{} }

func (t *tracepathTool) named() bool { return true }

func (t *tracepathTool) atOnce() int { return 1 }

func (t *tracepathTool) atOnceHelp() string { return "1" }

func (t *tracepathTool) exit(y *tally) int {
	if y.unknown > 0 {
		return tracepathWrong
	}
	return tracepathRan
}

func (t *tracepathTool) failed(err error, _ bool) int {
	var usage usageError
	if errors.As(err, &usage) {
		return tracepathUsage
	}
	return tracepathWrong
}

func (t *tracepathTool) sink(s *session, w io.Writer) (probe.Sink, error) {
	o := report.Options{Version: s.env.Version, Numeric: s.numeric, Both: t.both, Names: s.called}
	if s.format != "text" {
		return report.NewTrace(w, s.format, o)
	}
	return report.NewTracepath(w, o), nil
}

func (t *tracepathTool) method() probe.Method {
	return probe.Method{Proto: probe.UDP, Classic: true, FirstTTL: 1, MaxTTL: t.max, Attempts: tracepathTries, Size: t.size}
}

func (t *tracepathTool) plan(s *session, src netip.AddrPort, dst netip.Addr) (plan, error) {
	port := t.port
	if port == 0 {
		port = tracepathPort
	}
	c := pmtu.Config{
		Proto: probe.UDP, Classic: true, Src: src, Dst: netip.AddrPortFrom(dst, port),
		First: 1, Max: t.max, Attempts: tracepathTries, Once: true, TOS: s.tos, Wait: tracepathWait,
	}
	if dst.Is6() {
		c.Label = t.label
	}
	least, _ := probe.Sizes(probe.UDP, dst.Is6(), true)
	c.Size = max(t.size, least)
	a, err := pmtu.New(c)
	if err != nil {
		return plan{}, err
	}
	m := t.method()
	m.Size, m.SrcPort, m.DstPort = c.Size, src.Port(), port
	if dst.Is6() && s.env.Conn.Caps().Header {
		m.Label = &c.Label
	}
	return plan{asked{a, own}, m, s.limits(1, 1)}, nil
}
