package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

// targetsOf are those of the documents, in order.
func targetsOf(t *testing.T, w *world) (names []string) {
	t.Helper()
	for _, d := range w.documents(t) {
		if d["schema"] != nil {
			names = append(names, d["target"].(string))
		}
	}
	return names
}

// hostList are n lines of addresses.
func hostList(n int) string {
	b, _ := io.ReadAll(&numbers{most: n})
	return string(b)
}

// TestResume: hosts of which a file has complete results are left out, wherever they are named; the others are measured.
func TestResume(t *testing.T) {
	const doc = `{"schema":"gping/ping/v1","target":"%s","complete":%t,"summary":{"target":"192.0.0.9"}}` + "\n"
	one, two := fmt.Sprintf(doc, "192.0.0.1", true), fmt.Sprintf(doc, "192.0.0.2", true)
	cut := fmt.Sprintf(doc, "192.0.0.3", false)
	for _, tt := range []struct {
		name, results string
		line          string // what is measured
		list          string
		want          []string
		status        int
		err           string // a regular expression
	}{
		{name: "the command line", results: one + cut, line: "192.0.0.1 192.0.0.2 192.0.0.3", want: []string{"192.0.0.2", "192.0.0.3"}, err: `gping: --resume \S+: hosts that were left out, as it has their results: 1\n`},
		{name: "a network", results: one + two, line: "--generate 192.0.0.0/29", want: []string{"192.0.0.3", "192.0.0.4", "192.0.0.5", "192.0.0.6"}, err: `.*: 2\n`},
		{name: "a list", results: two, line: "--targets LIST", list: "192.0.0.1\n192.0.0.2\n192.0.0.2\n", want: []string{"192.0.0.1"}, err: `.*: 2\n`},
		{name: "all", results: one + two, line: "192.0.0.1 192.0.0.2", err: `.*: 2\n`},
		{name: "other names of an address", results: strings.Replace(one, `,"complete"`, `,"destination":"192.0.0.2","complete"`, 1), line: "--unique 192.0.0.1 192.0.0.2 192.0.0.3", want: []string{"192.0.0.3"}, err: `.*: 1\n`},
		{name: "nothing yet", line: "192.0.0.1", want: []string{"192.0.0.1"}},
		{name: "events", results: `{"event":"sent","target":"192.0.0.2"}` + "\n" + one, line: "192.0.0.1 192.0.0.2", want: []string{"192.0.0.2"}, err: `.*: 1\n`},
		{name: "only the beginning of events", results: `{"event":"started","target":"192.0.0.2"}` + "\n", line: "192.0.0.2", want: []string{"192.0.0.2"}},
		{name: "a cut line", results: one + two[:40], line: "192.0.0.1 192.0.0.2", want: []string{"192.0.0.2"}, err: `gping: --resume \S+: the last line is cut off: it counts for nothing\n.*: 1\n`},
		{name: "nothing but that", results: two[:40], line: "192.0.0.2", want: []string{"192.0.0.2"}, err: `.* the last line is cut off: .*\n`},
		{name: "no end of line", results: one + two[:len(two)-1], line: "192.0.0.1 192.0.0.2", err: `.*: 2\n`},
		{name: "odd lines", results: one + "x\n[]\n\n" + two, line: "192.0.0.1 192.0.0.2", err: `gping: --resume \S+: 2 lines are no results, the first of them line 2: they count for nothing\n.*: 2\n`},
		{name: "another program's", results: strings.Replace(one, "gping/ping", "gtrace/trace", 1), line: "192.0.0.1", status: unsure, err: `gping: --resume \S+: holds no results of gping: .*\n`},
		{name: "a list of hosts", results: "192.0.0.1\n192.0.0.2\n", line: "192.0.0.1", status: unsure, err: `gping: --resume \S+: holds no results of gping: .*\n`},
		{name: "no such file", line: "192.0.0.1 --resume nosuch", status: unsure, err: `gping: --resume .*\n`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := wide()
			line := "gping --json -c1 --resume " + file(t, tt.results) + " " + strings.Replace(tt.line, "LIST", file(t, tt.list), 1)
			if tt.name == "no such file" {
				line = "gping --json -c1 --resume /nosuch/file 192.0.0.1"
			}
			if status := w.run(t.Context(), line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			got := targetsOf(t, w)
			if slices.Sort(got); !slices.Equal(got, tt.want) {
				t.Errorf("measured %v, want %v", got, tt.want)
			}
			if !regexp.MustCompile(`^(` + tt.err + `)$`).MatchString(w.stderr.String()) {
				t.Errorf("standard error %q, want %s", &w.stderr, tt.err)
			}
		})
	}
}

