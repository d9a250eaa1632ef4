package rawsock

import (
	"testing"

	"gtrace/internal/wire"
)

// bulkConn is rawConn with packet sockets.
func bulkConn(t testing.TB) *raw {
	t.Helper()
	return rawConnOf(t, Options{Packet: true}, rcvBuf)
}

// TestBulkExchange: all but the first probe to a next node leave by the packet socket, every answer comes once, and by the ring, and each has
// the kernel's times in the right order.
func TestBulkExchange(t *testing.T) {
	p := newPair(t)
	for _, f := range families {
		p.run(t, f.name, func(t *testing.T) {
			c := bulkConn(t)
			id := echoID(t, c, f.me)
			const many = 200
			var ps []Packet
			for seq := range uint16(many) {
				ps = append(ps, to(echoPacket(f.me, f.them, false, id, seq, payload(12, 0))))
			}
			before := c.Now()
			mustSend(t, c, ps...)
			after := c.Now()
			last := before
			for i, p := range ps {
				if p.N != uint64(i) || !p.Kernel || p.Sent.Before(last) || p.Sent.After(after) {
					t.Errorf("packet %d: number %d, kernel %v, left %v after the call began, %v after the one before, in a call of %v",
						i, p.N, p.Kernel, p.Sent.Sub(before), p.Sent.Sub(last), after.Sub(before))
				}
				last = p.Sent
			}
			if n := c.bulk.send.ids.next; n != many-1 {
				t.Errorf("%d packets left by the packet socket, want all but one of %d", n, many)
			}
			seen := make(map[uint16]bool)
			for _, r := range receive(t, c, many) {
				m, err := parseICMP(r)
				if err != nil {
					t.Fatal(err)
				}
				sent := ps[m.Seq()].Sent
				seen[m.Seq()] = true
				if !r.Kernel || r.At.Before(sent) || r.At.After(c.Now()) {
					t.Errorf("answer %d came %v after its probe left (kernel %v)", m.Seq(), r.At.Sub(sent), r.Kernel)
				}
				if r.From != f.them || r.To != f.me || r.TTL != 64 || m.ID() != id || r.Proto != familyProto(f.me, wire.ProtoICMP) {
					t.Errorf("answer %d: %+v", m.Seq(), r)
				}
			}
			if len(seen) != many {
				t.Errorf("%d different answers, want %d", len(seen), many)
			}
			wantQuiet(t, c)
			if s := c.Stats(); s != (Stats{}) {
				t.Errorf("%+v, want nothing lost", s)
			}
		})
	}
}
