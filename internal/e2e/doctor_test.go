//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
)

type doctorDoc struct {
	Schema  string `json:"schema"`
	Program string `json:"program"`
	Outcome string `json:"outcome"`
	Socket  string `json:"socket"`
	User    struct {
		UID    int             `json:"uid"`
		EUID   int             `json:"effective_uid"`
		NetRaw map[string]bool `json:"cap_net_raw"`
		NNP    bool            `json:"no_new_privs"`
		UserNS bool            `json:"user_namespace"`
	} `json:"user"`
	File struct {
		Capability string `json:"capability"`
		Setuid     bool   `json:"setuid"`
	} `json:"file"`
	Checks []struct {
		Check   string `json:"check"`
		Verdict string `json:"verdict"`
		Found   string `json:"found"`
		Means   string `json:"means"`
		Mend    []struct {
			Where string `json:"where"`
			Set   string `json:"set"`
		} `json:"mend"`
	} `json:"checks"`
}

// through runs a program by another, such as setpriv.
func through(t *testing.T, args ...string) func(*exec.Cmd) {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Skipf("%v: apt-get install util-linux", err)
	}
	return func(c *exec.Cmd) {
		c.Args = append(append(args[:len(args):len(args)], c.Path), c.Args[1:]...)
		c.Path = path
		c.Dir = "/"
	}
}

// both makes one change after another. With setpriv alone a user keeps root's capabilities until the program
// starts, and no_new_privs takes away only what is new.
func both(a, b func(*exec.Cmd)) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		a(c)
		b(c)
	}
}

// asNobody is what setpriv takes to become an ordinary user.
var asNobody = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}

// crossing is a host with two cables. Nobody may open ping sockets on it.
func crossing(t *testing.T) *lab.Network {
	t.Helper()
	programs(t)
	return lab.Start(t, lab.Plan{
		Links: []lab.Link{
			{A: "left", B: "mid", V4: "192.0.2.0/30", V6: "2001:db8:1::/64"},
			{A: "mid", B: "right", V4: "192.0.2.4/30", V6: "2001:db8:2::/64"},
		},
		Sysctls: []lab.Sysctl{
			{On: "mid", Key: "ipv4/ping_group_range", Value: "1 0"},
			{On: "left", Key: "ipv4/ping_group_range", Value: "1 0"},
		},
	})
}

