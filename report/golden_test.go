package report

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"gtrace/probe"
)

// golden is a section of testdata/golden.txt, which capture.sh made of the real programs' output.
func golden(t *testing.T, title string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	for s := range strings.SplitSeq(string(b), "== ") {
		if head, text, _ := strings.Cut(s, "\n"); head == title {
			return text
		}
	}
	t.Fatalf("testdata/golden.txt has no section %q", title)
	return ""
}

// A hosts is a Namer that knows some names, of the addresses it was asked for before.
type hosts struct {
	names map[string]string
	asked map[netip.Addr]bool
}

func newHosts(pairs ...string) *hosts {
	h := &hosts{make(map[string]string), make(map[netip.Addr]bool)}
	for i := 0; i < len(pairs); i += 2 {
		h.names[pairs[i]] = pairs[i+1]
	}
	return h
}

func (h *hosts) Ask(a netip.Addr) { h.asked[a] = true }

func (h *hosts) Name(a netip.Addr) string {
	if !h.asked[a] {
		return "never-asked-for"
	}
	return h.names[a.String()]
}

// What capture.sh says to both programs.
func labNames() *hosts {
	return newHosts("10.1.0.1", "gw.example.org", "10.2.0.1", "core_1.example.org",
		"10.5.0.1", "a-very-long-name-that-fills-the-column-and-more.of.example.org",
		"192.0.2.9", "target.example.org", "2001:db8:1::1", "gw6.example.org")
}

func labOrigins() *hosts {
	return newHosts("10.1.0.1", "AS64496", "10.2.0.1", "AS1/AS2", "10.2.0.2", "AS1/AS2")
}

// A labPath makes events as path.py's answers would.
type labPath struct {
	v6     bool
	serial uint64
	events []probe.Event
}

func (p *labPath) start(m probe.Method, target string) {
	s := started(m)
	s.Target, s.Dst = target, netip.MustParseAddr(target)
	p.v6 = s.Dst.Is6()
	p.events = append(p.events, s)
}

func (p *labPath) addr(n int) netip.Addr {
	if p.v6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", n))
	}
	return netip.AddrFrom4([4]byte{10, byte(n), 0, 1})
}

// answer tells of an answer from a hop, of 0 from the destination.
func (p *labPath) answer(ttl uint8, from int, change ...func(*probe.Outcome)) probe.Outcome {
	p.serial++
	o := hopAnswer(number(p.serial, ttl, 1))
	if p.v6 {
		v6(&o)
		o.Type = 3
		o.Spec.Dst = netip.MustParseAddrPort("[2001:db8:77::9]:33434")
	}
	if from == 0 {
		o.Answer, o.From = probe.PortUnreachable, o.Spec.Dst.Addr()
	} else {
		o.From = p.addr(from)
	}
	for _, f := range change {
		f(&o)
	}
	p.events = append(p.events, &probe.Probed{Outcome: o})
	return o
}

func (p *labPath) hop(ttl uint8, os ...probe.Outcome) {
	p.events = append(p.events, probe.Hop{TTL: ttl, Outcomes: os})
}

func replyTTL(n uint8) func(*probe.Outcome) { return func(o *probe.Outcome) { o.TTL = n } }

// stacks gives an answer objects: MPLS label stacks and what else there is, in order.
func stacks(objects ...any) func(*probe.Outcome) {
	return func(o *probe.Outcome) {
		for _, x := range objects {
			switch x := x.(type) {
			case []probe.Label:
				o.Labels = append(o.Labels, x...)
				o.Objects = append(o.Objects, probe.Object{Class: 1, Type: 1, Data: make([]byte, 4*len(x))})
			case probe.Object:
				o.Objects = append(o.Objects, x)
			}
		}
	}
}

