package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	"gtrace/rawsock"
)

// doctor is the first operand that asks what can be opened here.
const doctor = "doctor"

const doctorSchema = "gtrace/doctor/v1"

// Verdicts on what a program needs.
const (
	verdictOK       = "ok"
	verdictUnneeded = "unneeded" // not there, and nothing here needs it
	verdictWarning  = "warning"  // there, but limited
	verdictMissing  = "missing"
	verdictUnknown  = "unknown"
)

// A doctorCheck is one thing that a program needs, and how it stands with it.
type doctorCheck struct {
	Check   string       `json:"check"`
	Verdict string       `json:"verdict"`
	Found   string       `json:"found"`           // what was seen
	Means   string       `json:"means,omitempty"` // for which feature, where it is not well
	Mend    []doctorMend `json:"mend,omitempty"`
}

// A doctorMend is one way to put it right.
type doctorMend struct {
	Where string `json:"where"` // who can do it: a shell of root, or whose configuration it is
	Set   string `json:"set"`   // the command or the setting
}

type doctorDoc struct {
	Schema   string         `json:"schema"`
	Program  string         `json:"program"`
	Version  string         `json:"version"`
	Commit   string         `json:"commit,omitempty"`
	System   doctorSystem   `json:"system"`
	Outcome  string         `json:"outcome"`          // "ok", "limited" or "unknown"
	Socket   string         `json:"socket,omitempty"` // what the program works with now
	User     doctorUser     `json:"user"`
	File     *doctorFile    `json:"file,omitempty"`
	Confined doctorConfined `json:"confinement"`
	Checks   []doctorCheck  `json:"checks"`
}

type doctorSystem struct {
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	Kernel    string `json:"kernel,omitempty"`
	Container string `json:"container,omitempty"`
}

// doctorUser is what the program started with.
type doctorUser struct {
	UID        int         `json:"uid"`
	EUID       int         `json:"effective_uid"`
	GID        int         `json:"gid"`
	EGID       int         `json:"effective_gid"`
	Groups     []int       `json:"groups,omitempty"` // after privilege was given up
	NetRaw     *doctorCaps `json:"cap_net_raw,omitempty"`
	NoNewPrivs *bool       `json:"no_new_privs,omitempty"`
	Seccomp    string      `json:"seccomp,omitempty"`
	UserNS     *bool       `json:"user_namespace,omitempty"`
}

type doctorCaps struct {
	Permitted   bool `json:"permitted"`
	Effective   bool `json:"effective"`
	Inheritable bool `json:"inheritable"`
	Bounding    bool `json:"bounding"`
	Ambient     bool `json:"ambient"`
}

type doctorFile struct {
	Path       string `json:"path"`
	Capability string `json:"capability,omitempty"` // such as "cap_net_raw+p"
	Setuid     bool   `json:"setuid"`
	NoSuid     bool   `json:"nosuid"` // its file system is mounted so
}

// doctorConfined is what the program took away from itself once it had its sockets.
type doctorConfined struct {
	Filter   bool     `json:"filter"`                   // of system calls, its own
	Filtered *int     `json:"filter_threads,omitempty"` // how many threads have one
	Threads  int      `json:"threads,omitempty"`        // of how many; absent where not known
	Landlock int      `json:"landlock_abi,omitempty"`
	Holds    []string `json:"landlock_holds,omitempty"`
}

// doctor prints what this user can open here, and why not.
func (s *session) doctor(options []string) (status int, err error) {
	asJSON, v4, v6 := false, true, true
	for _, o := range options {
		switch o {
		case "--json", "--format=json":
			asJSON = true
		case "--format=text":
			asJSON = false
		case "--ipv4":
			v6 = false
		case "--ipv6":
			v4 = false
		default:
			name, _, _ := strings.Cut(o, "=")
			return unsure, fmt.Errorf("doctor: takes no %s, only --json, --ipv4 and --ipv6 (a host of that name: %s -- doctor)", name, s.tool.page().name)
		}
	}
	if !v4 && !v6 {
		return unsure, errors.New("--ipv4 and --ipv6 exclude each other")
	}
	f, err := s.env.diagnose(s.env.Conn, v4, v6)
	if err != nil {
		return unsure, fmt.Errorf("doctor: %w", err)
	}
	p := patient{env: s.env, program: s.tool.page().name, facts: f, v4: v4, v6: v6}
	d := p.document()
	if asJSON {
		b, err := json.Marshal(d)
		if err != nil {
			return unsure, fmt.Errorf("doctor: %w", err)
		}
		_, err = s.out.Write(append(b, '\n'))
		return d.status(), err
	}
	_, err = s.out.Write([]byte(d.text()))
	return d.status(), err
}

