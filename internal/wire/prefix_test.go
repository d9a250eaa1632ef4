package wire

import (
	"bytes"
	"fmt"
	"testing"
)

// TestExtensionPrefixes cuts errors with extensions, which Linux does not send, at every byte, with their checksums made right
// again, and with the structure's too: nothing panics, and what is read of a cut message is the beginning of what was read of all of it.
func TestExtensionPrefixes(t *testing.T) {
	everything := cat([]byte{0, 0, 0, 7, 0, 1, 0, 0, 10, 0, 0, 1}, []byte("\x08eth0\x00\x00\x00"), []byte{0, 0, 5, 0xdc})
	objects := cat(labels(), AppendObject(nil, 2, 0x0f, everything), AppendObject(nil, 2, 0x44, cat([]byte{0, 2, 0, 0}, dst6.AsSlice())), AppendObject(nil, 99, 1, []byte{1, 2, 3}))
	read := func(m ICMP) (all []string) {
		for _, o := range touchObjects(m.Objects()) {
			f, err := o.Interface()
			all = append(all, fmt.Sprintf("%s %x %+v %v", stack(o), o.Data, f, err))
		}
		return all
	}
	for _, f := range families {
		for _, length := range []uint8{0, map[bool]uint8{false: 32, true: 16}[f.v6]} {
			whole := f.extended(f.timeExceeded(), length, f.probe(200)[:128], AppendExtensions(nil, objects))
			m, err := f.parseICMP(whole)
			if err != nil {
				t.Fatal(err)
			}
			want := read(m)
			if len(want) != 4 {
				t.Fatalf("%s: %d objects, want 4: nothing to test", f.name, len(want))
			}
			for n := headerICMP; n < len(whole); n++ {
				b := bytes.Clone(whole[:n])
				if at := headerICMP + minOriginal; n >= at+headerExtension {
					b[at+2], b[at+3] = 0, 0
					seal(b[at:], 2, 0, 0)
				}
				m, err := f.parseICMP(f.resum(b))
				if err != nil {
					t.Fatal(err)
				}
				touchICMP(m)
				got := read(m)
				if len(got) >= len(want) {
					t.Fatalf("%s: %d objects in %d of %d bytes", f.name, len(got), n, len(whole))
				}
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("%s: in %d of %d bytes object %s, want %s", f.name, n, len(whole), got[i], want[i])
					}
				}
			}
		}
	}
}

// TestExtensionHeaderPrefixes cuts an IPv6 packet with all extension headers at every byte, and has each of them say that it is
// longer: nothing panics, and no header begins behind the end of what is there.
func TestExtensionHeaderPrefixes(t *testing.T) {
	whole := chain(ProtoHopByHop, hopByHop(ProtoDestOptions), destOptions(ProtoRouting), routing(ProtoFragment), fragment(ProtoAH, 0, true), ah(ProtoUDP), udp8)
	lengths := []int{header6 + 1, header6 + 8 + 1, header6 + 8 + 16 + 1, header6 + 8 + 16 + 24 + 8 + 1} // where they stand; a fragment header has none
	for n := range len(whole) + 1 {
		for _, at := range append(lengths, 0) {
			for _, more := range []uint8{1, 2, 3, 4, 255} {
				b := bytes.Clone(whole[:n])
				if at > 0 && at < n {
					b[at] += more
				}
				changed := at > 0 && at < n
				p, err := ParseQuote(b)
				switch {
				case err == nil:
					touchIP(p)
				case !changed:
					wantError(t, err, ErrShort, b)
				}
				if !changed && (err == nil) != (n == len(whole)) {
					t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
				}
				if n >= header6 {
					b[4], b[5] = byte((n-header6)>>8), byte(n-header6)
				}
				if p, err := ParseIP(b); err == nil {
					touchIP(p)
				}
			}
		}
	}
}
