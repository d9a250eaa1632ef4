package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
)

// seedPackets adds the captured packets, and some that Linux does not send.
func seedPackets(f *testing.F, add func(b []byte)) {
	for _, c := range readCaptured(f) {
		add(c.b)
	}
	add(chain(ProtoHopByHop, hopByHop(ProtoDestOptions), destOptions(ProtoRouting), routing(ProtoFragment), fragment(ProtoAH, 0, true), ah(ProtoUDP), udp8))
	add(chain(ProtoFragment, fragment(ProtoUDP, 3, false), udp8))
	add(chain(0, bytes.Repeat(hopByHop(0), 8), hopByHop(ProtoUDP), udp8))
	add(nil)
}

// sameIP reports whether two views of the start of one packet read the same.
func sameIP(a, b IP) bool { return fields(a) == fields(b) && bytes.Equal(a.Header(), b.Header()) }

// FuzzParseIP: a whole packet is as long as it says, adds up, and is read the
// same with anything behind it; and one that is written anew from what was
// read of it is the same packet.
func FuzzParseIP(f *testing.F) {
	seedPackets(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b) // it is changed below
		p, err := ParseIP(b)
		if err != nil {
			wantOneOf(t, err, b, ErrShort, ErrVersion, ErrLength, ErrHeaderLength, ErrChecksum, ErrTooDeep)
			return
		}
		touchIP(p)
		if !p.Complete() || len(p.Bytes()) != p.Length() || !bytes.HasPrefix(b, p.Bytes()) {
			t.Fatalf("%d bytes of a packet of %d", len(p.Bytes()), p.Length())
		}
		if !bytes.Equal(cat(p.Header(), p.Transport()), p.Bytes()) {
			t.Fatal("header and transport do not make up the packet")
		}
		more, err := ParseIP(append(bytes.Clone(p.Bytes()), 1, 2, 3))
		if err != nil || !sameIP(more, p) || len(more.Bytes()) != len(p.Bytes()) {
			t.Fatalf("with bytes behind: %s, %v, was %s", fields(more), err, fields(p))
		}
		if _, err := ParseIP(p.Bytes()[:len(p.Bytes())-1]); !errors.Is(err, ErrShort) {
			t.Fatalf("one byte less: error %v, want ErrShort", err)
		}
		var again []byte
		if p.Version() == 4 {
			again = AppendIPv4(nil, IPv4{Src: p.Src(), Dst: p.Dst(), TTL: p.TTL(), TOS: p.TOS(), Proto: p.Proto(), ID: p.ID(), DF: p.DF(), MF: p.MF(),
				Offset: p.Offset(), Options: p.Header()[20:]}, len(p.Transport()))
			p.Header()[6] &^= 0x80 // the reserved flag (RFC 791) is not ours to set
			p.Header()[10], p.Header()[11] = 0, 0
			again[10], again[11] = 0, 0
		} else {
			again = AppendIPv6(nil, IPv6{Src: p.Src(), Dst: p.Dst(), HopLimit: p.TTL(), TrafficClass: p.TOS(), Next: p.Bytes()[6], Label: p.Label()}, p.Length()-40)
			again = append(again, p.Header()[40:]...)
		}
		if !bytes.Equal(again, p.Header()) {
			t.Fatalf("written anew %x, was %x", again, p.Header())
		}
	})
}

// FuzzParseQuote: cutting a quote is an error exactly when it loses the
// headers or the 8 bytes behind them, and a quote cut anywhere else reads the
// same.
func FuzzParseQuote(f *testing.F) {
	seedPackets(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseQuote(b)
		if err != nil {
			wantOneOf(t, err, b, ErrShort, ErrVersion, ErrHeaderLength, ErrTooDeep)
			return
		}
		touchIP(p)
		if !bytes.Equal(p.Bytes(), b) || len(p.Transport()) < 8 {
			t.Fatalf("%d of %d bytes, %d of transport", len(p.Bytes()), len(b), len(p.Transport()))
		}
		need := len(p.Header()) + 8
		if _, err := ParseQuote(b[:need-1]); !errors.Is(err, ErrShort) {
			t.Fatalf("cut to %d bytes: error %v, want ErrShort", need-1, err)
		}
		cut, err := ParseQuote(b[:need])
		if err != nil || !sameIP(cut, p) {
			t.Fatalf("cut to %d bytes: %s, %v, was %s", need, fields(cut), err, fields(p))
		}
		// A whole packet is a quote of itself.
		if whole, err := ParseIP(b); err == nil && !sameIP(whole, p) {
			t.Fatalf("as a packet %s, as a quote %s", fields(whole), fields(p))
		}
	})
}

