//go:build linux

package interop

import "regexp"

// A difference is where our programs print or end otherwise than those whose
// names they bear, and are right to.
type difference struct{ why, ours string }

// differences are few.
var differences = map[kase]difference{
	"ping -n -c 3 -i 0.2 -W 1 {checksum4}": {
		"what is broken is no answer, whatever lets it in (RFC 1122 section 3.2.2)",
		`1|PING 192.0.2.4 (192.0.2.4) 56(84) bytes of data.
1|
1|--- 192.0.2.4 ping statistics ---
1|3 packets transmitted, 0 received, 100% packet loss, time 1000ms
1|
status 1
`},
	"fping -r 1 -t 400 {checksum4}": {
		"what is broken is no answer, whatever lets it in (RFC 1122 section 3.2.2)",
		`1|192.0.2.4 is unreachable
status 1
`},
	"fping -c 3 -p 900 -t 400 {checksum4}": {
		"what is broken is no answer, whatever lets it in (RFC 1122 section 3.2.2)",
		`1|192.0.2.4 : [0], timed out (NaN avg, 100% loss)
1|192.0.2.4 : [1], timed out (NaN avg, 100% loss)
1|192.0.2.4 : [2], timed out (NaN avg, 100% loss)
2|
2|192.0.2.4 : xmt/rcv/%loss = 3/0/100%
status 1
`},
	"traceroute -I -n -q 2 -m 5 -w 1 {checksum4}": {
		"what is broken is no answer, whatever lets it in (RFC 1122 section 3.2.2)",
		`1|traceroute to 192.0.2.4 (192.0.2.4), 5 hops max, 60 byte packets
1| 1  198.51.100.2  1.000 ms  1.000 ms
1| 2  198.51.100.6  1.000 ms  1.000 ms
1| 3  * *
1| 4  * *
1| 5  * *
status 0
`},
	"ping -4 -c 1 plain.example": {
		"the original loses the name where -4 is given and the file of hosts has it",
		`1|PING plain.example (192.0.2.1) 56(84) bytes of data.
1|64 bytes from plain.example (192.0.2.1): icmp_seq=1 ttl=62 time=1.00 ms
1|
1|--- plain.example ping statistics ---
1|1 packets transmitted, 1 received, 0% packet loss, time 1000ms
1|rtt min/avg/max/mdev = 1.000/1.000/1.000/1.000 ms
status 0
`},
	"ping -n -v -c 1 -e 77 {plain4}": {
		"its lines about its own sockets are for those who build it",
		`1|PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
1|64 bytes from 192.0.2.1: icmp_seq=1 ident=77 ttl=62 time=1.00 ms
1|
1|--- 192.0.2.1 ping statistics ---
1|1 packets transmitted, 1 received, 0% packet loss, time 1000ms
1|rtt min/avg/max/mdev = 1.000/1.000/1.000/1.000 ms
status 0
`},
	"ping -n -i -1 -c 1 {plain4}": {
		"a wrong value is refused",
		`2|…
status 2
`},
	"ping -n -W x -c 1 {plain4}": {
		"a wrong value is refused",
		`2|…
status 2
`},
	"ping -n -s 70000 -c 1 {plain4}": {
		"a wrong value is refused",
		`2|…
status 2
`},
	"tracepath -m 0 {plain4}": {
		"a wrong value is refused",
		`2|…
status 1
`},
	"tracepath -p 0 {plain4}": {
		"a wrong value is refused",
		`2|…
status 1
`},
	"traceroute -nq1 {plain4} -m5": {
		"a value may be joined to its option and others, as in every other program",
		`1|traceroute to 192.0.2.1 (192.0.2.1), 5 hops max, 60 byte packets
1| 1  198.51.100.2  1.000 ms
1| 2  198.51.100.6  1.000 ms
1| 3  192.0.2.1  1.000 ms
status 0
`},
	"traceroute -w 2 -n -q 1 {plain6} 40": {
		"a UDP probe over IPv6 has two bytes more, by which it is known",
		`1|traceroute to 2001:db8:dd::1 (2001:db8:dd::1), 30 hops max, 50 byte packets
1| 1  2001:db8::2  1.000 ms
1| 2  2001:db8:0:1::2  1.000 ms
1| 3  2001:db8:dd::1  1.000 ms
status 0
`},
	"traceroute -n -q 2 -m 5 -w 1 {away4}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|traceroute: 192.0.2.83: no route from here: no source address: connect: network is unreachable
status 1
`},
	"traceroute -I -n -q 2 -m 5 -w 1 {away4}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|traceroute: 192.0.2.83: no route from here: no source address: connect: network is unreachable
status 1
`},
	"traceroute -n -q 2 -m 5 -w 1 {away6}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|traceroute: 2001:db8:dd::53: no route from here: no source address: connect: network is unreachable
