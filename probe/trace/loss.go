package trace

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"gtrace/internal/stats"
	"gtrace/probe"
)

// What is lost, and where.
//
// A hop that leaves probes unanswered may lose them, or their answers, or may just answer no more often than so. The third is
// by far the commonest, and no loss. So before a hop is told that answers some probes and not others, those of later hops are
// looked at: what reached them crossed it. A hop that leaves out what later hops do not, or whose answers come
// as from a token bucket, is asked again for what it left out, as slowly as a Linux router answers.

const (
	// A hop is asked again this long after it was asked last: a second, in which Linux earns an answer, and what
	// the times of two probes' arrivals may differ more than those of their departures.
	againEvery = 1100 * time.Millisecond

	// So often at most, and no further once it does not answer. All hops are asked again side by side, so that a
	// trace takes about as many seconds longer at most, and a wait.
	againMost = 3

	// So many TTLs further what is lost is looked at before a hop is told.
	judgeBeyond = 5

	// A hop's loss is its own where it is so many times that of all later hops together.
	ownLoss = 6

	// How much likelier, as a natural logarithm, answers are by a token bucket than by chance (stats.Limit) before
	// the bucket is believed. With answers lost by chance, between 5 and 80 % of 3 to 200, the first was exceeded in less than
	// one of 2000 hops.
	limitSure  = 16
	limitShown = 11
	limitLikes = 6 // enough to ask again
	limitHints = 2.4

	// Two shares differ if their 99.9 % interval says so: there are many pairs of hops on a path.
	zHops = 3.29
)

// An ask is one probe to a TTL.
type ask struct {
	at     time.Time
	status probe.Status // 0 while it is under way
}

// note takes down what became of a probe.
func (h *hop) note(n int, o *probe.Outcome) {
	if !o.Duplicate {
		h.asks[n].status = fate(o)
	}
}

// fate is how o ended as far as that says anything of the path: what was lost when its source went away does not.
func fate(o *probe.Outcome) probe.Status {
	if errors.Is(o.Err, probe.ErrSource) {
		return 0
	}
	return o.Status
}

// asksFrom are all probes from a TTL on, in order of departure.
func (t *T) asksFrom(ttl int) (as []ask) {
	for n := ttl; n <= t.top; n++ {
		if h := t.hops[n]; h != nil {
			as = append(as, h.asks...)
		}
	}
	slices.SortStableFunc(as, func(a, b ask) int { return a.at.Compare(b.at) })
	return as
}

// raw is what was lost of all probes to h.
func (h *hop) raw() (s stats.Share) {
	for _, a := range h.asks {
		s = count(s, a.status, 1)
	}
	return s
}

// count is s with n more that ended so.
func count(s stats.Share, is probe.Status, n int) stats.Share {
	switch is {
	case probe.Lost:
		s.Lost += n
		s.Of += n
	case probe.Answered:
		s.Of += n
	}
	return s
}

// isLast reports whether what goes further than ttl is answered there too: at the destination, and where probes go no further.
func (t *T) isLast(ttl int) bool { return ttl == t.end || t.isBlocked(ttl) }

// limitOf is the token bucket that the hop at ttl seems to answer from. The last one answers for all TTLs from its own on.
func (t *T) limitOf(ttl int) (stats.Limit, bool) {
	h := t.hops[ttl]
	asks := h.asks
	if t.isLast(ttl) {
		asks = t.asksFrom(ttl)
	}
	var as []stats.Ask
	for _, a := range asks {
		switch {
		case a.status == probe.Answered:
		case (a.status == probe.Lost || a.status == 0) && t.now.Sub(a.at) >= t.scaled(h.rtt, max(1, t.c.Wait.Here)):
		default: // under way, or given up early with the rest
			continue
		}
		as = append(as, stats.Ask{At: a.at.Sub(asks[0].at), Answered: a.status == probe.Answered})
	}
	return stats.FitLimit(as)
}

// isHeld reports whether the hop at ttl, all of whose tries are decided, may still be asked again.
func (t *T) isHeld(ttl int) bool {
	h := t.hops[ttl]
	return t.c.Losses && t.alone == together && (!h.judged && h.tally.Lost > 0 && h.answers > 0 || t.c.Beside.doubts(ttl, h))
}

// judge decides for hops that answered some tries and not others whether they are asked again; up to held, behind which nothing is told yet.
func (t *T) judge(held int) {
	if !t.c.Losses || t.alone != together || held < all && t.returned { // in a loop one router answers for several TTLs
		return
	}
	limit := min(t.limit(), held)
	for ttl := t.told + 1; ttl <= min(limit, t.top); ttl++ {
		if !t.isDecided(ttl) || !t.isHeld(ttl) {
			continue
		}
		h := t.hops[ttl]
		if h.answers == 0 {
			h.judged = true
			h.askAgain()
			continue
		}
		known := true
		for n := ttl + 1; n <= min(limit, ttl+judgeBeyond); n++ {
			known = known && t.isDecided(n)
		}
		if !known {
			continue
		}
		h.judged = true
		if t.seemsLimited(ttl, limit) {
			h.askAgain()
		}
	}
}

