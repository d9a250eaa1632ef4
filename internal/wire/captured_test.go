package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// A captured packet is one that Linux sent; testdata/capture.sh makes the
// file anew.
type captured struct {
	label string
	b     []byte
}

func readCaptured(t testing.TB) []captured {
	t.Helper()
	f, err := os.Open("testdata/linux.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []captured
	for s := bufio.NewScanner(f); s.Scan(); {
		label, digits, ok := strings.Cut(s.Text(), ": ")
		if !ok || strings.HasPrefix(label, "#") {
			continue
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatalf("%s: %v", label, err)
		}
		all = append(all, captured{label, b})
	}
	if len(all) < 50 {
		t.Fatalf("%d packets in testdata/linux.txt, want at least 50", len(all))
	}
	return all
}

// rebuild writes a packet anew from what our views say of it.
func rebuild(t *testing.T, p IP) []byte {
	t.Helper()
	proto, transport := p.Proto(), p.Transport()
	var out []byte
	src, dst := p.Src(), p.Dst()
	switch {
	case p.Offset() != 0 || p.MF():
		out = transport
	case proto == ProtoUDP:
		u, err := ParseUDP(transport)
		if err != nil {
			t.Fatal(err)
		}
		if !u.Valid(src, dst) {
			t.Error("UDP not valid")
		}
		out = AppendUDP(nil, port(src, u.Src()), port(dst, u.Dst()), u.Payload(), 0)
	case proto == ProtoTCP:
		s, err := ParseTCP(transport)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Valid(src, dst) {
			t.Error("TCP not valid")
		}
		out = AppendTCP(nil, port(src, s.Src()), port(dst, s.Dst()), TCPFields{s.Seq(), s.Ack(), s.Flags(), s.Window(), s.Options()}, s.Payload())
	case proto == ProtoICMP || proto == ProtoICMPv6:
		m, err := family{v6: proto == ProtoICMPv6, src: src, dst: dst}.parseICMP(transport)
		if err != nil {
			t.Fatal(err)
		}
		if !m.IsError() {
			out = AppendEcho(nil, src, dst, m.Type(), m.ID(), m.Seq(), m.Payload(), 0)
			break
		}
		q, err := m.Quote()
		if err != nil {
			t.Fatal(err)
		}
		word := m.Pointer() | uint32(m.MTU())
		out = AppendError(nil, src, dst, m.Type(), m.Code(), word, q.Bytes(), nil)
	default:
		t.Fatalf("protocol %d", proto)
	}
	if p.Version() == 6 {
		extensions := p.Header()[40:]
		out = cat(extensions, out)
		return append(AppendIPv6(nil, IPv6{Src: src, Dst: dst, HopLimit: p.TTL(), TrafficClass: p.TOS(), Next: p.Bytes()[6], Label: p.Label()}, len(out)), out...)
	}
	return append(AppendIPv4(nil, IPv4{Src: src, Dst: dst, TTL: p.TTL(), TOS: p.TOS(), Proto: proto, ID: p.ID(), DF: p.DF(), MF: p.MF(),
		Offset: p.Offset(), Options: p.Header()[20:]}, len(out)), out...)
}

// TestCaptured reads packets of Linux and writes them again: every byte and
// every checksum must be as the kernel made it.
func TestCaptured(t *testing.T) {
	for _, c := range readCaptured(t) {
		t.Run(c.label, func(t *testing.T) {
			p, err := ParseIP(c.b)
			if err != nil {
				t.Fatal(err)
			}
			if got := rebuild(t, p); !bytes.Equal(got, c.b) {
				t.Errorf("written anew\n%x, was\n%x", got, c.b)
			}
		})
	}
}

// TestCapturedQuotes finds in every captured error the packet it is about,
// as it was sent but for what routers change: the TTL, and for IPv4 the header
// checksum and options.
func TestCapturedQuotes(t *testing.T) {
	sent := make(map[string][]byte) // the last one with that label
	quotes := 0
	for _, c := range readCaptured(t) {
		who, what, _ := strings.Cut(c.label, ", ")
		if who == "sent" {
			if !strings.Contains(what, "fragments") { // quoted when whole again
				sent[what] = c.b
			}
			continue
		}
		p, err := ParseIP(c.b)
		if err != nil {
			t.Fatal(err)
		}
		if p.Proto() != ProtoICMP && p.Proto() != ProtoICMPv6 || sent[what] == nil {
			continue
		}
		m, err := family{v6: p.Version() == 6, src: p.Src(), dst: p.Dst()}.parseICMP(p.Transport())
		if err != nil {
			t.Fatal(err)
		}
		if !m.IsError() {
			continue
		}
		q, err := m.Quote()
		if err != nil {
			t.Fatalf("%s: %v", c.label, err)
		}
		o, err := ParseIP(sent[what])
		if err != nil {
			t.Fatal(err)
		}
		quotes++
		if q.Src() != o.Src() || q.Dst() != o.Dst() || q.Proto() != o.Proto() || q.ID() != o.ID() || q.Label() != o.Label() || q.Length() != o.Length() {
			t.Errorf("%s: quote of %v to %v, want %v to %v", c.label, q.Src(), q.Dst(), o.Src(), o.Dst())
		}
		if !bytes.HasPrefix(o.Transport(), q.Transport()) {
			t.Errorf("%s: quoted transport %x, want the start of %x", c.label, q.Transport(), o.Transport())
		}
	}
	if quotes < 14 {
		t.Errorf("%d quotes compared, want at least 14", quotes)
	}
}

// optionKinds lists the kind and length of each TCP option.
func optionKinds(b []byte) string {
	var s string
	for len(b) > 0 {
		n := 1 // end and no-operation have no length
		if b[0] > 1 {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				return s + "broken"
			}
			n = int(b[1])
		}
		s += fmt.Sprintf("%d(%d) ", b[0], n)
		b = b[n:]
	}
	return s
}