func (d *doctorDoc) status() int {
	switch d.Outcome {
	case "ok":
		return yes
	case "limited":
		return no
	}
	return unsure
}

// text is d for people: a line a check, and what to do under those that are not well.
func (d *doctorDoc) text() string {
	var b strings.Builder
	said := make(map[string]string) // what was printed below a check, and which
	for _, c := range d.Checks {
		left := fmt.Sprintf("%-8s  %-15s  ", c.Verdict, c.Check)
		lines := wrap(printable(c.Found), helpWidth-len(left))
		var below []string
		if c.Means != "" {
			below = wrap("means: "+c.Means, helpWidth-len(left))
		}
		for _, m := range c.Mend { // not broken: it is to be copied
			below = append(below, m.Where+": "+printable(m.Set))
		}
		if all := strings.Join(below, "\n"); all != "" {
			if first := said[all]; first != "" {
				below = []string{"means, and is mended, as " + first}
			} else {
				said[all] = c.Check
			}
		}
		lines = append(lines, below...)
		for _, line := range lines {
			b.WriteString(left + line + "\n")
			left = strings.Repeat(" ", len(left))
		}
	}
	socket := "no sockets at all"
	if d.Socket != "" {
		socket = d.Socket + " sockets"
	}
	outcome := map[string]string{
		"ok":      "all that it can use is there",
		"limited": "something is missing or limited",
		"unknown": "not all could be told",
	}[d.Outcome]
	fmt.Fprintf(&b, "%s works with %s here: %s.\n", d.Program, socket, outcome)
	return b.String()
}

// A patient is what a program knows of itself when asked how it is.
type patient struct {
	env     Env
	program string
	facts   rawsock.Facts
	v4, v6  bool
}

func (p *patient) document() doctorDoc {
	f, start := &p.facts, &p.env.Start
	d := doctorDoc{
		Schema: doctorSchema, Program: p.program, Version: p.env.Version, Commit: p.env.Commit,
		System: doctorSystem{OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: f.Kernel, Container: f.Container},
		Socket: p.caps().Socket,
		User: doctorUser{
			UID: start.UID, EUID: start.EUID, GID: start.GID, EGID: start.EGID,
			Groups: f.Groups, UserNS: f.UserNS, Seccomp: seccompName(start.Seccomp),
		},
	}
	if start.Err == nil {
		c := start.NetRaw
		d.User.NetRaw = &doctorCaps{c.Permitted, c.Effective, c.Inheritable, c.Bounding, c.Ambient}
		d.User.NoNewPrivs = &start.NoNewPrivs
	}
	if f.Program.Err == nil {
		d.File = &doctorFile{Path: f.Program.Path, Setuid: f.Program.Setuid, NoSuid: f.Program.NoSuid}
		if s := f.Program.NetRaw.String(); s != "" {
			d.File.Capability = "cap_net_raw" + s
		}
	}
	d.Confined = p.confined()
	add := func(cs ...doctorCheck) { d.Checks = append(d.Checks, cs...) }
	for i := range f.Families {
		add(p.raw(&f.Families[i]))
	}
	add(p.capability(), p.file(), p.noNewPrivs(), p.seccomp(), p.userNS(), p.systemCalls(), p.fileAccess())
	for i := range f.Families {
		fam := &f.Families[i]
		add(p.ping(fam), p.udp(fam), p.tcp(fam))
		if fam.Echoed {
			add(p.echo(fam))
		}
	}
	add(p.firewall(), p.stamps())
	if p.v4 {
		add(p.rpFilter())
	}
	add(p.icmpLimits(), p.buffer())

	d.Outcome = "ok"
	for _, c := range d.Checks {
		switch {
		case c.Verdict == verdictUnknown:
			d.Outcome = "unknown"
		case (c.Verdict == verdictMissing || c.Verdict == verdictWarning) && d.Outcome == "ok":
			d.Outcome = "limited"
		}
	}
	return d
}

func (p *patient) caps() rawsock.Caps {
	if p.env.Conn == nil {
		return rawsock.Caps{}
	}
	return p.env.Conn.Caps()
}

func (p *patient) isRaw() bool { return p.caps().Header }

// refused is why there are no raw sockets; nil where there are.
func (p *patient) refused() error {
	if p.env.Conn == nil {
		return p.env.OpenErr
	}
	return p.caps().Refused
}

// checkName is a check's name in a family.
func checkName(what string, f *rawsock.Family) string {
	if f.V6 {
		return what + "-ipv6"
	}
	return what + "-ipv4"
}

