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

	sources  map[netip.Addr][]uint16 // ports of the flows, where these differ in the source port
	reserved map[bool]bool           // of IPv6, and of IPv4
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

var (
	confidences = []string{"95", "99", "95/node", "99/node"}
	flowFields  = []string{"ports", "label", "both"}
)

func (b *branches) options() []option {
	return []option{
		{long: "multipath", set: flag(&b.on), group: groupMethods,
			help: "find every branch of the path: each hop is asked with as many\nflows as it takes to miss none but by chance (see MULTIPATH)"},
		{long: "flows", value: "N", set: b.setFlows, group: groupMethods,
			help: "trace N flows side by side, and look for no more branches than\nthey show"},
		{long: "confidence", value: "PERCENT[/node]", set: word(&b.confidence, confidences...), group: groupMethods, words: confidences,
			help: "with --multipath: 95 or 99, that all branches of the path are\nfound; with /node of each balancing router; default 95"},
		{long: "flow-field", value: "NAME", set: word(&b.field, flowFields...), group: groupMethods, words: flowFields,
			help: "with --multipath: what flows differ in: ports (ICMP: the\nchecksum), the IPv6 flow label, or both; default both for IPv6"},
		{long: "max-probes", value: "N", set: count(&b.budget, 1, maxBudget), group: groupMethods,
			help: fmt.Sprintf("with --multipath: end after N probes to a host; default %d", budget)},
	}
}

// setFlows is a multipath trace too.
func (b *branches) setFlows(n string) error {
	b.on = true
	return count(&b.flows, 1, maxFlows)(n)
}

// check is what does not go together.
func (b *branches) check(t *traceTool, s *session) error {
	if !b.on {
		for _, o := range []struct {
			name  string
			given bool
		}{{"confidence", b.confidence != ""}, {"flow-field", b.field != ""}, {"max-probes", b.budget != 0}} {
			if o.given {
				return fmt.Errorf("--%s: is of multipath traces, which --multipath asks for", o.name)
			}
		}
		return nil
	}
	switch proto := t.proto(); {
	case proto != probe.UDP && proto != probe.ICMP && proto != probe.TCP:
		return fmt.Errorf("--multipath: by UDP, --icmp or --tcp, not by %s", t.what())
	case t.flow == "classic":
		return errors.New("--flow classic: not with --multipath, whose flows stay")
	case t.mtu:
		return errors.New("--mtu: not with --multipath, one of the two")
	case t.table:
		return errors.New("--table: not with --multipath, whose hops have several nodes")
	case t.interval > 0:
		return errors.New("--interval: not with --multipath, which asks as it learns")
	case t.gap > 0:
		return errors.New("--sendwait: not with --multipath; --rate bounds it")
	case t.gateways != "":
		return errors.New("--gateway: not with --multipath")
	case t.sport != 0 && (proto == probe.TCP || t.kind == "udp"):
		return fmt.Errorf("--sport %d: not with --multipath and %s, whose flows differ in it", t.sport, t.what())
	case t.attempts > 10:
		return fmt.Errorf("--queries %d: want no more than 10 with --multipath, where it is how often a flow is asked", t.attempts)
	case b.flows > 0 && b.confidence != "":
		return errors.New("--confidence: not with --flows, which looks for no more branches")
	case b.field != "" && b.field != "ports" && s.family == 4:
		return fmt.Errorf("--flow-field %s: IPv4, which --ipv4 asks for, has no label", b.field)
	case b.field != "" && b.field != "ports" && s.env.Conn != nil && !s.env.Conn.Caps().Header:
		return fmt.Errorf("--flow-field %s: an ordinary user's flow labels are the kernel's; use ports, or run it as root (sudo) or with CAP_NET_RAW", b.field)
	}
	return nil
}

// algorithm is the multipath trace of what would be c's path. Where the destination port is to stay, flows differ in the source port.
func (b *branches) algorithm(s *session, c trace.Config, onePort bool) (probe.Algorithm, error) {
	m := mda.Config{
		Proto: c.Proto, Src: c.Src, Dst: c.Dst, Label: c.Label, By: mda.Ports, First: c.First, Max: c.Max, Size: c.Size, TOS: c.TOS, DF: c.DF,
		Segment: c.Segment, Flows: b.flows, Miss: b.miss(), Attempts: c.Attempts, GapLimit: c.GapLimit, Wait: c.Wait.Max, Here: c.Wait.Here, Near: c.Wait.Near, Sequence: c.Sequence, Budget: b.budget,
	}
	if m.Budget == 0 {
		m.Budget = budget
	}
	switch v6 := c.Dst.Addr().Is6(); {
	case !v6 && b.field != "" && b.field != "ports":
		return nil, fmt.Errorf("--flow-field %s: IPv4 has no label", b.field)
	case v6 && b.field == "label":
		m.By = mda.Label
	case v6 && b.field != "ports" && s.env.Conn.Caps().Header:
		m.By = mda.Ports | mda.Label
	}
	if m.By&mda.Ports != 0 && (c.Proto == probe.TCP || onePort) {
		m.Sources = b.ports(s, c.Src, c.Proto)
	}
	return mda.New(m)
}

// miss is how likely a balancer's branch may be missed.
func (b *branches) miss() float64 {
	percent, node := strings.CutSuffix(b.confidence, "/node")
	miss := 0.05
	if percent == "99" {
		miss = 0.01
	}
	if !node {
		miss = mda.PerNode(miss, graphNodes)
	}
	return miss
}

// ports are source ports for the flows of TCP, that of the first one first. There are as many as can be had.
func (b *branches) ports(s *session, first netip.AddrPort, proto probe.Proto) []uint16 {
	if b.sources == nil {
		b.sources = make(map[netip.Addr][]uint16)
	}
	more, reserved := b.sources[first.Addr()]
	room := tcpFlows - 1
	if v6 := first.Addr().Is6(); !reserved && b.reserved[v6] {
		room = moreFlows // what is left is for the hosts themselves
	} else if b.reserved == nil {
		b.reserved = map[bool]bool{v6: true}
	} else {
		b.reserved[v6] = true
	}
	for !reserved && len(more) < room {
		port, err := s.env.Conn.Reserve(first.Addr(), proto.Number(first.Addr(), 0), 0)
		if err != nil {
			break // the rest are enough for less, and where they are not the trace says so
		}
		more = append(more, port)
	}
	b.sources[first.Addr()] = more
	return append([]uint16{first.Port()}, more...)
}
