"""A TLS server at every address of a machine: writes down how many bytes each connection begins with, and which name TLS shows."""
import socket, ssl, sys, threading

cert, log = sys.argv[1:3]
# Where it speaks first, and no TLS.
SPEAKS = "192.0.2.77"
lock = threading.Lock()


def note(*words):
    with lock, open(log, "a") as out:
        print(*words, file=out, flush=True)


def serve(raw, context):
    to = raw.getsockname()[0].removeprefix("::ffff:")
    if to == SPEAKS:
        raw.sendall(b"SSH-2.0-server\r\n")
    try:
        begun = len(raw.recv(65536, socket.MSG_PEEK))
    except OSError:
        begun = 0
    note("begun", to, begun)
    if not begun:
        return raw.close()
    if to == SPEAKS:
        raw.recv(begun)
        raw.sendall(b"! welcome\r\n")
        return raw.close()
    if raw.recv(8, socket.MSG_PEEK) == b"\0\0\0\x08\x04\xd2\x16\x2f":
        raw.recv(8)
        raw.sendall(b"S")
    shown = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)
    context.sni_callback = lambda _, name, __: shown.append(name)
    try:
        with context.wrap_socket(raw, server_side=True) as tls:
            note("shown", to, *shown)
            head = b""
            while b"\r\n\r\n" not in head:
                got = tls.recv(65536)
                if not got:
                    return
                head += got
            words = head.split(b" ", 2)
            if words[1].startswith(b"/bulk/"):
                size = int(words[1].split(b"/")[2])
                tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                tls.sendall(b"x" * size)
            elif words[0] == b"PUT":
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                got = len(head.split(b"\r\n\r\n", 1)[1])
                while got < length:
                    part = len(tls.recv(65536))
                    if not part:
                        break
                    got += part
                answer = b"got %d" % got
                tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            else:
                host = [line for line in head.split(b"\r\n") if line.lower().startswith(b"host:")]
                note("host", to, *(line.split(b":", 1)[1].strip().decode() for line in host))
                tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ngot\n")
    except (OSError, ValueError) as error:
        note("ended", to, shown, str(error).replace("\n", " "))


listener = socket.create_server(("::", 443), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
note("ready")
while True:
    conn, _ = listener.accept()
    threading.Thread(target=serve, args=(conn, None), daemon=True).start()
