package probe

import (
	"fmt"
	"net/netip"
	"slices"
)

// FindProhibited tells who does not let probes pass, and says so: one finding for each node and what it says, at the first TTL where it
// does. answers are those at a TTL that are known to be their probes' own. This host's own word is an error of the probe, and no finding.
func FindProhibited(first, last int, answers func(ttl int) []*Outcome) (fs []Finding) {
	type word struct {
		from netip.Addr
		code uint8
	}
	var told []word
	for ttl := first; ttl <= last; ttl++ {
		os := answers(ttl)
		for i, o := range os {
			w := word{o.From, o.Code}
			if prohibited(o) == "" || o.From.WithZone("") == o.Spec.Src.Addr().WithZone("") || slices.Contains(told, w) {
				continue
			}
			told = append(told, w)
			n := 0
			for _, p := range os[i:] {
				if prohibited(p) != "" && (word{p.From, p.Code}) == w {
					n++
				}
			}
			fs = append(fs, refusal(o, n, len(os)))
		}
	}
	return fs
}

// refusal is the finding that n of so many answers at a TTL are such a one.
func refusal(o *Outcome, n, of int) Finding {
	f := Finding{Code: "administratively-prohibited", TTL: o.Spec.TTL, Confidence: "high", Evidence: []Evidence{Witness(o, n)}}
	how := fmt.Sprintf("to all %d probes answered there", n)
	if n == 1 {
		how = "to the one probe answered there"
	}
	if n < of {
		f.Confidence = "medium" // some get through, or it is another's word
		how = fmt.Sprintf("to %d of %d probes answered there", n, of)
	}
	who := "a filter"
	if o.From.WithZone("") == o.Spec.Dst.Addr().WithZone("") {
		who = "the destination itself"
	}
	f.Text = fmt.Sprintf("%v answers at TTL %d: %s (ICMP %d/%d), %s; %s refuses them", o.From, o.Spec.TTL, prohibited(o), o.Type, o.Code, how, who)
	return f
}

// prohibited is what an error says that refuses by policy (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1), or "".
func prohibited(o *Outcome) string {
	if o.Answer != Unreachable {
		return ""
	}
	if o.Spec.Dst.Addr().Is6() {
		switch o.Code {
		case 1:
			return "administratively prohibited"
		case 5:
			return "source address failed ingress or egress policy"
		case 6:
			return "reject route"
		}
		return ""
	}
	switch o.Code {
	case 9:
		return "network administratively prohibited"
	case 10:
		return "host administratively prohibited"
	case 13:
		return "communication administratively prohibited"
	}
	return ""
}

// FindSource tells of an error that says that the destination was reached, but comes from another address than its own. answers are those at one
// TTL that are known to be their probes' own; router is the time exceeded, and how many alike, that an address answered at a lower TTL, if any.
func FindSource(answers []*Outcome, router func(from netip.Addr) (o *Outcome, n int)) (f Finding, ok bool) {
	var first *Outcome
	n, all := 0, 0
	for _, o := range answers {
		if !o.Answer.Terminal() {
			continue
		}
		all++
		from, dst := o.From.WithZone(""), o.Spec.Dst.Addr()
		if !o.Answer.IsError() || o.Spec.Any || dst.IsMulticast() || from == dst.WithZone("") || from == o.Spec.Src.Addr().WithZone("") {
			continue
		}
		if first == nil {
			first = o
		}
		if o.From == first.From {
			n++
		}
	}
	if first == nil {
		return f, false
	}
	dst := first.Spec.Dst.Addr().WithZone("")
	f = Finding{Code: "reply-from-unexpected-source", TTL: first.Spec.TTL, Confidence: "medium",
		Text: fmt.Sprintf("%v says that %v was reached: another address of the same host, or a box that answers in its place", first.From, dst),
	}
	if n < all {
		f.Confidence = "low"
	}
	if o, m := router(first.From); o != nil {
		f.Confidence = "high"
		f.Text = fmt.Sprintf("%v says that %v was reached, but it is the router at TTL %d: a firewall answers in the destination's place", first.From, dst, o.Spec.TTL)
		f.Evidence = append(f.Evidence, Witness(o, m))
	}
	f.Evidence = append(f.Evidence, Witness(first, n))
	return f, true
}
