package rawsock

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// maxReserved is how many ports (or echo identifiers) a Conn may have reserved
// at once for each protocol of each family. It bounds the filters: the kernel
// takes 4096 instructions, and old ones 20 KiB for a socket's filter and its
// successor together.
const maxReserved = 64

// Kinds of messages and protocols that only the filters tell apart.
const (
	protoDCCP    = 33
	protoUDPLite = 136

	timestamp4, timestampReply4 = 13, 14   // RFC 792
	mask4, maskReply4           = 17, 18   // RFC 950
	extEcho4, extEchoReply4     = 42, 43   // RFC 8335
	nodeQuery6, nodeReply6      = 139, 140 // RFC 4620
	extEcho6, extEchoReply6     = 160, 161 // RFC 8335
	redirect6                   = 137      // RFC 4861

	nonceOffset = 8 // of the nonce in a node information message
)

// hasPorts reports whether a protocol beside UDP and TCP has ports where those have them.
func hasPorts(proto uint8) bool { return proto == protoDCCP || proto == protoUDPLite }

// wanted is what answers to this run look like, for one family.
type wanted struct {
	token uint32
	echo  []uint16 // reserved identifiers
	udp   []uint16 // reserved ports
	tcp   []uint16
	lite  []uint16
	dccp  []uint16
	other []otherWant // protocols without ports
}

// An otherWant is a reservation of a protocol without ports.
type otherWant struct {
	proto uint8
	src   netip.Addr
}

// add and remove keep the lists sorted, as the filters want them.
func (w *wanted) list(proto uint8) *[]uint16 {
	switch proto {
	case wire.ProtoUDP:
		return &w.udp
	case wire.ProtoTCP:
		return &w.tcp
	case wire.ProtoICMP, wire.ProtoICMPv6:
		return &w.echo
	case protoUDPLite:
		return &w.lite
	case protoDCCP:
		return &w.dccp
	}
	return nil
}

func (w *wanted) count(proto uint8) int {
	if l := w.list(proto); l != nil {
		return len(*l)
	}
	return len(w.other)
}

func (w *wanted) add(src netip.Addr, proto uint8, port uint16) {
	l := w.list(proto)
	if l == nil {
		w.other = append(w.other, otherWant{proto, src.WithZone("")})
		return
	}
	i, _ := slices.BinarySearch(*l, port)
	*l = slices.Insert(*l, i, port)
}

func (w *wanted) remove(src netip.Addr, proto uint8, port uint16) {
	l := w.list(proto)
	if l == nil {
		// Two targets may have the same protocol and source: one goes.
		if i := slices.Index(w.other, otherWant{proto, src.WithZone("")}); i >= 0 {
			w.other = slices.Delete(w.other, i, i+1)
		}
		return
	}
	if i, ok := slices.BinarySearch(*l, port); ok {
		*l = slices.Delete(*l, i, i+1)
	}
}

// The verdicts of a filter. A load beyond the end of the packet is a drop too.
var (
	accept = bpf.RetConstant{Val: 1<<32 - 1}
	refuse = bpf.RetConstant{Val: 0}
)

// dropAll is the filter of a socket nobody listens on yet.
var dropAll = []bpf.Instruction{refuse}

// Where the filters keep things: the protocol of a quoted packet.
const scratchProto = 0

// An asm is a filter in the making. Jumps go forward only, as in all BPF programs.
type asm struct {
	ins  []bpf.Instruction
	to   map[int]string // instruction number of a bpf.Jump, and its target
	mark map[string]int
}

func (a *asm) add(ins ...bpf.Instruction) { a.ins = append(a.ins, ins...) }

func (a *asm) label(name string) {
	if a.mark == nil {
		a.mark = make(map[string]int)
	}
	a.mark[name] = len(a.ins)
}

func (a *asm) jump(name string) {
	if a.to == nil {
		a.to = make(map[int]string)
	}
	a.to[len(a.ins)] = name
	a.add(bpf.Jump{})
}

