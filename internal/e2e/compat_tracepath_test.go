//go:build linux

package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func tracepath(t *testing.T, to string, args ...string) (result, []packet) {
	t.Helper()
	return called(t, "tracepath", to, args...)
}

// tracepathOptionChecks are the checks of docs/compatibility.md, by option.
var tracepathOptionChecks = map[string]func(*testing.T){
	"-4": func(t *testing.T) {
		r, ps := tracepath(t, "plain4", "-4", "-n", "plain4")
		if r.status != 0 || len(ps) == 0 {
			t.Errorf("nothing sent\n%v", r)
		}
		if r, ps := tracepath(t, "plain6", "-4", "-n", "plain6"); r.status == 0 || len(ps) > 0 {
			t.Errorf("an IPv6 address was asked\n%v", r)
		}
	},
	"-6": func(t *testing.T) {
		r, ps := tracepath(t, "plain6", "-6", "-n", "plain6")
		if r.status != 0 || len(ps) == 0 {
			t.Errorf("nothing sent\n%v", r)
		}
		if r, ps := tracepath(t, "plain4", "-6", "-n", "plain4"); r.status == 0 || len(ps) > 0 {
			t.Errorf("an IPv4 address was asked\n%v", r)
		}
	},
	"-b": func(t *testing.T) {
		r, _ := tracepath(t, "plain4", "-b", "127.0.0.1")
		if r.status != 0 || !regexp.MustCompile(`localhost\S* \(127\.0\.0\.1\)`).MatchString(r.stdout) {
			t.Errorf("want the name and the address\n%v", r)
		}
	},
	"-l": func(t *testing.T) {
		r, ps := tracepath(t, "plain4", "-n", "-l", "500", "plain4")
		if len(ps) == 0 || slices.ContainsFunc(ps, func(p packet) bool { return len(p.Data) != 500 }) {
			t.Errorf("%d packets, want each of 500 bytes\n%v", len(ps), r)
		}
	},
	"-m": func(t *testing.T) {
		r, ps := tracepath(t, "plain4", "-n", "-m", "2", "plain4")
		most := 0
		for _, p := range ps {
			most = max(most, p.ttl)
		}
		if most != 2 || !strings.Contains(r.stdout, "Too many hops: pmtu 1500\n") {
			t.Errorf("largest TTL %d, want 2\n%v", most, r)
		}
	},
	"-n": func(t *testing.T) {
		r, _ := tracepath(t, "plain4", "-n", "127.0.0.1")
		if r.status != 0 || strings.Contains(r.stdout, "localhost") || !strings.Contains(r.stdout, "127.0.0.1 ") {
			t.Errorf("want the address alone\n%v", r)
		}
		r, _ = tracepath(t, "plain4", "127.0.0.1")
		if r.status != 0 || !strings.Contains(r.stdout, "localhost") {
			t.Errorf("want the name without it\n%v", r)
		}
	},
	"-p": func(t *testing.T) {
		r, ps := tracepath(t, "plain4", "-n", "-p", "33000", "plain4")
		if len(ps) == 0 || ps[0].dstPort != 33000 {
			t.Errorf("want the first of %d packets to port 33000\n%v", len(ps), r)
		}
	},
	"-V": func(t *testing.T) {
		r, _ := tracepath(t, "plain4", "-V")
		if r.status != 0 || !strings.HasPrefix(r.stdout, "tracepath") {
			t.Errorf("want status 0 and the version\n%v", r)
		}
	},
}
