package simnet

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// TestFaultsOfOtherKinds: the conventions hold for every kind of probe, each in its own place.
func TestFaultsOfOtherKinds(t *testing.T) {
	extra := []uint8{wire.ProtoUDPLite, wire.ProtoDCCP, 253}
	for _, tt := range []struct {
		name  string
		proto uint8
		v6    bool
		build func(l *lab, src, dst netip.AddrPort, token uint32) []byte
		want  string // in the fault; "": none
	}{
		{"UDP-Lite", wire.ProtoUDPLite, false, func(l *lab, src, dst netip.AddrPort, token uint32) []byte {
			return wire.AppendUDPLite(nil, src, dst, []byte{0, 0, 0, 0, byte(token >> 24), byte(token >> 16), byte(token >> 8), byte(token)}, 0)
		}, ""},
		{"UDP-Lite without token", wire.ProtoUDPLite, true, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendUDPLite(nil, src, dst, make([]byte, 8), 0)
		}, "not the token"},
		{"UDP-Lite checksum", wire.ProtoUDPLite, false, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendUDP(nil, src, dst, nil, 0) // over another protocol's pseudo header
		}, "UDP-Lite checksum"},
		{"DCCP", wire.ProtoDCCP, true, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendDCCP(nil, src, dst, wire.DCCPFields{Seq: 1}, nil, 0)
		}, ""},
		{"DCCP from another port", wire.ProtoDCCP, false, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendDCCP(nil, netip.AddrPortFrom(src.Addr(), src.Port()+1), dst, wire.DCCPFields{Seq: 1}, nil, 0)
		}, "is not reserved"},
		{"DCCP checksum", wire.ProtoDCCP, false, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			b := wire.AppendDCCP(nil, src, dst, wire.DCCPFields{Seq: 1}, nil, 0)
			b[15]++
			return b
		}, "DCCP"},
		{"raw", 253, false, func(l *lab, _, _ netip.AddrPort, token uint32) []byte {
			return []byte{0, 0, 0, 0, byte(token >> 24), byte(token >> 16), byte(token >> 8), byte(token)}
		}, ""},
		{"raw without token", 253, true, func(l *lab, _, _ netip.AddrPort, token uint32) []byte { return make([]byte, 8) }, "not the token"},
		{"raw, not reserved", 253, false, func(l *lab, _, _ netip.AddrPort, token uint32) []byte {
			l.Release(l.src, 253, 0)
			return make([]byte, 4)
		}, "is not reserved"},
		{"timestamp", wire.ProtoICMP, false, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendTimestamp(nil, src.Addr(), dst.Addr(), wire.Timestamp4, src.Port(), 1, wire.Times{Originate: 1})
		}, ""},
		{"mask of another identifier", wire.ProtoICMP, false, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendMask(nil, src.Addr(), dst.Addr(), wire.Mask4, src.Port()+1, 1, 0)
		}, "is not reserved"},
		{"node information", wire.ProtoICMPv6, true, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendNode(nil, src.Addr(), dst.Addr(), wire.NodeQuery6, 0, 2, 0, uint64(src.Port())<<48, dst.Addr().AsSlice(), 0)
		}, ""},
		{"node information of another identifier", wire.ProtoICMPv6, true, func(l *lab, src, dst netip.AddrPort, _ uint32) []byte {
			return wire.AppendNode(nil, src.Addr(), dst.Addr(), wire.NodeQuery6, 0, 2, 0, uint64(src.Port()+1)<<48, dst.Addr().AsSlice(), 0)
		}, "is not reserved"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst := dst4
			if tt.v6 {
				dst = dst6
			}
			l := newLab(t, Config{Caps: func(c *rawsock.Caps) { c.Extra = extra }}, newLine().src, dst, tt.proto)
			l.quiet = true
			b := tt.build(l, netip.AddrPortFrom(l.src, l.port), netip.AddrPortFrom(l.dst, l.to), l.Caps().Token)
			p := wire.AppendIPv4(nil, wire.IPv4{Src: l.src4(), Dst: addr(dst4), TTL: 9, Proto: tt.proto, ID: 1}, len(b))
			if tt.v6 {
				p = wire.AppendIPv6(nil, wire.IPv6{Src: l.src, Dst: l.dst, HopLimit: 9, Next: tt.proto}, len(b))
			}
			if _, err := l.Send([]rawsock.Packet{{Dst: l.dst, Data: append(p, b...)}}); err != nil {
				t.Fatal(err)
			}
			f := l.Faults()
			if (len(f) == 1) != (tt.want != "") || len(f) > 0 && !strings.Contains(f[0].Error(), tt.want) {
				t.Errorf("faults %v, want %q", f, tt.want)
			}
		})
	}
}

