package report

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gtrace/probe"
)

// A slowSink takes some time over each event, and refuses the refuse-th.
type slowSink struct {
	takes  time.Duration
	refuse int
	got    []probe.Event
}

func (s *slowSink) Emit(e probe.Event) error {
	time.Sleep(s.takes)
	s.got = append(s.got, e)
	if len(s.got) == s.refuse {
		return syscall.ENOSPC
	}
	return nil
}

func nthEvent(n int) probe.Event { return probe.PathMTU{Bytes: n} }

// TestAsyncIsInNobodysWay: as long as there is room events are taken at once; all of them come out, in order, at the sink's own
// pace.
func TestAsyncIsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowSink{takes: time.Second}
		a := NewAsync()
		start := time.Now()
		for i := range queued {
			if err := a.Emit(s, nthEvent(i)); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("taking %d events took %v", queued, d)
		}
		for i := range 3 * queued { // no room: at the sink's pace
			if err := a.Emit(s, nthEvent(queued+i)); err != nil {
				t.Fatal(err)
			}
		}
		if d, least := time.Since(start), (3*queued-1)*time.Second; d < least {
			t.Errorf("taking what there is no room for took %v, want %v or more", d, least)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if d, want := time.Since(start), 4*queued*time.Second; d != want {
			t.Errorf("all took %v, want %v", d, want)
		}
		if len(s.got) != 4*queued {
			t.Fatalf("%d events came out, want %d", len(s.got), 4*queued)
		}
		for i, e := range s.got {
			if e != nthEvent(i) {
				t.Fatalf("event %d is %v", i, e)
			}
		}
		if err := a.Emit(s, nthEvent(0)); !errors.Is(err, errEnded) {
			t.Errorf("after the end: error %v, want %v", err, errEnded)
		}
		_ = a.Emit(s, nthEvent(0)) // does not hang
		if err := a.Close(); err != nil || len(s.got) != 4*queued {
			t.Errorf("closed again: error %v, %d events", err, len(s.got))
		}
	})
}

// TestAsyncError: the first error is everybody's, also of who waits for room, and nothing follows it.
func TestAsyncError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowSink{takes: time.Second, refuse: 3}
		a := NewAsync()
		var err error
		n := 0
		for ; err == nil && n < 2*queued; n++ {
			err = a.Emit(s, nthEvent(n))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("waiting for room: error %v, want ENOSPC", err)
		}
		if most := queued + 3 + 1; n > most {
			t.Errorf("%d events were taken, want %d at most", n, most)
		}
		for range 10 {
			if err := a.Emit(s, nthEvent(0)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("afterwards: error %v, want ENOSPC", err)
			}
		}
		_ = a.Emit(s, nthEvent(0))
		if err := a.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("closed: error %v, want ENOSPC", err)
		}
		if len(s.got) != 3 {
			t.Errorf("%d events came to the sink, want the 3 up to its error", len(s.got))
		}
	})
}

// TestAsyncCloseTellsTheError: an error at the very end is not lost.
func TestAsyncCloseTellsTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := NewAsync(), &slowSink{takes: time.Second, refuse: 2}
		for i := range 5 {
			if err := a.Emit(s, nthEvent(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("error %v, want ENOSPC", err)
		}
	})
}

// TestAsyncFromAnywhere: events may come from any goroutine while the run goes on, also when there is no room.
func TestAsyncFromAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowSink{takes: time.Millisecond}
		a := NewAsync()
		const each, routines = queued, 4
		done := make(chan bool)
		for range routines {
			go func() {
				for range each {
					_ = a.Emit(s, probe.Interim{})
				}
				done <- true
			}()
		}
		for i := range each {
			if err := a.Emit(s, nthEvent(i)); err != nil {
				t.Error(err)
			}
		}
		for range routines {
			<-done
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		interims, next := 0, 0
		for _, e := range s.got {
			if _, ok := e.(probe.Interim); ok {
				interims++
			} else if e != nthEvent(next) {
				t.Fatalf("%v, want %v", e, nthEvent(next))
			} else {
				next++
			}
		}
		if interims != each*routines || next != each {
			t.Errorf("%d injected and %d emitted came out, want %d and %d", interims, next, each*routines, each)
		}
	})
}

// An orderNamer writes down who was asked for.
type orderNamer struct{ asked []netip.Addr }

func (n *orderNamer) Ask(a netip.Addr)       { n.asked = append(n.asked, a) }
func (n *orderNamer) Name(netip.Addr) string { return "" }

// TestAsyncAsksAtOnce: names are asked for when the answer comes, not when its turn to be printed does.
func TestAsyncAsksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, s := &orderNamer{}, &orderNamer{}, &slowSink{takes: time.Hour}
		a := NewAsync(first, nil, second)
		for _, e := range []probe.Event{
			started(udpMethod), sent(hopAnswer()),
			&probe.Probed{Outcome: hopAnswer(from("10.0.0.1"))}, &probe.Probed{Outcome: hopAnswer(lost)},
			&probe.For{Target: 3, Event: &probe.Probed{Outcome: hopAnswer(from("10.0.0.2"))}}, hopOf(1),
		} {
			if err := a.Emit(s, e); err != nil {
				t.Fatal(err)
			}
		}
		want := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
		for _, n := range []*orderNamer{first, second} {
			if !reflect.DeepEqual(n.asked, want) {
				t.Errorf("asked for %v, want %v", n.asked, want)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestAsyncOwnsWhatItKeeps overwrites everything an event points to right after Emit, as the engine does.
func TestAsyncOwnsWhatItKeeps(t *testing.T) {
	full := func(n byte) probe.Outcome {
		return hopAnswer(func(o *probe.Outcome) {
			o.Payload, o.Options = []byte{n}, []byte{n}
			o.Labels = []probe.Label{{Value: uint32(n)}}
			o.Objects = []probe.Object{{Class: n, Data: []byte{n}}}
		})
	}
	event := func(n byte) []probe.Event {
		return []probe.Event{
			&probe.Sent{Packet: []byte{n}},
			&probe.Probed{Outcome: full(n)},
			probe.Advised{Outcome: full(n)},
			probe.Hop{Outcomes: []probe.Outcome{full(n), full(n)}},
			&probe.For{Event: &probe.Sent{Packet: []byte{n}}},
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &slowSink{takes: time.Second}
		a := NewAsync()
		es := event(1)
		for _, e := range es {
			if err := a.Emit(s, e); err != nil {
				t.Fatal(err)
			}
			spoil(reflect.ValueOf(e))
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		for i, want := range event(1) {
			if !reflect.DeepEqual(s.got[i], want) {
				t.Errorf("%s came out as\n%+v\nwant\n%+v", want.Kind(), s.got[i], want)
			}
			if reflect.DeepEqual(es[i], want) {
				t.Errorf("%s was not overwritten: this test shows nothing", want.Kind())
			}
		}
	})
}

// spoil clears every slice that v holds.
func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() && !strings.HasPrefix(v.Type().String(), "*time") {
			spoil(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				spoil(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i))
			v.Index(i).SetZero()
		}
	}
}

// TestAsyncText: through it text is what it is without it.
func TestAsyncText(t *testing.T) {
	want := run(t, NewTrace, "text", Options{}, traceRun...)
	var w lineWriter
	s, err := NewTrace(&w, "text", Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAsync()
	for _, e := range traceRun {
		if err := a.Emit(s, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got := w.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
