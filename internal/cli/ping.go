package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"gtrace/probe/ping"
	"gtrace/rawsock"
)

// gping under the name ping or ping6 is iputils' ping 20221126 to whoever calls it: its command line and what it says about
// a wrong one, its text, its exit status. Where that ping goes on after a value that makes no sense (-i x floods the
// host) this one does not.

// A literalError is a wrong command line, in iputils' words and with its exit status.
type literalError struct {
	text   string
	status int
	usage  bool   // how to call it follows
	plain  string // what is said without the program's name before it
}

func literalf(status int, format string, args ...any) *literalError {
	for i, a := range args { // some are the user's, and what is on a terminal is not for them to choose
		if s, ok := a.(string); ok {
			args[i] = printable(s)
		}
	}
	return &literalError{text: fmt.Sprintf(format, args...), status: status}
}

// literalLetters are ping's options, each with a colon behind it where it takes a value.
const literalLetters = "46aAbBc:CdDe:fF:hH3i:I:l:Lm:M:nN:Op:qQ:rRs:S:t:T:UvVw:W:"

// literalUsage is what follows what is wrong.
const literalUsage = `
Usage
  ping [options] <destination>

This is gping by the name of ping: "gping --help" lists the options, which are ping's.
`

// literalArgs turns ping's arguments into those of gping, or answers them, where they are wrong or only ask
// about the program: done.
func (t *pingTool) literalArgs(e Env) (args []string, status int, done bool) {
	args, out, err := t.literally(e)
	switch {
	case err != nil:
		if err.text != "" {
			_, _ = fmt.Fprintf(e.Stderr, "%s: %s\n", t.literal, err.text)
		}
		_, _ = io.WriteString(e.Stderr, err.plain)
		if err.usage {
			_, _ = io.WriteString(e.Stderr, literalUsage)
		}
		return nil, err.status, true
	case out != "":
		if _, err := io.WriteString(e.Stdout, out); err != nil {
			_, _ = fmt.Fprintf(e.Stderr, "%s: write standard output: %v\n", t.literal, err)
			return nil, unsure, true
		}
		return nil, yes, true
	}
	return args, 0, false
}

