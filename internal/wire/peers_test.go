package wire

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Second opinions: programs by others read what we write, and we read what
// they write.

// xnetBody is the quote and the extensions that x/net finds, and whether the
// message is of a type that may have extensions.
func xnetBody(m *icmp.Message) (data []byte, exts []icmp.Extension, ok bool) {
	switch b := m.Body.(type) {
	case *icmp.DstUnreach:
		return b.Data, b.Extensions, true
	case *icmp.TimeExceeded:
		return b.Data, b.Extensions, true
	case *icmp.ParamProb:
		return b.Data, b.Extensions, m.Type == ipv4.ICMPTypeParameterProblem
	}
	return nil, nil, false
}

// TestDNSMessage: golang.org/x/net/dns/dnsmessage reads our query and our refusal, of it and of its own queries, and we read its answers.
func TestDNSMessage(t *testing.T) {
	root := dnsmessage.Question{Name: dnsmessage.MustNewName("."), Type: dnsmessage.TypeNS, Class: dnsmessage.ClassINET}
	a := dnsmessage.Question{Name: dnsmessage.MustNewName("www.example.net."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	read := func(b []byte) (m dnsmessage.Message) {
		t.Helper()
		if err := m.Unpack(b); err != nil {
			t.Errorf("%x: %v", b, err)
		}
		return m
	}
	m := read(AppendDNSQuery(nil, 0xbeef))
	if m.ID != 0xbeef || m.Response || m.OpCode != 0 || !m.RecursionDesired || len(m.Questions) != 1 || m.Questions[0] != root || len(m.Answers)+len(m.Authorities)+len(m.Additionals) != 0 {
		t.Errorf("query %+v", m)
	}
	for _, question := range []dnsmessage.Question{root, a} {
		for _, code := range []dnsmessage.RCode{dnsmessage.RCodeSuccess, dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused} {
			answer := dnsmessage.Message{
				Header:    dnsmessage.Header{ID: 7, Response: true, RCode: code, Authoritative: true, RecursionAvailable: true},
				Questions: []dnsmessage.Question{question},
			}
			if code == dnsmessage.RCodeSuccess {
				answer.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 60},
					Body:   &dnsmessage.NSResource{NS: dnsmessage.MustNewName("a.root-servers.net.")},
				}}
			}
			b, err := answer.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if id, asked, ok := DNSAnswer(b); id != 7 || asked != (question == root) || !ok {
				t.Errorf("%v of %v: id %d, asked %v, %v", code, question, id, asked, ok)
			}
		}
		query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{question}}
		b, err := query.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if m := read(AppendDNSRefusal(nil, b)); m.ID != 7 || !m.Response || m.RCode != dnsmessage.RCodeRefused || !m.RecursionDesired || len(m.Questions) != 1 || m.Questions[0] != question {
			t.Errorf("refusal %+v", m)
		}
	}
}

