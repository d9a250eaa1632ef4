package rawsock

import (
	"fmt"
	"testing"
	"time"

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
func TestNoAllocation(t *testing.T) {
	newPair(t)
	c := rawConn(t)
	id := echoID(t, c, me6)
	ps := []Packet{to(echoPacket(me6, me6, false, id, 1, payload(12, 0)))}
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
