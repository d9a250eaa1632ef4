package rawsock

import "time"

// txIDs remembers which packet got which number from the kernel
// (SOF_TIMESTAMPING_OPT_ID counts a socket's packets in 32 bits, so the number
// wraps). A packet that left more than len(ring) packets ago is forgotten, and
// keeps its user-space time.
type txIDs struct {
	next uint32
	ring [1024]txID // a power of two, so that wrapping keeps the places
}

type txID struct {
	n      uint64    // Packet.N
	before time.Time // it left after this
	wait   bool      // its stamp has not come yet
}

// add notes the packet that gets the next number.
func (x *txIDs) add(n uint64, before time.Time) {
	x.ring[x.next%uint32(len(x.ring))] = txID{n, before, true}
	x.next++
}

// skip counts a packet whose stamp nobody waits for.
func (x *txIDs) skip() {
	x.ring[x.next%uint32(len(x.ring))] = txID{}
	x.next++
}

// find returns the packet with that number, if its stamp is still awaited.
func (x *txIDs) find(id uint32) *txID {
	if back := x.next - id; back == 0 || back > uint32(len(x.ring)) {
		return nil
	}
	if e := &x.ring[id%uint32(len(x.ring))]; e.wait {
		return e
	}
	return nil
}

// restart follows the kernel's counter, which was set back to 0.
func (x *txIDs) restart() {
	x.next = 0
	for i := range x.ring {
		x.ring[i].wait = false
	}
}
