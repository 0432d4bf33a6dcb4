"""python3 streams.py PORT: events that come when somebody asks for the next, trailers, and what was sent."""

import hashlib
import queue
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NEXT = queue.Queue()


class Streams(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def head(self, **fields):
        self.send_response(200)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def events(self):
        # nginx, where that is in front of it, passes each on at once.
        self.head(Content_Type="text/event-stream", Transfer_Encoding="chunked", X_Accel_Buffering="no")
        for number in range(1, 4):
            self.chunk(b"data: event %d\n\n" % number)
            NEXT.get(timeout=60)
        self.wfile.write(b"0\r\n\r\n")

    def trailers(self):
        self.head(Trailer="X-Sum", Transfer_Encoding="chunked")
        self.chunk(b"body\n")
        self.wfile.write(b"0\r\nX-Sum: 42\r\n\r\n")

    def text(self, text):
        self.head(Content_Length=str(len(text)))
        self.wfile.write(text.encode())

    def do_GET(self):
        print("GET", self.path, flush=True)
        if self.path == "/next":
            NEXT.put(())
            self.text("next\n")
        else:
            {"/events": self.events, "/trailers": self.trailers}[self.path]()

    def do_POST(self):
        print("POST", self.path, self.headers.get("Expect"), flush=True)
        if self.headers.get("Transfer-Encoding") == "chunked":
            return self.chunks()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.text(hashlib.sha256(body).hexdigest() + "\n")

    def chunks(self):
        """Says of each chunk that it has come, and then of each trailer."""
        self.head(Transfer_Encoding="chunked")
        while length := int(self.rfile.readline(), 16):
            self.chunk(b"chunk " + self.rfile.read(length))
            self.rfile.readline()
        while (line := self.rfile.readline()) != b"\r\n":
            self.chunk(b"trailer " + line)
        self.wfile.write(b"0\r\n\r\n")


ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Streams).serve_forever()
