package rawsock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gtrace/internal/wire"
)

func snapshot() Privilege {
	p := Privilege{UID: syscall.Getuid(), EUID: syscall.Geteuid(), GID: syscall.Getgid(), EGID: syscall.Getegid()}
	sets, err := threadCaps()
	if err != nil {
		p.Err = err
		return p
	}
	has := func(set uint64) bool { return set&(1<<unix.CAP_NET_RAW) != 0 }
	p.NetRaw.Permitted, p.NetRaw.Effective, p.NetRaw.Inheritable = has(sets.permitted), has(sets.effective), has(sets.inheritable)
	ask := func(op string, option int, a1, a2 uintptr) bool {
		n, err := unix.PrctlRetInt(option, a1, a2, 0, 0)
		if err != nil && p.Err == nil {
			p.Err = opError(op, err)
		}
		return n == 1
	}
	p.NetRaw.Bounding = ask("read the capability bounding set", unix.PR_CAPBSET_READ, unix.CAP_NET_RAW, 0)
	// Before Linux 4.3 there is no ambient set, and an error here.
	n, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, unix.CAP_NET_RAW, 0, 0)
	p.NetRaw.Ambient = err == nil && n == 1
	p.NoNewPrivs = ask("read no_new_privs", unix.PR_GET_NO_NEW_PRIVS, 0, 0)
	switch n, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err {
	case nil:
		p.Seccomp = &n
	case unix.EINVAL: // a kernel without
		p.Seccomp = new(int)
	}
	return p
}

func diagnose(c Conn, v4, v6 bool) (Facts, error) {
	f := Facts{Program: thisProgram(), Container: container(), ICMP: icmpLimits(), BufferWant: rcvBuf}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		f.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	groups, err := syscall.Getgroups()
	if err != nil {
		return f, opError("read this user's groups", err)
	}
	f.Groups = append([]int{syscall.Getegid()}, groups...)
	f.Pingers = pingers()
	f.Threads, f.Filtered = filtered()
	if b, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		// The first user namespace maps every id to itself (user_namespaces(7)).
		inside := strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
		f.UserNS = &inside
	}
	if v4 {
		f.Families = append(f.Families, tryFamily(c, false))
		f.RPFilter, f.RPErr = rpFilters()
	}
	if v6 {
		f.Families = append(f.Families, tryFamily(c, true))
	}
	f.BufferGot = bufferGot(c)
	return f, nil
}

// thisProgram looks at the file that runs.
func thisProgram() (p Program) {
	if p.Path, p.Err = os.Executable(); p.Err != nil {
		return p
	}
	var st unix.Stat_t
	var sys unix.Statfs_t
	if p.Err = unix.Stat(p.Path, &st); p.Err != nil {
		return p
	}
	if p.Err = unix.Statfs(p.Path, &sys); p.Err != nil {
		return p
	}
	p.Setuid = st.Mode&unix.S_ISUID != 0 && st.Uid == 0
	p.NoSuid = sys.Flags&unix.ST_NOSUID != 0
	var b [64]byte
	n, err := unix.Getxattr(p.Path, "security.capability", b[:])
	switch {
	case err == unix.ENODATA, err == unix.ENOTSUP:
	case err != nil:
		p.Caps = err
	default:
		p.NetRaw, p.Caps = fileCaps(b[:n])
	}
	return p
}

// fileCaps reads struct vfs_cap_data of linux/capability.h: revision and flags, then permitted and
// inheritable sets by words of 32 capabilities; revision 3 has the id of a namespace's root behind.
func fileCaps(b []byte) (FileCaps, error) {
	if len(b) < 12 {
		return FileCaps{}, fmt.Errorf("security.capability has %d bytes: %w", len(b), wire.ErrShort)
	}
	const netRaw = 1 << unix.CAP_NET_RAW // in the first word
	c := FileCaps{
		Permitted:   binary.LittleEndian.Uint32(b[4:])&netRaw != 0,
		Inheritable: binary.LittleEndian.Uint32(b[8:])&netRaw != 0,
	}
	// The flag is the file's, whatever capabilities it has.
	c.Effective = binary.LittleEndian.Uint32(b)&1 != 0 && (c.Permitted || c.Inheritable)
	return c, nil
}

// container tells by what container engines leave in the file system.
func container() string {
	for _, mark := range []struct{ path, name string }{
		{"/var/run/secrets/kubernetes.io/serviceaccount", "kubernetes"},
		{"/.dockerenv", "docker"},
		{"/run/.containerenv", "podman"},
		{"/run/systemd/container", "container"},
	} {
		if _, err := os.Stat(mark.path); err == nil {
			return mark.name
		}
	}
	return ""
}

