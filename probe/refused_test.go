package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// IPv6 has other codes, and a number that is prohibited in one family is no such thing in the other.
func TestProhibitedByFamily(t *testing.T) {
	for _, tt := range []struct {
		dst   netip.Addr
		codes []uint8
	}{
		{netip.MustParseAddr("192.0.2.9"), []uint8{9, 10, 13}},
		{netip.MustParseAddr("2001:db8::9"), []uint8{1, 5, 6}},
	} {
		for code := range uint8(16) {
			o := Outcome{Spec: Spec{Dst: netip.AddrPortFrom(tt.dst, 1)}, Answer: Unreachable, Code: code}
			if got, want := prohibited(&o) != "", slices.Contains(tt.codes, code); got != want {
				t.Errorf("%v code %d: prohibited %v, want %v", tt.dst, code, got, want)
			}
		}
		o := Outcome{Spec: Spec{Dst: netip.AddrPortFrom(tt.dst, 1)}, Answer: TimeExceeded, Code: tt.codes[0]}
		if prohibited(&o) != "" {
			t.Errorf("%v: time exceeded is prohibited", tt.dst)
		}
	}
}

// TestFindProhibited: each node that refuses is told once for what it says, at the first TTL where it does; this host is not.
func TestFindProhibited(t *testing.T) {
	at := func(ttl uint8, from string, code uint8) *Outcome {
		return &Outcome{Spec: Spec{TTL: ttl, Src: netip.MustParseAddrPort("198.51.100.2:1"), Dst: netip.MustParseAddrPort("192.0.2.9:1")},
			From: netip.MustParseAddr(from), Answer: Unreachable, Type: 3, Code: code}
	}
	hops := map[int][]*Outcome{
		3: {at(3, "198.51.100.2", 13), at(3, "10.0.3.1", 1), at(3, "10.0.3.2", 13), at(3, "10.0.3.2", 9), at(3, "10.0.3.2", 13)},
		4: {at(4, "10.0.3.2", 13), at(4, "192.0.2.9", 10)},
	}
	var got []string
	for _, f := range FindProhibited(1, 5, func(ttl int) []*Outcome { return hops[ttl] }) {
		got = append(got, fmt.Sprint(f.Confidence, ": ", f.Text, "; ", f.Evidence[0].Answers))
	}
	want := []string{
		"medium: 10.0.3.2 answers at TTL 3: communication administratively prohibited (ICMP 3/13), to 2 of 5 probes answered there; a filter refuses them; 2",
		"medium: 10.0.3.2 answers at TTL 3: network administratively prohibited (ICMP 3/9), to 1 of 5 probes answered there; a filter refuses them; 1",
		"medium: 192.0.2.9 answers at TTL 4: host administratively prohibited (ICMP 3/10), to 1 of 2 probes answered there; the destination itself refuses them; 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
