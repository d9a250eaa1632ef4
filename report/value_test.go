package report

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

// TestMillisIsExact holds every duration to its own decimal number: nothing rounded, nothing but
// digits.
func TestMillisIsExact(t *testing.T) {
	exact := func(n int64) bool {
		b, err := json.Marshal(millis(n))
		if err != nil {
			return false
		}
		got, ok := new(big.Rat).SetString(string(b))
		_, fraction, dot := strings.Cut(string(b), ".")
		return ok && got.Cmp(big.NewRat(n, 1_000_000)) == 0 && len(fraction) <= 6 && !strings.ContainsAny(string(b), "eE") &&
			(!dot || !strings.HasSuffix(string(b), "0"))
	}
	for _, n := range []int64{0, 1, 10, 999_999, 1_000_000, 1_000_001, 412_871, 83_100_000, math.MaxInt64, math.MinInt64, -1} {
		if !exact(n) {
			t.Errorf("%d ns is written as %s", n, appendMillionths(nil, n))
		}
	}
	if err := quick.Check(exact, nil); err != nil {
		t.Error(err)
	}
}

func TestInstant(t *testing.T) {
	tests := []struct {
		in   time.Time
		want string
	}{
		{epoch, `"2026-03-01T12:00:00.000000500Z"`},
		{time.Unix(0, 0), `"1970-01-01T00:00:00.000000000Z"`},
		{time.Unix(1e9, 999_999_999), `"2001-09-09T01:46:40.999999999Z"`},
		{time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC), `"9999-12-31T23:59:59.000000001Z"`},
		{time.Date(12026, 1, 2, 3, 4, 5, 6, time.UTC), `"12026-01-02T03:04:05.000000006Z"`},
	}
	for _, tt := range tests {
		if b, err := json.Marshal(instant{tt.in}); err != nil || string(b) != tt.want {
			t.Errorf("%v is written as %s (%v), want %s", tt.in, b, err, tt.want)
		}
	}
}

// TestEscapeKeepsTheValue: what escape changes, a JSON reader changes back.
func TestEscapeKeepsTheValue(t *testing.T) {
	same := func(s string) bool {
		s = strings.ToValidUTF8(s, "?")
		b, err := json.Marshal(map[string]string{"k": s})
		if err != nil {
			return false
		}
		var got map[string]string
		return json.Unmarshal(escape(b), &got) == nil && got["k"] == s
	}
	for _, s := range []string{"", "plain", "münchen.example", "\u009b", "a\u202eb", "\U000e0001x", "\x7f\u2028"} {
		if !same(s) {
			t.Errorf("%q comes back as something else", s)
		}
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
	if got, want := string(escape([]byte(`"ü\u009b"`))), `"ü\u009b"`; got != want {
		t.Errorf("%s, want %s: what is harmless stays", got, want)
	}
}

// TestAddress: as inet_aton(3) and netip have it.
func TestAddress(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1", "fe80::1%lo": "fe80::1%lo",
		"127.1": "127.0.0.1", "0x7f000001": "127.0.0.1", "2130706433": "127.0.0.1", "0": "0.0.0.0", "10.1.258": "10.1.1.2",
		"0177.0.0.01": "127.0.0.1", "0xC0.0.513": "192.0.2.1", "4294967295": "255.255.255.255", "1.16777215": "1.255.255.255",
		"0x7f00000b": "127.0.0.11", "0xc0a8000b": "192.168.0.11",
	} {
		if a, ok := Address(s); !ok || a.String() != want {
			t.Errorf("%q: %v, %t, want %s", s, a, ok, want)
		}
	}
	for _, s := range []string{"", ".", "1.", ".1", "256.1", "1.16777216", "4294967296", "1.2.3.256", "1.2.3.4.5", "08.1", "0b1", "0o7", "1_0",
		"-1", "+1", "1e3", "a", "example.org", "1 ", "127.1/8", "2001:db8::g"} {
		if a, ok := Address(s); ok {
			t.Errorf("%q: %v, want none", s, a)
		}
	}
}
