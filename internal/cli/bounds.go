package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// What a run may hold at once, whatever its options and its input multiply to. Beside these stand maxTargets, maxLine and
// mostInFlight. Each is looked at before anything is allocated for it, and the manual names each (limitsSection).
const (
	// maxList is how many bytes lists of targets may have: all together, or, where they are read as hosts are needed, from one line
	// that names a host to the next.
	maxList = 64 << 20

	// maxResults is how many probes' results are kept at once: those of all traces in progress, and the replies of
	// documents that are not written yet. One trace of 255 hops and 1000 probes each is within it.
	maxResults = 1 << 18
	// leastTrace is what a trace counts for at least.
	leastTrace = 64

	// maxTimes is how many round-trip times are kept for percentiles, and for fping's -C: 8 bytes each.
	maxTimes = 1 << 24

	// maxWaiting is how many bytes of output may wait for their turn. Beyond it no further host is begun.
	maxWaiting = 64 << 20

	// maxAddresses is how many addresses of one name are looked at.
	maxAddresses = 256
)

// most is how many targets those hosts can come to: more than one of a name where each of its addresses is measured, which is
// before any is looked up.
func (s *session) most(names []string) (n int) {
	if !s.everyAddress {
		return len(names)
	}
	for _, name := range names {
		if isAddress(name) {
			n++
		} else {
			n += maxAddresses
		}
	}
	return min(n, maxTargets)
}

// atOnce settles how many hosts are measured at once where each keeps so many results: as many as there is room for, where
// the user did not say.
func (s *session) atOnce(hosts, each int, why string) error {
	most := max(1, maxResults/max(1, each))
	switch {
	case min(s.parallel, hosts) <= most:
	case s.given["parallel"] && !s.more:
		return fmt.Errorf("--parallel %d: %s, and no more than %d are kept at a time: want --parallel up to %d", s.parallel, why, maxResults, most)
	default:
		s.parallel = most
	}
	return nil
}

// checkKept bounds what traces in progress keep.
func (t *traceTool) checkKept(s *session, hosts int) error {
	each := (int(t.max) - int(t.first) + 1) * t.attempts * max(1, len(t.ways))
	return s.atOnce(hosts, max(each, leastTrace), fmt.Sprintf("each host has up to %d results", each))
}

// checkKept bounds what pings in progress keep: the replies of documents, lines that wait for others, fping's times.
func (t *pingTool) checkKept(s *session, hosts int) error {
	n := t.most()
	if s.more && n <= maxTimes { // each has all its times, however many hosts there will be
		s.parallel = min(s.parallel, max(1, maxTimes/n))
	}
	if f := &t.fleet.fping; f.Vector && t.count > maxTimes/max(1, hosts) {
		return fmt.Errorf("-C %d: to %d hosts are more than the %d times that are kept", t.count, hosts, maxTimes)
	}
	given := fmt.Sprintf("--count %d", t.count)
	if t.sweep.on() {
		given = fmt.Sprintf("--sweep %v: %d sizes", t.sweep, t.sweep.sizes())
		if err := s.atOnce(hosts, t.sweep.sizes(), fmt.Sprintf("each host has %d sizes", t.sweep.sizes())); err != nil {
			return err
		}
	}
	document := (s.format == "json" || s.format == "events") && !t.quiet
	waits := s.format == defaultFormat && s.ordered && hosts > 1
	switch {
	case waits && n == math.MaxInt:
		return errors.New("--ordered: the first host's turn has no end: --count or --deadline must end it")
	case waits && n > maxResults:
		return fmt.Errorf("--ordered: the lines of up to %d replies of each host would wait, and no more than %d do: leave it out, or ask less", n, maxResults)
	case document && t.deadline == 0 && n != math.MaxInt && n > maxResults:
		return fmt.Errorf("%s: a document has no more than %d replies: --no-replies leaves them out", given, maxResults)
	case (waits || document) && n != math.MaxInt && n <= maxResults:
		return s.atOnce(hosts, n, fmt.Sprintf("each host has up to %d replies", n))
	}
	return nil
}

// most is how many requests a host may get; math.MaxInt where there is no telling.
func (t *pingTool) most() int {
	switch {
	case t.sweep.on():
		return t.sweep.most(t.count)
	case t.fleet.retrying:
		return t.fleet.retries + 1
	case t.deadline != 0 && t.asAnswered():
		return math.MaxInt
	case t.deadline != 0: // with which --count is about answers
		return t.preload + int(min(t.deadline/max(t.interval, 1), math.MaxInt32))
	case t.count != 0:
		return t.count
	}
	return math.MaxInt
}

// share is how much of a bound one of the hosts at once has.
func (s *session) share(bound int) int {
	return max(1, bound/max(1, min(s.parallel, s.hosts)))
}

// whole reports whether all hosts must be known before the first is begun: fping's lines are as wide as the widest name, the
// statistics of text come at the end in order, and pings without end have no turns.
func (t *pingTool) whole(s *session) bool {
	lists := t.fleet.alive || t.fleet.silent || s.format == formatFping
	return lists || s.format == defaultFormat && !s.ordered || t.flood || t.most() == math.MaxInt
}

// whole reports whether all hosts must be known before the first is begun.
func (s *session) whole() bool {
	t, some := s.tool.(interface{ whole(*session) bool })
	return s.tool.verbatim() || some && t.whole(s)
}

// tooManyReplies tells once that documents have no replies any more.
func (t *pingTool) tooManyReplies(s *session) {
	if !t.leftOut {
		t.leftOut = true
		s.complain(fmt.Errorf("more than %d replies: they are left out of the documents, as with --no-replies; the summaries count them", maxResults))
	}
}

var errLongList = fmt.Errorf("more than the %d MiB that lists of targets may have", maxList>>20)

// A bounded is a reader with an end to what it takes, which is an error.
type bounded struct {
	r    io.Reader
	left *int64
}

func (b bounded) Read(p []byte) (int, error) {
	if *b.left <= 0 {
		return 0, errLongList
	}
	n, err := b.r.Read(p[:min(int64(len(p)), *b.left)])
	*b.left -= int64(n)
	return n, err
}
