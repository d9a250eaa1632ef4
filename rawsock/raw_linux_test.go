package rawsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// patience bounds a wait for what must come; a test that runs into it has failed.
const patience = 10 * time.Second

var families = []struct {
	name     string
	me, them netip.Addr
}{
	{"IPv4", me4, them4},
	{"IPv6", me6, them6},
}

func to(data []byte) Packet {
	dst := netip.AddrFrom4([4]byte(data[16:20]))
	if data[0]>>4 == 6 {
		dst = netip.AddrFrom16([16]byte(data[24:40]))
	}
	return Packet{Dst: dst, Data: data}
}

func mustSend(t testing.TB, c *raw, ps ...Packet) []Packet {
	t.Helper()
	if n, err := c.Send(ps); n != len(ps) || err != nil {
		t.Fatalf("sent %d of %d: %v", n, len(ps), err)
	}
	return ps
}

func mustReserve(t testing.TB, c *raw, src netip.Addr, proto uint8) uint16 {
	t.Helper()
	port, err := c.Reserve(src, proto, 0)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// receive waits for n replies. Their data are copies.
func receive(t testing.TB, c *raw, n int) (rs []Reply) {
	t.Helper()
	until := c.Now().Add(patience)
	buf := make([]Reply, 32)
	for len(rs) < n {
		k, err := c.Recv(buf[:min(len(buf), n-len(rs))], until)
		if err != nil {
			t.Fatalf("after %d of %d replies: %v", len(rs), n, err)
		}
		for _, r := range buf[:k] {
			r.Data = bytes.Clone(r.Data)
			rs = append(rs, r)
		}
	}
	return rs
}

// wantQuiet fails if there is any reply. All this test's packets travel on
// virtual devices, so what a packet causes on this host is there once a later
// exchange with the same peer is done.
func wantQuiet(t testing.TB, c *raw) {
	t.Helper()
	rs := make([]Reply, 4)
	if n, err := c.Recv(rs, c.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d replies, %v, first %+v; want none", n, err, rs[0])
	}
	for _, r := range c.recv {
		if queued, _, _, err := memInfo(r.fd); err != nil || queued != 0 {
			t.Errorf("protocol %d has %d bytes queued (%v), want none", r.proto, queued, err)
		}
	}
	wantRead(t, c)
}

// echoID is the identifier that echoes of that family are to have.
func echoID(t testing.TB, c *raw, src netip.Addr) uint16 {
	t.Helper()
	if src.Is4() {
		return mustReserve(t, c, src, wire.ProtoICMP)
	}
	return mustReserve(t, c, src, wire.ProtoICMPv6)
}

// TestWire: what leaves is byte for byte what was given (T15, T17, T27, T28).
func TestWire(t *testing.T) {
	p := newPair(t)
	c := rawConn(t)
	syn := wire.TCPFields{Seq: 1 << 31, Flags: wire.SYN, Window: 65535, Options: wire.AppendSYNOptions(nil, 1460, 99)}
	packets := [][]byte{
		udpPacket(me4, them4, 40000, 33434, payload(12, 1)),
		withChecksum(withOptions(udpPacket(me4, them4, 40000, 33434, payload(12, 1)), 8)),
		echoPacket(me4, them4, false, 9, 9, payload(1472, 1)),
		tcpPacket(me4, them4, 40000, 80, syn),
		udpPacket(netip.MustParseAddr("192.0.2.77"), them4, 40000, 33434, nil), // a source that is not ours
		fragment(udpPacket(me4, them4, 40000, 33434, payload(64, 1))),
		udpPacket(me6, them6, 40000, 33434, payload(12, 1)),
		echoPacket(me6, them6, false, 9, 9, payload(1452, 1)),
		tcpPacket(me6, them6, 40000, 80, syn),
		withLabel(udpPacket(me6, them6, 40000, 33434, payload(12, 1))),
	}
	capture := newTap(t, p.dev)
	for _, b := range packets {
		given := bytes.Clone(b)
		mustSend(t, c, to(b))
		got := capture.sent()
		if len(got) != 1 {
			t.Fatalf("%d packets left for\n% x", len(got), given)
		}
		if !bytes.Equal(got[0], given) {
			t.Errorf("left    % x\nwant    % x", got[0], given)
		}
	}
}

func withChecksum(b []byte) []byte {
	head := int(b[0]&0x0f) * 4
	binary.BigEndian.PutUint16(b[10:], 0)
	binary.BigEndian.PutUint16(b[10:], ^headerSum(b[:head]))
	return b
}

func fragment(b []byte) []byte { // offset 8, more to come, TOS 0x28
	b[1] = 0x28
	binary.BigEndian.PutUint16(b[6:], 0x2000|1)
	return withChecksum(b)
}

func withLabel(b []byte) []byte {
	binary.BigEndian.PutUint32(b, 6<<28|0x28<<20|0xabcde)
	return b
}

// TestStamps sends more packets than one system call takes and holds the order
// in which each must have been stamped: given, left, answered, read. All but the first to a next node leave by a packet socket, where
// there is one, and every answer comes once.
func TestStamps(t *testing.T) {
	eachKind(t, func(t *testing.T, open func(testing.TB) *raw) {
		p := newPair(t)
		for _, f := range families {
			p.run(t, f.name, func(t *testing.T) {
				c := open(t)
				id := echoID(t, c, f.me)
				const many = 200
				var ps []Packet
				for seq := range uint16(many) {
					ps = append(ps, to(echoPacket(f.me, f.them, false, id, seq, payload(12, 0))))
				}
				before := c.Now()
				mustSend(t, c, ps...)
				after := c.Now()
				last := before
				for i, p := range ps {
					if p.N != uint64(i) {
						t.Errorf("packet %d has number %d", i, p.N)
					}
					if !p.Kernel {
						t.Errorf("packet %d has no stamp of the kernel's", i)
					}
					if p.Sent.Before(last) || p.Sent.After(after) {
						t.Errorf("packet %d left %v after the call began, %v after the one before, in a call of %v",
							i, p.Sent.Sub(before), p.Sent.Sub(last), after.Sub(before))
					}
					last = p.Sent
				}
				if c.bulk != nil && byLink(c) != many-1 {
					t.Errorf("%d packets left by the packet socket, want all but one of %d", byLink(c), many)
				}
				seen := make(map[uint16]bool)
				for _, r := range receive(t, c, many) {
					m, err := parseICMP(r)
					if err != nil {
						t.Fatal(err)
					}
					seq := m.Seq()
					seen[seq] = true
					sent := ps[seq].Sent
					if !r.Kernel || r.At.Before(sent) || r.At.After(c.Now()) {
						t.Errorf("answer %d came %v after its probe left (kernel %v)", seq, r.At.Sub(sent), r.Kernel)
					}
					if r.From != f.them || r.To != f.me || r.TTL != 64 || m.ID() != id || r.Proto != familyProto(f.me, wire.ProtoICMP) {
						t.Errorf("answer %d: %+v", seq, r)
					}
				}
				if len(seen) != many {
					t.Errorf("%d different answers, want %d", len(seen), many)
				}
				wantQuiet(t, c)
				if s := c.Stats(); s != (Stats{}) {
					t.Errorf("%+v, want nothing lost", s)
				}
				if n := c.Stamps(make([]Stamp, 10)); n != 0 {
					t.Errorf("%d late stamps of packets that had theirs", n)
				}
			})
		}
	})
}

func parseICMP(r Reply) (wire.ICMP, error) {
	if r.Proto == wire.ProtoICMP {
		return wire.ParseICMPv4(r.Data)
	}
	return wire.ParseICMPv6(r.Data, r.From, r.To)
}

// TestErrorsOfRouters: what a router on the way says comes back, header options and all.
func TestErrorsOfRouters(t *testing.T) { eachKind(t, testErrorsOfRouters) }

func testErrorsOfRouters(t *testing.T, open func(testing.TB) *raw) {
	p := newPair(t)
	for dst, via := range map[string][2]netip.Addr{"203.0.113.0/24": {me4, them4}, "2001:db8:ffff::/48": {me6, them6}} {
		route(t, dst, unix.RTN_UNICAST, "near", via[1])
		// The router would send it back, if the packet lived that long.
		p.in(t, p.far, func() { route(t, dst, unix.RTN_UNICAST, "far", via[0]) })
	}
	c := open(t)
	for _, tt := range []struct{ me, them, far netip.Addr }{
		{me4, them4, netip.MustParseAddr("203.0.113.9")},
		{me6, them6, netip.MustParseAddr("2001:db8:ffff::9")},
	} {
		port := mustReserve(t, c, tt.me, wire.ProtoUDP)
		b := udpPacket(tt.me, tt.far, port, 33434, payload(12, c.caps.Token))
		if tt.me.Is4() {
			b[8] = 1
			b = withChecksum(withOptions(b, 4))
		} else {
			b[7] = 1
		}
		mustSend(t, c, to(b))
		r := receive(t, c, 1)[0]
		m, err := parseICMP(r)
		if err != nil {
			t.Fatal(err)
		}
		q, err := m.Quote()
		if err != nil {
			t.Fatal(err)
		}
		exceeded := uint8(wire.TimeExceeded4)
		if m.V6() {
			exceeded = wire.TimeExceeded6
		}
		if r.From != tt.them || r.To != tt.me || r.TTL != 64 || q.Dst() != tt.far || m.Type() != exceeded {
			t.Errorf("%+v of type %d quoting %v, want time exceeded of %v about %v", r, m.Type(), q.Dst(), tt.them, tt.far)
		}
	}
}

// TestCachedPathMTU: a path MTU that another program met changes nothing for probes (T18).
func TestCachedPathMTU(t *testing.T) {
	p := newPair(t)
	c := rawConn(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			// An ordinary program's socket, and the error that teaches the kernel.
			u, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.me, 0)),
				net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.them, 9)))
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			port := uint16(u.LocalAddr().(*net.UDPAddr).Port)
			typ, code, proto := uint8(wire.Unreachable4), uint8(4), uint8(wire.ProtoICMP)
			if f.me.Is6() {
				typ, code, proto = wire.PacketTooBig6, 0, wire.ProtoICMPv6
			}
			quote := udpPacket(f.me, f.them, port, 9, payload(1400, 0))
			tooBig := ipPacket(f.them, f.me, proto, wire.AppendError(nil, f.them, f.me, typ, code, 1400, quote[:200], nil))
			var serr error
			p.in(t, p.far, func() {
				router, err := openRaw(Options{}, rcvBuf)
				if err != nil {
					serr = err
					return
				}
				defer router.Close()
				_, serr = router.Send([]Packet{to(tooBig)})
			})
			if serr != nil {
				t.Fatal(serr)
			}
			if mtu := socketMTU(t, u, f.me.Is6()); mtu != 1400 {
				t.Fatalf("the kernel believes in a path MTU of %d, want 1400: nothing to test", mtu)
			}
			for _, df := range []bool{false, true} {
				b := udpPacket(f.me, f.them, 40000, 33434, payload(1500-28, 1))
				if f.me.Is6() {
					b = udpPacket(f.me, f.them, 40000, 33434, payload(1500-48, 1))
				} else if df {
					b[6] = 0x40
					b = withChecksum(b)
				}
				given := bytes.Clone(b)
				capture := newTap(t, p.dev)
				mustSend(t, c, to(b))
				if got := capture.sent(); len(got) != 1 || !bytes.Equal(got[0], given) {
					t.Errorf("DF %v: %d packets left, want the one of 1500 bytes as given", df, len(got))
				}
			}
		})
	}
}

