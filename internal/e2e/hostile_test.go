//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gtrace/internal/hostile"
	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

const (
	junkRate = 10_000 // packets a second
	mostJunk = 20 * junkRate
)

// isProbe reports whether a packet from the client is one of the programs', and not its kernel's answer to junk.
func isProbe(p []byte) bool {
	ip, err := wire.ParseIP(p)
	if err != nil {
		return false
	}
	t := ip.Transport()
	switch ip.Proto() {
	case wire.ProtoUDP:
		return true
	case wire.ProtoTCP:
		s, err := wire.ParseTCP(t)
		return err == nil && (s.Flags() == wire.SYN || s.Flags() == wire.ACK)
	case wire.ProtoICMP:
		return len(t) > 0 && t[0] == wire.Echo4
	case wire.ProtoICMPv6:
		return len(t) > 0 && t[0] == wire.Echo6
	}
	return false
}

// harass has the first router send the client all of some junk about its probes, in the router's own name and in the target's.
func harass(t *testing.T, n *lab.Network, path []netip.Addr, some func(hostile.Junk) bool) *lab.Harassment {
	t.Helper()
	h, err := n.Node("r1").Harass("client", junkRate, mostJunk, func(p []byte) (junk [][]byte) {
		if !isProbe(p) {
			return nil
		}
		for _, from := range []int{0, len(path) - 1} {
			for _, j := range hostile.About(p, path[from]) {
				if len(j.Data) <= 1500 && some(j) {
					junk = append(junk, j.Data)
				}
			}
		}
		return junk
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func all(hostile.Junk) bool        { return true }
func shown(j hostile.Junk) bool    { return !j.Hidden && !j.Spoils }
func notShown(j hostile.Junk) bool { return j.Hidden }

// ownLab is a standard network for a test alone, in which ordinary users may send echo requests.
func ownLab(t *testing.T) *lab.Standard {
	t.Helper()
	programs(t)
	s, err := lab.BuildStandard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Client.Set("ipv4/ping_group_range", fmt.Sprintf("%d\t%[1]d", nobody)); err != nil {
		t.Fatal(err)
	}
	return s
}

// rejected is what a document says it did not take for answers, by reason.
func rejected(t *testing.T, doc string) (by map[string]int, sum int) {
	t.Helper()
	var d struct {
		Check struct {
			Rejected map[string]int
		} `json:"self_check"`
	}
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	for _, n := range d.Check.Rejected {
		sum += n
	}
	return d.Check.Rejected, sum
}

// checkRejected holds a run amid junk to having heard the part of it that the kernel's filters let by, and nothing else odd.
func checkRejected(t *testing.T, doc string, s *selfCheck, sent int) (faults []string) {
	t.Helper()
	by, sum := rejected(t, doc)
	if s == nil {
		return []string{"no self_check"}
	}
	if s.Unmatched+s.Malformed != sum || sum > sent || by["token"] == 0 {
		faults = append(faults, fmt.Sprintf("%d unmatched and %d malformed, by reason %v, of %d sent", s.Unmatched, s.Malformed, by, sent))
	}
	for _, why := range []string{"type", "request", "version", "header-length", "fragment", "extension-headers", "outer-header"} {
		if by[why] > 0 {
			faults = append(faults, fmt.Sprintf("%d of %q came past the kernel", by[why], why))
		}
	}
	rest := *s
	rest.Unmatched, rest.Malformed = 0, 0
	return append(faults, checkClean(&rest)...)
}

// amidJunk runs gtrace while a router harasses it, and tells what check says; again where the machine, which has much else to do, lost what
// arrived and the document says so.
func amidJunk(t *testing.T, n *lab.Network, path []netip.Addr, some func(hostile.Junk) bool, run func() result, check func(d traceDoc, r result, sent int) []string) {
	t.Helper()
	for again := range 3 {
		h := harass(t, n, path, some)
		r := run()
		sent := h.Stop()
		d, err := readTrace(r)
		if err != nil {
			t.Fatal(err)
		}
		if faults := check(d, r, sent); again == 2 || d.SelfCheck == nil || d.SelfCheck.ReceiveDrops == 0 {
			tell(t, r, faults)
			return
		}
	}
}

// TestHostileNetwork: while a router of the path sends ten thousand messages a second that are about the run's own probes, and
// of which each is wrong in one thing, the hops, the replies and the exit status are those of a quiet network.
func TestHostileNetwork(t *testing.T) {
	s := ownLab(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		for _, w := range ways {
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				amidJunk(t, s.Network, path, all, func() result {
					// One after the other, and slowly: some 5000 messages.
					return do(t, s.Client, slices.Concat([]string{"gtrace", "-n", "--json", patiently, "-N1", "-z20"}, w.args, []string{target.String()})...)
				}, func(d traceDoc, r result, sent int) []string {
					faults := checkHops(d, 1, 3, append(exceeded(path[:len(path)-1]), w.direct(target)))
					faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
					return append(faults, checkRejected(t, r.stdout, d.SelfCheck, sent)...)
				})
			})
		}
		t.Run(fmt.Sprintf("IPv%d ping", family), func(t *testing.T) {
			h := harass(t, s.Network, path, all)
			const count = 300
			run := start(t, s.Client, nil, "gping", "-n", "--format=events", "-c"+strconv.Itoa(count), "-i0.01", "-W20", target.String())
			answered := func(n int) {
				for n > 0 {
					if strings.Contains(run.line(), `"event":"probed"`) {
						n--
					}
				}
			}
			answered(50)
			before, early := resident(t, run.cmd.Process.Pid), h.Sent()
			answered(count - 60)
			after, late := resident(t, run.cmd.Process.Pid), h.Sent()
			r := run.end()
			sent := h.Stop()
			doc := r.stdout[strings.LastIndexByte(strings.TrimSuffix(r.stdout, "\n"), '\n')+1:]
			d, err := readPing(result{args: r.args, stdout: doc, stderr: r.stderr, status: r.status})
			if err != nil {
				t.Fatal(err)
			}
			faults := checkEnd(r, d.Outcome, "answered", 0)
			faults = append(faults, checkRejected(t, doc, d.SelfCheck, sent)...)
			if d.Summary.Received != count || d.Summary.Duplicates != 0 || d.Summary.Corrupted != 0 || d.Summary.Errors != 0 {
				faults = append(faults, fmt.Sprintf("summary %+v, want %d received and nothing else", d.Summary, count))
			}
			for _, p := range d.Replies {
				if p.From != target || p.Result != "reply" {
					faults = append(faults, fmt.Sprintf("reply %+v, want one from %v", p, target))
				}
			}
			t.Logf("%d KiB resident when %d messages had come, %d KiB after %d; rejected %d in all", before, early, after, late, d.SelfCheck.Unmatched+d.SelfCheck.Malformed)
			if after > before+16<<10 {
				faults = append(faults, fmt.Sprintf("%d KiB resident, %d KiB after %d messages more", before, after, late-early))
			}
			tell(t, result{args: r.args, stdout: doc, stderr: r.stderr, status: r.status}, faults)
		})
	}
}

// TestHostileToOrdinaryUsers: nor do those messages change anything where the kernel reads headers and quotes for the program, and
// shows it little of them, but for those that are wrong in what it does not show, and those that it takes for the other end of a connection.
func TestHostileToOrdinaryUsers(t *testing.T) {
	s := ownLab(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		for _, w := range ways {
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				amidJunk(t, s.Network, path, shown, func() result {
					return start(t, s.Client, as(nobody), slices.Concat([]string{"gtrace", "-n", "--json", patiently, "-N1", "-z20"}, w.args, []string{target.String()})...).end()
				}, func(d traceDoc, r result, sent int) []string {
					faults := checkHops(d, 1, 3, append(exceeded(path[:len(path)-1]), w.direct(target)))
					faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
					if d.Method.Socket != "unprivileged" || sent < 1000 {
						faults = append(faults, fmt.Sprintf("socket %q, %d messages", d.Method.Socket, sent))
					}
					by, _ := rejected(t, r.stdout)
					t.Logf("rejected, of %d: %v", sent, by)
					return faults
				})
			})
		}
	}
}

