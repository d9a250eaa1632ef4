package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gtrace/probe"
	"gtrace/rawsock"
)

// Called by the name traceroute or traceroute6, gtrace has that tool's defaults: a classic flow, names of
// addresses wherever the output goes, and its exit status, which says how the program fared and nothing of
// the path: 0 for every trace that was made, 1 where this system refused it, 2 for what was
// asked for wrongly, an unknown host among it (measured with traceroute 2.1.2).
const (
	tracerouteRan     = 0
	tracerouteRefused = 1
	tracerouteWrong   = 2
)

// newTraceroute makes e and the tool what traceroute is, under that name.
func newTraceroute(e Env) (Env, *traceTool) {
	t := newTraceTool()
	t.called = e.Name
	if len(e.Args) == 0 { // it explains itself, and is content
		e.Args, e.Stdout = []string{"--help"}, e.Stderr
	}
	if e.lookup == nil {
		e.lookup = resolver.LookupNetIP
	}
	lookup := e.lookup
	e.lookup = func(ctx context.Context, network, name string) ([]netip.Addr, error) {
		found, err := lookup(ctx, network, name)
		// "If resolving a host name returns both IPv4 and IPv6 addresses, traceroute will use IPv4."
		slices.SortStableFunc(found, func(a, b netip.Addr) int { return familyOf(a.Unmap()) - familyOf(b.Unmap()) })
		return found, err
	}
	return e, t
}

// statusHelp is how the help explains the exit status.
func (t *traceTool) statusHelp() string {
	if t.called != "" {
		return "0 the trace was made, 1 this system refused it, 2 wrong use."
	}
	return "0 every host was reached, 1 one was not, 2 could not be told."
}

// named reports whether addresses have names wherever the output goes.
func (t *traceTool) named() bool { return t.called != "" }

func (t *traceTool) exit(y *tally) int {
	switch {
	case t.called == "":
		return y.worst()
	case y.unknown > 0:
		return tracerouteWrong
	case y.last.err != nil:
		return tracerouteRefused
	}
	return tracerouteRan
}

// failed is the exit status where nothing was measured. begun says that the options were right.
func (t *traceTool) failed(_ error, begun bool) int {
	switch {
	case t.called == "":
		return unsure
	case begun:
		return tracerouteRefused
	}
	return tracerouteWrong
}

// own has this host's word for it that a host cannot be reached printed as any other's, as traceroute and tracepath do. Under
// our own names it says nothing of the path (docs/decisions/0007-local-errors.md).
func own(s *probe.Spec) { s.Own = true }

// maxLength is the most that a packet can have.
const maxLength = 65535

// takeLength takes the packet length off the operands: a bare decimal number that is the last
// operand and not the only one.
func (t *traceTool) takeLength(operands []string) (hosts []string, err error) {
	last := len(operands) - 1
	switch {
	case last < 1:
		return operands, nil
	case t.called != "" && last > 1:
		return nil, fmt.Errorf("extra operand %s: want a host and a packet length", printable(operands[2]))
	}
	if n := operands[last]; strings.Trim(n, "0123456789") == "" && n != "" {
		if t.length, err = strconv.Atoi(n); err != nil || t.length > maxLength {
			return nil, fmt.Errorf("packet length %s: want up to %d (too big packetlen specified)", n, maxLength)
		}
		// 0 is what is left out.
		operands = operands[:last]
	}
	if t.called != "" && len(operands) > 1 {
		return nil, fmt.Errorf("extra operand %s: want a host and a packet length", printable(operands[1]))
	}
	return operands, nil
}

// A route is what --gateway asks for.
type route struct {
	kind     uint8 // of the IPv6 routing header
	gateways [][]netip.Addr
}

func (t *traceTool) addGateways(s string) error {
	if t.gateways != "" {
		s = t.gateways + "," + s
	}
	if n := strings.Count(s, ",") + 1; n > 128 {
		return fmt.Errorf("too many gateways specified: no more than 8 for IPv4 and 127 for IPv6, got %d", n)
	}
	for g := range strings.SplitSeq(s, ",") {
		if g == "" {
			return errors.New("want one or more gateways, separated by commas")
		}
	}
	t.gateways = s
	return nil
}

// findGateways looks the gateways up.
func (s *session) findGateways(ctx context.Context, list string) (route, error) {
	r := route{kind: probe.RouteMobile}
	names := strings.Split(list, ",")
	if n, err := strconv.ParseUint(names[0], 10, 8); err == nil {
		// "num,addr,addr..., where num is a route header type"
		if r.kind, names = uint8(n), names[1:]; len(names) == 0 {
			return r, errors.New("no gateway behind the type")
		}
		if s.family == 4 {
			return r, fmt.Errorf("type %d: IPv4, which --ipv4 asks for, has no routing headers", n)
		}
	}
	if n := len(names); n > 8 && r.kind == probe.RouteMobile {
		return r, fmt.Errorf("too many gateways specified: no more than 8, got %d", n)
	}
	for _, name := range names {
		found, err := s.addresses(ctx, name)
		if err != nil {
			return r, fmt.Errorf("%s: %w", printable(name), err)
		}
		r.gateways = append(r.gateways, found)
	}
	return r, nil
}

// to are the gateways on the way to dst: of each the first address of its family, or any, which is
// refused by who builds the route.
func (r route) to(dst netip.Addr) (as []netip.Addr) {
	for _, found := range r.gateways {
		i := slices.IndexFunc(found, func(a netip.Addr) bool { return a.Is4() == dst.Is4() })
		as = append(as, found[max(i, 0)])
	}
	return as
}

// giveUpHeaders replaces the connection by one as ordinary users have it, for methods that
// are about those.
func (s *session) giveUpHeaders() error {
	if s.env.Conn != nil && !s.env.Conn.Caps().Header {
		return nil
	}
	open := s.env.unprivileged
	if open == nil {
		open = func() (rawsock.Conn, error) { return rawsock.Open(rawsock.Options{Unprivileged: true}) }
	}
	c, err := open()
	if err != nil {
		s.begun = true
		return fmt.Errorf("open sockets as an ordinary user has them: %w", err)
	}
	if s.env.Conn != nil {
		_ = s.env.Conn.Close() // it is not missed
	}
	s.env.Conn, s.env.OpenErr = c, nil
	return nil
}
