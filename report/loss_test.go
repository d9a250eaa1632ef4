package report

import (
	"strings"
	"testing"
	"time"

	"gtrace/probe"
)

// lossy is a trace of two hops, of which the first answered one of three attempts, another when it was asked again, and
// lost the third; losses is what the trace says of that.
func lossy(losses ...probe.HopLoss) []probe.Event {
	again := hopAnswer(number(4, 1, 2))
	es := []probe.Event{started(udpMethod)}
	for _, o := range []probe.Outcome{hopAnswer(number(1, 1, 1)), hopAnswer(number(2, 1, 2), lost), hopAnswer(number(3, 1, 3), lost), again, hopAnswer(number(5, 2, 1)), hopAnswer(number(6, 2, 2))} {
		es = append(es, sent(o), &probe.Probed{Outcome: o})
	}
	return append(es, probe.Losses{Hops: losses}, reached(2))
}

func TestHopSummary(t *testing.T) {
	doc := run(t, NewTrace, "json", Options{Version: "1"}, lossy(
		probe.HopLoss{TTL: 1, Lost: 1, Of: 3, PathLost: 0, PathOf: 2, Burst: 6, Every: time.Second},
		probe.HopLoss{TTL: 2, Lost: 0, Of: 2, PathLost: 0, PathOf: 2})...)
	traceSchemaFile.accepts(t, doc)
	const times = `"min_ms":0.412871,"avg_ms":0.412871,"max_ms":0.412871,"stddev_ms":0,"p50_ms":0.412871,"p90_ms":0.412871`
	for _, want := range []string{
		`"summary":{"sent":3,"received":2,"loss_percent":33.333333,"loss_interval_percent":[6.149032,79.234504],"path_loss_percent":0,"reply_loss_percent":33.333333,` +
			`"rate_limit":{"burst":6,"interval_ms":1000},` + times + `}`,
		`{"attempt":2,"asked":2,"flow":0,"sent_at":"2026-03-01T12:00:00.001000500Z","result":"reply"`,
		`{"attempt":1,"flow":0,`,
		`"summary":{"sent":2,"received":2,"loss_percent":0,"loss_interval_percent":[0,65.762805],"path_loss_percent":0,"reply_loss_percent":0,` + times + `}`,
		`"probes_sent":6,"replies":4,"loss_percent":0,"loss_interval_percent":[0,65.762805]}`,
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("no %s in\n%s", want, doc)
		}
	}
	t.Run("what was not judged has no loss", func(t *testing.T) {
		doc := run(t, NewTrace, "json", Options{Version: "1"}, lossy()...)
		traceSchemaFile.accepts(t, doc)
		if want := `"summary":{"sent":3,"received":2,` + times + `}`; !strings.Contains(doc, want) || strings.Contains(doc, "loss") {
			t.Errorf("want %s and no loss in\n%s", want, doc)
		}
	})
}

func TestTable(t *testing.T) {
	es := lossy(
		probe.HopLoss{TTL: 1, Lost: 1, Of: 3, PathLost: 0, PathOf: 2, Burst: 6, Every: time.Second},
		probe.HopLoss{TTL: 2, Lost: 0, Of: 2, PathLost: 0, PathOf: 2})
	es = append(es[:len(es)-1], probe.Finding{Code: "icmp-rate-limited", TTL: 1, Confidence: "high", Text: "that is no packet loss"}, es[len(es)-1])
	got := run(t, NewTrace, "text", Options{Table: true}, es...)
	const want = `traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets
    Host          Loss      95 % Path  Snt   Last    Avg   Best   Wrst  StDev
                     %         %    %          ms     ms     ms     ms     ms
 1  198.51.100.1  33.3  6.1-79.2  0.0    3  0.413  0.413  0.413  0.413  0.000
 2  198.51.100.1   0.0  0.0-65.8  0.0    2  0.413  0.413  0.413  0.413  0.000
  # icmp-rate-limited: that is no packet loss
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	t.Run("two targets, and nothing known", func(t *testing.T) {
		got := run(t, NewTrace, "text", Options{Table: true}, append(append([]probe.Event{}, es...), started(udpMethod), sent(hopAnswer()), &probe.Probed{Outcome: hopAnswer(lost)}, reached(1))...)
		const tail = `
traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets
    Host  Loss      95 % Path  Snt   Last    Avg   Best   Wrst  StDev
             %         %    %          ms     ms     ms     ms     ms
 1  *        -         -    -    1      -      -      -      -      -
`
		if !strings.HasPrefix(got, want) || strings.TrimPrefix(got, want) != tail {
			t.Errorf("got\n%swant\n%s%s", got, want, tail)
		}
	})
}

// TestTableWidth: whatever a hop with an IPv4 address lost and however long it took, its line fits a terminal.
func TestTableWidth(t *testing.T) {
	share := func(p percent) *percent { return &p }
	for _, tt := range []struct {
		loss, low, high percent
		rtt             time.Duration
		want            string
	}{
		{0, 0, 0.4, 412871 * time.Nanosecond, " 0.0   0.0-0.4  0.0 1003  0.413  0.413  0.413  0.413  0.413"},
		{99.9, 99.4, 99.9, 99999400 * time.Nanosecond, "99.9 99.4-99.9 99.9 1003 99.999 99.999 99.999 99.999 99.999"},
		{100, 99.6, 100, 99999600 * time.Nanosecond, " 100  99.6-100  100 1003 100.00 100.00 100.00 100.00 100.00"},
		{50, 45.5, 54.5, 999999 * time.Microsecond, "50.0 45.5-54.5 50.0 1003 1000.0 1000.0 1000.0 1000.0 1000.0"},
		{50, 45.5, 54.5, time.Hour / 60, "50.0 45.5-54.5 50.0 1003  60000  60000  60000  60000  60000"},
	} {
		rtt := millis(tt.rtt)
		h := &hop{Summary: &hopSummary{Sent: 1003, Loss: &tt.loss, LossRange: &interval{tt.low, tt.high}, Path: share(tt.loss), Avg: &rtt, Min: &rtt, Max: &rtt, Stddev: &rtt},
			Probes: []*traceProbe{{RTT: &rtt}}}
		got := new(traceTable).numbers(h)
		if got != tt.want {
			t.Errorf("got  %q, want\n     %q", got, tt.want)
		}
		if line := " 1  255.255.255.255  " + got; len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}
