package pmtu_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gtrace/internal/simnet"
	"gtrace/probe"
	"gtrace/probe/pmtu"
	"gtrace/rawsock"
)

// A narrowing is how a link says that a packet is too big for it.
type narrowing int

const (
	hole     narrowing = iota // not at all
	sizeless                  // without a size, as before RFC 1191
	deaf                      // the same, and the node behind it answers nothing
)

// at makes w a path with a device of 1500 bytes and a link before that TTL that carries no more than mtu.
func (n narrowing) at(w world, ttl, mtu int) world {
	w.mtu = map[int]int{1: 1500, ttl: mtu}
	if n == hole {
		w.mtu, w.holes = map[int]int{1: 1500}, map[int]int{ttl: mtu}
	}
	if n == deaf {
		w.quiet = []int{ttl}
	}
	limits := w.nodes
	w.nodes = func(ns []*simnet.Node) {
		if limits != nil {
			limits(ns)
		}
		if n != hole {
			ns[ttl-1].Alter = lies(0)
		}
	}
	return w
}

// allLimited gives every node that limit.
func allLimited(l simnet.Limit) func([]*simnet.Node) {
	return func(ns []*simnet.Node) {
		for _, n := range ns {
			n.Limit = l
		}
	}
}

// Nodes answer as ordinary Linux does, 6 times at once and then once a second. Whatever the MTU is, it is found, the
// hops are heard, and without the limit none of it takes long.
func TestEverySizeBehindLimits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		limit   simnet.Limit
		how     narrowing
		edit    func(*pmtu.Config)
		probes  int           // at most
		seconds time.Duration // the same
	}{
		{"black hole", simnet.Limit{}, hole, nil, 45, 18},
		{"black hole, limits", simnet.Linux, hole, nil, 80, 37},
		{"black hole, limits, tracepath", simnet.Linux, hole, likeTracepath, 75, 23},
		{"no size", simnet.Limit{}, sizeless, nil, 40, 1},
		{"no size, limits", simnet.Linux, sizeless, nil, 60, 15},
		{"no size, limits, tracepath", simnet.Linux, sizeless, likeTracepath, 60, 12},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %v", tt.name, v6), func(t *testing.T) {
				mtu := 68
				if v6 {
					mtu = 1287
				}
				var runs, probes int
				var took time.Duration
				for ; mtu < 1500; mtu += 13 {
					for ttl := 2; ttl <= 4; ttl++ {
						s := tt.how.at(world{v6: v6, edit: tt.edit, nodes: allLimited(tt.limit)}, ttl, mtu).run(t)
						s.want(t, fmt.Sprintf("0:1500 %d:%d", ttl, mtu), probe.Reached, 4)
						for _, h := range s.hops {
							for _, o := range h.Outcomes {
								if o.Status != probe.Answered {
									t.Errorf("%d bytes before TTL %d: TTL %d has an outcome %v", mtu, ttl, h.TTL, o.Status)
								}
							}
						}
						switch fs := s.findings; {
						case tt.how != hole && len(fs) == 0:
						case tt.how == hole && len(fs) == 1 && fs[0].Code == "mtu-black-hole" && fs[0].Confidence == "high" && fs[0].Between == [2]uint8{uint8(ttl - 1), uint8(ttl)}:
						default:
							t.Errorf("%d bytes before TTL %d: findings %+v", mtu, ttl, fs)
						}
						d := s.end.At.Sub(s.at[0])
						if len(s.sent) > tt.probes || d > tt.seconds*time.Second {
							t.Errorf("%d bytes before TTL %d: %d probes in %v", mtu, ttl, len(s.sent), d)
						}
						runs, probes, took = runs+1, probes+len(s.sent), took+d
					}
				}
				t.Logf("%d paths, each %d probes in %v", runs, probes/runs, (took / time.Duration(runs)).Round(time.Millisecond))
			})
		}
	}
}

// likeTracepath asks as tracepath does.
func likeTracepath(c *pmtu.Config) { c.Once, c.Here, c.Wait = true, 0, time.Second }