const sysctls = "/proc/sys/net/"

// sysctl reads a number of /proc/sys/net; nil where it is not there.
func sysctl(path string) *int {
	b, err := os.ReadFile(sysctls + path)
	if err != nil {
		return nil
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil
	}
	return &n
}

// isOn is a switch of /proc/sys/net; nil where it is not there.
func isOn(path string) *bool {
	n := sysctl(path)
	if n == nil {
		return nil
	}
	on := *n != 0
	return &on
}

func pingers() *GroupRange {
	b, err := os.ReadFile(sysctls + "ipv4/ping_group_range")
	if err != nil {
		return nil
	}
	var r GroupRange
	if _, err := fmt.Sscan(string(b), &r.First, &r.Last); err != nil {
		return nil
	}
	return &r
}

func icmpLimits() ICMPLimits {
	return ICMPLimits{
		Rate: sysctl("ipv4/icmp_ratelimit"), Mask: sysctl("ipv4/icmp_ratemask"),
		PerSec: sysctl("ipv4/icmp_msgs_per_sec"), Burst: sysctl("ipv4/icmp_msgs_burst"),
		Rate6: sysctl("ipv6/icmp/ratelimit"),
	}
}

// statusInt reads a number of proc_pid_status(5); nil where it is not there.
func statusInt(status []byte, key string) *int {
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte(key+":")); ok {
			if n, err := strconv.Atoi(string(bytes.TrimSpace(v))); err == nil {
				return &n
			}
		}
	}
	return nil
}

// filtered counts this program's threads, and those of them with a filter of system calls.
func filtered() (threads, with int) {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return 0, 0
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		threads++
		if mode := statusInt(b, "Seccomp"); mode != nil && *mode == 2 {
			with++
		}
	}
	return threads, with
}

// rpFilters are the reverse-path filters that count: of "all" and the interface's own, the larger (ip-sysctl.rst).
func rpFilters() ([]Device, error) {
	const conf = "ipv4/conf/"
	all := sysctl(conf + "all/rp_filter")
	if all == nil {
		return nil, fmt.Errorf("%s%sall/rp_filter: %w", sysctls, conf, fs.ErrNotExist)
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var ds []Device
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 {
			continue
		}
		// A name may hold anything but a slash; "." and ".." the kernel does not allow.
		if own := sysctl(conf + filepath.Base(i.Name) + "/rp_filter"); own != nil {
			ds = append(ds, Device{i.Name, max(*all, *own)})
		}
	}
	return ds, nil
}

// bufferGot is what a receiving socket of the connection was given, or, where there is no raw one, what one would be.
func bufferGot(c Conn) int {
	fd := -1
	if r, ok := c.(*raw); ok && len(r.recv) > 0 {
		fd = r.recv[0].fd
	} else {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return 0
			}
		}
		defer unix.Close(fd)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvBuf) // what it came to is read next
	}
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return n / 2 // the kernel doubles what it is asked for (socket(7))
}

// tryPatience is how long an answer from this host itself is waited for.
const tryPatience = time.Second

func tryFamily(c Conn, v6 bool) Family {
	f := Family{V6: v6}
	lo, family, ping := netip.AddrFrom4([4]byte{127, 0, 0, 1}), unix.AF_INET, unix.IPPROTO_ICMP
	if v6 {
		lo, family, ping = netip.IPv6Loopback(), unix.AF_INET6, unix.IPPROTO_ICMPV6
		f.Disabled, f.Ignored = isOn("ipv6/conf/all/disable_ipv6"), isOn("ipv6/icmp/echo_ignore_all")
	} else {
		f.Ignored = isOn("ipv4/icmp_echo_ignore_all")
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Host = opError("open a socket", err)
		return f
	}
	unix.Close(fd)
	if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, ping); err != nil {
		f.Ping = err
	} else {
		unix.Close(fd)
	}
	closed, err := closedPort(lo)
	if err != nil {
		f.UDP = fmt.Errorf("find a closed port of %v: %w", lo, err)
		f.TCP = f.UDP
	} else {
		f.UDP = tryUDP(closed)
		f.TCP = tryTCP(closed)
	}
	if c != nil && (c.Caps().Header || f.Ping == nil) && (v6 && c.Caps().IPv6 || !v6 && c.Caps().IPv4) {
		f.Echoed = true
		f.Echo = f.tryEcho(c, lo)
	}
	return f
}

