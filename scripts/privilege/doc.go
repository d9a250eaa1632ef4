// Package privilege holds the test of scripts/install-privilege.
package privilege