// when jumps if the condition holds. A conditional jump reaches 255
// instructions far, a plain one anywhere, so this uses both.
func (a *asm) when(cond bpf.JumpTest, val uint32, name string) {
	a.add(bpf.JumpIf{Cond: cond, Val: val, SkipFalse: 1})
	a.jump(name)
}

// oneOf accepts the packet if register A is in the sorted list, and goes on
// behind otherwise, at the label. It halves the list until a handful is left:
// 64 take at most 11 comparisons.
func (a *asm) oneOf(list []uint16, otherwise string) {
	const few = 8
	if len(list) > few {
		mid := len(list) / 2
		at := len(a.ins)
		a.add(nil)
		a.oneOf(list[:mid], otherwise)
		a.ins[at] = bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(list[mid]), SkipTrue: uint8(len(a.ins) - at - 1)}
		a.oneOf(list[mid:], otherwise)
		return
	}
	for i, p := range list {
		j := bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(p), SkipTrue: uint8(len(list) - i - 1)}
		if i == len(list)-1 {
			j.SkipTrue, j.SkipFalse = 0, 1
		}
		a.add(j)
	}
	if len(list) > 0 {
		a.add(accept)
	}
	a.jump(otherwise)
}

// program returns the finished filter.
func (a *asm) program() []bpf.Instruction {
	for i, name := range a.to {
		a.ins[i] = bpf.Jump{Skip: uint32(a.mark[name] - i - 1)}
	}
	return a.ins
}

