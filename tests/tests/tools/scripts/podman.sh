client() { podman unshare sh -c 'id -u; wc -l </proc/self/uid_map'; }
