# A port of this machine that a relay shares with others (SO_REUSEPORT). `relay TO` is that relay: it tells its port, and connects to
# TO once for itself, and once for each that says something. The others share the port of such a relay, and have it get a connection that
# a listener of their own was asked for: `cookie PORT`, `fast_open PORT` and `migration PORT`. They
# tell whether the relay has answered.
import ctypes, json, socket, struct, sys, threading

TCP = socket.IPPROTO_TCP
# Of asm-generic/socket.h and linux/socket.h.
ATTACH_REUSEPORT_CBPF = 51
FAST_OPEN = 0x20000000
LINE = b"guard-lab probe\n"
# So many to one relay: what is chosen by a hash is hardly ever the relay.
OWN = 32

kept = []


def listener(port, backlog=64):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("0.0.0.0", port))
    one.listen(backlog)
    return one


def forward(client, to):
    with client:
        try:
            said = client.recv(4096)
            if said:
                with socket.create_connection((to, 443), 5) as upstream:
                    upstream.sendall(said)
                    client.sendall(upstream.recv(4096))
        except OSError:
            pass


def relay(to):
    server = listener(0)
    server.setsockopt(TCP, socket.TCP_FASTOPEN, 16)
    kept.append(socket.create_connection((to, 443)))
    print(json.dumps({"listening": server.getsockname()[1]}), flush=True)
    while True:
        client, _ = server.accept()
        threading.Thread(target=forward, args=(client, to), daemon=True).start()


def keep_all(one):
    while True:
        kept.append(one.accept()[0])


def attach(one, option, steps):
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    one.setsockopt(socket.SOL_SOCKET, option, program)


def hand_over(one):
    # What has no payload goes to the second listener of the port, and all else to the first: the relay.
    steps = [(0x80, 0, 0, 0), (0x15, 0, 1, 0), (0x06, 0, 0, 1), (0x06, 0, 0, 0)]
    attach(one, ATTACH_REUSEPORT_CBPF, steps)


def sharing(port):
    # The first of them answers with cookies (RFC 4987) once somebody is in its queue.
    own = [listener(port, 0)] + [listener(port) for _ in range(OWN - 1)]
    own[0].setsockopt(TCP, socket.TCP_DEFER_ACCEPT, 60)
    for one in own:
        threading.Thread(target=keep_all, args=(one,), daemon=True).start()
    hand_over(own[0])
    kept.append(own)


def fill(to):
    # Who says nothing stays in its queue.
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(to)
    kept.append(one)


# The listener of the session's own sends a cookie and forgets it. What comes back with it, and the first data, goes to the relay.
def cookie(one, to):
    connect(one, to)
    one.sendall(LINE)


def connect(one, to):
    for _ in range(4):
        fill(to)
    one.setsockopt(TCP, socket.TCP_DEFER_ACCEPT, 1)
    one.connect(to)


# The first packet has data, and goes to the relay.
def fast_open(one, to):
    one.sendto(LINE, FAST_OPEN, to)


# The connection is in the queue of a listener of the session's own, which ends: it goes to another one of the port.
def migration(one, to):
    own = [listener(to[1]) for _ in range(OWN)]
    try:
        one.connect(to)
    finally:
        for other in own:
            other.close()
    one.sendall(LINE)


def tell(how, port):
    if how is not migration:
        sharing(port)
    problem = None
    # Of each address the hash is another.
    for last in range(1, 49):
        at = f"127.0.0.{last}"
        with socket.socket() as one:
            one.settimeout(0.5)
            try:
                how(one, (at, port))
                answer = one.recv(4096)
            except OSError as error:
                problem = error
                continue
        if answer == LINE:
            return {"ok": True, "detail": f"answered at {at}"}
    return {"ok": False, "detail": f"not answered: {problem}"}


ROLES = {"cookie": cookie, "fast_open": fast_open, "migration": migration}
if sys.argv[1] == "relay":
    relay(sys.argv[2])
else:
    print(json.dumps(tell(ROLES[sys.argv[1]], int(sys.argv[2]))), flush=True)
