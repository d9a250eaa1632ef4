package rawsock

import "errors"

// Privilege is what a program had when it started, of all that decides which sockets it may open.
// After Drop nothing of it is left to look at.
type Privilege struct {
	UID, EUID, GID, EGID int
	NetRaw               CapBits // CAP_NET_RAW, which raw sockets need
	NoNewPrivs           bool    // starting this program could give it nothing that its caller had not
	Seccomp              *int    // filters of system calls that came from outside: 0 none, 1 strict, 2 filters; nil: not known
	Err                  error   // why the above is not known beyond the ids; nil where it is
}

// CapBits says in which of a thread's sets a capability is (capabilities(7)).
type CapBits struct{ Permitted, Effective, Inheritable, Bounding, Ambient bool }

// Snapshot asks for the privilege of the calling thread. It is for the start of a program, before
// Open, Drop and Confine: ten system calls, and nothing that anybody else can steer.
func Snapshot() Privilege { return snapshot() }

// Facts are what decides which sockets a program can open and use on this host, beside the Privilege it
// started with. What could not be found out is nil, or has an Err.
type Facts struct {
	Kernel    string // its release
	Program   Program
	Groups    []int // of the program now: its group, then the supplementary ones
	Pingers   *GroupRange
	UserNS    *bool  // in a user namespace other than the first
	Threads   int    // of the program now
	Filtered  int    // those of them with a filter of system calls
	Container string // "docker", "podman", "kubernetes" or "container" by the marks it left; "": no mark seen
	Families  []Family

	RPFilter []Device // of each IPv4 interface but the loopback one
	RPErr    error

	ICMP ICMPLimits

	// A socket's receive buffer in bytes: what it asked for, and what it got; 0: not known.
	BufferWant, BufferGot int
}

// A Program is the file that runs.
type Program struct {
	Path      string
	Setuid    bool     // to root
	NetRaw    FileCaps // CAP_NET_RAW in its file capabilities
	NoSuid    bool     // on a file system mounted nosuid, where neither counts
	Err, Caps error    // why the file could not be looked at, and why its capabilities could not
}

// FileCaps say in which sets of a file's capabilities a capability is.
type FileCaps struct{ Permitted, Inheritable, Effective bool }

// String is s as setcap(8) writes it, such as "+ep"; "" where the file does not have the capability.
func (s FileCaps) String() string {
	if !s.Permitted && !s.Inheritable {
		return ""
	}
	out := "+"
	if s.Effective {
		out += "e"
	}
	if s.Inheritable {
		out += "i"
	}
	if s.Permitted {
		out += "p"
	}
	return out
}

// A GroupRange is net.ipv4.ping_group_range, both ends within; an empty one ends before it begins.
type GroupRange struct{ First, Last uint32 }

// Has reports whether one of the groups is in r.
func (r GroupRange) Has(groups []int) bool {
	for _, g := range groups {
		if g >= 0 && uint64(g) >= uint64(r.First) && uint64(g) <= uint64(r.Last) {
			return true
		}
	}
	return false
}

// A Family is what was tried with IPv4 or IPv6, over the loopback interface alone. An error says how it ended; nil: well.
type Family struct {
	V6       bool
	Host     error // has this host the family at all? if not, nothing else was tried
	Ping     error // open a ping socket (icmp(7))
	UDP      error // send to a closed port and hear the port unreachable on the error queue (IP_RECVERR in ip(7))
	TCP      error // connect to a closed port and be refused
	Echo     error // send an echo request through the connection and hear the reply
	Echoed   bool  // that was tried: the connection can send it
	SentAt   bool  // of the echo: the kernel said when it left
	CameAt   bool  // and when the reply came
	Disabled *bool // net.ipv6.conf.all.disable_ipv6; nil for IPv4
	Ignored  *bool // icmp_echo_ignore_all or icmp/echo_ignore_all: this host answers no echo requests
}

// A Device is an interface and its reverse-path filter: 0 none, 1 strict, 2 loose (RFC 3704).
type Device struct {
	Name string
	Mode int
}

// ICMPLimits bound the ICMP messages that this host sends, as a router and as a target; they do not touch
// what it measures itself. See icmp(7) and ip-sysctl.rst of the kernel. nil: not known.
type ICMPLimits struct {
	Rate   *int // net.ipv4.icmp_ratelimit: milliseconds between two to one host; 0: no limit
	Mask   *int // net.ipv4.icmp_ratemask: which types that is about
	PerSec *int // net.ipv4.icmp_msgs_per_sec: to all hosts together
	Burst  *int // net.ipv4.icmp_msgs_burst
	Rate6  *int // net.ipv6.icmp.ratelimit
}

var (
	// ErrSilent is wrapped where something was sent to this host itself and nothing came back.
	ErrSilent = errors.New("no answer within a second")

	// ErrAnswer is wrapped where something other came back than should.
	ErrAnswer = errors.New("unexpected answer")
)

// Diagnose finds out what a program can do with sockets of the families asked for. c is the
// connection it has opened, nil where it has none, and no more of it is used than a
// reservation and one echo request to this host itself. Nothing is sent to any other.
//
// The error wraps errors.ErrUnsupported where this system's ways are not known here.
func Diagnose(c Conn, v4, v6 bool) (Facts, error) { return diagnose(c, v4, v6) }
