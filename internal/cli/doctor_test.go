package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
)

var doctorSchemaFile = sync.OnceValues(func() (*jsonschema.Schema, error) {
	return jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "report", "schema", "gtrace-doctor-v1.json"))
})

// holds reports whether a document is as its schema says.
func holds(t *testing.T, doc string) error {
	t.Helper()
	schema, err := doctorSchemaFile()
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	return schema.Validate(v)
}

func ptr[T any](v T) *T { return &v }

// A ward is a patient in the making: all is well, until a test changes it.
type ward struct {
	start    rawsock.Privilege
	confined rawsock.Confinement
	facts    rawsock.Facts
	caps     rawsock.Caps
	conn     bool
	openErr  error
}

// healthy is root on an ordinary host.
func healthy() *ward {
	return &ward{
		conn:     true,
		start:    rawsock.Privilege{NetRaw: rawsock.CapBits{Permitted: true, Effective: true, Bounding: true}, Seccomp: ptr(0)},
		confined: rawsock.Confinement{Calls: true, Landlock: 7, Devices: true, Signals: true, Sockets: true},
		caps:     rawsock.Caps{Header: true, TCP: true, IPv4: true, IPv6: true, RxStamp: true, TxStamp: true, Socket: "raw"},
		facts: rawsock.Facts{
			Kernel:  "6.1.0",
			Program: rawsock.Program{Path: "/opt/gtrace"},
			Groups:  []int{0}, Pingers: &rawsock.GroupRange{First: 1, Last: 0},
			Threads: 7, Filtered: 7, UserNS: ptr(false),
			Families: []rawsock.Family{
				{Ping: syscall.EACCES, Echoed: true, SentAt: true, CameAt: true, Ignored: ptr(false)},
				{V6: true, Ping: syscall.EACCES, Echoed: true, SentAt: true, CameAt: true, Ignored: ptr(false), Disabled: ptr(false)},
			},
			RPFilter:   []rawsock.Device{{Name: "eth0", Mode: 0}, {Name: "eth1", Mode: 2}},
			ICMP:       rawsock.ICMPLimits{Rate: ptr(1000), Mask: ptr(0x1818), PerSec: ptr(1000), Burst: ptr(50), Rate6: ptr(1000)},
			BufferWant: 4 << 20, BufferGot: 4 << 20,
		},
	}
}

// ordinary is a user without privilege, where ping sockets are open to nobody.
func ordinary() *ward {
	w := healthy()
	w.start = rawsock.Privilege{UID: 1000, EUID: 1000, GID: 100, EGID: 100, NetRaw: rawsock.CapBits{Bounding: true}, Seccomp: ptr(0)}
	w.facts.Groups = []int{100, 27}
	w.caps = rawsock.Caps{IPv4: true, IPv6: true, RxStamp: true, TxStamp: true, Socket: "unprivileged",
		Refused: fmt.Errorf("no luck: %w", rawsock.ErrPrivilege)}
	for i := range w.facts.Families {
		w.facts.Families[i].Echoed = false
	}
	w.facts.BufferGot = enoughBuffer
	return w
}

func (w *ward) env(t *testing.T, program string) (*world, *int) {
	t.Helper()
	out := newWorld(simnet.Config{Caps: func(c *rawsock.Caps) { *c = w.caps }})
	asked := new(int)
	out.env.Start, out.env.Confined = w.start, w.confined
	if !w.conn {
		out.env.Conn, out.env.OpenErr = nil, w.openErr
	}
	out.env.diagnose = func(_ rawsock.Conn, v4, v6 bool) (rawsock.Facts, error) {
		*asked++
		f := w.facts
		f.Families = nil
		for _, fam := range w.facts.Families {
			if fam.V6 && v6 || !fam.V6 && v4 {
				f.Families = append(f.Families, fam)
			}
		}
		return f, nil
	}
	return out, asked
}

