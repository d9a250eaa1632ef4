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

// reservePort binds a UDP and a TCP socket to one random port of src, so that
// nobody else on this host can use it, whatever the protocol of the probes.
// The TCP socket does not listen: the kernel goes on answering a SYN-ACK with
// RST, which closes what the probe half opened. The UDP socket hears the
// answers, which keeps the kernel from refusing them with an ICMP error.
func reservePort(src netip.Addr, scope uint32) (udp, tcp int, port uint16, err error) {
	for range reserveTries {
		port = firstPort | random16()
		udp, err = bound(src, scope, unix.SOCK_DGRAM, port)
		if err == nil {
			tcp, err = bound(src, scope, unix.SOCK_STREAM, port)
			if err == nil {
				return udp, tcp, port, nil
			}
			unix.Close(udp)
		}
		if err != unix.EADDRINUSE {
			return -1, -1, 0, err
		}
	}
	return -1, -1, 0, fmt.Errorf("no free port found in %d tries: %w", reserveTries, err)
}

// bound returns a socket bound to that port. The error is the bare errno.
func bound(src netip.Addr, scope uint32, typ int, port uint16) (int, error) {
	family := unix.AF_INET6
	if src.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: src.As16(), Port: int(port), ZoneId: scope}
	if src.Is4() {
		sa = &unix.SockaddrInet4{Addr: src.As4(), Port: int(port)}
	} else if err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// reserveEcho takes a random echo identifier, not 0, that no other Conn in
// this network namespace has. It is given back by closing the descriptor.
func reserveEcho() (fd int, id uint16, err error) {
	for range reserveTries {
		if id = random16(); id == 0 {
			continue
		}
		if fd, err = holdEcho(id); err == nil {
			return fd, id, nil
		}
		if err != unix.EADDRINUSE {
			break
		}
	}
	return -1, 0, fmt.Errorf("reserve an echo identifier: %w", err)
}

// holdEcho makes an echo identifier this socket's own. The kernel keeps no
// list of those, so an abstract Unix socket of that name is the reservation:
// each network namespace has such names of its own (unix(7)). The error is the
// bare errno.
func holdEcho(id uint16) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@gtrace/echo/%d", id)}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
