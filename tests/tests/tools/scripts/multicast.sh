client() {
    python3 - <<'END'
import socket
group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(group.sendto(b"who is there?", ("239.192.0.7", 5007)))
END
}
