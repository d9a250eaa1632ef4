package simnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"gtrace/internal/wire"
	"gtrace/rawsock"
)

// Config is how a Conn behaves towards its user. The zero value is a raw
// socket that can do everything and takes no time.
type Config struct {
	Seed       uint64
	Caps       func(*rawsock.Caps) // changes what the Conn can do; by default everything, of the families its node has addresses of
	SendCost   time.Duration       // the clock moves on by this much with every packet sent
	StampDelay time.Duration       // if not 0, Send gives the user's time, before SendCost, and Stamps the kernel's, this much later
	Ports      int                 // that can be reserved for one protocol and address; 0 means as many as there are
	PassAll    bool                // no kernel filter: what comes for ports that are not reserved is heard too
	Record     bool                // keeps every packet for Sent
	Foreign    bool                // packets are not this repository's programs': Faults has nothing to say about them

	// RefuseSet says why settings are refused; nil lets them all go.
	RefuseSet func(rawsock.Settings) error

	// OnSend sees every packet that leaves, as its user wrote it; p is valid during the call.
	OnSend func(at time.Time, p []byte)

	// Refuse says by the system's name, such as "EHOSTUNREACH", why a packet does not leave; "" lets it
	// go. "ENOBUFS" wraps rawsock.ErrFull. try counts the packets given to Send, refused ones too, from 0.
	// See RefuseTo and RefuseTries.
	Refuse func(try int, dst netip.Addr) string
}

// RefuseTo refuses packets to dst.
func RefuseTo(dst netip.Addr, errno string) func(int, netip.Addr) string {
	return func(_ int, d netip.Addr) string {
		if d == dst {
			return errno
		}
		return ""
	}
}

// RefuseTries refuses n packets from the given one on.
func RefuseTries(from, n int, errno string) func(int, netip.Addr) string {
	return func(try int, _ netip.Addr) string {
		if try >= from && try < from+n {
			return errno
		}
		return ""
	}
}

// Counts are what happened to packets. Copies made on the way count each.
type Counts struct {
	Sent      int // left the host
	Refused   int // did not leave the host
	Faulty    int // of those sent: no real host would have accepted them. See Conn.Faults
	Lost      int // by chance, way out
	LostBack  int // by chance or with a TTL of 0, way back
	Damaged   int // reached a host with a checksum that a link broke
	Discarded int // ended without an answer being due: rules, black holes, silent nodes and ports
	Limited   int // answers not given for want of tokens
	Answers   int // that reached this host
	Unheard   int // of those: not let in
}

// A Packet is one that was sent.
type Packet struct {
	At   time.Time
	Data []byte
}

// epoch is what every clock starts at.
var epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

type reservation struct {
	src   netip.Addr
	proto uint8
	port  uint16
}

// A Conn is a rawsock.Conn that has a network of its own.
type Conn struct {
	cfg      Config
	caps     rawsock.Caps
	src      *Node
	rng      *rand.Rand
	now      int64 // ns since epoch
	tries    int
	sent     uint64
	counts   Counts
	faults   []error
	reserved map[reservation]bool
	settings rawsock.Settings
	stamps   []lateStamp
	record   []Packet
	host     rawsock.Stats
	events   agenda
	lent     []int32 // slots whose data the user holds
	stop     atomic.Bool
	closed   atomic.Bool
	trip     trip
}

type lateStamp struct {
	ready int64
	rawsock.Stamp
}

// New returns the connection of the host src to the network its links lead to.
func New(cfg Config, src *Node) *Conn {
	c := &Conn{
		cfg: cfg, src: src,
		rng:      rand.New(rand.NewPCG(cfg.Seed, 0x73696d6e6574)),
		reserved: make(map[reservation]bool),
	}
	c.caps = rawsock.Caps{
		Header: true, TCP: true, RxStamp: true, TxStamp: true,
		IPv4:  first(src.Addrs, false).IsValid(),
		IPv6:  first(src.Addrs, true).IsValid(),
		Token: c.rng.Uint32(), Socket: "raw",
	}
	if cfg.Caps != nil {
		cfg.Caps(&c.caps)
	}
	return c
}

