package pmtu_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"gtrace/internal/simnet"
	"gtrace/internal/wire"
	"gtrace/probe"
	"gtrace/probe/pmtu"
	"gtrace/rawsock"
	"gtrace/report"
)

// A heard is the sink of one run. What it hears goes into a document too.
type heard struct {
	document probe.Sink
	sizes    []string // of the probes, as "TTL:bytes"
	sent     []probe.Spec
	mtus     []string // told, as "TTL:bytes"
	tellers  []netip.Addr
	hops     []probe.Hop
	findings []probe.Finding
	end      probe.Finished
	at       []time.Time
}

func (s *heard) Emit(e probe.Event) error {
	if err := s.document.Emit(e); err != nil {
		return err
	}
	switch e := e.(type) {
	case *probe.Sent:
		s.sizes = append(s.sizes, fmt.Sprintf("%d:%d", e.Spec.TTL, e.Spec.Size))
		s.sent, s.at = append(s.sent, e.Spec), append(s.at, e.At)
	case probe.PathMTU:
		s.mtus, s.tellers = append(s.mtus, fmt.Sprintf("%d:%d", e.TTL, e.Bytes)), append(s.tellers, e.From)
	case probe.Hop:
		s.hops = append(s.hops, e)
	case probe.Finding:
		s.findings = append(s.findings, e)
	case probe.Finished:
		s.end = e
	}
	return nil
}

// schema is that of a trace's document.
var schema = sync.OnceValue(func() *jsonschema.Schema {
	return jsonschema.NewCompiler().MustCompile("../../report/schema/gtrace-trace-v1.json")
})

// A world is a line of three routers and a host behind them. Links are named by the TTL that they are before.
type world struct {
	v6    bool
	mtu   map[int]int          // of the link before that TTL
	holes map[int]int          // the same, and larger packets vanish
	quiet []int                // TTLs that answer nothing
	nodes func([]*simnet.Node) // changes them, by TTL
	links func([]*simnet.Link) // the same, link i before TTL i+1
	edit  func(c *pmtu.Config) //
	stop  func(*simnet.Conn)   //
	caps  func(*rawsock.Caps)  //
	seed  uint64
}

