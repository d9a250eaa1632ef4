package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/simnet"
)

// TestKept is what multiplies, at each bound and above it.
func TestKept(t *testing.T) {
	trace := func(change func(*traceTool)) func(*session, int) error {
		tool := newTraceTool()
		change(tool)
		return tool.checkKept
	}
	ping := func(change func(*pingTool)) func(*session, int) error {
		tool := newPingTool()
		change(tool)
		return tool.checkKept
	}
	whole := trace(func(t *traceTool) { t.max, t.attempts = 255, 1000 })
	large := trace(func(t *traceTool) { t.max, t.attempts = 255, 10 }) // 2550 results each, so 102 of them
	small := trace(func(t *traceTool) { t.max, t.attempts = 1, 1 })
	count := func(n int) func(*session, int) error { return ping(func(t *pingTool) { t.count = n }) }
	for _, tt := range []struct {
		name     string
		check    func(*session, int) error
		hosts    int
		parallel int // as given; 0: what the tool has it
		format   string
		ordered  bool
		want     int    // hosts at once in the end
		err      string // part of it
	}{
		{name: "the largest trace", check: whole, hosts: maxTargets, want: 1},
		{name: "more of it at once", check: whole, hosts: 2, parallel: 2, err: "--parallel 2: each host has up to 255000 results, and no more than 262144 are kept at a time: want --parallel up to 1"},
		{name: "large traces", check: large, hosts: maxTargets, parallel: 102, want: 102},
		{name: "one too many", check: large, hosts: maxTargets, parallel: 103, err: "want --parallel up to 102"},
		{name: "not so many hosts", check: large, hosts: 102, parallel: maxTargets, want: maxTargets},
		{name: "small traces", check: small, hosts: maxTargets, parallel: maxResults / leastTrace, want: maxResults / leastTrace},
		{name: "too many small ones", check: small, hosts: maxTargets, parallel: maxResults/leastTrace + 1, err: "want --parallel up to 4096"},
		{name: "replies", check: count(maxResults), hosts: 1, format: "json", want: 1},
		{name: "more than a document has", check: count(maxResults + 1), hosts: 1, format: "json", err: "--no-replies leaves them out"},
		{name: "as many as there are, of events", check: count(math.MaxInt32), hosts: 1, format: "events", err: "--no-replies leaves them out"},
		{name: "the same as text", check: count(math.MaxInt32), hosts: 1, format: "text", want: 1},
		{name: "of many hosts", check: count(1000), hosts: 1000, format: "json", want: 262},
		{name: "of many at once", check: count(1000), hosts: 1000, parallel: 263, format: "json", err: "each host has up to 1000 replies"},
		{name: "without them", check: ping(func(t *pingTool) { t.count, t.quiet = math.MaxInt32, true }), hosts: 1000, format: "json", want: 1000},
		{name: "lines that wait", check: count(maxResults), hosts: 2, format: "text", ordered: true, want: 1},
		{name: "more lines than wait", check: count(maxResults + 1), hosts: 2, format: "text", ordered: true, err: "--ordered: the lines of up to 262145 replies"},
		{name: "lines without end", check: count(0), hosts: 2, format: "text", ordered: true, err: "--ordered: the first host's turn has no end"},
		{name: "by deadline", check: ping(func(t *pingTool) { t.deadline = longest }), hosts: 2, format: "text", ordered: true, err: "--ordered: the lines of up to"},
		{name: "fping's times", check: ping(func(t *pingTool) { t.fleet.fping.Vector, t.count = true, maxTimes/1000 }), hosts: 1000, format: formatFping, want: 1000},
		{name: "more of them", check: ping(func(t *pingTool) { t.fleet.fping.Vector, t.count = true, maxTimes/1000+1 }), hosts: 1000, format: formatFping, err: "-C 16778: to 1000 hosts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &session{parallel: tt.parallel, format: tt.format, ordered: tt.ordered, given: map[string]bool{"parallel": tt.parallel != 0}}
			if s.parallel == 0 {
				s.parallel = tt.hosts
			}
			err := tt.check(s, tt.hosts)
			switch {
			case tt.err == "" && (err != nil || s.parallel != tt.want):
				t.Errorf("%d at once, error %v, want %d", s.parallel, err, tt.want)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

// TestLists: what is too much in all of them together is an error, at the byte.
func TestLists(t *testing.T) {
	left := int64(10)
	for _, tt := range []struct {
		in   string
		want string
		err  error
	}{{"12345", "12345", nil}, {"67890", "67890", nil}, {"x", "", errLongList}} {
		got, err := io.ReadAll(bounded{strings.NewReader(tt.in), &left})
		if tt.err == nil && left == 0 { // the end of that one is not seen
			err = nil
		}
		if string(got) != tt.want || err != tt.err {
			t.Errorf("%q: read %q, %v, want %q, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

// TestManyAddresses: what a name server says a name has is not all taken.
func TestManyAddresses(t *testing.T) {
	w := newWorld(simnet.Config{})
	var many []netip.Addr
	for a := netip.MustParseAddr("192.0.2.9"); len(many) < 1000; {
		many = append(many, a)
	}
	s := &session{env: w.env, tool: newPingTool()}
	s.env.lookup = func(context.Context, string, string) ([]netip.Addr, error) { return many, nil }
	found, err := s.addresses(t.Context(), "many.example")
	if err != nil || len(found) != maxAddresses {
		t.Errorf("%d addresses, %v, want %d", len(found), err, maxAddresses)
	}
	hosts := make([]host, maxTargets/maxAddresses+1)
	of := make([][]netip.Addr, len(hosts))
	for i := range of {
		hosts[i].name, of[i] = "many.example", found
	}
	s.env.source = w.env.source
	s.env.Conn = w.conn
	all := s.each(hosts, of)
	if n := len(all); n != maxTargets+1 || all[n-1].err != errTooMany {
		t.Errorf("%d hosts, the last with %v, want %d and the last refused", n, all[n-1].err, maxTargets+1)
	}
}

// TestEveryAddress: where each address of a name is measured, what is kept is bounded by all that it may have, before it is looked up.
func TestEveryAddress(t *testing.T) {
	names := func(n int, name string) []string { return slices.Repeat([]string{name}, n) }
	for _, tt := range []struct {
		every bool
		names []string
		want  int
	}{
		{false, names(1000, "a.example"), 1000},
		{true, names(1, "a.example"), maxAddresses},
		{true, append(names(2, "a.example"), "192.0.2.9", "2001:db8::9"), 2*maxAddresses + 2},
		{true, names(maxTargets/maxAddresses+1, "a.example"), maxTargets},
		{true, names(maxTargets, "192.0.2.9"), maxTargets},
	} {
		if got := (&session{everyAddress: tt.every}).most(tt.names); got != tt.want {
			t.Errorf("%v, %d names: at most %d targets, want %d", tt.every, len(tt.names), got, tt.want)
		}
	}
	const most = maxTimes / maxAddresses
	for _, tt := range []struct {
		args string
		err  string // "": it is run
	}{
		{fmt.Sprintf("-C %d -m nosuch.example", most), ""},
		{fmt.Sprintf("-C %d -m nosuch.example", most+1), fmt.Sprintf("-C %d: to %d hosts", most+1, maxAddresses)},
		{fmt.Sprintf("-C %d nosuch.example", most+1), ""},
		{"-C 1000000 -m nosuch.example", fmt.Sprintf("-C 1000000: to %d hosts", maxAddresses)},
	} {
		w := newWorld(simnet.Config{})
		w.env.Name = "fping"
		w.run(t.Context(), "gping "+tt.args)
		if refused := w.looked.Load() == 0; refused != (tt.err != "") || !strings.Contains(w.stderr.String(), tt.err) {
			t.Errorf("%s: refused %v, want %q\n%s", tt.args, refused, tt.err, &w.stderr)
		}
	}
	// And what is one address to a name has no room behind the last target either.
	w := newWorld(simnet.Config{})
	s := &session{env: w.env, tool: newPingTool()}
	hosts := slices.Repeat([]host{{name: target4}}, maxTargets+1)
	of := slices.Repeat([][]netip.Addr{{netip.MustParseAddr(target4)}}, len(hosts))
	if all := s.each(hosts, of); len(all) != len(hosts) || all[maxTargets-1].err != nil || all[maxTargets].err != errTooMany {
		t.Errorf("%d hosts, the last two with %v and %v", len(all), all[maxTargets-1].err, all[maxTargets].err)
	}
}

// TestWaitingOutput: while more output waits than may, no host is begun, unless none is left that could end the wait.
func TestWaitingOutput(t *testing.T) {
	w := newWorld(simnet.Config{})
	s := &session{env: w.env, tool: newTraceTool(), out: &output{w: io.Discard}, format: "json", ordered: true, parallel: 16}
	here, there := netip.MustParseAddr(here4), netip.MustParseAddr(target4)
	f := s.newFleet([]host{{}, {}, {name: "three", addr: there, source: here}, {name: "four", addr: there, source: here}}, nil)
	f.hosts[0].err, f.hosts[1].err = errFamily, errFamily
	if err := f.begin(t.Context(), s, f.hosts); err != nil {
		t.Fatal(err)
	}
	f.running.Add(&running{})
	wait := func(n int) {
		if _, err := f.order.Part(1).Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	wait(maxWaiting)
	if target, _, ok := f.next(); !ok || target.Number != 2 {
		t.Fatalf("at the bound: host %d, %v, want the third", target.Number, ok)
	}
	wait(1)
	if target, _, ok := f.next(); ok {
		t.Errorf("host %d is begun above the bound", target.Number)
	}
	f.running = nil
	if target, _, ok := f.next(); !ok || target.Number != 3 {
		t.Errorf("with none in progress: host %d, %v, want the fourth", target.Number, ok)
	}
}
