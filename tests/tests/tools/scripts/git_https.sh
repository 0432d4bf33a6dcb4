server() {
    person
    certificate
    git init -q --bare photos.git
    git -C photos.git config http.receivepack true
    exec python3 "$PROGRAMS/web.py" "$SHARED/cert.pem" key.pem
}
client() {
    person
    export GIT_SSL_CAINFO=$SHARED/cert.pem
    name=by-$WAY
    git clone -q "https://$PRODUCTION/photos.git" clone 2>/dev/null
    cd clone
    echo text >file
    git add file
    git commit -qm first
    git push -q origin "HEAD:$name"
    git clone -q --branch "$name" "https://$PRODUCTION/photos.git" ../other
    cat ../other/file
}
