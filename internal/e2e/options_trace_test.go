//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gtrace/internal/lab"
)

// traceOptionChecks looks at every option of traceroute(8) as gtrace has it: at the packets that leave, or at what it
// does to the run. The keys are those of docs/compatibility.md.
var traceOptionChecks = map[string]func(t *testing.T){
	"-4": checkFamily(4, "-4"), "-6": checkFamily(6, "-6"),
	"-I": checkICMP,
	"-T": checkTCP, "-U": checkUDP, "-UL": checkUDPLite, "-D": checkDCCP, "-P": checkRaw,
	"-M": checkModule, "-O": checkModuleOptions,
	"-p": checkPort, "--sport": checkSourcePort,
	"-F": checkFragment, "-f": checkFirst, "-m": checkMaxHops, "-q": checkQueries, "-N": checkSimQueries,
	"-w": checkWait, "-z": checkSendWait,
	"-t": checkTOS, "-l": checkLabel, "-s": checkSource, "-i": checkDevice, "-r": checkDirect, "-g": checkGateway,
	"-d": checkDebug, "--fwmark": checkMark,
	"-n": checkNumeric, "-e": checkExtensions, "-A": checkOrigins, "--back": checkBack,
	"--mtu": checkMTU, "-V": checkVersion, "--help": checkHelp, "packet_len": checkLength,
}

// optionNet is a line of two routers that narrows, whose routers take source routes: client, 1500 bytes, r1, 1400, r2,
// 1280, target.
var optionNet struct {
	sync.Once
	n   *lab.Network
	err error
}

// public is an address of the target's that is not one of those nobody announces.
const public = "8.8.8.8"

func optionNetwork(t *testing.T) *lab.Network {
	t.Helper()
	programs(t)
	optionNet.Do(func() {
		p := short()
		p.Links[1].MTU, p.Links[2].MTU = 1400, 1280
		p.Announces = []lab.Announce{{At: "target", Prefix: public + "/32"}}
		if optionNet.n, optionNet.err = lab.Build(p); optionNet.err != nil {
			return
		}
		shared = append(shared, optionNet.n)
		errs := []error{optionNet.n.Node("target").AddAddr("r2", netip.MustParsePrefix(public+"/32"))}
		for node, devices := range map[string][]string{"client": {"r1"}, "r1": {"client", "r2"}, "r2": {"r1", "target"}, "target": {"r2"}} {
			for _, d := range append(devices, "all") {
				errs = append(errs, optionNet.n.Node(node).Set("ipv4/conf/"+d+"/accept_source_route", "1"),
					optionNet.n.Node(node).Set("ipv6/conf/"+d+"/seg6_enabled", "1"))
			}
		}
		optionNet.err = errors.Join(errs...)
	})
	if optionNet.err != nil {
		t.Fatal(optionNet.err)
	}
	return optionNet.n
}

// options runs gtrace -n in that network, to its target of that family, and returns the probes.
func options(t *testing.T, family int, args ...string) (result, []packet) {
	t.Helper()
	n := optionNetwork(t)
	target := n.Node("target").Only(family)
	r, ps := captured(t, n.Node("client"), "r1", slices.Concat([]string{"gtrace", "-n"}, args, []string{target.String()})...)
	return r, probes(ps, target)
}

// arrives is options for a run that must reach the target by both routers, in three hops.
func arrives(t *testing.T, args ...string) []packet {
	t.Helper()
	r, ps := options(t, 4, args...)
	if r.status != 0 || !strings.Contains(r.stdout, "\n 3  203.0.113.2  ") || r.stderr != "" {
		t.Errorf("not reached at TTL 3: %v", r)
	}
	if len(ps) == 0 {
		t.Errorf("no probe left: %v", r)
	}
	return ps
}

// each checks what every probe must have.
func each[T comparable](t *testing.T, ps []packet, what string, of func(packet) T, want T) {
	t.Helper()
	for i, p := range ps {
		if got := of(p); got != want {
			t.Errorf("probe %d: %s %v, want %v", i+1, what, got, want)
		}
	}
}

// list is what the probes have, in the order they left.
func list[T any](ps []packet, of func(packet) T) string {
	var all []T
	for _, p := range ps {
		all = append(all, of(p))
	}
	return fmt.Sprint(all)
}

func proto(p packet) int      { return p.proto }
func dstPort(p packet) uint16 { return p.dstPort }
func srcPort(p packet) uint16 { return p.srcPort }
func length(p packet) int     { return len(p.Data) }
func ttl(p packet) int        { return p.ttl }