func TestDoctor(t *testing.T) {
	net := crossing(t)
	mid, left := net.Node("mid"), net.Node("left")
	effective := install{"cap_net_raw+ep", func(p string) error {
		return unix.Setxattr(p, "security.capability", fileCapability(unix.CAP_NET_RAW, true), 0)
	}, nobody, false}
	if err := left.AddRule("127.0.0.1", lab.Output, lab.Drop()); err != nil {
		t.Fatal(err)
	}
	noPing := map[string][]string{"ping-ipv4 missing": {"ping_group_range = 1 0", "sysctl -w net.ipv4.ping_group_range="}, "ping-ipv6 missing": nil}
	unneeded := map[string][]string{"ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil}
	with := func(maps ...map[string][]string) map[string][]string {
		all := make(map[string][]string)
		for _, m := range maps {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}

	tests := []struct {
		name   string
		node   *lab.Node   // nil: mid
		sysctl [][3]string // for this test: key, value, and what it is put back to
		file   *install    // nil: as built
		change func(*exec.Cmd)
		args   []string
		status int
		socket string
		caps   string              // the sets that CAP_NET_RAW was in
		want   map[string][]string // what is not "ok", and words in it
		look   func(doctorDoc) error
	}{
		{name: "root", socket: "raw", caps: "permitted effective bounding", want: unneeded},
		{name: "an ordinary user, ping sockets closed", change: as(nobody), status: 1, socket: "unprivileged", caps: "bounding",
			want: with(noPing, map[string][]string{
				"raw-ipv4 missing": {"user 65534 has no CAP_NET_RAW", "setcap cap_net_raw+p " + program("gtrace")}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil,
			})},
		{name: "an ordinary user, ping sockets open", change: as(nobody), status: 1, socket: "unprivileged", caps: "bounding",
			sysctl: [][3]string{{"ipv4/ping_group_range", "65534 65534", "1 0"}},
			want:   map[string][]string{"raw-ipv4 missing": nil, "raw-ipv6 missing": nil, "cap-net-raw missing": nil},
			look: func(d doctorDoc) error {
				for _, c := range d.Checks {
					if c.Check == "echo-ipv4" && c.Verdict == "ok" {
						return nil
					}
				}
				return fmt.Errorf("no echo was tried")
			}},
		{name: "file capability +p", file: &installs[2], change: as(nobody), socket: "raw", caps: "permitted bounding", want: unneeded,
			look: func(d doctorDoc) error {
				if d.File.Capability != "cap_net_raw+p" || d.User.UID != nobody {
					return fmt.Errorf("file %+v, user %+v", d.File, d.User)
				}
				return nil
			}},
		{name: "file capability +ep", file: &effective, change: as(nobody), status: 1, socket: "raw", caps: "permitted effective bounding",
			want: with(unneeded, map[string][]string{"file warning": {"cap_net_raw+ep", "setcap cap_net_raw+p "}})},
		{name: "setuid root", file: &installs[1], change: as(nobody), socket: "raw", caps: "permitted effective bounding", want: unneeded,
			look: func(d doctorDoc) error {
				if !d.File.Setuid || d.User.UID != nobody || d.User.EUID != 0 {
					return fmt.Errorf("file %+v, user %+v", d.File, d.User)
				}
				return nil
			}},
		{name: "no_new_privs", file: &installs[2], change: both(as(nobody), through(t, "setpriv", "--no-new-privs")), status: 1, socket: "unprivileged", caps: "bounding",
			want: with(noPing, map[string][]string{
				"raw-ipv4 missing": {"no_new_privs", "allowPrivilegeEscalation: true"}, "raw-ipv6 missing": nil,
				"no-new-privs missing": {"NoNewPrivileges=no"}, "cap-net-raw missing": nil,
			})},
		{name: "root, out of the bounding set", change: through(t, "setpriv", "--bounding-set=-net_raw"), status: 1, socket: "unprivileged", caps: "",
			want: with(noPing, map[string][]string{
				"raw-ipv4 missing": {"bounding set", "--cap-add=NET_RAW", "CapabilityBoundingSet="}, "raw-ipv6 missing": nil, "cap-net-raw missing": {"in no set"},
			})},
		{name: "file capability, out of the bounding set", file: &installs[2], change: through(t, append(asNobody[:4:4], "--bounding-set=-net_raw")...),
			status: 1, socket: "unprivileged", caps: "",
			want: with(noPing, map[string][]string{
				"raw-ipv4 missing": {"bounding set", "--cap-add=NET_RAW"}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil,
			})},
		{name: "ambient", change: through(t, append(asNobody[:4:4], "--inh-caps=+net_raw", "--ambient-caps=+net_raw")...), socket: "raw",
			caps: "permitted effective inheritable bounding ambient", want: unneeded},
		{name: "a firewall that drops what is sent", node: left, status: 1, socket: "raw", caps: "permitted effective bounding",
			want: with(unneeded, map[string][]string{
				"udp-ipv4 missing": {"operation not permitted", "nft list ruleset"}, "tcp-ipv4 missing": nil, "echo-ipv4 missing": {"operation not permitted"},
				"firewall missing": {"EPERM", "IPv4 UDP, IPv4 ICMP echo"},
			})},
		{name: "the same, IPv6 alone", node: left, args: []string{"-6"}, socket: "raw", caps: "permitted effective bounding", want: map[string][]string{"ping-ipv6 unneeded": nil}},
		{name: "strict reverse path", sysctl: [][3]string{{"ipv4/conf/all/rp_filter", "1", "0"}}, status: 1, socket: "raw", caps: "permitted effective bounding",
			want: with(unneeded, map[string][]string{"rp-filter warning": {"strict on left, right", "net.ipv4.conf.all.rp_filter=2"}})},
		{name: "strict reverse path of one", sysctl: [][3]string{{"ipv4/conf/right/rp_filter", "1", "0"}}, status: 1, socket: "raw", caps: "permitted effective bounding",
			want: with(unneeded, map[string][]string{"rp-filter warning": {"strict on right"}})},
		{name: "rare ICMP errors", sysctl: [][3]string{{"ipv4/icmp_ratelimit", "5000", "1000"}, {"ipv4/icmp_ratemask", "6168", "0"}}, status: 1, socket: "raw", caps: "permitted effective bounding",
			want: with(unneeded, map[string][]string{"icmp-limits warning": {"5000 ms", "icmp_ratelimit=1000"}})},
		{name: "no echo replies", sysctl: [][3]string{{"ipv4/icmp_echo_ignore_all", "1", "0"}}, status: 1, socket: "raw", caps: "permitted effective bounding",
			want: with(unneeded, map[string][]string{"echo-ipv4 warning": {"net.ipv4.icmp_echo_ignore_all=0"}})},
		{name: "IPv6 turned off", node: left, sysctl: [][3]string{{"ipv6/conf/all/disable_ipv6", "1", "0"}}, args: []string{"-6"}, socket: "raw", caps: "permitted effective bounding",
			status: 2, // nothing could be sent, so nothing is known of a firewall
			want:   map[string][]string{"ping-ipv6 unneeded": nil, "udp-ipv6 missing": {"net.ipv6.conf.all.disable_ipv6=0"}, "tcp-ipv6 missing": nil, "echo-ipv6 missing": nil, "firewall unknown": nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node := tt.node
			if node == nil {
				node = mid
			}
			for _, set := range tt.sysctl {
				if err := node.Set(set[0], set[1]); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := node.Set(set[0], set[2]); err != nil {
						t.Error(err)
					}
				})
			}
			path := program("gtrace")
			if tt.file != nil {
				path = installed(t, *tt.file, "gtrace")
			}
			args := append([]string{path, "doctor"}, tt.args...)
			r := start(t, node, tt.change, append(args, "--json")...).end()
			var d doctorDoc
			if err := decode(r.stdout, &d); err != nil {
				t.Fatalf("%v\n%v", err, r)
			}
			if r.status != tt.status || r.stderr != "" || d.Socket != tt.socket || d.Program != "gtrace" {
				t.Errorf("status %d, socket %q, want %d and %q\n%v", r.status, d.Socket, tt.status, tt.socket, r)
			}
			var sets []string
			for _, set := range []string{"permitted", "effective", "inheritable", "bounding", "ambient"} {
				if d.User.NetRaw[set] {
					sets = append(sets, set)
				}
			}
			if got := strings.Join(sets, " "); got != tt.caps {
				t.Errorf("CAP_NET_RAW at the start: %q, want %q", got, tt.caps)
			}
			seen := make(map[string]bool)
			for _, c := range d.Checks {
				key := c.Check + " " + c.Verdict
				seen[key] = true
				words, expected := tt.want[key]
				if c.Verdict != "ok" && !expected {
					t.Errorf("%s: %+v, which was not to be found", key, c)
				}
				for _, w := range words {
					if all := fmt.Sprint(c.Found, c.Means, c.Mend); !strings.Contains(all, w) {
						t.Errorf("%s: no %q in %s", key, w, all)
					}
				}
			}
			for key := range tt.want {
				if !seen[key] {
					t.Errorf("not found: %s", key)
				}
			}
			if tt.look != nil {
				if err := tt.look(d); err != nil {
					t.Errorf("%v\n%v", err, r)
				}
			}
			if text := start(t, node, tt.change, args...).end(); text.status != tt.status || !strings.Contains(text.stdout, "\ngtrace works with "+tt.socket+" sockets here: ") {
				t.Errorf("as text: %v", text)
			}
		})
	}
}

