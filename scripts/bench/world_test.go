package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/rawsock"
)

var worlds = map[string]func() *world{
	"line":        func() *world { return line(20, 0, 80*time.Millisecond) },
	"silent":      func() *world { return line(10, 10, 80*time.Millisecond) },
	"tree":        func() *world { return tree(100, false) },
	"tree, slow":  func() *world { return tree(1000, true) },
	"hosts":       func() *world { return hosts(1000) },
	"one host":    func() *world { return hosts(1) },
	"no distance": func() *world { return line(1, 0, 0) },
}

// TestQuick: the list of ways gives the answers that a walk through the network gives, byte for byte, as late.
func TestQuick(t *testing.T) {
	for name, make := range worlds {
		t.Run(name, func(t *testing.T) {
			w := make()
			c := simnet.New(simnet.Config{Foreign: true, PassAll: true}, w.src)
			rng := rand.New(rand.NewPCG(1, uint64(len(w.targets))))
			answered := 0
			for range 2000 {
				p := probe(rng, w.targets[rng.IntN(len(w.targets))])
				want, after := walk(t, c, p)
				r, d, known := w.quick(slices.Clone(p.Data), nil)
				if echo := p.Data[9] == wire.ProtoICMP; known != (echo || !w.pings) {
					t.Fatalf("% x: known %v", p.Data, known)
				} else if !known {
					continue
				}
				got := show(&r)
				if !r.From.IsValid() {
					got, d = "nothing", 0
				} else {
					answered++
				}
				if got != want || d != after {
					t.Fatalf("% x\nanswer %s\nafter %v, want\n       %s\nafter %v", p.Data, got, d, want, after)
				}
			}
			if answered == 0 {
				t.Error("nothing was answered")
			}
		})
	}
}

// probe is one that a tool might send.
func probe(rng *rand.Rand, to netip.Addr) rawsock.Packet {
	payload := make([]byte, []int{4, 24, 56, 1400}[rng.IntN(4)])
	h := wire.IPv4{Src: home, Dst: to, TTL: uint8(1 + rng.IntN(30)), TOS: uint8(rng.Uint32()), ID: uint16(rng.Uint32()), DF: rng.IntN(2) == 0}
	var b []byte
	if rng.IntN(2) == 0 {
		h.Proto = wire.ProtoICMP
		b = wire.AppendIPv4(nil, h, 8+len(payload))
		b = wire.AppendEcho(b, home, to, wire.Echo4, uint16(rng.Uint32()), uint16(rng.Uint32()), payload, 0)
	} else {
		h.Proto = wire.ProtoUDP
		b = wire.AppendIPv4(nil, h, 8+len(payload))
		b = wire.AppendUDP(b, netip.AddrPortFrom(home, uint16(rng.Uint32())), netip.AddrPortFrom(to, uint16(rng.Uint32())), payload, 0)
	}
	return rawsock.Packet{Dst: to, Data: b}
}

// walk sends a packet through the network and returns what comes back.
func walk(t *testing.T, c *simnet.Conn, p rawsock.Packet) (string, time.Duration) {
	t.Helper()
	if _, err := c.Send([]rawsock.Packet{p}); err != nil {
		t.Fatal(err)
	}
	began := c.Now()
	rs := make([]rawsock.Reply, 1)
	switch _, err := c.Recv(rs, began.Add(time.Second)); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "nothing", 0
	case err != nil:
		t.Fatal(err)
	}
	return show(&rs[0]), rs[0].At.Sub(began)
}

func show(r *rawsock.Reply) string {
	return fmt.Sprintf("%v to %v, protocol %d, TTL %d, TOS %#x: % x", r.From, r.To, r.Proto, r.TTL, r.TOS, r.Data)
}
