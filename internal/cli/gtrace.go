package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gtrace/internal/names"
	"gtrace/probe"
	"gtrace/probe/pmtu"
	"gtrace/probe/trace"
	"gtrace/rawsock"
	"gtrace/report"
)

// A traceTool is gtrace, under its own name or as traceroute.
type traceTool struct {
	called string // "": gtrace; else traceroute or traceroute6 (traceroute.go)

	kind        string // one of methods; "": default
	lite        bool   // -L
	modOptions  []string
	mod         modOptions // what they say
	port        uint16     // 0: as the method has it
	sport       uint16     // 0: any
	first, max  uint8
	attempts    int
	wait        trace.Wait
	waitGiven   bool
	gap         time.Duration
	interval    time.Duration // 0: as slow as routers answer
	inFlight    int           // 0: as the method has it
	label       uint32
	labelGiven  bool // else a random one
	df, mtu     bool
	flow        string // "": as the name has it
	size        int    // 0: by family
	length      int    // the last operand; 0: none
	gapLimit    int
	gateways    string
	route       route // what they are
	device      string
	direct      bool
	debug       bool
	mark        uint32
	extensions  bool
	back        bool
	table       bool
	full        bool
	shared      *trace.Shared // what the traces of the run have in common
	spare       *trace.Spare  // what they leave each other
	begun       int           // how many have begun
	branches    branches
	ways        []way         // --matrix; nil: one, which the options above say
	way         way           // which of several this tool is
	beside      *trace.Beside // what they have in common
	asPaths     bool
	asServer    string
	randomLabel uint32 // of this run
}

const (
	// simQueries is how many probes are in flight at once, unless --sim-queries says else: the whole opening of a path. Under
	// the name traceroute it is classicQueries, as that has it, which is also what an ordinary user may send at once.
	simQueries     = 96
	classicQueries = 16

	// gapLimit is where --gap-limit does not say: what is silent so far behind the last answer stays so.
	gapLimit = 10

	// carefulOpen is how far a path is opened without privilege, where answers may not say which probe they answer, and what was
	// asked at once would have to be asked again one by one; and where more hosts wait for their turn, who use the time that this one
	// waits for answers, and gain by every probe that is not sent beyond its end.
	carefulOpen = 3

	// sharedFrom is from how many hosts on near hops are not asked for each of them.
	sharedFrom = readAhead

	// monitorQueries is that with --interval: silent hops are to take no other's turn.
	monitorQueries = 256

	// mostAttempts is how often gtrace asks a hop at most, and mostProbes how often all of a host's.
	mostAttempts = 1000
	mostProbes   = 65535

	// firstMTU is the size --mtu starts with, as traceroute.
	firstMTU = 65000
)

func newTraceTool() *traceTool {
	return &traceTool{
		first: 1, max: 30, attempts: 3, asServer: names.OriginServer,
		wait:        trace.Wait{Max: 5 * time.Second, Here: 3, Near: 10},
		gapLimit:    -1,
		randomLabel: random(1<<20 - 1),
		shared:      trace.NewShared(),
		spare:       new(trace.Spare),
	}
}

func (t *traceTool) name() string {
	if t.called != "" {
		return t.called
	}
	return "gtrace"
}

func (t *traceTool) verbatim() bool { return t.called != "" }

func (t *traceTool) letters() (source, tos byte) { return 's', 't' }

func (t *traceTool) numericHelp() string {
	return "print addresses only, and ask no name server about them"
}

func (t *traceTool) slower() string { return "a smaller --sim-queries" }

func (t *traceTool) usage() string {
	return `Usage: ` + t.name() + ` [OPTION]... HOST... [LENGTH]

Prints the path to each HOST, hop by hop. Options may stand anywhere; "--" ends
them. A number behind the hosts is the LENGTH of the packets in bytes. Exit
status: ` + t.statusHelp() + `
`
}

const groupMethods = "How to probe" // a heading beside those of gping

