//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net"

	"gtrace/internal/wire"
)

// ServeTCP lets the node accept connections on a port, of both families, and
// close them at once.
func (n *Node) ServeTCP(port int) error {
	var l *net.TCPListener
	err := n.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", &net.TCPAddr{Port: port})
		return err
	})
	if err != nil {
		return fmt.Errorf("lab: %s: %w", n.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil { // else the client had gone again
				c.Close()
			}
		}
	}()
	n.net.onClose(func() error {
		err := l.Close()
		<-ended
		return err
	})
	return nil
}

// ServeUDP lets the node answer every datagram to a port, of both families,
// with what answer makes of its payload; nil is none.
func (n *Node) ServeUDP(port int, answer func([]byte) []byte) error {
	var l *net.UDPConn
	err := n.Do(func() (err error) {
		l, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		return fmt.Errorf("lab: %s: %w", n.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1<<16)
		for {
			k, from, err := l.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // an ICMP error about an earlier answer
				continue
			}
			if b := answer(buf[:k]); b != nil {
				// Who asked may be gone: that is not the server's matter.
				_, _ = l.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	n.net.onClose(func() error {
		err := l.Close()
		<-ended
		return err
	})
	return nil
}

// Echo is an answer for ServeUDP: the payload itself.
func Echo(b []byte) []byte { return b }

// DNS is an answer for ServeUDP: that of a server which refuses every query.
func DNS(b []byte) []byte { return wire.AppendDNSRefusal(nil, b) }

// QUIC is an answer for ServeUDP: that of a server of QUIC version 1 to a client's first packet of another version, of 1200 bytes at
// least: which it has. There is none to anything else.
func QUIC(b []byte) []byte { return wire.AppendQUICVersions(nil, b, 1) }

// Say is an answer for ServeUDP: always the same text, as a service that
// knows nothing of what it was asked.
func Say(text string) func([]byte) []byte {
	return func([]byte) []byte { return []byte(text) }
}
