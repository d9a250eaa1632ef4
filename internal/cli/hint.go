package cli

import (
	"net/netip"
	"strings"
)

// meant is what may be wrong with a word that was given for a host and has no address; "" where nothing is known.
func meant(word string) string {
	if first, last, ok := strings.Cut(word, "-"); ok {
		// 192.0.2.1-9, as other tools write a range.
		a, err := netip.ParseAddr(first)
		if end := first[:strings.LastIndexByte(first, '.')+1] + last; err == nil && a.Is4() {
			if b, err := netip.ParseAddr(end); err == nil && a.Less(b) {
				return "is no host; --generate makes hosts of a range: " + first + "-" + end
			}
		}
	}
	// What follows has a character that no name of a host has.
	scheme, rest, isURL := strings.Cut(word, "://")
	if !isURL || scheme == "" {
		isURL, rest = false, word
	}
	rest, _, path := cutAny(rest, "/?#")
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	host, port := rest, false
	if inside, ok := strings.CutPrefix(rest, "["); ok {
		var after string
		host, after, _ = strings.Cut(inside, "]")
		port = after != ""
	} else if strings.Count(rest, ":") == 1 {
		host, _, port = strings.Cut(rest, ":")
	}
	switch plain := host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""; {
	case host == word, !plain && !isAddress(host):
		return ""
	case isURL:
		return "is a URL; give the host alone: " + host
	case rest == "["+host+"]" && rest == word:
		return "has brackets; give the address alone: " + host
	case port && !path:
		return "has a port; give the host alone: " + host
	}
	return "is no host; give the host alone: " + host
}

// cutAny is strings.Cut at the first of several characters.
func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// nearest is the option that a mistyped long name may stand for: one that it is the beginning of, or else one that at most two letters
// tell apart from it. nil where there is none.
func nearest(table []option, name string) *option {
	var best *option
	least := min(2, len(name)/2) + 1
	for i := range table {
		o := &table[i]
		d := 1
		if len(name) < 2 || !strings.HasPrefix(o.long, name) {
			if len(o.long)-len(name) > 2 || len(name)-len(o.long) > 2 {
				continue
			}
			d = distance(name, o.long)
		}
		if d < least {
			best, least = o, d
		}
	}
	return best
}

// distance is how many bytes have to be put in, left out or changed to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances of what was seen of a to the beginnings of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