func familyName(f *rawsock.Family) string {
	if f.V6 {
		return "IPv6"
	}
	return "IPv4"
}

// can is what raw sockets are for, beside what can be done without.
func (p *patient) can(f *rawsock.Family) string {
	kinds, flow := "UDP datagrams and TCP connections", ""
	if f.Ping == nil {
		kinds, flow = "echo requests, "+kinds, ", and ICMP probes have no constant flow"
	}
	if p.program == "gping" {
		return "no probes but " + kinds + "; what routers did to a probe's header stays unknown"
	}
	return "no probes but " + kinds + "; quoted TTLs and what routers did to a probe's header stay unknown" + flow
}

func (p *patient) raw(f *rawsock.Family) doctorCheck {
	c := doctorCheck{Check: checkName("raw", f), Verdict: verdictOK}
	has := p.caps().IPv4
	if f.V6 {
		has = p.caps().IPv6
	}
	switch err := p.refused(); {
	case f.Host != nil:
		return p.noFamily(c, f)
	case p.isRaw() && has:
		c.Found = "raw " + familyName(f) + " sockets are open"
	case err == nil:
		c.Verdict, c.Found = verdictUnknown, "no raw "+familyName(f)+" sockets, and no reason was given"
	default:
		c.Verdict, c.Means = verdictMissing, p.can(f)
		c.Found, c.Mend = p.whyNotRaw(err)
	}
	return c
}

func (p *patient) noFamily(c doctorCheck, f *rawsock.Family) doctorCheck {
	c.Verdict, c.Found = verdictMissing, fmt.Sprintf("this host has no %s: %v", familyName(f), f.Host)
	c.Means = "no " + familyName(f) + " at all"
	if f.V6 {
		c.Mend = []doctorMend{{"boot", "start the kernel without ipv6.disable=1, or load the module: modprobe ipv6"}}
	}
	return c
}

// What gives CAP_NET_RAW in places where programs are started by others.
var (
	mendDocker     = doctorMend{"docker, podman", "run --cap-add=NET_RAW …"}
	mendKubernetes = doctorMend{"kubernetes, container", `securityContext: {capabilities: {add: ["NET_RAW"]}}`}
	mendSystemd    = doctorMend{"systemd", "AmbientCapabilities=CAP_NET_RAW and CapabilityBoundingSet=CAP_NET_RAW"}
)

func (p *patient) path() string {
	if p.facts.Program.Path == "" {
		return "PROGRAM"
	}
	return p.facts.Program.Path
}

func (p *patient) setcap() doctorMend {
	return doctorMend{"root", giving(packaged, p.path())}
}

// shellWord is s as one word of a shell.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-") == "" && s != "" {
		return s
	}
	return shellQuoted(s)
}

// given reports whether the program's file should have given it CAP_NET_RAW.
func (p *patient) given() bool {
	prog := &p.facts.Program
	return prog.NetRaw.Permitted || prog.Setuid && p.env.Start.UID != 0
}

// whyNotRaw is the first of the reasons, in the order in which the kernel looks.
func (p *patient) whyNotRaw(refused error) (found string, mends []doctorMend) {
	start, f := &p.env.Start, &p.facts
	switch {
	case !errors.Is(refused, rawsock.ErrPrivilege):
		return refused.Error(), nil
	case start.Err != nil:
		return fmt.Sprintf("refused, and why could not be told: %v", start.Err), []doctorMend{p.setcap()}
	case start.NetRaw.Permitted:
		switch {
		case f.UserNS != nil && *f.UserNS:
			return "CAP_NET_RAW was there, but counts in this user namespace alone, and the network belongs to another",
				[]doctorMend{{"rootless container", "give it a network of its own, or run it with root's: sudo podman run --cap-add=NET_RAW …"}, {"here", "unshare -n " + shellWord(p.path()) + " … (a network of its own)"}}
		case start.Seccomp != nil && *start.Seccomp != 0:
			return "CAP_NET_RAW was there, but a seccomp filter refuses raw sockets", p.seccompMends()
		}
		return fmt.Sprintf("CAP_NET_RAW was there, but a security module or the container's runtime refuses raw sockets: %v", refused),
			[]doctorMend{{"root", "look for a denial: journalctl -k -g 'apparmor|avc.*denied'"}}
	case !start.NetRaw.Bounding:
		mends = []doctorMend{mendDocker, mendKubernetes, mendSystemd}
		if start.UID != 0 && !p.given() {
			mends = append(mends, p.setcap())
		}
		return "CAP_NET_RAW is not in the bounding set: whoever started this took it away, and no file can give it back", mends
	case p.given() && start.NoNewPrivs:
		return "the program's file gives the privilege, but no_new_privs keeps it from doing so", p.noNewPrivsMends()
	case p.given() && f.Program.NoSuid:
		return "the program's file gives the privilege, but its file system is mounted nosuid",
			[]doctorMend{{"root", "install -m 755 " + shellWord(p.path()) + " /usr/local/bin/ && setcap cap_net_raw+p /usr/local/bin/" + p.program}}
	case p.given():
		return "the program's file has the capability, but did not give it: it is being traced, or the capability belongs to another user namespace",
			[]doctorMend{p.setcap()}
	}
	found = fmt.Sprintf("user %d has no CAP_NET_RAW, and the program's file gives none", start.EUID)
	if f.Container != "" {
		found += "; one that a container is given reaches its root alone"
	}
	return found, []doctorMend{p.setcap(), {"image", "RUN setcap cap_net_raw+p " + shellWord(p.path())}, mendSystemd}
}

