package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"gtrace/probe"
	"gtrace/probe/ping"
	"gtrace/rawsock"
	"gtrace/report"
)

// A fpingTool is gping where it is called fping: with the options of fping 5.1, its defaults, its lines and its exit
// status. What it measures and how is gping's.
type fpingTool struct {
	*pingTool
	gapMS         float64
	periodMS      uint
	timeoutMS     uint
	loop          bool
	every         float64 // seconds
	rdns, forced  bool    // -n, -d
	addr          bool
	random        bool
	device        string
	dontFragment  bool
	help, version bool
	six           bool // called fping6
	given         map[string]bool
}

// The exit statuses of fping. The manual's 3, for wrong arguments, is 1 in the program.
const (
	fpingSome    = 1 // some hosts did not answer, or a wrong argument
	fpingUnknown = 2 // a name has no address
	fpingSystem  = 4 // a system call failed
)

// newFpingTool returns fping, or, as it is in some systems, fping6, which is fping -6.
func newFpingTool(six bool) *fpingTool {
	t := &fpingTool{six: six, pingTool: newPingTool(), gapMS: 10, periodMS: 1000, timeoutMS: 500, given: make(map[string]bool)}
	t.fleet.retries, t.fleet.backoff = defaultRetries, defaultBackoff
	t.fleet.fpings = true
	t.fleet.fping = report.FpingOptions{}
	return t
}

// verbatim: a host is a word and nothing else, the first of a line in a list.
func (t *fpingTool) verbatim() bool { return true }

func (t *fpingTool) name() string {
	if t.six {
		return "fping6"
	}
	return "fping"
}

// maxVector is how many times a target -C keeps, for each eight bytes.
const maxVector = 1 << 20

// errUsage asks for the usage, on standard error.
var errUsage = errors.New("usage")

