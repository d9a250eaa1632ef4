package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"gtrace/probe"
)

// A says is what a hop answers: routers answer with 65 less their TTL left, and quote 1.
type says struct {
	from   int // router, or 0: the destination
	reply  uint8
	quoted int // -1: none
	answer probe.Answer
	typ    uint8
	code   uint8
	label  bool
	left   uint8 // of the label's TTL; 0: 1
}

// hop is a router's plain answer.
func hopSays(n int) says {
	return says{from: n, reply: uint8(65 - n), quoted: 1, answer: probe.TimeExceeded, typ: 11}
}

// there is the destination's plain answer at the end of n hops.
func there(n int) says {
	return says{reply: uint8(65 - n), quoted: 1, answer: probe.PortUnreachable, typ: 3, code: 3}
}

func (w says) but(change func(*says)) says {
	change(&w)
	return w
}

// saying has each attempt at a TTL answered by what f says; nil is silence.
func (r *run) saying(f func(ttl, attempt int) *says) net {
	return func(s probe.Sent) []answer {
		w := f(int(s.Spec.TTL), int(s.Spec.Attempt))
		if w == nil {
			return silence
		}
		o := r.to(s.Serial, dst, w.answer)
		if w.from != 0 {
			o.From = router(w.from)
		}
		o.TTL, o.Type, o.Code = w.reply, w.typ, w.code
		if w.quoted >= 0 {
			o.Quoted = probe.Quoted{Known: true, TTL: uint8(w.quoted)}
		}
		if w.label {
			o.Labels = []probe.Label{{Value: 16001, Bottom: true, TTL: max(1, w.left)}}
		}
		return []answer{{ms, o}}
	}
}

// path is the plain answers of n hops, with others where given.
func plainly(n int, other map[int]says) func(ttl, attempt int) *says {
	return func(ttl, _ int) *says {
		w := hopSays(ttl)
		if ttl >= n {
			w = there(n)
			w.quoted = ttl - n + 1
		}
		if o, ok := other[ttl]; ok {
			w = o
		}
		return &w
	}
}

// further is a path of nine hops whose answers come so many routers further from a TTL on.
func further(from, by int) func(ttl, attempt int) *says {
	return func(ttl, attempt int) *says {
		w := plainly(9, nil)(ttl, attempt)
		if ttl >= from {
			w.reply -= uint8(by)
		}
		return w
	}
}

// turns are routers a, b, … from a TTL on, again and again, behind a plain path; 0 is silence.
func turns(first int, routers ...int) func(ttl, attempt int) *says {
	return func(ttl, _ int) *says {
		n := ttl
		if ttl >= first {
			if n = routers[(ttl-first)%len(routers)]; n == 0 {
				return nil
			}
		}
		w := hopSays(n)
		return &w
	}
}

