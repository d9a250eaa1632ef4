package simnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

func TestRecvWaits(t *testing.T) {
	l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	start := l.Now()
	rs := make([]rawsock.Reply, 4)
	recv := func(until time.Duration, n int, err error, now time.Duration) {
		t.Helper()
		limit := time.Time{}
		if until >= 0 {
			limit = start.Add(until)
		}
		got, gotErr := l.Recv(rs, limit)
		if got != n || !errors.Is(gotErr, err) || l.Now().Sub(start) != now {
			t.Errorf("until %v: %d replies, %v, at %v; want %d, %v, at %v", until, got, gotErr, l.Now().Sub(start), n, err, now)
		}
	}
	recv(time.Second, 0, os.ErrDeadlineExceeded, time.Second)
	recv(time.Second/2, 0, os.ErrDeadlineExceeded, time.Second) // never back
	l.send(3, 3, 3, 1, 3, 3)
	recv(time.Second+ms, 0, os.ErrDeadlineExceeded, time.Second+ms)
	recv(time.Second+2*ms, 1, nil, time.Second+2*ms) // until counts as in time
	recv(-1, 4, nil, time.Second+6*ms)               // as many as there is room for
	recv(0, 1, nil, time.Second+6*ms)                // the rest, though it is late
	if n, err := l.Recv(rs, time.Time{}); n != 0 || err == nil {
		t.Errorf("waiting for nothing: %d, %v, want an error", n, err)
	}
	if n, err := l.Recv(nil, time.Time{}); n != 0 || err == nil {
		t.Errorf("no room: %d, %v, want an error", n, err)
	}
}

// TestNext: the time of what is next is told, so that who has another clock can wait until then.
func TestNext(t *testing.T) {
	l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	if at, ok := l.Next(); ok {
		t.Errorf("nothing is under way, but something comes at %v", at)
	}
	start := l.Now()
	l.send(3, 2)
	for _, want := range []time.Duration{4 * ms, 6 * ms} {
		at, ok := l.Next()
		if !ok || at.Sub(start) != want {
			t.Errorf("next is %v (%v), want after %v", at.Sub(start), ok, want)
		}
		if n, err := l.Recv(make([]rawsock.Reply, 1), at); n != 1 || err != nil {
			t.Errorf("%d replies by then, %v, want 1", n, err)
		}
	}
}

// TestForeign: packets of other programs have no faults, and are answered.
func TestForeign(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		l := newLab(t, Config{Foreign: foreign, PassAll: true}, newLine().src, dst4, wire.ProtoUDP)
		l.quiet = true
		l.port++ // not reserved
		l.payload = 0
		l.send(1)
		if n, err := l.Recv(make([]rawsock.Reply, 1), time.Time{}); n != 1 || err != nil {
			t.Errorf("foreign %v: %d replies, %v, want 1", foreign, n, err)
		}
		if got := len(l.Faults()); (got == 0) != foreign {
			t.Errorf("foreign %v: %d faults of a port that is not reserved", foreign, got)
		}
	}
}

