package rawsock

import (
	"os"
	"strings"
)

// Secure reports whether the program has more privilege than whoever started
// it, so that what that user can set must not be believed: it is setuid or
// setgid, or its file has capabilities. Ask before Drop.
func Secure() bool { return secure() }

// CleanEnvironment leaves nothing of the environment of a Secure program but
// what says how to print: TERM, COLUMNS, NO_COLOR, LANG and LC_*. The rest
// is the user's way to steer the resolver, the time zone file that is read,
// proxies and the Go runtime. Otherwise it does nothing.
//
// It must come before anything reads the environment. The runtime itself has
// read GODEBUG and its like by then; under AT_SECURE it prints no traces.
func CleanEnvironment() {
	if !Secure() {
		return
	}
	old := os.Environ()
	os.Clearenv()
	for _, kv := range old {
		name, value, _ := strings.Cut(kv, "=")
		if harmless(name) {
			os.Setenv(name, value) // a name and value from Environ cannot be refused
		}
	}
}

func harmless(name string) bool {
	switch name {
	case "TERM", "COLUMNS", "NO_COLOR", "LANG":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}
