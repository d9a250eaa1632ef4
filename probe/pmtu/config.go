package pmtu

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gtrace/probe"
)

const (
	maxAttempts = 1000
	maxWait     = time.Hour

	// No link carries less: IPv4 (RFC 791 section 3.2), IPv6 (RFC 8200 section 5).
	least4, least6 = 68, 1280
)

// A Config is what New needs. All is checked there.
type Config struct {
	Proto      probe.Proto
	Src, Dst   netip.AddrPort // as trace.Config has them
	Classic    bool           // the flow moves with every probe that leaves, as trace.Config has it
	Label      uint32         // IPv6 flow label, 20 bits
	First, Max uint8          // TTLs, from 1
	Attempts   int            // at each TTL, 1 to 1000
	Once       bool           // the first answer at a TTL is enough; but where the device's size came out, the second
	Size       int            // bytes of the first packet; it shrinks from there
	TOS        uint8
	Wait       time.Duration // for an answer
	Here       float64       // but no longer than so many times the first RTT at the TTL; 0: without that bound
	Near       float64       // where nobody answered yet: so many times the longest RTT so far, and a fifth of Wait at least; 0: without that bound
	GapLimit   int           // TTLs in a row that nobody answers, which end the trace; 0: none
	Gap        time.Duration // at least so long from one probe to the next; 0: none
	Sequence   uint16        // ICMP: of the first probe; 0: 1
	Number     uint8         // Raw
	Segment    probe.Segment // TCP: with ACK and without SYN, which may have any size
	Coverage   uint16        // as probe.Spec has it
	Options    string
	Via        netip.Addr
}

// check returns what is wrong with c, all of it, joined.
func (c *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("pmtu: "+format, args...))
	}
	probe.CheckFlow(c.Src.Addr(), c.Dst.Addr(), c.Label, wrong)
	least, most := c.sizes()
	switch c.Proto {
	case probe.UDP, probe.ICMP, probe.UDPLite, probe.Raw:
	case probe.TCP:
		if least == most {
			wrong("TCP flags %#x: want ACK and no SYN, for segments of any size", c.Segment.Flags)
		}
	default:
		wrong("protocol %v: want UDP, ICMP, TCP, UDP-Lite or a raw one", c.Proto)
	}
	if c.Classic && c.Proto != probe.UDP && c.Proto != probe.ICMP {
		wrong("a classic trace with %v: want UDP or ICMP", c.Proto)
	}
	if c.First < 1 || c.Max < c.First {
		wrong("TTLs %d to %d: want the first from 1, and the last not below it", c.First, c.Max)
	}
	if c.Attempts < 1 || c.Attempts > maxAttempts {
		wrong("%d attempts: want 1 to %d", c.Attempts, maxAttempts)
	}
	if c.Size < least || c.Size > most {
		wrong("size %d bytes: want %d to %d", c.Size, least, most)
	}
	if c.Wait <= 0 || c.Wait > maxWait {
		wrong("wait of %v: want more than 0, up to %v", c.Wait, maxWait)
	}
	for _, f := range [...]float64{c.Here, c.Near} {
		if !(f >= 0) || f > 1e9 {
			wrong("wait factor %v: want 0 for none, or more", f)
		}
	}
	if c.GapLimit < 0 {
		wrong("gap limit %d: want 0 for none, or more", c.GapLimit)
	}
	if c.Gap < 0 || c.Gap > maxWait {
		wrong("gap of %v: want 0 for none, up to %v", c.Gap, maxWait)
	}
	return errors.Join(errs...)
}

// sizes are the smallest and the largest packet that a probe can be.
func (c *Config) sizes() (least, most int) {
	return probe.SizesOf(&probe.Spec{Proto: c.Proto, Dst: c.Dst, Segment: c.Segment, Options: c.Options})
}
