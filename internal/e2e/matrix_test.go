//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// matrixMethods are those that a firewall treats apart.
var matrixMethods = []string{"icmp", "udp/53", "udp/443", "tcp/80", "tcp/443"}

// drops is no refusal.
const drops = "drops"

type matrixDoc struct {
	Schema      string     `json:"schema"`
	Target      string     `json:"target"`
	Destination netip.Addr `json:"destination"`
	Methods     []struct {
		Method  string     `json:"method"`
		Outcome string     `json:"outcome"`
		Passes  *bool      `json:"passes"`
		TTL     int        `json:"ttl"`
		From    netip.Addr `json:"from"`
		By      *struct {
			From       netip.Addr `json:"from"`
			Annotation string     `json:"annotation"`
			UDP        *struct {
				Bytes int `json:"bytes"`
			} `json:"udp"`
			TCP *struct {
				Flags string `json:"flags"`
			} `json:"tcp"`
		} `json:"by"`
	} `json:"methods"`
	Conclusion string `json:"conclusion"`
}

// checkMatrix holds a run to where r2 lets tcp/443 pass alone, and refuses the rest with an annotation, or drops it.
func checkMatrix(n *lab.Network, family int, r result, refusal string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	status := 1
	if refusal == "" {
		status = 0 // by what is said alone, all reached the host
	}
	if r.status != status || r.stderr != "" {
		fault("status %d, want %d; standard error %q", r.status, status, r.stderr)
	}
	const conclusion = "icmp, udp/53, udp/443 and tcp/80 end after hop 2, tcp/443 passes"
	r2, target := n.Node("r2").Addr("r1", family), n.Node("target").Only(family)
	if !slices.Contains(r.args, "--json") {
		if !strings.Contains(r.stdout, "\n  # matrix: "+conclusion+"\n") {
			fault("does not say %q", conclusion)
		}
		return faults
	}
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	var methods []string
	for i, l := range lines {
		if err := valid(l); err != nil {
			fault("%v: %s", err, l)
		}
		if i == len(lines)-1 {
			break
		}
		var d traceDoc
		if err := json.Unmarshal([]byte(l), &d); err != nil || d.Schema != "gtrace/trace/v1" {
			fault("%v: %s", err, l)
		}
		methods = append(methods, d.Method.Matrix)
	}
	slices.Sort(methods)
	if want := slices.Sorted(slices.Values(matrixMethods)); !slices.Equal(methods, want) {
		fault("traces by %q, want %q", methods, want)
	}
	var d matrixDoc
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &d); err != nil || d.Schema != "gtrace/matrix/v1" || len(d.Methods) != len(matrixMethods) {
		return append(faults, fmt.Sprintf("%v: %s", err, lines[len(lines)-1]))
	}
	if d.Conclusion != conclusion || d.Destination != target {
		fault("destination %v: %q, want %v: %q", d.Destination, d.Conclusion, target, conclusion)
	}
	for i, m := range d.Methods {
		passes, ttl, from, outcome, by := false, 2, r2, "gap-limit", "nobody's"
		if m.Method == "tcp/443" {
			passes, ttl, from, outcome, by = true, 4, target, "reached", fmt.Sprintf("%v's ", target)
		} else if refusal == "" {
			outcome, by = "reached", fmt.Sprintf("%v's ", r2)
		} else if refusal != drops {
			outcome, by = "unreachable", fmt.Sprintf("%v's %s", r2, refusal)
		}
		said := "nobody's"
		if m.By != nil {
			said = fmt.Sprintf("%v's %s", m.By.From, m.By.Annotation)
		}
		if m.Method != matrixMethods[i] || m.Passes == nil || *m.Passes != passes || m.TTL != ttl || m.From != from || m.Outcome != outcome || said != by {
			fault("method %d: %s, %s %v %d %v, ended by %s; want %s: %s %v %d %v, by %s",
				i, m.Method, m.Outcome, m.Passes, m.TTL, m.From, said, matrixMethods[i], outcome, passes, ttl, from, by)
		}
	}
	return faults
}