// icmp4Filter lets in replies to this run's requests and errors about its probes. Its
// input starts with the IPv4 header.
func icmp4Filter(w wanted) []bpf.Instruction {
	var a asm
	a.add(bpf.LoadMemShift{Off: 0}) // X: the header's length
	a.add(bpf.LoadIndirect{Off: 0, Size: 1})
	for _, t := range []uint32{wire.EchoReply4, timestampReply4, maskReply4, extEchoReply4} {
		a.when(bpf.JumpEqual, t, "echo")
	}
	for _, t := range []uint32{wire.Unreachable4, wire.SourceQuench4, wire.Redirect4, wire.TimeExceeded4, wire.ParameterProblem4} {
		a.when(bpf.JumpEqual, t, "error")
	}
	a.add(refuse)

	a.label("echo") // all of them have the identifier there
	a.add(bpf.LoadIndirect{Off: 4, Size: 2})
	a.oneOf(w.echo, "drop")

	// The quote starts 8 bytes behind X. It must be the first fragment, to have a
	// transport header.
	a.label("error")
	a.add(bpf.LoadIndirect{Off: 8, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	a.when(bpf.JumpNotEqual, 0x40, "drop")
	a.add(bpf.LoadIndirect{Off: 8 + 6, Size: 2})
	a.when(bpf.JumpBitsSet, 0x1fff, "drop")
	a.add(bpf.LoadIndirect{Off: 8 + 9, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: scratchProto})
	a.add(bpf.LoadIndirect{Off: 8, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0f})
	a.when(bpf.JumpLessThan, 5, "drop")
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	a.add(bpf.LoadScratch{Dst: bpf.RegA, N: scratchProto})
	a.quoted(w, wire.ProtoICMP)
	a.label("drop")
	a.add(refuse)
	a.quotes(w, 8, wire.ProtoICMP, wire.Echo4, timestamp4, mask4, extEcho4)
	return a.program()
}

// icmp6Filter is the same for ICMPv6. Its input starts with the ICMPv6 header:
// the kernel takes the IPv6 headers off before the filter.
func icmp6Filter(w wanted) []bpf.Instruction {
	var a asm
	a.add(bpf.LoadAbsolute{Off: 0, Size: 1})
	a.when(bpf.JumpEqual, wire.EchoReply6, "echo")
	a.when(bpf.JumpEqual, extEchoReply6, "echo")
	a.when(bpf.JumpEqual, nodeReply6, "node")
	a.when(bpf.JumpEqual, redirect6, "redirect")
	a.when(bpf.JumpEqual, 0, "drop")
	a.when(bpf.JumpGreaterThan, wire.ParameterProblem6, "drop")
	a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 8})
	a.jump("error")

	a.label("echo")
	a.add(bpf.LoadAbsolute{Off: 4, Size: 2})
	a.oneOf(w.echo, "drop")

	a.label("node")
	a.add(bpf.LoadAbsolute{Off: nonceOffset, Size: 2})
	a.oneOf(w.echo, "drop")

	// A redirect quotes in an option (RFC 4861 section 4.5): the first, or behind
	// the target's link-layer address.
	a.label("redirect")
	a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 40}, bpf.LoadIndirect{Off: 0, Size: 1})
	a.when(bpf.JumpEqual, 4, "redirected")
	a.add(bpf.LoadIndirect{Off: 1, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	a.add(bpf.LoadIndirect{Off: 0, Size: 1})
	a.when(bpf.JumpNotEqual, 4, "drop")
	a.label("redirected")
	a.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 8}, bpf.TAX{})

	a.label("error") // X: where the quote starts
	a.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	a.when(bpf.JumpNotEqual, 0x60, "drop")
	a.add(bpf.LoadIndirect{Off: 6, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: scratchProto})
	a.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 40}, bpf.TAX{})
	a.add(bpf.LoadScratch{Dst: bpf.RegA, N: scratchProto})
	// X is where the next header starts and A which it is. Loops are not to be had
	// in BPF: three extension headers are looked behind, more than any probe has.
	for i := range 4 {
		a.quoted(w, wire.ProtoICMPv6)
		if i == 3 {
			break
		}
		name := func(s string) string { return fmt.Sprint(s, i) }
		a.add(bpf.StoreScratch{Src: bpf.RegA, N: scratchProto})
		for _, p := range []uint32{wire.ProtoHopByHop, wire.ProtoRouting, wire.ProtoDestOptions} {
			a.when(bpf.JumpEqual, p, name("long"))
		}
		a.when(bpf.JumpEqual, wire.ProtoAH, name("ah"))
		a.when(bpf.JumpNotEqual, wire.ProtoFragment, "drop")
		a.add(bpf.LoadIndirect{Off: 2, Size: 2}) // a later fragment has no transport header
		a.when(bpf.JumpBitsSet, 0xfff8, "drop")
		a.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 8})
		a.jump(name("next"))
		a.label(name("ah")) // its length is (n + 2) × 4 (RFC 4302 section 2.2)
		a.add(bpf.LoadIndirect{Off: 1, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 2}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
		a.jump(name("next"))
		a.label(name("long")) // and of these (n + 1) × 8 (RFC 8200 section 4)
		a.add(bpf.LoadIndirect{Off: 1, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3})
		a.label(name("next")) // A: this header's length, X: its start
		a.add(bpf.StoreScratch{Src: bpf.RegA, N: 1}, bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: scratchProto})
		a.add(bpf.LoadScratch{Dst: bpf.RegA, N: 1}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
		a.add(bpf.LoadScratch{Dst: bpf.RegA, N: scratchProto})
	}
	a.label("drop")
	a.add(refuse)
	a.quotes(w, 0, wire.ProtoICMPv6, wire.Echo6, extEcho6, nodeQuery6)
	return a.program()
}

// quoted jumps to where quotes looks at the protocol in A, if it is one of this run's.
func (a *asm) quoted(w wanted, icmp uint8) {
	for _, p := range append([]uint8{wire.ProtoUDP, wire.ProtoTCP, icmp}, w.extra()...) {
		a.when(bpf.JumpEqual, uint32(p), fmt.Sprint("quoted ", p))
	}
}

// extra are the other protocols that something is reserved of.
func (w *wanted) extra() (ps []uint8) {
	for _, p := range []uint8{protoUDPLite, protoDCCP} {
		if len(*w.list(p)) > 0 {
			ps = append(ps, p)
		}
	}
	for _, o := range w.other {
		if !slices.Contains(ps, o.proto) {
			ps = append(ps, o.proto)
		}
	}
	return ps
}