func (p *patient) capability() doctorCheck {
	c := doctorCheck{Check: "cap-net-raw", Verdict: verdictOK}
	start := &p.env.Start
	if start.Err != nil {
		c.Verdict, c.Found = verdictUnknown, start.Err.Error()
		return c
	}
	var in, out []string
	for _, set := range []struct {
		name string
		has  bool
	}{
		{"permitted", start.NetRaw.Permitted}, {"effective", start.NetRaw.Effective}, {"inheritable", start.NetRaw.Inheritable},
		{"ambient", start.NetRaw.Ambient}, {"bounding", start.NetRaw.Bounding},
	} {
		if set.has {
			in = append(in, set.name)
		} else {
			out = append(out, set.name)
		}
	}
	c.Found = "at the start in no set"
	if len(in) > 0 {
		c.Found = "at the start " + strings.Join(in, ", ")
	}
	if len(in) > 0 && len(out) > 0 {
		c.Found += "; not " + strings.Join(out, ", ")
	}
	if !start.NetRaw.Permitted && !p.isRaw() {
		// What it takes to have it is said at the sockets.
		c.Verdict, c.Means = verdictMissing, "no raw sockets"
	}
	return c
}

func (p *patient) file() doctorCheck {
	c := doctorCheck{Check: "file", Verdict: verdictOK}
	prog := &p.facts.Program
	if prog.Err != nil {
		c.Verdict, c.Found = verdictUnknown, fmt.Sprintf("the program's file: %v", prog.Err)
		return c
	}
	if prog.Caps != nil {
		c.Verdict, c.Found = verdictUnknown, fmt.Sprintf("the capabilities of %s: %v", prog.Path, prog.Caps)
		return c
	}
	switch s := prog.NetRaw.String(); {
	case prog.NetRaw.Effective && prog.NetRaw.Permitted:
		c.Verdict, c.Found = verdictWarning, prog.Path+" has cap_net_raw"+s
		c.Means = "the kernel does not even start it where the capability cannot be had, as in many containers"
		c.Mend = []doctorMend{p.setcap()}
	case s != "" && !prog.NetRaw.Permitted:
		c.Found = prog.Path + " has cap_net_raw" + s + ", which gives it only to who has it inheritable"
	case s != "":
		c.Found = prog.Path + " has cap_net_raw" + s
	case prog.Setuid:
		c.Found = prog.Path + " is setuid root; cap_net_raw+p would be less privilege for the same sockets"
	default:
		c.Found = prog.Path + " has no capability and is not setuid"
		if p.isRaw() {
			c.Found += ", and the raw sockets did not need it"
		}
	}
	return c
}

func (p *patient) noNewPrivsMends() []doctorMend {
	return []doctorMend{
		{"docker, podman", "run without --security-opt no-new-privileges"},
		{"kubernetes, container", "securityContext: {allowPrivilegeEscalation: true}"},
		{"systemd", "NoNewPrivileges=no, or AmbientCapabilities=CAP_NET_RAW, which it does not touch"},
	}
}

func (p *patient) noNewPrivs() doctorCheck {
	c := doctorCheck{Check: "no-new-privs", Verdict: verdictOK}
	start := &p.env.Start
	switch {
	case start.Err != nil:
		c.Verdict, c.Found = verdictUnknown, start.Err.Error()
	case !start.NoNewPrivs:
		c.Found = "was not set at the start"
	case p.given() && !p.isRaw() && start.NetRaw.Bounding:
		c.Verdict, c.Found = verdictMissing, "was set at the start"
		c.Means = "the privilege on the program's file was not given"
		c.Mend = p.noNewPrivsMends()
	default:
		c.Found = "was set at the start, and took nothing away"
	}
	return c
}

