//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// TestOrdinaryUser runs the programs as a user who may do nothing, where the kernel lets that user ping and
// where it does not: what needs no ping finds what root finds, and of what is missing only those hear who ask for it.
func TestOrdinaryUser(t *testing.T) {
	programs(t)
	n := lab.Start(t, lab.Plan{
		Links: []lab.Link{
			{A: "client", B: "r1", V4: "198.51.100.0/30", V6: "2001:db8::/64"},
			{A: "r1", B: "r2", V4: "198.51.100.4/30", V6: "2001:db8:1::/64"},
			{A: "r2", B: "target", V4: "203.0.113.0/30", V6: "2001:db8:2::/64"},
		},
	})
	client, target := n.Node("client"), n.Node("target")
	if err := errors.Join(target.ServeTCP(lab.OpenPort), target.Set("ipv4/icmp_echo_enable_probe", "1")); err != nil {
		t.Fatal(err)
	}
	for _, open := range []bool{false, true} {
		groups, is := "1\t0", "closed"
		if open {
			groups, is = fmt.Sprintf("%d\t%[1]d", nobody), "open"
		}
		if err := client.Set("ipv4/ping_group_range", groups); err != nil {
			t.Fatal(err)
		}
		for _, family := range []int{4, 6} {
			to := target.Only(family)
			path := []netip.Addr{n.Node("r1").Addr("client", family), n.Node("r2").Addr("r1", family), to}
			for _, w := range ways {
				if slices.Contains(w.args, "-I") && !open {
					continue // closed: below
				}
				t.Run(fmt.Sprintf("%s IPv%d %s", is, family, w.name), func(t *testing.T) {
					args := slices.Concat([]string{"gtrace", "-n", "--json", patiently}, w.args, []string{to.String()})
					want := append(exceeded(path[:2]), w.direct(to))
					var results []traceDoc
					for _, uid := range []uint32{0, nobody} {
						r := start(t, client, as(uid), args...).end()
						d, err := readTrace(r)
						if err != nil {
							t.Fatal(err)
						}
						faults := append(checkHops(d, 1, 3, want), checkEnd(r, d.Outcome, "reached", 0)...)
						if r.stderr != "" {
							faults = append(faults, "something on standard error, and nobody asked for what is missing")
						}
						socket := map[uint32]string{0: "raw", nobody: "unprivileged"}[uid]
						if d.Method.Socket != socket {
							faults = append(faults, fmt.Sprintf("socket %q, want %s", d.Method.Socket, socket))
						}
						tell(t, r, faults)
						results = append(results, d)
					}
					root, user := results[0], results[1]
					for i := range min(len(root.Hops), len(user.Hops)) {
						for j, p := range user.Hops[i].Probes {
							q := root.Hops[i].Probes[j]
							if p.From != q.From || p.Annotation != q.Annotation {
								t.Errorf("TTL %d, attempt %d: %v %s, and to root %v %s", i+1, j+1, p.From, p.Annotation, q.From, q.Annotation)
							}
							if p.QuotedTTL != nil || q.QuotedTTL == nil && q.ICMP != nil && q.ICMP.Type != 0 && q.ICMP.Type != 129 {
								t.Errorf("TTL %d, attempt %d: quoted TTL %v, and to root %v: want one for root alone", i+1, j+1, p.QuotedTTL, q.QuotedTTL)
							}
						}
					}
				})
			}
			t.Run(fmt.Sprintf("%s IPv%d gping", is, family), func(t *testing.T) {
				r := start(t, client, as(nobody), "gping", "-n", "--json", "-c3", "-i0.01", to.String()).end()
				if !open {
					wantWayOut(t, r)
					return
				}
				d, err := readPing(r)
				if err != nil {
					t.Fatal(err)
				}
				faults := checkEnd(r, d.Outcome, "answered", 0)
				if d.Method.Socket != "unprivileged" || d.Summary.Received != 3 || r.stderr != "" {
					faults = append(faults, fmt.Sprintf("socket %q and %d received, want unprivileged and 3", d.Method.Socket, d.Summary.Received))
				}
				tell(t, r, faults)
			})
			t.Run(fmt.Sprintf("%s IPv%d gping, extended echo", is, family), func(t *testing.T) { // ping sockets send it from Linux 5.13 on
				r := start(t, client, as(nobody), "gping", "-n", "--json", "-c2", "-i0.01", "--kind", "probe", "--probed", "r2", to.String()).end()
				if !open {
					wantWayOut(t, r)
					return
				}
				d, err := readPing(r)
				if err != nil {
					t.Fatal(err)
				}
				faults := checkEnd(r, d.Outcome, "answered", 0)
				if d.Method.Socket != "unprivileged" || d.Summary.Received != 2 || r.stderr != "" || strings.Count(r.stdout, `"no error"`) != 2 {
					faults = append(faults, fmt.Sprintf("socket %q and %d received, want unprivileged and 2 of an interface that is there", d.Method.Socket, d.Summary.Received))
				}
				tell(t, r, faults)
			})
			if !open {
				t.Run(fmt.Sprintf("closed IPv%d ICMP", family), func(t *testing.T) {
					wantWayOut(t, start(t, client, as(nobody), "gtrace", "-n", "--json", "-I", to.String()).end())
				})
			}
		}
	}
}

// wantWayOut wants one line that says what is missing and each way to mend it, and status 2.
func wantWayOut(t *testing.T, r result) {
	t.Helper()
	if r.status != 2 || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("want status 2 and one line\n%v", r)
	}
	for _, want := range []string{"ping_group_range", "sysctl -w net.ipv4.ping_group_range=", "setcap cap_net_raw+p /"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("does not say %q\n%v", want, r)
		}
	}
}

// TestOrdinaryUserSilence: behind the last router that answers, TCP probes of an ordinary user go on being sent, and
// each is lost by the network, not by this host.
func TestOrdinaryUserSilence(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		silent := s.Special(lab.SilentAt, family)
		r := start(t, s.Client, as(nobody), "gtrace", "-n", "--json", "-T", "-q2", "-w1,0,0", fmt.Sprintf("-m%d", lab.SilentAt+2), silent.String()).end()
		d, err := readTrace(r)
		if err != nil {
			t.Fatal(err)
		}
		faults := checkEnd(r, d.Outcome, "max-hops", 1)
		if d.SelfCheck.SendErrors != 0 || r.stderr != "" {
			faults = append(faults, fmt.Sprintf("%d send errors, want none", d.SelfCheck.SendErrors))
		}
		for _, h := range d.Hops[lab.SilentAt:] {
			for _, p := range h.Probes {
				if p.Result != "timeout" {
					faults = append(faults, fmt.Sprintf("TTL %d: %s %s, want silence", h.TTL, p.Result, p.Error))
				}
			}
		}
		tell(t, r, faults)
	}
}
