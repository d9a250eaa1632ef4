package rawsock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// needRoot skips a test that makes network namespaces where that is not
// allowed, and fails it where the run is meant to be complete (CI=true).
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	const why = "needs root, to make network namespaces; run it with sudo, or in unshare -rn where that is allowed"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

var meLocal, themLocal = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")

// A pair is two hosts with a cable between them: this one (device near, me4,
// me6) and another (device far, them4, them6). All tests share one, because
// the kernel takes a second to see that a cable is in; it goes when the
// process ends.
type pair struct {
	near, far netns.NsHandle
	dev       netlink.Link
}

var thePair *pair

// newPair puts the test's thread into this host, where it stays until it ends
// together with the test.
func newPair(t testing.TB) *pair {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread goes with the goroutine
	if thePair == nil {
		thePair = makePair(t)
	}
	thePair.enter(t)
	return thePair
}

func (p *pair) enter(t testing.TB) {
	t.Helper()
	if err := netns.Set(p.near); err != nil {
		t.Fatal("enter namespace:", err)
	}
}

func makePair(t testing.TB) *pair {
	t.Helper()
	p := &pair{far: newHost(t), near: newHost(t)}
	if err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "near", MTU: 1500}, PeerName: "far", PeerNamespace: netlink.NsFd(p.far),
	}); err != nil {
		t.Fatal("add veth:", err)
	}
	p.dev = up(t, "near", me4, me6, meLocal)
	p.in(t, p.far, func() {
		far := up(t, "far", them4, them6, themLocal)
		knows(t, far, p.dev, me4, me6, meLocal)
		waitUp(t, "far", them4, them6, themLocal)
		p.enter(t)
		knows(t, p.dev, far, them4, them6, themLocal)
		waitUp(t, "near", me4, me6, meLocal)
	})
	return p
}

// run runs a subtest in this host: a subtest has a goroutine, and so a thread,
// of its own.
func (p *pair) run(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		runtime.LockOSThread()
		p.enter(t)
		f(t)
	})
}

// newHost makes a network namespace with loopback up, and enters it.
func newHost(t testing.TB) netns.NsHandle {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal("new network namespace:", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal("set lo up:", err)
	}
	for key, value := range map[string]string{
		"ipv4/icmp_ratelimit": "0", "ipv6/icmp/ratelimit": "0", // every probe is to be answered
		"ipv4/icmp_msgs_per_sec": "1000000", "ipv4/icmp_msgs_burst": "1000000",
		"ipv6/conf/default/addr_gen_mode": "1", "ipv6/conf/default/accept_ra": "0",
		"ipv4/conf/all/forwarding": "1", "ipv6/conf/all/forwarding": "1",
	} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	return ns
}

// waitUp waits until a device carries packets and its addresses receive them.
// The kernel says the former a while after both ends were set up, and drops silently
// what is sent before; an IPv6 address gets its local route from a work queue.
func waitUp(t testing.TB, name string, as ...netip.Addr) {
	t.Helper()
	done := make(chan struct{})
	defer close(done)
	ch := make(chan netlink.LinkUpdate, 16)
	if err := netlink.LinkSubscribeWithOptions(ch, done, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		t.Fatal("watch links:", err)
	}
	routes := make(chan netlink.RouteUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ListExisting: true}); err != nil {
		t.Fatal("watch routes:", err)
	}
	missing := make(map[netip.Addr]bool)
	for _, a := range as {
		missing[a] = true
	}
	late := time.After(patience)
	for up := false; !up || len(missing) > 0; {
		select {
		case u := <-ch:
			up = up || u.Link != nil && u.Attrs().Name == name && u.Attrs().OperState == netlink.OperUp
		case u := <-routes:
			if u.Route.Type == unix.RTN_LOCAL && u.Dst != nil {
				a, _ := netip.AddrFromSlice(u.Dst.IP)
				delete(missing, a.Unmap())
			}
		case <-late:
			t.Fatalf("%s is up: %v; addresses that do not receive: %v", name, up, missing)
		}
	}
}