func seccompName(mode *int) string {
	switch {
	case mode == nil:
		return ""
	case *mode == 0:
		return "none"
	case *mode == 1:
		return "strict"
	}
	return "filter"
}

func (p *patient) seccompMends() []doctorMend {
	return []doctorMend{
		{"docker, podman", "run --security-opt seccomp=PROFILE.json with socket allowed for AF_INET, AF_INET6 and SOCK_RAW"},
		{"kubernetes, container", "securityContext: {seccompProfile: {type: RuntimeDefault}}, or a Localhost profile that allows it"},
		{"systemd", "SystemCallFilter=@system-service and RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK"},
	}
}

func (p *patient) seccomp() doctorCheck {
	c := doctorCheck{Check: "seccomp", Verdict: verdictOK}
	switch mode := p.env.Start.Seccomp; {
	case mode == nil:
		c.Verdict, c.Found = verdictUnknown, "whether there was a filter at the start could not be told (PR_GET_SECCOMP)"
	case *mode == 0:
		c.Found = "no filter at the start"
	case p.env.Start.NetRaw.Permitted && !p.isRaw() && !(p.facts.UserNS != nil && *p.facts.UserNS):
		c.Verdict, c.Found = verdictWarning, "a filter was there at the start, and raw sockets were refused in spite of the capability"
		c.Means, c.Mend = "it may be what refused them", p.seccompMends()
	default:
		c.Found = "a filter was there at the start, and nothing that was tried seems refused by it"
	}
	return c
}

func (p *patient) userNS() doctorCheck {
	c := doctorCheck{Check: "user-namespace", Verdict: verdictOK}
	in := ""
	if p.facts.Container != "" {
		in = "; this seems to be a container (" + p.facts.Container + ")"
	}
	switch inside := p.facts.UserNS; {
	case inside == nil:
		c.Verdict, c.Found = verdictUnknown, "could not be told (/proc/self/uid_map)"+in
	case !*inside:
		c.Found = "the first one" + in
	case p.env.Start.NetRaw.Permitted && !p.isRaw():
		c.Verdict, c.Found = verdictWarning, "not the first one"+in
		c.Means = "capabilities count only for a network that this namespace owns"
	default:
		c.Found = "not the first one; capabilities count only for a network that it owns" + in
	}
	return c
}

func (p *patient) confined() doctorConfined {
	c, f := &p.env.Confined, &p.facts
	d := doctorConfined{Filter: c.Calls, Threads: f.Threads, Landlock: c.Landlock}
	if c.Calls && f.Threads > 0 {
		d.Filtered = &f.Filtered
	}
	for _, held := range []struct {
		what string
		is   bool
	}{{"files", c.Landlock > 0}, {"devices", c.Devices}, {"signals", c.Signals}, {"unix-sockets", c.Sockets}} {
		if held.is {
			d.Holds = append(d.Holds, held.what)
		}
	}
	return d
}

// systemCalls is about the filter that the program gave itself, not one that it was started with. It measures
// as well without, so that is no reason to call anything limited.
func (p *patient) systemCalls() doctorCheck {
	c := doctorCheck{Check: "system-calls", Verdict: verdictOK}
	switch conf, f := &p.env.Confined, &p.facts; {
	case !conf.Calls:
		c.Verdict, c.Found = verdictUnneeded, fmt.Sprintf("not filtered by the program itself: %v", conf.CallsErr)
	case f.Threads == 0:
		c.Found = "filtered by the program itself"
	case f.Filtered < f.Threads:
		c.Verdict, c.Found = verdictWarning, fmt.Sprintf("filtered by the program itself in %d of %d threads", f.Filtered, f.Threads)
		c.Means = "what a bug in this program could do is bounded less than it should be"
	default:
		c.Found = fmt.Sprintf("filtered by the program itself, in all of its %d threads", f.Threads)
	}
	return c
}

func (p *patient) fileAccess() doctorCheck {
	c := doctorCheck{Check: "file-access", Verdict: verdictOK}
	if conf := &p.env.Confined; conf.Landlock == 0 {
		c.Verdict, c.Found = verdictUnneeded, fmt.Sprintf("not held by Landlock: %v", conf.FilesErr)
		switch {
		case errors.Is(conf.FilesErr, syscall.ENOSYS):
			c.Found += " (before Linux 5.13, or built without)"
		case errors.Is(conf.FilesErr, syscall.EOPNOTSUPP):
			c.Found += " (not in the list lsm= that the kernel was booted with)"
		}
	} else {
		c.Found = fmt.Sprintf("held by Landlock (version %d): nothing can be changed or executed", conf.Landlock)
		if conf.Devices {
			c.Found += ", no device takes commands"
		}
		if conf.Signals {
			c.Found += ", no other process can be signalled"
		}
		if conf.Sockets {
			c.Found += ", no other program's abstract Unix socket called"
		}
	}
	return c
}