// ports reads the ports of protocols that the parser does not know.
func ports(p packet) [2]uint16 {
	return [2]uint16{binary.BigEndian.Uint16(p.transport), binary.BigEndian.Uint16(p.transport[2:])}
}

func checkFamily(family int, option string) func(*testing.T) {
	return func(t *testing.T) {
		r, ps := options(t, family, option, "-q1")
		if r.status != 0 || len(ps) == 0 {
			t.Error(r)
		}
		other := optionNetwork(t).Node("target").Only(10 - family).String()
		if r := do(t, optionNetwork(t).Node("client"), "gtrace", option, other); r.status != 2 || !strings.Contains(r.stderr, fmt.Sprintf("is no IPv%d address", family)) {
			t.Error(r)
		}
	}
}

func checkICMP(t *testing.T) {
	ps := arrives(t, "-I", "-q1", "-N1")
	each(t, ps, "ICMP type", func(p packet) int { return p.icmpType }, 8)
	if got := list(ps, func(p packet) uint16 { return p.echoSeq }); got != "[1 2 3]" {
		t.Errorf("sequence numbers %s", got)
	}
}

func checkTCP(t *testing.T) {
	ps := arrives(t, "-T", "-q1")
	each(t, ps, "flags", func(p packet) string { return p.flags }, "S")
	each(t, ps, "port", dstPort, 80)
}

func checkUDP(t *testing.T) {
	each(t, arrives(t, "-U", "-q1"), "port", dstPort, 53)
	each(t, arrives(t, "-U", "-q1", "-p", "99"), "port", dstPort, 99)
}

func checkUDPLite(t *testing.T) {
	ps := arrives(t, "-UL", "-q1")
	each(t, ps, "protocol", proto, 136)
	for _, p := range ps {
		if got := ports(p)[1]; got != 53 {
			t.Errorf("port %d, want 53", got)
		}
	}
	r := do(t, optionNetwork(t).Node("client"), "gtrace", "-L", "203.0.113.2")
	if r.status != 2 {
		t.Error(r)
	}
}

func checkDCCP(t *testing.T) {
	r, ps := options(t, 4, "-D", "-q1", "-m3", "-w1")
	each(t, ps, "protocol", proto, 33)
	for _, p := range ps {
		if got := ports(p)[1]; got != 33434 || p.transport[8]>>1&0xf != 0 {
			t.Errorf("port %d, type %d: want a Request to 33434", got, p.transport[8]>>1&0xf)
		}
	}
	if len(ps) == 0 || !strings.Contains(r.stdout, " 2  198.51.100.6  ") {
		t.Error(r)
	}
}

func checkRaw(t *testing.T) {
	// The kernel of the target knows no such protocol and says so.
	r, ps := options(t, 4, "-P", "253", "-q1")
	each(t, ps, "protocol", proto, 253)
	if r.status != 0 || !strings.Contains(r.stdout, " 3  203.0.113.2  ") || !strings.Contains(r.stdout, " !P\n") {
		t.Error(r)
	}
	_, ps = options(t, 4, "-P", "ospf", "-q1", "-m1")
	each(t, ps, "protocol", proto, 89)
}

func checkModule(t *testing.T) {
	for name, want := range map[string]int{"default": 17, "icmp": 1, "tcp": 6, "udp": 17, "tcpconn": 6, "udplite": 136, "dccp": 33, "raw": 253} {
		_, ps := options(t, 4, "-M", name, "-q1", "-m2", "-w1")
		each(t, ps, "-M "+name+": protocol", proto, want)
		if len(ps) == 0 {
			t.Errorf("-M %s: nothing left", name)
		}
	}
	// tcpconn connects: the kernel makes the SYN, and a port that is open has a connection for a moment.
	each(t, arrives(t, "-M", "tcpconn", "-q1"), "flags", func(p packet) string { return p.flags }, "S")
}

// tcpKinds are the kinds of the TCP options of a segment, without padding.
func tcpKinds(p packet) string {
	var kinds []byte
	for b := p.transport[20 : 4*(p.transport[12]>>4)]; len(b) > 0 && b[0] != 0; {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		kinds = append(kinds, b[0])
		b = b[min(len(b), max(2, int(b[1]))):]
	}
	slices.Sort(kinds)
	return fmt.Sprint(kinds)
}

