package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/rawsock"
)

// TestMultipathOptions: what is asked for is in the document, and has its effect; what does not go together is refused by the name of
// the option that was given.
func TestMultipathOptions(t *testing.T) {
	type doc struct {
		Method map[string]any
		Hops   []struct {
			Probes []struct {
				Flow  int
				ICMP  *struct{}
				TCP   *struct{}
				Reply string `json:"result"`
			}
		}
		Links []struct{ Flows []int }
	}
	for _, tt := range []struct {
		line   string
		method map[string]any // these keys alone, of flow, flows and confidence
		flows  int            // at the first hop; 0: refused
		err    string
	}{
		{"gtrace --json -n 192.0.2.9", map[string]any{"flow": "paris"}, 1, ""},
		{"gtrace --json -n --multipath 192.0.2.9", map[string]any{"flow": "multipath", "confidence_percent": 95., "confidence_nodes": 16.}, 10, ""},
		{"gtrace --json -n --multipath --confidence 99 192.0.2.9", map[string]any{"flow": "multipath", "confidence_percent": 99., "confidence_nodes": 16.}, 12, ""},
		{"gtrace --json -n --multipath --confidence 95/node 192.0.2.9", map[string]any{"flow": "multipath", "confidence_percent": 95., "confidence_nodes": 1.}, 6, ""},
		{"gtrace --json -n --multipath --confidence 99/node -I 192.0.2.9", map[string]any{"flow": "multipath", "confidence_percent": 99., "confidence_nodes": 1.}, 8, ""},
		{"gtrace --json -n --flows 3 -T 192.0.2.9", map[string]any{"flow": "multipath", "flows": 3.}, 3, ""},
		{"gtrace --json -n --flows 48 -U 192.0.2.9", map[string]any{"flow": "multipath", "flows": 48.}, 48, ""},
		{"gtrace --json -n --flows 3 2001:db8::9", map[string]any{"flow": "multipath", "flows": 3.}, 3, ""},
		{"gtrace --json -n --flows 60 -T 2001:db8::9", map[string]any{"flow": "multipath", "flows": 60.}, 60, ""}, // by label too
		{"gtrace --json -n --flows 60 -T --flow-field ports 2001:db8::9", nil, 0, "--flows 60: no more than 48 differ here"},
		{"gtrace --json -n --flows 49 -T 192.0.2.9", nil, 0, "--flows 49: no more than 48 differ here"},
		{"gtrace --json -n --flows 7 -p 65530 192.0.2.9", nil, 0, "--flows 7: no more than 6 differ here"},
		{"gtrace --json -n --multipath --flow-field destination 192.0.2.9", map[string]any{"flow": "multipath", "flow_field": "destination", "confidence_percent": 95., "confidence_nodes": 16.}, 10, ""},
		{"gtrace --json -n --multipath --flow-field destination -I 2001:db8::9", map[string]any{"flow": "multipath", "flow_field": "destination", "confidence_percent": 95., "confidence_nodes": 16.}, 10, ""},
		{"gtrace --json -n --flows 3 --flow-field destination -T --sport 4000 192.0.2.9", map[string]any{"flow": "multipath", "flow_field": "destination", "flows": 3.}, 3, ""},
		{"gtrace --json -n --flows 254 --flow-field destination -U 192.0.2.9", map[string]any{"flow": "multipath", "flow_field": "destination", "flows": 254.}, 254, ""},
		{"gtrace --flows 255 --flow-field destination 192.0.2.9", nil, 0, "--flows 255: no more than 254 differ here: the host's own address, and 253 next to it that a router is before"},
		{"gtrace --flows 128 --flow-field destination 198.51.100.9", nil, 0, "--flows 128: no more than 126 differ here"}, // half of these are on a network of this host, which is one itself
		{"gtrace --multipath --flow-field destination 198.51.100.200", nil, 0, "--flow-field destination: 198.51.100.200 is on a network of this host, no router is before it"},
		{"gtrace --multipath --flow-field destination 127.0.0.2", nil, 0, "--flow-field destination: 127.0.0.2 is this host"},
		{"gtrace --multipath --flow-field destination " + here6, nil, 0, "is this host, no router is before it"},
		{"gtrace --multipath --flow-field destination fe80::1%eth0", nil, 0, "is a link-local address, no router is before those"},
		{"gtrace --multipath --flow-field destination 169.254.1.1", nil, 0, "is a link-local address"},
		{"gtrace --multipath --flow-field destination 224.0.0.1", nil, 0, "multicast addresses are not probed"},
		{"gtrace --multipath --flow-field destination -r 192.0.2.9", nil, 0, "192.0.2.9 is on a network of this host"},
		{"gtrace --flows 0 192.0.2.9", nil, 0, "--flows 0: want a whole number from 1 to 1000"},
		{"gtrace --flows 3 --confidence 99 192.0.2.9", nil, 0, "--confidence: not with --flows"},
		{"gtrace --confidence 99 192.0.2.9", nil, 0, "--confidence: is of multipath traces"},
		{"gtrace --flow-field ports 192.0.2.9", nil, 0, "--flow-field: is of multipath traces"},
		{"gtrace --max-probes 9 192.0.2.9", nil, 0, "--max-probes: is of multipath traces"},
		{"gtrace --multipath --flow-field label 192.0.2.9", nil, 0, "--flow-field label: IPv4 has no label; use ports"},
		{"gtrace --multipath --flow-field label -4 192.0.2.9", nil, 0, "--flow-field label: IPv4, which --ipv4 asks for, has no label"},
		{"gtrace --multipath --flow classic 192.0.2.9", nil, 0, "--flow classic: not with --multipath"},
		{"gtrace --flows 3 --mtu 192.0.2.9", nil, 0, "--mtu: not with --flows"},
		{"gtrace --flows 3 --table 192.0.2.9", nil, 0, "--table: not with --flows"},
		{"gtrace --multipath --interval 1 192.0.2.9", nil, 0, "--interval: not with --multipath"},
		{"gtrace --multipath --sendwait 1 192.0.2.9", nil, 0, "--sendwait: not with --multipath"},
		{"gtrace --multipath --gateway 10.0.1.1 192.0.2.9", nil, 0, "--gateway: not with --multipath"},
		{"gtrace --multipath --queries 11 192.0.2.9", nil, 0, "--queries 11: want no more than 10"},
		{"gtrace --multipath --tcp --sport 4000 192.0.2.9", nil, 0, "--sport 4000: not with --multipath"},
		{"gtrace --multipath -U --sport 4000 192.0.2.9", nil, 0, "--sport 4000: not with --multipath"},
		{"gtrace --multipath --dccp 192.0.2.9", nil, 0, "--multipath: by UDP, --icmp or --tcp"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.attached = []netip.Prefix{netip.MustParsePrefix("198.51.100.128/25")}
			status := w.run(t.Context(), tt.line)
			if tt.flows == 0 {
				if status != 2 || !strings.Contains(w.stderr.String(), tt.err) || strings.Contains(w.stderr.String(), "mda") {
					t.Errorf("status %d, %q, want 2 and %q", status, &w.stderr, tt.err)
				}
				return
			}
			var d doc
			if err := json.Unmarshal(w.out.Bytes(), &d); err != nil || status != 0 {
				t.Fatalf("status %d, %v: %s%s", status, err, &w.out, &w.stderr)
			}
			maps.DeleteFunc(d.Method, func(k string, _ any) bool {
				return k != "flow" && k != "flows" && k != "flow_field" && !strings.HasPrefix(k, "confidence")
			})
			if !maps.Equal(d.Method, tt.method) {
				t.Errorf("method %v, want %v", d.Method, tt.method)
			}
			flows := map[int]bool{}
			for _, p := range d.Hops[0].Probes {
				flows[p.Flow] = true
			}
			if len(flows) != tt.flows {
				t.Errorf("%d flows at the first hop, want %d", len(flows), tt.flows)
			}
		})
	}
}

