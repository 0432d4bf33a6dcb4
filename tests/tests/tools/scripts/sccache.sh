client() {
    export SCCACHE_DIR=$HOME/sccache SCCACHE_SERVER_PORT=4226 SCCACHE_IDLE_TIMEOUT=0
    echo 'int main(void) { return 0; }' >main.c
    trap 'sccache --stop-server >/dev/null 2>&1 || true' EXIT
    sccache --start-server >/dev/null 2>&1
    sccache cc -c main.c -o one.o
    sccache cc -c main.c -o two.o
    cmp one.o two.o && echo same
    sccache --show-stats | grep -E '^Cache hits  ' | tr -s ' '
}
