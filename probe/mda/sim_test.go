package mda

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
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

// shapes are the benchmark of the field (ALGORITHMS section 2.5), with the probes that MDA-Lite takes there at 95 and 99 %.
var shapes = []struct {
	shape
	lite [2]float64
}{
	{shape{"linear", diamond(), nil}, [2]float64{90, 120}},
	{shape{"1-2-1", diamond(2), nil}, [2]float64{95, 127}},
	{shape{"1-4-2-1", diamond(4, 2), nil}, [2]float64{112, 148}},
	{shape{"1-4-2-1 meshed", diamond(4, 2), mesh}, [2]float64{179, 240}},
	{shape{"1-8-8-8-1", diamond(8, 8, 8), nil}, [2]float64{213, 273}},
	{shape{"1-8-8-8-1 meshed", diamond(8, 8, 8), mesh}, [2]float64{1312, 1663}},
	{shape{"1-2-4-8-1", diamond(2, 4, 8), nil}, [2]float64{158, 200}},
	{shape{"1-16-1", diamond(16), nil}, [2]float64{201, 252}},
	{shape{"1-28-1", diamond(28), nil}, [2]float64{310, 381}},
	{shape{"1-48-1", diamond(48), nil}, [2]float64{503, 606}},
}

// A world is a shape as a network.
type world struct {
	conn     *simnet.Conn
	src, dst netip.Addr
	layers   [][]*simnet.Node
	nodes    int
	limits   probe.Limits
	onSend   func(sent int) // nil: nothing
	sent     int
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
	w.conn = simnet.New(simnet.Config{Seed: seed, OnSend: func(time.Time, []byte) {
		if w.sent++; w.onSend != nil {
			w.onSend(w.sent)
		}
	}}, host)
	return w
}

func (w *world) config() Config {
	return Config{Proto: probe.UDP, Src: netip.AddrPortFrom(w.src, 40000), Dst: netip.AddrPortFrom(w.dst, 33434), By: Ports,
		First: 1, Max: 30, Miss: 0.05, Attempts: 3, GapLimit: 5, Wait: 5 * time.Second, Here: 3, Near: 10, Budget: 10000, Plain: true}
}

// A told is what a run said.
type told struct {
	sent  int
	hops  []probe.Hop
	links []probe.Link
	finds []probe.Finding
	end   probe.Finished
	took  time.Duration
	open  []probe.Spec
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
	if _, err := w.conn.Reserve(w.src, c.Proto.Number(w.dst, 0), c.Src.Port()); err != nil {
		t.Fatal(err)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	begun := w.conn.Now()
	var s told
	if err := probe.Run(context.Background(), w.conn, a, w.limits, &s); err != nil {
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
			if o.Status == probe.Answered && int(h.TTL) <= len(w.layers) && o.Answer != probe.Unreachable {
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

// TestTable holds the probes it takes to the benchmark's, within what the mean of so many runs may be off, and how much is found to
// nearly all. docs/multipath.md has the table, of more runs (GTRACE_MDA_RUNS).
func TestTable(t *testing.T) {
	runs := 60
	if s := os.Getenv("GTRACE_MDA_RUNS"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range shapes {
		for i, miss := range []float64{0.05, 0.01} {
			n := runs
			if s.lite[0] > 1000 {
				n = max(5, runs/10)
			}
			var sent, squares, nodes, edges, allNodes, allEdges, slowest float64
			for seed := range uint64(n) {
				w := s.build(seed)
				c := w.config()
				c.Miss = miss
				r := w.run(t, c)
				a, b := w.found(t, r)
				sent, squares = sent+float64(r.sent), squares+float64(r.sent)*float64(r.sent)
				nodes, edges = nodes+float64(a), edges+float64(b)
				allNodes, allEdges = allNodes+float64(w.nodes), allEdges+float64(len(w.edges))
				slowest = max(slowest, r.took.Seconds())
			}
			of := float64(n)
			mean := sent / of
			off := math.Sqrt(max(0, squares/of-mean*mean) / of)
			t.Logf("%-17s %v %% %7.1f probes (%.2f off), MDA-Lite %4.0f; nodes %.4f, edges %.4f; at most %.2f s", s.name, 100*(1-miss), mean, off, s.lite[i], nodes/allNodes, edges/allEdges, slowest)
			if mean > s.lite[i]+0.5+3*off || nodes/allNodes < 1-miss/2 || edges/allEdges < 1-miss {
				t.Errorf("%s at %v %%: %.1f probes, want no more than %v; nodes %.4f, edges %.4f", s.name, 100*(1-miss), mean, s.lite[i], nodes/allNodes, edges/allEdges)
			}
			if slowest > 2 {
				t.Errorf("%s: %.2f s of a path of 0.03", s.name, slowest)
			}
		}
	}
}

// rough has nodes be silent or limit their answers, and links lose, copy and delay packets, as chance has it.
func (w *world) rough(rng *rand.Rand) {
	for _, l := range w.layers {
		for _, n := range l {
			switch rng.IntN(6) {
			case 0:
				n.Silent = true
			case 1:
				n.Limit = simnet.Linux
			}
			for _, k := range n.Links {
				k.Back.Loss = rng.Float64() * 0.2
				k.Out.Dup = rng.Float64() * 0.1
				k.Back.Delay = time.Duration(rng.IntN(30)) * time.Millisecond
				if rng.IntN(8) == 0 {
					k.Out.Delay = time.Duration(rng.IntN(500)) * time.Millisecond
				}
			}
		}
	}
}

// TestRandom: over paths of any shape, with loss, silence and limits, a trace ends, tells no edge that is not there, and is the same
// again with the same seed.
func TestRandom(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := shape{widths: []int{1}, joined: mesh}
		for range 2 + rng.IntN(6) {
			s.widths = append(s.widths, 1+rng.IntN(5))
		}
		s.widths = append(s.widths, 1)
		run := func() *told {
			rng := rand.New(rand.NewPCG(seed, 2))
			w := s.build(seed)
			w.rough(rng)
			c := w.config()
			c.Plain, c.Budget = false, 3000
			r := w.run(t, c)
			w.found(t, r)
			if !r.end.Complete && r.code("multipath-incomplete") == 0 || r.sent > c.Budget || r.took > time.Hour || int(r.end.LastTTL) > len(w.layers)+c.GapLimit {
				t.Errorf("seed %d: %d probes, %+v", seed, r.sent, r.end)
			}
			return r
		}
		if a, b := fmt.Sprintf("%+v", run()), fmt.Sprintf("%+v", run()); a != b {
			t.Errorf("seed %d: two runs differ", seed)
		}
	}
}
