package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gtrace/probe"
	"gtrace/probe/trace"
	"gtrace/report"
)

// mostWays is how many methods --matrix takes.
const mostWays = 16

// A way is a method of --matrix.
type way struct {
	name    string // "icmp", or kind/port
	kind    string // one of methods
	port    uint16
	content probe.Content
}

// contents are what services at UDP ports are asked by --matrix.
var contents = map[uint16]probe.Content{53: probe.DNSQuery, 443: probe.QUICInitial}

// setMatrix reads methods, such as icmp,udp/53,tcp/443.
func (t *traceTool) setMatrix(s string) error {
	t.ways = nil
	for name := range strings.SplitSeq(s, ",") {
		w, err := parseWay(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		if slices.Contains(t.ways, w) {
			return fmt.Errorf("%s stands there twice", printable(name))
		}
		t.ways = append(t.ways, w)
	}
	if n := len(t.ways); n < 2 || n > mostWays {
		return fmt.Errorf("want 2 to %d methods, separated by commas", mostWays)
	}
	return nil
}

func parseWay(name string) (w way, err error) {
	kind, port, ported := strings.Cut(name, "/")
	switch kind {
	case "icmp":
		if ported {
			return w, fmt.Errorf("%s: icmp has no ports", printable(name))
		}
		return way{name: name, kind: kind}, nil
	case "udp", "tcp":
	default:
		return w, fmt.Errorf("%s: want icmp, udp/PORT or tcp/PORT", printable(name))
	}
	n, err := strconv.Atoi(port)
	if err != nil && strings.Trim(port, "0123456789") != "" {
		n, err = resolver.LookupPort(context.Background(), kind, port) // a service that the system's list names
	}
	if err != nil || n < 1 || n > 65535 || port[0] == '0' {
		return w, fmt.Errorf("%s: want a port, 1 to 65535, or a service that /etc/services names, such as %s/443", printable(name), kind)
	}
	w = way{name: fmt.Sprintf("%s/%d", kind, n), kind: kind, port: uint16(n)}
	if kind == "udp" {
		w.content = contents[w.port]
	}
	return w, nil
}

// prepareMatrix settles what follows from --matrix.
func (t *traceTool) prepareMatrix(s *session) error {
	switch {
	case len(t.ways) == 0:
		return nil
	case t.kind != "":
		return fmt.Errorf("--%s and --matrix exclude each other, which says what to probe with", t.kind)
	case len(t.modOptions) > 0:
		return errors.New("--options: not with --matrix, whose methods have none")
	}
	if !s.given["queries"] {
		t.attempts = 1 // routers answer all methods together no more than they answer one
	}
	return nil
}

// checkMatrix looks at what does not go with --matrix.
func (t *traceTool) checkMatrix(s *session, hosts int) error {
	if len(t.ways) == 0 {
		return nil
	}
	for _, o := range []struct {
		name  string
		given bool
		why   string
	}{
		{"port", t.port != 0, "whose methods have theirs"},
		{"sport", t.sport != 0, "whose methods have a source port each"},
		{"flow", t.flow == "classic", "whose methods keep their flows"},
		{"mtu", t.mtu, "one of the two"},
		{"table", t.table, "which prints one of its own"},
		{"interval", t.interval > 0, "whose methods share what routers answer"},
		{t.branches.name()[2:], t.branches.on, "one of the two"},
		{"resume", s.resume != "", "of which a host may have been done in part"},
	} {
		if o.given {
			return fmt.Errorf("--%s: not with --matrix, %s", o.name, o.why)
		}
	}
	if s.format == "dot" || s.format == "mermaid" {
		return fmt.Errorf("--format %s: not with --matrix; use text, json or events", s.format)
	}
	for _, m := range t.besides() {
		if err := m.check(s, hosts); err != nil {
			return err
		}
	}
	return t.checkSizes(s)
}

// checkSizes refuses a --size that a method can have over no family.
func (t *traceTool) checkSizes(s *session) (err error) {
	if t.size == 0 {
		return nil
	}
	for _, m := range t.besides() {
		m := m.(*traceTool)
		err = nil
		for _, a := range []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()} {
			if s.family != 0 && s.family != familyOf(a) {
				continue
			}
			if _, err = m.bytes(&probe.Spec{Proto: m.proto(), Dst: netip.AddrPortFrom(a, max(m.port, 1)), Segment: m.mod.segment, Content: m.way.content}); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// besides are tools that measure one host side by side, one a method; none where there is only one.
func (t *traceTool) besides() (all []tool) {
	b := new(trace.Beside)
	for _, w := range t.ways {
		m := *t
		m.ways, m.way, m.kind, m.port, m.beside = nil, w, w.kind, w.port, b
		m.mod, _ = parseOptions(w.kind, nil, modOptions{}) // none can be wrong
		all = append(all, &m)
	}
	return all
}

// methods are what measures each host side by side; none where there is only one.
func (t *traceTool) methods() (names []string) {
	for _, w := range t.ways {
		names = append(names, w.name)
	}
	return names
}

// whole reports whether all hosts must be known before the first is begun.
func (t *traceTool) whole(*session) bool { return len(t.ways) > 0 }

// besideSink is the sink of all methods that measure one host.
func (t *traceTool) besideSink(s *session, w io.Writer) (probe.Sink, error) {
	return report.NewMatrix(w, s.format, t.reportOptions(s), t.methods())
}

// A group is what methods that measure one host have in common.
type group struct {
	left  int    // so many have not begun
	tools []tool // one a method; nil: none has begun, or all have
	sheet *sheet // the same
}

// besider is a tool of which several methods may measure each host.
type besider interface {
	methods() []string
	besides() []tool
	besideSink(*session, io.Writer) (probe.Sink, error)
}

// methods are what measures each host side by side; none where there is only one.
func (s *session) methods() []string {
	if t, ok := s.tool.(besider); ok {
		return t.methods()
	}
	return nil
}

// spread makes one of each method that measures h.
func (s *session) spread(h host) (first host, others []host) {
	n := len(s.methods())
	if n == 0 {
		return h, nil
	}
	h.group = &group{left: n}
	first = h
	for h.way = 1; h.way < n; h.way++ {
		others = append(others, h)
	}
	return first, others
}

// toolOf is what measures h.
func (s *session) toolOf(h host) tool {
	g := h.group
	if g == nil {
		return s.tool
	}
	if g.tools == nil {
		g.tools = s.tool.(besider).besides()
	}
	return g.tools[h.way]
}

// title names h, and what measures it where that is not all there is.
func (s *session) title(h host) string {
	if h.group == nil {
		return h.name
	}
	return h.name + " by " + s.methods()[h.way]
}

// A part is the sink of one method of a sheet.
type part struct {
	*sheet
	way int
}

func (p part) Emit(e probe.Event) error { return p.sheet.Emit(&probe.For{Target: p.way, Event: e}) }
