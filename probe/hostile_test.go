package probe_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"gtrace/internal/hostile"
	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/probe/pmtu"
	"gtrace/probe/trace"
	"gtrace/rawsock"
	"gtrace/report"
)

// arrived is a packet as the kernel hands it over; not ok where it would not.
func arrived(p []byte) (r rawsock.Reply, ok bool) {
	ip, err := wire.ParseIP(p)
	if err != nil {
		return r, false
	}
	return rawsock.Reply{From: ip.Src(), To: ip.Dst(), Proto: ip.Proto(), TTL: ip.TTL(), TOS: ip.TOS(), Data: ip.Transport(), Options: ip.Options()}, true
}

// A crowd answers every probe with all junk there is about it, from a router of the path, from elsewhere and in the
// destination's name: at once, while its answer is under way, and when that has come.
type crowd struct {
	c    *simnet.Conn
	from []netip.Addr
	sent map[string]uint64 // by the reason each is to be counted under
	junk int
}

func (w *crowd) answer(now time.Time, p []byte) {
	for i, from := range w.from {
		if from.Is6() != (p[0]>>4 == 6) {
			continue
		}
		for k, j := range hostile.About(p, from) {
			w.junk++
			r, ok := arrived(j.Data)
			if ok != (j.Why != "") {
				panic(fmt.Sprintf("%s: the kernel hands it over: %v", j.Name, ok))
			}
			if !ok {
				continue
			}
			w.sent[j.Why]++
			w.c.Inject(now.Add(time.Duration(i*k)*97*time.Microsecond), r)
		}
	}
}

// results are what a document says of the path or the host: all but the junk.
func results(t *testing.T, b []byte) (rest map[string]any, rejected map[string]uint64) {
	t.Helper()
	if err := json.Unmarshal(b, &rest); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	var check struct {
		Check struct {
			Unmatched, Malformed uint64
			Rejected             map[string]uint64
		} `json:"self_check"`
	}
	if err := json.Unmarshal(b, &check); err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, n := range check.Check.Rejected {
		sum += n
	}
	if sum != check.Check.Malformed+check.Check.Unmatched {
		t.Errorf("%d by reason, %d unmatched and %d malformed", sum, check.Check.Unmatched, check.Check.Malformed)
	}
	self := rest["self_check"].(map[string]any)
	for _, key := range []string{"rejected", "unmatched", "malformed"} {
		delete(self, key)
	}
	return rest, check.Check.Rejected
}

