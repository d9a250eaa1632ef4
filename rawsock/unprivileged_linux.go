package rawsock

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

// unprivileged is a Conn without raw sockets. Each reserved UDP port is a
// socket, each reserved identifier a ping socket (icmp(7)), and each TCP probe a connection. The kernel
// writes the headers, of which a Packet's addresses, ports, TTL, TOS and DF
// are asked for; ICMP errors come back on the sockets' error queues (IP_RECVERR
// in ip(7)), without the headers they quoted, which are put back from what
// was sent.
type unprivileged struct {
	caps  Caps
	waker *waker

	mu      sync.Mutex // for Close, which waits for the call it has interrupted
	closed  bool
	clock   *clock
	zones   zones
	local   localAddrs
	socks   map[sockKey]*dgram
	fds     []unix.PollFd // the waker's, then one for each of order
	order   []*dgram
	ports   map[sockKey]*tcpPort
	dials   []*dial // in the order they were sent; their descriptors follow those of order
	resets  []reset // of late
	in      *inbox
	sent    uint64
	replies []Reply // not handed over yet
	data    []byte  // of replies
	stamps  []Stamp
	stats   Stats

	settings Settings
	ways     ways
}

// A sockKey is what Reserve was asked for: the source without its zone.
type sockKey struct {
	src   netip.Addr
	proto uint8 // UDP, TCP, ICMP or ICMPv6
	port  uint16
}

const (
	// maxReplies bounds what is kept between two calls of Recv, and
	// maxStamps what is kept between two of Stamps.
	maxReplies = 1 << 14
	maxStamps  = 1 << 14

	// sendTries bounds how often a send starts anew because of an error
	// that belonged to an earlier packet, and bareTries how often because of one that nothing in the error queue explains:
	// the second may still be no error of the packet's own.
	sendTries, bareTries = 8, 3
)

func openUnprivileged(o Options) (Conn, error) {
	if err := o.refused(); err != nil {
		return nil, err
	}
	w, err := newWaker()
	if err != nil {
		return nil, err
	}
	u := &unprivileged{
		caps:  Caps{TCP: true, Token: newToken(), Socket: "unprivileged"},
		waker: w,
		clock: newClock(readClocks),
		socks: make(map[sockKey]*dgram),
		ports: make(map[sockKey]*tcpPort),
		in:    newInbox(16, slotLen),
		local: watchLocal(),
	}
	u.poll()
	v4, err4 := probeFamily(netip.AddrFrom4([4]byte{}))
	v6, err6 := probeFamily(netip.IPv6Unspecified())
	if err4 != nil && err6 != nil {
		w.close()
		u.local.close()
		return nil, opError("open a datagram socket", err4)
	}
	u.caps.IPv4, u.caps.IPv6 = err4 == nil, err6 == nil
	u.caps.RxStamp = v4.rxStamp || v6.rxStamp
	u.caps.TxStamp = v4.txStamp || v6.txStamp
	return u, nil
}

// probeFamily opens a socket as Reserve would and closes it again.
func probeFamily(any netip.Addr) (dgram, error) {
	fd, err := bound(any, 0, unix.SOCK_DGRAM, 0)
	if err != nil {
		return dgram{}, err
	}
	defer unix.Close(fd)
	d := dgram{fd: fd, sockKey: sockKey{src: any, proto: wire.ProtoUDP}}
	return d, d.setOptions()
}

func (u *unprivileged) Caps() Caps { return u.caps }

func (u *unprivileged) Now() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, _ := u.clock.read()
	return now
}

func (u *unprivileged) Local(a netip.Addr) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, _ := u.clock.read()
	return u.local.has(a, now, &u.zones)
}

func (u *unprivileged) Stats() Stats {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.stats
	s.ClockSteps = u.clock.steps
	for _, d := range u.order {
		s.Drops += d.drops()
	}
	return s
}

func (u *unprivileged) Interrupt() { u.waker.wake() }

func (u *unprivileged) Close() error {
	u.waker.wake()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return opError("close", os.ErrClosed)
	}
	u.closed = true
	var first error
	for _, d := range u.order {
		u.stats.Drops += d.drops()
		if err := unix.Close(d.fd); err != nil && first == nil {
			first = opError("close socket", err)
		}
	}
	for key := range u.ports {
		u.releaseTCP(key)
	}
	clear(u.socks)
	u.order, u.fds = nil, nil
	u.waker.close()
	u.local.close()
	return first
}

