//go:build linux

package e2e

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// What an ordinary user tries with the installed programs. Each is refused: it has no effect but on the user's own process.

// byName has an installed program started by another name.
func byName(name string) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.Args[0] = name }
}

// inPersona returns the program's file for a name, and what makes it called so.
func inPersona(t *testing.T, in install, name string) (path string, change func(*exec.Cmd)) {
	prog := "gtrace"
	if strings.Contains(name, "ping") {
		prog = "gping"
	}
	change = as(in.uid)
	if name != prog {
		change = both(change, byName(name))
	}
	return installed(t, in, prog), change
}

// left are the IP packets that a node sent, but for what its kernel does by itself over IPv6.
func left(t *testing.T, c *lab.Capture) (out []packet) {
	t.Helper()
	raw, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range raw {
		p, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if p.Out && !(p.dst.Is6() && (p.icmpType >= 130 && p.icmpType <= 137 || p.icmpType == 143 || p.proto == 0)) {
			out = append(out, p)
		}
	}
	return out
}

// TestForge asks for packets that are not an ordinary user's to send. Nothing leaves.
func TestForge(t *testing.T) {
	s := standard(t)
	t4, t6 := s.Target.Only(4).String(), s.Target.Only(6).String()
	const notLocal, policy = "not an address of this host", "only root may"
	attempts := []struct{ line, want string }{
		// Sources.
		{"gtrace -s 198.51.100.77 T4", notLocal},
		{"gtrace -s T4 T4", notLocal},
		{"gtrace -T -s 198.51.100.2 T4", notLocal}, // the router at the other end of the link
		{"gtrace -I -s 0.0.0.0 T4", notLocal},
		{"gtrace -s 255.255.255.255 T4", notLocal},
		{"gtrace -s 198.51.100.3 T4", notLocal}, // the broadcast address of the link
		{"gtrace -s 224.0.0.1 T4", notLocal},
		{"gtrace -s ::ffff:198.51.100.77 T4", notLocal},
		{"gtrace -s 127.0.0.1 T4", "of this host alone"},
		{"gtrace -s :: T6", notLocal},
		{"gtrace -s ff02::1 T6", notLocal},
		{"gtrace -s 2001:db8:0:0::77 T6", notLocal},
		{"gtrace -s fe80::1%lo T6", notLocal},
		{"gtrace -s ::1 T6", "of this host alone"},
		{"gtrace --mtu -s 198.51.100.77 T4", notLocal},
		{"gtrace -g R4 127.0.0.1", "of this host alone"},
		{"gtrace -g R4 -s 127.0.0.1 C4", "of this host alone"},
		{"gtrace -i IF -s 127.0.0.1 127.0.0.1", "of this host alone"},
		{"gtrace -g 4,R6 ::1", "of this host alone"},
		{"gtrace -g 2,R6 -s ::1 ::1", "of this host alone"},
		{"gping -c1 --gateway R4 127.0.0.1", "of this host alone"},
		{"traceroute -g R4 127.0.0.1", "of this host alone"},
		{"gping -c1 -I 198.51.100.77 T4", notLocal},
		{"gping -c1 -I 0.0.0.0 T4", notLocal},
		{"gping -c1 -I ff02::1 T6", notLocal},
		{"gping -c1 --source 198.51.100.77 T4", notLocal},
		{"gping -c1 --kind udp --source ::ffff:224.0.0.1 T4", notLocal},
		{"traceroute -s 198.51.100.77 T4", notLocal},
		{"ping -c1 -I 198.51.100.77 T4", "Cannot assign requested address"},
		{"fping -c1 -S 198.51.100.77 T4", "Cannot assign requested address"},
		// Kinds of packets.
		{"gtrace -T -O fin T4", "no TCP flags sent but SYN and ACK"},
		{"gtrace -T -O rst,ack T4", "no TCP flags sent but SYN and ACK"},
		{"gtrace -T -O flags=0x29 T4", "no TCP flags sent but SYN and ACK"},
		{"gtrace -T -O syn,ece T4", "no TCP flags sent but SYN and ACK"},
		{"traceroute -T -O urg T4", "no TCP flags sent but SYN and ACK"},
		{"gtrace -P 47 T4", "for root alone"},
		{"gtrace -P ospf T4", "for root alone"},
		{"gtrace -M raw T4", "for root alone"},
		{"gtrace -M raw -O protocol=89 T4", "for root alone"},
		{"gtrace -D T4", "for root alone"},
		{"gtrace -UL T4", "for root alone"},
		{"traceroute -P 2 T4", "for root alone"},
		{"gtrace --fwmark 1 T4", policy},
		{"gping -c1 -m 1 T4", "for root alone"},
		{"ping -c1 -m 1 T4", "for root alone"},
		{"gping -c1 --kind mask T4", policy},
		{"gtrace -g 0,2001:db8:0:1::1 T6", policy},
		// Ports of the system's.
		{"gtrace --sport 53 T4", "reserve a source port"},
		{"gtrace -T --sport 22 T4", "reserve a source port"},
		{"traceroute -U --sport=1023 T4", "reserve a source port"},
		{"gping -c1 --kind udp -e 53 T4", "reserve a source port"},
		{"gping -c1 --kind tcp -e 443 T6", "reserve a source port"},
		// Rates.
		{"gping -c2 -i 0.0019 T4", policy},
		{"gping -c2 -f T4", policy},
		{"gping -c2 -f -i 0.001 T4", policy},
		{"gping -c4 -l 4 T4", policy},
		{"gping --retry 5 --timeout 0.001 T4", policy},
		{"ping -c2 -i 0.001 T4", "minimal interval allowed for user is 2ms"},
		{"ping -c2 -f T4", policy},
		{"ping -c4 -l 4 T4", "cannot set preload to value greater than 3"},
		{"fping -c2 -p 1 T4", policy},
		{"fping -r2 -t 1 T4", policy},
		// Many who answer.
		{"gping -c1 198.51.100.3", "is a broadcast address"},
		{"gping -c1 255.255.255.255", "is a broadcast address"},
		{"gping -c2 -b -i 0.99 198.51.100.3", policy},
		{"gping -c2 -b -A 198.51.100.3", policy},
		{"gping -c2 -b -l 2 198.51.100.3", policy},
		{"gping -c1 -b -s 2000 198.51.100.3", policy},
		{"gping -c3 -b -i 0.002 --gateway 198.51.100.3 T4", policy},
		{"gping -c3 -b -i 0.002 192.0.2.255", policy}, // a route makes it a broadcast address
		{"ping -c3 -b -i 0.2 192.0.2.255", "with -b every target counts"},
		{"gping -c2 -i 0.5 -I IF 224.0.0.1", policy},
		{"gping -c2 -i 0.5 ff02::1%IF", policy},
		{"gping --retry 3 --timeout 0.5 -I IF 224.0.0.1", policy},
		{"ping -c2 -b -i 0.5 198.51.100.3", "broadcast ping with too short interval"},
		{"fping -c2 -p 500 -I IF 224.0.0.1", policy},
		{"gtrace -m2 -w1 198.51.100.3", "ermission denied"},
		{"gtrace 224.0.0.1", "are not probed"},
		{"gtrace ff02::1%IF", "are not probed"},
	}
	device := clientLink(t, s)
	route := func(what string) error {
		return s.Client.Do(func() error {
			return exec.Command("ip", "route", what, "broadcast", "192.0.2.255", "dev", device).Run()
		})
	}
	if err := route("add"); err != nil {
		t.Fatal("add a broadcast route:", err)
	}
	t.Cleanup(func() { _ = route("del") })
	placeholders := strings.NewReplacer("T4", t4, "T6", t6, "R4", s.Path[4][0].String(), "R6", s.Path[6][0].String(),
		"C4", s.Client.Addr("r1", 4).String(), "IF", device)
	for i, a := range attempts {
		// What is refused is refused by one piece of code, however the privilege came: the installs take turns.
		in := installs[1+i%2]
		t.Run(in.name+" "+a.line, func(t *testing.T) {
			words := strings.Fields(placeholders.Replace(a.line))
			path, change := inPersona(t, in, words[0])
			c, err := s.Client.Capture("r1", 1000)
			if err != nil {
				t.Fatal(err)
			}
			r := start(t, s.Client, change, append([]string{path, "-n"}, words[1:]...)...).end()
			if r.status == 0 || !strings.Contains(r.stderr, a.want) || strings.Contains(r.stdout, " ms") {
				t.Errorf("want a refusal that says %q\n%v", a.want, r)
			}
			for _, p := range left(t, c) {
				t.Errorf("left all the same: %v > %v, protocol %d\n%v", p.src, p.dst, p.proto, r)
			}
		})
	}
}

