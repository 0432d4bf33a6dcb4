"""Connects as programs do, and prints one line of JSON for each connection: how it went, and after how long.

Usage: client.py KIND ADDRESS PORT [HOW_MANY [TIMEOUT]]
"""

import array
import asyncio
import errno
import json
import os
import resource
import select
import socket
import sys
import threading
import time


def tell(began, error=None, **more):
    name = errno.errorcode.get(error.errno, str(error)) if isinstance(error, OSError) and error.errno else str(error)
    line = {"ok": error is None, "error": None if error is None else name, "seconds": time.monotonic() - began}
    # In one piece: others write there too.
    sys.stdout.write(json.dumps(line | more) + "\n")
    sys.stdout.flush()


def made(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM)


def exchanged(connection):
    connection.settimeout(60)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    if not connection.recv(1):
        raise OSError(errno.EPIPE, "no answer")


def blocking(address, port, timeout):
    began = time.monotonic()
    connection = made(address)
    try:
        connection.settimeout(timeout)
        connection.connect((address, port))
        connected = time.monotonic() - began
        exchanged(connection)
        tell(began, connected=connected)
    except OSError as error:
        tell(began, error)
    connection.close()


def polled(address, port, timeout):
    """As an event loop does: EINPROGRESS, then POLLOUT."""
    began = time.monotonic()
    connection = made(address)
    connection.setblocking(False)
    error = connection.connect_ex((address, port))
    if error not in (0, errno.EINPROGRESS):
        return tell(began, OSError(error, "at once"))
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    if not poll.poll((timeout or 600) * 1000):
        return tell(began, OSError(errno.ETIMEDOUT, "its own patience"))
    error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    tell(began, OSError(error, "later") if error else None, peer=connection.getpeername()[0] if not error else None)
    connection.close()


def with_asyncio(address, port, timeout):
    async def connect():
        began = time.monotonic()
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), timeout)
            writer.close()
            tell(began)
        except asyncio.TimeoutError:
            tell(began, OSError(errno.ETIMEDOUT, "its own patience"))
        except OSError as error:
            tell(began, error)

    asyncio.run(connect())


def again(address, port, timeout):
    """One socket that is refused, and then connects elsewhere: where production is, at another port."""
    began = time.monotonic()
    connection = made(address)
    connection.settimeout(timeout)
    try:
        connection.connect((address, port))
    except OSError as error:
        tell(began, error)
    try:
        connection.connect((address, 80))
        tell(began)
    except OSError as error:
        tell(began, error)


def many(address, port, how_many):
    """That many sockets of one thread, all at once."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (how_many + 64, max(how_many + 64, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    began = time.monotonic()
    waiting, poll = {}, select.epoll()
    for _ in range(how_many):
        connection = made(address)
        connection.setblocking(False)
        if connection.connect_ex((address, port)) == errno.EINPROGRESS:
            waiting[connection.fileno()] = connection
            poll.register(connection, select.EPOLLOUT | select.EPOLLONESHOT)
    print(json.dumps({"begun": len(waiting)}), flush=True)
    connected = failed = 0
    deadline = time.monotonic() + 120
    while waiting and time.monotonic() < deadline:
        for fd, _ in poll.poll(1):
            connection = waiting.pop(fd)
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                failed += 1
            else:
                connected += 1
            connection.close()
    tell(began, connected=connected, failed=failed, left=len(waiting))


def crowd(address, port, how_many):
    """Begins to connect and gives up at once, until it is refused: says how many had begun, and how it was refused."""
    began, begun = time.monotonic(), 0
    while begun < how_many:
        connection = made(address)
        connection.setblocking(False)
        error = connection.connect_ex((address, port))
        connection.close()
        if error != errno.EINPROGRESS:
            return tell(began, OSError(error, "at once"), begun=begun)
        begun += 1
    tell(began, begun=begun)


def datagram(address, port, _):
    began = time.monotonic()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", (address, port))
        tell(began)
    except OSError as error:
        tell(began, error)


def giver(path, _, __):
    """Makes a socket, and gives it to whoever comes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen()
    print("listens", flush=True)
    taker, _ = listener.accept()
    made = socket.socket()
    taker.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
    taker.recv(1)


def taker(path, port, timeout):
    """Connects a socket that another session has made."""
    giver = socket.socket(socket.AF_UNIX)
    giver.connect(path)
    _, ancillary, _, _ = giver.recvmsg(1, 64)
    if not ancillary:
        return tell(time.monotonic(), OSError("nothing came with it"))
    taken = socket.socket(fileno=array.array("i", ancillary[0][2][:4])[0])
    began = time.monotonic()
    taken.settimeout(timeout)
    try:
        taken.connect(("192.0.2.10", port))
        tell(began)
    except OSError as error:
        tell(began, error)


def spread(pattern, port, how_many):
    """That many addresses, all at once: a number stands for the % in the pattern."""
    addresses = [pattern.replace("%", f"{last:x}" if ":" in pattern else str(last)) for last in range(1, how_many + 1)]
    threads = [threading.Thread(target=polled, args=(address, port, 120)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def nowhere(address, port, _):
    """Connects often in a way that fails before anything is sent: from an address of the loopback."""
    began = time.monotonic()
    for _ in range(2000):
        connection = socket.socket()
        connection.bind(("127.0.0.1", 0))
        connection.connect_ex((address, port))
        connection.close()
    tell(began)


def become(address, port, _):
    """Begins to connect, and becomes another program."""
    connection = made(address)
    connection.setblocking(False)
    connection.connect_ex((address, port))
    connection.set_inheritable(True)
    os.execv("/bin/sh", ["sh", "-c", "echo exchanged; read _; echo over"])


KINDS = {"blocking": blocking, "polled": polled, "asyncio": with_asyncio, "again": again, "datagram": datagram, "giver": giver, "taker": taker, "nowhere": nowhere}

kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
how_many = int(sys.argv[4]) if len(sys.argv) > 4 else 1
timeout = float(sys.argv[5]) if len(sys.argv) > 5 else None
if kind == "become":
    become(address, port, None)
elif kind == "many":
    many(address, port, how_many)
elif kind == "crowd":
    crowd(address, port, how_many)
elif kind == "spread":
    spread(address, port, how_many)
else:
    threads = [threading.Thread(target=KINDS[kind], args=(address, port, timeout)) for _ in range(how_many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
