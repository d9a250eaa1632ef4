package trace

// A Spare is room that traces which ended leave to those that begin: where thousands follow each other, half of what they take is
// hops. It is for one goroutine.
type Spare struct {
	hops     []*hop
	met      [][]meeting
	verdicts []verdict // of one step
}

// hop is one of which nothing is known.
func (s *Spare) hop(tries int) *hop {
	if len(s.hops) == 0 {
		return &hop{tries: make([]try, tries)}
	}
	last := len(s.hops) - 1
	h := s.hops[last]
	s.hops = s.hops[:last]
	if cap(h.tries) < tries {
		h.tries = make([]try, tries)
	}
	h.tries = h.tries[:tries]
	return h
}

// routers is an empty list of them.
func (s *Spare) routers() []meeting {
	if len(s.met) == 0 {
		return nil
	}
	last := len(s.met) - 1
	m := s.met[last]
	s.met = s.met[:last]
	return m
}

// leave lets the others have the room of t, which is done: nothing of it is looked at any more.
func (t *T) leave() {
	s := t.c.Spare
	if s == nil {
		return
	}
	for _, h := range t.hops {
		if h != nil {
			clear(h.tries)
			*h = hop{tries: h.tries[:0], asks: h.asks[:0]}
			s.hops = append(s.hops, h)
		}
	}
	if cap(t.met) > 0 {
		s.met = append(s.met, t.met[:0])
	}
	t.hops, t.met = nil, nil
}
