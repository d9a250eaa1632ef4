package rawsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// bulk is what a Conn has with Options.Packet beside its raw sockets (docs/decisions/0013-packet-sockets.md).
type bulk struct {
	send  sender
	rings []*ring
	hops  hops

	now time.Time // of this call of Send
	of  *Packet   // whose next node is known
	via *hop
}

// openBulk opens what packet sockets there are to be, while that is allowed.
func openBulk(o Options, caps Caps) (_ *bulk, err error) {
	b := &bulk{send: sender{fd: -1}, hops: hops{mark: o.Mark}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if err := noIPsec(); err != nil {
		return nil, err
	}
	// Of protocol 0 it hears nothing. The kernel writes the link header for an address that is given.
	if b.send.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("packet socket to send with: %w", err)
	}
	if err := unix.SetsockoptInt(b.send.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return nil, fmt.Errorf("send past the queue of the device (PACKET_QDISC_BYPASS): %w", err)
	}
	if o.Mark != 0 {
		if err := setMark(b.send.fd, o.Mark); err != nil {
			return nil, err
		}
	}
	b.send.stamps = unix.SetsockoptInt(b.send.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, sendStamps|unix.SOF_TIMESTAMPING_OPT_ID) == nil
	for _, v6 := range []bool{false, true} {
		if v6 && !caps.IPv6 || !v6 && !caps.IPv4 {
			continue
		}
		r, err := openRing(v6)
		if err != nil {
			return nil, fmt.Errorf("packet socket to receive with: %w", err)
		}
		b.rings = append(b.rings, r)
	}
	return b, nil
}

func (b *bulk) close() {
	if b.send.fd >= 0 {
		unix.Close(b.send.fd)
	}
	for _, r := range b.rings {
		r.close()
	}
	b.rings = nil
}

var errIPsec = errors.New("this host has IPsec policies, which packet sockets go past")

// noIPsec asks how many policies there are (XFRM_MSG_GETSPDINFO). Where the kernel has no IPsec there are none.
func noIPsec() error {
	const getSPDInfo = 0x25 // of linux/xfrm.h
	err := askNetlink(unix.NETLINK_XFRM, getSPDInfo, 0, make([]byte, 4), func(answer []byte) (more bool, err error) {
		return false, readSPDInfo(answer)
	})
	switch {
	case err == nil, errors.Is(err, unix.EPROTONOSUPPORT):
		return nil
	case errors.Is(err, errIPsec):
		return err
	case errors.Is(err, unix.EPERM): // not for want of raw sockets
		return errors.New("packet sockets need CAP_NET_ADMIN too, to ask whether there are IPsec policies, which they go past")
	}
	return fmt.Errorf("ask for IPsec policies: %w", err)
}

// readSPDInfo finds a policy among the numbers of policies in, out and forward: of the table, and of sockets, which do not matter here.
func readSPDInfo(answer []byte) error {
	ms, err := syscall.ParseNetlinkMessage(answer)
	if err != nil || len(ms) == 0 {
		return errors.Join(unix.EPROTO, err)
	}
	m := &ms[0]
	if m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
		return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
	}
	if len(m.Data) < 4 {
		return unix.EPROTO
	}
	counts := (&netlinkMessage{attrs: m.Data[4:]}).attr(1) // XFRMA_SPD_INFO
	if len(counts) < 12 {
		return unix.EPROTO
	}
	for i := range 3 {
		if binary.NativeEndian.Uint32(counts[4*i:]) != 0 {
			return errIPsec
		}
	}
	return nil
}

// raw's part.

// openBulk is called with the raw sockets open.
func (c *raw) openBulk(o Options) (err error) {
	if c.bulk, err = openBulk(o, c.caps); err != nil {
		return opError("open packet sockets", err)
	}
	c.bulk.hops.ways = &c.ways
	c.caps.Socket = "packet"
	return nil
}

// byLink returns what p is to be sent to by the packet socket, or nil if it goes by the raw one. It has passed check. Asked again for a packet
// that has not left in between, it says the same.
func (c *raw) byLink(p *Packet, scope uint32) *hop {
	b := c.bulk
	if b == nil || scope != 0 || c.settings.Direct || c.settings.Heed {
		return nil
	}
	if b.of != p {
		b.of, b.via = p, b.hops.to(sourceOf(p), p.Dst, len(p.Data), b.now)
	}
	return b.via
}

