client() {
    export CCACHE_DIR=$HOME/ccache
    echo 'int main(void) { return 0; }' >main.c
    ccache cc -c main.c -o one.o
    ccache cc -c main.c -o two.o
    cmp one.o two.o && echo same
    ccache --print-stats | grep -E '^(direct_cache_hit|cache_miss)'
}
