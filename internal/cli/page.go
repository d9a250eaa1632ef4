package cli

// What the manual pages of both programs say.
var (
	formatsSection = manSection{"FORMATS", `
= ` + "`text`" + `
The classic lines, as they come: what programs that parse the classic tools' output read. The default.

= ` + "`json`" + `
One JSON document for each host, on one line each, when that host is done. ` + "`--json`" + ` is short for it.
The schemas are in ` + "`report/schema`" + ` of the source. Times are milliseconds with nanosecond digits, or RFC 3339 in UTC.
What is not known is absent, never zero.

= ` + "`events`" + `
JSON lines as things happen: the start, each probe sent, answered or given up; then the documents.

Results alone go to standard output. Diagnostics go to standard error, one line each, ` + "`%[1]s: WHAT: WHY`" + `.
Text that came from the network is printed without control characters.
`}

	privilegeSection = manSection{"PRIVILEGE", `
Raw sockets need root or the capability CAP_NET_RAW:

	sudo setcap cap_net_raw+p /usr/local/bin/%[1]s

Better is ` + "`scripts/install-privilege`" + ` of the source, in packages ` + "`/usr/libexec/gtrace/install-privilege`" + `: it gives the same,
and only where nobody but root can change the program.

Use +p, not +ep: with +ep the kernel does not even start the program where the capability cannot be had,
as in many containers; with +p it starts and does without.

The sockets are opened first; then every privilege is given up in every thread, and that is checked, before
the first argument is read. Options that need privilege by themselves are refused unless the real user is root.
What ordinary users may have sent by it is in ORDINARY USERS.

After that the program confines itself, as far as the kernel can: it starts no other program, changes no file and opens
only sockets that a measurement takes; and once the lists of targets have been opened, it opens little but what is in /etc.

Without privilege, datagram sockets and their error queues serve instead, and what cannot be known that way
is left out; ` + "`method.socket`" + ` in the JSON says which it was. Echo requests then need one of
the user's groups in ` + "`net.ipv4.ping_group_range`" + `. ` + "`%[1]s doctor`" + ` tells what can be opened here, why not, and what mends it.
`}

	packetSection = manSection{"PACKET SOCKETS", `
For bulk work root may have packet sockets (` + "`--socket packet`" + `): probes are handed to the device, the next node's link address taken from the kernel's tables, and
short ICMP and TCP answers are read from memory that the kernel writes them to. That takes less of the processor for each packet. It also goes past much that
raw sockets do not go past: the firewall of this host, so that a rule which refuses probes does not stop them, and one that refuses answers does not keep them out; its
address translation and accounting; the queue of the device, with its shaping and its order of precedence; the filter of reverse paths.

What goes another way than to a node on a link is sent by the raw sockets still: to this host itself, to broadcast and multicast addresses, what is larger than the
device takes, where there are several ways or more than 2048 routes, or rules that look at more than addresses and marks, and where the link address is not known yet. So are the
first packet to each next node and one a second after it; where the firewall refuses such a one, everything goes by the raw sockets for a second. With IPsec
policies on this host there are no packet sockets at all, nor where the program may not ask for them, which takes CAP_NET_ADMIN.

Answers are read up to a few milliseconds later than by raw sockets; their times are the kernel's and the same. The memory is 4 MiB for each family. ` + "`method.socket`" + ` in the
JSON says ` + "`packet`" + `.
`}

	// The policy of docs/decisions/0006-rates.md. These two sections are where it and the bounds are told in full.
	ordinarySection = manSection{"ORDINARY USERS", `
Where the program has its privilege from its file, it makes packets for users who could not. Whoever is not root by the real user id gets no more of it than this;
root has none of these limits. On the sockets that everybody has, the kernel decides about sources and kinds, and there is no ceiling on the rate.

= Sources
Addresses of this host alone, also when one goes away while a run is on. Source ports below 1024 only where the system lets the user bind them.

= Kinds of packets
Echo, extended echo and timestamp requests, node information queries (as ping(8)), UDP, and TCP with the flags SYN and ACK, those with ACK alone of any size (their content is the program's own), or SYN with ECE and CWR, which asks for ECN.
No bare protocols, UDP-Lite, DCCP, address mask requests or firewall marks. Source routes as a user's own sockets may have them: over IPv6 no routing header of type 0.

= Rate
500 packets a second to all hosts together, after 16 at once in a trace, 3 in a ping and 1 in tracepath. ` + "`gping`" + ` asks a host no more often than every 2 milliseconds and sends
no more than 3 ahead (` + "`--preload`" + `).

= Broadcast and multicast
` + "`gping`" + ` alone, one such address in a run, one request a second at most, none ahead, none in fragments. With ` + "`--broadcast`" + ` every target counts as such
an address, since which ones are the kernel decides.
`}

	manySection = manSection{"MANY HOSTS", `
A list of ` + "`--targets`" + ` has a host, a network or a range on each line; blank lines, and what follows a #, are left out. It is read as hosts are needed, so that it may be of any length, or a pipe that
stays open. Results come as hosts are done; ` + "`--ordered`" + ` has them in the order given. The exit status is of all hosts that were measured, and of lines that name none.

= ` + "`--unique`" + `
The first name of an address is measured, and whatever has the same address after that is left out, also from the exit status. A name that cannot be looked up is told each time.

= ` + "`--shuffle`, `--seed`" + `
A network or a range is gone through in an order by chance, all of it, however large; hosts of the lines of a list are each drawn from the next 4096, or from what there is of a pipe. So
hosts of one network, which share routers that answer so many questions a second, do not come back to back. The seed is told on standard error; with it the same command line and lists have the same order, but for what comes by a pipe, of which more or less may be there at a time.

= ` + "`--resume FILE`" + `
A host is left out where FILE has a document of this program for it, under the name that it is given by, with ` + "`\"complete\": true`" + `, whatever its outcome, and whatever options it was measured with: those are not
compared. Hosts that were left out do not count for the exit status, and are counted on standard error. Results go to standard output as ever, so this goes on with a run, as often as it is cut short:

	%[1]s --json --targets hosts --resume results >>results

FILE is read before anything is sent. A last line that is cut off, as by a crash, counts for nothing, and where standard output is FILE, what follows begins on a new line.

= ` + "`--progress`" + `
How many hosts are done and left, probes a second, the share of them that was lost, and the time to go by the time that it took so far. The line is drawn anew as things happen, four times a second at most, and
wiped before anything else is written where it stands, and at the end. "more" are left while lists have not been read to their end, and there is no telling the time then.
`}

	limitsSection = manSection{"LIMITS", `
These hold for everybody, and are looked at before memory is taken for what they bound. At all of them together a run takes up to 1 GiB, an ordinary one some 15 MB.
What is known of a probe until no answer to it can come any more, for its timeout and a minute, comes on top: up to some hundred bytes each, and 1.5 KB where each goes to
another host; of 500 a second for ordinary users. Root's 20000 a second, which many pings at once send by default, to ever new hosts take 1.8 GB, whether they are a million or many more.

= Targets
There may be any number: lists are read, and networks and ranges made into hosts, as hosts are needed, up to some thousand lines and 256 hosts ahead of the measurement, and
nothing stays of those that are done. A network or a range has 4294967296 hosts at most, a line of a list 4096 bytes, 64 MiB may pass from one host to the next, 131072 lines
may name none, and 256 addresses of a name are looked at.

= 131072 targets
where all must be known before the first: traces with ` + "`--matrix`" + `, pings as text without ` + "`--ordered`" + `, as their statistics come at the end, pings without end, fping's lines and the lists of ` + "`--alive`" + ` and ` + "`--unreachable`" + `.
Bad lines count, and all lists have 64 MiB together.

= 4194304 hosts
that ` + "`--unique`" + ` or ` + "`--resume`" + ` remember, each some 40 bytes. With more addresses than that the rest are measured without a look whether they were before, and that is said; a FILE that has more is refused.
A line of FILE beyond 128 MiB counts for nothing.

= 65536 probes
waited for at a time. Over 256 pings at once send 20000 a second, unless ` + "`--rate`" + ` says else. Where this host loses
answers for want of buffer, a run that sends more than 1000 probes a second goes on at half of that, as often as it takes, and says so.

= 262144 results
kept at a time: traces in progress (hosts at once, times methods, times hops, times probes a hop, at least 64 a trace) and replies of documents that are not written yet.
Where ` + "`--parallel`" + ` is not given, so many hosts are measured at once as that leaves room for. A document that comes to more replies, because nothing said
how many there would be, is written without them, as with ` + "`--no-replies`" + `, and that is said.

= 16777216 times
kept for percentiles, shared by the hosts measured at once. A host with more has none.

= 64 MiB
of output that waits for its turn. No further host is begun beyond that.
`}

	doctorSection = manSection{"DOCTOR", `
` + "`%[1]s doctor`" + ` tells which sockets this user can open on this host, and for each that is missing why, what that means, and the
command or container setting that mends it. It sends a few packets to this host itself, over the loopback interface, and none to any other.

` + "`--json`" + ` makes it one document, ` + "`gtrace/doctor/v1`" + `; ` + "`-4`" + ` or ` + "`-6`" + ` has it look at one family alone. It takes no other option.
Its exit status is 0 where all that the program can use is there, 1 where something is missing or limited, and 2 where it could not be told.

A host of the name doctor is reached with ` + "`%[1]s -- doctor`" + ` or ` + "`%[1]s doctor.`" + `, and under the names of other tools, where the word has no meaning.
`}

	environmentSection = manSection{"ENVIRONMENT", `
The programs have no variables of their own. What looks up names heeds LOCALDOMAIN and RES_OPTIONS (resolver(5)).
A program that has more privilege than its user, by its file, keeps only TERM, COLUMNS, NO_COLOR, LANG and LC_*.
`}

	filesSection = manSection{"FILES", `
= /etc/hosts, /etc/resolv.conf, /etc/nsswitch.conf
How names are looked up. It happens after all privilege was given up.

= /proc/sys/net
What ` + "`%[1]s doctor`" + ` reads.
`}
)