func (l *lab) src4() netip.Addr { return addr("10.0.0.1") }

// TestRegister: whatever the options are, what a node writes stays within them.
func TestRegister(t *testing.T) {
	a := addr("10.0.1.1")
	full := wire.AppendRecordRoute(nil, 1)
	full[3] = 8
	for name, o := range map[string][]byte{
		"none": nil, "end": {0, 0, 0, 0}, "a route that is full": full,
		"a pointer beyond": {1, 7, 7, 200, 0, 0, 0, 0}, "a pointer before": {1, 7, 7, 0, 0, 0, 0, 0},
		"a length of 0": {7, 0, 4, 0}, "a length beyond": {7, 39, 4, 0}, "cut short": {7}, "a stamp cut short": {68, 3, 5},
		"a pointer into the stamp's header": {68, 8, 1, 0, 0, 0, 0, 0},
		"others are asked":                  wire.AppendTimestampOption(nil, wire.StampsSpecified, []netip.Addr{addr("10.0.2.1")}, 0),
		"an overflow that is full":          {68, 4, 5, 0xf0},
	} {
		was := string(o)
		if register(o, a, 7) || string(o) != was {
			t.Errorf("%s: % x became % x", name, was, o)
		}
	}
	o := wire.AppendRecordRoute(nil, 2)
	if register(o, addr("fd00::1"), 7) {
		t.Error("an IPv6 address is recorded")
	}
	for i := range 3 {
		if got := register(o, a, 7); got != (i < 2) {
			t.Errorf("node %d: recorded %v", i+1, got)
		}
	}
}

// TestFloodingEnds: nodes that send to each other what they hear do not do so for ever.
func TestFloodingEnds(t *testing.T) {
	group := addr("224.0.0.7")
	n := newLine()
	r3 := Router("10.0.3.1")
	for _, r := range []*Node{n.r1, n.r2, r3} {
		r.Flood = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4")}
		for _, to := range []*Node{n.r1, n.r2, r3} {
			if to != r {
				r.Link(to)
			}
		}
	}
	n.dst.Groups = []netip.Addr{group}
	l := newLab(t, Config{}, n.src, group.String(), wire.ProtoICMP)
	l.send(64)
	if as := l.all(); len(as) == 0 || len(as) > maxCopies {
		t.Errorf("%d answers", len(as))
	}

	// Nobody answers many with an error or a connection.
	for _, tt := range []struct {
		proto uint8
		want  int
	}{{wire.ProtoUDP, 0}, {wire.ProtoTCP, 0}, {wire.ProtoICMP, 1}} {
		n := newLine()
		n.dst.Groups = []netip.Addr{group}
		n.r1.Flood = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4")}
		n.r2.Flood = n.r1.Flood
		l := newLab(t, Config{}, n.src, group.String(), tt.proto)
		l.send(1, 64)
		if as := l.all(); len(as) != tt.want {
			t.Errorf("protocol %d: answers %v, want %d", tt.proto, as, tt.want)
		}
	}
}

// TestNoLoop: a host hears its own multicast unless it says otherwise.
func TestNoLoop(t *testing.T) {
	for _, noLoop := range []bool{false, true} {
		n := newLine()
		group := addr("224.0.0.7")
		n.src.Groups = []netip.Addr{group}
		l := newLab(t, Config{}, n.src, group.String(), wire.ProtoICMP)
		if err := l.Set(rawsock.Settings{NoLoop: noLoop}); err != nil {
			t.Fatal(err)
		}
		l.send(1)
		as := l.all()
		if (len(as) == 1) == noLoop || len(as) == 1 && (as[0].From != l.src || as[0].rtt != 0*time.Millisecond) {
			t.Errorf("no loop %v: answers %v", noLoop, as)
		}
	}
}
