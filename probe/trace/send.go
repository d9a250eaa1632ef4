package trace

import (
	"net/netip"
	"time"

	"gtrace/probe"
)

// giveUpAll waits no longer for anything.
func (t *T) giveUpAll(out *probe.Output) {
	for _, f := range t.flying {
		serial := t.hops[f.ttl].tries[f.try].serial
		out.GiveUp = append(out.GiveUp, serial)
		out.Recall = append(out.Recall, serial)
	}
}

// giveUp drops the probes whose adaptive wait is over, and wakes for the next.
func (t *T) giveUp(out *probe.Output) {
	for _, f := range t.flying {
		y := &t.hops[f.ttl].tries[f.try]
		wait := t.wait(int(f.ttl))
		if f.try == 0 && int(f.ttl) == t.check.ttl && t.longest == 0 {
			// Nobody was heard: a neighbour's address may be what is waited for, but no longer than from when it was first asked for.
			wait = max(t.c.Wait.Max/farWait, wait-y.sent.Sub(t.hops[f.ttl].asks[0].at))
		}
		if y.givenUp || wait >= t.c.Wait.Max {
			continue // the engine holds Max
		}
		if due := y.sent.Add(wait); due.After(t.now) {
			wake(out, due)
		} else {
			y.givenUp = true
			out.GiveUp = append(out.GiveUp, y.serial)
		}
	}
}

// wait is how long an answer from ttl is waited for, by what is known now.
func (t *T) wait(ttl int) time.Duration {
	if t.alone == apart && t.end == 0 && ttl > t.far && t.hops[ttl].decided == t.c.Attempts-1 {
		return t.c.Wait.Max // the last one there; what comes later would be taken for the next TTL's
	}
	switch h := t.hops[ttl]; {
	case t.c.Wait.Here == 0:
	case h.timed:
		return t.scaled(h.rtt, t.c.Wait.Here)
	case ttl == t.check.ttl && t.longest > 0:
		return t.scaled(t.longest, t.c.Wait.Here)
	}
	if t.c.Wait.Near > 0 {
		if rtt, answered := t.c.Beside.answered(ttl); answered {
			return t.scaled(rtt, t.c.Wait.Near)
		}
		for n := ttl + 1; n <= t.heard; n++ {
			if h := t.hops[n]; h != nil && h.timed {
				return t.scaled(h.rtt, t.c.Wait.Near)
			}
		}
		if t.flowRTT > 0 {
			return t.scaled(t.flowRTT, t.c.Wait.Near)
		}
		if t.longest > 0 && t.alone == together {
			// Nobody was heard behind it. Most that is silent there stays so.
			return max(t.c.Wait.Max/farWait, t.scaled(t.longest, t.c.Wait.Near))
		}
	}
	return t.c.Wait.Max
}

// scaled is factor times rtt, not below minWait and not above the maximum.
func (t *T) scaled(rtt time.Duration, factor float64) time.Duration {
	w := float64(rtt) * factor
	if w >= float64(t.c.Wait.Max) {
		return t.c.Wait.Max
	}
	return min(t.c.Wait.Max, max(minWait, time.Duration(w)))
}

// wake brings the next step forward to at.
func wake(out *probe.Output, at time.Time) {
	if out.Wake.IsZero() || at.Before(out.Wake) {
		out.Wake = at
	}
}

// send asks what there is room for, the lowest TTL of the window first.
func (t *T) send(room int, out *probe.Output) {
	limit := t.limit()
	low := t.told + 1
	for low <= limit && t.isDecided(low) {
		low++
	}
	high := min(limit, low+t.inFlight-1)
	switch {
	case t.alone == apart && t.cut:
		high = min(high, low)
	case t.alone == apart:
		next := t.far + 1
		for next < high && t.isDecided(next) {
			next++
		}
		high = min(high, next)
	}
	for {
		best := 0
		for ttl := low; ttl <= high; ttl++ {
			h := t.hops[ttl]
			if h != nil && h.sent >= t.c.Attempts {
				continue
			}
			if at := t.when(ttl, h); at.After(t.now) {
				wake(out, at)
			} else if !at.IsZero() {
				best = ttl
				break
			}
		}
		if best == 0 || room == 0 || len(t.flying) >= t.inFlight {
			return
		}
		if at := t.latest.Add(t.c.Gap); t.c.Gap > 0 && at.After(t.now) && !t.latest.IsZero() {
			wake(out, at)
			return
		}
		t.ask(best, out)
		room--
	}
}

