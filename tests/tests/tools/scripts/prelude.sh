# What each tool's script begins with. It defines `client`, and `server` where it has one that runs outside: in production, and
# never in a session. What `client` prints is its result, which has to be the same with the guard as without.
set -euo pipefail
cd "$HOME"
libraries=$TREE/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH=$libraries:$libraries/pulseaudio PYTHONPATH=$TREE/usr/lib/python3/dist-packages
export LC_ALL=C TMPDIR=$HOME/tmp XDG_RUNTIME_DIR=$HOME/run
mkdir -p "$TMPDIR" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"

# Waits until a command succeeds.
until_so() {
    for _ in {1..1200}; do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.05
    done
    echo "it did not come to this: $*" >&2
    "$@"
}

# Whether somebody listens at a port of this machine.
listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Whoever commits.
person() {
    git config --global user.name agent
    git config --global user.email agent@example.com
    git config --global init.defaultBranch main
}

# A key and a certificate for production's name, which `client` finds by the name of the file.
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$PRODUCTION" \
        -addext "subjectAltName=DNS:$PRODUCTION" -keyout key.pem -out "$SHARED/cert.pem" 2>/dev/null
}

# A server of ssh's for one user with one key.
ssh_server() {
    ssh-keygen -q -t ed25519 -N "" -f host_key
    ssh-keygen -q -t ed25519 -N "" -C agent -f "$SHARED/id"
    chmod 600 "$SHARED/id"
    cat >sshd_config <<END
Port 2222
HostKey $HOME/host_key
AuthorizedKeysFile $SHARED/id.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
Subsystem sftp internal-sftp
END
    sed "s/^/[$PRODUCTION]:2222 /" host_key.pub >"$SHARED/known_hosts"
    "$(command -v sshd)" -D -e -f sshd_config &
    until_so listens 2222
}

# How to go there.
ssh_options() {
    cp "$SHARED/id" id
    chmod 600 id
    echo "-F none -i id -o IdentitiesOnly=yes -o UserKnownHostsFile=$SHARED/known_hosts -p 2222"
}
