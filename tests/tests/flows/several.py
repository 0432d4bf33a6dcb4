"""Several programs of one session: `SERVER`. Reads lines of `PROGRAM WHAT VALUE`, has the program of that name do it, which begins with
its first line, and prints `did`, and what came of it: by `ask`, the code of the server's answer about a name, and by `go`, whether an
address was reached."""
import os
import socket
import struct
import sys

server = sys.argv[1]


def ask(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.connect((server, 53))
        s.send(struct.pack(">HH4H", 4711, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", 1, 1))
        return s.recv(4096)[3] & 15


def go(address):
    with socket.create_connection((address, 443), timeout=10):
        return "reached"


def serve(name, lines, says):
    # As the kernel and guardd know it.
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)
    for line in lines:
        what, value = line.split()
        try:
            came = {"ask": ask, "go": go}[what](value)
        except OSError as error:
            came = error
        print("did", name, what, came, file=says, flush=True)


class Program:
    def __init__(self, name):
        (lines, self.tells), (self.hears, says) = os.pipe(), os.pipe()
        if os.fork() == 0:
            serve(name, open(lines), open(says, "w"))
        self.tells, self.hears = open(self.tells, "w"), open(self.hears)

    def does(self, line):
        print(line, file=self.tells, flush=True)
        return self.hears.readline()


programs = {}
print("reads lines", flush=True)
for line in iter(sys.stdin.readline, ""):
    name, line = line.strip().split(" ", 1)
    if name not in programs:
        programs[name] = Program(name)
    print(programs[name].does(line), end="", flush=True)
