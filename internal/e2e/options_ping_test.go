//go:build linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gtrace/internal/lab"
)

// pingOptionChecks exercise every option of iputils ping on the wire, in the standard network.
var pingOptionChecks = map[string]func(*testing.T){
	"-4": func(t *testing.T) { pingFamily(t, "-4", 4) },
	"-6": func(t *testing.T) { pingFamily(t, "-6", 6) },
	"-a": func(t *testing.T) {
		r, _ := gping(t, 4, "-c1", "-a")
		wantIn(t, r, " ms\a\n")
	},
	"-A": func(t *testing.T) {
		r, ps := gping(t, 4, "-c5", "-A", "--json")
		// A second apart each, if the interval were as it began.
		if n := len(ps); n != 5 || ps[4].At.Sub(ps[0].At) >= 4*time.Second {
			t.Errorf("%d requests within %v, want 5 as fast as answers come\n%v", n, ps[n-1].At.Sub(ps[0].At), r)
		}
	},
	"-b": checkBroadcast,
	"-B": func(t *testing.T) {
		r, ps := gping(t, 4, "-c2", "-i.01", "-B")
		wantIn(t, r, ") from "+ps[0].src.String()+" : 56(84) bytes")
		if _, same := constant(ps, func(p packet) netip.Addr { return p.src }); !same {
			t.Errorf("requests from several addresses\n%v", r)
		}
	},
	"-c": func(t *testing.T) { wantRequests(t, 3, "-c3", "-i.01") },
	"-C": func(t *testing.T) {
		for _, o := range []string{"-C", "-n"} { // it is always so
			r := do(t, standard(t).Target, "gping", o, "-c1", "-W1", "-r", "198.51.100.1")
			if r.status != 2 || !strings.Contains(r.stderr, "no route from here") {
				t.Errorf("%v, want it to hear at once that there is no way", r)
			}
		}
	},
	"-d": func(t *testing.T) {
		r := do(t, standard(t).Client, "gping", "-n", "-c1", "-d", target(t, 4))
		if r.status != 0 && !(r.status == 2 && strings.Contains(r.stderr, "debug (SO_DEBUG): the kernel allows it with CAP_NET_ADMIN alone")) {
			t.Errorf("%v, want it set or refused with the reason", r)
		}
	},
	"-D": func(t *testing.T) {
		r, _ := gping(t, 4, "-c1", "-D")
		wantMatch(t, r, `(?m)^\[1\d{9}\.\d{6}\] 64 bytes from `)
	},
	"-e": func(t *testing.T) {
		r, ps := gping(t, 4, "-c2", "-i.01", "-v", "-e", "4711")
		wantIn(t, r, " ident=4711 ")
		for _, p := range ps {
			if p.echoID != 4711 {
				t.Errorf("identifier %d, want 4711\n%v", p.echoID, r)
			}
		}
		wantRefused(t, 0, "--identifier 0: want a whole number from 1 to 65535", "-e0")
	},
	"-f": func(t *testing.T) {
		r, ps := gping(t, 4, "-c20", "-f")
		if n := strings.Count(r.stdout, "."); len(ps) != 20 || !strings.Contains(r.stdout, ".\b \b") || n < 20 {
			t.Errorf("%d requests, %d dots\n%v", len(ps), n, r)
		}
		wantMatch(t, r, `, ipg/ewma \d+\.\d{3}/\d+\.\d{3} ms\n$`)
		wantRefused(t, nobody, "--flood: only root may flood", "-f")
	},
	"-F": func(t *testing.T) {
		r, ps := gping(t, 6, "-c2", "-i.01", "-F", "0xabcde")
		wantIn(t, r, ") , flow 0xabcde, 56 data bytes\n")
		for _, p := range ps {
			if p.label != 0xabcde {
				t.Errorf("flow label %#x, want 0xabcde\n%v", p.label, r)
			}
		}
	},
	"-h": func(t *testing.T) {
		r := do(t, standard(t).Client, "gping", "-h")
		if r.status != 0 || !strings.Contains(r.stdout, "-M, --pmtudisc=HOW") {
			t.Errorf("%v, want the options", r)
		}
	},
	"-i": func(t *testing.T) {
		_, ps := gping(t, 4, "-c3", "-i.2")
		for i := 1; i < len(ps); i++ {
			// It never sends early; a busy host may send late, on the grid.
			if d := ps[i].At.Sub(ps[0].At); d < time.Duration(i)*200*time.Millisecond-50*time.Millisecond {
				t.Errorf("request %d left %v after the first, want not before %v", i+1, d, time.Duration(i)*200*time.Millisecond)
			}
		}
		wantRefused(t, nobody, "--interval 0.0019: only root may go below 0.002 seconds", "-i.0019")
	},
	"-I": func(t *testing.T) {
		s := standard(t)
		source := s.Client.Only(4)
		for _, args := range [][]string{{"-I", "r1"}, {"-I", source.String()}, {"-I", "r1", "-I", source.String()}} {
			r, ps := gping(t, 4, append(args, "-c1")...)
			device := ""
			if args[1] == "r1" {
				device = "r1"
			}
			wantIn(t, r, fmt.Sprintf(") from %v %s: 56(84)", source, device))
			if len(ps) != 1 || ps[0].src != source {
				t.Errorf("%d requests by that interface\n%v", len(ps), r)
			}
		}
		wantRefused(t, 0, "there is no such interface", "-I", "nosuch")
		wantRefused(t, 0, "--source 203.0.113.77: not an address of this host", "-I", "203.0.113.77")
	},
	"-l": func(t *testing.T) {
		_, ps := gping(t, 4, "-c4", "-i.3", "-l3")
		if len(ps) != 4 || ps[3].At.Sub(ps[2].At) < 100*time.Millisecond {
			t.Errorf("%d requests, the fourth %v after the third, want three at once", len(ps), ps[3].At.Sub(ps[2].At))
		}
		wantRefused(t, nobody, "--preload 4: only root may send more than 3 requests at once", "-l4")
	},
	"-L": func(t *testing.T) {
		s := standard(t)
		for _, args := range [][]string{{"-c1"}, {"-c1", "-L"}} {
			r, traced := traced(t, s.Client, append([]string{"gping", "-n", "-W.1", "-I", "r1"}, append(args, "224.0.0.1")...)...)
			if off := strings.Contains(traced, "IP_MULTICAST_LOOP, [0]"); off != (len(args) == 2) {
				t.Errorf("%q: IP_MULTICAST_LOOP off %v\n%v", args, off, r)
			}
		}
	},
	"-m": func(t *testing.T) {
		wantRefused(t, nobody, "--fwmark: for root alone", "-m7")
		r, traced := traced(t, standard(t).Client, "gping", "-n", "-c1", "-m7", target(t, 4))
		if r.status != 0 || !strings.Contains(traced, "SO_MARK, [7]") {
			t.Errorf("no mark set\n%v", r)
		}
	},
	"-M": func(t *testing.T) {
		for how, df := range map[string]bool{"do": true, "probe": true, "want": true, "dont": false} {
			_, ps := gping(t, 4, "-c1", "-M", how)
			if len(ps) != 1 || ps[0].df != df {
				t.Errorf("-M %s: %d requests, DF %v, want %v", how, len(ps), ps[0].df, df)
			}
		}
		for _, how := range []string{"want", "dont"} {
			r, ps := gping(t, 4, "-c1", "-s3000", "-M", how)
			if r.status != 0 || len(ps) < 2 || !ps[0].mf || ps[0].df {
				t.Errorf("-M %s -s3000: %d packets, want fragments\n%v", how, len(ps), r)
			}
		}
		r := do(t, standard(t).Client, "gping", "-n", "-c1", "-s3000", "-M", "do", target(t, 4))
		wantIn(t, r, "icmp_seq=1 not sent: EMSGSIZE (message too long: no more than ")
	},
	"-n": func(t *testing.T) {
		r, ps := gping(t, 4, "-c1", "-n")
		wantIn(t, r, "64 bytes from "+target(t, 4)+": icmp_seq=1 ")
		if len(ps) != 1 {
			t.Errorf("%d packets to the target", len(ps))
		}
	},
	"-N": func(t *testing.T) {
		s := standard(t)
		dst := s.Target.Only(6)
		for _, tt := range []struct {
			args       []string
			code       byte
			typ, flags uint16
			data       string
		}{
			{[]string{"-N", "name"}, 0, 2, 0, string(dst.AsSlice())},
			{[]string{"-N", "ipv6-all", "-N", "ipv6-global"}, 0, 3, 0x22, string(dst.AsSlice())},
			{[]string{"-N", "ipv4"}, 0, 4, 0, string(dst.AsSlice())},
			{[]string{"-N", "name", "-N", "subject-name=foo"}, 1, 2, 0, "\x03foo\x00\x00"},
			{[]string{"-N", "name", "-N", "subject-fqdn=foo.bar"}, 1, 2, 0, "\x03foo\x03bar\x00"},
			{[]string{"-N", "ipv4", "-N", "subject-ipv4=1.2.3.4"}, 2, 4, 0, "\x01\x02\x03\x04"},
		} {
			r, ps := captured(t, s.Client, "r1", append([]string{"gping", "-n", "-c1", "-W.1"}, append(tt.args, dst.String())...)...)
			out := probes(ps, dst)
			if len(out) != 1 || len(out[0].transport) < 16 {
				t.Errorf("%q: %d queries\n%v", tt.args, len(out), r)
				continue
			}
			q := out[0].transport
			if q[0] != 139 || q[1] != tt.code || binary.BigEndian.Uint16(q[4:]) != tt.typ || binary.BigEndian.Uint16(q[6:]) != tt.flags || string(q[16:]) != tt.data {
				t.Errorf("%q: query %x", tt.args, q)
			}
		}
	},
	"-O": func(t *testing.T) {
		s := standard(t)
		r := do(t, s.Client, "gping", "-n", "-c3", "-i.1", "-W.1", "-O", s.Special(lab.SilentAt, 4).String())
		wantIn(t, r, "no answer yet for icmp_seq=1\nno answer yet for icmp_seq=2\n")
	},
	"-p": func(t *testing.T) {
		r, ps := gping(t, 4, "-c1", "-p", "c0ffee")
		wantIn(t, r, "PATTERN: 0xc0ffee\n")
		if len(ps) != 1 || !bytes.Contains(ps[0].payload, []byte("\xc0\xff\xee\xc0\xff\xee")) {
			t.Errorf("payload %x", ps[0].payload)
		}
	},
	"-q": func(t *testing.T) {
		r, _ := gping(t, 4, "-c1", "-q")
		wantMatch(t, r, `^PING .*\n\n--- .* ping statistics ---\n`)
	},
	"-Q": func(t *testing.T) {
		for _, v := range []string{"0x28", "40"} {
			if _, ps := gping(t, 4, "-c1", "-Q", v); len(ps) != 1 || ps[0].tos != 40 {
				t.Errorf("-Q %s: %d requests, TOS %d, want 40", v, len(ps), ps[0].tos)
			}
		}
	},
	"-r": func(t *testing.T) {
		s := standard(t)
		r := do(t, s.Client, "gping", "-n", "-c1", "-W.2", "-r", target(t, 4))
		if r.status == 0 {
			t.Errorf("%v: want a host behind a router not to be reached", r)
		}
		if r := do(t, s.Client, "gping", "-n", "-c1", "-r", s.Path[4][0].String()); r.status != 0 {
			t.Errorf("%v: want a host on the link to be reached", r)
		}
	},
	"-R": func(t *testing.T) {
		r, ps := gping(t, 4, "-c2", "-i.01", "-R")
		wantMatch(t, r, `\nRR: \t[\d.]+\n(\t[\d.]+\n){8}\n64 bytes .* ms\t\(same route\)\n`)
		if o := ipOptions(ps[0]); len(o) != 40 || o[1] != 7 || o[2] != 39 {
			t.Errorf("options %x, want a record route of 39 bytes", o)
		}
	},
	"-s": func(t *testing.T) {
		r, ps := gping(t, 4, "-c1", "-s120")
		wantIn(t, r, " 120(148) bytes of data.\n128 bytes from ")
		if len(ps) != 1 || len(ps[0].Data) != 148 {
			t.Errorf("%d bytes, want 148", len(ps[0].Data))
		}
	},
	"-S": func(t *testing.T) {
		r, traced := traced(t, standard(t).Client, "gping", "-n", "-c1", "-S", "54321", target(t, 4))
		if r.status != 0 || !strings.Contains(traced, "SO_SNDBUF, [54321]") {
			t.Errorf("no send buffer set\n%v", r)
		}
	},
	"-t": func(t *testing.T) {
		for _, family := range []int{4, 6} {
			if _, ps := gping(t, family, "-c1", "-t33"); len(ps) != 1 || ps[0].ttl != 33 {
				t.Errorf("IPv%d: %d requests, TTL %d, want 33", family, len(ps), ps[0].ttl)
			}
		}
	},
	"-T": func(t *testing.T) {
		s := standard(t)
		r1, near := s.Path[4][0], s.Path[4][1] // all the way to the target more nodes miss out than can be counted
		for what, want := range map[string]struct {
			length, flag byte
			text         string
		}{
			"tsonly":                   {40, 0, `\nTS: \t\d+ absolute\n(\t-?\d+\n){3,8}\n`},
			"tsandaddr":                {36, 1, `\nTS: \t[\d.]+\t\d+ absolute\n(\t[\d.]+\t-?\d+\n){3}(Unrecorded hops: \d+\n)?\n`},
			"tsprespec=" + r1.String(): {12, 3, ` ms\n(TS: \t[\d.]+\t\d+ absolute\n\n)?`},
		} {
			r, all := captured(t, s.Client, "r1", "gping", "-n", "-c1", "-T", what, near.String())
			wantMatch(t, r, want.text)
			ps := probes(all, near)
			if o := ipOptions(ps[0]); len(o) != int(want.length) || o[0] != 68 || o[1] != want.length || o[3]&15 != want.flag {
				t.Errorf("-T %s: options %x", what, o)
			}
		}
	},
	"-U": func(t *testing.T) {
		for arg, clock := range map[string]string{"-U": "user", "-n": "kernel"} {
			r := do(t, standard(t).Client, "gping", "--json", arg, "-c1", target(t, 4))
			if d, err := readPing(r); err != nil || len(d.Replies) != 1 || d.Replies[0].Clock != clock {
				t.Errorf("%s: %v, want the clock %q\n%v", arg, err, clock, r)
			}
		}
	},
	"-v": func(t *testing.T) {
		r, ps := gping(t, 4, "-c1", "-v")
		wantIn(t, r, fmt.Sprintf(" icmp_seq=1 ident=%d ttl=", ps[0].echoID))
	},
	"-V": func(t *testing.T) {
		link := persona(t, "ping")
		r := do(t, standard(t).Client, link, "-V")
		if r.status != 0 || !strings.Contains(r.stdout, "iputils 20221126") {
			t.Errorf("%v, want the iputils it stands in for", r)
		}
		if r := do(t, standard(t).Client, "gping", "-V"); r.status != 0 || r.stdout == "" {
			t.Errorf("%v, want a version", r)
		}
	},
	"-w": func(t *testing.T) {
		s := standard(t)
		r, ps := captured(t, s.Client, "r1", "gping", "-n", "-w1", "-i.3", s.Special(lab.SilentAt, 4).String())
		if n := len(probes(ps, s.Special(lab.SilentAt, 4))); r.status != 1 || n < 1 || n > 4 {
			t.Errorf("%d requests, want no more than 4 within a second\n%v", n, r)
		}
	},
	"-W": func(t *testing.T) {
		s := standard(t)
		d, r := ping(t, s.Client, "-c1", "-W.2", s.Special(lab.SilentAt, 4).String())
		if r.status != 1 || d.Outcome != "silent" || len(d.Replies) != 1 || d.Replies[0].Result != "timeout" {
			t.Errorf("%v, want one request given up", r)
		}
	},
	"-3": func(t *testing.T) {
		r, _ := gping(t, 4, "-c1", "-3")
		wantMatch(t, r, ` time=\d+\.\d{3} ms\n`)
	},
	"destination": func(t *testing.T) {
		s := standard(t)
		r1, dst := s.Path[4][0], s.Target.Only(4)
		r, ps := captured(t, s.Client, "r1", "gping", "-n", "-c1", r1.String(), dst.String())
		if r.status != 0 || len(probes(ps, r1)) != 1 || len(probes(ps, dst)) != 1 {
			t.Errorf("%v, want a request to each", r)
		}
		for _, args := range [][]string{{"gping", "--gateway", r1.String()}, {persona(t, "ping"), r1.String()}} {
			r, ps := captured(t, s.Client, "r1", append(args, "-n", "-c1", "-W.1", dst.String())...)
			out := probes(ps, r1)
			if len(out) != 1 || !bytes.HasPrefix(ipOptions(out[0]), append([]byte{1, 0x83, 7, 4}, dst.AsSlice()...)) {
				t.Errorf("%d requests to the hop\n%v", len(out), r)
			}
		}
	},
}

