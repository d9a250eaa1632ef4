package wire

import (
	"bytes"
	"fmt"
	"testing"
)

// labels is an object with two label stack entries.
func labels() []byte {
	return AppendObject(nil, 1, 1, AppendLSE(AppendLSE(nil, 24001, 5, false, 1), 3, 0, true, 254))
}

// structure is an extension structure with that object. As wire order is the
// same in both families, so are its bytes.
func structure() []byte { return AppendExtensions(nil, labels()) }

// extended makes an ICMP error out of an original datagram field, its length
// attribute and whatever follows, right or wrong.
func (f family) extended(typ, length uint8, parts ...[]byte) []byte {
	b := cat(append([][]byte{make([]byte, headerICMP)}, parts...)...)
	b[0] = typ
	if f.v6 {
		b[4] = length
	} else {
		b[5] = length
	}
	return f.resum(b)
}

func TestExtensions(t *testing.T) {
	v4, v6 := families[0], families[1]
	pad := func(f family, n int) []byte { return append(f.probe(4), make([]byte, n-len(f.probe(4)))...) }
	full := func(f family, n int) []byte { return f.probe(n)[:n] } // a long probe, cut at n
	wrongSum := func() []byte { b := structure(); b[2] ^= 1; return b }
	noSum := func() []byte { b := structure(); b[2], b[3] = 0, 0; return b }
	version := func(n byte) []byte { b := structure(); b[0] = n; b[2], b[3] = 0, 0; seal(b, 2, 0, 0); return b }
	tests := []struct {
		name    string
		f       family
		b       []byte
		kind    ExtensionKind
		objects int
		quote   int // bytes
	}{
		{"none, short quote", v4, v4.extended(TimeExceeded4, 0, v4.probe(4)), NoExtensions, 0, 32},
		{"none, long quote", v4, v4.extended(TimeExceeded4, 0, full(v4, 548)), NoExtensions, 0, 548},

		{"32 words of 4", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), structure()), Extensions, 1, 32},
		{"16 words of 8", v6, v6.extended(TimeExceeded6, 16, pad(v6, 128), structure()), Extensions, 1, 52},
		{"unreachable", v4, v4.extended(Unreachable4, 32, pad(v4, 128), structure()), Extensions, 1, 32},
		{"parameter problem", v4, v4.extended(ParameterProblem4, 32, pad(v4, 128), structure()), Extensions, 1, 32},
		{"unreachable 6", v6, v6.extended(Unreachable6, 16, pad(v6, 128), structure()), Extensions, 1, 52},
		{"length of more than 8 bits", v4, v4.extended(TimeExceeded4, 135, full(v4, 540), structure()), Extensions, 1, 540},
		{"longest length", v4, v4.extended(TimeExceeded4, 255, full(v4, 1020), structure()), Extensions, 1, 1020},
		{"length of more than 8 bits, 6", v6, v6.extended(TimeExceeded6, 40, full(v6, 320), structure()), Extensions, 1, 320},
		{"longest length, 6", v6, v6.extended(TimeExceeded6, 255, full(v6, 2040), structure()), Extensions, 1, 2040},
		{"without checksum", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), noSum()), Extensions, 1, 32},
		{"no object", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), AppendExtensions(nil, nil)), Extensions, 0, 32},
		{"two objects", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), AppendExtensions(nil, cat(labels(), labels()))), Extensions, 2, 32},

		{"wrong checksum", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), wrongSum()), BadExtensions, 0, 32},
		{"version 1", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), version(0x10)), BadExtensions, 0, 32},
		{"version in the wrong half", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), version(0x02)), BadExtensions, 0, 32},
		{"structure cut in its header", v4, v4.extended(TimeExceeded4, 32, pad(v4, 128), structure()[:3]), BadExtensions, 0, 32},
		{"length at the end", v4, v4.extended(TimeExceeded4, 32, full(v4, 128)), NoExtensions, 0, 128},
		{"length beyond the end", v4, v4.extended(TimeExceeded4, 255, full(v4, 140)), NoExtensions, 0, 140},

		{"at 128 without length", v4, v4.extended(TimeExceeded4, 0, pad(v4, 128), structure()), CompatExtensions, 1, 32},
		{"at 128 without length, quote full", v4, v4.extended(TimeExceeded4, 0, full(v4, 128), structure()), CompatExtensions, 1, 128},
		{"at 128 without length, 6", v6, v6.extended(TimeExceeded6, 0, full(v6, 128), structure()), CompatExtensions, 1, 128},
		{"at 128, length counted in fours in ICMPv6", v6, v6.extended(TimeExceeded6, 32, pad(v6, 128), structure()), CompatExtensions, 1, 52},
		{"at 128, length counted in eights in ICMP", v4, v4.extended(TimeExceeded4, 16, pad(v4, 128), structure()), CompatExtensions, 1, 32},
		{"at 128, length that leads elsewhere", v4, v4.extended(TimeExceeded4, 33, pad(v4, 128), structure()), CompatExtensions, 1, 32},
		{"at 128 without length, wrong checksum", v4, v4.extended(TimeExceeded4, 0, full(v4, 128), wrongSum()), NoExtensions, 0, 128 + 16},
		{"at 128 without length, no checksum", v4, v4.extended(TimeExceeded4, 0, full(v4, 128), noSum()), NoExtensions, 0, 128 + 16},
		{"at 128 without length, version 1", v4, v4.extended(TimeExceeded4, 0, full(v4, 128), version(0x10)), NoExtensions, 0, 128 + 16},
		{"at 128 without length, no room for an object", v4, v4.extended(TimeExceeded4, 0, full(v4, 128), AppendExtensions(nil, nil)), NoExtensions, 0, 128 + 4},

		{"redirect takes none", v4, v4.extended(Redirect4, 32, full(v4, 128), structure()), NoExtensions, 0, 128 + 16},
		{"packet too big takes none", v6, v6.extended(PacketTooBig6, 16, full(v6, 128), structure()), NoExtensions, 0, 128 + 16},
		{"parameter problem 6 takes none", v6, v6.extended(ParameterProblem6, 16, full(v6, 128), structure()), NoExtensions, 0, 128 + 16},
		{"type 11 of ICMPv6 takes none", v6, v6.extended(TimeExceeded4, 16, full(v6, 128), structure()), NoExtensions, 0, 128 + 16},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := tt.f.parseICMP(tt.b)
			if err != nil {
				t.Fatal(err)
			}
			q, err := m.Quote()
			if err != nil {
				t.Fatal(err)
			}
			objects := touchObjects(m.Objects())
			if m.Extensions() != tt.kind || len(objects) != tt.objects || len(q.Bytes()) != tt.quote {
				t.Errorf("kind %d, %d objects, %d bytes of quote, want %d, %d, %d",
					m.Extensions(), len(objects), len(q.Bytes()), tt.kind, tt.objects, tt.quote)
			}
			for _, o := range objects {
				if want := "1 1 24001/5/false/1 3/0/true/254"; stack(o) != want {
					t.Errorf("object %s, want %s", stack(o), want)
				}
			}
		})
	}
}

