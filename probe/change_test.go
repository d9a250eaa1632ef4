package probe_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/probe/trace"
	"gtrace/rawsock"
)

// elsewhere is where a destination is rewritten to.
var elsewhere = map[bool]netip.Addr{false: netip.MustParseAddr("203.0.113.80"), true: netip.MustParseAddr("2001:db8:80::1")}

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

// header has it change the IP header of one family, and mends nothing of what follows.
func header(family int, change func(p []byte)) simnet.Edit {
	return func(p []byte) {
		if int(p[0]>>4) == family {
			change(p)
		}
	}
}

// mended has it change packets and what checksum they have behind the IP header.
func mended(change simnet.Edit) simnet.Edit {
	return func(p []byte) {
		at, addrs := 20, 12
		if p[0]>>4 == 6 {
			at, addrs = 40, 8
		}
		ip, err := wire.ParseIP(p)
		if err != nil {
			panic(err)
		}
		sum, ok := map[uint8]int{wire.ProtoUDP: at + 6, wire.ProtoTCP: at + 16, wire.ProtoICMPv6: at + 2, wire.ProtoICMP: at + 2}[ip.Proto()]
		if !ok {
			panic("of another protocol")
		}
		covered := addrs // by it, with the pseudo header (RFC 1624)
		if ip.Proto() == wire.ProtoICMP {
			covered = at
		}
		words := func() (s uint32) {
			for i := covered; i+1 < len(p); i += 2 {
				if i != sum {
					s += uint32(binary.BigEndian.Uint16(p[i:]))
				}
			}
			return s
		}
		was := words()
		change(p)
		s := 0xffff - uint32(binary.BigEndian.Uint16(p[sum:])) + words() + 0xffff*8 - was%0xffff
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		binary.BigEndian.PutUint16(p[sum:], ^uint16(s))
	}
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
		{"one that restores addresses", []probe.Proto{probe.UDP, probe.ICMP}, 0, func(rs []*simnet.Node) {
			rs[from-1].SNAT, rs[from-1].Restore = netip.MustParseAddr("203.0.113.7"), simnet.RestoreAddresses
		}, "nat-rewritten", "but for the checksum"},
		{"another destination", every, 0, forward(mended(func(p []byte) {
			if p[0]>>4 == 4 {
				copy(p[16:], elsewhere[false].AsSlice())
			} else {
				copy(p[24:], elsewhere[true].AsSlice())
			}
		})), "nat-rewritten", "the destination "},
		{"another destination port", []probe.Proto{probe.UDP}, 0, forward(mended(segment(func(b []byte) { b[2] ^= 0x10 }))), "nat-rewritten", "the destination "},
		{"sequence numbers made up", tcp, 0, forward(mended(segment(func(b []byte) { b[4] ^= 0x55 }))), "tcp-sequence-changed", "the TCP sequence number is rewritten"},
		{"identification rewritten", every, 0, forward(header(4, func(p []byte) { p[4] ^= 0x55 })), "ip-id-changed", "is rewritten"},
		{"flow label cleared", every, 0, forward(header(6, func(p []byte) { p[1], p[2], p[3] = p[1]&0xf0, 0, 0 })), "flow-label-changed", "is rewritten"},
		{"payload rewritten", []probe.Proto{probe.UDP, probe.ICMP}, 0, forward(mended(func(p []byte) { copy(p[len(p)-8:], "elsewhere") })), "payload-changed", "the payload is rewritten"},
		{"lengths swapped, and without the header", every, 0, func(rs []*simnet.Node) {
			for i, r := range rs {
				r.Edits = []simnet.Edit{header(4, func(p []byte) {
					if i%2 == 0 {
						p[3] -= 20
					}
					p[2], p[3] = p[3], p[2]
				})}
			}
		}, "", ""},
		{"identifications swapped and counted", every, 0, func(rs []*simnet.Node) {
			for i, r := range rs[from:] {
				r.Edits = []simnet.Edit{[]simnet.Edit{simnet.SwapID, simnet.AddID(1)}[i%2]}
			}
		}, "", ""},
		{"checksums left out", every, 0, func(rs []*simnet.Node) {
			for _, r := range rs[from:] {
				r.Edits = []simnet.Edit{simnet.ZeroChecksum}
			}
		}, "", ""},
		{"fragments", every, 0, func(rs []*simnet.Node) {
			for _, r := range rs[from:] {
				r.Edits = []simnet.Edit{header(4, func(p []byte) { p[3], p[6] = p[3]-8, p[6]|0x20 })}
			}
		}, "", ""},
		{"checksums that are garbage", every, 0, func(rs []*simnet.Node) {
			for i, r := range rs[from:] {
				r.Edits = []simnet.Edit{segment(func(b []byte) { b[6], b[7] = byte(i), b[7]^0x3c })}
			}
		}, "", ""},
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
				switch tt.name {
				case "a translator", "one that restores quotes", "one that restores addresses", "identification rewritten":
					if v6 {
						continue // its address is of IPv4, or the field
					}
				case "flow label cleared":
					if !v6 {
						continue
					}
				}
				t.Run(fmt.Sprintf("%s, %v, IPv6 %v", tt.name, proto, v6), func(t *testing.T) {
					src, rs, dst, _ := line(8)
					dst.TCP = map[uint16]simnet.TCPPort{80: simnet.Open}
					tt.change(rs)
					switch tt.name {
					case "another destination":
						dst.Addrs = append(dst.Addrs, elsewhere[v6])
						dst.Own = []netip.Prefix{netip.PrefixFrom(elsewhere[v6], elsewhere[v6].BitLen())}
						dst.From = map[bool]netip.Addr{false: them, true: them6}[v6] // as who puts that back
					case "sequence numbers made up": // and acknowledged ones put back
						dst.Alter = func(r *rawsock.Reply) {
							r.Data[8] ^= 0x55
							simnet.Mend(r)
						}
					}
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
						if v6 {
							c.Label = 0xabcde
						}
						switch tt.name {
						case "checksums left out":
							c.Classic = proto == probe.UDP // where no two probes are of one flow
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

// TestImpliedTranslator: a private address that is answered by one that is not says that somebody translates, where no quote shows it.
func TestImpliedTranslator(t *testing.T) {
	tests := []struct {
		name, src string
		hops      string // who answers, by TTL; - nobody, a/b one after the other
		want      string // between which, or behind which; "": nothing
	}{
		{"behind a home router", "192.168.1.5", "192.168.1.1 203.0.113.1 192.0.2.9", "1-2"},
		{"behind a provider's translator too", "192.168.1.5", "192.168.1.1 100.64.0.1 100.127.255.254 203.0.113.1 192.0.2.9", "3-4"},
		{"silent in between", "172.31.0.5", "172.16.0.1 - - 203.0.113.1 192.0.2.9", "1-4"},
		{"no private hop", "10.0.0.5", "- 203.0.113.1", "2"},
		{"private ones behind it", "10.0.0.5", "10.0.0.1 203.0.113.1 10.1.1.1 192.0.2.9", "1-2"},
		{"two ways", "10.0.0.5", "10.0.0.1 10.0.0.2/203.0.113.1 203.0.113.2 192.0.2.9", "1-3"},
		{"shared address space", "100.100.0.5", "100.64.0.1 192.0.2.9", "1-2"},
		{"behind NAT64", "192.0.0.4", "192.0.0.1 192.0.2.9", "1-2"},
		{"link-local", "169.254.7.7", "169.254.0.1 192.0.2.9", "1-2"},
		{"benchmarks, and addresses that nobody has", "10.0.0.5", "198.18.0.1 240.0.0.1 0.0.0.7 192.0.2.9", "3-4"},
		{"IPv6", "fd12::5", "fd12::1 fe80::1 2001:db8::1 2001:db8::9", "2-3"},
		{"all private", "10.0.0.5", "10.0.0.1 10.1.0.1 10.2.0.1", ""},
		{"a public source", "203.0.113.5", "192.168.1.1 10.0.0.1 192.0.2.9", ""},
		{"a public source, IPv6", "2001:db8::5", "fd12::1 2001:db8::9", ""},
		{"nobody", "10.0.0.5", "- -", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hops := strings.Fields(tt.hops)
			got := ""
			for _, f := range probe.FindChanges(1, len(hops), func(ttl int) (os []*probe.Outcome) {
				for _, a := range strings.Split(hops[ttl-1], "/") {
					if a != "-" {
						os = append(os, &probe.Outcome{Status: probe.Answered, From: netip.MustParseAddr(a),
							Spec: probe.Spec{Proto: probe.UDP, TTL: uint8(ttl), Src: netip.AddrPortFrom(netip.MustParseAddr(tt.src), 7)}})
					}
				}
				return os
			}) {
				if f.Code != "nat-implied" || f.Confidence != "medium" || !strings.Contains(f.Text, tt.src) || got != "" {
					t.Errorf("%+v, want nat-implied, medium, once", f)
				}
				if got = fmt.Sprint(f.TTL); f.TTL == 0 {
					got = fmt.Sprintf("%d-%d", f.Between[0], f.Between[1])
				}
				if n := len(f.Evidence); n != 1+strings.Count(got, "-") {
					t.Errorf("%d pieces of evidence", n)
				}
			}
			if got != tt.want {
				t.Errorf("at %q, want %q", got, tt.want)
			}
		})
	}
}

// A translator that shows in quotes need not be implied. Where quotes are short it may be the payload that is another.
func TestTranslatorInShortQuotes(t *testing.T) {
	src, rs, _, _ := line(8)
	private := netip.MustParseAddr("10.0.0.7")
	src.Addrs = []netip.Addr{private}
	for _, r := range rs {
		r.Quote = 8
	}
	rs[3].SNAT, rs[3].Restore = netip.MustParseAddr("203.0.113.7"), simnet.RestoreAddresses
	doc := traced(t, simnet.New(simnet.Config{Seed: 7}, src), probe.UDP, private, them, nil)
	var d struct {
		Findings []struct {
			Code, Confidence string
			Between          []int
		}
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	if fs := d.Findings; len(fs) != 1 || fs[0].Code != "nat-rewritten" || fs[0].Confidence != "medium" || !slices.Equal(fs[0].Between, []int{4, 5}) {
		t.Errorf("findings %+v, want nat-rewritten between 4 and 5, medium, alone", fs)
	}
}
