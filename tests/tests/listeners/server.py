# A server: it listens at each ADDRESS PORT of its arguments, and echoes. Prints `listening`. With `mptcp` first it does over
# that, with `shared` it shares its port, with `udp` by datagrams.
import socket, sys, threading

args = sys.argv[1:]
kind = args.pop(0) if args[0] in ("mptcp", "shared", "udp") else ""


def echo(client):
    try:
        while data := client.recv(65536):
            client.sendall(data)
    except OSError:
        pass


def serve(server):
    while True:
        client, _ = server.accept()
        threading.Thread(target=echo, args=(client,), daemon=True).start()


def answer(server):
    while True:
        data, client = server.recvfrom(65536)
        server.sendto(data, client)


threads = []
for address, port in zip(args[::2], args[1::2]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if kind == "udp":
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((address, int(port)))
        threads.append(threading.Thread(target=answer, args=(server,)))
        continue
    server = socket.socket(family, socket.SOCK_STREAM, 262 if kind == "mptcp" else 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == "shared":
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind((address, int(port)))
    server.listen(64)
    threads.append(threading.Thread(target=serve, args=(server,)))
print("listening", flush=True)
for thread in threads:
    thread.start()
