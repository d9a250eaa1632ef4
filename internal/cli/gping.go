package cli

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
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

	// leastBroadcast is an ordinary user's where many may answer, as in iputils ping.
	leastBroadcast = time.Second

	longest = 2147483 * time.Second // int32 milliseconds, as iputils ping

	// floodInterval is what a flood that nobody answers keeps to: probe/ping's blind.
	floodInterval = 10 * time.Millisecond

	// pingBurst is how many requests an ordinary user may have sent at once: what iputils
	// ping lets one preload.
	pingBurst = 3
)

// The headings of gping's options.
const (
	groupKinds   = "What is asked"
	groupPace    = "How many and how fast"
	groupPackets = "Packets and their way"
	groupOutput  = "Output"
)

// kinds are what --kind takes.
var kinds = map[string]probe.Proto{
	"echo": probe.ICMP, "timestamp": probe.Timestamp, "mask": probe.Mask, "probe": probe.ExtEcho, "tcp": probe.TCP, "udp": probe.UDP,
}

// A pingTool is gping.
type pingTool struct {
	kind   string // a key of kinds
	port   uint16 // of tcp and udp; 0: not given
	query  probe.Query
	probed bool // query says which interface
	node   nodeQuery

	count             int // 0: without end
	interval          time.Duration
	intervalGiven     bool
	deadline, timeout time.Duration // deadline 0: none
	adaptive, flood   bool
	preload           int

	payload      int
	payloadGiven bool
	sweep        sweep
	pattern      string
	ttl          uint8
	label        uint32 // of this run
	labelGiven   bool
	mark         uint32
	fragment     string // a word of --pmtudisc
	identifier   uint16
	record       ping.Record
	hops         []netip.Addr // that record asks
	gateways     []netip.Addr
	source       netip.Addr
	device       string
	from         bool // --interface or --sticky
	broadcast    bool
	set          rawsock.Settings // what else of it options set

	audible, stamped, outstanding, quiet, verbose, precise, resolve, integerLoss bool
	userTimes                                                                    bool

	leftOut bool // of documents are replies, and it was told
	crowd   bool // one of the hosts is an address at which many may answer
	links   links
	literal string // "ping" or "ping6", where the program was called so; else ""
	fleet   pingFleet
}

func newPingTool() *pingTool {
	return &pingTool{
		kind: "echo", interval: time.Second, timeout: 10 * time.Second, payload: 56, ttl: 64, preload: 1,
		label: random(1<<20 - 1), fragment: "want",
	}
}

func (t *pingTool) name() string {
	if t.literal != "" {
		return t.literal
	}
	return "gping"
}

func (t *pingTool) verbatim() bool { return t.literal != "" }

