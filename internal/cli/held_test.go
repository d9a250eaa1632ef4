package cli

import (
	"bytes"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
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

// A quitConn has a user press Ctrl-\\ while the loop waits for long, which goes on once what that asks for has gone out.
type quitConn struct {
	rawsock.Conn
	once func()
}

func (c *quitConn) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	if once := c.once; once != nil && until.Sub(c.Now()) > 20*time.Second {
		c.once = nil
		once()
	}
	return c.Conn.Recv(rs, until)
}

// writes hands on what is written.
type writes chan string

func (w writes) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// What SIGQUIT asks for goes out at once, though output of several hosts waits for the loop, and that may wait for an hour.
func TestQuitGoesOut(t *testing.T) {
	for _, tt := range []struct {
		name, line, want string
		times            int
	}{
		{"gping", "gping -n --format events -c 2 -i 60 10.0.1.1 10.0.2.1", `"interim"`, 2},
		{"fping", "gping -N -Q 600 -c 2 -p 60000 10.0.1.1 10.0.2.1", "CHART", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			out := make(writes, 1000)
			c := &quitConn{Conn: w.conn, once: func() {
				self, err := os.FindProcess(os.Getpid())
				if err != nil {
					t.Fatal(err)
				}
				if err := self.Signal(syscall.SIGQUIT); err != nil {
					t.Fatal(err)
				}
				late := time.After(30 * time.Second)
				for seen := ""; strings.Count(seen, tt.want) < tt.times; {
					select {
					case s := <-out:
						seen += s
					case <-late:
						t.Errorf("%s is not out: %q", tt.want, seen)
						return
					}
				}
			}}
			w.env.Conn, w.env.Stdout, w.env.Name = c, out, tt.name
			w.run(t.Context(), tt.line)
			if c.once != nil {
				t.Error("the loop never waited for long")
			}
		})
	}
}

// Hosts that are refused while others' names are asked for: output has one goroutine, whoever asks for it to be held (with -race).
func TestOutputBesideNames(t *testing.T) {
	for range 20 {
		w := newWorld(simnet.Config{})
		w.run(t.Context(), "gtrace --names --json nosuch.example nosuch2.example 10.0.1.1 10.0.2.1")
		if n := len(w.documents(t)); n != 4 {
			t.Errorf("%d documents of 4 hosts", n)
		}
	}
}

// What is held is bounded, and nothing of it is lost or turned round.
func TestOutputHeld(t *testing.T) {
	var b bytes.Buffer
	o := &output{w: &b}
	if err := o.hold(true); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range 10_000 {
		line := []byte(strconv.Itoa(i) + strings.Repeat("x", 20) + "\n")
		want.Write(line)
		if n, err := o.Write(line); n != len(line) || err != nil {
			t.Fatalf("wrote %d of %d: %v", n, len(line), err)
		}
		if len(o.kept) >= mostHeld {
			t.Fatalf("%d bytes held", len(o.kept))
		}
	}
	if b.Len() == want.Len() {
		t.Error("nothing was held")
	}
	if err := o.hold(false); err != nil || b.String() != want.String() {
		t.Errorf("%v; %d bytes went out, want %d", err, b.Len(), want.Len())
	}
}
