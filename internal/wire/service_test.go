package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// RFC 1035 section 4.1: the header's six words, and a question: name, type and class.
const dnsQuery = "\xbe\xef" + "\x01\x00" + "\x00\x01\x00\x00\x00\x00\x00\x00" + "\x00" + "\x00\x02" + "\x00\x01"

func TestDNSQuery(t *testing.T) {
	if got := string(AppendDNSQuery([]byte("odd"), 0xbeef)); got != "odd"+dnsQuery || len(dnsQuery) != SizeDNSQuery {
		t.Errorf("%x, want %x", got, dnsQuery)
	}
}

func TestDNSAnswer(t *testing.T) {
	const yes, other, no = 1, 2, 3
	with := func(b string, at int, v byte) string { return b[:at] + string([]byte{v}) + b[at+1:] }
	referral := "\xbe\xef\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00" + "\x00\x00\x02\x00\x01" + // the root's servers, one here
		"\x00\x00\x02\x00\x01\x00\x07\xe9\x00\x00\x14\x01a\x0croot-servers\x03net\x00"
	refused := "\xbe\xef\x81\x05" + dnsQuery[4:]
	tests := []struct {
		name string
		in   string
		want int
	}{
		{"an answer with records", referral, yes},
		{"refused", refused, yes},
		{"refused without the question", "\xbe\xef\x80\x05\x00\x00\x00\x00\x00\x00\x00\x00", yes},
		{"refused, bytes behind", refused + "\x00", yes},
		{"truncated and authoritative", with(refused, 2, 0x87), yes},
		{"another name", refused[:12] + "\x01a\x00\x00\x02\x00\x01", other},
		{"another type", with(refused, 14, 1), other},
		{"a type of another high byte", with(refused, 13, 1), other},
		{"another class", with(refused, 16, 3), other},
		{"the question cut off", refused[:16], other},
		{"two questions", with(refused, 5, 2), other},
		{"the query itself", dnsQuery, no},
		{"an answer to an inverse query", with(refused, 2, 0x88), no},
		{"the header cut off", refused[:11], no},
		{"nothing", "", no},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, asked, ok := DNSAnswer([]byte(tt.in))
			if ok != (tt.want != no) || asked != (tt.want == yes) || ok && id != 0xbeef {
				t.Errorf("id %#x, asked %v, %v", id, asked, ok)
			}
		})
	}
	for n := range dnsQuery {
		if id, ok := IsDNSQuery([]byte(dnsQuery)); !ok || id != 0xbeef {
			t.Fatalf("a query of id %#x is %v", id, ok)
		}
		changed := []byte(dnsQuery)
		changed[n] ^= 0x24
		if id, ok := IsDNSQuery(changed); ok != (n < 2) || ok && id == 0xbeef {
			t.Errorf("with byte %d changed: id %#x, %v", n, id, ok)
		}
		if _, ok := IsDNSQuery([]byte(dnsQuery)[:n]); ok {
			t.Errorf("%d bytes are a query", n)
		}
	}
	if _, ok := IsDNSQuery([]byte(dnsQuery + "\x00")); ok {
		t.Error("with a byte behind it is a query")
	}
}

func TestDNSRefusal(t *testing.T) {
	a := "\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + "\x03www\x07example\x00\x00\x01\x00\x01"
	tests := []struct{ name, in, want string }{
		{"the root", dnsQuery, "\xbe\xef\x81\x05" + dnsQuery[4:]},
		{"a name", a, "\xbe\xef\x81\x05" + a[4:]},
		{"a name, no recursion, something behind", a[:2] + "\x00" + a[3:11] + "\x01" + a[12:] + "\x00\x00\x29", "\xbe\xef\x80\x05" + a[4:]},
		{"a name cut off", a[:20], "\xbe\xef\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"no question", a[:5] + "\x00" + a[6:12], "\xbe\xef\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"an answer", "\xbe\xef\x81" + a[3:], ""},
		{"no DNS message", "hello", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendDNSRefusal(nil, []byte(tt.in))); got != tt.want {
				t.Errorf("%x, want %x", got, tt.want)
			}
		})
	}
}