// sockaddrLink writes the address of a next node for a packet of that family, and returns its length.
func sockaddrLink(to *unix.RawSockaddrInet6, x *hop, v6 bool) uint32 {
	proto := uint16(unix.ETH_P_IP)
	if v6 {
		proto = unix.ETH_P_IPV6
	}
	*(*unix.RawSockaddrLinklayer)(unsafe.Pointer(to)) = unix.RawSockaddrLinklayer{
		Family: unix.AF_PACKET, Protocol: ntohs(proto), Ifindex: int32(x.key.oif), Halen: x.n, Addr: x.addr,
	}
	return unix.SizeofSockaddrLinklayer
}

// insteadByRaw reports whether packet i of the outbox, which a socket refused, is to be tried by the raw one, which knows better why. What the device has no
// room for now it is not. Where a firewall refuses what the raw socket sends, the packet socket sends nothing for a while.
func (c *raw) insteadByRaw(s *sender, i int, why error) bool {
	b := c.bulk
	switch {
	case b == nil:
		return false
	case s != &b.send:
		if errors.Is(why, unix.EPERM) {
			b.hops.refused = time.Now().Add(wayMaxAge)
		}
		return false
	case errors.Is(why, unix.ENOBUFS), errors.Is(why, unix.EAGAIN):
		return false
	}
	c.out.vias[i].ok, c.out.vias[i].seen = false, time.Now().Add(wayMaxAge)
	b.of = nil
	return true
}

// filterRings gives the ring of that family the filter that fits w.
func (c *raw) filterRings(v6 bool, w wanted) error {
	if c.bulk == nil {
		return nil
	}
	for _, r := range c.bulk.rings {
		if r.v6 != v6 {
			continue
		}
		if err := attachFilter(r.fd, ringFilter(w, c.sources(v6), v6)); err != nil {
			return err
		}
	}
	return nil
}

// ringPatience bounds the wait for a block that the kernel is to hand over after ringRetire.
const ringPatience = 50 * time.Millisecond

// settleRings waits until what has arrived can be read.
func (c *raw) settleRings() {
	if c.bulk == nil {
		return
	}
	until := time.Now().Add(ringPatience)
	for _, r := range c.bulk.rings {
		for !r.settled() && time.Now().Before(until) {
			// There is nothing to wait for but time: the kernel tells of blocks that it has handed over already.
			_, _ = poll(nil, time.Now().Add(ringRetire*time.Millisecond))
		}
	}
}

// readRings reads what lies in the rings, as far as there is room: n replies, and the slots that they used.
func (c *raw) readRings(rs []Reply) (n, used int) {
	if c.bulk == nil {
		return 0, 0
	}
	for _, r := range c.bulk.rings {
		first, stamps := n, [batch]int64{}
		for n < len(rs) && used < batch {
			f, ok, bad := r.next()
			c.bad += bad
			if !ok {
				break
			}
			// The block is the kernel's again with the next packet, and the ring gone with Close.
			f.data = append(c.in.buf[used*c.in.slot:][:0:c.in.slot], f.data...)
			used++
			if !c.ringReply(&rs[n], r, &f) {
				c.bad++
				continue
			}
			stamps[n-first] = f.stamp
			n++
		}
		now, steady := r.queue.read(c.clock, false)
		if r.queue.epoch != c.clock.epoch && r.pending() == 0 {
			r.queue.epoch = c.clock.epoch
		}
		for i := first; i < n; i++ {
			rs[i].At = now
			if !steady {
				continue
			}
			if at, ok := c.clock.place(stamps[i-first], c.open, now); ok {
				rs[i].At, rs[i].Kernel = at, true
			}
		}
	}
	return n, used
}

// Filters.

// Answers up to that size are a ring's to hear, and larger ones the raw sockets'. So each is heard once, and what the kernel must put
// together before anybody can read it is heard too: nobody cuts what is so short (RFC 791 section 3.1 has every host take
// 576 bytes; RFC 8200 section 5 every link 1280).
const (
	short4 = 576
	short6 = 1280
)

