package stats

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"
	"time"
)

func series(ds ...time.Duration) *Series {
	var s Series
	for _, d := range ds {
		s.Add(d)
	}
	return &s
}

func TestEmpty(t *testing.T) {
	s := series()
	if s.N() != 0 || s.Mdev() != 0 {
		t.Errorf("%d times, deviation %v, want none", s.N(), s.Mdev())
	}
	if _, ok := s.Stddev(); ok {
		t.Error("a deviation of nothing")
	}
	if _, ok := s.Jitter(); ok {
		t.Error("a jitter of nothing")
	}
	if p := Percentiles(nil, 50); p != nil {
		t.Errorf("percentiles %v of nothing", p)
	}
	if _, ok := Loss(0, 0); ok {
		t.Error("a loss of nothing")
	}
}

func TestSeries(t *testing.T) {
	const most = math.MaxInt64
	tests := []struct {
		name                               string
		in                                 []time.Duration
		min, mean, max, mdev, stdd, jitter time.Duration // stdd and jitter from two times on
	}{
		{"one", []time.Duration{42}, 42, 42, 42, 0, 0, 0},
		{"equal", []time.Duration{7, 7, 7}, 7, 7, 7, 0, 0, 0},
		// mean 5, squares 9 1 1 1 0 0 4 16; jitter of the steps 2 0 0 1 0 2 2
		{"the textbook's", []time.Duration{2000, 4000, 4000, 4000, 5000, 5000, 7000, 9000}, 2000, 5000, 9000, 2000, 2138, 379},
		{"descending", []time.Duration{16, 0}, 0, 8, 16, 8, 11, 1},
		{"zero", []time.Duration{0, 0}, 0, 0, 0, 0, 0, 0},
		{"the longest there are", []time.Duration{most, most, most}, most, most, most, 0, 0, 0},
		{"the ends of the world", []time.Duration{math.MinInt64, most}, math.MinInt64, 0, most, most, most, most / 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := series(tt.in...)
			if s.N() != uint64(len(tt.in)) || s.Min() != tt.min || s.Max() != tt.max || s.Mean() != tt.mean || s.Mdev() != tt.mdev {
				t.Errorf("n %d min %d mean %d max %d mdev %d, want %d %d %d %d %d", s.N(), s.Min(), s.Mean(), s.Max(), s.Mdev(),
					len(tt.in), tt.min, tt.mean, tt.max, tt.mdev)
			}
			more := len(tt.in) > 1
			if d, ok := s.Stddev(); ok != more || d != tt.stdd {
				t.Errorf("deviation %d, %v, want %d, %v", d, ok, tt.stdd, more)
			}
			// The jitter at the ends of the world is beyond the integers a float holds exactly.
			if d, ok := s.Jitter(); ok != more || d < tt.jitter-1 || d > tt.jitter+1 {
				t.Errorf("jitter %d, %v, want %d, %v", d, ok, tt.jitter, more)
			}
		})
	}
}

// TestAgainstExactArithmetic holds Welford's method to the definition, computed with fractions: times
// that are large and close together are where the sum of squares in floats fails.
func TestAgainstExactArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		base, spread := r.Int64N(int64(time.Hour)), 1+r.Int64N(int64(time.Millisecond))
		ds := make([]time.Duration, 2+r.IntN(200))
		for i := range ds {
			ds[i] = time.Duration(base + r.Int64N(spread))
		}
		s := series(ds...)

		n := big.NewRat(int64(len(ds)), 1)
		sum, squares := new(big.Rat), new(big.Rat)
		for _, d := range ds {
			x := big.NewRat(int64(d), 1)
			sum.Add(sum, x)
			squares.Add(squares, new(big.Rat).Mul(x, x))
		}
		mean := new(big.Rat).Quo(sum, n)
		variance := new(big.Rat).Quo(squares, n)
		variance.Sub(variance, new(big.Rat).Mul(mean, mean))
		v, _ := variance.Float64()
		m, _ := mean.Float64()
		sample := math.Sqrt(v * float64(len(ds)) / float64(len(ds)-1))

		got, _ := s.Stddev()
		for _, c := range []struct {
			what      string
			got, want float64
		}{{"mean", float64(s.Mean()), m}, {"mdev", float64(s.Mdev()), math.Sqrt(v)}, {"stddev", float64(got), sample}} {
			if math.Abs(c.got-c.want) > 1 {
				t.Errorf("%s of %d times near %d: %v, want %v", c.what, len(ds), base, c.got, c.want)
			}
		}
	}
}

// TestOrder: all but the jitter is the same in whatever order the times come, to the nanosecond that
// rounding may make.
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		ds := make([]time.Duration, 1+r.IntN(100))
		for i := range ds {
			ds[i] = time.Duration(r.Int64N(int64(10 * time.Second)))
		}
		a := series(ds...)
		r.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
		b := series(ds...)
		near := func(x, y time.Duration) bool { return (x - y).Abs() <= 1 }
		if a.Min() != b.Min() || a.Max() != b.Max() || !near(a.Mean(), b.Mean()) || !near(a.Mdev(), b.Mdev()) {
			t.Errorf("%+v and, shuffled, %+v", a, b)
		}
	}
}

// TestBounds: whatever the times, the mean lies between the extremes, no deviation is negative or beyond the
// range, and the jitter is no larger than the largest step.
func TestBounds(t *testing.T) {
	holds := func(in []int64) bool {
		if len(in) == 0 {
			return true
		}
		ds := make([]time.Duration, len(in))
		var step float64
		for i, n := range in {
			ds[i] = time.Duration(n)
			if i > 0 {
				step = max(step, math.Abs(float64(n)-float64(in[i-1])))
			}
		}
		s := series(ds...)
		j, _ := s.Jitter()
		d, _ := s.Stddev()
		slack := time.Duration(1 << 12) // the last bits of a float64 near 2⁶³
		return s.Min() == slices.Min(ds) && s.Max() == slices.Max(ds) &&
			s.Mean()/2 >= s.Min()/2-slack && s.Mean()/2 <= s.Max()/2+slack &&
			s.Mdev() >= 0 && d >= 0 && j >= 0 && float64(j) <= step+float64(slack)
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestPercentiles(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i) // 100 … 1
	}
	tests := []struct {
		name string
		in   []time.Duration
		want []time.Duration // p50 p90 p95 p99 p100
	}{
		{"one", []time.Duration{7}, []time.Duration{7, 7, 7, 7, 7}},
		{"two", []time.Duration{9, 1}, []time.Duration{1, 9, 9, 9, 9}},
		{"three", []time.Duration{3, 1, 2}, []time.Duration{2, 3, 3, 3, 3}},
		{"six", []time.Duration{1, 2, 3, 4, 5, 6}, []time.Duration{3, 6, 6, 6, 6}},
		{"ten", []time.Duration{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, []time.Duration{5, 9, 10, 10, 10}},
		{"a hundred", hundred, []time.Duration{50, 90, 95, 99, 100}},
	}
	for _, tt := range tests {
		if got := Percentiles(tt.in, 50, 90, 95, 99, 100); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestLoss(t *testing.T) {
	tests := []struct {
		lost, answered uint64
		want           float64
	}{{0, 5, 0}, {5, 0, 100}, {1, 3, 25}, {math.MaxUint32, math.MaxUint32, 50}}
	for _, tt := range tests {
		if got, ok := Loss(tt.lost, tt.answered); !ok || got != tt.want {
			t.Errorf("%d lost, %d answered: %v, %v, want %v", tt.lost, tt.answered, got, ok, tt.want)
		}
	}
}