// clientLink is the name of the client's interface.
func clientLink(t *testing.T, s *lab.Standard) (name string) {
	t.Helper()
	err := s.Client.Do(func() error {
		out, err := exec.Command("ip", "-o", "link", "show", "up").Output()
		for l := range strings.Lines(string(out)) {
			f := strings.Fields(l)
			if n, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@"); n != "lo" {
				name = n
			}
		}
		return err
	})
	if err != nil || name == "" {
		t.Fatalf("the client's interface: %q, %v", name, err)
	}
	return name
}

// TestNotForged sends what an ordinary user may, made to look like something else as far as options go: each packet is
// what it is asked to be, from this host, and nothing else.
func TestNotForged(t *testing.T) {
	s := standard(t)
	in := installs[2]
	for _, tt := range []struct {
		line  string
		proto int
		types []int // of ICMP
	}{
		// A pattern that would be an IP header, and an ICMP redirect.
		{"gping -c3 -i.01 -W1 -p 450000540000400040018000c6336401 T4", 1, []int{8}},
		{"gping -c3 -i.01 -W1 -p 0501 -s 2 T4", 1, []int{8}},
		{"gping -c3 -i.01 -W1 --kind udp -p 0501 --port 53 T4", 17, nil},
		{"gping -c3 -i.01 -W1 --kind timestamp T4", 1, []int{13}},
		{"gping -c3 -i.01 -W1 --kind probe --probed 1 T4", 1, []int{42}},
		{"gping -c3 -i.01 -W1 T6", 58, []int{128}},
		{"gping -c3 -i.01 -W1 --kind probe --probed 1 T6", 58, []int{160}},
		{"gtrace -w1 -q1 -I T4", 1, []int{8}},
		{"gtrace -w1 -q1 -p 53 -U T4", 17, nil},
		{"gtrace -w1 -q1 -T -O ack T4", 6, nil},
		{"gtrace -w1 -q1 -T -O syn,ece,cwr,sack,mss=1 T6", 6, nil},
	} {
		t.Run(tt.line, func(t *testing.T) {
			family, dst := 4, s.Target.Only(4)
			if strings.Contains(tt.line, "T6") {
				family, dst = 6, s.Target.Only(6)
			}
			words := strings.Fields(strings.NewReplacer("T4", dst.String(), "T6", dst.String()).Replace(tt.line))
			path, change := inPersona(t, in, words[0])
			c, err := s.Client.Capture("r1", 1000)
			if err != nil {
				t.Fatal(err)
			}
			r := start(t, s.Client, change, append([]string{path, "-n"}, words[1:]...)...).end()
			ps := left(t, c)
			if len(ps) == 0 {
				t.Fatalf("nothing left\n%v", r)
			}
			own := s.Client.Addr("r1", family)
			for _, p := range ps {
				if p.dst != dst && p.proto != 6 || p.src != own || p.proto != tt.proto || p.icmpType >= 0 && !slices.Contains(tt.types, p.icmpType) {
					t.Errorf("%v > %v, protocol %d, ICMP %d, want %v > %v, %d, %v\n%v", p.src, p.dst, p.proto, p.icmpType, own, dst, tt.proto, tt.types, r)
				}
				if (p.proto == 6 && !strings.Contains(p.flags, "R") || p.proto == 17) && p.srcPort < 1024 {
					t.Errorf("source port %d\n%v", p.srcPort, r)
				}
			}
		})
	}
}

