#!/bin/bash
# Runs each line that the host writes as a command, and says how it ended. The tests' output goes the same way.
stty raw -echo
ip link set lo up
cd /
modprobe -a virtio_pci virtio_blk
for _ in {1..100}; do [ -b /dev/vda ] && break; sleep .1; done
echo "@vm ready"
while IFS= read -r line; do
    bash -c "$line" </dev/null
    echo "@vm done $?"
done