// However often each node answers, a size that is said to be sure is right; and without loss each is found.
func TestOddLimits(t *testing.T) {
	for _, how := range []narrowing{hole, sizeless, deaf} {
		for _, loss := range []float64{0, 0.03} {
			t.Run(fmt.Sprintf("%d, loss %v", how, loss), func(t *testing.T) {
				uncertain := 0
				for seed := range uint64(150) {
					r := rand.New(rand.NewPCG(seed, uint64(how)))
					w := world{v6: r.IntN(2) == 0, seed: seed}
					mtu := 68 + r.IntN(1432)
					if w.v6 {
						mtu = 1281 + r.IntN(219)
					}
					w.links = func(ls []*simnet.Link) {
						ls[0].Out.Delay = time.Duration(r.IntN(100)) * time.Millisecond
						for _, l := range ls[1:] {
							l.Out.Loss, l.Back.Loss = loss, loss
						}
					}
					w.nodes = func(ns []*simnet.Node) {
						for _, n := range ns {
							if r.IntN(4) > 0 {
								n.Limit = simnet.Limit{Burst: 1 + r.IntN(8), Every: time.Duration(10+r.IntN(1500)) * time.Millisecond}
							}
						}
					}
					if r.IntN(2) == 0 {
						w.edit = likeTracepath
					}
					ttl := 2 + r.IntN(2)
					s := how.at(w, ttl, mtu).run(t)
					if len(s.sent) > 150 {
						t.Errorf("seed %d: %d probes", seed, len(s.sent))
					}
					sure := true
					for _, f := range s.findings {
						sure = sure && f.Code != "path-mtu-uncertain"
						if f.Between[0] >= uint8(ttl) || f.Between[1] < uint8(ttl) && f.TTL < uint8(ttl) {
							t.Errorf("seed %d: it is before TTL %d: %+v", seed, ttl, f)
						}
					}
					if !sure {
						uncertain++
					} else if got := s.mtus[len(s.mtus)-1]; !strings.HasSuffix(got, fmt.Sprintf(":%d", mtu)) {
						t.Errorf("seed %d: MTUs %v, want %d", seed, s.mtus, mtu)
					}
				}
				if loss == 0 && uncertain > 0 || uncertain > 3 {
					t.Errorf("%d are uncertain", uncertain)
				}
			})
		}
	}
}

// An answer that is lost has used up what a node's limit leaves it, so that more go missing. Whichever it is, the size is found.
func TestOneAnswerLost(t *testing.T) {
	for _, limit := range []simnet.Limit{{}, simnet.Linux, {Burst: 1, Every: time.Second}, {Burst: 1, Every: 1300 * time.Millisecond}, {Burst: 2, Every: 800 * time.Millisecond}} {
		for _, mtu := range []int{650, 1298, 1303, 1493, 1498} {
			for lost := range 40 {
				s := hole.at(world{v6: mtu > 1280 && lost%2 == 0, links: func(ls []*simnet.Link) {
					ls[0].Out.Delay = time.Duration(mtu%3) * 30 * time.Millisecond
				}, nodes: func(ns []*simnet.Node) {
					allLimited(limit)(ns)
					n := 0
					ns[3].Alter = func(*rawsock.Reply) {
						ns[3].Answer.Loss = 0
						if n++; n == lost {
							ns[3].Answer.Loss = 1
						}
					}
				}}, 3, mtu).run(t)
				got, want := s.mtus[len(s.mtus)-1], fmt.Sprintf("3:%d", mtu)
				if lost == 1 { // the first small packet, so that it seems to be silent
					want = fmt.Sprintf("4:%d", mtu)
				}
				if got != want || len(s.findings) != 1 || s.findings[0].Confidence != "high" || s.end.Verdict != probe.Reached {
					t.Errorf("limit %+v, answer %d lost: MTUs %v, want %s; %s; findings %+v", limit, lost, s.mtus, want, s.end.Verdict, s.findings)
				}
			}
		}
	}
}

// A node that stops to answer leaves the search without a proof, and that is said.
func TestTooFewAnswers(t *testing.T) {
	for _, tt := range []struct {
		name           string
		how            narrowing
		before, behind int // answers of the nodes at either end of the link
		mtus           string
		text           string
	}{
		{"black hole", hole, 10, 5, "0:1500 3:1142", "packets of 1142 bytes get to TTL 3, those of 1500 bytes do not seem to"},
		{"no size", sizeless, 10, 3, "0:1500 3:1399", "packets of 1399 bytes get to TTL 3, those of 1402 bytes do not seem to"},
		{"no size and no answer", deaf, 4, 1, "0:1500 3:68", "packets of 1500 bytes are too big on the way to TTL 3; what fits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.how.at(world{nodes: func(ns []*simnet.Node) {
				ns[2].Limit = simnet.Limit{Burst: tt.before, Every: time.Hour}
				ns[3].Limit = simnet.Limit{Burst: tt.behind, Every: time.Hour}
			}}, 3, 1400).run(t)
			s.want(t, tt.mtus, probe.Reached, 4)
			if f := s.findings; len(f) != 1 || f[0].Code != "path-mtu-uncertain" || f[0].Confidence != "low" || f[0].Between != [2]uint8{2, 3} || !strings.Contains(f[0].Text, tt.text) {
				t.Errorf("findings %+v", f)
			}
			if d := s.end.At.Sub(s.at[0]); len(s.sent) > 140 || d > 62*time.Second {
				t.Errorf("%d probes in %v", len(s.sent), d)
			}
		})
	}
}

// A destination that answers a small packet once is reached, but not with a large one.
func TestReachedWithLess(t *testing.T) {
	s := world{mtu: map[int]int{1: 1500}, holes: map[int]int{4: 1400}, nodes: func(ns []*simnet.Node) {
		ns[4].Limit = simnet.Limit{Burst: 1, Every: time.Hour}
	}}.run(t)
	s.want(t, "0:1500 4:68", probe.Reached, 4)
	if f := s.findings; len(f) != 1 || f[0].Code != "path-mtu-uncertain" || f[0].Confidence != "low" || f[0].Between != [2]uint8{3, 4} ||
		!strings.Contains(f[0].Text, "packets of 68 bytes get to TTL 4, those of 1500 bytes do not seem to") {
		t.Errorf("findings %+v", f)
	}
}
