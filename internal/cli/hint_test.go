package cli

import "testing"

func TestMeant(t *testing.T) {
	for _, tt := range []struct{ word, want string }{
		{"https://example.org/x", "is a URL; give the host alone: example.org"},
		{"https://user:word@example.org:8443/x?y#z", "is a URL; give the host alone: example.org"},
		{"http://[2001:db8::1]:80", "is a URL; give the host alone: 2001:db8::1"},
		{"ssh://example.org", "is a URL; give the host alone: example.org"},
		{"[::1]", "has brackets; give the address alone: ::1"},
		{"[::1]:80", "has a port; give the host alone: ::1"},
		{"example.org:443", "has a port; give the host alone: example.org"},
		{"127.0.0.1:80", "has a port; give the host alone: 127.0.0.1"},
		{"example.org/x", "is no host; give the host alone: example.org"},
		{"user@example.org", "is no host; give the host alone: example.org"},
		{"127.0.0.1-3", "is no host; --generate makes hosts of a range: 127.0.0.1-127.0.0.3"},

		// What may be a name, and what nothing can be made of.
		{"example.org", ""},
		{"help", ""},
		{"a-3", ""},
		{"127.0.0.1-x", ""},
		{"127.0.0.3-1", ""},
		{"1.2.3-9", ""},
		{"2001:db8:::1", ""},
		{"::1-9", ""},
		{"", ""},
		{"/", ""},
		{"https://", ""},
		{"https:///x", ""},
		{"[]", ""},
		{":80", ""},
		{"a b:80", ""},
		{"exa\x1bmple:80", ""},
	} {
		if got := meant(tt.word); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"intervall", "interval"}, {"intrval", "interval"}, {"intervla", "interval"}, {"Interval", "interval"},
		{"num", "numeric"}, {"fromat", "format"}, {"jason", "json"}, {"ipv5", "ipv4"}, {"quieres", "queries"},
		{"interval", "interval"},
		{"", ""}, {"n", ""}, {"nope", ""}, {"inter-val-s", ""}, {"jn", ""},
	} {
		got := ""
		if o := nearest(table, tt.name); o != nil {
			got = o.long
		}
		if got != tt.want {
			t.Errorf("--%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