// FuzzXNet compares our reading of an ICMP message with that of
// golang.org/x/net/icmp. They differ, on purpose, in this:
//
//   - x/net does not look at the message's checksum; the test makes it right.
//   - At 128 bytes, where no length attribute leads, x/net takes a structure
//     without a checksum. We want one there, as any payload might follow.
//   - x/net wants room for an object behind the extension header; a structure
//     of none is nothing to compare.
//   - An object of classes 2 and 3 that cannot be read takes all extensions
//     with it in x/net, and what is missing at the end of one is not an error there. We keep
//     every object, and Interface says what is wrong with one.
//   - x/net reads label stack entries beyond the bottom of the stack, and in
//     class 1 of any type.
//   - Where a length attribute leads to a broken structure, x/net gives all
//     as the quote, we what the attribute says.
//   - x/net leaves the padding on the quote, and the MTU out of ICMP type 3 code 4.
func FuzzXNet(f *testing.F) {
	for _, fam := range families {
		for _, c := range readCaptured(f) {
			if p, err := ParseIP(c.b); err == nil && p.v6() == fam.v6 {
				f.Add(bytes.Clone(p.Transport()), fam.v6)
			}
		}
		for _, n := range []uint8{0, 16, 31, 32, 33, 40, 255} {
			f.Add(fam.extended(fam.timeExceeded(), n, fam.probe(200)[:128], structure()), fam.v6)
			f.Add(fam.extended(fam.timeExceeded(), n, fam.probe(200)[:128], AppendExtensions(nil, AppendObject(labels(), 2, 0x0f, cat([]byte{0, 0, 0, 7, 0, 1, 0, 0, 10, 0, 0, 1}, []byte("\x08eth0\x00\x00\x00"), []byte{0, 0, 5, 0xdc})))), fam.v6)
		}
		f.Add(AppendEcho(nil, fam.src, fam.dst, Echo6, 1, 2, nil, 0), fam.v6)
	}
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		if len(b) < headerICMP {
			return
		}
		fam, proto := families[0], ProtoICMP
		if v6 {
			fam, proto = families[1], ProtoICMPv6
		}
		b = fam.resum(bytes.Clone(b))
		m, err := fam.parseICMP(b)
		if err != nil {
			t.Fatal(err)
		}
		x, err := icmp.ParseMessage(proto, b)
		if err != nil {
			return // it reads more types than we do, and refuses some
		}
		switch body := x.Body.(type) {
		case *icmp.Echo:
			if body.ID != int(m.ID()) || body.Seq != int(m.Seq()) || !bytes.Equal(body.Data, m.Payload()) {
				t.Fatalf("echo %d %d, x/net says %d %d", m.ID(), m.Seq(), body.ID, body.Seq)
			}
		case *icmp.PacketTooBig:
			if uint32(body.MTU) != u32(b, 4) || body.MTU <= 1<<31-1 && body.MTU != m.MTU() {
				t.Fatalf("MTU %d, x/net says %d", m.MTU(), body.MTU)
			}
		case *icmp.ParamProb:
			if uint32(body.Pointer) != m.Pointer() {
				t.Fatalf("pointer %d, x/net says %d", m.Pointer(), body.Pointer)
			}
		}
		data, exts, ok := xnetBody(x)
		if !ok {
			return
		}
		if !m.IsError() {
			t.Fatal("an error message in x/net alone")
		}
		var objects []Object
		for o := m.Objects(); ; {
			x, ok := o.Next()
			if !ok {
				break
			}
			objects = append(objects, x)
			if _, err := x.Interface(); x.Class == 2 && err != nil || x.Class == 3 {
				return
			}
		}
		switch m.Extensions() {
		case NoExtensions, BadExtensions:
			if len(exts) != 0 && u16(b, 8+128+2) != 0 {
				t.Fatalf("no extensions, x/net finds %d", len(exts))
			}
			if m.Extensions() == NoExtensions && len(exts) == 0 && u16(b, 8+128+2) != 0 && !bytes.Equal(data, m.Payload()) {
				t.Fatalf("quote of %d bytes, x/net says %d", len(m.Payload()), len(data))
			}
			return
		}
		if len(objects) == 0 {
			return
		}
		if len(exts) != len(objects) || len(data) != int(m.end)-headerICMP {
			t.Fatalf("%d objects and a field of %d bytes, x/net says %d and %d", len(objects), m.end-headerICMP, len(exts), len(data))
		}
		for i, o := range objects {
			compareObject(t, o, exts[i])
		}
	})
}

