package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gtrace/probe"
	"gtrace/rawsock"
)

// What of gping only some of its uses need: interfaces of others, node information, another clock.

// setProbed takes the interface of another node that an extended echo request asks about: by its
// index, an address of it or its name (RFC 8335 section 2.1).
func (t *pingTool) setProbed(s string) error {
	if a, err := netip.ParseAddr(s); err == nil {
		t.query = probe.ByAddr(a.Unmap().WithZone(""))
	} else if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		t.query = probe.ByIndex(uint32(n))
	} else if s == "" || len(s) > 63 || strings.ContainsRune(s, 0) {
		return errors.New("want the name, index or address of an interface of the host")
	} else {
		t.query = probe.ByName(s)
	}
	t.probed = true
	return nil
}

// A nodeQuery is what --node-info asks for: iputils' -N, given once or more.
type nodeQuery struct {
	asked bool
	q     probe.Query
	named bool // q has a subject
}

// Types and flags of a query, and codes of its subject (RFC 4620 sections 4 to 6).
const (
	nodeName, nodeIPv6, nodeIPv4                            = 2, 3, 4
	nodeAll, nodeCompatible, nodeLink, nodeSite, nodeGlobal = 0x02, 0x04, 0x08, 0x10, 0x20
	subjectIPv6, subjectName, subjectIPv4                   = 0, 1, 2
)

var nodeQueries = []struct {
	word  string
	typ   uint16
	flags uint16
}{
	{"name", nodeName, 0},
	{"ipv6", nodeIPv6, 0},
	{"ipv6-all", nodeIPv6, nodeAll},
	{"ipv6-compatible", nodeIPv6, nodeCompatible},
	{"ipv6-global", nodeIPv6, nodeGlobal},
	{"ipv6-linklocal", nodeIPv6, nodeLink},
	{"ipv6-sitelocal", nodeIPv6, nodeSite},
	{"ipv4", nodeIPv4, 0},
	{"ipv4-all", nodeIPv4, nodeAll},
}

var nodeWords = func() (words []string) {
	for _, q := range nodeQueries {
		words = append(words, q.word)
	}
	return append(words, "subject-ipv6=", "subject-ipv4=", "subject-name=", "subject-fqdn=")
}()

func (n *nodeQuery) set(s string) error {
	n.asked = true
	for _, q := range nodeQueries {
		if q.word == s {
			if n.q.Type != 0 && n.q.Type != q.typ {
				return errors.New("only one of names, IPv6 and IPv4 addresses can be asked for")
			}
			n.q.Type = q.typ
			n.q.Flags |= q.flags
			return nil
		}
	}
	what, subject, found := strings.Cut(s, "=")
	a, err := netip.ParseAddr(subject)
	n.named = found
	switch {
	case found && what == "subject-ipv6" && err == nil && a.Is6():
		n.q.Code, n.q.Data = subjectIPv6, string(a.WithZone("").AsSlice())
	case found && what == "subject-ipv4" && err == nil && a.Is4():
		n.q.Code, n.q.Data = subjectIPv4, string(a.AsSlice())
	case found && (what == "subject-name" || what == "subject-fqdn") && subject != "":
		n.q.Code = subjectName
		n.q.Data, err = dnsName(subject, what == "subject-fqdn")
		return err
	default:
		return fmt.Errorf("want one of: %s with a value behind the =", strings.Join(nodeWords, ", "))
	}
	return nil
}

// dnsName is a name as a query has it: a full one ends with one empty label, another with two
// (RFC 4620 section 6.3). One with more than one dot is taken for full, as iputils does.
func dnsName(name string, full bool) (string, error) {
	name, dotted := strings.CutSuffix(name, ".")
	full = full || dotted || strings.Count(name, ".") > 1
	var b []byte
	for _, l := range strings.Split(name, ".") {
		if l == "" || len(l) > 63 || len(b) > 250 {
			return "", errors.New("want a host name as the subject")
		}
		b = append(append(b, byte(len(l))), l...)
	}
	b = append(b, 0)
	if !full {
		b = append(b, 0)
	}
	return string(b), nil
}

// query is what is asked of dst: about itself, if nothing else is said. As iputils, for its name if for nothing else.
func (n *nodeQuery) query(dst netip.Addr) probe.Query {
	q := n.q
	if q.Type == 0 {
		q.Type = nodeName
	}
	if !n.named {
		q.Code, q.Data = subjectIPv6, string(dst.WithZone("").AsSlice())
	}
	return q
}

