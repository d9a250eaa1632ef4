package cli

import (
	"math"
	"net/netip"
	"testing"
	"time"
)

func TestSeconds(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration // 0: refused
	}{
		{"1", time.Second},
		{"0.2", 200 * time.Millisecond},
		{".2", 200 * time.Millisecond},
		{"2.", 2 * time.Second},
		{"200ms", 200 * time.Millisecond},
		{"2s", 2 * time.Second},
		{"1m30s", 90 * time.Second},
		{"0.000000001", 1},
		{"3600", time.Hour},
		{"3600.000000001", 0},
		{"", 0},
		{".", 0},
		{"0", 0},
		{"-1", 0},
		{"-0.5s", 0},
		{"NaN", 0},
		{"nan", 0},
		{"Inf", 0},
		{"+Inf", 0},
		{"1e3", 0},
		{"1e-3", 0},
		{"0x1p3", 0},
		{"1_0", 0},
		{"1,5", 0},
		{"1 ", 0},
		{"9223372036854775808", 0},
		{"99999999999999999999999999", 0},
		{"9223372037", 0}, // seconds that overflow nanoseconds
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var got time.Duration
			err := seconds(&got, 1, time.Hour)(tt.in)
			if (err == nil) != (tt.want != 0) || got != tt.want {
				t.Errorf("got %v, error %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestCount(t *testing.T) {
	tests := []struct {
		in   string
		want uint8 // 0: refused
	}{
		{"1", 1}, {"255", 255}, {"010", 10},
		{"0", 0}, {"256", 0}, {"257", 0}, {"-1", 0}, {"+1", 0}, {"0x10", 0}, {"1.0", 0}, {"1e1", 0}, {"", 0}, {" 1", 0}, {"1_0", 0}, {"18446744073709551617", 0},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var got uint8
			err := count(&got, 1, 255)(tt.in)
			if (err == nil) != (tt.want != 0) || got != tt.want {
				t.Errorf("got %v, error %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestBits(t *testing.T) {
	tests := []struct {
		in   string
		want uint8 // 7: refused
	}{
		{"0", 0}, {"16", 16}, {"0x10", 16}, {"0XFF", 255}, {"010", 8}, {"0b11", 3},
		{"256", 7}, {"0x100", 7}, {"-1", 7}, {"1_0", 7}, {"", 7}, {"0x", 7}, {"08", 7},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got := uint8(7)
			err := bits(&got, uint8(255))(tt.in)
			if (err == nil) != (tt.want != 7) || got != tt.want {
				t.Errorf("got %v, error %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestFactor(t *testing.T) {
	tests := []struct {
		in   string
		want float64 // -1: refused
	}{
		{"3", 3}, {"0", 0}, {"-0", 0}, {".5", .5}, {"1000", 1000},
		{"1000.1", -1}, {"-1", -1}, {"NaN", -1}, {"Inf", -1}, {"0x1p3", -1}, {"", -1}, {"1_0", -1},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := factor(tt.in)
			switch {
			case (err == nil) != (tt.want >= 0):
				t.Errorf("error %v, want %v", err, tt.want)
			case err == nil && (got != tt.want || math.Signbit(got)):
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPattern(t *testing.T) {
	tests := []struct {
		in   string
		want string // "": refused
	}{
		{"ff", "\xff"},
		{"FF00", "\xff\x00"},
		{"0", "\x00"},
		{"abc", "\xab\x0c"}, // as iputils ping
		{"000102030405060708090a0b0c0d0e0f", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"},
		{"000102030405060708090a0b0c0d0e0f1", ""},
		{"", ""}, {"zz", ""}, {"0x", ""}, {"0xff", ""}, {"+1", ""}, {"ff+1", ""}, {"-1", ""}, {"f_", ""}, {"ff ", ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var got string
			err := pattern(&got)(tt.in)
			if (err == nil) != (tt.want != "") || got != tt.want {
				t.Errorf("got %x, error %v, want %x", got, err, tt.want)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	tests := []struct{ in, want string }{ // "": refused
		{"192.0.2.1", "192.0.2.1"}, {"2001:db8::1", "2001:db8::1"}, {"::ffff:192.0.2.1", "192.0.2.1"}, {"fe80::1%lo", "fe80::1%lo"},
		{"eth0", ""}, {"", ""}, {"192.0.2", ""}, {"192.0.2.1/24", ""}, {"localhost", ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var got netip.Addr
			err := address(&got)(tt.in)
			if (err == nil) != (tt.want != "") || tt.want != "" && got != netip.MustParseAddr(tt.want) {
				t.Errorf("got %v, error %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct{ in, want string }{
		{"example.org", "example.org"},
		{"bücher.example", "bücher.example"},
		{"", `""`},
		{"a\nb", `"a\nb"`},
		{"\x1b[31m", `"\x1b[31m"`},
		{"\u202eh", `"\u202eh"`}, // would turn the line around
		{"\xff", `"\xff"`},
	}
	for _, tt := range tests {
		if got := printable(tt.in); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}
