#!/bin/bash
# Unpacks what the host has on a disk, then runs each line that the host writes as a command, and says how it ended. With guard.shell on
# the kernel's command line there is a shell on the console instead.
stty raw -echo
ip link set lo up
cd /
modprobe -a virtio_pci virtio_blk
for _ in {1..100}; do [ -b /dev/vda ] && break; sleep .1; done
mkdir -p /payload
dd if=/dev/vda bs=1M status=none | tar -C /payload -xf -
shell=$(sed -n 's/.*guard\.shell=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$shell" ]; then
    IFS=, read -r rows columns term <<<"$shell"
    /vm/install >/dev/ttyS0 2>&1
    cd /root
    stty -F /dev/ttyS0 sane rows "$rows" columns "$columns"
    HOME=/root TERM=$term setsid --ctty --wait bash -l </dev/ttyS0 >/dev/ttyS0 2>&1
    poweroff -f
fi
echo "@vm ready"
while IFS= read -r line; do
    bash -c "$line" </dev/null
    echo "@vm done $?"
done
