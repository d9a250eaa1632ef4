package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"gtrace/probe"
)

// methods are traceroute's names for what to probe with (-M).
var methods = []string{"default", "icmp", "tcp", "udp", "tcpconn", "udplite", "dccp", "raw"}

var protos = map[string]probe.Proto{
	"": probe.UDP, "default": probe.UDP, "icmp": probe.ICMP, "tcp": probe.TCP, "tcpconn": probe.TCP,
	"udp": probe.UDP, "udplite": probe.UDPLite, "dccp": probe.DCCP, "raw": probe.Raw,
}

// defaultPorts are where probes go where no port is asked for.
var defaultPorts = map[string]uint16{
	"": 33434, "default": 33434, "tcp": 80, "tcpconn": 80, "udp": 53, "udplite": 53, "dccp": 33434,
}

// what names the probes in a diagnostic.
func (t *traceTool) what() string {
	return map[probe.Proto]string{
		probe.UDP: "a UDP probe", probe.ICMP: "an ICMP probe", probe.TCP: "a TCP probe",
		probe.UDPLite: "a UDP-Lite probe", probe.DCCP: "a DCCP probe", probe.Raw: "a raw packet",
	}[t.proto()]
}

// setMethod returns the setter of a method's own option.
func (t *traceTool) setMethod(name string) func(string) error {
	return func(string) error {
		if t.kind != "" && t.kind != name && t.called == "" { // to traceroute the last is meant
			return fmt.Errorf("--%s and --%s exclude each other", t.kind, name)
		}
		t.kind = name
		return nil
	}
}

func (t *traceTool) setModule(s string) error {
	var name string
	if err := word(&name, methods...)(s); err != nil {
		return err
	}
	return t.setMethod(name)("")
}

func (t *traceTool) setProtocol(s string) error {
	n, err := protocol(s)
	if err != nil {
		return err
	}
	t.mod.number = n
	return t.setMethod("raw")("")
}

func (t *traceTool) setOptions(s string) error {
	for o := range strings.SplitSeq(s, ",") {
		if o == "" {
			return errors.New("want one or more options, separated by commas (-O help)")
		}
		t.modOptions = append(t.modOptions, o)
	}
	return nil
}

// protocolNames are those that a packet without a header may be asked for by.
func protocolNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(protocolNumbers)), func(name string) bool { return ownProbes[protocolNumbers[name]] != "" })
}

// ownProbes are the options for protocols that have probes of their own, which are whole messages.
var ownProbes = map[uint8]string{1: "--icmp", 58: "--icmp", 6: "--tcp", 17: "--udp", protoDCCP: "--dccp", protoUDPLite: "-UL"}

// What is asked for by default, as traceroute has it: a protocol for experiments (RFC 3692), and
// a service code that spells "ping".
const (
	defaultProtocol = protoRaw
	defaultService  = 1885957735
)

// protocol reads an IP protocol for packets that have no header of its own.
func protocol(s string) (uint8, error) {
	n, ok := protocolNumber(s)
	if named := map[string]uint8{"icmp": 1, "ipv6-icmp": 58, "tcp": 6, "udp": 17}[strings.ToLower(s)]; named != 0 {
		n, ok = named, true
	}
	if o := ownProbes[n]; o != "" {
		return 0, fmt.Errorf("a packet without the header of its protocol is malformed and tells nothing: use %s", o)
	}
	// IPv6 takes 43, 44 and 60 for headers of its own, and 59 for nothing to come.
	if !ok || n == 0 || n == 255 || slices.Contains([]uint8{43, 44, 59, 60}, n) {
		return 0, fmt.Errorf("want an IP protocol, 1 to 254, or one of: %s", strings.Join(protocolNames(), ", "))
	}
	return n, nil
}

// The flags of a TCP segment.
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	tcpPSH
	tcpACK
	tcpURG
	tcpECE
	tcpCWR
)

var tcpFlags = []struct {
	name string
	bit  uint8
}{{"syn", tcpSYN}, {"ack", tcpACK}, {"fin", tcpFIN}, {"rst", tcpRST}, {"psh", tcpPSH}, {"urg", tcpURG}, {"ece", tcpECE}, {"cwr", tcpCWR}}

// modOptions are what -O says of a method.
type modOptions struct {
	segment    probe.Segment
	shaped     bool // it was asked for another segment than an ordinary SYN
	info       bool
	raw, dgram bool   // ICMP sockets
	coverage   uint16 // of UDP-Lite; 0: all
	service    uint32
	number     uint8 // of raw packets
}

// optionsHelp lists the options of a method.
func optionsHelp(method string) string {
	const sides = "  %-15s %s\n"
	var b strings.Builder
	line := func(name, help string) { fmt.Fprintf(&b, sides, name, help) }
	switch method {
	case "icmp":
		line("raw", "raw sockets alone")
		line("dgram", "datagram sockets alone, as without privilege")
	case "tcp":
		for _, f := range tcpFlags {
			line(f.name, "set the flag "+strings.ToUpper(f.name))
		}
		line("flags=N", "set exactly these flags")
		line("ecn", "SYN with ECE and CWR, which asks for ECN (RFC 3168)")
		line("sack", "with the option that permits selective acknowledgements")
		line("timestamps", "with timestamps")
		line("window_scaling", "with window scaling")
		line("sysctl", "with the options and ECN as this system's own connections have them;\n"+
			strings.Repeat(" ", 18)+"so it is, with syn, where nothing else is asked for")
		line("reuse", "refused: all probes to a host have one local port, so none runs out")
		line("mss=N", "the maximum segment size in a SYN")
		line("info", "print the flags of the answer from the host")
	case "udplite":
		line("coverage=N", "bytes the checksum covers, from 10; default all")
	case "dccp":
		line("service=N", "the service code; default 1885957735")
	case "raw":
		line("protocol=PROTO", "the IP protocol; default 253")
	default:
		if method == "" {
			method = "default"
		}
		return fmt.Sprintf("The method %s has no options.\n", method)
	}
	return b.String()
}