func (t *traceTool) options() []option {
	queries := option{long: "queries", short: 'q', value: "N", set: count(&t.attempts, 1, mostAttempts), group: groupPace,
		help: "probes per hop, 1 to 1000; default 3. The sixth and further ones\nleave a second apart: routers answer no more"}
	interval := option{long: "interval", value: "SECONDS", set: seconds(&t.interval, 10*time.Millisecond, time.Hour), group: groupPace,
		help: "ask each hop once every so long, whatever it answers"}
	table := option{long: "table", set: flag(&t.table), group: groupOutput,
		help: "print a table in the end, a line a hop: what was lost, the interval\nthat says something about, how much of it on the path, and times",
		more: "Nothing is printed but the first line until the trace is done. " +
			"Loss is the share of probes that were lost, 95 % the interval in which the true one lies with that confidence, Path how much of it the path has, Snt the probes " +
			"sent; Last, Avg, Best, Wrst and StDev are of the round-trip times, in milliseconds, from 100 on with five digits. IPv4 addresses without names leave it within 80 columns. " +
			"A hyphen is what is not known, which is never zero: a single probe (-q1) tells neither how much is lost nor of a deviation."}
	full := option{long: "full", set: flag(&t.full), group: groupPace,
		help: "ask every hop of every host: else, from 256 hosts on, near hops\nthat many in a row had in common are not asked again, and told as\nsuch (see MANY HOSTS)"}
	matrix := option{long: "matrix", value: "METHOD,...", set: t.setMatrix, group: groupMethods, words: []string{"icmp,udp/53,udp/443,tcp/80,tcp/443"},
		help: "trace by each of these side by side, and say where each ends:\nicmp, udp/PORT, tcp/PORT (see MATRIX)"}
	if t.called != "" {
		queries.set, queries.help = says(count(&t.attempts, 1, 10), "no more than 10 probes per hop"), "probes per hop, 1 to 10; default 3"
	}
	all := []option{
		{long: "icmp", short: 'I', set: t.setMethod("icmp"), group: groupMethods, help: "probe with ICMP echo requests (default: UDP)"},
		{long: "tcp", short: 'T', set: t.setMethod("tcp"), group: groupMethods, help: "probe with TCP SYNs, to port 80"},
		{long: "udp", short: 'U', set: t.setMethod("udp"), group: groupMethods, help: "probe with UDP to one port, 53"},
		{long: "udplite", short: 'L', set: flag(&t.lite), group: groupMethods, help: "with --udp (-UL): UDP-Lite instead"},
		{long: "dccp", short: 'D', set: t.setMethod("dccp"), group: groupMethods, help: "probe with DCCP Requests, to port 33434"},
		{long: "protocol", short: 'P', value: "PROTO", set: t.setProtocol, group: groupMethods, words: protocolNames(),
			help: "probe with bare packets of this IP protocol, by number or name"},
		{long: "module", short: 'M', value: "METHOD", set: t.setModule, group: groupMethods, words: methods,
			help: strings.Join(methods[:4], ", ") + ",\n" + strings.Join(methods[4:], ", ")},
		{long: "options", short: 'O', value: "OPTION,...", set: t.setOptions, group: groupMethods,
			help: "of the method; \"-O help\" lists them"},
		{long: "port", short: 'p', value: "PORT", set: t.setPort, group: groupMethods,
			help: "destination port, or the name of a service; in a classic trace the\nfirst one; ICMP: the first sequence number"},
		{long: "sport", value: "PORT", set: count(&t.sport, 1, 65535), group: groupMethods,
			help: "source port; implies -N 1 -w 5 where those are not given"},
		{long: "flow", value: "NAME", set: word(&t.flow, "paris", "classic"), group: groupMethods, words: []string{"paris", "classic"},
			help: "paris: every probe takes the same way at routers that balance\nload by flow; classic: each probe is a flow of its own; default " + t.defaultFlow()},
		matrix,
		{long: "mtu", set: flag(&t.mtu), group: groupMethods,
			help: "find where the path narrows: probes as large as it carries,\none at a time; implies -F -N 1. With --tcp they are ACKs with\na payload; --icmp measures the way back too (see PATH MTU)"},

		{long: "first", short: 'f', value: "TTL", set: says(count(&t.first, 1, 255), "first hop out of range"), group: groupPace,
			help: "start at this distance; default 1"},
		{long: "max-hops", short: 'm', value: "TTL", set: says(count(&t.max, 1, 255), "max hops cannot be more than 255"), group: groupPace,
			help: "go no further than this; default 30"},
		queries,
		{long: "sim-queries", short: 'N', value: "N", set: count(&t.inFlight, 1, 1024), group: groupPace, help: "probes in flight at once; default " + fmt.Sprint(t.defaultQueries())},
		{long: "wait", short: 'w', value: "MAX[,HERE[,NEAR]]", set: t.setWait, group: groupPace,
			help: "wait MAX seconds for an answer, but no longer than HERE times\nthe first RTT at the same hop, or NEAR times one at a later hop;\nwhere none was heard NEAR times the longest, and MAX/5 at least;\n0 or left out: without that bound; default 5,3,10"},
		{long: "sendwait", short: 'z', value: "TIME", set: t.setGap, group: groupPace,
			help: "pause between two probes, in seconds; a number above 10 is of\nmilliseconds"},
		interval,
		{long: "gap-limit", value: "N", set: count(&t.gapLimit, 0, 255), group: groupPace,
			help: "stop after N silent hops in a row; 0: do not; default " + fmt.Sprint(t.defaultGap())},
		full,

		{long: "size", value: "BYTES", set: count(&t.size, 1, 65535), group: groupPackets,
			help: "of a whole packet; default 60 for IPv4, 80 for IPv6. TCP\nprobes have one size, unless -O says ack and not syn"},
		{long: "flowlabel", short: 'l', value: "N", set: t.setLabel, group: groupPackets,
			help: "IPv6 flow label, 0 to 0xfffff; default a random one for the run"},
		{long: "dont-fragment", short: 'F', set: flag(&t.df), group: groupPackets, help: "forbid to fragment the probes, here and on the way"},
		{long: "gateway", short: 'g', value: "GATE,...", set: t.addGateways, group: groupPackets, words: []string{"@host"},
			help: "source route by these hosts, up to 8; IPv6: TYPE,GATE,..., the\ntype of the routing header, 2 (the default), 4 or 0"},
		{long: "interface", short: 'i', value: "DEVICE", set: text(&t.device), group: groupPackets, words: []string{"@interface"},
			help: "leave by this interface"},
		{long: "direct", short: 'r', set: flag(&t.direct), group: groupPackets,
			help: "past the routing table, to hosts on attached networks"},
		{long: "fwmark", value: "N", set: bits(&t.mark, uint32(1<<32-1)), group: groupPackets, help: "firewall mark of the probes; for root"},
		{long: "debug", short: 'd', set: flag(&t.debug), group: groupPackets, help: "debug the sockets (SO_DEBUG), where the kernel lets this user"},

		{long: "extensions", short: 'e', set: flag(&t.extensions), group: groupOutput, help: "print ICMP extensions, MPLS labels among them"},
		{long: "as-path-lookups", short: 'A', set: flag(&t.asPaths), group: groupOutput,
			help: "print the autonomous systems of addresses, as a routing\nregistry knows them",
			more: "[*] is an address of which none is known: no network announces it, such as a private one, which is not asked about; the registry knows of none; " +
				"or it could not be asked, which is then said on standard error. The registry learns which networks the path leads through."},
		{long: "as-server", value: "HOST[:PORT]", set: t.setRegistry, group: groupOutput, words: []string{"@host"},
			help: "the routing registry to ask, by whois; default " + names.OriginServer},
		{long: "back", set: flag(&t.back), group: groupOutput, help: "print the length of the way back where it seems another, and\nfrom where on it is longer"},
		table,
	}
	if t.called != "" { // which have none of these
		return slices.DeleteFunc(all, func(o option) bool {
			return o.long == interval.long || o.long == matrix.long || o.long == table.long || o.long == full.long
		})
	}
	return append(all, t.branches.options()...)
}

