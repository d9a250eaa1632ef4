package report

import (
	"errors"
	"slices"

	"gtrace/probe"
)

// queued is how many events wait for a slow sink before Emit does.
const queued = 1024

var errEnded = errors.New("report: an event after the output was closed")

// Async is a Sink that hands events on from a goroutine of its own, in order, so that what a sink waits for (a
// terminal, a name) never holds the engine up. When its queue is full it does wait: nothing is lost.
type Async struct {
	sink    probe.Sink
	ask     []Namer
	queue   chan probe.Event
	closing chan struct{} // closed: no more events come than are queued
	ended   chan struct{} // closed: the goroutine has ended; err says why
	err     error
}

// NewAsync returns a Sink that hands events to s. It asks every Namer for the sender of an answer right when that comes. The
// caller closes it.
func NewAsync(s probe.Sink, ask ...Namer) *Async {
	a := &Async{sink: s, ask: ask, queue: make(chan probe.Event, queued),
		closing: make(chan struct{}), ended: make(chan struct{})}
	go a.run()
	return a
}

// Emit takes an event and what it points to, from one goroutine. Once s returned an error, which drops the rest, it returns
// that error.
func (a *Async) Emit(e probe.Event) error {
	a.askFor(e)
	return a.put(owned(e))
}

// Inject takes an event that is not of the run, such as a signal's Interim, from any goroutine. It is dropped where there is no
// output any more.
func (a *Async) Inject(e probe.Event) { _ = a.put(owned(e)) }

// Close waits until everything emitted so far is written and returns the first error. Nothing may be emitted after it.
func (a *Async) Close() error {
	select {
	case <-a.closing:
	default:
		close(a.closing)
	}
	<-a.ended
	return a.err
}

func (a *Async) put(e probe.Event) error {
	select {
	case <-a.ended: // also where there is room
		return a.why()
	default:
	}
	select {
	case a.queue <- e:
		return nil
	case <-a.ended:
		return a.why()
	}
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
		case e := <-a.queue:
			a.err = a.sink.Emit(e)
		case <-a.closing:
			if len(a.queue) == 0 {
				return
			}
			a.err = a.sink.Emit(<-a.queue)
		}
	}
}

func (a *Async) askFor(e probe.Event) {
	switch e := e.(type) {
	case probe.Probed:
		ask(&e.Outcome, a.ask...)
	case probe.For:
		a.askFor(e.Event)
	}
}

// owned is e with memory of its own, where e's is valid during Emit alone.
func owned(e probe.Event) probe.Event {
	switch e := e.(type) {
	case probe.Sent:
		e.Packet = slices.Clone(e.Packet)
		return e
	case probe.Probed:
		e.Outcome = ownedOutcome(e.Outcome)
		return e
	case probe.Advised:
		e.Outcome = ownedOutcome(e.Outcome)
		return e
	case probe.Hop:
		e.Outcomes = slices.Clone(e.Outcomes)
		for i, o := range e.Outcomes {
			e.Outcomes[i] = ownedOutcome(o)
		}
		return e
	case probe.For:
		e.Event = owned(e.Event)
		return e
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
