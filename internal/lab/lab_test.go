//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// within bounds every wait of these tests.
const within = 20 * time.Second

func standard(t *testing.T) *Standard {
	t.Helper()
	Need(t)
	s, err := BuildStandard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// An asker sends UDP probes from a node and hears the ICMP errors.
type asker struct {
	t      *testing.T
	family int
	errors *icmp.PacketConn
	probes *net.UDPConn
}

func newAsker(t *testing.T, n *Node, family int) *asker {
	t.Helper()
	a := &asker{t: t, family: family}
	err := n.Do(func() (err error) {
		a.errors, err = icmp.ListenPacket(map[int]string{4: "ip4:icmp", 6: "ip6:ipv6-icmp"}[family], "")
		if err != nil {
			return err
		}
		a.probes, err = net.ListenUDP(fmt.Sprintf("udp%d", family), nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.errors.Close(); a.probes.Close() })
	return a
}

// ask sends one probe with that TTL and returns the first error that quotes
// a packet to dst.
func (a *asker) ask(dst netip.Addr, ttl int) (from netip.Addr, typ, code int) {
	a.t.Helper()
	var err error
	if a.family == 4 {
		err = ipv4.NewPacketConn(a.probes).SetTTL(ttl)
	} else {
		err = ipv6.NewPacketConn(a.probes).SetHopLimit(ttl)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.probes.WriteToUDPAddrPort([]byte("probe"), netip.AddrPortFrom(dst, 33434)); err != nil {
		a.t.Fatalf("probe to %s: %v", dst, err)
	}
	if err := a.errors.SetReadDeadline(time.Now().Add(within)); err != nil {
		a.t.Fatal(err)
	}
	buf := make([]byte, 1500)
	for {
		n, who, err := a.errors.ReadFrom(buf)
		if err != nil {
			a.t.Fatalf("no answer to a probe to %s with TTL %d: %v", dst, ttl, err)
		}
		quoted := buf[8+24 : n] // destination in a quoted IPv6 header
		if a.family == 4 {
			quoted = buf[8+16 : n]
		}
		if bytes.HasPrefix(quoted, dst.AsSlice()) {
			ip, _ := netip.AddrFromSlice(who.(*net.IPAddr).IP)
			return ip.Unmap(), int(buf[0]), int(buf[1])
		}
	}
}

func TestStandardPath(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		if len(path) != Routers+1 {
			t.Fatalf("IPv%d: %d hops, want %d", family, len(path), Routers+1)
		}
		a := newAsker(t, s.Client, family)
		target := path[Routers]
		inTransit, atTarget := [2]int{11, 0}, [2]int{3, 3}
		if family == 6 {
			inTransit, atTarget = [2]int{3, 0}, [2]int{1, 4}
		}
		for i, hop := range path {
			want := inTransit
			if hop == target {
				want = atTarget
			}
			from, typ, code := a.ask(target, i+1)
			if from != hop || [2]int{typ, code} != want {
				t.Errorf("IPv%d TTL %d: %d/%d from %s, want %d/%d from %s", family, i+1, typ, code, from, want[0], want[1], hop)
			}
		}
	}
}

func TestStandardSpecials(t *testing.T) {
	s := standard(t)
	type special struct {
		name       string
		dst        netip.Addr
		router     int
		typ4, typ6 [2]int
	}
	for _, family := range []int{4, 6} {
		tests := []special{
			{"unreachable", s.Special(UnreachableAt, family), UnreachableAt, [2]int{3, 1}, [2]int{1, 0}},
			{"no route", s.Special(NoRouteAt, family), NoRouteAt, [2]int{3, 0}, [2]int{1, 0}},
			{"prohibit", s.Special(ProhibitAt, family), ProhibitAt, [2]int{3, 13}, [2]int{1, 1}},
			{"dead", s.Dead(family), DeadAt, [2]int{3, 1}, [2]int{1, 3}},
		}
		for _, code := range Rejects[family] {
			c := int(code)
			tests = append(tests, special{fmt.Sprintf("reject %d", c), s.Rejected(code, family), s.RejectAt(), [2]int{3, c}, [2]int{1, c}})
		}
		for _, tt := range tests {
			t.Run(fmt.Sprintf("IPv%d %s", family, tt.name), func(t *testing.T) {
				if tt.router == DeadAt {
					t.Parallel() // three seconds each
				}
				want := tt.typ4
				if family == 6 {
					want = tt.typ6
				}
				hop := s.PathTo(tt.router, family)[tt.router-1]
				from, typ, code := newAsker(t, s.Client, family).ask(tt.dst, 64)
				if from != hop || [2]int{typ, code} != want {
					t.Errorf("%d/%d from %s, want %d/%d from %s", typ, code, from, want[0], want[1], hop)
				}
			})
		}
	}
}

// TestStandardSilent shows that what goes to the silent destination arrives
// at its router and is not answered before the next thing asked is.
func TestStandardSilent(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		before, err := s.Node(fmt.Sprintf("r%d", SilentAt)).Capture(fmt.Sprintf("r%d", SilentAt-1), 100)
		if err != nil {
			t.Fatal(err)
		}
		a := newAsker(t, s.Client, family)
		silent := s.Special(SilentAt, family)
		if _, err := a.probes.WriteToUDPAddrPort([]byte("probe"), netip.AddrPortFrom(silent, 33434)); err != nil {
			t.Fatal(err)
		}
		a.ask(s.Path[family][Routers], 64)
		packets, err := before.Stop()
		if err != nil {
			t.Fatal(err)
		}
		var to, about int
		for _, p := range packets {
			switch {
			case !p.Out && bytes.Contains(p.Data[:min(40, len(p.Data))], silent.AsSlice()):
				to++
			case p.Out && bytes.Contains(p.Data, silent.AsSlice()):
				about++
			}
		}
		if to != 1 || about != 0 {
			t.Errorf("IPv%d: %d packets to the silent destination and %d about it, want 1 and 0", family, to, about)
		}
	}
}

// TestStandardDNAT holds the lab to what a trace through a destination NAT
// looks like: from the NAT on, every router speaks as the public address.
func TestStandardDNAT(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		public := s.Special(DNATAt, family)
		a := newAsker(t, s.Client, family)
		for ttl := 1; ttl <= Routers+1; ttl++ {
			want := public
			if ttl < DNATAt {
				want = s.Path[family][ttl-1]
			}
			if from, _, _ := a.ask(public, ttl); from != want {
				t.Errorf("IPv%d TTL %d: answer from %s, want %s", family, ttl, from, want)
			}
		}
	}
}