var (
	quicDestination = [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	quicSource      = [8]byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8}
)

// RFC 9000 sections 17.2 and 17.2.2: header form, fixed bit and type; version; both connection ids with their lengths; no
// token; and the length of the rest, in two bytes (section 16).
func TestQUIC(t *testing.T) {
	const want = "\xc0" + "\x1a\x2a\x3a\x4a" + "\x08\x01\x02\x03\x04\x05\x06\x07\x08" + "\x08\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8" + "\x00" + "\x44\x96"
	room := bytes.Repeat([]byte{0xee}, 2000)
	got := AppendQUIC(room[:3], quicDestination, quicSource, SizeQUIC)[3:]
	if len(got) != 1200 || string(got[:len(want)]) != want || len(got)-len(want) != 0x0496 || len(bytes.Trim(got[len(want):], "\x00")) != 0 {
		t.Errorf("%d bytes, %x, want %x and zeros", len(got), got[:len(want)], want)
	}
	if [8]byte(got[QUICDestination:]) != quicDestination || [8]byte(got[QUICSource:]) != quicSource || QUICVersion&0x0f0f0f0f != 0x0a0a0a0a {
		t.Errorf("ids %x and %x", got[QUICDestination:][:8], got[QUICSource:][:8])
	}
	for _, size := range []int{0, len(want) - 1, len(want) + 0x4000} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a packet of %d bytes", size)
				}
			}()
			AppendQUIC(nil, quicDestination, quicSource, size)
		}()
	}
}

// RFC 8999 section 6: the version is 0, the connection ids have changed places, and a list of versions follows.
func TestQUICVersions(t *testing.T) {
	const good = "\xc0" + "\x00\x00\x00\x00" + "\x08\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8" + "\x08\x01\x02\x03\x04\x05\x06\x07\x08" + "\x00\x00\x00\x01\x6b\x33\x43\xcf"
	if got := string(AppendQUICVersions(nil, AppendQUIC(nil, quicDestination, quicSource, SizeQUIC), 1, 0x6b3343cf)); got != good {
		t.Errorf("%x, want %x", got, good)
	}
	const yes, other, no = 1, 2, 3
	tests := []struct {
		name, in string
		want     int
	}{
		{"as it should be", good, yes},
		{"the other bits of the first byte are anybody's", "\x9f" + good[1:], yes},
		{"no version", good[:23], yes},
		{"the second id cut off", good[:22], other},
		{"the first id cut off", good[:13], other},
		{"no id", good[:6], other},
		{"the first id shorter", good[:5] + "\x07" + good[6:13] + good[14:], other},
		{"the second id longer", good[:14] + "\x09" + good[15:], other},
		{"a short header", "\x40" + good[1:], no},
		{"another version", good[:4] + "\x01" + good[5:], no},
		{"ends in the version", good[:5], no},
		{"nothing", "", no},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			destination, source, known, ok := QUICVersions([]byte(tt.in))
			if ok != (tt.want != no) || known != (tt.want == yes) {
				t.Errorf("known %v, %v", known, ok)
			}
			if known && (destination != quicDestination || source != quicSource) || !known && (destination != [8]byte{} || source != [8]byte{}) {
				t.Errorf("ids %x and %x", destination, source)
			}
		})
	}
	packet := AppendQUIC(nil, quicDestination, quicSource, SizeQUIC)
	for name, b := range map[string][]byte{
		"too short":          packet[:SizeQUIC-1],
		"a short header":     append([]byte{0x40}, packet[1:]...),
		"a list of versions": append([]byte{0xc0, 0, 0, 0, 0}, packet[5:]...),
		"a version it has":   append([]byte{0xc0, 0, 0, 0, 1}, packet[5:]...),
		"nothing":            nil,
	} {
		if got := AppendQUICVersions([]byte("odd"), b, 1); string(got) != "odd" {
			t.Errorf("%s: answered with %x", name, got)
		}
	}
	long := bytes.Repeat([]byte{0xff}, SizeQUIC) // ids as long as they come
	if got := AppendQUICVersions(nil, long, 1); len(got) != 5+1+255+1+255+4 {
		t.Errorf("%d bytes for ids of 255", len(got))
	}
}