// hops are the events of the path of that name.
func (p *labPath) hops(tries int) {
	one := []probe.Label{{Value: 24001, Bottom: true, TTL: 1}}
	two := []probe.Label{{Value: 24001, TC: 1, TTL: 1}, {Value: 5, Bottom: true, TTL: 255}}
	many := []any{[]probe.Label{{Value: 24002, Bottom: true, TTL: 2}},
		probe.Object{Class: 2, Type: 2, Data: []byte{1, 2, 3, 0xff, 0, 0, 0, 7}}, probe.Object{Class: 9, Type: 200},
		[]probe.Label{{Value: 3, TC: 7, Bottom: true}}}
	for ttl := uint8(1); ttl <= 6; ttl++ {
		var os []probe.Outcome
		for n := 1; n <= tries; n++ {
			var change []func(*probe.Outcome)
			from := int(ttl)
			switch {
			case ttl == 2:
				change = append(change, stacks(one))
				if n > 1 {
					change = append(change, func(o *probe.Outcome) { o.From = o.From.Next() })
				}
			case ttl == 3 && n < 3:
				change = append(change, stacks(two))
			case ttl == 3:
				change = append(change, stacks(many...))
			case ttl == 4:
				change = append(change, replyTTL([]uint8{61, 125, 250, 1, 1, 1}[n-1]))
			case ttl == 5 && n < 3:
				change = append(change, lost)
			case ttl == 5:
				change = append(change, replyTTL(120))
			case ttl == 6:
				change = append(change, replyTTL(59), func(o *probe.Outcome) { o.Answer = probe.PortUnreachable })
				if n != 2 {
					from = 0
				}
			}
			os = append(os, p.answer(ttl, from, change...))
		}
		p.hop(ttl, os...)
	}
	p.events = append(p.events, reached(6))
}

// narrow are the events of the path of that name, with so many answered tries at each TTL.
func (p *labPath) narrow(tries int, big bool) {
	at := func(ttl uint8, from int, change ...func(*probe.Outcome)) {
		var os []probe.Outcome
		for range tries {
			os = append(os, p.answer(ttl, from, change...))
		}
		p.hop(ttl, os...)
	}
	narrows := func(ttl uint8, to int) {
		if !big {
			return
		}
		if ttl > 0 {
			p.answer(ttl, int(ttl)-1, func(o *probe.Outcome) { o.Answer, o.MTU = probe.TooBig, to })
		}
		p.events = append(p.events, probe.PathMTU{TTL: ttl, Bytes: to})
	}
	narrows(0, 1500)
	at(1, 1)
	narrows(2, 1400)
	at(2, 2, replyTTL(63))
	narrows(3, 1300)
	at(3, 3, replyTTL(250))
	at(4, 4, lost)
	at(5, 5, replyTTL(124))
	at(6, 0, replyTTL(60))
	p.events = append(p.events, reached(6))
}

func (p *labPath) ports() {
	p.hop(1, p.answer(1, 1), p.answer(1, 1), p.answer(1, 1), p.answer(1, 1), p.answer(1, 1))
	var os []probe.Outcome
	for i, flags := range []uint8{0x12, 0x14, 0x04, 0xff, 0x52} {
		os = append(os, p.answer(2, 0, func(o *probe.Outcome) {
			o.Flags, o.Answer = flags, []probe.Answer{probe.SynAck, probe.Reset, probe.Reset, probe.SegmentReply, probe.SynAck}[i]
		}))
	}
	p.hop(2, os...)
	p.events = append(p.events, reached(2))
}

