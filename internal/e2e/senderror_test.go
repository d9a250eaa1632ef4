//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// TestSendErrors has this host refuse to send, in every way the kernel has (TRAPS T62): each is told by its name and is never
// loss. From the start nothing can be told; in the middle of a run what was measured before stands.
func TestSendErrors(t *testing.T) {
	programs(t)
	route := func(kind lab.RouteKind) func(*lab.Network, netip.Addr) error {
		return func(n *lab.Network, to netip.Addr) error {
			return n.Node("client").AddRoute(netip.PrefixFrom(to, to.BitLen()).String(), kind, "")
		}
	}
	rule := func(do lab.Action) func(*lab.Network, netip.Addr) error {
		return func(n *lab.Network, to netip.Addr) error {
			return n.Node("client").AddRule(to.String(), lab.Output, do)
		}
	}
	reject := func(n *lab.Network, to netip.Addr) error {
		if to.Is6() {
			return rule(lab.Reject(1))(n, to)
		}
		return rule(lab.Reject(13))(n, to)
	}
	tests := []struct {
		name   string
		do     func(n *lab.Network, to netip.Addr) error
		errno  map[int]string
		before bool // the way is looked for before anything is sent, and its error is the host's
	}{
		{"a firewall drops", rule(lab.Drop()), map[int]string{4: "EPERM", 6: "EPERM"}, false},
		{"a firewall rejects", reject, map[int]string{4: "EPERM", 6: "EPERM"}, false},
		{"an unreachable route", route(lab.Unreachable), map[int]string{4: "EHOSTUNREACH", 6: "EHOSTUNREACH"}, true},
		{"a blackhole route", route(lab.Blackhole), map[int]string{4: "EINVAL", 6: "EINVAL"}, true},
		{"a prohibit route", route(lab.Prohibit), map[int]string{4: "EACCES", 6: "EACCES"}, true},
	}
	for _, tt := range tests {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprintf("IPv%d %s, later", family, tt.name), func(t *testing.T) {
				n := lab.Start(t, short())
				client, to := n.Node("client"), n.Node("target").Only(family)
				r := start(t, client, nil, "gping", "-n", "--format", "events", "-c12", "-i0.1", "-W20", to.String())
				q := start(t, client, nil, "gtrace", "-n", "--format", "events", "-q5", "-N1", "-z0.1", "-m4", patiently, to.String())
				for _, r := range []*run{r, q} {
					for !strings.Contains(r.line(), `"result":"reply"`) {
					}
				}
				if err := tt.do(n, to); err != nil {
					t.Fatal(err)
				}
				got := r.end()
				var d pingDoc
				if err := decode(lastLine(got), &d); err != nil {
					t.Fatalf("%v\n%v", err, got)
				}
				faults := checkEnd(got, d.Outcome, "answered", 0)
				failed := 0
				for _, p := range d.Replies {
					if p.Result == "error" {
						failed++
						if p.Error != tt.errno[family] {
							faults = append(faults, fmt.Sprintf("error %q, want %s", p.Error, tt.errno[family]))
						}
					}
				}
				if failed == 0 || d.Summary.Received+failed != 12 || d.Summary.Loss == nil || *d.Summary.Loss != 0 || d.SelfCheck.SendErrors != failed {
					faults = append(faults, fmt.Sprintf("%d failed, %d received, loss %v, %+v: want some that failed, all others received and no loss", failed, d.Summary.Received, d.Summary.Loss, d.SelfCheck))
				}
				tell(t, got, faults)

				got = q.end()
				var path traceDoc
				if err := decode(lastLine(got), &path); err != nil {
					t.Fatalf("%v\n%v", err, got)
				}
				faults = checkEnd(got, path.Outcome, "error", 2)
				failed = 0
				for _, h := range path.Hops {
					for _, p := range h.Probes {
						switch {
						case p.Result == "error" && p.Error == tt.errno[family]:
							failed++
						case p.Result != "reply":
							faults = append(faults, fmt.Sprintf("TTL %d: %s", h.TTL, answered(p)))
						}
					}
				}
				if failed == 0 || path.SelfCheck.SendErrors != failed || path.Stop != "" || strings.Count(got.stderr, "\n") != 1 {
					faults = append(faults, fmt.Sprintf("%d failed, %+v, stop_reason %q: want one line of why", failed, path.SelfCheck, path.Stop))
				}
				tell(t, got, faults)
			})
			t.Run(fmt.Sprintf("IPv%d %s, from the start", family, tt.name), func(t *testing.T) {
				n := lab.Start(t, short())
				client, to := n.Node("client"), n.Node("target").Only(family)
				if err := tt.do(n, to); err != nil {
					t.Fatal(err)
				}
				d, got := ping(t, client, "-c3", "-i0.01", "-W20", to.String())
				faults := checkEnd(got, d.Outcome, "error", 2)
				if d.Summary.Loss != nil || d.Summary.Received != 0 || d.Error == "" {
					faults = append(faults, fmt.Sprintf("summary %+v, error %q: want no loss at all, and why", d.Summary, d.Error))
				}
				for _, p := range d.Replies {
					if p.Result != "error" || p.Error != tt.errno[family] {
						faults = append(faults, fmt.Sprintf("%s %s, want %s", p.Result, p.Error, tt.errno[family]))
					}
				}
				if (len(d.Replies) == 0) != tt.before {
					faults = append(faults, fmt.Sprintf("%d requests", len(d.Replies)))
				}
				tell(t, got, faults)

				path, got := trace(t, client, to.String())
				faults = checkEnd(got, path.Outcome, "error", 2)
				if path.Error == "" || path.Summary.Replies != 0 || strings.Count(got.stderr, "\n") != 1 {
					faults = append(faults, fmt.Sprintf("error %q: want why, also in one line on standard error", path.Error))
				}
				tell(t, got, faults)

				// In text each is named, and none counts as lost.
				got = do(t, client, "gping", "-n", "-c3", "-i0.01", to.String())
				if got.status != 2 || strings.Contains(got.stdout, "100% packet loss") || !tt.before && strings.Count(got.stdout, "not sent: "+tt.errno[family]) != 3 {
					t.Errorf("want status 2 and no loss\n%v", got)
				}
			})
		}
	}
}

// TestSendTooBig: what exceeds the device's MTU does not leave, which is no loss either.
func TestSendTooBig(t *testing.T) {
	programs(t)
	p := short()
	p.Links[0].MTU = 1300
	n := lab.Start(t, p)
	for _, family := range []int{4, 6} {
		to := n.Node("target").Only(family).String()
		d, r := ping(t, n.Node("client"), "-c3", "-i0.01", "-W20", "-Mdo", "-s1400", to)
		faults := checkEnd(r, d.Outcome, "error", 2)
		for _, p := range d.Replies {
			if p.Result != "error" || p.Error != "EMSGSIZE" {
				faults = append(faults, fmt.Sprintf("%s %s, want EMSGSIZE", p.Result, p.Error))
			}
		}
		if len(d.Replies) != 3 || d.Summary.Loss != nil || d.SelfCheck.SendErrors != 3 {
			faults = append(faults, fmt.Sprintf("%d requests, loss %v, %+v", len(d.Replies), d.Summary.Loss, d.SelfCheck))
		}
		tell(t, r, faults)
	}
}

func lastLine(r result) string {
	i := strings.LastIndex(strings.TrimSuffix(r.stdout, "\n"), "\n")
	return r.stdout[i+1:]
}
