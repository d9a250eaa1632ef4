#!/bin/sh
# Makes golden.txt anew: what Linux traceroute and iputils tracepath print where a made-up path answers. Needs root,
# ip, python3 with /dev/net/tun, traceroute 2.1 and tracepath.
#
#	sh capture.sh > golden.txt
#
# Every run has a network namespace of its own, whose only way out is path.py. Times become 0.413 ms.
set -e
cd "$(dirname "$0")"
n=capture-$$
mkdir -p /etc/netns/$n
trap 'rm -r /etc/netns/$n' EXIT
cat > /etc/netns/$n/hosts <<'END'
127.0.0.1 localhost
10.1.0.1 gw.example.org
10.2.0.1 core_1.example.org
10.5.0.1 a-very-long-name-that-fills-the-column-and-more.of.example.org
192.0.2.9 target.example.org
2001:db8:1::1 gw6.example.org
END
echo 'hosts: files' > /etc/netns/$n/nsswitch.conf

# on PATH COMMAND... runs a command where path.py answers as PATH says.
on() {
	path=$1
	shift
	ip netns add $n
	ready=$(mktemp -u)
	mkfifo $ready
	ip netns exec $n python3 path.py $path $ready & pid=$!
	read -r _ < $ready
	rm $ready
	ip netns exec $n timeout 60 "$@" 2>/dev/null || true
	kill $pid
	wait $pid 2>/dev/null || true
	ip netns del $n
}

still() { sed -E 's/[0-9]+\.[0-9]{3} ms/0.413 ms/g; s/[ 0-9]{2}[0-9]\.[0-9]{3}ms/  0.413ms/'; }

# run PATH COMMAND... is a section: what was asked for, then what came.
run() {
	path=$1
	shift
	echo "== $path $*"
	on $path "$@" | still
}

traceroute() { path=$1; shift; run $path env RA_SERVER=127.0.0.1 RA_SERVICE=43 traceroute -N1 -w1 "$@"; }

traceroute hops 192.0.2.9
traceroute hops -n -e --back -q6 192.0.2.9
traceroute hops -A -e --back 192.0.2.9
traceroute hops -n -A -m 2 192.0.2.9
traceroute hops -n -e --back 2001:db8:77::9
traceroute ports -n -T -O info -q5 192.0.2.9
traceroute narrow -n --mtu 192.0.2.9
traceroute narrow --mtu --back 192.0.2.9
for options in '' -n -b '-n -b'; do run narrow tracepath $options 192.0.2.9; done
run narrow tracepath 2001:db8:77::9
run narrow tracepath -n -m 5 -l 1000 192.0.2.9
run silent tracepath -n -m 1 -l 1000 192.0.2.9
run service tracepath -n -l 1000 192.0.2.9

# What stands behind an answer, by ICMP type, code and MTU: " TYPE CODE MTU NOTE".
notes() {
	echo "== notes $1"
	for code in $(python3 path.py codes $2); do
		IFS=/ read -r type num mtu <<-END
			$code
		END
		note=$(on $code sh -c "$3 $4" | sed -nE "s/.*[0-9]\.[0-9]{3} ?ms ?(.*)/\1/p" | head -1)
		echo "$type $num $mtu $note"
	done
}
notes 'traceroute 4' 4 'traceroute -I -n -q1 -m1 -w1' 192.0.2.9
notes 'traceroute 6' 6 'traceroute -I -n -q1 -m1 -w1' 2001:db8:77::9
notes 'tracepath 4' 4 'tracepath -n -m1 -l 1450' 192.0.2.9
notes 'tracepath 6' 6 'tracepath -n -m1 -l 1450' 2001:db8:77::9
