package rawsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

// icmpPacket is an ICMP message with an identifier.
func icmpPacket(src, dst netip.Addr, typ uint8, id uint16, body []byte) []byte {
	proto := uint8(wire.ProtoICMP)
	if src.Is6() {
		proto = wire.ProtoICMPv6
	}
	return ipPacket(src, dst, proto, wire.AppendEcho(nil, src, dst, typ, id, 1, body, 0))
}

// nodePacket is a node information message whose nonce begins with id.
func nodePacket(src, dst netip.Addr, typ uint8, id uint16) []byte {
	nonce := binary.BigEndian.AppendUint16(nil, id)
	return icmpPacket(src, dst, typ, 0, append(nonce, 0, 0, 0, 0, 0, 0))
}

// redirectPacket is an ICMPv6 redirect with options before the one that quotes.
func redirectPacket(before, quote []byte) []byte {
	body := make([]byte, 32) // target and destination
	body = append(body, before...)
	body = append(body, 4, byte((8+len(quote)+7)/8), 0, 0, 0, 0, 0, 0)
	return icmpPacket(them6, me6, redirect6, 0, append(body, quote...))
}

// oursToo is what a run with further protocols has reserved.
func oursToo(v6 bool) wanted {
	w := ours
	me, _ := addrs(v6)
	w.lite, w.dccp, w.other = []uint16{41000}, []uint16{42000}, []otherWant{{253, me}}
	return w
}

