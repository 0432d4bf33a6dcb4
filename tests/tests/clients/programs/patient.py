"""python3 patient.py HOST PORT METHOD TIMES: asks over HTTP/2, on so many connections, each of which says nothing before the
server has. It prints how often each status came, and what else happened.
"""

import collections
import concurrent.futures
import select
import socket
import sys

import h2.connection
import h2.events

host, port, method, times = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
FIELDS = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", f"{host}:{port}")]


def ask(_):
    try:
        with socket.create_connection((host, port), timeout=60) as sock:
            if not select.select([sock], [], [], 60)[0]:
                return "the server waits"
            conn = h2.connection.H2Connection()
            conn.initiate_connection()
            conn.send_headers(1, FIELDS, end_stream=True)
            sock.sendall(conn.data_to_send())
            while data := sock.recv(65536):
                for event in conn.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        return dict(event.headers)[b":status"].decode()
                sock.sendall(conn.data_to_send())
            return "closed"
    except OSError as error:
        return type(error).__name__


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    for status, count in sorted(collections.Counter(pool.map(ask, range(times))).items()):
        print(status, count)
