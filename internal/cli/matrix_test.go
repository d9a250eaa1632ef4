package cli

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
)

const allWays = "icmp,udp/53,udp/443,tcp/80,tcp/443"

// TestMatrix is what a user who asks by several methods sees and gets back.
func TestMatrix(t *testing.T) {
	wall := func(do simnet.Action) func(*world) {
		return func(w *world) {
			w.routers[0].Rules = []simnet.Rule{{Proto: 6, Port: 443, Do: simnet.Accept}, {Do: do}}
		}
	}
	noTCP := func(c *rawsock.Caps) { c.TCP, c.Header, c.Socket = false, false, "unprivileged" }
	const first = "traceroute to 192.0.2.9 (192.0.2.9), 30 hops max\n"
	for _, tt := range []struct {
		line   string
		change func(*world)
		caps   func(*rawsock.Caps)
		status int
		out    string // standard output, or its end where it begins with "…"
		stderr string
	}{
		{"gtrace --matrix " + allWays + " 192.0.2.9", func(w *world) {
			w.target.TCP = map[uint16]simnet.TCPPort{443: simnet.Open}
			w.target.UDP = map[uint16]simnet.Service{53: simnet.DNS, 443: simnet.QUIC}
		}, nil, yes, first +
			"    Host        icmp  udp/53  udp/443  tcp/80  tcp/443\n" +
			" 1  10.0.1.1   2.000   2.000    2.000   2.000    2.000\n" +
			" 2  10.0.2.1   4.000   4.000    4.000   4.000    4.000\n" +
			" 3  192.0.2.9  6.000   6.000    6.000   6.000    6.000\n" +
			"  # icmp: reaches the destination at hop 3\n" +
			"  # udp/53: reaches the destination at hop 3: a name server answers\n" +
			"  # udp/443: reaches the destination at hop 3: a QUIC server answers\n" +
			"  # tcp/80: reaches the destination at hop 3: the port is closed\n" +
			"  # tcp/443: reaches the destination at hop 3: the port is open\n" +
			"  # matrix: icmp, udp/53, udp/443, tcp/80 and tcp/443 pass\n", ""},
		{"gtrace --matrix=" + allWays + " 192.0.2.9", wall(simnet.Drop), nil, no,
			"…  # matrix: icmp, udp/53, udp/443 and tcp/80 end after hop 1, tcp/443 passes\n", ""},
		{"gtrace --matrix=icmp,tcp/443 -q3 192.0.2.9", wall(simnet.AdminProhibited), nil, no, first +
			"    Host           icmp  tcp/443\n" +
			" 1  10.0.1.1      2.000    2.000\n" +
			" 2  10.0.1.1   2.000 !X\n" +
			"    10.0.2.1               4.000\n" +
			" 3  192.0.2.9         -    6.000\n" +
			"  # icmp: ends after hop 1: 10.0.1.1 answers !X\n" +
			"  # tcp/443: reaches the destination at hop 3: the port is closed\n" +
			"  # matrix: icmp ends after hop 1, tcp/443 passes\n" +
			"  # administratively-prohibited: icmp: 10.0.1.1 answers at TTL 2: communication administratively prohibited (ICMP 3/13), to all 3 probes answered there; a filter refuses them\n", ""},
		{"gtrace --matrix udp/7,icmp -6 target.example", func(*world) {}, nil, yes, "…  # matrix: udp/7 and icmp pass\n", ""},
		{"gtrace --matrix udp/7,icmp target.example four.example", func(*world) {}, nil, yes, "…  # matrix: udp/7 and icmp pass\n", ""},
		{"gtrace --matrix udp/7,icmp nosuch.example", func(*world) {}, nil, unsure, "", "gtrace: nosuch.example: look up the name: no such host\n"},
		{"gtrace --matrix udp/7,icmp 192.0.2.9 -m1", func(*world) {}, nil, no, "traceroute to 192.0.2.9 (192.0.2.9), 1 hops max\n" +
			"    Host      udp/7   icmp\n" +
			" 1  10.0.1.1  2.000  2.000\n" +
			"  # udp/7: does not reach the destination within 1 hops; --max-hops goes further\n" +
			"  # icmp: does not reach the destination within 1 hops; --max-hops goes further\n" +
			"  # matrix: udp/7 and icmp do not reach it within 1 hops\n", ""},
		{"gtrace --matrix udp/53,icmp 192.0.2.9 --size 100 -f2 -m9", func(*world) {}, nil, yes, "…  # matrix: udp/53 and icmp pass\n", ""},
		{"gtrace --matrix udp/7,tcp/80 192.0.2.9", func(*world) {}, noTCP, unsure, "", "gtrace: --matrix: --tcp: needs raw sockets; to allow them: .*\n"},

		{"gtrace --matrix icmp 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp: want 2 to 16 methods, separated by commas.*\n"},
		{"gtrace --matrix icmp/3,tcp/1 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp/3,tcp/1: icmp/3: icmp has no ports.*\n"},
		{"gtrace --matrix icmp,tcp 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp,tcp: tcp: want a port, 1 to 65535, or a service that /etc/services names, such as tcp/443.*\n"},
		{"gtrace --matrix icmp,tcp/0 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp,tcp/0: tcp/0: want a port.*\n"},
		{"gtrace --matrix icmp,tcp/nosuchservice 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp,tcp/nosuchservice: tcp/nosuchservice: want a port.*\n"},
		{"gtrace --matrix icmp,udp/53 --size 20 192.0.2.9", nil, nil, unsure, "", "gtrace: --size 20: a icmp probe over IPv4 has 30 to 65535 bytes\n"},
		{"gtrace --matrix tcp/443,tcp/https 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix tcp/443,tcp/https: tcp/https stands there twice\n"},
		{"gtrace --matrix icmp,tcp/080 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp,tcp/080: tcp/080: want a port.*\n"},
		{"gtrace --matrix icmp,udp/65536 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp,udp/65536: udp/65536: want a port.*\n"},
		{"gtrace --matrix icmp,sctp/1 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp,sctp/1: sctp/1: want icmp, udp/PORT or tcp/PORT.*\n"},
		{"gtrace --matrix icmp,,tcp/1 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix icmp,,tcp/1: \"\": want icmp, udp/PORT or tcp/PORT.*\n"},
		{"gtrace --matrix tcp/1,icmp,tcp/1 192.0.2.9", nil, nil, unsure, "", "gtrace: --matrix tcp/1,icmp,tcp/1: tcp/1 stands there twice.*\n"},
		{"gtrace --matrix udp/1,udp/2 -I 192.0.2.9", nil, nil, unsure, "", "gtrace: --icmp and --matrix exclude each other, which says what to probe with.*\n"},
		{"gtrace --matrix udp/1,udp/2 -O syn 192.0.2.9", nil, nil, unsure, "", "gtrace: --options: not with --matrix, .*\n"},
		{"gtrace --matrix udp/1,udp/2 -p 5 192.0.2.9", nil, nil, unsure, "", "gtrace: --port: not with --matrix, .*\n"},
		{"gtrace --matrix udp/1,udp/2 --sport 5 192.0.2.9", nil, nil, unsure, "", "gtrace: --sport: not with --matrix, .*\n"},
		{"gtrace --matrix udp/1,udp/2 --flow classic 192.0.2.9", nil, nil, unsure, "", "gtrace: --flow: not with --matrix, .*\n"},
		{"gtrace --matrix udp/1,udp/2 --mtu 192.0.2.9", nil, nil, unsure, "", "gtrace: --mtu: not with --matrix, one of the two.*\n"},
		{"gtrace --matrix udp/1,udp/2 --multipath 192.0.2.9", nil, nil, unsure, "", "gtrace: --multipath: not with --matrix, one of the two.*\n"},
		{"gtrace --matrix udp/1,udp/2 --flows 2 192.0.2.9", nil, nil, unsure, "", "gtrace: --flows: not with --matrix, one of the two.*\n"},
		{"gtrace --matrix udp/1,udp/2 --table 192.0.2.9", nil, nil, unsure, "", "gtrace: --table: not with --matrix, .*\n"},
		{"gtrace --matrix udp/1,udp/2 --interval 1 192.0.2.9", nil, nil, unsure, "", "gtrace: --interval: not with --matrix, .*\n"},
		{"gtrace --matrix udp/1,udp/2 --resume /dev/null --json 192.0.2.9", nil, nil, unsure, "", "gtrace: --resume: not with --matrix, .*\n"},
		{"gtrace --matrix udp/1,udp/2 --format dot 192.0.2.9", nil, nil, unsure, "", "gtrace: --format dot: not with --matrix; use text, json or events.*\n"},
		{"gtrace --matrix udp/1,udp/2 -q 2000 192.0.2.9", nil, nil, unsure, "", "gtrace: --queries 2000: .*\n"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{Caps: tt.caps})
			if tt.change != nil {
				tt.change(w)
			}
			if status := w.run(t.Context(), tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			out := w.out.String()
			if end, cut := strings.CutPrefix(tt.out, "…"); cut && !strings.HasSuffix(out, end) || !cut && out != tt.out {
				t.Errorf("standard output\n%s\nwant\n%s", out, tt.out)
			}
			if !regexp.MustCompile("(?s)^(" + tt.stderr + ")$").MatchString(w.stderr.String()) {
				t.Errorf("standard error %q, want %s", &w.stderr, tt.stderr)
			}
			if f := w.conn.Faults(); len(f) > 0 {
				t.Errorf("packets no host would take: %v", f)
			}
		})
	}
}

