//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gtrace/internal/lab"
)

// An ending is what the tests read out of the last words of either program.
type ending struct {
	Complete bool   `json:"complete"`
	Outcome  string `json:"outcome"`
	Hops     []hop  `json:"hops"`
	Replies  []struct {
		Result string `json:"result"`
	} `json:"replies"`
	Destination netip.Addr `json:"destination"`
}

// status is the exit status that a document asks for: what had been measured
// when the run was cut short counts.
func (e *ending) status() int {
	told := len(e.Replies) > 0
	for _, p := range e.Replies {
		if p.Result == "reply" {
			return 0
		}
	}
	for _, h := range e.Hops {
		for _, p := range h.Probes {
			told = true
			if p.From == e.Destination {
				return 0
			}
		}
	}
	if told {
		return 1
	}
	return 2
}

// checkCut holds what an interrupted program left to be whole, and its
// status to what it says. It says whether the run had been cut short.
func checkCut(r result, prog, format string) (cut bool, faults []string) {
	if r.stderr != "" {
		faults = append(faults, "something on standard error")
	}
	if !strings.HasSuffix(r.stdout, "\n") {
		return false, append(faults, "standard output does not end with a line")
	}
	lines := slices.Collect(strings.Lines(r.stdout))
	switch {
	case format == "text" && prog == "gping":
		if !strings.Contains(r.stdout, " ping statistics ---\n") || !strings.Contains(r.stdout, " packets transmitted, ") {
			faults = append(faults, "no statistics")
		}
		if got, want := r.status == 0, strings.Contains(r.stdout, " bytes from "); got != want {
			faults = append(faults, fmt.Sprintf("exit status %d, and an answer there %v", r.status, want))
		}
		return true, faults
	case format == "text":
		if last := len(lines) - 1; strings.HasPrefix(lines[last], "  # interrupted: ") {
			lines = lines[:last]
		}
		for i, l := range lines[1:] {
			if !strings.HasPrefix(l, fmt.Sprintf("%2d  ", i+1)) {
				faults = append(faults, fmt.Sprintf("line %q, want hop %d", l, i+1))
			}
		}
		// A hop is printed when all is known of it: an answer may count
		// that no line shows.
		if len(lines) > 1 && r.status == 2 || r.status < 0 || r.status > 2 {
			faults = append(faults, fmt.Sprintf("exit status %d after %d hops", r.status, len(lines)-1))
		}
		return true, faults
	case format == "json" && len(lines) != 1:
		return false, append(faults, fmt.Sprintf("%d documents, want 1", len(lines)))
	}
	for _, l := range lines[:len(lines)-1] {
		if !json.Valid([]byte(l)) {
			faults = append(faults, fmt.Sprintf("not JSON: %q", l))
		}
	}
	var doc ending
	if err := decode(lines[len(lines)-1], &doc); err != nil {
		return false, append(faults, err.Error())
	}
	if doc.Complete == (doc.Outcome == "interrupted") {
		faults = append(faults, fmt.Sprintf("complete %v, but outcome %q", doc.Complete, doc.Outcome))
	}
	if r.status != doc.status() {
		faults = append(faults, fmt.Sprintf("exit status %d, want %d by what was measured", r.status, doc.status()))
	}
	return !doc.Complete, faults
}

// TestInterrupt ends programs by a signal at many moments, told by how many
// packets have crossed the link, and looks at what they leave.
func TestInterrupt(t *testing.T) {
	s := standard(t)
	random := rand.New(rand.NewPCG(1, 2))
	silent, target := s.Special(lab.SilentAt, 4), s.Target.Only(4)
	tests := []struct {
		name, prog string
		args       []string
		dst        string
		packets    int  // the last moment
		endless    bool // it cannot end by itself
	}{
		{"trace into silence", "gtrace", []string{"-w3600,0,0"}, silent.String(), 26, true},
		{"trace to the target", "gtrace", []string{"-N1"}, target.String(), 70, false},
		{"ping", "gping", []string{"-i0.002"}, target.String(), 60, true},
		{"ping into silence", "gping", []string{"-i0.002", "-W60"}, silent.String(), 30, true},
	}
	for _, tt := range tests {
		for _, format := range []string{"text", "json", "events"} {
			for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
				moments := []int{1, 2, tt.packets}
				for range 3 {
					moments = append(moments, 1+random.IntN(tt.packets))
				}
				for _, after := range moments {
					t.Run(fmt.Sprintf("%s %s %s after %d packets", tt.name, format, sig, after), func(t *testing.T) {
						c, err := s.Client.Capture("r1", 10_000)
						if err != nil {
							t.Fatal(err)
						}
						r := start(t, s.Client, nil, append([]string{tt.prog, "-n", "--format", format, tt.dst}, tt.args...)...)
						n := 0
						// From its first probe on: what earlier tests left on the link, or a neighbour's
						// discovery over IPv6, comes before it can hear a signal.
						_, err = c.Wait(patience, func(p lab.Packet) bool {
							if n > 0 || p.Out && p.Data[0]>>4 == 4 && netip.AddrFrom4([4]byte(p.Data[16:20])).String() == tt.dst {
								n++
							}
							return n == after
						})
						if err != nil {
							t.Fatal(err)
						}
						r.signal(sig)
						if after%2 == 0 {
							r.signal(sig) // as timeout(1) does
						}
						got := r.end()
						if _, err := c.Stop(); err != nil {
							t.Fatal(err)
						}
						cut, faults := checkCut(got, tt.prog, format)
						if tt.endless && !cut {
							faults = append(faults, "complete, though it was cut short")
						}
						tell(t, got, faults)
					})
				}
			}
		}
	}
}

