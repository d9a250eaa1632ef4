package probe_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/trace"
)

// tos has a router change the type of service or traffic class of what it passes on.
func tos(change func(uint8) uint8) simnet.Edit {
	return func(p []byte) {
		if p[0]>>4 == 4 {
			p[1] = change(p[1])
			return
		}
		was := p[0]<<4 | p[1]>>4
		now := change(was)
		p[0], p[1] = p[0]&0xf0|now>>4, now<<4|p[1]&15
	}
}

// segment has it change TCP headers.
func segment(change func(tcp []byte)) simnet.Edit {
	return func(p []byte) {
		at := 20
		if p[0]>>4 == 6 {
			at = 40
		}
		change(p[at:])
	}
}

// option is where a TCP option begins.
func option(tcp []byte, kind byte) []byte {
	o := tcp[20 : tcp[12]>>4*4]
	for len(o) > 0 && o[0] != 0 {
		switch {
		case o[0] == kind:
			return o
		case o[0] == 1:
			o = o[1:]
		default:
			o = o[o[1]:]
		}
	}
	panic("no such option")
}

// TestChangedOnTheWay: what routers do to packets is told between the right hops, and nothing else; garbled quotes are no change of the path.
func TestChangedOnTheWay(t *testing.T) {
	const from, to = 4, 5 // router 4 changes what it passes on, so that router 5 sees it first
	forward := func(edits ...simnet.Edit) func([]*simnet.Node) {
		return func(rs []*simnet.Node) { rs[from-1].Forward = edits }
	}
	every := []probe.Proto{probe.UDP, probe.ICMP, probe.TCP}
	tcp := []probe.Proto{probe.TCP}
	tests := []struct {
		name   string
		protos []probe.Proto
		tos    uint8
		change func([]*simnet.Node)
		want   string // its code; "": nothing
		text   string // in the finding
	}{
		{"nothing", every, 0xb8 | 2, func([]*simnet.Node) {}, "", ""},
		{"DSCP", every, 0xb8, forward(tos(func(v uint8) uint8 { return v & 3 })), "dscp-changed", "the DSCP 46 becomes 0"},
		{"DSCP set", every, 0, forward(tos(func(v uint8) uint8 { return 8<<2 | v&3 })), "dscp-changed", "the DSCP 0 becomes 8"},
		{"ECN cleared", every, 2, forward(tos(func(v uint8) uint8 { return v &^ 3 })), "ecn-bleached", "ECT(0) are cleared"},
		{"ECN marked", every, 1, forward(tos(func(v uint8) uint8 { return v | 3 })), "ecn-marked", "ECT(1) come marked"},
		{"ECN changed", every, 2, forward(tos(func(v uint8) uint8 { return v&^3 | 1 })), "ecn-changed", "ECT(0) become ECT(1)"},
		{"MSS clamped", tcp, 0, forward(segment(func(b []byte) { copy(option(b, 2)[2:], []byte{0x05, 0x14}) })), "mss-clamped", "becomes 1300"},
		{"MSS raised", tcp, 0, forward(segment(func(b []byte) { copy(option(b, 2)[2:], []byte{0x23, 0x28}) })), "tcp-option-changed", "becomes 9000"},
		{"SACK taken out", tcp, 0, forward(segment(func(b []byte) { copy(option(b, 4), []byte{1, 1}) })), "tcp-option-removed", "option sack_permitted"},
		{"timestamps taken out", tcp, 0, forward(segment(func(b []byte) { copy(option(b, 8), slices.Repeat([]byte{1}, 10)) })), "tcp-option-removed", "option timestamps"},
		{"window scale", tcp, 0, forward(segment(func(b []byte) { option(b, 3)[2] = 2 })), "tcp-option-changed", "window scale 7 becomes 2"},
		{"window", tcp, 0, forward(segment(func(b []byte) { b[14], b[15] = 0x10, 0 })), "tcp-window-changed", "becomes 4096"},
		{"ECN setup taken out", tcp, 0, forward(segment(func(b []byte) { b[13] &^= 0xc0 })), "tcp-flags-changed", "0xc2 become 0x02"},
		{"a translator", []probe.Proto{probe.UDP, probe.ICMP}, 0, func(rs []*simnet.Node) {
			rs[from-1].SNAT, rs[from-1].Restore = netip.MustParseAddr("203.0.113.7"), simnet.RestoreNothing
		}, "nat-rewritten", "the source "},
		{"one that restores quotes", []probe.Proto{probe.UDP, probe.ICMP}, 0, func(rs []*simnet.Node) { rs[from-1].SNAT = netip.MustParseAddr("203.0.113.7") }, "", ""},
		{"a garbled quote", every, 0xb8, func(rs []*simnet.Node) { rs[from].Edits = []simnet.Edit{tos(func(uint8) uint8 { return 0 })} }, "", ""},
		{"quotes filled up with zeros", tcp, 0, func(rs []*simnet.Node) {
			for i, r := range rs { // behind 13 bytes of the TCP header and more, each at another place
				r.Quote, r.Objects = 13+4*i, simnet.MPLS(16001)
			}
		}, "", ""},
		{"quotes of bare segments filled up with zeros", tcp, 0, func(rs []*simnet.Node) {
			for _, r := range rs {
				r.Quote, r.Objects = 13, simnet.MPLS(16001)
			}
		}, "", ""},
		{"short quotes", tcp, 0, func(rs []*simnet.Node) {
			for _, r := range rs {
				r.Quote = 8
			}
		}, "", ""},
	}
	for _, tt := range tests {
		for _, proto := range tt.protos {
			for _, v6 := range []bool{false, true} {
				if v6 && strings.HasPrefix(tt.want, "nat") || v6 && tt.name == "one that restores quotes" {
					continue // its address is of IPv4
				}
				t.Run(fmt.Sprintf("%s, %v, IPv6 %v", tt.name, proto, v6), func(t *testing.T) {
					src, rs, dst, _ := line(8)
					dst.TCP = map[uint16]simnet.TCPPort{80: simnet.Open}
					tt.change(rs)
					c := simnet.New(simnet.Config{Seed: 7}, src)
					a, b := us, them
					if v6 {
						a, b = us6, them6
					}
					doc := traced(t, c, proto, a, b, func(c *trace.Config) {
						c.TOS = tt.tos
						if proto != probe.TCP { // of which there is one size
							c.Size = 80 // with room for the token
						}
						switch tt.name {
						case "ECN setup taken out":
							c.Segment.Flags = 0xc2
						case "quotes of bare segments filled up with zeros":
							c.Segment.Bare = probe.NoMSS | probe.NoSACK | probe.NoTimestamps | probe.NoWindowScale
						}
					})
					var d struct {
						Findings []struct {
							Code, Confidence, Text string
							Between                []int
						}
					}
					if err := json.Unmarshal(doc, &d); err != nil {
						t.Fatal(err)
					}
					switch {
					case tt.want == "" && len(d.Findings) == 0:
					case tt.want != "" && len(d.Findings) == 1 && d.Findings[0].Code == tt.want && d.Findings[0].Confidence == "high" &&
						slices.Equal(d.Findings[0].Between, []int{from, to}) && strings.Contains(d.Findings[0].Text, tt.text):
					default:
						t.Errorf("findings %+v, want %q between %d and %d with %q", d.Findings, tt.want, from, to, tt.text)
					}
				})
			}
		}
	}
}
