package rawsock

import (
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"testing"
)

// A packet of 60 bytes with DF set: total length 003c, fragment field 4000.
const (
	orderNetwork = "4500003cbeef4000011100000a000001c0000209"
	orderHost    = "45003c00beef0040011100000a000001c0000209" // both fields turned
	orderLess    = "45002800beef0040011100000a000001c0000209" // turned, and 60 less the header's 20
	orderLength  = "45003c00beef4000011100000a000001c0000209" // only the length turned
)

func TestHeaderOrder(t *testing.T) {
	tests := []struct {
		goos                 string
		sent, received, told string // what the kernel wants, gives, and gives in a quote
	}{
		{"linux", orderNetwork, orderNetwork, orderNetwork},
		{"windows", orderNetwork, orderNetwork, orderNetwork},
		{"solaris", orderNetwork, orderNetwork, orderNetwork},
		{"freebsd", orderNetwork, orderNetwork, orderNetwork},
		{"openbsd", orderNetwork, orderNetwork, orderNetwork},
		{"netbsd", orderHost, orderLess, orderLength},
		{"dragonfly", orderHost, orderLess, orderLength},
		{"darwin", orderHost, orderLess, orderLength},
		{"ios", orderHost, orderLess, orderLength},
		{"a system nobody described", orderNetwork, orderNetwork, orderNetwork},
	}
	rows := map[string]bool{}
	for _, tt := range tests {
		rows[tt.goos] = true
		t.Run(tt.goos, func(t *testing.T) {
			o := orderOf(tt.goos)
			le := binary.ByteOrder(binary.LittleEndian)

			b := unhex(t, orderNetwork)
			o.send(b, le)
			wantHex(t, "sent", b, tt.sent)

			b = unhex(t, tt.received)
			o.receive(b, le)
			wantHex(t, "received", b, orderNetwork)

			b = unhex(t, "0b00f4ff00000000"+tt.told)
			o.quote(b, le)
			wantHex(t, "quoted", b, "0b00f4ff00000000"+orderNetwork)

			// On a big-endian machine host order is network order, but the
			// header length is taken off all the same.
			b = unhex(t, orderNetwork)
			o.send(b, binary.BigEndian)
			wantHex(t, "sent, big endian", b, orderNetwork)
			b = unhex(t, orderNetwork)
			if o.recvLess {
				b[3] -= 20
			}
			o.receive(b, binary.BigEndian)
			wantHex(t, "received, big endian", b, orderNetwork)
		})
	}
	for goos := range headerOrders {
		if !rows[goos] {
			t.Errorf("no test for %s", goos)
		}
	}
}

// TestHeaderOrderHere holds the active row to the system the test runs on:
// on Linux nothing may be touched.
func TestHeaderOrderHere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what this system does must be seen on its own sockets")
	}
	if o := orderOf(runtime.GOOS); o != (headerOrder{}) {
		t.Errorf("row %+v is active on Linux, want none", o)
	}
}

func TestHeaderOrderQuotes(t *testing.T) {
	tests := []struct {
		name   string
		in     string
		turned bool
	}{
		{"port unreachable", "03030000" + "00000000" + orderLength, true},
		{"fragmentation needed", "03040000" + "00000578" + orderLength, true},
		{"precedence cutoff, the last code the kernels know", "030f0000" + "00000000" + orderLength, true},
		{"an unreachable code they do not know", "03100000" + "00000000" + orderLength, false},
		{"reassembly", "0b010000" + "00000000" + orderLength, true},
		{"time exceeded, unknown code", "0b020000" + "00000000" + orderLength, false},
		{"parameter problem", "0c010000" + "14000000" + orderLength, true},
		{"source quench", "04000000" + "00000000" + orderLength, true},
		{"echo reply that happens to look like it", "00000000" + "00000000" + orderLength, false},
		{"quote cut in the header", ("03030000" + "00000000" + orderLength)[:54], false},
		{"no quote", "03030000", false},
		{"quote of IPv6", "03030000" + "00000000" + "6" + orderLength[1:], false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.in
			if tt.turned {
				want = tt.in[:16] + orderNetwork
			}
			b := unhex(t, tt.in)
			orderOf("darwin").quote(b, binary.LittleEndian)
			wantHex(t, "quoted", b, want)
		})
	}
}

// TestHeaderOrderShort gives every function every prefix of a packet.
func TestHeaderOrderShort(t *testing.T) {
	whole := unhex(t, orderNetwork)
	for n := range len(whole) {
		b := append([]byte(nil), whole[:n]...)
		o := orderOf("darwin")
		o.send(b, binary.LittleEndian)
		o.receive(b, binary.LittleEndian)
		wantHex(t, "cut", b, hex.EncodeToString(whole[:n]))
		o.quote(append(unhex(t, "0300000000000000"), b...), binary.LittleEndian)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if g := hex.EncodeToString(got); g != want {
		t.Errorf("%s:\n got %s\nwant %s", what, g, want)
	}
}
