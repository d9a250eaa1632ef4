package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"gtrace/rawsock"
	"gtrace/report"
)

// lookups is how many names are looked up at a time.
const lookups = 16

// resolver asks the name servers itself: libc's way would load code that
// the system's configuration names.
var resolver = &net.Resolver{PreferGo: true}

// A host is one that the user named.
type host struct {
	number  int        // in the order given
	name    string     // as given
	addr    netip.Addr // invalid where err is not nil
	source  netip.Addr
	err     error
	unknown bool // its name has no address

	group *group // several methods measure it; nil: one does
	way   int    // which this is
}

// resolve finds each host's address and the address to send from, in the order
// of names. Only the waiting for name servers is done at the same time.
func (s *session) resolve(ctx context.Context, names []string) []host {
	hosts := make([]host, len(names))
	all := make([][]netip.Addr, len(names))
	var wg sync.WaitGroup
	slots := make(chan struct{}, lookups)
	for i, name := range names {
		if isAddress(name) {
			all[i], hosts[i].err = s.addresses(ctx, name)
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			all[i], hosts[i].err = s.addresses(ctx, name)
		})
	}
	wg.Wait()
	for i, name := range names {
		hosts[i] = s.settled(found{i, name, all[i], hosts[i].err})
	}
	if s.everyAddress {
		return s.each(hosts, all)
	}
	return hosts
}

// A found is a name and its addresses.
type found struct {
	number int
	name   string
	addrs  []netip.Addr
	err    error // of the look-up; where there is no name, of a line of a list
}

// settled is the host that was found.
func (s *session) settled(f found) host {
	h := host{number: f.number, name: f.name, err: f.err, unknown: f.err != nil}
	if h.err == nil {
		h.addr, h.source, h.err = s.choose(f.name, f.addrs)
	}
	return h
}