func TestDataArePoisoned(t *testing.T) {
	l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	l.send(1, 2)
	rs := make([]rawsock.Reply, 1)
	if _, err := l.Recv(rs, time.Time{}); err != nil {
		t.Fatal(err)
	}
	kept := rs[0].Data
	if kept[0] != wire.TimeExceeded4 {
		t.Fatalf("data %x, want time exceeded", kept)
	}
	if _, err := l.Recv(rs, l.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if want := bytes.Repeat([]byte{poison}, len(kept)); !bytes.Equal(kept, want) {
		t.Errorf("data after the next Recv %x, want poison", kept)
	}
}

func TestInterrupt(t *testing.T) {
	rs := make([]rawsock.Reply, 4)
	l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	start := l.Now()
	l.At(start.Add(5*ms), l.Interrupt)
	l.send(1, 3)
	if n, err := l.Recv(rs, time.Time{}); n != 1 || err != nil {
		t.Errorf("before: %d, %v, want a reply", n, err)
	}
	for range 2 {
		if n, err := l.Recv(rs, time.Time{}); n != 0 || err != rawsock.ErrInterrupted || l.Now().Sub(start) != 5*ms {
			t.Errorf("after: %d, %v at %v; want ErrInterrupted at 5 ms", n, err, l.Now().Sub(start))
		}
	}

	l = newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	done := make(chan struct{})
	go func() {
		l.Interrupt()
		close(done)
	}()
	<-done
	if n, err := l.Recv(rs, time.Time{}); n != 0 || err != rawsock.ErrInterrupted {
		t.Errorf("from elsewhere: %d, %v; want ErrInterrupted", n, err)
	}
}

func TestClose(t *testing.T) {
	l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, send := l.Send([]rawsock.Packet{l.packet(1)})
	_, recv := l.Recv(make([]rawsock.Reply, 1), time.Time{})
	for what, err := range map[string]error{"send": send, "receive": recv, "close": l.Close()} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v, want net.ErrClosed", what, err)
		}
	}
}

func TestAt(t *testing.T) {
	n := newLine()
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	start := l.Now()
	var order []string
	call := func(s string) func() {
		return func() { order = append(order, fmt.Sprint(s, " ", l.Now().Sub(start))) }
	}
	l.At(start.Add(3*ms), call("c"))
	l.At(start.Add(ms), call("a"))
	l.At(start.Add(3*ms), call("d"))
	l.At(start.Add(2*ms), func() {
		call("b")()
		l.send(1) // from within
		n.r1.Silent = true
		l.send(1)
	})
	if as := l.all(); len(as) != 1 || as[0].rtt != 4*ms {
		t.Errorf("answers %v, want one at 4 ms", as)
	}
	if got := strings.Join(order, ", "); got != "a 1ms, b 2ms, c 3ms, d 3ms" {
		t.Errorf("calls %q", got)
	}
}

// A hostile answer is made of what OnSend saw.
func TestInject(t *testing.T) {
	var l *lab
	cfg := Config{OnSend: func(at time.Time, p []byte) {
		q := bytes.Clone(p)
		q[16]++ // quotes another destination
		from := addr("203.0.113.66")
		b := wire.AppendError(nil, from, l.src, wire.TimeExceeded4, 0, 0, q, nil)
		r := rawsock.Reply{From: from, To: l.src, Proto: wire.ProtoICMP, TTL: 9, Data: b}
		l.Inject(at.Add(ms), r)
		b[30]++ // it is a copy that arrives
	}}
	l = newLab(t, cfg, newLine().src, dst4, wire.ProtoUDP)
	l.send(1)
	as := l.all()
	if len(as) != 2 {
		t.Fatalf("answers %v, want the hostile one and the true one", as)
	}
	l.want(as[0], "203.0.113.66 11/0 9")
	l.want(as[1], "10.0.1.1 11/0 64")
	if as[0].quote.Dst() == l.dst || as[0].rtt != ms {
		t.Errorf("hostile answer after %v quotes %v", as[0].rtt, as[0].quote.Dst())
	}
}

