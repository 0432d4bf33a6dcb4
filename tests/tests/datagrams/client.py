"""UDP sockets that live on from line to line. Reads lines of `VERB SOCKET [ADDRESS PORT]`, and answers each with a line: what it was,
and how it went."""

import ctypes
import errno
import os
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


class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.POINTER(Piece)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Sent(ctypes.Structure):
    _fields_ = [("message", Message), ("length", ctypes.c_uint)]


def sendmmsg(made):
    libc = ctypes.CDLL(None, use_errno=True)
    piece = Piece(b"hello", 5)
    message = Sent(Message(pieces=ctypes.pointer(piece), count=1))
    if libc.sendmmsg(made.fileno(), ctypes.byref(message), 1, 0) != 1:
        raise OSError(ctypes.get_errno(), "sendmmsg")


def segments(made):
    made.setsockopt(socket.IPPROTO_UDP, 103, 5)  # UDP_SEGMENT
    made.send(b"hellohello")


def splice(made):
    reads, writes = os.pipe()
    try:
        os.write(writes, b"hello")
        os.splice(reads, made.fileno(), 5)
    finally:
        os.close(reads)
        os.close(writes)


def cork(made):
    made.setsockopt(socket.IPPROTO_UDP, 1, 1)  # UDP_CORK
    made.send(b"hello")
    made.setsockopt(socket.IPPROTO_UDP, 1, 0)


WAYS = {
    "send": lambda made: made.send(b"hello"),
    "write": lambda made: os.write(made.fileno(), b"hello"),
    "sendmsg": lambda made: made.sendmsg([b"hel", b"lo"]),
    "sendmmsg": sendmmsg,
    "segments": segments,
    "splice": splice,
    "cork": cork,
}


def by(way, name):
    WAYS[way](sockets[name])


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