func TestFilterKinds(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		me, them := addrs(v6)
		exceeded, name := uint8(wire.TimeExceeded4), "IPv4 "
		w := oursToo(v6)
		prog, plain := icmp4Filter(w), icmp4Filter(ours)
		if v6 {
			exceeded, name = wire.TimeExceeded6, "IPv6 "
			prog, plain = icmp6Filter(w), icmp6Filter(ours)
		}
		quote := func(p []byte) []byte { return errorPacket(v6, exceeded, 0, p) }
		ported := func(proto uint8, sport uint16, token uint32) []byte { // as UDP-Lite and DCCP begin
			b := binary.BigEndian.AppendUint16(nil, sport)
			b = append(b, 0x82, 0x9a, 0, 8, 0, 0)
			return ipPacket(me, them, proto, append(b, payload(12, token)...))
		}
		bare := func(proto uint8, token uint32) []byte { return ipPacket(me, them, proto, payload(12, token)) }
		type row struct {
			name   string
			packet []byte
			want   bool
		}
		tests := []row{
			{"quote of UDP-Lite", quote(ported(protoUDPLite, 41000, 0)), true},
			{"quote of UDP-Lite from a UDP port", quote(ported(protoUDPLite, 40000, 0)), false},
			{"quote of UDP-Lite, the port rewritten", quote(ported(protoUDPLite, 1, ours.token)), true},
			{"quote of DCCP", quote(ported(protoDCCP, 42000, 0)), true},
			{"quote of another's DCCP", quote(ported(protoDCCP, 42001, ours.token)), false},
			{"quote of a protocol without ports", quote(bare(253, ours.token)), true},
			{"quote of another's packet of it", quote(bare(253, 0x55667788)), false},
			{"quote of a protocol nothing is reserved of", quote(bare(254, ours.token)), false},
			{"quote of a bare UDP payload", quote(bare(wire.ProtoUDP, ours.token)), true},
			{"quote of a bare TCP payload", quote(bare(wire.ProtoTCP, ours.token)), true},
		}
		requests := []uint8{timestamp4, mask4, extEcho4}
		replies := []uint8{timestampReply4, maskReply4, extEchoReply4}
		if v6 {
			requests, replies = []uint8{extEcho6}, []uint8{extEchoReply6}
			mine := udpPacket(me6, them6, 40001, 33434, payload(12, 0))
			foreign := udpPacket(me6, them6, 40002, 33434, payload(12, 0))
			link := []byte{2, 1, 1, 2, 3, 4, 5, 6}
			tests = append(tests,
				row{"node information reply", nodePacket(them, me, nodeReply6, 200), true},
				row{"another's node information reply", nodePacket(them, me, nodeReply6, 201), false},
				row{"our own query", nodePacket(me, them, nodeQuery6, 200), false},
				row{"quote of a query", quote(nodePacket(me, them, nodeQuery6, 200)), true},
				row{"quote of another's query", quote(nodePacket(me, them, nodeQuery6, 201)), false},
				row{"redirect", redirectPacket(nil, mine), true},
				row{"redirect with a link-layer address", redirectPacket(link, mine), true},
				row{"redirect of another's", redirectPacket(link, foreign), false},
				row{"redirect that quotes nothing", icmpPacket(them, me, redirect6, 0, make([]byte, 32)), false},
				row{"router advertisement", icmpPacket(them, me, 134, 200, make([]byte, 32)), false},
			)
		}
		for i := range requests {
			tests = append(tests,
				row{fmt.Sprint("reply of type ", replies[i]), icmpPacket(them, me, replies[i], 200, make([]byte, 12)), true},
				row{fmt.Sprint("another's reply of type ", replies[i]), icmpPacket(them, me, replies[i], 201, payload(12, ours.token)), false},
				row{fmt.Sprint("request of type ", requests[i]), icmpPacket(them, me, requests[i], 200, make([]byte, 12)), false},
				row{fmt.Sprint("quote of type ", requests[i]), quote(icmpPacket(me, them, requests[i], 200, make([]byte, 12))), true},
				row{fmt.Sprint("quote of another's of type ", requests[i]), quote(icmpPacket(me, them, requests[i], 201, make([]byte, 12))), false},
				row{fmt.Sprint("quote of a reply of type ", replies[i]), quote(icmpPacket(me, them, replies[i], 200, make([]byte, 12))), false},
			)
		}
		for _, tt := range tests {
			t.Run(name+tt.name, func(t *testing.T) {
				if got := passes(t, prog, v6, tt.packet); got != tt.want {
					t.Errorf("lets it in: %v, want %v", got, tt.want)
				}
			})
		}
		if passes(t, plain, v6, quote(ported(protoUDPLite, 41000, ours.token))) {
			t.Error(name + "a quote of UDP-Lite passes with nothing reserved of it")
		}
		for _, tt := range []row{
			{"UDP-Lite to our port", ported(protoUDPLite, 33434, 0), false}, // 0x829a is the destination
			{"another protocol to our address", ipPacket(them, me, 253, nil), true},
		} {
			proto := tt.packet[9]
			if v6 {
				proto = tt.packet[6]
			}
			if got := passes(t, extraFilter(w, proto, v6), v6, tt.packet); got != tt.want {
				t.Errorf("%s%s passes: %v, want %v", name, tt.name, got, tt.want)
			}
		}
		answer := ipPacket(them, me, protoUDPLite, append([]byte{0x82, 0x9a, 41000 >> 8, 41000 & 0xff, 0, 8, 0, 0}, 1, 2))
		if !passes(t, extraFilter(w, protoUDPLite, v6), v6, answer) {
			t.Error(name + "an answer to our UDP-Lite port does not pass")
		}
		if passes(t, extraFilter(w, protoDCCP, v6), v6, answer) || passes(t, extraFilter(ours, protoUDPLite, v6), v6, answer) || passes(t, extraFilter(ours, 253, v6), v6, answer) {
			t.Error(name + "an answer passes that nothing was reserved for")
		}
	}
	if passes(t, extraFilter(oursToo(false), 253, false), false, ipPacket(them4, netip.MustParseAddr("10.0.0.77"), 253, nil)) {
		t.Error("a packet to another address of this host passes")
	}
}