func socketMTU(t *testing.T, u *net.UDPConn, v6 bool) (mtu int) {
	t.Helper()
	level, opt := unix.SOL_IP, unix.IP_MTU
	if v6 {
		level, opt = unix.SOL_IPV6, unix.IPV6_MTU
	}
	sc, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := sc.Control(func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), level, opt) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return mtu
}

// TestForeign: another program's traffic on this host neither reaches nor wakes a Conn (T14, T23).
func TestForeign(t *testing.T) { eachKind(t, testForeign) }

func testForeign(t *testing.T, open func(testing.TB) *raw) {
	newPair(t)
	c := open(t)
	for _, f := range families {
		echoID(t, c, f.me)
		mustReserve(t, c, f.me, wire.ProtoUDP)
		mustReserve(t, c, f.me, wire.ProtoTCP)
	}
	done := make(chan error)
	go func() {
		_, err := c.Recv(make([]Reply, 8), time.Time{})
		done <- err
	}()
	other := open(t)
	for _, self := range []bool{true, false} {
		for _, f := range families {
			dst := f.them
			if self {
				dst = f.me
			}
			id, udp, tcp := echoID(t, other, f.me), mustReserve(t, other, f.me, wire.ProtoUDP), mustReserve(t, other, f.me, wire.ProtoTCP)
			for seq := range uint16(100) {
				mustSend(t, other,
					to(echoPacket(f.me, dst, false, id, seq, payload(12, other.caps.Token))),
					to(udpPacket(f.me, dst, udp, 33434, payload(12, other.caps.Token))), // port unreachable
					to(tcpPacket(f.me, dst, tcp, 9, wire.TCPFields{Seq: other.caps.Token << 16, Flags: wire.SYN})))
				// Both hosts have dealt with them when all three are answered.
				receive(t, other, 3)
			}
		}
	}
	c.Interrupt()
	if err := <-done; !errors.Is(err, ErrInterrupted) {
		t.Fatalf("Recv: %v, want %v", err, ErrInterrupted)
	}
	if c.wakes != 1 {
		t.Errorf("woke %d times, want once, for the interruption", c.wakes)
	}
	for _, r := range c.recv {
		if queued, _, drops, err := memInfo(r.fd); err != nil || queued != 0 || drops != 0 {
			t.Errorf("protocol %d, IPv6 %v: %d bytes queued, %d drops (%v), want none", r.proto, r.v6, queued, drops, err)
		}
	}
	wantRead(t, c)
}