func TestStandardServices(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		target := s.Path[family][Routers]
		err := s.Client.Do(func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(target, OpenPort).String(), within)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := io.ReadAll(c); err != nil {
				return fmt.Errorf("read to the end: %w", err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("IPv%d open port: %v", family, err)
		}
		err = s.Client.Do(func() error {
			_, err := net.DialTimeout("tcp", netip.AddrPortFrom(target, ClosedPort).String(), within)
			return err
		})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("IPv%d closed port: error %v, want ECONNREFUSED", family, err)
		}
		for port, want := range map[uint16]string{EchoPort: "hello", TextPort: "The lab says the same to everybody.\n"} {
			var got string
			err := s.Client.Do(func() error {
				c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(target, port)))
				if err != nil {
					return err
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(within)); err != nil {
					return err
				}
				if _, err := c.Write([]byte("hello")); err != nil {
					return err
				}
				buf := make([]byte, 100)
				n, err := c.Read(buf)
				got = string(buf[:n])
				return err
			})
			if err != nil || got != want {
				t.Errorf("IPv%d UDP port %d: %q, %v, want %q", family, port, got, err, want)
			}
		}
	}
}

// TestServeQuestions: servers of DNS and QUIC answer what they are asked as their protocols have it.
func TestServeQuestions(t *testing.T) {
	n := Start(t, pair())
	left, right := n.Node("left"), n.Node("right")
	for port, answer := range map[int]func([]byte) []byte{53: DNS, 443: QUIC} {
		if err := right.ServeUDP(port, answer); err != nil {
			t.Fatal(err)
		}
	}
	query := wire.AppendDNSQuery(nil, 0xbeef)
	quic := func(id byte, size int) []byte {
		return wire.AppendQUIC(nil, [8]byte{id}, [8]byte{0xff, id}, size)
	}
	for _, family := range []int{4, 6} {
		for _, tt := range []struct {
			port uint16
			ask  [][]byte // the last alone is answered
			want string
		}{
			{53, [][]byte{[]byte("no query"), query}, "\xbe\xef\x81\x05" + string(query[4:])},
			{443, [][]byte{quic(1, 1199), query, quic(2, 1200)}, "\xc0\x00\x00\x00\x00\x08\xff\x02\x00\x00\x00\x00\x00\x00\x08\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
		} {
			var got string
			err := left.Do(func() error {
				c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(right.Only(family), tt.port)))
				if err != nil {
					return err
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(within)); err != nil {
					return err
				}
				for _, b := range tt.ask {
					if _, err := c.Write(b); err != nil {
						return err
					}
				}
				buf := make([]byte, 2000)
				k, err := c.Read(buf)
				got = string(buf[:k])
				return err
			})
			if err != nil || got != tt.want {
				t.Errorf("IPv%d UDP port %d: %x, %v, want %x", family, tt.port, got, err, tt.want)
			}
		}
	}
}