// TestProtocols: probes of other protocols leave, and their answers come in, as long as something is reserved.
func TestProtocols(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			e := endsOf(t, n, family)
			c := e.opened(t, Options{Protocols: []uint8{protoUDPLite, protoDCCP, 253, wire.ProtoUDP}})
			if got := c.Caps().Extra; !bytes.Equal(got, []byte{protoUDPLite, protoDCCP, 253}) {
				t.Errorf("hears %v too, want what was asked for", got)
			}
			peer := ends{host: e.target, target: e.host, do: n.Node("target").Do}
			there := peer.opened(t, Options{Protocols: []uint8{protoUDPLite, protoDCCP, 253}})
			ps := []Packet{}
			for _, proto := range []uint8{protoUDPLite, protoDCCP, 253} {
				port := e.reserve(t, c, proto)
				if want := proto != 253; (port >= firstPort) != want || port == 0 == want {
					t.Errorf("protocol %d: port %d", proto, port)
				}
				l4 := payload(20, c.Caps().Token)
				answer := payload(20, 0)
				if hasPorts(proto) {
					binary.BigEndian.PutUint16(l4, port)
					binary.BigEndian.PutUint16(answer[2:], port)
				}
				probe := Packet{Dst: e.target, Data: append(e.header(nil, e.target, proto, shape{ttl: 1}, len(l4)), l4...)}
				if _, err := e.sendIn(c, probe); err != nil {
					t.Fatal(err)
				}
				e.wantError(t, next(t, c), probe, e.router, byFamily[uint8](e, wire.TimeExceeded4, wire.TimeExceeded6), 0)
				ps = append(ps, Packet{Dst: e.host, Data: append(peer.header(nil, e.host, proto, shape{ttl: 9}, len(answer)), answer...)})
				if hasPorts(proto) { // to another port first: it is not heard
					other := bytes.Clone(answer)
					other[3]++
					if _, err := there.Send([]Packet{{Dst: e.host, Data: append(peer.header(nil, e.host, proto, shape{ttl: 9}, len(answer)), other...)}}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := there.Send(ps[len(ps)-1:]); err != nil {
					t.Fatal(err)
				}
				r := next(t, c)
				if r.Proto != proto || r.From != e.target || r.To != e.host || r.TTL != 8 || !r.Kernel || !bytes.Equal(r.Data, answer) {
					t.Errorf("protocol %d: reply %+v", proto, r)
				}
				c.Release(e.host, proto, port)
			}
			// What was given back is heard no more: only what is asked for afterwards.
			if _, err := there.Send(ps); err != nil {
				t.Fatal(err)
			}
			id := e.reserve(t, c, e.icmp())
			if _, err := e.sendIn(c, e.echo(e.target, id, 1, shape{ttl: 9})); err != nil {
				t.Fatal(err)
			}
			if r := next(t, c); r.Proto != e.icmp() {
				t.Errorf("reply %+v, want the echo's alone", r)
			}
			if _, err := c.Reserve(e.host, 253, 5); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("a port of a protocol that has none: %v", err)
			}
			if _, err := c.Reserve(e.host, 254, 0); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("a protocol that was not asked for: %v", err)
			}
			if got, err := c.Reserve(e.host, protoUDPLite, 41000); got != 41000 || err != nil {
				t.Errorf("port 41000: %d (%v)", got, err)
			}
			other := e.opened(t, Options{Protocols: []uint8{protoUDPLite}})
			if _, err := other.Reserve(e.host, protoUDPLite, 41000); !errors.Is(err, ErrTaken) {
				t.Errorf("a port of another connection: %v, want ErrTaken", err)
			}
		})
	}
}