// TestLikeTraceroute holds text to what Linux traceroute printed, letter by letter.
func TestLikeTraceroute(t *testing.T) {
	const v4, v6 = "192.0.2.9", "2001:db8:77::9"
	hops := func(tries int) func(*labPath) { return func(p *labPath) { p.hops(tries) } }
	narrow := func(p *labPath) { p.narrow(3, true) }
	method := func(size int) probe.Method { return probe.Method{Proto: probe.UDP, MaxTTL: 30, Size: size} }
	tests := []struct {
		path, args, target string
		o                  Options
		m                  probe.Method
		events             func(*labPath)
	}{
		{"hops", "", v4, Options{Names: labNames()}, method(60), hops(3)},
		{"hops", "-n -e --back -q6 ", v4, Options{Extensions: true, Back: true}, method(60), hops(6)},
		{"hops", "-A -e --back ", v4, Options{Names: labNames(), Origins: labOrigins(), Extensions: true, Back: true}, method(60), hops(3)},
		{"hops", "-n -e --back ", v6, Options{Extensions: true, Back: true}, method(80), hops(3)},
		{"ports", "-n -T -O info -q5 ", v4, Options{Flags: true}, method(60), (*labPath).ports},
		{"ports", "-n -T -O info -q5 ", v4, Options{Flags: true, Extensions: true}, method(60), (*labPath).ports},
		{"narrow", "-n --mtu ", v4, Options{}, method(65000), narrow},
		{"narrow", "--mtu --back ", v4, Options{Names: labNames(), Back: true}, method(65000), narrow},
	}
	for _, tt := range tests {
		t.Run(tt.args+tt.target, func(t *testing.T) {
			p := &labPath{}
			p.start(tt.m, tt.target)
			tt.events(p)
			want := golden(t, tt.path+" env RA_SERVER=127.0.0.1 RA_SERVICE=43 traceroute -N1 -w1 "+tt.args+tt.target)
			if got := run(t, NewTrace, "text", tt.o, p.events...); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Run("-n -A", func(t *testing.T) {
		p := &labPath{}
		m := method(60)
		m.MaxTTL = 2
		p.start(m, v4)
		p.hops(3)
		want := golden(t, "hops env RA_SERVER=127.0.0.1 RA_SERVICE=43 traceroute -N1 -w1 -n -A -m 2 192.0.2.9")
		got := run(t, NewTrace, "text", Options{Origins: labOrigins()}, p.events...)
		if !strings.HasPrefix(got, want) { // the path goes on
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func openTracepath(w io.Writer, _ string, o Options) (probe.Sink, error) {
	return NewTracepath(w, o), nil
}

// TestLikeTracepath does the same for tracepath.
func TestLikeTracepath(t *testing.T) {
	const v4, v6 = "192.0.2.9", "2001:db8:77::9"
	method := probe.Method{Proto: probe.UDP, Size: 65535, MaxTTL: 30}
	small := probe.Method{Proto: probe.UDP, Size: 1000, MaxTTL: 5}
	end := probe.Finished{Complete: true, Verdict: probe.MaxHops}
	narrow := func(p *labPath) {
		p.narrow(1, true)
		// tracepath asks at TTL 1 twice.
		p.events = append(p.events[:3:3], p.events[2:]...)
	}
	tests := []struct {
		title, target string
		o             Options
		m             probe.Method
		events        func(*labPath)
	}{
		{"narrow tracepath 192.0.2.9", v4, Options{Names: labNames()}, method, narrow},
		{"narrow tracepath -n 192.0.2.9", v4, Options{}, method, narrow},
		{"narrow tracepath -n 192.0.2.9", v4, Options{Names: labNames(), Numeric: true}, method, narrow},
		{"narrow tracepath -b 192.0.2.9", v4, Options{Names: labNames(), Both: true}, method, narrow},
		{"narrow tracepath -n -b 192.0.2.9", v4, Options{Names: labNames(), Numeric: true, Both: true}, method, narrow},
		{"narrow tracepath 2001:db8:77::9", v6, Options{Names: labNames()}, method, narrow},
		{"narrow tracepath -n -m 5 -l 1000 192.0.2.9", v4, Options{}, small, func(p *labPath) {
			p.narrow(1, false)
			p.events = append(p.events[:len(p.events)-3], end)
		}},
		{"narrow tracepath -n -m 5 -l 1000 192.0.2.9", v4, Options{}, small, func(p *labPath) { // the device carries more
			p.narrow(1, false)
			p.events = append(p.events[:len(p.events)-3], end)
			p.events = append([]probe.Event{p.events[0], probe.PathMTU{Bytes: 1500}, probe.PathMTU{Bytes: 1000}}, p.events[1:]...)
		}},
		{"silent tracepath -n -m 1 -l 1000 192.0.2.9", v4, Options{}, small, func(p *labPath) {
			p.hop(1, p.answer(1, 1, lost), p.answer(1, 1, lost), p.answer(1, 1, lost))
			p.events = append(p.events, end)
		}},
		{"service tracepath -n -l 1000 192.0.2.9", v4, Options{}, small, func(p *labPath) {
			p.hop(1, p.answer(1, 1))
			service := p.answer(2, 0, func(o *probe.Outcome) { o.Answer = probe.Datagram })
			p.answer(2, 0, func(o *probe.Outcome) { o.Answer = probe.Datagram })
			p.hop(2, service)
			p.events = append(p.events, reached(2))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.title, func(t *testing.T) {
			p := &labPath{}
			p.start(tt.m, tt.target)
			tt.events(p)
			want := golden(t, tt.title)
			// How long an IPv6 send took to fail: no round-trip time, which an event would have.
			want = strings.Replace(want, "[LOCALHOST]                        0.413ms ", "[LOCALHOST]                      ", 1)
			if got := run(t, openTracepath, "", tt.o, p.events...); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestNotes goes through all ICMP errors that traceroute and tracepath have a word for.
func TestNotes(t *testing.T) {
	for _, title := range []string{"traceroute 4", "traceroute 6", "tracepath 4", "tracepath 6"} {
		program, family, _ := strings.Cut(title, " ")
		rows := strings.Split(strings.TrimSpace(golden(t, "notes "+title)), "\n")
		if len(rows) < 16 {
			t.Errorf("%s: %d rows", title, len(rows))
		}
		for _, row := range rows {
			f := strings.SplitN(row, " ", 4)
			var typ, code uint8
			var mtu int
			if _, err := fmt.Sscan(f[0]+" "+f[1]+" "+f[2], &typ, &code, &mtu); err != nil {
				t.Fatal(err)
			}
			o := hopAnswer(func(o *probe.Outcome) {
				if family == "6" {
					v6(o)
				}
				o.Type, o.Code, o.MTU = typ, code, mtu
				o.Answer = answerTo(family == "6", typ, code)
			})
			got, want := annotation(&o), f[3]
			if program == "tracepath" {
				got = new(tracepath).remark(&o)
				if want == "" { // it complains on standard error
					want = map[uint8]string{2: "!P", 5: "!S", 7: "!H", 8: "!N"}[code]
				}
			}
			if got != want {
				t.Errorf("%s, type %d code %d: %q, want %q", title, typ, code, got, want)
			}
		}
	}
}

// answerTo is what the engine calls an ICMP error.
func answerTo(v6 bool, typ, code uint8) probe.Answer {
	switch {
	case v6 && typ == 1 && code == 4, !v6 && typ == 3 && code == 3:
		return probe.PortUnreachable
	case v6 && typ == 4 && code == 1, !v6 && typ == 3 && code == 2:
		return probe.ProtocolUnreachable
	case v6 && typ == 2, !v6 && typ == 3 && code == 4:
		return probe.TooBig
	case v6 && typ == 1, !v6 && typ == 3:
		return probe.Unreachable
	case (v6 && typ == 3 || !v6 && typ == 11) && code == 0:
		return probe.TimeExceeded
	case v6 && typ == 3, !v6 && typ == 11:
		return probe.ReassemblyExceeded
	}
	return probe.ParameterProblem
}

// TestTraceTextOdds is about what no real run shows.
func TestTraceTextOdds(t *testing.T) {
	label := []probe.Label{{Value: 7, Bottom: true, TTL: 1}}
	tests := []struct {
		name   string
		o      Options
		events []probe.Event
		want   string // without the header
	}{
		{"a path MTU and an annotation", Options{}, []probe.Event{probe.PathMTU{Bytes: 1500}, probe.PathMTU{TTL: 1, Bytes: 1400},
			probe.Hop{TTL: 1, Outcomes: []probe.Outcome{hopAnswer(unreachable(3, 1)), hopAnswer()}}, hopOf(2)},
			" 1  198.51.100.1  0.413 ms !H  0.413 ms\n 2  198.51.100.1  0.413 ms\n"},
		{"a path MTU and silence", Options{}, []probe.Event{probe.PathMTU{TTL: 1, Bytes: 1400},
			probe.Hop{TTL: 1, Outcomes: []probe.Outcome{hopAnswer(lost), hopAnswer()}}},
			" 1  * F=1400 198.51.100.1  0.413 ms\n"},
		{"a path MTU of another target", Options{}, []probe.Event{probe.PathMTU{TTL: 1, Bytes: 1400}, reached(1), started(udpMethod), hopOf(1)},
			"\ntraceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets\n 1  198.51.100.1  0.413 ms\n"},
		{"flags that nobody asked for", Options{Extensions: true}, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{
			hopAnswer(func(o *probe.Outcome) { o.Answer, o.Flags = probe.SynAck, 0x12 })}}},
			" 1  198.51.100.1  0.413 ms\n"},
		{"a TTL the platform does not tell", Options{Back: true}, []probe.Event{probe.Hop{TTL: 2, Outcomes: []probe.Outcome{hopAnswer(replyTTL(0))}}},
			" 2  198.51.100.1  0.413 ms\n"},
		{"labels alone", Options{Extensions: true}, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{
			hopAnswer(func(o *probe.Outcome) { o.Labels = label })}}},
			" 1  198.51.100.1 <MPLS:L=7,E=0,S=1,T=1>  0.413 ms\n"},
		{"a stack that goes on behind its bottom", Options{Extensions: true}, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{
			hopAnswer(func(o *probe.Outcome) {
				o.Labels = append(label, label...)
				o.Objects = []probe.Object{{Class: 1, Type: 1, Data: make([]byte, 8)}, {Class: 1, Type: 1, Data: make([]byte, 4)}}
			})}}},
			" 1  198.51.100.1 <MPLS:L=7,E=0,S=1,T=1;MPLS:L=7,E=0,S=1,T=1>  0.413 ms\n"},
		{"a stack without labels", Options{Extensions: true}, []probe.Event{probe.Hop{TTL: 1, Outcomes: []probe.Outcome{
			hopAnswer(func(o *probe.Outcome) {
				o.Objects = []probe.Object{{Class: 1, Type: 1, Data: []byte{1, 2}}, {Class: 1, Type: 1, Data: []byte{1, 2, 3, 4, 5}}}
			})}}},
			" 1  198.51.100.1 <1/1:0102;1/1:01020304,05>  0.413 ms\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, NewTrace, "text", tt.o, append([]probe.Event{started(udpMethod)}, tt.events...)...)
			if want := "traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets\n" + tt.want; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestTracepathOdds is the same for tracepath.
func TestTracepathOdds(t *testing.T) {
	tell := func(change ...func(*probe.Outcome)) probe.Event { return &probe.Probed{Outcome: hopAnswer(change...)} }
	tooBig := func(mtu int) func(*probe.Outcome) {
		return func(o *probe.Outcome) { o.Answer, o.Type, o.Code, o.MTU = probe.TooBig, 3, 4, mtu }
	}
	failed := func(errno string) func(*probe.Outcome) {
		return func(o *probe.Outcome) { refused(o); o.Errno = errno }
	}
	own := func(o *probe.Outcome) { // this host's own ICMP error
		unreachable(3, 1)(o)
		o.Status, o.Errno, o.From = probe.Failed, "EHOSTUNREACH", local
	}
	arrived := func(o *probe.Outcome) { o.Answer, o.From = probe.PortUnreachable, dest }
	at := func(ttl uint8) func(*probe.Outcome) { return number(uint64(ttl), ttl, 1) }
	const hop1 = " 1:  198.51.100.1                                          0.413ms "
	end := func(v probe.Verdict) probe.Event { return probe.Finished{Verdict: v} }
	tests := []struct {
		name   string
		m      probe.Method
		events []probe.Event
		want   string
	}{
		{"silence behind a large packet", probe.Method{Size: 1500},
			[]probe.Event{tell(tooBig(1400)), probe.PathMTU{TTL: 1, Bytes: 1400}, tell(lost), hopOf(1), end(probe.Interrupted)},
			hop1 + "pmtu 1400\n 1:  no reply\n     Resume: pmtu 1400 \n"},
		{"an old router", probe.Method{Size: 1500}, []probe.Event{tell(tooBig(0)), probe.PathMTU{TTL: 1, Bytes: 1492}, end(probe.Interrupted)},
			hop1 + "\n     Resume: pmtu 1492 \n"},
		{"a size nobody knows", probe.Method{}, []probe.Event{tell(), hopOf(1), end(probe.MaxHops)},
			hop1 + "\n     Too many hops: \n     Resume: \n"},
		{"no more than a larger MTU", probe.Method{Size: 1000}, []probe.Event{probe.PathMTU{Bytes: 1500}, end(probe.Interrupted)}, "     Resume: pmtu 1000 \n"},
		{"a first TTL", probe.Method{Size: 65535, FirstTTL: 3}, []probe.Event{probe.PathMTU{Bytes: 1500}, end(probe.Interrupted)},
			" 3?: [LOCALHOST]                      pmtu 1500\n     Resume: pmtu 1500 \n"},
		{"a device's MTU that changes", probe.Method{Size: 65535}, []probe.Event{probe.PathMTU{Bytes: 1500}, tell(), hopOf(1), probe.PathMTU{Bytes: 1400}, end(probe.Interrupted)},
			" 1?: [LOCALHOST]                      pmtu 1500\n" + hop1 + "\n 2?: [LOCALHOST]                      pmtu 1400\n     Resume: pmtu 1400 \n"},
		{"duplicates and what came late", probe.Method{}, []probe.Event{tell(lost), hopOf(1), tell(late), tell(duplicate), end(probe.Interrupted)},
			" 1:  no reply\n" + hop1 + "\n     Resume: \n"},
		{"what the device refuses for its size", probe.Method{Size: 65535}, []probe.Event{tell(failed("EMSGSIZE")), probe.PathMTU{Bytes: 1500}, tell(), hopOf(1), end(probe.Interrupted)},
			" 1?: [LOCALHOST]                      pmtu 1500\n" + hop1 + "\n     Resume: pmtu 1500 \n"},
		{"what does not leave", probe.Method{}, []probe.Event{tell(failed("EINVAL")), tell(failed("EINVAL")), hopOf(1), end(probe.Errored)},
			" 1:  send failed\n     Resume: \n"},
		{"a dead neighbour", probe.Method{}, []probe.Event{tell(own), tell(own), hopOf(1), end(probe.Blocked)},
			" 1:  198.51.100.2                                        !H\n     Resume: \n"},
		{"a service", probe.Method{}, []probe.Event{tell(), hopOf(1), tell(flowOnly), tell(flowOnly), end(probe.Reached)},
			hop1 + "\n 2?: reply received 8)\n     Resume: \n"},
		{"the destination twice", probe.Method{}, []probe.Event{tell(at(2), arrived, replyTTL(63)), tell(at(3), arrived, replyTTL(60)), end(probe.Reached)},
			" 2:  192.0.2.9                                             0.413ms reached\n 3:  192.0.2.9                                             0.413ms reached\n     Resume: hops 2 back 2 \n"},
		{"a TTL the platform does not tell", probe.Method{}, []probe.Event{tell(replyTTL(0)), tell(at(2), arrived, replyTTL(0)), end(probe.Reached)},
			hop1 + "\n 2:  192.0.2.9                                             0.413ms reached\n     Resume: hops 2 \n"},
		{"a protocol it does not have", probe.Method{}, []probe.Event{tell(func(o *probe.Outcome) { o.Answer, o.Type, o.Code = probe.ProtocolUnreachable, 3, 2 }), end(probe.Blocked)},
			hop1 + "!P\n     Resume: \n"},
		{"an open TCP port", probe.Method{}, []probe.Event{tell(func(o *probe.Outcome) { o.Answer, o.Type, o.Flags = probe.SynAck, 0, 0x12 }), end(probe.Reached)},
			hop1 + "reached\n     Resume: hops 1 back 1 \n"},
		{"findings", probe.Method{}, []probe.Event{probe.Finding{Code: "x-y", Text: "a\x1b"}, end(probe.GapLimit)}, "     Resume: \n" + `  # x-y: a\x1b` + "\n"},
		{"two targets", probe.Method{}, []probe.Event{tell(lost), tell(at(2), arrived), end(probe.Reached), started(probe.Method{}), tell(at(3), lost), hopOf(2), end(probe.Interrupted)},
			" 2:  192.0.2.9                                             0.413ms reached\n     Resume: hops 2 back 1 \n\n 2:  no reply\n     Resume: \n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := append([]probe.Event{started(tt.m)}, tt.events...)
			if got := run(t, openTracepath, "", Options{}, events...); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
