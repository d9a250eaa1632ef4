package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/rawsock"
)

// Addresses of the tests' network: this host, two routers, a target, and one that answers nothing.
const (
	here4, here6     = "198.51.100.1", "2001:db8:1::1"
	other4           = "10.0.0.2" // this host's too
	target4, target6 = "192.0.2.9", "2001:db8::9"
	silent4, silent6 = "198.51.100.9", "2001:db8:1::9"
)

// A world is a program's surroundings.
type world struct {
	env         Env
	conn        *simnet.Conn
	src, target *simnet.Node
	routers     []*simnet.Node
	link        *simnet.Link        // to it
	names       map[string][]string // what the name servers know
	looked      atomic.Int32        // how often they were asked
	attached    []netip.Prefix      // networks of this host
	out, stderr bytes.Buffer
}

func newWorld(cfg simnet.Config) *world {
	w := &world{names: map[string][]string{
		"target.example": {target6, target4},
		"four.example":   {target4},
		"silent.example": {silent4},
		"odd.example":    {"224.0.0.1", target4},
		"cast.example":   {"224.0.0.1"},
	}}
	src := simnet.Host(here4, here6, other4)
	r1 := simnet.Router("10.0.1.1", "fd00:1::1")
	r2 := simnet.Router("10.0.2.1", "fd00:2::1")
	w.src, w.routers = src, []*simnet.Node{r1, r2}
	w.target = simnet.Host(target4, target6)
	simnet.Path(src, r1, r2)
	w.link = r2.Link(w.target, target4+"/32", target6+"/128")
	silent := simnet.Host(silent4, silent6)
	silent.Silent = true
	r2.Link(silent, silent4+"/32", silent6+"/128")
	cfg.Record = true
	cfg.RefuseSet = func(s rawsock.Settings) error { // as the kernel
		if strings.HasPrefix(s.Device, "nosuch") {
			return fmt.Errorf("device %q: %w", s.Device, syscall.ENODEV)
		}
		return nil
	}
	w.conn = simnet.New(cfg, src)
	w.env = Env{
		Conn: w.conn, Stdout: &w.out, Stderr: &w.stderr, Version: "v1.2.3", Commit: "abcdef0",
		source: func(dst netip.Addr, _ rawsock.Settings) (netip.Addr, error) {
			switch {
			case dst.Zone() == "nosuch0":
				return netip.Addr{}, &rawsock.SendError{Name: "ENODEV", Dst: dst, Err: fmt.Errorf("zone %q: %w", dst.Zone(), rawsock.ErrZone)}
			case dst == netip.MustParseAddr("203.0.113.1"):
				return netip.Addr{}, &rawsock.SendError{Name: "ENETUNREACH", Dst: dst, Err: syscall.ENETUNREACH}
			case dst.Is4():
				return netip.MustParseAddr(here4), nil
			}
			return netip.MustParseAddr(here6), nil
		},
		router: func(_, dst netip.Addr, _ rawsock.Settings) (netip.Addr, error) {
			for _, near := range w.attached {
				if near.Contains(dst) {
					return netip.Addr{}, nil
				}
			}
			return netip.MustParseAddr("10.0.1.1"), nil
		},
		lookup: func(_ context.Context, network, name string) ([]netip.Addr, error) {
			w.looked.Add(1)
			var as []netip.Addr
			for _, s := range w.names[name] {
				if a := netip.MustParseAddr(s); network == "ip" || network == "ip4" && a.Is4() || network == "ip6" && a.Is6() {
					as = append(as, a)
				}
			}
			if as == nil {
				return nil, &net.DNSError{Err: "no such host", Name: name, Server: "192.0.2.53:53", IsNotFound: true}
			}
			return as, nil
		},
	}
	return w
}

// run runs one of the programs with a command line of words between single spaces.
func (w *world) run(ctx context.Context, line string) int {
	program, args, _ := strings.Cut(line, " ")
	w.env.Args = words(args)
	if program == "gping" {
		return Ping(ctx, w.env)
	}
	return Trace(ctx, w.env)
}

// documents reads standard output as JSON, one document a line.
func (w *world) documents(t *testing.T) []map[string]any {
	t.Helper()
	var ds []map[string]any
	for line := range strings.Lines(w.out.String()) {
		var d map[string]any
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		ds = append(ds, d)
	}
	return ds
}

