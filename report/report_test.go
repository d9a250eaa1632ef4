package report

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"gtrace/probe"
)

var (
	epoch         = time.Date(2026, 3, 1, 13, 0, 0, 500, time.FixedZone("somewhere", 3600))
	local         = netip.MustParseAddr("198.51.100.2")
	dest          = netip.MustParseAddr("192.0.2.9")
	local6, dest6 = netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::9")
)

// after is so many milliseconds after epoch.
func after(ms float64) time.Time { return epoch.Add(time.Duration(ms * 1e6)) }

func started(m probe.Method) probe.Started {
	return probe.Started{At: epoch, Target: "example.org", Dst: dest, Src: local, Method: m}
}

// Every table changes one good example: a hop's answer to a UDP probe, and an
// echo reply.

func hopAnswer(change ...func(*probe.Outcome)) probe.Outcome {
	o := probe.Outcome{
		Serial: 1,
		Spec: probe.Spec{Proto: probe.UDP, Src: netip.AddrPortFrom(local, 40001), Dst: netip.AddrPortFrom(dest, 33434),
			TTL: 1, Attempt: 1},
		Status: probe.Answered, Sent: after(1), At: after(1.412871), Clock: probe.KernelClock,
		From: netip.MustParseAddr("198.51.100.1"), Answer: probe.TimeExceeded, Type: 11, Match: probe.Strict, TTL: 64,
		Quoted: probe.Quoted{Known: true, Src: netip.AddrPortFrom(local, 40001), Dst: netip.AddrPortFrom(dest, 33434), TTL: 1, Bytes: 60},
	}
	for _, f := range change {
		f(&o)
	}
	return o
}

func echoReply(change ...func(*probe.Outcome)) probe.Outcome {
	o := probe.Outcome{
		Serial: 1,
		Spec:   probe.Spec{Proto: probe.ICMP, Src: netip.AddrPortFrom(local, 7), Dst: netip.AddrPortFrom(dest, 0), TTL: 64, Attempt: 1},
		Status: probe.Answered, Sent: after(1), At: after(1.0421), Clock: probe.KernelClock,
		From: dest, Answer: probe.EchoReply, Match: probe.Strict, TTL: 63, Bytes: 64,
	}
	for _, f := range change {
		f(&o)
	}
	return o
}

// lost makes a probe unanswered.
func lost(o *probe.Outcome) {
	*o = probe.Outcome{Serial: o.Serial, Spec: o.Spec, Status: probe.Lost, Sent: o.Sent}
}

// refused makes a probe one that did not leave.
func refused(o *probe.Outcome) {
	*o = probe.Outcome{Serial: o.Serial, Spec: o.Spec, Status: probe.Failed, Errno: "EMSGSIZE", Err: syscall.EMSGSIZE}
}

// unreachable makes an answer an ICMP error from a router.
func unreachable(typ, code uint8) func(*probe.Outcome) {
	return func(o *probe.Outcome) {
		o.Answer, o.Type, o.Code = probe.Unreachable, typ, code
		o.From = netip.MustParseAddr("198.51.100.1")
	}
}

// v6 moves a probe to IPv6.
func v6(o *probe.Outcome) {
	o.Spec.Src = netip.AddrPortFrom(local6, o.Spec.Src.Port())
	o.Spec.Dst = netip.AddrPortFrom(dest6, o.Spec.Dst.Port())
	o.From = netip.MustParseAddr("2001:db8::1")
	o.Quoted.Src, o.Quoted.Dst = o.Spec.Src, o.Spec.Dst
}

// number makes it the attempt-th probe at ttl.
func number(serial uint64, ttl uint8, attempt uint32) func(*probe.Outcome) {
	return func(o *probe.Outcome) { o.Serial, o.Spec.TTL, o.Spec.Attempt = serial, ttl, attempt }
}

// takes sets the round-trip time.
func takes(d time.Duration) func(*probe.Outcome) {
	return func(o *probe.Outcome) { o.At = o.Sent.Add(d) }
}

