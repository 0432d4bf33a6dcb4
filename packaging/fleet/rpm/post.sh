systemd-sysusers guard-fleet.conf >/dev/null || :
if [ "$1" -eq 1 ]; then
    systemctl preset guard-fleet.service guard-fleet-console.service guard-fleet-keep.service >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    # One that runs is replaced.
    systemctl try-restart guard-fleet.service guard-fleet-console.service guard-fleet-keep.service >/dev/null 2>&1 || :
fi