// closedPort finds a port of a on which neither UDP nor TCP listens: one that was free just now.
func closedPort(a netip.Addr) (netip.AddrPort, error) {
	fd, err := bound(a, 0, unix.SOCK_DGRAM, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer unix.Close(fd)
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := 0
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = sa.Port
	case *unix.SockaddrInet6:
		port = sa.Port
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}

// tryUDP sends a datagram as the unprivileged connection does, and hears the port unreachable on the error queue.
func tryUDP(to netip.AddrPort) error {
	fd, err := bound(to.Addr(), 0, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	d := dgram{fd: fd, sockKey: sockKey{src: to.Addr(), proto: wire.ProtoUDP}}
	if err := d.setOptions(); err != nil {
		return err
	}
	if err := unix.Sendto(fd, []byte("doctor"), 0, sockaddr(to, 0)); err != nil {
		return fmt.Errorf("send to %v: %w", to.Addr(), err)
	}
	until := time.Now().Add(tryPatience)
	var b, oob [512]byte
	for {
		if n, err := poll([]unix.PollFd{{Fd: int32(fd)}}, until); err != nil || n == 0 {
			return fmt.Errorf("send to %v: %w", to.Addr(), errors.Join(err, ErrSilent))
		}
		_, n, _, _, err := unix.Recvmsg(fd, b[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil && err != unix.EAGAIN {
			return fmt.Errorf("read the error queue: %w", err)
		}
		e, ok := parseQueuedError(oob[:max(n, 0)])
		switch {
		case err != nil || !ok:
		case e.origin == unix.SO_EE_ORIGIN_ICMP, e.origin == unix.SO_EE_ORIGIN_ICMP6:
			if e.errno != unix.ECONNREFUSED {
				return fmt.Errorf("send to %v: %w: %w", to.Addr(), ErrAnswer, e.errno)
			}
			return nil
		case e.origin == unix.SO_EE_ORIGIN_LOCAL:
			return fmt.Errorf("send to %v: %w", to.Addr(), e.errno)
		}
	}
}

// tryTCP connects to a closed port, which refuses.
func tryTCP(to netip.AddrPort) error {
	fd, err := bound(to.Addr(), 0, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, sockaddr(to, 0))
	if err == unix.EINPROGRESS {
		n, perr := poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, time.Now().Add(tryPatience))
		if perr != nil || n == 0 {
			return fmt.Errorf("connect to %v: %w", to.Addr(), errors.Join(perr, ErrSilent))
		}
		no, gerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if gerr != nil {
			return gerr
		}
		err = unix.Errno(no)
	}
	switch err {
	case unix.ECONNREFUSED:
		return nil
	case nil, unix.Errno(0): // somebody began to listen there in between: it got through
		return nil
	}
	return fmt.Errorf("connect to %v: %w", to.Addr(), err)
}

// tryEcho sends an echo request to this host itself through the connection, and waits for the reply.
func (f *Family) tryEcho(c Conn, lo netip.Addr) error {
	proto, request, reply := uint8(wire.ProtoICMP), uint8(wire.Echo4), uint8(wire.EchoReply4)
	if f.V6 {
		proto, request, reply = wire.ProtoICMPv6, wire.Echo6, wire.EchoReply6
	}
	id, err := c.Reserve(lo, proto, 0)
	if err != nil {
		return err
	}
	defer c.Release(lo, proto, id)
	payload := make([]byte, TokenOffset+4)
	binary.BigEndian.PutUint32(payload[TokenOffset:], c.Caps().Token)
	message := wire.AppendEcho(nil, lo, lo, request, id, 1, payload, 0)
	var packet []byte
	if f.V6 {
		packet = wire.AppendIPv6(nil, wire.IPv6{Src: lo, Dst: lo, HopLimit: 64, Next: proto}, len(message))
	} else {
		packet = wire.AppendIPv4(nil, wire.IPv4{Src: lo, Dst: lo, TTL: 64, Proto: proto, ID: id | 1}, len(message))
	}
	ps := []Packet{{Dst: lo, Data: append(packet, message...)}}
	if _, err := c.Send(ps); err != nil {
		return err
	}
	f.SentAt = ps[0].Kernel
	until := c.Now().Add(tryPatience)
	for {
		var rs [8]Reply
		n, err := c.Recv(rs[:], until)
		for _, r := range rs[:n] {
			if r.From.WithZone("") == lo && r.Proto == proto && len(r.Data) >= 8 && r.Data[0] == reply && binary.BigEndian.Uint16(r.Data[4:]) == id {
				f.CameAt = r.Kernel
				var ss [1]Stamp
				f.SentAt = f.SentAt || c.Stamps(ss[:]) == 1
				return nil
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("echo request to %v: %w", lo, ErrSilent)
		}
		if err != nil {
			return err
		}
	}
}
