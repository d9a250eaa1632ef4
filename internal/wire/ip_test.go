package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// IPv6 extension headers to chain up; the first byte is the next header.
func hopByHop(next uint8) []byte    { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
func destOptions(next uint8) []byte { return []byte{next, 1, 1, 12, 15: 0} }
func routing(next uint8) []byte     { return []byte{next, 2, 0, 1, 23: 0} }
func ah(next uint8) []byte          { return []byte{next, 4, 0, 0, 23: 0} } // (4+2)×4
func fragment(next uint8, offset uint16, more bool) []byte {
	v := offset << 3
	if more {
		v |= 1
	}
	return []byte{next, 0, byte(v >> 8), byte(v), 0, 0, 0, 7}
}

// chain is an IPv6 packet of extension headers and a payload. next is the
// number of the first header.
func chain(next uint8, parts ...[]byte) []byte {
	body := cat(parts...)
	return append(AppendIPv6(nil, IPv6{Src: src6, Dst: dst6, Next: next, HopLimit: 3}, len(body)), body...)
}

var udp8 = []byte{0x9c, 0x40, 0x82, 0x9a, 0, 8, 0x12, 0x34} // ports 40000 and 33434

func TestParseIP(t *testing.T) {
	good := families[0].probe(4)
	good6 := families[1].probe(4)
	change := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		return b
	}
	sum4 := func(b []byte) []byte { // makes the header checksum right
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^fold(add(0, b[:b[0]&0xf*4])))
		return b
	}
	tests := []struct {
		name  string
		in    []byte
		err   error // nil: must parse
		hdr   int
		proto uint8
		whole int // bytes
	}{
		{name: "IPv4", in: good, hdr: 20, proto: ProtoUDP, whole: 32},
		{name: "IPv4, trailing bytes", in: cat(good, []byte("ethernet")), hdr: 20, proto: ProtoUDP, whole: 32},
		{name: "IPv4, one byte missing", in: good[:31], err: ErrShort},
		{name: "IPv4, ends in the header", in: good[:19], err: ErrShort},
		{name: "IPv4, header only", in: AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, Proto: 255}, 0), hdr: 20, proto: 255, whole: 20},
		{name: "IPv4, header length 4 words", in: sum4(change(good, 0, 0x44)), err: ErrHeaderLength},
		{name: "IPv4, header length 0", in: change(good, 0, 0x40), err: ErrHeaderLength},
		{name: "IPv4, options beyond the end", in: change(good[:32], 0, 0x4f), err: ErrShort},
		{name: "IPv4, total length within the header", in: sum4(change(good, 2, 0, 19)), err: ErrLength},
		{name: "IPv4, total length 0", in: sum4(change(good, 2, 0, 0)), err: ErrLength},
		{name: "IPv4, wrong checksum", in: change(good, 8, 9), err: ErrChecksum},
		{name: "IPv4, options", in: AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, Proto: ProtoICMP, Options: []byte{7, 7, 4, 0, 0, 0, 0}}, 0), hdr: 28, proto: ProtoICMP, whole: 28},
		{name: "IPv6", in: good6, hdr: 40, proto: ProtoUDP, whole: 52},
		{name: "IPv6, trailing bytes", in: cat(good6, []byte{1}), hdr: 40, proto: ProtoUDP, whole: 52},
		{name: "IPv6, one byte missing", in: good6[:51], err: ErrShort},
		{name: "IPv6, ends in the header", in: good6[:39], err: ErrShort},
		{name: "IPv6, no payload", in: AppendIPv6(nil, IPv6{Src: src6, Dst: dst6, Next: ProtoNone}, 0), hdr: 40, proto: ProtoNone, whole: 40},
		{name: "IPv6, all headers in order", in: chain(ProtoHopByHop, hopByHop(ProtoDestOptions), destOptions(ProtoRouting), routing(ProtoFragment), fragment(ProtoAH, 0, true), ah(ProtoUDP), udp8), hdr: 40 + 8 + 16 + 24 + 8 + 24, proto: ProtoUDP, whole: 40 + 80 + 8},
		{name: "IPv6, ESP ends the walk", in: chain(ProtoHopByHop, hopByHop(ProtoESP), udp8), hdr: 48, proto: ProtoESP, whole: 56},
		{name: "IPv6, later fragment", in: chain(ProtoFragment, fragment(ProtoDestOptions, 5, false), udp8), hdr: 48, proto: ProtoDestOptions, whole: 56},
		{name: "IPv6, extension header cut", in: chain(ProtoRouting, routing(ProtoUDP)[:23]), err: ErrShort},
		{name: "IPv6, extension header of 4 bytes", in: chain(ProtoRouting, []byte{ProtoUDP, 0, 0, 0}), err: ErrShort},
		{name: "IPv6, no extension header where one is said", in: chain(ProtoHopByHop), err: ErrShort},
		{name: "IPv6, eight extension headers", in: chain(0, bytes.Repeat(hopByHop(0), 7), hopByHop(ProtoUDP), udp8), hdr: 104, proto: ProtoUDP, whole: 112},
		{name: "IPv6, nine extension headers", in: chain(0, bytes.Repeat(hopByHop(0), 8), hopByHop(ProtoUDP), udp8), err: ErrTooDeep},
		{name: "IPv6, extension headers without end", in: chain(0, bytes.Repeat(hopByHop(0), 1000)), err: ErrTooDeep},
		{name: "IPv6, longest extension header", in: chain(ProtoRouting, []byte{ProtoUDP, 255, 2047: 0}, udp8), hdr: 40 + 2048, proto: ProtoUDP, whole: 40 + 2048 + 8},
		{name: "IPv6, longest AH", in: chain(ProtoAH, []byte{ProtoUDP, 255, 1027: 0}, udp8), hdr: 40 + 1028, proto: ProtoUDP, whole: 40 + 1028 + 8},
		{name: "version 0", in: change(good, 0, 0x05), err: ErrVersion},
		{name: "version 5", in: change(good, 0, 0x55), err: ErrVersion},
		{name: "empty", in: nil, err: ErrShort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParseIP(tt.in)
			if tt.err != nil {
				wantError(t, err, tt.err, tt.in)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Header()) != tt.hdr || p.Proto() != tt.proto || len(p.Bytes()) != tt.whole {
				t.Errorf("header of %d bytes, protocol %d, %d bytes in all, want %d, %d, %d",
					len(p.Header()), p.Proto(), len(p.Bytes()), tt.hdr, tt.proto, tt.whole)
			}
			if p.Length() != tt.whole || !p.Complete() {
				t.Errorf("length %d, complete %v, want %d, true", p.Length(), p.Complete(), tt.whole)
			}
			if !bytes.Equal(cat(p.Header(), p.Transport()), p.Bytes()) {
				t.Error("header and transport do not make up the packet")
			}
		})
	}
}

