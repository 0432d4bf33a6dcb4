if [ "$1" -eq 0 ]; then
    for dir in /usr/share/doc/guard-console /usr/share/licenses/guard-console; do
        find "$dir" -depth -type d -empty -delete 2>/dev/null || :
    done
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
