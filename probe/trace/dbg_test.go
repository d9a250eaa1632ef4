package trace_test

import (
	"gtrace/probe"
	"gtrace/probe/trace"
	"testing"
)

func TestDbg(t *testing.T) {
	p := newPath(3, 1, false).limit()
	show := func(s *told) {
		for _, x := range s.sent {
			t.Logf("sent %d ttl %d at %v", x.Serial, x.Spec.TTL, x.At.Sub(s.sent[0].At))
		}
		for _, h := range s.hops {
			for _, o := range h.Outcomes {
				t.Logf("ttl %d serial %d status %v rtt %v late %v", h.TTL, o.Serial, o.Status, o.At.Sub(o.Sent), o.Late)
			}
		}
		t.Log(s.findings, s.losses)
	}
	s := p.trace(t, func(c *trace.Config) {})
	show(s)
	t.Log("-----")
	p = newPath(0, 3, true).limit()
	s = p.trace(t, nil)
	s = p.trace(t, nil)
	show(s)
	t.Log("-----")
	p = newPath(0, 12, true).limit()
	s = p.trace(t, monitor(40))
	for _, h := range s.hops {
		if h.TTL == 12 {
			for _, o := range h.Outcomes {
				t.Logf("ttl %d serial %d status %v sent %v rtt %v late %v", h.TTL, o.Serial, o.Status, o.Sent.Sub(s.sent[0].At), o.At.Sub(o.Sent), o.Late)
			}
		}
	}
	for _, x := range s.sent {
		if x.Spec.TTL > 11 {
			t.Logf("sent %d ttl %d at %v", x.Serial, x.Spec.TTL, x.At.Sub(s.sent[0].At))
		}
	}
	_ = probe.Lost
}
