package rawsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// rcvBuf is what each receiving socket asks for. The usual default holds 256
// small ICMP messages, for the kernel counts some 800 bytes for each.
const rcvBuf = 4 << 20

// A sender is a socket that takes whole packets of one family.
type sender struct {
	fd     int // -1: this host does not have the family
	stamps bool
	ids    txIDs
	queue  stamped // of errors, where send stamps come
}

// A receiver is a socket that hears one protocol of one family.
type receiver struct {
	fd    int
	v6    bool
	proto uint8
	own   netip.AddrPort // of a UDP socket: what it is bound to
	loss  lossMeter
	queue stamped
}

// A reservation keeps a port or an identifier this Conn's own.
type reservation struct {
	src   netip.Addr
	proto uint8
	port  uint16
	hold  int  // descriptor that keeps it: the TCP or the Unix socket; -1: there is nothing to keep
	udp   int  // the UDP socket; -1: none
	early bool // the sockets are an earlyPort's, and stay
}

// An earlyPort is Options.Port of one family, taken while that was allowed, on all addresses,
// as it was not known then which would be the source.
type earlyPort struct {
	udp, tcp int
	err      error // why it could not be had; nil where there is none
}

// raw is the Conn on raw sockets.
type raw struct {
	caps  Caps
	clock *clock
	open  time.Time
	waker *waker

	// mu is held during every call but Interrupt, so that Close does not take the
	// descriptors from under one. Nobody else ever waits for it.
	mu     sync.Mutex
	closed bool

	send4, send6 sender
	recv         []*receiver
	reserved     []reservation
	want4, want6 wanted
	poll         []unix.PollFd // the waker, the senders, the rings, the receivers

	senders       []*sender // in the order of poll
	firstReceiver int       // the place of recv[0] in poll
	turn          int       // which receiver is read first

	out   outbox
	in    *inbox
	tx    *inbox  // of the error queue
	sent  uint64  // packets that left
	late  []Stamp // for Stamps
	drops uint64  // of sockets closed since
	bad   uint64
	wakes uint64 // of poll, for tests
	zones zones
	local localAddrs

	learners []int // with Options.Mark: descriptors; see learn

	port           uint16 // Options.Port
	early4, early6 earlyPort

	settings Settings
	ways     ways
	bulk     *bulk  // with Options.Packet
	tooBig   int    // what the kernel said fits, of the last packet that did not
	fragID   uint32 // of the last IPv6 packet that was cut
}

// outbox are the arguments of one sendmmsg.
type outbox struct {
	ms    [batch]mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]unix.RawSockaddrInet6
	vias  [batch]*hop // nil: by a raw socket
}

// openRaw opens all sockets. Raw ones hear everything of their protocol from
// the moment they are made, so each gets a filter that keeps all out, and is
// emptied, before anything else happens.
func openRaw(o Options, rcvbuf int) (_ *raw, err error) {
	c := &raw{
		caps:  Caps{Header: true, TCP: true, RxStamp: true, TxStamp: true, Token: newToken(), Socket: "raw"},
		clock: newClock(readClocks),
		send4: sender{fd: -1},
		send6: sender{fd: -1},
		in:    newInbox(batch, slotLen),
		tx:    newInbox(batch, 1),
		local: watchLocal(),
	}
	c.open = c.Now()
	c.want4.token, c.want6.token = c.caps.Token, c.caps.Token
	if c.waker, err = newWaker(); err != nil {
		c.local.close()
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	lower, err := raiseNetRaw()
	if err != nil {
		return nil, err
	}
	err = c.openFamilies(o, rcvbuf)
	if lerr := lower(); lerr != nil {
		err = errors.Join(err, lerr)
	}
	if err != nil {
		return nil, err
	}
	c.watch()
	return c, nil
}

func (c *raw) openFamilies(o Options, rcvbuf int) (err error) {
	c.port, c.settings.Mark, c.ways.s.Mark = o.Port, o.Mark, o.Mark
	for _, p := range o.Protocols {
		if !heard(p) && !slices.Contains(c.caps.Extra, p) {
			c.caps.Extra = append(c.caps.Extra, p)
		}
	}
	if c.caps.IPv4, err = c.openFamily(false, o, rcvbuf); err != nil {
		return opError("open IPv4", err)
	}
	if c.caps.IPv6, err = c.openFamily(true, o, rcvbuf); err != nil {
		return opError("open IPv6", err)
	}
	if !c.caps.IPv4 && !c.caps.IPv6 {
		return opError("open", fmt.Errorf("this host has neither IPv4 nor IPv6: %w", unix.EAFNOSUPPORT))
	}
	if o.Packet {
		return c.openBulk(o)
	}
	return nil
}

const rawSocket = unix.SOCK_RAW | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC

// openFamily reports whether this host has the family at all.
func (c *raw) openFamily(v6 bool, o Options, rcvbuf int) (has bool, err error) {
	family, icmp, s := unix.AF_INET, unix.IPPROTO_ICMP, &c.send4
	if v6 {
		family, icmp, s = unix.AF_INET6, unix.IPPROTO_ICMPV6, &c.send6
	}
	// IPPROTO_RAW includes the header. A socket of the probe's protocol could too,
	// but would also teach the host's other programs the path MTU that the probes
	// meet.
	s.fd, err = unix.Socket(family, rawSocket, unix.IPPROTO_RAW)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("socket to send with: %w", err)
	}
	if err := setupSender(s, v6); err != nil {
		return false, fmt.Errorf("socket to send with: %w", err)
	}
	if o.Mark != 0 {
		if err := setMark(s.fd, o.Mark); err != nil {
			return false, err
		}
		for _, proto := range []int{icmp, unix.IPPROTO_UDP} {
			if err := c.learn(family, proto, o.Mark); err != nil {
				return false, fmt.Errorf("socket to learn path MTUs with: %w", err)
			}
		}
	}
	c.caps.TxStamp = c.caps.TxStamp && s.stamps
	if o.Port != 0 {
		early := &c.early4
		if v6 {
			early = &c.early6
		}
		early.take(v6, o.Port)
	}
	protos := []int{icmp, unix.IPPROTO_TCP}
	for _, p := range c.caps.Extra {
		protos = append(protos, int(p))
	}
	for _, proto := range protos {
		r, err := c.openReceiver(family, proto)
		if err == nil {
			err = c.setupReceiver(r, rcvbuf)
		}
		if err != nil {
			return false, fmt.Errorf("socket to receive protocol %d with: %w", proto, err)
		}
	}
	return true, nil
}

