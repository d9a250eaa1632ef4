package rawsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// bulkConn is rawConn with packet sockets.
func bulkConn(t testing.TB) *raw {
	t.Helper()
	return rawConnOf(t, Options{Packet: true}, rcvBuf)
}

// eachKind runs a test of what holds with packet sockets too.
func eachKind(t *testing.T, f func(t *testing.T, open func(testing.TB) *raw)) {
	t.Run("raw", func(t *testing.T) { f(t, rawConn) })
	t.Run("packet", func(t *testing.T) { f(t, bulkConn) })
}

// wantRead fails if a ring has let in what was not read.
func wantRead(t testing.TB, c *raw) {
	t.Helper()
	if c.bulk == nil {
		return
	}
	for _, r := range c.bulk.rings {
		if r.pending() != 0 {
			t.Errorf("IPv6 %v: %d packets are in the ring, %d read and %d lost", r.v6, r.came, r.read, r.drops)
		}
	}
}

// byLink is how many packets left by the packet socket.
func byLink(c *raw) uint32 { return c.bulk.send.ids.next }

// TestBulkWire: the packet socket sends byte for byte what it is given, and of whatever is not for it the raw one sends.
func TestBulkWire(t *testing.T) {
	p := newPair(t)
	c := bulkConn(t)
	mustSend(t, c, to(udpPacket(me4, them4, 40000, 33434, nil)), to(udpPacket(me6, them6, 40000, 33434, nil))) // the first there
	capture := newTap(t, p.dev)
	far := farTap(t, p)
	for _, tt := range []struct {
		name   string
		packet []byte
		byLink uint32
	}{
		{"IPv4", udpPacket(me4, them4, 40000, 33434, payload(12, 1)), 1},
		{"IPv6", withLabel(udpPacket(me6, them6, 40000, 33434, payload(12, 1))), 1},
		{"the largest that fits", echoPacket(me4, them4, false, 9, 9, payload(1472, 1)), 1},
		{"a fragment", fragment(udpPacket(me4, them4, 40000, 33434, payload(64, 1))), 1},
		{"to all on the link", echoPacket(me4, netip.AddrFrom4([4]byte{10, 0, 0, 255}), false, 9, 9, nil), 0},
		{"multicast", echoPacket(me6, netip.MustParseAddr("ff02::1"), false, 9, 9, nil), 0},
	} {
		before := byLink(c)
		given := bytes.Clone(tt.packet)
		if tt.name == "to all on the link" {
			if err := c.Set(Settings{Broadcast: true}); err != nil {
				t.Fatal(err)
			}
		}
		mustSend(t, c, to(tt.packet))
		if n := byLink(c) - before; n != tt.byLink {
			t.Errorf("%s: %d left by the packet socket, want %d", tt.name, n, tt.byLink)
		}
		// Past the queue nobody on this host captures it; the other host does.
		if seen := len(capture.sent()); tt.byLink == 1 && seen != 0 {
			t.Errorf("%s: went by the queue of the device", tt.name)
		}
		if got := far(); len(got) != 1 || !bytes.Equal(got[0], given) {
			t.Errorf("%s: there came\n% x\nwant\n% x", tt.name, got, given)
		}
	}
	_, err := c.Send([]Packet{to(echoPacket(me4, them4, false, 9, 9, payload(1473, 1)))})
	var se *SendError
	if !errors.As(err, &se) || se.Name != "EMSGSIZE" || se.MTU != 1500 {
		t.Errorf("too long: %v", err)
	}
}

// farTap returns what came to the other host since it was asked last.
func farTap(t *testing.T, p *pair) func() [][]byte {
	t.Helper()
	var tap *tap
	p.in(t, p.far, func() {
		dev, err := netlink.LinkByName("far")
		if err != nil {
			t.Fatal(err)
		}
		tap = newTap(t, dev)
	})
	return func() (ps [][]byte) {
		for {
			b := make([]byte, 1<<16)
			n, from, err := unix.Recvfrom(tap.fd, b, 0)
			if err != nil {
				return ps
			}
			// Not what the other host says to it.
			if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
				ps = append(ps, b[:n])
			}
		}
	}
}