// without is the verdict on something that only a program without raw sockets needs.
func (p *patient) without() string {
	if p.isRaw() {
		return verdictUnneeded
	}
	return verdictMissing
}

func (p *patient) ping(f *rawsock.Family) doctorCheck {
	c := doctorCheck{Check: checkName("ping", f), Verdict: verdictOK}
	r, what := p.facts.Pingers, "net.ipv4.ping_group_range"
	if r != nil {
		what = fmt.Sprintf("%s = %d %d", what, r.First, r.Last)
	}
	mends := []doctorMend{
		{"root", "sysctl -w net.ipv4.ping_group_range='0 2147483647'"},
		{"docker, podman", "run --sysctl net.ipv4.ping_group_range='0 2147483647' …"},
		{"kubernetes, pod", `securityContext: {sysctls: [{name: net.ipv4.ping_group_range, value: "0 2147483647"}]}`},
	}
	switch {
	case f.Host != nil:
		c.Verdict, c.Found = p.without(), fmt.Sprintf("this host has no %s: %v", familyName(f), f.Host)
	case f.Ping == nil:
		c.Found = "ping sockets can be opened (" + what + ")"
	case errors.Is(f.Ping, syscall.EACCES) && r != nil && !r.Has(p.facts.Groups):
		c.Verdict, c.Found = p.without(), fmt.Sprintf("refused: none of the groups %s is in %s", joinInts(p.facts.Groups), what)
		c.Mend = mends
	case errors.Is(f.Ping, syscall.EACCES):
		c.Verdict, c.Found = p.without(), fmt.Sprintf("refused, though %s: a security module or a seccomp filter: %v", what, f.Ping)
	default:
		c.Verdict, c.Found = p.without(), fmt.Sprintf("refused: %v (%s)", f.Ping, what)
	}
	switch c.Verdict {
	case verdictUnneeded:
		c.Found += "; raw sockets do without"
		c.Mend = nil
	case verdictMissing:
		c.Means = "no echo requests without raw sockets: gping, and gtrace --icmp"
	}
	return c
}

func joinInts(ns []int) string {
	s := make([]string, len(ns))
	for i, n := range ns {
		s[i] = fmt.Sprint(n)
	}
	return strings.Join(s, ", ")
}

func (p *patient) udp(f *rawsock.Family) doctorCheck {
	c := doctorCheck{Check: checkName("udp", f), Verdict: verdictOK}
	switch err := f.UDP; {
	case f.Host != nil:
		c.Verdict, c.Found = p.without(), fmt.Sprintf("this host has no %s: %v", familyName(f), f.Host)
	case err == nil:
		c.Found = "a datagram to a closed port of this host brought its port unreachable to the error queue"
	default:
		c.Verdict, c.Found = verdictMissing, "failed: "+err.Error()
		c.Means = "no UDP probes to this host itself, and perhaps to none"
		c.Mend = p.sendMends(f, err)
	}
	return c
}

func (p *patient) tcp(f *rawsock.Family) doctorCheck {
	c := doctorCheck{Check: checkName("tcp", f), Verdict: verdictOK}
	switch err := f.TCP; {
	case f.Host != nil:
		c.Verdict, c.Found = p.without(), fmt.Sprintf("this host has no %s: %v", familyName(f), f.Host)
	case err == nil:
		c.Found = "a connection to a closed port of this host was refused, as it should be"
	default:
		c.Verdict, c.Found = verdictMissing, "failed: "+err.Error()
		c.Means = "no TCP probes to this host itself, and perhaps to none"
		c.Mend = p.sendMends(f, err)
	}
	return c
}

func (p *patient) echo(f *rawsock.Family) doctorCheck {
	c := doctorCheck{Check: checkName("echo", f), Verdict: verdictOK}
	switch err := f.Echo; {
	case err == nil:
		c.Found = "an echo request to this host was answered"
	case f.Ignored != nil && *f.Ignored && errors.Is(err, rawsock.ErrSilent):
		c.Verdict = verdictWarning
		key := "net.ipv4.icmp_echo_ignore_all"
		if f.V6 {
			key = "net.ipv6.icmp.echo_ignore_all"
		}
		c.Found, c.Means = "this host answers no echo requests: "+key+" = 1", "nobody can ping this host, itself included"
		c.Mend = []doctorMend{{"root", "sysctl -w " + key + "=0"}}
	default:
		c.Verdict, c.Found = verdictMissing, "failed: "+err.Error()
		c.Means = "no echo requests to this host itself, and perhaps to none"
		c.Mend = p.sendMends(f, err)
	}
	return c
}