// setMark marks what a socket sends, and what the kernel looks up for it.
func setMark(fd int, mark uint32) error {
	// With CAP_NET_ADMIN, or CAP_NET_RAW since Linux 5.17.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(int32(mark))); err != nil {
		return fmt.Errorf("mark packets with %d (SO_MARK): %w", mark, err)
	}
	return nil
}

// learn opens a socket that nothing is sent by or read from. When a router tells a path MTU, the kernel notes it for the way of
// whoever hears that packet's protocol (raw_err, rawv6_err), and for marked packets' way that is nobody else.
func (c *raw) learn(family, proto int, mark uint32) error {
	fd, err := unix.Socket(family, rawSocket, proto)
	if err != nil {
		return err
	}
	c.learners = append(c.learners, fd)
	if err := attachFilter(fd, dropAll); err != nil {
		return err
	}
	if family == unix.AF_INET6 { // which does it for those alone who want to know of errors
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 1); err != nil {
			return fmt.Errorf("hear errors: %w", err)
		}
	}
	return setMark(fd, mark)
}

// openReceiver opens a socket that hears everything of a protocol until
// setupReceiver has seen to it.
func (c *raw) openReceiver(family, proto int) (*receiver, error) {
	fd, err := unix.Socket(family, rawSocket, proto)
	if err != nil {
		return nil, err
	}
	r := &receiver{fd: fd, v6: family == unix.AF_INET6, proto: uint8(proto)}
	c.recv = append(c.recv, r)
	return r, nil
}

const sendStamps = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_TSONLY

func setupSender(s *sender, v6 bool) error {
	// Packets of protocol 255 are of no interest.
	if err := attachFilter(s.fd, dropAll); err != nil {
		return err
	}
	level, discover, recverr := unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_RECVERR
	if v6 {
		level, discover, recverr = unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_RECVERR
	}
	// Otherwise the path MTU that some other program met fragments our packets, or
	// refuses them. The value is the same for both families.
	if err := unix.SetsockoptInt(s.fd, level, discover, unix.IP_PMTUDISC_PROBE); err != nil {
		return fmt.Errorf("ignore the cached path MTU: %w", err)
	}
	// Without this the kernel calls a packet that a full device queue threw away
	// sent (raw_send_hdrinc keeps ENOBUFS to itself).
	if err := unix.SetsockoptInt(s.fd, level, recverr, 1); err != nil {
		return fmt.Errorf("ask for queue errors: %w", err)
	}
	s.stamps = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, sendStamps|unix.SOF_TIMESTAMPING_OPT_ID) == nil
	return nil
}

func (c *raw) setupReceiver(r *receiver, rcvbuf int) error {
	if err := attachFilter(r.fd, dropAll); err != nil {
		return err
	}
	for { // what came before the filter
		n, err := c.in.take(r.fd, 0, batch, 0, 0)
		if err != nil {
			return fmt.Errorf("empty the queue: %w", err)
		}
		if n == 0 {
			break
		}
	}
	if r.proto == wire.ProtoICMP || r.proto == wire.ProtoICMPv6 {
		if err := filterTypes(r.fd, r.v6); err != nil {
			return err
		}
	}
	if r.proto == wire.ProtoICMPv6 {
		// The kernel looks at an ICMPv6 checksum before it asks the filter, and counts what is wrong among the drops for want of
		// buffer (rawv6_rcv_skb): whoever sends such messages would have every run say that it lost answers. Whoever reads them
		// looks too. At the level IPPROTO_IPV6 this is refused (RFC 3542 section 3.1); at this one Linux allows it, and where it does
		// not, nothing but that count is worse.
		_ = unix.SetsockoptInt(r.fd, unix.SOL_RAW, unix.IPV6_CHECKSUM, -1)
	}
	return c.setupArrival(r, rcvbuf)
}