// TestResumeGoesOn: a run that was interrupted and is gone on with, into the same file whose last line is cut off, has each host once.
func TestResumeGoesOn(t *testing.T) {
	const n = 700
	results := file(t, "")
	list := file(t, hostList(n))
	run := func(stop int) {
		w := wide()
		out, err := os.OpenFile(results, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		w.env.Stdout = out
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if stop > 0 {
			w.env.Stdout = &watched{wrote: func(line string) {
				if stop--; stop == 0 {
					cancel()
				}
				if stop >= 0 {
					_, _ = io.WriteString(out, line)
				}
			}}
		}
		w.run(ctx, "gping --json -c1 --resume "+results+" --targets "+list)
	}
	run(500)
	b, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(results, int64(len(b)-20)); err != nil { // as a crash would
		t.Fatal(err)
	}
	run(0)
	f, err := os.Open(results)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := resumed(f, "gping", false)
	if err != nil || len(r.done) != n || r.results != n || r.odd != 1 || r.cut || r.open {
		t.Errorf("%d done, %+v, %v; want all %d, and the cut line alone", len(r.done), r.results, err, n)
	}
}

// TestResumedBreaks: a file that cannot be read is no empty one.
func TestResumedBreaks(t *testing.T) {
	gone := errors.New("gone")
	if _, err := resumed(io.MultiReader(strings.NewReader("{}\n"), brokenReader{gone}), "gping", false); !errors.Is(err, gone) {
		t.Errorf("error %v, want %v", err, gone)
	}
}

type brokenReader struct{ error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.error }

// TestUnique: an address is measured once, by its first name, in lists of any length and among them.
func TestUnique(t *testing.T) {
	long := hostList(3 * readAhead)
	for _, tt := range []struct {
		name, line, list string
		want             int
		also             []string // these are among them
		not              []string
	}{
		{name: "command line", line: "gping --json --unique -4 -c1 192.0.2.9 four.example 192.0.2.8 192.0.2.9", want: 2, also: []string{"192.0.2.9", "192.0.2.8"}},
		{name: "by its first name", line: "gping --json --unique -4 -c1 four.example 192.0.2.9", want: 1, also: []string{"four.example"}},
		{name: "not asked for", line: "gping --json -4 -c1 192.0.2.9 192.0.2.9", want: 2},
		{name: "hosts that are none", line: "gping --json --unique -c1 nosuch.example nosuch.example 192.0.2.9", want: 3},
		{name: "long lists", line: "gping --json --unique -4 -c1 --targets LIST --targets LIST", list: long + "192.0.0.0/24\n", want: 3*readAhead + 254 - 250, also: []string{"192.0.0.254"}},
		{name: "in order", line: "gping --json --ordered --unique -c1 --targets LIST", list: long + long + "192.0.9.9", want: 3*readAhead + 1, also: []string{"192.0.9.9"}},
		{name: "text", line: "gping --unique -n -c1 192.0.2.9 192.0.2.9 192.0.2.8", want: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := wide()
			w.run(t.Context(), strings.ReplaceAll(tt.line, "LIST", file(t, tt.list)))
			if tt.want == 0 {
				if n := strings.Count(w.out.String(), "PING "); n != 2 {
					t.Errorf("%d hosts, want 2\n%s", n, &w.out)
				}
				return
			}
			got := targetsOf(t, w)
			if len(got) != tt.want {
				t.Errorf("%d hosts, want %d", len(got), tt.want)
			}
			for _, name := range tt.also {
				if !slices.Contains(got, name) {
					t.Errorf("%s is not among them", name)
				}
			}
		})
	}
}

