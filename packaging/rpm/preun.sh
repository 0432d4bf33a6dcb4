# An upgrade ($1 = 1) stops nothing here.
if [ "$1" -eq 0 ]; then
    for events in /sys/fs/cgroup/guard.slice/cgroup.events /sys/fs/cgroup/unified/guard.slice/cgroup.events; do
        if [ -r "$events" ] && grep -q '^populated 1$' "$events"; then
            {
                echo "guard: it is not removed, for programs run that it guards, and nothing else would:"
                guard sessions || :
                systemd-cgls --no-pager --unit guard.slice 2>/dev/null || :
                echo "guard: end each with 'guard stop ID' (a unit: 'systemctl stop UNIT'), then remove again."
            } >&2
            exit 1
        fi
    done
    if [ -d /run/systemd/system ]; then
        # No unit starts in it from here on, guarded or not.
        systemctl --runtime mask guard.slice >/dev/null 2>&1 || :
        # A scrape would start guardd again.
        systemctl disable --now guard-metrics.socket >/dev/null 2>&1 || :
        # In this order: a guardd that fails starts again by itself, and that cancels stopping its socket. An erasure
        # that was killed may have taken the units away already.
        systemctl stop guardd.service guardd.socket >/dev/null 2>&1 || :
        if systemctl is-active --quiet guardd.socket guardd.service; then
            echo "guard: it is not removed, for guardd does not stop; see: systemctl status guardd" >&2
            exit 1
        fi
    fi
    # It looks again: where a session has begun meanwhile, or another guardd runs, it refuses, says why, and so do we.
    if [ -e /sys/fs/bpf/guard ] && ! guardd teardown; then
        if [ -d /run/systemd/system ]; then
            systemctl --runtime unmask guard.slice >/dev/null 2>&1 || :
            systemctl start guardd.socket guardd.service >/dev/null 2>&1 || :
        fi
        exit 1
    fi
    if [ -d /run/systemd/system ]; then
        systemctl stop guard.slice >/dev/null 2>&1 || :
    fi
    # Where systemd did not make its cgroup, it does not take it away.
    rmdir /sys/fs/cgroup/guard.slice /sys/fs/cgroup/unified/guard.slice 2>/dev/null || :
    # A masked unit would stay enabled. What starts in between has guardd start first.
    systemctl --runtime unmask guard.slice >/dev/null 2>&1 || :
    systemctl disable guardd.service guardd.socket guard.slice >/dev/null 2>&1 || :
    # A unit that says Slice=guard.slice would run unguarded from here on. So it does not start, until guard is back.
    systemctl mask guard.slice >/dev/null 2>&1 || :
fi