// FuzzParseUDP: a datagram written anew from what was read of it is valid, and
// the same if the one that was read is valid.
func FuzzParseUDP(f *testing.F) {
	f.Add(udp8, false, uint16(1))
	seedPackets(f, func(b []byte) {
		if p, err := ParseIP(b); err == nil && p.Proto() == ProtoUDP {
			f.Add(p.Transport(), p.Version() == 6, uint16(0xbeef))
		}
	})
	f.Fuzz(func(t *testing.T, b []byte, v6 bool, sum uint16) {
		u, err := ParseUDP(b)
		if (err == nil) != (len(b) >= 8) {
			t.Fatalf("%d bytes: error %v", len(b), err)
		}
		if err != nil {
			wantOneOf(t, err, b, ErrShort)
			return
		}
		src, dst := fuzzAddrs(v6)
		touchUDP(u, src, dst)
		if len(u.Payload()) > max(0, u.Length()-8) || len(u.Payload()) > len(b)-8 {
			t.Fatalf("%d bytes of payload in %d, length %d", len(u.Payload()), len(b), u.Length())
		}
		if len(u.Payload()) > 65527 {
			return
		}
		again := AppendUDP(nil, port(src, u.Src()), port(dst, u.Dst()), u.Payload(), 0)
		v, err := ParseUDP(again)
		if err != nil || !v.Valid(src, dst) || v.Checksum() == 0 {
			t.Fatalf("written anew: valid %v, error %v", v.Valid(src, dst), err)
		}
		if u.Valid(src, dst) && u.Checksum() != 0 && !bytes.Equal(again, b[:u.Length()]) {
			t.Fatalf("written anew %x, was %x", again, b[:u.Length()])
		}
		if len(u.Payload()) < 2 || sum == 0 || sum == 0xffff {
			return
		}
		v, err = ParseUDP(AppendUDP(nil, port(src, u.Src()), port(dst, u.Dst()), u.Payload(), sum))
		if err != nil || v.Checksum() != sum || !v.Valid(src, dst) {
			t.Fatalf("checksum %#04x chosen, %#04x there, valid %v", sum, v.Checksum(), v.Valid(src, dst))
		}
	})
}

// FuzzParseTCP: a whole segment is also a quote that reads the same, and one
// that is written anew is valid and the same but for the bits we do not read.
func FuzzParseTCP(f *testing.F) {
	f.Add(make([]byte, 20), true)
	seedPackets(f, func(b []byte) {
		if p, err := ParseIP(b); err == nil && p.Proto() == ProtoTCP {
			f.Add(p.Transport(), p.Version() == 6)
		}
	})
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		b = bytes.Clone(b) // it is changed below
		src, dst := fuzzAddrs(v6)
		q, err := ParseTCPQuote(b)
		if (err == nil) != (len(b) >= 8) {
			t.Fatalf("quote of %d bytes: error %v", len(b), err)
		}
		if err == nil {
			touchTCP(q, src, dst)
			if !q.Full() && (q.Ack() != 0 || q.Flags() != 0 || q.Window() != 0) {
				t.Fatal("fields that are not there")
			}
		}
		s, err := ParseTCP(b)
		if err != nil {
			wantOneOf(t, err, b, ErrShort, ErrLength)
			return
		}
		touchTCP(s, src, dst)
		if len(s.Options())+len(s.Payload())+20 != len(b) || !bytes.Equal(q.Options(), s.Options()) || !bytes.Equal(q.Payload(), s.Payload()) {
			t.Fatalf("%d bytes of options and %d of payload in %d", len(s.Options()), len(s.Payload()), len(b))
		}
		again := AppendTCP(nil, port(src, s.Src()), port(dst, s.Dst()), TCPFields{s.Seq(), s.Ack(), s.Flags(), s.Window(), s.Options()}, s.Payload())
		v, err := ParseTCP(again)
		if err != nil || !v.Valid(src, dst) {
			t.Fatalf("written anew: valid %v, error %v", v.Valid(src, dst), err)
		}
		for _, i := range []int{12, 16, 17, 18, 19} { // reserved bits, checksum, urgent pointer
			again[i], b[i] = 0, 0
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("written anew %x, was %x", again, b)
		}
	})
}