// TestBeforeTheFilter: what comes to a raw socket before it has a filter is
// another's, and never handed out (T14).
func TestBeforeTheFilter(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		family, icmp := unix.AF_INET, unix.IPPROTO_ICMP
		if f.me.Is6() {
			family, icmp = unix.AF_INET6, unix.IPPROTO_ICMPV6
		}
		for _, proto := range []int{icmp, unix.IPPROTO_TCP} {
			p.run(t, fmt.Sprintf("%s protocol %d", f.name, proto), func(t *testing.T) {
				c, other := rawConn(t), rawConn(t)
				r, err := c.openReceiver(family, proto)
				if err != nil {
					t.Fatal(err)
				}
				id, port := echoID(t, other, f.me), mustReserve(t, other, f.me, wire.ProtoTCP)
				mustSend(t, other,
					to(echoPacket(f.me, f.me, false, id, 1, payload(12, other.caps.Token))),
					to(tcpPacket(f.me, f.me, port, 9, wire.TCPFields{Seq: other.caps.Token << 16, Flags: wire.SYN})))
				receive(t, other, 2)
				if queued, _, _, err := memInfo(r.fd); err != nil || queued == 0 {
					t.Fatalf("%d bytes queued (%v): nothing to test", queued, err)
				}
				if err := c.setupReceiver(r, rcvBuf); err != nil {
					t.Fatal(err)
				}
				if err := c.filter(r.v6); err != nil {
					t.Fatal(err)
				}
				c.watch()
				wantQuiet(t, c)
			})
		}
	}
}

// TestUDPAnswer: the answer of a live UDP server is a reply, and the kernel does not refuse it (T23).
func TestUDPAnswer(t *testing.T) { eachKind(t, testUDPAnswer) }

func testUDPAnswer(t *testing.T, open func(testing.TB) *raw) {
	p := newPair(t)
	c := open(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			var server *net.UDPConn
			var err error
			p.in(t, p.far, func() {
				server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.them, 5353)))
			})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			port := mustReserve(t, c, f.me, wire.ProtoUDP)
			ps := mustSend(t, c, to(udpPacket(f.me, f.them, port, 5353, payload(12, c.caps.Token))))
			server.SetDeadline(time.Now().Add(patience))
			n, from, err := server.ReadFromUDPAddrPort(make([]byte, 100))
			if err != nil || n != 12 {
				t.Fatal(n, err)
			}
			if _, err := server.WriteToUDPAddrPort([]byte("hello"), from); err != nil {
				t.Fatal(err)
			}
			r := receive(t, c, 1)[0]
			u, err := wire.ParseUDP(r.Data)
			if err != nil {
				t.Fatal(err)
			}
			if r.Proto != wire.ProtoUDP || r.From != f.them || r.To != f.me || r.TTL != 64 || !r.Kernel || r.At.Before(ps[0].Sent) {
				t.Errorf("%+v", r)
			}
			if u.Src() != 5353 || u.Dst() != port || u.Length() != 13 || string(u.Payload()) != "hello" {
				t.Errorf("from port %d to %d, %d bytes: %q", u.Src(), u.Dst(), u.Length(), u.Payload())
			}
			// The server would have got an error by now if our kernel had sent one.
			if _, err := server.WriteToUDPAddrPort(nil, from); err != nil {
				t.Error(err)
			}
			if r := receive(t, c, 1)[0]; len(r.Data) != 8 {
				t.Errorf("an empty answer has %d bytes with its header, want 8", len(r.Data))
			}
		})
	}
}

// TestTCPAnswer: an open port answers with SYN-ACK, a closed one with RST, and
// the RST with which our kernel closes what was half opened is no answer (T05,
// T23).
func TestTCPAnswer(t *testing.T) { eachKind(t, testTCPAnswer) }

func testTCPAnswer(t *testing.T, open func(testing.TB) *raw) {
	p := newPair(t)
	c := open(t)
	for _, f := range families {
		for _, self := range []bool{false, true} {
			p.run(t, fmt.Sprintf("%s self %v", f.name, self), func(t *testing.T) {
				host, them := p.far, f.them
				if self {
					host, them = p.near, f.me
				}
				var server net.Listener
				var err error
				p.in(t, host, func() { server, err = net.Listen("tcp", netip.AddrPortFrom(them, 80).String()) })
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				port := mustReserve(t, c, f.me, wire.ProtoTCP)
				seq := c.caps.Token<<16 | 0xffff
				probe := func(dst uint16, flags uint8) wire.TCP {
					t.Helper()
					mustSend(t, c, to(tcpPacket(f.me, them, port, dst, wire.TCPFields{Seq: seq, Ack: seq, Flags: flags, Window: 1024})))
					r := receive(t, c, 1)[0]
					s, err := wire.ParseTCP(r.Data)
					if err != nil {
						t.Fatal(err)
					}
					if r.From != them || r.To != f.me || r.Proto != wire.ProtoTCP || s.Dst() != port || s.Src() != dst || !r.Kernel || r.TTL != 64 {
						t.Errorf("%+v from port %d to %d", r, s.Src(), s.Dst())
					}
					return s
				}
				if s := probe(80, wire.SYN); s.Flags() != wire.SYN|wire.ACK || s.Ack() != seq+1 {
					t.Errorf("open port: flags %#x, acknowledges %#x", s.Flags(), s.Ack())
				}
				if s := probe(81, wire.SYN); s.Flags() != wire.RST|wire.ACK || s.Ack() != seq+1 {
					t.Errorf("closed port: flags %#x, acknowledges %#x", s.Flags(), s.Ack())
				}
				if s := probe(81, wire.ACK); s.Flags() != wire.RST || s.Seq() != seq {
					t.Errorf("closed port and ACK: flags %#x, sequence number %#x", s.Flags(), s.Seq())
				}
				wantQuiet(t, c)
			})
		}
	}
}

