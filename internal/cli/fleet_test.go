package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
)

// file makes a file of that content.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "targets")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestFleet are whole runs over several hosts.
func TestFleet(t *testing.T) {
	tests := []struct {
		name   string
		line   string // FILE stands for a list
		list   string
		stdin  string
		status int
		out    string // all of standard output, times masked; "*": whatever
		err    string // all of standard error, a regular expression
	}{
		{name: "traces stay apart, in order", line: "gtrace -n -m4 -w.1 198.51.100.9 192.0.2.9", status: 1, out: `traceroute to 198.51.100.9 (198.51.100.9), 4 hops max, 60 byte packets
 1  10.0.1.1  T ms  T ms  T ms
 2  10.0.2.1  T ms  T ms  T ms
 3  * * *
 4  * * *
  # max-hops: the destination was not reached by TTL 4; --max-hops goes further

traceroute to 192.0.2.9 (192.0.2.9), 4 hops max, 60 byte packets
 1  10.0.1.1  T ms  T ms  T ms
 2  10.0.2.1  T ms  T ms  T ms
 3  192.0.2.9  T ms  T ms  T ms
`},
		{name: "pings mix, headers first and statistics last", line: "gping -n -c2 -i1 -W1 192.0.2.9 198.51.100.9 10.0.1.1", status: 1, out: `PING 192.0.2.9 (192.0.2.9) 56(84) bytes of data.
PING 198.51.100.9 (198.51.100.9) 56(84) bytes of data.
PING 10.0.1.1 (10.0.1.1) 56(84) bytes of data.
64 bytes from 10.0.1.1: icmp_seq=1 ttl=64 time=T ms
64 bytes from 192.0.2.9: icmp_seq=1 ttl=62 time=T ms
64 bytes from 10.0.1.1: icmp_seq=2 ttl=64 time=T ms
64 bytes from 192.0.2.9: icmp_seq=2 ttl=62 time=T ms

--- 192.0.2.9 ping statistics ---
2 packets transmitted, 2 received, 0% packet loss, time T
rtt min/avg/max/mdev = T ms

--- 198.51.100.9 ping statistics ---
2 packets transmitted, 0 received, 100% packet loss, time T


--- 10.0.1.1 ping statistics ---
2 packets transmitted, 2 received, 0% packet loss, time T
rtt min/avg/max/mdev = T ms
`},
		{name: "pings in order", line: "gping --ordered -qc1 -W1 198.51.100.9 192.0.2.9", status: 1, out: `PING 198.51.100.9 (198.51.100.9) 56(84) bytes of data.

--- 198.51.100.9 ping statistics ---
1 packets transmitted, 0 received, 100% packet loss, time T


PING 192.0.2.9 (192.0.2.9) 56(84) bytes of data.

--- 192.0.2.9 ping statistics ---
1 packets transmitted, 1 received, 0% packet loss, time T
rtt min/avg/max/mdev = T ms
`},
		{name: "a pattern is told once", line: "gping -p ff -c1 192.0.2.9 10.0.1.1", out: "*"},
		{name: "fping's lines", line: "gping --format fping -c1 -W1 192.0.2.9 198.51.100.9", status: 1,
			out: "192.0.2.9    : [0], 64 bytes, T ms (T avg, 0% loss)\n198.51.100.9 : [0], timed out (NaN avg, 100% loss)\n",
			err: `\n192.0.2.9    : xmt/rcv/%loss = 1/1/0%, min/avg/max = 6.00/6.00/6.00\n198.51.100.9 : xmt/rcv/%loss = 1/0/100%\n`},
		{name: "alive", line: "gping --alive 198.51.100.9 192.0.2.9 10.0.1.1", status: 1, out: "10.0.1.1\n192.0.2.9\n"},
		{name: "unreachable", line: "gping --unreachable 192.0.2.9 198.51.100.9", status: 1, out: "198.51.100.9\n"},
		{name: "at least one", line: "gping --alive --min-alive 1 198.51.100.9 192.0.2.9", status: 0, out: "192.0.2.9\n"},
		{name: "at least two", line: "gping --alive --min-alive 2 198.51.100.9 192.0.2.9", status: 1, out: "192.0.2.9\n"},
		{name: "at least two, one could not be told", line: "gping --alive --min-alive 2 nosuch.example 192.0.2.9", status: 2, out: "192.0.2.9\n", err: `gping: nosuch\.example: look up the name: no such host\n`},
		{name: "enough answered, one could not be told", line: "gping --alive --min-alive 1 nosuch.example 192.0.2.9", status: 0, out: "192.0.2.9\n", err: `gping: nosuch\.example: look up the name: no such host\n`},
		{name: "a network", line: "gping --alive --generate 192.0.2.8/30", status: 1, out: "192.0.2.9\n"},
		{name: "a range", line: "gping --alive --generate 192.0.2.9-192.0.2.10", status: 1, out: "192.0.2.9\n"},
		{name: "generated", line: "gping --generate --alive 192.0.2.8 192.0.2.9", status: 1, out: "192.0.2.9\n"},
		{name: "an address with its network", line: "gping 192.0.2.9/24", status: 2, err: `gping: 192.0.2.9/24: is no host, but --generate .*\n`},
		{name: "a list with a network", line: "gping --alive --targets FILE", list: "192.0.2.8/30\n10.0.1.1-10.0.1.1", status: 1, out: "10.0.1.1\n192.0.2.9\n"},
		{name: "generated, a network", line: "gping --alive 192.0.2.9/32 --generate", status: 0, out: "192.0.2.9\n"},
		{name: "a list", line: "gping --alive --targets FILE", list: "# ours\n\n 192.0.2.9 # the first\n\t10.0.1.1\r\n#", status: 0, out: "10.0.1.1\n192.0.2.9\n"},
		{name: "a list with bad lines", line: "gping --alive --file FILE", list: "192.0.2.9 10.0.1.1\n10.0.1.1\n192.0.2.0/33\n", status: 2, out: "10.0.1.1\n",
			err: `gping: \S+, line 1: 192.0.2.9 10.0.1.1: want one host a line\ngping: \S+, line 3: 192.0.2.0/33: want a network, such as 192.0.2.0/29 or 2001:db8::/120\n`},
		{name: "an empty list", line: "gping --targets FILE", list: "#\n", status: 2, err: `gping: no host given: the lists of targets are empty\n`},
		{name: "a list that is no text", line: "gping --alive --targets -", stdin: "192.0.2.9\n\x7fELF\x02\x00\n192.0.2.9\n", status: 2, err: `gping: --targets -: line 2: has a byte 0, so this is no list of hosts\n`},
		{name: "a wrong line of standard input", line: "gping --alive --targets -", stdin: "192.0.2.9\n192.0.2.0/33\n", status: 2, out: "192.0.2.9\n", err: `gping: standard input, line 2: 192.0.2.0/33: want .*\n`},
		{name: "no such list", line: "gping --targets FILE.not", status: 2, err: `gping: --targets \S+: no such file or directory\n`},
		{name: "standard input, and a host", line: "gping --alive --targets - 10.0.1.1", stdin: "192.0.2.9", status: 0, out: "10.0.1.1\n192.0.2.9\n"},
		{name: "the same host twice", line: "gping -q -c1 192.0.2.9 192.0.2.9", out: "*"},
		{name: "a host that ends with an error leaves the others", line: "gping -qc1 203.0.113.1 192.0.2.9", status: 2, out: "*", err: `gping: 203.0.113.1: no route from here: network is unreachable\n`},

		{name: "too large a network", line: "gping --generate 10.0.0.0/8", status: 2, err: `gping: 10.0.0.0/8: more than the 131072 targets of one run\n`},
		{name: "too large a network, IPv6", line: "gping --generate 2001:db8::/64", status: 2, err: `gping: 2001:db8::/64: more than the 131072 targets of one run\n`},
		{name: "too many in all", line: "gping --generate 10.0.0.0/16 10.1.0.0/16 10.2.0.0/29", status: 2, err: `gping: 10.2.0.0/29: more than the 131072 targets of one run\n`},
		{name: "a range backwards", line: "gping --generate 192.0.2.9-192.0.2.8", status: 2, err: `gping: 192.0.2.9-192.0.2.8: the last address is below the first\n`},
		{name: "generated from a name", line: "gping --generate target.example", status: 2, err: `gping: --generate: target.example: want a network, .*\n`},
		{name: "retry and count", line: "gping --retry 1 -c1 h", status: 2, err: `gping: --retry and --count exclude each other.*\n`},
		{name: "backoff alone", line: "gping --backoff 2 -c1 h", status: 2, err: `gping: --backoff: is for --retry\n`},
		{name: "both lists", line: "gping --alive --unreachable h", status: 2, err: `gping: --alive and --unreachable exclude each other\n`},
		{name: "a list and a count", line: "gping --alive -c1 h", status: 2, err: `gping: --alive: each host is asked until it answers: --retry .*\n`},
		{name: "retry and interval", line: "gping --retry 1 -i.1 h", status: 2, err: `gping: --retry: a host is asked again when --timeout has passed.*\n`},
		{name: "a list and an interval", line: "gping --alive -i.1 h", status: 2, err: `gping: --retry: a host is asked again when --timeout has passed.*\n`},
		{name: "more tries than can be told apart", line: "gping --kind probe --probed 1 --retry 300 --backoff 1 --timeout .01 h", status: 2, err: `gping: --retry 300: no more than 255 requests can be told apart within --timeout 0.01 and a minute: want --retry up to 254, or a longer --timeout\n`},
		{name: "too soon again", line: "gping --retry 1 --timeout .001 h", status: 2, err: `gping: --timeout 0.001: only root may ask again after less than 0.002 seconds\n`},
		{name: "names in fping's lines", line: "gping --format fping --names -c1 h", status: 2, err: `gping: --names and --loss-format: .*\n`},
		{name: "stamps in fping's lines", line: "gping --format fping -D -c1 192.0.2.9", out: "[1767225600.00600] 192.0.2.9 : [0], 64 bytes, T ms (T avg, 0% loss)\n", err: `\n192.0.2.9 : xmt/rcv/%loss = .*\n`},
		{name: "a zone with a hyphen", line: "gping -qc1 fe80::9%br-lan", status: 1, out: "*"},
		{name: "a name with a hyphen behind an address", line: "gping -c1 192.0.2.9-x.example", status: 2, err: `gping: 192.0.2.9-x.example: look up the name: no such host\n`},
		{name: "a long line in a list", line: "gping --alive --targets FILE", list: strings.Repeat("x", 1<<17) + "\n192.0.2.9\n" + strings.Repeat("y", 5000), status: 2, out: "192.0.2.9\n",
			err: `gping: \S+, line 1: "?x{64}\S+: the line is longer than 4096 bytes\ngping: \S+, line 3: "?y{64}\S+: the line is longer than 4096 bytes\n`},
		{name: "a loopback source", line: "gping -c1 --source 127.0.0.1 192.0.2.9", status: 2, err: `gping: (192.0.2.9: )?--source 127.0.0.1: .*\n`},
		{name: "all on the link", line: "gping --broadcast -c1 --retry 2 --timeout .5 224.0.0.99", status: 2, err: `gping: --retry and --count.*\n`},
		{name: "all on the link, again and again", line: "gping --broadcast --retry 2 --timeout .5 224.0.0.99", status: 2, out: "*", err: `gping: 224.0.0.99: --timeout 0.5: many may answer, so only root .*\n`},
		{name: "all on the link, twice", line: "gping --broadcast -c1 -W.1 224.0.0.99 224.0.0.99", status: 2, out: "*", err: `gping: 224.0.0.99: many may answer, so only root may have more than one such address asked in a run\n`},
		{name: "all on the link, in haste", line: "gping --broadcast -c2 -i.5 224.0.0.99", status: 2, out: "*", err: `gping: 224.0.0.99: --interval 0.5: many may answer, so only root .*\n`},
		// Which addresses are broadcast addresses the kernel alone knows.
		{name: "broadcast to a host, in haste", line: "gping -b -c2 -i.002 192.0.2.9", status: 2, out: "*", err: `gping: 192.0.2.9: --interval 0.002: with --broadcast every target counts as one at which many may answer, so only root may go below 1 seconds, .*\n`},
		{name: "broadcast to a host by a gateway", line: "gping -b -c2 -i.002 --gateway 10.0.0.255 192.0.2.9", status: 2, out: "*", err: `gping: 192.0.2.9: --interval 0.002: with --broadcast every target .*\n`},
		{name: "broadcast to a host, as answers come", line: "gping -b -c2 -A 192.0.2.9", status: 2, out: "*", err: `gping: 192.0.2.9: .*: with --broadcast every target .*\n`},
		{name: "broadcast to a host, two at once", line: "gping -b -c2 -l2 192.0.2.9", status: 2, out: "*", err: `gping: 192.0.2.9: --preload 2: with --broadcast every target .*\n`},
		{name: "broadcast to a host, in fragments", line: "gping -b -c1 -s2000 192.0.2.9", status: 2, out: "*", err: `gping: 192.0.2.9: --payload 2000: with --broadcast every target .*\n`},
		{name: "broadcast to two hosts", line: "gping -b -c1 192.0.2.9 10.0.1.1", status: 2, out: "*", err: `gping: 10.0.1.1: with --broadcast every target .*, so only root may have more than one such address asked in a run\n`},
		{name: "broadcast to a host, as slow as that", line: "gping -b -q -c2 192.0.2.9", out: "*"},
		{name: "a list in JSON", line: "gping --alive --json h", status: 2, err: `gping: --alive: a list is text, not json.*\n`},
	}
	times := regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?(/[0-9.]+)* ms|time [0-9]+ms|\([0-9.]+ avg`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.env.Stdin = strings.NewReader(tt.stdin)
			line := strings.Replace(tt.line, "FILE", file(t, tt.list), 1)
			if status := w.run(t.Context(), line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			got := times.ReplaceAllStringFunc(w.out.String(), func(s string) string {
				switch {
				case strings.HasPrefix(s, "time"):
					return "time T"
				case strings.HasPrefix(s, "("):
					return "(T avg"
				}
				return "T ms"
			})
			if tt.out != "*" && got != tt.out {
				t.Errorf("standard output:\n%s\nwant:\n%s", got, tt.out)
			}
			if tt.name == "a pattern is told once" && strings.Count(got, "PATTERN") != 1 {
				t.Errorf("standard output:\n%s", got)
			}
			if !regexp.MustCompile(`^(` + tt.err + `)$`).MatchString(w.stderr.String()) {
				t.Errorf("standard error %q, want %s", &w.stderr, tt.err)
			}
			if f := w.conn.Faults(); len(f) > 0 {
				t.Errorf("packets no host would take: %v", f)
			}
		})
	}
}

// TestFleetDocuments: every host has its document, as it is done or in the order given, and each event says whose it is.
func TestFleetDocuments(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"gping --json -c1 -W1 198.51.100.9 nosuch.example 192.0.2.9", []string{"nosuch.example", "192.0.2.9", "198.51.100.9"}},
		{"gping --json --ordered -c1 -W1 198.51.100.9 nosuch.example 192.0.2.9", []string{"198.51.100.9", "nosuch.example", "192.0.2.9"}},
		{"gtrace --json --ordered -w.1 -m4 198.51.100.9 192.0.2.9", []string{"198.51.100.9", "192.0.2.9"}},
		{"gtrace --format events -w.1 -m4 198.51.100.9 192.0.2.9", []string{"192.0.2.9", "198.51.100.9"}},
		{"gping --format events -c1 -W1 198.51.100.9 192.0.2.9", []string{"192.0.2.9", "198.51.100.9"}},
	} {
		w := newWorld(simnet.Config{})
		w.run(t.Context(), tt.line)
		var got []string
		events := map[string]int{}
		for _, d := range w.documents(t) {
			name, _ := d["target"].(string)
			if d["event"] != nil {
				events[name]++
				continue
			}
			got = append(got, name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: documents of %v, want %v", tt.line, got, tt.want)
		}
		if strings.Contains(tt.line, "events") && (len(events) != 2 || events[""] > 0) {
			t.Errorf("%s: events of %v", tt.line, events)
		}
	}
}

// TestPortsShared: hosts have one identifier, what is given twice two of them; where there are no more, it waits its turn.
func TestPortsShared(t *testing.T) {
	for _, tt := range []struct {
		ports, hosts, want int
	}{{0, 1, 3}, {0, 3, 3}, {2, 3, 2}, {1, 3, 1}, {0, 70, maxPorts}} {
		w := newWorld(simnet.Config{Ports: tt.ports})
		line := "gping -q -c1"
		for range tt.hosts {
			line += " 192.0.2.9"
		}
		if tt.hosts == 1 {
			line, tt.want = "gping -q -c1 192.0.2.9 10.0.1.1 10.0.2.1 198.51.100.9 -W1", 1
		}
		w.run(t.Context(), line)
		ids := map[string]bool{}
		for _, p := range w.conn.Sent() {
			ids[string(p.Data[24:26])] = true
		}
		if len(ids) != tt.want {
			t.Errorf("%s with %d to reserve: %d identifiers, want %d", line, tt.ports, len(ids), tt.want)
		}
		if n := strings.Count(w.out.String(), " 1 received"); tt.hosts > 1 && n != tt.hosts {
			t.Errorf("%d of %d answered:\n%s", n, tt.hosts, &w.out)
		}
	}
}

// TestGlobalInterval: no two packets leave closer together, whatever the host, and each host's own interval holds.
func TestGlobalInterval(t *testing.T) {
	w := newWorld(simnet.Config{})
	w.run(t.Context(), "gping -qc3 -i1 --global-interval .05 192.0.2.9 10.0.1.1 10.0.2.1")
	sent := w.conn.Sent()
	if len(sent) != 9 {
		t.Fatalf("%d sent, want 9", len(sent))
	}
	for i, p := range sent {
		want := time.Duration(i/3)*time.Second + time.Duration(i%3)*50*time.Millisecond
		if got := p.At.Sub(sent[0].At); got < want || got > want+time.Millisecond {
			t.Errorf("packet %d left at %v, want %v", i, got, want)
		}
	}
}

// TestRetries: tries follow at the timeout, each waited for longer than the one before.
func TestRetries(t *testing.T) {
	w := newWorld(simnet.Config{})
	w.run(t.Context(), "gping --retry 2 --backoff 2 -W .1 198.51.100.9")
	var at []time.Duration
	for _, p := range w.conn.Sent() {
		at = append(at, p.At.Sub(w.conn.Sent()[0].At))
	}
	if want := []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond}; !slices.Equal(at, want) {
		t.Errorf("sent at %v, want %v", at, want)
	}
}

// TestNotBegun: an interrupt names the hosts that had no turn, and does not wait for a list that never ends.
func TestNotBegun(t *testing.T) {
	w := newWorld(simnet.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	r, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer feed.Close()
	w.env.Stdin = r
	fmt.Fprintln(feed, "192.0.2.9")
	cancel()
	if status := w.run(ctx, "gping --targets -"); status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	if got, want := w.stderr.String(), "gping: --targets -: interrupted\n"; got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
}

// TestPace: what is asked at once finds room, and whoever says how fast is heeded.
func TestPace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   func(*pingTool)
		hosts int
		had   probe.Limits
		want  probe.Limits
	}{
		{"few", func(*pingTool) {}, 256, probe.Limits{}, probe.Limits{}},
		{"many", func(*pingTool) {}, 257, probe.Limits{}, probe.Limits{Rate: crowdRate, Burst: crowdBurst}},
		{"many, at a rate", func(*pingTool) {}, 1000, probe.Limits{Rate: 50000, Burst: 1000}, probe.Limits{Rate: 50000, Burst: 1000}},
		{"many, of an ordinary user", func(*pingTool) {}, 1000, probe.Limits{Rate: 500, Burst: 3}, probe.Limits{Rate: 500, Burst: 3}},
		{"many, as fast as can be", func(p *pingTool) { p.interval = 0 }, 1000, probe.Limits{}, probe.Limits{Rate: crowdRate, Burst: crowdBurst}},
		{"many, at an interval", func(p *pingTool) { p.fleet.gap = 10 * time.Millisecond }, 1000, probe.Limits{}, probe.Limits{Rate: 100, Burst: 1}},
		{"few, at an interval", func(p *pingTool) { p.fleet.gap = 10 * time.Millisecond }, 2, probe.Limits{}, probe.Limits{Rate: 100, Burst: 1}},
	} {
		tool := newPingTool()
		tt.set(tool)
		l := tt.had
		tool.pace(&l, tt.hosts)
		if diff := l.Rate - tt.want.Rate; diff > 1 || diff < -1 || l.Burst != tt.want.Burst {
			t.Errorf("%s: %v a second after %d, want %v after %d", tt.name, l.Rate, l.Burst, tt.want.Rate, tt.want.Burst)
		}
	}
}