// letters leaves -I to --interface, which takes an address too.
func (t *pingTool) letters() (source, tos byte) { return 0, 'Q' }

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
	const root = " for root alone"
	return append([]option{
		{long: "kind", value: "KIND", set: t.setKind, group: groupKinds, words: []string{"echo", "timestamp", "mask", "probe", "tcp", "udp"},
			help: "echo (default), timestamp (ICMP 13), mask (ICMP 17), probe (RFC 8335\nextended echo, about --probed), tcp (SYN) or udp (to --port)"},
		{long: "port", value: "PORT", set: count(&t.port, 1, 65535), group: groupKinds, help: "of tcp and udp; default 80 and 33434"},
		{long: "probed", value: "NAME|INDEX|ADDRESS", set: t.setProbed, group: groupKinds,
			help: "with --kind=probe: the interface of HOST whose state is asked for"},
		{long: "node-info", short: 'N', value: "QUERY", set: t.node.set, group: groupKinds, words: nodeWords,
			help: "ask an IPv6 node for its names or addresses instead (RFC 4620):\nname, ipv6, ipv6-all, -compatible, -global, -linklocal or -sitelocal, ipv4,\nipv4-all; about HOST, unless subject-ipv6=, subject-ipv4= or subject-name=\nsays about whom"},

		{long: "count", short: 'c', value: "N", set: count(&t.count, 1, 1<<31-1), group: groupPace, help: "stop after N requests, with --deadline after N answers; default: go\non"},
		{long: "interval", short: 'i', value: "SECONDS", set: t.setInterval, group: groupPace,
			help: "between two requests; default 1, less than 0.002" + root},
		{long: "deadline", short: 'w', value: "SECONDS", set: seconds(&t.deadline, time.Millisecond, longest), group: groupPace,
			help: "stop after this time; what is not answered by then is lost"},
		{long: "timeout", short: 'W', value: "SECONDS", set: t.setTimeout, group: groupPace,
			help: "wait this long for an answer; default 10; 0: as long as can be"},
		{long: "adaptive", short: 'A', set: flag(&t.adaptive), group: groupPace,
			help: "the interval follows the round-trip time; not below 0.002 but\nfor root"},
		{long: "flood", short: 'f', set: flag(&t.flood), group: groupPace,
			help: "print a dot for a request and a backspace for an answer; without\n--interval as fast as answers come, or 100 a second;" + root},
		{long: "preload", short: 'l', value: "N", set: count(&t.preload, 1, 65536), group: groupPace,
			help: "send N requests at once at the start, more than 3" + root},

		{long: "payload", short: 's', value: "BYTES", set: t.setPayload, group: groupPackets, help: "behind the ICMP header; default 56"},
		{long: "sweep", value: "FROM-TO[/STEP]", set: t.sweep.set, group: groupPackets,
			help: "ask payloads of these sizes, and find the one at which answers stop;\n--count is how often each is asked at first, default 1; --interval is 0.1\nfor echo, and --pmtudisc probe, unless given"},
		{long: "pattern", short: 'p', value: "HEX", set: pattern(&t.pattern), group: groupPackets, help: "fill the payload with these bytes, up to 16"},
		{long: "ttl", short: 't', value: "TTL", set: count(&t.ttl, 1, 255), group: groupPackets, help: "time to live or hop limit; default 64"},
		{long: "identifier", short: 'e', value: "N", set: count(&t.identifier, 1, 65535), group: groupPackets,
			help: "of the ICMP requests, or the source port of tcp and udp; default: a\nrandom one"},
		{long: "flowlabel", short: 'F', value: "N", set: t.setLabel, group: groupPackets,
			help: "IPv6 flow label, 0 to 0xfffff; default, and 0, a random one"},
		{long: "pmtudisc", short: 'M', value: "HOW", set: word(&t.fragment, "do", "want", "dont", "probe"), group: groupPackets, words: []string{"do", "want", "dont", "probe"},
			help: "do: never fragment, and send nothing that a router has called too big;\nwant (default): fragment here alone; dont: routers may, too; probe: never,\nand believe no router"},
		{long: "record-route", short: 'R', set: t.setRecord, group: groupPackets, help: "have the nodes on the way write their addresses in (IPv4)"},
		{long: "ip-timestamp", short: 'T', value: "WHAT", set: t.setStamps, group: groupPackets, words: []string{"tsonly", "tsandaddr", "tsprespec="},
			help: "have them write times in: tsonly, tsandaddr (with addresses),\ntsprespec=ADDRESS,... (of up to four) (IPv4)"},
		{long: "gateway", value: "ADDRESS,...", set: t.setGateways, group: groupPackets, words: []string{"@host"},
			help: "go by these routers, by a loose source route (IPv4)"},
		{long: "interface", short: 'I', value: "ADDRESS|DEVICE", set: t.setInterface, group: groupPackets, words: []string{"@interface"},
			help: "send from this address, or by this interface; may be given twice,\nfor both"},
		{long: "sticky", short: 'B', set: flag(&t.from), group: groupPackets,
			help: "print the source, and keep to it, which is always so"},
		{long: "connect", short: 'C', set: func(string) error { return nil }, group: groupPackets,
			help: "hear of a missing way at once and take answers of HOST alone, which\nis always so"},
		{long: "broadcast", short: 'b', set: flag(&t.broadcast), group: groupPackets, help: "HOST may be a broadcast address"},
		{long: "no-loop", short: 'L', set: flag(&t.set.NoLoop), group: groupPackets, help: "multicast requests do not come back to this host"},
		{long: "direct", short: 'r', set: flag(&t.set.Direct), group: groupPackets, help: "only to hosts on a network of this host, past the routing table"},
		{long: "fwmark", short: 'm', value: "N", set: bits(&t.mark, uint32(1<<32-1)), group: groupPackets, help: "firewall mark of the requests" + root},
		{long: "sndbuf", short: 'S', value: "BYTES", set: count(&t.set.SendBuffer, 1, 1<<31-1), group: groupPackets, help: "send buffer of the sockets"},
		{long: "debug", short: 'd', set: flag(&t.set.Debug), group: groupPackets, help: "debug the sockets (SO_DEBUG)" + root},

		{long: "quiet", short: 'q', set: flag(&t.quiet), group: groupOutput, help: "print no answers, only the first line and the statistics;\nin JSON leave out \"replies\""},
		{long: "no-replies", set: flag(&t.quiet), group: groupOutput, help: "the same as --quiet"},
		{long: "verbose", short: 'v', set: flag(&t.verbose), group: groupOutput, help: "print identifiers, duplicates of multicast, and messages that decide\nnothing"},
		{long: "outstanding", short: 'O', set: flag(&t.outstanding), group: groupOutput, help: "tell of a request that has no answer when the next is due"},
		{long: "print-times", short: 'D', set: flag(&t.stamped), group: groupOutput, help: "print the time before each line (Unix time)"},
		{long: "audible", short: 'a', set: flag(&t.audible), group: groupOutput, help: "ring the terminal's bell for an answer"},
		{long: "user-times", short: 'U', set: flag(&t.userTimes), group: groupOutput, help: "round-trip times by this program's clock, not the kernel's stamps"},
		{long: "precise", short: '3', set: flag(&t.precise), group: groupOutput, help: "print microseconds of every time"},
		{long: "resolve", short: 'H', set: flag(&t.resolve), group: groupOutput, help: "print names also where HOST is an address: the same as --names"},
		{long: "loss-format", value: "HOW", set: t.setLoss, group: groupOutput, words: []string{"float", "int"},
			help: "int: loss in whole percent and one kind of trouble beside it, as\ncheck_ping needs it; default float"},
	}, t.fleetOptions()...)
}

