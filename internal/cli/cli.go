package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"gtrace/internal/names"
	"gtrace/probe"
	"gtrace/rawsock"
	"gtrace/report"
)

// The exit statuses. The largest of all hosts' is the program's.
const (
	yes    = 0 // every host was reached, or answered
	no     = 1 // measured, and the answer is no
	unsure = 2 // could not be measured or told
)

const defaultFormat = "text"

// An Env is what a program has before it reads an argument.
type Env struct {
	Name           string       // the program was called by, without its directory; "": its own
	Conn           rawsock.Conn // nil where OpenErr is not
	OpenErr        error        // why no socket could be opened
	Args           []string     // without the program's name
	Stdin          io.Reader    // nil: the process's
	Stdout, Stderr io.Writer
	Version        string              // "": as the build says
	Commit         string              // "": as the build says, if it does
	Start          rawsock.Privilege   // what the program had when it started
	Confined       rawsock.Confinement // what it has taken away from itself since
	Root           bool                // the real user is root, whatever the file's owner and capabilities are

	// Settle is called once, when whatever files were named have been read: from then on nothing but the network's
	// and the resolver's is. nil: nothing to do.
	Settle func()

	source   func(netip.Addr, rawsock.Settings) (netip.Addr, error)            // nil: rawsock.Sources
	router   func(src, dst netip.Addr, s rawsock.Settings) (netip.Addr, error) // nil: rawsock.RouterOn
	lookup   func(context.Context, string, string) ([]netip.Addr, error)       // nil: the system's name servers
	reverse  func(context.Context, string) ([]string, error)                   // nil: the same, for names of addresses
	dial     names.Dial                                                        // to a routing registry; nil: the system's sockets
	diagnose func(c rawsock.Conn, v4, v6 bool) (rawsock.Facts, error)          // nil: rawsock.Diagnose

	unprivileged func() (rawsock.Conn, error) // nil: rawsock.Open, without privilege
}

// A tool is what gtrace and gping do not share.
type tool interface {
	name() string
	usage() string
	page() *page                 // its manual
	verbatim() bool              // hosts are the words given and nothing else, as the tool has it that it stands in for
	letters() (source, tos byte) // of options that both have, each under another letter
	options() []option
	numericHelp() string // what --numeric does to the output
	slower() string      // the option that makes it ask less at a time, for a diagnostic
	// check looks at the options and the number of hosts together, before anything else is done.
	check(s *session, hosts int) error
	// privileged names the option given that a connection with such
	// capabilities cannot serve, or is "".
	privileged(rawsock.Caps) string
	sink(s *session, w io.Writer) (probe.Sink, error)
	// method is what is known of the method before the host is.
	method() probe.Method
	// sourcePort is the source port or identifier that was asked for, 0 for any.
	sourcePort() uint16
	// settings are how all packets leave.
	settings() rawsock.Settings
	// named reports whether addresses get names in text wherever it goes, not only on a terminal.
	named() bool
	// exit is the program's exit status, by what became of each host.
	exit(*tally) int
	// atOnce is how many hosts are measured at once where the user does not say, and atOnceHelp says so.
	atOnce() int
	atOnceHelp() string
	// plan says how to measure dst from an address and a port reserved for it.
	plan(s *session, src netip.AddrPort, dst netip.Addr) (plan, error)
}

// A result is how one host's run ended.
type result struct {
	status   int           // by the contract (INTERFACE: yes, no or could not tell)
	err      error         // why it was not measured, or not to its end; nil where it was
	unknown  bool          // its name has no address
	verdict  probe.Verdict // "" where it was not measured
	arrived  bool          // the host itself answered
	sent     uint64
	received uint64 // answers of the host itself, duplicates not counted
	refused  uint64 // ICMP errors
}

// A tally is what the exit status needs of all results, so that none is kept.
type tally struct {
	hosts   int
	status  [3]int // so many hosts, by result.status
	lossy   int    // of those with no: their answers may have been lost on this host
	arrived int    // they answered themselves
	unknown int    // their names have no address
	last    result // for tools that measure one
}

func (y *tally) add(r result) {
	y.hosts++
	y.status[r.status]++
	if r.status == no && r.verdict != probe.Blocked {
		y.lossy++
	}
	if r.arrived {
		y.arrived++
	}
	if r.unknown {
		y.unknown++
	}
	y.last = r
}

