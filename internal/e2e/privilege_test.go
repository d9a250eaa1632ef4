//go:build linux

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
)

// An install is one way to give the programs their privilege.
type install struct {
	name    string
	prepare func(path string) error // nil: as built
	uid     uint32
	// rootly says that the bounding set and the supplementary groups are
	// emptied too, which takes CAP_SETPCAP and CAP_SETGID. Without, the
	// groups are the user's own, and no_new_privs keeps the bounding set from
	// mattering.
	rootly bool
}

var installs = []install{
	{"root", nil, 0, true},
	{"setuid root", func(p string) error { return os.Chmod(p, 0o755|os.ModeSetuid) }, nobody, true},
	{"cap_net_raw+p", func(p string) error {
		return unix.Setxattr(p, "security.capability", fileCapability(unix.CAP_NET_RAW, false), 0)
	}, nobody, false},
}

// fileCapability is struct vfs_cap_data, version 2 (capabilities(7)).
func fileCapability(c uint, effective bool) []byte {
	magic := uint32(0x02000000)
	if effective {
		magic |= 1
	}
	b := binary.LittleEndian.AppendUint32(nil, magic)
	for _, word := range []uint32{1 << c, 0, 0, 0} { // permitted and inheritable, low; then high
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

// installed returns a copy of a program installed that way.
func installed(t *testing.T, in install, prog string) string {
	t.Helper()
	if in.prepare == nil {
		return program(prog)
	}
	path := filepath.Join(bin, strings.ReplaceAll(in.name, " ", "-")+"-"+prog)
	if _, err := os.Stat(path); err == nil {
		return path // by an earlier test
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(bin, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Flags&unix.ST_NOSUID != 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test may not be left out: %s is mounted nosuid", bin)
		}
		t.Skipf("left out: %s is mounted nosuid; set TMPDIR to another place", bin)
	}
	b, err := os.ReadFile(program(prog))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := in.prepare(path); err != nil {
		t.Fatalf("install %s as %s: %v", prog, in.name, err)
	}
	return path
}

// threads reads the status fields of each thread of a process, by file.
func threads(t *testing.T, pid int) map[string]map[string]string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("threads of process %d: %v, %v", pid, files, err)
	}
	out := make(map[string]map[string]string)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		fields := make(map[string]string)
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(line, ":")
			fields[k] = strings.Join(strings.Fields(v), " ")
		}
		out[f] = fields
	}
	return out
}

// TestPrivilege reads what every thread of a running program may do, however
// the program got its sockets.
func TestPrivilege(t *testing.T) {
	s := standard(t)
	silent, target := s.Special(lab.SilentAt, 4).String(), s.Target.Only(4).String()
	for _, in := range installs {
		for _, args := range [][]string{
			{"gping", "-n", "-i3600", target},
			{"gtrace", "-n", "-q1", "-m6", "-w3600,0,0", silent},
		} {
			t.Run(in.name+" "+args[0], func(t *testing.T) {
				path := installed(t, in, args[0])
				r := start(t, s.Client, func(c *exec.Cmd) {
					as(in.uid)(c)
					c.SysProcAttr.Credential.Groups = []uint32{100}
				}, append([]string{path}, args[1:]...)...)
				// With the second line something has been sent and heard.
				r.line()
				if l := r.line(); !strings.Contains(l, " ms") {
					t.Fatalf("line %q, want an answer", l)
				}
				ids := fmt.Sprintf("%d %[1]d %[1]d %[1]d", in.uid)
				want := map[string]string{
					"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none,
					"NoNewPrivs": "1", "Uid": ids, "Gid": ids, "Groups": "100",
				}
				if in.rootly {
					want["CapBnd"], want["Groups"] = none, ""
				}
				all := threads(t, r.cmd.Process.Pid)
				if len(all) < 2 {
					t.Errorf("%d thread, want several to look at", len(all))
				}
				for file, fields := range all {
					for k, v := range want {
						if got, ok := fields[k]; got != v || !ok {
							t.Errorf("%s: %s is %q, want %q", file, k, got, v)
						}
					}
				}
				r.signal(os.Interrupt)
				r.end()
			})
		}
	}
}

const none = "0000000000000000"

// TestInstalled holds each install to results that only raw sockets give.
func TestInstalled(t *testing.T) {
	s := standard(t)
	for _, in := range installs {
		for _, family := range []int{4, 6} {
			t.Run(fmt.Sprintf("%s IPv%d", in.name, family), func(t *testing.T) {
				path := s.Path[family]
				target := path[len(path)-1]
				for _, w := range ways {
					args := append([]string{installed(t, in, "gtrace"), "-n", "--json", patiently}, w.args...)
					r := start(t, s.Client, as(in.uid), append(args, target.String())...).end()
					d, err := readTrace(r)
					if err != nil {
						t.Fatal(err)
					}
					faults := checkHops(d, 1, 3, append(exceeded(path[:len(path)-1]), w.direct(target)))
					faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
					if d.Method.Socket != "raw" {
						faults = append(faults, fmt.Sprintf("socket %q, want raw", d.Method.Socket))
					}
					tell(t, r, faults)
				}
				r := start(t, s.Client, as(in.uid), installed(t, in, "gping"), "-n", "--json", "-c2", "-i0.01", target.String()).end()
				d, err := readPing(r)
				if err != nil {
					t.Fatal(err)
				}
				faults := checkEnd(r, d.Outcome, "answered", 0)
				if d.Method.Socket != "raw" || d.Summary.Received != 2 {
					faults = append(faults, fmt.Sprintf("socket %q and %d received, want raw and 2", d.Method.Socket, d.Summary.Received))
				}
				tell(t, r, faults)
			})
		}
	}
}

