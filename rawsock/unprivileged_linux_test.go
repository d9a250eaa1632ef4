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
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

// within bounds every wait of these tests.
const within = 20 * time.Second

// unprivilegedPlan is a host, a router and a target. What goes to 192.0.2.0/24
// or 2001:db8:dead::/48 is lost without a word at the router.
func unprivilegedPlan() lab.Plan {
	groups := "0 2147483647"
	if !allUsers() {
		groups = "0 0" // no other is known there
	}
	return lab.Plan{
		Links: []lab.Link{
			{A: "host", B: "router", V4: "198.51.100.0/30", V6: "2001:db8:1::/64"},
			{A: "router", B: "target", V4: "203.0.113.0/30", V6: "2001:db8:2::/64"},
		},
		Announces: []lab.Announce{{At: "router", Prefix: "192.0.2.0/24"}, {At: "router", Prefix: "2001:db8:dead::/48"}},
		Routes: []lab.Route{
			{On: "router", Dst: "192.0.2.0/24", Kind: lab.Blackhole},
			{On: "router", Dst: "2001:db8:dead::/48", Kind: lab.Blackhole},
			{On: "host", Dst: "192.0.2.128/25", Kind: lab.Unreachable},
			{On: "host", Dst: "2001:db8:dead:1::/64", Kind: lab.Unreachable},
		},
		Rules: []lab.Rule{
			{On: "host", Dst: "192.0.2.66", Hook: lab.Output, Do: lab.Drop()},
			{On: "host", Dst: "2001:db8:dead::66", Hook: lab.Output, Do: lab.Drop()},
		},
		Sysctls: []lab.Sysctl{{On: "host", Key: "ipv4/ping_group_range", Value: groups}},
	}
}

// ends are the addresses of one family, and how to get into the host's namespace.
type ends struct {
	host, router, target, silent, unreachable netip.Addr
	do                                        func(func() error) error
}

func endsOf(t *testing.T, n *lab.Network, family int) ends {
	t.Helper()
	e := ends{
		host: n.Node("host").Only(family), router: n.Node("router").Addr("host", family), target: n.Node("target").Only(family),
		silent: netip.MustParseAddr("192.0.2.9"), unreachable: netip.MustParseAddr("192.0.2.200"),
		do: n.Node("host").Do,
	}
	if family == 6 {
		e.silent, e.unreachable = netip.MustParseAddr("2001:db8:dead::9"), netip.MustParseAddr("2001:db8:dead:1::9")
	}
	return e
}

func (e ends) icmp() uint8 { return byFamily[uint8](e, wire.ProtoICMP, wire.ProtoICMPv6) }

// byFamily is v4 or v6, whichever the ends are of.
func byFamily[T any](e ends, v4, v6 T) T {
	if e.host.Is6() {
		return v6
	}
	return v4
}