func (t *pingTool) setKind(s string) error {
	return word(&t.kind, "echo", "timestamp", "mask", "probe", "tcp", "udp")(s)
}

func (t *pingTool) setInterval(s string) error {
	t.intervalGiven = true
	least := leastIntervalRoot
	if t.literal != "" {
		least = 0
	}
	return seconds(&t.interval, least, longest)(s)
}

// setTimeout takes 0 for the longest there is, as iputils.
func (t *pingTool) setTimeout(s string) error {
	if d, err := parseSeconds(s); err == nil && d == 0 {
		t.timeout = longest
		return nil
	}
	return seconds(&t.timeout, time.Millisecond, longest)(s)
}

func (t *pingTool) setPayload(s string) error {
	t.payloadGiven = true
	return count(&t.payload, 0, maxPayload)(s)
}

func (t *pingTool) setLabel(s string) error {
	var label uint32
	if err := bits(&label, uint32(1<<20-1))(s); err != nil {
		return err
	}
	t.labelGiven = true
	if label != 0 {
		t.label = label
	}
	return nil
}

func (t *pingTool) setLoss(s string) error {
	var how string
	err := word(&how, "float", "int")(s)
	t.integerLoss = how == "int"
	return err
}

func (t *pingTool) setRecord(string) error {
	if t.record != ping.NoRecord {
		return errors.New("--record-route and --ip-timestamp exclude each other")
	}
	t.record = ping.Route
	return nil
}

func (t *pingTool) setStamps(s string) error {
	what, hops, some := strings.Cut(s, "=")
	record, ok := map[string]ping.Record{"tsonly": ping.Stamps, "tsandaddr": ping.StampsAddresses, "tsprespec": ping.StampsOf}[what]
	switch {
	case !ok || some != (record == ping.StampsOf):
		return errors.New("want tsonly, tsandaddr, or tsprespec= and one to four addresses")
	case t.record != ping.NoRecord:
		return errors.New("--record-route and --ip-timestamp exclude each other")
	}
	t.record = record
	if !some {
		return nil
	}
	return addressList(&t.hops, 4)(hops)
}

func (t *pingTool) setGateways(s string) error { return addressList(&t.gateways, 8)(s) }

// addressList returns a setter for IPv4 addresses with commas between them.
func addressList(into *[]netip.Addr, most int) func(string) error {
	return func(s string) error {
		var list []netip.Addr
		for _, f := range strings.Split(s, ",") {
			a, err := netip.ParseAddr(f)
			if err != nil || !a.Is4() || len(list) == most {
				return fmt.Errorf("want one to %d IPv4 addresses, with commas between them", most)
			}
			list = append(list, a)
		}
		*into = list
		return nil
	}
}

