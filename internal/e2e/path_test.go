//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// An answer is what one probe should have met with.
type answer struct {
	from       netip.Addr
	typ, code  int // ICMP; or
	flags      string
	udp        bool
	annotation string
}

func (a answer) String() string {
	switch {
	case a.flags != "":
		return fmt.Sprintf("TCP %s from %s", a.flags, a.from)
	case a.udp:
		return fmt.Sprintf("UDP from %s", a.from)
	}
	return strings.TrimSpace(fmt.Sprintf("%d/%d from %s %s", a.typ, a.code, a.from, a.annotation))
}

func answered(p probeDoc) string {
	switch {
	case p.Result != "reply":
		return strings.TrimSpace(p.Result + " " + p.Error)
	case p.TCP != nil:
		return answer{from: p.From, flags: p.TCP.Flags}.String()
	case p.UDP != nil:
		return answer{from: p.From, udp: true}.String()
	case p.ICMP == nil:
		return "a reply of no known kind"
	}
	return answer{from: p.From, typ: p.ICMP.Type, code: p.ICMP.Code, annotation: p.Annotation}.String()
}

// exceeded are the answers of hops a probe passes by.
func exceeded(hops []netip.Addr) (as []answer) {
	for _, h := range hops {
		a := answer{from: h, typ: 11}
		if h.Is6() {
			a.typ = 3
		}
		as = append(as, a)
	}
	return as
}

// checkHops compares every probe with what its hop should have answered. A
// zero answer stands for a timeout.
func checkHops(d traceDoc, first, attempts int, want []answer) (faults []string) {
	if len(d.Hops) != len(want) {
		faults = append(faults, fmt.Sprintf("%d hops, want %d", len(d.Hops), len(want)))
	}
	for i, h := range d.Hops {
		if i == len(want) {
			break
		}
		if h.TTL != first+i {
			faults = append(faults, fmt.Sprintf("hop %d has TTL %d, want %d", i, h.TTL, first+i))
		}
		if len(h.Probes) != attempts {
			faults = append(faults, fmt.Sprintf("TTL %d: %d probes, want %d", h.TTL, len(h.Probes), attempts))
		}
		for j, p := range h.Probes {
			expect := want[i].String()
			if want[i] == (answer{}) {
				expect = "timeout"
			}
			if got := answered(p); got != expect {
				faults = append(faults, fmt.Sprintf("TTL %d attempt %d: %s, want %s", h.TTL, j+1, got, expect))
			}
			if p.Attempt != j+1 {
				faults = append(faults, fmt.Sprintf("TTL %d: attempt %d stands at place %d", h.TTL, p.Attempt, j+1))
			}
		}
	}
	return faults
}

// checkClean holds a run to having seen nothing odd.
func checkClean(s *selfCheck) (faults []string) {
	switch {
	case s == nil:
		return []string{"no self_check"}
	case *s != (selfCheck{}):
		return []string{fmt.Sprintf("self_check %+v, want all zero", *s)}
	}
	return nil
}

func checkEnd(r result, outcome, wantOutcome string, wantStatus int) (faults []string) {
	if outcome != wantOutcome {
		faults = append(faults, fmt.Sprintf("outcome %q, want %q", outcome, wantOutcome))
	}
	if r.status != wantStatus {
		faults = append(faults, fmt.Sprintf("exit status %d, want %d", r.status, wantStatus))
	}
	return faults
}

func tell(t *testing.T, r result, faults []string) {
	t.Helper()
	if len(faults) > 0 {
		t.Errorf("%s\n%v", strings.Join(faults, "\n"), r)
	}
}

// A way is one way to trace.
type way struct {
	name   string
	args   []string
	direct func(target netip.Addr) answer // what the target says
}

func icmpAnswer(target netip.Addr, v4, v6 [2]int) answer {
	if target.Is6() {
		v4 = v6
	}
	return answer{from: target, typ: v4[0], code: v4[1]}
}

var ways = []way{
	{"UDP", nil, func(a netip.Addr) answer { return icmpAnswer(a, [2]int{3, 3}, [2]int{1, 4}) }},
	{"UDP classic", []string{"--flow", "classic"}, func(a netip.Addr) answer { return icmpAnswer(a, [2]int{3, 3}, [2]int{1, 4}) }},
	{"ICMP", []string{"-I"}, func(a netip.Addr) answer { return icmpAnswer(a, [2]int{0, 0}, [2]int{129, 0}) }},
	{"ICMP classic", []string{"-I", "--flow=classic"}, func(a netip.Addr) answer { return icmpAnswer(a, [2]int{0, 0}, [2]int{129, 0}) }},
	{"TCP open", []string{"-T", "-p", strconv.Itoa(lab.OpenPort)}, func(a netip.Addr) answer { return answer{from: a, flags: "SA"} }},
	{"TCP closed", []string{"-T", "-p", strconv.Itoa(lab.ClosedPort)}, func(a netip.Addr) answer { return answer{from: a, flags: "RA"} }},
}

