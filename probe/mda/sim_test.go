package mda

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
)

// A shape is a path by layers: how many nodes each has, from the first router to the destination, and which of a layer lead to which of
// the next.
type shape struct {
	name   string
	widths []int
	joined func(layer, from, to int) bool // nil: see fan
}

// fan joins two layers without a mesh: the wider one's nodes are dealt out among the other's.
func fan(from, a, to, b int) bool { return from*b/a == to || to*a/b == from }

// diamond is a path of 15 hops with a diamond behind the sixth.
func diamond(widths ...int) []int {
	w := []int{1, 1, 1, 1, 1, 1}
	w = append(w, widths...)
	for len(w) < 15 {
		w = append(w, 1)
	}
	return w
}

func mesh(layer, from, to int) bool { return true }

var shapes = []shape{
	{"linear", diamond(), nil},
	{"1-2-1", diamond(2), nil},
	{"1-4-2-1", diamond(4, 2), nil},
	{"1-4-2-1 meshed", diamond(4, 2), mesh},
	{"1-8-8-8-1", diamond(8, 8, 8), nil},
	{"1-8-8-8-1 meshed", diamond(8, 8, 8), mesh},
	{"1-2-4-8-1", diamond(2, 4, 8), nil},
	{"1-16-1", diamond(16), nil},
	{"1-28-1", diamond(28), nil},
	{"1-48-1", diamond(48), nil},
}

// A world is a shape as a network.
type world struct {
	conn     *simnet.Conn
	src, dst netip.Addr
	layers   [][]*simnet.Node
	nodes    int
	edges    map[string]bool
}

func (s shape) build(seed uint64) *world {
	w := &world{src: netip.MustParseAddr("198.51.100.2"), dst: netip.MustParseAddr("192.0.2.9"), edges: make(map[string]bool)}
	host := simnet.Host(w.src.String())
	before := []*simnet.Node{host}
	for i, width := range s.widths {
		var layer []*simnet.Node
		for j := range width {
			if i == len(s.widths)-1 {
				layer = append(layer, simnet.Host(w.dst.String()))
				continue
			}
			layer = append(layer, simnet.Router(netip.AddrFrom4([4]byte{10, byte(i + 1), 0, byte(j + 1)}).String()))
		}
		for a, from := range before {
			for b, to := range layer {
				if s.joined != nil && s.joined(i, a, b) || s.joined == nil && fan(a, len(before), b, len(layer)) {
					from.Link(to)
					if i > 0 {
						w.edges[fmt.Sprintf("%d %v %v", i, from.Addrs[0], to.Addrs[0])] = true
					}
				}
			}
		}
		w.nodes += width
		w.layers = append(w.layers, layer)
		before = layer
	}
	w.conn = simnet.New(simnet.Config{Seed: seed}, host)
	return w
}

func (w *world) config() Config {
	return Config{Proto: probe.UDP, Src: netip.AddrPortFrom(w.src, 40000), Dst: netip.AddrPortFrom(w.dst, 33434), By: Ports,
		First: 1, Max: 30, Miss: 0.05, Attempts: 3, GapLimit: 5, Wait: time.Second, Budget: 10000, Plain: true}
}

// A told is what a run said.
type told struct {
	sent   int
	hops   []probe.Hop
	links  []probe.Link
	finds  []probe.Finding
	end    probe.Finished
	took   time.Duration
	faults []string
}

func (s *told) Emit(e probe.Event) error {
	switch e := e.(type) {
	case *probe.Sent:
		s.sent++
	case probe.Hop:
		s.hops = append(s.hops, e)
	case probe.Links:
		s.links = e.Links
	case probe.Finding:
		s.finds = append(s.finds, e)
	case probe.Finished:
		s.end = e
	}
	return nil
}

func (w *world) run(t testing.TB, c Config) *told {
	t.Helper()
	if _, err := w.conn.Reserve(w.src, 17, c.Src.Port()); err != nil {
		t.Fatal(err)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	begun := w.conn.Now()
	var s told
	if err := probe.Run(context.Background(), w.conn, a, probe.Limits{}, &s); err != nil {
		t.Fatal(err)
	}
	s.took = w.conn.Now().Sub(begun)
	for _, f := range w.conn.Faults() {
		t.Error(f)
	}
	return &s
}

// found is how many nodes and edges of the world a run told of; it must tell of no others.
func (w *world) found(t testing.TB, s *told) (nodes, edges int) {
	t.Helper()
	for _, h := range s.hops {
		seen := map[netip.Addr]bool{}
		for _, o := range h.Outcomes {
			if o.Status == probe.Answered && int(h.TTL) <= len(w.layers) {
				seen[o.From] = true
			}
		}
		for a := range seen {
			is := false
			for _, n := range w.layers[h.TTL-1] {
				is = is || n.Addrs[0] == a
			}
			if !is {
				t.Errorf("TTL %d: %v is not there", h.TTL, a)
			}
		}
		nodes += len(seen)
	}
	for _, l := range s.links {
		if !w.edges[fmt.Sprintf("%d %v %v", l.TTL, l.From, l.To)] {
			t.Errorf("TTL %d: no edge from %v to %v", l.TTL, l.From, l.To)
		}
		edges++
	}
	return nodes, edges
}

func TestTable(t *testing.T) {
	const runs = 100
	for _, miss := range []float64{0.05, 0.01} {
		for _, s := range shapes {
			var sent, nodes, edges, allNodes, allEdges, worst float64
			for seed := range uint64(runs) {
				w := s.build(seed)
				c := w.config()
				c.Miss = miss
				r := w.run(t, c)
				n, e := w.found(t, r)
				sent += float64(r.sent)
				nodes, edges = nodes+float64(n), edges+float64(e)
				allNodes, allEdges = allNodes+float64(w.nodes), allEdges+float64(len(w.edges))
				worst = math.Max(worst, r.took.Seconds())
			}
			t.Logf("%.2f %-20s %6.1f probes  %.4f nodes  %.4f edges %.3fs", miss, s.name, sent/runs, nodes/allNodes, edges/allEdges, worst)
		}
	}
}