// familyProto is proto as a key has it: an echo is of its source's family.
func familyProto(src netip.Addr, proto uint8) uint8 {
	switch {
	case proto != wire.ProtoICMP && proto != wire.ProtoICMPv6:
		return proto
	case src.Is6():
		return wire.ProtoICMPv6
	}
	return wire.ProtoICMP
}

// Set is for all sockets, those that are still to come too.
func (u *unprivileged) Set(s Settings) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return opError("set", os.ErrClosed)
	}
	if err := s.known(); err != nil {
		return setError(err)
	}
	// What a socket refuses is to be known now, not when the first is reserved.
	for _, any := range []netip.Addr{netip.AddrFrom4([4]byte{}), netip.IPv6Unspecified()} {
		if any.Is4() && !u.caps.IPv4 || any.Is6() && !u.caps.IPv6 {
			continue
		}
		fd, err := unbound(any.Is6(), unix.SOCK_DGRAM)
		if err != nil {
			return setError(err)
		}
		d := dgram{sockKey: sockKey{src: any, proto: wire.ProtoUDP}, fd: fd}
		err = d.set(s, &u.zones)
		unix.Close(fd)
		if err != nil {
			return setError(err)
		}
	}
	for _, d := range u.order {
		if err := d.set(s, &u.zones); err != nil {
			return setError(err)
		}
	}
	if id, err := u.zones.id(netip.IPv6LinkLocalAllNodes().WithZone(s.Device)); err == nil {
		u.ways.oif = id
	}
	s.Mark = 0 // no packet has one
	u.settings, u.ways.s = s, s
	return nil
}

func (u *unprivileged) Reserve(src netip.Addr, proto uint8, port uint16) (uint16, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return 0, opError("reserve a port", os.ErrClosed)
	}
	src = src.Unmap()
	key := sockKey{src.WithZone(""), familyProto(src, proto), 0}
	scope, err := u.zones.id(src)
	if err != nil {
		return 0, reserveError(src, proto, err)
	}
	var fd int
	switch key.proto {
	case wire.ProtoUDP:
		fd, key.port, err = reserveUDP(src, scope, port)
	case wire.ProtoTCP:
		fd, key.port, err = holdPort(src, scope, port)
	case wire.ProtoICMP, wire.ProtoICMPv6:
		fd, key.port, err = reservePing(src, scope, port)
	default:
		return 0, opError(fmt.Sprintf("reserve a port of %v for protocol %d", src, proto), ErrPrivilege)
	}
	if err != nil {
		return 0, reserveError(src, proto, err)
	}
	if key.proto == wire.ProtoTCP {
		u.ports[key] = &tcpPort{sockKey: key, to: src, scope: scope, hold: fd}
		return key.port, nil
	}
	now, _ := u.clock.read()
	d := &dgram{sockKey: key, fd: fd, to: src, quiet: now, errQuiet: now, quotes: make(map[quoteKey]quoteHead)}
	err = d.setOptions()
	if err == nil {
		err = d.set(u.settings, &u.zones)
	}
	if err != nil {
		unix.Close(fd)
		return 0, opError(fmt.Sprintf("set up the socket for %v", src), err)
	}
	u.socks[key] = d
	u.order = append(u.order, d)
	u.poll()
	return key.port, nil
}

func (u *unprivileged) Release(src netip.Addr, proto uint8, port uint16) {
	u.mu.Lock()
	defer u.mu.Unlock()
	src = src.Unmap()
	key := sockKey{src.WithZone(""), familyProto(src, proto), port}
	u.releaseTCP(key)
	d := u.socks[key]
	if d == nil {
		return
	}
	delete(u.socks, key)
	for i := range u.order {
		if u.order[i] == d {
			u.order = append(u.order[:i], u.order[i+1:]...)
			break
		}
	}
	u.poll()
	u.stats.Drops += d.drops()
	unix.Close(d.fd)
}

// poll makes the list of what Recv waits for.
func (u *unprivileged) poll() {
	u.fds = append(u.fds[:0], unix.PollFd{Fd: int32(u.waker.fd), Events: unix.POLLIN})
	for _, d := range u.order {
		u.fds = append(u.fds, unix.PollFd{Fd: int32(d.fd), Events: unix.POLLIN}) // POLLERR comes unasked
	}
	for _, d := range u.dials {
		u.fds = append(u.fds, unix.PollFd{Fd: int32(d.fd), Events: unix.POLLOUT})
	}
}

