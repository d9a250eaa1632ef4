package probe_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/rawsock"
)

// extra lets a Conn have the protocols beside ICMP, TCP and UDP.
func extra(c *rawsock.Caps) { c.Extra = []uint8{wire.ProtoUDPLite, wire.ProtoDCCP, 253} }

// kind is a probe of that kind on c, from a port or identifier of its own.
func kind(t *testing.T, c *simnet.Conn, p probe.Proto, dst string) probe.Spec {
	t.Helper()
	s := probe.Spec{Proto: p, Number: 253, TTL: 64, Timeout: time.Second, Attempt: 1}
	a, src := netip.MustParseAddr(dst), us
	if a.Is6() {
		src = us6
	}
	port, err := c.Reserve(src, p.Number(a, s.Number), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Src, s.Dst = netip.AddrPortFrom(src, port), netip.AddrPortFrom(a, 0)
	switch p {
	case probe.UDP, probe.UDPLite, probe.DCCP, probe.TCP:
		s.Dst = netip.AddrPortFrom(a, 7)
	case probe.ExtEcho:
		s.Query = probe.Query{Flags: 1, Data: string(wire.AppendInterfaceName(nil, "eth0"))}
	case probe.NodeInfo:
		s.Query = probe.Query{Type: 2, Data: string(a.AsSlice())}
	}
	return s
}

// twoRouters are two routers between us and a target, 3 ms away, for both families.
func twoRouters() (src, r1, r2, dst *simnet.Node) {
	src, dst = simnet.Host(us.String(), us6.String()), simnet.Host("192.0.2.9", "2001:db8::9")
	r1, r2 = simnet.Router("10.0.1.1", "fd00:1::1"), simnet.Router("10.0.2.1", "fd00:2::1")
	simnet.Path(src, r1, r2, dst)
	return
}

// one sends one probe and returns all that came of it.
func one(t *testing.T, c *simnet.Conn, s probe.Spec) ([]probe.Outcome, *log) {
	t.Helper()
	a := &script{spec: s, count: 1, linger: 100 * time.Millisecond}
	lg := run(t, c, a, probe.Limits{})
	if f := c.Faults(); len(f) > 0 {
		t.Errorf("faults: %v", f)
	}
	return a.all, lg
}

func TestEveryKindIsAnswered(t *testing.T) {
	const four, six = "192.0.2.9", "2001:db8::9"
	port := func(n uint8) simnet.Port {
		return simnet.Port{Name: fmt.Sprint("eth", n), Index: uint32(n), IPv4: true, IPv6: true, Down: n > 0}
	}
	tests := []struct {
		name  string
		proto probe.Proto
		dst   string
		edit  func(*probe.Spec)
		node  func(*simnet.Node)
		want  probe.Answer
		check func(o *probe.Outcome) bool
	}{
		{name: "UDP-Lite, closed", proto: probe.UDPLite, dst: four, node: func(n *simnet.Node) { n.UDPLite = map[uint16]simnet.Service{} }, want: probe.PortUnreachable},
		{name: "UDP-Lite, no such protocol", proto: probe.UDPLite, dst: six, want: probe.ProtocolUnreachable},
		{name: "UDP-Lite, open", proto: probe.UDPLite, dst: six, edit: func(s *probe.Spec) { s.Size = 80 },
			node: func(n *simnet.Node) { n.UDPLite = map[uint16]simnet.Service{7: simnet.Echo} }, want: probe.Datagram},
		{name: "DCCP, open", proto: probe.DCCP, dst: four, node: func(n *simnet.Node) { n.DCCP = map[uint16]bool{7: true} }, want: probe.RawReply,
			check: func(o *probe.Outcome) bool { return o.State == wire.DCCPResponse }},
		{name: "DCCP, closed", proto: probe.DCCP, dst: six, node: func(n *simnet.Node) { n.DCCP = map[uint16]bool{} }, want: probe.RawReply,
			check: func(o *probe.Outcome) bool { return o.State == wire.DCCPReset }},
		{name: "DCCP, no such protocol", proto: probe.DCCP, dst: four, want: probe.ProtocolUnreachable},
		{name: "raw, no such protocol", proto: probe.Raw, dst: four, want: probe.ProtocolUnreachable},
		{name: "raw, no such protocol", proto: probe.Raw, dst: six, want: probe.ProtocolUnreachable},
		{name: "raw, answered", proto: probe.Raw, dst: four, node: func(n *simnet.Node) { n.Protocols = map[uint8]simnet.Service{253: simnet.Echo} }, want: probe.RawReply},
		{name: "DNS", proto: probe.UDP, dst: four, edit: func(s *probe.Spec) { s.Content = probe.DNSQuery },
			node: func(n *simnet.Node) { n.UDP = map[uint16]simnet.Service{7: simnet.DNS} }, want: probe.Datagram},
		{name: "DNS, closed", proto: probe.UDP, dst: six, edit: func(s *probe.Spec) { s.Content = probe.DNSQuery }, want: probe.PortUnreachable},
		{name: "QUIC", proto: probe.UDP, dst: six, edit: func(s *probe.Spec) { s.Content = probe.QUICInitial },
			node: func(n *simnet.Node) { n.UDP = map[uint16]simnet.Service{7: simnet.QUIC} }, want: probe.Datagram},
		{name: "QUIC, closed", proto: probe.UDP, dst: four, edit: func(s *probe.Spec) { s.Content = probe.QUICInitial }, want: probe.PortUnreachable},
		{name: "timestamp", proto: probe.Timestamp, dst: four, node: func(n *simnet.Node) { n.Clock = -time.Hour }, want: probe.TimestampReply,
			check: func(o *probe.Outcome) bool {
				// The network's clock starts at midnight; the answer is 3 ms away.
				return o.Times == probe.Times{Originate: 0, Receive: 23*60*60*1000 + 3, Transmit: 23*60*60*1000 + 3}
			}},
		{name: "mask", proto: probe.Mask, dst: four, node: func(n *simnet.Node) { n.Mask = 0xffffff00 }, want: probe.MaskReply,
			check: func(o *probe.Outcome) bool { return o.Mask == 0xffffff00 }},
		{name: "extended echo, up", proto: probe.ExtEcho, dst: four, node: func(n *simnet.Node) { n.Ports = []simnet.Port{port(0)} }, want: probe.ExtEchoReply,
			check: func(o *probe.Outcome) bool {
				return o.Code == wire.ExtEchoOK && o.State == wire.ExtEchoActive|wire.ExtEchoIPv4|wire.ExtEchoIPv6
			}},
		{name: "extended echo, down", proto: probe.ExtEcho, dst: six, edit: func(s *probe.Spec) { s.Query.Data = string(wire.AppendInterfaceIndex(nil, 1)) },
			node: func(n *simnet.Node) { n.Ports = []simnet.Port{port(0), port(1)} }, want: probe.ExtEchoReply,
			check: func(o *probe.Outcome) bool {
				return o.Code == wire.ExtEchoOK && o.State == wire.ExtEchoIPv4|wire.ExtEchoIPv6
			}},
		{name: "extended echo, unknown", proto: probe.ExtEcho, dst: six, node: func(n *simnet.Node) { n.Ports = []simnet.Port{port(1)} }, want: probe.ExtEchoReply,
			check: func(o *probe.Outcome) bool { return o.Code == wire.ExtEchoNoInterface }},
		{name: "extended echo, two fit", proto: probe.ExtEcho, dst: four, node: func(n *simnet.Node) { n.Ports = []simnet.Port{port(0), port(0)} }, want: probe.ExtEchoReply,
			check: func(o *probe.Outcome) bool { return o.Code == wire.ExtEchoManyInterfaces }},
		{name: "extended echo, malformed", proto: probe.ExtEcho, dst: four, edit: func(s *probe.Spec) { s.Query.Data = "" },
			node: func(n *simnet.Node) { n.Ports = []simnet.Port{port(0)} }, want: probe.ExtEchoReply,
			check: func(o *probe.Outcome) bool { return o.Code == wire.ExtEchoMalformed }},
		{name: "extended echo about a neighbour", proto: probe.ExtEcho, dst: four,
			edit: func(s *probe.Spec) {
				s.Query = probe.Query{Data: string(wire.AppendInterfaceAddr(nil, netip.MustParseAddr("192.0.2.10")))}
			},
			node: func(n *simnet.Node) {
				n.Neighbors = []simnet.Neighbor{{Addr: netip.MustParseAddr("192.0.2.10"), State: 2}}
			},
			want:  probe.ExtEchoReply,
			check: func(o *probe.Outcome) bool { return o.Code == wire.ExtEchoOK && o.State == 2<<5 }},
		{name: "extended echo about no neighbour", proto: probe.ExtEcho, dst: four,
			edit:  func(s *probe.Spec) { s.Query.Flags = 0 },
			node:  func(n *simnet.Node) { n.Ports = []simnet.Port{port(0)} },
			want:  probe.ExtEchoReply,
			check: func(o *probe.Outcome) bool { return o.Code == wire.ExtEchoNoEntry }},
		{name: "node name", proto: probe.NodeInfo, dst: six, node: func(n *simnet.Node) { n.Name = "gw" }, want: probe.NodeReply,
			check: func(o *probe.Outcome) bool {
				return o.Code == 0 && string(o.Payload) == "\x00\x00\x00\x00\x02gw\x00\x00"
			}},
		{name: "node addresses", proto: probe.NodeInfo, dst: six, edit: func(s *probe.Spec) { s.Query.Type = 4 },
			node: func(n *simnet.Node) { n.Name = "gw.example" }, want: probe.NodeReply,
			check: func(o *probe.Outcome) bool { return string(o.Payload) == "\x00\x00\x00\x00\xc0\x00\x02\x09" }},
		{name: "node, an unknown question", proto: probe.NodeInfo, dst: six, edit: func(s *probe.Spec) { s.Query.Type = 99 },
			node: func(n *simnet.Node) { n.Name = "gw" }, want: probe.NodeReply,
			check: func(o *probe.Outcome) bool { return o.Code == 2 && len(o.Payload) == 0 }},
		{name: "ACK to an open port", proto: probe.TCP, dst: four, edit: func(s *probe.Spec) { s.Segment.Flags = wire.ACK },
			node: func(n *simnet.Node) { n.TCP = map[uint16]simnet.TCPPort{7: simnet.Open} }, want: probe.Reset,
			check: func(o *probe.Outcome) bool { return o.Flags == wire.RST }},
		{name: "ACK to a closed port", proto: probe.TCP, dst: six, edit: func(s *probe.Spec) { s.Segment.Flags = wire.ACK }, want: probe.Reset,
			check: func(o *probe.Outcome) bool { return o.Flags == wire.RST }},
		{name: "ACK of 1500 bytes to an open port", proto: probe.TCP, dst: six, edit: func(s *probe.Spec) { s.Segment.Flags, s.Size = wire.ACK, 1500 },
			node: func(n *simnet.Node) { n.TCP = map[uint16]simnet.TCPPort{7: simnet.Open} }, want: probe.Reset,
			check: func(o *probe.Outcome) bool { return o.Flags == wire.RST }},
		{name: "FIN to a closed port", proto: probe.TCP, dst: four, edit: func(s *probe.Spec) { s.Segment.Flags = wire.FIN }, want: probe.Reset,
			check: func(o *probe.Outcome) bool { return o.Flags == wire.RST|wire.ACK }},
		{name: "Xmas to a closed port", proto: probe.TCP, dst: six, edit: func(s *probe.Spec) { s.Segment.Flags = wire.FIN | wire.PSH | wire.URG }, want: probe.Reset,
			check: func(o *probe.Outcome) bool { return o.Flags == wire.RST|wire.ACK }},
		{name: "SYN without options", proto: probe.TCP, dst: four, edit: func(s *probe.Spec) {
			s.Segment = probe.Segment{Flags: wire.SYN | wire.ECE | wire.CWR, Window: 1024, Bare: probe.NoMSS | probe.NoSACK | probe.NoTimestamps | probe.NoWindowScale}
		}, node: func(n *simnet.Node) { n.TCP = map[uint16]simnet.TCPPort{7: simnet.Open} }, want: probe.SynAck},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.dst, func(t *testing.T) {
			src, _, _, dst := twoRouters()
			if tt.node != nil {
				tt.node(dst)
			}
			c := simnet.New(simnet.Config{Caps: extra}, src)
			s := kind(t, c, tt.proto, tt.dst)
			if tt.edit != nil {
				tt.edit(&s)
			}
			all, lg := one(t, c, s)
			if len(all) != 1 || all[0].Status != probe.Answered || all[0].Answer != tt.want || all[0].Match != probe.Strict || !all[0].Answer.Terminal() || all[0].From != s.Dst.Addr() {
				t.Fatalf("outcomes %+v, want answer %d", all, tt.want)
			}
			if rtt, ok := all[0].RTT(); !ok || rtt != 6*time.Millisecond {
				t.Errorf("round trip %v %v", rtt, ok)
			}
			if tt.check != nil && !tt.check(&all[0]) {
				t.Errorf("answer %+v", all[0])
			}
			s.TTL = 2
			all, _ = one(t, c, s)
			if len(all) != 1 || all[0].Answer != probe.TimeExceeded || all[0].Match != probe.Strict || all[0].Quoted.Src != s.Src {
				t.Errorf("at TTL 2: %+v", all)
			}
			if lg.checked(t) != (probe.Checked{}) {
				t.Errorf("checked %+v", lg.checked(t))
			}
		})
	}
}

