package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
)

// TestSweep is what a user who asks sizes sees and gets back.
func TestSweep(t *testing.T) {
	const found = "sweep: 1372(1400) bytes are answered, 1373(1401) and more are not: "
	hole := func(w *world) { w.link.MTU, w.link.BlackHole = 1400, true }
	for _, tt := range []struct {
		line   string
		change func(*world)
		status int
		out    string // part of standard output
		stderr string
	}{
		{"gping --sweep 56-1472 192.0.2.9", func(w *world) {}, yes, "sweep: all sizes from 56(84) to 1472(1500) bytes are answered\n", ""},
		{"gping --sweep 56-1472 192.0.2.9", func(w *world) { w.link.MTU = 1400 }, yes, found + "10.0.2.1 says that they are too big (MTU 1400)\n", ""},
		{"gping --sweep 56-1472 192.0.2.9", hole, yes, found + "nothing comes back, and nobody says why\n", ""},
		{"gping --sweep=56-1472/100 -6 target.example", func(w *world) { w.link.MTU = 1400 }, yes, "sweep: 1352(1400) bytes are answered, 1353(1401) and more are not: fd00:2::1 says that they are too big (MTU 1400)\n", ""},
		{"gping --sweep 2-1472 --kind udp 192.0.2.9", hole, yes, found + "nothing comes back, and nobody says why\n", ""},
		{"gping --sweep 56-2000 -M dont 192.0.2.9", func(w *world) { w.link.MTU = 1400 }, yes, "sweep, fragments allowed: all sizes from 56(84) to 2000(2028) bytes are answered\n", ""},
		{"gping --sweep 56-1472 -R 192.0.2.9", func(w *world) { w.link.MTU = 1400 }, yes, "sweep: 1332(1400) bytes are answered, 1333(1401) and more are not: ", ""},
		{"gping --sweep 56-1472 -W 1 198.51.100.9", func(w *world) {}, no, "sweep: no size from 56(84) to 1472(1500) bytes is answered: nothing comes back, and nobody says why\n", ""},
		{"gping --sweep 56-1472 192.0.2.9", func(w *world) {
			w.conn.At(w.conn.Now().Add(2*time.Second), func() { w.link.Out.Loss = 1 })
		}, unsure, "sweep: could not tell: ", ""},
		{"gping --sweep 56-1472 -w 1 192.0.2.9", func(w *world) {}, unsure, "sweep: cut short: up to ", ""},
		{"gping --sweep 56-1472 --parallel 1 192.0.2.9 198.51.100.9 -W1 -q", func(w *world) {}, no, "sweep: no size from ", ""},
		{"gping --sweep 56-65507 -6 target.example", func(w *world) {}, unsure, "", "gping: target.example: --sweep 56-65507/2046: IPv6 leaves room for 65487 bytes\n"},
		{"gping --sweep 56-65507 -R 192.0.2.9", func(w *world) {}, unsure, "", "gping: 192.0.2.9: --sweep 56-65507/2046: IPv4 leaves room for 65467 bytes\n"},
		{"gping --sweep 56-1472 224.0.0.1", func(w *world) {}, unsure, "", "gping: 224.0.0.1: many may answer there, and --sweep is about the way to one host\n"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			tt.change(w)
			if status := w.run(t.Context(), tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if !strings.Contains(w.out.String(), tt.out) || w.stderr.String() != tt.stderr {
				t.Errorf("standard output\n%s\nwant in it\n%s\nstandard error %q, want %q", &w.out, tt.out, &w.stderr, tt.stderr)
			}
		})
	}
}

// TestSweepPackets: which sizes leave, how far apart, and that none may be fragmented.
func TestSweepPackets(t *testing.T) {
	for _, tt := range []struct {
		options string
		sizes   string
		apart   time.Duration
		set     rawsock.Settings // of these Fragment and Heed
	}{
		{"--sweep 0-3/1", "[28 29 30 31]", 100 * time.Millisecond, rawsock.Settings{}},
		{"--sweep 0-10/4 -M do", "[28 32 36 38]", 100 * time.Millisecond, rawsock.Settings{Heed: true}},
		{"--sweep 0-10/5 -c2 -i .5", "[28 33 38 28 33 38]", 500 * time.Millisecond, rawsock.Settings{}},
		{"--sweep 0-10/50 -M dont", "[28 38]", 100 * time.Millisecond, rawsock.Settings{Fragment: true}},
		{"--sweep 2-12/5 --kind udp", "[30 35 40]", time.Second, rawsock.Settings{}},
		{"--sweep 0-320", "[28 38 48 58 68 78 88 98 108 118 128 138 148 158 168 178 188 198 208 218 228 238 248 258 268 278 288 298 308 318 328 338 348]", 100 * time.Millisecond, rawsock.Settings{}},
	} {
		w := newWorld(simnet.Config{})
		if status := w.run(t.Context(), "gping "+tt.options+" 192.0.2.9"); status != yes {
			t.Errorf("%s: status %d: %s", tt.options, status, &w.stderr)
		}
		var sizes []int
		ps := w.conn.Sent()
		for i, p := range ps {
			sizes = append(sizes, len(p.Data))
			if df := p.Data[6]&0x40 != 0; df == tt.set.Fragment {
				t.Errorf("%s: DF %v", tt.options, df)
			}
			if i > 0 && p.At.Sub(ps[i-1].At) != tt.apart {
				t.Errorf("%s: %v after the one before, want %v", tt.options, p.At.Sub(ps[i-1].At), tt.apart)
			}
		}
		if got := fmt.Sprint(sizes); got != tt.sizes {
			t.Errorf("%s: sizes %s, want %s", tt.options, got, tt.sizes)
		}
		if s := w.conn.Settings(); s.Fragment != tt.set.Fragment || s.Heed != tt.set.Heed {
			t.Errorf("%s: %+v, want %+v", tt.options, s, tt.set)
		}
	}
}
