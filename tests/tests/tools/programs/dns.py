"""Answers every question about an IPv4 address with one, and every other with none (RFC 1035)."""
import os
import socket

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((os.environ["RESOLVER"], 53))
print("ready", flush=True)
while True:
    query, peer = server.recvfrom(512)
    end = 12
    while query[end]:
        end += 1 + query[end]
    question = query[12 : end + 5]
    is_a = question[-4:] == b"\0\1\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([203, 0, 113, 7]) if is_a else b""
    counts = b"\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    server.sendto(query[:2] + b"\x85\x80" + counts + question + answer, peer)