func compareObject(t *testing.T, o Object, x icmp.Extension) {
	switch x := x.(type) {
	case *icmp.MPLSLabelStack:
		if x.Class != int(o.Class) || x.Type != int(o.Type) {
			t.Fatalf("object %d/%d, x/net says %d/%d", o.Class, o.Type, x.Class, x.Type)
		}
		if o.Type != 1 {
			return
		}
		for i, want := range x.Labels {
			l, ok := o.LSE(i)
			if !ok || int(l.Label()) != want.Label || int(l.TC()) != want.TC || l.Bottom() != want.S || int(l.TTL()) != want.TTL {
				t.Fatalf("entry %d: %d %d %v %d, x/net says %+v", i, l.Label(), l.TC(), l.Bottom(), l.TTL(), want)
			}
			if l.Bottom() {
				break
			}
		}
	case *icmp.InterfaceInfo:
		f, err := o.Interface()
		if err != nil {
			t.Fatal(err)
		}
		if x.Interface != nil {
			if f.HasIndex && x.Interface.Index != int(f.Index) || f.HasMTU && x.Interface.MTU != int(f.MTU) || x.Interface.Name != strings.Trim(string(f.Name), "\x00") {
				t.Fatalf("interface %+v, x/net says %+v", f, x.Interface)
			}
		}
		if f.Addr.IsValid() && (x.Addr == nil || !x.Addr.IP.Equal(f.Addr.AsSlice())) {
			t.Fatalf("address %v, x/net says %v", f.Addr, x.Addr)
		}
	case *icmp.RawExtension:
		if !bytes.Equal(x.Data, AppendObject(nil, o.Class, o.Type, o.Data)) {
			t.Fatalf("object %v, x/net says %x", o, x.Data)
		}
	}
}

// TestXNetMarshal: messages that x/net writes read as they were meant, and
// the same message written by us is the same bytes.
func TestXNetMarshal(t *testing.T) {
	extensions := []icmp.Extension{
		&icmp.MPLSLabelStack{Class: 1, Type: 1, Labels: []icmp.MPLSLabel{{Label: 24001, TC: 5, TTL: 1}, {Label: 3, S: true, TTL: 254}}},
		&icmp.InterfaceInfo{Class: 2, Type: 0x0b, Interface: &net.Interface{Index: 258, Name: "eth0", MTU: 1500}},
	}
	objects := cat(labels(), AppendObject(nil, 2, 0x0b, cat([]byte{0, 0, 1, 2}, []byte("\x08eth0\x00\x00\x00"), []byte{0, 0, 5, 0xdc})))
	for _, f := range families {
		var typ icmp.Type = ipv4.ICMPTypeTimeExceeded
		var echo icmp.Type = ipv4.ICMPTypeEcho
		var psh []byte
		if f.v6 {
			typ, echo = ipv6.ICMPTypeTimeExceeded, ipv6.ICMPTypeEchoRequest
			psh = icmp.IPv6PseudoHeader(f.src.AsSlice(), f.dst.AsSlice())
		}
		marshal := func(m icmp.Message) []byte {
			t.Helper()
			b, err := m.Marshal(bytes.Clone(psh))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		for _, n := range []int{4, 120, 301} {
			quote := f.probe(n)
			theirs := marshal(icmp.Message{Type: typ, Body: &icmp.TimeExceeded{Data: quote, Extensions: extensions}})
			ours := AppendError(nil, f.src, f.dst, f.timeExceeded(), 0, 0, quote, objects)
			if !bytes.Equal(ours, theirs) {
				t.Errorf("%s, quote of %d bytes: ours\n%x, x/net's\n%x", f.name, len(quote), ours, theirs)
			}
		}
		theirs := marshal(icmp.Message{Type: typ, Code: 1, Body: &icmp.TimeExceeded{Data: f.probe(9)}})
		ours := AppendError(nil, f.src, f.dst, f.timeExceeded(), 1, 0, f.probe(9), nil)
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s, no extensions: ours\n%x, x/net's\n%x", f.name, ours, theirs)
		}
		theirs = marshal(icmp.Message{Type: echo, Body: &icmp.Echo{ID: 0x1234, Seq: 0xfffe, Data: []byte("odd")}})
		ours = AppendEcho(nil, f.src, f.dst, theirs[0], 0x1234, 0xfffe, []byte("odd"), 0)
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s, echo: ours\n%x, x/net's\n%x", f.name, ours, theirs)
		}
	}
}

