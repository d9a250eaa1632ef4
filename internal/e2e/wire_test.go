//go:build linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"gtrace/internal/lab"
)

// A packet is a captured one, taken apart by a library the programs do not
// use.
type packet struct {
	lab.Packet
	src, dst         netip.Addr
	ttl, tos         int
	label            uint32
	df, mf           bool
	offset           int // of a fragment, bytes
	id               uint16
	proto            int
	transport        []byte
	srcPort, dstPort uint16
	flags            string // of TCP
	seq, ack         uint32 // of TCP
	echoID, echoSeq  uint16
	icmpType         int // -1: none
	icmpSum          uint16
	payload          []byte // of UDP and echo
}

func parse(p lab.Packet) (packet, error) {
	first := layers.LayerTypeIPv4
	if p.Data[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	g := gopacket.NewPacket(p.Data, first, gopacket.Default)
	out := packet{Packet: p, icmpType: -1}
	switch ip := g.NetworkLayer().(type) {
	case *layers.IPv4:
		out.src, out.dst = addr(ip.SrcIP), addr(ip.DstIP)
		out.ttl, out.tos, out.id, out.proto = int(ip.TTL), int(ip.TOS), ip.Id, int(ip.Protocol)
		out.df, out.mf = ip.Flags&layers.IPv4DontFragment != 0, ip.Flags&layers.IPv4MoreFragments != 0
		out.offset, out.transport = 8*int(ip.FragOffset), ip.Payload
		if int(ip.Length) != len(p.Data) {
			return out, fmt.Errorf("IPv4 length %d, but %d bytes", ip.Length, len(p.Data))
		}
		if s := sum(p.Data[:4*ip.IHL]); s != 0 {
			return out, fmt.Errorf("IPv4 header sums to %#04x, want 0", s)
		}
	case *layers.IPv6:
		out.src, out.dst = addr(ip.SrcIP), addr(ip.DstIP)
		out.ttl, out.tos, out.label, out.proto = int(ip.HopLimit), int(ip.TrafficClass), ip.FlowLabel, int(ip.NextHeader)
		out.transport = ip.Payload
		if int(ip.Length)+40 != len(p.Data) {
			return out, fmt.Errorf("IPv6 payload length %d, but %d bytes", ip.Length, len(p.Data)-40)
		}
	default:
		return out, fmt.Errorf("not IP: %x", p.Data)
	}
	if out.mf || out.offset > 0 {
		return out, nil // no whole message to look into
	}
	switch l := g.TransportLayer().(type) {
	case *layers.UDP:
		out.srcPort, out.dstPort, out.payload = uint16(l.SrcPort), uint16(l.DstPort), l.Payload
		if int(l.Length) != len(out.transport) {
			return out, fmt.Errorf("UDP length %d, but %d bytes", l.Length, len(out.transport))
		}
		if l.Checksum == 0 {
			return out, fmt.Errorf("UDP without a checksum")
		}
	case *layers.TCP:
		out.srcPort, out.dstPort, out.seq, out.ack = uint16(l.SrcPort), uint16(l.DstPort), l.Seq, l.Ack
		for _, f := range []struct {
			set  bool
			name string
		}{{l.FIN, "F"}, {l.SYN, "S"}, {l.RST, "R"}, {l.PSH, "P"}, {l.ACK, "A"}} {
			if f.set {
				out.flags += f.name
			}
		}
		out.payload = l.Payload
	}
	if l, ok := g.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		out.icmpType, out.icmpSum, out.echoID, out.echoSeq = int(l.TypeCode.Type()), l.Checksum, l.Id, l.Seq
		out.payload = l.Payload
	}
	if l, ok := g.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && len(out.transport) >= 8 {
		out.icmpType, out.icmpSum = int(l.TypeCode.Type()), l.Checksum
		out.echoID, out.echoSeq = binary.BigEndian.Uint16(out.transport[4:]), binary.BigEndian.Uint16(out.transport[6:])
		out.payload = out.transport[8:]
	}
	switch out.proto {
	case 1, 6, 17, 58:
		if s := transportSum(out); s != 0 {
			return out, fmt.Errorf("protocol %d: message sums to %#04x, want 0", out.proto, s)
		}
	}
	return out, nil
}

