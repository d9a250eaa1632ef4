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
	family, offset := nftables.TableFamilyIPv4, uint32(16) // of the destination in the header
	if addr.Is6() {
		family, offset = nftables.TableFamilyIPv6, 24
	}
	table := c.AddTable(&nftables.Table{Name: "lab", Family: family})
	chain := &nftables.Chain{Table: table}
	switch {
	case do.kind == actDNAT:
		chain.Name, chain.Type = "dnat", nftables.ChainTypeNAT
		chain.Hooknum, chain.Priority = nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest
	case hook == Output:
		chain.Name, chain.Type = "output", nftables.ChainTypeFilter
		chain.Hooknum, chain.Priority = nftables.ChainHookOutput, nftables.ChainPriorityFilter
	default:
		chain.Name, chain.Type = "forward", nftables.ChainTypeFilter
		chain.Hooknum, chain.Priority = nftables.ChainHookForward, nftables.ChainPriorityFilter
	}
	exprs := []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(addr.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
	}
	switch do.kind {
	case actDrop:
		exprs = append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})
	case actReject:
		exprs = append(exprs, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: do.code})
	case actDNAT:
		if do.target.Is4() != addr.Is4() {
			return fmt.Errorf("cannot rewrite to %s, which is of another family", do.target)
		}
		exprs = append(exprs,
			&expr.Immediate{Register: 1, Data: do.target.AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family), RegAddrMin: 1})
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: c.AddChain(chain), Exprs: exprs})
	return c.Flush()
}
