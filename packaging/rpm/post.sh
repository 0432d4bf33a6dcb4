systemd-sysusers guard.conf >/dev/null || :
# What a removal has shut.
systemctl unmask guard.slice >/dev/null 2>&1 || :
systemctl --runtime unmask guard.slice >/dev/null 2>&1 || :
if [ "$1" -eq 1 ]; then
    systemctl preset guardd.service guardd.socket guard.slice >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    # What an administrator has disabled is not started; if it runs all the same, it is replaced.
    if systemctl is-enabled --quiet guardd.service || systemctl is-active --quiet guardd.service; then
        # guardd alone, never the slice: sessions go on, and what is pinned decides while guardd is replaced. It starts
        # its socket, where that is enabled.
        if systemctl restart guardd.service; then
            for unit in guardd.socket guard.slice; do
                # Where it is there already, this does nothing.
                if systemctl is-enabled --quiet "$unit"; then
                    systemctl start "$unit" >/dev/null 2>&1 || :
                fi
            done
        else
            echo "guard: guardd does not run; see: systemctl status guardd" >&2
        fi
    fi
fi
# Whoever upgrades knows it.
if [ "$1" -eq 1 ]; then
    echo "guard: next, as yourself: guard doctor, then in your project: guard setup"
fi
