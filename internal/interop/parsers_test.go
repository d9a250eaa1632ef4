//go:build linux

package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gtrace/internal/lab"
)

// parse has jc read texts, in one process since Python takes its time to
// start, and returns what it made of each: JSON, or the kind of its error.
// Times are left out of it: what stands for one is "a number".
const parse = `
import json, sys, jc
def timeless(v):
    if isinstance(v, dict):
        return {k: ("a number" if isinstance(x, (int, float)) and (k in ("rtt", "timestamp") or "_ms" in k) else timeless(x)) for k, x in v.items()}
    return [timeless(x) for x in v] if isinstance(v, list) else v
out = []
for name, text in json.load(sys.stdin):
    try:
        out.append(json.dumps(timeless(jc.parse(name, text, quiet=True)), sort_keys=True, indent=1))
    except Exception as e:
        out.append("error: " + type(e).__name__)
json.dump(out, sys.stdout)
`

func jc(t *testing.T, texts [][2]string) (out []string) {
	t.Helper()
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	// jc runs under the Python that its first line names: not every one has the module.
	script, err := find("jc")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	python := strings.Fields(strings.TrimPrefix(first, "#!"))
	if !strings.HasPrefix(first, "#!") || len(python) == 0 {
		python = []string{"python3"}
	}
	c := exec.CommandContext(t.Context(), python[0], append(python[1:], "-c", parse)...)
	var stderr bytes.Buffer
	c.Stdin, c.Stderr = bytes.NewReader(in), &stderr
	b, err = c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c, err, &stderr)
	}
	if err := json.Unmarshal(b, &out); err != nil || len(out) != len(texts) {
		t.Fatalf("jc: %d of %d texts read: %v", len(out), len(texts), err)
	}
	return out
}

// stdout is the standard output in a golden case.
func stdout(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if l, ok := strings.CutPrefix(line, "1|"); ok {
			b.WriteString(l)
		}
	}
	return b.String()
}

// TestJC holds jc to reading our output in every odd case as it reads the
// original's, times aside.
func TestJC(t *testing.T) {
	need(t, "jc")
	parsers := map[string]string{"ping": "ping", "traceroute": "traceroute"}
	want := map[string]map[kase]string{}
	for tool := range parsers {
		want[tool] = readGolden(t, tool)
	}
	var texts [][2]string
	var of []kase
	var mu sync.Mutex
	inParallel(t, everywhere(odd(t)), func(t *testing.T, k kase) {
		parser, ok := parsers[k.tool()]
		if !ok {
			return
		}
		got, w := k.ours(t), want[k.tool()][k]
		if d, ok := differences[k]; ok {
			w = d.ours
		}
		mu.Lock()
		defer mu.Unlock()
		of = append(of, k)
		texts = append(texts, [2]string{parser, stdout(w)}, [2]string{parser, stdout(masked(k.tool(), got))})
	})
	read := 0
	for i, out := range slices.Collect(slices.Chunk(jc(t, texts), 2)) {
		if out[0] != out[1] {
			t.Errorf("%s: jc reads\n%s\nwant\n%s\nof\n%s", of[i], out[1], out[0], texts[2*i+1][1])
		}
		if !strings.HasPrefix(out[0], "error") {
			read++
		}
	}
	if read == 0 {
		t.Error("jc read nothing")
	}
}

// anyNumber is what differs between two runs of a plugin in its text and in its performance data.
var anyNumber = regexp.MustCompile(`\d+\.\d+`)

// plugin runs a plugin, with its own ping and fping and with ours in their places.
func plugin(t *testing.T, o *lab.Odd, over map[string]string, args ...string) (theirs, ours result) {
	t.Helper()
	p, err := find(args[0])
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{p}, args[1:]...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ours = place{odd: o, over: over}.run(t, args...)
	}()
	theirs = place{odd: o}.run(t, args...)
	<-done
	for _, r := range []*result{&theirs, &ours} {
		r.stdout = anyNumber.ReplaceAllString(r.stdout, "0.0")
	}
	return theirs, ours
}

// under is what to put over the system's programs so that others run ours.
func under(t *testing.T) map[string]string {
	t.Helper()
	over := make(map[string]string)
	for _, name := range []string{"ping", "fping"} {
		p, err := find(name)
		if err != nil {
			t.Fatal(err)
		}
		over[p] = filepath.Join(ours(t), name)
	}
	return over
}

// TestPlugins holds the monitoring plugins to the same verdict and the same
// words by our programs as by those they were made for.
func TestPlugins(t *testing.T) {
	need(t, "check_ping", "check_fping", "ping", "fping")
	over := under(t)
	var ks []kase
	for _, host := range []string{
		"plain4", "plain6", "target4", "copies4", "corrupt4", "elsewhere4", "ttl4", "third4", "third6", "late4", "redirect4", "quench4", "truncated4",
		"mixed4", "silent4", "silent6", "loop4", "loop6", "away4", "reject-04", "reject-14", "reject-34", "reject-134", "reject-06", "reject-16", "reject-36",
	} {
		ks = append(ks, kase("check_ping -H {"+host+"} -w 1000,20% -c 2000,60% -p 2 -t 5"),
			kase("check_fping -H {"+host+"} -w 1000,20% -c 2000,60% -n 3 -i 1000"))
	}
	inParallel(t, ks, func(t *testing.T, k kase) {
		k.at(t, func(o *lab.Odd) {
			theirs, ours := plugin(t, o, over, k.args(o)...)
			if ours != theirs {
				t.Errorf("got\n%v\nwant\n%v", ours, theirs)
			}
		})
	})
}

