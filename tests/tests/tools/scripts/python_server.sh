client() {
    mkdir www
    echo text >www/file
    python3 -m http.server -d www 8000 >/dev/null 2>&1 &
    server=$!
    until_so listens 8000
    curl -sS http://127.0.0.1:8000/file
    kill "$server"
}