func addr(ip net.IP) netip.Addr { a, _ := netip.AddrFromSlice(ip); return a.Unmap() }

// sum is the Internet checksum (RFC 1071), 0 over what carries a right one.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

func transportSum(p packet) uint16 {
	if p.proto == 1 {
		return sum(p.transport)
	}
	b := append(p.src.AsSlice(), p.dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.transport)))
	b = binary.BigEndian.AppendUint32(b, uint32(p.proto))
	return sum(append(b, p.transport...))
}

func (p packet) isEcho() bool { return p.icmpType == 8 || p.icmpType == 128 }

// probes are the packets that left for dst and that a program made: not the
// kernel's own resets of what it knows no connection for.
func probes(ps []packet, dst netip.Addr) (out []packet) {
	for _, p := range ps {
		if p.Out && p.dst == dst && !strings.Contains(p.flags, "R") {
			out = append(out, p)
		}
	}
	return out
}

// captured runs a program while its node's link is recorded.
func captured(t *testing.T, n *lab.Node, neighbour string, args ...string) (result, []packet) {
	t.Helper()
	c, err := n.Capture(neighbour, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	r := do(t, n, args...)
	raw, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	var ps []packet
	for _, b := range raw {
		p, err := parse(b)
		if err != nil {
			t.Errorf("captured %x: %v", b.Data, err)
			continue
		}
		ps = append(ps, p)
	}
	return r, ps
}

// An event is a line of --format events, as far as the tests look at it.
type event struct {
	Event   string    `json:"event"`
	Serial  uint64    `json:"serial"`
	TTL     int       `json:"ttl"`
	Attempt int       `json:"attempt"`
	Seq     int       `json:"seq"`
	SentAt  time.Time `json:"sent_at"`
	Late    bool      `json:"late"`
	Packet  string    `json:"packet"`
	probeDoc
}

// events reads a stream of one host: its events, and the document that ends it.
func events(r result) (es []event, doc traceDoc, err error) {
	lines := slices.Collect(strings.Lines(r.stdout))
	if len(lines) == 0 {
		return nil, doc, fmt.Errorf("no events\n%v", r)
	}
	for _, l := range lines[:len(lines)-1] {
		var e event
		if err := json.Unmarshal([]byte(l), &e); err != nil || e.Event == "" {
			return nil, doc, fmt.Errorf("not an event: %v: %q", err, l)
		}
		es = append(es, e)
	}
	err = decode(lines[len(lines)-1], &doc)
	return es, doc, err
}

// constant says whether the probes have a property in common, and which.
func constant[T comparable](ps []packet, of func(packet) T) (T, bool) {
	for _, p := range ps {
		if of(p) != of(ps[0]) {
			return of(ps[0]), false
		}
	}
	return of(ps[0]), true
}

// TestFlow captures every probe of a trace: what routers balance by stays the
// same, the TTLs are those asked for, and each probe told is one that left, in
// the same order and byte for byte.
func TestFlow(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		target := s.Target.Only(family)
		for _, w := range ways {
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				args := append([]string{"gtrace", "-n", "--format", "events", "-t", "0x28", "-m", "14"}, w.args...)
				wantSize := map[int]int{4: 60, 6: 80}[family] // of a SYN, which has one size
				if !strings.HasPrefix(w.name, "TCP") {
					wantSize = 90
					args = append(args, "--size", "90")
				}
				if family == 6 {
					args = append(args, "-l", "0xabcde")
				}
				r, ps := captured(t, s.Client, "r1", append(args, target.String())...)
				es, doc, err := events(r)
				if err != nil {
					t.Fatalf("%v\n%v", err, r)
				}
				if r.status != 0 || doc.Outcome != "reached" {
					t.Fatalf("outcome %q\n%v", doc.Outcome, r)
				}
				out := probes(ps, target)
				var sent []event
				for _, e := range es {
					if e.Event == "sent" {
						sent = append(sent, e)
					}
				}
				if len(sent) != len(out) || len(sent) != doc.Summary.Sent || len(sent) < 36 {
					t.Fatalf("%d sent events, probes_sent %d, %d probes captured: want the same, and at least 36", len(sent), doc.Summary.Sent, len(out))
				}
				tries := make(map[[2]int]int)
				for i, e := range sent {
					if e.Serial != uint64(i+1) || e.TTL != out[i].ttl {
						t.Errorf("probe %d on the wire has TTL %d; the event says serial %d, TTL %d", i+1, out[i].ttl, e.Serial, e.TTL)
					}
					if got := hex.EncodeToString(out[i].Data); got != e.Packet {
						t.Errorf("probe %d on the wire is %s; the event says %s", i+1, got, e.Packet)
					}
					tries[[2]int{e.TTL, e.Attempt}]++
				}
				for ttl := 1; ttl <= 12; ttl++ {
					for a := 1; a <= 3; a++ {
						if tries[[2]int{ttl, a}] != 1 {
							t.Errorf("TTL %d attempt %d was sent %d times, want once", ttl, a, tries[[2]int{ttl, a}])
						}
					}
				}

				if src, ok := constant(out, func(p packet) netip.Addr { return p.src }); !ok || src != s.Client.Only(family) {
					t.Errorf("source %v, constant %v, want %v", src, ok, s.Client.Only(family))
				}
				if tos, ok := constant(out, func(p packet) int { return p.tos }); !ok || tos != 0x28 {
					t.Errorf("TOS %#02x, constant %v, want 0x28", tos, ok)
				}
				if label, ok := constant(out, func(p packet) uint32 { return p.label }); !ok || family == 6 && (label != 0xabcde || doc.Method.Label == nil || *doc.Method.Label != label) {
					t.Errorf("flow label %#05x, constant %v, want 0xabcde", label, ok)
				}
				if size, ok := constant(out, func(p packet) int { return len(p.Data) }); !ok || size != wantSize || doc.Method.Size != wantSize {
					t.Errorf("size %d, constant %v, told %d, want %d", size, ok, doc.Method.Size, wantSize)
				}
				src, srcOK := constant(out, func(p packet) uint16 { return p.srcPort })
				dst, dstOK := constant(out, func(p packet) uint16 { return p.dstPort })
				_, idOK := constant(out, func(p packet) uint16 { return p.echoID })
				csum, sumOK := constant(out, func(p packet) uint16 { return p.icmpSum })
				if !srcOK || src != doc.Method.SrcPort {
					t.Errorf("source port %d, constant %v, told %d", src, srcOK, doc.Method.SrcPort)
				}
				switch w.name {
				case "UDP classic":
					asked := make(map[int]int)
					for i, p := range out { // a TTL's attempts one after the other
						want := 33434 + 3*(p.ttl-1) + asked[p.ttl]
						if asked[p.ttl]++; int(p.dstPort) != want {
							t.Errorf("probe %d, of TTL %d, goes to port %d, want %d", i+1, p.ttl, p.dstPort, want)
						}
					}
				case "ICMP", "ICMP classic":
					if !idOK {
						t.Error("echo identifiers differ")
					}
					if sumOK != (w.name == "ICMP") {
						t.Errorf("checksum %#04x, constant %v", csum, sumOK)
					}
					for _, p := range out {
						if !p.isEcho() {
							t.Errorf("ICMP type %d left, want an echo request", p.icmpType)
						}
					}
				default:
					if !dstOK || dst != doc.Method.DstPort {
						t.Errorf("destination port %d, constant %v, told %d", dst, dstOK, doc.Method.DstPort)
					}
				}
				if doc.Method.Protocol == "tcp" {
					if f, ok := constant(out, func(p packet) string { return p.flags }); !ok || f != "S" {
						t.Errorf("TCP flags %q, constant %v, want S", f, ok)
					}
				}
				if family == 4 {
					for i, p := range out {
						if p.id == 0 || p.df {
							t.Errorf("probe %d: ID %d, DF %v, want an ID and no DF", i+1, p.id, p.df)
						}
					}
				}
			})
		}
	}
}