func stack(o Object) string {
	s := fmt.Sprint(o.Class, " ", o.Type)
	for i := 0; ; i++ {
		l, ok := o.LSE(i)
		if !ok {
			return s
		}
		s += fmt.Sprintf(" %d/%d/%v/%d", l.Label(), l.TC(), l.Bottom(), l.TTL())
	}
}

// TestAppendErrorAny: a quote of any length with any objects comes back, in
// both families, for every type that takes extensions; another type leaves
// them out and keeps its word.
func TestAppendErrorAny(t *testing.T) {
	r := rng(t)
	for _, f := range families {
		types, unit := []uint8{Unreachable4, TimeExceeded4, ParameterProblem4}, 4
		none := []uint8{Redirect4, SourceQuench4}
		if f.v6 {
			types, unit = []uint8{Unreachable6, TimeExceeded6}, 8
			none = []uint8{PacketTooBig6, ParameterProblem6}
		}
		least := len(f.probe(0))
		for range 3000 {
			quote := f.probe(1 + r.IntN(1300)) // the last byte is not zero
			quote = quote[:least+r.IntN(len(quote)-least+1)]
			var objects []byte
			var want []Object
			for range 1 + r.IntN(4) {
				o := Object{uint8(r.Uint32()), uint8(r.Uint32()), randomBytes(r, 4*r.IntN(5))}
				want = append(want, o)
				objects = AppendObject(objects, o.Class, o.Type, o.Data)
			}
			word := r.Uint32()
			typ := types[r.IntN(len(types))]
			b := AppendError([]byte("odd"), f.src, f.dst, typ, 4, word, quote, objects)[3:]
			m, err := f.parseICMP(b)
			if err != nil {
				t.Fatal(err)
			}
			if m.Type() != typ || m.Code() != 4 || m.Extensions() != Extensions {
				t.Fatalf("type %d, code %d, extensions %d", m.Type(), m.Code(), m.Extensions())
			}
			shift := 16
			if f.v6 {
				shift = 24
			}
			if got, keep := u32(b, 4), ^(uint32(0xff) << shift); got&keep != word&keep {
				t.Fatalf("word %#08x, want %#08x but for the length", got, word)
			}
			q, err := m.Quote()
			if err != nil {
				t.Fatal(err)
			}
			kept := quote[:min(len(quote), 255*unit)]
			got := q.Bytes()
			if !bytes.HasPrefix(got, kept) || len(got) > max(128, (len(kept)+unit-1)/unit*unit) {
				t.Fatalf("quote of %d bytes, want %d", len(got), len(kept))
			}
			if q.Length() == len(kept) && len(got) != len(kept) {
				t.Fatalf("quote of %d bytes, want the whole packet of %d", len(got), len(kept))
			}
			o := m.Objects()
			for i, w := range want {
				x, ok := o.Next()
				if !ok || x.Class != w.Class || x.Type != w.Type || !bytes.Equal(x.Data, w.Data) {
					t.Fatalf("object %d: %v %v, want %v", i, x, ok, w)
				}
			}
			if x, ok := o.Next(); ok {
				t.Fatalf("one object too many: %v", x)
			}

			typ = none[r.IntN(len(none))]
			b = AppendError(nil, f.src, f.dst, typ, 0, word, quote, objects)
			if !bytes.Equal(b[8:], quote) || u32(b, 4) != word {
				t.Fatalf("type %d with objects: %x, want the word %#08x and the quote alone", typ, b, word)
			}
		}
	}
}

