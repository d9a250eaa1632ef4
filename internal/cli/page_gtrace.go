package cli

func (t *traceTool) page() *page { return &tracePage }

var tracePage = page{
	name:     "gtrace",
	short:    "print the path to hosts, hop by hop",
	synopsis: []string{"[OPTION]... HOST... [LENGTH]", "`doctor` [`--json`] [`-4`|`-6`]"},
	names:    []string{"traceroute", "traceroute6", "tracepath"},
	sections: []manSection{
		{"DESCRIPTION", `
` + "`gtrace`" + ` sends probes to each HOST with a hop limit that grows from one, so that each router on the way has to say that one expired there,
and prints who said so and how long that took. By default the probes are UDP datagrams of one constant flow: a router that balances load by flow
sends them all the same way, and the path printed is one that exists.

An answer belongs to a probe only if what came back in it says so: addresses, ports, protocol, number and a random token of this run.
Round-trip times are between two time stamps of the kernel, wherever it gives them.

A number behind the hosts is the LENGTH of the whole packets in bytes, as traceroute has it: it is raised to what a probe needs, and does not count for TCP, but with ` + "`--mtu`" + `.

A HOST is a name or an address. Names are looked up before anything is sent, those of a list of more than 256 hosts before
anything is sent to them; one without an address is reported by itself and does not stop the others.
`},
		{optionsTitle, `
Options may stand before, between or after the hosts; letters may be joined, as in ` + "`-nq1`" + `; ` + "`--`" + ` ends the options, and all after it are hosts.
`},
		{"OUTPUT", `
Each line is one distance: its number, then for each probe the address that answered, where that changes, and the round-trip time. An asterisk is a probe without an answer.
After the time may stand what the answer was, where it was another than expected:

= ` + "`!H`, `!N`, `!P`" + `
host, network or protocol unreachable

= ` + "`!S`" + `
source route failed

= ` + "`!F-N`, `!F`" + `
fragmentation needed, to N bytes, or to a size that the answer does not tell

= ` + "`!X`, `!V`, `!C`" + `
prohibited by an administrator; host precedence violation; precedence cutoff

= ` + "`!<CODE>`, `!<TYPE-CODE>`" + `
another code of unreachable; another ICMP message
`},
		{"LOSS", `
A probe without an answer is not always lost: routers and hosts limit how many errors they send, Linux to six at once and then one a second. So each hop is asked five times at once
and then once a second, and one that leaves out what later hops answer is asked again, up to three times at 1.1 s, before it is printed.
Under the names of other tools it is not asked again.

Behind the hops may stand what follows from the answers about loss and delay, a line each that begins with #:

= ` + "`icmp-rate-limited`" + `
the hop answers only so often: what is missing is no loss

= ` + "`reply-loss`" + `
its answers are missing, but later hops' are not: the path loses nothing up to there

= ` + "`path-loss`" + `
packets are lost, and between which hops, as far as that shows

= ` + "`shared-hops-doubtful`" + `
the near hops that were not asked (Shared hops, below) may be others for this host

= ` + "`slow-answers`" + `
its answers take longer than a later hop's: the path is not slow there

Shares come with the interval that they say something about, with 95 % confidence: none lost of three says no more than that the loss is below 56 %.
In JSON each hop has a summary: its loss, of that the path's and its own answers', and its times.
`},
		{"FINDINGS", `
What else may be concluded of a path, in lines of the same kind and in JSON, there with the answers it rests on (` + "`evidence`" + `) and how sure it is:

= ` + "`administratively-prohibited`" + `
a filter or the destination refuses the probes

= ` + "`forwarding-loop`" + `
routers pass packets round and never to the destination; the trace ends there

= ` + "`dnat-or-nat64-in-front`" + `
a translator stands before the destination, and what is behind it answers under its address

= ` + "`target-sends-time-exceeded`" + `
the destination answers time exceeded whatever the TTL

= ` + "`reply-from-unexpected-source`" + `
another address says that the destination was reached

= ` + "`address-rewritten`" + `
several nodes behind each other answer under one address

= ` + "`zero-ttl-forwarding`" + `
a router passes on what it should have answered, so that the next one stands there twice

= ` + "`ttl-reset`" + `
a box on the way sets the TTL anew

= ` + "`ttl-not-decremented`" + `
the TTL is not counted down on a stretch, as in some tunnels

= ` + "`hidden-hops`" + `
an MPLS tunnel of which one router alone answers: so many others are hidden before it

= ` + "`return-path-longer`" + `
in text and graphs with ` + "`--back`" + `: from some hop on answers come several routers further than the probes went: another way back, or hidden routers. A hint, as both are common

= ` + "`dscp-changed`, `ecn-bleached`, `ecn-marked`, `ecn-changed`" + `
the DSCP is changed between two hops; the ECN bits are cleared, marked as having met congestion, or changed

= ` + "`mss-clamped`" + `
with ` + "`" + `--tcp` + "`" + `: the maximum segment size is lowered between two hops

= ` + "`tcp-option-removed`, `tcp-option-changed`" + `
the same: an option is taken out, or changed

= ` + "`tcp-window-changed`, `tcp-flags-changed`" + `
the same: the window, the flags

= ` + "`tcp-sequence-changed`" + `
the sequence number of ` + "`--tcp`" + ` is replaced between two hops

= ` + "`ip-id-changed`, `flow-label-changed`" + `
the IPv4 identification is, or the IPv6 flow label

= ` + "`payload-changed`, `field-changed`" + `
the payload is changed, or another field

= ` + "`nat-rewritten`" + `
a translator rewrites the source or the destination; one that restores what is quoted is not seen

= ` + "`nat-implied`" + `
this host has a private address, and one that is not answers it: somebody translates in between, or public addresses are used inside

= ` + "`path-length-unknown`" + `
the destination answered, but not to say which probe

= ` + "`mtu-black-hole`" + `
with ` + "`" + `--mtu` + "`" + `: larger packets vanish without a word between two hops

= ` + "`path-mtu-uncertain`" + `
with ` + "`" + `--mtu` + "`" + `: the size could not be proven

= ` + "`own-receive-drops`" + `
this host lost answers that had arrived: silence may be its own

= ` + "`clock-step`" + `
this host's clock was set while the run went on
`},
		{"PATH MTU", `
` + "`--mtu`" + ` finds the largest packet that the path carries whole, and where it narrows. Probes go one at a time, as large as the path is known to carry, and forbid to fragment them.
Where this host or a router says that one is too big, the same distance is asked again with what is said to fit; where it says no size, or one that cannot be (not less than was sent,
below 68 bytes in IPv4 or 1280 in IPv6), the size is searched for, and never below those. A message that does not quote a probe of this run is not believed, whatever it says.

Behind the time stands F=N at the first hop that larger packets than N bytes do not get to: F=1500 at the first is this host's own device. In JSON ` + "`summary.path_mtu_bytes`" + ` is what the whole path
carries, and ` + "`narrowings`" + ` has each place where it came to less, with the ` + "`ttl`" + ` and, in ` + "`from`" + `, the router that said so.

Routers may swallow large packets without a word. Where large probes are not answered and small ones are, in turns, the size in between is searched for, and what seems to vanish is sent to
hops further on as well. If nobody there answers either, ` + "`mtu-black-hole`" + ` says between which hops it vanishes, and the trace goes on with what gets through. That takes some 30 probes, and a few seconds.
A hop that answers nothing takes some four seconds, and ` + "`--gap-limit`" + ` of them in a row end the trace.

By default, with ` + "`--udplite`" + ` and with ` + "`--tcp`" + ` the way there alone is measured: answers are small. An echo reply (` + "`--icmp`" + `) is as large as its request, so what the destination does not answer then may
have been lost on the way back; another kind tells. ` + "`--tcp`" + ` sends segments with ACK and without SYN, with a payload. A host that has no such connection, which none has, answers by a reset. Firewalls
that keep track of connections drop them, as they may drop the others. It needs raw sockets.
`},
		{"MULTIPATH", `
Where routers balance load, a path has branches. ` + "`--multipath`" + ` looks for all of them: at each distance it asks with as many flows as it takes to have missed no node but by chance, and follows each flow from one
distance to the next. It is MDA-Lite, and the full multipath detection algorithm where branches mesh or are not evenly spread.

Nothing is printed but the first line until the search is done. Then each node has a line: its address, the mean of its times, with the least and the largest in brackets where they differ, how many of the flows asked there it answered, how many
probes were not answered, and behind > the nodes that flows through it came to next.

= ` + "`--confidence`" + `
95 is the probability, in percent, that no branch of a path with up to 16 branching routers is missed, where they spread flows evenly and answer. 95/node is that of each router.

= ` + "`--flows`" + `
N flows are traced side by side, each at every distance, and no branches beyond those that they show are looked for.

= ` + "`--flow-field`" + `
Flows differ in the destination port of UDP, the source port of TCP and -U, of which there are no more than 48, or the checksum of ICMP; over IPv6 in the flow label too. What a router does not hash shows none of its branches.

With ` + "`destination`" + ` they differ in the destination address, and in nothing else, so that routers that balance by that alone show their branches. The first goes to the host and is followed to its end before; the others go to up to 253 addresses next to its own, which differ from it in the last 8 bits,
and are asked at the distances where the host's own way was seen to go on, none further, so that nothing arrives there, as far as can be known. It is not for hosts that no router is before. An ordinary user may have it too.

= ` + "`--queries`" + `
is how often a flow is asked at one distance before it counts as unanswered.

Findings tell of each router with several next hops whether it balances flow by flow (` + "`balancer-per-flow`" + `), by destination address (` + "`balancer-per-destination`" + `) or packet by packet (` + "`balancer-per-packet`" + `); behind the latter nobody can say which nodes follow which,
until all ways meet. ` + "`balancer`" + ` is one of which that could not be found out, ` + "`multipath-incomplete`" + ` a search that ended at ` + "`--max-probes`" + ` or for want of flows, and ` + "`branch-ends`" + ` a node of which no flow is answered any further, while others reach the destination.
In JSON ` + "`links`" + ` has which nodes follow which, and by which flows; each probe has its ` + "`flow`" + `, and where that goes to another address than the host's ` + "`to`" + `. ` + "`hops[].nodes`" + ` has what the probes of a node's flows say together: how many were sent and answered, their times, and their loss, where
neither a limit to answers explains that nor probes of one flow may go different ways.

Beside these, a multipath trace has only those findings that tell what happens to packets on the way (` + "`dscp-changed`" + ` and those behind it), who refuses them (` + "`administratively-prohibited`" + `) and who answers in the destination's place (` + "`reply-from-unexpected-source`" + `): the others go by hops of which all answers are alike. A finding's numbers of flows are of those that were asked at both
distances; a line's are of all that were asked there. A probe that was not answered is not a lost one: routers limit their answers, and are then asked more slowly.

A router that balances by destination address alone shows one of its ways, unless flows differ in that. Without privilege, flow labels are the kernel's own, and a router that quotes 8 bytes of a UDP probe may stand as unanswered.
`},
		{"MATRIX", `
Filters treat packets by protocol and port. ` + "`--matrix`" + ` traces by several methods side by side, and says how far each gets: ` + "`icmp`" + `, ` + "`udp/PORT`" + ` and ` + "`tcp/PORT`" + `, 2 to 16 of them, separated by commas; a PORT is a number or the name of a service. What goes to udp/53 is a DNS query for
the root's name servers, what goes to udp/443 a client's first QUIC packet of a version that has servers tell which they have; to other ports of UDP go bytes that mean nothing, and to those of TCP an ordinary client's SYN.

When all methods of a host are done, a table, up to the last distance at which any was answered, has a line a node and a column a method, with the mean of its times in milliseconds and what it said (OUTPUT). An asterisk is a distance at which a method was asked and not answered,
a hyphen one that it was not asked at. Behind it stands where each method ends, and all of it in a sentence:

	# matrix: icmp, udp/53, udp/443 and tcp/80 end after hop 2, tcp/443 passes

A method passes where the destination itself answers, be it that a port is closed; where a router before it answers in its place, it ends there; and where another address does, it may pass. Where it ends in silence nobody can say whether the packets are lost behind that hop, or the answers to them.

A distance is asked once by each method, unless ` + "`--queries`" + ` says else, and no more than five times at once and then once a second by all: routers answer one prober no more. Where one method is answered and another is not, that is asked about
again, one at a time, so that each method that ends in silence takes about a second.

In JSON each method has a document as always, with its name in ` + "`method.matrix`" + `, and behind those of a host one, ` + "`gtrace/matrix/v1`" + `, has where each ends. The exit status goes by the ` + "`outcome`" + ` of all traces: 0 where each says that the host was reached, 1 where one does not. An answer in the host's place counts for that as in any trace, and is a finding (` + "`reply-from-unexpected-source`" + `).
` + "`--size`" + ` is of those packets that have no size of their own.
`},
		{formatsSection.title, formatsSection.text + graphFormats},
		statusSection("Every host was reached.", "It was measured, and a host was not reached."),
		signalsSection("Ends the program at once, without results; what it then writes to standard error is for whoever looks for a fault."),
		sourceSection,
		privilegeSection,
		ordinarySection,
		packetSection,
		{manySection.title, manySection.text + sharedHops},
		limitsSection,
		doctorSection,
		environmentSection,
		filesSection,
		{"EXAMPLES", `
The path, three probes at each distance:

	gtrace example.org

One probe a hop, no names, no further than five hops:

	gtrace -nq1 example.org -m 5

How large packets may be, by segments to the port of a web server:

	gtrace --mtu -T -p 443 example.org

To a TCP port, as a client's first packet would go:

	gtrace -T -p 443 example.org

All branches of the path:

	gtrace --multipath example.org

Which kinds of packets a firewall lets through, and where the others end:

	gtrace --matrix icmp,udp/53,udp/443,tcp/80,tcp/443 example.org

Where packets are lost, by two hundred probes to each hop, which takes 20 seconds:

	gtrace --table -q 200 --interval 0.1 example.org

For a program:

	gtrace --json example.org | jq -r '.hops[] | [.ttl, .probes[0].from] | @tsv'
`},
		namesSection("`traceroute`, `traceroute6` or `tracepath`"),
		seeAlsoSection("gping(1), traceroute(8), tracepath(8), capabilities(7), ip(7), icmp(7)"),
	},
}