// conn opens a connection in the host's namespace.
func (e ends) conn(t *testing.T) *unprivileged {
	t.Helper()
	c, err := Open(Options{Unprivileged: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = e.do(func() error { c.Local(e.host); return nil }) // the list of addresses is the namespace's
	return c.(*unprivileged)
}

func (e ends) reserve(t *testing.T, c Conn, proto uint8) (port uint16) {
	t.Helper()
	err := e.do(func() (err error) {
		port, err = c.Reserve(e.host, proto, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// A shape is what a probe asks of the connection.
type shape struct {
	ttl, tos uint8
	df       bool
	size     int // of the payload
}

// header appends an IP header.
func (e ends) header(b []byte, dst netip.Addr, proto uint8, s shape, payload int) []byte {
	if e.host.Is6() {
		return wire.AppendIPv6(b, wire.IPv6{Src: e.host, Dst: dst, HopLimit: s.ttl, TrafficClass: s.tos, Next: proto}, payload)
	}
	return wire.AppendIPv4(b, wire.IPv4{Src: e.host, Dst: dst, TTL: s.ttl, TOS: s.tos, DF: s.df, Proto: proto, ID: 0x1234}, payload)
}

// probeBody is what a probe with that id carries, as package probe lays it out: two bytes for the
// checksum, the id, and bytes that differ.
func probeBody(id uint16, size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(i)
	}
	if size >= 4 {
		binary.BigEndian.PutUint16(p[2:], id)
	}
	return p
}

// udp is a UDP probe whose checksum is id.
func (e ends) udp(dst netip.AddrPort, port, id uint16, s shape) Packet {
	b := e.header(nil, dst.Addr(), wire.ProtoUDP, s, 8+s.size)
	return Packet{Dst: dst.Addr(), Data: wire.AppendUDP(b, netip.AddrPortFrom(e.host, port), dst, probeBody(id, s.size), id)}
}

// echo is an echo request.
func (e ends) echo(dst netip.Addr, id, seq uint16, s shape) Packet {
	b := e.header(nil, dst, e.icmp(), s, 8+s.size)
	typ := byFamily[uint8](e, wire.Echo4, wire.Echo6)
	return Packet{Dst: dst, Data: wire.AppendEcho(b, e.host, dst, typ, id, seq, probeBody(seq, s.size), 0)}
}

// send sends one packet and wants it to be stamped by the kernel in the end.
func send(t *testing.T, c Conn, p *Packet) {
	t.Helper()
	ps := []Packet{*p}
	before := c.Now()
	n, err := c.Send(ps)
	*p = ps[0]
	if err != nil || n != 1 {
		t.Fatalf("%d sent: %v", n, err)
	}
	if p.Sent.Before(before) || p.Sent.After(c.Now()) {
		t.Errorf("sent at %v, want between %v and %v", p.Sent, before, c.Now())
	}
}

// next waits for one reply.
func next(t *testing.T, c Conn) Reply {
	t.Helper()
	var rs [1]Reply
	if n, err := c.Recv(rs[:], time.Now().Add(within)); err != nil || n != 1 {
		t.Fatalf("%d replies: %v (%+v)", n, err, c.Stats())
	}
	return rs[0]
}

// none wants no reply to be waiting.
func none(t *testing.T, c Conn) {
	t.Helper()
	var rs [1]Reply
	if n, err := c.Recv(rs[:], c.Now()); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d more replies (%v): %+v", n, err, rs[0])
	}
}

// readICMP checks an ICMP reply's frame and checksum.
func (e ends) readICMP(t *testing.T, r Reply, p Packet, from netip.Addr) wire.ICMP {
	t.Helper()
	if r.Proto != e.icmp() || r.From != from || r.To != e.host {
		t.Fatalf("reply of protocol %d from %v to %v, want %d from %v to %v", r.Proto, r.From, r.To, e.icmp(), from, e.host)
	}
	if !r.Kernel || r.At.Before(p.Sent) {
		t.Errorf("arrived at %v (kernel %t), sent at %v", r.At, r.Kernel, p.Sent)
	}
	m, err := wire.ParseICMPv4(r.Data)
	if e.host.Is6() {
		m, err = wire.ParseICMPv6(r.Data, r.From, r.To)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantError wants an ICMP error of that type and code that quotes p.
func (e ends) wantError(t *testing.T, r Reply, p Packet, from netip.Addr, typ, code uint8) wire.ICMP {
	t.Helper()
	m := e.readICMP(t, r, p, from)
	if m.Type() != typ || m.Code() != code {
		t.Fatalf("type %d code %d, want %d and %d", m.Type(), m.Code(), typ, code)
	}
	q, err := m.Quote()
	if err != nil {
		t.Fatal(err)
	}
	sent, err := wire.ParseIP(p.Data)
	if err != nil {
		t.Fatal(err)
	}
	if q.Src() != sent.Src() || q.Dst() != sent.Dst() || q.Proto() != sent.Proto() || q.Length() != sent.Length() {
		t.Errorf("quotes %v to %v, protocol %d, %d bytes; want %v to %v, %d, %d", q.Src(), q.Dst(), q.Proto(), q.Length(),
			sent.Src(), sent.Dst(), sent.Proto(), sent.Length())
	}
	got, want := q.Transport(), sent.Transport()
	if len(got) < 8 || !bytes.HasPrefix(want, got) {
		t.Errorf("quotes\n%x, want a start of\n%x", got, want)
	}
	return m
}

// TestUnprivileged measures a path without privilege: as root with
// Options.Unprivileged, and as an ordinary user for whom nothing else is possible. The
// error queue tells of UDP, echo and TCP probes (T63), of the latter two what the kernel wrote in
// them (T65); what is lost is not made up (T66).
func TestUnprivileged(t *testing.T) {
	if os.Getenv("TEST_UNPRIVILEGED") != "" {
		t.Run("child", unprivilegedChild)
		return
	}
	n := lab.Start(t, unprivilegedPlan())
	if err := n.Node("target").ServeUDP(7, lab.Echo); err != nil {
		t.Fatal(err)
	}
	if err := n.Node("target").ServeTCP(80); err != nil {
		t.Fatal(err)
	}
	program := staticTest(t)
	for _, family := range []int{4, 6} {
		e := endsOf(t, n, family)
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) { measure(t, e) })
		t.Run(fmt.Sprintf("IPv%d as an ordinary user", family), func(t *testing.T) {
			needUsers(t)
			path := childProgram(t, program)
			c := child(path, "TestUnprivileged", nobody,
				fmt.Sprintf("TEST_UNPRIVILEGED=%v %v %v %v %v", e.host, e.router, e.target, e.silent, e.unreachable))
			var out bytes.Buffer
			c.Stdout, c.Stderr = &out, &out
			if err := n.Node("host").Start(c); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil || !strings.Contains(out.String(), "--- PASS: TestUnprivileged/child") {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}

func unprivilegedChild(t *testing.T) {
	if os.Geteuid() != nobody {
		t.Fatalf("runs as user %d", os.Geteuid())
	}
	if _, err := openRaw(Options{}, 0); !errors.Is(err, ErrPrivilege) {
		t.Fatalf("raw sockets: %v, want ErrPrivilege", err)
	}
	e := ends{do: func(f func() error) error { return f() }}
	f := strings.Fields(os.Getenv("TEST_UNPRIVILEGED"))
	for i, a := range []*netip.Addr{&e.host, &e.router, &e.target, &e.silent, &e.unreachable} {
		*a = netip.MustParseAddr(f[i])
	}
	measure(t, e)
}

func measure(t *testing.T, e ends) {
	c := e.conn(t)
	caps := c.Caps()
	if caps.Header || !caps.TCP || !caps.IPv4 || !caps.IPv6 || !caps.RxStamp || !caps.TxStamp || caps.Token == 0 || caps.Socket != "unprivileged" {
		t.Errorf("can do %+v", caps)
	}
	port := e.reserve(t, c, wire.ProtoUDP)
	id := e.reserve(t, c, wire.ProtoICMP)
	exceeded := byFamily[uint8](e, wire.TimeExceeded4, wire.TimeExceeded6)
	unreachable := byFamily[uint8](e, wire.Unreachable4, wire.Unreachable6)
	far := netip.AddrPortFrom(e.target, 33434)

	t.Run("UDP, hop", func(t *testing.T) {
		p := e.udp(far, port, 0xbeef, shape{ttl: 1, size: 12})
		send(t, c, &p)
		r := next(t, c)
		e.wantError(t, r, p, e.router, exceeded, 0)
		if r.TTL != 64 {
			t.Errorf("arrived with TTL %d, want 64", r.TTL)
		}
	})
	t.Run("UDP, hop, quote cut", func(t *testing.T) {
		p := e.udp(far, port, 0xbee0, shape{ttl: 1, size: 1400})
		send(t, c, &p)
		e.wantError(t, next(t, c), p, e.router, exceeded, 0)
	})
	t.Run("UDP, hop, shortest payload", func(t *testing.T) {
		p := e.udp(far, port, 0xbee1, shape{ttl: 1, size: 2})
		send(t, c, &p)
		e.wantError(t, next(t, c), p, e.router, exceeded, 0)
	})
	t.Run("UDP, closed port", func(t *testing.T) {
		p := e.udp(far, port, 0xbee2, shape{ttl: 9, size: 12})
		send(t, c, &p)
		r := next(t, c)
		e.wantError(t, r, p, e.target, unreachable, byFamily[uint8](e, 3, 4))
		if r.TTL != 63 {
			t.Errorf("arrived with TTL %d, want 63", r.TTL)
		}
	})
	t.Run("UDP, service", func(t *testing.T) {
		p := e.udp(netip.AddrPortFrom(e.target, 7), port, 0xbee3, shape{ttl: 9, size: 12})
		send(t, c, &p)
		r := next(t, c)
		u, err := wire.ParseUDP(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		sent, _ := wire.ParseIP(p.Data)
		if r.Proto != wire.ProtoUDP || r.From != e.target || r.To != e.host || u.Src() != 7 || u.Dst() != port ||
			!bytes.Equal(u.Payload(), sent.Transport()[8:]) || !u.Valid(r.From, r.To) || !r.Kernel || r.TTL != 63 {
			t.Errorf("reply %+v", r)
		}
	})
	t.Run("echo", func(t *testing.T) {
		p := e.echo(e.target, id, 1, shape{ttl: 9, tos: 0x28, size: 56})
		send(t, c, &p)
		r := next(t, c)
		m := e.readICMP(t, r, p, e.target)
		if m.Type() != byFamily[uint8](e, wire.EchoReply4, wire.EchoReply6) || m.ID() != id || m.Seq() != 1 || !bytes.Equal(m.Payload(), probeBody(1, 56)) {
			t.Errorf("type %d id %d seq %d payload %x", m.Type(), m.ID(), m.Seq(), m.Payload())
		}
		if r.TTL != 63 || r.TOS != 0x28 {
			t.Errorf("arrived with TTL %d and TOS %#x, want 63 and 0x28", r.TTL, r.TOS)
		}
	})
	t.Run("echo, hop", func(t *testing.T) {
		p := e.echo(e.target, id, 2, shape{ttl: 1, size: 56})
		send(t, c, &p)
		e.wantError(t, next(t, c), p, e.router, exceeded, 0)
	})
	t.Run("many at once", func(t *testing.T) {
		const many = 100
		ps := make([]Packet, many)
		for i := range ps {
			ps[i] = e.udp(far, port, uint16(1+i), shape{ttl: 1 + uint8(i%2), size: 12})
		}
		if n, err := c.Send(ps); n != many || err != nil {
			t.Fatalf("%d sent: %v", n, err)
		}
		stamped := map[uint64]time.Time{}
		for i := range ps {
			if i > 0 && ps[i].N != ps[i-1].N+1 {
				t.Fatalf("packet %d has number %d after %d", i, ps[i].N, ps[i-1].N)
			}
			if ps[i].Kernel {
				stamped[ps[i].N] = ps[i].Sent
			}
		}
		answers := map[uint16]time.Time{}
		for len(answers) < many {
			r := next(t, c)
			i := int(quotedSum(t, e, r)) - 1
			if i < 0 || i >= many {
				t.Fatalf("quotes checksum %d", i+1)
			}
			from, typ, code := e.router, exceeded, uint8(0)
			if i%2 == 1 {
				from, typ, code = e.target, unreachable, byFamily[uint8](e, 3, 4)
			}
			e.wantError(t, r, ps[i], from, typ, code)
			answers[uint16(i)] = r.At
		}
		var ss [7]Stamp
		for n := c.Stamps(ss[:]); n > 0; n = c.Stamps(ss[:]) {
			for _, s := range ss[:n] {
				stamped[s.N] = s.Sent
			}
		}
		for i := range ps {
			if at, ok := stamped[ps[i].N]; !ok || at.After(answers[uint16(i)]) {
				t.Errorf("packet %d left at %v (by the kernel: %t), answered at %v", i, at, ok, answers[uint16(i)])
			}
		}
		none(t, c)
	})
	t.Run("refused", func(t *testing.T) {
		ok := e.udp(far, port, 0x7777, shape{ttl: 9, size: 12})
		segment := func(flags, tos uint8) Packet {
			return Packet{Dst: e.target, Data: wire.AppendTCP(e.header(nil, e.target, wire.ProtoTCP, shape{ttl: 9, tos: tos}, 20),
				netip.AddrPortFrom(e.host, port), far, wire.TCPFields{Flags: flags, Window: 1024}, nil)}
		}
		timestamp := e.echo(e.target, id, 3, shape{ttl: 9, size: 12})
		timestamp.Data[len(timestamp.Data)-20] = byFamily[uint8](e, timestamp4, nodeQuery6)
		lite := e.udp(far, port, 1, shape{ttl: 9, size: 12})
		lite.Data = append(e.header(nil, e.target, protoUDPLite, shape{ttl: 9}, 20), lite.Data[len(lite.Data)-20:]...)
		elsewhere := ok
		elsewhere.Dst = e.router
		reply := e.echo(e.target, id, 3, shape{ttl: 9, size: 8})
		reply.Data[len(reply.Data)-16] = byFamily[uint8](e, wire.EchoReply4, wire.EchoReply6)
		cut := ok
		cut.Data = cut.Data[:len(cut.Data)-1]
		rows := []struct {
			name string
			p    Packet
			errs string
			is   error
		}{
			{"TCP from a port not reserved", segment(wire.SYN, 0), "EADDRNOTAVAIL", nil},
			{"TCP ACK", segment(wire.ACK, 0), "EPERM", ErrPrivilege},
			{"TCP with ECN bits", segment(wire.SYN, 1), "EPERM", ErrPrivilege},
			{"UDP-Lite", lite, "EPERM", ErrPrivilege},
			{"timestamp request, or node information query", timestamp, "EPERM", ErrPrivilege},
			{"echo reply", reply, "EPERM", ErrPrivilege},
			{"another destination in the header", elsewhere, "EINVAL", nil},
			{"cut", cut, "EINVAL", wire.ErrShort},
			{"port of somebody else", e.udp(far, port^1, 1, shape{ttl: 9, size: 12}), "EADDRNOTAVAIL", nil},
			{"no route", e.udp(netip.AddrPortFrom(e.unreachable, 33434), port, 1, shape{ttl: 9, size: 12}), "EHOSTUNREACH", unix.EHOSTUNREACH},
			// The kernel has given this one its number by then: the count must start anew.
			{"dropped by a packet filter", e.udp(netip.AddrPortFrom(byFamily(e, netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("2001:db8:dead::66")), 33434), port, 1, shape{ttl: 9, size: 12}), "EPERM", unix.EPERM},
			{"larger than the device takes", e.udp(far, port, 1, shape{ttl: 9, df: true, size: 1500}), "EMSGSIZE", unix.EMSGSIZE},
			{"larger, and may be cut", e.udp(far, port, 1, shape{ttl: 9, size: 1500}), "EMSGSIZE", unix.EMSGSIZE},
			{"echo larger than the device takes", e.echo(e.target, id, 4, shape{ttl: 9, df: true, size: 1500}), "EMSGSIZE", unix.EMSGSIZE},
		}
		for _, tt := range rows {
			ps := []Packet{ok, tt.p, ok}
			n, err := c.Send(ps)
			if !ps[0].Kernel {
				t.Errorf("%s: the packet before is not stamped by the kernel", tt.name)
			}
			var se *SendError
			if n != 1 || !errors.As(err, &se) || se.Name != tt.errs || se.Dst != tt.p.Dst || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%s: %d sent: %v, want 1 and a *SendError %s", tt.name, n, err, tt.errs)
			}
			if tt.errs == "EMSGSIZE" && (!strings.Contains(err.Error(), "1500 bytes") || se.MTU != 1500) {
				t.Errorf("%s: %v (%d), want it to say what fits", tt.name, err, se.MTU)
			}
			e.wantError(t, next(t, c), ok, e.target, unreachable, byFamily[uint8](e, 3, 4))
			none(t, c) // the error of the one refused is not an answer
		}
		if _, err := c.Reserve(e.host, protoUDPLite, 0); !errors.Is(err, ErrPrivilege) {
			t.Errorf("UDP-Lite port: %v, want ErrPrivilege", err)
		}
		// Send times are right again after all these failures.
		send(t, c, &ok)
		if !ok.Kernel {
			t.Error("not stamped by the kernel after failed sends")
		}
		next(t, c)
	})
	t.Run("pending error", func(t *testing.T) { pendingError(t, e) })
	t.Run("TCP", func(t *testing.T) { measureTCP(t, e) })
	t.Run("own addresses", func(t *testing.T) {
		e.do(func() error {
			if !c.Local(e.host) || c.Local(e.router) {
				t.Errorf("%v is ours: %t; %v is: %t", e.host, c.Local(e.host), e.router, c.Local(e.router))
			}
			return nil
		})
	})
	t.Run("source", func(t *testing.T) {
		e.do(func() error {
			if a, err := Source(e.target); err != nil || a != e.host {
				t.Errorf("to %v: %v (%v), want %v", e.target, a, err, e.host)
			}
			_, err := Source(e.unreachable)
			var se *SendError
			if !errors.As(err, &se) || se.Name != "EHOSTUNREACH" || se.Dst != e.unreachable {
				t.Errorf("to %v: %v, want a *SendError EHOSTUNREACH", e.unreachable, err)
			}
			return nil
		})
	})
	t.Run("release", func(t *testing.T) {
		c.Release(e.host, wire.ProtoUDP, port)
		p := e.udp(far, port, 1, shape{ttl: 1, size: 12})
		var se *SendError
		if _, err := c.Send([]Packet{p}); !errors.As(err, &se) || se.Name != "EADDRNOTAVAIL" {
			t.Errorf("send from a released port: %v", err)
		}
		q := e.echo(e.target, id, 5, shape{ttl: 9, size: 8})
		send(t, c, &q)
		next(t, c)
	})
	if s := c.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
}

// quotedSum is the UDP checksum that an ICMP error quotes.
func quotedSum(t *testing.T, e ends, r Reply) uint16 {
	t.Helper()
	m := e.readICMP(t, r, Packet{}, r.From)
	q, err := m.Quote()
	if err != nil {
		t.Fatal(err)
	}
	u, err := wire.ParseUDP(q.Transport())
	if err != nil {
		t.Fatal(err)
	}
	return u.Checksum()
}

// pendingError holds Send to sending although an error of an earlier packet
// waits on the socket (T64): with the error queue readable, and with no room for it, so
// that only the failing call tells.
func pendingError(t *testing.T, e ends) {
	c := e.conn(t)
	port := e.reserve(t, c, wire.ProtoUDP)
	d := c.socks[sockKey{e.host, wire.ProtoUDP, port}]
	provoke := func() {
		t.Helper()
		// The host's own closed port: the error is there when sendto returns.
		var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: e.host.As16(), Port: 9}
		if e.host.Is4() {
			sa = &unix.SockaddrInet4{Addr: e.host.As4(), Port: 9}
		}
		if err := unix.Sendto(d.fd, []byte("provoke"), 0, sa); err != nil {
			t.Fatal(err)
		}
	}

	provoke()
	p := e.udp(netip.AddrPortFrom(e.target, 33434), port, 0xbeef, shape{ttl: 1, size: 12})
	send(t, c, &p)
	if r := next(t, c); r.From != e.host {
		t.Errorf("reply from %v, want the provoked one from %v", r.From, e.host)
	}
	e.wantError(t, next(t, c), p, e.router, byFamily[uint8](e, wire.TimeExceeded4, wire.TimeExceeded6), 0)

	if err := unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil { // 1 means the least
		t.Fatal(err)
	}
	full := e.udp(netip.AddrPortFrom(e.host, port), port, 1, shape{ttl: 9, size: 12}) // to itself
	for range 64 {
		if n, err := c.Send([]Packet{full}); n != 1 || err != nil {
			t.Fatal(err)
		}
	}
	provoke()
	if in, room, _, err := memInfo(d.fd); err != nil || in+768 < room { // 768: the least any packet counts
		t.Fatalf("%d of %d bytes in the buffer (%v), want no room for an error", in, room, err)
	}
	q := e.udp(netip.AddrPortFrom(e.host, 9), port, 0xbee1, shape{ttl: 9, size: 12})
	send(t, c, &q)
	if c.Stats().Drops == 0 {
		t.Error("the buffer was full and nothing was counted as dropped")
	}
}

// TestUnprivilegedOnTheWire compares what leaves with what was asked for.
func TestUnprivilegedOnTheWire(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		e := endsOf(t, n, family)
		c := e.conn(t)
		port, id := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, wire.ProtoICMP)
		to := netip.AddrPortFrom(e.silent, 33434)
		for _, tt := range []struct {
			name string
			p    Packet
		}{
			{"UDP", e.udp(to, port, 0x1001, shape{ttl: 7, tos: 0xb9, size: 12})},
			{"UDP, DF", e.udp(to, port, 0x1002, shape{ttl: 255, df: true, size: 12})},
			{"UDP, no DF after DF", e.udp(to, port, 0x1003, shape{ttl: 2, size: 13})},
			{"UDP as large as the device takes", e.udp(to, port, 0x1004, shape{ttl: 2, df: true, size: 1500 - byFamily(e, 28, 48)})},
			{"echo", e.echo(e.silent, id, 0x2001, shape{ttl: 7, tos: 0x28, size: 56})},
			{"echo, DF", e.echo(e.silent, id, 0x2002, shape{ttl: 30, df: true, size: 57})},
			{"echo without payload", e.echo(e.silent, id, 0x2003, shape{ttl: 31})},
		} {
			t.Run(fmt.Sprintf("IPv%d %s", family, tt.name), func(t *testing.T) {
				wires, err := n.Node("host").Capture("router", 100)
				if err != nil {
					t.Fatal(err)
				}
				send(t, c, &tt.p)
				want, err := wire.ParseIP(tt.p.Data)
				if err != nil {
					t.Fatal(err)
				}
				got, err := wires.Wait(within, func(p lab.Packet) bool {
					ip, err := wire.ParseIP(p.Data)
					return err == nil && p.Out && ip.Dst() == e.silent && ip.Proto() == want.Proto()
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := wires.Stop(); err != nil {
					t.Fatal(err)
				}
				ip, err := wire.ParseIP(got.Data)
				if err != nil {
					t.Fatal(err)
				}
				if ip.Src() != want.Src() || ip.TTL() != want.TTL() || ip.TOS() != want.TOS() || ip.DF() != want.DF() || ip.Length() != want.Length() {
					t.Errorf("left as %x, want %x", ip.Header(), want.Header())
				}
				if !bytes.Equal(ip.Transport(), want.Transport()) { // the checksum is the probe's id
					t.Errorf("left with %x, want %x", ip.Transport(), want.Transport())
				}
			})
		}
	}
}

// TestUnprivilegedErrors lets a router answer in ways that kernels do not, with
// hand-made messages.
func TestUnprivilegedErrors(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		e := endsOf(t, n, family)
		c := e.conn(t)
		port, id := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, wire.ProtoICMP)
		var router net.PacketConn
		err := n.Node("router").Do(func() (err error) {
			router, err = net.ListenPacket(byFamily(e, "ip4:icmp", "ip6:ipv6-icmp"), e.router.String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer router.Close()
		label := wire.AppendObject(nil, 1, 1, wire.AppendLSE(nil, 12345, 5, true, 7))
		exceeded := byFamily[uint8](e, wire.TimeExceeded4, wire.TimeExceeded6)
		unreachable := byFamily[uint8](e, wire.Unreachable4, wire.Unreachable6)
		tooBig := byFamily[uint8](e, wire.Unreachable4, wire.PacketTooBig6)
		problem := byFamily[uint8](e, wire.ParameterProblem4, wire.ParameterProblem6)
		head := byFamily(e, 20, 40)
		at128 := func(p []byte) []byte { return append(p, make([]byte, 128-len(p))...) }

		for _, tt := range []struct {
			name      string
			typ, code uint8
			word      uint32
			cut       int // bytes of the probe that are quoted; 0: all
			objects   []byte
			spoil     bool // the extensions' checksum
			compat    bool // no length attribute
			nothing   bool // too little came back to tell which probe it was
			kind      wire.ExtensionKind
			mtu       int
			pointer   uint32
		}{
			{name: "labels", typ: exceeded, objects: label, kind: wire.Extensions},
			{name: "labels with a port unreachable", typ: unreachable, code: byFamily[uint8](e, 3, 4), objects: label, kind: wire.Extensions},
			{name: "labels without a length", typ: exceeded, objects: label, compat: true, kind: wire.CompatExtensions},
			{name: "labels with a wrong checksum", typ: exceeded, objects: label, spoil: true, kind: wire.BadExtensions},
			{name: "too big", typ: tooBig, code: byFamily[uint8](e, 4, 0), word: 1400, mtu: 1400},
			{name: "parameter problem", typ: problem, word: byFamily[uint32](e, 8<<24, 40), pointer: byFamily[uint32](e, 8, 40)},
			{name: "reassembly", typ: exceeded, code: 1},
			{name: "16 bytes of the transport", typ: exceeded, cut: head + 20},
			{name: "8 bytes of the transport", typ: exceeded, cut: head + 8, nothing: true},
		} {
			if family == 4 && tt.typ == exceeded && tt.code == 1 {
				continue // icmp_unreach of the kernel keeps those to itself
			}
			for _, proto := range []string{"UDP", "echo"} {
				t.Run(fmt.Sprintf("IPv%d %s, %s", family, proto, tt.name), func(t *testing.T) {
					p := e.udp(netip.AddrPortFrom(e.silent, 33434), port, 0xbeef, shape{ttl: 9, size: 20})
					if proto == "echo" {
						p = e.echo(e.silent, id, 0x2001, shape{ttl: 9, size: 20})
					}
					send(t, c, &p)
					quote := bytes.Clone(p.Data)
					if tt.cut != 0 {
						quote = quote[:tt.cut]
					}
					var b []byte
					switch {
					case tt.compat:
						quote = wire.AppendExtensions(at128(quote), tt.objects)
						b = wire.AppendError(nil, e.router, e.host, tt.typ, tt.code, tt.word, quote, nil)
					case tt.spoil:
						unit, shift := byFamily(e, 4, 8), byFamily(e, 16, 24)
						quote = wire.AppendExtensions(at128(quote), tt.objects)
						quote[128+2] ^= 1
						b = wire.AppendError(nil, e.router, e.host, tt.typ, tt.code, uint32(128/unit)<<shift, quote, nil)
					default:
						b = wire.AppendError(nil, e.router, e.host, tt.typ, tt.code, tt.word, quote, tt.objects)
					}
					if _, err := router.WriteTo(b, &net.IPAddr{IP: e.host.AsSlice()}); err != nil {
						t.Fatal(err)
					}
					r := next(t, c)
					if tt.nothing && proto == "UDP" {
						m := e.readICMP(t, r, p, e.router)
						q, err := m.Quote()
						if err != nil {
							t.Fatal(err)
						}
						u, err := wire.ParseUDP(q.Transport())
						if err != nil || u.Src() != port || u.Dst() != 33434 || u.Checksum() != 0 {
							t.Errorf("quotes %x (%v), want the ports and no checksum", q.Transport(), err)
						}
						return
					}
					if tt.nothing {
						// The length is not known; the rest is there.
						m := e.readICMP(t, r, p, e.router)
						q, err := m.Quote()
						if err != nil || !bytes.Equal(q.Transport(), p.Data[head:head+8]) {
							t.Errorf("quotes %x (%v), want %x", q.Transport(), err, p.Data[head:head+8])
						}
						return
					}
					m := e.wantError(t, r, p, e.router, tt.typ, tt.code)
					if m.Extensions() != tt.kind {
						t.Errorf("extensions %d, want %d", m.Extensions(), tt.kind)
					}
					objects := m.Objects()
					o, ok := objects.Next()
					if want := tt.kind == wire.Extensions || tt.kind == wire.CompatExtensions; ok != want {
						t.Errorf("an object: %t, want %t", ok, want)
					} else if ok {
						l, ok := o.LSE(0)
						if !ok || l.Label() != 12345 || l.TC() != 5 || !l.Bottom() || l.TTL() != 7 {
							t.Errorf("label %v", l)
						}
					}
					if m.MTU() != tt.mtu || tt.pointer != 0 && m.Pointer() != tt.pointer {
						t.Errorf("MTU %d and pointer %d, want %d and %d", m.MTU(), m.Pointer(), tt.mtu, tt.pointer)
					}
				})
			}
		}
	}
}

// TestUnprivilegedLoopback is what a user sees of the host itself.
func TestUnprivilegedLoopback(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, a := range []string{"127.0.0.1", "::1"} {
		t.Run(a, func(t *testing.T) {
			lo := netip.MustParseAddr(a)
			e := ends{host: lo, router: lo, target: lo, do: n.Node("host").Do}
			c := e.conn(t)
			port, id := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, e.icmp())
			p := e.udp(netip.AddrPortFrom(lo, 33434), port, 0xbeef, shape{ttl: 1, size: 12})
			send(t, c, &p)
			e.wantError(t, next(t, c), p, lo, byFamily[uint8](e, wire.Unreachable4, wire.Unreachable6), byFamily[uint8](e, 3, 4))
			q := e.echo(lo, id, 9, shape{ttl: 1, size: 56})
			send(t, c, &q)
			if m := e.readICMP(t, next(t, c), q, lo); m.ID() != id || m.Seq() != 9 || !bytes.Equal(m.Payload(), probeBody(9, 56)) {
				t.Errorf("id %d seq %d payload %x", m.ID(), m.Seq(), m.Payload())
			}
			none(t, c)
		})
	}
}

// TestUnprivilegedLinkLocal uses addresses that mean nothing without an interface.
func TestUnprivilegedLinkLocal(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, a := range [][3]string{{"host", "router", "fe80::1/64"}, {"router", "host", "fe80::2/64"}} {
		if err := n.Node(a[0]).AddAddr(a[1], netip.MustParsePrefix(a[2])); err != nil {
			t.Fatal(err)
		}
	}
	e := ends{host: netip.MustParseAddr("fe80::1%router"), target: netip.MustParseAddr("fe80::2%router"), do: n.Node("host").Do}
	e.router = e.target
	c := e.conn(t)
	err := e.do(func() error {
		src, err := Source(e.target)
		if err != nil || src != e.host {
			t.Errorf("source to %v: %v (%v), want %v", e.target, src, err, e.host)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	port, id := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, wire.ProtoICMP)
	// Interface names are of the namespace; after this they are known.
	if err := e.do(func() error { c.Local(e.host); return nil }); err != nil {
		t.Fatal(err)
	}
	p := e.udp(netip.AddrPortFrom(e.target, 33434), port, 0xbeef, shape{ttl: 1, size: 12})
	send(t, c, &p)
	if r := next(t, c); r.From != e.target || r.To != e.host || r.Proto != wire.ProtoICMPv6 {
		t.Errorf("reply %+v, want one from %v to %v", r, e.target, e.host)
	}
	q := e.echo(e.target, id, 9, shape{ttl: 1, size: 56})
	send(t, c, &q)
	if r := next(t, c); r.From != e.target || r.To != e.host || r.Data[0] != wire.EchoReply6 {
		t.Errorf("reply %+v, want an echo reply from %v to %v", r, e.target, e.host)
	}
}

// TestPingRefused wants the way out to be said where ping sockets are closed
// to the user, which is how kernels start.
func TestPingRefused(t *testing.T) {
	plan := unprivilegedPlan()
	plan.Sysctls = []lab.Sysctl{{On: "host", Key: "ipv4/ping_group_range", Value: "1\t0"}}
	n := lab.Start(t, plan)
	for _, family := range []int{4, 6} {
		e := endsOf(t, n, family)
		c := e.conn(t)
		var err error
		e.do(func() error { _, err = c.Reserve(e.host, e.icmp(), 0); return nil })
		if !errors.Is(err, ErrPrivilege) {
			t.Fatalf("error %v, want ErrPrivilege", err)
		}
		for _, want := range []string{"sysctl -w net.ipv4.ping_group_range=", "setcap cap_net_raw+p /", e.host.String()} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
}

// TestUnprivilegedLateStamp gives the connection a send time after Send has returned, as a device with
// a queue does.
func TestUnprivilegedLateStamp(t *testing.T) {
	c, err := Open(Options{Unprivileged: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	u := c.(*unprivileged)
	d := &dgram{}
	before := u.Now()
	d.ids.add(5, before)
	d.ids.add(6, before)
	left := time.Now()
	now, steady := u.clock.read()
	u.departed(d, 1, left.UnixNano(), now, steady, nil)
	u.departed(d, 1, left.UnixNano(), now, steady, nil)                 // told twice
	u.departed(d, 2, left.UnixNano(), now, steady, nil)                 // nobody's
	u.departed(d, 0, left.Add(-time.Hour).UnixNano(), now, steady, nil) // of another clock
	var ss [4]Stamp
	n := c.Stamps(ss[:])
	if n != 1 || ss[0].N != 6 || ss[0].Sent.Before(before) || ss[0].Sent.After(now) {
		t.Errorf("%+v, want packet 6 between %v and %v", ss[:n], before, now)
	}
	if n := c.Stamps(ss[:]); n != 0 {
		t.Errorf("%d stamps again", n)
	}
}

// TestUnprivilegedInterruptWithReplies: what had arrived by then is handed out all the same.
func TestUnprivilegedInterruptWithReplies(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	e := endsOf(t, n, 4)
	c := e.conn(t)
	port := e.reserve(t, c, wire.ProtoUDP)
	for id := range uint16(5) {
		p := e.udp(netip.AddrPortFrom(e.host, 33434), port, 1+id, shape{ttl: 9, size: 12})
		send(t, c, &p) // and this host answers at once
	}
	next(t, c)
	c.Interrupt()
	rs := make([]Reply, 3)
	for i, want := range []int{3, 1, 0} {
		if n, err := c.Recv(rs, time.Time{}); n != want || err != ErrInterrupted {
			t.Errorf("Recv %d: %d replies, %v, want %d and %v", i+1, n, err, want, ErrInterrupted)
		}
	}
	if n, err := c.Recv(nil, time.Time{}); n != 0 || err != ErrInterrupted {
		t.Errorf("without room: %d replies, %v, want %v", n, err, ErrInterrupted)
	}
}

// TestUnprivilegedEnds: Interrupt and Close come from other goroutines.
func TestUnprivilegedEnds(t *testing.T) {
	for name, end := range map[string]func(Conn){
		"Interrupt": func(c Conn) { c.Interrupt() },
		"Close":     func(c Conn) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			c, err := Open(Options{Unprivileged: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				c.Close()
				if open := kept(t, before); len(open) > 0 {
					t.Errorf("still open: %v", open)
				}
			}()
			lo := netip.MustParseAddr("127.0.0.1")
			if _, err := c.Reserve(lo, wire.ProtoUDP, 0); err != nil {
				t.Fatal(err)
			}
			var rs [1]Reply
			if _, err := c.Recv(rs[:], time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("nothing there: %v, want os.ErrDeadlineExceeded", err)
			}
			got := make(chan error)
			go func() {
				_, err := c.Recv(rs[:], time.Time{})
				got <- err
			}()
			end(c)
			if err := <-got; !errors.Is(err, ErrInterrupted) {
				t.Errorf("%v, want ErrInterrupted", err)
			}
			if _, err := c.Recv(rs[:], time.Time{}); !errors.Is(err, ErrInterrupted) {
				t.Errorf("again: %v, want ErrInterrupted", err)
			}
		})
	}
}

// TestUnprivilegedQuotes: what the error queue tells of quotes that are cut, by a line of nodes in user space. By 12 bytes of the
// payload a packet is known again, whole header and all. Of less the payload is told, and nothing is made up.
func TestUnprivilegedQuotes(t *testing.T) {
	cuts := []lab.Quoter{{}, {Quote: 8}, {Quote: 8 + 4}, {Quote: 8 + 11}, {Quote: 8 + 12}, {Quote: 8 + 16}, {Quote: 8, MPLS: true}, {Quote: 8 + 4, MPLS: true}, {Quote: 8 + 12, MPLS: true}, {Quote: 8}}
	n := lab.Start(t, lab.LinePlan())
	if err := n.ActLine(cuts...); err != nil {
		t.Fatal(err)
	}
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			e := ends{host: n.Node("client").Only(family), target: lab.LineAddr(len(cuts), family), do: n.Node("client").Do}
			c := e.conn(t)
			port := e.reserve(t, c, wire.ProtoUDP)
			to := netip.AddrPortFrom(e.target, 33434)
			const size = 60 // of the payload
			head := byFamily(e, 20, 40) + 8
			for i, cut := range cuts {
				ttl := i + 1
				p := e.udp(to, port, uint16(0xbe00+i), shape{ttl: uint8(ttl), size: size})
				send(t, c, &p)
				m := e.readICMP(t, next(t, c), p, lab.LineAddr(ttl, family))
				q, err := m.Quote()
				if err != nil {
					t.Fatal(err)
				}
				u, err := wire.ParseUDP(q.Transport())
				if err != nil {
					t.Fatal(err)
				}
				quoted := size
				if cut.Quote != 0 {
					quoted = cut.Quote - 8
				}
				sent := p.Data[head:]
				body := bytes.Clone(sent[:quoted])
				if cut.MPLS {
					body = append(body, make([]byte, 128-head-quoted)...)
					if m.Extensions() == wire.NoExtensions {
						t.Errorf("TTL %d: no extensions", ttl)
					}
				}
				known := quoted >= 12
				if known {
					body = body[:min(len(body), size)] // the header says where the packet ends
				}
				if !bytes.Equal(q.Transport()[8:], body) || u.Src() != port || u.Dst() != to.Port() || q.Src() != e.host || q.Dst() != e.target {
					t.Errorf("TTL %d: quotes %d to %d, %v to %v, payload\n%x, want\n%x", ttl, u.Src(), u.Dst(), q.Src(), q.Dst(), q.Transport()[8:], body)
				}
				if known != bytes.HasPrefix(q.Bytes(), p.Data[:head]) || known != (u.Length() == 8+size) {
					t.Errorf("TTL %d: quotes\n%x\nof\n%x, want its header: %v", ttl, q.Bytes(), p.Data, known)
				}
				none(t, c)
			}
		})
	}
}