// table are fping's options.
func (t *fpingTool) table(s *session) []option {
	o, f := &t.fleet.fping, &t.fleet
	number := func(into *int, least, most int) func(string) error {
		return func(v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < least {
				return errUsage
			}
			if n > most {
				return fmt.Errorf("%d: want no more than %d", n, most)
			}
			*into = n
			return nil
		}
	}
	unsigned := func(into *uint) func(string) error {
		return func(v string) error {
			n, err := strconv.ParseUint(v, 10, 31)
			if err != nil {
				return errUsage
			}
			*into = uint(n)
			return nil
		}
	}
	fraction := func(into *float64) func(string) error {
		return func(v string) error {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil || math.IsNaN(n) || n < 0 || n > 1e9 {
				return errUsage
			}
			*into = n
			return nil
		}
	}
	size := uint(0)
	return []option{
		{long: "ipv4", short: '4', group: "Probing", help: "only ping IPv4 addresses", set: t.family(s, 4)},
		{long: "ipv6", short: '6', group: "Probing", help: "only ping IPv6 addresses", set: t.family(s, 6)},
		{long: "size", short: 'b', value: "BYTES", group: "Probing", help: "amount of ping data to send, in bytes (default: 56)", set: func(v string) error {
			if err := unsigned(&size)(v); err != nil {
				return err
			}
			if size > 65488 {
				return fmt.Errorf("data size %d not valid, must be lower than 65488", size)
			}
			t.payload = int(size)
			return nil
		}},
		{long: "backoff", short: 'B', value: "N", group: "Probing", help: "set exponential backoff factor to N (default: 1.5)", set: func(v string) error {
			if err := fraction(&f.backoff)(v); err != nil {
				return err
			}
			if f.backoff < 1 || f.backoff > 5 {
				return fmt.Errorf("backoff factor %.1f not valid, must be between 1.0 and 5.0", f.backoff)
			}
			return nil
		}},
		{long: "count", short: 'c', value: "N", group: "Probing", help: "count mode: send N pings to each target", set: number(&t.count, 1, math.MaxInt32)},
		{long: "file", short: 'f', value: "FILE", group: "Probing", help: "read list of targets from a file ( - means stdin)", set: s.list},
		{long: "generate", short: 'g', group: "Probing", help: "generate target list (only if no -f specified)\n(give start and end IP in the target list, or a CIDR address)\n" +
			"(ex. fping -g 192.168.1.0 192.168.1.255 or fping -g 192.168.1.0/24)", set: flag(&s.generate)},
		{long: "ttl", short: 'H', value: "N", group: "Probing", help: "set the IP TTL value (Time To Live hops)", set: func(v string) error {
			var n uint
			if err := unsigned(&n)(v); err != nil || n == 0 {
				return errUsage
			}
			if n > 255 {
				return fmt.Errorf("ttl %d out of range", n)
			}
			t.ttl = uint8(n)
			return nil
		}},
		{long: "iface", short: 'I', value: "IFACE", group: "Probing", help: "bind to a particular interface", set: func(v string) error { t.device = v; return nil }},
		{long: "loop", short: 'l', group: "Probing", help: "loop mode: send pings forever", set: flag(&t.loop)},
		{long: "all", short: 'm', group: "Probing", help: "use all IPs of provided hostnames (e.g. IPv4 and IPv6), use with -A", set: flag(&s.everyAddress)},
		{long: "dontfrag", short: 'M', group: "Probing", help: "set the Don't Fragment flag", set: flag(&t.dontFragment)},
		{long: "tos", short: 'O', value: "N", group: "Probing", help: "set the type of service (tos) flag on the ICMP packets", set: func(v string) error {
			if bits(&s.tos, uint8(255))(v) != nil {
				return errUsage
			}
			return nil
		}},
		{long: "period", short: 'p', value: "MSEC", group: "Probing", help: "interval between ping packets to one target (in ms)\n(in loop and count modes, default: 1000 ms)", set: unsigned(&t.periodMS)},
		{long: "retry", short: 'r', value: "N", group: "Probing", help: "number of retries (default: 3)", set: number(&f.retries, 0, ping.MaxRetries)},
		{long: "random", short: 'R', group: "Probing", help: "random packet data (to foil link data compression)", set: flag(&t.random)},
		{long: "src", short: 'S', value: "IP", group: "Probing", help: "set source address", set: func(v string) error {
			a, err := netip.ParseAddr(v)
			if err != nil {
				return fmt.Errorf("can't parse source address: %s", printable(v))
			}
			s.source = a.Unmap()
			return nil
		}},
		{long: "timeout", short: 't', value: "MSEC", group: "Probing", help: "individual target initial timeout (default: 500 ms,\nexcept with -l/-c/-C, where it's the -p period up to 2000 ms)", set: unsigned(&t.timeoutMS)},

		{long: "alive", short: 'a', group: "Output", help: "show targets that are alive", set: flag(&o.Alive)},
		{long: "addr", short: 'A', group: "Output", help: "show targets by address", set: flag(&t.addr)},
		{long: "vcount", short: 'C', value: "N", group: "Output", help: "same as -c, report results in verbose format", set: func(v string) error {
			o.Vector = true
			return number(&t.count, 1, maxVector)(v)
		}},
		{long: "rdns", short: 'd', group: "Output", help: "show targets by name (force reverse-DNS lookup)", set: flag(&t.forced)},
		{long: "timestamp", short: 'D', group: "Output", help: "print timestamp before each output line", set: flag(&o.Stamped)},
		{long: "elapsed", short: 'e', group: "Output", help: "show elapsed time on return packets", set: flag(&o.Elapsed)},
		{long: "interval", short: 'i', value: "MSEC", group: "Output", help: "interval between sending ping packets (default: 10 ms)", set: fraction(&t.gapMS)},
		{long: "name", short: 'n', group: "Output", help: "show targets by name (reverse-DNS lookup for target IPs)", set: flag(&t.rdns)},
		{long: "netdata", short: 'N', group: "Output", help: "output compatible for netdata (-l -Q are required)", set: flag(&o.Netdata)},
		{long: "outage", short: 'o', group: "Output", help: "show the accumulated outage time (lost packets * packet interval)", set: flag(&o.Outage)},
		{long: "quiet", short: 'q', group: "Output", help: "quiet (don't show per-target/per-ping results)", set: flag(&o.Quiet)},
		{long: "squiet", short: 'Q', value: "SECS", group: "Output", help: "same as -q, but add interval summary every SECS seconds", set: func(v string) error {
			o.Quiet = true
			return fraction(&t.every)(v)
		}},
		{long: "stats", short: 's', group: "Output", help: "print final stats", set: flag(&o.Totals)},
		{long: "unreach", short: 'u', group: "Output", help: "show targets that are unreachable", set: flag(&o.Silent)},
		{long: "version", short: 'v', group: "Output", help: "show version", set: flag(&t.version)},
		{long: "reachable", short: 'x', value: "N", group: "Output", help: "shows if >=N hosts are reachable or not", set: number(&o.AtLeast, 1, math.MaxInt32)},

		{long: "help", short: 'h', set: flag(&t.help)},
		{short: 'T', value: "N", set: func(string) error { return nil }}, // as fping: for fping 2.4's callers
	}
}

