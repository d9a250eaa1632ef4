package cli

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"gtrace/probe"
)

const (
	// manyHosts is from how many hosts on a terminal is told how far a run is.
	manyHosts = 16
	// redraws is how long a line of progress stays at least.
	redraws = 250 * time.Millisecond
)

// A progress is a line on standard error that tells how far a run is. It is drawn when something happens, by the time that that has, and wiped
// before anything else is written where it may stand.
type progress struct {
	w            io.Writer
	begun, drawn time.Time
	width        int    // of what is on the terminal
	sent         uint64 // probes, since drawn
	answered     uint64 // of the run
	lost         uint64
	trace        bool // silence is no loss
}

// newProgress is nil where none is shown: on a terminal that has the results too, or that is none, unless it is asked for.
func (s *session) newProgress() *progress {
	if s.progress || s.hosts >= manyHosts && s.ends() && terminal(s.env.Stderr) && !terminal(s.env.Stdout) {
		_, trace := s.tool.(*traceTool)
		return &progress{w: s.env.Stderr, trace: trace}
	}
	return nil
}

// ends reports whether the run ends by itself.
func (s *session) ends() bool {
	t, ok := s.tool.(interface{ most() int })
	return !ok || t.most() != math.MaxInt
}

// happened counts an event, and reports whether the line is to be drawn anew, and when that is.
func (p *progress) happened(e probe.Event) (at time.Time, draw bool) {
	switch e := e.(type) {
	case probe.Started:
		at = e.At
	case *probe.Sent:
		at = e.At
		p.sent++
	case probe.Finished:
		at = e.At
	case *probe.Probed:
		o := &e.Outcome
		at = o.At
		switch {
		case o.Duplicate, o.Status != probe.Answered && o.Status != probe.Lost:
		case o.Late:
			p.lost--
			p.answered++
		case o.Status == probe.Lost:
			p.lost++
		default:
			p.answered++
		}
	}
	if p.begun.IsZero() {
		p.begun, p.drawn = at, at
	}
	return at, at.Sub(p.drawn) >= redraws
}

// line is what is to be drawn at that time of a run in which so many hosts are done, and others, or more than are known, are left. It fits a terminal of 80 columns.
func (p *progress) line(at time.Time, done, left int, more bool) string {
	var b strings.Builder
	if more {
		fmt.Fprintf(&b, "%d done, more left", done)
	} else {
		fmt.Fprintf(&b, "%d done, %d left", done, left)
	}
	fmt.Fprintf(&b, ", %.0f probes/s", float64(p.sent)/at.Sub(p.drawn).Seconds())
	p.drawn, p.sent = at, 0
	if n := p.lost + p.answered; n > 0 {
		what := "lost"
		if p.trace {
			what = "silent"
		}
		fmt.Fprintf(&b, ", %.1f%% %s", 100*float64(p.lost)/float64(n), what)
	}
	if took := at.Sub(p.begun); !more && done > 0 {
		left := time.Duration(float64(took) / float64(done) * float64(left)).Round(time.Second)
		fmt.Fprintf(&b, ", %v to go", left)
	}
	return b.String()
}

// draw puts a line where the one before was.
func (p *progress) draw(line string) {
	_, _ = fmt.Fprintf(p.w, "\r%-*s", p.width, line) // nothing is to be done about its failing
	p.width = len(line)
}

// wipe takes the line away.
func (p *progress) wipe() {
	if p != nil && p.width > 0 {
		_, _ = fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
		p.width = 0
	}
}
