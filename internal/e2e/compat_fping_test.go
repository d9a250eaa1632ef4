//go:build linux

package e2e

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gtrace/internal/lab"
)

// fping runs gping under the name fping in the odd network and returns what
// it sent to a host, besides its result. NAME4 and NAME6 among the arguments
// are hosts.
func fping(t *testing.T, to string, args ...string) (result, []packet) {
	t.Helper()
	return called(t, "fping", to, args...)
}

func called(t *testing.T, name, to string, args ...string) (result, []packet) {
	t.Helper()
	o := oddNetwork(t)
	line := []string{linked(t, name)}
	for _, a := range args {
		line = append(line, oddHost(o, a))
	}
	r, ps := captured(t, o.Client, "r1", line...)
	dst, err := netip.ParseAddr(oddHost(o, to))
	if err != nil {
		t.Fatal(err)
	}
	return r, probes(ps, dst)
}

// oddHost is the address of a host named such as plain4 or plain6; what is no such name stays.
func oddHost(o *lab.Odd, s string) string {
	for _, f := range []int{4, 6} {
		name, ok := strings.CutSuffix(s, map[int]string{4: "4", 6: "6"}[f])
		if ok && slices.Contains(o.Hosts(f), name) {
			return o.Addr(name, f).String()
		}
	}
	return s
}

// says holds a run's output, the lines of one stream, against a pattern.
func says(t *testing.T, r result, status int, stream, pattern string) {
	t.Helper()
	if !regexp.MustCompile(`^(?:`+pattern+`)$`).MatchString(stream) || r.status != status {
		t.Errorf("want status %d and %s\n%v", status, pattern, r)
	}
}

// sent holds the number of packets, and each, against what is wanted.
func sent(t *testing.T, r result, ps []packet, n int, ok func(packet) bool) {
	t.Helper()
	if len(ps) != n {
		t.Errorf("%d packets sent, want %d\n%v", len(ps), n, r)
	}
	for _, p := range ps {
		if !p.isEcho() || !ok(p) {
			t.Errorf("not what it should be: %x\n%v", p.Data, r)
		}
	}
}

func any1(packet) bool { return true }

// gaps are the times between packets.
func gaps(ps []packet) (gs []time.Duration) {
	for i := 1; i < len(ps); i++ {
		gs = append(gs, ps[i].At.Sub(ps[i-1].At))
	}
	return gs
}

// apart says whether packets left no sooner after each other than that, but
// for what the clock that paces them may be off by.
func apart(t *testing.T, ps []packet, least ...time.Duration) {
	t.Helper()
	gs := gaps(ps)
	if len(gs) != len(least) {
		t.Errorf("%d packets, want %d", len(ps), len(least)+1)
		return
	}
	for i, g := range gs {
		if g < least[i]*9/10 {
			t.Errorf("gaps %v, want at least %v", gs, least)
			return
		}
	}
}

const fpingLine = `\S+ +: \[\d+\], \d+ bytes, [\d.]+ ms \([\d.]+ avg, \d+% loss\)\n`

