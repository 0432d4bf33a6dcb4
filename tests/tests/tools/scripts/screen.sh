client() {
    export SCREENDIR=$HOME/run TERM=xterm
    screen -c /dev/null -D -m -S work sh -c 'echo text >said; exec sleep 1000' &
    until [ -s said ]; do
        kill -0 $! || { echo "screen has ended" >&2; exit 1; }
        sleep 0.05
    done
    cat said
    screen -ls | grep -o '[.]work'
    screen -S work -X quit
    wait
}