func TestReserve(t *testing.T) {
	n := newLine()
	c := New(Config{Seed: 3}, n.src)
	src := addr("10.0.0.1")
	seen := map[uint16]bool{}
	for range 28232 { // all there are
		p, err := c.Reserve(src, wire.ProtoUDP, 0)
		if err != nil || seen[p] || p < 32768 || p > 60999 {
			t.Fatalf("port %d after %d, %v", p, len(seen), err)
		}
		seen[p] = true
	}
	if p, err := c.Reserve(src, wire.ProtoUDP, 0); err == nil {
		t.Errorf("port %d beyond the last", p)
	}
	c.Release(src, wire.ProtoUDP, 40000)
	if p, err := c.Reserve(src, wire.ProtoUDP, 0); p != 40000 || err != nil {
		t.Errorf("after a release: %d, %v; want 40000", p, err)
	}
	for _, proto := range []uint8{wire.ProtoTCP, wire.ProtoICMP} {
		if p, err := c.Reserve(src, proto, 0); p == 0 || err != nil {
			t.Errorf("protocol %d: %d, %v", proto, p, err)
		}
	}
	if p, err := c.Reserve(addr("10.0.0.2"), wire.ProtoUDP, 0); err == nil {
		t.Errorf("port %d of another host", p)
	}
	if p, err := c.Reserve(src, 99, 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("port %d of protocol 99, %v", p, err)
	}
	if !c.Local(src) || !c.Local(addr("fd00::1")) || c.Local(addr("10.0.1.1")) {
		t.Errorf("local addresses wrong")
	}
	few := New(Config{Ports: 2}, newLine().src)
	for i := range 3 {
		if p, err := few.Reserve(src, wire.ProtoUDP, 0); (err == nil) != (i < 2) {
			t.Errorf("two ports at most: port %d is %d, %v", i, p, err)
		}
	}
	if p, err := few.Reserve(src, wire.ProtoTCP, 0); err != nil {
		t.Errorf("another protocol: %d, %v", p, err)
	}
}

// Only what is for a reserved port, or quotes the token, is heard.
func TestKernelFilter(t *testing.T) {
	for _, f := range families {
		for _, proto := range []uint8{wire.ProtoUDP, wire.ProtoTCP, wire.ProtoICMP} {
			for _, tt := range []struct {
				name             string
				all, nat, token  bool
				errors4, direct4 int
			}{
				{"reserved", false, false, true, 1, 1},
				{"reserved, no token", false, false, false, 1, 1},
				{"released", false, false, false, 0, 0},
				{"released, token", false, false, true, 1, 0}, // the quote's token is enough
				{"released, everything passes", true, false, false, 1, 1},
				{"translated", false, true, true, 1, 1},
				{"translated, no token", false, true, false, 0, 1},
			} {
				t.Run(fmt.Sprint(tt.name, " ", f.name, " protocol ", proto), func(t *testing.T) {
					n := newLine()
					n.dst.UDP = map[uint16]Service{33434: Echo}
					if tt.nat {
						n.r1.SNAT, n.r1.Restore = addr(map[string]string{"IPv4": "198.51.100.1", "IPv6": "2001:db8:1::1"}[f.name]), RestoreNothing
					}
					real := uint32(0)
					l := newLab(t, Config{PassAll: tt.all, Caps: func(c *rawsock.Caps) { real = c.Token }}, n.src, f.dst, proto)
					l.quiet = true
					if strings.HasPrefix(tt.name, "released") {
						l.Release(l.src, l.proto, l.port)
					}
					probe := func(ttl int) int {
						p := l.packet(ttl)
						if !tt.token { // overwrite it, where each protocol has it
							at := bytes.Index(p.Data[20:], binary.BigEndian.AppendUint32(nil, real))
							if proto == wire.ProtoTCP {
								at = bytes.Index(p.Data[20:], binary.BigEndian.AppendUint16(nil, uint16(real)))
							}
							p.Data[20+at]++
							ip, err := wire.ParseIP(p.Data)
							if err != nil {
								t.Fatal(err)
							}
							mend(ip.Transport(), l.src, l.dst, l.proto)
						}
						if _, err := l.Send([]rawsock.Packet{p}); err != nil {
							t.Fatal(err)
						}
						return len(l.all())
					}
					if got := probe(2); got != tt.errors4 {
						t.Errorf("%d errors heard, want %d", got, tt.errors4)
					}
					if got := probe(9); got != tt.direct4 {
						t.Errorf("%d direct answers heard, want %d", got, tt.direct4)
					}
					if c := l.Counts(); c.Answers != 2 || c.Unheard != 2-tt.errors4-tt.direct4 {
						t.Errorf("counts %+v", c)
					}
				})
			}
		}
	}
}