// TestPingKinds asks the target in all ways; Linux answers no mask requests.
func TestPingKinds(t *testing.T) {
	r, ps := gping(t, 4, "-c1", "--kind", "timestamp")
	wantMatch(t, r, `\n20 bytes from .*: icmp_seq=1 ttl=\d+ time=[\d.]+ ms there=-?\d+ ms back=-?\d+ ms\n`)
	if len(ps) != 1 || ps[0].icmpType != 13 {
		t.Errorf("type %d, want 13", ps[0].icmpType)
	}
	if r, ps = gping(t, 4, "-c1", "-W.1", "--kind", "mask"); r.status != 1 || len(ps) != 1 || ps[0].icmpType != 17 {
		t.Errorf("%d requests\n%v", len(ps), r)
	}
	for port, want := range map[int]string{lab.OpenPort: "open", lab.ClosedPort: "closed"} {
		r, ps = gping(t, 4, "-c1", "--kind", "tcp", "--port", fmt.Sprint(port))
		wantMatch(t, r, ` bytes from .*: tcp_seq=1 ttl=\d+ time=[\d.]+ ms `+want+`\n`)
		if r.status != 0 || len(ps) == 0 || ps[0].flags != "S" || int(ps[0].dstPort) != port {
			t.Errorf("%d segments\n%v", len(ps), r)
		}
	}
	for port, want := range map[int]string{lab.EchoPort: "answered", 33434: "port unreachable"} {
		r, ps = gping(t, 4, "-c1", "--kind", "udp", "--port", fmt.Sprint(port))
		wantMatch(t, r, ` bytes from .*: udp_seq=1 ttl=\d+ time=[\d.]+ ms `+want+`\n`)
		if r.status != 0 || len(ps) != 1 || ps[0].proto != 17 || int(ps[0].dstPort) != port {
			t.Errorf("%d datagrams\n%v", len(ps), r)
		}
	}
	for _, family := range []int{4, 6} {
		r, ps = gping(t, family, "-c1", "-W.1", "--kind", "probe", "--probed", "eth0")
		want := map[int]int{4: 42, 6: 160}[family]
		if len(ps) != 1 || int(ps[0].transport[0]) != want || !bytes.Contains(ps[0].transport, []byte("\x00\x08\x03\x01eth0")) {
			t.Errorf("IPv%d: %d requests, want one of type %d about eth0\n%v", family, len(ps), want, r)
		}
	}
}

