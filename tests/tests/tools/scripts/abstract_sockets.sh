client() {
    python3 - <<'END'
import socket, threading
name = "\0guard-tools"
server = socket.socket(socket.AF_UNIX)
server.bind(name)
server.listen()
def serve():
    with server.accept()[0] as peer:
        peer.sendall(b"text")
threading.Thread(target=serve).start()
client = socket.socket(socket.AF_UNIX)
client.connect(name)
print(client.recv(10).decode())
END
}