func TestObjects(t *testing.T) {
	one := AppendObject(nil, 9, 8, []byte("data"))
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, ""},
		{"unknown class", one, "9/8/data "},
		{"no data", []byte{0, 4, 1, 1}, "1/1/ "},
		{"two", cat(one, one), "9/8/data 9/8/data "},
		{"length 0", cat(one, []byte{0, 0, 1, 1}, one), "9/8/data "},
		{"length 3", cat([]byte{0, 3, 1, 1}, one), ""},
		{"length beyond the end", cat(one, []byte{0, 9, 1, 1, 0, 0, 0, 0}), "9/8/data "},
		{"longest length", []byte{0xff, 0xff, 1, 1}, ""},
		{"header cut", cat(one, []byte{0, 4, 1}), "9/8/data "},
		{"length 5", cat([]byte{0, 5, 1, 1, 'x'}, one), "1/1/x 9/8/data "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Objects{tt.in}
			var got string
			for range 10 { // a walk without end shows
				x, ok := o.Next()
				if !ok {
					break
				}
				got += fmt.Sprintf("%d/%d/%s ", x.Class, x.Type, x.Data)
			}
			if got != tt.want {
				t.Errorf("objects %q, want %q", got, tt.want)
			}
			if x, ok := o.Next(); ok {
				t.Errorf("goes on after the end: %v", x)
			}
		})
	}
}

func TestLSE(t *testing.T) {
	top, bottom := AppendLSE(nil, 0xfffff, 7, false, 255), AppendLSE(nil, 0, 0, true, 0)
	tests := []struct {
		name string
		o    Object
		want string
	}{
		{"one", Object{1, 1, bottom}, "1 1 0/0/true/0"},
		{"two", Object{1, 1, cat(top, bottom)}, "1 1 1048575/7/false/255 0/0/true/0"},
		{"behind the bottom", Object{1, 1, cat(bottom, top)}, "1 1 0/0/true/0"},
		{"no bottom", Object{1, 1, cat(top, top)}, "1 1 1048575/7/false/255 1048575/7/false/255"},
		{"cut", Object{1, 1, cat(top, bottom[:3])}, "1 1 1048575/7/false/255"},
		{"empty", Object{1, 1, nil}, "1 1"},
		{"other type", Object{1, 0, bottom}, "1 0"},
		{"other class", Object{2, 1, bottom}, "2 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := stack(tt.o); got != tt.want {
				t.Errorf("stack %s, want %s", got, tt.want)
			}
			if l, ok := tt.o.LSE(-1); ok {
				t.Errorf("entry -1 is %v", l)
			}
		})
	}
	if got := AppendLSE(nil, 0xfff00001, 0xff, false, 0); !bytes.Equal(got, []byte{0, 0, 0x1e, 0}) {
		t.Errorf("fields too wide spill over: %x", got)
	}
}

