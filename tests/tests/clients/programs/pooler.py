# pooler.py PORT SERVER: passes connections to a PostgreSQL server on this machine, and drops what the start-up packet sets.
# A client that says it is called "older" is told that its server is of release 12.
import socket
import struct
import sys
import threading

KEPT = b"user", b"database"


def status(name, value):
    body = name + b"\0" + value + b"\0"
    return b"S" + struct.pack("!i", len(body) + 4) + body


CALLED, TOLD = status(b"application_name", b"older"), status(b"server_version", b"12.22")


def read(stream, length):
    taken = b""
    while len(taken) < length:
        more = stream.recv(length - len(taken))
        if not more:
            raise EOFError
        taken += more
    return taken


def copy(source, target):
    try:
        while taken := source.recv(65536):
            target.sendall(taken.replace(CALLED, TOLD))
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client):
    while True:
        length = struct.unpack("!i", read(client, 4))[0]
        packet = read(client, length - 4)
        # Neither TLS nor encryption by GSSAPI.
        if length != 8:
            break
        client.sendall(b"N")
    words = packet[4:].split(b"\0")
    pairs = [(name, value) for name, value in zip(words[::2], words[1::2]) if name in KEPT]
    packet = packet[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in pairs) + b"\0"
    server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    server.sendall(struct.pack("!i", len(packet) + 4) + packet)
    threading.Thread(target=copy, args=(server, client), daemon=True).start()
    copy(client, server)


listener = socket.create_server(("", int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