// TestPermuted: each number once, whatever chance says, and each chance in another order.
func TestPermuted(t *testing.T) {
	for _, n := range []uint64{0, 1, 2, 255, 256, 257, 1000, 65536, 65537, 100_000} {
		for seed := range uint64(3) {
			seen := make([]bool, n)
			count := uint64(0)
			for i := range permuted(n, rand.New(rand.NewPCG(seed, 0))) {
				if seen[i] {
					t.Fatalf("%d of %d comes twice", i, n)
				}
				seen[i] = true
				count++
			}
			if count != n {
				t.Errorf("%d numbers of %d", count, n)
			}
		}
	}
	// The largest takes too long: its beginning has no number twice, and none that is too large.
	seen := map[uint64]bool{}
	for i := range permuted(maxNetwork, rand.New(rand.NewPCG(1, 0))) {
		if seen[i] || i >= maxNetwork {
			t.Fatalf("%d comes twice, or is too large", i)
		}
		if seen[i] = true; len(seen) == 10_000 {
			break
		}
	}
}

func TestPlus(t *testing.T) {
	for _, tt := range []struct {
		a    string
		n    uint64
		want string
	}{
		{"10.0.0.0", 0, "10.0.0.0"}, {"0.0.0.0", 1<<32 - 1, "255.255.255.255"}, {"10.0.255.255", 1, "10.1.0.0"},
		{"2001:db8::ffff:ffff:ffff:ffff", 1, "2001:db8:0:1::"}, {"fe80::1%eth0", 2, "fe80::3%eth0"},
	} {
		if got := plus(netip.MustParseAddr(tt.a), tt.n); got != netip.MustParseAddr(tt.want) {
			t.Errorf("%s and %d: %v, want %s", tt.a, tt.n, got, tt.want)
		}
	}
}

// TestShuffle: the same hosts in another order, the same for the same seed; neighbours are apart, in networks and in lists.
func TestShuffle(t *testing.T) {
	list := file(t, hostList(3000))
	const network = "192.0.8.0/22"
	for _, line := range []string{
		"gping --json -c1 --global-interval .001 --parallel 1 --generate " + network,
		"gping --json -c1 --parallel 1 --targets " + list,
		"gping -n -q -c1 --parallel 1 --targets " + list,
		"gping --json -c1 --parallel 1 192.0.0.1 192.0.0.2 192.0.0.3 192.0.0.4 192.0.0.5 192.0.0.6 192.0.0.7 192.0.0.8 192.0.0.10",
	} {
		t.Run(line, func(t *testing.T) {
			sent := func(more string) (as []string, said string) {
				w := wide()
				w.run(t.Context(), line+more)
				for _, p := range w.conn.Sent() {
					as = append(as, netip.AddrFrom4([4]byte(p.Data[16:20])).String())
				}
				return as, w.stderr.String()
			}
			plain, _ := sent("")
			one, said := sent(" --shuffle")
			seed, found := strings.CutPrefix(strings.TrimSpace(said), "gping: --shuffle: hosts begin in the order of --seed ")
			if !found {
				t.Fatalf("standard error %q, want the seed", said)
			}
			if again, said := sent(" --seed " + seed); !slices.Equal(one, again) || said != "" {
				t.Errorf("the same seed has another order, or said %q", said)
			}
			// Of few hosts there are so few orders that a seed by chance may well have another's.
			other, _ := sent(" --seed 4711")
			if another, _ := sent(" --seed 4712"); slices.Equal(another, other) || slices.Equal(other, plain) {
				t.Error("another seed, or none, has the same order")
			}
			if _, again := sent(" --shuffle"); again == said {
				t.Errorf("two runs by chance have seed %s", seed)
			}
			sorted := func(as []string) []string { return slices.Sorted(slices.Values(as)) }
			if !slices.Equal(sorted(one), sorted(plain)) || !slices.Equal(sorted(other), sorted(plain)) {
				t.Errorf("%d and %d hosts, want the same %d", len(one), len(other), len(plain))
			}
			near := 0
			for i := 1; i < len(other); i++ {
				a, b := netip.MustParseAddr(other[i-1]), netip.MustParseAddr(other[i])
				if a.Next() == b || b.Next() == a {
					near++
				}
			}
			if len(other) > 1000 && near > len(other)/100 {
				t.Errorf("%d of %d are next to a neighbour", near, len(other))
			}
		})
	}
	w := wide()
	if status := w.run(t.Context(), "gping --shuffle --ordered -c1 192.0.2.9"); status != unsure || !strings.Contains(w.stderr.String(), "exclude each other") {
		t.Errorf("status %d, %s", status, &w.stderr)
	}
}

