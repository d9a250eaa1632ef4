package rawsock

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// localMaxAge is how long a list of the host's addresses is believed.
const localMaxAge = time.Second

// localAddrs is a list of this host's addresses that renews itself.
type localAddrs struct {
	read time.Time
	all  map[netip.Addr]bool // link-local ones with their zone
}

// has reports whether a is one of them. Where the list cannot be read, only
// loopback and what was known before are.
func (l *localAddrs) has(a netip.Addr, now time.Time, z *zones) bool {
	a = a.Unmap()
	if a.IsLoopback() {
		return true
	}
	if l.all == nil || now.Sub(l.read) > localMaxAge {
		l.read = now
		if m, err := readLocal(z); err == nil {
			l.all = m
		}
	}
	return l.all[a]
}

// readLocal asks the kernel for all addresses in one go. net.InterfaceAddrs
// does so too, but does not tell the interface of a link-local address.
func readLocal(z *zones) (map[netip.Addr]bool, error) {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	ms, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, err
	}
	all := make(map[netip.Addr]bool)
	for i := range ms {
		m := &ms[i]
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		index := (*unix.IfAddrmsg)(unsafe.Pointer(&m.Data[0])).Index
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, err
		}
		for _, at := range attrs {
			// IFA_ADDRESS is the other end on a point-to-point link, IFA_LOCAL this
			// one; IPv6 has as a rule only the first.
			local := at.Attr.Type == unix.IFA_LOCAL
			if !local && (at.Attr.Type != unix.IFA_ADDRESS || hasLocal(attrs)) {
				continue
			}
			if a, ok := netip.AddrFromSlice(at.Value); ok {
				all[z.with(a, index)] = true
			}
		}
	}
	return all, nil
}

func hasLocal(attrs []syscall.NetlinkRouteAttr) bool {
	for _, at := range attrs {
		if at.Attr.Type == unix.IFA_LOCAL {
			return true
		}
	}
	return false
}
