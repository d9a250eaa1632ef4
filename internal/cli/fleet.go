package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gtrace/probe"
	"gtrace/probe/many"
	"gtrace/rawsock"
)

// traceHosts is how many paths are traced at once where the user does not say.
const traceHosts = 16

// mostInFlight bounds the probes of all hosts together.
const mostInFlight = 1 << 16

// A fleet is the run over all hosts, and the sink of its events.
type fleet struct {
	s       *session
	hosts   []host
	started int // of hosts, those that were begun or refused
	blocked []int
	results []result
	running map[int]*running
	ports   ports
	drops   uint64 // answers lost on this host
	stopped []int  // hosts whose run an error cut short, maybe that of all
	why     error  // the run of all ended by
	desk
}

// A running is a host that is being measured.
type running struct {
	*watch
	port *port
}

func (t *traceTool) atOnce() int        { return traceHosts }
func (t *traceTool) atOnceHelp() string { return fmt.Sprint(traceHosts) }

func (s *session) newFleet(hosts []host) *fleet {
	f := &fleet{s: s, hosts: hosts, results: make([]result, len(hosts)), running: make(map[int]*running)}
	f.ports = ports{conn: s.env.Conn, want: s.tool.sourcePort(), all: make(map[portKey][]*port)}
	return f
}

// run measures the hosts. Its error is one of the options or of standard output.
func (f *fleet) run(ctx context.Context) ([]result, error) {
	s := f.s
	defer f.ports.release()
	if err := f.begin(ctx, s, f.hosts); err != nil {
		return nil, err
	}
	for i, h := range f.hosts {
		if h.err != nil && ctx.Err() == nil {
			f.results[i] = result{status: unsure, err: h.err, unknown: h.unknown}
			f.refuse(i, h.err)
		}
	}
	if ctx.Err() == nil && !f.failed() {
		f.measure(ctx)
	}
	_ = f.settle()                // s.out keeps the error
	for i, r := range f.running { // standard output failed: they are judged by what was measured by then
		f.results[i] = r.end()
		delete(f.running, i)
	}
	f.notBegun()
	f.close(s.env.Conn.Now())
	f.doubt()
	return f.results, nil
}

// doubt: where this host lost answers, that none came says nothing of others (TRAPS T46).
func (f *fleet) doubt() {
	for i := range f.results {
		if r := &f.results[i]; f.drops > 0 && r.status == no && r.verdict != probe.Blocked {
			r.status = unsure
		}
	}
}

// measure runs the hosts that can be.
func (f *fleet) measure(ctx context.Context) {
	s := f.s
	first, limits, ok := f.next()
	if !ok {
		return
	}
	held := true
	limits.InFlight = min(limits.InFlight*min(s.parallel, len(f.hosts)), mostInFlight)
	c := many.Config{Most: s.parallel, After: f.shared != nil, Next: func() (many.Target, bool) {
		if held {
			held = false
			return first, true
		}
		t, _, ok := f.next()
		return t, ok
	}}
	if t, ok := s.tool.(interface {
		pace(l *probe.Limits, hosts int) time.Duration
	}); ok {
		c.Every = t.pace(&limits, len(f.hosts))
	}
	m := many.New(c, f)
	err := probe.Run(ctx, s.env.Conn, m, limits, m)
	if late := f.settle(); err == nil {
		err = late
	}
	if s.out.err != nil {
		return
	}
	alone := ""
	if len(f.hosts) == 1 {
		alone = printable(f.hosts[0].name) + ": "
	}
	if f.drops > 0 {
		// The formats for programs say it in self_check; whoever reads a log sees it here.
		s.complain(fmt.Errorf("%spackets dropped on this host for want of buffer: %d; loss shown may be this host's own: "+
			"raise net.core.rmem_max, or go slower (%s)", alone, f.drops, s.tool.slower()))
	}
	failed := err != nil && !errors.Is(err, probe.ErrInterrupted)
	for _, i := range f.stopped {
		if !failed || !errors.Is(f.results[i].err, err) {
			f.tell(i)
		}
	}
	if failed {
		s.complain(fmt.Errorf("%s%w", alone, err))
		f.why = err
	}
}

