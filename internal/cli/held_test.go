package cli

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
)

// A clockedWriter notes when what was written.
type clockedWriter struct {
	bytes.Buffer
	now   func() time.Time
	wrote []clocked
}

type clocked struct {
	at   time.Time
	text string
}

func (w *clockedWriter) Write(b []byte) (int, error) {
	w.wrote = append(w.wrote, clocked{w.now(), string(b)})
	return w.Buffer.Write(b)
}

// Output of several hosts goes out by many lines at a time, yet before the loop waits: nobody sees an answer late.
func TestOutputOfMany(t *testing.T) {
	w := newWorld(simnet.Config{})
	out := &clockedWriter{now: w.conn.Now}
	w.env.Stdout = out
	begin := w.conn.Now()
	line := "gping -n -c3 -i1 --targets=-"
	w.env.Stdin = strings.NewReader(strings.Repeat("192.0.2.9\n10.0.1.1\n10.0.2.1\n", 20))
	if status := w.run(t.Context(), line); status != 0 {
		t.Fatalf("%s: status %d, standard error %q", line, status, w.stderr.String())
	}
	seq := regexp.MustCompile(`icmp_seq=(\d+)`)
	lines, late := 0, 0
	for _, c := range out.wrote {
		lines += strings.Count(c.text, "\n")
		for _, m := range seq.FindAllStringSubmatch(c.text, -1) {
			n, _ := strconv.Atoi(m[1])
			if at := c.at.Sub(begin); at > time.Duration(n-1)*time.Second+500*time.Millisecond {
				late++
				t.Logf("icmp_seq=%d went out after %v", n, at)
			}
		}
	}
	if want := 60 * (1 + 3 + 3); lines < want {
		t.Errorf("%d lines, want %d or more", lines, want)
	}
	if len(out.wrote)*2 > lines {
		t.Errorf("%d writes for %d lines", len(out.wrote), lines)
	}
	if late > 0 {
		t.Errorf("%d answers went out late", late)
	}
}

// What went to standard output before something goes to standard error stands before it, where both are one file.
func TestOutputOrder(t *testing.T) {
	w := newWorld(simnet.Config{})
	w.env.Name, w.env.Stderr = "fping", &w.out
	w.run(t.Context(), "gping -c1 -i1 -H1 10.0.1.1 192.0.2.9") // both are answered by the first router
	got := w.out.String()
	answer, refusal := strings.Index(got, "10.0.1.1  : [0]"), strings.Index(got, "ICMP Time Exceeded")
	if answer < 0 || refusal < answer {
		t.Errorf("%q", got)
	}
}
