"""Asks name servers in ways of its own: `odd.py WAY SERVER NAME [OTHER]`. Prints `answer`, and what came."""
import ctypes
import errno
import os
import socket
import struct
import sys
import time

CODES = {0: "answered", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP"}
KINDS = {"A": 1, "PTR": 12, "TXT": 16, "AAAA": 28, "HTTPS": 65, "NULL": 10, "ANY": 255, "PRIVATE": 65280}
SO_BINDTODEVICE, IP_UNICAST_IF, UDP_SEGMENT = 25, 50, 103
IPPROTO_MPTCP = 262
# As /proc/net writes them.
LOOPBACK = {"0100007F": "127.0.0.1", "00000000000000000000000001000000": "::1"}

way, server, name, *rest = sys.argv[1:]
way, _, kind = way.partition("-")
other = rest[0] if rest else None
port = int(os.environ.get("PORT", "53"))
family = socket.AF_INET6 if ":" in server else socket.AF_INET
patience = float(os.environ.get("PATIENCE", "10"))


def labels(name):
    return b"".join(bytes([len(label)]) + label for label in name.encode().split(b".") if label) + b"\0"


def header(id=4711, flags=0x100, counts=(1, 0, 0, 0)):
    return struct.pack(">HH4H", id, flags, *counts)


def question(name, kind=KINDS[kind or "A"], klass=1):
    return labels(name) + struct.pack(">HH", kind, klass)


def option(data):
    return b"\0" + struct.pack(">HHIH", 41, 1232, 0, len(data) + 4) + struct.pack(">HH", 65001, len(data)) + data


def said(message):
    """The code, and the addresses."""
    code = CODES.get(message[3] & 15, str(message[3] & 15))
    if struct.unpack(">H", message[4:6])[0] != 1:
        return f"answer {code}"
    count = struct.unpack(">H", message[6:8])[0]
    at, found = 12, []
    while at < len(message) and message[at]:
        at += message[at] + 1
    at += 5
    for _ in range(count):
        while message[at] and message[at] < 192:
            at += message[at] + 1
        at += 2 if message[at] >= 192 else 1
        kind, _, _, size = struct.unpack(">HHIH", message[at:at + 10])
        data = message[at + 10:at + 10 + size]
        if kind in (1, 28):
            found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data))
        at += 10 + size
    cut = ["cut"] if message[2] & 2 else []
    return " ".join(["answer", code, *cut, *(found if len(found) < 20 else [f"{len(found)} addresses"])])


def datagrams():
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(patience)
    return s


def heard(s):
    return said(s.recv(65536))


def stream():
    s = socket.create_connection((server, 53), timeout=patience)
    return s, s.makefile("rb")


def framed(message):
    return struct.pack(">H", len(message)) + message


def read(f):
    length = f.read(2)
    if len(length) < 2:
        return "answer ended"
    return said(f.read(struct.unpack(">H", length)[0]))


def send(message):
    """Without a connection, as most send."""
    s = datagrams()
    s.sendto(message, (server, port))
    return heard(s)


def tunnel():
    """Two hundred labels of data, one after the other, each of which asks for more."""
    s = datagrams()
    for number in range(200):
        s.sendto(header(id=number) + question(f"{number:03}{'q7x2' * 12}.{name}", KINDS["TXT"]), (server, 53))
        answer = heard(s)
    return answer


def dissolve(s):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(s.fileno(), bytes(16), 16):
        raise OSError(ctypes.get_errno(), "connect")


def roots(protocol):
    """Where on this machine's loopback sockets of root's are bound, and connected to nobody."""
    for table in (protocol, f"{protocol}6"):
        with open(f"/proc/self/net/{table}") as lines:
            next(lines)
            for line in lines:
                _, local, remote, _, _, _, _, uid = line.split()[:8]
                address, port = local.split(":")
                if address in LOOPBACK and remote.strip("0") == ":" and uid == "0":
                    yield LOOPBACK[address], int(port, 16)


def at_each(protocol, ask):
    """Wherever the guard may listen: what came of the first that is not refused, or that all are."""
    came = []
    for place in roots(protocol):
        try:
            came.append(ask(place))
        except OSError as error:
            came.append(f"answer {errno.errorcode.get(error.errno, 'timeout')}")
    if not came:
        return "answer nobody listens"
    return next((one for one in came if one != "answer EPERM"), came[0])


def straight():
    def ask(place):
        s = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(1)
        s.sendto(header() + question(name), place)
        return heard(s)
    return at_each("udp", ask)


def straight_stream():
    def ask(place):
        s = socket.create_connection(place, timeout=1)
        s.sendall(framed(header() + question(name)))
        return read(s.makefile("rb"))
    return at_each("tcp", ask)


def by_device(s):
    s.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"prod0\0")
    return s


def by_stream(s):
    s.settimeout(patience)
    s.connect((server, 53))
    s.sendall(framed(header() + question(name)))
    return read(s.makefile("rb"))