func checkModuleOptions(t *testing.T) {
	const mss, scale, sack, stamps = 2, 3, 4, 8
	for _, tt := range []struct {
		options string
		flags   byte
		kinds   []byte
	}{
		{"syn", 0x02, []byte{mss}},
		{"syn,sysctl", 0x02, []byte{mss, scale, sack, stamps}},
		{"ack", 0x10, nil},
		{"syn,ack", 0x12, []byte{mss}},
		{"fin,psh,urg", 0x29, nil},
		{"rst", 0x04, nil},
		{"ecn", 0xc2, []byte{mss}},
		{"ece,cwr", 0xc0, nil},
		{"sack", 0x02, []byte{mss, sack}},
		{"timestamps", 0x02, []byte{mss, stamps}},
		{"window_scaling", 0x02, []byte{mss, scale}},
		{"flags=0x3f", 0x3f, []byte{mss}},
	} {
		n := optionNetwork(t)
		target := n.Node("target").Only(4)
		_, all := captured(t, n.Node("client"), "r1", "gtrace", "-n", "-T", "-O", tt.options, "-q1", "-m2", "-w1", target.String())
		var ps []packet
		for _, p := range all {
			if p.Out && p.dst == target && p.ttl <= 2 { // the kernel's own resets have 64
				ps = append(ps, p)
			}
		}
		if len(ps) == 0 {
			t.Errorf("%s: nothing left", tt.options)
		}
		each(t, ps, tt.options+": flags", func(p packet) byte { return p.transport[13] }, tt.flags)
		each(t, ps, tt.options+": options", tcpKinds, fmt.Sprint(tt.kinds))
	}
	each(t, arrives(t, "-T", "-O", "mss=900", "-q1"), "MSS", func(p packet) uint16 { return binary.BigEndian.Uint16(p.transport[22:]) }, 900)
	if r, _ := options(t, 4, "-T", "-O", "info", "-q1"); !strings.Contains(r.stdout, " 3  203.0.113.2 <rst,ack>  ") {
		t.Error(r)
	}
	each(t, arrives(t, "-UL", "-O", "coverage=20", "-q1"), "coverage", func(p packet) uint16 { return binary.BigEndian.Uint16(p.transport[4:]) }, 20)
	_, ps := options(t, 4, "-D", "-O", "service=7", "-q1", "-m2", "-w1")
	each(t, ps, "service", func(p packet) uint32 { return binary.BigEndian.Uint32(p.transport[16:]) }, 7)
	_, ps = options(t, 4, "-M", "raw", "-O", "protocol=99", "-q1", "-m2")
	each(t, ps, "protocol", proto, 99)
	if r, ps := options(t, 4, "-I", "-O", "raw", "-q1", "--json"); r.status != 0 || !strings.Contains(r.stdout, `"socket":"raw"`) || len(ps) == 0 {
		t.Error(r)
	}
	n := optionNetwork(t).Node("client")
	if err := n.Set("ipv4/ping_group_range", "0 2147483647"); err != nil {
		t.Fatal(err)
	}
	if r, ps := options(t, 4, "-I", "-O", "dgram", "-q1", "--json"); r.status != 0 || !strings.Contains(r.stdout, `"socket":"unprivileged"`) || len(ps) == 0 {
		t.Error(r)
	}
	for _, args := range [][]string{{"-T", "-O", "reuse"}, {"-T", "-O", "fastopen"}, {"-O", "nope"}, {"-UL", "-O", "coverage=8"}} {
		if r, ps := options(t, 4, args...); r.status != 2 || len(ps) > 0 || !strings.Contains(r.stderr, "--options ") {
			t.Error(r)
		}
	}
	if r := do(t, n, "gtrace", "-T", "-O", "help"); r.status != 0 || !strings.Contains(r.stdout, "window_scaling") {
		t.Error(r)
	}
}

func checkPort(t *testing.T) {
	each(t, arrives(t, "-p", "5000"), "port", dstPort, 5000)
	if got := list(arrives(t, "--flow=classic", "-p", "5000", "-q1", "-N1"), dstPort); got != "[5000 5001 5002]" {
		t.Errorf("ports %s", got)
	}
	if got := list(arrives(t, "-I", "-p", "50", "-q1", "-N1"), func(p packet) uint16 { return p.echoSeq }); got != "[50 51 52]" {
		t.Errorf("sequence numbers %s", got)
	}
	each(t, arrives(t, "-T", "-p", "443", "-q1"), "port", dstPort, 443)
}

func checkSourcePort(t *testing.T) {
	each(t, arrives(t, "--sport", "5555", "-q1"), "source port", srcPort, 5555)
	each(t, arrives(t, "-T", "--sport", "5556", "-q1"), "source port", srcPort, 5556)
}

