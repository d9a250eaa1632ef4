//go:build linux

package lab

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// An Odd is the odd network, for what programs that measure, and those that
// read what they print, meet with besides plain answers:
//
//	client - r1 - r2 - target
//	              |--- narrow    over a link with an MTU of 1300
//	              |--- stub      a link on which "dead" is nobody's
//	              '--- crowd     every host of OddManners
//
// Each host has a name. All kinds are in this list; some are of one family.
//
//	target, narrow   plain hosts, of the kernel
//	the crowd        see OddManners; their answers are made in this process
//	dead             nobody holds the address: host unreachable from r2, after the kernel's three seconds
//	silent           nothing comes back
//	blackhole        the same, but it is r2 that swallows the packet
//	loop             r1 and r2 send it to and fro until its TTL is exceeded
//	reject-N         r2 answers with destination unreachable, code N of Rejects
//	away             the client has no route to it
//
// Everything odd goes by the numbers in a packet, or by what came before, and
// nothing by chance: see OddManners. The links are 198.51.100.4i/30 and
// 2001:db8:0:i::/64, from 0 at the client; all other addresses are of
// 192.0.2.0/24 and 2001:db8:dd::/64, the last part counting the hosts.
type Odd struct {
	*Network
	Client *Node
	hosts  map[string]map[int]netip.Addr
}

// NarrowMTU is the MTU of the link to the host narrow, in bytes.
const NarrowMTU = 1300

// Numbers of the hosts' addresses. The crowd's begin at 1.
const (
	oddCrowd     = 64 // below are the crowd's: 192.0.2.0/26, 2001:db8:dd::/122
	oddTarget    = 65
	oddNarrow    = 69
	oddDead      = 77 // the link is 192.0.2.72/29, so that 73 and 74 are r2 and the stub
	oddBlackhole = 81
	oddLoop      = 82
	oddAway      = 83
	oddReject    = 100 // and the code
)

func oddAddr(n, family int) netip.Addr {
	if family == 6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:dd::%x", n))
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
}

// Hosts lists the names of the hosts of that family.
func (o *Odd) Hosts(family int) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.hosts)) {
		if o.hosts[name][family].IsValid() {
			names = append(names, name)
		}
	}
	return names
}

// Addr is the address of a host, which must be of that family.
func (o *Odd) Addr(host string, family int) netip.Addr {
	a := o.hosts[host][family]
	if !a.IsValid() {
		panic(fmt.Sprintf("lab: the odd network has no host %q of IPv%d", host, family))
	}
	return a
}

// Forget makes the client forget the path MTUs it has learnt over IPv4. IPv6
// has no such thing: build the network anew for a run that must know nothing.
func (o *Odd) Forget() error { return o.Client.Set("ipv4/route/flush", "1") }

// OddPlan is the plan of the odd network without the crowd's answers.
func OddPlan() Plan {
	link := func(i int, a, b string) Link {
		return Link{A: a, B: b, V4: fmt.Sprintf("198.51.100.%d/30", 4*i), V6: fmt.Sprintf("2001:db8:0:%d::/64", i)}
	}
	p := Plan{Links: []Link{link(0, "client", "r1"), link(1, "r1", "r2"), link(2, "r2", "target"), link(3, "r2", "narrow"), link(4, "r2", "crowd"),
		{A: "r2", B: "stub", V4: "192.0.2.72/29", V6: "2001:db8:dd::48/125"}}}
	p.Links[3].MTU = NarrowMTU
	for _, node := range []string{"r1", "r2"} {
		// The kernel limits how many redirects a host is sent, and no setting changes that.
		for _, of := range []string{"all", "default"} {
			p.Sysctls = append(p.Sysctls, Sysctl{On: node, Key: "ipv4/conf/" + of + "/send_redirects", Value: "0"})
		}
	}
	for _, family := range []int{4, 6} {
		prefix := func(n int) string {
			a := oddAddr(n, family)
			return netip.PrefixFrom(a, a.BitLen()).String()
		}
		announce := func(at, prefix string) { p.Announces = append(p.Announces, Announce{At: at, Prefix: prefix}) }
		route := func(on, dst string, kind RouteKind, via string) {
			p.Routes = append(p.Routes, Route{On: on, Dst: dst, Kind: kind, Via: via})
		}
		// What the crowd gets is this process's to answer, not the kernel's.
		a := oddAddr(0, family)
		all := netip.PrefixFrom(a, a.BitLen()-6).String()
		announce("crowd", all)
		route("crowd", all, Blackhole, "")

		announce("target", prefix(oddTarget))
		announce("narrow", prefix(oddNarrow))
		announce("r2", prefix(oddBlackhole))
		route("r2", prefix(oddBlackhole), Blackhole, "")
		announce("r1", prefix(oddLoop))
		route("r1", prefix(oddLoop), Unicast, "r2")
		for _, code := range Rejects[family] {
			dst := oddAddr(oddReject+int(code), family)
			announce("r2", prefix(oddReject+int(code)))
			// The rule looks at what is forwarded, so there must be a way on.
			route("r2", prefix(oddReject+int(code)), Unicast, "target")
			p.Rules = append(p.Rules, Rule{On: "r2", Dst: dst.String(), Do: Reject(code)})
		}
	}
	return p
}

// BuildOdd makes the odd network, with the crowd answering.
func BuildOdd() (_ *Odd, err error) {
	n, err := Build(OddPlan())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	o := &Odd{Network: n, Client: n.Node("client"), hosts: make(map[string]map[int]netip.Addr)}
	add := func(name string, number int, families ...int) {
		o.hosts[name] = make(map[int]netip.Addr)
		for _, f := range families {
			o.hosts[name][f] = oddAddr(number, f)
		}
	}
	for name, number := range map[string]int{
		"target": oddTarget, "narrow": oddNarrow, "dead": oddDead, "blackhole": oddBlackhole, "loop": oddLoop, "away": oddAway,
	} {
		add(name, number, 4, 6)
	}
	for family, codes := range Rejects {
		for _, code := range codes {
			name := fmt.Sprintf("reject-%d", code)
			if o.hosts[name] == nil {
				o.hosts[name] = make(map[int]netip.Addr)
			}
			o.hosts[name][family] = oddAddr(oddReject+int(code), family)
		}
	}
	for i, m := range OddManners {
		if i+1 >= oddCrowd {
			panic("lab: more odd hosts than addresses")
		}
		families := []int{4, 6}
		if m.only != 0 {
			families = []int{m.only}
		}
		add(m.Name, i+1, families...)
	}
	for host, number := range map[string]int{"target": oddTarget, "narrow": oddNarrow} {
		for _, f := range []int{4, 6} {
			a := oddAddr(number, f)
			if err := n.Node(host).AddAddr("r2", netip.PrefixFrom(a, a.BitLen())); err != nil {
				return nil, err
			}
		}
	}
	return o, n.Node("crowd").answer("r2", func(q *query, send func([]byte)) {
		for i := range OddManners {
			if m := &OddManners[i]; o.hosts[m.Name][q.family()] == q.dst {
				m.answer(q, send)
			}
		}
	})
}
