"""Has the kernel remember as many refusals as it can, and asks why on so many connections at once. Says how many were answered whenever
a line comes."""

import os, select, socket, sys

many = int(sys.argv[1])
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    for port in range(1, 9000):
        with socket.socket(type=kind) as one:
            one.connect_ex(("192.0.2.66", port))
guardd = [socket.socket(socket.AF_UNIX) for _ in range(many)]
for one in guardd:
    one.connect(os.environ["GUARD_SOCKET"])
for one in guardd:
    one.sendall(b'{"method":"org.guardd.Control.Why"}\0')
print("asked", flush=True)
answered = 0
while True:
    ready, _, _ = select.select([*guardd, sys.stdin], [], [])
    for one in ready:
        if one is not sys.stdin:
            answered += one.recv(1 << 20).endswith(b"\0")
    if ready == [sys.stdin]:
        sys.stdin.readline()
        print("answered", answered, flush=True)
