package rawsock

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// zones remembers the names of interfaces, which link-local addresses need (RFC 4007 section 11).
type zones struct {
	names map[uint32]string
	ids   map[string]uint32
}

// id returns the interface that the zone of a names; 0 when it has none.
func (z *zones) id(a netip.Addr) (uint32, error) {
	name := a.Zone()
	if name == "" {
		return 0, nil
	}
	if id, ok := z.ids[name]; ok {
		return id, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("interface %q: %w", name, err)
	}
	if z.ids == nil {
		z.ids = make(map[string]uint32)
	}
	z.ids[name] = uint32(ifi.Index)
	return uint32(ifi.Index), nil
}

// with returns a with the zone it needs: a link-local address means nothing without.
func (z *zones) with(a netip.Addr, id uint32) netip.Addr {
	if id == 0 || !a.Is6() || !a.IsLinkLocalUnicast() && !a.IsLinkLocalMulticast() {
		return a
	}
	name, ok := z.names[id]
	if !ok {
		ifi, err := net.InterfaceByIndex(int(id))
		if err != nil { // it is gone
			return a.WithZone(strconv.FormatUint(uint64(id), 10))
		}
		if z.names == nil {
			z.names = make(map[uint32]string)
		}
		name, z.names[id] = ifi.Name, ifi.Name
	}
	return a.WithZone(name)
}
