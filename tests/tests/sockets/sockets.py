"""Serves and connects Unix sockets: `sockets.py VERB NAME [KIND]`. A name that begins with @ is abstract."""

import asyncio, ctypes, errno, os, socket, sys, threading, time

KINDS = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
# How often something is tried that depends on the scheduler.
MOST = 100_000


def address(name):
    return "\0" + name[1:] if name.startswith("@") else name


def say(*words):
    print(*words, flush=True)


def new(kind="stream"):
    return socket.socket(socket.AF_UNIX, KINDS[kind])


def outcome(work):
    try:
        return "ok " + work()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


def serve(name, kind="stream"):
    """Answers whoever connects, and counts them."""
    server = new(kind)
    server.bind(address(name))
    if not name.startswith("@"):
        os.chmod(name, 0o777)
    seen = 0
    if kind == "dgram":
        say("listening")
        while True:
            server.recv(100)
            seen += 1
            say("seen", seen)
    server.listen(64)
    say("listening")
    while True:
        client, _ = server.accept()
        seen += 1
        say("seen", seen)
        try:
            client.sendall(b"hi")
        except OSError:
            pass
        client.close()


def connected(name, kind="stream", client=None):
    client = client or new(kind)
    client.settimeout(60)
    client.connect(address(name))
    if kind == "dgram":
        client.send(b"x")
        return "sent"
    return client.recv(10).decode()


def connect(name, kind="stream"):
    say(outcome(lambda: connected(name, kind)))


def sendto(name):
    def send():
        new("dgram").sendto(b"x", address(name))
        return "sent"

    say(outcome(send))


def stdin(name):
    """With a socket that was made outside."""
    say(outcome(lambda: connected(name, client=socket.socket(fileno=0))))


def secretive():
    """As ssh-add and gpg are: nobody else may look at this process (PR_SET_DUMPABLE)."""
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)


def secret(name, kind="stream"):
    secretive()
    connect(name, kind)


def secret_apart(name):
    """In a user and a mount namespace of its own besides, into which it has executed nothing: whoever made these may not look either."""
    new_user, new_mounts = 0x10000000, 0x00020000
    assert ctypes.CDLL(None).unshare(new_user | new_mounts) == 0
    secret(name)


def serve_secret(name):
    secretive()
    serve(name)


def secret_tcp(port):
    secretive()
    say(outcome(lambda: socket.create_connection(("127.0.0.1", int(port))) and "tcp"))


def nonblocking(name):
    def work():
        client = new()
        client.setblocking(False)
        client.connect(address(name))
        return "at once"

    say(outcome(work))


def threads(name):
    """Many at once."""
    found = []
    work = lambda: [found.append(outcome(lambda: connected(name))) for _ in range(20)]
    all = [threading.Thread(target=work) for _ in range(16)]
    [one.start() for one in all]
    [one.join() for one in all]
    say("all", found.count("ok hi"), "of", len(found), sorted(set(found)))


def loop(name):
    """A server and clients in one asyncio loop, which waits for both."""

    async def main():
        async def answer(reader, writer):
            writer.write(b"hi")
            writer.close()

        at = address(name)
        server = await asyncio.start_unix_server(answer, at)
        for _ in range(10):
            reader, writer = await asyncio.open_unix_connection(at)
            assert await reader.read(10) == b"hi"
            writer.close()
        server.close()
        return "hi"

    say(outcome(lambda: asyncio.run(main())))


def take(name, port):
    """Gets sockets from whoever connects, and uses them."""
    server = new()
    server.bind(name)
    os.chmod(name, 0o777)
    server.listen(1)
    say("listening")
    giver, _ = server.accept()
    _, made, _, _ = socket.recv_fds(giver, 1, 2)
    if len(made) < 2:
        return say("took", "none" if not made else "one")
    stream, datagram = made
    stream, datagram = socket.socket(fileno=stream), socket.socket(fileno=datagram)
    stream.settimeout(60)
    to = ("127.0.0.1", int(port))
    say("took", outcome(lambda: stream.connect(to) or "tcp"), outcome(lambda: f"udp {datagram.sendto(b'x', to)}"))


def give(name):
    """Makes sockets, and hands them over."""
    taker = new()
    taker.connect(name)
    made = [socket.socket(), socket.socket(type=socket.SOCK_DGRAM)]
    socket.send_fds(taker, [b"x"], [one.fileno() for one in made])
    say("given")


def take_connected(name, kind="tcp"):
    """Gets a connected socket from whoever connects, and sends something."""
    server = new()
    server.bind(name)
    os.chmod(name, 0o777)
    server.listen(1)
    say("listening")
    giver, _ = server.accept()
    _, made, _, _ = socket.recv_fds(giver, 1, 1)
    say("took", *(outcome(lambda: f"sent {socket.socket(fileno=one).send(b'x')}") for one in made))


