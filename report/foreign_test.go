package report

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gtrace/probe"
)

// hopLine is how parsers of traceroute's output, and people, read a hop: a name, an address and times.
var hopLine = regexp.MustCompile(`(?m)^ ?(\d+)  (\S+) \(([0-9a-f.:]+)\)(?: \[[^]]*\])?((?:  [0-9.]+ ms)+)`)

// pingLine is the same for ping.
var pingLine = regexp.MustCompile(`(?m)^\d+ bytes from (\S+) \(([0-9a-f.:]+)\): icmp_seq=(\d+) ttl=(\d+) time=([0-9.]+) ms`)

// FuzzForeignText: whatever an address is called, an interface, the origin of an address or a node, every format has as many lines as it
// would have, of printable characters, and parsers read the same addresses and times in them. A name stands as one word, and is
// no address.
func FuzzForeignText(f *testing.F) {
	for _, s := range []string{
		"gw.example.org", "", ".", "8.8.8.8", "8.8.8.8.", "127.1", "0x7f000001", "gw (10.0.0.1)", "gw (10.0.0.1)  1.000 ms", "*", "1.0 ms", "!H", "1",
		"a\x1b[2J\x1b[H", "a\n 9  10.9.9.9 (10.9.9.9)  1.000 ms", "a\r\n", "a\x00b", "a\u202eb", "a\u2066b", "a\u200bb", "gооgle.com", "xn--ggle-55da.com",
		"\xff\xfe", "\u009b31m", `a","rtt_ms":0,"x":"`, `a\u001b`, `\027[2J`, "<script>", "münchen.example", strings.Repeat("a", 2000), "a\tb", "a=1,b=2", "\u2028",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const good = "gw.example.org"
		clean := nameOf(says(s), local)
		if strings.Trim(clean, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._\\") != "" {
			t.Fatalf("%q comes out as %q", s, clean)
		}
		if _, ok := Address(clean); ok {
			t.Fatalf("%q comes out as %q, an address", s, clean)
		}
		trace := func(name string) []probe.Event {
			index := uint32(1)
			o := hopAnswer(func(o *probe.Outcome) {
				o.Objects = []probe.Object{{Class: 2, Type: 0x0a, Data: []byte(name), Interface: &probe.Interface{Index: &index, Name: name}}}
			})
			second := hopAnswer(number(2, 2, 1), from("10.0.0.2"))
			return []probe.Event{started(udpMethod), sent(o), sent(second), &probe.Probed{Outcome: o}, &probe.Probed{Outcome: second}, hopOf(1), hopOf(2), reached(2)}
		}
		ping := func(name string) []probe.Event {
			o := nth(1, 1)
			n := o
			n.Spec.Proto, n.Answer, n.Payload = probe.NodeInfo, probe.NodeReply, append([]byte{0, 0, 0, 0, byte(min(len(name), 63))}, name[:min(len(name), 63)]...)
			n.Payload = append(n.Payload, 0)
			return []probe.Event{started(echoMethod), sent(o), &probe.Probed{Outcome: o}, sent(nth(2, 1)), &probe.Probed{Outcome: nth(2, 1)}, answered}
		}
		type format struct {
			name   string
			open   opener
			format string
			o      Options
			events func(string) []probe.Event
		}
		for _, x := range []format{
			{"trace", NewTrace, "text", Options{}, trace},
			{"trace with extensions", NewTrace, "text", Options{Extensions: true, Back: true, Flags: true}, trace},
			{"multipath", openMultipath, "text", Options{Extensions: true}, trace},
			{"tracepath", openTracepath, "text", Options{Both: true}, trace},
			{"trace in JSON", NewTrace, "json", Options{Version: "1"}, trace},
			{"events of a trace", NewTrace, "events", Options{Version: "1"}, trace},
			{"ping", NewPing, "text", Options{Always: true}, ping},
			{"ping as ping", NewPing, "text", Options{Always: true, Literal: "ping"}, ping},
			{"ping in JSON", NewPing, "json", Options{Version: "1"}, ping},
			{"events of a ping", NewPing, "events", Options{Version: "1"}, ping},
		} {
			out := func(s string) string {
				o := x.o
				o.Names, o.Origins = says(s), says(s)
				return run(t, x.open, x.format, o, x.events(s)...)
			}
			want, got := out(good), out(s)
			if a, b := strings.Count(want, "\n"), strings.Count(got, "\n"); a != b {
				t.Errorf("%s: %d lines, want %d:\n%s", x.name, b, a, got)
			}
			if i := strings.IndexFunc(got, func(r rune) bool { return (r < ' ' || r > '~') && r != '\n' }); i >= 0 {
				t.Errorf("%s: %q goes out in %q", x.name, got[i:min(i+4, len(got))], got)
			}
			if x.format != "text" {
				if a, b := measured(t, want), measured(t, got); !reflect.DeepEqual(a, b) {
					t.Errorf("%s: %v, want %v", x.name, b, a)
				}
				continue
			}
			if x.name != "tracepath" && !hopLine.MatchString(want) && !pingLine.MatchString(want) {
				t.Fatalf("%s: a parser finds nothing in %q", x.name, want)
			}
			for _, re := range []*regexp.Regexp{hopLine, pingLine} {
				a, b := re.FindAllStringSubmatch(want, -1), re.FindAllStringSubmatch(got, -1)
				if len(a) != len(b) {
					t.Fatalf("%s: a parser finds %q, want %q", x.name, b, a)
				}
				for i := range a {
					at := slices.Index(a[i], good)
					if at < 0 {
						t.Fatalf("%s: no name in %q", x.name, a[i])
					}
					if n := b[i][at]; n != clean && !(clean == "" && n == b[i][at+1]) {
						t.Errorf("%s: called %q, want %q", x.name, n, clean)
					}
					a[i][0], b[i][0], b[i][at] = "", "", good
					if !slices.Equal(a[i], b[i]) {
						t.Errorf("%s: a parser reads %q, want %q", x.name, b[i], a[i])
					}
				}
			}
		}
		// A node's own names, of which there may be several.
		if names, _ := nodeNames(append([]byte{byte(min(len(s), 63))}, append([]byte(s[:min(len(s), 63)]), 0, 0)...)); len(names) > 0 {
			if all := strings.Join(names, ""); strings.Trim(all, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._\\") != "" {
				t.Errorf("a node is called %q", all)
			}
		}
	})
}

