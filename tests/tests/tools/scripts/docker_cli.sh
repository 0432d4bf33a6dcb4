server() {
    podman --log-level=error system service --time 0 "unix://$SHARED/docker.sock" &
    until_so test -S "$SHARED/docker.sock"
    echo ready
    wait
}
client() {
    export DOCKER_HOST=unix://$SHARED/docker.sock
    docker version --format '{{ .Server.Os }}'
}