// fpingOptionChecks are the checks of docs/compatibility.md, by option.
var fpingOptionChecks = map[string]func(*testing.T){
	"-4": func(t *testing.T) {
		r, ps := fping(t, "plain4", "-4", "plain4")
		sent(t, r, ps, 1, any1)
		r, _ = fping(t, "plain6", "-4", "-r0", "plain6")
		if r.status == 0 || strings.Contains(r.stdout, "alive") {
			t.Errorf("an IPv6 address was asked\n%v", r)
		}
	},
	"-6": func(t *testing.T) {
		r, ps := fping(t, "plain6", "-6", "plain6")
		sent(t, r, ps, 1, any1)
		r, ps = called(t, "fping6", "plain6", "plain6")
		sent(t, r, ps, 1, any1)
		r, _ = fping(t, "plain4", "-6", "-r0", "plain4")
		if r.status == 0 || strings.Contains(r.stdout, "alive") {
			t.Errorf("an IPv4 address was asked\n%v", r)
		}
	},
	"-a": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-a", "-r0", "plain4", "silent4")
		says(t, r, 1, r.stdout, `192\.0\.2\.1\n`)
	},
	"-A": func(t *testing.T) {
		r, _ := called(t, "fping", "plain4", "-A", "-r0", "localhost")
		says(t, r, 0, r.stdout, `(127\.0\.0\.1|::1) is alive\n`)
	},
	"-b": func(t *testing.T) {
		r, ps := fping(t, "plain4", "-b", "100", "-c1", "plain4")
		sent(t, r, ps, 1, func(p packet) bool { return len(p.payload) == 100 })
	},
	"-B": func(t *testing.T) {
		_, ps := fping(t, "silent4", "-B", "2", "-r2", "-t100", "silent4")
		apart(t, ps, 100*time.Millisecond, 200*time.Millisecond)
	},
	"-c": func(t *testing.T) {
		r, ps := fping(t, "plain4", "-c2", "-p50", "plain4")
		sent(t, r, ps, 2, any1)
		says(t, r, 0, r.stdout, `(`+fpingLine+`){2}`)
		says(t, r, 0, r.stderr, `\n?\S+ +: xmt/rcv/%loss = 2/2/0%, min/avg/max = [\d.]+/[\d.]+/[\d.]+\n`)
	},
	"-C": func(t *testing.T) {
		r, ps := fping(t, "third4", "-C3", "-q", "-p50", "third4")
		sent(t, r, ps, 3, any1)
		says(t, r, 0, r.stderr, `\S+ +: [\d.]+ [\d.]+ -\n`)
	},
	"-d": func(t *testing.T) {
		r, _ := called(t, "fping", "plain4", "-d", "-r0", "127.0.0.1")
		says(t, r, 0, r.stdout, `localhost\S* is alive\n`)
	},
	"-D": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-D", "-c1", "plain4")
		says(t, r, 0, r.stdout, `\[\d{10}\.\d{5}\] `+fpingLine)
	},
	"-e": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-e", "plain4")
		says(t, r, 0, r.stdout, `\S+ is alive \([\d.]+ ms\)\n`)
	},
	"-f": func(t *testing.T) {
		o := oddNetwork(t)
		file := filepath.Join(t.TempDir(), "hosts")
		text := "# hosts\n" + o.Addr("plain", 4).String() + "\n\n" + o.Addr("ttl", 4).String() + "\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r, ps := fping(t, "ttl4", "-f", file)
		sent(t, r, ps, 1, any1)
		says(t, r, 0, r.stdout, `(192\.0\.2\.\d+ is alive\n){2}`)
	},
	"-g": func(t *testing.T) {
		r, ps := fping(t, "copies4", "-r0", "-g", "192.0.2.0/30")
		sent(t, r, ps, 1, any1)
		says(t, r, 0, r.stdout, `192\.0\.2\.1 is alive\n192\.0\.2\.2 is alive\n`)
		r, _ = fping(t, "plain4", "-r0", "-g", "192.0.2.1", "192.0.2.3")
		says(t, r, 0, r.stdout, `192\.0\.2\.1 is alive\n192\.0\.2\.2 is alive\n192\.0\.2\.3 is alive\n`)
	},
	"-h": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-h")
		if r.status != 0 || !strings.Contains(r.stdout+r.stderr, "-g") {
			t.Errorf("want status 0 and the options\n%v", r)
		}
	},
	"-H": func(t *testing.T) {
		r, ps := fping(t, "plain4", "-H", "7", "-c1", "plain4")
		sent(t, r, ps, 1, func(p packet) bool { return p.ttl == 7 })
	},
	"-i": func(t *testing.T) {
		o := oddNetwork(t)
		_, ps := captured(t, o.Client, "r1", linked(t, "fping"), "-i", "100", "-r0", o.Addr("plain", 4).String(), o.Addr("ttl", 4).String())
		ps = slices.DeleteFunc(ps, func(p packet) bool { return !p.Out })
		apart(t, ps, 100*time.Millisecond)
	},
	"-I": func(t *testing.T) {
		r, ps := fping(t, "plain4", "-I", "r1", "-r0", "plain4")
		sent(t, r, ps, 1, any1)
		r, ps = fping(t, "plain4", "-I", "lo", "-r0", "-t100", "plain4")
		sent(t, r, ps, 0, any1)
		if r.status == 0 {
			t.Errorf("reached by loopback\n%v", r)
		}
	},
	"-l": func(t *testing.T) {
		o := oddNetwork(t)
		run := start(t, o.Client, nil, linked(t, "fping"), "-l", "-p50", o.Addr("plain", 4).String())
		for range 3 {
			run.line()
		}
		run.signal(syscall.SIGINT)
		r := run.end()
		if r.status != 0 || !regexp.MustCompile(`xmt/rcv/%loss = \d+/\d+/0%, min/avg/max = `).MatchString(r.stderr) {
			t.Errorf("want status 0 and the statistics\n%v", r)
		}
	},
	"-m": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-m", "-A", "-r0", "localhost")
		if r.status != 0 || !strings.Contains(r.stdout, "127.0.0.1 is alive\n") {
			t.Errorf("want all addresses of localhost\n%v", r)
		}
	},
	"-M": func(t *testing.T) {
		r, ps := fping(t, "plain4", "-M", "-c1", "plain4")
		sent(t, r, ps, 1, func(p packet) bool { return p.df })
		r, ps = fping(t, "plain4", "-c1", "plain4")
		sent(t, r, ps, 1, func(p packet) bool { return !p.df })
	},
	"-n": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-n", "-r0", "127.0.0.1")
		says(t, r, 0, r.stdout, `localhost\S* is alive\n`)
	},
	"-N": func(t *testing.T) {
		o := oddNetwork(t)
		run := start(t, o.Client, nil, linked(t, "fping"), "-N", "-l", "-Q1", "-p100", o.Addr("plain", 4).String())
		// What netdata reads: a chart, its dimensions, then values of each.
		for _, want := range []string{`CHART fping\.192_0_2_1_packets `, `DIMENSION xmt `, `DIMENSION rcv `, `BEGIN fping\.192_0_2_1_packets`, `SET xmt = \d+`} {
			if line := run.line(); !regexp.MustCompile(`^` + want).MatchString(line) {
				t.Errorf("line %q, want %s", line, want)
			}
		}
		run.signal(syscall.SIGINT)
		run.end()
	},
	"-o": func(t *testing.T) {
		r, _ := fping(t, "third4", "-o", "-c3", "-p50", "-q", "third4")
		says(t, r, 0, r.stderr, `\S+ : xmt/rcv/%loss = 3/2/33%, outage\(ms\) = 50, min/avg/max = \S+\n`)
	},
	"-O": func(t *testing.T) {
		for _, n := range []string{"0x10", "16"} {
			r, ps := fping(t, "plain4", "-O", n, "-c1", "plain4")
			sent(t, r, ps, 1, func(p packet) bool { return p.tos == 16 })
		}
	},
	"-p": func(t *testing.T) {
		_, ps := fping(t, "plain4", "-p", "150", "-c3", "plain4")
		apart(t, ps, 150*time.Millisecond, 150*time.Millisecond)
	},
	"-q": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-q", "-c1", "plain4")
		says(t, r, 0, r.stdout, ``)
		says(t, r, 0, r.stderr, `\S+ : xmt/rcv/%loss = 1/1/0%, min/avg/max = \S+\n`)
	},
	"-Q": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-Q", "1", "-c4", "-p400", "plain4")
		says(t, r, 0, r.stderr, `\[\d\d:\d\d:\d\d\]\n\S+ : xmt/rcv/%loss = [23]/[23]/0%, min/avg/max = \S+\n\S+ : xmt/rcv/%loss = 4/4/0%, min/avg/max = \S+\n`)
	},
	"-r": func(t *testing.T) {
		r, ps := fping(t, "silent4", "-r2", "-t50", "-B1", "silent4")
		sent(t, r, ps, 3, any1)
		says(t, r, 1, r.stdout, `\S+ is unreachable\n`)
	},
	"-R": func(t *testing.T) {
		_, ps := fping(t, "plain4", "-R", "-c2", "-p50", "plain4")
		if len(ps) != 2 || bytes.Equal(ps[0].payload, ps[1].payload) {
			t.Errorf("%d packets, want two with different payloads", len(ps))
		}
	},
	"-s": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-s", "-r0", "-t50", "plain4", "silent4")
		for _, line := range []string{"2 targets", "1 alive", "1 unreachable", "2 ICMP Echos sent", "1 ICMP Echo Replies received"} {
			if !regexp.MustCompile(`(?m)^ +` + line + `$`).MatchString(r.stderr) {
				t.Errorf("no line %q\n%v", line, r)
			}
		}
	},
	"-S": func(t *testing.T) {
		o := oddNetwork(t)
		src := o.Client.Only(4)
		r, ps := fping(t, "plain4", "-S", src.String(), "-c1", "plain4")
		sent(t, r, ps, 1, func(p packet) bool { return p.src == src })
		r, ps = fping(t, "plain4", "-S", "ttl4", "-c1", "plain4")
		sent(t, r, ps, 0, any1)
		if r.status == 0 || r.stderr == "" {
			t.Errorf("another's address was not refused\n%v", r)
		}
	},
	"-t": func(t *testing.T) {
		r, _ := fping(t, "late4", "-t", "50", "-r0", "late4")
		says(t, r, 1, r.stdout, `\S+ is unreachable\n`)
		r, _ = fping(t, "late4", "-t", "20000", "-r0", "late4")
		says(t, r, 0, r.stdout, `\S+ is alive\n`)
	},
	"-T": func(t *testing.T) {
		r, ps := fping(t, "plain4", "-T", "5", "plain4")
		sent(t, r, ps, 1, any1)
		says(t, r, 0, r.stdout, `\S+ is alive\n`)
	},
	"-u": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-u", "-r0", "-t50", "plain4", "silent4")
		says(t, r, 1, r.stdout, `192\.0\.2\.14\n`)
	},
	"-v": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-v")
		// SmokePing looks for these.
		if r.status != 0 || !regexp.MustCompile(`Version (3\.1[6-9]|[4-9])`).MatchString(r.stdout) {
			t.Errorf("want status 0 and a version\n%v", r)
		}
	},
	"-x": func(t *testing.T) {
		r, _ := fping(t, "plain4", "-x1", "-r0", "-t50", "plain4", "silent4")
		says(t, r, 0, r.stdout, `Enough hosts reachable \(required: 1, reachable: 1\)\n`)
		r, _ = fping(t, "plain4", "-x2", "-r0", "-t50", "plain4", "silent4")
		says(t, r, 1, r.stdout, `Not enough hosts reachable \(required: 2, reachable: 1\)\n`)
	},
}