// TestPath traces the standard network in every way: each hop's address and
// answer are right, and the target is reached.
func TestPath(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		for _, w := range ways {
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				path := s.Path[family]
				target := path[len(path)-1]
				d, r := trace(t, s.Client, append(slices.Clone(w.args), target.String())...)

				want := append(exceeded(path[:len(path)-1]), w.direct(target))
				faults := checkHops(d, 1, 3, want)
				faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
				faults = append(faults, checkClean(d.SelfCheck)...)
				if !*d.Complete {
					faults = append(faults, "complete is false")
				}
				if r.stderr != "" {
					faults = append(faults, "something on standard error")
				}
				if d.Target != target.String() || d.Destination != target || d.Source != s.Client.Only(family) || d.Family != family {
					faults = append(faults, fmt.Sprintf("target %s, destination %s, source %s, family %d", d.Target, d.Destination, d.Source, d.Family))
				}
				if d.Method.Socket != "raw" {
					faults = append(faults, fmt.Sprintf("socket %q, want raw", d.Method.Socket))
				}
				if d.Summary.HopCount != len(path) {
					faults = append(faults, fmt.Sprintf("hop_count %d, want %d", d.Summary.HopCount, len(path)))
				}
				if n := 3 * len(path); d.Summary.Sent < n || d.Summary.Replies < n {
					faults = append(faults, fmt.Sprintf("%d probes sent and %d replies, want at least %d", d.Summary.Sent, d.Summary.Replies, n))
				}
				for i, h := range d.Hops {
					for _, p := range h.Probes {
						// Each router on the way back takes one off.
						if p.ReplyTTL != 64-i {
							faults = append(faults, fmt.Sprintf("TTL %d: reply TTL %d, want %d", h.TTL, p.ReplyTTL, 64-i))
						}
						quotes := p.ICMP != nil && p.ICMP.Type != 0 && p.ICMP.Type != 129
						if quotes && (p.QuotedTTL == nil || *p.QuotedTTL != 1) {
							faults = append(faults, fmt.Sprintf("TTL %d: quoted TTL is not 1", h.TTL))
						}
						if p.Match != "strict" {
							faults = append(faults, fmt.Sprintf("TTL %d: match %q, want strict", h.TTL, p.Match))
						}
						if p.RTT == nil || *p.RTT <= 0 || p.Clock != "kernel" {
							faults = append(faults, fmt.Sprintf("TTL %d: no RTT by the kernel's clock: %v %q", h.TTL, p.RTT, p.Clock))
						}
					}
				}
				tell(t, r, faults)
			})
		}
	}
}

// TestUnreached traces to destinations that are not reached, and to two
// firewalls whose words mean that they are (codes "port unreachable" and, in
// IPv4, "protocol unreachable").
func TestUnreached(t *testing.T) {
	s := standard(t)
	type destination struct {
		name       string
		addr       netip.Addr
		via        int  // the router that answers
		again      bool // it answers at its own TTL like a hop, and beyond with the error
		code       int
		annotation string
	}
	for _, family := range []int{4, 6} {
		tests := []destination{
			{"unreachable route", s.Special(lab.UnreachableAt, family), lab.UnreachableAt, false, 1, "!H"},
			{"no route", s.Special(lab.NoRouteAt, family), lab.NoRouteAt, false, 0, "!N"},
			{"prohibit route", s.Special(lab.ProhibitAt, family), lab.ProhibitAt, false, 13, "!X"},
		}
		if family == 6 {
			tests[0].code, tests[0].annotation = 0, "!N"
			tests[2].code = 1
		}
		annotations := map[int]string{0: "!N", 1: "!H", 2: "!P", 3: "", 9: "!X", 10: "!X", 13: "!X"}
		if family == 6 {
			annotations = map[int]string{0: "!N", 1: "!X", 3: "!H", 4: "", 5: "!<5>", 6: "!<6>"}
		}
		for _, code := range lab.Rejects[family] {
			tests = append(tests, destination{fmt.Sprintf("reject %d", code), s.Rejected(code, family), s.RejectAt(), true, int(code), annotations[int(code)]})
		}
		for _, tt := range tests {
			for _, proto := range []string{"--icmp", "--tcp", ""} {
				t.Run(strings.TrimSpace(fmt.Sprintf("IPv%d %s %s", family, tt.name, proto)), func(t *testing.T) {
					hops := s.PathTo(tt.via, family)
					want := exceeded(hops)
					last := icmpAnswer(hops[tt.via-1], [2]int{3, tt.code}, [2]int{1, tt.code})
					last.annotation = tt.annotation
					if tt.again {
						want = append(want, last)
					} else {
						want[tt.via-1] = last
					}
					// The kernel pays 5 errors of a route to a prober, then
					// one a second: one probe at a time, and one a hop.
					args := []string{"-q1", "-N1", tt.addr.String()}
					if proto != "" {
						args = append(args, proto)
					}
					d, r := trace(t, s.Client, args...)
					faults := checkHops(d, 1, 1, want)
					reached := family == 4 && (tt.code == 2 || tt.code == 3) || family == 6 && tt.code == 4
					if reached {
						faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
					} else {
						faults = append(faults, checkEnd(r, d.Outcome, "unreachable", 1)...)
					}
					faults = append(faults, checkClean(d.SelfCheck)...)
					tell(t, r, faults)
				})
			}
		}
	}
}

