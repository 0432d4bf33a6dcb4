if [ "$1" -eq 0 ]; then
    # The package has no directories, for the tool that makes it cannot put any there.
    for dir in /etc/guard /usr/libexec/guard /usr/share/guard /usr/share/doc/guard /usr/share/licenses/guard; do
        find "$dir" -depth -type d -empty -delete 2>/dev/null || :
    done
    echo "guard: guard.slice stays masked, so that nothing starts in it unguarded; 'systemctl unmask guard.slice' ends that" >&2
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