// TestDoctorUserNamespace: root of a user namespace has the capability, but not for a network of another.
func TestDoctorUserNamespace(t *testing.T) {
	net := crossing(t)
	if out, err := exec.Command("unshare", "--user", "--map-root-user", "true").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skipf("no user namespaces here: %v: %s", err, out)
	}
	r := start(t, net.Node("mid"), through(t, "unshare", "--user", "--map-root-user"), "gping", "doctor", "--json").end()
	var d doctorDoc
	if err := decode(r.stdout, &d); err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
	if r.status != 1 || d.Socket != "unprivileged" || !d.User.UserNS || !d.User.NetRaw["permitted"] {
		t.Errorf("want the capability, in a user namespace, and unprivileged sockets\n%v", r)
	}
	if c := d.Checks[0]; c.Check != "raw-ipv4" || c.Verdict != "missing" || !strings.Contains(c.Found, "user namespace") {
		t.Errorf("%+v, want that the user namespace is why", c)
	}
}

// filtered is the environment variable that makes this test binary a wrapper: it refuses raw sockets to itself by
// a seccomp filter and becomes the program that its arguments say.
const filtered = "TEST_E2E_SECCOMP"

func init() {
	if os.Getenv(filtered) == "" {
		return
	}
	runtime.LockOSThread() // the filter is this thread's, and so is the program that it becomes
	err := refuseRawSockets()
	if err == nil {
		err = syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "start %v under a filter: %v\n", os.Args[1:], err)
	os.Exit(3)
}

