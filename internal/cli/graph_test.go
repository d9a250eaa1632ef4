package cli

import (
	"regexp"
	"strings"
	"testing"

	"gtrace/internal/simnet"
)

// TestGraphFormats are whole runs with the formats that only traces have: a graph a host, never two mixed, one of what could not be measured
// too. What pings is told, as of any word that is no format, and so is --table.
func TestGraphFormats(t *testing.T) {
	const head, two = "digraph {\n  graph [label=%, labelloc=t]\n  node [shape=box]\n", "  h0_1 [label=\"198.51.100.1\", shape=ellipse]\n" +
		"  h1_1 [label=\"10.0.1.1\\nT ms\"]\n  h0_1 -> h1_1\n  h2_1 [label=\"10.0.2.1\\nT ms\"]\n  h1_1 -> h2_1\n"
	end := two + "  h3_1 [label=\"192.0.2.9\\nT ms\", peripheries=2]\n  h2_1 -> h3_1\n}\n"
	title := func(s string) string { return strings.Replace(head, "%", `"`+s+`"`, 1) }
	for _, tt := range []struct {
		line   string
		status int
		out    string
		err    string
	}{
		{"gtrace --format dot 192.0.2.9", 0, title("192.0.2.9: reached") + end, ""},
		{"gtrace --format dot --multipath --max-hops 3 192.0.2.9", 0, title("192.0.2.9: reached") + end, ""},
		{"gtrace --format dot --flow classic --ordered -m3 nosuch.example 192.0.2.9", 2, title("nosuch.example: error") + "}\n" + title("192.0.2.9: reached") + end, "gtrace: nosuch.example: look up the name: no such host\n"},
		{"gtrace --format mermaid -m2 192.0.2.9", 1, "---\ntitle: \"192.0.2.9: max-hops\"\n---\nflowchart TD\n  h0_1([\"198.51.100.1\"])\n  h1_1[\"10.0.1.1<br/>T ms\"]\n  h0_1 --> h1_1\n  h2_1[\"10.0.2.1<br/>T ms\"]\n  h1_1 --> h2_1\n", ""},
		{"gtrace --format dot --table 192.0.2.9", 2, "", "gtrace: --table: is text, not dot\n"},
		{"gtrace --format svg 192.0.2.9", 2, "", "gtrace: --format svg: want one of: text, json, events, dot, mermaid\n"},
		{"gping --format dot 192.0.2.9", 2, "", "gping: --format dot: want one of: text, json, events, fping\n"},
		{"gping --format mermaid 192.0.2.9", 2, "", "gping: --format mermaid: want one of: text, json, events, fping\n"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.run(t.Context(), tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			got := regexp.MustCompile(`\d+\.\d{3} ms`).ReplaceAllString(w.out.String(), "T ms")
			if got != tt.out || w.stderr.String() != tt.err {
				t.Errorf("got\n%s\nwant\n%s\nstandard error %q, want %q", got, tt.out, &w.stderr, tt.err)
			}
		})
	}
	w := newWorld(simnet.Config{})
	w.run(t.Context(), "gtrace --format dot --names -w.1 -m3 192.0.2.9 198.51.100.9 10.0.1.1 10.0.2.1")
	for _, g := range strings.SplitAfter(strings.TrimSuffix(w.out.String(), "}\n"), "}\n") {
		if !strings.HasPrefix(g, "digraph {\n") || strings.Count(g, "digraph") != 1 || strings.Count(g, "h0_1 [") != 1 {
			t.Errorf("mixed: %s", g)
		}
	}
	if n := strings.Count(w.out.String(), "digraph {"); n != 4 {
		t.Errorf("%d graphs of 4 hosts", n)
	}
}
