package rawsock

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestFileCaps(t *testing.T) {
	const netRaw, netAdmin = 1 << unix.CAP_NET_RAW, 1 << unix.CAP_NET_ADMIN
	data := func(magic, permitted, inheritable uint32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, magic)
		b = binary.LittleEndian.AppendUint32(b, permitted)
		b = binary.LittleEndian.AppendUint32(b, inheritable)
		return append(b, make([]byte, 8)...)
	}
	tests := []struct {
		name string
		in   []byte
		want string
		err  error
	}{
		{name: "permitted", in: data(0x02000000, netRaw, 0), want: "+p"},
		{name: "permitted and effective", in: data(0x02000001, netRaw, 0), want: "+ep"},
		{name: "inheritable", in: data(0x02000000, 0, netRaw), want: "+i"},
		{name: "all", in: data(0x02000001, netRaw, netRaw), want: "+eip"},
		{name: "with a namespace's root", in: append(data(0x03000000, netRaw, 0), 0xe8, 3, 0, 0), want: "+p"},
		{name: "another capability", in: data(0x02000001, netAdmin, 0), want: ""},
		{name: "both", in: data(0x02000001, netAdmin|netRaw, 0), want: "+ep"},
		{name: "cut short", in: data(0x02000000, netRaw, 0)[:11], err: errAny},
		{name: "empty", err: errAny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fileCaps(tt.in)
			if (err != nil) != (tt.err != nil) {
				t.Fatalf("error %v, want one: %t", err, tt.err != nil)
			}
			if got.String() != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestGroupRange(t *testing.T) {
	for _, tt := range []struct {
		r      GroupRange
		groups []int
		want   bool
	}{
		{GroupRange{1, 0}, []int{0, 1}, false}, // the kernel's default: empty
		{GroupRange{0, 2147483647}, []int{1000}, true},
		{GroupRange{100, 200}, []int{99, 201}, false},
		{GroupRange{100, 200}, []int{99, 100}, true},
		{GroupRange{100, 200}, []int{200}, true},
		{GroupRange{0, 1}, nil, false},
	} {
		if got := tt.r.Has(tt.groups); got != tt.want {
			t.Errorf("%v has one of %v: %t, want %t", tt.r, tt.groups, got, tt.want)
		}
	}
}

func TestStatusInt(t *testing.T) {
	status := []byte("Name:\tSeccomp:\nSeccomp:\t2\nSeccomp_filters:\t3\nOdd:\tx\n")
	if got := statusInt(status, "Seccomp"); got == nil || *got != 2 {
		t.Errorf("Seccomp %v, want 2", got)
	}
	for _, key := range []string{"Odd", "Missing"} {
		if got := statusInt(status, key); got != nil {
			t.Errorf("%s %d, want nothing", key, *got)
		}
	}
}

// TestSnapshot holds the snapshot of this test to what the kernel says in another way.
func TestSnapshot(t *testing.T) {
	p := Snapshot()
	if p.Err != nil {
		t.Fatal(p.Err)
	}
	if p.UID != os.Getuid() || p.EGID != os.Getegid() {
		t.Errorf("ids %+v, want user %d and effective group %d", p, os.Getuid(), os.Getegid())
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []struct {
		key string
		got bool
	}{
		{"CapPrm", p.NetRaw.Permitted}, {"CapEff", p.NetRaw.Effective}, {"CapInh", p.NetRaw.Inheritable},
		{"CapBnd", p.NetRaw.Bounding}, {"CapAmb", p.NetRaw.Ambient},
	} {
		v, ok := statusField(status, set.key)
		if !ok {
			continue
		}
		// CAP_NET_RAW is bit 13: bit 1 of the fourth digit from the right.
		digit := strings.IndexByte("0123456789abcdef", v[len(v)-4])
		if want := digit&2 != 0; set.got != want {
			t.Errorf("%s has CAP_NET_RAW: %t, want %t (%s)", set.key, set.got, want, v)
		}
	}
	if v, _ := statusField(status, "Seccomp"); p.Seccomp == nil || strconv.Itoa(*p.Seccomp) != v {
		t.Errorf("seccomp %v, /proc says %s", p.Seccomp, v)
	}
	if v, _ := statusField(status, "NoNewPrivs"); p.NoNewPrivs != (v == "1") {
		t.Errorf("no_new_privs %t, /proc says %s", p.NoNewPrivs, v)
	}
}

// TestDiagnose is in a network of its own, where the test says what is open.
func TestDiagnose(t *testing.T) {
	newPair(t)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	write := func(path, value string) {
		t.Helper()
		if err := os.WriteFile(sysctls+path, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Options{{}, {Unprivileged: true}} {
		c, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		t.Run(c.Caps().Socket, func(t *testing.T) {
			newPair(t)
			for _, open := range []string{"1 0", "0 4294967294"} {
				write("ipv4/ping_group_range", open)
				f, err := Diagnose(c, true, true)
				if err != nil {
					t.Fatal(err)
				}
				if len(f.Families) != 2 || f.Families[0].V6 || !f.Families[1].V6 {
					t.Fatalf("families %+v, want IPv4 and IPv6", f.Families)
				}
				for _, fam := range f.Families {
					if fam.Host != nil || fam.UDP != nil || fam.TCP != nil || fam.Echo != nil {
						t.Errorf("range %q: %+v, want that all else works", open, fam)
					}
					if closed := open == "1 0"; closed != errors.Is(fam.Ping, unix.EACCES) || !closed && fam.Ping != nil {
						t.Errorf("range %q: ping socket: %v", open, fam.Ping)
					}
					if want := !o.Unprivileged || open != "1 0"; fam.Echoed != want {
						t.Errorf("range %q: an echo was tried: %t, want %t", open, fam.Echoed, want)
					}
					if fam.Echoed && (!fam.SentAt || !fam.CameAt) {
						t.Errorf("range %q: %+v, want kernel stamps both ways", open, fam)
					}
				}
				if f.BufferGot <= 0 || f.BufferGot > f.BufferWant {
					t.Errorf("receive buffer %d of %d", f.BufferGot, f.BufferWant)
				}
				if f.Program.Err != nil || f.Program.Path == "" || f.Kernel == "" || f.Threads == 0 || f.UserNS == nil {
					t.Errorf("%+v, want the program, the kernel, the threads and the user namespace known", f)
				}
			}
		})
	}

	write("ipv4/conf/near/rp_filter", "1")
	defer write("ipv4/conf/near/rp_filter", "0")
	for _, tt := range []struct {
		all  string
		want int
	}{{"0", 1}, {"2", 2}} {
		write("ipv4/conf/all/rp_filter", tt.all)
		if ds, err := rpFilters(); err != nil || len(ds) != 1 || ds[0] != (Device{"near", tt.want}) {
			t.Errorf("all=%s, near=1: %v, %v; want near %d", tt.all, ds, err, tt.want)
		}
	}
	write("ipv4/conf/all/rp_filter", "0")
	write("ipv4/icmp_ratelimit", "500")
	if l := icmpLimits(); l.Rate == nil || *l.Rate != 500 || l.Mask == nil || l.Rate6 == nil {
		t.Errorf("limits %+v, want 500 ms and the others known", l)
	}
	write("ipv4/icmp_echo_ignore_all", "1")
	defer write("ipv4/icmp_echo_ignore_all", "0")
	c, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := Diagnose(c, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Families) != 1 || !errors.Is(f.Families[0].Echo, ErrSilent) || f.Families[0].Ignored == nil || !*f.Families[0].Ignored {
		t.Errorf("with icmp_echo_ignore_all: %+v, want silence and that it is known why", f.Families)
	}
}
