//go:build linux

package lab

import (
	"maps"
	"strings"
	"testing"
)

func TestPlanCheck(t *testing.T) {
	link := Link{A: "a", B: "b", V4: "192.0.2.0/30"}
	tests := []struct {
		name string
		plan Plan
		want string // in the error; "" for none
	}{
		{"good", Plan{Links: []Link{link}}, ""},
		{"empty", Plan{}, "without links"},
		{"to itself", Plan{Links: []Link{{A: "a", B: "a"}}}, "names must differ"},
		{"long name", Plan{Links: []Link{{A: "a", B: "sixteen-bytes-xx"}}}, "1 to 15 bytes"},
		{"twice", Plan{Links: []Link{link, {A: "b", B: "a"}}}, "two links"},
		{"no prefix", Plan{Links: []Link{{A: "a", B: "b", V4: "192.0.2.0"}}}, "link a to b"},
		{"narrow prefix", Plan{Links: []Link{{A: "a", B: "b", V6: "2001:db8::/127"}}}, "no room"},
		{"stray route", Plan{Links: []Link{link}, Routes: []Route{{On: "c", Dst: "192.0.2.9/32", Kind: Prohibit}}}, `route on "c"`},
		{"far gateway", Plan{Links: []Link{link}, Routes: []Route{{On: "a", Dst: "192.0.2.9/32", Via: "c"}}}, "not a neighbour"},
		{"stray rule", Plan{Links: []Link{link}, Rules: []Rule{{On: "c", Dst: "192.0.2.9"}}}, `rule on "c"`},
		{"stray announce", Plan{Links: []Link{link}, Announces: []Announce{{At: "c", Prefix: "192.0.2.9/32"}}}, `announce on "c"`},
		{"stray sysctl", Plan{Links: []Link{link}, Sysctls: []Sysctl{{On: "c"}}}, `sysctl on "c"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.plan.check()
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestTowards(t *testing.T) {
	// a - b - c - d, and a shorter way a - e - d, which knows no IPv6.
	p := Plan{Links: []Link{
		{A: "a", B: "b", V4: "4", V6: "6"}, {A: "b", B: "c", V4: "4", V6: "6"}, {A: "c", B: "d", V4: "4", V6: "6"},
		{A: "a", B: "e", V4: "4"}, {A: "e", B: "d", V4: "4"},
		{A: "x", B: "y", V4: "4"},
	}}
	tests := []struct {
		name   string
		family int
		to     []string
		want   map[string]string
	}{
		{"a node", 4, []string{"d"}, map[string]string{"a": "e", "b": "c", "c": "d", "e": "d"}},
		{"a node by the other family", 6, []string{"d"}, map[string]string{"a": "b", "b": "c", "c": "d"}},
		{"a link, a tie for a", 4, []string{"c", "d"}, map[string]string{"a": "b", "b": "c", "e": "d"}},
		{"an island", 4, []string{"x"}, map[string]string{"y": "x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.towards(tt.family, tt.to...); !maps.Equal(got, tt.want) {
				t.Errorf("next nodes %v, want %v", got, tt.want)
			}
		})
	}
}
