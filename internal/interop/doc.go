// Package interop holds the tests of gtrace and gping beside the programs they
// stand in for, and of what other programs read from them.
//
// The files in testdata are what ping, fping, traceroute and tracepath print
// in the odd network (internal/lab), times masked. `make golden` makes them
// anew with the programs installed. The tests run gtrace and gping under those
// programs' names on the same command lines: what they print and how they end
// must be the same, but for what the table of differences names.
//
// The tests need root and Linux; those that read our output with other
// programs need these, and `make interop` installs them.
package interop