def device():
    s = by_device(datagrams())
    s.sendto(header() + question(name), (server, 53))
    return heard(s)


def device_connected():
    s = by_device(datagrams())
    s.connect((server, 53))
    s.send(header() + question(name))
    return heard(s)


def device_stream():
    return by_stream(by_device(socket.socket(family, socket.SOCK_STREAM)))


def mptcp():
    return by_stream(socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP))


def interface():
    s = datagrams()
    s.setsockopt(socket.IPPROTO_IP, IP_UNICAST_IF, struct.pack(">I", socket.if_nametoindex("prod0")))
    s.sendto(header() + question(name), (server, 53))
    return heard(s)


def segment():
    s = datagrams()
    message = header() + question(name)
    s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(message))
    s.sendto(message * 2, (server, 53))
    return heard(s)


def elsewhere():
    s = datagrams()
    s.connect((server, 53))
    s.sendto(header() + question(name), (other, 53))
    return heard(s)


def dissolved():
    s = datagrams()
    s.connect((server, 53))
    dissolve(s)
    s.sendto(header() + question(name), (other, 53))
    return heard(s)


def reconnected():
    s = datagrams()
    s.connect((server, 53))
    dissolve(s)
    s.connect((other, 53))
    s.send(header() + question(name))
    return heard(s)


def bound(s):
    """To a port that others may have asked from."""
    s.bind(("0.0.0.0", 40404))
    return s


def from_there():
    s = bound(datagrams())
    s.connect((server, 53))
    s.send(header() + question(name))
    return heard(s)


def refused_again():
    """Where the next `connect` is refused, a datagram's socket is connected as before."""
    s = bound(datagrams())
    s.connect((server, 53))
    try:
        s.connect((other, 9))
        return "answer connected"
    except PermissionError:
        pass
    s.send(header() + question(name))
    return heard(s)


def dissolved_stream():
    s, _ = stream()
    dissolve(s)
    s.connect((other, 53))
    s.sendall(framed(header() + question(name)))
    return read(s.makefile("rb"))


def connected():
    s = datagrams()
    s.connect((server, 53))
    s.send(header() + question(name))
    return heard(s)


def tcp():
    s, f = stream()
    s.sendall(framed(header() + question(name)))
    return read(f)


def pipelined():
    """Behind a name that may be asked for."""
    s, f = stream()
    s.sendall(framed(header(1) + question("v1.api.example.com")) + framed(header(2) + question(name)))
    both = [read(f), read(f)]
    # Each is answered when it can be.
    return next((one for one in both if not one.startswith("answer answered")), both[0])


def split():
    s, f = stream()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in framed(header() + question(name)):
        s.sendall(bytes([byte]))
        time.sleep(0.001)
    return read(f)


def long():
    s, f = stream()
    message = header() + question(name)
    s.sendall(framed(message + bytes(65535 - len(message))))
    return read(f)


def raw(first, *more, patience=patience):
    s = datagrams()
    s.settimeout(patience)
    s.sendto(first + b"".join(more), (server, 53))
    return heard(s)


def odd_label(label):
    return bytes([len(label)]) + label


def mixed(name):
    return "".join(c.upper() if i % 2 else c for i, c in enumerate(name))


WAYS = {
    "udp": lambda: send(header() + question(name)),
    "two": lambda: raw(header(counts=(2, 0, 0, 0)), question("v1.api.example.com"), question(name)),
    "reply": lambda: raw(header(flags=0x8100), question(name), patience=2),
    "trailing": lambda: raw(header(), question("v1.api.example.com"), name.encode()),
    "additional": lambda: raw(
        header(counts=(1, 0, 0, 1)), question("v1.api.example.com"),
        labels(name) + struct.pack(">HHIH", 16, 1, 0, 0),
    ),
    "pointer": lambda: raw(header(), labels(name)[:-1] + b"\xc0\x0c", struct.pack(">HH", 1, 1)),
    "longname": lambda: raw(
        header(), b"\x3f" + b"a" * 63, b"\x3f" + b"b" * 63, b"\x3f" + b"c" * 63, b"\x3f" + b"d" * 63,
        question(name),
    ),
    "class": lambda: raw(header(), question(name, klass=3)),
    "opcode": lambda: raw(header(flags=0x2800), question(name)),
    "odd": lambda: raw(header(), odd_label(name.partition(".")[0].encode() + b"\0."), question(name.partition(".")[2])),
    "case": lambda: raw(header(), question(mixed(name))),
    "id": lambda: raw(header(id=int.from_bytes(b"SE", "big")), question(name)),
    "bits": lambda: raw(header(flags=0x0170), question(name)),
    "option": lambda: raw(header(counts=(1, 0, 0, 1)), question("v1.api.example.com"), option(name.encode())),
}

try:
    print(WAYS.get(way) and WAYS[way]() or globals()[way](), flush=True)
except OSError as error:
    print("answer", errno.errorcode.get(error.errno, "timeout"), flush=True)