// setupArrival asks for all that is told of an arriving packet beside its bytes.
func (c *raw) setupArrival(r *receiver, rcvbuf int) error {
	// The first needs CAP_NET_ADMIN; the second is cut to net.core.rmem_max.
	if unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvbuf) != nil {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf); err != nil {
			return fmt.Errorf("set receive buffer: %w", err)
		}
	}
	if unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) != nil {
		c.caps.RxStamp = false
	}
	level, opts := unix.SOL_IPV6, []int{unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS, unix.IPV6_RECVPKTINFO}
	if !r.v6 {
		level, opts = unix.SOL_IP, nil // the header comes with the packet
		if r.proto == wire.ProtoUDP {
			opts = []int{unix.IP_RECVTTL, unix.IP_RECVTOS, unix.IP_RECVOPTS}
		}
	}
	for _, o := range opts {
		if err := unix.SetsockoptInt(r.fd, level, o, 1); err != nil {
			return fmt.Errorf("ask for TTL and addresses: %w", err)
		}
	}
	c.teach(r)
	return r.loss.start(r.fd)
}

// teach says whether the kernel may learn a path MTU from what routers say of our packets. It notes that for the whole host, for
// ten minutes, on behalf of any socket that hears the message (raw_err, __udp4_lib_err, __udp6_lib_err), though the probes' own
// does not: so other programs' packets would be cut for our questions. Only those settings that go by what it learnt want
// that. From answers to ICMPv6 it learns whatever is said here (icmpv6_err).
func (c *raw) teach(r *receiver) {
	level, discover, how := unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE
	if r.v6 {
		level, discover = unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER
	}
	if c.settings.Heed || c.settings.Fragment {
		how = unix.IP_PMTUDISC_WANT // the value is the same for both families
	}
	_ = unix.SetsockoptInt(r.fd, level, discover, how) // before Linux 3.15 it learns
}

// take binds the port. That it is somebody else's is told when it is asked for. Until then
// nothing is heard on it.
func (e *earlyPort) take(v6 bool, port uint16) {
	any := netip.AddrFrom4([4]byte{})
	if v6 {
		any = netip.IPv6Unspecified()
	}
	if e.udp, e.tcp, _, e.err = reservePort(any, 0, port); e.err == nil {
		e.err = attachFilter(e.udp, dropAll)
	}
}

// close gives it back.
func (e *earlyPort) close() {
	for _, fd := range []int{e.udp, e.tcp} {
		if fd > 0 {
			unix.Close(fd)
		}
	}
}

// watch makes the poll list anew.
func (c *raw) watch() {
	c.poll = append(c.poll[:0],
		unix.PollFd{Fd: int32(c.waker.fd), Events: unix.POLLIN},
		// No events asked for: a send stamp in the error queue is POLLERR, which
		// always comes. A negative descriptor is skipped.
		unix.PollFd{Fd: int32(c.send4.fd)},
		unix.PollFd{Fd: int32(c.send6.fd)})
	c.senders = append(c.senders[:0], &c.send4, &c.send6)
	if c.bulk != nil {
		c.senders = append(c.senders, &c.bulk.send)
		c.poll = append(c.poll, unix.PollFd{Fd: int32(c.bulk.send.fd)})
		for _, r := range c.bulk.rings {
			c.poll = append(c.poll, unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN})
		}
	}
	c.firstReceiver = len(c.poll)
	for _, r := range c.recv {
		c.poll = append(c.poll, unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN})
	}
}

func (c *raw) Caps() Caps     { return c.caps }
func (c *raw) Now() time.Time { return time.Now() }
func (c *raw) Interrupt()     { c.waker.wake() }

func (c *raw) Close() error {
	c.waker.wake() // whoever is in Recv leaves it
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.waker.close()
	c.local.close()
	for _, s := range []*sender{&c.send4, &c.send6} {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
	}
	for _, r := range c.recv {
		if r.fd >= 0 && r.fd != c.early4.udp && r.fd != c.early6.udp {
			unix.Close(r.fd)
		}
	}
	for _, r := range c.reserved {
		if r.hold >= 0 && !r.early {
			unix.Close(r.hold)
		}
	}
	for _, fd := range c.learners {
		unix.Close(fd)
	}
	c.early4.close()
	c.early6.close()
	if c.bulk != nil {
		c.bulk.close()
	}
	return nil
}

// Reservations.

func (c *raw) want(src netip.Addr) *wanted {
	if src.Is4() {
		return &c.want4
	}
	return &c.want6
}

