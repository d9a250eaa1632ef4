//go:build linux

package interop

// A difference is where our programs print or end otherwise than those whose
// names they bear, and are right to.
type difference struct{ why, ours string }

// differences are few.
var differences = map[kase]difference{
	"ping -4 -c 1 plain.example": {
		why: "iputils loses the name with -4",
		ours: "1|PING plain.example (192.0.2.1) 56(84) bytes of data.\n" +
			"1|64 bytes from plain.example (192.0.2.1): icmp_seq=1 ttl=62 time=1.00 ms\n" +
			"1|\n" +
			"1|--- plain.example ping statistics ---\n" +
			"1|1 packets transmitted, 1 received, 0% packet loss, time 1000ms\n" +
			"1|rtt min/avg/max/mdev = 1.000/1.000/1.000/1.000 ms\n" +
			"status 0\n",
	},
	"ping -n -c 3 -i 0.2 -W 1 {checksum4}": {
		why: "a reply with a wrong checksum is nobody's",
		ours: "1|PING 192.0.2.4 (192.0.2.4) 56(84) bytes of data.\n" +
			"1|\n" +
			"1|--- 192.0.2.4 ping statistics ---\n" +
			"1|3 packets transmitted, 0 received, 100% packet loss, time 1000ms\n" +
			"1|\n" +
			"status 1\n",
	},
	"ping -n -W x -c 1 {plain4}": {
		why: "what is no number is refused, as iputils says it will do one day",
		ours: "2|…\n" +
			"status 2\n",
	},
	"ping -n -s 70000 -c 1 {plain4}": {
		why: "no packet is so large, which iputils leaves to be found out",
		ours: "2|…\n" +
			"status 2\n",
	},
	"ping -n -i -1 -c 1 {plain4}": {
		why: "no time is below zero",
		ours: "2|…\n" +
			"status 2\n",
	},
	"ping -n -v -c 1 -e 77 {plain4}": {
		why: "what iputils says of its own sockets is not said",
		ours: "1|PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.\n" +
			"1|64 bytes from 192.0.2.1: icmp_seq=1 ident=77 ttl=62 time=1.00 ms\n" +
			"1|\n" +
			"1|--- 192.0.2.1 ping statistics ---\n" +
			"1|1 packets transmitted, 1 received, 0% packet loss, time 1000ms\n" +
			"1|rtt min/avg/max/mdev = 1.000/1.000/1.000/1.000 ms\n" +
			"status 0\n",
	},
	"ping -n -M do -s 1400 -c 3 -i 0.2 -W 1 {narrow6}": {
		why: "the router is asked each time, where iputils' kernel remembers what it said",
		ours: "1|PING 2001:db8:dd::45(2001:db8:dd::45) 1400 data bytes\n" +
			"1|From 2001:db8:0:1::2 icmp_seq=1 Packet too big: mtu=1300\n" +
			"1|From 2001:db8:0:1::2 icmp_seq=2 Packet too big: mtu=1300\n" +
			"1|From 2001:db8:0:1::2 icmp_seq=3 Packet too big: mtu=1300\n" +
			"1|\n" +
			"1|--- 2001:db8:dd::45 ping statistics ---\n" +
			"1|3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 1000ms\n" +
			"1|\n" +
			"status 1\n",
	},
	"ping -n -M do -s 1400 -c 3 -i 0.2 -W 1 {narrow4}": {
		why: "the router is asked each time, where iputils' kernel remembers what it said",
		ours: "1|PING 192.0.2.69 (192.0.2.69) 1400(1428) bytes of data.\n" +
			"1|From 198.51.100.6 icmp_seq=1 Frag needed and DF set (mtu = 1300)\n" +
			"1|From 198.51.100.6 icmp_seq=2 Frag needed and DF set (mtu = 1300)\n" +
			"1|From 198.51.100.6 icmp_seq=3 Frag needed and DF set (mtu = 1300)\n" +
			"1|\n" +
			"1|--- 192.0.2.69 ping statistics ---\n" +
			"1|3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 1000ms\n" +
			"1|\n" +
			"status 1\n",
	},
}
