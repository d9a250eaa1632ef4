package rawsock

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// control is a control message of that data.
func control(level, typ int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(typ))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// queuedBytes is an entry of an error queue, with its offender.
func queuedBytes(origin, typ, code uint8, info uint32, from netip.Addr) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.EHOSTUNREACH))
	b = append(b, origin, typ, code, 0)
	b = binary.NativeEndian.AppendUint32(b, info)
	b = append(b, 0, 0, 0, 0)
	if from.Is4() {
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET)
		return append(append(append(b, 0, 0), from.AsSlice()...), make([]byte, 8)...)
	}
	b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
	return append(append(append(b, make([]byte, 6)...), from.AsSlice()...), 2, 0, 0, 0)
}

// FuzzControl: the control messages of a packet, a send stamp or an error, whatever they say, are read within their bounds.
func FuzzControl(f *testing.F) {
	stamp := make([]byte, 16)
	binary.NativeEndian.PutUint64(stamp, 1_700_000_000)
	f.Add(slices.Concat(control(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, stamp), control(unix.SOL_IP, unix.IP_TTL, []byte{64, 0, 0, 0}),
		control(unix.SOL_IP, unix.IP_TOS, []byte{8}), control(unix.SOL_IP, unix.IP_RECVOPTS, []byte{7, 7, 4, 0, 0, 0, 0, 0})))
	f.Add(slices.Concat(control(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, []byte{64, 0, 0, 0}), control(unix.SOL_IPV6, unix.IPV6_PKTINFO, make([]byte, 20))))
	f.Add(slices.Concat(control(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, make([]byte, 48)),
		control(unix.SOL_IP, unix.IP_RECVERR, queuedBytes(unix.SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 7, netip.MustParseAddr("0.0.0.0")))))
	f.Add(control(unix.SOL_IP, unix.IP_RECVERR, queuedBytes(unix.SO_EE_ORIGIN_ICMP, 3, 1, 0, netip.MustParseAddr("192.0.2.1"))))
	f.Add(control(unix.SOL_IPV6, unix.IPV6_RECVERR, queuedBytes(unix.SO_EE_ORIGIN_ICMP6, 1, 0, 0, netip.MustParseAddr("2001:db8::1"))))
	f.Fuzz(func(t *testing.T, oob []byte) {
		was := bytes.Clone(oob)
		for rest, turns := oob, 0; ; turns++ {
			m, more, ok := nextCmsg(rest)
			if !ok {
				break
			}
			if len(more) >= len(rest) || len(m.data) > len(rest) || turns > len(oob) {
				t.Fatalf("%d bytes are left of %d, and %d are the message's", len(more), len(rest), len(m.data))
			}
			rest = more
		}
		a := parseArrival(oob)
		if len(a.options) > len(oob) {
			t.Errorf("%d bytes of options in %d", len(a.options), len(oob))
		}
		if _, stamp, ok := txStamp(oob); ok && stamp == 0 {
			t.Error("a send time of nothing")
		}
		if e, ok := parseQueuedError(oob); ok && e.from.IsValid() && e.from.Zone() != "" {
			t.Errorf("from %v", e.from)
		}
		if !bytes.Equal(oob, was) {
			t.Error("reading changed it")
		}
	})
}

// FuzzQueuedError: what is made of an error queue's entry and of what came back of the packet is an ICMP error that can be read, or
// nothing.
func FuzzQueuedError(f *testing.F) {
	f.Add(false, true, queuedBytes(unix.SO_EE_ORIGIN_ICMP, 11, 0, 0, netip.MustParseAddr("192.0.2.1")), make([]byte, 40))
	f.Add(true, true, queuedBytes(unix.SO_EE_ORIGIN_ICMP6, 3, 0, 0, netip.MustParseAddr("2001:db8::1")), make([]byte, 140))
	f.Add(false, false, queuedBytes(unix.SO_EE_ORIGIN_ICMP, 3, 4, 1400, netip.MustParseAddr("192.0.2.1")), []byte{8, 0, 0, 0, 0, 1, 0, 1})
	f.Add(true, false, queuedBytes(unix.SO_EE_ORIGIN_ICMP6, 2, 0, 1280, netip.MustParseAddr("2001:db8::1")), []byte{128, 0, 0, 0, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, v6, udp bool, entry, body []byte) {
		level, typ := int32(unix.SOL_IP), int32(unix.IP_RECVERR)
		src, dst := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("198.51.100.9")
		if v6 {
			level, typ = unix.SOL_IPV6, unix.IPV6_RECVERR
			src, dst = netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8:1::9")
		}
		e, ok := parseQueuedError(control(level, typ, entry))
		if !ok || len(body) > 1<<15 {
			return
		}
		proto := familyProto(src, wire.ProtoICMP)
		if udp {
			proto = wire.ProtoUDP
		}
		d := &dgram{sockKey: sockKey{src: src, proto: proto, port: 40000}, objects: true}
		before := []byte("what is there")
		b, ok := d.appendError(bytes.Clone(before), e, netip.AddrPortFrom(dst, 33434), body)
		if !bytes.HasPrefix(b, before) || !ok && len(b) != len(before) {
			t.Fatalf("%x, %v", b, ok)
		}
		if !ok {
			return
		}
		b = b[len(before):]
		var m wire.ICMP
		var err error
		if v6 {
			m, err = wire.ParseICMPv6(b, e.from, src)
		} else {
			m, err = wire.ParseICMPv4(b)
		}
		if err != nil || m.Type() != e.typ || m.Code() != e.code {
			t.Fatalf("%x: %v, type %d, code %d, want %d, %d", b, err, m.Type(), m.Code(), e.typ, e.code)
		}
		q, err := m.Quote()
		if err != nil {
			return // of a type that quotes nothing, or an ICMPv6 redirect
		}
		if q.Src() != src || q.Dst() != dst || q.Proto() != proto && !(v6 && proto == wire.ProtoICMPv6) {
			t.Errorf("it quotes a packet of %d from %v to %v", q.Proto(), q.Src(), q.Dst())
		}
	})
}

