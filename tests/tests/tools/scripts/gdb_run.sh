client() {
    gdb -q -batch -ex 'catch syscall exit_group' -ex run -ex 'print $_exitcode' -ex 'info inferiors' -ex kill /bin/true 2>&1 |
        grep -o 'Catchpoint 1 (call to syscall exit_group)'
}
