// Package e2e holds the tests of gtrace and gping as programs: built as they
// ship, run in a network of kernel routers (internal/lab), and judged by what
// they print, by how they end and by what a capture of the wire shows.
//
// The tests know the public contract and nothing of the programs' insides.
// They need root and Linux.
package e2e
