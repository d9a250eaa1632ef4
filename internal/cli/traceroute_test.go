package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/rawsock"
)

// as runs a program under another name.
func (w *world) as(t *testing.T, line string) int {
	w.env.Name, _, _ = strings.Cut(line, " ")
	return w.run(t.Context(), line)
}

// probes are what was sent, as the wire package reads it.
func (w *world) probes(t *testing.T) (ps []wire.IP) {
	t.Helper()
	for _, p := range w.conn.Sent() {
		ip, err := wire.ParseIP(p.Data)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, ip)
	}
	return ps
}

// TestTracerouteStatus: what traceroute 2.1.2 exits with in the same cases, measured.
func TestTracerouteStatus(t *testing.T) {
	tests := []struct {
		line   string
		status int
		err    string // begins with that; "": nothing
	}{
		{"traceroute 192.0.2.9", 0, ""},
		{"traceroute -m 2 192.0.2.9", 0, ""},          // not reached
		{"traceroute -w .1 -m 3 198.51.100.9", 0, ""}, // silent
		{"traceroute 203.0.113.1", 1, "traceroute: 203.0.113.1: no route"},
		{"traceroute -s 1.2.3.4 192.0.2.9", 1, "traceroute: --source 1.2.3.4: not an address of this host"},
		{"traceroute -i nosuch0 192.0.2.9", 1, "traceroute: "},
		{"traceroute nosuch.example", 2, "traceroute: nosuch.example: look up the name: no such host"},
		{"traceroute", 0, "Usage: traceroute "},
		{"traceroute --help", 0, ""},
		{"traceroute -V", 0, ""},
		{"traceroute -Y 192.0.2.9", 2, "traceroute: -Y: unknown option"},
		{"traceroute --interval 1 192.0.2.9", 2, "traceroute: --interval: unknown option"},
		{"traceroute -q 11 192.0.2.9", 2, "traceroute: --queries 11: want a whole number from 1 to 10 (no more than 10 probes per hop)"},
		{"traceroute --nosuch 192.0.2.9", 2, "traceroute: --nosuch: unknown option"},
		{"traceroute -m 0 192.0.2.9", 2, "traceroute: --max-hops 0: "},
		{"traceroute -m 256 192.0.2.9", 2, "traceroute: --max-hops 256: want a whole number from 1 to 255 (max hops cannot be more than 255)"},
		{"traceroute -m", 2, "traceroute: -m: needs a value"},
		{"traceroute -f 31 192.0.2.9", 2, "traceroute: --first 31: is beyond --max-hops 30 (first hop out of range)"},
		{"traceroute -q 0 192.0.2.9", 2, "traceroute: --queries 0: want a whole number from 1 to 10 (no more than 10 probes per hop)"},
		{"traceroute -q 11 192.0.2.9", 2, "traceroute: --queries 11: want a whole number from 1 to 10 (no more than 10 probes per hop)"},
		{"traceroute -w abc 192.0.2.9", 2, "traceroute: --wait abc: "},
		{"traceroute -M nosuch 192.0.2.9", 2, "traceroute: --module nosuch: "},
		{"traceroute -T -O nosuch 192.0.2.9", 2, "traceroute: --options nosuch: "},
		{"traceroute -g 10.0.1.1,10.0.1.1,10.0.1.1,10.0.1.1,10.0.1.1,10.0.1.1,10.0.1.1,10.0.1.1,10.0.1.1 192.0.2.9", 2, "traceroute: --gateway "},
		{"traceroute 192.0.2.9 abc", 2, "traceroute: extra operand abc"},
		{"traceroute 192.0.2.9 70000", 2, "traceroute: packet length 70000: "},
		{"traceroute 192.0.2.9 60 70", 2, "traceroute: extra operand 70"},
		{"traceroute -4 2001:db8::9", 2, "traceroute: 2001:db8::9: is no IPv4 address"},
		{"traceroute6 192.0.2.9", 2, "traceroute6: 192.0.2.9: is no IPv6 address"},
		{"traceroute6 target.example", 0, ""},
		{"traceroute -l 5 192.0.2.9", 0, ""}, // IPv4 has no flow label, and it does not mind
		{"traceroute --fwmark 3 192.0.2.9", 1, "traceroute: --fwmark 0x3: only root"},
		{"tracepath 192.0.2.9", 0, ""},
		{"tracepath -m 2 192.0.2.9", 0, ""},
		{"tracepath -m 3 198.51.100.9", 0, ""},
		{"tracepath 203.0.113.1", 0, "tracepath: 203.0.113.1: no route"},
		{"tracepath nosuch.example", 1, "tracepath: nosuch.example: look up the name"},
		{"tracepath", 255, "tracepath: 0 hosts given"},
		{"tracepath a b", 255, "tracepath: 2 hosts given"},
		{"tracepath -Y 192.0.2.9", 255, "tracepath: -Y: unknown option"},
		{"tracepath -m 256 192.0.2.9", 1, "tracepath: --max-hops 256"},
		{"tracepath -l 10 192.0.2.9", 1, "tracepath: --length 10: want a whole number from 29 to 65535 (pktlen must be within: 28 < value)"},
		{"tracepath -p 70000 192.0.2.9", 1, "tracepath: --port 70000"},
		{"tracepath -4 2001:db8::9", 1, "tracepath: 2001:db8::9: is no IPv4"},
		{"tracepath 192.0.2.9/4000", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.as(t, tt.line); status != tt.status {
				t.Errorf("status %d, want %d; standard error %q", status, tt.status, &w.stderr)
			}
			if got := w.stderr.String(); !strings.HasPrefix(got, tt.err) || tt.err == "" && got != "" {
				t.Errorf("standard error %q, want %q", got, tt.err)
			}
		})
	}
}

