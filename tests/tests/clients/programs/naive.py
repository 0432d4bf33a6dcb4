"""python3 naive.py PORT length|coding: a server that takes HTTP/1 in one of the ways in which servers got it wrong.

It prints the method and path of each request that it takes for one.
"""

import os
import re
import socket
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


class Length:
    """The first Content-Length counts, before any coding. A line ends with CR LF, and may go on in the next."""

    end = b"\r\n"

    def fields(self, lines):
        fields = []
        for line in lines:
            if line[:1] in b" \t" and fields:
                fields[-1][1] += b" " + line.strip()
                continue
            name, _, value = line.partition(b":")
            fields.append([name.lower(), value.strip()])
        return fields

    def framing(self, fields):
        for name, value in fields:
            if name == b"content-length":
                return int(re.match(rb"\d*", value)[0] or b"0")
        values = [value.lower() for name, value in fields if name == b"transfer-encoding"]
        return "chunked" if values == [b"chunked"] else 0

    def chunk(self, line):
        return int(re.match(rb"[0-9a-fA-F]*", line)[0] or b"0", 16)


class Coding:
    """Whatever looks like a coding counts, else the last Content-Length. A line ends with LF."""

    end = b"\n"

    def fields(self, lines):
        halves = [line.partition(b":") for line in lines]
        return [(name.strip().lower().replace(b"_", b"-"), value.strip()) for name, _, value in halves]

    def framing(self, fields):
        if any(name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in fields):
            return "chunked"
        lengths = [value for name, value in fields if name == b"content-length"]
        return int(lengths[-1].split(b",")[-1]) if lengths else 0

    def chunk(self, line):
        return int(line.partition(b";")[0].decode(), 16)


JUDGE = {"length": Length, "coding": Coding}[sys.argv[2]]()


class Connection:
    def __init__(self, sock):
        self.sock, self.held = sock, b""

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.held += data

    def line(self):
        while JUDGE.end not in self.held:
            self.more()
        line, _, self.held = self.held.partition(JUDGE.end)
        return line.rstrip(b"\r") if JUDGE.end == b"\n" else line

    def skip(self, length):
        while len(self.held) < length:
            self.more()
        self.held = self.held[length:]

    def lines(self):
        while line := self.line():
            yield line

    def chunks(self):
        while length := JUDGE.chunk(self.line()):
            self.skip(length)
            self.line()
        list(self.lines())

    def request(self):
        while not (line := self.line()):
            pass
        fields = JUDGE.fields(list(self.lines()))
        method, path = (line.split() + [b"", b""])[:2]
        # Whole, whatever other threads write.
        os.write(1, method + b" " + path + b"\n")
        framing = JUDGE.framing(fields)
        self.chunks() if framing == "chunked" else self.skip(framing)
        self.sock.sendall(ANSWER)


def serve(sock):
    with sock:
        connection = Connection(sock)
        try:
            while True:
                connection.request()
        except (EOFError, ValueError, OSError):
            pass


server = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=512)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