func TestDoctor(t *testing.T) {
	both := func(w *ward, f func(*rawsock.Family)) {
		for i := range w.facts.Families {
			f(&w.facts.Families[i])
		}
	}
	tests := []struct {
		name   string
		change func(*ward)
		from   func() *ward // nil: healthy
		status int
		// How checks must stand that are not "ok": "NAME VERDICT", then words of what was found, meant or mends it.
		want map[string][]string
	}{
		{name: "root", status: 0, want: map[string][]string{
			"ping-ipv4 unneeded": {"1 0", "raw sockets do without"}, "ping-ipv6 unneeded": nil,
		}},
		{name: "ping sockets open too", change: func(w *ward) {
			w.facts.Pingers.Last = 2147483647
			both(w, func(f *rawsock.Family) { f.Ping = nil })
		}, status: 0, want: map[string][]string{}},
		{name: "an ordinary user", from: ordinary, status: 1, want: map[string][]string{
			"raw-ipv4 missing":    {"user 1000 has no CAP_NET_RAW", "setcap cap_net_raw+p /opt/gtrace", "AmbientCapabilities=", "no probes but UDP datagrams and TCP connections;"},
			"raw-ipv6 missing":    nil,
			"cap-net-raw missing": {"bounding; not permitted"},
			"ping-ipv4 missing":   {"groups 100, 27 is in net.ipv4.ping_group_range = 1 0", "sysctl -w net.ipv4.ping_group_range='0 2147483647'", "--sysctl", "sysctls:"},
			"ping-ipv6 missing":   nil,
		}},
		{name: "an ordinary user with ping sockets of one family", from: ordinary, change: func(w *ward) { w.facts.Families[0].Ping = nil }, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"no probes but echo requests, UDP datagrams and TCP connections;", "no constant flow"},
			"raw-ipv6 missing": {"no probes but UDP datagrams and TCP connections;"}, "cap-net-raw missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "an ordinary user, in a container", from: ordinary, change: func(w *ward) { w.facts.Container = "docker" }, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"one that a container is given reaches its root alone"}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "out of the bounding set", from: ordinary, change: func(w *ward) { w.start.NetRaw.Bounding = false }, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"bounding set", "--cap-add=NET_RAW", `add: ["NET_RAW"]`, "CapabilityBoundingSet=", "setcap"}, "raw-ipv6 missing": nil,
			"cap-net-raw missing": {"in no set"}, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "no_new_privs", from: ordinary, change: func(w *ward) {
			w.start.NoNewPrivs, w.facts.Program.NetRaw.Permitted = true, true
		}, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"no_new_privs", "allowPrivilegeEscalation: true", "no-new-privileges", "NoNewPrivileges=no"}, "raw-ipv6 missing": nil,
			"no-new-privs missing": {"was set", "allowPrivilegeEscalation: true"}, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "no_new_privs, and setuid root", from: ordinary, change: func(w *ward) {
			w.start.NoNewPrivs, w.facts.Program.Setuid = true, true
		}, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"no_new_privs"}, "raw-ipv6 missing": nil,
			"no-new-privs missing": nil, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "no_new_privs that took nothing", from: ordinary, change: func(w *ward) { w.start.NoNewPrivs = true }, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"setcap"}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "nosuid", from: ordinary, change: func(w *ward) {
			w.facts.Program.NoSuid, w.facts.Program.NetRaw.Permitted = true, true
		}, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"mounted nosuid", "/usr/local/bin/gtrace"}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "file capability +ep", change: func(w *ward) {
			w.start.UID, w.start.EUID = 1000, 1000
			w.facts.Program.NetRaw = rawsock.FileCaps{Permitted: true, Effective: true}
		}, status: 1, want: map[string][]string{
			"file warning": {"cap_net_raw+ep", "does not even start", "setcap cap_net_raw+p /opt/gtrace"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "file capability +p", change: func(w *ward) {
			w.start.UID, w.start.EUID = 1000, 1000
			w.facts.Program.NetRaw = rawsock.FileCaps{Permitted: true}
		}, status: 0, want: map[string][]string{"ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil}},
		{name: "a path that a shell would take apart", from: ordinary, change: func(w *ward) { w.facts.Program.Path = "/opt/my tools/g'trace" }, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {`setcap cap_net_raw+p '/opt/my tools/g'"'"'trace'`}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "user namespace without the network", from: ordinary, change: func(w *ward) {
			w.start.NetRaw.Permitted, w.facts.UserNS = true, ptr(true)
		}, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"counts in this user namespace alone"}, "raw-ipv6 missing": nil, "user-namespace warning": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "seccomp", from: ordinary, change: func(w *ward) {
			w.start.NetRaw.Permitted, w.start.Seccomp = true, ptr(2)
		}, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"seccomp filter refuses", "--security-opt seccomp=", "RestrictAddressFamilies="}, "raw-ipv6 missing": nil, "seccomp warning": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "a security module", from: ordinary, change: func(w *ward) { w.start.NetRaw.Permitted = true }, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"security module"}, "raw-ipv6 missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "no sockets at all", from: ordinary, change: func(w *ward) {
			w.conn, w.openErr = false, fmt.Errorf("no luck: %w", rawsock.ErrPrivilege)
		}, status: 2, want: map[string][]string{
			"raw-ipv4 missing": {"setcap"}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
			"kernel-stamps unknown": nil,
		}},
		{name: "opened in part", change: func(w *ward) { w.caps.IPv6 = false }, status: 2, want: map[string][]string{
			"raw-ipv6 unknown": {"no reason"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "another trouble than privilege", from: ordinary, change: func(w *ward) { w.caps.Refused = errors.New("too many open files") }, status: 1, want: map[string][]string{
			"raw-ipv4 missing": {"too many open files"}, "raw-ipv6 missing": nil, "cap-net-raw missing": nil, "ping-ipv4 missing": nil, "ping-ipv6 missing": nil,
		}},
		{name: "no IPv6", change: func(w *ward) {
			w.caps.IPv6 = false
			w.facts.Families[1] = rawsock.Family{V6: true, Host: syscall.EAFNOSUPPORT}
		}, status: 1, want: map[string][]string{
			"raw-ipv6 missing": {"this host has no IPv6", "ipv6.disable=1"}, "ping-ipv6 unneeded": nil, "udp-ipv6 unneeded": nil, "tcp-ipv6 unneeded": nil, "ping-ipv4 unneeded": nil,
		}},
		{name: "IPv6 turned off", change: func(w *ward) {
			f := &w.facts.Families[1]
			f.UDP, f.TCP, f.Echo, f.Disabled = syscall.EADDRNOTAVAIL, syscall.EADDRNOTAVAIL, syscall.EADDRNOTAVAIL, ptr(true)
		}, status: 1, want: map[string][]string{
			"udp-ipv6 missing": {"net.ipv6.conf.all.disable_ipv6=0"}, "tcp-ipv6 missing": nil, "echo-ipv6 missing": nil, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "loopback down", change: func(w *ward) {
			both(w, func(f *rawsock.Family) {
				f.UDP, f.TCP, f.Echo = syscall.EADDRNOTAVAIL, syscall.EADDRNOTAVAIL, syscall.ENETUNREACH
			})
		}, status: 2, want: map[string][]string{
			"udp-ipv4 missing": {"ip link set lo up"}, "tcp-ipv4 missing": nil, "echo-ipv4 missing": nil, "firewall unknown": nil,
			"udp-ipv6 missing": nil, "tcp-ipv6 missing": nil, "echo-ipv6 missing": nil, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "a firewall that refuses", change: func(w *ward) {
			f := &w.facts.Families[0]
			f.UDP, f.TCP, f.Echo = fmt.Errorf("send: %w", syscall.EPERM), rawsock.ErrSilent, &rawsock.SendError{Name: "EPERM", Err: syscall.EPERM}
		}, status: 1, want: map[string][]string{
			"udp-ipv4 missing": {"nft list ruleset"}, "tcp-ipv4 missing": nil, "echo-ipv4 missing": nil,
			"firewall missing": {"EPERM", "IPv4 UDP, IPv4 ICMP echo, IPv4 TCP", "nft list ruleset"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "a firewall that says nothing", change: func(w *ward) { w.facts.Families[1].UDP = rawsock.ErrSilent }, status: 1, want: map[string][]string{
			"udp-ipv6 missing": nil, "firewall warning": {"IPv6 UDP"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "no echo replies", change: func(w *ward) {
			w.facts.Families[0].Echo, w.facts.Families[0].Ignored = rawsock.ErrSilent, ptr(true)
		}, status: 1, want: map[string][]string{
			"echo-ipv4 warning": {"sysctl -w net.ipv4.icmp_echo_ignore_all=0"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "no kernel stamps", change: func(w *ward) { both(w, func(f *rawsock.Family) { f.SentAt, f.CameAt = false, false }) }, status: 1, want: map[string][]string{
			"kernel-stamps warning": {"does not say when packets come"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "half of them", change: func(w *ward) { both(w, func(f *rawsock.Family) { f.SentAt = false }) }, status: 1, want: map[string][]string{
			"kernel-stamps warning": {"only when an answer came"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "strict reverse path", change: func(w *ward) { w.facts.RPFilter[0].Mode = 1 }, status: 1, want: map[string][]string{
			"rp-filter warning": {"strict on eth0", "sysctl -w net.ipv4.conf.all.rp_filter=2"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "strict, but one interface", change: func(w *ward) { w.facts.RPFilter = []rawsock.Device{{Name: "eth0", Mode: 1}} }, status: 0, want: map[string][]string{
			"ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "reverse path not known", change: func(w *ward) { w.facts.RPErr = errors.New("no luck") }, status: 2, want: map[string][]string{
			"rp-filter unknown": nil, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "rare ICMP errors", change: func(w *ward) { w.facts.ICMP.Rate = ptr(5000) }, status: 1, want: map[string][]string{
			"icmp-limits warning": {"5000 ms", "icmp_ratelimit=1000"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "echo replies limited", change: func(w *ward) { w.facts.ICMP.Mask = ptr(0x1819) }, status: 1, want: map[string][]string{
			"icmp-limits warning": {"echo replies", "icmp_ratemask=6168"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "few ICMP messages in all", change: func(w *ward) { w.facts.ICMP.PerSec = ptr(10) }, status: 1, want: map[string][]string{
			"icmp-limits warning": {"icmp_msgs_per_sec=1000"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "a small buffer", change: func(w *ward) { w.facts.BufferGot = 4096 }, status: 1, want: map[string][]string{
			"receive-buffer warning": {"4096 of 4194304", "room for some 10 answers", "net.core.rmem_max=4194304"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "an old kernel", change: func(w *ward) {
			w.confined = rawsock.Confinement{CallsErr: syscall.ENOSYS, FilesErr: syscall.ENOSYS}
		}, want: map[string][]string{
			"system-calls unneeded": {"function not implemented"}, "file-access unneeded": {"before Linux 5.13"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "Landlock not booted", change: func(w *ward) {
			w.confined = rawsock.Confinement{Calls: true, FilesErr: syscall.EOPNOTSUPP}
		}, want: map[string][]string{
			"system-calls ok": {"all of its 7 threads"}, "file-access unneeded": {"lsm="}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "the first Landlock", change: func(w *ward) {
			w.confined = rawsock.Confinement{Calls: true, Landlock: 1}
		}, want: map[string][]string{
			"file-access ok": {"version 1): nothing can be changed or executed"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "a thread without the filter", change: func(w *ward) { w.facts.Filtered-- }, status: 1, want: map[string][]string{
			"system-calls warning": {"6 of 7 threads"}, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
		{name: "nothing can be read", change: func(w *ward) {
			w.start.Err = errors.New("no luck")
			w.facts.Program.Err = errors.New("no luck")
			w.start.Seccomp, w.facts.UserNS, w.facts.Pingers, w.facts.ICMP, w.facts.BufferGot = nil, nil, nil, rawsock.ICMPLimits{}, 0
		}, status: 2, want: map[string][]string{
			"cap-net-raw unknown": nil, "file unknown": nil, "no-new-privs unknown": nil, "seccomp unknown": nil, "user-namespace unknown": nil,
			"icmp-limits unknown": nil, "receive-buffer unknown": nil, "ping-ipv4 unneeded": nil, "ping-ipv6 unneeded": nil,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from := tt.from
			if from == nil {
				from = healthy
			}
			w := from()
			if tt.change != nil {
				tt.change(w)
			}
			world, _ := w.env(t, "gtrace")
			if status := world.run(t.Context(), "gtrace doctor --json"); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if world.stderr.Len() > 0 {
				t.Errorf("standard error %q", &world.stderr)
			}
			line := world.out.String()
			if err := holds(t, line); err != nil {
				t.Errorf("%v\n%s", err, line)
			}
			var d doctorDoc
			if err := json.Unmarshal([]byte(line), &d); err != nil {
				t.Fatal(err)
			}
			text := d.text()
			seen := make(map[string]bool)
			for _, c := range d.Checks {
				key := c.Check + " " + c.Verdict
				if seen[c.Check] {
					t.Errorf("%s is there twice", c.Check)
				}
				seen[c.Check], seen[key] = true, true
				words, expected := tt.want[key]
				if c.Verdict != verdictOK && !expected {
					t.Errorf("%s: %+v, which was not to be found", key, c)
				}
				all := fmt.Sprint(c.Found, c.Means, c.Mend)
				for _, word := range words {
					if !strings.Contains(all, word) {
						t.Errorf("%s: no %q in %s", key, word, all)
					}
				}
				if !strings.Contains(text, c.Check) {
					t.Errorf("the text has no %s:\n%s", c.Check, text)
				}
			}
			for key := range tt.want {
				if !seen[key] {
					t.Errorf("not found: %s\n%s", key, text)
				}
			}
			// The text says the same, and every way to mend it can be copied in one piece.
			for _, c := range d.Checks {
				for _, m := range c.Mend {
					if !slices.Contains(strings.Split(text, "\n"), strings.Repeat(" ", 27)+m.Where+": "+m.Set) {
						t.Errorf("the text has no line %q:\n%s", m.Where+": "+m.Set, text)
					}
				}
			}
		})
	}
}

// TestDoctorAsked: when the word is a question, and when it is a host.
func TestDoctorAsked(t *testing.T) {
	tests := []struct {
		called string // the name
		line   string
		asked  int
		status int
		out    string // what standard output contains
		err    string // all of standard error
	}{
		{line: "gtrace doctor", asked: 1, out: "gtrace works with raw sockets here: all that it can use is there.\n"},
		{line: "gping doctor", asked: 1, out: "gping works with raw sockets here"},
		{line: "gping --json doctor", asked: 1, out: `"program":"gping"`},
		{line: "gping doctor --format=json", asked: 1, out: `"schema":"gtrace/doctor/v1"`},
		{line: "gping doctor --format text", asked: 1, out: "all that it can use is there.\n"},
		{called: "gtrace", line: "gtrace -4 doctor", asked: 1, out: "raw-ipv4"},
		{called: "gtrace-1.2", line: "gtrace -6 doctor", asked: 1, out: "raw-ipv6"},
		{line: "gtrace -4 -6 doctor", status: 2, err: "gtrace: --ipv4 and --ipv6 exclude each other\n"},
		{line: "gtrace -n doctor", status: 2, err: "gtrace: doctor: takes no --numeric, only --json, --ipv4 and --ipv6 (a host of that name: gtrace -- doctor)\n"},
		{line: "gtrace doctor --format events", status: 2, err: "gtrace: doctor: takes no --format, only --json, --ipv4 and --ipv6 (a host of that name: gtrace -- doctor)\n"},
		{line: "gtrace doctor --help", out: "Usage: gtrace "},
		{line: "gtrace -- doctor", status: 2, err: "gtrace: doctor: look up the name: no such host\n"},
		{line: "gtrace doctor.", status: 2, err: "gtrace: doctor.: look up the name: no such host\n"},
		{line: "gtrace Doctor", status: 2, err: "gtrace: Doctor: look up the name: no such host\n"},
		{line: "gtrace doctor nosuch", status: 2, err: "gtrace: doctor: look up the name: no such host\ngtrace: nosuch: look up the name: no such host\n"},
		{line: "gtrace doctor -- nosuch", status: 2, err: "gtrace: doctor: look up the name: no such host\ngtrace: nosuch: look up the name: no such host\n"},
		{called: "ping", line: "gping -c1 doctor", status: 2},
		{called: "tracepath", line: "gtrace doctor", status: 1},
	}
	for _, tt := range tests {
		t.Run(tt.called+" "+tt.line, func(t *testing.T) {
			w, asked := healthy().env(t, "")
			w.env.Name = tt.called
			status := w.run(t.Context(), tt.line)
			if status != tt.status || *asked != tt.asked {
				t.Errorf("status %d, asked %d times, want %d and %d\n%s%s", status, *asked, tt.status, tt.asked, &w.out, &w.stderr)
			}
			if !strings.Contains(w.out.String(), tt.out) {
				t.Errorf("standard output %q, want %q in it", &w.out, tt.out)
			}
			if tt.err != "" && w.stderr.String() != tt.err {
				t.Errorf("standard error %q, want %q", &w.stderr, tt.err)
			}
		})
	}
	for line, other := range map[string]string{"gtrace -4 doctor": "-ipv6", "gtrace -6 doctor": "-ipv4"} {
		w, _ := healthy().env(t, "")
		w.run(t.Context(), line)
		if strings.Contains(w.out.String(), other) {
			t.Errorf("%s looks at %s too:\n%s", line, other, &w.out)
		}
	}
}

// TestDoctorCannot: where this system's ways are not known, it says so.
func TestDoctorCannot(t *testing.T) {
	w, _ := healthy().env(t, "")
	w.env.diagnose = func(rawsock.Conn, bool, bool) (rawsock.Facts, error) {
		return rawsock.Facts{}, fmt.Errorf("no luck: %w", errors.ErrUnsupported)
	}
	if status := w.run(t.Context(), "gping doctor"); status != 2 || w.out.Len() > 0 || w.stderr.String() != "gping: doctor: no luck: unsupported operation\n" {
		t.Errorf("status %d, %q, %q", status, &w.out, &w.stderr)
	}
}

// TestDoctorSchemaRefuses breaks a good document in one place at a time.
func TestDoctorSchemaRefuses(t *testing.T) {
	w, _ := ordinary().env(t, "")
	w.run(t.Context(), "gtrace doctor --json")
	good := w.out.String()
	if err := holds(t, good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new string }{
		{"another schema", "doctor/v1", "doctor/v2"},
		{"an unknown key", `"version"`, `"colour":1,"version"`},
		{"an unknown check", `"check":"firewall"`, `"check":"weather"`},
		{"an unknown verdict", `"verdict":"ok"`, `"verdict":"fine"`},
		{"missing, and no meaning", `"means":`, `"Means":`},
		{"a meaning of what is well", `"verdict":"missing"`, `"verdict":"ok"`},
		{"all well, and something missing", `"outcome":"limited"`, `"outcome":"ok"`},
		{"unknown, and nothing is", `"outcome":"limited"`, `"outcome":"unknown"`},
		{"a capability in part", `"permitted":false,`, ``},
		{"an unknown socket", `"socket":"unprivileged"`, `"socket":"wet"`},
		{"a mend for nobody", `"where":"root",`, ``},
		{"an empty text", `"kernel":"6.1.0"`, `"kernel":""`},
	} {
		broken := strings.Replace(good, tt.old, tt.new, 1)
		if broken == good {
			t.Errorf("%s: %q is not in %s", tt.name, tt.old, good)
		} else if holds(t, broken) == nil {
			t.Errorf("%s: the schema takes it", tt.name)
		}
	}
}
