package rawsock

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// hops knows where packets go that leave past the routing table, by asking that for them. To ask for each destination would take longer than to send to it.
// But destinations with the same longest prefix among all that any table or rule names go one way: what else may match the one matches the other too.
// So one is asked for all of them, again each second.
type hops struct {
	ways *ways
	mark uint32

	read     time.Time
	prefixes map[netip.Prefix]bool // false: packets there may go several ways
	lengths  [2][]int              // of the prefixes, longest first: IPv4's and IPv6's

	cells   map[cellKey]cell
	nodes   map[hopKey]*hop
	refused time.Time // until then every packet goes by the raw sockets
}

// mostPrefixes bounds the memory, and the time that reading takes each second. Who has more routes has raw sockets.
const mostPrefixes = 2048

// A cellKey is a way that many packets go.
type cellKey struct {
	src netip.Addr
	to  netip.Prefix
}

type cell struct {
	ok     bool // it leads to a link by which packet sockets send
	router netip.Addr
	oif    uint32
	mtu    int
	bare   bool // the link has no addresses
}

type hopKey struct {
	addr netip.Addr
	oif  uint32
}

// A hop is the next node on the way, on a link of this host.
type hop struct {
	mtu  int
	oif  uint32
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
	if !c.ok || size > c.mtu {
		return nil
	}
	k := hopKey{c.router, c.oif}
	if !k.addr.IsValid() && !c.bare {
		k.addr = dst
	}
	x := h.nodes[k]
	if x == nil {
		if len(h.nodes) >= maxWays {
			clear(h.nodes)
		}
		x = &hop{mtu: c.mtu, oif: c.oif}
		h.nodes[k] = x
	}
	switch {
	case now.Sub(x.at) >= wayMaxAge:
		x.at, x.ok, x.seen = now, false, time.Time{}
		return nil
	case !x.ok && now.Sub(x.seen) >= unresolvedAge:
		x.seen = now
		x.ok = c.bare || x.ask(k)
	}
	if !x.ok {
		return nil
	}
	return x
}

// cellOf finds the cell of dst, and asks the kernel for its way where that is not known.
func (h *hops) cellOf(src, dst netip.Addr) cell {
	family := 0
	if dst.Is6() {
		family = 1
	}
	for _, n := range h.lengths[family] {
		p, err := dst.Prefix(n)
		if err != nil {
			break
		}
		one, ok := h.prefixes[p]
		if !ok {
			continue
		}
		if !one {
			return cell{}
		}
		k := cellKey{src, p}
		c, ok := h.cells[k]
		if !ok {
			if len(h.cells) >= maxWays {
				clear(h.cells)
			}
			c = h.askCell(src, dst)
			h.cells[k] = c
		}
		return c
	}
	return cell{}
}

// askCell asks the routing table and the device. Only a unicast way to a link of a kind that is known is one for packet sockets.
func (h *hops) askCell(src, dst netip.Addr) (c cell) {
	r, err := wayTo(src, dst, h.ways.oif, h.mark)
	if err != nil || !r.plain {
		return cell{}
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], r.oif)
	err = askNetlink(unix.RTM_GETLINK, 0, body, func(m *netlinkMessage) bool {
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
	if err != nil {
		return cell{}
	}
	c.router, c.oif, c.mtu = r.router, r.oif, deviceMTU(r.oif, dst.Is6())
	return c
}

// Neighbours of these states have an address that packets are sent to (neighbour.h's NUD_VALID).
const neighbourValid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// ask asks the kernel for the neighbour's link address; before Linux 5.0 it does not tell of one alone.
func (x *hop) ask(k hopKey) (ok bool) {
	body := make([]byte, unix.SizeofNdMsg)
	body[0] = unix.AF_INET
	if k.addr.Is6() {
		body[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(body[4:], k.oif)
	body = appendAttr(body, unix.NDA_DST, k.addr.AsSlice())
	err := askNetlink(unix.RTM_GETNEIGH, 0, body, func(m *netlinkMessage) bool {
		a := m.attr(unix.NDA_LLADDR)
		if binary.NativeEndian.Uint16(m.head[8:])&neighbourValid != 0 && len(a) > 0 && len(a) <= len(x.addr) {
			x.n, ok = uint8(copy(x.addr[:], a)), true
		}
		return false
	})
	return ok && err == nil
}

var errTooMany = errors.New("more routes than are looked at")

// reread forgets all ways, and reads which prefixes there are.
func (h *hops) reread(now time.Time) {
	h.read = now
	h.prefixes, h.cells = make(map[netip.Prefix]bool), make(map[cellKey]cell)
	if h.nodes == nil {
		h.nodes = make(map[hopKey]*hop)
	}
	h.lengths = [2][]int{}
	if h.readTables() != nil {
		clear(h.prefixes)
		return
	}
	for p := range h.prefixes {
		if l := &h.lengths[family(p)]; !slices.Contains(*l, p.Bits()) {
			*l = append(*l, p.Bits())
		}
	}
	for i := range h.lengths {
		slices.Sort(h.lengths[i])
		slices.Reverse(h.lengths[i])
	}
	// A rule may choose a less specific route over a more specific one.
	for p := range h.prefixes {
		for _, n := range h.lengths[family(p)] {
			if n >= p.Bits() {
				continue
			}
			if wide, err := p.Addr().Prefix(n); err == nil {
				if one, ok := h.prefixes[wide]; ok && !one {
					h.prefixes[p] = false
				}
			}
		}
	}
}

func family(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 1
	}
	return 0
}

func (h *hops) readTables() error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		for _, typ := range []uint16{unix.RTM_GETROUTE, unix.RTM_GETRULE} {
			body := make([]byte, unix.SizeofRtMsg)
			body[0] = family
			var many error
			err := askNetlink(typ, unix.NLM_F_DUMP, body, func(m *netlinkMessage) bool {
				many = h.add(m)
				return many == nil
			})
			if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) || many != nil {
				return errors.Join(err, many)
			}
		}
	}
	return nil
}

// What linux/fib_rules.h and linux/rtnetlink.h have beside what x/sys knows.
const (
	rtaNextHop     = 30 // RTA_NH_ID
	ruleProto      = 22 // FRA_IP_PROTO
	ruleSourcePort = 23 // FRA_SPORT_RANGE
	rulePort       = 24 // FRA_DPORT_RANGE
)

var errRule = errors.New("a rule that looks at more than addresses and marks")

// add notes the prefix of a route, or that a rule is for.
func (h *hops) add(m *netlinkMessage) error {
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
		if tos || m.attr(ruleProto) != nil || m.attr(ruleSourcePort) != nil || m.attr(rulePort) != nil {
			return errRule
		}
	} else {
		one = !tos && m.attr(unix.RTA_MULTIPATH) == nil && m.attr(rtaNextHop) == nil
	}
	was, known := h.prefixes[p]
	h.prefixes[p] = one && (was || !known)
	if len(h.prefixes) > mostPrefixes {
		return errTooMany
	}
	return nil
}
