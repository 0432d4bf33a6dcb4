"""UDP sockets that live on from line to line. Reads lines of `VERB SOCKET [ADDRESS PORT]`, and answers each with a line: what it was,
and how it went."""

import ctypes
import errno
import socket
import subprocess
import sys

sockets = {}


def made(name, address):
    if name not in sockets:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sockets[name] = socket.socket(family, socket.SOCK_DGRAM)
        sockets[name].settimeout(60)
    return sockets[name]


def answered(made):
    if made.recv(64) != b"hello":
        raise OSError(errno.EPROTO, "another answer")


def connect(name, address, port):
    made(name, address).connect((address, int(port)))


def send(name):
    sockets[name].send(b"hello")
    answered(sockets[name])


def sendto(name, address, port):
    made(name, address).sendto(b"hello", (address, int(port)))
    answered(sockets[name])


def corked(name):
    sockets[name].send(b"hello", socket.MSG_MORE)


def uncork(name):
    sockets[name].setsockopt(socket.IPPROTO_UDP, 1, 0)  # UDP_CORK


def dissolve(name):
    nobody = (ctypes.c_ubyte * 16)(*socket.AF_UNSPEC.to_bytes(2, sys.byteorder))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(sockets[name].fileno(), nobody, 16):
        raise OSError(ctypes.get_errno(), "connect")


def why(guard):
    told = subprocess.run([guard, "why", "--json"], capture_output=True, text=True)
    print("why", " ".join(told.stdout.split()), flush=True)


def lookup(name):
    for found in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM):
        print("found", found[4][0], flush=True)


print("reads lines", flush=True)
for line in iter(sys.stdin.readline, ""):
    verb, *rest = line.split()
    try:
        globals()[verb](*rest)
        print("did", line.strip(), "ok", flush=True)
    except OSError as error:
        print("did", line.strip(), errno.errorcode.get(error.errno, error), flush=True)