// doubt: where this host lost answers, that none came says nothing of others (TRAPS T46).
func (y *tally) doubt() {
	y.status[no] -= y.lossy
	y.status[unsure] += y.lossy
	y.lossy = 0
}

// worst is the exit status of the contract: 2 wins over 1, and 1 over 0.
func (y *tally) worst() int {
	for status := unsure; status > yes; status-- {
		if y.status[status] > 0 {
			return status
		}
	}
	return yes
}

// A plan is one host's run.
type plan struct {
	algorithm probe.Algorithm
	method    probe.Method
	limits    probe.Limits
}

// A session is one call of a program.
type session struct {
	env  Env
	tool tool
	out  *output

	begun bool // options and operands are as they should be

	// What both programs' options set.
	family   int        // 4 or 6; 0: either
	numeric  bool       // addresses stand alone
	named    bool       // addresses get names, wherever the output goes
	asPaths  bool       // and the autonomous systems they are in
	asServer string     // which routing registry is asked: host and port
	format   string     // "": defaultFormat
	source   netip.Addr // invalid: by the routing table
	crowds   bool       // hosts may be broadcast and multicast addresses
	tos      uint8
	tosGiven bool
	halfTOS  string // the option that sets a part of it; "": none

	lists    []string  // files that name hosts
	generate bool      // the hosts are networks and ranges
	parallel int       // hosts at once; 0: as the tool has it
	rate     int       // probes a second; 0: no such limit
	socket   string    // raw or packet; "": as it comes
	ordered  bool      // in the order of the hosts
	shuffle  bool      // in an order by chance
	seed     uint32    // of it
	unique   bool      // no address is measured twice
	progress bool      // a line tells how far the run is, whatever standard error is
	bar      *progress // that line; nil: none
	resume   string    // file of results; "": none
	done     seen      // names it has results of
	doneAt   seen      // their addresses, with --unique
	several  bool      // hosts there are
	hosts    int       // how many; maxTargets where that is not known
	known    int       // how many were before the first began
	more     bool      // it is not: lists are read as hosts are needed

	everyAddress bool            // of each name is measured, not the best alone
	given        map[string]bool // options, by their long names
	inTurn       func(func())    // does what writes to standard error when that is its turn

	quit            chan os.Signal // SIGQUIT, which asks a ping for what is known so far
	called, origins report.Namer   // names of addresses, and of the systems they are in; nil: not asked for
}

// Trace runs gtrace, or what it is called, and returns its exit status.
func Trace(ctx context.Context, e Env) int {
	switch e.Name {
	case "traceroute", "traceroute6":
		e, t := newTraceroute(e)
		return run(ctx, e, t)
	case "tracepath":
		e, t := newTracepath(e)
		return run(ctx, e, t)
	}
	return run(ctx, e, newTraceTool())
}

// Ping runs gping and returns its exit status.
func Ping(ctx context.Context, e Env) int {
	if e.Name == "fping" || e.Name == "fping6" {
		return run(ctx, e, newFpingTool(e.Name == "fping6"))
	}
	t := newPingTool()
	if e.Name == "ping" || e.Name == "ping6" {
		t.literal = e.Name
		args, status, done := t.literalArgs(e)
		if done {
			return status
		}
		e.Args = args
	}
	return run(ctx, e, t)
}

func run(ctx context.Context, e Env, t tool) int {
	// A closed standard output then is a write error like any other, not the end.
	signal.Ignore(syscall.SIGPIPE)
	// More signals than one change nothing: timeout(1) sends two, and the
	// second must not cut off the document that the first asks for. Nor is the
	// signals' own action put back at the end: one that comes when all is said
	// must not change the exit status.
	ctx, _ = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)

	if e.Stdin == nil {
		e.Stdin = os.Stdin
	}
	if e.source == nil {
		e.source = new(rawsock.Sources).On
	}
	if e.router == nil {
		e.router = rawsock.RouterOn
	}
	if e.lookup == nil {
		e.lookup = resolver.LookupNetIP
	}
	if e.diagnose == nil {
		e.diagnose = rawsock.Diagnose
	}
	e.Version, e.Commit = built(e.Version, e.Commit)
	s := &session{env: e, tool: t, out: &output{w: e.Stdout}, given: make(map[string]bool), inTurn: func(f func()) { f() }}
	var status int
	var err error
	if f, ok := t.(interface {
		run(context.Context, *session) int
	}); ok { // its options are read in another way
		status = f.run(ctx, s)
	} else {
		status, err = s.run(ctx)
	}
	switch {
	case errors.Is(s.out.err, syscall.EPIPE):
	case s.out.err != nil:
		s.complain(fmt.Errorf("write standard output: %w", s.out.err))
		return unsure
	case err != nil:
		s.complain(err)
		if f, ok := t.(failing); ok {
			return f.failed(err, s.begun)
		}
		return unsure
	}
	return status
}

