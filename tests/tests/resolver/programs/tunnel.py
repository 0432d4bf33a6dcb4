"""Sends data in names as programs do that make tunnels of DNS: `SERVER ZONE MARK`. Each name carries another part of it, and is asked
for with each type that may carry something back, by UDP, and by TCP. Some look like words, and some are of long labels of base32, as
iodine and dnscat2 make them. Prints `sent`, how much data there was, and how many questions."""
import base64
import random
import socket
import struct
import sys

server, zone, mark = sys.argv[1:4]
A, CNAME, NULL, MX, TXT, SRV, PRIVATE = 1, 5, 10, 15, 16, 33, 65399
KINDS = NULL, PRIVATE, TXT, SRV, MX, CNAME, A
PARTS, BYTES, WORD = 60, 100, 30
chosen = random.Random(mark)


def dense(data):
    """Five bits of data in a character, in labels that are as long as they may be, almost."""
    text = base64.b32encode(data).decode().lower().strip("=")
    return [text[at:at + 57] for at in range(0, len(text), 57)]


def words(data):
    """Three bits of data in a character of few, and short labels."""
    bits = "".join(f"{byte:08b}" for byte in data[:66])
    text = "".join("aeinorst"[int(bits[at:at + 3], 2)] for at in range(0, len(bits), 3))
    return [text[at:at + WORD] for at in range(0, len(text), WORD)]


def question(labels, kind):
    labels = [*labels, *zone.split(".")]
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return struct.pack(">HH4H", chosen.getrandbits(16), 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", kind, 1)


def by_datagram(message):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.connect((server, 53))
    s.send(message)
    s.recv(4096)


def by_stream(message):
    with socket.create_connection((server, 53), timeout=10) as s:
        s.sendall(struct.pack(">H", len(message)) + message)
        s.recv(4096)


asked = carried = 0
for encode in words, dense:
    for number in range(PARTS):
        labels = [f"{mark}{number}", *encode(chosen.randbytes(BYTES))]
        carried += sum(len(label) + 1 for label in labels)
        for way, kind in [(by_datagram, kind) for kind in KINDS] + [(by_stream, A)]:
            asked += 1
            try:
                way(question(labels, kind))
            except OSError:
                pass
print("sent", carried, asked, flush=True)
