//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
)

// short is a network with few hops for tests that change it.
func short() lab.Plan {
	return lab.Plan{Links: []lab.Link{
		{A: "client", B: "r1", V4: "198.51.100.0/30", V6: "2001:db8:0:1::/64"},
		{A: "r1", B: "r2", V4: "198.51.100.4/30", V6: "2001:db8:0:2::/64"},
		{A: "r2", B: "target", V4: "203.0.113.0/30", V6: "2001:db8:0:3::/64"},
	}}
}

// shortPath is the path from client to target in it.
func shortPath(n *lab.Network, family int) []netip.Addr {
	return []netip.Addr{n.Node("r1").Addr("client", family), n.Node("r2").Addr("r1", family), n.Node("target").Only(family)}
}

// TestTranslatedTarget traces to an address that the second router translates
// to the target's. From there on every router answers as that address, which
// is not the end.
func TestTranslatedTarget(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		public := s.Special(lab.DNATAt, family)
		hops := s.PathTo(lab.DNATAt-1, family)
		for len(hops) < lab.Routers {
			hops = append(slices.Clone(hops), public)
		}
		for _, w := range ways {
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				d, r := trace(t, s.Client, append(slices.Clone(w.args), public.String())...)
				faults := checkHops(d, 1, 3, append(exceeded(hops), w.direct(public)))
				faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
				if !slices.ContainsFunc(d.Findings, func(f finding) bool { return f.Code == "dnat-or-nat64-in-front" && f.TTL == lab.DNATAt }) {
					faults = append(faults, fmt.Sprintf("findings %+v, want dnat-or-nat64-in-front at TTL %d", d.Findings, lab.DNATAt))
				}
				tell(t, r, faults)
			})
		}
	}
}

// TestCachedMTU traces with packets larger than the path MTU that this host
// has learned and would cut its packets to: they leave whole.
func TestCachedMTU(t *testing.T) {
	programs(t)
	p := short()
	p.Links[1].MTU = 1400
	n := lab.Start(t, p)
	client := n.Node("client")
	for _, family := range []int{4, 6} {
		path := shortPath(n, family)
		target := path[2]
		primeMTU(t, client, target, 1400)
		for _, w := range ways {
			if strings.HasPrefix(w.name, "TCP") {
				continue // a SYN has one size, and it is small
			}
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				args := append([]string{"gtrace", "-n", "--json", "--size", "1500", "-m3", "-w1", "-F"}, w.args...)
				r, ps := captured(t, client, "r1", append(args, target.String())...)
				d, err := readTrace(r)
				if err != nil {
					t.Fatal(err)
				}
				for _, q := range probes(ps, target) {
					if len(q.Data) != 1500 || q.mf || q.offset != 0 {
						t.Errorf("a probe left with %d bytes, more to follow %v, offset %d: want 1500 and whole", len(q.Data), q.mf, q.offset)
					}
				}
				if len(probes(ps, target)) == 0 || len(d.Hops) == 0 {
					t.Fatalf("no probe left\n%v", r)
				}
				// The first router passes the time on, or says what fits.
				tooBig := icmpAnswer(path[0], [2]int{3, 4}, [2]int{2, 0})
				tooBig.annotation = "!F-1400"
				want := []answer{exceeded(path[:1])[0], tooBig} // no higher TTL changes that
				faults := checkHops(d, 1, 3, want)
				for _, h := range d.Hops[1:] {
					for _, q := range h.Probes {
						if q.MTU != 1400 {
							faults = append(faults, fmt.Sprintf("TTL %d: MTU %d, want 1400", h.TTL, q.MTU))
						}
					}
				}
				if r.status != 1 {
					faults = append(faults, fmt.Sprintf("exit status %d, want 1", r.status))
				}
				tell(t, r, faults)
			})
		}
		if family == 6 {
			continue // no router may cut IPv6 packets
		}
		t.Run("IPv4 without -F", func(t *testing.T) {
			r, ps := captured(t, client, "r1", "gtrace", "-n", "--json", "--size", "1500", target.String())
			d, err := readTrace(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range probes(ps, target) {
				if len(q.Data) != 1500 || q.mf || q.offset != 0 || q.df {
					t.Errorf("a probe left with %d bytes, more to follow %v, offset %d, DF %v: want 1500, whole, clear", len(q.Data), q.mf, q.offset, q.df)
				}
			}
			tell(t, r, append(checkHops(d, 1, 3, append(exceeded(path[:2]), ways[0].direct(target))), checkEnd(r, d.Outcome, "reached", 0)...))
		})
	}
}