// TestRuns are whole runs: what a user types, sees and gets back.
func TestRuns(t *testing.T) {
	noTCP := func(c *rawsock.Caps) { c.TCP, c.Header, c.Socket = false, false, "unprivileged" }
	tests := []struct {
		name   string
		line   string
		cfg    simnet.Config
		root   bool
		status int
		out    []string // regular expressions, each matches a line
		none   []string // and none of these does
		err    string   // all of standard error, a regular expression; "": nothing
	}{
		{name: "reached", line: "gtrace 192.0.2.9", status: 0,
			out: []string{`^traceroute to 192\.0\.2\.9 \(192\.0\.2\.9\), 30 hops max, 60 byte packets$`, `^ 1  10\.0\.1\.1  2\.000 ms`, `^ 3  192\.0\.2\.9  6\.000 ms`}, none: []string{`^ 4`}},
		{name: "reached, IPv6", line: "gtrace 2001:db8::9", status: 0, out: []string{`80 byte packets$`, `^ 3  2001:db8::9  6\.000 ms`}},
		{name: "reached, ICMP", line: "gtrace -I 192.0.2.9", status: 0, out: []string{`^ 3  192\.0\.2\.9 `}},
		{name: "reached, TCP", line: "gtrace -T 192.0.2.9", status: 0, out: []string{`^ 3  192\.0\.2\.9 `}},
		{name: "reached, classic", line: "gtrace --flow=classic 192.0.2.9", status: 0, out: []string{`^ 3  192\.0\.2\.9 `}},
		{name: "reached, ICMP classic IPv6", line: "gtrace -I --flow classic 2001:db8::9", status: 0, out: []string{`^ 3  2001:db8::9 `}},
		{name: "options behind the host", line: "gtrace 192.0.2.9 -nq1 -m5", status: 0, out: []string{`, 5 hops max`, `^ 1  10\.0\.1\.1  2\.000 ms$`}},
		{name: "not reached", line: "gtrace -m4 -w.1 198.51.100.9", status: 1, out: []string{`^ 4  \* \* \*$`}},
		{name: "gap limit", line: "gtrace -w.1 --gap-limit 2 198.51.100.9", status: 1, out: []string{`^ 4  \* \* \*$`}, none: []string{`^ 5`}},
		{name: "first", line: "gtrace -f 3 192.0.2.9", status: 0, out: []string{`^ 3  192`}, none: []string{`^ 1 `, `^ 2 `}},
		{name: "by name, the first address", line: "gtrace target.example", status: 0, out: []string{`^traceroute to target\.example \(2001:db8::9\)`}},
		{name: "by name, -4", line: "gtrace -4 target.example", status: 0, out: []string{`\(192\.0\.2\.9\)`}},
		{name: "by name, -6 of none", line: "gtrace -6 four.example", status: 2, err: `gtrace: four\.example: look up the name: no such host\n`},
		{name: "by name, the family of the source", line: "gtrace -s 198.51.100.1 target.example", status: 0, out: []string{`\(192\.0\.2\.9\)`}},
		{name: "by name, no socket for the first", line: "gtrace target.example", cfg: simnet.Config{Caps: func(c *rawsock.Caps) { c.IPv6 = false }}, status: 0, out: []string{`\(192\.0\.2\.9\)`}},
		{name: "by name, no probing the first", line: "gtrace odd.example", status: 0, out: []string{`\(192\.0\.2\.9\)`}},
		{name: "by name, no probing any", line: "gtrace cast.example", status: 2, err: `gtrace: cast\.example: 224\.0\.0\.1: broadcast and multicast addresses are not probed\n`},
		{name: "IPv4 in IPv6's clothes", line: "gtrace ::ffff:192.0.2.9", status: 0, out: []string{`60 byte packets`}},
		{name: "no such name", line: "gtrace nosuch.example", status: 2, err: `gtrace: nosuch\.example: look up the name: no such host\n`},
		{name: "no such name, control characters", line: "gtrace no\x1b[2Jsuch\nh", status: 2, err: `gtrace: "no\\x1b\[2Jsuch\\nh": look up the name: no such host\n`},
		{name: "no name at all", line: "gtrace -- ", status: 2, err: `gtrace: "": is no host name\n`},
		{name: "option for a host", line: "gtrace -- -m5", status: 2, err: `gtrace: -m5: is no host name\n`},
		{name: "a host called help", line: "gtrace help", status: 2, err: `gtrace: help: look up the name: no such host; for the options: --help\n`},
		{name: "a URL", line: "gtrace https://four.example/x four.example:80", status: 2, err: `gtrace: https://four\.example/x: is a URL; give the host alone: four\.example\n` +
			`gtrace: four\.example:80: has a port; give the host alone: four\.example\n`},
		{name: "a host called like an option", line: "gtrace numeric", status: 2, err: `gtrace: numeric: look up the name: no such host\n`},
		{name: "no route", line: "gtrace 203.0.113.1", status: 2, err: `gtrace: 203\.0\.113\.1: no route from here: network is unreachable\n`},
		{name: "no probe leaves", line: "gtrace 192.0.2.9", cfg: simnet.Config{Refuse: func(int, netip.Addr) string { return "EPERM" }}, status: 2,
			out: []string{`^traceroute to`}, err: `gtrace: 192\.0\.2\.9: .+\n`},
		{name: "unspecified", line: "gtrace 0.0.0.0 ::", status: 2, err: `gtrace: 0\.0\.0\.0: is no address of a host\ngtrace: ::: is no address of a host\n`},
		{name: "broadcast", line: "gping -c1 255.255.255.255", status: 2, err: `gping: 255\.255\.255\.255: is a broadcast address: --broadcast asks for the answers of all\n`},
		{name: "multicast", line: "gtrace ff02::1%eth0", status: 2, err: `gtrace: ff02::1%eth0: broadcast and multicast addresses are not probed\n`},
		{name: "link-local on no interface", line: "gtrace fe80::1%nosuch0", status: 2, err: `gtrace: fe80::1%nosuch0: zone "nosuch0": there is no such interface \(ip link lists those of this host\)\n`},
		{name: "link-local without interface", line: "gtrace fe80::1", status: 2, err: `gtrace: fe80::1: a link-local address needs its interface, as in fe80::1%eth0\n`},
		{name: "other family", line: "gtrace -6 192.0.2.9", status: 2, err: `gtrace: 192\.0\.2\.9: is no IPv6 address\n`},
		{name: "source of another host", line: "gtrace -s 192.0.2.9 192.0.2.9", status: 2, err: `gtrace: --source 192\.0\.2\.9: not an address of this host\n`},
		{name: "source of another family", line: "gtrace -s 198.51.100.1 2001:db8::9", status: 2, err: `gtrace: 2001:db8::9: is no IPv4 address\n`},
		{name: "no sockets of a family", line: "gtrace -6 target.example", cfg: simnet.Config{Caps: func(c *rawsock.Caps) { c.IPv6 = false }}, status: 2, err: `gtrace: --ipv6: this host has no IPv6 sockets\n`},
		{name: "no sockets for a literal", line: "gtrace ::1", cfg: simnet.Config{Caps: func(c *rawsock.Caps) { c.IPv6 = false }}, status: 2, err: `gtrace: ::1: this host has no IPv6 sockets\n`},
		{name: "too small, UDP", line: "gtrace --size 29 192.0.2.9", status: 2, err: `gtrace: 192\.0\.2\.9: --size 29: a udp probe over IPv4 has 30 to 65535 bytes\n`},
		{name: "smallest, UDP", line: "gtrace --size 30 192.0.2.9", status: 0, out: []string{`30 byte packets`}},
		{name: "flow label without IPv6", line: "gtrace -l 5 192.0.2.9", status: 2, err: `gtrace: 192\.0\.2\.9: --flowlabel: IPv4 has none.*\n`},
		{name: "ports run out", line: "gtrace 192.0.2.9", cfg: simnet.Config{Ports: 1}, status: 0, out: []string{`^ 3`}},
		{name: "several hosts, one port", line: "gtrace 192.0.2.9 192.0.2.9 2001:db8::9", cfg: simnet.Config{Ports: 1}, status: 0, out: []string{`^ 3  192`, `^ 3  2001`}},
		{name: "several hosts: no wins over yes", line: "gtrace -m4 -w.1 192.0.2.9 198.51.100.9", status: 1, out: []string{`^ 3  192`, `^ 4  \*`}},
		{name: "several hosts: unsure wins over all", line: "gtrace -m4 -w.1 nosuch.example 198.51.100.9 192.0.2.9", status: 2,
			out: []string{`^ 3  192`, `^ 4  \*`}, err: `gtrace: nosuch\.example: look up the name: no such host\n`},

		{name: "forty attempts, by an interval", line: "gtrace -q40 --interval .1 192.0.2.9", status: 0, out: []string{`^ 3  192\.0\.2\.9(  6\.000 ms){40}$`}, none: []string{`#`}},
		{name: "loss of several hosts", line: "gtrace -q4 --json 192.0.2.9 2001:db8::9", status: 0,
			out: []string{`"family":4,.*"probes_sent":\d+,"replies":\d+,"loss_percent":0,`, `"family":6,.*"probes_sent":\d+,"replies":\d+,"loss_percent":0,`}},
		{name: "a table", line: "gtrace --table -q4 192.0.2.9", status: 0, out: []string{
			`^traceroute to 192\.0\.2\.9 `,
			`^    Host       Loss      95 % Path  Snt   Last    Avg   Best   Wrst  StDev$`,
			`^                  %         %    %          ms     ms     ms     ms     ms$`,
			`^ 1  10\.0\.1\.1    0\.0  0\.0-49\.0  0\.0    4  2\.000  2\.000  2\.000  2\.000  0\.000$`,
			`^ 3  192\.0\.2\.9   0\.0 `}, none: []string{`\d ms`}},
		{name: "a table of silence and single probes", line: "gtrace --table -w.1 -m4 -q1 198.51.100.9", status: 1, out: []string{
			`^ 1  10\.0\.1\.1  +-  +-  +-  +1 +2\.000 +2\.000 +2\.000 +2\.000 +-$`, `^ 4  \* +-  +-  +-  +1 +- +- +- +- +-$`}},
		{name: "an interval, JSON", line: "gtrace -q4 --interval .25 --json 192.0.2.9", status: 0,
			out: []string{`"interval_ms":250,.*"summary":{"sent":4,"received":4,"loss_percent":0,"loss_interval_percent":\[0,48\.9`}},

		{name: "TCP without raw sockets", line: "gtrace -T 192.0.2.9", cfg: simnet.Config{Caps: noTCP}, status: 2, err: `gtrace: --tcp: needs raw sockets; to allow them: sudo setcap cap_net_raw\+p \S+ \(or scripts/install-privilege .*\)\n`},
		{name: "flow label without raw sockets", line: "gtrace -l1 ::1", cfg: simnet.Config{Caps: noTCP}, status: 2, err: `gtrace: --flowlabel: needs raw sockets; .*\n`},
		{name: "TCP where the system has none", line: "gtrace -T 192.0.2.9", cfg: simnet.Config{Caps: func(c *rawsock.Caps) { c.TCP = false }}, status: 2, err: `gtrace: --tcp: this system's sockets cannot do that\n`},

		{name: "answered", line: "gping -c 3 -i.2 192.0.2.9", status: 0,
			out: []string{`^PING 192\.0\.2\.9 \(192\.0\.2\.9\) 56\(84\) bytes of data\.$`, `icmp_seq=3 ttl=62 time=6\.00 ms`, `^3 packets transmitted, 3 received, 0% packet loss, time \d+ms$`}, none: []string{"icmp_seq=4"}},
		{name: "answered, IPv6, by name", line: "gping -c1 target.example", status: 0, out: []string{`^PING target\.example.*2001:db8::9.* 56 data bytes$`}},
		{name: "silent", line: "gping -c 2 -W 1 silent.example", status: 1, out: []string{`^2 packets transmitted, 0 received, 100% packet loss`}},
		{name: "TTL too low", line: "gping -c1 -t1 192.0.2.9", status: 1, out: []string{`^From 10\.0\.1\.1 icmp_seq=1 Time to live exceeded`}},
		{name: "deadline ends it", line: "gping -w 2 -i.5 192.0.2.9", status: 0, out: []string{` received, 0% packet loss`}},
		{name: "quiet", line: "gping -qc2 192.0.2.9", status: 0, out: []string{`^PING`, `2 received`}, none: []string{`icmp_seq`}},
		{name: "no replies", line: "gping --no-replies -c2 192.0.2.9", status: 0, out: []string{`^PING`, `2 received`}, none: []string{`icmp_seq`}},
		{name: "payload", line: "gping -s 4 -c1 192.0.2.9", status: 0, out: []string{`4\(32\) bytes of data`}},
		{name: "largest payload", line: "gping -s 65507 -c1 192.0.2.9", status: 0, out: []string{`65507\(65535\) bytes of data`}},
		{name: "payload too large for IPv6", line: "gping -s 65500 -c1 2001:db8::9", status: 2, err: `gping: 2001:db8::9: --payload 65500: IPv6 leaves room for 65487 bytes\n`},
		{name: "pattern", line: "gping -p ff0 -c1 192.0.2.9", status: 0, out: []string{`^PATTERN: 0xff00$`}},
		{name: "pattern, quiet", line: "gping -q -p ff0 -c1 192.0.2.9", status: 0, none: []string{`PATTERN`}},
		{name: "interval of root", line: "gping -i .0001 -c5 192.0.2.9", root: true, status: 0, out: []string{`5 received`}},
		{name: "more waited for than a thousand", line: "gping -q -i .002 -W 5 -c 2000 198.51.100.9", status: 1, out: []string{`^2000 packets transmitted, 0 received, 100% packet loss, time 3998ms$`}},
		{name: "more waited for than a thousand, root", line: "gping -q -i .001 -W 4 -c 4000 198.51.100.9", root: true, status: 1, out: []string{`^4000 packets .*, time 3999ms$`}},
		{name: "by name", line: "gping -c1 four.example", status: 0, out: []string{`^64 bytes from 192\.0\.2\.9 \(192\.0\.2\.9\): icmp_seq=1 `}},
		{name: "by name, numeric", line: "gping -nc1 four.example", status: 0, out: []string{`^64 bytes from 192\.0\.2\.9: icmp_seq=1 `}},
		{name: "several hosts", line: "gping -c1 192.0.2.9 2001:db8::9", status: 0, out: []string{`^PING 192`, `^PING 2001`}},
		{name: "several hosts, one silent", line: "gping -c1 -W1 198.51.100.9 192.0.2.9", status: 1, out: []string{`^PING 198`, `^PING 192`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(tt.cfg)
			w.env.Root = tt.root
			if status := w.run(t.Context(), tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			for _, re := range tt.out {
				if !regexp.MustCompile(`(?m)` + re).MatchString(w.out.String()) {
					t.Errorf("no line matches %s", re)
				}
			}
			for _, re := range tt.none {
				if regexp.MustCompile(`(?m)` + re).MatchString(w.out.String()) {
					t.Errorf("a line matches %s", re)
				}
			}
			if !regexp.MustCompile(`^` + tt.err + `$`).MatchString(w.stderr.String()) {
				t.Errorf("standard error %q, want %s", &w.stderr, tt.err)
			}
			if len(tt.out) == 0 && len(tt.none) == 0 && w.out.Len() > 0 {
				t.Errorf("results where there are none")
			}
			if f := w.conn.Faults(); len(f) > 0 {
				t.Errorf("packets no host would take: %v", f)
			}
			if t.Failed() {
				t.Logf("standard output:\n%s", &w.out)
			}
		})
	}
}

// TestLoopbackByGateway: a source of this host alone is none on the way by another host, though the last one is this host.
func TestLoopbackByGateway(t *testing.T) {
	const lo4, lo6 = "127.0.0.1", "::1"
	for _, tt := range []struct {
		ping               bool
		gateways, src, dst string
		refused            bool
	}{
		{true, "10.0.1.1", lo4, lo4, true},
		{true, "10.0.1.1", here4, here4, false},
		{true, here4, lo4, lo4, false},
		{true, "", lo4, lo4, false},
		{false, "10.0.1.1", lo4, lo4, true},
		{false, "10.0.1.1", here4, target4, false},
		{false, "4,fd00:1::1", lo6, lo6, true},
		{false, "4,fd00:1::1", lo6, here6, true},
		{false, "4," + here6, lo6, lo6, false},
	} {
		w := newWorld(simnet.Config{})
		trace, ping := newTraceTool(), newPingTool()
		s := &session{env: w.env, tool: trace}
		var err error
		switch {
		case !tt.ping:
			trace.kind = "udp"
			trace.route, err = s.findGateways(t.Context(), tt.gateways)
		case tt.gateways != "":
			err = ping.setGateways(tt.gateways)
		}
		if err != nil {
			t.Fatal(err)
		}
		if tt.ping {
			s.tool = ping
		}
		_, err = s.tool.plan(s, netip.AddrPortFrom(netip.MustParseAddr(tt.src), 40000), netip.MustParseAddr(tt.dst))
		if refused := err != nil && strings.Contains(err.Error(), "of this host alone"); refused != tt.refused || !refused && err != nil {
			t.Errorf("%s from %s to %s by %q: %v, want it refused: %v", s.tool.name(), tt.src, tt.dst, tt.gateways, err, tt.refused)
		}
	}
}

// TestUsage: what is wrong with a command line is told in one line before anything is looked up or sent.
func TestUsage(t *testing.T) {
	tests := []struct{ line, want string }{
		{"gtrace", "no host given"},
		{"gping -n", "no host given"},
		{"gtrace --nope h", "--nope: unknown option"},
		{"gtrace h -Z", "-Z: unknown option"},
		{"gtrace -c1 h", "-c: unknown option"}, // gping's
		{"gping -T h", "--ip-timestamp h: want tsonly, tsandaddr, or tsprespec="},
		{"gtrace h -q", "-q: needs a value"},
		{"gtrace -46 h", "--ipv4 and --ipv6 exclude each other"},
		{"gtrace -IT h", "--icmp and --tcp exclude each other"},
		{"gtrace -T --flow classic h", "--flow classic: a TCP probe keeps its flow"},
		{"gtrace -U --flow classic h", "--flow classic: a UDP probe keeps its flow"},
		{"gtrace -IU h", "--icmp and --udp exclude each other"},
		{"gtrace -M icmp -D h", "--icmp and --dccp exclude each other"},
		{"gtrace -M ip h", "--module ip: want one of: default, icmp, tcp, udp, tcpconn, udplite, dccp, raw"},
		{"gtrace -L h", "--udplite: stands with --udp alone, as -UL"},
		{"gtrace -TL h", "--udplite: stands with --udp alone, as -UL"},
		{"gtrace -P 6 h", "--protocol 6: a packet without the header of its protocol is malformed and tells nothing: use --tcp"},
		{"gtrace -P ICMP h", "--protocol ICMP: a packet without the header of its protocol is malformed and tells nothing: use --icmp"},
		{"gtrace -P 0 h", "--protocol 0: want an IP protocol, 1 to 254, or one of: ah"},
		{"gtrace -P 44 h", "--protocol 44: want an IP protocol"},
		{"gtrace -P 256 h", "--protocol 256: want an IP protocol"},
		{"gtrace -P 253 -p 5 h", "--port 5: a raw packet has no ports"},
		{"gtrace -I --sport 5 h", "--sport 5: an ICMP probe has no ports"},
		{"gtrace --sport 0 h", "--sport 0: want a whole number from 1 to 65535"},
		{"gtrace -O syn h", "--options syn: no such option of this method (-O help lists them)"},
		{"gtrace -T -O nope h", "--options nope: no such option of this method"},
		{"gtrace -T -O syn, h", "--options syn,: want one or more options"},
		{"gtrace -T -O syn=1 h", "--options syn=1: no such option with a value"},
		{"gtrace -T -O flags=0 h", "--options flags=0: want flags=N, a whole number from 1 to 255"},
		{"gtrace -T -O flags=0x1ff h", "--options flags=0x1ff: want flags=N"},
		{"gtrace -T -O mss=0 h", "--options mss=0: want mss=N, a whole number from 1 to 65535"},
		{"gtrace -T -O ack,sack h", "--options sack: stands in a SYN alone: add syn"},
		{"gtrace -T -O mss=9,ack h", "--options mss=9: stands in a SYN alone: add syn"},
		{"gtrace -T -O mss= h", "--options mss=: want mss=N"},
		{"gtrace -T -O reuse h", "--options reuse: all probes to a host have one local port here"},
		{"gtrace -T -O fastopen h", "--options fastopen: a probe carries no data, which that is for"},
		{"gtrace -M tcpconn -O syn h", "--options syn: the system makes the packets of --module tcpconn"},
		{"gtrace -I -O raw,dgram h", "--options: raw and dgram exclude each other"},
		{"gtrace -UL -O coverage=8 h", "--options coverage=8: want coverage=N, a whole number from 10 to 65535"},
		{"gtrace -D -O service=-1 h", "--options service=-1: want service=N"},
		{"gtrace -M raw -O protocol=17 h", "--options protocol=17: a packet without the header of its protocol"},
		{"gtrace -T --mtu -O syn h", "--mtu: a TCP segment has any size with ACK and without SYN alone"},
		{"gtrace -T --mtu -O flags=2 h", "--mtu: a TCP segment has any size"},
		{"gtrace -T --mtu -O ecn,ack h", "--mtu: a TCP segment has any size"},
		{"gtrace -T --mtu -O fin h", "--mtu: a TCP segment has any size"},
		{"gtrace -T --mtu -O mss=900 h", "--options mss=900: stands in a SYN alone"},
		{"gtrace -M tcpconn --mtu h", "--mtu: not with --module tcpconn"},
		{"gtrace -D --mtu h", "--mtu: not with --dccp"},
		{"gtrace --mtu -N 2 h", "--sim-queries 2: --mtu asks one at a time"},
		{"gtrace --table --json h", "--table: is text, not json, which has the same in each hop's summary"},
		{"gtrace --table --mtu h", "--table: not with --mtu"},
		{"gtrace --mtu --interval 1 h", "--interval: not with --mtu, which asks as it learns"},
		{"gtrace --mtu -q 11 h", "--queries 11: want no more than 10 with --mtu"},
		{"gtrace -q 1000 -m 255 h", "--queries 1000: with 255 hops that is more than 65535 probes a host; a smaller --max-hops allows more"},
		{"gtrace --interval .009 h", "--interval .009: want seconds from 0.01 to 3600, such as 1.5 or 1500ms"},
		{"gtrace --interval 0 h", "--interval 0: want seconds from 0.01 to 3600"},
		{"gtrace --as-server whois.example:0 h", "--as-server whois.example:0: want a host, or a host and a port"},
		{"gtrace -z x h", "--sendwait x: want seconds up to 10, or milliseconds above 10"},
		{"gtrace -z -1 h", "--sendwait -1: want seconds up to 10"},
		{"gtrace -z NaN h", "--sendwait NaN: want seconds up to 10"},
		{"gtrace --fwmark 3 h", "--fwmark 0x3: only root may mark packets; run it as root (sudo)"},
		{"gtrace --fwmark x h", "--fwmark x: want a whole number from 0 to 4294967295"},
		{"gtrace -T -O fin h", "--options: an ordinary user may have no TCP flags sent but SYN and ACK; root may (sudo)"},
		{"gtrace -P 253 h", "--protocol 253: for root alone: "},
		{"gtrace -g , h", "--gateway ,: want one or more gateways, separated by commas"},
		{"gtrace -4 -g 2,fd00::1 h", "--gateway 2,fd00::1: type 2: IPv4, which --ipv4 asks for, has no routing headers"},
		{"gtrace -g 2 h", "--gateway 2: no gateway behind the type"},
		{"gtrace h 65536", "packet length 65536: want up to 65535 (too big packetlen specified)"},
		{"gtrace h 99999999999999999999", "packet length 99999999999999999999: want up to 65535"},
		{"gtrace --size 70 h 80", "--size 70: the operand behind the hosts says 80"},
		{"gtrace --interface= h", `--interface "": want a name`},
		{"gtrace --flow dublin h", "--flow dublin: want one of: paris, classic"},
		{"gtrace -f5 -m4 h", "--first 5: is beyond --max-hops 4"},
		{"gtrace -f31 h", "--first 31: is beyond --max-hops 30"},
		{"gtrace -m0 h", "--max-hops 0: want a whole number from 1 to 255"},
		{"gtrace -m256 h", "--max-hops 256: want a whole number from 1 to 255"},
		{"gtrace -m= h", "--max-hops =: want a whole number"},
		{"gtrace --max-hops= h", `--max-hops "": want a whole number`},
		{"gtrace -q1001 h", "--queries 1001: want a whole number from 1 to 1000"},
		{"gtrace -q0 h", "--queries 0: want a whole number from 1 to 1000"},
		{"gtrace -N0 h", "--sim-queries 0: want a whole number from 1 to 1024"},
		{"gtrace -p0 h", "--port 0: want a whole number from 1 to 65535"},
		{"gtrace -p65536 h", "--port 65536: want a whole number from 1 to 65535"},
		{"gtrace -phttp- h", "--port http-: want a whole number from 1 to 65535"},
		{"gtrace --size 65536 h", "--size 65536: want a whole number from 1 to 65535"},
		{"gtrace --gap-limit -1 h", "--gap-limit -1: want a whole number from 0 to 255"},
		{"gtrace -t 256 h", "--tos 256: want a whole number from 0 to 255"},
		{"gtrace -l 0x100000 h", "--flowlabel 0x100000: want a whole number from 0 to 1048575"},
		{"gtrace -4 -l 1 h", "--flowlabel: IPv4, which --ipv4 asks for, has none"},
		{"gtrace -w 0 h", "--wait 0: want seconds from 0.001 to 3600"},
		{"gtrace -w NaN h", "--wait NaN: want seconds from 0.001 to 3600"},
		{"gtrace -w 5,3,10,1 h", "--wait 5,3,10,1: want MAX[,HERE[,NEAR]]"},
		{"gtrace -w ,3 h", "--wait ,3: want MAX[,HERE[,NEAR]]"},
		{"gtrace -w 5,-3 h", "--wait 5,-3: want a factor from 0 to 1000"},
		{"gtrace -w 5,3,Inf h", "--wait 5,3,Inf: want a factor from 0 to 1000"},
		{"gtrace -s eth0 h", "--source eth0: want an address of this host"},
		{"gtrace -6 -s 10.0.0.1 h", "--source 10.0.0.1: is no IPv6 address, which --ipv6 asks for"},
		{"gtrace -4 -s fd00::1 h", "--source fd00::1: is no IPv4 address, which --ipv4 asks for"},
		{"gtrace --format xml h", "--format xml: want one of: text, json, events"},
		{"gtrace --json --format text h", "--format text: --format and --json exclude each other"},
		{"gtrace --json=yes h", `--json: takes no value, got "yes"`},
		{"gping -c0 h", "--count 0: want a whole number from 1 to 2147483647"},
		{"gping -c 2147483648 h", "--count 2147483648: want a whole number from 1 to 2147483647"},
		{"gping -i 0 h", "--interval 0: want seconds from 0.00001 to 2147483"},
		{"gping -i .0019 h", "--interval 0.0019: only root may go below 0.002 seconds"},
		{"gping -i 2147484 h", "--interval 2147484: want seconds from 0.00001 to 2147483"},
		{"gping -i 1e400 h", "--interval 1e400: want seconds"},
		{"gping -w 0 h", "--deadline 0: want seconds"},
		{"gping -W -1 h", "--timeout -1: cannot be negative: want seconds from 0.001"},
		{"gping -s 65508 h", "--payload 65508: want a whole number from 0 to 65507"},
		{"gping --sweep 56 h", "--sweep 56: want FROM-TO or FROM-TO/STEP, payloads up to 65507 bytes, such as 56-1472"},
		{"gping --sweep 1472-56 h", "--sweep 1472-56: want FROM-TO"},
		{"gping --sweep 56-56 h", "--sweep 56-56: want FROM-TO"},
		{"gping --sweep 56-65508 h", "--sweep 56-65508: want FROM-TO"},
		{"gping --sweep 56-1472/0 h", "--sweep 56-1472/0: want FROM-TO"},
		{"gping --sweep 56-1472/ h", "--sweep 56-1472/: want FROM-TO"},
		{"gping --sweep 56-1472/1/1 h", "--sweep 56-1472/1/1: want FROM-TO"},
		{"gping --sweep -1-1472 h", "--sweep -1-1472: want FROM-TO"},
		{"gping --sweep 56-1472 -s 100 h", "--sweep and --payload exclude each other"},
		{"gping --sweep 56-1472 --kind tcp h", "--sweep: a request of --kind=tcp has one size: echo and udp have any"},
		{"gping --sweep 56-1472 --kind timestamp h", "--sweep: a request of --kind=timestamp has one size"},
		{"gping --sweep 56-1472 -N name h", "--sweep: a query of --node-info has one size"},
		{"gping --sweep 1-1472 --kind udp h", "--sweep 1-1472/46: a UDP request needs 2 bytes to be told apart by"},
		{"gping --sweep 56-1472 -M want h", "--sweep: with --pmtudisc=want it depends on earlier sizes whether one leaves in fragments: want do, probe or dont"},
		{"gping --sweep 56-1472 -f h", "--sweep: each size is asked by itself: neither --flood, --adaptive nor --preload"},
		{"gping --sweep 56-1472 -A h", "--sweep: each size is asked by itself"},
		{"gping --sweep 56-1472 -l 2 h", "--sweep: each size is asked by itself"},
		{"gping --sweep 56-1472 --retry 2 h", "--sweep: goes on when a host has answered: neither --retry, --alive nor --unreachable"},
		{"gping --sweep 56-1472 --alive h", "--sweep: goes on when a host has answered"},
		{"gping --sweep 56-1472 -b h", "--sweep and --broadcast exclude each other"},
		{"gping --sweep 56-1472 --format fping h", "--sweep: fping's lines have no place for what it finds"},
		{"gping --sweep 56-1472 -i .001 h", "--interval 0.001: only root may go below 0.002 seconds"},
		{"gping --sweep 0-65507/1 --json h", "--sweep 0-65507/1: 65508 sizes: a document has no more than 262144 replies: --no-replies leaves them out"},
		{"gping -p xyz h", "--pattern xyz: want 1 to 16 bytes in hexadecimal"},
		{"gping -t 0 h", "--ttl 0: want a whole number from 1 to 255"},
		{"gping -Q 256 h", "--tos 256: want a whole number from 0 to 255"},
		{"gping --source eth0 h", "--source eth0: want an address of this host"},
		{"gping -I a/b h", "--interface a/b: want the name of an interface"},
		{"gping -I 192.0.2.1 --source 192.0.2.2 h", "--interface 192.0.2.1 and --source 192.0.2.2 exclude each other"},
		{"gping -f h", "--flood: only root may flood"},
		{"gping -l4 h", "--preload 4: only root may send more than 3 requests at once"},
		{"gping -m1 h", "--fwmark: for root alone"},
		{"gping --kind ech h", "--kind ech: want one of: echo, timestamp, mask, probe, tcp, udp"},
		{"gping --kind mask -6 h", "--kind=mask: there is no such thing in IPv6"},
		{"gping --port 80 h", "--port 80: --kind=echo has no ports"},
		{"gping --kind probe h", "--kind=probe: needs --probed"},
		{"gping --probed eth0 h", "--probed: is for --kind=probe"},
		{"gping --kind tcp -s9 h", "--payload and --pattern: are for"},
		{"gping -RT tsonly h", "--ip-timestamp tsonly: --record-route and --ip-timestamp exclude each other"},
		{"gping -T tsonly=192.0.2.1 h", "--ip-timestamp tsonly=192.0.2.1: want tsonly"},
		{"gping -T tsprespec=1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4,5.5.5.5 h", "--ip-timestamp tsprespec=1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4,5.5.5.5: want one to 4 IPv4 addresses"},
		{"gping -R6 h", "--record-route: there is no such thing in IPv6"},
		{"gping --gateway fd00::1 h", "--gateway fd00::1: want one to 8 IPv4 addresses"},
		{"gping -R --gateway 192.0.2.1 h", "--gateway excludes --record-route"},
		{"gping -N foo h", "--node-info foo: want one of: name, ipv6,"},
		{"gping -N name -4 h", "--node-info: IPv4, which --ipv4 asks for, has no such queries"},
		{"gping -N ipv4 -N name h", "--node-info name: only one of"},
		{"gping -M maybe h", "--pmtudisc maybe: want one of: do, want, dont, probe"},
		{"gping -e 0 h", "--identifier 0: want a whole number from 1 to 65535"},
		{"gping -F 0x100000 h", "--flowlabel 0x100000: want a whole number from 0 to 1048575"},
		{"gping -4F1 h", "--flowlabel: IPv4, which --ipv4 asks for, has none"},
		{"gping --loss-format whole h", "--loss-format whole: want one of: float, int"},
		{"gping --parallel 1 a b", "2 hosts given, 1 at once: they take turns, so --count or --deadline must end each"},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.run(t.Context(), tt.line); status != 2 {
				t.Errorf("status %d, want 2", status)
			}
			program, _, _ := strings.Cut(tt.line, " ")
			if got := w.stderr.String(); !strings.HasPrefix(got, program+": "+tt.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("standard error %q, want one line that begins with %q", got, program+": "+tt.want)
			}
			if w.out.Len() > 0 {
				t.Errorf("standard output %q, want nothing", &w.out)
			}
			if w.looked.Load() > 0 || w.conn.Counts().Sent > 0 {
				t.Errorf("%d names looked up and %d packets sent, want none", w.looked.Load(), w.conn.Counts().Sent)
			}
		})
	}
}

