package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gtrace/internal/queue"
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
	s        *session
	hosts    []host // known before the first was begun
	shuffled []int  // the order in which they begin; nil: as they are
	refused  bool   // those of them that cannot be measured were
	passed   int    // and so many of those were so before their turn
	started  int    // those of them whose turn it was
	parts    []host // the methods of the last of these that have not begun
	coming   <-chan found
	behind   []found // that came, and have not begun
	blocked  []host
	tally
	seen    seen // addresses, where none is to be measured twice
	full    bool // there is no room for more of them
	running queue.Bag[*running]
	ports   ports
	drops   uint64   // answers lost on this host
	slowed  float64  // the rate it went on at for that, in probes a second; 0: as before
	stopped []failed // hosts whose run an error cut short, maybe that of all
	why     error    // the run of all ended by
	desk
}

// A running is a host that is being measured.
type running struct {
	queue.Place
	*watch
	host  host
	port  *port
	ended bool
}

// A failed is a host that could not be measured, and why.
type failed struct {
	name string
	err  error
}

func (t *traceTool) atOnce() int        { return traceHosts }
func (t *traceTool) atOnceHelp() string { return fmt.Sprint(traceHosts) }

// newFleet takes hosts that are known, and those that come.
func (s *session) newFleet(hosts []host, coming <-chan found) *fleet {
	f := &fleet{s: s, hosts: hosts, coming: coming}
	if s.unique {
		f.seen = s.doneAt
		f.hosts = slices.DeleteFunc(hosts, func(h host) bool { return h.err == nil && f.again(h) })
	}
	for i := range f.hosts {
		f.hosts[i].number = i
	}
	if s.shuffle && coming == nil {
		for i := range permuted(uint64(len(f.hosts)), s.chance()) {
			f.shuffled = append(f.shuffled, int(i))
		}
	}
	f.ports = ports{conn: s.env.Conn, want: s.tool.sourcePort(), all: make(map[portKey][]*port)}
	return f
}

// run measures the hosts. Its error is one of the options or of standard output.
func (f *fleet) run(ctx context.Context) error {
	s := f.s
	if err := f.begin(ctx, s, f.hosts); err != nil {
		return err
	}
	f.refused = ctx.Err() == nil
	for _, h := range f.hosts {
		if h.err != nil && f.refused {
			f.refuse(h, h.err)
			f.passed++
		}
	}
	if ctx.Err() == nil && !f.failed() {
		f.measure(ctx)
	}
	_ = f.settle() // s.out keeps the error
	f.notBegun()
	for _, r := range f.running { // standard output failed: they are judged by what was measured by then
		f.add(r.end())
	}
	_ = s.out.hold(s.several)
	f.close(s.env.Conn.Now())
	_ = s.out.hold(false)
	if f.drops > 0 {
		f.doubt()
	}
	return nil
}

// measure runs the hosts that can be.
func (f *fleet) measure(ctx context.Context) {
	s := f.s
	first, limits, ok := f.next()
	for !ok && f.await(ctx) {
		first, limits, ok = f.next()
	}
	if !ok {
		return
	}
	held, hosts := true, len(f.hosts)*max(1, len(s.methods()))
	if f.coming != nil {
		hosts = s.hosts
	}
	limits.InFlight = min(limits.InFlight*min(s.parallel, hosts), mostInFlight)
	c := many.Config{Most: s.parallel, After: f.shared != nil, Next: func() (many.Target, bool) {
		if held {
			held = false
			return first, true
		}
		t, _, ok := f.next()
		return t, ok
	}}
	if f.coming != nil {
		c.More = func() bool { return f.coming != nil }
	}
	if t, ok := s.tool.(interface {
		pace(l *probe.Limits, hosts int) time.Duration
	}); ok {
		c.Every = t.pace(&limits, hosts)
	}
	m := many.New(c, f)
	if f.beside == nil {
		_ = f.do(func() error { return s.out.hold(s.several) })
	}
	err := probe.Run(ctx, s.env.Conn, m, limits, m)
	for _, late := range []error{f.settle(), s.out.hold(false)} {
		err = cmp.Or(err, late)
	}
	s.bar.wipe()
	if s.out.err != nil {
		return
	}
	alone := ""
	if f.coming == nil && len(f.hosts) == 1 {
		alone = printable(f.hosts[0].name) + ": "
	}
	if f.drops > 0 {
		// The formats for programs say it in self_check; whoever reads a log sees it here.
		slowed := ""
		if f.slowed > 0 {
			slowed = fmt.Sprintf("; went on at %.0f probes a second", f.slowed)
		}
		s.complain(fmt.Errorf("%spackets dropped on this host for want of buffer: %d%s; loss shown may be this host's own: "+
			"raise net.core.rmem_max, or go slower (%s)", alone, f.drops, slowed, s.tool.slower()))
	}
	interrupted := err == nil || errors.Is(err, probe.ErrInterrupted)
	for _, h := range f.stopped {
		if interrupted || !errors.Is(h.err, err) {
			f.tell(h)
		}
	}
	if !interrupted {
		s.complain(fmt.Errorf("%s%w", alone, err))
		f.why = err
	}
}

