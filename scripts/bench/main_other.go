//go:build !linux

// Command bench measures programs in network namespaces, which takes Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: network namespaces take Linux")
	os.Exit(1)
}