// TestTracerouteDefaults: the port moves, the packets are as large as traceroute's, and of two addresses of a name it is
// the IPv4 one.
func TestTracerouteDefaults(t *testing.T) {
	w := newWorld(simnet.Config{})
	if status := w.as(t, "traceroute -n target.example"); status != 0 {
		t.Fatalf("status %d: %s", status, &w.stderr)
	}
	if !strings.HasPrefix(w.out.String(), "traceroute to target.example (192.0.2.9), 30 hops max, 60 byte packets\n") {
		t.Errorf("standard output:\n%s", &w.out)
	}
	ps := w.probes(t)
	asked := make(map[uint8]int)
	for i, p := range ps {
		u, err := wire.ParseUDP(p.Transport())
		want := 33434 + 3*(int(p.TTL())-1) + asked[p.TTL()]
		if asked[p.TTL()]++; err != nil || int(u.Dst()) != want {
			t.Errorf("probe %d: port %d, want %d", i+1, u.Dst(), want)
		}
	}
	if len(ps) < 9 {
		t.Errorf("%d probes, want 3 for each of 3 hops", len(ps))
	}
}

// TestOperands: options and the packet length stand where getopt_long(3) and traceroute let them.
func TestOperands(t *testing.T) {
	tests := []struct {
		line  string
		hosts int
		size  int // bytes of each probe
		ttl   int // the highest
	}{
		{"gtrace -nq1 192.0.2.9 -m 2", 1, 60, 2},
		{"gtrace 192.0.2.9 -n -q 1 -m2", 1, 60, 2},
		{"gtrace -m3 192.0.2.9 100", 1, 100, 3},
		{"gtrace -m3 -q1 192.0.2.9 four.example 100", 2, 100, 3},
		{"gtrace 192.0.2.9 -q1 100 -m 2", 1, 100, 2},
		{"gtrace -m3 -q1 -- 192.0.2.9 100", 1, 100, 3},
		{"gtrace -m3 192.0.2.9 10", 1, 30, 3},            // raised to what it takes
		{"gtrace -m3 -T 192.0.2.9 100", 1, 60, 3},        // a SYN has one size
		{"gtrace -m3 -T -O ack 192.0.2.9 100", 1, 40, 3}, // nor does it count for other segments
		{"gtrace -m3 -T -O ack --size 100 192.0.2.9", 1, 100, 3},
		{"gtrace -m3 -T --mtu 192.0.2.9 100", 1, 100, 3},
		{"gtrace -m3 -I 192.0.2.9 1000", 1, 1000, 3},
		{"gtrace -m3 -U 192.0.2.9 60", 1, 60, 3},
		{"gtrace -m3 192.0.2.9 0", 1, 60, 3},
		{"gtrace -m3 -6 2001:db8::9 50", 1, 50, 3},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.run(t.Context(), tt.line); status > 1 {
				t.Fatalf("status %d: %s", status, &w.stderr)
			}
			if n := strings.Count(w.out.String(), "traceroute to "); n != tt.hosts {
				t.Errorf("%d hosts, want %d:\n%s", n, tt.hosts, &w.out)
			}
			top := 0
			for _, p := range w.conn.Sent() {
				if len(p.Data) != tt.size {
					t.Errorf("%d bytes, want %d", len(p.Data), tt.size)
				}
				ip, err := wire.ParseIP(p.Data)
				if err != nil {
					t.Fatal(err)
				}
				top = max(top, int(ip.TTL()))
			}
			if top != tt.ttl {
				t.Errorf("the highest TTL is %d, want %d", top, tt.ttl)
			}
		})
	}
}

