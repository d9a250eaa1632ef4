package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"

	"gtrace/probe"
	"gtrace/rawsock"
)

// output is standard output. It keeps the first error, which every later write then gets too.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// A watch hands a host's events on and remembers what the exit status needs.
type watch struct {
	probe.Sink
	measured bool // some probe was answered, or waited for in vain
	result
	drops    uint64          // answers lost on this host
	finished *probe.Finished // nil until it came
}

func (w *watch) Emit(e probe.Event) error {
	switch e := e.(type) {
	case probe.Sent:
		w.sent++
	case probe.Probed:
		w.probed(&e.Outcome)
	case probe.Checked:
		w.drops = e.ReceiveDrops
	case probe.Finished:
		w.finished = &e
	}
	return w.Sink.Emit(e)
}

func (w *watch) probed(o *probe.Outcome) {
	w.measured = w.measured || o.Status != probe.Failed
	switch {
	case o.Duplicate || o.Answer == probe.NoAnswer:
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

// measure measures the hosts one after another and returns the exit status.
func (s *session) measure(ctx context.Context, names []string) (int, error) {
	if len(names) == 0 {
		return unsure, fmt.Errorf("no host given: %s [OPTION]... HOST... (--help lists the options)", s.tool.name())
	}
	if s.format == "" {
		s.format = defaultFormat
	}
	if err := s.tool.check(s, len(names)); err != nil {
		return unsure, err
	}
	if err := s.sockets(); err != nil {
		return unsure, err
	}
	sink, err := s.tool.sink(s)
	if err != nil {
		return unsure, err
	}

	if err := s.env.Conn.Set(s.tool.settings()); err != nil {
		return unsure, err
	}
	var results []result
	var found []host
	for _, h := range s.resolve(ctx, names) {
		if h.err != nil && ctx.Err() == nil {
			results = append(results, result{status: unsure, err: h.err, unknown: true})
			s.refuse(sink, h, h.err)
		} else {
			found = append(found, h)
		}
	}
	for i, h := range found {
		switch {
		case ctx.Err() != nil:
			s.complain(notMeasured(found[i:]))
			return unsure, nil
		case s.out.err != nil: // nobody reads on
			return unsure, nil
		}
		results = append(results, s.one(ctx, sink, h))
	}
	return s.tool.exit(results), nil
}

// refuse tells why h is not measured: a line for people, and a document where there is one for every host.
// An error of sink is standard output's own.
func (s *session) refuse(sink probe.Sink, h host, why error) {
	s.complain(fmt.Errorf("%s: %w", printable(h.name), why))
	if s.format == defaultFormat {
		return
	}
	now := s.env.Conn.Now()
	m := s.tool.method()
	m.Socket = s.env.Conn.Caps().Socket
	if err := sink.Emit(probe.Started{At: now, Target: h.name, Dst: h.addr, Src: h.source, Method: m}); err == nil {
		_ = sink.Emit(probe.Finished{At: now, Verdict: probe.Errored, Err: why})
	}
}

func notMeasured(hosts []host) error {
	name := printable(hosts[0].name)
	if n := len(hosts) - 1; n > 0 {
		name = fmt.Sprintf("%s and %d more", name, n)
	}
	return fmt.Errorf("%s: not measured: interrupted", name)
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

// howToAllow is the command that gives this program raw sockets. Effective
// from the start ("+ep") would keep it from even starting where they are not allowed.
func howToAllow() string {
	path, err := os.Executable()
	if err != nil {
		path = "PROGRAM"
	}
	return "to allow them: sudo setcap cap_net_raw+p " + printable(path)
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

// one measures one host.
func (s *session) one(ctx context.Context, sink probe.Sink, h host) result {
	conn := s.env.Conn
	m := s.tool.method()
	proto := m.Proto.Number(h.addr, m.Number)
	port, err := conn.Reserve(h.source, proto, s.tool.sourcePort())
	if err != nil {
		err = fmt.Errorf("reserve a source port: %w", err)
		s.refuse(sink, h, err)
		return result{status: unsure, err: err}
	}
	defer conn.Release(h.source, proto, port)

	p, err := s.tool.plan(s, netip.AddrPortFrom(h.source, port), h.addr)
	if err != nil {
		s.refuse(sink, h, err)
		return result{status: unsure, err: err}
	}
	p.method.Socket = conn.Caps().Socket
	w := &watch{Sink: sink}
	err = w.Emit(probe.Started{At: conn.Now(), Target: h.name, Dst: h.addr, Src: h.source, Method: p.method})
	if err == nil {
		err = probe.Run(ctx, conn, p.algorithm, p.limits, w)
	}
	if w.drops > 0 && s.out.err == nil {
		// The formats for programs say it in self_check; whoever reads a log sees it here.
		s.complain(fmt.Errorf("%s: packets dropped on this host for want of buffer: %d; loss shown may be this host's own: "+
			"raise net.core.rmem_max, or go slower (%s)", printable(h.name), w.drops, s.tool.slower()))
	}
	switch {
	case s.out.err != nil, errors.Is(err, probe.ErrInterrupted):
		return w.end()
	case err != nil:
		s.complain(fmt.Errorf("%s: %w", printable(h.name), err))
		r := w.end()
		r.status, r.err = unsure, err
		return r
	}
	r := w.end()
	if f := w.finished; f != nil && f.Verdict == probe.Errored && f.Err != nil {
		r.err = f.Err
		s.complain(fmt.Errorf("%s: %w", printable(h.name), f.Err))
	}
	return r
}

// ordinaryRate is how many probes a second an ordinary user may have sent by headers of this
// program's own making: one every 2 ms, as iputils' ping (docs/decisions/0006-rates.md).
const ordinaryRate = 500

// limits are a run's bounds. With privilege that came from the program's file, not from its
// user, the rate is one of them, after so many probes at once.
func (s *session) limits(inFlight, burst int) probe.Limits {
	l := probe.Limits{InFlight: inFlight}
	if s.env.Conn.Caps().Header && !s.env.Root {
		l.Rate, l.Burst = ordinaryRate, burst
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
