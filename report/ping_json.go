package report

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"gtrace/internal/stats"
	"gtrace/probe"
)

const pingSchema = "gping/ping/v1"

// pingDocument gathers the document of schema/gping-ping-v1.json. It keeps
// eight bytes an answer for the percentiles, and the replies unless they are
// not wanted; of each no more than Options allows.
type pingDocument struct {
	start    probe.Started
	o        *Options
	brief    bool // no replies
	flight   flight
	replies  []*reply
	bySerial []*reply // of serial 1 first; nil where there is none yet
	tally    tally
	smooth   time.Duration // round-trip time, an eighth of each new one taken over
	refused  uint64        // left, but got no further than this host
	samples  []time.Duration
	crowded  bool // there were more times than are kept, and none are
	checked  *selfCheck
	swept    *probe.Swept
}

func newPingDocument(s probe.Started, o *Options) collector {
	d := &pingDocument{start: s, o: o, brief: o.NoReplies}
	if !d.brief {
		n := min(s.Method.Attempts, 16) // of a short series it is known how many there will be
		d.replies, d.bySerial, d.samples = make([]*reply, 0, n), make([]*reply, 0, n), make([]time.Duration, 0, n)
	}
	return d
}

// received reports whether o is what a ping waits for: the destination's own
// answer, and not an error about the probe.
func received(o *probe.Outcome) bool {
	if o.Spec.Proto.IsICMP() {
		return o.Answer.Terminal() && o.Answer != probe.PortUnreachable && o.Answer != probe.ProtocolUnreachable
	}
	return o.Answer.Terminal()
}

// tally counts the answers to a series of probes as ping does. Late answers are
// received; further answers to one probe are not, and are left out of the
// times. Those of which only the flow is known are a flight's to count.
type tally struct {
	received, duplicates, corrupted, errors uint64
	reordered                               uint64 // received after a later probe's reply (RFC 4737 section 3.3)
	latest                                  uint32 // number of the latest probe received
	times                                   stats.Series
}

// add takes an answer and returns its time where that counts.
func (t *tally) add(o *probe.Outcome) (time.Duration, bool) {
	switch {
	case o.Answer == probe.NoAnswer:
		return 0, false
	case o.Status == probe.Failed, !received(o): // an error may come from this host itself
		t.errors++
		return 0, false
	case o.Serial == 0:
		return 0, false
	case o.Duplicate:
		t.duplicates++
		return 0, false
	}
	t.received++
	if o.Spec.Attempt < t.latest {
		t.reordered++
	}
	t.latest = max(t.latest, o.Spec.Attempt)
	if o.Corrupted {
		t.corrupted++
	}
	d, ok := rtt(o)
	if ok {
		t.times.Add(d)
	}
	return d, ok
}

type pingMethod struct {
	Protocol   string  `json:"protocol"`
	DstPort    uint16  `json:"destination_port,omitempty"`
	SrcPort    uint16  `json:"source_port,omitempty"`
	Identifier uint16  `json:"identifier,omitempty"`
	Label      *uint32 `json:"flow_label,omitempty"`
	Size       int     `json:"size_bytes,omitempty"`
	Options    int     `json:"options_bytes,omitempty"`
	Interval   millis  `json:"interval_ms"`
	Socket     string  `json:"socket,omitempty"`
}

func newPingMethod(m probe.Method) pingMethod {
	p := pingMethod{m.Proto.String(), m.DstPort, m.SrcPort, 0, m.Label, m.Size, m.Options, millis(m.Interval), m.Socket}
	if m.Proto.IsICMP() { // its ports are the identifier and a checksum
		p.DstPort, p.SrcPort, p.Identifier = 0, 0, m.SrcPort
	}
	return p
}

type reply struct {
	Seq       uint32     `json:"seq,omitempty"`
	Size      int        `json:"size_bytes,omitempty"` // of a sweep
	SentAt    instant    `json:"sent_at,omitzero"`
	Result    string     `json:"result"`
	Error     string     `json:"error,omitempty"`
	From      netip.Addr `json:"from,omitzero"`
	Name      string     `json:"name,omitempty"`
	RTT       *millis    `json:"rtt_ms,omitempty"`
	Clock     string     `json:"clock,omitempty"`
	Match     string     `json:"match,omitempty"`
	ReplyTTL  uint8      `json:"reply_ttl,omitempty"`
	Bytes     int        `json:"bytes,omitempty"`
	Dups      *uint64    `json:"duplicates,omitempty"`
	Late      bool       `json:"late"`
	Corrupted *bool      `json:"corrupted,omitempty"`
	answer
	MTU       int              `json:"mtu,omitempty"`
	WrongAt   *int             `json:"wrong_at,omitempty"`
	Timestamp *clockReading    `json:"timestamp,omitempty"`
	Mask      string           `json:"mask,omitempty"`
	Interface *probedInterface `json:"interface,omitempty"`
	Node      *node            `json:"node,omitempty"`
	Route     []netip.Addr     `json:"route,omitempty"`
	Stamps    []hopStamp       `json:"stamps,omitempty"`
	Missed    int              `json:"unrecorded_hops,omitempty"`

	of struct { // what those above point to
		rtt       millis
		dups      uint64
		corrupted bool
	}
}