// setInterface keeps a device; an address is the session's source, which check takes over.
func (t *pingTool) setInterface(s string) error {
	t.from = true
	if a, err := netip.ParseAddr(s); err == nil {
		t.source = a.Unmap()
		return nil
	}
	return deviceName(&t.device)(s)
}

// deviceName returns a setter for the name of an interface.
func deviceName(into *string) func(string) error {
	return func(s string) error {
		if s == "" || len(s) > 255 || strings.ContainsAny(s, "/ \t\n") {
			return errors.New("want the name of an interface, such as eth0, or an address of this host")
		}
		*into = s
		return nil
	}
}

func (t *pingTool) check(s *session, hosts int) error {
	if err := t.checkSweep(s); err != nil {
		return err
	}
	if err := t.checkFleet(s); err != nil {
		return err
	}
	if err := t.checkKind(s); err != nil {
		return err
	}
	if t.source.IsValid() {
		if s.source.IsValid() && s.source != t.source {
			return fmt.Errorf("--interface %s and --source %s exclude each other", t.source, s.source)
		}
		s.source = t.source
	}
	if t.resolve {
		if err := s.setNamed(""); err != nil {
			return err
		}
	}
	s.crowds = true
	t.sources(s)
	if t.flood && !t.intervalGiven {
		t.interval = 0
	}
	least := leastInterval
	if s.env.Root {
		least = 0
	}
	switch {
	case t.flood && t.interval < least:
		return fmt.Errorf("--flood: only root may flood; with --interval %s or more everybody may", inSeconds(least))
	case t.interval < least:
		return fmt.Errorf("--interval %s: only root may go below %s seconds", inSeconds(t.interval), inSeconds(least))
	case t.preload > pingBurst && !s.env.Root:
		return fmt.Errorf("--preload %d: only root may send more than %d requests at once", t.preload, pingBurst)
	case hosts > max(1, s.parallel) && t.count == 0 && t.deadline == 0 && !t.fleet.retrying:
		return fmt.Errorf("%d hosts given, %d at once: they take turns, so --count or --deadline must end each", hosts, s.parallel)
	}
	if err := t.checkIDs(); err != nil {
		return err
	}
	if err := t.checkKept(s, hosts); err != nil {
		return err
	}
	if t.proto() == probe.Mask && s.ordinary() {
		return errors.New("--kind=mask: only root may have address mask requests sent (sudo); RFC 6918 has made them history")
	}
	if t.mark != 0 {
		if err := s.rootOnly("--fwmark"); err != nil {
			return err
		}
	}
	if t.userTimes && s.env.Conn != nil {
		s.env.Conn = userClock{s.env.Conn}
	}
	return nil
}

// checkIDs refuses what runs out of ids if nothing is answered, and would then stand still until one is free again. As
// long as can be, and iputils' time, which is for the end of a run alone, are as long as ids last.
func (t *pingTool) checkIDs() error {
	n, least, numbered := t.ids()
	if t.unanswered() >= least {
		return nil
	}
	lasts := time.Duration(n) * t.unanswered()
	if !numbered {
		lasts -= probe.Remembered(0)
	}
	if lasts > 0 && (t.timeout == longest || t.literal != "") {
		t.timeout = min(t.timeout, lasts)
		return nil
	}
	what, want := "--interval "+inSeconds(t.interval), ""
	switch {
	case t.flood && t.asAnswered():
		what, want = "--flood", "an --interval of "
	case t.adaptive:
		what, want = "--adaptive", "an --interval of "
	}
	can, rest := "told apart", " and a minute"
	if numbered {
		can, rest = "waited for", ""
	}
	if t.fleet.retrying {
		return fmt.Errorf("--retry %d: no more than %d requests can be %s within --timeout %s%s: want --retry up to %d, or a longer --timeout",
			t.fleet.retries, n, can, inSeconds(t.timeout), rest, n-1)
	}
	fewer := fmt.Sprintf("--count up to %d", n)
	if t.deadline != 0 {
		fewer = "a --deadline up to " + inSeconds(time.Duration(n)*t.unanswered())
	}
	return fmt.Errorf("%s: no more than %d requests can be %s within --timeout %s%s: want %sat least %s, a shorter --timeout, or %s",
		what, n, can, inSeconds(t.timeout), rest, want, inSeconds(least), fewer)
}

