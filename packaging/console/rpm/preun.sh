if [ "$1" -eq 0 ]; then
    systemctl disable --now guard-console-push.service guard-console.socket guard-console.service >/dev/null 2>&1 || :
fi