func TestFindings(t *testing.T) {
	type want struct {
		code       string
		ttl        uint8
		between    [2]uint8
		confidence string
		evidence   []uint8 // TTLs
	}
	exceeded := func(n int, change func(*says)) says { return hopSays(n).but(change) }
	quoted := func(n, q int) says { return exceeded(n, func(w *says) { w.quoted = q }) }
	refuses := func(n int, code uint8) says {
		return exceeded(n, func(w *says) { w.answer, w.typ, w.code = probe.Unreachable, 3, code })
	}
	classic := func(c *Config) { c.Classic = true }
	once := func(c *Config) { c.Attempts = 1 }
	through := func(c *Config) { c.Through = true }
	tests := []struct {
		name    string
		edit    func(*Config)
		net     func(ttl, attempt int) *says
		verdict probe.Verdict
		last    int
		want    []want
	}{
		{name: "a plain path", net: plainly(9, nil), verdict: probe.Reached, last: 9},

		// forwarding-loop
		{name: "loop of two", net: turns(3, 3, 4), verdict: probe.Loop, last: 8,
			want: []want{{"forwarding-loop", 3, [2]uint8{}, "high", []uint8{3, 4, 5, 6, 7, 8}}}},
		{name: "loop of two from the start", net: turns(1, 1, 2), verdict: probe.Loop, last: 6,
			want: []want{{"forwarding-loop", 1, [2]uint8{}, "high", []uint8{1, 2, 3, 4, 5, 6}}}},
		{name: "loop of three", net: turns(2, 2, 3, 4), verdict: probe.Loop, last: 10,
			want: []want{{"forwarding-loop", 2, [2]uint8{}, "high", []uint8{2, 3, 4, 5, 6, 7, 8, 9, 10}}}},
		{name: "loop of which one is silent", net: turns(2, 2, 0), verdict: probe.Loop, last: 10,
			want: []want{{"forwarding-loop", 2, [2]uint8{}, "high", []uint8{2, 4, 6, 8, 10}}}},
		{name: "loop, one attempt each", edit: once, net: turns(3, 3, 4), verdict: probe.Loop, last: 8,
			want: []want{{"forwarding-loop", 3, [2]uint8{}, "high", []uint8{3, 4, 5, 6, 7, 8}}}},
		{name: "loop, with a gap in it", net: func(ttl, n int) *says {
			if ttl == 6 {
				return nil
			}
			return turns(3, 3, 4)(ttl, n)
		}, verdict: probe.Loop, last: 9, want: []want{{"forwarding-loop", 3, [2]uint8{}, "high", []uint8{3, 4, 5, 7, 8, 9}}}},
		{name: "loop of which no reply TTL is known", net: func(ttl, n int) *says {
			w := turns(3, 3, 4)(ttl, n)
			w.reply = 0
			return w
		}, verdict: probe.Loop, last: 8, want: []want{{"forwarding-loop", 3, [2]uint8{}, "medium", []uint8{3, 4, 5, 6, 7, 8}}}},
		{name: "loop of a classic trace", edit: classic, net: turns(3, 3, 4), verdict: probe.Loop, last: 8,
			want: []want{{"forwarding-loop", 3, [2]uint8{}, "medium", []uint8{3, 4, 5, 6, 7, 8}}}},
		{name: "loop, to go through as traceroute does", edit: func(c *Config) { through(c); c.Max = 9 }, net: turns(3, 3, 4), verdict: probe.MaxHops, last: 9,
			want: []want{{"forwarding-loop", 3, [2]uint8{}, "high", []uint8{3, 4, 5, 6, 7, 8, 9}}}},
		{name: "loop that the last TTL cuts short", edit: func(c *Config) { c.Max = 7 }, net: turns(3, 3, 4), verdict: probe.MaxHops, last: 7},
		{name: "one router twice, not in a row", net: plainly(9, map[int]says{6: hopSays(3)}), verdict: probe.Reached, last: 9},
		{name: "two routers twice", net: plainly(9, map[int]says{5: hopSays(3), 6: hopSays(4)}), verdict: probe.Reached, last: 9},
		{name: "through one firewall three times", net: plainly(12, map[int]says{5: hopSays(3), 7: hopSays(3)}), verdict: probe.Reached, last: 12},
		{name: "twice round, and on", net: plainly(12, map[int]says{5: hopSays(3), 6: hopSays(4), 7: hopSays(3)}), verdict: probe.Reached, last: 12},
		{name: "one address at two TTLs", net: plainly(9, map[int]says{5: hopSays(4)}), verdict: probe.Reached, last: 9},
		{name: "two addresses in turns, each further away: translators", edit: func(c *Config) { c.Max = 12 }, net: func(ttl, n int) *says {
			w := turns(3, 3, 4)(ttl, n)
			w.reply = uint8(65 - ttl)
			return w
		}, verdict: probe.MaxHops, last: 12},
		{name: "balanced packet by packet", edit: func(c *Config) { c.Max = 12 }, net: func(ttl, n int) *says {
			w := hopSays(3 + (ttl+n)%2)
			return &w
		}, verdict: probe.MaxHops, last: 12},
		{name: "one address all along, as far away", edit: func(c *Config) { c.Max = 12 }, net: turns(3, 3), verdict: probe.MaxHops, last: 12},
		{name: "silence behind what looked like a loop", edit: func(c *Config) { c.Max = 14 }, net: func(ttl, n int) *says {
			if ttl > 6 {
				return nil
			}
			return turns(3, 3, 4)(ttl, n)
		}, verdict: probe.MaxHops, last: 14},

		// zero-ttl-forwarding
		{name: "zero-TTL forwarding", net: plainly(9, map[int]says{4: quoted(5, 0)}), verdict: probe.Reached, last: 9,
			want: []want{{"zero-ttl-forwarding", 4, [2]uint8{}, "high", []uint8{4, 5}}}},
		{name: "the same where no reply TTL is known", net: plainly(9, map[int]says{4: exceeded(5, func(w *says) { w.quoted, w.reply = 0, 0 }),
			5: exceeded(5, func(w *says) { w.reply = 0 })}), verdict: probe.Reached, last: 9,
			want: []want{{"zero-ttl-forwarding", 4, [2]uint8{}, "medium", []uint8{4, 5}}}},
		{name: "a router that quotes 0", net: plainly(9, map[int]says{4: quoted(4, 0)}), verdict: probe.Reached, last: 9},
		{name: "a router that quotes 0, at two TTLs", net: plainly(9, map[int]says{4: quoted(5, 0), 5: quoted(5, 0)}), verdict: probe.Reached, last: 9},
		{name: "0 and 1 from one address, from further away", net: plainly(9, map[int]says{4: exceeded(5, func(w *says) { w.quoted, w.reply = 0, 61 })}),
			verdict: probe.Reached, last: 9},

		// ttl-reset, ttl-not-decremented
		{name: "TTL set anew", net: func(ttl, n int) *says {
			w := plainly(4, nil)(ttl, n)
			if ttl >= 4 {
				w.quoted = 61
			}
			return w
		}, verdict: probe.Reached, last: 4, want: []want{{"ttl-reset", 0, [2]uint8{3, 4}, "high", []uint8{4}}}},
		{name: "TTL set anew before all that answers", net: func(ttl, n int) *says {
			w := there(1)
			w.quoted = 61
			return &w
		}, verdict: probe.Reached, last: 1, want: []want{{"ttl-reset", 1, [2]uint8{}, "high", []uint8{1}}}},
		{name: "a router that quotes more than was sent", net: plainly(9, map[int]says{4: quoted(4, 255), 5: quoted(5, 254)}), verdict: probe.Reached, last: 9,
			want: []want{{"ttl-reset", 0, [2]uint8{3, 4}, "low", []uint8{4}}}},
		{name: "arrived with TTL left, out of a tunnel", net: func(ttl, n int) *says {
			w := plainly(6, map[int]says{4: quoted(4, 2), 5: quoted(5, 3)})(ttl, n)
			if ttl >= 6 {
				w.quoted = ttl - 2
			}
			return w
		}, verdict: probe.Reached, last: 6, want: []want{{"ttl-not-decremented", 0, [2]uint8{3, 6}, "low", []uint8{4, 5, 6}}}},
		{name: "arrived with TTL left, out of a tunnel that shows its labels", net: func(ttl, n int) *says {
			w := plainly(6, map[int]says{5: exceeded(5, func(w *says) { w.quoted, w.label = 2, true })})(ttl, n)
			if ttl >= 6 {
				w.quoted = ttl - 2
			}
			return w
		}, verdict: probe.Reached, last: 6, want: []want{{"ttl-not-decremented", 0, [2]uint8{5, 6}, "low", []uint8{6}}}},
		{name: "arrived with TTL left, by a shorter way perhaps", net: func(ttl, n int) *says {
			w := plainly(6, nil)(ttl, n)
			if ttl >= 6 {
				w.quoted = ttl - 2
			}
			return w
		}, verdict: probe.Reached, last: 6},
		{name: "the end was not heard at its own TTL", net: func(ttl, n int) *says {
			if ttl == 6 {
				return nil
			}
			return plainly(6, nil)(ttl, n)
		}, verdict: probe.Reached, last: 7},
		{name: "begun behind the destination", edit: func(c *Config) { c.First = 9 }, net: plainly(6, nil), verdict: probe.Reached, last: 9},
		{name: "a classic trace over ways of two lengths", edit: classic, net: func(ttl, n int) *says {
			if ttl == 6 {
				w := there(5)
				w.quoted = 2
				return &w
			}
			return plainly(6, nil)(ttl, n)
		}, verdict: probe.Reached, last: 6},
		{name: "ways of two lengths, packet by packet", net: func(ttl, n int) *says {
			switch {
			case ttl == 3 && n == 2:
				w := hopSays(30)
				return &w
			case ttl == 6:
				w := there(5)
				w.quoted = 2
				return &w
			}
			return plainly(6, nil)(ttl, n)
		}, verdict: probe.Reached, last: 6},
		{name: "a tunnel that shows no labels", net: plainly(9, map[int]says{4: quoted(4, 2), 5: quoted(5, 3), 6: quoted(6, 4)}), verdict: probe.Reached, last: 9,
			want: []want{{"ttl-not-decremented", 0, [2]uint8{3, 6}, "low", []uint8{4, 5, 6}}}},
		{name: "a tunnel that shows its labels", net: plainly(9, map[int]says{
			4: exceeded(4, func(w *says) { w.quoted, w.label = 2, true }), 5: exceeded(5, func(w *says) { w.quoted, w.label = 3, true })}),
			verdict: probe.Reached, last: 9},
		{name: "exceeded with TTL left", net: plainly(9, map[int]says{4: quoted(4, 3), 5: quoted(5, 3)}), verdict: probe.Reached, last: 9,
			want: []want{{"ttl-not-decremented", 0, [2]uint8{3, 5}, "medium", []uint8{4, 5}}}},
		{name: "no quotes", net: plainly(9, map[int]says{4: quoted(4, -1), 9: there(9).but(func(w *says) { w.quoted = -1 })}), verdict: probe.Reached, last: 9},

		// address-rewritten
		{name: "three under one address", net: plainly(9, map[int]says{
			5: exceeded(4, func(w *says) { w.reply = 60 }), 6: exceeded(4, func(w *says) { w.reply = 59 })}), verdict: probe.Reached, last: 9,
			want: []want{{"address-rewritten", 0, [2]uint8{4, 6}, "high", []uint8{4, 5, 6}}}},
		{name: "with a silent one among them", net: func(ttl, n int) *says {
			if ttl == 5 {
				return nil
			}
			return plainly(9, map[int]says{6: exceeded(4, func(w *says) { w.reply = 59 }), 7: exceeded(4, func(w *says) { w.reply = 58 })})(ttl, n)
		}, verdict: probe.Reached, last: 9, want: []want{{"address-rewritten", 0, [2]uint8{4, 7}, "high", []uint8{4, 6, 7}}}},
		{name: "two under one address: a way that became longer", net: plainly(9, map[int]says{5: exceeded(4, func(w *says) { w.reply = 60 })}), verdict: probe.Reached, last: 9},
		{name: "three times one router", net: plainly(9, map[int]says{5: hopSays(4), 6: hopSays(4)}), verdict: probe.Reached, last: 9},
		{name: "nearer and nearer", net: plainly(9, map[int]says{5: exceeded(4, func(w *says) { w.reply = 62 }), 6: exceeded(4, func(w *says) { w.reply = 63 })}),
			verdict: probe.Reached, last: 9},

		// reply-from-unexpected-source
		{name: "another address says that it was reached", net: plainly(9, map[int]says{9: there(9).but(func(w *says) { w.from = 99 })}), verdict: probe.Reached, last: 9,
			want: []want{{"reply-from-unexpected-source", 9, [2]uint8{}, "medium", []uint8{9}}}},
		{name: "a router says so", net: plainly(9, map[int]says{5: there(5).but(func(w *says) { w.from, w.reply = 4, 61 })}), verdict: probe.Reached, last: 5,
			want: []want{{"reply-from-unexpected-source", 5, [2]uint8{}, "high", []uint8{4, 5}}}},
		{name: "once another address, twice the destination", net: func(ttl, n int) *says {
			if ttl == 9 && n == 2 {
				w := there(9).but(func(w *says) { w.from = 99 })
				return &w
			}
			return plainly(9, nil)(ttl, n)
		}, verdict: probe.Reached, last: 9, want: []want{{"reply-from-unexpected-source", 9, [2]uint8{}, "low", []uint8{9}}}},

		// administratively-prohibited
		{name: "prohibited", net: plainly(9, map[int]says{4: refuses(4, 13)}), verdict: probe.Blocked, last: 4,
			want: []want{{"administratively-prohibited", 4, [2]uint8{}, "high", []uint8{4}}}},
		{name: "network prohibited", net: plainly(9, map[int]says{4: refuses(4, 9)}), verdict: probe.Blocked, last: 4,
			want: []want{{"administratively-prohibited", 4, [2]uint8{}, "high", []uint8{4}}}},
		{name: "host prohibited", net: plainly(9, map[int]says{4: refuses(4, 10)}), verdict: probe.Blocked, last: 4,
			want: []want{{"administratively-prohibited", 4, [2]uint8{}, "high", []uint8{4}}}},
		{name: "some are prohibited", net: func(ttl, n int) *says {
			if ttl == 4 && n == 2 {
				w := refuses(4, 13)
				return &w
			}
			return plainly(9, nil)(ttl, n)
		}, verdict: probe.Reached, last: 9, want: []want{{"administratively-prohibited", 4, [2]uint8{}, "medium", []uint8{4}}}},
		// return-path-longer, hidden-hops
		{name: "answers that come further from some TTL on", net: further(5, 4), verdict: probe.Reached, last: 9,
			want: []want{{"return-path-longer", 0, [2]uint8{4, 5}, "low", []uint8{4, 5}}}},
		{name: "further from the last two routers on", net: further(7, 3), verdict: probe.Reached, last: 9,
			want: []want{{"return-path-longer", 0, [2]uint8{6, 7}, "low", []uint8{6, 7}}}},
		{name: "from the last router alone", net: further(8, 4), verdict: probe.Reached, last: 9},
		{name: "from the first on", net: further(1, 4), verdict: probe.Reached, last: 9},
		{name: "further by two", net: further(5, 2), verdict: probe.Reached, last: 9},
		{name: "further at one TTL", net: plainly(9, map[int]says{5: exceeded(5, func(w *says) { w.reply -= 6 })}), verdict: probe.Reached, last: 9},
		{name: "further, and back again", net: plainly(9, map[int]says{5: exceeded(5, func(w *says) { w.reply -= 6 }), 6: exceeded(6, func(w *says) { w.reply -= 6 })}),
			verdict: probe.Reached, last: 9},
		{name: "nearer from some TTL on", net: func(ttl, n int) *says {
			w := plainly(9, nil)(ttl, n)
			if ttl > 4 {
				w.reply += 3
			}
			return w
		}, verdict: probe.Reached, last: 9},
		{name: "routers that send with other TTLs", net: func(ttl, n int) *says {
			w := plainly(9, nil)(ttl, n)
			if ttl%2 == 0 {
				w.reply = uint8(256 - ttl)
			}
			return w
		}, verdict: probe.Reached, last: 9},
		{name: "some reply TTLs are not known", net: func(ttl, n int) *says {
			w := further(5, 4)(ttl, n)
			if ttl == 4 || ttl == 5 {
				w.reply = 0
			}
			return w
		}, verdict: probe.Reached, last: 9, want: []want{{"return-path-longer", 0, [2]uint8{3, 6}, "low", []uint8{3, 6}}}},
		{name: "balanced, over ways back of other lengths", net: func(ttl, n int) *says {
			w := further(5, 4)(ttl, n)
			if ttl == 3 && n == 2 {
				w.from = 30
			}
			return w
		}, verdict: probe.Reached, last: 9},
		{name: "the one answer of a tunnel", net: plainly(9, map[int]says{5: exceeded(5, func(w *says) { w.label, w.left = true, 251 })}), verdict: probe.Reached, last: 9,
			want: []want{{"hidden-hops", 0, [2]uint8{4, 5}, "medium", []uint8{5}}}},
		{name: "labels in a row", net: plainly(9, map[int]says{5: exceeded(5, func(w *says) { w.label, w.left = true, 251 }),
			6: exceeded(6, func(w *says) { w.label, w.left = true, 250 })}), verdict: probe.Reached, last: 9},
		{name: "a label that was never counted down", net: plainly(9, map[int]says{5: exceeded(5, func(w *says) { w.label, w.left = true, 255 })}), verdict: probe.Reached, last: 9},
		{name: "a label of which time is exceeded", net: plainly(9, map[int]says{5: exceeded(5, func(w *says) { w.label = true })}), verdict: probe.Reached, last: 9},

		{name: "network unreachable", net: plainly(9, map[int]says{4: refuses(4, 0)}), verdict: probe.Blocked, last: 4},
		{name: "host unreachable", net: plainly(9, map[int]says{4: refuses(4, 1)}), verdict: probe.Blocked, last: 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			if tt.edit != nil {
				tt.edit(&c)
			}
			r := start(t, c)
			r.drive(r.saying(tt.net))
			r.wantFinished(tt.verdict, tt.last)
			var got []want
			for _, e := range r.events {
				if f, ok := e.(probe.Finding); ok {
					w := want{code: f.Code, ttl: f.TTL, between: f.Between, confidence: f.Confidence}
					for _, e := range f.Evidence {
						w.evidence = append(w.evidence, e.TTL)
						if e.Answers < 1 || !e.From.IsValid() {
							t.Errorf("evidence %+v", e)
						}
					}
					got = append(got, w)
					t.Log(f.Text)
				}
			}
			if !slices.EqualFunc(got, tt.want, func(a, b want) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
				t.Errorf("findings %v, want %v", got, tt.want)
			}
		})
	}
}