func (w world) run(t *testing.T) *heard {
	t.Helper()
	const n = 4
	addrs := func(i int) []string { return []string{fmt.Sprintf("10.0.%d.1", i), fmt.Sprintf("fd00:%x::1", i)} }
	nodes := []*simnet.Node{simnet.Host(addrs(0)...)}
	for i := 1; i < n; i++ {
		nodes = append(nodes, simnet.Router(addrs(i)...))
	}
	nodes = append(nodes, simnet.Host(addrs(n)...))
	for _, q := range w.quiet {
		nodes[q].Silent = true
	}
	links := simnet.Path(nodes...)
	for ttl, m := range w.mtu {
		links[ttl-1].MTU = m
	}
	for ttl, m := range w.holes {
		links[ttl-1].MTU, links[ttl-1].BlackHole = m, true
	}
	if w.nodes != nil {
		w.nodes(nodes)
	}
	if w.links != nil {
		w.links(links)
	}
	conn := simnet.New(simnet.Config{Seed: 1 + w.seed, Caps: w.caps}, nodes[0])
	if w.stop != nil {
		w.stop(conn)
	}
	family := 0
	if w.v6 {
		family = 1
	}
	src, dst := netip.MustParseAddr(addrs(0)[family]), netip.MustParseAddr(addrs(n)[family])
	c := pmtu.Config{
		Proto: probe.UDP, Dst: netip.AddrPortFrom(dst, 33434),
		First: 1, Max: 30, Attempts: 3, Size: 65000, Wait: 5 * time.Second, Here: 3,
	}
	if w.edit != nil {
		w.edit(&c)
	}
	port, err := conn.Reserve(src, c.Proto.Number(dst, c.Number), 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Src = netip.AddrPortFrom(src, port)
	a, err := pmtu.New(c)
	if err != nil {
		t.Fatal(err)
	}
	var document bytes.Buffer
	sink, err := report.NewTrace(&document, "json", report.Options{Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	s := &heard{document: sink}
	if err := s.Emit(probe.Started{At: conn.Now(), Target: dst.String(), Dst: dst, Src: src, Method: probe.Method{Proto: c.Proto, Classic: c.Classic}}); err != nil {
		t.Fatal(err)
	}
	if err := probe.Run(context.Background(), conn, a, probe.Limits{}, s); err != nil {
		t.Fatal(err)
	}
	for _, f := range conn.Faults() {
		t.Error(f)
	}
	if v, err := jsonschema.UnmarshalJSON(bytes.NewReader(document.Bytes())); err != nil {
		t.Errorf("%v: %s", err, document.Bytes())
	} else if err := schema().Validate(v); err != nil {
		t.Errorf("%v: %s", err, document.Bytes())
	}
	for _, p := range s.sent {
		if !p.DF {
			t.Errorf("a probe of %d bytes to TTL %d may be fragmented", p.Size, p.TTL)
		}
	}
	for i, h := range s.hops {
		if want := int(c.First) + i; int(h.TTL) != want {
			t.Errorf("hop %d is of TTL %d, want %d", i+1, h.TTL, want)
		}
	}
	return s
}

func (s *heard) want(t *testing.T, mtus string, v probe.Verdict, last int) {
	t.Helper()
	if got := strings.Join(s.mtus, " "); got != mtus {
		t.Errorf("MTUs %q, want %q\nprobes %v", got, mtus, s.sizes)
	}
	if s.end.Verdict != v || int(s.end.LastTTL) != last || len(s.hops) != last {
		t.Errorf("%s at TTL %d with %d hops, want %s at %d", s.end.Verdict, s.end.LastTTL, len(s.hops), v, last)
	}
}

func TestNarrowingPath(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %v", v6), func(t *testing.T) {
			s := world{v6: v6, mtu: map[int]int{1: 1500, 2: 1400, 4: 1280}}.run(t)
			s.want(t, "0:1500 2:1400 4:1280", probe.Reached, 4)
			if want := []netip.Addr{{}, s.hops[0].Outcomes[0].From, s.hops[2].Outcomes[0].From}; !slices.Equal(s.tellers, want) {
				t.Errorf("told by %v, want %v", s.tellers, want)
			}
			for _, h := range s.hops {
				if len(h.Outcomes) != 3 {
					t.Errorf("TTL %d: %d outcomes, want 3", h.TTL, len(h.Outcomes))
				}
				for i, o := range h.Outcomes {
					if o.Answer == probe.TooBig || int(o.Spec.Attempt) != i+1 {
						t.Errorf("TTL %d: outcome %d is %v of attempt %d", h.TTL, i+1, o.Answer, o.Spec.Attempt)
					}
				}
			}
		})
	}
}

// As traceroute --mtu, it asks the same TTL again with the size that fits, one probe at a time.
func TestOneAtATime(t *testing.T) {
	s := world{mtu: map[int]int{2: 1400}, edit: func(c *pmtu.Config) { c.Size, c.Attempts = 1500, 1 }}.run(t)
	if want := []string{"1:1500", "2:1500", "2:1400", "3:1400", "4:1400"}; !slices.Equal(s.sizes, want) {
		t.Errorf("probes %v, want %v", s.sizes, want)
	}
	s.want(t, "2:1400", probe.Reached, 4)
}

func TestFirstAnswerIsEnough(t *testing.T) {
	s := world{quiet: []int{2}, edit: func(c *pmtu.Config) { c.Size, c.Once, c.Wait, c.Here = 68, true, time.Second, 0 }}.run(t)
	if want := []string{"1:68", "2:68", "2:68", "2:68", "3:68", "4:68"}; !slices.Equal(s.sizes, want) {
		t.Errorf("probes %v, want %v", s.sizes, want)
	}
	s.want(t, "", probe.Reached, 4)
}

// As tracepath, it asks the TTL once more at which the device's size came out.
func TestDeviceAsksAgain(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500, 2: 1400}, edit: func(c *pmtu.Config) { c.Once = true }}.run(t)
	// The simulated device does not say its size: the first probe ends the search for it.
	if want := []string{"1:1500", "1:1500", "1:1500", "2:1500", "2:1400", "3:1400", "4:1400"}; !slices.Equal(s.sizes, want) {
		t.Errorf("probes %v, want %v", s.sizes, want)
	}
}

