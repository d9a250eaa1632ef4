//go:build linux

package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

// settings are what every node has, in this order.
var settings = []struct{ key, value string }{
	// Answers must not depend on how many were asked for before. A type that
	// is not in the mask knows neither the limit by prober nor the host's.
	// An icmp_ratelimit of 0 would do so too, but each error then empties the
	// bucket that the errors of unreachable and prohibit routes are paid
	// from (ip_error in net/ipv4/route.c): 5 a prober, then one a second,
	// which no setting of a namespace changes.
	{"ipv4/icmp_ratemask", "0"},
	{"ipv6/icmp/ratemask", "255"}, // the empty mask cannot be written
	// A hop is known by the address a probe reaches first. ICMPv6 does so by
	// itself.
	{"ipv4/icmp_errors_use_inbound_ifaddr", "1"},
	{"ipv4/conf/all/rp_filter", "0"},
	{"ipv4/conf/default/rp_filter", "0"},
	// A container without IPv6 passes that on to new namespaces.
	{"ipv6/conf/all/disable_ipv6", "0"},
	{"ipv6/conf/default/disable_ipv6", "0"},
	// Addresses work at once, and no router advertises itself.
	{"ipv6/conf/all/accept_dad", "0"},
	{"ipv6/conf/default/accept_dad", "0"},
	{"ipv6/conf/all/accept_ra", "0"},
	{"ipv6/conf/default/accept_ra", "0"},
	{"ipv6/conf/default/router_solicitations", "0"},
}

// setSysctl writes below /proc/sys/net. It must run on a thread in the node's
// namespace: the kernel shows each thread its own.
func setSysctl(key, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net", filepath.FromSlash(key)), []byte(value), 0)
	if err != nil {
		return fmt.Errorf("set net/%s to %s: %w", key, value, err)
	}
	return nil
}

func setAll(router bool) error {
	for _, s := range settings {
		if err := setSysctl(s.key, s.value); err != nil {
			return err
		}
	}
	on := "0"
	if router {
		on = "1"
	}
	if err := setSysctl("ipv4/conf/all/forwarding", on); err != nil {
		return err
	}
	return setSysctl("ipv6/conf/all/forwarding", on)
}