func (t *traceTool) setWait(s string) error {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '/' })
	if n := strings.Count(s, ",") + strings.Count(s, "/") + 1; n != len(parts) || n > 3 {
		return errors.New("want MAX[,HERE[,NEAR]]: seconds and up to two factors, such as 5,3,10")
	}
	t.waitGiven = true
	t.wait = trace.Wait{}
	if err := seconds(&t.wait.Max, time.Millisecond, time.Hour)(parts[0]); err != nil {
		return err
	}
	for i, into := range []*float64{&t.wait.Here, &t.wait.Near} {
		if i+1 < len(parts) {
			f, err := factor(parts[i+1])
			if err != nil {
				return err
			}
			*into = f
		}
	}
	return nil
}

// setGap reads what traceroute takes for one or the other: above 10 it is milliseconds.
func (t *traceTool) setGap(s string) error {
	plain := s
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > 10 && strings.Trim(s, "0123456789.") == "" {
		plain += "ms"
	}
	if seconds(&t.gap, 0, time.Hour)(plain) != nil {
		return errors.New("want seconds up to 10, or milliseconds above 10, such as 0.5 or 500")
	}
	return nil
}

// setRegistry reads a host, or a host and a port.
func (t *traceTool) setRegistry(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), "43" // whois (RFC 3912)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return errors.New("want a host, or a host and a port, such as whois.radb.net:43")
	}
	t.asServer = net.JoinHostPort(host, port)
	return nil
}