// TestWholeLoss is where iputils breaks the plugin's parser and our programs
// need not: it reads one count beside the loss, and with
// --loss-format int there is no more than one. And then a loss is a whole number,
// which this plugin does not insist on, but its older versions do.
func TestWholeLoss(t *testing.T) {
	need(t, "check_ping", "ping")
	script := filepath.Join(t.TempDir(), "ping")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec '"+filepath.Join(ours(t), "gping")+"' --loss-format int \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	system, err := find("ping")
	if err != nil {
		t.Fatal(err)
	}
	const loss = "Packet loss = "
	k := kase("check_ping -H {third4} -w 1000,20% -c 2000,60% -p 5 -t 20") // two of seven are lost
	k.at(t, func(o *lab.Odd) {
		_, ours := plugin(t, o, map[string]string{system: script}, k.args(o)...)
		if !strings.Contains(ours.stdout, loss) || ours.status > 2 {
			t.Errorf("%s: got\n%v\nwant %q", k, ours, loss)
		}
	})
	// Copies and errors together. Of an error the plugin tells before it looks for a loss, so what
	// it would look for is held here: one count at most between what was received and the loss.
	line := regexp.MustCompile(`(?m)^4 packets transmitted, 2 received(, \+2 (duplicates|errors))?, 50% packet loss, time \d+ms$`)
	for _, k := range []kase{"gping --loss-format int -n -c 4 -i 0.2 -W 1 {mixed4}", "gping --loss-format int -n -c 4 -i 0.2 -W 1 {mixed6}"} {
		if got := k.ours(t); !line.MatchString(got.stdout) {
			t.Errorf("%s: got\n%v\nwant a line %s", k, got, line)
		}
	}
}

// gtrace's and gping's documents, as far as they are looked at.
type traceDoc struct {
	Outcome string `json:"outcome"`
	Hops    []struct {
		Probes []struct {
			From string `json:"from"`
		} `json:"probes"`
	} `json:"hops"`
}

type pingDoc struct {
	Target  string `json:"target"`
	Outcome string `json:"outcome"`
}

// TestHopsOfMTR compares the addresses of the hops that mtr finds with ours.
func TestHopsOfMTR(t *testing.T) {
	need(t, "mtr")
	d := ours(t)
	mtrHop := regexp.MustCompile(`(?m)^ *\d+\.\|-- (\S+)`)
	var ks []kase
	for _, host := range []string{"plain4", "plain6", "target4", "target6", "copies4", "third4", "ttl6", "narrow4", "silent4", "silent6"} {
		ks = append(ks, kase("mtr -n --report -c 3 -i 0.2 -m 5 {"+host+"}"))
	}
	inParallel(t, ks, func(t *testing.T, k kase) {
		k.at(t, func(o *lab.Odd) {
			args := k.args(o)
			theirs := place{odd: o}.run(t, args...)
			ours := place{odd: o, path: d}.run(t, "gtrace", "--json", "-n", "-I", "-m", "5", "-w", "1", args[len(args)-1])
			var want, got []string
			for _, m := range mtrHop.FindAllStringSubmatch(theirs.stdout, -1) {
				if m[1] != "???" {
					want = append(want, m[1])
				}
			}
			var doc traceDoc
			if err := json.Unmarshal([]byte(ours.stdout), &doc); err != nil {
				t.Fatalf("%v: %v", err, ours)
			}
			for _, h := range doc.Hops {
				i := slices.IndexFunc(h.Probes, func(p struct {
					From string `json:"from"`
				}) bool {
					return p.From != ""
				})
				if i >= 0 {
					got = append(got, h.Probes[i].From)
				}
			}
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("hops %v, want mtr's %v\n%v\n%v", got, want, ours, theirs)
			}
		})
	})
}

// TestVerdictsOfFping compares who is alive by fping with who is by gping.
func TestVerdictsOfFping(t *testing.T) {
	need(t, "fping")
	d := ours(t)
	o := odd(t)
	for _, family := range []int{4, 6} {
		var hosts []string
		for _, h := range o.Hosts(family) {
			// One probe to each: what is odd about these two is another. And the others are
			// answers to fping alone: one from elsewhere, and one whose checksum is wrong.
			if !slices.Contains([]string{"third", "swapped", "elsewhere", "checksum"}, h) {
				hosts = append(hosts, o.Addr(h, family).String())
			}
		}
		theirs := place{odd: o}.run(t, append([]string{"fping", "-r", "0", "-t", "900"}, hosts...)...)
		ours := place{odd: o, path: d}.run(t, append([]string{"gping", "--json", "-n", "-c", "1", "-W", "1"}, hosts...)...)
		want, got := make(map[string]bool), make(map[string]bool)
		for line := range strings.Lines(theirs.stdout) {
			host, verdict, _ := strings.Cut(strings.TrimSpace(line), " is ")
			want[host] = verdict == "alive"
		}
		for d := json.NewDecoder(strings.NewReader(ours.stdout)); d.More(); {
			var doc pingDoc
			if err := d.Decode(&doc); err != nil {
				t.Fatalf("%v: %v", err, ours)
			}
			got[doc.Target] = doc.Outcome == "answered"
		}
		if len(want) != len(hosts) {
			t.Errorf("IPv%d: fping judged %d of %d hosts", family, len(want), len(hosts))
		}
		for _, h := range hosts {
			if alive, ok := got[h]; !ok || alive != want[h] {
				t.Errorf("%s: alive is %v (judged: %v), want fping's %v", h, alive, ok, want[h])
			}
		}
		if t.Failed() {
			t.Logf("fping: %v\ngping: %v", theirs, ours)
		}
	}
}