func (u *unprivileged) Recv(rs []Reply, until time.Time) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.replies) == 0 {
		u.data = u.data[:0]
	}
	for {
		switch {
		case u.closed, len(rs) == 0 && u.waker.woken():
			return 0, ErrInterrupted
		case len(rs) == 0:
			return 0, nil
		case len(u.replies) > 0 && !u.waker.woken():
			return u.handOver(rs), nil
		}
		wait := until
		if len(u.dials) > 0 {
			if due := u.dials[0].due(); wait.IsZero() || due.Before(wait) {
				wait = due
			}
		}
		n, err := poll(u.fds, wait) // once woken, it never waits
		if err != nil {
			return 0, opError("wait for a reply", err)
		}
		woken := u.waker.woken()
		for i, d := range u.order {
			if u.fds[i+1].Revents != 0 {
				u.readErrors(d, nil)
				u.readReplies(d)
			}
		}
		if len(u.dials) > 0 {
			at := 1 + len(u.order)
			for i, d := range u.dials {
				if u.fds[at+i].Revents != 0 {
					u.finish(d)
				}
			}
			now, _ := u.clock.read()
			u.expire(now)
		}
		if n == 0 && !woken && len(u.replies) == 0 && wait == until {
			return 0, os.ErrDeadlineExceeded
		}
		if woken {
			return u.handOver(rs), ErrInterrupted
		}
	}
}

func (u *unprivileged) handOver(rs []Reply) int {
	n := copy(rs, u.replies)
	now, _ := u.clock.read()
	u.local.mark(rs[:n], now, &u.zones)
	u.replies = u.replies[:copy(u.replies, u.replies[n:])]
	return n
}

func (u *unprivileged) Stamps(ss []Stamp) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := copy(ss, u.stamps)
	u.stamps = u.stamps[:copy(u.stamps, u.stamps[n:])]
	return n
}

func (u *unprivileged) Send(ps []Packet) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range ps {
		if u.closed {
			return i, sendError(ps[i].Dst, os.ErrClosed)
		}
		if err := u.send(&ps[i]); err != nil {
			return i, err
		}
	}
	return len(ps), nil
}

// send sends one packet.
//
// An ICMP error that came for an earlier packet is also the result of the next
// call on its socket, which then does nothing else. So what is on the error
// queue is read first, which clears it; one that comes just then makes
// the send fail with an error that is not its own, and it is tried again.
func (u *unprivileged) send(p *Packet) error {
	d, m, err := u.plan(p)
	if err != nil {
		return err
	}
	if err := u.ways.check(m.ip.Src(), p.Dst.Unmap(), m.scope); err != nil {
		return sendError(p.Dst, err)
	}
	if d == nil {
		return u.dial(p, m.ip)
	}
	for try, bare := 1, 0; ; try++ {
		u.readErrors(d, nil)
		before, _ := u.clock.read()
		err := d.send(m)
		if err == nil {
			p.N, p.Sent, p.Kernel = u.sent, before, false
			u.sent++
			d.ids.add(p.N, before)
			d.remember(m)
			u.readErrors(d, p) // most devices have stamped it by now
			return nil
		}
		// Whether the kernel has counted this packet differs between errors and
		// releases, so the count starts anew.
		found := u.readErrors(d, nil)
		d.restart()
		if found.local != 0 {
			return tooBig(p.Dst, found.local, int(found.info))
		}
		// The kernel notes a pending error right behind what it queues: read in between, that has nothing in the queue.
		if !found.icmp {
			bare++
		}
		if !pends(err) || try == sendTries || bare == bareTries {
			if err == unix.EINVAL && d.proto != wire.ProtoUDP && (m.body[0] == extEcho4 || m.body[0] == extEcho6) {
				err = fmt.Errorf("%w (before Linux 5.13 ping sockets send no extended echo)", err)
			}
			return sendError(p.Dst, err)
		}
	}
}

// pends reports whether err may be the pending error of a datagram socket: one
// that icmp_err_convert and icmpv6_err_convert make of an ICMP error.
func pends(err error) bool {
	switch err {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENOPROTOOPT, unix.EMSGSIZE,
		unix.EOPNOTSUPP, unix.EHOSTDOWN, unix.ENONET, unix.EPROTO, unix.EACCES:
		return true
	}
	return false
}