// TestMatrixPackets: every distance is asked by each method, once, with what the methods say.
func TestMatrixPackets(t *testing.T) {
	w := newWorld(simnet.Config{})
	if status := w.run(t.Context(), "gtrace --matrix icmp,udp/53,udp/443,udp/7,tcp/80 --size 100 -m2 192.0.2.9"); status != no {
		t.Fatalf("status %d: %s", status, &w.stderr)
	}
	var got []string
	for _, p := range w.conn.Sent() {
		b := p.Data
		what := fmt.Sprintf("TTL %d protocol %d size %d", b[8], b[9], len(b))
		if b[9] != 1 {
			what += fmt.Sprintf(" port %d", int(b[22])<<8|int(b[23]))
		}
		got = append(got, what)
	}
	slices.Sort(got)
	var want []string
	for ttl := 1; ttl <= 2; ttl++ {
		for _, of := range []string{"1 size 100", "17 size 45 port 53", "17 size 1228 port 443", "17 size 100 port 7", "6 size 60 port 80"} {
			want = append(want, fmt.Sprintf("TTL %d protocol %s", ttl, of))
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMatrixDocuments: a document a method of each host, and one of all behind them; in order with --ordered.
func TestMatrixDocuments(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		w := newWorld(simnet.Config{})
		line := "gtrace --json --matrix icmp,tcp/80 silent.example nosuch.example four.example"
		if ordered {
			line += " --ordered"
		}
		if status := w.run(t.Context(), line); status != unsure {
			t.Errorf("status %d, want %d", status, unsure)
		}
		var got []string
		for _, d := range w.documents(t) {
			what := fmt.Sprint(d["target"], " ", d["schema"])
			if m, ok := d["method"].(map[string]any); ok {
				what += fmt.Sprint(" ", m["matrix"])
			}
			got = append(got, what)
		}
		silent := []string{"silent.example gtrace/trace/v1 icmp", "silent.example gtrace/trace/v1 tcp/80", "silent.example gtrace/matrix/v1"}
		four := []string{"four.example gtrace/trace/v1 icmp", "four.example gtrace/trace/v1 tcp/80", "four.example gtrace/matrix/v1"}
		nosuch := []string{"nosuch.example gtrace/trace/v1 icmp", "nosuch.example gtrace/trace/v1 tcp/80", "nosuch.example gtrace/matrix/v1"}
		want := slices.Concat(nosuch, four, silent)
		if ordered {
			want = slices.Concat(silent, nosuch, four)
		}
		for _, part := range [][]string{got, want} { // methods that end at the same time do so in any order
			for i := range part[:len(part)-1] {
				if strings.HasSuffix(part[i], " tcp/80") && strings.HasSuffix(part[i+1], " icmp") {
					part[i], part[i+1] = part[i+1], part[i]
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ordered %v:\n%s\nwant\n%s", ordered, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestMatrixInterrupted: what is known by then is told, of hosts that did not begin nothing.
func TestMatrixInterrupted(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		w := newWorld(simnet.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.conn.At(w.conn.Now().Add(300*time.Millisecond), func() {
			cancel()
			w.conn.Interrupt() // at this very time
		})
		status := w.run(ctx, "gtrace --parallel 1 --format "+format+" --matrix icmp,tcp/80 silent.example four.example")
		out := w.out.String()
		want := "\n  # icmp: was interrupted after hop 2\n  # tcp/80: was interrupted after hop 2\n  # matrix: icmp and tcp/80 could not be told\n"
		if format == "json" {
			want = `"conclusion":"icmp and tcp/80 could not be told"}` + "\n"
		}
		if status != unsure || !strings.HasSuffix(out, want) || strings.Contains(out, "four") {
			t.Errorf("%s: status %d, %s", format, status, out)
		}
		if got, want := w.stderr.String(), "gtrace: four.example: not measured: interrupted\n"; got != want {
			t.Errorf("%s: standard error %q, want %q", format, got, want)
		}
	}
}

// TestMatrixTogether: the methods of a host begin together, of so many hosts at once, in an order by chance too.
func TestMatrixTogether(t *testing.T) {
	for _, more := range []string{"", " --shuffle --seed 3"} {
		w := newWorld(simnet.Config{})
		line := "gtrace --format events --matrix icmp,tcp/80,udp/7 --parallel 2 nosuch.example 192.0.2.9 2001:db8::9 198.51.100.9 2001:db8:1::9 four.example" + more
		if status := w.run(t.Context(), line); status != unsure {
			t.Errorf("status %d, want %d: %s", status, unsure, &w.stderr)
		}
		running, begun, matrices := 0, "", 0
		of, last := 0, "" // so many of the last host have begun
		for i, d := range w.documents(t) {
			if is := d["event"] == "started"; of > 0 && (!is || d["target"] != last) && last != "nosuch.example" {
				t.Errorf("line %d: %d of 3 methods of %s have begun, and something else happens", i, of, last)
			} else if is {
				last, of = d["target"].(string), (of+1)%3
			}
			switch {
			case d["schema"] == "gtrace/matrix/v1":
				matrices++
			case d["event"] == "started" && d["target"] != "nosuch.example":
				if running++; running > 6 {
					t.Errorf("line %d: %d methods at once, want 2 hosts of 3", i, running)
				}
				begun += fmt.Sprint(d["target"], " ")
			case d["schema"] == "gtrace/trace/v1" && d["target"] != "nosuch.example":
				running--
			}
		}
		names := strings.Fields(begun)
		for i := 0; i < len(names); i += 3 {
			if i+3 > len(names) || names[i] != names[i+1] || names[i] != names[i+2] {
				t.Errorf("%q: begun %s", more, begun)
				break
			}
		}
		if matrices != 6 || len(names) != 15 || (names[0] == "192.0.2.9") != (more == "") {
			t.Errorf("%q: %d of 6 hosts, begun %s", more, matrices, begun)
		}
	}
}

// TestMatrixSideBySide: with one probe of each method in flight, those of all methods leave together; and they know of each other that routers limit
// what they answer.
func TestMatrixSideBySide(t *testing.T) {
	w := newWorld(simnet.Config{})
	if status := w.run(t.Context(), "gtrace -N1 -m1 --matrix "+allWays+" 192.0.2.9"); status != no {
		t.Errorf("status %d, want %d: %s", status, no, &w.stderr)
	}
	ps := w.conn.Sent()
	if len(ps) != 5 || ps[0].At != ps[4].At {
		t.Errorf("%d packets, the last %v after the first; want 5 together", len(ps), ps[len(ps)-1].At.Sub(ps[0].At))
	}
	w = newWorld(simnet.Config{})
	w.routers[0].Rules = []simnet.Rule{{Proto: 6, Port: 443, Do: simnet.Accept}, {Do: simnet.AdminProhibited}}
	w.routers[0].Limit = simnet.Limit{Burst: 2, Every: time.Second}
	w.run(t.Context(), "gtrace -n --matrix "+allWays+" 192.0.2.9")
	for _, method := range []string{"icmp", "udp/53", "udp/443", "tcp/80"} {
		if want := "\n  # " + method + ": ends after hop 1: 10.0.1.1 answers !X\n"; !strings.Contains(w.out.String(), want) {
			t.Errorf("want %q in\n%s", want, &w.out)
		}
	}
}

// TestMatrixMany: many hosts have all their hops asked; a document that is of several methods is none to go on behind; hosts that wait for ports are
// counted once; and what all methods of a host keep is bounded together.
func TestMatrixMany(t *testing.T) {
	w := crowded(simnet.Config{})
	if status := w.run(t.Context(), "gtrace --json --matrix icmp,tcp/80 --targets "+file(t, targetList(300))); status != yes {
		t.Errorf("status %d, want %d: %s", status, yes, &w.stderr)
	}
	results := w.out.String()
	if n := strings.Count(results, `"gtrace/matrix/v1"`); n != 300 || strings.Contains(results, "shared_hops") {
		t.Errorf("%d of 300 hosts, some with shared hops: %v", n, strings.Contains(results, "shared_hops"))
	}
	w = wide()
	w.run(t.Context(), "gtrace --json --resume "+file(t, results)+" 192.0.0.1")
	if got := targetsOf(t, w); !slices.Equal(got, []string{"192.0.0.1"}) || w.stderr.Len() > 0 {
		t.Errorf("measured %v behind results of several methods, want 192.0.0.1; standard error %q", got, &w.stderr)
	}

	w = newWorld(simnet.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.conn.At(w.conn.Now().Add(time.Millisecond), func() {
		cancel()
		w.conn.Interrupt()
	})
	methods := make([]string, mostWays)
	for i := range methods {
		methods[i] = fmt.Sprintf("tcp/%d", i+1)
	}
	w.run(ctx, "gtrace --json --matrix "+strings.Join(methods, ",")+strings.Repeat(" 192.0.2.9", 5))
	if got, want := w.stderr.String(), "gtrace: 192.0.2.9: not measured: interrupted\n"; got != want {
		t.Errorf("standard error %q, want %q: 64 ports are those of 4 hosts", got, want)
	}

	w = newWorld(simnet.Config{})
	const bound = "gtrace: --parallel 3: each host has up to 100000 results, and no more than 262144 are kept at a time: want --parallel up to 2\n"
	if status := w.run(t.Context(), "gtrace --parallel 3 --matrix udp/1,udp/2 -q500 -m100 192.0.2.9 198.51.100.9 2001:db8::9"); status != unsure || w.stderr.String() != bound {
		t.Errorf("status %d, standard error %q, want %q", status, &w.stderr, bound)
	}
}

// TestMatrixUnsent: why a method could not be measured is said of that method.
func TestMatrixUnsent(t *testing.T) {
	w := newWorld(simnet.Config{Refuse: simnet.RefuseTo(netip.MustParseAddr("192.0.2.9"), "EHOSTUNREACH")})
	if status := w.run(t.Context(), "gtrace --matrix icmp,tcp/80 192.0.2.9"); status != unsure {
		t.Errorf("status %d, want %d", status, unsure)
	}
	for _, method := range []string{"icmp", "tcp/80"} {
		if want := "gtrace: 192.0.2.9 by " + method + ": "; !strings.Contains(w.stderr.String(), want) {
			t.Errorf("want %q in %q", want, &w.stderr)
		}
	}
	if want := "\n  # matrix: icmp and tcp/80 could not be told\n"; !strings.HasSuffix(w.out.String(), want) {
		t.Errorf("got\n%swant at the end %q", &w.out, want)
	}
}
