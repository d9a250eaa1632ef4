// Package lab builds networks of kernel routers for tests: network namespaces
// joined by veth pairs, made over netlink by the process itself. It needs
// root and Linux, and none of the programs ip, nft or sysctl.
//
// A namespace of the lab is held by an open descriptor and nothing else. It
// has no name under /run/netns, and it goes away with Close, with the end of
// a failed test, or with the process, however that ends.
//
// The routers are the kernel's own, with what would make a test's outcome
// depend on its speed taken away: no rate limits on ICMP errors, no duplicate
// address detection, no reverse path filter, and errors that leave from the
// address the probe came in at. A Plan may put any of that back.
//
// The package knows nothing of probes or of the programs it carries.
package lab