// TestSendErrors: each cause has its name (T62), nothing but that packet is
// concerned, and the stamps of later packets are still their own.
func TestSendErrors(t *testing.T) {
	p := newPair(t)
	route(t, "198.51.100.0/28", unix.RTN_UNREACHABLE, "", netip.Addr{})
	route(t, "198.51.100.16/28", unix.RTN_PROHIBIT, "", netip.Addr{})
	route(t, "198.51.100.32/28", unix.RTN_BLACKHOLE, "", netip.Addr{})
	route(t, "2001:db8:1::/64", unix.RTN_UNREACHABLE, "", netip.Addr{})
	route(t, "2001:db8:2::/64", unix.RTN_PROHIBIT, "", netip.Addr{})
	route(t, "2001:db8:3::/64", unix.RTN_BLACKHOLE, "", netip.Addr{})
	dropUDPPort(t, 7777)
	udp := func(dst string, port uint16, size int) Packet {
		a := netip.MustParseAddr(dst)
		me := me4
		if a.Is6() {
			me = me6
		}
		return to(udpPacket(me, a, 40000, port, payload(size, 1)))
	}
	other := udp("10.0.0.2", 33434, 12)
	other.Dst = netip.MustParseAddr("10.0.0.3")
	zoned := udp("fe80::1", 33434, 12)
	zoned.Dst = zoned.Dst.WithZone("nowhere")
	tests := []struct {
		name   string
		packet Packet
		want   string
	}{
		{"unreachable", udp("198.51.100.1", 33434, 12), "EHOSTUNREACH"},
		{"prohibit", udp("198.51.100.17", 33434, 12), "EACCES"},
		{"blackhole", udp("198.51.100.33", 33434, 12), "EINVAL"},
		{"no route", udp("192.0.2.1", 33434, 12), "ENETUNREACH"},
		{"broadcast", udp("10.0.0.255", 33434, 12), "EACCES"},
		{"too big", udp("10.0.0.2", 33434, 1500), "EMSGSIZE"},
		{"netfilter", udp("10.0.0.2", 7777, 12), "EPERM"},
		{"IPv6 unreachable", udp("2001:db8:1::1", 33434, 12), "EHOSTUNREACH"},
		{"IPv6 prohibit", udp("2001:db8:2::1", 33434, 12), "EACCES"},
		{"IPv6 blackhole", udp("2001:db8:3::1", 33434, 12), "EINVAL"},
		{"IPv6 no route", udp("2001:db8:4::1", 33434, 12), "ENETUNREACH"},
		{"IPv6 too big", udp("fd00::2", 33434, 1500), "EMSGSIZE"},
		{"IPv6 netfilter", udp("fd00::2", 7777, 12), "EPERM"},
		{"zone that is no interface", zoned, "ENODEV"},
		{"header to another address", other, "EINVAL"},
	}
	for _, tt := range tests {
		p.run(t, tt.name, func(t *testing.T) {
			c := rawConn(t)
			good := "10.0.0.2"
			if tt.packet.Dst.Is6() {
				good = "fd00::2"
			}
			ps := []Packet{udp(good, 33434, 12), udp(good, 33434, 12), tt.packet, udp(good, 33434, 12), udp(good, 33434, 12)}
			n, err := c.Send(ps)
			var se *SendError
			if n != 2 || !errors.As(err, &se) || se.Name != tt.want || se.Dst != tt.packet.Dst || errors.Is(err, ErrFull) {
				t.Fatalf("%d left, %v (%+v), want 2 and %s to %v", n, err, se, tt.want, tt.packet.Dst)
			}
			before := c.Now()
			if n, err := c.Send(ps[3:]); n != 2 || err != nil {
				t.Fatal(n, err)
			}
			after := c.Now()
			for i, n := range map[int]uint64{0: 0, 1: 1, 3: 2, 4: 3} {
				if p := ps[i]; p.N != n || !p.Kernel {
					t.Errorf("packet %d: number %d, kernel %v, want number %d with the kernel's stamp", i, p.N, p.Kernel, n)
				}
			}
			if ps[3].Sent.Before(before) || ps[4].Sent.Before(ps[3].Sent) || ps[4].Sent.After(after) || ps[1].Sent.After(before) {
				t.Error("a packet after the error has another's stamp")
			}
			if k := c.Stamps(make([]Stamp, 10)); k != 0 {
				t.Errorf("%d late stamps", k)
			}
			// The error queue holds nothing that would make Recv spin.
			if _, err := c.Recv(make([]Reply, 1), c.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Recv: %v", err)
			}
			if c.wakes != 1 {
				t.Errorf("woke %d times", c.wakes)
			}
		})
	}
}

// dropUDPPort makes netfilter drop what leaves this host for that UDP port.
func dropUDPPort(t *testing.T, port uint16) {
	t.Helper()
	nft, err := nftables.New()
	if err != nil {
		t.Fatal("nftables:", err)
	}
	table := nft.AddTable(&nftables.Table{Name: "test", Family: nftables.TableFamilyINet})
	chain := nft.AddChain(&nftables.Chain{
		Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{wire.ProtoUDP}}, // of ICMP it would be the checksum
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := nft.Flush(); err != nil {
		t.Fatal("nftables:", err)
	}
}

// TestDrops: of answers that do not fit the buffer, each is counted (T46).
func TestDrops(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			c := rawConnWith(t, 4096)
			id := echoID(t, c, f.me)
			const many = 300
			var ps []Packet
			for seq := range uint16(many) {
				// Not to itself: while the buffer is full this kernel counts the requests too.
				ps = append(ps, to(echoPacket(f.me, f.them, false, id, seq, payload(12, 0))))
			}
			mustSend(t, c, ps...)
			got := uint64(0)
			rs := make([]Reply, 8)
			for until := time.Now().Add(patience); time.Now().Before(until); {
				n, err := c.Recv(rs, c.Now())
				got += uint64(n)
				if errors.Is(err, os.ErrDeadlineExceeded) && got+c.Stats().Drops >= many {
					break
				}
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
			}
			s := c.Stats()
			if got == 0 || s.Drops == 0 || got+s.Drops != many {
				t.Errorf("%d received, %d dropped, want %d together", got, s.Drops, many)
			}
			if again := c.Stats(); again != s {
				t.Errorf("asked again: %+v, was %+v", again, s)
			}
		})
	}
}

// TestClockSet: stamps from around a moment when the wall clock was set are
// not used, however little it was set by (T53).
func TestClockSet(t *testing.T) {
	newPair(t)
	for _, step := range []time.Duration{-time.Hour, -time.Millisecond, time.Millisecond, time.Hour} {
		for _, when := range []string{"sending", "receiving"} {
			c := rawConn(t)
			id := echoID(t, c, me4)
			set, reads := time.Duration(0), 0
			c.clock.now = func() reading {
				r := readClocks()
				if reads++; reads > 1 && when == "sending" {
					set = step // after the time before the send is taken
				}
				r.wall += int64(set)
				return r
			}
			p := mustSend(t, c, to(echoPacket(me4, me4, false, id, 1, nil)))[0]
			if when == "receiving" {
				set = step
			}
			if kernel := when == "receiving"; p.Kernel != kernel {
				t.Errorf("set by %v while %s: sent by the kernel's clock %v", step, when, p.Kernel)
			}
			if when == "sending" {
				continue
			}
			r := receive(t, c, 1)[0]
			if r.Kernel || r.At.Before(p.Sent) || r.At.After(c.Now()) {
				t.Errorf("set by %v while %s: answer after %v, by the kernel's clock %v", step, when, r.At.Sub(p.Sent), r.Kernel)
			}
			if n := c.Stats().ClockSteps; n != 1 {
				t.Errorf("set by %v while %s: %d steps counted", step, when, n)
			}
		}
	}
}

// slow makes the near device send no faster than rate bytes per second, at
// most burst at once, and keep no more than room bytes waiting.
func slow(t *testing.T, p *pair, rate uint64, burst, room uint32) {
	t.Helper()
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: p.dev.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate, Buffer: uint32(float64(burst) / float64(rate) * 1e9 / 64), Limit: room,
	}
	if err := netlink.QdiscReplace(q); err != nil {
		t.Fatal("add tbf:", err)
	}
	t.Cleanup(func() {
		p.enter(t)
		if err := netlink.QdiscDel(q); err != nil {
			t.Error("remove tbf:", err)
		}
	})
}

