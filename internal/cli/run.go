package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"gtrace/probe"
	"gtrace/rawsock"
)

// output is standard output. It keeps the first error, which every later write then gets too.
type output struct {
	w    io.Writer
	err  error
	wipe func() // whatever stands where the next line would; nil: nothing does

	held bool // what is written waits for flush, or until it is mostHeld
	kept []byte
}

// mostHeld is how many bytes wait for a flush.
const mostHeld = 1 << 16

func (o *output) Write(b []byte) (int, error) {
	switch {
	case o.err != nil:
		return 0, o.err
	case !o.held:
		return o.write(b)
	}
	if o.kept = append(o.kept, b...); len(o.kept) >= mostHeld {
		return len(b), o.flush()
	}
	return len(b), nil
}

func (o *output) write(b []byte) (int, error) {
	if o.wipe != nil {
		o.wipe()
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// flush writes what waits.
func (o *output) flush() error {
	if o.err == nil && len(o.kept) > 0 {
		_, _ = o.write(o.kept)
		o.kept = o.kept[:0]
	}
	return o.err
}

// hold has what is written wait for a flush, or not any more.
func (o *output) hold(held bool) error {
	o.held = held
	return o.flush()
}

// An aside does something before each write.
type aside struct {
	w      io.Writer
	before func()
}

func (a aside) Write(b []byte) (int, error) {
	a.before()
	return a.w.Write(b)
}

// A watch hands a host's events on and remembers what the exit status needs.
type watch struct {
	probe.Sink
	pings     bool // only what was asked for is an answer, not an error from the host itself
	measured  bool // some probe was answered, or waited for in vain
	unsettled bool // what a sweep was to find could not be told
	result
	drops    uint64          // answers lost on this host
	finished *probe.Finished // nil until it came
}

func (w *watch) Emit(e probe.Event) error {
	switch e := e.(type) {
	case *probe.Sent:
		w.sent++
	case *probe.Probed:
		w.probed(&e.Outcome)
	case probe.Checked:
		w.drops = e.ReceiveDrops
	case probe.Swept:
		w.unsettled = !e.Settled
	case probe.Finished:
		w.finished = &e
	}
	return w.Sink.Emit(e)
}

func (w *watch) probed(o *probe.Outcome) {
	w.measured = w.measured || o.Status != probe.Failed
	switch {
	case o.Duplicate || o.Answer == probe.NoAnswer:
	case w.pings && o.Spec.Proto.IsICMP() && (o.Answer == probe.PortUnreachable || o.Answer == probe.ProtocolUnreachable):
		w.refused++
	case o.Status == probe.Answered && o.Answer.Terminal():
		w.arrived = true
		w.received++
	default:
		w.refused++
	}
}

// end is how the host's run ended. One that was cut short is judged by what it had measured by then.
func (w *watch) end() result {
	r := w.result
	r.verdict = probe.Interrupted
	if w.finished != nil {
		r.verdict = w.finished.Verdict
	}
	r.status = w.verdictStatus(r.verdict)
	return r
}

func (w *watch) verdictStatus(v probe.Verdict) int {
	if w.unsettled && w.arrived {
		return unsure
	}
	switch v {
	case probe.Reached, probe.AnsweredIt:
		return yes
	case probe.Blocked, probe.MaxHops, probe.GapLimit, probe.Loop, probe.Silent:
		return no
	case probe.Interrupted:
		switch {
		case w.arrived:
			return yes
		case w.measured:
			return no
		}
	}
	return unsure
}

var errNoTargets = errors.New("no host given: the lists of targets are empty")

// measure measures the hosts and returns the exit status.
func (s *session) measure(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 && len(s.lists) == 0 {
		return unsure, usageError{fmt.Errorf("no host given: %s [OPTION]... HOST... (--help lists the options)", s.tool.name())}
	}
	if s.format == "" {
		s.format = defaultFormat
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // whoever still reads or looks up then, it is for nobody
	if s.shuffle && s.ordered {
		return unsure, errors.New("--shuffle and --ordered exclude each other")
	}
	if s.shuffle && !s.given["seed"] {
		s.seed = random(1<<31 - 1)
	}
	if err := s.readResults(ctx); err != nil {
		return unsure, err
	}
	lists, err := s.openLists(ctx)
	if err != nil {
		return unsure, err
	}
	r, err := s.newRoster(ctx, args, lists)
	if err != nil {
		return unsure, err
	}
	if err := r.fill(ctx); err != nil {
		return unsure, err
	}
	if len(r.names) == 0 && r.bad == 0 && r.done.Load() == 0 {
		return unsure, errNoTargets
	}
	defer r.tellDone()
	s.several, s.hosts, s.known, s.more = len(r.names) > 1 || r.more, s.most(r.names), len(r.names), r.more
	if s.more {
		s.hosts = maxTargets
	}
	if s.parallel == 0 {
		s.parallel = s.tool.atOnce()
	}
	if err := s.checkTOS(); err != nil {
		return unsure, err
	}
	if err := s.tool.check(s, s.hosts); err != nil {
		return unsure, err
	}
	if n := len(s.methods()); n > 0 { // of each host
		s.parallel, s.hosts, s.known = s.parallel*n, s.hosts*n, s.known*n
	}
	s.begun = true
	if s.env.Settle != nil { // no file is opened any more, and nobody has been asked or told anything yet
		s.env.Settle()
	}
	if err := s.sockets(); err != nil {
		return unsure, err
	}
	if err := s.env.Conn.Set(s.tool.settings()); err != nil {
		return unsure, err
	}
	if s.pings() { // before names are waited for. Never given back: one that comes when all is said changes nothing
		s.quit = make(chan os.Signal, 1)
		signal.Notify(s.quit, syscall.SIGQUIT)
	}
	s.called, s.origins = s.namers(ctx)
	s.bar = s.newProgress()
	if s.bar != nil && terminal(s.env.Stdout) {
		s.out.wipe = s.bar.wipe
	}
	if s.bar != nil || s.several {
		s.env.Stderr = aside{w: s.env.Stderr, before: func() {
			_ = s.out.flush() // which keeps its error; the two may be one file, and what came first is to be read first
			s.bar.wipe()
		}}
	}
	if s.shuffle && !s.given["seed"] {
		s.complain(fmt.Errorf("--shuffle: hosts begin in the order of --seed %d", s.seed))
	}
	var f *fleet
	if s.more {
		f = s.newFleet(nil, r.find(ctx))
	} else {
		f = s.newFleet(s.resolve(ctx, r.names), nil)
	}
	for range r.bad {
		f.add(result{status: unsure})
	}
	err = f.run(ctx)
	s.unasked()
	if err != nil {
		return unsure, err
	}
	return s.tool.exit(&f.tally), nil
}

// sockets reports whether this host and user can do what the options ask for.
func (s *session) sockets() error {
	if s.env.Conn == nil {
		err := s.env.OpenErr
		if errors.Is(err, rawsock.ErrPrivilege) {
			return fmt.Errorf("open sockets: %w; %s", err, howToAllow())
		}
		return fmt.Errorf("open sockets: %w", err)
	}
	if err := s.socketKind(); err != nil {
		return err
	}
	caps := s.env.Conn.Caps()
	if what := s.tool.privileged(caps); what != "" {
		if caps.Socket == "unprivileged" {
			return fmt.Errorf("%s: needs raw sockets; %s", what, howToAllow())
		}
		return fmt.Errorf("%s: this system's sockets cannot do that", what)
	}
	switch {
	case s.family == 4 && !caps.IPv4:
		return errors.New("--ipv4: this host has no IPv4 sockets")
	case s.family == 6 && !caps.IPv6:
		return errors.New("--ipv6: this host has no IPv6 sockets")
	}
	if a := s.source; a.IsValid() {
		switch {
		case a.Is4() && s.family == 6:
			return fmt.Errorf("--source %s: is no IPv6 address, which --ipv6 asks for", a)
		case a.Is6() && s.family == 4:
			return fmt.Errorf("--source %s: is no IPv4 address, which --ipv4 asks for", a)
		case !s.env.Conn.Local(a):
			return fmt.Errorf("--source %s: %w", a, errNotLocal)
		}
	}
	return nil
}

var errNotLocal = errors.New("not an address of this host")

// packaged is where packages have what gives programs their privilege (scripts/packages/nfpm.yaml).
const packaged = "/usr/libexec/gtrace/install-privilege"

// giving is the command by which root gives the program at path raw sockets: what a package has for it at installer, which looks whether that
// is safe, else setcap. Effective from the start ("+ep") would keep the program from even starting where they are not allowed.
func giving(installer, path string) string {
	if _, err := os.Stat(installer); err == nil {
		return installer + " " + shellWord(path)
	}
	return "setcap cap_net_raw+p " + shellWord(path)
}

// howToAllow is what gives this program raw sockets.
func howToAllow() string {
	path, err := os.Executable()
	if err != nil {
		path = "PROGRAM"
	}
	how := giving(packaged, path)
	if strings.HasPrefix(how, "setcap") {
		how += " (or scripts/install-privilege of the source, which looks whether that is safe)"
	}
	return "to allow them: sudo " + how
}

// Undropped is what a program says when it could not give up its privilege. On Linux only a build with
// cgo cannot: Go does not reach the threads that C code may have started.
func Undropped(err error) error {
	err = fmt.Errorf("give up privilege: %w", err)
	if runtime.GOOS == "linux" && errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w; build it without cgo: CGO_ENABLED=0 go build, or make build", err)
	}
	return err
}

// unreserved is why there is no port or identifier to send from. Without privilege only echo requests ask for more
// than everybody has.
func (s *session) unreserved(err error) error {
	if !errors.Is(err, rawsock.ErrPrivilege) {
		return fmt.Errorf("reserve a source port: %w", err)
	}
	more := ""
	if p := s.tool.page(); p.has(doctorSection) {
		more = fmt.Sprintf("; %q tells more", p.name+" "+doctor)
	}
	return fmt.Errorf("echo requests need CAP_NET_RAW, or one of the user's groups in net.ipv4.ping_group_range: %w; %s, "+
		"or: sudo sysctl -w net.ipv4.ping_group_range='0 2147483647'%s", fs.ErrPermission, howToAllow(), more)
}

// ordinaryRate is how many probes a second an ordinary user may have sent by headers of this
// program's own making: one every 2 ms, as iputils' ping (docs/decisions/0006-rates.md).
const ordinaryRate = 500

// maxRate is more probes a second than any host sends.
const maxRate = 100_000_000

// ordinary reports whether headers of this program's own making leave for a user who could not make them: what such
// users may have sent is a policy (docs/decisions/0006-rates.md). Root has no limits, nor have the sockets everybody has.
func (s *session) ordinary() bool {
	return !s.env.Root && s.env.Conn != nil && s.env.Conn.Caps().Header
}

// A policyError is why a host is not measured for an ordinary user, as it would be for root.
type policyError struct{ error }

func (e policyError) Unwrap() error { return e.error }

// limits are a run's bounds, --rate among them. With privilege that came from the program's file, not from its
// user, there is a ceiling on the rate, after so many probes at once.
func (s *session) limits(inFlight, burst int) probe.Limits {
	l := probe.Limits{InFlight: inFlight}
	if s.rate > 0 {
		l.Rate, l.Burst = float64(s.rate), max(1, s.rate/50) // what a fiftieth of a second was late is made up for
	}
	if s.ordinary() {
		l.Strict = true
		if s.rate == 0 || s.rate > ordinaryRate {
			l.Rate, l.Burst = ordinaryRate, burst
		}
		l.Burst = min(l.Burst, burst)
	}
	return l
}

// random returns a number from 1 to most. What a flow carries is not to be
// guessed by others, nor the same in two runs (crypto/rand never fails).
func random(most uint32) uint32 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return 1 + uint32(binary.NativeEndian.Uint64(b[:])%uint64(most))
}