func (t *fpingTool) family(s *session, family int) func(string) error {
	return func(string) error {
		if s.only(family)("") != nil {
			return errors.New("can't specify both -4 and -6")
		}
		return nil
	}
}

// usage is printed as fping prints it.
func (t *fpingTool) usageText(s *session) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [options] [targets...]\n", t.name())
	group := ""
	for _, o := range t.table(s) {
		if o.group == "" {
			continue
		}
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n%s options:\n", group)
		}
		left := "--" + o.long
		if o.value != "" {
			left += "=" + o.value
		}
		lines := strings.Split(o.help, "\n")
		if len(left) > 14 {
			left += " "
		}
		fmt.Fprintf(&b, "   -%c, %-14s %s\n", o.short, left, lines[0])
		for _, l := range lines[1:] {
			fmt.Fprintf(&b, "%22s%s\n", "", l)
		}
	}
	return b.String()
}

// parse reads arguments as fping does: options anywhere, long names whole.
func (t *fpingTool) parse(table []option, args []string) (hosts []string, err error) {
	invalid := func(name string) error {
		return fmt.Errorf("invalid option -- '%s'\nsee 'fping -h' for usage information", printableBare(name))
	}
	missing := func(name string) error {
		return fmt.Errorf("option requires an argument -- '%s'\nsee 'fping -h' for usage information", name)
	}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(hosts, args...), nil
		case strings.HasPrefix(arg, "--"):
			name, value, joined := strings.Cut(arg[2:], "=")
			o := find(table, func(o *option) bool { return o.long == name && name != "" })
			switch {
			case o == nil:
				return nil, invalid(name)
			case o.value == "" && joined:
				return nil, fmt.Errorf("option takes no arguments -- '%s'\nsee 'fping -h' for usage information", name)
			case o.value != "" && !joined && len(args) == 0:
				return nil, missing(name)
			case o.value != "" && !joined:
				value, args = args[0], args[1:]
			}
			if err := o.set(value); err != nil {
				return nil, err
			}
			t.given[o.long] = true
		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg); i++ {
				o := find(table, func(o *option) bool { return o.short == arg[i] })
				if o == nil {
					return nil, invalid(arg[i : i+1])
				}
				value, last := "", false
				if o.value != "" {
					value, last = arg[i+1:], true
					if value == "" {
						if len(args) == 0 {
							return nil, missing(string(o.short))
						}
						value, args = args[0], args[1:]
					}
				}
				if err := o.set(value); err != nil {
					return nil, err
				}
				t.given[o.long] = true
				if last {
					break
				}
			}
		default:
			hosts = append(hosts, arg)
		}
	}
	return hosts, nil
}