// up gives a device its addresses and sets it up.
func up(t testing.TB, name string, as ...netip.Addr) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(name, err)
	}
	for _, a := range as {
		addAddr(t, l, a)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal("set up", name, err)
	}
	return l
}

// addAddr adds an address; the function takes it away.
func addAddr(t testing.TB, l netlink.Link, a netip.Addr) (remove func()) {
	t.Helper()
	ip := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}
	addr := &netlink.Addr{IPNet: ip}
	if a.Is6() {
		ip.Mask = net.CIDRMask(64, 128)
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(l, addr); err != nil {
		t.Fatal("add address", a, err)
	}
	return func() {
		if err := netlink.AddrDel(l, addr); err != nil {
			t.Error("remove address", a, err)
		}
	}
}

// knows makes the neighbours of a device permanent, so that no probe waits for ARP.
func knows(t testing.TB, dev, other netlink.Link, as ...netip.Addr) {
	t.Helper()
	for _, a := range as {
		if err := netlink.NeighSet(&netlink.Neigh{
			LinkIndex: dev.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: a.AsSlice(), HardwareAddr: other.Attrs().HardwareAddr,
		}); err != nil {
			t.Fatal("add neighbour", a, err)
		}
	}
}

// in runs f in one of the hosts.
func (p *pair) in(t testing.TB, host netns.NsHandle, f func()) {
	t.Helper()
	if err := netns.Set(host); err != nil {
		t.Fatal("enter namespace:", err)
	}
	defer p.enter(t)
	f()
}

// route sends dst (a prefix) nowhere, in the given way, or as a unicast route over dev to a host.
func route(t testing.TB, dst string, way int, dev string, via netip.Addr) {
	t.Helper()
	_, n, err := net.ParseCIDR(dst)
	if err != nil {
		t.Fatal(err)
	}
	r := &netlink.Route{Dst: n, Type: way}
	if dev != "" {
		l, err := netlink.LinkByName(dev)
		if err != nil {
			t.Fatal(dev, err)
		}
		r.LinkIndex, r.Gw = l.Attrs().Index, via.AsSlice()
	}
	if err := netlink.RouteReplace(r); err != nil {
		t.Fatal("add route to", dst, err)
	}
}

// outside is the network namespace the tests were started in, where none of them may send.
var outside, _ = netns.Get()

// rawConn opens raw sockets in the host the thread is in.
func rawConn(t testing.TB) *raw {
	t.Helper()
	return rawConnWith(t, rcvBuf)
}

// rawConnWith is rawConn with receive buffers of another size.
func rawConnWith(t testing.TB, rcvbuf int) *raw {
	t.Helper()
	return rawConnOf(t, Options{}, rcvbuf)
}

// rawConnOf is rawConnWith and options.
func rawConnOf(t testing.TB, o Options, rcvbuf int) *raw {
	t.Helper()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if here.Equal(outside) {
		t.Fatal("this thread is not in a namespace of the test's own")
	}
	c, err := openRaw(o, rcvbuf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A tap captures what leaves by a device, from the network header on.
type tap struct {
	t  testing.TB
	fd int
}

func newTap(t testing.TB, dev netlink.Link) *tap {
	t.Helper()
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		t.Fatal("open packet socket:", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Attrs().Index}); err != nil {
		t.Fatal("bind packet socket:", err)
	}
	return &tap{t, fd}
}

// sent returns what left so far. On a virtual device a packet has passed the
// tap when the call that sent it returns.
func (c *tap) sent() (ps [][]byte) {
	c.t.Helper()
	for {
		b := make([]byte, 1<<16)
		n, from, err := unix.Recvfrom(c.fd, b, 0)
		if err == unix.EAGAIN {
			return ps
		}
		if err != nil {
			c.t.Fatal("capture:", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			ps = append(ps, b[:n])
		}
	}
}