// place turns a kernel's stamp into a time; without a usable one the time is now's.
func (u *unprivileged) place(stamp int64, after, now time.Time, steady bool) (t time.Time, kernel bool) {
	if stamp != 0 && steady {
		if t, ok := u.clock.place(stamp, after, now); ok {
			return t, true
		}
	}
	return now, false
}

// A queued is what was on an error queue, apart from what has become a reply or a send time.
type queued struct {
	icmp  bool       // an ICMP error, which clears the pending error
	local unix.Errno // an error of this host itself
	info  uint32     // with EMSGSIZE: how many bytes fit
}

// readErrors empties the error queue of d: send times, ICMP errors and
// what this host itself refused. The send time of p, if it is there, is
// noted in p.
func (u *unprivileged) readErrors(d *dgram, p *Packet) (found queued) {
	for {
		start := time.Now()
		n, err := u.in.take(d.fd, 0, len(u.in.ms), 0, unix.MSG_ERRQUEUE)
		if err != nil || n == 0 {
			d.errQuiet = start
			return found
		}
		now, steady := d.errQueue.read(u.clock, n < len(u.in.ms))
		for i := range n {
			b, oob, whole := u.in.msg(i, 0)
			if id, stamp, ok := txStamp(oob); ok {
				u.departed(d, id, stamp, now, steady, p)
				continue
			}
			e, ok := parseQueuedError(oob)
			switch {
			case !ok || !whole:
				u.stats.Malformed++
			case e.origin == unix.SO_EE_ORIGIN_LOCAL:
				found.local, found.info = e.errno, e.info
			case e.origin == unix.SO_EE_ORIGIN_ICMP, e.origin == unix.SO_EE_ORIGIN_ICMP6:
				found.icmp = true
				to, _ := u.in.from(i) // of the packet that caused it
				start := len(u.data)
				if u.data, ok = d.appendError(u.data, e, to, b); !ok {
					u.stats.Malformed++
					continue
				}
				u.arrived(d.to, e.offender(&u.zones), d.icmp(), start, parseArrival(oob), d.errQuiet, now, steady)
			}
		}
	}
}

// departed notes when a packet left.
func (u *unprivileged) departed(d *dgram, id uint32, stamp int64, now time.Time, steady bool, p *Packet) {
	e := d.ids.find(id)
	if e == nil {
		return
	}
	e.wait = false
	at, kernel := u.place(stamp, e.before, now, steady)
	switch {
	case !kernel:
	case p != nil && e.n == p.N:
		p.Sent, p.Kernel = at, true
	case len(u.stamps) < maxStamps:
		u.stamps = append(u.stamps, Stamp{e.n, at})
	}
}

// readReplies reads what came to d.
func (u *unprivileged) readReplies(d *dgram) {
	for len(u.replies) < maxReplies {
		start := time.Now()
		n, err := u.in.take(d.fd, 0, len(u.in.ms), 0, 0)
		if pends(err) {
			continue // it is reported once; the ICMP error itself came by the error queue
		}
		if err != nil || n == 0 {
			d.quiet = start
			return
		}
		now, steady := d.queue.read(u.clock, n < len(u.in.ms))
		for i := range n {
			b, oob, whole := u.in.msg(i, 0)
			if !whole || d.proto != wire.ProtoUDP && len(b) < 8 {
				u.stats.Malformed++
				continue
			}
			from, scope := u.in.from(i)
			start := len(u.data)
			if d.proto == wire.ProtoUDP {
				u.data = wire.AppendUDP(u.data, from, netip.AddrPortFrom(d.src, d.port), b, 0)
			} else {
				u.data = append(u.data, b...)
			}
			u.arrived(d.to, u.zones.with(from.Addr(), scope), d.proto, start, parseArrival(oob), d.quiet, now, steady)
		}
	}
}

// arrived queues the message that u.data has from start on.
func (u *unprivileged) arrived(to, from netip.Addr, proto uint8, start int, a arrival, after, now time.Time, steady bool) {
	if len(u.replies) >= maxReplies {
		u.stats.Drops++
		u.data = u.data[:start]
		return
	}
	at, kernel := u.place(a.stamp, after, now, steady)
	u.replies = append(u.replies, Reply{
		From: from, To: to, Proto: proto,
		TTL: uint8(a.ttl), TOS: uint8(a.tos),
		At: at, Kernel: kernel,
		Data:    u.data[start:len(u.data):len(u.data)],
		Options: bytes.Clone(a.options),
	})
}