// TestUnprivileged runs the programs with no right at all: they find what
// they find as root, and leave out what they cannot know.
func TestUnprivileged(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		for _, w := range slices.Concat(ways[:2], ways[4:]) { // UDP and TCP
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				args := append([]string{"gtrace", "-n", "--json", patiently}, w.args...)
				r := start(t, s.Client, as(nobody), append(args, target.String())...).end()
				d, err := readTrace(r)
				if err != nil {
					t.Fatal(err)
				}
				faults := checkHops(d, 1, 3, append(exceeded(path[:len(path)-1]), w.direct(target)))
				faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
				if d.Method.Socket != "unprivileged" {
					faults = append(faults, fmt.Sprintf("socket %q, want unprivileged", d.Method.Socket))
				}
				for _, h := range d.Hops {
					for _, p := range h.Probes {
						if p.QuotedTTL != nil {
							faults = append(faults, fmt.Sprintf("TTL %d: a quoted TTL, which nobody saw", h.TTL))
						}
					}
				}
				tell(t, r, faults)
			})
		}
	}
}

// TestUnprivilegedPing needs a kernel that lets the user's group ping, which
// a namespace of its own says.
func TestUnprivilegedPing(t *testing.T) {
	programs(t)
	n := lab.Start(t, lab.Plan{
		Links: []lab.Link{
			{A: "client", B: "router", V4: "198.51.100.0/30", V6: "2001:db8::/64"},
			{A: "router", B: "target", V4: "203.0.113.0/30", V6: "2001:db8:1::/64"},
		},
	})
	client, target := n.Node("client"), n.Node("target")
	for _, allowed := range []bool{false, true} {
		if allowed {
			if err := client.Set("ipv4/ping_group_range", fmt.Sprintf("%d %[1]d", nobody)); err != nil {
				t.Fatal(err)
			}
		}
		for _, family := range []int{4, 6} {
			to := target.Only(family).String()
			r := start(t, client, as(nobody), "gping", "-n", "--json", "-c3", "-i0.01", to).end()
			if !allowed {
				if r.status != 2 || !strings.HasPrefix(r.stderr, "gping: ") || strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("IPv%d, not allowed: want status 2 and a line that says why\n%v", family, r)
				}
				continue
			}
			d, err := readPing(r)
			if err != nil {
				t.Error(err)
				continue
			}
			faults := checkEnd(r, d.Outcome, "answered", 0)
			if d.Method.Socket != "unprivileged" || d.Summary.Received != 3 {
				faults = append(faults, fmt.Sprintf("socket %q and %d received, want unprivileged and 3", d.Method.Socket, d.Summary.Received))
			}
			tell(t, r, faults)

			r = start(t, client, as(nobody), "gtrace", "-n", "--json", patiently, "-I", to).end()
			td, err := readTrace(r)
			if err != nil {
				t.Error(err)
				continue
			}
			router := n.Node("router").Addr("client", family)
			hops := append(exceeded([]netip.Addr{router}), ways[2].direct(target.Only(family)))
			tell(t, r, append(checkHops(td, 1, 3, hops), checkEnd(r, td.Outcome, "reached", 0)...))
		}
	}
}

// TestPolicy holds a privileged copy to what ordinary users may ask of it.
func TestPolicy(t *testing.T) {
	s := standard(t)
	target := s.Target.Only(4).String()
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"an interval below 2 ms", []string{"gping", "-n", "-c2", "-i0.001", target}},
		{"another's source address", []string{"gtrace", "-n", "-s", "198.51.100.77", target}},
		{"broadcast", []string{"gping", "-n", "-c1", "198.51.100.3"}},
		{"multicast", []string{"gping", "-n", "-c1", "224.0.0.1"}},
	} {
		for _, in := range installs[1:] {
			t.Run(tt.name+", "+in.name, func(t *testing.T) {
				c, err := s.Client.Capture("r1", 1000)
				if err != nil {
					t.Fatal(err)
				}
				r := start(t, s.Client, as(nobody), append([]string{installed(t, in, tt.args[0])}, tt.args[1:]...)...).end()
				if r.status != 2 || strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("want status 2 and one line that says why\n%v", r)
				}
				ps, err := c.Stop()
				if err != nil {
					t.Fatal(err)
				}
				if slices.ContainsFunc(ps, func(p lab.Packet) bool { return p.Out && p.Data[0]>>4 == 4 }) {
					t.Error("something left all the same")
				}
			})
		}
	}
}

// TestRate has an ordinary user ask a privileged copy for many probes at once:
// 16 may leave together, and then 500 a second.
func TestRate(t *testing.T) {
	s := standard(t)
	const rate, burst = 500, 16
	for _, family := range []int{4, 6} {
		target := s.Target.Only(family)
		c, err := s.Client.Capture("r1", 20_000)
		if err != nil {
			t.Fatal(err)
		}
		r := start(t, s.Client, as(nobody), installed(t, installs[2], "gtrace"),
			"-n", "--json", "-N64", "-q10", target.String()).end()
		raw, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		var left []packet
		for _, b := range raw {
			p, err := parse(b)
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, p)
		}
		left = probes(left, target)
		if len(left) < 100 {
			t.Fatalf("IPv%d: %d probes left, want at least 100 to look at\n%v", family, len(left), r)
		}
		// The program may be held up between counting and sending, while it
		// becomes entitled to another burst: so twice that is allowed.
		for i := range left {
			for j := i; j < len(left); j++ {
				took := left[j].At.Sub(left[i].At)
				if allowed := 2*burst + int(rate*took.Seconds()); j-i+1 > allowed {
					t.Fatalf("IPv%d: %d probes left within %v, want at most %d", family, j-i+1, took, allowed)
				}
			}
		}
	}
}