// Set tells the sockets that send, and no others: what is sent by one device may be answered by
// another. What a UDP socket of a reservation is bound to is its own, but nothing is sent on it.
func (c *raw) Set(s Settings) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return opError("set", os.ErrClosed)
	}
	if err := s.known(); err != nil {
		return setError(err)
	}
	for _, fd := range []int{c.send4.fd, c.send6.fd} {
		if fd < 0 {
			continue
		}
		if err := choosesBy(fd, fd == c.send6.fd, s); err != nil {
			return setError(err)
		}
		if err := s.apply(fd, fd == c.send6.fd); err != nil {
			return setError(err)
		}
	}
	if c.bulk != nil && s.SendBuffer > 0 {
		_ = unix.SetsockoptInt(c.bulk.send.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, s.SendBuffer) // the senders above have it already
	}
	if id, err := c.zones.id(netip.IPv6LinkLocalAllNodes().WithZone(s.Device)); err == nil {
		c.ways.oif = id
	}
	s.Mark = c.settings.Mark // Open's
	c.settings, c.ways.s = s, s
	for _, r := range c.recv {
		c.teach(r)
	}
	return nil
}

func (c *raw) Reserve(src netip.Addr, proto uint8, port uint16) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	src = src.Unmap()
	got, err := c.reserve(src, proto, port)
	if err != nil {
		return 0, reserveError(src, proto, err)
	}
	return got, nil
}

// reserveError says what was to be reserved. An address or a low port that is refused is no
// matter of raw sockets.
func reserveError(src netip.Addr, proto uint8, err error) error {
	if errors.Is(err, unix.EACCES) && !errors.Is(err, ErrPrivilege) && (proto == wire.ProtoUDP || proto == wire.ProtoTCP) {
		err = fmt.Errorf("%w: ports below net.ipv4.ip_unprivileged_port_start (as a rule 1024) are not for ordinary users, which this program is by then", err)
		return fmt.Errorf("reserve a port of %v for protocol %d: %w", src, proto, err)
	}
	return opError(fmt.Sprintf("reserve a port of %v for protocol %d", src, proto), err)
}

func (c *raw) reserve(src netip.Addr, proto uint8, port uint16) (uint16, error) {
	switch {
	case c.closed:
		return 0, os.ErrClosed
	case !src.IsValid() || src.IsUnspecified():
		return 0, errors.New("no source address given")
	case src.Is4() && !c.caps.IPv4 || src.Is6() && !c.caps.IPv6:
		return 0, fmt.Errorf("no sockets for that family: %w", unix.EAFNOSUPPORT)
	}
	w := c.want(src)
	if w.count(proto) >= maxReserved {
		return 0, fmt.Errorf("%d are reserved already, and no more fit the kernel's filter", maxReserved)
	}
	r := reservation{src: src, proto: proto, hold: -1, udp: -1}
	var err error
	switch {
	case proto == wire.ProtoUDP || proto == wire.ProtoTCP:
		scope, err := c.zones.id(src)
		if err != nil {
			return 0, err
		}
		if c.port != 0 && port == c.port {
			r, err = c.reserveEarly(r)
		} else {
			r.udp, r.hold, r.port, err = reservePort(src, scope, port)
		}
		if err != nil {
			return 0, err
		}
		u := &receiver{fd: r.udp, v6: src.Is6(), proto: wire.ProtoUDP, own: netip.AddrPortFrom(src, r.port)}
		c.recv = append(c.recv, u)
		if err := c.setupArrival(u, rcvBuf); err != nil {
			c.free(r)
			return 0, err
		}
	case proto == wire.ProtoICMP && src.Is4(), proto == wire.ProtoICMPv6 && src.Is6(): // both count as one
		if r.hold, r.port, err = reserveName(wire.ProtoICMP, port, 0); err != nil {
			return 0, err
		}
	case !slices.Contains(c.caps.Extra, proto):
		return 0, fmt.Errorf("no socket was opened for that protocol: %w", errors.ErrUnsupported)
	case hasPorts(proto):
		if r.hold, r.port, err = reserveName(proto, port, firstPort); err != nil {
			return 0, err
		}
	case port != 0:
		return 0, fmt.Errorf("that protocol has no ports: %w", errors.ErrUnsupported)
	}
	w.add(src, proto, r.port)
	c.reserved = append(c.reserved, r)
	if err := c.filter(src.Is6()); err != nil {
		w.remove(src, proto, r.port)
		c.reserved = c.reserved[:len(c.reserved)-1]
		c.free(r)
		return 0, err
	}
	c.watch()
	return r.port, nil
}

