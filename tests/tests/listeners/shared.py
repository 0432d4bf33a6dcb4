"""UDP servers of another program at 6101 (a port that others may share) and 6102 (all addresses), and
what a session tries to get a datagram to them unasked: shared.py serve FILE | try WORD."""
import ctypes, select, socket, struct, sys

SO_REUSEADDR, SO_BROADCAST, SO_REUSEPORT, SO_ATTACH_REUSEPORT_CBPF = 2, 6, 15, 51


def at(host, port, *options):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in options:
        s.setsockopt(socket.SOL_SOCKET, option, 1)
    s.bind((host, port))
    return s


def serve(file):
    group = at("127.0.0.1", 6101, SO_REUSEPORT)
    everywhere = at("0.0.0.0", 6102, SO_REUSEADDR)
    print("listening", flush=True)
    while True:
        for s in select.select([group, everywhere], [], [])[0]:
            data = s.recv(100)
            with open(file, "a") as got:
                got.write(data.decode() + "\n")
            print("got", data.decode(), flush=True)


def sends(s, word, to):
    try:
        s.sendto(word.encode(), to)
    except OSError:
        pass


def shares(word):
    """The group's program hands all to its first socket, the other program's; each of our own says that it shares no port any more."""
    own = []
    for _ in range(6):
        own.append(at("127.0.0.1", 6101, SO_REUSEPORT))
        for s in own[:-1]:
            s.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 0)
        code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
        program = struct.pack("HL", 1, ctypes.addressof(code))
        own[-1].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
        for _ in range(8):
            sends(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), word, ("127.0.0.1", 6101))


if sys.argv[1] == "serve":
    serve(sys.argv[2])
word = sys.argv[2]
shares("shared-" + word)
sends(at("127.255.255.255", 6102, SO_REUSEADDR, SO_BROADCAST), "broadcast-" + word, ("127.255.255.255", 6102))
print("tried", flush=True)
