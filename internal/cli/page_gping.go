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

For a program, the summary alone:

	gping --json --no-replies -c 10 example.org | jq .summary.loss_percent
`},
		namesSection("`ping`, `ping6`, `fping` or `fping6`"),
		seeAlsoSection("gtrace(1), ping(8), fping(8), capabilities(7), icmp(7)"),
	},
}
