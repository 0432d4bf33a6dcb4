client() {
    export GNUPGHOME=$HOME/run/gpg
    mkdir -m 700 "$GNUPGHOME"
    trap 'gpgconf --kill all' EXIT
    gpg -q --batch --passphrase '' --quick-generate-key agent@example.com ed25519 sign 2>/dev/null
    echo text >file
    gpg -q --batch --yes --detach-sign file
    gpg -q --batch --status-fd 1 --verify file.sig file 2>/dev/null | grep -o GOODSIG
}
