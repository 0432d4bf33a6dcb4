"""python3 held.py PORT: answers every GET as Prometheus answers a query, and tells at which address it was asked."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = b'{"status":"success","data":{"resultType":"scalar","result":[0,"42"]}}'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        # In one piece: others write there too.
        sys.stdout.write(f"at {self.connection.getsockname()[0]}\n")
        sys.stdout.flush()
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    do_POST = do_GET

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