// setPort takes a number, or a service's name in the system's list of them (services(5)).
func (t *traceTool) setPort(s string) error {
	err := count(&t.port, 1, 65535)(s)
	if err == nil || strings.Trim(s, "0123456789") == "" {
		return err
	}
	for _, network := range []string{"tcp", "udp"} {
		if n, err := resolver.LookupPort(context.Background(), network, s); err == nil && n > 0 {
			t.port = uint16(n)
			return nil
		}
	}
	return fmt.Errorf("%w, or a service that /etc/services names", err)
}

func (t *traceTool) setLabel(s string) error {
	t.labelGiven = true
	return bits(&t.label, uint32(1<<20-1))(s)
}

// proto is what the probes are made of.
func (t *traceTool) proto() probe.Proto { return protos[t.kind] }

// defaultFlow is the flow where none is asked for.
func (t *traceTool) defaultFlow() string {
	if t.called != "" {
		return "classic"
	}
	return "paris"
}

// classic reports whether each probe is a flow of its own.
func (t *traceTool) classic() bool {
	flow := t.flow
	if flow == "" {
		flow = t.defaultFlow()
	}
	return flow == "classic" && t.moves()
}

// moves reports whether the flow of such probes can move.
func (t *traceTool) moves() bool { return t.kind == "" || t.kind == "default" || t.kind == "icmp" }

// prepare settles what the options and operands mean together, before any host is looked up.
func (t *traceTool) prepare(ctx context.Context, s *session, operands []string) (hosts []string, done bool, err error) {
	if t.lite {
		if t.kind != "udp" {
			return nil, false, errors.New("--udplite: stands with --udp alone, as -UL")
		}
		t.kind = "udplite"
	}
	if slices.Contains(t.modOptions, "help") {
		_, err := fmt.Fprint(s.out, optionsHelp(t.kind))
		return nil, true, err
	}
	if err := t.prepareMatrix(s); err != nil {
		return nil, false, err
	}
	if t.mtu && t.kind == "tcp" {
		t.mod.segment.Flags = tcpACK
	}
	if t.mod, err = parseOptions(t.kind, t.modOptions, t.mod); err != nil {
		return nil, false, err
	}
	if hosts, err = t.takeLength(operands); err != nil {
		return nil, false, err
	}
	if t.called == "traceroute6" && s.family == 0 {
		s.family = 6
	}
	s.asPaths, s.asServer = t.asPaths, t.asServer
	if t.gateways != "" {
		if t.route, err = s.findGateways(ctx, t.gateways); err != nil {
			return nil, false, fmt.Errorf("--gateway %s: %w", printable(t.gateways), err)
		}
	}
	if (t.kind == "tcpconn" || t.mod.dgram) && len(hosts)+len(s.lists) > 0 {
		err = s.giveUpHeaders()
	}
	return hosts, false, err
}

