//go:build linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"gtrace/internal/lab"
)

// TestManyAtOnce runs fifty traces and fifty pings of one target at the same
// time from the same host.
func TestManyAtOnce(t *testing.T) {
	s := standard(t)
	const each = 50
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		want := func(w way) []answer { return append(exceeded(path[:len(path)-1]), w.direct(target)) }
		type job struct {
			run *run
			way *way // nil: a ping
		}
		var jobs []job
		for i := range each {
			w := &ways[i%len(ways)]
			args := append([]string{"gtrace", "-n", "--json", patiently}, w.args...)
			jobs = append(jobs, job{start(t, s.Client, nil, append(args, target.String())...), w},
				job{start(t, s.Client, nil, "gping", "-n", "--json", "-c5", "-i0.01", "-W20", target.String()), nil})
		}
		for _, j := range jobs {
			r := j.run.end()
			var faults []string
			if j.way != nil {
				d, err := readTrace(r)
				if err != nil {
					t.Error(err)
					continue
				}
				faults = checkHops(d, 1, 3, want(*j.way))
				faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
				faults = append(faults, checkClean(d.SelfCheck)...)
			} else {
				d, err := readPing(r)
				if err != nil {
					t.Error(err)
					continue
				}
				faults = checkEnd(r, d.Outcome, "answered", 0)
				faults = append(faults, checkClean(d.SelfCheck)...)
				if sm := d.Summary; sm.Sent != 5 || sm.Received != 5 || sm.Duplicates != 0 || sm.Corrupted != 0 || sm.Errors != 0 {
					faults = append(faults, fmt.Sprintf("summary %+v, want 5 sent and received, nothing else", sm))
				}
			}
			tell(t, r, faults)
		}
	}
}

// floodSize is how many foreign messages a flood has.
const floodSize = 20_000

