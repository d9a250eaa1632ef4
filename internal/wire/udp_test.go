package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

func port(a netip.Addr, p uint16) netip.AddrPort { return netip.AddrPortFrom(a, p) }

// TestUDPAny: for any fields, what is written is what is read, a chosen
// checksum is the one that is there, and it is true.
func TestUDPAny(t *testing.T) {
	r := rng(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			for range 5000 {
				src, dst := port(randomAddr(r, f.v6), uint16(r.Uint32())), port(randomAddr(r, f.v6), uint16(r.Uint32()))
				payload := randomBytes(r, 2+r.IntN(80))
				sum := uint16(r.IntN(0xffff))
				given := bytes.Clone(payload)
				b := AppendUDP([]byte("odd"), src, dst, payload, sum)
				if !bytes.Equal(payload, given) {
					t.Fatal("the caller's payload is changed")
				}
				u, err := ParseUDP(b[3:])
				if err != nil {
					t.Fatal(err)
				}
				if u.Src() != src.Port() || u.Dst() != dst.Port() || u.Length() != 8+len(payload) {
					t.Fatalf("ports %d to %d, length %d, want %v to %v, %d", u.Src(), u.Dst(), u.Length(), src, dst, 8+len(payload))
				}
				if sum != 0 && u.Checksum() != sum {
					t.Fatalf("checksum %#04x, want %#04x", u.Checksum(), sum)
				}
				if u.Checksum() == 0 || !u.Valid(src.Addr(), dst.Addr()) {
					t.Fatalf("checksum %#04x of %x is not valid", u.Checksum(), b[3:])
				}
				from := 0
				if sum != 0 {
					from = 2 // the word that was changed
				}
				if !bytes.Equal(u.Payload()[from:], payload[from:]) {
					t.Fatalf("payload %x, want %x", u.Payload(), payload)
				}
				b[3+r.IntN(len(b)-3)] ^= 1 << r.IntN(8)
				if u.Checksum() != 0 && u.Valid(src.Addr(), dst.Addr()) {
					t.Fatal("valid with a bit changed")
				}
			}
		})
	}
}

// TestUDPZeroSum finds the payload whose checksum comes to 0: it must go out
// as 0xFFFF (RFC 768), as 0 would say that there is none.
func TestUDPZeroSum(t *testing.T) {
	for _, f := range families {
		src, dst := port(f.src, 40000), port(f.dst, 33434)
		b := AppendUDP(nil, src, dst, []byte{0, 0}, 0)
		payload := binary.BigEndian.AppendUint16(nil, binary.BigEndian.Uint16(b[6:])) // now all the rest adds up to 0xFFFF
		u, err := ParseUDP(AppendUDP(nil, src, dst, payload, 0))
		if err != nil {
			t.Fatal(err)
		}
		if u.Checksum() != 0xffff || !u.Valid(f.src, f.dst) {
			t.Errorf("%s: checksum %#04x, valid %v, want 0xffff, true", f.name, u.Checksum(), u.Valid(f.src, f.dst))
		}
	}
}

func TestUDPValid(t *testing.T) {
	edit := func(f family, fn func(b []byte) []byte) UDP {
		u, err := ParseUDP(fn(AppendUDP(nil, port(f.src, 1), port(f.dst, 2), []byte("abc"), 0)))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	same := func(b []byte) []byte { return b }
	noSum := func(b []byte) []byte { b[6], b[7] = 0, 0; return b }
	length := func(n byte) func(b []byte) []byte {
		return func(b []byte) []byte { b[5] = n; return b }
	}
	v4, v6 := families[0], families[1]
	mapped := netip.AddrFrom16(src4.As16())
	tests := []struct {
		name     string
		u        UDP
		src, dst netip.Addr
		want     bool
		payload  string
	}{
		{"as built", edit(v4, same), src4, dst4, true, "abc"},
		{"other address", edit(v4, same), src4, src4, false, "abc"},
		{"mapped address", edit(v4, same), mapped, dst4, true, "abc"},
		{"no addresses", edit(v4, same), netip.Addr{}, netip.Addr{}, false, "abc"},
		{"one address of each family", edit(v4, same), src4, dst6, false, "abc"},
		{"one address missing", edit(v4, noSum), src4, netip.Addr{}, false, "abc"},
		{"checksum 0 on IPv4", edit(v4, noSum), src4, dst4, true, "abc"},
		{"as built, IPv6", edit(v6, same), src6, dst6, true, "abc"},
		{"checksum 0 on IPv6", edit(v6, noSum), src6, dst6, false, "abc"},
		{"cut", edit(v4, func(b []byte) []byte { return b[:10] }), src4, dst4, false, "ab"},
		{"length 0", edit(v4, length(0)), src4, dst4, false, ""},
		{"length 7", edit(v4, length(7)), src4, dst4, false, ""},
		{"length beyond the end", edit(v4, length(12)), src4, dst4, false, "abc"},
		{"padding behind", edit(v4, func(b []byte) []byte { return append(b, 1, 2, 3) }), src4, dst4, true, "abc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.u.Valid(tt.src, tt.dst); got != tt.want {
				t.Errorf("valid %v, want %v", got, tt.want)
			}
			if got := string(tt.u.Payload()); got != tt.payload {
				t.Errorf("payload %q, want %q", got, tt.payload)
			}
		})
	}
	if _, err := ParseUDP(udp8[:7]); err == nil {
		t.Error("seven bytes parsed")
	} else {
		wantError(t, err, ErrShort, udp8[:7])
	}
}
