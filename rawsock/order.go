package rawsock

import "encoding/binary"

// A headerOrder says what a system does to the two multi-byte fields of an
// IPv4 header that BSD kernels kept in host order, the total length and the
// flags with the fragment offset, at the door between kernel and program.
// Everything above this package sees network order and the full length.
//
// The functions change a header in place and leave alone what is too short
// to be one. The native order is an argument so that every row can be tested
// on any machine; programs pass binary.NativeEndian.
type headerOrder struct {
	sendHost  bool // wants both fields in host order in a packet to send
	recvHost  bool // gives both in host order in a received packet
	recvLess  bool // has taken the header length off the length of a received packet
	quoteHost bool // gives the length in host order in a packet that an ICMP error quotes
}

// headerOrders has a row for each system whose ways differ, or are known and
// worth saying. Sources: rip_output and icmp_input in each kernel; what
// scamper and x/net do. FreeBSD went over to network order with 11.0, and Go
// needs a later one; OpenBSD did long before.
var headerOrders = map[string]headerOrder{
	"linux":     {},
	"windows":   {},
	"solaris":   {},
	"freebsd":   {},
	"openbsd":   {},
	"netbsd":    {sendHost: true, recvHost: true, recvLess: true, quoteHost: true},
	"dragonfly": {sendHost: true, recvHost: true, recvLess: true, quoteHost: true},
	"darwin":    {sendHost: true, recvHost: true, recvLess: true, quoteHost: true},
	"ios":       {sendHost: true, recvHost: true, recvLess: true, quoteHost: true},
}

// orderOf is the row of a system (a GOOS); network order where none is known.
func orderOf(goos string) headerOrder { return headerOrders[goos] }

// send turns a whole packet in network order into what the kernel wants.
func (o headerOrder) send(packet []byte, native binary.ByteOrder) {
	if o.sendHost && isIPv4(packet) {
		native.PutUint16(packet[2:], binary.BigEndian.Uint16(packet[2:]))
		native.PutUint16(packet[6:], binary.BigEndian.Uint16(packet[6:]))
	}
}

// receive turns a packet as the kernel gave it into network order.
func (o headerOrder) receive(packet []byte, native binary.ByteOrder) {
	if !isIPv4(packet) {
		return
	}
	length, offset := binary.BigEndian.Uint16(packet[2:]), binary.BigEndian.Uint16(packet[6:])
	if o.recvHost {
		length, offset = native.Uint16(packet[2:]), native.Uint16(packet[6:])
	}
	if o.recvLess {
		length += uint16(packet[0]&0x0f) * 4
	}
	binary.BigEndian.PutUint16(packet[2:], length)
	binary.BigEndian.PutUint16(packet[6:], offset)
}

// quote puts the packet that an ICMP message quotes back to how the message
// had it on the wire, which the ICMP checksum is over.
//
// The kernels turn the quoted length around only in the errors they hand to
// protocols: the types and codes that icmp_input knows. An error with
// another code reaches a raw socket as it came.
func (o headerOrder) quote(message []byte, native binary.ByteOrder) {
	if !o.quoteHost || len(message) < 8 || !isIPv4(message[8:]) {
		return
	}
	typ, code := message[0], message[1]
	known := typ == 3 && code <= 15 || // unreachable
		typ == 4 && code == 0 || // source quench
		typ == 11 && code <= 1 || // time exceeded
		typ == 12 && code <= 1 // parameter problem
	if known {
		quoted := message[8:]
		binary.BigEndian.PutUint16(quoted[2:], native.Uint16(quoted[2:]))
	}
}

func isIPv4(b []byte) bool { return len(b) >= 20 && b[0]>>4 == 4 && b[0]&0x0f >= 5 }
