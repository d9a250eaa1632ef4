package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"gtrace/probe"
	"gtrace/probe/mda"
	"gtrace/probe/trace"
)

// branches are the options of multipath traces.
type branches struct {
	on         bool
	flows      int    // side by side, without a search for more; 0: as many as it takes
	confidence string // a word of confidences; "": the first
	field      string
	budget     int

	sources map[netip.Addr][]uint16 // ports of the flows behind the first, where these differ in the source port
}

const (
	// graphNodes is for how many branching nodes the confidence of a whole path is; what ALGORITHMS of the field reckon with.
	graphNodes = 16

	// maxBudget bounds what --max-probes may ask; budget is its default.
	maxBudget, budget = 1_000_000, 10_000

	// maxFlows bounds --flows.
	maxFlows = 1000

	// tcpFlows is how many flows TCP has: each has a source port reserved, of which a connection's filter holds maxPorts. Each further
	// source address of a run has moreFlows beside its own port.
	tcpFlows, moreFlows = 48, 3
)

// byDestination is the flow field of destination addresses.
const byDestination = "destination"

var (
	confidences = []string{"95", "99", "95/node", "99/node"}
	flowFields  = []string{"ports", "label", "both", byDestination}
)

func (b *branches) options() []option {
	return []option{
		{long: "multipath", set: flag(&b.on), group: groupMethods,
			help: "find every branch of the path: each hop is asked with as many\nflows as it takes to miss none but by chance (see MULTIPATH)"},
		{long: "flows", value: "N", set: b.setFlows, group: groupMethods,
			help: "trace N flows side by side, and look for no more branches than\nthey show; up to 1000, 48 by --tcp and -U"},
		{long: "confidence", value: "PERCENT[/node]", set: word(&b.confidence, confidences...), group: groupMethods, words: confidences,
			help: "with --multipath: 95 or 99, that all branches of the path are\nfound; with /node of each balancing router; default 95"},
		{long: "flow-field", value: "NAME", set: word(&b.field, flowFields...), group: groupMethods, words: flowFields,
			help: "with these two: what flows differ in: ports (ICMP: the\nchecksum), the IPv6 flow label, or both; default both for IPv6.\ndestination: the address, those next to HOST, which are asked\nbefore it alone (see MULTIPATH)"},
		{long: "max-probes", value: "N", set: count(&b.budget, 1, maxBudget), group: groupMethods,
			help: fmt.Sprintf("with these two: end after N probes to a host; default %d", budget)},
	}
}

// setFlows is a multipath trace too.
func (b *branches) setFlows(n string) error {
	b.on = true
	return count(&b.flows, 1, maxFlows)(n)
}

// name is the option that asks for a multipath trace.
func (b *branches) name() string {
	if b.flows > 0 {
		return "--flows"
	}
	return "--multipath"
}

// check is what does not go together.
func (b *branches) check(t *traceTool, s *session) error {
	if !b.on {
		for _, o := range []struct {
			name  string
			given bool
		}{{"confidence", b.confidence != ""}, {"flow-field", b.field != ""}, {"max-probes", b.budget != 0}} {
			if o.given {
				return fmt.Errorf("--%s: is of multipath traces, which --multipath asks for, or --flows", o.name)
			}
		}
		return nil
	}
	proto, name := t.proto(), b.name()
	sources := (proto == probe.TCP || t.kind == "udp") && b.field != byDestination // flows differ in the source port
	switch {
	case proto != probe.UDP && proto != probe.ICMP && proto != probe.TCP:
		return fmt.Errorf("%s: by UDP, --icmp or --tcp, not by %s", name, t.what())
	case t.flow == "classic":
		return fmt.Errorf("--flow classic: not with %s, whose flows stay", name)
	case t.mtu:
		return fmt.Errorf("--mtu: not with %s, one of the two", name)
	case t.table:
		return fmt.Errorf("--table: not with %s, whose hops have several nodes", name)
	case t.interval > 0:
		return fmt.Errorf("--interval: not with %s, which asks as it learns", name)
	case t.gap > 0:
		return fmt.Errorf("--sendwait: not with %s; --rate bounds it", name)
	case t.gateways != "":
		return fmt.Errorf("--gateway: not with %s, as routers do not balance what is source-routed", name)
	case t.sport != 0 && sources:
		return fmt.Errorf("--sport %d: not with %s and %s, whose flows differ in it", t.sport, name, t.what())
	case t.attempts > 10:
		return fmt.Errorf("--queries %d: want no more than 10 with %s, where it is how often a flow is asked", t.attempts, name)
	case b.flows > 0 && b.confidence != "":
		return errors.New("--confidence: not with --flows, which looks for no more branches")
	case b.labels() && s.family == 4:
		return fmt.Errorf("--flow-field %s: IPv4, which --ipv4 asks for, has no label; use ports", b.field)
	case b.labels() && s.env.Conn != nil && !s.env.Conn.Caps().Header:
		return fmt.Errorf("--flow-field %s: an ordinary user's flow labels are the kernel's; use ports, or run it as root (sudo) or with CAP_NET_RAW", b.field)
	}
	return nil
}

