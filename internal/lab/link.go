//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func (n *Network) addLink(l Link) error {
	a, b := n.nodes[l.A], n.nodes[l.B]
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: l.A, PeerNamespace: netlink.NsFd(b.ns)}
	veth.Name = l.B
	veth.MTU = l.MTU
	if veth.MTU == 0 {
		veth.MTU = 1500
	}
	if err := a.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	var atA, atB [2]netip.Addr
	for i, s := range []string{l.V4, l.V6} {
		if s == "" {
			continue
		}
		first, second, err := ends(s)
		if err != nil {
			return err
		}
		if err := a.addAddr(b.Name, first); err != nil {
			return err
		}
		if err := b.addAddr(a.Name, second); err != nil {
			return err
		}
		atA[i], atB[i] = first.Addr(), second.Addr()
	}
	a.addr[b.Name], b.addr[a.Name] = atA, atB
	for node, peer := range map[*Node]*Node{a: b, b: a} {
		// Unfinished checksums would cross the pair, and routers would
		// quote them in their errors.
		if err := node.Do(func() error { return noChecksumOffload(peer.Name) }); err != nil {
			return err
		}
		if err := node.up(peer.Name); err != nil {
			return err
		}
		if err := node.know(peer); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) up(dev string) error {
	l, err := n.nl.LinkByName(dev)
	if err == nil {
		err = n.nl.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("%s: set %s up: %w", n.Name, dev, err)
	}
	return nil
}

// know tells n the link address of a neighbour, so that no packet waits for
// ARP or neighbour discovery.
func (n *Node) know(peer *Node) error {
	here, err := n.nl.LinkByName(peer.Name)
	if err != nil {
		return fmt.Errorf("%s: find %s: %w", n.Name, peer.Name, err)
	}
	there, err := peer.nl.LinkByName(n.Name)
	if err != nil {
		return fmt.Errorf("%s: find %s: %w", peer.Name, n.Name, err)
	}
	for _, ip := range peer.addr[n.Name] {
		if !ip.IsValid() {
			continue
		}
		err := n.nl.NeighSet(&netlink.Neigh{
			LinkIndex:    here.Attrs().Index,
			State:        netlink.NUD_PERMANENT,
			IP:           net.IP(ip.AsSlice()),
			HardwareAddr: there.Attrs().HardwareAddr,
		})
		if err != nil {
			return fmt.Errorf("%s: note that %s is %s: %w", n.Name, ip, peer.Name, err)
		}
	}
	return nil
}

// upWithin bounds how long the kernel may take to get a node's links and
// addresses to work, which is a matter of milliseconds.
const upWithin = 10 * time.Second

// waitUp waits until the kernel says that all links of the node carry packets
// and that it takes in what is sent to all its addresses. The former it finds
// out after the call that sets the second end of a link up, and drops what is
// sent before. An IPv6 address gets its local route from a work queue: until
// then packets leave from it, and the answers are dropped (Ip6InAddrErrors).
func (n *Node) waitUp() error {
	if err := n.waitReady(); err != nil {
		return fmt.Errorf("lab: %s: wait for its links and addresses: %w", n.Name, err)
	}
	return nil
}

func (n *Node) waitReady() error {
	// Changes are listened for before the first look, so none is missed.
	changes, err := nl.SubscribeAt(n.ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	defer changes.Close()
	patience := unix.NsecToTimeval(upWithin.Nanoseconds())
	if err := changes.SetReceiveTimeout(&patience); err != nil {
		return fmt.Errorf("set timeout: %w", err)
	}
	for {
		ready, err := n.ready()
		// What changed during the look is told of, and then there is another.
		if interrupted := errors.Is(err, netlink.ErrDumpInterrupted); ready || err != nil && !interrupted {
			return err
		}
		if _, _, err := changes.Receive(); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
}

func (n *Node) ready() (bool, error) {
	for _, peer := range n.net.plan.neighbours(n.Name) {
		l, err := n.nl.LinkByName(peer)
		if err != nil {
			return false, fmt.Errorf("find %s: %w", peer, err)
		}
		if l.Attrs().OperState != netlink.OperUp {
			return false, nil
		}
	}
	addrs, err := n.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("list addresses: %w", err)
	}
	routes, err := n.nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	if err != nil {
		return false, fmt.Errorf("list local routes: %w", err)
	}
	for _, a := range addrs {
		takes := func(r netlink.Route) bool { return r.LinkIndex == a.LinkIndex && r.Dst != nil && r.Dst.Contains(a.IP) }
		if !slices.ContainsFunc(routes, takes) {
			return false, nil
		}
	}
	return true, nil
}

// noChecksumOffload makes the kernel finish checksums before a packet goes
// to the device, as `ethtool -K DEV tx off` does.
func noChecksumOffload(dev string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket for ethtool: %w", err)
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_STXCSUM}
	var req struct { // struct ifreq with ifr_data, netdevice(7)
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], dev)
	req.data = unsafe.Pointer(&value)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); e != 0 {
		return fmt.Errorf("turn transmit checksum offload of %s off: %w", dev, e)
	}
	return nil
}

// Bridge makes the node a switch that joins all its links into one, without
// addresses of its own: give the neighbours theirs with AddAddr.
func (n *Node) Bridge() error {
	if err := n.bridge(); err != nil {
		return fmt.Errorf("lab: make %s a switch: %w", n.Name, err)
	}
	return nil
}

func (n *Node) bridge() error {
	b := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	b.Name = "bridge"
	if err := n.nl.LinkAdd(b); err != nil {
		return fmt.Errorf("add a bridge: %w", err)
	}
	// A port of a bridge that is up forwards at once.
	if err := n.nl.LinkSetUp(b); err != nil {
		return fmt.Errorf("set the bridge up: %w", err)
	}
	for _, peer := range n.net.plan.neighbours(n.Name) {
		l, err := n.nl.LinkByName(peer)
		if err == nil {
			err = n.nl.LinkSetMaster(l, b)
		}
		if err != nil {
			return fmt.Errorf("make the link with %s a port: %w", peer, err)
		}
	}
	return nil
}
