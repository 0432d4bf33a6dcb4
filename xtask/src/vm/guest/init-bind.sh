#!/bin/sh
# The first program, where engines for containers run: they pivot_root, and the kernel lets nobody do that below the
# very first file system. So what is mounted there is mounted once more on top of it.
set -e
mkdir -p /vm/root
mount --bind / /vm/root
cd /vm/root
mount --move . /
exec chroot . /usr/lib/systemd/systemd