// links are this host's interfaces, looked at once: a look takes longer than a probe.
type links struct {
	seen      bool
	mtu       map[netip.Addr]int // of the interface that holds an address
	broadcast map[netip.Addr]bool
}

func (l *links) look() {
	if l.seen {
		return
	}
	l.seen, l.mtu, l.broadcast = true, make(map[netip.Addr]int), make(map[netip.Addr]bool)
	interfaces, err := net.Interfaces()
	if err != nil {
		return
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			ip = ip.Unmap()
			l.mtu[ip] = i.MTU
			if ones, size := n.Mask.Size(); ip.Is4() && size == 32 && ones <= 30 { // RFC 3021: a network of two has none
				all := ip.As4()
				for i := range all {
					all[i] |= ^n.Mask[i]
				}
				l.broadcast[netip.AddrFrom4(all)] = true
			}
		}
	}
}

// fits reports whether the interface that holds src takes packets of that size whole; where it cannot be
// told, an ordinary one's are taken for what it takes.
func (l *links) fits(src netip.Addr, size int) bool {
	l.look()
	if mtu, ok := l.mtu[src.WithZone("")]; ok {
		return size <= mtu
	}
	return size <= 1500
}

// isBroadcast reports whether dst is a broadcast address of a network of this host.
func (l *links) isBroadcast(dst netip.Addr) bool {
	l.look()
	return dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || l.broadcast[dst]
}

// errBroadcast is why such an address is no host, unless that is asked for.
var errBroadcast = errors.New("is a broadcast address: --broadcast asks for the answers of all")

// manyAnswer is why a target has the limits of those at which many may answer: it is one, or --broadcast lets it be one.
func manyAnswer(many bool) string {
	if many {
		return "many may answer"
	}
	return "with --broadcast every target counts as one at which many may answer"
}

// An errCrowded is an interval that is too short where many may answer.
type errCrowded struct {
	option   string
	interval time.Duration
	many     bool // see manyAnswer
}

func (e errCrowded) Error() string {
	return fmt.Sprintf("--%s %s: %s, so only root may go below %s seconds, and use --adaptive",
		e.option, inSeconds(e.interval), manyAnswer(e.many), inSeconds(leastBroadcast))
}

// crowded refuses an ordinary user what would have many answer more often than iputils lets them: one request a second to one
// such address, whatever it is called, and none at once with another.
func (t *pingTool) crowded(many bool) error {
	e := errCrowded{"interval", t.interval, many}
	if t.fleet.retrying {
		e.option, e.interval = "timeout", t.timeout
	}
	switch {
	case t.adaptive || e.interval < leastBroadcast:
		return policyError{e}
	case t.preload > 1:
		return policyError{fmt.Errorf("--preload %d: %s, so only root may have more than one request sent at once", t.preload, manyAnswer(many))}
	case t.crowd:
		return policyError{fmt.Errorf("%s, so only root may have more than one such address asked in a run", manyAnswer(many))}
	}
	t.crowd = true
	return nil
}

// sources keeps broadcast addresses from being taken for hosts.
func (t *pingTool) sources(s *session) {
	before := s.env.source
	s.env.source = func(dst netip.Addr, how rawsock.Settings) (netip.Addr, error) {
		if t.links.isBroadcast(dst) {
			if !t.broadcast {
				return netip.Addr{}, errBroadcast
			}
			s.inTurn(func() { _, _ = fmt.Fprintln(s.env.Stderr, "WARNING: pinging broadcast address") })
		}
		return before(dst, how)
	}
}

// A userClock is a connection whose times are this program's alone: when it asked the kernel to send, and when it was
// given the answer. iputils' -U: what an application would see.
type userClock struct{ rawsock.Conn }

func (c userClock) Caps() rawsock.Caps {
	caps := c.Conn.Caps()
	caps.RxStamp, caps.TxStamp = false, false
	return caps
}

func (c userClock) Send(ps []rawsock.Packet) (n int, err error) {
	for n < len(ps) && err == nil { // each has its own time
		var one int
		at := c.Now()
		one, err = c.Conn.Send(ps[n : n+1])
		if one > 0 {
			ps[n].Sent, ps[n].Kernel = at, false
			n++
		}
	}
	return n, err
}

func (c userClock) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	n, err := c.Conn.Recv(rs, until)
	now := c.Now()
	for i := range rs[:n] {
		rs[i].At, rs[i].Kernel = now, false
	}
	return n, err
}

// Stamps takes the kernel's late ones away.
func (c userClock) Stamps(ss []rawsock.Stamp) int {
	for c.Conn.Stamps(ss) == len(ss) && len(ss) > 0 {
	}
	return 0
}