// printableBare is s as it may stand between quotes.
func printableBare(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// run is session.run's part for fping.
func (t *fpingTool) run(ctx context.Context, s *session) int {
	fail := func(status int, err error) int {
		if errors.Is(err, errUsage) {
			_, _ = io.WriteString(s.env.Stderr, t.usageText(s))
			return status
		}
		_, _ = fmt.Fprintf(s.env.Stderr, "%s: %v\n", t.name(), err)
		return status
	}
	if t.six {
		s.family = 6
	}
	hosts, err := t.parse(t.table(s), s.env.Args)
	switch {
	case err != nil:
		return fail(fpingSome, err)
	case t.help:
		_, _ = io.WriteString(s.out, t.usageText(s))
		return 0
	case t.version:
		_, _ = fmt.Fprintf(s.out, "%s: Version 5.1 (gping %s)\n", t.name(), s.env.Version)
		return 0
	}
	if err := t.settle(s); err != nil {
		return fail(fpingSome, err)
	}
	switch {
	case s.generate && (len(s.lists) > 0 || len(hosts) == 0 || len(hosts) > 2 || len(hosts) == 1 && !strings.Contains(hosts[0], "/")):
		return fail(fpingSome, errUsage)
	case len(hosts) > 0 && len(s.lists) > 0:
		return fail(fpingSome, errUsage)
	case len(hosts) == 0 && len(s.lists) == 0:
		s.lists = []string{"-"}
	}
	if s.generate {
		if hosts, err = generated(hosts); err != nil {
			return fail(fpingSome, err)
		}
		s.generate = false
		if len(hosts) == 0 {
			return fpingSome
		}
	}
	for _, list := range s.lists {
		if list == "-" {
			continue
		}
		if _, err := os.Stat(list); err != nil {
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return fail(fpingSystem, fmt.Errorf("fopen : %s", capital(err.Error())))
		}
	}
	status, err := s.measure(ctx, hosts)
	if err != nil {
		switch {
		case errors.Is(err, errNoTargets):
			return fpingSome
		case t.device != "" && errors.Is(err, syscall.ENODEV):
			_, _ = io.WriteString(s.env.Stderr, "binding to specific interface (SO_BINTODEVICE): No such device\n")
			return fpingSome
		case s.source.IsValid() && s.env.Conn != nil && !s.env.Conn.Local(s.source):
			return fail(fpingSystem, errors.New("cannot bind source address : Cannot assign requested address"))
		}
		return fail(fpingSystem, err)
	}
	return status
}

// settle turns fping's options into gping's.
func (t *fpingTool) settle(s *session) error {
	o, f := &t.fleet.fping, &t.fleet
	f.retrying = t.count == 0 && !t.loop
	switch {
	case o.Alive && o.Silent:
		return errors.New("specify only one of a, u")
	case t.count > 0 && t.loop:
		return errors.New("specify only one of c, l")
	case t.rdns && t.forced:
		return errors.New("use either one of -d or -n")
	case !f.retrying && t.periodMS < uint(leastInterval/time.Millisecond) && !s.env.Root:
		return fmt.Errorf("-p %d: only root may ask a host more often than every %d ms", t.periodMS, leastInterval/time.Millisecond)
	case f.retrying && f.retries > 0 && t.timeoutMS < uint(leastInterval/time.Millisecond) && !s.env.Root:
		return fmt.Errorf("-t %d: only root may ask again after less than %d ms", t.timeoutMS, leastInterval/time.Millisecond)
	}
	s.format = formatFping
	o.Loop, o.Reports = t.loop, t.given["squiet"]
	if t.every > 0 && !f.retrying {
		f.every = max(leastReport, time.Duration(t.every*float64(time.Second)))
	}
	ms := func(n uint) time.Duration { return time.Duration(n) * time.Millisecond }
	f.gap = time.Duration(t.gapMS * float64(time.Millisecond))
	t.interval = max(ms(t.periodMS), time.Millisecond)
	o.Period = ms(t.periodMS)
	t.timeout = ms(t.timeoutMS)
	if !f.retrying && !t.given["timeout"] {
		t.timeout = min(ms(t.periodMS), 2*time.Second)
	}
	t.timeout = max(t.timeout, 1) // which nothing is in time for
	s.given["timeout"] = true     // it is settled
	t.pattern = "\x00"
	if t.random {
		t.pattern = randomPattern(t.payload)
	}
	if t.dontFragment {
		t.fragment = "do"
	}
	s.named = t.rdns || t.forced
	return nil
}

// randomPattern is what fills a payload that no link can compress.
func randomPattern(n int) string {
	b := make([]byte, 0, n+4)
	for len(b) < max(n, 1) {
		v := random(math.MaxUint32)
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return string(b)
}

// generated are the hosts that -g asks for. A range that ends before it begins is empty, as for fping.
func generated(hosts []string) ([]string, error) {
	const most = 100_000
	word := hosts[0]
	if len(hosts) == 2 {
		for _, h := range hosts {
			if _, err := netip.ParseAddr(h); err != nil {
				return nil, fmt.Errorf("can't parse address %s: Name or service not known", printable(h))
			}
		}
		word = hosts[0] + "-" + hosts[1]
	} else {
		a, n, _ := strings.Cut(word, "/")
		addr, err := netip.ParseAddr(a)
		bits, err2 := strconv.Atoi(n)
		switch {
		case err != nil:
			return nil, fmt.Errorf("can't parse address %s: Name or service not known", printable(a))
		case addr.Is6():
			return nil, errors.New("-g works only with IPv4 addresses")
		case err2 != nil || bits < 1 || bits > 32:
			return nil, fmt.Errorf("netmask must be between 1 and 32 (is: %s)", printable(n))
		}
	}
	first, last, err := bounds(word)
	switch {
	case err != nil:
		return nil, err
	case first.Is6() || last.Is6():
		return nil, errors.New("-g works only with IPv4 addresses")
	case last.Less(first):
		return nil, nil
	}
	if n, err := howMany(first, last); err != nil || n > most {
		return nil, errors.New("-g parameter generates too many addresses")
	}
	all, _, err := expand(first.String()+"-"+last.String(), nil)
	if err != nil {
		return nil, err
	}
	return slices.Collect(all), nil
}

// refused tells why a host is not measured.
func (t *fpingTool) refused(s *session, h host, why error) {
	if h.unknown {
		_, _ = fmt.Fprintf(s.env.Stderr, "%s: %s\n", printable(h.name), lookupText(h, why))
	}
	if errors.As(why, new(policyError)) {
		_, _ = fmt.Fprintf(s.env.Stderr, "%s: %s: %v\n", t.name(), printable(h.name), why)
	}
	// The sink tells of the others.
}

// lookupText is what the C library says of a name (gai_strerror(3)).
func lookupText(h host, why error) string {
	var dns *net.DNSError
	switch {
	case isAddress(h.name):
		return "Address family for hostname not supported"
	case errors.As(why, &dns) && !dns.IsNotFound:
		return "Temporary failure in name resolution"
	}
	return "Name or service not known"
}

func isAddress(name string) bool {
	_, ok := report.Address(name)
	return ok
}

// fleetSink is gping's, of hosts under the names that -A, -n and -d ask for.
func (t *fpingTool) fleetSink(ctx context.Context, s *session, hosts []host) (probe.Sink, error) {
	if err := t.allowed(s, hosts); err != nil {
		return nil, err
	}
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.name
		if t.addr && h.addr.IsValid() {
			names[i] = h.addr.String()
		}
	}
	for _, again := range []bool{false, true} { // all are asked for before one is waited for
		for i, h := range hosts {
			switch {
			case !h.addr.IsValid() || !t.forced && !(t.rdns && isAddress(h.name)):
			case !again:
				s.called.Ask(h.addr)
			default:
				name := s.called.Name(h.addr)
				switch {
				case name == "":
				case t.addr:
					names[i] = name + " (" + names[i] + ")"
				default:
					names[i] = name
				}
			}
		}
	}
	t.fleet.names = names
	return t.pingTool.fleetSink(ctx, s, hosts)
}

// allowed is why this user can ping nobody here. Where that is so no host has been found dead.
func (t *fpingTool) allowed(s *session, hosts []host) error {
	for _, h := range hosts {
		if h.err != nil {
			continue
		}
		proto := t.proto().Number(h.addr, 0)
		port, err := s.env.Conn.Reserve(h.source, proto, 0)
		switch {
		case errors.Is(err, rawsock.ErrPrivilege):
			return errors.New("can't create socket (must run as root?)")
		case err == nil:
			s.env.Conn.Release(h.source, proto, port)
		}
		break // whatever else is wrong is the host's own
	}
	return nil
}

// exit is fping's status.
func (t *fpingTool) exit(y *tally) int {
	hosts, alive := y.hosts, t.fleet.sink.Alive()
	switch least := t.fleet.fping.AtLeast; {
	case least > 0 && alive >= least:
		return 0
	case least > 0:
		return fpingSome
	case y.unknown > 0:
		return fpingUnknown
	case alive < hosts:
		return fpingSome
	}
	return 0
}

func (t *fpingTool) settings() rawsock.Settings {
	st := t.pingTool.settings()
	st.Device = t.device
	// What fits everywhere (RFC 8200 section 5) needs no fragments.
	st.Fragment = !t.dontFragment && t.payload > 1280-48
	return st
}

// capital is s as strerror(3) begins it.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