// pair is the smallest network.
func pair() Plan {
	return Plan{Links: []Link{{A: "left", B: "right", V4: "192.0.2.0/30", V6: "2001:db8::/64"}}}
}

func TestCapture(t *testing.T) {
	n := Start(t, pair())
	left, right := n.Node("left"), n.Node("right")
	if err := right.ServeUDP(EchoPort, Echo); err != nil {
		t.Fatal(err)
	}
	near, err := left.Capture("right", 10)
	if err != nil {
		t.Fatal(err)
	}
	far, err := right.Capture("left", 10)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	a := newAsker(t, left, 4)
	payload := []byte("over there and back")
	if _, err := a.probes.WriteToUDPAddrPort(payload, netip.AddrPortFrom(right.Only(4), EchoPort)); err != nil {
		t.Fatal(err)
	}
	echoed := func(p Packet) bool { return !p.Out && bytes.HasSuffix(p.Data, payload) }
	if _, err := near.Wait(within, echoed); err != nil {
		t.Fatal(err)
	}
	nearBy, err := near.Stop()
	if err != nil {
		t.Fatal(err)
	}
	farOff, err := far.Stop()
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now()

	about := func(ps []Packet) (out []Packet) {
		for _, p := range ps {
			if bytes.HasSuffix(p.Data, payload) {
				out = append(out, p)
			}
		}
		return out
	}
	nearBy, farOff = about(nearBy), about(farOff)
	if len(nearBy) != 2 || len(farOff) != 2 {
		t.Fatalf("%d packets at the near end and %d at the far one, want 2 and 2", len(nearBy), len(farOff))
	}
	for i, want := range []bool{true, false} { // out and in, seen from the near end
		if nearBy[i].Out != want || farOff[i].Out == want {
			t.Errorf("packet %d: out %v near and %v far, want %v and %v", i, nearBy[i].Out, farOff[i].Out, want, !want)
		}
		if !bytes.Equal(nearBy[i].Data, farOff[i].Data) {
			t.Errorf("packet %d differs between the ends:\n%x\n%x", i, nearBy[i].Data, farOff[i].Data)
		}
		if sum := checksum(nearBy[i].Data[:20]); sum != 0 {
			t.Errorf("packet %d: IPv4 header sums to %#04x, want 0", i, sum)
		}
		// A checksum left for the hardware would be wrong here.
		if sum := udpChecksum(nearBy[i].Data); sum != 0 {
			t.Errorf("packet %d: UDP datagram sums to %#04x, want 0", i, sum)
		}
	}
	if nearBy[0].At.Before(start.Round(0)) || nearBy[1].At.Before(nearBy[0].At) || nearBy[1].At.After(end.Round(0)) {
		t.Errorf("stamps %v and %v, want them in order between %v and %v", nearBy[0].At, nearBy[1].At, start, end)
	}
	if _, err := near.Wait(within, echoed); err != nil {
		t.Errorf("after the end, for a packet that is there: %v", err)
	}
	if _, err := near.Wait(within, func(Packet) bool { return false }); err == nil {
		t.Error("after the end, a packet was found that is not there")
	}
}

func TestCaptureIsBounded(t *testing.T) {
	n := Start(t, pair())
	left, right := n.Node("left"), n.Node("right")
	c, err := left.Capture("right", 3)
	if err != nil {
		t.Fatal(err)
	}
	a := newAsker(t, left, 4)
	for range 4 {
		a.ask(right.Only(4), 64)
	}
	if ps, err := c.Stop(); err == nil || len(ps) != 3 {
		t.Errorf("%d packets and error %v, want 3 and an error that there were more", len(ps), err)
	}
}

// checksum is RFC 1071's, 0 where b holds a right one.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// udpChecksum sums a UDP datagram in an IPv4 packet without options.
func udpChecksum(p []byte) uint16 {
	pseudo := append([]byte(nil), p[12:20]...)
	pseudo = append(pseudo, 0, 17)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(p)-20))
	return checksum(append(pseudo, p[20:]...))
}