// literally is literalArgs without the printing: out is what was asked about the program.
func (t *pingTool) literally(e Env) (args []string, out string, wrong *literalError) {
	v6 := strings.HasSuffix(t.literal, "6")
	family := byte(0)
	if v6 {
		family = '6'
	}
	var hosts []string
	recorded, stamped := false, ""
	letter := func(c byte, value string) *literalError {
		number := func(long string, least, most int64) *literalError {
			n, err := literalNumber(value, least, most)
			if err == nil {
				args = append(args, fmt.Sprintf("--%s=%d", long, n))
			}
			return err
		}
		pass := func(long string) *literalError { args = append(args, "--"+long); return nil }
		switch c {
		case '4', '6':
			if family != 0 && family != c {
				return literalf(2, "only one -4 or -6 option may be specified")
			}
			family = c
		case 'h':
			return &literalError{status: 2, usage: true}
		case 'V':
			out = fmt.Sprintf("ping from gping %s (as iputils 20221126)\n", e.Version)
		case 'c':
			n, err := literalNumber(value, 1, math.MaxInt64)
			args = append(args, fmt.Sprintf("--count=%d", min(n, math.MaxInt32)))
			return err
		case 'e':
			if n, err := literalNumber(value, 0, 65535); err != nil || n > 0 {
				args = append(args, fmt.Sprintf("--identifier=%d", n))
				return err
			}
			return literalf(2, "invalid argument: '0': the identifier 0 is that of no program's own requests, want 1 to 65535")
		case 'l':
			n, err := literalNumber(value, 1, 65536)
			if err == nil && n > pingBurst && !e.Root {
				return literalf(2, "cannot set preload to value greater than %d: %d", pingBurst, n)
			}
			args = append(args, fmt.Sprintf("--preload=%d", n))
			return err
		case 'm':
			return number("fwmark", 0, math.MaxUint32)
		case 's':
			n, err := literalNumber(value, 0, math.MaxInt32)
			if err == nil && n > 65507 {
				return literalf(2, "packet size too large: %d. Maximum is 65507", n)
			}
			args = append(args, fmt.Sprintf("--payload=%d", n))
			return err
		case 'S':
			return number("sndbuf", 1, math.MaxInt32)
		case 't':
			n, err := literalNumber(value, 0, 255)
			if err == nil && n == 0 {
				return literalf(2, "cannot set unicast time-to-live: Invalid argument")
			}
			args = append(args, fmt.Sprintf("--ttl=%d", n))
			return err
		case 'w':
			n, err := literalNumber(value, 0, math.MaxInt32)
			if n > 0 {
				args = append(args, fmt.Sprintf("--deadline=%d", min(n, int64(longest.Seconds()))))
			}
			return err
		case 'i', 'W':
			return t.literalSeconds(&args, c, value, e.Root)
		case 'Q':
			tos, err := literalTOS(value)
			args = append(args, fmt.Sprintf("--tos=%d", tos))
			return err
		case 'F':
			label := uint32(0)
			if bits(&label, uint32(1<<20-1))(value) != nil {
				return literalf(2, "bad value for flowinfo: %s", value)
			}
			args = append(args, fmt.Sprintf("--flowlabel=%d", label))
		case 'p':
			if digits := strings.IndexFunc(value, func(r rune) bool { return !unicode.Is(unicode.ASCII_Hex_Digit, r) }); digits >= 0 || value == "" {
				return literalf(2, "patterns must be specified as hex digits: %s", value)
			}
			args = append(args, "--pattern="+value[:min(len(value), 32)])
		case 'M':
			if word(new(string), "do", "want", "dont", "probe")(value) != nil {
				return literalf(2, "invalid -M argument: %s", value)
			}
			args = append(args, "--pmtudisc="+value)
		case 'R':
			recorded = true
		case 'T':
			if word(new(string), "tsonly", "tsandaddr", "tsprespec")(value) != nil {
				return literalf(2, "invalid timestamp type: %s", value)
			}
			stamped = value
		case 'N':
			if value == "help" {
				out = nodeHelp
				return nil
			}
			if (&nodeQuery{}).set(value) != nil {
				return &literalError{plain: nodeHelp, status: 2}
			}
			args = append(args, "--node-info="+value)
		case 'I':
			args = append(args, "--interface="+value)
		default:
			return pass(literalSwitches[c])
		}
		if c != 'V' && recorded && stamped != "" {
			return literalf(2, "only one of -T or -R may be used")
		}
		return nil
	}
	for rest := e.Args; len(rest) > 0; {
		arg := rest[0]
		rest = rest[1:]
		if arg == "--" {
			hosts = append(hosts, rest...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			hosts = append(hosts, arg)
			continue
		}
		for i := 1; i < len(arg); i++ {
			c, value := arg[i], ""
			at := strings.IndexByte(literalLetters, c)
			if c == ':' || at < 0 {
				return nil, "", &literalError{text: fmt.Sprintf("invalid option -- '%s'", printable(string(rune(c)))), status: 2, usage: true}
			}
			takes := strings.HasPrefix(literalLetters[at+1:], ":")
			if takes {
				if value = arg[i+1:]; value == "" && len(rest) == 0 {
					return nil, "", &literalError{text: fmt.Sprintf("option requires an argument -- '%c'", c), status: 2, usage: true}
				} else if value == "" {
					value, rest = rest[0], rest[1:]
				}
				i = len(arg)
			}
			if err := letter(c, value); err != nil || out != "" {
				return nil, out, err
			}
		}
	}
	if len(hosts) == 0 {
		return nil, "", literalf(1, "usage error: Destination address required")
	}
	if family != 0 {
		args = append(args, map[byte]string{'4': "--ipv4", '6': "--ipv6"}[family])
	}
	args, wrong = t.literalHops(args, hosts, recorded, stamped)
	return args, "", wrong
}

// literalHops takes what stands before the destination: hops that are asked for their time, or that the
// requests go by.
func (t *pingTool) literalHops(args, hosts []string, recorded bool, stamped string) ([]string, *literalError) {
	hops, dst := hosts[:len(hosts)-1], hosts[len(hosts)-1]
	a, err := netip.ParseAddr(dst)
	v6 := err == nil && a.Unmap().Is6()
	if v6 { // iputils takes no notice of them
		recorded, stamped = false, ""
	}
	most := 8
	if stamped == "tsprespec" {
		most = 4
	}
	if len(hops) > most || len(hops) > 0 && (v6 || recorded || stamped != "" && stamped != "tsprespec") {
		return nil, &literalError{status: 2, usage: true}
	}
	for _, h := range hops {
		if h, err := netip.ParseAddr(h); err != nil || !h.Is4() {
			return nil, literalf(2, "%s: Address family for hostname not supported", printable(hops[0]))
		}
	}
	list := strings.Join(hops, ",")
	switch {
	case recorded:
		args = append(args, "--record-route")
	case stamped == "tsprespec" && list == "": // iputils takes the destination
		if err != nil {
			return nil, &literalError{status: 2, usage: true}
		}
		args = append(args, "--ip-timestamp=tsprespec="+dst)
	case stamped == "tsprespec":
		args = append(args, "--ip-timestamp=tsprespec="+list)
	case stamped != "":
		args = append(args, "--ip-timestamp="+stamped)
	case list != "":
		args = append(args, "--gateway="+list)
	}
	return append(args, "--", dst), nil
}

// literalSwitches are the options of ping without a value, by gping's names.
var literalSwitches = map[byte]string{
	'a': "audible", 'A': "adaptive", 'b': "broadcast", 'B': "sticky", 'C': "connect", 'd': "debug", 'D': "print-times", 'f': "flood",
	'L': "no-loop", 'n': "numeric", 'O': "outstanding", 'q': "quiet", 'r': "direct", 'H': "resolve", 'U': "user-times", 'v': "verbose", '3': "precise",
}

var nodeHelp = func() string {
	var b strings.Builder
	b.WriteString("ping -6 -N <nodeinfo opt>\nHelp:\n  help\nQuery:\n")
	for _, q := range nodeQueries {
		b.WriteString("  " + q.word + "\n")
	}
	b.WriteString("Subject:\n  subject-ipv6=addr\n  subject-ipv4=addr\n  subject-name=name\n  subject-fqdn=name\n")
	return b.String()
}()

// literalNumber reads a whole number as C's strtol does, all of it.
func literalNumber(s string, least, most int64) (int64, *literalError) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, " \t\n"), 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, literalf(1, "invalid argument: '%s'", printable(s))
	case err != nil || n < least || n > most:
		return 0, literalf(1, "invalid argument: '%s': out of range: %d <= value <= %d", printable(s), least, most)
	}
	return n, nil
}

