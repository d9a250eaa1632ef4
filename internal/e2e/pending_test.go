//go:build linux

package e2e

import "testing"

// The checks of the rows of ping, until options_ping_test.go has them. Delete it
// here with its arrival there.
var (
	pingOptionChecks = map[string]func(*testing.T){}
)