// primeMTU makes a node learn the path MTU to dst as ordinary programs do.
func primeMTU(t *testing.T, n *lab.Node, dst netip.Addr, want int) {
	t.Helper()
	level, discover, mtu := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU
	if dst.Is6() {
		level, discover, mtu = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU
	}
	c, err := n.Capture("r1", 100)
	if err != nil {
		t.Fatal(err)
	}
	var conn *net.UDPConn
	err = n.Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 9)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	control := func(f func(fd int) error) {
		t.Helper()
		var inner error
		if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil || inner != nil {
			t.Fatal(errors.Join(err, inner))
		}
	}
	control(func(fd int) error { return unix.SetsockoptInt(fd, level, discover, unix.IP_PMTUDISC_DO) })
	if _, err := conn.Write(make([]byte, 1450)); err != nil {
		t.Fatal(err)
	}
	_, err = c.Wait(patience, func(p lab.Packet) bool {
		q, err := parse(p)
		return err == nil && !p.Out && (dst.Is4() && q.icmpType == 3 || dst.Is6() && q.icmpType == 2)
	})
	if err != nil {
		t.Fatalf("no router says that the packet is too big: %v", err)
	}
	if _, err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	control(func(fd int) error {
		got, err := unix.GetsockoptInt(fd, level, mtu)
		if err == nil && got != want {
			err = fmt.Errorf("the host thinks the path takes %d bytes, want %d", got, want)
		}
		return err
	})
}

// TestLocalErrors has the host itself refuse the probes. None of that is a
// hop, and nothing was measured.
func TestLocalErrors(t *testing.T) {
	programs(t)
	n := lab.Start(t, short())
	client := n.Node("client")
	for _, family := range []int{4, 6} {
		target := n.Node("target").Only(family)
		dst := func(last int) netip.Addr {
			if family == 6 {
				return netip.MustParseAddr(fmt.Sprintf("2001:db8:bad::%d", last))
			}
			return netip.AddrFrom4([4]byte{192, 0, 2, byte(last)})
		}
		whole := func(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
		for _, kind := range []lab.RouteKind{lab.Unreachable, lab.Prohibit, lab.Blackhole} {
			if err := client.AddRoute(whole(dst(int(kind))), kind, ""); err != nil {
				t.Fatal(err)
			}
		}
		reject := uint8(13)
		if family == 6 {
			reject = 1
		}
		if err := client.AddRule(target.String(), lab.Output, lab.Reject(reject)); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			dst  netip.Addr
		}{
			{"unreachable route", dst(int(lab.Unreachable))},
			{"prohibit route", dst(int(lab.Prohibit))},
			{"blackhole route", dst(int(lab.Blackhole))},
			{"rejected by this host's filter", target},
		} {
			for _, prog := range []string{"gtrace", "gping"} {
				t.Run(fmt.Sprintf("IPv%d %s %s", family, tt.name, prog), func(t *testing.T) {
					args := []string{prog, "-n", "--json", tt.dst.String()}
					if prog == "gping" {
						args = append(args, "-c2", "-i0.01")
					}
					r := do(t, client, args...)
					var d ending
					var faults []string
					if err := decode(r.stdout, &d); err != nil {
						faults = append(faults, err.Error())
					}
					faults = append(faults, checkEnd(r, d.Outcome, "error", 2)...)
					if strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, prog+": "+tt.dst.String()+": ") {
						faults = append(faults, "want one line on standard error that names the host")
					}
					for _, h := range d.Hops {
						for _, p := range h.Probes {
							if p.Result != "error" || p.Error == "" || p.RTT != nil {
								faults = append(faults, fmt.Sprintf("TTL %d: %s %q, want an error by its name", h.TTL, p.Result, p.Error))
							}
						}
					}
					tell(t, r, faults)
				})
			}
		}
	}
}