// lies makes a node's "too big" name that size.
func lies(mtu uint32) func(*rawsock.Reply) {
	return func(r *rawsock.Reply) {
		switch {
		case r.Proto == 1 && r.Data[0] == 3 && r.Data[1] == 4:
			binary.BigEndian.PutUint16(r.Data[6:], uint16(mtu))
		case r.Proto == 58 && r.Data[0] == 2:
			binary.BigEndian.PutUint32(r.Data[4:], mtu)
		default:
			return
		}
		simnet.Mend(r)
	}
}

// What a router cannot mean is not believed, and the size that fits is found all the same.
func TestRoutersThatLie(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, mtu := range []uint32{0, 1, 67, 1500, 9000, 65535} {
			t.Run(fmt.Sprintf("IPv6 %v, %d", v6, mtu), func(t *testing.T) {
				s := world{v6: v6, mtu: map[int]int{1: 1500, 3: 1333},
					nodes: func(ns []*simnet.Node) { ns[2].Alter = lies(mtu) }}.run(t)
				s.want(t, "0:1500 3:1333", probe.Reached, 4)
				if len(s.sent) > 80 {
					t.Errorf("%d probes", len(s.sent))
				}
			})
		}
	}
	t.Run("IPv6 below what every link carries", func(t *testing.T) {
		s := world{v6: true, mtu: map[int]int{1: 1500, 3: 1333}, nodes: func(ns []*simnet.Node) { ns[2].Alter = lies(1279) }}.run(t)
		s.want(t, "0:1500 3:1333", probe.Reached, 4)
	})
	t.Run("one byte less each time", func(t *testing.T) {
		refused := 0
		s := world{mtu: map[int]int{1: 1500, 3: 100}, nodes: func(ns []*simnet.Node) {
			ns[2].Alter = func(r *rawsock.Reply) {
				if r.Proto == 1 && r.Data[0] == 3 && r.Data[1] == 4 {
					refused++
					lies(uint32(1500 - refused))(r)
				}
			}
		}}.run(t)
		if s.end.Verdict != probe.Reached || len(s.sent) > 60 {
			t.Errorf("%s after %d probes: %v", s.end.Verdict, len(s.sent), s.mtus)
		}
	})
	t.Run("nothing is small enough", func(t *testing.T) {
		s := world{mtu: map[int]int{1: 1500, 3: 40}, nodes: func(ns []*simnet.Node) { ns[2].Alter = lies(0) }}.run(t)
		if s.end.Verdict != probe.Blocked || s.end.LastTTL != 3 || len(s.sent) > 60 {
			t.Errorf("%s at TTL %d after %d probes: %v", s.end.Verdict, s.end.LastTTL, len(s.sent), s.mtus)
		}
	})
}

// A router that swallows what is too big is found, and the trace goes on behind it.
func TestBlackHole(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %v", v6), func(t *testing.T) {
			s := world{v6: v6, mtu: map[int]int{1: 1500}, holes: map[int]int{3: 1300}}.run(t)
			s.want(t, "0:1500 3:1300", probe.Reached, 4)
			if len(s.findings) != 1 || s.findings[0].Code != "mtu-black-hole" || s.findings[0].Between != [2]uint8{2, 3} ||
				!strings.Contains(s.findings[0].Text, "1300 bytes") {
				t.Errorf("findings %+v", s.findings)
			}
			for _, o := range s.hops[2].Outcomes {
				if o.Status != probe.Answered || o.Spec.Size != 1300 {
					t.Errorf("TTL 3: %v with %d bytes", o.Status, o.Spec.Size)
				}
			}
		})
	}
	// It begins behind the last hop that is known to carry the size; this host is no hop.
	for _, tt := range []struct {
		name    string
		quiet   []int
		first   uint8
		limit   simnet.Limit // of the node at TTL 2
		between [2]uint8
		ttl     uint8
	}{
		{name: "behind a silent router", quiet: []int{2}, first: 1, between: [2]uint8{1, 3}},
		{name: "behind silent routers alone", quiet: []int{1, 2}, first: 1, ttl: 3},
		{name: "before the first TTL that is asked", first: 3, ttl: 3},
		{name: "before a router that answers once", first: 1, limit: simnet.Limit{Burst: 1, Every: time.Hour}, between: [2]uint8{1, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := 3
			if tt.limit != (simnet.Limit{}) {
				at = 2 // that router tells that small packets get to it, and no more
			}
			s := world{mtu: map[int]int{1: 1500}, holes: map[int]int{at: 1300}, quiet: tt.quiet,
				nodes: func(ns []*simnet.Node) { ns[2].Limit = tt.limit },
				edit:  func(c *pmtu.Config) { c.First = tt.first }}.run(t)
			if got := strings.Join(s.mtus, " "); got != "0:1500 3:1300" || s.end.Verdict != probe.Reached || s.end.LastTTL != 4 {
				t.Errorf("MTUs %v, %s at TTL %d", got, s.end.Verdict, s.end.LastTTL)
			}
			if f := s.findings; len(f) != 1 || f[0].Between != tt.between || f[0].TTL != tt.ttl {
				t.Errorf("findings %+v", f)
			}
		})
	}
}

