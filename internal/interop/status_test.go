//go:build linux

package interop

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"gtrace/internal/lab"
)

// statuses are the exit statuses by the contract, under our own names, by
// host: of gping with three requests, and of gtrace with five hops at most, by
// UDP and by ICMP. 0: answered or reached. 1: measured, and it was not. 2: not
// measured.
//
// Under others' names the statuses are theirs, and TestGolden compares them.
var statuses = map[string]struct{ gping, udp, icmp int }{
	"plain":     {0, 0, 0},
	"target":    {0, 0, 0},
	"narrow":    {0, 0, 0},
	"copies":    {0, 0, 0},
	"corrupt":   {0, 0, 0}, // it did answer; JSON says how
	"checksum":  {1, 1, 1}, // what is broken is no answer
	"elsewhere": {1, 0, 1}, // an echo reply is the answer of whom it was asked; a port unreachable quotes the probe
	"ttl":       {0, 0, 0},
	"third":     {0, 1, 0}, // all probes of a flow go to port 33434, which leaves 2
	"swapped":   {0, 0, 0},
	"late":      {0, 0, 0},
	"redirect":  {0, 0, 0},
	"quench":    {0, 0, 0},
	"truncated": {0, 0, 0},
	"mixed":     {0, 1, 0}, // port 33434 is even
	"silent":    {1, 1, 1},
	"blackhole": {1, 1, 1},
	"loop":      {1, 1, 1},
	"dead":      {1, 1, 1},
	"away":      {2, 2, 2},
	"reject-0":  {1, 1, 1},
	"reject-1":  {1, 1, 1},
	"reject-36": {1, 1, 1},
	"reject-5":  {1, 1, 1},
	"reject-6":  {1, 1, 1},
	"reject-9":  {1, 1, 1},
	"reject-10": {1, 1, 1},
	"reject-13": {1, 1, 1},
	// Whoever says that of a protocol or a port speaks for the host.
	"reject-2":  {1, 0, 0},
	"reject-34": {1, 0, 0},
	"reject-46": {1, 0, 0},
}

func TestStatus(t *testing.T) {
	o := odd(t)
	d := ours(t)
	want := make(map[kase]int)
	for _, family := range []int{4, 6} {
		for _, h := range o.Hosts(family) {
			s, ok := statuses[h]
			if !ok { // a code means one thing in one family
				s, ok = statuses[fmt.Sprintf("%s%d", h, family)]
			}
			if !ok {
				t.Errorf("no status for %s", h)
			}
			wait := 1
			if h == "dead" {
				wait = 4
			}
			want[kase(fmt.Sprintf("gping -n -c 3 -i .2 -W %d {%s%d}", wait, h, family))] = s.gping
			want[kase(fmt.Sprintf("gtrace -n -q 2 -m 5 -w %d {%s%d}", wait, h, family))] = s.udp
			want[kase(fmt.Sprintf("gtrace -n -I -q 2 -m 5 -w %d {%s%d}", wait, h, family))] = s.icmp
		}
	}
	maps.Copy(want, map[kase]int{
		"gping -n -c 1 {plain4} {plain6}":           0,
		"gping -n -c 1 -W 1 {plain4} {silent4}":     1,
		"gping -n -c 1 -W 1 {silent4} {away4}":      2,
		"gping -n -c 1 nosuch.example {plain4}":     2,
		"gtrace -n -q 1 {plain4} {plain6}":          0,
		"gtrace -n -q 1 -m 4 {plain4} {reject-14}":  1,
		"gtrace -n -q 1 nosuch.example {reject-14}": 2,
		"gping":                    2,
		"gtrace":                   2,
		"gping -c 0 {plain4}":      2,
		"gtrace -q 1001 {plain4}":  2,
		"gtrace --nosuch {plain4}": 2,
		"gping -Z {plain4}":        2,
	})
	inParallel(t, slices.Sorted(maps.Keys(want)), func(t *testing.T, k kase) {
		k.at(t, func(o *lab.Odd) {
			r := place{odd: o, path: d}.run(t, k.args(o)...)
			if r.status != want[k] {
				t.Errorf("status %d, want %d\n%v", r.status, want[k], r)
			}
		})
	})
}
