// Command gtrace prints the path to hosts, hop by hop.
//
// All that happens with privilege happens here, before anything that an
// argument, the environment, a file or the network can steer: the sockets
// are opened, then every privilege is given up for good. Root's own arguments
// may say how the sockets are opened; what root says needs no privilege of this program's.
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
	os.Exit(cli.Trace(context.Background(), cli.Env{
		Name: name,
		Conn: conn, OpenErr: openErr,
		Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr,
		Version: version, Commit: commit, Start: start, Root: root,
	}))
}