// reserveEarly makes r a reservation of Options.Port.
func (c *raw) reserveEarly(r reservation) (reservation, error) {
	e := &c.early4
	if r.src.Is6() {
		e = &c.early6
	}
	if e.err != nil {
		return r, e.err
	}
	for _, u := range c.recv {
		if u.fd == e.udp {
			return r, fmt.Errorf("%d is %w: %w", c.port, ErrTaken, unix.EADDRINUSE)
		}
	}
	if err := unix.SetsockoptInt(e.udp, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		return r, fmt.Errorf("take the filter off: %w", err)
	}
	r.udp, r.hold, r.port, r.early = e.udp, e.tcp, c.port, true
	return r, nil
}

func (c *raw) Release(src netip.Addr, proto uint8, port uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	src = src.Unmap()
	for i, r := range c.reserved {
		if r.src != src || r.proto != proto || r.port != port {
			continue
		}
		c.reserved = append(c.reserved[:i], c.reserved[i+1:]...)
		c.want(src).remove(src, proto, port)
		// A filter that lets in too much is no harm: whoever asks for replies
		// knows which probes are under way.
		_ = c.filter(src.Is6())
		c.free(r)
		c.watch()
		return
	}
}

// free closes the sockets of a reservation.
func (c *raw) free(r reservation) {
	for i, u := range c.recv {
		if r.udp >= 0 && u.fd == r.udp {
			c.drops += u.loss.count(u.fd)
			c.recv = append(c.recv[:i], c.recv[i+1:]...)
			if !r.early {
				unix.Close(r.udp)
			}
			break
		}
	}
	switch {
	case r.early:
		// What came since the last look at it stays unread, and is the next owner's to tell apart.
		_ = attachFilter(r.udp, dropAll)
	case r.hold >= 0:
		unix.Close(r.hold)
	}
}

// filter gives the sockets of one family the filter that fits what is reserved now.
func (c *raw) filter(v6 bool) error {
	w := c.want4
	if v6 {
		w = c.want6
	}
	for _, r := range c.recv {
		if r.v6 != v6 || r.proto == wire.ProtoUDP { // that one hears only its own port
			continue
		}
		var prog []bpf.Instruction
		switch {
		case r.proto == wire.ProtoTCP:
			prog = tcpFilter(w, v6)
		case r.proto == wire.ProtoICMPv6 && v6:
			prog = icmp6Filter(w)
		case r.proto == wire.ProtoICMP && !v6:
			prog = icmp4Filter(w)
		default:
			prog = extraFilter(w, r.proto, v6)
		}
		if c.bulk != nil && (r.proto == wire.ProtoTCP || r.proto == wire.ProtoICMP || r.proto == wire.ProtoICMPv6) {
			prog = restFilter(prog, r.proto, v6)
		}
		if err := attachFilter(r.fd, prog); err != nil {
			return err
		}
	}
	return c.filterRings(v6, w)
}

func (c *raw) Local(a netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local.has(a, c.Now(), &c.zones)
}

// Sending.

var errIncomplete = errors.New("packet is not complete")

// check refuses what the kernel would change or send elsewhere than the caller
// thinks: it fills in an IPv4 source or identification of 0, overwrites the
// IPv4 length and checksum, and routes by the socket address while the header
// goes out as it is.
func check(p *Packet) error {
	b := p.Data
	var src, dst netip.Addr
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		head := int(b[0]&0x0f) * 4
		switch {
		case head < 20 || head > len(b):
			return fmt.Errorf("%w: header length %d of %d bytes", errIncomplete, head, len(b))
		case int(binary.BigEndian.Uint16(b[2:])) != len(b):
			return fmt.Errorf("%w: length field %d of %d bytes", errIncomplete, binary.BigEndian.Uint16(b[2:]), len(b))
		case binary.BigEndian.Uint16(b[4:]) == 0:
			return fmt.Errorf("%w: identification 0", errIncomplete)
		case headerSum(b[:head]) != 0xffff:
			return fmt.Errorf("%w: wrong header checksum", errIncomplete)
		}
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	case len(b) >= 40 && b[0]>>4 == 6:
		if n := 40 + int(binary.BigEndian.Uint16(b[4:])); n != len(b) {
			return fmt.Errorf("%w: length field %d of %d bytes", errIncomplete, n, len(b))
		}
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	default:
		return fmt.Errorf("%w: no IP header in %d bytes", errIncomplete, len(b))
	}
	if src.IsUnspecified() {
		return fmt.Errorf("%w: no source address", errIncomplete)
	}
	if dst != p.Dst.WithZone("") {
		return fmt.Errorf("%w: the header says to %v", errIncomplete, dst)
	}
	return nil
}

// sourceOf reads the source of a packet that has passed check.
func sourceOf(p *Packet) netip.Addr {
	if p.Data[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(p.Data[8:]))
	}
	return netip.AddrFrom4([4]byte(p.Data[12:]))
}

// loopbackIndex is that interface's in every network namespace (the kernel's LOOPBACK_IFINDEX).
const loopbackIndex = 1

