# Connects to 127.0.0.1 PORT until the second of the sockets that listen there has answered, 20 times at most. Prints `second reached`, or
# `second missed`.
import socket, sys, time


def answer():
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 0.5) as client:
            client.sendall(b"?")
            return client.recv(1)
    except OSError:
        time.sleep(0.1)


is_reached = any(answer() == b"1" for _ in range(20))
print("second", "reached" if is_reached else "missed", flush=True)
