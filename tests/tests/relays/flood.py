# Once FILE is there, connects to 127.0.0.1 at COUNT ports from FIRST on, over and over and to many at once, and closes each connection once it
# stands.
import errno, os, selectors, socket, struct, sys, time

first, count, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
while not os.path.exists(file):
    time.sleep(0.1)
at, waiting = 0, selectors.DefaultSelector()
while True:
    while len(waiting.get_map()) < 96:
        client = socket.socket()
        client.setblocking(False)
        # Nothing is left of it.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        how = client.connect_ex(("127.0.0.1", first + at % count))
        at += 1
        if how in (0, errno.EINPROGRESS):
            waiting.register(client, selectors.EVENT_WRITE)
        else:
            client.close()
            time.sleep(0.01)
    for key, _ in waiting.select():
        waiting.unregister(key.fileobj)
        key.fileobj.close()