// TestExtendedEcho asks a host about one of its interfaces (RFC 8335), with and without privilege.
func TestExtendedEcho(t *testing.T) {
	plan := forkPlan()
	plan.Routes = []lab.Route{
		{On: "host", Dst: "192.0.2.0/24", Kind: lab.Blackhole},
		{On: "host", Dst: "2001:db8:dead::/48", Kind: lab.Blackhole},
	}
	n := lab.Start(t, plan)
	kinds(t, func(t *testing.T, family int, o Options) {
		e, _ := fork(t, n, family)
		c := e.opened(t, o)
		id := e.reserve(t, c, e.icmp())
		typ, reply := byFamily[uint8](e, extEcho4, extEcho6), byFamily[uint8](e, extEchoReply4, extEchoReply6)
		byName := wire.AppendExtensions(nil, wire.AppendObject(nil, 3, 1, []byte("r1\x00\x00")))
		b := wire.AppendEcho(e.header(nil, e.target, e.icmp(), shape{ttl: 9}, 8+len(byName)), e.host, e.target, typ, id, 7<<8|1, byName, 0)
		p := Packet{Dst: e.target, Data: b}
		if _, err := e.sendIn(c, p); err != nil {
			t.Fatal(err)
		}
		m := e.readICMP(t, next(t, c), Packet{}, e.target)
		if m.Type() != reply || m.Code() != 0 || m.ID() != id || m.Seq()>>8 != 7 {
			t.Errorf("type %d code %d id %d seq %#x, want an extended echo reply", m.Type(), m.Code(), m.ID(), m.Seq())
		}
		// What a kernel says that does not know it, and in this case too.
		gone := byFamily(e, netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8:dead::9"))
		b = wire.AppendEcho(e.header(nil, gone, e.icmp(), shape{ttl: 9}, 8+len(byName)), e.host, gone, typ, id, 9<<8|1, byName, 0)
		if _, err := e.sendIn(c, Packet{Dst: gone, Data: b}); !errors.Is(err, unix.EINVAL) || strings.Contains(err.Error(), "Linux 5.13") != o.Unprivileged {
			t.Errorf("refused with: %v, want EINVAL and what it may mean", err)
		}
		// And an error that quotes the request. Linux sends none over IPv4 (icmp_send knows types up to 18 alone), and
		// does not tell ping sockets of those over IPv6 (icmpv6_err).
		if family == 4 || o.Unprivileged {
			return
		}
		p = Packet{Dst: e.target, Data: wire.AppendEcho(e.header(nil, e.target, e.icmp(), shape{ttl: 1}, 8+len(byName)), e.host, e.target, typ, id, 8<<8|1, byName, 0)}
		if _, err := e.sendIn(c, p); err != nil {
			t.Fatal(err)
		}
		e.wantError(t, next(t, c), p, e.router, byFamily[uint8](e, wire.TimeExceeded4, wire.TimeExceeded6), 0)
	})
}

// TestSegment: an answer to a TCP probe that is a bare acknowledgement is let in (RFC 5961 section 3.2), to ours alone. Hosts give it in states
// that a probe alone does not bring about, so the other end makes it up.
func TestSegment(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		e := endsOf(t, n, family)
		c := e.opened(t, Options{})
		port := e.reserve(t, c, wire.ProtoTCP)
		peer := ends{host: e.target, target: e.host, do: n.Node("target").Do}
		there := peer.opened(t, Options{})
		mine := c.Caps().Token<<16 | 7
		for _, ack := range []uint32{mine ^ 1<<31, mine, mine + 1} {
			b := wire.AppendTCP(peer.header(nil, e.host, wire.ProtoTCP, shape{ttl: 9}, 20), netip.AddrPortFrom(e.target, 80), netip.AddrPortFrom(e.host, port),
				wire.TCPFields{Seq: mine, Ack: ack, Flags: wire.ACK, Window: 100}, nil)
			if _, err := there.Send([]Packet{{Dst: e.host, Data: b}}); err != nil {
				t.Fatal(err)
			}
			if ack>>16 != mine>>16 {
				continue // it would be the next heard
			}
			r := next(t, c)
			s, err := wire.ParseTCP(r.Data)
			if err != nil || r.From != e.target || s.Flags() != wire.ACK || s.Ack() != ack || s.Dst() != port {
				t.Errorf("IPv%d: %+v (%v), want an ACK of %d", family, r, err, ack)
			}
		}
	}
}