// Each kind of probe finds the same, wherever routers tell and wherever they do not.
func TestEveryKind(t *testing.T) {
	for _, k := range []struct {
		name string
		edit func(*pmtu.Config)
		node func(*simnet.Node)
	}{
		{"ICMP", func(c *pmtu.Config) { c.Proto, c.Dst = probe.ICMP, netip.AddrPortFrom(c.Dst.Addr(), 7) }, nil},
		{"UDP-Lite", func(c *pmtu.Config) { c.Proto = probe.UDPLite }, func(n *simnet.Node) { n.UDPLite = map[uint16]simnet.Service{} }},
		{"ACK to a closed port", func(c *pmtu.Config) { c.Proto, c.Segment.Flags = probe.TCP, wire.ACK }, nil},
		{"ACK and PSH to an open port, with timestamps", func(c *pmtu.Config) {
			c.Proto, c.Segment = probe.TCP, probe.Segment{Flags: wire.ACK | wire.PSH, Bare: probe.NoSACK}
		}, func(n *simnet.Node) { n.TCP = map[uint16]simnet.TCPPort{33434: simnet.Open} }},
	} {
		for _, v6 := range []bool{false, true} {
			for silent := range 4 { // bits: the first narrowing, and the second
				t.Run(fmt.Sprintf("%s, IPv6 %v, silent %02b", k.name, v6, silent), func(t *testing.T) {
					w := world{v6: v6, mtu: map[int]int{1: 1500}, holes: make(map[int]int), edit: k.edit}
					var between [][2]uint8
					for i, ttl := range []int{2, 4} {
						at := w.mtu
						if silent>>i&1 != 0 {
							at = w.holes
							between = append(between, [2]uint8{uint8(ttl - 1), uint8(ttl)})
						}
						at[ttl] = []int{1400, 1280}[i]
					}
					w.caps = func(c *rawsock.Caps) { c.Extra = []uint8{wire.ProtoUDPLite} }
					w.nodes = func(ns []*simnet.Node) {
						if k.node != nil {
							k.node(ns[4])
						}
					}
					s := w.run(t)
					s.want(t, "0:1500 2:1400 4:1280", probe.Reached, 4)
					var got [][2]uint8
					for _, f := range s.findings {
						// An echo reply may have met a hole of its own.
						back := k.name == "ICMP" && f.Between[1] == 4
						if f.Code != "mtu-black-hole" || (f.Confidence == "high") == back || strings.Contains(f.Text, "way back") != back {
							t.Errorf("%+v", f)
						}
						got = append(got, f.Between)
					}
					if !slices.Equal(got, between) {
						t.Errorf("black holes between %v, want %v", got, between)
					}
				})
			}
		}
	}
}

