"""Connects as programs do, and prints one line of JSON for each connection: how it went, and after how long.

Usage: client.py KIND ADDRESS PORT [HOW_MANY [TIMEOUT]]
"""

import asyncio
import errno
import json
import resource
import select
import socket
import sys
import threading
import time


def tell(began, error=None, **more):
    name = errno.errorcode.get(error.errno, str(error)) if isinstance(error, OSError) and error.errno else str(error)
    line = {"ok": error is None, "error": None if error is None else name, "seconds": time.monotonic() - began}
    print(json.dumps(line | more), flush=True)


def made(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM)


def exchanged(connection):
    connection.settimeout(20)
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


def datagram(address, port, _):
    began = time.monotonic()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", (address, port))
        tell(began)
    except OSError as error:
        tell(began, error)


KINDS = {"blocking": blocking, "polled": polled, "asyncio": with_asyncio, "again": again, "datagram": datagram}

kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
how_many = int(sys.argv[4]) if len(sys.argv) > 4 else 1
timeout = float(sys.argv[5]) if len(sys.argv) > 5 else None
if kind == "many":
    many(address, port, how_many)
else:
    threads = [threading.Thread(target=KINDS[kind], args=(address, port, timeout)) for _ in range(how_many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