func TestParseQuote(t *testing.T) {
	good := families[0].probe(0)
	good6 := families[1].probe(0)
	change := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		return b
	}
	options := AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, Proto: ProtoUDP, TTL: 1, Options: []byte{0x94, 4, 0, 0}}, 8)
	tests := []struct {
		name string
		in   []byte
		err  error // nil: must parse, with the ports of udp8
	}{
		{name: "IPv4, shortest legal", in: good},
		{name: "IPv4, one byte short", in: good[:27], err: ErrShort},
		{name: "IPv4, ends in the header", in: good[:19], err: ErrShort},
		{name: "IPv4, options", in: cat(options, udp8)},
		{name: "IPv4, options, one byte short", in: cat(options, udp8[:7]), err: ErrShort},
		{name: "IPv4, options cut off", in: change(good, 0, 0x48), err: ErrShort},
		{name: "IPv4, header length 0", in: change(good, 0, 0x40), err: ErrHeaderLength},
		{name: "IPv4, header length 4 words", in: change(good, 0, 0x44), err: ErrHeaderLength},
		{name: "IPv4, total length byte-swapped", in: change(good, 2, 28, 0)},
		{name: "IPv4, total length without the header", in: change(good, 2, 0, 8)},
		{name: "IPv4, total length 0", in: change(good, 2, 0, 0)},
		{name: "IPv4, wrong header checksum", in: change(good, 10, 0, 0)},
		{name: "IPv4, TTL 0", in: change(good, 8, 0)},
		{name: "IPv6, shortest legal", in: good6},
		{name: "IPv6, one byte short", in: good6[:47], err: ErrShort},
		{name: "IPv6, ends in the header", in: good6[:39], err: ErrShort},
		{name: "IPv6, payload length 0", in: change(good6, 4, 0, 0)},
		{name: "IPv6, extension headers", in: chain(ProtoHopByHop, hopByHop(ProtoAH), ah(ProtoUDP), udp8)},
		{name: "IPv6, extension header cut off", in: chain(ProtoHopByHop, hopByHop(ProtoAH), ah(ProtoUDP)[:23]), err: ErrShort},
		{name: "IPv6, extension headers, one byte short", in: chain(ProtoAH, ah(ProtoUDP), udp8[:7]), err: ErrShort},
		{name: "IPv6, nine extension headers", in: chain(0, bytes.Repeat(hopByHop(0), 8), hopByHop(ProtoUDP), udp8), err: ErrTooDeep},
		{name: "version 7", in: change(good, 0, 0x75), err: ErrVersion},
		{name: "empty", in: nil, err: ErrShort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParseQuote(tt.in)
			if tt.err != nil {
				wantError(t, err, tt.err, tt.in)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			u, err := ParseUDP(p.Transport())
			if err != nil {
				t.Fatal(err)
			}
			if p.Proto() != ProtoUDP || u.Src() != 40000 || u.Dst() != 33434 {
				t.Errorf("protocol %d, ports %d to %d, want 17, 40000 to 33434", p.Proto(), u.Src(), u.Dst())
			}
		})
	}
}