// seemsLimited reports whether it looks as if the hop at ttl would answer if it were asked more slowly.
func (t *T) seemsLimited(ttl, limit int) bool {
	h := t.hops[ttl]
	own := h.tally
	var later stats.Share
	for n := ttl + 1; n <= min(limit, t.top); n++ {
		if l := t.hops[n]; l != nil && l.answers > 0 {
			s := l.tally
			later.Lost, later.Of = later.Lost+s.Lost, later.Of+s.Of
		}
	}
	if later.Of > 0 && own.Rate() >= ownLoss*later.Rate() {
		return true
	}
	l, ok := t.limitOf(ttl)
	switch {
	case !ok:
		return false
	case !t.isLast(ttl):
		return l.Proof >= limitLikes
	}
	// At the last there is nobody behind it to ask. The hop before it has to do.
	return h.answersWith(isICMP) && l.Proof >= limitLikes ||
		h.answersWith(probe.Answer.IsError) && l.Evidence >= limitHints && l.Spent > 1 && t.isClean(ttl-1)
}

// isClean reports whether the nearest hop that answers, from ttl on back, answered every try, or there is none.
func (t *T) isClean(ttl int) bool {
	for ; ttl >= int(t.c.First); ttl-- {
		if h := t.hops[ttl]; h != nil && h.answers > 0 {
			return h.tally.Lost == 0
		}
	}
	return true
}

// answersWith reports whether one of h's answers is such. Hosts limit ICMP errors (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4),
// some echo replies too.
func (h *hop) answersWith(such func(probe.Answer) bool) bool {
	return slices.ContainsFunc(h.tries, func(y try) bool {
		return y.state == decided && y.out.Status == probe.Answered && such(y.out.Answer)
	})
}

func isICMP(a probe.Answer) bool { return a.IsError() || a == probe.EchoReply }

// askAgain opens the first lost try of h anew.
func (h *hop) askAgain() {
	for i := range h.tries {
		if y := &h.tries[i]; y.state == decided && y.out.Status == probe.Lost {
			h.reopen(y)
			h.again++
			return
		}
	}
}

// askedAgain goes on where one that was asked again has answered.
func (h *hop) askedAgain(o *probe.Outcome) {
	if h.again > 0 && h.again < againMost && o.Status == probe.Answered && h.sent == len(h.tries) {
		h.askAgain()
	}
}

// A verdict is what is made of the probes to one hop.
type verdict struct {
	ttl    int
	all    stats.Share // what is told of its probes
	path   stats.Share // what of it a limit does not explain
	limit  stats.Limit
	likely bool // the limit explains more than chance would
}

// shown reports whether the limit is to be believed.
func (v *verdict) shown() bool { return v.likely && v.limit.Proof >= limitShown }

// verdicts appends one for each hop that ever answered.
func (t *T) verdicts(vs []verdict, last int) []verdict {
	for ttl := int(t.c.First); ttl <= min(last, t.top); ttl++ {
		h := t.hops[ttl]
		if h == nil || h.answers == 0 {
			continue
		}
		v := verdict{ttl: ttl}
		v.limit, v.likely = t.limitOf(ttl)
		v.likely = v.likely && v.limit.Proof > 0 && (!t.isLast(ttl) || h.answersWith(isICMP))
		switch {
		case v.shown(): // what there was no token for says nothing
			v.all, v.path = h.tally, v.limit.Free
		case v.likely: // as likely as not what it left out it would have answered: what it answered then stands for it
			v.all = h.tally
			v.path = v.all
		default: // it was asked again for nothing: then every probe counts
			v.all = h.raw()
			v.path = v.all
		}
		vs = append(vs, v)
	}
	return vs
}

// loss tells what was lost, hop by hop, and what follows from it.
func (t *T) loss(last int, out *probe.Output) {
	if !t.c.Losses || t.alone != together || t.last != 0 {
		return
	}
	// The path is judged by the hops that do not limit their answers. The few probes that a limit had an answer for
	// are no match for the hundreds of other hops: the least share would be one that chance made small. The last hop has none behind it.
	vs := t.verdicts(t.spare.verdicts[:0], last)
	t.spare.verdicts = vs
	by, shares := make([]*verdict, 0, len(vs)), make([]stats.Share, 0, len(vs))
	for i := range vs {
		if v := &vs[i]; !v.shown() || i == len(vs)-1 {
			by, shares = append(by, v), append(shares, v.path)
		}
	}
	least := stats.SuffixMin(shares)
	told := probe.Losses{Hops: make([]probe.HopLoss, 0, len(vs))}
	next := 0 // the first of by at v or behind it
	for i := range vs {
		v := &vs[i]
		if by[next].ttl < v.ttl {
			next++
		}
		path, behind := shares[least[next]], by[least[next]].ttl
		l := probe.HopLoss{TTL: uint8(v.ttl), Lost: v.all.Lost, Of: v.all.Of, PathLost: path.Lost, PathOf: path.Of}
		if v.shown() {
			l.Burst, l.Every = v.limit.Burst, v.limit.Every
			t.limited(v, out)
		} else if behind != v.ttl && stats.Exceeds(v.all, path, zHops) {
			replyLoss(v, path, behind, out)
		}
		told.Hops = append(told.Hops, l)
	}
	t.pathLoss(by, shares, least, out)
	if len(told.Hops) > 0 {
		out.Events = append(out.Events, told)
	}
}