// TestLateStamp: a packet that waits in the device's queue has a send time of
// our own first and the kernel's later, and asking for that does not end a
// Recv (T52).
func TestLateStamp(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			c := rawConn(t)
			id := echoID(t, c, f.me)
			slow(t, p, 20000, 200, 10000) // 100 bytes take 5 ms
			var ps []Packet
			for seq := range uint16(5) {
				ps = append(ps, to(echoPacket(f.me, f.them, false, id, seq, payload(60, 0))))
			}
			mustSend(t, c, ps...)
			sent := make(map[uint64]time.Time)
			for _, p := range ps {
				if p.Kernel {
					sent[p.N] = p.Sent
				}
			}
			if len(sent) == len(ps) {
				t.Fatal("all packets left at once: nothing to test")
			}
			for seq, r := range receive(t, c, len(ps)) {
				ss := make([]Stamp, 2)
				for n := c.Stamps(ss); n > 0; n = c.Stamps(ss) {
					for _, s := range ss[:n] {
						if p := ps[s.N]; p.Kernel || s.Sent.Before(p.Sent) {
							t.Errorf("packet %d: late stamp %v after the first one", s.N, s.Sent.Sub(p.Sent))
						}
						sent[s.N] = s.Sent
					}
				}
				at, ok := sent[uint64(seq)]
				if !ok {
					t.Errorf("the answer to packet %d is here before its send time", seq)
				}
				if rtt := r.At.Sub(at); rtt < 0 {
					t.Errorf("packet %d: answered %v after it left", seq, rtt)
				}
			}
			if len(sent) != len(ps) {
				t.Errorf("%d packets have a send time, want %d", len(sent), len(ps))
			}
		})
	}
}

// TestFull: a packet that the device's queue throws away is said not to have left (T62).
func TestFull(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			c := rawConn(t)
			slow(t, p, 2000, 200, 300)
			var ps []Packet
			for range 10 {
				ps = append(ps, to(udpPacket(f.me, f.them, 40000, 33434, payload(52, 1))))
			}
			capture := newTap(t, p.dev)
			n, err := c.Send(ps)
			var se *SendError
			if n == 0 || n == len(ps) || !errors.As(err, &se) || !errors.Is(err, ErrFull) || se.Name != "ENOBUFS" {
				t.Errorf("%d left, %v, want some and ENOBUFS", n, err)
			}
			if got := len(capture.sent()); got > n {
				t.Errorf("%d packets left, Send says %d", got, n)
			}
		})
	}
}

// TestNoDrops: packets with a wrong checksum, and those the filter refuses,
// are not lost for want of buffer, though the kernel counts some of them so.
func TestNoDrops(t *testing.T) {
	p := newPair(t)
	c := rawConn(t)
	id := echoID(t, c, me6)
	wrong := echoPacket(them6, me6, true, id+1, 1, payload(12, 0))
	wrong[42]++
	syn := tcpPacket(them6, me6, 80, 81, wire.TCPFields{Flags: wire.SYN})
	syn[40+16]++
	p.in(t, p.far, func() {
		other, err := openRaw(Options{}, rcvBuf)
		if err != nil {
			t.Error(err)
			return
		}
		defer other.Close()
		for range 40 {
			if _, err := other.Send([]Packet{to(wrong), to(syn), to(udpPacket(them6, me6, 1, 1, nil))}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	mustSend(t, c, to(echoPacket(me6, them6, false, id, 1, nil)))
	receive(t, c, 1)
	var kernel uint32
	for _, r := range c.recv {
		_, _, drops, _ := memInfo(r.fd)
		kernel += drops
	}
	if kernel == 0 {
		t.Log("this kernel counts no packet with a wrong checksum as dropped")
	}
	if s := c.Stats(); s.Drops != 0 || s.Malformed != 0 {
		t.Errorf("%+v, want no drops (the kernel says %d)", s, kernel)
	}
}

// TestTruncated: a packet that is not all there is counted and not handed out.
func TestTruncated(t *testing.T) {
	newPair(t)
	c := rawConn(t)
	id := echoID(t, c, me4)
	c.in = newInbox(batch, 40)
	mustSend(t, c,
		to(echoPacket(me4, me4, false, id, 1, payload(13, 0))), // 41 bytes with its header
		to(echoPacket(me4, me4, false, id, 2, payload(12, 0))))
	m, err := parseICMP(receive(t, c, 1)[0])
	if err != nil || m.Seq() != 2 {
		t.Errorf("answer %d, %v, want the second", m.Seq(), err)
	}
	if s := c.Stats(); s.Malformed != 1 || s.Drops != 0 {
		t.Errorf("%+v, want one malformed", s)
	}
}

func TestLossMeter(t *testing.T) {
	const few = 3 * biggest
	read := func(n int, empty bool) func(*lossMeter) { return func(l *lossMeter) { l.read(n, empty) } }
	kernel := func(queued, drops uint32) func(*lossMeter) { return func(l *lossMeter) { l.add(queued, drops) } }
	tests := []struct {
		name string
		do   []func(*lossMeter)
		want uint64
	}{
		{"nothing", []func(*lossMeter){kernel(0, 0)}, 0},
		{"the queue was never near full", []func(*lossMeter){read(2, true), kernel(0, 5)}, 0},
		{"nor twice together", []func(*lossMeter){read(2, true), read(2, true), kernel(0, 5)}, 0},
		{"it may have been full", []func(*lossMeter){read(3, true), kernel(0, 5)}, 5},
		{"read in two goes", []func(*lossMeter){read(2, false), read(1, true), kernel(0, 5)}, 5},
		{"it still is", []func(*lossMeter){kernel(few, 5)}, 5},
		{"partly read", []func(*lossMeter){read(2, false), kernel(biggest, 5)}, 5},
		{"asked again", []func(*lossMeter){read(3, true), kernel(0, 5), kernel(0, 5)}, 5},
		{"full once and not again", []func(*lossMeter){read(3, true), kernel(0, 5), read(1, true), kernel(0, 9)}, 5},
		{"full twice", []func(*lossMeter){read(3, true), kernel(0, 5), read(9, true), kernel(0, 9)}, 9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := lossMeter{room: few}
			for _, f := range tt.do {
				f(&l)
			}
			if l.total != tt.want {
				t.Errorf("%d lost, want %d", l.total, tt.want)
			}
		})
	}
	l := lossMeter{room: few, last: 1<<32 - 3}
	if l.add(few, 4); l.total != 7 {
		t.Errorf("%d lost across the counter's wrap, want 7", l.total)
	}
}

func TestInterrupt(t *testing.T) {
	newPair(t)
	c := rawConn(t)
	done := make(chan error)
	go func() {
		_, err := c.Recv(make([]Reply, 1), time.Time{})
		done <- err
	}()
	c.Interrupt()
	if err := <-done; err != ErrInterrupted {
		t.Errorf("Recv: %v, want %v", err, ErrInterrupted)
	}
	c.Interrupt()
	for range 2 {
		if _, err := c.Recv(make([]Reply, 1), time.Time{}); err != ErrInterrupted {
			t.Errorf("a later Recv: %v, want %v", err, ErrInterrupted)
		}
	}
}

// TestInterruptWithReplies: what had arrived by then is handed out all the same.
func TestInterruptWithReplies(t *testing.T) { eachKind(t, testInterruptWithReplies) }

func testInterruptWithReplies(t *testing.T, open func(testing.TB) *raw) {
	newPair(t)
	c := open(t)
	id := echoID(t, c, me4)
	for seq := range uint16(5) {
		mustSend(t, c, to(echoPacket(me4, me4, false, id, seq, payload(12, 0))))
	}
	c.Interrupt()
	rs := make([]Reply, 3)
	for i, want := range []int{3, 2, 0} {
		if n, err := c.Recv(rs, time.Time{}); n != want || err != ErrInterrupted {
			t.Errorf("Recv %d: %d replies, %v, want %d and %v", i+1, n, err, want, ErrInterrupted)
		}
	}
	if n, err := c.Recv(nil, time.Time{}); n != 0 || err != ErrInterrupted {
		t.Errorf("without room: %d replies, %v, want %v", n, err, ErrInterrupted)
	}
}

func TestClose(t *testing.T) { eachKind(t, testClose) }

func testClose(t *testing.T, open func(testing.TB) *raw) {
	newPair(t)
	before := descriptors(t)
	c := open(t)
	mustReserve(t, c, me4, wire.ProtoUDP)
	done := make(chan error)
	go func() {
		_, err := c.Recv(make([]Reply, 1), time.Time{})
		done <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrInterrupted) && !errors.Is(err, os.ErrClosed) {
		t.Errorf("Recv: %v, want that it is closed", err)
	}
	if open := kept(t, before); len(open) > 0 {
		t.Errorf("still open: %v", open)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	c.Interrupt()
	c.Release(me4, wire.ProtoUDP, 1)
	c.Stats()
	if _, err := c.Recv(make([]Reply, 1), time.Time{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Recv: %v, want %v", err, os.ErrClosed)
	}
	if _, err := c.Reserve(me4, wire.ProtoUDP, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Reserve: %v, want %v", err, os.ErrClosed)
	}
	var se *SendError
	if _, err := c.Send([]Packet{to(udpPacket(me4, them4, 1, 1, nil))}); !errors.As(err, &se) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Send: %v, want a SendError of %v", err, os.ErrClosed)
	}
}

// descriptors counts those that are open, by what they are of.
func descriptors(t *testing.T) map[string]int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Fatal("no descriptors found:", err)
	}
	of := make(map[string]int)
	for _, fd := range fds {
		if what, err := os.Readlink(fd); err == nil { // else it was of the search
			of[what]++
		}
	}
	return of
}

// kept are those open that were not. What an earlier test had, and what the runtime closes for it now, is not.
func kept(t *testing.T, before map[string]int) (what []string) {
	t.Helper()
	for of, n := range descriptors(t) {
		if n > before[of] {
			what = append(what, of)
		}
	}
	return what
}

func TestReserve(t *testing.T) {
	newPair(t)
	c := rawConn(t)
	before := descriptors(t)
	for range 100 {
		for _, f := range families {
			for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoTCP} {
				c.Release(f.me, proto, mustReserve(t, c, f.me, proto))
			}
		}
		c.Release(me4, wire.ProtoICMP, mustReserve(t, c, me4, wire.ProtoICMP))
		c.Release(me6, wire.ProtoICMPv6, mustReserve(t, c, me6, wire.ProtoICMPv6))
	}
	if open := kept(t, before); len(open) > 0 {
		t.Errorf("all was given back, but for %v", open)
	}
	if len(c.recv) != 4 || len(c.poll) != c.firstReceiver+4 || len(c.want4.udp)+len(c.want6.tcp)+len(c.want4.echo) != 0 {
		t.Errorf("%d receivers, %d polled, wanted %+v", len(c.recv), len(c.poll), c.want4)
	}
	for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoICMP} {
		seen := make(map[uint16]bool)
		for range maxReserved {
			port := mustReserve(t, c, me4, proto)
			if seen[port] || port == 0 || proto == wire.ProtoUDP && port < 32768 {
				t.Fatalf("protocol %d: port %d", proto, port)
			}
			seen[port] = true
		}
		if port, err := c.Reserve(me4, proto, 0); err == nil {
			t.Errorf("protocol %d: port %d is one too many", proto, port)
		}
	}
	// A reserved port is nobody else's, for either protocol.
	at := netip.AddrPortFrom(me4, c.reserved[0].port)
	if u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err == nil {
		u.Close()
		t.Errorf("UDP port %v could be had twice", at)
	}
	if l, err := net.Listen("tcp", at.String()); err == nil {
		l.Close()
		t.Errorf("TCP port %v could be had twice", at)
	}
	for _, bad := range []struct {
		src   netip.Addr
		proto uint8
	}{{me4, wire.ProtoICMPv6}, {me6, wire.ProtoICMP}, {me4, 99}, {netip.Addr{}, wire.ProtoUDP}, {netip.IPv4Unspecified(), wire.ProtoUDP}, {them4, wire.ProtoUDP}} {
		if port, err := c.Reserve(bad.src, bad.proto, 0); err == nil {
			t.Errorf("protocol %d of %v gives port %d", bad.proto, bad.src, port)
		}
	}
}

