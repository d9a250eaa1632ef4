package probe

import (
	"fmt"
	"net/netip"
	"time"
)

// An Event is something worth telling. All kinds are in this file. Those that come with every probe are pointers, *Sent, *Probed and
// *For, to what is valid during Emit alone, as the next has the same place: whoever keeps one copies it.
type Event interface{ Kind() string }

// A Sink takes a run's events in order, from one goroutine. An error ends the run.
type Sink interface{ Emit(Event) error }

// A Flusher is a Sink that may keep what it has to write until it is told that the loop is about to wait. An error ends the run.
type Flusher interface{ Flush() error }

// A Method is how a target is measured.
type Method struct {
	Proto            Proto
	Matrix           string        // trace: which of several methods this is, such as "udp/53"; "": the only one
	Content          Content       // UDP
	Number           uint8         // Raw: the IP protocol
	Classic          bool          // the flow moves with every probe; else it stays ("paris")
	Multipath        bool          // many flows, each of which stays; SrcPort, DstPort and Label are the first one's
	Aside            bool          // Multipath: all flows but the first go to other destinations, next to this one
	Flows            int           // Multipath: so many; 0: as many as it takes
	Confidence       int           // Multipath, as many as it takes: percent, that no branch is missed
	Nodes            int           // of a path with so many branching nodes
	SrcPort, DstPort uint16        // 0 where there is none
	Label            *uint32       // IPv6 flow label; nil where there is none, or the kernel chooses it
	Flags            uint8         // TCP: the segment's flags; 0: SYN
	Route            []netip.Addr  // the gateways of a source route, in order; nil where there is none
	Size             int           // bytes, whole packet
	Options          int           // of them IPv4 options or an IPv6 routing header
	Socket           string        // Caps.Socket
	FirstTTL, MaxTTL uint8         // trace
	Attempts         int           // trace: per TTL; ping: 0 without end
	Interval         time.Duration // ping; trace: at least so long from one probe to a TTL to the next, 0: as slow as routers answer
	Sweep            *Sweep        // ping: the sizes that are asked, and Size is 0; nil: one size
}

// A Sweep is a range of sizes, in bytes of the whole packet.
type Sweep struct {
	From, To, Step int
	DF             bool // none may be fragmented
}

// Started opens a target's run. Whoever sets the run up emits it, before Run.
type Started struct {
	At       time.Time
	Target   string // as the user gave it
	Dst, Src netip.Addr
	Method   Method
}

// Sent tells that a probe left. From the engine.
type Sent struct {
	Serial uint64
	Spec   Spec
	At     time.Time
	Packet []byte // as it left, byte for byte; nil where the kernel wrote the headers
}

// Probed tells one outcome, right when it is known. From the engine.
type Probed struct{ Outcome Outcome }

// Advised tells of a message about a probe that decides nothing: a redirect, a source quench. From
// the engine. The outcome's Answer is NoAnswer; Type, Code, From, At and Gateway say what it is.
type Advised struct{ Outcome Outcome }

// PathMTU tells that a path carries no more than so many bytes: the device's at TTL 0, else what
// the router before that TTL, or silence, told. From probe/pmtu, before the Hop it showed at.
type PathMTU struct {
	TTL   uint8
	Bytes int
	From  netip.Addr // the router that refused more; invalid: this host did, or nobody
}

// Waiting tells that a probe had no answer when the next was due, which is how ping -O sees it. From probe/ping.
type Waiting struct {
	At     time.Time
	Serial uint64
	Spec   Spec
}

// Swept tells at which size answers stop, as far as that is known. Sizes are bytes of the whole packet. From probe/ping, before Finished.
type Swept struct {
	Settled    bool     // it could be told: Unanswered is 0, or proven and 1 more than Answered, or the smallest that was asked
	Doubt      bool     // it could not, for sizes that are answered were lost as well, or none is
	Answered   int      // the largest size below Unanswered that was answered; 0: none was
	Unanswered int      // the smallest that was not; 0: all were
	Resumed    int      // the smallest above Unanswered that was answered all the same; 0: none was
	Because    *Outcome // what was said of Unanswered, or of a larger size for the same reason; nil: nothing was
	Lost       int      // probes of Unanswered that had no answer
	Beside     int      // probes of another size, which is answered, that were sent among those
	BesideLost int      // and so many of them were lost
	Sent       int      // the largest size that this host sent; 0: none was
}

// Interim asks for what is known so far: statistics on request (SIGQUIT) or of an interval.
type Interim struct {
	At     time.Time
	Resets bool // the next interval begins: of a report each so many seconds
}

// For is an event of one of several targets that are measured at once. From probe/many.
type For struct {
	Target int // from 0
	Of     any // the target's own, as it was given
	Event  Event
}

// Hop tells that all attempts at a TTL are decided, in ascending order of TTL, each TTL once;
// Outcomes are in order of attempt, and valid during Emit. From probe/trace. What comes late is a Probed alone.
type Hop struct {
	TTL      uint8
	Outcomes []Outcome
}

// Shared tells of near hops that were not asked, as many traces of the run before had the same there. From probe/trace, before the
// first Hop, which is the one behind them.
type Shared struct {
	Hops []SharedHop // from TTL 1 on
	Seen bool        // the next hop answered in this trace, and is the same as in those; else it has not
}

// A SharedHop is what other traces found at a TTL.
type SharedHop struct {
	TTL    uint8
	From   netip.Addr // invalid: nobody answered any of them
	Traces int        // so many in a row
	Last   time.Time  // when it last answered; zero where nobody did
}

// Links tells which nodes follow which on a path with branches, in ascending order of TTL. From probe/mda, after the hops.
type Links struct{ Links []Link }

