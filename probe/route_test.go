package probe

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

func TestSourceRoute(t *testing.T) {
	a := func(s string) (as []netip.Addr) {
		for _, w := range strings.Fields(s) {
			as = append(as, netip.MustParseAddr(w))
		}
		return as
	}
	many := func(addr string, n int) []netip.Addr { return a(strings.Repeat(addr+" ", n)) }
	const six = "20010db8000000000000000000000009"
	tests := []struct {
		name     string
		kind     uint8
		gateways []netip.Addr
		dst      string
		want     string // hex; "": refused
		err      string
	}{
		{"one", 0, a("10.0.0.1"), "192.0.2.9", "01830704" + "c0000209", ""},
		{"two", 0, a("10.0.0.1 10.0.0.2"), "192.0.2.9", "01830b04" + "0a000002" + "c0000209", ""},
		{"eight", 0, many("10.0.0.1", 8), "192.0.2.9", "01832304" + strings.Repeat("0a000001", 7) + "c0000209", ""},
		{"nine", 0, many("10.0.0.1", 9), "192.0.2.9", "", "no more than 8"},
		{"none", 0, nil, "192.0.2.9", "", "no gateway"},
		{"other family", 0, a("2001:db8::1"), "192.0.2.9", "", "not of the family"},
		{"multicast", 0, a("224.0.0.1"), "192.0.2.9", "", "no address of a router"},
		{"type 0", 0, a("2001:db8::1 2001:db8::2"), "2001:db8::9", "0004000200000000" + "20010db8000000000000000000000002" + six, ""},
		{"type 2", 2, a("2001:db8::1"), "2001:db8::9", "0002020100000000" + six, ""},
		{"type 2, two", 2, a("2001:db8::1 2001:db8::2"), "2001:db8::9", "", "takes one"},
		{"type 4", 4, a("2001:db8::1"), "2001:db8::9", "0004040101000000" + six + "20010db8000000000000000000000001", ""},
		{"type 4, too many", 4, many("2001:db8::1", 127), "2001:db8::9", "", "no more than 126"},
		{"type 0, too many", 0, many("2001:db8::1", 128), "2001:db8::9", "", "no more than 127"},
		{"type 3", 3, a("2001:db8::1"), "2001:db8::9", "", "want 0 (deprecated), 2 or 4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, via, err := SourceRoute(tt.kind, tt.gateways, netip.MustParseAddr(tt.dst))
			if tt.want == "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if h := hex.EncodeToString([]byte(got)); h != tt.want || via != tt.gateways[0] {
				t.Errorf("%s by %v,\nwant %s by %v", h, via, tt.want, tt.gateways[0])
			}
			if len(got)%4 != 0 {
				t.Errorf("%d bytes: not a multiple of 4", len(got))
			}
		})
	}
}
