package rawsock

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

// TestTeach: what routers say of our packets' sizes is this host's path MTU, for all its programs, where it was asked for, and
// else it is not.
func TestTeach(t *testing.T) {
	for _, family := range []int{4, 6} {
		for _, proto := range []string{"UDP", "echo"} {
			for _, s := range []Settings{{}, {Heed: true}, {Fragment: true}} {
				if s == (Settings{}) && family == 6 && proto == "echo" {
					continue // the kernel learns by itself
				}
				t.Run(fmt.Sprintf("IPv%d %s, heed %v, fragment %v", family, proto, s.Heed, s.Fragment), func(t *testing.T) {
					p := unprivilegedPlan()
					p.Links[1].MTU = 1300
					n := lab.Start(t, p) // anew: the host remembers
					e := endsOf(t, n, family)
					c := e.opened(t, Options{})
					id := e.reserve(t, c, e.icmp()) // before it is said
					e.set(t, c, s)
					port := e.reserve(t, c, wire.ProtoUDP) // and after
					probe := func(seq uint16, size int) {
						t.Helper()
						p := e.echo(e.target, id, seq, shape{ttl: 9, size: size, df: true})
						if proto == "UDP" {
							p = e.udp(netip.AddrPortFrom(e.target, 33434), port, seq, shape{ttl: 9, size: size, df: true})
						}
						if _, err := e.sendIn(c, p); err != nil {
							t.Fatal(err)
						}
					}
					probe(1, 1400)
					if r := next(t, c); r.From != e.router {
						t.Fatalf("answered by %v, want the router %v", r.From, e.router)
					}
					// Its message is heard here a moment before the kernel notes it. When this is answered it has.
					probe(2, 100)
					if r := next(t, c); r.From != e.target {
						t.Fatalf("answered by %v, want %v", r.From, e.target)
					}
					var u *net.UDPConn
					if err := e.do(func() (err error) {
						u, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.target, 9)))
						return err
					}); err != nil {
						t.Fatal(err)
					}
					defer u.Close()
					want := 1500
					if s.Heed || s.Fragment {
						want = 1300
					}
					if mtu := socketMTU(t, u, e.target.Is6()); mtu != want {
						t.Errorf("the path to %v takes %d bytes, says the kernel to another program; want %d", e.target, mtu, want)
					}
				})
			}
		}
	}
}
