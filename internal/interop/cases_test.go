//go:build linux

package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gtrace/internal/lab"
)

// A kase is one command line. {HOST4} and {HOST6} in it are addresses of a
// host of the odd network.
type kase string

var placeholder = regexp.MustCompile(`\{([a-z0-9-]+?)([46])\}`)

func (k kase) tool() string { return strings.TrimSuffix(strings.Fields(string(k))[0], "6") }

// args are the words, with addresses in place.
func (k kase) args(o *lab.Odd) []string {
	return strings.Fields(placeholder.ReplaceAllStringFunc(string(k), func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		family, _ := strconv.Atoi(m[2])
		return o.Addr(m[1], family).String()
	}))
}

// dead lets runs to hosts that are nobody's take turns: how long the kernel
// has been looking for one must not depend on how they overlap.
var dead sync.Mutex

// at runs f where nothing that an earlier run left matters to the case.
func (k kase) at(t *testing.T, f func(*lab.Odd)) {
	t.Helper()
	switch {
	case strings.Contains(string(k), "{narrow"): // path MTUs are remembered
		f(fresh(t))
	case strings.Contains(string(k), "{dead"), strings.Contains(string(k), "2001:db8::99"): // a neighbour that is not there
		dead.Lock()
		defer dead.Unlock()
		f(odd(t))
	default:
		f(odd(t))
	}
}

// ran are results of our programs, of which several tests need the same.
var ran struct {
	sync.Mutex
	by map[kase]*result
}

// ours is what our program leaves, run once.
func (k kase) ours(t *testing.T) (r result) {
	t.Helper()
	ran.Lock()
	known := ran.by[k]
	ran.Unlock()
	if known != nil {
		return *known
	}
	d := ours(t)
	k.at(t, func(o *lab.Odd) { r = place{odd: o, path: d}.run(t, k.args(o)...) })
	ran.Lock()
	defer ran.Unlock()
	if ran.by == nil {
		ran.by = make(map[kase]*result)
	}
	ran.by[k] = &r
	return r
}

// everywhere are the command lines that are tried on every host, by family.
// They are chosen to end soon, and to outlast the 3 seconds the kernel takes
// to find that nobody holds an address.
func everywhere(o *lab.Odd) (ks []kase) {
	for _, family := range []int{4, 6} {
		for _, h := range o.Hosts(family) {
			wait := 1
			if h == "dead" {
				wait = 4
			}
			host := fmt.Sprintf("{%s%d}", h, family)
			for _, s := range []string{
				"ping -n -c 3 -i 0.2 -W %d %s",
				"fping -r 1 -t 400 %s",
				"fping -c 3 -p 900 -t 400 %s",
				"traceroute -n -q 2 -m 5 -w %d %s",
				"traceroute -I -n -q 2 -m 5 -w %d %s",
			} {
				switch {
				case !strings.HasPrefix(s, "ping"):
				case h == "copies": // the last reply would end the run, with its copies unread or not
					s = "ping -n -w %d -i 0.6 %s"
				case h == "mixed":
					s = "ping -n -c 4 -i 0.2 -W %d %s"
				}
				if family == 6 && strings.HasPrefix(s, "ping") && h == "narrow" {
					s = strings.Replace(s, "ping", "ping6", 1)
				}
				if h == "swapped" && strings.HasPrefix(s, "traceroute -n") { // the next number is the next TTL's
					s = strings.Replace(s, "-q 2", "-q 1", 1)
				}
				if strings.HasPrefix(s, "fping -r") && (h == "copies" || h == "mixed") {
					s += " {silent4}" // else it may have ended before it reads a second answer
				}
				if strings.HasPrefix(s, "fping") && h == "dead" {
					s = strings.NewReplacer("-r 1 -t 400", "-r 0 -t 4000", "-c 3 -p 900 -t 400", "-c 1 -t 4000").Replace(s)
				}
				if strings.HasPrefix(s, "fping") {
					ks = append(ks, kase(fmt.Sprintf(s, host)))
					continue
				}
				ks = append(ks, kase(fmt.Sprintf(s, wait, host)))
			}
			ks = append(ks, kase("tracepath -n -m 4 "+host))
		}
	}
	return ks
}

