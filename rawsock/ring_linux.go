package rawsock

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// A ring has so many blocks of so many bytes, 4 MiB in all: some 25 000 short answers. The kernel hands a block over when it is full, or
// that many milliseconds after its first packet; where its timer has no such resolution, two ticks.
const (
	ringBlock  = 16 << 10
	ringBlocks = 256
	ringRetire = 1
)

// A ring is a packet socket that hears one family, and the memory where the kernel puts what it hears (packet(7), TPACKET_V3).
type ring struct {
	fd    int
	v6    bool
	mem   []byte
	at    int    // the block that is read next
	walk  frames // what is left of it, if held
	held  bool   // the block is this process's
	queue stamped
	drops uint64 // so far: asking sets the kernel's counter back
	came  uint64 // drops and what was put in
	read  uint64 // and of that read
}

// openRing opens a ring that hears nothing until it has another filter. The kernel gives it no packet before bind, so
// there is nothing to be emptied.
func openRing(v6 bool) (_ *ring, err error) {
	r := &ring{v6: v6}
	if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if err := attachFilter(r.fd, dropAll); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, fmt.Errorf("ask for TPACKET_V3: %w", err)
	}
	req := unix.TpacketReq3{
		Block_size: ringBlock, Block_nr: ringBlocks,
		Frame_size: 2 << 10, Frame_nr: ringBlock / (2 << 10) * ringBlocks, // they are as long as need be, but must add up
		Retire_blk_tov: ringRetire,
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return nil, fmt.Errorf("make the ring: %w", err)
	}
	if r.mem, err = unix.Mmap(r.fd, 0, ringBlock*ringBlocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map the ring: %w", err)
	}
	// Of one EtherType only what arrives is heard, nothing that leaves.
	proto := uint16(unix.ETH_P_IP)
	if v6 {
		proto = unix.ETH_P_IPV6
	}
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: ntohs(proto)}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	return r, nil
}

func (r *ring) close() {
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
		r.mem = nil
	}
	unix.Close(r.fd)
}

// Where struct tpacket_block_desc, struct tpacket3_hdr and the struct sockaddr_ll behind the latter have what is read
// (linux/if_packet.h).
const (
	blockStatus = 8
	blockCount  = 12
	blockFirst  = 16
	blockHead   = 48

	frameNext    = 0
	frameSec     = 4
	frameNsec    = 8
	frameSnap    = 12
	frameLen     = 16
	frameStatus  = 20
	frameMac     = 24
	frameIfindex = 48 + 4
	frameHead    = 48 + 20
)

func (r *ring) status(block int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[block*ringBlock+blockStatus]))
}

// given reports whether a block has been handed over.
func (r *ring) given(block int) bool {
	return atomic.LoadUint32(r.status(block))&unix.TP_STATUS_USER != 0
}

// next is the next packet, in the ring's memory; it stays there until next is called again. bad counts blocks that make no sense.
func (r *ring) next() (f frame, ok bool, bad uint64) {
	for {
		if !r.held {
			if !r.given(r.at) {
				return frame{}, false, bad
			}
			r.walk, r.held = walkBlock(r.mem[r.at*ringBlock:][:ringBlock:ringBlock]), true
		}
		if f, ok = r.walk.next(); ok {
			r.read++
			return f, true, bad
		}
		if r.walk.left > 0 {
			bad++
		}
		atomic.StoreUint32(r.status(r.at), unix.TP_STATUS_KERNEL)
		r.at, r.held = (r.at+1)%ringBlocks, false
	}
}

// lost returns how many packets found no room so far.
func (r *ring) lost() uint64 {
	if s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		r.drops += uint64(s.Drops)
		r.came += uint64(s.Packets)
	}
	return r.drops
}

// pending is how many packets are in the ring that have not been read.
func (r *ring) pending() uint64 {
	r.lost()
	return r.came - r.read - r.drops
}

// settled reports whether none of those is in a block that is still the kernel's.
func (r *ring) settled() bool {
	n := int64(r.pending()) // more may come while the blocks are looked at
	for i := range ringBlocks {
		at := (r.at + i) % ringBlocks
		switch {
		case i == 0 && r.held:
			n -= int64(r.walk.left)
		case r.given(at):
			n -= int64(walkBlock(r.mem[at*ringBlock:][:ringBlock]).left)
		default:
			return n <= 0
		}
	}
	return true
}

// A frame is a packet in a ring.
type frame struct {
	data    []byte // from the IP header on
	whole   bool
	stamp   int64 // of CLOCK_REALTIME, in nanoseconds
	status  uint32
	ifindex uint32
}

// frames are the packets of a block that are left.
type frames struct {
	block []byte
	at    int
	left  uint32
}

func walkBlock(block []byte) frames {
	return frames{block: block, at: int(binary.NativeEndian.Uint32(block[blockFirst:])), left: binary.NativeEndian.Uint32(block[blockCount:])}
}

// next is not ok at the block's end, and where the block says of itself what cannot be: then something is left.
func (w *frames) next() (f frame, ok bool) {
	if w.left == 0 || w.at < blockHead || w.at > len(w.block)-frameHead {
		return frame{}, false
	}
	b := w.block[w.at:]
	word := func(off int) uint32 { return binary.NativeEndian.Uint32(b[off:]) }
	start, n := int(binary.NativeEndian.Uint16(b[frameMac:])), uint64(word(frameSnap))
	if start < frameHead || start > len(b) || n > uint64(len(b)-start) {
		return frame{}, false
	}
	step := word(frameNext)
	if w.left > 1 && (step < frameHead || uint64(step) > uint64(len(b))) {
		return frame{}, false
	}
	w.left--
	w.at += int(step)
	return frame{
		data:    b[start : start+int(n) : start+int(n)],
		whole:   n == uint64(word(frameLen)),
		stamp:   int64(word(frameSec))*1e9 + int64(word(frameNsec)),
		status:  word(frameStatus),
		ifindex: word(frameIfindex),
	}, true
}

// ipv6 reads an IPv6 packet whose header is followed by the transport's.
func (r *Reply) ipv6(b []byte) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return false
	}
	n := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if n > len(b) {
		return false
	}
	r.From, r.To = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	r.TOS, r.TTL, r.Proto = b[0]<<4|b[1]>>4, b[7], b[6]
	r.Data = b[40:n:n]
	return true
}

// ringReply reads a packet of a ring, and reports false for one that is not whole or whose header makes no sense: here nobody
// has looked at it before.
func (c *raw) ringReply(out *Reply, r *ring, f *frame) bool {
	if !f.whole {
		return false
	}
	b := f.data
	*out = Reply{}
	if r.v6 {
		if !out.ipv6(b) {
			return false
		}
		out.From, out.To = c.zones.with(out.From, f.ifindex), c.zones.with(out.To, f.ifindex)
	} else {
		// A first fragment has been let in to be counted: nobody puts it together.
		if !out.ipv4(b) || headerSum(b[:20+len(out.Options)]) != 0xffff || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return false
		}
		out.Proto = b[9]
	}
	switch out.Proto {
	case wire.ProtoTCP:
		// What never was on a wire may be without its checksum: it is as good as what sent it.
		if f.status&unix.TP_STATUS_CSUMNOTREADY == 0 {
			t, err := wire.ParseTCP(out.Data)
			return err == nil && t.Valid(out.From, out.To)
		}
		return true
	case wire.ProtoICMP, wire.ProtoICMPv6: // whose checksum whoever reads them looks at
		return (out.Proto == wire.ProtoICMPv6) == r.v6
	}
	return false
}