// FuzzOuterHeader: an IPv4 header is taken off only where it and what it says are there.
func FuzzOuterHeader(f *testing.F) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	f.Add(append(wire.AppendIPv4(nil, wire.IPv4{Src: a, Dst: b, TTL: 9, Proto: 1}, 8), make([]byte, 8)...))
	f.Add(append(wire.AppendIPv4(nil, wire.IPv4{Src: a, Dst: b, TTL: 9, Proto: 1, Options: []byte{7, 7, 4, 0, 0, 0, 0}}, 8), make([]byte, 9)...))
	f.Add([]byte{0x44, 0, 0, 20})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Reply
		if !r.ipv4(b) {
			return
		}
		total := int(binary.BigEndian.Uint16(b[2:]))
		if 20+len(r.Options)+len(r.Data) != total || !r.From.Is4() || !r.To.Is4() || len(r.Options) > 40 || len(r.Options)%4 != 0 {
			t.Errorf("%d bytes of options and %d of data in %d", len(r.Options), len(r.Data), total)
		}
	})
}

// FuzzNetlink: the kernel's tables are read within their bounds too.
func FuzzNetlink(f *testing.F) {
	attr := func(typ uint16, data []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
		b = append(binary.NativeEndian.AppendUint16(b, typ), data...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	message := func(typ uint16, body ...[]byte) []byte {
		all := slices.Concat(body...)
		b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(all)))
		b = binary.NativeEndian.AppendUint16(b, typ)
		return append(append(b, make([]byte, 10)...), all...)
	}
	metrics := attr(unix.RTAX_MTU, []byte{0x78, 5, 0, 0})
	f.Add(message(unix.RTM_NEWROUTE, make([]byte, 12), attr(unix.RTA_GATEWAY, []byte{192, 0, 2, 1}), attr(unix.RTA_OIF, []byte{2, 0, 0, 0}), attr(unix.RTA_METRICS, metrics)))
	f.Add(message(unix.RTM_NEWROUTE, make([]byte, 12), attr(unix.RTA_VIA, append([]byte{10, 0}, make([]byte, 16)...)), attr(unix.RTA_PREFSRC, []byte{192, 0, 2, 9})))
	f.Add(message(unix.RTM_NEWADDR, []byte{2, 24, 0, 0, 2, 0, 0, 0}, attr(unix.IFA_ADDRESS, []byte{192, 0, 2, 8}), attr(unix.IFA_LOCAL, []byte{192, 0, 2, 9})))
	f.Add(message(unix.NLMSG_ERROR, []byte{0x9b, 0xff, 0xff, 0xff}))
	var z zones
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := readRoute(b); err == nil && r.mtu < 0 {
			t.Errorf("an MTU of %d", r.mtu)
		}
		all, err := parseLocal(b, &z)
		for a := range all {
			if err != nil || !a.IsValid() {
				t.Errorf("address %v, %v", a, err)
			}
		}
	})
}

// FuzzSourceRoute: the addresses of a source route are within the options, and are whole.
func FuzzSourceRoute(f *testing.F) {
	f.Add([]byte{1, 131, 11, 4, 192, 0, 2, 1, 192, 0, 2, 2})
	f.Add([]byte{137, 7, 4, 192, 0, 2, 1, 0})
	f.Add([]byte{68, 4, 5, 0, 131, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, ok := sourceRoute(b)
		if ok && (len(list) < 4 || len(list)%4 != 0 || !bytes.Contains(b, list)) {
			t.Errorf("%x of %x", list, b)
		}
	})
}

// FuzzFileCaps: a file's extended attribute is read within its bounds.
func FuzzFileCaps(f *testing.F) {
	f.Add([]byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 3, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = fileCaps(b) })
}
