server() {
    person
    git init -q --bare "$SHARED/photos.git"
    chmod -R a+rwX "$SHARED/photos.git"
    ssh_server
    echo ready
    wait
}
client() {
    person
    name=by-$WAY
    GIT_SSH_COMMAND="ssh $(ssh_options)"
    GIT_SSH_COMMAND=${GIT_SSH_COMMAND/-i id/-i $HOME/id}
    export GIT_SSH_COMMAND
    url=ssh://agent@$PRODUCTION$SHARED/photos.git
    git clone -q "$url" clone 2>/dev/null
    cd clone
    echo text >file
    git add file
    git commit -qm first
    git push -q origin "HEAD:$name"
    git clone -q --branch "$name" "$url" ../other
    cat ../other/file
}