func TestFilterKeepsNonsenseOut(t *testing.T) {
	l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
	for _, r := range []rawsock.Reply{
		{Proto: wire.ProtoICMP},
		{Proto: wire.ProtoICMP, Data: make([]byte, 7)},
		{Proto: wire.ProtoICMP, Data: []byte{11, 0, 0, 0, 0, 0, 0, 0, 0x45}},
		{Proto: wire.ProtoICMP, Data: []byte{13, 0, 0, 0, 0, 0, 0, 0}},
		{Proto: wire.ProtoICMPv6, Data: []byte{134, 0, 0, 0, 0, 0, 0, 0}},
		{Proto: 99, Data: make([]byte, 40)},
	} {
		r.To = l.src
		l.Inject(l.Now(), r)
	}
	if as := l.all(); len(as) > 0 || l.Counts().Unheard != 6 {
		t.Errorf("heard %v, counts %+v", as, l.Counts())
	}
}

func TestCaps(t *testing.T) {
	src := Host("10.0.0.1")
	Path(src, Router("10.0.1.1"), Host(dst4))
	c := New(Config{Seed: 1}, src).Caps()
	if !c.Header || !c.TCP || !c.IPv4 || c.IPv6 || !c.RxStamp || !c.TxStamp || c.Socket != "raw" {
		t.Errorf("caps %+v", c)
	}
	if other := New(Config{Seed: 2}, src).Caps(); other.Token == c.Token {
		t.Errorf("two seeds have the token %#x", c.Token)
	}

	for _, f := range families {
		n := newLine()
		n.r1.Objects = MPLS(16)
		l := newLab(t, Config{Caps: func(c *rawsock.Caps) {
			c.Header, c.TCP, c.RxStamp, c.TxStamp, c.Socket = false, false, false, false, "unprivileged"
		}}, n.src, f.dst, wire.ProtoUDP)
		l.id, l.label, l.payload = 0x1234, 0x77777, 100
		p := l.packet(1)
		ps := []rawsock.Packet{p}
		if _, err := l.Send(ps); err != nil {
			t.Fatal(err)
		}
		if ps[0].Kernel || ps[0].Sent != l.Now() {
			t.Errorf("%s: sent %v, kernel %v", f.name, ps[0].Sent, ps[0].Kernel)
		}
		a := l.all()[0]
		if a.Kernel || a.icmp.Extensions() != wire.NoExtensions {
			t.Errorf("%s: kernel %v, extensions %v; want neither", f.name, a.Kernel, a.icmp.Extensions())
		}
		if q := a.quote; q.ID() != 0 || q.Label() != 0 || len(q.Bytes()) != len(p.Data) || !bytes.Equal(q.Transport(), p.Data[len(q.Header()):]) {
			t.Errorf("%s: ID %#x, label %#x, %d bytes; want what the error queue tells", f.name, q.ID(), q.Label(), len(q.Bytes()))
		}
		// Of a quote the error queue has the payload. The rest is known by the first 12 bytes of that, or lost.
		for _, tt := range []struct{ quote, payload, length int }{
			{8, 0, 8}, {12, 4, 12}, {19, 11, 19}, {20, 12, 108}, {200, 100, 108},
		} {
			n.r1.Objects, n.r1.Quote = nil, tt.quote
			p := l.packet(1)
			if _, err := l.Send([]rawsock.Packet{p}); err != nil {
				t.Fatal(err)
			}
			q := l.all()[0].quote
			u, err := wire.ParseUDP(q.Transport())
			if err != nil || len(u.Payload()) != tt.payload || u.Length() != tt.length || !bytes.HasPrefix(p.Data[len(q.Header())+8:], u.Payload()) {
				t.Errorf("%s: %d bytes quoted: %d of payload, UDP length %d (%v); want %d, %d", f.name, tt.quote, len(u.Payload()), u.Length(), err, tt.payload, tt.length)
			}
		}
		n.r1.Objects, n.r1.Quote = MPLS(16), 8
		l.send(1)
		if q := l.all()[0].quote; len(q.Bytes()) != 128 || bytes.Count(q.Transport()[8:], []byte{0}) != 128-len(q.Header())-8 {
			t.Errorf("%s: a quote that is filled up is %x", f.name, q.Bytes())
		}
		if _, err := l.Reserve(l.src, wire.ProtoTCP, 0); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: reserve a TCP port: %v", f.name, err)
		}
		l.proto = wire.ProtoTCP
		wantSendError(t, l, l.packet(1), "EPROTONOSUPPORT", false)
	}

	// The kernel numbers IPv4 packets itself: what a router sees is not what was written.
	n := newLine()
	seen := map[uint16]bool{}
	n.r1.Forward = []Edit{func(p []byte) { seen[be(p[4:])] = true }}
	l := newLab(t, Config{Caps: func(c *rawsock.Caps) { c.Header = false }}, n.src, dst4, wire.ProtoUDP)
	for range 3 {
		l.id = 0x1234
		l.send(2)
	}
	if len(seen) != 3 || seen[0x1234] {
		t.Errorf("identifications on the way %v", seen)
	}
}

