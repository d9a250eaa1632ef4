package wire

import (
	"bytes"
	"net/netip"
	"testing"
)

// TestTCPAny: for any fields, what is written is what is read, and the
// checksum is right.
func TestTCPAny(t *testing.T) {
	r := rng(t)
	for _, f := range families {
		for range 2000 {
			src, dst := port(randomAddr(r, f.v6), uint16(r.Uint32())), port(randomAddr(r, f.v6), uint16(r.Uint32()))
			in := TCPFields{Seq: r.Uint32(), Ack: r.Uint32(), Flags: uint8(r.Uint32()), Window: uint16(r.Uint32()), Options: randomBytes(r, 4*r.IntN(11))}
			payload := randomBytes(r, r.IntN(60))
			b := AppendTCP([]byte("odd"), src, dst, in, payload)[3:]
			s, err := ParseTCP(b)
			if err != nil {
				t.Fatal(err)
			}
			if s.Src() != src.Port() || s.Dst() != dst.Port() || s.Seq() != in.Seq || s.Ack() != in.Ack || s.Flags() != in.Flags || s.Window() != in.Window {
				t.Fatalf("read %d %d %d %d %#x %d, want %v %v %+v", s.Src(), s.Dst(), s.Seq(), s.Ack(), s.Flags(), s.Window(), src, dst, in)
			}
			if !bytes.Equal(s.Options(), in.Options) || !bytes.Equal(s.Payload(), payload) {
				t.Fatalf("options %x, payload %x, want %x, %x", s.Options(), s.Payload(), in.Options, payload)
			}
			if !s.Full() || !s.Valid(src.Addr(), dst.Addr()) {
				t.Fatal("not full or not valid")
			}
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			if s.Valid(src.Addr(), dst.Addr()) {
				t.Fatal("valid with a bit changed")
			}
		}
	}
}

// TestTCPZeroSum: the rule that 0 goes out as 0xFFFF is UDP's alone.
func TestTCPZeroSum(t *testing.T) {
	src, dst := port(src4, 1), port(dst4, 2)
	b := AppendTCP(nil, src, dst, TCPFields{Flags: ACK}, []byte{0, 0})
	b = AppendTCP(nil, src, dst, TCPFields{Flags: ACK}, b[16:18])
	if b[16] != 0 || b[17] != 0 {
		t.Errorf("checksum %x, want 0", b[16:18])
	}
}

// TestSYNOptions spells out the bytes; TestCapturedSYN compares with Linux.
func TestSYNOptions(t *testing.T) {
	got := AppendSYNOptions(nil, 1460, 0x8d2d9d58)
	want := []byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0x8d, 0x2d, 0x9d, 0x58, 0, 0, 0, 0, 1, 3, 3, 7}
	if !bytes.Equal(got, want) {
		t.Errorf("options %x, want %x", got, want)
	}
}

func TestParseTCP(t *testing.T) {
	syn := AppendTCP(nil, port(src4, 40000), port(dst4, 80), TCPFields{Seq: 0x01020304, Ack: 7, Flags: SYN, Window: 64240, Options: AppendSYNOptions(nil, 1460, 1)}, []byte("data"))
	offset := func(n byte) []byte {
		b := bytes.Clone(syn)
		b[12] = n << 4
		return b
	}
	tests := []struct {
		name             string
		in               []byte
		err              error
		full             bool
		options, payload int // bytes
		whole            error
	}{
		{name: "whole", in: syn, full: true, options: 20, payload: 4},
		{name: "without payload", in: syn[:40], full: true, options: 20},
		{name: "options cut", in: syn[:39], full: true, options: 19, whole: ErrShort},
		{name: "fixed header", in: syn[:20], full: true, whole: ErrShort},
		{name: "fixed header cut", in: syn[:19], whole: ErrShort},
		{name: "as RFC 792 quotes", in: syn[:8], whole: ErrShort},
		{name: "seven bytes", in: syn[:7], err: ErrShort, whole: ErrShort},
		{name: "empty", err: ErrShort, whole: ErrShort},
		{name: "data offset 0", in: offset(0), full: true, whole: ErrLength},
		{name: "data offset 4", in: offset(4), full: true, whole: ErrLength},
		{name: "data offset 5", in: offset(5), full: true, payload: 24},
		{name: "data offset 15", in: offset(15), full: true, options: 24, whole: ErrShort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTCP(tt.in)
			if tt.whole != nil {
				wantError(t, err, tt.whole, tt.in)
			} else if err != nil {
				t.Fatal(err)
			}
			s, err := ParseTCPQuote(tt.in)
			if tt.err != nil {
				wantError(t, err, tt.err, tt.in)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Src() != 40000 || s.Dst() != 80 || s.Seq() != 0x01020304 {
				t.Errorf("ports %d to %d, seq %#x, want 40000 to 80, 0x1020304", s.Src(), s.Dst(), s.Seq())
			}
			if s.Full() != tt.full || len(s.Options()) != tt.options || len(s.Payload()) != tt.payload {
				t.Errorf("full %v, %d bytes of options, %d of payload, want %v, %d, %d",
					s.Full(), len(s.Options()), len(s.Payload()), tt.full, tt.options, tt.payload)
			}
			var ack uint32
			var flags uint8
			var window uint16
			if tt.full {
				ack, flags, window = 7, SYN, 64240
			}
			if s.Ack() != ack || s.Flags() != flags || s.Window() != window {
				t.Errorf("ack %d, flags %#x, window %d, want %d, %#x, %d", s.Ack(), s.Flags(), s.Window(), ack, flags, window)
			}
		})
	}
}

func TestTCPValid(t *testing.T) {
	b := AppendTCP(nil, port(src4, 40000), port(dst4, 80), TCPFields{Flags: ACK}, []byte("abc"))
	whole, err := ParseTCP(b)
	if err != nil {
		t.Fatal(err)
	}
	short, err := ParseTCPQuote(b[:8])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		s        TCP
		src, dst netip.Addr
		want     bool
	}{
		{"as built", whole, src4, dst4, true},
		{"other address", whole, src4, src4, false},
		{"no addresses", whole, netip.Addr{}, netip.Addr{}, false},
		{"one address of each family", whole, src4, dst6, false},
		{"cut", short, src4, dst4, false},
	} {
		if got := tt.s.Valid(tt.src, tt.dst); got != tt.want {
			t.Errorf("%s: valid %v, want %v", tt.name, got, tt.want)
		}
	}
}
