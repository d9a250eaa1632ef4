// Package arch holds the tests that keep the packages apart and the list of
// what the privileged programs link short. It has no code of its own.
package arch