// TestRequestsToldApart: a ping that would run out of ids, and stand still until the oldest is free again,
// is refused; one that ends before that is not, nor one whose ids its own bytes in the payload back up. 65534 requests fit in
// 10 s and a minute at 1.0682 ms, 255 at 0.2745 s.
func TestRequestsToldApart(t *testing.T) {
	const (
		refused  = "gping: --interval %s: no more than %d requests can be told apart within --timeout %s and a minute: want at least %s, a shorter --timeout, or %s\n"
		awaited  = "gping: %s: no more than 65534 requests can be waited for within --timeout %s: want %s, a shorter --timeout, or %s\n"
		few      = "gping: --flood: no more than 255 requests can be told apart within --timeout 10 and a minute: want an --interval of at least 0.274509804, a shorter --timeout, or --count up to 255\n"
		extended = "--kind probe --probed lo"
	)
	tests := []struct {
		line string
		root bool
		err  string
		sent int           // packets, where it is not refused
		took time.Duration // at most
	}{
		{"gping -i .001 -s 11 -w 65.535 -c 1 H", true, fmt.Sprintf(refused, "0.001", 65534, "10", "0.001000016", "a --deadline up to 65.534"), 0, 0},
		{"gping -i .001 -s 11 H", true, fmt.Sprintf(refused, "0.001", 65534, "10", "0.001068148", "--count up to 65534"), 0, 0},
		{"gping -i .001 -s 11 -c 65535 H", true, fmt.Sprintf(refused, "0.001", 65534, "10", "0.001068148", "--count up to 65534"), 0, 0},
		{"gping -i .002 -s 11 -W 100 H", false, fmt.Sprintf(refused, "0.002", 65534, "100", "0.002441481", "--count up to 65534"), 0, 0},
		{"gping -i .001 --kind tcp H", true, fmt.Sprintf(refused, "0.001", 65534, "10", "0.001068148", "--count up to 65534"), 0, 0},
		{"gping -i .2 " + extended + " H", false, fmt.Sprintf(refused, "0.2", 255, "10", "0.274509804", "--count up to 255"), 0, 0},
		{"gping -i 14 -W 3600 " + extended + " H", false, fmt.Sprintf(refused, "14", 255, "3600", "14.352941177", "--count up to 255"), 0, 0},
		{"gping -f -c 256 " + extended + " H", true, few, 0, 0},
		{"gping -f -w 2.551 " + extended + " H", true, strings.Replace(strings.Replace(few, "0.274509804", "0.010003922", 1), "--count up to 255", "a --deadline up to 2.55", 1), 0, 0},
		{"gping -i .0001 H", true, fmt.Sprintf(awaited, "--interval 0.0001", "10", "at least 0.000152593", "--count up to 65534"), 0, 0},
		{"gping -f -W 700 H", true, fmt.Sprintf(awaited, "--flood", "700", "an --interval of at least 0.010681479", "--count up to 65534"), 0, 0},
		{"gping -A -W 700 H", false, fmt.Sprintf(awaited, "--adaptive", "700", "an --interval of at least 0.010681479", "--count up to 65534"), 0, 0},
		{"gping -qi .01 -W 0 -c 65535 198.51.100.9", true, "", 65535, 1320 * time.Second},
		{"ping -qi .01 -W 3600 -c 65535 198.51.100.9", true, "", 65535, 1320 * time.Second},
		{"gping -qi .01 -W 3600 H", true, fmt.Sprintf(awaited, "--interval 0.01", "3600", "at least 0.054933318", "--count up to 65534"), 0, 0},
		{"gping -qi .001 -s 11 -c 65534 198.51.100.9", true, "", 65534, 76 * time.Second},
		{"gping -qi .001 -s 11 -w 65.534 198.51.100.9", true, "", 65534, 66 * time.Second},
		{"gping -qi .001068148 -s 11 -c 70000 198.51.100.9", true, "", 70000, 85 * time.Second},
		{"gping -qi .001 -s 12 -c 140000 198.51.100.9", true, "", 140000, 150 * time.Second},
		{"gping -qf -c 255 " + extended + " 198.51.100.9", true, "", 255, 13 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.env.Root = tt.root
			if strings.HasPrefix(tt.line, "ping") {
				w.env.Name, tt.line = "ping", "g"+tt.line
			}
			start := w.conn.Now()
			if status := w.run(t.Context(), tt.line); status != 2 && tt.err != "" || status != 1 && tt.err == "" {
				t.Errorf("status %d", status)
			}
			if got := w.stderr.String(); got != tt.err {
				t.Errorf("standard error %q, want %q", got, tt.err)
			}
			if got := w.conn.Counts().Sent; got != tt.sent {
				t.Errorf("%d packets sent, want %d", got, tt.sent)
			}
			if took := w.conn.Now().Sub(start); took > tt.took {
				t.Errorf("took %v: it stood still", took)
			}
		})
	}
}

