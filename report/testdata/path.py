"""The path that capture.sh traces: a tun device behind which this answers.

    path.py PATH READY          PATH is one of the functions below, or TYPE/CODE/MTU: the answer to everything
    path.py codes 4|6           lists such answers, those that Linux lets through to a program
"""
import fcntl, os, socket, struct, subprocess, sys, threading

CODES = {
    "4": [(3, c, 0) for c in range(16) if c != 4] + [(3, 4, 1400), (11, 2, 0), (12, 0, 0), (12, 1, 0)],
    "6": [(1, c, 0) for c in list(range(9)) + [255]] + [(2, 0, 1400), (3, 1, 0), (3, 2, 0), (4, 0, 0), (4, 1, 0), (4, 2, 0)],
}


def checksum(b):
    b += b"\0" * (len(b) % 2)
    s = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def sealed(b, at, pseudo=b""):
    return b[:at] + struct.pack("!H", checksum(pseudo + b)) + b[at + 2 :]


class Probe:
    """A packet that came, and answers to it."""

    def __init__(self, b):
        self.raw, self.v6, self.size = b, b[0] >> 4 == 6, len(b)
        if self.v6:
            self.ttl, self.src, self.dst, self.l4 = b[7], b[8:24], b[24:40], b[40:]
        else:
            self.ttl, self.src, self.dst, self.l4 = b[8], b[12:16], b[16:20], b[20:]

    def hop(self, n):
        return socket.inet_pton(socket.AF_INET6, "2001:db8:%d::1" % n) if self.v6 else bytes([10, n, 0, 1])

    def ip(self, src, proto, payload, ttl):
        if self.v6:
            return struct.pack("!IHBB", 6 << 28, len(payload), proto, ttl) + src + self.src + payload
        return sealed(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, ttl, proto, 0) + src + self.src, 10) + payload

    def error(self, src, type, code, rest=0, ttl=64, objects=None):
        quote = self.raw[: 1232 if self.v6 else 548]
        if objects:
            quote = quote[:128].ljust(128, b"\0")
            rest |= 16 << 24 if self.v6 else 32 << 16
            data = b"".join(struct.pack("!HBB", 4 + len(d), c, t) + d for c, t, d in objects)
            quote += sealed(struct.pack("!BBH", 0x20, 0, 0) + data, 2)
        b = struct.pack("!BBHI", type, code, 0, rest) + quote
        if self.v6:
            return self.ip(src, 58, sealed(b, 2, src + self.src + struct.pack("!II", len(b), 58)), ttl)
        return self.ip(src, 1, sealed(b, 2), ttl)

    def exceeded(self, src, **more):
        return self.error(src, 3 if self.v6 else 11, 0, **more)

    def too_big(self, src, mtu):
        return self.error(src, 2, 0, mtu) if self.v6 else self.error(src, 3, 4, mtu)

    def arrived(self, src=None, **more):
        return self.error(src or self.dst, *((1, 4) if self.v6 else (3, 3)), **more)

    def tcp(self, flags):
        sport, dport, seq = struct.unpack("!HHI", self.l4[:8])
        b = struct.pack("!HHIIBBHHH", dport, sport, 77, seq + 1, 0x50, flags, 1000, 0, 0)
        return self.ip(self.dst, 6, sealed(b, 16, self.dst + self.src + struct.pack("!HH", 6, len(b))), 64)

    def udp(self, payload):
        sport, dport = struct.unpack("!HH", self.l4[:4])
        b = struct.pack("!HHHH", dport, sport, 8 + len(payload), 0) + payload
        return self.ip(self.dst, 17, sealed(b, 6, self.dst + self.src + struct.pack("!HH", 17, len(b))), 64)


def stack(*entries):
    return 1, 1, b"".join(struct.pack("!I", l << 12 | e << 9 | s << 8 | t) for l, e, s, t in entries)


# n is which try at the TTL this is, from 1.


def hops(p, n):
    a = p.hop(p.ttl)
    if p.ttl == 1:
        return p.exceeded(a)
    if p.ttl == 2:
        return p.exceeded(a if n == 1 else a[:-1] + b"\2", objects=[stack((24001, 0, 1, 1))])
    if p.ttl == 3:
        if n < 3:
            return p.exceeded(a, objects=[stack((24001, 1, 0, 1), (5, 0, 1, 255))])
        return p.exceeded(a, objects=[stack((24002, 0, 1, 2)), (2, 2, b"\1\2\3\xff\0\0\0\7"), (9, 200, b""), stack((3, 7, 1, 0))])
    if p.ttl == 4:
        return p.exceeded(a, ttl={1: 61, 2: 125, 3: 250}.get(n, 1))
    if p.ttl == 5:
        return p.exceeded(a, ttl=120) if n >= 3 else None
    return p.arrived(a if n == 2 else None, ttl=59)


def ports(p, n):
    return p.exceeded(p.hop(1)) if p.ttl == 1 else p.tcp([0x12, 0x14, 0x04, 0xFF, 0x52][(n - 1) % 5])


def narrow(p, n):
    if p.ttl == 1:
        return p.exceeded(p.hop(1))
    if p.size > 1400:
        return p.too_big(p.hop(1), 1400)
    if p.ttl == 2:
        return p.exceeded(p.hop(2), ttl=63)
    if p.size > 1300:
        return p.too_big(p.hop(2), 1300)
    if p.ttl == 3:
        return p.exceeded(p.hop(3), ttl=250)
    if p.ttl == 4:
        return None
    if p.ttl == 5:
        return p.exceeded(p.hop(5), ttl=124)
    return p.arrived(ttl=60)


def silent(p, n):
    return None


def service(p, n):
    return p.exceeded(p.hop(1)) if p.ttl == 1 else p.udp(b"here")


def registry():
    """A routing registry that knows two networks."""
    s = socket.create_server(("127.0.0.1", 43))
    while True:
        c, _ = s.accept()
        asked = c.recv(1000).decode()
        if asked.startswith("10.1."):
            c.sendall(b"route: 10.1.0.0/16\norigin: AS64496\n\n")
        elif asked.startswith("10.2."):
            c.sendall(b"route: 10.2.0.0/16\norigin: AS1\n\nroute: 10.2.0.0/16\norigin: AS2\n\n")
        else:
            c.sendall(b"%  No entries found\n")
        c.close()


def main(path, ready):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH", b"tun0", 0x1001))  # TUNSETIFF, IFF_TUN|IFF_NO_PI
    for c in (
        "link set lo up", "addr add 10.0.0.1/24 dev tun0", "-6 addr add 2001:db8::1/64 dev tun0 nodad",
        "link set tun0 up mtu 1500", "route add default dev tun0 src 10.0.0.1", "-6 route add default dev tun0 src 2001:db8::1",
    ):
        subprocess.check_call(["ip"] + c.split())
    threading.Thread(target=registry, daemon=True).start()
    if "/" in path:
        type, code, mtu = map(int, path.split("/"))
        answer = lambda p, n: p.error(p.hop(1), type, code, mtu) if not mtu or p.size > mtu or p.size < 1000 else None
    else:
        answer = globals()[path]
    open(ready, "w").write("\n")
    tries = {}
    while True:
        p = Probe(os.read(tun, 1 << 16))
        if p.dst[0] in (0xFF, 224):
            continue
        tries[p.ttl] = tries.get(p.ttl, 0) + 1
        b = answer(p, tries[p.ttl])
        if b:
            os.write(tun, b)


if sys.argv[1] == "codes":
    print(*("%d/%d/%d" % c for c in CODES[sys.argv[2]]))
else:
    main(*sys.argv[1:])
