// Command gtrace prints the path to hosts, hop by hop.
//
// All that happens with privilege happens here, before anything that an
// argument, the environment, a file or the network can steer: the sockets
// are opened, then every privilege is given up for good.
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
	conn, openErr := rawsock.Open(rawsock.Options{}) // told later, as --help needs no socket
	if err := rawsock.Drop(); err != nil {
		fmt.Fprintf(os.Stderr, "gtrace: %v\n", cli.Undropped(err))
		os.Exit(2)
	}
	os.Exit(cli.Trace(context.Background(), cli.Env{
		Name: filepath.Base(os.Args[0]),
		Conn: conn, OpenErr: openErr,
		Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr,
		Version: version, Commit: commit, Start: start, Root: os.Getuid() == 0,
	}))
}