// TestByDestination: where a router balances by the destination alone, addresses next to the host's are asked before it, and none of what is sent there arrives;
// with privilege and without.
func TestByDestination(t *testing.T) {
	for _, header := range []bool{true, false} {
		for _, line := range []string{
			"gtrace --json -n --multipath --flow-field destination 192.0.2.9", "gtrace --json -n --multipath --flow-field destination -I 192.0.2.9",
			"gtrace --json -n --multipath --flow-field destination -T 192.0.2.9", "gtrace --json -n --multipath --flow-field destination -U 192.0.2.9",
			"gtrace --json -n --multipath --flow-field destination 2001:db8::9", "gtrace --json -n --multipath --flow-field destination -I 2001:db8::9",
			"gtrace --json -n --multipath --flow-field destination -T 2001:db8::9",
		} {
			t.Run(fmt.Sprintf("%s, header %v", line, header), func(t *testing.T) {
				var cfg simnet.Config
				if !header {
					cfg.Caps = func(c *rawsock.Caps) { c.Header, c.Socket = false, "unprivileged" }
				}
				w := newWorld(cfg)
				w.routers[0].Balance = simnet.PerDestination
				w.routers[0].Links = nil
				for _, a := range [][2]string{{"10.0.3.1", "fd00:3::1"}, {"10.0.3.2", "fd00:3::2"}, {"10.0.3.3", "fd00:3::3"}} {
					r := simnet.Router(a[0], a[1])
					w.routers[0].Link(r)
					r.Link(w.routers[1])
				}
				arrived := 0
				others := &simnet.Node{Own: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/120")}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}}
				others.Alter = func(*rawsock.Reply) { arrived++ }
				w.routers[1].Link(others, "192.0.2.0/24", "2001:db8::/120")
				status := w.run(t.Context(), line)
				var d struct {
					Outcome  string
					Links    []struct{}
					Findings []struct{ Code string }
					Hops     []struct {
						Probes []struct {
							Flow int
							To   string
						}
					}
				}
				if err := json.Unmarshal(w.out.Bytes(), &d); err != nil || status != 0 {
					t.Fatalf("status %d, %v: %s%s", status, err, &w.out, &w.stderr)
				}
				if d.Outcome != "reached" || len(d.Links) != 7 || len(d.Findings) != 1 || d.Findings[0].Code != "balancer-per-destination" || arrived > 0 {
					t.Errorf("%s, %d links, %v, %d arrived: %s", d.Outcome, len(d.Links), d.Findings, arrived, &w.out)
				}
				for i, h := range d.Hops {
					for _, p := range h.Probes {
						if at := p.Flow < 254 && (p.Flow == 0) != (p.To == ""); at || p.To != "" && i == 3 {
							t.Errorf("hop %d: flow %d to %q", i+1, p.Flow, p.To)
						}
					}
				}
			})
		}
	}
}

// TestFlowPorts: the first source address of a family has ports for nearly all flows, each further one for a few; and they are reserved once.
func TestFlowPorts(t *testing.T) {
	w := newWorld(simnet.Config{})
	s := &session{env: w.env}
	b := new(branches)
	reserved := map[netip.AddrPort]bool{}
	for _, tt := range []struct {
		from string
		want int
	}{{here4, tcpFlows}, {here4, tcpFlows}, {here6, tcpFlows}} {
		a := netip.MustParseAddr(tt.from)
		ports := b.ports(s, netip.AddrPortFrom(a, 999), probe.TCP)
		if len(ports) != tt.want || ports[0] != 999 {
			t.Errorf("%v: %d ports, the first %d, want %d", a, len(ports), ports[0], tt.want)
		}
		for _, p := range ports[1:] {
			reserved[netip.AddrPortFrom(a, p)] = true
		}
	}
	if len(reserved) != 2*(tcpFlows-1) {
		t.Errorf("%d reserved, want %d", len(reserved), 2*(tcpFlows-1))
	}
	b.sources = map[netip.Addr][]uint16{netip.MustParseAddr("203.0.113.1"): nil}
	if n := len(b.ports(s, netip.AddrPortFrom(netip.MustParseAddr(here4), 999), probe.TCP)); n != 1+moreFlows {
		t.Errorf("%d ports of a further address, want %d", n, 1+moreFlows)
	}
}