// gopacketIP is the IP header that gopacket writes for a family.
func (f family) gopacketIP(proto layers.IPProtocol) (gopacket.NetworkLayer, gopacket.SerializableLayer) {
	if f.v6 {
		ip := &layers.IPv6{Version: 6, TrafficClass: 0xb8, FlowLabel: 0xabcde, NextHeader: proto, HopLimit: 7, SrcIP: f.src.AsSlice(), DstIP: f.dst.AsSlice()}
		return ip, ip
	}
	ip := &layers.IPv4{Version: 4, TOS: 0xb8, Id: 0xbeef, Flags: layers.IPv4DontFragment, TTL: 7, Protocol: proto, SrcIP: f.src.AsSlice(), DstIP: f.dst.AsSlice()}
	return ip, ip
}

// TestGopacket: what gopacket writes we read as it was meant, and what we
// write for the same fields is the same bytes; what we write gopacket reads
// without complaint, checksums included.
func TestGopacket(t *testing.T) {
	payload := gopacket.Payload("some payload of odd size")
	syn := []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}},
		{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 0, 0, 0, 0}},
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
	}
	for _, f := range families {
		src, dst := port(f.src, 40000), port(f.dst, 33434)
		udp := &layers.UDP{SrcPort: 40000, DstPort: 33434}
		tcp := &layers.TCP{SrcPort: 40000, DstPort: 33434, Seq: 0xdeadbeef, SYN: true, ECE: true, CWR: true, Window: 64240, Options: syn}
		ack := &layers.TCP{SrcPort: 40000, DstPort: 33434, Seq: 1, Ack: 0xcafebabe, ACK: true, PSH: true, Window: 1}
		echo4 := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 0x1234, Seq: 0xfffe}
		icmp6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
		echo6 := &layers.ICMPv6Echo{Identifier: 0x1234, SeqNumber: 0xfffe}
		echo, echoProto, echoType := []gopacket.SerializableLayer{echo4}, layers.IPProtocolICMPv4, uint8(Echo4)
		if f.v6 {
			echo, echoProto, echoType = []gopacket.SerializableLayer{icmp6, echo6}, layers.IPProtocolICMPv6, Echo6
		}
		tests := []struct {
			name   string
			proto  layers.IPProtocol
			theirs []gopacket.SerializableLayer
			ours   []byte
		}{
			{"UDP", layers.IPProtocolUDP, []gopacket.SerializableLayer{udp, payload}, AppendUDP(nil, src, dst, payload, 0)},
			{"SYN", layers.IPProtocolTCP, []gopacket.SerializableLayer{tcp}, AppendTCP(nil, src, dst, TCPFields{Seq: 0xdeadbeef, Flags: SYN | ECE | CWR, Window: 64240, Options: AppendSYNOptions(nil, 1460, 0x01020304)}, nil)},
			{"ACK", layers.IPProtocolTCP, []gopacket.SerializableLayer{ack, payload}, AppendTCP(nil, src, dst, TCPFields{Seq: 1, Ack: 0xcafebabe, Flags: ACK | PSH, Window: 1}, payload)},
			{"echo", echoProto, append(echo, payload), AppendEcho(nil, f.src, f.dst, echoType, 0x1234, 0xfffe, payload, 0)},
		}
		for _, tt := range tests {
			t.Run(f.name+" "+tt.name, func(t *testing.T) {
				network, ip := f.gopacketIP(tt.proto)
				for _, l := range tt.theirs {
					if s, ok := l.(interface {
						SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
					}); ok {
						if err := s.SetNetworkLayerForChecksum(network); err != nil {
							t.Fatal(err)
						}
					}
				}
				buf := gopacket.NewSerializeBuffer()
				err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append([]gopacket.SerializableLayer{ip}, tt.theirs...)...)
				if err != nil {
					t.Fatal(err)
				}
				ours := f.packet(uint8(tt.proto), 7, tt.ours)
				if !bytes.Equal(ours, buf.Bytes()) {
					t.Errorf("ours\n%x, gopacket's\n%x", ours, buf.Bytes())
				}
				p, err := ParseIP(buf.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				if got := rebuild(t, p); !bytes.Equal(got, buf.Bytes()) {
					t.Errorf("read and written anew\n%x, was\n%x", got, buf.Bytes())
				}
			})
		}
	}
}

