//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Network is a running Plan.
type Network struct {
	plan  Plan
	nodes map[string]*Node
	open  []io.Closer // closed by Close, the last first
}

// A Node is one network namespace.
type Node struct {
	Name string
	net  *Network
	ns   netns.NsHandle
	nl   *netlink.Handle
	addr map[string][2]netip.Addr // by neighbour: IPv4, IPv6
}

// Need says whether networks can be made here. Without the right to, it
// skips the test with the reason; where the environment has CI set, it fails
// it instead.
func Need(t testing.TB) {
	t.Helper()
	if err := possible(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test may not be left out: %v", err)
		}
		t.Skipf("left out: %v; run the tests as root", err)
	}
}

func possible() error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	return ns.Close()
}

// Start is Build for tests: it skips where Need does, fails the test when the
// network cannot be built, and closes it when the test is over.
func Start(t testing.TB, p Plan) *Network {
	t.Helper()
	Need(t)
	n, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Build makes the network. On an error nothing of it is left.
func Build(p Plan) (_ *Network, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	n := &Network{plan: p, nodes: make(map[string]*Node)}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	for _, name := range p.names() {
		if err := n.addNode(name, len(p.neighbours(name)) > 1); err != nil {
			return nil, fmt.Errorf("lab: node %s: %w", name, err)
		}
	}
	for _, s := range p.Sysctls {
		if err := n.nodes[s.On].Set(s.Key, s.Value); err != nil {
			return nil, err
		}
	}
	for _, l := range p.Links {
		if err := n.addLink(l); err != nil {
			return nil, fmt.Errorf("lab: link %s to %s: %w", l.A, l.B, err)
		}
	}
	for _, name := range p.names() {
		if err := n.nodes[name].waitUp(); err != nil {
			return nil, err
		}
	}
	if err := n.addRoutes(); err != nil {
		return nil, err
	}
	for _, r := range p.Rules {
		if err := n.nodes[r.On].AddRule(r.Dst, r.Hook, r.Do); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Close ends the network's services and captures and lets go of its
// namespaces. The kernel takes one down when the last program in it has
// ended.
func (n *Network) Close() error {
	var errs []error
	for len(n.open) > 0 {
		last := n.open[len(n.open)-1]
		n.open = n.open[:len(n.open)-1]
		errs = append(errs, last.Close())
	}
	return errors.Join(errs...)
}

func (n *Network) onClose(f func() error) { n.open = append(n.open, closer(f)) }

type closer func() error

func (c closer) Close() error { return c() }

// Node returns the node of that name, which the plan must have.
func (n *Network) Node(name string) *Node {
	node := n.nodes[name]
	if node == nil {
		panic("lab: no node " + name)
	}
	return node
}

func (n *Network) addNode(name string, router bool) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	n.onClose(ns.Close)
	node := &Node{Name: name, net: n, ns: ns, addr: make(map[string][2]netip.Addr)}
	n.nodes[name] = node
	if node.nl, err = netlink.NewHandleAt(ns); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	n.onClose(func() error { node.nl.Close(); return nil })
	if err := node.Do(func() error { return setAll(router) }); err != nil {
		return err
	}
	return node.up("lo")
}

// newNamespace makes a namespace that only the returned descriptor holds.
func newNamespace() (ns netns.NsHandle, err error) {
	ns = netns.None()
	err = away(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		ns, err = netns.Get()
		return err
	})
	return ns, err
}

// away runs f on a thread that may change its network namespace meanwhile.
func away(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("find this thread's network namespace: %w", err)
			return
		}
		err = f()
		back := netns.Set(home)
		home.Close() // before the caller goes on, who may count what is open
		// A thread that cannot go back ends with this goroutine, still
		// locked, lest others run in the wrong place.
		if back != nil {
			done <- errors.Join(err, fmt.Errorf("return to the first network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// Do runs f on a thread in the node's namespace. Sockets f opens and
// programs it starts stay there; goroutines it starts do not.
// f must not call runtime.Goexit, so no t.Fatal.
func (n *Node) Do(f func() error) error {
	return away(func() error {
		if err := netns.Set(n.ns); err != nil {
			return fmt.Errorf("lab: enter %s: %w", n.Name, err)
		}
		return f()
	})
}

// Start starts a program in the node's namespace.
func (n *Node) Start(c *exec.Cmd) error { return n.Do(c.Start) }

// Set writes a setting below /proc/sys/net, such as "ipv4/icmp_ratelimit".
func (n *Node) Set(key, value string) error {
	if err := n.Do(func() error { return setSysctl(key, value) }); err != nil {
		return fmt.Errorf("lab: %s: %w", n.Name, err)
	}
	return nil
}

// Addr is the address, of family 4 or 6, on the link with that neighbour.
func (n *Node) Addr(neighbour string, family int) netip.Addr {
	a, ok := n.addr[neighbour]
	if !ok {
		panic("lab: " + n.Name + " has no link with " + neighbour)
	}
	if family == 6 {
		return a[1]
	}
	return a[0]
}

// Only is the address, of family 4 or 6, of a host with one link.
func (n *Node) Only(family int) netip.Addr {
	next := n.net.plan.neighbours(n.Name)
	if len(next) != 1 {
		panic("lab: " + n.Name + " has more than one link")
	}
	return n.Addr(next[0], family)
}

func (n *Node) addAddr(dev string, p netip.Prefix) error {
	l, err := n.nl.LinkByName(dev)
	if err == nil {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		err = n.nl.AddrAdd(l, a)
	}
	if err != nil {
		return fmt.Errorf("%s: give %s the address %s: %w", n.Name, dev, p, err)
	}
	return nil
}

// AddAddr gives the link with that neighbour one more address, which works
// when the call returns. Routes to it are the caller's to add.
func (n *Node) AddAddr(neighbour string, p netip.Prefix) error {
	if err := n.addAddr(neighbour, p); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return n.waitUp()
}

// RemoveAddr takes an address away from the link with that neighbour.
func (n *Node) RemoveAddr(neighbour string, addr netip.Addr) error {
	l, err := n.nl.LinkByName(neighbour)
	if err != nil {
		return fmt.Errorf("lab: %s: find %s: %w", n.Name, neighbour, err)
	}
	as, err := n.nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("lab: %s: list the addresses of %s: %w", n.Name, neighbour, err)
	}
	for _, a := range as {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Unmap() == addr {
			if err := n.nl.AddrDel(l, &a); err != nil {
				return fmt.Errorf("lab: %s: take %s from %s: %w", n.Name, addr, neighbour, err)
			}
			return nil
		}
	}
	return fmt.Errorf("lab: %s: %s is not on %s", n.Name, addr, neighbour)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
