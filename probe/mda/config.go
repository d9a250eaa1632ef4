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
	Ports Field = 1 << iota // the destination port of UDP, or the source port, which TCP always moves; the checksum of ICMP
	Label                   // the IPv6 flow label
)

// A Config is what New needs. All is checked there.
type Config struct {
	Proto    probe.Proto    // UDP, ICMP or TCP
	Src, Dst netip.AddrPort // of the first flow, as probe.Spec says
	Sources  []uint16       // by Ports, and for TCP a must: a source port for each flow, the first one's first. No more flows than these. None: UDP moves its destination port
	Label    uint32         // IPv6 flow label of the first flow, 20 bits
	By       Field          // what flows differ in
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
	case c.By == 0 || c.By&^(Ports|Label) != 0:
		wrong("flows by %b: want ports, the label or both", c.By)
	case c.By&Label != 0 && !c.Dst.Addr().Is6():
		wrong("flows by label: IPv4 has none")
	}
	if c.By&Ports != 0 && (c.Proto == probe.TCP || len(c.Sources) > 0) && (len(c.Sources) == 0 || c.Sources[0] != c.Src.Port()) {
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

// Most is how many flows there can be.
func (c *Config) Most() int {
	switch {
	case c.By&Label != 0:
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
	if c.By&Label != 0 {
		s.Label = (c.Label + uint32(flow)) & 0xfffff
	}
	if c.By&Ports == 0 {
		return s
	}
	port := int(c.Dst.Port())
	switch {
	case len(c.Sources) > 0:
		s.Src = netip.AddrPortFrom(c.Src.Addr(), c.Sources[flow%len(c.Sources)])
	case c.Proto == probe.UDP:
		s.Dst = netip.AddrPortFrom(c.Dst.Addr(), uint16(1+(port-1+flow)%math.MaxUint16))
	default: // in ones' complement 0xFFFF is 0
		s.Dst = netip.AddrPortFrom(c.Dst.Addr(), uint16(1+(port-1+flow)%(math.MaxUint16-1)))
	}
	return s
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