// refuseRawSockets answers EPERM to socket(2) for raw IPv4 and IPv6 sockets. It looks at struct seccomp_data of
// linux/seccomp.h: the call's number, and the low words of its arguments.
func refuseRawSockets() error {
	low := func(argument uint32) uint32 {
		at := 16 + 8*argument
		if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big endian
			at += 4
		}
		return at
	}
	prog, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_SOCKET, SkipTrue: 7},
		bpf.LoadAbsolute{Off: low(0), Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_INET6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: low(1), Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SOCK_RAW, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, r := range prog {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	f := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Root may do so without no_new_privs.
	_, _, e := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&f)))
	if e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	return nil
}

func TestDoctorSeccomp(t *testing.T) {
	mid := crossing(t).Node("mid")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	wrap := through(t, self)
	r := start(t, mid, func(c *exec.Cmd) {
		wrap(c)
		c.Env = append(os.Environ(), filtered+"=1")
	}, "gtrace", "doctor", "--json").end()
	var d doctorDoc
	if err := decode(r.stdout, &d); err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
	found := make(map[string]string)
	for _, c := range d.Checks {
		found[c.Check+" "+c.Verdict] = c.Found
	}
	if r.status != 1 || d.Socket != "unprivileged" || !d.User.NetRaw["permitted"] || d.User.NNP {
		t.Errorf("want the capability, no no_new_privs, and unprivileged sockets\n%v", r)
	}
	if !strings.Contains(found["raw-ipv4 missing"], "seccomp") || found["seccomp warning"] == "" {
		t.Errorf("want that the filter is why\n%v", r)
	}
}

// TestDoctorSendsToNobody: nothing of what it tries leaves this host.
func TestDoctorSendsToNobody(t *testing.T) {
	net := crossing(t)
	left := net.Node("left")
	c, err := left.Capture("mid", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if r := do(t, left, "gtrace", "doctor"); r.status != 0 {
		t.Errorf("%v", r)
	}
	ps, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		// The kernel's own are neighbour discovery, and reports of groups behind a hop-by-hop header.
		b := p.Data
		kernels := b[0]>>4 == 6 && (b[6] == 0 || b[6] == 58 && b[40] >= 133 && b[40] <= 143)
		if p.Out && !kernels {
			t.Errorf("left: % x", b)
		}
	}
}
