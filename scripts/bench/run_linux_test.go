package main

import (
	"strings"
	"testing"
	"time"

	"gtrace/internal/lab"
)

// TestScenarios runs ours once in a small copy of each scenario: all that answers is found and nothing else, over a device, in
// real time. How long anything takes is not looked at.
func TestScenarios(t *testing.T) {
	lab.Need(t)
	bin := t.TempDir()
	if err := build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			// A busy machine is waited for, but who never answers is not for long.
			wait := "-w20"
			if s.name == "silent" {
				wait = "-w.3"
			}
			ours := s.tools[0]
			if ours.program() == "gtrace" {
				ours.args = append([]string{"gtrace", wait}, ours.args[1:]...)
			}
			s.tools = []tool{ours, call("not-installed TARGET")}
			r := runner{bin: bin, runs: 1, budget: time.Second, scale: 500}
			rows, err := r.run(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) != 2 || len(rows[0].Results) != 1 || !rows[1].Absent {
				t.Fatalf("%+v, want one run and one program that is not there", rows)
			}
			got := rows[0].Results[0]
			switch {
			case got.Status != "" || got.Wall <= 0 || got.CPU <= 0 || got.Memory < 1<<20:
				t.Errorf("%+v", got)
			case s.world == nil:
			case got.Dropped > 0 || got.Wrong > 0 || got.Right == 0 || got.Probes == 0,
				got.Right < got.All && s.name != "silent" && s.name != "hosts":
				t.Errorf("%+v", got)
			}
			var b strings.Builder
			if err := printMarkdown(&b, s, rows); err != nil || !strings.Contains(b.String(), ours.String()) {
				t.Errorf("%v\n%s", err, &b)
			}
		})
	}
}
