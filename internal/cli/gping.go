package cli

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"gtrace/probe"
	"gtrace/probe/ping"
	"gtrace/rawsock"
	"gtrace/report"
)

const (
	// Shortest intervals, of ordinary users as in iputils ping and of root.
	leastInterval     = 2 * time.Millisecond
	leastIntervalRoot = 10 * time.Microsecond

	longest = 2147483 * time.Second // int32 milliseconds, as iputils ping

	// flowIDs is how many probes of one flow can be told apart at a time.
	flowIDs = 65534

	// pingBurst is how many requests an ordinary user may have sent at once: what iputils
	// ping lets one preload.
	pingBurst = 3
)

// A pingTool is gping.
type pingTool struct {
	count             int // 0: without end
	interval          time.Duration
	deadline, timeout time.Duration // deadline 0: none
	payload           int
	pattern           string
	ttl               uint8
	quiet             bool
	label             uint32 // of this run
	fleet             pingFleet
}

func newPingTool() *pingTool {
	return &pingTool{
		interval: time.Second, timeout: 10 * time.Second, payload: 56, ttl: 64,
		label: random(1<<20 - 1),
	}
}

func (t *pingTool) name() string { return "gping" }

func (t *pingTool) letters() (source, tos byte) { return 'I', 'Q' }

func (t *pingTool) numericHelp() string {
	return "print addresses only, and ask no name server about them"
}

func (t *pingTool) slower() string { return "a longer --interval" }

func (t *pingTool) usage() string {
	return `Usage: gping [OPTION]... HOST...

Sends ICMP echo requests to each HOST and prints the answers. Options may stand
anywhere; "--" ends them. Exit status: 0 every host answered, 1 one did not,
2 could not be told.
`
}

func (t *pingTool) options() []option {
	return append([]option{
		{long: "count", short: 'c', value: "N", set: count(&t.count, 1, 1<<31-1), help: "stop after N requests; default: go on"},
		{long: "interval", short: 'i', value: "SECONDS", set: seconds(&t.interval, leastIntervalRoot, longest),
			help: "between two requests; default 1; below 0.002 for root alone"},
		{long: "deadline", short: 'w', value: "SECONDS", set: seconds(&t.deadline, time.Millisecond, longest),
			help: "stop after this time, whatever is still open"},
		{long: "timeout", short: 'W', value: "SECONDS", set: seconds(&t.timeout, time.Millisecond, longest),
			help: "wait this long for an answer; default 10"},
		{long: "payload", short: 's', value: "BYTES", set: count(&t.payload, 0, 65507), help: "behind the ICMP header; default 56"},
		{long: "pattern", short: 'p', value: "HEX", set: pattern(&t.pattern), help: "fill the payload with these bytes, up to 16"},
		{long: "ttl", short: 't', value: "TTL", set: count(&t.ttl, 1, 255), help: "time to live or hop limit; default 64"},
		{long: "quiet", short: 'q', set: flag(&t.quiet), help: "print no answers, only the first line and the statistics;\nin JSON leave out \"replies\""},
		{long: "no-replies", set: flag(&t.quiet), help: "the same as --quiet"},
	}, t.fleetOptions()...)
}

func (t *pingTool) check(s *session, hosts int) error {
	if err := t.checkFleet(s); err != nil {
		return err
	}
	switch {
	case t.interval < leastInterval && !s.env.Root:
		return fmt.Errorf("--interval %s: only root may go below %s seconds", inSeconds(t.interval), inSeconds(leastInterval))
	case t.interval < probe.LeastInterval(t.timeout) && t.most() > flowIDs:
		fewer := fmt.Sprintf("--count up to %d", flowIDs)
		if t.deadline != 0 {
			fewer = "a --deadline up to " + inSeconds(flowIDs*t.interval)
		}
		return fmt.Errorf("--interval %s: no more than %d requests can be told apart within --timeout %s and a minute: want at least %s, a shorter --timeout, or %s",
			inSeconds(t.interval), flowIDs, inSeconds(t.timeout), inSeconds(probe.LeastInterval(t.timeout)), fewer)
	case hosts > max(1, s.parallel) && t.count == 0 && t.deadline == 0 && !t.fleet.retrying:
		return fmt.Errorf("%d hosts given, %d at once: they take turns, so --count or --deadline must end each", hosts, s.parallel)
	}
	return nil
}

// most is how many requests a run can send. With --deadline, --count is about answers.
func (t *pingTool) most() int64 {
	switch {
	case t.deadline != 0:
		return int64((t.deadline-1)/t.interval) + 1 // none leaves at the deadline itself
	case t.count != 0:
		return int64(t.count)
	}
	return math.MaxInt64
}

func (t *pingTool) privileged(rawsock.Caps) string { return "" }

func (t *pingTool) sourcePort() uint16 { return 0 }

func (t *pingTool) settings() rawsock.Settings { return rawsock.Settings{} }

func (t *pingTool) named() bool { return false }

func (t *pingTool) exit(rs []result) int { return t.fleet.exit(rs) }

func (t *pingTool) sink(s *session) (probe.Sink, error) {
	sink, err := report.NewPing(s.out, s.format, report.Options{Version: s.env.Version, NoReplies: t.quiet, Quiet: t.quiet, Numeric: s.numeric, Targets: s.several, Names: s.called})
	if err == nil && t.pattern != "" && !t.quiet && s.format == "text" {
		_, err = fmt.Fprintf(s.out, "PATTERN: 0x%x\n", t.pattern)
	}
	return sink, err
}

func (t *pingTool) method() probe.Method {
	return probe.Method{Proto: probe.ICMP, Attempts: t.count, Interval: t.interval}
}

func (t *pingTool) plan(s *session, src netip.AddrPort, dst netip.Addr) (plan, error) {
	header := 20 + 8
	c := ping.Config{
		Src: src, Dst: netip.AddrPortFrom(dst, 0), TTL: t.ttl, TOS: s.tos, Pattern: t.pattern,
		Count: t.count, Interval: t.interval, Deadline: t.deadline, Timeout: t.timeout,
	}
	if dst.Is6() {
		header, c.Label = 40+8, t.label
	}
	c.Size = header + t.payload
	if c.Size > 65535 {
		return plan{}, fmt.Errorf("--payload %d: IPv6 leaves room for %d bytes", t.payload, 65535-header)
	}
	a, err := t.algorithm(c)
	if err != nil {
		return plan{}, err
	}
	m := t.method()
	m.Size, m.SrcPort = c.Size, src.Port()
	if dst.Is6() && s.env.Conn.Caps().Header {
		m.Label = &c.Label
	}
	// What is waited for at once, and a few more where a timeout is seen late.
	waiting := int(min(t.timeout/t.interval+8, flowIDs))
	return plan{a, m, s.limits(waiting, pingBurst)}, nil
}