// stays refuses a loopback source to whoever is another host, be it only the first gateway of a source route, or behind a
// device: such addresses never appear outside a host (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3), and of a header that
// it is given the kernel does not look at the source. The packet has passed check; scope is that of p.Dst.
func (c *raw) stays(p *Packet, scope uint32) error {
	src := sourceOf(p)
	if !src.IsLoopback() || max(scope, c.ways.oif) == loopbackIndex {
		return nil
	}
	// Own addresses come first in the routing table, but not for a socket that is of a device.
	if c.ways.oif == 0 && c.local.has(p.Dst, c.Now(), &c.zones) {
		return nil
	}
	return fmt.Errorf("from %v, which is of this host alone, to another: %w", src, unix.EINVAL)
}

// headerSum is the ones' complement sum of an IPv4 header (RFC 1071), 0xffff
// if its checksum is right.
func headerSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

func (c *raw) Send(ps []Packet) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.sent
	if c.bulk != nil {
		c.bulk.of, c.bulk.now = nil, time.Now()
	}
	for n < len(ps) {
		if c.closed {
			return n, sendError(ps[n].Dst, os.ErrClosed)
		}
		if mtu := c.cut(&ps[n]); mtu != 0 {
			if err := c.sendCut(&ps[n], mtu, ps, first); err != nil {
				return n, err
			}
			n++
			continue
		}
		s, k, err := c.pack(ps[n:])
		if k == 0 {
			return n, err
		}
		c.tooBig = 0
		// Before the call, not after: an answer may be here before it returns.
		before, _ := c.clock.read()
		done, serr := sendmmsg(s.fd, c.out.ms[:k])
		for i := n; i < n+done; i++ {
			p := &ps[i]
			p.N, p.Sent, p.Kernel = c.sent, before, false
			if s.stamps {
				s.ids.add(c.sent, before)
			}
			c.sent++
		}
		n += done
		if s.stamps {
			c.collect(s, ps, first)
			if done < k {
				// Whether a packet that failed used up a number depends on where it failed
				// (measured: a netfilter verdict and a full queue do, a missing route or a
				// packet too big do not), and not every error is told: start over.
				c.recount(s)
			}
		}
		if serr != nil && c.insteadByRaw(s, done, serr) {
			continue
		}
		if serr != nil {
			if !s.stamps && serr == unix.EMSGSIZE {
				c.collect(s, ps, first)
			}
			return n, tooBig(ps[n].Dst, serr, c.tooBig)
		}
	}
	return n, nil
}

// tooBig is why a packet did not leave; mtu is what would have, 0 where it is not known.
func tooBig(dst netip.Addr, err error, mtu int) *SendError {
	if err == unix.EMSGSIZE && mtu != 0 {
		e := sendError(dst, fmt.Errorf("%w: no more than %d bytes fit", err, mtu))
		e.MTU = mtu
		return e
	}
	return sendError(dst, err)
}

// cut reports into pieces of which size a packet must be cut, and 0 for one that leaves whole.
func (c *raw) cut(p *Packet) int {
	const least4, least6 = 68, 1280 // every link takes so much (RFC 791 section 3.2, RFC 8200 section 5)
	if !c.settings.Fragment || len(p.Data) <= least4 || check(p) != nil {
		return 0
	}
	v6 := p.Dst.Is6()
	if v6 && len(p.Data) <= least6 || !v6 && p.Data[6]&0x40 != 0 {
		return 0
	}
	now := time.Now()
	if len(p.Data) <= c.ways.anyDevice(now) {
		return 0 // whatever this host believes of the path beyond
	}
	scope, err := c.zones.id(p.Dst)
	if err != nil {
		return 0 // pack refuses it
	}
	if mtu := c.ways.mtuTo(sourceOf(p), p.Dst.WithZone(""), scope, now); len(p.Data) > mtu {
		return mtu
	}
	return 0
}

// heeds is the path MTU by which a packet may not leave, 0 if it may. What the kernel knows it learnt from
// routers' answers to ICMP probes too, whatever socket sent them.
func (c *raw) heeds(p *Packet, scope uint32) int {
	if !c.settings.Heed || p.Dst.Is4() && p.Data[6]&0x40 == 0 {
		return 0
	}
	mtu := c.ways.routeMTU(sourceOf(p), p.Dst.WithZone(""), scope)
	if mtu == 0 || len(p.Data) <= mtu {
		return 0
	}
	return mtu
}

