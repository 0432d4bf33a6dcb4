"""One package, as the registries of npm, PyPI and crates.io serve theirs; and the version of a Kubernetes."""
import base64
import hashlib
import io
import json
import os
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BASE = f"http://{os.environ['PRODUCTION']}:8080"


def packed(files):
    """A tar.gz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(text)
            about.mode = 0o644
            tar.addfile(about, io.BytesIO(text.encode()))
    return out.getvalue()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


npm = packed({
    "package/package.json": json.dumps({"name": "left-pad", "version": "1.0.0", "main": "index.js"}),
    "package/index.js": "module.exports = (text, length) => text.padStart(length)\n",
})
about_npm = {
    "name": "left-pad",
    "dist-tags": {"latest": "1.0.0"},
    "versions": {"1.0.0": {
        "name": "left-pad",
        "version": "1.0.0",
        "main": "index.js",
        "dist": {
            "tarball": f"{BASE}/npm/left-pad/-/left-pad-1.0.0.tgz",
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(npm).digest()).decode(),
        },
    }},
}
WHEEL = "left_pad-1.0.0-py3-none-any.whl"
wheel = zipped({
    "left_pad.py": "def pad(text, length):\n    return text.rjust(length)\n",
    "left_pad-1.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: left-pad\nVersion: 1.0.0\n",
    "left_pad-1.0.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "left_pad-1.0.0.dist-info/RECORD": "left_pad.py,,\nleft_pad-1.0.0.dist-info/METADATA,,\n"
    "left_pad-1.0.0.dist-info/WHEEL,,\nleft_pad-1.0.0.dist-info/RECORD,,\n",
})
crate = packed({
    "left-pad-1.0.0/Cargo.toml": '[package]\nname = "left-pad"\nversion = "1.0.0"\nedition = "2021"\n',
    "left-pad-1.0.0/src/lib.rs": 'pub fn pad(text: &str, length: usize) -> String { format!("{text:>length$}") }\n',
})
about_crate = {
    "name": "left-pad",
    "vers": "1.0.0",
    "deps": [],
    "cksum": hashlib.sha256(crate).hexdigest(),
    "features": {},
    "yanked": False,
}
FILES = {
    "/npm/left-pad": json.dumps(about_npm).encode(),
    "/npm/left-pad/-/left-pad-1.0.0.tgz": npm,
    "/simple/left-pad/": f'<a href="/files/{WHEEL}#sha256={hashlib.sha256(wheel).hexdigest()}">{WHEEL}</a>'.encode(),
    f"/files/{WHEEL}": wheel,
    "/crates/config.json": json.dumps({"dl": f"{BASE}/crates/dl"}).encode(),
    "/crates/le/ft/left-pad": json.dumps(about_crate).encode(),
    "/crates/dl/left-pad/1.0.0/download": crate,
    "/version": json.dumps({"major": "1", "minor": "32", "gitVersion": "v1.32.0"}).encode(),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = FILES.get(self.path.partition("?")[0])
        self.send_response(404 if body is None else 200)
        is_page = self.path.startswith("/simple/")
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("0.0.0.0", 8080), Handler)
print("ready", flush=True)
server.serve_forever()
