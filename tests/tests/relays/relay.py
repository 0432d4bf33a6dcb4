# A relay that nobody knows: it listens at ADDRESS PORT, and connects to ADDRESS PORT for each that comes, with `early`
# before, or with `fork` in a process of its own; with `also=ADDRESS:PORT` it keeps a connection to there, and with `shared` it
# shares its port. Prints `listening`.
import os, signal, socket, sys, threading

listen, port, to, to_port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
early = "early" in sys.argv
forks = "fork" in sys.argv


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connected():
    return socket.create_connection((to, to_port))


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for one in (source, sink):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, upstream):
    try:
        upstream = upstream or connected()
    except OSError:
        client.close()
        return
    threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
    pump(upstream, client)


server = socket.socket(family(listen), socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if "shared" in sys.argv:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind((listen, port))
server.listen(64)
spare = connected() if early else None
also = [word[5:].rsplit(":", 1) for word in sys.argv if word.startswith("also=")]
kept = [socket.create_connection((address, int(port))) for address, port in also]
print("listening", flush=True)
if forks:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    client, _ = server.accept()
    if forks:
        if os.fork() == 0:
            server.close()
            serve(client, None)
            os._exit(0)
        client.close()
        continue
    threading.Thread(target=serve, args=(client, None), daemon=True).start()