// ids are how many requests can be told apart at a time, and the least time between two of which there are never
// more: 0 where the run has no more at all. Numbered ones that are answered do not count.
func (t *pingTool) ids() (n int, least time.Duration, numbered bool) {
	s := t.sample()
	n, numbered = probe.IDs(&s)
	count := t.count
	if t.fleet.retrying || t.sweep.on() {
		count = t.most()
	}
	if t.deadline == 0 && count != 0 && count <= n {
		return n, 0, numbered
	}
	least = probe.LeastInterval(&s)
	if t.deadline != 0 { // with which --count is about answers
		least = min(least, (t.deadline+time.Duration(n)-1)/time.Duration(n))
	}
	return n, least, numbered
}

// sample is a request as far as it matters for telling it from others.
func (t *pingTool) sample() probe.Spec {
	s := probe.Spec{Proto: t.proto(), Dst: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), Timeout: t.timeout}
	if s.Proto == probe.ICMP || s.Proto == probe.UDP {
		s.Size = headerOf(s.Dst.Addr()) + t.payload
	}
	return s
}

// asAnswered reports whether requests leave as answers come.
func (t *pingTool) asAnswered() bool { return t.adaptive || t.interval == 0 }

// unanswered is the time between two requests where nothing is answered.
func (t *pingTool) unanswered() time.Duration {
	switch {
	case t.fleet.retrying:
		return t.timeout
	case t.asAnswered():
		return floodInterval
	}
	return t.interval
}

// checkKind looks at what only some kinds of probes have.
func (t *pingTool) checkKind(s *session) error {
	if t.node.asked {
		if t.kind != "echo" {
			return fmt.Errorf("--node-info and --kind=%s exclude each other", t.kind)
		}
		if s.family == 4 {
			return errors.New("--node-info: IPv4, which --ipv4 asks for, has no such queries")
		}
		if t.literal == "" {
			s.family = 6
		}
	}
	p := t.proto()
	onlyV4 := ""
	switch {
	case p == probe.Timestamp || p == probe.Mask:
		onlyV4 = "--kind=" + t.kind
	case t.record == ping.Route:
		onlyV4 = "--record-route"
	case t.record != ping.NoRecord:
		onlyV4 = "--ip-timestamp"
	case len(t.gateways) > 0:
		onlyV4 = "--gateway"
	}
	switch {
	case onlyV4 != "" && t.literal == "" && s.family == 6:
		return fmt.Errorf("%s: there is no such thing in IPv6", onlyV4)
	case t.port != 0 && p != probe.TCP && p != probe.UDP:
		return fmt.Errorf("--port %d: --kind=%s has no ports", t.port, t.kind)
	case p == probe.ExtEcho && !t.probed:
		return errors.New("--kind=probe: needs --probed, the interface of HOST that is asked about")
	case t.probed && p != probe.ExtEcho:
		return errors.New("--probed: is for --kind=probe")
	case (t.payloadGiven || t.pattern != "") && p != probe.ICMP && p != probe.UDP && t.literal == "":
		return fmt.Errorf("--payload and --pattern: are for --kind=echo and --kind=udp")
	case t.record != ping.NoRecord && len(t.gateways) > 0:
		return errors.New("--gateway excludes --record-route and --ip-timestamp: there is room for one of them")
	case t.labelGiven && t.literal == "" && s.family == 4:
		return errors.New("--flowlabel: IPv4, which --ipv4 asks for, has none")
	}
	if onlyV4 != "" && t.literal == "" {
		s.family = 4
	}
	return nil
}

func (t *pingTool) proto() probe.Proto {
	if t.node.asked {
		return probe.NodeInfo
	}
	return kinds[t.kind]
}

func (t *pingTool) privileged(c rawsock.Caps) string {
	switch p := t.proto(); {
	case c.Header:
		return ""
	case p == probe.TCP && c.TCP, p == probe.ICMP, p == probe.ExtEcho, p == probe.UDP:
	case t.node.asked:
		return "--node-info"
	default:
		return "--kind=" + t.kind
	}
	switch {
	case t.record == ping.Route:
		return "--record-route"
	case t.record != ping.NoRecord:
		return "--ip-timestamp"
	case len(t.gateways) > 0:
		return "--gateway"
	case t.labelGiven:
		return "--flowlabel"
	}
	return ""
}

