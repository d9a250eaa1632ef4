package cli

import (
	"cmp"
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gtrace/internal/queue"
	"gtrace/probe"
	"gtrace/report"
)

// A desk is where events become output. Where a line may wait for a name it is a goroutine's, so that nothing waits with it;
// else that of the loop, which takes turns with SIGQUIT.
type desk struct {
	mu     sync.Mutex
	beside *report.Async // nil: the loop writes

	shared probe.Sink        // one for all hosts; nil: each has its own
	order  *report.Order     // of their output; nil: as it comes
	bytes  atomic.Int64      // that wait for their turn: whoever writes counts, and the loop looks
	sheets queue.Bag[*sheet] // hosts begun and not ended
	deaf   chan struct{}     // closed: SIGQUIT is not listened to any more
	over   chan struct{}     // closed: whoever listened has ended
	loose  bool              // lines of several hosts go out as they come
}

// begin is before the first event.
func (d *desk) begin(ctx context.Context, s *session, hosts []host) error {
	d.loose, s.inTurn = s.interleaves(), d.say
	switch {
	case d.loose:
		d.order = report.NewOrder(s.out, "", true)
	case s.format == defaultFormat: // as text, a blank line between hosts
		d.order = report.NewOrder(s.out, "\n", false)
	case s.ordered && s.format != formatFping:
		d.order = report.NewOrder(s.out, "", false)
	}
	if d.order != nil {
		d.order.Waits = func(more int) { d.bytes.Add(int64(more)) }
	}
	if t, ok := s.tool.(interface {
		fleetSink(context.Context, *session, []host) (probe.Sink, error)
	}); ok {
		var err error
		if d.shared, err = t.fleetSink(ctx, s, hosts); err != nil {
			return err
		}
	}
	if t, ok := s.tool.(interface{ announce(*session) }); ok {
		t.announce(s)
	}
	pings := s.pings()
	if ask := s.waited(); len(ask) > 0 && d.shared == nil {
		if pings { // it knows best of whom: a name server is told of nobody without need
			ask = nil
		}
		d.beside = report.NewAsync(ask...)
	}
	if pings {
		d.listen(s.quit, s.out)
	}
	return nil
}

// waited are those that output waits for.
func (s *session) waited() (ns []report.Namer) {
	for _, n := range []report.Namer{s.called, s.origins} {
		if n != nil {
			ns = append(ns, n)
		}
	}
	return ns
}

// do does what writes, or decides where is written to, in its turn. The error may be that of an earlier one.
func (d *desk) do(f func() error) error {
	if d.beside != nil {
		return d.beside.Do(f)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return f()
}

// write hands an event to a sink in its turn.
func (d *desk) write(to probe.Sink, e probe.Event) error {
	if d.beside != nil {
		return d.beside.Emit(to, e)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return to.Emit(e)
}

// say writes to standard error in its turn.
func (d *desk) say(f func()) {
	_ = d.do(func() error { f(); return nil }) // an error is standard output's, which keeps it
}

// end tells that nothing comes from a host, of which there were no events.
func (d *desk) end(s *session, h host) {
	switch {
	case h.group != nil:
		if p, err := d.sink(s, h); err == nil {
			_ = p.Emit(probe.Finished{Verdict: probe.Interrupted})
		}
	case d.order != nil:
		_ = d.do(func() error { return d.order.End(h.number) }) // standard output keeps the error
	}
}

// listen has SIGQUIT ask for what is known so far, which does not wait for the loop to go out.
func (d *desk) listen(asked <-chan os.Signal, out *output) {
	d.deaf, d.over = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(d.over)
		for {
			select {
			case <-asked:
				// What standard output thinks of it comes back from the next event.
				_ = d.do(func() error { return cmp.Or(d.interim(), out.flush()) })
			case <-d.deaf:
				return
			}
		}
	}()
}

// interim asks all for what they know so far.
func (d *desk) interim() error {
	if d.shared != nil {
		return d.shared.Emit(probe.Interim{At: time.Now(), Resets: true})
	}
	for _, p := range slices.SortedFunc(slices.Values(d.sheets), func(a, b *sheet) int { return a.n - b.n }) {
		if err := p.sink.Emit(probe.Interim{}); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until all that happened is written. From then on what is written goes out at once.
func (d *desk) settle() (err error) {
	if d.deaf != nil {
		close(d.deaf)
		<-d.over
		d.deaf = nil
	}
	if d.beside != nil {
		err = d.beside.Close()
		d.beside = nil
	}
	return err
}

// close is after the last event, settled. Standard output keeps the errors.
func (d *desk) close(at time.Time) {
	if d.order != nil {
		_ = d.order.Release()
	}
	if c, ok := d.shared.(interface{ Close(time.Time) error }); ok {
		_ = c.Close(at)
	}
}

// sink makes one for a host.
func (d *desk) sink(s *session, h host) (probe.Sink, error) {
	if d.shared != nil {
		return numbered{d, h.number}, nil
	}
	g := h.group
	if g == nil {
		p := &sheet{d: d, n: h.number, parts: 1, out: output{w: s.out}}
		var err error
		p.sink, err = s.tool.sink(s, &p.out)
		return p, err
	}
	p := g.sheet
	if p == nil {
		p = &sheet{d: d, n: h.number, parts: g.left, out: output{w: s.out}}
		var err error
		if p.sink, err = s.tool.(besider).besideSink(s, &p.out); err != nil {
			return nil, err
		}
		g.sheet = p
	}
	if g.left--; g.left == 0 {
		g.sheet, g.tools = nil, nil
	}
	return part{p, h.way}, nil
}

// numbered says of which host the events are.
type numbered struct {
	d *desk
	n int
}

func (n numbered) Emit(e probe.Event) error {
	return n.d.write(n.d.shared, &probe.For{Target: n.n, Event: e})
}

// A sheet is one host's sink, and its own way to standard output.
type sheet struct {
	queue.Place
	d    *desk
	n    int
	sink probe.Sink
	out  output

	begun bool
	parts int // that have not ended
}

// turns reports whether e is the first event of p, and whether it is the last.
func (p *sheet) turns(e probe.Event) (begins, ends bool) {
	if of, ok := e.(*probe.For); ok {
		e = of.Event
	}
	begins, p.begun = !p.begun, true
	if _, ends = e.(probe.Finished); ends {
		p.parts--
	}
	return begins, ends && p.parts == 0
}

func (p *sheet) Emit(e probe.Event) error { return p.d.write(turned{p}, e) }

// turned is a sheet whose turn it is.
type turned struct{ *sheet }

func (p turned) Emit(e probe.Event) error {
	d := p.d
	begins, ends := p.turns(e)
	if begins {
		d.sheets.Add(p.sheet)
	}
	if ends {
		d.sheets.Remove(p.sheet)
	}
	if d.order != nil && (begins && !d.loose || ends && d.loose) {
		p.out.w = d.order.Part(p.n)
	}
	err := p.sink.Emit(e)
	if err == nil && ends && d.order != nil {
		err = d.order.End(p.n)
	}
	return err
}