// TestJunkAnswersNothing: where nobody answers, no junk is taken for an answer, however long it has. Ordinary users
// cannot be spared what is wrong only in what the kernel hides from them, which docs/self-check.md says.
func TestJunkAnswersNothing(t *testing.T) {
	s := ownLab(t)
	users := []struct {
		name   string
		socket string
		change func(*exec.Cmd)
		some   func(hostile.Junk) bool
		taken  bool
	}{
		{"root", "raw", nil, all, false},
		{"an ordinary user", "unprivileged", as(nobody), shown, false},
		{"an ordinary user, of what is hidden", "unprivileged", as(nobody), notShown, true},
	}
	for _, family := range []int{4, 6} {
		for _, w := range ways {
			for _, u := range users {
				t.Run(fmt.Sprintf("IPv%d %s for %s", family, w.name, u.name), func(t *testing.T) {
					amidJunk(t, s.Network, s.Path[family], u.some, func() result {
						return start(t, s.Client, u.change, slices.Concat([]string{"gtrace", "-n", "--json", "-w0.5,0,0", "-N1", "-q2", "-f9", "-m9"}, w.args, []string{s.Special(lab.SilentAt, family).String()})...).end()
					}, func(d traceDoc, r result, sent int) (faults []string) {
						if d.Method.Socket != u.socket || !u.taken && sent < 1000 {
							faults = append(faults, fmt.Sprintf("socket %q, %d messages", d.Method.Socket, sent))
						}
						if len(d.Hops) != 1 || len(d.Hops[0].Probes) != 2 {
							return append(faults, fmt.Sprintf("hops %+v, want two probes to one", d.Hops))
						}
						for _, p := range d.Hops[0].Probes {
							if taken := p.Result != "timeout"; taken != u.taken {
								faults = append(faults, fmt.Sprintf("%+v, want it answered: %v", p, u.taken))
							}
						}
						return faults
					})
				})
			}
		}
	}
}

