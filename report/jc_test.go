package report

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gtrace/probe"
)

// needJC skips a test where jc is not installed.
func needJC(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("jc")
	if err != nil {
		t.Skip("left out: jc is not installed; apt-get install jc")
	}
	return path
}

// A jcTrace is what `jc --traceroute` makes of a text.
type jcTrace struct {
	IP   string `json:"destination_ip"`
	Name string `json:"destination_name"`
	Hops []struct {
		Hop    int
		Probes []struct {
			IP, Name, Annotation *string
			ASN                  *int
			RTT                  *float64
		}
	}
}

func readByJC(t *testing.T, jc, text string) (out jcTrace) {
	t.Helper()
	c := exec.CommandContext(t.Context(), jc, "--traceroute")
	c.Stdin = strings.NewReader(text)
	var stderr strings.Builder
	c.Stderr = &stderr
	b, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("jc: %v\n%s\nreading\n%s", err, &stderr, text)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return out
}

// times are the round-trip times of hops with what stands behind each, as jc takes a word that begins with "!".
func (j *jcTrace) times() (all []string) {
	for _, h := range j.Hops {
		for _, p := range h.Probes {
			if p.RTT != nil {
				s := fmt.Sprintf("%d %.3f", h.Hop, *p.RTT)
				if p.Annotation != nil {
					s += " " + *p.Annotation
				}
				all = append(all, s)
			}
		}
	}
	return all
}

func wantedTimes(hs []probe.Hop) (all []string) {
	for _, h := range hs {
		for i := range h.Outcomes {
			o := &h.Outcomes[i]
			if d, ok := rtt(o); ok && o.Status == probe.Answered {
				s := fmt.Sprintf("%d %.3f", h.TTL, float64(d.Round(1000).Microseconds())/1000)
				if a := annotation(o); a != "" {
					s += " " + a
				}
				all = append(all, s)
			}
		}
	}
	return all
}

// TestJCReadsAnyRun: whatever happens in a run, and whatever is printed of it, jc finds every hop and every time, and nothing
// else.
func TestJCReadsAnyRun(t *testing.T) {
	jc := needJC(t)
	texts := []string{"one in 1000 ms, that is 5  msec", " * ", "a * b * * c", "192.0.2.1 x 1.000 ms !H", "3  192.0.2.1  0.4 ms", "ms", "\t1\tms\n 4  x"}
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := started(udpMethod)
		s.Target = s.Dst.String()
		if r.IntN(2) == 0 {
			s.Dst = dest6
		}
		events := []probe.Event{s}
		var hops []probe.Hop
		for ttl := uint8(1 + r.IntN(2)*97); len(hops) < 6; ttl++ {
			h := probe.Hop{TTL: ttl}
			for n := range 1 + r.IntN(4) {
				o := hopAnswer(number(uint64(len(events)), ttl, uint32(n+1)))
				if s.Dst.Is6() {
					v6(&o)
				}
				from := o.From
				switch o = someAnswer(r, o); r.IntN(5) {
				case 0:
					lost(&o)
				case 1:
					refused(&o)
				case 2:
					o.From = from
				}
				h.Outcomes = append(h.Outcomes, o)
				events = append(events, &probe.Probed{Outcome: o})
			}
			if r.IntN(3) == 0 {
				events = append(events, probe.PathMTU{TTL: ttl, Bytes: 1400})
			}
			hops = append(hops, h)
			events = append(events, h)
		}
		for range r.IntN(4) {
			events = append(events, probe.Finding{Code: "some-thing", Text: texts[r.IntN(len(texts))]})
		}
		events = append(events, probe.Checked{}, reached(9))
		o := Options{Extensions: r.IntN(2) == 0, Back: r.IntN(2) == 0, Flags: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			o.Names = says([]string{"", "gw1.example.org", "5 ms !H * (1.2.3.4)"}[r.IntN(3)])
		}
		if r.IntN(2) == 0 {
			o.Origins = says([]string{"", "AS64496", "AS1/AS2"}[r.IntN(3)])
		}
		text := run(t, NewTrace, "text", o, events...)
		j := readByJC(t, jc, text)
		if j.IP != s.Dst.String() || j.Name != s.Target {
			t.Errorf("seed %d: to %s (%s), want %s (%s)", seed, j.Name, j.IP, s.Target, s.Dst)
		}
		var got, want []int
		for _, h := range j.Hops {
			got = append(got, h.Hop)
		}
		for _, h := range hops {
			want = append(want, int(h.TTL))
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: hops %v, want %v in\n%s", seed, got, want, text)
		}
		if got, want := j.times(), wantedTimes(hops); !slices.Equal(got, want) {
			t.Errorf("seed %d: times\n%q\nwant\n%q\nin\n%s", seed, got, want, text)
		}
	}
}

// TestJCReadsNames: names, addresses and autonomous systems come to jc as traceroute's do.
func TestJCReadsNames(t *testing.T) {
	jc := needJC(t)
	text := run(t, NewTrace, "text", Options{Names: labNames(), Origins: labOrigins(), Extensions: true, Back: true},
		started(udpMethod), &probe.Probed{Outcome: hopAnswer(from("10.1.0.1"))},
		probe.Hop{TTL: 1, Outcomes: []probe.Outcome{hopAnswer(from("10.1.0.1"), stacks([]probe.Label{{Value: 5, Bottom: true}}))}}, reached(1))
	p := readByJC(t, jc, text).Hops[0].Probes[0]
	if p.IP == nil || *p.IP != "10.1.0.1" || p.Name == nil || *p.Name != "gw.example.org" || p.ASN == nil || *p.ASN != 64496 || p.RTT == nil || *p.RTT != 0.413 {
		t.Errorf("%+v of\n%s", p, text)
	}
}