def give_connected(name, port):
    """Connects, to a port or with `unix` to itself, and hands that over."""
    taker = new()
    taker.connect(name)
    if port == "unix":
        made, other = socket.socketpair()
    else:
        made = socket.create_connection(("127.0.0.1", int(port)))
    socket.send_fds(taker, [b"x"], [made.fileno()])
    say("given")
    if port == "unix":
        other.recv(1)


def supervise(*command):
    """A filter with a listener, as sandboxes install that answer the system calls of what runs in them: for this process, or for a
    command, whose listener this one has."""
    libc = ctypes.CDLL(None, use_errno=True)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    # BPF_RET | BPF_K, SECCOMP_RET_ALLOW
    allow = (0x06).to_bytes(2, sys.byteorder) + bytes(2) + (0x7FFF0000).to_bytes(4, sys.byteorder)
    no_new_privs, set_filter, new_listener, seccomp = 38, 1, 8, {"x86_64": 317, "aarch64": 277}[os.uname().machine]

    def install():
        program = Program(1, allow)
        zero = ctypes.c_ulong(0)
        assert libc.prctl(no_new_privs, ctypes.c_ulong(1), zero, zero, zero) == 0
        listener = libc.syscall(seccomp, ctypes.c_long(set_filter), ctypes.c_long(new_listener), ctypes.byref(program))
        if listener < 0:
            raise OSError(ctypes.get_errno(), "seccomp")
        return listener

    if not command:
        return say(outcome(lambda: install() and "listens"))
    supervisor, supervised = socket.socketpair()
    child = os.fork()
    if child == 0:
        socket.send_fds(supervised, [b"x"], [install()])
        supervised.recv(1)
        os.execvp(command[0], command)
    kept = socket.recv_fds(supervisor, 1, 1)
    supervisor.send(b"x")
    os.waitpid(child, 0)
    assert kept


def signal(pid, number="15"):
    """Sends a signal in each of two ways."""
    import signal

    pidfd = os.pidfd_open(int(pid))
    ways = [lambda: os.kill(int(pid), int(number)), lambda: signal.pidfd_send_signal(pidfd, int(number))]
    say(*(outcome(lambda: way() or "sent") for way in ways))


def swap(outside, own, link):
    """Connects by a name that leads to the one and the other in turn."""
    ends = []

    def turn():
        while not ends:
            for target in (own, outside):
                os.symlink(target, link + ".new")
                os.rename(link + ".new", link)

    os.symlink(own, link)
    turner = threading.Thread(target=turn)
    turner.start()
    found = []
    # Both take turns as the scheduler has it: until each was met, within reason.
    while len(found) < 1500 or ("ok hi" not in found or "EPERM" not in found) and len(found) < MOST:
        found.append(outcome(lambda: connected(link)))
    ends.append(True)
    turner.join()
    say("swapped", {word: found.count(word) for word in set(found)})


def rewrite(outside, own):
    """Changes the address, and its family, while connect(2) is under way."""
    libc = ctypes.CDLL(None, use_errno=True)
    pack = lambda family, name: family.to_bytes(2, sys.byteorder) + name.encode().ljust(108, b"\0")
    forms = [pack(1, own), pack(1, outside), pack(2, "\0\x09\x7f\0\0\1"), pack(1, "\0none")]
    memory = ctypes.create_string_buffer(forms[0], 110)
    ends = []

    def turn():
        while not ends:
            for form in forms:
                ctypes.memmove(memory, form, 110)

    turner = threading.Thread(target=turn)
    turner.start()
    tries = made = 0
    # As above: the one form that is let pass may be away for long, where the machine is busy.
    while tries < 3000 or not made and tries < MOST:
        client = new()
        made += libc.connect(client.fileno(), memory, 110) == 0
        client.close()
        tries += 1
    ends.append(True)
    turner.join()
    say("rewritten", made)


def leave(own, port):
    """Leaves a process behind that connects when its parent is gone."""
    if os.fork():
        return
    os.setsid()
    server = new()
    server.bind(own)
    server.listen(8)
    time.sleep(1.5)
    answer = lambda: server.accept()[0].sendall(b"hi")
    threading.Thread(target=answer, daemon=True).start()
    found = outcome(lambda: connected(own))
    tcp = outcome(lambda: socket.create_connection(("127.0.0.1", int(port)), 5).close() or "tcp")
    with open(own + ".found.new", "w") as file:
        file.write(found + " " + tcp)
    os.rename(own + ".found.new", own + ".found")


globals()[sys.argv[1]](*sys.argv[2:])
