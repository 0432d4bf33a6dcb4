#!/bin/sh
# The first program, where the root file system has to outlive the machine: moves over to the disk.
set -e
mount -t proc proc /proc
mount -t devtmpfs dev /dev
modprobe -a virtio_pci virtio_blk
until [ -b /dev/vdb ]; do sleep .1; done
mkdir -p /disk
if ! blkid -t LABEL=guard-vm /dev/vdb >/dev/null; then
    umount /proc
    mke2fs -q -t ext4 -L new /dev/vdb
    mount /dev/vdb /disk
    # Not cp, whose older versions stumble over mount points.
    tar -C / --one-file-system -cf - . | tar -C /disk -xpf -
    rm -rf /disk/disk
    sync
    umount /disk
    # Only what is whole gets the name.
    tune2fs -L guard-vm /dev/vdb >/dev/null
    mount -t proc proc /proc
fi
mount /dev/vdb /disk
umount /proc
exec switch_root /disk /usr/lib/systemd/systemd
