package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// plainSum is RFC 1071 by the letter: word by word, carries added as they
// come.
func plainSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(b[i]) << 8
		if i+1 < len(b) {
			s += uint32(b[i+1])
		}
		if s > 0xffff {
			s -= 0xffff
		}
	}
	return uint16(s)
}

// TestAdd compares the wide sum with the plain one over all lengths that take
// another way through add, and over the largest sums there are.
func TestAdd(t *testing.T) {
	r := rng(t)
	for n := range 200 {
		b := randomBytes(r, n)
		if got, want := fold(add(0, b)), plainSum(b); got != want {
			t.Fatalf("%d bytes %x: sum %#04x, want %#04x", n, b, got, want)
		}
	}
	ones := bytes.Repeat([]byte{0xff}, 65575)
	for _, n := range []int{1, 2, 31, 32, 33, 1500, 65535, 65575} {
		if got, want := fold(add(1<<33, ones[:n])), plainSum(cat([]byte{0, 2}, ones[:n])); got != want {
			t.Errorf("%d bytes of ones and 2: sum %#04x, want %#04x", n, got, want)
		}
	}
}

// TestAddExample is the example of RFC 1071 section 3.
func TestAddExample(t *testing.T) {
	if got := fold(add(0, []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7})); got != 0xddf2 {
		t.Errorf("sum %#04x, want 0xddf2", got)
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct {
		in   uint64
		want uint16
	}{
		{0, 0},
		{0xffff, 0xffff},
		{0x10000, 1},
		{0xffffffff, 0xffff},
		{0x1_0000_0000, 1},
		{0xffff_ffff_ffff_ffff, 0xffff},
		{0xffff_ffff_ffff_fffe, 0xfffe},
		{0x1_ffff_ffff, 1},
	} {
		if got := fold(tt.in); got != tt.want {
			t.Errorf("fold(%#x) = %#x, want %#x", tt.in, got, tt.want)
		}
	}
}

// TestSealEveryWant: the tuning word gives every checksum, over any rest.
func TestSealEveryWant(t *testing.T) {
	r := rng(t)
	rests := [][]byte{make([]byte, 10), bytes.Repeat([]byte{0xff}, 11), randomBytes(r, 12), randomBytes(r, 57)}
	for _, rest := range rests {
		for want := 1; want <= 0xffff; want++ {
			b := bytes.Clone(rest)
			b[2], b[3] = 0, 0
			seal(b, 2, 0x12345, uint16(want))
			if got := binary.BigEndian.Uint16(b[2:]); got != uint16(want) {
				t.Fatalf("checksum %#04x, want %#04x", got, want)
			}
			if !sound(0x12345, b) {
				t.Fatalf("want %#04x: %x does not add up", want, b)
			}
			b[tuned], b[tuned+1] = rest[tuned], rest[tuned+1]
			b[2], b[3] = rest[2], rest[3]
			if !bytes.Equal(b, rest) {
				t.Fatalf("want %#04x: changed more than the two words: %x, was %x", want, b, rest)
			}
		}
	}
}
