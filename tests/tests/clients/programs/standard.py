"""python3 standard.py METHOD URL [FILE]: looks with GET, then asks, with Python's own library alone."""

import json
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

method, url = sys.argv[1:3]
body = open(sys.argv[3], "rb").read() if len(sys.argv) > 3 else None
with urlopen(url.rsplit("/", 1)[0] + "/", timeout=60) as looked:
    print("GET", looked.status)
try:
    with urlopen(Request(url, data=body, method=method), timeout=60) as answer:
        print(method, answer.status, answer.headers.get("content-type"))
except HTTPError as error:
    print(method, error.code, error.headers.get("content-type"))
    print(json.load(error)["type"])