// sendCut sends a packet in fragments. Its time is when the last of them left: before
// that nobody can have answered.
func (c *raw) sendCut(p *Packet, mtu int, ps []Packet, first uint64) error {
	c.fragID += 1 + uint32(random16()) // not to be guessed (RFC 7739)
	fs, err := fragments(p.Data, mtu, c.fragID)
	if err != nil {
		return &SendError{Name: "EMSGSIZE", Dst: p.Dst, MTU: mtu, Err: err}
	}
	pieces := make([]Packet, len(fs))
	for i := range fs {
		pieces[i] = Packet{Dst: p.Dst, Data: fs[i]}
	}
	for len(pieces) > 0 {
		s, k, err := c.pack(pieces)
		if k == 0 {
			return err
		}
		c.tooBig = 0
		before, _ := c.clock.read()
		done, serr := sendmmsg(s.fd, c.out.ms[:k])
		for i := range done {
			if last := i+1 == len(pieces); last {
				p.N, p.Sent, p.Kernel = c.sent, before, false
				s.ids.add(c.sent, before)
				c.sent++
			} else {
				s.ids.skip()
			}
		}
		pieces = pieces[done:]
		if s.stamps {
			c.collect(s, ps, first)
			if done < k {
				c.recount(s)
			}
		}
		if serr != nil && !c.insteadByRaw(s, done, serr) {
			return tooBig(p.Dst, serr, c.tooBig)
		}
	}
	return nil
}

// pack prepares a system call for the packets ps starts with that one socket
// can take, up to the first that must be refused. If that is ps[0], err says
// why.
func (c *raw) pack(ps []Packet) (s *sender, k int, err error) {
	for k < len(ps) && k < batch {
		p := &ps[k]
		if k > 0 && c.settings.Heed {
			break // the answer to one tells what the next may have
		}
		to := &c.send4
		if p.Dst.Is6() {
			to = &c.send6
		}
		if s != nil && (c.bulk == nil && to != s || c.cut(p) != 0) {
			break
		}
		var scope uint32
		if err = check(p); err != nil {
			err = &SendError{Name: "EINVAL", Dst: p.Dst, Err: err}
		} else if to.fd < 0 {
			err = sendError(p.Dst, unix.EAFNOSUPPORT)
		} else if scope, err = c.zones.id(p.Dst); err != nil {
			err = &SendError{Name: "ENODEV", Dst: p.Dst, Err: err}
		} else if serr := c.stays(p, scope); serr != nil {
			err = sendError(p.Dst, serr)
		} else if werr := c.ways.check(sourceOf(p), p.Dst, scope); werr != nil {
			err = sendError(p.Dst, werr)
		} else if mtu := c.heeds(p, scope); mtu != 0 {
			err = tooBig(p.Dst, unix.EMSGSIZE, mtu)
		}
		if err != nil {
			break
		}
		via := c.byLink(p, scope)
		if via != nil {
			to = &c.bulk.send
		}
		if s != nil && to != s {
			break
		}
		s = to
		c.out.iovs[k].Base = &p.Data[0]
		c.out.iovs[k].SetLen(len(p.Data))
		h := &c.out.ms[k].hdr
		h.Iov = &c.out.iovs[k]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&c.out.names[k]))
		if c.out.vias[k] = via; via != nil {
			h.Namelen = sockaddrLink(&c.out.names[k], via, p.Dst.Is6())
		} else {
			h.Namelen = rawSockaddr(&c.out.names[k], p.Dst, scope)
		}
		k++
	}
	return s, k, err
}

// maxLate is how many late stamps are kept for a caller that does not ask for them.
const maxLate = 4096

// collect reads the send stamps that are there. Those of packets from first
// on, which ps starts with, go there, the others are late.
func (c *raw) collect(s *sender, ps []Packet, first uint64) (found bool) {
	for {
		n, err := c.tx.take(s.fd, 0, batch, 0, unix.MSG_ERRQUEUE)
		if n == 0 || err != nil {
			return found
		}
		found = true
		now, steady := s.queue.read(c.clock, n < batch)
		for i := range n {
			_, oob, _ := c.tx.msg(i, 0)
			id, stamp, ok := txStamp(oob)
			if !ok {
				if e, ok := parseQueuedError(oob); ok && e.origin == unix.SO_EE_ORIGIN_LOCAL && e.errno == unix.EMSGSIZE {
					c.tooBig = int(e.info)
				}
				continue
			}
			e := s.ids.find(id)
			if e == nil {
				continue
			}
			// One from before the packet left is an earlier packet's, from before a recount.
			if steady && c.clock.at(stamp).Before(e.before.Add(-stepSize)) {
				continue
			}
			e.wait = false
			if !steady {
				continue
			}
			at, ok := c.clock.place(stamp, e.before, now)
			if !ok {
				continue
			}
			if i := e.n - first; i < uint64(len(ps)) { // one before first wraps and is beyond
				ps[i].Sent, ps[i].Kernel = at, true
			} else if len(c.late) < maxLate {
				c.late = append(c.late, Stamp{e.n, at})
			}
		}
		if n < batch {
			return found
		}
	}
}

// recount sets the kernel's packet counter back to 0, which turning
// SOF_TIMESTAMPING_OPT_ID on does. Stamps that have not come by now are lost,
// and their packets keep the user-space time.
func (c *raw) recount(s *sender) {
	s.ids.restart()
	s.stamps = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, sendStamps) == nil &&
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, sendStamps|unix.SOF_TIMESTAMPING_OPT_ID) == nil
}

func (c *raw) Stamps(ss []Stamp) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(ss, c.late)
	c.late = c.late[:copy(c.late, c.late[n:])]
	return n
}

