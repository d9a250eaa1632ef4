package names

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// OriginServer answers for the routing registries, as for traceroute -A.
	OriginServer = "whois.radb.net:43"

	originBound  = 2 * time.Second
	answerBytes  = 1 << 20 // of a registry's answer that are read at most
	longestASN   = len("AS4294967295")
	mostOrigins  = 8 // of one prefix
	finest4      = 24
	finest6      = 48
	commentSigns = "%#"
)

// A Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Origins returns which autonomous systems announce an address, such as "AS64496", or "AS64496/AS64497" where the registry
// at server (host and port) knows several for the longest prefix. The query is the address, by the protocol of RFC 3912.
//
// Such a question tells somebody else where a path leads. So none is asked for addresses that are nobody's on the Internet
// (private, link-local, documentation), and no more than one for each /24 or /48: nothing finer
// is announced between networks.
func Origins(ctx context.Context, dial Dial, server string) *Cache {
	return newCache(ctx, originBound, network, func(ctx context.Context, a netip.Addr) (string, error) {
		c, err := dial(ctx, "tcp", server)
		if err != nil {
			return "", err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })() // ends a read that waits
		if _, err := fmt.Fprintf(c, "%s\r\n", a); err != nil {
			return "", err
		}
		as, err := origins(c, a)
		return strings.Join(as, "/"), err
	})
}

// SystemOrigins is Origins by the system's own sockets and name servers.
func SystemOrigins(ctx context.Context, server string) *Cache {
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
	return Origins(ctx, d.DialContext, server)
}

// nowhere are prefixes that no autonomous system announces, beside what netip.Addr tells by itself
// (the IANA special-purpose registries, RFC 6890).
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("3fff::/20"),
}

// network is the first address of a's /24 or /48, the zero Addr where none is to be asked.
func network(a netip.Addr) netip.Addr {
	a = unzoned(a)
	if !a.IsGlobalUnicast() || a.IsPrivate() || slices.ContainsFunc(nowhere, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return netip.Addr{}
	}
	bits := finest6
	if a.Is4() {
		bits = finest4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// origins reads route objects (RFC 2622 section 4, RFC 4012 section 3) and returns the origins of those with the longest
// prefix that holds a, in ascending order; with an error, of what came before it.
func origins(r io.Reader, a netip.Addr) (found []string, err error) {
	best := -1
	bits := -1 // of the object being read; -1: it does not hold a
	lines := bufio.NewScanner(io.LimitReader(r, answerBytes))
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			bits = -1
			continue
		}
		if strings.IndexByte(commentSigns, line[0]) >= 0 {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value, _, _ = strings.Cut(value, "#")
		value = strings.TrimSpace(value)
		if !ok {
			continue
		}
		switch strings.ToLower(name) {
		case "route", "route6":
			bits = -1
			if p, err := netip.ParsePrefix(value); err == nil && p.Contains(a) {
				bits = p.Bits()
			}
		case "origin":
			as, ok := number(value)
			if !ok || bits < 0 || bits < best {
				continue
			}
			if bits > best {
				best, found = bits, nil
			}
			if !slices.Contains(found, as) && len(found) < mostOrigins {
				found = append(found, as)
			}
		}
	}
	slices.SortFunc(found, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return found, lines.Err()
}

// number is "AS" and digits, whatever the case.
func number(s string) (string, bool) {
	s = strings.ToUpper(s)
	digits, ok := strings.CutPrefix(s, "AS")
	if !ok || digits == "" || len(s) > longestASN || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	return s, true
}
