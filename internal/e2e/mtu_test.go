//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// A step is a link that is narrower than those before it.
type step struct {
	ttl    int // that it is before
	mtu    int
	silent bool // the router before it does not say so
}

// narrows is a line with those steps, whose other links carry 1500 bytes.
func narrows(t *testing.T, families []int, steps []step) *lab.Network {
	t.Helper()
	programs(t)
	p := line()
	for _, s := range steps {
		p.Links[s.ttl-1].MTU = s.mtu
	}
	for i := range p.Links {
		if !slices.Contains(families, 6) { // which has no links below 1280 bytes
			p.Links[i].V6 = ""
		}
	}
	n := lab.Start(t, p)
	client := n.Node("client")
	if err := client.Set("ipv4/ping_group_range", fmt.Sprintf("%d\t%[1]d", nobody)); err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, s := range steps {
			if !s.silent {
				continue
			}
			if err := n.Node(fmt.Sprint("r", s.ttl-1)).AddRule(client.Only(family).String(), lab.Output, lab.DropTooBig()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// checkNarrow holds a document to those steps: the sizes and where each showed, who told, and a black hole where nobody did.
func checkNarrow(n *lab.Network, family int, d traceDoc, r result, steps []step) []string {
	faults := checkEnd(r, d.Outcome, "reached", 0)
	if want := steps[len(steps)-1].mtu; d.Summary.MTU != want {
		faults = append(faults, fmt.Sprintf("path MTU %d, want %d", d.Summary.MTU, want))
	}
	nodes := []string{"client", "r1", "r2", "r3", "target"}
	addr := func(ttl int) netip.Addr { return n.Node(nodes[ttl]).Addr(nodes[ttl-1], family) }
	narrowings := []narrowing{{MTU: 1500}} // the client's device
	var found, wantFound []string
	for _, s := range steps {
		x := narrowing{TTL: s.ttl, MTU: s.mtu}
		if s.silent {
			sure := "high"
			if d.Method.Protocol == "icmp" && s.ttl == len(nodes)-1 {
				sure = "medium" // it could be the replies
			}
			wantFound = append(wantFound, fmt.Sprintf("mtu-black-hole [%d %d] %s: packets of more than %d bytes vanish", s.ttl-1, s.ttl, sure, s.mtu))
		} else {
			x.From = addr(s.ttl - 1)
		}
		narrowings = append(narrowings, x)
	}
	if !slices.Equal(d.Narrowings, narrowings) {
		faults = append(faults, fmt.Sprintf("narrowings %v, want %v", d.Narrowings, narrowings))
	}
	for _, f := range d.Findings {
		found = append(found, fmt.Sprintf("%s %v %s: %s", f.Code, f.Between, f.Confidence, f.Text))
	}
	if !slices.EqualFunc(found, wantFound, strings.HasPrefix) {
		faults = append(faults, fmt.Sprintf("findings %q, want %q", found, wantFound))
	}
	if len(d.Hops) != len(nodes)-1 {
		return append(faults, fmt.Sprintf("%d hops, want %d", len(d.Hops), len(nodes)-1))
	}
	for i, h := range d.Hops {
		if p := h.Probes[len(h.Probes)-1]; p.From != addr(i+1) {
			faults = append(faults, fmt.Sprintf("TTL %d: the last is %s, want %s's", h.TTL, answered(p), nodes[i+1]))
		}
	}
	return faults
}

// TestPathMTU: on a path that narrows, the sizes are found and between which hops, whether routers tell or swallow what is too
// big, over both families, by each kind of probe.
func TestPathMTU(t *testing.T) {
	both := []int{4, 6}
	for _, tt := range []struct {
		name     string
		families []int
		steps    []step
	}{
		{"told", both, []step{{2, 1400, false}, {3, 1280, false}}},
		{"the first is silent", both, []step{{2, 1400, true}, {3, 1280, false}}},
		{"the second is silent", both, []step{{2, 1400, false}, {3, 1280, true}}},
		{"both are silent", both, []step{{2, 1400, true}, {3, 1280, true}}},
		{"the last link is silent", both, []step{{4, 1280, true}}},
		{"below 1280", []int{4}, []step{{2, 1400, false}, {3, 576, false}}},
		{"below 1280, silent", []int{4}, []step{{2, 576, true}, {3, 300, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := narrows(t, tt.families, tt.steps)
			for _, family := range tt.families {
				var runs []*run // side by side: most of their time they wait
				for _, w := range []struct {
					uid  uint32
					args string
				}{
					{0, ""}, {0, "-I"}, {0, "-T"}, {0, "-T -p443 -O ack,psh,timestamps --socket=packet"}, {nobody, ""}, {nobody, "-I"},
				} {
					runs = append(runs, start(t, n.Node("client"), as(w.uid), slices.Concat([]string{"gtrace", "-n", "--json", "--mtu", "-q1", "-w1,0,0"},
						strings.Fields(w.args), []string{n.Node("target").Only(family).String()})...))
				}
				for _, run := range runs {
					r := run.end()
					d, err := readTrace(r)
					if err != nil {
						t.Fatal(err)
					}
					tell(t, r, checkNarrow(n, family, d, r, tt.steps))
				}
			}
		})
	}
}
