package rawsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

// join puts fragments together again, in any order, and wants them to be of one packet.
func join(t *testing.T, fs [][]byte) (header, payload []byte) {
	t.Helper()
	parts := map[int][]byte{}
	end, id := -1, uint32(0)
	for i, f := range fs {
		ip, err := wire.ParseIP(f)
		if err != nil {
			t.Fatalf("fragment %d: %v", i, err)
		}
		if err := check(&Packet{Dst: ip.Dst(), Data: f}); err != nil {
			t.Fatalf("fragment %d: %v", i, err)
		}
		is := uint32(ip.ID())
		if f[0]>>4 == 6 {
			h := ip.Header()
			is = binary.BigEndian.Uint32(h[len(h)-4:])
		}
		if i > 0 && is != id {
			t.Errorf("fragment %d has identification %#x, those before %#x", i, is, id)
		}
		id = is
		at := int(ip.Offset()) * 8
		parts[at] = ip.Transport()
		if !ip.MF() {
			end = at + len(ip.Transport())
		}
		if at == 0 {
			header = ip.Header()
		}
	}
	for at := 0; at < end; {
		p, ok := parts[at]
		if !ok || len(p) == 0 {
			t.Fatalf("nothing at %d of %d bytes", at, end)
		}
		payload = append(payload, p...)
		at += len(p)
	}
	if len(payload) != end {
		t.Errorf("%d bytes, want %d", len(payload), end)
	}
	return header, payload
}

// TestFragments cuts packets of many sizes for links of many MTUs and puts them together again.
func TestFragments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, v6 := range []bool{false, true} {
		me, them := addrs(v6)
		for range 300 {
			mtu := 68 + r.IntN(1500)
			if v6 {
				mtu += 1212
			}
			p := udpPacket(me, them, 40000, 33434, payload(mtu+r.IntN(6000), 1))
			if len(p) > 65535 {
				continue
			}
			fs, err := fragments(p, mtu, 0x12345678)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range fs {
				if len(f) > mtu {
					t.Fatalf("fragment %d has %d bytes, want at most %d", i, len(f), mtu)
				}
			}
			if full := fs[0]; mtu-len(full) >= 8 && len(fs) > 1 {
				t.Errorf("the first of %d fragments has %d bytes of %d", len(fs), len(full), mtu)
			}
			_, got := join(t, fs)
			ip, _ := wire.ParseIP(p)
			if !bytes.Equal(got, ip.Transport()) {
				t.Fatalf("%d bytes for an MTU of %d do not come out as they went in", len(p), mtu)
			}
		}
	}
}