// failed reports whether nothing more can be written.
func (f *fleet) failed() bool { return f.do(func() error { return f.s.out.err }) != nil }

// tell says why a host could not be measured, unless its sink has.
func (f *fleet) tell(h failed) {
	if _, own := f.s.tool.(refuser); !own {
		f.s.complain(fmt.Errorf("%s: %w", printable(h.name), h.err))
	}
}

// notBegun names the hosts that were not measured, for the run ended before.
func (f *fleet) notBegun() {
	left := append(f.blocked, f.parts...)
	for _, c := range f.behind {
		left = append(left, host{number: c.number, name: c.name})
	}
	for i := f.started; i < len(f.hosts); i++ {
		if h := f.turn(i); h.err == nil || !f.refused {
			left = append(left, h)
		}
	}
	slices.SortFunc(left, func(a, b host) int { return a.number - b.number })
	if len(left) > 0 {
		r := result{status: unsure, err: f.notMeasured(left[:1])}
		for _, h := range left {
			f.add(r)
			f.end(f.s, h)
		}
	}
	if f.coming != nil { // they are not even counted
		f.add(result{status: unsure, err: f.why})
	}
	if (len(left) > 0 || f.coming != nil) && f.s.out.err == nil {
		f.s.complain(f.notMeasured(slices.CompactFunc(left, func(a, b host) bool { return a.number == b.number })))
	}
}

// notMeasured names hosts that had no turn: the run was interrupted, or ended by an error.
func (f *fleet) notMeasured(hosts []host) error {
	name, n := "", len(hosts)-1
	if n >= 0 {
		name = printable(hosts[0].name)
	}
	switch {
	case f.coming != nil && n < 0:
		name = "what has not been read of the lists"
	case f.coming != nil:
		name = fmt.Sprintf("%s, %d more and what has not been read of the lists", name, n)
	case n > 0:
		name = fmt.Sprintf("%s and %d more", name, n)
	}
	return fmt.Errorf("%s: not measured: %w", name, cmp.Or(f.why, probe.ErrInterrupted))
}

// At one turn of the loop no more of the hosts that come are refused, and no more wait for a port at a time.
const (
	mostRefused = 1024
	mostBlocked = 1024
)

// next begins the next host that can be measured now.
func (f *fleet) next() (t many.Target, l probe.Limits, ok bool) {
	for k := 0; k < len(f.blocked); { // what was begun before all ports were taken comes first
		t, l, err := f.start(f.blocked[k])
		if errors.Is(err, errWait) {
			k++
			continue
		}
		f.blocked = slices.Delete(f.blocked, k, k+1)
		if err == nil {
			return t, l, true
		}
	}
	for refused := 0; (refused < mostRefused || f.coming == nil) && len(f.blocked) < mostBlocked; {
		// Whoever ends makes it ask again, and the one whose turn it is to print ends some time.
		if !f.loose && len(f.running) > 0 && f.bytes.Load() > maxWaiting {
			break
		}
		if len(f.parts) == 0 && len(f.running)+len(f.s.methods()) > f.s.parallel {
			break // what measures a host side by side begins together
		}
		h, ok := f.take()
		if !ok {
			break
		}
		if h.err != nil {
			refused++
			continue
		}
		switch t, l, err := f.start(h); {
		case err == nil:
			return t, l, true
		case errors.Is(err, errWait):
			f.blocked = append(f.blocked, h)
		default:
			refused++
		}
	}
	return t, l, false
}