func checkFragment(t *testing.T) {
	df := func(p packet) bool { return p.df }
	each(t, arrives(t, "-F", "-q1"), "DF", df, true)
	each(t, arrives(t, "-q1"), "DF", df, false)
	// More than the device takes leaves in fragments, or with -F not at all.
	_, ps := options(t, 4, "-q1", "-m1", "--size", "2000")
	if len(ps) != 2 || !ps[0].mf {
		t.Errorf("%d packets for a probe of 2000 bytes, want 2 fragments", len(ps))
	}
	if r, ps := options(t, 4, "-F", "-q1", "-m1", "--size", "2000"); len(ps) != 0 || r.status != 2 || !strings.Contains(r.stderr, "message too long") {
		t.Error(r)
	}
}

func checkFirst(t *testing.T) {
	if got := list(arrives(t, "-f", "3", "-q1", "-N1"), ttl); got != "[3]" {
		t.Errorf("TTLs %s", got)
	}
}

func checkMaxHops(t *testing.T) {
	r, ps := options(t, 4, "-m", "2", "-q1", "-N1")
	if got := list(ps, ttl); r.status != 1 || got != "[1 2]" {
		t.Errorf("TTLs %s: %v", got, r)
	}
}

func checkQueries(t *testing.T) {
	if got := list(arrives(t, "-q", "2", "-N1"), ttl); got != "[1 1 2 2 3 3]" {
		t.Errorf("TTLs %s", got)
	}
}

// checkSimQueries: with one in flight nothing leaves before what left before it is answered.
func checkSimQueries(t *testing.T) {
	for _, n := range []string{"1", "16"} {
		r, _ := options(t, 4, "-N", n, "--format=events")
		open, most := 0, 0
		for line := range strings.Lines(r.stdout) {
			switch {
			case strings.HasPrefix(line, `{"event":"sent"`):
				open++
			case strings.HasPrefix(line, `{"event":"probed"`):
				open--
			}
			most = max(most, open)
		}
		if n == "1" && most != 1 || n == "16" && most < 2 {
			t.Errorf("-N%s: %d in flight at once: %v", n, most, r)
		}
	}
}

// checkWait: a silent hop costs the time that was asked for; the document says the probes were given up.
func checkWait(t *testing.T) {
	s := standard(t)
	silent := s.Special(lab.SilentAt, 4).String()
	spent := func(wait string) time.Duration {
		d, _ := trace(t, s.Client, "-q1", "-N1", "-f8", "-m9", "-w", wait, silent)
		return time.Duration(*d.Duration * float64(time.Millisecond))
	}
	// The run takes no less than the waits, of two probes that nobody answers.
	if d := spent("0.6"); d < 1200*time.Millisecond {
		t.Errorf("%v for two waits of 0.6 s", d)
	}
}

func checkSendWait(t *testing.T) {
	for _, z := range []string{"0.3", "300"} {
		ps := arrives(t, "-z", z, "-q1")
		for i := range ps[1:] {
			// A packet may leave some time after it was asked to; without the option they leave at once.
			if d := ps[i+1].At.Sub(ps[i].At); d < 100*time.Millisecond {
				t.Errorf("-z %s: %v between two probes", z, d)
			}
		}
	}
}

func checkTOS(t *testing.T) {
	each(t, arrives(t, "-t", "0xb8", "-q1"), "TOS", func(p packet) int { return p.tos }, 0xb8)
	_, ps := options(t, 6, "-t", "16", "-q1")
	each(t, ps, "traffic class", func(p packet) int { return p.tos }, 16)
}

func checkLabel(t *testing.T) {
	r, ps := options(t, 6, "-l", "0x12345", "-q1")
	each(t, ps, "label", func(p packet) uint32 { return p.label }, 0x12345)
	if r.status != 0 || len(ps) == 0 {
		t.Error(r)
	}
}

func checkSource(t *testing.T) {
	n := optionNetwork(t)
	another := netip.MustParseAddr("198.51.100.77")
	if err := n.Node("client").AddAddr("r1", netip.PrefixFrom(another, 32)); err != nil {
		t.Fatal(err)
	}
	defer n.Node("client").RemoveAddr("r1", another)
	_, ps := options(t, 4, "-s", another.String(), "-q1", "-m1", "-w0.1")
	each(t, ps, "source", func(p packet) netip.Addr { return p.src }, another)
	if len(ps) == 0 {
		t.Error("nothing left")
	}
	if r, ps := options(t, 4, "-s", "192.0.2.77"); r.status != 2 || len(ps) > 0 || !strings.Contains(r.stderr, "not an address of this host") {
		t.Error(r)
	}
}

