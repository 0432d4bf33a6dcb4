"""python3 asked.py METHOD URL [FILE]: looks with GET, then asks over the same connection."""

import sys

import requests

method, url = sys.argv[1:3]
body = open(sys.argv[3], "rb").read() if len(sys.argv) > 3 else None
with requests.Session() as session:
    base = url.rsplit("/", 1)[0] + "/"
    print("GET", session.get(base, timeout=60).status_code)
    answer = session.request(method, url, data=body, timeout=60)
print(method, answer.status_code, answer.headers.get("content-type"))
if answer.status_code == 403:
    print(answer.json()["type"])
