//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"gtrace/internal/lab"
)

// narrow is a path whose links carry less and less: 1500 bytes, 1400, 1280. Where it is mute the last router does not say so.
func narrow(t *testing.T, mute bool) *lab.Network {
	t.Helper()
	return narrows(t, []int{4, 6}, []step{{2, 1400, false}, {3, 1280, mute}})
}

// TestSweep finds the size at which answers stop, byte for byte, with privilege and without, whether or not a router says so. All at
// the same time, as most of it is waiting.
func TestSweep(t *testing.T) {
	type sweeping struct {
		*run
		name string
		want sweep
	}
	var runs []sweeping
	for _, mute := range []bool{false, true} {
		n := narrow(t, mute)
		for _, family := range []int{4, 6} {
			want := sweep{Header: map[int]int{4: 28, 6: 48}[family], Settled: true, Answered: 1280, Unanswered: 1281, Reason: "silence"}
			if !mute {
				want.Reason, want.From, want.MTU = "refused-by-router", n.Node("r2").Addr("r1", family), 1280
			}
			for _, uid := range []uint32{0, nobody} {
				for _, kind := range []string{"echo", "udp"} {
					r := start(t, n.Node("client"), as(uid), "gping", "-n", "--json", "--sweep", "1000-1472", "-i.02", "--kind", kind, n.Node("target").Only(family).String())
					runs = append(runs, sweeping{r, fmt.Sprintf("mute %v, IPv%d, user %d, %s", mute, family, uid, kind), want})
				}
			}
		}
	}
	for _, s := range runs {
		t.Run(s.name, func(t *testing.T) {
			r := s.end()
			d, err := readPing(r)
			if err != nil {
				t.Fatal(err)
			}
			faults := checkEnd(r, d.Outcome, "answered", 0)
			if d.Sweep == nil || *d.Sweep != s.want {
				faults = append(faults, fmt.Sprintf("%+v, want %+v", d.Sweep, s.want))
			}
			for _, q := range d.Replies {
				if fits := q.Size <= 1280; fits && q.Result == "error" || !fits && q.Result == "reply" {
					faults = append(faults, fmt.Sprintf("%d bytes: %s", q.Size, q.Result))
				}
			}
			tell(t, r, faults)
		})
	}
}

// TestSweepDevice: what this host does not send is a limit like any other, and is not tried beyond it.
func TestSweepDevice(t *testing.T) {
	programs(t)
	n := lab.Start(t, short())
	for _, uid := range []uint32{0, nobody} {
		if err := n.Node("client").Set("ipv4/ping_group_range", "0 2147483647"); err != nil {
			t.Fatal(err)
		}
		for family, want := range map[int]string{
			4: "sweep: 1472(1500) bytes are answered, 1473(1501) and more are not: this host does not send them (MTU 1500)\n",
			6: "sweep: 1452(1500) bytes are answered, 1453(1501) and more are not: this host does not send them (MTU 1500)\n",
		} {
			r := start(t, n.Node("client"), as(uid), "gping", "-n", "--sweep", "1400-9000/100", "-i.02", n.Node("target").Only(family).String()).end()
			if r.status != 0 || !strings.HasSuffix(r.stdout, want) {
				t.Errorf("user %d: %v, want %q", uid, r, want)
			}
		}
	}
}

