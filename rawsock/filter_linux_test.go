package rawsock

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"gtrace/internal/wire"
)

var (
	me4, them4 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	me6, them6 = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")

	// ours is what the tests' run has reserved, of every kind something else.
	ours = wanted{token: 0x11223344, echo: []uint16{100, 200}, udp: []uint16{40000, 40001, 50000}, tcp: []uint16{45000}}
)

const token16 = 0x3344

func addrs(v6 bool) (me, them netip.Addr) {
	if v6 {
		return me6, them6
	}
	return me4, them4
}

// payload is n bytes with a token where probes carry it.
func payload(n int, token uint32) []byte {
	b := make([]byte, n)
	if n >= TokenOffset+4 {
		binary.BigEndian.PutUint32(b[TokenOffset:], token)
	}
	return b
}

// ipPacket puts an IP header of the right family before a transport message.
func ipPacket(src, dst netip.Addr, proto uint8, transport []byte) []byte {
	if src.Is4() {
		return append(wire.AppendIPv4(nil, wire.IPv4{Src: src, Dst: dst, TTL: 64, Proto: proto, ID: 1}, len(transport)), transport...)
	}
	return append(wire.AppendIPv6(nil, wire.IPv6{Src: src, Dst: dst, HopLimit: 64, Next: proto}, len(transport)), transport...)
}

func udpPacket(src, dst netip.Addr, sport, dport uint16, pay []byte) []byte {
	return ipPacket(src, dst, wire.ProtoUDP, wire.AppendUDP(nil, netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport), pay, 0))
}

func tcpPacket(src, dst netip.Addr, sport, dport uint16, f wire.TCPFields) []byte {
	return ipPacket(src, dst, wire.ProtoTCP, wire.AppendTCP(nil, netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport), f, nil))
}

func echoPacket(src, dst netip.Addr, reply bool, id, seq uint16, pay []byte) []byte {
	proto, typ := uint8(wire.ProtoICMP), uint8(wire.Echo4)
	switch {
	case src.Is4() && reply:
		typ = wire.EchoReply4
	case src.Is6() && !reply:
		proto, typ = wire.ProtoICMPv6, wire.Echo6
	case src.Is6():
		proto, typ = wire.ProtoICMPv6, wire.EchoReply6
	}
	return ipPacket(src, dst, proto, wire.AppendEcho(nil, src, dst, typ, id, seq, pay, 0))
}

// errorPacket is an ICMP error from them to me about a quoted packet.
func errorPacket(v6 bool, typ, code uint8, quote []byte) []byte {
	me, them := addrs(v6)
	proto := uint8(wire.ProtoICMP)
	if v6 {
		proto = wire.ProtoICMPv6
	}
	return ipPacket(them, me, proto, wire.AppendError(nil, them, me, typ, code, 0, quote, nil))
}

// withOptions lengthens an IPv4 header by n bytes of no-operation.
func withOptions(b []byte, n int) []byte {
	out := append([]byte(nil), b[:20]...)
	out[0] += byte(n / 4)
	binary.BigEndian.PutUint16(out[2:], uint16(len(b)+n))
	for range n {
		out = append(out, 1)
	}
	return append(out, b[20:]...)
}

// withExtensions puts IPv6 extension headers of those kinds, each 16 bytes
// long, before the transport.
func withExtensions(b []byte, kinds ...uint8) []byte {
	out := append([]byte(nil), b[:40]...)
	next := b[6]
	var ext []byte
	for i, k := range kinds {
		h := make([]byte, 16)
		h[0] = next
		if i+1 < len(kinds) {
			h[0] = kinds[i+1]
		}
		switch k {
		case wire.ProtoFragment:
			h = h[:8]
		case wire.ProtoAH:
			h[1] = 2
		default:
			h[1] = 1
		}
		ext = append(ext, h...)
	}
	out[6] = kinds[0]
	return append(append(out, ext...), b[40:]...)
}

