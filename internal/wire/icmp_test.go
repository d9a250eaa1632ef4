package wire

import (
	"bytes"
	"math"
	"testing"
)

// TestEchoAny: for any fields, what is written is what is read, and a chosen
// checksum is the one that is there, and true.
func TestEchoAny(t *testing.T) {
	r := rng(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			for range 5000 {
				f := family{v6: f.v6, src: randomAddr(r, f.v6), dst: randomAddr(r, f.v6)}
				typ, id, seq, sum := uint8(r.Uint32()), uint16(r.Uint32()), uint16(r.Uint32()), uint16(r.Uint32())
				payload := randomBytes(r, 2+r.IntN(80))
				given := bytes.Clone(payload)
				b := AppendEcho([]byte("odd"), f.src, f.dst, typ, id, seq, payload, sum)[3:]
				if !bytes.Equal(payload, given) {
					t.Fatal("the caller's payload is changed")
				}
				m, err := f.parseICMP(b)
				if err != nil {
					t.Fatal(err)
				}
				if m.V6() != f.v6 || m.Type() != typ || m.Code() != 0 || m.ID() != id || m.Seq() != seq {
					t.Fatalf("read %d %d %d %d, want %d 0 %d %d", m.Type(), m.Code(), m.ID(), m.Seq(), typ, id, seq)
				}
				if sum != 0 && u16(b, 2) != sum {
					t.Fatalf("checksum %#04x, want %#04x", u16(b, 2), sum)
				}
				from := 0
				if sum != 0 {
					from = 2
				}
				if !bytes.Equal(m.Payload()[from:], payload[from:]) {
					t.Fatalf("payload %x, want %x", m.Payload(), payload)
				}
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
				_, err = f.parseICMP(b)
				wantError(t, err, ErrChecksum, b)
			}
		})
	}
}

// TestEchoZeroSum: the rule that 0 goes out as 0xFFFF is UDP's alone.
func TestEchoZeroSum(t *testing.T) {
	b := AppendEcho(nil, src4, dst4, Echo4, 1, 2, []byte{0, 0}, 0)
	b = AppendEcho(nil, src4, dst4, Echo4, 1, 2, b[2:4], 0)
	if b[2] != 0 || b[3] != 0 {
		t.Errorf("checksum %x, want 0", b[2:4])
	}
	if _, err := ParseICMPv4(b); err != nil {
		t.Error(err)
	}
}

func TestParseICMPShort(t *testing.T) {
	for n := range headerICMP {
		_, err := ParseICMPv4(make([]byte, n))
		wantError(t, err, ErrShort, make([]byte, n))
		_, err = ParseICMPv6(make([]byte, n), src6, dst6)
		wantError(t, err, ErrShort, make([]byte, n))
	}
}

// TestICMPv6Addresses: the checksum ties the message to its addresses.
func TestICMPv6Addresses(t *testing.T) {
	b := AppendEcho(nil, src6, dst6, Echo6, 1, 1, nil, 0)
	if _, err := ParseICMPv6(b, dst6, src6); err != nil {
		t.Errorf("swapped addresses add up the same, but: %v", err)
	}
	_, err := ParseICMPv6(b, src6, src6)
	wantError(t, err, ErrChecksum, b)
	_, err = ParseICMPv6(b, src4, dst4)
	wantError(t, err, ErrChecksum, b)
}

func TestIsError(t *testing.T) {
	errors4 := map[int]bool{3: true, 4: true, 5: true, 11: true, 12: true}
	for typ := range 256 {
		for _, f := range families {
			m, err := f.parseICMP(AppendError(nil, f.src, f.dst, uint8(typ), 0, 0, f.probe(0), nil))
			if err != nil {
				t.Fatal(err)
			}
			want := errors4[typ]
			if f.v6 {
				want = typ < 128
				if typ == Redirect6 {
					continue // it quotes elsewhere: TestRedirect6
				}
			}
			if m.IsError() != want {
				t.Errorf("%s type %d: error %v, want %v", f.name, typ, m.IsError(), want)
			}
			_, err = m.Quote()
			if !want {
				wantError(t, err, ErrType, nil)
			} else if err != nil {
				t.Errorf("%s type %d: %v", f.name, typ, err)
			}
		}
	}
}

