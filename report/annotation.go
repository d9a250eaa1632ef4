package report

import (
	"fmt"

	"gtrace/probe"
)

// annotation is what Linux traceroute prints behind the time of an answer that is neither
// a hop's nor the destination's, "" for those: compared with what version 2.1.2 prints for every code that Linux lets
// through to it, of UDP, ICMP, TCP and raw probes. There is no "!A" among them: that is
// what BSD's traceroute6 prints for an unreachable address (ICMPv6 1/3), where
// Linux prints !H, and what some print for 3/13, where Linux prints !X.
//
// An error from this host itself is no answer: it has none either.
func annotation(o *probe.Outcome) string {
	if o.Status != probe.Answered {
		return ""
	}
	switch o.Answer {
	case probe.ProtocolUnreachable:
		if o.Spec.Dst.Addr().Is4() {
			return "!P"
		}
		// Linux has no letter for an ICMPv6 parameter problem, which this is.
	case probe.NoAnswer, probe.TimeExceeded:
		return ""
	case probe.TooBig:
		if o.MTU == 0 { // Linux would print !F-0, but the size is not known to be 0
			return "!F"
		}
		return fmt.Sprintf("!F-%d", o.MTU)
	case probe.Unreachable:
		if o.Spec.Dst.Addr().Is4() {
			return unreachable4(o.Code)
		}
		return unreachable6(o.Code)
	default:
		if o.Answer.Terminal() {
			return ""
		}
	}
	return fmt.Sprintf("!<%d-%d>", o.Type, o.Code)
}

// unreachable4 is for the codes of ICMP type 3 (RFC 792, RFC 1122, RFC 1812).
func unreachable4(code uint8) string {
	switch code {
	case 0, 6, 8, 11: // network unreachable, unknown, source isolated, for this TOS
		return "!N"
	case 1, 7, 12: // host unreachable, unknown, for this TOS
		return "!H"
	case 2:
		return "!P"
	case 5:
		return "!S"
	case 9, 10, 13: // network, host, communication prohibited
		return "!X"
	case 14:
		return "!V"
	case 15:
		return "!C"
	}
	return fmt.Sprintf("!<%d>", code)
}

// unreachable6 is for the codes of ICMPv6 type 1 (RFC 4443).
func unreachable6(code uint8) string {
	switch code {
	case 0: // no route
		return "!N"
	case 1: // administratively prohibited
		return "!X"
	case 2, 3: // beyond scope of the source address, address unreachable
		return "!H"
	}
	return fmt.Sprintf("!<%d>", code) // 5 and 6, policy and reject route, among them
}

// complaint is what iputils ping prints for an ICMP error.
func complaint(o *probe.Outcome) string {
	if o.Spec.Dst.Addr().Is4() {
		return complaint4(o)
	}
	return complaint6(o)
}

var unreachable4Words = [...]string{
	0: "Destination Net Unreachable", 1: "Destination Host Unreachable",
	2: "Destination Protocol Unreachable", 3: "Destination Port Unreachable",
	5: "Source Route Failed", 6: "Destination Net Unknown", 7: "Destination Host Unknown",
	8: "Source Host Isolated", 9: "Destination Net Prohibited", 10: "Destination Host Prohibited",
	11: "Destination Net Unreachable for Type of Service",
	12: "Destination Host Unreachable for Type of Service",
	13: "Packet filtered", 14: "Precedence Violation", 15: "Precedence Cutoff",
}

// advice is what iputils ping prints for a message that decides nothing, "" where it prints none but
// with -v.
func advice(o *probe.Outcome) string {
	if o.Spec.Dst.Addr().Is6() {
		return ""
	}
	switch o.Type {
	case 4:
		return "Source Quench"
	case 5:
		what := fmt.Sprintf("Redirect, Bad Code: %d", o.Code)
		if int(o.Code) < len(redirectWords) {
			what = redirectWords[o.Code]
		}
		if o.Gateway.IsValid() {
			what += "(New nexthop: " + address(o.Gateway) + ")"
		}
		return what
	}
	return ""
}

var redirectWords = [...]string{"Redirect Network", "Redirect Host", "Redirect Type of Service and Network", "Redirect Type of Service and Host"}

func complaint4(o *probe.Outcome) string {
	switch o.Type {
	case 3:
		switch {
		case o.Code == 4 && o.MTU > 0:
			return fmt.Sprintf("Frag needed and DF set (mtu = %d)", o.MTU)
		case o.Code == 4:
			return "Frag needed and DF set"
		case int(o.Code) < len(unreachable4Words):
			return unreachable4Words[o.Code]
		}
		return fmt.Sprintf("Dest Unreachable, Bad Code: %d", o.Code)
	case 11:
		switch o.Code {
		case 0:
			return "Time to live exceeded"
		case 1:
			return "Frag reassembly time exceeded"
		}
		return fmt.Sprintf("Time exceeded, Bad Code: %d", o.Code)
	case 12:
		return fmt.Sprintf("Parameter problem: pointer = %d", o.Pointer)
	}
	return fmt.Sprintf("Bad ICMP type: %d", o.Type)
}

func complaint6(o *probe.Outcome) string {
	switch o.Type {
	case 1:
		const what = "Destination unreachable: "
		switch o.Code {
		case 0:
			return what + "No route"
		case 1:
			return what + "Administratively prohibited"
		case 2:
			return what + "Beyond scope of source address"
		case 3:
			return what + "Address unreachable"
		case 4:
			return what + "Port unreachable"
		}
		return fmt.Sprintf(what+"Unknown code %d", o.Code)
	case 2:
		if o.MTU == 0 {
			return "Packet too big"
		}
		return fmt.Sprintf("Packet too big: mtu=%d", o.MTU)
	case 3:
		switch o.Code {
		case 0:
			return "Time exceeded: Hop limit"
		case 1:
			return "Time exceeded: Defragmentation failure"
		}
		return fmt.Sprintf("Time exceeded: code %d", o.Code)
	case 4:
		what := fmt.Sprintf("code %d", o.Code)
		switch o.Code {
		case 0:
			what = "Wrong header field"
		case 1:
			what = "Unknown header"
		case 2:
			what = "Unknown option"
		}
		return fmt.Sprintf("Parameter problem: %s at %d", what, o.Pointer)
	}
	return fmt.Sprintf("unknown icmp type: %d", o.Type)
}
