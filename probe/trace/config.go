package trace

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"gtrace/probe"
)

const (
	defaultInFlight = 96 // 3 attempts at each of 30 TTLs, and some asked again
	maxInFlight     = 4096
	maxAttempts     = 1000
	maxWait         = time.Hour
)

// A Wait is how long a probe's answer is waited for, as traceroute's -w MAX,HERE,NEAR.
//
// Max holds in any case. Once the probe's hop has answered, Here times the first
// answer's round-trip time is enough; else, once a later hop has answered, Near
// times that of the nearest such; else, once any hop has, Near times the longest of their first ones, and a fifth of Max at least.
// A factor of 0 skips its rule; the last goes with Near.
type Wait struct {
	Max        time.Duration
	Here, Near float64
}

// A Config is what New needs. All is checked there.
type Config struct {
	Proto    probe.Proto    // UDP, ICMP, TCP, UDPLite, DCCP or Raw
	Src, Dst netip.AddrPort // ports as probe.Spec says; for ICMP Dst.Port is the checksum of the flow, 0 exactly where Classic
	// Classic lets the flow move with every probe: the destination port of UDP counts up from
	// Dst.Port, one TTL's attempts after the other's, the checksum of ICMP is left free. Else the flow stays put (Paris).
	Classic    bool
	Label      uint32 // IPv6 flow label, 20 bits
	First, Max uint8  // TTLs, from 1
	Attempts   int    // at each TTL, 1 to 1000
	Size       int    // bytes of the whole packet; 0 means as small as it gets
	TOS        uint8
	DF         bool
	GapLimit   int   // consecutive silent TTLs that end the trace, at the earliest at the TTL Open; 0: none
	Open       uint8 // up to this TTL all are asked from the start, without waiting for answers; 0 means 20 and a few
	Through    bool  // a forwarding loop does not end the trace
	Wait       Wait
	Gap        time.Duration // at least so long from one probe to the next; 0: none
	InFlight   int           // probes awaiting an answer, up to 4096; 0 means 96
	Interval   time.Duration // at least so long from one probe to the next with the same TTL, instead of the pace that a Linux router answers; 0: that pace
	// Losses has what was lost judged: hops that seem to limit their answers are asked again for what they lost,
	// at their own pace, before they are told, and in the end there are findings about loss.
	Losses bool
	// Shared, where not nil, is that of all traces of a run whose probes are alike but for their destinations: near hops that have been the
	// same again and again are not asked again, and told as such (probe.Shared). Not for classic traces, and First is 1.
	Shared *Shared

	// Beside, where not nil, is that of all traces to this host that go on at the same time.
	Beside *Beside

	// Spare is that of all traces of a run; nil: of this one alone.
	Spare *Spare

	// As probe.Spec has them.
	Sequence uint16 // ICMP: of the first probe; 0: 1
	Number   uint8  // Raw
	Segment  probe.Segment
	Content  probe.Content // UDP, not Classic
	Service  uint32
	Coverage uint16
	Options  string
	Via      netip.Addr
}

// check returns what is wrong with c, all of it, joined.
func (c *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("trace: "+format, args...))
	}

	probe.CheckFlow(c.Src.Addr(), c.Dst.Addr(), c.Label, wrong)

	switch c.Proto {
	case probe.UDP, probe.ICMP, probe.TCP, probe.UDPLite, probe.DCCP, probe.Raw:
	default:
		wrong("protocol %d: want UDP, ICMP, TCP, UDP-Lite, DCCP or a raw one", c.Proto)
	}
	switch port := c.Dst.Port(); {
	case c.Proto == probe.ICMP && c.Classic && port != 0:
		wrong("checksum %#04x: want 0 in a classic ICMP trace, where it is free", port)
	case c.Proto == probe.ICMP && !c.Classic && port == 0:
		wrong("checksum 0: want the one every ICMP probe of the flow carries")
	case c.Proto == probe.ICMP:
	case c.Proto == probe.Raw && (port != 0 || c.Src.Port() != 0):
		wrong("ports %d and %d: a raw probe has none", c.Src.Port(), port)
	case c.Proto == probe.Raw:
	case port == 0:
		wrong("destination port 0: want 1 to 65535")
	case c.Src.Port() == 0:
		wrong("source port 0: want 1 to 65535")
	}
	if c.Classic && c.Proto != probe.UDP && c.Proto != probe.ICMP {
		wrong("a classic trace with %v: want UDP or ICMP; such a probe always keeps its flow", c.Proto)
	}
	if c.Content > probe.QUICInitial || c.Content != probe.OwnContent && (c.Proto != probe.UDP || c.Classic) {
		wrong("content %v of %v: want %v, or one that there is, by UDP to one port", c.Content, c.Proto, probe.OwnContent)
	}
	if c.Sequence != 0 && c.Proto != probe.ICMP {
		wrong("sequence number %d: want 0 but for ICMP", c.Sequence)
	}
	if (c.Number != 0) != (c.Proto == probe.Raw) {
		wrong("IP protocol %d: want one exactly for a raw probe", c.Number)
	}
	if c.Interval < 0 || c.Interval > maxWait {
		wrong("interval of %v: want 0 for none, up to %v", c.Interval, maxWait)
	}
	if c.Gap < 0 || c.Gap > maxWait {
		wrong("gap of %v: want 0 for none, up to %v", c.Gap, maxWait)
	}

	if c.First < 1 || c.Max < c.First {
		wrong("TTLs %d to %d: want the first from 1, and the last not below it", c.First, c.Max)
	}
	if c.Shared != nil && (c.Classic || c.First != 1) {
		wrong("shared hops: want a constant flow, and TTLs from 1")
	}
	if c.Attempts < 1 || c.Attempts > maxAttempts {
		wrong("%d attempts: want 1 to %d", c.Attempts, maxAttempts)
	}
	if least, most := probe.SizesOf(&probe.Spec{Proto: c.Proto, Dst: c.Dst, Segment: c.Segment, Content: c.Content, Options: c.Options}); c.Size != 0 && (c.Size < least || c.Size > most) {
		wrong("size %d bytes: want 0, or %d to %d", c.Size, least, most)
	}
	if c.GapLimit < 0 {
		wrong("gap limit %d: want 0 for none, or more", c.GapLimit)
	}
	if c.InFlight < 0 || c.InFlight > maxInFlight {
		wrong("%d probes in flight: want 1 to %d, or 0 for %d", c.InFlight, maxInFlight, defaultInFlight)
	}
	if c.Wait.Max <= 0 || c.Wait.Max > maxWait {
		wrong("wait of %v: want more than 0, up to %v", c.Wait.Max, maxWait)
	}
	for _, f := range [...]float64{c.Wait.Here, c.Wait.Near} {
		if !(f >= 0) || math.IsInf(f, 1) {
			wrong("wait factor %v: want 0 for none, or more", f)
		}
	}
	return errors.Join(errs...)
}
