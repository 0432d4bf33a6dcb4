client() {
    mkdir mnt
    unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none mnt && echo text >mnt/file && cat mnt/file'
    ls mnt
}