// A preparer is a tool with something to settle once the options are read: what the operands are beside hosts,
// and what needs nothing measured.
type preparer interface {
	prepare(ctx context.Context, s *session, operands []string) (hosts []string, done bool, err error)
}

// A failing tool has an exit status of its own for what keeps everything from being measured. begun says
// that nothing was wrong with the options and operands.
type failing interface {
	failed(err error, begun bool) int
}

// A usageError is about how the program was called, not about a value.
type usageError struct{ error }

// complain writes one line to standard error. Nothing is to be done about its failing.
func (s *session) complain(err error) {
	text := err.Error()
	if t, ok := s.tool.(interface{ wording(error) string }); ok { // the tool it stands in for has its own
		if text = t.wording(err); text == "" {
			return
		}
	}
	line := strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	_, _ = fmt.Fprintf(s.env.Stderr, "%s: %s\n", s.tool.name(), report.Printable(line))
}

// table are all options there are.
func (s *session) table() []option {
	return slices.Concat(s.options(), s.tool.options(), aboutOptions)
}

// run reads the arguments and does what they say.
func (s *session) run(ctx context.Context) (status int, err error) {
	table := s.table()
	options, hosts, after, err := normalise(table, s.env.Args)
	if err != nil {
		return unsure, usageError{err}
	}
	if status, done, err := s.about(table, options, hosts, after); done {
		return status, err
	}
	hosts = append(hosts, after...)

	// In the order given, each as often as it was.
	for _, given := range options {
		name, value, _ := strings.Cut(given[len("--"):], "=")
		o := find(table, func(o *option) bool { return o.long == name })
		s.given[o.long] = true
		switch err := o.set(value); {
		case err != nil && o.value == "":
			return unsure, err // names the switch and what it is at odds with
		case err != nil:
			return unsure, fmt.Errorf("--%s %s: %w", o.long, printable(value), err)
		}
	}
	if p, ok := s.tool.(preparer); ok {
		var done bool
		switch hosts, done, err = p.prepare(ctx, s, hosts); {
		case err != nil:
			return unsure, err
		case done:
			return yes, nil
		}
	}
	return s.measure(ctx, hosts)
}

// options are those that both programs have.
func (s *session) options() []option {
	source, tos := s.tool.letters()
	where, graphs := "", ""
	if !s.tool.named() {
		where = " for\ntext on a terminal"
	}
	if !s.pings() {
		graphs = aboutGraphs
	}
	return slices.Concat([]option{
		{long: "ipv4", short: '4', help: "use IPv4 only", set: s.only(4)},
		{long: "ipv6", short: '6', help: "use IPv6 only", set: s.only(6)},
		{long: "numeric", short: 'n', set: s.setNumeric, help: s.tool.numericHelp()},
		{long: "names", set: s.setNamed, help: "look up the names of addresses; without --numeric the default" + where},
		{long: "format", value: "NAME", words: s.formatNames(), set: s.formats, help: strings.Join(s.formatNames(), ", ") + "; default " + defaultFormat, more: graphs},
		{long: "json", help: "short for --format=json", set: func(string) error { return s.formats("json") }},
		{long: "source", short: source, value: "ADDRESS", set: address(&s.source),
			help: "send from this address of this host"},
		{long: "tos", short: tos, value: "N", set: s.setTOS,
			help: "type of service or traffic class, 0 to 255 (0x… is hex)"},
	}, s.classOptions(), s.manyOptions())
}