// A router says what fits, and then swallows that too.
func TestToldAndVanished(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := world{v6: v6, mtu: map[int]int{1: 1500, 3: 1290}, nodes: func(ns []*simnet.Node) {
			refused := 0
			ns[2].Alter = func(r *rawsock.Reply) {
				ns[2].Answer.Loss = 0
				if typ := r.Data[0]; typ == wire.Unreachable4 && !v6 || typ == wire.PacketTooBig6 && v6 {
					if refused++; refused > 1 {
						ns[2].Answer.Loss = 1
					}
					lies(1400)(r)
				}
			}
		}}.run(t)
		s.want(t, "0:1500 3:1400 3:1290", probe.Reached, 4)
		if f := s.findings; len(f) != 1 || f[0].Code != "mtu-black-hole" || f[0].Between != [2]uint8{2, 3} || !strings.Contains(f[0].Text, "more than 1290 bytes") {
			t.Errorf("findings %+v", f)
		}
	}
}

// A router that answers small packets alone, and passes large ones on, is no black hole.
func TestSmallAnswersAlone(t *testing.T) {
	for _, tt := range []struct {
		name  string
		at    []int // such routers
		quiet []int
		holes map[int]int
		mtus  string
	}{
		{"one", []int{2}, nil, nil, "0:1500"},
		{"the last router", []int{3}, nil, nil, "0:1500"},
		{"one before a silent one", []int{2}, []int{3}, nil, "0:1500"},
		{"all", []int{1, 2, 3}, nil, nil, "0:1500"},
		{"one before a hole", []int{2}, nil, map[int]int{4: 1300}, "0:1500 4:1300"},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %v", tt.name, v6), func(t *testing.T) {
				s := world{v6: v6, mtu: map[int]int{1: 1500}, holes: tt.holes, quiet: tt.quiet, nodes: func(ns []*simnet.Node) {
					for _, at := range tt.at {
						n := ns[at]
						n.Alter = func(r *rawsock.Reply) {
							n.Answer.Loss = 0
							if q, err := wire.ParseQuote(r.Data[8:]); err == nil && q.Length() > 1400 {
								n.Answer.Loss = 1
							}
						}
					}
				}}.run(t)
				s.want(t, tt.mtus, probe.Reached, 4)
				if len(s.findings) != len(tt.holes) || len(tt.holes) > 0 && s.findings[0].Between != [2]uint8{3, 4} {
					t.Errorf("findings %+v", s.findings)
				}
				for _, at := range tt.at {
					if last := s.hops[at-1].Outcomes[2]; last.Status != probe.Answered || last.Spec.TTL != uint8(at) || last.Spec.Attempt != 3 {
						t.Errorf("TTL %d: %+v", at, last)
					}
				}
			})
		}
	}
}

// A router that says what fits, but only now and then, is none either: it has told, and where.
func TestToldLate(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500, 3: 1400}, nodes: func(ns []*simnet.Node) {
		ns[2].Alter = func(r *rawsock.Reply) {
			ns[2].Answer.Loss = 0
			if q, err := wire.ParseQuote(r.Data[8:]); err == nil && r.Data[0] == wire.Unreachable4 && q.TTL() == 1 {
				ns[2].Answer.Loss = 1 // of those to the next hop
			}
		}
	}}.run(t)
	s.want(t, "0:1500 3:1400", probe.Reached, 4)
	if len(s.findings) != 0 || s.tellers[1] != s.hops[1].Outcomes[0].From {
		t.Errorf("told by %v; findings %+v", s.tellers, s.findings)
	}
	for _, o := range s.hops[2].Outcomes {
		if o.Status != probe.Answered || o.Spec.Size != 1400 {
			t.Errorf("TTL 3: %v with %d bytes", o.Status, o.Spec.Size)
		}
	}
}

// A router that answers nothing is no black hole.
func TestSilentRouter(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500}, quiet: []int{2, 3}}.run(t)
	s.want(t, "0:1500", probe.Reached, 4)
	if len(s.findings) != 0 {
		t.Errorf("findings %+v", s.findings)
	}
	for _, h := range s.hops[1:3] {
		for _, o := range h.Outcomes {
			if o.Status != probe.Lost {
				t.Errorf("TTL %d: %+v", h.TTL, o)
			}
		}
	}
}