// TestGopacketReads: gopacket finds in our packets the fields we meant, for
// any fields and chosen checksums, and every checksum right.
func TestGopacketReads(t *testing.T) {
	r := rng(t)
	for _, f := range families {
		first := layers.LayerTypeIPv4
		if f.v6 {
			first = layers.LayerTypeIPv6
		}
		for range 500 {
			f := family{v6: f.v6, src: randomAddr(r, f.v6), dst: randomAddr(r, f.v6)}
			src, dst := port(f.src, uint16(r.Uint32())), port(f.dst, 33434)
			sum := uint16(1 + r.IntN(0xfffe))
			data := randomBytes(r, 2+r.IntN(40))
			seq, ack := r.Uint32(), r.Uint32()
			options := AppendSYNOptions(nil, uint16(r.Uint32()), r.Uint32())

			p := gopacket.NewPacket(f.packet(ProtoUDP, 3, AppendUDP(nil, src, dst, data, sum)), first, gopacket.Default)
			checkGopacket(t, p, f)
			if u, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); !ok || uint16(u.SrcPort) != src.Port() || u.DstPort != 33434 || u.Checksum != sum || int(u.Length) != 8+len(data) || !bytes.Equal(u.Payload[2:], data[2:]) {
				t.Fatalf("UDP %v", p)
			}

			p = gopacket.NewPacket(f.packet(ProtoTCP, 3, AppendTCP(nil, src, dst, TCPFields{seq, ack, SYN | ACK, 1234, options}, nil)), first, gopacket.Default)
			checkGopacket(t, p, f)
			s, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
			if !ok || uint16(s.SrcPort) != src.Port() || s.Seq != seq || s.Ack != ack || !s.SYN || !s.ACK || s.RST || s.FIN || s.PSH || s.URG || s.Window != 1234 || len(s.Options) != 5 {
				t.Fatalf("TCP %v", p)
			}
			if mss := s.Options[0]; mss.OptionType != layers.TCPOptionKindMSS || !bytes.Equal(mss.OptionData, options[2:4]) {
				t.Fatalf("MSS %v", mss)
			}

			id, n := uint16(r.Uint32()), uint16(r.Uint32())
			if f.v6 {
				p = gopacket.NewPacket(f.packet(ProtoICMPv6, 3, AppendEcho(nil, f.src, f.dst, Echo6, id, n, data, sum)), first, gopacket.Default)
				checkGopacket(t, p, f)
				m, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
				e, ok2 := p.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo)
				if !ok || !ok2 || m.Checksum != sum || e.Identifier != id || e.SeqNumber != n {
					t.Fatalf("echo %v", p)
				}
			} else {
				p = gopacket.NewPacket(f.packet(ProtoICMP, 3, AppendEcho(nil, f.src, f.dst, Echo4, id, n, data, sum)), first, gopacket.Default)
				checkGopacket(t, p, f)
				if m, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); !ok || m.Checksum != sum || m.Id != id || m.Seq != n {
					t.Fatalf("echo %v", p)
				}
			}
		}
	}
}