// TestCeiling asks for as much as there are options for it. By the kernel's own time stamps, no more packets leave in any
// stretch of time than the burst and 500 a second.
func TestCeiling(t *testing.T) {
	s := standard(t)
	var hosts []string
	for code := range lab.Rejects[4] {
		hosts = append(hosts, s.Rejected(uint8(code), 4).String())
	}
	list := filepath.Join(everybodys(t), "list")
	var links strings.Builder // all of the routers' links but the first
	for n := 5; n < 4*lab.Routers; n++ {
		fmt.Fprintf(&links, "198.51.100.%d\n", n)
	}
	if err := os.WriteFile(list, []byte(links.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	t4 := s.Target.Only(4).String()
	for i, tt := range []struct {
		line  string
		burst int
		least int // packets, else the test has nothing to look at
	}{
		{"gtrace --json -w.2 -N1024 -q10 -z0 -m9 T4", 16, 80},
		{"gtrace --json -w.2 -N1024 -q3 -m9 --parallel 64 --targets LIST", 16, 200},
		{"gtrace --json -w.2 --flow classic -I -N1024 -q10 -z0 -m9 T4", 16, 80},
		{"traceroute -w.2 -N1024 -q10 -m9 T4", 16, 80},
		{"tracepath -m3 T4", 1, 3},
		{"gping -q -i.002 -c100 -l3 T4", 3, 100},
		{"gping -q -f -i.002 -c100 -l3 T4", 3, 100},
		{"gping -q -A -c50 -l3 T4", 3, 50},
		{"gping -q -i.002 -c5 -W.2 --targets LIST", 3, 190},
		{"gping -q -i.002 -c30 -W.2 --kind udp " + strings.Join(hosts, " "), 3, 100},
		{"gping --retry 3 --timeout .002 --backoff 1 --parallel 1024 --targets LIST", 3, 60},
		{"ping -q -i.002 -c50 -l3 T4", 3, 50},
		{"fping -q -i0 -p2 -c5 -t50 -f LIST", 3, 190},
	} {
		in := installs[1+i%2]
		t.Run(in.name+" "+tt.line, func(t *testing.T) {
			words := strings.Fields(strings.NewReplacer("T4", t4, "LIST", list).Replace(tt.line))
			path, change := inPersona(t, in, words[0])
			c, err := s.Client.Capture("r1", 20_000)
			if err != nil {
				t.Fatal(err)
			}
			if words[0] != "fping" { // where -n asks for names
				words = slices.Insert(words, 1, "-n")
			}
			r := start(t, s.Client, change, append([]string{path}, words[1:]...)...).end()
			ps := slices.DeleteFunc(left(t, c), func(p packet) bool { return p.offset > 0 }) // of one packet
			if len(ps) < tt.least {
				t.Fatalf("%d packets left, want at least %d to look at\n%v", len(ps), tt.least, r)
			}
			within(t, ps, tt.burst, 500)
		})
	}
}

// within holds packets to a token bucket, by their time stamps. There is a packet more to allow for: of the time between two
// looks at a clock and a stamp between them.
func within(t *testing.T, ps []packet, burst, rate int) {
	t.Helper()
	at := slices.Clone(ps)
	slices.SortFunc(at, func(a, b packet) int { return a.At.Compare(b.At) })
	for i := range at {
		for j := i; j < len(at); j++ {
			took := at[j].At.Sub(at[i].At)
			if most := burst + 1 + int(math.Ceil(float64(rate)*took.Seconds())); j-i+1 > most {
				t.Fatalf("%d packets left within %v, want at most %d", j-i+1, took, most)
			}
		}
	}
}

// TestRootHasNoPolicy is the other half of it: root may.
func TestRootHasNoPolicy(t *testing.T) {
	s := standard(t)
	t4 := s.Target.Only(4)
	for _, tt := range []struct {
		line string
		is   func(ps []packet) bool
	}{
		{"gping -q -c300 -i 0.00001 T4", func(ps []packet) bool { return len(ps) == 300 }},
		{"gping -q -c50 -f -l 50 T4", func(ps []packet) bool { return len(ps) == 50 }},
		{"gping -c1 -W.2 --kind mask T4", func(ps []packet) bool { return ps[0].icmpType == 17 }},
		{"gtrace -w.5 -q1 -T -O fin T4", func(ps []packet) bool { return ps[0].flags == "F" }},
		{"gtrace -w.5 -q1 -m1 --sport 53 T4", func(ps []packet) bool { return ps[0].srcPort == 53 }},
		{"gtrace -w.5 -q1 -m1 -P 47 T4", func(ps []packet) bool { return ps[0].proto == 47 }},
	} {
		t.Run(tt.line, func(t *testing.T) {
			words := strings.Fields(strings.ReplaceAll(tt.line, "T4", t4.String()))
			r, ps := captured(t, s.Client, "r1", append([]string{words[0], "-n"}, words[1:]...)...)
			if ps = probes(ps, t4); len(ps) == 0 || !tt.is(ps) {
				t.Errorf("%d packets, or not as asked for\n%v", len(ps), r)
			}
		})
	}
}

// TestOthersFiles has options read what is not the user's: an error, and nothing of it in the output. What the user may
// read is told about, without anything that moves a cursor.
func TestOthersFiles(t *testing.T) {
	s := standard(t)
	dir := everybodys(t)
	const secret = "s3cret-of-root.example"
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hidden := file("hidden", secret+" "+secret+"\n"+secret+"\n", 0o600)
	open := file("open", "a \x1b[2J b\n\x1b]0;title\a c\r d\n", 0o644)
	linked := filepath.Join(dir, "link")
	if err := os.Symlink(hidden, linked); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{hidden, linked, "/proc/self/cwd" + hidden, "/etc/shadow", "/proc/self/mem", "/proc/1/environ", "/proc/self/fd/3", "/proc/self/fd/9", dir, open} {
		for _, words := range [][]string{
			{"gtrace", "-m1", "--targets", name},
			{"gping", "-c1", "--file", name},
			{"fping", "-c1", "-f", name},
		} {
			for _, in := range installs[1:] {
				t.Run(in.name+" "+words[0]+" "+filepath.Base(name), func(t *testing.T) {
					path, change := inPersona(t, in, words[0])
					r := start(t, s.Client, change, append([]string{path}, words[1:]...)...).end()
					all := r.stdout + r.stderr
					if r.status == 0 || strings.Contains(r.stdout, " ms") || r.stderr == "" {
						t.Errorf("want an error\n%v", r)
					}
					if name != open && strings.Contains(all, "s3cret") || strings.ContainsAny(all, "\x1b\a\r") {
						t.Errorf("something of the file is in the output\n%v", r)
					}
				})
			}
		}
	}
	// A list that never comes to its beginning does not hold the interrupt up.
	fifo := filepath.Join(dir, "fifo")
	if err := mkfifo(fifo); err != nil {
		t.Fatal(err)
	}
	path, change := inPersona(t, installs[2], "gping")
	r := start(t, s.Client, change, path, "-c1", "--targets", fifo)
	waitOpening(t, r)
	r.signal(os.Interrupt)
	if res := r.end(); res.status != 2 || !strings.Contains(res.stderr, "interrupted") {
		t.Errorf("want it interrupted\n%v", res)
	}
}

// TestEndlessLists: lists have an end, whatever is in them, and memory does not grow with them.
func TestEndlessLists(t *testing.T) {
	s := standard(t)
	for _, tt := range []struct{ name, line, want string }{
		{"a line without end", "cat /dev/zero", "64 MiB"},
		{"blank lines", "yes ''", "64 MiB"},
		{"comments", "yes '# none'", "64 MiB"},
		{"hosts", "yes 198.51.100.2", "more than the 131072 targets"},
		{"bad lines", "yes 'a b'", "more than the 131072 targets"},
		{"networks", "yes 10.0.0.0/24", "more than the 131072 targets"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := installed(t, installs[2], "gping")
			r := start(t, s.Client, as(nobody), "/bin/sh", "-c", tt.line+" 2>/dev/null | exec "+path+" -n -c1 --targets - 2>&1 | tail -n 1")
			if res := r.end(); !strings.Contains(res.stdout, tt.want) {
				t.Errorf("want an error that says %q\n%v", tt.want, res)
			}
			const most = 100 << 10 // KiB
			// The largest of all children so far: the shell's, of which the programs are.
			if used := maxRSS(r.cmd); used > most {
				t.Errorf("%d KiB used, want no more than %d", used, most)
			}
		})
	}
}