// TestMatrixFirewall has a router that keeps track of connections pass those to tcp/443 and nothing else: the matrix says so, over both families,
// whether it drops or refuses the rest, with privilege and without, and with routers that limit their errors as Linux does by default.
func TestMatrixFirewall(t *testing.T) {
	programs(t)
	for _, tt := range []struct {
		name    string
		limited bool
		refusal string        // as it is annotated
		code    map[int]uint8 // by family
	}{
		{"drops", false, drops, nil},
		{"refuses", false, "!X", map[int]uint8{4: 13, 6: 1}},
		{"refuses as the host would", false, "", map[int]uint8{4: 3, 6: 4}}, // iptables' default
		{"drops, and all limit their errors", true, drops, nil},
		{"refuses, and all limit their errors", true, "!X", map[int]uint8{4: 13, 6: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := line()
			for _, r := range []string{"r1", "r2", "r3", "target"} {
				if tt.limited {
					p.Sysctls = append(p.Sysctls, lab.Sysctl{On: r, Key: "ipv4/icmp_ratemask", Value: "6168"},
						lab.Sysctl{On: r, Key: "ipv6/icmp/ratemask", Value: "0-1,3-127"})
				}
			}
			n := lab.Start(t, p)
			if err := n.Node("client").Set("ipv4/ping_group_range", fmt.Sprintf("%d\t%[1]d", nobody)); err != nil {
				t.Fatal(err)
			}
			var runs []*run
			var families []int
			for _, family := range []int{4, 6} {
				target := n.Node("target").Only(family).String()
				do := lab.Drop()
				if tt.code != nil {
					do = lab.Reject(tt.code[family])
				}
				if err := n.Node("r2").Admit(target, 443, do); err != nil {
					t.Fatal(err)
				}
				for _, uid := range []uint32{0, nobody} {
					for _, format := range []string{"--json", "--format=text"} {
						if tt.limited && (uid == nobody || format != "--json") || uid == nobody && tt.code == nil {
							continue // they would use up each other's answers; and one connection at a time takes long to be silent
						}
						families = append(families, family)
						runs = append(runs, start(t, n.Node("client"), as(uid), "gtrace", "-n", format, "--matrix", strings.Join(matrixMethods, ","), target))
					}
				}
			}
			for i, run := range runs {
				r := run.end()
				tell(t, r, checkMatrix(n, families[i], r, tt.refusal))
			}
		})
	}
}

// TestMatrixServices: services are asked what they understand, and their answers are matched as strictly as any; with privilege and without.
func TestMatrixServices(t *testing.T) {
	programs(t)
	n := lab.Start(t, line())
	client, target := n.Node("client"), n.Node("target")
	if err := client.Set("ipv4/ping_group_range", fmt.Sprintf("%d\t%[1]d", nobody)); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{target.ServeUDP(53, lab.DNS), target.ServeUDP(443, lab.QUIC), target.ServeTCP(80), target.ServeTCP(443)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	says := map[string]string{"icmp": "", "udp/53": ": a name server answers", "udp/443": ": a QUIC server answers", "tcp/80": ": the port is open", "tcp/443": ": the port is open"}
	for _, family := range []int{4, 6} {
		for _, uid := range []uint32{0, nobody} {
			args := []string{"gtrace", "-n", "--matrix", strings.Join(matrixMethods, ","), target.Only(family).String()}
			text := start(t, client, as(uid), args...).end()
			var faults []string
			for method, end := range says {
				if want := fmt.Sprintf("\n  # %s: reaches the destination at hop 4%s\n", method, end); !strings.Contains(text.stdout, want) {
					faults = append(faults, fmt.Sprintf("does not say %q", want))
				}
			}
			if want := "\n  # matrix: icmp, udp/53, udp/443, tcp/80 and tcp/443 pass\n"; !strings.HasSuffix(text.stdout, want) || text.status != 0 || text.stderr != "" {
				faults = append(faults, fmt.Sprintf("status %d; want 0, and at the end %q", text.status, want))
			}
			tell(t, text, faults)

			faults = nil
			r := start(t, client, as(uid), append(args, "--json")...).end()
			lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
			for _, l := range lines {
				if err := valid(l); err != nil {
					faults = append(faults, fmt.Sprintf("%v: %s", err, l))
				}
				var d traceDoc
				if err := json.Unmarshal([]byte(l), &d); err != nil || d.Schema != "gtrace/trace/v1" {
					continue
				}
				for _, h := range d.Hops {
					for _, p := range h.Probes {
						if p.Match != "strict" || p.RTT == nil {
							faults = append(faults, fmt.Sprintf("%s, TTL %d: %s", d.Method.Matrix, h.TTL, answered(p)))
						}
					}
				}
				if len(d.Hops) != 4 || d.SelfCheck == nil || d.SelfCheck.Unmatched != 0 {
					faults = append(faults, fmt.Sprintf("%s: %d hops, %+v", d.Method.Matrix, len(d.Hops), d.SelfCheck))
				}
			}
			if len(lines) != len(matrixMethods)+1 || r.status != 0 {
				faults = append(faults, fmt.Sprintf("%d documents, status %d", len(lines), r.status))
			}
			tell(t, r, faults)
		}
	}
}