// one asks one node, 1 ms away, with packets of 1500 bytes, and tells what comes out. The probes for which lost says so,
// by their number from 1 and size, are not answered.
func one(t *testing.T, attempts int, lost func(n, size int) bool) (sizes []int, events []probe.Event) {
	t.Helper()
	a, err := pmtu.New(pmtu.Config{Proto: probe.UDP, Src: netip.MustParseAddrPort("10.0.0.1:5"),
		Dst: netip.MustParseAddrPort("10.0.4.1:33434"), First: 1, Max: 1, Attempts: attempts, Size: 1500, Wait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []probe.Outcome
	now := time.Unix(1000, 0)
	for {
		var out probe.Output
		a.Step(probe.Input{Now: now, Room: 1, Outcomes: outcomes}, &out)
		outcomes, events = nil, append(events, out.Events...)
		switch {
		case out.Done:
			return sizes, events
		case len(out.Send) == 0 && out.Wake.After(now):
			now = out.Wake
			continue
		case len(out.Send) != 1 || len(sizes) > 150:
			t.Fatalf("sent %v after %v", out.Send, sizes)
		}
		now = now.Add(time.Millisecond)
		size := out.Send[0].Size
		sizes = append(sizes, size)
		o := probe.Outcome{Serial: uint64(len(sizes)), Spec: out.Send[0], Status: probe.Lost, Sent: now.Add(-time.Millisecond)}
		if !lost(len(sizes), size) {
			o.Status, o.At, o.Answer, o.Match = probe.Answered, now, probe.TimeExceeded, probe.Strict
		}
		outcomes = []probe.Outcome{o}
	}
}

// Silence is a black hole's only where it has to do with size: no large packet is answered, and small ones are, if not
// each of them.
func TestLossIsNoBlackHole(t *testing.T) {
	for bits := range 1 << 5 { // of the probes behind the first three, which all are lost
		var large, small bool // was answered; small: the first
		sizes, events := one(t, 3, func(n, size int) bool {
			if n > 8 {
				return size > 1400
			}
			if n <= 3 || bits>>(n-4)&1 != 0 {
				return true
			}
			large = large || size == 1500
			small = small || n == 4
			return false
		})
		hole := false
		for _, e := range events {
			if f, ok := e.(probe.Finding); ok {
				hole = f.Code == "mtu-black-hole" && f.Confidence == "high" && f.TTL == 1 && strings.Contains(f.Text, "more than 1400 bytes")
			}
		}
		if want := small && !large; hole != want {
			t.Errorf("lost %05b: black hole %v, want %v; sizes %v; %v", bits, hole, want, sizes, events)
		}
	}
}

// What a search takes for a black hole is none once its large packet gets through, however late.
func TestBlackHoleThatIsNone(t *testing.T) {
	sizes, events := one(t, 2, func(n, size int) bool { return size == 1500 && n < 20 })
	if len(events) != 2 {
		t.Fatalf("%v; sizes %v", events, sizes)
	}
	h, ok := events[0].(probe.Hop)
	if !ok || len(h.Outcomes) != 2 || h.Outcomes[0].Status != probe.Lost || h.Outcomes[1].Status != probe.Answered ||
		h.Outcomes[1].Spec.Size != 1500 || h.Outcomes[1].Spec.Attempt != 2 || len(sizes) < 15 {
		t.Errorf("%+v; sizes %v", h, sizes)
	}
}

// A node that contradicts itself is left in the end.
func TestNoRhymeOrReason(t *testing.T) {
	for step := range 100 {
		sizes, events := one(t, 1, func(n, size int) bool {
			return n <= 5 && size == 1500 || n > 5 && size > 600+n*step*7%900
		})
		if len(sizes) > 140 || len(events) < 2 {
			t.Errorf("step %d: %d probes, %v", step, len(sizes), events)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500}, nodes: func(ns []*simnet.Node) { ns[2].Links = nil }}.run(t)
	s.want(t, "0:1500", probe.Blocked, 3)
}

func TestNoEnd(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500}, edit: func(c *pmtu.Config) { c.Max = 2 }}.run(t)
	s.want(t, "0:1500", probe.MaxHops, 2)
}

