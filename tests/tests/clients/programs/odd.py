"""python3 odd.py PORT: answers as servers do that do not write HTTP as RFC 9112 has it, each path in another way."""

import socketserver
import sys

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "/blanks": HEAD + b"Content-Length:  5 \t\r\n\r\nread\n",
    "/colon": HEAD + b"Content-Length : 5\r\n\r\nread\n",
    "/extensions": CHUNKED + b'2;name=value;other="a b"\r\nre\r\n3  \r\nad\n\r\n0;last\r\n\r\n',
    "/twice": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nread\n",
    "/both": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nread\n\r\n0\r\n\r\n",
    "/lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nread\n",
    "/folded": HEAD + b"X-Folded: one\r\n two\r\nContent-Length: 5\r\n\r\nread\n",
    "/nothing": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "/many": HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"Content-Length: 5\r\n\r\nread\n",
    "/status": b"HTTP/1.1 999 Request denied\r\nContent-Length: 5\r\n\r\nread\n",
}


class Odd(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline().decode()
        while self.rfile.readline().strip():
            pass
        if line:
            print(line.strip(), flush=True)
            self.wfile.write(ANSWERS[line.split()[1]])


socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[1])), Odd).serve_forever()
