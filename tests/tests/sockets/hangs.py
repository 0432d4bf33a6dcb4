"""`hangs.py DEVICE DIR`: connects by a process whose memory nobody can read: it waits for a file system of its own, which never answers.
Others may not look at it besides. Prints `read` when it waits."""

import ctypes, os, signal, struct, sys, threading

device, point = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
NEW_USER, NEW_MOUNT = 0x10000000, 0x00020000


def done(outcome, what):
    if outcome < 0:
        raise OSError(ctypes.get_errno(), what)


uid, gid = os.getuid(), os.getgid()
done(libc.unshare(NEW_USER | NEW_MOUNT), "unshare")
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
fuse = os.open(device, os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0"
done(libc.mount(b"fuse", point.encode(), b"fuse.hangs", 0, options.encode()), "mount")


def attributes(node):
    mode, size = (0o40777, 0) if node == 1 else (0o100777, 4096)
    return struct.pack("<6Q10I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def connects():
    """One thread reads, and holds the lock of this process' memory; another one waits to change that, so that whoever reads it now waits
    behind it."""
    os.close(fuse)
    file = os.open(point + "/file", os.O_RDONLY)
    libc.mmap.restype = ctypes.c_void_p
    nowhere, number = ctypes.c_void_p(None), ctypes.c_int
    page = libc.mmap(nowhere, ctypes.c_size_t(4096), number(1), number(1), number(file), ctypes.c_long(0))
    # PR_SET_DUMPABLE
    libc.prctl(4, 0, 0, 0, 0)
    (_, sink), (turn, turns) = os.pipe(), os.pipe()

    def change():
        os.read(turn, 1)
        libc.mmap(nowhere, ctypes.c_size_t(4096), number(1), number(0x22), number(-1), ctypes.c_long(0))

    threading.Thread(target=change, daemon=True).start()
    threading.Thread(target=libc.write, args=(sink, ctypes.c_void_p(page), ctypes.c_size_t(1)), daemon=True).start()
    os.read(hung, 1)
    os.write(turns, b"x")
    address = ctypes.create_string_buffer((1).to_bytes(2, sys.byteorder) + b"/nowhere", 110)
    while True:
        client = libc.socket(1, 1, 0)
        libc.connect(client, address, 110)
        libc.close(client)


# Who serves and who connects are two processes: the end of this one ends all waiting.
hung, hangs = os.pipe()
child = os.fork()
if child == 0:
    connects()
signal.signal(signal.SIGCHLD, lambda *_: os._exit(0))
LOOKUP, FORGET, GETATTR, OPEN, READ, INIT, OPENDIR, BATCH_FORGET = 1, 2, 3, 14, 15, 26, 27, 42
reads = 0
while True:
    request = os.read(fuse, 1 << 17)
    _, kind, unique, node = struct.unpack_from("<IIQQ", request)

    def answer(body=b"", error=0):
        os.write(fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    if kind == INIT:
        answer(struct.pack("<4I2H2I2HI28x", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0))
    elif kind == LOOKUP:
        answer(struct.pack("<4Q2I", 2, 0, 1000, 1000, 0, 0) + attributes(2))
    elif kind == GETATTR:
        answer(struct.pack("<Q2I", 1000, 0, 0) + attributes(node))
    elif kind in (OPEN, OPENDIR):
        answer(struct.pack("<Q2I", 1, 0, 0))
    elif kind == READ and reads < 2:
        # The kernel lets go of the lock while it waits for the first, and tries again.
        reads += 1
        answer(error=-5)
    elif kind == READ:
        os.write(hangs, b"x")
        print("read", flush=True)
    elif kind not in (FORGET, BATCH_FORGET):
        answer(error=-38)
