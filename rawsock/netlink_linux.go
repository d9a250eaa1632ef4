package rawsock

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// A netlinkMessage is one of an answer: its type, the fixed part of its body and its attributes.
type netlinkMessage struct {
	typ   uint16
	head  []byte
	attrs []byte
}

// attr is the value of the first attribute of that type, nil if there is none. Attributes that do not fit end the list.
func (m *netlinkMessage) attr(typ uint16) []byte {
	for b := m.attrs; len(b) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == typ {
			return b[unix.SizeofRtAttr:n]
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// netlinkHead is how long the fixed part is in messages of those types, to which the answers have the same.
func netlinkHead(typ uint16) int {
	switch typ {
	case unix.RTM_NEWLINK:
		return unix.SizeofIfInfomsg
	case unix.RTM_NEWROUTE, unix.RTM_NEWRULE, unix.RTM_NEWNEIGH: // rtmsg, fib_rule_hdr and ndmsg are as long
		return unix.SizeofRtMsg
	}
	return -1
}

// readNetlink reads the messages of those types in b for each, until that returns false; more says that the answer goes on.
func readNetlink(b []byte, each func(m *netlinkMessage) bool) (more bool, err error) {
	ms, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return false, err
	}
	for i := range ms {
		switch typ := ms[i].Header.Type; {
		case ms[i].Header.Flags&unix.NLM_F_DUMP_INTR != 0: // the table changed meanwhile: some of it may be missing
			return false, unix.EINTR
		case typ == unix.NLMSG_DONE:
			return false, nil
		case typ == unix.NLMSG_ERROR:
			if len(ms[i].Data) >= 4 {
				return false, unix.Errno(-int32(binary.NativeEndian.Uint32(ms[i].Data)))
			}
			return false, unix.EPROTO
		default:
			head := netlinkHead(typ)
			if head < 0 {
				continue
			}
			if len(ms[i].Data) < head {
				return false, unix.EPROTO
			}
			if !each(&netlinkMessage{typ, ms[i].Data[:head], ms[i].Data[head:]}) {
				return false, nil
			}
			more = ms[i].Header.Flags&unix.NLM_F_MULTI != 0
		}
	}
	return more, nil
}

// askTables asks the kernel's tables (rtnetlink(7)) for the one thing or, with NLM_F_DUMP among the flags, for all. The body is its fixed
// part and its attributes.
func askTables(typ, flags uint16, body []byte, each func(m *netlinkMessage) bool) error {
	return askNetlink(unix.NETLINK_ROUTE, typ, flags, body, func(answer []byte) (more bool, err error) {
		return readNetlink(answer, each)
	})
}

// askNetlink asks a part of the kernel and hands the answer to read, until that says that there is no more of it.
func askNetlink(part int, typ, flags uint16, body []byte, read func(answer []byte) (more bool, err error)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, part)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(append(b, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 1<<15) // no message of a dump is longer (NLMSG_GOODSIZE and netlink_dump)
	for {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return err
		}
		if more, err := read(answer[:n]); err != nil || !more {
			return err
		}
	}
}

// appendAttr appends an attribute whose length is a multiple of 4.
func appendAttr(b []byte, typ uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	return append(b, data...)
}
