# Listens at 127.0.0.1 at COUNT ports from FIRST on, and closes each connection. Prints `listening`.
import resource, selectors, socket, sys

first, count = int(sys.argv[1]), int(sys.argv[2])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
servers = selectors.DefaultSelector()
for port in range(first, first + count):
    server = socket.create_server(("127.0.0.1", port))
    server.setblocking(False)
    servers.register(server, selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in servers.select():
        try:
            key.fileobj.accept()[0].close()
        except OSError:
            pass