// TestSilent traces to where nothing answers any more.
func TestSilent(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		dst := s.Special(lab.SilentAt, family).String()
		heard := exceeded(s.PathTo(lab.SilentAt-1, family))
		for _, tt := range []struct {
			name, outcome string
			args          []string
			silent        int
		}{
			{"up to the last TTL", "max-hops", []string{"-m8", "-w0.3"}, 3},
			{"up to the gap limit", "gap-limit", []string{"--gap-limit", "2", "-w0.3"}, 2},
		} {
			t.Run(fmt.Sprintf("IPv%d %s", family, tt.name), func(t *testing.T) {
				d, r := trace(t, s.Client, append(tt.args, dst)...)
				faults := checkHops(d, 1, 3, append(slices.Clone(heard), make([]answer, tt.silent)...))
				faults = append(faults, checkEnd(r, d.Outcome, tt.outcome, 1)...)
				for _, h := range d.Hops {
					for _, p := range h.Probes {
						if p.Result == "timeout" && (p.RTT != nil || p.From.IsValid() || p.Clock != "") {
							faults = append(faults, fmt.Sprintf("TTL %d: a timeout knows an RTT, a clock or a sender", h.TTL))
						}
					}
				}
				tell(t, r, faults)
			})
		}
	}
}

// TestSilentPing pings what does not answer, and what is answered for.
func TestSilentPing(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		d, r := ping(t, s.Client, "-c3", "-i0.01", "-W0.3", s.Special(lab.SilentAt, family).String())
		faults := checkEnd(r, d.Outcome, "silent", 1)
		if d.Summary.Sent != 3 || d.Summary.Received != 0 || d.Summary.Loss == nil || *d.Summary.Loss != 100 {
			faults = append(faults, fmt.Sprintf("summary %+v, want 3 sent, none received, all lost", d.Summary))
		}
		tell(t, r, faults)

		d, r = ping(t, s.Client, "-c3", "-i0.01", "-W5", s.Rejected(1, family).String())
		faults = checkEnd(r, d.Outcome, "unreachable", 1)
		if d.Summary.Errors != 3 || d.Summary.Received != 0 {
			faults = append(faults, fmt.Sprintf("summary %+v, want 3 errors and nothing received", d.Summary))
		}
		tell(t, r, faults)
	}
}

// TestPing pings the target, both families.
func TestPing(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		target := s.Target.Only(family)
		d, r := ping(t, s.Client, "-c5", "-i0.01", target.String())
		faults := checkEnd(r, d.Outcome, "answered", 0)
		faults = append(faults, checkClean(d.SelfCheck)...)
		if len(d.Replies) != 5 {
			faults = append(faults, fmt.Sprintf("%d replies, want 5", len(d.Replies)))
		}
		for i, p := range d.Replies {
			if p.Seq != i+1 || p.Result != "reply" || p.From != target || p.ReplyTTL != 64-lab.Routers || p.Bytes != 64 ||
				p.RTT == nil || p.Clock != "kernel" || p.Corrupted || p.Late {
				faults = append(faults, fmt.Sprintf("reply %d: %+v", i, p))
			}
		}
		if d.Summary.Loss == nil || *d.Summary.Loss != 0 {
			faults = append(faults, "loss is not 0")
		}
		tell(t, r, faults)
	}
}

