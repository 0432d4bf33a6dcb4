"""Sockets to a name server that live on from line to line. Reads lines of `HOW NAME`, asks for the name on the old socket of that
protocol or on a new one, and prints `asked`, and the code that came. By `sends` nothing is waited for."""
import errno
import socket
import struct
import sys

server = (sys.argv[1], 53)


def question(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack(">HH4H", 4711, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", 1, 1)


def datagrams():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(60)
    made.connect(server)
    return made


def stream():
    return socket.create_connection(server, timeout=60)


def by_udp(made, name):
    made.send(question(name))
    return made.recv(4096)[3] & 15


def send_by_tcp(made, name):
    message = question(name)
    made.sendall(struct.pack(">H", len(message)) + message)


def by_tcp(made, name):
    send_by_tcp(made, name)
    answer = made.makefile("rb")
    return answer.read(struct.unpack(">H", answer.read(2))[0])[3] & 15


udp, tcp = datagrams(), stream()
ways = {
    "udp": lambda name: by_udp(udp, name),
    "tcp": lambda name: by_tcp(tcp, name),
    "sends": lambda name: send_by_tcp(tcp, name),
    "new-udp": lambda name: by_udp(datagrams(), name),
    "new-tcp": lambda name: by_tcp(stream(), name),
}
print("reads lines", flush=True)
for line in iter(sys.stdin.readline, ""):
    how, name = line.split()
    try:
        print("asked", how, ways[how](name), flush=True)
    except OSError as error:
        print("asked", how, errno.errorcode.get(error.errno, error), flush=True)