// TestBulkRouted: behind a router all destinations go to its address, and each is heard of.
func TestBulkRouted(t *testing.T) {
	p := newPair(t)
	const many = 100
	for _, f := range []struct {
		name, net    string
		me, via, dst netip.Addr
	}{
		{"IPv4", "198.18.0.0/15", me4, them4, netip.MustParseAddr("198.18.0.1")},
		{"IPv6", "2001:db8:fffe::/48", me6, them6, netip.MustParseAddr("2001:db8:fffe::1")},
	} {
		p.run(t, f.name, func(t *testing.T) {
			route(t, f.net, unix.RTN_UNICAST, "near", f.via)
			p.in(t, p.far, func() { route(t, f.net, unix.RTN_UNICAST, "far", f.me) })
			c := bulkConn(t)
			id := echoID(t, c, f.me)
			dst, asked := f.dst, make(map[netip.Addr]bool)
			var ps []Packet
			for seq := range uint16(many) {
				b := echoPacket(f.me, dst, false, id, seq, payload(12, c.caps.Token))
				asked[dst] = true
				if dst = dst.Next(); f.me.Is4() {
					b[8] = 1
					withChecksum(b)
				} else {
					b[7] = 1
				}
				ps = append(ps, to(b))
			}
			mustSend(t, c, ps...)
			if n := byLink(c); n != many-1 {
				t.Errorf("%d of %d left by the packet socket", n, many)
			}
			for _, r := range receive(t, c, many) {
				m, err := parseICMP(r)
				if err != nil {
					t.Fatal(err)
				}
				q, err := m.Quote()
				if err != nil || r.From != f.via || !asked[q.Dst()] {
					t.Fatalf("%v from %v, %v", q.Dst(), r.From, err)
				}
				delete(asked, q.Dst())
			}
			wantQuiet(t, c)
		})
	}
}

// TestBulkSplit: what the kernel must put together, and what has headers that a ring's filter does not look behind, is heard by the raw
// sockets, and once, as all else.
func TestBulkSplit(t *testing.T) {
	p := newPair(t)
	c := bulkConn(t)
	id4, id6 := echoID(t, c, me4), echoID(t, c, me6)
	var other *raw
	p.in(t, p.far, func() { other = rawConn(t) })
	answer := func(v6 bool, n int) []byte {
		me, them := addrs(v6)
		id := id4
		if v6 {
			id = id6
		}
		return echoPacket(them, me, true, id, uint16(n), payload(n, 0))
	}
	for _, tt := range []struct {
		name   string
		packet []byte
		cut    int // into fragments of that size
		rings  uint64
	}{
		{"short", answer(false, 12), 0, 1},
		{"options", withChecksum(withOptions(answer(false, 12), 8)), 0, 1},
		{"as long as a ring hears", answer(false, short4-28), 0, 1},
		{"longer", answer(false, short4-27), 0, 0},
		{"fragments", answer(false, 1400), 600, 0},
		{"IPv6", answer(true, 12), 0, 1},
		{"IPv6, as long as a ring hears", answer(true, short6-48), 0, 1},
		{"IPv6, longer", answer(true, short6-47), 0, 0},
		{"IPv6, fragments", answer(true, 3000), 1280, 0},
		{"IPv6, extension headers", extended(answer(true, 12), wire.ProtoDestOptions), 0, 0},
		{"IPv6, a fragment that is all", extended(answer(true, 12), wire.ProtoFragment), 0, 0},
	} {
		read := c.bulk.rings[0].read + c.bulk.rings[1].read
		pieces := [][]byte{tt.packet}
		if tt.cut != 0 {
			var err error
			if pieces, err = fragments(tt.packet, tt.cut, 77); err != nil || len(pieces) < 2 {
				t.Fatal(len(pieces), err)
			}
		}
		for _, b := range pieces {
			mustSend(t, other, to(b))
		}
		r := receive(t, c, 1)[0]
		if m, err := parseICMP(r); err != nil || len(m.Payload())+8 != len(r.Data) || r.TTL != 64 {
			t.Errorf("%s: %v, %+v", tt.name, err, r)
		}
		if n := c.bulk.rings[0].read + c.bulk.rings[1].read - read; n != tt.rings {
			t.Errorf("%s: %d by the rings, want %d", tt.name, n, tt.rings)
		}
		wantQuiet(t, c)
	}
	if s := c.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	// Nobody puts together fragments of what is so short, so it is said.
	pieces, err := fragments(answer(false, 400), 300, 77)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range pieces {
		mustSend(t, other, to(b))
	}
	mustSend(t, other, to(answer(false, 12)))
	receive(t, c, 1)
	if s := c.Stats(); s != (Stats{Malformed: 1}) {
		t.Errorf("short fragments: %+v, want one that makes no sense", s)
	}
}