func (t *traceTool) check(s *session, hosts int) error {
	proto := t.proto()
	switch {
	case proto == probe.Raw && t.port != 0:
		return fmt.Errorf("--port %d: a raw packet has no ports", t.port)
	case (proto == probe.Raw || proto == probe.ICMP) && t.sport != 0:
		return fmt.Errorf("--sport %d: %s has no ports", t.sport, t.what())
	case t.flow == "classic" && !t.moves():
		return fmt.Errorf("--flow classic: %s keeps its flow, only UDP and ICMP probes can move", t.what())
	case t.first > t.max:
		return fmt.Errorf("--first %d: is beyond --max-hops %d (first hop out of range)", t.first, t.max)
	case t.labelGiven && s.family == 4:
		return errors.New("--flowlabel: IPv4, which --ipv4 asks for, has none")
	case t.size != 0 && t.length != 0 && t.size != t.length:
		return fmt.Errorf("--size %d: the operand behind the hosts says %d", t.size, t.length)
	case t.mtu && proto == probe.DCCP:
		return errors.New("--mtu: not with --dccp; use UDP, --icmp, --tcp or --protocol")
	case t.mtu && t.kind == "tcpconn":
		return errors.New("--mtu: not with --module tcpconn, whose packets the system makes; use --tcp")
	case t.mtu && proto == probe.TCP && t.mod.segment.Flags&(tcpSYN|tcpACK) != tcpACK:
		return errors.New("--mtu: a TCP segment has any size with ACK and without SYN alone, as it is where --options says nothing of flags")
	case t.table && !slices.Contains(report.Formats, s.format):
		return fmt.Errorf("--table: is text, not %s", s.format)
	case t.table && s.format != "text":
		return fmt.Errorf("--table: is text, not %s, which has the same in each hop's summary", s.format)
	case t.table && t.mtu:
		return errors.New("--table: not with --mtu, which does not ask each hop alike")
	case t.mtu && t.interval > 0:
		return errors.New("--interval: not with --mtu, which asks as it learns")
	case t.mtu && t.attempts > 10:
		return fmt.Errorf("--queries %d: want no more than 10 with --mtu", t.attempts)
	case t.attempts*(int(t.max)-int(t.first)+1) > mostProbes:
		return fmt.Errorf("--queries %d: with %d hops that is more than %d probes a host; a smaller --max-hops allows more", t.attempts, int(t.max)-int(t.first)+1, mostProbes)
	case t.mtu && t.inFlight > 1:
		return fmt.Errorf("--sim-queries %d: --mtu asks one at a time", t.inFlight)
	}
	if err := t.checkMatrix(s, hosts); err != nil {
		return err
	}
	if err := t.branches.check(t, s); err != nil {
		return err
	}
	if err := t.checkKept(s, hosts); err != nil {
		return err
	}
	s.begun = true // what follows is refused to this user, not wrong
	switch {
	case t.mark != 0 && !s.env.Root:
		return fmt.Errorf("--fwmark %#x: only root may mark packets; run it as root (sudo), or let the firewall mark them", t.mark)
	case t.mark != 0 && s.env.Conn != nil && !s.env.Conn.Caps().Header: // see prepare
		return fmt.Errorf("--fwmark %#x: tcpconn and -O dgram open sockets when privilege is given up already, and none may be marked then; use --tcp, or --icmp or --udp without -O dgram", t.mark)
	case (proto == probe.UDPLite || proto == probe.DCCP) && !s.env.Root:
		return s.rootOnly("--" + t.kind)
	case proto == probe.Raw && !s.env.Root:
		return s.rootOnly(fmt.Sprintf("--protocol %d", t.mod.number))
	}
	return t.policy(s)
}

// policy is what ordinary users may not have sent by headers of this program's own making.
func (t *traceTool) policy(s *session) error {
	if !s.ordinary() {
		return nil
	}
	// The kernel itself begins connections with ECE and CWR where it is to ask for ECN (RFC 3168 section 6.1.1).
	if flags := t.mod.segment.Flags; flags&^(tcpSYN|tcpACK) != 0 && flags != tcpSYN|tcpECE|tcpCWR {
		return errors.New("--options: an ordinary user may have no TCP flags sent but SYN and ACK; root may (sudo)")
	}
	if len(t.route.gateways) > 0 && t.route.kind == probe.RouteType0 {
		// Nor does Linux take it from their own sockets (IPV6_RTHDR): packets could be sent to and fro with it.
		return errors.New("--gateway: only root may have IPv6 routing headers of type 0 sent, which RFC 5095 abolished; types 2 and 4 are for everybody")
	}
	return nil
}

func (t *traceTool) privileged(c rawsock.Caps) string {
	for _, m := range t.besides() {
		if what := m.privileged(c); what != "" {
			return "--matrix: " + what
		}
	}
	proto := t.proto()
	switch {
	case proto == probe.TCP && t.mtu && !c.Header:
		return "--mtu with --tcp"
	case proto == probe.TCP && !c.TCP:
		return "--tcp"
	case proto == probe.TCP && !c.Header && t.mod.shaped:
		return "--options"
	case t.kind == "icmp" && t.mod.raw && !c.Header:
		return "--options raw"
	case proto == probe.UDPLite && !slices.Contains(c.Extra, proto.Number(netip.Addr{}, 0)):
		return "--udplite"
	case proto == probe.DCCP && !slices.Contains(c.Extra, proto.Number(netip.Addr{}, 0)):
		return "--dccp"
	case proto == probe.Raw && !slices.Contains(c.Extra, t.mod.number):
		return "--protocol"
	case t.labelGiven && !c.Header:
		return "--flowlabel"
	case t.gateways != "" && !c.Header:
		return "--gateway"
	}
	return ""
}