// passes runs a filter as the kernel would, on what the kernel would give it.
func passes(t *testing.T, prog []bpf.Instruction, v6 bool, packet []byte) bool {
	t.Helper()
	if v6 {
		packet = packet[40:]
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n != 0
}

func TestICMPFilter(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		me, them := addrs(v6)
		exceeded, unreach, request := uint8(wire.TimeExceeded4), uint8(wire.Unreachable4), uint8(wire.Echo4)
		prog := icmp4Filter(ours)
		name := "IPv4 "
		if v6 {
			exceeded, unreach, request = wire.TimeExceeded6, wire.Unreachable6, wire.Echo6
			prog, name = icmp6Filter(ours), "IPv6 "
		}
		udp := udpPacket(me, them, 40001, 33434, payload(12, ours.token))
		foreignUDP := udpPacket(me, them, 40002, 33434, payload(12, 0x55667788))
		tcp := tcpPacket(me, them, 45000, 80, wire.TCPFields{Seq: 0x99990001, Flags: wire.SYN})
		echo := echoPacket(me, them, false, 200, 1, payload(12, 0))
		quic := func(port uint16, token uint32) []byte {
			var id [8]byte
			binary.BigEndian.PutUint32(id[QUICTokenOffset-wire.QUICDestination:], token)
			return udpPacket(me, them, port, 443, wire.AppendQUIC(nil, id, [8]byte{}, wire.SizeQUIC))
		}
		head := 20
		if v6 {
			head = 40
		}
		type row struct {
			name   string
			packet []byte
			want   bool
		}
		tests := []row{
			{"echo reply", echoPacket(them, me, true, 100, 1, nil), true},
			{"another's echo reply", echoPacket(them, me, true, 101, 1, payload(12, ours.token)), false},
			{"our own echo request", echoPacket(me, them, false, 100, 1, payload(12, ours.token)), false},
			{"quote of UDP", errorPacket(v6, exceeded, 0, udp), true},
			{"quote of UDP, 8 bytes", errorPacket(v6, unreach, 3, udp[:head+8]), true},
			{"quote of UDP, 1 byte", errorPacket(v6, unreach, 3, udp[:head+1]), false},
			{"quote of no transport", errorPacket(v6, unreach, 3, udp[:head]), false},
			{"quote of another's UDP", errorPacket(v6, exceeded, 0, foreignUDP), false},
			{"quote with the port rewritten", errorPacket(v6, exceeded, 0, udpPacket(me, them, 1024, 33434, payload(12, ours.token))), true},
			{"quote with the port rewritten, cut short", errorPacket(v6, exceeded, 0, udpPacket(me, them, 1024, 33434, payload(12, ours.token))[:head+15]), false},
			{"quote of a DNS query", errorPacket(v6, exceeded, 0, udpPacket(me, them, 40001, 53, wire.AppendDNSQuery(nil, 7))), true},
			{"quote of a DNS query with the port rewritten", errorPacket(v6, exceeded, 0, udpPacket(me, them, 1024, 53, wire.AppendDNSQuery(nil, 7))), false},
			{"quote of QUIC", errorPacket(v6, exceeded, 0, quic(40001, 0)[:head+8]), true},
			{"quote of QUIC with the port rewritten", errorPacket(v6, exceeded, 0, quic(1024, ours.token)[:head+8+QUICTokenOffset+4]), true},
			{"quote of QUIC with the port rewritten, cut short", errorPacket(v6, exceeded, 0, quic(1024, ours.token)[:head+8+QUICTokenOffset+3]), false},
			{"quote of another's QUIC", errorPacket(v6, exceeded, 0, quic(1024, ours.token+1)), false},
			{"quote of another's UDP to our port", errorPacket(v6, exceeded, 0, udpPacket(me, them, 33434, 40001, payload(12, 0))), false},
			{"quote of TCP", errorPacket(v6, exceeded, 0, tcp[:head+8]), true},
			{"quote of another's TCP", errorPacket(v6, exceeded, 0, tcpPacket(me, them, 40000, 80, wire.TCPFields{Seq: 0x99990001, Flags: wire.SYN})), false},
			{"quote of TCP, the port rewritten", errorPacket(v6, exceeded, 0, tcpPacket(me, them, 1024, 80, wire.TCPFields{Seq: token16<<16 | 7, Flags: wire.SYN})), true},
			{"quote of an echo", errorPacket(v6, exceeded, 0, echo), true},
			{"quote of another's echo", errorPacket(v6, exceeded, 0, echoPacket(me, them, false, 300, 1, payload(12, 0))), false},
			{"quote of an echo, the identifier rewritten", errorPacket(v6, exceeded, 0, echoPacket(me, them, false, 300, 1, payload(12, ours.token))), true},
			{"quote of an echo reply", errorPacket(v6, exceeded, 0, echoPacket(me, them, true, 200, 1, payload(12, ours.token))), false},
			{"quote of type of another protocol", errorPacket(v6, exceeded, 0, ipPacket(me, them, wire.ProtoESP, udp[head:])), false},
			{"error type that quotes nothing", errorPacket(v6, request, 0, udp), false},
			{"quote of the other family", errorPacket(v6, exceeded, 0, udpPacket(map[bool]netip.Addr{true: me4, false: me6}[v6], map[bool]netip.Addr{true: them4, false: them6}[v6], 40001, 33434, payload(12, 0))), false},
			{"nothing", errorPacket(v6, exceeded, 0, nil), false},
		}
		if v6 {
			frag := withExtensions(udp, wire.ProtoFragment)
			late := append([]byte(nil), frag...)
			binary.BigEndian.PutUint16(late[42:], 8)
			tests = append(tests,
				row{"quote with hop-by-hop", errorPacket(v6, exceeded, 0, withExtensions(udp, wire.ProtoHopByHop)), true},
				row{"quote with an authentication header", errorPacket(v6, exceeded, 0, withExtensions(udp, wire.ProtoAH)), true},
				row{"quote of a first fragment", errorPacket(v6, exceeded, 0, frag), true},
				row{"quote of a later fragment", errorPacket(v6, exceeded, 0, late), false},
				row{"quote with three extension headers", errorPacket(v6, exceeded, 0, withExtensions(udp, wire.ProtoHopByHop, wire.ProtoRouting, wire.ProtoDestOptions)), true},
				row{"quote with four extension headers", errorPacket(v6, exceeded, 0, withExtensions(udp, wire.ProtoHopByHop, wire.ProtoRouting, wire.ProtoDestOptions, wire.ProtoDestOptions)), false},
				row{"quote of another's UDP behind extensions", errorPacket(v6, exceeded, 0, withExtensions(foreignUDP, wire.ProtoHopByHop, wire.ProtoRouting)), false},
			)
		} else {
			frag := append([]byte(nil), udp...)
			frag[7] = 1
			// 40001 is where the ports would be if that length were believed.
			short := udpPacket(me, netip.AddrFrom4([4]byte{40001 >> 8, 40001 & 0xff, 0, 1}), 1, 1, nil)
			short[0] = 0x44
			tests = append(tests,
				row{"redirect", errorPacket(v6, wire.Redirect4, 0, udp), true},
				row{"source quench", errorPacket(v6, wire.SourceQuench4, 0, udp), true},
				row{"outer options", withOptions(errorPacket(v6, exceeded, 0, udp), 40), true},
				row{"quoted options", errorPacket(v6, exceeded, 0, withOptions(udp, 12)), true},
				row{"both with options", withOptions(errorPacket(v6, exceeded, 0, withOptions(udp, 40)), 8), true},
				row{"both with options, another's", withOptions(errorPacket(v6, exceeded, 0, withOptions(foreignUDP, 40)), 8), false},
				row{"echo reply with options", withOptions(echoPacket(them, me, true, 100, 1, nil), 8), true},
				row{"quote of a later fragment", errorPacket(v6, exceeded, 0, frag), false},
				row{"quoted header length 16", errorPacket(v6, exceeded, 0, short), false},
			)
		}
		for _, tt := range tests {
			t.Run(name+tt.name, func(t *testing.T) {
				if got := passes(t, prog, v6, tt.packet); got != tt.want {
					t.Errorf("lets it in: %v, want %v", got, tt.want)
				}
			})
		}
	}
}