// TestSYN holds a default SYN to what firewalls expect of an ordinary
// client's.
func TestSYN(t *testing.T) {
	s := standard(t)
	target := s.Target.Only(4)
	_, ps := captured(t, s.Client, "r1", "gtrace", "-n", "-T", "-f12", "-q1", target.String())
	out := probes(ps, target)
	if len(out) == 0 {
		t.Fatal("no SYN left")
	}
	for _, p := range out {
		tcp := gopacket.NewPacket(p.transport, layers.LayerTypeTCP, gopacket.Default).TransportLayer().(*layers.TCP)
		var kinds []string
		for _, o := range tcp.Options {
			kinds = append(kinds, o.OptionType.String())
		}
		for _, want := range []layers.TCPOptionKind{layers.TCPOptionKindMSS, layers.TCPOptionKindSACKPermitted, layers.TCPOptionKindTimestamps, layers.TCPOptionKindWindowScale} {
			if !slices.Contains(kinds, want.String()) {
				t.Errorf("options %v, want %v among them", kinds, want)
			}
		}
		if tcp.Window < 1024 || len(p.payload) != 0 {
			t.Errorf("window %d and %d bytes of payload, want at least 1024 and none", tcp.Window, len(p.payload))
		}
	}
}

// TestDontFragment looks for -F on the wire.
func TestDontFragment(t *testing.T) {
	s := standard(t)
	target := s.Target.Only(4)
	_, ps := captured(t, s.Client, "r1", "gtrace", "-n", "-F", "-q1", target.String())
	out := probes(ps, target)
	if df, ok := constant(out, func(p packet) bool { return p.df }); !ok || !df {
		t.Errorf("DF %v, constant %v, want it set in all", df, ok)
	}
}

