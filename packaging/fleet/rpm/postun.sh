if [ "$1" -eq 0 ]; then
    for dir in /usr/share/doc/guard-fleet /usr/share/licenses/guard-fleet; do
        find "$dir" -depth -type d -empty -delete 2>/dev/null || :
    done
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