// narrowed looks for the path MTU.
func narrowed(t *testing.T, c *simnet.Conn, proto probe.Proto, src, dst netip.Addr) []byte {
	t.Helper()
	port, err := c.Reserve(src, proto.Number(dst, 0), 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := pmtu.Config{
		Proto: proto, Src: netip.AddrPortFrom(src, port), Dst: netip.AddrPortFrom(dst, 33434), First: 1, Max: 30, Attempts: 2, Size: 1500, Wait: 2 * time.Second, Here: 3,
	}
	if proto == probe.TCP {
		cfg.Segment.Flags = wire.ACK
	}
	a, err := pmtu.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return deliver(t, c, a, func(b *bytes.Buffer) (probe.Sink, error) {
		return report.NewTrace(b, "json", report.Options{Version: "test"})
	}, probe.Started{Src: src, Dst: dst, Method: probe.Method{Proto: proto, Size: 1500, Socket: "raw", FirstTTL: 1, MaxTTL: 30, Attempts: 2}})
}

// TestJunkChangesNothing: amid all kinds of hostile messages about every probe a run has the results, times and all, that it
// has in peace, and each message is counted under its reason; with the kernel's filter some never come so far.
func TestJunkChangesNothing(t *testing.T) {
	type measurement struct {
		name string
		run  func(*testing.T, *simnet.Conn) []byte
		ends bool // it may end before the junk about its last probe has come
	}
	sized := func(c *trace.Config) {
		if c.Proto != probe.TCP { // of which there is one size
			c.Size = 80 // with room for the token, over IPv6 too
		}
	}
	var all []measurement
	for _, p := range []probe.Proto{probe.UDP, probe.ICMP, probe.TCP} {
		all = append(all,
			measurement{p.String() + " over IPv4", func(t *testing.T, c *simnet.Conn) []byte { return traced(t, c, p, us, them, sized) }, false},
			measurement{p.String() + " over IPv6", func(t *testing.T, c *simnet.Conn) []byte { return traced(t, c, p, us6, them6, sized) }, false},
			measurement{p.String() + " for the MTU over IPv4", func(t *testing.T, c *simnet.Conn) []byte { return narrowed(t, c, p, us, them) }, true},
			measurement{p.String() + " for the MTU over IPv6", func(t *testing.T, c *simnet.Conn) []byte { return narrowed(t, c, p, us6, them6) }, true})
	}
	all = append(all, measurement{"ping", func(t *testing.T, c *simnet.Conn) []byte { return pinged(t, c, 10, 100*time.Millisecond) }, false})
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			once := func(passAll bool, w *crowd) ([]byte, *simnet.Conn) {
				src, routers, _, links := line(6)
				routers[2].Objects = simnet.MPLS(16)
				routers[4].Silent = true
				for _, l := range links { // so that what the junk draws from the dice, or delays, shows
					l.Back.Jitter, l.Out.Loss = 3*time.Millisecond, 0.1
				}
				links[1].MTU, links[3].MTU, links[3].BlackHole = 1400, 1300, true
				cfg := simnet.Config{Seed: 11, PassAll: passAll}
				if w != nil {
					cfg.OnSend = w.answer
				}
				c := simnet.New(cfg, src)
				if w != nil {
					*w = crowd{c: c, sent: make(map[string]uint64), from: []netip.Addr{at(1, false), at(1, true), them, them6,
						netip.MustParseAddr("203.0.113.66"), netip.MustParseAddr("2001:db8:66::66")}}
				}
				return m.run(t, c), c
			}
			quiet, _ := once(true, nil)
			want, none := results(t, quiet)
			if none != nil {
				t.Fatalf("rejected in peace: %v", none)
			}
			for _, passAll := range []bool{true, false} {
				var w crowd
				b, c := once(passAll, &w)
				got, rejected := results(t, b)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("pass all %v: with junk\n%s\nwithout\n%s", passAll, b, quiet)
				}
				if w.junk < 1000 {
					t.Errorf("only %d messages", w.junk)
				}
				if passAll && !m.ends && !maps.Equal(rejected, w.sent) {
					t.Errorf("rejected %v, want %v", rejected, w.sent)
				}
				for why, n := range rejected {
					if n > w.sent[why] {
						t.Errorf("%d rejected for %q, and only %d sent", n, why, w.sent[why])
					}
				}
				if n := c.Counts(); !passAll && (n.Unheard == 0 || len(rejected) == 0) {
					t.Errorf("the filter stopped %d, and let %v by", n.Unheard, rejected)
				}
			}
		})
	}
}

// T12: a hundred copies of every answer are counted, and change nothing.
func TestHundredCopies(t *testing.T) {
	run := func(copies int) document {
		src, _, _, links := line(3)
		if copies > 0 {
			links[0].Back.Dup, links[0].Back.Copies = 1, copies
		}
		return decode(t, traced(t, simnet.New(simnet.Config{Seed: 1}, src), probe.ICMP, us, them, nil))
	}
	want, got := run(0), run(100)
	answers := 0
	for _, h := range got.Hops {
		answers += len(h.Probes)
	}
	if n := got.SelfCheck["duplicates"]; n.(float64) < 100*float64(answers-1) { // the last may lie unread
		t.Errorf("%v duplicates of %d answers", n, answers)
	}
	got.SelfCheck, want.SelfCheck = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("with copies %+v, without %+v", got, want)
	}
}