// literalSeconds reads -i and -W. What of a value is no number iputils warns of and takes for none; that a later version would
// refuse it, it says too, and this one does.
func (t *pingTool) literalSeconds(args *[]string, c byte, s string, root bool) *literalError {
	long, bad := "interval", "bad timing interval: %s"
	if c == 'W' {
		long, bad = "timeout", "bad linger time: %s"
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return literalf(2, "option argument contains garbage: %s", printable(s))
	case !(f >= 0 && f <= longest.Seconds()):
		return literalf(2, bad, printable(s))
	case c == 'i' && f < leastInterval.Seconds() && !root:
		return literalf(2, "cannot flood; minimal interval allowed for user is 2ms")
	case c == 'W' && f > 0:
		f = max(f, 0.001)
	}
	*args = append(*args, "--"+long+"="+strconv.FormatFloat(f, 'f', -1, 64))
	return nil
}

func literalTOS(s string) (int64, *literalError) {
	base := 10
	digits := s
	if rest, hex := strings.CutPrefix(strings.ToLower(s), "0x"); hex {
		base, digits = 16, rest
	}
	n, err := strconv.ParseInt(digits, base, 64)
	switch {
	case err != nil:
		return 0, literalf(2, "bad TOS value: %s", printable(s))
	case n < 0 || n > 255:
		return 0, literalf(2, "the decimal value of TOS bits must be in range 0-255: %d", n)
	}
	return n, nil
}

// wording is what a run says about an error: gping's own words, or those of iputils; "" where that says nothing.
func (t *pingTool) wording(err error) string {
	if t.literal == "" {
		return err.Error()
	}
	name, _, _ := strings.Cut(err.Error(), ": ")
	var dns *net.DNSError
	var crowded errCrowded
	switch {
	case errors.As(err, new(*net.AddrError)):
		return name + ": Address family for hostname not supported"
	case errors.As(err, &dns) && dns.IsNotFound, errors.Is(err, rawsock.ErrZone):
		return name + ": Name or service not known"
	case errors.As(err, &dns):
		return name + ": Temporary failure in name resolution"
	case errors.Is(err, errFamily):
		return name + ": Address family for hostname not supported"
	case errors.Is(err, ping.ErrUnsent): // of each request it has been said
		return ""
	case errors.As(err, &crowded) && crowded.many:
		return fmt.Sprintf("broadcast ping with too short interval: %d", t.interval.Milliseconds())
	case errors.Is(err, errBroadcast):
		return "Do you want to ping broadcast? Then -b. If not, check your local firewall rules"
	case errors.Is(err, syscall.ENETUNREACH):
		return "connect: Network is unreachable"
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "connect: No route to host"
	case errors.Is(err, syscall.ENODEV):
		return fmt.Sprintf("SO_BINDTODEVICE %s: No such device", printable(t.device))
	case errors.Is(err, errNotLocal):
		return "bind: Cannot assign requested address"
	}
	// It has letters where gping has long names.
	return longName().ReplaceAllStringFunc(err.Error(), func(s string) string {
		if o := find(t.options(), func(o *option) bool { return "--"+o.long == s }); o != nil && o.short != 0 {
			return "-" + string(o.short)
		}
		return s
	})
}

var longName = lazy(`--[a-z][a-z-]*`)