// quotes accepts a quoted packet of this run, whose transport header starts
// off bytes behind X. It is known by the reserved port or identifier that it
// left from or, where a translator changed that and did not change it back in
// the quote, by the run token.
func (a *asm) quotes(w wanted, off uint32, icmp uint8, requests ...uint32) {
	a.label(fmt.Sprint("quoted ", wire.ProtoUDP))
	a.add(bpf.LoadIndirect{Off: off, Size: 2})
	a.oneOf(w.udp, "payload")

	a.label(fmt.Sprint("quoted ", wire.ProtoTCP))
	a.add(bpf.LoadIndirect{Off: off, Size: 2})
	a.oneOf(w.tcp, "seq")
	a.label("seq")
	a.add(bpf.LoadIndirect{Off: off + 4, Size: 2})
	a.when(bpf.JumpEqual, w.token&0xffff, "accept")
	a.jump("bare")

	a.label(fmt.Sprint("quoted ", icmp))
	a.add(bpf.LoadIndirect{Off: off, Size: 1})
	for _, t := range requests {
		if t == nodeQuery6 {
			a.when(bpf.JumpEqual, t, "query")
			continue
		}
		a.when(bpf.JumpEqual, t, "request")
	}
	a.jump("bare")
	a.label("query")
	a.add(bpf.LoadIndirect{Off: off + nonceOffset, Size: 2})
	a.oneOf(w.echo, "bare")
	a.label("request")
	a.add(bpf.LoadIndirect{Off: off + 4, Size: 2})
	a.oneOf(w.echo, "payload")

	if len(w.lite) > 0 {
		a.label(fmt.Sprint("quoted ", protoUDPLite))
		a.add(bpf.LoadIndirect{Off: off, Size: 2})
		a.oneOf(w.lite, "payload")
	}
	if len(w.dccp) > 0 {
		a.label(fmt.Sprint("quoted ", protoDCCP))
		a.add(bpf.LoadIndirect{Off: off, Size: 2})
		a.oneOf(w.dccp, "no")
	}
	for _, p := range w.extra() {
		if !hasPorts(p) {
			a.label(fmt.Sprint("quoted ", p))
		}
	}
	a.label("bare") // a packet of that protocol without its header: the payload starts here
	a.add(bpf.LoadIndirect{Off: off + TokenOffset, Size: 4})
	a.when(bpf.JumpEqual, w.token, "accept")
	a.label("no")
	a.add(refuse)

	a.label("payload") // UDP, UDP-Lite and echo headers have all 8 bytes
	a.add(bpf.LoadIndirect{Off: off + TokenOffset, Size: 4})
	a.when(bpf.JumpEqual, w.token, "accept") // or there is no header, as above
	a.add(bpf.LoadIndirect{Off: off + 8 + TokenOffset, Size: 4})
	a.when(bpf.JumpEqual, w.token, "accept")
	a.add(bpf.LoadIndirect{Off: off + 8 + QUICTokenOffset, Size: 4})
	a.when(bpf.JumpEqual, w.token, "accept")
	a.add(refuse)
	a.label("accept")
	a.add(accept)
}

// extraFilter lets in what may answer a probe of another protocol: to a reserved port, or,
// where there are none, to an address that such probes leave from. Over IPv6 the filter does not see
// the addresses. Its input starts as tcpFilter's.
func extraFilter(w wanted, proto uint8, v6 bool) []bpf.Instruction {
	var a asm
	if l := w.list(proto); l != nil {
		if len(*l) == 0 {
			return dropAll
		}
		if v6 {
			a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
		} else {
			a.add(bpf.LoadMemShift{Off: 0})
		}
		a.add(bpf.LoadIndirect{Off: 2, Size: 2})
		a.oneOf(*l, "no")
		a.label("no")
		a.add(refuse)
		return a.program()
	}
	if !v6 {
		a.add(bpf.LoadAbsolute{Off: 16, Size: 4})
	}
	for _, o := range w.other {
		switch {
		case o.proto != proto:
		case v6:
			return []bpf.Instruction{accept}
		default:
			b := o.src.As4()
			a.when(bpf.JumpEqual, binary.BigEndian.Uint32(b[:]), "accept")
		}
	}
	a.add(refuse)
	a.label("accept")
	a.add(accept)
	return a.program()
}