// Caps says what the connection can do.
func (c *Conn) Caps() rawsock.Caps { return c.caps }

// Now is the virtual time.
func (c *Conn) Now() time.Time { return epoch.Add(time.Duration(c.now)) }

// Counts are what happened so far.
func (c *Conn) Counts() Counts { return c.counts }

// Faults are what was wrong with the packets given to Send, the first hundred of them: lengths, checksums,
// fields that a kernel would have filled in, ports that are not reserved, and a token that is not where rawsock's
// conventions want it. A packet is sent all the same, and gets as far as it would.
func (c *Conn) Faults() []error { return c.faults }

// Sent are the packets that left, if Config.Record is set.
func (c *Conn) Sent() []Packet { return c.record }

// SetStats sets what Stats returns.
func (c *Conn) SetStats(s rawsock.Stats) { c.host = s }

// Stats returns what SetStats was given.
func (c *Conn) Stats() rawsock.Stats { return c.host }

// At calls f from Recv when the clock reaches t. f may use the Conn, but for
// Recv, and change the network.
func (c *Conn) At(t time.Time, f func()) {
	c.events.push(int64(t.Sub(epoch)), rawsock.Reply{}, f)
}

// Next is when the clock will have something to do: a reply arrives, or a function given to At is due. It is for those who
// move the clock by another one, with Recv until then.
func (c *Conn) Next() (t time.Time, ok bool) {
	at, ok := c.events.next()
	return epoch.Add(time.Duration(at)), ok
}

// Inject lets a reply arrive at t, from nowhere. The kernel filter applies.
func (c *Conn) Inject(t time.Time, r rawsock.Reply) {
	c.events.push(int64(t.Sub(epoch)), r, nil)
}

// Interrupt makes the current and every later Recv return rawsock.ErrInterrupted.
func (c *Conn) Interrupt() { c.stop.Store(true) }

// Close closes the connection.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return fmt.Errorf("simnet: close: %w", net.ErrClosed)
	}
	return nil
}

// Local reports whether a is an address of the Conn's own node.
func (c *Conn) Local(a netip.Addr) bool { return c.src.owns(a.WithZone(""), nil) }

// Set keeps s for Settings; nothing else changes.
func (c *Conn) Set(s rawsock.Settings) error {
	if c.cfg.RefuseSet != nil {
		if err := c.cfg.RefuseSet(s); err != nil {
			return fmt.Errorf("simnet: %w", err)
		}
	}
	c.settings = s
	return nil
}

// Settings are what Set was given.
func (c *Conn) Settings() rawsock.Settings { return c.settings }

// Reserve takes a port or identifier, by chance unless one is named: ports as Linux does, from 32768 to 60999.
func (c *Conn) Reserve(src netip.Addr, proto uint8, port uint16) (uint16, error) {
	low, n := 32768, 28232
	if port != 0 {
		low, n = int(port), 1
	}
	switch proto {
	case wire.ProtoICMP, wire.ProtoICMPv6:
		if port == 0 {
			low, n = 1, 65535
		}
	case wire.ProtoUDP:
	case wire.ProtoTCP:
		if !c.caps.TCP {
			return 0, fmt.Errorf("simnet: reserve a TCP port on %v: %w", src, errors.ErrUnsupported)
		}
	default:
		if slices.Contains(c.caps.Extra, proto) {
			if proto == wire.ProtoDCCP || proto == wire.ProtoUDPLite {
				break
			}
			if !c.Local(src) {
				return 0, fmt.Errorf("simnet: reserve protocol %d on %v: not an address of this host", proto, src)
			}
			c.reserved[reservation{src, proto, 0}] = true
			return 0, nil // no ports
		}
		return 0, fmt.Errorf("simnet: reserve a port of protocol %d: %w", proto, errors.ErrUnsupported)
	}
	if !c.Local(src) {
		return 0, fmt.Errorf("simnet: reserve a port on %v: not an address of this host", src)
	}
	if c.cfg.Ports > 0 {
		have := 0
		for k := range c.reserved {
			if k.src == src && k.proto == proto {
				have++
			}
		}
		if have >= c.cfg.Ports {
			return 0, fmt.Errorf("simnet: reserve a port on %v: %d are, which is all there may be", src, have)
		}
	}
	start := c.rng.IntN(n)
	for i := range n {
		k := reservation{src, proto, uint16(low + (start+i)%n)}
		if !c.reserved[k] {
			c.reserved[k] = true
			return k.port, nil
		}
	}
	if port != 0 {
		return 0, fmt.Errorf("simnet: reserve port %d on %v: %w", port, src, rawsock.ErrTaken)
	}
	return 0, fmt.Errorf("simnet: reserve a port on %v: all %d are taken", src, n)
}

