package main

import (
	"maps"
	"testing"
	"time"
)

// TestTimes: each program's times are those of the probes they stand for.
func TestTimes(t *testing.T) {
	us := func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
	tests := []struct {
		name string
		read func(string) map[place]time.Duration
		out  string
		want map[place]time.Duration
	}{
		{"traceroute", traceTimes, "traceroute to 192.0.2.9 (192.0.2.9), 30 hops max, 60 byte packets\n" +
			" 1  10.0.1.1  0.021 ms  0.012 ms  0.013 ms\n 2  * 10.0.2.1  0.031 ms 10.0.2.2  0.032 ms\n 3  * * *\n",
			map[place]time.Duration{{1, 0}: us(21), {1, 1}: us(12), {1, 2}: us(13), {2, 1}: us(31), {2, 2}: us(32)}},
		{"ping", pingTimes, "PING 192.0.2.9 (192.0.2.9) 56(84) bytes of data.\n64 bytes from 192.0.2.9: icmp_seq=1 ttl=64 time=0.042 ms\n" +
			"64 bytes from 192.0.2.9: icmp_seq=3 ttl=64 time=1.20 ms\n\nrtt min/avg/max/mdev = 0.042/0.6/1.2/0.5 ms\n",
			map[place]time.Duration{{0, 0}: us(42), {0, 2}: us(1200)}},
		{"fping", fpingTimes, "192.0.2.9 : [0], 64 bytes, 0.034 ms (0.034 avg, 0% loss)\n192.0.2.9 : [1], timed out (0.034 avg, 50% loss)\n" +
			"192.0.2.9 : [2], 64 bytes, 0.035 ms (0.034 avg, 33% loss)\n",
			map[place]time.Duration{{0, 0}: us(34), {0, 2}: us(35)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.read(tt.out); !maps.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	r := clockRow{off: []time.Duration{4, 1, 3, 2}}
	for q, want := range map[float64]time.Duration{0.5: 2, 0.51: 3, 0.99: 4, 0: 1} {
		if got := r.quantile(q); got != want {
			t.Errorf("%v: %d, want %d", q, got, want)
		}
	}
}
