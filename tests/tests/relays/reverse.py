# A web server at 127.0.0.1:7080 that asks production for `/prod`, by a connection for each request, and answers all else itself.
import http.server, socket


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/prod":
            socket.create_connection(("192.0.2.10", 5432)).close()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 7080), Handler).serve_forever()