func (t *traceTool) sourcePort() uint16 { return t.sport }

func (t *traceTool) settings() rawsock.Settings {
	return rawsock.Settings{Device: t.device, Direct: t.direct, Debug: t.debug, Fragment: !t.df && !t.mtu, Mark: t.mark}
}

func (t *traceTool) sink(s *session, w io.Writer) (probe.Sink, error) {
	return report.NewTrace(w, s.format, t.reportOptions(s))
}

func (t *traceTool) reportOptions(s *session) report.Options {
	return report.Options{
		Version: s.env.Version, Extensions: t.extensions, Table: t.table, Multipath: t.branches.on, Back: t.back, Flags: t.mod.info, Plain: t.called != "",
		Targets: s.several, Names: s.called, Origins: s.origins,
	}
}

// oneByOne reports whether probes go one at a time where the user does not say: as traceroute
// has it for what cannot be told apart by its ports, or always has the same.
func (t *traceTool) oneByOne() bool { return t.sport != 0 || t.kind == "raw" }

func (t *traceTool) window() int {
	switch {
	case t.mtu:
		return 1
	case t.inFlight != 0:
		return t.inFlight
	case t.oneByOne():
		return 1
	case t.interval > 0:
		return monitorQueries
	}
	return t.defaultQueries()
}

func (t *traceTool) defaultQueries() int {
	if t.called != "" {
		return classicQueries
	}
	return simQueries
}

func (t *traceTool) defaultGap() int {
	if t.called != "" {
		return 0
	}
	return gapLimit
}

// opening is how many silent TTLs end the trace, and up to where no answers are waited for; 0: as probe/trace has it.
func (t *traceTool) opening(careful bool) (gap int, open uint8) {
	switch {
	case careful:
		open = carefulOpen
	case t.gapLimit > 0:
		open = uint8(t.gapLimit)
	}
	if open > 0 {
		open = uint8(min(int(t.max), int(t.first)-1+int(open)))
	}
	if t.gapLimit < 0 {
		return t.defaultGap(), open
	}
	return t.gapLimit, open
}

func (t *traceTool) waits() trace.Wait {
	if !t.waitGiven && t.oneByOne() {
		return trace.Wait{Max: t.wait.Max}
	}
	return t.wait
}

func (t *traceTool) method() probe.Method {
	return t.branches.method(probe.Method{
		Proto: t.proto(), Matrix: t.way.name, Content: t.way.content, Number: t.mod.number, Classic: t.classic(),
		FirstTTL: t.first, MaxTTL: t.max, Attempts: t.attempts, Interval: t.interval, Size: max(t.size, t.length),
	})
}

// bytes is the size of the first such probe. What the operand says is raised to what a probe needs, and
// does not count for probes of one size, nor, as in traceroute, for other TCP segments; what --size says is refused for the former.
func (t *traceTool) bytes(like *probe.Spec) (int, error) {
	v6 := like.Dst.Addr().Is6()
	least, most := probe.SizesOf(like) // that an identity fits in
	size := t.size
	switch {
	case least == most && t.way.name != "": // --size is of the other methods
		return least, nil
	case size != 0 && size != least && least == most:
		return 0, fmt.Errorf("--size %d: a %s probe over IPv%d has %d bytes and no other size", size, like.Proto, familyOf(like.Dst.Addr()), least)
	case size != 0 && (size < least || size > most):
		return 0, fmt.Errorf("--size %d: a %s probe over IPv%d has %d to %d bytes", size, like.Proto, familyOf(like.Dst.Addr()), least, most)
	case size != 0:
		return size, nil
	case t.length != 0 && (t.mtu || like.Proto != probe.TCP):
		size = t.length
	case t.mtu:
		size = firstMTU
	case like.Proto == probe.TCP:
		size = least
	case v6: // as traceroute
		size = 80 + len(like.Options)
	default:
		size = 60 + len(like.Options)
	}
	return min(max(size, least), most), nil
}