func checkGopacket(t *testing.T, p gopacket.Packet, f family) {
	t.Helper()
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket: %v", e.Error())
	}
	for _, l := range p.Layers() { // a decoded packet does not do so by itself
		if s, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := s.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
		}
	}
	err, wrong := p.VerifyChecksums()
	if err != nil || len(wrong) != 0 {
		t.Fatalf("gopacket on checksums: %v %v", err, wrong)
	}
	a, b := p.NetworkLayer().NetworkFlow().Endpoints()
	src, _ := netip.AddrFromSlice(a.Raw())
	dst, _ := netip.AddrFromSlice(b.Raw())
	if src != f.src || dst != f.dst {
		t.Fatalf("gopacket says %v to %v, want %v to %v", src, dst, f.src, f.dst)
	}
	switch l := p.NetworkLayer().(type) {
	case *layers.IPv4:
		if l.TTL != 3 || l.TOS != 0xb8 || l.Id != 0xbeef || l.Flags != layers.IPv4DontFragment {
			t.Fatalf("gopacket says %+v", l)
		}
	case *layers.IPv6:
		if l.HopLimit != 3 || l.TrafficClass != 0xb8 || l.FlowLabel != 0xabcde || binary.BigEndian.Uint16(l.Contents[4:]) != l.Length {
			t.Fatalf("gopacket says %+v", l)
		}
	}
}

// TestGopacketReadsOptions: what gopacket finds of IPv4 options, routing headers, UDP-Lite and timestamps.
func TestGopacketReadsOptions(t *testing.T) {
	stamp := AppendTimestamp(nil, src4, dst4, Timestamp4, 0x1234, 7, Times{1, 2, 3})
	options := cat(AppendRecordRoute(nil, 2), AppendTimestampOption(nil, StampsAddrs, nil, 2))
	b := append(AppendIPv4(nil, IPv4{Src: src4, Dst: dst4, TTL: 3, TOS: 0xb8, ID: 0xbeef, DF: true, Proto: ProtoICMP, Options: options}, len(stamp)), stamp...)
	p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
	checkGopacket(t, p, families[0])
	var found []layers.IPv4Option
	for _, o := range p.NetworkLayer().(*layers.IPv4).Options {
		if o.OptionType != OptNop {
			found = append(found, o)
		}
	}
	ours := touchOptions(options)
	if len(found) != 2 {
		t.Fatalf("options %v", found)
	}
	for i, o := range found {
		if o.OptionType != ours[i].Type() || !bytes.Equal(o.OptionData, ours[i].Data()) {
			t.Errorf("option %v, want % x", o, ours[i].b)
		}
	}
	if m, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); !ok || m.TypeCode.Type() != layers.ICMPv4TypeTimestampRequest || m.Id != 0x1234 || m.Seq != 7 || len(m.Payload) != 12 {
		t.Errorf("timestamp %v", p)
	}

	for _, f := range families {
		first := layers.LayerTypeIPv4
		if f.v6 {
			first = layers.LayerTypeIPv6
		}
		d := AppendUDPLite(nil, port(f.src, 40000), port(f.dst, 33434), []byte("payload"), 0xbeef)
		p := gopacket.NewPacket(f.packet(ProtoUDPLite, 3, d), first, gopacket.Default)
		if u, ok := p.Layer(layers.LayerTypeUDPLite).(*layers.UDPLite); !ok || u.SrcPort != 40000 || u.DstPort != 33434 || u.Checksum != 0xbeef || int(u.ChecksumCoverage) != len(d) {
			t.Errorf("%s: UDP-Lite %v", f.name, p)
		}
	}

	u := AppendUDP(nil, port(src6, 1), port(dst6, 2), []byte("payload"), 0)
	then := []netip.Addr{src6, dst6}
	b = append(AppendIPv6(nil, IPv6{Src: src6, Dst: dst6, HopLimit: 3, Next: ProtoUDP, Routing: AppendRouting(nil, 0, then)}, len(u)), u...)
	p = gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
	h, ok := p.Layer(layers.LayerTypeIPv6Routing).(*layers.IPv6Routing)
	if !ok || h.NextHeader != layers.IPProtocolUDP || h.SegmentsLeft != 2 || len(h.SourceRoutingIPs) != 2 || !h.SourceRoutingIPs[1].Equal(dst6.AsSlice()) {
		t.Errorf("routing header %v", p)
	}
	if _, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); !ok {
		t.Errorf("no UDP behind the routing header: %v", p)
	}
}
