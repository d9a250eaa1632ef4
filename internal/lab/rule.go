//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Admit has the node keep track of connections and pass on, of what goes to dst, TCP connections to that port alone, with all that belongs to
// them. do is what becomes of the rest: Drop or Reject.
func (n *Node) Admit(dst string, port uint16, do Action) error {
	fail := func(err error) error { return fmt.Errorf("lab: firewall on %s for %s: %w", n.Name, dst, err) }
	addr, err := netip.ParseAddr(dst)
	if err != nil {
		return fail(err)
	}
	c, table, err := n.filter(addr.Is6())
	if err != nil {
		return fail(err)
	}
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "firewall", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	rest := expr.Any(&expr.Verdict{Kind: expr.VerdictDrop})
	if do.kind == actReject {
		rest = &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: do.code}
	}
	rules := [][]expr.Any{
		append(isState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), &expr.Verdict{Kind: expr.VerdictAccept}),
		slices.Concat(isProto(unix.IPPROTO_TCP), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
		}, isState(expr.CtStateBitNEW), []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}),
		{rest},
	}
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(isTo(addr), r...)})
	}
	if err := c.Flush(); err != nil {
		return fail(err)
	}
	return nil
}

// filter is the node's packet filter, and our table of a family in it.
func (n *Node) filter(v6 bool) (*nftables.Conn, *nftables.Table, error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	if err != nil {
		return nil, nil, fmt.Errorf("nftables: %w", err)
	}
	family := nftables.TableFamilyIPv4
	if v6 {
		family = nftables.TableFamilyIPv6
	}
	return c, c.AddTable(&nftables.Table{Name: "lab", Family: family}), nil
}

// isState matches packets that the kernel's tracking of connections has in one of those states.
func isState(bits uint32) []expr.Any {
	none := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: none},
	}
}

// AddRule gives the node a packet filter rule for one destination address.
func (n *Node) AddRule(dst string, hook Hook, do Action) error {
	if err := n.addRule(dst, hook, do); err != nil {
		return fmt.Errorf("lab: rule on %s for %s: %w", n.Name, dst, err)
	}
	return nil
}

func (n *Node) addRule(dst string, hook Hook, do Action) error {
	addr, err := netip.ParseAddr(dst)
	if err != nil {
		return err
	}
	c, table, err := n.filter(addr.Is6())
	if err != nil {
		return err
	}
	chain := &nftables.Chain{Table: table}
	switch {
	case do.kind == actDNAT:
		chain.Name, chain.Type = "dnat", nftables.ChainTypeNAT
		chain.Hooknum, chain.Priority = nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest
	case do.kind == actMasquerade:
		chain.Name, chain.Type = "masquerade", nftables.ChainTypeNAT
		chain.Hooknum, chain.Priority = nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource
	case hook == Output:
		chain.Name, chain.Type = "output", nftables.ChainTypeFilter
		chain.Hooknum, chain.Priority = nftables.ChainHookOutput, nftables.ChainPriorityFilter
	case hook == Prerouting:
		chain.Name, chain.Type = "prerouting", nftables.ChainTypeFilter
		chain.Hooknum, chain.Priority = nftables.ChainHookPrerouting, nftables.ChainPriorityFilter
	default:
		chain.Name, chain.Type = "forward", nftables.ChainTypeFilter
		chain.Hooknum, chain.Priority = nftables.ChainHookForward, nftables.ChainPriorityFilter
	}
	rule := func(exprs ...expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	}
	c.AddChain(chain)
	exprs := isTo(addr)
	switch do.kind {
	case actDrop:
		exprs = append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})
	case actTooBig:
		exprs = append(append(exprs, isTooBig(addr.Is6())...), &expr.Verdict{Kind: expr.VerdictDrop})
	case actReject:
		exprs = append(exprs, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: do.code})
	case actTOS:
		exprs = append(exprs, setTOS(addr.Is6(), do.keep, do.code)...)
	case actMSS:
		exprs = append(exprs, setMSS(do.mss)...)
	case actMasquerade:
		exprs = append(exprs, masquerade(do.ports)...)
	case actStrip:
		exprs = append(exprs, strip(do.option)...)
	case actWrite:
		exprs = append(exprs, write(addr.Is6(), do)...)
	case actTTL:
		exprs = append(exprs, setTTL(addr.Is6(), do.code)...)
	case actDNAT, actSource, actDestination:
		if do.target.Is4() != addr.Is4() {
			return fmt.Errorf("cannot rewrite to %s, which is of another family", do.target)
		}
		if do.kind != actDNAT {
			for _, p := range sums(addr.Is6()) {
				rule(slices.Concat(exprs, isProto(p.proto), setAddr(do.target, do.kind == actDestination, p.at))...)
			}
			return c.Flush()
		}
		exprs = append(exprs,
			&expr.Immediate{Register: 1, Data: do.target.AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(table.Family), RegAddrMin: 1})
	}
	rule(exprs...)
	return c.Flush()
}

// inetSum says where the IPv4 header's checksum is, for what changes that header.
const (
	inetSum   = unix.NFT_PAYLOAD_CSUM_INET
	inetSumAt = 10
)

// setTTL writes the TTL, over IPv4 together with the protocol behind it: the kernel mends checksums by whole words.
func setTTL(v6 bool, ttl uint8) []expr.Any {
	if v6 {
		return []expr.Any{
			&expr.Immediate{Register: 1, Data: []byte{ttl}},
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 7, Len: 1},
		}
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 2},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0, 0xff}, Xor: []byte{ttl, 0}},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 2,
			CsumType: inetSum, CsumOffset: inetSumAt},
	}
}