func checkDevice(t *testing.T) {
	arrives(t, "-i", "r1", "-q1")
	if r, ps := options(t, 4, "-i", "lo", "-q1", "-m1", "-w0.1"); len(ps) > 0 {
		t.Errorf("%d probes left by another interface: %v", len(ps), r)
	}
	if r, ps := options(t, 4, "-i", "nosuch0"); r.status != 2 || len(ps) > 0 || !strings.Contains(r.stderr, "no such") {
		t.Error(r)
	}
}

func checkDirect(t *testing.T) {
	if r, ps := options(t, 4, "-r", "-q1"); r.status != 2 || len(ps) > 0 || !strings.Contains(r.stderr, "network is unreachable") {
		t.Error(r)
	}
	n := optionNetwork(t)
	if r := do(t, n.Node("client"), "gtrace", "-rn", "-q1", n.Node("r1").Addr("client", 4).String()); r.status != 0 {
		t.Error(r)
	}
}

// checkGateway: the header goes to the gateway first, and the routers on the way still tell the hops.
func checkGateway(t *testing.T) {
	n := optionNetwork(t)
	for _, family := range []int{4, 6} {
		r2, target := n.Node("r2").Addr("r1", family), n.Node("target").Only(family)
		gate := r2.String()
		if family == 6 {
			gate = "4," + gate
		}
		c, err := n.Node("client").Capture("r1", 1000)
		if err != nil {
			t.Fatal(err)
		}
		r := do(t, n.Node("client"), "gtrace", "-n", "-q1", "-g", gate, target.String())
		raw, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for _, p := range raw {
			at, route := 16, []byte{1, 0x83, 7, 4}
			if family == 6 {
				at, route = 24, []byte{17, 4, 4, 1, 1, 0, 0, 0}
			}
			if !p.Out || p.Data[0]>>4 != byte(family) || len(p.Data) < 60 {
				continue
			}
			header := at + len(r2.AsSlice())
			if !bytes.Equal(p.Data[at:header], r2.AsSlice()) {
				continue // a neighbour solicitation
			}
			sent++
			if got := p.Data[header:]; !bytes.HasPrefix(got, append(route, target.AsSlice()...)) {
				t.Errorf("IPv%d: a route of % x", family, got[:24])
			}
		}
		if sent == 0 || r.status != 0 || strings.Count(r.stdout, "\n") != 4 || strings.Contains(r.stdout, "*") {
			t.Errorf("IPv%d: %d probes by way of %v: %v", family, sent, r2, r)
		}
	}
	if r, ps := options(t, 4, "-g", "2001:db8::1"); r.status != 2 || len(ps) > 0 || !strings.Contains(r.stderr, "is not of the family") {
		t.Error(r)
	}
	// What routers and hosts of today do with the others is to refuse them, and that is told.
	r := do(t, n.Node("client"), "gtrace", "-n", "-q1", "-g", n.Node("r2").Addr("r1", 6).String(), n.Node("target").Only(6).String())
	if r.status != 1 || !strings.Contains(r.stdout, " !<4-0>") {
		t.Error(r)
	}
}

// checkDebug: the kernel lets nobody who has given up CAP_NET_ADMIN, as this program has by then.
func checkDebug(t *testing.T) {
	if r, ps := options(t, 4, "-d"); r.status != 2 || len(ps) > 0 || !strings.Contains(r.stderr, "SO_DEBUG") || !strings.Contains(r.stderr, "CAP_NET_ADMIN") {
		t.Error(r)
	}
}

// checkMark: a rule of the client's sends what is marked nowhere.
func checkMark(t *testing.T) {
	client := optionNetwork(t).Node("client")
	rule := func(do string) {
		t.Helper()
		if r := start(t, client, nil, "/sbin/ip", "rule", do, "fwmark", "0x7", "unreachable").end(); r.status != 0 {
			t.Fatal(r)
		}
	}
	rule("add")
	defer rule("del")
	arrives(t, "--fwmark", "8", "-q1")
	if r, ps := options(t, 4, "--fwmark", "7", "-q1"); r.status != 2 || len(ps) > 0 {
		t.Errorf("%d probes left with the mark: %v", len(ps), r)
	}
	if r := start(t, client, as(nobody), "gtrace", "--fwmark", "8", "203.0.113.2").end(); r.status != 2 || !strings.Contains(r.stderr, "only root may mark packets") {
		t.Error(r)
	}
}