func late(o *probe.Outcome)      { o.Late = true }
func duplicate(o *probe.Outcome) { o.Duplicate = true }
func corrupted(o *probe.Outcome) { o.Corrupted = true }
func flowOnly(o *probe.Outcome) {
	o.Answer, o.Match, o.From, o.Sent, o.Bytes = probe.Datagram, probe.FlowOnly, dest, time.Time{}, 20
	o.Quoted, o.Type, o.Serial = probe.Quoted{}, 0, 0
}

// sent is the event of o's departure.
func sent(o probe.Outcome) *probe.Sent {
	return &probe.Sent{Serial: o.Serial, Spec: o.Spec, At: after(1), Packet: []byte{0x45, 0, 0xbe}}
}

var udpMethod = probe.Method{Proto: probe.UDP, SrcPort: 40001, DstPort: 33434, Size: 60, Socket: "raw",
	FirstTTL: 1, MaxTTL: 30, Attempts: 3}

var echoMethod = probe.Method{Proto: probe.ICMP, SrcPort: 7, Size: 84, Socket: "raw", Interval: time.Second}

func reached(ttl uint8) probe.Finished {
	return probe.Finished{At: after(83.1), Complete: true, Verdict: probe.Reached, LastTTL: ttl}
}

var answered = probe.Finished{At: after(4003.2), Complete: true, Verdict: probe.AnsweredIt}

type opener func(w io.Writer, format string, o Options) (probe.Sink, error)

// run feeds events to a new sink and returns what it wrote.
func run(t *testing.T, open opener, format string, o Options, events ...probe.Event) string {
	t.Helper()
	var w lineWriter
	s, err := open(&w, format, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := s.Emit(e); err != nil {
			t.Fatalf("%s: %v", e.Kind(), err)
		}
	}
	if w.broken != "" {
		t.Errorf("a Write of %q: want whole lines, one at a time", w.broken)
	}
	return w.String()
}

// A lineWriter notices a Write that is not one line.
type lineWriter struct {
	bytes.Buffer
	broken string
}

func (w *lineWriter) Write(b []byte) (int, error) {
	if bytes.Count(b, []byte("\n")) != 1 || b[len(b)-1] != '\n' {
		w.broken = string(b)
	}
	return w.Buffer.Write(b)
}

// A fullWriter takes n writes, then half of one and an error, as a full disk does.
type fullWriter struct{ n, refused int }

func (w *fullWriter) Write(b []byte) (int, error) {
	if w.n == 0 {
		w.refused++
		return len(b) / 2, syscall.ENOSPC
	}
	w.n--
	return len(b), nil
}

var traceRun = []probe.Event{
	started(udpMethod), sent(hopAnswer()), &probe.Probed{Outcome: hopAnswer()},
	probe.Hop{TTL: 1, Outcomes: []probe.Outcome{hopAnswer()}},
	probe.Finding{Code: "target-sends-time-exceeded", Confidence: "high", Text: "it does"},
	probe.Checked{}, reached(1),
}

var pingRun = []probe.Event{
	started(echoMethod), sent(echoReply()), &probe.Probed{Outcome: echoReply()}, probe.Checked{}, answered,
}

// kinds are the sinks, with a run for each.
var kinds = []struct {
	name    string
	open    opener
	formats []string
	run     []probe.Event
}{
	{"trace", NewTrace, TraceFormats, traceRun}, {"ping", NewPing, Formats, pingRun},
	{"multipath", openMultipath, []string{"text"}, multipathRun},
	{"matrix", openMatrix, Formats, matrixRun},
	{"tracepath", openTracepath, []string{"text"}, traceRun},
}

func TestUnknownFormat(t *testing.T) {
	for _, k := range kinds[:2] {
		_, err := k.open(&bytes.Buffer{}, "yaml", Options{})
		if err == nil {
			t.Fatalf("%s: format yaml was taken", k.name)
		}
		for _, want := range append([]string{"yaml"}, k.formats...) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not name %s", k.name, err, want)
			}
		}
	}
}