// measured is what lines of JSON say, but for names.
func measured(t *testing.T, out string) (all []any) {
	t.Helper()
	for _, l := range lines(out) {
		var v any
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		all = append(all, nameless(v))
	}
	return all
}

func nameless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Collect(maps.Keys(v)) {
			switch k {
			case "name", "as", "objects":
				delete(v, k)
			default:
				v[k] = nameless(v[k])
			}
		}
	case []any:
		for i := range v {
			v[i] = nameless(v[i])
		}
	}
	return v
}

// TestForeign: what an interface may be called comes out one way only.
func TestForeign(t *testing.T) {
	seen := make(map[string]string)
	for _, s := range []string{"Gi0/1", `a\027`, "a\x1b", "a", "a\x00", "é", "e\u0301", " ", "\u202e"} {
		got := foreign(s)
		if was, twice := seen[got]; twice {
			t.Errorf("%q and %q both come out as %q", s, was, got)
		}
		seen[got] = s
		if strings.IndexFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			t.Errorf("%q comes out as %q", s, got)
		}
	}
}

// FuzzAddress: what is taken for an address is one, of IPv4 where it is not what netip reads, and reads the same when it is written
// as addresses are.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"127.1", "0x7f000001", "010.0.0.1", "1.2.3.4", "2001:db8::1", "fe80::1%eth0", "::ffff:1.2.3.4", "1.2.3.4.5", "0b1", "1_0", "4294967296", "256.1", ".", "1.", "+1", "-1", " 1", "1.0x", "0o7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := Address(s)
		if !ok {
			return
		}
		if again, ok := Address(a.String()); !ok || again != a {
			t.Errorf("%q is %v, and that is %v, %v", s, a, again, ok)
		}
		if !strings.Contains(s, ":") && (!a.Is4() || strings.Trim(s, "0123456789abcdefxABCDEFX.") != "" || strings.Count(s, ".") > 3) {
			t.Errorf("%q is %v", s, a)
		}
		// A name server's word for it would pass for the address: it is no name.
		if name := nameOf(says(s), a); name == s {
			t.Errorf("%q is an address, and a name", s)
		}
	})
}
