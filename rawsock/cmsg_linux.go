package rawsock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A cmsg is one control message of a received packet (cmsg(3)).
type cmsg struct {
	level, typ int
	data       []byte
}

// nextCmsg takes the first control message off b. The standard library's
// parser allocates, and this runs for every packet.
func nextCmsg(b []byte) (m cmsg, rest []byte, ok bool) {
	if len(b) < unix.SizeofCmsghdr {
		return cmsg{}, nil, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	n := int(h.Len)
	head := unix.CmsgLen(0)
	if n < head || n > len(b) {
		return cmsg{}, nil, false
	}
	m = cmsg{int(h.Level), int(h.Type), b[head:n]}
	return m, b[min(len(b), unix.CmsgSpace(n-head)):], true
}

// timespec reads a struct timespec as SO_TIMESTAMPNS and SO_TIMESTAMPING write
// it, in nanoseconds. 0 is no stamp.
func timespec(b []byte) int64 {
	if len(b) < int(unsafe.Sizeof(unix.Timespec{})) {
		return 0
	}
	var ts unix.Timespec
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&ts)), unsafe.Sizeof(ts)), b)
	return ts.Nano()
}

// hostInt reads an int in the host's byte order; some are one byte (IP_TOS).
func hostInt(b []byte) int {
	switch {
	case len(b) >= 4:
		var v int32
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), 4), b)
		return int(v)
	case len(b) >= 1:
		return int(b[0])
	}
	return 0
}

// arrival is what the control messages of a received packet say.
type arrival struct {
	stamp   int64 // of CLOCK_REALTIME in nanoseconds; 0: none
	ttl     int   // or hop limit; 0: not said
	tos     int   // or traffic class
	dst6    [16]byte
	has6    bool // dst6 is known
	ifindex int
	options []byte // of the IPv4 header
}

func parseArrival(oob []byte) (a arrival) {
	for {
		m, rest, ok := nextCmsg(oob)
		if !ok {
			return a
		}
		oob = rest
		switch {
		case m.level == unix.SOL_SOCKET && m.typ == unix.SO_TIMESTAMPNS:
			a.stamp = timespec(m.data)
		case m.level == unix.SOL_IP && m.typ == unix.IP_TTL,
			m.level == unix.SOL_IPV6 && m.typ == unix.IPV6_HOPLIMIT:
			a.ttl = hostInt(m.data)
		case m.level == unix.SOL_IP && m.typ == unix.IP_TOS,
			m.level == unix.SOL_IPV6 && m.typ == unix.IPV6_TCLASS:
			a.tos = hostInt(m.data)
		case m.level == unix.SOL_IP && m.typ == unix.IP_RECVOPTS:
			a.options = m.data
		case m.level == unix.SOL_IPV6 && m.typ == unix.IPV6_PKTINFO && len(m.data) >= unix.SizeofInet6Pktinfo:
			a.dst6, a.has6 = [16]byte(m.data), true
			a.ifindex = hostInt(m.data[16:])
		}
	}
}

// txStamp reads a message of the error queue: the number the kernel gave to
// the packet (SOF_TIMESTAMPING_OPT_ID) and when it left. What is not a send
// stamp, such as a note of a packet that was too big, is not ok.
func txStamp(oob []byte) (id uint32, stamp int64, ok bool) {
	for {
		m, rest, more := nextCmsg(oob)
		if !more {
			return id, stamp, ok && stamp != 0
		}
		oob = rest
		switch {
		case m.level == unix.SOL_SOCKET && m.typ == unix.SO_TIMESTAMPING:
			stamp = timespec(m.data) // the first of three is the software stamp
		case (m.level == unix.SOL_IP && m.typ == unix.IP_RECVERR ||
			m.level == unix.SOL_IPV6 && m.typ == unix.IPV6_RECVERR ||
			m.level == unix.SOL_PACKET && m.typ == unix.PACKET_TX_TIMESTAMP) &&
			len(m.data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})):
			var e unix.SockExtendedErr
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e)), m.data)
			if e.Origin == unix.SO_EE_ORIGIN_TIMESTAMPING {
				id, ok = e.Data, true
			}
		}
	}
}
