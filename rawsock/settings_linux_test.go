package rawsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

// forkPlan is a host with two ways to a target. The routing table takes that by r1.
func forkPlan() lab.Plan {
	groups := "0 2147483647"
	if !allUsers() {
		groups = "0 0"
	}
	return lab.Plan{
		Links: []lab.Link{
			{A: "host", B: "r1", V4: "198.51.100.0/30", V6: "2001:db8:1::/64"},
			{A: "host", B: "r2", V4: "198.51.100.4/30", V6: "2001:db8:2::/64"},
			{A: "r1", B: "target", V4: "203.0.113.0/30", V6: "2001:db8:3::/64"},
			{A: "r2", B: "target", V4: "203.0.113.4/30", V6: "2001:db8:4::/64"},
		},
		Sysctls: []lab.Sysctl{
			{On: "host", Key: "ipv4/ping_group_range", Value: groups},
			{On: "target", Key: "ipv4/icmp_echo_enable_probe", Value: "1"},
		},
	}
}

// startFork starts it; the way by r2 is known to the routing table too, and not preferred.
func startFork(t *testing.T) *lab.Network {
	t.Helper()
	n := lab.Start(t, forkPlan())
	for _, family := range []int{4, 6} {
		if err := n.Node("host").Do(func() error {
			dev, err := netlink.LinkByName("r2")
			if err != nil {
				return err
			}
			target := n.Node("target").Addr("r1", family)
			bits := map[int]int{4: 30, 6: 64}[family]
			return netlink.RouteAdd(&netlink.Route{
				Dst: &net.IPNet{IP: netip.PrefixFrom(target, bits).Masked().Addr().AsSlice(), Mask: net.CIDRMask(bits, target.BitLen())},
				Gw:  n.Node("r2").Addr("host", family).AsSlice(), LinkIndex: dev.Attrs().Index, Priority: 5000,
			})
		}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// fork are the ends as seen by way of r1: the target has an address there, and the host.
func fork(t *testing.T, n *lab.Network, family int) (e ends, r2 netip.Addr) {
	t.Helper()
	h := n.Node("host")
	e = ends{host: h.Addr("r1", family), router: n.Node("r1").Addr("host", family), target: n.Node("target").Addr("r1", family), do: h.Do}
	return e, n.Node("r2").Addr("host", family)
}

// opened is a connection in the host's namespace.
func (e ends) opened(t *testing.T, o Options) (c Conn) {
	t.Helper()
	if err := e.do(func() (err error) { c, err = Open(o); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (e ends) set(t *testing.T, c Conn, s Settings) {
	t.Helper()
	if err := e.do(func() error { return c.Set(s) }); err != nil {
		t.Fatal(err)
	}
}

// sendIn sends in the host's namespace, which what is looked up or made only then belongs to.
func (e ends) sendIn(c Conn, ps ...Packet) (n int, err error) {
	_ = e.do(func() error { n, err = c.Send(ps); return nil })
	return n, err
}

// kinds are both kinds of connections over both families.
func kinds(t *testing.T, f func(t *testing.T, family int, o Options)) {
	for _, family := range []int{4, 6} {
		for _, o := range []Options{{}, {Unprivileged: true}} {
			kind := "raw"
			if o.Unprivileged {
				kind = "unprivileged"
			}
			t.Run(fmt.Sprintf("IPv%d %s", family, kind), func(t *testing.T) { f(t, family, o) })
		}
	}
}

// leaves wants the next packet to dst to go out by that interface.
func leaves(t *testing.T, w *lab.Capture, dst netip.Addr) []byte {
	t.Helper()
	p, err := w.Wait(within, func(p lab.Packet) bool {
		ip, err := wire.ParseIP(p.Data)
		return err == nil && p.Out && ip.Dst() == dst
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.Data
}

func capture(t *testing.T, n *lab.Network, node, neighbour string) *lab.Capture {
	t.Helper()
	w, err := n.Node(node).Capture(neighbour, 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Stop() })
	return w
}

// TestDevice: what is sent leaves by the interface that was set, whatever was reserved before or after, and an answer by
// another one is heard (T50).
func TestDevice(t *testing.T) {
	n := startFork(t)
	if err := n.Node("target").ServeTCP(80); err != nil {
		t.Fatal(err)
	}
	kinds(t, func(t *testing.T, family int, o Options) {
		e, r2 := fork(t, n, family)
		oneWay := family == 6 && o.Unprivileged // its sockets are of the device, so the source must be too
		if oneWay {
			e.host = n.Node("host").Addr("r2", family)
		}
		c := e.opened(t, o)
		before := e.reserve(t, c, wire.ProtoUDP)
		e.set(t, c, Settings{Device: "r2"})
		after, id := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, e.icmp())
		back := capture(t, n, "target", map[bool]string{false: "r1", true: "r2"}[oneWay]) // as the source has it
		for name, p := range map[string]Packet{
			"UDP":                 e.udp(netip.AddrPortFrom(e.target, 33434), before, 0xbeef, shape{ttl: 1, size: 12}),
			"UDP, reserved later": e.udp(netip.AddrPortFrom(e.target, 33434), after, 0xbeee, shape{ttl: 1, size: 12}),
			"echo":                e.echo(e.target, id, 1, shape{ttl: 1, size: 12}),
		} {
			if _, err := e.sendIn(c, p); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if r := next(t, c); r.From != r2 {
				t.Errorf("%s: answered by %v, want the router %v of the other way", name, r.From, r2)
			}
		}
		p := e.echo(e.target, id, 2, shape{ttl: 9, size: 12})
		if _, err := e.sendIn(c, p); err != nil {
			t.Fatal(err)
		}
		if r := next(t, c); r.From != e.target {
			t.Errorf("answered by %v, want %v", r.From, e.target)
		}
		leaves(t, back, e.host)

		// A TCP connection without privilege is of that device alone, so its source must be too.
		e.host = n.Node("host").Addr("r2", family)
		port := e.reserve(t, c, wire.ProtoTCP)
		for ttl, from := range map[uint8]netip.Addr{1: r2, 9: e.target} {
			p := e.syn(netip.AddrPortFrom(e.target, 80), port, c.Caps().Token<<16|uint32(ttl), shape{ttl: ttl})
			e.sendAgain(t, c, &p)
			if r := next(t, c); r.From != from {
				t.Errorf("TCP: answered by %v, want %v", r.From, from)
			}
		}
	})
}

// sameSource holds what one socket says of a destination to what a new one did.
func sameSource(t *testing.T, e ends, many *Sources, dst netip.Addr, s Settings, want netip.Addr, why error) {
	t.Helper()
	var got netip.Addr
	var err error
	_ = e.do(func() error { got, err = many.On(dst, s); return nil })
	if got != want || fmt.Sprint(err) != fmt.Sprint(why) {
		t.Errorf("one socket for many, to %v with %+v: %v (%v), want %v (%v)", dst, s, got, err, want, why)
	}
}

// TestDeviceSource: the source address is one that fits the interface.
func TestDeviceSource(t *testing.T) {
	n := startFork(t)
	var many Sources
	for _, family := range []int{4, 6} {
		e, r2 := fork(t, n, family)
		host2 := n.Node("host").Addr("r2", family)
		for _, tt := range []struct {
			s    Settings
			dst  netip.Addr
			want netip.Addr
			errs string
		}{
			{Settings{}, e.target, e.host, ""},
			{Settings{}, r2, host2, ""},
			{Settings{}, nowhere(family), netip.Addr{}, "ENETUNREACH"},
			{Settings{}, e.host, e.host, ""},
			{Settings{}, e.target, e.host, ""},
			{Settings{Device: "r2"}, r2, host2, ""},
			{Settings{Device: "nowhere"}, e.target, netip.Addr{}, "ENODEV"},
		} {
			var got netip.Addr
			var err error
			_ = e.do(func() error { got, err = SourceOn(tt.dst, tt.s); return nil })
			sameSource(t, e, &many, tt.dst, tt.s, got, err)
			var se *SendError
			if got != tt.want || (tt.errs != "") != errors.As(err, &se) || se != nil && se.Name != tt.errs {
				t.Errorf("to %v with %+v: %v (%v), want %v %s", tt.dst, tt.s, got, err, tt.want, tt.errs)
			}
		}
		// Where the table alone would take the other device.
		s := Settings{Device: "r2"}
		var got netip.Addr
		var err error
		_ = e.do(func() error { got, err = SourceOn(e.target, s); return nil })
		if got == e.host {
			t.Errorf("to %v by r2: the other device's %v", e.target, got)
		}
		sameSource(t, e, &many, e.target, s, got, err)
	}
	e, r2 := fork(t, n, 4)
	var err error
	_ = e.do(func() error { _, err = SourceOn(e.target, Settings{Direct: true}); return nil })
	var se *SendError
	if !errors.As(err, &se) || se.Name != "ENETUNREACH" {
		t.Errorf("past the routing table to a host behind a router: %v, want ENETUNREACH", err)
	}
	for _, zone := range []string{"nowhere", "4711"} {
		_ = e.do(func() error { _, err = SourceOn(netip.MustParseAddr("fe80::1%"+zone), Settings{}); return nil })
		if !errors.As(err, &se) || se.Name != "ENODEV" || !errors.Is(err, ErrZone) {
			t.Errorf("zone %s, which is no interface: %v, want ENODEV and ErrZone", zone, err)
		}
	}
	_ = e.do(func() error { _, err = SourceOn(netip.MustParseAddr("fe80::1%lo"), Settings{}); return nil })
	if errors.Is(err, ErrZone) {
		t.Errorf("zone lo: %v", err)
	}
	_ = e.do(func() error { _, err = SourceOn(r2, Settings{Direct: true}); return nil })
	if err != nil {
		t.Errorf("past the routing table to a neighbour: %v", err)
	}
}

// TestDeviceLinkLocal: a link-local destination has its interface already; another is refused.
func TestDeviceLinkLocal(t *testing.T) {
	n := startFork(t)
	for _, a := range [][3]string{{"host", "r1", "fe80::1/64"}, {"r1", "host", "fe80::2/64"}} {
		if err := n.Node(a[0]).AddAddr(a[1], netip.MustParsePrefix(a[2])); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Options{{}, {Unprivileged: true}} {
		e := ends{host: netip.MustParseAddr("fe80::1%r1"), target: netip.MustParseAddr("fe80::2%r1"), do: n.Node("host").Do}
		c := e.opened(t, o)
		e.set(t, c, Settings{Device: "r1"})
		port, id := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, wire.ProtoICMPv6)
		for _, p := range []Packet{
			e.udp(netip.AddrPortFrom(e.target, 33434), port, 0xbeef, shape{ttl: 1, size: 12}),
			e.echo(e.target, id, 1, shape{ttl: 1, size: 12}),
		} {
			if _, err := e.sendIn(c, p); err != nil {
				t.Fatal(err)
			}
			if r := next(t, c); r.From.WithZone("") != e.target.WithZone("") {
				t.Errorf("%+v: answered by %v, want %v", o, r.From, e.target)
			}
		}
		other := e.udp(netip.AddrPortFrom(e.target.WithZone("r2"), 33434), port, 0xbeef, shape{ttl: 1, size: 12})
		if _, err := e.sendIn(c, other); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%+v: to %v by r1: %v, want EINVAL", o, other.Dst, err)
		}
	}
}

// TestDirect: past the routing table only neighbours are reached.
func TestDirect(t *testing.T) {
	n := startFork(t)
	kinds(t, func(t *testing.T, family int, o Options) {
		e, _ := fork(t, n, family)
		c := e.opened(t, o)
		e.set(t, c, Settings{Direct: true})
		port, id, tcp := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, e.icmp()), e.reserve(t, c, wire.ProtoTCP)
		for _, p := range []Packet{
			e.udp(netip.AddrPortFrom(e.target, 33434), port, 0xbeef, shape{ttl: 9, size: 12}),
			e.echo(e.target, id, 1, shape{ttl: 9, size: 12}),
			e.syn(netip.AddrPortFrom(e.target, 80), tcp, 1, shape{ttl: 9}),
		} {
			var se *SendError
			if _, err := e.sendIn(c, p); !errors.As(err, &se) || se.Name != "ENETUNREACH" {
				t.Errorf("to a host behind a router: %v, want ENETUNREACH", err)
			}
		}
		for _, p := range []Packet{
			e.udp(netip.AddrPortFrom(e.router, 33434), port, 0xbeef, shape{ttl: 9, size: 12}),
			e.echo(e.router, id, 1, shape{ttl: 9, size: 12}),
		} {
			if _, err := e.sendIn(c, p); err != nil {
				t.Fatal(err)
			}
			if r := next(t, c); r.From != e.router {
				t.Errorf("answered by %v, want %v", r.From, e.router)
			}
		}
	})
}

// TestBroadcast: allowed by the setting alone.
func TestBroadcast(t *testing.T) {
	n := startFork(t)
	for _, o := range []Options{{}, {Unprivileged: true}} {
		for _, allowed := range []bool{false, true} {
			e, _ := fork(t, n, 4)
			c := e.opened(t, o)
			e.set(t, c, Settings{Broadcast: allowed, Device: "r1"})
			id := e.reserve(t, c, wire.ProtoICMP)
			w := capture(t, n, "host", "r1")
			all := netip.MustParseAddr("198.51.100.3")
			_, err := e.sendIn(c, e.echo(all, id, 1, shape{ttl: 1, size: 12}))
			var se *SendError
			if !allowed && (!errors.As(err, &se) || se.Name != "EACCES") {
				t.Errorf("%+v, not allowed: %v, want EACCES", o, err)
			}
			if allowed && err != nil {
				t.Errorf("%+v, allowed: %v", o, err)
			} else if allowed {
				leaves(t, w, all)
			}
		}
	}
}

// TestMulticast: by the device that was set, and with NoLoop this host does not hear itself.
func TestMulticast(t *testing.T) {
	n := startFork(t)
	kinds(t, func(t *testing.T, family int, o Options) {
		e, _ := fork(t, n, family)
		e.host = n.Node("host").Addr("r2", family)
		group := byFamily(e, netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff05::1234"))
		var l *net.UDPConn
		if err := e.do(func() error {
			ifi, err := net.InterfaceByName("r2")
			if err == nil {
				l, err = net.ListenMulticastUDP(byFamily(e, "udp4", "udp6"), ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(group, 5353)))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		w := capture(t, n, "host", "r2")
		for i, quiet := range []bool{true, false} {
			c := e.opened(t, o)
			e.set(t, c, Settings{NoLoop: quiet, Device: "r2"})
			port := e.reserve(t, c, wire.ProtoUDP)
			if _, err := e.sendIn(c, e.udp(netip.AddrPortFrom(group, 5353), port, uint16(0x100+i), shape{ttl: 2, size: 12})); err != nil {
				t.Fatal(err)
			}
			leaves(t, w, group)
		}
		b := make([]byte, 100)
		k, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if k < 4 || binary.BigEndian.Uint16(b[2:]) != 0x101 {
			t.Errorf("heard %x first, want only what was not to be kept from this host", b[:k])
		}
	})
}

// TestSettingsOfSockets reads back what cannot be seen on the wire.
func TestSettingsOfSockets(t *testing.T) {
	n := startFork(t)
	kinds(t, func(t *testing.T, family int, o Options) {
		e, _ := fork(t, n, family)
		c := e.opened(t, o)
		e.set(t, c, Settings{SendBuffer: 50_000, Debug: true})
		port := e.reserve(t, c, wire.ProtoUDP)
		fd := -1
		switch c := c.(type) {
		case *raw:
			fd = byFamily(e, c.send4.fd, c.send6.fd)
		case *unprivileged:
			fd = c.socks[sockKey{e.host, wire.ProtoUDP, port}].fd
		}
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); v != 100_000 { // the kernel doubles it (socket(7))
			t.Errorf("send buffer of %d bytes (%v), want 100000", v, err)
		}
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DEBUG); v != 1 {
			t.Errorf("debug is %d (%v), want 1", v, err)
		}
	})
}

// TestSettingsRefused: an error says which setting it was and what is missing.
func TestSettingsRefused(t *testing.T) {
	if os.Getenv("TEST_SETTINGS") != "" {
		t.Run("child", func(t *testing.T) {
			c, err := Open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = c.Set(Settings{Debug: true})
			if !errors.Is(err, unix.EACCES) || errors.Is(err, ErrPrivilege) || !strings.Contains(err.Error(), "SO_DEBUG") || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
				t.Errorf("debug: %v, want what is missing", err)
			}
			if err := c.Set(Settings{Device: "lo", Direct: true, Broadcast: true, NoLoop: true, SendBuffer: 5000, Fragment: true}); err != nil {
				t.Errorf("what needs no privilege: %v", err)
			}
			for _, o := range []Options{{Mark: 7}, {Protocols: []uint8{136}}} {
				if c, err := Open(o); !errors.Is(err, ErrPrivilege) {
					t.Errorf("%+v: %v (%v), want ErrPrivilege", o, c, err)
				}
			}
		})
		return
	}
	n := startFork(t)
	kinds(t, func(t *testing.T, family int, o Options) {
		e, _ := fork(t, n, family)
		c := e.opened(t, o)
		for _, device := range []string{"nowhere", strings.Repeat("x", 16)} {
			var err error
			_ = e.do(func() error { err = c.Set(Settings{Device: device}); return nil })
			if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), fmt.Sprintf("device %q", device)) {
				t.Errorf("device %q: %v, want ENODEV by its name", device, err)
			}
		}
	})
	needUsers(t)
	c := child(childProgram(t, staticTest(t)), "TestSettingsRefused", nobody, "TEST_SETTINGS=1")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := n.Node("host").Start(c); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || !strings.Contains(out.String(), "--- PASS: TestSettingsRefused/child") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

const mark, markTable = 0x80000007, 107

// startMarked is startFork with a policy: what has the mark goes to the target by r2, which alone knows the way to nowhere, too. The
// link from there to the target takes mtu bytes; 0: as all do.
func startMarked(t *testing.T, mtu int) *lab.Network {
	t.Helper()
	p := forkPlan()
	p.Links[3].MTU = mtu
	n := lab.Start(t, p)
	for _, family := range []int{4, 6} {
		e, r2 := fork(t, n, family)
		if err := e.do(func() error {
			dev, err := netlink.LinkByName("r2")
			if err != nil {
				return err
			}
			bits := e.target.BitLen()
			for _, a := range []netip.Addr{e.target, nowhere(family)} {
				if err := netlink.RouteAdd(&netlink.Route{
					Dst: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, bits)}, Gw: r2.AsSlice(), LinkIndex: dev.Attrs().Index, Table: markTable,
				}); err != nil {
					return err
				}
			}
			rule := netlink.NewRule()
			rule.Mark, rule.Table, rule.Family = mark, markTable, byFamily(e, unix.AF_INET, unix.AF_INET6)
			return netlink.RuleAdd(rule)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// nowhere is an address that only the marked have a way to.
func nowhere(family int) netip.Addr {
	return map[int]netip.Addr{4: netip.MustParseAddr("192.0.2.9"), 6: netip.MustParseAddr("2001:db8:dead::9")}[family]
}

// TestMark: packets take the way that the policy has for their mark, from the address that fits it (T17).
func TestMark(t *testing.T) {
	n := startMarked(t, 0)
	for _, family := range []int{4, 6} {
		e, r2 := fork(t, n, family)
		host2 := n.Node("host").Addr("r2", family)
		for _, tt := range []struct {
			mark         uint32
			source, from netip.Addr
		}{{0, e.host, e.router}, {mark, host2, r2}} {
			before := descriptors(t)
			c := e.opened(t, Options{Mark: tt.mark})
			if err := e.do(func() (err error) { e.host, err = SourceOn(e.target, Settings{Mark: tt.mark}); return err }); err != nil {
				t.Fatal(err)
			}
			port := e.reserve(t, c, wire.ProtoUDP)
			if _, err := e.sendIn(c, e.udp(netip.AddrPortFrom(e.target, 33434), port, 0xbeef, shape{ttl: 1, size: 12})); err != nil {
				t.Fatal(err)
			}
			if r := next(t, c); r.From != tt.from || e.host != tt.source {
				t.Errorf("IPv%d with mark %d: from %v answered by %v, want from %v by %v", family, tt.mark, e.host, r.From, tt.source, tt.from)
			}
			c.Close()
			if open := kept(t, before); len(open) > 0 {
				t.Errorf("still open: %v", open)
			}
		}
	}
}

// TestMarkedSource: the address fits what the mark, the interface and the rest make of the way, or there is none.
func TestMarkedSource(t *testing.T) {
	n := startMarked(t, 0)
	h := n.Node("host")
	for _, a := range [][3]string{{"host", "r1", "fe80::1/64"}, {"r1", "host", "fe80::2/64"}} {
		if err := n.Node(a[0]).AddAddr(a[1], netip.MustParsePrefix(a[2])); err != nil {
			t.Fatal(err)
		}
	}
	var many Sources
	for _, family := range []int{4, 6} {
		e, r2 := fork(t, n, family)
		host2 := h.Addr("r2", family)
		type row struct {
			s    Settings
			dst  netip.Addr
			want netip.Addr
			errs string
		}
		tests := []row{
			{Settings{Mark: mark}, e.target, host2, ""},
			{Settings{Mark: mark + 1}, e.target, e.host, ""},
			{Settings{}, nowhere(family), netip.Addr{}, "ENETUNREACH"},
			{Settings{Mark: mark}, nowhere(family), host2, ""},
			{Settings{Mark: mark, Device: "r2"}, nowhere(family), host2, ""},
			{Settings{Mark: mark, Device: "r1"}, e.target, e.host, ""}, // the table of the mark has no way by it, the main one has
			{Settings{Mark: mark, Device: "nowhere"}, e.target, netip.Addr{}, "ENODEV"},
			{Settings{Mark: mark, Direct: true}, r2, host2, ""},
			{Settings{Mark: mark}, e.host, e.host, ""},
		}
		if family == 4 {
			tests = append(tests,
				row{Settings{Mark: mark, Direct: true}, e.target, netip.Addr{}, "ENETUNREACH"},
				row{Settings{Mark: mark, Device: "r2"}, netip.MustParseAddr("255.255.255.255"), host2, ""},
				row{Settings{Mark: mark, Device: "r2"}, netip.MustParseAddr("224.0.0.1"), host2, ""})
		} else {
			tests = append(tests,
				row{Settings{Mark: mark}, netip.MustParseAddr("fe80::2%r1"), netip.MustParseAddr("fe80::1%r1"), ""},
				row{Settings{Mark: mark, Device: "r2"}, netip.MustParseAddr("fe80::2%r1"), netip.Addr{}, "EINVAL"},
				row{Settings{Mark: mark, Device: "r1"}, netip.MustParseAddr("ff02::1"), netip.MustParseAddr("fe80::1%r1"), ""})
		}
		for _, tt := range tests {
			var got netip.Addr
			var err error
			_ = e.do(func() error { got, err = SourceOn(tt.dst, tt.s); return nil })
			sameSource(t, e, &many, tt.dst, tt.s, got, err)
			var se *SendError
			if got != tt.want || (tt.errs != "") != errors.As(err, &se) || se != nil && se.Name != tt.errs {
				t.Errorf("to %v with %+v: %v (%v), want %v %s", tt.dst, tt.s, got, err, tt.want, tt.errs)
			}
		}
	}
}

// TestRouterOn: the router before a destination is the one on the way that the settings have, and none is before what a network of this host has.
func TestRouterOn(t *testing.T) {
	n := startMarked(t, 0)
	for _, family := range []int{4, 6} {
		e, r2 := fork(t, n, family)
		r1 := n.Node("r1").Addr("host", family)
		for _, tt := range []struct {
			src, dst netip.Addr
			s        Settings
			want     netip.Addr
			fails    bool
		}{
			{e.host, e.target, Settings{}, r1, false},
			{netip.Addr{}, e.target, Settings{}, r1, false},
			{netip.Addr{}, e.target, Settings{Mark: mark}, r2, false},
			{e.host, r1, Settings{}, netip.Addr{}, false},
			{e.host, e.host, Settings{}, netip.Addr{}, false},
			{netip.Addr{}, nowhere(family), Settings{}, netip.Addr{}, true},
			{netip.Addr{}, e.target, Settings{Device: "nowhere"}, netip.Addr{}, true},
		} {
			var got netip.Addr
			var err error
			_ = e.do(func() error { got, err = RouterOn(tt.src, tt.dst, tt.s); return nil })
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("from %v to %v with %+v: %v (%v), want %v", tt.src, tt.dst, tt.s, got, err, tt.want)
			}
		}
	}
}

// TestMarkedMTU: the path MTU of a marked packet is that of its own way.
func TestMarkedMTU(t *testing.T) {
	for _, family := range []int{4, 6} {
		for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoICMP} {
			n := startMarked(t, 1300) // anew: the host remembers
			e, r2 := fork(t, n, family)
			e.host = n.Node("host").Addr("r2", family)
			name := fmt.Sprintf("IPv%d, protocol %d", family, proto)
			send := func(s Settings, dst netip.Addr, id uint16, as shape) (Conn, error) {
				c := e.opened(t, Options{Mark: mark})
				e.set(t, c, s)
				port := e.reserve(t, c, byFamily(e, proto, map[uint8]uint8{wire.ProtoUDP: proto, wire.ProtoICMP: wire.ProtoICMPv6}[proto]))
				as.ttl = 9
				p := e.echo(dst, port, id, as)
				if proto == wire.ProtoUDP {
					p = e.udp(netip.AddrPortFrom(dst, 33434), port, id, as)
				}
				_, err := e.sendIn(c, p)
				return c, err
			}
			// first wants a first fragment of that size. The parts of all but the last are multiples of 8 bytes long.
			first := func(dst netip.Addr, id uint16, want int) {
				t.Helper()
				w := capture(t, n, "host", "r2")
				if _, err := send(Settings{Fragment: true}, dst, id, shape{size: 2000}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if got := len(leaves(t, w, dst)); got != want {
					t.Errorf("%s: a first fragment of %d bytes to %v, want %d", name, got, dst, want)
				}
			}
			first(nowhere(family), 1, byFamily(e, 1500, 1496)) // of that nothing will be told
			c, err := send(Settings{Heed: true}, e.target, 2, shape{size: 1400, df: true})
			if err != nil {
				t.Fatalf("%s, before a router told: %v", name, err)
			}
			if r := next(t, c); r.From != r2 {
				t.Errorf("%s: answered by %v, want the router %v", name, r.From, r2)
			}
			for range 20 { // it may be heard here a moment before the kernel notes it
				c, err = send(Settings{Heed: true}, e.target, 3, shape{size: 1400, df: true})
				if err != nil {
					break
				}
				next(t, c)
			}
			var se *SendError
			if !errors.As(err, &se) || se.Name != "EMSGSIZE" || se.MTU != 1300 {
				t.Errorf("%s, told: %v (%+v), want EMSGSIZE and 1300", name, err, se)
			}
			first(e.target, 4, byFamily(e, 1300, 1296))
		}
	}
}

// TestHeed: a path MTU that a router has told is nobody's business but for who heeds it.
func TestHeed(t *testing.T) {
	kinds(t, func(t *testing.T, family int, o Options) {
		for _, heed := range []bool{false, true} {
			p := unprivilegedPlan()
			p.Links[1].MTU = 1300
			n := lab.Start(t, p) // anew: the host remembers
			e := endsOf(t, n, family)
			c := e.opened(t, o)
			e.set(t, c, Settings{Heed: heed})
			id := e.reserve(t, c, e.icmp())
			big := func(seq uint16) Packet { return e.echo(e.target, id, seq, shape{ttl: 9, size: 1400, df: true}) }
			if _, err := e.sendIn(c, big(1)); err != nil {
				t.Fatal(err)
			}
			next(t, c) // the router's
			_, err := e.sendIn(c, big(2))
			for i := 0; heed && err == nil && i < 20; i++ { // it may be heard here a moment before the kernel notes it
				next(t, c)
				_, err = e.sendIn(c, big(uint16(4+i)))
			}
			var se *SendError
			switch {
			case heed && (!errors.As(err, &se) || se.Name != "EMSGSIZE" || se.MTU != 1300):
				t.Errorf("heeded: %v (%+v), want EMSGSIZE and 1300", err, se)
			case !heed && err != nil:
				t.Errorf("not heeded: %v", err)
			case !heed:
				next(t, c)
			}
			if _, err := e.sendIn(c, e.echo(e.target, id, 3, shape{ttl: 9, size: 1200, df: true})); err != nil {
				t.Errorf("what fits: %v", err)
			} else if r := next(t, c); r.From != e.target {
				t.Errorf("answered by %v, want %v", r.From, e.target)
			}
		}
	})
}
