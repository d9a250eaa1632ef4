package simnet_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/rawsock"
)

func Example() {
	src := simnet.Host("10.0.0.1")
	r1, r2 := simnet.Router("10.0.1.1"), simnet.Router("10.0.2.1")
	dst := simnet.Host("192.0.2.9")
	links := simnet.Path(src, r1, r2, dst)
	links[1].Out.Delay = 10 * time.Millisecond
	r1.Objects = simnet.MPLS(16001)

	c := simnet.New(simnet.Config{Seed: 1}, src)
	from, to := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.9")
	port, err := c.Reserve(from, wire.ProtoUDP, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	for ttl := range uint8(3) {
		b := wire.AppendIPv4(nil, wire.IPv4{Src: from, Dst: to, TTL: ttl + 1, Proto: wire.ProtoUDP, ID: 7}, 8)
		b = wire.AppendUDP(b, netip.AddrPortFrom(from, port), netip.AddrPortFrom(to, 33434), nil, 0)
		if _, err := c.Send([]rawsock.Packet{{Dst: to, Data: b}}); err != nil {
			fmt.Println(err)
			return
		}
	}
	start, rs := c.Now(), make([]rawsock.Reply, 8)
	for {
		n, err := c.Recv(rs, start.Add(time.Second))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		for _, r := range rs[:n] {
			m, err := wire.ParseICMPv4(r.Data)
			fmt.Println(r.From, m.Type(), m.Code(), r.At.Sub(start), err)
		}
	}
	fmt.Println(len(c.Faults()), "faults")
	// Output:
	// 10.0.1.1 11 0 2ms <nil>
	// 10.0.2.1 11 0 13ms <nil>
	// 192.0.2.9 3 3 15ms <nil>
	// 0 faults
}
