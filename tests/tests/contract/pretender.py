"""Answers as guardd does, and guards nothing: `pretender.py SOCKET CGROUP`."""

import json, os, socket, sys

path, cgroup = sys.argv[1:]
session = {
    "id": "s1",
    "name": "pretended",
    "policy": "asks",
    "user": "agent",
    "uid": os.getuid(),
    "cgroup": cgroup,
    "pid": None,
    "command": ["true"],
    "started_at": "2026-01-01T00:00:00Z",
}
server = socket.socket(socket.AF_UNIX)
server.bind(path)
os.chmod(path, 0o777)
server.listen(8)
print("listening", flush=True)
while True:
    client, _ = server.accept()
    unread = b""
    while received := client.recv(65536):
        unread += received
        while b"\0" in unread:
            frame, unread = unread.split(b"\0", 1)
            method = json.loads(frame)["method"].rsplit(".")[-1]
            said = {"session": session} if method == "Run" else {}
            client.sendall(json.dumps({"parameters": said}).encode() + b"\0")
