package rawsock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// Sources finds the source addresses of many destinations: On is SourceOn, by one socket a family for all of them, which is
// connected to each in turn. The zero value is ready. One goroutine uses it.
type Sources struct{ v4, v6 asker }

// On is SourceOn.
func (q *Sources) On(dst netip.Addr, s Settings) (netip.Addr, error) {
	ask := &q.v4
	if dst = dst.Unmap(); dst.Is6() {
		ask = &q.v6
	}
	if src, ok := ask.source(dst, s); ok {
		return src, nil
	}
	return SourceOn(dst, s) // which knows why
}

// Source is SourceOn with no settings.
func Source(dst netip.Addr) (netip.Addr, error) { return SourceOn(dst, Settings{}) }

// sourcePort is the port of dst that is asked about, traceroute's first: routing rules may look at ports.
const sourcePort = 33434

// SourceOn returns the address of this host that the routing table would send
// from to dst, by s.Device where one is set and past routers with s.Direct; a broadcast address is
// one like any other. It carries dst's zone where it is link-local. Nothing is sent:
// a datagram socket is connected to dst and asked for its own name. With s.Mark the routing table
// itself is asked, as sockets may not be marked without privilege.
//
// Where there is no way to dst the error is a *SendError, named as a send to
// dst would name it (ENETUNREACH, EHOSTUNREACH, EACCES …). It wraps ErrZone where dst's zone is the reason.
func SourceOn(dst netip.Addr, s Settings) (netip.Addr, error) {
	dst = dst.Unmap()
	if !dst.IsValid() {
		return netip.Addr{}, opError("find the source address", errors.New("no destination"))
	}
	if s.Mark != 0 {
		src, err := markedSource(dst, s)
		if err != nil {
			return netip.Addr{}, noSource(dst, err)
		}
		return src, nil
	}
	network := "udp4"
	if dst.Is6() {
		network = "udp6"
	}
	to := netip.AddrPortFrom(dst, sourcePort)
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) { err = choosesBy(int(fd), dst.Is6(), s) }); cerr != nil {
			return cerr
		}
		return err
	}}
	c, err := d.Dial(network, to.String())
	if err != nil {
		return netip.Addr{}, noSource(dst, err)
	}
	defer c.Close()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, opError("find the source address to "+dst.String(), fmt.Errorf("socket is named %v", c.LocalAddr()))
	}
	return local.AddrPort().Addr().Unmap(), nil
}

// RouterOn returns the router that the routing table has packets from src to dst leave to first, by s.Device where one is set. It is invalid where there is
// none before dst: a network of this host has it, or this host. src may be invalid. Nothing is sent.
func RouterOn(src, dst netip.Addr, s Settings) (netip.Addr, error) {
	return routerOn(src.Unmap(), dst.Unmap(), s)
}

// noSource is why there is no source for dst. Of a zone that is no interface the kernel says no more than that the argument is invalid.
func noSource(dst netip.Addr, err error) error {
	zone := dst.Zone()
	if zone == "" {
		return sourceError(dst, err)
	}
	_, none := net.InterfaceByName(zone)
	if n, bad := strconv.Atoi(zone); bad == nil {
		_, none = net.InterfaceByIndex(n)
	}
	if none == nil {
		return sourceError(dst, err)
	}
	return &SendError{Name: "ENODEV", Dst: dst, Err: fmt.Errorf("zone %q: %w", zone, ErrZone)}
}