// TestFlood: a flood goes on at the pace of the answers, whatever is lost between them, where the payload has room to tell
// requests apart; where it has none it slows down evenly. Either keeps its deadline.
func TestFlood(t *testing.T) {
	tests := []struct {
		line  string
		loss  float64
		least int // packets
		most  int
		gap   time.Duration // between two packets, at most
		took  time.Duration // at most
	}{
		{"gping -qf -w 8 -l 64 H4", 0.3, 68_000, 1e6, 11 * time.Millisecond, 8 * time.Second},
		{"gping -qA -w 5 -l 64 H4", 0.3, 400, 1e6, 30 * time.Millisecond, 5 * time.Second},
		{"gping -qf -c 70000 -l 64 H4", 0, 70_000, 70_000, 11 * time.Millisecond, 8 * time.Second},
		{"gping -qf -c 70000 -l 64 -s 11 H4", 0, 70_000, 70_000, 11 * time.Millisecond, 80 * time.Second},
		{"gping -qf -w 8 -l 64 -s 11 H4", 0, 60_000, 65_534 + 64, 11 * time.Millisecond, 8 * time.Second},
		{"gping -qf -w 8 -l 64 -s 11 " + silent4, 0, 700, 900, 11 * time.Millisecond, 8 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.env.Root = true
			w.link.Out.Loss = tt.loss
			start := w.conn.Now()
			w.run(t.Context(), strings.Replace(tt.line, "H4", target4, 1))
			if w.stderr.Len() > 0 {
				t.Errorf("standard error %q", &w.stderr)
			}
			if took := w.conn.Now().Sub(start); took > tt.took {
				t.Errorf("took %v, want at most %v", took, tt.took)
			}
			sent := w.conn.Sent()
			if len(sent) < tt.least || len(sent) > tt.most {
				t.Errorf("%d packets, want %d to %d", len(sent), tt.least, tt.most)
			}
			for i := range sent[1:] {
				if gap := sent[i+1].At.Sub(sent[i].At); gap > tt.gap {
					t.Fatalf("stood still for %v after %d packets", gap, i+1)
				}
			}
		})
	}
}