// TestDeadNeighbour has nobody on the first link hold the address: after
// three seconds this host says so itself, which is no hop. A router that says
// it about its own link is one.
func TestDeadNeighbour(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		// The client's own link has /30 and /64: its last address is a
		// broadcast one in IPv4, so another network has the dead neighbour.
		own := lab.Start(t, lab.Plan{Links: []lab.Link{{A: "client", B: "other", V4: "192.0.2.0/29", V6: "2001:db8::/64"}}})
		here := map[int]string{4: "192.0.2.6", 6: "2001:db8::dead"}[family]
		// Both wait three seconds, so they wait together.
		local := start(t, own.Node("client"), nil, "gtrace", "-n", "--json", "-q1", "-m3", "-w10,0,0", here)
		remote := start(t, s.Client, nil, "gtrace", "-n", "--json", "-q1", "-m9", "-w10,0,0", s.Dead(family).String())

		r := local.end()
		d, err := readTrace(r)
		if err != nil {
			t.Fatal(err)
		}
		faults := checkEnd(r, d.Outcome, "error", 2)
		for _, h := range d.Hops {
			for _, p := range h.Probes {
				if p.Result == "reply" || p.From.IsValid() && p.From != own.Node("client").Only(family) {
					faults = append(faults, fmt.Sprintf("TTL %d: %s, want an error of this host's own", h.TTL, answered(p)))
				}
			}
		}
		tell(t, r, faults)

		r = remote.end()
		if d, err = readTrace(r); err != nil {
			t.Fatal(err)
		}
		hops := s.PathTo(lab.DeadAt, family)
		last := icmpAnswer(hops[lab.DeadAt-1], [2]int{3, 1}, [2]int{1, 3})
		last.annotation = "!H"
		tell(t, r, append(checkHops(d, 1, 1, append(exceeded(hops), last)), checkEnd(r, d.Outcome, "unreachable", 1)...))
	}
}

// TestAddressGone takes the source address away while a ping runs: the
// programs go on to their end and tell the errors.
func TestAddressGone(t *testing.T) {
	programs(t)
	n := lab.Start(t, short())
	client := n.Node("client")
	r := start(t, client, nil, "gping", "-n", "--format", "events", "-c20", "-i0.05", "-W0.5", n.Node("target").Only(4).String())
	for answers := 0; answers < 3; {
		if l := r.line(); strings.Contains(l, `"result":"reply"`) {
			answers++
		}
	}
	if err := client.RemoveAddr("r1", client.Only(4)); err != nil {
		t.Fatal(err)
	}
	got := r.end()
	lines := slices.Collect(strings.Lines(got.stdout))
	var d pingDoc
	if err := decode(lines[len(lines)-1], &d); err != nil {
		t.Fatalf("%v\n%v", err, got)
	}
	if d.Summary.Received < 3 || len(d.Replies) == 20 {
		t.Errorf("%d were received of %d, want 3 or more, and the run to end before its time\n%v", d.Summary.Received, len(d.Replies), got)
	}
	tell(t, got, checkGone(got, "gping: "+d.Target+": ", client.Only(4), d.Outcome, d.Stop, d.Error, d.Complete))
}

// checkGone holds a run to having ended because its source address went away.
func checkGone(r result, who string, source netip.Addr, outcome, stop, why string, complete *bool) (faults []string) {
	faults = checkEnd(r, outcome, "error", 2)
	if stop != "source-changed" || *complete || !strings.Contains(why, source.String()) {
		faults = append(faults, fmt.Sprintf("stop_reason %q, complete %v, error %q: want source-changed, false and %s", stop, *complete, why, source))
	}
	if !strings.HasPrefix(r.stderr, who) || !strings.Contains(r.stderr, source.String()) || strings.Count(r.stderr, "\n") != 1 {
		faults = append(faults, fmt.Sprintf("want one line on standard error, %q and %s", who, source))
	}
	return faults
}

// TestSourceGoneTrace traces two hosts from two addresses, of which one goes away: the one that is traced from there ends by
// that name, the other's trace goes on to its end.
func TestSourceGoneTrace(t *testing.T) {
	programs(t)
	for _, family := range []int{4, 6} {
		n := lab.Start(t, short())
		client, target := n.Node("client"), n.Node("target")
		gone, stays := target.Only(family), target.Only(10-family)
		r := start(t, client, nil, "gtrace", "-n", "--format", "events", "-q10", "-z0.1", "-N1", patiently, gone.String(), stays.String())
		for answers := 0; answers < 3; {
			if l := r.line(); strings.Contains(l, `"result":"reply"`) && strings.Contains(l, fmt.Sprintf(`"target":"%s"`, gone)) {
				answers++
			}
		}
		if err := client.RemoveAddr("r1", client.Only(family)); err != nil {
			t.Fatal(err)
		}
		got := r.end()
		docs := make(map[string]traceDoc)
		for line := range strings.Lines(got.stdout) {
			if strings.Contains(line, `"event":`) {
				continue
			}
			var d traceDoc
			if err := decode(line, &d); err != nil {
				t.Fatal(err)
			}
			docs[d.Target] = d
		}
		if len(docs) != 2 {
			t.Fatalf("%d documents, want 2\n%v", len(docs), got)
		}
		d, other := docs[gone.String()], docs[stays.String()]
		faults := checkGone(got, "gtrace: "+d.Target+": ", client.Only(family), d.Outcome, d.Stop, d.Error, d.Complete)
		if other.Outcome != "reached" || !*other.Complete || other.Stop != "" {
			faults = append(faults, fmt.Sprintf("the other: outcome %q, complete %v, stop_reason %q", other.Outcome, *other.Complete, other.Stop))
		}
		tell(t, got, faults)
	}
}

