"""Keys of the kernel's: `keys.py put COMMAND…` runs it in a new session keyring with a key, and `keys.py look` looks for one."""

import ctypes, os, platform, sys

ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[platform.machine()]
JOIN, UNLINK, SEARCH, READ = 1, 9, 10, 11
SESSION, USER = -3, -4
kernel = ctypes.CDLL(None, use_errno=True)


def call(*words):
    done = kernel.syscall(*words)
    if done < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return done


def put(*command):
    call(KEYCTL, JOIN, None)
    add(b"secret", b"the caller's")
    os.execvp(command[0], command)


def add(name, value, ring=SESSION):
    return call(ADD_KEY, b"user", name, value, ctypes.c_size_t(len(value)), ring)


def look(name="secret"):
    key = call(KEYCTL, SEARCH, SESSION, b"user", name.encode(), 0)
    value = ctypes.create_string_buffer(100)
    call(KEYCTL, READ, key, value, ctypes.c_size_t(len(value)))
    print(value.value.decode())


def own():
    add(b"own", b"its own")
    look("own")


def users():
    key = add(b"users", b"its user's", USER)
    look("users")
    call(KEYCTL, UNLINK, key, USER)


globals()[sys.argv[1]](*sys.argv[2:])
