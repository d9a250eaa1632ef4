//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// A Manner is the way a host of the odd network's crowd answers.
type Manner struct {
	Name, What string
	only       int // the family it is of; 0: both
	answer     func(q *query, send func([]byte))
}

// LateBy is how long the host late takes to answer.
const LateBy = 600 * time.Millisecond

// SomeTTL is the TTL that the answers of the host ttl leave it with.
const SomeTTL = 200

// OddManners are the crowd's. Their proper answers are an echo reply, a port
// unreachable to UDP and a reset to a TCP SYN, with a TTL of 64; a record
// route option gets the host's address and comes back.
//
// Where packets have a number it is for an echo request the how-manieth of its
// identifier and TTL it is, for a UDP datagram its destination port, for a TCP
// segment its source port. So a run meets with the same whatever ran before it
// or beside it, and in whatever order it goes about its TTLs.
var OddManners = []Manner{
	{Name: "plain", What: "the proper answer", answer: func(q *query, send func([]byte)) { send(q.proper(how{})) }},
	{Name: "copies", What: "three copies of it", answer: func(q *query, send func([]byte)) {
		for range 3 {
			send(q.proper(how{}))
		}
	}},
	{Name: "corrupt", What: "an echo reply with byte 20 of the payload inverted, and a checksum that is right for it", answer: func(q *query, send func([]byte)) {
		send(q.proper(how{payload: func(b []byte) []byte {
			if len(b) > 20 {
				b[20] ^= 0xff
			}
			return b
		}}))
	}},
	{Name: "checksum", What: "an answer with a wrong checksum", answer: func(q *query, send func([]byte)) {
		send(q.proper(how{badSum: true}))
	}},
	{Name: "elsewhere", What: "an answer from the address of the host plain", answer: func(q *query, send func([]byte)) {
		send(q.proper(how{from: oddAddr(1, q.family())}))
	}},
	{Name: "ttl", What: "an answer with a TTL of SomeTTL", answer: func(q *query, send func([]byte)) {
		send(q.proper(how{ttl: SomeTTL}))
	}},
	{Name: "third", What: "no answer where the number leaves 2 when divided by 3", answer: numbered(func(q *query, n int, send func([]byte)) {
		if n%3 != 2 {
			send(q.proper(how{}))
		}
	})},
	{Name: "swapped", What: "the answer to an odd number together with the next even one's, behind it", answer: swap()},
	{Name: "late", What: "the proper answer after LateBy", answer: func(q *query, send func([]byte)) {
		p := q.proper(how{})
		time.AfterFunc(LateBy, func() { send(p) })
	}},
	{Name: "redirect", What: "a redirect (to this host's own neighbour, so that no kernel takes it up), then the answer", only: 4, answer: func(q *query, send func([]byte)) {
		gateway := oddAddr(1, 4).As4()
		send(q.fault(5, 1, uint32(gateway[0])<<24|uint32(gateway[1])<<16|uint32(gateway[2])<<8|uint32(gateway[3])))
		send(q.proper(how{}))
	}},
	{Name: "quench", What: "a source quench, then the answer", only: 4, answer: func(q *query, send func([]byte)) {
		send(q.fault(4, 0, 0))
		send(q.proper(how{}))
	}},
	{Name: "truncated", What: "an echo reply with half of the payload", answer: func(q *query, send func([]byte)) {
		send(q.proper(how{payload: func(b []byte) []byte { return b[:len(b)/2] }}))
	}},
	{Name: "mixed", What: "two copies to an odd number, administratively prohibited to an even one", answer: numbered(func(q *query, n int, send func([]byte)) {
		switch {
		case n%2 == 1:
			send(q.proper(how{}))
			send(q.proper(how{}))
		case q.family() == 4:
			send(q.fault(wire.Unreachable4, 13, 0))
		default:
			send(q.fault(wire.Unreachable6, 1, 0))
		}
	})},
	{Name: "silent", What: "nothing", answer: func(*query, func([]byte)) {}},
}

// A series is of requests that are counted together.
type series struct {
	src, dst netip.Addr
	id       uint16 // of echo requests
	ttl      uint8
}

func (q *query) series() series {
	a := series{src: q.src, dst: q.dst, ttl: q.ip.TTL()}
	if m, ok := q.echo(); ok {
		a.id = m.ID()
	}
	return a
}

// numbered gives every packet its number. Sequence numbers that do not grow are another run's.
func numbered(answer func(q *query, n int, send func([]byte))) func(*query, func([]byte)) {
	type count struct {
		seq uint16
		n   int
	}
	var one sync.Mutex // of several networks
	counts := make(map[series]count)
	return func(q *query, send func([]byte)) {
		one.Lock()
		defer one.Unlock()
		m, ok := q.echo()
		if !ok {
			answer(q, q.port(), send)
			return
		}
		c := counts[q.series()]
		if c.n++; m.Seq() <= c.seq {
			c.n = 1
		}
		c.seq = m.Seq()
		counts[q.series()] = c
		answer(q, c.n, send)
	}
}