// A node is what a node information reply says.
type node struct {
	Answers []string `json:"answers,omitempty"`
	Fault   string   `json:"fault,omitempty"`
}

// newNode leaves out a name without labels, which iputils prints as none.
func newNode(o *probe.Outcome) *node {
	answers, fault := nodeAnswer(o)
	all := len(answers)
	answers = slices.DeleteFunc(answers, func(s string) bool { return s == "" })
	if fault == "" && len(answers) < all {
		fault = "a name without labels"
	}
	return &node{answers, fault}
}

// reply is newReply, with the size where there are several.
func (d *pingDocument) reply(o *probe.Outcome) *reply {
	r := newReply(o)
	r.Size = d.size(o.Serial, &o.Spec)
	return r
}

// size is how large a probe of a sweep is; else 0.
func (d *pingDocument) size(serial uint64, s *probe.Spec) int {
	if d.start.Method.Sweep == nil || serial == 0 { // which probe of the flow it is is not known
		return 0
	}
	return s.Size
}

func newReply(o *probe.Outcome) *reply {
	r := &reply{Seq: seqOf(o), SentAt: instant{o.Sent}, Error: failure(o),
		From: o.From, ReplyTTL: o.TTL, Late: o.Late, answer: newAnswer(o), MTU: o.MTU}
	switch {
	case o.Status == probe.Lost:
		r.Result = "timeout"
	case o.Status == probe.Answered && received(o):
		r.of.corrupted = o.Corrupted
		r.Result, r.Bytes, r.Corrupted = "reply", o.Bytes, &r.of.corrupted
	default:
		r.Result = "error"
	}
	if r.Result == "reply" {
		r.kind(o)
	}
	if o.Status == probe.Answered && o.Match != probe.NoMatch {
		r.Match = o.Match.String()
	}
	if d, ok := rtt(o); ok {
		r.of.rtt = millis(d)
		r.RTT, r.Clock = &r.of.rtt, o.Clock.String()
	}
	return r
}

// seqOf is the number of the probe that o is about; 0 where it answers the flow and which of its probes is not
// known: its Spec is any one's then.
func seqOf(o *probe.Outcome) uint32 {
	if o.Serial == 0 {
		return 0
	}
	return o.Spec.Attempt
}

// kind is what replies of some kinds say beside that they came.
func (r *reply) kind(o *probe.Outcome) {
	switch o.Answer {
	case probe.EchoReply:
		if o.Corrupted && o.Payload != nil {
			r.WrongAt = new(o.Wrong)
		}
	case probe.TimestampReply:
		r.Timestamp = newClockReading(o)
	case probe.MaskReply:
		r.Mask = mask(o.Mask)
	case probe.ExtEchoReply:
		r.Interface = newProbedInterface(o)
	case probe.NodeReply:
		r.Node = newNode(o)
	}
	eachOption(o.Options, func(typ uint8, b []byte) {
		switch {
		case typ == optionRoute && len(b) > 3:
			r.Route = addresses(written(b, 3))
		case typ == optionStamp:
			r.Stamps, r.Missed = hopStamps(b)
		}
	})
}

func (d *pingDocument) add(e probe.Event) {
	switch e := e.(type) {
	case *probe.Sent:
		d.flight.left(e.Serial)
	case *probe.Probed:
		d.outcome(&e.Outcome)
	case probe.Checked:
		d.checked = newSelfCheck(e)
	case probe.Swept:
		d.swept = &e
	case probe.Interim:
		d.interim()
	}
}

// interim writes what SIGQUIT asks for, as text does. An error of standard error has no remedy.
func (d *pingDocument) interim() {
	if d.o.Side == nil {
		return
	}
	p := stretch{d.flight.sent - min(d.flight.sent, d.refused), d.tally.received + d.flight.stand, d.tally.times, d.smooth}
	_, _ = d.o.Side.Write(p.short([]byte("\r"), true))
}