func TestTCPFilter(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		me, them := addrs(v6)
		name := "IPv4 "
		if v6 {
			name = "IPv6 "
		}
		const mine = token16 << 16
		in := func(port uint16, f wire.TCPFields) []byte { return tcpPacket(them, me, 80, port, f) }
		tests := []struct {
			name   string
			packet []byte
			want   bool
		}{
			{"SYN-ACK", in(45000, wire.TCPFields{Seq: 5, Ack: mine + 1, Flags: wire.SYN | wire.ACK}), true},
			{"SYN-ACK with ECE", in(45000, wire.TCPFields{Ack: mine + 8, Flags: wire.SYN | wire.ACK | wire.ECE}), true},
			{"SYN-ACK of sequence number 0xffff", in(45000, wire.TCPFields{Ack: mine + 0x10000, Flags: wire.SYN | wire.ACK}), true},
			{"RST-ACK of a SYN with payload", in(45000, wire.TCPFields{Ack: mine + 0x10000 + 1000, Flags: wire.RST | wire.ACK}), true},
			{"RST-ACK", in(45000, wire.TCPFields{Ack: mine + 1, Flags: wire.RST | wire.ACK}), true},
			{"RST", in(45000, wire.TCPFields{Seq: mine + 77, Flags: wire.RST}), true},
			{"SYN-ACK to another port", in(45001, wire.TCPFields{Ack: mine + 1, Flags: wire.SYN | wire.ACK}), false},
			{"SYN-ACK to a UDP port", in(40000, wire.TCPFields{Ack: mine + 1, Flags: wire.SYN | wire.ACK}), false},
			{"SYN-ACK of another token", in(45000, wire.TCPFields{Ack: mine, Flags: wire.SYN | wire.ACK}), false},
			{"RST of another token", in(45000, wire.TCPFields{Seq: 1, Ack: mine + 1, Flags: wire.RST}), false},
			{"RST-ACK with the token in the wrong place", in(45000, wire.TCPFields{Seq: mine + 1, Flags: wire.RST | wire.ACK}), false},
			{"ACK of a FIN", in(45000, wire.TCPFields{Ack: mine + 78, Flags: wire.ACK}), true},
			{"ACK of what takes no sequence number", in(45000, wire.TCPFields{Ack: mine + 1, Flags: wire.ACK}), true},
			{"FIN-ACK", in(45000, wire.TCPFields{Ack: mine + 1, Flags: wire.FIN | wire.ACK}), true},
			{"ACK of another token", in(45000, wire.TCPFields{Seq: mine + 1, Ack: mine, Flags: wire.ACK}), false},
			{"ACK to another port", in(45001, wire.TCPFields{Ack: mine + 1, Flags: wire.ACK}), false},
			{"data", in(45000, wire.TCPFields{Ack: 0x99990001, Flags: wire.PSH | wire.ACK}), false},
			{"no flags", in(45000, wire.TCPFields{Seq: mine + 1, Ack: mine + 1}), false},
			{"SYN-RST-ACK", in(45000, wire.TCPFields{Seq: mine + 1, Ack: mine + 1, Flags: wire.SYN | wire.RST | wire.ACK}), false},
			{"SYN", in(45000, wire.TCPFields{Seq: mine, Ack: mine + 1, Flags: wire.SYN}), false},
			{"our probe", tcpPacket(me, them, 45000, 80, wire.TCPFields{Seq: mine, Flags: wire.SYN}), false},
			{"our kernel's RST", tcpPacket(me, them, 45000, 80, wire.TCPFields{Seq: mine + 1, Flags: wire.RST}), false},
		}
		for _, tt := range tests {
			t.Run(name+tt.name, func(t *testing.T) {
				if got := passes(t, tcpFilter(ours, v6), v6, tt.packet); got != tt.want {
					t.Errorf("lets it in: %v, want %v", got, tt.want)
				}
			})
		}
	}
	options := withOptions(tcpPacket(them4, me4, 80, 45000, wire.TCPFields{Ack: token16<<16 + 1, Flags: wire.SYN | wire.ACK}), 12)
	if !passes(t, tcpFilter(ours, false), false, options) {
		t.Error("a SYN-ACK with IPv4 options is kept out")
	}
}