// flood sends the client foreign ICMP from the first router: answers to
// echoes it never asked for, and errors about packets it never sent. It
// returns when the client's host has taken in the last.
func flood(t *testing.T, s *lab.Standard, family int) {
	t.Helper()
	client, target := s.Client.Only(family), s.Target.Only(family)
	c, err := s.Client.Capture("r1", 4*floodSize)
	if err != nil {
		t.Fatal(err)
	}
	var out *icmp.PacketConn
	err = s.Node("r1").Do(func() (err error) {
		out, err = icmp.ListenPacket(map[int]string{4: "ip4:icmp", 6: "ip6:ipv6-icmp"}[family], "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	echo, exceeded, pseudo := icmp.Type(ipv4.ICMPTypeEchoReply), icmp.Type(ipv4.ICMPTypeTimeExceeded), []byte(nil)
	if family == 6 {
		echo, exceeded = ipv6.ICMPTypeEchoReply, ipv6.ICMPTypeTimeExceeded
		pseudo = icmp.IPv6PseudoHeader(s.Path[6][0].AsSlice(), client.AsSlice())
	}
	marker := []byte("the last of the flood")
	for i := range floodSize {
		m := icmp.Message{Type: echo, Body: &icmp.Echo{ID: i, Seq: i * 7, Data: []byte("nobody asked for this")}}
		if i%2 == 1 {
			m = icmp.Message{Type: exceeded, Body: &icmp.TimeExceeded{Data: foreignQuote(client, target, uint16(i))}}
		}
		if i == floodSize-1 {
			m = icmp.Message{Type: echo, Body: &icmp.Echo{ID: i, Data: marker}}
		}
		b, err := m.Marshal(pseudo)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.WriteTo(b, &net.IPAddr{IP: client.AsSlice()}); err != nil {
			t.Fatalf("flood: %v", err)
		}
	}
	if _, err := c.Wait(patience, func(p lab.Packet) bool { return bytes.Contains(p.Data, marker) }); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stop(); err != nil {
		t.Fatal(err)
	}
}

// foreignQuote is a UDP probe that some other program could have sent to the
// same target.
func foreignQuote(src, dst netip.Addr, n uint16) []byte {
	var b []byte
	if src.Is4() {
		b = append(b, 0x45, 0, 0, 60, byte(n>>8), byte(n), 0, 0, 1, 17, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0, 0, 40, 17, 1)
	}
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, n|0x8000)
	b = binary.BigEndian.AppendUint16(b, 33434)
	b = append(b, 0, 40, byte(n), byte(n>>8))
	return append(b, make([]byte, 32)...)
}

// checkFlooded holds a run to having seen nothing odd but the foreign message
// that had its identifier or source port by chance: where a flood has all of
// them, one has.
func checkFlooded(m method, s *selfCheck) []string {
	id := int(m.EchoID)
	echo := id < floodSize && id%2 == 0
	port := int(m.SrcPort) - 0x8000
	quote := m.Protocol == "udp" && port >= 0 && port < floodSize && port%2 == 1
	if s != nil && s.Unmatched == 1 && (m.Protocol == "icmp" && echo || quote) {
		c := *s
		c.Unmatched = 0
		s = &c
	}
	return checkClean(s)
}

// TestFlood runs the programs amid foreign ICMP: the results are those of a
// quiet host.
func TestFlood(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		var runs []*run
		for _, w := range ways {
			args := append([]string{"gtrace", "-n", "--json", patiently, "-q7"}, w.args...) // seven: two seconds, by their pace
			runs = append(runs, start(t, s.Client, nil, append(args, target.String())...))
		}
		pinging := start(t, s.Client, nil, "gping", "-n", "--json", "-c200", "-i0.01", "-W20", target.String())
		flood(t, s, family)
		for i, w := range ways {
			r := runs[i].end()
			d, err := readTrace(r)
			if err != nil {
				t.Error(err)
				continue
			}
			faults := checkHops(d, 1, 7, append(exceeded(path[:len(path)-1]), w.direct(target)))
			faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
			faults = append(faults, checkFlooded(d.Method, d.SelfCheck)...)
			tell(t, r, faults)
		}
		r := pinging.end()
		d, err := readPing(r)
		if err != nil {
			t.Error(err)
			continue
		}
		faults := checkEnd(r, d.Outcome, "answered", 0)
		faults = append(faults, checkFlooded(d.Method, d.SelfCheck)...)
		if d.Summary.Received != 200 || d.Summary.Duplicates != 0 {
			faults = append(faults, fmt.Sprintf("summary %+v, want 200 received and no duplicates", d.Summary))
		}
		tell(t, r, faults)
	}
}

// switches counts how often the kernel let a thread of a process wait.
func switches(t *testing.T, pid int) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("threads of process %d: %v, %v", pid, files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				k, err := strconv.Atoi(strings.TrimSpace(v))
				if err != nil {
					t.Fatalf("%s: %q", f, line)
				}
				n += k
			}
		}
	}
	return n
}

// TestFloodWakesNobody floods a host where both programs wait for answers.
// Each foreign message that got through would cost a program one wait more;
// the runtime's own threads cost a few.
func TestFloodWakesNobody(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		// One has its answer and an hour until the next probe, the other has
		// all answers but one router's that will never come.
		pinging := start(t, s.Client, nil, "gping", "-n", "-i3600", s.Target.Only(family).String())
		pinging.line()
		pinging.line()
		tracing := start(t, s.Client, nil, "gtrace", "-n", "-w3600,0,0", "-q1", "-m6", s.Special(lab.SilentAt, family).String())
		for range 6 {
			tracing.line()
		}
		before := []int{switches(t, pinging.cmd.Process.Pid), switches(t, tracing.cmd.Process.Pid)}
		flood(t, s, family)
		for i, r := range []*run{pinging, tracing} {
			if n := switches(t, r.cmd.Process.Pid) - before[i]; n > floodSize/100 {
				t.Errorf("IPv%d: %v waited %d times during %d foreign messages, want next to none", family, r.cmd.Args, n, floodSize)
			} else {
				t.Logf("IPv%d: %s waited %d times during %d foreign messages", family, filepath.Base(r.cmd.Path), n, floodSize)
			}
			r.signal(os.Interrupt)
			r.end()
		}
	}
}