// TestPingOptions looks for the options of gping on the wire.
func TestPingOptions(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		target := s.Target.Only(family)
		r, ps := captured(t, s.Client, "r1", "gping", "-n", "--json", "-c4", "-i0.01", "-s120", "-p", "c0ffee", "-Q", "0x28", "-t", "33", target.String())
		d, err := readPing(r)
		if err != nil {
			t.Fatal(err)
		}
		out := probes(ps, target)
		if r.status != 0 || d.Summary.Received != 4 || len(out) != 4 {
			t.Fatalf("%d probes captured, want 4\n%v", len(out), r)
		}
		header := map[int]int{4: 20, 6: 40}[family]
		for i, p := range out {
			if !p.isEcho() || p.ttl != 33 || p.tos != 0x28 || len(p.Data) != header+8+120 || int(p.echoSeq) != i+1 {
				t.Errorf("IPv%d probe %d: type %d, TTL %d, TOS %#02x, %d bytes, sequence %d: want an echo request, 33, 0x28, %d, %d",
					family, i+1, p.icmpType, p.ttl, p.tos, len(p.Data), p.echoSeq, header+8+120, i+1)
			}
			pattern, _ := hex.DecodeString("c0ffeec0ffeec0ffeec0ffee")
			if !bytes.Contains(p.payload, pattern) {
				t.Errorf("IPv%d probe %d: payload %x, want c0ffee in it again and again", family, i+1, p.payload)
			}
		}
		if id, ok := constant(out, func(p packet) uint16 { return p.echoID }); !ok || id == 0 {
			t.Errorf("IPv%d: identifier %d, constant %v", family, id, ok)
		}
	}
}