// TestPorts: what --port is to each method.
func TestPorts(t *testing.T) {
	for line, want := range map[string]string{
		"gtrace 192.0.2.9":                         "33434 33434 33434",
		"gtrace -p 5000 192.0.2.9":                 "5000 5000 5000",
		"gtrace --flow classic 192.0.2.9":          "33434 33435 33436",
		"gtrace --flow classic -p 65535 192.0.2.9": "65535 1 2",
		"gtrace -U 192.0.2.9":                      "53 53 53",
		"traceroute -U -p 99 192.0.2.9":            "99 99 99",
		"gtrace -M udp 192.0.2.9":                  "53 53 53",
		"gtrace -T 192.0.2.9":                      "80 80 80",
		"traceroute -T -p 443 192.0.2.9":           "443 443 443",
		"gtrace -I 192.0.2.9":                      "1 2 3",
		"gtrace -I -p 50 192.0.2.9":                "50 51 52",
		"traceroute -I -p 65000 192.0.2.9":         "65000 65001 65002",
		"gtrace --sport 4444 192.0.2.9":            "33434 33434 33434",
	} {
		t.Run(line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.as(t, line+" -q1 -N1"); status != 0 {
				t.Fatalf("status %d: %s", status, &w.stderr)
			}
			var got []string
			for _, p := range w.probes(t) {
				b := p.Transport()
				at := 2
				if p.Proto() == wire.ProtoICMP {
					at = 6
				}
				got = append(got, fmt.Sprint(int(b[at])<<8|int(b[at+1])))
				if strings.Contains(line, "sport") && int(b[0])<<8|int(b[1]) != 4444 {
					t.Errorf("source port %d, want 4444", int(b[0])<<8|int(b[1]))
				}
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("%s, want %s", s, want)
			}
		})
	}
}

// TestImplied: what options bring with them, unless it was asked for otherwise.
// opens reports whether a silent end is found so, and a path opened so far without waiting.
func opens(t *traceTool, careful bool, gap int, open uint8) bool {
	g, o := t.opening(careful)
	return g == gap && o == open
}

