client() {
    person
    export GNUPGHOME=$HOME/run/gpg
    mkdir -m 700 "$GNUPGHOME"
    trap 'gpgconf --kill all' EXIT
    gpg -q --batch --passphrase '' --quick-generate-key agent@example.com ed25519 sign 2>/dev/null
    git config --global user.signingkey agent@example.com
    git init -q repo
    cd repo
    git commit -q -S --allow-empty -m signed
    git log -1 --format='%G? %GS'
}