// Release gives a reserved port back.
func (c *Conn) Release(src netip.Addr, proto uint8, port uint16) {
	delete(c.reserved, reservation{src, proto, port})
}

// Send sends ps in order; see rawsock.Conn. Besides what Config.Refuse says, it fails
// as Linux does: where there is no route, and with packets larger than the
// first link's MTU.
func (c *Conn) Send(ps []rawsock.Packet) (int, error) {
	for i := range ps {
		p := &ps[i]
		if c.closed.Load() {
			return i, &rawsock.SendError{Name: "EBADF", Dst: p.Dst, Err: fmt.Errorf("simnet: %w", net.ErrClosed)}
		}
		name := ""
		if c.cfg.Refuse != nil {
			name = c.cfg.Refuse(c.tries, p.Dst)
		}
		c.tries++
		if name == "" {
			name = c.check(p)
		}
		if name != "" {
			c.counts.Refused++
			err := errors.New(name)
			if name == "ENOBUFS" {
				err = fmt.Errorf("%s: %w", name, rawsock.ErrFull)
			}
			return i, &rawsock.SendError{Name: name, Dst: p.Dst, Err: err}
		}
		p.N, p.Sent, p.Kernel = c.sent, c.Now(), false
		c.now += int64(c.cfg.SendCost)
		switch {
		case !c.caps.TxStamp:
		case c.cfg.StampDelay > 0:
			c.stamps = append(c.stamps, lateStamp{c.now + int64(c.cfg.StampDelay), rawsock.Stamp{N: p.N, Sent: c.Now()}})
		default:
			p.Sent, p.Kernel = c.Now(), true
		}
		c.sent++
		c.counts.Sent++
		if c.cfg.Record {
			c.record = append(c.record, Packet{c.Now(), append([]byte(nil), p.Data...)})
		}
		c.launch(p)
		if c.cfg.OnSend != nil {
			c.cfg.OnSend(c.Now(), p.Data)
		}
	}
	return len(ps), nil
}

// Stamps returns the send times that are late and there by now.
func (c *Conn) Stamps(ss []rawsock.Stamp) int {
	n := 0
	for n < len(ss) && n < len(c.stamps) && c.stamps[n].ready <= c.now {
		ss[n] = c.stamps[n].Stamp
		n++
	}
	c.stamps = c.stamps[:copy(c.stamps, c.stamps[n:])]
	return n
}

// poison is what the data of a reply become with the next Recv.
const poison = 0xdb

