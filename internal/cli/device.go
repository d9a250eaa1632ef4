package cli

import (
	"fmt"
	"net"
	"net/netip"
)

// deviceSource is the address to send to dst from where packets leave by a device that
// the user chose: best, which the routing table would use, if it is the device's, else the first of the device's own
// that dst can answer to.
func deviceSource(device string, dst, best netip.Addr) (netip.Addr, error) {
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("--interface %s: no such interface", printable(device))
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("--interface %s: list its addresses: %w", printable(device), err)
	}
	var first netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		own := p.Addr().Unmap()
		switch {
		case own == best.WithZone(""):
			return best, nil
		case own.Is4() != dst.Is4(), own.IsLinkLocalUnicast() != dst.IsLinkLocalUnicast(), first.IsValid():
			continue
		}
		first = own
	}
	if !first.IsValid() {
		return first, fmt.Errorf("--interface %s: has no IPv%d address to send from", printable(device), familyOf(dst))
	}
	return first, nil
}
