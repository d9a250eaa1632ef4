//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Tun is a device of a Node whose packets go to this process instead of a wire.
type Tun struct {
	FD   int // reads and writes one whole IP packet each; it does not block
	node *Node
	name string
}

// Tun adds a device of that name with an IPv4 address, through which everything goes that has no other way, and a queue for so
// many packets. It is closed with the network.
func (n *Node) Tun(name string, addr netip.Addr, queue int) (*Tun, error) {
	t := &Tun{FD: -1, node: n, name: name}
	err := n.Do(func() error { return t.open(addr, queue) })
	if err != nil {
		if t.FD >= 0 {
			unix.Close(t.FD)
		}
		return nil, fmt.Errorf("lab: %s: make the device %s: %w", n.Name, name, err)
	}
	n.net.onClose(func() error { return unix.Close(t.FD) })
	return t, nil
}

func (t *Tun) open(addr netip.Addr, queue int) (err error) {
	if t.FD, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(t.FD, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	nl := t.node.nl
	l, err := nl.LinkByName(t.name)
	if err != nil {
		return err
	}
	if err := t.node.addAddr(t.name, netip.PrefixFrom(addr, addr.BitLen())); err != nil {
		return err
	}
	return errors.Join(nl.LinkSetTxQLen(l, queue), nl.LinkSetUp(l),
		nl.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))}))
}

// Dropped is how many packets found no place in the device's queue.
func (t *Tun) Dropped() (uint64, error) {
	l, err := t.node.nl.LinkByName(t.name)
	if err != nil {
		return 0, fmt.Errorf("lab: %s: find %s: %w", t.node.Name, t.name, err)
	}
	return l.Attrs().Statistics.TxDropped, nil
}