// TestRelease: an answer to a port given back is not heard.
func TestRelease(t *testing.T) { eachKind(t, testRelease) }

func testRelease(t *testing.T, open func(testing.TB) *raw) {
	newPair(t)
	c := open(t)
	for _, f := range families {
		gone, kept := mustReserve(t, c, f.me, wire.ProtoUDP), mustReserve(t, c, f.me, wire.ProtoUDP)
		c.Release(f.me, wire.ProtoUDP, gone)
		mustSend(t, c,
			to(udpPacket(f.me, f.them, gone, 33434, nil)),
			to(udpPacket(f.me, f.them, kept, 33434, nil)))
		m, err := parseICMP(receive(t, c, 1)[0])
		if err != nil {
			t.Fatal(err)
		}
		q, err := m.Quote()
		if err != nil {
			t.Fatal(err)
		}
		if u, err := wire.ParseUDP(q.Transport()); err != nil || u.Src() != kept {
			t.Errorf("an answer to port %d (%v), want %d", u.Src(), err, kept)
		}
		wantQuiet(t, c)
	}
}

// TestEchoIDs: no two Conns on a host have an identifier in common (T03), whoever is on another host.
func TestEchoIDs(t *testing.T) {
	p := newPair(t)
	c := rawConn(t)
	id := mustReserve(t, c, me4, wire.ProtoICMP)
	if fd, err := holdName(wire.ProtoICMP, id); err != unix.EADDRINUSE {
		unix.Close(fd)
		t.Errorf("identifier %d, taken: %v, want %v", id, err, unix.EADDRINUSE)
	}
	p.in(t, p.far, func() {
		fd, err := holdName(wire.ProtoICMP, id)
		if err != nil {
			t.Errorf("identifier %d on another host: %v", id, err)
		}
		unix.Close(fd)
	})
	c.Release(me4, wire.ProtoICMP, id)
	fd, err := holdName(wire.ProtoICMP, id)
	if err != nil {
		t.Errorf("identifier %d, given back: %v", id, err)
	}
	unix.Close(fd)
}

