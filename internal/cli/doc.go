// Package cli turns the arguments of gtrace and gping into runs, and runs
// into an exit status.
//
// Both programs share their options' names, the way values are read, the way
// hosts are looked up and the exit status: 0 yes, 1 no, 2 could not be told.
// Results alone go to standard output; every diagnostic is one line on
// standard error, "gtrace: WHAT: WHY".
//
// The package is called after all privilege was given up. It knows nothing of
// packets and socket options.
package cli
