package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gtrace/probe"
	"gtrace/probe/trace"
	"gtrace/rawsock"
	"gtrace/report"
)

// A traceTool is gtrace.
type traceTool struct {
	icmp, tcp   bool
	port        uint16 // 0: as the protocol has it
	first, max  uint8
	attempts    int
	wait        trace.Wait
	inFlight    int
	label       uint32 // 0: a random one
	labelGiven  bool
	df          bool
	flow        string
	size        int // 0: by family
	gapLimit    int
	proto       probe.Proto // by icmp and tcp
	randomLabel uint32      // of this run
}

// simQueries is how many probes are in flight at once, unless --sim-queries says else.
const simQueries = 16

func newTraceTool() *traceTool {
	return &traceTool{
		first: 1, max: 30, attempts: 3, inFlight: simQueries, flow: "paris",
		wait:        trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10},
		randomLabel: random(1<<20 - 1),
	}
}

func (t *traceTool) name() string { return "gtrace" }

func (t *traceTool) letters() (source, tos byte) { return 's', 't' }

func (t *traceTool) numericHelp() string {
	return "print addresses only, and ask no name server about them"
}

func (t *traceTool) slower() string { return "a smaller --sim-queries" }

func (t *traceTool) usage() string {
	return `Usage: gtrace [OPTION]... HOST...

Prints the path to each HOST, hop by hop. Options may stand anywhere; "--" ends
them. Exit status: 0 every host was reached, 1 one was not, 2 could not be told.
`
}

func (t *traceTool) options() []option {
	return []option{
		{long: "icmp", short: 'I', set: flag(&t.icmp), help: "probe with ICMP echo requests (default: UDP)"},
		{long: "tcp", short: 'T', set: flag(&t.tcp), help: "probe with TCP SYNs"},
		{long: "port", short: 'p', value: "PORT", set: count(&t.port, 1, 65535),
			help: "destination port; default 33434 for UDP, 80 for TCP"},
		{long: "flow", value: "NAME", words: []string{"paris", "classic"}, set: word(&t.flow, "paris", "classic"),
			help: "paris: every probe takes the same way at routers that balance\nload by flow (the default); classic: each probe is a flow of its own"},
		{long: "first", short: 'f', value: "TTL", set: count(&t.first, 1, 255), help: "start at this distance; default 1"},
		{long: "max-hops", short: 'm', value: "TTL", set: count(&t.max, 1, 255), help: "go no further than this; default 30"},
		{long: "queries", short: 'q', value: "N", set: count(&t.attempts, 1, 10), help: "probes per hop, 1 to 10; default 3"},
		{long: "sim-queries", short: 'N', value: "N", set: count(&t.inFlight, 1, 1024), help: "probes in flight at once; default 16"},
		{long: "wait", short: 'w', value: "MAX[,HERE[,NEAR]]", set: t.setWait,
			help: "wait MAX seconds for an answer, but no longer than HERE times\nthe first RTT at the same hop, or NEAR times one at a later hop;\n0 or left out: without that bound; default 5,3,10"},
		{long: "gap-limit", value: "N", set: count(&t.gapLimit, 0, 255),
			help: "stop after N silent hops in a row; default 0: do not"},
		{long: "size", value: "BYTES", set: count(&t.size, 1, 65535),
			help: "of a whole packet; default 60 for IPv4, 80 for IPv6"},
		{long: "flowlabel", short: 'l', value: "N", set: t.setLabel,
			help: "IPv6 flow label, 0 to 0xfffff; default a random one for the run"},
		{long: "dont-fragment", short: 'F', set: flag(&t.df), help: "forbid routers to fragment the probes"},
	}
}

func (t *traceTool) setWait(s string) error {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '/' })
	if n := strings.Count(s, ",") + strings.Count(s, "/") + 1; n != len(parts) || n > 3 {
		return errors.New("want MAX[,HERE[,NEAR]]: seconds and up to two factors, such as 5,3,10")
	}
	t.wait = trace.Wait{}
	if err := seconds(&t.wait.Max, time.Millisecond, time.Hour)(parts[0]); err != nil {
		return err
	}
	for i, into := range []*float64{&t.wait.Here, &t.wait.Near} {
		if i+1 < len(parts) {
			f, err := factor(parts[i+1])
			if err != nil {
				return err
			}
			*into = f
		}
	}
	return nil
}