// tcpFilter lets in what a probe makes a TCP answer with: SYN and ACK, RST and
// ACK, RST alone, or ACK alone, as of a stack that doubts (RFC 5961), with the run token where RFC 9293 section 3.10.7 puts it.
// Its input starts with the IPv4 header, or for IPv6 with the TCP header.
func tcpFilter(w wanted, v6 bool) []bpf.Instruction {
	if len(w.tcp) == 0 { // all TCP of the host comes by here
		return dropAll
	}
	var a asm
	if v6 {
		a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
	} else {
		a.add(bpf.LoadMemShift{Off: 0})
	}
	token := w.token & 0xffff
	a.add(bpf.LoadIndirect{Off: 13, Size: 1})
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: wire.SYN | wire.RST | wire.ACK})
	a.when(bpf.JumpEqual, wire.ACK, "ack") // most of what comes by
	a.when(bpf.JumpEqual, wire.SYN|wire.ACK, "ack")
	a.when(bpf.JumpEqual, wire.RST|wire.ACK, "ack")
	a.when(bpf.JumpEqual, wire.RST, "rst")
	a.label("drop")
	a.add(refuse)

	// An answer acknowledges the sequence number, whose lower half is never 0, and what the segment takes and
	// carries, so the upper half may be one more.
	a.label("ack")
	a.add(bpf.LoadIndirect{Off: 8, Size: 4})
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16})
	a.when(bpf.JumpEqual, token, "port")
	a.when(bpf.JumpEqual, (token+1)&0xffff, "port")
	a.add(refuse)

	// A RST without ACK takes its sequence number from what the probe acknowledged.
	a.label("rst")
	a.add(bpf.LoadIndirect{Off: 4, Size: 2})
	a.when(bpf.JumpEqual, token, "port")
	a.add(refuse)

	a.label("port")
	a.add(bpf.LoadIndirect{Off: 2, Size: 2})
	a.oneOf(w.tcp, "no")
	a.label("no")
	a.add(refuse)
	return a.program()
}

// attachFilter puts a filter on a socket, in place of the one before, in one go.
func attachFilter(fd int, prog []bpf.Instruction) error {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	// bpf.RawInstruction and struct sock_filter have the same fields in the same order.
	p := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// icmpFilter is ICMP_FILTER of raw(7), and ICMPV6_FILTER too: a set bit keeps a type out.
const icmpFilter = 1

// filterTypes keeps all other types out before any filter program runs.
func filterTypes(fd int, v6 bool) error {
	if !v6 {
		mask := ^uint32(1<<wire.EchoReply4 | 1<<wire.Unreachable4 | 1<<wire.SourceQuench4 | 1<<wire.Redirect4 |
			1<<wire.TimeExceeded4 | 1<<wire.ParameterProblem4 | 1<<timestampReply4 | 1<<maskReply4)
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], mask)
		if err := unix.SetsockoptString(fd, unix.SOL_RAW, icmpFilter, string(b[:])); err != nil {
			return fmt.Errorf("set ICMP_FILTER: %w", err)
		}
		return nil
	}
	var f unix.ICMPv6Filter
	for i := range f.Data {
		f.Data[i] = ^uint32(0)
	}
	for _, t := range []int{wire.Unreachable6, wire.PacketTooBig6, wire.TimeExceeded6, wire.ParameterProblem6,
		wire.EchoReply6, extEchoReply6, nodeReply6, redirect6} {
		f.Data[t/32] &^= 1 << (t % 32)
	}
	if err := unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, icmpFilter, &f); err != nil {
		return fmt.Errorf("set ICMP6_FILTER: %w", err)
	}
	return nil
}
