server() { exec python3 "$PROGRAMS/dns.py"; }
client() {
    getent ahostsv4 looked-up.example | awk '{ print $1 }' | sort -u
    python3 -c 'import socket; print(socket.gethostbyname("looked-up.example"))'
    node -e 'require("dns").resolve4("looked-up.example", (error, all) => console.log(error || all[0]))'
}
