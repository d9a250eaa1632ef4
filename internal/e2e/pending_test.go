//go:build linux

package e2e

import "testing"

// The checks of the rows of traceroute and ping, until options_trace_test.go
// and options_ping_test.go have them. Delete each here with its arrival there.
var (
	traceOptionChecks = map[string]func(*testing.T){}
)
