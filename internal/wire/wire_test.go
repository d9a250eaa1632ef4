package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

var (
	src4 = netip.MustParseAddr("10.0.0.1")
	dst4 = netip.MustParseAddr("192.0.2.9")
	src6 = netip.MustParseAddr("2001:db8::1")
	dst6 = netip.MustParseAddr("2001:db8:1::9")
)

// family is what a test that holds for both families is run with.
type family struct {
	name     string
	v6       bool
	src, dst netip.Addr
}

var families = []family{{"IPv4", false, src4, dst4}, {"IPv6", true, src6, dst6}}

// packet puts an IP header of the family before a transport.
func (f family) packet(proto, ttl uint8, transport []byte) []byte {
	if f.v6 {
		return append(AppendIPv6(nil, IPv6{Src: f.src, Dst: f.dst, Next: proto, HopLimit: ttl, TrafficClass: 0xb8, Label: 0xabcde}, len(transport)), transport...)
	}
	return append(AppendIPv4(nil, IPv4{Src: f.src, Dst: f.dst, Proto: proto, TTL: ttl, TOS: 0xb8, ID: 0xbeef, DF: true}, len(transport)), transport...)
}

// parseICMP parses a message from f.src to f.dst.
func (f family) parseICMP(b []byte) (ICMP, error) {
	if f.v6 {
		return ParseICMPv6(b, f.src, f.dst)
	}
	return ParseICMPv4(b)
}

// probe is a UDP probe with n bytes of payload, none of them 0.
func (f family) probe(n int) []byte {
	u := AppendUDP(nil, netip.AddrPortFrom(f.src, 40000), netip.AddrPortFrom(f.dst, 33434), bytes.Repeat([]byte{0xa5}, n), 0)
	return f.packet(ProtoUDP, 1, u)
}

// timeExceeded is the type of that name.
func (f family) timeExceeded() uint8 {
	if f.v6 {
		return TimeExceeded6
	}
	return TimeExceeded4
}

// resum makes the checksum of an ICMP message right again after a change.
func (f family) resum(b []byte) []byte {
	b[2], b[3] = 0, 0
	sealICMP(b, f.src, f.dst, 0)
	return b
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// wantError checks for an *Error that wraps want, with an offset inside b.
func wantError(t *testing.T, err, want error, b []byte) {
	t.Helper()
	var we *Error
	if !errors.As(err, &we) || !errors.Is(err, want) {
		t.Fatalf("error %v, want an *Error wrapping %q", err, want)
	}
	if we.Off < 0 || we.Off > len(b) {
		t.Errorf("error %v: offset outside of a message of %d bytes", err, len(b))
	}
}

// rng is the same in every run: a failure can be run again.
func rng(t *testing.T) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(1, 2))
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randomAddr(r *rand.Rand, v6 bool) netip.Addr {
	if v6 {
		a := [16]byte(randomBytes(r, 16))
		a[0] = 0x20 // not a mapped address
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte(randomBytes(r, 4)))
}

// TestZeroViews reads views that no Parse made, as code does that forgets an
// error: nothing is there, and nothing panics.
func TestZeroViews(t *testing.T) {
	touchIP(IP{})
	touchUDP(UDP{}, netip.Addr{}, netip.Addr{})
	touchTCP(TCP{}, netip.Addr{}, netip.Addr{})
	touchDCCP(DCCP{}, netip.Addr{}, netip.Addr{})
	touchICMP(ICMP{})
	touchICMP(ICMP{v6: true})
	if n := len(touchObjects(Objects{})); n != 0 {
		t.Errorf("%d objects in no message", n)
	}
	if _, err := (ICMP{}).Quote(); !errors.Is(err, ErrType) {
		t.Errorf("quote of no message: error %v, want ErrType", err)
	}
}

// The touch functions call every method of a view, and so panic if one does.

func touchIP(p IP) {
	_, _, _, _, _, _ = p.Version(), p.Src(), p.Dst(), p.TTL(), p.TOS(), p.ID()
	_, _, _, _, _, _ = p.DF(), p.MF(), p.Label(), p.Proto(), p.Length(), p.Offset()
	_, _, _, _ = p.Transport(), p.Header(), p.Complete(), p.Bytes()
	p.FinalDst()
	touchOptions(p.Options())
}

// touchOptions returns all options, each read as everything it might be.
func touchOptions(b []byte) (all []Option) {
	w := WalkOptions(b)
	for o, ok := w.Next(); ok; o, ok = w.Next() {
		all = append(all, o)
		_, _ = o.Data(), o.Overflow()
		for i := -1; i < 20; i++ {
			o.Route(i)
			o.Stamp(i)
		}
	}
	return all
}

func touchDCCP(d DCCP, src, dst netip.Addr) {
	_, _, _, _, _ = d.Src(), d.Dst(), d.Checksum(), d.Type(), d.Ack()
	_, _, _ = d.Service(), d.ResetCode(), d.Payload()
	d.Seq()
	d.Valid(src, dst)
}

func touchUDP(u UDP, src, dst netip.Addr) {
	_, _, _, _, _ = u.Src(), u.Dst(), u.Length(), u.Checksum(), u.Payload()
	u.Valid(src, dst)
	u.ValidLite(src, dst)
}

func touchTCP(s TCP, src, dst netip.Addr) {
	_, _, _, _, _ = s.Full(), s.Src(), s.Dst(), s.Seq(), s.Ack()
	_, _, _, _ = s.Flags(), s.Window(), s.Options(), s.Payload()
	s.Valid(src, dst)
}

func touchICMP(m ICMP) {
	_, _, _, _, _, _ = m.V6(), m.Type(), m.Code(), m.IsError(), m.ID(), m.Seq()
	_, _, _, _ = m.Payload(), m.MTU(), m.Pointer(), m.Extensions()
	_, _, _ = m.Gateway(), m.ExtSeq(), m.State()
	m.Times()
	m.Mask()
	m.ExtEcho()
	m.Node()
	if q, err := m.Quote(); err == nil {
		touchIP(q)
	}
	touchObjects(m.Objects())
}

// touchObjects returns all objects, and reads each as everything it might be.
func touchObjects(o Objects) []Object {
	var all []Object
	for {
		x, ok := o.Next()
		if !ok {
			return all
		}
		all = append(all, x)
		for i := -1; ; i++ {
			l, ok := x.LSE(i)
			if !ok && i >= 0 {
				break
			}
			_, _, _, _ = l.Label(), l.TC(), l.Bottom(), l.TTL()
		}
		x.Interface()
		x.InterfaceID()
	}
}
