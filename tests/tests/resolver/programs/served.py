"""Root of a network of its own, in which it is the machine's name server. Does what its words say, or else its lines, and prints
`did`, and what came of it:

`up`         has a loopback, of which it takes each port that the kernel gives away
`free`       gives these back
`ask NAME`   asks the name server by UDP: the code of the answer, `heard` where the server itself heard it, or the error
"""
import errno
import select
import socket
import struct
import subprocess
import sys

server, *words = sys.argv[1:]
FIRST, LAST = 40000, 40003
taken = []
serves = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
# None of the ports that are taken.
asks.bind(("0.0.0.0", 50000))


def given_away(first, last):
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:
        ports.write(f"{first} {last}")


def up():
    # Before there is a loopback, on which others could have one.
    given_away(FIRST, LAST)
    for port in range(FIRST, LAST + 1):
        taken.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        taken[-1].bind(("0.0.0.0", port))
    for line in ["link set lo up", f"addr add {server}/32 dev lo"]:
        subprocess.run(["ip", *line.split()], check=True)
    serves.bind((server, 53))


def free():
    while taken:
        taken.pop().close()
    given_away(32768, 49999)


def ask(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    question = struct.pack(">HH4H", 4711, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", 1, 1)
    asks.sendto(question, (server, 53))
    came, _, _ = select.select([asks, serves], [], [], 30)
    if serves in came:
        serves.recv(4096)
        return "heard"
    return asks.recv(4096)[3] & 15 if came else "nothing"


ways = {"up": up, "free": free, "ask": ask}
print("reads lines", flush=True)
for line in words or iter(sys.stdin.readline, ""):
    what, *rest = line.split()
    try:
        came = ways[what](*rest)
    except OSError as error:
        came = errno.errorcode.get(error.errno, error)
    print("did", what, came, flush=True)
