package rawsock

import (
	"os"
	"slices"
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
// It must come before anything reads the environment. The Go runtime has read its own variables by then, and shows
// what it was asked to show of itself, such as each garbage collection. So where there are any, the program is started
// anew without them; where that is not to be had, as without /proc, they stay in force for their user's own process. Under
// AT_SECURE the runtime itself prints no traces of goroutines, whatever GOTRACEBACK says.
func CleanEnvironment() {
	if len(os.Args) == 0 { // execve(2): some systems allow that
		os.Args = []string{""}
	}
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
	if slices.ContainsFunc(old, func(kv string) bool { name, _, _ := strings.Cut(kv, "="); return ofRuntime(name) }) {
		again()
	}
}

// ofRuntime reports whether the Go runtime reads a variable before main (package runtime, Environment Variables).
func ofRuntime(name string) bool {
	switch name {
	case "GODEBUG", "GOGC", "GOMEMLIMIT", "GOMAXPROCS":
		return true
	}
	return false
}

func harmless(name string) bool {
	switch name {
	case "TERM", "COLUMNS", "NO_COLOR", "LANG":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}
