client() {
    Xvfb -displayfd 3 -nolisten tcp -screen 0 640x480x24 3>display >/dev/null 2>&1 &
    server=$!
    until_so test -s display
    DISPLAY=:$(cat display) xdpyinfo | grep -o 'dimensions: *640x480'
    kill "$server"
}
