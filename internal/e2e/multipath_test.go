//go:build linux

package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	near    bool // what is next to the target goes the same ways, up to the target's link
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
	routed := []string{target4, target6}
	if m.near {
		routed = []string{near4, near6}
	}
	for _, prefix := range routed {
		p.Announces = append(p.Announces, lab.Announce{At: "target", Prefix: prefix})
	}
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
				if len(m.widths) > 3 && !(m.near && len(m.widths) == 4) { // of which one balances
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
			for _, prefix := range routed {
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
				if err := from.Scatter(prefix, vias...); err != nil {
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

// What is next to the target of a mesh.
const near4, near6 = "203.0.113.0/24", "2001:db8:ffff::/120"

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

// look reads a search's document, its edges, and what is wrong in any case: another end than the target, edges that are not there.
func (w *meshed) look(t *testing.T, family int, r result) (d traceDoc, got, faults []string) {
	t.Helper()
	d, err := readTrace(r)
	if err != nil {
		t.Fatal(err)
	}
	got = graph(t, r.stdout)
	t.Logf("%d probes, %v ms, %d edges", d.Summary.Sent, *d.Duration, len(got))
	faults = append(checkEnd(r, d.Outcome, "reached", 0), checkClean(d.SelfCheck)...)
	return d, got, append(faults, w.wrong(family, got)...)
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

// TestMultipathByDestination: over balancers of the kernel that look at addresses alone every branch is found by flows to what is next to the host, whatever the
// protocol and the user, and each is named by what it goes by. Nothing comes to the host's link but what is the host's own.
func TestMultipathByDestination(t *testing.T) {
	programs(t)
	// The IPv6 flow label is one of the things that policy 0 hashes. So what goes to one host is spread by it, as by ports, and a router that does so is none that
	// goes by the destination alone; policy 3 has those.
	const both, addresses = 1, 3
	type kinds map[string]int
	destination := func(n int) kinds { return kinds{"balancer-per-destination": n} }
	flow := func(n int) kinds { return kinds{"balancer-per-flow": n} }
	tests := []struct {
		name         string
		widths       []int // one more is the last: what it gets from several links the host alone shows where to go next
		first, other int   // policy of the first router, and of the others; 0 is for both families
		scatter      bool
		kinds        map[int]kinds // by family
	}{
		{"2 wide", []int{1, 2, 1, 1}, 0, 0, false, map[int]kinds{4: destination(1), 6: flow(1)}},
		{"4 wide", []int{1, 4, 1, 1}, addresses, addresses, false, map[int]kinds{4: destination(1), 6: destination(1)}},
		{"8 wide", []int{1, 8, 1, 1}, 0, 0, false, map[int]kinds{4: destination(1), 6: flow(1)}},
		{"8 wide, addresses alone", []int{1, 8, 1, 1}, addresses, addresses, false, map[int]kinds{4: destination(1), 6: destination(1)}},
		{"nested", []int{1, 2, 4, 2, 1, 1}, 0, 0, false, map[int]kinds{4: destination(3), 6: flow(3)}},
		{"nested, addresses alone", []int{1, 2, 4, 2, 1, 1}, addresses, addresses, false, map[int]kinds{4: destination(3), 6: destination(3)}},
		{"by ports, then by addresses", []int{1, 2, 4, 1, 1}, both, addresses, false, map[int]kinds{4: {"balancer-per-flow": 1, "balancer-per-destination": 2}, 6: {"balancer-per-flow": 1, "balancer-per-destination": 2}}},
		{"by addresses, then by ports", []int{1, 2, 4, 1, 1}, addresses, both, false, map[int]kinds{4: {"balancer-per-flow": 2, "balancer-per-destination": 1}, 6: {"balancer-per-flow": 2, "balancer-per-destination": 1}}},
		{"by packet", []int{1, 2, 1, 1}, 0, 0, true, map[int]kinds{4: {"balancer-per-packet": 1}, 6: {"balancer-per-packet": 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mesh{widths: tt.widths, weight: even(tt.widths), near: true, scatter: tt.scatter}
			w := m.build(t, tt.other)
			for layer := 1; layer <= len(tt.widths); layer++ {
				for i := range tt.widths[layer-1] {
					policy := tt.other
					if layer == 1 {
						policy = tt.first
					}
					for _, family := range []string{"ipv4", "ipv6"} {
						for key, value := range map[string]int{"fib_multipath_hash_policy": policy, "fib_multipath_hash_fields": 3} { // source and destination
							if err := w.Node(meshName(layer, i)).Set(family+"/"+key, strconv.Itoa(value)); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
			}
			if err := w.client.Set("ipv4/ping_group_range", fmt.Sprintf("%d\t%[1]d", nobody)); err != nil {
				t.Fatal(err)
			}
			capture, err := w.target.Capture(meshName(len(tt.widths), 0), 100000)
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range []int{4, 6} {
				for _, way := range [][]string{{"udp", "--sport=40000"}, {"icmp", "--icmp"}, {"tcp", "--tcp", "--port=81"}} {
					for _, u := range []struct {
						name   string
						change func(*exec.Cmd)
					}{{"root", nil}, {"an ordinary user", as(nobody)}} {
						byPorts := tt.first == both || tt.other == both
						if way[0] == "icmp" && byPorts {
							continue // routers of the kernel look at no checksum
						}
						if u.change != nil && (byPorts || tt.scatter || family == 6 && tt.other == 0) {
							continue // routers in namespaces take the sender's own hash of a connection; and flow labels are the kernel's
						}
						t.Run(fmt.Sprintf("IPv%d by %s for %s", family, way[0], u.name), func(t *testing.T) {
							args := slices.Concat([]string{"gtrace", "-n", "--json", "--multipath", "--flow-field=destination", "--confidence=99", patiently}, way[1:])
							if family == 6 && u.change == nil {
								args = append(args, "--flowlabel=0x12345")
							}
							for again := 2; ; again-- {
								r := start(t, w.client, u.change, append(args, w.to[family].String())...).end()
								d, got, faults := w.look(t, family, r)
								missing := w.missing(family, got, tt.scatter)
								named := kinds{}
								for _, f := range d.Findings {
									if f.Code != "nat-implied" { // by the client's address
										named[f.Code]++
									}
								}
								if !maps.Equal(named, tt.kinds[family]) {
									missing = append(missing, fmt.Sprintf("findings %v, want %v", named, tt.kinds[family]))
								}
								if again > 0 && (len(faults) == 0 && len(missing) > 0 && byPorts && way[0] != "udp" || tt.scatter && len(faults)+len(missing) > 0) {
									continue // by addresses all is the same each time; ports may leave something out, and ways by chance look as if they stayed
								}
								tell(t, r, append(faults, missing...))
								return
							}
						})
					}
				}
			}
			ps, err := capture.Stop()
			if err != nil {
				t.Fatal(err)
			}
			arrived := 0
			for _, p := range ps {
				to, _ := netip.AddrFromSlice(p.Data[16:20])
				if p.Data[0]>>4 == 6 {
					to, _ = netip.AddrFromSlice(p.Data[24:40])
				}
				if to == w.to[4] || to == w.to[6] {
					arrived++
				} else if netip.MustParsePrefix(near4).Contains(to) || netip.MustParsePrefix(near6).Contains(to) {
					t.Errorf("a packet to %v arrived", to)
				}
			}
			if arrived == 0 {
				t.Error("nothing arrived")
			}
		})
	}
}

// TestMultipathBesideAttached: what the routing table has on a network of this host is not asked, though the host's own address is behind routers; and a host that is on
// one has nothing to ask.
func TestMultipathBesideAttached(t *testing.T) {
	programs(t)
	m := mesh{widths: []int{1, 2, 1, 1}, near: true}
	m.weight = even(m.widths)
	w := m.build(t, 0)
	for family, prefix := range map[int]string{4: "203.0.113.129/25", 6: "2001:db8:ffff::81/121"} {
		p := netip.MustParsePrefix(prefix)
		if err := w.client.AddAddr(meshName(1, 0), p); err != nil {
			t.Fatal(err)
		}
		for _, u := range []struct {
			name   string
			change func(*exec.Cmd)
		}{{"root", nil}, {"an ordinary user", as(nobody)}} {
			t.Run(fmt.Sprintf("IPv%d for %s", family, u.name), func(t *testing.T) {
				args := []string{"gtrace", "-n", "--json", "--multipath", "--flow-field=destination", patiently, "--source=" + w.client.Addr(meshName(1, 0), family).String()}
				r := start(t, w.client, u.change, append(args, w.to[family].String())...).end()
				var d struct {
					Hops []struct{ Probes []struct{ To netip.Addr } }
				}
				if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
					t.Fatalf("%v\n%v", err, r)
				}
				others := 0
				for _, h := range d.Hops {
					for _, p2 := range h.Probes {
						if p2.To.IsValid() {
							others++
						}
						if p.Masked().Contains(p2.To) {
							t.Errorf("%v was asked, which is on a network of the client", p2.To)
						}
					}
				}
				if others == 0 || r.status != 0 {
					t.Errorf("%d probes to others\n%v", others, r)
				}
				r = start(t, w.client, u.change, append(args, w.Node(meshName(1, 0)).Addr("client", family).String())...).end()
				if r.status != 2 || !strings.Contains(r.stdout+r.stderr, "is on a network of this host, no router is before it") {
					t.Errorf("want it to be refused\n%v", r)
				}
			})
		}
	}
}

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
			m := mesh{widths: tt.widths, weight: tt.weight, scatter: kind == "balancer-per-packet"}
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
							d, got, faults := w.look(t, family, r)
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
							// Where each packet goes its own way chance may have flows go as if they stayed, too: as seldom as is said, so not three times.
							if sees && again > 0 && (len(faults) == 0 && len(missing) > 0 && way[0] != "udp" || m.scatter && len(faults)+len(missing) > 0) {
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
