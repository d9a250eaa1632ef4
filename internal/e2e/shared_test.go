//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// A sharedDoc is a trace some of whose hops may not have been asked.
type sharedDoc struct {
	traceDoc
	Shared []struct {
		TTL     int        `json:"ttl"`
		Address netip.Addr `json:"address"`
		Traces  int        `json:"traces"`
	} `json:"shared_hops"`
	Confirmed *bool `json:"shared_hops_confirmed"`
}

// path is who stands at each TTL from 1 on.
func (d *sharedDoc) path() (all []netip.Addr) {
	for _, h := range d.Shared {
		all = append(all, h.Address)
	}
	for _, h := range d.Hops {
		if h.TTL != len(all)+1 {
			return nil
		}
		all = append(all, h.Probes[0].From)
	}
	return all
}

// TestSharedHops traces hundreds of hosts behind three kernel routers, some of them nearer, with and without what they share: the paths are the same, and
// the first router is asked for a part of them alone.
func TestSharedHops(t *testing.T) {
	programs(t)
	n := lab.Start(t, lab.Plan{
		Links: []lab.Link{
			{A: "client", B: "r1", V4: "198.18.0.0/30", V6: "2001:db8:0::/64"}, {A: "r1", B: "r2", V4: "198.18.1.0/30", V6: "2001:db8:1::/64"},
			{A: "r2", B: "r3", V4: "198.18.2.0/30", V6: "2001:db8:2::/64"}, {A: "r3", B: "edge", V4: "198.18.3.0/30", V6: "2001:db8:3::/64"},
		},
		Announces: []lab.Announce{{At: "edge", Prefix: "198.51.100.0/23"}, {At: "edge", Prefix: "2001:db8:ff::/119"}},
		Routes: []lab.Route{
			{On: "edge", Dst: "198.51.100.0/23", Kind: lab.Local}, {On: "edge", Dst: "2001:db8:ff::/119", Kind: lab.Local},
		},
	})
	const hosts = 300
	for family, network := range map[int]string{4: "198.51.100.0", 6: "2001:db8:ff::"} {
		var list []string
		a := netip.MustParseAddr(network)
		for range hosts {
			a = a.Next()
			list = append(list, a.String())
		}
		names := []string{"client", "r1", "r2", "r3", "edge"}
		for i, name := range names[1:] { // nearer, and as near
			list = slices.Insert(list, 100+20*i, n.Node(name).Addr(names[i], family).String())
		}
		file := filepath.Join(t.TempDir(), "hosts")
		if err := os.WriteFile(file, []byte(strings.Join(list, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		run := func(args ...string) (docs map[string]*sharedDoc, asked int) {
			c, err := n.Node("client").Capture("r1", 100_000)
			if err != nil {
				t.Fatal(err)
			}
			r := do(t, n.Node("client"), append([]string{"gtrace", "-n", "--json", patiently, "--targets", file}, args...)...)
			packets, err := c.Stop()
			if err != nil {
				t.Fatal(err)
			}
			ttl := map[int]int{4: 8, 6: 7}[family]
			for _, p := range packets {
				if p.Out && p.Data[0]>>4 == byte(family) && p.Data[ttl] == 1 {
					asked++
				}
			}
			docs = make(map[string]*sharedDoc)
			for line := range strings.Lines(r.stdout) {
				var d sharedDoc
				if err := decode(line, &d); err != nil {
					t.Fatal(err)
				}
				docs[d.Target] = &d
			}
			if len(docs) != len(list) || r.status != 0 {
				t.Fatalf("%d documents of %d\n%v", len(docs), len(list), r)
			}
			return docs, asked
		}
		full, all := run("--full")
		docs, asked := run()
		shared := 0
		for _, target := range list {
			want, d := full[target], docs[target]
			if len(want.Shared) > 0 || want.Confirmed != nil {
				t.Errorf("%s shares hops with --full: %v", target, want.Shared)
			}
			if len(d.Shared) > 0 {
				shared++
				if d.Confirmed == nil || !*d.Confirmed || d.Shared[0].Traces < 16 || d.Hops[0].TTL != 3 {
					t.Errorf("%s: shared hops %v, confirmed %v, then TTL %d", target, d.Shared, d.Confirmed, d.Hops[0].TTL)
				}
			}
			if got, want := d.path(), want.path(); !slices.Equal(got, want) || d.Outcome != full[target].Outcome {
				t.Errorf("%s: %v, %s; want %v, %s", target, got, d.Outcome, want, full[target].Outcome)
			}
		}
		t.Logf("IPv%d: %d of %d hosts share hops; %d probes with a TTL of 1, of %d", family, shared, len(list), asked, all)
		if shared < len(list)/2 || asked > all/2 {
			t.Errorf("IPv%d: %s", family, fmt.Sprint("too few share hops: ", shared))
		}
	}
}