// TestSourceGone takes the address away that the user chose, while another
// one and the route stay. The kernel would send probes from it all the same, and
// nobody would answer: that is no loss on the path.
func TestSourceGone(t *testing.T) {
	programs(t)
	sources := map[int]string{4: "192.0.2.77/32", 6: "2001:db8:77::77/128"}
	p := short()
	for _, s := range sources {
		p.Announces = append(p.Announces, lab.Announce{At: "client", Prefix: s})
	}
	n := lab.Start(t, p)
	client := n.Node("client")
	for _, family := range []int{4, 6} {
		source, target := netip.MustParsePrefix(sources[family]), n.Node("target").Only(family)
		if err := client.AddAddr("r1", source); err != nil {
			t.Fatal(err)
		}
		c, err := client.Capture("r1", 1000)
		if err != nil {
			t.Fatal(err)
		}
		const count = 20
		r := start(t, client, nil, "gping", "-n", "--format", "events", "-c", strconv.Itoa(count), "-i0.1", "-W20",
			"-I", source.Addr().String(), target.String())
		for answers := 0; answers < 2; {
			if strings.Contains(r.line(), `"result":"reply"`) {
				answers++
			}
		}
		if err := client.RemoveAddr("r1", source.Addr()); err != nil {
			t.Fatal(err)
		}
		gone := time.Now()
		got := r.end()
		ps, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		var d pingDoc
		lines := slices.Collect(strings.Lines(got.stdout))
		if err := decode(lines[len(lines)-1], &d); err != nil {
			t.Fatalf("%v\n%v", err, got)
		}
		left, late := 0, 0
		for _, b := range ps {
			q, err := parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if q.Out && q.src == source.Addr() && q.isEcho() {
				left++
				if q.At.After(gone) {
					late++
				}
			}
		}
		// The program may have looked just before, and sent just after. What left
		// before, and was not yet answered, is lost.
		if left < 2 || late > 1 {
			t.Errorf("IPv%d: %d probes left from the address, %d when it was gone: want 2 or more, and at most the one under way", family, left, late)
		}
		results := make(map[string]int)
		for _, p := range d.Replies {
			results[strings.TrimSpace(p.Result+" "+p.Error)]++
		}
		// Of those that had left some may wait for an answer still.
		faults := checkGone(got, "gping: "+d.Target+": ", source.Addr(), d.Outcome, d.Stop, d.Error, d.Complete)
		if n := results["error EADDRNOTAVAIL"]; n > 1 || left+n >= count || results["reply"] < 2 || d.SelfCheck == nil || d.SelfCheck.SendErrors != n {
			faults = append(faults, fmt.Sprintf("IPv%d: %v of %d that left, self_check %+v: want the run to end with the first that cannot leave", family, results, left, d.SelfCheck))
		}
		tell(t, got, faults)
	}
}

