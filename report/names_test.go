package report

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"gtrace/probe"
)

// A says is a Namer that says the same of every address.
type says string

func (says) Ask(netip.Addr)           {}
func (s says) Name(netip.Addr) string { return string(s) }

// TestNameOf: whatever a Namer says, what is printed is a host name or nothing.
func TestNameOf(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"gw-1_a.example.org", "gw-1_a.example.org"}, {"", ""},
		{`a\032b.example`, `a\032b.example`}, // escaped already
		{"a b", `a\032b`}, {"a\x1b[2J", `a\027\0912J`}, {"a\n 2  10.9.9.9  1.000 ms", `a\010\0322\032\03210.9.9.9\032\0321.000\032ms`},
		{"\u202e", `\226\128\174`}, {"\xff", `\255`}, {"(10.0.0.1)", `\04010.0.0.1\041`}, {"<b>", `\060b\062`}, {"a/b", `a\047b`},
		{"10.0.0.1", ""}, {"8.8.8.8.", ""}, {"127.1", ""}, {"0x7f000001", ""}, {"8.8.8.8.8", ""}, {"gw.10", ""}, {"2130706433", ""}, {"a.0X1F.", ""},
		{"1.0", ""}, {"*", `\042`}, {"1.0 ms", `1.0\032ms`}, {"gw (10.0.0.1)", `gw\032\04010.0.0.1\041`}, {"xn--gogle-jua.com", "xn--gogle-jua.com"},
		{"gооgle.com", `g\208\190\208\190gle.com`}, {"a\u200bb", `a\226\128\139b`}, {"8-8-8-8.example", "8-8-8-8.example"}, {"::1", ""}, {"fe80::1%eth0", ""},
		{strings.Repeat("a", mostName), strings.Repeat("a", mostName)}, {strings.Repeat("a", mostName+1), ""},
	} {
		if got := nameOf(says(tt.in), local); got != tt.want {
			t.Errorf("%q comes out as %q, want %q", tt.in, got, tt.want)
		}
	}
	safe := func(s string) bool {
		return strings.Trim(nameOf(says(s), local), `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._\`) == ""
	}
	if err := quick.Check(safe, nil); err != nil {
		t.Error(err)
	}
}

func TestOriginsOf(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []uint32
		text string
	}{
		{"", nil, "*"}, {"AS64496", []uint32{64496}, "AS64496"}, {"AS1/AS4294967295", []uint32{1, 4294967295}, "AS1/AS4294967295"},
		{"AS0", []uint32{0}, "AS0"}, {"64496", nil, "*"}, {"AS", nil, "*"}, {"AS-1", nil, "*"}, {"AS+1", nil, "*"}, {"AS4294967296", nil, "*"},
		{"AS1/\x1b/AS2", []uint32{1, 2}, "AS1/AS2"}, {"*", nil, "*"}, {"as1", nil, "*"},
	} {
		got := originsOf(says(tt.in), local)
		if !reflect.DeepEqual(got, tt.want) || originsText(got) != tt.text {
			t.Errorf("%q: %v, %q, want %v, %q", tt.in, got, originsText(got), tt.want, tt.text)
		}
	}
}

// TestNamesInDocuments: a probe's document has its sender's name and autonomous systems where these are asked for and known; its
// event, which does not wait, has not.
func TestNamesInDocuments(t *testing.T) {
	second := hopAnswer(number(2, 1, 2), from("10.0.0.2"))
	events := []probe.Event{
		started(udpMethod), sent(hopAnswer()), sent(second), sent(hopAnswer(number(3, 1, 3))),
		&probe.Probed{Outcome: hopAnswer()}, &probe.Probed{Outcome: second}, &probe.Probed{Outcome: hopAnswer(number(3, 1, 3), lost)},
		hopOf(1), reached(1),
	}
	called := newHosts("198.51.100.1", "gw.example.org\x1b")
	origins := newHosts("198.51.100.1", "AS64496/AS64497")
	got := lines(run(t, NewTrace, "events", Options{Version: "1", Names: called, Origins: origins}, events...))
	for _, l := range got {
		traceEventsFile.accepts(t, l)
	}
	for _, l := range got[:len(got)-1] {
		if strings.Contains(l, `"name"`) || strings.Contains(l, `"as"`) {
			t.Errorf("an event waits for names: %s", l)
		}
	}
	var d struct {
		Hops []struct{ Probes []map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(got[len(got)-1]), &d); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ name, as string }{{`"gw.example.org\\027"`, "[64496,64497]"}, {}, {}} {
		p := d.Hops[0].Probes[i]
		if string(p["name"]) != want.name || string(p["as"]) != want.as {
			t.Errorf("probe %d: name %s, as %s, want %s, %s", i+1, p["name"], p["as"], want.name, want.as)
		}
	}
	if doc := run(t, NewTrace, "json", Options{Version: "1"}, events...); strings.Contains(doc, `"name"`) || strings.Contains(doc, `"as"`) {
		t.Errorf("names that nobody asked for: %s", doc)
	}
}

// TestNamesAreNoTerminalCommand puts a hostile name and origin into text.
func TestNamesAreNoTerminalCommand(t *testing.T) {
	const bad = "x\x1b[2J\a\u009b1m\u202e\n 9  10.9.9.9  1.000 ms (1.1.1.1)\xff"
	events := []probe.Event{started(udpMethod), &probe.Probed{Outcome: hopAnswer()}, hopOf(1), reached(1)}
	for name, open := range map[string]opener{"trace": NewTrace, "tracepath": openTracepath} {
		got := run(t, open, "text", Options{Names: says(bad), Origins: says(bad), Both: true}, events...)
		if n, want := strings.Count(got, "\n"), 2; n != want {
			t.Errorf("%s: %d lines, want %d: %q", name, n, want, got)
		}
		for _, r := range strings.ReplaceAll(got, "\n", "") {
			if r < 0x20 || r >= 0x7f {
				t.Errorf("%s: %U went out in %q", name, r, got)
			}
		}
		if !strings.Contains(got, `x\027\0912J\007\194\1551m\226\128\174\010\0329\032\03210.9.9.9`) {
			t.Errorf("%s: %q has no name", name, got)
		}
	}
}

// TestWhatIsKeptIsOwned: an object's bytes are read when the document is written, long after they were valid.
func TestWhatIsKeptIsOwned(t *testing.T) {
	data := []byte{1, 2, 3, 4}
	o := hopAnswer(stacks(probe.Object{Class: 2, Type: 8, Data: data}))
	d := newTraceDocument(started(udpMethod), Options{})
	d.add(&probe.Probed{Outcome: o})
	clear(data)
	got := asJSON(t, d.document(reached(1)))
	if want := `"objects":[{"class":2,"type":8,"data":"01020304"}]`; !strings.Contains(got, want) {
		t.Errorf("%s has no %s", got, want)
	}
}

// TestAllOfICMPHasIdentifiers: the kinds of ICMP other than echo too, which are ping's.
func TestAllOfICMPHasIdentifiers(t *testing.T) {
	for _, p := range []probe.Proto{probe.ICMP, probe.Timestamp, probe.Mask, probe.ExtEcho, probe.NodeInfo} {
		m := newTraceMethod(probe.Method{Proto: p, SrcPort: 7, DstPort: 0xbeef})
		if m.Identifier != 7 || m.SrcPort != 0 || m.DstPort != 0 {
			t.Errorf("%v: %+v", p, m)
		}
		o := hopAnswer(func(o *probe.Outcome) { o.Spec.Proto, o.Quoted.Src = p, netip.AddrPortFrom(local, 9) })
		if cs := changes(&o); len(cs) != 1 || cs[0].Field != "icmp.identifier" {
			t.Errorf("%v: changes %v", p, cs)
		}
	}
}