// extended puts an extension header in that means nothing.
func extended(b []byte, kind uint8) []byte {
	b = withExtensions(b, kind)
	if kind == wire.ProtoDestOptions {
		copy(b[42:], []byte{0x1e, 12}) // an experiment that whoever does not know it skips (RFC 4727)
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// TestBulkOtherHosts: what passes through on its way to another host is not heard, whatever it looks like.
func TestBulkOtherHosts(t *testing.T) {
	p := newPair(t)
	c := bulkConn(t)
	const net4, net6 = "198.18.4.0/24", "2001:db8:fffd::/48"
	var other *raw
	for dst, via := range map[string][2]netip.Addr{net4: {them4, me4}, net6: {them6, me6}} {
		route(t, dst, unix.RTN_UNICAST, "near", via[0])
		p.in(t, p.far, func() { route(t, dst, unix.RTN_UNICAST, "far", via[1]) })
	}
	p.in(t, p.far, func() { other = rawConn(t) })
	id4, id6 := echoID(t, c, me4), echoID(t, c, me6)
	mustSend(t, other,
		to(echoPacket(them4, netip.MustParseAddr("198.18.4.1"), true, id4, 1, payload(12, 0))),
		to(echoPacket(them6, netip.MustParseAddr("2001:db8:fffd::1"), true, id6, 1, payload(12, 0))),
		to(echoPacket(them4, me4, true, id4, 2, payload(12, 0))),
		to(echoPacket(them6, me6, true, id6, 2, payload(12, 0))))
	for _, r := range receive(t, c, 2) {
		if r.To != me4 && r.To != me6 {
			t.Errorf("heard %+v", r)
		}
	}
	wantQuiet(t, c)
}

// TestBulkUnresolved: to a neighbour whose address is not known the raw socket sends, which makes the kernel ask for it.
func TestBulkUnresolved(t *testing.T) {
	p := newPair(t)
	c := bulkConn(t)
	capture := newTap(t, p.dev)
	silent := netip.AddrFrom4([4]byte{10, 0, 0, 200})
	for seq := range uint16(10) {
		mustSend(t, c, to(echoPacket(me4, silent, false, 1, seq, nil)))
	}
	if n := byLink(c); n != 0 {
		t.Errorf("%d left by the packet socket", n)
	}
	if got := capture.sent(); len(got) == 0 {
		t.Error("nobody asks for the neighbour's address")
	}
}

// TestBulkTun: a link without addresses takes packets as they are.
func TestBulkTun(t *testing.T) {
	newPair(t) // locks the thread
	newHost(t) // one of its own, without other tests' routes
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("tun9")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	me := netip.MustParseAddr("198.51.100.1")
	up(t, "tun9", me)
	c := bulkConn(t)
	port := echoID(t, c, me)
	b := make([]byte, 2000)
	for seq := range uint16(3) {
		sent := echoPacket(me, me.Next(), false, port, seq, payload(12, 0))
		mustSend(t, c, to(bytes.Clone(sent)))
		var got []byte
		for got == nil { // the kernel's own, such as router solicitations, among them
			n, err := unix.Read(fd, b)
			if err != nil {
				t.Fatal(err)
			}
			if b[0]>>4 == 4 {
				got = b[:n]
			}
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("left % x\nwant % x", got, sent)
		}
		if _, err := unix.Write(fd, echoPacket(me.Next(), me, true, port, seq, payload(12, 0))); err != nil {
			t.Fatal(err)
		}
		if r := receive(t, c, 1)[0]; r.From != me.Next() || !r.Kernel {
			t.Errorf("%+v", r)
		}
	}
	if n := byLink(c); n != 2 {
		t.Errorf("%d left by the packet socket, want all but the first of 3", n)
	}
}

// TestBulkFirewall: where a firewall of this host refuses the first packet to a node, no packet socket gets the next ones past it.
func TestBulkFirewall(t *testing.T) {
	p := newPair(t)
	dropUDPPort(t, 33999)
	far := farTap(t, p)
	c := bulkConn(t)
	for seq := range 5 {
		_, err := c.Send([]Packet{to(udpPacket(me4, them4, 40000, 33999, payload(12, uint32(seq))))})
		var se *SendError
		if !errors.As(err, &se) || se.Name != "EPERM" {
			t.Errorf("packet %d: %v, want EPERM", seq, err)
		}
	}
	if n := byLink(c); n != 0 || len(far()) != 0 {
		t.Errorf("%d left by the packet socket", n)
	}
	mustSend(t, c, to(udpPacket(me4, them4, 40000, 33998, nil)))
	if n := byLink(c); n != 0 {
		t.Errorf("%d left by the packet socket though the firewall had refused one", n)
	}
}

// TestBulkReserve: as much can be reserved as without packet sockets, and the kernel takes the filters.
func TestBulkReserve(t *testing.T) {
	newPair(t)
	c := bulkConn(t)
	for _, f := range families {
		for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoTCP, familyProto(f.me, wire.ProtoICMP)} {
			for range maxReserved {
				mustReserve(t, c, f.me, proto)
			}
		}
		id := c.want(f.me).echo[maxReserved-1]
		mustSend(t, c, to(echoPacket(f.me, f.them, false, id, 1, payload(12, 0))))
		receive(t, c, 1)
	}
	wantQuiet(t, c)
}

// TestBulkClockSet: a stamp from before the wall clock was set is not used while it may still be in the ring.
func TestBulkClockSet(t *testing.T) {
	newPair(t)
	c := bulkConn(t)
	id := echoID(t, c, me4)
	probe := to(echoPacket(me4, them4, false, id, 1, payload(12, 0)))
	mustSend(t, c, probe)
	c.clock.base.wall -= int64(time.Second) // as if it had been set just now
	if r := receive(t, c, 1)[0]; r.Kernel {
		t.Errorf("the stamp is used: %v", r.At)
	}
	mustSend(t, c, probe)
	if r := receive(t, c, 1)[0]; !r.Kernel {
		t.Error("what came later has no stamp")
	}
	if s := c.Stats(); s.ClockSteps == 0 {
		t.Error("nobody noticed")
	}
}

// TestBulkDrops: what finds no room in a ring is counted, each packet.
func TestBulkDrops(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			c := bulkConn(t)
			id := echoID(t, c, f.me)
			// More than a ring has room for: a packet takes 144 bytes of it or more.
			const many = ringBlock * ringBlocks / 144 / batch * batch
			ps := make([]Packet, batch)
			for i := range ps {
				ps[i] = to(echoPacket(f.me, f.them, false, id, uint16(i), payload(40, 0)))
			}
			for range many / batch {
				mustSend(t, c, ps...)
			}
			got := uint64(0)
			rs := make([]Reply, batch)
			for until := time.Now().Add(patience); got+c.Stats().Drops < many && time.Now().Before(until); {
				n, err := c.Recv(rs, c.Now())
				got += uint64(n)
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
			}
			s := c.Stats()
			if got < many/2 || s.Drops == 0 || got+s.Drops != many || s.Malformed != 0 {
				t.Errorf("%d received, %+v, want %d together", got, s, many)
			}
			if again := c.Stats(); again != s {
				t.Errorf("asked again: %+v, was %+v", again, s)
			}
		})
	}
}

