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

// line is client - r1 - r2 - r3 - target, of kernel routers.
func line() lab.Plan {
	p := lab.Plan{Links: []lab.Link{
		{A: "client", B: "r1", V4: "198.51.100.0/30", V6: "2001:db8:0:1::/64"},
		{A: "r1", B: "r2", V4: "198.51.100.4/30", V6: "2001:db8:0:2::/64"},
		{A: "r2", B: "r3", V4: "198.51.100.8/30", V6: "2001:db8:0:3::/64"},
		{A: "r3", B: "target", V4: "203.0.113.0/30", V6: "2001:db8:0:4::/64"},
	}}
	for _, r := range []string{"r1", "r2", "r3"} {
		for _, of := range []string{"all", "default"} {
			p.Sysctls = append(p.Sysctls, lab.Sysctl{On: r, Key: "ipv4/conf/" + of + "/send_redirects", Value: "0"})
		}
	}
	return p
}

// extras are addresses behind the line's end that nobody has but who announces them.
var extras = map[int]string{4: "192.0.2.1", 6: "2001:db8:ff::1"}

func host(a string) string {
	addr := netip.MustParseAddr(a)
	return netip.PrefixFrom(addr, addr.BitLen()).String()
}

// TestFindings has kernel routers do what is to be found, and what looks like it, over both families.
func TestFindings(t *testing.T) {
	programs(t)
	type scene struct {
		name    string
		plan    func(p *lab.Plan, family int)
		set     func(t *testing.T, n *lab.Network, family int) // once it runs
		args    []string
		extra   bool // it is traced to the extra address
		outcome string
		status  int
		hops    int
		want    []string // "CODE TTL CONFIDENCE", or with the two TTLs in between
		only    int      // family
	}
	rule := func(on string, hook lab.Hook, dst string, do lab.Action) func(*testing.T, *lab.Network, int) {
		return func(t *testing.T, n *lab.Network, family int) {
			a := n.Node(dst).Only(family).String()
			if err := n.Node(on).AddRule(a, hook, do); err != nil {
				t.Fatal(err)
			}
		}
	}
	// source has what a node sends to the client, or passes on to it, leave with another's address.
	source := func(on string, hook lab.Hook, as func(n *lab.Network, family int) string) func(*testing.T, *lab.Network, int) {
		return func(t *testing.T, n *lab.Network, family int) {
			if err := n.Node(on).AddRule(n.Node("client").Only(family).String(), hook, lab.SetSource(as(n, family))); err != nil {
				t.Fatal(err)
			}
		}
	}
	loop := func(limits bool) func(p *lab.Plan, family int) {
		return func(p *lab.Plan, family int) {
			p.Announces = append(p.Announces, lab.Announce{At: "r2", Prefix: host(extras[family])})
			p.Routes = append(p.Routes, lab.Route{On: "r2", Dst: host(extras[family]), Via: "r1"})
			for _, r := range []string{"r1", "r2"} {
				if limits { // as the kernel has them by default
					p.Sysctls = append(p.Sysctls, lab.Sysctl{On: r, Key: "ipv4/icmp_ratemask", Value: "6168"},
						lab.Sysctl{On: r, Key: "ipv6/icmp/ratemask", Value: "0-1,3-127"})
				}
			}
		}
	}
	ends := func(kind lab.RouteKind) func(p *lab.Plan, family int) {
		return func(p *lab.Plan, family int) {
			p.Announces = append(p.Announces, lab.Announce{At: "r2", Prefix: host(extras[family])})
			p.Routes = append(p.Routes, lab.Route{On: "r2", Dst: host(extras[family]), Kind: kind})
		}
	}
	// private has the first links bear addresses that the Internet does not route.
	private := func(links int) func(*lab.Plan, int) {
		return func(p *lab.Plan, _ int) {
			for i := range links {
				p.Links[i].V4, p.Links[i].V6 = fmt.Sprintf("10.9.%d.0/30", i), fmt.Sprintf("fd00:9:%d::/64", i)
			}
		}
	}
	announced := func(at string) func(*lab.Plan, int) {
		return func(p *lab.Plan, family int) {
			p.Announces = append(p.Announces, lab.Announce{At: at, Prefix: host(extras[family])})
		}
	}
	// translates has r2 give what goes to the target another source, and what comes back for that the client's address again, without keeping state.
	translates := func(as map[int]string) func(*testing.T, *lab.Network, int) {
		return func(t *testing.T, n *lab.Network, family int) {
			rule("r2", lab.Forward, "target", lab.SetSource(as[family]))(t, n, family)
			if err := n.Node("r2").AddRule(as[family], lab.Prerouting, lab.SetDestination(n.Node("client").Only(family).String())); err != nil {
				t.Fatal(err)
			}
		}
	}
	// backBy has what comes back from r2 and behind it take three routers more.
	backBy := func(p *lab.Plan, family int) {
		chain := []string{"r2", "x1", "x2", "x3", "r1"}
		for i, from := range chain[:len(chain)-1] {
			p.Links = append(p.Links, lab.Link{A: from, B: chain[i+1], V4: fmt.Sprintf("198.51.100.%d/30", 16+4*i), V6: fmt.Sprintf("2001:db8:0:1%d::/64", i)})
			if i < 2 {
				p.Routes = append(p.Routes, lab.Route{On: from, Dst: host(map[int]string{4: "198.51.100.1", 6: "2001:db8:0:1::1"}[family]), Via: chain[i+1]})
			}
		}
	}
	// toExtra has r2 do something with what goes to the extra address.
	toExtra := func(do func(target string) lab.Action) func(*testing.T, *lab.Network, int) {
		return func(t *testing.T, n *lab.Network, family int) {
			if err := n.Node("r2").AddRule(extras[family], lab.Forward, do(n.Node("target").Only(family).String())); err != nil {
				t.Fatal(err)
			}
		}
	}
	// neutral is the client's address with another prefix and the same sum (RFC 6296).
	const neutral = "2001:db8:1::1"
	tests := []scene{
		{name: "a plain path", outcome: "reached", hops: 4},
		{name: "a plain path by ICMP", args: []string{"-I", "--dscp=ef", "--ecn=ect0"}, outcome: "reached", hops: 4},
		{name: "a plain path by TCP", args: []string{"-T", "--dscp=ef", "--ecn=ect0"}, outcome: "reached", hops: 4},
		{name: "a plain path, classic", args: []string{"--flow=classic"}, outcome: "reached", hops: 4},

		// The first router answers from the address towards the client, and in the loop from the other.
		{name: "two routers that point at each other", plan: loop(false), extra: true, outcome: "loop", status: 1, hops: 7, want: []string{"forwarding-loop 2 high"}},
		{name: "the same by ICMP", plan: loop(false), args: []string{"-I"}, extra: true, outcome: "loop", status: 1, hops: 7, want: []string{"forwarding-loop 2 high"}},
		{name: "the same by TCP", plan: loop(false), args: []string{"-T"}, extra: true, outcome: "loop", status: 1, hops: 7, want: []string{"forwarding-loop 2 high"}},
		{name: "the same, classic", plan: loop(false), args: []string{"--flow=classic"}, extra: true, outcome: "loop", status: 1, hops: 7, want: []string{"forwarding-loop 2 medium"}},
		{name: "the same, and they limit their errors", plan: loop(true), args: []string{"-w1,0,0"}, extra: true, outcome: "loop", status: 1, hops: -1, want: []string{"forwarding-loop 2 high"}},
		{name: "a loop too short to be sure", plan: loop(false), args: []string{"-m6"}, extra: true, outcome: "max-hops", status: 1, hops: 6},

		{name: "a class that nobody touches", args: []string{"--dscp=ef", "--ecn=ect0"}, outcome: "reached", hops: 4},
		{name: "a class cleared", set: rule("r2", lab.Forward, "target", lab.SetTOS(3, 0)), args: []string{"--dscp=ef", "--ecn=ect0"}, outcome: "reached", hops: 4,
			want: []string{"dscp-changed 2-3 high"}},
		{name: "a class set", set: rule("r1", lab.Forward, "target", lab.SetTOS(3, 8<<2)), args: []string{"-I"}, outcome: "reached", hops: 4, want: []string{"dscp-changed 1-2 high"}},
		{name: "ECN cleared", set: rule("r2", lab.Forward, "target", lab.SetTOS(0xfc, 0)), args: []string{"--dscp=af41", "--ecn=ect1"}, outcome: "reached", hops: 4,
			want: []string{"ecn-bleached 2-3 high"}},
		{name: "ECN marked", set: rule("r1", lab.Forward, "target", lab.SetTOS(0xfc, 3)), args: []string{"--ecn=ect0", "--multipath"}, outcome: "reached", hops: 4,
			want: []string{"ecn-marked 1-2 high"}},
		{name: "the whole byte zeroed", set: rule("r2", lab.Forward, "target", lab.SetTOS(0, 0)), args: []string{"--dscp=ef", "--ecn=ce"}, outcome: "reached", hops: 4,
			want: []string{"dscp-changed 2-3 high", "ecn-bleached 2-3 high"}},
		// The target answers a SYN by TCP, and quotes nothing.
		{name: "an MSS clamped", set: rule("r1", lab.Forward, "target", lab.ClampMSS(1300)), args: []string{"-T"}, outcome: "reached", hops: 4, want: []string{"mss-clamped 1-2 high"}},
		{name: "an MSS clamped before the last router", set: rule("r2", lab.Forward, "target", lab.ClampMSS(1300)), args: []string{"-T"}, outcome: "reached", hops: 4,
			want: []string{"mss-clamped 2-3 medium"}},
		{name: "a longer way back", plan: backBy, outcome: "reached", hops: 4, want: []string{"return-path-longer 1-2 low"}},
		// Linux puts back in quotes what it has translated.
		{name: "a masquerading router", set: rule("r2", lab.Forward, "target", lab.Masquerade()), outcome: "reached", hops: 4},

		{name: "a private client behind a masquerading router", plan: private(1), set: rule("r1", lab.Forward, "target", lab.Masquerade()), outcome: "reached", hops: 4,
			want: []string{"nat-implied 1-2 medium"}},
		{name: "the same by ICMP", plan: private(1), set: rule("r1", lab.Forward, "target", lab.Masquerade()), args: []string{"-I"}, outcome: "reached", hops: 4,
			want: []string{"nat-implied 1-2 medium"}},
		{name: "the same by TCP, with other ports", plan: private(1), set: rule("r1", lab.Forward, "target", lab.MasqueradePorts(1024, 1100)), args: []string{"-T"}, outcome: "reached", hops: 4,
			want: []string{"nat-implied 1-2 medium"}},
		{name: "a private network of two hops, other ports", plan: private(2), set: rule("r2", lab.Forward, "target", lab.MasqueradePorts(1024, 1100)), outcome: "reached", hops: 4,
			want: []string{"nat-implied 2-3 medium"}},
		{name: "many flows out of a private network", plan: private(1), set: rule("r1", lab.Forward, "target", lab.Masquerade()), args: []string{"--flows=4"}, outcome: "reached", hops: 4,
			want: []string{"nat-implied 1-2 medium"}},
		{name: "a translator without state", plan: announced("r2"), set: translates(extras), outcome: "reached", hops: 4, want: []string{"nat-rewritten 2-3 high"}},
		{name: "the same by ICMP", plan: announced("r2"), set: translates(extras), args: []string{"-I"}, outcome: "reached", hops: 4, want: []string{"nat-rewritten 2-3 medium"}},
		{name: "the same by TCP", plan: announced("r2"), set: translates(extras), args: []string{"-T"}, outcome: "reached", hops: 4, want: []string{"nat-rewritten 2-3 medium"}},
		{name: "another prefix and the same checksum", only: 6, plan: func(p *lab.Plan, _ int) {
			p.Announces = append(p.Announces, lab.Announce{At: "r2", Prefix: host(neutral)})
		}, set: translates(map[int]string{6: neutral}), outcome: "reached", hops: 4, want: []string{"nat-rewritten 2-3 high"}},
		{name: "a destination rewritten without state", plan: announced("r3"), set: toExtra(lab.SetDestination), extra: true, outcome: "reached", hops: 4,
			want: []string{"reply-from-unexpected-source 4 medium", "nat-rewritten 2-3 high"}},
		// Whom it is rewritten to answers in its own name.
		{name: "the same by ICMP", plan: announced("r3"), set: toExtra(lab.SetDestination), args: []string{"-I", "-m3"}, extra: true, outcome: "max-hops", status: 1, hops: 3,
			want: []string{"nat-rewritten 2-3 medium"}},
		{name: "the same by TCP", plan: announced("r3"), set: toExtra(lab.SetDestination), args: []string{"-T", "-m3"}, extra: true, outcome: "max-hops", status: 1, hops: 3,
			want: []string{"nat-rewritten 2-3 medium"}},
		{name: "a destination rewritten by Linux", plan: announced("r3"), set: toExtra(lab.DNAT), extra: true, outcome: "reached", hops: 4,
			want: []string{"dnat-or-nat64-in-front 2 high"}},
		{name: "SACK taken out", set: rule("r1", lab.Forward, "target", lab.StripOption(4)), args: []string{"-T"}, outcome: "reached", hops: 4, want: []string{"tcp-option-removed 1-2 high"}},
		{name: "timestamps taken out", set: rule("r1", lab.Forward, "target", lab.StripOption(8)), args: []string{"-T"}, outcome: "reached", hops: 4, want: []string{"tcp-option-removed 1-2 high"}},
		{name: "a class cleared, by TCP", set: rule("r1", lab.Forward, "target", lab.SetTOS(0, 0)), args: []string{"-T", "--dscp=ef", "--ecn=ect0"}, outcome: "reached", hops: 4,
			want: []string{"dscp-changed 1-2 high", "ecn-bleached 1-2 high"}},

		{name: "a TCP sequence number replaced", set: rule("r2", lab.Forward, "target", lab.SetTransport(false, 4, "\x01\x02\x03\x04")), args: []string{"-T", "-m3"},
			outcome: "max-hops", status: 1, hops: 3, want: []string{"tcp-sequence-changed 2-3 medium"}},
		{name: "a window replaced", set: rule("r1", lab.Forward, "target", lab.SetTransport(false, 14, "\x12\x34")), args: []string{"-T"},
			outcome: "reached", hops: 4, want: []string{"tcp-window-changed 1-2 high"}},
		{name: "a payload changed", set: rule("r2", lab.Forward, "target", lab.SetTransport(true, 8+20, "\xaa\x55")), outcome: "reached", hops: 4,
			want: []string{"payload-changed 2-3 high"}},
		{name: "an IP identification replaced", only: 4, set: rule("r2", lab.Forward, "target", lab.SetHeader(4, "\x12\x34")), outcome: "reached", hops: 4,
			want: []string{"ip-id-changed 2-3 high"}},
		{name: "a flow label replaced", only: 6, set: rule("r2", lab.Forward, "target", lab.SetHeader(2, "\x12\x34")), outcome: "reached", hops: 4,
			want: []string{"flow-label-changed 2-3 high"}},

		{name: "a TTL set anew", set: rule("r2", lab.Forward, "target", lab.SetTTL(64)), outcome: "reached", hops: 3, want: []string{"ttl-reset 2-3 high"}},

		{name: "answers from the address of the router in front", set: source("r1", lab.Forward, func(n *lab.Network, family int) string {
			return n.Node("r1").Addr("client", family).String()
		}), outcome: "reached", hops: 4, want: []string{"address-rewritten 1-4 high", "reply-from-unexpected-source 4 high"}},
		{name: "answers from the destination's address, as by NAT64", set: source("r1", lab.Forward, func(n *lab.Network, family int) string {
			return n.Node("target").Only(family).String()
		}), outcome: "reached", hops: 4, want: []string{"dnat-or-nat64-in-front 2 high"}},

		{name: "the target answers from another address", set: source("target", lab.Output, func(n *lab.Network, family int) string {
			return extras[family]
		}), outcome: "reached", hops: 4, want: []string{"reply-from-unexpected-source 4 medium"}},
		{name: "a firewall says port unreachable", set: func(t *testing.T, n *lab.Network, family int) {
			rule("r2", lab.Forward, "target", lab.Reject(map[int]uint8{4: 3, 6: 4}[family]))(t, n, family)
		}, outcome: "reached", hops: 3, want: []string{"reply-from-unexpected-source 3 high"}},

		{name: "a firewall prohibits", set: func(t *testing.T, n *lab.Network, family int) {
			rule("r2", lab.Forward, "target", lab.Reject(map[int]uint8{4: 13, 6: 1}[family]))(t, n, family)
		}, outcome: "unreachable", status: 1, hops: 3, want: []string{"administratively-prohibited 3 high"}},
		{name: "a firewall prohibits the host, or by policy", set: func(t *testing.T, n *lab.Network, family int) {
			rule("r2", lab.Forward, "target", lab.Reject(map[int]uint8{4: 10, 6: 5}[family]))(t, n, family)
		}, outcome: "unreachable", status: 1, hops: 3, want: []string{"administratively-prohibited 3 high"}},
		{name: "a route prohibits", plan: ends(lab.Prohibit), args: []string{"-q1"}, extra: true, outcome: "unreachable", status: 1, hops: 2,
			want: []string{"administratively-prohibited 2 high"}},
		{name: "a route is unreachable", plan: ends(lab.Unreachable), args: []string{"-q1"}, extra: true, outcome: "unreachable", status: 1, hops: 2},

		{name: "a target that answers time exceeded", plan: func(p *lab.Plan, family int) {
			p.Announces = append(p.Announces, lab.Announce{At: "target", Prefix: host(extras[family])})
			p.Routes = append(p.Routes, lab.Route{On: "target", Dst: host(extras[family]), Kind: lab.Blackhole})
		}, set: func(t *testing.T, n *lab.Network, _ int) {
			if err := n.Node("target").Exceed("r3"); err != nil {
				t.Fatal(err)
			}
		}, extra: true, outcome: "unreachable", status: 1, hops: 4, want: []string{"target-sends-time-exceeded 4 high"}},
	}
	for _, tt := range tests {
		for _, family := range []int{4, 6} {
			if tt.only != 0 && tt.only != family {
				continue
			}
			t.Run(fmt.Sprintf("IPv%d %s", family, tt.name), func(t *testing.T) {
				p := line()
				if tt.plan != nil {
					tt.plan(&p, family)
				}
				n := lab.Start(t, p)
				if tt.set != nil {
					tt.set(t, n, family)
				}
				to := n.Node("target").Only(family).String()
				if tt.extra {
					to = extras[family]
				}
				d, r := trace(t, n.Node("client"), append(slices.Clone(tt.args), to)...)
				faults := checkEnd(r, d.Outcome, tt.outcome, tt.status)
				if tt.hops >= 0 && len(d.Hops) != tt.hops {
					faults = append(faults, fmt.Sprintf("%d hops, want %d", len(d.Hops), tt.hops))
				}
				var got []string
				for _, f := range d.Findings {
					at := fmt.Sprint(f.TTL)
					if len(f.Between) == 2 {
						at = fmt.Sprintf("%d-%d", f.Between[0], f.Between[1])
					}
					got = append(got, fmt.Sprintf("%s %s %s", f.Code, at, f.Confidence))
					if len(f.Evidence) == 0 {
						faults = append(faults, f.Code+" without evidence")
					}
				}
				if !slices.Equal(got, tt.want) {
					faults = append(faults, fmt.Sprintf("findings %q, want %q", got, tt.want))
				}
				tell(t, r, faults)
			})
		}
	}
}

// TestFindingsInText has a line for each behind the hops, under our own name, and none under traceroute's, which goes on
// through a loop.
func TestFindingsInText(t *testing.T) {
	programs(t)
	p := line()
	p.Announces = append(p.Announces, lab.Announce{At: "r2", Prefix: host(extras[4])})
	p.Routes = append(p.Routes, lab.Route{On: "r2", Dst: host(extras[4]), Via: "r1"})
	n := lab.Start(t, p)
	r := do(t, n.Node("client"), "gtrace", "-n", patiently, extras[4])
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	if r.status != 1 || len(lines) != 9 || !strings.HasPrefix(lines[8], "  # forwarding-loop: ") || !strings.Contains(lines[8], n.Node("r2").Addr("r1", 4).String()) {
		t.Errorf("want 7 hops, the finding behind them and status 1\n%v", r)
	}
}
