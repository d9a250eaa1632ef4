package probe

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// contents are the kinds that ask a service something.
func contents() (all []Spec) {
	for _, s := range kinds {
		if s.Content != OwnContent {
			all = append(all, s)
		}
	}
	return all
}

// datagram is one from where s's probes go to where they come from.
func datagram(s Spec, payload []byte) *rawsock.Reply {
	return reply(s, s.Dst.Addr(), wire.AppendUDP(nil, s.Dst, s.Src, payload, 0))
}

// serviceAnswer is what the service that s asks answers p with; nil where it asks none.
func serviceAnswer(s Spec, p wire.IP) *rawsock.Reply {
	asked := p.Transport()[8:]
	switch s.Content {
	case DNSQuery:
		return datagram(s, wire.AppendDNSRefusal(nil, asked))
	case QUICInitial:
		return datagram(s, wire.AppendQUICVersions(nil, asked, 1, 0x6b3343cf))
	}
	return nil
}

// flying is an engine that waits for so many probes of s.
func flying(t testing.TB, s Spec, n int, header bool) *engine {
	t.Helper()
	e := &engine{caps: rawsock.Caps{Header: header, Token: testToken}, table: newTable()}
	e.codec.token = testToken
	for range n {
		register(t, e.table, s, e.codec.firstID(&s), epoch)
	}
	return e
}

// T23: where a service answers as its protocol has it, each answer is one probe's, however many are waited for.
func TestServicesAnswerOneProbe(t *testing.T) {
	const many = mostCompared + 100
	for _, s := range contents() {
		t.Run(s.name(), func(t *testing.T) {
			e := flying(t, s, many, true)
			for n := uint32(1); n <= many; n++ {
				r := serviceAnswer(s, encode(t, s, n))
				e.matched(t, r, ours, uint64(n), Strict)
				_, f := e.fateOf(r)
				if f.proves != numbers(&s) || f.o.Answer != Datagram {
					t.Fatalf("answer %d, shows the number: %v", f.o.Answer, f.proves)
				}
				e.matched(t, datagram(s, encode(t, s, n).Transport()[8:]), ours, uint64(n), Strict) // all of it sent back
			}
			e.table.close(e.table.get(7), answered)
			e.matched(t, serviceAnswer(s, encode(t, s, 7)), ours, 7, Strict) // a copy

			// What is no answer of such a service is one of any.
			e.matched(t, datagram(s, []byte("hello")), ambiguous, 0, FlowOnly)
			for serial := uint64(1); serial <= many; serial++ {
				if r := e.table.get(serial); r.state == pending && serial != 9 {
					e.table.close(r, lost)
				}
			}
			e.matched(t, datagram(s, []byte("hello")), ours, 9, Alone)
			e.matched(t, serviceAnswer(s, encode(t, s, 8)), ours, 8, Strict)
			e.table.close(e.table.get(9), lost)
			if fate, f := e.fateOf(datagram(s, []byte("hello"))); fate != unmatched || f.why != NothingWaits {
				t.Errorf("fate %d, rejected for %v", fate, f.why)
			}
		})
	}
}

