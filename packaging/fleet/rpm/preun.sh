if [ "$1" -eq 0 ]; then
    systemctl disable --now guard-fleet.service guard-fleet-console.service guard-fleet-keep.service >/dev/null 2>&1 || :
fi