// limited tells of a hop that answers only so often.
func (t *T) limited(v *verdict, out *probe.Output) {
	h := t.hops[v.ttl]
	confidence := "medium"
	if v.limit.Proof >= limitSure {
		confidence = "high"
	}
	text := fmt.Sprintf("answers %d at once and then one each %s: it left %d of %d probes unanswered because of that",
		v.limit.Burst, seconds(v.limit.Every), v.limit.Spent, v.limit.Spent+v.limit.Free.Of)
	if n := len(h.asks) - len(h.tries); n > 0 { // asked again: then all were asked once
		answered := 0
		for _, a := range h.asks[len(h.tries):] {
			if a.status == probe.Answered {
				answered++
			}
		}
		text += fmt.Sprintf(", and answered %d of %d when asked again once each %s", answered, n, seconds(againEvery))
	}
	out.Events = append(out.Events, probe.Finding{Code: "icmp-rate-limited", TTL: uint8(v.ttl), Confidence: confidence,
		Text: text + "; that is no packet loss"})
}

// seconds is d as people say it, to three digits.
func seconds(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// replyLoss tells of answers that are lost on their way back, or not sent.
func replyLoss(v *verdict, path stats.Share, behind int, out *probe.Output) {
	out.Events = append(out.Events, probe.Finding{Code: "reply-loss", TTL: uint8(v.ttl), Confidence: confident(v.all, path),
		Text: fmt.Sprintf("%s of its answers are missing, but of the probes to TTL %d, which pass it, only %s: no packet loss on the path up to there",
			percent(v.all), behind, percent(path))})
}

// confident says how sure it is that more is lost of a than of b.
func confident(a, b stats.Share) string {
	if stats.Exceeds(a, b, 3.9) { // one in ten thousand
		return "high"
	}
	return "medium"
}

// pathLoss tells between which of those hops packets are lost; or, where that does not show, that they are.
func (t *T) pathLoss(vs []*verdict, shares []stats.Share, least []int, out *probe.Output) {
	told := false
	for i := range vs {
		before, from := stats.Share{}, 0
		if i > 0 {
			if least[i-1] != i-1 {
				continue // less is lost from here on: nothing is added
			}
			before, from = shares[i-1], vs[i-1].ttl
		} else {
			before.Of = shares[least[0]].Of // nothing is lost before anything was crossed
		}
		here := shares[least[i]]
		if !stats.Exceeds(here, before, zHops) {
			continue
		}
		f := probe.Finding{Code: "path-loss", Confidence: confident(here, before),
			Text: fmt.Sprintf("%s of the probes that go beyond TTL %d are lost, of those that end there %s", percent(here), from, percent(before))}
		if from == 0 {
			f.TTL, f.Text = uint8(vs[i].ttl), fmt.Sprintf("%s of the probes are lost up to TTL %d", percent(here), vs[i].ttl)
		} else {
			f.Between = [2]uint8{uint8(from), uint8(vs[i].ttl)}
		}
		switch {
		case vs[i].likely && vs[i].limit.Proof >= limitHints:
			f.Text, f.Confidence = f.Text+"; answers come as if they were limited: ask more slowly", "low"
		case i == len(vs)-1:
			f.Text, f.Confidence = t.caveat(f.Text, f.Confidence, vs[i].ttl)
		}
		told = true
		out.Events = append(out.Events, f)
	}
	n := len(vs)
	if told || n == 0 || !t.isLast(vs[n-1].ttl) {
		return
	}
	end := shares[n-1]
	if stats.Exceeds(end, stats.Share{Of: end.Of}, zHops) {
		text, confidence := t.caveat(fmt.Sprintf("%s of the probes are lost on the way to the destination or back; it does not show where", percent(end)), "medium", vs[n-1].ttl)
		out.Events = append(out.Events, probe.Finding{Code: "path-loss", TTL: uint8(vs[n-1].ttl), Confidence: confidence, Text: text})
	}
}

// caveat says that the destination itself may be what does not answer.
func (t *T) caveat(text, confidence string, ttl int) (string, string) {
	if !t.isLast(ttl) || !t.hops[ttl].answersWith(probe.Answer.IsError) {
		return text, confidence
	}
	return text + "; it may just limit such answers: ask it with --icmp or --tcp too", "low"
}

// percent is a share with the interval that it says something about.
func percent(s stats.Share) string {
	low, high := s.Wilson(stats.Z95)
	return fmt.Sprintf("%s %% (%d of %d; %s to %s %%)", digits(s.Rate()), s.Lost, s.Of, digits(low), digits(high))
}

// digits is a fraction in percent, with one more digit where it is small.
func digits(f float64) string {
	if f > 0 && f < 0.1 {
		return strconv.FormatFloat(100*f, 'f', 1, 64)
	}
	return strconv.FormatFloat(100*f, 'f', 0, 64)
}