func here(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDo(t *testing.T) {
	home := here(t)
	n := Start(t, pair())
	var away string
	boom := errors.New("boom")
	err := n.Node("left").Do(func() (err error) {
		away, err = os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return errors.Join(err, boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("error %v, want the function's", err)
	}
	if away == "" || away == home {
		t.Errorf("ran in %q, the test in %q: want another namespace", away, home)
	}
	if now := here(t); now != home {
		t.Errorf("the test runs in %s now, want %s as before", now, home)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if l, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil && l != home {
			t.Errorf("thread %s is in %s, want %s", task.Name(), l, home)
		}
	}
}

func TestStartProgram(t *testing.T) {
	if os.Getenv("LAB_TEST_CHILD") != "" {
		ifs, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range ifs {
			fmt.Println("interface", i.Name)
		}
		return
	}
	n := Start(t, pair())
	c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestStartProgram$")
	c.Env = append(os.Environ(), "LAB_TEST_CHILD=1")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := n.Node("left").Start(c); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if want := "interface lo\ninterface right\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("the program saw\n%s\nwant\n%s", &out, want)
	}
}

func TestSysctls(t *testing.T) {
	p := pair()
	p.Links = append(p.Links, Link{A: "right", B: "beyond", V4: "192.0.2.4/30"})
	p.Sysctls = []Sysctl{{On: "right", Key: "ipv4/icmp_ratemask", Value: "6168"}}
	n := Start(t, p)
	read := func(node, key string) string {
		var b []byte
		err := n.Node(node).Do(func() (err error) { b, err = os.ReadFile("/proc/sys/net/" + key); return err })
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(b))
	}
	tests := []struct{ node, key, want string }{
		{"left", "ipv4/icmp_ratemask", "0"},
		{"right", "ipv4/icmp_ratemask", "6168"},
		{"left", "ipv6/icmp/ratemask", "255"},
		{"left", "ipv4/icmp_errors_use_inbound_ifaddr", "1"},
		{"left", "ipv4/conf/all/forwarding", "0"},
		{"right", "ipv4/conf/all/forwarding", "1"},
		{"right", "ipv6/conf/all/forwarding", "1"},
		{"right", "ipv4/conf/left/rp_filter", "0"},
	}
	for _, tt := range tests {
		if got := read(tt.node, tt.key); got != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.node, tt.key, got, tt.want)
		}
	}
	if err := n.Node("left").Set("ipv4/no_such_thing", "1"); err == nil || !strings.Contains(err.Error(), "no_such_thing") {
		t.Errorf("error %v, want one that names the setting", err)
	}
}

// TestLimited shows that the kernel's own limits come back with its own
// settings: a burst of 6 errors to one prober.
func TestLimited(t *testing.T) {
	p := pair()
	p.Sysctls = []Sysctl{{On: "right", Key: "ipv4/icmp_ratemask", Value: "6168"}}
	n := Start(t, p)
	c, err := n.Node("right").Capture("left", 1000)
	if err != nil {
		t.Fatal(err)
	}
	a := newAsker(t, n.Node("left"), 4)
	to := n.Node("right").Only(4)
	const sent = 40
	for range sent {
		if _, err := a.probes.WriteToUDPAddrPort([]byte("probe"), netip.AddrPortFrom(to, 33434)); err != nil {
			t.Fatal(err)
		}
	}
	var in, out int
	_, err = c.Wait(within, func(p Packet) bool {
		if !p.Out {
			in++
		}
		return in == sent
	})
	if err != nil {
		t.Fatal(err)
	}
	ps, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if p.Out && p.Data[0]>>4 == 4 {
			out++
		}
	}
	if out < 6 || out >= sent {
		t.Errorf("%d answers to %d probes, want the burst of 6 and few more", out, sent)
	}
}

func TestOutputRule(t *testing.T) {
	n := Start(t, pair())
	left, to := n.Node("left"), n.Node("right").Only(4)
	if err := left.AddRule(to.String(), Output, Drop()); err != nil {
		t.Fatal(err)
	}
	a := newAsker(t, left, 4)
	_, err := a.probes.WriteToUDPAddrPort([]byte("probe"), netip.AddrPortFrom(to, 33434))
	if !errors.Is(err, syscall.EPERM) {
		t.Errorf("error %v, want EPERM", err)
	}
	if err := left.AddRule(to.String(), Output, DNAT("2001:db8::9")); err == nil {
		t.Error("a rewrite from IPv4 to IPv6 was taken")
	}
}

