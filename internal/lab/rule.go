//go:build linux

package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

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
	c, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	family := nftables.TableFamilyIPv4
	if addr.Is6() {
		family = nftables.TableFamilyIPv6
	}
	table := c.AddTable(&nftables.Table{Name: "lab", Family: family})
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
	default:
		chain.Name, chain.Type = "forward", nftables.ChainTypeFilter
		chain.Hooknum, chain.Priority = nftables.ChainHookForward, nftables.ChainPriorityFilter
	}
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
		exprs = append(exprs, &expr.Masq{})
	case actTTL:
		exprs = append(exprs, setTTL(addr.Is6(), do.code)...)
	case actDNAT, actSource:
		if do.target.Is4() != addr.Is4() {
			return fmt.Errorf("cannot rewrite to %s, which is of another family", do.target)
		}
		if do.kind == actSource {
			exprs = append(exprs, setSource(do.target)...)
			break
		}
		exprs = append(exprs,
			&expr.Immediate{Register: 1, Data: do.target.AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family), RegAddrMin: 1})
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: c.AddChain(chain), Exprs: exprs})
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
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Immediate{Register: 1, Data: []byte{byte(mss >> 8), byte(mss)}},
		&expr.Exthdr{Op: expr.ExthdrOpTcpopt, Type: kind, Offset: 2, Len: 2, SourceRegister: 1},
	}
}

// setSource writes the source address and mends the checksums it is part of; over IPv6 that of ICMP right behind the header alone.
func setSource(a netip.Addr) []expr.Any {
	w := &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader,
		Offset: 12, Len: 4, CsumType: inetSum, CsumOffset: inetSumAt, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR}
	if a.Is6() {
		// The header has no checksum, but ICMPv6's covers the address (RFC 4443 section 2.3).
		w.Offset, w.Len, w.CsumOffset, w.CsumFlags = 8, 16, 40+2, 0
	}
	return []expr.Any{&expr.Immediate{Register: 1, Data: a.AsSlice()}, w}
}

// mark gives each packet to an address one of so many marks by chance.
func (n *Node) mark(dst netip.Addr, first, of int) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	family := nftables.TableFamilyIPv4
	if dst.Is6() {
		family = nftables.TableFamilyIPv6
	}
	table := c.AddTable(&nftables.Table{Name: "lab", Family: family})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "mark", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(isTo(dst),
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
func isTo(dst netip.Addr) []expr.Any {
	offset := uint32(16) // of the destination in the header
	if dst.Is6() {
		offset = 24
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(dst.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: dst.AsSlice()},
	}
}
