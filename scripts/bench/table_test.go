package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		name string
		in   []time.Duration
		want float64
	}{
		{"one", []time.Duration{7}, 7},
		{"odd, out of order", []time.Duration{9, 1, 5}, 5},
		{"even", []time.Duration{4, 1, 8, 2}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r row
			for _, d := range tt.in {
				r.Results = append(r.Results, result{Wall: d})
			}
			if got := r.wall(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestCells: ratios are of ours to the other, per host, and there are none to a run that failed.
func TestCells(t *testing.T) {
	one := result{Wall: 2 * time.Second, CPU: time.Second, Memory: 8 << 20, Probes: 2000, Span: time.Second, finding: finding{Right: 10, All: 10}}
	part := result{Wall: 4 * time.Second, CPU: time.Second, Memory: 2 << 20, Probes: 100, Span: 2 * time.Second, finding: finding{Right: 5, Wrong: 1, All: 10}}
	failed := one
	failed.Status = "exit status 4: too many"
	rows := []row{
		{Tool: call("gtrace FILE"), Hosts: 100, Results: []result{one}},
		{Tool: call("other FILE").of(10), Hosts: 10, Results: []result{part}},
		{Tool: call("broken FILE"), Hosts: 100, Results: []result{failed}},
		{Tool: call("xargs -a FILE missing"), Absent: true},
	}
	got := cells(rows)
	want := []string{
		"gtrace FILE|100|1|2 s|50|10 ms|8.0 MB|20.0|1999|100.00 %|0|||||",
		"other FILE|10|1|4 s|2|100 ms|2.0 MB|10.0|50|50.00 %|1|0.05|0.10|4.00|2.00|",
		"broken FILE|100|1|2 s|50|10 ms|8.0 MB|20.0|1999|100.00 %|0|||||exit status 4: too many",
		"xargs -a FILE missing|||||||||||||||missing is not installed",
	}
	for i, w := range want {
		if g := strings.Join(got[i], "|"); g != w {
			t.Errorf("row %d\n     %s\nwant %s", i, g, w)
		}
		if len(got[i]) != len(heads) {
			t.Errorf("row %d has %d cells, want %d", i, len(got[i]), len(heads))
		}
	}
	if i := slices.IndexFunc(rows, func(r row) bool { return r.failed() != "" }); i != 2 {
		t.Errorf("row %d failed, want 2", i)
	}
}
