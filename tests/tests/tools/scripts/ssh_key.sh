server() {
    ssh_server
    echo ready
    wait
}
client() {
    # shellcheck disable=SC2046
    ssh $(ssh_options) "agent@$PRODUCTION" 'echo there; cat' <<<text
    # shellcheck disable=SC2046
    scp $(ssh_options | sed 's/-p 2222/-P 2222/') -q "agent@$PRODUCTION:/etc/hostname" copied
    cmp copied /etc/hostname && echo copied
}
