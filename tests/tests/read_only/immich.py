"""A photo server that answers as Immich does, as far as an agent of its owner goes: `immich.py ADDRESS PORT KEY PHOTOS`.

Its routes and what they take are those of Immich's own description. A job that is started with `force` is over all photos, at once.
"""

import http.server, json, re, sys

address, port, key, photos = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
asset = {"id": "a1", "type": "IMAGE", "originalFileName": "kyoto.jpg", "isFavorite": False}
albums = [{"id": "b1", "albumName": "Kyoto", "assetCount": 1}]
waiting = {"thumbnailGeneration": 0, "metadataExtraction": 0}
JOB = ["start", "pause", "resume", "empty", "clear-failed"]


def job(name):
    counts = dict.fromkeys(["active", "completed", "failed", "delayed", "paused"], 0)
    return {"jobCounts": counts | {"waiting": waiting[name]}, "queueStatus": {"isActive": waiting[name] > 0, "isPaused": False}}


def jobs(_):
    return {name: job(name) for name in waiting}


def command(body, name):
    if name not in waiting or body.get("command") not in JOB:
        return 400
    if body["command"] == "start":
        # Without force, only what has no thumbnail yet: nothing here.
        waiting[name] = photos if body.get("force") is True else 0
    if body["command"] == "empty":
        waiting[name] = 0
    return job(name)


def search(body):
    found = [asset] if body.get("city") in (None, "Kyoto") else []
    return {"assets": {"total": len(found), "count": len(found), "items": found, "nextPage": None}}


def favourite(body, _):
    asset["isFavorite"] = body["isFavorite"]
    return asset


ROUTES = [
    ("GET", r"/api/server/about", lambda _: {"version": "v3.2.2", "licensed": False}),
    ("GET", r"/api/albums", lambda _: albums),
    ("GET", r"/api/assets/(a1)", lambda _, id: asset),
    ("GET", r"/api/assets/(a1)/thumbnail", lambda _, id: b"\xff\xd8\xff\xe0 a picture"),
    ("PUT", r"/api/assets/(a1)", favourite),
    ("POST", r"/api/search/metadata", search),
    ("GET", r"/api/jobs", jobs),
    ("PUT", r"/api/jobs/(\w+)", command),
]
ERRORS = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        if path == "/api/server/ping":
            return {"res": "pong"}
        for method, pattern, work in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == self.command:
                if self.headers.get("x-api-key") != key:
                    return 401
                return work(json.loads(body) if body else {}, *found.groups())
        return 404

    def serve(self):
        answer = self.answer()
        status = answer if isinstance(answer, int) else 200
        if isinstance(answer, int):
            answer = {"message": f"Cannot {self.command} {self.path}", "error": ERRORS[status], "statusCode": status}
        is_picture = isinstance(answer, bytes)
        sent = answer if is_picture else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "image/jpeg" if is_picture else "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = serve

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((address, port), Server)
print("serves", flush=True)
server.serve_forever()
