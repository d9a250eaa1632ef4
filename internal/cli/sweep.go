package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gtrace/probe"
	"gtrace/probe/ping"
)

const (
	// sweepInterval is the interval of a sweep by echo requests where the user does not say. Hosts that have no service at a UDP port
	// say so once a second.
	sweepInterval = 100 * time.Millisecond

	// sweepSteps is how many steps a range has where the user does not say.
	sweepSteps = 32

	// halvings are no fewer than it takes to halve the longest step, with an MTU tried before, and once more from where the first
	// time something else was taken for the limit.
	halvings = 2 * 18

	maxPayload = 65507
	leastUDP   = 2 // bytes of a payload, which requests are told apart by
)

// A sweep is the sizes that --sweep has asked, in bytes of the payload. The zero value is none.
type sweep struct{ from, to, step int }

func (w *sweep) on() bool { return w.step > 0 }

func (w sweep) String() string { return fmt.Sprintf("%d-%d/%d", w.from, w.to, w.step) }

func (w *sweep) set(s string) error {
	sizes, step, stepped := strings.Cut(s, "/")
	first, last, ranged := strings.Cut(sizes, "-")
	var n sweep
	err := errors.Join(count(&n.from, 0, maxPayload)(first), count(&n.to, 0, maxPayload)(last))
	if n.step = (n.to - n.from + sweepSteps - 1) / sweepSteps; stepped {
		err = errors.Join(err, count(&n.step, 1, maxPayload)(step))
	}
	if err != nil || !ranged || n.from >= n.to {
		return fmt.Errorf("want FROM-TO or FROM-TO/STEP, payloads up to %d bytes, such as 56-1472", maxPayload)
	}
	*w = n
	return nil
}

// sizes is how many there are.
func (w *sweep) sizes() int { return (w.to-w.from+w.step-1)/w.step + 1 }

// most is how many requests a host may get, where each size is asked so many times at first. After that every size may be, and those that
// halve a step.
func (w *sweep) most(rounds int) int {
	return rounds*w.sizes() + (ping.MostTurns+1)*(w.sizes()+halvings)
}

// checkSweep looks at what goes with --sweep, and settles what follows from it.
func (t *pingTool) checkSweep(s *session) error {
	w := &t.sweep
	if !w.on() {
		return nil
	}
	lists := t.fleet.alive || t.fleet.silent
	switch p := t.proto(); {
	case t.node.asked:
		return errors.New("--sweep: a query of --node-info has one size")
	case p != probe.ICMP && p != probe.UDP:
		return fmt.Errorf("--sweep: a request of --kind=%s has one size: echo and udp have any", t.kind)
	case p == probe.UDP && w.from < leastUDP:
		return fmt.Errorf("--sweep %v: a UDP request needs %d bytes to be told apart by", w, leastUDP)
	case t.payloadGiven:
		return errors.New("--sweep and --payload exclude each other")
	case t.flood, t.adaptive, t.preload > 1:
		return errors.New("--sweep: each size is asked by itself: neither --flood, --adaptive nor --preload; --interval says how fast")
	case t.fleet.retrying, lists:
		return errors.New("--sweep: goes on when a host has answered: neither --retry, --alive nor --unreachable")
	case t.broadcast:
		return errors.New("--sweep and --broadcast exclude each other: sizes are of the way to one host")
	case s.format == formatFping:
		return errors.New("--sweep: fping's lines have no place for what it finds")
	case s.given["pmtudisc"] && t.fragment == "want":
		return errors.New("--sweep: with --pmtudisc=want it depends on earlier sizes whether one leaves in fragments: want do, probe or dont")
	}
	if !s.given["pmtudisc"] {
		t.fragment = "probe"
	}
	if !t.intervalGiven && t.proto() == probe.ICMP {
		t.interval = sweepInterval
	}
	t.payload = w.from // the smallest says whether requests can be told apart
	t.count = max(1, t.count)
	return nil
}
