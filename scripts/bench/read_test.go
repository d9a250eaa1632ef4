package main

import (
	"strings"
	"testing"
	"time"
)

// TestReadTraces: what each program prints is understood, its wrong hops too. The outputs are theirs, cut to four hops.
func TestReadTraces(t *testing.T) {
	w := line(4, 0, 8*time.Millisecond)
	tests := []struct {
		name, out    string
		right, wrong int
	}{
		{"traceroute", `traceroute to 10.64.0.1 (10.64.0.1), 30 hops max, 60 byte packets
 1  10.0.1.1  2.111 ms  2.053 ms  2.041 ms
 2  10.0.1.2  4.104 ms * 4.011 ms
 3  * * *
 4  10.64.0.1  8.112 ms  8.093 ms  8.084 ms
`, 3, 0},
		{"scamper", `traceroute from 10.0.0.2 to 10.64.0.1
 1  10.0.1.1  2.111 ms
 2  10.0.1.2  4.104 ms
 3  10.0.1.3  6.104 ms
 4  10.64.0.1  8.112 ms
`, 4, 0},
		{"mtr", `Start: 2026-01-01T00:00:00+0000
HOST: client                      Loss%   Snt   Last   Avg  Best  Wrst StDev
  1.|-- 10.0.1.1                   0.0%     3    2.1   2.1   2.0   2.1   0.0
  2.|-- ???                       100.0     3    0.0   0.0   0.0   0.0   0.0
  3.|-- 10.0.1.3                   0.0%     3    6.1   6.1   6.0   6.1   0.0
  4.|-- 10.64.0.1                  0.0%     3    8.1   8.1   8.0   8.1   0.0
`, 3, 0},
		{"a hop at another's place", `traceroute to 10.64.0.1 (10.64.0.1), 30 hops max, 60 byte packets
 1  10.0.1.2  2.111 ms
 2  10.0.1.2  4.104 ms
`, 1, 1},
		{"beyond the target", `traceroute to 10.64.0.1 (10.64.0.1), 30 hops max, 60 byte packets
 5  10.64.0.1  8.112 ms
`, 0, 1},
		{"two addresses", `traceroute to 10.64.0.1 (10.64.0.1), 30 hops max, 60 byte packets
 1  10.0.1.1  2.111 ms 10.0.1.9  2.053 ms
`, 1, 1},
		{"another target", `traceroute to 10.64.0.9 (10.64.0.9), 30 hops max, 60 byte packets
 1  10.0.1.1  2.111 ms
`, 0, 1},
		{"nothing", "", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readTraces(strings.NewReader(tt.out), w, w.targets)
			if want := (finding{tt.right, tt.wrong, 4}); err != nil || got != want {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		})
	}
}

// TestReadPings: what each program prints is understood.
func TestReadPings(t *testing.T) {
	w := hosts(40)
	var alive, dead string
	all := 0
	for _, a := range w.targets {
		if w.ways[a].answers {
			alive = a.String()
			all++
		} else {
			dead = a.String()
		}
	}
	if alive == "" || dead == "" {
		t.Fatal("the network has not both kinds of hosts")
	}
	tests := []struct {
		name, out    string
		right, wrong int
	}{
		{"ping", "--- ALIVE ping statistics ---\n3 packets transmitted, 3 received, 0% packet loss, time 2003ms\nrtt min/avg/max/mdev = 10.1/10.1/10.1/0.0 ms\n", 1, 0},
		{"ping, dead", "--- DEAD ping statistics ---\n3 packets transmitted, 0 received, 100% packet loss, time 2003ms\n", 0, 0},
		{"scamper", "--- ALIVE ping statistics ---\n3 packets transmitted, 2 packets received, 33% packet loss\n", 1, 0},
		{"fping", "ALIVE : xmt/rcv/%loss = 3/3/0%, min/avg/max = 10.1/10.1/10.2\nDEAD : xmt/rcv/%loss = 3/0/100%\n", 1, 0},
		{"the dead answer", "DEAD : xmt/rcv/%loss = 3/1/66%, min/avg/max = 10.1/10.1/10.2\n", 0, 1},
		{"told twice", "ALIVE : xmt/rcv/%loss = 3/3/0%, min/avg/max = 1/1/1\nALIVE : xmt/rcv/%loss = 3/3/0%, min/avg/max = 1/1/1\n", 1, 0},
		{"nothing", "", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := strings.NewReplacer("ALIVE", alive, "DEAD", dead).Replace(tt.out)
			got, err := readPings(strings.NewReader(out), w, w.targets)
			if want := (finding{tt.right, tt.wrong, all}); err != nil || got != want {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		})
	}
}