// manyOptions are those that both have for many hosts; none under the name of another tool, which has its own or one host.
func (s *session) manyOptions() []option {
	if s.tool.verbatim() {
		return nil
	}
	return []option{
		{long: "targets", value: "FILE", words: []string{"@file"}, set: s.list,
			help: "measure the hosts in FILE too, one a line; - is standard input;\nread as they are needed"},
		{long: "file", value: "FILE", words: []string{"@file"}, set: s.list, help: "the same as --targets"},
		{long: "generate", set: flag(&s.generate),
			help: "the hosts are networks (192.0.2.0/29), ranges\n(192.0.2.1-192.0.2.9), or one first and one last address"},
		{long: "parallel", value: "N", set: count(&s.parallel, 1, maxTargets), help: "hosts measured at once, as far as there is room for results;\ndefault " + s.tool.atOnceHelp()},
		{long: "rate", value: "N", set: count(&s.rate, 1, maxRate), help: "send no more than N probes a second, to all hosts together"},
		{long: "socket", value: "KIND", words: []string{"raw", "packet"}, set: word(&s.socket, "raw", "packet"),
			help: "send and hear by raw sockets or, for root, past the firewall and\nthe queues of this host by packet sockets (see PACKET SOCKETS)"},
		{long: "ordered", set: flag(&s.ordered), help: "print each host's output when all before it are done"},
		{long: "shuffle", set: flag(&s.shuffle),
			help: "begin with hosts by chance, so that neighbours are apart; says which\n--seed has the same order"},
		{long: "seed", value: "N", set: s.setSeed, help: "shuffle as an earlier run over the same hosts"},
		{long: "unique", set: flag(&s.unique), help: "measure no address twice, by whatever names it is given"},
		{long: "progress", set: flag(&s.progress),
			help: "tell on standard error how far the run is; the default where\nthat is a terminal, standard output is none, and there are 16\nhosts or more"},
		{long: "resume", value: "FILE", words: []string{"@file"}, set: s.resumes,
			help: "leave out hosts of which FILE, the output of --format json or\nevents, has a complete result; as in --resume FILE >>FILE"},
	}
}

func (s *session) only(family int) func(string) error {
	return func(string) error {
		if s.family != 0 && s.family != family {
			return errors.New("--ipv4 and --ipv6 exclude each other")
		}
		s.family = family
		return nil
	}
}

// aboutGraphs is what the manual says of formats that only traces have.
const aboutGraphs = "`dot` and `mermaid` describe the path as a graph, one for each host when that host is done, of which Graphviz (dot -Tsvg) and Mermaid make pictures. " +
	"A node is who answered at a distance, with the mean of the round-trip times; a circle is silence, and two lines are around the destination. Where there are branches, edges say " +
	"how many flows went that way or, without --multipath, how many probes. They are dashed where that is not known: distances between were not asked, or nothing tells which of several nodes leads on."

// formatNames are those of the output there is.
func (s *session) formatNames() []string {
	if s.pings() {
		return append(slices.Clone(report.Formats), formatFping)
	}
	return report.TraceFormats
}

func (s *session) list(name string) error {
	if name == "" {
		return errors.New("want a file, or - for standard input")
	}
	s.lists = append(s.lists, name)
	return nil
}

func (s *session) setSeed(n string) error {
	s.shuffle = true
	return bits(&s.seed, uint32(1<<31-1))(n)
}

// chance is that of --seed.
func (s *session) chance() *rand.Rand { return rand.New(rand.NewPCG(uint64(s.seed), 0)) }

func (s *session) resumes(name string) error {
	if name == "" || s.resume != "" {
		return errors.New("want one file")
	}
	s.resume = name
	return nil
}

func (s *session) formats(name string) error {
	before := s.format
	if err := word(&s.format, s.formatNames()...)(name); err != nil {
		return err
	}
	if before != "" && before != s.format {
		return errors.New("--format and --json exclude each other")
	}
	return nil
}

func (s *session) setNumeric(string) error { s.numeric = true; return s.oneWay() }
func (s *session) setNamed(string) error   { s.named = true; return s.oneWay() }

func (s *session) oneWay() error {
	if s.numeric && s.named {
		return errors.New("--numeric and --names exclude each other")
	}
	return nil
}