func statusSection(yes, no string) manSection {
	return manSection{"EXIT STATUS", `
= 0
` + yes + `

= 1
` + no + `

= 2
It could not be measured or told: usage, name resolution, permission, a socket or file error, no route from here.

2 wins over 1, and 1 over 0. A run that is interrupted by SIGINT, SIGTERM or the deadline of a sweep prints what it has, complete and well formed,
and ends by the same rule: a trace that had heard of a hop by then, and not of the host, with 1. A pipe that nobody reads any more ends the run quietly; any other error of standard output is 2.
One that was closed before the start (` + "`>&-`" + `) is ` + "`/dev/null`" + ` to the program, and nothing is amiss then.
`}
}

// signalsSection: quit is what SIGQUIT does.
func signalsSection(quit string) manSection {
	return manSection{"SIGNALS", `
= SIGINT, SIGTERM
End the run: what is known by then is printed, complete and well formed, and the exit status is as ever. A second one changes nothing.

= SIGQUIT (Ctrl-\)
` + quit + `
`}
}

// sourceSection is what TRAPS T83 comes to.
var sourceSection = manSection{"SOURCE ADDRESS", `
A host is measured from one address, chosen at the start. That counts as gone when no interface of this host has it at the moment when a probe is to leave from it,
or when one that left from it is given up, however soon it comes back: a lease that was not renewed in time, a VPN that was restarted, an IPv6 address whose interface went down.
What was lost by then may be for that, and is not told as loss; what came next from another address would be another measurement. So that host's ends there:
the outcome is ` + "`error`, `stop_reason` is `source-changed`" + ` and the exit status 2; other hosts go on. An absence between two probes, with nothing lost, is not noticed.
`}

func namesSection(others string) manSection {
	return manSection{"OTHER NAMES", `
Called by the name ` + others + ` (a link), %[1]s takes that tool's defaults, output and exit status.
In a copy of the source, ` + "`make install-links DIR=DIRECTORY`" + ` makes such links in a directory of the user's choice, never over a file of
the system, and ` + "`make uninstall-links DIR=DIRECTORY`" + ` takes them away.
`}
}

func seeAlsoSection(pages string) manSection { return manSection{"SEE ALSO", "\n" + pages + "\n"} }
