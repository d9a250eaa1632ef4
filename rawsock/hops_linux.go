package rawsock

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// hops knows where packets go that leave past the routing table, by asking that for them. To ask for each destination would take longer than
// to send to it. But destinations with the same longest prefix among all that any table or rule names go one way: what else matches the one matches
// the other too. So one is asked for all of them, again each second.
type hops struct {
	ways *ways
	mark uint32

	read    time.Time
	spans   [2][]span // of IPv4 and IPv6, sorted
	nodes   map[hopKey]*hop
	refused time.Time // until then every packet goes by the raw sockets
}

// mostPrefixes bounds the memory, and the time that reading takes each second. Who has more routes has raw sockets.
const mostPrefixes = 2048

// A span are the addresses from one to where the next span begins, all with the same longest prefix.
type span struct {
	from  netip.Addr
	one   bool // packets there go one way
	cells []cell
}

// mostCells is from how many sources a span is remembered.
const mostCells = 16

// A cell is the way from a source to the addresses of a span.
type cell struct {
	src  netip.Addr
	ok   bool // it leads to a link by which packet sockets send
	oif  uint32
	mtu  int
	bare bool // the link has no addresses
	via  *hop // the router or the bare link; nil: each destination is a node of its own
}

type hopKey struct {
	addr netip.Addr
	oif  uint32
}

// A hop is the next node on the way, on a link of this host.
type hop struct {
	key  hopKey
	at   time.Time // when a packet last went there by the raw socket
	seen time.Time // when its address was last asked for
	ok   bool
	n    uint8 // bytes of the address
	addr [8]byte
}

// unresolvedAge is after how long a neighbour without an address is looked for again.
const unresolvedAge = 20 * time.Millisecond

// to returns what a packet to dst must be sent to, or nil where that is for a raw socket to find out. The first packet to each next node is
// of those, and one a second after it: by them the kernel knows that the neighbour is in use, and keeps its address up to date, and
// by them a firewall is heard.
func (h *hops) to(src, dst netip.Addr, size int, now time.Time) *hop {
	if now.Before(h.refused) {
		return nil
	}
	if now.Sub(h.read) >= wayMaxAge {
		h.reread(now)
	}
	c := h.cellOf(src, dst)
	if c == nil || !c.ok || size > c.mtu {
		return nil
	}
	x := c.via
	if x == nil {
		x = h.node(hopKey{dst, c.oif})
	}
	switch {
	case now.Sub(x.at) >= wayMaxAge:
		x.at, x.ok, x.seen = now, false, time.Time{}
		return nil
	case !x.ok && now.Sub(x.seen) >= unresolvedAge:
		x.seen = now
		x.ok = c.bare || x.ask()
	}
	if !x.ok {
		return nil
	}
	return x
}

// node is what is known of the next node of that address, remembered from before or new.
func (h *hops) node(k hopKey) *hop {
	x := h.nodes[k]
	if x == nil {
		if len(h.nodes) >= maxWays {
			clear(h.nodes)
		}
		x = &hop{key: k}
		h.nodes[k] = x
	}
	return x
}

// cellOf finds the cell of dst, and asks the kernel for its way where that is not known.
func (h *hops) cellOf(src, dst netip.Addr) *cell {
	s := spanOf(h.spans[family(dst)], dst)
	if s == nil || !s.one {
		return nil
	}
	for j := range s.cells {
		if s.cells[j].src == src {
			return &s.cells[j]
		}
	}
	if len(s.cells) >= mostCells {
		s.cells = nil
	}
	s.cells = append(s.cells, h.askCell(src, dst))
	return &s.cells[len(s.cells)-1]
}

// spanOf is the span that a is in, nil before the first.
func spanOf(spans []span, a netip.Addr) *span {
	i, found := slices.BinarySearchFunc(spans, a, func(s span, a netip.Addr) int { return s.from.Compare(a) })
	if found {
		return &spans[i]
	}
	if i == 0 {
		return nil
	}
	return &spans[i-1]
}

// askCell asks the routing table and the device. Only a unicast way to a link of a kind that is known is one for packet sockets.
func (h *hops) askCell(src, dst netip.Addr) (c cell) {
	c.src = src
	r, err := wayTo(src, dst, h.ways.oif, h.mark)
	if err != nil || !r.plain {
		return c
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], r.oif)
	err = askTables(unix.RTM_GETLINK, 0, body, func(m *netlinkMessage) bool {
		kind, flags := binary.NativeEndian.Uint16(m.head[2:]), binary.NativeEndian.Uint32(m.head[8:])
		if flags&unix.IFF_UP == 0 {
			return false
		}
		switch kind {
		case unix.ARPHRD_ETHER:
			c.ok = flags&unix.IFF_NOARP == 0
		case unix.ARPHRD_NONE, unix.ARPHRD_PPP, unix.ARPHRD_RAWIP:
			c.ok, c.bare = true, true
		}
		return false
	})
	if err != nil || !c.ok {
		return cell{src: src}
	}
	c.oif, c.mtu = r.oif, deviceMTU(r.oif, dst.Is6())
	if c.bare {
		r.router = netip.Addr{}
	}
	if c.bare || r.router.IsValid() {
		c.via = h.node(hopKey{r.router, r.oif})
	}
	return c
}