// mostSources is how many source addresses a ring's filter looks at. With more it looks at none: whoever matches replies does.
const mostSources = 16

// sources are the addresses of one family that something is reserved on.
func (c *raw) sources(v6 bool) (as []netip.Addr) {
	for _, r := range c.reserved {
		if a := r.src.WithZone(""); a.Is6() == v6 && !slices.Contains(as, a) {
			as = append(as, a)
		}
	}
	return as
}

// ringFilter lets short ICMP and TCP answers in that are for one of those addresses. Its input starts with the IP header. First fragments
// of IPv4 come in for ringReply to refuse, so that they are counted.
func ringFilter(w wanted, to []netip.Addr, v6 bool) []bpf.Instruction {
	if len(to) == 0 {
		return dropAll
	}
	icmp, length, most, dst, proto := uint32(wire.ProtoICMP), uint32(2), uint32(short4), uint32(16), uint32(9)
	if v6 {
		icmp, length, most, dst, proto = wire.ProtoICMPv6, 4, short6-40, 24, 6
	}
	var a asm
	a.add(bpf.LoadExtension{Num: bpf.ExtType}) // what is for another host comes by where a device hears all, and what leaves on loopback
	a.when(bpf.JumpNotEqual, unix.PACKET_HOST, "drop")
	a.add(bpf.LoadAbsolute{Off: length, Size: 2})
	a.when(bpf.JumpGreaterThan, most, "drop")
	if !v6 {
		a.add(bpf.LoadAbsolute{Off: 6, Size: 2})
		a.when(bpf.JumpBitsSet, 0x1fff, "drop")
	}
	if len(to) <= mostSources {
		for i, s := range to {
			other := fmt.Sprint("not ", i)
			for b, off := s.AsSlice(), dst; len(b) > 0; b, off = b[4:], off+4 {
				a.add(bpf.LoadAbsolute{Off: off, Size: 4})
				a.when(bpf.JumpNotEqual, binary.BigEndian.Uint32(b), other)
			}
			a.jump("ours")
			a.label(other)
		}
		a.add(refuse)
	}
	a.label("ours")
	a.add(bpf.LoadAbsolute{Off: proto, Size: 1})
	a.when(bpf.JumpEqual, icmp, "icmp")
	a.when(bpf.JumpEqual, wire.ProtoTCP, "tcp")
	a.label("drop")
	a.add(refuse)
	a.label("icmp")
	if v6 {
		a.add(behind(40, icmp6Filter(w))...)
	} else {
		a.add(icmp4Filter(w)...)
	}
	a.label("tcp")
	if v6 {
		a.add(behind(40, tcpFilter(w, true))...)
	} else {
		a.add(tcpFilter(w, false)...)
	}
	return a.program()
}

// behind is a filter for what it looks at n bytes further on.
func behind(n uint32, prog []bpf.Instruction) []bpf.Instruction {
	out := slices.Clone(prog)
	for i := range out {
		switch l := out[i].(type) {
		case bpf.LoadAbsolute:
			l.Off += n
			out[i] = l
		case bpf.LoadIndirect:
			l.Off += n
			out[i] = l
		}
	}
	return out
}

// networkHeader is SKF_NET_OFF of linux/filter.h: from there on the IPv6 header is seen, which a raw socket's filter has
// behind it.
const networkHeader = 1<<32 - 0x100000

// restFilter is a raw socket's filter for what the rings leave to it: longer packets, and over IPv6 those with extension headers.
func restFilter(prog []bpf.Instruction, proto uint8, v6 bool) []bpf.Instruction {
	var a asm
	if v6 {
		a.add(bpf.LoadAbsolute{Off: networkHeader + 6, Size: 1})
		a.when(bpf.JumpNotEqual, uint32(proto), "rest")
		a.add(bpf.LoadAbsolute{Off: networkHeader + 4, Size: 2})
		a.when(bpf.JumpGreaterThan, short6-40, "rest")
	} else {
		a.add(bpf.LoadAbsolute{Off: 2, Size: 2})
		a.when(bpf.JumpGreaterThan, short4, "rest")
	}
	a.add(refuse)
	a.label("rest")
	a.add(prog...)
	return a.program()
}
