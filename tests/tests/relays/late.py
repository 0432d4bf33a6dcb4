# Connects to 127.0.0.1:7080 without a packet, prints `connected`, and asks there for `/` once it was sent a line. Prints how it ended.
import socket, sys

# linux/tcp.h
FASTOPEN_CONNECT, FASTOPEN_NO_COOKIE = 30, 34
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, FASTOPEN_NO_COOKIE, 1)
client.setsockopt(socket.IPPROTO_TCP, FASTOPEN_CONNECT, 1)
# Nothing gets lost on the loopback.
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
try:
    client.connect(("127.0.0.1", 7080))
    print("connected", flush=True)
    sys.stdin.readline()
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = client.recv(64)
    how = "answered" if answer.startswith(b"HTTP/1.1 200") else repr(answer)
except OSError as error:
    how = type(error).__name__
print(f"ended: {how}", flush=True)
