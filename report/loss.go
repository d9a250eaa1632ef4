package report

import (
	"time"

	"gtrace/internal/stats"
	"gtrace/probe"
)

// A hopSummary is what the probes to a hop, or of the flows through a node, say together.
type hopSummary struct {
	Sent      int       `json:"sent,omitempty"` // 0: not known, of a node
	Received  int       `json:"received"`
	Loss      *percent  `json:"loss_percent,omitempty"`
	LossRange *interval `json:"loss_interval_percent,omitempty"`
	Path      *percent  `json:"path_loss_percent,omitempty"`
	Reply     *percent  `json:"reply_loss_percent,omitempty"`
	Limit     *limit    `json:"rate_limit,omitempty"`
	Min       *millis   `json:"min_ms,omitempty"`
	Avg       *millis   `json:"avg_ms,omitempty"`
	Max       *millis   `json:"max_ms,omitempty"`
	Stddev    *millis   `json:"stddev_ms,omitempty"`
	P50       *millis   `json:"p50_ms,omitempty"`
	P90       *millis   `json:"p90_ms,omitempty"`
}

// A limit is how often a hop answers.
type limit struct {
	Burst int    `json:"burst"`
	Every millis `json:"interval_ms"`
}

// An interval is in percent.
type interval [2]percent

// lossRange is where the chance behind a loss lies, with 95 % confidence; nil where nothing is known.
func lossRange(lost, of int) *interval {
	if of <= 0 {
		return nil
	}
	low, high := stats.Share{Lost: lost, Of: of}.Wilson(stats.Z95)
	return &interval{percent(100 * low), percent(100 * high)}
}

func share(lost, of int) percent { return percent(100 * stats.Share{Lost: lost, Of: of}.Rate()) }

// summary sums up h, of which the trace itself tells l, if anything. It is nil where that is no more than a probe says itself.
func (h *hop) summary(l *probe.HopLoss) *hopSummary {
	var s hopSummary
	samples := s.count(h.Probes)
	if l != nil { // whoever never answers loses nothing that is known of
		s.Sent, s.Received = l.Of, l.Of-l.Lost
		loss, path := share(l.Lost, l.Of), share(l.PathLost, l.PathOf)
		reply := max(0, loss-path)
		s.Loss, s.LossRange, s.Path, s.Reply = &loss, lossRange(l.Lost, l.Of), &path, &reply
		if l.Burst > 0 {
			s.Limit = &limit{l.Burst, millis(l.Every)}
		}
	}
	if s.Sent < 2 { // it has said all of itself
		return nil
	}
	s.timed(samples)
	return &s
}

// count counts what became of probes, and returns the times of those that have one.
func (s *hopSummary) count(ps []*traceProbe) (samples []time.Duration) {
	for _, p := range ps {
		switch p.Result {
		case "reply":
			s.Received++
			s.Sent++
		case "timeout":
			s.Sent++
		}
		if p.RTT != nil {
			samples = append(samples, time.Duration(*p.RTT))
		}
	}
	return samples
}

// timed sums up times, which it sorts.
func (s *hopSummary) timed(samples []time.Duration) {
	if len(samples) == 0 {
		return
	}
	var times stats.Series
	for _, d := range samples {
		times.Add(d)
	}
	s.Min, s.Avg, s.Max, s.Stddev = spread(&times)
	ps := stats.Percentiles(samples, 50, 90)
	s.P50, s.P90 = inMillis(ps[0]), inMillis(ps[1])
}

// spread is what a series of at least one time has in every summary; stddev is nil for one alone.
func spread(times *stats.Series) (least, mean, most, stddev *millis) {
	if v, ok := times.Stddev(); ok {
		stddev = inMillis(v)
	}
	return inMillis(times.Min()), inMillis(times.Mean()), inMillis(times.Max()), stddev
}

func inMillis(d time.Duration) *millis { return (*millis)(&d) }