// TestTimestamp: the reply to an ICMP timestamp request is let in, to ours alone.
func TestTimestamp(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	e := endsOf(t, n, 4)
	c := e.opened(t, Options{})
	id := e.reserve(t, c, wire.ProtoICMP)
	for _, as := range []uint16{id ^ 1, id} {
		b := wire.AppendEcho(e.header(nil, e.target, wire.ProtoICMP, shape{ttl: 9}, 20), e.host, e.target, timestamp4, as, 1, make([]byte, 12), 0)
		if _, err := e.sendIn(c, Packet{Dst: e.target, Data: b}); err != nil {
			t.Fatal(err)
		}
	}
	if m := e.readICMP(t, next(t, c), Packet{}, e.target); m.Type() != timestampReply4 || m.ID() != id {
		t.Errorf("type %d id %d, want a timestamp reply to ours", m.Type(), m.ID())
	}
}

// TestOptions: IPv4 options leave as they were written, and those of an answer are told.
func TestOptions(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, o := range []Options{{}, {Unprivileged: true}} {
		e := endsOf(t, n, 4)
		c := e.opened(t, o)
		id, port := e.reserve(t, c, wire.ProtoICMP), e.reserve(t, c, wire.ProtoUDP)
		record := append([]byte{1, 7, 39, 4}, make([]byte, 36)...)
		head := func(options []byte, proto uint8, payload int) []byte {
			return wire.AppendIPv4(nil, wire.IPv4{Src: e.host, Dst: e.target, TTL: 9, Proto: proto, ID: 9, Options: options}, payload)
		}
		echo := Packet{Dst: e.target, Data: wire.AppendEcho(head(record, wire.ProtoICMP, 8), e.host, e.target, wire.Echo4, id, 1, nil, 0)}
		if _, err := e.sendIn(c, echo); err != nil {
			t.Fatal(err)
		}
		r := next(t, c)
		if m := e.readICMP(t, r, Packet{}, e.target); m.Type() != wire.EchoReply4 || m.Seq() != 1 {
			t.Fatalf("%+v: type %d", o, m.Type())
		}
		// The router on the way there is in it, and the target.
		far, target := netip.MustParseAddr("203.0.113.1").As4(), e.target.As4()
		if len(r.Options) != 40 || !bytes.Contains(r.Options, far[:]) || !bytes.Contains(r.Options, target[:]) {
			t.Errorf("%+v: options %x, want a record of the route", o, r.Options)
		}
		// Without options again, and then an error that quotes some.
		for i, options := range [][]byte{nil, record} {
			p := Packet{Dst: e.target, Data: wire.AppendUDP(head(options, wire.ProtoUDP, 20), netip.AddrPortFrom(e.host, port),
				netip.AddrPortFrom(e.target, 33434), probeBody(uint16(0xbee0+i), 12), uint16(0xbee0+i))}
			w := capture(t, n, "host", "router")
			if _, err := e.sendIn(c, p); err != nil {
				t.Fatal(err)
			}
			ip, err := wire.ParseIP(leaves(t, w, e.target))
			if err != nil || len(ip.Header()) != 20+len(options) {
				t.Errorf("%+v: left with a header of %d bytes (%v), want %d", o, len(ip.Header()), err, 20+len(options))
			}
			e.wantError(t, next(t, c), p, e.target, wire.Unreachable4, 3)
		}
	}
}

