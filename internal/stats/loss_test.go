package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// To the digits given.
func TestWilson(t *testing.T) {
	tests := []struct {
		s         Share
		low, high float64 // percent
	}{
		{Share{0, 10}, 0, 27.8}, {Share{1, 10}, 1.8, 40.4}, {Share{0, 30}, 0, 11.4}, {Share{0, 100}, 0, 3.7},
		{Share{1, 100}, 0.18, 5.45}, {Share{10, 100}, 5.5, 17.4}, {Share{0, 1000}, 0, 0.38},
		{Share{10, 10}, 72.2, 100}, {Share{28, 40}, 54.6, 81.9}, {Share{0, 1}, 0, 79.3}, {Share{}, 0, 100},
	}
	for _, tt := range tests {
		low, high := tt.s.Wilson(Z95)
		for _, v := range [][2]float64{{100 * low, tt.low}, {100 * high, tt.high}} {
			within := 0.05
			if v[1] < 1 {
				within = 0.005
			}
			if math.Abs(v[0]-v[1]) > within+1e-9 {
				t.Errorf("%d of %d: %.3f to %.3f %%, want %v to %v", tt.s.Lost, tt.s.Of, 100*low, 100*high, tt.low, tt.high)
				break
			}
		}
	}
	// To claim less than 1 % takes 381 clean probes.
	if _, high := (Share{0, 381}).Wilson(Z95); high >= 0.01 {
		t.Errorf("0 of 381: up to %v", high)
	}
	if _, high := (Share{0, 380}).Wilson(Z95); high < 0.01 {
		t.Errorf("0 of 380: up to %v", high)
	}
}

// Examples of Newcombe, Statistics in Medicine 17 (1998), by his method 10.
func TestNewcombe(t *testing.T) {
	tests := []struct {
		a, b      Share
		low, high float64
	}{
		{Share{56, 70}, Share{48, 80}, 0.0524, 0.3339},
		{Share{9, 10}, Share{3, 10}, 0.1705, 0.8090},
		{Share{5, 56}, Share{0, 29}, -0.0381, 0.1926},
		{Share{10, 10}, Share{0, 10}, 0.6075, 1},
	}
	for _, tt := range tests {
		low, high := Newcombe(tt.a, tt.b, Z95)
		if math.Abs(low-tt.low) > 1e-4 || math.Abs(high-tt.high) > 1e-4 {
			t.Errorf("%v less %v: %.4f to %.4f, want %v to %v", tt.a, tt.b, low, high, tt.low, tt.high)
		}
		if got, want := Exceeds(tt.a, tt.b, Z95), tt.low > 0; got != want {
			t.Errorf("%v exceeds %v: %v, want %v", tt.a, tt.b, got, want)
		}
		if Exceeds(tt.b, tt.a, Z95) {
			t.Errorf("%v exceeds %v", tt.b, tt.a)
		}
	}
	if Exceeds(Share{5, 5}, Share{}, Z95) {
		t.Error("more is lost than of nothing")
	}
}

