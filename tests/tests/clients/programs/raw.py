"""python3 raw.py HOST PORT… <FILE: sends each line of FILE, which is bytes in hex, to each port, over a connection of its own.

It prints the status of what each was answered first, or -.
"""

import collections
import concurrent.futures
import socket
import sys

host, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]


def send(case):
    data, port = case
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=60) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while part := sock.recv(65536):
                answer += part
    except OSError:
        pass
    words = answer.split(maxsplit=2)
    return words[1].decode("latin-1") if len(words) > 1 else "-"


cases = [(bytes.fromhex(line), port) for line in sys.stdin for port in ports]
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    told = collections.Counter(pool.map(send, cases))
for status, count in sorted(told.items()):
    print(status, count)
