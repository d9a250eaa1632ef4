package report

import (
	"strings"
	"testing"

	"gtrace/probe"
)

// TestBounds: a document with more replies than are kept has none, and one with more times no percentiles; what is
// summed up stays as it is.
func TestBounds(t *testing.T) {
	events := append(series(nth(1, 1), nth(2, 2), nth(3, 3), nth(2, 4, duplicate), nth(4, 1, lost), nth(4, 7, late)),
		probe.Finished{At: after(100), Complete: true, Verdict: probe.AnsweredIt})
	for _, tt := range []struct {
		name           string
		replies, times int
		without, with  []string
		told           int
	}{
		{"at the bound", 4, 4, nil, []string{`"replies":[`, `"p50_ms":2`}, 0},
		{"no bound", 0, 0, nil, []string{`"replies":[`, `"p50_ms":2`}, 0},
		{"too many replies", 3, 4, []string{`"replies"`}, []string{`"p50_ms":2`}, 1},
		{"too many times", 4, 3, []string{`"p50_ms"`, `"p99_ms"`}, []string{`"replies":[`}, 0},
		{"too many of both", 1, 1, []string{`"replies"`, `"p50_ms"`}, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := 0
			out := run(t, NewPing, "json", Options{Version: "v1", MostReplies: tt.replies, MostTimes: tt.times, TooMany: func() { told++ }}, events...)
			if told != tt.told {
				t.Errorf("told %d times, want %d", told, tt.told)
			}
			pingSchemaFile.accepts(t, out)
			for _, s := range tt.without {
				if strings.Contains(out, s) {
					t.Errorf("%s in %s", s, out)
				}
			}
			for _, s := range append(tt.with, `"received":4,"duplicates":1,`, `"avg_ms":3.25,`, `"max_ms":7,`) {
				if !strings.Contains(out, s) {
					t.Errorf("no %s in %s", s, out)
				}
			}
		})
	}
}

// TestWaiting: an Order knows what waits, and forgets it when it is written.
func TestWaiting(t *testing.T) {
	var w strings.Builder
	o, waiting := NewOrder(&w, "", false), 0
	o.Waits = func(more int) { waiting += more }
	for _, step := range []struct {
		do   func()
		want int
	}{
		{func() { o.Part(0).Write([]byte("at once")) }, 0},
		{func() { o.Part(1).Write([]byte("later")) }, 5},
		{func() { o.Part(2).Write([]byte("last")) }, 9},
		{func() { o.End(0) }, 4},
		{func() { o.End(2) }, 4 + turnSize},
		{func() { o.End(3) }, 4 + 2*turnSize}, // without a word
		{func() { o.End(1) }, 0},
	} {
		if step.do(); waiting != step.want {
			t.Errorf("%d bytes wait behind %q, want %d", waiting, w.String(), step.want)
		}
	}
}