// TestLimits: who has privilege from the program's file alone is held to a rate, nobody to fewer
// probes in flight than the options ask for.
func TestLimits(t *testing.T) {
	unprivileged := func(c *rawsock.Caps) { c.TCP, c.Header, c.Socket = false, false, "unprivileged" }
	tests := []struct {
		name string
		line string
		root bool
		caps func(*rawsock.Caps)
		want probe.Limits
	}{
		{"trace", "gtrace 192.0.2.9", false, nil, probe.Limits{InFlight: 96, Rate: 500, Burst: 16, Strict: true}},
		{"trace, more in flight", "gtrace -N 1024 192.0.2.9", false, nil, probe.Limits{InFlight: 1024, Rate: 500, Burst: 16, Strict: true}},
		{"trace, at a rate", "gtrace --rate 1000 192.0.2.9", true, nil, probe.Limits{InFlight: 96, Rate: 1000, Burst: 20}},
		{"trace, at a rate below the ceiling", "gtrace --rate 7 192.0.2.9", false, nil, probe.Limits{InFlight: 96, Rate: 7, Burst: 1, Strict: true}},
		{"trace, at a rate above the ceiling", "gtrace --rate 100000 192.0.2.9", false, nil, probe.Limits{InFlight: 96, Rate: 500, Burst: 16, Strict: true}},
		{"trace, root", "gtrace 192.0.2.9", true, nil, probe.Limits{InFlight: 96}},
		{"trace, unprivileged", "gtrace 192.0.2.9", false, unprivileged, probe.Limits{InFlight: 96}},
		{"ping", "gping 192.0.2.9", false, nil, probe.Limits{InFlight: 18, Rate: 500, Burst: 3, Strict: true}},
		{"ping, as answers come", "gping -f 192.0.2.9", true, nil, probe.Limits{InFlight: 65534}},
		{"ping, root", "gping -i .001 -W 1 192.0.2.9", true, nil, probe.Limits{InFlight: 1008}},
		{"ping, unprivileged", "gping 192.0.2.9", false, unprivileged, probe.Limits{InFlight: 18}},
		{"ping, all ids", "gping -i .00001 -W 1000000 -c 65534 192.0.2.9", true, nil, probe.Limits{InFlight: 65534}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(simnet.Config{Caps: tt.caps})
			w.env.Root = tt.root
			var tl tool = newTraceTool()
			if strings.HasPrefix(tt.line, "gping") {
				tl = newPingTool()
			}
			s := &session{env: w.env, tool: tl}
			table := s.table()
			options, hosts, _, err := normalise(table, words(tt.line[strings.Index(tt.line, " ")+1:]))
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range options {
				name, value, _ := strings.Cut(o[2:], "=")
				if err := find(table, func(o *option) bool { return o.long == name }).set(value); err != nil {
					t.Fatal(err)
				}
			}
			if err := tl.check(s, 1); err != nil {
				t.Fatal(err)
			}
			p, err := tl.plan(s, netip.MustParseAddrPort(here4+":40001"), netip.MustParseAddr(hosts[0]))
			if err != nil {
				t.Fatal(err)
			}
			if p.limits != tt.want {
				t.Errorf("got %+v, want %+v", p.limits, tt.want)
			}
		})
	}
}

