server() {
    certificate
    git init -q --bare photos.git
    exec python3 "$PROGRAMS/web.py" "$SHARED/cert.pem" key.pem
}
# Whether a command gets there, and if not, what guard says of it: without the guard it has to.
tried() {
    if "$@" >>said 2>>errors; then
        echo "$1: there"
        return
    fi
    why=$(guard why | grep -o 'waits for a person')
    echo "$1: stopped, $why"
}
client() {
    tried curl -sS -m 5 "http://$PRIVATE:8080/"
    tried git ls-remote "http://$PRIVATE:8080/photos.git"
}