func TestRemoveAddr(t *testing.T) {
	n := Start(t, pair())
	left, right := n.Node("left"), n.Node("right")
	if err := left.RemoveAddr("right", left.Only(4)); err != nil {
		t.Fatal(err)
	}
	err := left.Do(func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(right.Only(4), 9).String())
		if err == nil {
			c.Close()
		}
		return err
	})
	if !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("error %v, want ENETUNREACH", err)
	}
	if err := left.RemoveAddr("right", left.Only(4)); err == nil {
		t.Error("an address was taken away twice")
	}
}

// TestLocalRoutes: a network is not ready while one of its addresses cannot
// receive.
func TestLocalRoutes(t *testing.T) {
	n := Start(t, pair())
	left := n.Node("left")
	for _, family := range []int{4, 6} {
		addr := left.Only(family)
		whole := ipNet(netip.PrefixFrom(addr, addr.BitLen()))
		routes, err := left.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: whole},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		if err != nil || len(routes) != 1 {
			t.Fatalf("IPv%d: local routes %v, %v, want one", family, routes, err)
		}
		if ready, err := left.ready(); !ready || err != nil {
			t.Errorf("IPv%d: ready %v, %v, want true", family, ready, err)
		}
		if err := left.nl.RouteDel(&routes[0]); err != nil {
			t.Fatal(err)
		}
		if ready, err := left.ready(); ready || err != nil {
			t.Errorf("IPv%d, no local route: ready %v, %v, want false", family, ready, err)
		}
		done := make(chan error)
		go func() { done <- left.waitUp() }()
		if err := left.nl.RouteAdd(&routes[0]); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("IPv%d: %v", family, err)
		}
	}
}

// TestAddAddr: an added address can send and receive at once.
func TestAddAddr(t *testing.T) {
	n := Start(t, pair())
	left, right := n.Node("left"), n.Node("right")
	for family, s := range map[int]string{4: "198.51.100.9/32", 6: "2001:db8:9::9/128"} {
		p := netip.MustParsePrefix(s)
		if err := left.AddAddr("right", p); err != nil {
			t.Fatal(err)
		}
		if err := right.AddRoute(s, Unicast, "left"); err != nil {
			t.Fatal(err)
		}
		if from, _, _ := newAsker(t, right, family).ask(p.Addr(), 64); from != p.Addr() {
			t.Errorf("IPv%d: answer from %s, want %s", family, from, p.Addr())
		}
		if err := left.AddAddr("right", p); err == nil {
			t.Errorf("IPv%d: an address was given twice", family)
		}
	}
}

// TestBridge has three nodes on one link, two hops from the first to what is
// beyond the last.
func TestBridge(t *testing.T) {
	n := Start(t, Plan{Links: []Link{
		{A: "a", B: "switch"}, {A: "b", B: "switch"}, {A: "c", B: "switch"},
		{A: "c", B: "beyond", V4: "198.51.100.0/30", V6: "2001:db8:1::/64"},
	}})
	if err := n.Node("switch").Bridge(); err != nil {
		t.Fatal(err)
	}
	for family, net := range map[int]string{4: "192.0.2.%s/24", 6: "2001:db8::%s/64"} {
		addr := make(map[string]netip.Addr)
		for i, name := range []string{"a", "b", "c"} {
			p := netip.MustParsePrefix(fmt.Sprintf(net, strconv.Itoa(i+1)))
			addr[name] = p.Addr()
			if err := n.Node(name).AddAddr("switch", p); err != nil {
				t.Fatal(err)
			}
		}
		beyond := n.Node("beyond").Only(family)
		whole := netip.PrefixFrom(beyond, beyond.BitLen()).String()
		if err := n.Node("a").AddRoute(whole, Unicast, addr["c"].String()); err != nil {
			t.Fatal(err)
		}
		if err := n.Node("beyond").AddRoute(netip.PrefixFrom(addr["a"], addr["a"].BitLen()).String(), Unicast, "c"); err != nil {
			t.Fatal(err)
		}
		a := newAsker(t, n.Node("a"), family)
		for i, tt := range []struct{ dst, from netip.Addr }{{addr["b"], addr["b"]}, {beyond, addr["c"]}, {beyond, beyond}} {
			if from, _, _ := a.ask(tt.dst, max(1, i)); from != tt.from {
				t.Errorf("IPv%d: answer from %s, want %s", family, from, tt.from)
			}
		}
	}
}