// further are command lines with one thing each.
var further = []kase{
	// ping
	"ping -c 2 -i 0.2 {plain4}", // with names
	"ping -c 2 -i 0.2 {plain6}",
	"ping -c 2 -i 0.2 plain.example",
	"ping -4 -c 1 plain.example",
	"ping -6 -c 1 plain.example",
	"ping6 -c 1 plain.example",
	"ping6 -n -c 1 {plain6}",
	"ping -n -q -c 2 -i 0.2 {plain4}",
	"ping -n -q -c 3 -i 0.2 -W 1 {third4}",
	"ping -n -D -c 2 -i 0.2 {plain4}",
	"ping -n -O -c 4 -i 0.2 -W 1 {third4}",
	"ping -n -O -c 3 -i 0.2 -W 1 {third6}",
	"ping -n -O -D -c 3 -i 0.2 -W 1 {third4}",
	"ping -n -s 4 -c 2 -i 0.2 {plain4}",
	"ping -n -s 0 -c 2 -i 0.2 {plain4}",
	"ping -n -s 16 -c 2 -i 0.2 {plain6}",
	"ping -n -s 1000 -c 1 {plain4}",
	"ping -n -p ff00 -c 1 {plain4}",
	"ping -n -p ff00 -q -c 1 {plain4}",
	"ping -n -p ff00 -c 1 {corrupt4}",
	"ping -n -t 1 -c 2 -i 0.2 {plain4}",
	"ping -n -t 1 -c 2 -i 0.2 {plain6}",
	"ping -n -t 2 -c 1 {plain4}",
	"ping -n -M do -s 1400 -c 3 -i 0.2 -W 1 {narrow4}",
	"ping -n -M do -s 1400 -c 3 -i 0.2 -W 1 {narrow6}",
	"ping -n -M do -s 1500 -c 2 -i 0.2 -W 1 {plain4}",
	"ping -n -M do -s 1500 -c 2 -i 0.2 -W 1 {plain6}",
	"ping -n -M dont -s 1400 -c 2 -i 0.2 -W 1 {narrow4}",
	"ping -n -A -c 3 {plain4}",
	"ping -n -A -q -c 3 {plain4}",
	"ping -n -f -c 5 {plain4}",
	"ping -n -f -c 6 -W 1 {third4}",
	"ping -n -l 3 -c 3 {plain4}",
	"ping -n -R -c 2 -i 0.2 {plain4}",
	"ping -n -R -c 2 -i 0.2 {target4}",
	"ping -n -T tsonly -c 1 {target4}",
	"ping -n -a -c 1 {plain4}",
	"ping -n -v -c 1 -e 77 {plain4}",
	"ping -n -U -c 1 {plain4}",
	"ping -n -Q 0x10 -c 1 {plain4}",
	"ping -n -w 2 -c 3 -i 0.2 {third4}",
	"ping -n -w 1 -i 0.6 {plain4}",
	"ping -n -w 1 -c 5 -i 0.2 {silent4}",
	"ping -n -w 4 -c 3 -i 0.2 {reject-14}",
	"ping -n -w 1 {reject-16}",
	"ping -n -I r1 -c 1 {plain4}",
	"ping -n -I r1 -c 1 {plain6}",
	"ping -nc1 {plain4}",
	"ping {plain4} -c1 -n",
	"ping -n -c1 -i.2 {plain4}",
	"ping -n -c 1 127.0.0.1",
	"ping -c 1 127.1",
	"ping -n -w 8 -i 0.7 2001:db8::99",
	"fping -r 0 -t 4000 2001:db8::99",
	"traceroute -n -q 2 -m 5 2001:db8::99",
	"traceroute -I -n -q 2 -m 5 2001:db8::99",
	"tracepath -n 2001:db8::99",
	"tracepath -n -b {plain4}",
	"ping -c 1 0",
	"traceroute -I -T -n -q 1 {plain4}",
	"traceroute -T -p http -n -q 1 {plain4}",
	"ping -c 1 2130706433",
	"traceroute -n -q 1 0177.1",
	"tracepath -n 127.1",
	"ping -n -c 1 ::1",

	// fping
	"fping -i 100 {plain4} {silent4} {plain6}",
	"fping -a -r 0 {plain4} {silent4}",
	"fping -u -r 0 {plain4} {silent4}",
	"fping -a -u -r 0 {plain4} {silent4}",
	"fping -e {plain4}",
	"fping -a -e {plain4}",
	"fping -s {plain4}",
	"fping -s -r 0 {plain4} {silent4}",
	"fping -q -c 3 -p 900 {third4}",
	"fping -C 3 -q -p 900 {third4}",
	"fping -C 3 -p 600 -t 200 {third4} {plain4}",
	"fping -C 3 -q -B1 -r1 -i10 {plain4} {silent4}",
	"fping -c 2 -p 600 -t 200 {plain4} {copies4} {silent4}",
	"fping -c 3 -p 600 -t 200 -o {third4}",
	"fping -D -c 2 -p 900 {plain4}",
	"fping -c 2 -p 900 -e {plain4}",
	"fping -Q 2 -c 4 -p 900 {plain4}",
	"fping -b 100 -c 1 {plain4}",
	"fping -b 100 -c 1 {truncated4}",
	"fping -H 1 -c 1 {plain4}",
	"fping -H 1 {plain4}",
	"fping -M -b 1400 -r 0 {narrow4}",
	"fping -M -b 1400 -c 2 -p 900 {narrow4}",
	"fping -c 3 -p 0 {plain4}",
	"fping -r 0 127.1 0x7f000001",
	"fping -O 0x10 -c 1 {plain4}",
	"fping -R -c 1 {plain4}",
	"fping -x 1 -r 0 {plain4} {silent4}",
	"fping -x 2 -r 0 {plain4} {silent4}",
	"fping -q {plain4}",
	"fping -q -r 0 {silent4}",
	"fping -r 0 -g {elsewhere4} {third4}",
	"fping -r 0 -g 192.0.2.4/30",
	"fping -4 -r 0 plain.example",
	"fping -6 -r 0 plain.example",
	"fping6 -r 0 plain.example",
	"fping6 -r 0 {plain6}",
	"fping -A -r 0 plain.example",
	"fping -n -r 0 {plain4}",
	"fping -d -r 0 {plain4}",
	"fping -A -n -r 0 {plain4}",
	"fping -i 100 -m -A -r 0 plain.example",
	"fping -I r1 -r 0 {plain4}",
	"fping -S {plain4} -r 0 {plain4}",
	"fping -T 5 -r 0 {plain4}",
	"fping -r 0 nosuch.example",
	"fping -r 0 nosuch.example {plain4}",
	"fping -a -c 1 -p 600 {plain4}",

	// traceroute: with -w, since it is a matter of time else how long an answer is waited for
	"traceroute -w 2 {plain4}", // with names
	"traceroute -w 2 {plain6}",
	"traceroute -w 2 plain.example",
	"traceroute -w 2 -6 plain.example",
	"traceroute6 -w 2 plain.example",
	"traceroute6 -w 2 -n {plain6}",
	"traceroute -w 2 -n {plain4}",
	"traceroute -w 2 -n -T -q 1 {plain4}",
	"traceroute -w 2 -n -T -q 1 {plain6}",
	"traceroute -w 2 -n -T -p 80 -O info -q 1 {plain4}",
	"traceroute -w 2 -n -U -q 1 {plain4}",
	"traceroute -w 2 -n -U -p 9 -q 1 {plain6}",
	"traceroute -n -UL -q 1 -m 3 -w 1 {target4}",
	"traceroute -n -P 253 -q 1 -m 4 -w 1 {target4}",
	"traceroute -w 2 -n -M icmp -q 1 {plain4}",
	"traceroute -w 2 -n -M tcpconn -q 1 {target4}",
	"traceroute -w 2 -n -f 2 -m 3 {plain4}",
	"traceroute -w 2 -n -f 3 -q 1 {plain4}",
	"traceroute -w 2 -n -m 2 {plain4}",
	"traceroute -w 2 -n -q 10 -m 1 {plain4}",
	"traceroute -w 2 -n -q 1 {plain4} 100",
	"traceroute -w 2 -n -q 1 {plain4} 1400",
	"traceroute -w 2 -n -q 1 {plain6} 40",
	"traceroute -n -F -q 1 -m 4 -w 1 {narrow4} 1400",
	"traceroute -n -F -q 1 -m 4 -w 1 {narrow6} 1400",
	"traceroute -w 2 -n --mtu {narrow4}",
	"traceroute -w 2 -n --mtu {narrow6}",
	"traceroute -w 2 -n --back -q 1 {ttl4}",
	"traceroute -w 2 -n --back -q 1 {plain4}",
	"traceroute -w 2 -n -e -q 1 {plain4}",
	"traceroute -w 2 -n --sport=44444 -q 1 {plain4}",
	"traceroute -w 2 -n -N 1 -q 1 {plain4}",
	"traceroute -w 2 -n -z 0.05 -q 1 {plain4}",
	"traceroute -w 2 -n -t 16 -q 1 {plain4}",
	"traceroute -w 2 -n -i r1 -q 1 {plain4}",
	"traceroute -n -w 1,3,10 -q 2 -m 4 {silent4}",
	"traceroute -n -q 1 -m 4 -w 1 {third4}",
	"traceroute -nq1 {plain4} -m5",
	"traceroute -w 2 {plain4} -n -q 1",
	"traceroute -w 2 -n 127.0.0.1",
	"traceroute -w 2 -n -q 3 -m 40 {reject-14}",

	// tracepath
	"tracepath {plain4}", // with names
	"tracepath {plain6}",
	"tracepath -b {plain4}",
	"tracepath -n -4 plain.example",
	"tracepath -n -6 plain.example",
	"tracepath -n -l 500 {plain4}",
	"tracepath -n -l 500 {plain6}",
	"tracepath -n -l 1400 {narrow4}",
	"tracepath -n -p 33434 {plain4}",
	"tracepath -n -m 2 {plain4}",
	"tracepath -n -m 1 {plain4}",
	"tracepath -n {ttl4}",
	"tracepath -n 127.0.0.1",
}