func (d *pingDocument) outcome(o *probe.Outcome) {
	if t, ok := d.tally.add(o); ok {
		d.sample(t)
	}
	if t, ok := rtt(o); ok && received(o) {
		d.smooth = smoothed(d.smooth, t)
	}
	if o.Status == probe.Failed && o.Answer != probe.NoAnswer && !o.Duplicate {
		d.refused++
	}
	d.flight.decided(o)
	if d.brief || o.Serial == 0 { // of the flow, but of no probe
		return
	}
	ask(o, d.o.Names)
	for uint64(len(d.bySerial)) < o.Serial {
		d.bySerial = append(d.bySerial, nil)
	}
	old := d.bySerial[o.Serial-1]
	if o.Duplicate {
		if old != nil {
			*old.Dups++
		}
		return
	}
	r := d.reply(o)
	r.Dups = &r.of.dups
	if old != nil { // it was lost, and this is its late answer
		*old = *r
		return
	}
	d.bySerial[o.Serial-1] = r
	d.replies = append(d.replies, r)
	if d.o.MostReplies != 0 && len(d.replies) > d.o.MostReplies {
		d.replies, d.bySerial, d.brief = nil, nil, true
		if d.o.TooMany != nil {
			d.o.TooMany()
		}
	}
}

// sample keeps a time, as long as all of them can be kept: percentiles of some are not those of all.
func (d *pingDocument) sample(t time.Duration) {
	switch {
	case d.crowded:
	case d.o.MostTimes != 0 && len(d.samples) == d.o.MostTimes:
		d.samples, d.crowded = nil, true
	default:
		d.samples = append(d.samples, t)
	}
}

type pingJSON struct {
	head
	Method pingMethod `json:"method"`
	ending
	Replies   *[]*reply   `json:"replies,omitempty"`
	Sweep     *sweep      `json:"sweep,omitempty"`
	Summary   pingSummary `json:"summary"`
	SelfCheck *selfCheck  `json:"self_check,omitempty"`
}

type pingSummary struct {
	Sent       uint64    `json:"sent"`
	Received   uint64    `json:"received"`
	Duplicates uint64    `json:"duplicates"`
	Corrupted  uint64    `json:"corrupted"`
	Reordered  uint64    `json:"reordered"`
	Errors     uint64    `json:"errors"`
	FlowOnly   uint64    `json:"flow_only,omitempty"`
	InFlight   uint64    `json:"in_flight,omitempty"`
	Loss       *percent  `json:"loss_percent,omitempty"`
	LossRange  *interval `json:"loss_interval_percent,omitempty"`
	Min        *millis   `json:"min_ms,omitempty"`
	Avg        *millis   `json:"avg_ms,omitempty"`
	Max        *millis   `json:"max_ms,omitempty"`
	Mdev       *millis   `json:"mdev_ms,omitempty"`
	Stddev     *millis   `json:"stddev_ms,omitempty"`
	Jitter     *millis   `json:"jitter_ms,omitempty"`
	P50        *millis   `json:"p50_ms,omitempty"`
	P90        *millis   `json:"p90_ms,omitempty"`
	P95        *millis   `json:"p95_ms,omitempty"`
	P99        *millis   `json:"p99_ms,omitempty"`
}

func (d *pingDocument) summary() pingSummary {
	t, f := &d.tally, &d.flight
	lost, open := f.accounted()
	s := pingSummary{Sent: f.sent, Received: t.received + lost + open, Duplicates: t.duplicates,
		Corrupted: t.corrupted, Reordered: t.reordered, Errors: t.errors, FlowOnly: f.flowOnly, InFlight: uint64(len(f.open)) - open}
	// An ICMP error in a reply's place is a loss; a probe under way is not yet
	// anything, and one that never left says nothing about the network.
	missing := f.lost - lost + f.answered - min(t.received, f.answered)
	if l, ok := stats.Loss(missing, s.Received); ok {
		s.Loss, s.LossRange = (*percent)(&l), lossRange(int(missing), int(missing+s.Received))
	}
	if t.times.N() == 0 {
		return s
	}
	s.Min, s.Avg, s.Max, s.Stddev = spread(&t.times)
	s.Mdev = inMillis(t.times.Mdev())
	if v, ok := t.times.Jitter(); ok {
		s.Jitter = inMillis(v)
	}
	if d.crowded {
		return s
	}
	ps := stats.Percentiles(d.samples, 50, 90, 95, 99)
	s.P50, s.P90, s.P95, s.P99 = inMillis(ps[0]), inMillis(ps[1]), inMillis(ps[2]), inMillis(ps[3])
	return s
}

func (d *pingDocument) document(f probe.Finished) any {
	p := &pingJSON{head: newHead(pingSchema, d.start, *d.o), Method: newPingMethod(d.start.Method),
		ending: newEnding(d.start, f), Sweep: newSweep(&d.start, d.swept), Summary: d.summary(), SelfCheck: d.checked}
	if !d.brief {
		slices.SortStableFunc(d.replies, func(a, b *reply) int { return cmp.Compare(a.Seq, b.Seq) })
		for _, r := range d.replies {
			if d.o.Names != nil && r.From.IsValid() {
				r.Name = nameOf(d.o.Names, r.From)
			}
		}
		p.Replies = &d.replies
	}
	return p
}