// find looks up the names of all there is as it is read, beside the measurement. What waits for the measurement is bounded, and an address
// does not wait for names before it.
func (r *roster) find(ctx context.Context) <-chan found {
	out := make(chan found, readAhead)
	give := func(f found) {
		if ctx.Err() != nil { // what a look-up says then is of no host
			return
		}
		select {
		case out <- f:
		case <-ctx.Done():
		}
	}
	go func() {
		var wg sync.WaitGroup
		defer func() {
			if wg.Wait(); ctx.Err() == nil { // else it is no end
				close(out)
			}
		}()
		slots := make(chan struct{}, lookups)
		n := 0
		look := func(name string) {
			f := found{number: n, name: name}
			n++
			if isAddress(name) {
				f.addrs, f.err = r.s.addresses(ctx, name)
				give(f)
				return
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				f.addrs, f.err = r.s.addresses(ctx, name)
				give(f)
			})
		}
		for _, name := range r.names {
			look(name)
		}
		for {
			select {
			case i, ok := <-r.items:
				switch {
				case !ok:
					return
				case i.err != nil:
					give(found{err: i.err})
				case !i.idle:
					look(i.name)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// each makes one of every address found.
func (s *session) each(hosts []host, found [][]netip.Addr) (all []host) {
	for i, h := range hosts {
		n := len(found[i])
		if n > 0 && len(all)+n > maxTargets {
			h.err = errTooMany
		}
		if n < 2 || h.err == errTooMany {
			all = append(all, h)
			continue
		}
		for _, a := range found[i] {
			h.addr, h.source, h.err = s.choose(h.name, []netip.Addr{a})
			all = append(all, h)
		}
	}
	return all
}

// choose returns the first of the addresses of name that there are sockets and a way for,
// and the address to send from.
func (s *session) choose(name string, found []netip.Addr) (dst, src netip.Addr, err error) {
	caps := s.env.Conn.Caps()
	for _, a := range found {
		switch { // which the kernel takes for this host
		case !a.IsUnspecified() || !s.tool.verbatim():
		case a.Is4():
			a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		default:
			a = netip.IPv6Loopback()
		}
		if device := s.tool.settings().Device; device != "" && a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
			a = a.WithZone(device)
		}
		src, why := s.sourceFor(a)
		if a.Is4() && !caps.IPv4 || a.Is6() && !caps.IPv6 {
			why = fmt.Errorf("this host has no IPv%d sockets", familyOf(a))
		}
		switch {
		case why == nil:
			return a, src, nil
		case err != nil: // what is wrong with the best one is told
		case a.String() == name:
			err = why
		default:
			err = fmt.Errorf("%s: %w", a, why)
		}
	}
	return dst, src, err
}

// addresses are those of name that the options allow, best first, at least one.
func (s *session) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	family := s.family
	if family == 0 && s.source.IsValid() {
		family = familyOf(s.source)
	}
	if a, ok := report.Address(name); ok {
		a = a.Unmap()
		if family != 0 && familyOf(a) != family {
			return nil, fmt.Errorf("is no IPv%d %w", family, errFamily)
		}
		return []netip.Addr{a}, nil
	}
	if name == "" || strings.HasPrefix(name, "-") {
		return nil, errors.New("is no host name")
	}
	network := map[int]string{0: "ip", 4: "ip4", 6: "ip6"}[family]
	found, err := s.env.lookup(ctx, network, name)
	if err != nil {
		return nil, lookupError{err, name}
	}
	var as []netip.Addr
	for _, a := range found[:min(len(found), maxAddresses)] {
		if a = a.Unmap(); family == 0 || familyOf(a) == family {
			as = append(as, a)
		}
	}
	if len(as) == 0 {
		return nil, fmt.Errorf("look up the name: no %w of the family asked for", errFamily)
	}
	return as, nil
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// A lookupError keeps what the name system said and leaves out the name, which stands before it already. Of what is no name
// it tells what may have been meant.
type lookupError struct {
	error
	name string
}

func (e lookupError) Error() string {
	if e.name == "help" { // it may be a host, but mostly is none
		return e.why() + "; for the options: --help"
	}
	return e.why()
}

func (e lookupError) why() string {
	var dns *net.DNSError
	switch {
	case errors.As(e.error, new(*net.AddrError)): // there are addresses, but of the other family
		return "look up the name: no address of the family asked for"
	case !errors.As(e.error, &dns):
		return fmt.Sprintf("look up the name: %v", e.error)
	case dns.Server != "" && !dns.IsNotFound:
		return fmt.Sprintf("look up the name: %s (name server %s)", dns.Err, dns.Server)
	case dns.IsNotFound && meant(e.name) != "":
		return meant(e.name)
	}
	return "look up the name: " + dns.Err
}

func (e lookupError) Unwrap() error { return e.error }

// errFamily is wrapped where a host has no address of the family asked for.
var errFamily = errors.New("address")

// sourceFor returns the address to send to dst from. What reaches many hosts at once is refused,
// unless the tool has said that it can tell their answers apart.
func (s *session) sourceFor(dst netip.Addr) (netip.Addr, error) {
	switch {
	case dst.IsUnspecified():
		return netip.Addr{}, errors.New("is no address of a host")
	case !s.crowds && (dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})):
		return netip.Addr{}, errors.New("broadcast and multicast addresses are not probed")
	case dst.Is6() && dst.IsLinkLocalUnicast() && dst.Zone() == "":
		return netip.Addr{}, fmt.Errorf("a link-local address needs its interface, as in %s%%eth0", dst)
	case s.source.IsLoopback() && !s.isHere(dst):
		return netip.Addr{}, fmt.Errorf("--source %s: is of this host alone, so no answer could come back from another", s.source)
	case s.source.IsValid():
		return s.source, nil
	}
	src, err := s.env.source(dst, s.tool.settings())
	if errors.Is(err, errBroadcast) {
		return netip.Addr{}, err
	}
	if err != nil {
		var refused *rawsock.SendError
		if errors.As(err, &refused) { // it names the destination, as we do
			err = refused.Err
		}
		if errors.Is(err, rawsock.ErrZone) {
			return netip.Addr{}, fmt.Errorf("%w (ip link lists those of this host)", err)
		}
		return netip.Addr{}, fmt.Errorf("no route from here: %w", err)
	}
	return src, nil
}

// isHere reports whether a is an address of this host.
func (s *session) isHere(a netip.Addr) bool {
	return a.IsLoopback() || s.env.Conn.Local(a.WithZone(""))
}

// checkVia refuses a loopback source on the way by a gateway: whoever the last one is, the first is another host.
func (s *session) checkVia(src, via netip.Addr) error {
	if !via.IsValid() || !src.IsLoopback() || s.isHere(via) {
		return nil
	}
	return fmt.Errorf("--gateway %s: is another host, and %s, the source, is of this host alone: no answer could come back", via, src)
}