// Neighbours of these states have an address that packets are sent to (neighbour.h's NUD_VALID).
const neighbourValid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// ask asks the kernel for the neighbour's link address; before Linux 5.0 it does not tell of one alone.
func (x *hop) ask() (ok bool) {
	body := make([]byte, unix.SizeofNdMsg)
	body[0] = unix.AF_INET
	if x.key.addr.Is6() {
		body[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(body[4:], x.key.oif)
	body = appendAttr(body, unix.NDA_DST, x.key.addr.AsSlice())
	err := askTables(unix.RTM_GETNEIGH, 0, body, func(m *netlinkMessage) bool {
		a := m.attr(unix.NDA_LLADDR)
		if binary.NativeEndian.Uint16(m.head[8:])&neighbourValid != 0 && len(a) > 0 && len(a) <= len(x.addr) {
			x.n, ok = uint8(copy(x.addr[:], a)), true
		}
		return false
	})
	return ok && err == nil
}

var errTooMany = errors.New("more routes than are looked at")

// prefixes are those of all tables and rules; false: packets there may go several ways.
type prefixes map[netip.Prefix]bool

// reread forgets all ways, and reads which prefixes there are.
func (h *hops) reread(now time.Time) {
	h.read, h.spans = now, [2][]span{}
	if h.nodes == nil {
		h.nodes = make(map[hopKey]*hop)
	}
	if ps, err := readPrefixes(); err == nil {
		h.spans = ps.spans()
	}
}

func family(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// spans cuts the addresses where a prefix begins or ends.
func (ps prefixes) spans() (all [2][]span) {
	sorted := slices.SortedFunc(maps.Keys(ps), func(a, b netip.Prefix) int { // a wider one before what is within it
		return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
	})
	var open []netip.Prefix // each within the one before
	add := func(from netip.Addr) {
		l := &all[family(from)]
		// A rule may choose a wider prefix's route over a longer one's, so all must lead one way.
		one := len(open) > 0
		for _, p := range open {
			one = one && ps[p]
		}
		if n := len(*l); n > 0 && (*l)[n-1].from == from {
			*l = (*l)[:n-1]
		}
		*l = append(*l, span{from: from, one: one})
	}
	closeTo := func(next netip.Prefix) {
		for len(open) > 0 && !open[len(open)-1].Overlaps(next) {
			end := lastOf(open[len(open)-1]).Next()
			open = open[:len(open)-1]
			if end.IsValid() {
				add(end)
			}
		}
	}
	for _, p := range sorted {
		closeTo(p)
		open = append(open, p)
		add(p.Addr())
	}
	closeTo(netip.Prefix{})
	return all
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func readPrefixes() (prefixes, error) {
	ps := make(prefixes)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		for _, typ := range []uint16{unix.RTM_GETROUTE, unix.RTM_GETRULE} {
			body := make([]byte, unix.SizeofRtMsg)
			body[0] = family
			var many error
			err := askTables(typ, unix.NLM_F_DUMP, body, func(m *netlinkMessage) bool {
				many = ps.add(m)
				return many == nil
			})
			if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) || many != nil {
				return nil, errors.Join(err, many)
			}
		}
	}
	return ps, nil
}

// What linux/fib_rules.h and linux/rtnetlink.h have beside what x/sys knows.
const (
	rtaNextHop = 30 // RTA_NH_ID
	ruleProto  = 22 // FRA_IP_PROTO: from there on they say what else of a packet a rule looks at
	rulePort   = 24 // FRA_DPORT_RANGE
	ruleLast   = 63 // and beyond what there is
)

var errRule = errors.New("a rule that looks at more than addresses and marks")

// add notes the prefix of a route, or that a rule is for.
func (ps prefixes) add(m *netlinkMessage) error {
	if m.head[0] != unix.AF_INET && m.head[0] != unix.AF_INET6 {
		return nil
	}
	var a netip.Addr
	if b := m.attr(unix.RTA_DST); b != nil { // FRA_DST is as much
		a, _ = netip.AddrFromSlice(b)
	} else if m.head[0] == unix.AF_INET {
		a = netip.IPv4Unspecified()
	} else {
		a = netip.IPv6Unspecified()
	}
	p, err := a.Prefix(int(m.head[1]))
	if err != nil {
		return err
	}
	tos := m.head[3] != 0
	one := true
	if m.typ == unix.RTM_NEWRULE {
		for typ := uint16(ruleProto); typ <= ruleLast; typ++ {
			tos = tos || m.attr(typ) != nil
		}
		if tos {
			return errRule
		}
	} else {
		one = !tos && m.attr(unix.RTA_MULTIPATH) == nil && m.attr(rtaNextHop) == nil
	}
	was, known := ps[p]
	ps[p] = one && (was || !known)
	if len(ps) > mostPrefixes {
		return errTooMany
	}
	return nil
}
