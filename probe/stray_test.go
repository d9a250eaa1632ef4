package probe

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// steps is an algorithm that is a function.
type steps func(Input, *Output)

func (s steps) Step(in Input, out *Output) { s(in, out) }

// nobody listens to events.
type nobody struct{}

func (nobody) Emit(Event) error { return nil }

// last keeps what the run said against itself.
type last struct{ Checked }

func (l *last) Emit(e Event) error {
	if c, ok := e.(Checked); ok {
		l.Checked = c
	}
	return nil
}

// A strayConn has, with the n-th packet, a message in its buffer from before that left.
type strayConn struct {
	rawsock.Conn
	now   time.Time
	sent  int
	stray rawsock.Reply
	read  []rawsock.Reply
}

func (c *strayConn) Caps() rawsock.Caps {
	return rawsock.Caps{IPv4: true, RxStamp: true, TxStamp: true, Token: testToken}
}
func (c *strayConn) Now() time.Time             { return c.now }
func (c *strayConn) Local(a netip.Addr) bool    { return a == netip.MustParseAddr("192.0.2.1") }
func (c *strayConn) Stamps([]rawsock.Stamp) int { return 0 }
func (c *strayConn) Stats() rawsock.Stats       { return rawsock.Stats{} }

func (c *strayConn) Send(ps []rawsock.Packet) (int, error) {
	for i := range ps {
		ps[i].N, ps[i].Sent, ps[i].Kernel = uint64(c.sent), c.now, true
		if c.sent++; c.sent == 2 {
			c.stray.At, c.stray.Kernel = c.now.Add(-time.Millisecond), true
			c.read = append(c.read, c.stray)
		}
	}
	return len(ps), nil
}

func (c *strayConn) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	if n := copy(rs, c.read); n > 0 {
		c.read = nil
		c.now = c.now.Add(20 * time.Microsecond)
		return n, nil
	}
	if until.After(c.now) {
		c.now = until
	}
	return 0, os.ErrDeadlineExceeded
}

// T10: what arrived before a probe left is not its answer, where nothing but its being waited for alone says so.
func TestStrayFromBeforeIsNoAnswer(t *testing.T) {
	us, them := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.9:7")
	c := &strayConn{now: epoch, stray: rawsock.Reply{From: them.Addr(), To: us.Addr(), Proto: wire.ProtoUDP, TTL: 60,
		Data: wire.AppendUDP(nil, them, us, []byte("hi"), 0)}}
	next, asked := epoch, 0
	var got []Status
	a := steps(func(in Input, out *Output) {
		for _, o := range in.Outcomes {
			got = append(got, o.Status)
		}
		if asked < 2 && !in.Now.Before(next) {
			asked, next = asked+1, next.Add(time.Second)
			out.Send = append(out.Send, Spec{Proto: UDP, Src: us, Dst: them, TTL: 9, Size: 60, Timeout: time.Second / 2})
		}
		if out.Wake, out.Done = next, len(got) == 2; out.Done {
			out.Events = append(out.Events, Finished{})
		}
	})
	var check last
	if err := Run(t.Context(), c, a, Limits{}, &check); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []Status{Lost, Lost}) {
		t.Errorf("the probes were %v, want both lost", got)
	}
	if want := (Rejections{BeforeItsProbe: 1}); check.Rejected != want || check.Unmatched != 1 {
		t.Errorf("%+v, want one that was too early", check)
	}
}

// A busyConn answers each request a millisecond after it left, and takes ten for each reading.
type busyConn struct {
	strayConn
	s Spec
}

func (c *busyConn) Caps() rawsock.Caps {
	caps := c.strayConn.Caps()
	caps.Header = true
	return caps
}

func (c *busyConn) Send(ps []rawsock.Packet) (int, error) {
	for i := range ps {
		ps[i].N, ps[i].Sent, ps[i].Kernel = uint64(c.sent), c.now, true
		c.sent++
		ip, err := wire.ParseIP(ps[i].Data)
		if err != nil {
			return i, err
		}
		r := reply(c.s, c.s.Dst.Addr(), echoReply(c.s, ip.Transport(), 1500))
		r.At, r.Kernel = c.now.Add(time.Millisecond), true
		c.read = append(c.read, *r)
	}
	return len(ps), nil
}

func (c *busyConn) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	if n := copy(rs, c.read); n > 0 {
		c.read = c.read[n:]
		c.now = c.now.Add(10 * time.Millisecond)
		return n, nil
	}
	if until.After(c.now) {
		c.now = until
	}
	return 0, os.ErrDeadlineExceeded
}

// T47: whoever reads slowly has not lost what lies unread, neither by its time nor because it was given up.
func TestUnreadIsNotLost(t *testing.T) {
	const probes = 1000
	for _, givesUp := range []bool{false, true} {
		s := numbered()
		s.Timeout = 15 * time.Millisecond
		if givesUp {
			s.Timeout = time.Minute
		}
		c := &busyConn{strayConn: strayConn{now: epoch, sent: 2}, s: s}
		asked, got := false, make(map[Status]int)
		a := steps(func(in Input, out *Output) {
			for _, o := range in.Outcomes {
				got[o.Status]++
			}
			for !asked && len(out.Send) < probes {
				out.Send = append(out.Send, s)
			}
			asked = true
			for serial := uint64(1); givesUp && len(in.Outcomes) > 0 && serial <= probes; serial++ {
				out.GiveUp = append(out.GiveUp, serial)
			}
			out.Done = got[Answered] >= probes || in.Now.After(epoch.Add(time.Minute))
			out.Wake = in.Now.Add(time.Second)
		})
		if err := Run(t.Context(), c, a, Limits{InFlight: probes}, nobody{}); err != nil {
			t.Fatal(err)
		}
		if got[Answered] != probes || len(got) != 1 {
			t.Errorf("given up %v: of %d probes: %v, want all answered and none lost", givesUp, probes, got)
		}
	}
}
