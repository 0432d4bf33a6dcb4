"""Sends a ClientHello that shows a name, in one of several ways, and prints what came of it."""
import os, socket, ssl, struct, sys, tempfile

address, name, way = sys.argv[1:4]


def hello(name, last=False, odd=()):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name or None)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    record = out.read()
    if not last and not odd:
        return record
    body = record[9:]
    at = 34
    at += 1 + body[at]
    at += 2 + struct.unpack(">H", body[at:at + 2])[0]
    at += 1 + body[at]
    fixed, rest, parts = body[:at], body[at + 2:], []
    while rest:
        kind, size = struct.unpack(">HH", rest[:4])
        # OpenSSL pads, too.
        if kind != 21:
            parts.append((kind, rest[4:4 + size]))
        rest = rest[4 + size:]
    if last:
        # As with a post-quantum key share: the name stands behind byte 1200.
        parts.sort(key=lambda part: part[0] == 0)
        parts.insert(-1, (21, b"\0" * 1200))
    parts.extend(odd)
    rest = b"".join(struct.pack(">HH", kind, len(data)) + data for kind, data in parts)
    body = fixed + struct.pack(">H", len(rest)) + rest
    return wrapped(b"\x01" + struct.pack(">I", len(body))[1:] + body)


def wrapped(message):
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


def send(s, way):
    whole = hello(name)
    if way == "whole":
        s.sendall(whole)
    elif way == "bytes":
        for at in range(len(whole)):
            s.sendall(whole[at:at + 1])
    elif way == "last":
        s.sendall(hello(name, last=True))
    elif way == "last-two":
        whole = hello(name, last=True)
        s.sendall(whole[:1000])
        s.sendall(whole[1000:])
    elif way == "more":
        s.send(whole, socket.MSG_MORE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    elif way == "zerocopy":
        s.setsockopt(socket.SOL_SOCKET, 60, 1)
        s.send(whole, 0x4000000)
    elif way == "oob":
        s.send(whole[:1], socket.MSG_OOB)
        s.sendall(whole[1:])
    elif way == "sendfile":
        with tempfile.TemporaryFile() as file:
            file.write(whole)
            file.flush()
            os.sendfile(s.fileno(), file.fileno(), 0, len(whole))
    elif way == "splice":
        near, far = os.pipe()
        os.write(far, whole)
        os.splice(near, s.fileno(), len(whole))
    elif way == "two-records":
        message = whole[5:]
        s.sendall(wrapped(message[:100]) + wrapped(message[100:]))
    elif way == "half":
        s.sendall(whole[:len(whole) // 2])
        s.shutdown(socket.SHUT_WR)
    elif way == "no-name":
        s.sendall(hello(""))
    elif way == "ech":
        s.sendall(hello(name, odd=[(0xFE0D, b"\0" * 60)]))
    elif way == "two-names":
        other = b"other.example.com"
        entry = struct.pack(">HBH", len(other) + 3, 0, len(other)) + other
        s.sendall(hello(name, odd=[(0, entry)]))
    elif way == "address":
        entry = struct.pack(">HBH", len(address) + 3, 0, len(address)) + address.encode()
        s.sendall(hello("", odd=[(0, entry)]))
    elif way == "waits":
        # As ssh and mail do, whose servers speak first.
        s.recv(100)
        s.sendall(b"SSH-2.0-client\r\n")
    elif way == "ssl-request":
        # As PostgreSQL's clients begin.
        s.sendall(struct.pack(">II", 8, 80877103))
        if s.recv(1) == b"S":
            s.sendall(whole)
    elif way == "long":
        s.sendall(hello(name, odd=[(21, b"\0" * 16300)]))
    elif way == "no-tls":
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    else:
        sys.exit("no such way")


def connected(way):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = 262 if way == "mptcp" else 0
    s = socket.socket(family, socket.SOCK_STREAM, protocol)
    s.settimeout(None if way in ("whole", "blocking") else 4)
    if way == "fastopen":
        # What was sent by it goes with the SYN, or before the connection stands.
        s.sendto(hello(name), 0x20000000, (address, 443))
    elif way == "early":
        s.setblocking(False)
        try:
            s.connect((address, 443))
        except BlockingIOError:
            pass
        s.setblocking(True)
        s.settimeout(4)
        s.sendall(hello(name))
    elif way == "mptcp":
        s.connect((address, 443))
        s.sendall(hello(name))
    else:
        s.connect((address, 443))
        send(s, way)
    return s


try:
    s = connected(way)
    s.settimeout(4)
    answer = s.recv(16)
    print("came", "answer" if answer[:1] in (b"\x16", b"!") else "end")
except TimeoutError:
    print("came nothing")
except OSError as error:
    print("came", error.errno)