func TestImplied(t *testing.T) {
	tests := []struct {
		line string
		want func(*traceTool) bool
	}{
		{"", func(t *traceTool) bool { return t.window() == 96 && t.waits().Here == 3 }},
		{"--sport 5", func(t *traceTool) bool { return t.window() == 1 && t.waits().Here == 0 && t.waits().Near == 0 }},
		{"--sport 5 -N 4 -w 1,2", func(t *traceTool) bool { return t.window() == 4 && t.waits().Here == 2 }},
		{"-P 253", func(t *traceTool) bool { return t.window() == 1 && t.waits().Here == 0 }},
		{"-M raw", func(t *traceTool) bool { return t.mod.number == 253 }},
		{"-M raw -O protocol=99", func(t *traceTool) bool { return t.mod.number == 99 }},
		{"-P ospf", func(t *traceTool) bool { return t.mod.number == 89 }},
		{"--mtu", func(t *traceTool) bool { return t.window() == 1 && !t.settings().Fragment }},
		{"-F", func(t *traceTool) bool { return t.df && !t.settings().Fragment }},
		{"", func(t *traceTool) bool { return t.settings() == rawsock.Settings{Fragment: true} }},
		{"-r -d -i lo", func(t *traceTool) bool {
			return t.settings() == rawsock.Settings{Device: "lo", Direct: true, Debug: true, Fragment: true}
		}},
		{"-w 2", func(t *traceTool) bool { return t.waits().Max == 2e9 && t.waits().Here == 0 && t.waits().Near == 0 }},
		{"-q 1", func(t *traceTool) bool { return opens(t, false, 10, 0) && opens(t, true, 10, 3) }},
		{"--gap-limit 4 -f 3", func(t *traceTool) bool { return opens(t, false, 4, 6) && opens(t, true, 4, 5) }},
		{"--gap-limit 200 -m 20", func(t *traceTool) bool { return opens(t, false, 200, 20) }},
		{"--gap-limit 0", func(t *traceTool) bool { return opens(t, false, 0, 0) }},
		{"-z 0.5", func(t *traceTool) bool { return t.gap == 5e8 }},
		{"-z 10", func(t *traceTool) bool { return t.gap == 10e9 }},
		{"-z 11", func(t *traceTool) bool { return t.gap == 11e6 }},
		{"-z 1500.5", func(t *traceTool) bool { return t.gap == 15005e5 }},
		{"-z 2s", func(t *traceTool) bool { return t.gap == 2e9 }},
		{"-e -A --back -T -O info", func(t *traceTool) bool { return t.extensions && t.asPaths && t.back && t.mod.info }},
		{"-A", func(t *traceTool) bool { return t.asServer == "whois.radb.net:43" }},
		{"--as-server whois.example", func(t *traceTool) bool { return t.asServer == "whois.example:43" }},
		{"--as-server [2001:db8::1]:4343", func(t *traceTool) bool { return t.asServer == "[2001:db8::1]:4343" }},
		{"--as-server 2001:db8::1", func(t *traceTool) bool { return t.asServer == "[2001:db8::1]:43" }},
		{"-UL", func(t *traceTool) bool { return t.proto() == probe.UDPLite && defaultPorts[t.kind] == 53 }},
		{"-UL -O coverage=20", func(t *traceTool) bool { return t.mod.coverage == 20 }},
		{"-D", func(t *traceTool) bool { return t.proto() == probe.DCCP && defaultPorts[t.kind] == 33434 }},
		{"-D", func(t *traceTool) bool { return t.mod.service == 1885957735 }},
		{"-D -O service=0", func(t *traceTool) bool { return t.mod.service == 0 }},
		{"-D -O service=7", func(t *traceTool) bool { return t.mod.service == 7 }},
		{"-T -O syn -O ecn", func(t *traceTool) bool { return t.mod.segment.Flags == tcpSYN|tcpECE|tcpCWR }},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			w.env.Root = true
			tool := newTraceTool()
			s := &session{env: w.env, tool: tool, out: &output{w: &w.out}}
			options, _, _, err := normalise(tool.options(), words(tt.line))
			if err != nil {
				t.Fatal(err)
			}
			for _, given := range options {
				name, value, _ := strings.Cut(given[2:], "=")
				if err := find(tool.options(), func(o *option) bool { return o.long == name }).set(value); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := tool.prepare(t.Context(), s, []string{target4}); err != nil {
				t.Fatal(err)
			}
			if err := tool.check(s, 1); err != nil {
				t.Fatal(err)
			}
			if !tt.want(tool) {
				t.Errorf("%+v", tool)
			}
		})
	}
}