// TestInterruptAtOnce sends the signal while the program may still be
// starting: then it dies of it and has said nothing, or ends in order.
func TestInterruptAtOnce(t *testing.T) {
	s := standard(t)
	for range 10 {
		r := start(t, s.Client, nil, "gtrace", "-n", "--json", "-w3600,0,0", s.Special(lab.SilentAt, 4).String())
		r.signal(os.Interrupt)
		got := r.end()
		if got.status == -1 && got.stdout == "" && got.stderr == "" {
			continue
		}
		if strings.HasPrefix(got.stderr, "gtrace: ") && strings.HasSuffix(got.stderr, ": not measured: interrupted\n") && got.stdout == "" {
			continue // before the first host
		}
		_, faults := checkCut(got, "gtrace", "json")
		tell(t, got, faults)
	}
}

// TestInterruptAtTheEnd sends the signal when all has been printed and the
// program is about to end: it must not die of it, as its status then says
// nothing of the host.
func TestInterruptAtTheEnd(t *testing.T) {
	s := standard(t)
	for range 40 {
		r := start(t, s.Client, nil, "gtrace", "-n", "--json", "-q1", s.Path[4][0].String())
		r.line()
		r.signal(os.Interrupt)
		if got := r.end(); got.status != 0 || got.stderr != "" {
			t.Errorf("want status 0\n%v", got)
		}
	}
}

// TestSecondHostInterrupted cuts the second of three hosts short: the first
// is done, the second has its document, the third was not begun.
func TestSecondHostInterrupted(t *testing.T) {
	s := standard(t)
	near, silent := s.Path[4][0].String(), s.Special(lab.SilentAt, 4).String()
	r := start(t, s.Client, nil, "gtrace", "-n", "--json", "-w3600,0,0", "--parallel=1", near, silent, near)
	first := r.line() + "\n"
	var d traceDoc
	if err := decode(first, &d); err != nil || !*d.Complete || d.Outcome != "reached" {
		t.Errorf("first document: %v, outcome %q", err, d.Outcome)
	}
	r.signal(os.Interrupt)
	got := r.end()
	lines := slices.Collect(strings.Lines(got.stdout))
	if got.status != 2 || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("want status 2, as one host could not be told, and one line that says so\n%v", got)
	}
	for _, l := range lines[1:] {
		var d traceDoc
		if err := decode(l, &d); err != nil || *d.Complete || d.Outcome != "interrupted" {
			t.Errorf("document after the signal: %v\n%v", err, got)
		}
	}
}

// TestClosedOutput closes the reading end after the first line, as head -1
// does: no word on standard error, no death by a signal, and a status by the
// rule for runs cut short.
func TestClosedOutput(t *testing.T) {
	s := standard(t)
	for _, args := range [][]string{
		{"gtrace", "-n", s.Target.Only(4).String()},
		{"gtrace", "-n", "-N1", s.Target.Only(6).String()},
		{"gtrace", "-n", "--format", "events", s.Target.Only(4).String()},
		{"gtrace", "-n", "--json", s.Path[4][0].String(), s.Target.Only(4).String(), s.Target.Only(6).String()},
		{"gping", "-n", "-i0.01", s.Target.Only(4).String()},
		{"gping", "-n", "-i0.01", "--format=events", s.Target.Only(6).String()},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r := start(t, s.Client, func(c *exec.Cmd) { c.Stdout = write }, args...)
			write.Close()
			one := make([]byte, 1)
			var line []byte
			for len(line) == 0 || line[len(line)-1] != '\n' {
				if _, err := read.Read(one); err != nil {
					t.Fatalf("after %q: %v", line, err)
				}
				line = append(line, one[0])
			}
			read.Close()
			got := r.end()
			if got.stderr != "" || got.status != 0 && got.status != 1 && got.status != 2 {
				t.Errorf("want silence and a status of 0, 1 or 2\n%v", got)
			}
		})
	}
}

// TestFullOutput cannot be written: that is told, and not the same as a
// reader who has gone.
func TestFullOutput(t *testing.T) {
	s := standard(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{
		{"gtrace", "-n", s.Target.Only(4).String()},
		{"gtrace", "-n", "--json", s.Target.Only(4).String()},
		{"gping", "-n", "-c3", "-i0.01", s.Target.Only(4).String()},
	} {
		got := start(t, s.Client, func(c *exec.Cmd) { c.Stdout = full }, args...).end()
		if got.status != 2 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, syscall.ENOSPC.Error()) {
			t.Errorf("want status 2 and a line that says why\n%v", got)
		}
	}
}