// TestSourceRoute: a packet that is to go by a router first does, without privilege too.
func TestSourceRoute(t *testing.T) {
	n := startFork(t)
	for node, devs := range map[string][]string{"r1": {"all", "host", "target"}, "r2": {"all", "host", "target"}, "target": {"all", "r1", "r2"}, "host": {"all"}} {
		for _, dev := range devs {
			if err := n.Node(node).Set("ipv4/conf/"+dev+"/accept_source_route", "1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, o := range []Options{{}, {Unprivileged: true}} {
		e, r2 := fork(t, n, 4)
		c := e.opened(t, o)
		port := e.reserve(t, c, wire.ProtoUDP)
		to := e.target.As4()
		loose := append([]byte{1, 131, 7, 4}, to[:]...) // on to the target from r2, where it goes first
		b := wire.AppendIPv4(nil, wire.IPv4{Src: e.host, Dst: r2, TTL: 1, Proto: wire.ProtoUDP, ID: 9, Options: loose}, 20)
		p := Packet{Dst: r2, Data: wire.AppendUDP(b, netip.AddrPortFrom(e.host, port), netip.AddrPortFrom(e.target, 33434), probeBody(0xbeef, 12), 0xbeef)}
		w := capture(t, n, "host", "r2")
		if _, err := e.sendIn(c, p); err != nil {
			t.Fatal(err)
		}
		ip, err := wire.ParseIP(leaves(t, w, r2))
		if err != nil || !bytes.Equal(ip.Header()[20:], loose) {
			t.Errorf("%+v: left with options %x (%v), want %x", o, ip.Header()[20:], err, loose)
		}
		r := next(t, c)
		m := e.readICMP(t, r, Packet{}, r2)
		q, err := m.Quote()
		if err != nil || m.Type() != wire.TimeExceeded4 {
			t.Fatalf("%+v: type %d (%v)", o, m.Type(), err)
		}
		if u, err := wire.ParseUDP(q.Transport()); err != nil || u.Src() != port || o.Unprivileged && u.Checksum() != 0xbeef {
			t.Errorf("%+v: quotes %x (%v)", o, q.Transport(), err)
		}
	}
}

// TestEarlyPort: a port that is not for ordinary users is taken when the sockets are opened, and is heard on
// only while it is reserved.
func TestEarlyPort(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	if err := n.Node("target").ServeUDP(7, lab.Echo); err != nil {
		t.Fatal(err)
	}
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			e := endsOf(t, n, family)
			before := descriptors(t)
			c := e.opened(t, Options{Port: 53})
			taken := e.opened(t, Options{Port: 53})
			if _, err := taken.Reserve(e.host, wire.ProtoUDP, 53); !errors.Is(err, ErrTaken) {
				t.Errorf("another connection's: %v, want ErrTaken", err)
			}
			ask := func(id uint16) Packet {
				return e.udp(netip.AddrPortFrom(e.target, 7), 53, id, shape{ttl: 9, size: 12})
			}
			for round := range uint16(2) {
				id := e.reserve(t, c, e.icmp())
				// Not reserved: the answer is dropped, and does not wait for who comes next.
				w := capture(t, n, "host", "router")
				for i, p := range []Packet{ask(1), e.echo(e.target, id, 1, shape{ttl: 9})} {
					if _, err := e.sendIn(c, p); err != nil {
						t.Fatal(err)
					}
					if i > 0 {
						continue
					}
					if _, err := w.Wait(within, func(p lab.Packet) bool { // the echo's comes behind it
						ip, err := wire.ParseIP(p.Data)
						return err == nil && !p.Out && ip.Proto() == wire.ProtoUDP
					}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := w.Stop(); err != nil {
					t.Fatal(err)
				}
				if r := next(t, c); r.Proto != e.icmp() {
					t.Errorf("round %d: heard %+v before the port was reserved", round, r)
				}
				if got, err := c.Reserve(e.host, wire.ProtoUDP, 53); got != 53 || err != nil {
					t.Fatalf("round %d: port %d (%v), want 53", round, got, err)
				}
				if _, err := c.Reserve(e.host, wire.ProtoTCP, 53); !errors.Is(err, ErrTaken) {
					t.Errorf("round %d, again: %v, want ErrTaken", round, err)
				}
				if _, err := e.sendIn(c, ask(2)); err != nil {
					t.Fatal(err)
				}
				r := next(t, c)
				u, err := wire.ParseUDP(r.Data)
				if err != nil || r.From != e.target || r.To != e.host || u.Dst() != 53 || !bytes.HasSuffix(u.Payload(), probeBody(2, 12)[2:]) {
					t.Errorf("round %d: reply %+v (%v)", round, r, err)
				}
				c.Release(e.host, wire.ProtoUDP, 53)
			}
			c.Close()
			taken.Close()
			if open := kept(t, before); len(open) > 0 {
				t.Errorf("still open: %v", open)
			}
		})
	}
}
