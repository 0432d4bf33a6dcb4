"""python3 image.py push|pull URL [FILE]: one layer and its manifest, as docker and podman do it."""

import hashlib
import json
import sys

import requests

verb, base = sys.argv[1:3]
layer = open(sys.argv[3], "rb").read() if len(sys.argv) > 3 else b""
TYPE = "application/vnd.oci.image.manifest.v1+json"
session = requests.Session()


def check(answer):
    print(answer.request.method, answer.status_code)
    answer.raise_for_status()
    return answer


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def upload(data):
    begun = check(session.post(f"{base}/v2/photos/blobs/uploads/", timeout=60))
    at = begun.headers["Location"]
    sent = check(session.patch(at, data=data, headers={"Content-Type": "application/octet-stream"}, timeout=60))
    at = sent.headers["Location"]
    check(session.put(at, params={"digest": digest(data)}, timeout=60))


def push():
    upload(layer)
    manifest = {
        "schemaVersion": 2,
        "mediaType": TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(layer), "size": len(layer)},
        "layers": [],
    }
    check(
        session.put(
            f"{base}/v2/photos/manifests/latest",
            data=json.dumps(manifest),
            headers={"Content-Type": TYPE},
            timeout=60,
        )
    )


def pull():
    check(session.get(f"{base}/v2/", timeout=60))
    manifest = check(session.get(f"{base}/v2/photos/manifests/latest", headers={"Accept": TYPE}, timeout=60)).json()
    named = manifest["config"]["digest"]
    check(session.head(f"{base}/v2/photos/blobs/{named}", timeout=60))
    blob = check(session.get(f"{base}/v2/photos/blobs/{named}", timeout=60)).content
    print("same" if digest(blob) == named else "other", len(blob))


{"push": push, "pull": pull}[verb]()