// TestRate: the limits reach the wire: after 16 probes at once, one every 2 ms.
func TestRate(t *testing.T) {
	const line = "gtrace -N 300 -q 10 -w 1 198.51.100.9"
	for _, root := range []bool{false, true} {
		w := newWorld(simnet.Config{})
		w.env.Root = root
		start := w.conn.Now()
		w.run(t.Context(), line)
		faster := 0
		for i, p := range w.conn.Sent() {
			if p.At.Before(start.Add(time.Duration(i-15) * 2 * time.Millisecond)) {
				faster++
			}
		}
		if n := len(w.conn.Sent()); (faster > 0) != root || n < 100 {
			t.Errorf("root %v: %d of %d probes left before 500 a second and 16 at once allow", root, faster, n)
		}
	}
}

// TestDrops: packets lost on this host are told where people look, once. Whose they were is known where there is one host.
func TestDrops(t *testing.T) {
	for _, tt := range []struct {
		line, slower string
		status       int
	}{
		{"gtrace -w.1 H", "a smaller --sim-queries", 0},
		{"gtrace -w.1 --json H 2001:db8::9", "a smaller --sim-queries", 0},
		{"gtrace -w.1 -m 2 H", "a smaller --sim-queries", 2}, // the host's answer may be among them
		{"gping -c2 H 2001:db8::9", "a longer --interval", 0},
		{"gping -c2 --format events H", "a longer --interval", 0},
	} {
		w := newWorld(simnet.Config{})
		w.conn.SetStats(rawsock.Stats{Drops: 5}) // before the run: not its own
		w.conn.At(w.conn.Now().Add(time.Millisecond), func() { w.conn.SetStats(rawsock.Stats{Drops: 7}) })
		if status := w.run(t.Context(), strings.Replace(tt.line, "H", "192.0.2.9", 1)); status != tt.status {
			t.Errorf("%s: status %d, want %d", tt.line, status, tt.status)
		}
		program, _, _ := strings.Cut(tt.line, " ")
		alone := "192.0.2.9: "
		if strings.Contains(tt.line, "::") {
			alone = ""
		}
		want := program + ": " + alone + "packets dropped on this host for want of buffer: 2; loss shown may be this host's own: " +
			"raise net.core.rmem_max, or go slower (" + tt.slower + ")\n"
		if got := w.stderr.String(); got != want {
			t.Errorf("%s: standard error %q, want %q", tt.line, got, want)
		}
	}
}

// TestUndropped: who built with cgo is told how not to.
func TestUndropped(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what another system cannot do is not for want of a build without cgo; run this on Linux")
	}
	tests := []struct {
		err  error
		want string
	}{
		{fmt.Errorf("drop group: %w", syscall.ENOTSUP), "give up privilege: drop group: operation not supported; build it without cgo: CGO_ENABLED=0 go build, or make build"},
		{fmt.Errorf("drop group: %w", syscall.EPERM), "give up privilege: drop group: operation not permitted"},
	}
	for _, tt := range tests {
		got := Undropped(tt.err)
		if got.Error() != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if !errors.Is(got, tt.err) {
			t.Errorf("%q does not wrap its cause", got)
		}
	}
}

// TestHelp: what needs no socket works without one.
func TestHelp(t *testing.T) {
	tests := []struct {
		line   string
		status int
		out    string // how standard output begins
		err    string // and standard error
	}{
		{"gtrace --help", 0, "Usage: gtrace ", ""},
		{"gtrace -h", 0, "Usage: gtrace ", ""},
		{"gping --help", 0, "Usage: gping ", ""},
		{"gtrace -n host --help", 0, "Usage: gtrace ", ""}, // no topic "host"
		{"gtrace --version", 0, "gtrace v1.2.3 (commit abcdef0, go1.", ""},
		{"gping -V", 0, "gping v1.2.3 (commit abcdef0, go1.", ""},
		{"gping host -V", 0, "gping v1.2.3 (commit abcdef0, go1.", ""},
		{"gtrace --nope --help", 2, "", "gtrace: --nope: unknown option"},
		{"gtrace", 2, "", "gtrace: no host given"},
		{"gtrace 192.0.2.9", 2, "", "gtrace: open sockets: no luck: raw sockets need root or CAP_NET_RAW; to allow them: sudo setcap cap_net_raw+p "},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.env.Conn, w.env.OpenErr = nil, fmt.Errorf("no luck: %w", rawsock.ErrPrivilege)
			if status := w.run(t.Context(), tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if got := w.out.String(); !strings.HasPrefix(got, tt.out) || tt.out == "" && got != "" {
				t.Errorf("standard output %q, want %q", got, tt.out)
			}
			if got := w.stderr.String(); !strings.HasPrefix(got, tt.err) || tt.err == "" && got != "" {
				t.Errorf("standard error %q, want %q", got, tt.err)
			}
		})
	}
}

