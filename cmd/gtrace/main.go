// Command gtrace prints the path to hosts, hop by hop.
//
// All that happens with privilege happens here, before anything that an
// argument, the environment, a file or the network can steer. On every path
// through the program, help and wrong usage included, in this order:
//
//  1. Look at the privilege there is. Nothing of the user's is read.
//  2. Clear the environment where it belongs to somebody with less privilege. Where that had variables of
//     the Go runtime, which has read them by now, start this file anew without them.
//  3. Open the sockets, closed to every packet, with CAP_NET_RAW in use only
//     meanwhile. Root's own arguments may say how they are opened; what
//     root says needs no privilege of this program's. Nobody else's are looked at.
//     An error is kept, and told once it is known whether sockets are needed.
//  4. Give up every privilege in every thread, and verify it. An error ends the program.
//  5. Confine every thread to what the program does from here on: a filter of
//     system calls, and files that can be read alone. Best effort; doctor tells.
//  6. Parse, and open the lists of targets that the arguments name.
//  7. Confine reading to the files of the resolver and the network. Then resolve, measure, print.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"gtrace/internal/cli"
	"gtrace/rawsock"
)

var version, commit string // set by the linker

func main() {
	start := rawsock.Snapshot() // what it is the drop takes away
	rawsock.CleanEnvironment()
	name, root := filepath.Base(os.Args[0]), os.Getuid() == 0
	// Told later what went wrong, as --help needs no socket.
	conn, openErr := rawsock.Open(cli.Privileged("gtrace", name, os.Args[1:], root))
	if err := rawsock.Drop(); err != nil {
		fmt.Fprintf(os.Stderr, "gtrace: %v\n", cli.Undropped(err))
		os.Exit(2)
	}
	confined := rawsock.Confine()
	os.Exit(cli.Trace(context.Background(), cli.Env{
		Name: name,
		Conn: conn, OpenErr: openErr,
		Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr,
		Version: version, Commit: commit, Start: start, Confined: confined, Root: root,
		Settle: func() { _ = confined.ConfineReading() }, // best effort, as all of it
	}))
}