// sendMends is what may help where this host does not even reach itself.
func (p *patient) sendMends(f *rawsock.Family, err error) []doctorMend {
	switch {
	case f.V6 && f.Disabled != nil && *f.Disabled:
		return []doctorMend{
			{"root", "sysctl -w net.ipv6.conf.all.disable_ipv6=0"},
			{"docker, podman", "run --sysctl net.ipv6.conf.all.disable_ipv6=0 …"},
		}
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.ENETUNREACH):
		return []doctorMend{{"root", "ip link set lo up"}}
	case errors.Is(err, syscall.EPERM), errors.Is(err, rawsock.ErrSilent), errors.Is(err, rawsock.ErrAnswer):
		return []doctorMend{{"root", "look for the rule: nft list ruleset; iptables -S OUTPUT; ip6tables -S OUTPUT"}}
	}
	return nil
}

// firewall draws together what the attempts say about packet filters.
func (p *patient) firewall() doctorCheck {
	c := doctorCheck{Check: "firewall", Verdict: verdictOK, Found: "nothing that was sent to this host itself was dropped"}
	var refused, silent []string
	tried := false
	for i := range p.facts.Families {
		f := &p.facts.Families[i]
		if f.Host != nil {
			continue
		}
		for _, try := range []struct {
			what string
			err  error
		}{{"UDP", f.UDP}, {"TCP", f.TCP}, {"ICMP echo", f.Echo}} {
			switch {
			case try.what == "ICMP echo" && (!f.Echoed || f.Ignored != nil && *f.Ignored):
			case try.err == nil:
				tried = true
			case errors.Is(try.err, syscall.EPERM):
				refused = append(refused, familyName(f)+" "+try.what)
			case errors.Is(try.err, rawsock.ErrSilent), errors.Is(try.err, rawsock.ErrAnswer):
				silent = append(silent, familyName(f)+" "+try.what)
			}
		}
	}
	c.Mend = []doctorMend{{"root", "look for the rule: nft list ruleset; iptables -S OUTPUT; ip6tables -S OUTPUT"}}
	switch {
	case !tried && refused == nil && silent == nil:
		c.Verdict, c.Found, c.Mend = verdictUnknown, "nothing could be sent", nil
	case len(refused) > 0:
		c.Verdict, c.Found = verdictMissing, "this host drops what it sends itself (EPERM): "+strings.Join(append(refused, silent...), ", ")
		c.Means = "such probes do not leave: they end as errors of this host, not as loss"
	case len(silent) > 0:
		c.Verdict, c.Found = verdictWarning, "sent to this host itself and not answered: "+strings.Join(silent, ", ")
		c.Means = "a packet filter drops such packets or their answers without a word; they look like loss"
	default:
		c.Mend = nil
	}
	return c
}

func (p *patient) stamps() doctorCheck {
	c := doctorCheck{Check: "kernel-stamps", Verdict: verdictOK}
	caps := p.caps()
	var tx, rx, tried bool
	for _, f := range p.facts.Families {
		if f.Echoed && f.Echo == nil {
			tried, tx, rx = true, tx || f.SentAt, rx || f.CameAt
		}
	}
	if !tried { // by what the sockets were promised
		tx, rx = caps.TxStamp, caps.RxStamp
	}
	switch {
	case p.env.Conn == nil:
		c.Verdict, c.Found = verdictUnknown, "there is no socket to ask"
	case tx && rx && tried:
		c.Found = "the kernel says when a probe left and when its answer came, as seen with an echo"
	case tx && rx:
		c.Found = "the kernel says when a probe left and when its answer came, as far as its sockets promise"
	case rx:
		c.Verdict, c.Found = verdictWarning, "the kernel says only when an answer came, not when the probe left"
	default:
		c.Verdict, c.Found = verdictWarning, "the kernel does not say when packets come"
	}
	if c.Verdict == verdictWarning {
		c.Means = "round-trip times include this program's own delays (clock: kernel-rx or user in the JSON)"
	}
	return c
}