// TestPingPackets captures every probe of a ping: each is byte for byte what
// the program says it sent.
func TestPingPackets(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		target := s.Target.Only(family)
		r, ps := captured(t, s.Client, "r1", "gping", "-n", "--format", "events", "-c20", "-i0.002", target.String())
		var sent []string
		for l := range strings.Lines(r.stdout) {
			var e event
			if err := json.Unmarshal([]byte(l), &e); err != nil {
				t.Fatalf("not an event: %v: %q", err, l)
			}
			if e.Event == "sent" {
				sent = append(sent, e.Packet)
			}
		}
		out := probes(ps, target)
		if r.status != 0 || len(out) != 20 || len(sent) != 20 {
			t.Fatalf("IPv%d: %d sent events, %d probes captured, want 20\n%v", family, len(sent), len(out), r)
		}
		for i, p := range out {
			if got := hex.EncodeToString(p.Data); got != sent[i] {
				t.Errorf("IPv%d probe %d on the wire is %s; the event says %s", family, i+1, got, sent[i])
			}
		}
	}
}

// TestLiveServices traces to ports where something answers, which must
// neither go unheard nor be told that nobody is here.
func TestLiveServices(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		path := s.Path[family]
		target := path[len(path)-1]
		for _, port := range []int{lab.EchoPort, lab.TextPort} {
			t.Run(fmt.Sprintf("IPv%d UDP port %d", family, port), func(t *testing.T) {
				r, ps := captured(t, s.Client, "r1", "gtrace", "-n", "--json", "-p", strconv.Itoa(port), target.String())
				d, err := readTrace(r)
				if err != nil {
					t.Fatal(err)
				}
				faults := checkEnd(r, d.Outcome, "reached", 0)
				if len(d.Hops) != len(path) {
					t.Fatalf("%d hops, want %d\n%v", len(d.Hops), len(path), r)
				}
				last := d.Hops[len(path)-1]
				d.Hops = d.Hops[:len(path)-1]
				faults = append(faults, checkHops(d, 1, 3, exceeded(path[:len(path)-1]))...)
				heard := 0
				for _, p := range last.Probes {
					if p.Result == "reply" && p.From == target && p.UDP != nil {
						heard++
						// What could be the answer to any probe has no time.
						if p.Match == "flow-only" && p.RTT != nil || port == lab.EchoPort && (p.RTT == nil || p.Match != "strict") {
							faults = append(faults, fmt.Sprintf("match %q, RTT there %v", p.Match, p.RTT != nil))
						}
					}
				}
				if heard != 3 || len(last.Probes) != 3 {
					faults = append(faults, fmt.Sprintf("%d answers of the service to %d probes, want 3 and 3", heard, len(last.Probes)))
				}
				for _, p := range ps {
					if p.Out && p.dst == target && p.icmpType >= 0 {
						faults = append(faults, fmt.Sprintf("this host sent the service ICMP type %d", p.icmpType))
					}
				}
				tell(t, r, faults)
			})
		}
	}
}

// key is what an answer must repeat of a probe: the first 8 bytes behind its
// IP header (RFC 792).
func key(transport []byte) string { return string(transport[:8]) }

// answers maps a probe's key to the arrival of its first answer, as the
// capture has it.
func answers(ps []packet, target netip.Addr) map[string]time.Time {
	byEcho, bySeq := make(map[[2]uint16]string), make(map[uint32]string)
	at := make(map[string]time.Time)
	first := func(k string, when time.Time) {
		if _, ok := at[k]; !ok {
			at[k] = when
		}
	}
	for _, p := range ps {
		switch {
		case p.Out && p.dst == target && p.isEcho():
			byEcho[[2]uint16{p.echoID, p.echoSeq}] = key(p.transport)
		case p.Out && p.dst == target && p.flags == "S":
			bySeq[p.seq] = key(p.transport)
		case p.Out:
		case p.icmpType == 0 || p.icmpType == 129:
			if k, ok := byEcho[[2]uint16{p.echoID, p.echoSeq}]; ok {
				first(k, p.At)
			}
		case strings.Contains(p.flags, "A"):
			if k, ok := bySeq[p.ack-1]; ok {
				first(k, p.At)
			}
		case p.proto == 1 && p.icmpType > 0, p.proto == 58 && p.icmpType > 0 && p.icmpType < 128: // not neighbour discovery
			quote := p.transport[8:]
			header := 40
			if quote[0]>>4 == 4 {
				header = int(quote[0]&15) * 4
			}
			first(key(quote[header:]), p.At)
		}
	}
	return at
}

