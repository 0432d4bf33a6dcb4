server() { exec python3 "$PROGRAMS/index.py"; }
client() {
    if kubectl --server "http://$PRIVATE:8080" get --raw /version 2>errors | tr -d '\n '; then
        return
    fi
    why=$(guard why | grep -o 'waits for a person')
    echo "$(grep -o 'operation not permitted' errors | tail -n 1), $why"
}