func FuzzParseICMPv4(f *testing.F) { fuzzICMP(f, families[0]) }
func FuzzParseICMPv6(f *testing.F) { fuzzICMP(f, families[1]) }

// fuzzICMP: a message is refused only if it is short or does not add up. Of
// one that is read, quote, padding, extension header and objects lie within
// it in that order and do not overlap; and what was read makes, when written
// by the rules, a message that reads the same.
func fuzzICMP(f *testing.F, fam family) {
	seedPackets(f, func(b []byte) {
		if p, err := ParseIP(b); err == nil {
			f.Add(bytes.Clone(p.Transport()))
			f.Add(AppendError(nil, fam.src, fam.dst, fam.timeExceeded(), 0, 0, b, labels()))
			f.Add(AppendError(nil, fam.src, fam.dst, fam.timeExceeded(), 0, 0, cat(p.Bytes(), make([]byte, 128))[:128], nil))
		}
	})
	for _, n := range []uint8{0, 16, 31, 32, 33, 255} {
		f.Add(fam.extended(fam.timeExceeded(), n, fam.probe(200)[:128], structure()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := fam.parseICMP(b); err == nil {
			touchICMP(m)
		} else {
			wantOneOf(t, err, b, ErrShort, ErrChecksum)
		}
		if len(b) < headerICMP {
			return
		}
		b = fam.resum(bytes.Clone(b)) // or the fuzzer would seldom get further
		m, err := fam.parseICMP(b)
		if err != nil {
			t.Fatal(err)
		}
		touchICMP(m)
		if !bytes.Equal(m.Payload(), b[8:]) {
			t.Fatal("the payload is not what follows the header")
		}
		objects := touchObjects(m.Objects())
		if !m.IsError() {
			if m.Extensions() != NoExtensions || len(objects) != 0 {
				t.Fatal("extensions without a quote")
			}
			return
		}
		if k := m.Extensions(); k != Extensions && k != CompatExtensions && len(objects) != 0 {
			t.Fatalf("%d objects, kind %d", len(objects), k)
		}
		q, err := m.Quote()
		if err != nil {
			wantOneOf(t, err, b, ErrShort, ErrVersion, ErrHeaderLength, ErrTooDeep)
			return
		}
		if fam.v6 && m.Type() == Redirect6 {
			if !bytes.Contains(b[40:], q.Bytes()) || len(objects) != 0 {
				t.Fatal("the quote is not in an option")
			}
			return
		}
		if !bytes.HasPrefix(b[8:], q.Bytes()) {
			t.Fatal("the quote is not the start of the payload")
		}
		var encoded []byte
		for _, o := range objects {
			encoded = AppendObject(encoded, o.Class, o.Type, o.Data)
		}
		if len(objects) == 0 {
			return
		}
		if len(b)-8 < 128+4+len(encoded) || len(q.Bytes()) > len(b)-8-4-len(encoded) || !bytes.Contains(b[8+128+4:], encoded) {
			t.Fatalf("%d bytes of quote and %d of objects in %d", len(q.Bytes()), len(encoded), len(b))
		}
		again, err := fam.parseICMP(AppendError(nil, fam.src, fam.dst, m.Type(), m.Code(), u32(b, 4), q.Bytes(), encoded))
		if err != nil {
			t.Fatal(err)
		}
		if again.Extensions() != Extensions || again.MTU() != m.MTU() || again.Pointer() != m.Pointer() {
			t.Fatalf("written anew: extensions %d, MTU %d, pointer %d", again.Extensions(), again.MTU(), again.Pointer())
		}
		r, err := again.Quote()
		if err != nil || !sameIP(r, q) || !bytes.HasPrefix(r.Bytes(), q.Bytes()) {
			t.Fatalf("written anew: quote %s, %v, was %s", fields(r), err, fields(q))
		}
		o := again.Objects()
		var twice []byte
		for x, ok := o.Next(); ok; x, ok = o.Next() {
			twice = AppendObject(twice, x.Class, x.Type, x.Data)
		}
		if !bytes.Equal(twice, encoded) {
			t.Fatalf("written anew: objects %x, was %x", twice, encoded)
		}
	})
}

// FuzzObjects: a walk ends, its objects are the bytes it went over, and what
// an object says of labels and interfaces lies within it.
func FuzzObjects(f *testing.F) {
	f.Add(labels())
	f.Add(cat(labels(), AppendObject(nil, 2, 0x0f, cat([]byte{0, 0, 0, 7, 0, 1, 0, 0, 10, 0, 0, 1}, []byte("\x08eth0\x00\x00\x00"), []byte{0, 0, 5, 0xdc}))))
	f.Add(AppendObject(nil, 2, 0xc4, cat([]byte{0, 2, 0, 0}, dst6.AsSlice())))
	f.Add([]byte{0, 0, 1, 1})
	f.Add([]byte{0, 3, 1, 1})
	f.Add([]byte{0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		objects := touchObjects(Objects{b})
		var encoded []byte
		for _, o := range objects {
			encoded = AppendObject(encoded, o.Class, o.Type, o.Data)
			for i := 0; ; i++ {
				l, ok := o.LSE(i)
				if !ok {
					break
				}
				if got := AppendLSE(nil, l.Label(), l.TC(), l.Bottom(), l.TTL()); !bytes.Equal(got, o.Data[4*i:4*i+4]) {
					t.Fatalf("entry %d written anew %x, was %x", i, got, o.Data[4*i:4*i+4])
				}
			}
			checkInterface(t, o)
		}
		if !bytes.HasPrefix(b, encoded) {
			t.Fatalf("objects %x of %x", encoded, b)
		}
		if rest := b[len(encoded):]; len(rest) >= 4 {
			if n := int(binary.BigEndian.Uint16(rest)); n >= 4 && n <= len(rest) {
				t.Fatalf("stopped before an object of %d bytes in %d", n, len(rest))
			}
		}
	})
}

// checkInterface writes what was read of an interface object, and compares.
func checkInterface(t *testing.T, o Object) {
	x, err := o.Interface()
	if o.Class != 2 {
		if !errors.Is(err, ErrType) {
			t.Fatalf("class %d: error %v, want ErrType", o.Class, err)
		}
		return
	}
	var again []byte
	if x.HasIndex {
		again = binary.BigEndian.AppendUint32(again, x.Index)
	}
	if x.Addr.IsValid() {
		again = append(again, 0, uint8(x.Addr.BitLen()/96+1), 0, 0)
		if len(o.Data) >= len(again) {
			copy(again[len(again)-2:], o.Data[len(again)-2:]) // reserved
		}
		again = append(again, x.Addr.AsSlice()...)
	}
	if x.Name != nil {
		n := int(o.Data[len(again)])
		again = append(again, uint8(n))
		again = append(append(again, x.Name...), make([]byte, n-1-len(x.Name))...)
	}
	if x.HasMTU {
		again = binary.BigEndian.AppendUint32(again, x.MTU)
	}
	if !bytes.HasPrefix(o.Data, again) {
		t.Fatalf("%+v written anew %x, was %x", x, again, o.Data)
	}
	if err == nil {
		has := func(bit uint8) bool { return o.Type&bit != 0 }
		if x.HasIndex != has(8) || x.Addr.IsValid() != has(4) || (x.Name != nil) != has(2) || x.HasMTU != has(1) || x.Role != o.Type>>6 || len(x.Name) > 63 {
			t.Fatalf("type %#02x gives %+v", o.Type, x)
		}
		return
	}
	wantOneOf(t, err, make([]byte, 4+len(o.Data)), ErrShort, ErrLength, ErrType)
}

func fuzzAddrs(v6 bool) (src, dst netip.Addr) {
	if v6 {
		return src6, dst6
	}
	return src4, dst4
}

// wantOneOf checks for an *Error that wraps one of those, with an offset
// inside b.
func wantOneOf(t *testing.T, err error, b []byte, want ...error) {
	t.Helper()
	var we *Error
	if !errors.As(err, &we) || we.Off < 0 || we.Off > len(b) {
		t.Fatalf("error %v, want an *Error with an offset within %d bytes", err, len(b))
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Fatalf("error %v, want one of %v", err, want)
}
