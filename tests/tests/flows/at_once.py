# A server that connects to whoever connects to it, at the same time: it answers a SYN with a SYN. Its address is none of this
# machine's, whose kernel would answer with a reset.
import socket, struct, sys
device, address = sys.argv[1:3]
SYN, ACK = 2, 16
own = socket.inet_pton(socket.AF_INET6, address)
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86dd))
frames.bind((device, 0))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def send(frame, ports, seq, ack, flags):
    to = frame[22:38]
    tcp = struct.pack("!HHIIBBHHH", *ports, seq, ack, 5 << 4, flags, 65000, 0, 0)
    summed = checksum(own + to + struct.pack("!II", len(tcp), 6) + tcp)
    tcp = tcp[:16] + struct.pack("!H", summed) + tcp[18:]
    head = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64)
    frames.send(frame[6:12] + frame[:6] + b"\x86\xdd" + head + own + to + tcp)


print("listening", flush=True)
while True:
    frame = frames.recv(4096)
    if frame[38:54] != own or frame[20] != 6:
        continue
    source, port, seq, _, offset, flags = struct.unpack("!HHIIBB", frame[54:68])
    length = struct.unpack("!H", frame[18:20])[0] - (offset >> 4) * 4
    ports = port, source
    if flags & 63 == SYN:
        send(frame, ports, 1000, 0, SYN)
    elif flags & (SYN | ACK) == SYN | ACK:
        send(frame, ports, 1001, seq + 1, ACK)
    elif length:
        send(frame, ports, 1001, seq + length, ACK)
        print("heard", frame[-length:].decode(), flush=True)
