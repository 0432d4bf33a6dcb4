# Connects to 127.0.0.1 PORT until the second of the sockets that listen there has answered. Prints `reached`.
import socket, sys, time

answer = b""
while answer != b"1":
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as client:
            client.sendall(b"?")
            answer = client.recv(1)
    except OSError:
        time.sleep(0.1)
print("reached", flush=True)