// T01: one wrong field is enough, even where a single probe is waited for, and is what it is counted as.
func TestServiceAnswersWithOneWrongField(t *testing.T) {
	for _, s := range contents() {
		asked := encode(t, s, 2).Transport()[8:]
		right := serviceAnswer(s, encode(t, s, 2)).Data[8:]
		with := func(at int, v byte) []byte {
			b := slices.Clone(right)
			b[at] ^= v
			return b
		}
		never := encode(t, s, 4)
		from := func(a netip.AddrPort, to uint16) *rawsock.Reply {
			return reply(s, a.Addr(), wire.AppendUDP(nil, a, netip.AddrPortFrom(s.Src.Addr(), to), right, 0))
		}
		type row struct {
			name string
			r    *rawsock.Reply
			why  Reason
		}
		tests := []row{
			{"to a probe never sent", serviceAnswer(s, never), IDNotInUse},
			{"a probe never sent, sent back", datagram(s, never.Transport()[8:]), IDNotInUse},
			{"from another address", from(netip.AddrPortFrom(router[s.Dst.Addr().Is6()], s.Dst.Port()), s.Src.Port()), PeerNotAsked},
			{"from another port", from(netip.AddrPortFrom(s.Dst.Addr(), s.Dst.Port()+1), s.Src.Port()), PeerNotAsked},
			{"to another port", from(s.Dst, s.Src.Port()+1), PortNotOurs},
		}
		switch s.Content {
		case DNSQuery:
			word := binary.BigEndian.Uint16(asked)
			unused := slices.Clone(right)
			binary.BigEndian.PutUint16(unused, word^0x4000)
			tests = append(tests,
				row{"another id", datagram(s, unused), IDNotInUse},
				row{"an id of 0", datagram(s, append([]byte{0, 0}, right[2:]...)), IDNotInUse},
				row{"an id of all ones", datagram(s, append([]byte{0xff, 0xff}, right[2:]...)), IDNotInUse},
				row{"another name", datagram(s, with(12, 1)), FieldWrong},
				row{"another type", datagram(s, with(14, 3)), FieldWrong},
				row{"another class", datagram(s, with(16, 2)), FieldWrong},
				row{"two questions", datagram(s, with(5, 3)), FieldWrong},
				row{"the question cut off", datagram(s, right[:16]), FieldWrong},
			)
		case QUICInitial:
			// The server's source is the probe's destination.
			const src, dst = 6, 15
			long := append(slices.Clone(right[:5]), 0)
			tests = append(tests,
				row{"another chosen word", datagram(s, with(dst, 0x40)), TokenWrong},
				row{"another id", datagram(s, with(dst+2, 0x40)), IDNotInUse},
				row{"the id of another probe in flight", datagram(s, with(dst+3, byte(idOf(2, (&codec{token: testToken}).firstID(&s), ids)^idOf(3, (&codec{token: testToken}).firstID(&s), ids)))), TokenWrong},
				row{"another token", datagram(s, with(dst+4, 1)), TokenWrong},
				row{"another number", datagram(s, with(src+3, 1)), TokenWrong},
				row{"another round of ids", datagram(s, with(src, 1)), TokenWrong},
				row{"another token in the other id", datagram(s, with(src+7, 1)), TokenWrong},
				row{"an id of 7 bytes", datagram(s, with(5, 15)), TokenWrong},
				row{"an id of 9 bytes", datagram(s, with(14, 1)), TokenWrong},
				row{"no ids", datagram(s, append(long, 0, 0, 0, 0, 1)), TokenWrong},
				row{"cut off", datagram(s, right[:22]), TokenWrong},
				row{"sent back with a change", datagram(s, append(slices.Clone(asked[:30]), append([]byte{1}, asked[31:]...)...)), TokenWrong},
				row{"sent back with more", datagram(s, append(slices.Clone(asked), 0)), TokenWrong},
			)
		}
		for _, tt := range tests {
			t.Run(s.name()+" "+tt.name, func(t *testing.T) {
				e := flying(t, s, 3, true)
				for _, alone := range []bool{false, true} {
					if alone {
						e.table.close(e.table.get(1), lost)
						e.table.close(e.table.get(3), answered)
					}
					if fate, f := e.fateOf(tt.r); fate != unmatched || f.why != tt.why {
						t.Errorf("fate %d, probe %d, rejected for %v, want %v", fate, f.serial, f.why, tt.why)
					}
				}
			})
		}
	}
}

// An id of a DNS query is one probe's alone, out of all of a flow, and says which.
func TestDNSIDsTellProbesApart(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, s := range contents() {
		if s.Content != DNSQuery {
			continue
		}
		for range 3 {
			s.Src = netip.AddrPortFrom(s.Src.Addr(), uint16(1+rnd.IntN(65535)))
			t.Run(fmt.Sprint(s.name(), " from ", s.Src.Port()), func(t *testing.T) {
				e := flying(t, s, 1, true)
				g := e.table.get(1).flow
				had := make(map[uint16]bool)
				for id := uint16(1); id <= ids; id++ {
					word := binary.BigEndian.Uint16(e.made(&s, 1, id, 0)[8:])
					if had[word] || word == 0 {
						t.Fatalf("id %#x has the word %#x", id, word)
					}
					had[word] = true
					if got := e.idBy(g, word); got != id {
						t.Fatalf("word %#x is of id %#x, want %#x", word, got, id)
					}
				}
				for word := range uint16(0xffff) {
					if got := e.idBy(g, word); !had[word] && word != 0 && got != 0 {
						t.Fatalf("word %#x, which no probe has, is of id %#x", word, got)
					}
				}
			})
		}
	}
}

