package main

import (
	"strings"
	"testing"
)

func TestSummarise(t *testing.T) {
	tests := []struct {
		name   string
		in     string
		want   []string
		not    []string
		failed bool
	}{
		{
			name: "all pass",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}`,
			want: []string{"ok  \tp\t0.1s\n", "1 passed, 0 failed, 0 skipped\n"},
			not:  []string{"=== RUN"},
		},
		{
			name: "two skipped for one reason",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: needs root: network namespaces\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:9: needs root: network namespaces\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p"}`,
			want: []string{"left out of p, needs root: network namespaces: TestA, TestB\n", "0 passed, 0 failed, 2 skipped\n"},
		},
		{
			name: "one fails beside one that passes",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: got 1\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: fine\n"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}`,
			want:   []string{"a_test.go:7: got 1\n", "FAIL\tp", "1 passed, 1 failed, 0 skipped\n"},
			not:    []string{"fine"},
			failed: true,
		},
		{
			name: "ends in the middle of a test",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"fatal error: out of luck\n"}
{"Action":"output","Package":"p","Output":"exit status 2\n"}
{"Action":"fail","Package":"p"}`,
			want:   []string{"out of luck", "exit status 2"},
			failed: true,
		},
		{
			name: "does not build",
			in: `{"ImportPath":"p","Action":"build-output","Output":"p/a.go:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			want:   []string{"syntax error", "build failed"},
			failed: true,
		},
		{
			name: "package without tests",
			in: `{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}
{"Action":"skip","Package":"p"}`,
			want: []string{"0 passed, 0 failed, 0 skipped\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if failed := summarise(&b, strings.NewReader(tt.in)); failed != tt.failed {
				t.Errorf("failed %v, want %v", failed, tt.failed)
			}
			for _, want := range tt.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %q in:\n%s", want, &b)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(b.String(), not) {
					t.Errorf("%q in:\n%s", not, &b)
				}
			}
		})
	}
}