func (t *pingTool) sourcePort() uint16 { return t.identifier }

func (t *pingTool) settings() rawsock.Settings {
	s := t.set
	s.Device, s.Broadcast, s.Mark = t.device, t.broadcast, t.mark
	s.Debug = s.Debug && t.literal == "" // iputils goes on where the kernel refuses it, as it does whoever has given up privilege
	s.Fragment, s.Heed = t.fragment == "want" || t.fragment == "dont", t.fragment == "do"
	return s
}

// named is as iputils: names unless -n.
func (t *pingTool) named() bool { return t.literal != "" }

// exit is as iputils' under its name: it has one host.
func (t *pingTool) exit(y *tally) int {
	switch r := &y.last; {
	case t.literal == "":
		return t.fleet.exit(y)
	case r.verdict == "" || r.err != nil && r.verdict != probe.Errored:
		return unsure
	case r.received == 0, t.deadline != 0 && r.received < uint64(t.count):
		return no
	}
	return yes
}

func (t *pingTool) reportOptions(s *session) report.Options {
	return report.Options{
		Version: s.env.Version, NoReplies: t.quiet, Quiet: t.quiet, Numeric: s.numeric,
		Stamped: t.stamped, Waiting: t.outstanding, Flood: t.flood, Bell: t.audible, Rounds: t.flood || t.adaptive || t.interval == 0,
		Verbose: t.verbose, IntegerLoss: t.integerLoss, From: t.from, Device: t.device, Label: t.labelGiven,
		Side: s.env.Stderr, Literal: t.literal, Precise: t.precise, Targets: s.several, Names: s.called, Always: s.named, Crowd: t.broadcast,
	}
}

func (t *pingTool) sink(s *session, w io.Writer) (probe.Sink, error) {
	o := t.reportOptions(s)
	o.MostReplies, o.MostTimes, o.TooMany = s.share(maxResults), s.share(maxTimes), func() { t.tooManyReplies(s) }
	return report.NewPing(w, s.format, o)
}

// announce prints what comes once before all hosts' output.
func (t *pingTool) announce(s *session) {
	if t.pattern != "" && !t.quiet && s.format == "text" {
		_, _ = fmt.Fprintf(s.out, "PATTERN: 0x%x\n", t.pattern) // s.out keeps the error
	}
}

func (t *pingTool) method() probe.Method {
	m := probe.Method{Proto: t.proto(), Attempts: t.count, Interval: t.interval}
	if t.fleet.retrying {
		m.Interval = t.timeout // the first; others are longer
	}
	return m
}

