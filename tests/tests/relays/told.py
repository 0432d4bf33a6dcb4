# A relay that does as it is told. At 127.0.0.1 PORT it answers what it gets with a byte; with `http` it answers requests. It is told by lines:
# `next` has it print `got` with the next that it gets, `close` has it listen no more, and with `dial ADDRESS` it keeps a connection to there.
import http.server, socket, sys, threading

port, is_web = int(sys.argv[1]), "http" in sys.argv
awaited, kept = threading.Event(), []


def got():
    if awaited.is_set():
        awaited.clear()
        print("got", flush=True)


def serve(client):
    try:
        while client.recv(65536):
            got()
            client.sendall(b"!")
    except OSError:
        pass


def accept(server):
    try:
        while True:
            client, _ = server.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()
    except OSError:
        pass


def listen():
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(64)
    threading.Thread(target=accept, args=(server,), daemon=True).start()
    return server


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        got()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET

    def log_message(self, *_):
        pass


def close():
    if is_web:
        web.shutdown()
        web.server_close()
    else:
        # Else it listens for as long as a thread accepts.
        server.shutdown(socket.SHUT_RDWR)
        server.close()


if is_web:
    web = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
else:
    server = listen()
print("listening", flush=True)
for line in sys.stdin:
    word, *to = line.split()
    if word == "next":
        awaited.set()
        continue
    if word == "close":
        close()
    elif word == "dial":
        kept.append(socket.create_connection((to[0], 5432)))
    print(f"done {word}", flush=True)