func TestOpenError(t *testing.T) {
	w := newWorld(simnet.Config{})
	w.env.Conn, w.env.OpenErr = nil, errors.New("no luck")
	if status := w.run(t.Context(), "gping -c1 192.0.2.9"); status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	if got, want := w.stderr.String(), "gping: open sockets: no luck\n"; got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
}

// TestPackets: every option that is about packets is seen on the wire.
func TestPackets(t *testing.T) {
	type seen struct {
		ip   wire.IP
		port uint16 // destination, of UDP and TCP
		all  []wire.IP
	}
	tests := []struct {
		line  string
		wrong func(seen) string // "": right
	}{
		{"gtrace 192.0.2.9", func(s seen) string {
			return differ(int(s.ip.Proto()), 17, s.port, uint16(33434), s.ip.TTL(), uint8(1), s.ip.Length(), 60, s.ip.TOS(), uint8(0), s.ip.DF(), false)
		}},
		{"gtrace -p 53 192.0.2.9", func(s seen) string { return differ(s.port, uint16(53)) }},
		{"gtrace -T 192.0.2.9", func(s seen) string { return differ(int(s.ip.Proto()), 6, s.port, uint16(80)) }},
		{"gtrace -T -p 443 192.0.2.9", func(s seen) string { return differ(s.port, uint16(443)) }},
		{"gtrace -I 192.0.2.9", func(s seen) string { return differ(int(s.ip.Proto()), 1) }},
		{"gtrace -I 2001:db8::9", func(s seen) string { return differ(int(s.ip.Proto()), 58, s.ip.Length(), 80) }},
		{"gtrace -f2 192.0.2.9", func(s seen) string { return differ(s.ip.TTL(), uint8(2)) }},
		{"gtrace -m1 -q7 192.0.2.9", func(s seen) string { return differ(len(s.all), 7) }},
		{"gtrace -N1 -m1 -q2 198.51.100.9", func(s seen) string { return differ(len(s.all), 2) }},
		{"gtrace --size 500 192.0.2.9", func(s seen) string { return differ(s.ip.Length(), 500) }},
		{"gtrace -t 0x10 192.0.2.9", func(s seen) string { return differ(s.ip.TOS(), uint8(0x10)) }},
		{"gtrace -t 16 2001:db8::9", func(s seen) string { return differ(s.ip.TOS(), uint8(16)) }},
		{"gtrace -F 192.0.2.9", func(s seen) string { return differ(s.ip.DF(), true) }},
		{"gtrace -l 0x12345 2001:db8::9", func(s seen) string { return differ(s.ip.Label(), uint32(0x12345)) }},
		{"gtrace -l 0 2001:db8::9", func(s seen) string { return differ(s.ip.Label(), uint32(0)) }},
		{"gtrace 2001:db8::9", func(s seen) string {
			for _, p := range s.all {
				if p.Label() == 0 || p.Label() != s.ip.Label() {
					return fmt.Sprintf("flow label %#x and %#x, want one that is not 0", s.ip.Label(), p.Label())
				}
			}
			return ""
		}},
		{"gtrace --flow classic -m2 192.0.2.9", func(s seen) string {
			last, _ := wire.ParseUDP(s.all[len(s.all)-1].Transport())
			return differ(last.Dst() > s.port, true)
		}},
		{"gtrace 192.0.2.9", func(s seen) string { return differ(s.ip.Src().String(), here4) }},
		{"gtrace -s 10.0.0.2 192.0.2.9", func(s seen) string { return differ(s.ip.Src().String(), other4) }},
		{"gping -c1 -I 10.0.0.2 192.0.2.9", func(s seen) string { return differ(s.ip.Src().String(), other4) }},
		{"gping -c2 192.0.2.9", func(s seen) string {
			return differ(s.ip.TTL(), uint8(64), s.ip.Length(), 84, len(s.all), 2)
		}},
		{"gping -c1 -t9 -Q8 -s100 192.0.2.9", func(s seen) string {
			return differ(s.ip.TTL(), uint8(9), s.ip.TOS(), uint8(8), s.ip.Length(), 128)
		}},
		{"gping -c1 -p abcd 192.0.2.9", func(s seen) string {
			b := s.ip.Bytes()
			return differ(fmt.Sprintf("%x", b[len(b)-4:]), "abcdabcd")
		}},
		{"gping -c1 2001:db8::9", func(s seen) string { return differ(s.ip.Length(), 104, s.ip.Label() != 0, true) }},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.run(t.Context(), tt.line); status == 2 {
				t.Fatalf("status 2: %s", &w.stderr)
			}
			var s seen
			for _, p := range w.conn.Sent() {
				ip, err := wire.ParseIP(p.Data)
				if err != nil {
					t.Fatal(err)
				}
				s.all = append(s.all, ip)
			}
			if len(s.all) == 0 {
				t.Fatal("nothing was sent")
			}
			s.ip = s.all[0]
			switch s.ip.Proto() {
			case wire.ProtoUDP:
				u, err := wire.ParseUDP(s.ip.Transport())
				if err != nil {
					t.Fatal(err)
				}
				s.port = u.Dst()
			case wire.ProtoTCP:
				u, err := wire.ParseTCP(s.ip.Transport())
				if err != nil {
					t.Fatal(err)
				}
				s.port = u.Dst()
			}
			if wrong := tt.wrong(s); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// differ compares values in pairs of got and want.
func differ(pairs ...any) string {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != pairs[i+1] {
			return fmt.Sprintf("value %d is %v (%T), want %v", i/2, pairs[i], pairs[i], pairs[i+1])
		}
	}
	return ""
}

// TestTimes: the options that are times, by the clock of the network.
func TestTimes(t *testing.T) {
	tests := []struct {
		line        string
		least, most time.Duration // of the whole run
	}{
		{"gping -c3 -i 5 192.0.2.9", 10 * time.Second, 11 * time.Second},
		{"gping -c1 -W 4 198.51.100.9", 4 * time.Second, 5 * time.Second},
		{"gping -w 7 -W 60 198.51.100.9", 7 * time.Second, 8 * time.Second},
		{"gtrace -f9 -m9 -q1 -w 3 198.51.100.9", 3 * time.Second, 4 * time.Second},
		{"gtrace -f9 -m9 -q1 198.51.100.9", 5 * time.Second, 6 * time.Second},
		{"gtrace -f9 -m9 -q3 -N1 -w 1 198.51.100.9", 3 * time.Second, 4 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			start := w.conn.Now()
			w.run(t.Context(), tt.line)
			if took := w.conn.Now().Sub(start); took < tt.least || took > tt.most {
				t.Errorf("took %v, want %v to %v", took, tt.least, tt.most)
			}
		})
	}
}

// TestJSON: one document a host on a line each, those that were not measured among them.
func TestJSON(t *testing.T) {
	w := newWorld(simnet.Config{})
	status := w.run(t.Context(), "gtrace --json -m4 -w.1 target.example nosuch.example 198.51.100.9 203.0.113.1")
	if status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	want := map[string]string{"target.example": "reached", "nosuch.example": "error", "198.51.100.9": "max-hops", "203.0.113.1": "error"}
	ds := w.documents(t)
	for _, d := range ds {
		target, _ := d["target"].(string)
		if d["outcome"] != want[target] {
			t.Errorf("%s: outcome %v, want %s", target, d["outcome"], want[target])
		}
		if d["schema"] != "gtrace/trace/v1" || d["version"] != "v1.2.3" {
			t.Errorf("%s: schema %v, version %v", target, d["schema"], d["version"])
		}
	}
	if len(ds) != len(want) {
		t.Errorf("%d documents, want %d:\n%s", len(ds), len(want), &w.out)
	}
	if n := strings.Count(w.stderr.String(), "\n"); n != 2 {
		t.Errorf("%d lines on standard error, want 2:\n%s", n, &w.stderr)
	}
}

func TestPingJSONQuiet(t *testing.T) {
	for _, line := range []string{"gping --json -c2 --no-replies 192.0.2.9", "gping --json -qc2 192.0.2.9"} {
		w := newWorld(simnet.Config{})
		if status := w.run(t.Context(), line); status != 0 {
			t.Errorf("%s: status %d, want 0", line, status)
		}
		ds := w.documents(t)
		if len(ds) != 1 || ds[0]["replies"] != nil || ds[0]["summary"] == nil {
			t.Errorf("%s: want one document with a summary and no replies:\n%s", line, &w.out)
		}
	}
}

