//go:build linux

package interop

import "regexp"

// open are the cases that are not right yet: our output is to become the original's there. They are no differences that
// stay (see differences); each row goes when its case is mended. Whatever else differs fails.
var open = []struct {
	cases *regexp.Regexp
	what  string
}{
	{regexp.MustCompile(`^tracepath `), "the original asks at the first TTL twice once it knows the device's MTU"},
	{regexp.MustCompile(`\{(third|mixed|swapped)[46]\}`), "hosts that answer some requests only, or in another order: which ones depends on the requests before"},
	{regexp.MustCompile(`^ping .*\{narrow[46]\}`), "the path MTU that a router told is not kept for -M do"},
	{regexp.MustCompile(`^ping -n -R `), "the recorded route has another padding"},
	{regexp.MustCompile(`^traceroute .*\{away[46]\}`), "nothing stands before an error, which jc would read"},
	{regexp.MustCompile(`^fping -D -c 2 `), "the time before a line"},
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
