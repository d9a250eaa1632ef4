package wire

import "encoding/binary"

// The views read their fields with these. A field that is not there is 0: so
// a zero view, or one of a header that a quote cut short, reads without panic.

func u8(b []byte, i int) uint8 {
	if i >= len(b) {
		return 0
	}
	return b[i]
}

func u16(b []byte, i int) uint16 {
	if i+2 > len(b) {
		return 0
	}
	return binary.BigEndian.Uint16(b[i:])
}

func u32(b []byte, i int) uint32 {
	if i+4 > len(b) {
		return 0
	}
	return binary.BigEndian.Uint32(b[i:])
}

// span is b[from:to] as far as there is such a thing.
func span(b []byte, from, to int) []byte {
	to = min(to, len(b))
	if from >= to {
		return nil
	}
	return b[from:to:to]
}