// TestNoGraphsOfPings: the formats that only traces have are as unknown to a ping as any other.
func TestNoGraphsOfPings(t *testing.T) {
	for _, format := range TraceFormats[len(Formats):] {
		_, err := NewPing(&bytes.Buffer{}, format, Options{})
		if want := `format "` + format + `" is not known, only text, json, events`; err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// TestWriteError fills the disk at each line in turn: Emit says so, and nothing follows half a
// line.
func TestWriteError(t *testing.T) {
	for _, k := range kinds {
		for _, format := range k.formats {
			lines := strings.Count(run(t, k.open, format, Options{Version: "1"}, k.run...), "\n")
			for n := range lines {
				w := &fullWriter{n: n}
				s, err := k.open(w, format, Options{Version: "1"})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range k.run {
					if err = s.Emit(e); err != nil {
						break
					}
				}
				if !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("%s %s, line %d: error %v, want one that wraps ENOSPC", k.name, format, n+1, err)
				}
				for _, e := range k.run {
					s.Emit(e) // whatever comes now
				}
				if w.refused != 1 {
					t.Errorf("%s %s, line %d: %d writes after the failed one", k.name, format, n+1, w.refused-1)
				}
			}
		}
	}
}

func TestEventsBelongToATarget(t *testing.T) {
	for _, k := range kinds {
		for _, format := range k.formats {
			s, err := k.open(&bytes.Buffer{}, format, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Emit(k.run[1]); !errors.Is(err, errClosed) {
				t.Errorf("%s %s: %s first: error %v, want %v", k.name, format, k.run[1].Kind(), err, errClosed)
			}
			if k.name == "matrix" { // where it is of one that did not begin
			} else if err := s.Emit(k.run[len(k.run)-1]); !errors.Is(err, errClosed) {
				t.Errorf("%s %s: finished first: error %v, want %v", k.name, format, err, errClosed)
			}
			if err := s.Emit(k.run[0]); err != nil {
				t.Error(err)
			}
			if err := s.Emit(k.run[0]); !errors.Is(err, errOpen) {
				t.Errorf("%s %s: started twice: error %v, want %v", k.name, format, err, errOpen)
			}
		}
	}
}

// TestNothingStaysBehind runs two targets through one sink: the second must look as if it were
// alone.
func TestNothingStaysBehind(t *testing.T) {
	for _, k := range kinds {
		for _, format := range k.formats {
			alone := run(t, k.open, format, Options{Version: "1"}, k.run...)
			both := run(t, k.open, format, Options{Version: "1"}, append(append([]probe.Event{}, k.run...), k.run...)...)
			want := alone + alone
			if format == "text" {
				want = alone + "\n" + alone
			}
			if both != want {
				t.Errorf("%s %s, twice:\n%s\nwant\n%s", k.name, format, both, want)
			}
		}
	}
}

// TestTargetIsNoTerminalCommand gives a target that clears the screen, rings, moves the cursor with a
// C1 control, turns the line around and breaks it.
func TestTargetIsNoTerminalCommand(t *testing.T) {
	const bad = "a\x1b[2J\a\u009b1m\u202egro\n 2  10.9.9.9  1.000 ms\u2028\x7f\xff\U000e0001"
	for _, k := range kinds {
		for _, format := range k.formats {
			events := append([]probe.Event{}, k.run...)
			s := started(udpMethod)
			s.Target = bad
			if first, ok := events[0].(*probe.For); ok {
				events[0] = &probe.For{Target: first.Target, Event: s}
			} else {
				events[0] = s
			}
			clean := strings.Count(run(t, k.open, format, Options{Version: "1"}, k.run...), "\n")
			got := run(t, k.open, format, Options{Version: "1"}, events...)
			if n := strings.Count(got, "\n"); n != clean {
				t.Errorf("%s %s: %d lines, want %d:\n%q", k.name, format, n, clean, got)
			}
			for _, r := range strings.ReplaceAll(got, "\n", "") {
				if r < 0x20 || r >= 0x7f && r != '�' {
					t.Errorf("%s %s: %U went out in %q", k.name, format, r, got)
				}
			}
			if format == "text" && k.name != "tracepath" { // which does not print it
				if want := `a\x1b[2J\a\u009b1m\u202egro\n 2  10.9.9.9  1.000 ms\u2028\x7f\xff\U000e0001`; !strings.Contains(got, want) {
					t.Errorf("%s: %q does not contain %q", k.name, got, want)
				}
			}
		}
	}
}