// failed reports whether nothing more can be written.
func (f *fleet) failed() bool { return f.do(func() error { return f.s.out.err }) != nil }

// tell says why the i-th host could not be measured, unless its sink has.
func (f *fleet) tell(i int) {
	if _, own := f.s.tool.(refuser); !own {
		f.s.complain(fmt.Errorf("%s: %w", printable(f.hosts[i].name), f.results[i].err))
	}
}

// notBegun names the hosts that were not measured, for the run ended before.
func (f *fleet) notBegun() {
	var left []host
	for _, i := range f.waiting() {
		f.results[i] = result{status: unsure, err: notMeasured(f.hosts[i:i+1], f.why)}
		left = append(left, f.hosts[i])
		f.end(i)
	}
	if len(left) > 0 && f.s.out.err == nil {
		f.s.complain(notMeasured(left, f.why))
	}
}

// waiting are the hosts that could be measured and were not begun.
func (f *fleet) waiting() (left []int) {
	for i := range f.hosts {
		_, running := f.running[i]
		if r := &f.results[i]; r.err == nil && r.verdict == "" && !running {
			left = append(left, i)
		}
	}
	return left
}

// next begins the next host that can be measured now.
func (f *fleet) next() (t many.Target, l probe.Limits, ok bool) {
	for k, i := range f.blocked { // what was begun before all ports were taken comes first
		if t, l, err := f.start(i); !errors.Is(err, errWait) {
			f.blocked = append(f.blocked[:k], f.blocked[k+1:]...)
			if err == nil {
				return t, l, true
			}
			return f.next()
		}
	}
	for f.started < len(f.hosts) {
		// Whoever ends makes it ask again, and the one whose turn it is to print ends some time.
		if !f.loose && len(f.running) > 0 && f.bytes.Load() > maxWaiting {
			break
		}
		i := f.started
		f.started++
		if f.hosts[i].err != nil {
			continue
		}
		switch t, l, err := f.start(i); {
		case err == nil:
			return t, l, true
		case errors.Is(err, errWait):
			f.blocked = append(f.blocked, i)
		}
	}
	return t, l, false
}

// start begins the i-th host, or refuses it. The error is errWait where that has to wait.
func (f *fleet) start(i int) (t many.Target, l probe.Limits, err error) {
	s, h := f.s, f.hosts[i]
	m := s.tool.method()
	port, err := f.ports.take(h.source, m.Proto.Number(h.addr, m.Number), h.addr)
	if errors.Is(err, errWait) {
		return t, l, err
	}
	var p plan
	if err != nil {
		err = s.unreserved(err)
	} else if p, err = s.tool.plan(s, netip.AddrPortFrom(h.source, port.number), h.addr); err != nil {
		port.leave(h.addr)
	}
	var r *running
	if err == nil {
		if r, err = f.open(i); err != nil {
			port.leave(h.addr)
		}
	}
	if err != nil {
		f.results[i] = result{status: unsure, err: err}
		f.refuse(i, err)
		return t, l, err
	}
	r.port = port
	f.running[i] = r
	p.method.Socket = s.env.Conn.Caps().Socket
	return many.Target{Number: i, Algorithm: p.algorithm,
		Started: probe.Started{Target: h.name, Dst: h.addr, Src: h.source, Method: p.method}}, p.limits, nil
}

// open makes the way from the i-th host's events to the output.
func (f *fleet) open(i int) (*running, error) {
	sink, err := f.sink(f.s, i)
	if err != nil {
		return nil, err
	}
	return &running{watch: &watch{Sink: sink, pings: f.s.pings()}}, nil
}

// interleaves reports whether lines of several hosts go out as they come, and only what ends each host follows in
// order when all is said.
func (s *session) interleaves() bool {
	return s.format == defaultFormat && !s.ordered && s.pings()
}

// pings reports whether the tool is one that asks hosts again and again.
func (s *session) pings() bool {
	_, pings := s.tool.(interface{ fleetOptions() []option })
	return pings
}