func TestGap(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500}, edit: func(c *pmtu.Config) { c.Gap = 200 * time.Millisecond }}.run(t)
	s.want(t, "0:1500", probe.Reached, 4)
	for i := range s.at[1:] {
		if d := s.at[i+1].Sub(s.at[i]); d < 200*time.Millisecond {
			t.Errorf("probe %d: %v behind the one before", i+2, d)
		}
	}
}

// A classic trace counts the port up with every probe, and 0 is no port.
func TestClassic(t *testing.T) {
	s := world{edit: func(c *pmtu.Config) {
		c.Size, c.Classic, c.Dst = 100, true, netip.AddrPortFrom(c.Dst.Addr(), 65534)
	}}.run(t)
	s.want(t, "", probe.Reached, 4)
	for i, p := range s.sent {
		if want := []uint16{65534, 65535, 1, 2}[min(i, 3)]; i < 4 && p.Dst.Port() != want {
			t.Errorf("probe %d: port %d, want %d", i+1, p.Dst.Port(), want)
		}
	}
}

// What this host did not let go has used up no port.
func TestClassicPortsOfWhatLeft(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500, 2: 1400}, edit: func(c *pmtu.Config) { c.Classic, c.Attempts = true, 1 }}.run(t)
	s.want(t, "0:1500 2:1400", probe.Reached, 4)
	for i, p := range s.sent {
		if want := uint16(33434 + i); p.Dst.Port() != want {
			t.Errorf("probe %d: port %d, want %d", i+1, p.Dst.Port(), want)
		}
	}
}

// A service's answers do not say to which probe. Where the TTL before is silent it takes two for the length of the path.
func TestService(t *testing.T) {
	for _, tt := range []struct {
		name     string
		quiet    []int
		answers  int // of the service
		attempts int
		classic  bool
		probes   int // to the last TTL
		vague    bool
	}{
		{"behind a router", nil, 1, 1, false, 1, false},
		{"behind a silent one, two answers", []int{3}, 2, 1, false, 2, false},
		{"behind a silent one, attempts enough", []int{3}, 3, 3, false, 3, false},
		{"behind a silent one, one answer", []int{3}, 1, 1, false, 4, true},
		{"behind a silent one, one answer of three", []int{3}, 1, 3, false, 6, true},
		{"behind a silent one, each probe its flow", []int{3}, 1, 1, true, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answers := tt.answers
			s := world{quiet: tt.quiet, nodes: func(ns []*simnet.Node) {
				service := func([]byte) []byte {
					if answers--; answers < 0 {
						return nil
					}
					return []byte("hello")
				}
				ns[4].UDP = make(map[uint16]simnet.Service)
				for p := range uint16(100) {
					ns[4].UDP[33434+p] = service
				}
			}, edit: func(c *pmtu.Config) { c.Size, c.Attempts, c.Classic = 600, tt.attempts, tt.classic }}.run(t)
			s.want(t, "", probe.Reached, 4)
			last := 0
			for _, p := range s.sent {
				if p.TTL == 4 {
					last++
				}
			}
			if last != tt.probes || s.end.Vague != tt.vague || len(s.hops[3].Outcomes) != tt.attempts {
				t.Errorf("%d probes to the last TTL, vague %v, outcomes %d; want %d, %v, %d", last, s.end.Vague, len(s.hops[3].Outcomes), tt.probes, tt.vague, tt.attempts)
			}
			if f := s.findings; len(f) > 0 != tt.vague || tt.vague && (f[0].Code != "path-length-unknown" || f[0].TTL != 4 || !strings.Contains(f[0].Text, "as short as 3")) {
				t.Errorf("findings %+v", f)
			}
		})
	}
}

func TestInterrupt(t *testing.T) {
	c := pmtu.Config{Proto: probe.UDP, Src: netip.MustParseAddrPort("10.0.0.1:5"), Dst: netip.MustParseAddrPort("10.0.4.1:33434"),
		First: 1, Max: 30, Attempts: 3, Size: 1500, Wait: time.Second}
	a, err := pmtu.New(c)
	if err != nil {
		t.Fatal(err)
	}
	var out probe.Output
	now := time.Unix(1000, 0)
	a.Step(probe.Input{Now: now, Room: 1}, &out)
	if len(out.Send) != 1 {
		t.Fatalf("sent %v", out.Send)
	}
	out = probe.Output{}
	a.Step(probe.Input{Now: now, Room: 1, Outcomes: []probe.Outcome{{Serial: 1, Status: probe.Lost}}}, &out)
	out = probe.Output{}
	a.Step(probe.Input{Now: now, Stop: probe.ErrInterrupted}, &out)
	if len(out.Events) != 2 || !out.Done {
		t.Fatalf("events %v, done %v", out.Events, out.Done)
	}
	if f, ok := out.Events[1].(probe.Finished); !ok || f.Verdict != probe.Interrupted || f.LastTTL != 1 || f.Complete {
		t.Errorf("%+v", out.Events[1])
	}
}

