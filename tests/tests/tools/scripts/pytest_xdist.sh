client() {
    for at in 1 2 3 4; do
        printf 'import socket\n\ndef test_%s():\n    with socket.create_server(("127.0.0.1", 0)) as server:\n' "$at" >"test_$at.py"
        printf '        socket.create_connection(server.getsockname()).close()\n' >>"test_$at.py"
    done
    python3 -m pytest -q -n 2 -p no:cacheprovider | grep -o '[0-9]* passed'
}