// TestLinkLocal: link-local addresses work and keep their zone (T31).
func TestLinkLocal(t *testing.T) {
	newPair(t)
	c := rawConn(t)
	me, them := meLocal.WithZone("near"), themLocal.WithZone("near")
	// Without its zone the address is on the wrong device.
	wrong := &netlink.Route{Dst: &net.IPNet{IP: net.ParseIP("fe80::"), Mask: net.CIDRMask(64, 128)}, LinkIndex: 1, Priority: 1}
	if err := netlink.RouteAdd(wrong); err != nil {
		t.Fatal(err)
	}
	defer netlink.RouteDel(wrong)
	id := mustReserve(t, c, me, wire.ProtoICMPv6)
	ps := mustSend(t, c, Packet{Dst: them, Data: echoPacket(meLocal, themLocal, false, id, 1, nil)})
	r := receive(t, c, 1)[0]
	if r.From != them || r.To != me || r.At.Before(ps[0].Sent) {
		t.Errorf("from %v to %v, want %v to %v", r.From, r.To, them, me)
	}
	port := mustReserve(t, c, me, wire.ProtoUDP)
	mustSend(t, c, Packet{Dst: them, Data: udpPacket(meLocal, themLocal, port, 33434, nil)})
	if r := receive(t, c, 1)[0]; r.From != them {
		t.Errorf("from %v, want %v", r.From, them)
	}
	for a, want := range map[netip.Addr]bool{
		me: true, them: false, meLocal: false, me4: true, me6: true, them4: false, them6: false,
		netip.MustParseAddr("127.0.0.7"): true, netip.IPv6Loopback(): true, netip.MustParseAddr("::ffff:10.0.0.1"): true,
	} {
		if got := c.Local(a); got != want {
			t.Errorf("Local(%v) = %v, want %v", a, got, want)
		}
	}
}

// TestLocalRefreshed: an address is known when the kernel says that it is there,
// and not a moment longer than it is; where the kernel does not tell, changes are seen
// when the list has got old.
func TestLocalRefreshed(t *testing.T) {
	p := newPair(t)
	r := rawConn(t)
	u, err := openUnprivileged(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, told := range []bool{true, false} {
		for _, c := range []struct {
			Conn
			local *localAddrs
		}{{r, &r.local}, {u, &u.(*unprivileged).local}} {
			if !told {
				c.local.close()
			}
			for _, a := range []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:1::1")} {
				want := func(is bool) {
					t.Helper()
					if !told {
						c.local.read = c.local.read.Add(-2 * localMaxAge)
					}
					if c.Local(a) != is {
						t.Errorf("%T, told %v: Local(%v) is %v", c.Conn, told, a, !is)
					}
				}
				want(false)
				remove := addAddr(t, p.dev, a)
				if told { // of an IPv6 address a little later, when it can be used
					fds := []unix.PollFd{{Fd: int32(c.local.changes), Events: unix.POLLIN}}
					if n, err := poll(fds, time.Now().Add(patience)); n != 1 {
						t.Fatalf("nobody tells that %v was added: %v", a, err)
					}
				}
				want(true)
				remove()
				want(false)
			}
		}
	}
}

// TestOpen opens what the thread's capabilities allow.
func TestOpen(t *testing.T) {
	p := newPair(t)
	const netRaw = uint64(1) << unix.CAP_NET_RAW
	for _, tt := range []struct {
		name   string
		caps   *capSets
		o      Options
		socket string
	}{
		{"root", nil, Options{}, "raw"},
		{"permitted only", &capSets{permitted: netRaw}, Options{}, "raw"},
		{"no privilege", &capSets{}, Options{}, "unprivileged"},
		{"not asked for", nil, Options{Unprivileged: true}, "unprivileged"},
	} {
		p.run(t, tt.name, func(t *testing.T) {
			if tt.caps != nil { // of this thread, which ends with the test
				if err := setThreadCaps(*tt.caps); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Open(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			caps := c.Caps()
			if caps.Socket != tt.socket || !caps.IPv4 || !caps.IPv6 || caps.Token&0xffff == 0 {
				t.Errorf("%+v, want %s sockets", caps, tt.socket)
			}
			if tt.socket == "raw" && !(caps.Header && caps.TCP && caps.RxStamp && caps.TxStamp) {
				t.Errorf("%+v, want all that raw sockets can do", caps)
			}
			if now, err := threadCaps(); err != nil || tt.caps != nil && now != *tt.caps {
				t.Errorf("the thread has %+v (%v) afterwards, want %+v", now, err, *tt.caps)
			}
		})
	}
	// The sockets themselves say why it was not the raw ones.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := setThreadCaps(capSets{}); err != nil {
			done <- err
			return
		}
		_, err := openRaw(Options{}, rcvBuf)
		done <- err
	}()
	if err := <-done; !errors.Is(err, ErrPrivilege) {
		t.Errorf("without privilege: %v, want %v", err, ErrPrivilege)
	}
}

// TestBuffer: root gets 4 MiB whatever net.core.rmem_max says (T45). The
// kernel doubles that, for what it counts beside the data (socket(7)).
func TestBuffer(t *testing.T) {
	newPair(t)
	c := rawConn(t)
	mustReserve(t, c, me4, wire.ProtoUDP)
	for _, r := range c.recv {
		size, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		if err != nil || size != 8<<20 {
			t.Errorf("protocol %d, IPv6 %v: %d bytes (%v), want twice 4 MiB", r.proto, r.v6, size, err)
		}
	}
}

// TestReadsAll: a few waits are enough for all that is there, as large as packets are (T47, T39).
func TestReadsAll(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			c, other := rawConn(t), rawConn(t)
			id, otherID := echoID(t, c, f.me), echoID(t, other, f.me)
			size := 1500 - 28
			if f.me.Is6() {
				size = 1500 - 48
			}
			const many = 40
			want := make(map[uint16][]byte)
			for seq := range uint16(many) {
				want[seq] = payload(size, c.caps.Token+uint32(seq))
				mustSend(t, c, to(echoPacket(f.me, f.them, false, id, seq, want[seq])))
			}
			// When this is answered they all are.
			mustSend(t, other, to(echoPacket(f.me, f.them, false, otherID, 1, payload(12, other.caps.Token))))
			receive(t, other, 1)
			wakes := c.wakes
			rs := receive(t, c, many)
			if turns := c.wakes - wakes; turns > 5 { // receive has room for 32 at a time, and a CPU may lag behind
				t.Errorf("%d answers that were there in %d turns, want a few", many, turns)
			}
			for _, r := range rs {
				m, err := parseICMP(r)
				if err != nil || !bytes.Equal(m.Payload(), want[m.Seq()]) {
					t.Errorf("answer %d with %d bytes (%v), want the %d that were sent", m.Seq(), len(m.Payload()), err, size)
				}
			}
		})
	}
}