// A floodConn has so much junk in its buffer before each look at the network.
type floodConn struct {
	*simnet.Conn
	about []rawsock.Reply
	left  int
	heap  uint64
}

func (f *floodConn) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	if f.left > 0 && len(f.about) > 0 {
		n := min(len(rs), f.left)
		for i := range rs[:n] {
			rs[i] = f.about[(f.left+i)%len(f.about)]
			rs[i].At = f.Now()
		}
		f.left -= n
		return n, nil
	}
	return f.Conn.Recv(rs, until)
}

func (f *floodConn) Emit(e probe.Event) error {
	if _, ok := e.(probe.Checked); ok { // all that the engine has is still there
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		f.heap = m.HeapAlloc
	}
	return nil
}

// TestJunkTakesNoMemory: ten times as many hostile messages leave nothing more behind.
func TestJunkTakesNoMemory(t *testing.T) {
	heap := func(junk int) uint64 {
		src, _, _, _ := line(3)
		f := &floodConn{left: junk}
		f.Conn = simnet.New(simnet.Config{Seed: 1, OnSend: func(now time.Time, p []byte) {
			if f.about != nil {
				return
			}
			for _, j := range hostile.About(p, at(1, false)) {
				if r, ok := arrived(j.Data); ok && len(r.Data) < 2000 {
					f.about = append(f.about, r)
				}
			}
		}}, src)
		s := &script{spec: echo(t, f), count: 20, every: time.Second}
		if err := probe.Run(t.Context(), f, s, probe.Limits{}, f); err != nil {
			t.Fatal(err)
		}
		for _, o := range s.all {
			if o.Answer != probe.EchoReply || o.Duplicate {
				t.Errorf("outcome %+v", o)
			}
		}
		if f.left != 0 || len(s.all) != 20 {
			t.Fatalf("%d messages left, %d outcomes", f.left, len(s.all))
		}
		return f.heap
	}
	heap(1000)
	few, many := heap(100_000), heap(1_000_000)
	if many > few+1<<20 {
		t.Errorf("%d bytes are in use after 10^5 messages, %d after 10^6", few, many)
	}
}

// TestAnswersToWhatHasNotLeft: somebody who has seen a probe can tell what the next will look like. While that waits for room in the
// device's queue nothing answers it.
func TestAnswersToWhatHasNotLeft(t *testing.T) {
	src, _, _ := network()
	var c *simnet.Conn
	c = simnet.New(simnet.Config{Seed: 1, Refuse: simnet.RefuseTries(1, 100, "ENOBUFS"), OnSend: func(now time.Time, p []byte) {
		if c.Counts().Sent > 1 {
			return
		}
		ip, err := wire.ParseIP(p)
		if err != nil {
			t.Error(err)
			return
		}
		next := slices.Clone(ip.Transport())
		for _, at := range []int{6, 8 + 2, 8 + 8 + 2} { // sequence number, id and number
			binary.BigEndian.PutUint16(next[at:], binary.BigEndian.Uint16(next[at:])+1)
		}
		next[0] = wire.EchoReply4
		r := rawsock.Reply{From: them, To: us, Proto: wire.ProtoICMP, TTL: 64, Data: next}
		simnet.Mend(&r)
		c.Inject(now.Add(50*time.Millisecond), r)
	}}, src)
	s := &script{spec: echo(t, c), count: 2, every: 20 * time.Millisecond}
	lg := run(t, c, s, probe.Limits{})
	for _, o := range s.all {
		if o.Answer != probe.EchoReply || o.At.Sub(o.Sent) != 4*time.Millisecond {
			t.Errorf("outcome %+v", o)
		}
	}
	want := probe.Rejections{probe.NotSentYet: 1}
	if got := lg.checked(t); len(s.all) != 2 || got.Rejected != want || got.Unmatched != 1 {
		t.Errorf("%d outcomes, %+v; want one answer to what has not left", len(s.all), got)
	}
}