// wrong are command lines that are wrong, cannot be done, or ask for help. What
// is said of that is each program's own: our words are to help. But where it is said, and the status, are the same.
var wrong = []kase{
	"ping",
	"ping -c",
	"ping -c 0 {plain4}",
	"ping -c x {plain4}",
	"ping -n -i -1 -c 1 {plain4}",
	"ping -n -s 70000 -c 1 {plain4}",
	"ping -t 0 {plain4}",
	"ping -t 256 {plain4}",
	"ping -n -W x -c 1 {plain4}",
	"ping -l 70000 {plain4}",
	"ping -M maybe {plain4}",
	"ping -p xyz {plain4}",
	"ping -Z {plain4}",
	"ping -4 -6 {plain4}",
	"ping -V",
	"ping -n -I {plain4} -c 1 {plain4}",
	"ping -n -I nosuch -c 1 {plain4}",
	"ping6 -n -c 1 {plain4}",
	"ping -6 -n -c 1 {plain4}",
	"ping -4 -n -c 1 {plain6}",
	"ping -n -c 1 nosuch.example",
	"ping -h",

	"fping -f /nonexistent",
	"fping -c 0 {plain4}",
	"fping -c x {plain4}",
	"fping -b 70000 {plain4}",
	"fping -H 0 {plain4}",
	"fping -H 256 {plain4}",
	"fping -c 1 -C 1 {plain4}",
	"fping -Z {plain4}",
	"fping -v",
	"fping",
	"fping -h",
	"fping -x 0 {plain4}",
	"fping -g 192.0.2.1",
	"fping -I nosuch {plain4}",
	"fping -p 1 -t 900 -c 1 {plain4}",
	"fping -t 0 {plain4}",

	"traceroute6 -n {plain4}",
	"traceroute -n -4 {plain6}",
	"traceroute -n -i nosuch -q 1 {plain4}",
	"traceroute -n -s {plain4} {plain4}",
	"traceroute -n nosuch.example",
	"traceroute -n -m 256 {plain4}",
	"traceroute -n -m 0 {plain4}",
	"traceroute -n -f 0 {plain4}",
	"traceroute -n -f 10 -m 5 {plain4}",
	"traceroute -n -q 11 {plain4}",
	"traceroute -n -q 0 {plain4}",
	"traceroute -n -w -1 {plain4}",
	"traceroute -n -p x {plain4}",
	"traceroute -n -M nosuch {plain4}",
	"traceroute -n {plain4} 70000",
	"traceroute -n {plain4} x",
	"traceroute -n {plain4} 60 60",
	"traceroute --nosuch {plain4}",
	"traceroute -n -q",
	"traceroute",
	"traceroute -V",
	"traceroute --help",

	"tracepath -n nosuch.example",
	"tracepath -m 0 {plain4}",
	"tracepath -m 300 {plain4}",
	"tracepath -l 1 {plain4}",
	"tracepath -p 0 {plain4}",
	"tracepath -Z",
	"tracepath",
	"tracepath -V",
}

func cases(o *lab.Odd) []kase { return slices.Concat(everywhere(o), further, wrong) }
