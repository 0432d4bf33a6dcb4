if [ "$1" -eq 0 ]; then
    # A unit that says Slice=guard.slice would run unguarded now. So it does not start, until guard is back.
    systemctl mask guard.slice >/dev/null 2>&1 || :
    echo "guard: guard.slice stays masked, so that nothing starts in it unguarded; 'systemctl unmask guard.slice' ends that" >&2
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