// write writes what do says.
func write(v6 bool, do Action) (exprs []expr.Any) {
	w := &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(do.at), Len: uint32(len(do.data)),
		CsumType: inetSum, CsumOffset: inetSumAt}
	switch {
	case do.proto != 0:
		exprs = isProto(do.proto)
		w.Base, w.CsumOffset = expr.PayloadBaseTransportHeader, 16
		if do.proto == unix.IPPROTO_UDP {
			w.CsumOffset = 6
		}
	case v6:
		w.CsumType, w.CsumOffset = unix.NFT_PAYLOAD_CSUM_NONE, 0
	}
	return append(exprs, &expr.Immediate{Register: 1, Data: []byte(do.data)}, w)
}

// setTOS writes the type of service, or the traffic class, which begins in the middle of a byte.
func setTOS(v6 bool, keep, set uint8) []expr.Any {
	w := &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Len: 2, CsumType: inetSum, CsumOffset: inetSumAt}
	mask, xor := []byte{0xff, keep}, []byte{0, set}
	if v6 {
		w.CsumType, w.CsumOffset = unix.NFT_PAYLOAD_CSUM_NONE, 0
		mask, xor = []byte{0xf0 | keep>>4, keep<<4 | 15}, []byte{set >> 4, set << 4}
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Len: 2},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: mask, Xor: xor},
		w,
	}
}

// setMSS writes the maximum segment size of TCP segments that have one.
func setMSS(mss uint16) []expr.Any {
	const kind = 2
	return append(isProto(unix.IPPROTO_TCP),
		&expr.Immediate{Register: 1, Data: []byte{byte(mss >> 8), byte(mss)}},
		&expr.Exthdr{Op: expr.ExthdrOpTcpopt, Type: kind, Offset: 2, Len: 2, SourceRegister: 1})
}

func isProto(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}},
	}
}

// strip writes NOPs over a TCP option where Linux has it in a SYN, if it is there, and mends the checksum. The kernel can take
// options out by kind, but expr.Exthdr cannot say so.
func strip(kind uint8) []expr.Any {
	at, n := uint32(24), uint32(2) // SACK permitted, behind the maximum segment size
	if kind == 8 {
		at, n = 26, 10
	}
	return append(isProto(unix.IPPROTO_TCP),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind, byte(n)}},
		&expr.Immediate{Register: 1, Data: bytes.Repeat([]byte{1}, int(n))},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: n,
			CsumType: inetSum, CsumOffset: 16})
}

// masquerade is with a port of those, where there are any.
func masquerade(ports [2]uint16) []expr.Any {
	if ports[0] == 0 {
		return []expr.Any{&expr.Masq{}}
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{byte(ports[0] >> 8), byte(ports[0])}},
		&expr.Immediate{Register: 2, Data: []byte{byte(ports[1] >> 8), byte(ports[1])}},
		&expr.Masq{ToPorts: true, RegProtoMin: 1, RegProtoMax: 2},
	}
}

// A sum is where the checksum of a protocol is that covers the addresses and that is to be mended by its place.
type sum struct {
	proto byte
	at    uint32
}

// sums are those of the protocols that are probed. Over IPv4 the place is that of the header's own checksum, and the kernel finds
// the other itself, as it is asked to by a flag that expr.Payload sends only along with a place.
func sums(v6 bool) []sum {
	if !v6 {
		return []sum{{unix.IPPROTO_UDP, inetSumAt}, {unix.IPPROTO_TCP, inetSumAt}, {unix.IPPROTO_ICMP, inetSumAt}}
	}
	return []sum{{unix.IPPROTO_UDP, 40 + 6}, {unix.IPPROTO_TCP, 40 + 16}, {unix.IPPROTO_ICMPV6, 40 + 2}}
}

// setAddr writes the source or the destination address, and mends the checksums it is part of.
func setAddr(a netip.Addr, destination bool, sumAt uint32) []expr.Any {
	w := &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader,
		Offset: 12, Len: uint32(a.BitLen() / 8), CsumType: inetSum, CsumOffset: sumAt, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR}
	if a.Is6() {
		w.Offset, w.CsumFlags = 8, 0
	}
	if destination {
		w.Offset += w.Len
	}
	return []expr.Any{&expr.Immediate{Register: 1, Data: a.AsSlice()}, w}
}

// mark gives each packet to a prefix of whole bytes one of so many marks by chance.
func (n *Node) mark(dst netip.Prefix, first, of int) error {
	c, table, err := n.filter(dst.Addr().Is6())
	if err != nil {
		return err
	}
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "mark", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(isWithin(dst),
		&expr.Numgen{Register: 1, Modulus: uint32(of), Type: unix.NFT_NG_RANDOM, Offset: uint32(first)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1})})
	return c.Flush()
}

// isTooBig matches ICMP errors that say that a packet was too big: type 3 code 4, or in ICMPv6 type 2.
func isTooBig(v6 bool) []expr.Any {
	proto, says := byte(unix.IPPROTO_ICMP), []byte{3, 4}
	if v6 {
		proto, says = unix.IPPROTO_ICMPV6, []byte{2}
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: uint32(len(says))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: says},
	}
}

// isTo matches packets to an address.
func isTo(dst netip.Addr) []expr.Any { return isWithin(netip.PrefixFrom(dst, dst.BitLen())) }

// isWithin matches packets to a prefix of whole bytes.
func isWithin(dst netip.Prefix) []expr.Any {
	offset := uint32(16) // of the destination in the header
	if dst.Addr().Is6() {
		offset = 24
	}
	n := dst.Bits() / 8
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(n)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: dst.Addr().AsSlice()[:n]},
	}
}
