"""python3 extended.py HOST PORT: begins a WebSocket over HTTP/2 (RFC 8441), whether that is offered or not."""

import socket
import sys

import h2.connection
import h2.events
import h2.settings

host, port = sys.argv[1], int(sys.argv[2])
conn = h2.connection.H2Connection()
conn.config.validate_outbound_headers = False
conn.config.normalize_outbound_headers = False
sock = socket.create_connection((host, port), timeout=60)
conn.initiate_connection()
sock.sendall(conn.data_to_send())


def events():
    while data := sock.recv(65536):
        yield from conn.receive_data(data)
        sock.sendall(conn.data_to_send())


for event in events():
    if isinstance(event, h2.events.RemoteSettingsChanged):
        print("offered", bool(conn.remote_settings.enable_connect_protocol))
        stream = conn.get_next_available_stream_id()
        conn.send_headers(
            stream,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/live"),
                (":authority", f"{host}:{port}"),
                ("sec-websocket-version", "13"),
            ],
        )
        sock.sendall(conn.data_to_send())
    elif isinstance(event, h2.events.ResponseReceived):
        print("answered", dict(event.headers)[b":status"].decode())
        break
    elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
        print("ended", event.error_code)
        break