// turn is the i-th host to begin.
func (f *fleet) turn(i int) host {
	if f.shuffled != nil {
		i = f.shuffled[i]
	}
	return f.hosts[i]
}

// take is the next host that is there; one that cannot be measured has been refused.
func (f *fleet) take() (h host, ok bool) {
	switch {
	case len(f.parts) > 0:
		h, f.parts = f.parts[0], f.parts[1:]
		return h, true
	case f.started < len(f.hosts):
		h = f.turn(f.started)
		f.started++
		if h.err != nil {
			f.passed--
			return h, true
		}
		h, f.parts = f.s.spread(h)
		return h, true
	case len(f.behind) == 0:
		f.drain()
	}
	if len(f.behind) == 0 {
		return h, false
	}
	h, f.behind = f.s.settled(f.behind[0]), f.behind[1:]
	switch {
	case h.err != nil:
		f.refuse(h, h.err)
	case f.again(h):
		f.end(f.s, h)
		h.err = errAgain
	}
	return h, true
}

var errAgain = errors.New("its address was measured before")

// again reports whether a host's address is one that was measured before, and is not to be again.
func (f *fleet) again(h host) bool {
	if !f.s.unique {
		return false
	}
	if f.seen == nil {
		f.seen = make(seen)
	}
	a := addressed(h.addr)
	_, again := f.seen[a]
	switch {
	case again:
	case len(f.seen) < mostSeen:
		f.seen[a] = struct{}{}
	case !f.full:
		f.full = true
		f.say(func() {
			f.s.complain(fmt.Errorf("--unique: more than %d addresses: those of later hosts are not remembered", mostSeen))
		})
	}
	return again
}

// await waits for the next host that comes. It reports false where none will.
func (f *fleet) await(ctx context.Context) bool {
	if f.coming == nil || len(f.behind) > 0 {
		return f.coming != nil
	}
	select {
	case c, ok := <-f.coming:
		f.came(c, ok)
	case <-ctx.Done():
	}
	return ctx.Err() == nil && (len(f.behind) > 0 || f.coming != nil)
}

// drain takes what has come by now, many at once: to wake whoever reads the lists for each single host costs as much as its probes.
func (f *fleet) drain() {
	f.behind = nil
	for len(f.behind) < readAhead {
		select {
		case c, ok := <-f.coming: // nil: never
			f.came(c, ok)
		default:
			return
		}
	}
}

// came keeps what has come.
func (f *fleet) came(c found, ok bool) {
	switch {
	case !ok:
		f.coming = nil
	case c.err != nil && c.name == "": // a line that names no host, or the end of the lists
		f.say(func() { f.s.complain(c.err) })
		f.add(result{status: unsure, err: c.err})
	default:
		f.behind = append(f.behind, c)
	}
}

// start begins a host, or refuses it. The error is errWait where that has to wait.
func (f *fleet) start(h host) (t many.Target, l probe.Limits, err error) {
	s, tool := f.s, f.s.toolOf(h)
	m := tool.method()
	port, err := f.ports.take(h.source, m.Proto.Number(h.addr, m.Number), h.addr)
	if errors.Is(err, errWait) {
		return t, l, err
	}
	var p plan
	if err != nil {
		err = s.unreserved(err)
	} else if p, err = tool.plan(s, netip.AddrPortFrom(h.source, port.number), h.addr); err != nil {
		port.leave(h.addr)
	}
	var r *running
	if err == nil {
		if r, err = f.open(h); err != nil {
			port.leave(h.addr)
		}
	}
	if err != nil {
		f.refuse(h, err)
		return t, l, err
	}
	r.host, r.port = h, port
	f.running.Add(r)
	p.method.Socket = s.env.Conn.Caps().Socket
	return many.Target{Number: h.number, Of: r, Algorithm: p.algorithm,
		Started: probe.Started{Target: h.name, Dst: h.addr, Src: h.source, Method: p.method}}, p.limits, nil
}

