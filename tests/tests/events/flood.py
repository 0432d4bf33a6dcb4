# Floods guardd from inside a session, by sessions inside that. Arguments: a role, how many, guard, and a policy's file.
import os, resource, socket, subprocess, sys

role, many, guard, inner = sys.argv[1:]
many = int(many)


def nested(role):
    command = [guard, "run", "--policy", inner, "--", sys.executable, __file__, role, str(many), guard, inner]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def say(what):
    print(what, flush=True)


# Each is a listener of its own, and none of the session around it.
def address(number):
    return f"127.1.{number >> 8}.{number & 255}", 7000


def listens():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept = []
    for number in range(many):
        listener = socket.socket()
        listener.bind(address(number))
        listener.listen(1)
        kept.append(listener)
    say("listening")
    sys.stdin.read()


def connects():
    turn = 0
    while True:
        for number in range(many):
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex(address(number))
        turn += 1
        say(f"round {turn}")


def is_refused():
    say("ready")
    sys.stdin.readline()
    for port in range(1, 201):
        with socket.socket() as client:
            assert client.connect_ex(("192.0.2.99", port)) != 0
    say("refused")
    sys.stdin.read()


if role == "listeners":
    server = nested("listens")
    server.stdout.readline()
    helper = nested("connects")
    helper.stdout.readline()
    connects()
elif role == "refusals":
    all = [nested("is_refused") for _ in range(many)]
    # All at once.
    for line in ("ready", "refused"):
        for one in all:
            assert one.stdout.readline().decode().strip() == line
        for one in all if line == "ready" else []:
            one.stdin.write(b"go\n")
            one.stdin.flush()
    say("done")
    sys.stdin.read()
else:
    globals()[role]()
