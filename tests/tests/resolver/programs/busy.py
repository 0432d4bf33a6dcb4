"""Looks up new names that are refused, and connects to new ports that are, each as fast as it can, until it reads a line: `SERVER TO
LEAST`. Says when both were refused that often, and how often at the end."""
import errno
import itertools
import socket
import struct
import sys
import threading
import time

server, to, least = sys.argv[1], sys.argv[2], int(sys.argv[3])
is_over = False
unknown = refused = 0


def asks():
    global unknown
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((server, 53))
    for number in itertools.count():
        if is_over:
            return
        label = b"f%d" % number
        question = struct.pack(">HH4H", number % 65536, 0x100, 1, 0, 0, 0) + bytes([len(label)]) + label
        try:
            s.send(question + b"\x04evil\x07example\0\0\1\0\1")
            unknown += s.recv(512)[3] & 15 == 3
        except OSError:
            pass


def connects():
    global refused
    for number in itertools.count():
        if is_over:
            return
        with socket.socket() as one:
            refused += one.connect_ex((to, 1 + number % 65535)) == errno.EPERM


both = [threading.Thread(target=each) for each in (asks, connects)]
for one in both:
    one.start()
while min(unknown, refused) < least:
    time.sleep(0.01)
print("floods", unknown, refused, flush=True)
sys.stdin.readline()
is_over = True
for one in both:
    one.join()
print("flooded", unknown, refused, flush=True)
