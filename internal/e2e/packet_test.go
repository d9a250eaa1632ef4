//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestPacketSockets: with packet sockets a path and a ping are what they are without, confined as ever, and for root alone.
func TestPacketSockets(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		for _, w := range ways {
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				args := append([]string{"gtrace", "-n", "--json", "--socket=packet", patiently}, w.args...)
				r := start(t, s.Client, nil, append(args, target.String())...).end()
				d, err := readTrace(r)
				if err != nil {
					t.Fatal(err)
				}
				faults := checkHops(d, 1, 3, append(exceeded(path[:len(path)-1]), w.direct(target)))
				faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
				faults = append(faults, checkClean(d.SelfCheck)...)
				if d.Method.Socket != "packet" {
					faults = append(faults, fmt.Sprintf("socket %q", d.Method.Socket))
				}
				for _, h := range d.Hops {
					for _, p := range h.Probes {
						if p.Clock != "kernel" {
							faults = append(faults, fmt.Sprintf("hop %d: clock %q", h.TTL, p.Clock))
						}
					}
				}
				tell(t, r, faults)
			})
		}
		t.Run(fmt.Sprintf("IPv%d ping", family), func(t *testing.T) {
			r := start(t, s.Client, nil, "gping", "-n", "--json", "--socket=packet", "-c5", "-i0.01", "-W20", target.String()).end()
			d, err := readPing(r)
			if err != nil {
				t.Fatal(err)
			}
			faults := append(checkEnd(r, d.Outcome, "answered", 0), checkClean(d.SelfCheck)...)
			if sm := d.Summary; sm.Sent != 5 || sm.Received != 5 || sm.Duplicates != 0 || d.Method.Socket != "packet" {
				faults = append(faults, fmt.Sprintf("%+v by %s sockets", sm, d.Method.Socket))
			}
			tell(t, r, faults)
		})
	}
	for _, in := range installs {
		if in.uid == 0 {
			continue
		}
		t.Run(in.name, func(t *testing.T) {
			r := start(t, s.Client, as(in.uid), installed(t, in, "gping"), "-n", "-c1", "--socket=packet", s.Target.Only(4).String()).end()
			if r.status != 2 || r.stdout != "" || !strings.Contains(r.stderr, "--socket packet: for root alone") {
				t.Errorf("%v", r)
			}
		})
	}
}
