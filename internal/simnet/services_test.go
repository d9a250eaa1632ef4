package simnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// question is the payload of a probe that asks a service, the token where package rawsock wants it.
func question(quic bool, token uint32) []byte {
	if !quic {
		return wire.AppendDNSQuery(nil, 0xbeef)
	}
	var dst, src [8]byte
	binary.BigEndian.PutUint32(dst[rawsock.QUICTokenOffset-wire.QUICDestination:], token)
	src[7] = 7
	return wire.AppendQUIC(nil, dst, src, wire.SizeQUIC)
}

// ask sends a payload to a port and returns all that comes back.
func (l *lab) ask(ttl uint8, port uint16, payload []byte) []answer {
	l.Helper()
	b := wire.AppendUDP(nil, netip.AddrPortFrom(l.src, l.port), netip.AddrPortFrom(l.dst, port), payload, 0)
	var p []byte
	if l.dst.Is6() {
		p = wire.AppendIPv6(nil, wire.IPv6{Src: l.src, Dst: l.dst, HopLimit: ttl, Next: wire.ProtoUDP}, len(b))
	} else {
		p = wire.AppendIPv4(nil, wire.IPv4{Src: l.src, Dst: l.dst, TTL: ttl, Proto: wire.ProtoUDP, ID: 1}, len(b))
	}
	if _, err := l.Send([]rawsock.Packet{{Dst: l.dst, Data: append(p, b...)}}); err != nil {
		l.Fatal(err)
	}
	return l.all()
}

// Services answer what they are asked as their protocols have it, and nothing else.
func TestAskedServices(t *testing.T) {
	for _, dst := range []string{dst4, dst6} {
		n := newLine()
		n.dst.UDP = map[uint16]Service{53: DNS, 443: QUIC}
		l := newLab(t, Config{}, n.src, dst, wire.ProtoUDP)
		refused, versions := question(false, 0), wire.AppendQUICVersions(nil, question(true, l.Caps().Token), 1)
		refused[2], refused[3] = 0x81, 5
		for _, tt := range []struct {
			name    string
			port    uint16
			payload []byte
			want    []byte // nil: no answer
		}{
			{"a DNS query", 53, question(false, 0), refused},
			{"a QUIC packet", 443, question(true, l.Caps().Token), versions},
			{"a QUIC packet to the DNS server", 53, question(true, l.Caps().Token), nil},
			{"a DNS query to the QUIC server", 443, question(false, 0), nil},
			{"a QUIC packet that is too short", 443, question(true, l.Caps().Token)[:7], nil},
		} {
			as := l.ask(9, tt.port, tt.payload)
			switch {
			case tt.name == "a QUIC packet to the DNS server": // which reads an answer in its first byte, or a query that is none
				if len(as) == 1 && bytes.Equal(as[0].Data[8:], versions) {
					t.Errorf("%s to %s: answered as by QUIC", tt.name, dst)
				}
			case tt.want == nil && len(as) != 0, tt.want != nil && (len(as) != 1 || !bytes.Equal(as[0].Data[8:], tt.want)):
				t.Errorf("%s to %s: answers %v, want %x", tt.name, dst, as, tt.want)
			}
		}
	}
}

// A question has the token where its content has room for it, and quotes of it are heard by that.
func TestTokensInQuestions(t *testing.T) {
	for _, quic := range []bool{false, true} {
		n := newLine()
		n.r1.SNAT, n.r1.Restore = addr("198.51.100.1"), RestoreNothing
		l := newLab(t, Config{}, n.src, dst4, wire.ProtoUDP)
		if as := l.ask(2, 53, question(quic, l.Caps().Token)); (len(as) == 1) != quic {
			t.Errorf("QUIC %v: a translated quote: %v", quic, as)
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func([]byte) []byte
		want  string // in the fault
	}{
		{"another token", func(b []byte) []byte { b[rawsock.QUICTokenOffset]++; return b }, "not the token"},
		{"too short for QUIC", func(b []byte) []byte { return b[:wire.SizeQUIC-1] }, "not the token"},
		{"another version", func(b []byte) []byte { b[4]++; return b }, "not the token"},
		{"a query with something behind", func([]byte) []byte { return append(question(false, 0), 0) }, "not the token"},
	} {
		l := newLab(t, Config{}, newLine().src, dst4, wire.ProtoUDP)
		l.quiet = true
		l.ask(9, 443, tt.spoil(question(true, l.Caps().Token)))
		if f := l.Faults(); len(f) != 1 || !strings.Contains(f[0].Error(), tt.want) {
			t.Errorf("%s: faults %v, want %q", tt.name, f, tt.want)
		}
	}
}