func TestMTUAndPointer(t *testing.T) {
	tests := []struct {
		name      string
		f         family
		typ, code uint8
		word      uint32
		mtu       int
		pointer   uint32
	}{
		{"next-hop MTU", families[0], Unreachable4, 4, 1400, 1400, 0},
		{"next-hop MTU beside a length attribute", families[0], Unreachable4, 4, 0xff20ffff, 65535, 0},
		{"old router", families[0], Unreachable4, 4, 0, 0, 0},
		{"port unreachable", families[0], Unreachable4, 3, 1400, 0, 0},
		{"time exceeded", families[0], TimeExceeded4, 4, 1400, 0, 0},
		{"parameter problem", families[0], ParameterProblem4, 0, 20<<24 | 0x201234, 0, 20},
		{"ICMPv6 unreachable", families[1], Unreachable6, 4, 1400, 0, 0},
		{"packet too big", families[1], PacketTooBig6, 0, 1280, 1280, 0},
		{"packet too big, wider than an int", families[1], PacketTooBig6, 0, math.MaxUint32, math.MaxInt32, 0},
		{"parameter problem 6", families[1], ParameterProblem6, 1, 0x01020304, 0, 0x01020304},
		{"time exceeded 6", families[1], TimeExceeded6, 0, 7, 0, 0},
		{"type 2 of ICMP", families[0], PacketTooBig6, 0, 1280, 0, 0},
		{"type 12 of ICMPv6", families[1], ParameterProblem4, 0, 1280, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := tt.f.parseICMP(AppendError(nil, tt.f.src, tt.f.dst, tt.typ, tt.code, tt.word, tt.f.probe(0), nil))
			if err != nil {
				t.Fatal(err)
			}
			if m.MTU() != tt.mtu || m.Pointer() != tt.pointer {
				t.Errorf("MTU %d, pointer %d, want %d, %d", m.MTU(), m.Pointer(), tt.mtu, tt.pointer)
			}
		})
	}
}

// TestQuoteLengths: a quote of any length from 8 bytes of transport on gives
// the ports, and all of what was quoted.
func TestQuoteLengths(t *testing.T) {
	for _, f := range families {
		probe := f.probe(1400)
		least := len(f.probe(0))
		for n := range len(probe) + 1 {
			b := AppendError(nil, f.dst, f.src, f.timeExceeded(), 0, 0, probe[:n], nil)
			m, err := f.parseICMP(b)
			if err != nil {
				t.Fatal(err)
			}
			q, err := m.Quote()
			if n < least {
				wantError(t, err, ErrShort, b)
				continue
			}
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", f.name, n, err)
			}
			u, err := ParseUDP(q.Transport())
			if err != nil {
				t.Fatal(err)
			}
			if u.Src() != 40000 || u.Dst() != 33434 || q.Dst() != f.dst || q.TTL() != 1 || q.TOS() != 0xb8 {
				t.Fatalf("%s, %d bytes: read %v %d %d", f.name, n, q.Dst(), u.Src(), u.Dst())
			}
			if len(q.Bytes()) != n || q.Length() != len(probe) || q.Complete() != (n == len(probe)) {
				t.Fatalf("%s: %d of %d bytes, complete %v, want %d of %d", f.name, len(q.Bytes()), q.Length(), q.Complete(), n, len(probe))
			}
			if len(u.Payload()) != n-least {
				t.Fatalf("%s: %d bytes of payload, want %d", f.name, len(u.Payload()), n-least)
			}
		}
	}
}

// TestQuotePadding: zeros beyond the quoted packet's own length are cut off,
// and nothing else is.
func TestQuotePadding(t *testing.T) {
	length := func(b []byte, n uint16) []byte {
		b = bytes.Clone(b)
		b[2], b[3] = byte(n>>8), byte(n)
		return b
	}
	v4, v6 := families[0], families[1]
	packet, packet6 := v4.probe(4), v6.probe(4) // 32 and 52 bytes
	zero := func(n int) []byte { return make([]byte, n) }
	tests := []struct {
		name  string
		f     family
		quote []byte
		want  int // bytes left
	}{
		{"no padding", v4, packet, 32},
		{"padded to 128", v4, cat(packet, zero(96)), 32},
		{"one byte of padding", v4, cat(packet, zero(1)), 32},
		{"something else behind", v4, cat(packet, zero(95), []byte{1}), 128},
		{"length without the header", v4, length(packet, 12), 32},
		{"length without the header, long enough to cut", v4, length(v4.probe(40), 48), 68},
		{"length byte-swapped", v4, length(packet, 32<<8), 32},
		{"length of less than a quote, zeros behind", v4, length(cat(packet[:24], zero(8)), 24), 32},
		{"length of less than a header, zeros behind", v4, length(cat(packet[:16], zero(16)), 16), 32},
		{"length 0 and padding", v4, cat(length(packet, 0), zero(96)), 128},
		{"IPv6, no padding", v6, packet6, 52},
		{"IPv6, padded", v6, cat(packet6, zero(76)), 52},
		{"IPv6, length 0 and padding", v6, cat(packet6[:4], zero(2), packet6[6:], zero(76)), 128},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := tt.f.parseICMP(AppendError(nil, tt.f.dst, tt.f.src, tt.f.timeExceeded(), 0, 0, tt.quote, nil))
			if err != nil {
				t.Fatal(err)
			}
			q, err := m.Quote()
			if err != nil {
				t.Fatal(err)
			}
			if len(q.Bytes()) != tt.want || !bytes.Equal(q.Bytes(), tt.quote[:tt.want]) {
				t.Errorf("%d bytes of quote, want %d", len(q.Bytes()), tt.want)
			}
		})
	}
}
