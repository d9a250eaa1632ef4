package mda

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"gtrace/probe"
)

const (
	maxWait     = time.Hour
	maxAttempts = 100
	maxFlows    = 30000 // as many destination ports are there behind the first one of traceroute
)

// A Field is what flows differ in.
type Field uint8

const (
	Ports       Field = 1 << iota // the destination port of UDP, or the source port, which TCP always moves; the checksum of ICMP
	Label                         // the IPv6 flow label
	Destination                   // the destination address, and nothing else
)

// A Config is what New needs. All is checked there.
type Config struct {
	Proto    probe.Proto    // UDP, ICMP or TCP
	Src, Dst netip.AddrPort // of the first flow, as probe.Spec says
	Sources  []uint16       // by Ports, and for TCP a must: a source port for each flow, the first one's first. No more flows than these. None: UDP moves its destination port
	Label    uint32         // IPv6 flow label of the first flow, 20 bits
	By       Field          // what flows differ in: Ports, Label or both, or Destination
	First    uint8          // TTLs, from 1
	Max      uint8
	Size     int // bytes of the whole packet; 0 means as small as it gets
	TOS      uint8
	DF       bool
	Segment  probe.Segment
	Sequence uint16 // ICMP: of the first probe of each flow; 0: 1

	// Flows, where not 0, is how many flows each TTL is asked with, the same ones; then nothing further is looked for.
	Flows int
	// Miss is the probability that a branching node has one more successor than was found, where it spreads flows evenly.
	Miss     float64
	Attempts int           // how often one flow is asked at one TTL before that counts as silent, 1 to 100
	GapLimit int           // consecutive silent TTLs that end the trace; 0: none
	Wait     time.Duration // for an answer, at most
	Here     float64       // but no longer than so many times the longest round-trip time at the same TTL; 0: without that bound
	Near     float64       // nor, where none is known there, than so many times the longest of all, and a fifth of Wait at least; 0: without that bound
	Budget   int           // probes in all, at most
	Plain    bool          // what kind of balancer each is is not looked into

	// By Destination: where the flows behind the first go, each to one of these; see Neighbours. They are asked no further than
	// where the first flow is known to be still on its way.
	Neighbours []netip.Addr
	// And what more flows to one destination differ in, by which it is seen whether a balancer goes by the destination alone: Ports, Label
	// or both. 0: that is not looked into. Sources are for these then.
	Also Field
}

// mostNeighbours is how many Neighbours there are at most: the last 8 bits, but for the host's own, the network's and the broadcast address.
const mostNeighbours = 253

// Neighbours are the addresses that differ from a in the last 8 bits, but for those that end in 0 or 255, which in IPv4 may be a network's
// and its broadcast address. They come in an order in which any few of them are spread over all, always the same.
func Neighbours(a netip.Addr) (all []netip.Addr) {
	b := a.AsSlice()
	if len(b) == 0 {
		return nil
	}
	last := &b[len(b)-1]
	const step = 157 // odd, so that it comes to each of 256, and near the golden section
	for own, n := *last, 1; n < 256 && len(all) < mostNeighbours; n++ {
		if *last = own + byte(n*step%256); *last == 0 || *last == 255 {
			continue
		}
		next, _ := netip.AddrFromSlice(b)
		all = append(all, next)
	}
	return all
}

// check returns what is wrong with c, all of it, joined.
func (c *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("mda: "+format, args...))
	}
	probe.CheckFlow(c.Src.Addr(), c.Dst.Addr(), c.Label, wrong)
	switch c.Proto {
	case probe.UDP, probe.TCP:
		if c.Src.Port() == 0 || c.Dst.Port() == 0 {
			wrong("ports %d and %d: want 1 to 65535", c.Src.Port(), c.Dst.Port())
		}
	case probe.ICMP:
		if p := c.Dst.Port(); p == 0 || p == math.MaxUint16 {
			wrong("checksum %#04x: want one that every probe of a flow can carry", p)
		}
	default:
		wrong("protocol %v: want UDP, ICMP or TCP", c.Proto)
	}
	switch {
	case c.By == 0 || c.By != Destination && c.By&^(Ports|Label) != 0:
		wrong("flows by %b: want ports, the label or both, or the destination", c.By)
	case c.Also&^(Ports|Label) != 0 || c.Also != 0 && c.By != Destination:
		wrong("more flows by %b: want ports, the label or both, where flows differ in the destination", c.Also)
	case (c.By|c.Also)&Label != 0 && !c.Dst.Addr().Is6():
		wrong("flows by label: IPv4 has none")
	}
	c.checkNeighbours(wrong)
	if (c.By|c.Also)&Ports != 0 && (c.Proto == probe.TCP || len(c.Sources) > 0) && (len(c.Sources) == 0 || c.Sources[0] != c.Src.Port()) {
		wrong("source ports %v: want one for each flow, the first %d", c.Sources, c.Src.Port())
	}
	if c.First < 1 || c.Max < c.First {
		wrong("TTLs %d to %d: want the first from 1, and the last not below it", c.First, c.Max)
	}
	if least, most := probe.SizesOf(&probe.Spec{Proto: c.Proto, Dst: c.Dst, Segment: c.Segment}); c.Size != 0 && (c.Size < least || c.Size > most) {
		wrong("size %d bytes: want 0, or %d to %d", c.Size, least, most)
	}
	if !(c.Miss > 0 && c.Miss < 1) {
		wrong("a probability of %v to miss a branch: want more than 0, less than 1", c.Miss)
	}
	if most := c.Most(); c.Flows < 0 || c.Flows > most {
		wrong("%d flows: want 0 for as many as it takes, or up to %d, which differ", c.Flows, most)
	}
	if c.Attempts < 1 || c.Attempts > maxAttempts {
		wrong("%d attempts: want 1 to %d", c.Attempts, maxAttempts)
	}
	if c.GapLimit < 0 {
		wrong("gap limit %d: want 0 for none, or more", c.GapLimit)
	}
	if c.Wait <= 0 || c.Wait > maxWait {
		wrong("wait of %v: want more than 0, up to %v", c.Wait, maxWait)
	}
	for _, f := range [...]float64{c.Here, c.Near} {
		if !(f >= 0) || math.IsInf(f, 1) {
			wrong("wait factor %v: want 0 for none, or more", f)
		}
	}
	if c.Sequence != 0 && c.Proto != probe.ICMP {
		wrong("sequence number %d: want 0 but for ICMP", c.Sequence)
	}
	if c.Budget < 1 {
		wrong("%d probes: want 1 or more", c.Budget)
	}
	return errors.Join(errs...)
}

