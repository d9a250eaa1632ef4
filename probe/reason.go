package probe

import (
	"errors"

	"gtrace/internal/wire"
)

// A Reason is why a message that arrived is no answer. Those up to OuterHeader are of what cannot be read and make up
// Checked.Malformed, the others of what answers nothing that was asked and make up Checked.Unmatched; these are in order of
// how much of it agreed, as a message that may be several probes' is refused for what spoke for it most.
type Reason uint8

const (
	ShortMessage   Reason = iota // it ends inside a header, its own or a quoted one
	LengthField                  // a length field says less than there must be
	HeaderLength                 // an IPv4 header of less than 20 bytes is quoted (IHL below 5)
	ChecksumWrong                // of the message
	UnknownVersion               // what is quoted is neither IPv4 nor IPv6
	HeadersTooDeep               // more IPv6 extension headers are quoted than are walked
	OuterHeader                  // the connection could make nothing of it: Stats.Malformed

	KindNotAsked   // an ICMP type, or a segment, that answers nothing a probe asks
	OwnKind        // a request, such as this host's own on its way past
	ProtocolNotOne // it quotes a packet of a protocol, or an IP version, that no probe has
	LaterFragment  // it quotes a fragment without a transport header
	PeerNotAsked   // it is from, or quotes a packet to, an address and port where no probe went
	PortNotOurs    // it is from where probes went, but to a port, identifier or address that they did not leave from
	NothingWaits   // a datagram for a flow that has no probe waiting
	IDNotInUse     // it names a probe that never was, or that is forgotten
	NotSentYet     // it names a probe that has not left
	BeforeItsProbe // it was here before the only probe that it could answer left
	FieldWrong     // another field of what it brings back is not as it was sent
	SourceWrong    // it quotes another source, and too little else to know it for ours
	AckWrong       // it acknowledges nothing that was sent
	TokenWrong     // it does not show the run's token, or the probe's number

	reasons // how many there are
)

const lastMalformed = OuterHeader

var reasonNames = [reasons]string{
	ShortMessage: "short", LengthField: "length", HeaderLength: "header-length", ChecksumWrong: "checksum",
	UnknownVersion: "version", HeadersTooDeep: "extension-headers", OuterHeader: "outer-header",
	KindNotAsked: "type", OwnKind: "request", ProtocolNotOne: "protocol", LaterFragment: "fragment", PeerNotAsked: "peer",
	PortNotOurs: "port", NothingWaits: "idle", IDNotInUse: "id", NotSentYet: "unsent", BeforeItsProbe: "early",
	FieldWrong: "field", SourceWrong: "source", AckWrong: "ack", TokenWrong: "token",
}

// String is the reason's key in self_check.rejected.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// Malformed reports whether it is one of Checked.Malformed; else it is one of Checked.Unmatched.
func (r Reason) Malformed() bool { return r <= lastMalformed }

// Rejections counts the messages that were no answers, by Reason.
type Rejections [reasons]uint64

// reject counts a message that is no answer.
func (c *Checked) reject(why Reason, n uint64) {
	c.Rejected[why] += n
	if why.Malformed() {
		c.Malformed += n
	} else {
		c.Unmatched += n
	}
}

// unreadable is the reason for an error of package wire.
func unreadable(err error) Reason {
	switch {
	case errors.Is(err, wire.ErrChecksum):
		return ChecksumWrong
	case errors.Is(err, wire.ErrHeaderLength):
		return HeaderLength
	case errors.Is(err, wire.ErrLength):
		return LengthField
	case errors.Is(err, wire.ErrVersion):
		return UnknownVersion
	case errors.Is(err, wire.ErrTooDeep):
		return HeadersTooDeep
	}
	return ShortMessage
}