// TestBulkUnasked: whoever may not ask whether there are policies is told so, and not that raw sockets want privilege.
func TestBulkUnasked(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread() // and left so: the thread ends with the test
	ns := newHost(t)
	defer ns.Close()
	had, err := threadCaps()
	if err != nil {
		t.Fatal(err)
	}
	less := had
	less.effective &^= 1 << unix.CAP_NET_ADMIN
	if err := setThreadCaps(less); err != nil {
		t.Fatal(err)
	}
	c, err := openRaw(Options{Packet: true}, rcvBuf)
	if err == nil || errors.Is(err, ErrPrivilege) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("%v, %v, want what is missing", c, err)
	}
	if err := setThreadCaps(had); err != nil { // for what is to be cleaned up
		t.Fatal(err)
	}
}

// TestBulkIPsec: where a policy may want packets in a tunnel there are no packet sockets.
func TestBulkIPsec(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	ns := newHost(t)
	defer ns.Close()
	_, all, _ := net.ParseCIDR("203.0.113.0/24")
	err := netlink.XfrmPolicyAdd(&netlink.XfrmPolicy{Src: all, Dst: all, Dir: netlink.XFRM_DIR_OUT, Tmpls: []netlink.XfrmPolicyTmpl{{
		Src: net.IPv4(203, 0, 113, 1), Dst: net.IPv4(203, 0, 113, 2), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL}}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := openRaw(Options{Packet: true}, rcvBuf); !errors.Is(err, errIPsec) {
		t.Errorf("%v, %v, want %v", c, err, errIPsec)
	}
}

// TestRingReply: nobody has looked at a packet in a ring before.
func TestRingReply(t *testing.T) {
	c := &raw{}
	bad := func(b []byte, at int) []byte { b = bytes.Clone(b); b[at] ^= 1; return b }
	syn := wire.TCPFields{Flags: wire.SYN | wire.ACK}
	for _, tt := range []struct {
		name string
		v6   bool
		f    frame
		ok   bool
	}{
		{"echo reply", false, frame{data: echoPacket(them4, me4, true, 1, 1, nil), whole: true}, true},
		{"with the link's padding", false, frame{data: append(echoPacket(them4, me4, true, 1, 1, nil), make([]byte, 18)...), whole: true}, true},
		{"not whole", false, frame{data: echoPacket(them4, me4, true, 1, 1, nil)}, false},
		{"header checksum", false, frame{data: bad(echoPacket(them4, me4, true, 1, 1, nil), 8), whole: true}, false},
		{"shorter than it says", false, frame{data: echoPacket(them4, me4, true, 1, 1, nil)[:27], whole: true}, false},
		{"fragment", false, frame{data: fragment(echoPacket(them4, me4, true, 1, 1, nil)), whole: true}, false},
		{"first fragment", false, frame{data: firstFragment(echoPacket(them4, me4, true, 1, 1, nil)), whole: true}, false},
		{"UDP", false, frame{data: udpPacket(them4, me4, 1, 2, nil), whole: true}, false},
		{"ICMPv6 over IPv4", false, frame{data: ipPacket(them4, me4, wire.ProtoICMPv6, make([]byte, 8)), whole: true}, false},
		{"nothing", false, frame{whole: true}, false},
		{"TCP", false, frame{data: tcpPacket(them4, me4, 80, 1, syn), whole: true}, true},
		{"TCP, wrong checksum", false, frame{data: bad(tcpPacket(them4, me4, 80, 1, syn), 37), whole: true}, false},
		{"TCP, checksum not there yet", false, frame{data: bad(tcpPacket(them4, me4, 80, 1, syn), 37), whole: true, status: unix.TP_STATUS_CSUMNOTREADY}, true},
		{"IPv6 echo reply", true, frame{data: echoPacket(them6, me6, true, 1, 1, nil), whole: true}, true},
		{"IPv6, shorter than it says", true, frame{data: echoPacket(them6, me6, true, 1, 1, nil)[:47], whole: true}, false},
		{"IPv6 and ICMP", true, frame{data: ipPacket(them6, me6, wire.ProtoICMP, make([]byte, 8)), whole: true}, false},
		{"IPv6 TCP, wrong checksum", true, frame{data: bad(tcpPacket(them6, me6, 80, 1, syn), 57), whole: true}, false},
		{"IPv4 where IPv6 is heard", true, frame{data: echoPacket(them4, me4, true, 1, 1, nil), whole: true}, false},
	} {
		me, them := addrs(tt.v6)
		var r Reply
		ok := c.ringReply(&r, &ring{v6: tt.v6}, &tt.f)
		if ok != tt.ok || ok && (r.From != them || r.To != me || r.TTL != 64) {
			t.Errorf("%s: %v, %+v", tt.name, ok, r)
		}
	}
}

func firstFragment(b []byte) []byte {
	b[6] = 0x20
	return withChecksum(b)
}

// TestSpans: an address is in the span of its longest prefix, and goes one way if all prefixes that match it do.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		ps := make(prefixes)
		addr := func(v6 bool) netip.Addr { // few bits differ, so that prefixes lie within each other
			b := [16]byte{byte(r.Uint32()) & 0xc0, byte(r.Uint32()) & 0x81, 15: byte(r.Uint32()) & 0x83}
			if v6 {
				return netip.AddrFrom16(b)
			}
			return netip.AddrFrom4([4]byte{b[0], b[1], 0, b[15]})
		}
		for range r.IntN(12) {
			a := addr(r.IntN(2) == 0)
			p, err := a.Prefix(r.IntN(a.BitLen() + 1))
			if err != nil {
				t.Fatal(err)
			}
			ps[p] = r.IntN(4) != 0
		}
		spans := ps.spans()
		longest := make(map[netip.Addr]netip.Prefix) // by where the span begins
		for i := range 100 {
			a := addr(i%2 == 0)
			if i%10 == 0 {
				a = netip.AddrFrom4([4]byte{255, 255, 255, 255})
			}
			var want netip.Prefix
			one := false
			for p, o := range ps {
				if !p.Contains(a) {
					continue
				}
				if !want.IsValid() {
					one = true
				}
				one = one && o
				if !want.IsValid() || p.Bits() > want.Bits() {
					want = p
				}
			}
			s := spanOf(spans[family(a)], a)
			if (s != nil && s.one) != one {
				t.Fatalf("%v in %v: %+v, want one way %v", a, ps, s, one)
			}
			if s == nil {
				continue
			}
			if was, ok := longest[s.from]; ok && was != want {
				t.Fatalf("%v in %v: the span from %v is of %v and of %v", a, ps, s.from, was, want)
			}
			longest[s.from] = want
		}
	}
}