// Receiving.

func (c *raw) Recv(rs []Reply, until time.Time) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, opError("receive", os.ErrClosed)
		case len(rs) == 0 && c.waker.woken():
			return 0, ErrInterrupted
		case len(rs) == 0:
			return 0, nil
		}
		events, err := poll(c.poll, until) // once woken, it never waits
		if err != nil {
			return 0, opError("wait for replies", err)
		}
		c.wakes++
		woken := c.waker.woken()
		if events == 0 && !woken {
			return 0, os.ErrDeadlineExceeded
		}
		if woken {
			c.settleRings()
		}
		for i, s := range c.senders {
			if c.poll[1+i].Revents != 0 && !c.collect(s, nil, c.sent) {
				if err := socketError(s.fd); err != nil {
					return 0, opError("wait for send stamps", err)
				}
			}
		}
		n, err := c.read(rs)
		c.local.mark(rs[:n], c.Now(), &c.zones)
		if err == nil && woken {
			err = ErrInterrupted
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// socketError takes a pending error off a socket, so that poll does not report
// it again. What it was does not matter, as each call tells its own; only a
// descriptor that is not a socket any more is an error.
func socketError(fd int) error {
	_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err
}

// read empties the sockets that poll named, as far as there is room.
func (c *raw) read(rs []Reply) (int, error) {
	// slots: of replies, and of what was no reply
	n, used := c.readRings(rs)
	c.turn++ // so that a busy socket does not keep the others waiting for ever
	for i := range c.recv {
		at := (i + c.turn) % len(c.recv)
		r, ev := c.recv[at], c.poll[c.firstReceiver+at].Revents
		if ev&unix.POLLIN == 0 {
			if ev != 0 {
				if err := socketError(r.fd); err != nil {
					return n, opError("receive", err)
				}
			}
			continue
		}
		for n < len(rs) && used < batch {
			head := 0
			if r.proto == wire.ProtoUDP {
				head = udpHead
			}
			room := min(batch-used, len(rs)-n)
			got, err := c.in.take(r.fd, used, used+room, head, 0)
			if err != nil { // perhaps one that waited on the socket, and is gone by now
				got, err = c.in.take(r.fd, used, used+room, head, 0)
			}
			if err != nil {
				return n, opError("receive", err)
			}
			r.loss.read(got, got < room)
			now, steady := r.queue.read(c.clock, got < room)
			for j := used; j < used+got; j++ {
				if c.reply(&rs[n], r, j, now, steady) {
					n++
				} else {
					c.bad++
				}
			}
			used += got
			if got < room {
				break
			}
		}
	}
	return n, nil
}

// udpHead is the room for the header that a UDP socket does not deliver.
const udpHead = 8

// reply reads what is in a slot. It reports false for a packet that is not
// whole or whose header makes no sense.
func (c *raw) reply(out *Reply, r *receiver, slot int, now time.Time, steady bool) bool {
	head := 0
	if r.proto == wire.ProtoUDP {
		head = udpHead
	}
	b, oob, whole := c.in.msg(slot, head)
	if !whole {
		return false
	}
	a := parseArrival(oob)
	*out = Reply{Proto: r.proto, TTL: uint8(a.ttl), TOS: uint8(a.tos), Options: a.options}
	from, scope := c.in.from(slot)
	switch {
	case r.proto == wire.ProtoUDP:
		// The header is made up again from what the socket knows; no checksum.
		binary.BigEndian.PutUint16(b[0:], from.Port())
		binary.BigEndian.PutUint16(b[2:], r.own.Port())
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[6:], 0)
		out.From, out.To, out.Data = c.zones.with(from.Addr(), scope), r.own.Addr(), b
	case r.v6:
		if !a.has6 {
			return false
		}
		out.From = c.zones.with(from.Addr(), scope)
		out.To = c.zones.with(netip.AddrFrom16(a.dst6), uint32(a.ifindex))
		out.Data = b
	default:
		if !out.ipv4(b) {
			return false
		}
	}
	out.At = now
	if a.stamp != 0 && steady {
		if at, ok := c.clock.place(a.stamp, c.open, now); ok {
			out.At, out.Kernel = at, true
		}
	}
	return true
}

// ipv4 takes the IPv4 header off b, whatever its length.
func (r *Reply) ipv4(b []byte) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	head, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < 20 || total < head || total > len(b) {
		return false
	}
	r.From, r.To = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	r.TOS, r.TTL = b[1], b[8]
	r.Options, r.Data = b[20:head:head], b[head:total]
	return true
}

func (c *raw) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Drops: c.drops, Malformed: c.bad, ClockSteps: c.clock.steps}
	if c.closed {
		return s
	}
	for _, r := range c.recv {
		s.Drops += r.loss.count(r.fd)
	}
	if c.bulk != nil {
		for _, r := range c.bulk.rings {
			s.Drops += r.lost()
		}
	}
	return s
}