// sysctl reads a switch of this system's TCP, which is there on Linux alone.
var sysctl = func(name string) (int, bool) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_" + name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

// parseOptions reads what -O says, on top of m.
func parseOptions(method string, given []string, m modOptions) (modOptions, error) {
	var flags uint8
	var exact, system bool
	bare := probe.NoSACK | probe.NoTimestamps | probe.NoWindowScale // unless asked for
	for _, o := range given {
		name, value, valued := strings.Cut(o, "=")
		wrong := func(err error) error { return fmt.Errorf("--options %s: %w", printable(o), err) }
		number := func(least, most uint64) (n uint64, err error) {
			n, err = strconv.ParseUint(value, 0, 64)
			if err != nil || n < least || n > most || strings.Contains(value, "_") {
				err = wrong(fmt.Errorf("want %s=N, a whole number from %d to %d", name, least, most))
			}
			return n, err
		}
		var n uint64
		var err error
		switch key := method + " " + name; {
		case key == "tcp flags":
			n, err = number(1, 255)
			flags, exact = uint8(n), true
		case key == "tcp mss":
			n, err = number(1, 65535)
			m.segment.MSS, m.shaped = uint16(n), true
		case key == "udplite coverage":
			// Less would leave out the bytes that make the checksum the probe's identity.
			n, err = number(10, 65535)
			m.coverage = uint16(n)
		case key == "dccp service":
			n, err = number(0, 1<<32-1)
			m.service = uint32(n)
		case key == "raw protocol":
			if m.number, err = protocol(value); err != nil {
				err = wrong(err)
			}
		case valued:
			return m, wrong(errors.New("no such option with a value (-O help lists them)"))
		case key == "icmp raw":
			m.raw = true
		case key == "icmp dgram":
			m.dgram = true
		case key == "tcp ecn":
			flags |= tcpSYN | tcpECE | tcpCWR
		case key == "tcp sack":
			bare &^= probe.NoSACK
		case key == "tcp timestamps":
			bare &^= probe.NoTimestamps
		case key == "tcp window_scaling":
			bare &^= probe.NoWindowScale
		case key == "tcp sysctl":
			system = true
		case key == "tcp info":
			m.info = true
		case key == "tcp reuse":
			return m, wrong(errors.New("all probes to a host have one local port here, so none runs out"))
		case key == "tcp fastopen":
			return m, wrong(errors.New("a probe carries no data, which that is for"))
		case method == "tcpconn":
			return m, wrong(errors.New("the system makes the packets of --module tcpconn; --tcp takes options"))
		default:
			i := slices.IndexFunc(tcpFlags, func(f struct {
				name string
				bit  uint8
			}) bool {
				return f.name == name
			})
			if method != "tcp" || i < 0 {
				return m, wrong(errors.New("no such option of this method (-O help lists them)"))
			}
			flags |= tcpFlags[i].bit
		}
		if err != nil {
			return m, err
		}
	}
	if m.raw && m.dgram {
		return m, errors.New("--options: raw and dgram exclude each other")
	}
	if method == "raw" && m.number == 0 {
		m.number = defaultProtocol
	}
	if method == "dccp" && !slices.ContainsFunc(given, func(o string) bool { return strings.HasPrefix(o, "service=") }) {
		m.service = defaultService
	}
	if method == "tcp" {
		if flags == 0 && !exact {
			flags = m.segment.Flags // where the default is no SYN
		}
		if err := inSYN(given, flags); err != nil {
			return m, err
		}
		m.tcp(flags, exact, system, bare)
	}
	return m, nil
}

// inSYN refuses TCP options that stand in a SYN alone where there is none (RFC 9293 section 3.7.1, RFC 2018, RFC 7323).
func inSYN(given []string, flags uint8) error {
	if flags == 0 || flags&tcpSYN != 0 {
		return nil
	}
	for _, o := range given {
		switch name, _, _ := strings.Cut(o, "="); name {
		case "mss", "sack", "window_scaling":
			return fmt.Errorf("--options %s: stands in a SYN alone: add syn", printable(o))
		}
	}
	return nil
}

// tcp makes the segment. Where nothing shapes it, it is what this system's own connections send.
func (m *modOptions) tcp(flags uint8, exact, system bool, bare probe.Bare) {
	const all = probe.NoSACK | probe.NoTimestamps | probe.NoWindowScale
	if flags != 0 || exact || bare != all {
		m.shaped = true
	} else {
		system = true
	}
	if flags == 0 && !exact {
		flags = tcpSYN
	}
	if system {
		for _, o := range []struct {
			name string
			bit  probe.Bare
		}{{"sack", probe.NoSACK}, {"timestamps", probe.NoTimestamps}, {"window_scaling", probe.NoWindowScale}} {
			if n, known := sysctl(o.name); !known || n != 0 {
				bare &^= o.bit
			}
		}
		if n, _ := sysctl("ecn"); n == 1 && !exact && flags&tcpSYN != 0 { // 2, the default, is for connections from others
			flags |= tcpECE | tcpCWR
		}
	}
	if flags&tcpSYN == 0 {
		bare |= probe.NoMSS // it stands in SYNs alone (RFC 9293 section 3.7.1)
	}
	m.segment.Bare, m.segment.Flags = bare, flags
	if flags == tcpSYN {
		m.segment.Flags = 0
	}
}
