client() {
    sleep 1000 &
    pid=$!
    until_so grep -q sleep "/proc/$pid/comm"
    gdb -q -batch -p "$pid" -ex 'info proc' 2>/dev/null | sed -n 's/^process .*/attached/p; s/^exe = //p' | sort -u
    kill "$pid"
}