// A refuser is a tool that says in its own words why a host is not measured.
type refuser interface{ refused(*session, host, error) }

// refuse tells why the i-th host is not measured: a line for people, and a document where there is one for
// every host. An error of the sink is standard output's own.
func (f *fleet) refuse(i int, why error) {
	s, h := f.s, f.hosts[i]
	if f.failed() {
		return
	}
	f.say(func() {
		if t, ok := s.tool.(refuser); ok {
			t.refused(s, h, why)
		} else {
			s.complain(fmt.Errorf("%s: %w", printable(h.name), why))
		}
	})
	if s.format != defaultFormat {
		if r, err := f.open(i); err == nil {
			now := s.env.Conn.Now()
			m := s.tool.method()
			m.Socket = s.env.Conn.Caps().Socket
			if err := r.Emit(probe.Started{At: now, Target: h.name, Dst: h.addr, Src: h.source, Method: m}); err == nil {
				_ = r.Emit(probe.Finished{At: now, Verdict: probe.Errored, Err: why})
			}
			return
		}
	}
	f.end(i)
}

// Emit is probe.Sink's.
func (f *fleet) Emit(e probe.Event) error {
	one, ok := e.(probe.For)
	if !ok {
		return f.all(e)
	}
	r := f.running[one.Target]
	if r == nil { // it has ended: what is told of it all the same is for the sink of all
		return f.write(f.shared, e)
	}
	switch e := one.Event.(type) {
	case probe.Checked:
		f.drops = e.ReceiveDrops
	case probe.Finished:
		return f.finish(one.Target, r, e)
	}
	return r.Emit(one.Event)
}

// all is an event of the whole run: for each host that is measured, in order.
func (f *fleet) all(e probe.Event) error {
	if f.shared != nil {
		return f.write(f.shared, e)
	}
	for i := range f.hosts {
		if r := f.running[i]; r != nil {
			if err := r.Emit(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish closes the i-th host.
func (f *fleet) finish(i int, r *running, e probe.Finished) error {
	err := r.Emit(e)
	f.results[i] = r.end()
	if e.Verdict == probe.Errored && e.Err != nil {
		f.results[i].err = e.Err
		if e.Complete {
			f.say(func() { f.tell(i) })
		} else {
			f.stopped = append(f.stopped, i)
		}
	}
	delete(f.running, i)
	r.port.leave(f.hosts[i].addr)
	return err
}

// maxPorts is how many source ports or identifiers one address has for the probes of one protocol: what a
// kernel filter of the connection can hold.
const maxPorts = 64

var errWait = errors.New("all ports are in use for this destination")

// ports are those reserved for the run. Hosts share one: their addresses tell the answers apart. Only what is measured twice at
// once needs another.
type ports struct {
	conn rawsock.Conn
	want uint16 // 0: any
	all  map[portKey][]*port
	n    int
}

type portKey struct {
	src   netip.Addr
	proto uint8
}

type port struct {
	number uint16
	used   map[netip.Addr]bool // destinations
}

// take finds or reserves a port of src by which nobody else is measuring dst. The error is errWait where there is none
// until one is free.
func (p *ports) take(src netip.Addr, proto uint8, dst netip.Addr) (*port, error) {
	k := portKey{src, proto}
	free := func(q *port) bool { return !q.used[dst] }
	for _, q := range p.all[k] {
		if free(q) {
			q.used[dst] = true
			return q, nil
		}
	}
	have := len(p.all[k])
	if have > 0 && (p.want != 0 || p.n >= maxPorts) {
		return nil, errWait
	}
	number, err := p.conn.Reserve(src, proto, p.want)
	if err != nil {
		if have > 0 { // there are no more; those there are come back
			return nil, errWait
		}
		return nil, err
	}
	p.n++
	q := &port{number: number, used: map[netip.Addr]bool{dst: true}}
	p.all[k] = append(p.all[k], q)
	return q, nil
}

func (q *port) leave(dst netip.Addr) { delete(q.used, dst) }

func (p *ports) release() {
	for k, qs := range p.all {
		for _, q := range qs {
			p.conn.Release(k.src, k.proto, q.number)
		}
	}
}
