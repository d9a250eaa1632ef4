//go:build linux

package interop

// The hosts third, swapped and mixed go by an echo request's sequence number. fping numbers the requests to all
// hosts together, from 0; here each host's are numbered from 1, as iputils ping does, so what is lost is another one.
const numbered = "fping's first request has the number 0, and ours 1"

// No kernel looks at the checksum of ICMP over IPv4 for a raw socket, and fping does not either.
const summed = "what has a wrong checksum is no answer"

func init() {
	for k, d := range map[kase]difference{
		"fping -C 3 -q -p 100 {third4}": {numbered, `2|192.0.2.7 : 1.00 - 1.00
status 0
`},
		"fping -c 3 -p 100 -t 60 -o {third4}": {numbered, `1|192.0.2.7 : [0], 64 bytes, 1.00 ms (1.00 avg, 0% loss)
1|192.0.2.7 : [1], timed out (1.00 avg, 50% loss)
1|192.0.2.7 : [2], 64 bytes, 1.00 ms (1.00 avg, 33% loss)
2|
2|192.0.2.7 : xmt/rcv/%loss = 3/2/33%, outage(ms) = 100, min/avg/max = 1.00/1.00/1.00
status 0
`},
		"fping -c 3 -p 200 -t 150 {checksum4}": {summed, `1|192.0.2.4 : [0], timed out (NaN avg, 100% loss)
1|192.0.2.4 : [1], timed out (NaN avg, 100% loss)
1|192.0.2.4 : [2], timed out (NaN avg, 100% loss)
2|
2|192.0.2.4 : xmt/rcv/%loss = 3/0/100%
status 1
`},
		"fping -c 3 -p 200 -t 150 {mixed4}": {numbered, `1|192.0.2.13 : [0], 64 bytes, 1.00 ms (1.00 avg, 0% loss)
1|192.0.2.13 : [1], timed out (1.00 avg, 50% loss)
1|192.0.2.13 : [2], 64 bytes, 1.00 ms (1.00 avg, 33% loss)
2|ICMP Unreachable (Communication Administratively Prohibited) from 192.0.2.13 for ICMP Echo sent to 192.0.2.13
2|
2|192.0.2.13 : xmt/rcv/%loss = 3/2/33%, min/avg/max = 1.00/1.00/1.00
status 0
`},
		"fping -c 3 -p 200 -t 150 {mixed6}": {numbered, `1|2001:db8:dd::d : [0], 64 bytes, 1.00 ms (1.00 avg, 0% loss)
1|2001:db8:dd::d : [1], timed out (1.00 avg, 50% loss)
1|2001:db8:dd::d : [2], 64 bytes, 1.00 ms (1.00 avg, 33% loss)
2|
2|2001:db8:dd::d : xmt/rcv/%loss = 3/2/33%, min/avg/max = 1.00/1.00/1.00
status 0
`},
		"fping -c 3 -p 200 -t 150 {swapped4}": {numbered, `1|192.0.2.8 : [0], timed out (NaN avg, 100% loss)
1|192.0.2.8 : [1], 64 bytes, 1.00 ms (1.00 avg, 50% loss)
1|192.0.2.8 : [2], timed out (1.00 avg, 66% loss)
2|
2|192.0.2.8 : xmt/rcv/%loss = 3/1/66%, min/avg/max = 1.00/1.00/1.00
status 0
`},
		"fping -c 3 -p 200 -t 150 {swapped6}": {numbered, `1|2001:db8:dd::8 : [0], timed out (NaN avg, 100% loss)
1|2001:db8:dd::8 : [1], 64 bytes, 1.00 ms (1.00 avg, 50% loss)
1|2001:db8:dd::8 : [2], timed out (1.00 avg, 66% loss)
2|
2|2001:db8:dd::8 : xmt/rcv/%loss = 3/1/66%, min/avg/max = 1.00/1.00/1.00
status 0
`},
		"fping -c 3 -p 200 -t 150 {third4}": {numbered, `1|192.0.2.7 : [0], 64 bytes, 1.00 ms (1.00 avg, 0% loss)
1|192.0.2.7 : [1], timed out (1.00 avg, 50% loss)
1|192.0.2.7 : [2], 64 bytes, 1.00 ms (1.00 avg, 33% loss)
2|
2|192.0.2.7 : xmt/rcv/%loss = 3/2/33%, min/avg/max = 1.00/1.00/1.00
status 0
`},
		"fping -c 3 -p 200 -t 150 {third6}": {numbered, `1|2001:db8:dd::7 : [0], 64 bytes, 1.00 ms (1.00 avg, 0% loss)
1|2001:db8:dd::7 : [1], timed out (1.00 avg, 50% loss)
1|2001:db8:dd::7 : [2], 64 bytes, 1.00 ms (1.00 avg, 33% loss)
2|
2|2001:db8:dd::7 : xmt/rcv/%loss = 3/2/33%, min/avg/max = 1.00/1.00/1.00
status 0
`},
		"fping -r 0 -g {elsewhere4} {third4}": {numbered, `1|192.0.2.5 is alive
1|192.0.2.6 is alive
1|192.0.2.7 is alive
2| [<- 192.0.2.1]\
status 0
`},
		"fping -r 1 -t 150 {checksum4}": {summed, `1|192.0.2.4 is unreachable
status 1
`},
		"fping -r 1 -t 150 {mixed4} {silent4}": {numbered, `1|192.0.2.13 is alive
1|192.0.2.14 is unreachable
2|192.0.2.13 : duplicate for [0], 64 bytes, 1.00 ms
status 1
`},
		"fping -r 1 -t 150 {mixed6} {silent4}": {numbered, `1|2001:db8:dd::d is alive
1|192.0.2.14 is unreachable
2|2001:db8:dd::d : duplicate for [0], 64 bytes, 1.00 ms
status 1
`},
		"fping -r 1 -t 150 {swapped4}": {numbered, `1|192.0.2.8 is alive
2|192.0.2.8 : duplicate for [0], 64 bytes, 1.00 ms
status 0
`},
		"fping -r 1 -t 150 {swapped6}": {numbered, `1|2001:db8:dd::8 is alive
2|2001:db8:dd::8 : duplicate for [0], 64 bytes, 1.00 ms
status 0
`},
	} {
		differences[k] = d
	}
}