// An extended echo has 255 ids: whoever asks for more in that time waits, and no answer is another probe's.
func TestExtendedEchoIDsRunOut(t *testing.T) {
	src, _, _, dst := twoRouters()
	dst.Ports = []simnet.Port{{Name: "eth0"}}
	c := simnet.New(simnet.Config{}, src)
	s := &script{spec: kind(t, c, probe.ExtEcho, "192.0.2.9"), count: 600, linger: time.Second}
	lg := run(t, c, s, probe.Limits{})
	serials := make(map[uint64]bool)
	for _, o := range s.all {
		rtt, ok := o.RTT()
		if o.Answer != probe.ExtEchoReply || !ok || rtt != 6*time.Millisecond || serials[o.Serial] {
			t.Fatalf("outcome %+v", o)
		}
		serials[o.Serial] = true
	}
	if len(serials) != 600 || lg.checked(t) != (probe.Checked{}) {
		t.Errorf("%d answered, checked %+v", len(serials), lg.checked(t))
	}
	if d, want := c.Now().Sub(s.all[0].Sent), 2*probe.LeastInterval(&s.spec)*255; d < want {
		t.Errorf("600 probes in %v, want at least %v", d, want)
	}
}

// Routers fill in what options ask for, and an echo brings them back.
func TestRecordedRoute(t *testing.T) {
	src, _, r2, dst := twoRouters()
	r2.Clock, dst.Clock = time.Minute, time.Hour
	c := simnet.New(simnet.Config{}, src)
	s := kind(t, c, probe.ICMP, "192.0.2.9")
	s.Options = string(wire.AppendRecordRoute(nil, 9))
	all, _ := one(t, c, s)
	if len(all) != 1 {
		t.Fatalf("outcomes %+v", all)
	}
	w := wire.WalkOptions(all[0].Options)
	o, _ := w.Next()
	var got []string
	for i := 0; ; i++ {
		a, passed, ok := o.Route(i)
		if !ok || !passed {
			break
		}
		got = append(got, a.String())
	}
	if want := "10.0.1.1 10.0.2.1 192.0.2.9 10.0.2.1 10.0.1.1"; strings.Join(got, " ") != want {
		t.Errorf("recorded %v, want %s", got, want)
	}

	s.Options = string(wire.AppendTimestampOption(nil, wire.StampsAddrs, nil, 3))
	all, _ = one(t, c, s)
	w = wire.WalkOptions(all[0].Options)
	o, _ = w.Next()
	base := uint32(all[0].Sent.UnixMilli() % (24 * 60 * 60 * 1000))
	for i, want := range []wire.Stamp{
		{Addr: netip.MustParseAddr("10.0.1.1"), Time: base + 1, Set: true},
		{Addr: netip.MustParseAddr("10.0.2.1"), Time: base + 2 + 60*1000, Set: true},
		{Addr: netip.MustParseAddr("192.0.2.9"), Time: base + 3 + 60*60*1000, Set: true},
	} {
		if got, ok := o.Stamp(i); !ok || got != want {
			t.Errorf("stamp %d: %+v, want %+v", i, got, want)
		}
	}
	if o.Overflow() != 2 {
		t.Errorf("%d nodes found no room, want 2", o.Overflow())
	}

	// Only those that are named stamp, in that order.
	s.Options = string(wire.AppendTimestampOption(nil, wire.StampsSpecified, []netip.Addr{netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("10.0.1.1")}, 0))
	all, _ = one(t, c, s)
	w = wire.WalkOptions(all[0].Options)
	o, _ = w.Next()
	for i := range 2 {
		if got, ok := o.Stamp(i); !ok || !got.Set {
			t.Errorf("stamp %d: %+v", i, got)
		}
	}
}