func wantSendError(t *testing.T, l *lab, p rawsock.Packet, name string, full bool) {
	t.Helper()
	n, err := l.Send([]rawsock.Packet{p})
	var e *rawsock.SendError
	if n != 0 || !errors.As(err, &e) || e.Name != name || e.Dst != p.Dst || errors.Is(err, rawsock.ErrFull) != full || !strings.Contains(err.Error(), name) {
		t.Errorf("%d left, %v; want a SendError %s", n, err, name)
	}
}

func TestSendErrors(t *testing.T) {
	n := newLine()
	n.links[0].MTU = 1400
	n.src.Links[0].For = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
	l.payload = 1372
	l.send(1)
	l.payload++
	wantSendError(t, l, l.packet(1), "EMSGSIZE", false)
	l.payload, l.dst = 12, addr("198.51.100.1")
	wantSendError(t, l, l.packet(1), "ENETUNREACH", false)
	if c := l.Counts(); c.Sent != 1 || c.Refused != 2 {
		t.Errorf("counts %+v, want 1 sent, 2 refused", c)
	}
	l.payload, l.dst = 1400, addr("10.0.0.1") // itself: needs no route and no device
	l.send(1)
	l = newLab(t, Config{Caps: func(c *rawsock.Caps) { c.IPv6 = false }}, newLine().src, dst6, wire.ProtoUDP)
	wantSendError(t, l, l.packet(1), "EAFNOSUPPORT", false)

	l = newLab(t, Config{Refuse: RefuseTo(addr(dst4), "EHOSTUNREACH")}, newLine().src, dst4, wire.ProtoUDP)
	wantSendError(t, l, l.packet(1), "EHOSTUNREACH", false)
	l.dst = addr("192.0.2.10")
	l.send(1)

	l = newLab(t, Config{Refuse: RefuseTries(1, 2, "ENOBUFS")}, newLine().src, dst4, wire.ProtoUDP)
	ps := []rawsock.Packet{l.packet(1), l.packet(2), l.packet(3)}
	for i, want := range []int{1, 0, 2} {
		n, err := l.Send(ps)
		if n != want || errors.Is(err, rawsock.ErrFull) != (i < 2) {
			t.Errorf("try %d: %d left, %v; want %d", i, n, err, want)
		}
		ps = ps[n:]
	}
	if as := l.all(); len(as) != 3 {
		t.Errorf("answers %v, want 3", as)
	}
}

