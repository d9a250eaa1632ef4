// Package probe is the vocabulary of a measurement (Spec, Outcome, Event)
// and the one loop (Run) that drives an Algorithm over a rawsock.Conn: it
// paces, encodes, matches answers and closes what stays unanswered.
//
// A probe is registered before it is sent. An answer belongs to it only if
// everything in the answer says so; what else arrives is counted, by reason.
// A probe that timed out can still be answered: that is a late answer, a
// result like any other. So is a duplicate.
//
// Times are on the connection's clock. Sizes are in bytes and count whole IP
// packets. The package knows nothing of the algorithm it runs, of the
// operating system, of names or of output.
package probe

import (
	"errors"
	"net/netip"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// ErrInterrupted is Input.Stop when the user, not a fault, ended the run.
var ErrInterrupted = rawsock.ErrInterrupted

// ErrSource is why nothing more can be measured from an address that went away while it was measured from: a lease ran
// out, a VPN came or went (TRAPS T83). It is in the Err of outcomes, Failed ones and Lost ones, and of Finished.
var ErrSource = errors.New("source address changed")

// A Proto is what a probe is made of.
type Proto uint8

const (
	UDP       Proto = iota + 1
	ICMP            // echo request, of the destination's family
	TCP             // a segment, SYN if Spec.Segment says nothing else
	UDPLite         // UDP-Lite (RFC 3828), the checksum over all of it
	DCCP            // DCCP Request (RFC 4340)
	Raw             // a packet of the IP protocol Spec.Number, with a payload and no header of its own
	Timestamp       // ICMP timestamp request (RFC 792), IPv4 alone
	Mask            // ICMP address mask request (RFC 950), IPv4 alone
	ExtEcho         // extended echo request (RFC 8335), of the destination's family
	NodeInfo        // ICMPv6 node information query (RFC 4620), IPv6 alone
)

var protoNames = [...]string{"unknown", "udp", "icmp", "tcp", "udplite", "dccp", "raw", "icmp-timestamp", "icmp-mask", "icmp-probe", "icmp-node-info"}

func (p Proto) String() string {
	if int(p) < len(protoNames) {
		return protoNames[p]
	}
	return protoNames[0]
}

// IsICMP reports whether p is an ICMP message, so that its source "port" is an identifier.
func (p Proto) IsICMP() bool {
	switch p {
	case ICMP, Timestamp, Mask, ExtEcho, NodeInfo:
		return true
	}
	return false
}

// Number is the IP protocol number of p towards dst; raw is that of Raw.
func (p Proto) Number(dst netip.Addr, raw uint8) uint8 {
	switch {
	case p == UDP:
		return wire.ProtoUDP
	case p == TCP:
		return wire.ProtoTCP
	case p == UDPLite:
		return 136
	case p == DCCP:
		return 33
	case p == Raw:
		return raw
	case dst.Is6():
		return wire.ProtoICMPv6
	}
	return wire.ProtoICMP
}

// A Segment is how a TCP probe differs from an ordinary client's SYN, which the zero value is.
type Segment struct {
	Flags  uint8  // the TCP flags; 0: SYN
	MSS    uint16 // 0: by family
	Window uint16 // 0: an ordinary client's
	Bare   Bare   // options that are left out
}

// A Bare is a set of TCP options.
type Bare uint8

const (
	NoMSS Bare = 1 << iota
	NoSACK
	NoTimestamps
	NoWindowScale
)

// A Query is what ExtEcho and NodeInfo ask for.
type Query struct {
	Code  uint8  // NodeInfo: what Data is (RFC 4620 section 4): 0 an IPv6 address, 1 a name, 2 an IPv4 address
	Type  uint16 // NodeInfo: the Qtype
	Flags uint16 // NodeInfo: the flags; ExtEcho: 1 is the L bit, the interface is the node's own
	Data  string // NodeInfo: the subject; ExtEcho: the Interface Identification Object, its header included (RFC 8335 section 2.1)
}

// The fields of Spec and Outcome stand so that they leave no gaps: there are tens of thousands.

// A Spec describes one probe. Equal Specs make equal packets, but for the
// identity the engine hides in them.
type Spec struct {
	Proto    Proto
	TTL      uint8
	TOS      uint8
	DF       bool
	Label    uint32         // IPv6 flow label, 20 bits
	Src      netip.AddrPort // address of this host and a port that Conn.Reserve gave; for all ICMP the port is the identifier
	Dst      netip.AddrPort // for ICMP (echo) the port is the checksum every probe of the flow carries; 0 leaves it free to vary; 0 for what has no ports
	Size     int            // whole packet, bytes; 0 means as small as it gets. See SizesOf
	Pattern  string         // fills the payload behind the engine's own bytes, repeated; "" is 0x00, 0x01, 0x02 …
	Number   uint8          // Raw: the IP protocol
	Any      bool           // Dst is a broadcast or multicast address: whoever answers, answers it
	Content  Content        // UDP: what it says, the same in all of a flow; one that is not the engine's own has one size
	Own      bool           // that it cannot be reached is an answer from this host itself too, and not only Failed
	Segment  Segment        // TCP
	First    uint16         // ICMP, Timestamp, Mask, ExtEcho: the sequence number of the flow's first probe, at most 65534 or, for ExtEcho, 255; 0: 1
	Coverage uint16         // UDPLite: how many bytes from its header on the checksum covers (RFC 3828 section 3.1); 0: all
	Query    Query          // ExtEcho, NodeInfo
	Options  string         // IPv4 options as on the wire, a multiple of 4 bytes, at most 40; IPv6: one routing header as on the wire, its next-header byte 0
	Via      netip.Addr     // where the packet goes first, where Options are a source route; invalid: to Dst
	Timeout  time.Duration  // how long an answer is waited for
	Service  uint32         // DCCP: the service code (RFC 4340 section 8.1.2)
	Attempt  uint32         // which try this is, from 1: at this TTL (trace) or in this series (ping)
	Tag      uint32         // the algorithm's own; comes back untouched
	Flow     uint16         // which flow of the trace this is, from 0
}

// A Status is how a probe ended, so far.
type Status uint8

const (
	Answered Status = iota + 1
	Lost            // not answered in time; an answer may still come, Late
	Failed          // did not leave, or never got past this host: Err says why
	Unsent          // recalled before it could leave, and never asked. The algorithm alone is told; Err says what it waited for
)

// An Answer is what an answer means, whatever the family and protocol.
type Answer uint8

const (
	NoAnswer            Answer = iota
	EchoReply                  // from the destination
	TimeExceeded               // in transit: a hop (ICMP 11/0, ICMPv6 3/0)
	ReassemblyExceeded         // 11/1, 3/1: not a hop
	PortUnreachable            // 3/3, 1/4: the destination was reached
	ProtocolUnreachable        // 3/2, 4/1: the destination was reached
	Unreachable                // every other unreachable code: blocked
	TooBig                     // 3/4, 2/0: MTU says the size that fits, 0 where the router did not say
	ParameterProblem           // 12, 4 other than 4/1
	SynAck                     // an open TCP port
	Reset                      // a closed TCP port
	Datagram                   // a UDP or UDP-Lite service answered
	TimestampReply             // from the destination: Outcome.Times
	MaskReply                  // from the destination: Outcome.Mask
	ExtEchoReply               // from the probed node: Outcome.Code and State (RFC 8335 section 3)
	NodeReply                  // from the destination: Outcome.Code and Payload (RFC 4620 section 4)
	SegmentReply               // a TCP answer that is neither SynAck nor Reset, to a probe with other flags than SYN
	RawReply                   // a packet of the probe's own protocol from the destination: DCCP, Raw
)

// Terminal reports whether a means that the destination itself was reached (by type
// and code alone; never by who sent it).
func (a Answer) Terminal() bool {
	switch a {
	case EchoReply, PortUnreachable, ProtocolUnreachable, SynAck, Reset, Datagram,
		TimestampReply, MaskReply, ExtEchoReply, NodeReply, SegmentReply, RawReply:
		return true
	}
	return false
}

// IsError reports whether a is an ICMP error, which quotes the probe.
func (a Answer) IsError() bool { return TimeExceeded <= a && a <= ParameterProblem }

// A Match is how surely an answer belongs to its probe.
type Match uint8

const (
	NoMatch      Match = iota
	Strict             // everything that came back is as it was sent
	NATRewritten       // the quoted source, or destination, address or port differ; the token agrees
	IDRewritten        // the quoted IPv4 identification is swapped, off by one or zero, or the quoted checksum or TCP sequence number differs; another witness agrees
	FlowOnly           // a UDP service's answer without our token or, without Caps.Header, an error that quotes too little of a datagram: the flow is ours, which probe of it is not known
	Alone              // the same, but one probe of it alone was waiting: it may be that one's, or a stray of another
)

func (m Match) String() string {
	switch m {
	case Strict:
		return "strict"
	case NATRewritten:
		return "nat-rewritten"
	case IDRewritten:
		return "id-rewritten"
	case FlowOnly:
		return "flow-only"
	case Alone:
		return "alone"
	}
	return "none"
}

// A Clock says who measured an RTT.
type Clock uint8

const (
	UserClock     Clock = iota // this program, on at least the sending side
	KernelRxClock              // the arrival by the kernel, the departure by this program
	KernelClock                // both by the kernel
)

func (c Clock) String() string {
	switch c {
	case KernelClock:
		return "kernel"
	case KernelRxClock:
		return "kernel-rx"
	}
	return "user"
}

// A Label is one MPLS label stack entry (RFC 4950).
type Label struct {
	Value  uint32
	TC     uint8
	Bottom bool
	TTL    uint8
}

// An Object is one object of an ICMP extension structure (RFC 4884 section 8).
type Object struct {
	Class, Type uint8
	Data        []byte     // behind the object's header
	Interface   *Interface // what it tells of one; nil where it is of another class
}

// An Interface is what an answering node tells of one of its interfaces (RFC 5837).
type Interface struct {
	Role    uint8 // 0 the packet came in by it, 1 by this part of it, 2 it would have left by it, 3 it is the next hop's
	Index   *uint32
	Addr    netip.Addr
	Name    string // as sent, up to 63 bytes of anything
	MTU     *uint32
	Partial bool // what followed could not be read
}

// Times are the fields of an ICMP timestamp reply: milliseconds since midnight UT, or, with the
// high bit set, something else (RFC 792).
type Times struct{ Originate, Receive, Transmit uint32 }

// Quoted is the probe as the answering node saw it. Where Known is false nothing of it
// came back: a direct answer, or a connection without Caps.Header.
type Quoted struct {
	Known    bool
	Src, Dst netip.AddrPort
	TTL, TOS uint8
	ID       uint16   // IPv4
	Checksum uint16   // of UDP, UDP-Lite, DCCP or ICMP
	Bytes    int      // how much was quoted, IP header included
	Whole    bool     // all of it was that the probe had; of TCP the header, options included
	Changed  []Change // what else is not as it was sent, as far as it was quoted
}

// An Outcome is what became of one probe. A probe has one first outcome and may have more: an
// answer after Lost has Late set, a further answer has Duplicate set.
type Outcome struct {
	Serial     uint64 // of the probe in this run, from 1
	Spec       Spec
	Status     Status
	Clock      Clock
	Late       bool
	Duplicate  bool
	Answer     Answer
	Type, Code uint8 // ICMP; not for SynAck, Reset, SegmentReply, Datagram and RawReply
	Flags      uint8 // TCP flags of SynAck, Reset and SegmentReply
	Match      Match
	TTL        uint8     // of the answer on arrival; 0 when not known
	TOS        uint8     // of the answer on arrival, where TTL is known
	Corrupted  bool      // an echo reply whose payload is not what was sent
	State      uint8     // ExtEchoReply: the byte of State, A, 4 and 6 (RFC 8335 section 3); NodeReply: the low byte of the flags (RFC 4620 section 6); a DCCP RawReply: the packet type, 1 Response or 7 Reset
	Mask       uint32    // MaskReply
	Times      Times     // TimestampReply
	Sent, At   time.Time // At is the zero time unless Answered
	From       netip.Addr
	MTU        int        // bytes; 0 when the answer names none
	Bytes      int        // of an answer's transport message (an echo reply: header and payload)
	Wrong      int        // Corrupted: where the payload first differs, or its length where it is cut short
	Payload    []byte     // Corrupted: the answer's payload; NodeReply: its data, behind the nonce
	Options    []byte     // IPv4 options of a direct answer's header, as on the wire
	Pointer    int        // ParameterProblem: the byte that is at fault, from 0
	Gateway    netip.Addr // Advised: the next hop that a redirect names
	Quoted     Quoted
	Labels     []Label  // MPLS, top first
	Objects    []Object // all ICMP extension objects, MPLS among them, in order
	Errno      string   // why it Failed, by the system's name, such as "EMSGSIZE"
	Err        error    // why it Failed; Lost: ErrSource where it left from an address that went away since
}

// RTT is the time from departure to arrival, and whether there is one: the
// probe was answered and the answer is known to be its own.
func (o *Outcome) RTT() (time.Duration, bool) {
	if o.Status != Answered || o.Match == FlowOnly {
		return 0, false
	}
	return o.At.Sub(o.Sent), true
}

// An Algorithm decides what to ask next. No socket, no clock, no goroutine:
// the same steps give the same answers.
type Algorithm interface {
	Step(in Input, out *Output)
}

// Input is what an Algorithm is told. The slice is valid during the step.
type Input struct {
	Now      time.Time
	Room     int       // how many probes may leave now
	Outcomes []Outcome // since the last step, in the order they were learnt
	Stop     error     // not nil: the run ends with this step (interrupted, or the connection failed); say what is known and set Done
}

// Output is what an Algorithm wants. It is empty when Step is called.
type Output struct {
	Send   []Spec    // at most Input.Room
	GiveUp []uint64  // serials of probes to wait for no longer, of those that have left: their Lost comes with the next step
	Recall []uint64  // of those that have not left, which probes need not leave any more: their Unsent comes with the next step
	Events []Event   // for the user
	Told   []Outcome // where Hop events may have their outcomes: its room is used again in the next step
	Wake   time.Time // step again then; zero, or past where Room was 0: when something happens
	Done   bool
}

// Limits bound what a run puts on the network.
type Limits struct {
	InFlight int     // probes awaiting an answer; 0 means 1024
	Rate     float64 // probes per second; 0 means no limit
	Burst    int     // probes at once where Rate limits; 0 means 1
	Strict   bool    // Rate is a ceiling on the wire: in no stretch of time do more leave than Burst and Rate's. Else it is what a run comes to
}

// CheckFlow calls wrong with all that no flow can have, for the algorithms to check
// what they were configured with: addresses that are missing, mapped or of two families,
// and a label that is too long or where there is none.
func CheckFlow(src, dst netip.Addr, label uint32, wrong func(format string, args ...any)) {
	switch {
	case !src.IsValid() || src.Is4In6():
		wrong("source %v: want an IPv4 or IPv6 address", src)
	case !dst.IsValid() || dst.Is4In6():
		wrong("destination %v: want an IPv4 or IPv6 address", dst)
	case src.Is4() != dst.Is4():
		wrong("source %v and destination %v: want one family", src, dst)
	}
	if label > 0xfffff {
		wrong("flow label %#x: want 20 bits", label)
	}
	if label != 0 && dst.Is4() {
		wrong("flow label %#x: want 0 with IPv4, which has none", label)
	}
}