status 1
`},
	"traceroute -I -n -q 2 -m 5 -w 1 {away6}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|traceroute: 2001:db8:dd::53: no route from here: no source address: connect: network is unreachable
status 1
`},
	"traceroute -n -s {plain4} {plain4}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|…
status 1
`},
	"traceroute -n -i nosuch -q 1 {plain4}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|…
status 1
`},
	"traceroute --help": {
		"what was asked for goes to standard output",
		`1|…
status 0
`},
	"traceroute -V": {
		"what was asked for goes to standard output",
		`1|…
status 0
`},
	"tracepath -b {plain4}": {
		"the original prints ??? where no name server can be reached, which says less than the address",
		`1| 1?: [LOCALHOST]                      pmtu 1500
1| 1:  198.51.100.2 (198.51.100.2)                           1.000ms 
1| 1:  198.51.100.2 (198.51.100.2)                           1.000ms 
1| 2:  198.51.100.6 (198.51.100.6)                           1.000ms 
1| 3:  plain.example (192.0.2.1)                             1.000ms reached
1|     Resume: pmtu 1500 hops 3 back 3 
status 0
`,
	},
	"tracepath -n -b {plain4}": {
		"the original prints ??? where no name server can be reached, which says less than the address",
		`1| 1?: [LOCALHOST]                      pmtu 1500
1| 1:  198.51.100.2 (198.51.100.2)                           1.000ms 
1| 1:  198.51.100.2 (198.51.100.2)                           1.000ms 
1| 2:  198.51.100.6 (198.51.100.6)                           1.000ms 
1| 3:  192.0.2.1 (plain.example)                             1.000ms reached
1|     Resume: pmtu 1500 hops 3 back 3 
status 0
`,
	},
	"tracepath {plain4}": {
		"the original prints ??? where no name server can be reached, which says less than the address",
		`1| 1?: [LOCALHOST]                      pmtu 1500
1| 1:  198.51.100.2                                          1.000ms 
1| 1:  198.51.100.2                                          1.000ms 
1| 2:  198.51.100.6                                          1.000ms 
1| 3:  plain.example                                         1.000ms reached
1|     Resume: pmtu 1500 hops 3 back 3 
status 0
`,
	},
	"tracepath {plain6}": {
		"the original prints ??? where no name server can be reached, which says less than the address",
		`1| 1?: [LOCALHOST]                      pmtu 1500
1| 1:  2001:db8::2                                           1.000ms 
1| 1:  2001:db8::2                                           1.000ms 
1| 2:  2001:db8:0:1::2                                       1.000ms 
1| 3:  plain.example                                         1.000ms reached
1|     Resume: pmtu 1500 hops 3 back 3 
status 0
`,
	},
	"tracepath -n -m 4 {away4}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|tracepath: 192.0.2.83: no route from here: no source address: connect: network is unreachable
status 0
`,
	},
	"tracepath -n -m 4 {away6}": {
		"what is wrong is said in one line that names the host, and nothing before it",
		`2|tracepath: 2001:db8:dd::53: no route from here: no source address: connect: network is unreachable
status 0
`,
	},
	"tracepath -n -m 4 {reject-24}": {
		"what the answer says stands in its line, as traceroute has it, and not on standard error",
		`1| 1?: [LOCALHOST]                      pmtu 1500
1| 1:  198.51.100.2                                          1.000ms 
1| 1:  198.51.100.2                                          1.000ms 
1| 2:  198.51.100.6                                          1.000ms 
1| 3:  198.51.100.6                                          1.000ms !P
1|     Resume: pmtu 1500 
status 0
`,
	},
	"tracepath -n -m 4 {dead4}": {
		"small packets are tried too before a hop is called silent, and by then the router has answered",
		`1| 1?: [LOCALHOST]                      pmtu 1500
1| 1:  198.51.100.2                                          1.000ms 
1| 1:  198.51.100.2                                          1.000ms 
1| 2:  198.51.100.6                                          1.000ms 
1| 3:  198.51.100.6                                          1.000ms !H
1|     Resume: pmtu 1500 
status 0
`,
	},
	"tracepath -n -m 4 {dead6}": {
		"small packets are tried too before a hop is called silent, and by then the router has answered",
		`1| 1?: [LOCALHOST]                      pmtu 1500
1| 1:  2001:db8::2                                           1.000ms 
1| 1:  2001:db8::2                                           1.000ms 
1| 2:  2001:db8:0:1::2                                       1.000ms 
1| 3:  2001:db8:0:1::2                                       1.000ms !H
1|     Resume: pmtu 1500 
status 0
`,
	},
}

// unmeasured is the time that tracepath prints where IPv6 packets exceed the device: of something that never left.
var unmeasured = regexp.MustCompile(`(?m)^(1\|\s*\d+\?: \[LOCALHOST\] {22})  1\.000ms `)

// comparable is the original's output without what ours never has.
func comparable(k kase, original string) string {
	if k.tool() == "tracepath" {
		return unmeasured.ReplaceAllString(original, "$1")
	}
	return original
}
