client() {
    redis-server --port 0 --unixsocket "$HOME/redis.sock" --save '' --dir "$HOME" >/dev/null &
    server=$!
    until_so test -S redis.sock
    redis-cli -s redis.sock set key text
    redis-cli -s redis.sock get key
    kill "$server"
}
