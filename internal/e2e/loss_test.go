//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"gtrace/internal/lab"
)

const limitedHops = 12

// limited is a client and so many hops, the last of them the target, with the limits that Linux has by default: of ICMP errors to
// one host six at once and then one a second. What all namespaces of this host share, or had when that was so, is
// out of the way.
func limited(t *testing.T) (client *lab.Node, path map[int][]netip.Addr) {
	t.Helper()
	programs(t)
	name := func(i int) string {
		switch i {
		case 0:
			return "client"
		case limitedHops:
			return "target"
		}
		return fmt.Sprintf("r%d", i)
	}
	var p lab.Plan
	for i := range limitedHops {
		p.Links = append(p.Links, lab.Link{A: name(i), B: name(i + 1), V4: fmt.Sprintf("198.18.%d.0/30", i), V6: fmt.Sprintf("2001:db8:%x::/64", i)})
		on := name(i + 1)
		p.Sysctls = append(p.Sysctls,
			lab.Sysctl{On: on, Key: "ipv4/icmp_ratemask", Value: "6168"},
			lab.Sysctl{On: on, Key: "ipv4/icmp_ratelimit", Value: "1000"},
			lab.Sysctl{On: on, Key: "ipv4/icmp_msgs_per_sec", Value: "100000"},
			lab.Sysctl{On: on, Key: "ipv4/icmp_msgs_burst", Value: "10000"},
			lab.Sysctl{On: on, Key: "ipv6/icmp/ratemask", Value: "0-1,3-127"},
			lab.Sysctl{On: on, Key: "ipv6/icmp/ratelimit", Value: "1000"})
	}
	n := lab.Start(t, p)
	path = make(map[int][]netip.Addr)
	for _, family := range []int{4, 6} {
		for i := range limitedHops {
			path[family] = append(path[family], n.Node(name(i+1)).Addr(name(i), family))
		}
	}
	return n.Node("client"), path
}

// TestKernelLimits leaves the routers' own limits on: at the default pace every hop answers every probe, three or ten, and when the
// same is asked again at once.
func TestKernelLimits(t *testing.T) {
	for _, tt := range []struct {
		attempts, runs int
	}{{3, 2}, {10, 1}} {
		client, path := limited(t)
		for _, family := range []int{4, 6} {
			hops := path[family]
			target := hops[limitedHops-1]
			for i := range tt.runs {
				d, r := trace(t, client, "-w5,3,10", fmt.Sprintf("-q%d", tt.attempts), target.String())
				faults := checkHops(d, 1, tt.attempts, append(exceeded(hops[:limitedHops-1]), ways[0].direct(target)))
				faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
				if len(d.Findings) > 0 && i == 0 {
					faults = append(faults, fmt.Sprintf("findings %+v, want none", d.Findings))
				}
				tell(t, r, faults)
				t.Logf("IPv%d, %d attempts, run %d: %.0f ms", family, tt.attempts, i+1, *d.Duration)
			}
		}
	}
}

// TestMonitoring asks ten times a second on purpose: the hops are said to limit their answers, and nothing is called lost.
func TestMonitoring(t *testing.T) {
	client, path := limited(t)
	for _, family := range []int{4, 6} {
		d, r := trace(t, client, "-w2,0,0", "-N1000", "-q40", "--interval", "0.1", path[family][limitedHops-1].String())
		faults := checkEnd(r, d.Outcome, "reached", 0)
		found := map[int]bool{}
		for _, f := range d.Findings {
			if f.Code != "icmp-rate-limited" {
				faults = append(faults, fmt.Sprintf("finding %+v", f))
			}
			found[f.TTL] = true
		}
		if len(d.Hops) != limitedHops {
			faults = append(faults, fmt.Sprintf("%d hops, want %d", len(d.Hops), limitedHops))
		}
		for _, h := range d.Hops {
			switch s := h.Summary; {
			case s == nil || s.Path == nil || s.Sent != 40:
				faults = append(faults, fmt.Sprintf("TTL %d: summary %+v", h.TTL, s))
			case s.Received == s.Sent:
				faults = append(faults, fmt.Sprintf("TTL %d: all answered: the limits are not on", h.TTL))
			case *s.Path > 0:
				faults = append(faults, fmt.Sprintf("TTL %d: path loss of %v %%", h.TTL, *s.Path))
			case !found[h.TTL] || s.Limit == nil:
				faults = append(faults, fmt.Sprintf("TTL %d: %d of %d answered, and not said to limit its answers", h.TTL, s.Received, s.Sent))
			default:
				t.Logf("IPv%d, TTL %d: %d of %d, burst %d, each %v ms", family, h.TTL, s.Received, s.Sent, s.Limit.Burst, s.Limit.Interval)
			}
		}
		tell(t, r, faults)
	}
}
