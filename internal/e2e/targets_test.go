//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestListThatStaysOpen feeds a list by a pipe that is kept open: each host's document comes before the next is named, confined as the program is
// by then, and the end of the list ends the run.
func TestListThatStaysOpen(t *testing.T) {
	s := standard(t)
	for _, in := range installs {
		for _, line := range [][]string{
			{"gping", "--json", "-c1", "--targets", "-"},
			{"gtrace", "--json", "-q1", "--targets", "-"},
		} {
			t.Run(in.name+" "+line[0], func(t *testing.T) {
				path, change := inPersona(t, in, line[0])
				list, feed, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Close()
				r := start(t, s.Client, func(c *exec.Cmd) {
					change(c)
					c.Stdin = list
				}, append([]string{path}, line[1:]...)...)
				list.Close()
				for _, target := range []string{s.Target.Only(4).String(), s.Target.Only(6).String(), "127.0.0.1", "nobody.invalid", "127.0.0.2"} {
					fmt.Fprintln(feed, target)
					var d struct {
						Target, Outcome string
						Complete        bool
					}
					if err := json.Unmarshal([]byte(r.line()), &d); err != nil {
						t.Fatal(err)
					}
					if d.Target != target || (d.Outcome != "error") != d.Complete || (d.Outcome == "error") != (target == "nobody.invalid") {
						t.Errorf("document %+v, want one of %s", d, target)
					}
				}
				feed.Close()
				if res := r.end(); res.status != 2 {
					t.Errorf("want it ended by the name alone\n%v", res)
				}
			})
		}
	}
}
