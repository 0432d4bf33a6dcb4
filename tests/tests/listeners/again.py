# A server at 127.0.0.1:6008, and its client, which comes three times from one port. The server closes first, so that what is left of each
# connection is at its end when the next one begins. Prints how it ended.
import socket, time


def left():
    lines = [line.split() for line in open("/proc/self/net/tcp")]
    return [at[3] for at in lines if ":1778" in at[1] + at[2] and at[3] != "0A"]


port, how = 0, "reached"
server = socket.create_server(("127.0.0.1", 6008))
try:
    for _ in range(3):
        client = socket.socket()
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("127.0.0.1", port))
        client.connect(("127.0.0.1", 6008))
        port = client.getsockname()[1]
        server.accept()[0].close()
        client.recv(1)
        client.close()
        # TIME_WAIT, and nothing else of both ends.
        while left() != ["06"]:
            time.sleep(0.01)
except OSError as error:
    how = type(error).__name__
print(f"ended: {how}", flush=True)