// TestMarkedWay: marked packets leave from the address that fits the way of their mark, where others have another way and where they have none.
func TestMarkedWay(t *testing.T) {
	programs(t)
	n := lab.Start(t, lab.Plan{Links: []lab.Link{
		{A: "client", B: "r1", V4: "198.51.100.0/30", V6: "2001:db8:0:1::/64"},
		{A: "client", B: "r2", V4: "198.51.100.4/30", V6: "2001:db8:0:2::/64"},
	}})
	client := n.Node("client")
	ip := func(args ...string) {
		t.Helper()
		if r := start(t, client, nil, append([]string{"/sbin/ip"}, args...)...).end(); r.status != 0 {
			t.Fatal(r)
		}
	}
	for _, only := range []bool{false, true} {
		for _, family := range []int{4, 6} {
			f := fmt.Sprintf("-%d", family)
			target := map[int]netip.Addr{4: netip.MustParseAddr("192.0.2.9"), 6: netip.MustParseAddr("2001:db8:99::9")}[family]
			if only {
				ip(f, "route", "del", target.String())
			} else {
				ip(f, "rule", "add", "fwmark", "7", "table", "107")
				ip(f, "route", "add", target.String(), "via", n.Node("r1").Addr("client", family).String())
				ip(f, "route", "add", target.String(), "via", n.Node("r2").Addr("client", family).String(), "table", "107")
			}
			for _, args := range []string{
				"gtrace -n -q1 -m1 -w.1 --fwmark 7", "gtrace -n -q1 -m1 -w.1 --fwmark 7 -i r2", "gtrace -n -q1 -m1 -w.1 --fwmark 7 -I",
				"gping -n -c1 -W.1 -m 7", "gping -n -c1 -W.1 -m 7 -I r2", "gping -n -c1 -W.1 -m 7 -M do", "gping -n -c1 -W.1 -m 7 --kind tcp --port 80",
			} {
				r, ps := captured(t, client, "r2", append(strings.Fields(args), target.String())...)
				ps = probes(ps, target)
				if len(ps) == 0 || r.stderr != "" {
					t.Errorf("%d packets by the way of the mark: %v", len(ps), r)
				}
				each(t, ps, "source", func(p packet) netip.Addr { return p.src }, client.Addr("r2", family))
			}
		}
	}
}

// namedNetwork is a network of its own with a name server at the target.
func namedNetwork(t *testing.T) (*lab.Network, *nameServer) {
	t.Helper()
	programs(t)
	n := lab.Start(t, short())
	s := &nameServer{names: map[string]string{arpa(shortPath(n, 4)[0]): "gate.example."}}
	if err := n.Node("target").ServeUDP(53, s.answer); err != nil {
		t.Fatal(err)
	}
	return n, s
}

func checkNumeric(t *testing.T) {
	n, s := namedNetwork(t)
	target := n.Node("target").Only(4)
	link(t, "traceroute")
	for _, line := range []string{"traceroute -q1", "traceroute -n -q1"} {
		before := s.asked.Load()
		r := start(t, n.Node("client"), asking(t, target), append(strings.Fields(line), target.String())...).end()
		numeric := strings.Contains(line, "-n")
		if strings.Contains(r.stdout, " 1  gate.example (198.51.100.2)  ") == numeric || (s.asked.Load() == before) != numeric || r.status != 0 {
			t.Errorf("%d questions: %v", s.asked.Load()-before, r)
		}
	}
}

// link gives gtrace another name.
func link(t *testing.T, name string) {
	t.Helper()
	programs(t)
	if err := os.Symlink("gtrace", filepath.Join(bin, name)); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
}

