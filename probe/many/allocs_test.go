package many_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/probe/many"
	"gtrace/probe/ping"
	"gtrace/rawsock"
)

// A mirror answers echo requests, each a millisecond later, and allocates nothing for it.
type mirror struct {
	now     time.Time
	packets [64][]byte
	n       int // that have not been answered
	sent    uint64
}

func (c *mirror) Caps() rawsock.Caps {
	return rawsock.Caps{Header: true, IPv4: true, RxStamp: true, TxStamp: true, Token: 4711}
}
func (c *mirror) Now() time.Time                                    { return c.now }
func (c *mirror) Set(rawsock.Settings) error                        { return nil }
func (c *mirror) Reserve(netip.Addr, uint8, uint16) (uint16, error) { return 7, nil }
func (c *mirror) Release(netip.Addr, uint8, uint16)                 {}
func (c *mirror) Local(a netip.Addr) bool                           { return a == us }
func (c *mirror) Stamps([]rawsock.Stamp) int                        { return 0 }
func (c *mirror) Stats() rawsock.Stats                              { return rawsock.Stats{} }
func (c *mirror) Interrupt()                                        {}
func (c *mirror) Close() error                                      { return nil }
func (c *mirror) Send(ps []rawsock.Packet) (int, error) {
	for i := range ps {
		c.sent++
		ps[i].N, ps[i].Sent, ps[i].Kernel = c.sent, c.now, true
		c.packets[c.n] = append(c.packets[c.n][:0], ps[i].Data...)
		c.n++
	}
	return len(ps), nil
}

func (c *mirror) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	if c.n == 0 {
		c.now = until
		return 0, os.ErrDeadlineExceeded
	}
	c.now = c.now.Add(time.Millisecond)
	n := c.n
	for i := range n {
		p := c.packets[i]
		b := p[20:]
		b[0] = wire.EchoReply4
		sum := uint32(binary.BigEndian.Uint16(b[2:])) + wire.Echo4<<8 // RFC 1624
		binary.BigEndian.PutUint16(b[2:], uint16(sum+sum>>16))
		rs[i] = rawsock.Reply{From: netip.AddrFrom4([4]byte(p[16:])), To: us, Proto: wire.ProtoICMP, TTL: 64, At: c.now, Kernel: true, Data: b}
	}
	c.n = 0
	return n, nil
}

// TestAllocations: a probe and its answer take no memory of the heap that the one before did not, but for what is remembered of them,
// which is allocated by the thousand.
func TestAllocations(t *testing.T) {
	const targets = 8
	answered := 0
	allocations := func(count int) float64 {
		return testing.AllocsPerRun(3, func() {
			next := 0
			answered = 0
			m := many.New(many.Config{Most: targets, Next: func() (many.Target, bool) {
				a, err := ping.New(ping.Config{Src: netip.AddrPortFrom(us, 7), Dst: netip.AddrPortFrom(dst(next), 0), TTL: 64,
					Size: 84, Count: count, Interval: 10 * time.Millisecond, Timeout: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				next++
				return many.Target{Number: next - 1, Algorithm: a}, next <= targets
			}}, ear(func(_ int, e probe.Event) {
				if p, ok := e.(*probe.Probed); ok && p.Outcome.Status == probe.Answered {
					answered++
				}
			}))
			if err := probe.Run(t.Context(), &mirror{now: time.Unix(1, 0)}, m, probe.Limits{}, m); err != nil {
				t.Fatal(err)
			}
			if answered != targets*count {
				t.Errorf("%d answers to %d probes", answered, targets*count)
			}
		})
	}
	if each := (allocations(3000) - allocations(1000)) / (targets * 2000); each > 0.02 {
		t.Errorf("%.3f allocations a probe", each)
	}
}