// TestSegment: the TCP options of -O, as traceroute 2.1.2 sends them (captured).
func TestSegment(t *testing.T) {
	const sts = probe.NoSACK | probe.NoTimestamps | probe.NoWindowScale
	defer func(f func(string) (int, bool)) { sysctl = f }(sysctl)
	modern := map[string]int{"sack": 1, "timestamps": 1, "window_scaling": 1, "ecn": 2}
	old := map[string]int{"sack": 0, "timestamps": 0, "window_scaling": 1, "ecn": 1}
	tests := []struct {
		options string
		system  map[string]int
		want    probe.Segment
	}{
		{"ack,sysctl", old, probe.Segment{Flags: tcpACK, Bare: probe.NoSACK | probe.NoTimestamps | probe.NoMSS}},
		{"", modern, probe.Segment{}},
		{"", nil, probe.Segment{}},
		{"", old, probe.Segment{Flags: tcpSYN | tcpECE | tcpCWR, Bare: probe.NoSACK | probe.NoTimestamps}},
		{"info", modern, probe.Segment{}},
		{"mss=900", modern, probe.Segment{MSS: 900}},
		{"syn", modern, probe.Segment{Bare: sts}},
		{"ack", modern, probe.Segment{Flags: tcpACK, Bare: sts | probe.NoMSS}},
		{"syn,ack,mss=900", modern, probe.Segment{Flags: tcpSYN | tcpACK, MSS: 900, Bare: sts}},
		{"sack", modern, probe.Segment{Bare: probe.NoTimestamps | probe.NoWindowScale}},
		{"ack,timestamps", modern, probe.Segment{Flags: tcpACK, Bare: probe.NoSACK | probe.NoWindowScale | probe.NoMSS}},
		{"ecn", modern, probe.Segment{Flags: tcpSYN | tcpECE | tcpCWR, Bare: sts}},
		{"ecn,sysctl", modern, probe.Segment{Flags: tcpSYN | tcpECE | tcpCWR}},
		{"fin,rst,psh,urg,ece,cwr", modern, probe.Segment{Flags: 0xff &^ tcpSYN &^ tcpACK, Bare: sts | probe.NoMSS}},
		{"flags=0xff", modern, probe.Segment{Flags: 0xff, Bare: sts}},
		{"flags=2,sysctl", old, probe.Segment{Bare: probe.NoSACK | probe.NoTimestamps}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.options, tt.system), func(t *testing.T) {
			sysctl = func(name string) (int, bool) { n, ok := tt.system[name]; return n, ok }
			var given []string
			if tt.options != "" {
				given = strings.Split(tt.options, ",")
			}
			m, err := parseOptions("tcp", given, modOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if m.segment != tt.want {
				t.Errorf("%+v, want %+v", m.segment, tt.want)
			}
		})
	}
}

func TestOptionsHelp(t *testing.T) {
	for method, want := range map[string]string{
		"": "The method default has no options.\n", "-U": "The method udp has no options.\n",
		"-M tcpconn": "The method tcpconn has no options.\n", "-I": "  dgram ", "-T": "  window_scaling ",
		"-UL": "  coverage=N ", "-D": "  service=N ", "-P 253": "  protocol=PROTO ",
	} {
		w := newWorld(simnet.Config{})
		if status := w.run(t.Context(), strings.TrimSpace("gtrace -O help "+method)); status != 0 || !strings.Contains(w.out.String(), want) || w.stderr.Len() > 0 {
			t.Errorf("%s: status %d, standard output\n%s, standard error %q", method, status, &w.out, &w.stderr)
		}
	}
}

// TestUnprivilegedMethods: tcpconn and -O dgram go without headers of their own, also for root.
func TestUnprivilegedMethods(t *testing.T) {
	for _, line := range []string{"gtrace -M tcpconn 192.0.2.9", "gtrace -I -O dgram 192.0.2.9"} {
		w := newWorld(simnet.Config{})
		other := newWorld(simnet.Config{Caps: func(c *rawsock.Caps) { c.Header, c.Socket = false, "unprivileged" }})
		w.env.Root = true
		w.env.unprivileged = func() (rawsock.Conn, error) { return other.conn, nil }
		if status := w.run(t.Context(), line); status != 0 {
			t.Errorf("%s: status %d: %s", line, status, &w.stderr)
		}
		if w.conn.Counts().Sent > 0 || other.conn.Counts().Sent == 0 {
			t.Errorf("%s: %d probes by raw sockets, %d by others", line, w.conn.Counts().Sent, other.conn.Counts().Sent)
		}
		before := other.conn.Counts().Sent
		if status := w.run(t.Context(), line+" --fwmark 7"); status != 2 || !strings.Contains(w.stderr.String(), "--fwmark 0x7: tcpconn and -O dgram open sockets when privilege is given up already") || other.conn.Counts().Sent != before {
			t.Errorf("%s, marked: status %d: %s", line, status, &w.stderr)
		}
	}
	w := newWorld(simnet.Config{})
	w.env.unprivileged = func() (rawsock.Conn, error) { return nil, syscall.EACCES }
	if status := w.run(t.Context(), "gtrace -M tcpconn 192.0.2.9"); status != 2 || !strings.Contains(w.stderr.String(), "open sockets as an ordinary user has them: ") {
		t.Errorf("status %d: %s", status, &w.stderr)
	}
}