// TestSweepPackets: requests leave whole and must stay so, unless --pmtudisc says else.
func TestSweepPackets(t *testing.T) {
	n := narrow(t, false)
	to := n.Node("target").Only(4)
	r, ps := captured(t, n.Node("client"), "r1", "gping", "-n", "--sweep", "56-1472/708", "-i.02", to.String())
	sizes := map[int]bool{}
	for _, p := range probes(ps, to) {
		sizes[len(p.Data)] = true
		if !p.df || p.mf || p.offset != 0 {
			t.Errorf("a request of %d bytes, DF %v, more to follow %v", len(p.Data), p.df, p.mf)
		}
	}
	for _, size := range []int{84, 792, 1500, 1280, 1281} {
		if !sizes[size] {
			t.Errorf("no request of %d bytes, only %v\n%v", size, sizes, r)
		}
	}
	r = do(t, n.Node("client"), "gping", "-n", "--sweep", "56-3000/1000", "-i.02", "-Mdont", to.String())
	if want := "\nsweep, fragments allowed: all sizes from 56(84) to 3000(3028) bytes are answered\n"; r.status != 0 || !strings.HasSuffix(r.stdout, want) {
		t.Errorf("%v, want %q", r, want)
	}
}

// TestSweepInterrupted: what is known is told, complete and well formed, and that it is not all.
func TestSweepInterrupted(t *testing.T) {
	n := narrow(t, false)
	run := start(t, n.Node("client"), nil, "gping", "-n", "--sweep", "56-1400/1", n.Node("target").Only(4).String())
	for range 4 {
		run.line()
	}
	run.signal(syscall.SIGINT)
	r := run.end()
	if r.status != 2 || !strings.Contains(r.stdout, "\nsweep: cut short: ") {
		t.Errorf("%v, want status 2 and what is known", r)
	}
}

// TestSweepHosts: each host has a result of its own.
func TestSweepHosts(t *testing.T) {
	n := narrow(t, false)
	near, far := n.Node("r1").Addr("client", 4), n.Node("target").Only(4)
	r := do(t, n.Node("client"), "gping", "-n", "--json", "--no-replies", "--sweep", "56-1472", "-i.02", near.String(), far.String())
	got := map[netip.Addr]sweep{}
	for line := range strings.Lines(r.stdout) {
		var d pingDoc
		if err := decode(line, &d); err != nil || d.Sweep == nil {
			t.Fatalf("%v: %v", err, r)
		}
		got[d.Destination] = *d.Sweep
	}
	if r.status != 0 || got[near].Answered != 1500 || got[near].Unanswered != 0 || got[far].Unanswered != 1281 {
		t.Errorf("%+v: %v", got, r)
	}
}

// TestSweepLimited: a host that says only so often that nobody listens, as the kernel has it by default, answers all sizes, though the interval is half
// of that: a second for IPv4, a 16th of one for IPv6 where the way back is by the default route.
func TestSweepLimited(t *testing.T) {
	programs(t)
	p := short()
	p.Sysctls = append(p.Sysctls, lab.Sysctl{On: "target", Key: "ipv4/icmp_ratemask", Value: "6168"}, lab.Sysctl{On: "target", Key: "ipv6/icmp/ratemask", Value: "0-1,3-127"})
	n := lab.Start(t, p)
	runs := map[int]*run{}
	for _, family := range []int{4, 6} {
		runs[family] = start(t, n.Node("client"), nil, "gping", "-n", "--json", "--sweep", "56-1400/64", map[int]string{4: "-i.5", 6: "-i.031"}[family], "--kind=udp", n.Node("target").Only(family).String())
	}
	for family, run := range runs {
		r := run.end()
		d, err := readPing(r)
		if err != nil {
			t.Fatal(err)
		}
		want := sweep{Header: map[int]int{4: 28, 6: 48}[family], Settled: true}
		want.Answered = want.Header + 1400
		faults := checkEnd(r, d.Outcome, "answered", 0)
		if d.Sweep == nil || *d.Sweep != want {
			faults = append(faults, fmt.Sprintf("IPv%d: %+v, want %+v", family, d.Sweep, want))
		}
		lost := 0
		for _, q := range d.Replies {
			if q.Result == "timeout" {
				lost++
			}
		}
		t.Logf("IPv%d: %d of %d lost", family, lost, len(d.Replies))
		if lost == 0 {
			t.Errorf("IPv%d: none is lost, want it limited", family)
		}
		tell(t, r, faults)
	}
}