func TestIPFields(t *testing.T) {
	p, err := ParseIP(AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, TTL: 7, TOS: 0xb9, Proto: ProtoTCP, ID: 0xfffe, MF: true, Offset: 0x1ffe}, 0))
	if err != nil {
		t.Fatal(err)
	}
	want := "4 10.0.0.1 192.0.2.9 7 0xb9 6 0xfffe false true 0x1ffe 0x0"
	if got := fields(p); got != want {
		t.Errorf("read %s\nwant %s", got, want)
	}
	p, err = ParseIP(AppendIPv4(nil, IPv4{Src: dst4, Dst: src4, DF: true}, 0))
	if err != nil {
		t.Fatal(err)
	}
	want = "4 192.0.2.9 10.0.0.1 0 0x0 0 0x0 true false 0x0 0x0"
	if got := fields(p); got != want {
		t.Errorf("read %s\nwant %s", got, want)
	}
	p, err = ParseIP(AppendIPv6(nil, IPv6{Src: src6, Dst: dst6, HopLimit: 9, TrafficClass: 0xa7, Next: 0xfd, Label: 0xfedcb}, 0))
	if err != nil {
		t.Fatal(err)
	}
	want = "6 2001:db8::1 2001:db8:1::9 9 0xa7 253 0x0 false false 0x0 0xfedcb"
	if got := fields(p); got != want {
		t.Errorf("read %s\nwant %s", got, want)
	}
	p, err = ParseIP(chain(ProtoFragment, fragment(ProtoUDP, 0x1fff, true), udp8))
	if err != nil {
		t.Fatal(err)
	}
	want = "6 2001:db8::1 2001:db8:1::9 3 0x0 17 0x0 false true 0x1fff 0x0"
	if got := fields(p); got != want {
		t.Errorf("read %s\nwant %s", got, want)
	}
}

func fields(p IP) string {
	return fmt.Sprintf("%d %v %v %d %#x %d %#x %v %v %#x %#x", p.Version(), p.Src(), p.Dst(), p.TTL(), p.TOS(), p.Proto(), p.ID(), p.DF(), p.MF(), p.Offset(), p.Label())
}