// shares reports whether the host that begins next need not be asked for near hops: where there are many, and each is asked alike, from the first hop on,
// by a constant flow of packets that take the routes of this host.
func (t *traceTool) shares(s *session) bool {
	return t.called == "" && t.way.name == "" && !t.full && !t.mtu && !t.branches.on && !t.classic() && t.first == 1 && t.interval == 0 && len(t.route.gateways) == 0 &&
		s.env.Conn.Caps().Header && (s.known >= sharedFrom || t.begun > sharedFrom)
}

func (t *traceTool) plan(s *session, src netip.AddrPort, dst netip.Addr) (plan, error) {
	proto := t.proto()
	gap, open := t.opening(!s.env.Conn.Caps().Header || s.hosts > s.parallel)
	c := trace.Config{
		Proto: proto, Src: src, Classic: t.classic(),
		First: t.first, Max: t.max, Attempts: t.attempts, TOS: s.tos, DF: t.df,
		GapLimit: gap, Open: open, Through: t.called != "", Wait: t.waits(), Gap: t.gap, InFlight: t.window(),
		Interval: t.interval, Losses: t.called == "", Spare: t.spare,
		Number: t.mod.number, Segment: t.mod.segment, Service: t.mod.service, Coverage: t.mod.coverage,
		Content: t.way.content, Beside: t.beside,
	}
	if t.begun++; t.shares(s) {
		c.Shared = t.shared
	}
	switch {
	case dst.Is6() && t.labelGiven:
		c.Label = t.label
	case dst.Is6():
		c.Label = t.randomLabel
	case t.labelGiven && t.called == "": // traceroute says nothing
		return plan{}, errors.New("--flowlabel: IPv4 has none (--ipv6 asks for IPv6)")
	}
	if len(t.route.gateways) > 0 {
		var err error
		if c.Options, c.Via, err = probe.SourceRoute(t.route.kind, t.route.to(dst), dst); err != nil {
			return plan{}, fmt.Errorf("--gateway: %w", err)
		}
		if err := s.checkVia(src.Addr(), c.Via); err != nil {
			return plan{}, err
		}
	}
	port := t.port
	switch {
	case proto == probe.ICMP:
		c.Sequence, port = port, 0
		if !c.Classic {
			port = uint16(random(1<<16 - 2)) // the checksum that makes the flow: not 0, nor 0xFFFF, which is 0 in ones' complement
		}
	case port == 0:
		port = defaultPorts[t.kind]
	}
	c.Dst = netip.AddrPortFrom(dst, port)
	var err error
	if c.Size, err = t.bytes(&probe.Spec{Proto: proto, Dst: c.Dst, Segment: c.Segment, Options: c.Options, Content: c.Content}); err != nil {
		return plan{}, err
	}
	var a probe.Algorithm
	switch {
	case t.branches.on:
		a, err = t.branches.algorithm(s, c, t.kind == "udp")
	case t.mtu:
		a, err = pmtu.New(pmtu.Config{
			Proto: proto, Src: c.Src, Dst: c.Dst, Classic: c.Classic, Label: c.Label, First: c.First, Max: c.Max,
			Attempts: c.Attempts, Size: c.Size, TOS: c.TOS, Wait: c.Wait.Max, Here: c.Wait.Here, Near: c.Wait.Near, GapLimit: c.GapLimit, Gap: c.Gap,
			Sequence: c.Sequence, Number: c.Number, Segment: c.Segment, Coverage: c.Coverage, Options: c.Options, Via: c.Via,
		})
	default:
		a, err = trace.New(c)
	}
	if err != nil {
		return plan{}, err
	}
	m := t.method()
	m.Size, m.SrcPort, m.Flags = c.Size, src.Port(), c.Segment.Flags
	if len(t.route.gateways) > 0 {
		m.Route = t.route.to(dst)
	}
	if dst.Is6() && s.env.Conn.Caps().Header {
		m.Label = &c.Label
	}
	if proto != probe.ICMP { // its "port" is a checksum
		m.DstPort = port
	}
	if t.called != "" {
		a = asked{a, own}
	}
	return plan{a, m, s.limits(c.InFlight, classicQueries)}, nil
}
