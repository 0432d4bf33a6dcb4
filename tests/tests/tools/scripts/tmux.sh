client() {
    export TMUX_TMPDIR=$HOME/run TERM=xterm
    tmux -f /dev/null new-session -d -x 80 -y 24 'echo text >said; exec sleep 1000'
    until_so test -s said
    cat said
    tmux list-sessions | sed 's/:.*//'
    tmux kill-server
}