// checkNeighbours calls wrong with what will not do as other destinations.
func (c *Config) checkNeighbours(wrong func(format string, args ...any)) {
	if c.By != Destination {
		if len(c.Neighbours) > 0 {
			wrong("%d neighbours: want none where flows do not differ in the destination", len(c.Neighbours))
		}
		return
	}
	if len(c.Neighbours) > mostNeighbours {
		wrong("%d neighbours: want %d at most", len(c.Neighbours), mostNeighbours)
	}
	seen := map[netip.Addr]bool{c.Dst.Addr(): true}
	for _, a := range c.Neighbours {
		if a.BitLen() != c.Dst.Addr().BitLen() || a.Is4In6() || a.Zone() != "" || seen[a] {
			wrong("neighbour %v: want addresses of the destination's family, each once", a)
			return
		}
		seen[a] = true
	}
}

// Most is how many flows there can be.
func (c *Config) Most() int {
	if c.By == Destination {
		return 1 + len(c.Neighbours)
	}
	return c.most(c.By)
}

// most is how many flows there can be that differ in by.
func (c *Config) most(by Field) int {
	switch {
	case by&Label != 0:
		return maxFlows
	case len(c.Sources) > 0:
		return min(maxFlows, len(c.Sources))
	case c.Proto == probe.UDP:
		return min(maxFlows, math.MaxUint16-int(c.Dst.Port())+1)
	}
	return maxFlows
}

// spec is the probe of a flow to a TTL.
func (c *Config) spec(flow int, ttl uint8) probe.Spec {
	s := probe.Spec{Proto: c.Proto, Src: c.Src, Dst: c.Dst, Label: c.Label, TTL: ttl, TOS: c.TOS, DF: c.DF, Size: c.Size, Segment: c.Segment,
		First: c.Sequence, Timeout: c.Wait, Flow: uint16(flow)}
	if c.By != Destination {
		c.move(&s, c.By, flow)
	} else if flow > 0 {
		s.Dst = netip.AddrPortFrom(c.Neighbours[flow-1], c.Dst.Port())
	}
	return s
}

// move makes s the n-th flow by that field, s being the first, of number 0.
func (c *Config) move(s *probe.Spec, by Field, n int) {
	if by&Label != 0 {
		s.Label = (c.Label + uint32(n)) & 0xfffff
	}
	if by&Ports == 0 {
		return
	}
	port := int(c.Dst.Port())
	switch {
	case len(c.Sources) > 0:
		s.Src = netip.AddrPortFrom(c.Src.Addr(), c.Sources[n%len(c.Sources)])
	case c.Proto == probe.UDP:
		s.Dst = netip.AddrPortFrom(s.Dst.Addr(), uint16(1+(port-1+n)%math.MaxUint16))
	default: // in ones' complement 0xFFFF is 0
		s.Dst = netip.AddrPortFrom(s.Dst.Addr(), uint16(1+(port-1+n)%(math.MaxUint16-1)))
	}
}

// Enough is how many flows it takes, of a node that spreads them evenly over k successors, to have missed one of them with no more
// probability than miss: the union bound over which one that would be (ALGORITHMS: the stopping rule). 0 for k below 2.
func Enough(k int, miss float64) int {
	if k < 2 {
		return 0
	}
	n := math.Log(miss/float64(k)) / math.Log(float64(k-1)/float64(k))
	return int(math.Ceil(n - 1e-9))
}

// PerNode is how likely each of that many branching nodes may miss a successor so that all of them together do so no more
// likely than miss.
func PerNode(miss float64, nodes int) float64 {
	return -math.Expm1(math.Log1p(-miss) / float64(nodes))
}