func (p *patient) rpFilter() doctorCheck {
	c := doctorCheck{Check: "rp-filter", Verdict: verdictOK}
	if p.facts.RPErr != nil {
		c.Verdict, c.Found = verdictUnknown, "reverse-path filters could not be read: "+p.facts.RPErr.Error()
		return c
	}
	var strict []string
	for _, d := range p.facts.RPFilter {
		if d.Mode == 1 {
			strict = append(strict, d.Name)
		}
	}
	switch {
	case len(strict) == 0:
		c.Found = "no interface filters strictly by reverse path"
	case len(p.facts.RPFilter) == 1:
		c.Found = "strict on " + strict[0] + ", but that is the only interface, so all answers come by it"
	default:
		c.Verdict, c.Found = verdictWarning, "strict on "+strings.Join(strict, ", ")
		c.Means = "an answer that comes by another interface than this host would send to its sender by is dropped before any program hears it, and looks like loss"
		// The larger of both counts, so this reaches every interface.
		c.Mend = []doctorMend{
			{"root", "sysctl -w net.ipv4.conf.all.rp_filter=2"},
			{"docker, podman", "run --sysctl net.ipv4.conf.all.rp_filter=2 …"},
		}
	}
	return c
}

// The kernel's defaults: what is stricter than these is worth a warning.
const (
	usualRate   = 1000   // ms
	usualMask   = 0x1818 // unreachable, source quench, time exceeded, parameter problem
	leastPerSec = 1000
	echoReplies = 1 << 0
)

func (p *patient) icmpLimits() doctorCheck {
	c := doctorCheck{Check: "icmp-limits", Verdict: verdictOK}
	l := &p.facts.ICMP
	if l.Rate == nil || l.Mask == nil {
		c.Verdict, c.Found = verdictUnknown, "net.ipv4.icmp_ratelimit and icmp_ratemask could not be read"
		return c
	}
	c.Found = fmt.Sprintf("icmp_ratelimit = %d ms, icmp_ratemask = %#x", *l.Rate, *l.Mask)
	if l.PerSec != nil {
		c.Found += fmt.Sprintf(", icmp_msgs_per_sec = %d", *l.PerSec)
	}
	if l.Burst != nil {
		c.Found += fmt.Sprintf(", icmp_msgs_burst = %d", *l.Burst)
	}
	if l.Rate6 != nil {
		c.Found += fmt.Sprintf(", IPv6: %d ms", *l.Rate6)
	}
	c.Found += "; of what others measure to and through this host, not of what it measures"
	switch {
	case *l.Rate > 0 && *l.Mask&echoReplies != 0:
		c.Means = "this host limits its echo replies too: whoever pings it fast sees loss"
		c.Mend = []doctorMend{{"root", fmt.Sprintf("sysctl -w net.ipv4.icmp_ratemask=%d", *l.Mask&^echoReplies)}}
	case *l.Rate > usualRate && *l.Mask&usualMask != 0:
		c.Means = "this host answers probes that end at it more rarely than Linux usually does: whoever traces through or to it sees loss"
		c.Mend = []doctorMend{{"root", fmt.Sprintf("sysctl -w net.ipv4.icmp_ratelimit=%d", usualRate)}}
	case l.PerSec != nil && *l.PerSec < leastPerSec:
		c.Means = "this host sends fewer ICMP messages to all others together than Linux usually does: who traces through or to it may see loss"
		c.Mend = []doctorMend{{"root", fmt.Sprintf("sysctl -w net.ipv4.icmp_msgs_per_sec=%d", leastPerSec)}}
	}
	if c.Means != "" {
		c.Verdict = verdictWarning
	}
	return c
}

// enoughBuffer is what Linux gives by default; it holds some 500 answers, more than are in flight
// unless somebody asks for it.
const enoughBuffer = 212992

func (p *patient) buffer() doctorCheck {
	c := doctorCheck{Check: "receive-buffer", Verdict: verdictOK}
	got, want := p.facts.BufferGot, p.facts.BufferWant
	switch {
	case got == 0:
		c.Verdict, c.Found = verdictUnknown, "how much a socket may buffer could not be told"
	case got >= want:
		c.Found = fmt.Sprintf("%d bytes, all that was asked for", got)
	default:
		// The kernel doubles what it is asked for, and counts some 800 bytes for a small message.
		c.Found = fmt.Sprintf("%d of %d bytes, room for some %d answers at once (net.core.rmem_max)", got, want, 2*got/800)
		if got < enoughBuffer {
			c.Verdict = verdictWarning
			c.Means = "many answers at once are dropped on this host; self_check.receive_drops counts them"
			c.Mend = []doctorMend{{"root", fmt.Sprintf("sysctl -w net.core.rmem_max=%d", want)}}
		}
	}
	return c
}
