package rawsock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

// syn is a TCP probe as package probe lays it out.
func (e ends) syn(dst netip.AddrPort, port uint16, seq uint32, s shape) Packet {
	options := wire.AppendSYNOptions(nil, 1460, 7)
	b := e.header(nil, dst.Addr(), wire.ProtoTCP, s, 20+len(options))
	return Packet{Dst: dst.Addr(), Data: wire.AppendTCP(b, netip.AddrPortFrom(e.host, port), dst,
		wire.TCPFields{Seq: seq, Flags: wire.SYN, Window: 64240, Options: options}, nil)}
}

// sendAgain sends in the host's namespace, where the socket of a TCP probe is made only then; again where that has to wait, as the
// engine does.
func (e ends) sendAgain(t *testing.T, c Conn, p *Packet) {
	t.Helper()
	once := func() error {
		ps := []Packet{*p}
		_, err := c.Send(ps)
		*p = ps[0]
		return err
	}
	err := e.do(once)
	for late := time.Now().Add(within); errors.Is(err, ErrFull) && time.Now().Before(late); {
		if _, rerr := c.Recv(make([]Reply, 0), time.Now()); rerr != nil {
			t.Fatal(rerr)
		}
		err = e.do(once)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sendTCP sends without privilege.
func (e ends) sendTCP(t *testing.T, c Conn, p *Packet) {
	t.Helper()
	e.sendAgain(t, c, p)
	if p.Kernel {
		t.Error("the kernel gives no time for a SYN, and yet there is one")
	}
}

// wantSegment wants the answer of a TCP stack to p.
func (e ends) wantSegment(t *testing.T, r Reply, p Packet, flags uint8) {
	t.Helper()
	sent, _ := wire.ParseIP(p.Data)
	syn, _ := wire.ParseTCP(sent.Transport())
	got, err := wire.ParseTCP(r.Data)
	if err != nil {
		t.Fatal(err)
	}
	if r.Proto != wire.ProtoTCP || r.From != p.Dst || r.To != e.host || r.TTL != 0 || r.Kernel || r.At.Before(p.Sent) ||
		got.Src() != syn.Dst() || got.Dst() != syn.Src() || got.Ack() != syn.Seq()+1 || got.Flags() != flags || !got.Valid(r.From, r.To) {
		t.Errorf("reply %+v, want flags %#x that acknowledge %d", r, flags, syn.Seq())
	}
}

// measureTCP is the part of measure for TCP: the target listens on port 80 and not on 81.
func measureTCP(t *testing.T, e ends) {
	c := e.conn(t)
	port := e.reserve(t, c, wire.ProtoTCP)
	open, closed := netip.AddrPortFrom(e.target, 80), netip.AddrPortFrom(e.target, 81)
	exceeded := byFamily[uint8](e, wire.TimeExceeded4, wire.TimeExceeded6)

	t.Run("hop", func(t *testing.T) {
		p := e.syn(open, port, 0x33440001, shape{ttl: 1})
		e.sendTCP(t, c, &p)
		r := next(t, c)
		m := e.wantError(t, r, p, e.router, exceeded, 0)
		if r.TTL != 64 {
			t.Errorf("arrived with TTL %d, want 64", r.TTL)
		}
		q, _ := m.Quote()
		if s, err := wire.ParseTCPQuote(q.Transport()); err != nil || s.Seq() != 0x33440001 {
			t.Errorf("quotes sequence number %#x (%v), want that of the probe as it was given", s.Seq(), err)
		}
	})
	t.Run("open, again and again from one port", func(t *testing.T) {
		for seq := range uint32(5) {
			p := e.syn(open, port, 0x33440100+seq, shape{ttl: 9})
			e.sendTCP(t, c, &p)
			e.wantSegment(t, next(t, c), p, wire.SYN|wire.ACK)
		}
	})
	t.Run("open, and the last connection was reset just now", func(t *testing.T) {
		p := e.syn(open, port, 0x33440110, shape{ttl: 9})
		e.sendTCP(t, c, &p)
		next(t, c)
		if len(c.resets) != 1 {
			t.Fatalf("%d connections reset of late, want 1", len(c.resets))
		}
		c.resets[0].at = c.Now().Add(time.Hour)
		other := e.syn(closed, port, 0x33440111, shape{ttl: 9}) // has other ends
		e.sendTCP(t, c, &other)
		next(t, c)
		err := e.do(func() error { _, err := c.Send([]Packet{p}); return err })
		var se *SendError
		if !errors.Is(err, ErrFull) || !errors.As(err, &se) || se.Name != "EAGAIN" {
			t.Fatalf("a connection with the same ends: %v, want ErrFull", err)
		}
		c.resets[0].at = c.Now().Add(-resetRest)
		e.sendTCP(t, c, &p)
		e.wantSegment(t, next(t, c), p, wire.SYN|wire.ACK)
	})
	t.Run("closed", func(t *testing.T) {
		p := e.syn(closed, port, 0x33440002, shape{ttl: 9})
		e.sendTCP(t, c, &p)
		e.wantSegment(t, next(t, c), p, wire.RST|wire.ACK)
	})
	t.Run("two destinations at once", func(t *testing.T) {
		p, q := e.syn(open, port, 0x33440003, shape{ttl: 1}), e.syn(closed, port, 0x33440004, shape{ttl: 9})
		e.sendTCP(t, c, &p)
		e.sendTCP(t, c, &q)
		for range 2 {
			if r := next(t, c); r.Proto == wire.ProtoTCP {
				e.wantSegment(t, r, q, wire.RST|wire.ACK)
			} else {
				e.wantError(t, r, p, e.router, exceeded, 0)
			}
		}
	})
	t.Run("one at a time to each", func(t *testing.T) {
		silent := netip.AddrPortFrom(e.silent, 80)
		p, q := e.syn(silent, port, 0x33440005, shape{ttl: 9}), e.syn(silent, port, 0x33440006, shape{ttl: 9})
		e.sendTCP(t, c, &p)
		err := e.do(func() error { _, err := c.Send([]Packet{q}); return err })
		var se *SendError
		if !errors.Is(err, ErrFull) || !errors.As(err, &se) || se.Name != "EAGAIN" {
			t.Fatalf("a second connection with the same ends: %v, want ErrFull", err)
		}
		// Nobody answers, and before the kernel sends again the connection is given up: then there is
		// room for the next.
		var rs [1]Reply
		if _, err := c.Recv(rs[:], p.Sent.Add(dialPatience)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%v, want silence", err)
		}
		if len(c.dials) != 0 {
			t.Errorf("%d connections under way, want none", len(c.dials))
		}
		e.sendTCP(t, c, &q)
	})
	t.Run("release", func(t *testing.T) {
		c.Release(e.host, wire.ProtoTCP, port) // with one under way
		if len(c.dials) != 0 {
			t.Errorf("%d connections under way, want none", len(c.dials))
		}
		var se *SendError
		if _, err := c.Send([]Packet{e.syn(open, port, 1, shape{ttl: 1})}); !errors.As(err, &se) || se.Name != "EADDRNOTAVAIL" {
			t.Errorf("send from a released port: %v", err)
		}
	})
	t.Run("no route", func(t *testing.T) {
		port := e.reserve(t, c, wire.ProtoTCP)
		err := e.do(func() error {
			_, err := c.Send([]Packet{e.syn(netip.AddrPortFrom(e.unreachable, 80), port, 1, shape{ttl: 9})})
			return err
		})
		var se *SendError
		if !errors.As(err, &se) || se.Name != "EHOSTUNREACH" || se.Dst != e.unreachable {
			t.Errorf("%v, want EHOSTUNREACH", err)
		}
	})
	if s := c.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
}

// TestDialOnTheWire: what leaves has the TTL, the TOS and the source port that were asked for, and leaves once.
func TestDialOnTheWire(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			e := endsOf(t, n, family)
			c := e.conn(t)
			port := e.reserve(t, c, wire.ProtoTCP)
			wires, err := n.Node("host").Capture("router", 1000)
			if err != nil {
				t.Fatal(err)
			}
			p := e.syn(netip.AddrPortFrom(e.silent, 80), port, 1, shape{ttl: 9, tos: 0x28, df: true})
			e.sendTCP(t, c, &p)
			// Longer than the kernel waits before it sends a SYN again. The loop looks at the clock by receiving.
			var rs [1]Reply
			if _, err := c.Recv(rs[:], p.Sent.Add(2500*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			ps, err := wires.Stop()
			if err != nil {
				t.Fatal(err)
			}
			var left []wire.IP
			for _, p := range ps {
				if ip, err := wire.ParseIP(p.Data); err == nil && p.Out && ip.Dst() == e.silent {
					left = append(left, ip)
				}
			}
			if len(left) != 1 {
				t.Fatalf("%d packets left, want 1", len(left))
			}
			ip := left[0]
			s, err := wire.ParseTCP(ip.Transport())
			if err != nil || s.Src() != port || s.Dst() != 80 || s.Flags() != wire.SYN || ip.TTL() != 9 || ip.TOS() != 0x28 || family == 4 && !ip.DF() {
				t.Errorf("left as %x (%v)", ip.Bytes(), err)
			}
		})
	}
}

// TestDialErrors: extensions behind a quoted TCP header come through, and the header is the probe's as it was given.
func TestDialErrors(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			e := endsOf(t, n, family)
			c := e.conn(t)
			port := e.reserve(t, c, wire.ProtoTCP)
			var router net.PacketConn
			if err := n.Node("router").Do(func() (err error) {
				router, err = net.ListenPacket(byFamily(e, "ip4:icmp", "ip6:ipv6-icmp"), e.router.String())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer router.Close()
			wires, err := n.Node("host").Capture("router", 1000)
			if err != nil {
				t.Fatal(err)
			}
			p := e.syn(netip.AddrPortFrom(e.silent, 80), port, 0x33440009, shape{ttl: 9})
			e.sendTCP(t, c, &p)
			out, err := wires.Wait(within, func(p lab.Packet) bool {
				ip, err := wire.ParseIP(p.Data)
				return err == nil && p.Out && ip.Dst() == e.silent
			})
			if err != nil {
				t.Fatal(err)
			}
			label := wire.AppendObject(nil, 1, 1, wire.AppendLSE(nil, 12345, 5, true, 7))
			exceeded := byFamily[uint8](e, wire.TimeExceeded4, wire.TimeExceeded6)
			b := wire.AppendError(nil, e.router, e.host, exceeded, 0, 0, out.Data, label)
			if _, err := router.WriteTo(b, &net.IPAddr{IP: e.host.AsSlice()}); err != nil {
				t.Fatal(err)
			}
			m := e.wantErrorTCP(t, next(t, c), p, exceeded)
			objects := m.Objects()
			o, ok := objects.Next()
			if l, lok := o.LSE(0); !ok || !lok || l.Label() != 12345 {
				t.Errorf("label %v (%t), want 12345", l, ok)
			}
			if _, err := wires.Stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// wantErrorTCP is wantError for a quote that is padded.
func (e ends) wantErrorTCP(t *testing.T, r Reply, p Packet, typ uint8) wire.ICMP {
	t.Helper()
	m := e.readICMP(t, r, p, e.router)
	q, err := m.Quote()
	if err != nil || m.Type() != typ {
		t.Fatalf("type %d (%v)", m.Type(), err)
	}
	sent, _ := wire.ParseIP(p.Data)
	if got := q.Transport(); q.Dst() != sent.Dst() || len(got) < 40 || string(got[:40]) != string(sent.Transport()) {
		t.Errorf("quotes\n%x, want a start of\n%x", got, sent.Transport())
	}
	return m
}

// TestTakenPorts asks for ports by number: nobody's, this connection's own, and another program's.
func TestTakenPorts(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		e := endsOf(t, n, family)
		for _, kind := range []string{"raw", "unprivileged"} {
			t.Run(fmt.Sprintf("IPv%d %s", family, kind), func(t *testing.T) {
				var c, other Conn
				if err := n.Node("host").Do(func() (err error) {
					if c, err = Open(Options{Unprivileged: kind != "raw", Protocols: nil}); err == nil {
						other, err = Open(Options{Unprivileged: kind != "raw"})
					}
					return err
				}); err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				defer other.Close()
				for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoTCP, e.icmp()} {
					if err := n.Node("host").Do(func() error {
						if got, err := c.Reserve(e.host, proto, 40123); got != 40123 || err != nil {
							t.Errorf("protocol %d: port %d (%v), want 40123", proto, got, err)
						}
						for _, again := range []Conn{c, other} {
							if got, err := again.Reserve(e.host, proto, 40123); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "40123") {
								t.Errorf("protocol %d, taken: port %d (%v), want ErrTaken", proto, got, err)
							}
						}
						c.Release(e.host, proto, 40123)
						if got, err := other.Reserve(e.host, proto, 40123); got != 40123 || err != nil {
							t.Errorf("protocol %d, given back: port %d (%v), want 40123", proto, got, err)
						}
						other.Release(e.host, proto, 40123)
						return nil
					}); err != nil {
						t.Fatal(err)
					}
				}
				// Another program has the TCP port, and lets others have it too if they ask.
				err := n.Node("host").Do(func() error {
					fd, err := unbound(family == 6, unix.SOCK_STREAM)
					if err != nil {
						return err
					}
					defer unix.Close(fd)
					if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
						return err
					}
					if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(e.host, 40124), 0)); err != nil {
						return err
					}
					_, err = c.Reserve(e.host, wire.ProtoTCP, 40124)
					return err
				})
				if !errors.Is(err, ErrTaken) {
					t.Errorf("a port that another program would share: %v, want ErrTaken", err)
				}
			})
		}
	}
}