func (t *pingTool) plan(s *session, src netip.AddrPort, dst netip.Addr) (plan, error) {
	c := ping.Config{
		Proto: t.proto(), Src: src, Dst: netip.AddrPortFrom(dst, 0), TTL: t.ttl, TOS: s.tos, Pattern: t.pattern,
		Count: t.count, Interval: t.interval, Deadline: t.deadline, Timeout: t.timeout,
		Preload: t.preload, Adaptive: t.adaptive, Waiting: t.outstanding, Query: t.query,
	}
	ids, least, numbered := t.ids()
	if !numbered && t.asAnswered() { // an answer frees no id: the run slows down evenly, to what the preload leaves
		c.Least = min(floodInterval, least*time.Duration(ids)/time.Duration(max(1, ids+1-t.preload)))
	}
	if t.adaptive && !s.env.Root {
		c.Least = max(c.Least, leastInterval)
	}
	if dst.Is6() {
		c.Label = t.label
	} else {
		c.Record, c.Hops = t.record, t.hops
	}
	if t.labelGiven && dst.Is4() && t.literal == "" {
		return plan{}, errors.New("--flowlabel: IPv4 has none (--ipv6 asks for IPv6)")
	}
	many := dst.IsMulticast() || t.links.isBroadcast(dst)
	c.Any = many || t.literal != "" // iputils prints an answer from another address with a remark
	// --broadcast is for all that the run sends, and what else is a broadcast address the kernel alone knows: a gateway, one
	// that a route makes so. So with it every target of an ordinary user is taken for one.
	if many && t.sweep.on() {
		return plan{}, errors.New("many may answer there, and --sweep is about the way to one host")
	}
	crowd := many && !s.env.Root || t.broadcast && s.ordinary()
	if crowd {
		if err := t.crowded(many); err != nil {
			return plan{}, err
		}
	}
	if c.Proto == probe.NodeInfo {
		if dst.Is4() { // iputils asks for an echo then
			c.Proto = probe.ICMP
		} else {
			c.Query = t.node.query(dst)
		}
	}
	if err := t.size(&c); err != nil {
		return plan{}, err
	}
	if err := s.checkVia(src.Addr(), c.Via); err != nil {
		return plan{}, err
	}
	if crowd && !t.links.fits(src.Addr(), c.Size) { // nor does iputils
		return plan{}, policyError{fmt.Errorf("--payload %d: %s, so only root may have it sent in fragments", t.payload, manyAnswer(many))}
	}
	switch t.fragment {
	case "do", "probe":
		c.DF = true
	case "want":
		c.DF = dst.Is4() && t.links.fits(src.Addr(), c.Size)
		c.Yields = c.DF
	}
	m := t.method()
	if t.sweep.on() {
		m.Sweep = &probe.Sweep{From: c.Size, To: c.Size + t.sweep.to - t.sweep.from, Step: t.sweep.step, DF: c.DF}
	}
	a, err := t.algorithm(c, m.Sweep)
	if err != nil {
		return plan{}, err
	}
	switch c.Proto {
	case probe.ExtEcho: // an extension structure's header, and the query
		c.Size = headerOf(dst) + 4 + len(c.Query.Data)
	case probe.NodeInfo: // a nonce, and the query
		c.Size = headerOf(dst) + 8 + len(c.Query.Data)
	}
	if m.Sweep != nil {
		c.Size = 0
	}
	m.Proto, m.Size, m.SrcPort, m.DstPort, m.Options = c.Proto, c.Size, src.Port(), c.Dst.Port(), len(c.Options)+c.RecordBytes()
	if dst.Is6() && s.env.Conn.Caps().Header {
		m.Label = &c.Label
	}
	// What is waited for at once, and a few more where a timeout is seen late. As answers come any number may be lost between them.
	waiting := ids
	if !t.asAnswered() {
		waiting = min(int(min(t.timeout/t.interval, time.Duration(ids)))+8, ids)
	}
	return plan{a, m, s.limits(max(waiting, t.preload), pingBurst)}, nil
}

// headerOf is how long the IP header and one of 8 bytes behind it are.
func headerOf(dst netip.Addr) int {
	if dst.Is6() {
		return 40 + 8
	}
	return 20 + 8
}

// size fills in what a probe carries and how long that makes it.
func (t *pingTool) size(c *ping.Config) error {
	v6 := c.Dst.Addr().Is6()
	header, port := headerOf(c.Dst.Addr()), t.port
	if len(t.gateways) > 0 && !v6 {
		var err error
		if c.Options, c.Via, err = probe.SourceRoute(0, t.gateways, c.Dst.Addr()); err != nil {
			return err
		}
	}
	options := len(c.Options) + c.RecordBytes()
	switch c.Proto {
	case probe.ICMP:
		c.Size = header + options + t.payload
	case probe.UDP:
		if port == 0 {
			port = 33434
		}
		c.Size = header + options + t.payload
		if t.payload < leastUDP {
			return fmt.Errorf("--payload %d: a UDP request needs %d bytes to be told apart by", t.payload, leastUDP)
		}
	case probe.TCP:
		if port == 0 {
			port = 80
		}
		c.Size, _ = probe.Sizes(c.Proto, v6, false)
	case probe.ExtEcho, probe.NodeInfo: // as long as the query
	default:
		c.Size, _ = probe.Sizes(c.Proto, v6, false)
	}
	c.Dst = netip.AddrPortFrom(c.Dst.Addr(), port)
	const most = 65535
	switch room := most - header - options; {
	case t.sweep.to > room:
		return fmt.Errorf("--sweep %v: IPv%d leaves room for %d bytes", t.sweep, familyOf(c.Dst.Addr()), room)
	case c.Size > most:
		return fmt.Errorf("--payload %d: IPv%d leaves room for %d bytes", t.payload, familyOf(c.Dst.Addr()), room)
	}
	return nil
}