// swap holds the answer to every odd number back until the next even number
// of the same series has been answered.
func swap() func(q *query, send func([]byte)) {
	type request struct {
		series
		n int
	}
	held := make(map[request][]byte)
	return numbered(func(q *query, n int, send func([]byte)) {
		if n%2 == 1 {
			held[request{q.series(), n}] = q.proper(how{})
			return
		}
		send(q.proper(how{}))
		before := request{q.series(), n - 1}
		if p := held[before]; p != nil {
			delete(held, before)
			send(p)
		}
	})
}

// A query is a packet to one of the crowd.
type query struct {
	packet   []byte
	ip       wire.IP
	src, dst netip.Addr
}

func (q *query) family() int { return familyOf(q.dst) }

func (q *query) echo() (m wire.ICMP, ok bool) {
	var err error
	switch q.ip.Proto() {
	case wire.ProtoICMP:
		m, err = wire.ParseICMPv4(q.ip.Transport())
		return m, err == nil && m.Type() == wire.Echo4
	case wire.ProtoICMPv6:
		m, err = wire.ParseICMPv6(q.ip.Transport(), q.src, q.dst)
		return m, err == nil && m.Type() == wire.Echo6
	}
	return m, false
}

// port is the number of what is no echo request; see OddManners.
func (q *query) port() int {
	if u, err := wire.ParseUDP(q.ip.Transport()); err == nil && q.ip.Proto() == wire.ProtoUDP {
		return int(u.Dst())
	}
	if t, err := wire.ParseTCP(q.ip.Transport()); err == nil && q.ip.Proto() == wire.ProtoTCP {
		return int(t.Src())
	}
	return 0
}

// how is what to change in a proper answer.
type how struct {
	from    netip.Addr // if valid
	ttl     uint8      // if not 0
	payload func([]byte) []byte
	badSum  bool
}

// proper is the answer a host owes; nil where it owes none.
func (q *query) proper(h how) []byte {
	from, proto := q.dst, q.ip.Proto()
	if h.from.IsValid() {
		from = h.from
	}
	var msg []byte
	sum := 2 // where the checksum is
	switch m, ok := q.echo(); {
	case ok:
		payload := append([]byte(nil), m.Payload()...)
		if h.payload != nil {
			payload = h.payload(payload)
		}
		typ := uint8(wire.EchoReply4)
		if q.dst.Is6() {
			typ = wire.EchoReply6
		}
		msg = wire.AppendEcho(nil, from, q.src, typ, m.ID(), m.Seq(), payload, 0)
	case proto == wire.ProtoUDP:
		msg = q.unreachable(from)
		proto = wire.ProtoICMP
		if q.dst.Is6() {
			proto = wire.ProtoICMPv6
		}
	case proto == wire.ProtoTCP:
		t, err := wire.ParseTCP(q.ip.Transport())
		if err != nil || t.Flags()&(wire.RST|wire.ACK) != 0 {
			return nil
		}
		msg = wire.AppendTCP(nil, netip.AddrPortFrom(from, t.Dst()), netip.AddrPortFrom(q.src, t.Src()),
			wire.TCPFields{Ack: t.Seq() + 1, Flags: wire.RST | wire.ACK}, nil)
		sum = 16
	default:
		return nil
	}
	if h.badSum {
		msg[sum] ^= 0x55
	}
	ttl := uint8(64)
	if h.ttl != 0 {
		ttl = h.ttl
	}
	return q.wrap(from, proto, ttl, q.options(), msg)
}

// wrap puts an IP header before a message to whoever asked.
func (q *query) wrap(from netip.Addr, proto, ttl uint8, options, msg []byte) []byte {
	var p []byte
	if q.dst.Is6() {
		p = wire.AppendIPv6(nil, wire.IPv6{Src: from, Dst: q.src, HopLimit: ttl, Next: proto}, len(msg))
	} else {
		p = wire.AppendIPv4(nil, wire.IPv4{Src: from, Dst: q.src, TTL: ttl, Proto: proto, Options: options}, len(msg))
	}
	return append(p, msg...)
}

// quote is what an ICMP error says of the packet it is about: all of it, as
// far as the smallest MTU of its family allows (RFC 1812 section 4.3.2.3, RFC
// 4443 section 2.4).
func (q *query) quote() []byte {
	if q.dst.Is6() {
		return q.packet[:min(len(q.packet), 1280-40-8)]
	}
	return q.packet[:min(len(q.packet), 576-20-8)]
}

// counted is the quote of a node that so many routers passed the packet on to: each has counted its TTL down.
func (q *query) counted(routers int) []byte {
	b := slices.Clone(q.quote())
	if q.dst.Is6() {
		b[7] -= uint8(routers)
		return b
	}
	b[8] -= uint8(routers)
	sum := uint32(binary.BigEndian.Uint16(b[10:])) + uint32(routers)<<8 // RFC 1624
	binary.BigEndian.PutUint16(b[10:], uint16(sum>>16+sum))
	return b
}