func TestInterface(t *testing.T) {
	index := []byte{0, 0, 1, 2}
	addr4 := cat([]byte{0, 1, 0, 0}, dst4.AsSlice())
	addr6 := cat([]byte{0, 2, 0, 0}, dst6.AsSlice())
	name := []byte("\x08eth0\x00\x00\x00")
	mtu := []byte{0, 0, 5, 0xdc}
	long := append([]byte{64}, bytes.Repeat([]byte{'n'}, 63)...)
	all := cat(index, addr4, name, mtu)
	const whole = `{role:0 index:258 true addr:192.0.2.9 name:"eth0" mtu:1500 true}`
	tests := []struct {
		name string
		o    Object
		want string
		err  error
		off  int // of the error
	}{
		{name: "all", o: Object{2, 0x0f, all}, want: whole},
		{name: "nothing", o: Object{2, 0x00, nil}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`},
		{name: "nothing said, data there", o: Object{2, 0x80, all}, want: `{role:2 index:0 false addr:invalid IP name:nil mtu:0 false}`},
		{name: "reserved bits", o: Object{2, 0x3f, all}, want: whole},
		{name: "next hop, IPv6", o: Object{2, 0xc4, addr6}, want: `{role:3 index:0 false addr:2001:db8:1::9 name:nil mtu:0 false}`},
		{name: "longest name", o: Object{2, 0x42, long}, want: `{role:1 index:0 false addr:invalid IP name:"` + string(long[1:]) + `" mtu:0 false}`},
		{name: "empty name", o: Object{2, 0x02, []byte{4, 0, 0, 0}}, want: `{role:0 index:0 false addr:invalid IP name:"" mtu:0 false}`},
		{name: "name as sent", o: Object{2, 0x02, []byte("\x08\x1b[2J\x00\xff\x00")}, want: `{role:0 index:0 false addr:invalid IP name:"\x1b[2J\x00\xff" mtu:0 false}`},
		{name: "trailing bytes", o: Object{2, 0x0f, cat(all, all)}, want: whole},
		{name: "other class", o: Object{1, 0x0f, all}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`, err: ErrType, off: 2},
		{name: "index cut", o: Object{2, 0x0f, all[:3]}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`, err: ErrShort, off: 4},
		{name: "address family cut", o: Object{2, 0x0f, all[:7]}, want: `{role:0 index:258 true addr:invalid IP name:nil mtu:0 false}`, err: ErrShort, off: 8},
		{name: "address cut", o: Object{2, 0x0f, all[:11]}, want: `{role:0 index:258 true addr:invalid IP name:nil mtu:0 false}`, err: ErrShort, off: 8},
		{name: "IPv6 address cut", o: Object{2, 0x04, addr6[:19]}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`, err: ErrShort, off: 4},
		{name: "address family 3", o: Object{2, 0x04, []byte{0, 3, 0, 0, 1, 2, 3, 4}}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`, err: ErrType, off: 4},
		{name: "no name", o: Object{2, 0x0f, all[:12]}, want: `{role:0 index:258 true addr:192.0.2.9 name:nil mtu:0 false}`, err: ErrShort, off: 16},
		{name: "name cut", o: Object{2, 0x0f, all[:19]}, want: `{role:0 index:258 true addr:192.0.2.9 name:nil mtu:0 false}`, err: ErrShort, off: 16},
		{name: "name of length 0", o: Object{2, 0x02, []byte{0, 0, 0, 0}}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`, err: ErrLength, off: 4},
		{name: "name of length 5", o: Object{2, 0x02, []byte("\x05eth0\x00\x00\x00")}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`, err: ErrLength, off: 4},
		{name: "name of length 68", o: Object{2, 0x02, append([]byte{68}, make([]byte, 67)...)}, want: `{role:0 index:0 false addr:invalid IP name:nil mtu:0 false}`, err: ErrLength, off: 4},
		{name: "MTU cut", o: Object{2, 0x0f, all[:23]}, want: `{role:0 index:258 true addr:192.0.2.9 name:"eth0" mtu:0 false}`, err: ErrShort, off: 24},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := tt.o.Interface()
			if tt.err != nil {
				wantError(t, err, tt.err, make([]byte, headerObject+len(tt.o.Data)))
				if off := err.(*Error).Off; off != tt.off {
					t.Errorf("error at %d, want %d", off, tt.off)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			name := "nil"
			if f.Name != nil {
				name = fmt.Sprintf("%q", f.Name)
			}
			got := fmt.Sprintf("{role:%d index:%d %v addr:%v name:%s mtu:%d %v}", f.Role, f.Index, f.HasIndex, f.Addr, name, f.MTU, f.HasMTU)
			if got != tt.want {
				t.Errorf("read %s\nwant %s", got, tt.want)
			}
		})
	}
}