// TestHostileMTU: nor is any such message believed that says a packet was too big, whatever size it names.
func TestHostileMTU(t *testing.T) {
	steps := []step{{2, 1400, false}, {3, 1280, true}}
	n := narrows(t, []int{4, 6}, steps)
	for _, family := range []int{4, 6} {
		path := []netip.Addr{n.Node("r1").Addr("client", family), n.Node("target").Only(family)}
		for _, w := range []struct {
			uid  uint32
			args []string
			some func(hostile.Junk) bool
		}{{0, nil, all}, {0, []string{"-I"}, all}, {0, []string{"-T"}, all}, {nobody, nil, shown}, {nobody, []string{"-I"}, shown}} {
			t.Run(fmt.Sprintf("IPv%d %v for user %d", family, w.args, w.uid), func(t *testing.T) {
				amidJunk(t, n, path, w.some, func() result {
					return start(t, n.Node("client"), as(w.uid), slices.Concat([]string{"gtrace", "-n", "--json", "--mtu", "-q1", "-w1,0,0", "-z20"}, w.args, []string{path[1].String()})...).end()
				}, func(d traceDoc, r result, sent int) []string {
					faults := checkNarrow(n, family, d, r, steps)
					by, _ := rejected(t, r.stdout)
					if sent < 1000 || by["token"] == 0 {
						faults = append(faults, fmt.Sprintf("%d messages, rejected by reason %v", sent, by))
					}
					return faults
				})
			})
		}
	}
}

// resident is how much memory a process has, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(l, []byte("VmRSS:")); ok {
			n, err := strconv.Atoi(string(bytes.Fields(v)[0]))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no VmRSS in %s", b)
	return 0
}
