package rawsock

import (
	"fmt"

	"gtrace/internal/wire"
)

// Options say what Open opens.
type Options struct {
	Unprivileged bool // do not even try raw sockets

	// What follows needs privilege, so it must be known before the drop. Whoever is not root by the real
	// user id is refused it by the caller, who else would read arguments with privilege.
	Mark      uint32  // firewall mark of all packets (SO_MARK); 0: none
	Protocols []uint8 // IP protocols to hear answers of, beside ICMP, TCP and UDP
	Packet    bool    // packet sockets are opened beside the raw ones, for bulk work (docs/decisions/0013-packet-sockets.md)
	Port      uint16  // a UDP and TCP port that Reserve is to be asked for and that is not for ordinary users (below 1024); 0: none
}

// Open opens raw sockets for both families, as far as the host has them, or,
// where the kernel refuses those for want of privilege, what an ordinary user
// may have; Caps tells which. A program that was privileged calls Drop next.
//
// The error wraps errors.ErrUnsupported where this system cannot do it at all,
// and ErrPrivilege where neither kind was allowed.
func Open(o Options) (Conn, error) { return open(o) }

// refused is why there can be no connection without privilege for o, or nil.
func (o Options) refused() error {
	if o.Packet {
		return fmt.Errorf("open packet sockets: %w", ErrPrivilege)
	}
	if o.Mark != 0 {
		return fmt.Errorf("mark packets with %d: %w", o.Mark, ErrPrivilege)
	}
	for _, p := range o.Protocols {
		if !heard(p) {
			return fmt.Errorf("hear IP protocol %d: %w", p, ErrPrivilege)
		}
	}
	return nil
}

// heard reports whether every connection hears that protocol anyway.
func heard(proto uint8) bool {
	switch proto {
	case wire.ProtoICMP, wire.ProtoTCP, wire.ProtoUDP, wire.ProtoICMPv6:
		return true
	}
	return false
}
