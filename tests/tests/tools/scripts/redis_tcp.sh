client() {
    redis-server --port 6379 --bind 127.0.0.1 --save '' --dir "$HOME" >/dev/null &
    server=$!
    until_so redis-cli ping
    redis-cli set key text
    redis-cli get key
    kill "$server"
}