// TestRedirect has the client's gateway say that another router on the same
// link is nearer, and forward the probe all the same: the probe's own answer
// is still to come, and is the one that counts.
func TestRedirect(t *testing.T) {
	programs(t)
	p := lab.Plan{Links: []lab.Link{
		{A: "client", B: "lan"}, {A: "r1", B: "lan"}, {A: "r2", B: "lan"},
		{A: "r2", B: "target", V4: "203.0.113.0/30"},
	}}
	for _, where := range []string{"all", "default"} {
		p.Sysctls = append(p.Sysctls,
			lab.Sysctl{On: "client", Key: "ipv4/conf/" + where + "/accept_redirects", Value: "0"},
			lab.Sysctl{On: "r1", Key: "ipv4/conf/" + where + "/send_redirects", Value: "1"},
			// It has one link, and so the lab takes it for a host.
			lab.Sysctl{On: "r1", Key: "ipv4/conf/" + where + "/forwarding", Value: "1"})
	}
	n := lab.Start(t, p)
	if err := n.Node("lan").Bridge(); err != nil {
		t.Fatal(err)
	}
	addr := make(map[string]netip.Addr)
	for node, s := range map[string]string{"client": "192.0.2.1/24", "r1": "192.0.2.2/24", "r2": "192.0.2.3/24"} {
		p := netip.MustParsePrefix(s)
		addr[node] = p.Addr()
		if err := n.Node(node).AddAddr("lan", p); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []lab.Route{
		{On: "client", Dst: "203.0.113.0/30", Via: addr["r1"].String()},
		{On: "r1", Dst: "203.0.113.0/30", Via: addr["r2"].String()},
		{On: "target", Dst: "192.0.2.0/24", Via: "r2"},
	} {
		if err := n.Node(r.On).AddRoute(r.Dst, lab.Unicast, r.Via); err != nil {
			t.Fatal(err)
		}
	}
	client, target := n.Node("client"), n.Node("target").Only(4)

	r, ps := captured(t, client, "lan", "gping", "-n", "--json", "-c3", "-i0.1", "-W20", target.String())
	d, err := readPing(r)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(ps, func(p packet) bool { return !p.Out && p.icmpType == 5 && p.src == addr["r1"] }) {
		t.Fatal("the gateway sent no redirect: nothing to test")
	}
	faults := checkEnd(r, d.Outcome, "answered", 0)
	if d.Summary.Received != 3 || d.Summary.Errors != 0 || d.SelfCheck == nil || d.SelfCheck.Advisories == 0 {
		faults = append(faults, fmt.Sprintf("%+v, %+v: want 3 received, no error, and advisories", d.Summary, d.SelfCheck))
	}
	tell(t, r, faults)

	for _, w := range ways {
		if w.name == "TCP open" {
			continue // the target serves nothing
		}
		d, r := trace(t, client, append(slices.Clone(w.args), target.String())...)
		hops := append(exceeded([]netip.Addr{addr["r1"], addr["r2"]}), w.direct(target))
		tell(t, r, append(checkHops(d, 1, 3, hops), checkEnd(r, d.Outcome, "reached", 0)...))
	}
}

// TestLinkLocal traces and pings an address that needs a zone.
func TestLinkLocal(t *testing.T) {
	s := standard(t)
	var peer netip.Addr
	err := s.Node("r1").Do(func() error {
		i, err := net.InterfaceByName("client")
		if err != nil {
			return err
		}
		as, err := i.Addrs()
		for _, a := range as {
			if p, ok := a.(*net.IPNet); ok && p.IP.IsLinkLocalUnicast() {
				peer, _ = netip.AddrFromSlice(p.IP)
			}
		}
		return err
	})
	if err != nil || !peer.IsValid() {
		t.Fatalf("the first router's link-local address: %v, %v", peer, err)
	}
	zoned := peer.WithZone("r1")
	for _, w := range ways {
		if w.name == "TCP open" {
			continue // the router serves nothing
		}
		d, r := trace(t, s.Client, append(slices.Clone(w.args), zoned.String())...)
		faults := checkEnd(r, d.Outcome, "reached", 0)
		if len(d.Hops) != 1 || len(d.Hops[0].Probes) != 3 || d.Hops[0].Probes[0].From.WithZone("") != peer {
			faults = append(faults, "want one hop, "+peer.String())
		}
		tell(t, r, faults)
	}
	d, r := ping(t, s.Client, "-c2", "-i0.01", zoned.String())
	tell(t, r, checkEnd(r, d.Outcome, "answered", 0))
}

// TestUnknownName is about one host of two.
func TestUnknownName(t *testing.T) {
	s := standard(t)
	near := s.Path[4][0].String()
	r := do(t, s.Client, "gtrace", "-n", "no-such-name.invalid", near)
	if r.status != 2 || !strings.HasPrefix(r.stderr, "gtrace: no-such-name.invalid: ") || !strings.Contains(r.stdout, " 1  "+near) {
		t.Errorf("want status 2, a line about the name, and the other host's path\n%v", r)
	}
}