// when is the earliest time at which ttl may be asked, not after t.now if that is now,
// and zero if something must happen first.
func (t *T) when(ttl int, h *hop) time.Time {
	at := t.now
	unknown := ttl > t.far
	switch {
	case t.alone == draining:
		return time.Time{}
	case t.alone == apart && t.cut:
		if len(t.flying) > 0 {
			return time.Time{}
		}
		at = later(at, t.hush)
		for n := 1; n <= t.top; n++ {
			if h := t.hops[n]; h != nil && n != ttl && !h.open.IsZero() {
				at = later(at, h.open.Add(t.c.Wait.Max))
			}
		}
		at = later(at, t.behindCopies(h))
	case t.alone == apart:
		// A service's answer is certain only if nothing else of the flow is out. Before
		// the last known hop no service answers: those may go together.
		for _, f := range t.flying {
			if unknown || int(f.ttl) > t.far {
				return time.Time{}
			}
		}
		if !unknown {
			if h != nil {
				if y := &h.tries[h.next()]; y.out.Match == probe.Alone {
					at = later(at, y.out.At.Add(t.c.Wait.Max)) // a stray came; this lets others go by
				}
			}
			break
		}
		for n := ttl + 1; n <= t.top; n++ {
			if h := t.hops[n]; h != nil {
				at = later(at, h.last.Add(t.c.Wait.Max))
			}
		}
		at = later(at, t.behindCopies(h))
	case ttl == t.check.ttl: // now
	case unknown && t.end > t.far+1:
		// Answers overtake each other: the end may be nearer than it seems, and all this is its to answer.
		at = later(at, t.ended.Add(t.scaled(t.rtt(t.end), 0.5)))
	case unknown && t.end == 0:
		at = later(at, t.opens(ttl, h))
	}
	if h != nil {
		at = later(at, t.pace(h))
	}
	if b := t.c.Beside; b != nil {
		at = later(at, b.hops[ttl].asked.ready())
		switch {
		case h == nil || !h.judged:
		case ttl <= t.far+1:
			at = later(at, b.ready(ttl, t.far))
		case !t.isDecided(t.far + 1):
			return time.Time{} // whoever refuses what goes further is to answer that first
		}
	}
	return at
}

// pace is when h may be asked again for the sake of what it answers at most.
func (t *T) pace(h *hop) time.Time {
	switch {
	case h.judged:
		return h.last.Add(max(againEvery, t.c.Interval))
	case t.c.Interval > 0:
		return h.last.Add(t.c.Interval)
	}
	return h.asked.ready()
}

// charge makes the hop at ttl, the last there is, pay for what was sent beyond it, which it answers too.
func (t *T) charge(ttl int) {
	h := t.hops[ttl]
	h.asked = bucket{}
	for _, a := range t.asksFrom(ttl) {
		h.asked.pay(a.at)
	}
}

// rtt is the first round-trip time at ttl, 0 where none is known.
func (t *T) rtt(ttl int) time.Duration {
	if h := t.hops[ttl]; h != nil {
		return h.rtt
	}
	return 0
}

// behindCopies is when a TTL may be asked again so that a copy of a service's answer is not timed as the next. Most come right behind.
func (t *T) behindCopies(h *hop) (at time.Time) {
	if h != nil && h.service > 0 {
		at = h.last.Add(t.scaled(h.rtt, t.c.Wait.Near))
	}
	return at
}

// next is the first try to be asked; there must be one.
func (h *hop) next() int {
	for h.tries[h.idle].state != idle {
		h.idle++
	}
	return h.idle
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ask sends the next attempt at ttl.
func (t *T) ask(ttl int, out *probe.Output) {
	h := t.hops[ttl]
	if h == nil {
		h = t.spare.hop(t.c.Attempts)
		h.turns = &t.turns
		t.hops[ttl] = h
	}
	n := h.next()
	f := ref{uint8(ttl), int32(n), int32(len(h.asks))}
	t.probes = append(t.probes, f)
	t.flying = append(t.flying, f)
	t.top, t.latest = max(t.top, ttl), t.now
	y := &h.tries[n]
	if y.serial != 0 {
		*y = try{} // an outcome is large
	}
	y.state, y.n, y.serial, y.sent = flying, n, uint64(len(t.probes)), t.now
	h.asks = append(h.asks, ask{at: t.now})
	h.last = t.now
	h.asked.pay(t.now)
	if b := t.c.Beside; b != nil {
		b.hops[ttl].asked.pay(t.now)
		if h.judged && ttl <= t.far+1 {
			b.ask(ttl, t.far, t.now)
		}
	}
	h.sent++

	s := probe.Spec{
		Proto: t.c.Proto, Src: t.c.Src, Dst: t.c.Dst, Label: t.c.Label,
		TTL: uint8(ttl), TOS: t.c.TOS, DF: t.c.DF, Size: t.c.Size,
		Number: t.c.Number, Segment: t.c.Segment, Content: t.c.Content, Service: t.c.Service, Coverage: t.c.Coverage,
		Options: t.c.Options, Via: t.c.Via, First: t.c.Sequence,
		Timeout: t.c.Wait.Max, Attempt: uint32(n + 1),
	}
	if t.c.Classic {
		k := (ttl-int(t.c.First))*t.c.Attempts + n // the same for a probe whenever it leaves
		s.Flow = uint16(k)
		if t.c.Proto == probe.UDP {
			// Port 0 is left out when the ports wrap.
			s.Dst = netip.AddrPortFrom(s.Dst.Addr(), uint16((int(s.Dst.Port())-1+k)%65535+1))
		}
	}
	out.Send = append(out.Send, s)
}