// TestShortStatistics asks a run for them, in every format, while it goes on.
func TestShortStatistics(t *testing.T) {
	for _, format := range []string{"text", "json", "events"} {
		r := start(t, standard(t).Client, nil, "gping", "-n", "--format", format, "-i.05", "-w30", target(t, 4))
		// goesOn waits for some packets from now on; lines may have been in the pipe for long.
		goesOn := func() {
			c, err := standard(t).Client.Capture("r1", 20_000)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			if _, err := c.Wait(patience, func(lab.Packet) bool { n++; return n > 6 }); err != nil {
				t.Fatal(err)
			}
			_, _ = c.Stop()
		}
		goesOn()
		r.signal(syscall.SIGQUIT)
		goesOn()
		r.signal(syscall.SIGINT)
		res := r.end()
		want := regexp.MustCompile(`^\r\d+/\d+ packets, \d+% loss, min/avg/ewma/max = \d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3}/\d+\.\d{3} ms\n$`)
		if !want.MatchString(res.stderr) || res.status != 0 {
			t.Errorf("%s: standard error %q, want the short statistics once\n%v", format, res.stderr, res)
		}
	}
}

// TestPingUsage holds the command line of the name ping to iputils': what is said, and the status.
func TestPingUsage(t *testing.T) {
	link := persona(t, "ping")
	for _, tt := range []struct {
		args, stderr string
		status       int
	}{
		{"", "ping: usage error: Destination address required\n", 1},
		{"-c x H", "ping: invalid argument: 'x'\n", 1},
		{"-c0 H", "ping: invalid argument: '0': out of range: 1 <= value <= 9223372036854775807\n", 1},
		{"-w.5 H", "ping: invalid argument: '.5'\n", 1},
		{"-Q 256 H", "ping: the decimal value of TOS bits must be in range 0-255: 256\n", 2},
		{"-p xyz H", "ping: patterns must be specified as hex digits: xyz\n", 2},
		{"-4 -6 H", "ping: only one -4 or -6 option may be specified\n", 2},
		{"-RT tsonly H", "ping: only one of -T or -R may be used\n", 2},
		{"-6 192.0.2.1", "ping: 192.0.2.1: Address family for hostname not supported\n", 2},
		{"-I nosuch 192.0.2.1", "ping: SO_BINDTODEVICE nosuch: No such device\n", 2},
		{"-I 203.0.113.77 192.0.2.1", "ping: bind: Cannot assign requested address\n", 2},
	} {
		r := do(t, standard(t).Client, append([]string{link}, strings.Fields(tt.args)...)...)
		if r.status != tt.status || r.stderr != tt.stderr || r.stdout != "" {
			t.Errorf("%v\nwant status %d and %q", r, tt.status, tt.stderr)
		}
	}
}