func (t *traceTool) setLabel(s string) error {
	t.labelGiven = true
	return bits(&t.label, uint32(1<<20-1))(s)
}

func (t *traceTool) check(s *session, _ int) error {
	switch {
	case t.icmp && t.tcp:
		return errors.New("--icmp and --tcp exclude each other")
	case t.icmp && t.port != 0:
		return fmt.Errorf("--port %d: ICMP has no ports", t.port)
	case t.tcp && t.flow == "classic":
		return errors.New("--flow classic: a TCP probe keeps its flow, only UDP and ICMP probes can move")
	case t.first > t.max:
		return fmt.Errorf("--first %d: is beyond --max-hops %d", t.first, t.max)
	case t.labelGiven && s.family == 4:
		return errors.New("--flowlabel: IPv4, which --ipv4 asks for, has none")
	}
	switch {
	case t.icmp:
		t.proto = probe.ICMP
	case t.tcp:
		t.proto = probe.TCP
	default:
		t.proto = probe.UDP
	}
	return nil
}

func (t *traceTool) privileged(c rawsock.Caps) string {
	switch {
	case t.tcp && !c.TCP:
		return "--tcp"
	case t.labelGiven && !c.Header:
		return "--flowlabel"
	}
	return ""
}

func (t *traceTool) sourcePort() uint16 { return 0 }

func (t *traceTool) settings() rawsock.Settings { return rawsock.Settings{} }

func (t *traceTool) named() bool { return false }

func (t *traceTool) exit(rs []result) int { return worst(rs) }

func (t *traceTool) sink(s *session) (probe.Sink, error) {
	return report.NewTrace(s.out, s.format, report.Options{Version: s.env.Version, Targets: s.several, Names: s.called, Origins: s.origins})
}

func (t *traceTool) method() probe.Method {
	return probe.Method{
		Proto: t.proto, Classic: t.flow == "classic",
		FirstTTL: t.first, MaxTTL: t.max, Attempts: t.attempts, Size: t.size,
	}
}

func (t *traceTool) plan(s *session, src netip.AddrPort, dst netip.Addr) (plan, error) {
	c := trace.Config{
		Proto: t.proto, Src: src, Classic: t.flow == "classic",
		First: t.first, Max: t.max, Attempts: t.attempts, Size: t.size, TOS: s.tos, DF: t.df,
		GapLimit: t.gapLimit, Wait: t.wait, InFlight: t.inFlight,
	}
	switch {
	case dst.Is6() && t.labelGiven:
		c.Label = t.label
	case dst.Is6():
		c.Label = t.randomLabel
	case t.labelGiven:
		return plan{}, errors.New("--flowlabel: IPv4 has none (--ipv6 asks for IPv6)")
	}
	port := t.port
	switch {
	case t.proto == probe.ICMP && !c.Classic:
		port = uint16(random(1<<16 - 2)) // the checksum that makes the flow: not 0, nor 0xFFFF, which is 0 in ones' complement
	case t.proto == probe.ICMP:
	case port == 0 && t.proto == probe.TCP:
		port = 80
	case port == 0:
		port = 33434
	}
	c.Dst = netip.AddrPortFrom(dst, port)
	least, most := probe.Sizes(t.proto, dst.Is6(), port != 0) // that an identity fits in
	switch {
	case c.Size != 0 && c.Size != least && least == most:
		return plan{}, fmt.Errorf("--size %d: a %s probe over IPv%d has %d bytes and no other size", c.Size, t.proto, familyOf(dst), least)
	case c.Size != 0 && (c.Size < least || c.Size > most):
		return plan{}, fmt.Errorf("--size %d: a %s probe over IPv%d has %d to %d bytes", c.Size, t.proto, familyOf(dst), least, most)
	case c.Size == 0 && dst.Is6(): // as traceroute
		c.Size = 80
	case c.Size == 0:
		c.Size = 60
	}
	a, err := trace.New(c)
	if err != nil {
		return plan{}, err
	}
	m := t.method()
	m.Size, m.SrcPort = c.Size, src.Port()
	if dst.Is6() && s.env.Conn.Caps().Header {
		m.Label = &c.Label
	}
	if t.proto != probe.ICMP { // its "port" is a checksum
		m.DstPort = port
	}
	return plan{a, m, s.limits(t.inFlight, simQueries)}, nil
}