// TestBurst: 2000 small answers wait for whoever is slow to read them (T45).
func TestBurst(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			c, other := rawConn(t), rawConn(t)
			id, otherID := echoID(t, c, f.me), echoID(t, other, f.me)
			const many = 2000
			for seq := range uint16(many) {
				mustSend(t, c, to(echoPacket(f.me, f.them, false, id, seq, payload(12, c.caps.Token))))
				if seq%100 == 99 {
					// The devices have a queue too, which this is no test of.
					mustSend(t, other, to(echoPacket(f.me, f.them, false, otherID, seq, payload(12, other.caps.Token))))
					receive(t, other, 1)
				}
			}
			if s := c.Stats(); s.Drops != 0 {
				t.Fatalf("%d of %d answers lost", s.Drops, many)
			}
			seen := make(map[uint16]bool)
			for _, r := range receive(t, c, many) {
				m, err := parseICMP(r)
				if err != nil {
					t.Fatal(err)
				}
				seen[m.Seq()] = true
			}
			if len(seen) != many {
				t.Errorf("%d different answers, want %d", len(seen), many)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	good4, good6 := udpPacket(me4, them4, 40000, 33434, payload(12, 1)), udpPacket(me6, them6, 40000, 33434, payload(12, 1))
	change := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		if b[0] == 0x45 && at != 10 {
			b = withChecksum(b)
		}
		return b
	}
	tests := []struct {
		name string
		dst  netip.Addr
		data []byte
		ok   bool
	}{
		{"IPv4", them4, good4, true},
		{"IPv4 with options", them4, withChecksum(withOptions(good4, 8)), true},
		{"IPv4 to another", me4, good4, false},
		{"IPv4 as IPv6", netip.MustParseAddr("::ffff:10.0.0.2"), good4, false},
		{"IPv4 source 0", them4, change(good4, 12, 0, 0, 0, 0), false},
		{"IPv4 identification 0", them4, change(good4, 4, 0, 0), false},
		{"IPv4 length short", them4, change(good4, 2, 0, 20), false},
		{"IPv4 length long", them4, change(good4, 2, 1, 0), false},
		{"IPv4 checksum", them4, change(good4, 10, 0, 0), false},
		{"IPv4 header length 4", them4, change(good4, 0, 0x44), false},
		{"IPv4 header longer than all", them4, change(good4, 0, 0x4f)[:40], false},
		{"IPv6", them6, good6, true},
		{"IPv6 with a zone", them6.WithZone("eth0"), good6, true},
		{"IPv6 to another", me6, good6, false},
		{"IPv6 source ::", them6, change(good6, 8, make([]byte, 16)...), false},
		{"IPv6 length", them6, change(good6, 4, 0, 0), false},
		{"short", them4, good4[:19], false},
		{"empty", them4, nil, false},
		{"version 5", them4, change(good4, 0, 0x55), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := check(&Packet{Dst: tt.dst, Data: tt.data})
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, errIncomplete) {
				t.Errorf("%v, want accepted %v", err, tt.ok)
			}
		})
	}
}

// TestLoopbackSource: an address of this host alone is no source of what leaves it, whoever a packet is for in the end. Where
// it stays, it is.
func TestLoopbackSource(t *testing.T) {
	p := newPair(t)
	any4, any6 := netip.MustParseAddr("127.9.9.9"), netip.MustParseAddr("::1")
	all := netip.MustParseAddr("ff02::1")
	lo4 := netip.MustParseAddr("127.0.0.1")
	for _, tt := range []struct {
		name     string
		device   string
		src, dst netip.Addr // the next address: the header's
		ok       bool
	}{
		{"loopback", "", any4, lo4, true},
		{"loopback, IPv6", "", any6, any6, true},
		{"own", "", any4, me4, true},
		{"own, IPv6", "", any6, me6, true},
		{"own link-local", "", any6, meLocal.WithZone("near"), true},
		{"own address to another", "", me4, them4, true},
		{"another", "", any4, them4, false},
		{"another, IPv6", "", any6, them6, false},
		{"another, link-local", "", any6, themLocal.WithZone("near"), false},
		{"all on a link", "", any6, all.WithZone("near"), false},
		{"multicast", "", any4, netip.MustParseAddr("224.0.0.1"), false},
		{"broadcast", "", any4, netip.MustParseAddr("255.255.255.255"), false},
		{"loopback, by a device", "near", any4, lo4, false}, // it would leave by that
		{"loopback, by a device, IPv6", "near", any6, any6, false},
		{"by the loopback device", "lo", any4, lo4, true},
		{"all on the loopback device", "lo", any4, netip.MustParseAddr("224.0.0.1"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runtime.LockOSThread() // as in newPair
			p.enter(t)
			c := rawConn(t)
			if err := c.Set(Settings{Device: tt.device, Broadcast: true}); err != nil {
				t.Fatal(err)
			}
			q := Packet{Dst: tt.dst, Data: echoPacket(tt.src, tt.dst.WithZone(""), false, 1, 1, payload(12, 1))}
			n, err := c.Send([]Packet{q})
			if tt.ok {
				if n != 1 || err != nil {
					t.Errorf("sent %d, %v", n, err)
				}
				return
			}
			var refused *SendError
			if n != 0 || !errors.As(err, &refused) || refused.Name != "EINVAL" || !strings.Contains(err.Error(), "of this host alone") {
				t.Errorf("sent %d, %v, want EINVAL and why", n, err)
			}
		})
	}
}

func TestOuterHeader(t *testing.T) {
	good := echoPacket(them4, me4, true, 1, 1, payload(12, 1))
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	tests := []struct {
		name string
		in   []byte
		data int // bytes; -1: malformed
	}{
		{"good", good, 20},
		{"options", withOptions(good, 40), 20},
		{"trailing bytes", append(bytes.Clone(good), 0, 0), 20},
		{"header length 16", change(0, 0x44), -1},
		{"header longer than the packet", withOptions(good, 40)[:44], -1},
		{"length field beyond the end", change(3, 41), -1},
		{"length field in the header", change(3, 19), -1},
		{"version 6", change(0, 0x65), -1},
		{"short", good[:19], -1},
		{"empty", nil, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Reply
			ok := r.ipv4(tt.in)
			if ok != (tt.data >= 0) || ok && len(r.Data) != tt.data {
				t.Errorf("%v with %d bytes, want %d", ok, len(r.Data), tt.data)
			}
			if ok && (r.From != them4 || r.To != me4 || r.TTL != 64) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestSendErrorNames(t *testing.T) {
	for _, tt := range []struct {
		err  error
		name string
		full bool
		says string
	}{
		{unix.ENOBUFS, "ENOBUFS", true, "full"},
		{unix.EAGAIN, "EAGAIN", true, "full"},
		{unix.EHOSTUNREACH, "EHOSTUNREACH", false, "no route to host"},
		{unix.EPERM, "EPERM", false, "not permitted (as a rule a packet filter"},
		{unix.EINVAL, "EINVAL", false, "invalid argument (as a rule a blackhole route)"},
		{unix.EACCES, "EACCES", false, "permission denied (as a rule a prohibit route"},
		{fmt.Errorf("sendmsg: %w", unix.EPERM), "EPERM", false, "packet filter"},
		{unix.Errno(4000), "errno 4000", false, "errno 4000"},
		{os.ErrClosed, "EBADF", false, "closed"},
	} {
		e := sendError(them4, tt.err)
		if !strings.Contains(e.Error(), tt.says) {
			t.Errorf("%v: %q, want words of %q", tt.err, e, tt.says)
		}
		if e.Name != tt.name || errors.Is(e, ErrFull) != tt.full || !errors.Is(e, tt.err) {
			t.Errorf("%v: %q, full %v, want %q, %v", tt.err, e.Name, errors.Is(e, ErrFull), tt.name, tt.full)
		}
	}
}

func TestToken(t *testing.T) {
	seen := make(map[uint32]bool)
	for range 100 {
		tok := newToken()
		if tok&0xffff == 0 || seen[tok] {
			t.Fatalf("token %#x", tok)
		}
		seen[tok] = true
	}
}
