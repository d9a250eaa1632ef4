// Package wire reads and writes the packets of a path probe: IPv4, IPv6,
// UDP, TCP and ICMP headers, the datagrams ICMP errors quote, and ICMP
// extensions.
//
// Writing appends to a slice and cannot fail. Reading goes through a Parse
// function that checks every length once and returns a view of the bytes;
// a view's methods then never panic, whatever the network sent. A view
// shares memory with the slice it was parsed from: copy what must outlive it.
// Neither way allocates, but for the error about what could not be read.
//
// Fields are in host order. Sizes are in bytes and count whole IP packets,
// header included, unless a name says payload.
//
// The package knows nothing of sockets, clocks or probes.
package wire