func (q *query) unreachable(from netip.Addr) []byte {
	if q.dst.Is6() {
		return wire.AppendError(nil, from, q.src, wire.Unreachable6, 4, 0, q.quote(), nil)
	}
	return wire.AppendError(nil, from, q.src, wire.Unreachable4, 3, 0, q.quote(), nil)
}

// fault is an ICMP error from the host itself.
func (q *query) fault(typ, code uint8, word uint32) []byte {
	proto := uint8(wire.ProtoICMP)
	if q.dst.Is6() {
		proto = wire.ProtoICMPv6
	}
	return q.wrap(q.dst, proto, 64, nil, wire.AppendError(nil, q.dst, q.src, typ, code, word, q.quote(), nil))
}

// options are those of the packet, with the host's address in the next free
// slot of a record route option (RFC 791 section 3.1, RFC 1122 section 3.2.2.6).
func (q *query) options() []byte {
	if q.dst.Is6() {
		return nil
	}
	const (
		end, nop, recordRoute = 0, 1, 7
	)
	options := append([]byte(nil), q.ip.Header()[20:]...)
	for b := options; len(b) > 0 && b[0] != end; {
		if b[0] == nop {
			b = b[1:]
			continue
		}
		if len(b) < 3 || b[1] < 3 || int(b[1]) > len(b) {
			return nil
		}
		if at := int(b[2]) - 1; b[0] == recordRoute && at >= 3 && at+4 <= int(b[1]) {
			copy(b[at:at+4], q.dst.AsSlice())
			b[2] += 4
		}
		b = b[b[1]:]
	}
	return options
}

// answer has do answer every IP packet that comes in over the link with that
// neighbour and is not to an address of the node. The node's kernel sees those
// packets too, and must have a blackhole route for them.
//
// do is called from one goroutine at a time. What it sends goes to the
// neighbour; send may be called from any goroutine, and at any time.
func (n *Node) answer(neighbour string, do func(q *query, send func([]byte))) error {
	var one sync.Mutex
	for _, proto := range []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6} {
		if err := n.answerOne(neighbour, proto, &one, do); err != nil {
			return fmt.Errorf("lab: %s: answer what %s sends: %w", n.Name, neighbour, err)
		}
	}
	return nil
}

func (n *Node) answerOne(neighbour string, proto uint16, one *sync.Mutex, do func(q *query, send func([]byte))) error {
	here, err := n.nl.LinkByName(neighbour)
	if err != nil {
		return fmt.Errorf("find %s: %w", neighbour, err)
	}
	there, err := n.net.nodes[neighbour].nl.LinkByName(n.Name)
	if err != nil {
		return fmt.Errorf("find the link at %s: %w", neighbour, err)
	}
	to := &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: here.Attrs().Index, Halen: 6}
	copy(to.Addr[:], there.Attrs().HardwareAddr)
	var f *os.File
	err = n.Do(func() error {
		// Protocol 0 hears nothing, so nothing is queued from another interface before bind.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		f = os.NewFile(uintptr(fd), "packet socket")
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: to.Protocol, Ifindex: to.Ifindex}); err != nil {
			f.Close()
			return fmt.Errorf("bind: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return err
	}
	send := func(p []byte) {
		if len(p) == 0 {
			return
		}
		// A network that is being closed loses packets, as do others.
		_ = raw.Write(func(fd uintptr) bool { return unix.Sendto(int(fd), p, 0, to) != unix.EAGAIN })
	}
	ended := make(chan error, 1)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			k, err := f.Read(buf)
			if err != nil {
				if errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) {
					err = nil
				}
				ended <- err
				return
			}
			ip, err := wire.ParseIP(buf[:k])
			// Fragments are nobody's: none of the crowd puts them together.
			if err != nil || ip.Offset() != 0 || ip.MF() {
				continue
			}
			q := &query{packet: buf[:k], ip: ip, src: ip.Src(), dst: ip.Dst()}
			one.Lock()
			do(q, send)
			one.Unlock()
		}
	}()
	n.net.onClose(func() error {
		err := f.Close()
		return errors.Join(err, <-ended)
	})
	return nil
}

// Exceed makes the node answer all that comes over the link with that neighbour and is not to an address of its own with time
// exceeded, from the address that was asked, whatever the TTL. As for a crowd, it needs a blackhole route.
func (n *Node) Exceed(neighbour string) error {
	return n.answer(neighbour, func(q *query, send func([]byte)) {
		if q.dst.Is6() {
			send(q.fault(wire.TimeExceeded6, 0, 0))
		} else {
			send(q.fault(wire.TimeExceeded4, 0, 0))
		}
	})
}
