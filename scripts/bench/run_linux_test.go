package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/lab"
)

// TestKept: what was written by hand behind the tables is there after the next run too.
func TestKept(t *testing.T) {
	const mine = byHand + "\nA figure.\n"
	for old, want := range map[string]string{"": byHand, "# Old\n": byHand, "# Old\n" + mine: mine} {
		if got := kept(old); got != want {
			t.Errorf("of %q %q, want %q", old, got, want)
		}
	}
}

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
			var text, page strings.Builder
			if err := printTable(&text, &page, s.name, s.what, heads, cells(rows)); err != nil ||
				!strings.Contains(text.String(), ours.String()) || !strings.Contains(page.String(), "| `"+ours.String()+"` |") {
				t.Errorf("%v\n%s\n%s", err, &text, &page)
			}
		})
	}
}

// TestClock: every time that is told has its packets.
func TestClock(t *testing.T) {
	lab.Need(t)
	bin := t.TempDir()
	if err := build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	r := runner{bin: bin, runs: 1, budget: time.Second}
	tools := slices.DeleteFunc(slices.Clone(clockTools), func(t clockTool) bool { return !isOurs(t.program()) })
	rows, err := r.clock(t.Context(), append(tools, clockTool{call("not-installed TARGET"), pingTimes}))
	if err != nil {
		t.Fatal(err)
	}
	want := []int{3 * (lab.Routers + 1), 50, 0}
	for i, row := range rows {
		if len(row.off) != want[i] || row.absent != (want[i] == 0) {
			t.Errorf("%v: %d times, want %d", row.tool, len(row.off), want[i])
		}
	}
	t.Logf("%q", clockCells(rows))
}