func TestNewChecksEveryField(t *testing.T) {
	good := pmtu.Config{Proto: probe.UDP, Src: netip.MustParseAddrPort("10.0.0.1:5"), Dst: netip.MustParseAddrPort("10.0.4.1:33434"),
		First: 1, Max: 30, Attempts: 3, Size: 1500, Wait: time.Second}
	for _, tt := range []struct {
		mod  func(*pmtu.Config)
		want string
	}{
		{func(c *pmtu.Config) {}, ""},
		{func(c *pmtu.Config) { c.Proto = probe.DCCP }, "protocol dccp: want UDP, ICMP, TCP"},
		{func(c *pmtu.Config) { c.Proto = probe.TCP }, "TCP flags 0x0: want ACK and no SYN"},
		{func(c *pmtu.Config) { c.Proto, c.Segment.Flags = probe.TCP, wire.SYN|wire.ACK }, "TCP flags 0x12: want ACK"},
		{func(c *pmtu.Config) { c.Proto, c.Segment.Flags = probe.TCP, wire.ACK }, ""},
		{func(c *pmtu.Config) { c.Proto, c.Classic = probe.UDPLite, true }, "classic trace with udplite"},
		{func(c *pmtu.Config) { c.First = 0 }, "TTLs 0 to 30"},
		{func(c *pmtu.Config) { c.Attempts = 0 }, "0 attempts"},
		{func(c *pmtu.Config) { c.Size = 29 }, "size 29 bytes: want 30 to 65535"},
		{func(c *pmtu.Config) { c.Wait = 0 }, "wait of 0s"},
		{func(c *pmtu.Config) { c.Here = -1 }, "wait factor -1"},
		{func(c *pmtu.Config) { c.Gap = -1 }, "gap of -1ns"},
		{func(c *pmtu.Config) { c.Label = 7 }, "flow label"},
	} {
		c := good
		tt.mod(&c)
		if _, err := pmtu.New(c); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
}

// Without privilege, among routers and a destination that quote 8 bytes: the same hops and sizes as with it, whatever is late
// or copied.
func TestCutQuotes(t *testing.T) {
	for _, classic := range []bool{false, true} {
		for _, odd := range []string{"plain", "lost and late", "copies"} {
			t.Run(fmt.Sprintf("classic %v, %s", classic, odd), func(t *testing.T) {
				w := world{mtu: map[int]int{3: 1400}, edit: func(c *pmtu.Config) { c.Size, c.Classic, c.Here = 1500, classic, 3 }}
				w.nodes = func(nodes []*simnet.Node) {
					for _, n := range nodes {
						n.Quote = 8
					}
					switch a := &nodes[1].Answer; odd {
					case "lost and late":
						a.Reorder, a.Hold = 0.5, 70*time.Millisecond
					case "copies":
						a.Dup, a.Jitter = 1, 10*time.Millisecond
					}
				}
				for seed := range uint64(50) {
					w.seed = seed
					w.caps = func(c *rawsock.Caps) { c.Header = false }
					s := w.run(t)
					s.want(t, "3:1400", probe.Reached, 4)
					if s.end.Vague {
						t.Error("vague")
					}
					for _, h := range s.hops {
						for _, o := range h.Outcomes {
							if want := netip.AddrFrom4([4]byte{10, 0, byte(h.TTL), 1}); o.Status == probe.Answered && o.From != want {
								t.Errorf("seed %d, TTL %d: %v, want %v", seed, h.TTL, o.From, want)
							}
						}
					}
				}
			})
		}
	}
}
