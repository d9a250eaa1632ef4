package report

import (
	"errors"
	"slices"

	"gtrace/probe"
)

// queued is how many events wait for a slow sink before Emit does.
const queued = 1024

var errEnded = errors.New("report: an event after the output was closed")

// Async does what output has to do in a goroutine of its own, one after the other, so that what it waits for (a
// terminal, a name) never holds the engine up. When its queue is full it does hold it up: nothing is lost.
type Async struct {
	ask     []Namer
	queue   chan func() error
	closing chan struct{} // closed: no more comes than is queued
	ended   chan struct{} // closed: the goroutine has ended; err says why
	err     error
}

// NewAsync returns one that asks every Namer for the sender of an answer right when that comes. The caller closes it.
func NewAsync(ask ...Namer) *Async {
	a := &Async{ask: ask, queue: make(chan func() error, queued),
		closing: make(chan struct{}), ended: make(chan struct{})}
	go a.run()
	return a
}

// Emit takes an event for s, and what it points to, from any goroutine. Once anything returned an error, which drops
// the rest, it returns that error.
func (a *Async) Emit(s probe.Sink, e probe.Event) error {
	a.askFor(e)
	e = owned(e)
	return a.Do(func() error { return s.Emit(e) })
}

// Do takes something to do between events, as Emit.
func (a *Async) Do(f func() error) error {
	select {
	case <-a.ended: // also where there is room
		return a.why()
	default:
	}
	select {
	case a.queue <- f:
		return nil
	case <-a.ended:
		return a.why()
	}
}

// Close waits until everything taken so far is done and returns the first error. Nothing may come after it.
func (a *Async) Close() error {
	select {
	case <-a.closing:
	default:
		close(a.closing)
	}
	<-a.ended
	return a.err
}

func (a *Async) why() error {
	if a.err == nil {
		return errEnded
	}
	return a.err
}

func (a *Async) run() {
	defer close(a.ended)
	for a.err == nil {
		select {
		case f := <-a.queue:
			a.err = f()
		case <-a.closing:
			if len(a.queue) == 0 {
				return
			}
			a.err = (<-a.queue)()
		}
	}
}

func (a *Async) askFor(e probe.Event) {
	switch e := e.(type) {
	case *probe.Probed:
		ask(&e.Outcome, a.ask...)
	case *probe.For:
		a.askFor(e.Event)
	}
}

// owned is e with memory of its own, where e's is valid during Emit alone.
func owned(e probe.Event) probe.Event {
	switch e := e.(type) {
	case *probe.Sent:
		c := *e
		c.Packet = slices.Clone(c.Packet)
		return &c
	case *probe.Probed:
		return &probe.Probed{Outcome: ownedOutcome(e.Outcome)}
	case probe.Advised:
		e.Outcome = ownedOutcome(e.Outcome)
		return e
	case probe.Hop:
		e.Outcomes = slices.Clone(e.Outcomes)
		for i, o := range e.Outcomes {
			e.Outcomes[i] = ownedOutcome(o)
		}
		return e
	case *probe.For:
		return &probe.For{Target: e.Target, Of: e.Of, Event: owned(e.Event)}
	}
	return e
}

func ownedOutcome(o probe.Outcome) probe.Outcome {
	o.Payload, o.Options, o.Labels = slices.Clone(o.Payload), slices.Clone(o.Options), slices.Clone(o.Labels)
	o.Objects = slices.Clone(o.Objects)
	for i, x := range o.Objects {
		o.Objects[i].Data = slices.Clone(x.Data)
	}
	return o
}
