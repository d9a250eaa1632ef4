//go:build linux

package lab

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

func oddNetwork(t *testing.T) *Odd {
	t.Helper()
	Need(t)
	o, err := BuildOdd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// An answer is an ICMP message that came to the client.
type answer struct {
	from    netip.Addr
	typ     icmp.Type
	code    int
	ttl     int
	seq     int
	payload []byte // of an echo reply
}

// pings sends four echo requests, numbered from 1, at once, and returns what comes
// back until there are so many, and the host plain, which is asked last, has replied.
func (o *Odd) pings(t *testing.T, host string, family, least int) (as []answer) {
	t.Helper()
	var c *icmp.PacketConn
	err := o.Client.Do(func() (err error) {
		c, err = icmp.ListenPacket(map[int]string{4: "ip4:icmp", 6: "ip6:ipv6-icmp"}[family], "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request, reply, proto := icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply), 1
	if family == 6 {
		request, reply, proto = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
		err = c.IPv6PacketConn().SetControlMessage(ipv6.FlagHopLimit, true)
	} else {
		err = c.IPv4PacketConn().SetControlMessage(ipv4.FlagTTL, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	const id, last = 0x1234, 999
	send := func(host string, seq int) {
		m := icmp.Message{Type: request, Body: &icmp.Echo{ID: id, Seq: seq, Data: payload}}
		b, err := m.Marshal(nil)
		if err == nil {
			_, err = c.WriteTo(b, &net.IPAddr{IP: o.Addr(host, family).AsSlice()})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		send(host, i+1)
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	send("plain", last)
	buf := make([]byte, 1500)
	for seen := false; !seen || len(as) < least; {
		var (
			k, ttl int
			who    net.Addr
			err    error
		)
		if family == 6 {
			var cm *ipv6.ControlMessage
			if k, cm, who, err = c.IPv6PacketConn().ReadFrom(buf); err == nil {
				ttl = cm.HopLimit
			}
		} else {
			var cm *ipv4.ControlMessage
			if k, cm, who, err = c.IPv4PacketConn().ReadFrom(buf); err == nil {
				ttl = cm.TTL
			}
		}
		if err != nil {
			t.Fatalf("%s: %v after %v", host, err, as)
		}
		m, err := icmp.ParseMessage(proto, buf[:k])
		if err != nil || m.Type == request {
			continue
		}
		from, _ := netip.AddrFromSlice(who.(*net.IPAddr).IP)
		a := answer{from: from.Unmap(), typ: m.Type, code: m.Code, ttl: ttl}
		if e, ok := m.Body.(*icmp.Echo); ok && m.Type == reply {
			a.seq, a.payload = e.Seq, bytes.Clone(e.Data)
			if e.Seq == last {
				seen = true
				continue
			}
		}
		as = append(as, a)
	}
	return as
}

var payload = bytes.Repeat([]byte("payload."), 7)

func TestOddManners(t *testing.T) {
	o := oddNetwork(t)
	for _, family := range []int{4, 6} {
		reply, gone := icmp.Type(ipv4.ICMPTypeEchoReply), icmp.Type(ipv4.ICMPTypeDestinationUnreachable)
		prohibited := 13
		if family == 6 {
			reply, gone, prohibited = ipv6.ICMPTypeEchoReply, ipv6.ICMPTypeDestinationUnreachable, 1
		}
		proper := func(host string, seqs ...int) (as []answer) {
			for _, s := range seqs {
				as = append(as, answer{o.Addr(host, family), reply, 0, 62, s, payload}) // two routers on
			}
			return as
		}
		change := func(as []answer, f func(*answer)) []answer {
			for i := range as {
				f(&as[i])
			}
			return as
		}
		wants := map[string][]answer{
			"plain":     proper("plain", 1, 2, 3, 4),
			"copies":    proper("copies", 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4),
			"elsewhere": proper("plain", 1, 2, 3, 4),
			"ttl":       change(proper("ttl", 1, 2, 3, 4), func(a *answer) { a.ttl = SomeTTL - 2 }),
			"third":     proper("third", 1, 3, 4),
			"swapped":   proper("swapped", 2, 1, 4, 3),
			"late":      proper("late", 1, 2, 3, 4),
			"truncated": change(proper("truncated", 1, 2, 3, 4), func(a *answer) { a.payload = payload[:28] }),
			"silent":    nil,
			"blackhole": nil,
			"corrupt": change(proper("corrupt", 1, 2, 3, 4), func(a *answer) {
				a.payload = bytes.Clone(payload)
				a.payload[20] ^= 0xff
			}),
			"mixed": slices.Concat(proper("mixed", 1, 1), []answer{{o.Addr("mixed", family), gone, prohibited, 62, 0, nil}},
				proper("mixed", 3, 3), []answer{{o.Addr("mixed", family), gone, prohibited, 62, 0, nil}}),
			"target": proper("target", 1, 2, 3, 4),
			"narrow": proper("narrow", 1, 2, 3, 4),
		}
		if family == 4 {
			wants["checksum"] = proper("checksum", 1, 2, 3, 4) // which ICMPv6's kernel would not let in
			for host, typ := range map[string]icmp.Type{"redirect": ipv4.ICMPTypeRedirect, "quench": ipv4.ICMPType(4)} {
				for i := range 4 {
					code := 0
					if host == "redirect" {
						code = 1
					}
					wants[host] = append(wants[host], answer{o.Addr(host, 4), typ, code, 62, 0, nil})
					wants[host] = append(wants[host], proper(host, i+1)...)
				}
			}
		} else {
			wants["checksum"] = nil
		}
		for host, want := range wants {
			got := o.pings(t, host, family, len(want))
			if host == "late" { // four timers of one moment
				slices.SortFunc(got, func(a, b answer) int { return a.seq - b.seq })
			}
			if !slices.EqualFunc(got, want, func(a, b answer) bool {
				return a.from == b.from && a.typ == b.typ && a.code == b.code && a.ttl == b.ttl && a.seq == b.seq && bytes.Equal(a.payload, b.payload)
			}) {
				t.Errorf("%s, IPv%d: got\n%v\nwant\n%v", host, family, got, want)
			}
		}
		for _, m := range OddManners {
			if _, ok := wants[m.Name]; !ok && (m.only == 0 || m.only == family) {
				t.Errorf("%s is not tested", m.Name)
			}
		}
	}
}
