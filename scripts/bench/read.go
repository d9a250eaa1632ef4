package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// A finding is what a program said of some targets, held against the truth.
type finding struct {
	Right int // hops with their address, or hosts that answer
	Wrong int // hops with one that is not there, and hosts said to answer that do not
	All   int // that there were to find
}

// A reader reads the output of any of a scenario's programs about these targets of w.
type reader func(r io.Reader, w *world, targets []netip.Addr) (finding, error)

// readTraces reads what traceroute, mtr, scamper and gtrace print: a line with the target, but for mtr, and one a hop. A hop
// counts once, however many of its probes were answered.
func readTraces(r io.Reader, w *world, targets []netip.Addr) (finding, error) {
	var f finding
	for _, t := range targets {
		f.All += len(w.ways[t].hops)
	}
	at := targets[0]
	type place struct {
		target netip.Addr
		ttl    int
	}
	told := make(map[place]bool)
	err := lines(r, func(s string) {
		fields := strings.Fields(s)
		if len(fields) < 2 {
			return
		}
		if fields[0] == "traceroute" {
			// "traceroute to NAME (ADDRESS), …" and "traceroute from ADDRESS to ADDRESS"
			for i, word := range fields[:len(fields)-1] {
				if a, err := netip.ParseAddr(fields[i+1]); word == "to" && err == nil {
					at = a
				}
			}
			return
		}
		ttl, err := strconv.Atoi(strings.TrimSuffix(fields[0], ".|--"))
		if err != nil {
			return
		}
		for _, word := range fields[1:] {
			a, err := netip.ParseAddr(word)
			if err != nil {
				continue
			}
			hops := w.ways[at].hops
			switch p := (place{at, ttl}); {
			case ttl > len(hops) || ttl < 1 || hops[ttl-1].addr != a:
				f.Wrong++
			case !told[p]:
				told[p] = true
				f.Right++
			}
		}
	})
	return f, err
}

// readPings reads statistics as ping and scamper print them, and as fping does.
func readPings(r io.Reader, w *world, targets []netip.Addr) (finding, error) {
	var f finding
	for _, t := range targets {
		if w.ways[t].answers {
			f.All++
		}
	}
	told := make(map[netip.Addr]bool)
	say := func(a netip.Addr, received string) {
		n, err := strconv.Atoi(received)
		switch {
		case err != nil || n == 0 || told[a]:
		case !w.ways[a].answers:
			f.Wrong++
		default:
			f.Right++
		}
		told[a] = told[a] || err == nil
	}
	var at netip.Addr
	err := lines(r, func(s string) {
		fields := strings.Fields(s)
		switch {
		case len(fields) > 3 && fields[0] == "---": // "--- ADDRESS ping statistics ---"
			at, _ = netip.ParseAddr(fields[1])
		case len(fields) > 4 && fields[1] == "packets" && fields[2] == "transmitted,": // "3 packets transmitted, 3 received, …"
			say(at, fields[3])
		case len(fields) > 4 && fields[1] == ":" && fields[2] == "xmt/rcv/%loss": // "ADDRESS : xmt/rcv/%loss = 3/3/0%, …"
			if a, err := netip.ParseAddr(fields[0]); err == nil {
				say(a, strings.Split(fields[4]+"/", "/")[1])
			}
		}
	})
	return f, err
}

func lines(r io.Reader, each func(string)) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		each(s.Text())
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read what it printed: %w", err)
	}
	return nil
}