// TestProgress: a line that says how far the run is, drawn at most four times a second, gone at the end and before all else.
func TestProgress(t *testing.T) {
	w := wide()
	line := "gping --json -c1 -W1 --global-interval .01 --parallel 20 --progress --targets "
	list := file(t, strings.Replace(hostList(200), "192.0.0.100\n", "198.51.100.9\nnosuch.example\n", 1))
	if status := w.run(t.Context(), line+list); status != unsure {
		t.Errorf("status %d", status)
	}
	drawn := strings.Split(w.stderr.String(), "\r")
	shape := regexp.MustCompile(`^[0-9]+ done, [0-9]+ left, [0-9]+ probes/s(, [0-9.]+% lost)?(, [0-9hms]+ to go)? *$`)
	n, last := 0, ""
	for _, d := range drawn {
		switch {
		case shape.MatchString(d):
			n++
			last = d
			var done, left int
			if _, err := fmt.Sscanf(d, "%d done, %d left", &done, &left); err != nil || done+left != 201 {
				t.Errorf("drawn %q of 201 hosts", d)
			}
		case strings.Trim(d, " ") != "" && d != "gping: nosuch.example: look up the name: no such host\n":
			t.Errorf("drawn %q", d)
		}
	}
	// 201 requests, one each 10 ms, and a second for the silent one.
	if n < 7 || n > 12 {
		t.Errorf("drawn %d times, want about 8:\n%q", n, &w.stderr)
	}
	if strings.Trim(drawn[len(drawn)-1], " ") != "" || strings.Trim(drawn[len(drawn)-2], " ") != "" || !strings.Contains(last, " 100 probes/s") {
		t.Errorf("at the end %q", drawn[len(drawn)-3:])
	}

	for _, line := range []string{"gping --json -c1 --targets " + list, "gtrace --icmp --json --targets " + list} {
		w := wide()
		if w.run(t.Context(), line); strings.Contains(w.stderr.String(), "\r") {
			t.Errorf("%s: drawn though standard error is no terminal: %q", line, &w.stderr)
		}
	}
}

// TestProgressLine: what is known of a run, within 80 columns.
func TestProgressLine(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tell := func(e probe.Event, draws bool) {
		t.Helper()
		if _, draw := p.happened(e); draw != draws {
			t.Errorf("%T at %v: to be drawn %v, want %v", e, at, draw, draws)
		}
	}
	outcome := func(status probe.Status, late, dup bool) *probe.Probed {
		return &probe.Probed{Outcome: probe.Outcome{Status: status, At: at, Late: late, Duplicate: dup}}
	}
	tell(probe.Started{At: at}, false)
	for range 1000 {
		tell(&probe.Sent{At: at}, false)
	}
	at = at.Add(redraws - 1)
	tell(outcome(probe.Answered, false, false), false)
	tell(outcome(probe.Answered, false, true), false)
	tell(outcome(probe.Failed, false, false), false)
	tell(&probe.Probed{Outcome: probe.Outcome{Status: probe.Lost}}, false)
	tell(&probe.Probed{Outcome: probe.Outcome{Status: probe.Lost}}, false)
	at = at.Add(1)
	tell(outcome(probe.Answered, true, false), true)
	if got, want := p.line(at, 10, 30, false), "10 done, 30 left, 4000 probes/s, 33.3% lost, 1s to go"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	tell(&probe.Sent{At: at}, false)
	at = at.Add(time.Second)
	tell(probe.Finished{At: at}, true)
	if got, want := p.line(at, 11, 5, true), "11 done, more left, 1 probes/s, 33.3% lost"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.trace = true
	if got := p.line(at.Add(time.Second), 11, 5, true); !strings.Contains(got, "33.3% silent") {
		t.Errorf("%q, want what is silent told so of traces", got)
	}
	at = at.Add(1000 * time.Hour)
	if long := p.line(at, 1<<30, 1<<30, false); len(long) >= 80 {
		t.Errorf("%d columns: %q", len(long), long)
	}
	p.draw("abc")
	p.draw("a")
	p.wipe()
	p.wipe()
	if got, want := out.String(), "\rabc\ra  \r \r"; got != want {
		t.Errorf("drawn %q, want %q", got, want)
	}
}
