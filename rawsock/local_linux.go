package rawsock

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// localMaxAge is how long a list of the host's addresses is believed where the
// kernel does not tell of changes.
const localMaxAge = time.Second

// localAddrs is a list of this host's addresses that renews itself when the
// kernel says that one came or went, so that no probe leaves from an address
// that is gone.
type localAddrs struct {
	changes int // netlink socket that hears of them; -1: none
	read    time.Time
	all     map[netip.Addr]bool // link-local ones with their zone
}

func watchLocal() localAddrs {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return localAddrs{changes: -1}
	}
	groups := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR}
	if err := unix.Bind(fd, groups); err != nil {
		unix.Close(fd)
		return localAddrs{changes: -1}
	}
	return localAddrs{changes: fd}
}

func (l *localAddrs) close() {
	if l.changes >= 0 {
		unix.Close(l.changes)
		l.changes = -1
	}
}

// stale reports whether the list may have changed, and forgets what told so.
func (l *localAddrs) stale(now time.Time) (told bool) {
	if l.changes < 0 {
		return now.Sub(l.read) > localMaxAge
	}
	var b [1]byte // what a message says does not matter: the list is read as a whole
	for {
		switch _, err := unix.Read(l.changes, b[:]); err {
		case nil, unix.ENOBUFS: // the latter: there were more than fit
			told = true
		case unix.EINTR:
		case unix.EAGAIN:
			return told
		default:
			return true
		}
	}
}

// has reports whether a is one of them. Where the list cannot be read, only
// loopback and what was known before are.
func (l *localAddrs) has(a netip.Addr, now time.Time, z *zones) bool {
	a = a.Unmap()
	if a.IsLoopback() {
		return true
	}
	l.renew(now, z)
	return l.all[a]
}

// renew reads the list anew if it may have changed.
func (l *localAddrs) renew(now time.Time, z *zones) {
	if l.stale(now) || l.all == nil {
		l.read = now
		if m, err := readLocal(z); err == nil {
			l.all = m
		}
	}
}

// mark sets Local of replies that have just come. The kernel is asked once for all, and not for loopback or for what answers the usual ping.
func (l *localAddrs) mark(rs []Reply, now time.Time, z *zones) {
	asked := false
	for i := range rs {
		r := &rs[i]
		if !isError(r) {
			continue
		}
		a := r.From.Unmap()
		if r.Local = a.IsLoopback(); r.Local {
			continue
		}
		if !asked {
			l.renew(now, z)
			asked = true
		}
		r.Local = l.all[a]
	}
}

// isError reports whether r may be an ICMP error (wire.ICMP.IsError says it for sure).
func isError(r *Reply) bool {
	switch {
	case len(r.Data) == 0:
		return false
	case r.Proto == wire.ProtoICMPv6:
		return r.Data[0] < 128
	}
	return r.Proto == wire.ProtoICMP && r.Data[0] != wire.EchoReply4
}

// readLocal asks the kernel for all addresses in one go. net.InterfaceAddrs
// does so too, but does not tell the interface of a link-local address.
func readLocal(z *zones) (map[netip.Addr]bool, error) {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	return parseLocal(rib, z)
}

func parseLocal(rib []byte, z *zones) (map[netip.Addr]bool, error) {
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
		attrs, err := attributes(m)
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