// A Link is that flows went from one node to another, one TTL further.
type Link struct {
	TTL      uint8 // of From
	From, To netip.Addr
	Flows    []int // Spec.Flow of them
}

// A Finding is a conclusion about the path, or about the run, with what it rests on in Text and, for programs, in
// Evidence. docs/findings.md has all of them.
type Finding struct {
	Code       string   // such as "dnat-or-nat64-in-front"
	TTL        uint8    // 0 where it is not about one hop
	Between    [2]uint8 // both 0 where it is not about a stretch
	Confidence string   // "high", "medium", "low"
	Text       string
	Evidence   []Evidence
}

// Evidence is what answers at one TTL say, as far as a finding rests on it.
type Evidence struct {
	TTL        uint8 // that the probes were sent with
	From       netip.Addr
	Answers    int   // so many of them say the same
	Type, Code uint8 // ICMP
	ICMP       bool  // these are known
	Reply      uint8 // the answers' own TTL on arrival; 0: not known
	Quoted     uint8 // the TTL in their quotes
	Quotes     bool  // that is known
}

// Witness is the Evidence that n answers alike o give.
func Witness(o *Outcome, n int) Evidence {
	e := Evidence{TTL: o.Spec.TTL, From: o.From, Answers: n, Reply: o.TTL, Quoted: o.Quoted.TTL, Quotes: o.Quoted.Known}
	if o.Answer.IsError() || o.Answer == EchoReply {
		e.Type, e.Code, e.ICMP = o.Type, o.Code, true
	}
	return e
}

// Losses tells what was lost of a trace's probes, by hop: of those hops that ever answered, in ascending order of TTL. From
// probe/trace, before Finished.
type Losses struct{ Hops []HopLoss }

// A HopLoss is what became of the probes to one TTL whose fate is known.
type HopLoss struct {
	TTL              uint8
	Lost, Of         int           // of an attempt that was asked again because of a limit, the last probe; else of all probes
	PathLost, PathOf int           // the smallest share that was lost here or at a later hop, which crossed this one: no more is lost on the path. Hops that limit their answers say nothing of it, but the last, by what it had one for
	Burst            int           // it answers so many at once; 0: it is not known to limit its answers
	Every            time.Duration // and a further one after this long
}

// Checked is what the run can say against itself, so far. From the engine, before each Finished; it is
// of the whole run even where the Finished is that of one target of several (For).
type Checked struct {
	ReceiveDrops uint64  // answers that arrived and were lost on this host
	SlowedTo     float64 // the rate that the run went on at for their sake, in probes a second; 0: as asked for
	SendErrors   uint64  // probes that did not leave, or never got past this host
	Late         uint64
	Duplicates   uint64
	Unmatched    uint64 // messages that answer nothing that was asked
	Malformed    uint64 // messages that cannot be read
	ClockSteps   uint64
	Advisories   uint64     // messages about our probes that decide nothing: redirects, source quenches, unknown errors
	Rejected     Rejections // Unmatched and Malformed, by reason
}

// Findings are what follows for whoever reads the results: where they are not the path's but this host's.
func (c *Checked) Findings() (fs []Finding) {
	if c.ReceiveDrops > 0 {
		text := fmt.Sprintf("this host lost answers that had arrived, for want of buffer (%d packets): silence may be its own and not the path's", c.ReceiveDrops)
		if c.SlowedTo > 0 {
			text += fmt.Sprintf("; the run went on at no more than %.0f probes a second", c.SlowedTo)
		}
		fs = append(fs, Finding{Code: "own-receive-drops", Confidence: "high", Text: text})
	}
	if c.ClockSteps > 0 {
		fs = append(fs, Finding{Code: "clock-step", Confidence: "high",
			Text: fmt.Sprintf("this host's clock was set while the run went on (noticed %d times): the RTTs in question are by the program's own steady clock, but dates before and after do not compare", c.ClockSteps)})
	}
	return fs
}

// A Verdict is how a target's run ended, in the words of the JSON documents.
type Verdict string

const (
	Reached     Verdict = "reached"
	Blocked     Verdict = "unreachable"
	MaxHops     Verdict = "max-hops"
	GapLimit    Verdict = "gap-limit"
	Loop        Verdict = "loop"
	Interrupted Verdict = "interrupted"
	Errored     Verdict = "error"    // nothing could be measured: every probe failed, or the connection did
	AnsweredIt  Verdict = "answered" // ping
	Silent      Verdict = "silent"   // ping
)

// Finished ends a target's run. From the algorithm, as its last event.
type Finished struct {
	At       time.Time
	Complete bool // false where the run was cut short
	Verdict  Verdict
	LastTTL  uint8 // trace: the last TTL that matters (the destination's, or the last probed); 0 if none was
	Distance uint8 // trace: the destination's TTL, where branches go on behind it; 0: LastTTL
	Vague    bool  // trace: Reached, but from which distance is not known
	Err      error // why Errored
}

func (Started) Kind() string  { return "started" }
func (*Sent) Kind() string    { return "sent" }
func (*Probed) Kind() string  { return "probed" }
func (Advised) Kind() string  { return "advised" }
func (PathMTU) Kind() string  { return "path-mtu" }
func (Waiting) Kind() string  { return "waiting" }
func (Swept) Kind() string    { return "sweep" }
func (Interim) Kind() string  { return "interim" }
func (*For) Kind() string     { return "for" }
func (Hop) Kind() string      { return "hop" }
func (Shared) Kind() string   { return "shared-hops" }
func (Links) Kind() string    { return "links" }
func (Finding) Kind() string  { return "finding" }
func (Losses) Kind() string   { return "losses" }
func (Checked) Kind() string  { return "checked" }
func (Finished) Kind() string { return "finished" }