// persona makes a link of that name to gping.
func persona(t *testing.T, name string) string {
	t.Helper()
	programs(t)
	link := t.TempDir() + "/" + name
	if out, err := exec.Command("ln", "-s", program("gping"), link).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return link
}

func target(t *testing.T, family int) string { return standard(t).Target.Only(family).String() }

// gping runs it to the target to its end, and returns the requests too.
func gping(t *testing.T, family int, args ...string) (result, []packet) {
	t.Helper()
	s := standard(t)
	dst := s.Target.Only(family)
	r, ps := captured(t, s.Client, "r1", append(append([]string{"gping"}, args...), dst.String())...)
	out := probes(ps, dst)
	if len(out) == 0 {
		t.Fatalf("no packet to %v\n%v", dst, r)
	}
	return r, out
}

func wantRequests(t *testing.T, n int, args ...string) {
	t.Helper()
	if r, ps := gping(t, 4, args...); len(ps) != n || r.status != 0 {
		t.Errorf("%d requests, want %d\n%v", len(ps), n, r)
	}
}

func wantIn(t *testing.T, r result, text string) {
	t.Helper()
	if !strings.Contains(r.stdout, text) {
		t.Errorf("%q is not in\n%v", text, r)
	}
}

func wantMatch(t *testing.T, r result, re string) {
	t.Helper()
	if !regexp.MustCompile(re).MatchString(r.stdout) {
		t.Errorf("%q does not match\n%v", re, r)
	}
}

