client() {
    dbus-run-session -- dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / \
        org.freedesktop.DBus.NameHasOwner string:org.freedesktop.DBus | tr -s ' '
}