// TestBulkRules: one who routes by more than addresses and marks has raw sockets alone, and what may go several ways goes by them.
func TestBulkRules(t *testing.T) {
	attr := func(typ uint16, b ...byte) []byte { return appendAttr(nil, typ, b) }
	route := func(bits, tos byte) []byte { return []byte{unix.AF_INET, bits, 0, tos, 0, 0, 0, 0, 0, 0, 0, 0} }
	to := netip.MustParsePrefix("192.0.2.0/24")
	dst := attr(unix.RTA_DST, 192, 0, 2, 0)
	for _, tt := range []struct {
		name  string
		typ   uint16
		head  []byte
		attrs []byte
		err   error
		want  prefixes
	}{
		{"route", unix.RTM_NEWROUTE, route(24, 0), dst, nil, prefixes{to: true}},
		{"default route", unix.RTM_NEWROUTE, route(0, 0), nil, nil, prefixes{netip.MustParsePrefix("0.0.0.0/0"): true}},
		{"several ways", unix.RTM_NEWROUTE, route(24, 0), append(attr(unix.RTA_MULTIPATH, make([]byte, 8)...), dst...), nil, prefixes{to: false}},
		{"next hop object", unix.RTM_NEWROUTE, route(24, 0), append(attr(rtaNextHop, 1, 0, 0, 0), dst...), nil, prefixes{to: false}},
		{"for a type of service", unix.RTM_NEWROUTE, route(24, 8), dst, nil, prefixes{to: false}},
		{"rule", unix.RTM_NEWRULE, route(24, 0), dst, nil, prefixes{to: true}},
		{"rule of ports", unix.RTM_NEWRULE, route(0, 0), attr(rulePort, 0, 80, 0, 80), errRule, nil},
		{"rule of a protocol", unix.RTM_NEWRULE, route(0, 0), attr(ruleProto, 17, 0, 0, 0), errRule, nil},
		{"other family", unix.RTM_NEWROUTE, []byte{unix.AF_MPLS, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil, nil, prefixes{}},
	} {
		ps := make(prefixes)
		if err := ps.add(&netlinkMessage{tt.typ, tt.head, tt.attrs}); !errors.Is(err, tt.err) || err == nil && !maps.Equal(ps, tt.want) {
			t.Errorf("%s: %v, %v, want %v, %v", tt.name, ps, err, tt.want, tt.err)
		}
	}
	ps := prefixes{to: false}
	if err := ps.add(&netlinkMessage{unix.RTM_NEWROUTE, route(24, 0), dst}); err != nil || ps[to] {
		t.Errorf("of two routes one has several ways: %v, %v", ps, err)
	}
}

// blockBytes is a block of a ring with those packets.
func blockBytes(size int, packets ...[]byte) []byte {
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b[blockCount:], uint32(len(packets)))
	binary.NativeEndian.PutUint32(b[blockFirst:], blockHead)
	at := blockHead
	for i, p := range packets {
		h := b[at:]
		step := (frameHead + len(p) + 15) &^ 15
		if i+1 < len(packets) {
			binary.NativeEndian.PutUint32(h[frameNext:], uint32(step))
		}
		binary.NativeEndian.PutUint32(h[frameSec:], 1_700_000_000)
		binary.NativeEndian.PutUint32(h[frameNsec:], uint32(i))
		binary.NativeEndian.PutUint32(h[frameSnap:], uint32(len(p)))
		binary.NativeEndian.PutUint32(h[frameLen:], uint32(len(p)))
		binary.NativeEndian.PutUint16(h[frameMac:], frameHead)
		copy(h[frameHead:], p)
		at += step
	}
	return b
}