// A loop is followed no further than it takes to be certain of it, though the routers in it answer at every TTL.
func TestLoopWastesNoProbe(t *testing.T) {
	c := good()
	c.Attempts = 1
	asked := func(through bool) int {
		c.Through = through
		r := start(t, c)
		r.drive(r.saying(turns(3, 3, 4)))
		return len(r.sent)
	}
	// Those at TTL 9 to 12 were on their way when two rounds were not seen yet.
	if n := asked(false); n < 8 || n > 12 || asked(true) != 30 {
		t.Errorf("%d probes, and %d through it: want 8 to 12, and 30", n, asked(true))
	}
}

// A late answer counts: with it, what was silence is a loop's.
func TestFindingsCountLateAnswers(t *testing.T) {
	c := good()
	c.Attempts, c.Wait, c.Gap = 1, Wait{Max: 100 * ms}, 20*ms
	r := start(t, c)
	plain := r.saying(plainly(9, map[int]says{4: hopSays(5).but(func(w *says) { w.quoted = 0 })}))
	r.drive(func(s probe.Sent) []answer {
		as := plain(s)
		if s.Spec.TTL == 4 { // late, and the end is later still
			as[0].after = 150 * ms
		}
		if s.Spec.TTL == 9 {
			as[0].after = 90 * ms
		}
		return as
	})
	if h := r.hopAt(4); h.Outcomes[0].Status != probe.Lost {
		t.Fatalf("%+v, want it told as lost", h)
	}
	r.wantFindings("zero-ttl-forwarding")
}

// Who answers for a group, and this host itself, are no unexpected source.
func TestExpectedSources(t *testing.T) {
	own := func(o *probe.Outcome) { o.From = src }
	anybody := func(o *probe.Outcome) { o.Spec.Any = true }
	for _, tt := range []struct {
		name   string
		dst    netip.Addr
		change func(*probe.Outcome)
		want   []string
	}{
		{"another address", dst, func(*probe.Outcome) {}, []string{"reply-from-unexpected-source"}},
		{"this host", dst, own, nil},
		{"whoever is asked", dst, anybody, nil},
		{"a group", netip.MustParseAddr("239.1.2.3"), func(*probe.Outcome) {}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			c.Dst = netip.AddrPortFrom(tt.dst, 33434)
			r := start(t, c)
			r.drive(r.path(4).but(func(s probe.Sent) []answer {
				if s.Spec.TTL < 4 {
					return nil
				}
				o := r.to(s.Serial, router(99), probe.PortUnreachable)
				tt.change(&o)
				return []answer{{ms, o}}
			}))
			r.wantFinished(probe.Reached, 4)
			r.wantFindings(tt.want...)
		})
	}
}
