// Package rawsock opens raw sockets, moves whole IP packets through them,
// says when each left and arrived, and gives up the privilege they needed.
//
// A Conn is a program's only way to the network and its only clock. It
// knows nothing of what a probe asks or of who asked it.
package rawsock

import (
	"errors"
	"net/netip"
	"time"
)

// Where a probe carries the run token (Caps.Token), so that kernel filters can
// tell answers to this run from everything else the host receives. Whoever
// writes probes for a Conn keeps to this.
//
//   - UDP and echo payloads: the token's four bytes, big endian, at TokenOffset, if the
//     payload is that long. In a QUIC packet they are at QUICTokenOffset; a DNS query has no room for them, so that a
//     quote of it is heard only where the port it left from is still in it.
//   - TCP: the token's low 16 bits are the high 16 bits of the sequence number, and of
//     the acknowledgement number where the ACK flag is set.
//   - UDP-Lite as UDP. A protocol without ports: in the payload as UDP has it, at TokenOffset.
//   - ICMPv6 node information: the identifier in the nonce's first two bytes.
//   - Source port and identifier of all else: one that Conn.Reserve gave.
const (
	TokenOffset     = 4
	QUICTokenOffset = 10 // the second half of the destination connection id
)

// StampSlack is how far a time stamp may lie outside its bracket, the times when this program asked and when it looked, if
// nobody has set a clock in between.
const StampSlack = 5 * time.Millisecond

// A Packet is one whole IP packet, header included, in network byte order.
// Nothing in it is zero for the kernel to fill in.
type Packet struct {
	Dst    netip.Addr // equals the header's destination; the zone counts for link-local ones
	Data   []byte
	N      uint64    // set by Send: how many packets this Conn sent before this one
	Sent   time.Time // set by Send: when it left
	Kernel bool      // set by Send: the kernel measured Sent
}

// A Stamp is a send time that came too late for Send to return it.
type Stamp struct {
	N    uint64 // Packet.N
	Sent time.Time
}

// A Reply is one ICMP or TCP message or UDP datagram, or a packet of one of Caps.Extra, its IP header taken off.
type Reply struct {
	From, To netip.Addr
	Proto    uint8     // 1, 6, 17, 58 or one of Caps.Extra
	TTL      uint8     // on arrival; 0 when the platform does not say
	TOS      uint8     // on arrival
	At       time.Time // when it arrived
	Kernel   bool      // the kernel measured At
	Local    bool      // From is one of this host's own addresses; known of ICMP alone
	Data     []byte    // from the transport header on; valid until the next Recv
	Options  []byte    // of the IPv4 header; valid until the next Recv
}

// Caps says what a connection can do here. It never changes.
type Caps struct {
	Header  bool // sends and hears headers as written; else only addresses, ports, TTL, TOS, DF and payload count, and quotes are rebuilt from those: of a UDP packet of which less than 12 bytes of payload came back, from its ends and these bytes alone
	TCP     bool // sends TCP probes and hears the answers
	IPv4    bool
	IPv6    bool
	RxStamp bool    // arrival times are the kernel's
	TxStamp bool    // departure times are the kernel's, as a rule
	Extra   []uint8 // IP protocols beside ICMP, TCP and UDP that it hears and can reserve: Options.Protocols as far as they are there
	Token   uint32  // random, of this connection alone
	Socket  string  // "raw" or "unprivileged", for people
	Refused error   // why raw sockets could not be had; nil where they were, or were not asked for
}

// Stats are counts since the connection was opened.
type Stats struct {
	Drops      uint64 // arrived, but lost on this host for want of buffer
	Malformed  uint64 // arrived with an outer header that makes no sense
	ClockSteps uint64 // times the wall clock was seen to jump against the monotonic one
}

// Settings are how all packets of a connection leave, from Set on. Nothing of it needs privilege.
type Settings struct {
	Device     string // the interface they leave by; answers come by any, but see docs/decisions/0008-settings.md. "": by the routing table
	Direct     bool   // to attached networks alone, past the routing table (SO_DONTROUTE)
	Broadcast  bool   // broadcast destinations are allowed
	NoLoop     bool   // multicast packets are not given back to this host
	SendBuffer int    // bytes; 0: the system's default
	Debug      bool   // SO_DEBUG
	Fragment   bool   // what exceeds the device MTU leaves in fragments, if DF is clear; else it fails with EMSGSIZE
	Heed       bool   // what exceeds the path MTU that this host has learnt, and must not be cut, fails with EMSGSIZE too
	Mark       uint32 // firewall mark that SourceOn looks the way up with; packets have that of Options, which Set leaves as it is
}

// A Conn is a program's only way to the network and its only clock.
// One goroutine uses it; Interrupt and Close may be called from any.
type Conn interface {
	Caps() Caps

	// Now is the time on the clock that all other times are on.
	Now() time.Time

	// Set applies s, once, before the first Send. The error, such as for an interface that is not there,
	// says which setting it was.
	Set(s Settings) error

	// Reserve takes a source port (for proto 1 and 58: an identifier; for protocols without
	// ports: nothing, 0) on src for this connection alone and lets answers to it in. With port 0 one is chosen at random.
	// The error wraps ErrTaken where port is somebody else's. Ports of UDP and TCP are the
	// kernel's to give; identifiers, and ports of UDP-Lite and DCCP, are kept from others of this program alone.
	Reserve(src netip.Addr, proto uint8, port uint16) (uint16, error)

	// Release gives a reserved port back; later answers to it are not heard.
	Release(src netip.Addr, proto uint8, port uint16)

	// Local reports whether a is one of this host's own addresses.
	Local(a netip.Addr) bool

	// Send sends ps in order and stops at the first that fails: n left, and
	// err, a *SendError, is about ps[n].
	Send(ps []Packet) (n int, err error)

	// Recv waits until a reply is there or until the given time, when it
	// returns os.ErrDeadlineExceeded. There is no other way to wait.
	// With the zero time it waits for a reply alone.
	// With ErrInterrupted there may be replies too: what had arrived by then.
	Recv(rs []Reply, until time.Time) (n int, err error)

	// Stamps returns send times that Send could not give yet, at most
	// len(ss), and forgets them.
	Stamps(ss []Stamp) int

	Stats() Stats

	Interrupt() // makes the current and every later Recv return ErrInterrupted
	Close() error
}

var (
	// ErrPrivilege is wrapped when the kernel refuses a raw socket. What a
	// platform cannot do at all wraps errors.ErrUnsupported.
	ErrPrivilege = errors.New("raw sockets need root or CAP_NET_RAW")

	// ErrZone is wrapped where the zone of an address is no interface of this host.
	ErrZone = errors.New("there is no such interface")

	// ErrInterrupted is what Recv returns after Interrupt.
	ErrInterrupted = errors.New("interrupted")

	// ErrTaken is wrapped where a port that was asked for by number is in use.
	ErrTaken = errors.New("in use by another program")

	// ErrFull is wrapped by a *SendError when the device queue was full, or the one
	// TCP connection that a flow may have without privilege is still under way, or was
	// just now: the packet may be sent again a little later.
	ErrFull = errors.New("send queue full")
)

// A SendError says why a packet did not leave.
type SendError struct {
	Name string     // the system's name for it, such as "EHOSTUNREACH"
	Dst  netip.Addr // where it was to go
	MTU  int        // with EMSGSIZE: what the device takes, in bytes of the whole packet; 0: not known
	Err  error      // wraps ErrFull where that was it
}

func (e *SendError) Error() string { return "send to " + e.Dst.String() + ": " + e.Err.Error() }
func (e *SendError) Unwrap() error { return e.Err }