// graphFormats are those that traces alone have.
const graphFormats = `
` + "`dot` and `mermaid`" + ` are graphs of the path, for Graphviz and Mermaid (` + "`--format`" + `): each node with the mean of its times and, of many flows, what it did not answer; each edge with the flows or probes that went there; and findings about a hop, or the stretch between two, as notes.
`

// sharedHops is what gtrace has to say about many hosts beside the rest.
const sharedHops = `
= Shared hops
From 256 hosts on, near hops that all paths have in common are not asked for every host: routers answer one prober only so often, Linux six times and then once a second, and would be
silent for nearly all. Once 16 hosts in a row had the same router at a distance (8, where it leaves hosts unanswered), and at all distances before it, the next ones are
asked from there on. The same router must answer; where another does, or none, and where what is heard does not go with the rest, as with a near host, a filter, a translator or a loop,
all is asked after all. One host of 64 is asked for all in any case. Each time a router is found to be another, it takes four times as many hosts.

What was not asked is not shown as measured: a line ` + "`# shared-hops`" + ` behind the hops says which these are and what the hosts before had there, and so does ` + "`shared_hops`" + ` in JSON, with how many they were and when the last
was answered. Where the router that tells is silent for a host, as for many before it, what is heard behind it counts instead, and where the trace is cut short nothing does; both are said (` + "`shared_hops_confirmed`" + `). A way that changes between two
routers that stay is noticed with the next host of 64.

` + "`--full`" + ` asks everything. So is everything asked with ` + "`--matrix`, `--first`, `--interval`, `--mtu`, `--gateway` and `--flow classic`" + `, without privilege, and under the names of other tools.
`
