package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A result is what one run took.
type result struct {
	Wall, CPU time.Duration
	Memory    int64         // bytes, the most it had at a time
	Probes    int64         // packets that left by the device
	Span      time.Duration // from the first of them to the last
	Dropped   int64         // packets and answers that this bench was too slow for
	Late      time.Duration // after they were due: 99 of 100 answers at most, up to a power of two
	Status    string        // how it ended, where that was neither yes nor no
	finding
}

// A row is a tool and its runs.
type row struct {
	Tool    tool
	Absent  bool
	Hosts   int // asked in one run
	Results []result
}

// median is the middle of what of gives for each run, or of an even number the mean of the middle two.
func (r *row) median(of func(result) float64) float64 {
	var xs []float64
	for _, x := range r.Results {
		xs = append(xs, of(x))
	}
	slices.Sort(xs)
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2
}

func (r *row) wall() float64   { return r.median(func(x result) float64 { return float64(x.Wall) }) }
func (r *row) cpu() float64    { return r.median(func(x result) float64 { return float64(x.CPU) }) }
func (r *row) memory() float64 { return r.median(func(x result) float64 { return float64(x.Memory) }) }
func (r *row) probes() float64 { return r.median(func(x result) float64 { return float64(x.Probes) }) }

// rate is how many probes a second left between the first and the last.
func (r *row) rate() float64 {
	return r.median(func(x result) float64 { return float64(x.Probes-1) / max(1, float64(x.Span)) * 1e9 })
}

var heads = []string{"command", "hosts", "runs", "wall", "hosts/s", "CPU a host", "memory", "probes a host", "probes/s", "found", "wrong", "ours to it: wall", "CPU", "memory", "probes", ""}

// cells are the table of a scenario without its head. Ratios are per host, as not every tool was given all of them.
func cells(rows []row) (out [][]string) {
	ours := &rows[0]
	for i := range rows {
		r := &rows[i]
		if r.Absent {
			line := make([]string, len(heads))
			line[0], line[len(line)-1] = r.Tool.String(), r.Tool.program()+" is not installed"
			out = append(out, line)
			continue
		}
		hosts := float64(max(1, r.Hosts))
		line := []string{
			r.Tool.String(), strconv.Itoa(int(hosts)), strconv.Itoa(len(r.Results)),
			short(r.wall()), fmt.Sprintf("%.0f", hosts*1e9/r.wall()), short(r.cpu() / hosts), fmt.Sprintf("%.1f MB", r.memory()/(1<<20)),
		}
		if r.probes() > 0 {
			line = append(line, fmt.Sprintf("%.1f", r.probes()/hosts), fmt.Sprintf("%.0f", r.rate()))
		} else {
			line = append(line, "–", "–")
		}
		if all := r.median(func(x result) float64 { return float64(x.All) }); all > 0 {
			right := r.median(func(x result) float64 { return float64(x.Right) })
			line = append(line, fmt.Sprintf("%.2f %%", 100*right/all), fmt.Sprintf("%.0f", r.median(func(x result) float64 { return float64(x.Wrong) })))
		} else {
			line = append(line, "–", "–")
		}
		if r == ours || r.failed() != "" || ours.failed() != "" {
			line = append(line, "", "", "", "")
		} else {
			each := func(f func(*row) float64) string {
				if f(r) == 0 {
					return "–"
				}
				return fmt.Sprintf("%.2f", f(ours)/float64(max(1, ours.Hosts))/(f(r)/hosts))
			}
			line = append(line, each((*row).wall), each((*row).cpu), fmt.Sprintf("%.2f", ours.memory()/r.memory()), each((*row).probes))
		}
		out = append(out, append(line, r.remark()))
	}
	return out
}

// remark says what was wrong with the runs, or the bench.
func (r *row) remark() string {
	if why := r.failed(); why != "" {
		return why
	}
	var dropped int64
	var late time.Duration
	for _, x := range r.Results {
		dropped += x.Dropped
		late = max(late, x.Late)
	}
	switch {
	case dropped > 0:
		return fmt.Sprintf("the bench lost %d packets", dropped)
	case late >= 2*time.Millisecond:
		return fmt.Sprintf("answers up to %v late", late.Round(time.Millisecond))
	}
	return ""
}

// failed says how a run ended that did not end well.
func (r *row) failed() string {
	for _, x := range r.Results {
		if x.Status != "" {
			return x.Status
		}
	}
	return ""
}

// short is a time in nanoseconds with three digits.
func short(ns float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
		if ns >= u.size {
			return fmt.Sprintf("%.3g %s", ns/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.0f ns", ns)
}

// printTable prints a table for a terminal, and for a page.
func printTable(text, page io.Writer, name, what string, heads []string, lines [][]string) error {
	fmt.Fprintf(text, "\n%s: %s\n", name, what)
	t := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintf(page, "\n## %s: %s\n\n", name, what)
	put := func(cells []string) {
		_, e := fmt.Fprintf(page, "| %s |\n", strings.Join(cells, " | "))
		err = errors.Join(err, e)
	}
	for i, line := range append([][]string{heads}, lines...) {
		fmt.Fprintln(t, strings.Join(line, "\t"))
		if i > 0 {
			line = slices.Clone(line)
			line[0] = "`" + line[0] + "`"
		}
		put(line)
		if i == 0 {
			put(slices.Repeat([]string{"---"}, len(line)))
		}
	}
	return errors.Join(err, t.Flush())
}