func TestFragmentHeaders(t *testing.T) {
	long := udpPacket(me4, them4, 40000, 33434, payload(2000, 1))
	with := func(options []byte) []byte {
		b := wire.AppendIPv4(nil, wire.IPv4{Src: me4, Dst: them4, TTL: 3, TOS: 8, Proto: wire.ProtoUDP, ID: 77, Options: options}, len(long)-20)
		return append(b, long[20:]...)
	}
	record := append([]byte{7, 7, 4}, 0, 0, 0, 0)          // record route: in the first fragment alone
	loose := append([]byte{131, 7, 4}, 10, 0, 0, 9)        // source route: in all
	both := append(append(record, 1), append(loose, 0)...) // 16 bytes
	fs, err := fragments(with(both), 576, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range fs {
		ip, err := wire.ParseIP(f)
		if err != nil {
			t.Fatal(err)
		}
		want := append(append([]byte(nil), loose...), 0)
		if i == 0 {
			want = both
		}
		if got := ip.Header()[20:]; !bytes.Equal(got, want) {
			t.Errorf("fragment %d has options %x, want %x", i, got, want)
		}
		if ip.ID() != 77 || ip.TTL() != 3 || ip.TOS() != 8 || ip.DF() || headerSum(ip.Header()) != 0xffff {
			t.Errorf("fragment %d: header %x", i, ip.Header())
		}
	}

	// IPv6: what routers look at stays in front of the fragment header, the rest is cut.
	v6 := withExtensions(udpPacket(me6, them6, 40000, 33434, payload(3000, 1)),
		wire.ProtoHopByHop, wire.ProtoDestOptions, wire.ProtoRouting, wire.ProtoDestOptions)
	binary.BigEndian.PutUint16(v6[4:], uint16(len(v6)-40))
	fs, err = fragments(v6, 1280, 0xabcd)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range fs {
		if f[6] != wire.ProtoHopByHop || f[40] != wire.ProtoDestOptions || f[56] != wire.ProtoRouting ||
			f[72] != wire.ProtoFragment || f[88] != wire.ProtoDestOptions {
			t.Errorf("fragment %d: headers %d %d %d %d %d", i, f[6], f[40], f[56], f[72], f[88])
		}
	}
	for _, tt := range []struct {
		b   []byte
		mtu int
	}{{long, 27}, {v6, 72 + 8 + 7}} {
		if fs, err := fragments(tt.b, tt.mtu, 1); err == nil {
			t.Errorf("an MTU of %d gives %d fragments", tt.mtu, len(fs))
		}
	}
}

// TestFragment sends what no device takes whole: it arrives whole all the same, if it may be cut.
func TestFragment(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	kinds(t, func(t *testing.T, family int, o Options) {
		e := endsOf(t, n, family)
		for _, cut := range []bool{false, true} {
			c := e.opened(t, o)
			e.set(t, c, Settings{Fragment: cut})
			port, id := e.reserve(t, c, wire.ProtoUDP), e.reserve(t, c, e.icmp())
			far := netip.AddrPortFrom(e.target, 33434)
			for i, p := range []Packet{
				e.udp(far, port, 0xbeef, shape{ttl: 9, size: 4000}),
				e.echo(e.target, id, 1, shape{ttl: 9, size: 4000}),
				e.udp(far, port, 0xbeee, shape{ttl: 9, size: 60000}),
			} {
				w := capture(t, n, "host", "router")
				ps := []Packet{e.udp(far, port, uint16(1+i), shape{ttl: 9, size: 12}), p}
				_, err := e.sendIn(c, ps...)
				next(t, c) // of the first
				if !cut {
					var se *SendError
					if !errors.As(err, &se) || se.Name != "EMSGSIZE" || se.MTU != 1500 {
						t.Errorf("%d bytes, whole: %v (%+v), want EMSGSIZE and what fits", len(p.Data), err, se)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				var fs [][]byte
				for last := false; !last; {
					f, err := w.Wait(within, func(p lab.Packet) bool {
						ip, err := wire.ParseIP(p.Data)
						return err == nil && p.Out && (ip.MF() || ip.Offset() != 0) && !seen(fs, p.Data)
					})
					if err != nil {
						t.Fatal(err)
					}
					fs = append(fs, f.Data)
					ip, _ := wire.ParseIP(f.Data)
					last = !ip.MF()
				}
				sent, _ := wire.ParseIP(p.Data)
				if _, got := join(t, fs); !bytes.Equal(got, sent.Transport()) {
					t.Errorf("%d bytes left otherwise than they were given", len(p.Data))
				}
				if r := next(t, c); r.From != e.target {
					t.Errorf("answered by %v, want %v", r.From, e.target)
				}
			}
			if !cut {
				continue
			}
			// Of IPv4 what must not be cut is not.
			big := e.udp(far, port, 7, shape{ttl: 9, size: 4000, df: true})
			var se *SendError
			if _, err := e.sendIn(c, big); family == 4 && (!errors.As(err, &se) || se.Name != "EMSGSIZE" || se.MTU != 1500) {
				t.Errorf("with DF: %v, want EMSGSIZE", err)
			}
		}
	})
}

func seen(fs [][]byte, f []byte) bool {
	for _, g := range fs {
		if bytes.Equal(f, g) {
			return true
		}
	}
	return false
}

// TestFragmentStamp: the packet's time is that of its last fragment, by the kernel, and counting goes on.
func TestFragmentStamp(t *testing.T) {
	n := lab.Start(t, unprivilegedPlan())
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			e := endsOf(t, n, family)
			c := e.opened(t, Options{})
			e.set(t, c, Settings{Fragment: true})
			port := e.reserve(t, c, wire.ProtoUDP)
			far := netip.AddrPortFrom(e.target, 33434)
			ps := []Packet{
				e.udp(far, port, 1, shape{ttl: 9, size: 12}), e.udp(far, port, 2, shape{ttl: 9, size: 4000}), e.udp(far, port, 3, shape{ttl: 9, size: 12}),
			}
			var err error
			_ = e.do(func() error { _, err = c.Send(ps); return nil })
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range ps {
				if p.N != uint64(i) || !p.Kernel || i > 0 && p.Sent.Before(ps[i-1].Sent) {
					t.Errorf("packet %d: number %d, at %v, by the kernel %t", i, p.N, p.Sent, p.Kernel)
				}
			}
			ring := &byFamily(e, &c.(*raw).send4, &c.(*raw).send6).ids.ring
			for at, want := range []uint64{0, nobodys, nobodys, 1, 2} { // 4000 bytes are three fragments
				if got := ring[at]; want == nobodys && got != (txID{}) || want != nobodys && (got.n != want || got.before.IsZero()) {
					t.Errorf("the kernel's stamp %d is of %+v, want packet %d's", at, got, int64(want))
				}
			}
		})
	}
}

const nobodys = 1<<64 - 1 // no packet's number
