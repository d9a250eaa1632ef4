//go:build linux

package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// A mesh is a network of layers of kernel routers between the client and the target: how many are in each, and which lead to which of the
// next, with what weight; 0: not at all.
type mesh struct {
	widths  []int
	weight  func(layer, from, to int) int
	scatter bool // each packet goes its own way
}

func meshName(layer, i int) string { return fmt.Sprintf("m%dx%d", layer, i) }

// A meshed is a mesh that is there.
type meshed struct {
	*lab.Network
	client, target *lab.Node
	edges          map[int][]string // by family: "TTL FROM TO" of all there are
	to             map[int]netip.Addr
}

// build makes it; the policy is what balancers hash (fib_multipath_hash_policy).
func (m mesh) build(t *testing.T, policy int) *meshed {
	t.Helper()
	layers := append(append([]int{1}, m.widths...), 1) // with the client and the target
	name := func(layer, i int) string {
		switch layer {
		case 0:
			return "client"
		case len(layers) - 1:
			return "target"
		}
		return meshName(layer, i)
	}
	joined := func(layer, a, b int) int {
		if layer == 0 || layer == len(layers)-2 {
			return 1
		}
		return m.weight(layer, a, b)
	}
	var p lab.Plan
	links := 0
	for layer := range len(layers) - 1 {
		for a := range layers[layer] {
			for b := range layers[layer+1] {
				if joined(layer, a, b) > 0 {
					p.Links = append(p.Links, lab.Link{A: name(layer, a), B: name(layer+1, b),
						V4: fmt.Sprintf("198.18.%d.%d/30", links/64, links%64*4), V6: fmt.Sprintf("2001:db8:%x::/64", links+1)})
					links++
				}
			}
		}
	}
	const target4, target6 = "203.0.113.1/32", "2001:db8:ffff::1/128"
	p.Announces = []lab.Announce{{At: "target", Prefix: target4}, {At: "target", Prefix: target6}}
	n := lab.Start(t, p)
	w := &meshed{Network: n, client: n.Node("client"), target: n.Node("target"), edges: make(map[int][]string), to: make(map[int]netip.Addr)}
	seed := 1
	for layer := 1; layer < len(layers)-1; layer++ {
		for a := range layers[layer] {
			from := n.Node(name(layer, a))
			for _, family := range []string{"ipv4", "ipv6"} {
				if err := from.Set(family+"/fib_multipath_hash_policy", strconv.Itoa(policy)); err != nil {
					t.Fatal(err)
				}
			}
			switch err := from.Set("ipv4/fib_multipath_hash_seed", strconv.Itoa(seed)); {
			case errors.Is(err, fs.ErrNotExist):
				if len(m.widths) > 3 {
					t.Skip("before Linux 6.11 all routers of a machine hash alike, and so do not balance what another one has")
				}
			case err != nil:
				t.Fatal(err)
			}
			seed += 7919
			var over []lab.Share
			for b := range layers[layer+1] {
				if weight := joined(layer, a, b); weight > 0 {
					over = append(over, lab.Share{Via: name(layer+1, b), Weight: weight})
				}
			}
			for _, prefix := range []string{target4, target6} {
				if err := from.Balance(prefix, over...); err != nil {
					t.Fatal(err)
				}
				if !m.scatter || len(over) < 2 {
					continue
				}
				var vias []string
				for _, o := range over {
					vias = append(vias, o.Via)
				}
				if err := from.Scatter(netip.MustParsePrefix(prefix).Addr().String(), vias...); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, prefix := range []string{target4, target6} {
		if err := w.target.AddAddr(name(len(layers)-2, 0), netip.MustParsePrefix(prefix)); err != nil {
			t.Fatal(err)
		}
	}
	// A router answers from the interface a probe came in by, so those are the nodes.
	for _, family := range []int{4, 6} {
		target := netip.MustParsePrefix(target4).Addr()
		if family == 6 {
			target = netip.MustParsePrefix(target6).Addr()
		}
		for layer := range len(layers) - 2 {
			for x := range layers[layer] {
				for a := range layers[layer+1] {
					for b := range layers[layer+2] {
						if joined(layer, x, a) == 0 || joined(layer+1, a, b) == 0 {
							continue
						}
						to := target
						if layer+2 < len(layers)-1 {
							to = n.Node(name(layer+2, b)).Addr(name(layer+1, a), family)
						}
						w.edges[family] = append(w.edges[family], fmt.Sprintf("%d %v %v", layer+1, n.Node(name(layer+1, a)).Addr(name(layer, x), family), to))
					}
				}
			}
		}
		w.to[family] = target
		slices.Sort(w.edges[family])
		w.edges[family] = slices.Compact(w.edges[family])
	}
	return w
}

// graph is what a multipath trace says of links.
func graph(t *testing.T, doc string) (edges []string) {
	t.Helper()
	var d struct {
		Links []struct {
			TTL      int
			From, To netip.Addr
			Flows    []int
		}
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	for _, l := range d.Links {
		edges = append(edges, fmt.Sprintf("%d %v %v", l.TTL, l.From, l.To))
	}
	slices.Sort(edges)
	return edges
}

// wrong are edges that are not there, missing those that were not found. Behind a balancer by packet no flow shows which follows
// which, so that from TTL 2 on to several nodes none may be told.
func (w *meshed) wrong(family int, got []string) (faults []string) {
	for _, e := range got {
		if !slices.Contains(w.edges[family], e) {
			faults = append(faults, "no edge is "+e)
		}
	}
	return faults
}

func (w *meshed) missing(family int, got []string, scatter bool) (faults []string) {
	for _, e := range w.edges[family] {
		if !slices.Contains(got, e) && !(scatter && strings.HasPrefix(e, "2 ")) {
			faults = append(faults, "not found: "+e)
		}
	}
	return faults
}

// TestMultipathOfOrdinaryUsers: without privilege too, and of several hosts at once, of which two are the same.
func TestMultipathOfOrdinaryUsers(t *testing.T) {
	programs(t)
	m := mesh{widths: []int{1, 4, 2, 1}}
	m.weight = even(m.widths)
	w := m.build(t, 1)
	for _, family := range []int{4, 6} {
		for _, way := range [][]string{{"--sport=40000"}, {"--tcp", "--port=81"}} {
			for _, u := range []struct {
				name   string
				change func(*exec.Cmd)
				socket string
			}{{"root", nil, "raw"}, {"an ordinary user", as(nobody), "unprivileged"}} {
				if way[0] == "--tcp" && u.change != nil {
					// Routers in namespaces take the hash that the sender's own socket gave a packet, by chance for each connection, and not
					// one of its ports (skb->l4_hash in fib_multipath_hash). No network carries that.
					continue
				}
				t.Run(fmt.Sprintf("IPv%d %s for %s", family, way[0], u.name), func(t *testing.T) {
					to := w.to[family].String()
					for again := 2; ; again-- {
						r := start(t, w.client, u.change, slices.Concat([]string{"gtrace", "-n", "--json", "--multipath", "--confidence=99", patiently}, way, []string{to, to})...).end()
						var missing []string
						docs := slices.Collect(strings.Lines(r.stdout))
						if len(docs) != 2 {
							t.Fatalf("%d documents, want two\n%v", len(docs), r)
						}
						for _, doc := range docs {
							d, err := readTrace(result{args: r.args, stdout: doc, stderr: r.stderr, status: r.status})
							if err != nil {
								t.Fatal(err)
							}
							got := graph(t, doc)
							faults := append(checkEnd(r, d.Outcome, "reached", 0), checkClean(d.SelfCheck)...)
							if d.Method.Socket != u.socket {
								faults = append(faults, "socket "+d.Method.Socket)
							}
							tell(t, r, append(faults, w.wrong(family, got)...))
							missing = append(missing, w.missing(family, got, false)...)
						}
						if len(missing) > 0 && again > 0 {
							continue // by chance a branch may be left out
						}
						tell(t, r, missing)
						return
					}
				})
			}
		}
	}
}

// TestFlows: flows side by side are each shown at every distance, and each edge is one.
func TestFlows(t *testing.T) {
	programs(t)
	m := mesh{widths: []int{1, 4, 2, 1}}
	m.weight = even(m.widths)
	w := m.build(t, 1)
	for _, family := range []int{4, 6} {
		for _, flows := range []int{1, 7} {
			t.Run(fmt.Sprintf("IPv%d, %d", family, flows), func(t *testing.T) {
				r := do(t, w.client, "gtrace", "-n", "--json", patiently, fmt.Sprintf("--flows=%d", flows), w.to[family].String())
				d, err := readTrace(r)
				if err != nil {
					t.Fatal(err)
				}
				faults := append(checkEnd(r, d.Outcome, "reached", 0), checkClean(d.SelfCheck)...)
				faults = append(faults, w.wrong(family, graph(t, r.stdout))...)
				var doc struct {
					Hops []struct {
						Probes []struct{ Flow int }
					}
				}
				if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil {
					t.Fatal(err)
				}
				for i, h := range doc.Hops {
					seen := map[int]bool{}
					for _, p := range h.Probes {
						seen[p.Flow] = true
					}
					if len(seen) != flows {
						faults = append(faults, fmt.Sprintf("%d flows at hop %d", len(seen), i+1))
					}
				}
				if len(doc.Hops) != len(m.widths)+1 {
					faults = append(faults, fmt.Sprintf("%d hops", len(doc.Hops)))
				}
				tell(t, r, faults)
			})
		}
	}
}

// even leads each node of the narrower of two layers to its share of the other.
func even(widths []int) func(layer, from, to int) int {
	return func(layer, from, to int) int {
		a, b := widths[layer-1], widths[layer] // layer 1 is the first router
		if from*b/a == to || to*a/b == from {
			return 1
		}
		return 0
	}
}

// every leads each to each.
func every(layer, from, to int) int { return 1 }

// TestMultipath: over balancers of the kernel every branch is found, and nothing that is not there, by each protocol and family that
// the kernel balances by.
func TestMultipath(t *testing.T) {
	programs(t)
	weighted := func(layer, from, to int) int { return 1 + 2*to } // 1 to 3
	tests := []struct {
		name   string
		widths []int
		weight func(layer, from, to int) int // nil: even
		policy int
		sees   []string // which ways see the branches; the others see one path
		kind   string   // of the balancers; "": balancer-per-flow
	}{
		{"2 wide", []int{1, 2, 1}, nil, 1, []string{"4 udp", "4 tcp", "6 udp", "6 tcp"}, ""},
		{"4 wide", []int{1, 4, 1}, nil, 1, []string{"4 udp", "4 tcp", "6 udp", "6 tcp"}, ""},
		{"8 wide", []int{1, 8, 1}, nil, 1, []string{"4 udp", "6 udp"}, ""},
		{"16 wide", []int{1, 16, 1}, nil, 1, []string{"4 udp", "6 udp"}, ""},
		{"nested", []int{1, 2, 4, 2, 1}, nil, 1, []string{"4 udp", "6 udp", "4 tcp", "6 tcp"}, ""},
		{"meshed", []int{1, 3, 3, 1}, every, 1, []string{"4 udp", "6 udp"}, ""},
		{"weighted", []int{1, 2, 1}, weighted, 1, []string{"4 udp", "6 udp"}, ""},
		{"by packet", []int{1, 2, 1}, nil, 1, []string{"4 udp", "4 icmp", "4 tcp", "6 udp", "6 icmp", "6 tcp"}, "balancer-per-packet"},
		{"by addresses alone", []int{1, 4, 1}, nil, 0, []string{"6 udp", "6 icmp", "6 tcp"}, ""}, // and by the IPv6 flow label
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kind := cmp.Or(tt.kind, "balancer-per-flow")
			m := mesh{tt.widths, tt.weight, kind == "balancer-per-packet"}
			if m.weight == nil {
				m.weight = even(tt.widths)
			}
			w := m.build(t, tt.policy)
			for _, family := range []int{4, 6} {
				for _, way := range [][]string{{"udp"}, {"icmp", "--icmp"}, {"tcp", "--tcp", "--port=81"}} {
					id := fmt.Sprintf("%d %s", family, way[0])
					if tt.policy == 1 && !slices.Contains(tt.sees, id) {
						continue
					}
					t.Run("IPv"+id, func(t *testing.T) {
						args := slices.Concat([]string{"gtrace", "-n", "--json", "--multipath", "--confidence=99", patiently}, way[1:])
						if way[0] == "udp" {
							args = append(args, "--sport=40000")
						}
						if family == 6 {
							args = append(args, "--flowlabel=0x12345")
						}
						args = append(args, w.to[family].String())
						sees := slices.Contains(tt.sees, id)
						for again := 2; ; again-- {
							r := do(t, w.client, args...)
							d, err := readTrace(r)
							if err != nil {
								t.Fatal(err)
							}
							got := graph(t, r.stdout)
							t.Logf("%d probes, %v ms, %d edges", d.Summary.Sent, *d.Duration, len(got))
							faults := append(checkEnd(r, d.Outcome, "reached", 0), checkClean(d.SelfCheck)...)
							faults = append(faults, w.wrong(family, got)...)
							kinds := map[string]int{}
							for _, f := range d.Findings {
								if strings.HasPrefix(f.Code, "balancer") {
									kinds[f.Code]++
								}
							}
							switch {
							case sees && (kinds[kind] == 0 || len(kinds) != 1):
								faults = append(faults, fmt.Sprintf("balancers %v, want %s", kinds, kind))
							case !sees && (len(got) != len(tt.widths) || len(kinds) > 0):
								faults = append(faults, fmt.Sprintf("%d edges, balancers %v, want one path", len(got), kinds))
							}
							// Only over UDP are the flows the same each time. By chance others may leave a branch out.
							missing := w.missing(family, got, m.scatter)
							if sees && len(faults) == 0 && len(missing) > 0 && way[0] != "udp" && again > 0 {
								continue
							}
							if sees {
								faults = append(faults, missing...)
							}
							tell(t, r, faults)
							return
						}
					})
				}
			}
		})
	}
}
