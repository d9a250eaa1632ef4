package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// reverseBound is how long a line of output may wait for a name. A name server answers
// from its cache in milliseconds and after a walk through the tree in a few hundred.
const reverseBound = time.Second

// maxName is the longest domain name as text (RFC 1035 section 2.3.4).
const maxName = 253

// Reverse returns the names of addresses by reverse DNS and the hosts file. lookup is such as
// net.Resolver.LookupAddr.
func Reverse(ctx context.Context, lookup func(context.Context, string) ([]string, error)) *Cache {
	return newCache(ctx, reverseBound, unzoned, func(ctx context.Context, a netip.Addr) (string, error) {
		found, err := lookup(ctx, a.String())
		if err != nil {
			return "", nil // a name is an extra: that there is none says enough
		}
		for _, name := range found {
			if name = Clean(name); name != "" {
				return name, nil
			}
		}
		return "", nil
	})
}

// SystemReverse is Reverse by the system's name servers, which this program asks itself: libc's way
// would load code that the system's configuration names.
func SystemReverse(ctx context.Context) *Cache {
	return Reverse(ctx, (&net.Resolver{PreferGo: true}).LookupAddr)
}

// unzoned is a without zone: no name server knows of a host's interfaces.
func unzoned(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Clean makes a name safe to print, to parse and to put into a document. Whoever runs a
// network chooses what its addresses are called: what is not a letter, a digit, a hyphen, an underscore or a
// dot becomes \DDD, as in a zone file (RFC 1035 section 5.1). The final dot goes. "" is for what is no
// name: nothing but dots, too long, or an address or what some take for one, as its last label is a number: that would be taken for the one that answered.
func Clean(name string) string {
	name = strings.TrimSuffix(name, ".")
	if _, err := netip.ParseAddr(name); err == nil || endsInNumber(name) || strings.Trim(name, ".") == "" || len(name) > maxName {
		return ""
	}
	plain := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
	}
	var b []byte
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b = append(b, c)
		} else {
			b = fmt.Appendf(b, `\%03d`, c)
		}
	}
	return string(b)
}

// endsInNumber reports whether the last label of a name is a number, which no name of the DNS has (RFC 3696 section 2).
// report has the same, for names of whatever origin: neither package may know the other.
func endsInNumber(name string) bool {
	name = strings.TrimRight(name, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hexadecimal, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hexadecimal, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
