// Package simnet is a network in memory and in virtual time. It speaks
// bytes: it parses the packets given to Send as routers and hosts would, and
// answers with the bytes they would answer with. A Conn is a rawsock.Conn.
//
// A network is made of Nodes joined by Links. One node is the host the Conn
// stands for. A Node forwards, filters, translates and answers; a Link has a
// Way out and a Way back, each with its delay, loss, duplication and so on.
// The zero value of every field is what a plain Linux machine does.
//
//	src := simnet.Host("10.0.0.1", "fd00::1")
//	r1 := simnet.Router("10.0.1.1", "fd00:1::1")
//	r2 := simnet.Router("10.0.2.1", "fd00:2::1")
//	dst := simnet.Host("192.0.2.9", "2001:db8::9")
//	links := simnet.Path(src, r1, r2, dst) // 1 ms each way on every link
//
//	links[1].Out.Loss = 0.1                // one in ten is lost from r1 to r2
//	links[2].MTU = 1400                    // r2 answers too big
//	r1.Limit = simnet.Linux                // six errors at once, then one a second
//	r2.Objects = simnet.MPLS(16001, 16002) // RFC 4950, in its errors
//	dst.TCP = map[uint16]simnet.TCPPort{443: simnet.Open}
//	dst.UDP = map[uint16]simnet.Service{53: simnet.Echo}
//
//	c := simnet.New(simnet.Config{Seed: 1}, src)
//	err := probe.Run(ctx, c, algorithm, limits, sink)
//	if f := c.Faults(); len(f) > 0 {
//		t.Fatal(f) // packets no real host would accept
//	}
//
// Several links out of a node with the same prefix are balanced over
// (Node.Balance); links for a prefix are routes:
//
//	src.Link(r1)
//	r1.Link(r2a)
//	r1.Link(r2b)                      // a diamond
//	r2a.Link(dst)
//	r2b.Link(dst)
//	r1.Link(other, "198.51.100.0/24") // another route behind r1
//
// Packets to a broadcast or multicast address leave the host over all its links, and
// go on where a node floods them; Node.Groups says who hears them:
//
//	src.Flood = []netip.Prefix{netip.MustParsePrefix("10.0.0.255/32")}
//	dst.Groups = []netip.Addr{netip.MustParseAddr("10.0.0.255")}
//
// The clock moves only in Recv, to the next event or to the time given, and
// by Config.SendCost per packet sent. There is no goroutine, no lock and no
// real time, and all chance comes from one seed: the same network, seed and
// calls give the same bytes at the same times.
//
// What becomes of a packet is decided when it is sent, up to the arrival of
// its answers. A change that a function given to At makes to the network
// counts for packets sent after it.
//
// An answer goes back over the links its packet came by, in reverse, without
// going round a forwarding loop again. Packets larger than a link's MTU that
// may be fragmented pass whole, as if put together again behind it.
//
// The package knows nothing of what a probe is.
package simnet
