package cli

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"gtrace/internal/simnet"
	"gtrace/rawsock"
)

// crowded is a world of three routers, the last of which leads to all of 192.0.0.0/16.
func crowded(cfg simnet.Config) *world {
	cfg.Record = true
	w := wide()
	src, r1, r2, r3, h := simnet.Host(here4), simnet.Router("10.0.1.1"), simnet.Router("10.0.2.1"), simnet.Router("10.0.3.1"), simnet.Host("192.0.255.1")
	h.Own = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}
	simnet.Path(src, r1, r2, r3, h)
	r1.SourceRoutes = simnet.FollowRoutes
	w.conn = simnet.New(cfg, src)
	w.env.Conn = yielding{w.conn}
	return w
}

// targetList is a list of n hosts.
func targetList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "192.0.%d.%d\n", i/250, 1+i%250)
	}
	return b.String()
}

// TestSharedHosts: near hops are shared from 256 hosts on, where each is asked alike, and the results say so.
func TestSharedHosts(t *testing.T) {
	const says = `"shared_hops":[{"ttl":1,"address":"10.0.1.1",`
	for _, tt := range []struct {
		line   string // FILE stands for a list, - for a pipe of as many hosts
		hosts  int
		says   string
		shared bool
	}{
		{"gtrace --json --targets FILE", 300, says, true},
		{"gtrace --json -q1 --targets FILE", 300, says, true},
		{"gtrace --json --icmp --targets FILE", 300, says, true},
		{"gtrace --json --tcp --targets FILE", 300, says, true},
		{"gtrace --json --max-hops 3 --targets FILE", 300, says, true},
		{"gtrace --json --max-hops 1 --targets FILE", 300, says, false},
		{"gtrace --json --sport 40000 --targets FILE", 300, says, true},
		{"gtrace --json --targets -", 400, says, true},
		{"gtrace --json --generate 192.0.0.0/23", 510, says, true},
		{"gtrace --format events --targets FILE", 300, `{"event":"shared-hops","hops":[{"ttl":1,"address":"10.0.1.1",`, true},
		{"gtrace -n --targets FILE", 300, "\n  # shared-hops: TTL 1 to 2 were not asked: ", true},
		{"gtrace -n --table --targets FILE", 300, "\n  # shared-hops: TTL 1 to 2 were not asked: ", true},
		{"gtrace --json --targets FILE", 255, says, false},
		{"gtrace --json --targets -", 255, says, false},
		{"gtrace --json --full --targets FILE", 300, says, false},
		{"gtrace --json --first 2 --targets FILE", 300, says, false},
		{"gtrace --json --flow classic --targets FILE", 300, says, false},
		{"gtrace --json --interval .01 --targets FILE", 300, says, false},
		{"gtrace --json --mtu -q1 --targets FILE", 300, says, false},
		{"gtrace --json --gateway 10.0.1.1 --targets FILE", 300, says, false},
	} {
		t.Run(fmt.Sprint(tt.line, " ", tt.hosts), func(t *testing.T) {
			w := crowded(simnet.Config{})
			line := strings.ReplaceAll(tt.line, "FILE", file(t, targetList(tt.hosts)))
			w.env.Stdin = &numbers{most: tt.hosts}
			status := w.run(t.Context(), line)
			if reaches := !strings.Contains(line, "max-hops") && !strings.Contains(line, "gateway"); reaches != (status == yes) || status == unsure || w.stderr.Len() > 0 {
				t.Errorf("status %d, %s", status, &w.stderr)
			}
			near := 0
			for _, p := range w.conn.Sent() {
				if p.Data[8] == 1 {
					near++
				}
			}
			n := strings.Count(w.out.String(), tt.says)
			if n > 0 != tt.shared || tt.shared && (n < tt.hosts/4 || near > 3*(tt.hosts-n)) {
				t.Errorf("%d of %d hosts share hops, want some: %v; %d probes with a TTL of 1", n, tt.hosts, tt.shared, near)
			}
			if strings.Contains(line, "json") {
				if n := strings.Count(w.out.String(), `"complete":true`); n != tt.hosts {
					t.Errorf("%d documents, want %d", n, tt.hosts)
				}
			}
		})
	}
}

// Without privilege answers may not say which probe they answer, and all is asked.
func TestSharedUnprivileged(t *testing.T) {
	w := crowded(simnet.Config{Caps: func(c *rawsock.Caps) { c.Header = false }})
	if w.run(t.Context(), "gtrace --json --targets "+file(t, targetList(300))) != yes || strings.Contains(w.out.String(), "shared_hops") {
		t.Errorf("%.2000s%s", &w.out, &w.stderr)
	}
}

// What shares hops is a result as others.
func TestSharedResume(t *testing.T) {
	w := crowded(simnet.Config{})
	if w.run(t.Context(), "gtrace --json --targets "+file(t, targetList(300))) != yes {
		t.Fatal(&w.stderr)
	}
	again := crowded(simnet.Config{})
	if again.run(t.Context(), "gtrace --json --resume "+file(t, w.out.String())+" --targets "+file(t, targetList(301))) != yes || strings.Count(again.out.String(), "\n") != 1 {
		t.Errorf("%.2000s%s\nwant the last host alone", &again.out, &again.stderr)
	}
}
