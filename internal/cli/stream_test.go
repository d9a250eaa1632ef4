package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
)

// wide is a world whose target has all addresses of 192.0.0.0/16, and of which 198.51.0.0/16 is silent.
func wide() *world {
	w := newWorld(simnet.Config{})
	src, r, h, silent := simnet.Host(here4), simnet.Router("10.0.1.1"), simnet.Host(), simnet.Host()
	h.Own = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}
	silent.Own, silent.Silent = []netip.Prefix{netip.MustParsePrefix("198.51.0.0/16")}, true
	src.Link(r)
	r.Link(h)
	r.Link(silent, "198.51.0.0/16")
	w.conn = simnet.New(simnet.Config{Record: true}, src)
	w.env.Conn = yielding{w.conn}
	w.env.source = func(netip.Addr, rawsock.Settings) (netip.Addr, error) { return netip.MustParseAddr(here4), nil }
	return w
}

// yielding lets others have their turn before time goes on.
type yielding struct{ *simnet.Conn }

func (g yielding) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	runtime.Gosched()
	return g.Conn.Recv(rs, until)
}

// watched tells of each line that is written.
type watched struct {
	bytes.Buffer
	wrote func(line string)
}

func (w *watched) Write(b []byte) (int, error) {
	w.wrote(string(b))
	return w.Buffer.Write(b)
}

// numbers are lines of a list, as long as it is asked for more: addresses of 192.0.0.0/16 and of names.
type numbers struct {
	n, most int
	read    atomic.Int64
	rest    []byte
}

func (r *numbers) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.n == r.most {
			return 0, io.EOF
		}
		r.rest = fmt.Appendf(nil, "192.0.%d.%d\n", r.n/250, 1+r.n%250)
		r.n++
		r.read.Add(1)
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestListKeptOpen: the first results come before the list's end, and what comes later is measured then.
func TestListKeptOpen(t *testing.T) {
	for _, line := range []string{
		"gtrace --icmp --json -w.1 --targets -",
		"gtrace --icmp --format events -w.1 --targets -",
		"gtrace --icmp -n -w.1 --targets -",
		"gping --json -c1 -W.1 --targets -",
		"gping --ordered -n -c1 -W.1 --targets -",
	} {
		t.Run(line, func(t *testing.T) {
			w := wide()
			r, feed := io.Pipe()
			defer feed.Close()
			done := make(chan string, 100)
			out := &watched{}
			text := ""
			out.wrote = func(more string) {
				if text += more; !strings.HasSuffix(text, "\n") {
					return
				}
				for line := range strings.Lines(text) {
					for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
						if strings.Contains(line, `"target":"`+a+`"`) && strings.Contains(line, `"complete":true`) ||
							strings.HasPrefix(line, " 2  "+a) || strings.HasPrefix(line, "--- "+a) {
							done <- a
						}
					}
				}
				text = ""
			}
			w.env.Stdin, w.env.Stdout = r, out
			ended := make(chan int)
			go func() { ended <- w.run(t.Context(), line) }()
			want := func(list string, as ...string) {
				if _, err := io.WriteString(feed, list); err != nil {
					t.Fatal(err)
				}
				for _, a := range as {
					select {
					case got := <-done:
						if got != a {
							t.Fatalf("%s is done, want %s", got, a)
						}
					case status := <-ended:
						t.Fatalf("it ended with status %d before %s was done\n%s\n%s", status, a, out, &w.stderr)
					}
				}
			}
			if strings.Contains(line, "events") { // whether they say whose they are depends on the second
				want("192.0.2.1\n192.0.2.2\n")
				first := []string{<-done, <-done}
				if first[0] == first[1] {
					t.Errorf("%v are done, want both", first)
				}
			} else {
				want("192.0.2.1\n", "192.0.2.1")
				want("192.0.2.2\n", "192.0.2.2")
			}
			want("192.0.2.3\n", "192.0.2.3")
			feed.Close()
			if status := <-ended; status != yes || w.stderr.Len() > 0 {
				t.Errorf("status %d, %s\n%s", status, &w.stderr, out)
			}
		})
	}
}

// TestListAsNeeded: no more of a list is read than is measured soon, and every host of it is.
func TestListAsNeeded(t *testing.T) {
	const n = 5000
	for _, line := range []string{
		"gping --json -c1 -W.1 --parallel 100 --targets -",
		"gping --ordered -c1 -W.1 --parallel 100 --targets -",
		"gtrace --icmp --json -q1 -m3 -w.1 --parallel 100 --targets -",
	} {
		t.Run(line, func(t *testing.T) {
			w, list := wide(), &numbers{most: n}
			most, ended := int64(0), int64(0)
			w.env.Stdin = list
			w.env.Stdout = &watched{wrote: func(line string) {
				ended += int64(strings.Count(line, `"complete":true`) + strings.Count(line, "--- 192."))
				most = max(most, list.read.Load()-ended)
			}}
			if status := w.run(t.Context(), line); status != yes || w.stderr.Len() > 0 {
				t.Errorf("status %d, %s", status, &w.stderr)
			}
			if ended != n {
				t.Errorf("%d ended, want %d", ended, n)
			}
			// What is in the buffers, at least 10 bytes a line, and what is in progress.
			if want := int64(readSize/10 + 3*readAhead + 100); most > want {
				t.Errorf("up to %d lines were read ahead, want no more than %d", most, want)
			}
		})
	}
}