// algorithm is the multipath trace of what would be c's path. Where the destination port is to stay, flows differ in the source port.
func (b *branches) algorithm(s *session, c trace.Config, onePort bool) (probe.Algorithm, error) {
	percent, nodes := b.sure()
	m := mda.Config{
		Proto: c.Proto, Src: c.Src, Dst: c.Dst, Label: c.Label, By: mda.Ports, First: c.First, Max: c.Max, Size: c.Size, TOS: c.TOS, DF: c.DF,
		Segment: c.Segment, Flows: b.flows, Miss: mda.PerNode(1-float64(percent)/100, nodes), Attempts: c.Attempts, GapLimit: c.GapLimit, Wait: c.Wait.Max, Here: c.Wait.Here, Near: c.Wait.Near, Sequence: c.Sequence, Budget: b.budget,
	}
	if m.Budget == 0 {
		m.Budget = budget
	}
	switch v6 := c.Dst.Addr().Is6(); {
	case b.field == byDestination:
		return b.aside(s, m, onePort)
	case !v6 && b.labels():
		return nil, fmt.Errorf("--flow-field %s: IPv4 has no label; use ports", b.field)
	case v6 && b.field == "label":
		m.By = mda.Label
	case v6 && b.field != "ports" && s.env.Conn.Caps().Header:
		m.By = mda.Ports | mda.Label
	}
	if m.By&mda.Ports != 0 && (c.Proto == probe.TCP || onePort) {
		m.Sources = b.ports(s, c.Src, c.Proto)
	}
	if most := m.Most(); b.flows > most {
		return nil, fmt.Errorf("--flows %d: no more than %d differ here: by their source ports, of which no more are reserved, or by destination ports up to 65535", b.flows, most)
	}
	return mda.New(m)
}

// labels reports whether flows are asked for that differ in the IPv6 flow label.
func (b *branches) labels() bool { return b.field == "label" || b.field == "both" }

// aside is the multipath trace of m whose flows go to addresses next to the host's own. Those are left out that no router is before, as far as
// the routing table says: what is sent there would arrive.
func (b *branches) aside(s *session, m mda.Config, onePort bool) (probe.Algorithm, error) {
	a := m.Dst.Addr()
	switch {
	case s.isHere(a):
		return nil, fmt.Errorf("--flow-field %s: %v is this host, no router is before it", b.field, a)
	case a.IsMulticast(): // refused already
		return nil, fmt.Errorf("--flow-field %s: %v is a multicast address, which has no others next to it", b.field, a)
	case a.IsLinkLocalUnicast():
		return nil, fmt.Errorf("--flow-field %s: %v is a link-local address, no router is before those", b.field, a)
	}
	settings := s.tool.settings()
	before := func(a netip.Addr) bool {
		r, err := s.env.router(m.Src.Addr(), a, settings)
		return err == nil && r.IsValid() && !s.isHere(a)
	}
	if settings.Direct || !before(a) {
		return nil, fmt.Errorf("--flow-field %s: %v is on a network of this host, no router is before it", b.field, a)
	}
	for _, n := range mda.Neighbours(a) {
		if before(n) {
			m.Neighbours = append(m.Neighbours, n)
		}
	}
	m.By, m.Also = mda.Destination, mda.Ports
	if a.Is6() && s.env.Conn.Caps().Header {
		m.Also |= mda.Label
	}
	if m.Proto == probe.TCP || onePort {
		m.Sources = b.ports(s, m.Src, m.Proto)
	}
	if most := m.Most(); b.flows > most {
		return nil, fmt.Errorf("--flows %d: no more than %d differ here: the host's own address, and %d next to it that a router is before", b.flows, most, most-1)
	}
	return mda.New(m)
}

// sure is how sure the search is to be, in percent, of a path with so many branching nodes.
func (b *branches) sure() (percent, nodes int) {
	p, node := strings.CutSuffix(b.confidence, "/node")
	percent, nodes = 95, graphNodes
	if p == "99" {
		percent = 99
	}
	if node {
		nodes = 1
	}
	return percent, nodes
}

// method adds what is asked for.
func (b *branches) method(m probe.Method) probe.Method {
	m.Aside = b.on && b.field == byDestination
	if m.Multipath, m.Flows = b.on, b.flows; b.on && b.flows == 0 {
		m.Confidence, m.Nodes = b.sure()
	}
	return m
}

// ports are source ports for the flows, that of the first one first. There are as many as can be had. The first source address of a
// family has most of them: what is left is for the hosts themselves.
func (b *branches) ports(s *session, first netip.AddrPort, proto probe.Proto) []uint16 {
	a := first.Addr()
	more, reserved := b.sources[a]
	if !reserved {
		room := tcpFlows - 1
		for other := range b.sources {
			if other.Is6() == a.Is6() {
				room = moreFlows
			}
		}
		for len(more) < room {
			port, err := s.env.Conn.Reserve(a, proto.Number(a, 0), 0)
			if err != nil {
				break // the rest are enough for less, and where they are not the trace says so
			}
			more = append(more, port)
		}
		if b.sources == nil {
			b.sources = make(map[netip.Addr][]uint16)
		}
		b.sources[a] = more
	}
	return append([]uint16{first.Port()}, more...)
}