// TestNeedsRaw: what an ordinary user's sockets cannot do is refused with what to do.
func TestNeedsRaw(t *testing.T) {
	for line, option := range map[string]string{
		"-T -O ack": "--options", "-T --mtu": "--mtu with --tcp", "-I -O raw": "--options raw", "-g 10.0.1.1": "--gateway", "-6 -l 5": "--flowlabel",
		// What the program would have to hear for it is settled before the arguments of other users are read.
		"-D": "--dccp: for root alone", "-P 253": "--protocol 253: for root alone", "-UL": "--udplite: for root alone",
	} {
		w := newWorld(simnet.Config{Caps: func(c *rawsock.Caps) { c.Header, c.Socket = false, "unprivileged" }})
		status := w.run(t.Context(), "gtrace "+line+" target.example")
		want := "gtrace: " + option
		if !strings.HasSuffix(option, "alone") {
			want += ": needs raw sockets; to allow them: "
		}
		if status != 2 || !strings.HasPrefix(w.stderr.String(), want) {
			t.Errorf("%s: status %d, standard error %q, want %q", line, status, &w.stderr, want)
		}
	}
}

func TestGateways(t *testing.T) {
	w := newWorld(simnet.Config{})
	w.names["gate.example"] = []string{"fd00:1::1", "10.0.1.1"}
	s := &session{env: w.env, tool: newTraceTool()}
	for list, want := range map[string]string{
		"10.0.1.1":                "2 [10.0.1.1]",
		"gate.example,10.0.2.1":   "2 [10.0.1.1 10.0.2.1]",
		"4,10.0.1.1":              "4 [10.0.1.1]",
		"nosuch.example":          "nosuch.example: look up the name: no such host",
		"10.0.1.1,nosuch.example": "nosuch.example: look up the name: no such host",
	} {
		r, err := s.findGateways(t.Context(), list)
		got := fmt.Sprint(r.kind, r.to(netip.MustParseAddr(target4)))
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", list, got, want)
		}
	}
	w = newWorld(simnet.Config{})
	if status := w.run(t.Context(), "gtrace -g fd00:1::1 192.0.2.9"); status != 2 || !strings.Contains(w.stderr.String(), "--gateway: gateway fd00:1::1: is not of the family of 192.0.2.9") {
		t.Errorf("status %d: %s", status, &w.stderr)
	}
}

// TestRegistryUnreachable: that systems are not known for want of a registry is said once, and changes no status.
func TestRegistryUnreachable(t *testing.T) {
	w := newWorld(simnet.Config{})
	public := []string{"8.8.8.8", "9.9.9.9"}
	for _, a := range public {
		w.routers[1].Link(simnet.Host(a), a+"/32")
	}
	w.env.dial = func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	if status := w.run(t.Context(), "gtrace -nA --as-server whois.example 8.8.8.8 9.9.9.9"); status != 0 {
		t.Errorf("status %d", status)
	}
	for _, a := range public {
		if want := " 3  " + a + " [*]  "; !strings.Contains(w.out.String(), want) {
			t.Errorf("no %q in\n%s", want, &w.out)
		}
	}
	if want := "gtrace: --as-path-lookups: not every address could be looked up: ask whois.example:43: connection refused; --as-server asks another registry\n"; w.stderr.String() != want {
		t.Errorf("standard error %q, want %q", &w.stderr, want)
	}
}
