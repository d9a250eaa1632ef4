package main

import (
	"slices"
	"strings"
	"time"
)

// A scenario is one thing that several programs can do.
type scenario struct {
	name, what string
	world      func(scale int) *world // at 1 as large as it is measured, else a part of that; nil: this host alone
	read       reader                 // what the programs print; nil where that is not looked at
	user       bool                   // an ordinary user runs them; ours have the file capability then
	tools      []tool                 // ours is the first
}

// A tool is a program and how it is called: TARGET stands for the first target, FILE for a list of them.
type tool struct {
	args   []string
	sample int // of the targets, where all would take too long or are too many
}

// program is what must be installed.
func (t tool) program() string {
	if t.perHost() {
		return t.args[slices.Index(t.args, "FILE")+1]
	}
	return t.args[0]
}

// perHost says that there is a process for each host, many side by side: what they print is in no order.
func (t tool) perHost() bool { return t.args[0] == "xargs" }

func (t tool) String() string {
	var out []string
	for _, a := range t.args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// call is a tool by its command line; what stands in more comes as it is, spaces and all.
func call(line string, more ...string) tool {
	args := strings.Fields(line)
	for i, a := range args {
		if a == "%" {
			args[i], more = more[0], more[1:]
		}
	}
	return tool{args: args}
}

func (t tool) of(sample int) tool {
	t.sample = sample
	return t
}

const far = 80 * time.Millisecond // there and back, on the single paths

var scenarios = []scenario{
	{
		name: "path", what: "one path of 20 hops, 80 ms there and back, three probes a hop",
		world: func(int) *world { return line(20, 0, far) }, read: readTraces,
		tools: []tool{
			call("gtrace -n TARGET"),
			call("traceroute -n TARGET"),
			call("mtr -n -r -c 3 TARGET"),
			call("scamper -c % -i TARGET", "trace -q 3 -Q"),
		},
	},
	{
		name: "path-once", what: "the same path, one probe a hop",
		world: func(int) *world { return line(20, 0, far) }, read: readTraces,
		tools: []tool{
			call("gtrace -n -q1 TARGET"),
			call("traceroute -n -q1 -N64 TARGET"),
			call("mtr -n -r -c 1 TARGET"),
			call("scamper -c % -i TARGET", "trace -q 1"),
		},
	},
	{
		name: "silent", what: "a path of which ten hops answer, and ten more and the target do not; 80 ms were it whole",
		world: func(int) *world { return line(10, 11, far) }, read: readTraces,
		tools: []tool{
			call("gtrace -n TARGET"),
			call("traceroute -n TARGET"),
			call("mtr -n -r -c 3 TARGET"),
			call("scamper -c trace -i TARGET"),
		},
	},
	{
		name: "start", what: "start to end of a trace of this host",
		tools: []tool{
			call("gtrace -n -q1 127.0.0.1"),
			call("traceroute -n -q1 127.0.0.1"),
		},
	},
	{
		name: "start-user", what: "the same by an ordinary user, of the installed program: with cap_net_raw+p", user: true,
		tools: []tool{
			call("gtrace -n -q1 127.0.0.1"),
			call("traceroute -n -q1 127.0.0.1"),
		},
	},
	{
		name: "start-ping", what: "start to end of one ping of this host",
		tools: []tool{
			call("gping -n -c1 127.0.0.1"),
			call("ping -n -c1 127.0.0.1"),
			call("fping -c1 127.0.0.1"),
		},
	},
	{
		name: "pings", what: "100 pings of this host, 2 ms apart",
		tools: []tool{
			call("gping -n -q -c100 -i.002 127.0.0.1"),
			call("ping -n -q -c100 -i.002 127.0.0.1"),
			call("fping -q -c100 -p2 127.0.0.1"),
		},
	},
	{
		name: "traces", what: "10 000 targets at 8 to 25 hops, no delay, one probe a hop",
		world: func(scale int) *world { return tree(10_000/scale, false) }, read: readTraces,
		tools: []tool{
			call("gtrace -n -q1 --full --parallel=300 --targets=FILE"),
			call("scamper -p 10000 -c trace -f FILE"),
			call("xargs -P 16 -n 1 -a FILE traceroute -n -q1 -N64").of(200),
		},
	},
	{
		name: "traces-few", what: "1000 such targets: what one costs is to be the same however many there are",
		world: func(scale int) *world { return tree(1000/scale, false) }, read: readTraces,
		tools: []tool{
			call("gtrace -n -q1 --full --parallel=300 --targets=FILE"),
			call("scamper -p 10000 -c trace -f FILE"),
		},
	},
	{
		name: "traces-many", what: "100 000 such targets",
		world: func(scale int) *world { return tree(100_000/scale, false) }, read: readTraces,
		tools: []tool{
			call("gtrace -n -q1 --full --parallel=300 --targets=FILE"),
			call("scamper -p 10000 -c trace -f FILE").of(10_000),
		},
	},
	{
		name: "traces-far", what: "the same, with round-trip times of 10 to 150 ms",
		world: func(scale int) *world { return tree(10_000/scale, true) }, read: readTraces,
		tools: []tool{
			call("gtrace -n -q1 --full --parallel=1000 --targets=FILE"),
			call("scamper -p 10000 -c trace -f FILE"),
			call("xargs -P 16 -n 1 -a FILE traceroute -n -q1 -N64").of(200),
		},
	},
	{
		name: "rate", what: "20 000 hosts pinged once, 5000 a second",
		world: func(scale int) *world { return hosts(20_000 / scale) }, read: readPings,
		tools: []tool{
			call("gping -n -q -c1 -W.5 --rate=5000 --targets=FILE"),
			call("fping -q -c1 -i.2 -t500 -f FILE"),
			call("scamper -p 5000 -c % -f FILE", "ping -c 1"),
		},
	},
	{
		name: "hosts", what: "60 000 hosts, one in ten dead, pinged three times each",
		world: func(scale int) *world { return hosts(60_000 / scale) }, read: readPings,
		tools: []tool{
			call("gping -n -q -c3 -i.5 -W.5 --targets=FILE"),
			call("fping -q -c3 -i0 -p500 -t500 -f FILE"),
			call("fping -q -c3 -i0 -p500 -t500 -f FILE").of(20_000),
			call("scamper -p 10000 -c % -f FILE", "ping -c 3"),
			call("xargs -P 64 -n 1 -a FILE ping -n -q -c3 -i.2 -W1").of(500),
		},
	},
}