// wantRefused runs gping as a user to the target: nothing is sent.
func wantRefused(t *testing.T, uid uint32, stderr string, args ...string) {
	t.Helper()
	var change func(*exec.Cmd)
	if uid != 0 {
		change = as(uid)
	}
	r := start(t, standard(t).Client, change, append(append([]string{"gping", "-n", "-c1"}, args...), target(t, 4))...).end()
	if r.status != 2 || !strings.Contains(r.stderr, stderr) || r.stdout != "" {
		t.Errorf("%v\nwant status 2 and %q", r, stderr)
	}
}

func pingFamily(t *testing.T, option string, family int) {
	s := standard(t)
	if r, ps := gping(t, family, option, "-c1"); r.status != 0 || len(ps) != 1 {
		t.Errorf("%d requests\n%v", len(ps), r)
	}
	other := s.Target.Only(10 - family)
	if r := do(t, s.Client, "gping", option, "-c1", other.String()); r.status != 2 {
		t.Errorf("%v, want %v refused", r, other)
	}
}

// checkBroadcast is on the link to the dead host, which is wide enough to have a broadcast address.
func checkBroadcast(t *testing.T) {
	s := standard(t)
	n := s.Node(fmt.Sprintf("r%d", lab.DeadAt))
	all := netip.MustParseAddr("192.0.2.255")
	r := do(t, n, "gping", "-n", "-c1", "-W.2", all.String())
	if r.status != 2 || !strings.Contains(r.stderr, "is a broadcast address") {
		t.Errorf("%v, want it refused", r)
	}
	r, ps := captured(t, n, "stub", "gping", "-n", "-c1", "-W.2", "-b", all.String())
	if !strings.Contains(r.stderr, "WARNING: pinging broadcast address\n") || len(probes(ps, all)) != 1 {
		t.Errorf("%d requests\n%v", len(probes(ps, all)), r)
	}
}

// traced runs a program under strace and returns the socket options that it set.
func traced(t *testing.T, n *lab.Node, args ...string) (result, string) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		lacks(t, "strace", "strace")
	}
	programs(t)
	r := do(t, n, append([]string{path, "-f", "-qq", "-e", "trace=setsockopt", "-e", "signal=none", program(args[0])}, args[1:]...)...)
	return r, r.stderr
}

// ipOptions are those of an IPv4 header.
func ipOptions(p packet) []byte { return p.Data[20 : 4*int(p.Data[0]&15)] }