func TestStamps(t *testing.T) {
	l := newLab(t, Config{SendCost: 10 * time.Microsecond}, newLine().src, dst4, wire.ProtoUDP)
	start := l.Now()
	ps := []rawsock.Packet{l.packet(1), l.packet(1)}
	if _, err := l.Send(ps); err != nil {
		t.Fatal(err)
	}
	for i, p := range ps {
		if d := p.Sent.Sub(start); p.N != uint64(i) || !p.Kernel || d != time.Duration(i+1)*10*time.Microsecond {
			t.Errorf("packet %d: N %d, kernel %v, sent after %v", i, p.N, p.Kernel, d)
		}
	}
	as := l.all()
	if len(as) != 2 || as[0].At.Sub(ps[0].Sent) != 2*ms || as[1].At.Sub(ps[1].Sent) != 2*ms {
		t.Errorf("answers %v, want each 2 ms after its packet", as)
	}
	ss := make([]rawsock.Stamp, 1)
	if n := l.Stamps(ss); n != 0 {
		t.Errorf("%d late stamps, want none", n)
	}

	l = newLab(t, Config{SendCost: 10 * time.Microsecond, StampDelay: ms}, newLine().src, dst4, wire.ProtoUDP)
	start = l.Now()
	if _, err := l.Send(ps); err != nil {
		t.Fatal(err)
	}
	l.quiet = true // ps are of the other one's port
	for i, p := range ps {
		if d := p.Sent.Sub(start); p.Kernel || d != time.Duration(i)*10*time.Microsecond {
			t.Errorf("packet %d, user's time: kernel %v, sent after %v", i, p.Kernel, d)
		}
	}
	if n := l.Stamps(ss); n != 0 {
		t.Errorf("%d stamps at once, want none yet", n)
	}
	if _, err := l.Recv(make([]rawsock.Reply, 1), start.Add(ms+10*time.Microsecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if n := l.Stamps(ss); n != 1 || ss[0] != (rawsock.Stamp{N: 0, Sent: start.Add(10 * time.Microsecond)}) {
		t.Errorf("%d stamps, %v; want packet 0, 10 µs", n, ss)
	}
	if n := l.Stamps(ss); n != 0 { // the second is 10 µs younger
		t.Errorf("%d more stamps, want none", n)
	}
	if _, err := l.Recv(make([]rawsock.Reply, 1), start.Add(2*ms)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if n := l.Stamps(make([]rawsock.Stamp, 4)); n != 1 {
		t.Errorf("%d stamps, want the other", n)
	}
}

func TestStats(t *testing.T) {
	c := New(Config{}, newLine().src)
	if s := c.Stats(); s != (rawsock.Stats{}) {
		t.Errorf("stats %+v", s)
	}
	want := rawsock.Stats{Drops: 3, Malformed: 2, ClockSteps: 1}
	c.SetStats(want)
	if s := c.Stats(); s != want {
		t.Errorf("stats %+v, want %+v", s, want)
	}
}

func TestRecord(t *testing.T) {
	l := newLab(t, Config{Record: true, SendCost: ms}, newLine().src, dst4, wire.ProtoUDP)
	start := l.Now()
	p := l.packet(1)
	want := bytes.Clone(p.Data)
	if _, err := l.Send([]rawsock.Packet{p}); err != nil {
		t.Fatal(err)
	}
	clear(p.Data) // its user's again
	if s := l.Sent(); len(s) != 1 || !bytes.Equal(s[0].Data, want) || s[0].At.Sub(start) != ms {
		t.Errorf("sent %v, want %x", s, want)
	}
}

func TestFaults(t *testing.T) {
	edit := func(at int, v ...byte) func(l *lab, p *rawsock.Packet) {
		return func(_ *lab, p *rawsock.Packet) {
			copy(p.Data[at:], v)
			mendHeader(p.Data)
		}
	}
	for _, tt := range []struct {
		name    string
		proto   uint8
		spoil   func(l *lab, p *rawsock.Packet)
		want    string // in the fault; "": none
		answers bool   // by a target that is reached
	}{
		{"none", wire.ProtoUDP, func(*lab, *rawsock.Packet) {}, "", true},
		{"UDP checksum", wire.ProtoUDP, edit(26, 1, 2), "checksum", false},
		{"UDP without checksum", wire.ProtoUDP, edit(26, 0, 0), "", true},
		{"UDP length", wire.ProtoUDP, edit(24, 0, 19), "UDP length 19", false},
		{"echo checksum", wire.ProtoICMP, edit(22, 1, 2), "checksum", false},
		{"TCP checksum", wire.ProtoTCP, edit(36, 1, 2), "checksum", false},
		{"header checksum", wire.ProtoUDP, func(_ *lab, p *rawsock.Packet) { p.Data[10]++ }, "checksum", false},
		{"cut short", wire.ProtoUDP, func(_ *lab, p *rawsock.Packet) { p.Data = p.Data[:30] }, "too short", false},
		{"trailing byte", wire.ProtoUDP, func(_ *lab, p *rawsock.Packet) { p.Data = append(p.Data, 0) }, "but there are 41", true},
		{"not IP", wire.ProtoUDP, func(_ *lab, p *rawsock.Packet) { p.Data[0] = 0 }, "version", false},
		{"empty", wire.ProtoUDP, func(_ *lab, p *rawsock.Packet) { p.Data = nil }, "too short", false},
		{"other destination", wire.ProtoUDP, func(_ *lab, p *rawsock.Packet) { p.Dst = addr("192.0.2.10") }, "for 192.0.2.9", true},
		{"identification 0", wire.ProtoUDP, edit(4, 0, 0), "identification 0", true},
		{"identification 0 with DF", wire.ProtoUDP, edit(4, 0, 0, 0x40, 0), "", true},
		{"TTL 0", wire.ProtoUDP, edit(8, 0), "TTL 0", true},
		{"foreign source", wire.ProtoUDP, func(l *lab, p *rawsock.Packet) { readdress(p.Data, false, addr("10.0.0.2"), nil, true) }, "source 10.0.0.2", false},
		{"port not reserved", wire.ProtoUDP, func(l *lab, p *rawsock.Packet) { l.Release(l.src, l.proto, l.port) }, "is not reserved", false},
		{"token", wire.ProtoUDP, func(l *lab, p *rawsock.Packet) {
			p.Data[20+8+rawsock.TokenOffset]++
			mend(p.Data[20:], l.src, l.dst, l.proto)
		}, "not the token", true},
		{"echo token", wire.ProtoICMP, func(l *lab, p *rawsock.Packet) {
			p.Data[20+8+rawsock.TokenOffset]++
			mend(p.Data[20:], l.src, l.dst, l.proto)
		}, "not the token", true},
		{"TCP token", wire.ProtoTCP, func(l *lab, p *rawsock.Packet) {
			p.Data[24]++
			mend(p.Data[20:], l.src, l.dst, l.proto)
		}, "not the token", true},
		{"no room for a token", wire.ProtoUDP, func(l *lab, p *rawsock.Packet) {
			l.payload = 7
			*p = l.packet(9)
		}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newLine()
			n.dst.UDP = map[uint16]Service{33434: Echo}
			l := newLab(t, Config{}, n.src, dst4, tt.proto)
			l.quiet = true
			p := l.packet(9)
			tt.spoil(l, &p)
			if _, err := l.Send([]rawsock.Packet{p}); err != nil {
				t.Fatal(err)
			}
			f := l.Faults()
			if (len(f) == 1) != (tt.want != "") || len(f) > 0 && !strings.Contains(f[0].Error(), tt.want) || l.Counts().Faulty != len(f) {
				t.Errorf("faults %v, want %q", f, tt.want)
			}
			if got := len(l.all()) > 0; got != tt.answers {
				t.Errorf("answered %v, want %v; counts %+v", got, tt.answers, l.Counts())
			}
		})
	}
	l := newLab(t, Config{}, newLine().src, dst6, wire.ProtoUDP)
	l.quiet = true
	p := l.packet(9)
	p.Data[46], p.Data[47] = 0, 0
	if _, err := l.Send([]rawsock.Packet{p}); err != nil {
		t.Fatal(err)
	}
	if len(l.Faults()) != 1 || len(l.all()) != 0 {
		t.Errorf("IPv6 UDP without checksum: faults %v", l.Faults())
	}
}

func TestNodeOfAnotherNetwork(t *testing.T) {
	n := newLine()
	newLab(t, Config{}, n.src, dst4, wire.ProtoUDP).send(9)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	newLab(t, Config{}, n.src, dst4, wire.ProtoUDP).send(9)
}

// digest runs probes over a network with every kind of chance in it and
// returns a hash of all that arrives, and when.
func digest(t *testing.T, seed uint64) uint64 {
	n := newLine()
	extra := Router("10.0.1.9", "fd00:1::9")
	n.src.Link(extra).Out.Jitter = ms
	extra.Link(n.dst)
	n.src.Balance = PerPacket
	for _, l := range n.links {
		l.Out = Way{Delay: ms, Jitter: 3 * ms, Loss: 0.05, Dup: 0.05, Copies: 2, Reorder: 0.1, Hold: 10 * ms, Corrupt: 0.02, Damage: 0.02}
		l.Back = l.Out
	}
	n.r1.Limit = Linux
	l := newLab(t, Config{Seed: seed, SendCost: ms}, n.src, dst4, wire.ProtoUDP)
	for range 5 {
		l.send(1, 2, 3, 4)
	}
	h := fnv.New64a()
	for _, a := range l.all() {
		fmt.Fprintln(h, a.From, a.TTL, a.TOS, a.At.UnixNano(), a.Data)
	}
	fmt.Fprintln(h, l.Now(), l.Counts())
	return h.Sum64()
}

func TestDeterministic(t *testing.T) {
	seen := map[uint64]uint64{}
	for seed := range uint64(1000) {
		a, b := digest(t, seed), digest(t, seed)
		if a != b {
			t.Fatalf("seed %d: two runs differ", seed)
		}
		if other, ok := seen[a]; ok {
			t.Fatalf("seeds %d and %d run alike", other, seed)
		}
		seen[a] = seed
	}
}

func TestAnHourOfPings(t *testing.T) {
	n := newLine()
	n.links[1].Out.Loss = 0.01
	l := newLab(t, Config{}, n.src, dst4, wire.ProtoICMP)
	start := l.Now()
	rs := make([]rawsock.Reply, 8)
	got := 0
	for i := range 3600 {
		l.send(64)
		for {
			k, err := l.Recv(rs, start.Add(time.Duration(i+1)*time.Second))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
	}
	if lost := l.Counts().Lost; got != 3600-lost || lost < 15 || lost > 70 || l.Now().Sub(start) != time.Hour {
		t.Errorf("%d answers, %d lost in %v; want 3600 in an hour, some 36 lost", got, lost, l.Now().Sub(start))
	}
}

func TestManyInFlight(t *testing.T) {
	n := newLine()
	n.dst.Answer.Delay = 5 * time.Second
	l := newLab(t, Config{SendCost: 10 * time.Microsecond}, n.src, dst4, wire.ProtoICMP)
	for range 70_000 {
		l.send(64)
	}
	rs := make([]rawsock.Reply, 64)
	next := 1
	for next <= 70_000 {
		k, err := l.Recv(rs, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs[:k] {
			if got := be(r.Data[6:]); got != uint16(next) {
				t.Fatalf("answer %d has the sequence number %d", next, got)
			}
			next++
		}
	}
}