// checkExtensions: the kernel's routers send none, so the test itself answers in r1's name what r1 drops, with an MPLS
// label (RFC 4884, RFC 4950).
func checkExtensions(t *testing.T) {
	programs(t)
	p := short()
	p.Announces = []lab.Announce{{At: "r1", Prefix: "192.0.2.0/24"}}
	p.Routes = []lab.Route{{On: "r1", Dst: "192.0.2.0/24", Kind: lab.Blackhole}}
	n := lab.Start(t, p)
	r1 := n.Node("r1")
	var answers net.PacketConn
	err := r1.Do(func() (err error) {
		answers, err = net.ListenPacket("ip4:icmp", r1.Addr("client", 4).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	dst := netip.MustParseAddr("192.0.2.9")
	for _, asked := range []bool{false, true} {
		args := []string{"gtrace", "-n", "-q1", "-f2", "-m2", dst.String()}
		if asked {
			args = append(args, "-e")
		}
		c, err := r1.Capture("client", 100)
		if err != nil {
			t.Fatal(err)
		}
		run := start(t, n.Node("client"), nil, args...)
		q, err := c.Wait(patience, func(p lab.Packet) bool {
			return !p.Out && p.Data[0]>>4 == 4 && bytes.Equal(p.Data[16:20], dst.AsSlice())
		})
		if err != nil {
			t.Fatal(err)
		}
		m := append([]byte{11, 0, 0, 0, 0, 128 / 4, 0, 0}, make([]byte, 128)...)
		copy(m[8:], q.Data)
		extension := []byte{2 << 4, 0, 0, 0, 0, 8, 1, 1, 0x05, 0xdc, 0x13, 0x01} // label 24001, at the bottom, TTL 1
		binary.BigEndian.PutUint16(extension[2:], sum(extension))
		m = append(m, extension...)
		binary.BigEndian.PutUint16(m[2:], sum(m))
		if _, err := answers.WriteTo(m, &net.IPAddr{IP: n.Node("client").Addr("r1", 4).AsSlice()}); err != nil {
			t.Fatal(err)
		}
		r := run.end()
		if !strings.Contains(r.stdout, " 2  198.51.100.2 ") || strings.Contains(r.stdout, "<MPLS:L=24001,E=1,S=1,T=1>") != asked {
			t.Error(r)
		}
		if _, err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// checkOrigins: a routing registry of our own is asked and its answer stands behind the address.
func checkOrigins(t *testing.T) {
	n := optionNetwork(t)
	var l net.Listener
	err := n.Node("target").Do(func() (err error) { l, err = net.Listen("tcp4", "203.0.113.2:4343"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			q, _ := bufio.NewReader(c).ReadString('\n')
			if q == "8.8.8.0\r\n" { // no finer than that
				fmt.Fprint(c, "route:      8.8.8.0/24\norigin:     AS64496\n\n")
			}
			c.Close()
		}
	}()
	r := do(t, n.Node("client"), "gtrace", "-n", "-A", "--as-server", "203.0.113.2:4343", "-q1", public)
	if !strings.Contains(r.stdout, " 3  "+public+" [AS64496]  ") || !strings.Contains(r.stdout, " 1  198.51.100.2 [*]  ") {
		t.Error(r)
	}
}

// checkBack: a router whose answers come from further away than it is.
func checkBack(t *testing.T) {
	programs(t)
	n := lab.Start(t, short())
	if err := n.Node("r2").Set("ipv4/ip_default_ttl", "60"); err != nil {
		t.Fatal(err)
	}
	target := n.Node("target").Only(4).String()
	for _, args := range [][]string{{"-n", "-q1"}, {"-n", "-q1", "--back"}} {
		r := do(t, n.Node("client"), slices.Concat([]string{"gtrace"}, args, []string{target})...)
		want := slices.Contains(args, "--back")
		if strings.Contains(r.stdout, " '-6'") != want || r.status != 0 {
			t.Error(r)
		}
	}
}

// checkMTU: each link's MTU shows where it begins, in traceroute's words and in the document; the probes are
// as large as the path carries, and whole.
func checkMTU(t *testing.T) {
	for _, family := range []int{4, 6} {
		r, ps := options(t, family, "--mtu", "-q1")
		for ttl, want := range map[int]string{1: " F=1500", 2: " F=1400", 3: " F=1280"} {
			lines := strings.Split(r.stdout, "\n")
			if len(lines) < 4 || !strings.HasSuffix(lines[ttl], want) {
				t.Errorf("IPv%d, TTL %d: want %q: %v", family, ttl, want, r)
			}
		}
		if got := list(ps, length); got != "[1500 1500 1400 1400 1280]" {
			t.Errorf("IPv%d: sizes %s", family, got)
		}
		if family == 4 {
			each(t, ps, "DF", func(p packet) bool { return p.df }, true)
		}
	}
	r, _ := options(t, 4, "--mtu", "-I", "-q1", "--json")
	if d, err := readTrace(r); err != nil || d.Outcome != "reached" || len(d.Hops) != 3 {
		t.Errorf("%v: %v", err, r)
	}
}

func checkVersion(t *testing.T) {
	if r := do(t, optionNetwork(t).Node("client"), "gtrace", "-V"); r.status != 0 || !strings.HasPrefix(r.stdout, "gtrace ") {
		t.Error(r)
	}
}

func checkHelp(t *testing.T) {
	r := do(t, optionNetwork(t).Node("client"), "gtrace", "--help")
	if r.status != 0 || !strings.HasPrefix(r.stdout, "Usage: gtrace ") {
		t.Error(r)
	}
	for option := range strings.FieldsSeq("-4 -6 -I -T -U -L -D -P -M -O -p --sport -F -f -m -q -N -w -z -t -l -s -i -r -g -d --fwmark -n -e -A --back --mtu -V") {
		if !strings.Contains(r.stdout, "  "+option+", ") && !strings.Contains(r.stdout, "      "+option) {
			t.Errorf("the help has no %s", option)
		}
	}
}

func checkLength(t *testing.T) {
	n := optionNetwork(t)
	target := n.Node("target").Only(4)
	_, ps := captured(t, n.Node("client"), "r1", "gtrace", "-n", "-q1", target.String(), "100")
	each(t, probes(ps, target), "length", length, 100)
	r, ps := captured(t, n.Node("client"), "r1", "gtrace", "-n", "-q1", target.String(), n.Node("r1").Addr("client", 4).String(), "200")
	each(t, probes(ps, target), "length", length, 200)
	if strings.Count(r.stdout, ", 200 byte packets\n") != 2 {
		t.Error(r)
	}
}

// TestTraceroutePersona: under traceroute's names, its defaults and exit status, beside traceroute itself where that is
// installed.
func TestTraceroutePersona(t *testing.T) {
	n := optionNetwork(t)
	client, target := n.Node("client"), n.Node("target").Only(4)
	for _, name := range []string{"traceroute", "traceroute6", "tracepath"} {
		link(t, name)
	}
	r, ps := captured(t, client, "r1", "traceroute", "-n", "-q1", "-N1", target.String())
	if got := list(probes(ps, target), dstPort); got != "[33434 33435 33436]" || r.status != 0 {
		t.Errorf("ports %s: %v", got, r)
	}
	for _, tt := range []struct {
		line   string
		status int
	}{
		{"traceroute -n 203.0.113.2", 0}, {"traceroute -n -m 2 203.0.113.2", 0},
		{"traceroute -n 203.0.113.2 100", 0}, {"traceroute -nI 203.0.113.2", 0}, {"traceroute -nT 203.0.113.2", 0},
		{"traceroute6 -n 2001:db8:0:3::2", 0}, {"traceroute -n6 2001:db8:0:3::2", 0}, {"traceroute6 203.0.113.2", 2},
		{"traceroute", 0}, {"traceroute --help", 0}, {"traceroute --nosuch 203.0.113.2", 2}, {"traceroute -n 203.0.113.2 x", 2},
		{"traceroute -m 256 203.0.113.2", 2}, {"traceroute -q 11 203.0.113.2", 2}, {"traceroute -f 31 203.0.113.2", 2},
		{"traceroute -s 192.0.2.77 203.0.113.2", 1}, {"traceroute -i nosuch0 203.0.113.2", 1},
		{"traceroute -rn 203.0.113.2", 1}, {"traceroute --mtu -n 203.0.113.2", 0},
		{"tracepath -n 203.0.113.2", 0}, {"tracepath -n -m 2 203.0.113.2", 0}, {"tracepath", 255}, {"tracepath -l 5 203.0.113.2", 1},
		{"tracepath -6 -n 2001:db8:0:3::2", 0},
	} {
		args := strings.Fields(tt.line)
		if r := do(t, client, args...); r.status != tt.status {
			t.Errorf("status %d, want %d: %v", r.status, tt.status, r)
		}
		real := "/usr/bin/" + args[0]
		if args[0] == "traceroute6" {
			real = "/usr/bin/traceroute6"
		}
		if _, err := os.Stat(real); err != nil {
			t.Logf("%s is not installed: %s stands alone", real, tt.line)
			continue
		}
		args[0] = real
		if r := do(t, client, args...); r.status != tt.status {
			t.Errorf("the original: status %d, want %d: %v", r.status, tt.status, r)
		}
	}
	// tracepath tells the MTUs.
	if r := do(t, client, "tracepath", "-n", target.String()); !strings.Contains(r.stdout, "pmtu 1280") || !strings.Contains(r.stdout, "Resume: pmtu 1280 hops 3 back 3") {
		t.Error(r)
	}
	// Joined letters and options behind the host.
	for _, line := range []string{"gtrace -nq1 203.0.113.2 -m 5", "gtrace 203.0.113.2 -n -q 1 -m5"} {
		r := do(t, client, strings.Fields(line)...)
		if r.status != 0 || !strings.HasPrefix(r.stdout, "traceroute to 203.0.113.2 (203.0.113.2), 5 hops max, ") || strings.Count(r.stdout, " ms") != 3 {
			t.Error(r)
		}
	}
}