// TestTunedByAnotherWord: the word that makes the checksum the chosen one is any, and no other byte is changed.
func TestTunedByAnotherWord(t *testing.T) {
	r := rng(t)
	for _, f := range families {
		for range 2000 {
			payload := randomBytes(r, 2+r.IntN(80))
			word := 2 * r.IntN(len(payload)/2)
			sum := uint16(1 + r.IntN(0xfffe))
			u, err := ParseUDP(AppendUDPTuned(nil, port(f.src, 40000), port(f.dst, 53), payload, word, sum))
			if err != nil || u.Checksum() != sum || !u.Valid(f.src, f.dst) {
				t.Fatalf("%v, checksum %#04x, want %#04x, valid", err, u.Checksum(), sum)
			}
			got := u.Payload()
			if !bytes.Equal(got[:word], payload[:word]) || !bytes.Equal(got[word+2:], payload[word+2:]) {
				t.Fatalf("payload %x, want %x but for word %d", got, payload, word)
			}
		}
	}
}

// FuzzServices: an answer is read the same with anything behind it, and says the ids that it was made with; what is answered is
// answered with what is read as an answer to it.
func FuzzServices(f *testing.F) {
	f.Add([]byte(dnsQuery))
	f.Add(AppendDNSRefusal(nil, []byte(dnsQuery)))
	f.Add(AppendQUIC(nil, quicDestination, quicSource, SizeQUIC))
	f.Add(AppendQUICVersions(nil, AppendQUIC(nil, quicDestination, quicSource, SizeQUIC), 1))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		more := append(bytes.Clone(b), 0)
		id, asked, ok := DNSAnswer(b)
		if again, a, o := DNSAnswer(more); ok && (again != id || asked && !a || !o) {
			t.Errorf("with a byte behind: id %#x, asked %v, %v; was %#x, %v", again, a, o, id, asked)
		}
		if ok && (binary.BigEndian.Uint16(b) != id || b[2]&0x80 == 0) || !ok && (id != 0 || asked) {
			t.Errorf("id %#x, asked %v, %v of %x", id, asked, ok, b)
		}
		if id, ok := IsDNSQuery(b); ok != (len(b) >= 2 && bytes.Equal(b, AppendDNSQuery(nil, u16(b, 0)))) {
			t.Errorf("a query of id %#x: %v", id, ok)
		}
		if got := AppendDNSRefusal(nil, b); got != nil {
			id, _, ok := DNSAnswer(got)
			if standard := b[2]&0x78 == 0; ok != standard || ok && id != u16(b, 0) {
				t.Errorf("%x is answered with %x", b, got)
			}
			if q, ok := IsDNSQuery(b); ok {
				if id, asked, _ := DNSAnswer(got); id != q || !asked {
					t.Errorf("%x is answered with %x", b, got)
				}
			}
		}
		destination, source, known, ok := QUICVersions(b)
		if d, s, k, o := QUICVersions(more); ok && (!o || known && (!k || d != destination || s != source)) {
			t.Errorf("with a byte behind: ids %x and %x, %v", d, s, o)
		}
		if known {
			packet := AppendQUIC(nil, destination, source, SizeQUIC)
			if got := AppendQUICVersions(nil, packet); !bytes.Equal(got[1:], b[1:len(got)]) {
				t.Errorf("written anew %x, was %x", got, b)
			}
		}
		if got := AppendQUICVersions(nil, b, 1); got != nil {
			if _, _, known, ok := QUICVersions(got); !ok || known != (b[5] == 8 && b[14] == 8) {
				t.Errorf("%x is answered with %x", b, got)
			}
		}
	})
}