// TestFilterSets holds the search among reserved ports to a plain one, for
// every number of them and every port at and around them.
func TestFilterSets(t *testing.T) {
	var w wanted
	for i := range maxReserved {
		w.add(me4, wire.ProtoUDP, uint16(65535-i*i*15)) // unevenly, and in falling order
		w.add(me4, wire.ProtoTCP, uint16(i))
		w.add(me4, wire.ProtoICMP, uint16(i*1000))
		prog := icmp4Filter(w)
		raw, err := bpf.Assemble(prog)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > 1000 {
			t.Fatalf("%d reserved make %d instructions", i+1, len(raw))
		}
		in := make(map[uint16]bool)
		for _, p := range w.udp {
			in[p] = true
		}
		for p := range in {
			for _, q := range []uint16{p - 1, p, p + 1} {
				packet := errorPacket(false, wire.TimeExceeded4, 0, udpPacket(me4, them4, q, 33434, payload(12, 1)))
				if got := passes(t, prog, false, packet); got != in[q] {
					t.Fatalf("with %d reserved: port %d passes: %v, want %v", i+1, q, got, in[q])
				}
			}
		}
	}
	for len(w.udp) > 0 {
		w.remove(me4, wire.ProtoUDP, w.udp[len(w.udp)/2])
	}
	if passes(t, icmp4Filter(w), false, errorPacket(false, wire.TimeExceeded4, 0, udpPacket(me4, them4, 65535, 33434, payload(12, 1)))) {
		t.Error("a port that was given back still passes")
	}
}
