package cli

func (t *pingTool) page() *page { return &pingPage }

var pingPage = page{
	name:     "gping",
	short:    "measure reachability, loss and delay of hosts",
	synopsis: []string{"[OPTION]... HOST...", "`doctor` [`--json`] [`-4`|`-6`]"},
	names:    []string{"ping", "ping6", "fping", "fping6"},
	sections: []manSection{
		{"DESCRIPTION", `
` + "`gping`" + ` sends ICMP echo requests to each HOST and prints the replies, and at the end how many were lost and how long they took.
With ` + "`--kind`" + ` it asks by other means: ICMP timestamp, address mask and extended echo requests (RFC 792, RFC 950, RFC 8335), TCP or UDP; with ` + "`--node-info`" + ` it asks an
IPv6 node for its names and addresses (RFC 4620). Several hosts are asked at once.

A reply belongs to a request only if what came back in it says so: addresses, identifier, number and a random token of this run. Late replies, duplicates and
replies with another payload than was sent are told as such. Round-trip times are between two time stamps of the kernel, wherever it gives them.

A HOST is a name or an address. Names are looked up before anything is sent, those of a list of more than 256 hosts before
anything is sent to them; one without an address is reported by itself and does not stop the others.
`},
		{optionsTitle, `
Options may stand before, between or after the hosts; letters may be joined, as in ` + "`-nc3`" + `; ` + "`--`" + ` ends the options, and all after it are hosts.
`},
		{formatsSection.title, formatsSection.text + "\n`fping` has fping's lines.\n"},
		{"OUTPUT", `
Where an answer says more than that it came, its line has that behind what ping prints:

= ` + "`there=MS back=MS`" + `
What the clocks of a timestamp reply make of the ways there and back (ICMP 13). Their sum is the round-trip time; how the two clocks differ is in both.

= ` + "`closed`" + `
A TCP reset or a port unreachable: the host answered, and nothing listens there.

= ` + "`(DUP!)`, `(DIFFERENT ADDRESS!)`, `(truncated)`" + `
As in ping: a further answer, an answer from another address, one with less payload than was sent.

= ` + "`icmp_seq=N not sent: ERRNO (WHY)`" + `
This host did not send the request. It is not among the transmitted, but one of the errors.
`},
		{"SWEEPS", `
` + "`--sweep FROM-TO/STEP`" + ` asks payloads of FROM, FROM+STEP and so on, and of TO, and gives the size at which answers stop, byte for byte. Without STEP it is a 32nd of the range:
the step need be no finer than what may lie between two sizes that are both answered. Sizes are those of ` + "`--payload`" + `; in text that of the packet stands in brackets behind, in JSON all are of packets.

Each size is asked once, or ` + "`--count`" + ` times, and one that was answered once is answered. Then the smallest that was not is asked again, among requests of the nearest that was,
until it is answered too or plain loss does not explain its silence any more: with as much loss as those that are answered have it would be so in fewer than one of a million cases. Then the step is halved until the
two sizes are 1 apart. What a router names as its MTU is tried first, but what counts is what is answered.

Which of the two sizes a request has is by chance. So whatever does not go by size, as a host that answers only so often (` + "`icmp_ratelimit`" + `), or an outage that comes back, would lose just those of the one size in
fewer than one of a million cases too before silence is told as a limit. Where that would take more than 100 requests of the two nobody can tell.

Requests must not be fragmented, and none is held back for a path MTU that this host has learnt (` + "`--pmtudisc=probe`" + `). With ` + "`do`" + ` this host's own belief is a limit too; with ` + "`dont`" + ` the sizes are those before fragmentation.
An echo reply is as large as its request, so the limit is the way back's where that is narrower.

= ` + "`says that they are too big`" + `
A router refuses them.

= ` + "`this host does not send them`" + `
Its device does not take them, it believes that the path does not (` + "`--pmtudisc=do`" + `), or its firewall is in the way.

= ` + "`nothing comes back, and nobody says why`" + `
They vanish, there or on the way back: a black hole, as behind a firewall that swallows ICMP.

= ` + "`; but N bytes are`" + `
It is not size alone: a larger one is answered all the same. Nothing is looked for beyond the first size that is not.

= ` + "`could not tell`, `cut short`" + `
So many requests of sizes that are answered get lost that silence proves nothing, or the run ended before it was known: exit status 2. A limit that was found is no failure: status 0, as some sizes
are answered; and 1 where none is.

Only echo and UDP requests have any size. An interval is 0.1 seconds for echo; for UDP it stays 1, as hosts say no more often that nobody listens at a port.
`},
		statusSection("Every host answered at least once.", "It was measured, and a host did not answer."),
		signalsSection("The statistics so far go to standard error, and the run goes on. With `--format=events` they are a line `interim` of standard output too."),
		sourceSection,
		privilegeSection,
		ordinarySection,
		packetSection,
		manySection,
		limitsSection,
		doctorSection,
		environmentSection,
		filesSection,
		{"EXAMPLES", `
Three requests, a fifth of a second apart:

	gping example.org -c3 -i.2

Does it answer at all? Only the exit status counts:

	gping -q -c 3 -w 5 example.org >/dev/null

What is the largest packet that gets there and back?

	gping -q --sweep 56-1472 example.org

For a program, the summary alone:

	gping --json --no-replies -c 10 example.org | jq .summary.loss_percent
`},
		namesSection("`ping`, `ping6`, `fping` or `fping6`"),
		seeAlsoSection("gtrace(1), ping(8), fping(8), capabilities(7), icmp(7)"),
	},
}