// TestInterrupted: what was measured by then is told, complete and well
// formed, and the status follows from it.
func TestInterrupted(t *testing.T) {
	tests := []struct {
		name   string
		line   string
		after  time.Duration
		status int
		err    string
	}{
		{"ping, answered by then", "gping --json 192.0.2.9", 2500 * time.Millisecond, 0, ""},
		{"ping, silent by then", "gping --json -W1 198.51.100.9", 2500 * time.Millisecond, 1, ""},
		{"ping, before any answer is due", "gping --json 192.0.2.9", time.Millisecond, 2, ""},
		{"trace, half way", "gtrace --json -N1 198.51.100.9", 20 * time.Millisecond, 1, ""},
		{"trace, before any answer is due", "gtrace --json 192.0.2.9", time.Millisecond, 2, ""},
		{"trace, the host has answered", "gtrace --json -q10 192.0.2.9", 1500 * time.Millisecond, 0, ""},
		{"another host waits", "gping --json --parallel 1 -w9 192.0.2.9 target.example 2001:db8::9", 2500 * time.Millisecond, 2,
			"gping: target.example and 1 more: not measured: interrupted\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.conn.At(w.conn.Now().Add(tt.after), func() {
				cancel()
				w.conn.Interrupt() // at this very time; the context's own comes from another goroutine
			})
			if status := w.run(ctx, tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			ds := w.documents(t)
			if len(ds) != 1 || ds[0]["complete"] != false {
				t.Errorf("want one document that is not complete:\n%s", &w.out)
			}
			if got := w.stderr.String(); got != tt.err {
				t.Errorf("standard error %q, want %q", got, tt.err)
			}
		})
	}
}

func TestInterruptedBeforeAnything(t *testing.T) {
	w := newWorld(simnet.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	w.env.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
		cancel()
		return nil, ctx.Err()
	}
	if status := w.run(ctx, "gtrace target.example"); status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	if got, want := w.stderr.String(), "gtrace: target.example: not measured: interrupted\n"; got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
	if w.out.Len() > 0 || w.conn.Counts().Sent > 0 {
		t.Errorf("%d packets sent, printed %q; want nothing", w.conn.Counts().Sent, &w.out)
	}
}

// TestSignals: a ping without end is ended by each signal, with its statistics.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			w := newWorld(simnet.Config{})
			self, err := os.FindProcess(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			w.conn.At(w.conn.Now().Add(2500*time.Millisecond), func() {
				if err := self.Signal(sig); err != nil {
					t.Error(err)
				}
			})
			if status := w.run(t.Context(), "gping -q 192.0.2.9"); status != 0 {
				t.Errorf("status %d, want 0", status)
			}
			if !strings.Contains(w.out.String(), "ping statistics ---") {
				t.Errorf("no statistics in:\n%s", &w.out)
			}
			if w.stderr.Len() > 0 {
				t.Errorf("standard error %q, want nothing", &w.stderr)
			}
		})
	}
}

// A shortWriter fails after some writes.
type shortWriter struct {
	w    io.Writer
	left int
	err  error
}

func (s *shortWriter) Write(b []byte) (int, error) {
	if s.left--; s.left < 0 {
		return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: s.err}
	}
	return s.w.Write(b)
}

// TestStdout: nobody reading on ends the run quietly, anything else wrong with standard output loudly.
func TestStdout(t *testing.T) {
	full := "gtrace: write standard output: write /dev/stdout: no space left on device\n"
	tests := []struct {
		name   string
		line   string
		writes int
		err    error
		status int
		stderr string
		sent   bool // some packet
	}{
		{"closed after one line, reached by then", "gtrace 192.0.2.9", 1, syscall.EPIPE, 1, "", true},
		{"closed after two answers", "gping -i1 192.0.2.9", 3, syscall.EPIPE, 0, "", true},
		{"closed at once", "gtrace 192.0.2.9", 0, syscall.EPIPE, 2, "", false},
		{"closed, JSON", "gping -c1 --json 192.0.2.9", 0, syscall.EPIPE, 0, "", true},
		{"closed, another host waits", "gping --parallel 1 -c9 192.0.2.9 2001:db8::9", 3, syscall.EPIPE, 2, "", true},
		{"closed for help", "gtrace --help", 0, syscall.EPIPE, 0, "", false},
		{"full", "gtrace 192.0.2.9", 2, syscall.ENOSPC, 2, full, true},
		{"full for the pattern", "gping -c1 -p ff 192.0.2.9", 0, syscall.ENOSPC, 2, strings.Replace(full, "gtrace", "gping", 1), false},
		{"full for an error's document", "gtrace --json nosuch.example", 0, syscall.ENOSPC, 2, "gtrace: nosuch.example: look up the name: no such host\n" + full, false},
		{"full for help", "gtrace --help", 0, syscall.ENOSPC, 2, full, false},
		{"full for the version", "gtrace --version", 0, syscall.ENOSPC, 2, full, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.env.Stdout = &shortWriter{&w.out, tt.writes, tt.err}
			if status := w.run(t.Context(), tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if got := w.stderr.String(); got != tt.stderr {
				t.Errorf("standard error %q, want %q", got, tt.stderr)
			}
			if sent := w.conn.Counts().Sent; (sent > 0) != tt.sent || sent > 100 {
				t.Errorf("%d packets sent, want some: %v", sent, tt.sent)
			}
		})
	}
}

// TestClosedPipe runs itself as a child whose standard output nobody reads: the
// kernel's signal for that must not end it.
func TestClosedPipe(t *testing.T) {
	if os.Getenv("TEST_CLOSED_PIPE_CHILD") != "" {
		w := newWorld(simnet.Config{})
		w.env.Stdout, w.env.Stderr = os.Stdout, os.Stderr
		os.Exit(w.run(t.Context(), "gping -c3 --json 192.0.2.9"))
	}
	r, closed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer closed.Close()
	var stderr bytes.Buffer
	c := exec.Command(os.Args[0], "-test.run=^TestClosedPipe$")
	c.Env = append(os.Environ(), "TEST_CLOSED_PIPE_CHILD=1")
	c.Stdout, c.Stderr = closed, &stderr
	if err := c.Run(); err != nil {
		t.Errorf("%v, want status 0: the host had answered", err)
	}
	if stderr.Len() > 0 {
		t.Errorf("standard error %q, want nothing", &stderr)
	}
}

func TestStatus(t *testing.T) {
	answered := &probe.Probed{Outcome: probe.Outcome{Status: probe.Answered, Answer: probe.EchoReply}}
	transit := &probe.Probed{Outcome: probe.Outcome{Status: probe.Answered, Answer: probe.TimeExceeded}}
	lost := &probe.Probed{Outcome: probe.Outcome{Status: probe.Lost}}
	failed := &probe.Probed{Outcome: probe.Outcome{Status: probe.Failed}}
	tests := []struct {
		name   string
		events []probe.Event
		want   int
	}{
		{"reached", []probe.Event{probe.Finished{Verdict: probe.Reached}}, 0},
		{"answered", []probe.Event{probe.Finished{Verdict: probe.AnsweredIt}}, 0},
		{"blocked", []probe.Event{answered, probe.Finished{Verdict: probe.Blocked}}, 1},
		{"max hops", []probe.Event{probe.Finished{Verdict: probe.MaxHops}}, 1},
		{"gap limit", []probe.Event{probe.Finished{Verdict: probe.GapLimit}}, 1},
		{"silent", []probe.Event{probe.Finished{Verdict: probe.Silent}}, 1},
		{"error", []probe.Event{answered, probe.Finished{Verdict: probe.Errored}}, 2},
		{"a verdict not known here", []probe.Event{answered, probe.Finished{Verdict: "odd"}}, 2},
		{"a loop", []probe.Event{transit, probe.Finished{Verdict: probe.Loop}}, 1},
		{"interrupted, answered", []probe.Event{lost, answered, probe.Finished{Verdict: probe.Interrupted}}, 0},
		{"interrupted, a hop answered", []probe.Event{transit, probe.Finished{Verdict: probe.Interrupted}}, 1},
		{"interrupted, lost", []probe.Event{lost, probe.Finished{Verdict: probe.Interrupted}}, 1},
		{"interrupted, failed", []probe.Event{failed, probe.Finished{Verdict: probe.Interrupted}}, 2},
		{"interrupted, nothing", []probe.Event{probe.Finished{Verdict: probe.Interrupted}}, 2},
		{"cut off, answered", []probe.Event{answered}, 0},
		{"cut off, nothing", nil, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &watch{Sink: sinkFunc(func(probe.Event) error { return nil })}
			for _, e := range tt.events {
				if err := w.Emit(e); err != nil {
					t.Fatal(err)
				}
			}
			if got := w.end().status; got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

type sinkFunc func(probe.Event) error

func (f sinkFunc) Emit(e probe.Event) error { return f(e) }

func TestRandom(t *testing.T) {
	for range 1000 {
		if n := random(3); n < 1 || n > 3 {
			t.Fatalf("got %d, want 1 to 3", n)
		}
	}
	if random(1) != 1 {
		t.Error("the only number there is did not come")
	}
}

// TestGiving: with a package, what it has for that; else setcap.
func TestGiving(t *testing.T) {
	dir := t.TempDir()
	installer := dir + "/install-privilege"
	if got, want := giving(installer, "/opt/my tools/gtrace"), "setcap cap_net_raw+p '/opt/my tools/gtrace'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := os.WriteFile(installer, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, want := giving(installer, "/usr/bin/gtrace"), installer+" /usr/bin/gtrace"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