// T06, T08: where the checksum in a quote of a DNS query does not say which it was, its own id must, or the IP ID.
func TestQuotedQueryWithoutItsChecksum(t *testing.T) {
	for _, s := range contents() {
		if s.Content != DNSQuery {
			continue
		}
		v6 := s.Dst.Addr().Is6()
		l4 := ipHeader(v6)
		e := flying(t, s, 3, true)
		p, third := encode(t, s, 2), encode(t, s, 3)
		sum := func(v uint16) func([]byte) {
			return func(b []byte) { binary.BigEndian.PutUint16(b[l4+6:], v) }
		}
		ipID := func(v uint16) func([]byte) {
			return func(b []byte) {
				if !v6 {
					binary.BigEndian.PutUint16(b[4:], v)
				}
			}
		}
		asThird := func(b []byte) { copy(b[l4+8:], third.Transport()[8:10]) }
		id3 := binary.BigEndian.Uint16(third.Transport()[6:])
		short := map[bool]fate{false: ours, true: unmatched}[v6]
		tests := []struct {
			name   string
			keep   int
			edits  []func([]byte)
			want   fate
			serial uint64
		}{
			{"none", 1500, []func([]byte){sum(0)}, ours, 2},
			{"none, 8 bytes quoted", l4 + 8, []func([]byte){sum(0)}, short, 2},
			{"another", 1500, []func([]byte){sum(0x5555)}, ours, 2},
			{"none, nor the IP ID", 1500, []func([]byte){sum(0), ipID(0x5555)}, ours, 2},
			{"none, nor the IP ID, the id quoted", l4 + 8 + 3, []func([]byte){sum(0), ipID(0x5555)}, ours, 2},
			{"none, nor the IP ID, half the id quoted", l4 + 8 + 1, []func([]byte){sum(0), ipID(0x5555)}, unmatched, 0},
			{"none, nor the IP ID, 8 bytes quoted", l4 + 8, []func([]byte){sum(0), ipID(0x5555)}, unmatched, 0},
			{"another probe's", 1500, []func([]byte){sum(id3)}, map[bool]fate{false: ours, true: unmatched}[v6], 2},
			{"its own, the DNS id another probe's", 1500, []func([]byte){asThird}, unmatched, 0},
			{"none, and another probe's DNS id", 1500, []func([]byte){sum(0), ipID(0), asThird}, ours, 3},
		}
		for _, tt := range tests {
			t.Run(s.name()+", "+tt.name, func(t *testing.T) {
				q := edited(p, func(b []byte) {
					for _, edit := range tt.edits {
						edit(b)
					}
				})
				e.matched(t, quoting(q, tt.keep), tt.want, tt.serial, IDRewritten)
			})
		}
	}
}

// A quote is compared with what was sent, byte by byte, whatever that says.
func TestQuotedContentIsCompared(t *testing.T) {
	for _, s := range contents() {
		t.Run(s.name(), func(t *testing.T) {
			e := flying(t, s, 3, true)
			p := encode(t, s, 2)
			_, f := e.fateOf(quoting(p, 1500))
			if q := &f.o.Quoted; !q.Whole || len(q.Changed) != 0 || f.proves != numbers(&s) {
				t.Errorf("whole %v, changes %v", q.Whole, q.Changed)
			}
			_, f = e.fateOf(quoting(p, p.Length()-1))
			if q := &f.o.Quoted; q.Whole || len(q.Changed) != 0 {
				t.Errorf("cut short: whole %v, changes %v", q.Whole, q.Changed)
			}
			if s.Content != QUICInitial {
				return
			}
			// Where the token is quoted too, that is told of the probe whose it is.
			for at, want := range map[int]Change{2: {"udp.payload", "2:2a", "2:24"}, 100: {"udp.payload", "100:00", "100:24"}} {
				r := quoting(edited(p, func(b []byte) { b[len(p.Header())+8+at] = 0x24 }), 1500)
				e.matched(t, r, ours, 2, Strict)
				_, f = e.fateOf(r)
				if q := &f.o.Quoted; !q.Whole || !slices.Equal(q.Changed, []Change{want}) {
					t.Errorf("whole %v, changes %v, want %v", q.Whole, q.Changed, want)
				}
			}
		})
	}
}

