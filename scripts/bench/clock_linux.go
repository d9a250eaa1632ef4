package main

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"gtrace/internal/lab"
	"gtrace/internal/wire"
)

// clock runs tools in turns and returns what their times were wrong by.
func (r *runner) clock(ctx context.Context, tools []clockTool) (rows []clockRow, err error) {
	s, err := lab.BuildStandard()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	target := s.Target.Only(4)
	spent := make([]time.Duration, len(tools))
	rows = make([]clockRow, len(tools))
	for i, t := range tools {
		rows[i].tool = t.tool
		if _, err := exec.LookPath(t.program()); err != nil && !isOurs(t.program()) {
			rows[i].absent = true
		}
	}
	for range r.runs {
		for i, t := range tools {
			if rows[i].absent || spent[i] > r.budget {
				continue
			}
			start := time.Now()
			off, err := r.clockOnce(ctx, s, t, target)
			if err != nil {
				return nil, err
			}
			spent[i] += time.Since(start)
			rows[i].off = append(rows[i].off, off...)
		}
	}
	return rows, nil
}

func (r *runner) clockOnce(ctx context.Context, s *lab.Standard, t clockTool, target netip.Addr) (off []time.Duration, err error) {
	const most = 10_000 // packets
	c, err := s.Client.Capture("r1", most)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := slices.Clone(t.args)
	args[slices.Index(args, "TARGET")] = target.String()
	if isOurs(args[0]) {
		args[0] = filepath.Join(r.bin, args[0])
	}
	var out []byte
	err = s.Client.Do(func() (err error) {
		out, err = exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		return err
	})
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // something was lost: the rest has its times
	}
	ps, captureErr := c.Stop()
	if err := errors.Join(err, captureErr); err != nil {
		return nil, err
	}
	wired := wireTimes(ps, target)
	for p, told := range t.read(string(out)) {
		if real, ok := wired[p]; ok {
			off = append(off, (told - real).Abs())
		}
	}
	return off, nil
}

// wireTimes are the round-trip times of probes to target, by the stamps of a capture.
func wireTimes(ps []lab.Packet, target netip.Addr) map[place]time.Duration {
	type id struct {
		number    uint16 // of the IP packet; of an echo request 0, as its reply does not tell
		transport [8]byte
	}
	type sent struct {
		place
		at time.Time
	}
	probes, count := make(map[id]sent), make(map[int]int)
	times := make(map[place]time.Duration)
	for _, p := range ps {
		ip, err := wire.ParseIP(p.Data)
		if err != nil || len(ip.Transport()) < 8 {
			continue
		}
		t := ip.Transport()
		echo := ip.Proto() == wire.ProtoICMP && (t[0] == wire.Echo4 || t[0] == wire.EchoReply4)
		var key id
		switch {
		case echo:
			copy(key.transport[4:], t[4:8])
		case p.Out:
			key = id{ip.ID(), [8]byte(t)}
		default:
			m, err := wire.ParseICMPv4(t)
			if err != nil {
				continue
			}
			q, err := m.Quote()
			if err != nil || len(q.Transport()) < 8 {
				continue
			}
			key = id{q.ID(), [8]byte(q.Transport())}
		}
		if p.Out {
			if ip.Dst() != target {
				continue
			}
			at := place{}
			if !echo {
				at.ttl = int(ip.TTL())
			}
			at.number = count[at.ttl]
			count[at.ttl]++
			probes[key] = sent{at, p.At}
			continue
		}
		if s, ok := probes[key]; ok {
			times[s.place] = p.At.Sub(s.at)
		}
	}
	return times
}