// TestCapturedSYN: our SYN has the options of the kernel's own, in its order.
// Their values are the route's and the moment's, the window scale the memory's.
func TestCapturedSYN(t *testing.T) {
	got := optionKinds(AppendSYNOptions(nil, 1460, 1))
	syns := 0
	for _, c := range readCaptured(t) {
		p, err := ParseIP(c.b)
		if err != nil {
			t.Fatal(err)
		}
		if p.Proto() != ProtoTCP {
			continue
		}
		s, err := ParseTCP(p.Transport())
		if err != nil {
			t.Fatal(err)
		}
		if s.Flags() != SYN {
			continue
		}
		syns++
		if want := optionKinds(s.Options()); got != want {
			t.Errorf("%s: our options are %s, want %s", c.label, got, want)
		}
	}
	if syns < 6 {
		t.Errorf("%d SYNs, want at least 6", syns)
	}
}

// TestCapturedPrefixes cuts every captured packet at every byte, and every
// message in it with its checksum made right again, and reads what is left in
// every way there is. Nothing may panic, and a whole view of a cut packet is
// refused.
func TestCapturedPrefixes(t *testing.T) {
	for _, c := range readCaptured(t) {
		whole, err := ParseIP(c.b)
		if err != nil {
			t.Fatal(err)
		}
		for n := range c.b {
			b := bytes.Clone(c.b[:n])
			if _, err := ParseIP(b); err == nil {
				t.Fatalf("%s: %d of %d bytes are a whole packet", c.label, n, len(c.b))
			}
			p, err := ParseQuote(b)
			if err != nil {
				wantError(t, err, ErrShort, b)
				if n >= len(whole.Header())+8 {
					t.Fatalf("%s: %d bytes are no quote: %v", c.label, n, err)
				}
				continue
			}
			touchIP(p)
			if p.Complete() || p.Src() != whole.Src() || p.Proto() != whole.Proto() || !bytes.HasPrefix(whole.Transport(), p.Transport()) {
				t.Fatalf("%s: quote of %d bytes reads differently", c.label, n)
			}
			if u, err := ParseUDP(p.Transport()); err == nil {
				touchUDP(u, p.Src(), p.Dst())
			}
			if s, err := ParseTCP(p.Transport()); err == nil {
				touchTCP(s, p.Src(), p.Dst())
			}
			if s, err := ParseTCPQuote(p.Transport()); err == nil {
				touchTCP(s, p.Src(), p.Dst())
			}
			f := family{v6: p.Version() == 6, src: p.Src(), dst: p.Dst()}
			m, err := f.parseICMP(f.resum(bytes.Clone(p.Transport())))
			if err != nil {
				t.Fatal(err)
			}
			touchICMP(m)
		}
	}
}
