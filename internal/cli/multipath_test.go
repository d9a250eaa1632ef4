package cli

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"gtrace/internal/simnet"
	"gtrace/probe"
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
			maps.DeleteFunc(d.Method, func(k string, _ any) bool { return k != "flow" && k != "flows" && !strings.HasPrefix(k, "confidence") })
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
