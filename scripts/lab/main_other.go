//go:build !linux

// Command lab lays out a network of kernel routers, which takes Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "lab: network namespaces take Linux")
	os.Exit(1)
}
