package rawsock

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// BenchmarkSend sends probes that nobody answers, with a system call for so many.
func BenchmarkSend(b *testing.B) {
	newPair(b)
	for _, n := range []int{1, batch} {
		ps := make([]Packet, n)
		for i := range ps {
			// A protocol number that the other host does not know, and an ICMP error
			// that this one's filter refuses.
			ps[i] = to(ipPacket(me4, them4, 253, payload(40, 1)))
		}
		c := rawConn(b)
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustSend(b, c, ps...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
		})
	}
}

// BenchmarkExchange sends echo requests over loopback and reads the answers.
func BenchmarkExchange(b *testing.B) {
	newPair(b)
	for _, f := range families {
		for _, n := range []int{1, batch} {
			c := rawConn(b)
			id := echoID(b, c, f.me)
			ps := make([]Packet, n)
			for i := range ps {
				ps[i] = to(echoPacket(f.me, f.me, false, id, uint16(i), payload(12, c.caps.Token)))
			}
			rs := make([]Reply, batch)
			b.Run(fmt.Sprintf("%s/batch=%d", f.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					mustSend(b, c, ps...)
					for got := 0; got < n; {
						k, err := c.Recv(rs, c.Now().Add(patience))
						if err != nil {
							b.Fatal(err)
						}
						got += k
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
			})
		}
	}
}

// BenchmarkReserve makes the filters anew with so many ports reserved.
func BenchmarkReserve(b *testing.B) {
	newPair(b)
	c := rawConn(b)
	for range maxReserved - 1 {
		mustReserve(b, c, me4, wire.ProtoUDP)
	}
	for b.Loop() {
		c.Release(me4, wire.ProtoUDP, mustReserve(b, c, me4, wire.ProtoUDP))
	}
}

// TestNoAllocation: neither sending nor receiving makes garbage.
func TestNoAllocation(t *testing.T) { eachKind(t, testNoAllocation) }

func testNoAllocation(t *testing.T, open func(testing.TB) *raw) {
	newPair(t)
	c := open(t)
	id := echoID(t, c, me6)
	ps := []Packet{to(echoPacket(me6, them6, false, id, 1, payload(12, 0)))}
	rs := make([]Reply, 8)
	n := testing.AllocsPerRun(100, func() {
		if _, err := c.Send(ps); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Recv(rs, time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a probe and its answer, want none", n)
	}
}

// BenchmarkBulk sends echo requests to a neighbour in batches and reads what answers there are in between, by raw sockets and by packet sockets.
// What the answers cost the neighbour is in it too, as veth has the sender do it all.
func BenchmarkBulk(b *testing.B) {
	p := newPair(b)
	for _, f := range families {
		for _, o := range []Options{{}, {Packet: true}} {
			c := rawConnOf(b, o, rcvBuf)
			id := echoID(b, c, f.me)
			ps := make([]Packet, batch)
			for i := range ps {
				ps[i] = to(echoPacket(f.me, f.them, false, id, uint16(i), payload(12, c.caps.Token)))
			}
			rs := make([]Reply, batch)
			b.Run(fmt.Sprintf("%s/%s", f.name, c.caps.Socket), func(b *testing.B) {
				runtime.LockOSThread() // routes and neighbours are asked for on the way
				p.enter(b)
				b.ReportAllocs()
				start := cpuTime(b)
				got := 0
				hear := func(until time.Time) {
					for {
						k, err := c.Recv(rs, until)
						got += k
						if k < len(rs) || err != nil {
							return
						}
					}
				}
				sent := 0
				for b.Loop() {
					mustSend(b, c, ps...)
					sent += batch
					hear(c.Now())
				}
				for stop := c.Now().Add(patience); got < sent && c.Now().Before(stop); {
					hear(stop)
				}
				if got != sent {
					b.Errorf("%d answers to %d, %+v", got, sent, c.Stats())
				}
				b.ReportMetric(float64((cpuTime(b)-start).Nanoseconds())/float64(b.N*batch), "cpu-ns/packet")
			})
		}
	}
}

// BenchmarkBulkReceive reads 3200 answers that are there already. What it took to put them there is not in it.
func BenchmarkBulkReceive(b *testing.B) {
	p := newPair(b)
	for _, o := range []Options{{}, {Packet: true}} {
		c := rawConnOf(b, o, rcvBuf)
		id := echoID(b, c, me4)
		ps := make([]Packet, batch)
		for i := range ps {
			ps[i] = to(echoPacket(me4, them4, false, id, uint16(i), payload(12, c.caps.Token)))
		}
		rs := make([]Reply, batch)
		b.Run(c.caps.Socket, func(b *testing.B) {
			runtime.LockOSThread()
			p.enter(b)
			const many = 50
			used := time.Duration(0)
			for b.Loop() {
				for range many {
					mustSend(b, c, ps...)
				}
				start := cpuTime(b)
				for got := 0; got < many*batch; {
					n, err := c.Recv(rs, c.Now().Add(patience))
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
				used += cpuTime(b) - start
			}
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*many*batch), "cpu-ns/packet")
		})
	}
}

// BenchmarkBulkSend sends what nobody answers.
func BenchmarkBulkSend(b *testing.B) {
	p := newPair(b)
	for _, o := range []Options{{}, {Packet: true}} {
		for _, stamps := range []bool{true, false} {
			c := rawConnOf(b, o, rcvBuf)
			if !stamps {
				for _, s := range c.senders {
					s.stamps = false
					if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, 0); err != nil {
						b.Fatal(err)
					}
				}
			}
			ps := make([]Packet, batch)
			for i := range ps {
				ps[i] = to(ipPacket(me4, them4, 1, payload(40, 1))) // of a type that there is not
			}
			b.Run(fmt.Sprintf("%s/stamps=%v", c.caps.Socket, stamps), func(b *testing.B) {
				runtime.LockOSThread()
				p.enter(b)
				start := cpuTime(b)
				for b.Loop() {
					mustSend(b, c, ps...)
				}
				b.ReportMetric(float64((cpuTime(b)-start).Nanoseconds())/float64(b.N*batch), "cpu-ns/packet")
			})
		}
	}
}

// cpuTime is what this process has used of its processors.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
