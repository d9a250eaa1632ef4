#!/bin/sh
# Makes linux.txt anew: packets that Linux hosts and a Linux router exchange,
# as the host at one end sees them. Needs root, ip and python3.
#
#	sh capture.sh > linux.txt
#
# host 10.0.0.1 and 2001:db8::1 - router (.2 and .1, mtu 1400 behind it) - host 192.0.2.9 and 2001:db8:1::9
set -e
a=capture-a-$$ r=capture-r-$$ b=capture-b-$$
trap 'for n in $a $r $b; do ip netns del $n; done' EXIT
for n in $a $r $b; do
	ip netns add $n
	ip -n $n link set lo up
	ip netns exec $n sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
		net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
done
ip link add a0 netns $a type veth peer name r0 netns $r
ip link add b0 netns $b type veth peer name r1 netns $r
ip -n $a addr add 10.0.0.1/24 dev a0
ip -n $r addr add 10.0.0.2/24 dev r0
ip -n $r addr add 192.0.2.1/24 dev r1
ip -n $b addr add 192.0.2.9/24 dev b0
ip -n $a addr add 2001:db8::1/64 dev a0 nodad
ip -n $r addr add 2001:db8::2/64 dev r0 nodad
ip -n $r addr add 2001:db8:1::1/64 dev r1 nodad
ip -n $b addr add 2001:db8:1::9/64 dev b0 nodad
ip -n $a link set a0 up
ip -n $r link set r0 up
ip -n $r link set r1 up mtu 1400
ip -n $b link set b0 up mtu 1400
ip -n $a route add default via 10.0.0.2
ip -n $b route add default via 192.0.2.1
ip -n $a -6 route add default via 2001:db8::2
ip -n $b -6 route add default via 2001:db8:1::1
ip -n $r route add prohibit 198.51.100.0/24
ip -n $r -6 route add prohibit 2001:db8:2::/64

# Without this, packets cross a veth pair with unfinished checksums.
offload='
import fcntl, socket, struct, sys, array
s = socket.socket()
for name in sys.argv[1:]:
    v = array.array("B", struct.pack("II", 0x17, 0))  # ETHTOOL_STXCSUM
    fcntl.ioctl(s, 0x8946, struct.pack("16sP", name.encode(), v.buffer_info()[0]))
'
ip netns exec $a python3 -c "$offload" a0
ip netns exec $r python3 -c "$offload" r0 r1
ip netns exec $b python3 -c "$offload" b0

ip netns exec $b python3 -c '
import socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 80))
s.listen(5)
time.sleep(20)
' &
sleep 1

echo "# Made by capture.sh on Linux $(uname -r | cut -d. -f1-2). Who sent it, what was asked: the IP packet."
ip netns exec $a python3 -c '
import socket, struct, time
I4, I6 = socket.AF_INET, socket.AF_INET6
cap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
cap.bind(("a0", 3))
cap.setblocking(False)

def drain(label):
    time.sleep(0.1)
    while True:
        try:
            p, a = cap.recvfrom(65535)
        except BlockingIOError:
            return
        if a[1] not in (0x800, 0x86dd) or not label:
            continue
        if p[0] >> 4 == 6 and (p[6] == 0 or p[6] == 58 and 130 <= p[40] <= 143):
            continue  # neighbour discovery
        print("%s, %s: %s" % ("sent" if a[2] == 4 else "received", label, p.hex()))

def ttl(s, f, n):
    s.setsockopt(0 if f == I4 else 41, socket.IP_TTL if f == I4 else socket.IPV6_UNICAST_HOPS, n)

def udp(f, dst, n, size, port=33434, df=False):
    s = socket.socket(f, socket.SOCK_DGRAM)
    ttl(s, f, n)
    if f == I4:
        s.setsockopt(0, 10, 3 if df else 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE or DONT
    else:
        s.setsockopt(41, 23, 3 if df else 0)
    s.sendto(bytes((i * 7 + 1) & 255 for i in range(size)), (dst, port))

def syn(f, dst, port, n, label):
    s = socket.socket(f, socket.SOCK_STREAM)
    s.setsockopt(6, 7, 1)  # TCP_SYNCNT: once more only
    s.settimeout(0.05)
    ttl(s, f, n)
    try:
        s.connect((dst, port))
    except OSError:
        pass
    drain(label)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    drain(label)

drain("")
for v, f, dst, prohibited in ("IPv4", I4, "192.0.2.9", "198.51.100.7"), ("IPv6", I6, "2001:db8:1::9", "2001:db8:2::7"):
    syn(f, dst, 80, 64, v + " SYN to an open port")
    syn(f, dst, 81, 64, v + " SYN to a closed port")
    syn(f, dst, 80, 1, v + " SYN with TTL 1")
    udp(f, dst, 1, 12)
    drain(v + " UDP with TTL 1")
    udp(f, dst, 1, 700)
    drain(v + " UDP of 700 bytes with TTL 1")
    udp(f, dst, 9, 0)
    drain(v + " UDP without payload to a closed port")
    udp(f, prohibited, 9, 12)
    drain(v + " UDP to a prohibited network")
    time.sleep(0.5)
    udp(f, dst, 9, 1450 if f == I4 else 1430, df=True)
    drain(v + " UDP larger than a link")
    e = struct.pack("!BBHHH", 8 if f == I4 else 128, 0, 0x5435, 0x1234, 1) + b"abcdefgh"
    s = socket.socket(f, socket.SOCK_RAW, 1 if f == I4 else 58)
    for options in False, True:
        what = v + " echo"
        if options and f == I4:
            s.setsockopt(0, socket.IP_OPTIONS, b"\x07\x0b\x04" + bytes(9))
            what += " with record route"
        elif options:
            s.setsockopt(41, 59, bytes((0, 0, 1, 4, 0, 0, 0, 0)))  # IPV6_DSTOPTS
            what += " with destination options"
        for n in 64, 1:
            ttl(s, f, n)
            s.sendto(e, (dst, 0))
            drain("%s, TTL %d" % (what, n))
    udp(f, dst, 9, 1600, port=33435)
    drain(v + " UDP in two fragments to a closed port")
'