// FuzzRing: whatever a block of a ring says of itself, what is read of it lies within, and there is no more than it says.
func FuzzRing(f *testing.F) {
	f.Add(blockBytes(1024, echoPacket(them4, me4, true, 1, 1, nil), tcpPacket(them4, me4, 80, 1, wire.TCPFields{Flags: wire.RST})), false)
	f.Add(blockBytes(1024, echoPacket(them6, me6, true, 1, 1, payload(56, 1))), true)
	f.Add(blockBytes(256), false)
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		if len(b) < blockHead {
			return
		}
		c := &raw{}
		w := walkBlock(b)
		said := w.left
		for n := uint32(0); ; n++ {
			fr, ok := w.next()
			if !ok {
				break
			}
			if n >= said || len(fr.data) > len(b)-blockHead {
				t.Fatalf("packet %d of %d, %d bytes of %d", n, said, len(fr.data), len(b))
			}
			var r Reply
			if c.ringReply(&r, &ring{v6: v6}, &fr) && (len(r.Data)+len(r.Options) > len(fr.data) || r.From.Is6() != v6 || r.To.Is6() != v6) {
				t.Errorf("%+v of %d bytes", r, len(fr.data))
			}
		}
	})
}

// TestWalkBlock: a block is read to its end, and not beyond.
func TestWalkBlock(t *testing.T) {
	want := [][]byte{[]byte("one"), []byte("the second"), bytes.Repeat([]byte{3}, 500)}
	w := walkBlock(blockBytes(2048, want...))
	for i := range want {
		f, ok := w.next()
		if !ok || !bytes.Equal(f.data, want[i]) || !f.whole || f.stamp != 1_700_000_000e9+int64(i) {
			t.Fatalf("packet %d: %v, %+v", i, ok, f)
		}
	}
	if _, ok := w.next(); ok || w.left != 0 {
		t.Errorf("%d are left", w.left)
	}
	cut := blockBytes(2048, want...)[:400]
	w = walkBlock(cut)
	for range 2 {
		if _, ok := w.next(); !ok {
			t.Fatal("what is there is not read")
		}
	}
	if _, ok := w.next(); ok || w.left != 1 {
		t.Errorf("a packet that ends beyond the block is read, or forgotten: %d left", w.left)
	}
}
