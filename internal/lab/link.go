//go:build linux

package lab

import (
	"fmt"
	"net"
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
	for i, s := range []string{l.V4, l.V6} {
		if s == "" {
			continue
		}
		first, second, err := ends(s)
		if err != nil {
			return err
		}
		if err := a.addAddr(b.Name, i, first); err != nil {
			return err
		}
		if err := b.addAddr(a.Name, i, second); err != nil {
			return err
		}
	}
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

// upWithin bounds how long the kernel may take to see a carrier, which is a
// matter of milliseconds.
const upWithin = 10 * time.Second

// waitUp waits until the kernel says that all links of the node carry
// packets. It finds that out after the call that sets the second end up, and
// drops what is sent before.
func (n *Node) waitUp() error {
	if err := n.waitForLinks(); err != nil {
		return fmt.Errorf("lab: %s: wait for its links: %w", n.Name, err)
	}
	return nil
}

func (n *Node) waitForLinks() error {
	// Changes are listened for before the first look, so none is missed.
	changes, err := nl.SubscribeAt(n.ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	defer changes.Close()
	patience := unix.NsecToTimeval(upWithin.Nanoseconds())
	if err := changes.SetReceiveTimeout(&patience); err != nil {
		return fmt.Errorf("set timeout: %w", err)
	}
	for {
		up, err := n.allUp()
		if err != nil || up {
			return err
		}
		if _, _, err := changes.Receive(); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
}

func (n *Node) allUp() (bool, error) {
	for _, peer := range n.net.plan.neighbours(n.Name) {
		l, err := n.nl.LinkByName(peer)
		if err != nil {
			return false, fmt.Errorf("find %s: %w", peer, err)
		}
		if l.Attrs().OperState != netlink.OperUp {
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