// TestAppendIPAnyFields: what is written is what is read, for any fields, in
// front of what dst already held.
func TestAppendIPAnyFields(t *testing.T) {
	r := rng(t)
	bit := func() bool { return r.IntN(2) == 0 }
	for range 2000 {
		f := IPv4{Src: randomAddr(r, false), Dst: randomAddr(r, false), TTL: uint8(r.Uint32()), TOS: uint8(r.Uint32()), Proto: uint8(r.Uint32()),
			ID: uint16(r.Uint32()), DF: bit(), MF: bit(), Offset: uint16(r.Uint32N(1 << 13)), Options: randomBytes(r, r.IntN(41))}
		payload := randomBytes(r, r.IntN(100))
		b := AppendIPv4([]byte("before"), f, len(payload))
		if string(b[:6]) != "before" {
			t.Fatal("what was there is changed")
		}
		p, err := ParseIP(append(b[6:], payload...))
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		g := IPv4{Src: p.Src(), Dst: p.Dst(), TTL: p.TTL(), TOS: p.TOS(), Proto: p.Proto(), ID: p.ID(), DF: p.DF(), MF: p.MF(), Offset: p.Offset()}
		options := p.Header()[20:]
		padded := append(bytes.Clone(f.Options), make([]byte, len(options)-len(f.Options))...)
		f.Options = nil
		if fmt.Sprint(g) != fmt.Sprint(f) || !bytes.Equal(options, padded) || len(options)%4 != 0 || !bytes.Equal(p.Transport(), payload) {
			t.Fatalf("read %+v, options %x, want %+v, %x", g, options, f, padded)
		}
	}
	for range 2000 {
		f := IPv6{Src: randomAddr(r, true), Dst: randomAddr(r, true), HopLimit: uint8(r.Uint32()), TrafficClass: uint8(r.Uint32()),
			Next: uint8(61 + r.IntN(60)), Label: r.Uint32N(1 << 20)}
		payload := randomBytes(r, r.IntN(100))
		p, err := ParseIP(append(AppendIPv6(nil, f, len(payload)), payload...))
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		g := IPv6{Src: p.Src(), Dst: p.Dst(), HopLimit: p.TTL(), TrafficClass: p.TOS(), Next: p.Proto(), Label: p.Label()}
		if fmt.Sprint(g) != fmt.Sprint(f) || !bytes.Equal(p.Transport(), payload) {
			t.Fatalf("read %+v, want %+v", g, f)
		}
	}
}

// TestAppendIPOverflow: fields wider than the header's do not spill into the
// next one.
func TestAppendIPOverflow(t *testing.T) {
	p, err := ParseIP(AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, Offset: 0xe001}, 0))
	if err != nil || p.Offset() != 1 || p.DF() || p.MF() {
		t.Errorf("offset %d, DF %v, MF %v, error %v, want 1, false, false", p.Offset(), p.DF(), p.MF(), err)
	}
	p, err = ParseIP(AppendIPv6(nil, IPv6{Src: src6, Dst: dst6, Label: 0xfff00001, Next: ProtoNone}, 0))
	if err != nil || p.Label() != 1 || p.TOS() != 0 {
		t.Errorf("label %d, traffic class %d, error %v, want 1, 0", p.Label(), p.TOS(), err)
	}
}

// TestAppendPanics: what no packet can say is a mistake of the caller, and is
// not sent as something else.
func TestAppendPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"IPv4 options":        func() { AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, Options: make([]byte, 41)}, 0) },
		"IPv4 payload":        func() { AppendIPv4(nil, IPv4{Src: src4, Dst: dst4}, 65516) },
		"IPv4 negative":       func() { AppendIPv4(nil, IPv4{Src: src4, Dst: dst4}, -1) },
		"IPv4 address":        func() { AppendIPv4(nil, IPv4{Src: src6, Dst: dst4}, 0) },
		"IPv6 payload":        func() { AppendIPv6(nil, IPv6{Src: src6, Dst: dst6}, 65536) },
		"UDP without room":    func() { AppendUDP(nil, port(src4, 1), port(dst4, 2), []byte{0}, 1) },
		"UDP sum 0xFFFF":      func() { AppendUDP(nil, port(src4, 1), port(dst4, 2), []byte{0, 0}, 0xffff) },
		"UDP payload":         func() { AppendUDP(nil, port(src4, 1), port(dst4, 2), make([]byte, 65528), 0) },
		"echo without room":   func() { AppendEcho(nil, src4, dst4, Echo4, 1, 1, nil, 1) },
		"TCP options":         func() { AppendTCP(nil, port(src4, 1), port(dst4, 2), TCPFields{Options: make([]byte, 44)}, nil) },
		"TCP options, uneven": func() { AppendTCP(nil, port(src4, 1), port(dst4, 2), TCPFields{Options: make([]byte, 3)}, nil) },
		"object":              func() { AppendObject(nil, 1, 1, make([]byte, 65532)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestError(t *testing.T) {
	_, err := ParseQuote(families[0].probe(0)[:27])
	if got, want := fmt.Sprint(err), "wire: quoted transport at byte 27: message too short"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	if !errors.Is(err, ErrShort) {
		t.Errorf("%v does not wrap ErrShort", err)
	}
}