// Without privilege too, what came back of a service's question says which probe it was, out of any number.
func TestRebuiltQuotesOfManyQuestions(t *testing.T) {
	for _, s := range contents() {
		t.Run(s.name(), func(t *testing.T) {
			e := flying(t, s, mostCompared+100, false)
			payload := encode(t, s, 2).Transport()[8:]
			least := map[Content]int{DNSQuery: 3, QUICInitial: 10}[s.Content] // the id, and for DNS what shows that all of it is there
			for _, keep := range []int{0, least - 1, least, layouts[s.Content].own, len(payload)} {
				if keep < least {
					e.matched(t, rebuilt(s, payload[:keep]), ambiguous, 0, FlowOnly)
					continue
				}
				e.matched(t, rebuilt(s, payload[:keep]), ours, 2, Strict)
				_, f := e.fateOf(rebuilt(s, payload[:keep]))
				if f.proves != (numbers(&s) && keep >= layouts[s.Content].own) {
					t.Errorf("%d bytes show the number: %v", keep, f.proves)
				}
				wrong := slices.Clone(payload[:keep])
				wrong[max(layouts[s.Content].id, 0)] ^= 0x40
				e.matched(t, rebuilt(s, wrong), unmatched, 0, NoMatch)
			}
			e.matched(t, serviceAnswer(s, encode(t, s, 2)), ours, 2, Strict)
		})
	}
}

// A query shows no number: its id is nobody else's before it is forgotten, so that there is nothing to guess.
func TestQueriesDoNotShareIDs(t *testing.T) {
	for _, s := range contents() {
		s.Timeout = time.Second
		n, numbered := IDs(&s)
		if n != ids || numbered != (s.Content == QUICInitial) {
			t.Errorf("%s: %d ids, numbered %v", s.name(), n, numbered)
		}
		if numbered {
			continue
		}
		tb := newTable()
		fill(t, tb, s)
		tb.settle(1, answered, true)
		extra := tb.add(s)
		over := epoch.Add(s.Timeout + quarantine)
		if again, ok := tb.number(extra, 0, over.Add(-1)); ok || !again.Equal(over) {
			t.Errorf("%s: numbered %v, to be tried again at %v; want no sooner than %v", s.name(), ok, again, over)
		}
		if _, ok := tb.number(extra, 0, over); !ok || tb.get(extra).shared() {
			t.Errorf("%s: no id at %v", s.name(), over)
		}
	}
}

// Spec wants one content in a flow. Where it has several nothing is taken for another's.
func TestContentsInOneFlow(t *testing.T) {
	own := kinds[0]
	own.Src, own.Dst = addrPort("192.0.2.1:40001"), addrPort("198.51.100.9:53")
	all := []Spec{own, own, own}
	all[1].Size, all[1].Content = 0, DNSQuery
	all[2].Size, all[2].Content = 0, QUICInitial
	for last := range all {
		for _, header := range []bool{true, false} {
			e := flying(t, own, 0, header)
			order := []Spec{all[(last+1)%3], all[(last+2)%3], all[last]}
			for _, s := range order {
				register(t, e.table, s, e.codec.firstID(&s), epoch)
			}
			for i, s := range order {
				p := encode(t, s, uint32(i+1))
				replies := []*rawsock.Reply{datagram(s, p.Transport()[8:])}
				if r := serviceAnswer(s, p); r != nil {
					replies = append(replies, r)
				}
				for keep := 28; keep <= p.Length(); keep++ {
					if header {
						replies = append(replies, quoting(p, keep))
					} else {
						replies = append(replies, rebuilt(s, p.Transport()[8:keep-20]))
					}
				}
				for _, r := range replies {
					if fate, f := e.fateOf(r); fate == ours && f.serial != uint64(i+1) && f.o.Match != Alone {
						t.Errorf("%s with %s last: %d bytes of protocol %d are probe %d, %v", s.Content, all[last].Content, len(r.Data), r.Proto, f.serial, f.o.Match)
					}
				}
			}
		}
	}
}