// maxClockError is the promise the programs make about their RTTs against a
// capture of the same packets, in the median.
const maxClockError = 5 * time.Microsecond

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

// TestClock compares each RTT with the same packets' times in a capture.
func TestClock(t *testing.T) {
	s := standard(t)
	for _, family := range []int{4, 6} {
		target := s.Target.Only(family)
		for _, w := range ways {
			if strings.Contains(w.name, "classic") {
				continue
			}
			t.Run(fmt.Sprintf("IPv%d %s", family, w.name), func(t *testing.T) {
				args := append([]string{"gtrace", "-n", "--format", "events", "-q6", "-m12"}, w.args...)
				r, ps := captured(t, s.Client, "r1", append(args, target.String())...)
				es, _, err := events(r)
				if err != nil {
					t.Fatalf("%v\n%v", err, r)
				}
				out, at := probes(ps, target), answers(ps, target)
				var off []time.Duration
				for _, e := range es {
					if e.Event != "probed" || e.Result != "reply" || e.Serial == 0 || e.Serial > uint64(len(out)) {
						continue
					}
					if e.Clock != "kernel" || e.RTT == nil {
						t.Errorf("serial %d: clock %q, want kernel", e.Serial, e.Clock)
						continue
					}
					p := out[e.Serial-1]
					when, ok := at[key(p.transport)]
					if !ok {
						t.Errorf("serial %d: answered, but no answer was captured", e.Serial)
						continue
					}
					off = append(off, difference(*e.RTT, when.Sub(p.At)))
				}
				if len(off) < 60 {
					t.Fatalf("%d RTTs to compare, want at least 60\n%v", len(off), r)
				}
				if m := median(off); m > maxClockError {
					t.Errorf("RTTs are %v from the capture's in the median of %d, want at most %v", m, len(off), maxClockError)
				} else {
					t.Logf("%v from the capture's in the median of %d", m, len(off))
				}
			})
		}
		t.Run(fmt.Sprintf("IPv%d ping", family), func(t *testing.T) {
			r, ps := captured(t, s.Client, "r1", "gping", "-n", "--json", "-c80", "-i0.005", target.String())
			d, err := readPing(r)
			if err != nil {
				t.Fatal(err)
			}
			out, at := probes(ps, target), answers(ps, target)
			var off []time.Duration
			for _, p := range d.Replies {
				if p.Result != "reply" || p.Clock != "kernel" || p.RTT == nil || p.Seq > len(out) {
					t.Errorf("reply %d: %s by clock %q, want one by the kernel's", p.Seq, p.Result, p.Clock)
					continue
				}
				sent := out[p.Seq-1]
				off = append(off, difference(*p.RTT, at[key(sent.transport)].Sub(sent.At)))
			}
			if len(off) < 60 {
				t.Fatalf("%d RTTs to compare, want at least 60\n%v", len(off), r)
			}
			if m := median(off); m > maxClockError {
				t.Errorf("RTTs are %v from the capture's in the median of %d, want at most %v", m, len(off), maxClockError)
			} else {
				t.Logf("%v from the capture's in the median of %d", m, len(off))
			}
		})
	}
}

func difference(ms float64, d time.Duration) time.Duration {
	return time.Duration(math.Abs(ms*1e6 - float64(d)))
}