// A source route is followed node by node, or refused, and what comes back is understood at each.
func TestSourceRoutes(t *testing.T) {
	six := func(as ...string) (then []netip.Addr) {
		for _, a := range as {
			then = append(then, netip.MustParseAddr(a))
		}
		return then
	}
	build := func(policy simnet.Routing) (*simnet.Node, *simnet.Conn) {
		src, r1, r2, dst := twoRouters()
		// A way round that only a source route takes.
		aside := simnet.Router("10.0.9.1", "fd00:9::1")
		r1.Link(aside, "10.0.9.1/32", "fd00:9::1/128")
		aside.Link(r2)
		for _, n := range []*simnet.Node{r1, r2, aside, dst} {
			n.SourceRoutes = policy
		}
		return aside, simnet.New(simnet.Config{Caps: extra}, src)
	}
	for _, p := range []probe.Proto{probe.UDP, probe.ICMP, probe.TCP, probe.UDPLite, probe.DCCP, probe.Timestamp} {
		for _, dst := range []string{"192.0.2.9", "2001:db8::9"} {
			via := "10.0.9.1"
			options := string(wire.AppendSourceRoute(nil, false, six("192.0.2.9")))
			v6 := strings.Contains(dst, ":")
			if v6 {
				if p == probe.Timestamp {
					continue
				}
				via, options = "fd00:9::1", string(wire.AppendRouting(nil, 2, six("2001:db8::9")))
			}
			t.Run(fmt.Sprint(p, " to ", dst), func(t *testing.T) {
				_, c := build(simnet.FollowRoutes)
				s := kind(t, c, p, dst)
				s.Options, s.Via = options, netip.MustParseAddr(via)
				var path []string
				for s.TTL = 1; s.TTL <= 5; s.TTL++ {
					all, _ := one(t, c, s)
					if len(all) != 1 || all[0].Status != probe.Answered || all[0].Match != probe.Strict {
						t.Fatalf("TTL %d: %+v", s.TTL, all)
					}
					path = append(path, all[0].From.String())
					if all[0].Answer.Terminal() {
						break
					}
				}
				want := []string{"10.0.1.1", "10.0.9.1", "10.0.2.1", "192.0.2.9"}
				if v6 {
					want = []string{"fd00:1::1", "fd00:9::1", "fd00:2::1", "2001:db8::9"}
				}
				if !slices.Equal(path, want) {
					t.Errorf("path %v, want %v", path, want)
				}

				aside, c := build(simnet.FollowRoutes)
				aside.SourceRoutes = simnet.RefuseRoutes
				s = kind(t, c, p, dst)
				s.Options, s.Via = options, netip.MustParseAddr(via)
				all, _ := one(t, c, s)
				if len(all) != 1 || all[0].From != s.Via || v6 && (all[0].Answer != probe.ParameterProblem || all[0].Pointer != 42) || !v6 && (all[0].Answer != probe.Unreachable || all[0].Code != 5) {
					t.Errorf("refused: %+v", all)
				}
			})
		}
	}
	_, c := build(simnet.DropRoutes)
	s := kind(t, c, probe.ICMP, "192.0.2.9")
	s.Options, s.Via = string(wire.AppendSourceRoute(nil, false, six("192.0.2.9"))), netip.MustParseAddr("10.0.9.1")
	if all, _ := one(t, c, s); len(all) != 1 || all[0].Status != probe.Lost {
		t.Errorf("dropped: %+v", all)
	}
	_, c = build(simnet.FollowRoutes)
	s = kind(t, c, probe.ICMP, "192.0.2.9")
	s.Options, s.Via = string(wire.AppendSourceRoute(nil, true, six("192.0.2.9"))), netip.MustParseAddr("10.0.9.1")
	if all, _ := one(t, c, s); len(all) != 1 || all[0].Answer != probe.Unreachable || all[0].Code != 5 || all[0].From != s.Via {
		t.Errorf("strict, and not a neighbour: %+v", all)
	}
}

