server() {
    ssh_server
    echo ready
    wait
}
client() {
    options=$(ssh_options)
    # shellcheck disable=SC2086
    ssh $options -o ControlMaster=yes -o ControlPath="$HOME/run/master" -fN "agent@$PRODUCTION"
    # shellcheck disable=SC2086
    ssh $options -o ControlPath="$HOME/run/master" -O check "agent@$PRODUCTION" 2>&1 | grep -o 'Master running'
    # Without a key, over the connection that is there.
    ssh -F none -o ControlPath="$HOME/run/master" -o BatchMode=yes -p 2222 "agent@$PRODUCTION" echo text
    # shellcheck disable=SC2086
    ssh $options -o ControlPath="$HOME/run/master" -O exit "agent@$PRODUCTION" 2>/dev/null
}