// Recv moves the clock to the next reply or to until; see rawsock.Conn.
// With the zero time and nothing under way it returns an error, since no
// reply can ever come.
func (c *Conn) Recv(rs []rawsock.Reply, until time.Time) (int, error) {
	for _, slot := range c.lent {
		for r, i := &c.events.slots[slot].reply, 0; i < max(len(r.Data), len(r.Options)); i++ {
			if i < len(r.Data) {
				r.Data[i] = poison
			}
			if i < len(r.Options) {
				r.Options[i] = poison
			}
		}
		c.events.free(slot)
	}
	c.lent = c.lent[:0]
	if len(rs) == 0 {
		return 0, errors.New("simnet: receive: no room for a reply")
	}
	end := int64(math.MaxInt64)
	if !until.IsZero() {
		end = int64(until.Sub(epoch))
	}
	for n := 0; ; {
		switch {
		case c.closed.Load():
			return n, fmt.Errorf("simnet: receive: %w", net.ErrClosed)
		case n == len(rs):
			return n, nil
		case n == 0 && c.stop.Load():
			return 0, rawsock.ErrInterrupted
		}
		at, ok := c.events.next()
		switch {
		case ok && at <= c.now:
		case n > 0:
			return n, nil
		case !ok && until.IsZero():
			return 0, errors.New("simnet: receive: would wait for ever, as nothing is under way")
		case !ok || at > end:
			c.now = max(c.now, end)
			return 0, os.ErrDeadlineExceeded
		default:
			c.now = at
		}
		slot := c.events.pop()
		e := &c.events.slots[slot]
		if f := e.call; f != nil {
			c.events.free(slot)
			f()
			continue
		}
		c.counts.Answers++
		if !c.hears(&e.reply) {
			c.counts.Unheard++
			c.events.free(slot)
			continue
		}
		rs[n] = e.reply
		rs[n].At, rs[n].Kernel, rs[n].Local = c.Now(), false, c.Local(e.reply.From)
		if c.caps.RxStamp {
			rs[n].At, rs[n].Kernel = epoch.Add(time.Duration(at)), true
		}
		c.lent = append(c.lent, slot)
		n++
	}
}

// hears is the kernel filter: a reply gets through if the port or identifier
// is reserved, or if it quotes this connection's token. What it says beyond
// that is not looked at, so that nonsense arrives as it would.
func (c *Conn) hears(r *rawsock.Reply) bool {
	if c.cfg.PassAll {
		return true
	}
	b := r.Data
	if len(b) < 8 {
		return false
	}
	switch r.Proto {
	case wire.ProtoUDP, wire.ProtoUDPLite, wire.ProtoDCCP:
		return c.reserved[reservation{r.To, r.Proto, be(b[2:])}]
	case wire.ProtoTCP:
		return c.caps.TCP && c.reserved[reservation{r.To, r.Proto, be(b[2:])}]
	case wire.ProtoICMP:
		switch b[0] {
		case wire.EchoReply4, wire.TimestampReply4, wire.MaskReply4, wire.ExtEchoReply4:
			return c.reserved[reservation{r.To, r.Proto, be(b[4:])}]
		case wire.Unreachable4, wire.SourceQuench4, wire.Redirect4, wire.TimeExceeded4, wire.ParameterProblem4:
			return c.hearsQuote(r)
		}
		return false
	case wire.ProtoICMPv6:
		switch b[0] {
		case wire.EchoReply6, wire.ExtEchoReply6:
			return c.reserved[reservation{r.To, r.Proto, be(b[4:])}]
		case wire.NodeReply6:
			return len(b) >= 10 && c.reserved[reservation{r.To, r.Proto, be(b[8:])}]
		case wire.Unreachable6, wire.PacketTooBig6, wire.TimeExceeded6, wire.ParameterProblem6, wire.Redirect6:
			return c.hearsQuote(r)
		}
		return false
	}
	return c.reserved[reservation{r.To, r.Proto, 0}]
}

func (c *Conn) hearsQuote(r *rawsock.Reply) bool {
	b := r.Data[8:]
	if r.Proto == wire.ProtoICMPv6 && r.Data[0] == wire.Redirect6 {
		const quote = 40 + 8 // where a node here puts it: in the first option
		b = r.Data[min(quote, len(r.Data)):]
	}
	q, err := wire.ParseQuote(b)
	if err != nil || q.Offset() != 0 {
		return false
	}
	t, proto := q.Transport(), q.Proto()
	if at := identAt(proto, t); at >= 0 && len(t) >= at+2 && c.reserved[reservation{r.To, proto, be(t[at:])}] {
		return true
	}
	if proto == wire.ProtoTCP && be(t[4:]) == uint16(c.caps.Token) {
		return true
	}
	for _, at := range [...]int{rawsock.TokenOffset, 8 + rawsock.TokenOffset, 8 + rawsock.QUICTokenOffset} {
		if len(t) >= at+4 && binary.BigEndian.Uint32(t[at:]) == c.caps.Token {
			return true
		}
	}
	return false
}