// TestText holds the text to the lines that traceroute and ping print.
func TestText(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		r := do(t, s.Client, "gtrace", "-n", patiently, target.String())
		lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
		if r.status != 0 || len(lines) != len(path)+1 {
			t.Fatalf("%d lines, want %d\n%v", len(lines), len(path)+1, r)
		}
		size := map[int]int{4: 60, 6: 80}[family]
		if want := fmt.Sprintf("traceroute to %s (%s), 30 hops max, %d byte packets", target, target, size); lines[0] != want {
			t.Errorf("first line %q, want %q", lines[0], want)
		}
		for i, l := range lines[1:] {
			f := strings.Fields(l)
			if len(f) != 8 || f[0] != strconv.Itoa(i+1) || f[1] != path[i].String() || f[3] != "ms" || f[5] != "ms" || f[7] != "ms" {
				t.Errorf("line %q, want hop %d, %s and three times", l, i+1, path[i])
			}
		}

		r = do(t, s.Client, "gping", "-n", "-c2", "-i0.01", target.String())
		lines = strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
		if r.status != 0 || len(lines) != 7 {
			t.Fatalf("%d lines, want 7\n%v", len(lines), r)
		}
		if want := fmt.Sprintf("64 bytes from %s: icmp_seq=1 ttl=%d time=", target, 64-lab.Routers); !strings.HasPrefix(lines[1], want) {
			t.Errorf("line %q, want it to begin %q", lines[1], want)
		}
		if want := "2 packets transmitted, 2 received, 0% packet loss, time "; !strings.HasPrefix(lines[5], want) {
			t.Errorf("line %q, want it to begin %q", lines[5], want)
		}
	}
}

// TestShortWays traces where a path has one hop, begins at its end, or does
// not leave the host.
func TestShortWays(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		self := s.Client.Only(family)
		loop := map[int]string{4: "127.0.0.1", 6: "::1"}[family]
		for _, w := range ways {
			for _, tt := range []struct {
				name  string
				args  []string
				first int
				from  netip.Addr
			}{
				{"the first router", []string{path[0].String()}, 1, path[0]},
				{"the target alone", []string{"-f12", "-m12", target.String()}, 12, target},
				{"beyond the target", []string{"-f14", "-m14", target.String()}, 14, target},
				{"this host", []string{self.String()}, 1, self},
				{"loopback", []string{loop}, 1, netip.MustParseAddr(loop)},
			} {
				if w.name == "TCP open" && tt.from != target {
					continue // only the target serves
				}
				t.Run(fmt.Sprintf("IPv%d %s %s", family, w.name, tt.name), func(t *testing.T) {
					d, r := trace(t, s.Client, append(slices.Clone(w.args), tt.args...)...)
					faults := checkHops(d, tt.first, 3, []answer{w.direct(tt.from)})
					faults = append(faults, checkEnd(r, d.Outcome, "reached", 0)...)
					tell(t, r, faults)
				})
			}
		}
	}
}

// TestSeveralHosts has one exit status for all: the worst.
func TestSeveralHosts(t *testing.T) {
	s := standard(t)
	near, target := s.Path[4][0].String(), s.Path[4][lab.Routers].String()
	blocked := s.Rejected(13, 4).String()
	for _, tt := range []struct {
		name   string
		hosts  []string
		status int
		want   []string // outcomes
	}{
		{"both reached", []string{near, target}, 0, []string{"reached", "reached"}},
		{"one blocked", []string{blocked, near}, 1, []string{"unreachable", "reached"}},
		{"one without a route", []string{near, "192.0.2.200", blocked}, 2, []string{"error", "reached", "unreachable"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := do(t, s.Client, append([]string{"gtrace", "-n", "--json"}, tt.hosts...)...)
			var faults, got []string
			for line := range strings.Lines(r.stdout) {
				var d traceDoc
				if err := decode(line, &d); err != nil {
					faults = append(faults, err.Error())
				}
				got = append(got, d.Outcome)
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				faults = append(faults, fmt.Sprintf("outcomes %q, want %q", got, tt.want))
			}
			if r.status != tt.status {
				faults = append(faults, fmt.Sprintf("exit status %d, want %d", r.status, tt.status))
			}
			if complaints := strings.Count(r.stderr, "\n"); complaints != strings.Count(strings.Join(tt.want, " "), "error") {
				faults = append(faults, fmt.Sprintf("%d lines on standard error, want one for each error", complaints))
			}
			tell(t, r, faults)
		})
	}
}

// TestNoWayFromHere covers what cannot be measured from here: status 2, and
// a line that says what and why.
func TestNoWayFromHere(t *testing.T) {
	s := standard(t)
	for _, dst := range []string{"192.0.2.200", "2001:db8:bad::1"} {
		for _, prog := range []string{"gtrace", "gping"} {
			args := []string{prog, "-n", dst}
			if prog == "gping" {
				args = append(args, "-c1")
			}
			r := do(t, s.Client, args...)
			if r.status != 2 || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, prog+": "+dst+": ") {
				t.Errorf("want status 2 and a line %q\n%v", prog+": "+dst+": WHY", r)
			}
		}
	}
}