// A redirect is told, and the probe's answer still awaited.
func TestRedirectsAreTold(t *testing.T) {
	for dst, gw := range map[string]string{"192.0.2.9": "10.0.0.254", "2001:db8::9": "fd00::fe"} {
		src, r1, _, _ := twoRouters()
		r1.Redirect = netip.MustParseAddr(gw)
		c := simnet.New(simnet.Config{}, src)
		s := kind(t, c, probe.ICMP, dst)
		all, lg := one(t, c, s)
		if len(all) != 1 || all[0].Answer != probe.EchoReply {
			t.Errorf("%s: outcomes %+v", dst, all)
		}
		var told []probe.Outcome
		for _, e := range lg.events {
			if a, ok := e.(probe.Advised); ok {
				told = append(told, a.Outcome)
			}
		}
		if len(told) != 1 || told[0].Gateway != r1.Redirect || told[0].Serial != 1 || told[0].Spec != s || told[0].Answer != probe.NoAnswer ||
			told[0].At.Sub(told[0].Sent) != 2*time.Millisecond || lg.checked(t).Advisories != 1 {
			t.Errorf("%s: told %+v, checked %+v", dst, told, lg.checked(t))
		}
	}
}

// A broadcast or multicast probe is answered by many: the first answer is its own, the others are duplicates with their own
// address.
func TestManyAnswerABroadcast(t *testing.T) {
	for _, group := range []string{"224.0.0.1", "255.255.255.255", "10.0.0.255", "ff02::1"} {
		t.Run(group, func(t *testing.T) {
			a := netip.MustParseAddr(group)
			src := simnet.Host(us.String(), us6.String())
			src.Flood = []netip.Prefix{netip.MustParsePrefix("10.0.0.255/32")}
			for i := range 4 {
				n := simnet.Host(fmt.Sprint("10.0.0.", 10+i), fmt.Sprint("fd00::", 10+i))
				if i < 3 {
					n.Groups = []netip.Addr{a}
				}
				src.Link(n).Out.Delay = time.Duration(3-i) * time.Millisecond
			}
			c := simnet.New(simnet.Config{}, src)
			p := probe.ICMP
			s := kind(t, c, p, group)
			s.Any = true
			broadcast := a.Is4() && !a.IsMulticast()
			if all, _ := one(t, c, s); broadcast && (len(all) != 1 || all[0].Errno != "EACCES") {
				t.Fatalf("without leave to broadcast: %+v", all)
			}
			if err := c.Set(rawsock.Settings{Broadcast: true}); err != nil {
				t.Fatal(err)
			}
			all, lg := one(t, c, s)
			var from []string
			for i, o := range all {
				if o.Answer != probe.EchoReply || o.Match != probe.Strict || o.Duplicate != (i > 0) || o.Late {
					t.Errorf("answer %d: %+v", i, o)
				}
				from = append(from, o.From.String())
			}
			want := []string{"10.0.0.12", "10.0.0.11", "10.0.0.10"}
			if a.Is6() {
				want = []string{"fd00::12", "fd00::11", "fd00::10"}
			}
			if !slices.Equal(from, want) || lg.checked(t).Duplicates != 2 {
				t.Errorf("answers from %v, want %v; checked %+v", from, want, lg.checked(t))
			}
			s.Any = false
			if all, lg := one(t, c, s); len(all) != 1 || all[0].Status != probe.Lost || lg.checked(t).Unmatched != 3 {
				t.Errorf("not asked of any: %+v, checked %+v", all, lg.checked(t))
			}
		})
	}
}

// What is corrupted is told to the byte.
func TestCorruptedPayloadIsKept(t *testing.T) {
	src, _, _, dst := twoRouters()
	dst.Alter = func(r *rawsock.Reply) {
		r.Data[8+20] ^= 0xff
		simnet.Mend(r)
	}
	c := simnet.New(simnet.Config{}, src)
	s := kind(t, c, probe.ICMP, "192.0.2.9")
	s.Size = 84
	all, _ := one(t, c, s)
	if len(all) != 1 || !all[0].Corrupted || all[0].Wrong != 20 || len(all[0].Payload) != 56 || all[0].Payload[20] != 20^0xff {
		t.Errorf("outcomes %+v", all)
	}
	// A sequence that does not start at 1 is answered by the same numbers.
	c = simnet.New(simnet.Config{Record: true}, src2())
	s = kind(t, c, probe.ICMP, "192.0.2.9")
	s.First = 700
	one(t, c, s)
	if seq := binary.BigEndian.Uint16(c.Sent()[0].Data[26:]); seq != 700 {
		t.Errorf("first sequence number %d, want 700", seq)
	}
}
