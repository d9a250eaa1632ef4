// Command bench runs gtrace and gping beside traceroute and ping, on
// loopback, and prints how long whole runs take: the median of each and the
// ratio of the two. Runs of both take turns, so that whatever else the machine
// does hits both. It measures; nothing here passes or fails by a time.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A race is one thing both programs can do.
type race struct {
	what         string
	ours, theirs []string
}

var races = []race{
	{"path to 127.0.0.1, one probe", strings.Fields("bin/gtrace -q1 127.0.0.1"), strings.Fields("traceroute -n -q1 127.0.0.1")},
	{"path to 127.0.0.1, as it comes", strings.Fields("bin/gtrace 127.0.0.1"), strings.Fields("traceroute -n 127.0.0.1")},
	{"path to ::1, as it comes", strings.Fields("bin/gtrace ::1"), strings.Fields("traceroute -n ::1")},
	{"one ping to 127.0.0.1", strings.Fields("bin/gping -c1 127.0.0.1"), strings.Fields("ping -n -c1 127.0.0.1")},
	{"100 pings, 2 ms apart", strings.Fields("bin/gping -q -c100 -i.002 127.0.0.1"), strings.Fields("ping -n -q -c100 -i.002 127.0.0.1")},
}

func main() {
	runs := flag.Int("runs", 21, "how often each program runs")
	flag.Parse()
	if *runs < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	fmt.Printf("%-31s %10s %10s  %s\n", "median of "+fmt.Sprint(*runs)+" whole runs", "ours", "theirs", "ratio (below 1: ours is faster)")
	for _, r := range races {
		if err := r.run(os.Stdout, *runs); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
	}
}

func (r race) run(w io.Writer, runs int) error {
	if _, err := exec.LookPath(r.theirs[0]); errors.Is(err, exec.ErrNotFound) {
		fmt.Fprintf(w, "%-31s left out: %s is not installed\n", r.what, r.theirs[0])
		return nil
	}
	var ours, theirs []time.Duration
	for range runs {
		for _, p := range []struct {
			args []string
			took *[]time.Duration
		}{{r.ours, &ours}, {r.theirs, &theirs}} {
			d, err := once(p.args)
			if err != nil {
				return err
			}
			*p.took = append(*p.took, d)
		}
	}
	a, b := median(ours), median(theirs)
	fmt.Fprintf(w, "%-31s %10s %10s  %.2f\n", r.what, a.Round(time.Microsecond), b.Round(time.Microsecond), float64(a)/float64(b))
	return nil
}

func once(args []string) (time.Duration, error) {
	c := exec.Command(args[0], args[1:]...)
	start := time.Now()
	out, err := c.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, cmp.Or(strings.TrimSpace(string(out)), "no output"))
	}
	return took, nil
}

// median is the middle one, or of an even number the mean of the middle two.
func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	n := len(ds)
	return (ds[(n-1)/2] + ds[n/2]) / 2
}
