//go:build linux

package interop

import "regexp"

// open are the cases that are not right yet: our output is to become the original's there. They are no differences that
// stay (see differences); each row goes when its case is mended. Whatever else differs fails.
var open = []struct {
	cases *regexp.Regexp
	what  string
}{
	{regexp.MustCompile(`^(traceroute|fping6?) .*\{(third|mixed|swapped)[46]\}`), "which requests such a host answers hangs on their order and numbers: traceroute asks one TTL to the end before the next, fping counts from 0"},
}

// notYet is why a case is not right yet, "" for all others.
func notYet(k kase) string {
	for _, o := range open {
		if o.cases.MatchString(string(k)) {
			return o.what
		}
	}
	return ""
}
