# Keeps a connection to 127.0.0.1 PORT, and sends on it. Prints `kept` once it was answered there, and `stalled` when nothing passes any more;
# and, once it was sent a line, how that ended: whether anything passed after all, before TCP gave up.
import select, socket, sys, time

port = int(sys.argv[1])


def connected():
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(b"?")
            if client.recv(1):
                return client
        except OSError:
            pass
        time.sleep(0.1)


def is_stalled():
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    # `tcpi_retransmits`, `tcpi_probes` and `tcpi_backoff`: nothing gets lost on the loopback.
    return max(info[2:5]) > 1


# The first one was held until it was scanned what listens there.
connected().close()
client = connected()
print("kept", flush=True)
try:
    while True:
        client.sendall(b"?")
        while not select.select([client], [], [], 0.1)[0]:
            if is_stalled():
                raise TimeoutError
        if not client.recv(64):
            raise ConnectionError
        time.sleep(0.02)
except OSError:
    print("stalled", flush=True)
sys.stdin.readline()
try:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000)
    how = "passed" if client.recv(64) else "closed"
except OSError as error:
    how = type(error).__name__
print(f"ended: {how}", flush=True)
