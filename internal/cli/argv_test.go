package cli

import (
	"slices"
	"strings"
	"testing"
)

// table has what argv has to tell apart: switches and options with a value, with and without a letter.
var table = []option{
	{long: "ipv4", short: '4'},
	{long: "numeric", short: 'n'},
	{long: "json"},
	{long: "queries", short: 'q', value: "N"},
	{long: "interval", short: 'i', value: "SECONDS"},
	{long: "format", value: "NAME"},
}

func TestNormalise(t *testing.T) {
	tests := []struct {
		name    string
		in      string // words between single spaces
		options string
		hosts   string
	}{
		{name: "nothing"},
		{name: "before the host", in: "-n h", options: "--numeric", hosts: "h"},
		{name: "after the host", in: "h -n", options: "--numeric", hosts: "h"},
		{name: "between hosts", in: "a -q 2 b --json c", options: "--queries=2 --json", hosts: "a b c"},
		{name: "joined", in: "-n4q1 h", options: "--numeric --ipv4 --queries=1", hosts: "h"},
		{name: "joined value with a point", in: "-i.2 h", options: "--interval=.2", hosts: "h"},
		{name: "joined, the value in the next word", in: "-nq 1 h", options: "--numeric --queries=1", hosts: "h"},
		{name: "value with letters of options", in: "-qn4 h", options: "--queries=n4", hosts: "h"},
		{name: "long with =", in: "--queries=1 h", options: "--queries=1", hosts: "h"},
		{name: "long, the value in the next word", in: "--queries 1 h", options: "--queries=1", hosts: "h"},
		{name: "= in the value", in: "--format=a=b h", options: "--format=a=b", hosts: "h"},
		{name: "short with = has it in its value", in: "-q=1 h", options: "--queries==1", hosts: "h"},
		{name: "empty value", in: "--format= h", options: "--format=", hosts: "h"},
		{name: "value that looks like an option", in: "-q -n h", options: "--queries=-n", hosts: "h"},
		{name: "value that looks like the end", in: "-q -- h", options: "--queries=--", hosts: "h"},
		{name: "everything behind -- is a host", in: "-n -- -q 1 -- h", options: "--numeric", hosts: "-q 1 -- h"},
		{name: "lone dash", in: "- -n", options: "--numeric", hosts: "-"},
		{name: "twice, in order", in: "-q1 h --queries=2", options: "--queries=1 --queries=2", hosts: "h"},
		{name: "host called like an option", in: "numeric help", hosts: "numeric help"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			options, hosts, after, err := normalise(table, words(tt.in))
			hosts = append(hosts, after...)
			if err != nil {
				t.Fatal(err)
			}
			if want := words(tt.options); !slices.Equal(options, want) {
				t.Errorf("options %q, want %q", options, want)
			}
			if want := words(tt.hosts); !slices.Equal(hosts, want) {
				t.Errorf("hosts %q, want %q", hosts, want)
			}
		})
	}
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, " ")
}

func TestNormaliseRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"unknown letter", "-x h", "-x: unknown option"},
		{"unknown letter behind a known one", "-nx h", "-x: unknown option"},
		{"unknown letter behind the host", "h -x", "-x: unknown option"},
		{"letter that is not printable", "-\x1b h", `-"\x1b": unknown option`},
		{"unknown word", "--nope h", "--nope: unknown option (see --help)"},
		{"abbreviated word", "--num h", "--num: unknown option; did you mean --numeric?"},
		{"mistyped word", "--intervall=1 h", "--intervall: unknown option; did you mean --interval?"},
		{"word with one dash", "-json h", "-j: unknown option"},
		{"no value for a letter", "h -q", "-q: needs a value: -q N"},
		{"no value for a word", "h --format", "--format: needs a value: --format=NAME"},
		{"value for a switch", "--json=1 h", `--json: takes no value, got "1"`},
		{"empty value for a switch", "--json= h", `--json: takes no value, got ""`},
		{"only an =", "--= h", `--"": unknown option`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			options, hosts, _, err := normalise(table, words(tt.in))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %q, %q, error %v; want one that begins with %q", options, hosts, err, tt.want)
			}
		})
	}
}

// FuzzNormalise holds normalise to losing and changing no argument: options
// and hosts written in any of the ways they may be come back as they were meant.
// Each byte of plan chooses what the next of texts is, and how it is spelt.
func FuzzNormalise(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7}, "a b .2 -n -- = -q1 x")
	f.Add([]byte{7, 6, 5, 4, 3, 2, 1, 0}, "- --json=1 \x00 \xff ")
	f.Fuzz(func(t *testing.T, plan []byte, text string) {
		texts := strings.Split(text, " ")
		var args, options, hosts []string
		for i, how := range plan {
			s := texts[i%len(texts)]
			switch how % 8 {
			case 0:
				args, options = append(args, "-n"), append(options, "--numeric")
			case 1:
				args, options = append(args, "--json"), append(options, "--json")
			case 2:
				args, options = append(args, "-4n"), append(options, "--ipv4", "--numeric")
			case 3:
				args, options = append(args, "-q", s), append(options, "--queries="+s)
			case 4:
				args, options = append(args, "--format="+s), append(options, "--format="+s)
			case 5:
				args, options = append(args, "--interval", s), append(options, "--interval="+s)
			case 6:
				if s != "" { // else the next word would be the value
					args, options = append(args, "-ni"+s), append(options, "--numeric", "--interval="+s)
				}
			case 7:
				if !strings.HasPrefix(s, "-") || s == "-" {
					args, hosts = append(args, s), append(hosts, s)
				}
			}
		}
		rest := append([]string{"--"}, texts...)
		gotOptions, gotHosts, gotAfter, err := normalise(table, append(args, rest...))
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		if !slices.Equal(gotOptions, options) {
			t.Errorf("%q: options %q, want %q", args, gotOptions, options)
		}
		if !slices.Equal(gotHosts, hosts) || !slices.Equal(gotAfter, texts) {
			t.Errorf("%q: hosts %q and %q, want %q and %q", args, gotHosts, gotAfter, hosts, texts)
		}

		// Whatever it is, it does not panic; and what comes out goes in again.
		options, hosts, after, err := normalise(table, texts)
		if err != nil {
			return
		}
		hosts = append(hosts, after...)
		again, none, same, err := normalise(table, slices.Concat(options, []string{"--"}, hosts))
		if err != nil || !slices.Equal(again, options) || len(none) > 0 || !slices.Equal(same, hosts) {
			t.Errorf("%q is %q and %q, and those are %q, %q and %q, error %v", texts, options, hosts, again, none, same, err)
		}
	})
}
