client() {
    strace -f -e trace=execve -o trace sh -c '/bin/true; /bin/echo text'
    grep -c execve trace
}