// open makes the way from a host's events to the output.
func (f *fleet) open(h host) (*running, error) {
	sink, err := f.sink(f.s, h)
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

// refuse tells why a host is not measured: a line for people, and a document where there is one for
// every host. An error of the sink is standard output's own.
func (f *fleet) refuse(h host, why error) {
	s := f.s
	f.add(result{status: unsure, err: why, unknown: h.unknown})
	if f.failed() {
		return
	}
	f.say(func() {
		if t, ok := s.tool.(refuser); ok {
			t.refused(s, h, why)
		} else {
			s.complain(fmt.Errorf("%s: %w", printable(s.title(h)), why))
		}
	})
	if s.format == defaultFormat && h.group == nil {
		f.end(s, h)
		return
	}
	all := []host{h}
	if h.group == nil {
		first, others := s.spread(h)
		all = append(others, first)
	}
	for _, h := range all {
		m := s.toolOf(h).method()
		m.Socket = s.env.Conn.Caps().Socket
		r, err := f.open(h)
		if err != nil {
			f.end(s, h)
			continue
		}
		now := s.env.Conn.Now()
		if err := r.Emit(probe.Started{At: now, Target: h.name, Dst: h.addr, Src: h.source, Method: m}); err == nil {
			_ = r.Emit(probe.Finished{At: now, Verdict: probe.Errored, Err: why})
		}
	}
}

// Emit is probe.Sink's.
func (f *fleet) Emit(e probe.Event) error {
	one, ok := e.(*probe.For)
	if !ok {
		return f.all(e)
	}
	f.progress(one.Event)
	r, _ := one.Of.(*running)
	if r == nil || r.ended { // it has ended: what is told of it all the same is for the sink of all
		return f.write(f.shared, e)
	}
	switch e := one.Event.(type) {
	case probe.Checked:
		f.drops, f.slowed = e.ReceiveDrops, e.SlowedTo
	case probe.Finished:
		return f.finish(r, e)
	}
	return r.Emit(one.Event)
}

// Flush is probe.Flusher's: of thousands of hosts a call for each line would take as long as a probe.
func (f *fleet) Flush() error {
	if !f.s.out.held {
		return nil
	}
	return f.do(f.s.out.flush)
}

// progress draws the line of it, where it is time.
func (f *fleet) progress(e probe.Event) {
	bar := f.s.bar
	if bar == nil {
		return
	}
	if at, draw := bar.happened(e); draw {
		left := len(f.running) + len(f.hosts) - f.started - f.passed + len(f.behind) + len(f.blocked)
		line := bar.line(at, f.tally.hosts, left, f.coming != nil)
		f.say(func() { bar.draw(line) })
	}
}

// all is an event of the whole run: for each host that is measured, in order.
func (f *fleet) all(e probe.Event) error {
	if f.shared != nil {
		return f.write(f.shared, e)
	}
	for _, r := range slices.SortedFunc(slices.Values(f.running), func(a, b *running) int { return a.host.number - b.host.number }) {
		if err := r.Emit(e); err != nil {
			return err
		}
	}
	return nil
}

// mostStopped is how many hosts that an error cut short wait to be told of until it is known whether that was the whole run's.
const mostStopped = 1024

// finish closes the i-th host.
func (f *fleet) finish(r *running, e probe.Finished) error {
	err := r.Emit(e)
	end := r.end()
	if e.Verdict == probe.Errored && e.Err != nil {
		end.err = e.Err
		h := failed{f.s.title(r.host), e.Err}
		if e.Complete || len(f.stopped) == mostStopped {
			f.say(func() { f.tell(h) })
		} else {
			f.stopped = append(f.stopped, h)
		}
	}
	f.add(end)
	f.running.Remove(r)
	r.ended = true
	r.port.leave(r.host.addr)
	return err
}

// maxPorts is how many source ports or identifiers one address has for the probes of one protocol: what a
// kernel filter of the connection can hold.
const maxPorts = 64

var errWait = errors.New("all ports are in use for this destination")

// ports are those reserved for the run, and so until the connection is closed. Hosts share one: their addresses tell the answers apart. Only what is measured twice at
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
