client() {
    node -e 'require("http").createServer((_, answer) => answer.end("text\n")).listen(8000)' &
    server=$!
    until_so listens 8000
    curl -sS http://localhost:8000/
    kill "$server"
}
