package main

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What programs say of round-trip times is held against the wire here: the kernel's stamps as packets leave by and come in at an
// interface. clockTools run in a network of kernel routers, towards its target.
var clockTools = []clockTool{
	{call("gtrace -n TARGET"), traceTimes},
	{call("traceroute -n TARGET"), traceTimes},
	{call("traceroute -n -N64 TARGET"), traceTimes},
	{call("scamper -c % -i TARGET", "trace -q 1"), traceTimes},
	{call("gping -n -c50 -i.002 TARGET"), pingTimes},
	{call("ping -n -c50 -i.002 TARGET"), pingTimes},
	{call("fping -c50 -p2 TARGET"), fpingTimes},
}

type clockTool struct {
	tool
	read func(out string) map[place]time.Duration
}

// A place is a probe's: the number-th, from 0, of those that left with that TTL; of a ping's TTL is 0.
type place struct{ ttl, number int }

// traceTimes reads hops' lines: times stand in the order of the probes.
func traceTimes(out string) map[place]time.Duration {
	told := make(map[place]time.Duration)
	for l := range strings.Lines(out) {
		words := strings.Fields(l)
		if len(words) == 0 {
			continue
		}
		ttl, err := strconv.Atoi(words[0])
		if err != nil {
			continue
		}
		number := 0
		for i, w := range words {
			switch {
			case w == "*":
				number++
			case w == "ms":
				if d, ok := milliseconds(words[i-1]); ok {
					told[place{ttl, number}] = d
				}
				number++
			}
		}
	}
	return told
}

var (
	pingLine  = regexp.MustCompile(`(?m)^\d+ bytes from .* icmp_seq=(\d+) .*time=([0-9.]+) ms`)
	fpingLine = regexp.MustCompile(`(?m)^\S+ +: \[(\d+)\], .*bytes, ([0-9.]+) ms`)
)

func pingTimes(out string) map[place]time.Duration  { return numbered(pingLine, out, 1) }
func fpingTimes(out string) map[place]time.Duration { return numbered(fpingLine, out, 0) }

// numbered reads lines of a number, counted from first, and a time.
func numbered(line *regexp.Regexp, out string, first int) map[place]time.Duration {
	told := make(map[place]time.Duration)
	for _, m := range line.FindAllStringSubmatch(out, -1) {
		n, err := strconv.Atoi(m[1])
		if d, ok := milliseconds(m[2]); ok && err == nil {
			told[place{0, n - first}] = d
		}
	}
	return told
}

func milliseconds(s string) (time.Duration, bool) {
	ms, err := strconv.ParseFloat(s, 64)
	return time.Duration(math.Round(ms * 1e6)), err == nil
}

// A clockRow is what a tool's times were wrong by.
type clockRow struct {
	tool   tool
	absent bool
	off    []time.Duration
}

// quantile is the smallest error that q of all are not above.
func (r *clockRow) quantile(q float64) time.Duration {
	slices.Sort(r.off)
	return r.off[max(0, int(math.Ceil(q*float64(len(r.off))))-1)]
}

var clockHeads = []string{"command", "times", "error: median", "99 of 100", ""}

func clockCells(rows []clockRow) (out [][]string) {
	for i := range rows {
		switch r := &rows[i]; {
		case r.absent:
			out = append(out, []string{r.tool.String(), "", "", "", r.tool.program() + " is not installed"})
		case len(r.off) == 0:
			out = append(out, []string{r.tool.String(), "0", "", "", "no time could be compared"})
		default:
			out = append(out, []string{r.tool.String(), strconv.Itoa(len(r.off)),
				short(float64(r.quantile(0.5))), short(float64(r.quantile(0.99))), ""})
		}
	}
	return out
}

const (
	clockName = "clock"
	clockWhat = "round-trip times as told, against the wire: a path of kernel routers"
)