// TestListOfAll: a network is not made before it is measured, however many hosts it has, and an interrupt says what was not.
func TestListOfAll(t *testing.T) {
	for _, line := range []string{
		"gping --json --no-replies -c1 -W.1 --targets -",
		"gping --json --no-replies -c1 -W.1 --generate 192.0.0.0/2",
		"gtrace --json -q1 -m3 -w.1 --targets -",
	} {
		t.Run(line, func(t *testing.T) {
			w := wide()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			w.env.Stdin = strings.NewReader("192.0.0.0/2\n")
			w.env.Stdout = &watched{wrote: func(string) {
				if n++; n == 1000 {
					cancel()
				}
			}}
			if status := w.run(ctx, line); status != unsure {
				t.Errorf("status %d, want %d", status, unsure)
			}
			if !strings.Contains(w.stderr.String(), "what has not been read of the lists: not measured: interrupted\n") || n > 200_000 {
				t.Errorf("%d documents\n%s", n, &w.stderr)
			}
		})
	}
}

// TestListOfManyKinds: what lists hold beside addresses, in one that is too long to be read before the first host is begun.
func TestListOfManyKinds(t *testing.T) {
	var hosts strings.Builder
	for i := range 2 * readAhead {
		fmt.Fprintf(&hosts, "192.0.1.%d\n", i%256)
	}
	for _, tt := range []struct {
		name, more string
		line       string
		documents  int // beside those of hosts
		status     int
		err        []string // lines of standard error, in any order
	}{
		{name: "addresses alone"},
		{name: "names", more: "four.example\nnosuch.example\n", documents: 2, status: unsure, err: []string{"gping: nosuch.example: look up the name: no such host"}},
		{name: "a network", more: "192.0.2.0/29\n", documents: 6},
		{name: "a silent host", more: "198.51.100.9\n", documents: 1, status: no},
		{name: "lines that are wrong", more: "192.0.2.0/33\n192.0.2.1 x\n192.0.2.9", documents: 1, status: unsure, err: []string{
			"gping: standard input, line 513: 192.0.2.0/33: want a network, such as 192.0.2.0/29 or 2001:db8::/120",
			"gping: standard input, line 514: 192.0.2.1 x: want one host a line"}},
		{name: "too large a network", more: "2001:db8::/64\n192.0.2.9\n", documents: 1, status: unsure, err: []string{
			"gping: standard input, line 513: 2001:db8::/64: more than the 4294967296 hosts of one network or range"}},
		{name: "no text", more: "192.0.2.9\n\x00\n192.0.2.9\n", documents: 1, status: unsure, err: []string{"gping: --targets -: line 514: has a byte 0, so this is no list of hosts"}},
		{name: "enough of them", more: "198.51.100.9\n", line: " --min-alive 512", documents: 1},
		{name: "one too few", more: "198.51.100.9\n", line: " --min-alive 513", documents: 1, status: no},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := wide()
			w.env.Stdin = strings.NewReader(hosts.String() + tt.more)
			if status := w.run(t.Context(), "gping -4 --json -c1 -W.1 --targets -"+tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if n := len(w.documents(t)); n != 2*readAhead+tt.documents {
				t.Errorf("%d documents, want %d", n, 2*readAhead+tt.documents)
			}
			if n := strings.Count(w.stderr.String(), "\n"); n != len(tt.err) {
				t.Errorf("standard error:\n%s", &w.stderr)
			}
			for _, line := range tt.err {
				if !strings.Contains(w.stderr.String(), line+"\n") {
					t.Errorf("standard error:\n%s\nwant %q", &w.stderr, line)
				}
			}
		})
	}
}

// TestListOrdered: in the order given, whatever is looked up in between.
func TestListOrdered(t *testing.T) {
	w := wide()
	var want []string
	for i := range 3 * readAhead {
		want = append(want, fmt.Sprintf("192.0.%d.%d", i>>8, i&0xff))
		if i%100 == 7 {
			want = append(want, []string{"four.example", "nosuch.example"}[i/100%2])
		}
	}
	w.env.Stdin = strings.NewReader(strings.Join(want, "\n"))
	w.run(t.Context(), "gping --json --ordered -c1 -W.1 --targets -")
	for i, d := range w.documents(t) {
		if d["target"] != want[i] {
			t.Fatalf("document %d is of %v, want %s", i, d["target"], want[i])
		}
	}
}

// TestSettledBeforeNames: nothing is looked up or sent, and no file opened, in another order than the confinement needs.
func TestSettledBeforeNames(t *testing.T) {
	for _, kind := range []string{"short", "long"} {
		w := wide()
		list := file(t, "four.example\n"+strings.Repeat("192.0.2.1\n", map[string]int{"short": 1, "long": 2 * readAhead}[kind]))
		settled := false
		lookup := w.env.lookup
		w.env.lookup = func(ctx context.Context, network, name string) ([]netip.Addr, error) {
			if !settled {
				t.Error("a name is asked for before the program is confined")
			}
			return lookup(ctx, network, name)
		}
		w.env.Settle = func() {
			settled = true
			if err := os.Remove(list); err != nil { // as what may not be opened any more
				t.Error(err)
			}
		}
		if status := w.run(t.Context(), "gping -4 --json -c1 --targets "+list); status != yes || !settled {
			t.Errorf("%s: status %d, %s", kind, status, &w.stderr)
		}
	}
}

// failing is a list that breaks off.
type breaking struct{ io.Reader }

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("the disk is gone")
	}
	return n, err
}

// TestListBreaks: what was read is measured, and that there may be more makes it "could not tell".
func TestListBreaks(t *testing.T) {
	w := wide()
	w.env.Stdin = breaking{&numbers{most: 2 * readAhead}}
	if status := w.run(t.Context(), "gping --json -c1 --targets -"); status != unsure {
		t.Errorf("status %d, want %d", status, unsure)
	}
	if got, want := w.stderr.String(), "gping: --targets -: the disk is gone\n"; got != want || len(w.documents(t)) != 2*readAhead {
		t.Errorf("standard error %q, want %q; %d documents", got, want, len(w.documents(t)))
	}
}
