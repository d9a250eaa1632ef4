package rawsock

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	firstPort    = 32768 // ports from here on are nobody's by registration or habit
	reserveTries = 128
)

func random16() uint16 {
	var b [2]byte
	rand.Read(b[:]) // never fails (Go 1.24)
	return binary.BigEndian.Uint16(b[:])
}

// newToken returns a random run token. Its low half is what TCP probes carry,
// where 0 would look like no token at all.
func newToken() uint32 {
	var b [4]byte
	for {
		rand.Read(b[:])
		if t := binary.BigEndian.Uint32(b[:]); t&0xffff != 0 {
			return t
		}
	}
}

// choose tries a port by number, or, where that is 0, random ones from least on, until one is nobody else's.
// take's error is the bare errno.
func choose(port, least uint16, take func(port uint16) error) (uint16, error) {
	if port != 0 {
		switch err := take(port); err {
		case nil:
			return port, nil
		case unix.EADDRINUSE:
			return 0, fmt.Errorf("%d is %w: %w", port, ErrTaken, err)
		default:
			return 0, fmt.Errorf("%d: %w", port, err)
		}
	}
	for range reserveTries {
		p := least | random16()
		if p == 0 {
			continue
		}
		if err := take(p); err != unix.EADDRINUSE {
			return p, err
		}
	}
	return 0, fmt.Errorf("no free one found in %d tries: %w", reserveTries, unix.EADDRINUSE)
}

// reservePort binds a UDP and a TCP socket to one port of src, a random one where it is 0, so that
// nobody else on this host can use it, whatever the protocol of the probes.
// The TCP socket does not listen: the kernel goes on answering a SYN-ACK with
// RST, which closes what the probe half opened. The UDP socket hears the
// answers, which keeps the kernel from refusing them with an ICMP error.
func reservePort(src netip.Addr, scope uint32, port uint16) (udp, tcp int, _ uint16, err error) {
	port, err = choose(port, firstPort, func(port uint16) (err error) {
		if udp, err = bound(src, scope, unix.SOCK_DGRAM, port); err != nil {
			return err
		}
		if tcp, err = bound(src, scope, unix.SOCK_STREAM, port); err != nil {
			unix.Close(udp)
		}
		return err
	})
	if err != nil {
		return -1, -1, 0, err
	}
	return udp, tcp, port, nil
}

// unbound returns a socket. The error is the bare errno.
func unbound(v6 bool, typ int) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if v6 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// bound returns a socket bound to that port. The error is the bare errno.
func bound(src netip.Addr, scope uint32, typ int, port uint16) (int, error) {
	fd, err := unbound(src.Is6(), typ)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(src, port), scope)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// reserveName takes an identifier or port of a protocol that the kernel keeps no list of, a random one where it
// is 0, that no other Conn in this network namespace has. It is given back by closing the descriptor.
func reserveName(proto uint8, id, least uint16) (fd int, _ uint16, err error) {
	id, err = choose(id, least, func(id uint16) (err error) {
		fd, err = holdName(proto, id)
		return err
	})
	if err != nil {
		return -1, 0, err
	}
	return fd, id, nil
}

// holdName makes a number this socket's own: a netlink socket of that address is the reservation, as each
// network namespace has such addresses of its own, and no two sockets one of them (netlink(7)). The addresses are
// beyond any process id, which is what the kernel chooses first for others. An abstract Unix socket would
// do as well, but then a confined program could open Unix sockets, and call all that listens on one. The
// error is the bare errno.
func holdName(proto uint8, id uint16) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: 1<<30 | uint32(proto)<<16 | uint32(id)}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