// TestNothingStays joins a network to a witness by one more veth pair: the
// kernel takes the witness's end away with the other end's namespace.
func TestNothingStays(t *testing.T) {
	witness := Start(t, pair()).Node("left")
	n, err := Build(pair())
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			n.Close()
		}
	}()
	changes, err := nl.SubscribeAt(witness.ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Close()
	patience := unix.NsecToTimeval(within.Nanoseconds())
	if err := changes.SetReceiveTimeout(&patience); err != nil {
		t.Fatal(err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "thread", PeerNamespace: netlink.NsFd(n.Node("right").ns)}
	veth.Name = "thread"
	if err := witness.nl.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	closed = true
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := witness.nl.LinkByName("thread"); err != nil {
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				break
			}
			t.Fatal(err)
		}
		if _, _, err := changes.Receive(); err != nil {
			t.Fatalf("a namespace is still there after Close: %v", err)
		}
	}
	if after := openFiles(t); after >= before {
		t.Errorf("%d files open after Close, %d before", after, before)
	}
	if names, err := os.ReadDir("/run/netns"); err == nil && len(names) > 0 {
		for _, e := range names {
			if strings.HasPrefix(e.Name(), "lab") {
				t.Errorf("/run/netns has %s", e.Name())
			}
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fs, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fs)
}

// TestBuildFails shows that a network that cannot be built leaves no
// descriptor behind.
func TestBuildFails(t *testing.T) {
	Need(t)
	p := pair()
	p.Routes = []Route{{On: "left", Dst: "not a prefix", Kind: Prohibit}}
	if n, err := Build(pair()); err != nil { // whatever is opened once
		t.Fatal(err)
	} else if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	for range 10 {
		if _, err := Build(p); err == nil {
			t.Fatal("built")
		}
	}
	// What other tests left to the garbage collector may be closed meanwhile.
	if after := openFiles(t); after > before {
		t.Errorf("%d files open after ten failed Builds, %d before", after, before)
	}
}

// TestTun: what a node sends to anywhere comes out of the device's descriptor, and what is written there reaches the node.
func TestTun(t *testing.T) {
	n := Start(t, Plan{Links: []Link{{A: "client", B: "peer", V4: "192.0.2.0/30"}}})
	client, here := n.Node("client"), netip.MustParseAddrPort("10.0.0.2:40000")
	tun, err := client.Tun("outside", here.Addr(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var c *net.UDPConn
	if err := client.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(here))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	there := netip.MustParseAddrPort("203.0.113.9:7")
	if _, err := c.WriteToUDPAddrPort([]byte("ask"), there); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(tun.FD), Events: unix.POLLIN}}, int(within.Milliseconds())); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		k, err := unix.Read(tun.FD, b)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if b = b[:k]; b[0]>>4 == 4 {
			break
		}
		b = b[:cap(b)] // the kernel's own, about IPv6
	}
	if got := string(b[28:]); got != "ask" || [4]byte(b[16:20]) != there.Addr().As4() {
		t.Fatalf("% x, want %q to %v", b, "ask", there)
	}
	// Ends change places, which changes no checksum.
	swap := func(i, j, n int) {
		for k := range n {
			b[i+k], b[j+k] = b[j+k], b[i+k]
		}
	}
	swap(12, 16, 4)
	swap(20, 22, 2)
	if _, err := unix.Write(tun.FD, b); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	k, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:k]) != "ask" || from != there {
		t.Errorf("%q from %v, %v, want %q from %v", b[:k], from, err, "ask", there)
	}
	if d, err := tun.Dropped(); d != 0 || err != nil {
		t.Errorf("%d packets dropped, %v, want none", d, err)
	}
}

// TestNeed runs itself as a user who may not make namespaces.
func TestNeed(t *testing.T) {
	if os.Getenv("LAB_TEST_CHILD") != "" {
		Need(t)
		return
	}
	for _, ci := range []string{"", "true"} {
		t.Run("CI="+strconv.Quote(ci), func(t *testing.T) {
			c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestNeed$", "-test.v")
			c.Env = []string{"LAB_TEST_CHILD=1", "CI=" + ci}
			c.Dir = "/"
			if os.Geteuid() == 0 {
				c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := c.CombinedOutput()
			want := "--- SKIP"
			if ci != "" {
				want = "--- FAIL"
			}
			if !strings.Contains(string(out), want) || !strings.Contains(string(out), "operation not permitted") {
				t.Errorf("%v, want %q and the reason in\n%s", err, want, out)
			}
		})
	}
}