func TestSuffixMin(t *testing.T) {
	tests := []struct {
		name string
		in   []Share
		want []int
	}{
		{"none", nil, []int{}},
		{"loss in the middle, none at the end", []Share{{0, 10}, {7, 10}, {0, 10}}, []int{0, 2, 2}},
		{"loss from a hop on", []Share{{0, 10}, {3, 10}, {4, 10}, {3, 10}}, []int{0, 1, 3, 3}},
		{"all alike", []Share{{1, 10}, {1, 10}}, []int{0, 1}},
		{"the last is the worst", []Share{{1, 10}, {2, 10}, {9, 10}}, []int{0, 1, 2}},
	}
	for _, tt := range tests {
		got := SuffixMin(tt.in)
		for i := range got {
			// What is charged to the path never falls, and never exceeds a hop's own loss.
			if r := tt.in[got[i]].Rate(); r > tt.in[i].Rate() || i > 0 && r < tt.in[got[i-1]].Rate() {
				t.Errorf("%s: hop %d is charged %v", tt.name, i, r)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A bucket answers as a Linux router does, with losses by chance on both ways.
func bucket(rnd *rand.Rand, burst int, every time.Duration, loss float64, at []time.Duration) (as []Ask) {
	level, last := float64(burst), time.Duration(0)
	for _, t := range at {
		arrives := max(last, t+time.Duration(rnd.IntN(5))*time.Millisecond)
		level = min(float64(burst), level+float64(arrives-last)/float64(every))
		last = arrives
		ok := rnd.Float64() >= loss/2 && level >= 1
		if ok {
			level--
		}
		as = append(as, Ask{t, ok && rnd.Float64() >= loss/2})
	}
	return as
}

// departures are n times a distance apart, and three more at a second's.
func departures(n int, apart time.Duration) (at []time.Duration) {
	for i := range n {
		at = append(at, time.Duration(i)*apart)
	}
	for range 3 {
		at = append(at, at[len(at)-1]+1100*time.Millisecond)
	}
	return at
}

func TestFitLimit(t *testing.T) {
	tests := []struct {
		burst int
		every time.Duration
		loss  float64
		at    []time.Duration
		least float64 // evidence in 99 of 100
	}{
		{6, time.Second, 0, departures(40, 100*time.Millisecond), 16},
		{6, time.Second, 0, departures(40, 250*time.Millisecond), 14},
		{6, time.Second, 0, departures(40, 0), 16},
		{6, time.Second, 0.1, departures(200, 100*time.Millisecond), 16},
		{10, 100 * time.Millisecond, 0, departures(100, 20*time.Millisecond), 16},
		{1, 500 * time.Millisecond, 0, departures(40, 100*time.Millisecond), 16},
		{3, 700 * time.Millisecond, 0, departures(60, 100*time.Millisecond), 16},
	}
	for _, tt := range tests {
		rnd := rand.New(rand.NewPCG(1, 2))
		var evidence []float64
		for range 200 {
			l, ok := FitLimit(bucket(rnd, tt.burst, tt.every, tt.loss, tt.at))
			if !ok {
				l.Evidence = 0
			}
			evidence = append(evidence, l.Evidence)
			if tt.loss == 0 && (l.Free.Lost > 1 || math.Abs(float64(l.Every-tt.every)) > 0.15*float64(tt.every) && tt.at[1] > 0 || l.Burst < tt.burst-1 || l.Burst > tt.burst+1) {
				t.Errorf("burst %d, each %v: fitted %+v", tt.burst, tt.every, l)
			}
		}
		slices.Sort(evidence)
		if evidence[2] < tt.least {
			t.Errorf("burst %d, each %v, loss %v: evidence %.1f, want %v", tt.burst, tt.every, tt.loss, evidence[2], tt.least)
		}
	}
}

// The look-alike: chance alone hardly ever looks like a bucket.
func TestFitLimitNotToChance(t *testing.T) {
	shown, runs := 0, 0
	for _, apart := range []time.Duration{0, 100 * time.Millisecond, 250 * time.Millisecond, time.Second} {
		for _, n := range []int{3, 10, 40, 200} {
			for _, p := range []float64{0.05, 0.1, 0.3, 0.5, 0.8} {
				rnd := rand.New(rand.NewPCG(3, uint64(n)))
				for range 100 {
					var as []Ask
					for _, at := range departures(n, apart) {
						as = append(as, Ask{at, rnd.Float64() >= p})
					}
					runs++
					if l, ok := FitLimit(as); ok && l.Evidence >= 11 {
						shown++
					}
				}
			}
		}
	}
	t.Logf("%d of %d", shown, runs)
	if shown > runs/1000 {
		t.Errorf("%d of %d look like a bucket, want less than one in a thousand", shown, runs)
	}
}

func TestFitLimitOfNothing(t *testing.T) {
	for _, as := range [][]Ask{nil, {{0, true}}, {{0, false}}, {{0, true}, {1, true}}, {{0, false}, {1, false}}} {
		if l, ok := FitLimit(as); ok {
			t.Errorf("%v: %+v", as, l)
		}
	}
}
